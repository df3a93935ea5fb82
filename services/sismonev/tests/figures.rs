//! Events folded into a real database: the figures are those of the events alone, as of any instant.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chassis::Fold;
use jiff::{Timestamp, ToSpan, civil::date};
use prost::{Message, Name};
use proto::{
    accreditation::v1 as accreditation, claims::v1 as claims, feed::v1::Event, membership::v1 as membership,
    primary_care::v1 as primary_care,
};
use sismonev::{
    event,
    fold::Figures,
    indicator::{Dimension, Figure, Indicators},
    pending::Window,
    query::{self, Definitions},
    recompute::Recomputed,
    roadmap::Edge,
    store,
};
use sqlx::PgPool;

async fn database(name: &str) -> embedded::testing::TestDatabase {
    let own = <sismonev::Sismonev as chassis::Service>::migrations().unwrap();
    embedded::testing::database(name, &[&chassis::db::MIGRATOR, own]).await.unwrap()
}

fn definitions() -> Definitions {
    let text = include_str!("../../../policy/sismonev/indicators.toml");
    chassis::policy::parse::<Indicators>("sismonev/indicators.toml", text).unwrap()
}

fn noon(day: i32) -> Timestamp {
    let at = date(2026, 1, 1).checked_add(day.days()).unwrap().at(12, 0, 0, 0);
    at.to_zoned(chassis::time::jakarta()).unwrap().timestamp()
}

fn day(day: i32) -> String {
    chassis::time::today_at(noon(day)).to_string()
}

struct Feed {
    source: &'static str,
    events: Vec<Event>,
}

impl Feed {
    fn of(source: &'static str) -> Self {
        Self { source, events: Vec::new() }
    }

    fn tell<T: Message + Name>(&mut self, at: Timestamp, body: &T) {
        self.events.push(Event {
            source: self.source.to_owned(),
            position: i64::try_from(self.events.len()).unwrap() + 1,
            event_id: uuid::Uuid::now_v7().to_string(),
            r#type: T::full_name(),
            subject: String::new(),
            occurred_at: Some(chassis::time::to_proto(at)),
            traceparent: String::new(),
            body: body.encode_to_vec().into(),
        });
    }

    async fn fold(&self, pool: &PgPool, batch: usize) {
        for events in self.events.chunks(batch) {
            let mut write = pool.begin().await.unwrap();
            Figures.fold(&mut write, events).await.unwrap();
            write.commit().await.unwrap();
        }
    }
}

fn sep(number: u32, at: i32, facility: &str, segment: &str) -> claims::SepIssued {
    let answer = |edge: &str| claims::Evidence {
        edge: edge.into(),
        answer_id: format!("{edge}-{number}"),
        ..claims::Evidence::default()
    };
    claims::SepIssued {
        sep_number: format!("sep-{number}"),
        facility_code: facility.into(),
        care_type: claims::CareType::Outpatient.into(),
        service_date: day(at),
        referral_number: format!("referral-{number}"),
        segment: segment.into(),
        evidence: vec![answer("membership-vklaim"), answer("vklaim-sisrute"), answer("vklaim-siaf")],
        ..claims::SepIssued::default()
    }
}

fn submitted(number: u32, at: i32, facility: &str, segment: &str) -> claims::ClaimSubmitted {
    claims::ClaimSubmitted {
        claim_id: format!("claim-{number}"),
        sep_number: format!("sep-{number}"),
        facility_code: facility.into(),
        care_type: claims::CareType::Outpatient.into(),
        submitted_on: day(at),
        amount_rupiah: 100_000 + i64::from(number),
        segment: segment.into(),
        ..claims::ClaimSubmitted::default()
    }
}

fn paid(number: u32, at: i32) -> claims::ClaimPaid {
    claims::ClaimPaid {
        claim_id: format!("claim-{number}"),
        paid_on: day(at),
        ..claims::ClaimPaid::default()
    }
}

fn decided(number: u32, at: i32, outcome: claims::DisputeOutcome) -> claims::DisputeDecided {
    claims::DisputeDecided {
        claim_id: format!("claim-{number}"),
        outcome: outcome.into(),
        decided_on: day(at),
        ..claims::DisputeDecided::default()
    }
}

fn registry() -> Feed {
    let mut feed = Feed::of("accreditation");
    for (code, region) in [("0301R011", "3171"), ("0301R012", "3273"), ("0301P001", "3171")] {
        let facility = accreditation::Facility {
            facility_code: code.into(),
            kind: accreditation::FacilityKind::Hospital.into(),
            hospital_class: accreditation::HospitalClass::B.into(),
            region_code: region.into(),
            ..accreditation::Facility::default()
        };
        feed.tell(noon(0), &accreditation::FacilityRegistered { facility: Some(facility) });
    }
    feed
}

fn members() -> Feed {
    let mut feed = Feed::of("membership");
    for number in 0..40 {
        let standing = membership::Standing {
            segment: if number % 2 == 0 { membership::Segment::Pbi } else { membership::Segment::PpuBu }
                .into(),
            fktp_code: "0301P001".into(),
            status: membership::MembershipStatus::Registered.into(),
            ..membership::Standing::default()
        };
        feed.tell(
            noon(0),
            &membership::MemberRegistered {
                member_id: format!("member-{number}"),
                standing: Some(standing),
                covered_from: day(0),
                ..membership::MemberRegistered::default()
            },
        );
    }
    feed
}

fn visits() -> Feed {
    let mut feed = Feed::of("primary-care");
    for number in 0..30 {
        let (at, visit_number, facility_code) =
            (number * 2, format!("visit-{number}"), "0301P001".to_owned());
        let kind =
            if number % 3 == 0 { primary_care::VisitKind::Healthy } else { primary_care::VisitKind::Sick };
        let visit = primary_care::VisitExamined {
            visit_number: visit_number.clone(),
            facility_code: facility_code.clone(),
            kind: kind.into(),
            visit_date: day(at),
            segment: membership::Segment::Pbi.into(),
            ..Default::default()
        };
        feed.tell(noon(at), &visit);
        if number % 10 == 9 {
            feed.tell(
                noon(at),
                &primary_care::VisitCancelled { visit_number, kind: kind.into(), ..Default::default() },
            );
        } else if number % 4 == 1 {
            let referred = primary_care::VisitReferred {
                visit_number,
                facility_code,
                visit_date: day(at),
                segment: membership::Segment::Pbi.into(),
                referral_number: format!("referral-{number}"),
                ..Default::default()
            };
            feed.tell(noon(at), &referred);
        }
    }
    feed
}

/// Claims of two hospitals over three months, some paid early, some late, some never; a SEP of every fifth is cancelled.
fn claims_feed() -> Feed {
    let mut steps: Vec<(i32, u32, u8)> = Vec::new();
    for number in 0..60 {
        let start = i32::try_from(number % 45).unwrap();
        steps.push((start, number, 0));
        if number % 5 == 4 {
            steps.push((start, number, 3));
            continue;
        }
        steps.push((start + 1, number, 1));
        if number % 3 != 0 {
            steps.push((start + 1 + i32::try_from(number % 29).unwrap(), number, 2));
        }
    }
    steps.sort_unstable();
    let mut feed = Feed::of("claims");
    for (at, number, step) in steps {
        let facility = if number % 2 == 0 { "0301R011" } else { "0301R012" };
        let segment = if number % 4 == 0 { "PBI" } else { "PPU_BU" };
        match step {
            0 => feed.tell(noon(at), &sep(number, at, facility, segment)),
            1 => {
                let grouped =
                    claims::ClaimGrouped { claim_id: format!("claim-{number}"), ..Default::default() };
                feed.tell(noon(at), &grouped);
                feed.tell(noon(at), &submitted(number, at, facility, segment));
                // Disputes, unless they end without payment, and batches add to no figure.
                if number % 11 == 0 {
                    feed.tell(noon(at), &claims::DisputeOpened::default());
                    feed.tell(noon(at), &decided(number, at, claims::DisputeOutcome::Upheld));
                }
            }
            // The clock ends with a decision without payment as it does with payment.
            2 if number % 7 == 1 => {
                feed.tell(noon(at), &decided(number, at, claims::DisputeOutcome::WithoutPayment));
            }
            2 => {
                feed.tell(noon(at), &paid(number, at));
                feed.tell(noon(at), &claims::BatchPaid::default());
            }
            _ => feed.tell(
                noon(at),
                &claims::SepCancelled { sep_number: format!("sep-{number}"), ..Default::default() },
            ),
        }
    }
    feed
}

async fn asked(
    pool: &PgPool,
    id: &str,
    dimensions: &[Dimension],
    month: i8,
    as_of: Timestamp,
) -> Vec<Figure> {
    let definitions = definitions();
    let first = date(2026, month, 1);
    let window = Window::of(first, chassis::time::today_at(as_of)).unwrap();
    let (version, definition) = query::definition(&definitions, id, first).unwrap();
    let mut connection = pool.acquire().await.unwrap();
    query::figures(&mut connection, version, definition, dimensions, window, as_of).await.unwrap()
}

#[tokio::test]
async fn every_figure_is_that_of_the_events_as_of_any_instant() {
    let feeds = [claims_feed(), visits(), members(), registry()];
    let mut books = Recomputed::default();
    for feed in &feeds {
        for envelope in feed.events.iter().chain(&feed.events) {
            if let Some(happened) = event::read(envelope).unwrap() {
                books.take(feed.source, envelope.position, event::occurred_at(envelope).unwrap(), &happened);
            }
        }
    }
    let definitions = definitions();
    for batch in [1, 7, 1000] {
        let database = database("figures").await;
        for feed in &feeds {
            feed.fold(&database.pool, batch).await;
        }
        for month in 1..=3 {
            for seen in [20, 44, 58, 89, 120] {
                // Just before, exactly at and just after the events of a noon.
                for offset in [-1, 0, 1] {
                    let as_of = noon(seen) + offset.seconds();
                    let first = date(2026, month, 1);
                    let Some(window) = Window::of(first, chassis::time::today_at(as_of)) else { continue };
                    let version = definitions.on(first).unwrap();
                    for definition in &version.indicator {
                        for dimensions in [&[][..], &definition.disaggregations] {
                            let below = version.suppress_below;
                            let kept = asked(&database.pool, &definition.id, dimensions, month, as_of).await;
                            let told = books.figures(definition, below, dimensions, window, as_of);
                            assert_eq!(
                                kept, told,
                                "{} by {dimensions:?} in {month} as of {as_of}",
                                definition.id
                            );
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_known_does_not_change_when_more_is_learnt() {
    let database = database("asof").await;
    let mut feed = Feed::of("claims");
    feed.tell(noon(0), &submitted(1, 0, "0301R011", "PBI"));
    feed.tell(noon(3), &submitted(2, 3, "0301R011", "PBI"));
    feed.tell(noon(15), &paid(1, 15));
    feed.fold(&database.pool, 1).await;
    let id = "claims-pending-over-14-days";
    let value = async |seen: Timestamp| {
        asked(&database.pool, id, &[], 1, seen)
            .await
            .remove(0)
            .counted
            .and_then(|counted| counted.value)
            .unwrap()
    };
    assert_eq!(value(noon(14)).await, "0.00", "exactly 14 days");
    assert_eq!(value(noon(15) - 1.second()).await, "50.00", "the first is 15 days old, unpaid");
    assert_eq!(value(noon(15)).await, "50.00", "paid on its 15th day");
    assert_eq!(value(noon(17)).await, "50.00", "the second is 14 days old");
    assert_eq!(value(noon(18)).await, "100.00");
}

#[tokio::test]
async fn an_edge_is_proved_by_both_sides_whichever_comes_first() {
    let database = database("roadmap").await;
    let mut feed = Feed::of("claims");
    feed.tell(noon(1), &sep(1, 1, "0301R011", "PBI"));
    feed.tell(noon(2), &claims::ClaimGrouped { claim_id: "claim-1".into(), ..Default::default() });
    feed.fold(&database.pool, 10).await;
    let mut connection = database.pool.acquire().await.unwrap();
    for (edge, exchanges) in [
        (Edge::MembershipVklaim, 1),
        (Edge::VklaimSisrute, 1),
        (Edge::VklaimSiaf, 1),
        (Edge::EklaimVklaim, 0),
    ] {
        let seen = store::edge(&mut connection, edge).await.unwrap();
        assert_eq!(seen.map_or(0, |seen| seen.exchanges), exchanges, "{}", edge.name());
    }
    let mut rest = Feed::of("claims");
    rest.tell(noon(3), &submitted(1, 3, "0301R011", "PBI"));
    rest.events[0].position = 3;
    rest.fold(&database.pool, 10).await;
    let seen = store::edge(&mut connection, Edge::EklaimVklaim).await.unwrap().unwrap();
    assert_eq!((seen.exchanges, seen.last_seen), (1, noon(3)));
    let evidence = store::evidence(&mut connection, Edge::EklaimVklaim, 20).await.unwrap();
    assert_eq!((evidence[0].evidence_id.as_str(), evidence[0].event.as_str()), ("claim-1/sep-1", "claims/3"));
    assert!(
        store::edge(&mut connection, Edge::PcareVklaim).await.unwrap().is_none(),
        "P-Care has not told yet"
    );
}

#[tokio::test]
async fn a_rolled_back_fold_leaves_nothing() {
    let database = database("rollback").await;
    let mut feed = Feed::of("claims");
    feed.tell(noon(0), &submitted(1, 0, "0301R011", "PBI"));
    let mut write = database.pool.begin().await.unwrap();
    Figures.fold(&mut write, &feed.events).await.unwrap();
    write.rollback().await.unwrap();
    let figures = asked(&database.pool, "claims-pending-over-14-days", &[], 1, noon(5)).await;
    assert_eq!(figures[0].counted.as_ref().unwrap().denominator, 0);
    feed.fold(&database.pool, 1).await;
    let figures = asked(&database.pool, "claims-pending-over-14-days", &[], 1, noon(5)).await;
    assert_eq!(figures[0].counted.as_ref().unwrap().denominator, 1);
}

#[tokio::test]
async fn a_change_of_a_record_undoes_no_choice_that_holds_from_a_later_day() {
    let database = database("pending").await;
    let mut feed = members();
    let registered = feed.events.len();
    for number in 0..40 {
        let changed = membership::FktpChanged {
            member_id: format!("member-{number}"),
            fktp_code: "0301R011".into(),
            effective_from: day(31),
            ..Default::default()
        };
        feed.tell(noon(5), &changed);
        // The address changes before the choice is in force: the standing is still that of the day.
        let moved = membership::MemberUpdated {
            member_id: format!("member-{number}"),
            changed_fields: vec!["address".into()],
            after: Some(membership::Standing {
                segment: membership::Segment::Pbi.into(),
                fktp_code: "0301P001".into(),
                ..Default::default()
            }),
            effective_from: day(6),
            ..Default::default()
        };
        feed.tell(noon(6), &moved);
    }
    assert_eq!(feed.events.len(), registered + 80);
    feed.fold(&database.pool, 1000).await;
    registry().fold(&database.pool, 10).await;
    let at = async |month| {
        let figures = asked(&database.pool, "fktp-visit-rate", &[Dimension::Segment], month, noon(50)).await;
        figures.iter().map(|figure| figure.counted.as_ref().unwrap().denominator).collect::<Vec<_>>()
    };
    assert_eq!((at(1).await, at(2).await), (vec![20, 20], vec![20, 20]), "segments stay as they were");
    let facilities: Vec<(String, i64)> = sqlx::query_as(
        "select facility_code, sum(cases)::bigint from fact where measure = 'members' group by 1 having sum(cases) <> 0",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(facilities, [("0301R011".to_owned(), 40)]);
}

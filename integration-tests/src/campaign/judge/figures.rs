//! SISMONEV: every feed is folded to its head, each case is counted once, and the indicators are those of the events
//! alone, to the last digit.

use std::collections::BTreeMap;

use chassis::time::{to_proto, today_at};
use jiff::{SignedDuration, Timestamp};
use proto::{
    claims::v1 as claims, feed::v1::Event, membership::v1 as membership, primary_care::v1 as primary_care,
};
use sismonev::{event, indicator::Indicators, pending::Window, query, recompute::Recomputed};
use uuid::Uuid;

use super::Check;
use crate::{
    Mesh,
    campaign::{desk::Asked, journal::Entry},
};

const SERVICE: &str = "sismonev";

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    Ok(vec![
        Check::of("feeds not folded to their head", behind(mesh).await?),
        Check::of("cases counted otherwise than acknowledged", counted(mesh, entries).await?),
        Check::of("figures other than those of the events", differing(mesh).await?),
    ])
}

/// The feeds that SISMONEV has not folded to their head.
pub(crate) async fn behind(mesh: &Mesh) -> sqlx::Result<Vec<String>> {
    let folded: Vec<(String, i64)> = sqlx::query_as("select source, position from consumer_position")
        .fetch_all(mesh.database(SERVICE))
        .await?;
    let folded: BTreeMap<_, _> = folded.into_iter().collect();
    let mut behind = Vec::new();
    for source in sismonev::fold::SOURCES {
        let head: i64 = sqlx::query_scalar("select coalesce(max(position), 0) from feed")
            .fetch_one(mesh.database(source))
            .await?;
        let position = folded.get(source).copied().unwrap_or_default();
        if position != head {
            behind.push(format!("{source}: folded to {position} of {head}"));
        }
    }
    Ok(behind)
}

/// The counters against the acknowledged writes.
async fn counted(mesh: &Mesh, entries: &[Entry]) -> sqlx::Result<Vec<String>> {
    fn of<Q: Asked>(entries: &[Entry]) -> i64 {
        let count = entries.iter().filter(|entry| entry.path == Q::PATH && entry.is_acknowledged()).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
    let members = entries.iter().filter_map(Entry::answer::<membership::RegisterFamilyRequest>);
    let members: usize = members.map(|answer| answer.members.len()).sum();
    let acknowledged = [
        ("members", i64::try_from(members).unwrap_or(i64::MAX)),
        ("visits", of::<primary_care::RecordVitalSignsRequest>(entries)),
        ("sick-visits", of::<primary_care::RecordVitalSignsRequest>(entries)),
        ("referrals", of::<primary_care::ReferVisitRequest>(entries)),
        ("hospital-cases", of::<claims::IssueSepRequest>(entries)),
        ("claims", of::<claims::SubmitClaimRequest>(entries) + of::<claims::SubmitClaimsRequest>(entries)),
    ];
    let mut found = Vec::new();
    for (measure, acknowledged) in acknowledged {
        for table in ["day_counter", "fact"] {
            let statement = match table {
                "fact" => "select coalesce(sum(cases), 0)::bigint from fact where measure = $1",
                _ => "select coalesce(sum(cases), 0)::bigint from day_counter where measure = $1",
            };
            let kept: i64 =
                sqlx::query_scalar(statement).bind(measure).fetch_one(mesh.database(SERVICE)).await?;
            if kept != acknowledged {
                found.push(format!("{measure} in {table}: {kept}, acknowledged {acknowledged}"));
            }
        }
    }
    Ok(found)
}

/// The indicators that SISMONEV answers otherwise than the events alone do.
async fn differing(mesh: &Mesh) -> anyhow::Result<Vec<String>> {
    let mut books = Recomputed::default();
    for source in sismonev::fold::SOURCES {
        for envelope in feed(mesh, source).await? {
            if let Some(happened) = event::read(&envelope)? {
                books.take(source, envelope.position, event::occurred_at(&envelope)?, &happened);
            }
        }
    }
    let text = include_str!("../../../../policy/sismonev/indicators.toml");
    let definitions = chassis::policy::parse::<Indicators>("sismonev/indicators.toml", text)?;
    let as_of = Timestamp::now() + SignedDuration::from_secs(1);
    let today = today_at(as_of);
    let mut found = Vec::new();
    let mut connection = mesh.database(SERVICE).acquire().await?;
    for month in [today.first_of_month().yesterday()?.first_of_month(), today.first_of_month()] {
        let Some(window) = Window::of(month, today) else { continue };
        let version =
            definitions.on(month.last_of_month()).map_err(|problem| anyhow::anyhow!("{problem}"))?;
        for definition in &version.indicator {
            for dimensions in [&[][..], &definition.disaggregations] {
                let kept =
                    query::figures(&mut connection, version, definition, dimensions, window, as_of).await;
                let kept = kept.map_err(|error| anyhow::anyhow!("{error}"))?;
                let told = books.figures(definition, version.suppress_below, dimensions, window, as_of);
                if kept != told {
                    found.push(format!(
                        "{} of {month} by {dimensions:?}: {kept:?}, by the events {told:?}",
                        definition.id
                    ));
                }
            }
        }
    }
    Ok(found)
}

async fn feed(mesh: &Mesh, source: &str) -> sqlx::Result<Vec<Event>> {
    type Row = (i64, Uuid, String, String, Vec<u8>, jiff_sqlx::Timestamp);
    let rows: Vec<Row> = sqlx::query_as(
        "select position, event_id, kind, subject, body, occurred_at from feed order by position",
    )
    .fetch_all(mesh.database(source))
    .await?;
    let event = |(position, event_id, kind, subject, body, occurred_at): Row| Event {
        source: source.to_owned(),
        position,
        event_id: event_id.to_string(),
        r#type: kind,
        subject,
        occurred_at: Some(to_proto(occurred_at.to_jiff())),
        traceparent: String::new(),
        body: body.into(),
    };
    Ok(rows.into_iter().map(event).collect())
}

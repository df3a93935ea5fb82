//! Contributions, eligibility and imports, on a real database.

#![allow(clippy::unwrap_used)]

mod house;

use house::{BANK, BPJS, CLINIC, House, couple_with_child, key, person, reason, wrong};
use proto::membership::v1::{
    self as pb,
    membership_service_client::MembershipServiceClient,
    membership_service_server::{MembershipService, MembershipServiceServer},
};
use tokio_stream::wrappers::TcpListenerStream;

#[tokio::test]
async fn a_payment_makes_eligible_from_its_day_on() {
    let house = House::new("pay").await;
    let members = house.family(pb::Segment::Pbpu, "2026-11-01").await;
    let (head, child) = (&members[0], &members[2]);
    let before = house.check(&child.member_id, "").await;
    assert!(!before.eligible);
    assert_eq!(before.reasons, [pb::IneligibilityReason::FirstContributionUnpaid as i32]);
    let posting = house.pay(&head.family_id, "TX/1", 210_000, "2026-11-20").await.unwrap();
    assert_eq!((posting.first_month.as_str(), posting.last_month.as_str()), ("2026-11", "2026-12"));
    let after = house.check(&child.member_id, "2026-11-20").await;
    assert!(after.eligible && after.reasons.is_empty() && after.inpatient_penalty.is_none());
    assert_eq!((after.member_name.as_str(), after.fktp_code.as_str()), ("Adi Santoso", "0301U001"));
    assert_ne!(after.answer_id, house.check(&child.member_id, "2026-11-20").await.answer_id);
    assert!(!house.check(&child.member_id, "2026-11-19").await.eligible);
    assert_eq!(house.events().await[3..], ["ContributionPosted"]);

    let message = pb::GetContributionStatementRequest {
        known: Some(pb::get_contribution_statement_request::Known::CardNumber(head.card_number.clone())),
        ..Default::default()
    };
    let statement =
        house.service.get_contribution_statement(house.call(BANK, message)).await.unwrap().into_inner();
    assert_eq!((statement.settle_rupiah, statement.monthly_rupiah, statement.months.len()), (0, 105_000, 1));
    assert_eq!(
        (statement.months[0].state(), statement.months[0].posting_id.as_str()),
        (pb::ContributionState::Paid, posting.posting_id.as_str())
    );
}

#[tokio::test]
async fn the_banks_reference_makes_a_payment_happen_once() {
    let house = House::new("once").await;
    let family = house.family(pb::Segment::Pbpu, "").await[0].family_id.clone();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let message = pb::PostContributionRequest {
                request_id: key(),
                bank_reference: "TX-1".into(),
                known: Some(pb::post_contribution_request::Known::FamilyId(family.clone())),
                amount_rupiah: 105_000,
                paid_on: String::new(),
            };
            let (service, request) = (house.service.clone(), house.call(BANK, message));
            tokio::spawn(async move { service.post_contribution(request).await })
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap().unwrap().into_inner().posting.unwrap());
    }
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(house.count("select count(*) from contribution_posting").await, 1);
    let other = house.pay(&family, "TX-1", 210_000, "").await.unwrap_err();
    assert_eq!(
        (other.code(), reason(&other).as_str()),
        (tonic::Code::AlreadyExists, "BANK_REFERENCE_REUSED")
    );
    assert_eq!(
        reason(&house.pay(&family, "TX-2", 100_000, "").await.unwrap_err()),
        "AMOUNT_NOT_WHOLE_MONTHS"
    );
    assert_eq!(
        reason(&house.pay(&family, "TX-3", 105_000 * 20, "").await.unwrap_err()),
        "PAID_TOO_FAR_AHEAD"
    );
    assert_eq!(
        wrong(&house.pay(&family, "TX 4", 0, "2026-11-23").await.unwrap_err()),
        ["bank_reference", "amount_rupiah", "paid_on"]
    );
    assert_eq!(wrong(&house.pay(&family, "TX-5", 105_000, "2026-11-21").await.unwrap_err()), ["paid_on"]);
    assert_eq!(reason(&house.pay(&key(), "TX-6", 105_000, "").await.unwrap_err()), "NOT_FOUND");
    assert_eq!(house.count("select count(*) from contribution_posting").await, 1);
}

#[tokio::test]
async fn a_bank_that_repeats_an_old_payment_gets_the_first_answer() {
    let mut house = House::new("repeat").await;
    let family = house.family(pb::Segment::Pbpu, "").await[0].family_id.clone();
    let first = house.pay(&family, "TX-1", 105_000, "2026-11-22").await.unwrap();
    house.at += jiff::SignedDuration::from_hours(24 * 40);
    assert_eq!(house.pay(&family, "TX-1", 105_000, "2026-11-22").await.unwrap(), first);
    assert_eq!(wrong(&house.pay(&family, "TX-2", 105_000, "2026-11-22").await.unwrap_err()), ["paid_on"]);
}

#[tokio::test]
async fn whom_the_government_pays_for_owes_nothing() {
    let house = House::new("poor").await;
    let head = house.family(pb::Segment::Pbi, "2021-01-01").await.remove(0);
    assert!(house.check(&head.member_id, "2024-02-29").await.eligible);
    assert_eq!(
        reason(&house.pay(&head.family_id, "TX-1", 42_000, "").await.unwrap_err()),
        "CONTRIBUTION_PAID_BY_GOVERNMENT"
    );
}

#[tokio::test]
async fn a_suspended_worker_is_reactivated_at_a_price() {
    let house = House::new("worker").await;
    let head = house.family(pb::Segment::PpuBu, "2026-08-01").await.remove(0);
    let suspended = house.check(&head.member_id, "").await;
    assert_eq!(suspended.reasons, [pb::IneligibilityReason::SuspendedForArrears as i32]);
    assert_eq!((suspended.arrears_months, suspended.arrears_rupiah), (4, 2_000_000));
    let posting = house.pay(&head.family_id, "TX-1", 2_000_000, "").await.unwrap();
    assert!(posting.reactivated);
    let after = house.check(&head.member_id, "").await;
    assert!(after.eligible);
    let penalty = after.inpatient_penalty.unwrap();
    assert_eq!(
        (penalty.months, penalty.window_ends_on.as_str(), penalty.paid_by_employer),
        (3, "2027-01-06", true)
    );
}

#[tokio::test]
async fn a_hostile_question_names_its_fields() {
    let house = House::new("hostile").await;
    for (message, fields) in [
        (
            pb::CheckEligibilityRequest { known: None, service_date: "yesterday".into(), care_type: 9 },
            vec!["member_id", "service_date", "care_type"],
        ),
        (
            pb::CheckEligibilityRequest {
                known: Some(pb::check_eligibility_request::Known::Nik("1".repeat(5000))),
                service_date: "2020-12-31".into(),
                care_type: 0,
            },
            vec!["nik", "service_date"],
        ),
    ] {
        let refused =
            house.service.check_eligibility(house.call("hospital:0301R011", message)).await.unwrap_err();
        assert_eq!(wrong(&refused), fields);
    }
    let unknown = pb::CheckEligibilityRequest {
        known: Some(pb::check_eligibility_request::Known::Nik("3273014505900001".into())),
        ..Default::default()
    };
    let refused =
        house.service.check_eligibility(house.call("hospital:0301R011", unknown)).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_FOUND");
    assert!(!refused.message().contains("3273014505900001"));
}

/// The service behind a wire, for the stream of an import.
async fn import(house: &House, rows: Vec<pb::ImportRow>) -> Result<pb::ImportMembersResponse, tonic::Status> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let at = house.at;
    let named = move |mut request: tonic::Request<()>| {
        let call =
            chassis::Call::local(BPJS.parse().unwrap(), "/import", at, std::time::Duration::from_secs(60));
        request.extensions_mut().insert(call);
        Ok(request)
    };
    let service = MembershipServiceServer::with_interceptor(house.service.clone(), named);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let mut client = MembershipServiceClient::connect(address).await.unwrap();
    let request_id = key();
    let batches: Vec<_> = rows
        .chunks(400)
        .map(|rows| pb::ImportMembersRequest { request_id: request_id.clone(), rows: rows.to_vec() })
        .collect();
    client.import_members(tokio_stream::iter(batches)).await.map(tonic::Response::into_inner)
}

fn row(key: &str, family: &str, member: pb::NewMember, paid_through: &str) -> pb::ImportRow {
    let terms = pb::FamilyTerms {
        segment: pb::Segment::Pbpu.into(),
        care_class: pb::CareClass::CareClass2.into(),
        monthly_wage_rupiah: 0,
    };
    pb::ImportRow {
        row_key: key.into(),
        family_key: family.into(),
        member: Some(member),
        terms: Some(terms),
        covered_from: "2019-04-01".into(),
        paid_through: paid_through.into(),
    }
}

#[tokio::test]
async fn an_import_answers_row_by_row_and_finds_its_rows_again() {
    let house = House::new("import").await;
    let [head, spouse, child]: [pb::NewMember; 3] = couple_with_child().try_into().unwrap();
    let other = person("3273014505900077", "Rini", "1990-05-05", pb::Sex::Female, pb::Relation::Head);
    let mut richer = row(
        "6",
        "f1",
        person("3273014505900078", "Rina", "1990-05-05", pb::Sex::Female, pb::Relation::Other),
        "",
    );
    richer.terms.as_mut().unwrap().care_class = pb::CareClass::CareClass1.into();
    let rows = vec![
        row("1", "f1", head.clone(), "2026-11"),
        row("2", "f1", spouse, ""),
        row("3", "f1", child, ""),
        row("4", "f2", head, ""),
        row("5", "f3", pb::NewMember { relation: pb::Relation::Child.into(), ..other.clone() }, ""),
        richer,
        row("7", "f4", pb::NewMember { fktp_code: "0301R011".into(), ..other.clone() }, ""),
        row("8", "f5", pb::NewMember { nik: "1".into(), name: String::new(), ..other.clone() }, "2018-01"),
        row("1", "f6", other.clone(), ""),
        row("9", "f7", pb::NewMember { fktp_code: CLINIC.into(), ..other }, "2025-12"),
    ];
    let answer = import(&house, rows.clone()).await.unwrap();
    let reasons: Vec<_> = answer.results.iter().map(|result| result.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "",
            "",
            "",
            "NIK_ALREADY_REGISTERED",
            "FAMILY_DIFFERS",
            "FAMILY_DIFFERS",
            "FKTP_NOT_FIRST_LEVEL",
            "FIELDS_INVALID",
            "ROW_KEY_REUSED",
            ""
        ]
    );
    assert_eq!((answer.created, answer.unchanged, answer.refused), (4, 0, 6));
    let faults: Vec<_> =
        answer.results[7].faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(faults, ["member.nik", "member.name", "paid_through"]);

    let again = import(&house, rows).await.unwrap();
    assert_eq!((again.created, again.unchanged, again.refused), (0, 4, 6));
    assert_eq!(again.results[0].member_id, answer.results[0].member_id);
    assert_eq!(house.events().await, ["MemberRegistered"; 4]);

    let paid = house.check(&answer.results[1].member_id, "").await;
    assert!(paid.eligible);
    assert_eq!((paid.segment(), paid.care_class()), (pb::Segment::Pbpu, pb::CareClass::CareClass2));
    let behind = house.check(&answer.results[9].member_id, "").await;
    assert_eq!((behind.eligible, behind.arrears_months, behind.arrears_rupiah), (false, 11, 1_100_000));
}

#[tokio::test]
async fn an_import_of_thousands_is_taken_and_of_too_many_refused() {
    let house = House::new("thousands").await;
    let rows: Vec<_> = (1..=3000)
        .map(|n| {
            let nik = format!("32730145{:02}90{n:04}", 1 + n % 12);
            row(
                &format!("r{n}"),
                &format!("f{n}"),
                person(&nik, "Siti", "1990-05-05", pb::Sex::Female, pb::Relation::Head),
                "2026-11",
            )
        })
        .collect();
    let begun = std::time::Instant::now();
    let answer = import(&house, rows.clone()).await.unwrap();
    println!("3000 rows in {:?}", begun.elapsed());
    assert_eq!(
        (answer.created, answer.refused),
        (3000, 0),
        "{:?}",
        answer.results.iter().find(|one| !one.reason.is_empty())
    );
    let too_many: Vec<_> = rows.iter().cycle().take(10_001).cloned().collect();
    let refused = import(&house, too_many).await.unwrap_err();
    assert_eq!(reason(&refused), "IMPORT_TOO_LARGE");
}

//! Many who ask at once, on a real database.

#![allow(clippy::unwrap_used)]

mod house;

use std::time::{Duration, Instant};

use futures::future::join_all;
use house::{House, reason};
use proto::membership::v1::{self as pb, membership_service_server::MembershipService};
use tokio::time::timeout;
use tonic::Code;

fn by_id(member_id: &str) -> pb::CheckEligibilityRequest {
    pb::CheckEligibilityRequest {
        known: Some(pb::check_eligibility_request::Known::MemberId(member_id.into())),
        care_type: pb::CareType::Outpatient.into(),
        ..Default::default()
    }
}

/// How many statements looked records up, and how many keys they held together, since the process began.
fn looked_up(page: &str) -> (u64, u64) {
    let figure = |name: &str| {
        let line = page.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next())
            .map_or(0, |figure| figure.parse::<f64>().unwrap() as u64)
    };
    (figure("membership_read_keys_count"), figure("membership_read_keys_sum"))
}

// One after the other: what is counted is counted by the process.
#[tokio::test]
async fn many_ask_at_once() {
    who_asks_at_the_same_time_is_answered_by_the_same_statement().await;
    questions_that_cannot_be_answered_hinder_nobody_for_long().await;
    without_a_database_nobody_waits_for_others_to_be_refused().await;
}

async fn who_asks_at_the_same_time_is_answered_by_the_same_statement() {
    let telemetry = chassis::telemetry::start("test", chassis::telemetry::LogFormat::Human, "error").unwrap();
    let house = House::new("together").await;
    let members = house.family(pb::Segment::Pbi, "").await;
    let by_nik = |nik: &str| pb::CheckEligibilityRequest {
        known: Some(pb::check_eligibility_request::Known::Nik(nik.into())),
        ..by_id("")
    };
    let by_card = |card: &str| pb::CheckEligibilityRequest {
        known: Some(pb::check_eligibility_request::Known::CardNumber(card.into())),
        ..by_id("")
    };
    let before = looked_up(&telemetry.page().unwrap());
    let calls = (0..500).map(|number| {
        let member = &members[number % members.len()];
        let message = match number % 4 {
            0 => by_id(&member.member_id),
            1 => by_nik(&member.nik),
            2 => by_card(&member.card_number),
            _ => by_nik("3273014505900009"),
        };
        let known = number % 4 != 3;
        let house = &house;
        async move {
            let answer = house.service.check_eligibility(house.call("service:claims", message)).await;
            match answer {
                Ok(answer) => assert!(known && answer.into_inner().member_id == member.member_id),
                Err(refused) => assert!(!known && reason(&refused) == "NOT_FOUND", "{refused:?}"),
            }
        }
    });
    join_all(calls).await;
    let after = looked_up(&telemetry.page().unwrap());
    assert_eq!(after.1 - before.1, 500, "every question is answered by a statement");
    assert!(after.0 - before.0 <= 50, "{} statements", after.0 - before.0);
}

async fn questions_that_cannot_be_answered_hinder_nobody_for_long() {
    let house = House::new("waiting").await;
    let member = house.family(pb::Segment::Pbi, "").await.remove(0);
    let ask = || house.service.check_eligibility(house.call("service:claims", by_id(&member.member_id)));
    let mut held = house.db.pool.begin().await.unwrap();
    sqlx::query("lock table member").execute(&mut *held).await.unwrap();

    // Each has its own time: who gives up leaves the others waiting.
    let (hasty, patient) = tokio::join!(timeout(Duration::from_millis(200), ask()), ask());
    assert!(hasty.is_err());
    let refused = patient.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "TEMPORARILY_UNAVAILABLE"));

    // More than may wait are refused at once, with a hint when to come again.
    let answers = join_all((0..2000).map(|_| async { ask().await.map_err(|refused| refused.code()) })).await;
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Code::ResourceExhausted))).count();
    assert!((700..=1000).contains(&refused), "{refused}");
    let failed = answers.iter().filter(|answer| matches!(answer, Err(Code::Unavailable))).count();
    assert_eq!(refused + failed, 2000);

    held.rollback().await.unwrap();
    assert!(ask().await.unwrap().into_inner().eligible);
}

async fn without_a_database_nobody_waits_for_others_to_be_refused() {
    let patience = Duration::from_secs(2);
    let house = House::new("nowhere").await.without_database(patience).await;
    let begun = Instant::now();
    let ask = || house.service.check_eligibility(house.call("service:claims", by_id(&house::key())));
    let answers = join_all((0..1000).map(|_| async { ask().await.map_err(|refused| refused.code()) })).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Code::Unavailable))));
    // In batches, one after the other, it would take four times as long.
    assert!(begun.elapsed() < patience * 2, "{:?}", begun.elapsed());
}

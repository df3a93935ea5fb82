//! A hospital sends many claims over one stream: each row is answered by itself, in its turn, and once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, coding, day, key, member, visit},
};
use futures::{StreamExt, stream};
use proto::claims::v1 as pb;

/// A claim for a visit of another member, final.
async fn claim(served: &Served, clinic: &str) -> pb::Claim {
    let asked = pb::IssueSepRequest { member_id: member(), poli_code: clinic.into(), ..visit(day(0)) };
    let sep = served.issue(asked).await.unwrap();
    served.coded(&sep, coding(day(0), "E11.9")).await
}

fn row(claim: &pb::Claim) -> pb::SubmitClaimsRequest {
    pb::SubmitClaimsRequest { request_id: key(), claim_id: claim.claim_id.clone() }
}

async fn sent(served: &Served, rows: &[pb::SubmitClaimsRequest]) -> Vec<pb::SubmitClaimsResponse> {
    let rows = stream::iter(rows.to_vec());
    let answers = served.claims(HOSPITAL).submit_claims(rows).await.unwrap().into_inner();
    answers.map(Result::unwrap).collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_answered_in_its_turn_and_one_that_is_wrong_stands_alone() {
    let served = Served::start().await;
    let mut rows = Vec::new();
    for _ in 0..5 {
        rows.push(row(&claim(&served, "INT").await));
    }
    let unknown = pb::SubmitClaimsRequest { request_id: key(), claim_id: uuid::Uuid::now_v7().to_string() };
    rows.insert(2, unknown);
    rows.insert(4, pb::SubmitClaimsRequest { request_id: "x".into(), claim_id: "y".into() });
    // The same claim again under another key: it is submitted already.
    rows.push(pb::SubmitClaimsRequest { request_id: key(), claim_id: rows[0].claim_id.clone() });

    let answers = sent(&served, &rows).await;
    let given: Vec<_> = rows.iter().map(|row| (&row.request_id, &row.claim_id)).collect();
    assert_eq!(answers.iter().map(|row| (&row.request_id, &row.claim_id)).collect::<Vec<_>>(), given);
    let reasons: Vec<_> = answers.iter().map(|row| row.reason.as_str()).collect();
    assert_eq!(reasons, ["", "", "NOT_FOUND", "", "FIELDS_INVALID", "", "", "CLAIM_STATE_WRONG"]);
    for (place, answer) in answers.iter().enumerate() {
        let refused = [2, 4, 7].contains(&place);
        assert_eq!(answer.state() == pb::ClaimState::Submitted, !refused, "{answer:?}");
        assert_eq!(answer.message.is_empty(), !refused, "a refusal says what to do next");
    }
    let faults: BTreeSet<_> = answers[4].faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(faults, BTreeSet::from(["claim_id", "request_id"]), "every wrong field of the row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_cut_is_sent_again_and_nothing_happens_twice() {
    let served = Served::start().await;
    let mut rows = Vec::new();
    for _ in 0..6 {
        rows.push(row(&claim(&served, "INT").await));
    }
    // Cut after some answers: what is under way may be done or not.
    let mut cut =
        served.claims(HOSPITAL).submit_claims(stream::iter(rows.clone())).await.unwrap().into_inner();
    let first = cut.next().await.unwrap().unwrap();
    drop(cut);
    let again = sent(&served, &rows).await;
    assert_eq!(again[0], first, "the answer it had");
    assert_eq!(sent(&served, &rows).await, again);
    let events = served.events(3 * rows.len()).await;
    let submitted = events.iter().filter(|event| event.r#type == "jkn.claims.v1.ClaimSubmitted").count();
    assert_eq!(submitted, rows.len(), "one event for each claim");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_pends_as_a_claim_that_is_submitted_alone_does() {
    let served = Served::start().await;
    let asked = pb::IssueSepRequest { member_id: member(), ..visit(day(0)) };
    let sep = served.issue(asked).await.unwrap();
    // Tuberculosis without a number of the register.
    let claim = served.coded(&sep, coding(day(0), "A15.0")).await;
    let answers = sent(&served, &[row(&claim)]).await;
    assert_eq!(answers[0].state(), pb::ClaimState::Pending);
    let pending = answers[0].pending.as_ref().unwrap();
    assert_eq!((pending.round, pending.reason()), (1, pb::PendingReason::CodeWithoutEvidence));
    assert!(!pending.findings.is_empty());
    let read = served.read(&claim).await;
    assert_eq!(read.pendings[0].findings, pending.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_open_to_hospitals_and_each_sees_its_own_claims_only() {
    let served = Served::start().await;
    let row = row(&claim(&served, "INT").await);
    let others = served.claims(OTHER).submit_claims(stream::iter([row.clone()])).await.unwrap().into_inner();
    let answers: Vec<_> = others.map(Result::unwrap).collect().await;
    assert_eq!(answers[0].reason, "NOT_FOUND");
    assert!(served.claims(BPJS).submit_claims(stream::iter([row])).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_held_by_others_hold_up_their_own_callers_only() {
    let served = Arc::new(Served::start().await);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(claim(&served, "INT").await);
    }
    let free = claim(&served, "INT").await;
    let ids: Vec<uuid::Uuid> = held.iter().map(|claim| claim.claim_id.parse().unwrap()).collect();
    let mut holding = served.database.pool.begin().await.unwrap();
    sqlx::query("select from claim where claim_id = any($1) for update")
        .bind(ids)
        .execute(&mut *holding)
        .await
        .unwrap();
    let mut waiting = Vec::new();
    for (place, claim) in held.into_iter().enumerate() {
        let caller = Arc::clone(&served);
        waiting.push(tokio::spawn(async move { caller.submitted(&claim).await }));
        // Each comes when the one before waits, so that each is alone in its turn. Asked in no transaction: that would not
        // see connections that were opened after its first look.
        let many = i64::try_from(place + 1).unwrap();
        let wait = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(wait).fetch_one(&served.database.pool).await.unwrap() < many {
            assert!(waiting.iter().all(|call| !call.is_finished()), "one was given up before all waited");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(served.submitted(&free).await.unwrap().state(), pb::ClaimState::Submitted);
    assert!(waiting.iter().all(|call| !call.is_finished()), "they were given up before the other was served");
    holding.rollback().await.unwrap();
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().state(), pb::ClaimState::Submitted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_changes_while_it_is_submitted_is_judged_as_it_became() {
    let served = Arc::new(Served::start().await);
    let claim = claim(&served, "INT").await;
    let asked = pb::IssueSepRequest { member_id: member(), ..visit(day(0)) };
    // Tuberculosis without a number of the register.
    let pends = served.coded(&served.issue(asked).await.unwrap(), coding(day(0), "A15.0")).await;
    let mut changing = served.database.pool.begin().await.unwrap();
    sqlx::query("update claim set data = other.data from claim other where claim.claim_id = $1 and other.claim_id = $2")
        .bind(claim.claim_id.parse::<uuid::Uuid>().unwrap())
        .bind(pends.claim_id.parse::<uuid::Uuid>().unwrap())
        .execute(&mut *changing)
        .await
        .unwrap();
    let caller = (Arc::clone(&served), claim.clone());
    let submission = tokio::spawn(async move { caller.0.submitted(&caller.1).await });
    // It has been read and judged as it was.
    let waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
    while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&served.database.pool).await.unwrap() {
        assert!(!submission.is_finished(), "it was submitted as it was");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    changing.commit().await.unwrap();
    assert_eq!(submission.await.unwrap().unwrap().state(), pb::ClaimState::Pending);
    assert_eq!(served.read(&claim).await.pendings.len(), 1);
}

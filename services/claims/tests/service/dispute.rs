//! Disputes as hospital, BPJS Kesehatan and ministry meet them, on a real Postgres.

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, key, today},
};
use prost::Message;
use proto::claims::v1 as pb;
use tonic::{Code, Status};

const MINISTRY: &str = "ministry:tpk-jkn";

fn wish(claim: &pb::Claim, ground: pb::DisputeGround) -> pb::OpenDisputeRequest {
    pb::OpenDisputeRequest {
        request_id: key(),
        claim_id: claim.claim_id.clone(),
        round: claim.round,
        ground: ground.into(),
        statement: "the rule is about another combination".into(),
        documents: vec![pb::Document {
            kind: pb::DocumentKind::MedicalSummary.into(),
            reference: "MS-9".into(),
        }],
    }
}

async fn opened(
    served: &Served,
    claim: &pb::Claim,
    ground: pb::DisputeGround,
) -> Result<pb::Dispute, Status> {
    let opened = served.disputes(HOSPITAL).open_dispute(wish(claim, ground)).await?;
    Ok(opened.into_inner().dispute.unwrap())
}

fn ruling(dispute: &pb::Dispute, outcome: pb::DisputeOutcome) -> pb::DecideDisputeRequest {
    pb::DecideDisputeRequest {
        request_id: key(),
        dispute_id: dispute.dispute_id.clone(),
        outcome: outcome.into(),
        decision: "the body has looked at the summary".into(),
    }
}

async fn decided(
    served: &Served,
    by: &'static str,
    dispute: &pb::Dispute,
    outcome: pb::DisputeOutcome,
) -> Result<pb::DecideDisputeResponse, Status> {
    Ok(served.disputes(by).decide_dispute(ruling(dispute, outcome)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_that_is_upheld_ends_in_payment() {
    let served = Served::start().await;
    let claim = served.pending(today()).await;
    let mut stale = wish(&claim, pb::DisputeGround::CodingRule);
    stale.round = 2;
    let stale = served.disputes(HOSPITAL).open_dispute(stale).await.unwrap_err();
    assert_eq!((reason(&stale).as_str(), fact(&stale, "round").as_str()), ("ROUND_NOT_OPEN", "1"));
    let stranger =
        served.disputes(OTHER).open_dispute(wish(&claim, pb::DisputeGround::CodingRule)).await.unwrap_err();
    assert_eq!(stranger.code(), Code::NotFound);

    let request = wish(&claim, pb::DisputeGround::CodingRule);
    let dispute = served.disputes(HOSPITAL).open_dispute(request.clone()).await.unwrap().into_inner();
    let again = served.disputes(HOSPITAL).open_dispute(request).await.unwrap().into_inner();
    assert_eq!(again, dispute, "the same request has one effect");
    let dispute = dispute.dispute.unwrap();
    assert_eq!(
        (dispute.body(), dispute.number, dispute.round, dispute.age_days, dispute.overdue),
        (pb::DisputeBody::Bpjs, 1, 1, 0, false)
    );
    assert_eq!(dispute.amount_rupiah, claim.grouping.as_ref().unwrap().tariff_rupiah);

    let disputed = served.read(&claim).await;
    assert_eq!(disputed.state(), pb::ClaimState::Disputed);
    assert_eq!(disputed.clocks.as_ref().unwrap().waiting_for(), pb::Party::DisputeBody);
    assert!(disputed.pendings[0].answered_at.is_some(), "the dispute is the answer");
    assert_eq!(disputed.pendings[0].documents[0].reference, "MS-9");
    // While it is open, nobody else has the word.
    for refused in [
        served.verified(&claim).await.unwrap_err(),
        served.set(&claim, crate::wishes::coding(today(), "I11.0")).await.unwrap_err(),
        opened(&served, &claim, pb::DisputeGround::CodingRule).await.unwrap_err(),
    ] {
        assert_eq!(
            (reason(&refused).as_str(), fact(&refused, "state").as_str()),
            ("CLAIM_STATE_WRONG", "DISPUTED")
        );
    }

    // The ministry does not even see what is not before its body.
    let get = pb::GetDisputeRequest { dispute_id: dispute.dispute_id.clone() };
    assert_eq!(served.disputes(MINISTRY).get_dispute(get.clone()).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(served.disputes(OTHER).get_dispute(get.clone()).await.unwrap_err().code(), Code::NotFound);
    let unseen = decided(&served, MINISTRY, &dispute, pb::DisputeOutcome::Upheld).await.unwrap_err();
    assert_eq!(unseen.code(), Code::NotFound);

    let request = ruling(&dispute, pb::DisputeOutcome::Upheld);
    let upheld = served.disputes(BPJS).decide_dispute(request.clone()).await.unwrap().into_inner();
    assert_eq!(served.disputes(BPJS).decide_dispute(request).await.unwrap().into_inner(), upheld);
    assert_eq!(upheld.claim_state(), pb::ClaimState::Verified);
    let twice = decided(&served, BPJS, &dispute, pb::DisputeOutcome::WithoutPayment).await.unwrap_err();
    assert_eq!(reason(&twice), "CLAIM_STATE_WRONG");
    let whole = served.disputes(HOSPITAL).get_dispute(get).await.unwrap().into_inner().dispute.unwrap();
    assert_eq!((whole.outcome(), whole.decided_by.as_str()), (pb::DisputeOutcome::Upheld, BPJS));
    assert_eq!(whole.statement, "the rule is about another combination");
    assert_eq!(whole.decision, "the body has looked at the summary");

    let approved = served.approved(&claim).await.unwrap();
    served.settled(&claim, "BNI-1", approved.approved_rupiah).await.unwrap();
    let kinds = served.kinds(9).await;
    let expected = [
        "SepIssued",
        "ClaimGrouped",
        "ClaimSubmitted",
        "ClaimPended",
        "DisputeOpened",
        "DisputeDecided",
        "ClaimVerified",
        "ClaimApproved",
        "ClaimPaid",
    ];
    assert_eq!(kinds, expected);
    let told = pb::DisputeOpened::decode(served.events(9).await[4].body.clone()).unwrap();
    assert_eq!((told.body(), told.opened_on), (pb::DisputeBody::Bpjs, today().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_put_right_is_pending_again_and_disputed_no_more() {
    let served = Served::start().await;
    let claim = served.pending(today()).await;
    let dispute = opened(&served, &claim, pb::DisputeGround::MedicalIndication).await.unwrap();
    assert_eq!(dispute.body(), pb::DisputeBody::TpkJkn);
    let other = decided(&served, BPJS, &dispute, pb::DisputeOutcome::Upheld).await.unwrap_err();
    assert_eq!(
        (reason(&other).as_str(), fact(&other, "body").as_str()),
        ("DISPUTE_OF_ANOTHER_BODY", "TPK_JKN")
    );

    let before = pb::ListDisputesRequest { only_open: true, ..Default::default() };
    assert_eq!(
        served.disputes(MINISTRY).list_disputes(before.clone()).await.unwrap().into_inner().disputes.len(),
        1
    );
    let correct = decided(&served, MINISTRY, &dispute, pb::DisputeOutcome::Correct).await.unwrap();
    assert_eq!(correct.claim_state(), pb::ClaimState::Pending);
    assert!(served.disputes(MINISTRY).list_disputes(before).await.unwrap().into_inner().disputes.is_empty());
    let back = served.read(&claim).await;
    assert_eq!((back.round, back.pendings.len()), (2, 2));
    assert_eq!(
        (back.pendings[1].asked_of(), back.pendings[1].detail.as_str()),
        (pb::Party::Hospital, "the body has looked at the summary")
    );
    assert_eq!(back.pendings[1].reason(), pb::PendingReason::Coding, "the reason stays");
    let used = opened(&served, &back, pb::DisputeGround::CodingRule).await.unwrap_err();
    assert_eq!(reason(&used), "DISPUTES_USED_UP");

    let answer = pb::AnswerPendingRequest {
        request_id: key(),
        claim_id: claim.claim_id.clone(),
        round: 2,
        answer: "put right".into(),
        documents: vec![],
    };
    let answered = served.claims(HOSPITAL).answer_pending(answer).await.unwrap().into_inner().claim.unwrap();
    assert_eq!(answered.state(), pb::ClaimState::Resubmitted);
    served.approved(&served.verified(&answered).await.unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_put_right_is_decided_without_payment_and_never_rejected() {
    let served = Served::start().await;
    let claim = served.pending(today()).await;
    let dispute = opened(&served, &claim, pb::DisputeGround::Evidence).await.unwrap();
    let answer = decided(&served, BPJS, &dispute, pb::DisputeOutcome::WithoutPayment).await.unwrap();
    assert_eq!(answer.claim_state(), pb::ClaimState::Decided);
    let closed = served.read(&claim).await;
    assert_eq!(closed.clocks.unwrap().waiting_for, 0, "nobody owes a step");
    for refused in [
        served.verified(&claim).await.unwrap_err(),
        served.approved(&claim).await.unwrap_err(),
        served.settled(&claim, "BNI-1", 1).await.unwrap_err(),
        opened(&served, &claim, pb::DisputeGround::Evidence).await.unwrap_err(),
    ] {
        assert_eq!(fact(&refused, "state"), "DECIDED");
    }
    let list = pb::ListDisputesRequest { claim_id: claim.claim_id.clone(), ..Default::default() };
    let listed = served.disputes(HOSPITAL).list_disputes(list).await.unwrap().into_inner().disputes;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].outcome(), pb::DisputeOutcome::WithoutPayment);
    assert!(listed[0].statement.is_empty() && listed[0].decision.is_empty(), "lists are without words");
    let told = pb::DisputeDecided::decode(served.events(6).await[5].body.clone()).unwrap();
    assert_eq!((told.outcome(), told.decided_on), (pb::DisputeOutcome::WithoutPayment, today().to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_dispute_has_thirty_days_and_exactly_thirty_is_not_overdue() {
    let served = Served::start().await;
    let claim = served.pending(today()).await;
    let dispute = opened(&served, &claim, pb::DisputeGround::Evidence).await.unwrap();
    for (days, overdue) in [(30, false), (1, true)] {
        sqlx::query("update claim_dispute set opened_at = opened_at - make_interval(days => $1)")
            .bind(days)
            .execute(&served.database.pool)
            .await
            .unwrap();
        let get = pb::GetDisputeRequest { dispute_id: dispute.dispute_id.clone() };
        let read = served.disputes(BPJS).get_dispute(get).await.unwrap().into_inner().dispute.unwrap();
        assert_eq!(read.overdue, overdue, "{} days", read.age_days);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_names_every_field_and_leaves_nothing() {
    let served = Served::start().await;
    let wild = pb::OpenDisputeRequest {
        request_id: "x".into(),
        claim_id: "y".into(),
        round: 0,
        ground: 77,
        statement: "z".repeat(501),
        documents: vec![pb::Document::default(); 51],
    };
    let wrong = wrong_fields(&served.disputes(HOSPITAL).open_dispute(wild).await.unwrap_err());
    for field in ["request_id", "claim_id", "round", "ground", "statement", "documents", "documents[0].kind"]
    {
        assert!(wrong.iter().any(|name| name == field), "{field}: {wrong:?}");
    }
    let wild = pb::DecideDisputeRequest { outcome: 9, ..Default::default() };
    let wrong = wrong_fields(&served.disputes(BPJS).decide_dispute(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "dispute_id", "outcome", "decision"]);
    assert_eq!(served.rows().await, 0);
    let refused =
        served.disputes(BPJS).open_dispute(wish(&pb::Claim::default(), pb::DisputeGround::Other)).await;
    assert_eq!(reason(&refused.unwrap_err()), "CALLER_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_and_an_answer_at_once_have_one_winner() {
    let served = Served::start().await;
    for _ in 0..6 {
        let claim = served.pending(today()).await;
        let answer = pb::AnswerPendingRequest {
            request_id: key(),
            claim_id: claim.claim_id.clone(),
            round: 1,
            answer: "see the summary".into(),
            documents: vec![],
        };
        let (mut answering, mut disputing) = (served.claims(HOSPITAL), served.disputes(HOSPITAL));
        let (answered, disputed) = tokio::join!(
            answering.answer_pending(answer),
            disputing.open_dispute(wish(&claim, pb::DisputeGround::Other)),
        );
        assert!(answered.is_ok() != disputed.is_ok());
        let state = served.read(&claim).await.state();
        let expected = if answered.is_ok() { pb::ClaimState::Resubmitted } else { pb::ClaimState::Disputed };
        assert_eq!(state, expected);
    }
}

async fn withdrawn(
    served: &Served,
    by: &'static str,
    dispute: &pb::Dispute,
) -> Result<pb::WithdrawDisputeResponse, Status> {
    let request = pb::WithdrawDisputeRequest {
        request_id: key(),
        dispute_id: dispute.dispute_id.clone(),
        note: "the question is accepted".into(),
    };
    Ok(served.disputes(by).withdraw_dispute(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispute_is_withdrawn_by_its_hospital_and_the_claim_is_pending_as_it_was() {
    let served = Served::start().await;
    let claim = served.pending(today()).await;
    let before = served.read(&claim).await;
    let dispute = opened(&served, &claim, pb::DisputeGround::CodingRule).await.unwrap();
    assert_eq!(withdrawn(&served, OTHER, &dispute).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(reason(&withdrawn(&served, BPJS, &dispute).await.unwrap_err()), "CALLER_NOT_ALLOWED");
    let wild = pb::WithdrawDisputeRequest { dispute_id: "x".into(), ..Default::default() };
    let wrong = wrong_fields(&served.disputes(HOSPITAL).withdraw_dispute(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "dispute_id", "note"]);

    // By however many at once, it is withdrawn once.
    let answers = futures::future::join_all((0..4).map(|_| withdrawn(&served, HOSPITAL, &dispute))).await;
    let (done, late): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), late.len()), (1, 3));
    assert!(late.into_iter().all(|status| reason(&status.unwrap_err()) == "CLAIM_STATE_WRONG"));
    let answer = done.into_iter().next().unwrap().unwrap();
    assert_eq!(answer.claim_state(), pb::ClaimState::Pending);
    let ended = answer.dispute.unwrap();
    assert_eq!(
        (ended.outcome(), ended.decided_by.as_str(), ended.decision.as_str()),
        (pb::DisputeOutcome::Withdrawn, HOSPITAL, "the question is accepted")
    );
    let after = served.read(&claim).await;
    assert_eq!(
        (after.state(), after.round, &after.pendings, &after.clocks),
        (before.state(), before.round, &before.pendings, &before.clocks),
        "as if it had never been disputed"
    );
    assert_eq!(after.steps.len(), before.steps.len() + 2);

    // Nobody decides it any more, it counts, and the hospital answers its round.
    let decision = decided(&served, BPJS, &dispute, pb::DisputeOutcome::Upheld).await.unwrap_err();
    assert_eq!(reason(&decision), "CLAIM_STATE_WRONG");
    let again = opened(&served, &claim, pb::DisputeGround::Evidence).await.unwrap_err();
    assert_eq!(reason(&again), "DISPUTES_USED_UP");
    let so = decided(&served, BPJS, &dispute, pb::DisputeOutcome::Withdrawn).await.unwrap_err();
    assert_eq!(wrong_fields(&so), ["outcome"]);
    let answer = pb::AnswerPendingRequest {
        request_id: key(),
        claim_id: claim.claim_id.clone(),
        round: claim.round,
        answer: "the summary is attached".into(),
        documents: vec![],
    };
    let answered = served.claims(HOSPITAL).answer_pending(answer).await.unwrap().into_inner().claim.unwrap();
    assert_eq!(answered.state(), pb::ClaimState::Resubmitted);
    let kinds = served.kinds(7).await;
    let told: Vec<_> = kinds.iter().map(String::as_str).skip_while(|kind| *kind != "DisputeOpened").collect();
    assert_eq!(told, ["DisputeOpened", "DisputeWithdrawn", "ClaimAnswered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decided_dispute_is_not_withdrawn() {
    let served = Served::start().await;
    let claim = served.pending(today()).await;
    let dispute = opened(&served, &claim, pb::DisputeGround::CodingRule).await.unwrap();
    decided(&served, BPJS, &dispute, pb::DisputeOutcome::Correct).await.unwrap();
    let late = withdrawn(&served, HOSPITAL, &dispute).await.unwrap_err();
    assert_eq!((reason(&late).as_str(), fact(&late, "state").as_str()), ("CLAIM_STATE_WRONG", "PENDING"));
    assert_eq!(served.read(&claim).await.round, 2, "the round of the decision stays open");
}

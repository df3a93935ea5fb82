//! The work on drawn claims: registered, reviewed, closed, recovered and counted.

use std::collections::BTreeSet;

use crate::{
    audit_frames::{
        DJSN, MINISTRY, OLD_PROTOCOL, PROTOCOL, Paid, audits, count, drawn, middle, nation, past, publish,
        seed, wish, write,
    },
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, day, key, today},
};
use claims::quarter::Quarter;
use futures::{StreamExt, future::join_all, stream};
use proto::claims::v1 as pb;
use tonic::{Code, Status};
use uuid::Uuid;

async fn begin(served: &Served, audit: &pb::Audit) -> Result<pb::Audit, Status> {
    let request = pb::BeginAuditReviewRequest { request_id: key(), audit_id: audit.audit_id.clone() };
    Ok(served.audits(BPJS).begin_audit_review(request).await?.into_inner().audit.unwrap())
}

async fn find(served: &Served, audit: &pb::Audit) -> Result<pb::Audit, Status> {
    let request = pb::RecordAuditFindingRequest {
        request_id: key(),
        audit_id: audit.audit_id.clone(),
        kind: pb::AuditFindingKind::Upcoding.into(),
        detail: "the record shows a smaller procedure".into(),
        amount_rupiah: 50_000,
    };
    Ok(served.audits(BPJS).record_audit_finding(request).await?.into_inner().audit.unwrap())
}

fn closing(audit: &pb::Audit, verdict: pb::AuditVerdict, recovery: i64) -> pb::CloseAuditRequest {
    pb::CloseAuditRequest {
        request_id: key(),
        audit_id: audit.audit_id.clone(),
        verdict: verdict.into(),
        conclusion: "records and claim were compared".into(),
        protocol_version: PROTOCOL.into(),
        recovery_rupiah: recovery,
    }
}

async fn close(served: &Served, request: pb::CloseAuditRequest) -> Result<pb::Audit, Status> {
    Ok(served.audits(BPJS).close_audit(request).await?.into_inner().audit.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_is_registered_reviewed_and_done_and_its_recovery_is_kept() {
    let served = Served::start().await;
    let quarter = past(1);
    let at = middle(quarter);
    let claims = [Paid::visit("0301R011", at), Paid { primary: "I10", ..Paid::visit("0301R012", at) }];
    write(&served, &claims).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
    let frame = drawn(&served, &frame, &seed("1")).await;
    let of = |facility: &str| pb::ListAuditsRequest { facility_code: facility.into(), ..Default::default() };
    let audit = audits(&served, BPJS, of("0301R011")).await.pop().unwrap();
    assert_eq!(
        (audit.state(), audit.claim_id.clone()),
        (pb::AuditState::Registered, claims[0].claim_id.to_string())
    );
    assert_eq!((audit.paid_rupiah, &audit.frame_id), (207_000, &frame.frame_id));

    // Step by step, and no other way.
    let early = find(&served, &audit).await.unwrap_err();
    assert_eq!((fact(&early, "state"), fact(&early, "allowed")), ("REGISTERED".into(), "REVIEW".into()));
    let early = close(&served, closing(&audit, pb::AuditVerdict::Conform, 0)).await.unwrap_err();
    assert_eq!(reason(&early), "AUDIT_STATE_WRONG");
    let begun = begin(&served, &audit).await.unwrap();
    assert_eq!((begun.state(), begun.reviewed_by.as_str()), (pb::AuditState::Review, BPJS));
    assert_eq!(reason(&begin(&served, &audit).await.unwrap_err()), "AUDIT_STATE_WRONG");
    let unfounded = close(&served, closing(&audit, pb::AuditVerdict::NotConform, 207_001)).await.unwrap_err();
    assert_eq!(reason(&unfounded), "AUDIT_VERDICT_UNFOUNDED");
    assert_eq!(wrong_fields(&unfounded), ["verdict", "recovery_rupiah"]);
    let generous = close(&served, closing(&audit, pb::AuditVerdict::Conform, 1)).await.unwrap_err();
    assert_eq!(wrong_fields(&generous), ["recovery_rupiah"]);
    let found = find(&served, &find(&served, &audit).await.unwrap()).await.unwrap();
    assert_eq!(found.findings.iter().map(|finding| finding.number).collect::<Vec<_>>(), [1, 2]);
    let mut request = closing(&audit, pb::AuditVerdict::NotConform, 100_000);
    request.protocol_version = "home-made".into();
    assert_eq!(wrong_fields(&close(&served, request.clone()).await.unwrap_err()), ["protocol_version"]);
    request.protocol_version = PROTOCOL.into();
    let done = close(&served, request.clone()).await.unwrap();
    assert_eq!((done.state(), done.verdict()), (pb::AuditState::Done, pb::AuditVerdict::NotConform));
    assert_eq!((done.findings.len(), done.closed_on.clone()), (2, today().to_string()));
    assert_eq!(
        close(&served, request.clone()).await.unwrap(),
        done,
        "the same request again is the same answer"
    );
    assert_eq!(reason(&find(&served, &audit).await.unwrap_err()), "AUDIT_STATE_WRONG");
    request.request_id = key();
    assert_eq!(reason(&close(&served, request).await.unwrap_err()), "AUDIT_STATE_WRONG");

    // The other one conforms: nothing is recovered. The claims stay as they were.
    let other = audits(&served, BPJS, of("0301R012")).await.pop().unwrap();
    begin(&served, &other).await.unwrap();
    close(&served, closing(&other, pb::AuditVerdict::Conform, 0)).await.unwrap();
    let states: Vec<i16> =
        sqlx::query_scalar("select state from claim").fetch_all(&served.database.pool).await.unwrap();
    assert_eq!(states, [9, 9]);
    let kinds: Vec<_> = served.events(5).await.into_iter().map(|event| event.r#type).collect();
    let names =
        ["AuditFramePublished", "AuditSampleDrawn", "AuditClosed", "AuditRecoveryRecorded", "AuditClosed"];
    assert_eq!(kinds, names.map(|name| format!("jkn.claims.v1.{name}")));
    let recoveries = pb::ListAuditRecoveriesRequest::default();
    let kept = served.audits(MINISTRY).list_audit_recoveries(recoveries.clone()).await.unwrap().into_inner();
    let expected = pb::AuditRecovery {
        audit_id: audit.audit_id.clone(),
        claim_id: audit.claim_id.clone(),
        facility_code: "0301R011".into(),
        verdict: pb::AuditVerdict::NotConform.into(),
        amount_rupiah: 100_000,
        recorded_on: today().to_string(),
        settlement: None,
    };
    assert_eq!(kept.recoveries, [expected]);
    let stored =
        claims::store::audit::recoveries(&served.database.pool, Some("0301R011"), None, 10).await.unwrap();
    assert_eq!(stored.iter().map(|recovery| recovery.amount_rupiah).sum::<i64>(), 100_000);

    // A hospital sees what concerns its own claims, and may not audit itself.
    let get = |audit: &pb::Audit| pb::GetAuditRequest { audit_id: audit.audit_id.clone() };
    assert_eq!(
        served.audits(HOSPITAL).get_audit(get(&audit)).await.unwrap().into_inner().audit.unwrap(),
        done
    );
    assert_eq!(served.audits(OTHER).get_audit(get(&audit)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(audits(&served, OTHER, pb::ListAuditsRequest::default()).await.len(), 1);
    let asked = served.audits(OTHER).list_audits(of("0301R011")).await.unwrap_err();
    assert_eq!(wrong_fields(&asked), ["facility_code"]);
    let own = served.audits(OTHER).list_audit_recoveries(recoveries).await.unwrap().into_inner();
    assert!(own.recoveries.is_empty());
    let request = pb::BeginAuditReviewRequest { request_id: key(), audit_id: audit.audit_id };
    let refused = served.audits(HOSPITAL).begin_audit_review(request).await.unwrap_err();
    assert_eq!(reason(&refused), "CALLER_NOT_ALLOWED");
}

async fn recover(
    served: &Served,
    audit: &pb::Audit,
    claim_id: &str,
    amount: i64,
) -> Result<pb::Recovery, Status> {
    let request = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: claim_id.into(),
        amount_rupiah: amount,
        decided_on: today().to_string(),
        audit_id: audit.audit_id.clone(),
        ..Default::default()
    };
    Ok(served.settlement(BPJS).record_recovery(request).await?.into_inner().recovery.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_audit_found_is_recovered_once_and_the_audit_tells_of_it() {
    let served = Served::start().await;
    let (quarter, at) = (past(1), middle(past(1)));
    let claims = [Paid::visit("0301R011", at), Paid { primary: "I10", ..Paid::visit("0301R011", at) }];
    write(&served, &claims).await;
    let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
    drawn(&served, &frame, &seed("1")).await;
    let drawn = audits(&served, BPJS, pb::ListAuditsRequest::default()).await;
    let [audit, other] = drawn.as_slice() else { panic!("{drawn:?}") };
    let get = async |audit: &pb::Audit| {
        let request = pb::GetAuditRequest { audit_id: audit.audit_id.clone() };
        served.audits(HOSPITAL).get_audit(request).await.unwrap().into_inner().audit.unwrap()
    };

    // Not before it is closed, not of another claim, not above what it found, not before its closing.
    let early = recover(&served, audit, &audit.claim_id, 1).await.unwrap_err();
    assert_eq!(
        (reason(&early), fact(&early, "allowed")),
        ("AUDIT_STATE_WRONG".to_owned(), "DONE".to_owned())
    );
    begin(&served, audit).await.unwrap();
    find(&served, audit).await.unwrap();
    close(&served, closing(audit, pb::AuditVerdict::NotConform, 50_000)).await.unwrap();
    let foreign = recover(&served, audit, &other.claim_id, 1).await.unwrap_err();
    assert_eq!(
        (reason(&foreign), fact(&foreign, "claim_id")),
        ("AUDIT_OF_ANOTHER_CLAIM".to_owned(), audit.claim_id.clone())
    );
    let high = recover(&served, audit, &audit.claim_id, 50_001).await.unwrap_err();
    assert_eq!(
        (reason(&high), fact(&high, "found_rupiah")),
        ("RECOVERY_ABOVE_AUDIT".to_owned(), "50000".to_owned())
    );
    let request = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: audit.claim_id.clone(),
        amount_rupiah: 50_000,
        decided_on: day(-1).to_string(),
        audit_id: audit.audit_id.clone(),
        ..Default::default()
    };
    let before = served.settlement(BPJS).record_recovery(request.clone()).await.unwrap_err();
    assert_eq!(wrong_fields(&before), ["decided_on"]);
    let unknown = pb::RecordRecoveryRequest { audit_id: Uuid::now_v7().to_string(), ..request.clone() };
    let unknown = served.settlement(BPJS).record_recovery(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let garbled = pb::RecordRecoveryRequest { audit_id: "A".into(), amount_rupiah: 0, ..request };
    let garbled = served.settlement(BPJS).record_recovery(garbled).await.unwrap_err();
    assert_eq!(wrong_fields(&garbled), ["audit_id", "amount_rupiah"]);
    assert_eq!(get(audit).await.settlement, None);
    assert_eq!(count(&served, "recovery").await, 0, "nothing that was refused left anything");

    // Once, by however many at once.
    let asked = (0..4).map(|_| recover(&served, audit, &audit.claim_id, 50_000));
    let answers = join_all(asked).await;
    let recoveries: BTreeSet<_> = answers.into_iter().map(|answer| answer.unwrap().recovery_id).collect();
    assert_eq!(recoveries.len(), 1, "the id of the audit is a second key");
    let again = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: audit.claim_id.clone(),
        audit_reference: "AAK-2".into(),
        amount_rupiah: 1,
        decided_on: today().to_string(),
        audit_id: audit.audit_id.clone(),
    };
    let again = served.settlement(BPJS).record_recovery(again).await.unwrap_err();
    assert_eq!(
        (reason(&again), fact(&again, "recovery_id")),
        ("AUDIT_RECOVERED".to_owned(), recoveries.first().unwrap().clone())
    );
    let expected = pb::AuditSettlement {
        recovery_id: recoveries.first().unwrap().clone(),
        amount_rupiah: 50_000,
        recovered_rupiah: 0,
        recorded_on: today().to_string(),
        recovered_on: String::new(),
    };
    assert_eq!(get(audit).await.settlement.unwrap(), expected);

    // Nothing is recovered of one that conforms; another verdict needs no audit.
    begin(&served, other).await.unwrap();
    close(&served, closing(other, pb::AuditVerdict::Conform, 0)).await.unwrap();
    let nothing = recover(&served, other, &other.claim_id, 1).await.unwrap_err();
    assert_eq!(reason(&nothing), "AUDIT_FOUND_NOTHING");
    let outside = pb::RecordRecoveryRequest {
        request_id: key(),
        claim_id: other.claim_id.clone(),
        audit_reference: "VPK-7".into(),
        amount_rupiah: 1_000,
        decided_on: today().to_string(),
        audit_id: String::new(),
    };
    let outside = served.settlement(BPJS).record_recovery(outside).await.unwrap().into_inner();
    assert_eq!(outside.recovery.unwrap().audit_id, "");
    assert_eq!(get(other).await.settlement, None);

    // The next batch takes it, and the audit says when.
    let next = served.payable(today()).await;
    crate::settlement::closed(&served, &[&next]).await;
    let done =
        pb::AuditSettlement { recovered_rupiah: 50_000, recovered_on: today().to_string(), ..expected };
    assert_eq!(get(audit).await.settlement.as_ref(), Some(&done));
    let listed = audits(&served, BPJS, pb::ListAuditsRequest::default()).await;
    let told: Vec<_> = listed.into_iter().filter_map(|one| one.settlement).collect();
    assert_eq!(told, std::slice::from_ref(&done));
    let owed = pb::ListAuditRecoveriesRequest::default();
    let owed = served.audits(MINISTRY).list_audit_recoveries(owed).await.unwrap().into_inner();
    assert_eq!(owed.recoveries[0].settlement, Some(done));
}

async fn quarter_now(served: &Served) -> pb::AuditQuarter {
    let request = pb::GetAuditQuarterRequest { quarter: Quarter::of(today()).to_string() };
    served.audits(DJSN).get_audit_quarter(request).await.unwrap().into_inner().quarter.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_and_forty_nine_audits_do_not_meet_the_quarter_and_two_hundred_and_fifty_do() {
    let served = Served::start().await;
    write(&served, &nation(past(1), 260)).await;
    let at = middle(past(2));
    write(&served, &[Paid::visit("0901R001", at), Paid::visit("0901R002", at)]).await;
    for quarter in [past(1), past(2)] {
        let frame = publish(&served, wish(pb::AuditFrameKind::Claims, quarter)).await.unwrap();
        drawn(&served, &frame, &seed("1")).await;
    }
    let all = audits(&served, BPJS, pb::ListAuditsRequest::default()).await;
    assert_eq!(all.len(), 252);
    let (few, many): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|audit| audit.quarter == past(2).to_string());
    let whole = &served;
    let closed = stream::iter(&many[1..]).map(|audit| async move {
        begin(whole, audit).await.unwrap();
        close(whole, closing(audit, pb::AuditVerdict::Conform, 0)).await.unwrap();
    });
    closed.buffer_unordered(16).collect::<Vec<()>>().await;
    let result = quarter_now(&served).await;
    assert_eq!((result.audited, result.target, result.met), (249, 250, false));

    // An audit under another protocol does not count, one that is not closed neither.
    begin(&served, &many[0]).await.unwrap();
    begin(&served, &few[0]).await.unwrap();
    let old = pb::CloseAuditRequest {
        protocol_version: OLD_PROTOCOL.into(),
        ..closing(&few[0], pb::AuditVerdict::Conform, 0)
    };
    close(&served, old).await.unwrap();
    let result = quarter_now(&served).await;
    assert_eq!((result.audited, result.other_protocols, result.met), (249, 1, false));
    find(&served, &many[0]).await.unwrap();
    close(&served, closing(&many[0], pb::AuditVerdict::Corrected, 7)).await.unwrap();
    let result = quarter_now(&served).await;
    assert_eq!((result.audited, result.met), (250, true));
    assert_eq!(
        (result.conform, result.not_conform, result.corrected, result.recovery_rupiah),
        (249, 0, 1, 7)
    );
    assert_eq!(result.protocol_version, PROTOCOL);
    let before = pb::GetAuditQuarterRequest { quarter: past(1).to_string() };
    let before = served.audits(DJSN).get_audit_quarter(before).await.unwrap().into_inner().quarter.unwrap();
    assert_eq!((before.audited, before.met), (0, false), "it counts in the quarter of its closing");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_names_every_wrong_field_and_writes_nothing() {
    let served = Served::start().await;
    let published = served.audits(BPJS).publish_frame(pb::PublishFrameRequest::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&published), ["request_id", "kind", "quarter", "seed_at"]);
    let drawn = served.audits(BPJS).draw_sample(pb::DrawSampleRequest::default()).await.unwrap_err();
    assert_eq!(wrong_fields(&drawn), ["request_id", "frame_id", "seed", "seed_published_at"]);
    let found = pb::RecordAuditFindingRequest {
        detail: "x".repeat(100_000),
        amount_rupiah: i64::MIN,
        kind: 99,
        ..Default::default()
    };
    let found = served.audits(BPJS).record_audit_finding(found).await.unwrap_err();
    assert_eq!(wrong_fields(&found), ["request_id", "audit_id", "kind", "detail", "amount_rupiah"]);
    let closed = pb::CloseAuditRequest { recovery_rupiah: -1, ..Default::default() };
    let closed = served.audits(BPJS).close_audit(closed).await.unwrap_err();
    let expected = ["request_id", "audit_id", "verdict", "conclusion", "protocol_version", "recovery_rupiah"];
    assert_eq!(wrong_fields(&closed), expected);
    let listed = pb::ListAuditsRequest {
        facility_code: "?".into(),
        frame_id: "?".into(),
        claim_id: "?".into(),
        state: 9,
        verdict: 9,
        page_size: 501,
        page_token: "?".into(),
    };
    assert_eq!(wrong_fields(&served.audits(BPJS).list_audits(listed).await.unwrap_err()).len(), 7);
    let reviewed = pb::RecordCodingReviewRequest::default();
    let reviewed = served.audits(BPJS).record_coding_review(reviewed).await.unwrap_err();
    assert_eq!(wrong_fields(&reviewed), ["request_id", "frame_id", "claim_id", "protocol_version", "codes"]);
    let quarter = pb::GetAuditQuarterRequest { quarter: "2026-Q7".into() };
    let quarter = served.audits(DJSN).get_audit_quarter(quarter).await.unwrap_err();
    assert_eq!(wrong_fields(&quarter), ["quarter"]);
    for missing in [key(), day(0).to_string()] {
        let missing = pb::GetFrameRequest { frame_id: missing };
        assert!(served.audits(BPJS).get_frame(missing).await.is_err());
    }
    assert_eq!(served.rows().await, 0);
}

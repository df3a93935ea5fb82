//! Requests for approval of SEPs that come late or without a fingerprint, over gRPC and on a real Postgres.

use std::{fs, path::Path};

use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{BPJS, HOSPITAL, OTHER, admission, day, key, today, visit},
};
use futures::future::join_all;
use proto::claims::v1 as pb;
use tonic::{Code, Status};

const BACKDATE: pb::SepApprovalKind = pb::SepApprovalKind::Backdate;
const FINGERPRINT: pb::SepApprovalKind = pb::SepApprovalKind::Fingerprint;

/// Asks for a SEP as it is, without the approval it may need.
async fn issue(served: &Served, wish: &pb::IssueSepRequest) -> Result<pb::Sep, Status> {
    let wish = pb::IssueSepRequest { request_id: key(), ..wish.clone() };
    Ok(*served.seps(HOSPITAL).issue_sep(wish).await?.into_inner().sep.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backdated_sep_needs_an_approval_that_holds_for_one() {
    let served = Served::start().await;
    issue(&served, &visit(day(-1))).await.unwrap();
    let wish = visit(day(-2));
    let told = |status: &Status| fact(status, "BACKDATE_NOT_APPROVED");
    let refused = issue(&served, &wish).await.unwrap_err();
    assert_eq!(reason(&refused), "BACKDATE_NOT_APPROVED");
    assert_eq!(told(&refused), "more than 1 days after the service, no approval was asked for");

    let asked = served.asked(&wish, BACKDATE).await.unwrap();
    assert_eq!(asked.state(), pb::SepApprovalState::Asked);
    assert!(told(&issue(&served, &wish).await.unwrap_err()).ends_with("undecided"));
    let twice = served.asked(&wish, BACKDATE).await.unwrap_err();
    assert_eq!(
        (reason(&twice).as_str(), fact(&twice, "approval_id")),
        ("APPROVAL_EXISTS", asked.approval_id.clone())
    );
    let declined = served.decided(&asked, pb::SepApprovalState::Declined).await.unwrap();
    assert_eq!((declined.decided_by.as_str(), declined.valid_through.as_str()), (BPJS, ""));
    assert!(told(&issue(&served, &wish).await.unwrap_err()).ends_with("declined"));
    let again = served.decided(&asked, pb::SepApprovalState::Approved).await.unwrap_err();
    assert_eq!(
        (reason(&again).as_str(), fact(&again, "decision").as_str()),
        ("APPROVAL_DECIDED", "DECLINED")
    );

    let asked = served.asked(&wish, BACKDATE).await.unwrap();
    let approved = served.decided(&asked, pb::SepApprovalState::Approved).await.unwrap();
    assert_eq!(approved.valid_through, day(7).to_string());
    assert_eq!(reason(&served.asked(&wish, BACKDATE).await.unwrap_err()), "APPROVAL_EXISTS");
    let sep = issue(&served, &wish).await.unwrap();
    assert_eq!(sep.approval_ids, std::slice::from_ref(&approved.approval_id));
    let get = pb::GetSepApprovalRequest { approval_id: approved.approval_id };
    let used = served.approvals(HOSPITAL).get_sep_approval(get.clone()).await.unwrap().into_inner();
    let used = used.approval.unwrap();
    assert_eq!((used.state(), &used.used_by_sep_number), (pb::SepApprovalState::Used, &sep.sep_number));
    assert_eq!(served.approvals(OTHER).get_sep_approval(get).await.unwrap_err().code(), Code::NotFound);

    // For one SEP; free again when that is cancelled.
    let second = pb::IssueSepRequest { poli_code: "SAR".into(), ..wish };
    assert!(told(&issue(&served, &second).await.unwrap_err()).ends_with("used by another SEP"));
    served.cancelled(&sep).await.unwrap();
    issue(&served, &second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inpatient_sep_after_its_hours_needs_an_approval() {
    let served = Served::start().await;
    issue(&served, &admission(71)).await.unwrap();
    let late = admission(73);
    let refused = issue(&served, &late).await.unwrap_err();
    assert_eq!(reason(&refused), "INPATIENT_ENTRY_TOO_LATE");
    assert_eq!(
        fact(&refused, "INPATIENT_ENTRY_TOO_LATE"),
        "more than 72 hours after admission, no approval was asked for"
    );
    // One for another kind of care does not help.
    let visit = pb::IssueSepRequest { care_type: pb::CareType::Outpatient.into(), ..late.clone() };
    let other = served.asked(&visit, BACKDATE).await.unwrap();
    served.decided(&other, pb::SepApprovalState::Approved).await.unwrap();
    assert_eq!(reason(&issue(&served, &late).await.unwrap_err()), "INPATIENT_ENTRY_TOO_LATE");
    let asked = served.asked(&late, BACKDATE).await.unwrap();
    served.decided(&asked, pb::SepApprovalState::Approved).await.unwrap();
    assert_eq!(issue(&served, &late).await.unwrap().approval_ids, [asked.approval_id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_approval_is_not_asked_for() {
    let served = Served::start().await;
    for wish in [visit(today()), visit(day(-1)), admission(1)] {
        assert_eq!(reason(&served.asked(&wish, BACKDATE).await.unwrap_err()), "APPROVAL_NOT_NEEDED");
    }
    assert_eq!(reason(&served.asked(&visit(today()), FINGERPRINT).await.unwrap_err()), "APPROVAL_NOT_NEEDED");
    assert_eq!(reason(&served.asked(&visit(day(1)), BACKDATE).await.unwrap_err()), "SERVICE_DATE_IN_FUTURE");
    assert_eq!(served.rows_around().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_seps_at_once_one_is_issued_by_an_approval() {
    let served = Served::start().await;
    let wish = visit(day(-3));
    let asked = served.asked(&wish, BACKDATE).await.unwrap();
    served.decided(&asked, pb::SepApprovalState::Approved).await.unwrap();
    let wishes = ["INT", "SAR", "BED", "JAN", "PAR", "THT", "MAT", "OBG"]
        .map(|clinic| pb::IssueSepRequest { poli_code: clinic.into(), ..wish.clone() });
    let (issued, refused): (Vec<_>, Vec<_>) =
        join_all(wishes.iter().map(|wish| issue(&served, wish))).await.into_iter().partition(Result::is_ok);
    assert_eq!((issued.len(), refused.len()), (1, 7));
    for status in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(reason(&status), "BACKDATE_NOT_APPROVED");
        assert!(fact(&status, "BACKDATE_NOT_APPROVED").ends_with("used by another SEP"));
    }
    let (seps, last): (i64, i64) =
        sqlx::query_as("select (select count(*) from sep), (select sum(last) from sep_counter)")
            .fetch_one(&served.database.pool)
            .await
            .unwrap();
    assert_eq!((seps, last), (1, 1), "those refused spent no number");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_bpjs_kesehatans_and_bounded() {
    let served = Served::start().await;
    let wish = visit(day(-5));
    let asked = served.asked(&wish, BACKDATE).await.unwrap();
    let decision = |through: String| pb::DecideSepApprovalRequest {
        request_id: key(),
        approval_id: asked.approval_id.clone(),
        decision: pb::SepApprovalState::Approved.into(),
        note: "public holiday".into(),
        valid_through: through,
    };
    let own = served.approvals(HOSPITAL).decide_sep_approval(decision(String::new())).await.unwrap_err();
    assert_eq!((own.code(), reason(&own).as_str()), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    for through in [day(8), day(-1)] {
        let refused =
            served.approvals(BPJS).decide_sep_approval(decision(through.to_string())).await.unwrap_err();
        assert_eq!(wrong_fields(&refused), ["valid_through"]);
    }
    let today_only = decision(today().to_string());
    let decided = served.approvals(BPJS).decide_sep_approval(today_only.clone()).await.unwrap().into_inner();
    let again = served.approvals(BPJS).decide_sep_approval(today_only).await.unwrap().into_inner();
    assert_eq!(decided, again, "the same decision again is the same answer");
    assert_eq!(decided.approval.unwrap().valid_through, today().to_string());

    served.asked(&visit(day(-6)), BACKDATE).await.unwrap();
    let list = |state: pb::SepApprovalState| pb::ListSepApprovalsRequest {
        state: state.into(),
        ..Default::default()
    };
    let open = served.approvals(BPJS).list_sep_approvals(list(pb::SepApprovalState::Asked)).await.unwrap();
    assert_eq!(open.into_inner().approvals.len(), 1);
    let all = pb::ListSepApprovalsRequest { page_size: 1, ..list(pb::SepApprovalState::Unspecified) };
    let page = served.approvals(HOSPITAL).list_sep_approvals(all.clone()).await.unwrap().into_inner();
    let rest = pb::ListSepApprovalsRequest { page_token: page.next_page_token, ..all.clone() };
    let rest = served.approvals(HOSPITAL).list_sep_approvals(rest).await.unwrap().into_inner();
    assert_eq!((page.approvals.len(), rest.approvals.len(), rest.next_page_token.as_str()), (1, 1, ""));
    assert_eq!(page.approvals[0].approval_id, asked.approval_id);
    assert!(served.approvals(OTHER).list_sep_approvals(all).await.unwrap().into_inner().approvals.is_empty());
    let kinds: Vec<_> = served.events(3).await.into_iter().map(|event| event.r#type).collect();
    assert_eq!(kinds, vec!["jkn.claims.v1.SepApprovalChanged"; 3]);
}

/// The policies as they are, with haemodialysis asking for fingerprints; in a folder of its own.
fn policies_with_fingerprints() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let claims = folder.path().join("claims");
    fs::create_dir(&claims).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policy/claims");
    for file in fs::read_dir(shipped).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        let text = fs::read_to_string(file.path()).unwrap();
        let text = text.replace("fingerprint-clinics = []", "fingerprint-clinics = [\"HDL\"]");
        fs::write(claims.join(file.file_name()), text).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_clinic_asks_for_a_fingerprint_there_is_one_or_an_approval() {
    let folder = policies_with_fingerprints();
    let served = Served::start_with(&[("policy-folder", &folder.path().display().to_string())]).await;
    served.others(|others| others.eligibility.birth_date = "1980-05-17".into());
    let dialysis = || pb::IssueSepRequest { poli_code: "HDL".into(), ..visit(today()) };
    issue(&served, &visit(today())).await.unwrap();
    let wish = dialysis();
    let refused = issue(&served, &wish).await.unwrap_err();
    assert_eq!(reason(&refused), "FINGERPRINT_REQUIRED");
    assert_eq!(fact(&refused, "FINGERPRINT_REQUIRED"), "no fingerprint, no approval was asked for");
    // The finger would be the mother's.
    issue(&served, &pb::IssueSepRequest { newborn_order: 1, ..dialysis() }).await.unwrap();
    let record = pb::RecordFingerprintRequest {
        request_id: key(),
        member_id: wish.member_id.clone(),
        facility_code: "0301R011".into(),
        service_date: wish.service_date.clone(),
    };
    let by_hospital = served.approvals(HOSPITAL).record_fingerprint(record.clone()).await.unwrap_err();
    assert_eq!(by_hospital.code(), Code::PermissionDenied);
    let at =
        served.approvals(BPJS).record_fingerprint(record.clone()).await.unwrap().into_inner().recorded_at;
    let again = pb::RecordFingerprintRequest { request_id: key(), ..record };
    let again = served.approvals(BPJS).record_fingerprint(again).await.unwrap().into_inner().recorded_at;
    assert_eq!(at, again, "the first one counts");
    let get = pb::GetFingerprintRequest {
        member_id: wish.member_id.clone(),
        service_date: wish.service_date.clone(),
        ..Default::default()
    };
    let own = served.approvals(HOSPITAL).get_fingerprint(get.clone()).await.unwrap().into_inner().recorded_at;
    let elsewhere = served.approvals(OTHER).get_fingerprint(get).await.unwrap().into_inner().recorded_at;
    assert_eq!((own, elsewhere), (at, None));
    assert!(issue(&served, &wish).await.unwrap().approval_ids.is_empty());

    // Whose finger cannot be read has an approval; who is too young needs neither.
    let wish = dialysis();
    let asked = served.asked(&wish, FINGERPRINT).await.unwrap();
    served.decided(&asked, pb::SepApprovalState::Approved).await.unwrap();
    assert_eq!(issue(&served, &wish).await.unwrap().approval_ids, [asked.approval_id]);
    served.others(|others| others.eligibility.birth_date = day(-5000).to_string());
    issue(&served, &dialysis()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_name_every_wrong_field_and_write_nothing() {
    let served = Served::start().await;
    let wild = pb::RequestSepApprovalRequest { note: "x".repeat(100_000), ..Default::default() };
    let wrong = wrong_fields(&served.approvals(HOSPITAL).request_sep_approval(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "kind", "member_id", "service_date", "care_type", "note"]);
    let wild = pb::DecideSepApprovalRequest {
        approval_id: "x".into(),
        decision: pb::SepApprovalState::Used.into(),
        valid_through: "soon".into(),
        ..Default::default()
    };
    let wrong = wrong_fields(&served.approvals(BPJS).decide_sep_approval(wild).await.unwrap_err());
    assert_eq!(wrong, ["request_id", "approval_id", "decision", "note", "valid_through"]);
    let wrong = wrong_fields(
        &served
            .approvals(BPJS)
            .record_fingerprint(pb::RecordFingerprintRequest::default())
            .await
            .unwrap_err(),
    );
    assert_eq!(wrong, ["request_id", "member_id", "facility_code", "service_date"]);
    let unknown = pb::GetSepApprovalRequest { approval_id: key() };
    assert_eq!(served.approvals(BPJS).get_sep_approval(unknown).await.unwrap_err().code(), Code::NotFound);
    assert_eq!((served.rows().await, served.rows_around().await), (0, 0));
}

//! In-patient stays over gRPC and on a real Postgres: one discharge for SEP and claim, one stay at a time.

use crate::issuance::asked_of;
use crate::{
    refusal::{fact, reason, wrong_fields},
    served::Served,
    wishes::{HOSPITAL, OTHER, admission, coding, day, key, member, today, visit},
};
use jiff::ToSpan;
use proto::claims::v1 as pb;
use tonic::Status;

/// So many seconds after the minute that follows admission.
fn after(sep: &pb::Sep, seconds: i64) -> Option<prost_types::Timestamp> {
    let minute = |at: i64| (at + 59).div_euclid(60) * 60;
    sep.admitted_at.map(|at| prost_types::Timestamp { seconds: minute(at.seconds) + seconds, nanos: 0 })
}

pub(crate) async fn discharged(
    served: &Served,
    caller: &'static str,
    sep: &pb::Sep,
    seconds: i64,
) -> Result<pb::Sep, Status> {
    let request = pb::RecordDischargeRequest {
        request_id: key(),
        sep_number: sep.sep_number.clone(),
        discharge: Some(pb::Discharge {
            discharged_at: after(sep, seconds),
            departure: pb::Departure::Approved.into(),
            ..Default::default()
        }),
    };
    Ok(served.seps(caller).record_discharge(request).await?.into_inner().sep.unwrap())
}

/// The coded data of a stay that ended so many seconds after admission.
pub(crate) fn stay(sep: &pb::Sep, seconds: i64) -> pb::ClaimData {
    let on = sep.service_date.parse().unwrap();
    pb::ClaimData { admitted_at: sep.admitted_at, discharged_at: after(sep, seconds), ..coding(on, "E11.9") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_final_only_when_it_states_the_discharge_of_its_sep() {
    let served = Served::start().await;
    let sep = served.issue(admission(50)).await.unwrap();
    discharged(&served, HOSPITAL, &sep, 48 * 3600).await.unwrap();
    let data =
        pb::ClaimData { discharge_status: pb::DischargeStatus::Referred.into(), ..stay(&sep, 24 * 3600) };
    let claim = served.created(&sep).await;
    served.set(&claim, data).await.unwrap();
    served.grouped(&claim).await;
    let rows = served.rows().await;
    let refused = served.finalised(&claim).await.unwrap_err();
    assert_eq!(reason(&refused), "DISCHARGE_DIFFERS");
    assert_eq!(
        wrong_fields(&refused),
        ["data.discharged_at", "discharge.discharged_at", "data.discharge_status", "discharge.departure"]
    );
    assert_eq!(served.rows().await, rows, "a refusal writes nothing");

    // Corrected in the claim, or, once it is a draft again, in the SEP.
    served.set(&claim, stay(&sep, 24 * 3600)).await.unwrap();
    served.grouped(&claim).await;
    let refused = served.finalised(&claim).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["data.discharged_at", "discharge.discharged_at"]);
    let grouped = discharged(&served, HOSPITAL, &sep, 24 * 3600).await.unwrap_err();
    assert_eq!(reason(&grouped), "SEP_IN_USE");
    served.set(&claim, stay(&sep, 24 * 3600)).await.unwrap();
    discharged(&served, HOSPITAL, &sep, 24 * 3600 + 59).await.unwrap();
    served.grouped(&claim).await;
    let done = served.finalised(&claim).await.unwrap();
    assert_eq!(done.state(), pb::ClaimState::Final, "seconds are no statement");
}

pub(crate) async fn issued(
    served: &Served,
    caller: &'static str,
    wish: pb::IssueSepRequest,
) -> Result<pb::Sep, Status> {
    Ok(*served.seps(caller).issue_sep(wish).await?.into_inner().sep.unwrap())
}

fn cancel(sep: &pb::Sep) -> pb::CancelSepRequest {
    pb::CancelSepRequest {
        request_id: key(),
        sep_number: sep.sep_number.clone(),
        note: "not admitted".into(),
    }
}

pub(crate) fn refused(answer: Result<pb::Sep, Status>) -> (String, String) {
    let status = answer.unwrap_err();
    (reason(&status), fact(&status, "stay_sep_number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_lies_in_one_bed_at_a_time() {
    let served = Served::start().await;
    let member_id = member();
    let midnight = chassis::time::start_of(today()).unwrap();
    let planned = |hours_before: i64| {
        let admitted_at = midnight - hours_before.hours();
        pb::IssueSepRequest {
            member_id: member_id.clone(),
            request_id: key(),
            entry: pb::Entry::Referral.into(),
            referral_number: visit(today()).referral_number,
            service_date: chassis::time::today_at(admitted_at).to_string(),
            admitted_at: Some(chassis::time::to_proto(admitted_at)),
            ..admission(0)
        }
    };
    let clinic = |on| pb::IssueSepRequest { member_id: member_id.clone(), ..visit(day(on)) };
    let first = issued(&served, HOSPITAL, planned(25)).await.unwrap();
    let open = ("INPATIENT_STAY_OPEN".to_owned(), first.sep_number.clone());

    // While it is open nobody admits the member again, but for an emergency elsewhere; clinics elsewhere stay open.
    assert_eq!(refused(issued(&served, OTHER, planned(0)).await), open);
    assert_eq!(refused(issued(&served, HOSPITAL, planned(0)).await), open);
    assert_eq!(refused(issued(&served, HOSPITAL, clinic(0)).await), open);
    let someone = pb::IssueSepRequest { member_id: member(), ..planned(0) };
    issued(&served, HOSPITAL, someone).await.unwrap();
    issued(&served, OTHER, clinic(0)).await.unwrap();
    let rows = served.rows_around().await;
    let again = pb::IssueSepRequest {
        entry: pb::Entry::Emergency.into(),
        referral_number: String::new(),
        ..planned(0)
    };
    assert_eq!(refused(issued(&served, HOSPITAL, again.clone()).await), open);
    assert_eq!(served.rows_around().await, rows, "a refusal writes nothing");
    let crash = issued(&served, OTHER, pb::IssueSepRequest { request_id: key(), ..again }).await.unwrap();
    served.seps(OTHER).cancel_sep(cancel(&crash)).await.unwrap();

    // The day of discharge is free, the days before it are not.
    discharged(&served, HOSPITAL, &first, 25 * 3600).await.unwrap();
    let within = clinic(-1);
    let day_in = ("DAY_IN_INPATIENT_STAY".to_owned(), first.sep_number.clone());
    assert_eq!(refused(issued(&served, OTHER, within.clone()).await), day_in);
    assert_eq!(refused(issued(&served, HOSPITAL, clinic(-1)).await), day_in);
    issued(&served, HOSPITAL, clinic(0)).await.unwrap();
    let next = issued(&served, OTHER, planned(0)).await.unwrap();

    // What the claim states of the discharge ends a stay too, and a cancelled one is none.
    assert_eq!(refused(issued(&served, HOSPITAL, planned(0)).await).0, "INPATIENT_STAY_OPEN");
    served.seps(OTHER).cancel_sep(cancel(&next)).await.unwrap();
    let last = issued(&served, HOSPITAL, planned(0)).await.unwrap();
    assert_eq!(refused(issued(&served, OTHER, planned(0)).await).1, last.sep_number);
    let claim = served.created(&last).await;
    served.set(&claim, stay(&last, 0)).await.unwrap();
    issued(&served, OTHER, planned(0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hospitals_that_admit_a_member_at_once_one_gets_the_sep() {
    let served = Served::start().await;
    let (twin, _stop) = served.twin(OTHER);
    let midnight = chassis::time::start_of(today()).unwrap();
    for over_two_replicas in [false, true].repeat(8) {
        let planned = pb::IssueSepRequest {
            request_id: key(),
            entry: pb::Entry::Referral.into(),
            referral_number: visit(today()).referral_number,
            service_date: today().to_string(),
            admitted_at: Some(chassis::time::to_proto(midnight)),
            ..admission(0)
        };
        let elsewhere = if over_two_replicas { twin.clone() } else { served.seps(OTHER) };
        let (here, elsewhere) = tokio::join!(
            asked_of(served.seps(HOSPITAL), planned.clone()),
            asked_of(elsewhere, pb::IssueSepRequest { request_id: key(), ..planned.clone() }),
        );
        let (issued, refused) = match (here, elsewhere) {
            (Ok(issued), Err(refused)) | (Err(refused), Ok(issued)) => (issued.sep.unwrap(), refused),
            both => panic!("{both:?}"),
        };
        assert_eq!(reason(&refused), "INPATIENT_STAY_OPEN", "{refused:?}");
        assert_eq!(fact(&refused, "stay_sep_number"), issued.sep_number);
    }
}

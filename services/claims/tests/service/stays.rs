//! In-patient stays over gRPC and on a real Postgres: one discharge for SEP and claim, one stay at a time.

use crate::served::{HOSPITAL, Served, admission, coding, key, reason, wrong_fields};
use proto::claims::v1 as pb;
use tonic::Status;

/// So many seconds after admission.
fn after(sep: &pb::Sep, seconds: i64) -> Option<prost_types::Timestamp> {
    sep.admitted_at.map(|at| prost_types::Timestamp { seconds: at.seconds + seconds, nanos: 0 })
}

async fn discharged(
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
fn stay(sep: &pb::Sep, seconds: i64) -> pb::ClaimData {
    let on = sep.service_date.parse().unwrap();
    pb::ClaimData {
        admitted_at: sep.admitted_at,
        discharged_at: after(sep, seconds),
        ..coding(on, "E11.9")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_final_only_when_it_states_the_discharge_of_its_sep() {
    let served = Served::start().await;
    let sep = served.issue(admission(50)).await.unwrap();
    discharged(&served, HOSPITAL, &sep, 48 * 3600).await.unwrap();
    let data = pb::ClaimData {
        discharge_status: pb::DischargeStatus::Referred.into(),
        ..stay(&sep, 24 * 3600)
    };
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

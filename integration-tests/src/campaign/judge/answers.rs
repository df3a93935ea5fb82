//! Each acknowledged write has its record, with the answer that the caller was given; a write that was not
//! acknowledged has none.

use std::collections::HashMap;

use prost::Message;
use proto::claims::v1 as claims;

use super::{Check, LOST};
use crate::{
    Mesh,
    campaign::journal::{End, Entry},
};

/// What a service wrote under keys of its own begins so.
const OF_SERVICES: &str = "service:";

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let mut records: HashMap<(String, String, String), Option<Vec<u8>>> = HashMap::new();
    for service in Mesh::services() {
        let rows: Vec<(String, String, Option<Vec<u8>>)> = sqlx::query_as(
            "select caller, request_id, response from idempotency where caller not like $1 || '%'",
        )
        .bind(OF_SERVICES)
        .fetch_all(mesh.database(service))
        .await?;
        records.extend(
            rows.into_iter().map(|(caller, id, response)| ((service.to_owned(), caller, id), response)),
        );
    }
    let (mut lost, mut other, mut not_acknowledged) = (Vec::new(), Vec::new(), Vec::new());
    for entry in entries {
        let key = (entry.service(), entry.institution.clone(), entry.request_id.clone());
        match (&entry.end, records.remove(&key)) {
            (End::Acknowledged { .. }, None) => lost.push(format!("no record of {}", entry.name())),
            (End::Acknowledged { answer, .. }, Some(stored)) => {
                if told(entry, stored).as_ref() != Some(answer) {
                    other.push(entry.name());
                }
            }
            (_, None) => {}
            (_, Some(_)) => not_acknowledged.push(entry.name()),
        }
        if entry.differs {
            other.push(format!("two attempts: {}", entry.name()));
        }
    }
    let strangers = records.into_keys().map(|(service, caller, id)| format!("{service}: {id} of {caller}"));
    Ok(vec![
        Check::of(LOST, lost),
        Check::of("answered otherwise than stored", other),
        Check::of("stored, but refused or unknown to the caller", not_acknowledged),
        Check::of("stored, but asked by nobody", strangers),
    ])
}

/// What the stored answer is for the caller. Of a row of a stream, the state and what is pending are stored; the rest is what
/// was asked, to which the record is bound by its hash.
fn told(entry: &Entry, stored: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let Some(asked) = entry.asked::<claims::SubmitClaimsRequest>() else { return stored };
    let claim = claims::SubmitClaimResponse::decode(stored?.as_slice()).ok()?.claim?;
    let row = claims::SubmitClaimsResponse {
        request_id: asked.request_id,
        claim_id: asked.claim_id,
        state: claim.state,
        pending: claim.pendings.into_iter().next(),
        ..claims::SubmitClaimsResponse::default()
    };
    Some(row.encode_to_vec())
}

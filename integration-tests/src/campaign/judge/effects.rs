//! Each acknowledged write has its effect in the tables, once; nothing else is there.

use std::collections::BTreeMap;

use proto::{
    accreditation::v1 as accreditation, claims::v1 as claims, membership::v1 as membership,
    primary_care::v1 as primary_care,
};

use super::{Check, DOUBLED, LOST};
use crate::{
    Mesh,
    campaign::{desk::Asked, journal::Entry},
};

/// A table whose rows are each the effect of one write: what it is of, its service, and the statement that reads the
/// keys of its rows.
const TABLES: [(&str, &str, &str); 9] = [
    ("family", "membership", "select family_id::text from family"),
    ("member", "membership", "select member_id::text from member"),
    ("posting", "membership", "select posting_id::text from contribution_posting"),
    ("answer of the civil registry", "membership", "select member_id::text from nik_answer"),
    ("visit", "primary-care", "select visit_number from visit"),
    ("referral", "referral", "select referral_number from referral"),
    ("SEP", "claims", "select sep_number from sep"),
    ("claim", "claims", "select claim_id::text from claim"),
    ("facility", "accreditation", "select facility_code from facility"),
];

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let (mut lost, mut doubled) = (Vec::new(), Vec::new());
    for (what, service, statement) in TABLES {
        // Expected less found, by key.
        let mut balance: BTreeMap<String, i64> = BTreeMap::new();
        for key in entries.iter().flat_map(|entry| keys(what, entry)) {
            *balance.entry(key).or_default() += 1;
        }
        let rows: Vec<String> = sqlx::query_scalar(statement).fetch_all(mesh.database(service)).await?;
        for key in rows {
            *balance.entry(key).or_default() -= 1;
        }
        for (key, left) in balance {
            match left {
                1.. => lost.push(format!("{what} {key}")),
                ..0 => doubled.push(format!("{what} {key} is there {} more than acknowledged", -left)),
                0 => {}
            }
        }
    }
    Ok(vec![Check::of(LOST, lost), Check::of(DOUBLED, doubled)])
}

/// The keys of the rows that an acknowledged write has made in the table of this name.
fn keys(what: &str, entry: &Entry) -> Vec<String> {
    fn of<Q: Asked>(entry: &Entry, key: impl Fn(Q::Answer) -> Option<String>) -> Vec<String> {
        entry.answer::<Q>().and_then(key).into_iter().collect()
    }
    match what {
        "family" => of::<membership::RegisterFamilyRequest>(entry, |answer| Some(answer.family_id)),
        "member" => entry
            .answer::<membership::RegisterFamilyRequest>()
            .into_iter()
            .flat_map(|answer| answer.members.into_iter().map(|member| member.member_id))
            .collect(),
        "posting" => {
            of::<membership::PostContributionRequest>(entry, |answer| Some(answer.posting?.posting_id))
        }
        "answer of the civil registry" => {
            of::<membership::VerifyNikRequest>(entry, |answer| Some(answer.member_id))
        }
        "visit" => of::<primary_care::RegisterVisitRequest>(entry, |answer| Some(answer.visit?.visit_number)),
        "referral" => {
            of::<primary_care::ReferVisitRequest>(entry, |a| Some(a.visit?.referral?.referral_number))
        }
        "SEP" => of::<claims::IssueSepRequest>(entry, |answer| Some(answer.sep?.sep_number)),
        "claim" => of::<claims::CreateClaimRequest>(entry, |answer| Some(answer.claim?.claim_id)),
        "facility" => {
            of::<accreditation::RegisterFacilityRequest>(entry, |a| Some(a.facility?.facility_code))
        }
        _ => Vec::new(),
    }
}

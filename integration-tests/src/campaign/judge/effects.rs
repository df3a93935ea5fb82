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
const TABLES: [(&str, &str, &str); 18] = [
    ("family", "membership", "select family_id::text from family"),
    ("member", "membership", "select member_id::text from member"),
    ("posting", "membership", "select posting_id::text from contribution_posting"),
    ("answer of the civil registry", "membership", "select member_id::text from nik_answer"),
    ("visit", "primary-care", "select visit_number from visit"),
    ("referral", "referral", "select referral_number from referral"),
    ("SEP", "claims", "select sep_number from sep"),
    ("claim", "claims", "select claim_id::text from claim"),
    ("dispute", "claims", "select dispute_id::text from claim_dispute"),
    (
        "decision of a dispute",
        "claims",
        "select dispute_id || ' ' || outcome from claim_dispute where outcome is not null",
    ),
    ("payment batch", "claims", "select batch_id::text from payment_batch where not single"),
    (
        "claim in a batch",
        "claims",
        "select batch_id || ' ' || claim_id from payment_line join payment_batch using (batch_id) where not single",
    ),
    (
        "payment of a batch",
        "claims",
        "select batch_id || ' ' || payment_reference from payment_batch where paid_on is not null and not single",
    ),
    (
        "payment of a single claim",
        "claims",
        "select claim_id::text from payment_line join payment_batch using (batch_id) where single and paid_on is not null",
    ),
    ("recovery", "claims", "select recovery_id::text from recovery"),
    (
        "filing with its claims",
        "claims",
        "select filing_id || ' ' || count(*) || ' ' || sum(amount_rupiah) from filing join filing_claim using (filing_id)
         group by filing_id",
    ),
    (
        "statement on a filing",
        "claims",
        "select filing_id || ' ' || outcome from filing where outcome is not null",
    ),
    ("facility", "accreditation", "select facility_code from facility"),
];

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let (mut lost, mut doubled) = (Vec::new(), Vec::new());
    for (what, service, statement) in TABLES {
        // Expected less found, by key.
        let mut balance: BTreeMap<String, i64> = BTreeMap::new();
        for key in entries.iter().flat_map(|entry| keys(what, entry)) {
            let expected = balance.entry(key).or_default();
            *expected = if has_second_key(what) { 1 } else { *expected + 1 };
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
    let filed_twice: Vec<String> = sqlx::query_scalar(
        "select claim_id::text from filing_claim join filing using (filing_id)
         where outcome is distinct from 2 group by claim_id having count(*) > 1",
    )
    .fetch_all(mesh.database("claims"))
    .await?;
    doubled
        .extend(filed_twice.into_iter().map(|claim| format!("claim {claim} is in two filings that stand")));
    Ok(vec![Check::of(LOST, lost), Check::of(DOUBLED, doubled)])
}

/// Whether what is recorded again, under another request_id but with the reference that it had, has no second effect.
fn has_second_key(what: &str) -> bool {
    matches!(what, "payment of a batch" | "recovery" | "statement on a filing")
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
        "dispute" => of::<claims::OpenDisputeRequest>(entry, |answer| Some(answer.dispute?.dispute_id)),
        "decision of a dispute" => of::<claims::DecideDisputeRequest>(entry, |answer| {
            let dispute = answer.dispute?;
            Some(format!("{} {}", dispute.dispute_id, dispute.outcome))
        }),
        "payment batch" => of::<claims::OpenBatchRequest>(entry, |answer| Some(answer.batch?.batch_id)),
        "claim in a batch" => posted(entry),
        "payment of a batch" => of::<claims::RecordPaymentRequest>(entry, |answer| {
            let batch = answer.batch?;
            Some(format!("{} {}", batch.batch_id, batch.payment?.payment_reference))
        }),
        "payment of a single claim" => {
            of::<claims::SettleClaimRequest>(entry, |answer| Some(answer.claim?.claim_id))
        }
        "recovery" => of::<claims::RecordRecoveryRequest>(entry, |answer| Some(answer.recovery?.recovery_id)),
        "filing with its claims" => of::<claims::FileMonthRequest>(entry, |answer| {
            let filing = answer.filing?;
            Some(format!("{} {} {}", filing.filing_id, filing.claims, filing.claims_rupiah))
        }),
        "statement on a filing" => {
            let stated =
                entry.asked::<claims::StateCompletenessRequest>().filter(|_| entry.is_acknowledged());
            stated.map(|asked| format!("{} {}", asked.filing_id, asked.completeness)).into_iter().collect()
        }
        "facility" => {
            of::<accreditation::RegisterFacilityRequest>(entry, |a| Some(a.facility?.facility_code))
        }
        _ => Vec::new(),
    }
}

/// The claims that were new to their batch: so many as the answer says, the last of those that were given.
fn posted(entry: &Entry) -> Vec<String> {
    let (Some(answer), Some(asked)) =
        (entry.answer::<claims::PostClaimsRequest>(), entry.asked::<claims::PostClaimsRequest>())
    else {
        return Vec::new();
    };
    let new = usize::try_from(answer.posted).unwrap_or_default();
    asked.claim_ids.iter().rev().take(new).map(|claim| format!("{} {claim}", asked.batch_id)).collect()
}

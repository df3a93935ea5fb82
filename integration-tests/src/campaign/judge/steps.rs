//! The life of each claim: it took the steps that its acknowledged writes stand for, each once, and no others. A claim
//! that was submitted twice, disputed twice or paid twice has a step too many, whoever did it and in whichever way.

use std::collections::{BTreeMap, BTreeSet};

use proto::claims::v1::{self as claims, ClaimState};

use super::{Check, OTHER_STEPS};
use crate::{Mesh, campaign::journal::Entry};

/// A claim, and the state that a step led to.
type Step = (String, i32);

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<Vec<Check>> {
    let paid = paid_in_batches(entries).map(|claim_id| (claim_id, ClaimState::Paid.into()));
    // Acknowledged less found.
    let mut balance: BTreeMap<Step, i64> = BTreeMap::new();
    for step in entries.iter().filter_map(step).chain(paid) {
        *balance.entry(step).or_default() += 1;
    }
    let taken: Vec<(String, i16)> = sqlx::query_as("select claim_id::text, state from claim_step")
        .fetch_all(mesh.database("claims"))
        .await?;
    for (claim_id, state) in taken {
        *balance.entry((claim_id, state.into())).or_default() -= 1;
    }
    let named = |state: i32| ClaimState::try_from(state).unwrap_or_default().as_str_name();
    let other = balance.into_iter().filter(|(_, left)| *left != 0).map(|((claim_id, state), left)| {
        let how = if left > 0 { "fewer" } else { "more" };
        format!("claim {claim_id}: {} steps {how} to {} than acknowledged", left.abs(), named(state))
    });
    let twice: Vec<String> = sqlx::query_scalar(
        "select claim_id::text from claim_step where state = $1 group by claim_id having count(*) > 1",
    )
    .bind(i16::try_from(ClaimState::Paid as i32)?)
    .fetch_all(mesh.database("claims"))
    .await?;
    Ok(vec![Check::of(OTHER_STEPS, other), Check::of("claims paid twice", twice)])
}

/// The step that an acknowledged write to one claim stands for.
fn step(entry: &Entry) -> Option<Step> {
    macro_rules! of_claim {
        ($($request:ident)*) => {
            $(if let Some(answer) = entry.answer::<claims::$request>() {
                let claim = answer.claim?;
                return Some((claim.claim_id, claim.state));
            })*
        };
    }
    of_claim! {
        CreateClaimRequest SetClaimDataRequest GroupClaimRequest FinaliseClaimRequest SubmitClaimRequest
        RecordVerificationRequest AnswerPendingRequest ApproveClaimRequest SettleClaimRequest
    }
    if let Some(row) = entry.answer::<claims::SubmitClaimsRequest>() {
        return Some((row.claim_id, row.state));
    }
    if let Some(opened) = entry.answer::<claims::OpenDisputeRequest>() {
        return Some((opened.dispute?.claim_id, ClaimState::Disputed.into()));
    }
    let decided = entry.answer::<claims::DecideDisputeRequest>()?;
    Some((decided.dispute?.claim_id, decided.claim_state))
}

/// The claims of each batch that was acknowledged as paid, however often that was recorded.
pub(super) fn paid_in_batches(entries: &[Entry]) -> impl Iterator<Item = String> {
    let paid: BTreeSet<String> = entries
        .iter()
        .filter_map(|entry| Some(entry.answer::<claims::RecordPaymentRequest>()?.batch?.batch_id))
        .collect();
    let mut claims = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.is_acknowledged()) {
        let Some(posted) = entry.asked::<claims::PostClaimsRequest>() else { continue };
        if paid.contains(&posted.batch_id) {
            claims.extend(posted.claim_ids);
        }
    }
    claims.into_iter()
}

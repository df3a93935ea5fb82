//! Money: what was acknowledged, what is posted and what the events tell is the same, account by account.

use std::collections::BTreeMap;

use prost::{Message, Name};
use proto::{claims::v1 as claims, membership::v1 as membership};
use serde::Serialize;

use super::{Check, ledger, steps};
use crate::{Mesh, campaign::journal::Entry};

/// What moved.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Totals {
    /// Contributions that were acknowledged.
    pub contributions: usize,
    /// Their sum.
    pub contributions_rupiah: i64,
    /// Claims that were acknowledged as paid.
    pub claims: usize,
    /// Their sum.
    pub claims_rupiah: i64,
    /// What of it moved in batches.
    pub batches: ledger::Batches,
}

/// Sums by account.
pub(super) type Sums = BTreeMap<String, i64>;

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<(Vec<Check>, Totals)> {
    let mut findings = Vec::new();

    let posted = entries.iter().filter_map(|entry| {
        let posting = entry.answer::<membership::PostContributionRequest>()?.posting?;
        Some((posting.family_id, posting.amount_rupiah))
    });
    let (contributions, acknowledged) = summed(posted);
    let kept = sums(
        mesh,
        "membership",
        "select family_id::text, sum(amount_rupiah)::bigint from contribution_posting group by 1",
    );
    let told = told(mesh, "membership", |event: membership::ContributionPosted| {
        (event.family_id, event.amount_rupiah)
    });
    findings.extend(differences("contributions of family", &acknowledged, &kept.await?, &told.await?));
    let contributions_rupiah = acknowledged.values().sum();

    let approved = entries.iter().filter_map(|entry| {
        let claim = entry.answer::<claims::ApproveClaimRequest>()?.claim?;
        Some((claim.claim_id, claim.approved_rupiah))
    });
    let (_, approved) = summed(approved);
    let kept = sums(
        mesh,
        "claims",
        "select claim_id::text, approved_rupiah from claim where approved_rupiah is not null",
    );
    let told =
        self::told(mesh, "claims", |event: claims::ClaimApproved| (event.claim_id, event.amount_rupiah));
    findings.extend(differences("approval of claim", &approved, &kept.await?, &told.await?));

    let alone = entries.iter().filter_map(|entry| {
        let claim = entry.answer::<claims::SettleClaimRequest>()?.claim?;
        Some((claim.claim_id, claim.payment?.amount_rupiah))
    });
    // A claim of a batch is paid with what was approved.
    let in_batches = steps::paid_in_batches(entries).map(|claim_id| {
        let rupiah = approved.get(&claim_id).copied().unwrap_or_default();
        (claim_id, rupiah)
    });
    let (claims, paid) = summed(alone.chain(in_batches));
    let kept =
        sums(mesh, "claims", "select claim_id::text, paid_rupiah from claim where paid_rupiah is not null");
    let told = self::told(mesh, "claims", |event: claims::ClaimPaid| (event.claim_id, event.amount_rupiah));
    findings.extend(differences("payment of claim", &paid, &kept.await?, &told.await?));
    let claims_rupiah = paid.values().sum();
    let (of_ledger, batches) = ledger::check(mesh, entries).await?;

    let overlaps: Vec<String> = sqlx::query_scalar(
        "select family_id::text from (
             select family_id, first_month,
                    lag(last_month) over (partition by family_id order by first_month) as before
               from contribution_posting) posting
          where first_month <> before + interval '1 month'",
    )
    .fetch_all(mesh.database("membership"))
    .await?;
    let overlaps =
        overlaps.into_iter().map(|family| format!("the months of family {family} have a gap or overlap"));
    findings.extend(overlaps);
    let totals = Totals { contributions, contributions_rupiah, claims, claims_rupiah, batches };
    let mut checks = vec![Check::of("accounts out of balance", findings)];
    checks.extend(of_ledger);
    Ok((checks, totals))
}

pub(super) fn summed(amounts: impl Iterator<Item = (String, i64)>) -> (usize, Sums) {
    let (mut count, mut sums) = (0, Sums::new());
    for (account, rupiah) in amounts {
        count += 1;
        *sums.entry(account).or_default() += rupiah;
    }
    (count, sums)
}

pub(super) async fn sums(mesh: &Mesh, service: &str, statement: &'static str) -> anyhow::Result<Sums> {
    let rows: Vec<(String, i64)> = sqlx::query_as(statement).fetch_all(mesh.database(service)).await?;
    Ok(rows.into_iter().collect())
}

/// What the events of a kind tell.
pub(super) async fn told<E: Message + Name + Default>(
    mesh: &Mesh,
    service: &str,
    amount: impl Fn(E) -> (String, i64),
) -> anyhow::Result<Sums> {
    let bodies: Vec<Vec<u8>> = sqlx::query_scalar("select body from feed where kind = $1")
        .bind(E::full_name())
        .fetch_all(mesh.database(service))
        .await?;
    let events = bodies.iter().map(|body| E::decode(body.as_slice())).collect::<Result<Vec<_>, _>>()?;
    Ok(summed(events.into_iter().map(amount)).1)
}

pub(super) fn differences(what: &str, acknowledged: &Sums, kept: &Sums, told: &Sums) -> Vec<String> {
    let accounts: std::collections::BTreeSet<_> =
        acknowledged.keys().chain(kept.keys()).chain(told.keys()).collect();
    let of = |sums: &Sums, account: &String| sums.get(account).copied().unwrap_or_default();
    accounts
        .into_iter()
        .map(|account| (account, of(acknowledged, account), of(kept, account), of(told, account)))
        .filter(|(_, acknowledged, kept, told)| acknowledged != kept || kept != told)
        .map(|(account, acknowledged, kept, told)| {
            format!("{what} {account}: acknowledged Rp{acknowledged}, kept Rp{kept}, told Rp{told}")
        })
        .collect()
}

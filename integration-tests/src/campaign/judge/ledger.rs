//! The ledger of claims: every entry balances, each account of a facility holds what callers were told, batch by batch
//! the same is acknowledged, kept and told; and the settlement itself says that it reconciles to zero.

use std::collections::BTreeSet;

use jiff::Timestamp;
use proto::claims::v1::{self as claims, LedgerAccount, settlement_service_client::SettlementServiceClient};
use serde::Serialize;

use super::{
    Check, OTHER_LEDGER, UNRECONCILED,
    money::{Sums, differences, summed, sums, told},
};
use crate::{
    Mesh,
    campaign::{
        cast::{BPJS, Facility},
        journal::Entry,
    },
};

/// What moved between BPJS-K and hospitals in batches.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Batches {
    /// Batches that were acknowledged as paid.
    pub paid: usize,
    /// Their sum.
    pub paid_rupiah: i64,
    /// Recoveries that were acknowledged.
    pub recoveries: usize,
    /// Their sum.
    pub recoveries_rupiah: i64,
    /// What of that was taken off.
    pub offset_rupiah: i64,
}

pub(super) async fn check(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<(Vec<Check>, Batches)> {
    let journal = Journal::of(entries);
    let mut findings = Vec::new();
    let due = summed(journal.closed.iter().map(|batch| (batch.batch_id.clone(), batch.due_rupiah))).1;
    let kept = sums(
        mesh,
        "claims",
        "select batch_id::text, due_rupiah from payment_batch where closed_at is not null and not single",
    );
    let events = told(mesh, "claims", |event: claims::BatchClosed| (event.batch_id, event.due_rupiah));
    findings.extend(differences("due of batch", &due, &kept.await?, &events.await?));

    let paid = journal.paid.iter().map(|batch| {
        (batch.batch_id.clone(), batch.payment.as_ref().map_or(0, |payment| payment.amount_rupiah))
    });
    let (count, paid) = summed(paid);
    let kept = sums(
        mesh,
        "claims",
        "select batch_id::text, paid_rupiah from payment_batch where paid_on is not null and not single",
    );
    let events = told(mesh, "claims", |event: claims::BatchPaid| (event.batch_id, event.amount_rupiah));
    findings.extend(differences("payment of batch", &paid, &kept.await?, &events.await?));

    let recoveries = journal.recovered.iter().map(|one| (one.claim_id.clone(), one.amount_rupiah));
    let (recoveries, recovered) = summed(recoveries);
    let kept =
        sums(mesh, "claims", "select claim_id::text, sum(amount_rupiah)::bigint from recovery group by 1");
    let events =
        told(mesh, "claims", |event: claims::RecoveryRecorded| (event.claim_id, event.amount_rupiah));
    findings.extend(differences("recovery of claim", &recovered, &kept.await?, &events.await?));

    let unbalanced: Vec<String> = sqlx::query_scalar(
        "select entry_id::text from ledger_line group by entry_id having sum(amount_rupiah) <> 0",
    )
    .fetch_all(mesh.database("claims"))
    .await?;
    findings.extend(unbalanced.into_iter().map(|entry| format!("ledger entry {entry} does not balance")));
    for (account, statement) in ACCOUNTS {
        let booked = sums(mesh, "claims", statement).await?;
        let acknowledged = journal.balances(account);
        findings.extend(differences(account.as_str_name(), &acknowledged, &booked, &booked));
    }
    let batches = Batches {
        paid: count,
        paid_rupiah: paid.values().sum(),
        recoveries,
        recoveries_rupiah: recovered.values().sum(),
        offset_rupiah: journal.closed.iter().map(|batch| batch.offset_rupiah).sum(),
    };
    Ok((
        vec![Check::of(OTHER_LEDGER, findings), Check::of(UNRECONCILED, unreconciled(mesh, &journal).await?)],
        batches,
    ))
}

/// Balances by facility. A balance of zero is left out, as is an account that was never posted to.
macro_rules! balances_of {
    ($account:literal) => {
        concat!(
            "select facility_code, sum(amount_rupiah)::bigint from ledger_entry join ledger_line using (entry_id)
              where account = ",
            $account,
            " group by 1"
        )
    };
}

/// The accounts that follow from what was acknowledged, each with the statement that reads it.
const ACCOUNTS: [(LedgerAccount, &str); 5] = [
    (LedgerAccount::ClaimsExpense, balances_of!("1")),
    (LedgerAccount::HospitalPayable, balances_of!("2")),
    (LedgerAccount::Bank, balances_of!("3")),
    (LedgerAccount::RecoveryReceivable, balances_of!("4")),
    (LedgerAccount::ClaimsRecovered, balances_of!("5")),
];

/// What callers were told of money, each thing once.
struct Journal {
    closed: Vec<claims::Batch>,
    paid: Vec<claims::Batch>,
    recovered: Vec<claims::Recovery>,
    /// Claims that were paid by themselves: facility and amount.
    single: Vec<(String, i64)>,
}

impl Journal {
    fn of(entries: &[Entry]) -> Self {
        let (mut batches, mut recoveries) = (BTreeSet::new(), BTreeSet::new());
        let closed = entries.iter().filter_map(|entry| entry.answer::<claims::CloseBatchRequest>()?.batch);
        let paid = entries.iter().filter_map(|entry| entry.answer::<claims::RecordPaymentRequest>()?.batch);
        let recovered =
            entries.iter().filter_map(|entry| entry.answer::<claims::RecordRecoveryRequest>()?.recovery);
        let single = entries.iter().filter_map(|entry| {
            let claim = entry.answer::<claims::SettleClaimRequest>()?.claim?;
            Some((claim.facility_code, claim.payment?.amount_rupiah))
        });
        Self {
            closed: closed.collect(),
            // Recorded again under the reference that it had, it is the same.
            paid: paid.filter(|batch| batches.insert(batch.batch_id.clone())).collect(),
            recovered: recovered.filter(|one| recoveries.insert(one.recovery_id.clone())).collect(),
            single: single.collect(),
        }
    }

    /// What an account holds of each facility, by what was told. No payment of a campaign is late, so there are no
    /// penalties.
    fn balances(&self, account: LedgerAccount) -> Sums {
        let closed = |amount: fn(&claims::Batch) -> i64| {
            self.closed.iter().map(move |batch| (batch.facility_code.clone(), amount(batch)))
        };
        let paid = |sign: i64| {
            self.paid.iter().map(move |batch| (batch.facility_code.clone(), sign * batch.due_rupiah))
        };
        let single = |sign: i64| self.single.iter().map(move |(code, rupiah)| (code.clone(), sign * rupiah));
        let recovered = |sign: i64| {
            self.recovered.iter().map(move |one| (one.facility_code.clone(), sign * one.amount_rupiah))
        };
        match account {
            LedgerAccount::ClaimsExpense => summed(closed(|batch| batch.claims_rupiah).chain(single(1))).1,
            LedgerAccount::HospitalPayable => summed(closed(|batch| -batch.due_rupiah).chain(paid(1))).1,
            LedgerAccount::Bank => summed(paid(-1).chain(single(-1))).1,
            LedgerAccount::RecoveryReceivable => {
                summed(closed(|batch| -batch.offset_rupiah).chain(recovered(1))).1
            }
            LedgerAccount::ClaimsRecovered => summed(recovered(-1)).1,
            LedgerAccount::Unspecified | LedgerAccount::PenaltyExpense | LedgerAccount::PenaltyPayable => {
                Sums::new()
            }
        }
    }
}

/// What the settlement itself tells of differences, of each hospital; and its sums against what was acknowledged.
async fn unreconciled(mesh: &Mesh, journal: &Journal) -> anyhow::Result<Vec<String>> {
    let today = chassis::time::today_at(Timestamp::now());
    // Midnight may have passed while the campaign went on.
    let first = today.yesterday()?;
    let mut client = SettlementServiceClient::new(mesh.channel(BPJS)?);
    let mut found = Vec::new();
    for hospital in Facility::all_hospitals() {
        let code = hospital.code();
        let request = claims::ReconcileSettlementRequest {
            closed_from: first.to_string(),
            closed_to: today.to_string(),
            facility_code: code.clone(),
        };
        let answer = client.reconcile_settlement(request).await?.into_inner();
        found.extend(answer.differences.iter().map(|one| {
            let (expected, other) = (one.expected_rupiah, one.found_rupiah);
            let kind = one.kind().as_str_name();
            format!("{code}: {kind} of batch {:?}: Rp{expected} and Rp{other}", one.batch_id)
        }));
        let of = |account| journal.balances(account).get(&code).copied().unwrap_or_default();
        let acknowledged = [of(LedgerAccount::ClaimsExpense), -of(LedgerAccount::Bank)];
        if acknowledged != [answer.claims_rupiah, answer.paid_rupiah] {
            let told = [answer.claims_rupiah, answer.paid_rupiah];
            found.push(format!("{code}: claims and payments {told:?}, acknowledged {acknowledged:?}"));
        }
    }
    Ok(found)
}

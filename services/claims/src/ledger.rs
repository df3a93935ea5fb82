//! The ledger, by double entry: what each event of settlement posts. Whatever is posted, the lines of an entry come to
//! zero, because the only way to make an entry is to move amounts from one account to another.

use std::collections::BTreeMap;

/// An account. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum Account {
    /// What claims cost.
    ClaimsExpense = 1,
    /// What closed batches owe to the facility.
    HospitalPayable = 2,
    /// What left the bank.
    Bank = 3,
    /// What the facility owes after audits.
    RecoveryReceivable = 4,
    /// What was found to be paid too much.
    ClaimsRecovered = 5,
    /// What lateness costs.
    PenaltyExpense = 6,
    /// Penalties that no batch has paid yet.
    PenaltyPayable = 7,
}

/// What an entry tells of. The numbers are those of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// A batch was closed.
    BatchClosed = 1,
    /// A batch was paid.
    BatchPaid = 2,
    /// A late payment earned a penalty.
    PenaltyEarned = 3,
    /// A recovery was recorded.
    RecoveryRecorded = 4,
}

/// What a closed batch comes to, whole rupiah.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Its claims.
    pub claims: i64,
    /// Late penalties of earlier payments.
    pub penalties: i64,
    /// Recoveries taken off.
    pub offset: i64,
    /// What is to be paid.
    pub due: i64,
}

/// An entry: one amount for each account, debit above zero, credit below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it tells of.
    pub kind: Kind,
    lines: BTreeMap<Account, i64>,
}

impl Entry {
    const fn new(kind: Kind) -> Self {
        Self { kind, lines: BTreeMap::new() }
    }

    /// Moves an amount: a debit there, a credit here.
    fn moved(mut self, amount: i64, debit: Account, credit: Account) -> Self {
        for (account, amount) in [(debit, amount), (credit, -amount)] {
            *self.lines.entry(account).or_default() += amount;
        }
        self
    }

    /// The lines that are not zero.
    pub fn lines(&self) -> impl Iterator<Item = (Account, i64)> + '_ {
        self.lines.iter().map(|(account, amount)| (*account, *amount)).filter(|(_, amount)| *amount != 0)
    }

    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines().next().is_none()
    }
}

/// A batch was closed: its claims and the penalties it pays are owed to the facility, less what the facility owes.
#[must_use]
pub fn closed(totals: &Totals) -> Entry {
    Entry::new(Kind::BatchClosed)
        .moved(totals.claims, Account::ClaimsExpense, Account::HospitalPayable)
        .moved(totals.penalties, Account::PenaltyPayable, Account::HospitalPayable)
        .moved(totals.offset, Account::HospitalPayable, Account::RecoveryReceivable)
}

/// What was due was paid.
#[must_use]
pub fn paid(due: i64) -> Entry {
    Entry::new(Kind::BatchPaid).moved(due, Account::HospitalPayable, Account::Bank)
}

/// A late payment earned a penalty.
#[must_use]
pub fn late(penalty: i64) -> Entry {
    Entry::new(Kind::PenaltyEarned).moved(penalty, Account::PenaltyExpense, Account::PenaltyPayable)
}

/// The facility owes after an audit.
#[must_use]
pub fn recovered(amount: i64) -> Entry {
    Entry::new(Kind::RecoveryRecorded).moved(amount, Account::RecoveryReceivable, Account::ClaimsRecovered)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;

//! Reconciliation to zero: what claims, lines, batches, payments and the ledger say is the same, or is told.

use crate::ledger::{Account, Totals};

/// What does not agree. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// A claim and its line.
    ClaimAndLine = 1,
    /// The lines and the total.
    LinesAndBatch = 2,
    /// The offsets and the total.
    OffsetsAndBatch = 3,
    /// The penalties it pays and the total.
    PenaltiesAndBatch = 4,
    /// What was due and what was paid.
    BatchAndPayment = 5,
    /// What the ledger owes for the batch and what is unpaid.
    BatchAndLedger = 6,
    /// The entries do not come to zero.
    Ledger = 7,
    /// A claim was paid in no batch.
    ClaimWithoutBatch = 8,
    /// An account and what it stands for.
    Account = 9,
}

/// Two sides that do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// What.
    pub kind: Kind,
    /// One side.
    pub expected: i64,
    /// The other.
    pub found: i64,
}

/// What is stored of a closed batch, from every side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sides {
    /// The batch itself.
    pub totals: Totals,
    /// Its payment.
    pub paid: Option<i64>,
    /// Sum of its lines.
    pub lines: i64,
    /// Sum of the recoveries that it offset.
    pub offsets: i64,
    /// Sum of the penalties that it pays.
    pub penalties: i64,
    /// What the ledger says is payable, by the entries of the batch.
    pub payable: i64,
    /// Sum of all lines of these entries.
    pub ledger: i64,
}

/// Every difference among the sides of a batch.
#[must_use]
pub fn differences(sides: &Sides) -> Vec<Difference> {
    let totals = sides.totals;
    let unpaid = if sides.paid.is_some() { 0 } else { -totals.due };
    [
        (Kind::LinesAndBatch, sides.lines, totals.claims),
        (Kind::OffsetsAndBatch, sides.offsets, totals.offset),
        (Kind::PenaltiesAndBatch, sides.penalties, totals.penalties),
        (Kind::BatchAndPayment, totals.due, sides.paid.unwrap_or(totals.due)),
        (Kind::BatchAndLedger, unpaid, sides.payable),
        (Kind::Ledger, 0, sides.ledger),
    ]
    .into_iter()
    .filter(|(_, expected, found)| expected != found)
    .map(|(kind, expected, found)| Difference { kind, expected, found })
    .collect()
}

/// What is open of a facility, by its batches, recoveries and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// Due of closed batches that are not paid.
    pub unpaid: i64,
    /// Left of recoveries.
    pub recoveries: i64,
    /// Penalties that no batch pays yet.
    pub penalties: i64,
}

/// Every difference between the accounts of a facility and what is open of it.
#[must_use]
pub fn accounts(balances: &[(i16, i64)], open: &Open) -> Vec<Difference> {
    let balance = |account: Account| {
        balances.iter().find(|(of, _)| *of == account as i16).map_or(0, |(_, balance)| *balance)
    };
    [
        (-open.unpaid, balance(Account::HospitalPayable)),
        (open.recoveries, balance(Account::RecoveryReceivable)),
        (-open.penalties, balance(Account::PenaltyPayable)),
        (0, balances.iter().map(|(_, balance)| balance).sum()),
    ]
    .into_iter()
    .filter(|(expected, found)| expected != found)
    .map(|(expected, found)| Difference { kind: Kind::Account, expected, found })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> Sides {
        Sides {
            totals: Totals { claims: 100, penalties: 5, offset: 30, due: 75 },
            paid: Some(75),
            lines: 100,
            offsets: 30,
            penalties: 5,
            payable: 0,
            ledger: 0,
        }
    }

    #[test]
    fn an_account_is_what_is_open() {
        let open = Open { unpaid: 75, recoveries: 20, penalties: 5 };
        let balances = [(1, 80), (2, -75), (4, 20), (5, -20), (7, -5)];
        assert_eq!(accounts(&balances, &open), []);
        assert_eq!(accounts(&[], &Open::default()), []);
        let told = accounts(&balances, &Open { recoveries: 19, ..open });
        assert_eq!(told, [Difference { kind: Kind::Account, expected: 19, found: 20 }]);
    }

    #[test]
    fn what_agrees_is_silent_and_each_side_is_compared() {
        assert_eq!(differences(&right()), []);
        assert_eq!(differences(&Sides { paid: None, payable: -75, ..right() }), []);
        let kinds = |sides: Sides| differences(&sides).into_iter().map(|one| one.kind).collect::<Vec<_>>();
        assert_eq!(kinds(Sides { lines: 99, ..right() }), [Kind::LinesAndBatch]);
        assert_eq!(kinds(Sides { offsets: 0, ..right() }), [Kind::OffsetsAndBatch]);
        assert_eq!(kinds(Sides { penalties: 0, ..right() }), [Kind::PenaltiesAndBatch]);
        assert_eq!(kinds(Sides { paid: Some(74), ..right() }), [Kind::BatchAndPayment]);
        assert_eq!(kinds(Sides { payable: -75, ..right() }), [Kind::BatchAndLedger]);
        assert_eq!(kinds(Sides { ledger: 1, ..right() }), [Kind::Ledger]);
        let told = differences(&Sides { paid: Some(70), ..right() });
        assert_eq!(told, [Difference { kind: Kind::BatchAndPayment, expected: 75, found: 70 }]);
    }
}

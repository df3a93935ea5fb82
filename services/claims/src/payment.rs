//! What a batch comes to: its claims, the penalties it pays, and what is taken off for recoveries.

use chassis::policy::Rule;
use jiff::{ToSpan, Unit, civil::Date};
use serde::Deserialize;
use vocabulary::Rupiah;

use crate::ledger::Totals;

/// Most claims in one batch: it is paid in one transaction, with an event for each.
pub const MOST_CLAIMS: i64 = 1000;

/// What late payment costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Penalty {
    penalty_basis_points_a_month: u32,
}

impl Rule for Penalty {
    fn check(&self) -> Result<(), String> {
        if self.penalty_basis_points_a_month <= 10_000 {
            Ok(())
        } else {
            Err("penalty-basis-points-a-month must be at most 10000".into())
        }
    }
}

/// Whole months between the day on which payment was due and the day of payment; none when it was in time.
#[must_use]
pub fn months_late(due: Date, paid: Date) -> u32 {
    if paid <= due {
        return 0;
    }
    let months = due.until((Unit::Month, paid)).map_or(0, |span| span.get_months());
    // A month from the last of January ends on the last of February: the span above would say one day less.
    let reached = due.saturating_add(i64::from(months + 1).months()) <= paid;
    u32::try_from(months + i32::from(reached)).unwrap_or_default()
}

impl Penalty {
    /// What the lateness of an amount costs.
    #[must_use]
    pub fn of(&self, amount: Rupiah, due: Date, paid: Date) -> Rupiah {
        amount.share(self.penalty_basis_points_a_month.saturating_mul(months_late(due, paid)))
    }
}

/// What a batch comes to when its recoveries, oldest first, are taken off as far as it reaches; and how much is taken
/// off for each. None when an amount is beyond counting.
#[must_use]
pub fn totals(
    claims: &[Rupiah],
    penalties: &[Rupiah],
    recoveries: &[Rupiah],
) -> Option<(Totals, Vec<Rupiah>)> {
    let claims = Rupiah::checked_sum(claims.iter().copied())?;
    let penalties = Rupiah::checked_sum(penalties.iter().copied())?;
    let owed = claims.checked_add(penalties)?;
    let mut rest = owed;
    let mut taken = Vec::with_capacity(recoveries.len());
    for recovery in recoveries {
        let part = rest.min(*recovery);
        rest = rest.checked_sub(part)?;
        taken.push(part);
    }
    let offset = owed.checked_sub(rest)?;
    let totals =
        Totals { claims: claims.get(), penalties: penalties.get(), offset: offset.get(), due: rest.get() };
    Some((totals, taken))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    pub(crate) fn policy() -> Penalty {
        let text = include_str!("../../../policy/claims/settlement.toml");
        let dated = chassis::policy::parse::<Penalty>("claims/settlement.toml", text).unwrap();
        dated.on(day("2026-01-01")).unwrap().rule.clone()
    }

    fn rupiah(amount: i64) -> Rupiah {
        Rupiah::new(amount).unwrap()
    }

    #[test]
    fn a_month_counts_when_it_is_over() {
        assert_eq!(months_late(day("2026-03-26"), day("2026-03-26")), 0);
        assert_eq!(months_late(day("2026-03-26"), day("2026-04-25")), 0);
        assert_eq!(months_late(day("2026-03-26"), day("2026-04-26")), 1);
        assert_eq!(months_late(day("2026-01-31"), day("2026-02-27")), 0);
        assert_eq!(months_late(day("2026-01-31"), day("2026-02-28")), 1, "February has no 31st");
        assert_eq!(months_late(day("2026-01-31"), day("2026-03-30")), 1);
        assert_eq!(months_late(day("2026-01-31"), day("2026-03-31")), 2);
        assert_eq!(months_late(day("2025-12-15"), day("2026-12-15")), 12);
    }

    #[test]
    fn one_percent_a_month_rounded_once() {
        let of = |amount, due, paid| policy().of(rupiah(amount), day(due), day(paid)).get();
        assert_eq!(of(1_000_000, "2026-01-10", "2026-01-10"), 0);
        assert_eq!(of(1_000_000, "2026-01-10", "2026-02-10"), 10_000);
        assert_eq!(of(150, "2026-01-10", "2026-02-10"), 2, "one and a half");
        assert_eq!(of(150, "2026-01-10", "2026-04-10"), 5, "four and a half, not three times two");
    }

    #[test]
    fn what_is_left_of_a_recovery_waits_for_the_next_batch() {
        let (totals, taken) =
            super::totals(&[rupiah(100), rupiah(50)], &[rupiah(10)], &[rupiah(60), rupiah(200), rupiah(5)])
                .unwrap();
        assert_eq!(totals, Totals { claims: 150, penalties: 10, offset: 160, due: 0 });
        assert_eq!(taken, [rupiah(60), rupiah(100), rupiah(0)]);
        assert_eq!(super::totals(&[rupiah(i64::MAX), rupiah(1)], &[], &[]), None);
    }

    fn amounts(most: usize) -> impl Strategy<Value = Vec<Rupiah>> {
        proptest::collection::vec((0i64..2_000_000_000).prop_map(rupiah), 0..most)
    }

    proptest! {
        #[test]
        fn nothing_is_paid_below_zero_and_nothing_is_taken_twice(claims in amounts(40), penalties in amounts(10), recoveries in amounts(10)) {
            let (totals, taken) = super::totals(&claims, &penalties, &recoveries).unwrap();
            prop_assert!(totals.due >= 0);
            prop_assert_eq!(totals.due, totals.claims + totals.penalties - totals.offset);
            prop_assert_eq!(taken.iter().map(|part| part.get()).sum::<i64>(), totals.offset);
            prop_assert!(taken.iter().zip(&recoveries).all(|(part, whole)| part <= whole));
            // Either everything was taken off, or nothing is left to pay.
            prop_assert!(totals.due == 0 || taken == recoveries);
        }

        #[test]
        fn the_penalty_never_shrinks(amount in 0i64..1_000_000_000_000, more in 0i64..1_000_000, due in 0i32..1000, late in 0i32..1500, later in 0i32..400) {
            let at = |days: i32| day("2024-01-01").saturating_add(days.days());
            let of = |amount, paid| policy().of(rupiah(amount), at(due), at(paid)).get();
            prop_assert!(of(amount, due + late) <= of(amount, due + late + later), "later");
            prop_assert!(of(amount, due + late) <= of(amount + more, due + late), "more");
            prop_assert_eq!(of(amount, due - later), 0, "in time");
        }
    }
}

//! The clock of a claim and the month it is judged in: which claims are open, and which of them are late.
//!
//! The clock starts on the day of submission and ends on the day of payment, or of a decision without payment after a
//! dispute; BPJS-K knows no rejected claim, so nothing else ends it. That a claim is disputed, filed or put into a
//! batch moves nothing. The day of completeness would be a later start, but silence leaves no event to count from.

use jiff::{ToSpan, civil::Date};

use crate::indicator::Cell;

/// The days of a month that have happened: from its first day to its last, or to the day of the as-of instant
/// when the month was not over then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first day of the month.
    pub first: Date,
    /// The last day that counts.
    pub last: Date,
}

impl Window {
    /// The window of the month that `month` lies in, seen on the day `seen`; none when it had not begun.
    #[must_use]
    pub fn of(month: Date, seen: Date) -> Option<Self> {
        let first = month.first_of_month();
        (first <= seen).then(|| Self { first, last: month.last_of_month().min(seen) })
    }
}

/// How long a claim has waited for its settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spell {
    /// The day the clock started.
    pub start: Date,
    /// The day it ended; none while the claim is unsettled.
    pub end: Option<Date>,
}

impl Spell {
    /// Whether the claim was open at some time in the window.
    #[must_use]
    pub fn open(&self, window: Window) -> bool {
        self.start <= window.last && self.end.is_none_or(|end| end >= window.first)
    }

    /// Whether it was open in the window and by its end, or by its settlement, older than `days`.
    /// Exactly `days` is not late.
    #[must_use]
    pub fn late(&self, window: Window, days: i64) -> bool {
        let until = self.end.map_or(window.last, |end| end.min(window.last));
        self.open(window) && self.start.checked_add(days.days()).is_ok_and(|limit| until > limit)
    }
}

/// How many claims ran for how long, and what they came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Where.
    pub cell: Cell,
    /// From when to when.
    pub spell: Spell,
    /// How many.
    pub cases: i64,
    /// The amount claimed.
    pub rupiah: i64,
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn january() -> Window {
        Window::of(date(2026, 1, 1), date(2026, 3, 1)).unwrap()
    }

    #[test]
    fn exactly_fourteen_days_is_not_late() {
        let unsettled = |day| Spell { start: date(2026, 1, day), end: None };
        assert!(!unsettled(17).late(january(), 14), "17 to 31 January are 14 days");
        assert!(unsettled(16).late(january(), 14), "16 to 31 January are 15 days");
        let paid = |day| Spell { start: date(2026, 1, 1), end: Some(date(2026, 1, day)) };
        assert!(!paid(15).late(january(), 14));
        assert!(paid(16).late(january(), 14));
    }

    #[test]
    fn a_claim_is_open_from_submission_to_payment_day() {
        let spell = |start, end| Spell { start, end };
        assert!(spell(date(2025, 12, 1), Some(date(2026, 1, 1))).open(january()), "paid on the first day");
        assert!(!spell(date(2025, 12, 1), Some(date(2025, 12, 31))).open(january()), "paid the day before");
        assert!(spell(date(2026, 1, 31), None).open(january()), "submitted on the last day");
        assert!(!spell(date(2026, 2, 1), None).open(january()), "submitted the day after");
    }

    #[test]
    fn a_running_month_is_judged_to_the_day_it_is_seen() {
        let early = Window::of(date(2026, 1, 1), date(2026, 1, 10)).unwrap();
        let spell = Spell { start: date(2025, 12, 30), end: None };
        assert!(!spell.late(early, 14));
        assert!(spell.late(january(), 14));
        assert_eq!(Window::of(date(2026, 2, 1), date(2026, 1, 31)), None);
    }

    proptest! {
        #[test]
        fn late_is_the_formula_in_days(start in 0i32..400, length in proptest::option::of(0i32..400), seen in 300i32..800) {
            let origin = date(2025, 6, 1);
            let day = |n: i32| origin.checked_add(n.days()).unwrap();
            let number = |d: Date| origin.until(d).unwrap().get_days();
            let window = Window::of(date(2026, 3, 1), day(seen));
            if let Some(window) = window {
                let spell = Spell { start: day(start), end: length.map(|l| day(start + l)) };
                let (first, last) = (number(window.first), number(window.last));
                let open = start <= last && length.is_none_or(|l| start + l >= first);
                let age = length.map_or(last, |l| (start + l).min(last)) - start;
                prop_assert_eq!(spell.open(window), open);
                prop_assert_eq!(spell.late(window, 14), open && age > 14);
            }
        }
    }
}

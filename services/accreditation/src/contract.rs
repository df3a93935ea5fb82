//! Contracts with BPJS-K: periods that never overlap, and what a new one does to those before it.

use jiff::civil::Date;

/// The days of a contract, both ends included; without an end it runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Option<Date>,
}

impl Period {
    /// A period.
    ///
    /// # Errors
    /// When it ends before it begins.
    pub fn new(from: Date, to: Option<Date>) -> Result<Self, &'static str> {
        if to.is_some_and(|to| to < from) { Err("must not be before from") } else { Ok(Self { from, to }) }
    }

    /// Whether a day lies in it.
    #[must_use]
    pub fn covers(&self, day: Date) -> bool {
        self.from <= day && self.to.is_none_or(|to| day <= to)
    }
}

/// The contract in force on a day.
#[must_use]
pub fn in_force(contracts: &[Period], day: Date) -> Option<Period> {
    contracts.iter().copied().find(|period| period.covers(day))
}

/// The contract in force on a day, else the latest that began before it.
#[must_use]
pub fn begun(contracts: &[Period], day: Date) -> Option<Period> {
    contracts.iter().copied().filter(|period| period.from <= day).max_by_key(|period| period.from)
}

/// The contract to show on a day: the one in force, else the latest known.
#[must_use]
pub fn shown(contracts: &[Period], day: Date) -> Option<Period> {
    in_force(contracts, day).or_else(|| contracts.iter().copied().max_by_key(|period| period.from))
}

/// What recording a contract changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The period that is replaced, by its first day.
    pub superseded: Option<Date>,
    /// The periods that are written.
    pub written: Vec<Period>,
}

/// The contract would begin before one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlaps {
    /// First day of the latest contract: the earliest first day a change may name.
    pub earliest: Date,
}

/// Records a contract beside those that are known. With the first day of the latest one it changes its end; with a
/// later one it is new, and the latest ends the day before if it had not ended.
///
/// # Errors
/// When it begins before the latest one.
pub fn record(known: &[Period], new: Period) -> Result<Recorded, Overlaps> {
    let Some(latest) = known.iter().copied().max_by_key(|period| period.from) else {
        return Ok(Recorded { superseded: None, written: vec![new] });
    };
    if new.from < latest.from {
        return Err(Overlaps { earliest: latest.from });
    }
    if new.from == latest.from {
        return Ok(Recorded { superseded: Some(latest.from), written: vec![new] });
    }
    if latest.covers(new.from) {
        let ended = Period { from: latest.from, to: new.from.yesterday().ok() };
        return Ok(Recorded { superseded: Some(latest.from), written: vec![ended, new] });
    }
    Ok(Recorded { superseded: None, written: vec![new] })
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan, civil::date};
    use proptest::prelude::*;

    use super::*;

    fn after(known: &[Period], recorded: &Recorded) -> Vec<Period> {
        let kept = known.iter().copied().filter(|period| Some(period.from) != recorded.superseded);
        let mut all: Vec<_> = kept.chain(recorded.written.iter().copied()).collect();
        all.sort_by_key(|period| period.from);
        all
    }

    #[test]
    fn a_new_contract_ends_the_open_one_the_day_before() {
        let open = Period::new(date(2024, 1, 1), None).unwrap();
        let next = Period::new(date(2026, 1, 1), Some(date(2026, 12, 31))).unwrap();
        let known = after(&[open], &record(&[open], next).unwrap());
        assert_eq!(known[0].to, Some(date(2025, 12, 31)));
        assert_eq!(in_force(&known, date(2025, 12, 31)), Some(known[0]));
        assert_eq!(in_force(&known, date(2026, 1, 1)), Some(next));
        assert_eq!(in_force(&known, date(2027, 1, 1)), None);
        assert_eq!(begun(&known, date(2027, 1, 1)), Some(next));
        assert_eq!(begun(&known, date(2023, 1, 1)), None);
    }

    #[test]
    fn the_same_first_day_changes_the_end_and_an_earlier_one_is_refused() {
        let open = Period::new(date(2024, 1, 1), None).unwrap();
        let ended = Period::new(date(2024, 1, 1), Some(date(2024, 6, 30))).unwrap();
        let recorded = record(&[open], ended).unwrap();
        assert_eq!(after(&[open], &recorded), vec![ended]);
        let earlier = Period::new(date(2023, 12, 31), None).unwrap();
        assert_eq!(record(&[open], earlier), Err(Overlaps { earliest: date(2024, 1, 1) }));
        assert!(Period::new(date(2024, 1, 2), Some(date(2024, 1, 1))).is_err());
    }

    proptest! {
        #[test]
        fn contracts_never_overlap(changes in proptest::collection::vec((0i32..4000, proptest::option::of(0i32..900)), 1..20)) {
            let mut known = Vec::new();
            for (start, length) in changes {
                let from = date(2015, 1, 1) + start.days();
                let new = Period::new(from, length.map(|days| from + days.days())).unwrap();
                if let Ok(recorded) = record(&known, new) {
                    known = after(&known, &recorded);
                    prop_assert_eq!(in_force(&known, from), Some(new));
                }
                for pair in known.windows(2) {
                    prop_assert!(pair[0].to.is_some_and(|to| pair[0].from <= to && to < pair[1].from));
                }
            }
        }
    }
}

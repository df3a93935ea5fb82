//! Work lists: how old a claim is, which of its clocks run or have passed, and the age band it is counted in. All of it
//! from event times and dated policy, as of a day; none of it is stored.

use chassis::policy::Rule;
use jiff::civil::Date;
use serde::Deserialize;

use crate::{
    clock::{self, Periods},
    dispute,
    filing::{self, Standing},
    life::{Life, State},
};

/// The bands of age.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bands {
    bands: Vec<i32>,
}

impl Rule for Bands {
    fn check(&self) -> Result<(), String> {
        let rising = self.bands.windows(2).all(|pair| pair[0] < pair[1]);
        if rising && !self.bands.is_empty() && self.bands.iter().all(|days| *days >= 0) {
            Ok(())
        } else {
            Err("bands must be rising numbers of days, at least one".into())
        }
    }
}

impl Bands {
    /// The band of an age: its least and, unless it is the last, its greatest.
    #[must_use]
    pub fn of(&self, age: i32) -> (i32, Option<i32>) {
        let place = self.bands.partition_point(|greatest| *greatest < age);
        let least = if place == 0 { 0 } else { self.bands[place - 1] + 1 };
        (least, self.bands.get(place).copied())
    }
}

/// A clock. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Clock {
    /// Six months to submission.
    FilingLimit = 1,
    /// Fourteen days to settlement.
    Indicator = 2,
    /// Ten days to the statement on completeness.
    Completeness = 3,
    /// Fifteen days to payment.
    Payment = 4,
    /// To the decision of a dispute.
    Dispute = 5,
}

/// A clock as of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which.
    pub clock: Clock,
    /// Its last day.
    pub due: Date,
    /// Whether that has passed.
    pub passed: bool,
    /// Days left to it.
    pub days_left: i32,
}

/// The event times of a claim that is not settled, as days in Asia/Jakarta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Service completed.
    pub completed: Option<Date>,
    /// First submission.
    pub submitted: Option<Date>,
    /// The last filing it is in.
    pub filed: Option<filing::Times>,
    /// When it last came back from the hospital.
    pub came_back: Option<Date>,
    /// When the open dispute was opened.
    pub disputed: Option<Date>,
}

/// Calendar days from one day to another, none when it lies before.
#[must_use]
pub fn age(begun: Date, as_of: Date) -> i32 {
    clock::days(begun, as_of)
}

/// The clocks that run or have passed as of a day. What a statement or an event has ended is not among them: completeness
/// once it is stated or silent, payment while the filing is returned.
#[must_use]
pub fn clocks(
    periods: &Periods,
    disputes: &dispute::Rules,
    life: Life,
    times: &Times,
    as_of: Date,
) -> Vec<Reading> {
    let mut dues = Vec::new();
    match times.submitted {
        None => {
            dues.extend(times.completed.map(|day| (Clock::FilingLimit, clock::filing_limit(periods, day))));
        }
        Some(submitted) => {
            dues.push((Clock::Indicator, periods.indicator_limit(submitted)));
            let counted = times.filed.unwrap_or(filing::Times { filed: submitted, stated: None });
            if counted.standing(periods, as_of) == Standing::Awaiting {
                dues.push((Clock::Completeness, periods.completeness_due(counted.filed)));
            }
            let payment = filing::payment_due(periods, submitted, times.filed.as_ref(), times.came_back);
            dues.extend(payment.map(|day| (Clock::Payment, day)));
        }
    }
    if life.state == State::Disputed {
        dues.extend(times.disputed.map(|day| (Clock::Dispute, disputes.decision_due(day))));
    }
    dues.into_iter()
        .map(|(clock, due)| Reading {
            clock,
            due,
            passed: as_of > due,
            days_left: as_of.until(due).map_or(0, |span| span.get_days()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;
    use proptest::prelude::*;

    use super::*;
    use crate::life::Party;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn bands() -> Bands {
        let text = include_str!("../../../policy/claims/work.toml");
        let dated = chassis::policy::parse::<Bands>("claims/work.toml", text).unwrap();
        dated.on(day("2026-01-01")).unwrap().rule.clone()
    }

    fn read(life: Life, times: Times, as_of: &str) -> Vec<(Clock, String, bool, i32)> {
        clocks(&filing::tests::periods(), &dispute::tests::rules(), life, &times, day(as_of))
            .into_iter()
            .map(|one| (one.clock, one.due.to_string(), one.passed, one.days_left))
            .collect()
    }

    const NOTHING: Times =
        Times { completed: None, submitted: None, filed: None, came_back: None, disputed: None };

    #[test]
    fn a_draft_has_six_months_to_the_day() {
        let times = Times { completed: Some(day("2026-01-15")), ..NOTHING };
        let due = "2026-07-15".to_owned();
        assert_eq!(read(Life::begin(), times, "2026-07-15"), [(Clock::FilingLimit, due.clone(), false, 0)]);
        assert_eq!(read(Life::begin(), times, "2026-07-16"), [(Clock::FilingLimit, due, true, -1)]);
        assert_eq!(read(Life::begin(), NOTHING, "2026-07-16"), []);
    }

    #[test]
    fn exactly_fourteen_days_is_not_passed() {
        let life = Life { state: State::Submitted, submitted: true, ..Life::begin() };
        let times = Times { submitted: Some(day("2026-03-01")), ..NOTHING };
        let passed = |as_of: &str| {
            let indicator =
                read(life, times, as_of).into_iter().find(|one| one.0 == Clock::Indicator).unwrap();
            (indicator.2, indicator.3)
        };
        assert_eq!(passed("2026-03-15"), (false, 0));
        assert_eq!(passed("2026-03-16"), (true, -1));
    }

    #[test]
    fn completeness_runs_until_it_is_stated_or_silent_and_then_payment_is_told() {
        let life = Life { state: State::Submitted, submitted: true, ..Life::begin() };
        let times = Times { submitted: Some(day("2026-03-01")), ..NOTHING };
        let which = |times: Times, as_of: &str| {
            read(life, times, as_of).into_iter().map(|one| one.0).collect::<Vec<_>>()
        };
        assert_eq!(which(times, "2026-03-11"), [Clock::Indicator, Clock::Completeness, Clock::Payment]);
        assert_eq!(which(times, "2026-03-12"), [Clock::Indicator, Clock::Payment]);
        let stated =
            |what| Some(filing::Times { filed: day("2026-03-02"), stated: Some((day("2026-03-04"), what)) });
        let complete = Times { filed: stated(filing::Stated::Complete), ..times };
        assert_eq!(which(complete, "2026-03-05"), [Clock::Indicator, Clock::Payment]);
        assert_eq!(read(life, complete, "2026-03-05")[1].1, "2026-03-19");
        let returned = Times { filed: stated(filing::Stated::Returned), ..times };
        assert_eq!(which(returned, "2026-03-05"), [Clock::Indicator]);
    }

    #[test]
    fn an_open_dispute_has_a_clock_of_its_own() {
        let pending = Life { state: State::Pending, round: 1, asked: Some(Party::Hospital), submitted: true };
        let times =
            Times { submitted: Some(day("2026-03-01")), disputed: Some(day("2026-03-20")), ..NOTHING };
        let disputed = Life { state: State::Disputed, asked: None, ..pending };
        let clock = read(disputed, times, "2026-04-19").into_iter().find(|one| one.0 == Clock::Dispute);
        assert_eq!(clock, Some((Clock::Dispute, "2026-04-19".into(), false, 0)));
        assert!(read(pending, times, "2026-04-19").iter().all(|one| one.0 != Clock::Dispute));
    }

    #[test]
    fn bands_meet_without_gap_or_overlap() {
        assert_eq!(bands().of(0), (0, Some(7)));
        assert_eq!(bands().of(14), (8, Some(14)), "exactly fourteen days is not beyond them");
        assert_eq!(bands().of(15), (15, Some(30)));
        assert_eq!(bands().of(181), (181, None));
        assert!(Bands { bands: vec![7, 7] }.check().is_err() && Bands { bands: vec![] }.check().is_err());
    }

    proptest! {
        #[test]
        fn a_work_list_and_a_claim_tell_the_same_day_of_payment(submitted in 0i32..200, filed in proptest::option::of((0i32..60, proptest::option::of((0i32..40, any::<bool>())))), back in proptest::option::of(0i32..120), now in 0i32..400) {
            let at = |days: i32| day("2026-01-01").saturating_add(days.days());
            let filed = filed.map(|(after, stated)| filing::Times {
                filed: at(submitted + after),
                stated: stated.map(|(later, complete)| {
                    let what = if complete { filing::Stated::Complete } else { filing::Stated::Returned };
                    (at(submitted + after + later), what)
                }),
            });
            let life = Life { state: State::Verified, round: 1, asked: None, submitted: true };
            let came_back = back.map(|after| at(submitted + after));
            let times = Times { submitted: Some(at(submitted)), filed, came_back, ..NOTHING };
            let of_claim = clock::Times { submitted: times.submitted, filed, came_back, ..clock::Times::default() };
            let as_of = at(now);
            let listed = clocks(&filing::tests::periods(), &dispute::tests::rules(), life, &times, as_of);
            let listed = listed.into_iter().find(|one| one.clock == Clock::Payment).map(|one| one.due);
            prop_assert_eq!(listed, clock::read(&filing::tests::periods(), &of_claim, as_of).payment_due);
        }
    }

    proptest! {
        #[test]
        fn every_age_is_in_its_band(age in 0i32..2000) {
            let (from, to) = bands().of(age);
            prop_assert!(from <= age && to.is_none_or(|to| age <= to));
        }

        #[test]
        fn what_has_passed_never_heals(submitted in 0i32..400, now in 0i32..800, later in 0i32..400) {
            let at = |days: i32| day("2025-01-01").saturating_add(days.days());
            let life = Life { state: State::Submitted, submitted: true, ..Life::begin() };
            let times = Times { submitted: Some(at(submitted)), ..NOTHING };
            let passed = |as_of: i32| {
                clocks(&filing::tests::periods(), &dispute::tests::rules(), life, &times, at(as_of))
                    .into_iter()
                    .filter(|one| one.passed && one.clock != Clock::Completeness)
                    .count()
            };
            prop_assert!(passed(now) <= passed(now + later));
        }
    }
}

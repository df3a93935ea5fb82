//! The clocks of a claim: filing limit, completeness, payment, and the fourteen days of the indicator. They start at
//! different events; each is computed from the event times when the claim is read, and none is stored.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;

use crate::filing;

/// The periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Periods {
    filing_limit_months: i8,
    completeness_days: i16,
    payment_days: i16,
    indicator_days: i16,
}

impl Rule for Periods {
    fn check(&self) -> Result<(), String> {
        let periods = [
            ("filing-limit-months", i16::from(self.filing_limit_months)),
            ("completeness-days", self.completeness_days),
            ("payment-days", self.payment_days),
            ("indicator-days", self.indicator_days),
        ];
        match periods.into_iter().find(|(_, period)| !(1..=120).contains(period)) {
            Some((name, _)) => Err(format!("{name} must be 1 to 120")),
            None => Ok(()),
        }
    }
}

impl Periods {
    /// The last day on which completeness is stated of what was filed on a day.
    #[must_use]
    pub fn completeness_due(&self, filed: Date) -> Date {
        after(filed, self.completeness_days)
    }

    /// The last day of payment of what was complete on a day.
    #[must_use]
    pub fn payment_due(&self, complete: Date) -> Date {
        after(complete, self.payment_days)
    }

    /// The last day on which what was submitted on a day is not late.
    #[must_use]
    pub fn indicator_limit(&self, submitted: Date) -> Date {
        after(submitted, self.indicator_days)
    }
}

/// The event times that the clocks run on, as days in Asia/Jakarta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Service completed: discharge, or end of the visit.
    pub completed: Option<Date>,
    /// First submission.
    pub submitted: Option<Date>,
    /// The last filing it is in.
    pub filed: Option<filing::Times>,
    /// When it last came back from the hospital.
    pub came_back: Option<Date>,
    /// Begin of the open round of pending.
    pub asked: Option<Date>,
    /// Payment.
    pub paid: Option<Date>,
}

/// What the clocks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// Last day of filing.
    pub filing_limit: Option<Date>,
    /// Whether that day has passed without a submission.
    pub void: bool,
    /// Day by which completeness is stated.
    pub completeness_due: Option<Date>,
    /// Day by which it is paid; none while its filing is returned.
    pub payment_due: Option<Date>,
    /// Days from submission to payment, or to today.
    pub age_days: i32,
    /// Whether that is more than the days of the indicator.
    pub late: bool,
    /// Days the open round has lasted.
    pub pending_days: i32,
}

/// The last day on which a service completed on a day may be claimed; a month that lacks the day ends on its last.
#[must_use]
pub fn filing_limit(periods: &Periods, completed: Date) -> Date {
    completed.saturating_add(i64::from(periods.filing_limit_months).months())
}

/// What the clocks show on a day.
#[must_use]
pub fn read(periods: &Periods, times: &Times, today: Date) -> Clocks {
    let limit = times.completed.map(|day| filing_limit(periods, day));
    let completeness = |day| periods.completeness_due(times.filed.map_or(day, |filing| filing.filed));
    let payment = |day| filing::payment_due(periods, day, times.filed.as_ref(), times.came_back);
    let age_days = times.submitted.map_or(0, |day| days(day, times.paid.unwrap_or(today)));
    Clocks {
        filing_limit: limit,
        void: times.submitted.is_none() && limit.is_some_and(|limit| today > limit),
        completeness_due: times.submitted.map(completeness),
        payment_due: times.submitted.and_then(payment),
        age_days,
        late: age_days > i32::from(periods.indicator_days),
        pending_days: times.asked.map_or(0, |day| days(day, today)),
    }
}

pub(crate) fn after(day: Date, days: i16) -> Date {
    day.saturating_add(i64::from(days).days())
}

/// Calendar days from one day to another, none when it lies before.
pub(crate) fn days(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days()).max(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn periods() -> Periods {
        let text = include_str!("../../../policy/claims/clock.toml");
        let dated = chassis::policy::parse::<Periods>("claims/clock.toml", text).unwrap();
        dated.on(day("2026-01-01")).unwrap().rule
    }

    #[test]
    fn exactly_fourteen_days_is_not_late() {
        let times = Times { submitted: Some(day("2026-03-01")), ..Times::default() };
        assert!(!read(&periods(), &times, day("2026-03-15")).late);
        assert!(read(&periods(), &times, day("2026-03-16")).late);
        // Paid on the fourteenth day it never becomes late.
        let paid = Times { paid: Some(day("2026-03-15")), ..times };
        let clocks = read(&periods(), &paid, day("2026-12-31"));
        assert_eq!((clocks.age_days, clocks.late), (14, false));
    }

    #[test]
    fn the_filing_limit_is_six_months_to_the_day() {
        let times = Times { completed: Some(day("2026-01-15")), ..Times::default() };
        assert!(!read(&periods(), &times, day("2026-07-15")).void);
        assert!(read(&periods(), &times, day("2026-07-16")).void);
        assert_eq!(filing_limit(&periods(), day("2025-08-31")), day("2026-02-28"));
        let filed = Times { submitted: Some(day("2026-07-15")), ..times };
        assert!(!read(&periods(), &filed, day("2027-01-01")).void, "what was filed in time is never void");
    }

    #[test]
    fn settlement_is_due_after_completeness() {
        let times =
            Times { submitted: Some(day("2026-03-01")), asked: Some(day("2026-03-04")), ..Times::default() };
        let clocks = read(&periods(), &times, day("2026-03-06"));
        assert_eq!(clocks.completeness_due, Some(day("2026-03-11")));
        assert_eq!(clocks.payment_due, Some(day("2026-03-26")));
        assert_eq!((clocks.age_days, clocks.pending_days), (5, 2));
        // Once it is filed, the record of completeness counts and not the submission.
        let filed = |stated| Some(filing::Times { filed: day("2026-04-05"), stated });
        let of = |times: Times| {
            let clocks = read(&periods(), &times, day("2026-04-20"));
            (clocks.completeness_due, clocks.payment_due)
        };
        let silent = of(Times { filed: filed(None), ..times });
        assert_eq!(silent, (Some(day("2026-04-15")), Some(day("2026-04-30"))));
        let stated = filed(Some((day("2026-04-07"), filing::Stated::Complete)));
        assert_eq!(of(Times { filed: stated, ..times }).1, Some(day("2026-04-22")));
        let answered = Times { filed: stated, came_back: Some(day("2026-04-19")), ..times };
        assert_eq!(of(answered).1, Some(day("2026-05-04")));
        let returned = filed(Some((day("2026-04-07"), filing::Stated::Returned)));
        assert_eq!(of(Times { filed: returned, ..times }).1, None);
    }

    proptest! {
        #[test]
        fn age_never_shrinks_and_lateness_never_heals(submitted in 0..2000i32, now in 0..2000i32, more in 0..500i32) {
            let start = day("2022-01-01");
            let at = |days: i32| start.saturating_add(days.days());
            let times = Times { submitted: Some(at(submitted)), ..Times::default() };
            let (earlier, later) = (read(&periods(), &times, at(now)), read(&periods(), &times, at(now + more)));
            prop_assert!(later.age_days >= earlier.age_days);
            prop_assert!(!earlier.late || later.late);
            prop_assert_eq!(later.age_days, (now + more - submitted).max(0));
        }
    }
}

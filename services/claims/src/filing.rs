//! The collective filing of a month and its completeness record (berita acara kelengkapan). Silence counts as complete;
//! that is computed when it is read, so that nothing has to happen on the day.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;

use crate::clock::Periods;

/// When filing is regular.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Calendar {
    regular_day: i8,
}

impl Rule for Calendar {
    fn check(&self) -> Result<(), String> {
        if (1..=28).contains(&self.regular_day) { Ok(()) } else { Err("regular-day must be 1 to 28".into()) }
    }
}

impl Calendar {
    /// The last day of regular filing of a month of service.
    #[must_use]
    pub fn regular_until(&self, month: Date) -> Date {
        month
            .first_of_month()
            .saturating_add(1.month())
            .saturating_add(i64::from(self.regular_day - 1).days())
    }
}

/// What the record says. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Stated {
    /// Complete.
    Complete = 1,
    /// Returned.
    Returned = 2,
}

impl Stated {
    /// The statement of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::Complete, Self::Returned].into_iter().find(|stated| *stated as i16 == number)
    }
}

/// The event times of a filing, as days in Asia/Jakarta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Filed.
    pub filed: Date,
    /// Stated, and what.
    pub stated: Option<(Date, Stated)>,
}

/// Where a filing stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing stated yet.
    Awaiting,
    /// Stated to be complete.
    Complete,
    /// Complete by silence.
    Deemed,
    /// Returned.
    Returned,
}

impl Standing {
    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Awaiting => "AWAITING",
            Self::Complete => "COMPLETE",
            Self::Deemed => "DEEMED_COMPLETE",
            Self::Returned => "RETURNED",
        }
    }

    /// Whether its claims may be paid.
    #[must_use]
    pub const fn complete(self) -> bool {
        matches!(self, Self::Complete | Self::Deemed)
    }
}

impl Times {
    /// Where it stands on a day.
    #[must_use]
    pub fn standing(&self, periods: &Periods, today: Date) -> Standing {
        match self.stated {
            Some((_, Stated::Complete)) => Standing::Complete,
            Some((_, Stated::Returned)) => Standing::Returned,
            None if today > periods.completeness_due(self.filed) => Standing::Deemed,
            None => Standing::Awaiting,
        }
    }

    /// The day from which it counts as complete, at the latest that of silence; none once it is returned.
    #[must_use]
    pub fn complete_on(&self, periods: &Periods) -> Option<Date> {
        let silence = periods.completeness_due(self.filed);
        match self.stated {
            Some((_, Stated::Returned)) => None,
            Some((on, Stated::Complete)) => Some(on.min(silence)),
            None => Some(silence),
        }
    }

    /// Whether the statement may be made on a day: nothing else was stated, and it is not returned after silence.
    #[must_use]
    pub fn may_state(&self, periods: &Periods, stated: Stated, today: Date) -> bool {
        match self.standing(periods, today) {
            Standing::Awaiting => true,
            Standing::Complete | Standing::Deemed => stated == Stated::Complete,
            Standing::Returned => stated == Stated::Returned,
        }
    }
}

/// The last day of payment of a claim: so many days after its filing was complete (or, when it was in none, after
/// silence on its submission), and not before as many after it last came back from the hospital. None while its filing
/// is returned.
#[must_use]
pub fn payment_due(
    periods: &Periods,
    submitted: Date,
    filed: Option<&Times>,
    came_back: Option<Date>,
) -> Option<Date> {
    let complete = match filed {
        Some(filed) => filed.complete_on(periods)?,
        None => periods.completeness_due(submitted),
    };
    Some(periods.payment_due(came_back.map_or(complete, |day| day.max(complete))))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    pub(crate) fn periods() -> Periods {
        let text = include_str!("../../../policy/claims/clock.toml");
        let dated = chassis::policy::parse::<Periods>("claims/clock.toml", text).unwrap();
        dated.on(day("2026-01-01")).unwrap().rule
    }

    #[test]
    fn silence_of_ten_days_counts_as_complete() {
        let filed = Times { filed: day("2026-03-01"), stated: None };
        assert_eq!(
            filed.standing(&periods(), day("2026-03-11")),
            Standing::Awaiting,
            "the tenth day is not over"
        );
        assert_eq!(filed.standing(&periods(), day("2026-03-12")), Standing::Deemed);
        assert!(filed.may_state(&periods(), Stated::Returned, day("2026-03-11")));
        assert!(!filed.may_state(&periods(), Stated::Returned, day("2026-03-12")));
        assert_eq!(filed.complete_on(&periods()), Some(day("2026-03-11")));
        let late = Times { stated: Some((day("2026-04-01"), Stated::Complete)), ..filed };
        assert_eq!(
            late.complete_on(&periods()),
            Some(day("2026-03-11")),
            "a late record does not move the day"
        );
        let early = Times { stated: Some((day("2026-03-03"), Stated::Complete)), ..filed };
        assert_eq!(early.complete_on(&periods()), Some(day("2026-03-03")));
        let returned = Times { stated: Some((day("2026-03-03"), Stated::Returned)), ..filed };
        assert_eq!(
            (returned.complete_on(&periods()), returned.standing(&periods(), day("2026-09-01"))),
            (None, Standing::Returned)
        );
    }

    #[test]
    fn payment_is_due_fifteen_days_after_completeness_or_after_the_last_answer() {
        let submitted = day("2026-03-01");
        let due = |filed: Option<&Times>, back: Option<&str>| {
            payment_due(&periods(), submitted, filed, back.map(day))
        };
        assert_eq!(due(None, None), Some(day("2026-03-26")));
        assert_eq!(due(None, Some("2026-03-05")), Some(day("2026-03-26")), "answered before it was complete");
        assert_eq!(due(None, Some("2026-05-01")), Some(day("2026-05-16")));
        let filed = Times { filed: day("2026-04-05"), stated: Some((day("2026-04-07"), Stated::Complete)) };
        assert_eq!(due(Some(&filed), None), Some(day("2026-04-22")));
        let returned = Times { stated: Some((day("2026-04-07"), Stated::Returned)), ..filed };
        assert_eq!(due(Some(&returned), Some("2026-05-01")), None);
    }

    #[test]
    fn regular_filing_ends_on_the_tenth_of_the_next_month() {
        let text = include_str!("../../../policy/claims/filing.toml");
        let dated = chassis::policy::parse::<Calendar>("claims/filing.toml", text).unwrap();
        let calendar = &dated.on(day("2026-01-01")).unwrap().rule;
        assert_eq!(calendar.regular_until(day("2026-01-01")), day("2026-02-10"));
        assert_eq!(calendar.regular_until(day("2025-12-01")), day("2026-01-10"));
    }

    proptest! {
        #[test]
        fn a_filing_is_complete_from_the_day_it_says(filed in 0i32..500, stated in proptest::option::of((0i32..60, any::<bool>())), later in 0i32..120) {
            let at = |days: i32| day("2025-01-01").saturating_add(days.days());
            let stated = stated.map(|(after, complete)| (at(filed + after), if complete { Stated::Complete } else { Stated::Returned }));
            let times = Times { filed: at(filed), stated };
            match times.complete_on(&periods()) {
                // Once the day is over, it stands as complete and stays so.
                Some(on) => {
                    prop_assert!(on >= times.filed && on <= periods().completeness_due(times.filed));
                    prop_assert!(times.standing(&periods(), at(filed + 11 + later)).complete());
                }
                None => prop_assert_eq!(times.standing(&periods(), at(filed + later)), Standing::Returned),
            }
        }
    }
}

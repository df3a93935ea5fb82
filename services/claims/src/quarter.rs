//! Calendar quarters in Asia/Jakarta, written `2026-Q3`.

use std::fmt;

use jiff::{ToSpan, civil::Date};
use vocabulary::Malformed;

/// A calendar quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quarter {
    first: Date,
}

impl Quarter {
    /// Reads a quarter.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::new("a calendar quarter as 2026-Q3");
        let (year, quarter) = text.split_once("-Q").ok_or_else(malformed)?;
        let digits = |text: &str, length: usize| {
            text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(quarter, 1) {
            return Err(malformed());
        }
        let year: i16 = year.parse().map_err(|_| malformed())?;
        let quarter: i8 = quarter.parse().map_err(|_| malformed())?;
        if !(1..=4).contains(&quarter) {
            return Err(malformed());
        }
        let first = Date::new(year, quarter * 3 - 2, 1).map_err(|_| malformed())?;
        Ok(Self { first })
    }

    /// The quarter that a day lies in.
    #[must_use]
    pub fn of(day: Date) -> Self {
        let month = (day.month() - 1) / 3 * 3 + 1;
        Self { first: Date::new(day.year(), month, 1).unwrap_or(day) }
    }

    /// Its first day.
    #[must_use]
    pub fn first(self) -> Date {
        self.first
    }

    /// The first day of the quarter after it.
    #[must_use]
    pub fn end(self) -> Date {
        self.first.saturating_add(3.months())
    }

    /// Its last day.
    #[must_use]
    pub fn last(self) -> Date {
        self.end().saturating_sub(1.day())
    }

    /// Whether a day lies in it.
    #[must_use]
    pub fn holds(self, day: Date) -> bool {
        self.first <= day && day < self.end()
    }
}

impl fmt::Display for Quarter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-Q{}", self.first.year(), (self.first.month() + 2) / 3)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn a_quarter_begins_and_ends_on_its_days() {
        let third = Quarter::parse("2026-Q3").unwrap();
        assert_eq!(
            (third.first(), third.last(), third.end()),
            (day("2026-07-01"), day("2026-09-30"), day("2026-10-01"))
        );
        assert_eq!(Quarter::parse("2027-Q4").unwrap().end(), day("2028-01-01"));
        for wrong in ["", "2026", "2026-Q0", "2026-Q5", "26-Q1", "2026-q3", "2026-Q03", "+026-Q1", "2026-Q3 "]
        {
            assert!(Quarter::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_day_lies_in_the_quarter_of_its_month_and_in_no_other(days in 0..40_000i32) {
            let day = day("2000-01-01").saturating_add(days.days());
            let quarter = Quarter::of(day);
            prop_assert!(quarter.holds(day));
            prop_assert!(!Quarter::of(quarter.end()).holds(day));
            prop_assert_eq!(Quarter::of(quarter.last()), quarter);
            prop_assert_eq!(Quarter::parse(&quarter.to_string()), Ok(quarter));
        }
    }
}

//! A further SEP of the same accident (suplesi) cites the first one.

use jiff::civil::Date;

/// The SEP that is cited as the first of an accident.
#[derive(Debug, Clone, Copy)]
pub struct First {
    /// Day of its accident; `None` when it is of none.
    pub occurred_on: Option<Date>,
    /// Day of service.
    pub service_date: Date,
    /// Whether it is cancelled.
    pub cancelled: bool,
    /// Whether it cites an earlier one itself.
    pub supplements: bool,
}

/// Why a SEP is not the first of the accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotUsable {
    /// The member has no SEP with this number.
    UnknownNumber,
    /// It is cancelled.
    Cancelled,
    /// It follows from no accident, or from one of another day.
    OtherAccident,
    /// It cites an earlier one, which is the first.
    NotFirst,
    /// Its day of service lies after this one's.
    Later,
}

impl NotUsable {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownNumber => "UNKNOWN_NUMBER",
            Self::Cancelled => "CANCELLED",
            Self::OtherAccident => "OTHER_ACCIDENT",
            Self::NotFirst => "NOT_FIRST",
            Self::Later => "LATER",
        }
    }
}

/// Why a SEP of this member is not the first of an accident of a day; nothing when it is.
#[must_use]
pub fn not_usable(first: Option<&First>, occurred_on: Date, service_date: Date) -> Vec<NotUsable> {
    let Some(first) = first else { return vec![NotUsable::UnknownNumber] };
    let found = [
        (first.cancelled, NotUsable::Cancelled),
        (first.occurred_on != Some(occurred_on), NotUsable::OtherAccident),
        (first.supplements, NotUsable::NotFirst),
        (first.service_date > service_date, NotUsable::Later),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, why)| why).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sep_of_the_accident_is_cited_and_no_other() {
        let day = |text: &str| -> Date { text.parse().unwrap() };
        let first = First {
            occurred_on: Some(day("2026-03-01")),
            service_date: day("2026-03-02"),
            cancelled: false,
            supplements: false,
        };
        assert_eq!(not_usable(Some(&first), day("2026-03-01"), day("2026-03-02")), []);
        assert_eq!(not_usable(None, day("2026-03-01"), day("2026-03-02")), [NotUsable::UnknownNumber]);
        let wrong = First { cancelled: true, supplements: true, ..first };
        use NotUsable::{Cancelled, Later, NotFirst, OtherAccident};
        assert_eq!(
            not_usable(Some(&wrong), day("2026-02-28"), day("2026-03-01")),
            [Cancelled, OtherAccident, NotFirst, Later]
        );
        let none = First { occurred_on: None, ..first };
        assert_eq!(not_usable(Some(&none), day("2026-03-01"), day("2026-03-02")), [OtherAccident]);
    }
}

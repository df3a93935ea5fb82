//! Time at the edge of a process: the day is Indonesia's west (Asia/Jakarta), storage and wire are UTC.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The time zone whose midnight is the boundary of a day for BPJS-K's rules.
#[must_use]
pub fn jakarta() -> TimeZone {
    // UTC+7 without daylight saving since 1964; the name is not needed, so neither is a zone database.
    TimeZone::fixed(jiff::tz::offset(7))
}

/// The civil date in Asia/Jakarta at an instant.
#[must_use]
pub fn today_at(instant: Timestamp) -> Date {
    instant.to_zoned(jakarta()).date()
}

/// The first instant of a day in Asia/Jakarta.
#[must_use]
pub fn start_of(day: Date) -> Option<Timestamp> {
    day.to_zoned(jakarta()).ok().map(|zoned| zoned.timestamp())
}

/// An instant for the wire.
#[must_use]
pub fn to_proto(instant: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: instant.as_second(), nanos: instant.subsec_nanosecond() }
}

/// An instant from the wire; `None` when it is out of range.
#[must_use]
pub fn from_proto(instant: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(instant.seconds, instant.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_begins_at_five_in_the_afternoon_utc() {
        let before: Timestamp = "2026-03-31T16:59:59.999Z".parse().unwrap();
        let after: Timestamp = "2026-03-31T17:00:00Z".parse().unwrap();
        assert_eq!(today_at(before).to_string(), "2026-03-31");
        assert_eq!(today_at(after).to_string(), "2026-04-01");
        assert_eq!(start_of(today_at(after)), Some(after));
    }

    #[test]
    fn an_instant_survives_the_wire() {
        let instant: Timestamp = "2026-03-31T16:59:59.123456789Z".parse().unwrap();
        assert_eq!(from_proto(&to_proto(instant)), Some(instant));
    }
}

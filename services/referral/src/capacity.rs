//! The room that facilities post: openings of the week, quotas of single days, beds.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use vocabulary::{FacilityCode, Malformed, Poli};

/// One opening of a clinic in the week.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// The clinic.
    pub poli: Poli,
    /// 1 Monday to 7 Sunday.
    pub weekday: i16,
    /// From when.
    pub opens: TimeOfDay,
    /// Until when.
    pub closes: TimeOfDay,
    /// Referred patients it takes.
    pub quota: i32,
}

/// The quota of a clinic for one day; it overrides the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayQuota {
    /// The clinic.
    pub poli: Poli,
    /// The day.
    pub day: Date,
    /// Referred patients it takes; 0 means closed.
    pub quota: i32,
}

/// The beds of a clinic's wards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beds {
    /// The clinic.
    pub poli: Poli,
    /// All of them.
    pub total: i32,
    /// Those that are free.
    pub available: i32,
}

/// All that a facility has posted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Openings of the week.
    pub weekly: Vec<Slot>,
    /// Quotas of single days.
    pub days: Vec<DayQuota>,
    /// Beds.
    pub beds: Vec<Beds>,
}

/// What one facility has posted about one clinic on one day.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClinicDay {
    /// The openings of that day of the week.
    pub openings: Vec<Slot>,
    /// The quota of the day itself.
    pub quota: Option<i32>,
    /// Beds that are free.
    pub beds: Option<i32>,
    /// Referrals planned for that day that still stand.
    pub referred: i32,
}

impl ClinicDay {
    /// Patients the clinic takes on the day, when anything was posted: the day's own quota, else that of its openings.
    #[must_use]
    pub fn quota(&self) -> Option<i32> {
        let of_openings = || self.openings.iter().map(|slot| slot.quota).fold(0_i32, i32::saturating_add);
        self.quota.or_else(|| (!self.openings.is_empty()).then(of_openings))
    }
}

/// The number of a weekday as it is posted, 1 Monday to 7 Sunday.
#[must_use]
pub fn weekday(day: Date) -> i16 {
    i16::from(day.weekday().to_monday_one_offset())
}

/// A time of the day, written HH:MM.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(String);

impl TimeOfDay {
    /// Reads HH:MM.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let number = |digits: &str| {
            digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u8>().ok()).flatten()
        };
        let fits = text.len() == 5
            && text.is_ascii()
            && &text[2..3] == ":"
            && number(&text[..2]).is_some_and(|hour| hour < 24)
            && number(&text[3..]).is_some_and(|minute| minute < 60);
        if fits { Ok(Self(text.to_owned())) } else { Err(Malformed::new("a time HH:MM from 00:00 to 23:59")) }
    }

    /// HH:MM.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first opening (by its place in the list) that overlaps an earlier one of the same clinic and day.
#[must_use]
pub fn first_overlap(slots: &[Slot]) -> Option<usize> {
    let mut known: BTreeMap<(Poli, i16), Vec<&Slot>> = BTreeMap::new();
    slots.iter().position(|slot| {
        let of_day = known.entry((slot.poli, slot.weekday)).or_default();
        let overlaps = of_day.iter().any(|other| slot.opens < other.closes && other.opens < slot.closes);
        of_day.push(slot);
        overlaps
    })
}

/// The first entry (by its place in the list) whose key came before.
#[must_use]
pub fn first_repeated<K: Ord>(keys: impl IntoIterator<Item = K>) -> Option<usize> {
    let mut seen = BTreeSet::new();
    keys.into_iter().position(|key| !seen.insert(key))
}

/// A facility and what it has posted about a clinic on a day.
pub type Posted = BTreeMap<FacilityCode, ClinicDay>;

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(weekday: i16, opens: &str, closes: &str, quota: i32) -> Slot {
        Slot {
            poli: Poli::parse("INT").unwrap(),
            weekday,
            opens: TimeOfDay::parse(opens).unwrap(),
            closes: TimeOfDay::parse(closes).unwrap(),
            quota,
        }
    }

    #[test]
    fn a_day_of_its_own_overrides_the_week() {
        let mut clinic = ClinicDay::default();
        assert_eq!(clinic.quota(), None);
        clinic.openings = vec![slot(1, "08:00", "12:00", 20), slot(1, "13:00", "15:00", 10)];
        assert_eq!(clinic.quota(), Some(30));
        clinic.quota = Some(0);
        assert_eq!(clinic.quota(), Some(0));
    }

    #[test]
    fn times_are_strict() {
        assert!(TimeOfDay::parse("23:59").is_ok());
        for wrong in ["24:00", "8:00", "08:60", "08-00", "+8:00", "é8:00", ""] {
            assert!(TimeOfDay::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn overlaps_and_repeats_are_found() {
        assert_eq!(
            first_overlap(&[
                slot(1, "08:00", "12:00", 1),
                slot(2, "08:00", "12:00", 1),
                slot(1, "12:00", "14:00", 1)
            ]),
            None
        );
        assert_eq!(first_overlap(&[slot(1, "08:00", "12:00", 1), slot(1, "11:59", "14:00", 1)]), Some(1));
        assert_eq!(first_repeated(["a", "b", "a"]), Some(2));
        assert_eq!(weekday(jiff::civil::date(2026, 3, 2)), 1);
    }
}

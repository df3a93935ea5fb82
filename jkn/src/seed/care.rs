//! What the members of the nation do in a month: visits in primary care, and referrals from them, in the published
//! rates. A month's visits of a member follow from the seed, the member and the month alone.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz};
use uuid::Uuid;

use super::{
    chance::Chance,
    nation::{Family, Nation},
};

/// In a hundred thousand members a month: sick visits, 275.7 million a year among 278.1 million members
/// (2024, by the shares of 2022).
const SICK: u64 = 8_261;
/// Healthy visits: 254.2 million a year.
const HEALTHY: u64 = 7_617;
/// Of a hundred sick visits so many end in a referral: an assumption (40 million referrals a year).
const REFERRED_PERCENT: u64 = 14;

/// Share of the week's visits from Monday to Saturday: an assumption. Mondays are the busiest.
const WEEK: [(i8, u64); 6] = [(0, 24), (1, 18), (2, 17), (3, 16), (4, 14), (5, 11)];

/// Diagnoses of sick visits with their weights: an assumption. Those of the second list are referred.
const TREATED: [(&str, u64); 10] = [
    ("J06.9", 26),
    ("I10", 16),
    ("K30", 11),
    ("M79.1", 9),
    ("E11.9", 8),
    ("J00", 8),
    ("R50.9", 7),
    ("A09", 6),
    ("L30.9", 5),
    ("R51", 4),
];
const REFERRED: [((&str, &str), u64); 8] = [
    (("I25.1", "JAN"), 18),
    (("H25.9", "MAT"), 16),
    (("I50.0", "INT"), 16),
    (("N20.0", "BED"), 12),
    (("G40.9", "SAR"), 10),
    (("J44.9", "PAR"), 10),
    (("O14.9", "OBG"), 10),
    (("Q21.1", "ANA"), 8),
];

/// A visit; its number is given by the facility's counter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Visit {
    pub(crate) member: Uuid,
    pub(crate) sick: bool,
    pub(crate) at: Timestamp,
    pub(crate) day: Date,
    pub(crate) diagnosis: &'static str,
    pub(crate) answer: Uuid,
    pub(crate) referral: Option<Referral>,
}

/// Where a visit ended in a referral to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Referral {
    /// Index of the hospital.
    pub(crate) destination: usize,
    pub(crate) poli: &'static str,
}

/// The visits of a family in a month, none while it is suspended for arrears.
pub(crate) fn visits(nation: &Nation, family: &Family, month: Date) -> Vec<Visit> {
    let covered = family.registered_on <= month && family.paid_through.is_none_or(|last| month <= last);
    if !covered {
        return Vec::new();
    }
    let number = u64::try_from(month.year()).unwrap_or(0) * 12 + u64::try_from(month.month()).unwrap_or(0);
    let mut visits = Vec::new();
    for person in &family.members {
        let mut chance = nation.chance("visits", person.id.as_u128() as u64 ^ number.rotate_left(40));
        for (sick, rate) in [(true, SICK), (false, HEALTHY)] {
            if chance.below(100_000) < rate {
                visits.push(visit(nation, family, person.id, sick, month, &mut chance));
            }
        }
    }
    visits
}

fn visit(
    nation: &Nation,
    family: &Family,
    member: Uuid,
    sick: bool,
    month: Date,
    chance: &mut Chance,
) -> Visit {
    let day = weekday(month, chance);
    // From seven to one o'clock in Jakarta, most of them in the morning.
    let minute = chance.between(0, 360).min(chance.between(0, 360));
    let opening =
        day.at(7, 0, 0, 0).to_zoned(tz::offset(7).to_time_zone()).map(|opening| opening.timestamp());
    let at = opening
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .saturating_add(minute.minutes())
        .unwrap_or(Timestamp::UNIX_EPOCH);
    let answer = chance.id(u64::try_from(at.as_millisecond()).unwrap_or(0));
    if sick && chance.percent(REFERRED_PERCENT) {
        let (diagnosis, poli) = *chance.weighted(&REFERRED);
        if let Some(destination) = nation.hospital_near(family.region, poli, chance) {
            let referral = Some(Referral { destination, poli });
            return Visit { member, sick, at, day, diagnosis, answer, referral };
        }
    }
    let diagnosis = if sick { *chance.weighted(&TREATED) } else { "Z00.0" };
    Visit { member, sick, at, day, diagnosis, answer, referral: None }
}

fn weekday(month: Date, chance: &mut Chance) -> Date {
    let day = month.saturating_add(chance.between(0, i64::from(month.days_in_month()) - 1).days());
    let wanted = *chance.weighted(&WEEK);
    let shifted = day.saturating_add((wanted - day.weekday().to_monday_zero_offset()).days());
    // A week that begins or ends in another month: the same weekday of a week within.
    match shifted {
        before if before < month => before.saturating_add(7.days()),
        after if after > month.last_of_month() => after.saturating_sub(7.days()),
        within => within,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Weekday, date};
    use vocabulary::Rupiah;

    use super::*;

    #[test]
    fn rates_days_and_repetition() {
        let nation = Nation::new(3, 10_000, date(2026, 11, 22), Rupiah::new(4_000_000).unwrap()).unwrap();
        let month = date(2026, 10, 1);
        let (mut members, mut seen, mut referred, mut sick) = (0, 0, 0, 0);
        let mut mondays = 0;
        for number in 0..4_000 {
            let family = nation.family(number, 6).unwrap();
            let visits = visits(&nation, &family, month);
            assert_eq!(visits, super::visits(&nation, &family, month));
            members += family.members.len();
            for visit in visits {
                seen += 1;
                sick += usize::from(visit.sick);
                referred += usize::from(visit.referral.is_some());
                mondays += usize::from(visit.day.weekday() == Weekday::Monday);
                assert!(visit.day.weekday() != Weekday::Sunday && visit.day.first_of_month() == month);
                if let Some(referral) = visit.referral {
                    let hospital = &nation.facilities[referral.destination];
                    assert!(hospital.is_hospital() && hospital.services.contains(&referral.poli));
                }
            }
        }
        assert!((130..170).contains(&(seen * 1000 / members)), "{seen} visits of {members}");
        assert!((8..18).contains(&(referred * 100 / sick)), "{referred} of {sick}");
        assert!((20..28).contains(&(mondays * 100 / seen)), "{mondays} of {seen}");
    }
}

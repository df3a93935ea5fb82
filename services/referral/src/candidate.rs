//! Who can take a patient, and who best: distance over the ground, room on the day, rung of the ladder.

use std::cmp::Ordering;

use vocabulary::FacilityCode;

use crate::{capacity::ClinicDay, ladder::Standing, letter::CareType};

/// A point on the map, WGS 84, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

/// What the registry says of a facility.
#[derive(Debug, Clone, PartialEq)]
pub struct Facility {
    /// Its code.
    pub code: FacilityCode,
    /// Its name.
    pub name: String,
    /// Its standing on the ladder.
    pub standing: Standing,
    /// Its class, when it is a hospital: "A" to "D".
    pub class: &'static str,
    /// Its regency, Kemendagri code; empty when not known.
    pub region: String,
    /// Where it stands.
    pub place: Option<Place>,
    /// The clinics it runs, each with its stratum ("" when not assessed).
    pub clinics: Vec<(String, &'static str)>,
    /// First and last day (empty: open) of its contracts, YYYY-MM-DD.
    pub contracts: Vec<(String, String)>,
}

impl Facility {
    /// Whether it runs a clinic.
    #[must_use]
    pub fn runs(&self, poli: &str) -> bool {
        self.clinics.iter().any(|(code, _)| code == poli)
    }

    /// The stratum of a clinic; empty when it is not assessed or not run.
    #[must_use]
    pub fn stratum(&self, poli: &str) -> &'static str {
        self.clinics.iter().find(|(code, _)| code == poli).map_or("", |(_, stratum)| stratum)
    }

    /// Whether a contract is in force on a day, YYYY-MM-DD.
    #[must_use]
    pub fn is_contracted_on(&self, day: &str) -> bool {
        self.contracts.iter().any(|(from, to)| from.as_str() <= day && (to.is_empty() || day <= to.as_str()))
    }
}

/// A facility that can take the patient, with what its rank is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The facility.
    pub facility: Facility,
    /// Its rung.
    pub rung: usize,
    /// How far it is, in kilometres.
    pub distance_km: Option<f64>,
    /// What it has posted about the clinic on the day.
    pub posted: ClinicDay,
}

/// Whether a candidate has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// It has.
    Free,
    /// It has posted nothing.
    Unknown,
    /// It is full.
    Full,
}

impl Candidate {
    /// Patients it can take: the quota of the day, or free beds when the patient is to stay.
    #[must_use]
    pub fn capacity(&self, care: CareType) -> Option<i32> {
        match care {
            CareType::Outpatient => self.posted.quota(),
            CareType::Inpatient | CareType::Emergency => self.posted.beds,
        }
    }

    /// Whether it has room.
    #[must_use]
    pub fn room(&self, care: CareType) -> Room {
        match self.capacity(care) {
            None => Room::Unknown,
            Some(capacity) if capacity > self.posted.referred => Room::Free,
            Some(_) => Room::Full,
        }
    }

    /// How much of the capacity is taken, in whole per cent.
    #[must_use]
    pub fn taken_percent(&self, care: CareType) -> Option<i32> {
        let capacity = i64::from(self.capacity(care)?);
        (capacity > 0)
            .then(|| i32::try_from(i64::from(self.posted.referred) * 100 / capacity).unwrap_or(i32::MAX))
    }
}

/// Sorts candidates, best first: room, then rung, then distance, then code, so that the order is the same each time.
pub fn rank(candidates: &mut [Candidate], care: CareType) {
    candidates.sort_by(|one, other| {
        let far = |candidate: &Candidate| candidate.distance_km.unwrap_or(f64::INFINITY);
        one.room(care)
            .cmp(&other.room(care))
            .then(one.rung.cmp(&other.rung))
            .then(far(one).partial_cmp(&far(other)).unwrap_or(Ordering::Equal))
            .then_with(|| one.facility.code.cmp(&other.facility.code))
    });
}

/// The great-circle distance between two points in kilometres (haversine, mean radius of the earth).
#[must_use]
pub fn distance_km(from: Place, to: Place) -> f64 {
    const EARTH_RADIUS_KM: f64 = 6371.0088;
    let (north, south) = (from.latitude.to_radians(), to.latitude.to_radians());
    let half_height = ((to.latitude - from.latitude).to_radians() / 2.0).sin();
    let half_width = ((to.longitude - from.longitude).to_radians() / 2.0).sin();
    let chord = half_height.mul_add(half_height, north.cos() * south.cos() * half_width * half_width);
    2.0 * EARTH_RADIUS_KM * chord.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(
        code: &str,
        rung: usize,
        distance_km: Option<f64>,
        quota: Option<i32>,
        referred: i32,
    ) -> Candidate {
        Candidate {
            facility: Facility {
                code: FacilityCode::parse(code).unwrap(),
                name: code.to_owned(),
                standing: Standing::C,
                class: "C",
                region: "1371".to_owned(),
                place: None,
                clinics: vec![("INT".to_owned(), "MADYA")],
                contracts: vec![
                    ("2020-01-01".to_owned(), "2021-12-31".to_owned()),
                    ("2023-01-01".to_owned(), String::new()),
                ],
            },
            rung,
            distance_km,
            posted: ClinicDay { quota, referred, ..ClinicDay::default() },
        }
    }

    #[test]
    fn room_comes_before_rung_and_rung_before_distance() {
        let mut all = vec![
            candidate("0301R001", 1, Some(1.0), Some(5), 5),
            candidate("0301R002", 1, Some(2.0), None, 0),
            candidate("0301R003", 2, Some(3.0), Some(5), 1),
            candidate("0301R004", 1, None, Some(5), 4),
            candidate("0301R005", 1, Some(9.0), Some(5), 4),
        ];
        rank(&mut all, CareType::Outpatient);
        let order: Vec<_> = all.iter().map(|c| c.facility.code.as_str()).collect();
        assert_eq!(order, ["0301R005", "0301R004", "0301R003", "0301R002", "0301R001"]);
        assert_eq!(all[4].taken_percent(CareType::Outpatient), Some(100));
        assert_eq!(all[3].taken_percent(CareType::Outpatient), None);
    }

    #[test]
    fn a_contract_holds_on_its_last_day_and_not_between_two() {
        let facility = candidate("0301R001", 1, None, None, 0).facility;
        assert!(facility.is_contracted_on("2021-12-31"));
        assert!(!facility.is_contracted_on("2022-06-01"));
        assert!(facility.is_contracted_on("2026-03-02"));
        assert!(facility.runs("INT") && !facility.runs("MAT"));
    }

    #[test]
    fn padang_to_jakarta() {
        let padang = Place { latitude: -0.9492, longitude: 100.3543 };
        let jakarta = Place { latitude: -6.2088, longitude: 106.8456 };
        let distance = distance_km(padang, jakarta);
        assert!((925.0..930.0).contains(&distance), "{distance}");
    }

    proptest! {
        #[test]
        fn distance_is_symmetric_and_bounded(a in -90.0..90.0, b in -180.0..180.0, c in -90.0..90.0, d in -180.0..180.0) {
            let (from, to) = (Place { latitude: a, longitude: b }, Place { latitude: c, longitude: d });
            let distance = distance_km(from, to);
            prop_assert!((0.0..=20_016.0).contains(&distance));
            prop_assert!((distance - distance_km(to, from)).abs() < 1e-6);
        }
    }
}

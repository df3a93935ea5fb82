//! Who takes part in a campaign: facilities that are the same in every one, and people that its seed makes up.

use jiff::{ToSpan, civil::Date};
use proto::{accreditation::v1 as accreditation, membership::v1 as membership};

/// Kota Bandung, Kemendagri code.
const REGION: &str = "3273";
/// The clinic that patients are referred to: internal medicine.
pub(crate) const CLINIC: &str = "INT";
/// NIK of the coder who works at every hospital; no member.
pub(crate) const CODER_NIK: &str = "3273014101900001";
/// How many there are of each kind of facility.
const FACILITIES: usize = 8;
/// Hospitals beside those, each of which is one caller's alone: a collective filing must state exactly what is submitted.
const FILING: usize = 4;

/// The institutions that are no facilities.
pub(crate) const MINISTRY: &str = "ministry:yankes";
pub(crate) const BPJS: &str = "bpjs:pusat";
pub(crate) const BANKS: [&str; 3] = ["bank:bni", "bank:bri", "bank:mandiri"];
pub(crate) const DJSN: &str = "djsn:djsn";

/// A facility.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Facility {
    Puskesmas(usize),
    Hospital(usize),
}

impl Facility {
    pub(crate) fn puskesmas() -> Vec<Self> {
        (1..=FACILITIES).map(Self::Puskesmas).collect()
    }

    /// The hospitals that every caller works at.
    pub(crate) fn hospitals() -> Vec<Self> {
        (1..=FACILITIES).map(Self::Hospital).collect()
    }

    /// The hospital that only the caller of this number works at.
    pub(crate) fn of_caller(number: usize) -> Option<Self> {
        (number < FILING).then_some(Self::Hospital(FACILITIES + 1 + number))
    }

    /// Every hospital.
    pub(crate) fn all_hospitals() -> Vec<Self> {
        Self::hospitals().into_iter().chain((0..FILING).filter_map(Self::of_caller)).collect()
    }

    pub(crate) fn code(self) -> String {
        match self {
            Self::Puskesmas(number) => format!("9901P{number:03}"),
            Self::Hospital(number) => format!("9901R{number:03}"),
        }
    }

    /// Its identity as a caller.
    pub(crate) fn caller(self) -> String {
        match self {
            Self::Puskesmas(_) => format!("fktp:{}", self.code()),
            Self::Hospital(_) => format!("hospital:{}", self.code()),
        }
    }

    /// Its entry in the registry.
    pub(crate) fn entry(self) -> accreditation::Facility {
        use accreditation::{FacilityKind, HospitalClass, ServiceStratum};
        let (kind, class, clinic, name) = match self {
            Self::Puskesmas(_) => {
                (FacilityKind::Puskesmas, HospitalClass::Unspecified, "UMU", "Puskesmas Kampanye")
            }
            Self::Hospital(_) => (FacilityKind::Hospital, HospitalClass::C, CLINIC, "RSUD Kampanye"),
        };
        accreditation::Facility {
            facility_code: self.code(),
            name: name.to_owned(),
            kind: kind.into(),
            hospital_class: class.into(),
            ownership: accreditation::Ownership::Regency.into(),
            region_code: REGION.to_owned(),
            location: Some(accreditation::Location { latitude: -6.9, longitude: 107.6 }),
            services: vec![accreditation::ServiceOffered {
                poli_code: clinic.to_owned(),
                stratum: ServiceStratum::Madya.into(),
            }],
            contract: Some(accreditation::Contract { from: "2020-01-01".to_owned(), to: String::new() }),
            ..accreditation::Facility::default()
        }
    }
}

/// Every institution that calls.
pub(crate) fn institutions() -> Vec<String> {
    let facilities = Facility::puskesmas().into_iter().chain(Facility::all_hospitals()).map(Facility::caller);
    let others = [MINISTRY, BPJS, DJSN].into_iter().chain(BANKS).map(str::to_owned);
    facilities.chain(others).collect()
}

/// A person made up. Debug is left out: a NIK is in it.
pub(crate) struct Person {
    pub(crate) nik: String,
    pub(crate) birth_date: Date,
    pub(crate) sex: membership::Sex,
}

impl Person {
    /// The person of a number, another one for each.
    pub(crate) fn of(number: usize, today: Date) -> Self {
        let (serial, rest) = (number % 9_999, number / 9_999);
        let (district, rest) = (rest % 99, rest / 99);
        // From 25 to 44 years of age.
        let days = i64::try_from(rest % 7_000).unwrap_or(0);
        let born = today.saturating_sub(25.years());
        let birth_date = born.saturating_sub(days.days());
        let sex = if number.is_multiple_of(2) { membership::Sex::Female } else { membership::Sex::Male };
        let nik = format!(
            "{REGION}{:02}{:02}{:02}{:02}{:04}",
            district + 1,
            birth_date.day() + if sex == membership::Sex::Female { 40 } else { 0 },
            birth_date.month(),
            birth_date.year().rem_euclid(100),
            serial + 1,
        );
        Self { nik, birth_date, sex }
    }

    /// As given to membership.
    pub(crate) fn entry(&self, relation: membership::Relation, fktp: Facility) -> membership::NewMember {
        membership::NewMember {
            nik: self.nik.clone(),
            name: "Warga Kampanye".to_owned(),
            birth_date: self.birth_date.to_string(),
            sex: self.sex.into(),
            relation: relation.into(),
            region_code: REGION.to_owned(),
            fktp_code: fktp.code(),
            ..membership::NewMember::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;
    use vocabulary::Nik;

    use super::*;

    #[test]
    fn each_number_is_another_person_with_a_nik_that_tells_birth_and_sex() {
        let today = date(2026, 3, 1);
        let mut seen = HashSet::new();
        for number in (0..200_000_000).step_by(49_999) {
            let person = Person::of(number, today);
            let nik = Nik::parse(&person.nik).unwrap();
            assert!(nik.birth_dates().into_iter().any(|day| day == person.birth_date), "{number}");
            assert!(seen.insert(person.nik), "{number}");
        }
    }
}

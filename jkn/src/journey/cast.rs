//! Who takes part in the journey: facilities that are the same in every run, and people that no run has seen before.

use anyhow::Context;
use jiff::{ToSpan, civil::Date};
use proto::{accreditation::v1 as accreditation, membership::v1 as membership};
use vocabulary::Nik;

/// Kota Bandung, Kemendagri code: where the journey takes place.
pub(super) const REGION: &str = "3273";
/// The clinic that patients are referred to: internal medicine.
pub(super) const CLINIC: &str = "INT";

/// A facility of the journey.
pub(super) struct Facility {
    pub(super) code: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: accreditation::FacilityKind,
    pub(super) latitude: f64,
    pub(super) longitude: f64,
}

const fn hospital(code: &'static str, name: &'static str, latitude: f64) -> Facility {
    Facility { code, name, kind: accreditation::FacilityKind::Hospital, latitude, longitude: 107.61 }
}

/// Where the family is registered.
pub(super) const PUSKESMAS: Facility = Facility {
    code: "9901P001",
    name: "Puskesmas Perjalanan",
    kind: accreditation::FacilityKind::Puskesmas,
    latitude: -6.91,
    longitude: 107.61,
};
/// Where it is referred to.
pub(super) const HOSPITAL: Facility = hospital("9901R001", "RSUD Perjalanan", -6.90);
/// Another hospital, to which nobody was referred.
pub(super) const OTHER_HOSPITAL: Facility = hospital("9901R002", "RS Tetangga", -6.92);
/// A hospital under contract whose certificate has expired.
pub(super) const EXPIRED_HOSPITAL: Facility = hospital("9901R003", "RS Kedaluwarsa", -6.93);

impl Facility {
    /// Its identity as a caller.
    pub(super) fn caller(&self) -> String {
        let kind = if self.kind == accreditation::FacilityKind::Puskesmas { "fktp" } else { "hospital" };
        format!("{kind}:{}", self.code)
    }

    /// Its entry in the registry.
    pub(super) fn entry(&self) -> accreditation::Facility {
        let is_hospital = self.kind == accreditation::FacilityKind::Hospital;
        let offered = |poli: &str| accreditation::ServiceOffered {
            poli_code: poli.to_owned(),
            stratum: accreditation::ServiceStratum::Madya.into(),
        };
        let class = if is_hospital {
            accreditation::HospitalClass::C
        } else {
            accreditation::HospitalClass::Unspecified
        };
        accreditation::Facility {
            facility_code: self.code.to_owned(),
            name: self.name.to_owned(),
            kind: self.kind.into(),
            hospital_class: class.into(),
            ownership: accreditation::Ownership::Regency.into(),
            region_code: REGION.to_owned(),
            location: Some(accreditation::Location { latitude: self.latitude, longitude: self.longitude }),
            services: vec![offered(if is_hospital { CLINIC } else { "UMU" })],
            contract: Some(accreditation::Contract { from: "2020-01-01".to_owned(), to: String::new() }),
            ..accreditation::Facility::default()
        }
    }
}

/// A person made up for this run. Debug is left out: a NIK is in it.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) nik: Nik,
    pub(super) name: String,
    pub(super) birth_date: Date,
    pub(super) sex: membership::Sex,
    pub(super) relation: membership::Relation,
}

impl Person {
    /// As given to membership.
    pub(super) fn entry(&self) -> membership::NewMember {
        membership::NewMember {
            nik: self.nik.expose().to_owned(),
            name: self.name.clone(),
            birth_date: self.birth_date.to_string(),
            sex: self.sex.into(),
            relation: self.relation.into(),
            region_code: REGION.to_owned(),
            fktp_code: PUSKESMAS.code.to_owned(),
            ..membership::NewMember::default()
        }
    }
}

/// Everybody of a run.
pub(super) struct Cast {
    /// A self-paying family whose contribution is paid: head, spouse and three children.
    pub(super) family: Vec<Person>,
    /// A self-paying family that has not paid.
    pub(super) unpaid: Vec<Person>,
    /// A family that the government pays for, registered some time ago.
    pub(super) poor: Vec<Person>,
    /// The hospital's coder; no member.
    pub(super) coder: Person,
}

impl Cast {
    /// The people of a seed, as old on `today` as their place in the family asks.
    ///
    /// # Errors
    /// When a made-up NIK is none: a fault of ours.
    pub(super) fn of(seed: u64, today: Date) -> anyhow::Result<Self> {
        use membership::{Relation, Sex};
        let mut dice = Dice(seed);
        let mut person = |name: &str, age: i64, sex, relation| dice.person(name, age, sex, relation, today);
        Ok(Self {
            family: vec![
                person("Ayah Perjalanan", 44, Sex::Male, Relation::Head)?,
                person("Ibu Perjalanan", 41, Sex::Female, Relation::Spouse)?,
                person("Anak Pertama", 16, Sex::Female, Relation::Child)?,
                person("Anak Kedua", 14, Sex::Male, Relation::Child)?,
                person("Anak Ketiga", 11, Sex::Female, Relation::Child)?,
            ],
            unpaid: vec![person("Warga Menunggak", 35, Sex::Male, Relation::Head)?],
            poor: vec![person("Warga Penerima Bantuan", 52, Sex::Female, Relation::Head)?],
            coder: person("Koder Rumah Sakit", 30, Sex::Female, Relation::Head)?,
        })
    }

    /// The persons that the civil registry must know.
    pub(super) fn residents(&self) -> impl Iterator<Item = &Person> {
        self.family.iter().chain(&self.unpaid).chain(&self.poor)
    }
}

/// Numbers that look random and are the same for a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn person(
        &mut self,
        name: &str,
        age: i64,
        sex: membership::Sex,
        relation: membership::Relation,
        today: Date,
    ) -> anyhow::Result<Person> {
        let days = i64::try_from(self.roll(365))?;
        let birth_date = today.checked_sub(age.years()).and_then(|day| day.checked_sub(days.days()))?;
        let day = birth_date.day() + if sex == membership::Sex::Female { 40 } else { 0 };
        let nik = format!(
            "{REGION}{:02}{day:02}{:02}{:02}{:04}",
            1 + self.roll(99),
            birth_date.month(),
            birth_date.year().rem_euclid(100),
            1 + self.roll(9999),
        );
        let nik = Nik::parse(&nik).map_err(anyhow::Error::from).context("making up a NIK")?;
        Ok(Person { nik, name: name.to_owned(), birth_date, sex, relation })
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn people_have_niks_that_tell_their_birth_and_sex() {
        for seed in 0..200 {
            let cast = Cast::of(seed, date(2026, 3, 1)).unwrap();
            let everybody: Vec<_> = cast.residents().chain([&cast.coder]).collect();
            for person in &everybody {
                assert!(person.nik.birth_dates().into_iter().any(|day| day == person.birth_date));
            }
            let mut niks: Vec<_> = everybody.iter().map(|person| person.nik.expose()).collect();
            niks.sort_unstable();
            niks.dedup();
            assert_eq!(niks.len(), everybody.len());
        }
    }

    #[test]
    fn a_seed_makes_the_same_people_and_another_one_others() {
        let niks = |seed| -> Vec<String> {
            let cast = Cast::of(seed, date(2026, 3, 1)).unwrap();
            cast.residents().map(|person| person.nik.expose().to_owned()).collect()
        };
        assert_eq!(niks(7), niks(7));
        assert!(niks(7).iter().all(|nik| !niks(8).contains(nik)));
    }
}

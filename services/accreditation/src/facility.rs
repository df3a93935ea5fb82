//! What a facility is: its kind, class, owner, services, and the checks that tie them together.

use proto::accreditation::v1 as pb;

use crate::{closed::closed, contract::Period};

closed! {
    /// What a facility is.
    Kind = pb::FacilityKind {
        /// Community health centre.
        Puskesmas = "puskesmas",
        /// Primary clinic.
        Clinic = "clinic",
        /// Practice of a general practitioner.
        DoctorPractice = "doctor-practice",
        /// Practice of a dentist.
        DentistPractice = "dentist-practice",
        /// Class D pratama hospital.
        PratamaHospital = "pratama-hospital",
        /// General hospital.
        Hospital = "hospital",
        /// Hospital for one field of medicine.
        SpecialHospital = "special-hospital",
        /// Main clinic.
        MainClinic = "main-clinic",
    }
}

closed! {
    /// The level of care.
    Level = pb::FacilityLevel {
        /// First level.
        Fktp = "fktp",
        /// Referral level.
        Fkrtl = "fkrtl",
    }
}

closed! {
    /// The class of a hospital.
    HospitalClass = pb::HospitalClass {
        /// Class A.
        A = "A",
        /// Class B.
        B = "B",
        /// Class C.
        C = "C",
        /// Class D.
        D = "D",
    }
}

closed! {
    /// Who owns a facility.
    Ownership = pb::Ownership {
        /// A ministry.
        CentralGovernment = "central-government",
        /// A province.
        Province = "province",
        /// A regency or city.
        Regency = "regency",
        /// The armed forces.
        ArmedForces = "armed-forces",
        /// The police.
        Police = "police",
        /// A company of the state or a region.
        StateCompany = "state-company",
        /// A private owner.
        Private = "private",
    }
}

closed! {
    /// How much of a field of medicine a facility can do.
    Stratum = pb::ServiceStratum {
        /// Basic.
        Dasar = "dasar",
        /// Intermediate.
        Madya = "madya",
        /// Advanced.
        Utama = "utama",
        /// Complete.
        Paripurna = "paripurna",
    }
}

impl Kind {
    /// The level of care this kind of facility gives.
    #[must_use]
    pub fn level(self) -> Level {
        match self {
            Self::Puskesmas
            | Self::Clinic
            | Self::DoctorPractice
            | Self::DentistPractice
            | Self::PratamaHospital => Level::Fktp,
            Self::Hospital | Self::SpecialHospital | Self::MainClinic => Level::Fkrtl,
        }
    }

    /// The kinds of a level.
    pub fn of_level(level: Level) -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(move |kind| kind.level() == level)
    }

    /// Says what is wrong with a class for this kind of facility.
    ///
    /// # Errors
    /// A hospital without a class, a pratama hospital of another class than D, a class on anything else.
    pub fn fits(self, class: Option<HospitalClass>) -> Result<(), &'static str> {
        match (self, class) {
            (Self::Hospital | Self::SpecialHospital, None) => Err("must be given for a hospital"),
            (Self::Hospital | Self::SpecialHospital, Some(_)) | (_, None) => Ok(()),
            (Self::PratamaHospital, Some(HospitalClass::D)) => Ok(()),
            (Self::PratamaHospital, Some(_)) => Err("must be D or absent for a pratama hospital"),
            (_, Some(_)) => Err("must be absent: only hospitals have a class"),
        }
    }
}

/// A facility of the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct Facility {
    /// BPJS-K facility code.
    pub code: String,
    /// Ministry of Health code.
    pub moh_code: Option<String>,
    /// Organisation id in SATUSEHAT.
    pub satusehat_organization_id: Option<String>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its class, of a hospital.
    pub hospital_class: Option<HospitalClass>,
    /// Its owner.
    pub ownership: Ownership,
    /// Kemendagri code of its regency.
    pub region_code: String,
    /// Where it stands.
    pub location: Option<Location>,
    /// What it offers, in the order of the clinic codes.
    pub services: Vec<Offered>,
    /// The latest KRIS assessment.
    pub kris: Option<Kris>,
    /// Its contracts, oldest first.
    pub contracts: Vec<Period>,
    /// How often it was changed, from 1.
    pub revision: i64,
}

/// A point on the map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Location {
    /// Reads a point.
    ///
    /// # Errors
    /// When it is not on the globe.
    pub fn new(latitude: f64, longitude: f64) -> Result<Self, &'static str> {
        let on_the_globe = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        if on_the_globe {
            Ok(Self { latitude, longitude })
        } else {
            Err("latitude must be -90 to 90 and longitude -180 to 180 degrees")
        }
    }
}

/// A clinic that a facility runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Clinic code.
    pub poli_code: String,
    /// How much of the field it can do.
    pub stratum: Option<Stratum>,
}

/// An assessment of the twelve criteria of the standard in-patient class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kris {
    /// Day of the assessment.
    pub assessed_on: jiff::civil::Date,
    /// Criteria 1 to 12.
    pub met: [bool; 12],
}

impl Kris {
    /// The criteria as bits; bit 0 is criterion 1.
    #[must_use]
    pub fn bits(&self) -> i16 {
        self.met.iter().enumerate().filter(|(_, met)| **met).map(|(index, _)| 1 << index).sum()
    }

    /// The criteria from their bits.
    #[must_use]
    pub fn from_bits(assessed_on: jiff::civil::Date, bits: i16) -> Self {
        Self { assessed_on, met: std::array::from_fn(|index| bits & (1 << index) != 0) }
    }
}

/// A code of the Ministry of Health: 7 digits.
///
/// # Errors
/// When it has another form.
pub fn moh_code(text: &str) -> Result<String, &'static str> {
    digits(text, 7..=7).ok_or("must be 7 digits")
}

/// A SATUSEHAT organisation id: 1 to 20 digits.
///
/// # Errors
/// When it has another form.
pub fn satusehat_id(text: &str) -> Result<String, &'static str> {
    digits(text, 1..=20).ok_or("must be 1 to 20 digits")
}

fn digits(text: &str, length: std::ops::RangeInclusive<usize>) -> Option<String> {
    (length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_word_has_one_text_and_one_number() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(*kind));
            assert_eq!(Kind::from_number(kind.number()), Some(*kind));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(Kind::from_number(99), None);
        assert_eq!(
            Kind::of_level(Level::Fktp).count() + Kind::of_level(Level::Fkrtl).count(),
            Kind::ALL.len()
        );
    }

    #[test]
    fn only_hospitals_have_a_class() {
        assert!(Kind::Hospital.fits(None).is_err());
        assert!(Kind::Hospital.fits(Some(HospitalClass::B)).is_ok());
        assert!(Kind::PratamaHospital.fits(Some(HospitalClass::D)).is_ok());
        assert!(Kind::PratamaHospital.fits(Some(HospitalClass::A)).is_err());
        assert!(Kind::Puskesmas.fits(Some(HospitalClass::D)).is_err());
        assert!(Kind::MainClinic.fits(None).is_ok());
    }

    #[test]
    fn cross_walk_codes_are_digits() {
        assert!(moh_code("3404015").is_ok());
        for wrong in ["", "340401", "34040151", "340401x", "３404015"] {
            assert!(moh_code(wrong).is_err(), "{wrong}");
        }
        assert!(satusehat_id("100025592").is_ok());
        assert!(satusehat_id(&"1".repeat(21)).is_err());
        assert!(Location::new(f64::NAN, 100.0).is_err());
    }

    proptest! {
        #[test]
        fn criteria_survive_their_bits(met in proptest::array::uniform12(any::<bool>())) {
            let kris = Kris { assessed_on: jiff::civil::date(2025, 6, 30), met };
            prop_assert_eq!(Kris::from_bits(kris.assessed_on, kris.bits()), kris);
        }
    }
}

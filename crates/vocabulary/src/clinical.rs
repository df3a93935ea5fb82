//! Diagnoses, procedures, case groups and clinics.

use crate::{Malformed, word::word};

/// A diagnosis by ICD-10 (2010): a letter and two digits, and one or two digits after a dot, as in `I10` or `E11.9`.
/// Small letters are read as capitals. A person's diagnosis is health data: masked in `Debug`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icd10(String);

impl Icd10 {
    /// Reads a code. Whether the classification knows it is a question for the reference data.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
        let well_formed = match bytes.len() {
            3 => bytes[0].is_ascii_alphabetic() && digits(1..3),
            5 | 6 => {
                bytes[0].is_ascii_alphabetic() && digits(1..3) && bytes[3] == b'.' && digits(4..bytes.len())
            }
            _ => false,
        };
        if well_formed {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(Malformed::new(
                "an ICD-10 code: a letter and 2 digits, then optionally a dot and 1 or 2 digits (E11.9)",
            ))
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The category: the first three characters.
    pub fn block(&self) -> &str {
        &self.0[..3]
    }

    /// The chapter, 1 to 22.
    pub fn chapter(&self) -> u8 {
        let number = (self.0.as_bytes()[1] - b'0') * 10 + (self.0.as_bytes()[2] - b'0');
        match self.0.as_bytes()[0] {
            b'A' | b'B' => 1,
            b'C' => 2,
            b'D' if number < 50 => 2,
            b'D' => 3,
            b'E' => 4,
            b'F' => 5,
            b'G' => 6,
            b'H' if number < 60 => 7,
            b'H' => 8,
            b'I' => 9,
            b'J' => 10,
            b'K' => 11,
            b'L' => 12,
            b'M' => 13,
            b'N' => 14,
            b'O' => 15,
            b'P' => 16,
            b'Q' => 17,
            b'R' => 18,
            b'S' | b'T' => 19,
            b'V'..=b'Y' => 20,
            b'Z' => 21,
            _ => 22,
        }
    }
}

word!(masked Icd10);

/// A procedure by ICD-9-CM: two digits, and one or two digits after a dot, as in `39.95`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Icd9Procedure(String);

impl Icd9Procedure {
    /// Reads a code.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        let digits = |range: std::ops::Range<usize>| bytes[range].iter().all(u8::is_ascii_digit);
        let well_formed = match bytes.len() {
            2 => digits(0..2),
            4 | 5 => digits(0..2) && bytes[2] == b'.' && digits(3..bytes.len()),
            _ => false,
        };
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed::new(
                "an ICD-9-CM procedure: 2 digits, then optionally a dot and 1 or 2 digits (39.95)",
            ))
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

word!(shown Icd9Procedure);

/// A drug by ATC (WHO): a substance (`J01CA04`), or the chemical subgroup where ATC names no substance (`A07CA`). Small
/// letters are read as capitals. What a person takes is health data: masked in `Debug`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AtcCode(String);

impl AtcCode {
    /// Reads a code. Whether the classification knows it is a question for the reference data.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let well_formed = matches!(text.len(), 5 | 7)
            && text.bytes().enumerate().all(|(at, byte)| match at {
                0 | 3 | 4 => byte.is_ascii_alphabetic(),
                _ => byte.is_ascii_digit(),
            });
        if well_formed {
            Ok(Self(text.to_ascii_uppercase()))
        } else {
            Err(Malformed::new("an ATC code of a substance or its subgroup (J01CA04, A07CA)"))
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

word!(masked AtcCode);

/// An INA-CBG, `X-c-nn-s`: case-mix main group (one or two letters), case type, number, severity (`0` out-patient,
/// `I` to `III` in-patient, `X` ungroupable), as in `K-1-14-III`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cbg(String);

impl Cbg {
    /// Reads a group's code.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let digits = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        let mut parts = text.split('-');
        let well_formed = match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(group), Some(case), Some(number), Some(severity), None) => {
                matches!(group.len(), 1 | 2)
                    && group.bytes().all(|byte| byte.is_ascii_uppercase())
                    && digits(case, 1)
                    && digits(number, 2)
                    && matches!(severity, "0" | "I" | "II" | "III" | "X")
            }
            _ => false,
        };
        if well_formed {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed::new(
                "an INA-CBG code as K-1-14-III: main group, case type, number, severity 0, I, II, III or X",
            ))
        }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The case-mix main group.
    pub fn main_group(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// The case type, a digit.
    pub fn case_type(&self) -> char {
        self.0.split('-').nth(1).and_then(|part| part.chars().next()).unwrap_or_default()
    }

    /// The severity: `0`, `I`, `II`, `III` or `X`.
    pub fn severity(&self) -> &str {
        self.0.rsplit('-').next().unwrap_or_default()
    }
}

word!(shown Cbg);

/// A clinic of a hospital by BPJS-K's code of three letters, from the published list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Poli(&'static str, &'static str);

impl Poli {
    /// Reads a clinic's code; small letters are read as capitals.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        POLI.iter()
            .find(|(code, _)| code.eq_ignore_ascii_case(text))
            .map(|(code, name)| Self(code, name))
            .ok_or_else(|| {
                Malformed::new("a clinic code of 3 letters from the list of clinics (INT, ANA, OBG, …)")
            })
    }

    /// All clinics of the list.
    pub fn all() -> impl Iterator<Item = Self> {
        POLI.iter().map(|(code, name)| Self(code, name))
    }

    /// The code.
    pub const fn as_str(&self) -> &'static str {
        self.0
    }

    /// The name in English.
    pub const fn name(&self) -> &'static str {
        self.1
    }
}

word!(shown Poli);

const POLI: &[(&str, &str)] = &[
    ("AKP", "acupuncture"),
    ("ANA", "paediatrics"),
    ("AND", "andrology"),
    ("ANT", "anaesthesia"),
    ("BDA", "paediatric surgery"),
    ("BDM", "oral surgery"),
    ("BDP", "plastic surgery"),
    ("BED", "surgery"),
    ("BKL", "head and neck surgery"),
    ("BSY", "neurosurgery"),
    ("BTK", "thoracic and cardiac surgery"),
    ("FMK", "clinical pharmacology"),
    ("FOR", "forensic medicine"),
    ("GIG", "dentistry"),
    ("GIZ", "nutrition"),
    ("GND", "endodontics"),
    ("GOR", "orthodontics"),
    ("GPR", "periodontics"),
    ("GRD", "dental radiology"),
    ("HDL", "haemodialysis"),
    ("HIV", "HIV"),
    ("ICU", "intensive care"),
    ("IGD", "emergency"),
    ("INT", "internal medicine"),
    ("IRM", "rehabilitation"),
    ("JAN", "heart"),
    ("JIW", "mental health"),
    ("KDK", "marine medicine"),
    ("KDN", "nuclear medicine"),
    ("KDO", "occupational medicine"),
    ("KDP", "aviation medicine"),
    ("KLT", "skin"),
    ("KON", "paedodontics"),
    ("KOR", "sports medicine"),
    ("MAT", "eye"),
    ("MKB", "microbiology"),
    ("OBG", "obstetrics and gynaecology"),
    ("ORT", "orthopaedics"),
    ("PAA", "anatomical pathology"),
    ("PAK", "clinical pathology"),
    ("PAR", "lung"),
    ("PNM", "oral medicine"),
    ("PRM", "parasitology"),
    ("PTD", "prosthodontics"),
    ("RDN", "radiation oncology"),
    ("RDO", "radiology"),
    ("RDT", "radiotherapy"),
    ("SAR", "neurology"),
    ("THT", "ear, nose and throat"),
    ("UMU", "general"),
    ("URO", "urology"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn diagnoses() {
        let diabetes = Icd10::parse("e11.9").unwrap();
        assert_eq!((diabetes.as_str(), diabetes.block(), diabetes.chapter()), ("E11.9", "E11", 4));
        assert_eq!(format!("{diabetes:?}"), "Icd10(***)");
        for (code, chapter) in
            [("D49", 2), ("D50", 3), ("H59.9", 7), ("H60", 8), ("T79.4", 19), ("U07.1", 22), ("M84.05", 13)]
        {
            assert_eq!(Icd10::parse(code).unwrap().chapter(), chapter, "{code}");
        }
        for wrong in ["", "E", "E1", "E11.", "E119", "E11-9", "E11.999", "11E", "E1é", "E11.é"] {
            assert!(Icd10::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn drugs() {
        assert_eq!(AtcCode::parse("j01ca04").unwrap().as_str(), "J01CA04");
        assert_eq!(format!("{:?}", AtcCode::parse("A07CA").unwrap()), "AtcCode(***)");
        for wrong in ["", "J", "J01", "J01C", "J01CA0", "J01CA045", "101CA04", "J01C104", "J01CAX4", "J01Cé4"]
        {
            assert!(AtcCode::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn procedures_groups_and_clinics() {
        for code in ["39.95", "74.1", "47"] {
            assert!(Icd9Procedure::parse(code).is_ok(), "{code}");
        }
        for wrong in ["", "3", "3995", "39.", "39.955", "ab.cd"] {
            assert!(Icd9Procedure::parse(wrong).is_err(), "{wrong}");
        }
        for code in ["M-1-04-I", "Q-5-44-0", "K-1-14-III", "X-0-13-X", "QP-4-10-II"] {
            assert!(Cbg::parse(code).is_ok(), "{code}");
        }
        let group = Cbg::parse("K-1-14-III").unwrap();
        assert_eq!((group.main_group(), group.case_type(), group.severity()), ("K", '1', "III"));
        for wrong in ["", "K-1-14", "K-1-14-IV", "k-1-14-I", "K-11-4-I", "K-1-14-I-0", "-1-14-I"] {
            assert!(Cbg::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Poli::parse("int").unwrap().as_str(), "INT");
        assert!(Poli::parse("XYZ").is_err());
        assert!(POLI.is_sorted());
    }

    proptest! {
        #[test]
        fn every_icd10_has_a_chapter(text in "[A-Z][0-9]{2}(\\.[0-9]{1,2})?") {
            let code = Icd10::parse(&text).unwrap();
            prop_assert!((1..=22).contains(&code.chapter()));
            prop_assert_eq!(code.as_str(), text.as_str());
        }

        #[test]
        fn anything_is_survived(text in "\\PC{0,12}") {
            let _ = (Icd10::parse(&text), Icd9Procedure::parse(&text), AtcCode::parse(&text));
            let _ = (Cbg::parse(&text), Poli::parse(&text));
        }
    }
}

//! The code of a health facility.

use crate::{Malformed, word::word};

/// A facility's eight-character JKN code, as in `0301R011`: four digits of area (BPJS-K's own areas, not those of the
/// Ministry of Home Affairs), a letter or digit for the kind (`R` is a hospital), a serial of three digits.
/// Small letters are read as capitals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FacilityCode(String);

impl FacilityCode {
    /// Reads a facility code.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        let well_formed = bytes.len() == 8
            && bytes[..4].iter().all(u8::is_ascii_digit)
            && bytes[4].is_ascii_alphanumeric()
            && bytes[5..].iter().all(u8::is_ascii_digit);
        if !well_formed {
            return Err(Malformed::new(
                "a facility code of 8 characters: 4 digits of area, a letter or digit of kind, 3 digits (0301R011)",
            ));
        }
        Ok(Self(text.to_ascii_uppercase()))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The four digits of the area.
    pub fn area(&self) -> &str {
        &self.0[..4]
    }

    /// The letter or digit of the facility's kind.
    pub fn kind_letter(&self) -> char {
        char::from(self.0.as_bytes()[4])
    }
}

word!(shown FacilityCode);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts() {
        let code = FacilityCode::parse("0301r011").unwrap();
        assert_eq!((code.as_str(), code.area(), code.kind_letter()), ("0301R011", "0301", 'R'));
        assert!(FacilityCode::parse("03010701").is_ok());
        for wrong in ["", "0301R01", "0301R0111", "A301R011", "0301-011", "0301R01x", "0301é11"] {
            assert!(FacilityCode::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_code_survives_a_round_trip(text in "[0-9]{4}[0-9A-Z][0-9]{3}") {
            let code = FacilityCode::parse(&text).unwrap();
            prop_assert_eq!(code.as_str(), text.as_str());
        }

        #[test]
        fn anything_is_survived_and_never_echoed(text in "\\PC{3,20}") {
            if let Err(error) = FacilityCode::parse(&text) {
                prop_assert!(!error.to_string().contains(&text) || text.len() < 8);
            }
        }
    }
}

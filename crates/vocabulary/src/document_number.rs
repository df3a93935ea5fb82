//! The numbers of documents: SEP, referral, visit, control letter.

use jiff::civil::Date;

use crate::{
    FacilityCode, Malformed,
    word::{is_digits, word},
};

/// A document's number of 19 characters, as in `0301R0111126V000001`: the facility's code (8), month and year (MMYY),
/// a letter for the kind of document, and a serial of six digits that runs per facility, month and letter from 1.
/// Small letters are read as capitals: facilities send both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentNumber(String);

const FORM: &str =
    "a document number of 19 characters: facility code (8), month and year (MMYY), a letter, 6 digits";

impl DocumentNumber {
    /// The greatest serial that six digits hold.
    pub const MAX_SERIAL: u32 = 999_999;

    /// Reads a document number.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::new(FORM);
        if text.len() != 19 || !text.is_ascii() {
            return Err(malformed());
        }
        let upper = text.to_ascii_uppercase();
        FacilityCode::parse(&upper[..8]).map_err(|_| malformed())?;
        let month_exists = is_digits(&upper[8..12], 4) && ("01"..="12").contains(&&upper[8..10]);
        let letter = upper.as_bytes()[12].is_ascii_uppercase();
        let serial = is_digits(&upper[13..], 6) && &upper[13..] != "000000";
        if month_exists && letter && serial { Ok(Self(upper)) } else { Err(malformed()) }
    }

    /// The number of the facility's `serial`-th document of this letter in the month of the given day.
    pub fn compose(
        facility: &FacilityCode,
        month: Date,
        letter: char,
        serial: u32,
    ) -> Result<Self, Malformed> {
        let text =
            format!("{facility}{:02}{:02}{letter}{serial:06}", month.month(), month.year().rem_euclid(100));
        Self::parse(&text)
    }

    /// The number.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The facility that issued the document.
    pub fn facility(&self) -> FacilityCode {
        // The first eight characters were parsed as a facility code when this number was made.
        FacilityCode::parse(&self.0[..8]).unwrap_or_else(|_| unreachable!("checked by parse"))
    }

    /// Month (1 to 12) and year within the century in which the document was issued.
    pub fn issued_in(&self) -> (u8, u8) {
        let number =
            |from: usize| self.0[from..from + 2].bytes().fold(0, |sum, digit| sum * 10 + (digit - b'0'));
        (number(8), number(10))
    }

    /// The letter of the kind of document.
    pub fn letter(&self) -> char {
        char::from(self.0.as_bytes()[12])
    }

    /// The serial within facility, month and letter, from 1.
    pub fn serial(&self) -> u32 {
        self.0[13..].bytes().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    }
}

word!(shown DocumentNumber);

macro_rules! document {
    ($(#[$doc:meta])* $name:ident, $letters:pat, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(DocumentNumber);

        impl $name {
            /// Reads the number and checks its letter.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                DocumentNumber::parse(text).and_then(Self::try_from).map_err(|_| Malformed::new($expected))
            }

            /// The number.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The parts of the number.
            pub fn document(&self) -> &DocumentNumber {
                &self.0
            }
        }

        impl TryFrom<DocumentNumber> for $name {
            type Error = Malformed;

            fn try_from(number: DocumentNumber) -> Result<Self, Malformed> {
                match number.letter() {
                    $letters => Ok(Self(number)),
                    _ => Err(Malformed::new($expected)),
                }
            }
        }

        word!(shown $name);
    };
}

document!(
    /// The number of a SEP (guarantee letter of one episode of care at a hospital), letter `V`.
    SepNumber, 'V', "a SEP number of 19 characters: facility code (8), MMYY, V, 6 digits (0301R0111126V000001)"
);
document!(
    /// The number of a referral: `P` from primary care, `B` from a hospital, `A` of the older style.
    ReferralNumber, 'P' | 'B' | 'A', "a referral number of 19 characters: facility code (8), MMYY, P, B or A, 6 digits (0301U0011126P000001)"
);
document!(
    /// The number of a visit in primary care, letter `Y`.
    VisitNumber, 'Y', "a visit number of 19 characters: facility code (8), MMYY, Y, 6 digits (0301U0011126Y000001)"
);
document!(
    /// The number of a control letter (the next appointment at the hospital) or of an in-patient order, letter `K`.
    ControlLetterNumber, 'K', "a control letter number of 19 characters: facility code (8), MMYY, K, 6 digits (0301R0111126K000001)"
);
document!(
    /// The number of a letter that one SEP leads to and the next cites: control letter or in-patient order, letter `K`, or
    /// internal referral, letter `N`.
    FollowUpNumber, 'K' | 'N', "the number of a control letter, in-patient order or internal referral, 19 characters: facility code (8), MMYY, K or N, 6 digits (0301R0111126K000001)"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples() {
        let number = DocumentNumber::parse("0301R0011017V000007").unwrap();
        assert_eq!(number.facility().as_str(), "0301R001");
        assert_eq!((number.issued_in(), number.letter(), number.serial()), ((10, 17), 'V', 7));
        assert!(SepNumber::parse("0301r0011017v000007").is_ok());
        assert!(SepNumber::parse("0301R0110321K000002").is_err());
        assert!(ControlLetterNumber::parse("0301R0110321K000002").is_ok());
        assert!(FollowUpNumber::parse("0301R0110321K000002").is_ok());
        assert!(FollowUpNumber::parse("0905R0031120N000922").is_ok());
        assert!(FollowUpNumber::parse("0301R0011017V000007").is_err());
        assert!(VisitNumber::parse("030107010217Y001465").is_ok());
        assert!(ReferralNumber::parse("0050B1070223P000004").is_ok());
    }

    #[test]
    fn refuses_what_is_not_one() {
        let wrong = [
            "",
            "0301R0011317V000007",
            "0301R0010017V000007",
            "0301R00110170000007",
            "0301R0011017V00000",
            "0301R0011017V000000",
            "0301R0011017V0000077",
            "0301R00110é7V00000",
        ];
        for text in wrong {
            assert!(DocumentNumber::parse(text).is_err(), "{text}");
        }
        let facility = FacilityCode::parse("0301R011").unwrap();
        let month = jiff::civil::date(2026, 11, 22);
        assert_eq!(
            DocumentNumber::compose(&facility, month, 'V', 1).unwrap().as_str(),
            "0301R0111126V000001"
        );
        assert!(DocumentNumber::compose(&facility, month, 'V', 1_000_000).is_err());
        assert!(DocumentNumber::compose(&facility, month, 'V', 0).is_err());
    }

    proptest! {
        #[test]
        fn composed_is_parsed_back(area in "[0-9]{4}[0-9A-Z][0-9]{3}", month in 1i8..=12, year in 2000i16..2100,
                                   letter in proptest::char::range('A', 'Z'), serial in 1u32..=999_999) {
            let facility = FacilityCode::parse(&area).unwrap();
            let number = DocumentNumber::compose(&facility, jiff::civil::date(year, month, 1), letter, serial).unwrap();
            let again = DocumentNumber::parse(number.as_str()).unwrap();
            prop_assert_eq!(&again, &number);
            prop_assert_eq!((again.facility(), again.letter(), again.serial()), (facility, letter, serial));
            prop_assert_eq!(again.issued_in(), (month as u8, (year % 100) as u8));
        }

        #[test]
        fn anything_is_survived(text in "\\PC{0,24}") {
            let _ = DocumentNumber::parse(&text);
        }
    }
}

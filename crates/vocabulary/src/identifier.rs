//! Who somebody is: civil registry number, card, name, and the mesh's own member id.

use std::fmt;

use jiff::civil::Date;
use uuid::Uuid;

use crate::{
    Malformed, RegionCode, text,
    word::{is_digits, word},
};

/// Sex as the civil registry records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sex {
    /// Laki-laki.
    Male,
    /// Perempuan.
    Female,
}

/// The civil registry number (Nomor Induk Kependudukan): 16 digits, `PP KK CC DD MM YY SSSS`, province, regency and
/// district of first issue, date of birth (a woman's day plus 40), serial.
///
/// The province must exist. Regency and district are not judged: they may have been renamed or split since.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nik(String);

impl Nik {
    /// Reads a NIK.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let nik = Self(text.to_owned());
        let well_formed = is_digits(text, 16)
            && RegionCode::parse(&text[..2]).is_ok()
            && &text[12..] != "0000"
            && !nik.birth_dates().is_empty();
        if well_formed {
            Ok(nik)
        } else {
            Err(Malformed::new(
                "a NIK of 16 digits: an existing province, a date of birth, a serial that is not 0000",
            ))
        }
    }

    /// The number itself, to be stored or compared.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The dates of birth it may mean, the earlier first: the number does not tell the century.
    pub fn birth_dates(&self) -> Vec<Date> {
        let day = self.number(6);
        let day = if day > 40 { day - 40 } else { day };
        let (month, year) = (self.number(8), i16::from(self.number(10)));
        [1900, 2000].into_iter().filter_map(|century| Date::new(century + year, month, day).ok()).collect()
    }

    /// The sex it tells.
    pub fn sex(&self) -> Sex {
        if self.number(6) > 40 { Sex::Female } else { Sex::Male }
    }

    /// The province of first issue.
    pub fn province(&self) -> RegionCode {
        RegionCode::parse(&self.0[..2]).unwrap_or_else(|_| unreachable!("checked by parse"))
    }

    /// Whether date of birth and sex agree with what the number tells.
    pub fn agrees_with(&self, birth_date: Date, sex: Sex) -> bool {
        self.sex() == sex && self.birth_dates().contains(&birth_date)
    }

    fn number(&self, from: usize) -> i8 {
        self.0.as_bytes()[from..from + 2].iter().fold(0, |sum, digit| sum * 10 + (digit - b'0') as i8)
    }
}

word!(masked Nik);

/// The number on the member's card: 13 digits, no published check digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CardNumber(String);

impl CardNumber {
    /// Reads a card number.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if is_digits(text, 13) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Malformed::new("a card number of 13 digits"))
        }
    }

    /// The number itself, to be stored or compared.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

word!(masked CardNumber);

/// A person's name as the civil registry writes it: 1 to 100 characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Reads a name.
    pub fn parse(given: &str) -> Result<Self, Malformed> {
        text(given, 100)
            .map(Self)
            .map_err(|_| Malformed::new("a name of 1 to 100 characters without control characters"))
    }

    /// The name itself, to be stored or shown to whoever may see it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

word!(masked Name);

/// The mesh's own name for a member, a UUID of version 7: it says nothing about the person, and is what events, logs and URLs use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberId(Uuid);

impl MemberId {
    /// A new id.
    #[expect(clippy::new_without_default, reason = "each one is different, so there is no default one")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Reads an id in its usual form of 36 characters.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::new("a member id: a UUID of version 7 in its form of 36 characters");
        if text.len() != 36 {
            return Err(malformed());
        }
        Uuid::try_parse(text).ok().and_then(|uuid| Self::try_from(uuid).ok()).ok_or_else(malformed)
    }

    /// The id as a UUID, to be stored.
    pub const fn uuid(&self) -> Uuid {
        self.0
    }
}

impl TryFrom<Uuid> for MemberId {
    type Error = Malformed;

    fn try_from(uuid: Uuid) -> Result<Self, Malformed> {
        if uuid.get_version_num() == 7 { Ok(Self(uuid)) } else { Err(Malformed::new("a UUID of version 7")) }
    }
}

impl TryFrom<String> for MemberId {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for MemberId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

impl From<MemberId> for String {
    fn from(id: MemberId) -> Self {
        id.to_string()
    }
}

impl From<MemberId> for Uuid {
    fn from(id: MemberId) -> Self {
        id.0
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nik_tells_birth_and_sex() {
        let man = Nik::parse("3171010101800001").unwrap();
        assert_eq!(man.birth_dates(), [date(1980, 1, 1), date(2080, 1, 1)]);
        assert_eq!((man.sex(), man.province().as_str()), (Sex::Male, "31"));
        let woman = Nik::parse("3171016902000001").unwrap();
        assert_eq!((woman.sex(), woman.birth_dates()), (Sex::Female, vec![date(2000, 2, 29)]));
        assert!(woman.agrees_with(date(2000, 2, 29), Sex::Female));
        assert!(!woman.agrees_with(date(2000, 2, 29), Sex::Male));
    }

    #[test]
    fn what_is_not_a_nik() {
        let wrong = [
            "",
            "317101010180000",
            "31710101018000011",
            "0071010101800001",
            "3171013201800001",
            "3171010113800001",
            "3171010101800000",
            "3171017201800001",
            "3171010001800001",
            "3171014001800001",
            "3171013002800001",
            "317101010180000x",
            "３171010101800001",
        ];
        for text in wrong {
            let error = Nik::parse(text).unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
    }

    #[test]
    fn persons_are_masked() {
        let shown = format!(
            "{:?} {:?} {:?}",
            Nik::parse("3171010101800001").unwrap(),
            CardNumber::parse("0001105689835").unwrap(),
            Name::parse("Siti Aminah").unwrap()
        );
        assert_eq!(shown, "Nik(***) CardNumber(***) Name(***)");
    }

    #[test]
    fn member_ids_are_version_7() {
        let id = MemberId::new();
        assert_eq!(MemberId::parse(&id.to_string()).unwrap(), id);
        for wrong in [
            "",
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            &id.uuid().simple().to_string(),
            &format!("{{{id}}}"),
        ] {
            assert!(MemberId::parse(wrong).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_written_nik_is_read_back(days in 0i32..73_000, woman: bool, serial in 1u32..=9999, district in 0u32..10_000) {
            let birth = date(1900, 1, 1) + jiff::Span::new().days(days);
            let day = birth.day() + if woman { 40 } else { 0 };
            let text = format!("32{district:04}{day:02}{:02}{:02}{serial:04}", birth.month(), birth.year() % 100);
            let nik = Nik::parse(&text).unwrap();
            let sex = if woman { Sex::Female } else { Sex::Male };
            prop_assert!(nik.agrees_with(birth, sex));
            prop_assert_eq!(nik.expose(), text.as_str());
        }

        #[test]
        fn an_error_never_repeats_the_number(text in "[0-9]{10,20}") {
            for error in [Nik::parse(&text).err(), CardNumber::parse(&text).err()].into_iter().flatten() {
                prop_assert!(!error.to_string().contains(&text));
            }
        }

        #[test]
        fn anything_is_survived(text in "\\PC{0,20}") {
            let _ = (Nik::parse(&text), CardNumber::parse(&text), Name::parse(&text), MemberId::parse(&text));
        }
    }
}

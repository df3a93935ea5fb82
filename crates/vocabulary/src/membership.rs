//! The words of membership: who pays for a member, and which class of ward the member is entitled to.

use std::fmt;

use crate::Malformed;

/// The six segments of membership: who pays the contribution (Perpres 82/2018, 64/2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Segment {
    /// Poor and near-poor, paid by the central government.
    PbiApbn,
    /// Residents registered and paid by a local government.
    PbpuPemda,
    /// Workers paid by the state: civil servants, TNI, Polri, officials.
    PpuPn,
    /// Workers of companies.
    PpuBu,
    /// The self-employed.
    Pbpu,
    /// Non-workers: pensioners, veterans, employers.
    Bp,
}

impl Segment {
    /// All six.
    pub const ALL: [Self; 6] =
        [Self::PbiApbn, Self::PbpuPemda, Self::PpuPn, Self::PpuBu, Self::Pbpu, Self::Bp];

    /// Reads a segment's code.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Self::ALL
            .into_iter()
            .find(|segment| segment.as_str() == text)
            .ok_or_else(|| Malformed::new("a segment: PBI_APBN, PBPU_PEMDA, PPU_PN, PPU_BU, PBPU or BP"))
    }

    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PbiApbn => "PBI_APBN",
            Self::PbpuPemda => "PBPU_PEMDA",
            Self::PpuPn => "PPU_PN",
            Self::PpuBu => "PPU_BU",
            Self::Pbpu => "PBPU",
            Self::Bp => "BP",
        }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Segment {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Segment {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        Self::parse(text)
    }
}

impl From<Segment> for String {
    fn from(segment: Segment) -> Self {
        segment.as_str().to_owned()
    }
}

/// The class of ward a member is entitled to; class 1 is the highest and the least in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum CareClass {
    /// Class I.
    One = 1,
    /// Class II.
    Two = 2,
    /// Class III.
    Three = 3,
}

impl CareClass {
    /// All three.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    /// Reads a class: `1`, `2` or `3`.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == text)
            .ok_or_else(|| Malformed::new("a class of care: 1, 2 or 3"))
    }

    /// The class of a number.
    pub fn new(number: u8) -> Result<Self, Malformed> {
        Self::ALL
            .into_iter()
            .find(|class| class.number() == number)
            .ok_or_else(|| Malformed::new("a class of care: 1, 2 or 3"))
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The number as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::One => "1",
            Self::Two => "2",
            Self::Three => "3",
        }
    }
}

impl fmt::Display for CareClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<u8> for CareClass {
    type Error = Malformed;

    fn try_from(number: u8) -> Result<Self, Malformed> {
        Self::new(number)
    }
}

impl TryFrom<i16> for CareClass {
    type Error = Malformed;

    fn try_from(number: i16) -> Result<Self, Malformed> {
        Self::new(u8::try_from(number).unwrap_or(0))
    }
}

impl TryFrom<i32> for CareClass {
    type Error = Malformed;

    fn try_from(number: i32) -> Result<Self, Malformed> {
        Self::new(u8::try_from(number).unwrap_or(0))
    }
}

impl TryFrom<String> for CareClass {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl From<CareClass> for u8 {
    fn from(class: CareClass) -> Self {
        class.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_back() {
        for segment in Segment::ALL {
            assert_eq!(Segment::parse(segment.as_str()).unwrap(), segment);
        }
        for class in CareClass::ALL {
            assert_eq!(CareClass::parse(class.as_str()).unwrap(), class);
            assert_eq!(CareClass::new(class.number()).unwrap(), class);
        }
        assert!(Segment::parse("pbi").is_err());
        assert!(CareClass::new(4).is_err() && CareClass::new(0).is_err() && CareClass::parse("I").is_err());
        assert!(CareClass::try_from(257i32).is_err());
    }
}

//! Provinces and regencies with the codes of the Ministry of Home Affairs (Kemendagri).
//!
//! The lists in `data/` are under ODbL; see `data/NOTICE`.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    hash::{Hash, Hasher},
    sync::LazyLock,
};

use crate::{Malformed, word::word};

struct Region {
    code: String,
    name: &'static str,
}

static REGIONS: LazyLock<BTreeMap<String, Region>> = LazyLock::new(|| {
    let rows = |file: &'static str| {
        file.lines().skip(1).filter_map(|row| {
            let (code, rest) = row.split_once(',')?;
            let name = rest.rsplit_once(',').map_or(rest, |(_, name)| name);
            let code = code.replace('.', "");
            Some((code.clone(), Region { code, name }))
        })
    };
    rows(include_str!("../data/provinces.csv")).chain(rows(include_str!("../data/regencies.csv"))).collect()
});

/// The code of one of the 38 provinces (`32`) or of one of the 514 regencies and cities (`3273`). Only codes that
/// exist are read.
#[derive(Clone, Copy)]
pub struct RegionCode(&'static Region);

impl RegionCode {
    /// Reads a code of two or four digits.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        REGIONS.get(text).map(Self).ok_or_else(|| {
            Malformed::new("the Kemendagri code of an existing province (2 digits) or regency (4 digits)")
        })
    }

    /// The code.
    pub fn as_str(&self) -> &'static str {
        &self.0.code
    }

    /// The name in Indonesian.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// Whether this is a province.
    pub fn is_province(&self) -> bool {
        self.0.code.len() == 2
    }

    /// The province this regency lies in; a province itself.
    pub fn province(&self) -> Self {
        // Every regency of the list lies in a province of the list: a test holds it.
        REGIONS.get(&self.0.code[..2]).map_or(*self, Self)
    }
}

impl PartialEq for RegionCode {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RegionCode {}

impl PartialOrd for RegionCode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RegionCode {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for RegionCode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

word!(shown RegionCode);

/// The 38 provinces in the order of their codes.
pub fn provinces() -> impl Iterator<Item = RegionCode> {
    REGIONS.values().map(RegionCode).filter(RegionCode::is_province)
}

/// The 514 regencies and cities in the order of their codes.
pub fn regencies() -> impl Iterator<Item = RegionCode> {
    REGIONS.values().map(RegionCode).filter(|region| !region.is_province())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_country() {
        assert_eq!(provinces().count(), 38);
        assert_eq!(regencies().count(), 514);
        assert!(regencies().all(|regency| regency.province().is_province() && !regency.name().is_empty()));
        let jakarta = RegionCode::parse("3171").unwrap();
        assert_eq!(
            (jakarta.province().as_str(), jakarta.province().name()),
            ("31", "Daerah Khusus Ibukota Jakarta")
        );
        assert_eq!(RegionCode::parse("3273").unwrap().name(), "Kota Bandung");
        for wrong in ["", "3", "00", "99", "3199", "32.73", "327301"] {
            assert!(RegionCode::parse(wrong).is_err(), "{wrong}");
        }
    }
}

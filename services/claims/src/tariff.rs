//! What a package is worth: code × region × class and ownership of the hospital × care class, by
//! `policy/claims/tariff.toml`. Whole rupiah; a class upgrade changes nothing here, its difference is not BPJS-K's.

use std::collections::BTreeMap;

use chassis::policy::Rule;
use serde::Deserialize;
use vocabulary::{CareClass, Cbg, RegionCode, Rupiah};

use crate::grouper::Package;

/// The tariff table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    regions: Vec<Vec<RegionCode>>,
    clinic_as_class: String,
    published: Vec<Published>,
    synthetic: Synthetic,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Published {
    code: Cbg,
    tariff_class: String,
    regional: u8,
    amounts: [i64; 3],
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Synthetic {
    tariff_class: BTreeMap<String, u32>,
    regional: [u32; 5],
    care_class: [u32; 3],
    severity: [u32; 3],
    round_to: u32,
    base: BTreeMap<String, i64>,
}

impl Rule for Table {
    fn check(&self) -> Result<(), String> {
        if self.regions.len() != 5 {
            return Err("regions must be five lists of provinces".into());
        }
        for province in vocabulary::provinces() {
            let times = self.regions.iter().flatten().filter(|code| **code == province).count();
            if times != 1 {
                return Err(format!("regions: province {province} stands in {times} lists instead of one"));
            }
        }
        let classes: Vec<String> = "ABCD".chars().flat_map(|c| [format!("{c}P"), format!("{c}S")]).collect();
        if !classes.iter().all(|class| self.synthetic.tariff_class.contains_key(class)) {
            return Err(format!(
                "synthetic.tariff-class must have a factor for each of {}",
                classes.join(", ")
            ));
        }
        if !["A", "B", "C", "D"].contains(&self.clinic_as_class.as_str()) {
            return Err("clinic-as-class must be A, B, C or D".into());
        }
        if self.synthetic.round_to == 0 {
            return Err("synthetic.round-to must be at least 1".into());
        }
        let amounts =
            self.published.iter().flat_map(|row| row.amounts).chain(self.synthetic.base.values().copied());
        if amounts.into_iter().any(|amount| amount <= 0) {
            return Err("an amount is not positive".into());
        }
        if self.published.iter().any(|row| !(1..=5).contains(&row.regional)) {
            return Err("published: regional must be 1 to 5".into());
        }
        Ok(())
    }
}

/// The hospital as the tariff sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hospital {
    /// Province, 2 digits.
    pub province: String,
    /// Class, A to D; empty for a main clinic.
    pub class: String,
    /// Whether a government body owns it.
    pub government_owned: bool,
}

/// A tariff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tariff {
    /// The amount.
    pub amount: Rupiah,
    /// Tariff class of the hospital, e.g. `BP`.
    pub tariff_class: String,
    /// Tariff region, 1 to 5.
    pub regional: u8,
    /// Where the amount comes from.
    pub source: &'static str,
}

/// The table has no amount for the package at this hospital.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTariff;

impl Table {
    /// The tariff of a package.
    ///
    /// # Errors
    /// When the table has none.
    pub fn of(&self, package: &Package, hospital: &Hospital, class: CareClass) -> Result<Tariff, NoTariff> {
        let in_region =
            |provinces: &Vec<RegionCode>| provinces.iter().any(|code| code.as_str() == hospital.province);
        let place = self.regions.iter().position(in_region).ok_or(NoTariff)?;
        let regional = u8::try_from(place + 1).map_err(|_| NoTariff)?;
        let letter = if hospital.class.is_empty() { &self.clinic_as_class } else { &hospital.class };
        let tariff_class = format!("{letter}{}", if hospital.government_owned { 'P' } else { 'S' });
        let column = usize::from(class.number() - 1);

        let fits = |row: &&Published| {
            row.code == package.cbg && row.tariff_class == tariff_class && row.regional == regional
        };
        if let Some(amount) = self.published.iter().find(fits).and_then(|row| row.amounts.get(column)) {
            let amount = Rupiah::new(*amount).map_err(|_| NoTariff)?;
            return Ok(Tariff { amount, tariff_class, regional, source: "published sample" });
        }
        let synthetic = &self.synthetic;
        let base = *synthetic.base.get(&package.group).ok_or(NoTariff)?;
        let mut factors = vec![
            *synthetic.tariff_class.get(&tariff_class).ok_or(NoTariff)?,
            *synthetic.regional.get(place).ok_or(NoTariff)?,
        ];
        // Out-patient packages (severity 0) know neither severity nor care class.
        if let Some(severity) = usize::from(package.severity).checked_sub(1) {
            factors.push(*synthetic.severity.get(severity).ok_or(NoTariff)?);
            factors.push(*synthetic.care_class.get(column).ok_or(NoTariff)?);
        }
        let amount = rounded(base, &factors, synthetic.round_to).ok_or(NoTariff)?;
        Ok(Tariff { amount, tariff_class, regional, source: "synthetic" })
    }

    /// Whether the table has an amount for a group anywhere.
    #[must_use]
    pub fn knows(&self, group: &str) -> bool {
        self.synthetic.base.contains_key(group)
    }
}

/// The base times all factors (basis points), rounded once, half up, to a multiple.
fn rounded(base: i64, factors: &[u32], multiple: u32) -> Option<Rupiah> {
    let mut numerator = i128::from(base);
    let mut denominator = i128::from(multiple);
    for factor in factors {
        numerator = numerator.checked_mul(i128::from(*factor))?;
        denominator = denominator.checked_mul(10_000)?;
    }
    let multiples = (numerator.checked_mul(2)? + denominator) / (denominator * 2);
    Rupiah::new(i64::try_from(multiples * i128::from(multiple)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grouper;

    fn table() -> Table {
        let text = include_str!("../../../policy/claims/tariff.toml");
        chassis::policy::parse::<Table>("claims/tariff.toml", text).unwrap().versions()[0].rule.clone()
    }

    fn package(code: &str) -> Package {
        let cbg = Cbg::parse(code).unwrap();
        let severity = match cbg.severity() {
            "I" => 1,
            "II" => 2,
            "III" => 3,
            _ => 0,
        };
        let group = code.rsplit_once('-').unwrap().0.to_owned();
        Package { cbg, title: String::new(), group, case_type: 1, severity }
    }

    fn hospital(province: &str, class: &str, government_owned: bool) -> Hospital {
        Hospital { province: province.into(), class: class.into(), government_owned }
    }

    #[test]
    fn a_published_amount_wins() {
        let jakarta = hospital("31", "A", true);
        for (class, amount) in CareClass::ALL.into_iter().zip([15_736_300, 13_784_000, 11_831_800]) {
            let tariff = table().of(&package("K-1-14-III"), &jakarta, class).unwrap();
            assert_eq!((tariff.amount.get(), tariff.source), (amount, "published sample"));
            assert_eq!((tariff.tariff_class.as_str(), tariff.regional), ("AP", 1));
        }
    }

    #[test]
    fn every_other_amount_is_synthetic_and_says_so() {
        let bandung = hospital("32", "C", true);
        let tariff = table().of(&package("J-4-16-I"), &bandung, CareClass::Three).unwrap();
        assert_eq!(tariff.source, "synthetic");
        assert_eq!(tariff.amount.get() % 100, 0);
        let papua = table().of(&package("J-4-16-I"), &hospital("91", "C", false), CareClass::One).unwrap();
        assert!(papua.amount > tariff.amount && papua.regional == 5 && papua.tariff_class == "CS");
        assert_eq!(table().of(&package("J-4-99-I"), &bandung, CareClass::Three), Err(NoTariff));
        assert_eq!(
            table().of(&package("J-4-16-I"), &hospital("00", "C", true), CareClass::Three),
            Err(NoTariff)
        );
    }

    #[test]
    fn every_group_has_a_tariff() {
        let text = include_str!("../../../policy/claims/cbg.toml");
        let groups = chassis::policy::parse::<grouper::Table>("claims/cbg.toml", text).unwrap();
        for version in groups.versions() {
            for group in version.groups() {
                assert!(table().knows(&group.code), "{}", group.code);
            }
        }
    }

    #[test]
    fn rounding_is_half_up_and_once() {
        assert_eq!(rounded(1_050, &[10_000], 100).unwrap().get(), 1_100);
        assert_eq!(rounded(1_049, &[10_000], 100).unwrap().get(), 1_000);
        assert_eq!(rounded(1_000_000, &[13_500, 10_180], 100).unwrap().get(), 1_374_300);
    }

    proptest! {
        #[test]
        fn a_higher_class_is_never_cheaper(severity in 1..=3u8, province in 0..38usize, letter in 0..4usize) {
            let province = vocabulary::provinces().nth(province).unwrap();
            let class = ["A", "B", "C", "D"][letter];
            let roman = ["I", "II", "III"][usize::from(severity) - 1];
            let amount = |class_of_care| {
                let at = hospital(province.as_str(), class, true);
                table().of(&package(&format!("I-4-12-{roman}")), &at, class_of_care).unwrap().amount
            };
            prop_assert!(amount(CareClass::One) > amount(CareClass::Two));
            prop_assert!(amount(CareClass::Two) > amount(CareClass::Three));
        }
    }
}

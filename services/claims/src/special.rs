//! Stage 2 of the grouping: special CMGs, which are paid beside the package, by `policy/claims/special.toml`. What the
//! table has no figure for is said to be unpriced, and never guessed.

use std::fmt;

use chassis::policy::Rule;
use serde::Deserialize;
use vocabulary::Malformed;

use crate::{
    codes::{CodeRange, any_covers},
    episode::{Care, Episode},
};

/// Kind of a special CMG: the letters of its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Special procedure, YY.
    Procedure,
    /// Special drug, DD.
    Drug,
    /// Special investigation, II.
    Investigation,
    /// Special prosthesis, RR.
    Prosthesis,
}

/// Code of a special CMG, e.g. `RR04`.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct SpecialCode(String);

impl SpecialCode {
    /// Reads a code.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let code = Self(text.to_owned());
        let digits = text.get(2..).unwrap_or_default();
        let is_serial = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_serial && code.kind_of().is_some() {
            Ok(code)
        } else {
            Err(Malformed::new("the code of a special CMG: YY, DD, II or RR and two digits, as RR04"))
        }
    }

    fn kind_of(&self) -> Option<Kind> {
        Some(match self.0.get(..2)? {
            "YY" => Kind::Procedure,
            "DD" => Kind::Drug,
            "II" => Kind::Investigation,
            "RR" => Kind::Prosthesis,
            _ => return None,
        })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        // A code is made by `parse` alone, which refuses other letters.
        self.kind_of().unwrap_or(Kind::Procedure)
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SpecialCode {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

// What was done to a patient is not shown.
impl fmt::Debug for SpecialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    items: Vec<Item>,
}

/// A special CMG of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Item {
    /// Its code.
    pub code: SpecialCode,
    /// In words.
    pub title: String,
    /// One of these procedures opens it.
    procedures: Vec<CodeRange>,
    /// One of these diagnoses as well; none given: any.
    #[serde(default)]
    diagnoses: Vec<CodeRange>,
    /// The care it is open to; none given: both.
    care: Option<Care>,
    /// What it is paid, whole rupiah.
    pub amount: i64,
}

impl Item {
    fn is_open_to(&self, episode: &Episode) -> bool {
        self.care.is_none_or(|care| care == episode.care)
            && episode.procedures.iter().any(|code| any_covers(&self.procedures, code.as_str()))
            && (self.diagnoses.is_empty()
                || episode.diagnoses().any(|code| any_covers(&self.diagnoses, code.as_str())))
    }
}

impl Rule for Table {
    fn check(&self) -> Result<(), String> {
        for (at, item) in self.items.iter().enumerate() {
            let code = item.code.as_str();
            if self.items.iter().take(at).any(|other| other.code == item.code) {
                return Err(format!("items: {code} stands there twice"));
            }
            if item.procedures.is_empty() {
                return Err(format!("items: {code} names no procedure that opens it"));
            }
            if !(1..=1_000_000_000).contains(&item.amount) {
                return Err(format!("items: {code} must have an amount of 1 to 1000000000 rupiah"));
            }
        }
        Ok(())
    }
}

impl Table {
    /// The special CMGs that are open to an episode.
    #[must_use]
    pub fn open(&self, episode: &Episode) -> Vec<&Item> {
        self.items.iter().filter(|item| item.is_open_to(episode)).collect()
    }

    /// The special CMGs that are claimed with an episode.
    ///
    /// # Errors
    /// When one of them is not open to it.
    pub fn claimed(&self, episode: &Episode) -> Result<Vec<&Item>, NotOpen> {
        let open = self.open(episode);
        let find = |code: &SpecialCode| open.iter().copied().find(|item| item.code == *code).ok_or(NotOpen);
        episode.special.iter().map(find).collect()
    }
}

/// A special CMG is claimed that is not open to the episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOpen;

/// The phases of a stay that its ADL scores tell of and that the table has no amount for: `SA` sub-acute, `CD` chronic.
#[must_use]
pub fn unpriced(episode: &Episode) -> Vec<&'static str> {
    let phases = [("SA", episode.adl_sub_acute), ("CD", episode.adl_chronic)];
    phases.into_iter().filter(|(_, score)| *score > 0).map(|(phase, _)| phase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vocabulary::Icd9Procedure;

    use super::*;
    use crate::episode::tests::example;

    fn table() -> Table {
        let text = include_str!("../../../policy/claims/special.toml");
        chassis::policy::parse::<Table>("claims/special.toml", text).unwrap().versions()[0].rule.clone()
    }

    fn episode(care: Care, primary: &str, procedures: &[&str], special: &[&str]) -> Episode {
        let mut episode = example(care, primary);
        episode.procedures = procedures.iter().map(|code| Icd9Procedure::parse(code).unwrap()).collect();
        episode.special = special.iter().map(|code| SpecialCode::parse(code).unwrap()).collect();
        episode
    }

    fn amounts(episode: &Episode) -> Result<Vec<i64>, NotOpen> {
        table().claimed(episode).map(|items| items.into_iter().map(|item| item.amount).collect())
    }

    #[test]
    fn the_published_amounts_are_paid_for_what_opens_them() {
        use Care::{Inpatient, Outpatient};
        let hip = episode(Inpatient, "S72.0", &["81.51"], &["RR04", "YY01"]);
        assert_eq!(amounts(&hip), Ok(vec![18_000_000, 13_099_000]));
        assert_eq!(amounts(&episode(Inpatient, "I21.0", &["36.06"], &["YY02"])), Ok(vec![14_434_100]));
        assert_eq!(amounts(&episode(Inpatient, "I21.0", &["99.10"], &["DD01"])), Ok(vec![4_850_700]));
        assert_eq!(amounts(&episode(Inpatient, "I71.4", &["39.71"], &["YY03"])), Ok(vec![119_325_000]));
        assert_eq!(amounts(&episode(Inpatient, "I10", &["88.93"], &["II01"])), Ok(vec![1_865_900]));
        // Out-patients have a package of their own for it; streptokinase is for infarction.
        assert_eq!(amounts(&episode(Outpatient, "I10", &["88.93"], &["II01"])), Err(NotOpen));
        assert_eq!(amounts(&episode(Inpatient, "I10", &["99.10"], &["DD01"])), Err(NotOpen));
        assert_eq!(amounts(&episode(Inpatient, "S72.0", &["81.51"], &["YY99"])), Err(NotOpen));
        // What is open and not claimed is not paid.
        assert_eq!(amounts(&episode(Inpatient, "S72.0", &["81.51"], &[])), Ok(vec![]));
    }

    #[test]
    fn phases_without_a_figure_are_said_to_be_unpriced() {
        let mut long = episode(Care::Inpatient, "I63.9", &[], &[]);
        assert!(unpriced(&long).is_empty());
        (long.adl_sub_acute, long.adl_chronic) = (15, 12);
        assert_eq!(unpriced(&long), ["SA", "CD"]);
    }

    #[test]
    fn a_mistake_in_the_table_is_named() {
        let text = |items: &str| {
            format!("[[version]]\neffective-from = \"2020-01-01\"\nsource = \"test\"\nitems = [{items}]\n")
        };
        let wrong = |items: &str| {
            chassis::policy::parse::<Table>("claims/special.toml", &text(items)).unwrap_err().to_string()
        };
        let item = r#"{ code = "YY01", title = "x", procedures = ["81.5"], amount = 1 }"#;
        assert!(wrong(&format!("{item}, {item}")).contains("YY01 stands there twice"));
        assert!(wrong(&item.replace("[\"81.5\"]", "[]")).contains("names no procedure"));
        assert!(wrong(&item.replace("amount = 1", "amount = 0")).contains("amount of 1 to"));
        assert!(wrong(&item.replace("YY01", "SA01")).contains("special CMG"));
    }

    proptest! {
        #[test]
        fn what_is_claimed_is_open_and_each_is_paid_once(
            primary in "[A-Z][0-9]{2}",
            procedures in proptest::collection::vec("(81\\.5[0-9]|36\\.0[0-9]|39\\.71|88\\.9[0-9]|99\\.10|47\\.01)", 0..5),
            take in any::<u8>(),
        ) {
            let procedures: Vec<_> = procedures.iter().map(String::as_str).collect();
            let mut episode = episode(Care::Inpatient, &primary, &procedures, &[]);
            let table = table();
            let open = table.open(&episode);
            episode.special = open
                .iter()
                .enumerate()
                .filter(|(at, _)| take & (1 << (at % 8)) != 0)
                .map(|(_, item)| item.code.clone())
                .collect();
            let claimed = table.claimed(&episode).unwrap();
            prop_assert_eq!(claimed.len(), episode.special.len());
            let sum: i64 = claimed.iter().map(|item| item.amount).sum();
            let all: i64 = open.iter().map(|item| item.amount).sum();
            prop_assert!(sum <= all);
        }

        #[test]
        fn a_code_is_read_back_or_refused(text in "\\PC{0,6}") {
            if let Ok(code) = SpecialCode::parse(&text) {
                prop_assert_eq!(code.as_str(), text);
            }
        }
    }
}

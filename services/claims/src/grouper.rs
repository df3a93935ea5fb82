//! Which INA-CBG an episode belongs to, by the table of `policy/claims/cbg.toml`. The table is a subset in words of
//! our own: what it does not know is ungroupable, with the reason, and never guessed.

use chassis::policy::Rule;
use serde::Deserialize;
use vocabulary::Cbg;

use crate::{
    codes::{CodeRange, any_covers},
    episode::{Care, Episode},
};

/// The grouping table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    ungroupable: Cbg,
    main_groups: Vec<MainGroup>,
    major_procedures: Vec<CodeRange>,
    significant_procedures: Vec<CodeRange>,
    severities: Vec<Severity>,
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct MainGroup {
    diagnoses: Vec<CodeRange>,
    group: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Severity {
    diagnoses: Vec<CodeRange>,
    level: u8,
}

/// A group of the table: the code of its packages without the severity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Main group, case type and number, e.g. `K-1-14`.
    pub code: String,
    /// The group in words.
    pub title: String,
    #[serde(default)]
    diagnoses: Vec<CodeRange>,
    #[serde(default)]
    procedures: Vec<CodeRange>,
}

impl Group {
    fn parts(&self) -> Option<(&str, u8)> {
        let mut parts = self.code.split('-');
        let main = parts.next()?;
        let case_type = parts.next()?.parse().ok()?;
        Some((main, case_type))
    }
}

impl Table {
    /// The groups, in the order in which they are tried.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }
}

impl Rule for Table {
    fn check(&self) -> Result<(), String> {
        if self.ungroupable.main_group() != "X" {
            return Err("ungroupable must be a code of main group X".into());
        }
        for severity in &self.severities {
            if !(2..=3).contains(&severity.level) {
                return Err("severities: level must be 2 or 3".into());
            }
        }
        for group in &self.groups {
            if Cbg::parse(&format!("{}-0", group.code)).is_err() {
                return Err(format!(
                    "groups: {} must be main group, case type and number, as K-1-14",
                    group.code
                ));
            }
            if !matches!(group.parts(), Some((_, 1..=9))) {
                return Err(format!("groups: {} must have a case type of 1 to 9", group.code));
            }
            if group.diagnoses.is_empty() && group.procedures.is_empty() {
                return Err(format!("groups: {} has neither diagnoses nor procedures", group.code));
            }
        }
        Ok(())
    }
}

/// Why an episode cannot be grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ungroupable {
    /// The primary diagnosis belongs to no main group.
    PrimaryNotAccepted,
    /// The table has no group for it.
    NoGroup,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The code.
    pub cbg: Cbg,
    /// The group in words.
    pub title: String,
    /// Code without severity, e.g. `K-1-14`: the key of the synthetic tariffs.
    pub group: String,
    /// Case type.
    pub case_type: u8,
    /// Severity: 0 for out-patient care, 1 to 3 for in-patient care.
    pub severity: u8,
}

impl Table {
    /// The code of what cannot be grouped.
    #[must_use]
    pub fn ungroupable(&self) -> &Cbg {
        &self.ungroupable
    }

    /// The package of an episode.
    ///
    /// # Errors
    /// Why there is none.
    pub fn group(&self, episode: &Episode) -> Result<Package, Ungroupable> {
        let primary = episode.primary.as_str();
        let main = self
            .main_groups
            .iter()
            .find(|row| any_covers(&row.diagnoses, primary))
            .ok_or(Ungroupable::PrimaryNotAccepted)?;
        let case_type = self.case_type(episode, &main.group);
        let fits = |group: &&Group| {
            let by_procedure = group.procedures.is_empty()
                || episode.procedures.iter().any(|p| any_covers(&group.procedures, p.as_str()));
            let by_diagnosis =
                if group.diagnoses.is_empty() { true } else { any_covers(&group.diagnoses, primary) };
            matches!(group.parts(), Some((_, of)) if of == case_type) && by_procedure && by_diagnosis
        };
        let group = self.groups.iter().find(fits).ok_or(Ungroupable::NoGroup)?;
        let severity = match episode.care {
            Care::Outpatient => 0,
            Care::Inpatient => self.severity(episode),
        };
        let roman = match severity {
            0 => "0",
            1 => "I",
            2 => "II",
            _ => "III",
        };
        let cbg = Cbg::parse(&format!("{}-{roman}", group.code)).map_err(|_| Ungroupable::NoGroup)?;
        Ok(Package { cbg, title: group.title.clone(), group: group.code.clone(), case_type, severity })
    }

    /// Case type by care, main group and the weight of the procedures; a procedure in neither list has none.
    fn case_type(&self, episode: &Episode, main: &str) -> u8 {
        let any = |of: &[CodeRange]| episode.procedures.iter().any(|p| any_covers(of, p.as_str()));
        match (episode.care, main) {
            (Care::Inpatient, "O") => 6,
            (Care::Outpatient, "O") => 7,
            (Care::Inpatient, "P") => 8,
            (Care::Outpatient, "P") => 9,
            (Care::Inpatient, _) if any(&self.major_procedures) => 1,
            (Care::Inpatient, _) => 4,
            (Care::Outpatient, _) if any(&self.major_procedures) => 2,
            (Care::Outpatient, _) if any(&self.significant_procedures) => 3,
            (Care::Outpatient, _) => 5,
        }
    }

    /// The highest level among the secondary diagnoses; one of the category of the primary adds nothing.
    fn severity(&self, episode: &Episode) -> u8 {
        let level = |code: &str| {
            self.severities.iter().filter(|row| any_covers(&row.diagnoses, code)).map(|row| row.level).max()
        };
        let others = episode.secondary.iter().filter(|code| code.block() != episode.primary.block());
        others.filter_map(|code| level(code.as_str())).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vocabulary::{Icd9Procedure, Icd10};

    use super::*;
    use crate::episode::tests::example;

    fn table() -> Table {
        let text = include_str!("../../../policy/claims/cbg.toml");
        let dated = chassis::policy::parse::<Table>("claims/cbg.toml", text).unwrap();
        dated.versions()[0].rule.clone()
    }

    fn code(
        care: Care,
        primary: &str,
        secondary: &[&str],
        procedures: &[&str],
    ) -> Result<String, Ungroupable> {
        let mut episode = example(care, primary);
        episode.secondary = secondary.iter().map(|c| Icd10::parse(c).unwrap()).collect();
        episode.procedures = procedures.iter().map(|c| Icd9Procedure::parse(c).unwrap()).collect();
        table().group(&episode).map(|package| package.cbg.as_str().to_owned())
    }

    #[test]
    fn the_published_shapes_come_out() {
        use Care::{Inpatient, Outpatient};
        assert_eq!(code(Outpatient, "I10", &[], &[]).as_deref(), Ok("Q-5-44-0"));
        assert_eq!(code(Outpatient, "J06.9", &[], &[]).as_deref(), Ok("Q-5-42-0"));
        assert_eq!(code(Outpatient, "N18.5", &[], &["39.95"]).as_deref(), Ok("N-3-15-0"));
        assert_eq!(code(Outpatient, "H25.9", &[], &["13.41"]).as_deref(), Ok("H-2-36-0"));
        assert_eq!(code(Outpatient, "M51.2", &[], &["88.93"]).as_deref(), Ok("Z-3-16-0"));
        assert_eq!(code(Inpatient, "A41.9", &[], &[]).as_deref(), Ok("A-4-10-I"));
        assert_eq!(code(Inpatient, "K56.6", &["J96.0"], &["45.7"]).as_deref(), Ok("K-1-14-III"));
        assert_eq!(code(Inpatient, "S72.0", &["E11.9"], &["81.51"]).as_deref(), Ok("M-1-04-II"));
        assert_eq!(code(Inpatient, "O82.9", &[], &["74.1"]).as_deref(), Ok("O-6-10-I"));
        // The same category again is no further illness; a small procedure does not make a surgical case.
        assert_eq!(code(Inpatient, "E11.9", &["E11.2"], &["99.18"]).as_deref(), Ok("E-4-10-I"));
    }

    #[test]
    fn what_it_does_not_know_is_ungroupable_with_the_reason() {
        assert_eq!(code(Care::Inpatient, "W19", &[], &[]), Err(Ungroupable::PrimaryNotAccepted));
        assert_eq!(code(Care::Inpatient, "J18.9", &[], &["06.2"]), Err(Ungroupable::NoGroup));
        assert_eq!(table().ungroupable().as_str(), "X-0-13-X");
    }

    proptest! {
        #[test]
        fn every_episode_is_grouped_into_a_code_of_its_care_or_refused(
            primary in "[A-Z][0-9]{2}(\\.[0-9])?",
            secondary in proptest::collection::vec("[A-Z][0-9]{2}(\\.[0-9])?", 0..6),
            procedures in proptest::collection::vec("[0-9]{2}\\.[0-9]{1,2}", 0..4),
            inpatient in any::<bool>(),
        ) {
            let care = if inpatient { Care::Inpatient } else { Care::Outpatient };
            let secondary: Vec<_> = secondary.iter().map(String::as_str).collect();
            let procedures: Vec<_> = procedures.iter().map(String::as_str).collect();
            if let Ok(cbg) = code(care, &primary, &secondary, &procedures) {
                let cbg = Cbg::parse(&cbg).unwrap();
                prop_assert_eq!(cbg.severity() == "0", !inpatient);
                let expected: &[char] = if inpatient { &['1', '4', '6', '8'] } else { &['2', '3', '5', '7', '9'] };
                prop_assert!(expected.contains(&cbg.case_type()));
            }
        }
    }
}

//! A resident, and how one is compared with what a caller says.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use vocabulary::{Name, Nik};

/// A resident the simulator knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resident {
    /// Population number.
    pub nik: Nik,
    /// Full name.
    pub name: Name,
    /// Date of birth.
    pub birth_date: Date,
    /// Sex.
    pub sex: Sex,
    /// Whether the registry records no death.
    #[serde(default = "alive")]
    pub alive: bool,
}

fn alive() -> bool {
    true
}

/// Sex, as the wire format writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sex {
    /// Laki-laki.
    Male,
    /// Perempuan.
    Female,
}

/// What a caller says of a person.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    pub(crate) nik: Nik,
    name: Name,
    birth_date: Date,
    sex: Sex,
}

/// Whether one field agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Comparison {
    Matches,
    Differs,
}

/// What the registry answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum Answer {
    Found { name: Comparison, birth_date: Comparison, sex: Comparison, alive: bool },
    NotFound,
}

impl Question {
    pub(crate) fn answer(&self, resident: Option<&Resident>) -> Answer {
        let compare = |same: bool| if same { Comparison::Matches } else { Comparison::Differs };
        match resident {
            None => Answer::NotFound,
            Some(resident) => Answer::Found {
                name: compare(folded(&self.name) == folded(&resident.name)),
                birth_date: compare(self.birth_date == resident.birth_date),
                sex: compare(self.sex == resident.sex),
                alive: resident.alive,
            },
        }
    }
}

/// A name without the differences that mean nothing: capitals, spaces, full stops and apostrophes.
fn folded(name: &Name) -> String {
    let words = name.expose().split(|c: char| c.is_whitespace()).map(|word| {
        word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_uppercase).collect::<String>()
    });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str) -> Question {
        let text = format!(
            r#"{{"nik":"3273014505900001","name":"{name}","birth_date":"1990-05-05","sex":"female"}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_name_is_compared_by_its_letters() {
        let resident =
            r#"{"nik":"3273014505900001","name":"NUR'AINI S.","birth_date":"1990-05-05","sex":"female"}"#;
        let resident: Resident = serde_json::from_str(resident).unwrap();
        let name = |given: &str| match question(given).answer(Some(&resident)) {
            Answer::Found {
                name,
                birth_date: Comparison::Matches,
                sex: Comparison::Matches,
                alive: true,
            } => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name("Nuraini  S"), Comparison::Matches);
        assert_eq!(name("Nur Aini S"), Comparison::Differs);
        assert_eq!(question("Nuraini S").answer(None), Answer::NotFound);
    }
}

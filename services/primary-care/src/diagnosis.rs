//! Diagnoses of a visit, and which of them a first-level facility treats itself.

use std::collections::BTreeSet;

use chassis::policy::Rule;
use serde::Deserialize;
use vocabulary::Icd10;

/// Most diagnoses of a visit (kdDiag1 to kdDiag3).
pub const MOST: usize = 3;

/// One to three different diagnoses, the first is the primary one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnoses(Vec<Icd10>);

/// Why a list is not one of diagnoses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDiagnoses {
    /// None, or more than three.
    #[error("must be 1 to {MOST} codes")]
    Number,
    /// One stands there twice.
    #[error("must be different codes")]
    Repeated,
}

impl Diagnoses {
    /// Makes the list.
    ///
    /// # Errors
    /// When there are none, too many, or one twice.
    pub fn new(codes: Vec<Icd10>) -> Result<Self, NotDiagnoses> {
        if !(1..=MOST).contains(&codes.len()) {
            return Err(NotDiagnoses::Number);
        }
        if codes.iter().collect::<BTreeSet<_>>().len() != codes.len() {
            return Err(NotDiagnoses::Repeated);
        }
        Ok(Self(codes))
    }

    /// The one the visit, and a referral, rests on.
    #[must_use]
    pub fn primary(&self) -> &Icd10 {
        &self.0[0]
    }

    /// All, the primary one first.
    #[must_use]
    pub fn codes(&self) -> &[Icd10] {
        &self.0
    }
}

/// The diagnoses that a first-level facility treats itself: `policy/primary-care/non-specialist.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NonSpecialist {
    codes: Vec<Icd10>,
}

impl NonSpecialist {
    /// Whether a diagnosis is one of them: a listed category covers its finer codes, a listed code those finer than it.
    #[must_use]
    pub fn covers(&self, diagnosis: &Icd10) -> bool {
        self.codes.iter().any(|listed| diagnosis.as_str().starts_with(listed.as_str()))
    }
}

impl Rule for NonSpecialist {
    fn check(&self) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        match self.codes.iter().find(|code| !seen.insert(*code)) {
            Some(twice) => Err(format!("codes holds {} twice", twice.as_str())),
            None if self.codes.is_empty() => Err("codes must not be empty".to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn icd(code: &str) -> Icd10 {
        Icd10::parse(code).unwrap()
    }

    fn listed(codes: &[&str]) -> NonSpecialist {
        NonSpecialist { codes: codes.iter().map(|code| icd(code)).collect() }
    }

    #[test]
    fn a_category_covers_its_codes_and_a_code_only_itself() {
        let list = listed(&["J06", "E11.9"]);
        for covered in ["J06", "J06.9", "E11.9", "E11.91"] {
            assert!(list.covers(&icd(covered)), "{covered}");
        }
        for specialist in ["J07.0", "E11", "E11.2", "E10.9"] {
            assert!(!list.covers(&icd(specialist)), "{specialist}");
        }
    }

    #[test]
    fn the_list_that_is_compiled_in_holds() {
        let text = include_str!("../../../policy/primary-care/non-specialist.toml");
        let policy =
            chassis::policy::parse::<NonSpecialist>("primary-care/non-specialist.toml", text).unwrap();
        let list = policy.on(jiff::civil::date(2026, 1, 1)).unwrap();
        assert!(list.covers(&icd("I10")) && !list.covers(&icd("I21.9")));
    }

    #[test]
    fn a_list_with_a_code_twice_is_refused() {
        assert!(listed(&["J06", "J06"]).check().unwrap_err().contains("J06"));
        assert!(listed(&[]).check().is_err());
    }

    proptest! {
        #[test]
        fn one_to_three_different_codes(codes in proptest::collection::vec("[A-C][0-1][0-1]", 0..6)) {
            let codes: Vec<_> = codes.iter().map(|code| icd(code)).collect();
            let different = codes.iter().collect::<BTreeSet<_>>().len() == codes.len();
            let made = Diagnoses::new(codes.clone());
            prop_assert_eq!(made.is_ok(), different && (1..=3).contains(&codes.len()));
            if let Ok(made) = made {
                prop_assert_eq!(made.primary(), &codes[0]);
            }
        }
    }
}

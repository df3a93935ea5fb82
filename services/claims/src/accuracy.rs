//! How well an episode was coded: the hospital's codes compared with a reviewer's.
//!
//! A code that only one of the two has is reviewed and not agreed, so a code left out counts like one too many. The
//! primary diagnosis is agreed only as the primary one; the order of the others is of no account. A procedure that was
//! coded several times is agreed as often as both have it.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Add, AddAssign},
};

use vocabulary::{Icd9Procedure, Icd10};

/// The codes of an episode.
#[derive(Clone, PartialEq, Eq)]
pub struct Codes {
    /// Primary diagnosis.
    pub primary: Icd10,
    /// Secondary diagnoses.
    pub secondary: Vec<Icd10>,
    /// Procedures.
    pub procedures: Vec<Icd9Procedure>,
}

// A diagnosis stands in no log.
impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codes").finish_non_exhaustive()
    }
}

/// Codes reviewed and codes agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Diagnoses reviewed.
    pub diagnoses_reviewed: i64,
    /// Diagnoses agreed.
    pub diagnoses_agreed: i64,
    /// Procedures reviewed.
    pub procedures_reviewed: i64,
    /// Procedures agreed.
    pub procedures_agreed: i64,
}

impl Add for Score {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            diagnoses_reviewed: self.diagnoses_reviewed + other.diagnoses_reviewed,
            diagnoses_agreed: self.diagnoses_agreed + other.diagnoses_agreed,
            procedures_reviewed: self.procedures_reviewed + other.procedures_reviewed,
            procedures_agreed: self.procedures_agreed + other.procedures_agreed,
        }
    }
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Compares the codes of a claim with a reviewer's.
#[must_use]
pub fn compare(original: &Codes, reviewed: &Codes) -> Score {
    let primary = i64::from(original.primary == reviewed.primary);
    let secondary = common(&original.secondary, &reviewed.secondary);
    let procedures = common(&original.procedures, &reviewed.procedures);
    Score {
        diagnoses_reviewed: 1 + secondary.0,
        diagnoses_agreed: primary + secondary.1,
        procedures_reviewed: procedures.0,
        procedures_agreed: procedures.1,
    }
}

/// How many codes either side has, and how many both have.
fn common<T: Ord>(one: &[T], other: &[T]) -> (i64, i64) {
    let mut times: BTreeMap<&T, (i64, i64)> = BTreeMap::new();
    for code in one {
        times.entry(code).or_default().0 += 1;
    }
    for code in other {
        times.entry(code).or_default().1 += 1;
    }
    times.values().fold((0, 0), |(either, both), (a, b)| (either + a.max(b), both + a.min(b)))
}

/// Agreed ÷ reviewed in basis points, half up; `None` when nothing was reviewed.
#[must_use]
pub fn basis_points(agreed: i64, reviewed: i64) -> Option<i32> {
    if reviewed <= 0 {
        return None;
    }
    let points = (i128::from(agreed) * 20_000 + i128::from(reviewed)) / (i128::from(reviewed) * 2);
    i32::try_from(points).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes(primary: &str, secondary: &[&str], procedures: &[&str]) -> Codes {
        Codes {
            primary: Icd10::parse(primary).unwrap(),
            secondary: secondary.iter().map(|code| Icd10::parse(code).unwrap()).collect(),
            procedures: procedures.iter().map(|code| Icd9Procedure::parse(code).unwrap()).collect(),
        }
    }

    fn score(diagnoses: (i64, i64), procedures: (i64, i64)) -> Score {
        Score {
            diagnoses_reviewed: diagnoses.0,
            diagnoses_agreed: diagnoses.1,
            procedures_reviewed: procedures.0,
            procedures_agreed: procedures.1,
        }
    }

    #[test]
    fn omitted_added_and_misplaced_codes_are_not_agreed() {
        let original = codes("A41.9", &["J96.0", "E11.9"], &["96.71", "99.18"]);
        assert_eq!(compare(&original, &original), score((3, 3), (2, 2)));
        // The reviewer takes one code out and puts another one in.
        let other = codes("A41.9", &["E11.9", "N39.0"], &["99.18"]);
        assert_eq!(compare(&original, &other), score((4, 2), (2, 1)));
        // The primary diagnosis is a secondary one, and the reverse.
        let turned = codes("E11.9", &["A41.9", "J96.0"], &["96.71", "99.18"]);
        assert_eq!(compare(&original, &turned), score((4, 1), (2, 2)));
        let twice = codes("A41.9", &["J96.0", "E11.9"], &["99.18", "99.18", "96.71"]);
        assert_eq!(compare(&original, &twice), score((3, 3), (3, 2)));
        assert_eq!(compare(&codes("I10", &[], &[]), &codes("I11.0", &[], &[])), score((1, 0), (0, 0)));
    }

    #[test]
    fn a_share_is_rounded_half_up_and_of_nothing_there_is_none() {
        assert_eq!(basis_points(0, 0), None);
        assert_eq!(basis_points(2, 3), Some(6667));
        assert_eq!(basis_points(1, 3), Some(3333));
        assert_eq!(basis_points(1, 20_000), Some(1));
        assert_eq!((basis_points(0, 7), basis_points(7, 7)), (Some(0), Some(10_000)));
    }

    fn any_codes() -> impl Strategy<Value = Codes> {
        let diagnosis = || "[A-C]0[0-4]".prop_map(|code| Icd10::parse(&code).unwrap());
        let procedure = "9[0-2]\\.[0-2]".prop_map(|code| Icd9Procedure::parse(&code).unwrap());
        let secondary = proptest::collection::btree_set(diagnosis(), 0..8);
        (diagnosis(), secondary, proptest::collection::vec(procedure, 0..8)).prop_map(
            |(primary, secondary, procedures)| Codes {
                secondary: secondary.into_iter().filter(|code| *code != primary).collect(),
                primary,
                procedures,
            },
        )
    }

    proptest! {
        #[test]
        fn agreed_is_between_none_and_all_and_neither_side_is_favoured(one in any_codes(), other in any_codes()) {
            let score = compare(&one, &other);
            prop_assert_eq!(score, compare(&other, &one));
            prop_assert!((0..=score.diagnoses_reviewed).contains(&score.diagnoses_agreed));
            prop_assert!((0..=score.procedures_reviewed).contains(&score.procedures_agreed));
            let longer = one.secondary.len().max(other.secondary.len()) + 1;
            let both = one.secondary.len() + other.secondary.len() + 1;
            prop_assert!((longer as i64..=both as i64).contains(&score.diagnoses_reviewed));
            // All is agreed exactly when both have the same codes.
            let sorted = |codes: &Codes| {
                let mut codes = codes.clone();
                codes.secondary.sort();
                codes.procedures.sort();
                codes
            };
            let all = score.diagnoses_agreed == score.diagnoses_reviewed
                && score.procedures_agreed == score.procedures_reviewed;
            prop_assert_eq!(all, sorted(&one) == sorted(&other));
            // Of either side, what it has and the other lacks is what is reviewed and not agreed.
            prop_assert_eq!(compare(&one, &one).procedures_agreed, one.procedures.len() as i64);
        }

        #[test]
        fn the_order_of_the_codes_is_of_no_account(one in any_codes(), other in any_codes()) {
            let mut turned = other.clone();
            turned.secondary.reverse();
            turned.procedures.reverse();
            prop_assert_eq!(compare(&one, &turned), compare(&one, &other));
        }

        #[test]
        fn a_share_never_leaves_its_bounds(reviewed in 1..1_000_000i64, part in 0.0..=1.0f64) {
            let agreed = (reviewed as f64 * part) as i64;
            let points = basis_points(agreed, reviewed).unwrap();
            prop_assert!((0..=10_000).contains(&points));
            prop_assert!((i64::from(points) * reviewed * 2 - agreed * 20_000).abs() <= reviewed);
        }
    }
}

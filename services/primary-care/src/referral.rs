//! Referring to a specialist: which diagnoses need a TACC reason, and what counts against the facility.

use crate::{
    code::coded,
    diagnosis::{Diagnoses, NonSpecialist},
};

coded! {
    /// Why a diagnosis that a first-level facility treats itself is referred all the same (kdTacc).
    TaccReason {
        /// Time, kdTacc 1.
        Time = "time",
        /// Age, kdTacc 2.
        Age = "age",
        /// Complication, kdTacc 3.
        Complication = "complication",
        /// Comorbidity, kdTacc 4.
        Comorbidity = "comorbidity",
    }
}

/// A TACC reason with what it consists of (alasanTacc).
#[derive(Clone, PartialEq, Eq)]
pub struct Tacc {
    /// The reason.
    pub reason: TaccReason,
    /// What it consists of.
    pub note: String,
}

impl std::fmt::Debug for Tacc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tacc(***)")
    }
}

/// The primary diagnosis is one that a first-level facility treats itself, and no TACC reason was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaccNeeded;

/// Whether a referral may go out; if so, whether its diagnosis is a non-specialist one. The primary diagnosis decides:
/// it is the one that goes on the letter.
///
/// # Errors
/// When a TACC reason is needed and missing.
pub fn judge(diagnoses: &Diagnoses, list: &NonSpecialist, tacc: Option<&Tacc>) -> Result<bool, TaccNeeded> {
    let non_specialist = list.covers(diagnoses.primary());
    if non_specialist && tacc.is_none() { Err(TaccNeeded) } else { Ok(non_specialist) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vocabulary::Icd10;

    use super::*;

    fn list() -> NonSpecialist {
        let text = "[[version]]\neffective-from = \"2020-01-01\"\nsource = \"test\"\ncodes = [\"I10\"]\n";
        chassis::policy::parse::<NonSpecialist>("test", text).unwrap().versions()[0].rule.clone()
    }

    proptest! {
        #[test]
        fn a_non_specialist_diagnosis_never_leaves_without_a_reason(primary in "I(10|11|21)", second in "E1[0-4]", reason in proptest::option::of(0..4usize)) {
            let codes = [&primary, &second].map(|code| Icd10::parse(code).unwrap()).to_vec();
            let tacc = reason.map(|i| Tacc { reason: TaccReason::ALL[i], note: "note".to_owned() });
            let judged = judge(&Diagnoses::new(codes).unwrap(), &list(), tacc.as_ref());
            let listed = primary == "I10";
            prop_assert_eq!(judged, if listed && tacc.is_none() { Err(TaccNeeded) } else { Ok(listed) });
        }
    }

    #[test]
    fn a_secondary_diagnosis_does_not_need_a_reason() {
        let codes = ["I21.9", "I10"].map(|code| Icd10::parse(code).unwrap()).to_vec();
        assert_eq!(judge(&Diagnoses::new(codes).unwrap(), &list(), None), Ok(false));
    }
}

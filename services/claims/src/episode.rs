//! The episode as the hospital coded it: what grouper and claim edits look at.

use std::fmt;

use jiff::{Timestamp, civil::Date};
use serde::Deserialize;
use vocabulary::{Icd9Procedure, Icd10};

use crate::special::SpecialCode;

/// Kind of care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Care {
    /// In-patient (RITL).
    Inpatient,
    /// Out-patient (RJTL).
    Outpatient,
}

/// Sex of the patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sex {
    /// Male.
    Male,
    /// Female.
    Female,
}

/// How the patient left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discharge {
    /// With the doctor's approval.
    Approved,
    /// In any other way: referred, at own request, dead, other.
    Otherwise,
}

/// Kind of a supporting document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// Medical summary.
    MedicalSummary,
    /// Ward or treatment report.
    WardReport,
    /// Laboratory result.
    Laboratory,
    /// Radiology result.
    Radiology,
    /// Other diagnostic result.
    OtherDiagnostic,
    /// Prescription.
    Prescription,
    /// Bill.
    Bill,
    /// Operation report.
    OperationReport,
    /// Another document.
    Other,
}

/// A coded episode.
#[derive(Clone, PartialEq, Eq)]
pub struct Episode {
    /// Kind of care, of the SEP.
    pub care: Care,
    /// Admission or begin of the visit.
    pub admitted_at: Timestamp,
    /// Discharge or end of the visit.
    pub discharged_at: Timestamp,
    /// How the patient left.
    pub discharge: Discharge,
    /// Sex.
    pub sex: Sex,
    /// Birth date.
    pub birth_date: Date,
    /// Primary diagnosis.
    pub primary: Icd10,
    /// Secondary diagnoses.
    pub secondary: Vec<Icd10>,
    /// Procedures.
    pub procedures: Vec<Icd9Procedure>,
    /// Whether a register number of tuberculosis is given.
    pub has_sitb_number: bool,
    /// The kinds of document that support the codes.
    pub documents: Vec<DocumentKind>,
    /// Score of daily activities in the sub-acute phase; 0 without one.
    pub adl_sub_acute: i32,
    /// Score of daily activities in the chronic phase; 0 without one.
    pub adl_chronic: i32,
    /// Special CMGs that are claimed.
    pub special: Vec<SpecialCode>,
}

// Diagnoses and birth date are masked: an episode may stand in the Debug of something that is logged.
impl fmt::Debug for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Episode").field("care", &self.care).finish_non_exhaustive()
    }
}

impl Episode {
    /// Every diagnosis, the primary one first.
    pub fn diagnoses(&self) -> impl Iterator<Item = &Icd10> {
        std::iter::once(&self.primary).chain(&self.secondary)
    }

    /// Whole hours of stay.
    #[must_use]
    pub fn hours(&self) -> i64 {
        self.discharged_at.duration_since(self.admitted_at).as_hours()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An episode without anything to object to, for tests to change.
    pub(crate) fn example(care: Care, primary: &str) -> Episode {
        Episode {
            care,
            admitted_at: "2026-03-02T02:00:00Z".parse().unwrap(),
            discharged_at: "2026-03-05T04:30:00Z".parse().unwrap(),
            discharge: Discharge::Approved,
            sex: Sex::Female,
            birth_date: "1980-05-17".parse().unwrap(),
            primary: Icd10::parse(primary).unwrap(),
            secondary: vec![],
            procedures: vec![],
            has_sitb_number: false,
            documents: vec![DocumentKind::MedicalSummary],
            adl_sub_acute: 0,
            adl_chronic: 0,
            special: vec![],
        }
    }

    #[test]
    fn nothing_of_the_patient_is_shown_in_debug() {
        let shown = format!("{:?}", example(Care::Inpatient, "E11.9"));
        assert!(!shown.contains("E11") && !shown.contains("1980"), "{shown}");
    }

    #[test]
    fn hours_are_whole() {
        assert_eq!(example(Care::Inpatient, "E11.9").hours(), 74);
    }
}

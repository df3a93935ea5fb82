//! What the rules see of a claim: its coded episode, its SEP and the answers that rests on, the member's recent
//! episodes, the facility. Plain values; what is not known is absent, and a rule that needs it is not assessed.

use std::fmt;

use jiff::civil::Date;
use serde::Deserialize;

/// How many days before the day of service an episode of the member may have begun to be looked at.
pub const LOOK_BACK_DAYS: i64 = 90;
/// Most episodes of a member that are looked at, the latest ones.
pub const MOST_EPISODES: usize = 50;

/// A claim as the rules see it. In the examples of a rule file, what is not written is as in [`Facts::default`]: an
/// out-patient visit of a woman of 45 years by referral, with nothing to object to.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Facts {
    /// Day of service of the SEP; decides which version of a rule holds.
    pub service_date: Date,
    /// Kind of care.
    pub care: String,
    /// Sex.
    pub sex: String,
    /// Full years of age at admission.
    pub age_years: i64,
    /// Days of age at admission.
    pub age_days: i64,
    /// How the patient came, of e-Klaim.
    pub admission_route: String,
    /// How the patient left.
    pub discharge: String,
    /// Days of stay, the first and the last one counted.
    pub stay_days: i64,
    /// Whole hours of stay.
    pub stay_hours: i64,
    /// Days in intensive care.
    pub icu_days: i64,
    /// Hours on a ventilator.
    pub ventilator_hours: i64,
    /// Birth weight in grams, 0 when the patient is no newborn.
    pub birth_weight_gram: i64,
    /// Primary diagnosis.
    pub primary: String,
    /// Secondary diagnoses.
    pub secondary: Vec<String>,
    /// Procedures.
    pub procedures: Vec<String>,
    /// Whether a number of the register SITB is given.
    pub has_sitb_number: bool,
    /// Kinds of the supporting documents.
    pub documents: Vec<String>,
    /// INA-CBG package without its severity, e.g. `J-4-16`; empty before grouping.
    pub package: String,
    /// Severity of the package, 0 to 3.
    pub severity: i64,
    /// Tariff of the package, whole rupiah; 0 before grouping.
    pub tariff_rupiah: i64,
    /// What the hospital charges, whole rupiah.
    pub charges_rupiah: i64,
    /// How many of the 18 components of the charges are more than nothing.
    pub charge_parts: i64,
    /// Clinic of the SEP, empty for in-patient care.
    pub clinic: String,
    /// Whether the SEP is for an emergency.
    pub emergency: bool,
    /// Whether the SEP cites a referral.
    pub with_referral: bool,
    /// Initial diagnosis of the SEP.
    pub initial_diagnosis: String,
    /// Class of the hospital, A to D; empty for a main clinic.
    pub facility_class: String,
    /// Submitted claims of other members with the same bill to the rupiah, at this facility within 30 days.
    pub identical_bills: i64,
    /// Other out-patient SEPs of this facility, day and doctor, at most 100; 0 when the SEP names no doctor.
    pub doctor_visits: i64,
    /// What the accreditation service answered for the SEP.
    pub standing: Option<Standing>,
    /// What the referral service answered for the SEP.
    pub referral: Option<Referral>,
    /// What first-level facilities recorded, which comes with the referral of P-Care that the SEP cites.
    pub pcare: Option<PcareRecord>,
    /// The patient's other episodes since [`LOOK_BACK_DAYS`] before the day of service, the latest first.
    pub episodes: Vec<Recent>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            service_date: jiff::civil::date(2026, 3, 2),
            care: "outpatient".into(),
            sex: "female".into(),
            age_years: 45,
            age_days: 16_436,
            admission_route: "general-practitioner".into(),
            discharge: "approved".into(),
            stay_days: 1,
            stay_hours: 1,
            icu_days: 0,
            ventilator_hours: 0,
            birth_weight_gram: 0,
            primary: "E11.9".into(),
            secondary: Vec::new(),
            procedures: Vec::new(),
            has_sitb_number: false,
            documents: vec!["medical-summary".into()],
            package: String::new(),
            severity: 0,
            tariff_rupiah: 0,
            charges_rupiah: 150_000,
            charge_parts: 1,
            clinic: "INT".into(),
            emergency: false,
            with_referral: true,
            initial_diagnosis: "E11.9".into(),
            facility_class: "B".into(),
            identical_bills: 0,
            doctor_visits: 0,
            standing: None,
            referral: None,
            pcare: None,
            episodes: Vec::new(),
        }
    }
}

// Sex, age and codes are masked: facts may stand in the Debug of something that is logged.
impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("care", &self.care).finish_non_exhaustive()
    }
}

/// The facility on the day of service, as the accreditation service answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Standing {
    /// Whether it had a contract.
    pub contracted: bool,
    /// Whether it must hold a certificate.
    pub certificate_required: bool,
    /// Whether it held one.
    pub certified: bool,
    /// Whether the certificate was still valid on the day of discharge.
    pub certified_at_discharge: bool,
}

impl Default for Standing {
    fn default() -> Self {
        Self { contracted: true, certificate_required: true, certified: true, certified_at_discharge: true }
    }
}

/// The referral that the SEP cites, as the referral service answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Referral {
    /// Whether a first-level facility made it.
    pub from_fktp: bool,
    /// Whether it was made out of a recorded visit.
    pub after_visit: bool,
}

/// What first-level facilities recorded of the patient up to the referral. In the examples of a rule file, what is not
/// written was not done.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct PcareRecord {
    /// Days with an antenatal contact.
    pub anc_contacts: i64,
    /// Those of them on which the blood pressure was taken.
    pub anc_contacts_with_pressure: i64,
    /// Whether haemoglobin was tested in the pregnancy.
    pub hb_tested: bool,
    /// Iron tablets handed out in the pregnancy.
    pub iron_tablets: i64,
    /// Last systolic pressure, mmHg; `None` when none is recorded.
    pub systolic: Option<i64>,
    /// Last diastolic pressure, mmHg.
    pub diastolic: Option<i64>,
    /// Days from the last pressure to the day of service; when none is recorded, from the last day before the record.
    pub days_since_pressure: i64,
    /// Days from the last glucose to the day of service; likewise.
    pub days_since_glucose: i64,
    /// Last fasting glucose, mg/dl; `None` when none is recorded.
    pub fasting_glucose_mg: Option<i64>,
    /// Whether a reason of time, age, complication or comorbidity was given for the referral.
    pub referred_with_tacc: bool,
    /// Diagnoses of the visit that was referred.
    pub diagnoses: Vec<String>,
    /// Drugs handed out at the visit that was referred, ATC.
    pub drugs: Vec<String>,
    /// Drugs against tuberculosis that were handed out within the record, ATC.
    pub tb_drugs: Vec<String>,
}

impl fmt::Debug for PcareRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PcareRecord").finish_non_exhaustive()
    }
}

/// Another episode of the member, told relative to the claim.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recent {
    /// Kind of care.
    pub care: String,
    /// Days from its day of service to the claim's; negative when it is later.
    pub days_before: i64,
    /// Days from its discharge to the claim's day of service; negative when it ended later.
    pub days_since_discharge: i64,
    /// Whether it is in-patient care, as the claim is, and both share a day other than the one on which one ends.
    pub overlaps: bool,
    /// Whether it was at the same facility.
    pub same_facility: bool,
    /// Whether it was at the same clinic of the same facility.
    pub same_clinic: bool,
    /// Whether it was an emergency.
    pub emergency: bool,
    /// Whether a claim for it was submitted; what follows is known only then.
    pub claimed: bool,
    /// Whether the patient died in it.
    pub died: bool,
    /// Its package without severity; empty when it is not known.
    pub package: String,
    /// Whether that is the package of the claim.
    pub same_package: bool,
    /// Whether its primary diagnosis has the first three characters of the claim's.
    pub same_category: bool,
    /// Whether its bill is the same to the rupiah.
    pub same_charges: bool,
}

impl Default for Recent {
    /// An out-patient visit at the same clinic, long ago, without a claim.
    fn default() -> Self {
        Self {
            care: "outpatient".into(),
            days_before: 60,
            days_since_discharge: 60,
            overlaps: false,
            same_facility: true,
            same_clinic: true,
            emergency: false,
            claimed: false,
            died: false,
            package: String::new(),
            same_package: false,
            same_category: false,
            same_charges: false,
        }
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent").field("days_before", &self.days_before).finish_non_exhaustive()
    }
}

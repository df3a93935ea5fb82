//! Claim edits: what is known to lead to pending, found at submission by pure functions over the dated parameters of
//! `policy/claims/edits.toml`. Nothing is refused; each finding names the pending reason and what would cure it.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::Poli;

use crate::{
    codes::{CodeRange, any_covers},
    episode::{Care, Discharge, DocumentKind, Episode, Sex},
};

/// Why a claim is pending. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i16)]
pub enum Reason {
    /// Coding not according to the rules.
    Coding = 1,
    /// Out-patient visit repeated within few days.
    RepeatedOutpatientVisit = 2,
    /// A code without supporting evidence.
    CodeWithoutEvidence = 3,
    /// Indication of the visit or procedure.
    VisitOrProcedureIndication = 4,
    /// Indication of in-patient care.
    InpatientIndication = 5,
    /// Another reason.
    Other = 6,
}

impl Reason {
    /// The reason of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        use Reason::*;
        [
            Coding,
            RepeatedOutpatientVisit,
            CodeWithoutEvidence,
            VisitOrProcedureIndication,
            InpatientIndication,
            Other,
        ]
        .into_iter()
        .find(|reason| *reason as i16 == number)
    }
}

/// What an edit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Id of the edit.
    pub edit_id: String,
    /// The pending reason it leads to.
    pub reason: Reason,
    /// What was found.
    pub message: String,
    /// What would cure it.
    pub cure: String,
}

/// The parameters of the edits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Edits {
    combination: Vec<Combination>,
    sex: Vec<OfOneSex>,
    procedure_needs: Vec<ProcedureNeeds>,
    tuberculosis: Tuberculosis,
    repeat_visit: RepeatVisit,
    evidence: Vec<Evidence>,
    short_stay: ShortStay,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Combination {
    id: String,
    first: CodeRange,
    second: CodeRange,
    #[serde(rename = "use")]
    instead: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfOneSex {
    id: String,
    diagnoses: Vec<CodeRange>,
    #[serde(default)]
    except: Vec<CodeRange>,
    sex: Sex,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcedureNeeds {
    id: String,
    procedures: Vec<CodeRange>,
    diagnoses: Vec<CodeRange>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tuberculosis {
    id: String,
    diagnoses: Vec<CodeRange>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RepeatVisit {
    id: String,
    within_days: i16,
    exempt_clinics: Vec<Poli>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Evidence {
    id: String,
    care: Care,
    document: DocumentKind,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ShortStay {
    id: String,
    less_than_hours: i64,
}

impl Rule for Edits {
    fn check(&self) -> Result<(), String> {
        let mut ids: Vec<&str> = self.combination.iter().map(|edit| edit.id.as_str()).collect();
        ids.extend(self.sex.iter().map(|edit| edit.id.as_str()));
        ids.extend(self.procedure_needs.iter().map(|edit| edit.id.as_str()));
        ids.extend(self.evidence.iter().map(|edit| edit.id.as_str()));
        ids.extend([
            self.tuberculosis.id.as_str(),
            self.repeat_visit.id.as_str(),
            self.short_stay.id.as_str(),
        ]);
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("id {} is used twice", twice[0]));
        }
        if !(1..=60).contains(&self.repeat_visit.within_days) {
            return Err("repeat-visit.within-days must be 1 to 60".into());
        }
        if !(1..=48).contains(&self.short_stay.less_than_hours) {
            return Err("short-stay.less-than-hours must be 1 to 48".into());
        }
        Ok(())
    }
}

/// What the edits look at beside the episode.
#[derive(Debug, Clone)]
pub struct Context<'a> {
    /// The episode.
    pub episode: &'a Episode,
    /// Day of service of the SEP.
    pub service_date: Date,
    /// Clinic, empty for in-patient care.
    pub clinic: &'a str,
    /// Whether the patient came as an emergency.
    pub emergency: bool,
    /// Days on which the member had another out-patient SEP at the same clinic of the same facility.
    pub earlier_visits: &'a [Date],
}

impl Edits {
    /// The first day to look back to for earlier visits; `None` when the claim is not looked at for them.
    #[must_use]
    pub fn look_back(&self, care: Care, clinic: &str, emergency: bool, service_date: Date) -> Option<Date> {
        let exempt = self.repeat_visit.exempt_clinics.iter().any(|poli| poli.as_str() == clinic);
        (care == Care::Outpatient && !emergency && !exempt)
            .then(|| service_date.saturating_sub(i64::from(self.repeat_visit.within_days).days()))
    }

    /// Everything the edits find, in the order of the reasons.
    #[must_use]
    pub fn run(&self, context: &Context<'_>) -> Vec<Finding> {
        let mut findings = self.coding(context.episode);
        findings.extend(self.repeated(context));
        findings.extend(self.without_evidence(context.episode));
        findings.extend(self.indication(context.episode));
        findings.sort_by_key(|finding| finding.reason);
        findings
    }

    fn coding(&self, episode: &Episode) -> Vec<Finding> {
        let coded = |range: &CodeRange| episode.diagnoses().any(|code| range.covers(code.as_str()));
        let mut findings = Vec::new();
        for edit in self.combination.iter().filter(|edit| coded(&edit.first) && coded(&edit.second)) {
            findings.push(Finding {
                edit_id: edit.id.clone(),
                reason: Reason::Coding,
                message: format!("two diagnoses are coded apart that one code expresses, {}", edit.instead),
                cure: format!("code {} instead of the two and group again", edit.instead),
            });
        }
        for edit in self.sex.iter().filter(|edit| edit.sex != episode.sex) {
            let wrong = episode.diagnoses().any(|code| {
                any_covers(&edit.diagnoses, code.as_str()) && !any_covers(&edit.except, code.as_str())
            });
            if wrong {
                findings.push(Finding {
                    edit_id: edit.id.clone(),
                    reason: Reason::Coding,
                    message: "a diagnosis belongs to the other sex".into(),
                    cure: "correct the sex of the patient or the diagnosis".into(),
                });
            }
        }
        findings
    }

    fn repeated(&self, context: &Context<'_>) -> Option<Finding> {
        let from =
            self.look_back(context.episode.care, context.clinic, context.emergency, context.service_date)?;
        let earlier = context
            .earlier_visits
            .iter()
            .filter(|day| from <= **day && **day < context.service_date)
            .max()?;
        Some(Finding {
            edit_id: self.repeat_visit.id.clone(),
            reason: Reason::RepeatedOutpatientVisit,
            message: format!("the member visited the same clinic on {earlier}"),
            cure: "answer why the second visit could not be part of the first".into(),
        })
    }

    fn without_evidence(&self, episode: &Episode) -> Vec<Finding> {
        let mut findings = Vec::new();
        let is_tuberculosis = |code: &str| any_covers(&self.tuberculosis.diagnoses, code);
        if !episode.has_sitb_number && episode.diagnoses().any(|code| is_tuberculosis(code.as_str())) {
            findings.push(Finding {
                edit_id: self.tuberculosis.id.clone(),
                reason: Reason::CodeWithoutEvidence,
                message: "a tuberculosis diagnosis without a number of the register SITB".into(),
                cure: "register the case in SITB and set sitb_number".into(),
            });
        }
        let missing =
            |edit: &&Evidence| edit.care == episode.care && !episode.documents.contains(&edit.document);
        for edit in self.evidence.iter().filter(missing) {
            findings.push(Finding {
                edit_id: edit.id.clone(),
                reason: Reason::CodeWithoutEvidence,
                message: "the document that shows the diagnosis and procedures is missing".into(),
                cure: "add a reference to the medical summary to documents".into(),
            });
        }
        findings
    }

    fn indication(&self, episode: &Episode) -> Vec<Finding> {
        let mut findings = Vec::new();
        for edit in &self.procedure_needs {
            let done = episode.procedures.iter().any(|code| any_covers(&edit.procedures, code.as_str()));
            let indicated = episode.diagnoses().any(|code| any_covers(&edit.diagnoses, code.as_str()));
            if done && !indicated {
                findings.push(Finding {
                    edit_id: edit.id.clone(),
                    reason: Reason::VisitOrProcedureIndication,
                    message: "a procedure without a diagnosis that indicates it".into(),
                    cure: "code the diagnosis for which the procedure was done, or remove the procedure"
                        .into(),
                });
            }
        }
        let short = episode.hours() < self.short_stay.less_than_hours;
        if episode.care == Care::Inpatient && episode.discharge == Discharge::Approved && short {
            findings.push(Finding {
                edit_id: self.short_stay.id.clone(),
                reason: Reason::InpatientIndication,
                message: format!("an in-patient stay of less than {} hours", self.short_stay.less_than_hours),
                cure: "answer why in-patient care was indicated, or claim the visit as out-patient care"
                    .into(),
            });
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use vocabulary::{Icd9Procedure, Icd10};

    use super::*;
    use crate::episode::tests::example;

    fn edits() -> Edits {
        let text = include_str!("../../../policy/claims/edits.toml");
        chassis::policy::parse::<Edits>("claims/edits.toml", text).unwrap().versions()[0].rule.clone()
    }

    fn found(episode: &Episode, clinic: &str, earlier: &[&str]) -> Vec<(String, Reason)> {
        let earlier_visits: Vec<Date> = earlier.iter().map(|day| day.parse().unwrap()).collect();
        let context = Context {
            episode,
            service_date: "2026-03-02".parse().unwrap(),
            clinic,
            emergency: false,
            earlier_visits: &earlier_visits,
        };
        edits().run(&context).into_iter().map(|finding| (finding.edit_id, finding.reason)).collect()
    }

    fn codes(texts: &[&str]) -> Vec<Icd10> {
        texts.iter().map(|text| Icd10::parse(text).unwrap()).collect()
    }

    #[test]
    fn a_clean_claim_has_no_finding() {
        assert_eq!(found(&example(Care::Inpatient, "J18.9"), "", &[]), vec![]);
        assert_eq!(found(&example(Care::Outpatient, "I10"), "INT", &["2026-02-22", "2026-03-02"]), vec![]);
    }

    #[test]
    fn each_national_reason_is_found() {
        let mut coding = example(Care::Outpatient, "I50.0");
        coding.secondary = codes(&["I10"]);
        assert_eq!(found(&coding, "JAN", &[]), vec![("combination-i10-i50".into(), Reason::Coding)]);

        let sex = example(Care::Outpatient, "N40");
        assert_eq!(found(&sex, "URO", &[]), vec![("male-only-n40-n51".into(), Reason::Coding)]);

        let repeated = example(Care::Outpatient, "E11.9");
        let expected = vec![("repeated-visit".into(), Reason::RepeatedOutpatientVisit)];
        assert_eq!(found(&repeated, "INT", &["2026-02-23"]), expected, "seven days are within seven days");
        assert_eq!(found(&repeated, "INT", &["2026-02-22"]), vec![], "eight are not");
        assert_eq!(found(&repeated, "HDL", &["2026-03-01"]), vec![], "dialysis comes in series");

        let evidence = example(Care::Outpatient, "A15.0");
        let expected = vec![("tuberculosis-without-sitb".into(), Reason::CodeWithoutEvidence)];
        assert_eq!(found(&evidence, "PAR", &[]), expected);
        let registered = Episode { has_sitb_number: true, ..evidence };
        assert_eq!(found(&registered, "PAR", &[]), vec![]);
        let bare = Episode { documents: vec![], ..example(Care::Inpatient, "J18.9") };
        assert_eq!(
            found(&bare, "", &[]),
            vec![("inpatient-without-summary".into(), Reason::CodeWithoutEvidence)]
        );

        let mut dialysis = example(Care::Outpatient, "I10");
        dialysis.procedures = vec![Icd9Procedure::parse("39.95").unwrap()];
        let expected = vec![("dialysis-without-kidney-failure".into(), Reason::VisitOrProcedureIndication)];
        assert_eq!(found(&dialysis, "HDL", &[]), expected);
        dialysis.secondary = codes(&["N18.5"]);
        assert_eq!(found(&dialysis, "HDL", &[]), vec![("combination-i10-n18".into(), Reason::Coding)]);

        let mut short = example(Care::Inpatient, "R50.9");
        short.discharged_at = "2026-03-02T07:59:59Z".parse().unwrap();
        assert_eq!(
            found(&short, "", &[]),
            vec![("inpatient-short-stay".into(), Reason::InpatientIndication)]
        );
        short.discharge = Discharge::Otherwise;
        assert_eq!(
            found(&short, "", &[]),
            vec![],
            "who died or was referred on was not admitted without need"
        );
    }

    #[test]
    fn every_finding_is_told_and_the_gravest_reason_comes_first() {
        let mut episode = example(Care::Inpatient, "A15.0");
        episode.secondary = codes(&["N40"]);
        episode.documents = vec![];
        let reasons: Vec<_> = found(&episode, "", &[]).into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(reasons, [Reason::Coding, Reason::CodeWithoutEvidence, Reason::CodeWithoutEvidence]);
    }
}

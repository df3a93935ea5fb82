//! A survey from the application to the decision: what must be attested, how large it is, and in which order its
//! steps follow.

use std::collections::BTreeSet;

use chassis::policy::Rule;
use jiff::civil::Date;
use proto::accreditation::v1 as pb;
use serde::Deserialize;

use crate::{
    closed::closed,
    facility::Kind,
    grading::{Grade, Score},
};

closed! {
    /// How far a survey has come.
    State = pb::SurveyState {
        /// Applied for.
        Applied = "applied",
        /// Days and surveyors agreed.
        Scheduled = "scheduled",
        /// Held.
        Surveyed = "surveyed",
        /// Decided.
        Decided = "decided",
    }
}

/// What facilities attest and how large their surveys are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Surveys {
    /// One rule for some kinds of facility each.
    pub rule: Vec<SurveyRule>,
}

/// The rule of some kinds of facility.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SurveyRule {
    /// For which kinds.
    pub kinds: Vec<Kind>,
    /// Whether the registry of equipment must be up to date.
    pub equipment_registry: bool,
    /// Whether every health worker must be registered.
    pub all_staff_registered: bool,
    /// Least per cent of medical staff with a licence.
    pub licensed_percent: i32,
    /// Least months of reports before a first survey.
    pub first_report_months: i32,
    /// Least months of reports before a renewal.
    pub renewal_report_months: i32,
    /// Least surveyors.
    pub surveyors: usize,
    /// Least days in all.
    pub days: i32,
    /// Least days at the facility.
    pub days_on_site: i32,
}

impl Surveys {
    /// The rule of a kind of facility.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<&SurveyRule> {
        self.rule.iter().find(|rule| rule.kinds.contains(&kind))
    }
}

impl Rule for Surveys {
    fn check(&self) -> Result<(), String> {
        let mut kinds = BTreeSet::new();
        for rule in &self.rule {
            if let Some(kind) = rule.kinds.iter().find(|kind| !kinds.insert(**kind)) {
                return Err(format!("rule.kinds: {} has two rules", kind.as_str()));
            }
            if !(0..=100).contains(&rule.licensed_percent) {
                return Err("rule.licensed-percent must be 0 to 100".into());
            }
            if rule.first_report_months < 0 || rule.renewal_report_months < 0 {
                return Err(
                    "rule.first-report-months and rule.renewal-report-months must not be negative".into()
                );
            }
            if rule.surveyors == 0 || !(0..=rule.days).contains(&rule.days_on_site) {
                return Err(
                    "rule.surveyors must be at least 1 and rule.days-on-site at most rule.days".into()
                );
            }
        }
        Ok(())
    }
}

/// What a facility attests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attested {
    /// The registry of equipment is up to date.
    pub equipment_registry_updated: bool,
    /// Every health worker is registered.
    pub all_staff_registered: bool,
    /// Per cent of medical staff with a licence.
    pub licensed_percent: i32,
    /// Months of quality indicators reported.
    pub quality_months: i32,
    /// Months of incidents reported.
    pub incident_months: i32,
}

/// What a survey covers: days, both ends included, and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// First day.
    pub from: Date,
    /// Last day.
    pub to: Date,
    /// Days at the facility.
    pub days_on_site: i32,
    /// Registration numbers of the surveyors.
    pub surveyors: Vec<String>,
}

impl SurveyRule {
    /// The preconditions that are not fulfilled, by the names of their fields.
    #[must_use]
    pub fn missing(&self, attested: &Attested, renewal: bool) -> Vec<&'static str> {
        let months = if renewal { self.renewal_report_months } else { self.first_report_months };
        [
            ("equipment_registry_updated", attested.equipment_registry_updated || !self.equipment_registry),
            ("all_staff_registered", attested.all_staff_registered || !self.all_staff_registered),
            ("licensed_medical_staff_percent", attested.licensed_percent >= self.licensed_percent),
            ("quality_indicator_months", attested.quality_months >= months),
            ("incident_report_months", attested.incident_months >= months),
        ]
        .into_iter()
        .filter_map(|(field, holds)| (!holds).then_some(field))
        .collect()
    }

    /// Whether a visit is large enough.
    #[must_use]
    pub fn suffices(&self, visit: &Visit) -> bool {
        visit.surveyors.len() >= self.surveyors
            && visit.days() >= self.days
            && visit.days_on_site >= self.days_on_site
    }
}

impl Visit {
    /// How many days it takes.
    #[must_use]
    pub fn days(&self) -> i32 {
        (self.to - self.from).get_days() + 1
    }
}

/// A survey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its id.
    pub id: uuid::Uuid,
    /// The facility.
    pub facility_code: String,
    /// How far it has come.
    pub state: State,
    /// Day of the application.
    pub applied_on: Date,
    /// Whether the facility was certified on that day.
    pub renewal: bool,
    /// Whether it applied later than it should.
    pub applied_late: bool,
    /// What it attested.
    pub attested: Attested,
    /// Who surveys.
    pub institution: Option<String>,
    /// When and by whom, planned or held.
    pub visit: Option<Visit>,
    /// Its chapters: code, score, number of elements.
    pub chapters: Vec<(String, Score, usize)>,
    /// The grade and the day of the decision.
    pub decision: Option<(Grade, Date)>,
    /// Number of the certificate.
    pub certificate_number: Option<String>,
}

/// A step that does not follow on the state the survey is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfStep(pub State);

impl Survey {
    /// Whether it may be scheduled, or scheduled anew.
    ///
    /// # Errors
    /// When it was held.
    pub fn may_schedule(&self) -> Result<(), OutOfStep> {
        self.when(&[State::Applied, State::Scheduled])
    }

    /// Whether it may be recorded as held. One that was never scheduled here may be, too.
    ///
    /// # Errors
    /// When it was recorded before.
    pub fn may_record(&self) -> Result<(), OutOfStep> {
        self.when(&[State::Applied, State::Scheduled])
    }

    /// Whether chapters may be scored, and the survey decided.
    ///
    /// # Errors
    /// When it was not held yet, or is decided.
    pub fn may_judge(&self) -> Result<(), OutOfStep> {
        self.when(&[State::Surveyed])
    }

    /// The day whose rules judge it: the last day it was held.
    #[must_use]
    pub fn judged_on(&self) -> Date {
        self.visit.as_ref().map_or(self.applied_on, |visit| visit.to)
    }

    fn when(&self, states: &[State]) -> Result<(), OutOfStep> {
        if states.contains(&self.state) { Ok(()) } else { Err(OutOfStep(self.state)) }
    }

    /// Whether an institution that surveys may see it: nobody has it yet, or this one does.
    #[must_use]
    pub fn open_to(&self, institution: &str) -> bool {
        self.institution.as_deref().is_none_or(|own| own == institution)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn surveys() -> Surveys {
        let text = include_str!("../../../policy/accreditation/surveys.toml");
        let dated = chassis::policy::parse::<Surveys>("accreditation/surveys.toml", text).unwrap();
        dated.on(date(2026, 1, 1)).unwrap().rule.clone()
    }

    const READY: Attested = Attested {
        equipment_registry_updated: true,
        all_staff_registered: true,
        licensed_percent: 80,
        quality_months: 12,
        incident_months: 12,
    };

    #[test]
    fn a_puskesmas_must_have_everything() {
        let surveys = surveys();
        let rule = surveys.of(Kind::Puskesmas).unwrap();
        assert!(rule.missing(&READY, false).is_empty());
        let bare = Attested {
            equipment_registry_updated: false,
            all_staff_registered: false,
            licensed_percent: 79,
            quality_months: 11,
            incident_months: 11,
        };
        assert_eq!(rule.missing(&bare, false).len(), 5);
    }

    #[test]
    fn a_clinic_needs_three_months_first_and_twelve_later() {
        let surveys = surveys();
        let rule = surveys.of(Kind::Clinic).unwrap();
        let three = Attested { quality_months: 3, incident_months: 3, ..READY };
        assert!(rule.missing(&three, false).is_empty());
        assert_eq!(rule.missing(&three, true), ["quality_indicator_months", "incident_report_months"]);
    }

    #[test]
    fn a_visit_has_its_days_and_people() {
        let surveys = surveys();
        let rule = surveys.of(Kind::Puskesmas).unwrap();
        let visit = Visit {
            from: date(2026, 1, 30),
            to: date(2026, 2, 1),
            days_on_site: 2,
            surveyors: vec!["S-1".into(), "S-2".into()],
        };
        assert_eq!(visit.days(), 3);
        assert!(rule.suffices(&visit));
        assert!(!rule.suffices(&Visit { to: date(2026, 1, 31), ..visit.clone() }));
        assert!(!rule.suffices(&Visit { days_on_site: 1, ..visit.clone() }));
        assert!(!rule.suffices(&Visit { surveyors: vec!["S-1".into()], ..visit }));
    }

    proptest! {
        #[test]
        fn whoever_attests_more_misses_less(percent in 0i32..=100, quality in 0i32..24, incident in 0i32..24, renewal: bool) {
            let surveys = surveys();
            for kind in Kind::ALL {
                let Some(rule) = surveys.of(*kind) else { continue };
                let given = Attested { licensed_percent: percent, quality_months: quality, incident_months: incident, ..READY };
                let more = Attested { quality_months: quality + 1, ..given };
                prop_assert!(rule.missing(&more, renewal).len() <= rule.missing(&given, renewal).len());
            }
        }
    }
}

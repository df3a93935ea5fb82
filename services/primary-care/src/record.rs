//! What first-level facilities have recorded of a patient, put together for a referral: pressure and sugar of a year,
//! antenatal care of a pregnancy, drugs against tuberculosis.

use std::collections::BTreeSet;

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::{AtcCode, Icd10};

use crate::visit::Visit;

/// Most drugs against tuberculosis that are told: more than there are, so that codes which mean nothing make no record
/// that is too long to be sent.
const MOST_TUBERCULOSIS_DRUGS: usize = 40;

/// How far visits are looked back on, and what tells of what: `policy/primary-care/record.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordPolicy {
    /// Days back that visits are looked at.
    pub look_back_days: u16,
    /// Days back that a pregnancy lasts at most.
    pub pregnancy_days: u16,
    /// Diagnoses of an antenatal contact.
    pub antenatal_diagnosis_codes: Vec<Icd10>,
    /// Beginnings of the codes of iron.
    pub iron_atc_codes: Vec<String>,
    /// Beginnings of the codes of drugs against tuberculosis.
    pub tuberculosis_atc_codes: Vec<String>,
}

impl RecordPolicy {
    /// The first day of the visits that are looked at.
    #[must_use]
    pub fn from(&self, day: Date) -> Date {
        day.saturating_sub(i64::from(self.look_back_days).days())
    }

    fn is_antenatal(&self, visit: &Visit) -> bool {
        let codes = visit.diagnoses.iter().flat_map(|diagnoses| diagnoses.codes());
        codes.into_iter().any(|code| {
            self.antenatal_diagnosis_codes.iter().any(|listed| code.as_str().starts_with(listed.as_str()))
        })
    }
}

fn begins_with(code: &AtcCode, listed: &[String]) -> bool {
    listed.iter().any(|begin| code.as_str().starts_with(begin.as_str()))
}

impl Rule for RecordPolicy {
    fn check(&self) -> Result<(), String> {
        if self.look_back_days > 3_650 {
            return Err("look-back-days must be at most 3650".to_owned());
        }
        if self.pregnancy_days > self.look_back_days {
            return Err("pregnancy-days must be at most look-back-days".to_owned());
        }
        for (key, codes) in [
            ("iron-atc-codes", &self.iron_atc_codes),
            ("tuberculosis-atc-codes", &self.tuberculosis_atc_codes),
        ] {
            let begins = |code: &&String| {
                (1..=7).contains(&code.len())
                    && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            };
            if !codes.iter().all(|code| begins(&code)) {
                return Err(format!("{key} must hold beginnings of ATC codes, as B03AA"));
            }
        }
        Ok(())
    }
}

/// A blood pressure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// When it was taken.
    pub taken_on: Date,
    /// Systolic, mmHg.
    pub systolic_mmhg: i32,
    /// Diastolic, mmHg.
    pub diastolic_mmhg: i32,
}

/// What was recorded of a patient. It has no `Debug`: it holds health data.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The first day that was looked at.
    pub from: Date,
    /// The last blood pressure.
    pub pressure: Option<Pressure>,
    /// When sugar was last tested.
    pub glucose_tested_on: Option<Date>,
    /// The last fasting glucose, mg/dl.
    pub fasting_glucose_mg_dl: Option<i32>,
    /// Days with an antenatal contact.
    pub antenatal_contacts: usize,
    /// Those on which the pressure was taken.
    pub antenatal_contacts_with_pressure: usize,
    /// Whether haemoglobin was tested in the pregnancy.
    pub haemoglobin_tested: bool,
    /// Iron tablets handed out in the pregnancy.
    pub iron_tablets: i32,
    /// Drugs against tuberculosis that were handed out.
    pub tuberculosis_drugs: BTreeSet<AtcCode>,
}

/// The record of a patient's visits, the latest first, as of the day of the last.
#[must_use]
pub fn record(visits: &[Visit], day: Date, policy: &RecordPolicy) -> Record {
    let begun = day.saturating_sub(i64::from(policy.pregnancy_days).days());
    let pregnancy = || visits.iter().filter(|visit| visit.date >= begun);
    let pressure = |visit: &Visit| {
        let signs = &visit.vital_signs;
        let (systolic_mmhg, diastolic_mmhg) = signs.systolic_mmhg.zip(signs.diastolic_mmhg)?;
        Some(Pressure { taken_on: visit.date, systolic_mmhg, diastolic_mmhg })
    };
    let antenatal = || pregnancy().filter(|visit| policy.is_antenatal(visit));
    let days = |visits: &mut dyn Iterator<Item = &Visit>| {
        visits.map(|visit| visit.date).collect::<BTreeSet<_>>().len()
    };
    let drugs = visits.iter().flat_map(|visit| &visit.drugs);
    let against_tuberculosis: BTreeSet<_> = drugs
        .filter(|drug| begins_with(&drug.code, &policy.tuberculosis_atc_codes))
        .map(|drug| drug.code.clone())
        .collect();
    let iron = pregnancy()
        .flat_map(|visit| &visit.drugs)
        .filter(|drug| begins_with(&drug.code, &policy.iron_atc_codes))
        .fold(0_i32, |sum, drug| sum.saturating_add(drug.quantity));
    Record {
        from: policy.from(day),
        pressure: visits.iter().find_map(pressure),
        glucose_tested_on: visits
            .iter()
            .find(|visit| visit.laboratory.tells_glucose())
            .map(|visit| visit.date),
        fasting_glucose_mg_dl: visits.iter().find_map(|visit| visit.laboratory.fasting_glucose_mg_dl),
        antenatal_contacts: days(&mut antenatal()),
        antenatal_contacts_with_pressure: days(&mut antenatal().filter(|visit| pressure(visit).is_some())),
        haemoglobin_tested: pregnancy().any(|visit| visit.laboratory.haemoglobin_decigrams_dl.is_some()),
        iron_tablets: iron,
        tuberculosis_drugs: against_tuberculosis.into_iter().take(MOST_TUBERCULOSIS_DRUGS).collect(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, civil::date};
    use proptest::prelude::*;
    use vocabulary::{FacilityCode, MemberId, VisitNumber};

    use super::*;
    use crate::{
        diagnosis::Diagnoses,
        drug::Drug,
        laboratory::LaboratoryResults,
        visit::{Evidence, Kind, State},
        vital_signs::VitalSigns,
    };

    const TODAY: Date = date(2026, 11, 22);

    fn policy() -> RecordPolicy {
        let text = include_str!("../../../policy/primary-care/record.toml");
        let policy = chassis::policy::parse::<RecordPolicy>("primary-care/record.toml", text).unwrap();
        policy.on(TODAY).unwrap().rule.clone()
    }

    /// A visit so many days ago, at which nothing was recorded but a diagnosis.
    fn visit(days_ago: i64, diagnosis: &str) -> Visit {
        let facility = FacilityCode::parse("0301U001").unwrap();
        Visit {
            number: VisitNumber::parse("0301U0011126Y000001").unwrap(),
            facility: facility.clone(),
            member: MemberId::new(),
            kind: Kind::Healthy,
            state: State::Discharged,
            date: TODAY.saturating_sub(days_ago.days()),
            registered_at: Timestamp::UNIX_EPOCH,
            emergency: false,
            complaint: String::new(),
            evidence: Evidence {
                answer_id: String::new(),
                answered_at: Timestamp::UNIX_EPOCH,
                segment: String::new(),
                registered_fktp: facility,
                region: None,
            },
            vital_signs: VitalSigns::default(),
            laboratory: LaboratoryResults::default(),
            diagnoses: Diagnoses::new(vec![Icd10::parse(diagnosis).unwrap()]).ok(),
            drugs: Vec::new(),
            discharge: None,
            cancel_note: String::new(),
            pending: None,
            referred: None,
        }
    }

    fn measured(visit: Visit) -> Visit {
        let vital_signs =
            VitalSigns { systolic_mmhg: Some(130), diastolic_mmhg: Some(85), ..VitalSigns::default() };
        Visit { vital_signs, ..visit }
    }

    fn given(visit: Visit, code: &str, quantity: i32) -> Visit {
        Visit { drugs: vec![Drug { code: AtcCode::parse(code).unwrap(), quantity }], ..visit }
    }

    fn tested(visit: Visit, laboratory: LaboratoryResults) -> Visit {
        Visit { laboratory, ..visit }
    }

    #[test]
    fn the_last_of_each_is_told_and_when_it_was() {
        let fasting =
            |value| LaboratoryResults { fasting_glucose_mg_dl: Some(value), ..LaboratoryResults::default() };
        let random = LaboratoryResults { random_glucose_mg_dl: Some(180), ..LaboratoryResults::default() };
        let visits = [
            visit(0, "E11.9"),
            tested(visit(10, "E11.9"), random),
            tested(measured(visit(40, "E11.9")), fasting(126)),
            tested(visit(90, "E11.9"), fasting(200)),
            given(visit(200, "A15.0"), "J04AM06", 90),
        ];
        let told = record(&visits, TODAY, &policy());
        let ago = |days: i64| Some(TODAY.saturating_sub(days.days()));
        assert_eq!(
            told.pressure.map(|pressure| (pressure.taken_on, pressure.systolic_mmhg)),
            Some((ago(40).unwrap(), 130))
        );
        assert_eq!((told.glucose_tested_on, told.fasting_glucose_mg_dl), (ago(10), Some(126)));
        assert_eq!(told.tuberculosis_drugs.iter().map(AtcCode::as_str).collect::<Vec<_>>(), ["J04AM06"]);
        assert_eq!((told.antenatal_contacts, told.iron_tablets, told.haemoglobin_tested), (0, 0, false));
        assert_eq!(Some(told.from), ago(366));
    }

    #[test]
    fn a_pregnancy_counts_days_with_a_contact_and_not_those_of_the_one_before() {
        let haemoglobin =
            LaboratoryResults { haemoglobin_decigrams_dl: Some(108), ..LaboratoryResults::default() };
        let visits = [
            measured(visit(0, "O80.9")),
            given(measured(visit(30, "Z34.9")), "B03AD03", 30),
            visit(30, "Z36.9"),
            given(visit(60, "Z35.9"), "B03AC02", 5),
            given(tested(measured(visit(294, "Z34.0")), haemoglobin), "B03AA07", 60),
            given(measured(visit(295, "Z34.0")), "B03AA07", 90),
        ];
        let told = record(&visits, TODAY, &policy());
        assert_eq!((told.antenatal_contacts, told.antenatal_contacts_with_pressure), (3, 2));
        assert_eq!(
            (told.iron_tablets, told.haemoglobin_tested),
            (90, true),
            "iron that is injected is no tablet"
        );
    }

    #[test]
    fn codes_that_mean_nothing_make_no_endless_record() {
        let visits: Vec<_> =
            (0..100).map(|number| given(visit(number, "A15.0"), &format!("J04AZ{number:02}"), 1)).collect();
        assert_eq!(record(&visits, TODAY, &policy()).tuberculosis_drugs.len(), MOST_TUBERCULOSIS_DRUGS);
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let too_long = RecordPolicy { pregnancy_days: 367, ..policy() };
        assert!(too_long.check().unwrap_err().contains("pregnancy-days"));
        let small = RecordPolicy { iron_atc_codes: vec!["b03".to_owned()], ..policy() };
        assert!(small.check().unwrap_err().contains("iron-atc-codes"));
    }

    proptest! {
        #[test]
        fn contacts_are_at_most_the_visits_and_those_with_pressure_at_most_the_contacts(
            visits in proptest::collection::vec((0i64..366, any::<bool>(), any::<bool>()), 0..30)
        ) {
            let mut visits = visits;
            visits.sort_unstable();
            let seen: Vec<_> = visits
                .iter()
                .map(|(ago, antenatal, taken)| {
                    let visit = visit(*ago, if *antenatal { "Z34.9" } else { "I10" });
                    if *taken { measured(visit) } else { visit }
                })
                .collect();
            let told = record(&seen, TODAY, &policy());
            prop_assert!(told.antenatal_contacts_with_pressure <= told.antenatal_contacts);
            prop_assert!(told.antenatal_contacts <= seen.len());
            let first = visits.iter().find(|(_, _, taken)| *taken).map(|(ago, _, _)| *ago);
            prop_assert_eq!(
                told.pressure.map(|pressure| pressure.taken_on),
                first.map(|ago| TODAY.saturating_sub(ago.days()))
            );
        }
    }
}

//! One stay at a time: whether an in-patient stay of the member stands in the way of a SEP, by `policy/claims/stay.toml`.
//!
//! The days of admission and discharge belong to nobody alone: a patient is sent on from one hospital to the next on a day,
//! comes back on the day of discharge, or is admitted out of a clinic. Only the days between them lie within the stay.

use chassis::policy::Rule;
use jiff::civil::Date;
use serde::Deserialize;
use vocabulary::Icd10;

use crate::{
    codes::{CodeRange, any_covers},
    episode::Care,
    sep::Refusal,
};

/// The rules of a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    newborn_diagnoses: Vec<CodeRange>,
    stay_elsewhere_stops_emergency: bool,
    open_stay_elsewhere_stops_visit: bool,
}

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The SEP that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Facility.
    pub facility_code: &'a str,
    /// Day of service.
    pub service_date: Date,
    /// Kind of care.
    pub care: Care,
    /// Whether it is an emergency.
    pub emergency: bool,
    /// Initial diagnosis.
    pub diagnosis: &'a Icd10,
}

/// An in-patient SEP of the member that is not cancelled.
#[derive(Debug, Clone)]
pub struct Stay {
    /// Its number.
    pub sep_number: String,
    /// Its facility.
    pub facility_code: String,
    /// Day of admission.
    pub admitted_on: Date,
    /// Day of discharge, by its SEP or by the claim on it; `None` while neither states one.
    pub discharged_on: Option<Date>,
    /// Initial diagnosis.
    pub diagnosis: Icd10,
}

/// What of the member's stays stands in the way; the first of them that does.
#[must_use]
pub fn in_the_way(rules: &Rules, wanted: &Wanted<'_>, stays: &[Stay]) -> Option<Refusal> {
    stays.iter().find_map(|stay| judge(rules, wanted, stay))
}

fn judge(rules: &Rules, wanted: &Wanted<'_>, stay: &Stay) -> Option<Refusal> {
    let newborn = |code: &Icd10| any_covers(&rules.newborn_diagnoses, code.as_str());
    if newborn(wanted.diagnosis) || newborn(&stay.diagnosis) {
        return None;
    }
    let elsewhere = stay.facility_code != wanted.facility_code;
    if elsewhere && wanted.emergency && !rules.stay_elsewhere_stops_emergency {
        return None;
    }
    let day = wanted.service_date;
    let number = || stay.sep_number.clone();
    match (stay.discharged_on, wanted.care) {
        (Some(left), _) => (stay.admitted_on < day && day < left).then(|| Refusal::DayInStay(number())),
        // A stay that began later is none that this patient lies in on the day.
        (None, Care::Inpatient) => (stay.admitted_on <= day).then(|| Refusal::StayOpen(number())),
        (None, Care::Outpatient) if elsewhere && !rules.open_stay_elsewhere_stops_visit => None,
        (None, Care::Outpatient) => (stay.admitted_on < day).then(|| Refusal::StayOpen(number())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/stay.toml");
        chassis::policy::parse::<Rules>("claims/stay.toml", text).unwrap().versions()[0].rule.clone()
    }

    fn code(text: &str) -> Icd10 {
        Icd10::parse(text).unwrap()
    }

    fn lying(facility_code: &str, discharged_on: Option<&str>) -> Stay {
        Stay {
            sep_number: "S".into(),
            facility_code: facility_code.into(),
            admitted_on: day("2026-03-02"),
            discharged_on: discharged_on.map(day),
            diagnosis: code("O80.9"),
        }
    }

    fn refused(stay: &Stay, on: &str, care: Care, emergency: bool, diagnosis: &str) -> Option<Refusal> {
        let diagnosis = code(diagnosis);
        let wanted =
            Wanted { facility_code: "HERE", service_date: day(on), care, emergency, diagnosis: &diagnosis };
        in_the_way(&rules(), &wanted, std::slice::from_ref(stay))
    }

    const OPEN: Option<Refusal> = None;

    #[test]
    fn nobody_is_admitted_twice() {
        let (here, elsewhere) = (lying("HERE", None), lying("THERE", None));
        let again =
            |stay: &Stay, on: &str, emergency: bool| refused(stay, on, Care::Inpatient, emergency, "I10");
        for stay in [&here, &elsewhere] {
            for on in ["2026-03-02", "2026-03-09"] {
                assert_eq!(again(stay, on, false), Some(Refusal::StayOpen("S".into())), "{on}");
            }
            assert_eq!(again(stay, "2026-03-01", false), OPEN, "a late SEP of the hospital before");
        }
        assert!(again(&here, "2026-03-09", true).is_some(), "its own discharge it can record");
        assert_eq!(again(&elsewhere, "2026-03-09", true), OPEN, "an emergency is served");
        assert_eq!(again(&lying("THERE", Some("2026-03-05")), "2026-03-05", false), OPEN, "sent on");
        let within = again(&lying("THERE", Some("2026-03-05")), "2026-03-04", false);
        assert_eq!(within, Some(Refusal::DayInStay("S".into())));
    }

    #[test]
    fn a_visit_within_a_stay_is_part_of_it_and_the_days_at_its_ends_are_not() {
        let visit = |stay: &Stay, on: &str| refused(stay, on, Care::Outpatient, false, "I10");
        for facility in ["HERE", "THERE"] {
            let left = lying(facility, Some("2026-03-05"));
            for (on, free) in
                [("2026-03-02", true), ("2026-03-03", false), ("2026-03-04", false), ("2026-03-05", true)]
            {
                assert_eq!(visit(&left, on).is_none(), free, "{facility} {on}");
            }
        }
        assert_eq!(visit(&lying("HERE", None), "2026-03-02"), OPEN, "admitted out of the clinic");
        assert_eq!(visit(&lying("HERE", None), "2026-03-03"), Some(Refusal::StayOpen("S".into())));
        assert_eq!(visit(&lying("THERE", None), "2026-03-20"), OPEN, "it may be forgotten there");
    }

    #[test]
    fn a_newborn_is_not_in_the_way_of_its_mother_nor_she_of_it() {
        let mother = lying("HERE", None);
        for diagnosis in ["P22.0", "Z38.0"] {
            assert_eq!(refused(&mother, "2026-03-04", Care::Inpatient, false, diagnosis), OPEN);
            let baby = Stay { diagnosis: code(diagnosis), ..mother.clone() };
            assert_eq!(refused(&baby, "2026-03-04", Care::Inpatient, false, "O86.0"), OPEN);
        }
        assert!(refused(&mother, "2026-03-04", Care::Inpatient, false, "Z39.2").is_some());
    }

    proptest! {
        #[test]
        fn what_is_refused_once_a_stay_is_over_was_refused_while_it_was_open(
            admitted in 0i32..30, stayed in 0i32..20, asked in 0i32..60, inpatient: bool, emergency: bool,
        ) {
            let at = |days: i32| day("2026-03-01").saturating_add(jiff::Span::new().days(days));
            let diagnosis = code("I10");
            let care = if inpatient { Care::Inpatient } else { Care::Outpatient };
            let wanted = Wanted { facility_code: "HERE", service_date: at(asked), care, emergency, diagnosis: &diagnosis };
            let open = Stay { admitted_on: at(admitted), ..lying("HERE", None) };
            let over = Stay { discharged_on: Some(at(admitted + stayed)), ..open.clone() };
            let (while_open, after) = (
                in_the_way(&rules(), &wanted, &[open]).is_some(),
                in_the_way(&rules(), &wanted, &[over]).is_some(),
            );
            prop_assert!(!after || while_open);
            prop_assert!(!after || (asked > admitted && asked < admitted + stayed));
        }
    }
}

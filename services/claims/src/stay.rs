//! One stay at a time: whether an in-patient stay of the member stands in the way of a SEP, by `policy/claims/stay.toml`.
//!
//! The days of admission and discharge belong to nobody alone: a patient is sent on from one hospital to the next on a day,
//! comes back on the day of discharge, or is admitted out of a clinic. Only the days between them lie within the stay.

use chassis::policy::Rule;
use jiff::civil::Date;
use serde::Deserialize;

use crate::{
    episode::Care,
    sep::{Patient, Refusal},
};

/// The rules of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
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
    /// Whom it is for.
    pub patient: Patient,
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
    /// Whom it is for.
    pub patient: Patient,
}

/// What of the stays on the member's card stands in the way; the first of them that does.
#[must_use]
pub fn in_the_way(rules: &Rules, wanted: &Wanted<'_>, stays: &[Stay]) -> Option<Refusal> {
    stays.iter().find_map(|stay| judge(rules, wanted, stay))
}

fn judge(rules: &Rules, wanted: &Wanted<'_>, stay: &Stay) -> Option<Refusal> {
    // A newborn on its mother's card lies in a bed of its own.
    if wanted.patient != stay.patient {
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
    use uuid::Uuid;

    use super::*;

    const MEMBER: Patient = Patient { member_id: Uuid::nil(), newborn_order: 0 };

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/stay.toml");
        chassis::policy::parse::<Rules>("claims/stay.toml", text).unwrap().versions()[0].rule
    }

    fn lying(facility_code: &str, discharged_on: Option<&str>) -> Stay {
        Stay {
            sep_number: "S".into(),
            facility_code: facility_code.into(),
            admitted_on: day("2026-03-02"),
            discharged_on: discharged_on.map(day),
            patient: MEMBER,
        }
    }

    fn refused(stay: &Stay, on: &str, care: Care, emergency: bool) -> Option<Refusal> {
        let wanted =
            Wanted { facility_code: "HERE", service_date: day(on), care, emergency, patient: MEMBER };
        in_the_way(&rules(), &wanted, std::slice::from_ref(stay))
    }

    const OPEN: Option<Refusal> = None;

    #[test]
    fn nobody_is_admitted_twice() {
        let (here, elsewhere) = (lying("HERE", None), lying("THERE", None));
        let again = |stay: &Stay, on: &str, emergency: bool| refused(stay, on, Care::Inpatient, emergency);
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
        let visit = |stay: &Stay, on: &str| refused(stay, on, Care::Outpatient, false);
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
    fn mother_and_newborns_on_her_card_lie_each_in_a_bed_of_its_own() {
        for lying_order in 0..=2 {
            let lying_there = Patient { newborn_order: lying_order, ..MEMBER };
            let stay = Stay { patient: lying_there, ..lying("HERE", None) };
            for newborn_order in 0..=2 {
                let wanted = Wanted {
                    facility_code: "HERE",
                    service_date: day("2026-03-04"),
                    care: Care::Inpatient,
                    emergency: false,
                    patient: Patient { newborn_order, ..MEMBER },
                };
                let refused = in_the_way(&rules(), &wanted, std::slice::from_ref(&stay));
                assert_eq!(refused.is_some(), newborn_order == lying_order, "{newborn_order}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_refused_once_a_stay_is_over_was_refused_while_it_was_open(
            admitted in 0i32..30, stayed in 0i32..20, asked in 0i32..60, inpatient: bool, emergency: bool,
        ) {
            let at = |days: i32| day("2026-03-01").saturating_add(jiff::Span::new().days(days));
            let care = if inpatient { Care::Inpatient } else { Care::Outpatient };
            let wanted = Wanted { facility_code: "HERE", service_date: at(asked), care, emergency, patient: MEMBER };
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

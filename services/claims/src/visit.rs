//! What a SEP says of the purpose of an out-patient visit (V-Claim tujuanKunj, flagProcedure, kdPenunjang, assesmentPel): which
//! of it belongs together, by `policy/claims/visit.toml`.

use chassis::policy::Rule;
use jiff::civil::Date;
use serde::Deserialize;

/// Purpose of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// As usual.
    Normal,
    /// For a procedure.
    Procedure,
    /// To consult.
    Consultation,
}

impl Purpose {
    const fn name(self) -> &'static str {
        match self {
            Self::Normal => "a normal visit",
            Self::Procedure => "a procedure",
            Self::Consultation => "a consultation",
        }
    }
}

/// Whether a procedure belongs to a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// Once.
    Once,
    /// One of a course.
    Course,
}

/// Service that a procedure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// Radiotherapy.
    Radiotherapy,
    /// Chemotherapy.
    Chemotherapy,
    /// Medical rehabilitation.
    MedicalRehabilitation,
    /// Psychosocial rehabilitation.
    PsychosocialRehabilitation,
    /// Blood transfusion.
    BloodTransfusion,
    /// Dental service.
    Dental,
    /// Laboratory.
    Laboratory,
    /// Ultrasound.
    Ultrasound,
    /// Pharmacy.
    Pharmacy,
    /// Another.
    Other,
    /// Magnetic resonance imaging.
    Mri,
    /// Haemodialysis.
    Haemodialysis,
}

impl Service {
    /// Every service, in the order of V-Claim's numbers from 1.
    pub const ALL: [Self; 12] = [
        Self::Radiotherapy,
        Self::Chemotherapy,
        Self::MedicalRehabilitation,
        Self::PsychosocialRehabilitation,
        Self::BloodTransfusion,
        Self::Dental,
        Self::Laboratory,
        Self::Ultrasound,
        Self::Pharmacy,
        Self::Other,
        Self::Mri,
        Self::Haemodialysis,
    ];
}

/// Whether a field is given with a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Need {
    Required,
    Optional,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Needs {
    procedure_flag: Need,
    supporting_service: Need,
    visit_assessment: Need,
}

/// The rules of a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    once: Vec<Service>,
    course: Vec<Service>,
    another_clinic_on_another_day_needs_assessment: bool,
    normal: Needs,
    procedure: Needs,
    consultation: Needs,
}

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        let listed = |service: &Service| self.once.contains(service) || self.course.contains(service);
        match Service::ALL.iter().find(|service| !listed(service)) {
            Some(service) => Err(format!("{service:?} must stand in once or course")),
            None => Ok(()),
        }
    }
}

/// What is stated of a visit.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// Its purpose.
    pub purpose: Purpose,
    /// Whether its procedure belongs to a course.
    pub flag: Option<Flag>,
    /// The service that the procedure is.
    pub service: Option<Service>,
    /// Whether it says why it was not the day before, or what for.
    pub assessed: bool,
}

/// The fields that do not belong to the purpose or to each other, and how. All of them.
#[must_use]
pub fn wrong(rules: &Rules, visit: &Visit) -> Vec<(&'static str, String)> {
    let needs = match visit.purpose {
        Purpose::Normal => &rules.normal,
        Purpose::Procedure => &rules.procedure,
        Purpose::Consultation => &rules.consultation,
    };
    let mut wrong = Vec::new();
    let given = [
        ("procedure_flag", needs.procedure_flag, visit.flag.is_some()),
        ("supporting_service", needs.supporting_service, visit.service.is_some()),
        ("visit_assessment", needs.visit_assessment, visit.assessed),
    ];
    for (field, need, given) in given {
        match (need, given) {
            (Need::Required, false) => {
                wrong.push((field, format!("must be set for {}", visit.purpose.name())))
            }
            (Need::None, true) => wrong.push((field, format!("must be unset for {}", visit.purpose.name()))),
            _ => {}
        }
    }
    if let (Some(flag), Some(service)) = (visit.flag, visit.service)
        && wrong.is_empty()
    {
        let (fits, text) = match flag {
            Flag::Once => (rules.once.contains(&service), "is given in a course; set PROCEDURE_FLAG_COURSE"),
            Flag::Course => (rules.course.contains(&service), "is given once; set PROCEDURE_FLAG_ONCE"),
        };
        if !fits {
            wrong.push(("supporting_service", text.to_owned()));
        }
    }
    wrong
}

/// Where a visit came from, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Clinic that the referral is for; empty without one.
    pub referral_clinic: &'a str,
    /// Day of the SEP that led to it.
    pub led_on: Option<Date>,
}

/// Whether a visit has to say why it was not made on the day of the SEP that led to it, and does not.
#[must_use]
pub fn lacks_assessment(rules: &Rules, visit: &Visit, clinic: &str, on: Date, origin: Origin<'_>) -> bool {
    let another_clinic = !origin.referral_clinic.is_empty() && origin.referral_clinic != clinic;
    let another_day = origin.led_on.is_some_and(|day| day != on);
    rules.another_clinic_on_another_day_needs_assessment
        && visit.purpose == Purpose::Normal
        && !visit.assessed
        && another_clinic
        && another_day
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/visit.toml");
        chassis::policy::parse::<Rules>("claims/visit.toml", text).unwrap().versions()[0].rule.clone()
    }

    fn fields(
        purpose: Purpose,
        flag: Option<Flag>,
        service: Option<Service>,
        assessed: bool,
    ) -> Vec<&'static str> {
        let visit = Visit { purpose, flag, service, assessed };
        wrong(&rules(), &visit).into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn each_purpose_has_its_fields_and_no_others() {
        use Purpose::{Consultation, Normal, Procedure};
        assert!(fields(Normal, None, None, false).is_empty() && fields(Normal, None, None, true).is_empty());
        let (flag, service) = (Some(Flag::Course), Some(Service::Haemodialysis));
        assert_eq!(fields(Normal, flag, service, false), ["procedure_flag", "supporting_service"]);
        assert!(fields(Procedure, flag, service, false).is_empty());
        assert_eq!(
            fields(Procedure, None, None, true),
            ["procedure_flag", "supporting_service", "visit_assessment"]
        );
        assert!(fields(Consultation, None, None, true).is_empty());
        assert_eq!(
            fields(Consultation, flag, service, false),
            ["procedure_flag", "supporting_service", "visit_assessment"]
        );
    }

    #[test]
    fn a_service_is_given_once_or_in_a_course() {
        let of = |flag, service| fields(Purpose::Procedure, Some(flag), Some(service), false);
        for service in Service::ALL {
            let once = of(Flag::Once, service).is_empty();
            assert_ne!(once, of(Flag::Course, service).is_empty(), "{service:?}");
        }
        assert!(of(Flag::Once, Service::Mri).is_empty());
        assert_eq!(of(Flag::Once, Service::Haemodialysis), ["supporting_service"]);
        let short = Rules { once: vec![], ..rules() };
        assert!(short.check().unwrap_err().contains("Laboratory"));
    }

    #[test]
    fn another_clinic_on_another_day_says_why() {
        let day = |text: &str| -> Date { text.parse().unwrap() };
        let lacks = |purpose, assessed, clinic: &str, led_on: Option<&str>| {
            let visit = Visit { purpose, flag: None, service: None, assessed };
            let origin = Origin { referral_clinic: "INT", led_on: led_on.map(day) };
            lacks_assessment(&rules(), &visit, clinic, day("2026-03-05"), origin)
        };
        assert!(lacks(Purpose::Normal, false, "JAN", Some("2026-03-04")));
        assert!(!lacks(Purpose::Normal, true, "JAN", Some("2026-03-04")));
        assert!(!lacks(Purpose::Normal, false, "JAN", Some("2026-03-05")), "the same day");
        assert!(!lacks(Purpose::Normal, false, "INT", Some("2026-03-04")), "the clinic of the referral");
        assert!(!lacks(Purpose::Normal, false, "JAN", None), "the first visit");
        assert!(!lacks(Purpose::Procedure, false, "JAN", Some("2026-03-04")));
    }

    proptest! {
        #[test]
        fn a_field_is_named_once(
            purpose in prop_oneof![Just(Purpose::Normal), Just(Purpose::Procedure), Just(Purpose::Consultation)],
            flag in proptest::option::of(prop_oneof![Just(Flag::Once), Just(Flag::Course)]),
            service in proptest::option::of((0usize..12).prop_map(|n| Service::ALL[n])),
            assessed: bool,
        ) {
            let named = fields(purpose, flag, service, assessed);
            let mut once = named.clone();
            once.dedup();
            prop_assert_eq!(&named, &once);
            prop_assert!(named.len() <= 3);
        }
    }
}

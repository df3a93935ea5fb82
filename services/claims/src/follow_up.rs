//! Letters that one SEP leads to and the next cites: control letter, in-patient order (SPRI), internal referral. When one
//! may be made, and when a SEP may cite it. The figures are those of `policy/claims/follow-up.toml`.

use chassis::policy::Rule;
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;

use crate::{episode::Care, sep::Patient};

/// The rules of a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    days_after_referral: i64,
    days_off_plan: i64,
    control_after_emergency: bool,
}

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        if !(1..=366).contains(&self.days_after_referral) {
            return Err("days-after-referral must be 1 to 366".into());
        }
        if !(0..=30).contains(&self.days_off_plan) {
            return Err("days-off-plan must be 0 to 30".into());
        }
        Ok(())
    }
}

/// Kind of letter. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// In-patient order.
    InpatientOrder = 1,
    /// Control letter.
    Control = 2,
    /// Internal referral.
    InternalReferral = 3,
}

impl Kind {
    /// The kind of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::InpatientOrder, Self::Control, Self::InternalReferral]
            .into_iter()
            .find(|kind| *kind as i16 == number)
    }

    /// The letter in its number.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::InpatientOrder | Self::Control => "K",
            Self::InternalReferral => "N",
        }
    }

    /// The kind of care it leads to.
    #[must_use]
    pub const fn care(self) -> Care {
        match self {
            Self::InpatientOrder => Care::Inpatient,
            Self::Control | Self::InternalReferral => Care::Outpatient,
        }
    }
}

/// The SEP that leads to a letter, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Base<'a> {
    /// Day of service.
    pub service_date: Date,
    /// Kind of care.
    pub care: Care,
    /// Clinic; empty for in-patient care.
    pub clinic: &'a str,
    /// Day of the referral that the chain of SEPs began with.
    pub referral_date: Option<Date>,
    /// Day on which an in-patient left.
    pub discharged_on: Option<Date>,
}

/// What a letter is to say.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Clinic.
    pub clinic: &'a str,
    /// Planned day.
    pub planned_on: Date,
}

/// A reason against a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    /// The planned day has passed.
    DayPassed,
    /// A control is planned for the day of the SEP or of the discharge, or before; another letter before the SEP.
    DayTooEarly,
    /// The planned day lies after the last one that the referral or the stay allows.
    DayTooLate,
    /// A control after a visit is for another clinic.
    ClinicNotOfVisit,
    /// An internal referral is for the clinic the patient was at.
    ClinicOfVisit,
    /// An in-patient order or internal referral on a stay.
    NotAVisit,
    /// A control letter or internal referral on an emergency, which no referral led to.
    NoReferral,
}

impl Against {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DayPassed => "DAY_PASSED",
            Self::DayTooEarly => "DAY_TOO_EARLY",
            Self::DayTooLate => "DAY_TOO_LATE",
            Self::ClinicNotOfVisit => "CLINIC_NOT_OF_VISIT",
            Self::ClinicOfVisit => "CLINIC_OF_VISIT",
            Self::NotAVisit => "NOT_A_VISIT",
            Self::NoReferral => "NO_REFERRAL",
        }
    }
}

/// The last day for which a letter can be planned. A stay starts the days anew; without a referral they run from the SEP.
#[must_use]
pub fn usable_through(rules: &Rules, base: &Base<'_>) -> Date {
    let from = match base.care {
        Care::Inpatient => base.discharged_on.unwrap_or(base.service_date),
        Care::Outpatient => base.referral_date.unwrap_or(base.service_date),
    };
    from.saturating_add(rules.days_after_referral.days())
}

/// Every reason against a letter.
#[must_use]
pub fn judge(rules: &Rules, base: &Base<'_>, plan: &Plan<'_>, today: Date) -> Vec<Against> {
    let visit = base.care == Care::Outpatient;
    let early = match plan.kind {
        Kind::Control => plan.planned_on <= base.discharged_on.unwrap_or(base.service_date),
        Kind::InpatientOrder | Kind::InternalReferral => plan.planned_on < base.service_date,
    };
    let unreferred = visit
        && base.referral_date.is_none()
        && plan.kind != Kind::InpatientOrder
        && !rules.control_after_emergency;
    let found = [
        (plan.planned_on < today, Against::DayPassed),
        (early, Against::DayTooEarly),
        (plan.planned_on > usable_through(rules, base), Against::DayTooLate),
        (plan.kind == Kind::Control && visit && plan.clinic != base.clinic, Against::ClinicNotOfVisit),
        (plan.kind == Kind::InternalReferral && plan.clinic == base.clinic, Against::ClinicOfVisit),
        (plan.kind != Kind::Control && !visit, Against::NotAVisit),
        (unreferred, Against::NoReferral),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, against)| against).collect()
}

/// A letter that was made, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Patient.
    pub patient: Patient,
    /// Clinic.
    pub clinic: &'a str,
    /// Doctor.
    pub doctor_code: &'a str,
    /// Planned day.
    pub planned_on: Date,
    /// Last day.
    pub usable_through: Date,
    /// Whether it is cancelled.
    pub cancelled: bool,
    /// Whether a SEP cites it.
    pub used: bool,
}

/// The SEP that cites a letter, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Citing<'a> {
    /// Day of service.
    pub service_date: Date,
    /// Kind of care.
    pub care: Care,
    /// Patient.
    pub patient: Patient,
    /// Clinic; empty for in-patient care.
    pub clinic: &'a str,
    /// Doctor.
    pub doctor_code: &'a str,
}

/// Why a letter cannot be cited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotUsable {
    /// The facility has made no letter with this number.
    UnknownNumber,
    /// It is cancelled.
    Cancelled,
    /// A SEP cites it.
    Used,
    /// It was changed at the same time.
    Changed,
    /// It is another member's, or another patient's on the same card.
    OtherMember,
    /// It leads to another kind of care.
    OtherCareType,
    /// It is for another clinic.
    OtherClinic,
    /// It is for another doctor.
    OtherDoctor,
    /// It is for another day.
    OtherDay,
    /// The day of service lies after its last day.
    ValidityEnded,
}

impl NotUsable {
    /// Its name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownNumber => "UNKNOWN_NUMBER",
            Self::Cancelled => "CANCELLED",
            Self::Used => "USED",
            Self::Changed => "CHANGED",
            Self::OtherMember => "OTHER_MEMBER",
            Self::OtherCareType => "OTHER_CARE_TYPE",
            Self::OtherClinic => "OTHER_CLINIC",
            Self::OtherDoctor => "OTHER_DOCTOR",
            Self::OtherDay => "OTHER_DAY",
            Self::ValidityEnded => "VALIDITY_ENDED",
        }
    }
}

/// Why a SEP cannot cite a letter; nothing when it can.
#[must_use]
pub fn not_usable(rules: &Rules, letter: &Letter<'_>, sep: &Citing<'_>) -> Vec<NotUsable> {
    let off =
        letter.planned_on.until(sep.service_date).map_or(i64::MAX, |span| i64::from(span.get_days()).abs());
    let found = [
        (letter.cancelled, NotUsable::Cancelled),
        (letter.used, NotUsable::Used),
        (letter.patient != sep.patient, NotUsable::OtherMember),
        (letter.kind.care() != sep.care, NotUsable::OtherCareType),
        // An admission is to a ward: its SEP names no clinic.
        (sep.care == Care::Outpatient && letter.clinic != sep.clinic, NotUsable::OtherClinic),
        (letter.doctor_code != sep.doctor_code, NotUsable::OtherDoctor),
        (off > rules.days_off_plan, NotUsable::OtherDay),
        (sep.service_date > letter.usable_through, NotUsable::ValidityEnded),
    ];
    found.into_iter().filter(|(holds, _)| *holds).map(|(_, why)| why).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn patient() -> Patient {
        Patient { member_id: Uuid::now_v7(), newborn_order: 0 }
    }

    fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/follow-up.toml");
        let dated = chassis::policy::parse::<Rules>("claims/follow-up.toml", text).unwrap();
        dated.on(day("2026-03-02")).unwrap().rule.clone()
    }

    /// A visit on a referral of the same day.
    fn visit() -> Base<'static> {
        Base {
            service_date: day("2026-03-02"),
            care: Care::Outpatient,
            clinic: "INT",
            referral_date: Some(day("2026-03-01")),
            discharged_on: None,
        }
    }

    fn stay() -> Base<'static> {
        Base { care: Care::Inpatient, clinic: "", referral_date: None, ..visit() }
    }

    fn against(base: &Base<'_>, kind: Kind, clinic: &str, planned_on: &str) -> Vec<Against> {
        let plan = Plan { kind, clinic, planned_on: day(planned_on) };
        judge(&rules(), base, &plan, day("2026-03-02"))
    }

    #[test]
    fn day_ninety_after_the_referral_is_usable_and_day_ninety_one_is_not() {
        assert_eq!(usable_through(&rules(), &visit()), day("2026-05-30"));
        assert_eq!(against(&visit(), Kind::Control, "INT", "2026-05-30"), []);
        assert_eq!(against(&visit(), Kind::Control, "INT", "2026-05-31"), [Against::DayTooLate]);
    }

    #[test]
    fn a_control_is_after_the_visit_and_an_internal_referral_may_be_the_same_day() {
        assert_eq!(against(&visit(), Kind::Control, "INT", "2026-03-02"), [Against::DayTooEarly]);
        assert_eq!(against(&visit(), Kind::Control, "INT", "2026-03-03"), []);
        assert_eq!(against(&visit(), Kind::InternalReferral, "SAR", "2026-03-02"), []);
        assert_eq!(
            against(&visit(), Kind::InternalReferral, "SAR", "2026-03-01"),
            [Against::DayPassed, Against::DayTooEarly]
        );
    }

    #[test]
    fn a_control_keeps_the_clinic_and_an_internal_referral_changes_it() {
        assert_eq!(against(&visit(), Kind::Control, "SAR", "2026-03-09"), [Against::ClinicNotOfVisit]);
        assert_eq!(against(&visit(), Kind::InternalReferral, "INT", "2026-03-09"), [Against::ClinicOfVisit]);
        assert_eq!(against(&visit(), Kind::InpatientOrder, "BED", "2026-03-09"), []);
    }

    #[test]
    fn a_stay_leads_to_a_control_only_and_starts_the_days_anew() {
        assert_eq!(against(&stay(), Kind::Control, "INT", "2026-03-09"), []);
        assert_eq!(against(&stay(), Kind::InpatientOrder, "INT", "2026-03-09"), [Against::NotAVisit]);
        let left = Base { discharged_on: Some(day("2026-03-08")), ..stay() };
        assert_eq!(against(&left, Kind::Control, "INT", "2026-03-08"), [Against::DayTooEarly]);
        assert_eq!(usable_through(&rules(), &left), day("2026-06-06"));
    }

    #[test]
    fn an_emergency_leads_to_an_admission_but_to_no_control() {
        let emergency = Base { referral_date: None, ..visit() };
        assert_eq!(against(&emergency, Kind::InpatientOrder, "BED", "2026-03-02"), []);
        assert_eq!(against(&emergency, Kind::Control, "INT", "2026-03-09"), [Against::NoReferral]);
        assert_eq!(against(&emergency, Kind::InternalReferral, "SAR", "2026-03-09"), [Against::NoReferral]);
    }

    #[test]
    fn a_sep_must_be_the_one_the_letter_is_for_and_every_difference_is_told() {
        let patient = patient();
        let letter = Letter {
            kind: Kind::Control,
            patient,
            clinic: "INT",
            doctor_code: "31574",
            planned_on: day("2026-03-09"),
            usable_through: day("2026-05-30"),
            cancelled: false,
            used: false,
        };
        let sep = Citing {
            service_date: day("2026-03-09"),
            care: Care::Outpatient,
            patient,
            clinic: "INT",
            doctor_code: "31574",
        };
        assert_eq!(not_usable(&rules(), &letter, &sep), []);
        let other = Citing {
            service_date: day("2026-05-31"),
            care: Care::Outpatient,
            patient: Patient { newborn_order: 1, ..patient },
            clinic: "SAR",
            doctor_code: "",
        };
        use NotUsable::{
            Cancelled, OtherCareType, OtherClinic, OtherDay, OtherDoctor, OtherMember, Used, ValidityEnded,
        };
        let spent = Letter { cancelled: true, used: true, ..letter };
        assert_eq!(
            not_usable(&rules(), &spent, &other),
            [Cancelled, Used, OtherMember, OtherClinic, OtherDoctor, OtherDay, ValidityEnded]
        );
        let stranger = Citing { patient: self::patient(), ..sep };
        assert_eq!(not_usable(&rules(), &letter, &stranger), [OtherMember]);
        let admission = Citing { care: Care::Inpatient, clinic: "", ..sep };
        assert_eq!(not_usable(&rules(), &letter, &admission), [OtherCareType]);
        let order = Letter { kind: Kind::InpatientOrder, clinic: "BED", ..letter };
        assert_eq!(not_usable(&rules(), &order, &admission), []);
    }

    proptest! {
        #[test]
        fn what_may_be_planned_may_be_used_on_its_day_and_on_no_other(
            after in -5..120i64, off in -3..4i64, stayed in any::<bool>(), referred in proptest::option::of(0..100i64),
        ) {
            let referral_date = referred.map(|days| day("2026-03-02").saturating_sub(days.days()));
            let base = Base { referral_date, ..if stayed { stay() } else { visit() } };
            let planned_on = day("2026-03-02").saturating_add(after.days());
            let plan = Plan { kind: Kind::Control, clinic: "INT", planned_on };
            if judge(&rules(), &base, &plan, day("2026-03-02")).is_empty() {
                let patient = patient();
                let usable_through = usable_through(&rules(), &base);
                let letter = Letter {
                    kind: plan.kind, patient, clinic: "INT", doctor_code: "1", planned_on, usable_through,
                    cancelled: false, used: false,
                };
                let service_date = planned_on.saturating_add(off.days());
                let sep = Citing { service_date, care: Care::Outpatient, patient, clinic: "INT", doctor_code: "1" };
                prop_assert!(planned_on > base.service_date && planned_on <= usable_through);
                prop_assert_eq!(not_usable(&rules(), &letter, &sep).is_empty(), off == 0);
            }
        }
    }
}

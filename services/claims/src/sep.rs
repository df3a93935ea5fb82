//! Whether a SEP may be issued: what was asked for, judged by the answers of membership, referral and accreditation
//! and by `policy/claims/sep.toml`. Every reason against it is told at once.

use chassis::policy::Rule;
use jiff::{Timestamp, civil::Date};
use serde::Deserialize;
use uuid::Uuid;
use vocabulary::{CareClass, Poli};

use crate::{approval::Standing, episode::Care, follow_up::NotUsable, supplement};

/// The rules of a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    pub(crate) inpatient_entry_hours: i64,
    pub(crate) outpatient_late_days: i64,
    pub(crate) approval_days: i64,
    pub(crate) fingerprint_clinics: Vec<Poli>,
    pub(crate) fingerprint_from_age: i16,
    no_upgrade_from: Vec<u8>,
    most_upgrade_levels: u8,
    emergency_needs_contract: bool,
    emergency_needs_certificate: bool,
}

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        if !(1..=720).contains(&self.inpatient_entry_hours) {
            return Err("inpatient-entry-hours must be 1 to 720".into());
        }
        if !(0..=30).contains(&self.outpatient_late_days) {
            return Err("outpatient-late-days must be 0 to 30".into());
        }
        if !(1..=60).contains(&self.approval_days) {
            return Err("approval-days must be 1 to 60".into());
        }
        if !(0..=120).contains(&self.fingerprint_from_age) {
            return Err("fingerprint-from-age must be 0 to 120".into());
        }
        if self.no_upgrade_from.iter().any(|class| !(1..=3).contains(class)) {
            return Err("no-upgrade-from must hold classes 1 to 3".into());
        }
        if self.most_upgrade_levels > 3 {
            return Err("most-upgrade-levels must be 0 to 3".into());
        }
        Ok(())
    }
}

/// Whom a SEP is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Patient {
    /// Member.
    pub member_id: Uuid,
    /// 0 for the member, else which newborn on its card.
    pub newborn_order: i16,
}

/// What is asked for, as far as it decides.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Day of service.
    pub service_date: Date,
    /// Kind of care.
    pub care: Care,
    /// Whether the patient came as an emergency.
    pub emergency: bool,
    /// Whether a referral is cited, or a letter that stands for one.
    pub cites_referral: bool,
    /// When an in-patient was admitted.
    pub admitted_at: Option<Timestamp>,
    /// The class upgrade, as a level: class 3 is 0, class 2 is 1, class 1 is 2, VIP is 3.
    pub upgrade_to: Option<u8>,
}

/// What the others answered, as far as it decides.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Why the member is not eligible; empty when it is.
    pub ineligible: Vec<String>,
    /// Entitled class.
    pub class: Option<CareClass>,
    /// Why the referral cannot be used; empty when it can or none is cited.
    pub unusable: Vec<String>,
    /// Whether the registry knows the facility as one of referral level.
    pub referral_level: bool,
    /// Whether it has a contract.
    pub contracted: bool,
    /// Whether it is certified, or need not be.
    pub certified: bool,
    /// The last certificate, for the message.
    pub certificate: String,
}

/// A reason against a SEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The member is not eligible, and why.
    NotEligible(Vec<String>),
    /// The referral cannot be used, and why.
    ReferralNotUsable(Vec<String>),
    /// Neither a referral nor an emergency.
    ReferralRequired,
    /// No contract.
    NotContracted,
    /// No valid certificate; the last one.
    NotCertified(String),
    /// Not a facility of referral level.
    NotReferralLevel,
    /// The upgrade is not open to the entitled class.
    UpgradeNotAllowed(CareClass),
    /// More hours have passed since admission than allowed, and no approval holds.
    EntryTooLate {
        /// The hours allowed.
        hours: i64,
        /// What became of an approval.
        approval: Standing,
    },
    /// The day of service lies further back than allowed, and no approval holds.
    BackdateNotApproved {
        /// The days allowed.
        days: i64,
        /// What became of an approval.
        approval: Standing,
    },
    /// The clinic asks for a fingerprint, and there is neither one nor an approval; what became of an approval.
    FingerprintRequired(Standing),
    /// The letter cited cannot be used, and why.
    FollowUpNotUsable(Vec<NotUsable>),
    /// Other payers come first for the accident: these, in words.
    AccidentPayerWrong(String),
    /// A traffic accident without a police report.
    PoliceReportRequired,
    /// The SEP named as the first of the accident is not one, and why.
    SupplementNotUsable(Vec<supplement::NotUsable>),
    /// The member has an open SEP for this clinic and day: its number.
    Exists(String),
    /// The member has an in-patient SEP without a discharge: its number.
    StayOpen(String),
    /// The day lies within an in-patient stay: the number of its SEP.
    DayInStay(String),
    /// A visit to another clinic than the referral's on another day does not say why.
    AssessmentRequired,
}

/// Whether the day of service lies in the future: then nobody need be asked.
#[must_use]
pub fn is_in_future(service_date: Date, today: Date) -> bool {
    service_date > today
}

/// The reasons against a SEP, each told once: the stay that an open SEP is needs no telling beside that SEP.
#[must_use]
pub fn told_once(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    let open: Vec<_> = refusals
        .iter()
        .filter_map(|refusal| if let Refusal::Exists(number) = refusal { Some(number.clone()) } else { None })
        .collect();
    refusals.retain(|refusal| !matches!(refusal, Refusal::StayOpen(number) if open.contains(number)));
    refusals
}

/// Every reason against the SEP that the answers give. What is cited beside the referral is judged by its own subject:
/// [`crate::approval`], [`crate::follow_up`], [`crate::accident`].
#[must_use]
pub fn judge(rules: &Rules, wanted: &Wanted, answers: &Answers) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !answers.ineligible.is_empty() {
        refusals.push(Refusal::NotEligible(answers.ineligible.clone()));
    }
    if !answers.unusable.is_empty() {
        refusals.push(Refusal::ReferralNotUsable(answers.unusable.clone()));
    }
    if !wanted.emergency && !wanted.cites_referral {
        refusals.push(Refusal::ReferralRequired);
    }
    if answers.referral_level {
        if !answers.contracted && (!wanted.emergency || rules.emergency_needs_contract) {
            refusals.push(Refusal::NotContracted);
        }
        if !answers.certified && (!wanted.emergency || rules.emergency_needs_certificate) {
            refusals.push(Refusal::NotCertified(answers.certificate.clone()));
        }
    } else {
        refusals.push(Refusal::NotReferralLevel);
    }
    if let (Some(level), Some(class)) = (wanted.upgrade_to, answers.class)
        && !upgrade_is_open(rules, class, level)
    {
        refusals.push(Refusal::UpgradeNotAllowed(class));
    }
    refusals
}

/// Whether an upgrade to a level is open to an entitled class.
#[must_use]
pub fn upgrade_is_open(rules: &Rules, class: CareClass, level: u8) -> bool {
    let entitled = 3 - class.number();
    !rules.no_upgrade_from.contains(&class.number())
        && level > entitled
        && level - entitled <= rules.most_upgrade_levels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/sep.toml");
        let dated = chassis::policy::parse::<Rules>("claims/sep.toml", text).unwrap();
        dated.on("2026-03-02".parse().unwrap()).unwrap().rule.clone()
    }

    fn wanted() -> Wanted {
        Wanted {
            service_date: "2026-03-02".parse().unwrap(),
            care: Care::Outpatient,
            emergency: false,
            cites_referral: true,
            admitted_at: None,
            upgrade_to: None,
        }
    }

    fn good() -> Answers {
        Answers {
            class: Some(CareClass::Two),
            referral_level: true,
            contracted: true,
            certified: true,
            ..Answers::default()
        }
    }

    fn judged(wanted: &Wanted, answers: &Answers) -> Vec<Refusal> {
        judge(&rules(), wanted, answers)
    }

    #[test]
    fn with_good_answers_it_is_issued() {
        assert_eq!(judged(&wanted(), &good()), vec![]);
    }

    #[test]
    fn every_reason_is_told_at_once() {
        let answers = Answers {
            ineligible: vec!["SUSPENDED_FOR_ARREARS".into()],
            unusable: vec!["VALIDITY_ENDED".into()],
            contracted: false,
            certified: false,
            certificate: "C-1".into(),
            ..good()
        };
        assert_eq!(judged(&wanted(), &answers).len(), 4);
        let none = Wanted { cites_referral: false, ..wanted() };
        assert_eq!(judged(&none, &good()), vec![Refusal::ReferralRequired]);
        let unknown = Answers { referral_level: false, ..good() };
        assert_eq!(judged(&wanted(), &unknown), vec![Refusal::NotReferralLevel]);
    }

    #[test]
    fn an_open_sep_is_told_once() {
        let number = |text: &str| text.to_owned();
        let stays = |number| vec![Refusal::StayOpen(number), Refusal::ReferralRequired];
        let own = [vec![Refusal::Exists(number("A"))], stays(number("A"))].concat();
        assert_eq!(told_once(own), [Refusal::Exists(number("A")), Refusal::ReferralRequired]);
        let others = [vec![Refusal::Exists(number("A"))], stays(number("B"))].concat();
        assert_eq!(told_once(others.clone()), others);
        assert_eq!(told_once(stays(number("A"))), stays(number("A")));
    }

    #[test]
    fn an_emergency_is_served_anywhere_and_without_a_referral() {
        let emergency = Wanted { emergency: true, cites_referral: false, ..wanted() };
        assert_eq!(judged(&emergency, &Answers { contracted: false, certified: false, ..good() }), vec![]);
        let suspended = Answers { ineligible: vec!["MEMBERSHIP_ENDED".into()], ..good() };
        assert_eq!(judged(&emergency, &suspended).len(), 1, "but eligible the member must be");
    }

    #[test]
    fn an_upgrade_is_one_level_and_none_from_class_three() {
        let open = |class, level| {
            let answers = Answers { class: Some(class), ..good() };
            judged(&Wanted { care: Care::Inpatient, upgrade_to: Some(level), ..wanted() }, &answers)
                .is_empty()
        };
        assert!(open(CareClass::Two, 2) && open(CareClass::One, 3));
        assert!(!open(CareClass::Two, 3) && !open(CareClass::Three, 1));
        assert!(!open(CareClass::One, 2), "the entitled class is no upgrade");
    }

    #[test]
    fn tomorrow_is_the_future_and_today_is_not() {
        let today = "2026-03-02".parse().unwrap();
        assert!(!is_in_future(today, today) && is_in_future("2026-03-03".parse().unwrap(), today));
    }
}

//! When a SEP comes late, or without the fingerprint its clinic asks for, BPJS Kesehatan must have approved that: what is
//! needed, and what became of what was asked for. The figures are those of `policy/claims/sep.toml`.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Date};
use uuid::Uuid;

use crate::{
    episode::Care,
    sep::{Refusal, Rules, Wanted},
};

/// Kind of approval. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Kind {
    /// The SEP comes late.
    Backdate = 1,
    /// The fingerprint is missing.
    Fingerprint = 2,
}

/// A request for approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: Uuid,
    /// Its kind, a number of [`Kind`].
    pub kind: i16,
    /// Whether it was approved; `None` while nobody decided.
    pub approved: Option<bool>,
    /// Last day on which an approval holds.
    pub valid_through: Option<Date>,
    /// Whether a SEP was issued by it.
    pub used: bool,
}

/// What became of a request for approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asked.
    NotAsked,
    /// Undecided.
    Undecided,
    /// Declined.
    Declined,
    /// Approved through a day that has passed.
    Ended(Date),
    /// Approved, and used by another SEP.
    Used,
    /// Approved, holds and is free.
    Holds(Uuid),
}

impl Standing {
    /// In words, for a message.
    #[must_use]
    pub fn told(self) -> String {
        match self {
            Self::NotAsked => "no approval was asked for".into(),
            Self::Undecided => "the approval that was asked for is undecided".into(),
            Self::Declined => "the approval was declined".into(),
            Self::Ended(day) => format!("the approval held through {day}"),
            Self::Used => "the approval was used by another SEP".into(),
            Self::Holds(_) => "approved".into(),
        }
    }
}

/// What became of the requests of a kind, the best first: one that holds is not spoilt by another that was declined.
#[must_use]
pub fn standing(approvals: &[Approval], kind: Kind, today: Date) -> Standing {
    let of_kind = || approvals.iter().filter(|approval| approval.kind == kind as i16);
    let holds =
        |a: &&Approval| a.approved == Some(true) && !a.used && a.valid_through.is_some_and(|to| today <= to);
    if let Some(approval) = of_kind().find(holds) {
        return Standing::Holds(approval.id);
    }
    if of_kind().any(|approval| approval.approved.is_none()) {
        return Standing::Undecided;
    }
    let ended = of_kind().filter(|a| !a.used).filter_map(|a| a.valid_through).max();
    match (ended, of_kind().any(|a| a.used), of_kind().next()) {
        (Some(day), ..) => Standing::Ended(day),
        (None, true, _) => Standing::Used,
        (None, false, Some(_)) => Standing::Declined,
        (None, false, None) => Standing::NotAsked,
    }
}

/// What must have been approved for a SEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// That it comes late.
    pub late: bool,
    /// That there is no fingerprint, unless there is one.
    pub fingerprint: bool,
}

impl Needs {
    /// Whether anything must be.
    #[must_use]
    pub const fn any(self) -> bool {
        self.late || self.fingerprint
    }

    /// Judges what is on record: the reasons against the SEP, and the approvals it is issued by.
    #[must_use]
    pub fn judge(
        mut self,
        rules: &Rules,
        wanted: &Wanted,
        approvals: &[Approval],
        fingerprint_taken: bool,
        today: Date,
    ) -> (Vec<Refusal>, Vec<Uuid>) {
        let (mut refusals, mut used) = (Vec::new(), Vec::new());
        self.fingerprint &= !fingerprint_taken;
        if self.late {
            match (standing(approvals, Kind::Backdate, today), wanted.care) {
                (Standing::Holds(id), _) => used.push(id),
                (approval, Care::Inpatient) => {
                    refusals.push(Refusal::EntryTooLate { hours: rules.inpatient_entry_hours, approval });
                }
                (approval, Care::Outpatient) => {
                    let days = rules.outpatient_late_days;
                    refusals.push(Refusal::BackdateNotApproved { days, approval });
                }
            }
        }
        if self.fingerprint {
            match standing(approvals, Kind::Fingerprint, today) {
                Standing::Holds(id) => used.push(id),
                approval => refusals.push(Refusal::FingerprintRequired(approval)),
            }
        }
        (refusals, used)
    }
}

/// What must have been approved for a SEP that is asked for now. A member whose birth date is not known counts as old
/// enough for a fingerprint.
#[must_use]
pub fn needs(
    rules: &Rules,
    wanted: &Wanted,
    clinic: &str,
    birth_date: Option<Date>,
    now: Timestamp,
    today: Date,
) -> Needs {
    let asks = rules.fingerprint_clinics.iter().any(|of| of.as_str() == clinic);
    let old_enough = birth_date.is_none_or(|born| {
        born.saturating_add(i64::from(rules.fingerprint_from_age).years()) <= wanted.service_date
    });
    Needs {
        late: match (wanted.care, wanted.admitted_at) {
            (Care::Inpatient, Some(admitted_at)) => {
                now.duration_since(admitted_at) > SignedDuration::from_hours(rules.inpatient_entry_hours)
            }
            _ => is_backdated(rules, wanted.service_date, today),
        },
        fingerprint: wanted.care == Care::Outpatient && !wanted.emergency && asks && old_enough,
    }
}

/// Whether an out-patient SEP for a day needs an approval today.
#[must_use]
pub fn is_backdated(rules: &Rules, service_date: Date, today: Date) -> bool {
    service_date.saturating_add(rules.outpatient_late_days.days()) < today
}

/// Whether an approval of a kind can be needed today for a SEP of a day: an in-patient one is late at the earliest when the
/// hours have passed since the day began.
#[must_use]
pub fn can_be_needed(
    rules: &Rules,
    kind: Kind,
    care: Care,
    service_date: Date,
    day_began: Timestamp,
    now: Timestamp,
    today: Date,
) -> bool {
    match (kind, care) {
        (Kind::Fingerprint, _) => care == Care::Outpatient && !rules.fingerprint_clinics.is_empty(),
        (Kind::Backdate, Care::Outpatient) => is_backdated(rules, service_date, today),
        (Kind::Backdate, Care::Inpatient) => {
            now.duration_since(day_began) > SignedDuration::from_hours(rules.inpatient_entry_hours)
        }
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
        let text = include_str!("../../../policy/claims/sep.toml")
            .replace("fingerprint-clinics = []", "fingerprint-clinics = [\"HDL\"]");
        let dated = chassis::policy::parse::<Rules>("claims/sep.toml", &text).unwrap();
        dated.on(day("2026-03-02")).unwrap().rule.clone()
    }

    fn wanted(care: Care, service_date: &str) -> Wanted {
        Wanted {
            service_date: day(service_date),
            care,
            emergency: false,
            cites_referral: true,
            admitted_at: None,
            upgrade_to: None,
        }
    }

    fn needed(wanted: &Wanted, now: &str) -> Needs {
        let now: Timestamp = now.parse().unwrap();
        needs(&rules(), wanted, "INT", None, now, chassis::time::today_at(now))
    }

    fn approval(approved: Option<bool>, valid_through: Option<&str>, used: bool) -> Approval {
        let valid_through = valid_through.map(day);
        Approval { id: Uuid::now_v7(), kind: Kind::Backdate as i16, approved, valid_through, used }
    }

    #[test]
    fn an_inpatient_sep_comes_within_three_days_to_the_second() {
        let entered = |at: &str| Wanted {
            admitted_at: Some(at.parse().unwrap()),
            ..wanted(Care::Inpatient, "2026-02-27")
        };
        assert!(!needed(&entered("2026-02-27T05:00:00Z"), "2026-03-02T05:00:00Z").any());
        assert!(needed(&entered("2026-02-27T04:59:59Z"), "2026-03-02T05:00:00Z").late);
    }

    #[test]
    fn an_outpatient_sep_comes_on_the_day_or_the_next_as_jakarta_counts() {
        let visit = wanted(Care::Outpatient, "2026-03-02");
        assert!(!needed(&visit, "2026-03-02T05:00:00Z").late);
        assert!(!needed(&visit, "2026-03-03T16:59:59Z").late, "the last second of the next day");
        assert!(needed(&visit, "2026-03-03T17:00:00Z").late, "the day after that has begun in Jakarta");
    }

    #[test]
    fn a_fingerprint_is_asked_for_by_clinic_and_age_and_never_of_an_emergency() {
        let visit = wanted(Care::Outpatient, "2026-03-02");
        let now: Timestamp = "2026-03-02T05:00:00Z".parse().unwrap();
        let asked = |wanted: &Wanted, clinic: &str, born: &str| {
            needs(&rules(), wanted, clinic, Some(day(born)), now, day("2026-03-02")).fingerprint
        };
        assert!(asked(&visit, "HDL", "2009-03-02"), "seventeen today");
        assert!(!asked(&visit, "HDL", "2009-03-03") && !asked(&visit, "INT", "1980-01-01"));
        assert!(!asked(&Wanted { emergency: true, ..visit }, "HDL", "1980-01-01"));
        let need = Needs { late: false, fingerprint: true };
        let judge = |taken| need.judge(&rules(), &visit, &[], taken, day("2026-03-02"));
        assert_eq!(judge(true), (vec![], vec![]));
        assert_eq!(judge(false).0, [Refusal::FingerprintRequired(Standing::NotAsked)]);
    }

    #[test]
    fn an_approval_holds_through_its_last_day_and_once() {
        let on = |approvals: &[Approval], today: &str| standing(approvals, Kind::Backdate, day(today));
        let good = approval(Some(true), Some("2026-03-09"), false);
        assert_eq!(on(std::slice::from_ref(&good), "2026-03-09"), Standing::Holds(good.id));
        assert_eq!(on(std::slice::from_ref(&good), "2026-03-10"), Standing::Ended(day("2026-03-09")));
        assert_eq!(
            standing(std::slice::from_ref(&good), Kind::Fingerprint, day("2026-03-09")),
            Standing::NotAsked
        );
        let declined = approval(Some(false), None, false);
        assert_eq!(on(&[declined.clone(), good.clone()], "2026-03-09"), Standing::Holds(good.id));
        assert_eq!(on(&[declined], "2026-03-09"), Standing::Declined);
        assert_eq!(on(&[approval(Some(true), Some("2026-03-09"), true)], "2026-03-09"), Standing::Used);
        assert_eq!(on(&[approval(None, None, false)], "2026-03-09"), Standing::Undecided);
    }

    #[test]
    fn what_is_not_late_yet_needs_no_approval() {
        let began: Timestamp = "2026-03-01T17:00:00Z".parse().unwrap();
        let can = |care, now: &str| {
            let now: Timestamp = now.parse().unwrap();
            let today = chassis::time::today_at(now);
            can_be_needed(&rules(), Kind::Backdate, care, day("2026-03-02"), began, now, today)
        };
        assert!(
            !can(Care::Outpatient, "2026-03-03T05:00:00Z") && can(Care::Outpatient, "2026-03-04T05:00:00Z")
        );
        assert!(
            !can(Care::Inpatient, "2026-03-04T17:00:00Z") && can(Care::Inpatient, "2026-03-04T17:00:01Z")
        );
    }

    proptest! {
        #[test]
        fn what_is_late_stays_late_and_is_refused_or_approved_but_never_passed_over(
            hours in 0..2000i64, more in 0..500i64, inpatient in any::<bool>(), approved in any::<bool>(),
        ) {
            let begin: Timestamp = "2026-03-01T17:00:00Z".parse().unwrap();
            let care = if inpatient { Care::Inpatient } else { Care::Outpatient };
            let visit = Wanted { admitted_at: inpatient.then_some(begin), ..wanted(care, "2026-03-02") };
            let at = |hours: i64| begin.saturating_add(SignedDuration::from_hours(hours)).unwrap();
            let need = |hours| needs(&rules(), &visit, "INT", None, at(hours), chassis::time::today_at(at(hours)));
            let (now, later) = (need(hours), need(hours + more));
            prop_assert!(!now.late || later.late);
            let held = approval(Some(true), Some("2099-12-31"), false);
            let on_record = if approved { vec![held.clone()] } else { vec![] };
            let (refusals, used) = later.judge(&rules(), &visit, &on_record, false, day("2026-03-02"));
            prop_assert_eq!(later.late, refusals.len() + used.len() == 1);
            prop_assert_eq!(used, if later.late && approved { vec![held.id] } else { vec![] });
        }
    }
}

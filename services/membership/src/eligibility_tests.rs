//! Eligibility as of a date.

use jiff::civil::date;

use super::*;
use crate::{
    contribution::{
        Covered, Payment,
        tests::{covered, payment, policy, terms},
    },
    family::{Relation, Terms},
};

struct Member {
    terms: Vec<Terms>,
    members: Vec<Covered>,
    payments: Vec<Payment>,
    choices: Vec<Choice>,
    ended_on: Option<Date>,
}

impl Member {
    fn of(segment: Segment, wage: i64) -> Self {
        let from = date(2025, 1, 5);
        let fktp = FacilityCode::parse("0301U001").unwrap();
        Self {
            terms: vec![terms(from, segment, CareClass::Three, wage)],
            members: vec![covered(Relation::Head, from)],
            payments: Vec::new(),
            choices: vec![Choice { from, to: None, fktp }],
            ended_on: None,
        }
    }

    fn judged(&self, day: Date, care: Care) -> Verdict {
        let contributions = policy();
        let text = include_str!("../../../policy/membership/inpatient-penalty.toml");
        let penalties = chassis::policy::parse("membership/inpatient-penalty.toml", text).unwrap();
        let account = Account {
            terms: &self.terms,
            members: &self.members,
            payments: &self.payments,
            policy: &contributions,
        };
        let standing = Standing {
            registered_from: date(2025, 1, 5),
            ended_on: self.ended_on,
            account,
            choices: &self.choices,
        };
        judge(&standing, &penalties, day, care).unwrap()
    }

    fn reasons(&self, day: Date) -> Vec<Reason> {
        self.judged(day, Care::Outpatient).reasons
    }
}

#[test]
fn whom_the_government_pays_for_is_eligible_from_the_first_day_to_the_last() {
    let mut member = Member::of(Segment::PbiApbn, 0);
    assert_eq!(member.reasons(date(2025, 1, 4)), [Reason::NotYetRegistered]);
    let verdict = member.judged(date(2025, 1, 5), Care::Inpatient);
    assert_eq!((verdict.reasons.as_slice(), verdict.segment), (&[][..], Some(Segment::PbiApbn)));
    assert_eq!((verdict.class, verdict.fktp.unwrap().as_str()), (Some(CareClass::Three), "0301U001"));
    member.ended_on = Some(date(2025, 6, 3));
    assert!(member.reasons(date(2025, 6, 3)).is_empty());
    assert_eq!(member.reasons(date(2025, 6, 4)), [Reason::MembershipEnded]);
}

#[test]
fn whom_nobody_paid_for_is_not_eligible() {
    let mut member = Member::of(Segment::Pbpu, 0);
    assert_eq!(member.reasons(date(2025, 1, 5)), [Reason::FirstContributionUnpaid]);
    member.payments.push(payment(date(2025, 1, 7), date(2025, 1, 1), date(2025, 1, 1)));
    assert_eq!(
        member.reasons(date(2025, 1, 6)),
        [Reason::FirstContributionUnpaid],
        "what was paid later does not count"
    );
    assert!(member.reasons(date(2025, 1, 7)).is_empty());
    let grace = member.judged(date(2025, 2, 15), Care::Outpatient);
    assert_eq!((grace.reasons.len(), grace.arrears_months, grace.arrears.get()), (0, 1, 35_000));
    assert_eq!(member.reasons(date(2025, 3, 1)), [Reason::SuspendedForArrears]);
}

#[test]
fn forty_five_days_after_a_reactivation_in_patient_care_bears_a_penalty() {
    let mut member = Member::of(Segment::PpuBu, 10_000_000);
    // Fourteen months of arrears, of which twelve count.
    let reactivated = date(2026, 3, 20);
    member.payments.push(payment(reactivated, date(2025, 1, 1), date(2026, 3, 1)));
    member.payments.push(payment(date(2026, 4, 5), date(2026, 4, 1), date(2026, 6, 1)));
    let penalty = member.judged(date(2026, 5, 4), Care::Inpatient).penalty.unwrap();
    assert_eq!(
        penalty,
        Penalty {
            reactivated_on: reactivated,
            window_ends_on: date(2026, 5, 4),
            months: 12,
            basis_points_per_month: 500,
            cap: Rupiah::new(30_000_000).unwrap(),
            paid_by_employer: true,
        }
    );
    assert_eq!(member.judged(date(2026, 5, 4), Care::Outpatient).penalty, None);
    assert_eq!(member.judged(date(2026, 5, 5), Care::Inpatient).penalty, None);
}

#[test]
fn the_answer_about_a_day_holds_the_choice_and_the_terms_of_that_day() {
    let mut member = Member::of(Segment::PbiApbn, 0);
    let change = date(2025, 7, 1);
    member.terms[0].to = Some(change);
    member.terms.push(terms(change, Segment::PpuBu, CareClass::Two, 3_000_000));
    member.choices[0].to = Some(change);
    member.choices.push(Choice { from: change, to: None, fktp: FacilityCode::parse("0301B002").unwrap() });
    let on = |day| {
        let verdict = member.judged(day, Care::Outpatient);
        (verdict.segment.unwrap(), verdict.fktp.unwrap().as_str().to_owned())
    };
    assert_eq!(on(date(2025, 6, 30)), (Segment::PbiApbn, "0301U001".into()));
    assert_eq!(on(change), (Segment::PpuBu, "0301B002".into()));
}

#[test]
fn a_penalty_policy_that_contradicts_itself_is_refused() {
    let text = include_str!("../../../policy/membership/inpatient-penalty.toml");
    let wrong = text.replace("most-months = 12", "most-months = 0");
    let mistake = chassis::policy::parse::<PenaltyRule>("p.toml", &wrong).unwrap_err();
    assert!(mistake.to_string().contains("most-months"), "{mistake}");
}

#[test]
fn what_was_judged_is_not_judged_again() {
    let mut member = Member::of(Segment::Pbpu, 0);
    member.payments = vec![payment(date(2025, 1, 5), date(2025, 1, 1), date(2025, 1, 1))];
    let judged = Judged::default();
    let mut count = 0;
    let mut verdict = |day, care| {
        let judge = || {
            count += 1;
            Ok(member.judged(day, care))
        };
        assert_eq!(*judged.verdict(day, care, judge).unwrap(), member.judged(day, care), "{day} {care:?}");
        count
    };
    let (first, later) = (date(2025, 1, 20), date(2025, 3, 20));
    assert_eq!(verdict(first, Care::Inpatient), 1);
    assert_eq!(verdict(first, Care::Inpatient), 1);
    assert_eq!(verdict(first, Care::Outpatient), 2);
    assert_eq!(verdict(later, Care::Outpatient), 3);
    assert_eq!(verdict(first, Care::Inpatient), 3);
    // Only so many are kept, however many days are asked about.
    for day in 1..=28 {
        verdict(date(2025, 2, day), Care::Outpatient);
    }
    assert_eq!(verdict(date(2025, 2, 28), Care::Outpatient), 31);
    assert_eq!(verdict(first, Care::Inpatient), 32);
}

//! The account over months and years.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

pub(crate) fn policy() -> Dated<Contribution> {
    let text = include_str!("../../../policy/membership/contribution.toml");
    chassis::policy::parse("membership/contribution.toml", text).unwrap()
}

pub(crate) fn terms(from: Date, segment: Segment, class: CareClass, wage: i64) -> Terms {
    Terms { from, to: None, segment, class, wage: Rupiah::new(wage).unwrap() }
}

pub(crate) fn covered(relation: Relation, from: Date) -> Covered {
    Covered { relation, from, ended_on: None, region: "3273".into() }
}

pub(crate) fn payment(paid_on: Date, first: Date, last: Date) -> Payment {
    Payment { posting_id: Uuid::nil(), paid_on, first, last }
}

/// A family of three in class 3 of PBPU, registered on 5 January 2025.
struct Family {
    policy: Dated<Contribution>,
    terms: Vec<Terms>,
    members: Vec<Covered>,
    payments: Vec<Payment>,
}

impl Family {
    fn of(segment: Segment, class: CareClass, wage: i64) -> Self {
        let from = date(2025, 1, 5);
        Self {
            policy: policy(),
            terms: vec![terms(from, segment, class, wage)],
            members: [Relation::Head, Relation::Spouse, Relation::Child]
                .map(|relation| covered(relation, from))
                .into(),
            payments: Vec::new(),
        }
    }

    fn account(&self) -> Account<'_> {
        Account { terms: &self.terms, members: &self.members, payments: &self.payments, policy: &self.policy }
    }

    /// Pays so many months as they are due next.
    fn pay(&mut self, months: usize, paid_on: Date) -> Allotment {
        let one = self.account().charge(paid_on.first_of_month()).unwrap();
        let amount = one.checked_mul(u32::try_from(months).unwrap()).unwrap();
        let allotment = self.account().allot(amount, paid_on).unwrap().unwrap();
        let (first, last) = (allotment.months[0].0, allotment.months.last().unwrap().0);
        self.payments.push(payment(paid_on, first, last));
        allotment
    }
}

fn self_employed() -> Family {
    Family::of(Segment::Pbpu, CareClass::Three, 0)
}

#[test]
fn what_a_month_costs() {
    let month = date(2026, 1, 1);
    let charge = |family: &Family| family.account().charge(month).unwrap().get();
    assert_eq!(charge(&self_employed()), 3 * 35_000);
    assert_eq!(charge(&Family::of(Segment::Bp, CareClass::One, 0)), 3 * 150_000);
    assert_eq!(charge(&Family::of(Segment::PbiApbn, CareClass::Three, 0)), 0);
    // At the cap: 480,000 of the employer and 120,000 of the worker, for the whole family.
    assert_eq!(charge(&Family::of(Segment::PpuBu, CareClass::One, 20_000_000)), 600_000);
    // Below the minimum wage of the region, which counts instead.
    assert_eq!(charge(&Family::of(Segment::PpuBu, CareClass::Two, 1_000_000)), 86_774 + 21_693);
    // A salary of the state is not bounded.
    assert_eq!(charge(&Family::of(Segment::PpuPn, CareClass::One, 20_000_000)), 1_000_000);
    let mut with_mother = Family::of(Segment::PpuBu, CareClass::One, 20_000_000);
    with_mother.members.push(covered(Relation::Other, date(2025, 1, 5)));
    assert_eq!(charge(&with_mother), 720_000);
    let mut after_a_death = self_employed();
    after_a_death.members[1].ended_on = Some(date(2025, 12, 31));
    assert_eq!(charge(&after_a_death), 2 * 35_000);
}

#[test]
fn before_the_first_payment_nothing_is_owed_and_nothing_covered() {
    let mut family = self_employed();
    let day = date(2025, 6, 20);
    assert_eq!(family.account().liability_on(day).unwrap(), Liability::AwaitingFirst);
    assert_eq!(family.account().arrears(day).unwrap(), Arrears::default());
    assert_eq!(family.account().settlement(day).unwrap().get(), 105_000);
    let first = family.pay(1, day);
    assert_eq!(
        (first.months.as_slice(), first.reactivated),
        (&[(date(2025, 6, 1), Rupiah::new(105_000).unwrap())][..], false)
    );
    assert_eq!(family.account().liability_on(day).unwrap(), Liability::From(date(2025, 6, 1)));
    // As of the day before the payment, the answer is still the old one.
    assert_eq!(family.account().liability_on(date(2025, 6, 19)).unwrap(), Liability::AwaitingFirst);
}

#[test]
fn due_on_the_tenth_suspended_on_the_first() {
    let mut family = self_employed();
    family.pay(1, date(2025, 1, 6));
    let arrears = |day| {
        let arrears = family.account().arrears(day).unwrap();
        (arrears.months.len(), arrears.rupiah.get(), arrears.suspended)
    };
    assert_eq!(arrears(date(2025, 2, 10)), (0, 0, false));
    assert_eq!(arrears(date(2025, 2, 11)), (1, 105_000, false));
    assert_eq!(arrears(date(2025, 2, 28)), (1, 105_000, false));
    assert_eq!(arrears(date(2025, 3, 1)), (1, 105_000, true));
    assert_eq!(arrears(date(2025, 3, 11)), (2, 210_000, true));
}

#[test]
fn a_worker_owes_from_the_start() {
    let family = Family::of(Segment::PpuBu, CareClass::One, 10_000_000);
    assert!(!family.account().arrears(date(2025, 1, 31)).unwrap().suspended);
    assert!(family.account().arrears(date(2025, 2, 1)).unwrap().suspended);
    assert_eq!(family.account().settlement(date(2025, 3, 5)).unwrap().get(), 3 * 500_000);
}

#[test]
fn at_most_24_months_are_asked_for() {
    let mut family = self_employed();
    family.pay(1, date(2025, 1, 6));
    let day = date(2028, 2, 5);
    let arrears = family.account().arrears(day).unwrap();
    assert_eq!((arrears.months.len(), arrears.months[0]), (24, date(2026, 2, 1)));
    assert_eq!(family.account().settlement(day).unwrap().get(), 25 * 105_000);
    let states: Vec<_> = family
        .account()
        .statement(date(2026, 1, 1), date(2028, 2, 1), day)
        .unwrap()
        .iter()
        .map(|line| line.state)
        .collect();
    assert_eq!((states[0], states[1], states[25]), (State::Lapsed, State::Overdue, State::Due));
    let paid = family.pay(24, day);
    assert!(paid.reactivated);
    assert_eq!(family.account().arrears(day).unwrap(), Arrears::default());
    assert_eq!(family.account().reactivation(day).unwrap(), Some(Reactivation { on: day, months: 24 }));
}

#[test]
fn arrears_paid_in_parts_count_together() {
    let mut family = self_employed();
    family.pay(1, date(2025, 1, 6));
    assert!(!family.pay(4, date(2025, 8, 1)).reactivated);
    assert!(family.pay(2, date(2025, 8, 3)).reactivated);
    let reactivation = family.account().reactivation(date(2025, 9, 1)).unwrap();
    assert_eq!(reactivation, Some(Reactivation { on: date(2025, 8, 3), months: 6 }));
    assert_eq!(family.account().reactivation(date(2025, 8, 2)).unwrap(), None, "not yet known on that day");
}

#[test]
fn a_payment_posted_behind_a_later_one_does_not_pay_that_ones_months_sooner() {
    let mut family = self_employed();
    family.pay(1, date(2025, 1, 6));
    family.pay(3, date(2025, 5, 20));
    let late = family.pay(1, date(2025, 5, 15));
    assert_eq!((late.months[0].0, late.reactivated), (date(2025, 5, 1), false));
    family.payments.swap(1, 2);
    let months = |day| family.account().arrears(day).unwrap().months.len();
    assert_eq!((months(date(2025, 5, 14)), months(date(2025, 5, 16)), months(date(2025, 5, 20))), (4, 3, 0));
    let reactivated = family.account().reactivation(date(2025, 5, 31)).unwrap();
    assert_eq!(reactivated, Some(Reactivation { on: date(2025, 5, 20), months: 3 }));
}

#[test]
fn a_payment_is_a_whole_number_of_months_and_not_too_far_ahead() {
    let mut family = self_employed();
    let allot = |family: &Family, amount| {
        family.account().allot(Rupiah::new(amount).unwrap(), date(2025, 1, 6)).unwrap()
    };
    assert_eq!(allot(&family, 100_000), Err(Refused::NotWholeMonths { next: vec![105_000] }));
    assert_eq!(allot(&family, 106_000), Err(Refused::NotWholeMonths { next: vec![105_000, 210_000] }));
    assert_eq!(allot(&family, 14 * 105_000), Err(Refused::TooFarAhead { last: date(2026, 1, 1) }));
    assert_eq!(allot(&family, 13 * 105_000).unwrap().months.len(), 13);
    family.pay(13, date(2025, 1, 6));
    assert_eq!(allot(&family, 105_000), Err(Refused::TooFarAhead { last: date(2026, 1, 1) }));
    let poor = Family::of(Segment::PbpuPemda, CareClass::Three, 0);
    assert_eq!(allot(&poor, 42_000), Err(Refused::GovernmentPays));
}

#[test]
fn when_the_government_stops_paying_the_account_begins_anew() {
    let mut family = Family::of(Segment::PbiApbn, CareClass::Three, 0);
    family.terms[0].to = Some(date(2025, 7, 1));
    family.terms.push(terms(date(2025, 7, 1), Segment::Pbpu, CareClass::Three, 0));
    assert_eq!(family.account().liability_on(date(2025, 6, 30)).unwrap(), Liability::None);
    assert_eq!(family.account().liability_on(date(2025, 7, 1)).unwrap(), Liability::AwaitingFirst);
    family.pay(1, date(2025, 8, 2));
    assert_eq!(family.account().liability_on(date(2025, 8, 2)).unwrap(), Liability::From(date(2025, 8, 1)));
    let states: Vec<_> = family
        .account()
        .statement(date(2024, 12, 1), date(2025, 9, 1), date(2025, 9, 5))
        .unwrap()
        .into_iter()
        .map(|line| (line.month.month(), line.state))
        .collect();
    assert_eq!(states.len(), 9, "none before the registration");
    assert_eq!(states[5..], [(6, State::Government), (7, State::NotOwed), (8, State::Paid), (9, State::Due)]);
}

#[test]
fn an_account_from_before_the_mesh_goes_on() {
    let mut family = self_employed();
    let since = date(2016, 3, 10);
    family.terms[0].from = since;
    family.members.iter_mut().for_each(|member| member.from = since);
    family.payments.push(payment(since, date(2016, 3, 1), date(2018, 5, 1)));
    let day = date(2025, 3, 5);
    let arrears = family.account().arrears(day).unwrap();
    assert!(arrears.suspended && arrears.months.len() == 24);
    assert_eq!(family.account().reactivation(day).unwrap(), None);
    assert!(family.pay(25, day).reactivated);
}

proptest! {
    #[test]
    fn whatever_is_paid_what_was_true_stays_true(gaps in proptest::collection::vec((1usize..5, 0i32..160), 1..8)) {
        let mut family = self_employed();
        let mut day = date(2025, 1, 6);
        let mut seen: Vec<(Date, Arrears, Option<Reactivation>)> = Vec::new();
        for (months, days) in gaps {
            let one = family.account().charge(day.first_of_month()).unwrap();
            let amount = one.checked_mul(u32::try_from(months).unwrap()).unwrap();
            if let Ok(allotment) = family.account().allot(amount, day).unwrap() {
                prop_assert_eq!(Rupiah::checked_sum(allotment.months.iter().map(|(_, amount)| *amount)), Some(amount));
                let before = family.account().arrears(day).unwrap();
                family.payments.push(payment(day, allotment.months[0].0, allotment.months.last().unwrap().0));
                let after = family.account().arrears(day).unwrap();
                prop_assert!(after.rupiah <= before.rupiah);
                prop_assert_eq!(allotment.reactivated, before.suspended && !after.suspended);
            }
            seen.push((day, family.account().arrears(day).unwrap(), family.account().reactivation(day).unwrap()));
            for (day, arrears, reactivation) in &seen {
                prop_assert_eq!(&family.account().arrears(*day).unwrap(), arrears);
                prop_assert_eq!(&family.account().reactivation(*day).unwrap(), reactivation);
            }
            day = day.saturating_add((days + 1).days());
        }
        let months: Vec<_> = family.payments.iter().map(|payment| (payment.first, payment.last)).collect();
        for pair in months.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0, "no month is paid twice");
        }
    }
}

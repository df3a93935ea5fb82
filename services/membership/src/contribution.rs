//! A family's account: which months it owes, what each costs, what a payment pays, and what is in arrears on a day.
//!
//! Payments are allotted to the oldest unpaid month first, so each payment covers one run of months. What is asked
//! about a day rests on the payments made up to that day, so that the answer stays the same for ever.

use std::collections::BTreeMap;

use chassis::{
    Problem,
    policy::{Dated, Rule},
};
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;
use uuid::Uuid;
use vocabulary::{CareClass, Rupiah, Segment};

use crate::family::{Relation, Terms};

/// `policy/membership/contribution.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Contribution {
    due_day: i8,
    reactivation_months: usize,
    advance_months: i32,
    government_pays: Vec<Segment>,
    government_rupiah: Rupiah,
    first_payment_before_cover: Vec<Segment>,
    per_head: PerHead,
    wage: Wage,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PerHead {
    #[serde(rename = "class-1")]
    class_1: Rupiah,
    #[serde(rename = "class-2")]
    class_2: Rupiah,
    #[serde(rename = "class-3")]
    class_3: Rupiah,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wage {
    employer_basis_points: u32,
    worker_basis_points: u32,
    relative_basis_points: u32,
    bounded: Vec<Segment>,
    cap_rupiah: Rupiah,
    floor_rupiah: Rupiah,
    floor_of_region: BTreeMap<String, Rupiah>,
}

impl Rule for Contribution {
    fn check(&self) -> Result<(), String> {
        let wage = &self.wage;
        let floors = wage.floor_of_region.values().chain([&wage.floor_rupiah]);
        if !(1..=28).contains(&self.due_day) {
            Err("due-day must be 1 to 28".into())
        } else if !(1..=120).contains(&self.reactivation_months) {
            Err("reactivation-months must be 1 to 120".into())
        } else if !(0..=120).contains(&self.advance_months) {
            Err("advance-months must be 0 to 120".into())
        } else if self.government_pays.iter().any(|segment| self.first_payment_before_cover.contains(segment))
        {
            Err("first-payment-before-cover must not name a segment of government-pays".into())
        } else if wage.employer_basis_points + wage.worker_basis_points + wage.relative_basis_points > 10_000
        {
            Err("wage: the basis points come to more than the wage".into())
        } else if floors.into_iter().any(|floor| *floor > wage.cap_rupiah) {
            Err("wage: a floor lies above cap-rupiah".into())
        } else if self.per_head.class_3 > self.per_head.class_2
            || self.per_head.class_2 > self.per_head.class_1
        {
            Err("per-head: a lower class costs more than a higher one".into())
        } else if self.government_pays.is_empty() != (self.government_rupiah == Rupiah::ZERO) {
            Err("government-rupiah must go with government-pays".into())
        } else {
            Ok(())
        }
    }
}

impl Contribution {
    pub(crate) fn government_pays(&self, segment: Segment) -> bool {
        self.government_pays.contains(&segment)
    }

    /// What a family pays for a month; `covered` are the relations of its members covered in it.
    fn charge(&self, terms: &Terms, region: &str, covered: &[Relation]) -> Rupiah {
        let heads = u32::try_from(covered.len()).unwrap_or(u32::MAX);
        match terms.segment {
            segment if self.government_pays(segment) => Rupiah::ZERO,
            Segment::PpuPn | Segment::PpuBu => {
                let base = self.wage.base(terms, region);
                let relatives = covered.iter().filter(|relation| **relation == Relation::Other).count();
                let own = [self.wage.employer_basis_points, self.wage.worker_basis_points];
                let shares =
                    if heads == 0 { Vec::new() } else { own.map(|points| base.share(points)).to_vec() };
                let extra = base.share(self.wage.relative_basis_points);
                Rupiah::checked_sum(shares.into_iter().chain(std::iter::repeat_n(extra, relatives)))
                    .unwrap_or(Rupiah::ZERO)
            }
            _ => {
                let amount = match terms.class {
                    CareClass::One => self.per_head.class_1,
                    CareClass::Two => self.per_head.class_2,
                    CareClass::Three => self.per_head.class_3,
                };
                amount.checked_mul(heads).unwrap_or(Rupiah::ZERO)
            }
        }
    }
}

impl Wage {
    fn base(&self, terms: &Terms, region: &str) -> Rupiah {
        if !self.bounded.contains(&terms.segment) {
            return terms.wage;
        }
        let of = |code: Option<&str>| code.and_then(|code| self.floor_of_region.get(code)).copied();
        let floor = of(Some(region)).or_else(|| of(region.get(..2))).unwrap_or(self.floor_rupiah);
        terms.wage.clamp(floor, self.cap_rupiah)
    }
}

/// One member of the family, as far as the account needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Covered {
    pub(crate) relation: Relation,
    pub(crate) from: Date,
    /// The last day.
    pub(crate) ended_on: Option<Date>,
    pub(crate) region: String,
}

/// A payment; `first` and `last` are the first days of the months it paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) posting_id: Uuid,
    pub(crate) paid_on: Date,
    pub(crate) first: Date,
    pub(crate) last: Date,
}

/// A family's account, its history in order of time.
#[derive(Debug, Clone)]
pub(crate) struct Account<'a> {
    pub(crate) terms: &'a [Terms],
    pub(crate) members: &'a [Covered],
    /// In the order in which they were made.
    pub(crate) payments: &'a [Payment],
    pub(crate) policy: &'a Dated<Contribution>,
}

/// From when a family owes contributions of its own, as seen on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liability {
    /// There are no terms on the day, or the government pays.
    None,
    /// Cover begins with the first payment, which has not been made.
    AwaitingFirst,
    /// From the month that begins on this day.
    From(Date),
}

/// What is unpaid on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Arrears {
    /// Months past due, oldest first, those that reactivation asks for.
    pub(crate) months: Vec<Date>,
    pub(crate) rupiah: Rupiah,
    /// Whether a month before that of the day is unpaid.
    pub(crate) suspended: bool,
}

/// The end of a suspension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reactivation {
    pub(crate) on: Date,
    /// Months of arrears that the payments made good.
    pub(crate) months: usize,
}

/// What a payment pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allotment {
    /// Month and amount, oldest first, never empty.
    pub(crate) months: Vec<(Date, Rupiah)>,
    pub(crate) reactivated: bool,
}

/// Why a payment is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the government pays for this family; return the payment to the payer")]
    GovernmentPays,
    #[error(
        "the amount is not a whole number of months from the oldest unpaid one; pay one of the sums that next_months_rupiah names, or settle_rupiah of GetContributionStatement"
    )]
    NotWholeMonths { next: Vec<i64> },
    #[error("the payment reaches beyond the last month that is taken in advance; pay less")]
    TooFarAhead { last: Date },
}

/// What a month stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Paid,
    Due,
    Overdue,
    Government,
    Lapsed,
    NotOwed,
}

/// One month of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) month: Date,
    pub(crate) due_on: Date,
    pub(crate) state: State,
    pub(crate) charge: Rupiah,
    pub(crate) payment: Option<Payment>,
}

/// The first day of the month after that of a day.
pub(crate) fn next_month(day: Date) -> Date {
    day.first_of_month().saturating_add(1.month())
}

fn months(from: Date, last: Date) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(from.first_of_month()), |month| Some(next_month(*month)))
        .take_while(move |month| *month <= last)
        // Two hundred years: an account has an end even when its dates are absurd.
        .take(2400)
}

impl<'a> Account<'a> {
    /// The terms in force on a day.
    pub(crate) fn terms_on(&self, day: Date) -> Option<&'a Terms> {
        self.terms.iter().find(|terms| terms.from <= day && terms.to.is_none_or(|to| day < to))
    }

    /// Terms change on the 1st; in the month of registration they begin within it.
    fn terms_of(&self, month: Date) -> Option<&'a Terms> {
        self.terms_on(month.last_of_month())
    }

    fn covered_in(&self, month: Date) -> Vec<Relation> {
        let covers =
            |one: &&Covered| one.from <= month.last_of_month() && one.ended_on.is_none_or(|to| month <= to);
        self.members.iter().filter(covers).map(|one| one.relation).collect()
    }

    /// How many members a payment for this month covers.
    pub(crate) fn heads(&self, month: Date) -> usize {
        self.covered_in(month).len()
    }

    fn region(&self) -> &str {
        self.members.iter().find(|one| one.relation == Relation::Head).map_or("", |head| head.region.as_str())
    }

    /// What the family owes for a month.
    pub(crate) fn charge(&self, month: Date) -> Result<Rupiah, Problem> {
        match self.terms_of(month) {
            None => Ok(Rupiah::ZERO),
            Some(terms) => Ok(self.policy.on(month)?.charge(terms, self.region(), &self.covered_in(month))),
        }
    }

    /// The payments made up to a day.
    fn known_on(&self, day: Date) -> Vec<&'a Payment> {
        self.payments.iter().filter(|payment| payment.paid_on <= day).collect()
    }

    /// From when the family owes on a day: the months of its latest run of terms that the government does not pay.
    fn liability(&self, day: Date, payments: &[&Payment]) -> Result<Liability, Problem> {
        let rule = self.policy.on(day)?;
        let mut run: Option<&Terms> = None;
        for terms in self.terms.iter().rev().filter(|terms| terms.from <= day) {
            let adjoins = match run {
                None => terms.to.is_none_or(|to| day < to),
                Some(later) => terms.to == Some(later.from),
            };
            if !adjoins || rule.government_pays(terms.segment) {
                break;
            }
            run = Some(terms);
        }
        let Some(begin) = run else { return Ok(Liability::None) };
        let account_begins = self.policy.versions().first().map_or(day, |version| version.effective_from);
        let run_begins = begin.from.first_of_month();
        let from = run_begins.max(account_begins.first_of_month());
        if !rule.first_payment_before_cover.contains(&begin.segment) {
            return Ok(Liability::From(from));
        }
        let first =
            payments.iter().filter(|payment| payment.last >= run_begins).map(|payment| payment.first).min();
        Ok(first.map_or(Liability::AwaitingFirst, |first| Liability::From(first.max(from))))
    }

    pub(crate) fn liability_on(&self, day: Date) -> Result<Liability, Problem> {
        self.liability(day, &self.known_on(day))
    }

    /// The unpaid months up to and with that of the day, oldest first.
    fn unpaid(&self, day: Date, payments: &[&Payment]) -> Result<Vec<Date>, Problem> {
        let Liability::From(from) = self.liability(day, payments)? else { return Ok(Vec::new()) };
        let begin =
            payments.iter().map(|payment| next_month(payment.last)).max().map_or(from, |next| next.max(from));
        // A payment with an earlier day may be posted after a later one and pay the months behind it: on the days
        // between the two, the months of the later one were not paid yet.
        let mut counted = payments.iter().peekable();
        let is_behind = |payment: &&Payment| {
            // The payments that count are some of the account's own, in the same order.
            counted.next_if(|one| std::ptr::eq(**one, *payment)).is_none() && payment.first < begin
        };
        let behind: Vec<_> = self.payments.iter().filter(is_behind).collect();
        let paid_later =
            |month: Date| behind.iter().any(|payment| payment.first <= month && month <= payment.last);
        let oldest = if behind.is_empty() { begin } else { from };
        Ok(months(oldest, day)
            .filter(|month| *month >= begin || paid_later(*month))
            .filter(|month| !self.covered_in(*month).is_empty())
            .collect())
    }

    /// The same, without the months that have lapsed: only so many of those that suspend are asked for.
    fn asked_for(&self, day: Date, payments: &[&Payment]) -> Result<Vec<Date>, Problem> {
        let mut unpaid = self.unpaid(day, payments)?;
        let suspending = unpaid.iter().filter(|month| suspends(**month, day)).count();
        unpaid.drain(..suspending.saturating_sub(self.policy.on(day)?.reactivation_months));
        Ok(unpaid)
    }

    /// What is in arrears on a day.
    pub(crate) fn arrears(&self, day: Date) -> Result<Arrears, Problem> {
        let rule = self.policy.on(day)?;
        let unpaid = self.asked_for(day, &self.known_on(day))?;
        let suspended = unpaid.iter().any(|month| suspends(*month, day));
        let is_overdue = |month: &Date| suspends(*month, day) || day.day() > rule.due_day;
        let months: Vec<Date> = unpaid.into_iter().filter(is_overdue).collect();
        let rupiah = self.sum(&months)?;
        Ok(Arrears { months, rupiah, suspended })
    }

    /// What would settle everything up to and with the month of the day.
    pub(crate) fn settlement(&self, day: Date) -> Result<Rupiah, Problem> {
        let payments: Vec<_> = self.payments.iter().collect();
        match self.liability(day, &payments)? {
            Liability::None => Ok(Rupiah::ZERO),
            Liability::AwaitingFirst => self.charge(day.first_of_month()),
            Liability::From(_) => {
                let unpaid = self.asked_for(day, &payments)?;
                self.sum(&unpaid)
            }
        }
    }

    fn sum(&self, months: &[Date]) -> Result<Rupiah, Problem> {
        let charges: Vec<Rupiah> =
            months.iter().map(|month| self.charge(*month)).collect::<Result<_, _>>()?;
        Rupiah::checked_sum(charges).ok_or_else(Problem::internal)
    }

    /// The last end of a suspension up to a day. Payments that each made good a part of the arrears count together.
    pub(crate) fn reactivation(&self, day: Date) -> Result<Option<Reactivation>, Problem> {
        let known = self.known_on(day);
        let mut latest = None;
        let mut made_good = 0;
        for (index, payment) in known.iter().enumerate() {
            // An account from before the mesh comes with one payment that stands for all.
            if self.policy.on(payment.paid_on).is_err() {
                continue;
            }
            let is_suspended = |payments: &[&Payment]| {
                Ok::<_, Problem>(
                    self.unpaid(payment.paid_on, payments)?.iter().any(|m| suspends(*m, payment.paid_on)),
                )
            };
            if !is_suspended(&known[..index])? {
                made_good = 0;
                continue;
            }
            made_good +=
                months(payment.first, payment.last).filter(|m| suspends(*m, payment.paid_on)).count();
            if !is_suspended(&known[..=index])? {
                latest = Some(Reactivation { on: payment.paid_on, months: made_good });
                made_good = 0;
            }
        }
        Ok(latest)
    }

    /// The months that a payment pays.
    pub(crate) fn allot(&self, amount: Rupiah, paid_on: Date) -> Result<Result<Allotment, Refused>, Problem> {
        let rule = self.policy.on(paid_on)?;
        let earlier: Vec<_> = self.payments.iter().collect();
        let begin = match self.liability(paid_on, &earlier)? {
            Liability::None => return Ok(Err(Refused::GovernmentPays)),
            Liability::AwaitingFirst => paid_on.first_of_month(),
            Liability::From(from) => {
                let next = earlier.iter().map(|payment| next_month(payment.last)).max();
                let oldest = self.asked_for(paid_on, &earlier)?.first().copied();
                oldest.unwrap_or_else(|| next.map_or(from, |next| next.max(from)))
            }
        };
        let last = paid_on.first_of_month().saturating_add(rule.advance_months.months());
        let mut paid = Vec::new();
        let mut sum = Rupiah::ZERO;
        let mut next = Vec::new();
        for month in months(begin, last) {
            if self.terms_of(month).is_none_or(|terms| rule.government_pays(terms.segment)) {
                break;
            }
            let charge = self.charge(month)?;
            if charge == Rupiah::ZERO {
                continue;
            }
            sum = sum.checked_add(charge).ok_or_else(Problem::internal)?;
            paid.push((month, charge));
            next.push(sum.get());
            if sum >= amount {
                break;
            }
        }
        if sum < amount {
            let last = paid.last().map_or(last, |(month, _)| *month);
            return Ok(Err(Refused::TooFarAhead { last }));
        }
        if sum > amount {
            let from = next.len().saturating_sub(3);
            return Ok(Err(Refused::NotWholeMonths { next: next.split_off(from) }));
        }
        let suspended = |payments: &[&Payment]| {
            Ok::<_, Problem>(self.unpaid(paid_on, payments)?.iter().any(|month| suspends(*month, paid_on)))
        };
        let known = self.known_on(paid_on);
        let [(first, _), ..] = paid.as_slice() else { return Ok(Err(Refused::NotWholeMonths { next })) };
        let last = paid.last().map_or(*first, |(month, _)| *month);
        let this = Payment { posting_id: Uuid::nil(), paid_on, first: *first, last };
        let after: Vec<_> = known.iter().copied().chain([&this]).collect();
        let reactivated = suspended(&known)? && !suspended(&after)?;
        Ok(Ok(Allotment { months: paid, reactivated }))
    }

    /// The months from `first` to `last`, as they stand today; none before the first terms.
    pub(crate) fn statement(&self, first: Date, last: Date, today: Date) -> Result<Vec<Line>, Problem> {
        let payments: Vec<_> = self.payments.iter().collect();
        let asked_for = self.asked_for(today, &payments)?;
        let liability = self.liability(today, &payments)?;
        let account_begins = self.policy.versions().first().map(|version| version.effective_from);
        let mut lines = Vec::new();
        for month in months(first.max(account_begins.unwrap_or(first)), last) {
            let Some(terms) = self.terms_of(month) else { continue };
            let rule = self.policy.on(month)?;
            let due_on = month.saturating_add(i32::from(rule.due_day - 1).days());
            let payment = payments.iter().find(|payment| payment.first <= month && month <= payment.last);
            let owed = match liability {
                Liability::From(from) => from <= month,
                Liability::AwaitingFirst => today.first_of_month() <= month,
                Liability::None => false,
            };
            let state = match payment {
                _ if rule.government_pays(terms.segment) => State::Government,
                Some(_) => State::Paid,
                None if !owed || self.covered_in(month).is_empty() => State::NotOwed,
                None if suspends(month, today) && !asked_for.contains(&month) => State::Lapsed,
                None if due_on < today => State::Overdue,
                None => State::Due,
            };
            let charge = if state == State::NotOwed { Rupiah::ZERO } else { self.charge(month)? };
            lines.push(Line {
                month,
                due_on,
                state,
                charge,
                payment: payment.map(|payment| (*payment).clone()),
            });
        }
        Ok(lines)
    }
}

/// An unpaid month suspends from the 1st of the month after it.
fn suspends(month: Date, day: Date) -> bool {
    month < day.first_of_month()
}

#[cfg(test)]
#[path = "contribution_tests.rs"]
pub(crate) mod tests;

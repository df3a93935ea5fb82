//! Whether a member is eligible for care on a day, from the history of membership, terms, choices and payments.

use std::sync::{Arc, Mutex, PoisonError};

use chassis::{
    Problem,
    policy::{Dated, Rule},
};
use jiff::{ToSpan, civil::Date};
use serde::Deserialize;
use vocabulary::{CareClass, FacilityCode, Rupiah, Segment};

use crate::{
    contribution::{Account, Liability},
    fktp_choice::{self, Choice},
};

/// `policy/membership/inpatient-penalty.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PenaltyRule {
    window_days: i32,
    basis_points_per_month: u32,
    most_months: usize,
    cap_rupiah: Rupiah,
    paid_by_employer: Vec<Segment>,
}

impl Rule for PenaltyRule {
    fn check(&self) -> Result<(), String> {
        if !(0..=366).contains(&self.window_days) {
            Err("window-days must be 0 to 366".into())
        } else if self.basis_points_per_month > 10_000 {
            Err("basis-points-per-month must be at most 10000".into())
        } else if !(1..=120).contains(&self.most_months) {
            Err("most-months must be 1 to 120".into())
        } else {
            Ok(())
        }
    }
}

/// Kind of care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    Inpatient,
    Outpatient,
}

/// Why a member is not eligible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NotYetRegistered,
    MembershipEnded,
    FirstContributionUnpaid,
    SuspendedForArrears,
}

/// What is asked for admissions soon after a reactivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Penalty {
    pub(crate) reactivated_on: Date,
    pub(crate) window_ends_on: Date,
    pub(crate) months: usize,
    pub(crate) basis_points_per_month: u32,
    pub(crate) cap: Rupiah,
    pub(crate) paid_by_employer: bool,
}

/// Everything the answer rests on.
#[derive(Debug, Clone)]
pub(crate) struct Standing<'a> {
    pub(crate) registered_from: Date,
    /// The last day.
    pub(crate) ended_on: Option<Date>,
    pub(crate) account: Account<'a>,
    pub(crate) choices: &'a [Choice],
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reasons: Vec<Reason>,
    pub(crate) segment: Option<Segment>,
    pub(crate) class: Option<CareClass>,
    pub(crate) fktp: Option<FacilityCode>,
    pub(crate) arrears_months: usize,
    pub(crate) arrears: Rupiah,
    pub(crate) penalty: Option<Penalty>,
}

/// Verdicts on one record. Neither what was read nor the policies change, so what was judged is not judged again.
#[derive(Debug, Default)]
pub(crate) struct Judged(Mutex<Vec<(Date, Care, Arc<Verdict>)>>);

impl Judged {
    /// Most verdicts kept of a record: two kinds of care, today and the day before or after.
    const MOST: usize = 4;

    /// The verdict on a day, by the judge unless it is known.
    pub(crate) fn verdict(
        &self,
        day: Date,
        care: Care,
        judge: impl FnOnce() -> Result<Verdict, Problem>,
    ) -> Result<Arc<Verdict>, Problem> {
        let known = |kept: &[(Date, Care, Arc<Verdict>)]| {
            kept.iter().find(|one| (one.0, one.1) == (day, care)).map(|one| Arc::clone(&one.2))
        };
        if let Some(verdict) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(verdict);
        }
        let verdict = Arc::new(judge()?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == Self::MOST {
            kept.remove(0);
        }
        kept.push((day, care, Arc::clone(&verdict)));
        Ok(verdict)
    }
}

/// Judges a member's standing on a day.
pub(crate) fn judge(
    standing: &Standing<'_>,
    penalties: &Dated<PenaltyRule>,
    day: Date,
    care: Care,
) -> Result<Verdict, Problem> {
    let account = &standing.account;
    let terms = account.terms_on(day);
    let arrears = account.arrears(day)?;
    let mut reasons = Vec::new();
    if day < standing.registered_from || terms.is_none() {
        reasons.push(Reason::NotYetRegistered);
    }
    if standing.ended_on.is_some_and(|ended_on| ended_on < day) {
        reasons.push(Reason::MembershipEnded);
    }
    if account.liability_on(day)? == Liability::AwaitingFirst {
        reasons.push(Reason::FirstContributionUnpaid);
    }
    if arrears.suspended {
        reasons.push(Reason::SuspendedForArrears);
    }
    let penalty = match (care, terms) {
        (Care::Inpatient, Some(terms)) if !arrears.suspended => {
            let rule = penalties.on(day)?;
            account.reactivation(day)?.and_then(|reactivation| {
                let window_ends_on = reactivation.on.saturating_add(rule.window_days.days());
                (day <= window_ends_on).then(|| Penalty {
                    reactivated_on: reactivation.on,
                    window_ends_on,
                    months: reactivation.months.min(rule.most_months),
                    basis_points_per_month: rule.basis_points_per_month,
                    cap: rule.cap_rupiah,
                    paid_by_employer: rule.paid_by_employer.contains(&terms.segment),
                })
            })
        }
        _ => None,
    };
    Ok(Verdict {
        reasons,
        segment: terms.map(|terms| terms.segment),
        class: terms.map(|terms| terms.class),
        fktp: fktp_choice::on(standing.choices, day).map(|choice| choice.fktp.clone()),
        arrears_months: arrears.months.len(),
        arrears: arrears.rupiah,
        penalty,
    })
}

#[cfg(test)]
#[path = "eligibility_tests.rs"]
mod tests;

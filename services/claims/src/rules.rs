//! Verification by rules as data. Two sets of rules, claim edits and tracer indicators, run over the same facts of a
//! claim: each rule is an expression of CEL with its source, dates, severity, the pending reason it leads to, what it
//! asks for, and examples that prove it. Pure: the same sets and facts give the same verdict, whatever their order.
//!
//! - [`facts`]: what the rules see
//! - `language`, `formula`, `evaluate`: the expressions: read and checked at load, taken apart, then evaluated
//! - [`load`]: rule files, and everything that can be wrong in one
//! - [`backtest`]: what another set would change
//! - [`tracer`]: whether a tracer was embedded in time (DLI 4.2)

pub mod backtest;
mod evaluate;
pub mod facts;
mod formula;
mod language;
pub mod load;
pub mod tracer;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::civil::{Date, Weekday};
use serde::Deserialize;

use self::{
    evaluate::{Answers, View},
    facts::Facts,
    formula::Conditions,
    language::Expression,
};

/// Why a claim is pending. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Reason {
    /// Coding not according to the rules.
    Coding = 1,
    /// Out-patient visit repeated within few days.
    RepeatedOutpatientVisit = 2,
    /// A code without supporting evidence.
    CodeWithoutEvidence = 3,
    /// Indication of the visit or procedure.
    VisitOrProcedureIndication = 4,
    /// Indication of in-patient care.
    InpatientIndication = 5,
    /// Another reason.
    Other = 6,
}

impl Reason {
    /// The reason of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        use Reason::*;
        [
            Coding,
            RepeatedOutpatientVisit,
            CodeWithoutEvidence,
            VisitOrProcedureIndication,
            InpatientIndication,
            Other,
        ]
        .into_iter()
        .find(|reason| *reason as i16 == number)
    }
}

/// What a set of rules is for. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Kind {
    /// Claim edits: what they find makes a claim pending, or is told only.
    Edits = 1,
    /// Tracer indicators: whether care followed the guideline; told and kept, never a reason for pending.
    Tracers = 2,
}

impl Kind {
    /// Both, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Edits, Self::Tracers];

    /// The kind of a number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as i32 == number)
    }

    /// Its name in the rule files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edits => "edits",
            Self::Tracers => "tracers",
        }
    }
}

/// How grave a finding is. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Severity {
    /// A hint.
    Low = 1,
    /// Often wrong.
    Medium = 2,
    /// Nearly always wrong.
    High = 3,
}

/// The level of care whose work a tracer tells of. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Level {
    /// First level.
    Fktp = 1,
    /// Referral level.
    Fkrtl = 2,
}

/// What must be at hand beside the claim itself before a rule can be assessed. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Need {
    /// The answer of the accreditation service for the SEP.
    Standing = 1,
    /// The answer of the referral service for the SEP.
    Referral = 2,
    /// The record of the first-level facilities.
    PcareRecord = 3,
    /// A blood pressure in it.
    PcarePressure = 4,
    /// A fasting glucose in it.
    PcareFastingGlucose = 5,
    /// A drug against tuberculosis in it.
    PcareTbDrugs = 6,
}

/// A text in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Indonesian.
    #[serde(rename = "id")]
    pub indonesian: String,
    /// English.
    #[serde(rename = "en")]
    pub english: String,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Line of the file in which it begins.
    pub line: usize,
    /// Id; the same in all versions of the rule.
    pub id: String,
    /// Version of the rule, from 1.
    pub version: i32,
    /// What it rests on.
    pub source: String,
    /// Day on which its guideline was issued; `None` while it is a proposal that nobody issued.
    pub issued_on: Option<Date>,
    /// Day on which it became part of the verification.
    pub embedded_on: Date,
    /// First day of service on which it holds.
    pub effective_from: Date,
    /// Last day of service on which it holds; `None` while no end is known.
    pub effective_to: Option<Date>,
    /// How grave a finding is.
    pub severity: Severity,
    /// The pending reason it leads to; `None` when it is told only.
    pub reason: Option<Reason>,
    /// The level of care a tracer tells of; `None` for a claim edit.
    pub level: Option<Level>,
    /// What must be at hand to assess it.
    pub needs: Vec<Need>,
    /// The kinds of document that it asks the hospital for.
    pub evidence: Vec<String>,
    /// What was found.
    pub message: Words,
    /// What would cure it.
    pub cure: Words,
    /// The claims it looks at, in CEL; empty for all.
    pub applies_text: String,
    /// When it fires, in CEL.
    pub when_text: String,
    applies: Option<Expression>,
    when: Expression,
}

/// What a rule says of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The rule does not look at such a claim.
    NotApplicable,
    /// It does, but what it needs is not at hand.
    NotAssessable,
    /// Nothing to object to; the tracer is met.
    Clear,
    /// It objects; the tracer is not met.
    Fires,
    /// It could not be evaluated, because a number overflowed.
    Failed,
}

impl Rule {
    /// Whether it holds on a day of service.
    #[must_use]
    pub fn holds_on(&self, day: Date) -> bool {
        self.effective_from <= day && self.effective_to.is_none_or(|to| day <= to)
    }

    /// The most steps that evaluating it takes, on any claim.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.when.steps + self.applies.as_ref().map_or(0, |applies| applies.steps)
    }

    /// Whether it judges as another rule does, and claims the same dates.
    fn is_same(&self, other: &Self) -> bool {
        (self.issued_on, self.embedded_on) == (other.issued_on, other.embedded_on)
            && (&self.when_text, &self.applies_text, self.reason)
                == (&other.when_text, &other.applies_text, other.reason)
    }

    fn assess(&self, answers: &mut Answers<'_>, facts: &Facts) -> Outcome {
        match self.applies.as_ref().map_or(Ok(true), |applies| answers.holds(&applies.formula)) {
            Ok(true) => {}
            Ok(false) => return Outcome::NotApplicable,
            Err(_) => return Outcome::Failed,
        }
        let pcare = facts.pcare.as_ref();
        let at_hand = |need: &Need| match need {
            Need::Standing => facts.standing.is_some(),
            Need::Referral => facts.referral.is_some(),
            Need::PcareRecord => pcare.is_some(),
            Need::PcarePressure => {
                pcare.is_some_and(|record| record.systolic.is_some() && record.diastolic.is_some())
            }
            Need::PcareFastingGlucose => pcare.is_some_and(|record| record.fasting_glucose_mg.is_some()),
            Need::PcareTbDrugs => pcare.is_some_and(|record| !record.tb_drugs.is_empty()),
        };
        if !self.needs.iter().all(at_hand) {
            return Outcome::NotAssessable;
        }
        match answers.holds(&self.when.formula) {
            Ok(true) => Outcome::Fires,
            Ok(false) => Outcome::Clear,
            Err(_) => Outcome::Failed,
        }
    }
}

/// What a set knows beside its rules.
#[derive(Debug, Clone, Default)]
struct Lookups {
    /// Usual days of stay, by package without severity.
    norms: BTreeMap<String, i64>,
    /// National holidays.
    holidays: BTreeSet<Date>,
}

impl Lookups {
    /// The usual stay of a package, 0 when none is known.
    fn norm_days(&self, package: &str) -> i64 {
        self.norms.get(package).copied().unwrap_or_default()
    }

    /// Whether a day is a Sunday or a holiday.
    fn is_closed(&self, day: Date) -> bool {
        day.weekday() == Weekday::Sunday || self.holidays.contains(&day)
    }
}

/// A set of rules that was read and found right.
#[derive(Debug)]
pub struct RuleSet {
    /// What it is for.
    pub kind: Kind,
    /// Its version, unique in its kind.
    pub version: String,
    /// SHA-256 of its text, in hexadecimal digits.
    pub digest: String,
    /// Its text, as it was read.
    pub text: String,
    /// A tracer counts when it is embedded within so many months of its issuance (DLI 4.2); `None` for edits.
    pub embed_within_months: Option<i32>,
    /// The rules, by id and version.
    pub rules: Vec<Arc<Rule>>,
    lookups: Lookups,
    conditions: Conditions,
}

impl RuleSet {
    /// What each rule that holds on the claim's day of service says.
    fn assess(&self, facts: &Facts, mut said: impl FnMut(&Arc<Rule>, Outcome)) {
        let view = View::new(facts, &self.lookups, &self.conditions);
        let mut answers = Answers::new(&view);
        for rule in self.rules.iter().filter(|rule| rule.holds_on(facts.service_date)) {
            said(rule, rule.assess(&mut answers, facts));
        }
    }
}

/// What the rules say of a claim.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What the claim edits found: first what leads to pending, by reason, then what is told only.
    pub findings: Vec<Arc<Rule>>,
    /// What the tracers that look at such a claim say, by id.
    pub tracers: Vec<(Arc<Rule>, Outcome)>,
    /// Rules that could not be evaluated.
    pub failed: Vec<Arc<Rule>>,
}

impl Verdict {
    /// The findings that lead to pending.
    pub fn pending(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.findings.iter().filter(|rule| rule.reason.is_some())
    }

    /// The reason with which the claim will be pending; `None` when it will not.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.findings.first().and_then(|rule| rule.reason)
    }
}

/// The verdict of the sets on a claim.
#[must_use]
pub fn judge<'a>(sets: impl IntoIterator<Item = &'a RuleSet>, facts: &Facts) -> Verdict {
    let mut verdict = Verdict::default();
    for set in sets {
        set.assess(facts, |rule, outcome| match (outcome, set.kind) {
            (Outcome::Failed, _) => verdict.failed.push(Arc::clone(rule)),
            (Outcome::Fires, Kind::Edits) => verdict.findings.push(Arc::clone(rule)),
            (Outcome::NotApplicable, _) | (_, Kind::Edits) => {}
            (_, Kind::Tracers) => verdict.tracers.push((Arc::clone(rule), outcome)),
        });
    }
    // A total order: nothing depends on the order of rules and sets.
    verdict.findings.sort_by(|a, b| {
        let rank = |rule: &Rule| (rule.reason.is_none(), rule.reason, std::cmp::Reverse(rule.severity));
        rank(a).cmp(&rank(b)).then_with(|| a.id.cmp(&b.id))
    });
    verdict.tracers.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
    verdict.failed.sort_by(|a, b| a.id.cmp(&b.id));
    verdict
}

#[cfg(test)]
mod tests;

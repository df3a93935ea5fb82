//! Disputes: when a hospital may open one, who decides it, and what the decision makes of the claim.
//!
//! Nothing is rejected, so a decision against the hospital is one of two things. What can be put right goes back to it,
//! pending with a new round, and the filing limit of six months is not in the way, because the claim was submitted in
//! time. A dispute that is withdrawn before its decision leaves the claim pending as it was, and counts: whoever withdraws
//! accepts the question. What cannot is closed as decided without payment: the clock of the indicator ends on the day paid or finally
//! refused, and a claim left pending for good would be late for ever.

use chassis::policy::Rule;
use jiff::civil::Date;
use serde::Deserialize;

use crate::{
    clock,
    life::{Life, NotNow, Step},
};

/// What a dispute rests on. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Ground {
    /// The coding rule that was cited.
    CodingRule = 1,
    /// The evidence that was handed in.
    Evidence = 2,
    /// The indication.
    MedicalIndication = 3,
    /// An administrative requirement.
    Administrative = 4,
    /// Another.
    Other = 5,
}

impl Ground {
    /// Every ground.
    pub const ALL: [Self; 5] =
        [Self::CodingRule, Self::Evidence, Self::MedicalIndication, Self::Administrative, Self::Other];

    /// The ground of a number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|ground| *ground as i32 == number)
    }
}

/// Who decides. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(i16)]
pub enum Body {
    /// The dispute body of BPJS Kesehatan.
    Bpjs = 1,
    /// The JKN team led by the ministry.
    TpkJkn = 2,
}

impl Body {
    /// The body of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::Bpjs, Self::TpkJkn].into_iter().find(|body| *body as i16 == number)
    }

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bpjs => "BPJS",
            Self::TpkJkn => "TPK_JKN",
        }
    }
}

/// The number of the outcome of a dispute that was withdrawn, in the contract and the database; nobody decides so.
pub const WITHDRAWN: i16 = 4;

/// How a dispute is decided. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Outcome {
    /// For the hospital.
    Upheld = 1,
    /// Against it, to be put right.
    Correct = 2,
    /// Against it, for good.
    WithoutPayment = 3,
}

impl Outcome {
    /// The outcome of a number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        [Self::Upheld, Self::Correct, Self::WithoutPayment].into_iter().find(|one| *one as i32 == number)
    }

    /// The step that the claim takes by it.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::Upheld => Step::Uphold,
            Self::Correct => Step::Correct,
            Self::WithoutPayment => Step::Decide,
        }
    }
}

/// The rules of disputes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    after_rounds: i32,
    most_disputes: i32,
    decision_days: i16,
    body: Bodies,
}

/// Who decides a dispute on which ground.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Bodies {
    coding_rule: Body,
    evidence: Body,
    medical_indication: Body,
    administrative: Body,
    other: Body,
}

impl Rule for Rules {
    fn check(&self) -> Result<(), String> {
        if !(1..=100).contains(&self.after_rounds) {
            Err("after-rounds must be 1 to 100".into())
        } else if !(1..=100).contains(&self.most_disputes) {
            Err("most-disputes must be 1 to 100".into())
        } else if !(1..=365).contains(&self.decision_days) {
            Err("decision-days must be 1 to 365".into())
        } else {
            Ok(())
        }
    }
}

/// Why a dispute cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The claim is not in a state for it, or the hospital is not asked.
    NotNow(NotNow),
    /// Too few rounds.
    TooEarly {
        /// Rounds so far.
        rounds: i32,
        /// Rounds that are needed.
        needed: i32,
    },
    /// As many disputes as there may be.
    UsedUp,
}

impl Rules {
    /// Whether the claim, disputed so often before, may be disputed now.
    ///
    /// # Errors
    /// What is against it.
    pub fn may_open(&self, life: Life, before: i32) -> Result<(), Refusal> {
        life.take(Step::Dispute).map_err(Refusal::NotNow)?;
        if life.round < self.after_rounds {
            return Err(Refusal::TooEarly { rounds: life.round, needed: self.after_rounds });
        }
        if before >= self.most_disputes {
            return Err(Refusal::UsedUp);
        }
        Ok(())
    }

    /// Who decides.
    #[must_use]
    pub const fn body(&self, ground: Ground) -> Body {
        match ground {
            Ground::CodingRule => self.body.coding_rule,
            Ground::Evidence => self.body.evidence,
            Ground::MedicalIndication => self.body.medical_indication,
            Ground::Administrative => self.body.administrative,
            Ground::Other => self.body.other,
        }
    }

    /// The last day for the decision of a dispute opened on a day.
    #[must_use]
    pub fn decision_due(&self, opened: Date) -> Date {
        clock::after(opened, self.decision_days)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::life::{Party, State};

    pub(crate) fn rules() -> Rules {
        let text = include_str!("../../../policy/claims/dispute.toml");
        let dated = chassis::policy::parse::<Rules>("claims/dispute.toml", text).unwrap();
        dated.on("2026-01-01".parse().unwrap()).unwrap().rule.clone()
    }

    fn pending(round: i32) -> Life {
        Life { state: State::Pending, round, asked: Some(Party::Hospital), submitted: true }
    }

    #[test]
    fn a_dispute_needs_a_question_to_the_hospital_and_is_open_once() {
        let rules = rules();
        assert_eq!(rules.may_open(pending(1), 0), Ok(()));
        assert_eq!(rules.may_open(pending(2), 1), Err(Refusal::UsedUp));
        let asked = Life { asked: Some(Party::Bpjs), ..pending(1) };
        assert!(matches!(rules.may_open(asked, 0), Err(Refusal::NotNow(_))));
        let later = Rules { after_rounds: 3, ..rules };
        assert_eq!(later.may_open(pending(2), 0), Err(Refusal::TooEarly { rounds: 2, needed: 3 }));
        assert_eq!(later.may_open(pending(3), 0), Ok(()));
    }

    #[test]
    fn every_ground_has_a_body_and_every_outcome_a_state() {
        let rules = rules();
        assert_eq!(rules.body(Ground::MedicalIndication), Body::TpkJkn);
        assert_eq!(rules.body(Ground::CodingRule), Body::Bpjs);
        let disputed = pending(1).take(Step::Dispute).unwrap();
        let after = |outcome: Outcome| disputed.take(outcome.step()).unwrap().state;
        assert_eq!(
            [Outcome::Upheld, Outcome::Correct, Outcome::WithoutPayment].map(after),
            [State::Verified, State::Pending, State::Decided]
        );
    }
}

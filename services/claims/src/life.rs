//! The life of a claim: which step is lawful when. Nothing is rejected: a claim is pending, with a round that somebody
//! has to answer, until it is paid. Editing the data makes it a draft again; the open round stays open until the claim
//! comes back. A hospital that does not accept a question disputes it; only the decision of that dispute can close a
//! submitted claim without payment.

/// Where a claim stands. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum State {
    /// Created, or its data changed since it was grouped.
    Draft = 1,
    /// Grouped, with a tariff.
    Grouped = 2,
    /// Final at the hospital.
    Final = 3,
    /// Sent; the edits found nothing.
    Submitted = 4,
    /// A question is open.
    Pending = 5,
    /// Came back with an answer or a correction.
    Resubmitted = 6,
    /// Verified without objection.
    Verified = 7,
    /// Approved for payment.
    Approved = 8,
    /// Paid.
    Paid = 9,
    /// Withdrawn as a draft with its SEP.
    Withdrawn = 10,
    /// The open question is disputed.
    Disputed = 11,
    /// Decided without payment, after a dispute.
    Decided = 12,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Draft,
        Self::Grouped,
        Self::Final,
        Self::Submitted,
        Self::Pending,
        Self::Resubmitted,
        Self::Verified,
        Self::Approved,
        Self::Paid,
        Self::Withdrawn,
        Self::Disputed,
        Self::Decided,
    ];

    /// The state of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i16 == number)
    }

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::Grouped => "GROUPED",
            Self::Final => "FINAL",
            Self::Submitted => "SUBMITTED",
            Self::Pending => "PENDING",
            Self::Resubmitted => "RESUBMITTED",
            Self::Verified => "VERIFIED",
            Self::Approved => "APPROVED",
            Self::Paid => "PAID",
            Self::Withdrawn => "WITHDRAWN",
            Self::Disputed => "DISPUTED",
            Self::Decided => "DECIDED",
        }
    }
}

/// Who owes a step. The numbers are those of the contract and of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Party {
    /// The hospital.
    Hospital = 1,
    /// BPJS Kesehatan.
    Bpjs = 2,
    /// The body that decides disputes.
    DisputeBody = 3,
}

impl Party {
    /// The party of a number.
    #[must_use]
    pub fn of(number: i16) -> Option<Self> {
        [Self::Hospital, Self::Bpjs, Self::DisputeBody].into_iter().find(|party| *party as i16 == number)
    }

    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hospital => "HOSPITAL",
            Self::Bpjs => "BPJS",
            Self::DisputeBody => "DISPUTE_BODY",
        }
    }
}

/// A step that somebody wants to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The hospital replaces the data.
    SetData,
    /// The grouper found a package.
    Group,
    /// The hospital makes it final.
    Finalise,
    /// The hospital opens it again.
    Reedit,
    /// The hospital sends it; whether the claim edits found something.
    Submit {
        /// Whether they did.
        found: bool,
    },
    /// The verifier has no objection.
    Verify,
    /// The verifier asks.
    Pend {
        /// Whom.
        of: Party,
    },
    /// The hospital answers the open round.
    Answer,
    /// BPJS Kesehatan approves it for payment.
    Approve,
    /// It is paid.
    Settle,
    /// Its SEP is cancelled.
    Withdraw,
    /// The hospital disputes the open round.
    Dispute,
    /// The hospital withdraws its dispute; the round is open again as it was.
    WithdrawDispute,
    /// The dispute is decided for the hospital.
    Uphold,
    /// The dispute is decided against it, and the claim can be put right.
    Correct,
    /// The dispute is decided against it for good.
    Decide,
    /// An audit recovers part of what was paid; the claim stays paid.
    Recover,
}

impl Step {
    /// Its name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetData => "set data",
            Self::Group => "group",
            Self::Finalise => "finalise",
            Self::Reedit => "reedit",
            Self::Submit { .. } => "submit",
            Self::Verify => "verify",
            Self::Pend { .. } => "put to pending",
            Self::Answer => "answer",
            Self::Approve => "approve",
            Self::Settle => "settle",
            Self::Withdraw => "withdraw",
            Self::Dispute => "dispute",
            Self::WithdrawDispute => "withdraw its dispute",
            Self::Uphold => "uphold its dispute",
            Self::Correct => "have it corrected after its dispute",
            Self::Decide => "decide it without payment",
            Self::Recover => "recover",
        }
    }

    /// The states from which it may be taken.
    #[must_use]
    pub const fn allowed_from(self) -> &'static [State] {
        use State::{
            Approved, Disputed, Draft, Final, Grouped, Paid, Pending, Resubmitted, Submitted, Verified,
        };
        match self {
            Self::SetData => &[Draft, Grouped, Final, Pending],
            Self::Group => &[Draft, Grouped],
            Self::Finalise => &[Grouped],
            Self::Reedit => &[Final],
            Self::Submit { .. } => &[Final],
            // From pending only when BPJS Kesehatan itself was asked.
            Self::Verify => &[Submitted, Resubmitted, Pending],
            Self::Pend { .. } => &[Submitted, Resubmitted, Verified, Pending],
            Self::Answer | Self::Dispute => &[Pending],
            Self::Approve => &[Verified],
            Self::Settle => &[Approved],
            Self::Withdraw => &[Draft],
            Self::WithdrawDispute | Self::Uphold | Self::Correct | Self::Decide => &[Disputed],
            Self::Recover => &[Paid],
        }
    }
}

/// The part of a claim that decides what may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Where it stands.
    pub state: State,
    /// The last round of pending, 0 when there was none.
    pub round: i32,
    /// Who is asked by the open round; `None` when none is open.
    pub asked: Option<Party>,
    /// Whether it was ever submitted.
    pub submitted: bool,
}

/// The step cannot be taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotNow {
    /// Where the claim stands.
    pub state: State,
    /// What was wanted.
    pub step: Step,
    /// Who is asked by the open round, and so has the word.
    pub asked: Option<Party>,
}

impl Life {
    /// A new claim.
    #[must_use]
    pub const fn begin() -> Self {
        Self { state: State::Draft, round: 0, asked: None, submitted: false }
    }

    /// The life after a step.
    ///
    /// # Errors
    /// When the step is not lawful now.
    pub fn take(self, step: Step) -> Result<Self, NotNow> {
        let refused = NotNow { state: self.state, step, asked: self.asked };
        if !step.allowed_from().contains(&self.state) {
            return Err(refused);
        }
        // Who was asked has the word: BPJS decides only on its own question, the hospital only on one put to it.
        let lawful = match (step, self.state) {
            (Step::Verify | Step::Pend { .. }, State::Pending) => self.asked == Some(Party::Bpjs),
            (Step::Answer | Step::SetData | Step::Dispute, State::Pending) => {
                self.asked == Some(Party::Hospital)
            }
            (Step::Withdraw, _) => !self.submitted,
            _ => true,
        };
        if !lawful {
            return Err(refused);
        }
        let to = |state| Self { state, ..self };
        Ok(match step {
            Step::SetData => to(State::Draft),
            Step::Group | Step::Reedit => to(State::Grouped),
            Step::Finalise => to(State::Final),
            Step::Submit { found: false } => {
                let state = if self.submitted { State::Resubmitted } else { State::Submitted };
                Self { state, asked: None, submitted: true, ..self }
            }
            Step::Submit { found: true } => Self {
                state: State::Pending,
                round: self.round + 1,
                asked: Some(Party::Hospital),
                submitted: true,
            },
            Step::Verify | Step::Uphold => Self { asked: None, ..to(State::Verified) },
            Step::Pend { of } => Self { round: self.round + 1, asked: Some(of), ..to(State::Pending) },
            Step::Answer => Self { asked: None, ..to(State::Resubmitted) },
            Step::Approve => to(State::Approved),
            Step::Settle => to(State::Paid),
            Step::Withdraw => to(State::Withdrawn),
            Step::Dispute => Self { asked: None, ..to(State::Disputed) },
            // Only what is asked of the hospital can be disputed, so it is who is asked again.
            Step::WithdrawDispute => Self { asked: Some(Party::Hospital), ..to(State::Pending) },
            Step::Correct => {
                Self { round: self.round + 1, asked: Some(Party::Hospital), ..to(State::Pending) }
            }
            Step::Decide => to(State::Decided),
            Step::Recover => self,
        })
    }

    /// Who owes the next step; `None` when nobody does.
    #[must_use]
    pub const fn waiting_for(self) -> Option<Party> {
        match self.state {
            State::Draft | State::Grouped | State::Final => Some(Party::Hospital),
            State::Submitted | State::Resubmitted | State::Verified | State::Approved => Some(Party::Bpjs),
            State::Pending => self.asked,
            State::Disputed => Some(Party::DisputeBody),
            State::Paid | State::Withdrawn | State::Decided => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(steps: &[Step]) -> Result<Life, NotNow> {
        steps.iter().try_fold(Life::begin(), |life, step| life.take(*step))
    }

    const CODED: [Step; 3] = [Step::SetData, Step::Group, Step::Finalise];

    #[test]
    fn the_straight_way_ends_paid() {
        let mut steps = CODED.to_vec();
        steps.extend([Step::Submit { found: false }, Step::Verify, Step::Approve, Step::Settle]);
        let life = walk(&steps).unwrap();
        assert_eq!((life.state, life.round, life.waiting_for()), (State::Paid, 0, None));
    }

    #[test]
    fn a_finding_pends_and_a_correction_brings_it_back() {
        let mut steps = CODED.to_vec();
        steps.push(Step::Submit { found: true });
        let pending = walk(&steps).unwrap();
        assert_eq!((pending.state, pending.round, pending.asked), (State::Pending, 1, Some(Party::Hospital)));
        let corrected = CODED.into_iter().try_fold(pending, Life::take).unwrap();
        assert_eq!(corrected.asked, Some(Party::Hospital), "the round stays open until the claim comes back");
        let back = corrected.take(Step::Submit { found: false }).unwrap();
        assert_eq!((back.state, back.round, back.asked), (State::Resubmitted, 1, None));
        let answered = pending.take(Step::Answer).unwrap();
        assert_eq!((answered.state, answered.asked), (State::Resubmitted, None));
    }

    #[test]
    fn only_a_final_claim_is_opened_again_and_keeps_its_grouping() {
        let done = walk(&CODED).unwrap();
        let open = done.take(Step::Reedit).unwrap();
        assert_eq!((open.state, open.take(Step::Finalise).unwrap()), (State::Grouped, done));
        assert!(open.take(Step::Reedit).is_err());
        assert!(done.take(Step::Submit { found: false }).unwrap().take(Step::Reedit).is_err());
    }

    #[test]
    fn who_was_asked_has_the_word() {
        let mut steps = CODED.to_vec();
        steps.extend([Step::Submit { found: false }, Step::Pend { of: Party::Bpjs }]);
        let asked = walk(&steps).unwrap();
        assert!(asked.take(Step::Answer).is_err() && asked.take(Step::SetData).is_err());
        assert_eq!(asked.take(Step::Verify).unwrap().state, State::Verified);
        let hospital = asked.take(Step::Pend { of: Party::Hospital }).unwrap();
        assert_eq!(hospital.round, 2);
        assert!(
            hospital.take(Step::Verify).is_err() && hospital.take(Step::Pend { of: Party::Bpjs }).is_err()
        );
    }

    #[test]
    fn a_dispute_ends_verified_pending_or_decided() {
        let mut steps = CODED.to_vec();
        steps.push(Step::Submit { found: true });
        let pending = walk(&steps).unwrap();
        let disputed = pending.take(Step::Dispute).unwrap();
        assert_eq!((disputed.state, disputed.asked), (State::Disputed, None));
        assert_eq!(disputed.waiting_for(), Some(Party::DisputeBody));
        for step in
            [Step::Answer, Step::SetData, Step::Verify, Step::Pend { of: Party::Hospital }, Step::Dispute]
        {
            assert!(disputed.take(step).is_err(), "nobody else has the word: {}", step.name());
        }
        assert_eq!(disputed.take(Step::Uphold).unwrap().state, State::Verified);
        let again = disputed.take(Step::Correct).unwrap();
        assert_eq!((again.state, again.round, again.asked), (State::Pending, 2, Some(Party::Hospital)));
        let decided = disputed.take(Step::Decide).unwrap();
        assert_eq!((decided.state, decided.waiting_for()), (State::Decided, None));
        // What BPJS itself was asked is not the hospital's to dispute.
        let back = pending.take(Step::Answer).unwrap();
        assert!(back.take(Step::Pend { of: Party::Bpjs }).unwrap().take(Step::Dispute).is_err());
    }

    #[test]
    fn a_dispute_is_withdrawn_before_its_decision_and_only_then() {
        let pending = Life { state: State::Pending, round: 2, asked: Some(Party::Hospital), submitted: true };
        let disputed = pending.take(Step::Dispute).unwrap();
        assert_eq!(disputed.take(Step::WithdrawDispute), Ok(pending));
        for decision in [Step::Uphold, Step::Correct, Step::Decide] {
            assert!(disputed.take(decision).unwrap().take(Step::WithdrawDispute).is_err(), "{decision:?}");
        }
        assert!(pending.take(Step::WithdrawDispute).is_err());
    }

    pub(crate) fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::SetData),
            Just(Step::Group),
            Just(Step::Finalise),
            Just(Step::Reedit),
            any::<bool>().prop_map(|found| Step::Submit { found }),
            Just(Step::Verify),
            Just(Step::Pend { of: Party::Hospital }),
            Just(Step::Pend { of: Party::Bpjs }),
            Just(Step::Answer),
            Just(Step::Approve),
            Just(Step::Settle),
            Just(Step::Withdraw),
            Just(Step::Dispute),
            Just(Step::WithdrawDispute),
            Just(Step::Uphold),
            Just(Step::Correct),
            Just(Step::Decide),
            Just(Step::Recover),
        ]
    }

    proptest! {
        #[test]
        fn any_interleaving_is_lawful(steps in proptest::collection::vec(steps(), 0..80)) {
            let mut life = Life::begin();
            let (mut verified, mut approved) = (false, false);
            for step in steps {
                let before = life;
                let Ok(after) = before.take(step) else { continue };
                life = after;
                // Ends are ends.
                prop_assert!(!matches!(before.state, State::Withdrawn | State::Decided));
                prop_assert!(before.state != State::Paid || (step == Step::Recover && life == before));
                // Rounds only grow, by one, and only by a question.
                let asks = matches!(step, Step::Pend { .. } | Step::Submit { found: true } | Step::Correct);
                prop_assert_eq!(life.round, before.round + i32::from(asks));
                let returns = step == Step::WithdrawDispute;
                prop_assert_eq!(life.state == State::Pending, asks || returns);
                // What is withdrawn leaves the claim as if it had never been disputed.
                if step == Step::Dispute {
                    prop_assert_eq!(life.take(Step::WithdrawDispute), Ok(before));
                }
                prop_assert!(!returns || (before.state == State::Disputed && life.asked == Some(Party::Hospital)));
                // A round is open exactly while somebody is asked, and only ever after a submission.
                prop_assert!(life.state != State::Pending || life.asked.is_some());
                prop_assert!(life.asked.is_none() || (life.round > 0 && life.submitted));
                let closed = matches!(
                    life.state,
                    State::Submitted | State::Resubmitted | State::Verified | State::Approved | State::Paid
                        | State::Disputed | State::Decided
                );
                prop_assert!(!closed || life.asked.is_none());
                // What was submitted stays so, and is never withdrawn.
                prop_assert!(life.submitted || !before.submitted);
                prop_assert!(life.state != State::Withdrawn || !life.submitted);
                // Only a dispute ends a submitted claim without payment, and only a question can be disputed.
                prop_assert!(life.state != State::Decided || before.state == State::Disputed);
                prop_assert!(life.state != State::Disputed || before.state == State::Pending);
                prop_assert_eq!(life.waiting_for() == Some(Party::DisputeBody), life.state == State::Disputed);
                // Money moves only after verification and approval of the last version.
                match life.state {
                    State::Verified => verified = true,
                    State::Approved => { prop_assert!(verified); approved = true; }
                    State::Paid => prop_assert!(approved),
                    _ => { verified = false; approved = false; }
                }
                prop_assert_eq!(State::of(life.state as i16), Some(life.state));
            }
        }
    }
}

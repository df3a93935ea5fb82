//! The course of a referral: sent, accepted or refused or expired, arrived, completed; cancelled before arrival.
//!
//! Only the times of events are facts. Where a referral stands follows from them, from its terms and from now.

use jiff::{Timestamp, civil::Date};

/// The times of a referral's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// It was sent.
    pub sent_at: Timestamp,
    /// The destination accepted.
    pub accepted_at: Option<Timestamp>,
    /// The destination refused.
    pub refused_at: Option<Timestamp>,
    /// The origin cancelled.
    pub cancelled_at: Option<Timestamp>,
    /// The patient arrived.
    pub arrived_at: Option<Timestamp>,
    /// The destination completed it.
    pub completed_at: Option<Timestamp>,
}

/// The terms a referral is under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Until when it must be accepted; `None` when it needs no acceptance.
    pub answer_due_at: Option<Timestamp>,
    /// The last day of its validity.
    pub valid_through: Date,
}

/// Now: the instant, and the day it falls on in Asia/Jakarta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The instant.
    pub at: Timestamp,
    /// The day.
    pub today: Date,
}

/// Where a referral stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Sent, not answered.
    Sent,
    /// Accepted.
    Accepted,
    /// Refused.
    Refused,
    /// Not answered in time.
    Unanswered,
    /// Not used in time.
    Lapsed,
    /// Cancelled.
    Cancelled,
    /// The patient is there.
    Arrived,
    /// Done.
    Completed,
}

/// What is done to a referral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The destination accepts.
    Accept,
    /// The destination refuses.
    Refuse,
    /// The origin cancels.
    Cancel,
    /// The patient arrives.
    Arrive,
    /// The destination is done.
    Complete,
}

/// Why a step is not lawful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unlawful {
    /// The answer comes too late.
    #[error(
        "the destination did not answer within the answer window; send a new referral to the next candidate"
    )]
    AnswerWindowPassed,
    /// The validity is over.
    #[error("the days of validity are over; a new referral is needed")]
    NoLongerValid,
    /// It was accepted before.
    #[error("the referral has been accepted before")]
    AlreadyAccepted,
    /// It was refused.
    #[error("the destination has refused the referral; send a new one to another candidate")]
    Refused,
    /// It was cancelled.
    #[error("the origin has cancelled the referral")]
    Cancelled,
    /// It needs an acceptance.
    #[error("this care needs an acceptance; accept the referral first")]
    NotAccepted,
    /// The patient is there.
    #[error("the patient has arrived; the referral can only be completed")]
    AlreadyArrived,
    /// The patient is not there.
    #[error("the arrival has not been recorded; record it first")]
    NotArrived,
    /// It is done.
    #[error("the referral is completed")]
    AlreadyCompleted,
}

impl Times {
    /// The times of a referral that was just sent.
    #[must_use]
    pub const fn sent(sent_at: Timestamp) -> Self {
        Self {
            sent_at,
            accepted_at: None,
            refused_at: None,
            cancelled_at: None,
            arrived_at: None,
            completed_at: None,
        }
    }

    /// Where the referral stands now.
    #[must_use]
    pub fn state(&self, terms: &Terms, now: Now) -> State {
        if self.completed_at.is_some() {
            State::Completed
        } else if self.arrived_at.is_some() {
            State::Arrived
        } else if self.cancelled_at.is_some() {
            State::Cancelled
        } else if self.refused_at.is_some() {
            State::Refused
        } else if self.accepted_at.is_none() && terms.answer_due_at.is_some_and(|due| now.at > due) {
            State::Unanswered
        } else if now.today > terms.valid_through {
            State::Lapsed
        } else if self.accepted_at.is_some() {
            State::Accepted
        } else {
            State::Sent
        }
    }

    /// The times after a step taken now.
    ///
    /// # Errors
    /// When the referral does not stand where the step may be taken.
    pub fn take(self, step: Step, terms: &Terms, now: Now) -> Result<Self, Unlawful> {
        let at = Some(now.at);
        match (self.state(terms, now), step) {
            (State::Completed, _) => Err(Unlawful::AlreadyCompleted),
            (State::Arrived, Step::Complete) => Ok(Self { completed_at: at, ..self }),
            (State::Arrived, _) => Err(Unlawful::AlreadyArrived),
            (State::Cancelled, _) => Err(Unlawful::Cancelled),
            (State::Refused, _) => Err(Unlawful::Refused),
            (State::Unanswered, _) => Err(Unlawful::AnswerWindowPassed),
            (State::Lapsed, _) => Err(Unlawful::NoLongerValid),
            (State::Sent | State::Accepted, Step::Complete) => Err(Unlawful::NotArrived),
            (State::Sent | State::Accepted, Step::Cancel) => Ok(Self { cancelled_at: at, ..self }),
            (State::Accepted, Step::Accept | Step::Refuse) => Err(Unlawful::AlreadyAccepted),
            (State::Sent, Step::Accept) => Ok(Self { accepted_at: at, ..self }),
            (State::Sent, Step::Refuse) => Ok(Self { refused_at: at, ..self }),
            (State::Sent, Step::Arrive) if terms.answer_due_at.is_some() => Err(Unlawful::NotAccepted),
            (State::Sent | State::Accepted, Step::Arrive) => Ok(Self { arrived_at: at, ..self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{ToSpan, civil::date};
    use proptest::prelude::*;

    use super::*;

    fn start() -> Timestamp {
        "2026-03-02T02:00:00Z".parse().unwrap()
    }

    fn after(minutes: i64) -> Now {
        let at = start() + minutes.minutes();
        Now { at, today: chassis::time::today_at(at) }
    }

    fn terms(answer_needed: bool) -> Terms {
        Terms {
            answer_due_at: answer_needed.then(|| start() + 15.minutes()),
            valid_through: date(2026, 5, 31),
        }
    }

    #[test]
    fn fifteen_minutes_are_in_time_and_a_moment_more_is_not() {
        let sent = Times::sent(start());
        assert!(sent.take(Step::Accept, &terms(true), after(15)).is_ok());
        let late = Now { at: after(15).at + 1.millisecond(), ..after(15) };
        assert_eq!(sent.take(Step::Accept, &terms(true), late), Err(Unlawful::AnswerWindowPassed));
        assert_eq!(sent.state(&terms(true), late), State::Unanswered);
        assert!(sent.take(Step::Accept, &terms(false), after(10_000)).is_ok());
    }

    #[test]
    fn day_ninety_is_in_time_and_day_ninety_one_is_not() {
        let sent = Times::sent(start());
        let on = |today| Now { at: after(0).at, today };
        assert!(sent.take(Step::Arrive, &terms(false), on(date(2026, 5, 31))).is_ok());
        assert_eq!(
            sent.take(Step::Arrive, &terms(false), on(date(2026, 6, 1))),
            Err(Unlawful::NoLongerValid)
        );
    }

    #[test]
    fn an_outpatient_arrives_without_an_acceptance_and_an_inpatient_does_not() {
        let sent = Times::sent(start());
        assert!(sent.take(Step::Arrive, &terms(false), after(5)).is_ok());
        assert_eq!(sent.take(Step::Arrive, &terms(true), after(5)), Err(Unlawful::NotAccepted));
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
        let step = prop_oneof![
            Just(Step::Accept),
            Just(Step::Refuse),
            Just(Step::Cancel),
            Just(Step::Arrive),
            Just(Step::Complete)
        ];
        // Minutes between the steps: mostly some, sometimes months.
        proptest::collection::vec((step, prop_oneof![4 => 0_i64..20, 1 => 0_i64..200_000]), 0..12)
    }

    proptest! {
        #[test]
        fn every_interleaving_is_lawful(taken in steps(), answer_needed: bool) {
            let terms = terms(answer_needed);
            let mut times = Times::sent(start());
            let mut minutes = 0;
            for (step, pause) in taken {
                minutes += pause;
                let now = after(minutes);
                let before = times.state(&terms, now);
                let Ok(next) = times.take(step, &terms, now) else { continue };
                // A step moves the state, never out of an end, and takes nothing back.
                prop_assert_ne!(next.state(&terms, now), before);
                prop_assert!(!matches!(before, State::Refused | State::Cancelled | State::Completed | State::Unanswered | State::Lapsed));
                for (old, new) in [
                    (times.accepted_at, next.accepted_at),
                    (times.refused_at, next.refused_at),
                    (times.cancelled_at, next.cancelled_at),
                    (times.arrived_at, next.arrived_at),
                ] {
                    prop_assert!(old.is_none() || old == new);
                }
                times = next;
            }
            prop_assert!(!(times.accepted_at.is_some() && times.refused_at.is_some()));
            prop_assert!(times.arrived_at.is_none() || (times.refused_at.is_none() && times.cancelled_at.is_none()));
            prop_assert!(times.completed_at.is_none() || times.arrived_at.is_some());
            if answer_needed {
                prop_assert!(times.arrived_at.is_none() || times.accepted_at.is_some());
                prop_assert!(times.accepted_at.is_none_or(|at| at <= start() + 15.minutes()));
            }
            prop_assert!(times.arrived_at.is_none_or(|at| chassis::time::today_at(at) <= terms.valid_through));
        }
    }
}

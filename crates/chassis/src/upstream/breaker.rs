//! When an address that answers, but badly, is left alone for a moment. What is no answer at all, a connection that
//! breaks, is not judged here: such an address leaves until a health check passes.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// So many bad answers in a row, and no good one between them, open the breaker.
const IN_A_ROW: u32 = 10;
/// More than half of at least so many answers within the window, too.
const OF_AT_LEAST: u32 = 20;
/// Answers of the running half and of the one before it count.
const HALF_WINDOW: Duration = Duration::from_secs(5);
/// A trial that tells nothing is over after this time.
const TRIAL: Duration = Duration::from_secs(2);

/// The pauses of an open breaker: short, so that an address that is well again is used again soon.
fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_millis(500))
        .without_max_times()
        .with_jitter()
        .build()
}

/// Judges one address by its answers.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    in_a_row: u32,
    half_began: Instant,
    now: Half,
    before: Half,
    pauses: ExponentialBackoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Trial { since: Instant },
}

#[derive(Debug, Clone, Copy, Default)]
struct Half {
    answers: u32,
    bad: u32,
}

impl Breaker {
    /// Closed.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            in_a_row: 0,
            half_began: now,
            now: Half::default(),
            before: Half::default(),
            pauses: pauses(),
        }
    }

    /// Whether a call may go; otherwise, when to ask again. An open breaker lets one call try when its pause is over.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } if now < until => Err(until),
            State::Trial { since } if now < since + TRIAL => Err(since + TRIAL),
            State::Open { .. } | State::Trial { .. } => {
                self.state = State::Trial { since: now };
                Ok(())
            }
        }
    }

    /// An answer came, good or bad.
    pub(super) fn told(&mut self, good: bool, now: Instant) {
        if good {
            // Late answers of calls from before it opened close nothing: a trial does.
            if matches!(self.state, State::Trial { .. }) {
                *self = Self::new(now);
            }
            self.in_a_row = 0;
        } else {
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        let half = self.half(now);
        half.answers = half.answers.saturating_add(1);
        half.bad = half.bad.saturating_add(u32::from(!good));
        let answers = self.now.answers.saturating_add(self.before.answers);
        let bad = self.now.bad.saturating_add(self.before.bad);
        let ill = self.in_a_row >= IN_A_ROW || (answers >= OF_AT_LEAST && bad > answers / 2);
        if !good && (ill || matches!(self.state, State::Trial { .. })) && !self.is_open(now) {
            let pause = self.pauses.next().unwrap_or_default();
            self.state = State::Open { until: now + pause };
        }
    }

    fn is_open(&self, now: Instant) -> bool {
        matches!(self.state, State::Open { until } if now < until)
    }

    fn half(&mut self, now: Instant) -> &mut Half {
        let passed = now.saturating_duration_since(self.half_began);
        if passed >= HALF_WINDOW {
            self.before = if passed < 2 * HALF_WINDOW { self.now } else { Half::default() };
            self.now = Half::default();
            self.half_began = now;
        }
        &mut self.now
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(breaker: &mut Breaker, answers: &[bool], now: Instant) {
        answers.iter().for_each(|good| breaker.told(*good, now));
    }

    #[test]
    fn ten_bad_answers_in_a_row_open_it_and_one_good_trial_closes_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        told(&mut breaker, &[false; 9], now);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.told(false, now);
        let until = breaker.admit(now).unwrap_err();
        assert!(until > now && until <= now + Duration::from_secs(2), "{:?}", until - now);
        assert_eq!(breaker.admit(until), Ok(()), "one may try");
        assert!(breaker.admit(until).is_err(), "and no other");
        breaker.told(true, until);
        assert_eq!(breaker.admit(until), Ok(()));
        told(&mut breaker, &[false; 9], until);
        assert_eq!(breaker.admit(until), Ok(()), "it counts anew");
    }

    #[test]
    fn a_bad_trial_opens_it_for_longer_and_a_silent_one_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        told(&mut breaker, &[false; 10], now);
        let first = breaker.admit(now).unwrap_err();
        breaker.admit(first).unwrap();
        breaker.told(false, first);
        let second = breaker.admit(first).unwrap_err();
        assert!(second > first);
        breaker.admit(second).unwrap();
        assert_eq!(breaker.admit(second + TRIAL), Ok(()));
    }

    #[test]
    fn a_half_of_bad_answers_is_borne_and_more_is_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        told(&mut breaker, &[true, false].repeat(20), now);
        assert_eq!(breaker.admit(now), Ok(()));
        told(&mut breaker, &[false, false, true].repeat(7), now);
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let now = Instant::now();
        let mut breaker = Breaker::new(now);
        told(&mut breaker, &[false, false, false, false, true].repeat(3), now);
        let later = now + 3 * HALF_WINDOW;
        told(&mut breaker, &[true, false, true, true, false].repeat(2), later);
        assert_eq!(breaker.admit(later), Ok(()));
    }

    proptest! {
        #[test]
        fn it_is_never_shut_for_longer_than_two_seconds(
            answers in proptest::collection::vec((any::<bool>(), 0_u64..3000), 0..300)
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(now);
            for (good, millis) in answers {
                now += Duration::from_millis(millis);
                if breaker.admit(now).is_ok() {
                    breaker.told(good, now);
                }
                if let Err(until) = breaker.admit(now) {
                    prop_assert!(until <= now + Duration::from_secs(2));
                }
            }
        }
    }
}

//! Which calls are sent again, when, and how many of them: only those that may be sent twice without a second effect,
//! after a jittered pause, and no more than a fifth of all calls, so that retries never become the load.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::{HeaderMap, Response};
use hyper::body::Incoming;
use tonic::{Code, Status};
use tower::retry::budget::{Budget, TpsBudget};

use super::{link::Outcome, pool::Failure};
use crate::contract::Method;

/// Of the last ten seconds' calls, one in five may be sent again, and ten a second in any case.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);
const BUDGET_AT_LEAST: u32 = 10;
const BUDGET_SHARE: f32 = 0.2;
/// Times a call is sent again.
const TIMES: usize = 3;

/// The retries of all calls to one service.
#[derive(Debug)]
pub(super) struct Retries(TpsBudget);

impl Retries {
    pub(super) fn new() -> Self {
        Self(TpsBudget::new(BUDGET_WINDOW, BUDGET_AT_LEAST, BUDGET_SHARE))
    }

    /// A call that is sent for the first time.
    pub(super) fn count_call(&self) {
        self.0.deposit();
    }

    /// The pause before a call is sent again; `None` when it should not be.
    pub(super) fn pause(&self, pauses: &mut ExponentialBackoff) -> Option<Duration> {
        let pause = pauses.next()?;
        self.0.withdraw().then_some(pause)
    }
}

/// The pauses of one call.
pub(super) fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_millis(500))
        .with_factor(4.0)
        .with_max_times(TIMES)
        .with_jitter()
        .build()
}

/// Whether a method may be sent again after an unknown outcome, and is short enough to be kept for it.
pub(super) fn may_repeat(method: &Method) -> bool {
    method.idempotent && !method.client_streaming && !method.server_streaming
}

/// Whether an attempt failed in a way that another one may mend. An overload is the caller's to wait for.
pub(super) fn is_worth_repeating(attempt: &Result<(Response<Incoming>, Outcome), Failure>) -> bool {
    match attempt {
        Err(_) => true,
        Ok((answer, _)) => is_unavailable(answer.headers()),
    }
}

fn is_unavailable(headers: &HeaderMap) -> bool {
    headers
        .get(Status::GRPC_STATUS)
        .is_some_and(|status| Code::from_bytes(status.as_bytes()) == Code::Unavailable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract;

    #[tokio::test]
    async fn retries_never_become_the_load() {
        let retries = Retries::new();
        (0..1000).for_each(|_| retries.count_call());
        let sent_again = (0..10_000).filter(|_| retries.pause(&mut pauses()).is_some()).count();
        assert!((200..=300).contains(&sent_again), "{sent_again}");
    }

    #[tokio::test]
    async fn one_call_is_sent_again_three_times_with_growing_pauses() {
        let retries = Retries::new();
        let mut pauses = pauses();
        let taken: Vec<_> = std::iter::from_fn(|| retries.pause(&mut pauses)).collect();
        assert_eq!(taken.len(), TIMES);
        assert!(taken[2] > taken[0] && taken[2] <= Duration::from_secs(1), "{taken:?}");
    }

    #[test]
    fn only_what_has_one_effect_is_repeated() {
        let repeats = |path| may_repeat(contract::method(path).unwrap());
        assert!(repeats("/jkn.feed.v1.FeedService/ReadEvents"));
        assert!(repeats("/jkn.referral.v1.ReferralService/CreateReferral"));
        assert!(!repeats("/jkn.feed.v1.FeedService/FollowEvents"));
        assert!(!repeats("/jkn.membership.v1.MembershipService/ImportMembers"));
    }
}

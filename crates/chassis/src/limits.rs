//! When a call ends although its answer has not.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::Problem;

/// What ends a call.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// The deadline.
    pub deadline: Option<Instant>,
    /// The stop of the process, for streams, which need not end by themselves; and the name of the process.
    pub stop: Option<(CancellationToken, &'static str)>,
}

impl Limits {
    /// The limit that is exceeded already.
    #[must_use]
    pub fn exceeded(&self) -> Option<Problem> {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(Problem::deadline_passed());
        }
        let (stop, process) = self.stop.as_ref()?;
        stop.is_cancelled().then(|| Problem::stopping(process))
    }

    /// Waits for the first limit to be exceeded; for ever when there is none.
    pub async fn over(self) -> Problem {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let stop = async {
            match &self.stop {
                Some((stop, process)) => {
                    stop.cancelled().await;
                    *process
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = deadline => Problem::deadline_passed(),
            process = stop => Problem::stopping(process),
        }
    }
}

/// The limits of an answer whose body is under way.
#[derive(Default)]
pub struct Watch {
    limits: Limits,
    over: Option<Pin<Box<dyn Future<Output = Problem> + Send>>>,
}

impl Watch {
    /// Watches over an answer.
    #[must_use]
    pub fn over(limits: Limits) -> Self {
        Self { limits, over: None }
    }

    /// The limit that is exceeded already; asked when there is something to pass on.
    #[must_use]
    pub fn exceeded(&self) -> Option<Problem> {
        self.limits.exceeded()
    }

    /// The limit that is exceeded; asked when there is nothing to pass on, and wakes when that changes.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Problem> {
        if self.limits.deadline.is_none() && self.limits.stop.is_none() {
            return Poll::Pending;
        }
        let over = self.over.get_or_insert_with(|| Box::pin(self.limits.clone().over()));
        over.as_mut().poll(context)
    }
}

/// The trailers that end an answer with a refusal.
#[must_use]
pub fn trailers(problem: Problem) -> HeaderMap {
    let status = Status::from(problem);
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    trailers
}

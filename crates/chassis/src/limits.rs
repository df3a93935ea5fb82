//! When a call ends although its answer has not.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
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

/// Watches over a call until its answer has ended.
#[derive(Default)]
pub struct Watch {
    limits: Limits,
    sleep: Option<Pin<Box<Sleep>>>,
    stopped: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Watch {
    /// Watches over a call.
    #[must_use]
    pub fn over(limits: Limits) -> Self {
        Self { limits, sleep: None, stopped: None }
    }

    /// The limit that is exceeded already; asked when there is something to pass on.
    #[must_use]
    pub fn exceeded(&self) -> Option<Problem> {
        if self.limits.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Some(Problem::deadline_passed());
        }
        let (stop, process) = self.limits.stop.as_ref()?;
        stop.is_cancelled().then(|| Problem::stopping(process))
    }

    /// The limit that is exceeded; asked when there is nothing to pass on, and wakes when that changes.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Problem> {
        if let Some(deadline) = self.limits.deadline {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if sleep.as_mut().poll(context).is_ready() {
                return Poll::Ready(Problem::deadline_passed());
            }
        }
        if let Some((stop, process)) = &self.limits.stop {
            let stopped = self.stopped.get_or_insert_with(|| Box::pin(stop.clone().cancelled_owned()));
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(Problem::stopping(process));
            }
        }
        Poll::Pending
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

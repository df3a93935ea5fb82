//! Calls between processes: over several addresses, through failures, to the stop.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

mod link;
mod other;
mod port;
mod renewal;
mod upstream;

use std::{future::Future, time::Duration};

/// Waits for a condition.
async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    for _ in 0..1200 {
        if let Some(found) = ask().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not come about");
}

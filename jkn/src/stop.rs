//! How a process learns that it should stop: the first signal asks, a second one does not wait.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal (128 + SIGINT).
const IMPATIENT: i32 = 130;

/// A token that ends with the first SIGTERM or SIGINT. Within a runtime.
///
/// # Errors
/// When signals cannot be received.
pub(crate) fn on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(IMPATIENT);
            }
            tracing::info!("stopping; a second signal ends the process at once");
            told.cancel();
        }
    });
    Ok(stop)
}

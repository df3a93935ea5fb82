//! The longest time that a caller was kept waiting for an outcome, and what the killer was doing then.

use std::time::Duration;

use serde::Serialize;

use super::{journal::Entry, killer::Struck};

/// How long after its end a blow is still felt: processes start, connections and caches come back.
const FELT_FOR: Duration = Duration::from_secs(2);
/// Blows that are named.
const NAMED: usize = 12;

/// An outage as one caller saw it.
#[derive(Debug, Clone, Serialize)]
pub struct Outage {
    /// How long it was.
    pub seconds: f64,
    /// When it began, in seconds from the start.
    pub from_second: f64,
    /// What was asked for, and how often.
    pub write: String,
    /// What the killer had done to the mesh at that time, oldest first.
    pub meanwhile: Vec<String>,
}

/// The longest outage.
pub(crate) fn longest(entries: &[Entry], struck: &[Struck]) -> Option<Outage> {
    let entry = entries
        .iter()
        .filter(|entry| entry.attempts > 1 && !entry.open_at_the_end)
        .max_by_key(|entry| entry.ended.saturating_sub(entry.begun))?;
    let felt = |blow: &&Struck| blow.at <= entry.ended && blow.until + FELT_FOR >= entry.begun;
    let told = |blow: &Struck| {
        let (from, to) = (blow.at.as_secs_f64(), blow.until.as_secs_f64());
        format!("{} ({}), second {from:.1} to {to:.1}", blow.kind, blow.target)
    };
    Some(Outage {
        seconds: entry.ended.saturating_sub(entry.begun).as_secs_f64(),
        from_second: entry.begun.as_secs_f64(),
        write: format!("{}, {} attempts", entry.name(), entry.attempts),
        meanwhile: struck.iter().filter(felt).map(told).take(NAMED).collect(),
    })
}

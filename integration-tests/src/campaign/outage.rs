//! The longest time that a caller was kept waiting for an outcome, and what the killer was doing then.

use std::time::Duration;

use serde::Serialize;

use super::{
    journal::{Entry, Tried},
    killer::{Struck, plan::Target},
};
use crate::{Mesh, mesh::End};

/// How long after its end a blow is still felt: processes start, connections and caches come back.
const FELT_FOR: Duration = Duration::from_secs(2);
/// Attempts and blows that are named.
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
    /// The attempts that failed.
    pub attempts: Vec<String>,
    /// What the killer did at that time to whatever has a part in such a call, oldest first.
    pub meanwhile: Vec<String>,
}

/// The longest outage.
pub(crate) fn longest(entries: &[Entry], struck: &[Struck]) -> Option<Outage> {
    let entry = entries
        .iter()
        .filter(|entry| entry.attempts > 1 && !entry.open_at_the_end)
        .max_by_key(|entry| entry.ended.saturating_sub(entry.begun))?;
    let involved = Mesh::involved(&entry.service());
    let felt = |blow: &&Struck| {
        let then = blow.at <= entry.ended && blow.until + FELT_FOR >= entry.begun;
        then && matters(blow.target, &involved)
    };
    let told = |blow: &Struck| {
        let (from, to) = (blow.at.as_secs_f64(), blow.until.as_secs_f64());
        format!("{} ({}), second {from:.1} to {to:.1}", blow.kind, blow.target)
    };
    Some(Outage {
        seconds: entry.ended.saturating_sub(entry.begun).as_secs_f64(),
        from_second: entry.begun.as_secs_f64(),
        write: entry.name(),
        attempts: entry.tried.iter().map(attempt).take(NAMED).collect(),
        meanwhile: struck.iter().filter(felt).map(told).take(NAMED).collect(),
    })
}

fn attempt(tried: &Tried) -> String {
    let (at, until) = (tried.at.as_secs_f64(), tried.until.as_secs_f64());
    match tried.code {
        Some(code) => format!("second {at:.1} to {until:.1}: {code:?}"),
        None => format!("second {at:.1} to {until:.1}: not answered"),
    }
}

/// Whether a call in which these services have a part depends on what was struck.
fn matters(target: Target, involved: &[&str]) -> bool {
    let has_a_part = |end: End| match end {
        End::Callers | End::Postgres => true,
        End::Process(name) => name.service == Mesh::GATEWAY || involved.contains(&name.service),
        End::Redis => false,
    };
    match target {
        Target::Process(name) => has_a_part(End::Process(name)),
        Target::Postgres => true,
        Target::Link(link) => has_a_part(link.from) && has_a_part(link.to),
        Target::Redis | Target::Outbox(_) => false,
    }
}

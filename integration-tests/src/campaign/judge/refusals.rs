//! What the callers ask for is allowed: a refusal means that a write was carried out and its repetition not known, or
//! that an answer rested on what was not true any more. And in the end no outcome stays unknown.

use super::{Check, REFUSED};
use crate::campaign::journal::{End, Entry};

pub(super) fn check(entries: &[Entry]) -> Vec<Check> {
    let (mut refused, mut unknown) = (Vec::new(), Vec::new());
    for entry in entries {
        match &entry.end {
            End::Refused { code, reason } => refused.push(format!(
                "{}: {code:?} {reason} at attempt {}, {} of them with an unknown outcome",
                entry.name(),
                entry.attempts,
                entry.tried.len()
            )),
            End::Unknown => unknown.push(format!("{} after {} attempts", entry.name(), entry.attempts)),
            End::Acknowledged { .. } => {}
        }
    }
    vec![Check::of(REFUSED, refused), Check::of("unknown after all was healed", unknown)]
}

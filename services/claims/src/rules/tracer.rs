//! Whether a tracer indicator was embedded and automated in time (DLI 4.2: within twelve months of the ministry's
//! issuance).

use jiff::{ToSpan, civil::Date};

use super::Rule;

/// Whether a tracer counts. The numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i16)]
pub enum Timeliness {
    /// Nobody issued it: it is a proposal, and nothing runs from a day that is not there.
    NotIssued = 1,
    /// It was embedded in time, or can still be run in time, but has not run on a claim yet.
    AwaitsFirstRun = 2,
    /// Embedded, and first run, within the months.
    InTime = 3,
    /// Embedded, or first run, later.
    Late = 4,
}

/// Last day on which a tracer must be embedded and have run; `None` when it was not issued.
#[must_use]
pub fn due_on(rule: &Rule, months: i32) -> Option<Date> {
    rule.issued_on.map(|issued| issued.saturating_add(months.months()))
}

/// Whether a tracer counts, by the day of its first automatic run.
#[must_use]
pub fn timeliness(rule: &Rule, months: i32, first_run_on: Option<Date>, today: Date) -> Timeliness {
    let Some(due) = due_on(rule, months) else { return Timeliness::NotIssued };
    match first_run_on {
        _ if rule.embedded_on > due => Timeliness::Late,
        Some(first) if first <= due => Timeliness::InTime,
        None if today <= due => Timeliness::AwaitsFirstRun,
        Some(_) | None => Timeliness::Late,
    }
}

//! The judgement: what the callers noted, held against the databases. Each subject in a file of its own; each answers
//! with checks, and of each nothing may be found.

mod answers;
mod effects;
mod events;
mod figures;
mod ledger;
mod money;
mod numbers;
mod record;
mod refusals;
mod steps;

use serde::Serialize;

use super::journal::Entry;
use crate::Mesh;

/// Findings of a check that are shown.
const SHOWN: usize = 5;

/// Something that must not be, and what was found of it.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What must not be.
    pub name: &'static str,
    /// How often it is.
    pub found: usize,
    /// Some of it, without anything that identifies a person.
    pub examples: Vec<String>,
}

impl Check {
    pub(crate) fn of(name: &'static str, findings: impl IntoIterator<Item = String>) -> Self {
        let mut check = Self { name, found: 0, examples: Vec::new() };
        for finding in findings {
            check.found += 1;
            if check.examples.len() < SHOWN {
                check.examples.push(finding);
            }
        }
        check
    }
}

/// A check by its name: acknowledged writes without record or effect.
pub const LOST: &str = "acknowledged, but lost";
/// A check by its name: effects and events that are there more than once.
pub const DOUBLED: &str = "done twice";
/// A check by its name: events that acknowledged writes stand for and no feed tells.
pub const MISSING_EVENTS: &str = "events missing";
/// A check by its name: claims that took a step more, or less, than was acknowledged.
pub const OTHER_STEPS: &str = "steps of claims other than acknowledged";
/// A check by its name: accounts and batches of the ledger that are not what callers were told.
pub const OTHER_LEDGER: &str = "ledger other than acknowledged";
/// A check by its name: differences that the settlement itself tells of.
pub const UNRECONCILED: &str = "settlement that does not reconcile";
/// A check by its name: referrals and SEPs that tell of a patient what P-Care did not record.
pub const OTHER_RECORD: &str = "records of patients other than P-Care's";
/// A check by its name: writes that were refused.
pub const REFUSED: &str = "refused, although allowed or done before";

/// Everything that is judged in the databases.
pub(crate) async fn judge(mesh: &Mesh, entries: &[Entry]) -> anyhow::Result<(Vec<Check>, money::Totals)> {
    let mut checks = answers::check(mesh, entries).await?;
    checks.extend(effects::check(mesh, entries).await?);
    checks.extend(events::check(mesh, entries).await?);
    checks.extend(steps::check(mesh, entries).await?);
    checks.extend(numbers::check(mesh, entries).await?);
    checks.extend(record::check(mesh, entries).await?);
    checks.extend(refusals::check(entries));
    let (of_money, totals) = money::check(mesh, entries).await?;
    checks.extend(of_money);
    checks.extend(figures::check(mesh, entries).await?);
    Ok((merged(checks), totals))
}

pub(crate) use figures::behind;
pub use ledger::Batches;
pub use money::Totals;

/// Of two judgements the worse one, line by line.
pub(crate) fn worse(before: Vec<Check>, after: Vec<Check>) -> Vec<Check> {
    let worse = |(before, after): (Check, Check)| if before.found > after.found { before } else { after };
    before.into_iter().zip(after).map(worse).collect()
}

/// One line for each name: a loss is a loss, whichever subject found it.
pub(crate) fn merged(checks: Vec<Check>) -> Vec<Check> {
    let mut merged: Vec<Check> = Vec::new();
    for check in checks {
        match merged.iter_mut().find(|known| known.name == check.name) {
            Some(known) => {
                known.found += check.found;
                let room = SHOWN.saturating_sub(known.examples.len());
                known.examples.extend(check.examples.into_iter().take(room));
            }
            None => merged.push(check),
        }
    }
    merged
}

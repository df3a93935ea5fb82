//! What a campaign came to, for a person as a table and for a program as JSON.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    judge::{Check, Totals},
    killer::plan::Kind,
    outage::Outage,
};

/// What a campaign came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// From which its blows and its callers' choices follow.
    pub seed: u64,
    /// Callers at once.
    pub callers: usize,
    /// How long the mesh was broken.
    pub seconds: f64,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// By method.
    pub acknowledged_by_method: BTreeMap<&'static str, usize>,
    /// Acknowledged writes that took more than one attempt.
    pub took_more_attempts: usize,
    /// Writes with an attempt of which the caller never learnt what became of it.
    pub outcome_unknown: usize,
    /// Attempts that were still unanswered well after their deadline.
    pub hung: usize,
    /// Writes whose outcome was unknown when the breaking ended, and which were repeated after it.
    pub open_at_the_end: usize,
    /// Acknowledged writes that were repeated at the end to compare the answers.
    pub repeated_at_the_end: usize,
    /// Blows by kind.
    pub blows: BTreeMap<Kind, usize>,
    /// Kills by what was killed.
    pub kills: BTreeMap<String, usize>,
    /// The most events that were seen waiting in an outbox.
    pub most_waiting: i64,
    /// The longest that a caller was kept waiting.
    pub longest_outage: Option<Outage>,
    /// Money that moved.
    pub money: Totals,
    /// What must not be; of each, nothing may be found.
    pub checks: Vec<Check>,
}

impl Summary {
    /// How many times something was killed without a warning.
    #[must_use]
    pub fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// How often a check found something.
    #[must_use]
    pub fn found(&self, check: &str) -> usize {
        self.checks.iter().filter(|one| one.name == check).map(|one| one.found).sum()
    }

    /// Whether nothing was found that must not be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checks.iter().all(|check| check.found == 0)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, what: &str, value: &dyn fmt::Display| {
            writeln!(f, "  {what:<52} {value}")
        };
        writeln!(f, "campaign of seed {}: {:.0} s, {} callers", self.seed, self.seconds, self.callers)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate for a person")]
        let rate = self.acknowledged as f64 / self.seconds;
        line(f, "writes acknowledged", &format!("{} ({rate:.0} a second)", self.acknowledged))?;
        line(f, "  after more than one attempt", &self.took_more_attempts)?;
        line(f, "  with an attempt whose outcome stayed unknown", &self.outcome_unknown)?;
        line(f, "  open when the breaking ended, then repeated", &self.open_at_the_end)?;
        line(f, "  repeated at the end to compare answers", &self.repeated_at_the_end)?;
        line(f, "attempts unanswered after their deadline", &self.hung)?;
        let money = &self.money;
        let contributions = format!("Rp{} in {}", money.contributions_rupiah, money.contributions);
        line(f, "contributions acknowledged", &contributions)?;
        let of = |method| self.acknowledged_by_method.get(method).copied().unwrap_or_default();
        let submitted = format!("{}, {} in streams", of("SubmitClaim"), of("SubmitClaims"));
        line(f, "claims submitted alone", &submitted)?;
        let disputes = format!("{}, {} decided", of("OpenDispute"), of("DecideDispute"));
        line(f, "disputes opened", &disputes)?;
        let filings = format!("{}, {} statements on them", of("FileMonth"), of("StateCompleteness"));
        line(f, "months filed", &filings)?;
        line(f, "claims paid", &format!("Rp{} in {}", money.claims_rupiah, money.claims))?;
        let batches = &money.batches;
        line(f, "batches paid", &format!("Rp{} in {}", batches.paid_rupiah, batches.paid))?;
        let (recovered, offset) = (batches.recoveries_rupiah, batches.offset_rupiah);
        let recoveries = format!("Rp{recovered} in {}, Rp{offset} taken off", batches.recoveries);
        line(f, "recoveries after audit", &recoveries)?;
        line(f, "most events waiting in an outbox", &self.most_waiting)?;
        writeln!(f, "blows")?;
        for (kind, count) in &self.blows {
            line(f, &kind.to_string(), count)?;
        }
        let kills: Vec<_> = self.kills.iter().map(|(target, count)| format!("{target} {count}")).collect();
        line(f, "kills -9", &format!("{}: {}", self.killed(), kills.join(", ")))?;
        if let Some(outage) = &self.longest_outage {
            writeln!(f, "longest outage of a caller")?;
            let (seconds, from) = (outage.seconds, outage.from_second);
            line(f, "seconds", &format!("{seconds:.1}, from second {from:.1}"))?;
            line(f, "asked for", &outage.write)?;
            for attempt in &outage.attempts {
                line(f, "attempt", attempt)?;
            }
            for blow in &outage.meanwhile {
                line(f, "meanwhile", blow)?;
            }
        }
        writeln!(f, "what must not be")?;
        for check in &self.checks {
            line(f, check.name, &check.found)?;
            for example in &check.examples {
                writeln!(f, "      {example}")?;
            }
        }
        Ok(())
    }
}

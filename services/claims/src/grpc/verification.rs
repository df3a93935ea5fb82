//! What submission runs, and what ValidateClaim and backtests run as well: a claim's facts are read in one statement, the
//! sets of rules that hold on its day of service judge them.

use std::{collections::HashMap, sync::Arc};

use chassis::policy::Mistake;
use proto::claims::v1 as pb;
use sqlx::PgConnection;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::rule_facts;
use crate::{
    error::Error,
    rules::{self, Kind, Outcome, Rule, RuleSet, Verdict, facts::Facts, load},
    store::{self, claim::WithLetter, rules::TracerResult, seen::Seen},
};

/// Most activated sets that are kept read.
const MOST_READ: usize = 32;

/// The sets of rules: those of the policy files, and those that were activated, each read once. Which of them holds is
/// asked of the database with every claim: a set that was activated is used by every replica from then on.
pub(crate) struct RuleSets {
    of_files: [Arc<RuleSet>; 2],
    activated: Mutex<HashMap<i64, Arc<RuleSet>>>,
}

/// A claim that was judged.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) letter: Box<pb::Sep>,
    pub(super) sets: [Arc<RuleSet>; 2],
}

impl RuleSets {
    /// Reads the policy files.
    ///
    /// # Errors
    /// Names every mistake, with its file, line and rule.
    pub(crate) fn read(edits: &str, tracers: &str) -> anyhow::Result<Self> {
        let mut mistakes = Vec::new();
        let mut read = |kind: Kind, text: &str| {
            let file = format!("claims/{}.toml", kind.name());
            match load::parse(&file, text) {
                Ok(set) if set.kind == kind => Some(Arc::new(set)),
                Ok(_) => {
                    let message = format!("kind must be {}", kind.name());
                    mistakes.push(Mistake { file, line: 1, message });
                    None
                }
                Err(wrong) => {
                    mistakes.extend(wrong);
                    None
                }
            }
        };
        match (read(Kind::Edits, edits), read(Kind::Tracers, tracers)) {
            (Some(edits), Some(tracers)) => {
                Ok(Self { of_files: [edits, tracers], activated: Mutex::new(HashMap::new()) })
            }
            _ => {
                let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                anyhow::bail!("{}", told.join("\n"))
            }
        }
    }

    /// The sets of the policy files.
    pub(super) fn of_files(&self) -> &[Arc<RuleSet>; 2] {
        &self.of_files
    }

    /// The sets of these activations; where there is none of a kind, that of the policy file.
    pub(super) async fn of(
        &self,
        connection: &mut PgConnection,
        activations: &[i64],
    ) -> Result<[Arc<RuleSet>; 2], Error> {
        let mut sets = self.of_files.clone();
        for id in activations {
            let set = self.activated(connection, *id).await?;
            let place = usize::from(set.kind == Kind::Tracers);
            sets[place] = set;
        }
        Ok(sets)
    }

    async fn activated(&self, connection: &mut PgConnection, id: i64) -> Result<Arc<RuleSet>, Error> {
        if let Some(set) = self.activated.lock().await.get(&id) {
            return Ok(Arc::clone(set));
        }
        let text = store::rules::text(connection, id).await?.ok_or(Error::Unreadable("rule set"))?;
        // A newer program may have activated what this one does not understand: then it must not judge.
        let set = Arc::new(parse(format!("activation {id}"), text).await?.map_err(|mistakes| {
            let told = mistakes.first().map(ToString::to_string).unwrap_or_default();
            tracing::error!(activation_id = id, mistake = told, "an activated set of rules cannot be read");
            Error::RuleSetUnreadable(id)
        })?);
        let mut read = self.activated.lock().await;
        if read.len() >= MOST_READ {
            read.clear();
        }
        read.insert(id, Arc::clone(&set));
        Ok(set)
    }
}

/// Reads a set of rules aside from the threads that serve.
pub(super) async fn parse(file: String, text: String) -> Result<Result<RuleSet, Vec<Mistake>>, Error> {
    let parsed = tokio::task::spawn_blocking(move || load::parse(&file, &text)).await;
    parsed.map_err(|_| Error::Unreadable("rule set"))
}

/// Judges claims, with the sets that hold for each; in their order. One that cannot be judged says why.
pub(super) async fn verify_all(
    connection: &mut PgConnection,
    rule_sets: &RuleSets,
    claims: Vec<WithLetter>,
) -> sqlx::Result<Vec<(Seen, Result<Judged, Error>)>> {
    let mut judged = Vec::with_capacity(claims.len());
    for seen in store::seen::seen(connection, claims).await? {
        let sets = rule_sets.of(connection, &seen.activations).await;
        judged.push(judged_by(seen, sets));
    }
    Ok(judged)
}

fn judged_by(seen: Seen, sets: Result<[Arc<RuleSet>; 2], Error>) -> (Seen, Result<Judged, Error>) {
    let judged = sets.and_then(|sets| {
        let letter = rule_facts::letter(&seen)?;
        let facts = rule_facts::facts(&seen, &letter)?;
        Ok(Judged { verdict: judge(&sets, &facts), letter, sets })
    });
    (seen, judged)
}

/// Judges a claim as it is stored.
pub(super) async fn verify(
    connection: &mut PgConnection,
    rule_sets: &RuleSets,
    claim_id: Uuid,
) -> Result<Judged, Error> {
    let claims = store::claim::with_letters(&mut *connection, &[claim_id]).await?;
    let judged = verify_all(connection, rule_sets, claims).await?.pop();
    judged.map_or(Err(Error::NoClaim), |(_, judged)| judged)
}

fn judge(sets: &[Arc<RuleSet>; 2], facts: &Facts) -> Verdict {
    let verdict = rules::judge(sets.iter().map(AsRef::as_ref), facts);
    for rule in &verdict.failed {
        tracing::error!(rule_id = rule.id, version = rule.version, "a rule could not be evaluated");
    }
    verdict
}

/// What the tracers said of a claim that is submitted, to be kept.
pub(super) fn tracer_results(verdict: &Verdict) -> Vec<TracerResult> {
    let results = verdict.tracers.iter().filter_map(|(rule, outcome)| {
        let outcome = match outcome {
            Outcome::Clear => 1,
            Outcome::Fires => 2,
            _ => return None,
        };
        Some(TracerResult { rule_id: rule.id.clone(), rule_version: rule.version, outcome })
    });
    results.collect()
}

/// Keeps by which bill the claim is found again.
pub(super) async fn keep_bill(
    connection: &mut PgConnection,
    claim_id: Uuid,
    data: &pb::ClaimData,
) -> Result<(), Error> {
    let bill = rule_facts::bill(data.charges.as_ref());
    Ok(store::rules::keep_bill(connection, claim_id, bill).await?)
}

/// A finding for the wire.
pub(super) fn found(rule: &Rule) -> pb::Finding {
    pb::Finding {
        edit_id: rule.id.clone(),
        reason: rule.reason.map_or(0, |reason| reason as i32),
        message: rule.message.english.clone(),
        cure: rule.cure.english.clone(),
        rule_version: rule.version,
        message_indonesian: rule.message.indonesian.clone(),
        cure_indonesian: rule.cure.indonesian.clone(),
        evidence: rule.evidence.clone(),
        severity: rule.severity as i32,
    }
}

/// The question of the round that findings open.
pub(super) fn question(verdict: &Verdict) -> pb::Pending {
    let told: Vec<_> = verdict.pending().map(|rule| rule.message.english.as_str()).collect();
    pb::Pending {
        detail: told.join("; "),
        findings: verdict.pending().map(|rule| found(rule)).collect(),
        ..pb::Pending::default()
    }
}

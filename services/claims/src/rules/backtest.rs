//! What another set of rules would change on claims of the past: counted, in rupiah, by class of hospital and by rule.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
};

use super::{Outcome, Verdict};

/// Claims and what they come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Claims.
    pub claims: i64,
    /// Their tariffs, whole rupiah.
    pub rupiah: i64,
}

impl AddAssign<i64> for Sum {
    /// One more claim of this tariff.
    fn add_assign(&mut self, rupiah: i64) {
        self.claims += 1;
        self.rupiah = self.rupiah.saturating_add(rupiah);
    }
}

/// The claims of which the two sets say that they pend, or that a rule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// The active set says so.
    pub active: Sum,
    /// The candidate says so.
    pub candidate: Sum,
    /// The candidate alone says so.
    pub added: Sum,
    /// The active set alone says so.
    pub removed: Sum,
    /// Both say so, each with another reason.
    pub reason_changed: Sum,
}

impl Change {
    fn count<T: PartialEq>(&mut self, active: Option<T>, candidate: Option<T>, rupiah: i64) {
        if active.is_some() {
            self.active += rupiah;
        }
        if candidate.is_some() {
            self.candidate += rupiah;
        }
        match (active, candidate) {
            (None, Some(_)) => self.added += rupiah,
            (Some(_), None) => self.removed += rupiah,
            (Some(before), Some(after)) if before != after => self.reason_changed += rupiah,
            _ => {}
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// Claims judged.
    pub judged: Sum,
    /// Pending, all classes together.
    pub total: Change,
    /// Pending, by class of hospital.
    pub by_class: BTreeMap<String, Change>,
    /// Firing, by rule.
    pub by_rule: BTreeMap<String, Change>,
}

impl Tally {
    /// Counts a claim by its two verdicts.
    pub fn count(&mut self, class: &str, rupiah: i64, active: &Verdict, candidate: &Verdict) {
        self.judged += rupiah;
        self.total.count(active.reason(), candidate.reason(), rupiah);
        let of_class = match self.by_class.get_mut(class) {
            Some(of_class) => of_class,
            None => self.by_class.entry(class.to_owned()).or_default(),
        };
        of_class.count(active.reason(), candidate.reason(), rupiah);
        let (before, after) = (firing(active), firing(candidate));
        for id in before.union(&after) {
            let fires = |said: &BTreeSet<&str>| said.contains(id).then_some(());
            let of_rule = self.by_rule.entry((*id).to_owned()).or_default();
            of_rule.count(fires(&before), fires(&after), rupiah);
        }
    }
}

fn firing(verdict: &Verdict) -> BTreeSet<&str> {
    let tracers =
        verdict.tracers.iter().filter(|(_, outcome)| *outcome == Outcome::Fires).map(|(rule, _)| rule);
    verdict.findings.iter().chain(tracers).map(|rule| rule.id.as_str()).collect()
}

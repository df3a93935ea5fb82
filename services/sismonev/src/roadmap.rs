//! The five integrations of the roadmap: what each is, whether it works, and how an exchange proves it.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

/// One integration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edge {
    /// e-Klaim and V-Klaim.
    EklaimVklaim,
    /// P-Care and V-Klaim.
    PcareVklaim,
    /// Membership and V-Klaim.
    MembershipVklaim,
    /// V-Klaim and SISRUTE.
    VklaimSisrute,
    /// V-Klaim and SIAF.
    VklaimSiaf,
}

impl Edge {
    /// Every edge, in the order of the roadmap.
    pub const ALL: [Self; 5] = [
        Self::EklaimVklaim,
        Self::PcareVklaim,
        Self::MembershipVklaim,
        Self::VklaimSisrute,
        Self::VklaimSiaf,
    ];

    /// Its name in contracts and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EklaimVklaim => "eklaim-vklaim",
            Self::PcareVklaim => "pcare-vklaim",
            Self::MembershipVklaim => "membership-vklaim",
            Self::VklaimSisrute => "vklaim-sisrute",
            Self::VklaimSiaf => "vklaim-siaf",
        }
    }
}

/// The roadmap of a version of `policy/sismonev/roadmap.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Roadmap {
    /// An edge without an exchange for more days than this is stale.
    pub stale_after_days: i64,
    /// The edges.
    pub edge: Vec<Planned>,
}

/// One edge as the roadmap plans it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Planned {
    /// Which.
    pub name: Edge,
    /// What it joins, in words.
    pub title: String,
    /// What counts as proof, in words.
    pub proof: String,
    /// Programme year by which it is wanted.
    pub target_year: i32,
}

impl chassis::policy::Rule for Roadmap {
    fn check(&self) -> Result<(), String> {
        if self.stale_after_days < 1 {
            return Err("stale-after-days: must be at least 1".to_owned());
        }
        for edge in Edge::ALL {
            if self.edge.iter().filter(|planned| planned.name == edge).count() != 1 {
                return Err(format!("edge: {} must be there exactly once", edge.name()));
            }
        }
        match self.edge.iter().find(|planned| !(1..=4).contains(&planned.target_year)) {
            Some(planned) => Err(format!("edge {}: target-year must be 1 to 4", planned.name.name())),
            None => Ok(()),
        }
    }
}

/// Whether an edge works, judged by its own traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Seen recently.
    Live,
    /// Seen, but not for longer than the roadmap allows.
    Stale,
    /// Never seen.
    NotSeen,
}

/// The state of an edge at `now`.
#[must_use]
pub fn state(last_seen: Option<Timestamp>, now: Timestamp, stale_after_days: i64) -> State {
    match last_seen {
        None => State::NotSeen,
        Some(seen) if now.duration_since(seen) > SignedDuration::from_hours(24 * stale_after_days) => {
            State::Stale
        }
        Some(_) => State::Live,
    }
}

/// Which of the two that must tell of an exchange did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one that gives: P-Care's referral, e-Klaim's grouping.
    Given,
    /// The one that takes: the SEP that cites it, the claim that is submitted with it.
    Taken,
}

impl Side {
    /// As stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Taken => "taken",
        }
    }
}

/// What an event says about an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The exchange is proved by this event alone.
    Whole {
        /// The edge.
        edge: Edge,
        /// What was exchanged.
        evidence: String,
    },
    /// One side of it; the other side tells under the same reference, before or after.
    Half {
        /// The edge.
        edge: Edge,
        /// Which side.
        side: Side,
        /// What both sides hold.
        reference: String,
        /// What this side adds to the evidence.
        evidence: String,
    },
}

/// What an event proved.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The proof, or half of it.
    pub proof: Proof,
    /// The event, `source/position`.
    pub event: String,
    /// When it happened.
    pub seen_at: Timestamp,
}

/// The evidence that two sides make together.
#[must_use]
pub fn joined(given: &str, taken: &str) -> String {
    format!("{given}/{taken}")
}

#[cfg(test)]
mod tests {
    use chassis::policy::Rule;

    use super::*;

    #[test]
    fn an_edge_goes_stale_after_the_days_of_the_roadmap() {
        let now: Timestamp = "2026-03-10T00:00:00Z".parse().unwrap();
        let seen = |text: &str| state(Some(text.parse().unwrap()), now, 7);
        assert_eq!(state(None, now, 7), State::NotSeen);
        assert_eq!(seen("2026-03-03T00:00:00Z"), State::Live);
        assert_eq!(seen("2026-03-02T23:59:59Z"), State::Stale);
    }

    #[test]
    fn a_roadmap_names_each_edge_once() {
        let planned = |name| Planned { name, title: String::new(), proof: String::new(), target_year: 1 };
        let roadmap = |edge| Roadmap { stale_after_days: 7, edge };
        assert!(roadmap(Edge::ALL.map(planned).to_vec()).check().is_ok());
        assert!(roadmap(Edge::ALL[1..].iter().copied().map(planned).collect()).check().is_err());
        assert!(Roadmap { stale_after_days: 0, ..roadmap(Edge::ALL.map(planned).to_vec()) }.check().is_err());
    }
}

//! What the killer does, one blow after the other: a function of the seed alone.

use std::{fmt, ops::Range, time::Duration};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};
use serde::Serialize;

use crate::{
    Mesh,
    mesh::{LinkName, Name},
};

/// A kind of blow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A process of the mesh is ended without a warning.
    KillProcess,
    /// PostgreSQL is ended with all its processes.
    KillPostgres,
    /// One process of PostgreSQL is ended, and the server recovers.
    KillPostgresProcess,
    /// Redis is ended.
    KillRedis,
    /// A process or PostgreSQL is asked to stop, and started again.
    Restart,
    /// A process, PostgreSQL or Redis is stopped in the midst of what it does.
    Freeze,
    /// A link passes nothing on.
    CutLink,
    /// A link passes everything on later.
    SlowLink,
    /// A link takes no connection.
    RefuseLink,
    /// The connections of a link are ended.
    ResetLink,
    /// The events of a service are kept in its outbox.
    HoldRelay,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::KillProcess,
        Self::KillPostgres,
        Self::KillPostgresProcess,
        Self::KillRedis,
        Self::Restart,
        Self::Freeze,
        Self::CutLink,
        Self::SlowLink,
        Self::RefuseLink,
        Self::ResetLink,
        Self::HoldRelay,
    ];

    /// How often it comes among all kinds.
    fn weight(self) -> u32 {
        match self {
            Self::KillProcess => 48,
            Self::KillPostgres | Self::KillPostgresProcess | Self::KillRedis => 4,
            Self::Restart => 4,
            Self::Freeze | Self::CutLink => 9,
            Self::HoldRelay => 6,
            Self::SlowLink | Self::RefuseLink | Self::ResetLink => 5,
        }
    }

    /// Whether something is killed.
    #[must_use]
    pub fn is_kill(self) -> bool {
        matches!(self, Self::KillProcess | Self::KillPostgres | Self::KillPostgresProcess | Self::KillRedis)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KillProcess => "kill -9 of a process",
            Self::KillPostgres => "kill -9 of postgres",
            Self::KillPostgresProcess => "kill -9 of a postgres process",
            Self::KillRedis => "kill -9 of redis",
            Self::Restart => "restart",
            Self::Freeze => "freeze",
            Self::CutLink => "link cut",
            Self::SlowLink => "link slowed",
            Self::RefuseLink => "link refused",
            Self::ResetLink => "link reset",
            Self::HoldRelay => "relay held",
        })
    }
}

/// What a blow falls on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Process(Name),
    Postgres,
    Redis,
    Link(LinkName),
    Outbox(&'static str),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(name) => name.fmt(f),
            Self::Postgres => f.write_str("postgres"),
            Self::Redis => f.write_str("redis"),
            Self::Link(link) => link.fmt(f),
            Self::Outbox(service) => write!(f, "outbox of {service}"),
        }
    }
}

/// A blow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Blow {
    /// How long after the one before.
    pub(crate) after: Duration,
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    /// What else is drawn: which process of PostgreSQL, how slow a link.
    pub(crate) draw: u32,
}

/// The blows of a seed, without an end.
pub(crate) struct Plan {
    chance: ChaCha8Rng,
    kinds: Vec<Kind>,
    pause: Range<Duration>,
    processes: Vec<Name>,
    links: Vec<LinkName>,
}

/// The services that tell of what they write.
const TELL: [&str; 5] = ["accreditation", "membership", "referral", "primary-care", "claims"];
/// The stream of the seed from which blows are drawn; the callers draw from those with their numbers.
const STREAM: u64 = u64::MAX;

impl Plan {
    pub(crate) fn of(seed: u64, mesh: &Mesh, kinds: &[Kind], pause: Range<Duration>) -> Self {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(STREAM);
        Self { chance, kinds: kinds.to_vec(), pause, processes: mesh.harmable(), links: mesh.link_names() }
    }

    fn lasts(&mut self, kind: Kind) -> Duration {
        let range = match kind {
            // Started again at once, or after a moment, as an orchestrator would.
            Kind::KillProcess | Kind::KillPostgres | Kind::KillRedis => 0..1_000,
            Kind::KillPostgresProcess | Kind::ResetLink | Kind::Restart => return Duration::ZERO,
            Kind::Freeze => 200..3_000,
            Kind::CutLink => 500..5_000,
            Kind::SlowLink => 1_000..5_000,
            Kind::RefuseLink => 200..2_000,
            Kind::HoldRelay => 1_000..4_000,
        };
        Duration::from_millis(self.chance.random_range(range))
    }
}

impl Iterator for Plan {
    type Item = Blow;

    fn next(&mut self) -> Option<Blow> {
        let kind = *self.kinds.choose_weighted(&mut self.chance, |kind| kind.weight()).ok()?;
        let target = match kind {
            Kind::KillProcess => Target::Process(*self.processes.choose(&mut self.chance)?),
            Kind::Freeze | Kind::Restart => match self.chance.random_range(0..8) {
                0 => Target::Postgres,
                // There is nothing in it that an orderly stop would keep.
                1 if kind == Kind::Freeze => Target::Redis,
                _ => Target::Process(*self.processes.choose(&mut self.chance)?),
            },
            Kind::KillPostgres | Kind::KillPostgresProcess => Target::Postgres,
            Kind::KillRedis => Target::Redis,
            Kind::CutLink | Kind::SlowLink | Kind::RefuseLink | Kind::ResetLink => {
                Target::Link(*self.links.choose(&mut self.chance)?)
            }
            Kind::HoldRelay => Target::Outbox(TELL.choose(&mut self.chance)?),
        };
        let after = Duration::from_millis(self.chance.random_range(
            u64::try_from(self.pause.start.as_millis()).ok()?
                ..u64::try_from(self.pause.end.as_millis()).ok()?,
        ));
        Some(Blow { after, kind, target, lasts: self.lasts(kind), draw: self.chance.random() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Vec<Blow> {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        chance.set_stream(STREAM);
        let pause = Duration::from_millis(100)..Duration::from_millis(200);
        let processes = vec!["claims".into(), "gateway".into()];
        let links = vec![LinkName { from: crate::mesh::End::Callers, to: crate::mesh::End::Redis }];
        Plan { chance, kinds: Kind::ALL.to_vec(), pause, processes, links }.take(500).collect()
    }

    #[test]
    fn a_seed_is_a_plan_with_blows_of_every_kind() {
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        for kind in Kind::ALL {
            assert!(plan(7).iter().any(|blow| blow.kind == kind), "{kind}");
        }
    }
}

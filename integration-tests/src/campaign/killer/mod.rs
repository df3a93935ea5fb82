//! The killer: carries out the plan of its seed, and remembers what it did when.

pub(crate) mod plan;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, timeout};

use self::plan::{Blow, Kind, Plan, Target};
use crate::{Mesh, mesh::Way};

/// How long a process that was asked to stop may take.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// How long one blow, or its end, may take to be carried out: a killer that waits for ever would go unnoticed.
const CARRIED_OUT_WITHIN: Duration = Duration::from_secs(60);
/// How long the killer itself waits for PostgreSQL.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what callers and killer are to reach may take beyond the time that was asked for.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(300);

/// When the breaking ends: when all of it is reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Until {
    /// So much time has passed.
    pub elapsed: Duration,
    /// So many kills were done.
    pub kills: usize,
    /// So many writes were acknowledged.
    pub acknowledged: usize,
}

/// A blow that was struck. Times are counted from the start of the campaign.
#[derive(Debug, Clone)]
pub(crate) struct Struck {
    pub(crate) at: Duration,
    pub(crate) until: Duration,
    pub(crate) kind: Kind,
    pub(crate) target: Target,
}

/// A blow that lasts.
struct Lasting {
    /// Its place among those that were struck.
    number: usize,
    blow: Blow,
    ends: Instant,
    /// The connection that holds a relay back.
    holding: Option<PgConnection>,
}

/// Breaks the mesh.
pub(crate) struct Killer<'a> {
    mesh: &'a mut Mesh,
    begun: Instant,
    /// Writes that the callers have noted as acknowledged.
    acknowledged: &'a AtomicUsize,
    /// By what they fall on: a thing that is down is not struck again.
    lasting: BTreeMap<Target, Lasting>,
    pub(crate) struck: Vec<Struck>,
    /// What ended although nobody ended it.
    pub(crate) fallen: Vec<String>,
    /// The most rows that were seen waiting in an outbox.
    pub(crate) most_waiting: i64,
}

impl<'a> Killer<'a> {
    pub(crate) fn new(mesh: &'a mut Mesh, begun: Instant, acknowledged: &'a AtomicUsize) -> Self {
        Self {
            mesh,
            begun,
            acknowledged,
            lasting: BTreeMap::new(),
            struck: Vec::new(),
            fallen: Vec::new(),
            most_waiting: 0,
        }
    }

    /// Carries out the plan, and ends what still lasts at its end.
    pub(crate) async fn run(&mut self, plan: Plan, until: Until) -> anyhow::Result<()> {
        let storm = Instant::now();
        let mut next_at = storm;
        for blow in plan {
            next_at += blow.after;
            while let Some(ends) =
                self.lasting.values().map(|one| one.ends).min().filter(|ends| *ends < next_at)
            {
                tokio::time::sleep_until(ends).await;
                self.end_what_is_due().await?;
            }
            // What took longer than it should does not let the blows pile up.
            next_at = next_at.max(Instant::now());
            tokio::time::sleep_until(next_at).await;
            self.supervise_postgres()?;
            if !self.lasting.contains_key(&blow.target) {
                timeout(CARRIED_OUT_WITHIN, self.strike(blow))
                    .await
                    .with_context(|| format!("{} ({}) is not struck", blow.kind, blow.target))??;
            }
            let kills = self.struck.iter().filter(|struck| struck.kind.is_kill()).count();
            let acknowledged = self.acknowledged.load(Ordering::Relaxed);
            if storm.elapsed() >= until.elapsed && kills >= until.kills && acknowledged >= until.acknowledged
            {
                break;
            }
            ensure!(
                storm.elapsed() < until.elapsed + GIVEN_UP_AFTER,
                "{acknowledged} writes and {kills} kills in {:?}: it leads nowhere",
                storm.elapsed()
            );
        }
        self.lasting.values_mut().for_each(|one| one.ends = Instant::now());
        while let Some(ends) = self.lasting.values().map(|one| one.ends).min() {
            tokio::time::sleep_until(ends).await;
            self.end_what_is_due().await?;
        }
        Ok(())
    }

    async fn strike(&mut self, blow: Blow) -> anyhow::Result<()> {
        let at = self.begun.elapsed();
        let mut holding = None;
        match (blow.kind, blow.target) {
            (Kind::KillProcess, Target::Process(name)) => {
                self.fallen.extend(self.mesh.fallen(name)?);
                self.mesh.kill(name).await?;
            }
            (Kind::Restart, Target::Process(name)) => self.mesh.ask_to_stop(name)?,
            (Kind::Restart, Target::Postgres) => self.mesh.ask_postgres_to_stop()?,
            (Kind::Freeze, Target::Process(name)) => self.mesh.freeze(name)?,
            (Kind::Freeze, Target::Postgres) => self.mesh.freeze_postgres()?,
            (Kind::Freeze, Target::Redis) => self.mesh.freeze_redis()?,
            (Kind::KillPostgres, _) => self.mesh.kill_postgres().await?,
            (Kind::KillPostgresProcess, _) => {
                self.mesh.kill_a_postgres_process(usize::try_from(blow.draw)?)?;
            }
            (Kind::KillRedis, _) => self.mesh.kill_redis().await?,
            (Kind::CutLink, Target::Link(link)) => self.mesh.set_link(link, Way::Cut)?,
            (Kind::SlowLink, Target::Link(link)) => {
                let latency = Duration::from_millis(u64::from(20 + blow.draw % 280));
                self.mesh.set_link(link, Way::Slow(latency))?;
            }
            (Kind::RefuseLink, Target::Link(link)) => self.mesh.set_link(link, Way::Refused)?,
            (Kind::ResetLink, Target::Link(link)) => self.mesh.reset_link(link)?,
            (Kind::HoldRelay, Target::Outbox(service)) => match self.hold_relay(service).await {
                Some(connection) => holding = Some(connection),
                // PostgreSQL does not answer at the moment: nothing was struck.
                None => return Ok(()),
            },
            (kind, target) => anyhow::bail!("{kind} cannot fall on {target}"),
        }
        let number = self.struck.len();
        let until = at + blow.lasts;
        self.struck.push(Struck { at, until, kind: blow.kind, target: blow.target });
        if !matches!(blow.kind, Kind::KillPostgresProcess | Kind::ResetLink) {
            let ends = Instant::now() + blow.lasts;
            self.lasting.insert(blow.target, Lasting { number, blow, ends, holding });
        }
        Ok(())
    }

    /// Starts PostgreSQL when it ended by itself, as an init system does: it gives up when a process of it is killed while
    /// it recovers.
    fn supervise_postgres(&mut self) -> anyhow::Result<()> {
        if !self.lasting.contains_key(&Target::Postgres) && self.mesh.postgres_has_stopped()? {
            self.mesh.begin_postgres()?;
        }
        Ok(())
    }

    async fn end_what_is_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let due: Vec<Target> =
            self.lasting.iter().filter(|(_, one)| one.ends <= now).map(|(target, _)| *target).collect();
        for target in due {
            let Some(mut lasting) = self.lasting.remove(&target) else { continue };
            let ended = timeout(CARRIED_OUT_WITHIN, self.end(&mut lasting)).await;
            if ended.with_context(|| format!("{} ({target}) does not end", lasting.blow.kind))?? {
                self.struck[lasting.number].until = self.begun.elapsed();
            } else {
                lasting.ends = now + Duration::from_millis(100);
                self.lasting.insert(target, lasting);
            }
        }
        Ok(())
    }

    /// Ends a blow; whether it has ended.
    async fn end(&mut self, lasting: &mut Lasting) -> anyhow::Result<bool> {
        match (lasting.blow.kind, lasting.blow.target) {
            (Kind::KillProcess, Target::Process(name)) => self.mesh.begin_again(name)?,
            (Kind::Restart, Target::Process(name)) => {
                let asked = self.struck[lasting.number].at;
                match self.mesh.has_stopped(name).await {
                    Ok(true) => {}
                    Ok(false) if self.begun.elapsed() < asked + STOPS_WITHIN => return Ok(false),
                    Ok(false) => {
                        self.fallen.push(format!("{name} did not stop within {STOPS_WITHIN:?}"));
                        self.mesh.kill(name).await?;
                    }
                    Err(error) => self.fallen.push(error.to_string()),
                }
                self.mesh.begin_again(name)?;
            }
            (Kind::Restart, Target::Postgres) if !self.mesh.postgres_has_stopped()? => return Ok(false),
            (Kind::Freeze, Target::Process(name)) => self.mesh.thaw(name)?,
            (Kind::Freeze, Target::Postgres) => self.mesh.thaw_postgres()?,
            (Kind::Freeze, Target::Redis) => self.mesh.thaw_redis()?,
            (Kind::KillPostgres | Kind::Restart, Target::Postgres) => self.mesh.begin_postgres()?,
            (Kind::KillRedis, _) => self.mesh.begin_redis()?,
            (Kind::CutLink | Kind::SlowLink | Kind::RefuseLink, Target::Link(link)) => {
                self.mesh.set_link(link, Way::Open)?;
            }
            (Kind::HoldRelay, _) => {
                if let Some(mut connection) = lasting.holding.take() {
                    let waiting = sqlx::query_scalar::<_, i64>("select count(*) from outbox");
                    if let Ok(Ok(waiting)) = timeout(PATIENCE, waiting.fetch_one(&mut connection)).await {
                        self.most_waiting = self.most_waiting.max(waiting);
                    }
                    // Whether it is told or not: the lock ends with the connection.
                    let _told = timeout(PATIENCE, connection.close()).await;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    /// Takes the lock of whoever relays a service's events, on a connection of its own.
    async fn hold_relay(&self, service: &str) -> Option<PgConnection> {
        let held = async {
            let mut connection = PgConnection::connect(self.mesh.database_url(service)).await?;
            sqlx::query("select pg_advisory_lock($1)")
                .bind(chassis::Kept::LOCK)
                .execute(&mut connection)
                .await?;
            Ok::<_, sqlx::Error>(connection)
        };
        timeout(PATIENCE, held).await.ok()?.ok()
    }
}

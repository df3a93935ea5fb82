//! A campaign against the mesh: many callers write through the gateways while a killer, driven by a seed, kills,
//! freezes, cuts and slows; then all is healed, and what the callers noted is held against the databases.
//!
//! - [`cast`]: who takes part; `desk`: how a caller asks and asks again; `journal`: what it notes
//! - `caller`, `story`, `tills`: what the callers do; `killer`: what is done to the mesh
//! - `repeats`, `judge`, `outage`: the judgement; [`Summary`]: what came of it
//!
//! What it proves and how its summary is read: `docs/campaign.md`.

mod caller;
mod cast;
mod desk;
mod journal;
mod judge;
mod killer;
mod outage;
mod repeats;
mod report;
mod story;
mod tills;
mod tokens;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use tokio::{sync::watch, task::JoinSet, time::Instant};

use self::{
    caller::Caller, desk::Desk, journal::Entry, killer::Killer, killer::plan::Plan, tills::Tills,
    tokens::Tokens,
};
pub use self::{
    judge::{
        Batches, Check, DOUBLED, LOST, MISSING_EVENTS, OTHER_LEDGER, OTHER_RECORD, OTHER_STEPS, REFUSED,
        Totals, UNRECONCILED,
    },
    killer::{Until, plan::Kind},
    outage::Outage,
    report::Summary,
};
use crate::Mesh;

/// How long the mesh may take, after all was healed, until every event is told and folded.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// How long a token must be good beyond the breaking.
const AFTERWARDS: Duration = Duration::from_secs(3600);

/// How a campaign is led.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From which everything follows.
    pub seed: u64,
    /// Callers at once.
    pub callers: usize,
    /// What they do.
    pub work: Work,
    /// When the breaking ends.
    pub until: Until,
    /// The kinds of blows.
    pub kinds: Vec<Kind>,
    /// From one blow to the next.
    pub pause: Range<Duration>,
}

/// What callers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// All that institutions do, in proportion.
    All,
    /// Mostly what comes after treatment: claims, sent alone and in streams.
    Claims,
}

/// How far a campaign is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The mesh is broken, callers begin new work.
    Storm,
    /// It is being healed.
    Healing,
    /// All is well again; callers only settle what they do not know.
    Calm,
}

/// Leads a campaign against a mesh that was started to be broken, and judges it.
///
/// # Errors
/// When the mesh cannot be set up, broken or healed as planned; what is found wrong with it is no error but is in the
/// summary.
pub async fn run(mesh: &mut Mesh, settings: &Settings) -> anyhow::Result<Summary> {
    let begun = Instant::now();
    let tokens = Tokens::of_all(mesh, settings.until.elapsed + AFTERWARDS)?;
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let phase = watch::Sender::new(Phase::Storm);
    let first_day = chassis::time::today_at(Timestamp::now());
    let gateways = mesh.gateways();
    let tills = Tills::of_all();
    let caller = |number: usize| {
        let mut chance = ChaCha8Rng::seed_from_u64(settings.seed);
        chance.set_stream(u64::try_from(number)?);
        let (tokens, phase) = (tokens.clone(), phase.subscribe());
        let desk = Desk::new(number, begun, &gateways, tokens, chance, phase, acknowledged.clone())?;
        anyhow::Ok(Caller {
            desk,
            number,
            callers: settings.callers,
            work: settings.work,
            tills: tills.clone(),
            first_day,
            patients: Vec::new(),
            people: 0,
        })
    };

    // The first one prepares the ground while nothing is broken yet.
    let mut first = caller(settings.callers)?;
    let prepared = first.set_up().await;
    let mut entries = first.desk.entries;
    ensure!(prepared.is_ok(), "the facilities could not be registered: {:?}", entries.last());

    let mut callers = JoinSet::new();
    for number in 0..settings.callers {
        callers.spawn(caller(number)?.work());
    }
    let storm = Instant::now();
    let plan = Plan::of(settings.seed, mesh, &settings.kinds, settings.pause.clone());
    let mut killer = Killer::new(mesh, begun, &acknowledged);
    killer.run(plan, settings.until).await?;
    let (struck, most_waiting) = (std::mem::take(&mut killer.struck), killer.most_waiting);
    let mut fallen = std::mem::take(&mut killer.fallen);
    drop(killer);
    let seconds = storm.elapsed().as_secs_f64();

    phase.send_replace(Phase::Healing);
    fallen.extend(mesh.heal().await.context("healing the mesh")?);
    phase.send_replace(Phase::Calm);
    while let Some(caller) = callers.join_next().await {
        entries.extend(caller?);
    }
    until_settled(mesh).await?;
    let (before, _) = judge::judge(mesh, &entries).await?;
    // What was lost is written anew when it is repeated, and what is not recognised is written twice: one is seen only
    // before, the other only after.
    let (repeated_at_the_end, of_repeats) = repeats::check(mesh, &entries, settings.seed).await?;
    until_settled(mesh).await?;
    let (after, money) = judge::judge(mesh, &entries).await?;
    let mut checks = judge::worse(before, after);
    checks.extend(of_repeats);
    let mut checks = judge::merged(checks);
    let log = mesh.postgres_log();
    let left_open = log.lines().filter(|line| line.contains("there is already a transaction in progress"));
    checks.push(Check::of("transactions left open on a connection", left_open.map(str::to_owned)));
    checks.push(Check::of("processes that ended or hung by themselves", fallen));

    let acknowledged: Vec<&Entry> = entries.iter().filter(|entry| entry.is_acknowledged()).collect();
    let count = |counts: &dyn Fn(&Entry) -> bool| acknowledged.iter().filter(|entry| counts(entry)).count();
    let mut acknowledged_by_method = BTreeMap::new();
    acknowledged.iter().for_each(|entry| *acknowledged_by_method.entry(entry.method()).or_default() += 1);
    let (mut blows, mut kills) = (BTreeMap::new(), BTreeMap::new());
    for blow in &struck {
        *blows.entry(blow.kind).or_default() += 1;
        if blow.kind.is_kill() {
            *kills.entry(blow.target.to_string()).or_default() += 1;
        }
    }
    Ok(Summary {
        seed: settings.seed,
        callers: settings.callers,
        seconds,
        acknowledged: acknowledged.len(),
        acknowledged_by_method,
        took_more_attempts: count(&|entry| entry.attempts > 1),
        outcome_unknown: count(&|entry| !entry.tried.is_empty()),
        hung: entries.iter().flat_map(|entry| &entry.tried).filter(|tried| tried.code.is_none()).count(),
        open_at_the_end: entries.iter().filter(|entry| entry.open_at_the_end).count(),
        repeated_at_the_end,
        blows,
        kills,
        most_waiting,
        longest_outage: outage::longest(&entries, &struck),
        money,
        checks,
    })
}

/// Waits until every event is told and folded; what is not by then is for the judgement to find.
async fn until_settled(mesh: &Mesh) -> anyhow::Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    while Instant::now() < until {
        let mut waiting = 0;
        for service in Mesh::services() {
            let left: i64 =
                sqlx::query_scalar("select count(*) from outbox").fetch_one(mesh.database(service)).await?;
            waiting += left;
        }
        if waiting == 0 && judge::behind(mesh).await?.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

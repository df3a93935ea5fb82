//! Watches the database for what other processes, or people with a console, change.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::{
    freshness::{Freshness, LEASE},
    store,
};

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(50);
/// After a look that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Watches for as long as it is polled. It has a connection of its own: behind writes that wait for one of the pool it
/// would be late just when reads are best kept off the database.
pub(super) async fn run(freshness: &Freshness, options: Arc<PgConnectOptions>) -> Infallible {
    let mut told = false;
    loop {
        let Err(error) = watch(freshness, &options, &mut told).await;
        if !told {
            tracing::warn!(%error, "what changes in the database is not known; every lookup reads it");
            told = true;
        }
        sleep(PAUSE).await;
    }
}

async fn watch(
    freshness: &Freshness,
    options: &PgConnectOptions,
    told: &mut bool,
) -> anyhow::Result<Infallible> {
    let mut connection = soon(PgConnection::connect_with(options)).await?;
    let began = Instant::now();
    let mut seen = soon(store::snapshot(&mut connection)).await?;
    // It may be another server than before, or the same one restored: what was read until now is forgotten.
    freshness.watched_anew(began);
    if std::mem::take(told) {
        tracing::info!("what changes in the database is known again");
    }
    let mut looks = interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let began = Instant::now();
        let changes = soon(store::changes(&mut connection, &seen)).await?;
        if !changes.families.is_empty() {
            freshness.changed(&changes.families, changes.niks.iter().map(|nik| nik.expose().as_str()));
        }
        freshness.watched(began);
        seen = changes.seen;
    }
}

/// Within the lease: what takes longer is of no use.
async fn soon<T>(asked: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    let answered = timeout(LEASE, asked).await.context("no answer in time")?;
    // The message of a database error may hold values of a row.
    answered.map_err(|error| anyhow::anyhow!(chassis::Problem::from(error)))
}

//! Removes idempotency records when no caller can still repeat under them.

use std::time::Duration;

use jiff_sqlx::ToSqlx;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::db::in_time;

/// How often old records are removed.
const SWEEP: Duration = Duration::from_secs(600);
/// Most old records removed at once.
const BATCH: i64 = 10_000;
/// How long removing a batch may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Removes records that are older than `keep` until the process stops.
pub(crate) async fn run(pool: PgPool, keep: Duration, stop: CancellationToken) {
    let clock = SteadyClock::started();
    while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
        stop.run_until_cancelled(sweep(&pool, keep, clock.now())).await;
    }
}

/// The time of day when the process started, and what has passed since by a clock that nobody sets.
struct SteadyClock {
    started_at: jiff::Timestamp,
    started: std::time::Instant,
}

impl SteadyClock {
    fn started() -> Self {
        Self { started_at: jiff::Timestamp::now(), started: std::time::Instant::now() }
    }

    fn now(&self) -> jiff::Timestamp {
        self.started_at.saturating_add(self.started.elapsed()).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// Removes records that are old by both clocks, the database's, which dated them, and that of this process: a clock that
/// jumps a month ahead must not make every request repeatable.
async fn sweep(pool: &PgPool, keep: Duration, now: jiff::Timestamp) {
    let now = now.to_sqlx();
    let mut records = 0;
    // Batch by batch until none is left: what comes in within a round may be more than one batch.
    loop {
        let swept = sqlx::query!(
            "delete from idempotency where (caller, request_id) in (
             select caller, request_id from idempotency
              where created_at < least(now(), $1) - make_interval(secs => $2) order by created_at limit $3)",
            now as _,
            keep.as_secs_f64(),
            BATCH,
        )
        .execute(pool);
        let Ok(swept) = in_time(LIMIT, swept).await.map(|swept| swept.rows_affected()) else { break };
        records += swept;
        if swept == 0 || i64::try_from(swept).is_ok_and(|swept| swept < BATCH) {
            break;
        }
    }
    if records > 0 {
        tracing::info!(records, "removed old idempotency records");
    }
}

#[cfg(test)]
mod tests {
    use embedded::testing;
    use jiff::{Timestamp, ToSpan};

    use super::*;

    const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

    async fn records(pool: &PgPool) -> Vec<String> {
        sqlx::query_scalar("select request_id from idempotency order by request_id")
            .fetch_all(pool)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_record_is_removed_when_it_is_old_by_both_clocks() {
        let database = testing::database("sweep", &[&crate::db::MIGRATOR]).await.unwrap();
        let pool = &database.pool;
        for (request_id, days) in
            [("of-today", 0), ("of-29-days", 29), ("of-31-days", 31), ("of-62-days", 62)]
        {
            sqlx::query(
                "insert into idempotency (caller, request_id, method, request_hash, created_at)
                 values ('bank:bni', $1, '/test', '', now() - make_interval(days => $2))",
            )
            .bind(request_id)
            .bind(days)
            .execute(pool)
            .await
            .unwrap();
        }
        let all = records(pool).await;
        assert_eq!(all.len(), 4);
        let now = Timestamp::now();
        // One whose clock is behind removes what is old to it as well.
        sweep(pool, KEEP, now - (24 * 40).hours()).await;
        assert_eq!(records(pool).await, all);
        sweep(pool, KEEP, now - (24 * 31).hours()).await;
        assert_eq!(records(pool).await, ["of-29-days", "of-31-days", "of-today"]);
        // One whose clock has jumped ahead goes by that of the database.
        sweep(pool, KEEP, now + (24 * 365).hours()).await;
        assert_eq!(records(pool).await, ["of-29-days", "of-today"]);
    }

    #[test]
    fn the_steady_clock_goes_on_from_the_start() {
        let clock = SteadyClock::started();
        let (first, second) = (clock.now(), clock.now());
        assert!(clock.started_at <= first && first <= second);
    }
}

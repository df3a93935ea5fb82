//! Gives events their positions in the feed. Whoever holds the one advisory lock does, until their commit: a batch of
//! writes for its own events, or the relay for what committed into the outbox. So positions have no gap and follow the
//! order of commits, however many replicas a service has: what commits late simply gets a later position.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::PgPool;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{Db, conclude::Kept, db::in_time, feed};

/// How long to wait for a bell before looking anyway: another replica may have written.
const ROUND: Duration = Duration::from_millis(100);
/// The least time between rounds: in a rush, events are moved many at once.
const REST: Duration = Duration::from_millis(20);
/// So many events that were moved are cleared away: each look for the next passes what is left of them in the index.
const TIDY: usize = 10_000;
/// Of the time, what clearing away may take: one part in so many. What somebody may still see cannot be cleared away.
const TIDY_SHARE: u32 = 20;
/// How long moving a batch may take.
const LIMIT: Duration = Duration::from_secs(10);
/// After a failed round.
const PAUSE: Duration = Duration::from_millis(500);

/// Relays until the process stops.
pub(crate) async fn run(db: Db, stop: CancellationToken) {
    let (mut rush, mut next_tidying) = (false, Instant::now());
    loop {
        let moved = match round(&db, rush).await {
            Ok(moved) => moved,
            Err(error) => {
                let _logged = crate::Problem::from(error);
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
                continue;
            }
        };
        rush = moved > 0;
        let begun = Instant::now();
        if begun >= next_tidying && db.outbox.needs_tidying() {
            stop.run_until_cancelled(tidy(&db.pool)).await;
            next_tidying = begun + begun.elapsed() * TIDY_SHARE;
        }
        if moved != Kept::MOST {
            if rush && stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                return;
            }
            tokio::select! {
                () = db.outbox.written.notified() => {}
                () = tokio::time::sleep(ROUND) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// What this process knows of the outbox.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Rung after each commit that left events in it, so that the relay need not wait for its next round.
    pub(crate) written: Notify,
    /// How many were moved since what is left of them was cleared away.
    pub(crate) moved: AtomicUsize,
}

impl Outbox {
    fn needs_tidying(&self) -> bool {
        let needed = self.moved.load(Ordering::Relaxed) >= TIDY;
        if needed {
            self.moved.store(0, Ordering::Relaxed);
        }
        needed
    }
}

/// In a rush there is more to move as a rule. Tells how many were moved.
async fn round(db: &Db, rush: bool) -> sqlx::Result<i64> {
    if !rush {
        // Idle rounds are one cheap read: most of the time there is nothing to move. By the index: after a rush the table
        // itself is full of rows that were moved and not yet cleared away.
        let first = sqlx::query_scalar!("select min(outbox_id) from outbox").fetch_one(&db.pool);
        if in_time(feed::LIMIT, first).await?.is_none() {
            return Ok(0);
        }
    }
    in_time(LIMIT, relay(db)).await
}

/// Clears away what is left of events that were moved. The database would do so by itself, but once a minute, and in a rush
/// a minute leaves a million. Its end is left as long as it is: to shorten it would keep writers waiting.
async fn tidy(pool: &PgPool) {
    let tidied = sqlx::raw_sql("vacuum (skip_locked, truncate false) outbox").execute(pool);
    if let Err(error) = in_time(LIMIT, tidied).await {
        let _logged = crate::Problem::from(error);
    }
}

async fn relay(db: &Db) -> sqlx::Result<i64> {
    let mut connection = db.pool.acquire().await?;
    let concluded = Kept::default().conclude(&mut connection).await?;
    concluded.told(db);
    Ok(concluded.moved.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use embedded::testing;

    use super::*;

    #[tokio::test]
    async fn what_is_left_of_events_that_were_moved_is_cleared_away() {
        let database = testing::database("tidy", &[&crate::db::MIGRATOR]).await.unwrap();
        let db = Db::new(database.pool.clone(), CancellationToken::new());
        let place_of_a_new_one = async || {
            sqlx::query("insert into outbox (event_id, kind, subject, traceparent, body) select gen_random_uuid(), '', '', '', '' from generate_series(1, 20)")
                .execute(&db.pool)
                .await
                .unwrap();
            sqlx::query_scalar::<_, String>("select min(ctid)::text from outbox")
                .fetch_one(&db.pool)
                .await
                .unwrap()
        };
        assert_eq!(place_of_a_new_one().await, "(0,1)");
        assert_eq!(relay(&db).await.unwrap(), 20);
        assert_eq!(place_of_a_new_one().await, "(0,21)");
        assert_eq!(relay(&db).await.unwrap(), 20);
        tidy(&db.pool).await;
        assert_eq!(place_of_a_new_one().await, "(0,1)", "the place of one that was moved");
    }
}

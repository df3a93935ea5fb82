//! Gives events their positions in the feed. Whoever holds the one advisory lock does, until their commit: a batch of
//! writes for its own events, or the relay for what committed into the outbox. So positions have no gap and follow the
//! order of commits, however many replicas a service has: what commits late simply gets a later position.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use sqlx::{PgConnection, PgPool};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Db, db::in_time, feed};

/// Most events that are moved at once.
const BATCH: i64 = 1000;
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
/// Key of the advisory lock, within a service's own database, of whoever gives events their positions. Whoever else holds
/// it keeps them waiting in the outbox.
pub const LOCK: i64 = 0x6a6b_6e72_656c;

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
        if moved != BATCH {
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
    moved: AtomicUsize,
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
    let mut transaction = db.begin().await?;
    let ours = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "ours!""#, LOCK);
    if !ours.fetch_one(&mut *transaction).await? {
        return Ok(0);
    }
    let feed = give_positions(&mut transaction, &Events::default()).await?;
    transaction.commit().await?;
    feed.told(db);
    Ok(feed.moved)
}

/// What a transaction made of the feed.
struct Feed {
    /// Its newest position.
    head: i64,
    /// How many events were moved into it.
    moved: i64,
    /// Whether more may wait, before which nothing else is written.
    more: bool,
}

impl Feed {
    /// The transaction has committed.
    fn told(&self, db: &Db) {
        db.outbox.moved.fetch_add(usize::try_from(self.moved).unwrap_or_default(), Ordering::Relaxed);
        db.head.send_if_modified(|known| {
            let newer = self.head > *known;
            if newer {
                *known = self.head;
            }
            newer
        });
    }
}

/// Events of a transaction that is about to commit: columns of a statement.
#[derive(Default)]
pub(crate) struct Events<'a> {
    pub(crate) event_ids: Vec<Uuid>,
    pub(crate) kinds: Vec<&'a str>,
    pub(crate) subjects: Vec<&'a str>,
    pub(crate) traceparents: Vec<&'a str>,
    pub(crate) bodies: Vec<&'a [u8]>,
}

/// Where the events of a transaction are.
pub(crate) struct Written {
    /// The feed, when it was changed.
    feed: Option<Feed>,
}

impl Written {
    /// The transaction has committed.
    pub(crate) fn committed(&self, db: &Db) {
        if let Some(feed) = &self.feed {
            feed.told(db);
        }
        if self.waits() {
            db.outbox.written.notify_one();
        }
    }

    /// Whether its events wait in the outbox.
    fn waits(&self) -> bool {
        self.feed.as_ref().is_none_or(|feed| feed.more)
    }
}

/// Writes events as the last of a transaction: into the feed, after all that wait, when it holds the lock. Through the
/// outbox each would be written, deleted and written again.
pub(crate) async fn write(
    connection: &mut PgConnection,
    events: &Events<'_>,
    holds_lock: bool,
) -> sqlx::Result<Written> {
    let feed = if holds_lock { Some(give_positions(&mut *connection, events).await?) } else { None };
    let written = Written { feed };
    if written.waits() {
        leave_waiting(connection, events).await?;
    }
    Ok(written)
}

/// Moves the first events that wait into the feed, and writes further ones after them unless more may wait. Whoever asks
/// has taken the lock in an earlier statement: so all that was committed under it is seen.
async fn give_positions(connection: &mut PgConnection, events: &Events<'_>) -> sqlx::Result<Feed> {
    sqlx::query_as!(
        Feed,
        r#"with head as (
               select coalesce(max(position), 0) as position from feed
           ), waiting as (
               delete from outbox
               where ctid = any(array(select ctid from outbox order by outbox_id limit $1))
               returning *
           ), moved as (
               insert into feed (position, event_id, kind, subject, traceparent, body, occurred_at)
               select head.position + row_number() over (order by outbox_id),
                      event_id, kind, subject, traceparent, body, occurred_at
               from waiting, head
               returning 1
           ), since as (
               select position + events as position, events as moved, events >= $1 as more
               from head, (select count(*) as events from moved) as moved
           ), written as (
               insert into feed (position, event_id, kind, subject, traceparent, body, occurred_at)
               select position + place, event_id, kind, subject, traceparent, body, now()
               from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[]) with ordinality
                    as event (event_id, kind, subject, traceparent, body, place), since
               where not more
               returning 1
           )
           select position + (select count(*) from written) as "head!", moved as "moved!", more as "more!"
           from since"#,
        BATCH,
        &events.event_ids,
        &events.kinds as &[&str],
        &events.subjects as &[&str],
        &events.traceparents as &[&str],
        &events.bodies as &[&[u8]],
    )
    .fetch_one(connection)
    .await
}

/// Leaves events to whoever holds the lock next.
async fn leave_waiting(connection: &mut PgConnection, events: &Events<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into outbox (event_id, kind, subject, traceparent, body)
         select event_id, kind, subject, traceparent, body
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[]) with ordinality
              as event (event_id, kind, subject, traceparent, body, place)
         order by place",
        &events.event_ids,
        &events.kinds as &[&str],
        &events.subjects as &[&str],
        &events.traceparents as &[&str],
        &events.bodies as &[&[u8]],
    )
    .execute(connection)
    .await?;
    Ok(())
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

//! Moves committed outbox rows to the feed and gives them their positions. However many replicas a service has,
//! one relays at a time (an advisory lock), so positions have no gap and follow the order of commits: a transaction
//! that commits late simply gets a later position.

use std::time::Duration;

use jiff_sqlx::ToSqlx;
use prost::Message;
use proto::feed::v1::Event;
use redis::{
    AsyncCommands,
    aio::ConnectionManager,
    streams::{StreamMaxlen, StreamRangeReply},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Db, db::in_time, feed};

/// Most events that one round moves.
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
/// How many entries the Redis stream keeps; whoever is further behind reads the feed over gRPC.
const STREAM_LENGTH: usize = 100_000;
/// How often old idempotency records are removed.
const SWEEP: Duration = Duration::from_secs(600);
/// Most old records removed at once.
const SWEEP_BATCH: i64 = 10_000;
/// Key of the advisory lock, within a service's own database, of whoever relays its events. Whoever else holds it keeps
/// them waiting in the outbox.
pub const LOCK: i64 = 0x6a6b_6e72_656c;

/// Relays until the process stops.
pub(crate) async fn run(
    db: Db,
    source: &'static str,
    mut redis: Option<ConnectionManager>,
    keep: Duration,
    stop: CancellationToken,
) {
    let mut stream = None;
    let clock = SteadyClock::started();
    let mut next_sweep = tokio::time::Instant::now() + SWEEP;
    let (mut left, mut next_tidying) = (0, tokio::time::Instant::now());
    let mut rush = false;
    loop {
        if let Some(redis) = redis.as_mut()
            && stream.is_none()
            && let Ok(id) = feed::identity(&db.pool).await
        {
            let key = feed::stream_key(source, id);
            forget_what_never_was(redis, &db.pool, &key).await;
            stream = Some(key);
        }
        let moved = match round(&db, rush).await {
            Ok(events) => events,
            Err(error) => {
                let _logged = crate::Problem::from(error);
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
                continue;
            }
        };
        if let Some(last) = moved.last() {
            let head = last.position;
            db.head.send_if_modified(|known| {
                let newer = head > *known;
                if newer {
                    *known = head;
                }
                newer
            });
            if let (Some(redis), Some(key)) = (redis.as_mut(), &stream)
                && publish(redis, source, key, &moved).await.is_err()
                && forget_what_never_was(redis, &db.pool, key).await
            {
                let _followers_read_the_feed = publish(redis, source, key, &moved).await;
            }
        }
        rush = !moved.is_empty();
        left += moved.len();
        if left >= TIDY && tokio::time::Instant::now() >= next_tidying {
            left = 0;
            let begun = tokio::time::Instant::now();
            stop.run_until_cancelled(tidy(&db.pool)).await;
            next_tidying = begun + begun.elapsed() * TIDY_SHARE;
        }
        if tokio::time::Instant::now() >= next_sweep {
            next_sweep += SWEEP;
            stop.run_until_cancelled(sweep(&db.pool, keep, clock.now())).await;
        }
        if i64::try_from(moved.len()) != Ok(BATCH) {
            if !moved.is_empty() && stop.run_until_cancelled(tokio::time::sleep(REST)).await.is_none() {
                return;
            }
            tokio::select! {
                () = db.written.notified() => {}
                () = tokio::time::sleep(ROUND) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

struct Moved {
    position: i64,
    event_id: Uuid,
    kind: String,
    subject: String,
    traceparent: String,
    body: Vec<u8>,
    occurred_at: jiff_sqlx::Timestamp,
}

/// In a rush there is more to move as a rule.
async fn round(db: &Db, rush: bool) -> Result<Vec<Moved>, sqlx::Error> {
    if !rush {
        // Idle rounds are one cheap read: most of the time there is nothing to move. By the index: after a rush the table
        // itself is full of rows that were moved and not yet cleared away.
        let first = sqlx::query_scalar!("select min(outbox_id) from outbox").fetch_one(&db.pool);
        if in_time(feed::LIMIT, first).await?.is_none() {
            return Ok(Vec::new());
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

async fn relay(db: &Db) -> Result<Vec<Moved>, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let ours = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "ours!""#, LOCK)
        .fetch_one(&mut *transaction)
        .await?;
    if !ours {
        return Ok(Vec::new());
    }
    let mut moved = sqlx::query_as!(
        Moved,
        r#"with moved as (
               delete from outbox
               where ctid = any(array(select ctid from outbox order by outbox_id limit $1))
               returning *
           )
           insert into feed (position, event_id, kind, subject, traceparent, body, occurred_at)
           select coalesce((select max(position) from feed), 0) + row_number() over (order by outbox_id),
                  event_id, kind, subject, traceparent, body, occurred_at
           from moved
           returning position, event_id, kind, subject, traceparent, body, occurred_at"#,
        BATCH,
    )
    .fetch_all(&mut *transaction)
    .await?;
    transaction.commit().await?;
    moved.sort_by_key(|row| row.position);
    Ok(moved)
}

/// Tells Redis. A failure costs followers a little time, not an event: they find the gap and read the feed.
async fn publish(
    redis: &mut ConnectionManager,
    source: &str,
    key: &str,
    moved: &[Moved],
) -> redis::RedisResult<()> {
    for row in moved {
        let event = Event {
            source: source.to_owned(),
            position: row.position,
            event_id: row.event_id.to_string(),
            r#type: row.kind.clone(),
            subject: row.subject.clone(),
            occurred_at: Some(crate::time::to_proto(row.occurred_at.to_jiff())),
            traceparent: row.traceparent.clone(),
            body: row.body.clone().into(),
        };
        let told: redis::RedisResult<()> = redis
            .xadd_maxlen(
                key,
                StreamMaxlen::Approx(STREAM_LENGTH),
                format!("{}-0", row.position),
                &[("event", event.encode_to_vec())],
            )
            .await;
        if let Err(error) = told {
            tracing::debug!(kind = ?error.kind(), "redis was not told of new events");
            return Err(error);
        }
    }
    Ok(())
}

/// Removes a stream that is ahead of the feed: it tells of what a database that was restored has never seen. Says
/// whether it did. Redis is asked first: what it was told before was committed before.
async fn forget_what_never_was(redis: &mut ConnectionManager, pool: &PgPool, key: &str) -> bool {
    let last: redis::RedisResult<StreamRangeReply> = redis.xrevrange_count(key, "+", "-", 1).await;
    let Some(last) = last.ok().and_then(|reply| reply.ids.into_iter().next()) else { return false };
    let last = last.id.split('-').next().and_then(|number| number.parse::<u64>().ok());
    let Ok(head) = feed::head(pool).await else { return false };
    if last.is_some_and(|last| i64::try_from(last).is_ok_and(|last| last <= head)) {
        return false;
    }
    tracing::warn!(head, "the stream in redis was ahead of the feed; removing it");
    redis.del::<_, ()>(key).await.is_ok()
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
            SWEEP_BATCH,
        )
        .execute(pool);
        let Ok(swept) = in_time(LIMIT, swept).await.map(|swept| swept.rows_affected()) else { break };
        records += swept;
        if swept == 0 || i64::try_from(swept).is_ok_and(|swept| swept < SWEEP_BATCH) {
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
        assert_eq!(relay(&db).await.unwrap().len(), 20);
        assert_eq!(place_of_a_new_one().await, "(0,21)");
        assert_eq!(relay(&db).await.unwrap().len(), 20);
        tidy(&db.pool).await;
        assert_eq!(place_of_a_new_one().await, "(0,1)", "the place of one that was moved");
    }

    #[test]
    fn the_steady_clock_goes_on_from_the_start() {
        let clock = SteadyClock::started();
        let (first, second) = (clock.now(), clock.now());
        assert!(clock.started_at <= first && first <= second);
    }
}

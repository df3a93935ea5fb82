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

use crate::{Db, feed};

/// Most events that one round moves.
const BATCH: i64 = 1000;
/// How long to wait for a bell before looking anyway: another replica may have written.
const ROUND: Duration = Duration::from_millis(100);
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
    let mut next_sweep = tokio::time::Instant::now() + SWEEP;
    loop {
        if let Some(redis) = redis.as_mut()
            && stream.is_none()
            && let Ok(id) = feed::identity(&db.pool).await
        {
            let key = feed::stream_key(source, id);
            forget_what_never_was(redis, &db.pool, &key).await;
            stream = Some(key);
        }
        let moved = match round(&db).await {
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
        if tokio::time::Instant::now() >= next_sweep {
            next_sweep += SWEEP;
            stop.run_until_cancelled(sweep(&db.pool, keep)).await;
        }
        if i64::try_from(moved.len()) != Ok(BATCH) {
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

async fn round(db: &Db) -> Result<Vec<Moved>, sqlx::Error> {
    // Idle rounds are one cheap read: most of the time there is nothing to move.
    let waiting = sqlx::query_scalar!(r#"select exists (select from outbox) as "waiting!""#)
        .fetch_one(&db.pool)
        .await?;
    if !waiting {
        return Ok(Vec::new());
    }
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
               where outbox_id in (select outbox_id from outbox order by outbox_id limit $1)
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

async fn sweep(pool: &PgPool, keep: Duration) {
    let Ok(keep) = jiff::SignedDuration::try_from(keep) else { return };
    let Ok(before) = jiff::Timestamp::now().checked_sub(keep) else { return };
    let before = before.to_sqlx();
    let mut records = 0;
    // Batch by batch until none is left: what comes in within a round may be more than one batch.
    loop {
        let swept = sqlx::query!(
            "delete from idempotency where (caller, request_id) in (
             select caller, request_id from idempotency where created_at < $1 order by created_at limit $2)",
            before as _,
            SWEEP_BATCH,
        )
        .execute(pool)
        .await;
        let Ok(swept) = swept.map(|swept| swept.rows_affected()) else { break };
        records += swept;
        if swept == 0 || i64::try_from(swept).is_ok_and(|swept| swept < SWEEP_BATCH) {
            break;
        }
    }
    if records > 0 {
        tracing::info!(records, "removed old idempotency records");
    }
}

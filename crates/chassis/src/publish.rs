//! Tells Redis of the events of the feed, each under its position. Followers hear of them quickly so; what Redis was not
//! told, or has lost, they read from the feed.

use std::time::Duration;

use anyhow::Context;
use prost::Message;
use redis::{
    AsyncCommands,
    aio::ConnectionManager,
    streams::{StreamMaxlen, StreamRangeReply},
};
use tokio_util::sync::CancellationToken;

use crate::{Db, feed};

/// Most events that are told at once.
const BATCH: i64 = 1000;
/// How many events the Redis stream keeps; whoever is further behind reads the feed over gRPC.
const STREAM_LENGTH: i64 = 100_000;
/// After a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Tells of events until the process stops. Each replica tells of whatever is new, so that nobody need hand events over.
pub(crate) async fn run(db: Db, source: &'static str, mut redis: ConnectionManager, stop: CancellationToken) {
    let mut bell = db.head.subscribe();
    let mut key = None;
    loop {
        match stop.run_until_cancelled(round(&db, source, &mut redis, &mut key)).await {
            None => return,
            Some(Ok(true)) => {}
            Some(Ok(false)) => match stop.run_until_cancelled(bell.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            },
            Some(Err(error)) => {
                tracing::debug!(error = %error, "redis was not told of new events");
                if stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        }
    }
}

/// Tells of the events that follow what Redis holds; whether there may be more.
async fn round(
    db: &Db,
    source: &str,
    redis: &mut ConnectionManager,
    key: &mut Option<String>,
) -> anyhow::Result<bool> {
    let key = match key {
        Some(key) => key,
        None => key.insert(feed::stream_key(source, feed::identity(&db.pool).await?)),
    };
    // What was heard of since the process started; at first that is nothing.
    let mut head = *db.head.borrow();
    if head == 0 {
        head = feed::head(&db.pool).await?;
    }
    let told = match last(redis, key).await? {
        // What a database that was restored has never seen: Redis was told only of what was committed before.
        Some(last) if last > head && last > feed::head(&db.pool).await? => {
            tracing::warn!(head, "the stream in redis was ahead of the feed; removing it");
            redis.del::<_, ()>(&*key).await?;
            0
        }
        last => last.unwrap_or_default(),
    };
    let events = feed::read(db, source, told.max(head - STREAM_LENGTH), BATCH).await?;
    if events.is_empty() {
        return Ok(false);
    }
    let mut entries = redis::pipe();
    for event in events {
        let length = StreamMaxlen::Approx(usize::try_from(STREAM_LENGTH)?);
        let id = format!("{}-0", event.position);
        entries.xadd_maxlen(&*key, length, id, &[("event", event.encode_to_vec())]).ignore();
    }
    match entries.query_async::<()>(redis).await {
        Ok(()) => Ok(true),
        // Another replica told of them meanwhile; the rest follows.
        Err(_) if last(redis, key).await?.is_some_and(|last| last > told) => Ok(true),
        Err(error) => Err(error).context("telling redis"),
    }
}

/// The position of the last event that Redis was told of.
async fn last(redis: &mut ConnectionManager, key: &str) -> anyhow::Result<Option<i64>> {
    let last: StreamRangeReply = redis.xrevrange_count(key, "+", "-", 1).await?;
    let Some(entry) = last.ids.first() else { return Ok(None) };
    let position = entry.id.split('-').next().and_then(|number| number.parse().ok());
    // A number that no feed reaches stands for what is none.
    Ok(Some(position.unwrap_or(i64::MAX)))
}

//! Follows another service's feed and folds each event exactly once: the position moves in the transaction of the
//! fold. Redis tells of new events quickly; the feed over gRPC is the truth, read whenever there is a gap.

use std::{future::Future, time::Duration};

use anyhow::Context;
use prost::Message;
use proto::feed::v1::{
    Event, FollowEventsRequest, ReadEventsRequest, feed_service_client::FeedServiceClient,
};
use redis::{
    AsyncCommands,
    streams::{StreamReadOptions, StreamReadReply},
};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;

use crate::{Db, Upstream, db::in_time, feed, telemetry};

/// Most events that one transaction folds.
const BATCH: i32 = 1000;
/// How long Redis is listened to before the feed itself is asked again.
const LISTEN: Duration = Duration::from_secs(1);
/// Bounds of the pause after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long one read of the feed may take.
const READ_DEADLINE: Duration = Duration::from_secs(5);
/// How long folding a batch may take.
const FOLD_DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of one answer of the feed: the bound of what it puts together, and one event of any size besides.
const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// What is done with the events of a feed.
pub trait Fold: Send + Sync + 'static {
    /// Applies events, oldest first, on the connection of a transaction that also moves the position.
    /// An error rolls both back, and the same events come again.
    fn fold(
        &self,
        connection: &mut PgConnection,
        events: &[Event],
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// One feed that is followed.
pub(crate) struct Follower<F> {
    pub(crate) db: Db,
    pub(crate) source: String,
    pub(crate) upstream: Upstream,
    pub(crate) redis: Option<redis::Client>,
    pub(crate) fold: F,
    pub(crate) stop: CancellationToken,
}

impl<F: Fold> Follower<F> {
    /// Follows until the process stops. Whatever fails is tried again.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut pause = SHORTEST_PAUSE;
        while !self.stop.is_cancelled() {
            let followed = self.stop.run_until_cancelled(self.follow()).await;
            match followed {
                None => break,
                Some(Ok(())) => pause = SHORTEST_PAUSE,
                Some(Err(error)) => {
                    tracing::debug!(source = %self.source, error = %error, "following a feed failed; trying again");
                    self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(())
    }

    async fn follow(&self) -> anyhow::Result<()> {
        let (mut position, feed_id) = self.catch_up().await?;
        if let Some(client) = &self.redis {
            // A blocking read holds its connection: it has one of its own.
            match client.get_multiplexed_async_connection_with_config(&listening()).await {
                Ok(mut redis) => loop {
                    let heard = listen(&mut redis, &self.source, feed_id, position).await?;
                    if let Heard::Next(events) = &heard {
                        position = self.apply(feed_id, events).await?;
                        continue;
                    }
                    // Nothing for a while, or a gap: the feed knows.
                    let before = position;
                    let same_feed;
                    (position, same_feed) = self.catch_up().await?;
                    anyhow::ensure!(same_feed == feed_id, "the feed of {} was made anew", self.source);
                    if matches!(heard, Heard::Gap) && position == before {
                        tracing::warn!(source = %self.source, position, "redis holds what the feed does not; following over gRPC");
                        break;
                    }
                },
                Err(error) => {
                    tracing::debug!(kind = ?error.kind(), "redis does not answer; following over gRPC")
                }
            }
        }
        let mut stream =
            self.client().follow_events(FollowEventsRequest { after_position: position }).await?.into_inner();
        while let Some(batch) = stream.message().await? {
            self.apply(feed_id, &batch.events).await?;
        }
        Ok(())
    }

    fn client(&self) -> FeedServiceClient<Upstream> {
        FeedServiceClient::new(self.upstream.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }

    /// Reads the feed until its head; the position reached and the id of the feed.
    async fn catch_up(&self) -> anyhow::Result<(i64, Uuid)> {
        let (mut position, folded_of) = self.position().await?;
        let mut client = self.client();
        loop {
            let mut request =
                tonic::Request::new(ReadEventsRequest { after_position: position, limit: BATCH });
            request.set_timeout(READ_DEADLINE);
            let read = client.read_events(request).await?.into_inner();
            if read.head_position < position {
                tracing::error!(source = %self.source, position, head = read.head_position, "the followed feed is shorter than what was folded of it; was its database made anew?");
                anyhow::bail!("the feed of {} is behind its follower", self.source);
            }
            let feed_id = Uuid::parse_str(&read.feed_id)?;
            if folded_of.is_some_and(|folded_of| folded_of != feed_id) {
                tracing::error!(source = %self.source, position, "the followed feed is another one than was folded; was its database made anew? fold it from its beginning, in a database made anew");
                anyhow::bail!("the feed of {} is not the one that was folded", self.source);
            }
            if read.events.is_empty() {
                return Ok((position, feed_id));
            }
            position = self.apply(feed_id, &read.events).await?;
        }
    }

    /// How far was folded, and of which feed.
    async fn position(&self) -> anyhow::Result<(i64, Option<Uuid>)> {
        let known =
            sqlx::query!("select position, feed_id from consumer_position where source = $1", self.source)
                .fetch_optional(&self.db.pool);
        let known = in_time(feed::LIMIT, known).await?;
        Ok(known.map_or((0, None), |row| (row.position, row.feed_id)))
    }

    async fn apply(&self, feed_id: Uuid, events: &[Event]) -> anyhow::Result<i64> {
        // A database that stopped answering would hold the follower for ever.
        tokio::time::timeout(FOLD_DEADLINE, self.fold_once(feed_id, events))
            .await
            .context("the fold took too long")?
    }

    /// Folds the events that were not folded before, and moves the position, in one transaction.
    async fn fold_once(&self, feed_id: Uuid, events: &[Event]) -> anyhow::Result<i64> {
        let mut transaction = self.db.begin().await?;
        sqlx::query!(
            "insert into consumer_position (source, position) values ($1, 0) on conflict do nothing",
            self.source
        )
        .execute(&mut *transaction)
        .await?;
        // The lock keeps a second replica from folding the same events at the same time.
        let position = sqlx::query_scalar!(
            "select position from consumer_position where source = $1 for update",
            self.source
        )
        .fetch_one(&mut *transaction)
        .await?;
        let known = events.iter().take_while(|event| event.position <= position).count();
        let fresh = &events[known..];
        let (Some(first), Some(last)) = (fresh.first(), fresh.last()) else { return Ok(position) };
        let gapless = fresh.iter().zip(position + 1..).all(|(event, expected)| event.position == expected);
        anyhow::ensure!(
            gapless,
            "events {} to {} do not follow position {position}",
            first.position,
            last.position
        );
        let span = tracing::info_span!("fold", otel.kind = "consumer", source = %self.source, from = first.position, to = last.position);
        // In the trace of the call that made the first of them; the others are linked.
        telemetry::continue_trace(&span, &first.traceparent);
        fresh[1..].iter().for_each(|event| telemetry::link_trace(&span, &event.traceparent));
        self.fold.fold(&mut transaction, fresh).instrument(span).await.inspect_err(|error| {
            tracing::error!(source = %self.source, from = first.position, to = last.position, error = %error, "a fold failed; its events wait");
        })?;
        sqlx::query!(
            "update consumer_position set position = $2, feed_id = $3 where source = $1",
            self.source,
            last.position,
            feed_id
        )
        .execute(&mut *transaction)
        .await?;
        let reached = last.position;
        transaction.commit().await?;
        Ok(reached)
    }
}

/// What Redis told.
enum Heard {
    /// The events that follow.
    Next(Vec<Event>),
    /// Something, but not what follows.
    Gap,
    /// Nothing for a while.
    Nothing,
}

async fn listen(
    redis: &mut redis::aio::MultiplexedConnection,
    source: &str,
    feed_id: Uuid,
    position: i64,
) -> anyhow::Result<Heard> {
    let key = feed::stream_key(source, feed_id);
    let options = StreamReadOptions::default()
        .block(usize::try_from(LISTEN.as_millis())?)
        .count(usize::try_from(BATCH)?);
    let reply: Option<StreamReadReply> =
        redis.xread_options(&[key], &[format!("{position}-0")], &options).await?;
    let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|stream| stream.ids);
    let mut events: Vec<Event> = Vec::new();
    let mut told = false;
    for entry in entries {
        told = true;
        let body: Option<Vec<u8>> = entry.get("event");
        let event = body.and_then(|body| Event::decode(body.as_slice()).ok());
        let expected = position + 1 + i64::try_from(events.len())?;
        // Past a gap, or what is no event, the rest is read from the feed.
        let Some(event) = event.filter(|event| event.position == expected && event.source == source) else {
            break;
        };
        events.push(event);
    }
    Ok(match (events.is_empty(), told) {
        (false, _) => Heard::Next(events),
        (true, true) => Heard::Gap,
        (true, false) => Heard::Nothing,
    })
}

fn listening() -> redis::AsyncConnectionConfig {
    // The driver's own limit on an answer is shorter than the time we listen.
    redis::AsyncConnectionConfig::new()
        .set_response_timeout(Some(LISTEN * 3))
        .set_connection_timeout(Some(LISTEN))
}

//! A service's events in commit order: served over gRPC to other services, and tailed within the service for the
//! streams it watches over.

use std::{pin::Pin, time::Duration};

use futures::Stream;
use prost::Message;
use proto::feed::v1::{
    Event, FollowEventsRequest, FollowEventsResponse, ReadEventsRequest, ReadEventsResponse,
    feed_service_server::FeedService,
};
use sqlx::PgPool;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{Call, Db, Fields, Problem, call, contract, db::in_time, time};

const DEFAULT_LIMIT: i32 = 100;
const LARGEST_LIMIT: i32 = 1000;
/// Bytes of the events of one answer, unless a single event has more.
const MOST_BYTES: usize = 2 * 1024 * 1024;
/// Batches a slow reader may be behind before it is waited for.
const BUFFERED: usize = 8;
/// How long a read of the feed may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);
/// How long to wait for a bell before looking anyway: another replica may relay.
const ROUND: Duration = Duration::from_millis(250);

/// The key of the Redis stream that tells of a service's events.
pub(crate) fn stream_key(source: &str, feed_id: Uuid) -> String {
    format!("jkn:feed:{source}:{feed_id}")
}

pub(crate) async fn identity(pool: &PgPool) -> Result<Uuid, sqlx::Error> {
    in_time(LIMIT, sqlx::query_scalar!("select feed_id from feed_identity").fetch_one(pool)).await
}

/// The first events that together have at most [`MOST_BYTES`], and one in any case: what is larger no client takes.
fn bounded(events: impl Iterator<Item = Event>) -> Vec<Event> {
    let mut room = MOST_BYTES;
    let fits = |(number, event): &(usize, Event)| {
        let size = event.encoded_len();
        let fits = *number == 0 || size <= room;
        room = room.saturating_sub(size);
        fits
    };
    events.enumerate().take_while(fits).map(|(_, event)| event).collect()
}

pub(crate) async fn read(db: &Db, source: &str, after: i64, limit: i64) -> Result<Vec<Event>, sqlx::Error> {
    let rows = sqlx::query!(
        "select position, event_id, kind, subject, traceparent, body, occurred_at
         from feed where position > $1 order by position limit $2",
        after,
        limit,
    )
    .fetch_all(&db.pool);
    let rows = in_time(LIMIT, rows).await?;
    let events = rows.into_iter().map(|row| Event {
        source: source.to_owned(),
        position: row.position,
        event_id: row.event_id.to_string(),
        r#type: row.kind,
        subject: row.subject,
        occurred_at: Some(time::to_proto(row.occurred_at.to_jiff())),
        traceparent: row.traceparent,
        body: row.body.into(),
    });
    Ok(bounded(events))
}

pub(crate) async fn head(pool: &PgPool) -> Result<i64, sqlx::Error> {
    let head =
        sqlx::query_scalar!(r#"select coalesce(max(position), 0) as "head!" from feed"#).fetch_one(pool);
    in_time(LIMIT, head).await
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// With what happens from now on.
    Now,
    /// After this position.
    After(i64),
}

/// The service's own events, batch by batch, oldest first, until the call's deadline passes, its caller goes away
/// or the process stops.
///
/// # Errors
/// When the database does not answer.
pub async fn tail(
    db: &Db,
    call: &Call,
    from: From,
) -> Result<impl Stream<Item = Vec<Event>> + Send + use<>, Problem> {
    let source = contract::method(&call.method).map(|method| method.system.to_owned()).unwrap_or_default();
    follow(db, source, call.deadline, from).await
}

async fn follow(
    db: &Db,
    source: String,
    deadline: Instant,
    from: From,
) -> Result<impl Stream<Item = Vec<Event>> + Send + use<>, Problem> {
    let mut position = match from {
        From::Now => head(&db.pool).await?,
        From::After(position) => position,
    };
    let (sender, receiver) = mpsc::channel(BUFFERED);
    let db = db.clone();
    tokio::spawn(async move {
        let mut bell = db.head.subscribe();
        loop {
            match read(&db, &source, position, i64::from(LARGEST_LIMIT)).await {
                Ok(events) if !events.is_empty() => {
                    position = events.last().map_or(position, |event| event.position);
                    if sender.send(events).await.is_err() {
                        return;
                    }
                    continue;
                }
                Ok(_) => {}
                Err(error) => {
                    let _logged = Problem::from(error);
                }
            }
            tokio::select! {
                _ = bell.changed() => {}
                () = tokio::time::sleep(ROUND) => {}
                () = tokio::time::sleep_until(deadline) => return,
                () = sender.closed() => return,
                () = db.stop.cancelled() => return,
            }
        }
    });
    Ok(ReceiverStream::new(receiver))
}

/// The feed of one service over gRPC.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) db: Db,
    pub(crate) source: &'static str,
}

#[tonic::async_trait]
impl FeedService for Served {
    async fn read_events(
        &self,
        request: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        let (_, message) = call::accept(request)?;
        let mut fields = Fields::new();
        fields.require("after_position", message.after_position >= 0, "0 or a position");
        fields.require(
            "limit",
            (0..=LARGEST_LIMIT).contains(&message.limit),
            format!("0 to {LARGEST_LIMIT}"),
        );
        fields.finish()?;
        let limit = if message.limit == 0 { DEFAULT_LIMIT } else { message.limit };
        let events = read(&self.db, self.source, message.after_position, i64::from(limit))
            .await
            .map_err(Problem::from)?;
        let head_position = head(&self.db.pool).await.map_err(Problem::from)?;
        let feed_id = identity(&self.db.pool).await.map_err(Problem::from)?.to_string();
        Ok(Response::new(ReadEventsResponse { events, head_position, feed_id }))
    }

    type FollowEventsStream = Pin<Box<dyn Stream<Item = Result<FollowEventsResponse, Status>> + Send>>;

    async fn follow_events(
        &self,
        request: Request<FollowEventsRequest>,
    ) -> Result<Response<Self::FollowEventsStream>, Status> {
        let (call, message) = call::accept(request)?;
        let mut fields = Fields::new();
        fields.require("after_position", message.after_position >= 0, "0 or a position");
        fields.finish()?;
        let events =
            follow(&self.db, self.source.to_owned(), call.deadline, From::After(message.after_position))
                .await?;
        Ok(Response::new(Box::pin(events.map(|events| Ok(FollowEventsResponse { events })))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_bounded_but_never_empty() {
        let of = |size: usize| Event { body: vec![0; size].into(), ..Event::default() };
        let taken = |sizes: &[usize]| bounded(sizes.iter().map(|size| of(*size))).len();
        assert_eq!(taken(&[10, 10, 10]), 3);
        assert_eq!(taken(&[MOST_BYTES * 2, 10]), 1);
        assert_eq!(taken(&[MOST_BYTES / 2, MOST_BYTES, 10]), 1, "none is skipped");
    }
}

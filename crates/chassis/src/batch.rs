//! Writes of many callers in one transaction. Whatever arrived while the last transaction was under way goes into the
//! next one; nobody waits for others to come. What many share is the cost of a commit: state, idempotency record and
//! event of each write are in the transaction, as [`crate::Mutation`] has it for one, and each caller is answered
//! only after the commit.
//!
//! A write that fails harms nobody else: when the database refuses a transaction, each of its writes is tried again
//! in one of its own.

use std::{collections::HashSet, hash::Hash, sync::Arc, time::Duration};

use anyhow::Context;
use opentelemetry::{KeyValue, global, metrics::Histogram};
use prost::{Message, Name};
use sqlx::{PgConnection, Postgres, Transaction};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Call, Db, Mutation, Problem, mutation};

/// Most writes of one transaction.
const MOST_WRITES: usize = 512;
/// Most writes that wait; a further one is refused.
const MOST_WAITING: usize = 2048;
/// Most parts of streams that wait or are under way: while as many as fill the transactions of both writers are written, as
/// many as fill the next one wait. The places that are left are for calls, which do not wait for one.
const MOST_OF_STREAMS: usize = 1536;
/// How long a transaction may take before its connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Transactions under way at once, where the pool has connections to spare: while one waits for the disk, the next one
/// is written. With a third, each is smaller and a write costs a quarter more.
const WRITERS: u32 = 2;

/// Its statements take arrays of a length that says nothing: planned anew for each batch they would come out the same.
/// Each row is found by a key. A plan that is made while a table is small would read the whole of it, and be kept when it
/// has grown.
const BEGIN: &str = "begin; set local plan_cache_mode = force_generic_plan; set local enable_seqscan = off; \
                     set local enable_hashjoin = off; set local enable_mergejoin = off; \
                     set local enable_material = off; set local enable_memoize = off";

/// A kind of write that is made together with others of its kind.
pub trait Batched: Send + Sync + 'static {
    /// What is to be written for one call.
    type Work: Send + Sync + 'static;
    /// The answer to the call.
    type Answer: Message + Default + 'static;
    /// Why it is refused.
    type Error: From<Problem> + From<sqlx::Error> + Send + 'static;
    /// What a write is about. Two writes about the same are never in one transaction.
    type Subject: Eq + Hash;

    /// Its name in metrics, e.g. `submit_claim`.
    const NAME: &'static str;

    /// What this work is about.
    fn subject(work: &Self::Work) -> Self::Subject;

    /// Writes everything in a few statements, and says of each what became of it, in the same order.
    ///
    /// # Errors
    /// When the database refuses a statement: nothing is kept of any of them then.
    fn write(
        &self,
        connection: &mut PgConnection,
        turn: Turn,
        asked: &[(&Call, &Self::Work)],
    ) -> impl Future<Output = sqlx::Result<Vec<Outcome<Self::Answer, Self::Error>>>> + Send;
}

/// Who waits while writes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// All that come after them, even when it is only one: what another transaction holds must not be waited for.
    Shared,
    /// Nobody but its caller: the one write is made beside the others, and waits for what it needs.
    Alone,
}

/// What became of a write.
pub enum Outcome<A, E> {
    /// Written; the events tell of it. An answer may be large, and it is handed on often.
    Written(Box<A>, Vec<Event>),
    /// Refused: nothing was written of it.
    Refused(E),
    /// It can only be said in a [`Turn::Alone`], and nothing was written of it.
    Alone,
}

/// An event of a write.
pub struct Event {
    kind: String,
    subject: String,
    body: Vec<u8>,
}

impl Event {
    /// `subject` is what it is about: an internal id or a document number.
    pub fn new<E: Message + Name>(subject: &str, event: &E) -> Self {
        Self { kind: E::full_name(), subject: subject.to_owned(), body: event.encode_to_vec() }
    }
}

struct Job<B: Batched> {
    call: Call,
    mutation: Mutation,
    work: B::Work,
    answer: oneshot::Sender<Result<Box<B::Answer>, B::Error>>,
}

/// Where writes are handed in. Cheap to clone.
pub struct Batcher<B: Batched> {
    handed_in: mpsc::Sender<Job<B>>,
    of_streams: Arc<Semaphore>,
}

impl<B: Batched> Clone for Batcher<B> {
    fn clone(&self) -> Self {
        Self { handed_in: self.handed_in.clone(), of_streams: Arc::clone(&self.of_streams) }
    }
}

impl<B: Batched> Batcher<B> {
    /// The place for writes, and the work of making them. The work ends with an error when it cannot go on; after the
    /// stop it goes on beside it until nobody can hand in any more.
    pub fn new(
        db: Db,
        kind: B,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (handed_in, jobs) = mpsc::channel(MOST_WAITING);
        let sizes = global::meter("jkn")
            .u64_histogram("mesh.batch.writes")
            .with_unit("{write}")
            .with_description("Writes that one transaction made together")
            .with_boundaries((0..=8).map(|power| f64::from(1 << power)).collect())
            .build();
        let writer =
            Writer { jobs: Arc::new(Mutex::new(jobs)), db, kind: Arc::new(kind), sizes, later: Vec::new() };
        let writing = async move {
            let mut writers = JoinSet::new();
            // Of two kinds of writes and all other calls, each has a third of the connections.
            for _ in 0..WRITERS.min(writer.db.pool.options().get_max_connections() / 3).max(1) {
                writers.spawn(writer.another().run());
            }
            drop(writer);
            let ended = stop.run_until_cancelled(writers.join_next()).await;
            writers.detach_all();
            ended.flatten().transpose().context("writing together").map(|_| ())
        };
        (Self { handed_in, of_streams: Arc::new(Semaphore::new(MOST_OF_STREAMS)) }, writing)
    }

    /// Makes a write with others; refuses it when too many wait. Whoever stops waiting is not answered; what they asked
    /// for may be written.
    ///
    /// # Errors
    /// ALREADY_EXISTS when the key was used for another request; what the kind of write refuses; too many wait; the
    /// commit did not happen, or its outcome is unknown: the caller repeats with the same key.
    pub async fn write(&self, call: Call, mutation: Mutation, work: B::Work) -> Result<B::Answer, B::Error> {
        let place = self.handed_in.try_reserve().map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(()) => Problem::overloaded(),
            mpsc::error::TrySendError::Closed(()) => Problem::unavailable("database"),
        })?;
        hand_in(place, call, mutation, work).await
    }

    /// The same for a part of a stream: it waits for a place, and its sender is not read meanwhile. Streams leave places for
    /// calls.
    ///
    /// # Errors
    /// As [`Batcher::write`], but for a lack of places.
    pub async fn write_in_turn(
        &self,
        call: Call,
        mutation: Mutation,
        work: B::Work,
    ) -> Result<B::Answer, B::Error> {
        let _one_of_those = self.of_streams.acquire().await.map_err(|_| Problem::unavailable("database"))?;
        let place = self.handed_in.reserve().await.map_err(|_| Problem::unavailable("database"))?;
        hand_in(place, call, mutation, work).await
    }
}

async fn hand_in<B: Batched>(
    place: mpsc::Permit<'_, Job<B>>,
    call: Call,
    mutation: Mutation,
    work: B::Work,
) -> Result<B::Answer, B::Error> {
    let (answer, answered) = oneshot::channel();
    place.send(Job { call, mutation, work, answer });
    answered.await.unwrap_or_else(|_| Err(Problem::unavailable("database").into())).map(|answer| *answer)
}

struct Writer<B: Batched> {
    jobs: Arc<Mutex<mpsc::Receiver<Job<B>>>>,
    db: Db,
    kind: Arc<B>,
    sizes: Histogram<u64>,
    /// About the same as a write of the last transaction, so not in it.
    later: Vec<Job<B>>,
}

impl<B: Batched> Writer<B> {
    fn another(&self) -> Self {
        Self {
            jobs: Arc::clone(&self.jobs),
            db: self.db.clone(),
            kind: Arc::clone(&self.kind),
            sizes: self.sizes.clone(),
            later: Vec::new(),
        }
    }

    async fn run(mut self) {
        while let Some(jobs) = self.gather().await {
            if jobs.is_empty() {
                continue;
            }
            self.sizes.record(jobs.len() as u64, &[KeyValue::new("write", B::NAME)]);
            let outcome = timeout(PATIENCE, together(&self.db, &*self.kind, Turn::Shared, &jobs)).await;
            match outcome.unwrap_or_else(|_| Err(Failed::Lost(Problem::unavailable("database")))) {
                Ok(outcomes) => self.answer(jobs, outcomes),
                // Perhaps because of one of them only.
                Err(Failed::Refused(_)) => jobs.into_iter().for_each(|job| self.alone(job)),
                Err(Failed::Lost(problem)) => {
                    for job in jobs {
                        let _nobody_waits = job.answer.send(Err(problem.clone().into()));
                    }
                }
            }
        }
    }

    /// Takes what was handed in until now, or waits for a write; `None` when nobody can hand in any more.
    async fn gather(&mut self) -> Option<Vec<Job<B>>> {
        let mut jobs = std::mem::take(&mut self.later);
        if jobs.is_empty() {
            if self.jobs.lock().await.recv_many(&mut jobs, MOST_WRITES).await == 0 {
                return None;
            }
        } else if let Ok(mut handed_in) = self.jobs.try_lock() {
            // Another writer may hold it and wait; those that are here need not.
            while jobs.len() < MOST_WRITES
                && let Ok(job) = handed_in.try_recv()
            {
                jobs.push(job);
            }
        }
        jobs.retain(|job| !job.answer.is_closed());
        let (mut keys, mut subjects) = (HashSet::new(), HashSet::new());
        let (first, later): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| {
            let key = (job.mutation.caller.clone(), job.mutation.request_id.clone());
            keys.insert(key) && subjects.insert(B::subject(&job.work))
        });
        self.later = later;
        Some(first)
    }

    fn answer(&self, jobs: Vec<Job<B>>, outcomes: Vec<Outcome<B::Answer, B::Error>>) {
        for (job, outcome) in jobs.into_iter().zip(outcomes) {
            let answer = match outcome {
                Outcome::Written(answer, _) => Ok(answer),
                Outcome::Refused(error) => Err(error),
                Outcome::Alone => {
                    self.alone(job);
                    continue;
                }
            };
            let _nobody_waits = job.answer.send(answer);
        }
    }

    /// Makes one write in a transaction of its own, beside the others.
    fn alone(&self, job: Job<B>) {
        let (db, kind) = (self.db.clone(), Arc::clone(&self.kind));
        tokio::spawn(async move {
            let answer = timeout(PATIENCE, by_itself(&db, &*kind, &job)).await;
            let answer = answer.unwrap_or_else(|_| Err(Problem::unavailable("database").into()));
            let _nobody_waits = job.answer.send(answer);
        });
    }
}

/// Why a transaction was not made.
enum Failed {
    /// A row is refused.
    Refused(sqlx::Error),
    /// The database does not do what it is asked, whoever asks.
    Lost(Problem),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        // Classes of SQLSTATE that one row can cause: 22 its data, 23 a constraint, 40 whom it waited for.
        let of_a_row = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| ["22", "23", "40"].iter().any(|class| code.starts_with(class)));
        if of_a_row { Self::Refused(error) } else { Self::Lost(error.into()) }
    }
}

/// One transaction for one write.
async fn by_itself<B: Batched>(db: &Db, kind: &B, job: &Job<B>) -> Result<Box<B::Answer>, B::Error> {
    match together(db, kind, Turn::Alone, std::slice::from_ref(job)).await {
        Ok(mut outcomes) => match outcomes.pop() {
            Some(Outcome::Written(answer, _)) => Ok(answer),
            Some(Outcome::Refused(error)) => Err(error),
            // It waited as long as it may; its caller repeats.
            Some(Outcome::Alone) | None => Err(Problem::unavailable("database").into()),
        },
        // Perhaps because the same call was written meanwhile by another process.
        Err(Failed::Refused(error)) => match job.mutation.replayed(db).await? {
            Some(answer) => Ok(Box::new(answer)),
            None => Err(error.into()),
        },
        Err(Failed::Lost(problem)) => Err(problem.into()),
    }
}

/// One transaction for several writes. Their keys are taken with the answers, at its end: when another process has taken
/// one meanwhile, the database refuses all of it.
async fn together<B: Batched>(
    db: &Db,
    kind: &B,
    turn: Turn,
    jobs: &[Job<B>],
) -> Result<Vec<Outcome<B::Answer, B::Error>>, Failed> {
    let mut transaction = db.begin_by(BEGIN).await?;
    let all: Vec<_> = jobs.iter().map(|job| &job.mutation).collect();
    let mut stored = mutation::stored_of(&mut transaction, &all).await?;
    let fresh: Vec<_> = stored.iter().map(Option::is_none).collect();
    let asked: Vec<_> =
        jobs.iter().zip(&fresh).filter(|(_, fresh)| **fresh).map(|(job, _)| (&job.call, &job.work)).collect();
    if asked.is_empty() {
        return Ok(stored.into_iter().flatten().map(replay).collect());
    }
    let written = kind.write(&mut transaction, turn, &asked).await?;
    if written.len() != asked.len() {
        return Err(Failed::Lost(Problem::internal()));
    }
    if written.iter().any(|outcome| matches!(outcome, Outcome::Refused(_))) {
        // One that another process wrote between the look and the write is refused because of that.
        stored = mutation::stored_of(&mut transaction, &all).await?;
    }
    let mut written = written.into_iter();
    let (mut outcomes, mut new) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
    for (stored, fresh) in stored.into_iter().zip(fresh) {
        let (outcome, is_new) = match (if fresh { written.next() } else { None }, stored) {
            (Some(Outcome::Refused(_)) | None, Some(stored)) => (replay(stored), false),
            (Some(outcome), _) => (outcome, true),
            // A record was removed by age between the two looks.
            (None, None) => return Err(Failed::Lost(Problem::unavailable("idempotency record"))),
        };
        outcomes.push(outcome);
        new.push(is_new);
    }
    let kept = Kept::of(jobs, &outcomes, &new);
    if kept.callers.is_empty() {
        return Ok(outcomes);
    }
    kept.write(&mut transaction).await?;
    transaction.commit().await?;
    db.written.notify_one();
    Ok(outcomes)
}

/// The outcome of a write that was made before.
fn replay<A: Message + Default, E: From<Problem>>(stored: Result<Vec<u8>, Problem>) -> Outcome<A, E> {
    match stored.and_then(|answer| A::decode(answer.as_slice()).map_err(|_| Problem::internal())) {
        Ok(answer) => Outcome::Written(Box::new(answer), Vec::new()),
        Err(problem) => Outcome::Refused(problem.into()),
    }
}

/// Keys, answers and events of what was written: columns of a statement.
#[derive(Default)]
struct Kept {
    callers: Vec<String>,
    request_ids: Vec<String>,
    methods: Vec<String>,
    request_hashes: Vec<Vec<u8>>,
    responses: Vec<Vec<u8>>,
    event_ids: Vec<Uuid>,
    kinds: Vec<String>,
    subjects: Vec<String>,
    traceparents: Vec<String>,
    bodies: Vec<Vec<u8>>,
}

impl Kept {
    fn of<B: Batched>(jobs: &[Job<B>], outcomes: &[Outcome<B::Answer, B::Error>], new: &[bool]) -> Self {
        let mut kept = Self::default();
        for ((job, outcome), _) in jobs.iter().zip(outcomes).zip(new).filter(|(_, new)| **new) {
            let Outcome::Written(answer, events) = outcome else { continue };
            let mutation = &job.mutation;
            kept.callers.push(mutation.caller.clone());
            kept.request_ids.push(mutation.request_id.clone());
            kept.methods.push(mutation.method.clone());
            kept.request_hashes.push(mutation.request_hash.clone());
            kept.responses.push(answer.encode_to_vec());
            for event in events {
                kept.event_ids.push(Uuid::now_v7());
                kept.kinds.push(event.kind.clone());
                kept.subjects.push(event.subject.clone());
                kept.traceparents.push(mutation.traceparent.clone());
                kept.bodies.push(event.body.clone());
            }
        }
        kept
    }

    /// Keeps keys, answers and events. Keys in an order in which no two transactions can wait for each other.
    async fn write(&self, transaction: &mut Transaction<'static, Postgres>) -> sqlx::Result<()> {
        sqlx::query!(
            "with told as (
                 insert into outbox (event_id, kind, subject, traceparent, body)
                 select event_id, kind, subject, traceparent, body
                 from unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::bytea[]) with ordinality
                      as event (event_id, kind, subject, traceparent, body, place)
                 order by place
             )
             insert into idempotency (caller, request_id, method, request_hash, response)
             select done.* from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::bytea[])
                    as done (caller, request_id, method, request_hash, response)
             order by caller, request_id",
            &self.callers,
            &self.request_ids,
            &self.methods,
            &self.request_hashes,
            &self.responses,
            &self.event_ids,
            &self.kinds,
            &self.subjects,
            &self.traceparents,
            &self.bodies,
        )
        .execute(&mut **transaction)
        .await?;
        Ok(())
    }
}

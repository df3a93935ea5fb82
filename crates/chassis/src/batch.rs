//! Writes of many callers in one transaction. Whatever arrived while the last transaction was under way goes into the
//! next one; nobody waits for others to come. What many share is the cost of a commit: state, idempotency record and
//! event of each write are in the transaction, as [`crate::Mutation`] has it for one, and each caller is answered
//! only after the commit.
//!
//! A kind whose writes hold nothing before they are made is written by one statement, which is the transaction: it writes
//! nothing when what it rests on has changed, and then they are made again in a transaction that holds it.
//!
//! A write that fails harms nobody else: when the database refuses a transaction, each of its writes is tried again
//! in one of its own.

use std::{
    collections::HashSet,
    hash::Hash,
    sync::{Arc, LazyLock},
    time::Duration,
};

use anyhow::Context;
use opentelemetry::{KeyValue, global, metrics::Histogram};
use prost::{Message, Name};
use sqlx::{PgConnection, PgPool, Postgres, Transaction, pool::PoolConnection};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Call, Concluded, Db, Kept, Mutation, Problem, mutation};

/// Most writes of one transaction.
const MOST_WRITES: usize = 512;
/// Most writes that wait; a further one is refused.
const MOST_WAITING: usize = 2560;
/// Most parts of streams that wait or are under way: as many as fill the transactions of all writers, and a next one. The
/// places that are left are for calls, which do not wait for one.
const MOST_OF_STREAMS: usize = 4 * MOST_WRITES;
/// How long a transaction may take before its connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// Transactions under way at once, where the pool has connections to spare.
const WRITERS: u32 = 3;
/// Of those, how many need not be full: while one waits for the disk, the next one is written. With a third, each is
/// smaller, and a write costs a quarter more; when so many writes come that each is full, it costs nothing.
const NOT_FULL: usize = 2;

/// Its statements take arrays of a length that says nothing: planned anew for each batch they would come out the same.
/// Each row is found by a key. A plan that is made while a table is small would read the whole of it, or all rows that share
/// the beginning of a key, and be kept when it has grown.
const PLANS: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_material", "off"),
    ("enable_memoize", "off"),
    ("enable_bitmapscan", "off"),
];
/// How long a [`Turn::Hopeful`] waits for what another transaction holds, before its writes are made in another turn.
const LOCKED: (&str, &str) = ("lock_timeout", "100ms");
/// Begins a transaction whose statements are planned so.
static BEGIN: LazyLock<String> = LazyLock::new(|| {
    PLANS
        .iter()
        .fold("begin".to_owned(), |begin, (name, value)| format!("{begin}; set local {name} = {value}"))
});

/// The constraint that keeps a key from being taken twice.
const KEY: &str = "idempotency_pkey";
/// SQLSTATE of what a [`Turn::Hopeful`] did not hope for: a serialization failure, which `conclude` raises, and a lock that was
/// not to be had in time.
const MOVED: [&str; 2] = ["40001", "55P03"];

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
    /// What is written last.
    type Changes: Send + Sync;

    /// Its name in metrics, e.g. `submit_claim`.
    const NAME: &'static str;
    /// The turn in which writes are made first: [`Turn::Hopeful`] for a kind that writes by [`Batched::conclude`] only.
    const FIRST: Turn = Turn::Shared;

    /// What this work is about.
    fn subject(work: &Self::Work) -> Self::Subject;

    /// Writes in a few statements, and says of each what becomes of it, in the same order; and what is written last.
    ///
    /// # Errors
    /// When the database refuses a statement: nothing is kept of any of them then.
    fn write(
        &self,
        connection: &mut PgConnection,
        turn: Turn,
        asked: &[(&Call, &Self::Work)],
    ) -> impl Future<Output = sqlx::Result<(Outcomes<Self>, Self::Changes)>> + Send;

    /// Writes what is written last, and keeps keys, answers and events with it, in one statement. It is over when PostgreSQL
    /// is ready for the next one: a row that it returned may come before its commit.
    ///
    /// # Errors
    /// When the database refuses it.
    fn conclude(
        &self,
        connection: &mut PgConnection,
        _changes: &Self::Changes,
        kept: &Kept<'_>,
    ) -> impl Future<Output = sqlx::Result<Concluded>> + Send {
        kept.conclude(connection)
    }
}

/// Who waits while writes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// As [`Turn::Shared`], and outside of a transaction: nothing is held or written before the one statement that writes
    /// all, and that writes nothing when what was read has changed. Then they are made again in [`Turn::Shared`].
    Hopeful,
    /// All that come after them, even when it is only one: what another transaction holds must not be waited for.
    Shared,
    /// Nobody but its caller: the one write is made beside the others, and waits for what it needs.
    Alone,
}

/// What became of a write.
pub enum Outcome<A, E> {
    /// Written; the events tell of it. The answer is handed on often: what is large of it should be boxed.
    Written(A, Vec<Event>),
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
    /// Of a part of a stream: until it is written, though its sender may have gone.
    _of_streams: Option<OwnedSemaphorePermit>,
    answer: oneshot::Sender<Result<B::Answer, B::Error>>,
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
    /// How many parts of one stream should be under way: as many as fill the transactions of all writers.
    pub const PARTS_UNDER_WAY: usize = WRITERS as usize * MOST_WRITES;

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
            .with_boundaries((0..=9).map(|power| f64::from(1 << power)).collect())
            .build();
        let writer = Writer {
            jobs: Arc::new(Mutex::new(jobs)),
            not_full: Arc::new(Semaphore::new(NOT_FULL)),
            statements: db.connections(WRITERS, &[&PLANS[..], &[LOCKED]].concat()),
            db,
            kind: Arc::new(kind),
            sizes,
            later: Vec::new(),
        };
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
        answer_to(place, None, call, mutation, work).await
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
        let gone = || Problem::unavailable("database");
        let of_streams = Arc::clone(&self.of_streams).acquire_owned().await.map_err(|_| gone())?;
        let place = self.handed_in.reserve().await.map_err(|_| gone())?;
        answer_to(place, Some(of_streams), call, mutation, work).await
    }
}

async fn answer_to<B: Batched>(
    place: mpsc::Permit<'_, Job<B>>,
    of_streams: Option<OwnedSemaphorePermit>,
    call: Call,
    mutation: Mutation,
    work: B::Work,
) -> Result<B::Answer, B::Error> {
    let (answer, answered) = oneshot::channel();
    place.send(Job { call, mutation, work, _of_streams: of_streams, answer });
    answered.await.unwrap_or_else(|_| Err(Problem::unavailable("database").into()))
}

struct Writer<B: Batched> {
    jobs: Arc<Mutex<mpsc::Receiver<Job<B>>>>,
    /// Taken by transactions that are not full.
    not_full: Arc<Semaphore>,
    db: Db,
    /// On which a statement is a transaction.
    statements: PgPool,
    kind: Arc<B>,
    sizes: Histogram<u64>,
    /// About the same as a write of the last transaction, so not in it.
    later: Vec<Job<B>>,
}

impl<B: Batched> Writer<B> {
    fn another(&self) -> Self {
        Self {
            jobs: Arc::clone(&self.jobs),
            not_full: Arc::clone(&self.not_full),
            db: self.db.clone(),
            statements: self.statements.clone(),
            kind: Arc::clone(&self.kind),
            sizes: self.sizes.clone(),
            later: Vec::new(),
        }
    }

    async fn run(mut self) {
        while let Some((jobs, _not_full)) = self.gather().await {
            if jobs.is_empty() {
                continue;
            }
            self.sizes.record(jobs.len() as u64, &[KeyValue::new("write", B::NAME)]);
            let mut outcomes = self.written(B::FIRST, &jobs, Keys::New).await;
            if matches!(outcomes, Err(Failed::Taken | Failed::Moved)) {
                outcomes = self.written(Turn::Shared, &jobs, Keys::Unknown).await;
            }
            match outcomes {
                Ok(outcomes) => self.answer(jobs, outcomes),
                // Perhaps because of one of them only.
                Err(Failed::Taken | Failed::Moved | Failed::Refused(_)) => {
                    jobs.into_iter().for_each(|job| self.alone(job))
                }
                Err(Failed::Lost(problem)) => {
                    for job in jobs {
                        let _nobody_waits = job.answer.send(Err(problem.clone().into()));
                    }
                }
            }
        }
    }

    async fn written(&self, turn: Turn, jobs: &[Job<B>], keys: Keys) -> Result<Outcomes<B>, Failed> {
        let written = timeout(PATIENCE, async {
            let open = match turn {
                Turn::Hopeful => Open::Statements(self.statements.acquire().await?),
                Turn::Shared | Turn::Alone => Open::transaction(&self.db).await?,
            };
            together(&self.db, open, &*self.kind, turn, jobs, keys).await
        });
        written.await.unwrap_or_else(|_| Err(Failed::Lost(Problem::unavailable("database"))))
    }

    /// Takes what was handed in until now, or waits for a write; and, unless it is enough for a full transaction, waits until
    /// one that is not full may begin. `None` when nobody can hand in any more.
    async fn gather(&mut self) -> Option<(Vec<Job<B>>, Option<OwnedSemaphorePermit>)> {
        let mut jobs = std::mem::take(&mut self.later);
        let not_full = Arc::clone(&self.not_full).acquire_owned();
        let begins = if jobs.is_empty() {
            let mut handed_in = self.jobs.lock().await;
            if handed_in.recv_many(&mut jobs, MOST_WRITES).await == 0 {
                return None;
            }
            tokio::pin!(not_full);
            loop {
                let room = MOST_WRITES - jobs.len();
                tokio::select! {
                    biased;
                    _ = std::future::ready(()), if room == 0 => break None,
                    begins = &mut not_full => break begins.ok(),
                    more = handed_in.recv_many(&mut jobs, room) => if more == 0 { break None },
                }
            }
        } else {
            let begins = not_full.await.ok();
            // Another writer may hold it and wait; those that are here need not.
            if let Ok(mut handed_in) = self.jobs.try_lock() {
                while jobs.len() < MOST_WRITES
                    && let Ok(job) = handed_in.try_recv()
                {
                    jobs.push(job);
                }
            }
            begins
        };
        jobs.retain(|job| !job.answer.is_closed());
        let (mut keys, mut subjects) = (HashSet::new(), HashSet::new());
        let is_first = jobs.iter().map(|job| {
            keys.insert((&job.mutation.caller, &job.mutation.request_id))
                && subjects.insert(B::subject(&job.work))
        });
        let mut is_first = is_first.collect::<Vec<_>>().into_iter();
        self.later = jobs.extract_if(.., |_| is_first.next() == Some(false)).collect();
        Some((jobs, begins))
    }

    fn answer(&self, jobs: Vec<Job<B>>, outcomes: Outcomes<B>) {
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

type Outcomes<B> = Vec<Outcome<<B as Batched>::Answer, <B as Batched>::Error>>;

/// What is known of the keys of writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// They are taken for new: nearly all are, so a look for each would be for nothing. When one is not, its write is
    /// refused as a rule, and then they are looked for; or the database refuses the key.
    New,
    /// They are looked for first.
    Unknown,
}

/// Why a transaction was not made.
enum Failed {
    /// A key was taken before.
    Taken,
    /// What was read has changed, or is held by another transaction.
    Moved,
    /// A row is refused.
    Refused(sqlx::Error),
    /// The database does not do what it is asked, whoever asks.
    Lost(Problem),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        let told = error.as_database_error();
        if told.and_then(sqlx::error::DatabaseError::constraint) == Some(KEY) {
            return Self::Taken;
        }
        let code = told.and_then(sqlx::error::DatabaseError::code);
        if code.as_deref().is_some_and(|code| MOVED.contains(&code)) {
            return Self::Moved;
        }
        // Classes of SQLSTATE that one row can cause: 22 its data, 23 a constraint, 40 whom it waited for.
        let of_a_row =
            code.is_some_and(|code| ["22", "23", "40"].iter().any(|class| code.starts_with(class)));
        if of_a_row { Self::Refused(error) } else { Self::Lost(error.into()) }
    }
}

/// One transaction for one write.
async fn by_itself<B: Batched>(db: &Db, kind: &B, job: &Job<B>) -> Result<B::Answer, B::Error> {
    let open = Open::transaction(db).await.map_err(Problem::from)?;
    let jobs = std::slice::from_ref(job);
    let refused = match together(db, open, kind, Turn::Alone, jobs, Keys::New).await {
        Ok(mut outcomes) => match outcomes.pop() {
            Some(Outcome::Written(answer, _)) => return Ok(answer),
            Some(Outcome::Refused(error)) => return Err(error),
            // It waited as long as it may; its caller repeats.
            Some(Outcome::Alone) | None => Problem::unavailable("database").into(),
        },
        Err(Failed::Moved) => Problem::unavailable("database").into(),
        Err(Failed::Lost(problem)) => return Err(problem.into()),
        Err(Failed::Taken) => Problem::unavailable("idempotency record").into(),
        Err(Failed::Refused(error)) => error.into(),
    };
    // Perhaps because the same call was written before, or meanwhile by another process.
    job.mutation.replayed(db).await?.ok_or(refused)
}

/// On what writes are made.
enum Open {
    /// Each statement is a transaction.
    Statements(PoolConnection<Postgres>),
    /// All are one.
    Transaction(Transaction<'static, Postgres>),
}

impl Open {
    async fn transaction(db: &Db) -> sqlx::Result<Self> {
        db.begin_by(&BEGIN).await.map(Self::Transaction)
    }

    fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Statements(connection) => connection,
            Self::Transaction(transaction) => transaction,
        }
    }
}

/// One transaction for several writes, or what is read for them and then one statement. Their keys are taken with the
/// answers, at its end: when one is taken already, the database refuses all of it.
async fn together<B: Batched>(
    db: &Db,
    mut open: Open,
    kind: &B,
    turn: Turn,
    jobs: &[Job<B>],
    keys: Keys,
) -> Result<Outcomes<B>, Failed> {
    let connection = open.connection();
    let all: Vec<_> = jobs.iter().map(|job| &job.mutation).collect();
    let mut stored = match keys {
        Keys::New => jobs.iter().map(|_| None).collect(),
        Keys::Unknown => mutation::stored_of(connection, &all).await?,
    };
    let fresh: Vec<_> = stored.iter().map(Option::is_none).collect();
    let asked: Vec<_> =
        jobs.iter().zip(&fresh).filter(|(_, fresh)| **fresh).map(|(job, _)| (&job.call, &job.work)).collect();
    if asked.is_empty() {
        return Ok(stored.into_iter().flatten().map(replay).collect());
    }
    let (written, changes) = kind.write(connection, turn, &asked).await?;
    if written.len() != asked.len() {
        return Err(Failed::Lost(Problem::internal()));
    }
    if written.iter().any(|outcome| matches!(outcome, Outcome::Refused(_))) {
        // One that was written before is refused because of that.
        stored = mutation::stored_of(connection, &all).await?;
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
    let kept = Kept { patient: turn == Turn::Hopeful, ..kept(jobs, &outcomes, &new) };
    if kept.callers.is_empty() {
        return Ok(outcomes);
    }
    let concluded = kind.conclude(connection, &changes, &kept).await?;
    if let Open::Transaction(transaction) = open {
        transaction.commit().await?;
    }
    concluded.committed(db);
    Ok(outcomes)
}

/// The outcome of a write that was made before.
fn replay<A: Message + Default, E: From<Problem>>(stored: Result<Vec<u8>, Problem>) -> Outcome<A, E> {
    match stored.and_then(|answer| A::decode(answer.as_slice()).map_err(|_| Problem::internal())) {
        Ok(answer) => Outcome::Written(answer, Vec::new()),
        Err(problem) => Outcome::Refused(problem.into()),
    }
}

/// What is to be kept of writes that are new.
fn kept<'a, B: Batched>(
    jobs: &'a [Job<B>],
    outcomes: &'a [Outcome<B::Answer, B::Error>],
    new: &[bool],
) -> Kept<'a> {
    let mut kept = Kept::default();
    let mut written = Vec::with_capacity(jobs.len());
    for ((job, outcome), _) in jobs.iter().zip(outcomes).zip(new).filter(|(_, new)| **new) {
        let Outcome::Written(answer, events) = outcome else { continue };
        written.push((&job.mutation, answer));
        for event in events {
            kept.event_ids.push(Uuid::now_v7());
            kept.kinds.push(&event.kind);
            kept.subjects.push(&event.subject);
            kept.traceparents.push(&job.mutation.traceparent);
            kept.bodies.push(&event.body);
        }
    }
    // In this order no two transactions can wait for each other's keys.
    written.sort_unstable_by_key(|(mutation, _)| (&mutation.caller, &mutation.request_id));
    for (mutation, answer) in written {
        kept.callers.push(&mutation.caller);
        kept.request_ids.push(&mutation.request_id);
        kept.methods.push(&mutation.method);
        kept.request_hashes.push(&mutation.request_hash);
        kept.responses.push(answer.encode_to_vec());
    }
    kept
}

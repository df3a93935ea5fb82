//! Reads of records by key, outside of transactions, answered together: those that arrive while a statement is under
//! way wait for the next one, which answers all of them. A statement of a hundred keys costs little more than one of a
//! single key, so the more is asked, the less each answer costs. Nobody waits for others to come.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use chassis::Problem;
use opentelemetry::{global, metrics::Histogram};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::Found;
use crate::store::{self, Key, Record};

/// Most keys of one statement.
const MOST_KEYS: usize = 128;
/// Most questions that wait; a further one is refused.
const MOST_WAITING: usize = 1024;
/// How long a statement may take before its connection counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// Statements under way at once, where the pool has connections to spare: while one is worked on by the database, the
/// answers of the other are worked on here.
const READERS: u32 = 2;

type Answer = Result<Found, Problem>;

struct Question {
    key: Key,
    answer: oneshot::Sender<Answer>,
}

/// Where questions are put. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads(mpsc::Sender<Question>);

impl Reads {
    /// The place for questions, and the work of answering them. The work ends with an error when it cannot go on; after
    /// the stop it goes on beside it until nobody can ask any more.
    pub(crate) fn new(
        pool: PgPool,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let (asked, questions) = mpsc::channel(MOST_WAITING);
        let keys = global::meter("jkn")
            .u64_histogram("membership.read.keys")
            .with_unit("{key}")
            .with_description("Keys that one statement looked up together")
            .with_boundaries((0..=7).map(|power| f64::from(1 << power)).collect())
            .build();
        let reader = Reader { questions: Arc::new(Mutex::new(questions)), pool, keys, connection: None };
        let answering = async move {
            let mut readers = JoinSet::new();
            // Writes must find a connection too.
            for _ in 0..READERS.min(reader.pool.options().get_max_connections() / 2).max(1) {
                readers.spawn(reader.another().run());
            }
            drop(reader);
            let ended = stop.run_until_cancelled(readers.join_next()).await;
            readers.detach_all();
            ended.flatten().transpose().context("answering reads").map(|_| ())
        };
        (Self(asked), answering)
    }

    /// The records that a key names now. Whoever stops waiting is not answered; nobody else notices.
    ///
    /// # Errors
    /// When too many wait, or the statement failed that would have answered.
    pub(crate) async fn ask(&self, key: &Key) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question { key: key.clone(), answer }).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => Problem::overloaded(),
            mpsc::error::TrySendError::Closed(_) => Problem::unavailable("membership"),
        })?;
        answered.await.unwrap_or_else(|_| Err(Problem::unavailable("membership")))
    }
}

struct Reader {
    questions: Arc<Mutex<mpsc::Receiver<Question>>>,
    pool: PgPool,
    keys: Histogram<u64>,
    /// Kept from statement to statement while there are questions.
    connection: Option<PoolConnection<Postgres>>,
}

impl Reader {
    fn another(&self) -> Self {
        Self {
            questions: Arc::clone(&self.questions),
            pool: self.pool.clone(),
            keys: self.keys.clone(),
            connection: None,
        }
    }

    async fn run(mut self) {
        let mut batch = Vec::with_capacity(MOST_KEYS);
        while self.gather(&mut batch).await {
            batch.retain(|question| !question.answer.is_closed());
            if batch.is_empty() {
                continue;
            }
            self.keys.record(batch.len() as u64, &[]);
            match self.look_up(&batch).await {
                Ok(records) => hand_out(batch.drain(..), records),
                Err(problem) => refuse(batch.drain(..), &problem),
            }
        }
    }

    /// Takes what was asked until now, or waits for a question; `false` when nobody can ask any more.
    async fn gather(&mut self, batch: &mut Vec<Question>) -> bool {
        let mut questions = match self.questions.try_lock() {
            Ok(questions) if !questions.is_empty() => questions,
            waiting => {
                // A connection is not kept idle: it goes back before the wait.
                drop(waiting);
                self.connection = None;
                self.questions.lock().await
            }
        };
        questions.recv_many(batch, MOST_KEYS).await > 0
    }

    /// There is no connection: those who wait need not wait for that to be found out once more for each batch.
    fn refuse_all(&self, error: sqlx::Error) -> Problem {
        let problem = error.into();
        if let Ok(mut questions) = self.questions.try_lock() {
            refuse(std::iter::from_fn(|| questions.try_recv().ok()), &problem);
        }
        problem
    }

    async fn look_up(&mut self, batch: &[Question]) -> Result<Vec<Record>, Problem> {
        let keys: Vec<_> = batch.iter().map(|question| question.key.clone()).collect();
        // Taken out, so that a connection on which something failed is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await.map_err(|error| self.refuse_all(error))?,
        };
        match timeout(PATIENCE, store::records(&mut *connection, &keys)).await {
            Ok(Ok(records)) => {
                self.connection = Some(connection);
                Ok(records)
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_elapsed) => {
                // Closed at once: returned to the pool it would be waited for again.
                drop(connection.detach());
                tracing::warn!("a lookup was not answered in time; its connection was closed");
                Err(Problem::unavailable("database"))
            }
        }
    }
}

fn refuse(batch: impl Iterator<Item = Question>, problem: &Problem) {
    for question in batch {
        let _nobody_waits = question.answer.send(Err(problem.clone()));
    }
}

fn hand_out(batch: impl Iterator<Item = Question>, records: Vec<Record>) {
    let records: Vec<_> = records.into_iter().map(Arc::new).collect();
    for Question { key, answer } in batch {
        let found = records.iter().filter(|record| key.names(record)).cloned().collect();
        let _nobody_waits = answer.send(Ok(found));
    }
}

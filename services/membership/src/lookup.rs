//! Finding what a key names, for calls that only read: in the database, or in what was read a moment ago.

mod reads;
mod watch;

use std::{sync::Arc, time::Instant};

use chassis::Problem;
use opentelemetry::{KeyValue, global, metrics::Counter};
use quick_cache::sync::Cache;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::reads::Reads;
use crate::{
    freshness::{Freshness, Reading},
    store::{Key, Record},
};

/// Places for the changes of families, and as many for those of persons: two MiB in all. With fewer, the changes of a
/// busy hour would outdate too much that did not change.
const PLACES: usize = 1 << 17;

/// The records that a key names, the earliest registered first.
pub(crate) type Found = Arc<[Arc<Record>]>;

/// Where keys are looked up. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Lookup {
    reads: Reads,
    recent: Option<Arc<Recent>>,
}

impl Lookup {
    /// Lookups in a database of which so many answers are kept, and the work beside the calls that they need.
    pub(crate) fn new(
        pool: PgPool,
        keep: usize,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let recent = (keep > 0).then(|| Arc::new(Recent::new(keep)));
        let options = pool.connect_options();
        let (reads, answering) = Reads::new(pool, stop);
        let watched = recent.clone();
        let work = async move {
            match watched {
                None => answering.await,
                Some(recent) => tokio::select! {
                    ended = answering => ended,
                    never = watch::run(&recent.freshness, options) => match never {},
                },
            }
        };
        (Self { reads, recent }, work)
    }

    /// What a key names now.
    ///
    /// # Errors
    /// When the database does not answer, or more ask than it answers.
    pub(crate) async fn now(&self, key: &Key) -> Result<Found, Problem> {
        self.reads.ask(key).await
    }

    /// What a key names, or named within the last half second ([`crate::freshness::LEASE`]); after a change of this process
    /// never what it named before.
    ///
    /// # Errors
    /// When the database does not answer, or more ask than it answers.
    pub(crate) async fn lately(&self, key: &Key) -> Result<Found, Problem> {
        let Some(recent) = &self.recent else { return self.now(key).await };
        if let Some(found) = recent.get(key) {
            return Ok(found);
        }
        let reading = recent.freshness.reading();
        let found = self.now(key).await?;
        // Who is not found today may be registered in the next moment, which no family could tell.
        if !found.is_empty() {
            recent.records.insert(key.clone(), Read { found: Arc::clone(&found), reading });
        }
        Ok(found)
    }

    /// This process has changed families, or registered persons with these NIKs.
    pub(crate) fn changed<'a>(
        &self,
        families: impl IntoIterator<Item = &'a Uuid>,
        niks: impl IntoIterator<Item = &'a str>,
    ) {
        if let Some(recent) = &self.recent {
            recent.freshness.changed(families, niks);
        }
    }
}

/// What was read, and what was known when its reading began.
#[derive(Clone)]
struct Read {
    found: Found,
    reading: Reading,
}

/// What was read lately.
struct Recent {
    records: Cache<Key, Read>,
    freshness: Freshness,
    lookups: Counter<u64>,
    hit: [KeyValue; 1],
    miss: [KeyValue; 1],
    unwatched: [KeyValue; 1],
}

impl Recent {
    fn new(keep: usize) -> Self {
        let outcome = |word| [KeyValue::new("outcome", word)];
        Self {
            records: Cache::new(keep),
            freshness: Freshness::new(PLACES, Instant::now()),
            lookups: global::meter("jkn")
                .u64_counter("membership.cache.lookups")
                .with_description(
                    "Lookups in what was read lately: hit, miss, or unwatched while nothing of it may be used",
                )
                .build(),
            hit: outcome("hit"),
            miss: outcome("miss"),
            unwatched: outcome("unwatched"),
        }
    }

    fn get(&self, key: &Key) -> Option<Found> {
        let now = Instant::now();
        let nik = match key {
            Key::Nik(nik) => Some(nik.expose()),
            Key::Member(_) | Key::Card(_) => None,
        };
        let holds = |read: &Read| {
            let families = read.found.iter().map(|record| record.family_id);
            self.freshness.holds(read.reading, families, nik, now)
        };
        let found = self.records.get(key).filter(holds).map(|read| read.found);
        let outcome = match &found {
            Some(_) => &self.hit,
            None if self.freshness.is_leased(now) => &self.miss,
            None => &self.unwatched,
        };
        self.lookups.add(1, outcome);
        found
    }
}

//! Whether what was read before may still be answered with. Pure: time is passed in.
//!
//! Changes that become known are numbered. What was read remembers the number that was the newest before its reading
//! began; a later change of its family, or of a person of its NIK, outdates it. A change that a reading may have missed
//! is therefore always the later of the two, in whatever order they come to an end.
//!
//! What changed elsewhere becomes known by watching the database. A watch covers all that was committed before it
//! began, so for [`LEASE`] from there on nothing is older than that; after it nothing that was read may be used, until
//! a watch succeeds again.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    time::{Duration, Instant},
};

use uuid::Uuid;

/// How old an answer from what was read before may be.
pub(crate) const LEASE: Duration = Duration::from_millis(500);

/// What was known when a reading began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading(u64);

/// What is known of changes.
#[derive(Debug)]
pub(crate) struct Freshness {
    origin: Instant,
    /// The number of the newest change.
    newest: AtomicU64,
    /// Whatever was read before this change is outdated.
    anew: AtomicU64,
    families: Marks,
    persons: Marks,
    /// Microseconds from the origin to the end of the lease.
    lease_ends: AtomicU64,
}

impl Freshness {
    /// Nothing is known yet. With fewer places more families share one, and a change of one outdates them all.
    pub(crate) fn new(places: usize, origin: Instant) -> Self {
        Self {
            origin,
            newest: AtomicU64::new(0),
            anew: AtomicU64::new(0),
            families: Marks::new(places),
            persons: Marks::new(places),
            lease_ends: AtomicU64::new(0),
        }
    }

    /// To be called before a reading begins.
    pub(crate) fn reading(&self) -> Reading {
        Reading(self.newest.load(SeqCst))
    }

    /// Families, and persons by their NIK, have changed; to be called after the change was committed.
    pub(crate) fn changed<'a>(
        &self,
        families: impl IntoIterator<Item = &'a Uuid>,
        niks: impl IntoIterator<Item = &'a str>,
    ) {
        let number = self.newest.fetch_add(1, SeqCst) + 1;
        families.into_iter().for_each(|family| self.families.mark(family, number));
        niks.into_iter().for_each(|nik| self.persons.mark(nik, number));
    }

    /// A watch that began then has succeeded, and what it told was marked as changed.
    pub(crate) fn watched(&self, began: Instant) {
        self.lease_ends.store(self.micros(began + LEASE), SeqCst);
    }

    /// A watch that began then has succeeded, and knows of no earlier one: anything may have changed before.
    pub(crate) fn watched_anew(&self, began: Instant) {
        let number = self.newest.fetch_add(1, SeqCst) + 1;
        self.anew.store(number, SeqCst);
        self.watched(began);
    }

    /// Whether anything that was read before may be used.
    pub(crate) fn is_leased(&self, now: Instant) -> bool {
        self.micros(now) < self.lease_ends.load(SeqCst)
    }

    /// Whether the records of these families, read then, may be used now; `nik` when they are those of a NIK.
    pub(crate) fn holds(
        &self,
        reading: Reading,
        mut families: impl Iterator<Item = Uuid>,
        nik: Option<&str>,
        now: Instant,
    ) -> bool {
        // The lease first: what its watch told was marked before.
        self.is_leased(now)
            && self.anew.load(SeqCst) <= reading.0
            && families.all(|family| self.families.marked(&family) <= reading.0)
            && nik.is_none_or(|nik| self.persons.marked(nik) <= reading.0)
    }

    fn micros(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }
}

/// The newest change of each, in a fixed number of places.
#[derive(Debug)]
struct Marks {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Marks {
    fn new(places: usize) -> Self {
        Self { places: (0..places.max(1)).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    fn place(&self, of: &(impl Hash + ?Sized)) -> &AtomicU64 {
        let hash = usize::try_from(self.hasher.hash_one(of) & u64::from(u32::MAX)).unwrap_or_default();
        &self.places[hash % self.places.len()]
    }

    fn mark(&self, of: &(impl Hash + ?Sized), number: u64) {
        self.place(of).fetch_max(number, SeqCst);
    }

    fn marked(&self, of: &(impl Hash + ?Sized)) -> u64 {
        self.place(of).load(SeqCst)
    }
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;

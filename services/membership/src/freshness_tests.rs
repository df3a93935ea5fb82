//! Readings, changes and watches that overlap in every way.

use std::collections::HashMap;

use proptest::{collection::vec, prelude::*};

use super::*;

const FAMILIES: u128 = 5;

/// What happens next; each step takes a little time.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A transaction changes a family and commits, here or elsewhere.
    Commit {
        family: u128,
        here: bool,
    },
    /// A reading of a family is announced, sees the database, comes to its end.
    Announce(u128),
    Read(u128),
    Keep(u128),
    /// All three, with nothing between them.
    ReadAtOnce(u128),
    /// A watch begins, sees the database, comes to its end.
    Begin,
    See,
    End,
    WatchAtOnce,
    /// The watch ends without a result, or on a new connection.
    Fail,
    Reconnect,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let family = 0..FAMILIES;
    prop_oneof![
        3 => (family.clone(), any::<bool>()).prop_map(|(family, here)| Step::Commit { family, here }),
        2 => family.clone().prop_map(Step::Announce),
        2 => family.clone().prop_map(Step::Read),
        2 => family.clone().prop_map(Step::Keep),
        3 => family.prop_map(Step::ReadAtOnce),
        3 => Just(Step::Begin),
        3 => Just(Step::See),
        3 => Just(Step::End),
        2 => Just(Step::WatchAtOnce),
        1 => Just(Step::Fail),
        1 => Just(Step::Reconnect),
        2 => (0..600_u64).prop_map(Step::Wait),
    ]
}

/// A database and one process that reads it. The state of a family is how many commits it has seen.
struct World {
    freshness: Freshness,
    now: Instant,
    /// Each commit: which family, when, and whether this process made it.
    commits: Vec<(u128, Instant, bool)>,
    /// Readings under way: what was known before, and how many commits it saw.
    readings: HashMap<u128, (Reading, Option<usize>)>,
    /// What is kept: what was known before the reading, and how many commits it saw.
    kept: HashMap<u128, (Reading, usize)>,
    /// The watch under way, how many commits the last one saw; `None` on a new connection.
    watch: Option<(Instant, Option<usize>)>,
    seen: Option<usize>,
}

impl World {
    fn new(places: usize) -> Self {
        let now = Instant::now();
        Self {
            freshness: Freshness::new(places, now),
            now,
            commits: Vec::new(),
            readings: HashMap::new(),
            kept: HashMap::new(),
            watch: None,
            seen: None,
        }
    }

    fn take(&mut self, step: Step) {
        self.now += Duration::from_millis(7);
        match step {
            Step::Commit { family, here } => {
                self.commits.push((family, self.now, here));
                if here {
                    self.freshness.changed(&[Uuid::from_u128(family)], None);
                }
            }
            Step::Announce(family) => {
                self.readings.insert(family, (self.freshness.reading(), None));
            }
            Step::Read(family) => {
                if let Some((_, saw)) = self.readings.get_mut(&family) {
                    saw.get_or_insert(self.commits.len());
                }
            }
            Step::Keep(family) => {
                if let Some((known, Some(saw))) = self.readings.remove(&family) {
                    self.kept.insert(family, (known, saw));
                }
            }
            Step::ReadAtOnce(family) => {
                for step in [Step::Announce(family), Step::Read(family), Step::Keep(family)] {
                    self.take(step);
                }
            }
            Step::WatchAtOnce => {
                for step in [Step::Begin, Step::See, Step::End] {
                    self.take(step);
                }
            }
            Step::Begin => self.watch = self.watch.or(Some((self.now, None))),
            Step::See => {
                if let Some((_, saw)) = &mut self.watch {
                    saw.get_or_insert(self.commits.len());
                }
            }
            Step::End => {
                let Some((began, Some(saw))) = self.watch else { return };
                self.watch = None;
                match self.seen.replace(saw) {
                    None => self.freshness.watched_anew(began),
                    Some(before) => {
                        let families: Vec<_> = self.commits[before..saw]
                            .iter()
                            .map(|commit| Uuid::from_u128(commit.0))
                            .collect();
                        self.freshness.changed(&families, None);
                        self.freshness.watched(began);
                    }
                }
            }
            Step::Fail => self.watch = None,
            Step::Reconnect => (self.watch, self.seen) = (None, None),
            Step::Wait(millis) => self.now += Duration::from_millis(millis),
        }
    }

    /// What is answered from here: nothing that a commit older than the lease, or a commit of this process, outdated.
    fn check(&self) {
        for (family, (known, saw)) in &self.kept {
            let ids = [Uuid::from_u128(*family)];
            if !self.freshness.holds(*known, ids.into_iter(), None, self.now) {
                continue;
            }
            for (of, at, here) in &self.commits[*saw..] {
                assert!(
                    of != family || (!here && self.now.duration_since(*at) < LEASE),
                    "family {family} is answered from before a commit {:?} ago",
                    self.now.duration_since(*at)
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn no_answer_is_older_than_the_lease_nor_than_a_write_from_here(
        places in prop_oneof![Just(1_usize), Just(3), Just(1024)],
        steps in vec(step(), 1..120),
    ) {
        let mut world = World::new(places);
        for step in steps {
            world.take(step);
            world.check();
        }
    }

    #[test]
    fn what_nothing_changed_is_answered_from_as_long_as_the_watch_goes_on(
        others in vec((1..FAMILIES, 0..60_u64), 1..40),
    ) {
        let origin = Instant::now();
        let freshness = Freshness::new(1 << 20, origin);
        let family = Uuid::from_u128(0);
        freshness.watched_anew(origin);
        let reading = freshness.reading();
        let mut now = origin;
        for (other, millis) in others {
            now += Duration::from_millis(millis);
            // One place in a million may be shared; these few are not, or the test would say so.
            prop_assume!(!std::ptr::eq(
                freshness.families.place(&Uuid::from_u128(other)),
                freshness.families.place(&family),
            ));
            freshness.changed(&[Uuid::from_u128(other)], None);
            freshness.watched(now);
            prop_assert!(freshness.holds(reading, [family].into_iter(), None, now + LEASE - Duration::from_millis(1)));
            prop_assert!(!freshness.holds(reading, [family].into_iter(), None, now + LEASE));
        }
    }
}

#[test]
fn a_person_registered_anew_in_another_family_outdates_what_the_nik_named() {
    let now = Instant::now();
    let freshness = Freshness::new(1024, now);
    freshness.watched_anew(now);
    let (old, new) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let reading = freshness.reading();
    let by_nik = |nik| freshness.holds(reading, [old].into_iter(), nik, now);
    assert!(by_nik(Some("3273014505900001")) && by_nik(None));
    freshness.changed(&[new], ["3273014505900001"]);
    assert!(!by_nik(Some("3273014505900001")));
    assert!(by_nik(None), "the old record itself is what it was");
}

#[test]
fn nothing_is_used_before_the_first_watch() {
    let now = Instant::now();
    let freshness = Freshness::new(8, now);
    let reading = freshness.reading();
    assert!(!freshness.holds(reading, [Uuid::nil()].into_iter(), None, now));
    freshness.watched_anew(now);
    assert!(
        !freshness.holds(reading, [Uuid::nil()].into_iter(), None, now),
        "it began before the watch ended"
    );
}

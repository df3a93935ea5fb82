//! The draw of a stratified sample, by a recipe that anybody can follow with a published frame and seed:
//!
//! 1. The size of the sample is the wanted size, or all rows when there are fewer.
//! 2. Each stratum first gets the minimum, or all its rows when it has fewer. What is left is dealt one by one: the next
//!    place goes to the stratum with the largest `rows / (2 × places + 1)` of those that have rows left; of equals to the
//!    one whose name sorts first (Sainte-Laguë). Fractions are compared as whole numbers, so nothing is rounded.
//! 3. The rank of a row is `SHA-256(seed, line feed, key)`. Of each stratum the rows with the lowest ranks are drawn.

use std::collections::{BTreeMap, BinaryHeap};

use sha2::{Digest, Sha256};

/// Rows of each stratum by its name.
pub type Counts = BTreeMap<String, u64>;

/// How many rows are drawn from each stratum.
#[must_use]
pub fn allocate(sizes: &Counts, size: u64, minimum: u64) -> Counts {
    let mut places: Counts = sizes.iter().map(|(name, rows)| (name.clone(), minimum.min(*rows))).collect();
    let rows: u64 = sizes.values().sum();
    let dealt: u64 = places.values().sum();
    for _ in dealt..size.min(rows) {
        let mut next: Option<(&String, u64, u64)> = None;
        for (name, rows) in sizes {
            let taken = places.get(name).copied().unwrap_or_default();
            let ahead = |(_, other_rows, other_taken): (&String, u64, u64)| {
                u128::from(*rows) * (2 * u128::from(other_taken) + 1)
                    > u128::from(other_rows) * (2 * u128::from(taken) + 1)
            };
            if taken < *rows && next.is_none_or(ahead) {
                next = Some((name, *rows, taken));
            }
        }
        if let Some((name, _, taken)) = next {
            places.insert(name.clone(), taken + 1);
        }
    }
    places
}

/// The rank of a row under a seed; the lowest are drawn.
#[must_use]
pub fn rank(seed: &str, key: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed);
    hash.update("\n");
    hash.update(key);
    hash.finalize().into()
}

/// The rows with the lowest ranks of those that were offered. Holds no more than it is to keep.
#[derive(Debug)]
struct Lowest {
    most: usize,
    kept: BinaryHeap<([u8; 32], String)>,
}

impl Lowest {
    fn offer(&mut self, rank: [u8; 32], key: &str) {
        let fits = self.kept.len() < self.most;
        if fits || self.kept.peek().is_some_and(|(highest, other)| (rank, key) < (*highest, other.as_str())) {
            if !fits {
                self.kept.pop();
            }
            self.kept.push((rank, key.to_owned()));
        }
    }
}

/// A row that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// Its key.
    pub key: String,
    /// Its stratum.
    pub stratum: String,
    /// Rows of the stratum.
    pub stratum_size: u64,
    /// Rows drawn from the stratum.
    pub stratum_drawn: u64,
}

impl Drawn {
    /// How many rows it stands for.
    #[must_use]
    pub fn weight(&self) -> f64 {
        // Both are far below 2^53.
        self.stratum_size as f64 / self.stratum_drawn as f64
    }
}

/// A draw under way: rows are offered in any order.
#[derive(Debug)]
pub struct Draw {
    seed: String,
    sizes: Counts,
    strata: BTreeMap<String, Lowest>,
}

impl Draw {
    /// Begins a draw of so many places from strata of so many rows.
    #[must_use]
    pub fn begin(seed: &str, sizes: Counts, places: &Counts) -> Self {
        let lowest = |places: &u64| Lowest {
            most: usize::try_from(*places).unwrap_or(usize::MAX),
            kept: BinaryHeap::new(),
        };
        let strata = places.iter().map(|(name, places)| (name.clone(), lowest(places))).collect();
        Self { seed: seed.to_owned(), sizes, strata }
    }

    /// Offers a row.
    pub fn offer(&mut self, stratum: &str, key: &str) {
        if let Some(lowest) = self.strata.get_mut(stratum).filter(|lowest| lowest.most > 0) {
            lowest.offer(rank(&self.seed, key), key);
        }
    }

    /// The rows that would be drawn if no other was offered, each as stratum and key. Offered to another draw that is begun
    /// alike, they make it go on where this one stands.
    #[must_use]
    pub fn kept(&self) -> Vec<(String, String)> {
        let kept = |(stratum, lowest): (&String, &Lowest)| {
            lowest.kept.iter().map(|(_, key)| (stratum.clone(), key.clone())).collect::<Vec<_>>()
        };
        self.strata.iter().flat_map(kept).collect()
    }

    /// The drawn rows by stratum and rank.
    #[must_use]
    pub fn finish(self) -> Vec<Drawn> {
        let mut drawn = Vec::new();
        for (stratum, lowest) in self.strata {
            let kept = lowest.kept.into_sorted_vec();
            let stratum_drawn = kept.len() as u64;
            let stratum_size = self.sizes.get(&stratum).copied().unwrap_or_default();
            drawn.extend(kept.into_iter().map(|(_, key)| Drawn {
                key,
                stratum: stratum.clone(),
                stratum_size,
                stratum_drawn,
            }));
        }
        drawn
    }
}

/// The drawn list as it is printed and hashed: ASCII, each line ended by a line feed.
#[must_use]
pub fn list(frame_hash: &str, seed: &str, drawn: &[Drawn]) -> String {
    let mut text = format!(
        "jkn-audit-sample 1\nframe {frame_hash}\nseed {seed}\ndrawn {}\nkey,stratum,stratum-size,stratum-drawn\n",
        drawn.len()
    );
    for row in drawn {
        let Drawn { key, stratum, stratum_size, stratum_drawn } = row;
        text.push_str(&format!("{key},{stratum},{stratum_size},{stratum_drawn}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Rows by key, each in one of six strata of very different sizes.
    fn frames() -> impl Strategy<Value = BTreeMap<String, String>> {
        let stratum = prop_oneof![
            40 => Just("a"), 20 => Just("b"), 8 => Just("c"), 4 => Just("d"), 1 => Just("e"), 1 => Just("f"),
        ];
        proptest::collection::btree_map("[0-9a-f]{8}", stratum.prop_map(str::to_owned), 0..300)
    }

    fn sizes(frame: &BTreeMap<String, String>) -> Counts {
        let mut sizes = Counts::new();
        for stratum in frame.values() {
            *sizes.entry(stratum.clone()).or_default() += 1;
        }
        sizes
    }

    fn drawn<'a>(
        rows: impl IntoIterator<Item = (&'a String, &'a String)>,
        sizes: &Counts,
        places: &Counts,
        seed: &str,
    ) -> Vec<Drawn> {
        let mut draw = Draw::begin(seed, sizes.clone(), places);
        for (key, stratum) in rows {
            draw.offer(stratum, key);
        }
        draw.finish()
    }

    #[test]
    fn places_are_dealt_as_the_recipe_says() {
        let sizes: Counts = [("a", 530u64), ("b", 240), ("c", 160), ("d", 70), ("e", 1)]
            .map(|(name, rows)| (name.to_owned(), rows))
            .into();
        let of = |size, minimum| allocate(&sizes, size, minimum).into_values().collect::<Vec<_>>();
        // Sainte-Laguë by hand: 530, 240, 176.7 (a), 160, 106 (a), 80 (b), 75.7 (a), 70, 58.9 (a), 53.3 (c).
        assert_eq!(of(10, 0), [5, 2, 2, 1, 0]);
        assert_eq!(of(10, 1), [5, 2, 1, 1, 1]);
        assert_eq!(of(3, 1), [1, 1, 1, 1, 1], "the minimum is kept also when it is more than the size");
        assert_eq!(of(5000, 1), [530, 240, 160, 70, 1]);
        assert!(allocate(&Counts::new(), 250, 1).is_empty());
    }

    #[test]
    fn the_rank_is_a_plain_hash_that_others_compute_too() {
        let hex: String = rank("00ff", "abc").iter().map(|byte| format!("{byte:02x}")).collect();
        // printf '00ff\nabc' | sha256sum
        assert_eq!(hex, "edd5bebf95b4d2cdf9cce7a23d2b1829c228fc5ad61d473cfb0fb0cc3d89639f");
    }

    /// 4,096 seeds that are fixed draw 10 of 100 rows: each row is drawn 409.6 times on average, with a standard
    /// deviation of 19.2. Nothing here depends on chance: the seeds are numbers, so the counts are always the same.
    #[test]
    fn every_row_is_drawn_about_equally_often() {
        let frame: BTreeMap<_, _> = (0..100).map(|n| (format!("row-{n}"), "a".to_owned())).collect();
        let (sizes, places) = (sizes(&frame), Counts::from([("a".to_owned(), 10)]));
        let mut times: BTreeMap<String, u32> = BTreeMap::new();
        for seed in 0..4096 {
            for row in drawn(&frame, &sizes, &places, &format!("{seed:064x}")) {
                *times.entry(row.key).or_default() += 1;
            }
        }
        assert_eq!(times.len(), 100);
        for (key, times) in times {
            assert!((314..=506).contains(&times), "{key} was drawn {times} times");
        }
    }

    proptest! {
        #[test]
        fn an_allocation_sums_exactly_and_takes_from_no_stratum_more_than_it_has(
            rows in proptest::collection::vec(1..2_000_000u64, 0..60), size in 0..400u64, minimum in 0..5u64,
        ) {
            let sizes: Counts = rows.iter().enumerate().map(|(n, rows)| (format!("{n:03}"), *rows)).collect();
            let places = allocate(&sizes, size, minimum);
            let all: u64 = sizes.values().sum();
            let least: u64 = sizes.values().map(|rows| minimum.min(*rows)).sum();
            prop_assert_eq!(places.values().sum::<u64>(), size.min(all).max(least));
            for (name, rows) in &sizes {
                prop_assert!(places[name] <= *rows && places[name] >= minimum.min(*rows));
            }
            // A larger stratum never gets less.
            for (one, rows) in &sizes {
                for (other, others) in &sizes {
                    prop_assert!(rows <= others || places[one] >= places[other]);
                }
            }
            // A larger sample takes from no stratum less.
            let more = allocate(&sizes, size + 1, minimum);
            prop_assert!(places.iter().all(|(name, taken)| more[name] >= *taken));
        }

        #[test]
        fn no_place_would_serve_another_stratum_better(
            rows in proptest::collection::vec(1..2_000_000u64, 1..40), size in 1..400u64, minimum in 0..3u64,
        ) {
            let sizes: Counts = rows.iter().enumerate().map(|(n, rows)| (format!("{n:03}"), *rows)).collect();
            let places = allocate(&sizes, size, minimum);
            // What makes an allocation one of Sainte-Laguë: the last place of one stratum was worth at least as much as
            // the next place of any other.
            for (one, taken) in places.iter().filter(|(_, taken)| **taken > minimum) {
                for (other, others) in places.iter().filter(|(name, taken)| **taken < sizes[*name]) {
                    prop_assert!(
                        u128::from(sizes[one]) * u128::from(2 * others + 1)
                            >= u128::from(sizes[other]) * u128::from(2 * taken - 1)
                    );
                }
            }
        }

        #[test]
        fn a_sample_respects_every_stratum_and_the_order_of_the_rows_is_of_no_account(
            frame in frames(), size in 0..80u64, minimum in 0..3u64, seed in "[0-9a-f]{64}", shuffle in any::<u64>(),
        ) {
            let sizes = sizes(&frame);
            let places = allocate(&sizes, size, minimum);
            let sample = drawn(&frame, &sizes, &places, &seed);
            prop_assert_eq!(sample.len() as u64, places.values().sum::<u64>());
            prop_assert_eq!(sample.iter().map(|row| &row.key).collect::<BTreeSet<_>>().len(), sample.len(), "none twice");
            for (name, wanted) in &places {
                let of: Vec<_> = sample.iter().filter(|row| row.stratum == *name).collect();
                prop_assert_eq!(of.len() as u64, *wanted);
                prop_assert!(of.iter().all(|row| frame[&row.key] == *name));
                prop_assert!(of.iter().all(|row| (row.stratum_size, row.stratum_drawn) == (sizes[name], *wanted)));
            }
            // What the sample stands for is the frame.
            let sampled: BTreeSet<_> = places.iter().filter(|(_, places)| **places > 0).map(|(name, _)| name).collect();
            let stood_for: f64 = sample.iter().map(Drawn::weight).sum();
            let rows: u64 = sizes.iter().filter(|(name, _)| sampled.contains(name)).map(|(_, rows)| rows).sum();
            prop_assert!((stood_for - rows as f64).abs() < 1e-6);

            let mut shuffled: Vec<_> = frame.iter().collect();
            shuffled.sort_by_key(|(key, _)| rank(&shuffle.to_string(), key));
            prop_assert_eq!(drawn(shuffled, &sizes, &places, &seed), sample);
        }

        #[test]
        fn a_draw_in_pieces_is_the_same_draw(
            frame in frames(), size in 0..80u64, seed in "[0-9a-f]{64}", piece in 1..40usize,
        ) {
            let sizes = sizes(&frame);
            let places = allocate(&sizes, size, 1);
            let rows: Vec<_> = frame.iter().collect();
            let mut kept = Vec::new();
            for piece in rows.chunks(piece) {
                let mut draw = Draw::begin(&seed, sizes.clone(), &places);
                kept.iter().for_each(|(stratum, key): &(String, String)| draw.offer(stratum, key));
                piece.iter().for_each(|(key, stratum)| draw.offer(stratum, key));
                kept = draw.kept();
            }
            let kept = kept.iter().map(|(stratum, key)| (key, stratum));
            prop_assert_eq!(drawn(kept, &sizes, &places, &seed), drawn(&frame, &sizes, &places, &seed));
        }

        #[test]
        fn another_row_changes_the_order_within_no_stratum(
            frame in frames(), key in "[0-9a-f]{9}", stratum in 0..6usize, seed in "[0-9a-f]{64}",
        ) {
            let whole = |frame: &BTreeMap<String, String>| {
                let sizes = sizes(frame);
                drawn(frame, &sizes, &sizes, &seed)
            };
            let mut larger = frame.clone();
            larger.insert(key.clone(), ["a", "b", "c", "d", "e", "f"][stratum].to_owned());
            let keys = |sample: Vec<Drawn>| sample.into_iter().map(|row| row.key).filter(|k| *k != key).collect::<Vec<_>>();
            prop_assert_eq!(keys(whole(&larger)), keys(whole(&frame)));
        }

        #[test]
        fn another_seed_is_another_order(frame in frames(), one in "[0-9a-f]{64}", other in "[0-9a-f]{64}") {
            prop_assume!(one != other);
            let rows: Vec<_> = frame.keys().filter(|key| frame[*key] == "a").collect();
            prop_assume!(rows.len() > 40);
            let order = |seed: &str| {
                let mut keys = rows.clone();
                keys.sort_by_key(|key| rank(seed, key));
                keys
            };
            prop_assert_ne!(order(&one), order(&other));
        }
    }
}

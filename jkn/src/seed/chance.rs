//! Chance that repeats: a small generator whose every draw follows from the seed, on every machine and in every
//! version. Each thing that is made draws from a stream of its own, so that a larger nation begins like a smaller one.

use uuid::Uuid;

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The stream of the thing with this number in this part of the nation.
    pub(crate) fn of(seed: u64, part: &str, number: u64) -> Self {
        let part = part.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut chance = Self(seed);
        chance.0 = chance.next() ^ part;
        chance.0 = chance.next() ^ number;
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, without it; 0 when there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from `first` to `last`, with both.
    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        let span = u64::try_from(last - first + 1).unwrap_or(0);
        first + i64::try_from(self.below(span)).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several, all alike.
    pub(crate) fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len() as u64);
        &items[usize::try_from(index).unwrap_or(0)]
    }

    /// One of several by weight.
    pub(crate) fn weighted<'a, T>(&mut self, items: &'a [(T, u64)]) -> &'a T {
        let mut left = self.below(items.iter().map(|(_, weight)| weight).sum());
        for (item, weight) in items {
            if left < *weight {
                return item;
            }
            left -= weight;
        }
        &items[0].0
    }

    /// An id of version 7 with the given time.
    pub(crate) fn id(&mut self, millis: u64) -> Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_le_bytes());
        random[8..].copy_from_slice(&self.next().to_le_bytes()[..2]);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_for_ever() {
        // The first outputs of SplitMix64 from 1234567, as published with the algorithm.
        let mut chance = Chance(1_234_567);
        assert_eq!([chance.next(), chance.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn streams_differ_and_stay_in_bounds() {
        let mut one = Chance::of(1, "family", 1);
        let mut two = Chance::of(1, "family", 2);
        assert_ne!(one.next(), two.next());
        assert!((0..1000).all(|_| (3..=5).contains(&one.between(3, 5))));
        assert_eq!(one.id(0).get_version_num(), 7);
    }
}

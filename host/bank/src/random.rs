//! Random numbers that repeat: the same seed gives the same run. SplitMix64, because it is eight lines and its numbers
//! need only look arbitrary.

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of a client: clients of one seed have sequences of their own.
    #[must_use]
    pub fn new(seed: u64, client: u32) -> Self {
        let mut parent = Self(seed);
        let start = parent.next();
        Self(start ^ u64::from(client).wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so nobody wants it as an iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero. The bias is one in 2^40 for the ends in use.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_clients_differ() {
        let take = |seed, client| {
            let mut random = Random::new(seed, client);
            [random.next(), random.next(), random.below(10)]
        };
        assert_eq!(take(1, 1), take(1, 1));
        assert_ne!(take(1, 1), take(1, 2));
        assert_ne!(take(1, 1), take(2, 1));
    }
}

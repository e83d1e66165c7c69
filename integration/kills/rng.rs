//! Instants at random, from a seed that is told, so that a failed story can be told again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A seed to tell a story again with.
const SEED: &str = "ZV_TEST_SEED";

/// SplitMix64: an additive counter and a finalizer (Steele, Lea, Flood, 2014).
pub(super) struct Rng(u64);

impl Rng {
    /// From the seed given, or a new one; told with a story that fails.
    pub(super) fn seeded() -> Rng {
        let now = || -> u64 { SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into() };
        let seed = std::env::var(SEED).map_or_else(|_| now(), |seed| seed.parse().unwrap());
        eprintln!("told again with {SEED}={seed}");
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Some time below this one.
    pub(super) fn below(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.next() % u64::try_from(most.as_micros()).unwrap().max(1))
    }
}

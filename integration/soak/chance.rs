//! Chance that can be had again: all of it follows from a seed.

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `from` to below `to`.
    pub(super) fn between(&mut self, (from, to): (u64, u64)) -> u64 {
        from + self.below(to - from)
    }

    pub(super) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(super) fn of<T: Copy>(&mut self, some: &[T]) -> T {
        some[usize::try_from(self.below(some.len() as u64)).unwrap()]
    }

    /// One of several, each as often as its weight says.
    pub(super) fn weighed<T: Copy>(&mut self, some: &[(u64, T)]) -> T {
        let mut at = self.below(some.iter().map(|(weight, _)| weight).sum());
        for (weight, one) in some {
            match at.checked_sub(*weight) {
                Some(less) => at = less,
                None => return *one,
            }
        }
        panic!("weights of nothing")
    }
}

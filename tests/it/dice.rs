//! What a seed leads to: the same for ever, on every machine.

use std::ops::Range;
use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Written
/// out, because a seed that was printed must lead to the same steps years later, whatever crates do.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to `sides` - 1.
    pub fn below(&mut self, sides: usize) -> usize {
        usize::try_from((u128::from(self.next()) * sides as u128) >> 64).unwrap()
    }

    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The same, of what may be none at all.
    pub fn any<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        match of.len() {
            0 => None,
            sides => of.get(self.below(sides)),
        }
    }

    pub fn millis(&mut self, range: Range<usize>) -> Duration {
        let millis = range.start + self.below(range.end - range.start);
        Duration::from_millis(millis as u64)
    }

    /// Others for somebody who throws at the same time.
    pub fn others(&mut self) -> Dice {
        Dice(self.next())
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

#[test]
fn a_seed_leads_to_the_same_numbers_for_ever() {
    let mut dice = Dice::new(1_234_567);
    let known = [
        6_457_827_717_110_365_317,
        3_203_168_211_198_807_973,
        9_817_491_932_198_370_423,
        4_593_380_528_125_082_431,
    ];
    for number in known {
        assert_eq!(dice.next(), number);
    }
}

//! Counting what may happen only so often: the exact number in any window, not an average.

use super::time::Timestamp;

/// The moments at which something happened, oldest first. Counts are exact in every window, and
/// neither a restart nor a resend resets them (S-13). Only time and success make them smaller.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Budget {
    moments: Vec<Timestamp>,
}

impl Budget {
    /// Moments kept at most: no limit of the configuration may be larger, or it would never trip.
    pub const MOMENTS_MAX: usize = 1_000;

    /// From moments as they were stored.
    pub fn from_moments(mut moments: Vec<Timestamp>) -> Budget {
        moments.sort_unstable();
        Budget { moments }
    }

    /// The moments, oldest first.
    pub fn moments(&self) -> &[Timestamp] {
        &self.moments
    }

    /// How often in the window that ends now. A moment that seems to lie ahead, after a clock was
    /// set back, counts too.
    pub fn used(&self, now: Timestamp, window_ms: u64) -> u32 {
        let start = now.minus_ms(window_ms);
        let first = self.moments.partition_point(|moment| *moment <= start);
        u32::try_from(self.moments.len() - first).unwrap_or(u32::MAX)
    }

    /// `None` when one more is allowed, else the moment from which it will be.
    pub fn blocked_until(&self, now: Timestamp, window_ms: u64, max: u32) -> Option<Timestamp> {
        if self.used(now, window_ms) < max {
            return None;
        }
        // The one that must leave the window before there is room again.
        let decisive = self.moments.len().checked_sub(max as usize)?;
        let moment = self.moments.get(decisive).copied().unwrap_or(now);
        Some(moment.plus_ms(window_ms))
    }

    /// Counts one, and forgets what left the longest window that anybody asks about.
    pub fn count(&mut self, now: Timestamp, longest_window_ms: u64) {
        let start = now.minus_ms(longest_window_ms);
        self.moments.retain(|moment| *moment > start);
        if self.moments.len() >= Self::MOMENTS_MAX {
            self.moments.remove(0);
        }
        let place = self.moments.partition_point(|moment| *moment <= now);
        self.moments.insert(place, now);
    }

    /// Takes back one that was counted at `moment`, because it did not come to pass.
    pub fn take_back(&mut self, moment: Timestamp) {
        if let Ok(place) = self.moments.binary_search(&moment) {
            self.moments.remove(place);
        }
    }

    /// The latest moment.
    pub fn last(&self) -> Option<Timestamp> {
        self.moments.last().copied()
    }

    /// Forgets everything: the proof succeeded.
    pub fn clear(&mut self) {
        self.moments.clear();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limit_holds_in_every_window_and_frees_itself_with_time() {
        let mut budget = Budget::default();
        for moment in [1_000, 1_010, 1_020] {
            assert_eq!(budget.blocked_until(Timestamp(moment), 100, 3), None);
            budget.count(Timestamp(moment), 100);
        }
        assert_eq!(
            budget.blocked_until(Timestamp(1_050), 100, 3),
            Some(Timestamp(1_100))
        );
        assert_eq!(
            budget.blocked_until(Timestamp(1_099), 100, 3),
            Some(Timestamp(1_100))
        );
        assert_eq!(budget.blocked_until(Timestamp(1_100), 100, 3), None);
        budget.count(Timestamp(1_100), 100);
        assert_eq!(
            budget.blocked_until(Timestamp(1_101), 100, 3),
            Some(Timestamp(1_110))
        );
    }

    #[test]
    fn setting_the_clock_back_frees_nothing() {
        let mut budget = Budget::default();
        budget.count(Timestamp(1_000), 100);
        assert_eq!(budget.used(Timestamp(10), 100), 1);
        assert!(budget.blocked_until(Timestamp(10), 100, 1).unwrap() >= Timestamp(1_000));
    }

    #[test]
    fn what_did_not_come_to_pass_is_taken_back_once() {
        let mut budget = Budget::default();
        budget.count(Timestamp(5), 100);
        budget.count(Timestamp(7), 100);
        budget.take_back(Timestamp(5));
        budget.take_back(Timestamp(5));
        assert_eq!(budget.moments(), [Timestamp(7)]);
    }

    proptest! {
        #[test]
        fn never_more_than_the_limit_in_any_window(
            gaps in prop::collection::vec(0u64..40, 1..200), max in 1u32..6, window in 10u64..100,
        ) {
            let (mut budget, mut now, mut done) = (Budget::default(), Timestamp(1_000), Vec::new());
            for gap in gaps {
                now = now.plus_ms(gap);
                match budget.blocked_until(now, window, max) {
                    None => { budget.count(now, window); done.push(now.0); }
                    Some(until) => prop_assert!(until > now),
                }
            }
            for end in &done {
                let inside = done.iter().filter(|at| **at <= *end && **at > end.saturating_sub(window)).count();
                prop_assert!(inside <= max as usize);
            }
        }
    }
}

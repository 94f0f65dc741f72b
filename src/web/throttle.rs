//! How often one network may ask for what does not exist: in memory, because a restart that forgets
//! it costs nothing, and because a request that changes nothing must not write (S-35, S-36).

use crate::domain::budget::Budget;
use crate::domain::time::{MINUTE_MS, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Misses in any [`WINDOW_MS`] before a network has to wait.
const MISSES_MAX: u32 = 30;

/// The window.
const WINDOW_MS: u64 = 10 * MINUTE_MS;

/// Networks remembered: beyond it the whole memory starts anew.
const NETWORKS_MAX: usize = 4_096;

/// Counts misses per network.
#[derive(Default)]
pub struct Throttle {
    misses: Mutex<HashMap<[u8; 16], Budget>>,
}

impl Throttle {
    /// Counts a miss; `Some` says from when the network may ask again.
    pub fn count(&self, network: [u8; 16], now: Timestamp) -> Option<Timestamp> {
        let mut misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        if misses.len() >= NETWORKS_MAX && !misses.contains_key(&network) {
            misses.retain(|_, budget| budget.used(now, WINDOW_MS) > 0);
            if misses.len() >= NETWORKS_MAX {
                misses.clear();
            }
        }
        let budget = misses.entry(network).or_default();
        let until = budget.blocked_until(now, WINDOW_MS, MISSES_MAX);
        if until.is_none() {
            budget.count(now, WINDOW_MS);
        }
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_misses_often_waits_and_no_other() {
        let (throttle, now) = (Throttle::default(), Timestamp(1_000_000));
        let (one, other) = ([1; 16], [2; 16]);
        for _ in 0..MISSES_MAX {
            assert_eq!(throttle.count(one, now), None);
        }
        assert_eq!(throttle.count(one, now), Some(now.plus_ms(WINDOW_MS)));
        assert_eq!(throttle.count(other, now), None);
        assert_eq!(throttle.count(one, now.plus_ms(WINDOW_MS)), None);
    }

    #[test]
    fn many_networks_take_bounded_memory() {
        let (throttle, now) = (Throttle::default(), Timestamp(1_000_000));
        for number in 0..2 * NETWORKS_MAX as u128 {
            assert_eq!(throttle.count(number.to_be_bytes(), now), None);
        }
        let known = throttle
            .misses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assert!(known.len() <= NETWORKS_MAX);
    }
}

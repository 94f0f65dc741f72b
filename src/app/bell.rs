//! A bell that is not missed by somebody who looked away for a moment.

use crate::domain::delivery::Lane;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts its rings. Whoever waits says how many rings are known; a ring between looking and
/// waiting is therefore never lost.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    /// Rings: one who waits looks again. Whoever finds more than it can carry rings for the next.
    pub fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.rung.notify_one();
    }

    /// Rings so that everybody who waits looks again.
    pub fn ring_all(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.rung.notify_all();
    }

    /// How often it rang.
    pub fn rings(&self) -> u64 {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has rung more often than `known`, or for `at_most`; returns how often it rang.
    pub fn wait(&self, known: u64, at_most: Duration) -> u64 {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let (rings, _) = self
            .rung
            .wait_timeout_while(rings, at_most, |rings| *rings == known)
            .unwrap_or_else(PoisonError::into_inner);
        *rings
    }
}

/// A bell for each lane.
#[derive(Debug, Default)]
pub struct Bells {
    lanes: [Bell; Lane::ALL.len()],
}

impl Bells {
    /// The bell of this lane.
    pub fn of(&self, lane: Lane) -> &Bell {
        &self.lanes[lane as usize]
    }
}

//! How fast and how wide: what the other side can bear, and where that is set.

use super::LOOK_MS_MAX;
use crate::domain::delivery::Lane;
use crate::domain::time::{SECOND_MS, Timestamp};
use std::collections::VecDeque;

/// Messages to one person that may leave in a burst, and the pace after it: Meta allows about one
/// every 6 seconds and lends a burst (Meta's contract, section 6).
const PAIR_BURST: u64 = 10;
const PAIR_PACE_MS: u64 = 6 * SECOND_MS;

/// How fast and how wide.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Chat messages per second over everybody.
    pub messages_per_second: u32,
    /// Threads of each lane, in the order of [`Lane::ALL`].
    pub threads: [usize; Lane::ALL.len()],
    /// Entries of each lane that are on their way to the other side at the same time; no fewer than
    /// there are threads, if it wants no fewer.
    pub at_once: [usize; Lane::ALL.len()],
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            messages_per_second: 80,
            // More that mail than mail at once: while some wait for what they sent to be stored as
            // sent, others can send.
            threads: [4, 12, 4, 16, 2],
            // Smaller mail servers take no more connections.
            at_once: [usize::MAX, 4, usize::MAX, usize::MAX, usize::MAX],
        }
    }
}

/// How much may leave in any one second, wherever that begins. The other side counts a message at
/// some moment while it is under way, so its second ends one after it has come back.
pub(super) struct Rate {
    pub(super) per_second: usize,
    /// When those that count came back, oldest first; at most as many as may leave.
    back_at: VecDeque<Timestamp>,
}

impl Rate {
    pub(super) fn new(per_second: usize) -> Rate {
        Rate {
            per_second,
            back_at: VecDeque::new(),
        }
    }

    /// One that was under way has come back.
    pub(super) fn note_back(&mut self, now: Timestamp) {
        self.back_at.push_back(now);
    }

    /// How many may leave now, beside those under way.
    pub(super) fn room(&mut self, under_way: usize, now: Timestamp) -> usize {
        let counts = |at: &Timestamp| *at <= now && now.since_ms(*at) < SECOND_MS;
        while self.back_at.front().is_some_and(|at| !counts(at)) {
            self.back_at.pop_front();
        }
        self.per_second
            .saturating_sub(under_way + self.back_at.len())
    }

    /// In how long the next one may leave.
    pub(super) fn room_in_ms(&self, under_way: usize, now: Timestamp) -> u64 {
        if under_way + self.back_at.len() < self.per_second {
            return 0;
        }
        match self.back_at.front() {
            Some(at) => SECOND_MS.saturating_sub(now.since_ms(*at)),
            // Whoever carries those under way goes on.
            None => LOOK_MS_MAX,
        }
    }
}

/// The pace of messages to one person. Where nobody spends, nobody waits.
#[derive(Clone, Copy, Default)]
pub(super) struct PairPace {
    /// The theoretical moment at which the burst allowance would be whole again.
    whole_at: Timestamp,
}

impl PairPace {
    /// A message leaves now.
    pub(super) fn spend(&mut self, now: Timestamp) {
        self.whole_at = self.whole_at.max(now).plus_ms(PAIR_PACE_MS);
    }

    /// When the next one may leave.
    pub(super) fn next_at(self) -> Timestamp {
        self.whole_at.minus_ms((PAIR_BURST - 1) * PAIR_PACE_MS)
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_whole(self, now: Timestamp) -> bool {
        self.whole_at <= now
    }
}

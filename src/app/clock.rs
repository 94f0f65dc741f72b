//! The time and randomness of the machine.

use super::{Clock, NoRandomness, Random};
use crate::domain::id::{DAY_MS, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock that was this far ahead and came back was wrong; one that is less far behind may
/// itself be the wrong one, and is not believed.
const BELIEVED_AHEAD_MS: u64 = 7 * DAY_MS;

/// Wall time that does not go back: when the wall clock is set back, time goes on at the pace of a
/// clock that nobody sets and that counts a suspended machine, so that no dead code lives again
/// (S-15).
pub struct SystemClock {
    anchor: Mutex<Anchor>,
}

struct Anchor {
    at: Timestamp,
    since_boot_ms: u64,
}

impl SystemClock {
    /// A clock that starts no earlier than `latest`, the latest moment of an earlier run, unless
    /// that is absurdly far ahead.
    pub fn new(latest: Timestamp) -> SystemClock {
        let wall = wall();
        let at = if latest.since_ms(wall) > BELIEVED_AHEAD_MS {
            tracing::error!(
                "the clock is more than a week behind an earlier run; check the time of this machine"
            );
            wall
        } else {
            wall.max(latest)
        };
        SystemClock {
            anchor: Mutex::new(Anchor {
                at,
                since_boot_ms: since_boot_ms(),
            }),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let since_boot_ms = since_boot_ms();
        let steady = anchor
            .at
            .plus_ms(since_boot_ms.saturating_sub(anchor.since_boot_ms));
        let wall = wall();
        let now = if steady.since_ms(wall) > BELIEVED_AHEAD_MS {
            tracing::error!(
                "the clock went back by more than a week; check the time of this machine"
            );
            wall
        } else {
            steady.max(wall)
        };
        *anchor = Anchor {
            at: now,
            since_boot_ms,
        };
        now
    }

    fn steady_ms(&self) -> u64 {
        since_boot_ms()
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn since_boot_ms() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let ms = i128::from(time.tv_sec) * 1_000 + i128::from(time.tv_nsec) / 1_000_000;
    u64::try_from(ms).unwrap_or(0)
}

/// The operating system's random numbers.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(bytes).map_err(|_| NoRandomness)
    }
}

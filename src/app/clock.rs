//! The time and randomness of the machine.

use super::{Clock, NoRandomness, Random};
use crate::domain::id::{DAY_MS, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock that was this far ahead and came back was wrong; one that is less far behind may
/// itself be the wrong one, and is not believed.
const BELIEVED_AHEAD_MS: u64 = 7 * DAY_MS;

/// Wall time that does not go back: when the wall clock is set back, time goes on at the pace of a
/// clock that nobody sets and that counts a suspended machine, so that no dead code lives again
/// (S-15).
pub struct SystemClock {
    machine: Arc<dyn Machine>,
    anchor: Mutex<Anchor>,
}

/// What a machine shows.
pub trait Machine: Send + Sync {
    /// What people call the time. It may be set at any moment.
    fn wall(&self) -> Timestamp;

    /// What has passed since the machine was started, suspended or not. Nobody sets it.
    fn since_boot_ms(&self) -> u64;
}

/// The machine on which this runs.
struct ThisMachine;

impl Machine for ThisMachine {
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn since_boot_ms(&self) -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        let ms = i128::from(time.tv_sec) * 1_000 + i128::from(time.tv_nsec) / 1_000_000;
        u64::try_from(ms).unwrap_or(0)
    }
}

struct Anchor {
    at: Timestamp,
    since_boot_ms: u64,
}

impl SystemClock {
    /// A clock that starts no earlier than `latest`, the latest moment of an earlier run, unless
    /// that is absurdly far ahead.
    pub fn new(latest: Timestamp) -> SystemClock {
        SystemClock::of(Arc::new(ThisMachine), latest)
    }

    /// The same on a machine of somebody's choice.
    pub fn of(machine: Arc<dyn Machine>, latest: Timestamp) -> SystemClock {
        let wall = machine.wall();
        let at = if latest.since_ms(wall) > BELIEVED_AHEAD_MS {
            tracing::error!(
                "the clock is more than a week behind an earlier run; check the time of this machine"
            );
            wall
        } else {
            wall.max(latest)
        };
        let since_boot_ms = machine.since_boot_ms();
        SystemClock {
            machine,
            anchor: Mutex::new(Anchor { at, since_boot_ms }),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        let since_boot_ms = self.machine.since_boot_ms();
        let steady = anchor
            .at
            .plus_ms(since_boot_ms.saturating_sub(anchor.since_boot_ms));
        let wall = self.machine.wall();
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
        self.machine.since_boot_ms()
    }
}

/// The operating system's random numbers.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(bytes).map_err(|_| NoRandomness)
    }
}

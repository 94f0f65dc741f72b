//! The time and randomness of the machine, and whether that time is believed.

use super::{App, Clock, Failed, NoRandomness, Random};
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use crate::store::record::{self, ClockDoubt};
use crate::store::{Reader, StoreError, Writer};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// A wall clock that was this far ahead and came back was wrong; one that is less far behind may
/// itself be the wrong one, and is not believed.
const BELIEVED_AHEAD_MS: u64 = 7 * DAY_MS;

/// The clock of the machine was set, and not slowed or hurried a little, when it is this far from one
/// that nobody sets.
const CLOCK_WAS_SET_MS: u64 = HOUR_MS;

/// A clock that was set is believed after Portero has run with it for this long: time enough for
/// whoever is told to set it right.
const CLOCK_BELIEVED_AFTER_MS: u64 = DAY_MS;

/// A program may be down this long without anybody wondering. How long it was is told by no clock
/// but the one that may have been set meanwhile.
const DOWN_MS_MAX: u64 = DAY_MS;

/// How far the clock of the machine may be behind before it is said: clocks of others differ by less
/// every day, and by twice as much a message is too old for a sign-in.
const BEHIND_IS_SAID_MS: u64 = 5 * MINUTE_MS;

/// An alarm about the clock is repeated this often.
const ALARM_EVERY_MS: u64 = HOUR_MS;

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

    fn behind_ms(&self) -> u64 {
        self.now().since_ms(self.machine.wall())
    }
}

/// The operating system's random numbers.
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(bytes).map_err(|_| NoRandomness)
    }
}

/// What the clock of the machine and the one that nobody sets show at the same moment.
#[derive(Clone, Copy, Debug)]
struct Shown {
    wall: Timestamp,
    steady_ms: u64,
}

impl Shown {
    /// How much more the clock of the machine went on than the other one until `later`, and how much
    /// less: one of the two is nothing.
    fn gained_and_lost_ms(self, later: Shown) -> (u64, u64) {
        let due = self
            .wall
            .plus_ms(later.steady_ms.saturating_sub(self.steady_ms));
        (later.wall.since_ms(due), due.since_ms(later.wall))
    }
}

/// Whether the clock of the machine may decide what is old.
#[derive(Debug)]
pub(super) struct Belief {
    /// What both showed when they were last known to agree.
    agreed: Shown,
    /// How much the clock of the machine may have gained since.
    gain_ms_max: u64,
    doubt: Option<Doubt>,
    alarmed_at_ms: Option<u64>,
    /// When it was last said that the clock of the machine is behind.
    behind_said_at_ms: Option<u64>,
}

/// Whether an alarm is to be raised again.
fn is_due(raised_at_ms: Option<u64>, steady_ms: u64) -> bool {
    raised_at_ms.is_none_or(|at_ms| steady_ms.saturating_sub(at_ms) >= ALARM_EVERY_MS)
}

/// They do not agree.
#[derive(Debug)]
struct Doubt {
    /// What both showed when somebody last asked.
    looked: Shown,
    lasted_ms: u64,
}

impl Belief {
    /// For a process that begins: a clock that was set while nobody looked is believed no sooner than
    /// one that is set before our eyes.
    pub(super) fn beginning(reader: &dyn Reader, clock: &dyn Clock) -> Result<Belief, StoreError> {
        let latest = record::latest_moment(reader)?;
        let doubt = record::clock_doubt(reader)?;
        let shown = Belief::look(clock);
        let is_believed = latest == Timestamp(0)
            || (shown.wall.since_ms(latest) <= DOWN_MS_MAX
                && latest.since_ms(shown.wall) <= BELIEVED_AHEAD_MS);
        if is_believed {
            return Ok(Belief::in_what_is(shown));
        }
        // The doubts of processes that follow one another are one, so that also who runs for a few
        // hours a day believes the clock at last.
        let is_the_same = |doubt: &ClockDoubt| {
            doubt.seen_at <= shown.wall && shown.wall.since_ms(doubt.seen_at) <= DOWN_MS_MAX
        };
        let lasted_ms = doubt.filter(is_the_same).map_or(0, |doubt| doubt.lasted_ms);
        Ok(Belief {
            agreed: Shown {
                wall: latest,
                ..shown
            },
            gain_ms_max: DOWN_MS_MAX,
            doubt: Some(Doubt {
                looked: shown,
                lasted_ms,
            }),
            alarmed_at_ms: None,
            behind_said_at_ms: None,
        })
    }

    fn in_what_is(shown: Shown) -> Belief {
        Belief {
            agreed: shown,
            gain_ms_max: CLOCK_WAS_SET_MS,
            doubt: None,
            alarmed_at_ms: None,
            behind_said_at_ms: None,
        }
    }

    /// The same, for one who has said already that the clock is behind.
    fn again_in(&self, shown: Shown) -> Belief {
        Belief {
            behind_said_at_ms: self.behind_said_at_ms,
            ..Belief::in_what_is(shown)
        }
    }

    /// Says now and then that the clock of the machine is behind the time that Portero goes by. A
    /// process that is not there is the one thing that lets them meet: no moment may come twice, and
    /// nobody can know which of the two is right. Not in a doubt: what is doubted is never noted, so
    /// that a restart is enough, and that is said already.
    fn tell_if_behind(&mut self, clock: &dyn Clock, steady_ms: u64) {
        let behind_ms = clock.behind_ms();
        if behind_ms <= BEHIND_IS_SAID_MS {
            self.behind_said_at_ms = None;
        } else if is_due(self.behind_said_at_ms, steady_ms) {
            self.behind_said_at_ms = Some(steady_ms);
            tracing::error!(
                minutes = behind_ms.div_ceil(MINUTE_MS),
                "the clock of this machine is behind the time that Portero goes by, and people may be \
                 told that their messages come late; if the clock is wrong, set it right; if it was \
                 ahead before and is right now, stop Portero for so many minutes"
            );
        }
    }

    fn look(clock: &dyn Clock) -> Shown {
        Shown {
            wall: clock.now(),
            steady_ms: clock.steady_ms(),
        }
    }

    /// What there is to be remembered of a doubt, if there is one now.
    pub(super) fn doubt(&mut self, clock: &dyn Clock) -> Option<ClockDoubt> {
        let shown = Belief::look(clock);
        let (gained_ms, lost_ms) = self.agreed.gained_and_lost_ms(shown);
        if gained_ms <= self.gain_ms_max && lost_ms <= CLOCK_WAS_SET_MS {
            if self.doubt.is_some() {
                *self = self.again_in(shown);
            }
            self.tell_if_behind(clock, shown.steady_ms);
            return None;
        }
        let doubt = self.doubt.get_or_insert(Doubt {
            looked: shown,
            lasted_ms: 0,
        });
        // Whoever sets it once more is doubted anew.
        let (gained_ms, lost_ms) = doubt.looked.gained_and_lost_ms(shown);
        doubt.lasted_ms = match gained_ms.max(lost_ms) > CLOCK_WAS_SET_MS {
            true => 0,
            false => doubt.lasted_ms + (shown.steady_ms.saturating_sub(doubt.looked.steady_ms)),
        };
        doubt.looked = shown;
        let lasted_ms = doubt.lasted_ms;
        // A clock that was set right is no longer behind what is doubted, however long that lasts.
        if lasted_ms >= CLOCK_BELIEVED_AFTER_MS && clock.behind_ms() <= CLOCK_WAS_SET_MS {
            *self = self.again_in(shown);
            return None;
        }
        if is_due(self.alarmed_at_ms, shown.steady_ms) {
            self.alarmed_at_ms = Some(shown.steady_ms);
            tracing::error!(
                "the clock of this machine was set by more than an hour, or Portero was down for more \
                 than a day; nothing old is removed until Portero has run for a day; check the time, \
                 and restart Portero once it is right if it was not"
            );
        }
        Some(ClockDoubt {
            seen_at: shown.wall,
            lasted_ms,
        })
    }
}

impl App {
    /// Whether the clock of the machine may decide what is old.
    pub fn is_clock_believed(&self) -> bool {
        self.clock_doubt().is_none()
    }

    fn clock_doubt(&self) -> Option<ClockDoubt> {
        let mut belief = self.belief.lock().unwrap_or_else(PoisonError::into_inner);
        belief.doubt(&*self.clock)
    }

    /// Notes the time, so that a clock that is set back while Portero is down revives nothing. Not
    /// the time of a clock that is not believed, which the next process would take for a good one: of
    /// that it is noted how long it has been so.
    pub fn note_time(&self) -> Result<(), Failed> {
        let now = self.now();
        let doubt = self.clock_doubt();
        Ok(self.update(move |writer| match doubt {
            None => note_moment(writer, now),
            Some(doubt) => record::put_clock_doubt(writer, doubt),
        })?)
    }
}

/// Notes a moment that a clock shows which is believed. An earlier one than is known already only
/// where the clock was so far ahead that it was wrong ([`SystemClock`]).
pub(super) fn note_moment(writer: &mut dyn Writer, now: Timestamp) -> Result<(), StoreError> {
    let latest = record::latest_moment(writer)?;
    let is_later = now > latest || latest.since_ms(now) > BELIEVED_AHEAD_MS;
    record::put_latest_moment(writer, if is_later { now } else { latest })
}

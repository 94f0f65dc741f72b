//! A bell that is not missed by somebody who looked away for a moment.

use crate::domain::delivery::Lane;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts its rings. Whoever waits says what it has heard; a ring between looking and waiting is
/// therefore never lost.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    /// For one of those who wait for anything.
    rung: Condvar,
    /// For those who wait for a call.
    called: Condvar,
}

#[derive(Debug, Default)]
struct State {
    heard: Heard,
    /// How many wait for anything: for nobody, nobody need be woken.
    listening: usize,
}

/// How often it rang, and how often for everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    rings: u64,
    calls: u64,
}

impl Bell {
    /// Rings: one who waits for anything looks again. Whoever finds more than it can carry rings for
    /// the next.
    pub fn ring(&self) {
        let mut state = self.lock();
        state.heard.rings += 1;
        let is_heard = state.listening > 0;
        drop(state);
        if is_heard {
            self.rung.notify_one();
        }
    }

    /// Rings so that everybody who waits looks again.
    pub fn ring_all(&self) {
        let mut state = self.lock();
        state.heard.rings += 1;
        state.heard.calls += 1;
        drop(state);
        self.rung.notify_all();
        self.called.notify_all();
    }

    /// What it was heard doing until now.
    pub fn heard(&self) -> Heard {
        self.lock().heard
    }

    /// Waits until it has rung more often than was heard, or for `at_most`.
    pub fn wait(&self, heard: Heard, at_most: Duration) {
        let mut state = self.lock();
        state.listening += 1;
        let (mut state, _) = self
            .rung
            .wait_timeout_while(state, at_most, |state| state.heard.rings == heard.rings)
            .unwrap_or_else(PoisonError::into_inner);
        state.listening -= 1;
    }

    /// Waits until it has rung for everybody more often than was heard, or for `at_most`: for who
    /// cannot do anything about something new.
    pub fn wait_for_call(&self, heard: Heard, at_most: Duration) {
        let state = self.lock();
        let waited = self
            .called
            .wait_timeout_while(state, at_most, |state| state.heard.calls == heard.calls);
        drop(waited);
    }

    // The counts are changed one at a time, so a panic leaves none half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Longer than anything takes here that does not wait.
    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    fn takes(wait: impl FnOnce()) -> Duration {
        let begun = Instant::now();
        wait();
        begun.elapsed()
    }

    #[test]
    fn a_ring_between_looking_and_waiting_is_not_lost() {
        let bell = Bell::default();
        let heard = bell.heard();
        bell.ring();
        assert!(takes(|| bell.wait(heard, LONG)) < LONG);
        let heard = bell.heard();
        bell.ring_all();
        assert!(takes(|| bell.wait(heard, LONG)) < LONG);
        assert!(takes(|| bell.wait_for_call(heard, LONG)) < LONG);
    }

    #[test]
    fn who_waits_for_a_call_is_left_alone_by_what_is_new() {
        let bell = Bell::default();
        let heard = bell.heard();
        bell.ring();
        assert!(takes(|| bell.wait_for_call(heard, SHORT)) >= SHORT);
        assert!(takes(|| bell.wait(bell.heard(), SHORT)) >= SHORT);
    }

    #[test]
    fn each_of_many_rings_wakes_one_who_listens_and_a_call_wakes_all() {
        const MANY: u32 = 1_000;
        let bell = Bell::default();
        std::thread::scope(|scope| {
            let listener = scope.spawn(|| {
                let mut heard = bell.heard();
                while heard.rings < u64::from(MANY) {
                    bell.wait(heard, LONG);
                    heard = bell.heard();
                }
            });
            let deaf = scope.spawn(|| bell.wait_for_call(Heard::default(), LONG));
            let took = takes(|| {
                (0..MANY).for_each(|_| bell.ring());
                let _ = listener.join();
                bell.ring_all();
                let _ = deaf.join();
            });
            assert!(took < LONG);
        });
    }
}

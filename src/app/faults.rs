//! The program's own threads: their faults, and their end. A thread that must go on does, after a panic,
//! with what it held taken up again; but when that happens again and again, more is wrong than that
//! thread can tell, and a fresh process knows nothing of it.

use super::App;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// So many faults within [`WITHIN_MS`] end the program.
const FAULTS_MAX: usize = 5;

/// How long a fault counts.
const WITHIN_MS: u64 = 60_000;

/// Pause of a thread after a fault, so that one which comes again at once keeps nobody busy until the
/// program has ended of it.
const PAUSE: Duration = Duration::from_millis(100);

/// How often it is looked whether threads have ended, once they should.
const END_LOOK_EVERY: Duration = Duration::from_millis(5);

/// The last faults of threads that went on.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<u64>>);

impl Faults {
    fn note(&self, now_ms: u64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if are_too_many(&last) {
            return;
        }
        if last.len() == FAULTS_MAX {
            last.pop_front();
        }
        last.push_back(now_ms);
    }

    fn are_too_many(&self) -> bool {
        are_too_many(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn are_too_many(last: &VecDeque<u64>) -> bool {
    last.len() == FAULTS_MAX
        && (last.front().zip(last.back()))
            .is_some_and(|(first, last)| last.saturating_sub(*first) <= WITHIN_MS)
}

impl App {
    /// Counts a fault after which a thread of the program went on. One that ended a request, a
    /// command or a try of a sender, and nothing else, is none of them: whoever can cause one must
    /// not be able to end the program.
    pub fn note_fault(&self) {
        self.faults.note(self.clock.steady_ms());
    }

    /// Whether there were ever so many in so short a time that the program should end.
    pub fn has_too_many_faults(&self) -> bool {
        self.faults.are_too_many()
    }
}

/// Does the work of a thread that must go on: after a panic, which the app of that moment counts, it
/// begins again. What it remembers must be whole at every moment.
pub fn go_on_after_faults<T>(app: impl Fn() -> Arc<App>, mut work: impl FnMut() -> T) -> T {
    loop {
        match catch_unwind(AssertUnwindSafe(&mut work)) {
            Ok(done) => return done,
            Err(_) => {
                let thread = thread::current();
                let thread = thread.name().unwrap_or("?");
                tracing::error!(thread, "a thread failed unexpectedly; it goes on");
                app().note_fault();
                thread::sleep(PAUSE);
            }
        }
    }
}

/// Waits until these have ended, but not beyond `deadline`; says whether they have. They are looked at
/// and not joined, which would need a thread for each: it may be that the system starts none any more.
pub fn have_ended(mut threads: Vec<JoinHandle<()>>, deadline: Instant) -> bool {
    loop {
        threads.retain(|thread| !thread.is_finished());
        if threads.is_empty() || Instant::now() >= deadline {
            return threads.is_empty();
        }
        thread::park_timeout(END_LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_faults_in_a_minute_are_too_many_and_stay_so() {
        let faults = Faults::default();
        for second in [0, 30, 60, 90, 120, 150, 180, 185, 190] {
            faults.note(second * 1_000);
            assert!(!faults.are_too_many(), "{second}");
        }
        faults.note(195_000);
        assert!(faults.are_too_many());
        faults.note(1_000_000);
        assert!(faults.are_too_many());
    }
}

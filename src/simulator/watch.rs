//! Wakes whoever waits for something to happen in the outside world.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A counter of changes that can be waited on. Every stand-in touches the same one.
#[derive(Debug, Default)]
pub struct Watch {
    version: Mutex<u64>,
    changed: Condvar,
}

impl Watch {
    /// How many changes there were so far.
    pub fn version(&self) -> u64 {
        *lock(&self.version)
    }

    /// Something changed.
    pub fn touch(&self) {
        *lock(&self.version) += 1;
        self.changed.notify_all();
    }

    /// Waits at most `within` until there were more changes than `seen`; says how many there are.
    pub fn wait_past(&self, seen: u64, within: Duration) -> u64 {
        let guard = lock(&self.version);
        let (guard, _) = self
            .changed
            .wait_timeout_while(guard, within, |version| *version <= seen)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }

    /// Asks `question` now and after every change until it has an answer, at most `within`.
    /// The question must not hold a lock that somebody needs who touches.
    pub fn wait_for<T>(
        &self,
        within: Duration,
        mut question: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + within;
        loop {
            // The version is read before the question: a change in between ends the wait at once.
            let seen = self.version();
            if let Some(answer) = question() {
                return Some(answer);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            self.wait_past(seen, left);
        }
    }
}

/// The stand-ins keep plain records: after a panic elsewhere they are still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// `count` random bytes.
pub(super) fn random_bytes(count: usize) -> Vec<u8> {
    let mut buffer = vec![0; count];
    // The operating system's generator does not fail after start-up (getrandom(2)).
    getrandom::fill(&mut buffer).expect("the system has random numbers");
    buffer
}

/// `count` random bytes as lower-case hex.
pub(super) fn random_hex(count: usize) -> String {
    let bytes = random_bytes(count);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_change_between_question_and_wait_is_not_missed() {
        let watch = Arc::new(Watch::default());
        let other = watch.clone();
        let mut asked = 0;
        let answer = watch.wait_for(Duration::from_secs(60), || {
            asked += 1;
            if asked == 1 {
                other.touch();
            }
            (asked == 2).then_some("seen")
        });
        assert_eq!(answer, Some("seen"));
        assert!(watch.wait_for(Duration::ZERO, || None::<()>).is_none());
    }
}

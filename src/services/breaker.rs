//! Leaves a service alone that fails again and again.

use crate::domain::time::{SECOND_MS, Timestamp};

/// Failures in a row after which the service is left alone.
pub const FAILURES_MAX: u32 = 5;

/// How long it is left alone before one call tries again.
pub const REST_MS: u64 = 30 * SECOND_MS;

/// Longest pause that a service is granted when it asks for one.
pub const PAUSE_MS_MAX: u64 = 60 * SECOND_MS;

/// What became of the latest calls to one service.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    failures_in_a_row: u32,
    resting_since: Option<Timestamp>,
    /// Since when the service wants a pause, and how long.
    pause: Option<(Timestamp, u64)>,
    last_answer: Option<Timestamp>,
    last_failure: Option<(Timestamp, String)>,
}

/// How a service is doing, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// 0 when the latest call was answered.
    pub failures_in_a_row: u32,
    /// Set while the service is left alone: when it is tried again.
    pub next_try: Option<Timestamp>,
    /// The latest call that was answered.
    pub last_answer: Option<Timestamp>,
    /// The latest call that was not, and why; nothing personal.
    pub last_failure: Option<(Timestamp, String)>,
}

impl Health {
    /// How it is doing in both: of each the worse, and of each moment the later.
    pub(super) fn and(self, other: Health) -> Health {
        let at = |failure: &Option<(Timestamp, String)>| failure.as_ref().map(|(at, _)| *at);
        Health {
            failures_in_a_row: self.failures_in_a_row.max(other.failures_in_a_row),
            next_try: self.next_try.max(other.next_try),
            last_answer: self.last_answer.max(other.last_answer),
            last_failure: if at(&other.last_failure) > at(&self.last_failure) {
                other.last_failure
            } else {
                self.last_failure
            },
        }
    }
}

impl Breaker {
    /// Whether a call may be made now. After the rest exactly one caller hears yes; the rest then
    /// begins anew, so a trial call that never returns blocks nobody for longer than that.
    pub(super) fn admits(&mut self, now: Timestamp) -> bool {
        if self.rest_left_ms(now) > 0 {
            return false;
        }
        if self.resting_since.is_some() {
            self.resting_since = Some(now);
        }
        true
    }

    /// How long it is still left alone; 0 when it is not.
    pub(super) fn rest_left_ms(&self, now: Timestamp) -> u64 {
        left_ms(self.resting_since, REST_MS, now)
    }

    /// The service asked for a pause. Until it is over no token is asked for; the questions that
    /// a person in the chat waits for still are.
    pub(super) fn pause(&mut self, now: Timestamp, ms: u64) {
        self.pause = Some((now, ms.min(PAUSE_MS_MAX)));
    }

    /// How long the pause still lasts; 0 when there is none.
    pub(super) fn pause_left_ms(&self, now: Timestamp) -> u64 {
        self.pause
            .map_or(0, |(since, ms)| left_ms(Some(since), ms, now))
    }

    /// The service answered: everything before is forgiven.
    pub(super) fn answered(&mut self, now: Timestamp) {
        self.failures_in_a_row = 0;
        self.resting_since = None;
        self.last_answer = Some(now);
    }

    /// The service did not answer, or answered nonsense.
    pub(super) fn failed(&mut self, now: Timestamp, reason: &str) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.last_failure = Some((now, reason.to_owned()));
        if self.failures_in_a_row >= FAILURES_MAX {
            self.resting_since = Some(now);
        }
    }

    pub(super) fn health(&self) -> Health {
        Health {
            failures_in_a_row: self.failures_in_a_row,
            next_try: self.resting_since.map(|since| since.plus_ms(REST_MS)),
            last_answer: self.last_answer,
            last_failure: self.last_failure.clone(),
        }
    }
}

fn left_ms(since: Option<Timestamp>, lasts_ms: u64, now: Timestamp) -> u64 {
    match since {
        // A clock that was set back must not prolong it.
        Some(since) if now >= since => lasts_ms.saturating_sub(now.since_ms(since)),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const START: Timestamp = Timestamp(1_800_000_000_000);

    fn open() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admits(START));
            breaker.failed(START, "500");
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES_MAX - 1 {
            breaker.failed(START, "500");
        }
        assert!(breaker.admits(START));
        breaker.answered(START);
        for _ in 0..FAILURES_MAX - 1 {
            breaker.failed(START, "500");
        }
        assert!(
            breaker.admits(START),
            "an answer in between starts the count anew"
        );
        breaker.failed(START, "500");
        assert!(!breaker.admits(START));
        assert_eq!(breaker.health().next_try, Some(START.plus_ms(REST_MS)));
    }

    #[test]
    fn after_the_rest_one_call_tries_and_its_answer_closes_it() {
        let mut breaker = open();
        let later = START.plus_ms(REST_MS);
        assert!(!breaker.admits(later.minus_ms(1)));
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later), "only one");
        breaker.answered(later);
        assert!(breaker.admits(later) && breaker.admits(later));
        assert_eq!(breaker.health().failures_in_a_row, 0);
        assert_eq!(breaker.health().next_try, None);
    }

    #[test]
    fn a_failed_trial_begins_another_rest() {
        let mut breaker = open();
        let later = START.plus_ms(REST_MS);
        assert!(breaker.admits(later));
        breaker.failed(later, "timeout");
        assert!(!breaker.admits(later.plus_ms(REST_MS - 1)));
        assert!(breaker.admits(later.plus_ms(REST_MS)));
    }

    #[test]
    fn a_trial_that_never_returns_is_followed_by_another() {
        let mut breaker = open();
        assert!(breaker.admits(START.plus_ms(REST_MS)));
        assert!(breaker.admits(START.plus_ms(2 * REST_MS)));
    }

    #[test]
    fn a_pause_lasts_as_long_as_was_asked_and_no_longer_than_is_granted() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.pause_left_ms(START), 0);
        breaker.pause(START, 7_000);
        assert_eq!(breaker.pause_left_ms(START.plus_ms(6_999)), 1);
        assert_eq!(breaker.pause_left_ms(START.plus_ms(7_000)), 0);
        assert_eq!(breaker.pause_left_ms(START.minus_ms(1)), 0, "set back");
        breaker.pause(START, u64::MAX);
        assert_eq!(breaker.pause_left_ms(START), PAUSE_MS_MAX);
        assert!(breaker.admits(START), "other questions may be asked");
    }

    #[test]
    fn how_long_it_is_left_alone_can_be_said() {
        let mut breaker = open();
        assert_eq!(breaker.rest_left_ms(START.plus_ms(1_000)), REST_MS - 1_000);
        assert!(breaker.admits(START.plus_ms(REST_MS)));
        assert_eq!(breaker.rest_left_ms(START.plus_ms(REST_MS)), REST_MS);
        breaker.answered(START);
        assert_eq!(breaker.rest_left_ms(START), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_prolong_the_rest() {
        let mut breaker = open();
        assert!(breaker.admits(START.minus_ms(1)));
    }
}

//! What strangers can bring about as often as they like is told once a minute, with how often it was.

use crate::domain::time::{MINUTE_MS, Timestamp};
use std::sync::{Mutex, PoisonError};

/// Between two lines about the same.
const REMIND_EVERY_MS: u64 = MINUTE_MS;

/// Something to tell the operator, but not each time that it happens.
#[derive(Default)]
pub(super) struct Reminder(Mutex<Reminded>);

#[derive(Default)]
struct Reminded {
    told_at: Option<Timestamp>,
    /// How often it happened since.
    untold: u64,
}

impl Reminder {
    /// It happened: says how often since it was last told, if that is a while ago; then it counts as
    /// told.
    pub(super) fn due(&self, now: Timestamp) -> Option<u64> {
        let mut reminded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reminded.untold = reminded.untold.saturating_add(1);
        reminded.told_if_due(now)
    }

    /// How often it happened since it was last told, if it did and that is a while ago; then it counts
    /// as told. Whoever asks often leaves nothing untold that has stopped happening.
    pub(super) fn rest_due(&self, now: Timestamp) -> Option<u64> {
        let mut reminded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reminded.told_if_due(now)
    }

    /// The same without a wait: nobody will ask again.
    pub(super) fn last_rest(&self) -> Option<u64> {
        let mut reminded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reminded.told()
    }
}

impl Reminded {
    fn told_if_due(&mut self, now: Timestamp) -> Option<u64> {
        // A clock that was set back waits for nothing.
        let is_fresh = |at: Timestamp| at <= now && now.since_ms(at) < REMIND_EVERY_MS;
        if self.untold == 0 || self.told_at.is_some_and(is_fresh) {
            return None;
        }
        self.told_at = Some(now);
        self.told()
    }

    fn told(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.untold)).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_once_a_minute_with_how_often_it_was() {
        let reminder = Reminder::default();
        let seconds = [0, 1, 2, 59, 60, 61, 300, 301];
        let told = seconds.map(|second| reminder.due(Timestamp(second * 1_000)));
        let (one, four, two) = (Some(1), Some(4), Some(2));
        assert_eq!(told, [one, None, None, None, four, None, two, None]);
    }

    #[test]
    fn what_has_stopped_is_told_to_the_last_within_a_minute_and_in_no_minute_twice() {
        // By second, how often: a burst, silence, one alone, a flood of minutes, and one at the end.
        let bursts = [(5, 30), (9, 1), (200, 1), (400, 3), (461, 2), (470, 9)];
        let flood = (600..800).map(|second| (second, 7));
        let all: Vec<(u64, u64)> = bursts.into_iter().chain(flood).chain([(999, 4)]).collect();
        let happened_by = |second| -> u64 {
            let before = all.iter().filter(|(at, _)| *at <= second);
            before.map(|(_, count)| count).sum()
        };
        let reminder = Reminder::default();
        let mut lines: Vec<(u64, u64)> = Vec::new();
        for second in 0..1_100 {
            let now = Timestamp(second * 1_000);
            for (_, count) in all.iter().filter(|(at, _)| *at == second) {
                lines.extend((0..*count).filter_map(|_| Some((second, reminder.due(now)?))));
            }
            lines.extend(reminder.rest_due(now).map(|count| (second, count)));
            let told: u64 = lines.iter().map(|(_, count)| count).sum();
            assert!(told <= happened_by(second), "{second}: {lines:?}");
            if let Some(a_minute_before) = second.checked_sub(60) {
                assert!(told >= happened_by(a_minute_before), "{second}: {lines:?}");
            }
        }
        for pair in lines.windows(2) {
            assert!(pair[1].0 - pair[0].0 >= 60, "{lines:?}");
        }
        assert_eq!(reminder.last_rest(), None);
        // One more, and the end of the program.
        let end = Timestamp(1_200_000);
        let told: Vec<u64> = (0..3).filter_map(|_| reminder.due(end)).collect();
        assert_eq!((told, reminder.rest_due(end)), (vec![1], None));
        assert_eq!(
            (reminder.last_rest(), reminder.last_rest()),
            (Some(2), None)
        );
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_nothing_untold() {
        let reminder = Reminder::default();
        let told = [100_000, 100_001, 1].map(|second| reminder.due(Timestamp(second * 1_000)));
        assert_eq!(told, [Some(1), None, Some(2)]);
    }
}

//! Why something could not be delivered, and what becomes of it then.

use super::delivery::{Entry, Lane};
use super::time::{SECOND_MS, Timestamp};

/// Why an attempt to deliver failed, as far as the next step depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do next.
    pub kind: FailureKind,
    /// For the operator: a code and a few words, nothing personal.
    pub reason: String,
    /// The one thing the operator can do, when there is one.
    pub advice: Option<&'static str>,
}

/// What a failure means for the entry and for its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// May work later; the other side may have asked for a pause.
    Temporary {
        /// Wait at least this long, when the other side said so.
        retry_after_ms: Option<u64>,
    },
    /// The other side met an error that it does not explain: it may pass, or be about the message, so
    /// that is repeated so often at most, tries that failed otherwise not counted. Not taken.
    Unexplained {
        /// How often.
        repeats_max: u32,
        /// Wait at least this long, when the other side said so.
        retry_after_ms: Option<u64>,
    },
    /// May work later, and concerns this recipient alone: a full mailbox, greylisting.
    RecipientForNow,
    /// The request left and no answer came: it may have been taken.
    Unknown,
    /// This recipient cannot be reached; nobody else is affected, no retry.
    Recipient,
    /// Refused for good: retrying the same bytes cannot help.
    Permanent,
    /// Token, permission, account or payment: the whole lane pauses until an operator acts.
    Configuration,
    /// Refused because of how much was sent, whoever it was for: the lane pauses for as long as was
    /// asked, and tries with one entry at a time. Not taken.
    Throttled {
        /// How long.
        pause_ms: u64,
    },
    /// The other side as such does not answer, whatever is sent to it: the lane pauses and tries
    /// with one entry at a time. Known not to have arrived.
    Unreachable,
}

impl Failure {
    /// A failure that may pass by itself.
    pub fn temporary(reason: impl Into<String>) -> Failure {
        Failure {
            kind: FailureKind::Temporary {
                retry_after_ms: None,
            },
            reason: reason.into(),
            advice: None,
        }
    }
}

/// A wait before the other side of an unknown attempt may have told us how it ended: a status
/// webhook with our tag (Meta's contract, section 3.7).
pub const UNKNOWN_WAIT_MS: u64 = 60 * SECOND_MS;

/// Unknown attempts after which a message or a mail is given up: one repeat is harmless,
/// three are not.
pub const UNKNOWN_MAX: u32 = 2;

/// The last repetition of what met an unexplained error comes this much later: a bad moment of the
/// other side is outlived.
pub const UNEXPLAINED_WAIT_MS: u64 = 60 * SECOND_MS;

/// Tries of one message for the bot, about an hour's worth, after which the next ones come more
/// rarely.
const BOT_PATIENT_ATTEMPTS: u32 = 60;

/// Shortest pause of a lane whose settings are wrong; its first entry then tries again.
pub const PAUSE_MS: u64 = 30 * SECOND_MS;

/// Of a longer pause that was asked for, this much decides how far its end is moved.
const ASKED_MS_SPREAD_MAX: u64 = 300 * SECOND_MS;

/// What becomes of an entry after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again, not before this.
    RetryAt(Timestamp),
    /// It ends here.
    GiveUp,
}

impl Entry {
    /// Counts a failed try of which [`after_failure`] said that another one follows.
    pub fn count(&mut self, failed: FailureKind) {
        match failed {
            FailureKind::Unknown => self.unknown += 1,
            FailureKind::Unexplained { .. } => self.unexplained += 1,
            FailureKind::Temporary { .. }
            | FailureKind::RecipientForNow
            | FailureKind::Recipient
            | FailureKind::Permanent
            | FailureKind::Configuration
            | FailureKind::Throttled { .. }
            | FailureKind::Unreachable => {}
        }
    }
}

/// Decides about an entry whose attempt failed now. `jitter` is any number; it moves the moment by
/// up to a fifth so that what failed together does not come back together, and never before what
/// the other side asked for.
pub fn after_failure(entry: &Entry, failure: &Failure, now: Timestamp, jitter: u8) -> Next {
    let lane = entry.errand.lane();
    let not_before_ms = |asked_ms: Option<u64>| {
        asked_ms.map_or(0, |ms| {
            ms.saturating_add(spread_ms(ms.min(ASKED_MS_SPREAD_MAX), jitter))
        })
    };
    let pause_ms = match failure.kind {
        FailureKind::Recipient | FailureKind::Permanent => return Next::GiveUp,
        FailureKind::Unexplained { repeats_max, .. } if entry.unexplained >= repeats_max => {
            return Next::GiveUp;
        }
        FailureKind::Unexplained {
            repeats_max,
            retry_after_ms,
        } => {
            let usual_ms = match entry.unexplained + 1 == repeats_max {
                true => UNEXPLAINED_WAIT_MS + spread_ms(UNEXPLAINED_WAIT_MS, jitter),
                false => backoff_ms(lane, entry.attempts, jitter),
            };
            usual_ms.max(not_before_ms(retry_after_ms))
        }
        FailureKind::Unknown
            if matches!(lane, Lane::Chat | Lane::Mail) && entry.unknown + 1 >= UNKNOWN_MAX =>
        {
            return Next::GiveUp;
        }
        FailureKind::Unknown if lane == Lane::Chat => UNKNOWN_WAIT_MS,
        FailureKind::Configuration => PAUSE_MS,
        // The pause of the lane decides.
        FailureKind::Unreachable | FailureKind::Throttled { .. } => 0,
        FailureKind::Temporary { retry_after_ms } => {
            backoff_ms(lane, entry.attempts, jitter).max(not_before_ms(retry_after_ms))
        }
        // The same mail with the same Message-ID is harmless twice, the same question always.
        FailureKind::Unknown | FailureKind::RecipientForNow => {
            backoff_ms(lane, entry.attempts, jitter)
        }
    };
    let at = now.plus_ms(pause_ms);
    if at < entry.expires_at {
        Next::RetryAt(at)
    } else {
        Next::GiveUp
    }
}

fn backoff_ms(lane: Lane, attempts: u32, jitter: u8) -> u64 {
    let (first_ms, factor, max_ms): (u64, u64, u64) = match lane {
        // 4^n seconds is what Meta asks for after 131056.
        Lane::Chat => (SECOND_MS, 4, 60 * SECOND_MS),
        // With what chance adds less than a minute after whoever made us wait takes it.
        Lane::Mail => (5 * SECOND_MS, 3, 54 * SECOND_MS),
        Lane::Services => (SECOND_MS, 2, 15 * SECOND_MS),
        // For as long as a mended bot should have to wait for what it refused, and not longer than
        // a message that it never takes should cost.
        Lane::Bot | Lane::Events if attempts > BOT_PATIENT_ATTEMPTS => {
            (SECOND_MS, 2, 600 * SECOND_MS)
        }
        Lane::Bot | Lane::Events => (SECOND_MS, 2, 60 * SECOND_MS),
    };
    let tries_before = attempts.saturating_sub(1).min(16);
    let pause_ms = first_ms
        .saturating_mul(factor.saturating_pow(tries_before))
        .min(max_ms);
    pause_ms - pause_ms / 10 + spread_ms(pause_ms, jitter)
}

/// 0 to a fifth of a pause.
fn spread_ms(pause_ms: u64, jitter: u8) -> u64 {
    pause_ms * u64::from(jitter) / (5 * u64::from(u8::MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::delivery::{ChatMessage, EntryId, Errand, Recipient};
    use crate::domain::id::{ChallengeId, ContactId, EmailAddress, WaId};

    fn entry(errand: Errand, attempts: u32) -> Entry {
        Entry {
            id: EntryId(7),
            contact: ContactId([1; 16]),
            errand,
            created_at: Timestamp(0),
            expires_at: Timestamp(600 * SECOND_MS),
            not_before: Timestamp(0),
            attempts,
            unknown: 0,
            unexplained: 0,
            hushed: false,
            last_failure: None,
            in_flight_since: None,
        }
    }

    fn chat() -> Errand {
        let to = Recipient::Number(WaId::parse("573001234567").unwrap());
        let message = ChatMessage {
            body: "hi".into(),
            buttons: Vec::new(),
            link: None,
        };
        Errand::Chat {
            to,
            message,
            sentence: "welcome".into(),
        }
    }

    /// After each of these failures of one message.
    fn pauses_s<const N: usize>(row: [FailureKind; N]) -> [Option<u64>; N] {
        let mut entry = entry(chat(), 0);
        row.map(|kind| {
            entry.attempts += 1;
            let pause = pause_s(&entry, kind);
            entry.count(kind);
            pause
        })
    }

    fn pause_s(entry: &Entry, kind: FailureKind) -> Option<u64> {
        let failure = Failure {
            kind,
            reason: String::new(),
            advice: None,
        };
        match after_failure(entry, &failure, Timestamp(0), 127) {
            Next::RetryAt(at) => Some((at.0 + 500) / SECOND_MS),
            Next::GiveUp => None,
        }
    }

    #[test]
    fn temporary_failures_are_retried_with_growing_pauses() {
        let temporary = FailureKind::Temporary {
            retry_after_ms: None,
        };
        let pauses = |errand: &Errand| -> Vec<u64> {
            (1..=5)
                .filter_map(|attempts| pause_s(&entry(errand.clone(), attempts), temporary))
                .collect()
        };
        assert_eq!(pauses(&chat()), [1, 4, 16, 60, 60]);
        assert_eq!(
            pauses(&Errand::PretendMail {
                challenge: ChallengeId([0; 16])
            }),
            [5, 15, 45, 54, 54]
        );
    }

    #[test]
    fn a_pause_that_was_asked_for_is_kept_and_its_end_is_spread() {
        let pause_ms = |asked_ms, jitter| {
            let kind = FailureKind::Temporary {
                retry_after_ms: Some(asked_ms),
            };
            let failure = Failure {
                kind,
                ..Failure::temporary("")
            };
            match after_failure(&entry(chat(), 1), &failure, Timestamp(0), jitter) {
                Next::RetryAt(at) => at.0,
                Next::GiveUp => u64::MAX,
            }
        };
        assert_eq!(
            [0, 255].map(|jitter| pause_ms(90_000, jitter)),
            [90_000, 108_000]
        );
        // The usual pause is longer.
        assert_eq!(pause_ms(10, 0), 900);
        // Longer than the entry lives.
        assert_eq!(pause_ms(u64::MAX, 255), u64::MAX);
    }

    #[test]
    fn jitter_moves_a_retry_by_a_tenth_either_way() {
        let pauses: Vec<u64> = [0, 255]
            .iter()
            .map(|jitter| backoff_ms(Lane::Chat, 4, *jitter))
            .collect();
        assert_eq!(pauses, [54_000, 66_000]);
    }

    #[test]
    fn an_entry_is_given_up_when_its_next_try_would_come_too_late() {
        let mut late = entry(chat(), 1);
        late.expires_at = Timestamp(500);
        assert_eq!(
            pause_s(
                &late,
                FailureKind::Temporary {
                    retry_after_ms: None
                }
            ),
            None
        );
    }

    /// Meta's contract, section 5: code 1 is repeated once, 131000 twice.
    #[test]
    fn what_met_an_unexplained_error_is_repeated_as_often_as_it_may_be() {
        let pauses = |repeats_max, asked_s: Option<u64>| {
            let kind = FailureKind::Unexplained {
                repeats_max,
                retry_after_ms: asked_s.map(|seconds| seconds * SECOND_MS),
            };
            pauses_s([kind; 4])
        };
        assert_eq!(pauses(1, None), [Some(66), None, None, None]);
        assert_eq!(pauses(2, None), [Some(1), Some(66), None, None]);
        assert_eq!(pauses(2, Some(100)), [Some(110), Some(110), None, None]);
    }

    #[test]
    fn what_failed_otherwise_takes_no_repetition_from_the_unexplained() {
        let retry_after_ms = None;
        let error = FailureKind::Temporary { retry_after_ms };
        let unexplained = |repeats_max| FailureKind::Unexplained {
            repeats_max,
            retry_after_ms,
        };
        let (once, twice) = (unexplained(1), unexplained(2));
        assert_eq!(
            pauses_s([error, error, error, twice, twice, twice]),
            [Some(1), Some(4), Some(16), Some(60), Some(66), None]
        );
        // What comes between forgives nothing.
        let throttled = FailureKind::Throttled { pause_ms: 0 };
        let row = [twice, throttled, twice, error, twice];
        assert_eq!(pauses_s(row), [Some(1), Some(0), Some(66), Some(60), None]);
        // All that was not explained counts together.
        assert_eq!(pauses_s([twice, once]), [Some(1), None]);
    }

    #[test]
    fn what_cannot_work_is_not_tried_again() {
        for kind in [FailureKind::Recipient, FailureKind::Permanent] {
            assert_eq!(pause_s(&entry(chat(), 1), kind), None);
        }
    }

    #[test]
    fn an_unknown_send_waits_for_its_status_and_is_repeated_once() {
        let mut unknown = entry(chat(), 1);
        assert_eq!(pause_s(&unknown, FailureKind::Unknown), Some(60));
        unknown.unknown = 1;
        assert_eq!(pause_s(&unknown, FailureKind::Unknown), None);
    }

    #[test]
    fn a_mail_of_unknown_fate_is_repeated_once() {
        let mut unknown = entry(
            Errand::MailCode {
                challenge: ChallengeId([0; 16]),
                to: EmailAddress::parse("ana@example.com").unwrap(),
            },
            1,
        );
        assert_eq!(pause_s(&unknown, FailureKind::Unknown), Some(5));
        unknown.unknown = 1;
        assert_eq!(pause_s(&unknown, FailureKind::Unknown), None);
    }
}

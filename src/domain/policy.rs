//! The limits of the conversation, as configured.

use super::id::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// Every limit that a decision depends on. [`Policy::default`] is what the documentation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Digits of a one-time code.
    pub code_digits: usize,
    /// How long a code can be used.
    pub code_lifetime_ms: u64,
    /// Wrong codes after which a code is dead.
    pub tries_per_code: u32,
    /// Wrong codes in any 24 hours, per contact and per address; survives resend and restart.
    pub failures_per_day: u32,
    /// Wrong codes in any 24 hours over everybody; beyond it no new codes are made.
    pub failures_per_day_in_all: u32,
    /// Shortest time between two codes for one address in one chat.
    pub resend_after_ms: u64,
    /// Codes in any hour, per address over all contacts and per contact.
    pub mails_per_hour: u32,
    /// Codes in any 24 hours, per address over all contacts and per contact.
    pub mails_per_day: u32,
    /// Older messages neither start nor finish a sign-in (S-04).
    pub message_age_max_ms: u64,
    /// A binding ends after this long without a message (S-62).
    pub binding_idle_ms: u64,
    /// A binding ends this long after it was made, when set.
    pub binding_age_max_ms: Option<u64>,
    /// Replies of Portero's own in any hour, per contact.
    pub replies_per_hour: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            code_digits: 8,
            code_lifetime_ms: 10 * MINUTE_MS,
            tries_per_code: 5,
            failures_per_day: 10,
            failures_per_day_in_all: 500,
            resend_after_ms: 60 * SECOND_MS,
            mails_per_hour: 5,
            mails_per_day: 20,
            message_age_max_ms: 10 * MINUTE_MS,
            binding_idle_ms: 90 * DAY_MS,
            binding_age_max_ms: None,
            replies_per_hour: 30,
        }
    }
}

impl Policy {
    /// The window of everything counted per hour.
    pub const HOUR_MS: u64 = HOUR_MS;
    /// The window of everything counted per day.
    pub const DAY_MS: u64 = DAY_MS;
}

//! A one-time code in flight.

use super::account::Account;
use super::id::{ChallengeId, EmailAddress};
use super::policy::Policy;
use super::time::Timestamp;

/// One attempt to prove a mailbox. An address that nobody has gets one just like it (S-19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// Names it; the code is derived from it and never stored.
    pub id: ChallengeId,
    /// The address as it was typed.
    pub address: EmailAddress,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// From here on the code is refused.
    pub expires_at: Timestamp,
    /// Wrong codes so far.
    pub wrong: u32,
    /// What the services know.
    pub sought: Sought,
}

/// What the services know about the address of a challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    /// They have not all answered yet.
    Asking,
    /// Accounts with this address; the code is mailed to the address on file.
    Found(Vec<Account>),
    /// Nobody has it, or a limit forbids a mail: every code is wrong.
    Nobody,
}

impl Challenge {
    /// A new challenge; its clock starts now.
    pub fn new(
        id: ChallengeId,
        address: EmailAddress,
        sought: Sought,
        now: Timestamp,
        policy: &Policy,
    ) -> Challenge {
        Challenge {
            id,
            address,
            asked_at: now,
            expires_at: now.plus_ms(policy.code_lifetime_ms),
            wrong: 0,
            sought,
        }
    }

    /// Whether the code can still be used.
    pub fn is_live(&self, now: Timestamp, policy: &Policy) -> bool {
        now < self.expires_at && self.wrong < policy.tries_per_code
    }
}

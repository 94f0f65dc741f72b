//! What the operations count, for whoever watches. It begins anew with each start.

use super::tokens::TokenAnswer;
use super::{App, Failed, Need};
use crate::domain::delivery::{EntryId, Lane};
use crate::domain::time::Timestamp;
use crate::metrics::{Counter, Counters, Durations};
use crate::store::{StoreError, record};
use std::sync::atomic::AtomicBool;

/// Everything that is counted here.
#[derive(Debug)]
pub struct Counted {
    /// What happened with sign-ins, by the names of the audit.
    pub sign_ins: Counters<24>,
    /// What was given up, in the order of [`Lane::ALL`].
    pub dead: [Counter; Lane::ALL.len()],
    /// Transactions.
    pub updates: Counters<2>,
    /// Whether the disk or the file refused the last one; nobody has looked since.
    pub is_refused: AtomicBool,
    /// How long one takes, the wait for its turn and its commit included.
    pub update_durations: Durations,
    /// What became of questions for tokens.
    pub tokens: Counters<13>,
    /// Where a token was found.
    pub token_places: Counters<4>,
    /// Calls for a token at the service.
    pub token_calls: Counters<2>,
}

impl Default for Counted {
    fn default() -> Counted {
        Counted {
            sign_ins: Counters::new([
                "code.asked",
                "code.wrong",
                "code.forwarded",
                "sign_in.limited",
                "sign_in.paused",
                "link.sent",
                "link.burned",
                "link.declined",
                "link.mismatch",
                "password.wrong",
                "password.right",
                "account.refused",
                "contact.bound",
                "proof.asked",
                "contact.released.logged_out",
                "contact.released.idle",
                "contact.released.aged",
                "contact.released.identity_key_changed",
                "contact.released.number_changed",
                "contact.released.conflict",
                "contact.released.operator",
                "contact.released.undone",
                "contact.released.replaced",
                "contact.released.bot",
            ]),
            dead: Default::default(),
            updates: Counters::new(["done", "failed"]),
            is_refused: AtomicBool::new(false),
            update_durations: Durations::default(),
            tokens: Counters::new([
                "handed_out",
                "sign_in_needed",
                "step_up_needed",
                "ambiguous",
                "scope_too_wide",
                "no_such_service",
                "no_such_contact",
                "no_such_account",
                "account_gone",
                "unavailable",
                "busy",
                "failed",
                "other",
            ]),
            token_places: Counters::new(["held", "waited_for", "asked_for", "none"]),
            token_calls: Counters::new(["issued", "failed"]),
        }
    }
}

/// What became of a question for a token.
pub(super) fn token_result(answer: &Result<TokenAnswer, Failed>) -> &'static str {
    match answer {
        Ok(TokenAnswer::Token { .. }) => "handed_out",
        Ok(TokenAnswer::Need { need, .. }) => match need {
            Need::SignIn => "sign_in_needed",
            Need::StepUp => "step_up_needed",
        },
        Ok(TokenAnswer::Ambiguous(_)) => "ambiguous",
        Ok(TokenAnswer::ScopeTooWide) => "scope_too_wide",
        Ok(TokenAnswer::NoSuchService) => "no_such_service",
        Ok(TokenAnswer::NoSuchContact) => "no_such_contact",
        Ok(TokenAnswer::NoSuchAccount) => "no_such_account",
        Ok(TokenAnswer::AccountGone) => "account_gone",
        Ok(TokenAnswer::Unavailable { .. }) => "unavailable",
        Ok(TokenAnswer::Busy) => "busy",
        Err(_) => "failed",
    }
}

impl App {
    /// What was counted since the start.
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// When the oldest entry of a lane was made.
    pub fn oldest_waiting(&self, lane: Lane) -> Result<Option<Timestamp>, StoreError> {
        let none: Option<EntryId> = None;
        let oldest = (self.shared.store).view(|reader| record::entries(reader, lane, none, 1))?;
        Ok(oldest.first().map(|entry| entry.created_at))
    }
}

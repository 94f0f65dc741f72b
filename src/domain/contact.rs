//! One person as WhatsApp shows them to this business, and all that is known about them.

use super::binding::{Binding, ReleaseReason, Scope};
use super::budget::Budget;
use super::challenge::Challenge;
use super::delivery::Recipient;
use super::id::{Bsuid, ContactId, EmailAddress, IdentityKey, MessageId, ServiceName, WaId};
use super::language::Language;
use super::policy::Policy;
use super::requirement::Requirement;
use super::sign_in::Mapping;
use super::tally::Progress;
use super::time::Timestamp;

/// What is known about a contact: the state that `conversation::step` goes from and to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// `userUuid`.
    pub id: ContactId,
    /// The first alias, when WhatsApp gives one.
    pub bsuid: Option<Bsuid>,
    /// The second alias, when the person shows it.
    pub wa_id: Option<WaId>,
    /// The language Portero answers in.
    pub language: Language,
    /// When the contact was first seen.
    pub created_at: Timestamp,
    /// When the contact last wrote.
    pub last_message_at: Timestamp,
    /// Where the conversation stands.
    pub stage: Stage,
    /// The last link to the sign-in page: a new one takes the place of the old one.
    pub mapping: Option<Mapping>,
    /// The last proof that the bot asked for.
    pub requirement: Option<Requirement>,
    /// Accounts whose owner ended a sign-in of this contact.
    pub barred: Vec<Barred>,
    /// The accounts that were proved.
    pub bindings: Vec<Binding>,
    /// The identity key of the message that proved them.
    pub identity_key: Option<IdentityKey>,
    /// Why the last proof ended, until the person has been told.
    pub released: Option<ReleaseReason>,
    /// The message that waits until we know who wrote it.
    pub kept: Option<Kept>,
    /// Whether to forget this person, when they were asked that.
    pub forget_asked: Option<ForgetAsked>,
    /// Wrong codes.
    pub failures: Budget,
    /// Codes asked for.
    pub codes: Budget,
    /// Replies of Portero's own.
    pub replies: Budget,
    /// Links to the sign-in page.
    pub links: Budget,
    /// Return codes of this contact's links that came from somewhere else.
    pub mismatches: Budget,
    /// How far the sign-in under way has come, for the tally.
    pub progress: Option<Progress>,
}

/// An account that a contact cannot be bound to for a while, because its owner said so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    /// Where the account lives.
    pub service: ServiceName,
    /// The service's own id of the user.
    pub user_id: String,
    /// The service's own id of the company; all of the user's companies if not set.
    pub company_id: Option<String>,
    /// Until when.
    pub until: Timestamp,
}

impl Barred {
    /// Accounts remembered per contact; the oldest is forgotten first.
    pub const MAX: usize = 16;

    /// Whether it keeps the contact from this user at `now`.
    pub fn is_from(&self, binding: &Binding, now: Timestamp) -> bool {
        self.service == binding.service
            && self.user_id == binding.user_id
            && (self.company_id.as_ref()).is_none_or(|id| *id == binding.company.id)
            && now < self.until
    }
}

/// Where a conversation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing was asked, or everything is answered.
    Idle,
    /// The address was asked for.
    AddressAsked {
        /// When.
        at: Timestamp,
    },
    /// The address looks like a slip; which one is it?
    SpellingAsked {
        /// As it was typed.
        typed: EmailAddress,
        /// As it may have been meant.
        suggested: EmailAddress,
        /// Names this question, so that old buttons answer no new one.
        tag: String,
    },
    /// A code may be on its way.
    CodeAwaited(Challenge),
    /// A link to the sign-in page was sent; see [`Contact::mapping`].
    LinkSent,
}

/// The question whether somebody really wishes to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetAsked {
    /// When it was put.
    pub at: Timestamp,
    /// Names this question, so that an old button answers no new one.
    pub tag: String,
}

/// A message that is handed on, at once or when its writer is known. What it says is not looked
/// at: its bytes lie in the store as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Meta's id.
    pub id: MessageId,
    /// When it was sent.
    pub sent_at: Timestamp,
}

impl Contact {
    /// Somebody who was never seen before.
    pub fn new(
        id: ContactId,
        bsuid: Option<Bsuid>,
        wa_id: Option<WaId>,
        language: Language,
        now: Timestamp,
    ) -> Contact {
        Contact {
            id,
            bsuid,
            wa_id,
            language,
            created_at: now,
            last_message_at: now,
            stage: Stage::Idle,
            mapping: None,
            requirement: None,
            barred: Vec::new(),
            bindings: Vec::new(),
            identity_key: None,
            released: None,
            kept: None,
            forget_asked: None,
            failures: Budget::default(),
            codes: Budget::default(),
            replies: Budget::default(),
            links: Budget::default(),
            mismatches: Budget::default(),
            progress: None,
        }
    }

    /// What may be done on the strength of the bindings: no more than the least of them allows.
    pub fn scope(&self, now: Timestamp, policy: &Policy) -> Option<Scope> {
        self.bindings
            .iter()
            .map(|binding| binding.scope(now, policy))
            .min()
    }

    /// Whether an account was proved and the proof still stands.
    pub fn is_bound(&self) -> bool {
        !self.bindings.is_empty()
    }

    /// Why the proofs no longer stand, as far as time alone tells: nobody wrote for too long, or
    /// they are too old. `None` while they stand, or when there are none.
    pub fn outlived(&self, now: Timestamp, policy: &Policy) -> Option<ReleaseReason> {
        let proved_at = || self.bindings.iter().map(|binding| binding.proved_at);
        let (oldest, newest) = (proved_at().min()?, proved_at().max()?);
        let last_sign_of_life = self.last_message_at.max(newest);
        if now.since_ms(last_sign_of_life) > policy.binding_idle_ms {
            Some(ReleaseReason::Idle)
        } else if (policy.binding_age_max_ms).is_some_and(|max| now.since_ms(oldest) > max) {
            Some(ReleaseReason::Aged)
        } else {
            None
        }
    }

    /// Where a message to this contact goes; `None` only for a contact without any name.
    pub fn recipient(&self) -> Option<Recipient> {
        match (&self.wa_id, &self.bsuid) {
            (Some(wa_id), _) => Some(Recipient::Number(wa_id.clone())),
            (None, Some(bsuid)) => Some(Recipient::Bsuid(bsuid.clone())),
            (None, None) => None,
        }
    }

    /// `…34`: the contact as its owner would recognise it; empty when the number is hidden.
    pub fn number_ending(&self) -> Option<&str> {
        self.wa_id.as_ref().map(WaId::ending)
    }
}

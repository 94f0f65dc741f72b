//! What leaves the house, and what became of it.

use super::id::{Bsuid, EmailAddress, WaId};

/// Where a chat message goes (Meta's contract, section 2.6): the number with `+` when the person
/// shows it, else the BSUID in `recipient`. A BSUID never goes into `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// Sent as `to: "+…"`.
    Number(WaId),
    /// Sent as `recipient`.
    Bsuid(Bsuid),
}

/// A chat message, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// At most 4,096 characters, at most 1,024 with buttons.
    pub body: String,
    /// At most three reply buttons.
    pub buttons: Vec<Button>,
}

impl ChatMessage {
    /// Characters of a body without buttons (Meta's contract, section 3.1).
    pub const BODY_CHARS_MAX: usize = 4_096;
    /// Characters of a body with buttons (section 3.3).
    pub const BODY_WITH_BUTTONS_CHARS_MAX: usize = 1_024;
    /// Buttons of a message (section 3.3).
    pub const BUTTONS_MAX: usize = 3;
}

impl std::fmt::Debug for ChatMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ChatMessage({} bytes, {} buttons)",
            self.body.len(),
            self.buttons.len()
        )
    }
}

/// A reply button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// Comes back verbatim; at most 256 characters.
    pub id: String,
    /// What the person sees; at most [`Button::TITLE_CHARS_MAX`], unique within the message.
    pub title: String,
}

impl Button {
    /// Meta's contract, section 3.3.
    pub const TITLE_CHARS_MAX: usize = 20;
}

/// A mail, ready to be sent. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The only recipient.
    pub to: EmailAddress,
    /// One line.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part; no remote content.
    pub html: String,
    /// The left side of the Message-ID, the same on every retry.
    pub id: String,
    /// ISO 639-1, for `Content-Language`.
    pub language: &'static str,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail(..)")
    }
}

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
    /// The request left and no answer came: it may have been taken.
    Unknown,
    /// This recipient cannot be reached; nobody else is affected, no retry.
    Recipient,
    /// Refused for good: retrying the same bytes cannot help.
    Permanent,
    /// Token, permission, account or payment: the whole lane pauses until an operator acts.
    Configuration,
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

//! What arrives through the webhook, after parsing and before anybody has decided anything.

use super::id::{Bsuid, IdentityKey, MessageId, WaId};
use super::time::Timestamp;

/// One thing that the webhook brought, in the order of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookItem {
    /// Somebody wrote to the business.
    Message(Inbound),
    /// The fate of a message of ours.
    Status(StatusUpdate),
    /// A person's account changed hands, number or identity; there is no message to answer.
    IdentityChanged(IdentityChanged),
    /// Meta tells the operator something (`account_update`, `security`, `value.errors[]` …).
    Notice(Notice),
    /// Signed, and not for us or not understood: counted, never an error.
    Ignored(Ignored),
}

/// A message from one person to the business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Meta's id; effects happen once per id.
    pub id: MessageId,
    /// Who wrote.
    pub sender: Sender,
    /// When the person sent it, by Meta's clock; may be days ago after an outage.
    pub sent_at: Timestamp,
    /// What was sent.
    pub content: Content,
    /// How it came, which decides whether it may carry a secret (S-07).
    pub provenance: Provenance,
}

/// The names under which WhatsApp shows a person; at least one is present.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Sender {
    /// The stable key, when the payload has it.
    pub bsuid: Option<Bsuid>,
    /// The number, when the person shows it.
    pub wa_id: Option<WaId>,
    /// Only with the identity check switched on.
    pub identity_key: Option<IdentityKey>,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// Written in this chat by this person.
    Direct,
    /// Written by somebody else and forwarded.
    Forwarded,
    /// From a group.
    Group,
}

/// What a message carries, as far as a sign-in is concerned.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Typed text.
    Text(String),
    /// A tap on a button or list row of ours; the id is untrusted input.
    Button {
        /// As it came back.
        id: String,
    },
    /// Everything else: pictures, places, reactions, edits. Names Meta's type.
    Other(&'static str),
}

impl Content {
    /// Longest text looked at, in bytes; WhatsApp allows 4,096 characters.
    pub const TEXT_BYTES_MAX: usize = 16 * 1024;
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Content::Button { .. } => f.write_str("Button(..)"),
            Content::Other(kind) => write!(f, "Other({kind})"),
        }
    }
}

/// `user_changed_number`, `user_changed_user_id`, `customer_identity_changed`
/// (Meta's contract, section 2.3): verified state is dropped, never moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityChanged {
    /// Meta's id of the notice.
    pub id: MessageId,
    /// When it happened.
    pub at: Timestamp,
    /// The names the person had until now.
    pub before: Sender,
}

/// The fate of a message of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// Meta's id of our message.
    pub id: MessageId,
    /// What happened.
    pub status: Status,
    /// When it happened, by Meta's clock.
    pub at: Timestamp,
    /// To whom the message went; without names when Meta names nobody who could be a person.
    pub recipient: Sender,
    /// Whom of a group it is about, as Meta writes it: told once for each of its members.
    pub participant: Option<String>,
    /// `biz_opaque_callback_data`: the tag that we sent along.
    pub tag: Option<String>,
    /// With [`Status::Failed`]: Meta's error code.
    pub error_code: Option<u32>,
}

/// Statuses in the order in which they supersede one another; they may arrive in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// On its way to the phone.
    Sent,
    /// On the phone.
    Delivered,
    /// Seen by the person.
    Read,
    /// Did not arrive and will not.
    Failed,
}

/// Something for the operator's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The field or error class, for example `account_update` or `error 130429`; capped, no controls.
    pub topic: String,
    /// Meta's event, for example `ACCOUNT_RESTRICTION`; capped, no controls.
    pub event: String,
    /// Whether the business can no longer work as it should.
    pub severe: bool,
}

/// Why an element of a batch was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// For another number of the same app (S-06); the dashboard's *Test* button too.
    ForeignNumber,
    /// A webhook field that Portero has no use for; it may be of use to the bot.
    UnknownField,
    /// A webhook field that Portero has no use for and that carries what people wrote or who they
    /// are: the bot's only if it hears everybody.
    PeoplesField,
    /// No sender who could be answered, no id, or no shape.
    Malformed,
    /// A status that says nothing new, such as `played`; it may be of use to the bot, unless the
    /// message was Portero's own.
    UnknownStatus {
        /// Meta's id of the message.
        id: MessageId,
        /// To whom the message went, as in [`StatusUpdate`].
        recipient: Sender,
        /// `biz_opaque_callback_data`, as in [`StatusUpdate`].
        tag: Option<String>,
    },
}

impl Ignored {
    /// Whether the bot may have the element all the same. What is for another number is not the
    /// bot's, and what could not be read could be anything, a password included.
    pub fn may_be_handed_on(&self) -> bool {
        match self {
            Ignored::UnknownField | Ignored::PeoplesField | Ignored::UnknownStatus { .. } => true,
            Ignored::ForeignNumber | Ignored::Malformed => false,
        }
    }
}

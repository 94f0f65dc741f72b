//! What leaves the house, and what became of it.

use super::id::{Bsuid, ChallengeId, ContactId, EmailAddress, MappingId, MessageId, ProofId, WaId};
use super::language::Language;
use super::time::Timestamp;

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
    /// A button that opens a page; a message with one has no reply buttons (Meta's contract,
    /// section 3.2).
    pub link: Option<Link>,
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
            "ChatMessage({} bytes, {} buttons{})",
            self.body.len(),
            self.buttons.len(),
            if self.link.is_some() { ", a link" } else { "" }
        )
    }
}

/// A button that opens a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What the person sees; at most [`Button::TITLE_CHARS_MAX`].
    pub title: String,
    /// Where it leads.
    pub to: LinkTarget,
}

/// Where a link leads.
#[derive(Clone, PartialEq, Eq)]
pub enum LinkTarget {
    /// The sign-in page of a mapping. Its hash is derived when the message leaves, and is never
    /// stored (S-37).
    SignIn(MappingId),
    /// This address.
    Url(String),
}

impl std::fmt::Debug for LinkTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LinkTarget::SignIn(mapping) => write!(f, "SignIn({mapping:?})"),
            LinkTarget::Url(_) => f.write_str("Url(..)"),
        }
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

/// A webhook body as the bot gets it. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedBody {
    /// Meta's own bytes, or what was cut out of them.
    pub bytes: Vec<u8>,
    /// The value of `X-Hub-Signature-256`.
    pub signature: String,
}

impl std::fmt::Debug for SignedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedBody({} bytes)", self.bytes.len())
    }
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

/// A row of the outbox: what is sent in one piece, by the same means, in order per contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Messages to people, through the Cloud API.
    Chat,
    /// Mails with codes.
    Mail,
    /// Questions to the services.
    Services,
    /// Messages and news, to the bot.
    Bot,
    /// What happened with sign-ins, to whoever wants to know.
    Events,
}

impl Lane {
    /// Every lane.
    pub const ALL: [Lane; 5] = [
        Lane::Chat,
        Lane::Mail,
        Lane::Services,
        Lane::Bot,
        Lane::Events,
    ];

    /// Its name in log and interface.
    pub fn name(self) -> &'static str {
        match self {
            Lane::Chat => "whatsapp",
            Lane::Mail => "mail",
            Lane::Services => "services",
            Lane::Bot => "bot",
            Lane::Events => "events",
        }
    }
}

/// Something to be sent, as it waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Grows with time; the order of entries of one contact and lane.
    pub id: EntryId,
    /// On whose account.
    pub contact: ContactId,
    /// What is to be done.
    pub errand: Errand,
    /// When it was decided.
    pub created_at: Timestamp,
    /// From here on it is pointless.
    pub expires_at: Timestamp,
    /// Not to be tried earlier.
    pub not_before: Timestamp,
    /// Tries that have begun.
    pub attempts: u32,
    /// Tries whose end nobody knows.
    pub unknown: u32,
    /// Tries that met an error that the other side did not explain.
    pub unexplained: u32,
    /// Whether the last failure could only happen to an address that exists: whoever asked for the
    /// code must not learn of it (S-19, R-32).
    pub hushed: bool,
    /// Why the last try failed, for the operator; not of mails and questions, where it could show
    /// which addresses exist.
    pub last_failure: Option<String>,
    /// Set while a try is under way; still set after a crash, which makes that try unknown.
    pub in_flight_since: Option<Timestamp>,
}

impl Entry {
    /// Something decided now that nobody has tried yet.
    pub fn new(
        id: EntryId,
        contact: ContactId,
        errand: Errand,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Entry {
        Entry {
            id,
            contact,
            errand,
            created_at: now,
            expires_at,
            not_before: now,
            attempts: 0,
            unknown: 0,
            unexplained: 0,
            hushed: false,
            last_failure: None,
            in_flight_since: None,
        }
    }
}

/// Names an outbox entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

impl EntryId {
    /// The tag that travels with a message and comes back in its statuses
    /// (`biz_opaque_callback_data`).
    pub fn tag(self) -> String {
        format!("portero-{:x}", self.0)
    }

    /// Reads a tag of ours.
    pub fn from_tag(tag: &str) -> Option<EntryId> {
        u64::from_str_radix(tag.strip_prefix("portero-")?, 16)
            .ok()
            .map(EntryId)
    }
}

/// What an outbox entry asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A message in the chat.
    Chat {
        /// To whom.
        to: Recipient,
        /// What.
        message: ChatMessage,
        /// The name of the sentence, for the operator.
        sentence: String,
    },
    /// Ask every service who has the address.
    LookUp {
        /// For which challenge.
        challenge: ChallengeId,
        /// About whom.
        address: EmailAddress,
    },
    /// Mail the code of a challenge. The code is derived when the mail is written.
    MailCode {
        /// Which challenge.
        challenge: ChallengeId,
        /// The address on file.
        to: EmailAddress,
    },
    /// Reach the mail server and send nothing.
    PretendMail {
        /// Which challenge.
        challenge: ChallengeId,
    },
    /// Tell the owner of an account what happened with it.
    MailNotice {
        /// The address on file.
        to: EmailAddress,
        /// What happened.
        notice: Notice,
        /// In which language to say it.
        language: Language,
    },
    /// Part of a webhook, for the bot; its bytes lie in the store beside the entry.
    HandOn {
        /// The message that it carries; `None` for statuses and other news.
        message: Option<MessageId>,
        /// The entry that it was at first: names it to the bot, also when it is replayed.
        origin: EntryId,
    },
    /// Something that happened, for whoever wants to know; what it was lies in the store.
    Event {
        /// The entry that told it first: names the event, also when it is replayed.
        origin: EntryId,
    },
}

/// What the owner of an account is told by mail, whether they can read the chat or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A chat was bound to the account; with a link to undo that.
    Bound(ProofId),
    /// Somebody signed in with the right password through the link of another chat, and was
    /// refused.
    Refused,
}

impl Errand {
    /// Which lane it waits in.
    pub fn lane(&self) -> Lane {
        match self {
            Errand::Chat { .. } => Lane::Chat,
            Errand::MailCode { .. } | Errand::PretendMail { .. } | Errand::MailNotice { .. } => {
                Lane::Mail
            }
            Errand::LookUp { .. } => Lane::Services,
            Errand::HandOn { .. } => Lane::Bot,
            Errand::Event { .. } => Lane::Events,
        }
    }

    /// What it is, for the operator.
    pub fn name(&self) -> &str {
        match self {
            Errand::Chat { sentence, .. } => sentence,
            // The operator must not learn from a list which addresses exist.
            Errand::MailCode { .. } | Errand::PretendMail { .. } => "code_mail",
            Errand::LookUp { .. } => "look_up",
            Errand::MailNotice { .. } => "notice_mail",
            Errand::HandOn { .. } => "hand_on",
            Errand::Event { .. } => "event",
        }
    }

    /// The challenge that it serves.
    pub fn challenge(&self) -> Option<ChallengeId> {
        match self {
            Errand::LookUp { challenge, .. }
            | Errand::MailCode { challenge, .. }
            | Errand::PretendMail { challenge } => Some(*challenge),
            Errand::Chat { .. }
            | Errand::MailNotice { .. }
            | Errand::HandOn { .. }
            | Errand::Event { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tag_names_its_entry() {
        assert_eq!(
            EntryId::from_tag(&EntryId(u64::MAX).tag()),
            Some(EntryId(u64::MAX))
        );
        assert_eq!(EntryId::from_tag("someone-else"), None);
    }
}

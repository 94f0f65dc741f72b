//! What leaves the house, and what became of it.

use super::id::{
    Bsuid, ChallengeId, ContactId, EmailAddress, Language, MappingId, MessageId, ProofId,
    SECOND_MS, Timestamp, WaId,
};

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

    #[test]
    fn a_tag_names_its_entry() {
        assert_eq!(
            EntryId::from_tag(&EntryId(u64::MAX).tag()),
            Some(EntryId(u64::MAX))
        );
        assert_eq!(EntryId::from_tag("someone-else"), None);
    }
}

//! The conversation of a sign-in: one pure function from what is known and what happened to what
//! is known next and what is to be done.
//!
//! ```text
//!              anything                address               look-up settled
//!   Idle ───────────────▶ AddressAsked ───────▶ CodeAwaited ─────────────────┐
//!    ▲  ▲                   ▲   │  ▲              │  ▲  └── resend: new code ◀┘
//!    │  │ cancel            │   │  └ other address┘  │
//!    │  └───────────────────┤   │ gmial.com          │ yes / no
//!    │                      │   └──────▶ SpellingAsked
//!    └── right code: bound, told, the first message handed on
//! ```
//!
//! What must stay true:
//! - An address that nobody has looks like one that somebody has: same words, same tries, same
//!   locks, at the same moments (S-19). Nothing here says anything about an account before the
//!   right code was typed.
//! - A secret counts only when it was typed in this chat, by this contact, in time (S-04, S-07).
//! - Counting, checking and consuming a code are one step (S-11, S-12).
//! - A message of a bound contact that is not one of our words goes to the bot unread.

use super::account::{Account, Answer};
use super::binding::{Binding, Proof, ReleaseReason};
use super::budget::Budget;
use super::challenge::{Challenge, Sought};
use super::contact::{Contact, Kept, Stage};
use super::id::{ChallengeId, EmailAddress, HOUR_MS, OtpCode, SECOND_MS, Timestamp};
use super::message::{Content, Inbound, Provenance};
use super::policy::Policy;
use super::reading::{self, Codes, Command, Reading};

/// Words that follow a prompt this closely belong to the message before it: people write
/// "hello", "one question", "are you there?" in one breath, and each reply costs money.
const SAME_BREATH_MS: u64 = 5_000;

/// Meta's clock and ours may be this far apart.
const CLOCKS_APART_MS: u64 = 60 * SECOND_MS;

/// When a contact last wrote is known this exactly: what counts in days needs no write for every
/// message of a lively chat.
const NOTED_EVERY_MS: u64 = 60 * SECOND_MS;

/// Nothing can be answered after this: WhatsApp's window is 24 hours (Meta's contract, section 6).
const ANSWERABLE_MS: u64 = 23 * HOUR_MS;

/// Longest text kept for the bot, in bytes.
const KEPT_TEXT_BYTES_MAX: usize = Content::TEXT_BYTES_MAX;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The contact wrote.
    Message(&'a Inbound),
    /// The services answered about the address of a challenge.
    LookedUp {
        /// Which challenge asked.
        challenge: ChallengeId,
        /// One answer of each service.
        answers: &'a [Answer],
    },
    /// What a challenge needs could not be done in time.
    GaveUp {
        /// Which challenge.
        challenge: ChallengeId,
        /// What could not be done.
        errand: Errand,
    },
    /// WhatsApp or the operator says that the proof no longer stands.
    Released(ReleaseReason),
}

/// What a challenge needs from the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Asking the services.
    LookUp,
    /// Mailing the code.
    Mail,
}

/// What a decision may depend on besides the contact.
#[derive(Clone, Debug)]
pub struct Context<'a> {
    /// Read once for the whole operation.
    pub now: Timestamp,
    /// 128 fresh random bits, in case a challenge begins.
    pub fresh: [u8; 16],
    /// The limits.
    pub policy: &'a Policy,
    /// The code of the challenge in flight, when there is one.
    pub expected_code: Option<OtpCode>,
    /// What was counted for the addresses that [`addresses_concerned`] named.
    pub counts: Counts,
}

/// What is counted over all contacts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Per address.
    pub addresses: Vec<(EmailAddress, AddressCounts)>,
    /// Wrong codes of everybody.
    pub failures_in_all: Budget,
}

/// What is counted for one address, whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AddressCounts {
    /// Codes asked for.
    pub codes: Budget,
    /// Wrong codes.
    pub failures: Budget,
}

impl Counts {
    fn of(&mut self, address: &EmailAddress) -> &mut AddressCounts {
        let place = match self
            .addresses
            .iter()
            .position(|(known, _)| known == address)
        {
            Some(place) => place,
            None => {
                self.addresses
                    .push((address.clone(), AddressCounts::default()));
                self.addresses.len() - 1
            }
        };
        &mut self.addresses[place].1
    }
}

/// What a decision consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is known next.
    pub contact: Contact,
    /// What is counted next.
    pub counts: Counts,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// What this was, in a word.
    pub outcome: Outcome,
}

/// Something to be done after the decision is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer in the chat.
    Say(Sentence),
    /// Ask every service about an address.
    LookUp {
        /// For which challenge.
        challenge: ChallengeId,
        /// About whom.
        address: EmailAddress,
    },
    /// Mail the code to the address on file.
    MailCode {
        /// For which challenge.
        challenge: ChallengeId,
        /// The address that a service returned, never the typed one.
        to: EmailAddress,
        /// From here on the mail is pointless.
        expires_at: Timestamp,
    },
    /// Do what mailing does, without a mail: an address that nobody has must cost the same time
    /// and fail with the same mail server (S-19).
    PretendMail {
        /// For which challenge.
        challenge: ChallengeId,
        /// As for the mail.
        expires_at: Timestamp,
    },
    /// Give a message to the bot.
    HandOn(Kept),
    /// Write down what a person or operator may ask about later.
    Audit(AuditEvent),
}

/// Everything Portero says in a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// Who we are, and: which address do you have with us?
    Welcome,
    /// The proof ended for a reason the person should know; which address do you have with us?
    WelcomeAgain(ReleaseReason),
    /// Which address, then?
    AskAddress,
    /// There was no address in that.
    AddressNotUnderstood,
    /// There was more than one.
    OneAddressOnly,
    /// Did you mean the other spelling?
    DidYouMean {
        /// As it was typed.
        typed: EmailAddress,
        /// As it may have been meant.
        suggested: EmailAddress,
        /// Names the question.
        tag: String,
    },
    /// If the address is registered, a code is on its way.
    CodeOnItsWay {
        /// As it was typed.
        address: EmailAddress,
        /// Names the challenge.
        tag: String,
    },
    /// That was not the code.
    CodeWrong {
        /// Tries left with this code; 0 when it is dead.
        left: u32,
        /// Names the challenge.
        tag: String,
    },
    /// The code is too old.
    CodeExpired {
        /// Names the challenge.
        tag: String,
    },
    /// A code has another number of digits.
    CodeLength {
        /// Names the challenge.
        tag: String,
    },
    /// Please type the code.
    TypeTheCode {
        /// Names the challenge.
        tag: String,
    },
    /// Another code can be had in a moment.
    WaitForNextCode {
        /// From when.
        until: Timestamp,
    },
    /// Too many codes were asked for in this chat.
    TooManyCodes {
        /// From when there are more.
        until: Timestamp,
    },
    /// Too many wrong codes.
    TooManyFailures {
        /// From when there are more tries.
        until: Timestamp,
    },
    /// Nobody can sign in right now.
    SignInPaused,
    /// A forwarded message proves nothing.
    NotForwarded,
    /// Only typed text can be read.
    TextOnly,
    /// The message was too long on its way.
    TooLate,
    /// That button belongs to an earlier question.
    OldButton,
    /// Stopped, as asked.
    Cancelled,
    /// Signed in, as these.
    SignedIn(Vec<Binding>),
    /// You are these.
    WhoYouAre(Vec<Binding>),
    /// We do not know who you are yet; which address do you have with us?
    NotSignedIn,
    /// Signed out, as asked.
    LoggedOut,
    /// The services could not be asked; try again.
    LookUpFailed,
    /// Not every service could be asked; the code may come or not.
    LookUpIncomplete {
        /// Names the challenge.
        tag: String,
    },
    /// The mail could not be sent; try again.
    MailFailed,
}

impl Sentence {
    /// Its name in log and interface.
    pub fn name(&self) -> &'static str {
        match self {
            Sentence::Welcome => "welcome",
            Sentence::WelcomeAgain(_) => "welcome_again",
            Sentence::AskAddress => "ask_address",
            Sentence::AddressNotUnderstood => "address_not_understood",
            Sentence::OneAddressOnly => "one_address_only",
            Sentence::DidYouMean { .. } => "did_you_mean",
            Sentence::CodeOnItsWay { .. } => "code_on_its_way",
            Sentence::CodeWrong { .. } => "code_wrong",
            Sentence::CodeExpired { .. } => "code_expired",
            Sentence::CodeLength { .. } => "code_length",
            Sentence::TypeTheCode { .. } => "type_the_code",
            Sentence::WaitForNextCode { .. } => "wait_for_next_code",
            Sentence::TooManyCodes { .. } => "too_many_codes",
            Sentence::TooManyFailures { .. } => "too_many_failures",
            Sentence::SignInPaused => "sign_in_paused",
            Sentence::NotForwarded => "not_forwarded",
            Sentence::TextOnly => "text_only",
            Sentence::TooLate => "too_late",
            Sentence::OldButton => "old_button",
            Sentence::Cancelled => "cancelled",
            Sentence::SignedIn(_) => "signed_in",
            Sentence::WhoYouAre(_) => "who_you_are",
            Sentence::NotSignedIn => "not_signed_in",
            Sentence::LoggedOut => "logged_out",
            Sentence::LookUpFailed => "look_up_failed",
            Sentence::LookUpIncomplete { .. } => "look_up_incomplete",
            Sentence::MailFailed => "mail_failed",
        }
    }
}

impl AuditEvent {
    /// Its name in audit, log and interface.
    pub fn name(self) -> &'static str {
        match self {
            AuditEvent::CodeAsked => "code.asked",
            AuditEvent::CodeWrong => "code.wrong",
            AuditEvent::CodeForwarded => "code.forwarded",
            AuditEvent::Limited => "sign_in.limited",
            AuditEvent::Bound => "contact.bound",
            AuditEvent::Released(reason) => reason.event(),
        }
    }
}

/// What is written down for later questions; no secret, no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// A code was asked for.
    CodeAsked,
    /// A wrong code was typed.
    CodeWrong,
    /// A code came by forward.
    CodeForwarded,
    /// A limit stopped a try.
    Limited,
    /// An account was proved.
    Bound,
    /// The proof ended.
    Released(ReleaseReason),
}

/// What a step was, for the log and the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The person was asked something or told where they are.
    Asked,
    /// A code was asked for.
    CodeAsked,
    /// A wrong code, counted.
    CodeWrong,
    /// A limit was reached.
    Limited,
    /// Signed in.
    Bound,
    /// Signed out.
    Released,
    /// Given to the bot.
    HandedOn,
    /// Not a try, not an answer: nothing was said.
    Ignored,
    /// Too old to matter.
    Stale,
    /// The services have not all answered: ask again later.
    Unsettled,
    /// The look-up is settled.
    Settled,
    /// A challenge could not be served.
    GaveUp,
}

impl Outcome {
    /// Its name in log and interface.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Asked => "asked",
            Outcome::CodeAsked => "code_asked",
            Outcome::CodeWrong => "code_wrong",
            Outcome::Limited => "limited",
            Outcome::Bound => "bound",
            Outcome::Released => "released",
            Outcome::HandedOn => "handed_on",
            Outcome::Ignored => "ignored",
            Outcome::Stale => "stale",
            Outcome::Unsettled => "unsettled",
            Outcome::Settled => "settled",
            Outcome::GaveUp => "gave_up",
        }
    }
}

/// The addresses whose counts a decision about this message may need.
pub fn addresses_concerned(
    contact: &Contact,
    event: &Event<'_>,
    policy: &Policy,
) -> Vec<EmailAddress> {
    let mut concerned = Vec::new();
    match &contact.stage {
        Stage::CodeAwaited(challenge) => concerned.push(challenge.address.clone()),
        Stage::SpellingAsked {
            typed, suggested, ..
        } => concerned.extend([typed.clone(), suggested.clone()]),
        Stage::Idle | Stage::AddressAsked { .. } => {}
    }
    // Of a bound contact, too: its proof may end with this very message.
    if let Event::Message(Inbound {
        content: Content::Text(text),
        ..
    }) = event
        && let Reading::Addresses(found) = reading::read(text, policy.code_digits)
    {
        for address in found {
            if !concerned.contains(&address) {
                concerned.push(address);
            }
        }
    }
    concerned
}

/// Decides. Reads no clock, draws nothing, sends nothing, and cannot fail.
pub fn step(contact: &Contact, event: &Event<'_>, context: &Context<'_>) -> Step {
    let mut turn = Turn {
        contact: contact.clone(),
        counts: context.counts.clone(),
        actions: Vec::new(),
        context,
    };
    let outcome = match event {
        Event::Message(message) => turn.message(message),
        Event::LookedUp { challenge, answers } => turn.looked_up(*challenge, answers),
        Event::GaveUp { challenge, errand } => turn.gave_up(*challenge, *errand),
        Event::Released(reason) => {
            turn.release(*reason);
            turn.contact.stage = Stage::Idle;
            turn.contact.kept = None;
            Outcome::Released
        }
    };
    let Turn {
        contact,
        counts,
        actions,
        ..
    } = turn;
    Step {
        contact,
        counts,
        actions,
        outcome,
    }
}

/// A step being worked out.
struct Turn<'a> {
    contact: Contact,
    counts: Counts,
    actions: Vec<Action>,
    context: &'a Context<'a>,
}

impl Turn<'_> {
    fn now(&self) -> Timestamp {
        self.context.now
    }

    fn message(&mut self, message: &Inbound) -> Outcome {
        if message.provenance == Provenance::Group {
            // A group is no place for a sign-in, and an answer would go to everybody.
            return Outcome::Ignored;
        }
        self.end_bindings_that_no_longer_stand(message);
        if self.now().since_ms(self.contact.last_message_at) > ANSWERABLE_MS {
            // WhatsApp's window has closed over whatever was asked: this is a new conversation.
            self.contact.stage = Stage::Idle;
            self.contact.kept = None;
        }
        if self.now().since_ms(self.contact.last_message_at) >= NOTED_EVERY_MS {
            self.contact.last_message_at = self.now();
        }
        let age_ms = self.now().since_ms(message.sent_at);
        if self.contact.is_bound() {
            return self.bound(message);
        }
        if age_ms > ANSWERABLE_MS {
            return Outcome::Stale;
        }
        if matches!(
            message.content,
            Content::Other("reaction" | "edit" | "revoke")
        ) {
            // No question, and no answer to ours.
            return Outcome::Ignored;
        }
        if age_ms > self.context.policy.message_age_max_ms {
            return self.late(message);
        }
        match &message.content {
            _ if message.provenance == Provenance::Forwarded => self.forwarded(message),
            Content::Text(text) => match reading::read(text, self.context.policy.code_digits) {
                Reading::Command(command) => self.command(command, message),
                Reading::Addresses(addresses) => self.addresses(&addresses),
                Reading::Codes(codes) => self.codes(&codes, message),
                Reading::Words => self.words(message),
            },
            Content::Button { id } => match OurButton::parse(id) {
                Some(button) => self.button(button, message),
                None => self.words(message),
            },
            Content::Other(_) => match self.contact.stage {
                Stage::Idle => self.welcome(Some(message)),
                _ if self.is_same_breath() => Outcome::Ignored,
                _ => self.ask(Sentence::TextOnly),
            },
        }
    }

    // --- before anything else: does an earlier proof still stand? -----------------------------

    fn end_bindings_that_no_longer_stand(&mut self, message: &Inbound) {
        if !self.contact.is_bound() {
            return;
        }
        let policy = self.context.policy;
        let changed_hands = match (&self.contact.identity_key, &message.sender.identity_key) {
            (Some(proved), Some(now)) => proved != now && !self.is_older_than_the_proof(message),
            _ => false,
        };
        let proved_at = || {
            self.contact
                .bindings
                .iter()
                .map(|binding| binding.proved_at)
        };
        let (oldest, newest) = (proved_at().min(), proved_at().max());
        let last_sign_of_life = newest.map_or(self.contact.last_message_at, |proved_at| {
            self.contact.last_message_at.max(proved_at)
        });
        let rested_ms = self.now().since_ms(last_sign_of_life);
        let age_ms = oldest.map_or(0, |proved_at| self.now().since_ms(proved_at));
        if changed_hands {
            self.release(ReleaseReason::IdentityKeyChanged);
        } else if rested_ms > policy.binding_idle_ms {
            self.release(ReleaseReason::Idle);
        } else if policy.binding_age_max_ms.is_some_and(|max| age_ms > max) {
            self.release(ReleaseReason::Aged);
        } else if self.contact.identity_key.is_none() {
            // Proved before the operator switched the check on: it holds from here.
            self.contact
                .identity_key
                .clone_from(&message.sender.identity_key);
        }
    }

    /// Whether a message was certainly sent before the proof that stands, and only arrived after
    /// it: it says nothing about that proof (S-05).
    fn is_older_than_the_proof(&self, message: &Inbound) -> bool {
        let proofs = self
            .contact
            .bindings
            .iter()
            .map(|binding| binding.proved_at);
        let sent_at = message.sent_at.plus_ms(CLOCKS_APART_MS);
        proofs.min().is_some_and(|proved_at| sent_at < proved_at)
    }

    fn release(&mut self, reason: ReleaseReason) {
        if self.contact.is_bound() {
            self.contact.bindings.clear();
            self.contact.identity_key = None;
            self.contact.released = match reason {
                ReleaseReason::LoggedOut
                | ReleaseReason::Operator
                | ReleaseReason::Undone
                | ReleaseReason::Replaced => None,
                reason => Some(reason),
            };
            self.actions
                .push(Action::Audit(AuditEvent::Released(reason)));
        }
    }

    // --- a contact that is known ---------------------------------------------------------------

    fn bound(&mut self, message: &Inbound) -> Outcome {
        let ours = match &message.content {
            _ if message.provenance == Provenance::Forwarded => None,
            Content::Text(text) => match reading::read(text, self.context.policy.code_digits) {
                Reading::Command(command @ (Command::LogOut | Command::WhoAmI)) => Some(command),
                // The code once more, by an impatient thumb.
                Reading::Codes(_)
                    if !text.chars().any(char::is_alphabetic) && self.is_proved_just_now() =>
                {
                    return Outcome::Ignored;
                }
                _ => None,
            },
            Content::Button { id } => match OurButton::parse(id) {
                Some(OurButton {
                    action: ButtonAction::LogOut,
                    ..
                }) => Some(Command::LogOut),
                // A leftover of the sign-in: not the bot's business, and nothing to do.
                Some(_) => return Outcome::Ignored,
                None => None,
            },
            Content::Other(_) => None,
        };
        match ours {
            Some(Command::LogOut) if self.is_older_than_the_proof(message) => Outcome::Stale,
            Some(Command::LogOut) => {
                self.release(ReleaseReason::LoggedOut);
                self.contact.stage = Stage::Idle;
                self.say(Sentence::LoggedOut);
                Outcome::Released
            }
            Some(Command::WhoAmI) => self.ask(Sentence::WhoYouAre(self.contact.bindings.clone())),
            _ => {
                self.actions.push(Action::HandOn(keep(message)));
                Outcome::HandedOn
            }
        }
    }

    fn is_proved_just_now(&self) -> bool {
        let proved_at = self
            .contact
            .bindings
            .iter()
            .map(|binding| binding.proved_at);
        proved_at
            .max()
            .is_some_and(|at| self.now().since_ms(at) < SAME_BREATH_MS)
    }

    // --- a contact that is not known -----------------------------------------------------------

    fn words(&mut self, message: &Inbound) -> Outcome {
        match &self.contact.stage {
            Stage::Idle => self.welcome(Some(message)),
            _ if self.is_same_breath() => Outcome::Ignored,
            Stage::AddressAsked { .. } => self.ask(Sentence::AddressNotUnderstood),
            Stage::SpellingAsked {
                typed,
                suggested,
                tag,
            } => {
                let question = Sentence::DidYouMean {
                    typed: typed.clone(),
                    suggested: suggested.clone(),
                    tag: tag.clone(),
                };
                self.ask(question)
            }
            Stage::CodeAwaited(_) => self.remind(),
        }
    }

    /// Whether the last question was put only now, so that this was written before it was read.
    fn is_same_breath(&self) -> bool {
        let asked_at = match &self.contact.stage {
            Stage::AddressAsked { at } => *at,
            Stage::CodeAwaited(challenge) => challenge.asked_at,
            Stage::Idle | Stage::SpellingAsked { .. } => return false,
        };
        self.now().since_ms(asked_at) < SAME_BREATH_MS
    }

    fn welcome(&mut self, message: Option<&Inbound>) -> Outcome {
        if let Some(message) = message
            && self.is_for_the_bot(message)
        {
            self.contact.kept.get_or_insert_with(|| keep(message));
        }
        self.contact.stage = Stage::AddressAsked { at: self.now() };
        let released = self.contact.released.take();
        let sentence = released.map_or(Sentence::Welcome, Sentence::WelcomeAgain);
        self.ask(sentence)
    }

    /// What is typed for the sign-in never reaches the bot: no address, and no code on its own.
    fn is_for_the_bot(&self, message: &Inbound) -> bool {
        let Content::Text(text) = &message.content else {
            return true;
        };
        match reading::read(text, self.context.policy.code_digits) {
            Reading::Addresses(_) => false,
            Reading::Codes(_) => text.chars().any(char::is_alphabetic),
            Reading::Command(_) | Reading::Words => true,
        }
    }

    fn late(&mut self, message: &Inbound) -> Outcome {
        let is_tap =
            matches!(&message.content, Content::Button { id } if OurButton::parse(id).is_some());
        match self.contact.stage {
            Stage::Idle => self.welcome(Some(message).filter(|_| !is_tap)),
            // After an outage everything arrives at once, and one answer is enough.
            _ if self.is_same_breath() => Outcome::Ignored,
            _ => {
                self.say(Sentence::TooLate);
                Outcome::Stale
            }
        }
    }

    fn forwarded(&mut self, message: &Inbound) -> Outcome {
        let has_code = matches!(
            &message.content,
            Content::Text(text)
                if matches!(reading::read(text, self.context.policy.code_digits), Reading::Codes(_))
        );
        match &self.contact.stage {
            Stage::Idle => self.welcome(Some(message)),
            Stage::CodeAwaited(challenge) if has_code => {
                if challenge.is_live(self.now(), self.context.policy) {
                    self.actions.push(Action::Audit(AuditEvent::CodeForwarded));
                    self.count_failure();
                }
                self.say(Sentence::NotForwarded);
                Outcome::CodeWrong
            }
            _ => self.ask(Sentence::NotForwarded),
        }
    }

    fn command(&mut self, command: Command, message: &Inbound) -> Outcome {
        match (command, self.contact.stage.clone()) {
            (Command::Resend, Stage::CodeAwaited(challenge)) => self.begin(challenge.address),
            (Command::OtherAddress, Stage::CodeAwaited(_) | Stage::SpellingAsked { .. }) => {
                self.ask_address()
            }
            (
                Command::Cancel,
                Stage::AddressAsked { .. } | Stage::SpellingAsked { .. } | Stage::CodeAwaited(_),
            ) => self.cancel(),
            (Command::Yes, Stage::SpellingAsked { suggested, .. }) => self.begin(suggested),
            (Command::No, Stage::SpellingAsked { typed, .. }) => self.begin(typed),
            (Command::LogOut | Command::WhoAmI, Stage::Idle | Stage::AddressAsked { .. }) => {
                self.contact.stage = Stage::AddressAsked { at: self.now() };
                self.contact.released = None;
                self.ask(Sentence::NotSignedIn)
            }
            _ => self.words(message),
        }
    }

    fn button(&mut self, button: OurButton<'_>, message: &Inbound) -> Outcome {
        let current = match &self.contact.stage {
            Stage::CodeAwaited(challenge) => challenge.id.tag() == button.tag,
            Stage::SpellingAsked { tag, .. } => tag == button.tag,
            Stage::Idle | Stage::AddressAsked { .. } => false,
        };
        let command = match button.action {
            ButtonAction::Resend => Command::Resend,
            ButtonAction::OtherAddress => Command::OtherAddress,
            ButtonAction::Cancel => Command::Cancel,
            ButtonAction::Yes => Command::Yes,
            ButtonAction::No => Command::No,
            ButtonAction::LogOut => Command::LogOut,
        };
        match (current, command, &self.contact.stage) {
            (true, command, _) => self.command(command, message),
            (false, Command::LogOut, _) => self.command(Command::LogOut, message),
            // Nothing is in flight: begin as with any first message, but keep no tap for the bot.
            (false, _, Stage::Idle) => self.welcome(None),
            (false, ..) => self.ask(Sentence::OldButton),
        }
    }

    fn ask_address(&mut self) -> Outcome {
        self.contact.stage = Stage::AddressAsked { at: self.now() };
        self.ask(Sentence::AskAddress)
    }

    fn cancel(&mut self) -> Outcome {
        self.contact.stage = Stage::Idle;
        self.contact.kept = None;
        self.ask(Sentence::Cancelled)
    }

    fn addresses(&mut self, addresses: &[EmailAddress]) -> Outcome {
        let [address] = addresses else {
            if self.contact.stage == Stage::Idle {
                self.contact.stage = Stage::AddressAsked { at: self.now() };
            }
            return self.ask(Sentence::OneAddressOnly);
        };
        match reading::likely_meant(address) {
            Some(suggested) => {
                let tag = ChallengeId(self.context.fresh).tag();
                let typed = address.clone();
                self.contact.stage = Stage::SpellingAsked {
                    typed: typed.clone(),
                    suggested: suggested.clone(),
                    tag: tag.clone(),
                };
                self.ask(Sentence::DidYouMean {
                    typed,
                    suggested,
                    tag,
                })
            }
            None => self.begin(address.clone()),
        }
    }

    /// A code is wanted for `address`. Every limit is the same whether or not anybody has it.
    fn begin(&mut self, address: EmailAddress) -> Outcome {
        let (now, policy) = (self.now(), self.context.policy);
        if let Some(sentence) = self.lock(&address) {
            return self.limited(sentence);
        }
        let asked_at = match &self.contact.stage {
            Stage::CodeAwaited(challenge) if challenge.address == address => {
                Some(challenge.asked_at)
            }
            // Asked for and left since: the last code for this address was asked for in this chat.
            _ => {
                let last_of_address = self.counts.of(&address).codes.last();
                last_of_address.filter(|last| self.contact.codes.moments().contains(last))
            }
        };
        if let Some(last) = asked_at
            && now.since_ms(last) < policy.resend_after_ms
        {
            self.say(Sentence::WaitForNextCode {
                until: last.plus_ms(policy.resend_after_ms),
            });
            return Outcome::Limited;
        }
        let per_hour =
            |codes: &Budget| codes.blocked_until(now, Policy::HOUR_MS, policy.mails_per_hour);
        let per_day =
            |codes: &Budget| codes.blocked_until(now, Policy::DAY_MS, policy.mails_per_day);
        if let Some(until) = per_hour(&self.contact.codes).max(per_day(&self.contact.codes)) {
            return self.limited(Sentence::TooManyCodes { until });
        }
        // Asked for from many chats, an address gets no more mail; the answer stays the same (S-20).
        let counts = self.counts.of(&address);
        let spared = per_hour(&counts.codes).or(per_day(&counts.codes)).is_some();
        if !spared {
            counts.codes.count(now, Policy::DAY_MS);
        }
        self.contact.codes.count(now, Policy::DAY_MS);
        let sought = if spared {
            Sought::Nobody
        } else {
            Sought::Asking
        };
        let challenge = Challenge::new(
            ChallengeId(self.context.fresh),
            address.clone(),
            sought,
            now,
            policy,
        );
        self.actions.push(Action::Audit(AuditEvent::CodeAsked));
        self.actions.push(Action::Say(Sentence::CodeOnItsWay {
            address: address.clone(),
            tag: challenge.id.tag(),
        }));
        if !spared {
            self.actions.push(Action::LookUp {
                challenge: challenge.id,
                address,
            });
        }
        self.contact.stage = Stage::CodeAwaited(challenge);
        Outcome::CodeAsked
    }

    /// What stops new codes and tries: too many wrong ones, here, for this address, or in all.
    fn lock(&mut self, address: &EmailAddress) -> Option<Sentence> {
        let (now, policy) = (self.now(), self.context.policy);
        let day = |failures: &Budget, max| failures.blocked_until(now, Policy::DAY_MS, max);
        if day(&self.counts.failures_in_all, policy.failures_per_day_in_all).is_some() {
            return Some(Sentence::SignInPaused);
        }
        let here = day(&self.contact.failures, policy.failures_per_day);
        let there = day(&self.counts.of(address).failures, policy.failures_per_day);
        here.max(there)
            .map(|until| Sentence::TooManyFailures { until })
    }

    fn limited(&mut self, sentence: Sentence) -> Outcome {
        self.actions.push(Action::Audit(AuditEvent::Limited));
        self.say(sentence);
        Outcome::Limited
    }

    fn codes(&mut self, codes: &Codes, message: &Inbound) -> Outcome {
        let Stage::CodeAwaited(challenge) = self.contact.stage.clone() else {
            return self.words(message);
        };
        let tag = challenge.id.tag();
        let typed = match codes {
            Codes::WrongLength => return self.ask(Sentence::CodeLength { tag }),
            Codes::Several => None,
            Codes::One(code) => Some(code),
        };
        if let Some(sentence) = self.lock(&challenge.address) {
            return self.limited(sentence);
        }
        if self.now() >= challenge.expires_at {
            return self.ask(Sentence::CodeExpired { tag });
        }
        if !challenge.is_live(self.now(), self.context.policy) {
            self.say(Sentence::CodeWrong { left: 0, tag });
            return Outcome::Limited;
        }
        let right = match (typed, &self.context.expected_code) {
            (Some(typed), Some(expected)) => typed.matches(expected),
            _ => false,
        };
        match challenge.sought {
            Sought::Found(accounts) if right => self.bind(&challenge.address, accounts, message),
            Sought::Found(_) | Sought::Asking | Sought::Nobody => {
                self.actions.push(Action::Audit(AuditEvent::CodeWrong));
                let left = self.count_failure();
                self.say(Sentence::CodeWrong { left, tag });
                Outcome::CodeWrong
            }
        }
    }

    /// Counts a wrong code everywhere it counts; returns the tries left with this one.
    fn count_failure(&mut self) -> u32 {
        let now = self.now();
        let Stage::CodeAwaited(challenge) = &mut self.contact.stage else {
            return 0;
        };
        challenge.wrong = challenge.wrong.saturating_add(1);
        let left = self
            .context
            .policy
            .tries_per_code
            .saturating_sub(challenge.wrong);
        let address = challenge.address.clone();
        self.contact.failures.count(now, Policy::DAY_MS);
        self.counts.of(&address).failures.count(now, Policy::DAY_MS);
        self.counts.failures_in_all.count(now, Policy::DAY_MS);
        left
    }

    fn bind(
        &mut self,
        address: &EmailAddress,
        accounts: Vec<Account>,
        message: &Inbound,
    ) -> Outcome {
        let now = self.now();
        self.contact.bindings = accounts
            .into_iter()
            .map(|account| Binding::new(account, Proof::MailCode, now))
            .collect();
        self.contact.identity_key = message.sender.identity_key.clone();
        self.contact.released = None;
        self.contact.stage = Stage::Idle;
        // The contact's own failures stay: signing in as oneself must not buy tries at others.
        self.counts.of(address).failures.clear();
        self.actions.push(Action::Audit(AuditEvent::Bound));
        self.actions.push(Action::Say(Sentence::SignedIn(
            self.contact.bindings.clone(),
        )));
        if let Some(kept) = self.contact.kept.take()
            && now.since_ms(kept.sent_at) <= ANSWERABLE_MS
        {
            self.actions.push(Action::HandOn(kept));
        }
        Outcome::Bound
    }

    fn remind(&mut self) -> Outcome {
        let Stage::CodeAwaited(challenge) = &self.contact.stage else {
            return Outcome::Ignored;
        };
        let tag = challenge.id.tag();
        if self.now() < challenge.expires_at {
            self.ask(Sentence::TypeTheCode { tag })
        } else {
            self.ask(Sentence::CodeExpired { tag })
        }
    }

    // --- what the world answered ----------------------------------------------------------------

    fn looked_up(&mut self, id: ChallengeId, answers: &[Answer]) -> Outcome {
        let Stage::CodeAwaited(challenge) = &mut self.contact.stage else {
            return Outcome::Ignored;
        };
        if challenge.id != id {
            return Outcome::Ignored;
        }
        let expires_at = challenge.expires_at;
        let mut accounts: Vec<Account> = answers
            .iter()
            .filter_map(|answer| answer.users.as_ref().ok())
            .flatten()
            .filter(|account| account.email == challenge.address)
            .cloned()
            .collect();
        let all_answered = answers.iter().all(|answer| answer.users.is_ok());
        let any_answered = all_answered || answers.iter().any(|answer| answer.users.is_ok());
        match &mut challenge.sought {
            // A service that was silent at first adds what it knows.
            Sought::Found(known) => {
                accounts.retain(|account| !known.contains(account));
                known.append(&mut accounts);
            }
            Sought::Asking | Sought::Nobody if !accounts.is_empty() => {
                let to = accounts[0].email.clone();
                challenge.sought = Sought::Found(accounts);
                self.actions.push(Action::MailCode {
                    challenge: id,
                    to,
                    expires_at,
                });
            }
            // The first answer decides when the mail server is visited, whatever it says.
            Sought::Asking if any_answered => {
                challenge.sought = Sought::Nobody;
                self.actions.push(Action::PretendMail {
                    challenge: id,
                    expires_at,
                });
            }
            Sought::Asking | Sought::Nobody => {}
        }
        if all_answered {
            Outcome::Settled
        } else {
            // Somebody who could not be asked may know the address: never "user unknown" (R-40).
            Outcome::Unsettled
        }
    }

    fn gave_up(&mut self, id: ChallengeId, errand: Errand) -> Outcome {
        let Stage::CodeAwaited(challenge) = self.contact.stage.clone() else {
            return Outcome::Ignored;
        };
        if challenge.id != id {
            return Outcome::Ignored;
        }
        if errand == Errand::LookUp && challenge.sought != Sought::Asking {
            // Some services answered and some never did. A code may be on its way or not, and
            // whoever reads this must not learn which.
            let tag = challenge.id.tag();
            self.say(Sentence::LookUpIncomplete { tag });
            return Outcome::GaveUp;
        }
        // What never left does not count against anybody.
        self.contact.codes.take_back(challenge.asked_at);
        self.counts
            .of(&challenge.address)
            .codes
            .take_back(challenge.asked_at);
        self.contact.stage = Stage::AddressAsked { at: self.now() };
        let sentence = match errand {
            Errand::LookUp => Sentence::LookUpFailed,
            Errand::Mail => Sentence::MailFailed,
        };
        self.say(sentence);
        Outcome::GaveUp
    }

    // --- saying -----------------------------------------------------------------------------------

    fn ask(&mut self, sentence: Sentence) -> Outcome {
        self.say(sentence);
        Outcome::Asked
    }

    /// Says it, unless this contact has had its share of replies for the hour: nobody can make us
    /// send without end. What answers a code or an address that was accepted is always said;
    /// its own limits bound it.
    fn say(&mut self, sentence: Sentence) {
        let now = self.now();
        if self.contact.replies.used(now, Policy::HOUR_MS) < self.context.policy.replies_per_hour {
            self.contact.replies.count(now, Policy::HOUR_MS);
            self.actions.push(Action::Say(sentence));
        }
    }
}

fn keep(message: &Inbound) -> Kept {
    let text = match &message.content {
        Content::Text(text) => {
            let mut end = text.len().min(KEPT_TEXT_BYTES_MAX);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            Some(text[..end].to_owned())
        }
        Content::Button { .. } | Content::Other(_) => None,
    };
    Kept {
        id: message.id.clone(),
        sent_at: message.sent_at,
        text,
    }
}

/// A button that Portero made: `portero:ACTION:TAG`. The id comes back as untrusted input; the tag
/// ties it to one question of one contact (Meta's contract, section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OurButton<'a> {
    /// What a tap asks for.
    pub action: ButtonAction,
    /// Which question it answers.
    pub tag: &'a str,
}

/// What a tap asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ButtonAction {
    /// Send another code.
    Resend,
    /// Let me write another address.
    OtherAddress,
    /// Stop this.
    Cancel,
    /// The suggested spelling.
    Yes,
    /// The spelling as typed.
    No,
    /// End the binding.
    LogOut,
}

impl ButtonAction {
    const NAMES: [(ButtonAction, &'static str); 6] = [
        (ButtonAction::Resend, "resend"),
        (ButtonAction::OtherAddress, "other"),
        (ButtonAction::Cancel, "cancel"),
        (ButtonAction::Yes, "yes"),
        (ButtonAction::No, "no"),
        (ButtonAction::LogOut, "logout"),
    ];
}

impl<'a> OurButton<'a> {
    /// Reads an id; `None` when the button is not ours.
    pub fn parse(id: &'a str) -> Option<OurButton<'a>> {
        let (name, tag) = id.strip_prefix("portero:")?.split_once(':')?;
        let (action, _) = ButtonAction::NAMES
            .into_iter()
            .find(|(_, known)| *known == name)?;
        Some(OurButton { action, tag })
    }

    /// Writes the id.
    pub fn id(&self) -> String {
        let name = ButtonAction::NAMES
            .iter()
            .find(|(action, _)| *action == self.action)
            .map_or("", |(_, name)| name);
        format!("portero:{name}:{}", self.tag)
    }
}

#[cfg(test)]
mod tests;

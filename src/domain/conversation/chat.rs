//! The channel of the chat: what a message means, by who wrote it and where the conversation stands.

use super::super::binding::ReleaseReason;
use super::super::contact::{Kept, Stage};
use super::super::id::EmailAddress;
use super::super::message::{Content, Inbound, Provenance};
use super::super::policy::Gate;
use super::super::reading::{self, Codes, Command, Reading};
use super::super::time::SECOND_MS;
use super::{
    ANSWERABLE_MS, Action, AuditEvent, ButtonAction, Opening, OurButton, Outcome, SAME_BREATH_MS,
    Sentence, Turn,
};

/// Meta's clock and ours may be this far apart.
const CLOCKS_APART_MS: u64 = 60 * SECOND_MS;

/// When a contact last wrote is known this exactly: what counts in days needs no write for every
/// message of a lively chat.
const NOTED_EVERY_MS: u64 = 60 * SECOND_MS;

impl Turn<'_> {
    pub(super) fn message(&mut self, message: &Inbound) -> Outcome {
        if message.provenance == Provenance::Group {
            // A group is no place for a sign-in, and an answer would go to everybody.
            return Outcome::Ignored;
        }
        self.end_bindings_that_no_longer_stand(message);
        if self.now().since_ms(self.contact.last_message_at) > ANSWERABLE_MS {
            // WhatsApp's window has closed over whatever was asked: this is a new conversation.
            // Only what the bot began in it may still be open.
            let policy = self.context.policy;
            if !matches!(&self.contact.stage, Stage::CodeAwaited(c) if c.is_live(self.now(), policy))
            {
                self.contact.stage = Stage::Idle;
            }
            self.contact.kept = None;
        }
        if self.now().since_ms(self.contact.last_message_at) >= NOTED_EVERY_MS {
            self.contact.last_message_at = self.now();
        }
        let age_ms = self.now().since_ms(message.sent_at);
        if let Some(code) = reading::return_code_of(message) {
            return self.returned(&code, message);
        }
        if let Some(outcome) = self.about_forgetting(message) {
            return outcome;
        }
        if self.contact.is_bound() {
            return self.bound(message);
        }
        if self.is_left_to_the_bot(message) {
            return self.hand_on(message);
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
                Reading::Addresses(addresses) => self.addresses(&addresses, message),
                Reading::Codes(Codes::WrongLength) | Reading::Words
                    if self.is_signing_in() && reading::looks_like_a_password(text) =>
                {
                    self.ask(Sentence::NeverYourPassword)
                }
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

    pub(super) fn end_bindings_that_no_longer_stand(&mut self, message: &Inbound) {
        if !self.contact.is_bound() {
            return;
        }
        let changed_hands = match (&self.contact.identity_key, &message.sender.identity_key) {
            (Some(proved), Some(now)) => proved != now && !self.is_older_than_the_proof(message),
            _ => false,
        };
        if changed_hands {
            self.release(ReleaseReason::IdentityKeyChanged);
            // What the one before had begun is not for the one after.
            self.contact.stage = Stage::Idle;
            self.burn();
        } else if let Some(reason) = self.contact.outlived(self.now(), self.context.policy) {
            self.release(reason);
        } else if self.contact.identity_key.is_none() {
            // Proved before the operator switched the check on: it holds from here.
            self.contact
                .identity_key
                .clone_from(&message.sender.identity_key);
        }
    }

    /// Whether a message was certainly sent before the proof that stands, and only arrived after
    /// it: it says nothing about that proof (S-05).
    pub(super) fn is_older_than_the_proof(&self, message: &Inbound) -> bool {
        let proofs = self
            .contact
            .bindings
            .iter()
            .map(|binding| binding.proved_at);
        let sent_at = message.sent_at.plus_ms(CLOCKS_APART_MS);
        proofs.min().is_some_and(|proved_at| sent_at < proved_at)
    }

    // --- a contact that is known ---------------------------------------------------------------

    pub(super) fn bound(&mut self, message: &Inbound) -> Outcome {
        if let Some(outcome) = self.signing_in_again(message) {
            return outcome;
        }
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
            _ => self.hand_on(message),
        }
    }

    fn hand_on(&mut self, message: &Inbound) -> Outcome {
        self.actions.push(Action::HandOn(keep(message)));
        Outcome::HandedOn
    }

    /// What a bound contact answers to a sign-in that the bot asked for: the code of a step-up and
    /// the taps that belong to it are ours. Everything else is still the bot's.
    fn signing_in_again(&mut self, message: &Inbound) -> Option<Outcome> {
        let is_late = self.now().since_ms(message.sent_at) > self.context.policy.message_age_max_ms;
        match &message.content {
            Content::Text(text) => {
                let outcome = match reading::read(text, self.context.policy.code_digits) {
                    Reading::Codes(codes) => self.code_again(&codes, message, is_late),
                    Reading::Addresses(found) => self.address_again(&found, message, is_late),
                    Reading::Command(command) if self.is_demanded() && !is_late => {
                        self.command_again(command, message)
                    }
                    Reading::Command(_) | Reading::Words => None,
                };
                let outcome = outcome.or_else(|| self.code_in_disguise(message, is_late));
                if outcome.is_none() && self.is_signing_in() && reading::looks_like_a_password(text)
                {
                    return Some(self.ask(Sentence::NeverYourPassword));
                }
                outcome
            }
            Content::Button { id } => {
                let button = OurButton::parse(id).filter(|_| !is_late)?;
                if let Stage::SpellingAsked { tag, .. } = &self.contact.stage
                    && *tag == button.tag
                    && self.is_demanded()
                {
                    return Some(self.button(button, message));
                }
                let is_of_the_link = (self.contact.mapping.as_ref())
                    .is_some_and(|mapping| mapping.id.tag() == button.tag);
                let is_of_the_code = matches!(
                    &self.contact.stage,
                    Stage::CodeAwaited(challenge) if challenge.id.tag() == button.tag
                );
                match button.action {
                    ButtonAction::NewLink if is_of_the_link && self.context.policy.methods.web => {
                        Some(self.send_link(Opening::Asked))
                    }
                    ButtonAction::Resend if is_of_the_code => {
                        Some(self.command(Command::Resend, message))
                    }
                    // The bot asked for this mailbox and no other.
                    ButtonAction::OtherAddress if is_of_the_code && self.is_demanded() => {
                        Some(self.remind())
                    }
                    ButtonAction::Cancel if is_of_the_link || is_of_the_code => Some(self.cancel()),
                    _ => None,
                }
            }
            Content::Other(kind) => self.words_unread(kind),
        }
    }

    fn code_again(&mut self, codes: &Codes, message: &Inbound, is_late: bool) -> Option<Outcome> {
        let Stage::CodeAwaited(challenge) = &self.contact.stage else {
            return None;
        };
        let expected = self.context.expected_code.as_ref();
        let is_the_code = matches!(
            (codes, expected),
            (Codes::One(typed), Some(expected)) if typed.matches(expected)
        );
        // After the last try, too, while they may go on by a link: they are told that none is left.
        let is_ours = self.is_code_awaited()
            || self.now() < challenge.expires_at && self.has_link(self.now());
        let is_try = is_ours && matches!(codes, Codes::One(_) | Codes::Several);
        if !is_the_code && !is_try {
            return None;
        }
        Some(match message.provenance {
            Provenance::Forwarded => self.forwarded(message),
            _ if is_late => self.late(message),
            _ => self.codes(codes, message),
        })
    }

    /// What may hold a code that is awaited, in a form that is not read: it is no try, and the bot
    /// does not get it.
    fn code_in_disguise(&mut self, message: &Inbound, is_late: bool) -> Option<Outcome> {
        if !self.is_code_awaited() {
            return None;
        }
        let Content::Text(text) = &message.content else {
            return None;
        };
        if !reading::may_hold_a_code(text, self.context.policy.code_digits) {
            return None;
        }
        Some(match message.provenance {
            Provenance::Forwarded => self.forwarded(message),
            _ if is_late => self.late(message),
            _ => self.codes(&Codes::WrongLength, message),
        })
    }

    /// What people wrote beside a picture or put right afterwards is not read. While it may be what
    /// was asked for in this chat, it is not the bot's.
    fn words_unread(&mut self, kind: &str) -> Option<Outcome> {
        let has_words = matches!(
            kind,
            "edit" | "image" | "video" | "audio" | "document" | "text" | "unknown"
        );
        let is_asked = match &self.contact.stage {
            Stage::CodeAwaited(code) => code.is_live(self.now(), self.context.policy),
            Stage::AddressAsked { .. } | Stage::SpellingAsked { .. } => self.is_demanded(),
            Stage::Idle | Stage::LinkSent => false,
        };
        match has_words && is_asked {
            false => None,
            true if self.is_same_breath() => Some(Outcome::Ignored),
            true => Some(self.ask(Sentence::TextOnly)),
        }
    }

    /// Whether there is a code that is still ours when it is typed: what was asked for is ours even
    /// when it comes too late.
    fn is_code_awaited(&self) -> bool {
        let (now, policy) = (self.now(), self.context.policy);
        matches!(&self.contact.stage, Stage::CodeAwaited(challenge)
            if challenge.is_live(now, policy) || self.is_demanded())
    }

    fn address_again(
        &mut self,
        addresses: &[EmailAddress],
        message: &Inbound,
        is_late: bool,
    ) -> Option<Outcome> {
        if !self.is_signing_in() {
            return None;
        }
        match &self.contact.stage {
            Stage::AddressAsked { .. } | Stage::SpellingAsked { .. } if self.is_demanded() => {
                Some(match message.provenance {
                    Provenance::Forwarded => self.forwarded(message),
                    _ if is_late => self.late(message),
                    _ => self.addresses(addresses, message),
                })
            }
            Stage::CodeAwaited(_) => Some(self.remind()),
            _ if self.contact.mapping.is_some() => Some(self.remind_of_link()),
            _ => None,
        }
    }

    /// The words for what the buttons do, from somebody whom the bot wants to sign in again.
    fn command_again(&mut self, command: Command, message: &Inbound) -> Option<Outcome> {
        let is_asked_for_an_address = matches!(
            self.contact.stage,
            Stage::AddressAsked { .. } | Stage::SpellingAsked { .. }
        );
        let is_ours = match command {
            Command::Resend => matches!(self.contact.stage, Stage::CodeAwaited(_)),
            Command::Yes | Command::No => {
                matches!(self.contact.stage, Stage::SpellingAsked { .. })
            }
            Command::OtherAddress => is_asked_for_an_address,
            Command::Cancel => return Some(self.cancel()),
            Command::LogOut
            | Command::WhoAmI
            | Command::Web
            | Command::ForgetMe
            | Command::ForgetMeIndeed => false,
        };
        is_ours.then(|| self.command(command, message))
    }

    pub(super) fn is_proved_just_now(&self) -> bool {
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

    /// Whether a message of somebody unknown goes to the bot unread, because the bot asks for a
    /// sign-in when it needs one. While one is under way everything is part of it, also what may be
    /// a password typed in the wrong place; what is an answer to it stays one when it comes late.
    fn is_left_to_the_bot(&self, message: &Inbound) -> bool {
        let is_everybodys = self.context.policy.gate == Gate::OnRequest;
        is_everybodys && !self.is_being_asked() && !self.is_an_answer(message)
    }

    /// Whether something was asked only now, so that whatever comes is part of the sign-in.
    fn is_being_asked(&self) -> bool {
        let (now, policy) = (self.now(), self.context.policy);
        let in_chat = match &self.contact.stage {
            Stage::Idle | Stage::LinkSent => false,
            Stage::AddressAsked { at } => now.since_ms(*at) < policy.code_lifetime_ms,
            Stage::SpellingAsked { .. } => true,
            Stage::CodeAwaited(challenge) => now < challenge.expires_at,
        };
        // A link may be open whatever else was asked since.
        in_chat || self.has_link(now)
    }

    /// Whether it reads as an answer to what was asked, however late it comes.
    fn is_an_answer(&self, message: &Inbound) -> bool {
        let is_code_awaited = matches!(self.contact.stage, Stage::CodeAwaited(_));
        let text = match &message.content {
            Content::Text(text) => text,
            Content::Button { id } => return OurButton::parse(id).is_some(),
            Content::Other(_) => return false,
        };
        // Of somebody whom the bot wants to sign in, what was meant for that is never the bot's.
        if self.is_demanded() && reading::looks_like_a_password(text) {
            return true;
        }
        let code_digits = self.context.policy.code_digits;
        match reading::read(text, code_digits) {
            Reading::Addresses(_) => {
                is_code_awaited
                    || matches!(self.contact.stage, Stage::AddressAsked { .. })
                    || self.is_demanded()
            }
            Reading::Codes(_) => is_code_awaited,
            Reading::Command(_) | Reading::Words => {
                is_code_awaited && reading::may_hold_a_code(text, code_digits)
            }
        }
    }

    /// Whether what this contact wrote in a group has to do with a sign-in: nothing is answered
    /// there, and nothing of it is the bot's.
    pub(super) fn is_of_a_sign_in(&self, message: &Inbound) -> bool {
        self.is_being_asked() || self.is_signing_in() || self.is_an_answer(message)
    }

    pub(super) fn words(&mut self, message: &Inbound) -> Outcome {
        let methods = self.context.policy.methods;
        match &self.contact.stage {
            Stage::Idle => self.welcome(Some(message)),
            _ if self.is_same_breath() => Outcome::Ignored,
            // Asked before the operator took this way in away.
            Stage::AddressAsked { .. } | Stage::SpellingAsked { .. } if !methods.mail => {
                self.welcome(Some(message))
            }
            Stage::LinkSent if !methods.web => self.welcome(Some(message)),
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
            Stage::LinkSent => self.remind_of_link(),
        }
    }

    /// Whether the last question was put only now, so that this was written before it was read.
    pub(super) fn is_same_breath(&self) -> bool {
        let asked_at = match &self.contact.stage {
            Stage::AddressAsked { at } => *at,
            Stage::CodeAwaited(challenge) => challenge.asked_at,
            Stage::LinkSent => match &self.contact.mapping {
                Some(mapping) => mapping.asked_at,
                None => return false,
            },
            Stage::Idle | Stage::SpellingAsked { .. } => return false,
        };
        self.now().since_ms(asked_at) < SAME_BREATH_MS
    }

    pub(super) fn welcome(&mut self, message: Option<&Inbound>) -> Outcome {
        if let Some(message) = message
            && self.is_for_the_bot(message)
        {
            self.contact.kept.get_or_insert_with(|| keep(message));
        }
        let released = self.contact.released.take();
        if !self.context.policy.methods.mail {
            return self.send_link(released.map_or(Opening::First, Opening::Again));
        }
        self.contact.stage = Stage::AddressAsked { at: self.now() };
        let sentence = released.map_or(Sentence::Welcome, Sentence::WelcomeAgain);
        self.ask(sentence)
    }

    /// What is typed or tapped for the sign-in never reaches the bot: no address, no code on its
    /// own, no word or button of ours, and nothing while a link is open, because it may be the
    /// password in the wrong place.
    pub(super) fn is_for_the_bot(&self, message: &Inbound) -> bool {
        if self.has_link(self.now()) {
            return false;
        }
        let text = match &message.content {
            Content::Text(text) => text,
            Content::Button { id } => return OurButton::parse(id).is_none(),
            Content::Other(_) => return true,
        };
        match reading::read(text, self.context.policy.code_digits) {
            Reading::Addresses(_) => false,
            Reading::Codes(_) => text.chars().any(char::is_alphabetic),
            Reading::Command(
                Command::LogOut | Command::WhoAmI | Command::ForgetMe | Command::ForgetMeIndeed,
            ) => false,
            Reading::Command(_) | Reading::Words => true,
        }
    }

    pub(super) fn late(&mut self, message: &Inbound) -> Outcome {
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

    pub(super) fn forwarded(&mut self, message: &Inbound) -> Outcome {
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

    pub(super) fn command(&mut self, command: Command, message: &Inbound) -> Outcome {
        match (command, self.contact.stage.clone()) {
            (Command::Resend, Stage::CodeAwaited(challenge)) => self.resend(challenge),
            (
                Command::OtherAddress,
                Stage::CodeAwaited(_) | Stage::SpellingAsked { .. } | Stage::LinkSent,
            ) if self.context.policy.methods.mail => self.ask_address(),
            (
                Command::Cancel,
                Stage::AddressAsked { .. }
                | Stage::SpellingAsked { .. }
                | Stage::CodeAwaited(_)
                | Stage::LinkSent,
            ) => self.cancel(),
            // Somebody unknown may begin with it.
            (Command::Web, _) if self.context.policy.methods.web => self.send_link(Opening::Asked),
            (Command::Yes, Stage::SpellingAsked { suggested, .. }) => self.begin(suggested),
            (Command::No, Stage::SpellingAsked { typed, .. }) => self.begin(typed),
            (Command::LogOut | Command::WhoAmI, Stage::Idle | Stage::AddressAsked { .. })
                if self.context.policy.methods.mail =>
            {
                self.contact.stage = Stage::AddressAsked { at: self.now() };
                self.contact.released = None;
                self.ask(Sentence::NotSignedIn)
            }
            _ => self.words(message),
        }
    }

    pub(super) fn button(&mut self, button: OurButton<'_>, message: &Inbound) -> Outcome {
        let current = match &self.contact.stage {
            Stage::CodeAwaited(challenge) => challenge.id.tag() == button.tag,
            Stage::SpellingAsked { tag, .. } => tag == button.tag,
            Stage::LinkSent => (self.contact.mapping.as_ref())
                .is_some_and(|mapping| mapping.id.tag() == button.tag),
            Stage::Idle | Stage::AddressAsked { .. } => false,
        };
        let command = match button.action {
            ButtonAction::Resend => Command::Resend,
            ButtonAction::OtherAddress => Command::OtherAddress,
            ButtonAction::Cancel => Command::Cancel,
            ButtonAction::Yes => Command::Yes,
            ButtonAction::No => Command::No,
            ButtonAction::LogOut => Command::LogOut,
            ButtonAction::Web | ButtonAction::NewLink => Command::Web,
            // Neither comes here: both are answered before it matters where the sign-in stands.
            ButtonAction::ForgetMe | ButtonAction::KeepMe => Command::Cancel,
        };
        match (current, command, &self.contact.stage) {
            (true, command, _) => self.command(command, message),
            // They answer no question, so none can be too old for them.
            (false, Command::LogOut | Command::Web, _) => self.command(command, message),
            // Nothing is in flight: begin as with any first message, but keep no tap for the bot.
            (false, _, Stage::Idle) => self.welcome(None),
            (false, ..) => self.ask(Sentence::OldButton),
        }
    }

    pub(super) fn ask_address(&mut self) -> Outcome {
        self.contact.stage = Stage::AddressAsked { at: self.now() };
        self.ask(Sentence::AskAddress)
    }

    pub(super) fn cancel(&mut self) -> Outcome {
        self.contact.stage = Stage::Idle;
        self.contact.kept = None;
        self.burn();
        self.refuse_requirement();
        self.ask(Sentence::Cancelled)
    }
}

fn keep(message: &Inbound) -> Kept {
    Kept {
        id: message.id.clone(),
        sent_at: message.sent_at,
    }
}

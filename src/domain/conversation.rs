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
//! Beside it, the link to the sign-in page ([`super::sign_in::Mapping`]), which an unknown contact
//! asks for instead of a code, and which the bot may ask for at any time:
//!
//! ```text
//!            link asked             right password             return code from this chat
//!   (none) ───────────▶ Issued ───────────────────▶ SignedIn ──────────────────────▶ Used: bound
//!                        │  ▲                          │
//!          declined,     │  └ wrong password, counted  │ return code from another chat, by
//!          guessed at    ▼                             ▼ forward, in a group
//!                      Burned ◀────────────────────────┘
//! ```
//!
//! And beside both, what the bot may demand ([`super::requirement::Requirement`]): a fresh proof, for
//! which one of the two is begun again. Whatever binds judges it.
//!
//! What must stay true:
//! - An address that nobody has looks like one that somebody has: same words, same tries, same
//!   locks, at the same moments (S-19). Nothing here says anything about an account before the
//!   right code was typed.
//! - A secret counts only when it was typed in this chat, by this contact, in time (S-04, S-07).
//! - Counting, checking and consuming a code are one step (S-11, S-12).
//! - A return code counts only from the contact that asked for the link; from anywhere else it
//!   burns the sign-in and both sides are told (section 3 of the threat model).
//! - Nobody is forgotten but by a tap or words that mean nothing else, typed in answer to the
//!   question; and being forgotten lifts no limit.
//! - What happens on the page never says anything about the chat's other limits, nor the reverse.
//! - A message of a bound contact that is not one of our words goes to the bot unread. Only while
//!   that contact signs in again, what reads as an address or a password stays here, until a mailed
//!   code would have ended what reads as one, and while it is awaited whatever may hold one.

mod button;
mod chat;
mod code;
mod demand;
mod forget;
mod said;
mod web;

pub use button::{ButtonAction, OurButton};
pub use said::{AuditEvent, BotAnswer, Opening, Outcome, Sentence};

use super::account::Answer;
use super::binding::{Binding, ReleaseReason};
use super::budget::Budget;
use super::contact::{Barred, Contact, Kept, Stage};
use super::delivery::Notice;
use super::id::{ChallengeId, EmailAddress, MappingId, ProofId};
use super::language::Language;
use super::message::{Content, Inbound};
use super::policy::Policy;
use super::reading::{self, Reading};
use super::requirement::ProofWanted;
use super::secret::{OtpCode, ReturnCode};
use super::sign_in::{MappingState, PageAct, PageAnswer, Who};
use super::time::{HOUR_MS, SECOND_MS, Timestamp};

/// Nothing can be answered after this: WhatsApp's window is 24 hours (Meta's contract, section 6).
const ANSWERABLE_MS: u64 = 23 * HOUR_MS;

/// Words that follow a prompt this closely belong to the message before it: people write
/// "hello", "one question", "are you there?" in one breath, and each reply costs money.
const SAME_BREATH_MS: u64 = 5 * SECOND_MS;

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
    /// The bot wants the contact to sign in on the web.
    LinkAsked {
        /// Whether Portero sends the link; else the bot does.
        send: bool,
    },
    /// The bot wants a proof that is not older than this.
    ProofAsked {
        /// Which.
        proof: ProofWanted,
        /// How old it may be; any age if not set.
        age_max_ms: Option<u64>,
    },
    /// The bot ends bindings.
    ReleasedByBot {
        /// Which.
        bindings: &'a [Binding],
    },
    /// Somebody did something on the sign-in page.
    Page {
        /// Under which link.
        mapping: MappingId,
        /// What.
        act: PageAct<'a>,
    },
    /// The return code of a link of this contact came from another chat, or from a group.
    ReturnedElsewhere {
        /// Which link.
        mapping: MappingId,
        /// When the code was made.
        code_made_at: Timestamp,
        /// The language of whoever sent it, who is probably the one who signed in.
        language: Language,
    },
    /// The owner of an account says that a proof was not theirs.
    Undone {
        /// Which proof.
        proof: ProofId,
    },
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
    /// The return code of the contact's last link, when there is one.
    pub expected_return_code: Option<ReturnCode>,
    /// Whether the message carries a return code that belongs to another contact.
    pub foreign_return_code: bool,
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
    /// Passwords tried for the user name on the page, wrong or under way.
    pub user_name: Budget,
    /// Passwords tried from the network of the page's reader, wrong or under way.
    pub network: Budget,
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
    /// What the page is to say, when something happened there.
    pub page: Option<PageAnswer>,
    /// What the bot is told, when it asked for something.
    pub bot: Option<BotAnswer>,
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
    /// Tell the owner of an account by mail.
    MailNotice {
        /// The address on file.
        to: EmailAddress,
        /// What happened.
        notice: Notice,
        /// In which language to say it.
        language: Language,
    },
    /// Give a message to the bot.
    HandOn(Kept),
    /// Write down what a person or operator may ask about later.
    Audit(AuditEvent),
    /// Forget this contact: whoever writes next under its names is somebody new.
    Forget,
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
        Stage::Idle | Stage::AddressAsked { .. } | Stage::LinkSent => {}
    }
    // Of a bound contact, too: its proof may end with this very message.
    if let Event::Message(Inbound {
        content: Content::Text(text),
        ..
    }) = event
        && text.contains('@')
        && let Reading::Addresses(found) = reading::read(text, policy.code_digits)
    {
        for address in found {
            if !concerned.contains(&address) {
                concerned.push(address);
            }
        }
    }
    // A code for the bot is mailed to whom the chat is bound to.
    if let Event::ProofAsked { .. } = event {
        for address in (contact.bindings.iter()).filter_map(|binding| binding.email.as_ref()) {
            if !concerned.contains(address) {
                concerned.push(address.clone());
            }
        }
    }
    // Step-up mails a code to whom the password belongs.
    if let Event::Page {
        act: PageAct::Checked { who, .. } | PageAct::Claimed(who),
        ..
    } = event
        && let Who::These([account, ..]) = who
        && !concerned.contains(&account.email)
    {
        concerned.push(account.email.clone());
    }
    concerned
}

/// Whether the bot may have what somebody wrote in a group, where nobody is signed in: no return
/// code, and nothing of those who are signing in, whose code or address may be in it. `writers` are
/// the contacts that the names of the sender lead to; strangers are none.
pub fn is_for_the_bot_in_a_group(
    writers: &[Contact],
    message: &Inbound,
    now: Timestamp,
    policy: &Policy,
) -> bool {
    let context = Context {
        now,
        fresh: [0; 16],
        policy,
        expected_code: None,
        expected_return_code: None,
        foreign_return_code: false,
        counts: Counts::default(),
    };
    let is_of_a_sign_in = |contact: &Contact| Turn::new(contact, &context).is_of_a_sign_in(message);
    reading::return_code_of(message).is_none() && !writers.iter().any(is_of_a_sign_in)
}

/// Decides. Reads no clock, draws nothing, sends nothing, and cannot fail.
pub fn step(contact: &Contact, event: &Event<'_>, context: &Context<'_>) -> Step {
    let mut turn = Turn::new(contact, context);
    let outcome = match event {
        Event::Message(message) => turn.message(message),
        Event::LookedUp { challenge, answers } => turn.looked_up(*challenge, answers),
        Event::GaveUp { challenge, errand } => turn.gave_up(*challenge, *errand),
        Event::Released(reason) => {
            turn.release(*reason);
            turn.contact.stage = Stage::Idle;
            turn.contact.kept = None;
            turn.burn();
            turn.refuse_requirement();
            Outcome::Released
        }
        Event::LinkAsked { send } => turn.link_asked(*send),
        Event::ProofAsked { proof, age_max_ms } => turn.proof_asked(*proof, *age_max_ms),
        Event::ReleasedByBot { bindings } => turn.released_by_bot(bindings),
        Event::Page { mapping, act } => turn.on_page(*mapping, act),
        Event::ReturnedElsewhere {
            mapping,
            code_made_at,
            language,
        } => turn.returned_elsewhere(*mapping, *code_made_at, *language),
        Event::Undone { proof } => turn.undone(*proof),
    };
    let Turn {
        contact,
        counts,
        actions,
        page,
        bot,
        ..
    } = turn;
    Step {
        contact,
        counts,
        actions,
        outcome,
        page,
        bot,
    }
}

/// A step being worked out.
struct Turn<'a> {
    contact: Contact,
    counts: Counts,
    actions: Vec<Action>,
    page: Option<PageAnswer>,
    bot: Option<BotAnswer>,
    context: &'a Context<'a>,
}

impl<'a> Turn<'a> {
    fn new(contact: &Contact, context: &'a Context<'a>) -> Turn<'a> {
        Turn {
            contact: contact.clone(),
            counts: context.counts.clone(),
            actions: Vec::new(),
            page: None,
            bot: None,
            context,
        }
    }

    fn now(&self) -> Timestamp {
        self.context.now
    }

    // --- proofs -------------------------------------------------------------------------------------

    /// Binds, tells the chat and the accounts' owners, and hands on what waited. Whoever was bound is
    /// no longer, unless the bot wanted to know whether it is still the same person, and it is: then
    /// what was proved is fresh, and all else stays as it was.
    fn bind(&mut self, mut bindings: Vec<Binding>) -> Outcome {
        let now = self.now();
        let proved = bindings.clone();
        let proved_by = bindings.first().map(|binding| binding.proof_id);
        let is_met = self.judge_requirement(&bindings);
        let before = std::mem::take(&mut self.contact.bindings);
        for new in &mut bindings {
            let old = before.iter().find(|old| new.is_same_user(old));
            new.bound_since = old.map_or(new.proved_at, |old| old.bound_since);
        }
        let is_proved = |old: &Binding| proved.iter().any(|new| new.is_same_user(old));
        if is_met && before.iter().any(is_proved) {
            let others = before.iter().filter(|old| !is_proved(old));
            bindings.extend(others.cloned());
        } else if !before.iter().all(is_proved) {
            self.audit(AuditEvent::Released(ReleaseReason::Replaced));
        }
        self.contact.bindings = bindings;
        self.contact.released = None;
        self.contact.stage = Stage::Idle;
        // One proof is enough: another one in flight must not bind the chat to somebody else later.
        match &mut self.contact.mapping {
            Some(mapping) if mapping.is_signed_in() && proved_by != Some(mapping.proof_id()) => {
                self.burn();
            }
            Some(mapping) if mapping.state != MappingState::Burned => {
                mapping.state = MappingState::Used;
            }
            _ => {}
        }
        if self.is_demanded() && !self.is_under_way() {
            // What has just ended was the way to it.
            self.refuse_requirement();
        }
        self.audit(AuditEvent::Bound);
        self.actions.push(Action::Say(Sentence::SignedIn(
            self.contact.bindings.clone(),
        )));
        let language = self.contact.language;
        self.notify(&proved, language, |binding| Notice::Bound(binding.proof_id));
        if let Some(kept) = self.contact.kept.take()
            && now.since_ms(kept.sent_at) <= ANSWERABLE_MS
        {
            self.actions.push(Action::HandOn(kept));
        }
        Outcome::Bound
    }

    /// One mail to each address on file, independent of the chat (NIST SP 800-63B, 4.6).
    fn notify(
        &mut self,
        bindings: &[Binding],
        language: Language,
        notice: impl Fn(&Binding) -> Notice,
    ) {
        let mut told: Vec<&EmailAddress> = Vec::new();
        for binding in bindings {
            if let Some(to) = &binding.email
                && !told.contains(&to)
            {
                told.push(to);
                self.actions.push(Action::MailNotice {
                    to: to.clone(),
                    notice: notice(binding),
                    language,
                });
            }
        }
    }

    fn release(&mut self, reason: ReleaseReason) {
        if self.contact.is_bound() {
            self.contact.bindings.clear();
            self.contact.identity_key = None;
            self.contact.released = match reason {
                ReleaseReason::LoggedOut
                | ReleaseReason::Operator
                | ReleaseReason::Undone
                | ReleaseReason::Replaced
                | ReleaseReason::Bot
                | ReleaseReason::Forgotten => None,
                reason => Some(reason),
            };
            self.refuse_requirement();
            self.audit(AuditEvent::Released(reason));
        }
    }

    /// Whether an account's owner has barred this contact from it; until when.
    fn barred_from(&self, binding: &Binding) -> Option<Timestamp> {
        (self.contact.barred.iter())
            .find(|barred| barred.is_from(binding, self.now()))
            .map(|barred| barred.until)
    }

    /// The owner of an account says that the proof was somebody else's: it ends, and this contact
    /// is barred from the account for a while (section 3.2 g of the threat model).
    fn undone(&mut self, proof: ProofId) -> Outcome {
        let now = self.now();
        let undone: Vec<Binding> = (self.contact.bindings.iter())
            .filter(|binding| binding.can_be_undone(proof, now))
            .cloned()
            .collect();
        if undone.is_empty() {
            self.page = Some(PageAnswer::Gone);
            return Outcome::Ignored;
        }
        self.contact.barred.retain(|barred| now < barred.until);
        for binding in undone {
            if self.contact.barred.len() >= Barred::MAX {
                self.contact.barred.remove(0);
            }
            self.contact.barred.push(Barred {
                service: binding.service,
                user_id: binding.user_id,
                company_id: Some(binding.company.id),
                until: now.plus_ms(Policy::BARRED_MS),
            });
        }
        self.release(ReleaseReason::Undone);
        self.burn();
        self.contact.stage = Stage::Idle;
        self.contact.kept = None;
        self.say(Sentence::Undone);
        self.page = Some(PageAnswer::Finished);
        Outcome::Released
    }

    fn audit(&mut self, event: AuditEvent) {
        self.actions.push(Action::Audit(event));
    }

    fn limited(&mut self, sentence: Sentence) -> Outcome {
        self.audit(AuditEvent::Limited);
        self.say(sentence);
        Outcome::Limited
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

#[cfg(test)]
mod tests;

#[cfg(test)]
mod web_tests;

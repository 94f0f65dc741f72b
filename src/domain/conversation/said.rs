//! What the conversation can say, write down and be: the words of its log and interface.

use super::super::binding::{Binding, Proof, ReleaseReason};
use super::super::id::{EmailAddress, MappingId, RequirementId};
use super::super::time::Timestamp;

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
    /// Sign in on this page.
    Link {
        /// Which link.
        mapping: MappingId,
        /// What comes before it.
        opening: Opening,
    },
    /// Please use the link, then press *Send*.
    UseTheLink {
        /// Names the link.
        tag: String,
    },
    /// The link, or the way back from it, is too old or was used.
    LinkExpired {
        /// Names the link.
        tag: String,
    },
    /// Too many links were asked for in this chat.
    TooManyLinks {
        /// From when there are more.
        until: Timestamp,
    },
    /// Too many wrong passwords or numbers: the link is dead.
    LinkBurned {
        /// Names the link.
        tag: String,
    },
    /// Whoever opened the link says that it was not them.
    LinkDeclined,
    /// The way back came from somewhere else: nobody was signed in.
    SignInNotCompleted {
        /// Names the link.
        tag: String,
    },
    /// To somebody else than the one who asked for the link.
    NotYourSignIn,
    /// The account cannot be bound to this chat.
    AccountRefused,
    /// The password was right; now the code that was mailed.
    StepUp {
        /// The address on file.
        address: EmailAddress,
        /// Names the challenge.
        tag: String,
    },
    /// That code could not be mailed; sign in again.
    StepUpFailed {
        /// Names the link.
        tag: String,
    },
    /// The account's owner ended the sign-in.
    Undone,
    /// To go on, type the code that was mailed.
    Confirm {
        /// The address on file.
        address: EmailAddress,
        /// Names the challenge.
        tag: String,
    },
    /// To go on, which address do you have with us?
    ConfirmAddress,
    /// That code could not be mailed; try again later.
    ConfirmFailed,
    /// What was typed looks like a password, which has no place in a chat.
    NeverYourPassword,
    /// This would be deleted; shall it?
    ForgetYou {
        /// Names the question.
        tag: String,
    },
    /// It is being deleted.
    Forgotten,
    /// Nothing was deleted.
    NotForgotten,
}

/// What comes before a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: it was asked for.
    Asked,
    /// What it is for: to go on with something.
    Confirm,
    /// Who we are: it is the first answer.
    First,
    /// Why it is needed again.
    Again(ReleaseReason),
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
            Sentence::Link { .. } => "link",
            Sentence::UseTheLink { .. } => "use_the_link",
            Sentence::LinkExpired { .. } => "link_expired",
            Sentence::TooManyLinks { .. } => "too_many_links",
            Sentence::LinkBurned { .. } => "link_burned",
            Sentence::LinkDeclined => "link_declined",
            Sentence::SignInNotCompleted { .. } => "sign_in_not_completed",
            Sentence::NotYourSignIn => "not_your_sign_in",
            Sentence::AccountRefused => "account_refused",
            Sentence::StepUp { .. } => "step_up",
            Sentence::StepUpFailed { .. } => "step_up_failed",
            Sentence::Undone => "undone",
            Sentence::Confirm { .. } => "confirm",
            Sentence::ConfirmAddress => "confirm_address",
            Sentence::ConfirmFailed => "confirm_failed",
            Sentence::NeverYourPassword => "never_your_password",
            Sentence::ForgetYou { .. } => "forget_you",
            Sentence::Forgotten => "forgotten",
            Sentence::NotForgotten => "not_forgotten",
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
            AuditEvent::LinkSent => "link.sent",
            AuditEvent::LinkBurned => "link.burned",
            AuditEvent::LinkDeclined => "link.declined",
            AuditEvent::LinkMismatch => "link.mismatch",
            AuditEvent::PasswordWrong => "password.wrong",
            AuditEvent::PasswordRight => "password.right",
            AuditEvent::AccountRefused => "account.refused",
            AuditEvent::Bound => "contact.bound",
            AuditEvent::ProofAsked => "proof.asked",
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
    /// A link to the sign-in page was sent.
    LinkSent,
    /// A link was guessed at too often.
    LinkBurned,
    /// Whoever opened a link had not asked for it.
    LinkDeclined,
    /// A return code came from another chat, or by forward: somebody may have been sent this
    /// contact's link.
    LinkMismatch,
    /// A wrong password.
    PasswordWrong,
    /// The right password, or the word of a page; nobody is bound by that alone.
    PasswordRight,
    /// The account may not be bound to this contact.
    AccountRefused,
    /// An account was proved.
    Bound,
    /// The bot asked for a fresh proof.
    ProofAsked,
    /// The proof ended.
    Released(ReleaseReason),
}

/// What the bot is told about what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BotAnswer {
    /// There is a link.
    Link(MappingId),
    /// Such a proof stands already.
    Proved {
        /// Which.
        proof: Proof,
        /// Since when.
        at: Timestamp,
    },
    /// The person has been asked.
    Asked(RequirementId),
    /// A limit stops it; the sentence says which, and was not said in the chat.
    Limited(Sentence),
    /// The person last wrote too long ago to be answered.
    Closed,
    /// There is no way to such a proof.
    NoWay,
    /// So many bindings ended.
    Released(usize),
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
    /// A link to the sign-in page was sent.
    LinkSent,
    /// Something was done on the sign-in page.
    OnPage,
    /// Somebody signed in on the page.
    SignedIn,
    /// A return code did not come from the chat that it belongs to.
    Mismatch,
    /// The person wished to be forgotten.
    Forgotten,
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
            Outcome::LinkSent => "link_sent",
            Outcome::OnPage => "on_page",
            Outcome::SignedIn => "signed_in",
            Outcome::Mismatch => "mismatch",
            Outcome::Forgotten => "forgotten",
        }
    }
}

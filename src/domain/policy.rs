//! The limits of the conversation, as configured.

use super::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// Every limit that a decision depends on. [`Policy::default`] is what the documentation names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Digits of a one-time code.
    pub code_digits: usize,
    /// How long a code can be used.
    pub code_lifetime_ms: u64,
    /// Wrong codes after which a code is dead.
    pub tries_per_code: u32,
    /// Wrong codes in any 24 hours, per contact and per address; survives resend and restart.
    pub failures_per_day: u32,
    /// Wrong codes in any 24 hours over everybody; beyond it no new codes are made.
    pub failures_per_day_in_all: u32,
    /// Shortest time between two codes for one address in one chat.
    pub resend_after_ms: u64,
    /// Codes in any hour, per address over all contacts and per contact.
    pub mails_per_hour: u32,
    /// Codes in any 24 hours, per address over all contacts and per contact.
    pub mails_per_day: u32,
    /// Older messages neither start nor finish a sign-in (S-04).
    pub message_age_max_ms: u64,
    /// A binding ends after this long without a message (S-62).
    pub binding_idle_ms: u64,
    /// A binding ends this long after it was made, when set.
    pub binding_age_max_ms: Option<u64>,
    /// Replies of Portero's own in any hour, per contact.
    pub replies_per_hour: u32,
    /// The ways in that a contact is offered.
    pub methods: Methods,
    /// How long a link to the sign-in page can be used.
    pub link_lifetime_ms: u64,
    /// Links in any hour, per contact.
    pub links_per_hour: u32,
    /// Wrong passwords after which a link is dead (S-41).
    pub passwords_per_link: u32,
    /// Wrong passwords in any hour, per user name, over all links.
    pub passwords_per_user_per_hour: u32,
    /// Wrong passwords in any [`Policy::NETWORK_MS`], per network of the caller.
    pub passwords_per_network: u32,
    /// How long a return code can be used.
    pub return_code_lifetime_ms: u64,
    /// What has to happen after the password.
    pub finish: Finish,
    /// Whether the page asks for the number of the chat (section 3.2 b of the threat model).
    pub ask_number: bool,
    /// What a phone on file is worth.
    pub phone_on_file: PhoneOnFile,
    /// A binding made on the web is worth less for this long.
    pub first_hours_ms: u64,
    /// Whose messages reach the bot.
    pub gate: Gate,
}

/// Whose messages reach the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Everyone has to sign in first: only messages of bound contacts do.
    Everyone,
    /// All do but the turns of a sign-in, which the bot asks for when it needs one.
    OnRequest,
}

/// The ways in that a contact is offered; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Methods {
    /// A code by mail, typed in the chat.
    pub mail: bool,
    /// User and password on a web page.
    pub web: bool,
}

/// What has to happen after the right password before the chat is bound: the answer to link
/// forwarding (section 3 of the threat model).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A code travels from the browser back through the chat that asked for the link.
    ReturnCode,
    /// A code is mailed to the address on file and typed in that chat.
    MailCode,
    /// Nothing: whoever makes somebody open their link gets in as that person.
    Nothing,
}

/// What a phone on file is worth, when a service has one and the chat shows its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhoneOnFile {
    /// Another number than the chat's ends the sign-in.
    MustMatch,
    /// Another number than the chat's asks for a code by mail as well.
    StepUp,
    /// It is not looked at.
    Ignored,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            code_digits: 8,
            code_lifetime_ms: 10 * MINUTE_MS,
            tries_per_code: 5,
            failures_per_day: 10,
            failures_per_day_in_all: 500,
            resend_after_ms: 60 * SECOND_MS,
            mails_per_hour: 5,
            mails_per_day: 20,
            message_age_max_ms: 10 * MINUTE_MS,
            binding_idle_ms: 90 * DAY_MS,
            binding_age_max_ms: None,
            replies_per_hour: 30,
            methods: Methods {
                mail: true,
                web: false,
            },
            link_lifetime_ms: 10 * MINUTE_MS,
            links_per_hour: 3,
            passwords_per_link: 5,
            passwords_per_user_per_hour: 10,
            passwords_per_network: 30,
            return_code_lifetime_ms: 5 * MINUTE_MS,
            finish: Finish::ReturnCode,
            ask_number: false,
            phone_on_file: PhoneOnFile::MustMatch,
            first_hours_ms: DAY_MS,
            gate: Gate::Everyone,
        }
    }
}

impl Policy {
    /// The window of everything counted per hour.
    pub const HOUR_MS: u64 = HOUR_MS;
    /// The window of everything counted per day.
    pub const DAY_MS: u64 = DAY_MS;
    /// The window of wrong passwords per network.
    pub const NETWORK_MS: u64 = 10 * MINUTE_MS;
    /// Links in any day, per contact.
    pub const LINKS_PER_DAY: u32 = 10;
    /// Wrong numbers typed on the page after which a link is dead.
    pub const NUMBERS_PER_LINK: u32 = 3;
    /// Return codes from other chats in any day after which a contact gets no more links.
    pub const MISMATCHES_PER_DAY: u32 = 2;
    /// How long a proof that the bot asked for can be given: time for an address, a code and
    /// another code.
    pub const REQUIREMENT_MS: u64 = 30 * MINUTE_MS;
    /// How long a new binding can be undone by mail.
    pub const UNDO_MS: u64 = 7 * DAY_MS;
    /// How long a contact stays barred from an account after its owner undid a binding.
    pub const BARRED_MS: u64 = DAY_MS;
}

//! What should be so: the simplest code that could say it, with lists that are looked through from
//! the beginning, and no idea of stores, outboxes or retries. It is told what people do and what
//! reached them, and says what each thing should come to and who is signed in as whom.

use super::steps::{Check, Text, Who};
use portero::domain::id::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use portero::domain::policy::{Finish, Gate, PhoneOnFile, Policy};

/// What follows a question this closely was written before it was read.
const SAME_BREATH_MS: u64 = 5 * SECOND_MS;
/// Nothing can be answered after this.
const WINDOW_MS: u64 = 23 * HOUR_MS;
/// WhatsApp's clock and ours.
const CLOCKS_APART_MS: u64 = MINUTE_MS;

/// A user of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    pub service: String,
    pub id: String,
    pub email: String,
    pub company: String,
    pub phone: Option<String>,
}

/// How somebody is shown by WhatsApp.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub bsuid: Option<String>,
    pub number: Option<String>,
    pub key: Option<String>,
}

/// By what somebody was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Code,
    Link(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    pub users: Vec<User>,
    pub proof: Proof,
    pub at: u64,
}

/// What was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Nothing,
    Address { at: u64 },
    Spelling { typed: String, meant: String },
    Code(Code),
    Link,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub address: String,
    pub at: u64,
    pub wrong: u32,
    /// What was mailed, once it was.
    pub mailed: Option<String>,
    /// Whose password was right before, when it is a second step.
    pub after_password: Option<Vec<User>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub number: usize,
    pub at: u64,
    pub passwords: u32,
    pub wrong_numbers: u32,
    pub state: LinkState,
    /// Who had signed in with the link before this one.
    pub earlier: Vec<User>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    Live,
    SignedIn { users: Vec<User>, until: u64 },
    Used,
    Burned,
}

/// One chat.
#[derive(Clone, Debug)]
pub struct Chat {
    pub bsuid: Option<String>,
    pub number: Option<String>,
    pub key: Option<String>,
    pub last_wrote: u64,
    pub bound: Option<Bound>,
    pub asked: Asked,
    pub link: Option<Link>,
    /// Codes asked for, with their addresses.
    pub codes: Vec<(u64, String)>,
    pub failures: Vec<u64>,
    pub links: Vec<u64>,
    pub mismatches: Vec<u64>,
    /// Users whose owners undid a sign-in here, and until when.
    pub barred: Vec<(User, u64)>,
}

/// What somebody wrote, with the secrets in it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub names: Names,
    pub sent_at: u64,
    pub forwarded: bool,
    pub text: Text,
    /// The digits, of a text that is a code.
    pub digits: Option<String>,
    /// The link whose return code is in it, and the chat that it was sent to.
    pub returns: Option<usize>,
    /// Whether a button belongs to the question in force, and to the last link.
    pub tap: (bool, bool),
}

/// What is known of a link: to whom it was sent, and when its return code was made.
#[derive(Clone, Debug)]
pub struct Known {
    pub chat: usize,
    pub returned_from: Option<u64>,
    pub forgotten: bool,
}

pub struct Model {
    pub policy: Policy,
    pub users: Vec<User>,
    /// Chats that were forgotten are `None`.
    pub chats: Vec<Option<Chat>>,
    pub links: Vec<Known>,
    /// Codes asked for and wrong codes, by address.
    pub address_codes: Vec<(u64, String)>,
    pub address_failures: Vec<(u64, String)>,
    pub all_failures: Vec<u64>,
    /// Wrong passwords, by user name and by network.
    pub names_tried: Vec<(u64, String)>,
    pub networks_tried: Vec<(u64, Who)>,
}

pub fn typo_of(address: &str) -> String {
    format!("{}@gmial.com", address.split('@').next().unwrap())
}

pub fn meant_by(typo: &str) -> Option<String> {
    typo.strip_suffix("@gmial.com")
        .map(|local| format!("{local}@gmail.com"))
}

/// How many moments lie in the window that ends now.
fn within(moments: impl IntoIterator<Item = u64>, now: u64, window: u64) -> u32 {
    let inside = moments.into_iter().filter(|at| now < at + window);
    u32::try_from(inside.count()).unwrap()
}

impl Chat {
    fn new(names: &Names, now: u64) -> Chat {
        Chat {
            bsuid: names.bsuid.clone(),
            number: names.number.clone(),
            key: None,
            last_wrote: now,
            bound: None,
            asked: Asked::Nothing,
            link: None,
            codes: Vec::new(),
            failures: Vec::new(),
            links: Vec::new(),
            mismatches: Vec::new(),
            barred: Vec::new(),
        }
    }

    pub fn burn(&mut self, now: u64) {
        if let Some(link) = &mut self.link {
            match &mut link.state {
                LinkState::Used => {}
                LinkState::SignedIn { until, .. } => *until = now.min(*until),
                state => *state = LinkState::Burned,
            }
        }
    }

    /// The proof ends, and what was under way with it.
    pub fn release(&mut self, now: u64) {
        self.bound = None;
        self.key = None;
        self.asked = Asked::Nothing;
        self.burn(now);
    }

    fn unbind(&mut self) {
        if self.bound.take().is_some() {
            self.key = None;
        }
    }

    fn same_breath(&self, now: u64) -> bool {
        let asked_at = match &self.asked {
            Asked::Address { at } => *at,
            Asked::Code(code) => code.at,
            Asked::Link => self.link.as_ref().map_or(0, |link| link.at),
            Asked::Nothing | Asked::Spelling { .. } => return false,
        };
        now < asked_at + SAME_BREATH_MS
    }

    fn proved_just_now(&self, now: u64) -> bool {
        (self.bound.as_ref()).is_some_and(|bound| now < bound.at + SAME_BREATH_MS)
    }
}

impl Model {
    pub fn new(policy: Policy, users: Vec<User>) -> Model {
        Model {
            policy,
            users,
            chats: Vec::new(),
            links: Vec::new(),
            address_codes: Vec::new(),
            address_failures: Vec::new(),
            all_failures: Vec::new(),
            names_tried: Vec::new(),
            networks_tried: Vec::new(),
        }
    }

    pub fn chat(&self, at: usize) -> &Chat {
        self.chats[at]
            .as_ref()
            .expect("a chat that is not forgotten")
    }

    pub fn chat_mut(&mut self, at: usize) -> &mut Chat {
        self.chats[at]
            .as_mut()
            .expect("a chat that is not forgotten")
    }

    /// The chat of these names, without looking for conflicts.
    pub fn find(&self, names: &Names) -> Option<usize> {
        self.by_bsuid(names).or_else(|| self.by_number(names))
    }

    fn by_bsuid(&self, names: &Names) -> Option<usize> {
        let is_it = |chat: &Chat| names.bsuid.is_some() && chat.bsuid == names.bsuid;
        self.chats
            .iter()
            .position(|c| c.as_ref().is_some_and(is_it))
    }

    pub fn by_number(&self, names: &Names) -> Option<usize> {
        let is_it = |chat: &Chat| names.number.is_some() && chat.number == names.number;
        self.chats
            .iter()
            .position(|c| c.as_ref().is_some_and(is_it))
    }

    /// As whom the chat can act now: what time has ended no longer counts.
    pub fn acts_as(&self, at: usize, now: u64) -> Vec<User> {
        let chat = self.chat(at);
        match &chat.bound {
            Some(bound) if !self.outlived(chat, bound, now) => bound.users.clone(),
            _ => Vec::new(),
        }
    }

    fn outlived(&self, chat: &Chat, bound: &Bound, now: u64) -> bool {
        let silent_since = chat.last_wrote.max(bound.at);
        now > silent_since + self.policy.binding_idle_ms
            || (self.policy.binding_age_max_ms).is_some_and(|max| now > bound.at + max)
    }

    fn code_is_live(&self, code: &Code, now: u64) -> bool {
        now < code.at + self.policy.code_lifetime_ms && code.wrong < self.policy.tries_per_code
    }

    fn has_live_code(&self, chat: &Chat, now: u64) -> bool {
        matches!(&chat.asked, Asked::Code(code) if self.code_is_live(code, now))
    }

    pub fn link_is_live(&self, link: &Link, now: u64) -> bool {
        link.state == LinkState::Live && now < link.at + self.policy.link_lifetime_ms
    }

    fn has_link(&self, chat: &Chat, now: u64) -> bool {
        chat.link.as_ref().is_some_and(|link| {
            self.link_is_live(link, now)
                || matches!(link.state, LinkState::SignedIn { until, .. } if now < until)
        })
    }

    // --- who writes -----------------------------------------------------------------------------

    /// The chat in which somebody writes. Names that belong to two chats end the proofs of both, a
    /// number in other hands ends the proof of whoever had it, and nothing is ever merged.
    fn writer(&mut self, names: &Names, now: u64) -> usize {
        let (by_bsuid, by_number) = (self.by_bsuid(names), self.by_number(names));
        let at = match (by_bsuid, by_number) {
            (Some(first), Some(second)) if first != second => {
                self.chat_mut(second).release(now);
                self.chat_mut(second).number = None;
                self.chat_mut(first).release(now);
                first
            }
            (Some(at), _) => at,
            (None, Some(at)) if names.bsuid.is_some() && self.chat(at).bsuid.is_some() => {
                self.chat_mut(at).release(now);
                self.chat_mut(at).number = None;
                self.chats.push(Some(Chat::new(names, now)));
                self.chats.len() - 1
            }
            (None, Some(at)) => at,
            (None, None) => {
                self.chats.push(Some(Chat::new(names, now)));
                self.chats.len() - 1
            }
        };
        let chat = self.chat_mut(at);
        if chat.number.is_some() && names.number.is_some() && chat.number != names.number {
            chat.release(now);
        }
        if names.number.is_some() {
            chat.number.clone_from(&names.number);
        }
        if chat.bsuid.is_none() {
            chat.bsuid.clone_from(&names.bsuid);
        }
        at
    }

    /// Somebody's number or identity changed, says WhatsApp.
    pub fn changed(&mut self, before: &Names, now: u64) {
        let found = [self.by_bsuid(before), self.by_number(before)];
        for at in found.into_iter().flatten() {
            self.chat_mut(at).release(now);
        }
    }

    // --- what is written ------------------------------------------------------------------------

    /// A message to a group, where nobody is signed in.
    pub fn hears_in_group(&mut self, heard: &Heard, now: u64) -> &'static str {
        if let Some(link) = heard.returns.filter(|link| self.is_known(*link)) {
            return self.returned_elsewhere(link, now);
        }
        if self.policy.gate == Gate::Everyone || heard.returns.is_some() {
            return "ignored";
        }
        for at in [self.by_bsuid(&heard.names), self.by_number(&heard.names)] {
            let Some(chat) = at.map(|at| self.chat(at)) else {
                continue;
            };
            let is_signing_in = self.has_live_code(chat, now) || self.has_link(chat, now);
            if is_signing_in || self.is_being_asked(chat, now) || is_an_answer(chat, heard) {
                return "ignored";
            }
        }
        "handed_on"
    }

    /// A message in a chat.
    pub fn hears(&mut self, heard: &Heard, now: u64) -> &'static str {
        let at = self.writer(&heard.names, now);
        let foreign = heard
            .returns
            .filter(|link| self.is_known(*link) && self.links[*link].chat != at);
        if let Some(link) = foreign {
            self.returned_elsewhere(link, now);
        }
        self.end_what_no_longer_stands(at, heard, now);
        let live_code = self.has_live_code(self.chat(at), now);
        let chat = self.chat_mut(at);
        if now > chat.last_wrote + WINDOW_MS && !live_code {
            chat.asked = Asked::Nothing;
        }
        // Known to a minute.
        if now >= chat.last_wrote + MINUTE_MS {
            chat.last_wrote = now;
        }
        if heard.returns.is_some() {
            return self.returns(at, heard, foreign.is_some(), now);
        }
        if self.chat(at).bound.is_some() {
            return self.hears_from_somebody_known(at, heard, now);
        }
        let age = now.saturating_sub(heard.sent_at);
        let chat = self.chat(at);
        if self.policy.gate == Gate::OnRequest
            && !self.is_being_asked(chat, now)
            && !is_an_answer(chat, heard)
        {
            return "handed_on";
        }
        if age > WINDOW_MS {
            return "stale";
        }
        if heard.text == Text::Reaction {
            return "ignored";
        }
        if age > self.policy.message_age_max_ms {
            return self.late(at, now);
        }
        if heard.forwarded {
            return self.forwarded(at, heard, now);
        }
        self.hears_from_somebody_unknown(at, heard, now)
    }

    fn end_what_no_longer_stands(&mut self, at: usize, heard: &Heard, now: u64) {
        let chat = self.chat(at);
        let Some(bound) = &chat.bound else { return };
        let is_older = heard.sent_at + CLOCKS_APART_MS < bound.at;
        let other_key = match (&chat.key, &heard.names.key) {
            (Some(proved), Some(key)) => proved != key && !is_older,
            _ => false,
        };
        let outlived = self.outlived(chat, bound, now);
        let chat = self.chat_mut(at);
        if other_key {
            chat.release(now);
        } else if outlived {
            chat.unbind();
        } else if chat.key.is_none() {
            chat.key.clone_from(&heard.names.key);
        }
    }

    fn is_being_asked(&self, chat: &Chat, now: u64) -> bool {
        let in_chat = match &chat.asked {
            Asked::Nothing | Asked::Link => false,
            Asked::Address { at } => now < at + self.policy.code_lifetime_ms,
            Asked::Spelling { .. } => true,
            Asked::Code(code) => now < code.at + self.policy.code_lifetime_ms,
        };
        in_chat || self.has_link(chat, now)
    }

    fn hears_from_somebody_known(&mut self, at: usize, heard: &Heard, now: u64) -> &'static str {
        let is_late = now.saturating_sub(heard.sent_at) > self.policy.message_age_max_ms;
        let chat = self.chat(at).clone();
        let live_code = self.has_live_code(&chat, now);
        let is_signing_in = live_code || self.has_link(&chat, now);
        let is_the_code = matches!(&chat.asked, Asked::Code(code)
            if heard.digits.is_some() && code.mailed == heard.digits);
        match heard.text {
            Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode
                if live_code || is_the_code =>
            {
                return match () {
                    () if heard.forwarded => self.forwarded(at, heard, now),
                    () if is_late => self.late(at, now),
                    () => self.code(at, heard, now),
                };
            }
            // The code once more, by an impatient thumb.
            Text::Code(_) | Text::Guess | Text::TwoCodes | Text::ShortCode
                if !heard.forwarded && chat.proved_just_now(now) =>
            {
                return "ignored";
            }
            Text::Address(_) | Text::Typo(_) | Text::TwoAddresses
                if is_signing_in && (live_code || chat.link.is_some()) =>
            {
                return "asked";
            }
            Text::Password if is_signing_in => return "asked",
            Text::Picture if live_code && chat.same_breath(now) => return "ignored",
            Text::Picture if live_code => return "asked",
            Text::Tap(button) | Text::OldTap(button) => {
                let (of_code, of_link) = heard.tap;
                let of_code = of_code && matches!(chat.asked, Asked::Code(_));
                return match button {
                    "newlink" if !is_late && of_link && self.policy.methods.web => {
                        self.send_link(at, now)
                    }
                    "resend" if !is_late && of_code => self.resend(at, now),
                    "cancel" if !is_late && (of_link || of_code) => self.cancel(at, now),
                    "logout" if !heard.forwarded => self.log_out(at, heard),
                    _ if heard.forwarded => "handed_on",
                    _ => "ignored",
                };
            }
            Text::LogOut if !heard.forwarded => return self.log_out(at, heard),
            Text::WhoAmI if !heard.forwarded => return "asked",
            _ => {}
        }
        "handed_on"
    }

    fn log_out(&mut self, at: usize, heard: &Heard) -> &'static str {
        let chat = self.chat_mut(at);
        let bound_at = chat.bound.as_ref().map_or(0, |bound| bound.at);
        if heard.sent_at + CLOCKS_APART_MS < bound_at {
            return "stale";
        }
        chat.unbind();
        chat.asked = Asked::Nothing;
        "released"
    }

    fn hears_from_somebody_unknown(&mut self, at: usize, heard: &Heard, now: u64) -> &'static str {
        let methods = self.policy.methods;
        let chat = self.chat(at).clone();
        let is_signing_in = self.has_live_code(&chat, now) || self.has_link(&chat, now);
        match heard.text {
            Text::Hello | Text::Question => self.words(at, now),
            Text::Password if is_signing_in => "asked",
            Text::Password => self.words(at, now),
            Text::Reaction => "ignored",
            Text::Picture => match chat.asked {
                Asked::Nothing => self.welcome(at, now),
                _ if chat.same_breath(now) => "ignored",
                _ => "asked",
            },
            Text::Address(_) | Text::Typo(_) | Text::TwoAddresses if !methods.mail => {
                self.words(at, now)
            }
            Text::TwoAddresses => {
                if chat.asked == Asked::Nothing {
                    self.chat_mut(at).asked = Asked::Address { at: now };
                }
                "asked"
            }
            Text::Address(who) => self.begin(at, address_of(who), now),
            Text::Typo(who) => {
                let typed = typo_of(&address_of(who));
                let meant = meant_by(&typed).unwrap();
                self.chat_mut(at).asked = Asked::Spelling { typed, meant };
                "asked"
            }
            Text::ShortCode if !matches!(chat.asked, Asked::Code(_)) => self.words(at, now),
            Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode => {
                self.code(at, heard, now)
            }
            Text::Yes
            | Text::No
            | Text::Resend
            | Text::OtherAddress
            | Text::Cancel
            | Text::LogOut
            | Text::WhoAmI
            | Text::Web => self.command(at, heard.text, now),
            Text::Tap(button) | Text::OldTap(button) => {
                let (of_question, of_link) = heard.tap;
                let is_current = match chat.asked {
                    Asked::Code(_) | Asked::Spelling { .. } => of_question,
                    Asked::Link => of_link,
                    Asked::Nothing | Asked::Address { .. } => false,
                };
                let command = match button {
                    "resend" => Text::Resend,
                    "other" => Text::OtherAddress,
                    "cancel" => Text::Cancel,
                    "yes" => Text::Yes,
                    "no" => Text::No,
                    "logout" => Text::LogOut,
                    _ => Text::Web,
                };
                if is_current || matches!(command, Text::LogOut | Text::Web) {
                    self.command(at, command, now)
                } else if chat.asked == Asked::Nothing {
                    self.welcome(at, now)
                } else {
                    "asked"
                }
            }
            Text::Return(_) | Text::OldReturn(_) => self.words(at, now),
        }
    }

    fn command(&mut self, at: usize, command: Text, now: u64) -> &'static str {
        let methods = self.policy.methods;
        match (command, self.chat(at).asked.clone()) {
            (Text::Resend, Asked::Code(_)) => self.resend(at, now),
            (Text::OtherAddress, Asked::Code(_) | Asked::Spelling { .. } | Asked::Link)
                if methods.mail =>
            {
                self.chat_mut(at).asked = Asked::Address { at: now };
                "asked"
            }
            (Text::Cancel, asked) if asked != Asked::Nothing => self.cancel(at, now),
            (Text::Web, _) if methods.web => self.send_link(at, now),
            (Text::Yes, Asked::Spelling { meant, .. }) => self.begin(at, meant, now),
            (Text::No, Asked::Spelling { typed, .. }) => self.begin(at, typed, now),
            (Text::LogOut | Text::WhoAmI, Asked::Nothing | Asked::Address { .. })
                if methods.mail =>
            {
                self.chat_mut(at).asked = Asked::Address { at: now };
                "asked"
            }
            _ => self.words(at, now),
        }
    }

    fn cancel(&mut self, at: usize, now: u64) -> &'static str {
        let chat = self.chat_mut(at);
        chat.asked = Asked::Nothing;
        chat.burn(now);
        "asked"
    }

    fn words(&mut self, at: usize, now: u64) -> &'static str {
        let methods = self.policy.methods;
        let chat = self.chat(at);
        match &chat.asked {
            Asked::Nothing => self.welcome(at, now),
            _ if chat.same_breath(now) => "ignored",
            Asked::Address { .. } | Asked::Spelling { .. } if !methods.mail => {
                self.welcome(at, now)
            }
            Asked::Link if !methods.web => self.welcome(at, now),
            _ => "asked",
        }
    }

    fn welcome(&mut self, at: usize, now: u64) -> &'static str {
        if !self.policy.methods.mail {
            return self.send_link(at, now);
        }
        self.chat_mut(at).asked = Asked::Address { at: now };
        "asked"
    }

    fn late(&mut self, at: usize, now: u64) -> &'static str {
        match self.chat(at).asked {
            Asked::Nothing => self.welcome(at, now),
            _ if self.chat(at).same_breath(now) => "ignored",
            _ => "stale",
        }
    }

    fn forwarded(&mut self, at: usize, heard: &Heard, now: u64) -> &'static str {
        let has_code = matches!(
            heard.text,
            Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode
        );
        match self.chat(at).asked.clone() {
            Asked::Nothing => self.welcome(at, now),
            Asked::Code(code) if has_code => {
                if self.code_is_live(&code, now) {
                    self.count_failure(at, now);
                }
                "code_wrong"
            }
            _ => "asked",
        }
    }

    // --- codes ----------------------------------------------------------------------------------

    fn is_locked(&self, at: usize, address: &str, now: u64) -> bool {
        let policy = &self.policy;
        let of_address = self.address_failures.iter().filter(|(_, of)| of == address);
        within(self.all_failures.iter().copied(), now, DAY_MS) >= policy.failures_per_day_in_all
            || within(self.chat(at).failures.iter().copied(), now, DAY_MS)
                >= policy.failures_per_day
            || within(of_address.map(|(at, _)| *at), now, DAY_MS) >= policy.failures_per_day
    }

    fn count_failure(&mut self, at: usize, now: u64) {
        let chat = self.chat_mut(at);
        chat.failures.push(now);
        if let Asked::Code(code) = &mut chat.asked {
            code.wrong += 1;
            let address = code.address.clone();
            self.address_failures.push((now, address));
        }
        self.all_failures.push(now);
    }

    fn too_many_codes(&self, codes: &[u64], now: u64) -> bool {
        within(codes.iter().copied(), now, HOUR_MS) >= self.policy.mails_per_hour
            || within(codes.iter().copied(), now, DAY_MS) >= self.policy.mails_per_day
    }

    fn codes_of_chat(&self, at: usize) -> Vec<u64> {
        self.chat(at).codes.iter().map(|(at, _)| *at).collect()
    }

    fn codes_of_address(&self, address: &str) -> Vec<u64> {
        let of_address = self.address_codes.iter().filter(|(_, of)| of == address);
        of_address.map(|(at, _)| *at).collect()
    }

    /// A code is wanted for an address, whoever has it.
    fn begin(&mut self, at: usize, address: String, now: u64) -> &'static str {
        if self.is_locked(at, &address, now) {
            return "limited";
        }
        let chat = self.chat(at);
        let last = match &chat.asked {
            Asked::Code(code) if code.address == address => Some(code.at),
            _ => (chat.codes.iter().rfind(|(_, of)| *of == address)).map(|(last, _)| *last),
        };
        if last.is_some_and(|last| now < last + self.policy.resend_after_ms)
            || self.too_many_codes(&self.codes_of_chat(at), now)
        {
            return "limited";
        }
        // Asked for from many chats, an address gets no more mail, and nobody hears of it.
        let is_mailed = !self.too_many_codes(&self.codes_of_address(&address), now);
        if is_mailed {
            self.address_codes.push((now, address.clone()));
        }
        self.put_code(at, address, None, now);
        if !is_mailed && let Some((_, of)) = self.chat_mut(at).codes.last_mut() {
            // Counted here, and for no address.
            of.clear();
        }
        "code_asked"
    }

    fn put_code(&mut self, at: usize, address: String, after: Option<Vec<User>>, now: u64) {
        let chat = self.chat_mut(at);
        chat.codes.push((now, address.clone()));
        chat.asked = Asked::Code(Code {
            address,
            at: now,
            wrong: 0,
            mailed: None,
            after_password: after,
        });
    }

    fn resend(&mut self, at: usize, now: u64) -> &'static str {
        let chat = self.chat(at);
        let Asked::Code(code) = chat.asked.clone() else {
            return "asked";
        };
        if self.policy.methods.mail && chat.bound.is_none() {
            return self.begin(at, code.address, now);
        }
        match code.after_password {
            Some(users) if now < code.at + self.policy.code_lifetime_ms => {
                if self.is_locked(at, &code.address, now)
                    || now < code.at + self.policy.resend_after_ms
                    || self.too_many_codes(&self.codes_of_chat(at), now)
                    || self.too_many_codes(&self.codes_of_address(&code.address), now)
                {
                    return "limited";
                }
                self.address_codes.push((now, code.address.clone()));
                self.put_code(at, code.address, Some(users), now);
                "code_asked"
            }
            _ if self.policy.methods.web => self.send_link(at, now),
            _ => "asked",
        }
    }

    fn code(&mut self, at: usize, heard: &Heard, now: u64) -> &'static str {
        let Asked::Code(code) = self.chat(at).asked.clone() else {
            return self.words(at, now);
        };
        if heard.text == Text::ShortCode {
            return "asked";
        }
        if self.is_locked(at, &code.address, now) {
            return "limited";
        }
        if now >= code.at + self.policy.code_lifetime_ms {
            return "asked";
        }
        if code.wrong >= self.policy.tries_per_code {
            return "limited";
        }
        if heard.digits.is_none() || heard.digits != code.mailed {
            self.count_failure(at, now);
            return "code_wrong";
        }
        let users = code.after_password.unwrap_or_else(|| {
            let of_address = self.users.iter().filter(|user| user.email == code.address);
            of_address.cloned().collect()
        });
        if self.is_barred(at, &users, now) {
            self.chat_mut(at).asked = Asked::Nothing;
            return "limited";
        }
        self.address_failures.retain(|(_, of)| *of != code.address);
        self.chat_mut(at).key.clone_from(&heard.names.key);
        self.bind(at, users, Proof::Code, now);
        "bound"
    }

    fn is_barred(&self, at: usize, users: &[User], now: u64) -> bool {
        let barred = &self.chat(at).barred;
        barred
            .iter()
            .any(|(user, until)| now < *until && users.contains(user))
    }

    fn bind(&mut self, at: usize, users: Vec<User>, proof: Proof, now: u64) {
        let chat = self.chat_mut(at);
        let own = match (&chat.link, &proof) {
            (Some(link), Proof::Link(number)) => link.number == *number,
            _ => false,
        };
        match chat.link.as_mut().map(|link| &mut link.state) {
            Some(LinkState::SignedIn { .. }) if !own => chat.burn(now),
            Some(state) if *state != LinkState::Burned => *state = LinkState::Used,
            _ => {}
        }
        chat.bound = Some(Bound {
            users,
            proof,
            at: now,
        });
        chat.asked = Asked::Nothing;
    }

    /// What a code needs could not be had in time: it counts against nobody.
    pub fn gave_up(&mut self, at: usize, now: u64) {
        let methods = self.policy.methods;
        let chat = self.chat_mut(at);
        let Asked::Code(code) = chat.asked.clone() else {
            return;
        };
        chat.asked = match chat.bound.is_some() || !methods.mail {
            true => Asked::Nothing,
            false => Asked::Address { at: now },
        };
        take_back(&mut chat.codes, code.at, &code.address);
        take_back(&mut self.address_codes, code.at, &code.address);
    }

    // --- links ----------------------------------------------------------------------------------

    pub fn send_link(&mut self, at: usize, now: u64) -> &'static str {
        let policy = self.policy.clone();
        let number = self.links.len();
        let chat = self.chat_mut(at);
        let two_within_a_day = (chat.mismatches.windows(2))
            .rfind(|pair| pair[1] < pair[0] + DAY_MS)
            .is_some_and(|pair| now < pair[1] + DAY_MS);
        if within(chat.links.iter().copied(), now, HOUR_MS) >= policy.links_per_hour
            || within(chat.links.iter().copied(), now, DAY_MS) >= Policy::LINKS_PER_DAY
            || two_within_a_day
        {
            return "limited";
        }
        chat.links.push(now);
        let earlier = match chat.link.take() {
            Some(Link {
                state: LinkState::SignedIn { users, .. },
                ..
            }) => users,
            Some(link) => link.earlier,
            None => Vec::new(),
        };
        chat.link = Some(Link {
            number,
            at: now,
            passwords: 0,
            wrong_numbers: 0,
            state: LinkState::Live,
            earlier,
        });
        if chat.bound.is_none() {
            chat.asked = Asked::Link;
        }
        self.links.push(Known {
            chat: at,
            returned_from: None,
            forgotten: false,
        });
        "link_sent"
    }

    /// A form was sent with the link `number`; what the page should say.
    pub fn signs(
        &mut self,
        number: usize,
        by: Who,
        user_name: &str,
        typed_number: Option<&str>,
        check: Check,
        now: u64,
    ) -> &'static str {
        let at = self.links[number].chat;
        let Some(link) = self.live_link(number, now) else {
            return "Gone";
        };
        if self.policy.ask_number
            && self.chat(at).number.is_some()
            && self.chat(at).number.as_deref() != typed_number
        {
            let link = self.chat_mut(at).link.as_mut().unwrap();
            link.wrong_numbers += 1;
            if link.wrong_numbers < Policy::NUMBERS_PER_LINK {
                return "WrongNumber";
            }
            self.chat_mut(at).burn(now);
            return "Burned";
        }
        let of_name = self.names_tried.iter().filter(|(_, of)| of == user_name);
        let of_network = self.networks_tried.iter().filter(|(_, of)| *of == by);
        let policy = &self.policy;
        if within(of_name.map(|(at, _)| *at), now, HOUR_MS) >= policy.passwords_per_user_per_hour
            || within(of_network.map(|(at, _)| *at), now, Policy::NETWORK_MS)
                >= policy.passwords_per_network
        {
            return "TooMany";
        }
        if link.passwords >= policy.passwords_per_link {
            return "Gone";
        }
        let max = policy.passwords_per_link;
        let wrong = |model: &mut Model| {
            model.names_tried.push((now, user_name.to_owned()));
            model.networks_tried.push((now, by));
            let link = model.chat_mut(at).link.as_mut().unwrap();
            link.passwords += 1;
            link.passwords >= max
        };
        match check {
            Check::Wrong | Check::NotEverybody => {
                if wrong(self) {
                    self.chat_mut(at).burn(now);
                    return "Burned";
                }
                match check {
                    Check::NotEverybody => "NoAnswer",
                    _ => "WrongPassword",
                }
            }
            Check::NoAnswer => "NoAnswer",
            Check::Right => {
                let users = self.users.iter().filter(|user| user.email == user_name);
                let users = users.cloned().collect();
                // The form that was right is one of those that a link takes.
                self.chat_mut(at).link.as_mut().unwrap().passwords += 1;
                self.signed_in(at, users, now)
            }
        }
    }

    pub fn live_link(&self, number: usize, now: u64) -> Option<Link> {
        let chat = self.chats[self.links[number].chat].as_ref()?;
        let link = chat.link.clone().filter(|link| link.number == number)?;
        self.link_is_live(&link, now).then_some(link)
    }

    fn signed_in(&mut self, at: usize, users: Vec<User>, now: u64) -> &'static str {
        let policy = self.policy.clone();
        let number = self.chat(at).number.clone();
        let differs = (users.iter())
            .any(|user| user.phone.is_some() && number.is_some() && user.phone != number);
        let unknown = users.iter().any(|user| user.phone.is_some()) && number.is_none();
        let same = users
            .iter()
            .all(|user| user.phone.is_some() && user.phone == number);
        let looks = policy.phone_on_file != PhoneOnFile::Ignored;
        if self.is_barred(at, &users, now)
            || (differs && policy.phone_on_file == PhoneOnFile::MustMatch)
        {
            let chat = self.chat_mut(at);
            chat.burn(now);
            chat.mismatches.push(now);
            return "Refused";
        }
        if looks && (differs || unknown) {
            return self.step_up(at, users, now);
        }
        if looks && same {
            return self.finish(at, users, now);
        }
        match policy.finish {
            Finish::Nothing => self.finish(at, users, now),
            Finish::MailCode => self.step_up(at, users, now),
            Finish::ReturnCode => {
                let link = self.chat_mut(at).link.as_mut().unwrap();
                link.state = LinkState::SignedIn {
                    users,
                    until: now + policy.return_code_lifetime_ms,
                };
                let number = link.number;
                self.links[number].returned_from = Some(now);
                "Return"
            }
        }
    }

    fn finish(&mut self, at: usize, users: Vec<User>, now: u64) -> &'static str {
        let chat = self.chat_mut(at);
        chat.key = None;
        let number = chat.link.as_ref().unwrap().number;
        self.bind(at, users, Proof::Link(number), now);
        "Finished"
    }

    fn step_up(&mut self, at: usize, users: Vec<User>, now: u64) -> &'static str {
        let to = users[0].email.clone();
        let too_many = self.too_many_codes(&self.codes_of_chat(at), now)
            || self.too_many_codes(&self.codes_of_address(&to), now);
        let is_paused = within(self.all_failures.iter().copied(), now, DAY_MS)
            >= self.policy.failures_per_day_in_all;
        if too_many || self.is_locked(at, &to, now) {
            self.chat_mut(at).link.as_mut().unwrap().passwords -= 1;
            return match is_paused && !too_many {
                true => "NoAnswer",
                false => "TooMany",
            };
        }
        self.address_codes.push((now, to.clone()));
        self.put_code(at, to, Some(users), now);
        self.chat_mut(at).link.as_mut().unwrap().state = LinkState::Used;
        "CodeMailed"
    }

    pub fn declines(&mut self, number: usize, now: u64) -> &'static str {
        let at = self.links[number].chat;
        if self.live_link(number, now).is_none() {
            return "Gone";
        }
        self.chat_mut(at).burn(now);
        "Declined"
    }

    // --- the way back ---------------------------------------------------------------------------

    /// Whether a return code is still known as one.
    fn is_known(&self, number: usize) -> bool {
        !self.links[number].forgotten && self.chats[self.links[number].chat].is_some()
    }

    fn returns(&mut self, at: usize, heard: &Heard, is_foreign: bool, now: u64) -> &'static str {
        let number = heard.returns.expect("a return code");
        let age = now.saturating_sub(heard.sent_at);
        let chat = self.chat(at).clone();
        if let Some(Link {
            number: last,
            state: LinkState::SignedIn { users, until },
            ..
        }) = chat.link.clone()
            && last == number
        {
            if heard.forwarded {
                self.mismatch(at, now);
                return "mismatch";
            }
            if now >= until || age > self.policy.message_age_max_ms {
                self.chat_mut(at).burn(now);
                return "asked";
            }
            self.chat_mut(at).key.clone_from(&heard.names.key);
            self.bind(at, users, Proof::Link(number), now);
            return "bound";
        }
        match () {
            () if is_foreign => "mismatch",
            () if chat.proved_just_now(now) => "ignored",
            () => "asked",
        }
    }

    /// A return code came from another chat than that of its link, or from a group.
    fn returned_elsewhere(&mut self, number: usize, now: u64) -> &'static str {
        let Known {
            chat: at,
            returned_from,
            ..
        } = self.links[number].clone();
        let lifetime_ms = self.policy.return_code_lifetime_ms;
        let chat = self.chat_mut(at);
        let has_bound = (chat.bound.as_ref()).is_some_and(|b| b.proof == Proof::Link(number));
        let is_passed_on = match &chat.link {
            Some(link) if link.number == number => {
                matches!(link.state, LinkState::SignedIn { .. })
            }
            // A newer link says nothing against what was passed on.
            Some(_) => returned_from.is_some_and(|made_at| now < made_at + lifetime_ms),
            None => false,
        };
        if has_bound {
            chat.unbind();
            chat.asked = Asked::Nothing;
        }
        if has_bound || is_passed_on {
            self.mismatch(at, now);
            return "mismatch";
        }
        "ignored"
    }

    fn mismatch(&mut self, at: usize, now: u64) {
        let chat = self.chat_mut(at);
        chat.mismatches.push(now);
        if let Some(link) = &mut chat.link {
            if link.state != LinkState::Used {
                link.state = LinkState::Burned;
            }
            link.earlier.clear();
        }
    }

    // --- the end --------------------------------------------------------------------------------

    /// The owner of a mailbox says that the sign-in by this proof was not theirs.
    pub fn undo(&mut self, at: usize, proved_at: u64, now: u64) -> bool {
        let Some(chat) = &mut self.chats[at] else {
            return false;
        };
        match &chat.bound {
            Some(bound) if bound.at == proved_at && now < bound.at + Policy::UNDO_MS => {
                let until = now + Policy::BARRED_MS;
                let users = bound.users.clone();
                chat.barred
                    .extend(users.into_iter().map(|user| (user, until)));
                chat.release(now);
                true
            }
            _ => false,
        }
    }

    /// The janitor came: chats in which nobody wrote for long are forgotten, and so are return codes.
    pub fn sweep(&mut self, now: u64) {
        for chat in &mut self.chats {
            let is_over = chat.as_ref().is_some_and(|chat| {
                let kept_ms = match chat.bound {
                    Some(_) => self.policy.binding_idle_ms + 30 * DAY_MS,
                    None => 7 * DAY_MS,
                };
                now > chat.last_wrote + kept_ms
            });
            if is_over {
                *chat = None;
            }
        }
        for chat in self.chats.iter_mut().flatten() {
            let Some(link) = &mut chat.link else { continue };
            let is_over = match link.state {
                LinkState::SignedIn { until, .. } => now >= until + HOUR_MS,
                _ => false,
            };
            if is_over {
                link.state = LinkState::Burned;
            }
            if is_over || now >= link.at + HOUR_MS {
                link.earlier.clear();
            }
        }
        for link in &mut self.links {
            let made_at = link.returned_from;
            link.forgotten |= made_at.is_some_and(|made| made + 2 * DAY_MS < now);
        }
    }

    /// The operator forgets a chat, and what is counted for the addresses that it is bound to.
    pub fn forget_chat(&mut self, at: usize) {
        if let Some(chat) = self.chats[at].take() {
            for user in chat.bound.into_iter().flat_map(|bound| bound.users) {
                self.forget_counts(&user.email);
            }
        }
    }

    /// The operator forgets whoever is signed in with an address, and everything else that names it.
    pub fn forget_address(&mut self, address: &str) {
        for at in 0..self.chats.len() {
            let Some(chat) = &self.chats[at] else {
                continue;
            };
            let is_theirs = |users: &[User]| users.iter().any(|user| user.email == address);
            if chat.bound.as_ref().is_some_and(|b| is_theirs(&b.users)) {
                self.forget_chat(at);
                continue;
            }
            let chat = self.chat_mut(at);
            let is_asked = match &chat.asked {
                Asked::Spelling { typed, meant } => typed == address || meant == address,
                Asked::Code(code) => code.address == address,
                Asked::Nothing | Asked::Address { .. } | Asked::Link => false,
            };
            if is_asked {
                chat.asked = Asked::Nothing;
            }
            if let Some(link) = &mut chat.link {
                let signed_in = match &link.state {
                    LinkState::SignedIn { users, .. } => is_theirs(users),
                    _ => false,
                };
                if signed_in || is_theirs(&link.earlier) {
                    link.state = LinkState::Burned;
                    link.earlier.clear();
                }
            }
        }
        self.forget_counts(address);
    }

    fn forget_counts(&mut self, address: &str) {
        self.address_codes.retain(|(_, of)| of != address);
        self.address_failures.retain(|(_, of)| of != address);
        self.names_tried.retain(|(_, of)| of != address);
    }
}

/// Whether a text answers what was asked, however late.
fn is_an_answer(chat: &Chat, heard: &Heard) -> bool {
    let is_code_awaited = matches!(chat.asked, Asked::Code(_));
    match heard.text {
        Text::Tap(_) | Text::OldTap(_) => true,
        Text::Address(_) | Text::Typo(_) | Text::TwoAddresses => {
            is_code_awaited || matches!(chat.asked, Asked::Address { .. })
        }
        Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode => {
            is_code_awaited
        }
        _ => false,
    }
}

fn take_back(counted: &mut Vec<(u64, String)>, at: u64, address: &str) {
    if let Some(place) = (counted.iter()).position(|(moment, of)| *moment == at && of == address) {
        counted.remove(place);
    }
}

pub fn address_of(who: Who) -> String {
    match who {
        Who::Ana => "ana@acme.example",
        Who::Ben => "ben@bolt.example",
        Who::Cleo => "cleo@bolt.example",
        Who::Dan => "dan@bolt.example",
        Who::Mallory => "mallory@acme.example",
    }
    .to_owned()
}

//! What should be so: the simplest code that could say it, with lists that are looked through from
//! the beginning, and no idea of stores, outboxes or retries. It is told what people do and what
//! reached them, and says what each thing should come to and who is signed in as whom.

mod chat;
mod clocks;
mod code;
mod end;
mod link;

pub use clocks::{Clocks, Noted, Shown};

use super::steps::{Text, Who};
use portero::domain::policy::Policy;
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

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

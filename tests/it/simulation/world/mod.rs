//! The house, the people and everything around them, on one thread. A step is taken by the house
//! and by the model, what reached people is written down, and both are compared.

mod around;
mod compare;
mod disk;
mod page;
mod reached;
mod writing;

pub use reached::message_of;

use self::disk::FailingDisk;
use super::model::{
    Asked, Clocks, Heard, Link, LinkState, Model, Names, Noted, Proof, Shown as Shows, User,
    address_of, typo_of,
};
use super::steps::{Check, EVERYBODY, How, Loss, Setting, Step, Text, Trouble, Weather, Who};
use crate::house::{House, Left, Person, Said, Takes, code_of, failure, server_error};
use portero::app::{
    Clock as _, Failed, HandOver, Issued, Janitor, TokenAnswer, TokenAsked, TokenWanted, Users,
    Verdict, Visitor, Whom, Wish,
};
use portero::domain::binding::Binding;
use portero::domain::contact::{Contact, Stage};
use portero::domain::delivery::{LinkTarget, Mail, Recipient};
use portero::domain::failure::FailureKind;
use portero::domain::id::{
    Bsuid, ContactId, EmailAddress, IdentityKey, MessageId, ServiceName, WaId,
};
use portero::domain::message::{Content, IdentityChanged, Inbound, Provenance, WebhookItem};
use portero::domain::policy::Finish;
use portero::domain::reading;
use portero::domain::secret::{MappingHash, Secret};
use portero::domain::sign_in::MappingState;
use portero::domain::time::{DAY_MS, MINUTE_MS, Timestamp};
use portero::store::{Engine, KeyRange, Order, Reader, StoreError, Table};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A rule that did not hold, and how.
#[derive(Clone, Debug)]
pub struct Broken {
    pub rule: &'static str,
    pub how: String,
}

pub type Held = Result<(), Broken>;

pub fn broken<T>(rule: &'static str, how: impl Into<String>) -> Result<T, Broken> {
    Err(Broken {
        rule,
        how: how.into(),
    })
}

/// What the model says and the house does not.
pub const MODEL: &str = "what the model says is so";

/// A code as it reached a mailbox.
#[derive(Clone, Debug)]
pub struct MailedCode {
    pub code: String,
    pub to: Who,
    pub chat: usize,
    pub at: u64,
}

/// A link as it reached a chat.
#[derive(Clone, Debug)]
pub struct SentLink {
    pub hash: MappingHash,
    pub number: usize,
}

/// A text that is ready in a browser.
#[derive(Clone, Debug)]
pub struct Ready {
    pub text: String,
    pub number: usize,
    pub at: u64,
    pub as_user: Who,
}

/// What a mailbox can undo.
#[derive(Clone, Debug)]
pub struct Undoable {
    pub token: String,
    pub chat: usize,
    pub proved_at: u64,
}

/// A secret that was shown in time and in its own chat, with everything that it can prove.
#[derive(Clone, Debug)]
pub struct Shown {
    pub chat: usize,
    pub secret: String,
    pub address: String,
    /// Who wrote it; `None` for what a page finished by itself.
    pub by: Option<Who>,
}

/// An inbound message and who wrote it.
pub struct Wrote {
    pub who: Who,
    pub item: WebhookItem,
    pub heard: Heard,
    pub in_group: bool,
}

/// Something of which each one may succeed once.
pub type Once = (&'static str, String);

pub struct World {
    house: Option<House>,
    /// Beneath the house; in memory there is none.
    disk: Option<Arc<FailingDisk>>,
    pub setting: Setting,
    pub model: Model,
    /// The contact of each chat of the model.
    pub ids: Vec<Option<ContactId>>,
    pub people: Vec<Person>,
    renamed: u32,
    /// Webhooks that came, and what is still under way.
    history: Vec<WebhookItem>,
    under_way: Vec<Wrote>,
    pub mailed: Vec<MailedCode>,
    links: BTreeMap<Who, Vec<SentLink>>,
    ready: BTreeMap<Who, Vec<Ready>>,
    undoable: BTreeMap<Who, Vec<Undoable>>,
    buttons: BTreeMap<Who, Vec<String>>,
    identities: Vec<(Secret, u64)>,
    /// Who wrote each message, as a chat, and as whom that chat was signed in.
    pub authors: BTreeMap<String, usize>,
    /// As whom the writer of a message was signed in when it was decided that it is the bot's.
    pub decided: BTreeMap<String, Vec<User>>,
    /// Messages with an address or a code that were part of a sign-in: the bot's never.
    pub of_sign_ins: BTreeSet<String>,
    seen: usize,
    trouble: Option<Trouble>,
    pub weather: Weather,
    pub is_partly_known: bool,
    janitor: Janitor,
    clocks: Clocks,
    clocks_noted: Noted,
    contacts: Vec<Contact>,
    contacts_raw: Vec<Raw>,
    /// What this step showed, and what it came to.
    pub shown: Vec<Shown>,
    pub succeeded: BTreeSet<Once>,
    pub guesses: Vec<(u64, usize, String)>,
    pub events: usize,
    /// Whom this step may change.
    pub concerned: Vec<ContactId>,
    /// Which names have proved which address.
    pub proved: BTreeSet<(Vec<String>, String)>,
    pub said_tags: BTreeMap<String, (u64, String)>,
    pub mail_ids: BTreeMap<String, (u64, String, String)>,
    pub log: Vec<String>,
    pub taken: usize,
    /// How often what happened: a world in which nobody ever gets in proves nothing.
    pub happened: BTreeMap<&'static str, usize>,
}

fn person(who: Who) -> Person {
    let (number, bsuid, key) = match who {
        Who::Ana => (Some("34600000011"), Some("ES.ana"), Some("ana-1")),
        Who::Ben => (Some("34600000022"), None, None),
        Who::Cleo => (None, Some("ES.cleo"), Some("cleo-1")),
        Who::Dan => (Some("34600000044"), None, None),
        Who::Mallory => (Some("34600000055"), Some("ES.mallory"), Some("mallory-1")),
    };
    Person {
        wa_id: number.map(|number| WaId::parse(number).unwrap()),
        bsuid: bsuid.map(|bsuid| Bsuid::parse(bsuid).unwrap()),
        key: key.map(|key| IdentityKey::parse(key).unwrap()),
    }
}

fn names_of(person: &Person) -> Names {
    Names {
        bsuid: person.bsuid.as_ref().map(|bsuid| bsuid.as_str().to_owned()),
        number: person
            .wa_id
            .as_ref()
            .map(|number| number.as_str().to_owned()),
        key: person
            .key
            .as_ref()
            .map(|key| format!("{key:?}") + key.as_str()),
    }
}

/// What people are called: nothing else that is said contains it.
pub fn name_of(who: Who) -> &'static str {
    match who {
        Who::Ana => "Anacleta Pérez",
        Who::Ben => "Benvenuto Ruiz",
        Who::Cleo => "Cleofás Soto",
        Who::Dan => "Danilo Vega",
        Who::Mallory => "Malloria Gil",
    }
}

const PASSWORD: &str = "Secreto!uno";
const NOT_MAILED: &str = "00000000";

impl World {
    /// A world with these people in it; without `unregistered`, whom no service knows.
    pub fn new(setting: Setting, unregistered: Option<Who>) -> World {
        let disk = setting.disk.map(|seed| Arc::new(FailingDisk::new(seed)));
        let house = match disk.clone() {
            None => House::on_the_web(setting.policy.clone()),
            Some(disk) => {
                House::on_the_web_over(setting.policy.clone(), Box::new(move || disk.engine()))
            }
        };
        for who in [Who::Ana, Who::Ben, Who::Cleo, Who::Mallory] {
            if Some(who) == unregistered {
                continue;
            }
            let (services, company): (&[&str], _) = match who {
                Who::Ben => (&["kutamma", "woku"], "Bolt"),
                Who::Cleo => (&["woku"], "Bolt"),
                _ => (&["kutamma"], "Acme"),
            };
            for service in services {
                house.register(service, &address_of(who), name_of(who), company);
            }
        }
        // Names of the services' own, in which no address is to be found again.
        house.world.change(|outside| {
            let users = outside.services.iter_mut().flat_map(|s| &mut s.users);
            users
                .enumerate()
                .for_each(|(number, user)| user.user_id = format!("user-{number}"));
        });
        if setting.has_phone {
            house.phone_on_file(&address_of(Who::Ana), Some("34600000011"));
        }
        let users = house.world.change(|outside| {
            let users = outside.services.iter().flat_map(|service| &service.users);
            let user = |account: &portero::domain::account::Account| User {
                service: account.service.as_str().to_owned(),
                id: account.user_id.clone(),
                email: account.email.as_str().to_owned(),
                company: account.company.id.clone(),
                phone: account.phone.clone(),
            };
            users.map(user).collect::<Vec<_>>()
        });
        let shown = (house.clock.now().0, house.clock.steady_ms());
        let clocks = Clocks::beginning(shown, (0, None));
        World {
            model: Model::new(setting.policy.clone(), users),
            house: Some(house),
            disk,
            setting,
            ids: Vec::new(),
            people: EVERYBODY.map(person).to_vec(),
            renamed: 0,
            history: Vec::new(),
            under_way: Vec::new(),
            mailed: Vec::new(),
            links: BTreeMap::new(),
            ready: BTreeMap::new(),
            undoable: BTreeMap::new(),
            buttons: BTreeMap::new(),
            identities: Vec::new(),
            authors: BTreeMap::new(),
            decided: BTreeMap::new(),
            of_sign_ins: BTreeSet::new(),
            seen: 0,
            trouble: None,
            weather: Weather::Fair,
            is_partly_known: false,
            janitor: Janitor::default(),
            clocks,
            clocks_noted: (0, None),
            contacts: Vec::new(),
            contacts_raw: Vec::new(),
            shown: Vec::new(),
            succeeded: BTreeSet::new(),
            guesses: Vec::new(),
            events: 0,
            concerned: Vec::new(),
            proved: BTreeSet::new(),
            said_tags: BTreeMap::new(),
            mail_ids: BTreeMap::new(),
            log: Vec::new(),
            taken: 0,
            happened: BTreeMap::new(),
        }
    }

    pub fn house(&self) -> &House {
        self.house.as_ref().expect("a house that runs")
    }

    pub fn now(&self) -> u64 {
        self.house().clock.now().0
    }

    fn person(&self, who: Who) -> &Person {
        &self.people[who as usize]
    }

    pub fn names(&self, who: Who) -> Names {
        names_of(self.person(who))
    }

    /// The chat of somebody as they are called now.
    pub fn chat_of(&self, who: Who) -> Option<usize> {
        self.model.find(&self.names(who))
    }

    pub fn happens(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn note(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    /// Every record as it lies in the store.
    pub fn raw(&self) -> Vec<Raw> {
        records_of(self.house().engine(), &Table::ALL)
    }

    /// The contacts as the store knows them now.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    fn read_contacts(&mut self) {
        let raw = records_of(self.house().engine(), &[Table::Contact]);
        if raw != self.contacts_raw {
            self.contacts = self.house().app.contacts_after(None, 1_000).unwrap();
            self.contacts_raw = raw;
        }
    }

    pub fn contact(&self, chat: usize) -> Option<&Contact> {
        let id = (*self.ids.get(chat)?)?;
        self.contacts.iter().find(|contact| contact.id == id)
    }

    // --- steps ----------------------------------------------------------------------------------

    /// One step, and what must hold after it.
    pub fn take(&mut self, step: Step) -> Held {
        self.shown.clear();
        self.concerned.clear();
        let before = self.contacts.clone();
        self.note(format!("{step:?}"));
        self.taken += 1;
        // No two people do something in the same millisecond: by its moment Portero tells whose code
        // was asked for.
        if let Step::Write(..) | Step::Arrives(_) | Step::Sign(..) | Step::SignOld(..) = step {
            self.house().clock.forward(1);
        }
        self.act(step)?;
        if let Some(how) = self.disk.as_ref().and_then(|disk| disk.broken()) {
            return broken(super::invariants::ELEVENTH, how);
        }
        self.observe()?;
        self.read_contacts();
        self.match_chats()?;
        self.accept_what_gave_up();
        super::invariants::after_step(self, step, &before)
    }

    fn act(&mut self, step: Step) -> Held {
        match step {
            Step::Write(who, text, how) => {
                let wrote = self.written(who, text, how);
                self.arrives(wrote)
            }
            Step::Send(who, text, how) => {
                let wrote = self.written(who, text, how);
                self.under_way.push(wrote);
                Ok(())
            }
            Step::Arrives(number) if !self.under_way.is_empty() => {
                let wrote = self
                    .under_way
                    .remove(usize::from(number) % self.under_way.len());
                self.arrives(wrote)
            }
            Step::Again(number) if !self.history.is_empty() => {
                let item = self.history[usize::from(number) % self.history.len()].clone();
                let raw = self.raw();
                let is_told_to_wait = self.is_told_to_wait(&item);
                let received = self.house().receive_all(vec![item]);
                let is_right = match &received {
                    Ok(received) => !is_told_to_wait && received.repeated == 1,
                    Err(error) => is_told_to_wait && matches!(error, Failed::ClockInDoubt),
                };
                if !is_right {
                    return broken(
                        MODEL,
                        format!(
                            "a webhook that came before came to {received:?}, told to wait: {is_told_to_wait}"
                        ),
                    );
                }
                super::invariants::nothing_changed(self, &raw, "a repeated webhook")
            }
            Step::Arrives(_) | Step::Again(_) => Ok(()),
            Step::Sign(by, of, check) => self.sign(by, of, check, false),
            Step::SignOld(by, of, check) => self.sign(by, of, check, true),
            Step::SignTwice(by, of) => self.sign_twice(by, of),
            Step::Look(of) => self.look(of),
            Step::Decline(of) => self.decline(of),
            Step::Undo(mailbox) => self.undo(mailbox),
            Step::Tick(ms) => {
                self.house().clock.forward(ms);
                Ok(())
            }
            Step::Leap(ms) => {
                self.house().clock.leap(ms);
                Ok(())
            }
            Step::BackAtRestart {
                noted_ago_ms,
                by_ms,
            } => {
                self.back_at_restart(noted_ago_ms, by_ms);
                Ok(())
            }
            Step::Leave => {
                self.settle();
                Ok(())
            }
            Step::Restart => {
                self.restart();
                Ok(())
            }
            Step::Die => {
                self.die();
                Ok(())
            }
            Step::Outside(weather) => {
                self.change_weather(weather);
                Ok(())
            }
            Step::News(number, status) => {
                let said = self.house().said();
                if !said.is_empty() {
                    self.house()
                        .status(&said[usize::from(number) % said.len()], status);
                }
                Ok(())
            }
            Step::Store(trouble) => {
                self.trouble = Some(trouble);
                Ok(())
            }
            Step::NewKey(who) => {
                self.renamed += 1;
                let key = format!("key-{}", self.renamed);
                let person = &mut self.people[who as usize];
                if person.key.is_some() {
                    person.key = IdentityKey::parse(&key).ok();
                }
                Ok(())
            }
            Step::NewNumber(who) => self.new_number(who),
            Step::TakesNumber(taker, loser) => {
                self.takes_number(taker, loser);
                Ok(())
            }
            Step::Operator(who) => {
                if let Some(chat) = self.chat_of(who) {
                    let whom = Whom::User(self.ids[chat].unwrap());
                    self.house().app.log_out(&whom).unwrap();
                    let now = self.now();
                    self.model.chat_mut(chat).release(now);
                }
                Ok(())
            }
            Step::Bot(who) => {
                if let Some(chat) = self.chat_of(who) {
                    let id = self.ids[chat].unwrap();
                    (self.house().app.release_for_the_bot("bot", id, None)).unwrap();
                    let now = self.now();
                    let chat = self.model.chat_mut(chat);
                    if chat.bound.is_some() {
                        chat.release(now);
                    }
                }
                Ok(())
            }
            Step::BotLink(who, send) => self.bot_link(who, send),
            Step::ForgetChat(who) => self.forget_chat(who),
            Step::ForgetAddress(who) => self.forget_address(who),
            Step::Token(number) => self.token_for_identity(number),
            Step::Sweep => {
                let mut janitor = std::mem::take(&mut self.janitor);
                let removed = janitor.sweep(&self.house().app).unwrap();
                self.janitor = janitor;
                self.noted();
                if !self.is_clock_believed() {
                    return match removed {
                        0 => Ok(()),
                        _ => broken(MODEL, "a clock that was set took something away"),
                    };
                }
                let now = self.now();
                self.model.sweep(now);
                for (at, chat) in self.model.chats.iter().enumerate() {
                    if chat.is_none() {
                        self.ids[at] = None;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A record as it lies in the store: its table, its key and what is stored there.
pub type Raw = (Table, Vec<u8>, Vec<u8>);

fn records_of(engine: &dyn Engine, tables: &[Table]) -> Vec<Raw> {
    let mut raw = Vec::new();
    let scanned = engine.view(|reader| {
        for &table in tables {
            reader.scan(table, KeyRange::all(), Order::Forward, &mut |key, value| {
                raw.push((table, key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })?;
        }
        Ok(())
    });
    scanned.unwrap();
    raw
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Was(&'static str),
    Repeated,
}

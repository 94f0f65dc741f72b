//! The house, the people and everything around them, on one thread. A step is taken by the house
//! and by the model, what reached people is written down, and both are compared.

use super::model::{Asked, Heard, Link, LinkState, Model, Names, Proof, User, address_of, typo_of};
use super::steps::{Check, EVERYBODY, How, Setting, Step, Text, Trouble, Weather, Who};
use crate::house::{House, Left, Person, START, Said, Takes, code_of, failure, server_error};
use portero::app::{
    Clock as _, Failed, HandOver, Issued, Janitor, TokenAnswer, TokenAsked, TokenWanted, Users,
    Verdict, Visitor, Whom, Wish,
};
use portero::domain::binding::Binding;
use portero::domain::contact::{Contact, Stage};
use portero::domain::delivery::{FailureKind, LinkTarget, Mail, Recipient};
use portero::domain::id::{
    Bsuid, ContactId, DAY_MS, EmailAddress, IdentityKey, MINUTE_MS, MappingHash, MessageId, Secret,
    ServiceName, Timestamp, WaId,
};
use portero::domain::message::{Content, IdentityChanged, Inbound, Provenance, WebhookItem};
use portero::domain::policy::Finish;
use portero::domain::reading;
use portero::domain::sign_in::MappingState;
use portero::store::{Engine, KeyRange, Order, StoreError, Table};
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
    seen: usize,
    trouble: Option<Trouble>,
    pub weather: Weather,
    pub is_partly_known: bool,
    janitor: Janitor,
    /// How far the clock of the machine was ahead when it was last believed, and since when it is
    /// not.
    clock_ahead_ms: Option<(u64, Option<u64>)>,
    contacts: Vec<Contact>,
    contacts_raw: Vec<(Vec<u8>, Vec<u8>)>,
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
        let house = House::on_the_web(setting.policy.clone());
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
        World {
            model: Model::new(setting.policy.clone(), users),
            house: Some(house),
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
            seen: 0,
            trouble: None,
            weather: Weather::Fair,
            is_partly_known: false,
            janitor: Janitor::default(),
            clock_ahead_ms: None,
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

    fn note(&mut self, what: impl Into<String>) {
        self.log.push(what.into());
    }

    /// Every record as it lies in the store.
    pub fn raw(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let engine: &dyn Engine = &**self.house().memory();
        let mut raw = Vec::new();
        let scanned = engine.view(|reader| {
            for table in Table::ALL {
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

    fn raw_contacts(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let engine: &dyn Engine = &**self.house().memory();
        let mut raw = Vec::new();
        let scanned = engine.view(|reader| {
            reader.scan(
                Table::Contact,
                KeyRange::all(),
                Order::Forward,
                &mut |key, value| {
                    raw.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                },
            )
        });
        scanned.unwrap();
        raw
    }

    /// The contacts as the store knows them now.
    pub fn contacts(&self) -> &[Contact] {
        &self.contacts
    }

    fn read_contacts(&mut self) {
        let raw = self.raw_contacts();
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
        self.act(step)?;
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
                let received = self.house().receive_all(vec![item]).unwrap();
                if received.repeated != 1 {
                    return broken(MODEL, "a webhook that came before took effect again");
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
            Step::BackAtRestart(ms) => {
                // The sweeper writes down the moment every 20 s, and time goes on from there.
                let now = self.now();
                let latest = self.house().latest_moment().0.max(now - 20_000);
                self.house().clock.set(Timestamp(latest.max(now - ms)));
                self.restart();
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

    // --- writing --------------------------------------------------------------------------------

    fn written(&mut self, who: Who, text: Text, how: How) -> Wrote {
        let (text, content, digits, returns) = self.words(who, text);
        let mut message = self.house().message(self.person(who), content);
        let now = self.now();
        if let How::Late(ms) = how {
            message.sent_at = Timestamp(now.saturating_sub(ms));
        }
        message.provenance = match how {
            How::Forwarded => Provenance::Forwarded,
            How::InGroup => Provenance::Group,
            How::Direct | How::Late(_) => Provenance::Direct,
        };
        Wrote {
            who,
            heard: Heard {
                names: self.names(who),
                sent_at: message.sent_at.0,
                forwarded: how == How::Forwarded,
                text,
                digits,
                returns,
                tap: (false, false),
            },
            in_group: how == How::InGroup,
            item: WebhookItem::Message(message),
        }
    }

    /// What a text is in letters; and the digits or the return code in it.
    fn words(&self, who: Who, text: Text) -> (Text, Content, Option<String>, Option<usize>) {
        let other_address = || address_of(if who == Who::Ana { Who::Ben } else { Who::Ana });
        let code = |mailed: Option<&MailedCode>| {
            mailed.map_or(NOT_MAILED.to_owned(), |mailed| mailed.code.clone())
        };
        let plain = |words: &str| (text, Content::Text(words.to_owned()), None, None);
        let digits = |code: String| (text, Content::Text(code.clone()), Some(code), None);
        let of_mailbox = |of: Who| self.mailed.iter().filter(move |mailed| mailed.to == of);
        match text {
            Text::Hello => plain("hola"),
            Text::Question => plain("¿a qué hora abren?"),
            Text::Address(of) => plain(&format!("es {}", address_of(of))),
            Text::Typo(of) => plain(&typo_of(&address_of(of))),
            Text::TwoAddresses => plain(&format!("{} o {}", address_of(who), other_address())),
            Text::Code(of) => digits(code(of_mailbox(of).next_back())),
            Text::OldCode(of) => {
                let code = code(of_mailbox(of).next());
                let words = format!("mi código es {}-{}", &code[..4], &code[4..]);
                (text, Content::Text(words), Some(code), None)
            }
            Text::Guess => digits("31415926".to_owned()),
            Text::TwoCodes => plain("31415926 27182818"),
            Text::ShortCode => plain("3141592"),
            Text::Yes => plain("sí"),
            Text::No => plain("no"),
            Text::Resend => plain("reenviar"),
            Text::OtherAddress => plain("otro correo"),
            Text::Cancel => plain("cancelar"),
            Text::LogOut => plain("cerrar sesión"),
            Text::WhoAmI => plain("¿quién soy?"),
            Text::Web => plain("enlace"),
            Text::Password => plain(PASSWORD),
            Text::Picture => (text, Content::Other("image"), None, None),
            Text::Reaction => (text, Content::Other("reaction"), None, None),
            Text::Return(of) | Text::OldReturn(of) => {
                let ready = self.ready.get(&of);
                let ready = ready.and_then(|ready| match text {
                    Text::Return(_) => ready.last(),
                    _ => ready.first(),
                });
                match ready {
                    Some(ready) => {
                        let words = Content::Text(ready.text.clone());
                        (text, words, None, Some(ready.number))
                    }
                    None => (Text::Hello, Content::Text("hola".to_owned()), None, None),
                }
            }
            Text::Tap(button) | Text::OldTap(button) => {
                let shown = self.buttons.get(&who);
                let begins = format!("portero:{button}:");
                let of_kind = |id: &&String| id.starts_with(&begins);
                let id = shown.and_then(|shown| match text {
                    Text::Tap(_) => shown.iter().rfind(of_kind),
                    _ => shown.iter().find(of_kind),
                });
                let id = id.map_or(format!("{begins}none"), Clone::clone);
                (text, Content::Button { id }, None, None)
            }
        }
    }

    /// A message arrives, and is sent again until it is taken, as Meta does.
    fn arrives(&mut self, wrote: Wrote) -> Held {
        let Wrote {
            who,
            item,
            mut heard,
            in_group,
        } = wrote;
        let WebhookItem::Message(message) = &item else {
            return Ok(());
        };
        let message = message.clone();
        let now = self.now();
        self.history.push(item.clone());
        self.events += 1;
        let age_ms = now.saturating_sub(message.sent_at.0);
        // Older than what is remembered of messages, it may have come before.
        let is_too_old = age_ms > 8 * DAY_MS && message.sent_at >= START;
        heard.tap = self.is_current(&message, &heard.names);
        let by_names = [
            self.model.find(&heard.names),
            self.model.by_number(&heard.names),
        ];
        let of_link = heard.returns.map(|number| self.model.links[number].chat);
        let concerned = by_names.into_iter().chain([of_link]).flatten();
        let concerned: Vec<ContactId> = concerned.filter_map(|chat| self.ids[chat]).collect();
        self.concerned = concerned;
        let outcome = self.receive(item)?;
        if is_too_old {
            return match outcome {
                Some(Received::Repeated) | None => Ok(()),
                other => broken(MODEL, format!("a message of {age_ms} ms came to {other:?}")),
            };
        }
        self.note_what_is_shown(who, &heard, in_group, age_ms, now);
        let writer_before = self.model.find(&heard.names);
        let expected = match in_group {
            true => self.model.hears_in_group(&heard, now),
            false => self.model.hears(&heard, now),
        };
        let writer = self.model.find(&heard.names).or(writer_before);
        if let Some(writer) = writer.filter(|_| !in_group) {
            (self.authors).insert(message.id.as_str().to_owned(), writer);
            self.note_guess(expected, &heard, writer, now);
        }
        self.note(format!("  comes to {outcome:?}"));
        self.note_proved();
        match outcome {
            // The answer got lost; what it did is compared all the same.
            None | Some(Received::Repeated) => Ok(()),
            Some(Received::Was(outcome)) if outcome == expected => Ok(()),
            Some(Received::Was(outcome)) => {
                broken(MODEL, format!("it came to {outcome}, not to {expected}"))
            }
        }
    }

    /// What this message shows of secrets, if it may carry one at all.
    fn note_what_is_shown(
        &mut self,
        who: Who,
        heard: &Heard,
        in_group: bool,
        age_ms: u64,
        now: u64,
    ) {
        if in_group || heard.forwarded || age_ms > 10 * MINUTE_MS {
            return;
        }
        let Some(chat) = self.model.find(&heard.names) else {
            return;
        };
        if let Some(digits) = &heard.digits {
            let lifetime_ms = self.setting.policy.code_lifetime_ms;
            let shown = (self.mailed.iter())
                .filter(|mailed| mailed.code == *digits && mailed.chat == chat)
                .filter(|mailed| now < mailed.at + lifetime_ms);
            let shown: Vec<Shown> = shown
                .map(|mailed| Shown {
                    chat,
                    secret: mailed.code.clone(),
                    address: address_of(mailed.to),
                    by: Some(who),
                })
                .collect();
            self.shown.extend(shown);
        }
        if let Some(number) = heard.returns {
            let ready = self.ready.values().flatten();
            let lifetime_ms = self.setting.policy.return_code_lifetime_ms;
            let shown: Vec<Shown> = ready
                .filter(|ready| ready.number == number && now < ready.at + lifetime_ms)
                .filter(|_| self.model.links[number].chat == chat)
                .map(|ready| Shown {
                    chat,
                    secret: ready.text.clone(),
                    address: address_of(ready.as_user),
                    by: Some(who),
                })
                .collect();
            self.shown.extend(shown);
        }
    }

    /// Under which names which accounts were proved.
    fn note_proved(&mut self) {
        for chat in self.model.chats.iter().flatten() {
            let names: Vec<String> = chat.bsuid.iter().chain(&chat.number).cloned().collect();
            for user in chat.bound.iter().flat_map(|bound| &bound.users) {
                self.proved.insert((names.clone(), user.email.clone()));
            }
        }
    }

    fn note_guess(&mut self, expected: &str, heard: &Heard, chat: usize, now: u64) {
        let asked = &self.model.chat(chat).asked;
        // What was forwarded is not compared with anything.
        if expected == "code_wrong"
            && !heard.forwarded
            && let Asked::Code(code) = asked
        {
            self.guesses.push((now, chat, code.address.clone()));
        }
        if expected == "bound" {
            // A proof clears what was counted for its address.
            if let Some(bound) = &self.model.chat(chat).bound
                && bound.proof == Proof::Code
            {
                let emails: Vec<String> = bound.users.iter().map(|u| u.email.clone()).collect();
                for (_, _, address) in &mut self.guesses {
                    if emails.contains(address) {
                        address.clear();
                    }
                }
            }
        }
    }

    /// Whether a button belongs to the question in force, and whether to the last link.
    fn is_current(&self, message: &Inbound, names: &Names) -> (bool, bool) {
        let Content::Button { id } = &message.content else {
            return (false, false);
        };
        let tag = id.rsplit(':').next().unwrap_or_default();
        let contact = self.model.find(names).and_then(|chat| self.contact(chat));
        let Some(contact) = contact else {
            return (false, false);
        };
        let of_question = match &contact.stage {
            Stage::CodeAwaited(challenge) => challenge.id.tag() == tag,
            Stage::SpellingAsked { tag: asked, .. } => asked == tag,
            Stage::Idle | Stage::AddressAsked { .. } | Stage::LinkSent => false,
        };
        let of_link = contact.mapping.as_ref().is_some_and(|m| m.id.tag() == tag);
        (of_question, of_link)
    }

    fn receive(&mut self, item: WebhookItem) -> Result<Option<Received>, Broken> {
        let memory = Arc::clone(self.house().memory());
        let mut trouble = self.trouble.take();
        let arm = |trouble| match trouble {
            Some(Trouble::Fails(nth)) => {
                memory.fail_operation(
                    u64::from(nth) + 1,
                    StoreError::Unavailable("on purpose".into()),
                );
            }
            Some(Trouble::Unknown) => memory.answer_unknown_at_commit(1),
            Some(Trouble::Twice) => memory.run_bodies_twice(true),
            None => {}
        };
        let mut is_unknown = false;
        let mut outcome = None;
        for tries in 0..4 {
            let before = self.raw();
            arm(trouble.take());
            let received = self.house().receive_all(vec![item.clone()]);
            memory.fail_operation(1 << 60, StoreError::Full);
            memory.run_bodies_twice(false);
            match received {
                Ok(received) if received.repeated > 0 => {
                    outcome = Some(Received::Repeated);
                    break;
                }
                Ok(received) => {
                    outcome = received.outcomes.first().map(|was| Received::Was(was));
                    break;
                }
                Err(Failed::Store(StoreError::Unknown)) => is_unknown = true,
                Err(_) if tries < 3 => {
                    super::invariants::nothing_changed(self, &before, "a webhook that failed")?;
                }
                Err(error) => return broken(MODEL, format!("the store keeps failing: {error}")),
            }
        }
        match (is_unknown, outcome) {
            (true, Some(Received::Repeated)) => Ok(None),
            (true, other) => broken(
                super::invariants::ELEVENTH,
                format!("it was stored, and came to {other:?} when it was repeated"),
            ),
            (false, outcome) => Ok(outcome),
        }
    }

    // --- the page -------------------------------------------------------------------------------

    fn link(&self, of: Who, old: bool) -> Option<SentLink> {
        let links = self.links.get(&of)?;
        match old {
            true => links.first().cloned(),
            false => links.last().cloned(),
        }
    }

    fn sign(&mut self, by: Who, of: Who, check: Check, old: bool) -> Held {
        let Some(link) = self.link(of, old) else {
            return Ok(());
        };
        let check = self.possible(by, check);
        let now = self.now();
        self.events += 1;
        let user_name = address_of(by);
        let typed = self.person(by).wa_id.clone();
        let typed = typed.as_ref().map(WaId::as_str);
        let visitor = Visitor::new(&user_name, [by as u8; 16]);
        let (answer, text) =
            (self.house()).form(&link.hash, typed, &visitor, self.verdict(by, check));
        self.signed(by, &link, check, &format!("{answer:?}"), text, now)
    }

    /// The model's part in a form that was sent, and what it came to.
    fn signed(
        &mut self,
        by: Who,
        link: &SentLink,
        check: Check,
        answer: &str,
        text: Option<String>,
        now: u64,
    ) -> Held {
        let typed = self
            .person(by)
            .wa_id
            .as_ref()
            .map(|n| n.as_str().to_owned());
        let expected = (self.model).signs(
            link.number,
            by,
            &address_of(by),
            typed.as_deref(),
            check,
            now,
        );
        let said = answer.split([' ', '{']).next().unwrap_or_default();
        self.note(format!("  the page says {said}"));
        if said != expected {
            return broken(MODEL, format!("the page said {said}, not {expected}"));
        }
        self.note_proved();
        let chat = self.model.links[link.number].chat;
        if matches!(said, "Return" | "CodeMailed" | "Finished") {
            self.succeeds(("the hash", link.hash.reveal().to_owned()))?;
        }
        if said == "Finished" {
            self.shown.push(Shown {
                chat,
                secret: link.hash.reveal().to_owned(),
                address: address_of(by),
                by: None,
            });
        }
        match (said, text) {
            ("Return", Some(text)) if reading::return_code(&text).is_some() => {
                self.ready.entry(by).or_default().push(Ready {
                    text,
                    number: link.number,
                    at: now,
                    as_user: by,
                });
                Ok(())
            }
            ("Return", text) => broken(MODEL, format!("no return code in {text:?}")),
            _ => Ok(()),
        }
    }

    /// Nobody can have the right password who is unknown.
    fn possible(&self, by: Who, check: Check) -> Check {
        let is_known = self.model.users.iter().any(|u| u.email == address_of(by));
        match check {
            Check::Right if !is_known => Check::Wrong,
            check => check,
        }
    }

    fn verdict(&self, by: Who, check: Check) -> Verdict {
        match check {
            Check::Wrong => Verdict::Nobody,
            Check::NoAnswer => Verdict::NoAnswer,
            Check::NotEverybody => Verdict::NotEverybody,
            Check::Right => {
                let email = EmailAddress::parse(&address_of(by)).unwrap();
                let accounts = self.house().world.change(|outside| {
                    let users = outside.services.iter().flat_map(|service| &service.users);
                    users.filter(|user| user.email == email).cloned().collect()
                });
                Verdict::These(accounts)
            }
        }
    }

    /// Two right passwords of one person at the same time, each counted before either is checked.
    fn sign_twice(&mut self, by: Who, of: Who) -> Held {
        use portero::domain::sign_in::PageAnswer;
        let Some(link) = self.link(of, false) else {
            return Ok(());
        };
        let policy = &self.setting.policy;
        let room = (self.model.live_link(link.number, self.now()))
            .is_some_and(|l| l.passwords + 2 <= policy.passwords_per_link);
        if !room
            || policy.ask_number
            || policy.finish == Finish::MailCode
            || self.setting.has_phone
            || self.possible(by, Check::Right) != Check::Right
        {
            return Ok(());
        }
        let now = self.now();
        let visitor = Visitor::new(&address_of(by), [by as u8; 16]);
        let app = Arc::clone(&self.house().app);
        let begun = [0, 1].map(|_| app.begin_try(&link.hash, &visitor, None).unwrap());
        let mut tried = Vec::new();
        for attempt in begun
            .iter()
            .filter(|begun| begun.answer == PageAnswer::Check)
        {
            let verdict = self.verdict(by, Check::Right);
            let finished = app.finish_try(&link.hash, &visitor, attempt.tried_at, verdict);
            tried.push(finished.unwrap());
        }
        self.events += 2;
        let more = tried.len().saturating_sub(1);
        if tried
            .iter()
            .skip(1)
            .any(|tried| tried.answer != PageAnswer::Gone)
        {
            return broken(
                super::invariants::SECOND,
                "of two passwords at once, the second came to something",
            );
        }
        let Some(tried) = tried.into_iter().next() else {
            return Ok(());
        };
        let url = tried.chat_url.map(|url| url.reveal().to_owned());
        let text = url.as_deref().and_then(crate::house::ready_text);
        let answer = format!("{:?}", tried.answer);
        self.signed(by, &link, Check::Right, &answer, text, now)?;
        // The second one was counted as well.
        let chat = self.model.links[link.number].chat;
        if let Some(link) = &mut self.model.chat_mut(chat).link {
            link.passwords += u32::try_from(more).unwrap();
        }
        Ok(())
    }

    fn look(&mut self, of: Who) -> Held {
        let Some(link) = self.link(of, false) else {
            return Ok(());
        };
        let before = self.raw();
        let page = self.house().app.page(&link.hash).unwrap();
        let name = ServiceName::parse("page").unwrap();
        let mapping = self.house().app.mapping(&link.hash, &name).unwrap();
        let is_live = self.model.live_link(link.number, self.now()).is_some();
        if page.is_some() != is_live || mapping.is_some() != is_live {
            return broken(MODEL, format!("the page is there: {}", page.is_some()));
        }
        super::invariants::nothing_changed(self, &before, "looking at a page")
    }

    fn decline(&mut self, of: Who) -> Held {
        let Some(link) = self.link(of, false) else {
            return Ok(());
        };
        self.events += 1;
        let now = self.now();
        let tried = self.house().app.decline(&link.hash).unwrap();
        let (answer, expected) = (
            format!("{:?}", tried.answer),
            self.model.declines(link.number, now),
        );
        if answer != expected {
            return broken(MODEL, format!("the page said {answer}, not {expected}"));
        }
        Ok(())
    }

    fn undo(&mut self, mailbox: Who) -> Held {
        let last = self
            .undoable
            .get(&mailbox)
            .and_then(|all| all.last())
            .cloned();
        let Some(Undoable {
            token,
            chat,
            proved_at,
        }) = last
        else {
            return Ok(());
        };
        self.events += 1;
        let now = self.now();
        let done = self.house().app.undo(&token).unwrap();
        let expected = self.model.undo(chat, proved_at, now);
        if done != expected {
            return broken(MODEL, format!("undoing said {done}, not {expected}"));
        }
        if done {
            self.succeeds(("the link to undo", token.clone()))?;
        }
        let before = self.raw();
        if self.house().app.undo(&token).unwrap() {
            return broken(super::invariants::SECOND, "a sign-in was undone twice");
        }
        super::invariants::nothing_changed(self, &before, "undoing once more")
    }

    pub fn succeeds(&mut self, what: Once) -> Held {
        if self.succeeded.contains(&what) {
            return broken(
                super::invariants::SECOND,
                format!("{} succeeded once more", what.0),
            );
        }
        self.succeeded.insert(what);
        Ok(())
    }

    // --- the rest of the world ------------------------------------------------------------------

    /// A clock that was set by more than an hour is believed after a day.
    fn is_clock_believed(&mut self) -> bool {
        let (now, steady_ms) = (self.now(), self.house().clock.steady_ms());
        let ahead_ms = now - steady_ms;
        let (agreed_ms, since_ms) = self.clock_ahead_ms.get_or_insert((ahead_ms, None));
        if ahead_ms.abs_diff(*agreed_ms) <= 60 * MINUTE_MS {
            *since_ms = None;
            return true;
        }
        let since_ms = *since_ms.get_or_insert(steady_ms);
        if steady_ms < since_ms + DAY_MS {
            return false;
        }
        self.clock_ahead_ms = Some((ahead_ms, None));
        true
    }

    fn settle(&mut self) {
        self.house().settle();
    }

    fn restart(&mut self) {
        let house = self.house.take().unwrap();
        self.house = Some(house.restarted());
        self.janitor = Janitor::default();
        self.clock_ahead_ms = None;
    }

    /// Something leaves of each lane, and nobody writes down that it did.
    fn die(&mut self) {
        let memory = Arc::clone(self.house().memory());
        let dying = Arc::clone(&memory);
        self.house().world.change(|outside| {
            outside.afterwards = Some(Box::new(move || {
                dying.refuse_commits(Some(StoreError::Unavailable("the end".into())));
            }));
        });
        for lane in portero::domain::delivery::Lane::ALL {
            self.house().outbox.drain(lane);
            memory.refuse_commits(None);
        }
        self.house()
            .world
            .change(|outside| outside.afterwards = None);
        self.restart();
    }

    fn change_weather(&mut self, weather: Weather) {
        self.weather = weather;
        let down = match weather {
            Weather::OneServiceDown => [false, true],
            Weather::ServicesDown => [true, true],
            _ => [false, false],
        };
        self.is_partly_known |= weather == Weather::OneServiceDown;
        self.house().service_is_down("kutamma", down[0]);
        self.house().service_is_down("woku", down[1]);
        let fails = || Takes::Not(server_error());
        self.house().world.change(|outside| {
            outside.whatsapp = match weather {
                Weather::WhatsAppFails => fails(),
                Weather::WhatsAppSilent => Takes::ItSilently,
                _ => Takes::It,
            };
            outside.mail = match weather {
                Weather::MailFails => Takes::Not(failure(FailureKind::Unreachable, "no route")),
                Weather::MailSilent => Takes::ItSilently,
                _ => Takes::It,
            };
            outside.bot = match weather {
                Weather::BotFails => fails(),
                Weather::BotSilent => Takes::ItSilently,
                _ => Takes::It,
            };
            outside.is_careless = weather == Weather::ServicesCareless;
        });
    }

    fn fresh_names(&mut self, who: Who) {
        self.renamed += 1;
        let person = &mut self.people[who as usize];
        if person.wa_id.is_some() {
            let number = format!(
                "346100{:02}{:03}",
                10 + self.renamed % 90,
                600 + self.renamed
            );
            person.wa_id = WaId::parse(&number).ok();
        }
        if person.bsuid.is_some() {
            person.bsuid = Bsuid::parse(&format!("ES.new{}", self.renamed)).ok();
        }
    }

    fn new_number(&mut self, who: Who) -> Held {
        let (before, now) = (self.person(who).clone(), self.now());
        self.fresh_names(who);
        self.events += 1;
        let id = self.house().text(&before, "").id;
        let change = WebhookItem::IdentityChanged(IdentityChanged {
            id,
            at: Timestamp(now),
            before: before.sender(),
        });
        self.history.push(change.clone());
        self.receive(change)?;
        self.model.changed(&names_of(&before), now);
        Ok(())
    }

    fn takes_number(&mut self, taker: Who, loser: Who) {
        // Whoever shows no BSUID cannot be told apart from whoever had the number before.
        if taker == loser
            || self.person(taker).bsuid.is_none()
            || self.person(loser).wa_id.is_none()
            || self.person(taker).wa_id.is_none()
        {
            return;
        }
        let number = self.person(loser).wa_id.clone();
        self.fresh_names(loser);
        self.people[taker as usize].wa_id = number;
    }

    fn bot_link(&mut self, who: Who, send: bool) -> Held {
        use portero::app::Granted;
        let Some(chat) = self.chat_of(who) else {
            return Ok(());
        };
        let (id, now) = (self.ids[chat].unwrap(), self.now());
        self.events += 1;
        let granted = self.house().app.grant("bot", id, Wish::Link { send }, None);
        let granted = granted.unwrap();
        let is_closed = now > self.model.chat(chat).last_wrote + 23 * 60 * MINUTE_MS;
        let expected = match () {
            () if !self.setting.policy.methods.web => "no way",
            () if send && is_closed => "closed",
            () => self.model.send_link(chat, now),
        };
        let (was, url) = match granted {
            Granted::Link { url, .. } => ("link_sent", url),
            Granted::Limited { .. } => ("limited", None),
            Granted::Closed => ("closed", None),
            Granted::NoWay => ("no way", None),
            other => return broken(MODEL, format!("the bot got {other:?}")),
        };
        if was != expected {
            return broken(MODEL, format!("the bot got {was}, not {expected}"));
        }
        if let Some(url) = url {
            let hash = MappingHash::parse(url.reveal().rsplit('=').next().unwrap()).unwrap();
            let number = self.model.chat(chat).link.as_ref().unwrap().number;
            self.links
                .entry(who)
                .or_default()
                .push(SentLink { hash, number });
        }
        Ok(())
    }

    fn forget_chat(&mut self, who: Who) -> Held {
        let Some(chat) = self.chat_of(who) else {
            return Ok(());
        };
        let contact = self.contact(chat).cloned();
        let Some(contact) = contact else {
            return Ok(());
        };
        self.house().app.forget(&Whom::User(contact.id)).unwrap();
        self.model.forget_chat(chat);
        self.ids[chat] = None;
        self.guesses.clear();
        super::invariants::is_nowhere(self, &contact, None)
    }

    fn forget_address(&mut self, who: Who) -> Held {
        let address = address_of(who);
        let email = EmailAddress::parse(&address).unwrap();
        self.house().app.forget(&Whom::Email(email)).unwrap();
        self.model.forget_address(&address);
        let gone: Vec<usize> = (0..self.model.chats.len())
            .filter(|chat| self.model.chats[*chat].is_none() && self.ids[*chat].is_some())
            .collect();
        self.guesses.clear();
        for chat in gone {
            let contact = self.contact(chat).cloned();
            self.ids[chat] = None;
            if let Some(contact) = contact {
                super::invariants::is_nowhere(self, &contact, Some(&address))?;
            }
        }
        super::invariants::address_is_nowhere(self, &address)
    }

    // --- what reaches people --------------------------------------------------------------------

    /// Whoever holds a name now gets what is sent to it.
    fn holder(&self, to: &Recipient) -> Option<Who> {
        let is_holder = |who: &&Who| self.person(**who).is(to);
        EVERYBODY.iter().find(is_holder).copied()
    }

    fn observe(&mut self) -> Held {
        let seen = self.seen;
        let left = self
            .house()
            .world
            .change(|outside| outside.left[seen..].to_vec());
        self.seen += left.len();
        for left in left {
            match left {
                Left::Said(said) => self.hears_from_us(&said)?,
                Left::Mailed(mail) => self.gets_mail(&mail)?,
                Left::HandedOn(hand_over) => self.bot_gets(&hand_over)?,
                Left::Told(_) => {}
            }
        }
        Ok(())
    }

    fn hears_from_us(&mut self, said: &Said) -> Held {
        super::invariants::what_is_said(self, said)?;
        let Some(who) = self.holder(&said.to) else {
            return Ok(());
        };
        self.note(format!(
            "  {who:?} is told: {}",
            said.message.body.replace('\n', " ")
        ));
        let ids = said.message.buttons.iter().map(|button| button.id.clone());
        self.buttons.entry(who).or_default().extend(ids);
        if let Some(link) = &said.message.link
            && let LinkTarget::Url(url) = &link.to
        {
            let hash = MappingHash::parse(url.rsplit('=').next().unwrap()).unwrap();
            let page = ServiceName::parse("page").unwrap();
            let Some(mapping) = self.house().app.mapping(&hash, &page).unwrap() else {
                return broken(MODEL, "a dead link was sent");
            };
            let chat = self
                .ids
                .iter()
                .position(|id| *id == Some(mapping.user_uuid));
            let number = chat.and_then(|chat| Some(self.model.chat(chat).link.as_ref()?.number));
            let Some(number) = number else {
                return broken(MODEL, "a link was sent to a chat that has none");
            };
            self.links
                .entry(who)
                .or_default()
                .push(SentLink { hash, number });
        }
        Ok(())
    }

    fn gets_mail(&mut self, mail: &Mail) -> Held {
        let now = self.now();
        let to = mail.to.as_str().to_owned();
        let Some(who) = EVERYBODY.into_iter().find(|who| address_of(*who) == to) else {
            return broken(MODEL, format!("a mail to {to}, which is nobody's"));
        };
        super::invariants::what_is_mailed(self, mail)?;
        self.note(format!("  {who:?} gets a mail: {}", mail.subject));
        let code = code_of(mail);
        if code.len() == 8 && code.bytes().all(|b| b.is_ascii_digit()) {
            return self.gets_code(who, &code, mail, now);
        }
        if let Some((_, rest)) = mail.text.split_once("/undo/?token=") {
            let token = rest.split_whitespace().next().unwrap().to_owned();
            let id = ContactId::parse(&token[..32]).unwrap();
            let chat = self.ids.iter().position(|known| *known == Some(id));
            let Some(chat) = chat else {
                return broken(MODEL, "a mail about the sign-in of nobody");
            };
            let Some(bound) = self.model.chat(chat).bound.clone() else {
                return broken(MODEL, "a mail about a sign-in that has ended");
            };
            self.undoable.entry(who).or_default().push(Undoable {
                token,
                chat,
                proved_at: bound.at,
            });
        }
        Ok(())
    }

    /// A code came: it belongs to a chat that waits for one to this mailbox, and names it.
    fn gets_code(&mut self, who: Who, code: &str, mail: &Mail, now: u64) -> Held {
        let address = address_of(who);
        let chats = self.model.chats.iter_mut().enumerate();
        let mut waiting: Vec<usize> = Vec::new();
        for (at, chat) in chats {
            let Some(chat) = chat else { continue };
            let is_named = match &chat.number {
                Some(number) => mail
                    .text
                    .contains(&format!("termina en {}", &number[number.len() - 2..])),
                None => !mail.text.contains("termina en"),
            };
            if let Asked::Code(asked) = &mut chat.asked
                && is_named
                && asked.address == address
                && asked.mailed.as_deref().is_none_or(|mailed| mailed == code)
            {
                waiting.push(at);
            }
        }
        let [at] = waiting[..] else {
            return broken(
                MODEL,
                format!(
                    "{} chats wait for the code mailed to {who:?}",
                    waiting.len()
                ),
            );
        };
        if let Asked::Code(asked) = &mut self.model.chat_mut(at).asked {
            asked.mailed = Some(code.to_owned());
        }
        self.mailed.push(MailedCode {
            code: code.to_owned(),
            to: who,
            chat: at,
            at: now,
        });
        Ok(())
    }

    fn bot_gets(&mut self, hand_over: &HandOver) -> Held {
        let now = self.now();
        super::invariants::what_the_bot_gets(self, hand_over)?;
        if let Some(identity) = &hand_over.identity {
            self.identities.push((identity.clone(), now));
        }
        Ok(())
    }

    // --- tokens ---------------------------------------------------------------------------------

    /// The users whose tokens are given for this contact now.
    pub fn tokens(&self, contact: ContactId, users: &Users) -> Result<Vec<User>, Broken> {
        let issue = |wanted: &TokenWanted<'_>, _: Timestamp, _: &str| {
            Ok(Issued {
                token: Secret::new(format!("{} {}", wanted.user_id, wanted.company_id)),
                token_type: "Bearer".into(),
                expires_in_seconds: 3_600,
            })
        };
        let mut given = Vec::new();
        for service in ["kutamma", "woku"] {
            let asked = TokenAsked {
                contact,
                users: users.clone(),
                service: ServiceName::parse(service).unwrap(),
                account: None,
                company: None,
                scope: None,
                first_hours_only: false,
            };
            let answer = self.house().app.token(&asked, &issue).unwrap();
            match answer {
                TokenAnswer::Token { token, account, .. } => {
                    let user = self.model.users.iter().find(|user| {
                        user.service == service
                            && token.reveal() == format!("{} {}", user.id, user.company)
                            && account.id == user.id
                    });
                    match user {
                        Some(user) => given.push(user.clone()),
                        None => return broken(super::invariants::SIXTH, "a token of nobody"),
                    }
                }
                TokenAnswer::Need { .. } | TokenAnswer::NoSuchContact => {}
                other => return broken(MODEL, format!("asked for a token: {other:?}")),
            }
        }
        Ok(given)
    }

    fn token_for_identity(&mut self, number: u8) -> Held {
        if self.identities.is_empty() {
            return Ok(());
        }
        let at = self.identities.len() - 1 - usize::from(number) % self.identities.len();
        let (identity, since) = self.identities[at].clone();
        let now = self.now();
        let Ok(identity) = self.house().app.identity(identity.reveal()) else {
            // One from the future is not, until its moment comes.
            return match now >= since && now < since + 4 * MINUTE_MS {
                true => broken(MODEL, "a fresh identity is not believed"),
                false => Ok(()),
            };
        };
        if now > since + 5 * MINUTE_MS + 2_000 {
            return broken(super::invariants::SIXTH, "an identity holds for too long");
        }
        let chat = self.ids.iter().position(|id| *id == Some(identity.contact));
        let given = self.tokens(identity.contact, &identity.users)?;
        let allowed = chat.map_or(Vec::new(), |chat| self.model.acts_as(chat, now));
        super::invariants::tokens_are_of(&given, &allowed, !identity.users.is_anybody())
    }

    // --- the model and the store ----------------------------------------------------------------

    /// Which contact a new chat of the model is.
    fn match_chats(&mut self) -> Held {
        while self.ids.len() < self.model.chats.len() {
            let at = self.ids.len();
            let chat = self.model.chat(at);
            let is_it = |contact: &&Contact| {
                !self.ids.contains(&Some(contact.id))
                    && contact.bsuid.as_ref().map(Bsuid::as_str) == chat.bsuid.as_deref()
                    && contact.wa_id.as_ref().map(WaId::as_str) == chat.number.as_deref()
            };
            let Some(contact) = self.contacts.iter().find(is_it) else {
                return broken(MODEL, "a chat that nobody knows");
            };
            let id = contact.id;
            self.ids.push(Some(id));
        }
        Ok(())
    }

    /// What a code needs did not come in time: the chat was told, and begins again.
    fn accept_what_gave_up(&mut self) {
        let now = self.now();
        for at in 0..self.ids.len() {
            let Some(Asked::Code(code)) = self.model.chats[at].as_ref().map(|chat| &chat.asked)
            else {
                continue;
            };
            let (is_in_trouble, asked_at) = (self.weather != Weather::Fair, code.at);
            let is_over = self.contact(at).is_some_and(|contact| {
                matches!(contact.stage, Stage::Idle | Stage::AddressAsked { .. })
            });
            if is_over && (is_in_trouble || now >= asked_at + 2 * MINUTE_MS) {
                self.model.gave_up(at, now);
            }
        }
    }

    /// As the store knows it: who is signed in as whom, and what is live.
    pub fn compare(&mut self) -> Held {
        let live = self.model.chats.iter().flatten().count();
        if live != self.contacts.len() {
            return broken(
                MODEL,
                format!("{live} chats, and {} contacts", self.contacts.len()),
            );
        }
        for at in 0..self.ids.len() {
            if self.model.chats[at].is_none() {
                continue;
            }
            let Some(contact) = self.contact(at).cloned() else {
                return broken(MODEL, format!("chat {at} is gone"));
            };
            let mut bound: Vec<User> = Vec::new();
            for binding in &contact.bindings {
                let of = |user: &&User| is_of(user, binding);
                match self.model.users.iter().find(of) {
                    Some(user) => bound.push(user.clone()),
                    None => return broken(MODEL, "somebody is signed in as nobody"),
                }
            }
            bound.sort();
            let is_partly_known = self.is_partly_known;
            let chat = self.model.chat_mut(at);
            let mut expected = chat.bound.as_ref().map_or(Vec::new(), |b| b.users.clone());
            expected.sort();
            // A service that was silent adds nothing.
            let is_part = !bound.is_empty() && bound.iter().all(|user| expected.contains(user));
            if is_partly_known
                && is_part
                && let Some(model) = &mut chat.bound
            {
                model.users.clone_from(&bound);
            } else if bound != expected {
                return broken(
                    MODEL,
                    format!("chat {at} is signed in as {bound:?}, not as {expected:?}"),
                );
            }
            compare_asked(at, &chat.asked, &contact.stage)?;
            compare_link(at, chat.link.as_ref(), &contact)?;
        }
        Ok(())
    }
}

pub fn is_of(user: &User, binding: &Binding) -> bool {
    user.service == binding.service.as_str()
        && user.id == binding.user_id
        && user.company == binding.company.id
}

fn compare_asked(at: usize, asked: &Asked, stage: &Stage) -> Held {
    let is_same = match (asked, stage) {
        (Asked::Nothing, Stage::Idle) | (Asked::Link, Stage::LinkSent) => true,
        (Asked::Address { at }, Stage::AddressAsked { at: since }) => *at == since.0,
        (
            Asked::Spelling { typed, meant },
            Stage::SpellingAsked {
                typed: t,
                suggested: s,
                ..
            },
        ) => typed == t.as_str() && meant == s.as_str(),
        (Asked::Code(code), Stage::CodeAwaited(challenge)) => {
            code.address == challenge.address.as_str()
                && code.at == challenge.asked_at.0
                && code.wrong == challenge.wrong
        }
        _ => false,
    };
    match is_same {
        true => Ok(()),
        false => broken(
            MODEL,
            format!("chat {at} is at {stage:?}, not at {asked:?}"),
        ),
    }
}

fn compare_link(at: usize, link: Option<&Link>, contact: &Contact) -> Held {
    let is_same = match (link, &contact.mapping) {
        (None, None) => true,
        (Some(link), Some(mapping)) => {
            link.at == mapping.asked_at.0
                && link.passwords == mapping.passwords
                && match (&link.state, &mapping.state) {
                    (LinkState::Live, MappingState::Issued)
                    | (LinkState::Used, MappingState::Used)
                    | (LinkState::Burned, MappingState::Burned) => true,
                    (
                        LinkState::SignedIn { until, .. },
                        MappingState::SignedIn { until: u, .. },
                    ) => *until == u.0,
                    _ => false,
                }
        }
        _ => false,
    };
    match is_same {
        true => Ok(()),
        false => broken(
            MODEL,
            format!(
                "the link of chat {at} is {:?}, not {link:?}",
                contact.mapping
            ),
        ),
    }
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Was(&'static str),
    Repeated,
}

/// The message that an identity came with.
pub fn message_of(world: &World, identity: &Secret) -> Option<MessageId> {
    let identity = world.house().app.identity(identity.reveal()).ok()?;
    Some(identity.message)
}

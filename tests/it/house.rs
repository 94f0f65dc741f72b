//! The whole core with the world around it in memory: the operations and the outbox as they run in
//! the program, on a clock that is set by hand, with randomness that repeats itself. What leaves
//! the house is written down, and a table of people answers for the services.

use portero::app::admin::Overview;
use portero::app::{
    App, Body, Clock, Failed, HandOver, IdentitySettings, IssueToken, Lookup, Machine,
    NoRandomness, OperatorAct, Places, Random, Received, Report, Settings, SystemClock, Telling,
    TokenWanted, Verdict, Visitor, Work,
};
use portero::domain::account::{Account, Answer, Company, Unavailable};
use portero::domain::contact::Contact;
use portero::domain::delivery::{ChatMessage, Lane, LinkTarget, Mail, Recipient, SignedBody};
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::{
    Bsuid, EmailAddress, IdentityKey, MessageId, PhoneNumberId, ServiceName, WaId,
};
use portero::domain::language::Language;
use portero::domain::message::{
    Content, Inbound, Provenance, Sender, Status, StatusUpdate, WebhookItem,
};
use portero::domain::policy::{Methods, Policy};
use portero::domain::secret::MappingHash;
use portero::domain::sign_in::PageAnswer;
use portero::domain::time::{MINUTE_MS, SECOND_MS, Timestamp};
use portero::outbox::{Outbox, Pace};
use portero::store::engine::{Reader, UpdateBody, Writer};
use portero::store::record::{self, Keys};
use portero::store::redb::Options;
use portero::store::{
    Engine, KeyRange, MasterKey, Memory, Order, Redb, Sealed, Snapshots, StoreError, Table,
    migrate, restore,
};
use portero::text::{Texts, Voice};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The day on which every test begins.
pub const START: Timestamp = Timestamp(1_800_000_000_000);

const MASTER_KEY: &str = "4141414141414141414141414141414141414141414141414141414141414141";

/// Where links to the sign-in page lead.
const SIGN_IN: &str = "https://portero.example/sign-in/?mappingHash=";

/// Where the mail about a binding leads.
const UNDO: &str = "https://portero.example/undo/?token=";

/// A clock that stands still until it is set.
pub struct HandClock {
    now: AtomicU64,
    /// How much of that is a mistake of the machine.
    leapt_ms: AtomicU64,
}

impl HandClock {
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }

    pub fn forward(&self, ms: u64) {
        self.now.fetch_add(ms, Ordering::SeqCst);
    }

    /// The clock of the machine is set ahead, and no time passes.
    pub fn leap(&self, ms: u64) {
        self.leapt_ms.fetch_add(ms, Ordering::SeqCst);
        self.forward(ms);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::SeqCst))
    }

    fn steady_ms(&self) -> u64 {
        self.now().0 - self.leapt_ms.load(Ordering::SeqCst)
    }
}

/// A machine on which time passes as it does for everybody, and whose clock is wrong.
pub struct WrongMachine {
    time: Arc<HandClock>,
    booted_at: Timestamp,
    wrong: Mutex<Wrong>,
}

#[derive(Clone, Copy, Default)]
struct Wrong {
    ahead_ms: i64,
    /// Of what passes from the moment on, the clock shows so much more.
    fast_percent: i64,
    since_ms: u64,
}

impl WrongMachine {
    fn passed_ms(&self) -> u64 {
        self.time.now().since_ms(self.booted_at)
    }

    /// How far ahead it is of the time.
    pub fn ahead_ms(&self) -> i64 {
        let wrong = *self.wrong.lock().unwrap();
        let passed_ms = (self.passed_ms() - wrong.since_ms) as i64;
        wrong.ahead_ms + passed_ms * wrong.fast_percent / 100
    }

    /// Its clock is set, by so much.
    pub fn set_ahead(&self, ms: i64) {
        self.wrong.lock().unwrap().ahead_ms += ms;
    }

    /// Its clock is set right, and runs as it should.
    pub fn set_right(&self) {
        *self.wrong.lock().unwrap() = Wrong::default();
    }

    /// From now on its clock runs so much too fast.
    pub fn run_fast(&self, percent: i64) {
        let ahead_ms = self.ahead_ms();
        *self.wrong.lock().unwrap() = Wrong {
            ahead_ms,
            fast_percent: percent,
            since_ms: self.passed_ms(),
        };
    }
}

impl Machine for WrongMachine {
    fn wall(&self) -> Timestamp {
        Timestamp(self.time.now().0.saturating_add_signed(self.ahead_ms()))
    }

    fn since_boot_ms(&self) -> u64 {
        self.passed_ms()
    }
}

/// Random enough for a test, and the same every time (xorshift64*).
pub struct Seeded {
    state: Mutex<u64>,
    pub fails: AtomicBool,
}

impl Random for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(NoRandomness);
        }
        let mut state = self.state.lock().unwrap();
        for byte in bytes {
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            *byte = (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8;
        }
        Ok(())
    }
}

/// Somebody with a phone.
#[derive(Clone, Debug, Default)]
pub struct Person {
    pub wa_id: Option<WaId>,
    pub bsuid: Option<Bsuid>,
    pub key: Option<IdentityKey>,
}

impl Person {
    pub fn with_number(number: &str) -> Person {
        Person {
            wa_id: Some(WaId::parse(number).unwrap()),
            ..Person::default()
        }
    }

    pub fn sender(&self) -> Sender {
        Sender {
            bsuid: self.bsuid.clone(),
            wa_id: self.wa_id.clone(),
            identity_key: self.key.clone(),
        }
    }

    pub fn is(&self, to: &Recipient) -> bool {
        match to {
            Recipient::Number(number) => self.wa_id.as_ref() == Some(number),
            Recipient::Bsuid(bsuid) => self.bsuid.as_ref() == Some(bsuid),
        }
    }
}

/// A message that reached Meta.
#[derive(Clone, Debug)]
pub struct Said {
    pub to: Recipient,
    pub message: ChatMessage,
    pub tag: String,
    pub id: MessageId,
    pub at: Timestamp,
}

/// Something that left the house, in the order in which it left.
#[derive(Clone, Debug)]
pub enum Left {
    Said(Said),
    Mailed(Mail),
    HandedOn(HandOver),
    Told(Telling),
}

/// How the other side takes a try.
#[derive(Clone, Debug)]
pub enum Takes {
    /// As it should.
    It,
    /// Not.
    Not(Failure),
    /// It does, and no answer says so.
    ItSilently,
}

/// What the bot makes of a message that it does not treat like all others.
pub type BotSays = Box<dyn Fn(&HandOver) -> Option<Report> + Send>;

/// How somebody takes a try that comes at this moment.
pub type TakesThen = Box<dyn FnMut(Timestamp) -> Takes + Send>;

/// What the services say at this moment.
pub type Answers = Box<dyn Fn(&Lookup, Timestamp) -> Vec<Answer> + Send>;

/// A service and whom it knows.
pub struct Service {
    pub name: ServiceName,
    pub is_down: bool,
    pub users: Vec<Account>,
}

/// The world outside: what it knows, how it behaves, and what reached it.
pub struct Outside {
    pub services: Vec<Service>,
    /// How WhatsApp takes the next tries; afterwards as `whatsapp` says.
    pub whatsapp_next: VecDeque<Takes>,
    pub whatsapp: Takes,
    /// Decides in place of `whatsapp`.
    pub whatsapp_then: Option<TakesThen>,
    pub mail: Takes,
    /// Decides in place of `mail`.
    pub mail_then: Option<TakesThen>,
    /// How the bot takes the next tries; afterwards as `bot_says`, and if that is silent `bot`.
    pub bot_next: VecDeque<Takes>,
    /// What the bot makes of single messages.
    pub bot_says: Option<BotSays>,
    pub bot: Takes,
    pub receiver: Takes,
    /// Mailboxes for which the mail server has only a refusal.
    pub refusing: Vec<EmailAddress>,
    /// What it says to them.
    pub refusal: Failure,
    /// Whether services answer with everybody they know, whoever was asked about.
    pub is_careless: bool,
    pub left: Vec<Left>,
    /// Answer in place of `services`.
    pub answers: Option<Answers>,
    /// Questions to the services.
    pub look_ups: usize,
    /// Visits to the mail server without a mail.
    pub probes: usize,
    /// Tries to send a chat message, taken or not.
    pub chat_tries: usize,
    /// Tries to hand something on, taken or not.
    pub bot_tries: usize,
    messages: u64,
    /// What happens right after something left, before anybody writes down that it did.
    pub afterwards: Option<Box<dyn Fn() + Send>>,
}

/// The world, shared with the outbox.
pub struct World {
    outside: Mutex<Outside>,
    clock: Arc<HandClock>,
}

impl World {
    pub fn change<T>(&self, change: impl FnOnce(&mut Outside) -> T) -> T {
        change(&mut self.outside.lock().unwrap())
    }

    pub fn carry(&self, work: &Work) -> Report {
        let mut outside = self.outside.lock().unwrap();
        let report = self.take(&mut outside, work);
        if let Some(afterwards) = &outside.afterwards {
            afterwards();
        }
        report
    }

    fn mail(&self, outside: &mut Outside) -> Takes {
        match &mut outside.mail_then {
            Some(takes) => takes(self.clock.now()),
            None => outside.mail.clone(),
        }
    }

    fn take(&self, outside: &mut Outside, work: &Work) -> Report {
        match work {
            Work::Chat { to, message, tag } => {
                outside.chat_tries += 1;
                let takes = outside.whatsapp_next.pop_front();
                let takes = takes.unwrap_or_else(|| match &mut outside.whatsapp_then {
                    Some(takes) => takes(self.clock.now()),
                    None => outside.whatsapp.clone(),
                });
                if let Takes::Not(failure) = takes {
                    return Report::Failed(failure);
                }
                outside.messages += 1;
                let id = MessageId::parse(&format!("wamid.out{}", outside.messages)).unwrap();
                outside.left.push(Left::Said(Said {
                    to: to.clone(),
                    message: message.clone(),
                    tag: tag.clone(),
                    id: id.clone(),
                    at: self.clock.now(),
                }));
                match takes {
                    Takes::ItSilently => Report::Failed(no_answer()),
                    _ => Report::Sent(Some(id)),
                }
            }
            Work::Mail(mail) => match self.mail(outside) {
                Takes::Not(failure) => Report::Failed(failure),
                _ if outside.refusing.contains(&mail.to) => Report::Failed(outside.refusal.clone()),
                takes => {
                    outside.left.push(Left::Mailed(mail.clone()));
                    match takes {
                        Takes::ItSilently => Report::Failed(no_answer()),
                        _ => Report::Sent(None),
                    }
                }
            },
            Work::PretendMail => {
                outside.probes += 1;
                match self.mail(outside) {
                    Takes::Not(failure) => Report::Failed(failure),
                    _ => Report::Sent(None),
                }
            }
            Work::LookUp(look_up) => {
                outside.look_ups += 1;
                if let Some(answers) = &outside.answers {
                    return Report::Answers(answers(look_up, self.clock.now()));
                }
                let answer = |service: &Service| Answer {
                    service: service.name.clone(),
                    users: if service.is_down {
                        Err(Unavailable {
                            reason: "connection refused".into(),
                        })
                    } else {
                        Ok(service
                            .users
                            .iter()
                            .filter(|user| outside.is_careless || user.email == look_up.address)
                            .cloned()
                            .collect())
                    },
                };
                Report::Answers(outside.services.iter().map(answer).collect())
            }
            Work::HandOn(hand_over) => {
                outside.bot_tries += 1;
                let says = outside.bot_says.as_ref().and_then(|says| says(hand_over));
                if let Some(report) = says {
                    return report;
                }
                let takes = outside.bot_next.pop_front();
                let takes = takes.unwrap_or_else(|| outside.bot.clone());
                if let Takes::Not(failure) = takes {
                    return Report::Failed(failure);
                }
                outside.left.push(Left::HandedOn(hand_over.clone()));
                match takes {
                    Takes::ItSilently => Report::Failed(no_answer()),
                    _ => Report::Sent(None),
                }
            }
            Work::Tell(telling) => match outside.receiver.clone() {
                Takes::Not(failure) => Report::Failed(failure),
                takes => {
                    outside.left.push(Left::Told(telling.clone()));
                    match takes {
                        Takes::ItSilently => Report::Failed(no_answer()),
                        _ => Report::Sent(None),
                    }
                }
            },
            Work::Nothing(report) => report.clone(),
        }
    }
}

/// Nobody issues tokens.
pub fn no_tokens() -> Box<dyn IssueToken> {
    Box::new(|_: &TokenWanted<'_>, _: Timestamp, _: &str| Err(no_answer()))
}

pub fn no_answer() -> Failure {
    failure(FailureKind::Unknown, "no answer")
}

pub fn mailbox_refused() -> Failure {
    failure(
        FailureKind::Recipient,
        "the mailbox was refused (550 5.1.1)",
    )
}

pub fn server_error() -> Failure {
    Failure::temporary("Meta answered 500")
}

pub fn failure(kind: FailureKind, reason: &str) -> Failure {
    Failure {
        kind,
        reason: reason.into(),
        advice: None,
    }
}

/// Gives the engine that the next start finds.
pub type OpenEngine = Box<dyn Fn() -> Arc<dyn Engine> + Send + Sync>;

/// Where the house keeps its records.
enum Ground {
    Memory(Arc<Memory>),
    Shaky(Arc<Shaky>),
    File(TempDir),
    Elsewhere(OpenEngine),
}

/// The file of a house that stands on one.
const STORE: &str = "portero.redb";

impl Ground {
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Ground::Memory(memory) => Arc::clone(memory) as Arc<dyn Engine>,
            Ground::Shaky(shaky) => Arc::clone(shaky) as Arc<dyn Engine>,
            Ground::File(folder) => {
                let path = folder.path().join(STORE);
                Arc::new(Redb::open(&path, Options::default()).unwrap())
            }
            Ground::Elsewhere(open) => open(),
        }
    }
}

/// When an engine panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panics {
    Never,
    /// Instead of the call of this number, from 1.
    Before(u64),
    /// When that call has been made.
    After(u64),
    /// At each call of a sender's thread.
    InSenders,
}

/// An engine with a fault of its own.
pub struct Shaky {
    memory: Memory,
    state: Mutex<(u64, Panics)>,
    is_full: AtomicBool,
}

impl Shaky {
    /// Whether its disk is full from now on.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    /// From now on, and counted from here.
    pub fn panics(&self, when: Panics) {
        *self.state.lock().unwrap() = (0, when);
    }

    /// How many calls there were since then.
    pub fn calls(&self) -> u64 {
        self.state.lock().unwrap().0
    }

    fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let (number, when) = {
            let mut state = self.state.lock().unwrap();
            state.0 += 1;
            *state
        };
        let thread = std::thread::current();
        let is_sender = thread
            .name()
            .is_some_and(|name| name.starts_with("outbox-"));
        if when == Panics::Before(number) || (when == Panics::InSenders && is_sender) {
            panic!("on purpose");
        }
        let value = call();
        assert!(when != Panics::After(number), "on purpose");
        value
    }
}

impl Engine for Shaky {
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.call(|| self.memory.view_with(body))
    }

    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StoreError::Full);
        }
        self.call(|| self.memory.update_with(body))
    }

    fn rewrite(&self) -> Result<(), StoreError> {
        self.call(|| self.memory.rewrite())
    }
}

/// What the items of a webhook say stands for its body: text as it was typed, and nothing for all
/// else, one after the other.
struct Words(Vec<String>);

const NO_TEXT: &str = "\u{0}";

fn text_of(item: &WebhookItem) -> String {
    match item {
        WebhookItem::Message(Inbound {
            content: Content::Text(text),
            ..
        }) => text.clone(),
        _ => NO_TEXT.to_owned(),
    }
}

/// What a hand-over says; `None` when it is not text.
pub fn said_in(hand_over: &HandOver) -> Option<String> {
    let text = String::from_utf8(hand_over.body.bytes.clone()).unwrap();
    (text != NO_TEXT).then_some(text)
}

impl Body for Words {
    fn whole(&self) -> Option<SignedBody> {
        self.part(&(0..self.0.len()).collect::<Vec<_>>())
    }

    fn part(&self, items: &[usize]) -> Option<SignedBody> {
        let texts: Vec<&str> = items.iter().map(|item| self.0[*item].as_str()).collect();
        Some(SignedBody {
            bytes: texts.join("\n").into_bytes(),
            signature: "sha256=of the house".into(),
        })
    }
}

/// The house.
pub struct House {
    pub app: Arc<App>,
    pub outbox: Arc<Outbox>,
    pub clock: Arc<HandClock>,
    pub random: Arc<Seeded>,
    pub world: Arc<World>,
    ground: Ground,
    engine: Arc<dyn Engine>,
    settings: Settings,
    messages: AtomicU64,
    machine: Option<Arc<WrongMachine>>,
}

impl House {
    /// On maps in memory, with the limits of the documentation.
    pub fn in_memory() -> House {
        House::with_policy(Policy::default())
    }

    /// On an engine that can be made to panic, or to find its disk full.
    pub fn on_shaky_ground() -> House {
        let shaky = Shaky {
            memory: Memory::new(),
            state: Mutex::new((0, Panics::Never)),
            is_full: AtomicBool::new(false),
        };
        House::on(Ground::Shaky(Arc::new(shaky)), Policy::default())
    }

    pub fn with_policy(policy: Policy) -> House {
        House::on(Ground::Memory(Arc::new(Memory::new())), policy)
    }

    /// In which whoever wants to know is told what happens with sign-ins.
    pub fn that_tells() -> House {
        House::in_memory().telling()
    }

    /// The same, and whoever wants to know is told what happens with sign-ins.
    pub fn telling(mut self) -> House {
        self.settings.tells_events = true;
        self.restarted()
    }

    /// Whoever knows it can read the records of every house.
    pub const MASTER_KEY: &str = MASTER_KEY;

    /// On the store that somebody left in this folder at that moment, whatever its format.
    pub fn moved_in(folder: TempDir, policy: Policy, left_at: Timestamp) -> House {
        let key = MasterKey::from_hex(MASTER_KEY).unwrap();
        let snapshots = Snapshots::new(folder.path().join("snapshots"), 0);
        let ground = Ground::File(folder);
        let opened = migrate::open(ground.engine(), &key, &snapshots, left_at, migrate::STEPS);
        drop(opened.unwrap());
        let mut house = House::on(ground, policy);
        house.clock.set(left_at);
        // Its messages were received.
        house.messages = AtomicU64::new(1_000_000);
        house.restarted()
    }

    /// On a file, with the clock of production, on a machine whose own may be wrong.
    pub fn on_a_machine() -> (House, Arc<WrongMachine>) {
        House::on_file().onto_a_machine(0)
    }

    /// The same with this house, on a machine whose clock is so far ahead.
    pub fn onto_a_machine(mut self, ahead_ms: i64) -> (House, Arc<WrongMachine>) {
        let machine = Arc::new(WrongMachine {
            time: Arc::clone(&self.clock),
            booted_at: self.clock.now(),
            wrong: Mutex::default(),
        });
        machine.set_ahead(ahead_ms);
        self.machine = Some(Arc::clone(&machine));
        (self.restarted(), machine)
    }

    /// On a file, as in production.
    pub fn on_file() -> House {
        House::on(Ground::File(TempDir::new().unwrap()), Policy::default())
    }

    /// With a sign-in page: the one of the documentation, unless the policy says otherwise.
    pub fn on_the_web(policy: Policy) -> House {
        House::on(Ground::Memory(Arc::new(Memory::new())), policy)
    }

    /// The same on an engine that is opened anew at each start.
    pub fn on_the_web_over(policy: Policy, open: OpenEngine) -> House {
        House::on(Ground::Elsewhere(open), policy)
    }

    /// The same on a file.
    pub fn on_the_web_on_file(policy: Policy) -> House {
        House::on(Ground::File(TempDir::new().unwrap()), policy)
    }

    /// The limits of the documentation, with both ways in.
    pub fn both_ways_in() -> Policy {
        Policy {
            methods: Methods {
                mail: true,
                web: true,
            },
            ..Policy::default()
        }
    }

    fn on(ground: Ground, policy: Policy) -> House {
        let places = if policy.methods.web {
            Places {
                sign_in: Some(SIGN_IN.into()),
                undo: Some(UNDO.into()),
                chat: Some("https://api.whatsapp.com/send/?phone=15550783881".into()),
                number: WaId::parse("15550783881").ok(),
            }
        } else {
            Places::default()
        };
        let services: Vec<(ServiceName, String)> = ["Kutamma", "woku"]
            .map(|title| {
                let name = ServiceName::parse(&title.to_lowercase()).unwrap();
                (name, title.to_owned())
            })
            .into();
        let settings = Settings {
            voice: Voice {
                business: "Café Río".into(),
                services: services.clone(),
                code_digits: policy.code_digits,
                code_minutes: policy.code_lifetime_ms / MINUTE_MS,
                methods: policy.methods,
                link_minutes: policy.link_lifetime_ms / MINUTE_MS,
            },
            policy,
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            language: Language::English,
            texts: Texts::default(),
            directory: None,
            places,
            hands_on: true,
            tells_events: false,
            identity: IdentitySettings::default(),
        };
        let clock = Arc::new(HandClock {
            now: AtomicU64::new(START.0),
            leapt_ms: AtomicU64::new(0),
        });
        let outside = Outside {
            services: services
                .into_iter()
                .map(|(name, _)| Service {
                    name,
                    is_down: false,
                    users: Vec::new(),
                })
                .collect(),
            whatsapp_next: VecDeque::new(),
            whatsapp: Takes::It,
            whatsapp_then: None,
            mail: Takes::It,
            mail_then: None,
            bot_next: VecDeque::new(),
            bot_says: None,
            bot: Takes::It,
            receiver: Takes::It,
            refusing: Vec::new(),
            refusal: mailbox_refused(),
            is_careless: false,
            left: Vec::new(),
            answers: None,
            look_ups: 0,
            probes: 0,
            chat_tries: 0,
            bot_tries: 0,
            messages: 0,
            afterwards: None,
        };
        let world = Arc::new(World {
            outside: Mutex::new(outside),
            clock: Arc::clone(&clock),
        });
        let random = Arc::new(Seeded {
            state: Mutex::new(0x9E37_79B9_7F4A_7C15),
            fails: AtomicBool::new(false),
        });
        House::open(ground, settings, clock, random, world, 0, None)
    }

    fn open(
        ground: Ground,
        settings: Settings,
        clock: Arc<HandClock>,
        random: Arc<Seeded>,
        world: Arc<World>,
        messages: u64,
        machine: Option<Arc<WrongMachine>>,
    ) -> House {
        let key = MasterKey::from_hex(MASTER_KEY).unwrap();
        let engine = ground.engine();
        let store = Sealed::open(Arc::clone(&engine), &key).unwrap();
        let of_app: Arc<dyn Clock> = match &machine {
            None => Arc::clone(&clock) as _,
            Some(machine) => {
                let earliest = |reader: &dyn Reader| record::earliest_start(reader, machine.wall());
                let latest = store.view(earliest).unwrap();
                Arc::new(SystemClock::of(Arc::clone(machine) as _, latest))
            }
        };
        let app = App::new(
            store,
            Keys::new(key),
            settings.clone(),
            of_app,
            Arc::clone(&random) as Arc<dyn Random>,
        );
        let app = Arc::new(app.unwrap());
        let carrier = Arc::clone(&world);
        let outbox = Outbox::new(
            Arc::clone(&app),
            Arc::new(move |work: &Work| carrier.carry(work)),
            Pace::default(),
        );
        House {
            app,
            outbox: Arc::new(outbox),
            clock,
            random,
            world,
            ground,
            engine,
            settings,
            messages: AtomicU64::new(messages),
            machine,
        }
    }

    /// The process ends and another one starts on the same records.
    pub fn restarted(self) -> House {
        let hands_on = self.settings.hands_on;
        self.restarted_with_a_bot(hands_on)
    }

    /// As [`House::restarted`], with or without a bot in the configuration.
    pub fn restarted_with_a_bot(self, hands_on: bool) -> House {
        self.reopened(hands_on, |_, _| {})
    }

    /// The process ends, and another one starts on the records of this copy. Only on a file.
    pub fn restored(self, copy: &Path) -> House {
        let hands_on = self.settings.hands_on;
        self.reopened(hands_on, |ground, now| {
            let Ground::File(folder) = ground else {
                panic!("this house stands in memory");
            };
            let keys = Keys::new(MasterKey::from_hex(MASTER_KEY).unwrap());
            let snapshots = Snapshots::new(folder.path().join("snapshots"), 0);
            let path = folder.path().join("portero.redb");
            let line = OperatorAct::Restored.line(now);
            restore(copy, &path, &keys, &snapshots, &line).unwrap();
        })
    }

    fn reopened(self, hands_on: bool, between: impl FnOnce(&Ground, Timestamp)) -> House {
        let House {
            app,
            outbox,
            clock,
            random,
            world,
            ground,
            engine,
            settings,
            messages,
            machine,
        } = self;
        drop(outbox);
        drop(app);
        drop(engine);
        between(&ground, clock.now());
        let settings = Settings {
            hands_on,
            ..settings
        };
        House::open(
            ground,
            settings,
            clock,
            random,
            world,
            messages.into_inner(),
            machine,
        )
    }

    /// The engine beneath.
    pub fn engine(&self) -> &dyn Engine {
        &*self.engine
    }

    /// The same, to make it fail. Only in memory.
    pub fn memory(&self) -> &Arc<Memory> {
        match &self.ground {
            Ground::Memory(memory) => memory,
            Ground::Shaky(_) | Ground::File(_) | Ground::Elsewhere(_) => {
                panic!("this house stands on something else")
            }
        }
    }

    /// The engine beneath, to make it panic or refuse.
    pub fn shaky(&self) -> &Arc<Shaky> {
        match &self.ground {
            Ground::Shaky(shaky) => shaky,
            Ground::Memory(_) | Ground::File(_) | Ground::Elsewhere(_) => {
                panic!("this house stands firm")
            }
        }
    }

    /// How large the file is. Only on a file.
    pub fn file_bytes(&self) -> u64 {
        match &self.ground {
            Ground::File(folder) => {
                let file = std::fs::metadata(folder.path().join(STORE)).unwrap();
                file.len()
            }
            Ground::Memory(_) | Ground::Shaky(_) | Ground::Elsewhere(_) => {
                panic!("this house stands on nothing")
            }
        }
    }

    // --- who there is ---------------------------------------------------------------------------

    /// A user of a service: `ana@example.com`, `Ana Pérez`, `Acme`.
    pub fn register(&self, service: &str, email: &str, name: &str, company: &str) {
        let email = EmailAddress::parse(email).unwrap();
        self.world.change(|outside| {
            let service = outside
                .services
                .iter_mut()
                .find(|known| known.name.as_str() == service)
                .unwrap();
            service.users.push(Account {
                service: service.name.clone(),
                user_id: format!("u{}-{}", service.users.len() + 1, email.key()),
                name: name.into(),
                email,
                phone: None,
                company: Company {
                    id: company.to_lowercase(),
                    name: company.into(),
                },
            });
        });
    }

    /// The account that a service has for an address.
    pub fn account(&self, email: &str) -> Account {
        let email = EmailAddress::parse(email).unwrap();
        let known = self.world.change(|outside| {
            let mut users = outside.services.iter().flat_map(|service| &service.users);
            users.find(|user| user.email == email).cloned()
        });
        known.expect("somebody who is registered")
    }

    /// The services know this phone of the user.
    pub fn phone_on_file(&self, email: &str, phone: Option<&str>) {
        let email = EmailAddress::parse(email).unwrap();
        self.world.change(|outside| {
            let users = outside.services.iter_mut().flat_map(|s| &mut s.users);
            for user in users.filter(|user| user.email == email) {
                user.phone = phone.map(str::to_owned);
            }
        });
    }

    pub fn service_is_down(&self, service: &str, is_down: bool) {
        self.world.change(|outside| {
            for known in &mut outside.services {
                if known.name.as_str() == service {
                    known.is_down = is_down;
                }
            }
        });
    }

    // --- what arrives ---------------------------------------------------------------------------

    /// A message as it comes out of the webhook, written now.
    pub fn message(&self, person: &Person, content: Content) -> Inbound {
        let number = self.messages.fetch_add(1, Ordering::SeqCst);
        Inbound {
            id: MessageId::parse(&format!("wamid.in{number}")).unwrap(),
            sender: person.sender(),
            sent_at: self.clock.now(),
            content,
            provenance: Provenance::Direct,
        }
    }

    pub fn text(&self, person: &Person, text: &str) -> Inbound {
        self.message(person, Content::Text(text.into()))
    }

    pub fn receive(&self, message: Inbound) -> Result<Received, Failed> {
        self.receive_all(vec![WebhookItem::Message(message)])
    }

    /// A whole webhook arrives.
    pub fn receive_all(&self, items: Vec<WebhookItem>) -> Result<Received, Failed> {
        let body = Arc::new(Words(items.iter().map(text_of).collect()));
        self.app.receive(items, body)
    }

    /// The person writes; returns the outcome. Nothing leaves yet.
    pub fn write(&self, person: &Person, text: &str) -> &'static str {
        let received = self.receive(self.text(person, text)).unwrap();
        received.outcomes[0]
    }

    /// The person writes, and everything that is due leaves; returns what the person was told.
    pub fn ask(&self, person: &Person, text: &str) -> Vec<String> {
        self.clock.forward(10 * SECOND_MS);
        let before = self.world.change(|outside| outside.left.len());
        self.write(person, text);
        self.settle();
        let told = |left: &Left| match left {
            Left::Said(said) if person.is(&said.to) => Some(said.message.body.clone()),
            _ => None,
        };
        self.world
            .change(|outside| outside.left[before..].iter().filter_map(told).collect())
    }

    /// News of a message that Meta took.
    pub fn status(&self, said: &Said, status: Status) {
        self.receive_all(vec![WebhookItem::Status(StatusUpdate {
            id: said.id.clone(),
            status,
            at: self.clock.now(),
            recipient: Sender::default(),
            participant: None,
            tag: Some(said.tag.clone()),
            error_code: (status == Status::Failed).then_some(131_026),
        })])
        .unwrap();
    }

    // --- what leaves ----------------------------------------------------------------------------

    /// Everything that is due leaves; the clock stands still. Returns the number of tries.
    pub fn settle(&self) -> usize {
        let mut tries = 0;
        loop {
            let now: usize = Lane::ALL.iter().map(|lane| self.outbox.drain(*lane)).sum();
            if now == 0 {
                return tries;
            }
            tries += now;
        }
    }

    /// Time passes, and what becomes due leaves at its moment. After an hour in small steps the
    /// rest is one leap: nothing waits that long.
    pub fn later(&self, ms: u64) {
        let in_steps = ms.min(60 * MINUTE_MS);
        let mut left = in_steps;
        while left > 0 {
            let step = left.min(SECOND_MS);
            self.clock.forward(step);
            self.settle();
            left -= step;
        }
        self.clock.forward(ms - in_steps);
        self.settle();
    }

    pub fn left(&self) -> Vec<Left> {
        self.world.change(|outside| outside.left.clone())
    }

    pub fn said(&self) -> Vec<Said> {
        let left = self.left().into_iter();
        left.filter_map(|left| match left {
            Left::Said(said) => Some(said),
            Left::Mailed(_) | Left::HandedOn(..) | Left::Told(_) => None,
        })
        .collect()
    }

    /// Everything that this person was told.
    pub fn said_to(&self, person: &Person) -> Vec<String> {
        self.said()
            .into_iter()
            .filter(|said| person.is(&said.to))
            .map(|said| said.message.body)
            .collect()
    }

    pub fn mails(&self) -> Vec<Mail> {
        let left = self.left().into_iter();
        left.filter_map(|left| match left {
            Left::Mailed(mail) => Some(mail),
            Left::Said(_) | Left::HandedOn(..) | Left::Told(_) => None,
        })
        .collect()
    }

    pub fn mails_to(&self, address: &str) -> usize {
        let address = EmailAddress::parse(address).unwrap();
        self.mails()
            .iter()
            .filter(|mail| mail.to == address)
            .count()
    }

    /// What the bot got.
    pub fn handed_on(&self) -> Vec<Option<String>> {
        let left = self.left().into_iter();
        left.filter_map(|left| match left {
            Left::HandedOn(hand_over) => Some(said_in(&hand_over)),
            Left::Said(_) | Left::Mailed(_) | Left::Told(_) => None,
        })
        .collect()
    }

    /// The code of the last mail.
    pub fn code(&self) -> String {
        code_of(self.mails().last().expect("a code was mailed"))
    }

    // --- the page -------------------------------------------------------------------------------

    /// The hash of the last link that reached the person.
    pub fn link(&self, person: &Person) -> Option<MappingHash> {
        let said = self.said().into_iter().rev();
        said.filter(|said| person.is(&said.to))
            .find_map(|said| match said.message.link?.to {
                LinkTarget::Url(url) => Some(url),
                LinkTarget::SignIn(_) => panic!("a link left without its address"),
            })
            .map(|url| MappingHash::parse(url.strip_prefix(SIGN_IN).unwrap()).unwrap())
    }

    /// The person asks for a link and gets it.
    pub fn new_link(&self, person: &Person) -> MappingHash {
        let before = self.said().len();
        self.ask(person, "entrar en la web");
        assert!(self.said().len() > before, "no answer");
        self.link(person).expect("a link")
    }

    /// Somebody sends the form; what the page says, and the text that is ready in the chat.
    pub fn form(
        &self,
        hash: &MappingHash,
        number: Option<&str>,
        visitor: &Visitor,
        verdict: Verdict,
    ) -> (PageAnswer, Option<String>) {
        let attempt = self.app.begin_try(hash, visitor, number).unwrap();
        if attempt.answer != PageAnswer::Check {
            return (attempt.answer, None);
        }
        let tried = self
            .app
            .finish_try(hash, visitor, attempt.tried_at, verdict)
            .unwrap();
        let url = tried.chat_url.map(|url| url.reveal().to_owned());
        (tried.answer, url.as_deref().and_then(ready_text))
    }

    /// The person whose address it is signs in with the right password.
    pub fn right_password(&self, hash: &MappingHash, email: &str) -> (PageAnswer, Option<String>) {
        let verdict = Verdict::These(vec![self.account(email)]);
        self.form(hash, None, &Visitor::new(email, NETWORK), verdict)
    }

    /// As [`Self::right_password`], where a return code has to follow: the text that carries it.
    pub fn sign_in_on_page(&self, hash: &MappingHash, email: &str) -> String {
        let (answer, text) = self.right_password(hash, email);
        assert_eq!(answer, PageAnswer::Return);
        text.expect("a text that is ready in the chat")
    }

    pub fn wrong_password(&self, hash: &MappingHash, email: &str) -> PageAnswer {
        let visitor = Visitor::new(email, NETWORK);
        self.form(hash, None, &visitor, Verdict::Nobody).0
    }

    /// The token in the last mail to an address by which a sign-in is undone.
    pub fn undo_token(&self, email: &str) -> Option<String> {
        let email = EmailAddress::parse(email).unwrap();
        let mails = self.mails();
        mails
            .iter()
            .rev()
            .filter(|mail| mail.to == email)
            .find_map(|mail| {
                let (_, rest) = mail.text.split_once(UNDO)?;
                Some(rest.split_whitespace().next()?.to_owned())
            })
    }

    // --- what is known --------------------------------------------------------------------------

    /// The store itself, beside the operations over it.
    pub fn store_and_keys(&self) -> (Sealed, Keys) {
        let key = MasterKey::from_hex(MASTER_KEY).unwrap();
        let store = Sealed::open(Arc::clone(&self.engine), &key).unwrap();
        (store, Keys::new(key))
    }

    fn store(&self) -> Sealed {
        self.store_and_keys().0
    }

    /// Every record of the store, opened, table by table.
    pub fn records(&self) -> Vec<(String, Vec<u8>, Vec<u8>)> {
        let store = self.store();
        let tables = Table::ALL
            .into_iter()
            .filter(|table| *table != Table::Format);
        let mut records = Vec::new();
        store
            .view(|reader| {
                for table in tables.clone() {
                    reader.scan(table, KeyRange::all(), Order::Forward, &mut |key, value| {
                        records.push((format!("{table:?}"), key.to_vec(), value.to_vec()));
                        ControlFlow::Continue(())
                    })?;
                }
                Ok(())
            })
            .unwrap();
        records
    }

    pub fn overview(&self) -> Overview {
        self.app.overview(100_000).unwrap()
    }

    pub fn contacts(&self) -> Vec<Contact> {
        self.overview().contacts
    }

    pub fn contact(&self, person: &Person) -> Contact {
        let known = |contact: &Contact| match &person.bsuid {
            Some(bsuid) => contact.bsuid.as_ref() == Some(bsuid),
            None => contact.wa_id == person.wa_id,
        };
        self.contacts()
            .into_iter()
            .find(known)
            .expect("a contact that wrote")
    }

    pub fn is_bound(&self, person: &Person) -> bool {
        self.contact(person).is_bound()
    }

    /// The latest moment that the store knows.
    pub fn latest_moment(&self) -> Timestamp {
        self.store().view(record::latest_moment).unwrap()
    }

    /// What the program would have noted at this moment, while it believed its clock.
    pub fn note_time_at(&self, at: Timestamp) {
        let note = move |writer: &mut dyn Writer| {
            let latest = record::latest_moment(writer)?;
            record::put_latest_moment(writer, latest.max(at))
        };
        self.store().update(note).unwrap();
    }

    /// When a process would begin at the earliest, on this store and on a machine that shows `wall`.
    pub fn earliest_start(&self, wall: Timestamp) -> Timestamp {
        let earliest = |reader: &dyn Reader| record::earliest_start(reader, wall);
        self.store().view(earliest).unwrap()
    }

    /// Of messages sent before this moment the ids may be forgotten.
    pub fn seen_forgotten_until(&self) -> Timestamp {
        let until = self.store().view(record::seen_forgotten_until).unwrap();
        until.expect("a store that was opened")
    }

    /// How often something was written into the audit.
    pub fn audited(&self, event: &str) -> usize {
        let audit = self.overview().audit;
        audit.iter().filter(|line| line.event == event).count()
    }

    /// Hello, address, code: the shortest way in.
    pub fn sign_in(&self, person: &Person, address: &str) {
        self.ask(person, "hola");
        self.ask(person, address);
        self.ask(person, &self.code());
        assert!(self.is_bound(person), "{:?}", self.said_to(person));
    }
}

/// The network from which pages are read in these tests.
pub const NETWORK: [u8; 16] = [7; 16];

/// The text that a browser has ready in the chat.
pub fn ready_text(url: &str) -> Option<String> {
    let (_, text) = url.split_once("&text=")?;
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
        } else {
            byte
        });
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// The code in a mail: its subject begins with it.
pub fn code_of(mail: &Mail) -> String {
    mail.subject.split(' ').next().unwrap().to_owned()
}

/// A code that is not this one.
pub fn other_than(code: &str) -> String {
    let last = code.len() - 1;
    let digit = (code.as_bytes()[last] - b'0' + 1) % 10;
    format!("{}{digit}", &code[..last])
}

/// A house with people who have signed in.
pub struct Crowd {
    pub house: House,
    pub people: Vec<Person>,
}

impl Crowd {
    pub fn new(people: usize) -> Crowd {
        Crowd::in_house(House::in_memory(), people)
    }

    pub fn in_house(house: House, people: usize) -> Crowd {
        let people: Vec<Person> = (0..people)
            .map(|number| Person::with_number(&format!("3460011{number:04}")))
            .collect();
        for (number, person) in people.iter().enumerate() {
            let email = format!("user{number}@example.com");
            house.register("kutamma", &email, "Ana Pérez", "Acme");
            house.sign_in(person, &email);
        }
        // What was written before anybody was known has reached the bot.
        house.world.change(|outside| outside.left.clear());
        Crowd { house, people }
    }
}

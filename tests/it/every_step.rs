//! The real program, killed before each of its calls that the outside can notice (R-01b): the whole
//! life of a conversation is played once to count them, and then once for each of them. Whoever
//! writes, Meta, the mail server, a service and the bot go on as they would, and afterwards nothing
//! is lost and nothing was done twice.
//!
//! The usual run kills before the first and the last page that a commit writes to the store, and
//! before every other step; `PORTERO_CYCLES=20 cargo test --test it every_step::` before really every
//! step, so many times.

use crate::crash::{Books, Raise};
use crate::failing_calls::{FailingCalls, Happens, Step, steps};
use crate::flags::cycles;
use crate::outside::{
    Graph, Letter, ON_ITS_WAY, Portero, Reply, Request, SIGNED_IN, Sent, Server, Service, User,
    WELCOME, World, eventually, has, post_webhook, status, text, webhook,
};
use rustix::process::Signal;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Lives that are played at the same time. Some of them mostly wait: when nobody knows whether a
/// message arrived, the program waits a minute for its status before it repeats it.
const LIVES_AT_ONCE: usize = 24;

/// A step by its kind, and how manieth it is of those: no two lives take all of them in the same
/// order.
type Nth = (String, u64);

const PORTERO: &str = env!("CARGO_BIN_EXE_portero");

/// The outside world, which all lives share. Each of them has a folder with a program of its own,
/// and a person.
struct Stage {
    folder: tempfile::TempDir,
    environment: Vec<(OsString, OsString)>,
    graph: Graph,
    letters: Mutex<Vec<Letter>>,
    handed_on: Arc<Mutex<Vec<Request>>>,
    /// Names of those who listen, by address.
    names: Vec<(String, &'static str)>,
    _others: (Service, Service, Server),
}

/// The address of the person of this number.
fn address_of(person: usize) -> String {
    format!("persona.{person}@example.com")
}

/// Plays `parts` with the outside world for so many people.
fn on_stage<T>(people: usize, parts: impl FnOnce(&Stage) -> T) -> T {
    let mut world = World::with_mail(json!({}));
    let users = (0..people).map(|person| User {
        email: address_of(person).leak(),
        name: "Ana Pérez",
        company: "Inpla",
    });
    let kutamma = Service::start(b"kutamma kutamma kutamma kutamma ", users.collect());
    for service in [&kutamma, &world.woku] {
        service.is_asked_by_many();
    }
    for path in ["find-user", "issue-token"] {
        let path = format!("/portero/{path}");
        let (old, new) = (world.kutamma.url() + &path, kutamma.url() + &path);
        world.edit(&old, &new);
    }
    let handed_on = Arc::new(Mutex::new(Vec::new()));
    let taking = Arc::clone(&handed_on);
    let bot = Server::start(move |request| {
        taking.lock().unwrap().push(request.clone());
        Reply::Json(200, json!({}))
    });
    world.secret_file("bot_secret", "whsec_Ym90IGJvdCBib3QgYm90IGJvdCBib3QgYm90");
    let table = format!(
        "[bot]\nurl = \"{}/\"\ngate = \"everyone\"\nsecret = \"file:bot_secret\"\n\n[store]\n",
        bot.url()
    );
    world.edit("[store]\n", &table);
    let mut mail = world.mail.take().unwrap();
    let at = |url: &str| url.rsplit_once("//").unwrap().1.to_owned();
    let names = vec![
        (at(&world.graph.url()), "Meta"),
        (at(&kutamma.url()), "kutamma"),
        (at(&world.woku.url()), "woku"),
        (at(&bot.url()), "bot"),
        (format!("127.0.0.1:{}", mail.port()), "mail server"),
    ];
    let environment = (world.command(&[]).get_envs())
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    let stage = Stage {
        folder: world.folder,
        environment,
        graph: world.graph,
        letters: Mutex::default(),
        handed_on,
        names,
        _others: (kutamma, world.woku, bot),
    };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Raise([&over, &over]);
        let (stage, over) = (&stage, &over);
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let letter = mail.any();
                stage.letters.lock().unwrap().extend(letter);
            }
        });
        parts(stage)
    })
}

/// One life: a program, which is killed at most once, and a person who signs in there.
struct Life<'s> {
    stage: &'s Stage,
    person: usize,
    folder: PathBuf,
    dies_before: Option<Nth>,
    portero: Option<Portero>,
    starts: usize,
    /// All that Meta has delivered.
    delivered: Vec<Vec<u8>>,
    /// Messages whose status Meta has reported.
    reported: usize,
}

/// What came of a life.
struct Lived {
    /// In its first process, as far as they were counted.
    steps: Vec<Step>,
    was_killed: bool,
    repeated_mails: usize,
    repeated_hand_overs: usize,
}

impl Life<'_> {
    fn new(stage: &Stage, person: usize, dies_before: Option<Nth>) -> Life<'_> {
        let folder = stage.folder.path().join(format!("life-{person}"));
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(stage.folder.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        Life {
            stage,
            person,
            folder,
            dies_before,
            portero: None,
            starts: 0,
            delivered: Vec::new(),
            reported: 0,
        }
    }

    fn wa_id(&self) -> String {
        format!("57300{:07}", self.person)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PORTERO);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.stage.environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Where the program listens, which is started again after it was killed.
    fn address(&mut self) -> SocketAddr {
        loop {
            if let Some(portero) = &mut self.portero {
                match portero.ended_within(Duration::ZERO) {
                    None => return portero.address,
                    Some(status) => {
                        let log = portero.log();
                        self.was_killed(status, &log);
                        self.portero = None;
                    }
                }
            }
            let mut command = self.command(&["serve", "--config", "portero.toml"]);
            if self.starts == 0 {
                let calls = FailingCalls::default().trace(&self.folder.join("trace"));
                let calls = match &self.dies_before {
                    None => calls,
                    Some((label, nth)) => {
                        (calls.only(&[&format!("{label}$")])).at(*nth, Happens::KillBefore)
                    }
                };
                calls.preload(&mut command);
            }
            self.starts += 1;
            match Portero::start_or_end(command) {
                Ok(portero) => self.portero = Some(portero),
                Err((status, log)) => self.was_killed(status, &log),
            }
        }
    }

    /// That is how the first process ends, and no other.
    fn was_killed(&self, status: ExitStatus, log: &str) {
        let is_killed = status.signal() == Some(9) && self.dies_before.is_some();
        assert!(
            is_killed && self.starts == 1,
            "it ended with {status}: {log}"
        );
    }

    /// Sends this as Meta does: until it is acknowledged.
    fn deliver(&mut self, body: Vec<u8>) {
        eventually("the webhook is acknowledged", || {
            let answer = post_webhook(self.address(), &body).ok()?;
            assert_eq!(answer.status, 200, "{answer:?}");
            Some(())
        });
        self.delivered.push(body);
    }

    /// Meta tells what became of the messages that it took.
    fn report(&mut self) {
        for sent in (self.stage.graph.sent_to(&self.wa_id()).iter()).skip(self.reported) {
            self.reported += 1;
            self.deliver(status(sent, "sent"));
        }
    }

    fn wait_for<T>(&mut self, what: &str, ready: impl Fn(&Life<'_>) -> Option<T>) -> T {
        eventually(what, || {
            self.address();
            self.report();
            ready(self)
        })
    }

    fn wait_for_reply(&mut self, count: usize) {
        self.wait_for("an answer in the chat", |life| {
            (life.stage.graph.sent_to(&life.wa_id()).len() >= count).then_some(())
        });
    }

    fn letters(&self) -> Vec<Letter> {
        let letters = self.stage.letters.lock().unwrap();
        let theirs = (letters.iter()).filter(|letter| letter.to == address_of(self.person));
        theirs.cloned().collect()
    }

    /// What the bot was given that is about this person.
    fn handed_on(&self) -> Vec<Request> {
        let handed_on = self.stage.handed_on.lock().unwrap();
        let wa_id = self.wa_id();
        let theirs = (handed_on.iter()).filter(|request| has(&request.body, wa_id.as_bytes()));
        theirs.cloned().collect()
    }

    fn play(mut self) -> Lived {
        let wa_id = self.wa_id();
        let address = address_of(self.person);
        let hello = text(&wa_id, "hola");
        let question = text(&wa_id, "¿a qué hora abren?");
        // What Meta says of a message that the bot sent.
        let of_bot = Sent {
            id: format!("wamid.HBgLBOT{wa_id}"),
            to: format!("+{wa_id}"),
            body: String::new(),
            buttons: Vec::new(),
            link: None,
            tag: "the bot's own".to_owned(),
        };
        self.deliver(webhook(std::slice::from_ref(&hello)));
        self.wait_for_reply(1);
        self.deliver(webhook(&[text(&wa_id, &address)]));
        self.wait_for_reply(2);
        let code = self.wait_for("a mail", |life| {
            let letters = life.letters();
            letters
                .iter()
                .find(|letter| !letter.is_notice())
                .map(Letter::code)
        });
        self.deliver(webhook(&[text(&wa_id, &code)]));
        self.wait_for_reply(3);
        self.deliver(webhook(std::slice::from_ref(&question)));
        self.deliver(status(&of_bot, "delivered"));
        self.wait_for("the bot has all", |life| {
            (life.handed_on().len() >= 3).then_some(())
        });
        self.wait_for("a mail about the sign-in", |life| {
            life.letters().iter().any(Letter::is_notice).then_some(())
        });
        // Meta doubts that it was heard.
        for body in std::mem::take(&mut self.delivered) {
            self.deliver(body);
        }
        let books = eventually("nothing waits", || {
            self.stop();
            let books = Books::read(&self.folder.join("portero.redb"));
            if books.waiting > 0 {
                self.address();
                return None;
            }
            Some(books)
        });

        let sent = self.stage.graph.sent_to(&wa_id);
        let bodies: Vec<&str> = sent.iter().map(|sent| sent.body.as_str()).collect();
        assert!(
            matches!(bodies[..], [first, second, third] if first.starts_with(WELCOME)
                && second.starts_with(ON_ITS_WAY) && third.starts_with(SIGNED_IN)),
            "{bodies:#?}"
        );
        // A mail may be repeated by the next process, as it was.
        let (notices, codes): (Vec<Letter>, Vec<Letter>) =
            (self.letters().into_iter()).partition(Letter::is_notice);
        for letters in [&notices, &codes] {
            assert!((1..=2).contains(&letters.len()), "{letters:#?}");
            assert!(letters.iter().all(|letter| letter.id == letters[0].id));
        }
        assert!(codes.iter().all(|letter| letter.code() == code));
        // And so may what the bot gets.
        let mut handed_on: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        for request in self.handed_on() {
            let id = request.header("webhook-id").unwrap().to_owned();
            handed_on.entry(id).or_default().push(request.body);
        }
        let repeated_hand_overs = handed_on.values().map(|bodies| bodies.len() - 1).sum();
        let bodies: Vec<&Vec<u8>> = (handed_on.values())
            .map(|bodies| {
                assert!(bodies.iter().all(|body| *body == bodies[0]));
                &bodies[0]
            })
            .collect();
        assert_eq!(bodies.len(), 3, "two messages and a status");
        let ids = [&hello.value["id"], &question.value["id"], &json!(of_bot.id)];
        for id in ids.map(|id| id.as_str().unwrap().as_bytes()) {
            assert_eq!(bodies.iter().filter(|body| has(body, id)).count(), 1);
        }
        for secret in [&address, &code] {
            assert!(!bodies.iter().any(|body| has(body, secret.as_bytes())));
        }
        assert_eq!(books.dead, []);
        let bound = books.audit.iter().filter(|event| *event == "contact.bound");
        assert_eq!(bound.count(), 1, "{:?}", books.audit);

        let steps = steps(&self.folder.join("trace"));
        let was_killed = self.starts > 1;
        fs::remove_dir_all(&self.folder).unwrap();
        Lived {
            steps,
            was_killed,
            repeated_mails: notices.len() + codes.len() - 2,
            repeated_hand_overs,
        }
    }

    /// Tells it to stop, again if it was killed meanwhile.
    fn stop(&mut self) {
        loop {
            self.address();
            let Some(portero) = &mut self.portero else {
                continue;
            };
            portero.signal(Signal::TERM);
            let status = portero.ended_within(crate::outside::PATIENCE).unwrap();
            if status.code() == Some(0) {
                self.portero = None;
                return;
            }
        }
    }
}

/// R-01b: wherever between two of its calls the program is killed, it loses nothing that it
/// acknowledged, does nothing twice, and the conversation comes to its end.
#[test]
fn a_kill_before_each_step_of_a_whole_life_loses_nothing_and_doubles_nothing() {
    for _ in 0..cycles(1) {
        play_all(cycles(1) > 1);
    }
}

/// Of the pages that a commit writes the first and the last one, or all of them.
fn play_all(is_thorough: bool) {
    const STEPS_MAX: usize = 1_000;
    on_stage(STEPS_MAX, |stage| {
        let steps = Life::new(stage, 0, None).play().steps;
        assert!((100..STEPS_MAX).contains(&steps.len()), "{}", steps.len());
        let label = |at: usize| steps.get(at).map(|step| step.label.as_str());
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        // Those first after which it may have to be waited for a minute.
        let mut deaths: VecDeque<Nth> = VecDeque::new();
        for (at, step) in steps.iter().enumerate() {
            let nth = counts.entry(&step.label).or_default();
            *nth += 1;
            let is_page = step.label.starts_with("pwrite ");
            let is_amid =
                is_page && at > 0 && label(at - 1) == label(at) && label(at + 1) == label(at);
            let nearby = (at.saturating_sub(3)..at + 4).filter_map(label);
            let mut nearby = nearby.map(|label| stage.named(label));
            match nearby.any(|label| label.ends_with("Meta")) {
                _ if is_amid && !is_thorough => {}
                true => deaths.push_front((step.label.clone(), *nth)),
                false => deaths.push_back((step.label.clone(), *nth)),
            }
        }
        let next = AtomicUsize::new(0);
        let lived: Vec<(&Nth, Lived)> = std::thread::scope(|scope| {
            let playing: Vec<_> = (0..LIVES_AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        let mut lived = Vec::new();
                        loop {
                            let at = next.fetch_add(1, Ordering::SeqCst);
                            let Some(death) = deaths.get(at) else {
                                return lived;
                            };
                            let life = Life::new(stage, 1 + at, Some(death.clone()));
                            lived.push((death, life.play()));
                        }
                    })
                })
                .collect();
            (playing.into_iter())
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let killed = lived.iter().filter(|(_, lived)| lived.was_killed);
        let killed: Vec<&Nth> = killed.map(|(death, _)| *death).collect();
        let met: BTreeSet<&str> = killed.iter().map(|(label, _)| label.as_str()).collect();
        let missed: Vec<String> = (counts.keys())
            .filter(|label| !met.contains(*label))
            .map(|label| stage.named(label))
            .collect();
        let sum = |of: fn(&Lived) -> usize| lived.iter().map(|(_, lived)| of(lived)).sum::<usize>();
        println!(
            "{} steps of {} kinds, {} kills, repeated: {} mails, {} hand-overs",
            steps.len(),
            counts.len(),
            killed.len(),
            sum(|lived| lived.repeated_mails),
            sum(|lived| lived.repeated_hand_overs),
        );
        assert_eq!(missed, [] as [String; 0]);
        // The last ones of a kind may not come in each life.
        assert!(
            killed.len() * 10 > deaths.len() * 9,
            "{} of {}",
            killed.len(),
            deaths.len()
        );
    });
}

impl Stage {
    /// A label with those who listen by name.
    fn named(&self, label: &str) -> String {
        let mut named = label.to_owned();
        for (address, name) in &self.names {
            named = named.replace(address, name);
        }
        named
    }
}

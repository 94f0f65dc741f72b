//! Everything at once (R-81): people write and sign in while the program is killed, stopped, frozen
//! and reloaded, its disk is full or fails, and Meta, the mail server and a service are slow, refuse
//! and hang up. Webhooks come twice and in another order, and some are forged. Then the outside mends
//! itself, and all that was promised must hold.
//!
//! What happens when is drawn from a seed, which is printed; `PORTERO_SEED` repeats it, and
//! `PORTERO_MINUTES=10 cargo test --test it last_ditch::` is a long run.

use crate::crash::{Books, GivenUp, Raise, Whereabouts, codes_for};
use crate::dice::Dice;
use crate::failing_calls::FailingCalls;
use crate::flags::flag;
use crate::outside::{
    ACCESS_TOKEN, APP_SECRET, CANCELLED, Graph, Letter, Mood, NOT_SIGNED_IN, ON_ITS_WAY, PATIENCE,
    Portero, SIGNED_IN, STORE_KEY, Sent, Service, ServiceMood, VERIFY_TOKEN, WELCOME, World, ask,
    envelope, eventually, status_of, text, webhook,
};
use crate::smtp_sink;
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long everything goes wrong, in the usual run.
const USUALLY: Duration = Duration::from_secs(20);

/// People who write all the time.
const WRITERS: usize = 3;

/// A pause between two of a writer's people: it is the trouble that counts, not the load.
const WRITER_RESTS: Duration = Duration::from_millis(40);

/// People who sign in at a time, one after the other.
const SIGNING_IN: usize = 4;

/// And so many altogether, at most.
const SIGN_INS_MAX: usize = 4_000;

/// Who has not heard within this time of having signed in writes no more: an answer whose fate is not
/// known is tried twice, a minute apart, and then given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Statuses in one webhook.
const STATUSES_MAX: usize = 100;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Trouble {
    Kill,
    Stop,
    Freeze,
    GoodReload,
    BadReload,
    FullDisk,
    FailingDisk,
    MetaRefuses,
    MetaIsBusy,
    MetaHangs,
    MetaTakesAndHangsUp,
    ServiceRefuses,
    ServiceHangs,
    ServiceIsGarbled,
    MailIsWrong,
    Forgery,
}

const TROUBLES: [Trouble; 16] = [
    Trouble::Kill,
    Trouble::Stop,
    Trouble::Freeze,
    Trouble::GoodReload,
    Trouble::BadReload,
    Trouble::FullDisk,
    Trouble::FailingDisk,
    Trouble::MetaRefuses,
    Trouble::MetaIsBusy,
    Trouble::MetaHangs,
    Trouble::MetaTakesAndHangsUp,
    Trouble::ServiceRefuses,
    Trouble::ServiceHangs,
    Trouble::ServiceIsGarbled,
    Trouble::MailIsWrong,
    Trouble::Forgery,
];

/// What the mail server may say instead of the right thing.
const WRONG_REPLIES: [&str; 3] = ["drop", "451 4.7.1 later", "421 4.3.2 busy"];

const DOMAIN: &str = "@example.com";

/// The user who is signed in as the `number`-th.
fn address(number: usize) -> String {
    format!("user{number}{DOMAIN}")
}

/// And whose number this is.
fn signing_in(number: usize) -> String {
    format!("573008{number:06}")
}

/// The program through its lives, and all that it logged.
struct Program<'w> {
    world: &'w World,
    here: &'w Whereabouts,
    /// Where the mail server looks for its mood.
    mail: &'w Path,
    portero: Option<Portero>,
    log: String,
    lives: usize,
}

impl Program<'_> {
    /// The running one. It is started again when it has ended, as a supervisor would.
    fn portero(&mut self) -> &mut Portero {
        eventually("the program runs", || {
            if let Some(portero) = &mut self.portero {
                match portero.ended_within(Duration::ZERO) {
                    None => return Some(()),
                    // It ends by itself only when the store has given up.
                    Some(status) => assert_eq!(status.code(), Some(74), "{}", portero.log()),
                }
                self.bury();
            }
            let mut command = self.world.command(&["serve", "--config", "portero.toml"]);
            (FailingCalls::default().only(&[
                "pwrite",
                "write portero.redb",
                "ftruncate",
                "fdatasync",
            ]))
            .while_file(&self.world.path("disk-fails"))
            .preload(&mut command);
            match Portero::start_or_end(command) {
                Ok(portero) => {
                    self.lives += 1;
                    self.here.set(Some(portero.address));
                    self.portero = Some(portero);
                }
                // It does not start on a disk that fails.
                Err((status, log)) => {
                    assert_eq!(status.code(), Some(74), "{log}");
                    self.log.push_str(&log);
                }
            }
            None
        });
        self.portero.as_mut().unwrap()
    }

    /// It has ended.
    fn bury(&mut self) {
        self.here.set(None);
        if let Some(portero) = self.portero.take() {
            self.log.push_str(&portero.log());
        }
    }

    fn wait(&mut self, time: Duration) {
        std::thread::park_timeout(time);
        self.portero();
    }

    fn kill(&mut self) {
        let portero = self.portero();
        portero.signal(Signal::KILL);
        portero.ended_within(PATIENCE).unwrap();
        self.bury();
    }

    /// P8, whatever else goes wrong.
    fn stop(&mut self) {
        /// The program allows itself ten; this machine may be busy with other things.
        const ENDS_WITHIN: Duration = Duration::from_secs(12);
        let portero = self.portero();
        portero.signal(Signal::TERM);
        let status = portero.ended_within(ENDS_WITHIN);
        let code = status.expect("it ends when it is told to").code();
        // It may have been about to end by itself, because the disk failed for good.
        let has_given_up = code == Some(74) && portero.log().contains("the store has stopped");
        assert!(code == Some(0) || has_given_up, "{code:?}");
        self.bury();
    }

    fn meet(&mut self, trouble: Trouble, dice: &mut Dice) {
        let (graph, kutamma) = (&self.world.graph, &self.world.kutamma);
        match trouble {
            Trouble::Kill => self.kill(),
            Trouble::Stop => self.stop(),
            Trouble::Freeze => {
                self.portero().signal(Signal::STOP);
                std::thread::park_timeout(dice.millis(50..1_000));
                self.portero().signal(Signal::CONT);
            }
            Trouble::GoodReload => self.portero().signal(Signal::HUP),
            Trouble::BadReload => {
                // With such a file it would not start.
                self.portero();
                let path = self.world.path("portero.toml");
                let good = fs::read_to_string(&path).unwrap();
                fs::write(&path, good.replace("[store]", "[shop]")).unwrap();
                let portero = self.portero.as_mut().unwrap();
                portero.signal(Signal::HUP);
                std::thread::park_timeout(dice.millis(250..400));
                fs::write(&path, good).unwrap();
            }
            Trouble::FullDisk => self.disk_fails(Errno::NOSPC, dice.millis(50..1_500)),
            Trouble::FailingDisk => self.disk_fails(Errno::IO, dice.millis(1..30)),
            Trouble::MetaRefuses => self.for_a_while(dice, graph, Mood::Refuse(500, 131_000)),
            Trouble::MetaIsBusy => self.for_a_while(dice, graph, Mood::Refuse(429, 130_429)),
            Trouble::MetaHangs => graph.next(&[Mood::Hang]),
            Trouble::MetaTakesAndHangsUp => self.for_a_while(dice, graph, Mood::TakeAndHangUp),
            Trouble::ServiceRefuses => self.service_is(dice, kutamma, ServiceMood::Refuse(503)),
            Trouble::ServiceHangs => self.service_is(dice, kutamma, ServiceMood::Hang),
            Trouble::ServiceIsGarbled => self.service_is(dice, kutamma, ServiceMood::Garbled),
            Trouble::MailIsWrong => self.mail_is_wrong(dice),
            Trouble::Forgery => {
                let address = self.portero().address;
                let body = webhook(&[text("573009999999", "hola")]);
                let forged = [("X-Hub-Signature-256", "sha256=00")];
                if let Ok(answer) = ask(address, "POST", "/webhook", &forged, &body) {
                    assert!((400..500).contains(&answer.status), "{answer:?}");
                }
            }
        }
    }

    fn disk_fails(&mut self, error: Errno, time: Duration) {
        let (draft, path) = (self.world.path("draft"), self.world.path("disk-fails"));
        fs::write(&draft, error.raw_os_error().to_string()).unwrap();
        fs::rename(&draft, &path).unwrap();
        std::thread::park_timeout(time);
        fs::remove_file(&path).unwrap();
    }

    /// Before each mail, or when it was taken.
    fn mail_is_wrong(&mut self, dice: &mut Dice) {
        let command = dice.one(&["MAIL", "RCPT", "DATA"]);
        let mood = json!({ command: dice.one(&WRONG_REPLIES) });
        let draft = self.world.path("draft");
        fs::write(&draft, mood.to_string()).unwrap();
        fs::rename(&draft, self.mail).unwrap();
        std::thread::park_timeout(dice.millis(200..2_000));
        fs::remove_file(self.mail).unwrap();
    }

    fn for_a_while(&self, dice: &mut Dice, graph: &Graph, mood: Mood) {
        graph.always(Some(mood));
        std::thread::park_timeout(dice.millis(50..800));
        graph.always(None);
    }

    fn service_is(&self, dice: &mut Dice, service: &Service, mood: ServiceMood) {
        service.set(mood);
        std::thread::park_timeout(dice.millis(50..800));
        service.set(ServiceMood::Good);
    }
}

/// What it said in its last lives, when something is wrong.
impl Drop for Program<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines: Vec<&str> = self.log.lines().collect();
            let end = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!(
                "--- after {} lives, the end of what they said ---\n{end}",
                self.lives
            );
        }
    }
}

/// Sends this as Meta does, and now and then once more.
fn deliver(here: &Whereabouts, dice: &mut Dice, body: &[u8]) {
    here.deliver(body);
    for _ in 0..dice.below(3) {
        here.deliver(body);
    }
}

/// R-81, P1 to P10.
#[test]
fn whatever_goes_wrong_at_once_nothing_is_lost_and_nothing_is_doubled() {
    let seed = flag("PORTERO_SEED").unwrap_or_else(|| getrandom::u64().unwrap() >> 16);
    println!("PORTERO_SEED={seed}");
    let mut dice = Dice::new(seed);
    let time =
        flag("PORTERO_MINUTES").map_or(USUALLY, |minutes: u64| Duration::from_secs(60 * minutes));
    let moods = tempfile::tempdir().unwrap();
    let mood = moods.path().join("mood");
    let mut world = World::with_moody_mail(&mood, (0..SIGN_INS_MAX).map(address));
    let mut mail = world.mail.take().unwrap();
    let (letters, here) = (Mutex::new(Vec::<Letter>::new()), Whereabouts::new());
    let [over, quiet, ended] = [(); 3].map(|()| AtomicBool::new(false));
    let mut program = Program {
        world: &world,
        here: &here,
        mail: &mood,
        portero: None,
        log: String::new(),
        lives: 0,
    };
    let mut met: HashMap<Trouble, usize> = HashMap::new();
    let mut people = Vec::new();
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let _end = Raise([&over, &quiet]);
        let (graph, here, letters, over, quiet) = (&world.graph, &here, &letters, &over, &quiet);
        // Meta reports what it took, twice and in any order.
        let mut order = dice.others();
        scope.spawn(move || {
            let mut reported = 0;
            while !quiet.load(Ordering::SeqCst) {
                let sent = graph.sent_since(reported);
                reported += sent.len();
                let mut news: Vec<Value> = (sent.iter())
                    .flat_map(|sent| ["sent", "delivered"].map(|news| status_of(sent, news)))
                    .collect();
                // Many at a time, or they would come later than the program waits for them.
                while !news.is_empty() {
                    let mut statuses = Vec::new();
                    while !news.is_empty() && statuses.len() < STATUSES_MAX {
                        let at = order.below(news.len());
                        statuses.push(news.swap_remove(at));
                    }
                    deliver(here, &mut order, &envelope(json!({ "statuses": statuses })));
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        scope.spawn(move || {
            while !quiet.load(Ordering::SeqCst) {
                let letter = mail.any();
                letters.lock().unwrap().extend(letter);
            }
        });
        let begun = &begun;
        let signing_in: Vec<_> = (0..SIGNING_IN)
            .map(|_| {
                let mut dice = dice.others();
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let number = begun.fetch_add(1, Ordering::SeqCst);
                        let (wa_id, address) = (signing_in(number), address(number));
                        let mut seen = graph.count();
                        deliver(here, &mut dice, &webhook(&[text(&wa_id, "hola")]));
                        deliver(here, &mut dice, &webhook(&[text(&wa_id, &address)]));
                        let code = patiently("a mail", over, || {
                            codes_for(&address, &letters.lock().unwrap()).pop()
                        });
                        deliver(here, &mut dice, &webhook(&[text(&wa_id, &code)]));
                        // That it was given up, with its reason, is looked at in the end.
                        let may_be_given_up = Instant::now() + ANSWER_WITHIN;
                        patiently("a sign-in", over, || {
                            if Instant::now() >= may_be_given_up {
                                return Some(());
                            }
                            let sent = graph.sent_since(seen);
                            seen += sent.len();
                            let is_it = |sent: &Sent| {
                                sent.to.ends_with(&wa_id) && sent.body.starts_with(SIGNED_IN)
                            };
                            sent.iter().any(is_it).then_some(())
                        });
                    }
                })
            })
            .collect();
        let writing: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let mut dice = dice.others();
                scope.spawn(move || {
                    let mut people = Vec::new();
                    while !over.load(Ordering::SeqCst) {
                        let wa_id = format!("573009{writer}{:05}", people.len());
                        deliver(here, &mut dice, &webhook(&[text(&wa_id, "quién soy")]));
                        deliver(here, &mut dice, &webhook(&[text(&wa_id, "cancelar")]));
                        people.push(wa_id);
                        std::thread::park_timeout(WRITER_RESTS);
                    }
                    people
                })
            })
            .collect();
        let until = Instant::now() + time;
        // Each once, and then as they come.
        let mut first = TROUBLES.to_vec();
        while Instant::now() < until || !first.is_empty() {
            let trouble = match first.len() {
                0 => dice.one(&TROUBLES),
                left => first.swap_remove(dice.below(left)),
            };
            *met.entry(trouble).or_default() += 1;
            program.meet(trouble, &mut dice);
            let pause = dice.millis(20..400);
            program.wait(pause);
        }
        over.store(true, Ordering::SeqCst);
        let rest = || -> Vec<String> {
            let people = (writing.into_iter()).flat_map(|thread| thread.join().unwrap());
            let people: Vec<String> = people.collect();
            signing_in
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            people
        };
        // The program is watched over while they come to their end.
        let resting = scope.spawn({
            let ended = &ended;
            move || {
                let _end = Raise([ended, ended]);
                rest()
            }
        });
        while !ended.load(Ordering::SeqCst) {
            program.wait(Duration::from_millis(50));
        }
        people = resting.join().unwrap();
        // And until nothing waits any more.
        let path = world.path("portero.redb");
        patiently("nothing waits", over, || {
            program.wait(Duration::from_millis(500));
            program.stop();
            let is_done = Books::read(&path).waiting == 0;
            program.portero();
            is_done.then_some(())
        });
        quiet.store(true, Ordering::SeqCst);
    });
    program.stop();
    let books = Books::read(&world.path("portero.redb"));
    let letters = letters.into_inner().unwrap();
    let signed_in = begun.into_inner();
    let doubled = check_chats(&world.graph, &people, signed_in, &books);
    // P3, P4: the same code, and nobody is in without it; once each.
    let mut codes = Vec::new();
    for number in 0..signed_in {
        let theirs = codes_for(&address(number), &letters);
        assert!(theirs.iter().all(|code| *code == theirs[0]), "{theirs:?}");
        codes.push(theirs[0].clone());
    }
    let bound = books.audit.iter().filter(|event| *event == "contact.bound");
    assert_eq!(bound.count(), signed_in);
    check_log(&program.log, &codes);
    println!(
        "{} lives, {} people, {signed_in} sign-ins with {} mails, {} messages, {doubled} of them repeated, {} dead letters; {met:?}",
        program.lives,
        people.len(),
        letters.len(),
        world.graph.count(),
        books.dead.len()
    );
}

/// While everything goes wrong there is no limit; afterwards there is.
fn patiently<T>(what: &str, over: &AtomicBool, mut ready: impl FnMut() -> Option<T>) -> T {
    while !over.load(Ordering::SeqCst) {
        if let Some(value) = ready() {
            return value;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    eventually(what, ready)
}

/// What a person is to be told: how it begins, and the name of the sentence.
type Told = (&'static str, &'static str);

/// What who writes is told, and nothing else.
const WRITER_IS_TOLD: [Told; 2] = [(NOT_SIGNED_IN, "not_signed_in"), (CANCELLED, "cancelled")];

/// What who signs in is told, among what troubles bring with them.
const SIGNED_IN_IS_TOLD: [Told; 3] = [
    (WELCOME, "welcome"),
    (ON_ITS_WAY, "code_on_its_way"),
    (SIGNED_IN, "signed_in"),
];

/// P1, P2, P3, P5: each message of each person has had its effect once. What people received more
/// than once has the same tag, and what they did not receive was given up, for a reason.
fn check_chats(graph: &Graph, people: &[String], signed_in: usize, books: &Books) -> usize {
    let mut received: HashMap<String, Vec<Sent>> = HashMap::new();
    for sent in graph.sent() {
        received.entry(sent.to.clone()).or_default().push(sent);
    }
    assert!(
        !received.contains_key("+573009999999"),
        "the forger was answered"
    );
    let mut repeated = 0;
    let mut check = |wa_id: &str, told: &[Told], is_all: bool| {
        let theirs = received.remove(&format!("+{wa_id}")).unwrap_or_default();
        let mut once: Vec<(String, String)> = Vec::new();
        for sent in theirs {
            let sent = (sent.tag, sent.body);
            match once.contains(&sent) {
                true => repeated += 1,
                false => once.push(sent),
            }
        }
        let mut known = 0;
        for (begin, sentence) in told {
            let is_it = |sent: &&(String, String)| sent.1.starts_with(begin);
            match once.iter().filter(is_it).count() {
                0 => assert_given_up(wa_id, sentence, &books.dead),
                1 => known += 1,
                count => panic!("{wa_id} was told {count} times: {once:#?}"),
            }
        }
        assert!(!is_all || known == once.len(), "{wa_id}: {once:#?}");
    };
    for wa_id in people {
        check(wa_id, &WRITER_IS_TOLD, true);
    }
    for number in 0..signed_in {
        check(&signing_in(number), &SIGNED_IN_IS_TOLD, false);
    }
    assert!(books.dead.iter().all(|dead| !dead.reason.is_empty()));
    // A repetition wants a lost answer, and a status that comes too late or never.
    assert!(repeated * 100 <= people.len() * 2, "{repeated} repeated");
    repeated
}

/// This very message is a dead letter: another one's cannot stand for it.
fn assert_given_up(wa_id: &str, sentence: &str, dead: &[GivenUp]) {
    let is_it = |dead: &&GivenUp| dead.to.as_deref() == Some(wa_id) && dead.what == sentence;
    assert!(
        dead.iter().any(|dead| is_it(&dead)),
        "{sentence} did not reach {wa_id}, and was not given up: {dead:#?}"
    );
}

/// P10: no secret, address, number, code or word of anybody is in the log.
fn check_log(log: &str, codes: &[String]) {
    assert!(log.contains("portero is ready"));
    let secrets = [
        ACCESS_TOKEN,
        APP_SECRET,
        VERIFY_TOKEN,
        STORE_KEY,
        smtp_sink::PASSWORD,
        "hola",
        "quién soy",
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "the log has {secret}");
    }
    // Whichever number it has: there are thousands, and the log of an hour is long.
    for (at, _) in log.match_indices(DOMAIN) {
        // What is escaped before it may end in letters or digits.
        let user = log[..at].trim_end_matches(|c: char| c.is_ascii_digit());
        assert!(!user.ends_with("user"), "the log has an address");
    }
    // What all their numbers begin with; longer than the part of a second in the time of a line.
    let writers = (0..WRITERS).map(|writer| format!("573009{writer}0"));
    for number in writers.chain(["5730080".to_owned()]) {
        assert!(!log.contains(&number), "the log has a number of somebody's");
    }
    let codes: HashSet<&str> = codes.iter().map(String::as_str).collect();
    for line in log.lines() {
        let is_told = words(line).any(|word| codes.contains(word));
        assert!(!is_told, "the log has a code: {line}");
    }
}

/// Runs of letters and digits, but for those of UUIDs: among the tens of thousands of an hour there can
/// be one that begins as one of the thousands of codes.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|run| run.len() != 36 || uuid::Uuid::try_parse(run).is_err())
        .flat_map(|run| run.split('-'))
}

#[test]
fn a_code_and_an_address_are_found_in_a_log() {
    let codes = ["12345678".to_owned(), "87654321".to_owned()];
    let said = |words: &str| {
        let log = format!("portero is ready\n{words}\n");
        catch_unwind(|| check_log(&log, &codes)).is_err()
    };
    for told in [
        "code=87654321",
        "12345678",
        "12345678-8304",
        "to user17@example.com",
        "<user0@example.com>",
        "to%20user17@example.com",
        r"to:\nuser17@example.com",
    ] {
        assert!(said(told), "{told}");
    }
    for other in [
        "id=a12345678",
        "123456789",
        "contact=12345678-8304-4621-9dd1-42bb5fd76442 attempts=2",
        "example.com",
        "info@example.com",
    ] {
        assert!(!said(other), "{other}");
    }
}

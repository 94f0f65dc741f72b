//! The real program, ended in every way under load: webhooks and sign-ins go on from
//! outside over all its lives, and a ledger outside of it says afterwards what must have happened.
//!
//! `PORTERO_CYCLES=200 cargo test --test it crash::` for a long run.

use crate::failing_calls::{FailingCalls, Happens, steps};
use crate::flags::{cycles, flag};
use crate::keeping::signed_in;
use crate::outside::{
    APP_SECRET, CANCELLED, Graph, Letter, MORE, NOT_SIGNED_IN, PUBLIC_HOST, Portero, SIGNED_IN,
    STORE_KEY, World, eventually, post_webhook, read_answer, signature, status, text, unix_seconds,
    webhook,
};
use portero::domain::contact::Contact;
use portero::domain::delivery::{Errand, Lane, Recipient};
use portero::domain::id::ContactId;
use portero::domain::time::{SECOND_MS, Timestamp};
use portero::store::record::DeadLetter;
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed, record};
use rustix::process::Signal;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Threads that write all the time.
const WRITERS: usize = 4;

/// People for whom one of them writes in one life at most, so that there is something to do in each.
const PEOPLE_PER_LIFE_MAX: usize = 15;

/// From the wish to stop to the end of the process (P8).
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// How long a life is, between being ready and its end.
const ALIVE_MS: std::ops::Range<u64> = 30..500;

/// A random number of `range`.
fn any_of(range: std::ops::Range<u64>) -> u64 {
    range.start + getrandom::u64().unwrap() % (range.end - range.start)
}

/// Where the process listens now, between one and the next.
pub struct Whereabouts(Mutex<Option<SocketAddr>>);

impl Whereabouts {
    pub fn new() -> Whereabouts {
        Whereabouts(Mutex::new(None))
    }

    pub fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap() = address;
    }

    /// Sends this until it is acknowledged, as Meta does for seven days.
    pub fn deliver(&self, body: &[u8]) {
        eventually("the webhook is acknowledged", || {
            let address = (*self.0.lock().unwrap())?;
            let answer = post_webhook(address, body).ok()?;
            // Only the store may refuse, and only to have it sent again.
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            (answer.status == 200).then_some(())
        });
    }
}

/// Raises these flags at its end, however that comes.
pub struct Raise<'f>(pub [&'f AtomicBool; 2]);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        for flag in self.0 {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

/// Somebody who asked who they are.
struct Asked {
    wa_id: String,
    body: Vec<u8>,
    /// Whether the program said 200.
    acknowledged: bool,
}

/// Lives through so many lives under load and one more, in which all comes to its end. A life starts
/// the program, says where it is, and ends it. Afterwards everybody has been answered once to each
/// of their messages, whenever those were acknowledged, and whoever was signing in is signed in.
/// Returns the codes that each of those was mailed.
fn live(
    cycles: usize,
    mut life: impl FnMut(&World, &Whereabouts) -> Option<Asked>,
) -> Vec<Vec<String>> {
    let mut world = World::with_mail(json!({}));
    let mut mail = world.mail.take().unwrap();
    let (graph, letters) = (&world.graph, Mutex::new(Vec::new()));
    let here = Whereabouts::new();
    let lives = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let quiet = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also when a thread of the test fails, or the others would be waited for without end.
        let _end = Raise([&over, &quiet]);
        // What Meta took it reports, with our tag, whether or not we heard of it.
        let reporting = scope.spawn(|| {
            let mut reported = 0;
            while !quiet.load(Ordering::SeqCst) {
                if graph.count() > reported {
                    for sent in graph.sent().iter().skip(reported) {
                        here.deliver(&status(sent, "sent"));
                        reported += 1;
                    }
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        let collecting = scope.spawn(|| {
            while !quiet.load(Ordering::SeqCst) {
                let letter = mail.any();
                letters.lock().unwrap().extend(letter);
            }
        });
        let signing_in: Vec<_> = MORE
            .iter()
            .enumerate()
            .map(|(number, user)| {
                let (here, letters, lives, over) = (&here, &letters, &lives, &over);
                scope.spawn(move || {
                    // One after the other, all through the lives.
                    let first = number * cycles / MORE.len();
                    eventually_or(over, || lives.load(Ordering::SeqCst) > first);
                    let wa_id = format!("57300700000{number}");
                    here.deliver(&webhook(&[text(&wa_id, "hola")]));
                    here.deliver(&webhook(&[text(&wa_id, user.email)]));
                    let code = eventually("a mail", || {
                        codes_for(user.email, &letters.lock().unwrap()).pop()
                    });
                    here.deliver(&webhook(&[text(&wa_id, &code)]));
                    graph.reply(&wa_id, 3);
                    let sent = graph.sent_to(&wa_id);
                    assert!(
                        sent.len() == 3 && sent[2].body.starts_with(SIGNED_IN),
                        "{sent:#?}"
                    );
                })
            })
            .collect();
        let writing: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (here, lives, over) = (&here, &lives, &over);
                scope.spawn(move || {
                    let mut people = Vec::new();
                    while !over.load(Ordering::SeqCst) {
                        if people.len() >= PEOPLE_PER_LIFE_MAX * lives.load(Ordering::SeqCst) {
                            std::thread::park_timeout(Duration::from_millis(1));
                            continue;
                        }
                        let wa_id = format!("573006{writer}{:05}", people.len());
                        here.deliver(&webhook(&[text(&wa_id, "quién soy")]));
                        here.deliver(&webhook(&[text(&wa_id, "cancelar")]));
                        people.push(wa_id);
                    }
                    people
                })
            })
            .collect();
        let mut asked = Vec::new();
        for _ in 0..cycles {
            lives.fetch_add(1, Ordering::SeqCst);
            asked.extend(life(&world, &here));
            here.set(None);
        }
        over.store(true, Ordering::SeqCst);
        let portero = world.start();
        here.set(Some(portero.address));
        let mut people: Vec<String> = writing
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert!(people.len() > WRITERS * cycles, "there was hardly any load");
        for asked in asked {
            if !asked.acknowledged {
                here.deliver(&asked.body);
            }
            here.deliver(&webhook(&[text(&asked.wa_id, "cancelar")]));
            people.push(asked.wa_id);
        }
        assert_each_answered_once(graph, &people);
        signing_in
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        quiet.store(true, Ordering::SeqCst);
        reporting.join().unwrap();
        collecting.join().unwrap();
    });
    let letters = letters.into_inner().unwrap();
    MORE.iter()
        .map(|user| codes_for(user.email, &letters))
        .collect()
}

/// A dead letter.
#[derive(Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The number it was for, when it was a message in the chat.
    pub to: Option<String>,
    /// The name of its sentence, or of what else it was.
    pub what: String,
    pub reason: String,
}

impl From<DeadLetter> for GivenUp {
    fn from(letter: DeadLetter) -> GivenUp {
        let errand = &letter.entry.errand;
        GivenUp {
            to: match errand {
                Errand::Chat {
                    to: Recipient::Number(number),
                    ..
                } => Some(number.as_str().to_owned()),
                _ => None,
            },
            what: errand.name().to_owned(),
            reason: letter.reason,
        }
    }
}

/// What is in a store that no process has open.
#[derive(Debug)]
pub struct Books {
    /// Entries of the outbox, of all lanes.
    pub waiting: usize,
    pub dead: Vec<GivenUp>,
    /// What was written into the audit.
    pub audit: Vec<String>,
    /// The latest moment that was noted.
    pub latest: Timestamp,
}

impl Books {
    pub fn read(path: &Path) -> Books {
        const ALL: usize = 100_000;
        let engine = Redb::open(path, Options::default()).unwrap();
        let key = MasterKey::from_hex(STORE_KEY).unwrap();
        let store = Sealed::open(Arc::new(engine), &key).unwrap();
        let read = store.view(|reader| {
            let mut waiting = 0;
            for lane in Lane::ALL {
                waiting += record::entries(reader, lane, None, ALL)?.len();
            }
            let dead = record::dead_letters(reader, ALL)?.into_iter();
            let audit = record::audit(reader, ALL)?.into_iter();
            Ok(Books {
                waiting,
                dead: dead.map(GivenUp::from).collect(),
                audit: audit.map(|line| line.event).collect(),
                latest: record::latest_moment(reader)?,
            })
        });
        read.unwrap()
    }
}

/// Waits for `ready`, or for the end.
fn eventually_or(over: &AtomicBool, ready: impl Fn() -> bool) {
    while !over.load(Ordering::SeqCst) && !ready() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// The codes that were mailed to this address, in order.
pub fn codes_for(address: &str, letters: &[Letter]) -> Vec<String> {
    let theirs = letters.iter().filter(|letter| letter.to == address);
    theirs
        .filter(|letter| !letter.is_notice())
        .map(Letter::code)
        .collect()
}

/// What each of them was sent, all looked at together, for they are many.
fn assert_each_answered_once(graph: &Graph, people: &[String]) {
    for wa_id in people {
        graph.reply(wa_id, 2);
    }
    let mut received: HashMap<String, Vec<String>> = HashMap::new();
    for sent in graph.sent() {
        received.entry(sent.to).or_default().push(sent.body);
    }
    for wa_id in people {
        let bodies = &received[&format!("+{wa_id}")];
        assert!(
            matches!(&bodies[..], [first, second]
                if first.starts_with(NOT_SIGNED_IN) && second.starts_with(CANCELLED)),
            "{wa_id}: {bodies:#?}"
        );
    }
}

/// A mail may be sent again when nobody knows whether it arrived, with the same code; one in twenty of
/// so many kills may cause that, and it may not happen to everybody.
fn assert_repeated_seldom(codes: &[Vec<String>], kills: usize) {
    for codes in codes {
        assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    }
    let repeated: usize = codes.iter().map(|codes| codes.len() - 1).sum();
    assert!(
        repeated <= (kills / 20).clamp(1, codes.len() - 1),
        "{repeated} mails came again"
    );
}

/// killed at any moment, the program loses nothing that it acknowledged and does nothing
/// twice; people who were signing in finish.
#[test]
fn kills_at_any_moment_lose_nothing_and_double_nothing() {
    let codes = live(cycles(50), |world, here| {
        let portero = world.start();
        here.set(Some(portero.address));
        // The moment of the kill is the point; nothing is waited for.
        std::thread::park_timeout(Duration::from_millis(any_of(ALIVE_MS)));
        portero.kill();
        None
    });
    assert_repeated_seldom(&codes, cycles(50));
}

/// killed under load and then again and again while it comes back, it still loses nothing and
/// does nothing twice.
#[test]
fn kills_while_it_comes_back_from_a_kill_lose_nothing_and_double_nothing() {
    const KILLED_STARTS: usize = 3;
    // As long as the last good start took, so that the kills meet all of it, on any machine.
    let mut start_us = start_us(&World::without_mail());
    let codes = live(cycles(20), |world, here| {
        for _ in 0..KILLED_STARTS {
            kill_start(world, start_us);
        }
        let begun = Instant::now();
        let portero = world.start();
        start_us = u64::try_from(begun.elapsed().as_micros()).unwrap();

        here.set(Some(portero.address));
        std::thread::park_timeout(Duration::from_millis(any_of(ALIVE_MS)));
        portero.kill();
        None
    });
    assert_repeated_seldom(&codes, cycles(20) * (1 + KILLED_STARTS));
}

/// R-02, where there is no store yet: a start leaves none or a whole one.
#[test]
fn kills_while_it_makes_its_store_leave_none_or_a_whole_one() {
    let world = World::without_mail();
    let start_us = start_us(&world);
    for _ in 0..cycles(20) {
        fs::remove_file(world.path("portero.redb")).unwrap();
        kill_start(&world, start_us);
        assert_eq!(world.start().stop().0, Some(0));
    }
}

/// How long a start takes until the program is ready.
fn start_us(world: &World) -> u64 {
    let begun = Instant::now();
    let portero = world.start();
    let start_us = begun.elapsed().as_micros().try_into().unwrap();
    portero.kill();
    start_us
}

/// Starts the program and kills it before a start that takes `start_us` would be over.
fn kill_start(world: &World, start_us: u64) {
    // Before that, not even the program is there.
    const START_US_MIN: u64 = 500;
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    let mut starting = command.stderr(Stdio::null()).spawn().unwrap();
    let alive = Duration::from_micros(any_of(START_US_MIN..start_us));
    std::thread::park_timeout(alive);
    starting.kill().unwrap();
    starting.wait().unwrap();
}

/// among 100,000 contacts the program serves again a second after a kill, its check of the whole
/// file included.
#[test]
fn with_a_hundred_thousand_contacts_it_is_back_within_a_second_of_a_kill() {
    const CONTACTS: u64 = 100_000;
    const BATCH: u64 = 10_000;
    const WITHIN_US: u64 = 1_000_000;
    let world = World::without_mail();
    world.start().kill();
    {
        let engine = Redb::open(&world.path("portero.redb"), Options::default()).unwrap();
        let store = Sealed::open(Arc::new(engine), &MasterKey::from_hex(STORE_KEY).unwrap());
        let store = store.unwrap();
        for batch in 0..CONTACTS / BATCH {
            let filled = store.update(move |writer| {
                for number in batch * BATCH..(batch + 1) * BATCH {
                    let contact = contact_of(number);
                    record::put_contact(writer, &contact)?;
                }
                Ok(())
            });
            filled.unwrap();
        }
    }
    let mut starts_us: Vec<u64> = (0..9).map(|_| start_us(&world)).collect();
    starts_us.sort_unstable();
    println!("starts in microseconds: {starts_us:?}");
    // The middle one: another test may have the processor for a moment.
    assert!(starts_us[4] < WITHIN_US, "{starts_us:?}");
}

/// Somebody who is signed in.
fn contact_of(number: u64) -> Contact {
    let mut id = [0x77; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let (phone, email) = (
        format!("346{number:08}"),
        format!("user{number}@example.com"),
    );
    let now = Timestamp(unix_seconds() * 1_000);
    signed_in(ContactId(id), &phone, None, &email, now)
}

/// killed every two seconds, the program gets on in each life, and what has waited longest is
/// not left behind. `PORTERO_MINUTES=5` for a long run.
#[test]
fn a_process_that_is_killed_every_two_seconds_gets_on_in_each_life() {
    const ALIVE: Duration = Duration::from_secs(2);
    let lives = flag("PORTERO_MINUTES").unwrap_or(1) * 30;
    // Who wrote at the beginning of each life, and in which they were answered.
    let mut elders: Vec<(String, Option<usize>)> = Vec::new();
    let (mut taken, mut idle) = (0, 0);
    live(lives, |world, here| {
        let portero = world.start();
        let until = Instant::now() + ALIVE;
        let wa_id = format!("5730040{:05}", elders.len());
        let body = webhook(&[text(&wa_id, "quién soy")]);
        here.set(Some(portero.address));
        here.deliver(&body);
        elders.push((wa_id.clone(), None));
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        portero.kill();
        let count = world.graph.count();
        idle += usize::from(count == taken);
        taken = count;
        let now = elders.len();
        for (wa_id, answered) in &mut elders {
            if answered.is_none() && !world.graph.sent_to(wa_id).is_empty() {
                *answered = Some(now);
            }
        }
        Some(Asked {
            wa_id,
            body,
            acknowledged: true,
        })
    });
    // One that was under way at a kill waits a minute for its status; the others do not wait.
    let lives_waited = |(at, (_, answered)): (usize, &(String, Option<usize>))| {
        answered.map_or(lives, |answered| answered - at - 1)
    };
    let waited: Vec<usize> = elders.iter().enumerate().map(lives_waited).collect();
    println!("{idle} of {lives} lives sent nothing; lives that the oldest one waited: {waited:?}");
    // Each of them has acknowledged something; a machine that is busy may send nothing in two seconds.
    assert!(idle * 10 <= lives, "{idle} of {lives} lives sent nothing");
    let soon = waited.iter().filter(|lives| **lives <= 1).count();
    assert!(soon * 10 >= lives * 9, "{waited:?}");
    let late = waited[..lives.saturating_sub(40)]
        .iter()
        .filter(|lives| **lives > 40);
    assert_eq!(late.count(), 0, "{waited:?}");
}

/// told to stop at any moment, the program refuses whoever comes later while it answers
/// whoever has begun, ends in time and well, and has kept all that it acknowledged. Since it ends
/// what it has begun, no mail is sent twice either.
#[test]
fn told_to_stop_at_any_moment_under_load_it_loses_nothing_and_doubles_nothing() {
    let (mut number, mut answered) = (0, 0);
    let cycles = cycles(10);
    let codes = live(cycles, |world, here| {
        let mut portero = world.start();
        here.set(Some(portero.address));
        std::thread::park_timeout(Duration::from_millis(any_of(ALIVE_MS)));
        let wa_id = format!("5730050{number:05}");
        let body = webhook(&[text(&wa_id, "quién soy")]);
        number += 1;
        let begun = begin_webhook(portero.address, &body);
        // That one has been accepted when one that came later has been answered.
        assert_eq!(portero.get("/readyz").status, 200);
        portero.signal(Signal::TERM);
        let told = Instant::now();
        eventually("new connections are refused", || {
            let refused = TcpStream::connect(portero.address).err()?;
            (refused.kind() == io::ErrorKind::ConnectionRefused).then_some(())
        });
        here.set(None);
        // It has not ended: it waits for the one that has begun.
        assert_eq!(portero.ended_within(Duration::ZERO), None);
        let answer = end_webhook(&begun, &body);
        answered += usize::from(answer == Some(200));
        let left = ENDS_WITHIN.saturating_sub(told.elapsed());
        let status = portero.ended_within(left);
        assert_eq!(status.and_then(|status| status.code()), Some(0));
        Some(Asked {
            wa_id,
            body,
            acknowledged: answer == Some(200),
        })
    });
    assert!(answered > cycles / 2, "{answered} of {cycles}");
    for codes in codes {
        assert_eq!(codes.len(), 1, "{codes:?}");
    }
}

/// P8, also while the store is copied, by the hour or for somebody, and the disk takes for ever:
/// nobody is let in meanwhile, who has begun is answered, and what was acknowledged is kept.
#[test]
fn told_to_stop_while_the_store_is_copied_it_ends_in_time_and_refuses_newcomers_at_once() {
    std::thread::scope(|scope| {
        scope.spawn(|| stop_amid_a_copy("fdatasync portero-"));
        scope.spawn(|| stop_amid_a_copy("fdatasync copy.redb"));
    });
}

/// A copy hangs at this call.
fn stop_amid_a_copy(call: &str) {
    /// Far below the time for which the copy is waited for.
    const REFUSES_WITHIN: Duration = Duration::from_secs(3);
    let world = World::without_mail();
    let trace = world.path("trace");
    let slow = FailingCalls::default().only(&[call]).trace(&trace);
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    slow.at(1, Happens::Hangs).preload(&mut command);
    let mut portero = Portero::start(command);
    let mut backup = world.command(&["backup", "copy.redb", "--config", "portero.toml"]);
    let mut backup = backup.spawn().unwrap();
    eventually("a copy hangs", || (!steps(&trace).is_empty()).then_some(()));

    let wa_id = "573001112233";
    let body = webhook(&[text(wa_id, "quién soy")]);
    let begun = begin_webhook(portero.address, &body);
    assert_eq!(portero.get("/readyz").status, 200);
    portero.signal(Signal::TERM);
    let (told, told_at) = (Instant::now(), Timestamp(unix_seconds() * SECOND_MS));
    eventually("new connections are refused", || {
        TcpStream::connect(portero.address).err()
    });
    assert!(told.elapsed() < REFUSES_WITHIN, "{:?}", told.elapsed());
    assert_eq!(end_webhook(&begun, &body), Some(200));
    let status = portero.ended_within(ENDS_WITHIN.saturating_sub(told.elapsed()));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    backup.wait().unwrap();
    assert!(Books::read(&world.path("portero.redb")).latest >= told_at);

    let _again = world.start();
    world.graph.reply(wa_id, 1);
}

/// Copies are not waited for: nobody gets half of one, and whoever asked is told.
#[test]
fn told_to_stop_while_the_store_is_copied_it_gives_the_copies_up_and_leaves_nothing_of_them() {
    let world = World::without_mail();
    let (trace, waiting) = (world.path("trace"), world.path("waiting"));
    fs::write(&waiting, "0").unwrap();
    let slow = FailingCalls::default().only(&["pwrite portero-", "pwrite copy.redb"]);
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    (slow.trace(&trace).while_file(&waiting)).preload(&mut command);
    let mut portero = Portero::start(command);
    let mut backup = world.command(&["backup", "copy.redb", "--config", "portero.toml"]);
    let backup = backup.stderr(Stdio::piped()).spawn().unwrap();
    eventually("both copies have begun", || {
        let steps = steps(&trace);
        let has_begun = |of: &str| steps.iter().any(|step| step.label.contains(of));
        (has_begun("portero-") && has_begun("copy.redb")).then_some(())
    });

    portero.signal(Signal::TERM);
    eventually("new connections are refused", || {
        TcpStream::connect(portero.address).err()
    });
    fs::remove_file(&waiting).unwrap();
    let status = portero.ended_within(ENDS_WITHIN);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let told = backup.wait_with_output().unwrap();
    let words = String::from_utf8(told.stderr).unwrap();
    assert!(
        words.contains("Portero stopped meanwhile") && !told.status.success(),
        "{words}"
    );
    let folders = [world.path("snapshots"), world.path("")];
    let copies = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).unwrap());
    let left: Vec<String> = copies
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("portero-") || name.starts_with("copy.redb"))
        .collect();
    assert_eq!(left, [""; 0]);
}

/// P8, also when the disk of the store itself takes for ever: what waits for it was not acknowledged.
#[test]
fn told_to_stop_while_the_disk_of_the_store_hangs_it_ends_in_time() {
    let world = World::without_mail();
    let call = FailingCalls::default().only(&["fdatasync portero.redb"]);
    let start = |calls: FailingCalls| {
        let mut command = world.command(&["serve", "--config", "portero.toml"]);
        calls.preload(&mut command);
        Portero::start(command)
    };
    world.start().kill();
    // How many a start takes that finds what a killed process left.
    let trace = world.path("start");
    start(call.clone().trace(&trace)).kill();
    let at = 1 + u64::try_from(steps(&trace).len()).unwrap();

    let trace = world.path("trace");
    let mut portero = start(call.trace(&trace).at(at, Happens::Hangs));
    let address = portero.address;
    let body = webhook(&[text("573001112233", "quién soy")]);
    let begun = begin_webhook(address, &body);
    let waits = std::thread::spawn(move || end_webhook(&begun, &body));
    eventually("a commit hangs", || {
        (steps(&trace).iter().any(|step| step.number == at)).then_some(())
    });
    portero.signal(Signal::TERM);
    let status = portero.ended_within(ENDS_WITHIN);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    assert_ne!(waits.join().unwrap(), Some(200));
}

/// Sends the head and half of the body.
fn begin_webhook(address: SocketAddr, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nContent-Length: {}\r\nX-Hub-Signature-256: {}\r\n\r\n",
        body.len(),
        signature(APP_SECRET, body)
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&body[..body.len() / 2]).unwrap();
    stream
}

/// Sends the other half, and reads the status. A connection that was cut meanwhile has no answer,
/// and that is one, too; half of one is not.
fn end_webhook(mut stream: &TcpStream, body: &[u8]) -> Option<u16> {
    let _ = stream.write_all(&body[body.len() / 2..]);
    let answer = read_answer(stream, "POST").ok().flatten()?;
    Some(answer.status)
}

//! The disk beneath the real program takes no writes, or does not keep them: its
//! calls of the C library fail, one after the other.

use crate::failing_calls::{FailingCalls, Happens, steps};
use crate::outside::{
    CANCELLED, NOT_SIGNED_IN, PATIENCE, Portero, WELCOME, World, eventually, post_webhook, status,
    text, webhook,
};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Whatever a store is written with.
const WRITES: [&str; 4] = [
    "pwrite portero.redb",
    "write portero.redb",
    "ftruncate portero.redb",
    "fdatasync portero.redb",
];

/// The disk takes writes again, and so does the program.
const RECOVERS_WITHIN: Duration = Duration::from_secs(5);

/// More processes in a row in which no call is the one that fails: there are no more such calls.
const MISSED_MAX: usize = 5;

fn serve(world: &World, failing: &FailingCalls) -> Command {
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    failing.preload(&mut command);
    command
}

/// Sends this until it is acknowledged, as Meta does; returns how long that took from the first
/// refusal on.
fn deliver(portero: &Portero, body: &[u8]) -> Duration {
    let mut refused_at: Option<Instant> = None;
    loop {
        let answer = post_webhook(portero.address, body).unwrap();
        let waited = refused_at.map_or(Duration::ZERO, |at| at.elapsed());
        if answer.status == 200 {
            return waited;
        }
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(waited < RECOVERS_WITHIN, "it does not recover");
        refused_at.get_or_insert_with(Instant::now);
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The person of this number asks who they are, and cancels.
fn person(number: u64) -> String {
    format!("5730080{number:05}")
}

fn bodies(wa_id: &str) -> [Vec<u8>; 2] {
    ["quién soy", "cancelar"].map(|words| webhook(&[text(wa_id, words)]))
}

/// What a sweep over the calls came to.
#[derive(Debug, Default)]
struct Swept {
    refused_starts: usize,
    met: usize,
    /// Somebody's wait, if a call of their own message was among them: which are, differs.
    longest: Duration,
}

/// For each of the calls with these labels that a start and two messages take: a process in which it
/// fails, `times` in a row, while somebody writes. In the end all have been answered once, by
/// whatever process.
fn sweep(world: &World, labels: &[&str], times: u64, error: Errno) -> Swept {
    let error = error.raw_os_error();
    let mut swept = Swept::default();
    let (mut all, mut missed) = (Vec::new(), 0);
    for number in 1.. {
        if missed >= MISSED_MAX {
            break;
        }
        let happens = match number % 2 {
            0 => Happens::FailBefore(error),
            _ => Happens::FailAfter(error),
        };
        let trace = world.path(&format!("trace-{number}"));
        let failing = FailingCalls::default().only(labels).trace(&trace);
        let failing = failing.at(number, happens).times(times);
        let wa_id = person(number);
        let pair = bodies(&wa_id);
        match Portero::start_or_end(serve(world, &failing)) {
            Ok(portero) => {
                for body in &pair {
                    swept.longest = swept.longest.max(deliver(&portero, body));
                }
                // As Meta does; otherwise the next process would wait for it for a minute, since
                // this one may not have noted that they left.
                world.graph.reply(&wa_id, 2);
                for sent in world.graph.sent_to(&wa_id) {
                    deliver(&portero, &status(&sent, "sent"));
                }
                portero.kill();
            }
            Err((status, log)) => {
                assert_eq!(status.code(), Some(74), "{number}: {log}");
                assert!(is_sentence_about_the_store(&log), "{number}: {log}");
                swept.refused_starts += 1;
            }
        }
        all.push(pair);
        match steps(&trace).len() as u64 >= number {
            true => (swept.met, missed) = (swept.met + 1, 0),
            false => missed += 1,
        }
    }
    let portero = world.start();
    // Meta repeats also what was acknowledged.
    for body in all.iter().flatten() {
        assert_eq!(portero.post_webhook(body).status, 200);
    }
    for number in 1..=all.len() as u64 {
        world
            .graph
            .assert_received(&person(number), &[NOT_SIGNED_IN, CANCELLED]);
    }
    assert_eq!(portero.stop().0, Some(0));
    swept
}

/// The last that is said is a sentence that names the store or the disk, and not a panic.
fn is_sentence_about_the_store(log: &str) -> bool {
    let last = log.lines().last().unwrap_or_default();
    let names = last.contains("store") || last.contains("portero.redb");
    names && last.contains("disk") && !log.contains("panicked")
}

/// whichever call is the first for which there is no room, no message is acknowledged that is
/// not kept, all goes on by itself, and everybody is answered once.
#[test]
fn whichever_call_finds_the_disk_full_the_program_goes_on_and_answers_everybody_once() {
    let world = World::without_mail();
    let swept = sweep(&world, &WRITES, 2, Errno::NOSPC);
    println!("{swept:?}");
    assert!(swept.met > 50, "{swept:?}");
}

/// whichever sync of the program fails, what it should have kept is not acknowledged, the store
/// is opened again, and everybody is answered once.
#[test]
fn whichever_sync_of_the_program_fails_it_goes_on_and_answers_everybody_once() {
    let world = World::without_mail();
    let swept = sweep(&world, &["fdatasync portero.redb"], 1, Errno::IO);
    println!("{swept:?}");
    // A start has some, and the messages and what follows from them share theirs as it happens.
    assert!(swept.met > 8, "{swept:?}");
}

/// a disk that fails for good ends the program with an error, so that its supervisor knows; and
/// what was acknowledged before is there when it is mended.
#[test]
fn a_disk_that_keeps_nothing_any_more_ends_the_program_with_74() {
    let world = World::without_mail();
    let broken = world.path("broken");
    let failing = FailingCalls::default().only(&["fdatasync portero.redb"]);
    let failing = failing.while_file(&broken);
    let mut portero = Portero::start(serve(&world, &failing));
    let [first, second] = bodies(&person(1));
    assert_eq!(portero.post_webhook(&first).status, 200);
    let sent = world.graph.reply(&person(1), 1);
    deliver(&portero, &status(&sent, "sent"));
    refuse_with(&world, &broken, Errno::IO);
    let begun = Instant::now();
    while let Ok(answer) = post_webhook(portero.address, &second) {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(begun.elapsed() < PATIENCE, "it goes on for ever");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let status = portero.ended_within(PATIENCE).unwrap();
    let log = portero.log();
    assert_eq!(status.code(), Some(74), "{log}");
    let (_, said) = log.rsplit_once("the store has stopped: ").unwrap();
    assert!(said.contains("check the disk"), "{log}");
    // Nor does it start as long as that is so.
    let (status, log) = Portero::start_or_end(serve(&world, &failing))
        .err()
        .unwrap();
    assert_eq!(status.code(), Some(74), "{log}");
    assert!(is_sentence_about_the_store(&log), "{log}");
    fs::remove_file(&broken).unwrap();
    let portero = world.start();
    portero.receive(&[text(&person(2), "quién soy")]);
    for body in [&first, &second] {
        assert_eq!(portero.post_webhook(body).status, 200);
    }
    let answers = [NOT_SIGNED_IN, CANCELLED];
    world.graph.assert_received(&person(1), &answers);
    world.graph.assert_received(&person(2), &answers[..1]);
}

/// A program on a disk that takes no writes for a while, with this error.
struct RefusedDisk {
    portero: Portero,
    world: World,
    error: Errno,
    refusing: PathBuf,
}

impl RefusedDisk {
    /// The disk takes writes, and the program has started on it.
    fn new(error: Errno) -> RefusedDisk {
        let world = World::without_mail();
        let refusing = world.path("refusing");
        // What is read-only cannot even be opened for writing.
        let opened: &[&str] = match error {
            Errno::ROFS => &["open portero.redb"],
            _ => &[],
        };
        let labels = [&WRITES[..], opened].concat();
        let failing = FailingCalls::default().only(&labels).while_file(&refusing);
        RefusedDisk {
            portero: Portero::start(serve(&world, &failing)),
            world,
            error,
            refusing,
        }
    }

    /// From now on it takes none, and the program has refused this webhook.
    fn begin(&self, webhook: &[u8]) {
        refuse_with(&self.world, &self.refusing, self.error);
        eventually("it refuses", || {
            (self.portero.post_webhook(webhook).status == 503).then_some(())
        });
    }

    /// From now on it takes writes.
    fn end(&self) {
        fs::remove_file(&self.refusing).unwrap();
    }
}

/// under load the disk is full, or read-only, for a while, and again: all goes on by
/// itself, and everybody is answered once.
#[test]
fn a_disk_that_takes_no_writes_for_a_while_under_load_loses_nothing_and_doubles_nothing() {
    const WRITERS: usize = 4;
    const TIMES: usize = 3;
    for error in [Errno::NOSPC, Errno::ROFS] {
        let refused = RefusedDisk::new(error);
        let (world, portero) = (&refused.world, &refused.portero);
        let (over, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
        let people: Vec<String> = std::thread::scope(|scope| {
            let writing: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (over, taken) = (&over, &taken);
                    scope.spawn(move || {
                        let mut people = Vec::new();
                        while !over.load(Ordering::SeqCst) {
                            let wa_id = format!("573009{writer}{:05}", people.len());
                            for body in bodies(&wa_id) {
                                deliver(portero, &body);
                                taken.fetch_add(1, Ordering::SeqCst);
                            }
                            people.push(wa_id);
                            std::thread::park_timeout(Duration::from_millis(5));
                        }
                        people
                    })
                })
                .collect();
            for turn in 0..TIMES {
                let before = taken.load(Ordering::SeqCst);
                eventually("messages are taken", || {
                    (taken.load(Ordering::SeqCst) > before + 20).then_some(())
                });
                let probe = webhook(&[text(&person(turn as u64), "cancelar")]);
                refused.begin(&probe);
                refused.end();
                deliver(portero, &probe);
            }
            over.store(true, Ordering::SeqCst);
            (writing.into_iter())
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let answers = [NOT_SIGNED_IN, CANCELLED];
        for wa_id in &people {
            world.graph.assert_received(wa_id, &answers);
        }
        for turn in 0..TIMES {
            let wa_id = person(turn as u64);
            world.graph.assert_received(&wa_id, &[WELCOME]);
        }
        println!("{error:?}: {} people", people.len());
    }
}

/// whoever watches the program learns that nothing can be stored, and that it can again,
/// also while nobody writes who would find out.
#[test]
fn while_the_disk_takes_no_writes_it_is_not_ready_and_then_it_is_by_itself() {
    for error in [Errno::NOSPC, Errno::ROFS] {
        let refused = RefusedDisk::new(error);
        let portero = &refused.portero;
        let ready = || {
            let answer = portero.get("/readyz");
            (answer.status, answer.json()["ready"].as_bool())
        };
        assert_eq!(ready(), (200, Some(true)));
        let refused_one = webhook(&[text(&person(1), "cancelar")]);
        refused.begin(&refused_one);
        for _ in 0..20 {
            assert_eq!(portero.post_webhook(&refused_one).status, 503);
        }
        let lines = portero.log().matches("could not be stored").count();
        assert_eq!(lines, 1, "once a minute, whatever comes");
        // It looks each second, and finds the disk as it was.
        let until = Instant::now() + Duration::from_millis(1_500);
        while Instant::now() < until {
            assert_eq!(ready(), (503, Some(false)));
            let told = portero.get("/readyz").json()["troubles"][0].clone();
            let told = told.as_str().unwrap_or_default();
            assert!(told.starts_with("the store refuses"), "{told}");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        refused.end();
        let mended_at = Instant::now();
        eventually("it is ready", || {
            (ready() == (200, Some(true))).then_some(())
        });
        assert!(mended_at.elapsed() < RECOVERS_WITHIN);
    }
}

/// an operator still sees a contact on a disk that is full or read-only, and is told that
/// the audit has no line of it.
#[test]
fn a_contact_is_shown_on_a_disk_that_takes_no_writes_and_that_it_is_not_written_down_is_said() {
    for (error, disk) in [(Errno::NOSPC, "full"), (Errno::ROFS, "read-only")] {
        let refused = RefusedDisk::new(error);
        let (world, portero) = (&refused.world, &refused.portero);
        let number = person(1);
        deliver(portero, &webhook(&[text(&number, "cancelar")]));
        world.graph.reply(&number, 1);
        let run = |arguments: &[&str]| {
            let mut command = world.command(arguments);
            let ended = command.stdout(Stdio::piped()).output().unwrap();
            let of = |bytes| String::from_utf8(bytes).unwrap();
            (ended.status.code(), of(ended.stdout), of(ended.stderr))
        };
        let show = || run(&["contact", "show", "--number", &number]);
        let probe = webhook(&[text(&person(2), "cancelar")]);
        refused.begin(&probe);
        let not_written = format!(
            "that this was looked up could not be written to the audit: the disk that holds the \
             store is {disk}\n"
        );
        for _ in 0..2 {
            let (code, shown, said) = show();
            assert_eq!((code, &said), (Some(0), &not_written), "{shown}");
            assert!(shown.contains("not signed in"), "{shown}");
        }
        refused.end();
        deliver(portero, &probe);
        let (code, shown, said) = show();
        assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
        let (_, lines, _) = run(&["audit", "list"]);
        assert!(lines.contains("contact.shown"), "{lines}");
    }
}

/// on a file system that is mounted read-only nothing is begun, with or without a store.
#[test]
fn a_start_on_a_read_only_file_system_is_74_and_a_sentence() {
    let world = World::without_mail();
    let read_only = FailingCalls::default().only(&["open", "pwrite", "unlink", "link", "mkdir"]);
    let read_only = read_only.at(1, Happens::FailBefore(Errno::ROFS.raw_os_error()));
    let read_only = read_only.for_ever();
    for has_store in [false, true] {
        if has_store {
            assert_eq!(world.start().stop().0, Some(0));
        }
        let (status, log) = Portero::start_or_end(serve(&world, &read_only))
            .err()
            .unwrap();
        assert_eq!(status.code(), Some(74), "{log}");
        let last = log.lines().last().unwrap();
        assert!(
            last.contains("portero.redb is on a read-only file system. Mount it for writing, or move the store elsewhere."),
            "{log}"
        );
        assert_eq!(world.path("portero.redb").exists(), has_store);
    }
    assert_eq!(world.start().stop().0, Some(0));
}

/// From now on this error; the file appears whole.
fn refuse_with(world: &World, path: &Path, error: Errno) {
    let draft = world.path("draft");
    fs::write(&draft, error.raw_os_error().to_string()).unwrap();
    fs::rename(draft, path).unwrap();
}

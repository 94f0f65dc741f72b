//! Panics in the threads of the real program: the clock that nobody sets cannot be read for a
//! moment, which Rust takes for impossible. Whoever looks at it panics, at that place.

use crate::failing_calls::{FailingCalls, Happens, steps};
use crate::outside::{
    CANCELLED, PATIENCE, PUBLIC_HOST, Portero, WELCOME, World, eventually, post_webhook, text,
    webhook,
};
use crate::page::Town;
use crate::reload::run;
use crate::tls::{https, put, serve_files};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ANAS: &str = "573001234567";

/// The exit code of a program that met too many of its own faults (`sysexits.h`).
const EX_SOFTWARE: i32 = 70;

/// Says each panic, wherever it is caught.
const FAULT: &str = "internal fault";

/// The program in which looks at the clock by threads of this name fail as these calls say.
fn start(world: &World, thread: &str, calls: FailingCalls) -> Portero {
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    (calls.only(&[&format!("clock {thread}")])).preload(&mut command);
    Portero::start(command)
}

/// While this is there, each look of such a thread fails.
struct Broken {
    file: PathBuf,
    draft: PathBuf,
}

impl Broken {
    fn of(world: &World) -> Broken {
        let (file, draft) = (world.path("broken"), world.path("broken.new"));
        Broken { file, draft }
    }

    fn begin(&self) {
        fs::write(&self.draft, Errno::INVAL.raw_os_error().to_string()).unwrap();
        fs::rename(&self.draft, &self.file).unwrap();
    }

    fn end(&self) {
        fs::remove_file(&self.file).unwrap();
    }
}

fn faults(portero: &Portero) -> usize {
    portero.log().matches(FAULT).count()
}

/// It is there as ever: a message is answered, and a command attended to.
fn assert_lives(world: &World, portero: &Portero, wa_id: &str) {
    portero.receive(&[text(wa_id, "hola"), text(wa_id, "cancelar")]);
    world.graph.assert_received(wa_id, &[WELCOME, CANCELLED]);
    let (code, _, error) = run(world, &["outbox", "list"]);
    assert_eq!(code, Some(0), "{error}");
}

/// It ends by itself, with the code and a sentence for who reads the log, and what was acknowledged
/// before has its effect in the next life.
fn assert_ends(world: &World, mut portero: Portero) {
    let status = portero.ended_within(PATIENCE).expect("it ends");
    let log = portero.log();
    assert_eq!(status.code(), Some(EX_SOFTWARE), "{log}");
    assert!(
        log.contains("too many internal faults in a minute"),
        "{log}"
    );
    let portero = world.start();
    assert_lives(world, &portero, "573007654321");
    assert_eq!(portero.stop().0, Some(0));
}

/// wherever it panics, the sweeper goes on; after five panics within a minute the program ends
/// with 70, so that its supervisor starts another one.
#[test]
fn a_sweeper_that_panics_goes_on_and_five_panics_in_a_minute_end_the_program_with_70() {
    let world = World::without_mail();
    let (broken, trace) = (Broken::of(&world), world.path("trace"));
    let calls = FailingCalls::default().trace(&trace);
    // One after the other: two of its turns have fewer calls, of every kind.
    let calls = calls.at(2, Happens::FailBefore(Errno::INVAL.raw_os_error()));
    let portero = start(&world, "sweeper", calls.times(4).while_file(&broken.file));
    eventually("four panics", || (faults(&portero) == 4).then_some(()));
    let before = steps(&trace).len();
    eventually("it sweeps on", || {
        (steps(&trace).len() > before + 8).then_some(())
    });
    assert_eq!(faults(&portero), 4);
    assert_lives(&world, &portero, ANAS);
    broken.begin();
    eventually("too many", || (faults(&portero) >= 5).then_some(()));
    broken.end();
    assert_ends(&world, portero);
}

/// who looks after the certificate goes on, also after panics while it rests from one: the next
/// certificate is served as soon as a reload asks for it.
#[test]
fn who_looks_after_the_certificate_goes_on_wherever_it_panics() {
    let world = World::without_mail();
    let authority = serve_files(&world, "");
    let broken = Broken::of(&world);
    let calls = FailingCalls::default().while_file(&broken.file);
    let portero = start(&world, "certificate", calls);
    broken.begin();
    // The first one at its look at the files, the others while it rests.
    eventually("panics", || (faults(&portero) >= 3).then_some(()));
    broken.end();
    let next = authority.issue(&[PUBLIC_HOST]);
    put(world.folder.path(), &next);
    eventually("the new certificate is served", || {
        let (code, _, error) = run(&world, &["reload"]);
        assert_eq!(code, Some(0), "{error}");
        let secured = authority.client().connect(https(&portero), PUBLIC_HOST);
        (secured.unwrap().certificate() == next.certificate).then_some(())
    });
    assert_eq!(portero.stop().0, Some(0));
}

/// a command that meets a panic in the thread of the control socket gets no answer, and the
/// next one does. Five within a minute end the program.
#[test]
fn a_panic_at_the_control_socket_costs_one_command_and_five_end_the_program_with_70() {
    let world = World::without_mail();
    let broken = Broken::of(&world);
    let calls = FailingCalls::default().while_file(&broken.file);
    let portero = start(&world, "control", calls);
    for number in 1..=5 {
        broken.begin();
        let (code, _, error) = run(&world, &["reload"]);
        broken.end();
        assert_ne!(code, Some(0));
        assert!(error.contains("gave no answer"), "{error}");
        eventually("it is in the log", || {
            (faults(&portero) == number).then_some(())
        });
        if number < 5 {
            assert_lives(&world, &portero, &format!("57300111223{number}"));
        }
    }
    assert_ends(&world, portero);
}

/// a panic in the loop that takes connections in costs connections and never the door. However
/// many there are, the program does not end of them: strangers might cause them.
#[test]
fn panics_of_the_accept_loop_cost_connections_and_never_the_door() {
    let world = World::without_mail();
    let broken = Broken::of(&world);
    let calls = FailingCalls::default().while_file(&broken.file);
    let portero = start(&world, "accept", calls);
    let body = webhook(&[text(ANAS, "hola")]);
    broken.begin();
    for number in 1..=10 {
        assert!(post_webhook(portero.address, &body).is_err());
        eventually("it panicked", || (faults(&portero) >= number).then_some(()));
    }
    broken.end();
    eventually("it takes connections in again", || {
        post_webhook(portero.address, &body).ok()
    });
    world.graph.assert_received(ANAS, &[WELCOME]);
    assert_lives(&world, &portero, "573001112233");
    assert_eq!(portero.stop().0, Some(0));
}

/// wherever a sender of the chat panics, the thread goes on, and its message leaves once: at
/// once, unless that happened in the middle of the call, after which a status is waited for.
#[test]
fn wherever_a_sender_panics_its_message_leaves_once() {
    const IN_THE_CALL: &str = "a sender failed unexpectedly; the entry is tried again later";
    let world = World::without_mail();
    let trace = world.path("trace");
    let (mut in_the_call, mut elsewhere) = (0, 0);
    // Some of the looks before the call and in it, and all of those at its end.
    for nth in (1..34).step_by(3).chain(34..=46) {
        let number = format!("57301{nth:07}");
        let calls = FailingCalls::default().trace(&trace);
        let calls = calls.at(nth, Happens::FailBefore(Errno::INVAL.raw_os_error()));
        let portero = start(&world, "outbox-whatsapp", calls);
        let leaves = |words: &str, count: usize| {
            portero.receive(&[text(&number, words)]);
            eventually("it leaves, or may have left", || {
                let has_left = world.graph.sent_to(&number).len() >= count;
                let is_unknown = portero.log().contains(IN_THE_CALL);
                (has_left || is_unknown).then_some(!is_unknown)
            })
        };
        let since = Instant::now();
        let is_away = leaves("hola", 1) && leaves("cancelar", 2);
        // Well before the minute that is waited for a status.
        assert!(since.elapsed() < Duration::from_secs(40));
        let (code, log) = portero.stop();
        assert_eq!(code, Some(0), "{log}");
        match is_away {
            true => world.graph.assert_received(&number, &[WELCOME, CANCELLED]),
            false => {
                let sent = world.graph.sent_to(&number);
                let tags: HashSet<&String> = sent.iter().map(|sent| &sent.tag).collect();
                assert_eq!(tags.len(), sent.len(), "{sent:?}");
            }
        }
        match is_away {
            true => elsewhere += log.matches(FAULT).count(),
            false => in_the_call += 1,
        }
        if steps(&trace).len() < usize::try_from(nth).unwrap() {
            break;
        }
        fs::remove_file(&trace).unwrap();
    }
    eprintln!("{in_the_call} panics in the call, and {elsewhere} elsewhere");
    assert!(in_the_call > 2 && elsewhere > 5);
}

/// a program whose threads meet one fault after the other says that it cannot go on.
#[test]
fn a_program_with_too_many_faults_says_that_it_should_end() {
    let town = Town::start();
    for _ in 0..4 {
        town.running().app().note_fault();
    }
    assert_eq!(town.running().broken(), None);
    town.running().app().note_fault();
    assert_eq!(
        town.running().broken(),
        Some(portero::serve::Broken::Faults)
    );
}

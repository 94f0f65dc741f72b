//! The clock of the machine is wrong, or the machine sleeps: in the core with the clock of
//! production, and with the real program, whose C library tells it another time.

use crate::failing_calls::compiled;
use crate::house::{House, Person, Takes, WrongMachine, server_error};
use crate::outside::{
    CANCELLED, Message, Mood, NOT_SIGNED_IN, Portero, WELCOME, World, eventually, text,
    unix_seconds,
};
use portero::app::{Janitor, Report, Work};
use portero::domain::delivery::Lane;
use portero::domain::id::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use portero::domain::message::Inbound;
use portero::outbox::{Outbox, Pace};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What happens to the clock of a machine.
#[derive(Clone, Copy, Debug)]
enum Mishap {
    Set(i64),
    RunsFast(i64),
}

const HOUR: i64 = HOUR_MS as i64;
const DAY: i64 = DAY_MS as i64;

const MISHAPS: [Mishap; 7] = [
    Mishap::Set(HOUR),
    Mishap::Set(DAY),
    Mishap::Set(3_652 * DAY),
    Mishap::Set(-HOUR),
    Mishap::Set(-DAY),
    Mishap::RunsFast(10),
    Mishap::RunsFast(-10),
];

impl Mishap {
    fn befall(self, machine: &WrongMachine) {
        match self {
            Mishap::Set(ms) => machine.set_ahead(ms),
            Mishap::RunsFast(percent) => machine.run_fast(percent),
        }
    }
}

fn person(number: u8) -> Person {
    Person::with_number(&format!("5730012345{number:02}"))
}

/// The person writes, by the clock of the machine.
fn writes(house: &House, person: &Person, words: &str) {
    house.clock.forward(10 * SECOND_MS);
    let message = Inbound {
        sent_at: house.app.now(),
        ..house.text(person, words)
    };
    house.receive(message).unwrap();
    house.settle();
}

/// R-60, P9: whatever becomes of the clock, while Portero runs or while it is down, no code lives
/// longer, nothing that is kept goes, and what was begun goes on.
#[test]
fn whatever_becomes_of_the_clock_no_dead_code_lives_and_nothing_that_is_kept_goes() {
    for mishap in MISHAPS {
        for is_down in [false, true] {
            let story = format!("{mishap:?}, down: {is_down}");
            let (mut house, machine) = House::on_a_machine();
            let people: Vec<Person> = (0..4).map(person).collect();
            let [ana, bea, carla, eva] = &people[..] else {
                panic!("four people");
            };
            for name in ["ana", "bea", "carla", "eva"] {
                house.register("kutamma", &format!("{name}@example.com"), name, "Acme");
            }
            house.sign_in(bea, "bea@example.com");
            house.ask(eva, "eva@example.com");
            let dead = house.code();
            house.later(11 * MINUTE_MS);
            house.ask(ana, "ana@example.com");
            let live = house.code();
            let handed_on = house.handed_on().len();
            house.world.change(|outside| {
                outside.bot = Takes::Not(server_error());
            });
            house.ask(bea, "¿dónde está mi pedido?");
            let mut janitor = Janitor::beginning(&house.app).unwrap();
            janitor.sweep(&house.app).unwrap();

            if is_down {
                house.app.note_time().unwrap();
                mishap.befall(&machine);
                house = house.restarted();
                janitor = Janitor::beginning(&house.app).unwrap();
            } else {
                mishap.befall(&machine);
            }
            let contacts = house.contacts().len();

            // What waited goes on in its time, or is kept with its reason where that is over.
            house.world.change(|outside| outside.bot = Takes::It);
            house.later(12 * MINUTE_MS);
            let dead_letters = house.overview().dead.len();
            assert_eq!(
                house.handed_on().len() - handed_on + dead_letters,
                1,
                "{story}"
            );
            let is_over = matches!(mishap, Mishap::Set(ms) if ms > 7 * DAY);
            assert_eq!(dead_letters == 1, is_over, "{story}");

            // Codes that were dead, and one that was not yet.
            writes(&house, eva, &dead);
            writes(&house, ana, &live);
            assert!(!house.is_bound(eva) && !house.is_bound(ana), "{story}");
            // A new one is as good as ever.
            writes(&house, carla, "carla@example.com");
            let code = house.code();
            writes(&house, carla, &code);
            assert!(house.is_bound(carla), "{story}");

            // Whoever comes back within a day finds all as it was.
            for _ in 0..22 {
                janitor.sweep(&house.app).unwrap();
                house.clock.forward(HOUR_MS);
            }
            assert_eq!(house.contacts().len(), contacts + 1, "{story}");
            house.app.note_time().unwrap();
            house = house.restarted();
            let mut janitor = Janitor::beginning(&house.app).unwrap();
            janitor.sweep(&house.app).unwrap();
            assert_eq!(house.contacts().len(), contacts + 1, "{story}");
        }
    }
}

/// a machine that slept for eight hours sends nothing that is of no use any more, its codes
/// are dead, and it goes on at once.
#[test]
fn after_eight_hours_of_sleep_nothing_stale_is_sent_and_all_goes_on() {
    const PEOPLE: u8 = 40;
    let (house, _machine) = House::on_a_machine();
    for name in ["ana", "eva"] {
        house.register("kutamma", &format!("{name}@example.com"), name, "Acme");
    }
    let (ana, eva) = (person(90), person(91));
    let mut janitor = Janitor::beginning(&house.app).unwrap();
    house.ask(&ana, "ana@example.com");
    let code = house.code();
    house.world.change(|outside| {
        outside.mail = Takes::Not(server_error());
        outside.whatsapp = Takes::Not(server_error());
    });
    house.ask(&eva, "eva@example.com");
    for number in 0..PEOPLE {
        house.write(&person(number), "hola");
    }
    house.settle();
    let left = house.left().len();
    janitor.sweep(&house.app).unwrap();

    house.clock.forward(8 * HOUR_MS);
    house.world.change(|outside| {
        outside.mail = Takes::It;
        outside.whatsapp = Takes::It;
    });
    house.settle();
    house.later(10 * MINUTE_MS);
    // Whoever waits for a code is told once that none came, and nobody hears anything else.
    assert_eq!(house.left().len(), left + 1, "something stale was sent");
    let told = house.said_to(&eva).pop().unwrap();
    assert!(told.starts_with("El correo no está funcionando"), "{told}");
    assert_eq!(house.overview().outbox, []);
    assert!(house.overview().dead.len() >= usize::from(PEOPLE));
    house.ask(&ana, &code);
    assert!(!house.is_bound(&ana));
    // Its clock is believed, and whoever writes is answered.
    janitor.sweep(&house.app).unwrap();
    assert_eq!(house.latest_moment(), house.app.now());
    house.sign_in(&eva, "eva@example.com");
}

/// several messages that were begun together, and the machine sleeps after the first.
#[test]
fn what_was_begun_before_the_machine_slept_is_not_sent_when_its_time_is_over() {
    const PEOPLE: u8 = 12;
    let house = House::in_memory();
    for number in 0..PEOPLE {
        house.write(&person(number), "hola");
    }
    let sent = Arc::new(AtomicUsize::new(0));
    let (counted, clock) = (Arc::clone(&sent), Arc::clone(&house.clock));
    let carry = move |_: &Work| {
        counted.fetch_add(1, Ordering::SeqCst);
        clock.forward(8 * HOUR_MS);
        Report::Sent(None)
    };
    let pace = Pace {
        threads: [1; Lane::ALL.len()],
        ..Pace::default()
    };
    let outbox = Outbox::new(Arc::clone(&house.app), Arc::new(carry), pace);
    outbox.drain(Lane::Chat);
    assert_eq!(sent.load(Ordering::SeqCst), 1);
    assert_eq!(house.overview().dead.len(), usize::from(PEOPLE) - 1);
}

// --- with the real program --------------------------------------------------------------------------------

/// The library that tells another time, compiled once for each run of the tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compiled("wrong_clock"))
}

/// A program on a machine whose clock is so far ahead as the file says.
struct Clocked {
    world: World,
    portero: Portero,
}

impl Clocked {
    fn start() -> Clocked {
        let world = World::without_mail();
        let mut command = world.command(&["serve", "--config", "portero.toml"]);
        command.env("LD_PRELOAD", library());
        command.env("WRONG_CLOCK", world.path("ahead"));
        let portero = Portero::start(command);
        Clocked { world, portero }
    }

    fn set_ahead(&self, seconds: i64) {
        let draft = self.world.path("draft");
        fs::write(&draft, seconds.to_string()).unwrap();
        fs::rename(draft, self.world.path("ahead")).unwrap();
    }

    fn contacts(&self) -> usize {
        let mut command = self.world.command(&["contact", "list", "--json"]);
        command.args(["--config", "portero.toml"]);
        let output = command.stdout(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        listed.len()
    }
}

/// Written when a clock that is so far ahead shows this moment.
fn text_at(from: &str, words: &str, ahead_seconds: i64) -> Message {
    let mut message = text(from, words);
    let at = unix_seconds().saturating_add_signed(ahead_seconds);
    message.value["timestamp"] = json!(at.to_string());
    message
}

const ALARM: &str = "the clock of this machine was set by more than an hour";

/// the clock of a running program is set. It answers on, and takes nothing from its store; when
/// the clock was set ahead by much, it says so.
#[test]
fn a_running_program_whose_clock_is_set_answers_on_and_keeps_all() {
    const DAY_SECONDS: i64 = 86_400;
    let ana = "573001234567";
    let settings = [
        3_652 * DAY_SECONDS,
        DAY_SECONDS,
        3_000,
        -3_600,
        -DAY_SECONDS,
    ];
    std::thread::scope(|scope| {
        for ahead in settings {
            scope.spawn(move || {
                let clocked = Clocked::start();
                let Clocked { world, portero } = &clocked;
                portero.receive(&[text(ana, "quién soy")]);
                world.graph.reply(ana, 1);
                clocked.set_ahead(ahead);
                portero.receive(&[text_at(ana, "cancelar", ahead.max(0))]);
                let is_told = ahead > 3_600;
                if is_told {
                    eventually("the alarm", || portero.log().contains(ALARM).then_some(()));
                }
                // After a day it is another conversation.
                let second = match is_told {
                    true => WELCOME,
                    false => CANCELLED,
                };
                world.graph.assert_received(ana, &[NOT_SIGNED_IN, second]);
                assert_eq!(clocked.contacts(), 1, "{ahead}");
                assert_eq!(portero.log().contains(ALARM), is_told, "{ahead}");
            });
        }
    });
}

/// stopped for a while in which eight hours pass, the program sends nothing stale and goes on.
#[test]
fn a_program_that_was_suspended_sends_nothing_stale_and_goes_on() {
    const SLEPT_SECONDS: i64 = 8 * 3_600;
    const STOPPED: Duration = Duration::from_secs(5);
    const PEOPLE: usize = 30;
    let clocked = Clocked::start();
    let Clocked { world, portero } = &clocked;
    world.graph.always(Some(Mood::Refuse(500, 131_000)));
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("5730071{n:05}")).collect();
    for wa_id in &people {
        portero.receive(&[text(wa_id, "hola")]);
    }
    eventually("they are tried", || {
        (world.graph.refused() >= PEOPLE).then_some(())
    });
    portero.signal(Signal::STOP);
    clocked.set_ahead(SLEPT_SECONDS);
    // As long as machines that are suspended are tried: its peers have gone away meanwhile.
    std::thread::park_timeout(STOPPED);
    world.graph.always(None);
    portero.signal(Signal::CONT);
    let late = "573001234567";
    portero.receive(&[text_at(late, "quién soy", SLEPT_SECONDS)]);
    world.graph.assert_received(late, &[NOT_SIGNED_IN]);
    // What a thread was just sending at that moment nobody can call back.
    let under_way = Pace::default().threads[Lane::Chat as usize];
    eventually("what was stale is given up", || {
        let mut command = world.command(&["outbox", "list", "--dead", "--json"]);
        command.args(["--config", "portero.toml"]);
        let output = command.stdout(Stdio::piped()).output().unwrap();
        let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let stale = world.graph.count() - 1;
        assert!(stale <= under_way, "{stale} stale messages were sent");
        (listed.len() + stale == PEOPLE).then_some(())
    });
}

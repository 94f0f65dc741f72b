//! The clock of the machine is wrong, or the machine sleeps: in the core with the clock of
//! production, and with the real program, whose C library tells it another time.

use crate::failing_calls::compiled;
use crate::house::{House, Person, Takes, WrongMachine, failure, server_error};
use crate::outside::{
    CANCELLED, Message, Mood, NOT_SIGNED_IN, Portero, STORE_KEY, World, eventually, text,
    unix_seconds, webhook,
};
use crate::services::logged;
use portero::app::{Clock, Failed, Janitor, Once, Report, Wish, Work};
use portero::domain::delivery::Lane;
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::message::{IdentityChanged, Inbound, WebhookItem};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use portero::outbox::{Outbox, Pace};
use portero::store::redb::Options;
use portero::store::{KeyRange, MasterKey, Order, Redb, Sealed, Table, record};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
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

/// The person writes, at a moment that Meta's clock tells, whatever the machine of Portero shows.
fn writes(house: &House, person: &Person, words: &str) -> Result<(), Failed> {
    house.clock.forward(10 * SECOND_MS);
    let received = house.receive(house.text(person, words));
    house.settle();
    received.map(|_| ())
}

/// How far Portero takes it to be later than it is.
fn ahead_ms(house: &House) -> u64 {
    house.app.now().since_ms(house.clock.now())
}

/// The process ends as it should, and another one starts so much later.
fn down_for(house: House, ms: u64) -> House {
    house.app.note_time().unwrap();
    house.clock.forward(ms);
    house.restarted()
}

/// R-60, P9: whatever becomes of the clock, while Portero runs or while it is down, no code lives
/// longer, what was begun goes on, nobody is lost, and all is well once the clock is.
#[test]
fn whatever_becomes_of_the_clock_no_dead_code_lives_and_nothing_that_is_kept_goes() {
    for mishap in MISHAPS {
        for is_down in [false, true] {
            let story = format!("{mishap:?}, down: {is_down}");
            let (mut house, machine) = House::on_a_machine();
            let people: Vec<Person> = (0..5).map(person).collect();
            let [ana, bea, carla, eva, dora] = &people[..] else {
                panic!("five people");
            };
            for name in ["ana", "bea", "carla", "eva", "dora"] {
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
            let mut janitor = Janitor::default();
            janitor.sweep(&house.app).unwrap();

            if is_down {
                house.app.note_time().unwrap();
                mishap.befall(&machine);
                house.clock.forward(MINUTE_MS);
                house = house.restarted();
                janitor = Janitor::default();
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
            let is_absurd = ahead_ms(&house) > 8 * DAY_MS;
            let taken = [
                writes(&house, eva, &dead),
                writes(&house, ana, &live),
                // A new one is as good as ever where people can be seen to write now.
                writes(&house, carla, "carla@example.com"),
            ];
            assert!(
                taken.iter().all(|taken| taken.is_err() == is_absurd),
                "{story}: {taken:?}"
            );
            assert!(!house.is_bound(eva) && !house.is_bound(ana), "{story}");
            if ahead_ms(&house) < 10 * MINUTE_MS {
                writes(&house, carla, &house.code()).unwrap();
                assert!(house.is_bound(carla), "{story}");
            }

            // Whoever comes back within a day finds all as it was.
            for _ in 0..20 {
                janitor.sweep(&house.app).unwrap();
                house.clock.forward(HOUR_MS);
            }
            let contacts = contacts + usize::from(!is_absurd);
            assert_eq!(house.contacts().len(), contacts, "{story}");
            machine.set_right();
            house = down_for(house, 2 * HOUR_MS);
            assert!(ahead_ms(&house) < MINUTE_MS, "{story}");
            let mut janitor = Janitor::default();
            janitor.sweep(&house.app).unwrap();
            assert_eq!(house.latest_moment(), house.app.now(), "{story}");
            assert_eq!(house.contacts().len(), contacts, "{story}");
            for (person, code) in [(eva, &dead), (ana, &live)] {
                writes(&house, person, code).unwrap();
                assert!(!house.is_bound(person), "{story}");
            }
            house.sign_in(dora, "dora@example.com");
        }
    }
}

/// For how long the records of [`with_all_kinds`] have still to be kept, but those of marks, which
/// are kept for a day.
const LEFT_MS: u64 = 30 * HOUR_MS;

/// A house with records of each kind that ends by itself, some of which have not long to be kept.
fn with_all_kinds() -> (House, Arc<WrongMachine>) {
    let house = House::on_the_web(House::both_ways_in()).telling();
    let end = house.clock.now().plus_ms(180 * DAY_MS);
    let mut signed_in = None;
    for (round, days) in [180, 100, 30, 9, 7, 2].into_iter().enumerate() {
        let at = end.minus_ms(days * DAY_MS).plus_ms(LEFT_MS);
        house.clock.forward(at.since_ms(house.clock.now()));
        let (two, address) = (2 * round as u8, format!("n{round}@example.com"));
        let (one, other) = (person(two), person(two + 1));
        house.register("kutamma", &address, "Ana", "Acme");
        house.sign_in(&one, &address);
        house.world.change(|outside| {
            outside.bot = Takes::Not(failure(FailureKind::Permanent, "no"));
        });
        house.ask(&one, "given up");
        house.world.change(|outside| outside.bot = Takes::It);
        house.new_link(&other);
        signed_in = Some(house.contact(&one).id);
    }
    house.clock.forward(end.since_ms(house.clock.now()));
    let once = Once {
        key: "mark".to_owned(),
        request: [7; 32],
    };
    let wish = Wish::Link { send: true };
    house
        .app
        .grant("office", signed_in.unwrap(), wish, Some(once))
        .unwrap();
    house.settle();
    let mut janitor = Janitor::default();
    // Each sweep goes on where the one before has ended.
    let mut nothing = 0;
    while nothing < 5 {
        nothing = match janitor.sweep(&house.app).unwrap() {
            0 => nothing + 1,
            _ => 0,
        };
    }
    house.onto_a_machine(0)
}

type Names = BTreeMap<String, BTreeSet<Vec<u8>>>;

/// The names of the records in the tables whose records end by themselves.
fn records_that_end(house: &House) -> Names {
    let mut names = Names::new();
    for (table, key, _) in house.records() {
        names.entry(table).or_default().insert(key);
    }
    // What becomes of these is told by others, or they have no end.
    for table in ["Meta", "Outbox", "Body", "Key", "Alias", "Hint"] {
        names.remove(table);
    }
    names
}

/// How many records of each table are gone.
fn gone(before: &Names, after: &Names) -> BTreeMap<String, usize> {
    let none = BTreeSet::new();
    let missing = |(table, keys): (&String, &BTreeSet<Vec<u8>>)| {
        let left = after.get(table).unwrap_or(&none);
        let count = keys.difference(left).count();
        (count > 0).then(|| (table.clone(), count))
    };
    before.iter().filter_map(missing).collect()
}

/// R-60, P9: no record of any kind goes before its time, whatever becomes of the clock; and all of
/// them go when it has come, by a clock that is right.
#[test]
fn whatever_becomes_of_the_clock_every_record_is_kept_until_its_time() {
    for mishap in MISHAPS {
        for is_down in [false, true] {
            let story = format!("{mishap:?}, down: {is_down}");
            let (mut house, machine) = with_all_kinds();
            let before = records_that_end(&house);
            let mut janitor = Janitor::default();
            janitor.sweep(&house.app).unwrap();
            if is_down {
                house.app.note_time().unwrap();
                mishap.befall(&machine);
                house.clock.forward(HOUR_MS);
                house = house.restarted();
                janitor = Janitor::default();
            } else {
                mishap.befall(&machine);
            }
            // So long that a sweep by a clock that is doubted would be seen, and no other one.
            let (hours, is_doubted) = match mishap {
                Mishap::Set(ms) if ms > HOUR => (22, true),
                Mishap::RunsFast(percent) if percent > 0 => (33, true),
                Mishap::Set(_) | Mishap::RunsFast(_) => (20, false),
            };
            for _ in 0..hours {
                house.clock.forward(HOUR_MS);
                janitor.sweep(&house.app).unwrap();
            }
            assert_eq!(
                gone(&before, &records_that_end(&house)),
                BTreeMap::new(),
                "{story}"
            );
            if is_doubted {
                assert!(
                    house.app.now().since_ms(house.latest_moment()) > LEFT_MS - 12 * HOUR_MS,
                    "{story}"
                );
                let refused = house.app.remove_what_is_old();
                assert!(matches!(refused, Err(Failed::ClockInDoubt)), "{story}");
            } else {
                assert_eq!(house.latest_moment(), house.app.now(), "{story}");
            }

            machine.set_right();
            house = down_for(house, 2 * HOUR_MS);
            let mut janitor = Janitor::default();
            for _ in 0..48 {
                house.clock.forward(HOUR_MS);
                janitor.sweep(&house.app).unwrap();
            }
            let gone = gone(&before, &records_that_end(&house));
            let kinds: Vec<&str> = gone.keys().map(String::as_str).collect();
            assert_eq!(
                kinds,
                [
                    "Asked", "Audit", "Budget", "Contact", "Dead", "Event", "Handle", "Seen",
                    "Sent", "Tally"
                ],
                "{story}: {gone:?}"
            );
        }
    }
}

/// R-60, P1, P2: Meta repeats for a week, so that nothing is older but by a clock that is wrong. By
/// one that is doubted such a message is not acknowledged, at no moment, and has its effect once when
/// the clock is right.
#[test]
fn a_message_that_only_a_wrong_clock_calls_old_comes_again_and_has_its_effect_once() {
    for ahead in [9 * DAY, 3_652 * DAY] {
        for is_down in [false, true] {
            let (mut house, machine) = House::on_a_machine();
            let ana = person(1);
            house.register("kutamma", "ana@example.com", "Ana", "Acme");
            house.sign_in(&ana, "ana@example.com");
            let handed_on = house.handed_on().len();
            house.app.note_time().unwrap();
            machine.set_ahead(ahead);
            if is_down {
                house = house.restarted();
            }
            let message = house.text(&ana, "¿dónde está mi pedido?");
            let change = WebhookItem::IdentityChanged(IdentityChanged {
                id: house.text(&ana, "").id,
                at: house.clock.now(),
                before: person(2).sender(),
            });
            let before = house.records();
            let mut janitor = Janitor::default();
            // Before anybody has swept, and after.
            for _ in 0..3 {
                let items = vec![change.clone(), WebhookItem::Message(message.clone())];
                let received = house.receive_all(items);
                assert!(matches!(received, Err(Failed::ClockInDoubt)));
                let received = house.receive_all(vec![change.clone()]);
                assert!(matches!(received, Err(Failed::ClockInDoubt)));
                if house.latest_moment() == house.app.now() {
                    panic!("the clock was believed");
                }
                house.settle();
                house.clock.forward(HOUR_MS);
                janitor.sweep(&house.app).unwrap();
            }
            let after = house.records();
            let of_people = |records: &[(String, Vec<u8>, Vec<u8>)]| {
                let all = records.iter().filter(|(table, ..)| table != "Meta");
                all.cloned().collect::<Vec<_>>()
            };
            assert_eq!(of_people(&before), of_people(&after));
            // A clock that was set by more than a week is followed back at once.
            machine.set_right();
            if is_down {
                house = house.restarted();
            }
            let received = house.receive(message.clone()).unwrap();
            assert_eq!((received.outcomes.len(), received.repeated), (1, 0));
            for _ in 0..3 {
                assert_eq!(house.receive(message.clone()).unwrap().repeated, 1);
                house.later(DAY_MS);
                janitor.sweep(&house.app).unwrap();
            }
            assert_eq!(house.handed_on().len(), handed_on + 1);
            assert!(house.is_bound(&ana));
        }
    }
}

/// Takes the message, which has its effect now and never again.
fn takes_once(house: &House, person: &Person) -> Inbound {
    let message = house.text(person, "hola");
    let received = house.receive(message.clone()).unwrap();
    assert_eq!((received.outcomes.len(), received.repeated), (1, 0));
    assert_eq!(house.receive(message.clone()).unwrap().repeated, 1);
    message
}

/// All of these had their effect, and have none again.
fn repeat(house: &House, taken: &[Inbound]) {
    for message in taken {
        assert_eq!(house.receive(message.clone()).unwrap().repeated, 1);
    }
}

/// R-60, P1, P2: a wrong clock that nobody sets right is believed after a day, and takes what it calls
/// old. No message is lost even then, none has its effect twice; and once the clock is right, what it
/// showed is forgotten.
#[test]
fn a_wrong_clock_that_is_believed_loses_no_message_and_lets_none_have_its_effect_twice() {
    let (mut house, machine) = House::on_a_machine();
    let ana = person(1);
    let mut janitor = Janitor::default();
    janitor.sweep(&house.app).unwrap();
    let mut taken = vec![takes_once(&house, &ana)];
    // Within the hour of what was taken last.
    house.clock.forward(2_000);
    machine.set_ahead(300 * DAY);
    let refused = house.text(&ana, "hola");
    for _ in 0..24 {
        let received = house.receive(refused.clone());
        assert!(matches!(received, Err(Failed::ClockInDoubt)));
        janitor.sweep(&house.app).unwrap();
        house.clock.forward(HOUR_MS);
    }
    assert_eq!(house.contacts().len(), 1);
    janitor.sweep(&house.app).unwrap();
    assert_eq!(house.contacts().len(), 0, "a day is enough");
    assert_eq!(house.latest_moment(), house.app.now());
    let received = house.receive(refused.clone()).unwrap();
    assert_eq!((received.outcomes.len(), received.repeated), (1, 0));
    taken.push(refused);
    for _ in 0..3 {
        taken.push(takes_once(&house, &ana));
        janitor.sweep(&house.app).unwrap();
        repeat(&house, &taken);
        house.clock.forward(HOUR_MS);
    }

    machine.set_right();
    assert_eq!(ahead_ms(&house), 0);
    for _ in 0..26 {
        repeat(&house, &taken);
        taken.push(takes_once(&house, &ana));
        house = down_for(house, 0);
        janitor.sweep(&house.app).unwrap();
        house.clock.forward(HOUR_MS);
    }
    repeat(&house, &taken);
    // So that a clock that is set while it is down is doubted like any other.
    assert!(house.latest_moment() <= house.clock.now());
    machine.set_ahead(20 * DAY);
    house = down_for(house, HOUR_MS);
    assert!(!house.app.is_clock_believed());
}

/// R-60, P1, P2: a store that is made by a wrong clock takes what Meta sends, once, also when the
/// clock is right; and the ids that it sees from then on are forgotten in their time.
#[test]
fn a_store_that_is_made_by_a_wrong_clock_loses_no_message_and_lets_none_have_its_effect_twice() {
    let (mut house, machine) = House::in_memory().onto_a_machine(3_652 * DAY);
    let ana = person(1);
    let mut janitor = Janitor::default();
    let mut taken = Vec::new();
    for _ in 0..5 {
        taken.push(takes_once(&house, &ana));
        janitor.sweep(&house.app).unwrap();
        repeat(&house, &taken);
        house.clock.forward(HOUR_MS);
    }
    machine.set_right();
    house = down_for(house, HOUR_MS);
    assert_eq!(ahead_ms(&house), 0);
    let of_wrong_clock = taken.len();
    for _ in 0..30 {
        repeat(&house, &taken);
        taken.push(takes_once(&house, &ana));
        janitor.sweep(&house.app).unwrap();
        house.clock.forward(HOUR_MS);
    }
    house.clock.forward(10 * DAY_MS);
    janitor.sweep(&house.app).unwrap();
    assert_eq!(records_that_end(&house)["Seen"].len(), of_wrong_clock);
    repeat(&house, &taken);
}

/// a doubt that was settled says nothing about the next one, and one that was not is no credit
/// for another clock.
#[test]
fn a_clock_that_is_set_once_more_is_doubted_for_another_day() {
    for is_settled in [true, false] {
        for is_down in [true, false] {
            let story = format!("settled: {is_settled}, down: {is_down}");
            let (house, machine) = House::on_a_machine();
            let mut house = down_for(house, 10 * DAY_MS);
            let mut janitor = Janitor::default();
            for _ in 0..if is_settled { 25 } else { 20 } {
                janitor.sweep(&house.app).unwrap();
                house.clock.forward(HOUR_MS);
            }
            assert_eq!(house.app.is_clock_believed(), is_settled, "{story}");
            let latest = house.latest_moment();
            machine.set_ahead(15 * DAY);
            if is_down {
                house = down_for(house, HOUR_MS);
            }
            for _ in 0..23 {
                assert!(!house.app.is_clock_believed(), "{story}");
                janitor.sweep(&house.app).unwrap();
                house.clock.forward(HOUR_MS);
            }
            // Up to an hour may have passed before it was noticed.
            let noted = house.latest_moment();
            assert!(noted.since_ms(latest) <= 2 * HOUR_MS, "{story}");
            house.clock.forward(2 * HOUR_MS);
            janitor.sweep(&house.app).unwrap();
            assert_eq!(house.latest_moment(), house.app.now(), "{story}");
        }
    }
}

/// a disk that takes no writes is noticed also while nobody writes and the clock is doubted,
/// and when it takes some again, the doubt is as old as it was, whatever ends the process then.
#[test]
fn a_full_disk_is_noticed_during_a_doubt_and_takes_nothing_from_it() {
    let (house, _) = House::on_shaky_ground().onto_a_machine(0);
    let mut house = down_for(house, 10 * DAY_MS);
    let mut janitor = Janitor::default();
    for _ in 0..20 {
        janitor.sweep(&house.app).unwrap();
        house.clock.forward(HOUR_MS);
    }
    assert!(house.app.takes_writes());
    house.shaky().set_full(true);
    assert!(janitor.sweep(&house.app).is_err());
    for _ in 0..2 {
        assert!(!house.app.takes_writes());
        house.app.try_to_write_again();
    }
    house.shaky().set_full(false);
    house.app.try_to_write_again();
    assert!(house.app.takes_writes());

    house = house.restarted();
    for _ in 0..4 {
        assert!(!house.app.is_clock_believed());
        janitor.sweep(&house.app).unwrap();
        house.clock.forward(HOUR_MS);
    }
    assert!(house.app.is_clock_believed());
}

/// somebody sets the clock wrong for an hour, and right again, but does not restart Portero:
/// what it took for the time meanwhile is never believed. After the restart all goes on at once.
#[test]
fn a_clock_that_was_wrong_for_an_hour_leaves_nothing_behind() {
    let (mut house, machine) = House::on_a_machine();
    let bea = person(1);
    house.register("kutamma", "bea@example.com", "Bea", "Acme");
    house.sign_in(&bea, "bea@example.com");
    let mut janitor = Janitor::default();
    janitor.sweep(&house.app).unwrap();
    machine.set_ahead(3 * DAY);
    house.world.change(|outside| {
        outside.bot = Takes::Not(Failure::temporary("later"));
    });
    writes(&house, &bea, "¿dónde está mi pedido?").unwrap();
    janitor.sweep(&house.app).unwrap();
    house.later(HOUR_MS);
    machine.set_right();
    let said = logged(|| {
        for _ in 0..30 {
            janitor.sweep(&house.app).unwrap();
            assert!(house.latest_moment() <= house.clock.now());
            house.clock.forward(HOUR_MS);
        }
    });
    assert!(!house.app.is_clock_believed());
    // And nothing but that restart is asked of anybody.
    assert_eq!(said.matches("restart Portero once it is right").count(), 30);
    assert!(!said.contains(BEHIND), "{said}");
    house = down_for(house, MINUTE_MS);
    assert_eq!(ahead_ms(&house), 0);
    // What was begun by the wrong clock does not wait until that moment comes.
    house.world.change(|outside| outside.bot = Takes::It);
    let handed_on = house.handed_on().len();
    house.later(2 * MINUTE_MS);
    assert_eq!(house.handed_on().len(), handed_on + 1);
    house.sign_in(&bea, "bea@example.com");
}

const BEHIND: &str = "the clock of this machine is behind the time that Portero goes by";

/// a clock that was ahead for a while, by so little that nobody doubted it, leaves the time of
/// Portero ahead when it is right again. It is said once an hour, and what is said helps.
#[test]
fn a_clock_that_is_behind_the_time_of_portero_is_said_with_what_helps() {
    const AHEAD_MS: u64 = 25 * MINUTE_MS;
    let (house, machine) = House::on_a_machine();
    let ana = person(1);
    house.register("kutamma", "ana@example.com", "Ana", "Acme");
    let mut janitor = Janitor::default();
    let mut said = |house: &House| {
        logged(|| {
            for _ in 0..3 {
                janitor.sweep(&house.app).unwrap();
            }
        })
    };
    assert!(!said(&house).contains(BEHIND));
    machine.set_ahead(AHEAD_MS as i64);
    assert!(!said(&house).contains(BEHIND));
    machine.set_right();
    for _ in 0..2 {
        let said = said(&house);
        assert_eq!(said.matches(BEHIND).count(), 1, "{said}");
        assert!(said.contains("minutes=25"), "{said}");
        house.clock.forward(HOUR_MS);
    }
    assert_eq!(ahead_ms(&house), AHEAD_MS);
    house.app.note_time().unwrap();

    let house = down_for(house, AHEAD_MS);
    assert_eq!(ahead_ms(&house), 0);
    assert!(!said(&house).contains(BEHIND));
    house.sign_in(&ana, "ana@example.com");
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
    let mut janitor = Janitor::default();
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
pub fn library() -> &'static Path {
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

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = self.world.command(arguments);
        command.args(["--config", "portero.toml"]);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.output().unwrap()
    }

    /// What is in the store.
    fn copied(&self, name: &str) -> Copied {
        let output = self.command(&["backup", name]);
        assert!(output.status.success(), "{output:?}");
        Copied::of(&self.world.path(name))
    }

    /// What is in the first snapshot: the sweeper makes it when it has swept, or has refused to.
    fn swept(&self) -> Copied {
        let made = eventually("a sweep", || {
            let folder = fs::read_dir(self.world.path("snapshots")).ok()?;
            let mut files = folder.map(|entry| entry.unwrap().path());
            files.find(|path| path.extension().is_some_and(|of| of == "redb"))
        });
        Copied::of(&made)
    }
}

/// The records of a copy, by table, and what they say about the clock.
struct Copied {
    names: Names,
    latest: Timestamp,
    is_doubted: bool,
}

impl Copied {
    fn of(path: &Path) -> Copied {
        let key = MasterKey::from_hex(STORE_KEY).unwrap();
        let engine = Redb::open(path, Options::default()).unwrap();
        let store = Sealed::open(Arc::new(engine), &key).unwrap();
        let mut names = Names::new();
        let told = store.view(|reader| {
            for table in Table::ALL.into_iter().filter(|of| *of != Table::Format) {
                let keys = names.entry(format!("{table:?}")).or_default();
                reader.scan(table, KeyRange::all(), Order::Forward, &mut |key, _| {
                    keys.insert(key.to_vec());
                    ControlFlow::Continue(())
                })?;
            }
            Ok((
                record::latest_moment(reader)?,
                record::clock_doubt(reader)?.is_some(),
            ))
        });
        let (latest, is_doubted) = told.unwrap();
        for table in ["Meta", "Outbox", "Body"] {
            names.remove(table);
        }
        Copied {
            names,
            latest,
            is_doubted,
        }
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

/// S-15: a process that is killed as soon as it lets people in has noted when that was.
#[test]
fn the_time_is_noted_before_anybody_is_let_in() {
    let world = World::without_mail();
    let begun = Timestamp(unix_seconds() * SECOND_MS);
    world.start().kill();
    assert!(Copied::of(&world.path("portero.redb")).latest >= begun);
}

/// the clock of a running program is set, while people write as ever. It takes nothing from its
/// store; when the clock was set ahead by much it says so, sweeps nothing, also for an operator, and
/// acknowledges nothing that looks older than a week.
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
                let before = clocked.copied("before.redb");
                clocked.set_ahead(ahead);
                let (is_doubted, is_absurd) = (ahead > 3_600, ahead > 8 * DAY_SECONDS);
                // At once, before anybody has swept.
                let second = webhook(&[text(ana, "cancelar")]);
                let taken = portero.post_webhook(&second).status;
                assert_eq!(taken, if is_absurd { 503 } else { 200 }, "{ahead}");

                let swept = clocked.swept();
                assert_eq!(
                    gone(&before.names, &swept.names),
                    BTreeMap::new(),
                    "{ahead}"
                );
                let is_noted = swept.latest > before.latest;
                assert_eq!(
                    (swept.is_doubted, is_noted),
                    (is_doubted, !is_doubted),
                    "{ahead}"
                );
                assert_eq!(portero.log().contains(ALARM), is_doubted, "{ahead}");
                let output = clocked.command(&["retention", "run"]);
                let refused = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.success(), !is_doubted, "{ahead}: {refused}");
                let says_why = refused.contains("the clock of this machine is not believed");
                assert_eq!(says_why, is_doubted, "{ahead}: {refused}");
                let after = clocked.copied("after.redb");
                assert_eq!(
                    gone(&before.names, &after.names),
                    BTreeMap::new(),
                    "{ahead}"
                );

                // It had its effect, or has it now that the clock is right, and once.
                clocked.set_ahead(0);
                assert_eq!(portero.post_webhook(&second).status, 200, "{ahead}");
                if is_absurd || ahead < 0 {
                    world
                        .graph
                        .assert_received(ana, &[NOT_SIGNED_IN, CANCELLED]);
                }
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

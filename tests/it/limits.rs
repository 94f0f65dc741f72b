//! The rows of the threat model that the core answers for, by their numbers.

use super::flags::{cycles, flag};
use super::house::{House, Left, Person, START, Takes, failure, other_than, said_in, server_error};
use portero::app::{Clock, Janitor, SystemClock};
use portero::domain::contact::Stage;
use portero::domain::delivery::Recipient;
use portero::domain::failure::FailureKind;
use portero::domain::id::{Bsuid, EmailAddress, IdentityKey, MessageId, WaId};
use portero::domain::message::{
    Content, IdentityChanged, Inbound, Provenance, Sender, Status, StatusUpdate, WebhookItem,
};
use portero::domain::policy::Policy;
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use std::sync::atomic::Ordering;

const ANA: &str = "ana@example.com";

fn house() -> House {
    with_ana(House::in_memory())
}

fn with_ana(house: House) -> House {
    house.register("kutamma", ANA, "Ana Pérez", "Acme");
    house
}

fn person(number: u32) -> Person {
    Person::with_number(&format!("57300{:07}", 1_000_000 + number))
}

fn hidden(number: u64) -> Person {
    Person {
        bsuid: Some(Bsuid::parse(&format!("CO.{}", 13_491_208_655_302_741_918 + number)).unwrap()),
        ..Person::default()
    }
}

/// Asks for a code of the address and returns it.
fn code_for(house: &House, person: &Person, address: &str) -> String {
    house.ask(person, address);
    house.code()
}

// --- the front: once, in time, from this chat ---------------------------------------------------

#[test]
fn s_03_the_same_message_a_thousand_times_has_one_effect() {
    let house = with_ana(House::on_file());
    let message = house.text(&person(1), "hola");
    let repeated: usize = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..50)
            .map(|_| {
                scope.spawn(|| {
                    (0..20)
                        .map(|_| house.receive(message.clone()).unwrap().repeated)
                        .sum::<usize>()
                })
            })
            .collect();
        senders.into_iter().map(|s| s.join().unwrap()).sum()
    });
    house.settle();
    assert_eq!(repeated, 999);
    assert_eq!(house.said().len(), 1);
    assert_eq!(house.contacts().len(), 1);
    assert_eq!(house.app.outcomes()["asked"], 1);
}

/// ten thousand messages or `PORTERO_MESSAGES`, each of them one to five times and by several at
/// once.
#[test]
fn r_10_messages_that_come_up_to_five_times_at_once_have_one_effect_each() {
    const PEOPLE: usize = 500;
    let each = flag("PORTERO_MESSAGES").unwrap_or(10_000) / PEOPLE;
    let house = house();
    let messages: Vec<Inbound> = (0..each)
        .flat_map(|_| (0..PEOPLE as u32).map(|number| house.text(&person(number), "hola")))
        .collect();
    let copies = |at: usize| 1 + at % 5;
    let (effects, repeated) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..5)
            .map(|sender| {
                let (house, messages) = (&house, &messages);
                scope.spawn(move || {
                    let (mut effects, mut repeated) = (0, 0);
                    for (at, message) in messages.iter().enumerate() {
                        if sender < copies(at) {
                            let received = house.receive(message.clone()).unwrap();
                            effects += received.outcomes.len();
                            repeated += received.repeated;
                        }
                    }
                    (effects, repeated)
                })
            })
            .collect();
        (senders.into_iter())
            .map(|sender| sender.join().unwrap())
            .fold((0, 0), |(effects, repeated), more| {
                (effects + more.0, repeated + more.1)
            })
    });
    let count = each * PEOPLE;
    assert_eq!(effects, count);
    assert_eq!(repeated, (0..count).map(copies).sum::<usize>() - count);
    assert_eq!(house.contacts().len(), PEOPLE);
}

#[test]
fn s_04_a_captured_message_does_nothing_days_later() {
    let house = house();
    let ana = person(1);
    let code = code_for(&house, &ana, ANA);
    let captured = house.text(&ana, &code);
    house.receive(captured.clone()).unwrap();
    assert!(house.is_bound(&ana));
    house.write(&ana, "cerrar sesión");
    house.settle();
    let left = house.left().len();
    for days in [1, 6, 1, 1, 1, 10] {
        house.clock.forward(days * DAY_MS);
        // What is remembered of it is forgotten in time; its age speaks from then on.
        Janitor::default().sweep(&house.app).unwrap();
        let received = house.receive(captured.clone()).unwrap();
        house.settle();
        assert_eq!((received.repeated, house.left().len()), (1, left));
    }
    assert!(house.contacts().iter().all(|contact| !contact.is_bound()));
}

/// Meta tries for seven days to deliver what was not taken (its contract, section 1.4); what came from
/// others meanwhile must not be forgotten sooner, for it tells what is older from what is new.
#[test]
fn s_03_a_message_that_comes_after_seven_days_of_trying_is_taken_once() {
    let house = house();
    let message = house.text(&person(1), "hola");
    house.clock.forward(MINUTE_MS);
    house.write(&person(2), "hola");
    house.clock.forward(7 * DAY_MS);
    for repeated in [0, 1] {
        Janitor::default().sweep(&house.app).unwrap();
        assert_eq!(house.receive(message.clone()).unwrap().repeated, repeated);
    }
}

/// What was sent in the seconds before the first start was remembered by its age, and looked for
/// nine days later among what is never forgotten: it took effect once more.
#[test]
fn s_04_a_message_from_just_before_the_first_start_takes_effect_once_for_ever() {
    let house = house();
    let message = Inbound {
        sent_at: START.minus_ms(MINUTE_MS),
        ..house.text(&person(1), "hola")
    };
    assert_eq!(house.receive(message.clone()).unwrap().repeated, 0);
    for days in [0, 7, 2, 1, 30] {
        house.clock.forward(days * DAY_MS);
        Janitor::default().sweep(&house.app).unwrap();
        assert_eq!(house.receive(message.clone()).unwrap().repeated, 1);
    }
}

#[test]
fn s_05_in_whatever_order_and_how_often_messages_come_only_the_code_after_its_mail_binds() {
    let mut orders = Vec::new();
    permutations(&mut [0, 1, 2, 3, 4], 0, &mut orders);
    assert_eq!(orders.len(), 120);
    for order in orders {
        let house = house();
        let ana = person(1);
        let (mut awaited, mut must_be_bound) = (None, false);
        for event in &order {
            house.clock.forward(61 * SECOND_MS);
            let mails_before = house.mails().len();
            let text = match event {
                0 => "hola".to_owned(),
                1 => ANA.to_owned(),
                2 => awaited.clone().unwrap_or_else(|| "12345678".to_owned()),
                3 => "reenviar".to_owned(),
                _ => {
                    if let Some(said) = house.said().last() {
                        house.status(said, Status::Read);
                        house.status(said, Status::Delivered);
                    }
                    continue;
                }
            };
            must_be_bound |= *event == 2 && awaited.is_some();
            let message = house.text(&ana, &text);
            for _ in 0..3 {
                house.receive(message.clone()).unwrap();
                house.settle();
            }
            if house.mails().len() > mails_before {
                awaited = Some(house.code());
            }
        }
        assert_eq!(house.is_bound(&ana), must_be_bound, "{order:?}");
        assert_eq!(house.audited("contact.bound"), usize::from(must_be_bound));
    }
}

fn permutations(events: &mut [u8; 5], from: usize, found: &mut Vec<[u8; 5]>) {
    if from == events.len() {
        found.push(*events);
        return;
    }
    for place in from..events.len() {
        events.swap(from, place);
        permutations(events, from + 1, found);
        events.swap(from, place);
    }
}

#[test]
fn s_07_the_right_code_counts_only_as_text_typed_in_this_chat() {
    let variants: [fn(Inbound, &str) -> Inbound; 6] = [
        |message, _| Inbound {
            provenance: Provenance::Forwarded,
            ..message
        },
        |message, _| Inbound {
            provenance: Provenance::Group,
            ..message
        },
        |message, code| Inbound {
            content: Content::Button { id: code.into() },
            ..message
        },
        |message, code| Inbound {
            content: Content::Button {
                id: format!("portero:resend:{code}"),
            },
            ..message
        },
        |message, _| Inbound {
            content: Content::Other("image"),
            ..message
        },
        |message, _| Inbound {
            content: Content::Other("edit"),
            ..message
        },
    ];
    for (place, variant) in variants.iter().enumerate() {
        let house = house();
        let ana = person(1);
        let code = code_for(&house, &ana, ANA);
        house.clock.forward(10 * SECOND_MS);
        house
            .receive(variant(house.text(&ana, &code), &code))
            .unwrap();
        house.settle();
        assert!(!house.is_bound(&ana), "variant {place}");
        // Refused and still pending; only the forwarded one was a try.
        let tried = house.contact(&ana).failures.moments().len();
        assert_eq!(tried, usize::from(place == 0), "variant {place}");
        house.ask(&ana, &code);
        assert!(house.is_bound(&ana), "variant {place}");
    }
}

// --- guessing -----------------------------------------------------------------------------------

#[test]
fn s_10_after_five_wrong_codes_the_right_one_is_refused_in_the_same_words() {
    let house = house();
    let ana = person(1);
    let code = code_for(&house, &ana, ANA);
    let last = (0..5)
        .map(|_| house.ask(&ana, &other_than(&code)))
        .last()
        .unwrap();
    let said = house.ask(&ana, &code);
    assert_eq!(said, last);
    assert!(!house.is_bound(&ana));
}

#[test]
fn s_11_of_five_hundred_guesses_at_once_five_are_looked_at() {
    let house = with_ana(House::on_file());
    for run in 0..4 {
        let ana = person(run);
        let before = house.audited("code.wrong");
        let code = code_for(&house, &ana, ANA);
        // The right one is among them, at another place in each run.
        let right = (run as usize * 131) % 500;
        let guesses: Vec<Inbound> = (0..500)
            .map(|place| {
                let wrong = format!("{:08}", (place + 1) * 199_933 % 100_000_000);
                house.text(&ana, if place == right { &code } else { &wrong })
            })
            .collect();
        std::thread::scope(|scope| {
            for guess in &guesses {
                scope.spawn(|| house.receive(guess.clone()).unwrap());
            }
        });
        let wrong = house.audited("code.wrong") - before;
        let bound = house.is_bound(&ana);
        assert!(
            wrong + usize::from(bound) <= 5,
            "{wrong} wrong, bound: {bound}"
        );
        assert!(bound || wrong == 5, "{wrong} wrong, bound: {bound}");
        house.clock.forward(DAY_MS);
    }
}

/// S-12, R-12.
#[test]
fn s_12_the_right_code_a_hundred_times_at_once_binds_once() {
    let runs = cycles(30);
    let house = with_ana(House::on_file());
    for run in 0..runs as u32 {
        let ana = person(run);
        house.ask(&ana, "hola");
        let code = code_for(&house, &ana, ANA);
        let messages: Vec<Inbound> = (0..100).map(|_| house.text(&ana, &code)).collect();
        let bound: usize = std::thread::scope(|scope| {
            let senders: Vec<_> = messages
                .iter()
                .map(|message| scope.spawn(|| house.receive(message.clone()).unwrap()))
                .collect();
            let received = senders.into_iter().map(|s| s.join().unwrap());
            received
                .filter(|received| received.outcomes == ["bound"])
                .count()
        });
        house.settle();
        assert_eq!(bound, 1, "run {run}");
        let said = house.said_to(&ana);
        assert_eq!(said.len(), 3, "run {run}: {said:?}");
        house.clock.forward(DAY_MS);
    }
    assert_eq!(house.audited("contact.bound"), runs);
    // The message that waited, once each; the repeated codes are nobody's business.
    assert_eq!(house.handed_on(), vec![Some("hola".into()); runs]);
}

/// Types wrong codes and asks for new ones until no code is to be had any more; `between` happens
/// before each new code. Returns the house and the number of guesses that were looked at.
fn guess_on(
    mut house: House,
    between: impl Fn(House) -> House,
    who: impl Fn(usize) -> Person,
    address: impl Fn(usize) -> &'static str,
) -> (House, usize) {
    for round in 0..12 {
        let person = who(round);
        house.clock.forward(61 * SECOND_MS);
        house.ask(&person, address(round));
        for _ in 0..4 {
            let wrong = other_than(&house.code());
            house.ask(&person, &wrong);
        }
        house = between(house);
        house.clock.forward(12 * MINUTE_MS);
    }
    let looked_at = house.audited("code.wrong");
    (house, looked_at)
}

#[test]
fn s_13_neither_another_code_nor_a_restart_nor_another_spelling_nor_another_chat_gives_more_tries()
{
    let same = |_: usize| person(1);
    let ana = |_: usize| ANA;
    let spelled = |round: usize| [ANA, "ANA@example.com", "Ana@EXAMPLE.com"][round % 3];
    let (house, looked_at) = guess_on(house(), |house| house, same, ana);
    assert_eq!(looked_at, 10, "another code");
    let locked = house.ask(&person(1), ANA);
    assert!(locked[0].starts_with("Hubo demasiados códigos equivocados."));

    let (_, looked_at) = guess_on(with_ana(House::on_file()), House::restarted, same, ana);
    assert_eq!(looked_at, 10, "a restart");
    let (_, looked_at) = guess_on(self::house(), |house| house, same, spelled);
    assert_eq!(looked_at, 10, "another spelling");
    let five = |round: usize| person(round as u32 % 5);
    let (house, looked_at) = guess_on(self::house(), |house| house, five, ana);
    assert_eq!(looked_at, 10, "another chat");

    // A day later the address is free again, for its owner, too.
    house.clock.forward(DAY_MS);
    house.sign_in(&person(99), ANA);
}

#[test]
fn s_13_an_address_typed_while_a_binding_ends_keeps_its_counts() {
    let house = house();
    house.register("woku", "eva@example.com", "Eva", "Evil");
    // Ten wrong codes for Ana's address lock it.
    for round in 0..2 {
        let person = person(round);
        let code = code_for(&house, &person, ANA);
        for _ in 0..5 {
            house.ask(&person, &other_than(&code));
        }
    }
    let mut eva = person(7);
    eva.key = IdentityKey::parse("first").ok();
    house.sign_in(&eva, "eva@example.com");
    eva.key = IdentityKey::parse("second").ok();
    let said = house.ask(&eva, ANA);
    assert!(said[0].starts_with("Hubo demasiados"), "{said:?}");
}

#[test]
fn s_14_an_old_code_is_wrong_and_counted() {
    let house = house();
    let ana = person(1);
    let old = code_for(&house, &ana, ANA);
    house.clock.forward(MINUTE_MS);
    house.ask(&ana, "reenviar");
    assert_ne!(house.code(), old);
    house.ask(&ana, &old);
    assert!(!house.is_bound(&ana));
    assert_eq!(house.contact(&ana).failures.moments().len(), 1);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn s_15_a_code_is_good_until_its_last_millisecond_and_not_longer() {
    for (age_ms, is_good) in [(10 * MINUTE_MS - 1, true), (10 * MINUTE_MS, false)] {
        let house = house();
        let ana = person(1);
        house.write(&ana, ANA);
        house.settle();
        house.clock.forward(age_ms);
        house.write(&ana, &house.code());
        house.settle();
        assert_eq!(house.is_bound(&ana), is_good, "after {age_ms} ms");
        let expired = house.said_to(&ana)[1].starts_with("Ese código ya venció");
        assert_ne!(expired, is_good, "after {age_ms} ms");
    }
}

#[test]
fn s_15_the_clock_of_the_machine_does_not_go_back_behind_an_earlier_run() {
    let wall = SystemClock::new(Timestamp(0)).now();
    let hour_ahead = wall.plus_ms(HOUR_MS);
    let clock = SystemClock::new(hour_ahead);
    assert!(clock.now() >= hour_ahead);
    assert!(clock.now() < hour_ahead.plus_ms(HOUR_MS));
    // Absurdly far ahead it was that run whose clock was wrong.
    let clock = SystemClock::new(wall.plus_ms(3_650 * DAY_MS));
    assert!(clock.now() < wall.plus_ms(HOUR_MS));
}

/// A clock that is years ahead makes everything look old. The day's grace is for whoever reads the
/// alarm; a clock that is still there afterwards is the right one.
#[test]
fn r_60_a_clock_that_was_set_takes_nothing_from_the_store_for_a_day() {
    let mut janitor = Janitor::default();
    let house = house();
    let ana = person(1);
    house.sign_in(&ana, ANA);
    janitor.sweep(&house.app).unwrap();
    house.clock.leap(3_652 * DAY_MS);
    for _ in 0..24 {
        assert_eq!(janitor.sweep(&house.app).unwrap(), 0);
        house.clock.forward(HOUR_MS - 1);
    }
    assert_eq!(house.contacts().len(), 1);
    assert!(house.latest_moment() < house.app.now().minus_ms(3_000 * DAY_MS));
    // Nor does a process that begins then believe it, whatever the one before it noted at its end.
    house.app.note_time().unwrap();
    let house = house.restarted();
    let mut other = Janitor::default();
    assert_eq!(other.sweep(&house.app).unwrap(), 0);
    assert_eq!(house.contacts().len(), 1);
    house.clock.forward(DAY_MS);
    other.sweep(&house.app).unwrap();
    assert_eq!(house.contacts().len(), 0, "a day is enough");
}

#[test]
fn r_60_a_clock_that_was_set_is_believed_after_a_day_and_one_that_runs_a_little_fast_at_once() {
    let mut janitor = Janitor::default();
    let house = house();
    house.sign_in(&person(1), ANA);
    janitor.sweep(&house.app).unwrap();
    house.clock.leap(HOUR_MS);
    house.clock.forward(8 * DAY_MS);
    assert!(
        janitor.sweep(&house.app).unwrap() > 0,
        "sent messages are old"
    );
    house.clock.leap(200 * DAY_MS);
    assert_eq!(janitor.sweep(&house.app).unwrap(), 0);
    house.clock.forward(DAY_MS - 1);
    assert_eq!(janitor.sweep(&house.app).unwrap(), 0);
    house.clock.forward(1);
    assert!(janitor.sweep(&house.app).unwrap() > 0);
    assert_eq!(house.contacts().len(), 0);
}

/// A day of grace is not begun anew by each process, or who switches the machine off at night would
/// keep everything for ever.
#[test]
fn r_60_who_was_down_for_days_forgets_what_is_old_after_one_more_however_short_each_day_is() {
    let mut house = with_ana(House::on_file());
    house.sign_in(&person(1), ANA);
    house.app.note_time().unwrap();
    let mut swept = Vec::new();
    house.clock.forward(60 * HOUR_MS);
    for day in 0..8 {
        house = house.restarted();
        let mut janitor = Janitor::default();
        for _ in 0..8 {
            house.clock.forward(HOUR_MS);
            swept.push((day, janitor.sweep(&house.app).unwrap()));
        }
        house.app.note_time().unwrap();
        house.clock.forward(16 * HOUR_MS);
    }
    // The counters of two days ago, once it has run for 24 hours.
    let first = swept.iter().position(|(_, removed)| *removed > 0);
    assert_eq!(first, Some(23), "{swept:?}");
    // And a clock that is set on top of that is doubted for itself.
    house.clock.leap(3_652 * DAY_MS);
    house = house.restarted();
    for _ in 0..20 {
        // However short a life is.
        let mut janitor = Janitor::default();
        house.app.note_time().unwrap();
        assert_eq!(janitor.sweep(&house.app).unwrap(), 0);
        house.clock.forward(HOUR_MS);
    }
    assert_eq!(house.contacts().len(), 1);
}

#[test]
fn s_15_the_latest_moment_survives_a_restart() {
    let house = with_ana(House::on_file());
    house.clock.forward(HOUR_MS);
    let noted = house.app.now();
    house.app.note_time().unwrap();
    house.clock.set(START);
    house.app.note_time().unwrap();
    assert_eq!(house.restarted().latest_moment(), noted);
}

#[test]
fn s_16_a_code_is_good_in_the_chat_it_was_asked_from_alone() {
    let house = house();
    let (ana, eva) = (person(1), person(2));
    let anas = code_for(&house, &ana, ANA);
    let evas = code_for(&house, &eva, ANA);
    assert_ne!(anas, evas);
    house.ask(&eva, &anas);
    assert!(!house.is_bound(&eva) && !house.is_bound(&ana));
    house.ask(&ana, &anas);
    assert!(house.is_bound(&ana) && !house.is_bound(&eva));
}

#[test]
fn s_17_without_randomness_nothing_is_made_up() {
    let house = house();
    let ana = person(1);
    house.ask(&ana, "hola");
    let (left, before) = (house.left().len(), house.contact(&ana));
    let message = house.text(&ana, ANA);
    house.random.fails.store(true, Ordering::SeqCst);
    assert!(house.receive(message.clone()).is_err());
    house.settle();
    assert_eq!((house.left().len(), house.contact(&ana)), (left, before));
    // The sender repeats it once there is some again.
    house.random.fails.store(false, Ordering::SeqCst);
    house.receive(message).unwrap();
    house.settle();
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn s_18_several_codes_in_one_message_are_one_try_and_no_trick_is_a_code() {
    let house = house();
    let ana = person(1);
    let code = code_for(&house, &ana, ANA);
    let wrong = other_than(&code);
    let failures = |house: &House| house.contact(&ana).failures.moments().len();
    house.ask(&ana, &format!("{wrong} {code}"));
    house.ask(&ana, &format!("{code}, {wrong} o {code}"));
    assert_eq!((failures(&house), house.is_bound(&ana)), (2, false));
    let (front, back) = code.split_at(4);
    for trick in [
        format!("+{code}"),
        format!("{front}\u{200d}{back}"),
        format!("{front}a{back}"),
        format!("{}{code}", "x".repeat(10_000)),
        format!("{code}1"),
        format!("x{code}"),
    ] {
        house.ask(&ana, &trick);
    }
    assert_eq!((failures(&house), house.is_bound(&ana)), (2, false));
    let full_width: String = code
        .chars()
        .map(|digit| char::from_u32(digit as u32 - 0x30 + 0xff10).unwrap())
        .collect();
    house.ask(&ana, &full_width);
    assert!(house.is_bound(&ana));
}

// --- who is registered --------------------------------------------------------------------------

/// What can happen in a chat before the right code.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Says(&'static str),
    /// Taps the last button with these words.
    Taps(&'static str),
    Later(u64),
    Service(&'static str, bool),
    Mail(MailServer),
}

#[derive(Clone, Copy, Debug)]
enum MailServer {
    Works,
    Down,
    Misconfigured,
    RefusesTheMailbox,
}

#[test]
fn s_19_known_and_unknown_addresses_are_answered_with_the_same_bytes_at_the_same_moments() {
    use Doing::{Later, Mail, Says, Service, Taps};
    let ask = [Says("hola"), Says("{address}")];
    let wrong = [
        Says("00000001"),
        Says("00000002 00000003"),
        Says("00000004"),
        Says("123"),
        Says("1234567"),
        Says("00000005"),
        Says("00000006"),
        Says("00000007"),
    ];
    let again = [Later(MINUTE_MS), Says("reenviar")];
    let scripts: [Vec<Doing>; 10] = [
        [&ask[..], &wrong, &again, &wrong, &again, &wrong].concat(),
        [&ask[..], &again, &again, &again, &again, &again, &again].concat(),
        [
            &ask[..],
            &[Taps("Reenviar código"), Says("?"), Taps("Otro correo")],
            &ask,
            &[Taps("Cancelar")],
            &ask,
        ]
        .concat(),
        [
            &ask[..],
            &[
                Later(11 * MINUTE_MS),
                Says("00000001"),
                Says("hola"),
                Taps("Reenviar código"),
            ],
            &wrong,
        ]
        .concat(),
        [
            &[Service("kutamma", false), Service("woku", false)],
            &ask[..],
            &[Later(3 * MINUTE_MS)],
            &ask,
            &[
                Later(30 * SECOND_MS),
                Service("kutamma", true),
                Service("woku", true),
                Later(MINUTE_MS),
            ],
            &wrong,
        ]
        .concat(),
        [
            &[Service("woku", false)],
            &ask[..],
            &[Says("00000001"), Later(5 * MINUTE_MS)],
            &wrong,
            &again,
            &[
                Later(MINUTE_MS),
                Service("woku", true),
                Later(3 * MINUTE_MS),
            ],
            &wrong,
        ]
        .concat(),
        [
            &[Service("kutamma", false)],
            &ask[..],
            &[
                Later(30 * SECOND_MS),
                Service("kutamma", true),
                Later(11 * MINUTE_MS),
            ],
            &wrong,
            &again,
        ]
        .concat(),
        [
            &[Mail(MailServer::Down)],
            &ask[..],
            &[Says("00000001"), Later(11 * MINUTE_MS)],
            &ask,
            &[Later(MINUTE_MS), Mail(MailServer::Works), Later(MINUTE_MS)],
            &wrong,
        ]
        .concat(),
        [
            &[Mail(MailServer::Misconfigured)],
            &ask[..],
            &[Later(11 * MINUTE_MS)],
            &ask,
            &wrong,
        ]
        .concat(),
        [
            &[Mail(MailServer::RefusesTheMailbox)],
            &ask[..],
            &[Later(5 * MINUTE_MS)],
            &wrong,
            &again,
            &[Later(11 * MINUTE_MS)],
            &wrong,
        ]
        .concat(),
    ];
    for script in scripts {
        // Equal first letters, since those are shown.
        let known = heard(&script, "ana@example.com");
        let unknown = heard(&script, "ann@example.com");
        assert!(known.len() >= 5, "{script:?}");
        assert_eq!(known, unknown, "{script:?}");
    }
}

/// When, what, and with which buttons.
type Heard = (Timestamp, String, Vec<(usize, String)>);

/// Everything that the chat showed.
fn heard(script: &[Doing], address: &str) -> Vec<Heard> {
    let house = house();
    let ana = person(1);
    for doing in script {
        match doing {
            Doing::Says(text) => {
                house.ask(&ana, &text.replace("{address}", address));
            }
            Doing::Taps(title) => {
                let said = house.said();
                let mut buttons = said.iter().rev().flat_map(|said| &said.message.buttons);
                let id = buttons.find(|b| b.title == *title).unwrap().id.clone();
                house.clock.forward(10 * SECOND_MS);
                let tap = house.message(&ana, Content::Button { id });
                house.receive(tap).unwrap();
                house.settle();
            }
            Doing::Later(ms) => house.later(*ms),
            Doing::Service(name, is_up) => house.service_is_down(name, !is_up),
            Doing::Mail(server) => house.world.change(|outside| {
                outside.mail = match server {
                    MailServer::Works | MailServer::RefusesTheMailbox => Takes::It,
                    MailServer::Down => Takes::Not(server_error()),
                    MailServer::Misconfigured => {
                        Takes::Not(failure(FailureKind::Configuration, "535 wrong password"))
                    }
                };
                if let MailServer::RefusesTheMailbox = server {
                    outside.refusing = vec![EmailAddress::parse(ANA).unwrap()];
                }
            }),
        }
    }
    assert!(!house.is_bound(&ana));
    // The tag of a button is random; which buttons have the same one is not.
    let mut ids = Vec::new();
    let mut nth = |id: &str| {
        let place = ids.iter().position(|known| known == id);
        place.unwrap_or_else(|| {
            ids.push(id.to_owned());
            ids.len() - 1
        })
    };
    house
        .said()
        .into_iter()
        .map(|said| {
            let buttons = said.message.buttons.iter();
            let buttons = buttons.map(|button| (nth(&button.id), button.title.clone()));
            (said.at, said.message.body.clone(), buttons.collect())
        })
        .collect()
}

#[test]
fn s_21_a_code_goes_to_the_typed_address_alone_and_binds_its_accounts_alone() {
    // A service that answers about everybody, whoever was asked about (S-84, too).
    let house = house();
    house.register("kutamma", "boss@example.com", "The Boss", "Acme");
    house.world.change(|outside| outside.is_careless = true);
    house.ask(&person(1), "eva@example.com");
    assert_eq!(house.mails(), []);
    house.ask(&person(2), "ANA@EXAMPLE.COM");
    let to: Vec<String> = house
        .mails()
        .iter()
        .map(|mail| mail.to.as_str().into())
        .collect();
    // As the service spells it, not as it was typed.
    assert_eq!(to, [ANA]);
    house.ask(&person(2), &house.code());
    let bindings = house.contact(&person(2)).bindings;
    assert_eq!(bindings.len(), 1);
    assert_eq!(bindings[0].name, "Ana Pérez");
}

// --- what limits must not do --------------------------------------------------------------------

/// Who had somebody else ask for the same address got another code at once.
#[test]
fn s_20_two_codes_for_an_address_in_one_chat_are_a_minute_apart_whoever_else_asks() {
    let house = house();
    let asks = |who: u32, text: &str| house.write(&person(who), text);
    assert_eq!(asks(1, ANA), "code_asked");
    house.clock.forward(10 * SECOND_MS);
    assert_eq!(asks(2, ANA), "code_asked");
    house.clock.forward(10 * SECOND_MS);
    asks(1, "otro correo");
    assert_eq!(asks(1, ANA), "limited");
    house.clock.forward(40 * SECOND_MS);
    assert_eq!(asks(1, ANA), "code_asked");
}

#[test]
fn s_20_fifty_chats_cannot_flood_a_mailbox_and_hear_nothing_of_it() {
    let house = House::in_memory();
    house.register("kutamma", "victim@example.com", "Victim", "Acme");
    let (mut flooding, mut harmless) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        for chat in 0..50 {
            // In the same words each: the first letters are shown.
            let told = house.ask(&person(chat), "victim@example.com");
            if chat % 10 == 9 {
                flooding.push(told);
                harmless.push(house.ask(&person(100 + chat), &format!("v{chat}@example.com")));
            }
        }
    }
    assert_eq!(flooding, harmless);
    let hours = house.app.now().since_ms(START).div_ceil(HOUR_MS) as usize;
    let mails = house.mails_to("victim@example.com");
    assert!(
        (5..=5 * hours).contains(&mails),
        "{mails} mails in {hours} hours"
    );
    for _ in 0..20 {
        house.clock.forward(HOUR_MS);
        for chat in 0..10 {
            house.write(&person(chat), "victim@example.com");
        }
        house.settle();
    }
    assert!(house.app.now().since_ms(START) < DAY_MS);
    assert_eq!(house.mails_to("victim@example.com"), 20);
}

#[test]
fn s_23_a_locked_address_locks_nobody_out_who_is_signed_in() {
    let house = house();
    let ana = person(1);
    house.sign_in(&ana, ANA);
    for chat in 10..13 {
        let attacker = person(chat);
        house.ask(&attacker, ANA);
        for guess in 0..5 {
            house.ask(&attacker, &format!("0000000{guess}"));
        }
    }
    let locked = house.ask(&person(13), ANA);
    assert!(locked[0].starts_with("Hubo demasiados"), "{locked:?}");
    let before = house.handed_on().len();
    assert_eq!(house.ask(&ana, "¿y mi factura?"), Vec::<String>::new());
    assert!(house.is_bound(&ana));
    assert_eq!(house.handed_on().len(), before + 1);
    assert_eq!(
        house.ask(&ana, "¿quién soy?")[0],
        "Entraste como Ana Pérez (Acme, Kutamma)."
    );
}

#[test]
fn s_24_many_numbers_guessing_at_many_addresses_pause_new_sign_ins_and_nothing_else() {
    const IN_ALL: usize = 100;
    let house = with_ana(House::with_policy(Policy {
        failures_per_day_in_all: IN_ALL as u32,
        ..Policy::default()
    }));
    let ana = person(1);
    house.sign_in(&ana, ANA);
    let (mut chat, mut looked_at) = (1_000, 0);
    while looked_at < IN_ALL {
        chat += 1;
        let sprayer = person(chat);
        house.ask(&sprayer, &format!("user{chat}@example.com"));
        for guess in 0..5 {
            let outcome = house.write(&sprayer, &format!("0000000{guess}"));
            looked_at += usize::from(outcome == "code_wrong");
        }
        assert!(chat < 1_100, "the limit over everybody does not hold");
    }
    assert_eq!(house.audited("code.wrong"), IN_ALL);
    let paused = "En este momento no puedo verificar a nadie. Inténtalo más tarde, por favor.";
    assert_eq!(house.ask(&person(2), ANA), [paused]);
    let asked = house.write(&person(chat), "00000009");
    assert_eq!(asked, "limited");
    assert_eq!(house.audited("code.wrong"), IN_ALL);
    assert!(house.audited("sign_in.limited") >= 2);
    let before = house.handed_on().len();
    house.ask(&ana, "¿y mi factura?");
    assert_eq!(house.handed_on().len(), before + 1);
    house.clock.forward(DAY_MS);
    house.sign_in(&person(2), ANA);
}

#[test]
fn replies_of_an_hour_are_bounded_whatever_somebody_writes() {
    let house = House::in_memory();
    let chatterbox = person(1);
    for _ in 0..300 {
        house.ask(&chatterbox, "bla");
    }
    let hour = house.app.now().since_ms(START).div_ceil(HOUR_MS) as usize;
    assert!(
        house.said().len() <= 30 * hour,
        "{} replies",
        house.said().len()
    );
}

// --- whose phone it is --------------------------------------------------------------------------

#[test]
fn s_60_another_identity_key_ends_the_proof_and_is_told_once() {
    let house = house();
    let mut ana = person(1);
    ana.key = IdentityKey::parse("old").ok();
    house.sign_in(&ana, ANA);
    house.ask(&ana, "¿y mi factura?");
    assert_eq!(house.handed_on().len(), 2);
    ana.key = IdentityKey::parse("new").ok();
    let told = house.ask(&ana, "¿y mi factura?");
    assert!(told[0].starts_with("Tu WhatsApp parece"), "{told:?}");
    assert!(!house.is_bound(&ana));
    assert_eq!(house.handed_on().len(), 2);
    let told = house.ask(&ana, "¿y mi factura?");
    assert!(!told[0].starts_with("Tu WhatsApp parece"), "{told:?}");
    assert_eq!(house.audited("contact.released.identity_key_changed"), 1);
}

#[test]
fn s_60_a_key_that_is_seen_first_after_the_proof_is_held_against_the_next() {
    let house = house();
    let mut ana = person(1);
    house.sign_in(&ana, ANA);
    for (key, is_bound) in [("first", true), ("first", true), ("second", false)] {
        ana.key = IdentityKey::parse(key).ok();
        house.ask(&ana, "hola");
        assert_eq!(house.is_bound(&ana), is_bound, "{key}");
    }
}

#[test]
fn s_60_a_message_held_back_because_of_the_key_ends_the_proof() {
    let house = house();
    let ana = person(1);
    house.sign_in(&ana, ANA);
    let said = house.said().pop().unwrap();
    let status = StatusUpdate {
        id: said.id,
        status: Status::Failed,
        at: house.app.now(),
        recipient: Sender::default(),
        participant: None,
        tag: Some(said.tag),
        error_code: Some(137_000),
    };
    house
        .receive_all(vec![WebhookItem::Status(status)])
        .unwrap();
    assert!(!house.is_bound(&ana));
    let told = house.ask(&ana, "hola");
    assert!(told[0].starts_with("Tu WhatsApp parece"), "{told:?}");
}

#[test]
fn s_61_a_changed_number_ends_the_proof_and_moves_nothing() {
    // By notice.
    let house = house();
    let ana = person(1);
    house.sign_in(&ana, ANA);
    let notice = WebhookItem::IdentityChanged(IdentityChanged {
        id: MessageId::parse("notice").unwrap(),
        at: house.app.now(),
        before: ana.sender(),
    });
    house.receive_all(vec![notice.clone()]).unwrap();
    assert!(!house.is_bound(&ana));
    assert_eq!(house.audited("contact.released.number_changed"), 1);
    house.clock.forward(2 * MINUTE_MS);
    house.sign_in(&ana, ANA);
    // A repeated notice is not another one.
    assert_eq!(house.receive_all(vec![notice]).unwrap().repeated, 1);
    assert!(house.is_bound(&ana));

    // By another BSUID with the number.
    let house = self::house();
    let mut before = hidden(1);
    before.wa_id = WaId::parse("573001234534").ok();
    house.sign_in(&before, ANA);
    let mut stranger = hidden(2);
    stranger.wa_id = before.wa_id.clone();
    house.ask(&stranger, "¿quién soy?");
    assert_eq!(house.contacts().len(), 2);
    assert!(!house.is_bound(&before) && !house.is_bound(&stranger));
    // What is said to the one who had the number does not reach the one who has it.
    before.wa_id = None;
    let heard_before = house.said_to(&stranger).len();
    house.ask(&before, "hola");
    let last = house.said().pop().unwrap();
    assert_eq!(last.to, Recipient::Bsuid(before.bsuid.clone().unwrap()));
    assert_eq!(house.said_to(&stranger).len(), heard_before);
}

#[test]
fn s_61_the_old_number_of_a_contact_is_a_stranger() {
    let house = house();
    let mut ana = hidden(1);
    ana.wa_id = WaId::parse("573001234534").ok();
    house.sign_in(&ana, ANA);
    ana.wa_id = WaId::parse("573005550000").ok();
    house.ask(&ana, "hola");
    assert!(!house.is_bound(&ana));
    house.clock.forward(2 * MINUTE_MS);
    house.sign_in(&ana, ANA);
    // A webhook that names no BSUID, from whoever got the number.
    let stranger = Person::with_number("573001234534");
    house.ask(&stranger, "¿quién soy?");
    assert_eq!(house.contacts().len(), 2);
    assert!(house.is_bound(&ana) && !house.is_bound(&stranger));
}

#[test]
fn s_62_a_binding_ends_after_ninety_days_without_a_message() {
    for (rest_ms, is_bound) in [(90 * DAY_MS, true), (90 * DAY_MS + 1, false)] {
        let house = house();
        let ana = person(1);
        house.sign_in(&ana, ANA);
        house.clock.forward(rest_ms);
        house.write(&ana, "hola");
        assert_eq!(house.is_bound(&ana), is_bound, "after {rest_ms} ms");
    }
    let house = with_ana(House::with_policy(Policy {
        binding_age_max_ms: Some(30 * DAY_MS),
        ..Policy::default()
    }));
    let ana = person(1);
    house.sign_in(&ana, ANA);
    for day in 1..=31 {
        house.clock.forward(DAY_MS);
        house.ask(&ana, "hola");
        assert_eq!(house.is_bound(&ana), day < 30, "day {day}");
        if day >= 30 {
            break;
        }
    }
}

#[test]
fn s_63_without_a_number_everything_goes_by_bsuid() {
    let house = house();
    let leo = hidden(1);
    house.sign_in(&leo, ANA);
    for said in house.said() {
        assert_eq!(said.to, Recipient::Bsuid(leo.bsuid.clone().unwrap()));
    }
    // The number shows later: the same contact, and nothing is lost.
    let mut shown = leo.clone();
    shown.wa_id = WaId::parse("573001234534").ok();
    house.ask(&shown, "hola");
    assert_eq!(house.contacts().len(), 1);
    assert!(house.is_bound(&shown));
    // And is hidden again.
    house.ask(&leo, "hola");
    assert!(house.is_bound(&leo));
}

#[test]
fn s_64_two_names_of_two_contacts_in_one_message_end_both_proofs_and_merge_nothing() {
    let house = house();
    house.register("kutamma", "leo@example.com", "Leo", "Acme");
    let by_bsuid = hidden(1);
    let by_number = person(1);
    house.sign_in(&by_bsuid, "leo@example.com");
    house.sign_in(&by_number, ANA);
    let mut both = by_bsuid.clone();
    both.wa_id = by_number.wa_id.clone();
    let said = house.ask(&both, "hola");
    assert!(said[0].starts_with("Tu WhatsApp parece"), "{said:?}");
    assert_eq!(house.contacts().len(), 2);
    assert!(house.contacts().iter().all(|contact| !contact.is_bound()));
    assert_eq!(house.audited("contact.released.conflict"), 2);
    assert!(matches!(
        house.contact(&both).stage,
        Stage::AddressAsked { .. }
    ));
}

#[test]
fn no_secret_leaves_the_house_but_in_the_mail() {
    let house = house();
    let ana = person(1);
    house.ask(&ana, "hola");
    let code = code_for(&house, &ana, ANA);
    house.ask(&ana, &other_than(&code));
    house.ask(&ana, &code);
    house.ask(&ana, "gracias");
    for left in house.left() {
        let text = match left {
            Left::Said(said) => format!("{:?}{:?}", said.message.body, said.message.buttons),
            Left::HandedOn(hand_over) => said_in(&hand_over).unwrap_or_default(),
            Left::Told(_) => continue,
            Left::Mailed(mail) => {
                assert_eq!(mail.to.as_str(), ANA);
                continue;
            }
        };
        assert!(!text.contains(&code) && !text.contains(ANA), "{text}");
    }
    let audit = format!("{:?}", house.overview().audit);
    assert!(!audit.contains(&code) && !audit.contains('@'));
}

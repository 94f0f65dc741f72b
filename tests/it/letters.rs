//! Dead letters: given up, listed, tried again, forgotten; in the core, and with the real program.

use crate::house::{Crowd, House, Left, Outside, Person, Takes, failure, mailbox_refused};
use crate::keys::part;
use crate::outside::{Reply, Server as HttpServer};
use crate::python::at_terminal;
use crate::user::{CONFIG, Ended, Server, folder_with, now, portero, run, store};
use portero::app::{
    Clock, EndedTry, HandOver, Janitor, LetterChange, LetterChanged, Obstacle, Report, Settled,
    Work,
};
use portero::domain::delivery::{Entry, EntryId, Errand, Lane, Recipient, SignedBody};
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::{ContactId, WaId};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS};
use portero::store::record::{self, BodyOf, DeadLetter, ToldEvent};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

fn refused() -> Failure {
    Failure::temporary("the bot answered 500")
}

fn refusing(outside: &mut Outside) {
    outside.bot = Takes::Not(refused());
}

fn hand_overs(house: &House) -> Vec<HandOver> {
    let left = house.left().into_iter();
    left.filter_map(|left| match left {
        Left::HandedOn(hand_over) => Some(hand_over),
        _ => None,
    })
    .collect()
}

fn claims(hand_over: &HandOver) -> Value {
    part(hand_over.identity.as_ref().unwrap().reveal(), 1)
}

fn bodies(house: &House) -> usize {
    let records = house.records();
    records.iter().filter(|(table, ..)| table == "Body").count()
}

fn dead(house: &House) -> Vec<DeadLetter> {
    house.overview().dead
}

/// A week in which nobody succeeds, up to its last second.
fn a_week_passes(house: &House) {
    let until = house.clock.now().plus_ms(7 * DAY_MS);
    house.later(HOUR_MS);
    house.clock.set(until.minus_ms(1));
    house.settle();
}

fn change(house: &House, id: EntryId, change: LetterChange) -> LetterChanged {
    house.app.change_letters(&[id], change).unwrap()[0].1
}

// --- the bot's ------------------------------------------------------------------------------------------

#[test]
fn what_the_bot_refused_for_a_week_can_be_handed_on_as_it_was() {
    let crowd = Crowd::new(1);
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    house.world.change(refusing);
    let message = house.text(ana, "my orders");
    let wamid = message.id.as_str().to_owned();
    house.receive(message).unwrap();
    let entry = house.overview().outbox[0].clone();
    a_week_passes(house);
    let letters = dead(house);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "the bot answered 500");
    assert_eq!((letters[0].entry.id, bodies(house)), (entry.id, 1));
    let given_up = || house.app.counted().dead[Lane::Bot as usize].get();
    let outcomes = || {
        let (_, of_bot) = house.outbox.deliveries().nth(Lane::Bot as usize).unwrap();
        of_bot.outcomes.all().collect::<HashMap<_, _>>()
    };
    let after_a_week = outcomes();
    assert_eq!((given_up(), after_a_week["given_up"]), (1, 1));
    assert_eq!(
        after_a_week["retry"] + 1,
        u64::from(letters[0].entry.attempts)
    );

    house.world.change(|outside| outside.bot = Takes::It);
    let retried = change(house, entry.id, LetterChange::Retry);
    assert!(matches!(retried, LetterChanged::Retried(id) if id > entry.id));
    assert!(dead(house).is_empty());
    house.settle();
    let got = hand_overs(house);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].id, entry.id.tag());
    assert_eq!(got[0].body.bytes, b"my orders");
    assert_eq!(got[0].body.signature, "sha256=of the house");
    let claims = claims(&got[0]);
    assert_eq!(claims["jti"], json!(wamid));
    assert_eq!(claims["iat"], json!(house.clock.now().seconds()));
    assert_eq!(claims["bindings"][0]["service"], json!("kutamma"));
    assert_eq!((bodies(house), house.overview().outbox.len()), (0, 0));
    assert_eq!(outcomes()["sent"], after_a_week["sent"] + 1);
    assert_eq!(given_up(), 1);
    assert_eq!(
        change(house, entry.id, LetterChange::Retry),
        LetterChanged::Unknown
    );
}

#[test]
fn a_message_that_is_tried_again_is_not_signed_as_of_whom_its_writer_became_since() {
    let crowd = Crowd::new(1);
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    house.world.change(refusing);
    house.write(ana, "my orders");
    let id = house.overview().outbox[0].id;
    a_week_passes(house);
    house.world.change(|outside| outside.bot = Takes::It);
    // Somebody else has the chat now.
    house.register("woku", "eva@example.com", "Eva", "Other");
    house.ask(ana, "cerrar sesión");
    house.sign_in(ana, "eva@example.com");
    house.world.change(|outside| outside.left.clear());
    change(house, id, LetterChange::Retry);
    house.settle();
    let got = hand_overs(house);
    assert_eq!(got[0].body.bytes, b"my orders");
    assert_eq!(claims(&got[0])["bindings"], json!([]));
}

#[test]
fn each_time_that_it_is_tried_again_it_gets_a_week_and_no_more() {
    let crowd = Crowd::new(1);
    let house = &crowd.house;
    house.world.change(refusing);
    house.write(&crowd.people[0], "my orders");
    for _ in 0..3 {
        a_week_passes(house);
        let id = dead(house)[0].entry.id;
        change(house, id, LetterChange::Retry);
        let entry = &house.overview().outbox[0];
        assert_eq!(entry.expires_at, house.clock.now().plus_ms(7 * DAY_MS));
    }
}

#[test]
fn what_is_forgotten_leaves_nothing_behind_and_a_month_forgets_by_itself() {
    let crowd = Crowd::new(2);
    let house = &crowd.house;
    house.world.change(refusing);
    house.write(&crowd.people[0], "p0");
    house.write(&crowd.people[1], "p1");
    a_week_passes(house);
    let letters = dead(house);
    assert_eq!((letters.len(), bodies(house)), (2, 2));
    assert_eq!(
        change(house, letters[0].entry.id, LetterChange::Drop),
        LetterChanged::Dropped
    );
    assert_eq!((dead(house).len(), bodies(house)), (1, 1));
    let sweep = || Janitor::default().sweep(&house.app).unwrap();
    house.clock.set(letters[1].at.plus_ms(30 * DAY_MS));
    sweep();
    assert_eq!((dead(house).len(), bodies(house)), (1, 1));
    house.clock.forward(1);
    sweep();
    assert_eq!((dead(house).len(), bodies(house)), (0, 0));
}

#[test]
fn letters_of_one_contact_are_tried_again_in_their_order_whatever_order_they_are_named_in() {
    let crowd = Crowd::new(1);
    let house = &crowd.house;
    house.world.change(refusing);
    for text in ["1", "2", "3"] {
        house.write(&crowd.people[0], text);
    }
    a_week_passes(house);
    house.later(HOUR_MS);
    let newest_first: Vec<EntryId> = dead(house).iter().map(|dead| dead.entry.id).collect();
    assert_eq!(newest_first.len(), 3);
    house.world.change(|outside| outside.bot = Takes::It);
    let changed = house.app.change_letters(&newest_first, LetterChange::Retry);
    assert_eq!(changed.unwrap().len(), 3);
    let lines = house.overview().audit;
    let retried = lines.iter().filter(|line| line.event == "letter.retried");
    let contact = house.contact(&crowd.people[0]).id.to_string();
    assert!(retried.clone().all(|line| line.contact == contact));
    assert_eq!(retried.count(), 3);
    house.settle();
    let texts: Vec<String> = house.handed_on().into_iter().flatten().collect();
    assert_eq!(texts, ["1", "2", "3"]);
}

#[test]
fn a_message_that_the_bot_stumbles_over_is_dropped_and_what_waits_behind_it_goes_at_once() {
    let crowd = Crowd::new(1);
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    house.world.change(|outside| {
        outside.bot_says = Some(Box::new(|hand_over| {
            (hand_over.body.bytes == b"poison").then(|| Report::Failed(refused()))
        }));
    });
    house.write(ana, "poison");
    house.write(ana, "next");
    house.later(10 * MINUTE_MS);
    assert!(house.handed_on().is_empty());
    let id = house.overview().outbox[0].id;
    assert_eq!(change(house, id, LetterChange::Retry), LetterChanged::Waits);
    assert_eq!(
        change(house, id, LetterChange::Drop),
        LetterChanged::DroppedWaiting
    );
    house.settle();
    assert_eq!(house.handed_on(), [Some("next".to_owned())]);
    assert_eq!((bodies(house), dead(house).len()), (0, 0));
}

#[test]
fn what_is_dropped_while_a_sender_holds_it_does_not_come_back() {
    let crowd = Crowd::new(1);
    let house = &crowd.house;
    house.world.change(refusing);
    for report in [
        Report::Sent(None),
        Report::Failed(refused()),
        Report::Failed(failure(FailureKind::Permanent, "no")),
        Report::Untried {
            begun_at: house.app.now(),
        },
    ] {
        house.write(&crowd.people[0], "poison");
        let id = house.overview().outbox[0].id;
        let work = house
            .app
            .begin(Lane::Bot, vec![id], house.app.now())
            .unwrap();
        let begun = work[0].as_ref().unwrap();
        assert!(matches!(begun.work, Work::HandOn(_)));
        assert_eq!((begun.what.as_str(), begun.attempt), ("hand_on", 1));
        assert_eq!(
            change(house, id, LetterChange::Drop),
            LetterChanged::DroppedWaiting
        );
        let ended = EndedTry {
            id,
            attempt: begun.attempt,
            report,
        };
        let settled = house.app.settle(Lane::Bot, vec![ended]).unwrap();
        assert_eq!(settled, [Settled::Done]);
        assert!(house.overview().outbox.is_empty());
        assert_eq!((bodies(house), dead(house).len()), (0, 0));
    }
}

// --- people's ---------------------------------------------------------------------------------------------

#[test]
fn what_waits_for_a_person_is_not_dropped() {
    let house = House::in_memory();
    house.write(&Person::with_number("34600111222"), "hola");
    let waiting = house.overview().outbox;
    assert_eq!(waiting[0].errand.lane(), Lane::Chat);
    assert_eq!(
        change(&house, waiting[0].id, LetterChange::Drop),
        LetterChanged::Kept
    );
    assert_eq!(house.overview().outbox, waiting);
}

fn obstacles(house: &House) -> Vec<(String, Option<Obstacle>)> {
    let (letters, _) = house.app.letters(None, None, 100).unwrap();
    let told = letters
        .iter()
        .map(|letter| (letter.dead.entry.errand.name().to_owned(), letter.obstacle));
    told.collect()
}

#[test]
fn an_answer_is_tried_again_while_it_answers_and_not_afterwards() {
    let house = House::in_memory();
    let ana = Person::with_number("34600111222");
    house
        .world
        .change(|outside| outside.whatsapp = Takes::Not(failure(FailureKind::Permanent, "no")));
    house.ask(&ana, "hola");
    let letter = dead(&house)[0].clone();
    let name = letter.entry.errand.name().to_owned();
    assert_eq!(obstacles(&house), [(name.clone(), None)]);
    house.clock.set(letter.entry.expires_at.minus_ms(1));
    assert_eq!(obstacles(&house), [(name.clone(), None)]);
    house.clock.set(letter.entry.expires_at);
    assert_eq!(obstacles(&house), [(name, Some(Obstacle::TimeOver))]);
    assert_eq!(
        change(&house, letter.entry.id, LetterChange::Retry),
        LetterChanged::NotRetried(Obstacle::TimeOver)
    );
    assert_eq!(dead(&house).len(), 1, "it can still be looked at");
    // In time it is sent, and gets no more time than it had.
    house.clock.set(letter.at);
    let retried = change(&house, letter.entry.id, LetterChange::Retry);
    let LetterChanged::Retried(id) = retried else {
        panic!("{retried:?}");
    };
    let waiting = house.overview().outbox;
    assert_eq!((waiting[0].id, waiting[0].attempts), (id, 0));
    assert_eq!(waiting[0].expires_at, letter.entry.expires_at);
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.settle();
    assert_eq!(house.said_to(&ana).len(), 1);
}

#[test]
fn a_message_whose_words_are_gone_can_only_be_forgotten() {
    let house = House::in_memory();
    let ana = Person::with_number("34600111222");
    house.ask(&ana, "hola");
    let said = house.said();
    house.status(&said[0], portero::domain::message::Status::Failed);
    let letters = obstacles(&house);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].1, Some(Obstacle::NothingLeft));
    let id = dead(&house)[0].entry.id;
    assert_eq!(
        change(&house, id, LetterChange::Retry),
        LetterChanged::NotRetried(Obstacle::NothingLeft)
    );
    assert_eq!(
        change(&house, id, LetterChange::Drop),
        LetterChanged::Dropped
    );
    assert!(dead(&house).is_empty());
}

/// Which of them it was, an operator must not see (S-19).
#[test]
fn a_mail_with_a_code_that_was_replaced_is_not_sent_again() {
    let house = House::in_memory();
    let ana = Person::with_number("34600111222");
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    house.register("kutamma", "eva@example.com", "Eva", "Acme");
    house
        .world
        .change(|outside| outside.mail = Takes::Not(mailbox_refused()));
    house.ask(&ana, "hola");
    house.ask(&ana, "ana@example.com");
    assert_eq!(obstacles(&house), [("code_mail".to_owned(), None)]);
    house.clock.forward(2 * MINUTE_MS);
    house.ask(&ana, "eva@example.com");
    assert_eq!(
        obstacles(&house),
        [
            ("code_mail".to_owned(), None),
            ("code_mail".to_owned(), Some(Obstacle::Replaced)),
        ]
    );
    house.clock.forward(HOUR_MS);
    assert!(
        obstacles(&house)
            .iter()
            .all(|(_, obstacle)| *obstacle == Some(Obstacle::TimeOver))
    );
}

#[test]
fn letters_are_listed_in_pieces_each_once_and_by_lane() {
    let crowd = Crowd::new(3);
    let house = &crowd.house;
    house.world.change(|outside| {
        outside.bot = Takes::Not(failure(FailureKind::Permanent, "no"));
        outside.whatsapp = Takes::Not(failure(FailureKind::Permanent, "no"));
    });
    let stranger = Person::with_number("34600999888");
    for number in 0..4 {
        house.ask(&crowd.people[number % 3], "orders");
        house.ask(&stranger, "hola");
    }
    let in_pieces = |lane: Option<Lane>| {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let (letters, next) = house.app.letters(lane, before, 3).unwrap();
            assert!(letters.len() <= 3);
            all.extend(letters.iter().map(|letter| letter.dead.entry.id));
            before = next;
            if before.is_none() {
                return all;
            }
        }
    };
    let of = |lane: Option<Lane>| -> Vec<EntryId> {
        let letters = dead(house).into_iter();
        letters
            .filter(|dead| lane.is_none_or(|lane| dead.entry.errand.lane() == lane))
            .map(|dead| dead.entry.id)
            .collect()
    };
    assert!(of(Some(Lane::Chat)).len() > 2);
    assert_eq!(of(Some(Lane::Bot)).len(), 4);
    for lane in [None, Some(Lane::Bot), Some(Lane::Chat), Some(Lane::Mail)] {
        assert_eq!(in_pieces(lane), of(lane), "{lane:?}");
    }
}

// --- the program ------------------------------------------------------------------------------------------

fn with_parts(bot: &str, receiver: &str) -> String {
    format!(
        "{CONFIG}[bot]\nurl = \"{bot}\"\n[events]\nurl = \"{receiver}\"\n\
         secret = \"whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz\"\n"
    )
}

const ANA: ContactId = ContactId([0x3f; 16]);
const WORDS: &str = "where are my orders";

/// A store in which a hand-over, a prompt and an event were given up, and a hand-over waits.
fn fill(folder: &Path) {
    let owner_only = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.join("portero.toml"), owner_only).unwrap();
    let (code, _, error) = run(
        folder,
        &[
            "user",
            "add",
            "ana@example.com",
            "--name",
            "Ana",
            "--company",
            "E",
            "--no-password",
        ],
    );
    assert_eq!(code, 0, "{error}");
    let (store, _) = store(folder);
    let now = now();
    let entry = move |id: u64, errand: Errand, age_ms: u64| Entry {
        attempts: 312,
        ..Entry::new(
            EntryId(id),
            ANA,
            errand,
            now.minus_ms(age_ms),
            now.plus_ms(DAY_MS),
        )
    };
    let hand_on = |id: u64| Errand::HandOn {
        message: None,
        origin: EntryId(id),
    };
    store
        .update(move |writer| {
            let body = SignedBody {
                bytes: WORDS.into(),
                signature: "sha256=00".into(),
            };
            for (id, age_ms) in [(0xa1, 8 * DAY_MS), (0xa2, 7 * DAY_MS + HOUR_MS)] {
                record::put_body(writer, BodyOf::Entry(EntryId(id)), &body)?;
                let letter = DeadLetter {
                    entry: entry(id, hand_on(id), age_ms),
                    at: now.minus_ms(age_ms - 7 * DAY_MS),
                    reason: "the bot answered 500".into(),
                };
                record::put_dead(writer, &letter)?;
            }
            let prompt = Errand::Chat {
                to: Recipient::Number(WaId::parse("34600111222").unwrap()),
                message: portero::domain::delivery::ChatMessage {
                    body: WORDS.into(),
                    buttons: Vec::new(),
                    link: None,
                },
                sentence: "welcome".into(),
            };
            let mut old = entry(0xa3, prompt, 2 * HOUR_MS);
            old.expires_at = now.minus_ms(HOUR_MS);
            let letter = DeadLetter {
                entry: old,
                at: now.minus_ms(2 * HOUR_MS),
                reason: "Meta answered 400: 131026".into(),
            };
            record::put_dead(writer, &letter)?;
            record::put_body(writer, BodyOf::Entry(EntryId(0xa4)), &body)?;
            let mut waits = entry(0xa4, hand_on(0xa4), MINUTE_MS);
            waits.not_before = now.plus_ms(HOUR_MS);
            record::put_entry(writer, &waits)?;
            for (id, kind, reason, age_ms) in [
                (0xb1, "sign_in.started", "mail_code", 3 * HOUR_MS),
                (0xb2, "sign_in.refused", "code_forwarded", HOUR_MS),
            ] {
                let json = json!({"type": kind, "timestamp": "2026-11-25T10:00:00Z",
                    "data": {"userUuid": ANA.to_string(), "reason": reason}});
                let event = ToldEvent {
                    id: EntryId(id),
                    at: now.minus_ms(age_ms),
                    kind: kind.into(),
                    line: ANA,
                    json: json.to_string(),
                };
                record::put_event(writer, &event)?;
            }
            Ok(())
        })
        .unwrap();
}

/// What one request brought: the path, `webhook-id`, and the body.
type Got = (String, String, String);

/// An HTTP server that takes everything.
fn taker() -> (HttpServer, Receiver<Got>) {
    let (sender, got) = channel();
    let server = HttpServer::start(move |request| {
        let id = request.header("webhook-id").unwrap_or_default();
        let body = String::from_utf8(request.body.clone()).unwrap();
        let _ = sender.send((request.path.clone(), id.to_owned(), body));
        Reply::Json(200, json!({}))
    });
    (server, got)
}

const SOON: Duration = Duration::from_secs(30);

/// The story is the same with and without a server; returns what was said.
fn story(path: &Path) -> Vec<Ended> {
    let outbox = |arguments: &[&str]| run(path, &[&["outbox"], arguments].concat());
    let listed = outbox(&["list", "--dead"]);
    assert_eq!(listed.0, 0, "{}", listed.2);
    let lines: Vec<&str> = listed.1.lines().collect();
    let contact = "3f3f3f3f…";
    assert_eq!(
        lines,
        [
            "ID  LANE      WHAT     CONTACT    GIVEN UP  TRIES  RETRY".to_owned(),
            format!("a2  bot       hand_on  {contact}  1h ago    312    yes"),
            "  the bot answered 500".to_owned(),
            format!("a3  whatsapp  welcome  {contact}  2h ago    312    no"),
            "  Meta answered 400: 131026".to_owned(),
            "  no retry: it answered what somebody wrote then, and would confuse them now"
                .to_owned(),
            format!("a1  bot       hand_on  {contact}  1d ago    312    yes"),
            "  the bot answered 500".to_owned(),
            "given up: whatsapp 1, bot 2".to_owned(),
            "can be retried: 2".to_owned(),
        ]
    );
    let (code, output, _) = outbox(&["list", "--dead", "--json", "--lane", "whatsapp"]);
    let letters: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, letters.as_array().unwrap().len()), (0, 1));
    assert_eq!(letters[0]["userUuid"], json!(ANA.to_string()));
    assert_eq!(letters[0]["canRetry"], json!(false));
    assert_eq!(letters[0]["noRetry"], json!("time_over"));
    let (code, output, _) = outbox(&["list", "--json"]);
    let waiting: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, waiting[0]["id"].as_str()), (0, Some("a4")));
    assert_eq!(waiting[0]["webhookId"], json!("portero-a4"));
    assert!(!output.contains(WORDS) && !output.contains("34600111222"));
    let ended = vec![
        outbox(&["retry", "xyz"]),
        outbox(&["retry"]),
        outbox(&["retry", "a1", "--all"]),
        outbox(&["retry", "a3", "ff"]),
        outbox(&["retry", "a3"]),
        outbox(&["retry", "a4"]),
        outbox(&["drop", "--all"]),
        outbox(&["list", "--lane", "post"]),
        run(path, &["events", "list"]),
        run(path, &["events", "list", "--json", "--since", "2h"]),
        run(path, &["events", "replay", "--id", "evt_ff"]),
        run(path, &["events", "replay", "--since", "yesterday"]),
        run(path, &["events", "replay"]),
    ];
    let codes: Vec<i32> = ended.iter().map(|(code, ..)| *code).collect();
    assert_eq!(
        codes,
        [64, 64, 64, 67, 1, 1, 64, 64, 0, 0, 67, 64, 64],
        "{ended:#?}"
    );
    assert!(
        ended[3].1.contains("a3 cannot be tried again: it answered"),
        "{ended:#?}"
    );
    assert!(ended[3].1.contains("ff is not there"), "{ended:#?}");
    assert!(
        ended[6]
            .2
            .starts_with("3 letters would be forgotten for good"),
        "{ended:#?}"
    );
    let events: Vec<Value> = (ended[9].1.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["id"], json!("evt_b2"));
    assert_eq!(events[0]["type"], json!("sign_in.refused"));
    ended
}

#[test]
fn an_operator_sees_and_mends_the_outbox_whether_the_server_runs_or_not() {
    let (bot, handed_on) = taker();
    let (receiver, told) = taker();
    let folder = folder_with(&with_parts(
        &format!("{}/webhook", bot.url()),
        &format!("{}/events", receiver.url()),
    ));
    let path = folder.path();
    fill(path);
    let alone = story(path);
    let server = Server::start(path);
    assert_eq!(story(path), alone);

    let (code, output, error) = run(path, &["outbox", "retry", "--all", "--lane", "bot"]);
    assert_eq!((code, output.lines().count()), (0, 2), "{error}");
    assert!(output.starts_with("a1 is tried again, as "), "{output}");
    // What waits for the contact goes first, and that is not yet.
    let (code, output, _) = run(path, &["outbox", "drop", "a4"]);
    assert_eq!(
        (code, output.as_str()),
        (
            0,
            "a4 was waiting and is forgotten; what waits behind it goes on\n"
        )
    );
    for id in ["portero-a1", "portero-a2"] {
        let got = handed_on.recv_timeout(SOON).unwrap();
        assert_eq!(got, ("/webhook".into(), id.into(), WORDS.into()));
    }
    let (code, output, error) = run(path, &["events", "replay", "--since", "2h"]);
    assert_eq!(
        (code, output.as_str()),
        (0, "1 event is told once more\n"),
        "{error}"
    );
    let (url_path, id, body) = told.recv_timeout(SOON).unwrap();
    assert_eq!((url_path.as_str(), id.as_str()), ("/events", "evt_b2"));
    assert!(body.contains("code_forwarded"));
    let (code, _, error) = run(path, &["events", "replay", "--id", "evt_b1", "evt_b2"]);
    assert_eq!(code, 0, "{error}");
    for id in ["evt_b1", "evt_b2"] {
        assert_eq!(told.recv_timeout(SOON).unwrap().1, id);
    }
    let (code, output, _) = run(path, &["outbox", "drop", "--all", "--yes"]);
    assert_eq!((code, output.as_str()), (0, "a3 is forgotten\n"));
    let log = server.stop();
    assert!(!log.contains(WORDS), "{log}");
    // Nothing is left, and that is said where it is not in the way of a program.
    for arguments in [&["list"][..], &["list", "--dead"], &["drop", "--all"]] {
        let (code, output, error) = run(path, &[&["outbox"], arguments].concat());
        assert_eq!((code, output.as_str()), (0, ""));
        assert!(error.starts_with("nothing "), "{error}");
    }
}

/// What a command shows on a screen of so many columns.
fn on_screen(folder: &Path, columns: u16, arguments: &[&str]) -> String {
    let mut command = portero(folder);
    command.args(arguments);
    at_terminal(&command, Some(columns), &json!([])).screen
}

#[test]
fn lists_fit_the_screen_and_show_whole_contacts_where_there_is_room() {
    let folder = folder_with(&with_parts("http://127.0.0.1:9/", "http://127.0.0.1:9/"));
    fill(folder.path());
    for arguments in [
        &["outbox", "list"][..],
        &["outbox", "list", "--dead"],
        &["events", "list"],
    ] {
        let wide = on_screen(folder.path(), 120, arguments);
        assert!(wide.contains(&ANA.to_string()), "{wide}");
        let narrow = on_screen(folder.path(), 72, arguments);
        assert!(narrow.contains("3f3f3f3f…"), "{narrow}");
        let longest = narrow.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(72), "{narrow}");
    }
}

#[test]
fn who_has_no_receiver_is_told_so_and_nothing_is_lost() {
    let folder = folder_with(CONFIG);
    let path = folder.path();
    fill(path);
    let (code, _, error) = run(path, &["events", "replay", "--since", "7d"]);
    assert_eq!(code, 78, "{error}");
    let (code, output, _) = run(path, &["outbox", "retry", "a1"]);
    assert_eq!(code, 1);
    assert_eq!(
        output,
        "a1 cannot be tried again: nobody is configured who would get it\n"
    );
    let (_, output, _) = run(path, &["outbox", "list", "--dead", "--lane", "bot"]);
    assert!(
        output.contains("given up: bot 2\nnone of them can be retried\n"),
        "{output}"
    );
}

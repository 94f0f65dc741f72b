//! What the senders do when the other side of a lane does not take what it is given: a bot that
//! refuses one message, one that is not there, one that is slow for somebody; a receiver of events
//! that is down.

use crate::house::{Crowd, House, Left, Person, Takes, failure, said_in};
use portero::app::{Clock, Report, Work};
use portero::domain::delivery::Lane;
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use portero::outbox::{Outbox, Pace};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

fn refused() -> Failure {
    Failure::temporary("the bot answered 500")
}

fn away() -> Failure {
    failure(
        FailureKind::Unreachable,
        "the bot gave no answer: connection refused",
    )
}

fn texts(house: &House) -> Vec<String> {
    house.handed_on().into_iter().flatten().collect()
}

/// The texts of one person, who begins each with a name.
fn of(texts: &[String], name: &str) -> Vec<String> {
    let begins = |text: &&String| text.starts_with(name);
    texts.iter().filter(begins).cloned().collect()
}

#[test]
fn a_message_that_the_bot_refuses_forever_is_overtaken_after_a_quarter_of_an_hour() {
    let crowd = Crowd::new(2);
    let (house, [ana, ben]) = (&crowd.house, [&crowd.people[0], &crowd.people[1]]);
    house.world.change(|outside| {
        outside.bot_says = Some(Box::new(|hand_over| {
            let is_poison = said_in(hand_over).is_some_and(|text| text.contains("poison"));
            is_poison.then(|| Report::Failed(refused()))
        }));
    });
    for text in ["ana poison", "ana 2", "ana 3"] {
        house.write(ana, text);
    }
    let started_at = house.clock.now().0;
    let mut overtaken_at = None;
    for minute in 0..30 {
        house.write(ben, &format!("ben {minute}"));
        house.later(MINUTE_MS);
        let ana_had = of(&texts(house), "ana");
        if overtaken_at.is_none() && !ana_had.is_empty() {
            assert_eq!(ana_had, ["ana 2", "ana 3"]);
            overtaken_at = Some(house.clock.now().0 - started_at);
        }
    }
    let after_ms = overtaken_at.expect("what waits behind a poisoned message went on");
    assert!(
        (15 * MINUTE_MS..18 * MINUTE_MS).contains(&after_ms),
        "{after_ms}"
    );
    assert_eq!(of(&texts(house), "ben").len(), 30, "others were held up");
    // It is still tried, alone.
    house.world.change(|outside| outside.bot_says = None);
    house.later(11 * MINUTE_MS);
    assert_eq!(of(&texts(house), "ana"), ["ana 2", "ana 3", "ana poison"]);
}

#[test]
fn a_bot_that_refuses_everything_changes_nobodys_order() {
    const PEOPLE: usize = 12;
    // Fewer than make the lane rest.
    const FIRST: usize = 6;
    let crowd = Crowd::new(PEOPLE);
    let house = &crowd.house;
    // When it began, the message of one person was under way, and is taken afterwards.
    house
        .world
        .change(|outside| outside.bot = Takes::Not(refused()));
    for person in 1..=FIRST {
        house.write(&crowd.people[person], &format!("p{person:02} 1"));
    }
    house.settle();
    house.clock.forward(SECOND_MS / 2);
    house
        .world
        .change(|outside| outside.bot_next.push_back(Takes::It));
    house.write(&crowd.people[0], "p00 1");
    house.settle();
    assert_eq!(texts(house), ["p00 1"]);
    for person in FIRST + 1..PEOPLE {
        house.write(&crowd.people[person], &format!("p{person:02} 1"));
    }
    for person in 0..PEOPLE {
        for number in 2..5 {
            house.write(&crowd.people[person], &format!("p{person:02} {number}"));
        }
    }
    house.later(40 * MINUTE_MS);
    assert_eq!(texts(house).len(), 1, "it refused everything");
    house.world.change(|outside| outside.bot = Takes::It);
    house.later(20 * MINUTE_MS);
    let all = texts(house);
    for person in 0..PEOPLE {
        let name = format!("p{person:02}");
        let own: Vec<String> = (1..5).map(|n| format!("{name} {n}")).collect();
        assert_eq!(of(&all, &name), own);
    }
}

#[test]
fn a_bot_that_is_away_for_three_hours_gets_everything_in_order() {
    let crowd = Crowd::new(5);
    let house = &crowd.house;
    house
        .world
        .change(|outside| outside.bot = Takes::Not(away()));
    let mut tries_at: Vec<u64> = Vec::new();
    let mut number = 0;
    let began_at = house.clock.now().0;
    for second in 0..3 * 3_600 {
        if second % 600 == 0 {
            for person in 0..5 {
                house.write(&crowd.people[person], &format!("p{person} {number:03}"));
            }
            number += 1;
        }
        let before = house.world.change(|outside| outside.bot_tries);
        house.settle();
        let tries = house.world.change(|outside| outside.bot_tries) - before;
        assert!(tries <= 1, "{tries} tries at once after {second} s");
        if tries == 1 {
            tries_at.push((house.clock.now().0 - began_at) / SECOND_MS);
        }
        house.clock.forward(SECOND_MS);
    }
    let pauses: Vec<u64> = tries_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..6], [1, 2, 4, 8, 16, 30]);
    assert!(pauses[6..].iter().all(|pause| *pause == 30), "{pauses:?}");
    assert!(texts(house).is_empty());
    let health = house.outbox.health();
    let bot = health
        .iter()
        .find(|health| health.lane == Lane::Bot)
        .unwrap();
    assert_eq!(
        bot.resting.as_ref().unwrap().reason,
        "the bot gave no answer: connection refused"
    );
    house.world.change(|outside| outside.bot = Takes::It);
    house.later(31 * SECOND_MS);
    let all = texts(house);
    assert_eq!(all.len(), 5 * number);
    for person in 0..5 {
        let own: Vec<String> = (0..number).map(|n| format!("p{person} {n:03}")).collect();
        assert_eq!(of(&all, &format!("p{person}")), own);
    }
    assert!(
        house
            .outbox
            .health()
            .iter()
            .all(|lane| lane.resting.is_none())
    );
}

#[test]
fn a_bot_that_asks_for_a_pause_for_one_gets_it_for_that_one() {
    let crowd = Crowd::new(2);
    let house = &crowd.house;
    let pause_ms = 3_600 * SECOND_MS;
    let too_many = failure(
        FailureKind::Temporary {
            retry_after_ms: Some(pause_ms),
        },
        "the bot answered 429",
    );
    house.world.change(|outside| {
        outside.bot_says = Some(Box::new(move |hand_over| {
            let is_busy = said_in(hand_over).is_some_and(|text| text.starts_with("p0"));
            is_busy.then(|| Report::Failed(too_many.clone()))
        }));
    });
    house.write(&crowd.people[0], "p0");
    house.settle();
    for number in 0..20 {
        house.write(&crowd.people[1], &format!("p1 {number}"));
        house.settle();
    }
    assert_eq!(texts(house).len(), 20);
    house.world.change(|outside| outside.bot_says = None);
    house.later(pause_ms - SECOND_MS);
    assert_eq!(texts(house).len(), 20);
    // The end of a long pause is spread over a minute.
    house.later(MINUTE_MS + 2 * SECOND_MS);
    assert_eq!(texts(house).last().map(String::as_str), Some("p0"));
}

#[test]
fn a_receiver_of_events_that_is_down_delays_nobody_else() {
    let house = House::that_tells();
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    let down = Takes::Not(failure(
        FailureKind::Unreachable,
        "the receiver of events gave no answer: connection refused",
    ));
    house.world.change(|outside| outside.receiver = down);
    let ana = Person::with_number("34600111222");
    house.sign_in(&ana, "ana@example.com");
    house.ask(&ana, "my orders");
    assert_eq!(texts(&house).last().map(String::as_str), Some("my orders"));
    assert!(told(&house).is_empty());
    house.world.change(|outside| outside.receiver = Takes::It);
    house.later(MINUTE_MS);
    let kinds: Vec<String> = told(&house).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["sign_in.started", "contact.bound"]);
}

/// Names and kinds of what was told.
fn told(house: &House) -> Vec<(String, String)> {
    let told = house.left().into_iter().filter_map(|left| match left {
        Left::Told(telling) => {
            let json: serde_json::Value = serde_json::from_str(&telling.json).unwrap();
            Some((telling.id, json["type"].as_str().unwrap().to_owned()))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn events_keep_their_names_and_their_order_over_tries_restarts_and_replays() {
    let house = House::that_tells();
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    let ana = Person::with_number("34600111222");
    house.world.change(|outside| {
        outside.receiver = Takes::ItSilently;
    });
    let began_at = house.clock.now();
    house.ask(&ana, "hola");
    house.ask(&ana, "ana@example.com");
    house.ask(&ana, &crate::house::other_than(&house.code()));
    let house = house.restarted();
    house.later(5 * SECOND_MS);
    house.world.change(|outside| outside.receiver = Takes::It);
    house.ask(&ana, &house.code());
    house.later(2 * MINUTE_MS);
    let mut first = told(&house);
    let again = first.len();
    assert!(
        again > 4,
        "an event that nobody answered for was not told again: {first:?}"
    );
    // Each until it was taken, and none before the one ahead of it.
    first.dedup();
    let kinds: Vec<&str> = first.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["sign_in.started", "sign_in.failed", "contact.bound"]
    );
    assert!(first.iter().all(|(id, _)| id.starts_with("evt_")));

    let stored = house.app.events(None, 10).unwrap();
    let since = stored[1].at;
    assert!(since > began_at);
    assert_eq!(house.app.replay_events(None, since).unwrap(), (2, None));
    house.settle();
    assert_eq!(told(&house)[again..], first[1..]);
    assert!(house.app.replay_event(stored[0].id).unwrap());
    house.settle();
    assert_eq!(told(&house).last(), first.first());
    assert_eq!(
        told(&house).len(),
        again + 3,
        "a replay made events of its own"
    );

    house.clock.forward(31 * DAY_MS);
    portero::app::Janitor::default().sweep(&house.app).unwrap();
    assert!(house.app.events(None, 10).unwrap().is_empty());
    assert!(!house.app.replay_event(stored[0].id).unwrap());
}

#[test]
fn what_waited_for_a_week_is_given_up_and_not_before() {
    let crowd = Crowd::new(1);
    let house = &crowd.house;
    house
        .world
        .change(|outside| outside.bot = Takes::Not(away()));
    house.write(&crowd.people[0], "p0");
    let until = Timestamp(house.clock.now().0 + 7 * DAY_MS);
    house.later(HOUR_MS);
    house.clock.set(until.minus_ms(1));
    house.settle();
    assert!(house.overview().dead.is_empty());
    house.clock.set(until.plus_ms(MINUTE_MS));
    house.settle();
    assert_eq!(house.overview().dead.len(), 1);
}

/// Keeps whoever carries one message until it is let go, and counts the others.
struct SlowFor {
    slow: &'static str,
    state: Mutex<(bool, Vec<String>)>,
    changed: Condvar,
}

impl SlowFor {
    fn new(slow: &'static str) -> Arc<SlowFor> {
        Arc::new(SlowFor {
            slow,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    fn carry(&self, work: &Work) -> Report {
        let Work::HandOn(hand_over) = work else {
            return Report::Sent(None);
        };
        let text = said_in(hand_over).unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        while text == self.slow && !state.0 {
            state = self.changed.wait(state).unwrap();
        }
        state.1.push(text);
        self.changed.notify_all();
        Report::Sent(None)
    }

    /// Whether so many were carried within a time in which a machine that is only loaded does it.
    fn carried(&self, count: usize) -> bool {
        let state = self.state.lock().unwrap();
        let (state, waited) = (self.changed)
            .wait_timeout_while(state, Duration::from_secs(20), |state| {
                state.1.len() < count
            })
            .unwrap();
        drop(state);
        !waited.timed_out()
    }

    fn let_go(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }
}

#[test]
fn a_bot_that_is_slow_for_one_holds_up_nobody_else() {
    const PEOPLE: usize = 40;
    let crowd = Crowd::new(PEOPLE);
    for (number, person) in crowd.people.iter().enumerate() {
        crowd.house.write(person, &format!("p{number:02} 1"));
        crowd.house.write(person, &format!("p{number:02} 2"));
    }
    let bot = SlowFor::new("p07 1");
    let carrier = Arc::clone(&bot);
    let mut pace = Pace::default();
    pace.threads[Lane::Bot as usize] = 2;
    let outbox = Outbox::new(
        Arc::clone(&crowd.house.app),
        Arc::new(move |work: &Work| carrier.carry(work)),
        pace,
    );
    let running = Arc::new(outbox).start().unwrap();
    let all_others_were_heard = bot.carried(2 * (PEOPLE - 1));
    bot.let_go();
    assert!(all_others_were_heard && bot.carried(2 * PEOPLE));
    let texts = bot.state.lock().unwrap().1.clone();
    for number in 0..PEOPLE {
        let name = format!("p{number:02}");
        assert_eq!(
            of(&texts, &name),
            [format!("{name} 1"), format!("{name} 2")]
        );
    }
    assert!(running.stop(Instant::now() + Duration::from_secs(20)));
}

//! What breaks outside, and in the store: nothing is lost, nothing is doubled, and somebody is told.

use super::house::{
    House, Panics, Person, Said, Takes, failure, mailbox_refused, no_answer, other_than,
    server_error,
};
use portero::app::{Report, Work};
use portero::domain::delivery::{ChatMessage, Entry, Lane, Recipient};
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::{EmailAddress, MessageId};
use portero::domain::message::{Inbound, Status, WebhookItem};
use portero::domain::time::{HOUR_MS, MINUTE_MS, SECOND_MS};
use portero::outbox::{Outbox, Pace};
use portero::store::StoreError;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

const ANA: &str = "ana@example.com";

fn house() -> House {
    let house = House::in_memory();
    house.register("kutamma", ANA, "Ana Pérez", "Acme");
    house
}

fn ana() -> Person {
    Person::with_number("573001234534")
}

/// What the person was told, by the first word: enough to tell sentences apart.
fn first_words(house: &House, person: &Person) -> Vec<String> {
    let told = house.said_to(person).into_iter();
    told.map(|body| body.split([' ', ',']).next().unwrap().to_owned())
        .collect()
}

// --- the store ----------------------------------------------------------------------------------

/// A whole sign-in with a sender that repeats each webhook until it is acknowledged, as Meta does.
fn sign_in_stubbornly(house: &House) {
    let ana = ana();
    let deliver = |message: Inbound| {
        for tries in 0.. {
            assert!(tries < 5, "the store fails more often than asked");
            // A panic is answered as a refusal is.
            let receive = || house.receive(message.clone());
            if matches!(catch_unwind(AssertUnwindSafe(receive)), Ok(Ok(_))) {
                break;
            }
        }
        // What the store refused is looked at again a moment later.
        for _ in 0..4 {
            house.settle();
            house.clock.forward(SECOND_MS);
        }
    };
    deliver(house.text(&ana, "hola"));
    deliver(house.text(&ana, ANA));
    deliver(house.text(&ana, &house.code()));
    deliver(house.text(&ana, "gracias"));
}

/// Everything happened, and everything happened once.
fn check_signed_in_once(house: &House, trouble: &str) {
    let overview = house.overview();
    assert_eq!(overview.contacts.len(), 1, "{trouble}");
    assert!(house.is_bound(&ana()), "{trouble}");
    assert_eq!(
        first_words(house, &ana()),
        ["Hola", "Si", "Listo"],
        "{trouble}"
    );
    assert_eq!(house.mails().len(), 1, "{trouble}");
    let handed_on = [Some("hola".to_owned()), Some("gracias".to_owned())];
    assert_eq!(house.handed_on(), handed_on, "{trouble}");
    assert_eq!(house.audited("contact.bound"), 1, "{trouble}");
    assert_eq!(house.audited("code.asked"), 1, "{trouble}");
    assert_eq!(overview.outbox, [], "{trouble}");
    assert_eq!(overview.dead, [], "{trouble}");
    assert_eq!(overview.sent.len(), 3, "{trouble}");
}

#[test]
fn whichever_operation_of_the_store_fails_a_sign_in_happens_once() {
    for error in [StoreError::Unavailable("pulled".into()), StoreError::Full] {
        for nth in 1.. {
            let house = house();
            let before = house.memory().operations();
            house.memory().fail_operation(nth, error.clone());
            sign_in_stubbornly(&house);
            let operations = house.memory().operations() - before;
            if operations < nth {
                assert!(nth > 100, "only {operations} operations");
                break;
            }
            check_signed_in_once(&house, &format!("operation {nth} answers {error}"));
        }
    }
}

#[test]
fn a_commit_whose_answer_is_lost_doubles_nothing() {
    let mut commits = 0;
    for nth in 1..=40 {
        let house = house();
        house.memory().answer_unknown_at_commit(nth);
        sign_in_stubbornly(&house);
        check_signed_in_once(&house, &format!("the answer to commit {nth} is lost"));
        commits = nth;
    }
    assert_eq!(commits, 40);
}

#[test]
fn a_store_that_runs_every_body_twice_changes_nothing() {
    let house = house();
    house.memory().run_bodies_twice(true);
    sign_in_stubbornly(&house);
    check_signed_in_once(&house, "every body runs twice");
}

/// what became of a try is stored, and nobody hears that it is: it is stored once more,
/// and counts once. Counted twice, a try of unknown fate would be the last one.
#[test]
fn a_failure_whose_settling_is_repeated_counts_once() {
    for nth in 1..=40 {
        let house = house();
        let ana = ana();
        let trouble = format!("the answer to commit {nth} is lost");
        house.world.change(|outside| {
            outside.whatsapp = Takes::ItSilently;
            outside.mail = Takes::ItSilently;
            outside.bot = Takes::Not(server_error());
        });
        house.memory().answer_unknown_at_commit(nth);
        let deliver = |message: Inbound| while house.receive(message.clone()).is_err() {};
        deliver(house.text(&ana, ANA));
        for _ in 0..4 {
            house.settle();
            house.clock.forward(SECOND_MS);
        }
        // What was taken in silence waits for its status or its repetition.
        assert_eq!(house.overview().dead, [], "{trouble}");
        assert_eq!(house.said().len(), 1, "{trouble}");
        house.world.change(|outside| {
            outside.whatsapp = Takes::It;
            outside.mail = Takes::It;
        });
        house.later(2 * MINUTE_MS);
        let overview = house.overview();
        assert_eq!(overview.dead, [], "{trouble}");
        assert_eq!(overview.outbox, [], "{trouble}");
        assert_eq!(
            (house.said().len(), house.mails().len()),
            (2, 2),
            "{trouble}"
        );
        deliver(house.text(&ana, &house.code()));
        house.later(10 * SECOND_MS);
        deliver(house.text(&ana, "gracias"));
        house.settle();
        let waits = house.overview().outbox;
        let tries = house.world.change(|outside| outside.bot_tries);
        assert_eq!((waits.len(), tries), (1, 1), "{trouble}");
        assert_eq!(waits[0].attempts, 1, "{trouble}");
    }
}

/// Tags, Message-IDs and the names of hand-overs are made from numbers. When a process ended sooner
/// than its numbers would have been the clock's, or the clock was set back before the next one
/// began, a mail was given the Message-ID of an earlier one, a status settled a message that was
/// never sent, and the bot took a new message for a repetition.
#[test]
fn no_number_is_given_twice_by_a_process_that_begins_at_an_earlier_moment() {
    let mut house = house();
    let mut tags = Vec::new();
    for back_ms in [0, 0, 20 * SECOND_MS, 0] {
        let now = house.app.now();
        house.clock.set(now.minus_ms(back_ms));
        house = house.restarted();
        house.write(&ana(), "hola");
        house.settle();
        house.clock.forward(6 * SECOND_MS);
        house.write(&ana(), ANA);
        house.settle();
        tags.extend(house.said().into_iter().map(|said| said.tag));
        tags.extend(house.mails().into_iter().map(|mail| mail.id));
        house.world.change(|outside| outside.left.clear());
        house.clock.set(now);
    }
    let all = tags.len();
    assert!(all > 5, "{tags:?}");
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), all, "{tags:?}");
}

#[test]
fn a_batch_whose_middle_cannot_be_stored_is_taken_whole_when_repeated() {
    // Enough for two transactions; the second fails.
    let house = house();
    let people: Vec<Person> = (0..100)
        .map(|n| Person::with_number(&format!("5730012{n:05}")))
        .collect();
    let batch: Vec<_> = people
        .iter()
        .map(|person| WebhookItem::Message(house.text(person, "hola")))
        .collect();
    let before = house.memory().operations();
    house.receive_all(batch.clone()).unwrap();
    let operations = house.memory().operations() - before;
    for nth in [1, operations / 2, operations - 1, operations] {
        let house = self::house();
        house
            .memory()
            .fail_operation(nth, StoreError::Unavailable("pulled".into()));
        assert!(house.receive_all(batch.clone()).is_err(), "operation {nth}");
        let received = house.receive_all(batch.clone()).unwrap();
        assert_eq!(received.repeated + received.outcomes.len(), 100);
        while house.settle() > 0 {
            house.clock.forward(SECOND_MS);
        }
        assert_eq!(house.said().len(), 100, "operation {nth}");
    }
}

// --- WhatsApp -----------------------------------------------------------------------------------

#[test]
fn r_21_a_server_error_is_tried_again_and_order_is_kept() {
    let house = house();
    let ana = ana();
    house.world.change(|outside| {
        outside.whatsapp_next = [server_error(), server_error(), server_error()]
            .map(Takes::Not)
            .into();
    });
    house.write(&ana, "hola");
    house.settle();
    house.clock.forward(6 * SECOND_MS);
    house.write(&ana, ANA);
    house.settle();
    assert_eq!(house.said().len(), 0);
    house.later(MINUTE_MS);
    assert_eq!(first_words(&house, &ana), ["Hola", "Si"]);
    assert_eq!(house.world.change(|outside| outside.chat_tries), 5);
}

#[test]
fn r_21_what_was_taken_without_an_answer_is_settled_by_its_status() {
    let house = house();
    let ana = ana();
    let takes = |how: Takes| house.world.change(|outside| outside.whatsapp = how);
    takes(Takes::ItSilently);
    house.write(&ana, "hola");
    house.settle();
    takes(Takes::It);
    let said = house.said().pop().unwrap();
    house.later(30 * SECOND_MS);
    assert_eq!(house.said().len(), 1, "it waits for the status");
    house.status(&said, Status::Sent);
    assert_eq!(house.overview().outbox, []);
    assert_eq!(house.overview().sent.len(), 1);
    house.later(10 * MINUTE_MS);
    assert_eq!(house.said().len(), 1);
    assert_eq!(house.overview().dead, []);
}

#[test]
fn r_21_without_a_status_it_is_repeated_once_and_then_never() {
    let house = house();
    let ana = ana();
    house
        .world
        .change(|outside| outside.whatsapp = Takes::ItSilently);
    house.write(&ana, "hola");
    house.settle();
    house.later(59 * SECOND_MS);
    assert_eq!(house.said().len(), 1);
    house.later(20 * MINUTE_MS);
    assert_eq!(house.said().len(), 2);
    let dead = house.overview().dead;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, no_answer().reason);
    let tags: Vec<String> = house.said().into_iter().map(|said| said.tag).collect();
    assert_eq!(tags[0], tags[1]);
}

#[test]
fn r_20_a_person_who_must_wait_holds_up_nobody_else() {
    let house = house();
    let (ana, bob) = (ana(), Person::with_number("12025550147"));
    let paced = FailureKind::Temporary {
        retry_after_ms: Some(6 * SECOND_MS),
    };
    house.world.change(|outside| {
        outside.whatsapp_next = [Takes::Not(failure(paced, "131056"))].into();
    });
    house.write(&ana, "hola");
    house.outbox.drain(Lane::Chat);
    house.write(&bob, "hello");
    house.settle();
    assert_eq!(
        (house.said_to(&ana).len(), house.said_to(&bob).len()),
        (0, 1)
    );
    house.later(5 * SECOND_MS);
    assert_eq!(house.said_to(&ana).len(), 0);
    // The end of a pause is spread over a fifth of it.
    house.later(3 * SECOND_MS);
    assert_eq!(house.said_to(&ana).len(), 1);
}

#[test]
fn r_20_a_burst_to_one_person_is_followed_by_the_pace_that_meta_allows() {
    let house = house();
    let ana = ana();
    house.write(&ana, "hola");
    house.clock.forward(6 * SECOND_MS);
    for _ in 0..19 {
        house.write(&ana, "bla");
    }
    house.settle();
    assert_eq!(house.said().len(), 10);
    house.later(60 * SECOND_MS);
    assert_eq!(house.said().len(), 20);
    let moments: Vec<u64> = house.said().iter().map(|said: &Said| said.at.0).collect();
    let paced = &moments[9..];
    assert!(paced.windows(2).all(|pair| pair[1] - pair[0] == 6_000));
}

#[test]
fn r_20_a_crowd_is_answered_at_the_pace_of_the_number() {
    let house = house();
    for n in 0..200 {
        house.write(&Person::with_number(&format!("5730012{n:05}")), "hola");
    }
    house.settle();
    let at_once = house.said().len();
    assert!(at_once <= 80, "{at_once} messages in a moment");
    house.later(2 * SECOND_MS);
    assert_eq!(house.said().len(), 200);
}

#[test]
fn r_22_a_refused_token_rests_the_lane_and_sending_resumes_without_a_restart() {
    let house = house();
    let ana = ana();
    let expired = Failure {
        kind: FailureKind::Configuration,
        reason: "the access token has expired (190)".into(),
        advice: Some("make a new token"),
    };
    house
        .world
        .change(|outside| outside.whatsapp = Takes::Not(expired.clone()));
    let people: Vec<Person> = (0..20)
        .map(|n| Person::with_number(&format!("5730012{n:05}")))
        .collect();
    house.write(&ana, "hola");
    house.settle();
    for person in &people {
        house.write(person, "hola");
    }
    house.later(5 * MINUTE_MS);
    // One looks every half minute whether it has been put right; nobody else tries.
    let tries = house.world.change(|outside| outside.chat_tries);
    assert!((8..=12).contains(&tries), "{tries} tries");
    let chat = house.outbox.health().remove(0);
    let rest = chat.resting.unwrap();
    assert_eq!((chat.lane, rest.reason), (Lane::Chat, expired.reason));
    assert_eq!((rest.advice, chat.waiting), (expired.advice, 21));
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(40 * SECOND_MS);
    assert_eq!(house.said().len(), 21);
    assert_eq!(house.outbox.health()[0].resting, None);
    assert_eq!(house.overview().dead, []);
}

#[test]
fn r_23_who_cannot_be_reached_is_tried_once_and_the_reason_is_kept() {
    let house = house();
    let (ana, bob) = (ana(), Person::with_number("12025550147"));
    let impossible = failure(
        FailureKind::Recipient,
        "the recipient cannot be reached (131026)",
    );
    house
        .world
        .change(|outside| outside.whatsapp_next = [Takes::Not(impossible.clone())].into());
    house.write(&ana, "hola");
    house.settle();
    house.write(&bob, "hello");
    house.later(HOUR_MS);
    assert_eq!(house.world.change(|outside| outside.chat_tries), 2);
    assert_eq!(house.said_to(&bob).len(), 1);
    let dead = house.overview().dead;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, impossible.reason);
    assert_eq!(dead[0].entry.errand.name(), "welcome");
}

#[test]
fn a_prompt_that_comes_too_late_is_not_sent_any_more() {
    let house = house();
    house
        .world
        .change(|outside| outside.whatsapp = Takes::Not(server_error()));
    house.write(&ana(), "hola");
    house.later(11 * MINUTE_MS);
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(10 * MINUTE_MS);
    assert_eq!(house.said().len(), 0);
    let dead = house.overview().dead;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, server_error().reason);
}

#[test]
fn news_of_a_message_never_goes_back_in_whatever_order_it_comes() {
    use Status::{Delivered, Failed, Read, Sent};
    for (order, last) in [
        (&[Read, Delivered, Sent][..], Read),
        (&[Delivered, Sent, Delivered], Delivered),
        (&[Sent, Read, Sent, Delivered], Read),
        (&[Failed, Read, Delivered], Failed),
        (&[Delivered, Failed, Failed], Failed),
    ] {
        let house = house();
        house.write(&ana(), "hola");
        house.settle();
        let said = house.said().pop().unwrap();
        for status in order {
            house.status(&said, *status);
        }
        let sent = house.overview().sent;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].status, last, "{order:?}");
        let dead = usize::from(last == Failed);
        assert_eq!(house.overview().dead.len(), dead, "{order:?}");
    }
}

#[test]
fn a_status_that_overtakes_the_answer_to_its_send_counts() {
    let house = house();
    house
        .world
        .change(|outside| outside.whatsapp = Takes::ItSilently);
    house.write(&ana(), "hola");
    house.settle();
    let said = house.said().pop().unwrap();
    house.status(&said, Status::Read);
    house.status(&said, Status::Sent);
    assert_eq!(house.overview().sent[0].status, Status::Read);
    assert_eq!(house.overview().outbox, []);
}

/// The process ends while a message is on its way to Meta.
fn dies_while_sending(house: House) -> House {
    let waiting = house.app.waiting(Lane::Chat, None, 10).unwrap();
    let ids = waiting.iter().map(|waiting| waiting.id).collect();
    house.app.begin(Lane::Chat, ids, house.app.now()).unwrap();
    house.restarted()
}

#[test]
fn a_restart_waits_for_news_of_a_send_under_way_before_it_repeats_it() {
    let house = house();
    house.write(&ana(), "hola");
    let house = dies_while_sending(house);
    house.settle();
    house.later(59 * SECOND_MS);
    assert_eq!(house.said().len(), 0);
    house.later(2 * SECOND_MS);
    assert_eq!(house.said().len(), 1);
    house.later(10 * MINUTE_MS);
    assert_eq!(house.said().len(), 1);
}

#[test]
fn news_of_a_send_under_way_settles_it_after_a_restart() {
    let house = house();
    house.write(&ana(), "hola");
    let tag = house.overview().outbox[0].id.tag();
    let house = dies_while_sending(house);
    house.settle();
    let said = Said {
        to: Recipient::Number(ana().wa_id.unwrap()),
        message: ChatMessage {
            body: String::new(),
            buttons: Vec::new(),
            link: None,
        },
        tag,
        id: MessageId::parse("wamid.unknown").unwrap(),
        at: house.app.now(),
    };
    house.status(&said, Status::Delivered);
    house.later(10 * MINUTE_MS);
    assert_eq!(house.said().len(), 0);
    assert_eq!(house.overview().sent[0].status, Status::Delivered);
    assert_eq!(house.overview().dead, []);
}

#[test]
fn a_process_that_dies_at_every_send_does_not_send_for_ever() {
    let mut house = house();
    house.write(&ana(), "hola");
    for _ in 0..5 {
        // Each time Meta took it, as far as anybody knows.
        house = dies_while_sending(house);
        house.clock.forward(61 * SECOND_MS);
    }
    house.later(MINUTE_MS);
    assert_eq!(house.said().len(), 0);
    let dead = house.overview().dead;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].entry.attempts, 2, "tried as often as allowed");
}

/// a turn of the sender that panics again and again, at whichever of its calls of the store,
/// begins a message that does not leave. It waits for no status, is not given up, and leaves once.
#[test]
fn a_message_that_was_begun_and_did_not_leave_is_tried_again_as_if_it_was_not_begun() {
    let mut calls = 0;
    for panics in [Panics::Before as fn(u64) -> Panics, Panics::After] {
        for nth in 1.. {
            let house = House::on_shaky_ground();
            house.write(&ana(), "hola");
            calls = 0;
            for _ in 0..3 {
                house.shaky().panics(panics(nth));
                house.outbox.drain(Lane::Chat);
                calls = calls.max(house.shaky().calls());
                house.clock.forward(2 * SECOND_MS);
            }
            house.shaky().panics(Panics::Never);
            house.outbox.drain(Lane::Chat);
            house.clock.forward(2 * SECOND_MS);
            house.outbox.drain(Lane::Chat);
            let (trouble, overview) = (format!("{:?}", panics(nth)), house.overview());
            assert_eq!(house.said().len(), 1, "{trouble}");
            assert_eq!(
                (overview.outbox, overview.dead),
                (vec![], vec![]),
                "{trouble}"
            );
            if calls < nth {
                break;
            }
        }
    }
    assert!(calls > 3, "only {calls} calls");
}

/// The same when the beginning is stored and nobody hears that it is, twice.
#[test]
fn a_message_whose_beginning_may_be_stored_and_that_did_not_leave_is_tried_again_as_before() {
    let house = house();
    house.write(&ana(), "hola");
    // The first time it is the first commit; then the one before it takes that back.
    for commit in [1, 2, 2] {
        house.memory().answer_unknown_at_commit(commit);
        house.outbox.drain(Lane::Chat);
        let waits = house.overview().outbox;
        assert_eq!((house.said().len(), waits[0].attempts), (0, 1));
        house.clock.forward(2 * SECOND_MS);
    }
    house.outbox.drain(Lane::Chat);
    assert_eq!(house.said().len(), 1);
    assert_eq!(
        (house.overview().outbox, house.overview().dead),
        (vec![], vec![])
    );
}

/// A mark of an earlier process is none of these: what it began may have left; also when the clock is
/// behind that mark by now.
#[test]
fn what_an_earlier_process_began_stays_of_unknown_fate_when_the_store_refuses_a_beginning() {
    for behind_ms in [0, 5 * MINUTE_MS] {
        let house = house();
        house.write(&ana(), "hola");
        let house = dies_while_sending(house);
        house.clock.set(house.app.now().minus_ms(behind_ms));
        let house = house.restarted();
        house.outbox.drain(Lane::Chat);
        house.clock.forward(61 * SECOND_MS);
        house.memory().refuse_commits(Some(StoreError::Full));
        house.outbox.drain(Lane::Chat);
        assert_eq!(house.overview().outbox[0].attempts, 1, "{behind_ms}");
        house.memory().refuse_commits(None);
        house
            .world
            .change(|outside| outside.whatsapp = Takes::ItSilently);
        house.later(2 * SECOND_MS);
        assert_eq!(house.said().len(), 1, "{behind_ms}");
        house.later(2 * MINUTE_MS);
        assert_eq!(house.said().len(), 1, "it may have left twice");
        assert_eq!(house.overview().dead.len(), 1, "{behind_ms}");
    }
}

#[test]
fn an_adapter_that_panics_ends_one_try_and_not_the_lane() {
    let house = house();
    house.write(&ana(), "hola");
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let carry = move |_: &Work| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => panic!("on purpose"),
        _ => Report::Sent(None),
    };
    let outbox = Outbox::new(Arc::clone(&house.app), Arc::new(carry), Pace::default());
    outbox.drain(Lane::Chat);
    // It may have arrived: a status is waited for.
    house.clock.forward(59 * SECOND_MS);
    outbox.drain(Lane::Chat);
    assert_eq!(tries.load(Ordering::SeqCst), 1);
    house.clock.forward(2 * SECOND_MS);
    outbox.drain(Lane::Chat);
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    assert_eq!(house.overview().outbox, []);
}

/// whichever call of the store panics, in a request or in a sender, everything happens once.
#[test]
fn whichever_call_of_the_store_panics_a_sign_in_happens_once() {
    let mut calls = 0;
    for panics in [Panics::Before as fn(u64) -> Panics, Panics::After] {
        for nth in 1.. {
            let house = House::on_shaky_ground();
            house.register("kutamma", ANA, "Ana Pérez", "Acme");
            house.shaky().panics(panics(nth));
            sign_in_stubbornly(&house);
            calls = house.shaky().calls();
            if calls < nth {
                break;
            }
            house.shaky().panics(Panics::Never);
            check_signed_in_once(&house, &format!("{:?}", panics(nth)));
        }
    }
    assert!(calls > 30, "only {calls} calls");
}

/// whichever call of an adapter panics, before or after it did its work, people see nothing
/// twice, and a mail that comes twice is the same.
#[test]
fn whichever_call_of_an_adapter_panics_a_sign_in_happens_once() {
    let mut calls = 0;
    for is_after in [false, true] {
        for nth in 1.. {
            let mut house = house();
            let (made, world) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&house.world));
            let counted = Arc::clone(&made);
            let carry = move |work: &Work| {
                let is_it = 1 + counted.fetch_add(1, Ordering::SeqCst) == nth;
                assert!(!is_it || is_after, "on purpose");
                let report = world.carry(work);
                assert!(!is_it, "on purpose");
                report
            };
            house.outbox = Arc::new(Outbox::new(
                Arc::clone(&house.app),
                Arc::new(carry),
                Pace::default(),
            ));
            let ana = ana();
            for turn in 0..4 {
                let words = match turn {
                    0 => "hola".to_owned(),
                    1 => ANA.to_owned(),
                    2 => house.code(),
                    _ => "gracias".to_owned(),
                };
                house.write(&ana, &words);
                // What Meta took it reports; what it did not take is sent after a minute.
                for _ in 0..65 {
                    house.settle();
                    house
                        .said()
                        .iter()
                        .for_each(|said| house.status(said, Status::Sent));
                    house.clock.forward(SECOND_MS);
                }
            }
            house.settle();
            calls = made.load(Ordering::SeqCst);
            if calls < nth {
                break;
            }
            let trouble = format!("call {nth}, after it: {is_after}");
            assert!(house.is_bound(&ana), "{trouble}");
            assert_eq!(
                first_words(&house, &ana),
                ["Hola", "Si", "Listo"],
                "{trouble}"
            );
            let mails = house.mails();
            assert!(mails.len() <= 2 && mails.iter().all(|mail| *mail == mails[0]));
            assert_eq!(house.audited("contact.bound"), 1, "{trouble}");
            let overview = house.overview();
            assert_eq!(
                (overview.outbox, overview.dead),
                (vec![], vec![]),
                "{trouble}"
            );
        }
    }
    assert!(calls > 5, "only {calls} calls");
}

/// panics in the threads of the senders, some of them while they hold the lock of
/// their lane, end none of these threads; and after five in a minute the program should end.
#[test]
fn senders_that_panic_go_on_and_too_many_panics_are_noticed() {
    let house = House::on_shaky_ground();
    house.write(&ana(), "hola");
    house.shaky().panics(Panics::InSenders);
    assert!(!house.app.has_too_many_faults());
    let running = Arc::clone(&house.outbox).start().unwrap();
    let wait_for = |ready: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            assert!(Instant::now() < deadline, "it never happened");
            thread::yield_now();
        }
    };
    // So many that each thread of the lane has met one.
    wait_for(&|| house.shaky().calls() > 100 && house.app.has_too_many_faults());
    house.shaky().panics(Panics::Never);
    wait_for(&|| house.said().len() == 1);
    house.write(&ana(), ANA);
    wait_for(&|| house.said().len() == 2);
    assert!(running.stop(Instant::now() + Duration::from_secs(20)));
}

// --- mail ---------------------------------------------------------------------------------------

#[test]
fn r_30_a_mail_server_that_comes_back_in_time_delivers_the_same_code_once() {
    let house = house();
    let ana = ana();
    house
        .world
        .change(|outside| outside.mail = Takes::Not(server_error()));
    house.ask(&ana, ANA);
    house.later(5 * MINUTE_MS);
    assert_eq!(house.mails().len(), 0);
    house.world.change(|outside| outside.mail = Takes::It);
    house.later(70 * SECOND_MS);
    assert_eq!(house.mails().len(), 1);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn r_30_a_mail_server_that_is_down_to_the_end_is_told_and_costs_no_code() {
    let house = house();
    let ana = ana();
    house
        .world
        .change(|outside| outside.mail = Takes::Not(server_error()));
    // More often than codes may be asked for in an hour.
    for _ in 0..6 {
        assert!(house.ask(&ana, ANA)[0].starts_with("Si a•••@e•••"));
        house.later(10 * MINUTE_MS);
        let last = house.said_to(&ana).pop().unwrap();
        assert!(last.starts_with("El correo no está funcionando"), "{last}");
    }
    house.world.change(|outside| outside.mail = Takes::It);
    house.ask(&ana, ANA);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn r_31_a_mail_that_is_greylisted_arrives_within_a_minute() {
    let house = house();
    let ana = ana();
    let greylisted = Failure::temporary("451 4.7.1 greylisted");
    house
        .world
        .change(|outside| outside.mail = Takes::Not(greylisted));
    house.ask(&ana, ANA);
    house.world.change(|outside| outside.mail = Takes::It);
    house.later(10 * SECOND_MS);
    assert_eq!(house.mails().len(), 1);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn r_32_a_mailbox_that_refuses_is_tried_once_and_kept_for_the_operator() {
    let house = house();
    let ana = ana();
    house
        .world
        .change(|outside| outside.refusing = vec![EmailAddress::parse(ANA).unwrap()]);
    house.ask(&ana, "hola");
    house.ask(&ana, ANA);
    let told = house.said().len();
    house.later(9 * MINUTE_MS);
    assert_eq!(house.said().len(), told);
    let dead = house.overview().dead;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].reason, mailbox_refused().reason);
    assert_eq!(dead[0].entry.errand.name(), "code_mail");
}

#[test]
fn r_32_a_mailbox_that_is_full_until_the_code_ends_is_not_talked_about() {
    for kind in [FailureKind::RecipientForNow, FailureKind::Unknown] {
        let house = house();
        let ana = ana();
        house.world.change(|outside| {
            outside.refusing = vec![EmailAddress::parse(ANA).unwrap()];
            outside.refusal = failure(kind, "452 mailbox full");
        });
        house.ask(&ana, "hola");
        house.ask(&ana, ANA);
        let told = house.said().len();
        house.later(30 * MINUTE_MS);
        // An address that nobody has would hear nothing either.
        assert_eq!(house.said().len(), told, "{kind:?}");
        assert!(house.overview().dead[0].entry.attempts > 1);
    }
}

#[test]
fn r_33_a_mail_whose_answer_is_lost_is_repeated_with_the_same_id_and_code() {
    let house = house();
    let ana = ana();
    house
        .world
        .change(|outside| outside.mail = Takes::ItSilently);
    house.ask(&ana, ANA);
    house.world.change(|outside| outside.mail = Takes::It);
    house.later(MINUTE_MS);
    let mails = house.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1]);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn a_code_that_was_replaced_is_not_mailed_any_more() {
    let house = house();
    let ana = ana();
    house
        .world
        .change(|outside| outside.mail = Takes::Not(server_error()));
    house.ask(&ana, ANA);
    house.later(MINUTE_MS);
    house.ask(&ana, "reenviar");
    house.world.change(|outside| outside.mail = Takes::It);
    house.later(2 * MINUTE_MS);
    assert_eq!(house.mails().len(), 1);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
    assert_eq!(house.overview().outbox, []);
}

// --- services -----------------------------------------------------------------------------------

#[test]
fn r_40_services_that_are_down_are_never_taken_for_an_unknown_user() {
    let house = house();
    let ana = ana();
    house.ask(&ana, "hola");
    for service in ["kutamma", "woku"] {
        house.service_is_down(service, true);
    }
    for _ in 0..6 {
        house.ask(&ana, ANA);
        house.ask(&ana, &other_than("12345678"));
        house.later(3 * MINUTE_MS);
        let last = house.said_to(&ana).pop().unwrap();
        assert!(last.starts_with("No pude consultar"), "{last}");
    }
    // They were asked again and again, with growing pauses.
    let look_ups = house.world.change(|outside| outside.look_ups);
    assert!((6 * 5..=6 * 15).contains(&look_ups), "{look_ups} questions");
    assert_eq!((house.mails().len(), house.overview().outbox.len()), (0, 0));
    for service in ["kutamma", "woku"] {
        house.service_is_down(service, false);
    }
    house.ask(&ana, ANA);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana), "{:?}", house.said_to(&ana));
}

#[test]
fn a_service_that_knows_nobody_does_not_speak_for_one_that_is_silent() {
    let house = House::in_memory();
    house.register("woku", ANA, "Ana Pérez", "Acme");
    house.service_is_down("woku", true);
    let ana = ana();
    house.ask(&ana, ANA);
    house.later(30 * SECOND_MS);
    assert_eq!(house.mails().len(), 0);
    house.service_is_down("woku", false);
    house.later(30 * SECOND_MS);
    assert_eq!(house.mails().len(), 1);
    house.ask(&ana, &house.code());
    assert!(house.is_bound(&ana));
}

#[test]
fn a_stop_in_the_middle_of_a_batch_sends_nothing_more_and_puts_the_rest_back() {
    const PEOPLE: usize = 12;
    let house = house();
    for number in 0..PEOPLE {
        let person = Person::with_number(&format!("5730011122{number:02}"));
        house.write(&person, "hola");
    }
    let (begun, first) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let carry = move |_: &Work| {
        begun.send(()).unwrap();
        let _ = gate.lock().unwrap().recv();
        Report::Sent(None)
    };
    let pace = Pace {
        threads: [1; Lane::ALL.len()],
        ..Pace::default()
    };
    let outbox = Arc::new(Outbox::new(Arc::clone(&house.app), Arc::new(carry), pace));
    let running = outbox.start().unwrap();
    first.recv().unwrap();
    // The sender is busy with the first of its batch, so this says no at once.
    assert!(!running.stop(Instant::now()));
    drop(go_on);
    let deadline = Instant::now() + Duration::from_secs(20);
    let waiting = loop {
        let waiting = house.overview().outbox;
        if waiting.iter().all(|entry| entry.in_flight_since.is_none()) {
            break waiting;
        }
        assert!(Instant::now() < deadline, "the rest stays in flight");
        thread::yield_now();
    };
    assert_eq!(waiting.len(), PEOPLE - 1);
    assert!(waiting.iter().all(|entry| entry.attempts == 0));
    assert!(first.try_recv().is_err(), "a second message left");
}

#[test]
fn a_mail_that_left_and_cannot_be_noted_does_not_leave_again() {
    let house = house();
    let ana = ana();
    let mails = Arc::new(AtomicUsize::new(0));
    house.write(&ana, ANA);
    house.outbox.drain(Lane::Services);
    let (memory, count) = (Arc::clone(house.memory()), Arc::clone(&mails));
    let carry = move |work: &Work| {
        if let Work::Mail(_) = work {
            count.fetch_add(1, Ordering::SeqCst);
            memory.refuse_commits(Some(StoreError::Full));
        }
        Report::Sent(None)
    };
    let outbox = Outbox::new(Arc::clone(&house.app), Arc::new(carry), Pace::default());
    outbox.drain(Lane::Mail);
    assert_eq!(mails.load(Ordering::SeqCst), 1);
    house.memory().refuse_commits(None);
    house.clock.forward(10 * SECOND_MS);
    outbox.drain(Lane::Mail);
    assert_eq!(mails.load(Ordering::SeqCst), 1, "it left again");
    let (_, of_mail) = outbox.deliveries().nth(Lane::Mail as usize).unwrap();
    assert_eq!(of_mail.outcomes.all().next(), Some(("sent", 1)));
    assert_eq!(of_mail.durations.count(), 1);
    let refused = house.app.counted().updates.all().last();
    assert!(
        refused.is_some_and(|(name, count)| name == "failed" && count > 0),
        "{refused:?}"
    );
    let waits = |entry: &Entry| entry.errand.lane() == Lane::Mail;
    assert!(!house.overview().outbox.iter().any(waits));
}

#[test]
fn messages_that_grow_too_old_behind_another_say_nothing_of_how_long_a_try_takes() {
    let house = house();
    for number in 0..3 {
        house.write(
            &Person::with_number(&format!("5730011122{number:02}")),
            "hola",
        );
    }
    let clock = Arc::clone(&house.clock);
    let carry = move |_: &Work| {
        clock.forward(HOUR_MS);
        Report::Sent(None)
    };
    let pace = Pace {
        threads: [1; Lane::ALL.len()],
        ..Pace::default()
    };
    let outbox = Outbox::new(Arc::clone(&house.app), Arc::new(carry), pace);
    outbox.drain(Lane::Chat);
    let (_, chat) = outbox.deliveries().nth(Lane::Chat as usize).unwrap();
    let mut became = chat.outcomes.all().filter(|(_, count)| *count > 0);
    assert_eq!(became.next(), Some(("sent", 1)));
    assert_eq!(became.next(), Some(("expired", 2)));
    assert_eq!(chat.durations.count(), 1);
}

/// The store is back when the program ends: the next process must not take for a try of unknown
/// fate what this one knows.
#[test]
fn what_could_not_be_stored_has_one_more_chance_at_the_end() {
    let house = house();
    house.write(&ana(), "hola");
    let memory = Arc::clone(house.memory());
    let carry = move |_: &Work| {
        memory.refuse_commits(Some(StoreError::Full));
        Report::Sent(None)
    };
    let outbox = Outbox::new(Arc::clone(&house.app), Arc::new(carry), Pace::default());
    let outbox = Arc::new(outbox);
    outbox.drain(Lane::Chat);
    let running = outbox.start().unwrap();
    house.memory().refuse_commits(None);
    // The clock stands still, and so nobody tries in time what is to be tried in a second.
    assert!(running.stop(Instant::now() + Duration::from_secs(20)));
    assert_eq!(house.overview().outbox, []);
}

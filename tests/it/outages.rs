//! Outages of minutes and hours and crowds of thousands, on a clock that is set by hand (R-20 to
//! what is waited for and how long, and what is never done in the meantime.

use crate::house::{Crowd, House, Person, Said, Takes, failure, mailbox_refused, server_error};
use crate::outside::{Reply, Server};
use crate::services::logged;
use portero::app::Clock;
use portero::domain::account::{Account, Answer, Company};
use portero::domain::binding::Scope;
use portero::domain::delivery::{Lane, Recipient};
use portero::domain::failure::FailureKind;
use portero::domain::id::{ContactId, EmailAddress, ServiceName};
use portero::domain::message::{Status, WebhookItem};
use portero::domain::secret::Secret;
use portero::domain::time::{MINUTE_MS, SECOND_MS, Timestamp};
use portero::services::{
    FAILURES_MAX, REST_MS, Services, Settings, TokenCall, TokenFor, UsersCall,
};
use portero::whatsapp::failure_of_code;
use serde_json::json;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const ANA: &str = "ana@example.com";

/// Longest part of a pause that chance adds or takes away.
const TENTH: f64 = 0.1;

fn person(number: usize) -> Person {
    Person::with_number(&format!("5730{number:08}"))
}

/// So many people write the same, in webhooks of a hundred.
fn crowd_writes(house: &House, people: usize, words: impl Fn(usize) -> String) {
    let numbers: Vec<usize> = (0..people).collect();
    for some in numbers.chunks(100) {
        let items = some
            .iter()
            .map(|number| WebhookItem::Message(house.text(&person(*number), &words(*number))));
        house.receive_all(items.collect()).unwrap();
    }
}

/// Writes down when somebody is tried, and how it goes.
fn noting(
    takes: impl Fn(Timestamp) -> Takes + Send + 'static,
) -> (Arc<Mutex<Vec<u64>>>, crate::house::TakesThen) {
    let tried_at = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&tried_at);
    let then = move |now: Timestamp| {
        noted.lock().unwrap().push(now.0);
        takes(now)
    };
    (tried_at, Box::new(then))
}

// --- WhatsApp -----------------------------------------------------------------------------------

/// Meta takes a quarter of what the file allows, and says so about the rest.
#[test]
fn r_20_a_thousand_who_wait_are_answered_as_fast_as_meta_lets_them() {
    const PEOPLE: usize = 1_000;
    const PER_SECOND: u64 = 20;
    let house = House::on_file();
    crowd_writes(&house, PEOPLE, |_| "hola".into());
    let (mut second, mut taken) = (0, 0);
    let (tried_at, then) = noting(|_| Takes::It);
    let mut then = then;
    house.world.change(|outside| {
        outside.whatsapp_then = Some(Box::new(move |now| {
            let _ = then(now);
            if second != now.0 / 1_000 {
                (second, taken) = (now.0 / 1_000, 0);
            }
            taken += 1;
            match taken <= PER_SECOND {
                true => Takes::It,
                false => Takes::Not(failure_of_code(130_429)),
            }
        }));
    });
    let mut seconds = 0;
    while house.world.change(|outside| outside.left.len()) < PEOPLE {
        house.settle();
        house.clock.forward(SECOND_MS);
        seconds += 1;
        assert!(seconds < 70, "after {seconds} s not everybody is answered");
    }
    // One question a second whether there is more room.
    let tries = tried_at.lock().unwrap().len();
    assert!(
        tries <= PEOPLE + 2 * seconds,
        "{tries} tries in {seconds} s"
    );
    let whom = |said: Said| match said.to {
        Recipient::Number(number) => number.as_str().to_owned(),
        Recipient::Bsuid(bsuid) => bsuid.as_str().to_owned(),
    };
    let whom: HashSet<String> = house.said().into_iter().map(whom).collect();
    assert_eq!((whom.len(), house.overview().dead.len()), (PEOPLE, 0));
    assert_eq!(house.overview().outbox, []);
}

/// the account has called too often, which asking again would prolong.
#[test]
fn r_20_an_account_that_called_too_often_asks_once_a_minute_and_then_goes_on() {
    let house = House::in_memory();
    let since = house.clock.now();
    let (tried_at, then) = noting(move |now| match now.since_ms(since) < 4 * MINUTE_MS {
        true => Takes::Not(failure_of_code(80_007)),
        false => Takes::It,
    });
    house
        .world
        .change(|outside| outside.whatsapp_then = Some(then));
    crowd_writes(&house, 200, |_| "hola".into());
    let log = logged(|| house.later(5 * MINUTE_MS));
    let tried_at = tried_at.lock().unwrap().clone();
    let first: Vec<u64> = (tried_at.iter().take(5)).map(|at| at - since.0).collect();
    let minutes = [0, 60, 120, 180, 240].map(|seconds| seconds * SECOND_MS);
    for (at, minute) in first.iter().zip(minutes) {
        assert!((minute..=minute + 2 * SECOND_MS).contains(at), "{first:?}");
    }
    assert_eq!(tried_at.len(), 4 + 200);
    assert_eq!(house.said().len(), 200);
    assert_eq!(house.overview().dead, []);
    assert_eq!(log.matches("sending is paused").count(), 1, "{log}");
    assert_eq!(log.matches("sending goes on").count(), 1);
}

/// of a thousand messages that were taken without an answer the status of every hundredth
/// never comes.
#[test]
fn r_21_what_was_taken_in_silence_is_repeated_only_where_no_status_came() {
    const PEOPLE: usize = 1_000;
    const STATUSES_LOST: usize = 10;
    let house = House::on_file();
    house
        .world
        .change(|outside| outside.whatsapp = Takes::ItSilently);
    crowd_writes(&house, PEOPLE, |_| "hola".into());
    let mut reported = 0;
    for _ in 0..30 * 4 {
        house.settle();
        house.clock.forward(SECOND_MS / 4);
        let said = house.said();
        for (number, said) in said.iter().enumerate().skip(reported) {
            if number % (PEOPLE / STATUSES_LOST) != 0 {
                house.status(said, Status::Sent);
            }
        }
        reported = said.len();
    }
    assert_eq!(house.said().len(), PEOPLE);
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(15 * MINUTE_MS);
    let repeated = house.said().len() - PEOPLE;
    assert_eq!(repeated, STATUSES_LOST, "1 % of what was injected");
    let overview = house.overview();
    assert_eq!((overview.outbox.len(), overview.dead.len()), (0, 0));
    assert_eq!(overview.sent.len(), PEOPLE);
}

/// for three minutes somebody in between answers in Meta's place, and nobody can know whether
/// anything arrives; in truth nothing does. Nobody is tried more than twice, and everybody is
/// answered once it is over.
#[test]
fn r_21_an_outage_that_leaves_everything_unknown_uses_up_nobody_s_second_chance() {
    const PEOPLE: usize = 200;
    let house = House::on_file();
    let since = house.clock.now();
    let silence = failure(
        FailureKind::Unknown,
        "HTTP 502 without an explanation by Meta",
    );
    let (tried_at, then) = noting(move |now| match now.since_ms(since) < 3 * MINUTE_MS {
        true => Takes::Not(silence.clone()),
        false => Takes::It,
    });
    house
        .world
        .change(|outside| outside.whatsapp_then = Some(then));
    crowd_writes(&house, PEOPLE, |_| "hola".into());
    let log = logged(|| house.later(10 * MINUTE_MS));
    let overview = house.overview();
    assert_eq!((overview.outbox.len(), overview.dead.len()), (0, 0));
    assert_eq!(house.said().len(), PEOPLE);
    let in_vain = tried_at.lock().unwrap().len() - PEOPLE;
    assert!(
        (8..PEOPLE / 4).contains(&in_vain),
        "{in_vain} tries in vain"
    );
    assert_eq!(log.matches("sending is paused").count(), 1, "{log}");
    assert_eq!(log.matches("sending goes on").count(), 1, "{log}");
}

/// a token that is not put right for three hours. What comes in is taken and the bot hears of
/// it; somebody is told once an hour; nobody is hammered.
#[test]
fn r_22_a_token_that_is_wrong_for_hours_is_told_once_an_hour_and_holds_up_nothing_else() {
    let crowd = Crowd::new(1);
    let (house, bound) = (&crowd.house, &crowd.people[0]);
    let wrong = failure_of_code(190);
    house
        .world
        .change(|outside| outside.whatsapp = Takes::Not(wrong));
    let tries_before = house.world.change(|outside| outside.chat_tries);
    let log = logged(|| {
        for minute in 0..180 {
            house.write(&person(minute), "hola");
            house.write(bound, "my orders");
            for _ in 0..6 {
                house.settle();
                house.clock.forward(10 * SECOND_MS);
            }
        }
    });
    assert_eq!(log.matches("sending is paused").count(), 3, "{log}");
    assert_eq!(house.handed_on().len(), 180, "the bot's messages");
    assert_eq!(house.contacts().len(), 181, "what was stored");
    let tries = house.world.change(|outside| outside.chat_tries) - tries_before;
    assert!(tries <= 2 * 180 + 1, "{tries} tries");
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(MINUTE_MS);
    // Whoever wrote in the last ten minutes is answered; what is older is kept with its reason.
    let overview = house.overview();
    let answered = house.said().len();
    assert!((9..=11).contains(&answered), "{answered} answered");
    assert_eq!(overview.dead.len(), 180 - answered);
    assert_eq!(overview.outbox, []);
}

/// expired or revoked, of an app without the permission, of another account.
#[test]
fn r_22_whatever_is_wrong_with_the_token_pauses_and_resumes() {
    for code in [0, 3, 10, 33, 190, 200, 299, 131_005] {
        let house = House::in_memory();
        let wrong = failure_of_code(code);
        house
            .world
            .change(|outside| outside.whatsapp = Takes::Not(wrong.clone()));
        crowd_writes(&house, 5, |_| "hola".into());
        house.later(2 * MINUTE_MS);
        let tries = house.world.change(|outside| outside.chat_tries);
        assert!(tries <= 6, "{code}: {tries} tries");
        let rest = house.outbox.health()[0].resting.clone();
        assert_eq!(rest.map(|rest| rest.reason), Some(wrong.reason), "{code}");
        house.world.change(|outside| outside.whatsapp = Takes::It);
        // As after a reload.
        house.outbox.try_now(Lane::Chat);
        house.settle();
        assert_eq!(house.said().len(), 5, "{code}");
        assert_eq!(house.outbox.health()[0].resting, None, "{code}");
    }
}

/// an error that Meta does not explain is not asked for until the message is of no use any more,
/// and holds up what comes behind it for a minute or so. A bad moment costs nothing.
#[test]
fn r_21_what_meta_does_not_explain_is_repeated_once_or_twice_and_kept_with_its_reason() {
    for (code, repeats) in [(1, 1), (131_000, 2)] {
        for comes in [false, true] {
            let house = House::in_memory();
            let unexplained = failure_of_code(code);
            let refusals = repeats + usize::from(!comes);
            house.world.change(|outside| {
                outside.whatsapp_next = vec![Takes::Not(unexplained.clone()); refusals].into();
            });
            let ana = person(1);
            house.write(&ana, "hola");
            house.settle();
            house.ask(&ana, "cancelar");
            house.later(90 * SECOND_MS);
            let tries = house.world.change(|outside| outside.chat_tries);
            assert_eq!(tries, repeats + 2, "{code}");
            let dead = house.overview().dead;
            let reasons: Vec<&str> = dead.iter().map(|letter| letter.reason.as_str()).collect();
            match comes {
                true => assert_eq!((house.said().len(), reasons.len()), (2, 0), "{code}"),
                false => assert_eq!(
                    (house.said().len(), reasons),
                    (1, vec![&*unexplained.reason])
                ),
            }
        }
    }
}

/// tries that failed otherwise take nothing from those that an unexplained error has.
#[test]
fn r_21_what_failed_otherwise_before_leaves_the_unexplained_their_repetitions() {
    for (code, repeats) in [(1, 1), (131_000, 2)] {
        for comes in [false, true] {
            let house = House::in_memory();
            let unexplained = failure_of_code(code);
            let others = [2, 130_429, 131_016].map(failure_of_code);
            let refusals = repeats + usize::from(!comes);
            house.world.change(|outside| {
                outside.whatsapp_next = (others.iter().cloned())
                    .chain(vec![unexplained.clone(); refusals])
                    .map(Takes::Not)
                    .collect();
            });
            house.write(&person(1), "hola");
            house.settle();
            house.later(5 * MINUTE_MS);
            let tries = house.world.change(|outside| outside.chat_tries);
            assert_eq!(tries, others.len() + repeats + 1, "{code}");
            let dead = house.overview().dead;
            let reasons: Vec<&str> = dead.iter().map(|letter| letter.reason.as_str()).collect();
            match comes {
                true => assert_eq!((house.said().len(), reasons.len()), (1, 0), "{code}"),
                false => assert_eq!(
                    (house.said().len(), reasons),
                    (0, vec![&*unexplained.reason])
                ),
            }
        }
    }
}

/// each code that says that this person cannot be reached, or too late.
#[test]
fn r_23_whatever_makes_a_person_unreachable_is_tried_once() {
    for code in [
        131_021, 131_026, 131_030, 131_047, 131_049, 131_062, 130_497, 137_000,
    ] {
        let house = House::in_memory();
        let impossible = failure_of_code(code);
        house
            .world
            .change(|outside| outside.whatsapp_next = [Takes::Not(impossible.clone())].into());
        crowd_writes(&house, 2, |_| "hola".into());
        house.later(20 * MINUTE_MS);
        let tries = house.world.change(|outside| outside.chat_tries);
        assert_eq!((tries, house.said().len()), (2, 1), "{code}");
        let dead = house.overview().dead;
        assert_eq!(dead.len(), 1, "{code}");
        assert_eq!(dead[0].reason, impossible.reason);
    }
}

///
#[test]
fn r_21_while_meta_takes_nothing_that_is_said_and_it_is_over_with_the_first_that_it_takes() {
    let house = House::in_memory();
    let failing = |lane: usize| house.outbox.health()[lane].failing.clone();
    let taken = |takes: Takes| house.world.change(|outside| outside.whatsapp = takes);
    taken(Takes::Not(server_error()));
    crowd_writes(&house, 5, |_| "hola".into());
    let since = house.clock.now();
    house.settle();
    house.later(MINUTE_MS);
    assert_eq!(failing(0), None);
    house.later(2 * MINUTE_MS);
    let told = failing(0).expect("what fails is told");
    assert_eq!((told.since, told.reason), (since, server_error().reason));
    taken(Takes::It);
    house.later(2 * MINUTE_MS);
    assert_eq!(house.said().len(), 5);
    assert_eq!(failing(0), None);
    // What fails for nobody who waits is no news any more.
    taken(Takes::Not(server_error()));
    crowd_writes(&house, 5, |_| "hola".into());
    house.later(11 * MINUTE_MS);
    assert_eq!(house.outbox.health()[0].waiting, 0);
    assert_eq!(failing(0), None);
    // Nor is it where somebody writes again.
    crowd_writes(&house, 5, |_| "hola".into());
    house.settle();
    assert_eq!(failing(0), None);
}

// --- mail ---------------------------------------------------------------------------------------

/// the pauses, and what is offered at their end.
#[test]
fn r_30_a_mail_server_that_is_away_is_asked_with_growing_pauses_until_the_code_ends() {
    let house = House::in_memory();
    house.register("kutamma", ANA, "Ana Pérez", "Acme");
    let ana = person(1);
    let (tried_at, then) = noting(|_| Takes::Not(server_error()));
    house.world.change(|outside| outside.mail_then = Some(then));
    house.ask(&ana, ANA);
    let asked_at = house.clock.now();
    house.later(9 * MINUTE_MS);
    assert_eq!(house.said().len(), 1, "nothing is said before it is over");
    house.later(2 * MINUTE_MS);
    let tried_at = tried_at.lock().unwrap().clone();
    let pauses: Vec<u64> = tried_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let usual = [5, 15, 45].into_iter().chain(std::iter::repeat(54));
    for (pause_ms, usual_s) in pauses.iter().zip(usual) {
        let usual_ms = (usual_s * SECOND_MS) as f64;
        // The clock goes on in whole seconds.
        let range = usual_ms * (1.0 - TENTH)..=usual_ms * (1.0 + TENTH) + 1_000.0;
        assert!(range.contains(&(*pause_ms as f64)), "{pauses:?}");
    }
    let last = tried_at.last().unwrap() - asked_at.0;
    assert!((9 * MINUTE_MS..10 * MINUTE_MS).contains(&last), "{last}");
    let told = house.said().pop().unwrap().message;
    assert!(told.body.starts_with("El correo no está funcionando"));
    assert!(
        told.body.contains("correo"),
        "it is offered again: {}",
        told.body
    );
}

/// a server that greylists for some time gets the mail less than a minute after that.
#[test]
fn r_31_a_mail_that_is_put_off_arrives_within_a_minute_of_when_it_is_welcome() {
    let mut latest = 0;
    for greylisted_s in [1, 4, 10, 30, 60, 90, 120, 300] {
        let house = House::in_memory();
        house.register("kutamma", ANA, "Ana Pérez", "Acme");
        let until = house
            .clock
            .now()
            .plus_ms(10 * SECOND_MS + greylisted_s * SECOND_MS);
        let put_off = failure(FailureKind::RecipientForNow, "SMTP, RCPT: 451 4.7.1");
        let (tried_at, then) = noting(move |now| match now < until {
            true => Takes::Not(put_off.clone()),
            false => Takes::It,
        });
        house.world.change(|outside| outside.mail_then = Some(then));
        house.ask(&person(1), ANA);
        house.later(9 * MINUTE_MS);
        assert_eq!(house.mails().len(), 1, "greylisted for {greylisted_s} s");
        let taken_at = *tried_at.lock().unwrap().last().unwrap();
        let late_ms = taken_at - until.0;
        assert!(late_ms <= MINUTE_MS, "{late_ms} ms after {greylisted_s} s");
        latest = latest.max(late_ms);
        house.ask(&person(1), &house.code());
        assert!(house.is_bound(&person(1)));
    }
    eprintln!("at the latest {latest} ms after it was welcome");
}

/// whoever asked hears the same about a mailbox that refuses as about an address that nobody
/// has, at the same moments.
#[test]
fn r_32_a_mailbox_that_refuses_sounds_like_an_address_that_nobody_has() {
    let heard = |registered: bool| {
        let house = House::in_memory();
        if registered {
            house.register("kutamma", ANA, "Ana Pérez", "Acme");
        }
        let (tried_at, then) = noting(move |_| match registered {
            true => Takes::Not(mailbox_refused()),
            false => Takes::It,
        });
        house.world.change(|outside| outside.mail_then = Some(then));
        let ana = person(1);
        for words in ["hola", ANA, "12345678", "reenviar"] {
            house.ask(&ana, words);
            house.later(2 * MINUTE_MS);
        }
        house.later(12 * MINUTE_MS);
        let said = house.said().into_iter();
        let heard: Vec<(u64, String)> = said.map(|said| (said.at.0, said.message.body)).collect();
        let tries = tried_at.lock().unwrap().len();
        (
            heard,
            tries,
            house.overview().dead.len(),
            house.mails().len(),
        )
    };
    let (of_nobody, _, _, mails) = heard(false);
    assert_eq!(mails, 0);
    let (of_ana, tries, dead, mails) = heard(true);
    assert_eq!(of_ana, of_nobody);
    // Asked for twice, tried once each, and marked for the operator.
    assert_eq!((tries, dead, mails), (2, 2, 0));
}

/// a server that takes every mail and never says so.
#[test]
fn r_33_a_server_that_never_says_that_it_took_a_mail_gets_it_twice_at_most() {
    let house = House::in_memory();
    house.register("kutamma", ANA, "Ana Pérez", "Acme");
    house
        .world
        .change(|outside| outside.mail = Takes::ItSilently);
    house.ask(&person(1), ANA);
    let told = house.said().len();
    house.later(9 * MINUTE_MS);
    let mails = house.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1], "the same id and code");
    assert_eq!(house.said().len(), told);
    house.ask(&person(1), &house.code());
    assert!(house.is_bound(&person(1)), "it was the code all the same");
}

/// a thousand codes wait for a mail server that comes back when they are of no use.
#[test]
fn r_35_codes_that_ended_while_they_waited_are_dropped_unsent() {
    const PEOPLE: usize = 1_000;
    let house = House::on_file();
    house.world.change(|outside| {
        outside.answers = Some(Box::new(|look_up, _| {
            let service = ServiceName::parse("kutamma").unwrap();
            vec![Answer {
                service: service.clone(),
                users: Ok(vec![user(service, look_up.address.clone())]),
            }]
        }));
        outside.mail = Takes::Not(server_error());
    });
    crowd_writes(&house, PEOPLE, |number| format!("user{number}@example.com"));
    house.outbox.drain(Lane::Services);
    assert_eq!(house.outbox.drain(Lane::Mail), PEOPLE);
    let (tried_at, then) = noting(|_| Takes::It);
    house.world.change(|outside| outside.mail_then = Some(then));
    house.clock.forward(10 * MINUTE_MS);
    assert_eq!(house.outbox.drain(Lane::Mail), PEOPLE);
    assert_eq!(tried_at.lock().unwrap().len(), 0);
    assert_eq!(house.mails().len(), 0);
    let waits = house.outbox.health()[Lane::Mail as usize].waiting;
    assert_eq!(waits, 0);
}

fn user(service: ServiceName, email: EmailAddress) -> Account {
    Account {
        service,
        user_id: email.key().to_owned(),
        name: "Ana Pérez".into(),
        email,
        phone: None,
        company: Company {
            id: "acme".into(),
            name: "Acme".into(),
        },
    }
}

// --- services -----------------------------------------------------------------------------------

fn service(name: &str, url: &str, timeout: Duration) -> Settings {
    Settings {
        name: ServiceName::parse(name).unwrap(),
        title: name.to_owned(),
        find_user: UsersCall::find_user(&format!("{url}/find-user")).unwrap(),
        issue_token: TokenCall::issue_token(&format!("{url}/issue-token")).unwrap(),
        check_password: None,
        secret: Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        bearer: None,
        timeout,
        ca_pem: None,
        connections: 4,
    }
}

/// ten minutes without the services, over real connections, with thirty people who ask.
#[test]
fn r_40_ten_minutes_without_the_services_cost_nobody_a_try_and_the_services_few_questions() {
    const OUTAGE_S: u64 = 600;
    let (asked, is_down) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(true)),
    );
    let (counting, answering) = (Arc::clone(&asked), Arc::clone(&is_down));
    let server = Server::start(move |request| {
        counting.fetch_add(1, Ordering::SeqCst);
        if answering.load(Ordering::SeqCst) {
            return Reply::HangUp;
        }
        let email = request.json().unwrap()["email"].clone();
        let company = json!({"id": "acme", "name": "Acme"});
        let user = json!({"id": email, "name": "Ana", "email": email, "company": company});
        Reply::Json(200, json!({"users": [user]}))
    });
    let timeout = Duration::from_secs(30);
    let services = Services::new(vec![service("kutamma", &server.url(), timeout)]).unwrap();
    let services = Arc::new(services);
    let house = House::in_memory();
    let carrying = Arc::clone(&services);
    house.world.change(|outside| {
        outside.answers = Some(Box::new(move |look_up, now| {
            carrying.find_user(&look_up.address, now, &look_up.id)
        }));
    });
    let address = |number: usize| format!("user{number}@example.com");
    let (mut people, mut opened_at) = (0, None);
    for second in 0..OUTAGE_S {
        if second % 20 == 0 {
            let before = house.said().len();
            house.write(&person(people), &address(people));
            house.settle();
            let said = house.said().split_off(before);
            let neutral = said
                .iter()
                .find(|said| person(people).is(&said.to))
                .unwrap();
            assert!(neutral.message.body.starts_with("Si u•••@e•••"));
            // The clock has not moved since they wrote.
            assert_eq!(neutral.at, house.clock.now());
            people += 1;
        }
        // The first one asks again as often as they are let down.
        if second % 125 == 124 {
            house.write(&person(0), &address(0));
        }
        house.settle();
        if opened_at.is_none() && services.health()[0].2.next_try.is_some() {
            opened_at = Some(asked.load(Ordering::SeqCst));
        }
        house.clock.forward(SECOND_MS);
    }
    assert_eq!(opened_at, Some(FAILURES_MAX as usize));
    // After that one question each time that it was left alone for long enough.
    let questions = asked.load(Ordering::SeqCst);
    let probes = usize::try_from(OUTAGE_S * SECOND_MS / REST_MS).unwrap();
    let bound = FAILURES_MAX as usize + probes;
    assert!((bound - 3..=bound).contains(&questions), "{questions}");
    assert_eq!(house.mails().len(), 0);
    // Whoever has waited for two minutes was told that nobody could be asked, and nothing else.
    for number in 1..people - 7 {
        let told = house.said_to(&person(number));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("No pude consultar"), "{}", told[1]);
    }
    // It comes back: the latest get their codes without doing anything, the others when they ask.
    is_down.store(false, Ordering::SeqCst);
    house.later(50 * SECOND_MS);
    for number in [0].into_iter().chain(people - 3..people) {
        assert_eq!(house.mails_to(&address(number)), 1, "{number}");
    }
    for number in [1, 2, people - 10] {
        house.ask(&person(number), &address(number));
        assert_eq!(house.mails_to(&address(number)), 1, "{number}");
        house.ask(&person(number), &house.code());
        assert!(house.is_bound(&person(number)), "{number}");
    }
    assert_eq!(services.health()[0].2.failures_in_a_row, 0);
}

/// one company's system takes half a minute for each answer; the other's is asked for tokens
/// all the while.
#[test]
fn r_41_a_service_that_is_slow_is_cut_and_the_other_one_is_as_fast_as_ever() {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let slow = Server::start(|_| Reply::Silence);
    let fast = Server::start(|_| {
        Reply::Json(
            200,
            json!({"token": "t", "tokenType": "Bearer", "expiresIn": 60}),
        )
    });
    let of = |names: &[(&str, &Server)]| {
        let settings = names.iter();
        let settings = settings.map(|(name, server)| service(name, &server.url(), TIMEOUT));
        Services::new(settings.collect()).unwrap()
    };
    // What else runs on the machine meets those without a slow one as well.
    let (services, calm) = (
        of(&[("slow", &slow), ("fast", &fast)]),
        of(&[("fast", &fast)]),
    );
    let token = |services: &Services, name: &str| {
        let wanted = TokenFor {
            user_id: "1",
            company_id: "acme",
            contact: ContactId([1; 16]),
            scope: Scope::Full,
        };
        let name = ServiceName::parse(name).unwrap();
        services.issue_token(&name, &wanted, crate::house::START, "id")
    };
    let (mut beside_slow, mut beside_nobody) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let since = Instant::now();
                    assert!(token(&services, "slow").is_err());
                    since.elapsed()
                })
            })
            .collect();
        while callers.iter().any(|caller| !caller.is_finished()) {
            for (services, times) in [(&services, &mut beside_slow), (&calm, &mut beside_nobody)] {
                let since = Instant::now();
                token(services, "fast").unwrap();
                times.push(since.elapsed());
            }
        }
        for caller in callers {
            let took = caller.join().unwrap();
            let range = TIMEOUT..TIMEOUT + Duration::from_secs(3);
            assert!(range.contains(&took), "cut after {took:?}");
        }
    });
    // Over all of them.
    let p99 = |mut times: Vec<Duration>| {
        times.sort();
        (times[(times.len() - 1) * 99 / 100], times[times.len() - 1])
    };
    let count = beside_slow.len();
    let ((slow, slowest), (nobody, _)) = (p99(beside_slow), p99(beside_nobody));
    eprintln!("of {count} each: p99 {slow:?}, at most {slowest:?}; beside nobody p99 {nobody:?}");
    let limit = Duration::from_millis(50).max(2 * nobody);
    assert!(
        slow < limit && slowest < TIMEOUT / 2,
        "{slow:?}, {slowest:?}"
    );
}

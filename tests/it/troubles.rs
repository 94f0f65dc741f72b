//! The outside world in bad moods, as people see it through the real program: nothing is lost,
//! nothing is doubled, and nobody suffers from another's trouble.

use crate::outside::{
    ANA, BEA, CANCELLED, Letter, Mood, ON_ITS_WAY, Portero, SIGNED_IN, STORE_KEY, ServiceMood,
    WELCOME, World, ask, envelope, eventually, status, status_of, text, webhook,
};
use crate::reload::run;
use crate::smtp_sink;
use crate::user::now;
use portero::domain::contact::Contact;
use portero::domain::delivery::{Entry, EntryId, Errand, Notice};
use portero::domain::id::{ChallengeId, ContactId, EmailAddress};
use portero::domain::language::Language;
use portero::domain::time::HOUR_MS;
use portero::mail::Security;
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed, Writer, record};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const FIRST: &str = "573001234567";
const SECOND: &str = "573007654321";

/// a mailbox that refuses mail exists, and whoever asked must not learn that.
#[test]
fn a_full_mailbox_is_told_to_nobody_and_hinders_nobody() {
    let mut world = World::with_mail(json!({"RCPT": ["552 5.2.2 mailbox full"]}));
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email)]);
    world.mail().named_recipient();
    portero.receive(&[text(SECOND, BEA.email)]);
    let letter = world.mail().letter_to(BEA.email);
    portero.receive(&[text(SECOND, &letter.code())]);
    world
        .graph
        .assert_received(SECOND, &[ON_ITS_WAY, SIGNED_IN]);
    portero.receive(&[text(FIRST, "cancelar")]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, CANCELLED]);
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
    assert_eq!(portero.stop().0, Some(0));
    assert!(
        (world.mail.take().unwrap().finish().iter()).all(Letter::is_notice),
        "no second code"
    );
}

/// a server that greylists gets the mail a little later, once.
#[test]
fn a_mail_that_was_put_off_arrives_once() {
    let mut world = World::with_mail(json!({"RCPT": ["451 4.7.1 greylisted, try again later"]}));
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email)]);
    let letter = world.mail().letter_to(ANA.email);
    portero.receive(&[text(FIRST, &letter.code())]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
    assert_eq!(portero.stop().0, Some(0));
    assert!(
        (world.mail.take().unwrap().finish().iter()).all(Letter::is_notice),
        "no second code"
    );
}

/// the others are asked at the same time, and other people do not wait behind it.
#[test]
fn a_service_that_hangs_is_cut_and_the_other_is_believed() {
    let mut world = World::with_mail(json!({}));
    let woku = "secret = \"file:woku_secret\"\ntimeout_seconds = ";
    world.edit(&format!("{woku}10"), &format!("{woku}1"));
    world.woku.set(ServiceMood::Hang);
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email), text(SECOND, BEA.email)]);
    let for_ana = world.mail().letter_to(ANA.email);
    let for_bea = world.mail().letter_to(BEA.email);
    portero.receive(&[text(FIRST, &for_ana.code()), text(SECOND, &for_bea.code())]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
    // Only what was answered is known: not her account at the service that hung.
    world.graph.assert_received(
        SECOND,
        &[ON_ITS_WAY, "Entraste como Bea Gómez de Inpla en Kutamma."],
    );
    assert!(!world.woku.asked().is_empty());
}

/// who could not be asked may know the address, so that there is no answer until it speaks.
#[test]
fn an_answer_that_is_none_is_asked_for_again_and_the_code_comes_once() {
    for mood in [ServiceMood::Garbled, ServiceMood::Refuse(500)] {
        let mut world = World::with_mail(json!({}));
        world.kutamma.set(mood);
        let portero = world.start();
        portero.receive(&[text(FIRST, ANA.email)]);
        eventually("it was asked", || {
            (!world.kutamma.asked().is_empty()).then_some(())
        });
        world.kutamma.set(ServiceMood::Good);
        let letter = world.mail().letter_to(ANA.email);
        portero.receive(&[text(FIRST, &letter.code())]);
        world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
        assert_eq!(portero.stop().0, Some(0));
        assert!(
            (world.mail.take().unwrap().finish().iter()).all(Letter::is_notice),
            "no second code"
        );
    }
}

/// Meta has a bad moment.
#[test]
fn a_message_that_meta_refused_for_a_moment_is_sent_once_and_in_order() {
    let world = World::without_mail();
    world
        .graph
        .next(&[Mood::Refuse(500, 131_000), Mood::Refuse(503, 2)]);
    let portero = world.start();
    portero.receive(&[text(FIRST, "hola"), text(SECOND, "hola")]);
    portero.receive(&[text(FIRST, "cancelar"), text(SECOND, "cancelar")]);
    for wa_id in [FIRST, SECOND] {
        world.graph.assert_received(wa_id, &[WELCOME, CANCELLED]);
    }
    assert_eq!(world.graph.refused(), 2);
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
}

/// a person who cannot be reached is nobody else's trouble.
#[test]
fn a_person_who_cannot_be_reached_stands_in_nobody_s_way() {
    let world = World::without_mail();
    world.graph.next(&[Mood::Refuse(400, 131_026)]);
    let portero = world.start();
    portero.receive(&[text(FIRST, "hola")]);
    eventually("the refusal", || (world.graph.refused() == 1).then_some(()));
    portero.receive(&[text(SECOND, "hola")]);
    world.graph.assert_received(SECOND, &[WELCOME]);
    portero.receive(&[text(FIRST, "cancelar")]);
    world.graph.assert_received(FIRST, &[CANCELLED]);
}

/// the connection was lost after Meta had taken the message; its status says so.
#[test]
fn a_message_of_unknown_fate_is_not_sent_again_when_its_status_comes() {
    let world = World::without_mail();
    world.graph.next(&[Mood::TakeAndHangUp]);
    let portero = world.start();
    portero.receive(&[text(FIRST, "hola")]);
    let sent = world.graph.reply(FIRST, 1);
    for name in ["delivered", "sent"] {
        assert_eq!(portero.post_webhook(&status(&sent, name)).status, 200);
    }
    portero.receive(&[text(FIRST, "cancelar")]);
    // Well before the minute that it waits when no status comes.
    world.graph.reply_within(FIRST, 2, Duration::from_secs(45));
    world.graph.assert_received(FIRST, &[WELCOME, CANCELLED]);
}

fn number(person: usize) -> String {
    format!("57301{person:07}")
}

/// So many people write for the first time, in webhooks of a hundred.
fn crowd_writes(portero: &Portero, people: usize, words: impl Fn(usize) -> String) {
    let people: Vec<usize> = (0..people).collect();
    for some in people.chunks(100) {
        let texts = some
            .iter()
            .map(|person| text(&number(*person), &words(*person)));
        portero.receive(&texts.collect::<Vec<_>>());
    }
}

/// What `portero outbox list` shows.
fn listed(world: &World, more: &[&str]) -> Vec<Value> {
    let arguments = [&["outbox", "list", "--json"], more].concat();
    let (code, output, error) = run(world, &arguments);
    assert_eq!(code, Some(0), "{error}");
    let listed: Value = serde_json::from_str(&output).unwrap();
    listed
        .as_array()
        .cloned()
        .unwrap_or_else(|| panic!("{listed}"))
}

/// a thousand people wait at once. No second in which more than the file allows is sent,
/// wherever it begins; who is held back by Meta holds up nobody; everybody is answered once.
#[test]
fn a_backlog_of_a_thousand_drains_at_the_rate_of_the_number() {
    const PEOPLE: usize = 1_000;
    const PER_SECOND: usize = 80;
    let world = World::without_mail();
    world.edit("messages_per_second = 1000", "messages_per_second = 80");
    let mut moods = vec![Mood::Refuse(429, 131_056); 40];
    moods.extend([Mood::Refuse(429, 130_429); 2]);
    world.graph.next(&moods);
    let portero = world.start();
    let since = Instant::now();
    crowd_writes(&portero, PEOPLE, |_| "hola".to_owned());
    eventually("everybody is answered", || {
        (world.graph.count() == PEOPLE).then_some(())
    });
    let took = since.elapsed();
    for person in 0..PEOPLE {
        assert_eq!(world.graph.sent_to(&number(person)).len(), 1, "{person}");
    }
    let called_at = world.graph.called_at();
    assert_eq!(
        called_at.len(),
        PEOPLE + moods.len(),
        "one try more for each refusal"
    );
    // The program counts whole milliseconds.
    let second = Duration::from_millis(999);
    let most = (called_at.iter().enumerate())
        .map(|(first, from)| {
            let within = |at: &&Instant| at.duration_since(*from) < second;
            called_at[first..].iter().take_while(within).count()
        })
        .max();
    eprintln!("{PEOPLE} in {took:?}, at most {most:?} in a second");
    assert!(most <= Some(PER_SECOND), "{most:?} in a second");
    assert_eq!(listed(&world, &[]), [] as [Value; 0]);
}

/// of four hundred messages every third meets a fault: taken, and no answer or a useless one
/// comes, or not taken. Nobody waits in vain, and nobody gets anything twice.
#[test]
fn what_was_taken_without_a_good_answer_is_not_sent_again_and_nothing_is_lost() {
    const PEOPLE: usize = 400;
    let world = World::without_mail();
    let mut moods = Vec::new();
    for (mood, times) in [
        (Mood::TakeAndHangUp, 40),
        (Mood::TakeAndSay(502), 30),
        (Mood::TakeAndSay(504), 30),
        (Mood::TakeAndSay(200), 16),
        (Mood::TakeAndHang, 4),
        (Mood::Refuse(500, 131_000), 15),
        (Mood::Refuse(503, 131_016), 15),
    ] {
        moods.extend(vec![mood; times]);
    }
    world.graph.next(&moods);
    let portero = world.start();
    let since = Instant::now();
    crowd_writes(&portero, PEOPLE, |_| "hola".to_owned());
    let mut reported = 0;
    eventually("everybody is answered and nothing waits", || {
        let sent = world.graph.sent();
        // As late as Meta may be, within what is waited for.
        if sent.len() > reported && since.elapsed() > Duration::from_secs(3) {
            let statuses = sent[reported..].iter().take(100);
            let statuses: Vec<Value> = statuses.map(|sent| status_of(sent, "sent")).collect();
            reported += statuses.len();
            let body = envelope(json!({ "statuses": statuses }));
            assert_eq!(portero.post_webhook(&body).status, 200);
            return None;
        }
        let is_over = sent.len() >= PEOPLE && reported == sent.len();
        (is_over && listed(&world, &[]).is_empty()).then_some(())
    });
    eprintln!("{} messages in {:?}", world.graph.count(), since.elapsed());
    for person in 0..PEOPLE {
        world.graph.assert_received(&number(person), &[WELCOME]);
    }
    assert_eq!(listed(&world, &["--dead"]), [] as [Value; 0]);
}

/// who cannot be reached is tried once, whether Meta says so at once or later; the
/// operator finds both with their reasons; and the conversation goes on where it was.
#[test]
fn what_did_not_arrive_is_listed_with_its_reason_and_the_conversation_goes_on() {
    let mut world = World::with_mail(json!({}));
    world.graph.next(&[Mood::Refuse(400, 131_047)]);
    let portero = world.start();
    portero.receive(&[text(SECOND, "hola")]);
    eventually("the refusal", || (world.graph.refused() == 1).then_some(()));
    portero.receive(&[text(FIRST, "hola"), text(FIRST, ANA.email)]);
    let on_its_way = world.graph.reply(FIRST, 2);
    let code = world.mail().letter_to(ANA.email).code();
    let mut failed = status_of(&on_its_way, "failed");
    failed["errors"] = json!([{"code": 131_026, "title": "Message undeliverable"}]);
    let body = envelope(json!({ "statuses": [failed] }));
    for _ in 0..2 {
        assert_eq!(portero.post_webhook(&body).status, 200);
    }
    // What Meta sent before it failed changes nothing any more.
    assert_eq!(
        portero.post_webhook(&status(&on_its_way, "sent")).status,
        200
    );
    let letters = eventually("two dead letters", || {
        let letters = listed(&world, &["--dead"]);
        (letters.len() == 2).then_some(letters)
    });
    let all = json!(letters).to_string();
    assert!(all.contains("131047 more than 24 hours"), "{all}");
    assert!(all.contains("failed (code 131026)"), "{all}");
    // She never saw that a code is on its way, and it is good all the same.
    portero.receive(&[text(FIRST, &code)]);
    world
        .graph
        .assert_received(FIRST, &[WELCOME, ON_ITS_WAY, SIGNED_IN]);
    assert_eq!(world.graph.refused(), 1);
    assert_eq!(portero.stop().0, Some(0));
}

/// How long webhooks took that went to two programs in turn: to one beside which somebody is slow,
/// and to one beside which nobody is. What else runs on the machine meets both.
#[derive(Default)]
struct Beside {
    slow: Vec<Duration>,
    nobody: Vec<Duration>,
}

impl Beside {
    /// One webhook to each of them, by people who write for the first time.
    fn receive(&mut self, slow: &Portero, nobody: &Portero) {
        let sides = [(slow, &mut self.slow), (nobody, &mut self.nobody)];
        for (portero, times) in sides {
            let body = webhook(&[text(&format!("57302{:07}", unique()), "hola")]);
            let since = Instant::now();
            assert_eq!(portero.post_webhook(&body).status, 200);
            times.push(since.elapsed());
        }
    }

    /// Over all of them: 99 of a hundred are acknowledged within 50 ms, or on a machine that is too
    /// loaded for that within twice what they take beside nobody; and so is half of them. None has
    /// waited for the slow one.
    fn assert_unaffected(mut self) {
        assert!(self.slow.len() >= 50, "only {}", self.slow.len());
        self.slow.sort();
        self.nobody.sort();
        let of = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100];
        let told = [50, 90, 99, 100].map(|p| (p, of(&self.slow, p), of(&self.nobody, p)));
        eprintln!("of {} webhooks each: {told:?}", self.slow.len());
        for (percent, slow, nobody) in told {
            let limit = match percent {
                100 => WAITS / 2,
                _ => Duration::from_millis(50).max(2 * nobody),
            };
            assert!(
                slow < limit,
                "{percent} %: {slow:?}, beside nobody {nobody:?}"
            );
        }
    }
}

/// How long somebody slow is waited for.
const WAITS: Duration = Duration::from_secs(10);

/// A number that no other call gives.
fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Meta answers a byte a second. Its senders are free again after ten, and what comes in is
/// acknowledged as ever.
#[test]
fn an_answer_that_drips_for_a_minute_holds_a_sender_for_ten_seconds_and_no_webhook() {
    let (world, calm) = (World::without_mail(), World::without_mail());
    let (portero, beside_nobody) = (world.start(), calm.start());
    world.graph.always(Some(Mood::Drip));
    portero.receive(&[text(FIRST, "hola")]);
    eventually("an answer drips", || {
        (world.graph.refused() > 0).then_some(())
    });
    let mut beside = Beside::default();
    while world.graph.dripped().len() < 4 || beside.slow.len() < 300 {
        beside.receive(&portero, &beside_nobody);
    }
    let taken = world.graph.count();
    let waited = world.graph.dripped();
    let range = Duration::from_millis(9_500)..Duration::from_secs(13);
    assert!(
        waited.iter().all(|waited| range.contains(waited)),
        "{waited:?}"
    );
    world.graph.always(None);
    // The senders go on, and with somebody who has waited behind those.
    eventually("somebody is answered", || {
        (world.graph.count() > taken).then_some(())
    });
    beside.assert_unaffected();
}

/// somebody in between takes STARTTLS out of the list. Mail rests, that is told, and not a
/// byte of it or of the password is said in the clear; on the way to the server itself all of it
/// leaves.
#[test]
fn a_stripped_starttls_pauses_mail_and_raises_the_alarm_until_it_is_put_right() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heard, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let Ok(line) = line else { break };
                let _ = heard.send(line);
                let answer = b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n";
                if stream.write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    let mut world = World::with_mail(json!({}));
    let right = format!("port = {}", world.mail().port());
    world.edit(&right, &format!("port = {port}"));
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email)]);
    let log = eventually("the alarm", || {
        let log = portero.log();
        log.contains("sending is paused").then_some(log)
    });
    assert!(log.contains("does not offer STARTTLS"), "{log}");
    let trouble = portero.get("/readyz").json()["troubles"][0].to_string();
    assert!(trouble.contains("sending by mail is paused"), "{trouble}");
    world.edit(&format!("port = {port}"), &right);
    assert_eq!(run(&world, &["reload"]).0, Some(0));
    let code = world.mail().letter_to(ANA.email).code();
    portero.receive(&[text(FIRST, &code)]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
    let lines: Vec<String> = lines.try_iter().collect();
    let others = lines.iter().filter(|line| !line.starts_with("EHLO "));
    assert_eq!(others.count(), 0, "{lines:?}");
}

/// the certificate is of another authority.
#[test]
fn a_certificate_that_is_not_trusted_pauses_mail_until_it_is() {
    let mut world = World::with_mail(json!({}));
    let right = std::fs::read(world.path("mail-ca.pem")).unwrap();
    let other = smtp_sink::start(Security::StartTls, json!({}));
    std::fs::write(world.path("mail-ca.pem"), &other.ca_pem).unwrap();
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email)]);
    let log = eventually("the alarm", || {
        let log = portero.log();
        log.contains("sending is paused").then_some(log)
    });
    assert!(log.contains("unknown issuer"), "{log}");
    std::fs::write(world.path("mail-ca.pem"), right).unwrap();
    assert_eq!(run(&world, &["reload"]).0, Some(0));
    assert_eq!(world.mail().letter_to(ANA.email).code().len(), 8);
    assert_eq!(portero.stop().0, Some(0));
}

/// A line of `/proc/PID/status`, in MiB.
fn mebibytes(portero: &Portero, name: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", portero.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1_024.0
}

/// A store in which so many mails wait, and some codes whose time is over.
fn store_with_mails(world: &World, waiting: usize, over: usize) {
    let key = MasterKey::from_hex(STORE_KEY).unwrap();
    let engine = Redb::open(&world.path("portero.redb"), Options::default()).unwrap();
    let store = Sealed::open(Arc::new(engine), &key).unwrap();
    let now = now();
    let put = move |writer: &mut dyn Writer, number: usize| {
        let id = ContactId((number as u128 + 1).to_be_bytes());
        let contact = Contact::new(id, None, None, Language::Spanish, now);
        record::put_contact(writer, &contact)?;
        let to = EmailAddress::parse(&format!("user{number}@example.com")).unwrap();
        let notice = Errand::MailNotice {
            to: to.clone(),
            notice: Notice::Refused,
            language: Language::Spanish,
        };
        let code = Errand::MailCode {
            challenge: ChallengeId([7; 16]),
            to,
        };
        let entry = EntryId(number as u64 + 1);
        let entry = match number < over {
            true => {
                let asked_at = now.minus_ms(HOUR_MS);
                Entry::new(entry, id, code, asked_at, asked_at.plus_ms(HOUR_MS / 6))
            }
            false => Entry::new(entry, id, notice, now, now.plus_ms(HOUR_MS)),
        };
        record::put_entry(writer, &entry)
    };
    store
        .update(move |writer| (0..waiting + over).try_for_each(|number| put(writer, number)))
        .unwrap();
}

/// ten thousand mails wait for a server that takes connections and says nothing, and a
/// thousand codes that are of no use any more.
#[test]
fn ten_thousand_mails_that_wait_take_little_memory() {
    const WAITING: usize = 10_000;
    const OVER: usize = 1_000;
    let world = World::without_mail();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    world.edit("port = 9", &format!("port = {port}"));
    world.edit(
        "[store]\n",
        "[metrics]\nlisten = \"127.0.0.1:0\"\n[store]\n",
    );
    store_with_mails(&world, WAITING, OVER);
    let portero = world.start();
    let metric = |name: &str| {
        let address = portero.metrics_address();
        let headers = [("Host", "127.0.0.1")];
        let metrics = ask(address, "GET", "/metrics", &headers, b"").unwrap().body;
        let line = metrics.lines().find(|line| line.starts_with(name));
        let value = line.map_or("0", |line| line.rsplit(' ').next().unwrap());
        value.parse::<f64>().unwrap()
    };
    let expired = "portero_deliveries_total{lane=\"mail\",outcome=\"expired\"}";
    eventually("what is over is dropped", || {
        // Looking costs the program something.
        std::thread::park_timeout(Duration::from_millis(200));
        (metric(expired) >= OVER as f64).then_some(())
    });
    assert_eq!(
        metric("portero_outbox_entries{lane=\"mail\"}"),
        WAITING as f64
    );
    assert_eq!(
        metric("portero_deliveries_total{lane=\"mail\",outcome=\"sent\"}"),
        0.0
    );
    let most = mebibytes(&portero, "VmHWM");
    eprintln!("{WAITING} waiting: at most {most:.1} MiB");
    assert!(most < 64.0, "{most:.1} MiB");
    assert_eq!(portero.stop().0, Some(0));
}

/// both services hang up on whoever asks. Whoever asks is answered at once; after five
/// questions each is left alone; and when they are back the codes come by themselves.
#[test]
fn services_that_are_down_are_left_alone_and_asked_again_when_they_may_be_back() {
    const PEOPLE: usize = 12;
    let mut world = World::with_mail(json!({}));
    for service in [&world.kutamma, &world.woku] {
        service.set(ServiceMood::HangUp);
    }
    let portero = world.start();
    for person in 0..PEOPLE {
        let since = Instant::now();
        let address = if person == 0 {
            ANA.email
        } else {
            "nobody@example.com"
        };
        portero.receive(&[text(&number(person), address)]);
        world.graph.reply(&number(person), 1);
        assert!(
            since.elapsed() < Duration::from_secs(2),
            "{:?}",
            since.elapsed()
        );
    }
    eventually("they are left alone", || {
        let troubles = portero.get("/readyz").json()["troubles"].clone();
        (troubles.as_array().unwrap().len() == 2).then_some(())
    });
    let asked = [world.kutamma.asked().len(), world.woku.asked().len()];
    // Five, and those that were under way with the fifth.
    assert!(
        asked.iter().all(|asked| (5..=8).contains(asked)),
        "{asked:?}"
    );
    for service in [&world.kutamma, &world.woku] {
        service.set(ServiceMood::Good);
    }
    let code = world.mail().letter_to(ANA.email).code();
    portero.receive(&[text(&number(0), &code)]);
    world
        .graph
        .assert_received(&number(0), &[ON_ITS_WAY, SIGNED_IN]);
    for person in 1..PEOPLE {
        world.graph.assert_received(&number(person), &[ON_ITS_WAY]);
    }
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
    assert_eq!(portero.stop().0, Some(0));
}

/// a service that does not answer is waited for ten seconds, by those who asked it; what comes
/// in is acknowledged as ever.
#[test]
fn a_service_that_takes_half_a_minute_is_waited_for_ten_seconds_and_by_nobody_else() {
    let mut world = World::with_mail(json!({}));
    let calm = World::without_mail();
    world.woku.set(ServiceMood::Hang);
    let (portero, beside_nobody) = (world.start(), calm.start());
    let since = Instant::now();
    portero.receive(&[text(FIRST, ANA.email)]);
    let (mut letter, mut looked_at) = (None, Instant::now());
    let mut beside = Beside::default();
    while letter.is_none() {
        beside.receive(&portero, &beside_nobody);
        // Each look takes a moment.
        if looked_at.elapsed() >= Duration::from_secs(1) {
            looked_at = Instant::now();
            letter = world.mail().letter_if_any(ANA.email);
        }
    }
    let took = since.elapsed();
    let range = Duration::from_millis(9_500)..Duration::from_secs(16);
    assert!(range.contains(&took), "{took:?}");
    beside.assert_unaffected();
    portero.receive(&[text(FIRST, &letter.unwrap().code())]);
    world.graph.reply(FIRST, 2);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
}

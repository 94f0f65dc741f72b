//! Another configuration for the running program, without an end in between: what takes effect,
//! what waits, and what nobody may notice.

use crate::house::{House, Person, failure};
use crate::outside::{
    ACCESS_TOKEN, ANA, APP_SECRET, Message, NOT_SIGNED_IN, PATIENCE, PUBLIC_HOST, Portero, Reply,
    STORE_KEY, Server, World, ask, eventually, post_webhook, signature, text, webhook,
};
use crate::python::interpreter;
use crate::{smtp_sink, status};
use portero::app::{Report, Work};
use portero::config::Config;
use portero::domain::delivery::Lane;
use portero::domain::failure::FailureKind;
use portero::outbox::{Outbox, Pace};
use portero::serve::{self, Outcome, Source};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const ANAS: &str = "573001234567";
const BENS: &str = "573001234568";

/// Well below the pause of a lane that waits for an operator, which is 30 s.
const AT_ONCE: Duration = Duration::from_secs(20);

/// Well below the pause after the fourth question to a service, which is 7 s at least.
const WELL_BEFORE: Duration = Duration::from_secs(6);

const METRICS_KEY: &str = "a-key-for-prometheus-0123456789abcdef";

/// Runs a command of an administrator's beside the server.
pub fn run(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = world.command(arguments);
    command.args(["--config", "portero.toml"]);
    command.stdout(Stdio::piped());
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// `portero reload`, which must succeed.
fn reload(world: &World) -> String {
    let (code, output, error) = run(world, &["reload"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{output}");
    output
}

/// Sends the signal and waits for the line that says what became of it.
fn hang_up(portero: &Portero, line: &str) {
    let count = |portero: &Portero| portero.log().matches(line).count();
    let before = count(portero);
    portero.signal(Signal::HUP);
    eventually(line, || (count(portero) > before).then_some(()));
}

const DONE: &str = "the configuration was reloaded";
const REFUSED: &str = "the configuration was not reloaded and is as before";

fn with_metrics(world: &World) {
    let table = "[metrics]\nlisten = \"127.0.0.1:0\"\nkey = \"file:metrics_key\"\n[store]\n";
    world.edit("[store]\n", table);
    world.secret_file("metrics_key", METRICS_KEY);
}

/// Value of a metric without labels.
fn metric(portero: &Portero, key: &str, name: &str) -> Option<f64> {
    let log = portero.log();
    let (_, rest) = log.split_once("metrics are at http://").unwrap();
    let address: SocketAddr = rest.split_once("/metrics").unwrap().0.parse().unwrap();
    let authorization = format!("Bearer {key}");
    let host = address.to_string();
    let headers = [("Host", host.as_str()), ("Authorization", &authorization)];
    let answer = ask(address, "GET", "/metrics", &headers, b"").unwrap();
    let mut lines = answer.body.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

///
#[test]
fn whichever_line_of_the_file_is_wrong_is_named_with_its_key_and_nothing_changes() {
    let world = World::without_mail();
    let portero = world.start();
    let path = world.path("portero.toml");
    let good = fs::read_to_string(&path).unwrap();
    let mut wrong = 0;
    for (place, line) in good.lines().enumerate() {
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        let spoilt = format!("{key} = {{ wrong = 1 }}");
        let mut lines: Vec<&str> = good.lines().collect();
        lines[place] = &spoilt;
        fs::write(&path, lines.join("\n")).unwrap();
        let (code, output, error) = run(&world, &["reload"]);
        assert_eq!((code, output.as_str()), (Some(78), ""), "{key}: {error}");
        let at = format!("portero.toml:{}:", place + 1);
        let told = error.lines().find(|line| line.starts_with(&at));
        assert!(
            told.is_some_and(|line| line.contains(key)),
            "{key}: {error}"
        );
        wrong += 1;
    }
    assert!(wrong > 40, "{wrong}");
    portero.receive(&[text(ANAS, "quién soy")]);
    let said = world.graph.reply(ANAS, 1).body;
    assert!(said.starts_with(NOT_SIGNED_IN), "{said}");
    fs::write(&path, good).unwrap();
    assert_eq!(reload(&world), "nothing has changed\n");
    assert_eq!(portero.stop().0, Some(0));
}

///
#[test]
fn a_file_with_problems_changes_nothing_and_all_of_them_are_told() {
    const GOOD: &str = "portero_config_last_reload_successful";
    const AT: &str = "portero_config_last_reload_success_timestamp_seconds";
    let world = World::without_mail();
    with_metrics(&world);
    let portero = world.start();
    assert_eq!(metric(&portero, METRICS_KEY, GOOD), Some(1.0));
    let started = metric(&portero, METRICS_KEY, AT).unwrap();

    world.edit("not_signed_in = \"", "not_signed_in = \"Fuera. ");
    world.edit("level = \"debug\"", "level = \"loud\"");
    world.edit("port = 9", "prot = 9");
    let problems = [
        "mail.prot: unknown key; did you mean port?",
        "log.level: must be one of",
    ];
    hang_up(&portero, REFUSED);
    let (code, _, check) = run(&world, &["check"]);
    assert_eq!(code, Some(78), "{check}");
    let (code, output, error) = run(&world, &["reload"]);
    assert_eq!((code, output.as_str()), (Some(78), ""), "{error}");
    assert!(
        error.contains("The server goes on with the configuration it has."),
        "{error}"
    );
    for problem in problems {
        // With its place, in the same words everywhere.
        let line = check.lines().find(|line| line.contains(problem)).unwrap();
        assert!(line.starts_with("portero.toml:"), "{line}");
        assert!(error.contains(line), "{error}");
        eventually("both are in the log", || {
            (portero.log().matches(line).count() == 2).then_some(())
        });
    }
    assert_eq!(metric(&portero, METRICS_KEY, GOOD), Some(0.0));
    portero.receive(&[text(ANAS, "quién soy")]);
    let said = world.graph.reply(ANAS, 1).body;
    assert!(said.starts_with(NOT_SIGNED_IN), "{said}");

    // A file that is not TOML does not even say where the server is.
    world.edit("[mail]", "[mail");
    let (code, _, error) = run(&world, &["reload"]);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("this is not TOML"), "{error}");
    hang_up(&portero, "this is not TOML");
    world.edit("[mail", "[mail]");

    // A secret that others can read is refused as at the start.
    world.edit("level = \"loud\"", "level = \"debug\"");
    world.edit("prot = 9", "port = 9");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(world.path("app_secret"), open).unwrap();
    let (code, _, error) = run(&world, &["reload"]);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("run: chmod 600"), "{error}");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(world.path("app_secret"), private).unwrap();

    assert_eq!(
        reload(&world),
        "in effect from now on:\n  texts.es.not_signed_in\n"
    );
    assert_eq!(metric(&portero, METRICS_KEY, GOOD), Some(1.0));
    assert!(metric(&portero, METRICS_KEY, AT).unwrap() >= started);
    portero.receive(&[text(ANAS, "quién soy")]);
    let said = world.graph.reply(ANAS, 2).body;
    assert!(said.starts_with("Fuera. "), "{said}");
    assert_eq!(portero.stop().0, Some(0));
}

#[test]
fn what_changes_takes_effect_and_what_needs_a_restart_is_named() {
    let world = World::without_mail();
    with_metrics(&world);
    let portero = world.start();
    assert_eq!(reload(&world), "nothing has changed\n");

    world.edit("welcome = \"Hola", "welcome = \"Buenas");
    world.edit("title = \"Kutamma\"", "title = \"Tienda\"");
    world.edit("[log]", "[limits]\nreplies_per_hour = 3\n[log]");
    world.edit("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"");
    world.edit(
        "verify_token = \"env:META_VERIFY\"",
        "verify_token = \"file:verify\"",
    );
    world.secret_file("verify", "another-word");
    world.secret_file("metrics_key", &METRICS_KEY.replace('0', "1"));
    let told = reload(&world);
    assert_eq!(
        told,
        "in effect from now on:\n  \
           whatsapp.verify_token\n  \
           services[kutamma].title\n  \
           limits.replies_per_hour\n  \
           texts.es.welcome\n  \
           metrics.key\n\
         after a restart:\n  \
           server.listen\n"
    );
    portero.receive(&[text(ANAS, "hola")]);
    assert_eq!(
        world.graph.reply(ANAS, 1).body,
        "Buenas, somos Panadería La Espiga. ¿Con qué correo estás en Tienda o woku?"
    );
    // Three replies, and no fourth one in this hour; Ben is somebody else.
    portero.receive(&[text(ANAS, "quién soy"), text(ANAS, "quién soy")]);
    portero.receive(&[text(ANAS, "quién soy"), text(BENS, "quién soy")]);
    world.graph.reply(BENS, 1);
    world.graph.reply(ANAS, 3);
    portero.receive(&[text(BENS, "quién soy")]);
    world.graph.reply(BENS, 2);
    assert_eq!(world.graph.sent_to(ANAS).len(), 3);
    let question = |word: &str| {
        let query = format!("hub.mode=subscribe&hub.verify_token={word}&hub.challenge=7");
        portero.get(&format!("/webhook?{query}")).status
    };
    assert_eq!(question("another-word"), 200);
    assert_eq!(question("tomillo-y-romero"), 403);
    let (old, new) = (METRICS_KEY, METRICS_KEY.replace('0', "1"));
    assert_eq!(metric(&portero, old, "portero_store_ready"), None);
    assert_eq!(metric(&portero, &new, "portero_store_ready"), Some(1.0));

    // It is named as long as it waits, also when nothing else is new; not when it is taken back.
    let (_, json, _) = run(&world, &["reload", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json,
        json!({"changed": [], "needsRestart": ["server.listen"]})
    );
    world.edit("listen = \"127.0.0.1:1\"", "listen = \"127.0.0.1:0\"");
    assert_eq!(reload(&world), "nothing has changed\n");

    // A service goes, and the log says less.
    let path = world.path("portero.toml");
    let file = fs::read_to_string(&path).unwrap();
    let (before, woku) = file.rsplit_once("[[services]]").unwrap();
    assert!(woku.contains("woku"));
    fs::write(
        &path,
        before.replace("level = \"debug\"", "level = \"error\""),
    )
    .unwrap();
    assert_eq!(
        reload(&world),
        "in effect from now on:\n  log.level\n  services[woku]\n"
    );
    let quiet = portero.log().len();
    portero.receive(&[text("573001234569", "hola")]);
    let said = world.graph.reply("573001234569", 1).body;
    assert!(said.ends_with("en Tienda?"), "{said}");
    assert_eq!(&portero.log()[quiet..], "");
    world.edit("level = \"error\"", "level = \"debug\"");
    assert_eq!(reload(&world), "in effect from now on:\n  log.level\n");
    portero.receive(&[text("573001234570", "hola")]);
    eventually("it logs again", || {
        portero.log()[quiet..].contains("a delivery").then_some(())
    });

    // Names are written down, and no value is; the chain holds.
    let (_, audit, _) = run(&world, &["audit", "list", "--json"]);
    let lines: Vec<Value> = (audit.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["event"] == "configuration.reloaded")
        .collect();
    let about: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["about"].as_str())
        .collect();
    assert_eq!(
        about,
        [
            "whatsapp.verify_token, services[kutamma].title, limits.replies_per_hour, texts.es.welcome, metrics.key",
            "log.level, services[woku]",
            "log.level",
        ]
    );
    assert!(!audit.contains("another-word") && !audit.contains("Buenas"));
    let (code, verified, error) = run(&world, &["audit", "verify"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(verified.starts_with("the chain holds"), "{verified}");
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("another-word"));
}

#[test]
fn sending_that_is_paused_goes_on_at_once_with_a_new_token() {
    let world = World::without_mail();
    world.edit("\"env:META_TOKEN\"", "\"file:token\"");
    world.secret_file("token", ACCESS_TOKEN);
    let portero = world.start();
    world.graph.accept_token("EAAGanother");
    portero.receive(&[text(ANAS, "hola"), text(BENS, "hola")]);
    eventually("sending is paused", || {
        portero.log().contains("sending is paused").then_some(())
    });
    // Another token that is no better is told of, too.
    world.secret_file("token", "EAAGworse");
    hang_up(&portero, DONE);
    eventually("it is paused once more", || {
        let log = portero.log();
        (log.matches("sending is paused").count() == 2).then_some(())
    });
    assert_eq!(world.graph.count(), 0);
    world.secret_file("token", "EAAGanother");
    hang_up(&portero, DONE);
    world.graph.reply_within(ANAS, 1, AT_ONCE);
    world.graph.reply_within(BENS, 1, AT_ONCE);
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("whatsapp.access_token") && !log.contains("EAAG"));
}

#[test]
fn a_code_that_waits_for_the_mail_server_leaves_at_once_with_the_right_password() {
    let mut world = World::with_mail(json!({}));
    world.secret_file("mail_password", "not-the-one");
    let portero = world.start();
    portero.receive(&[text(ANAS, "hola"), text(ANAS, ANA.email)]);
    eventually("mail is paused", || {
        portero.log().contains("sending is paused").then_some(())
    });
    world.secret_file("mail_password", smtp_sink::PASSWORD);
    let begun = Instant::now();
    assert_eq!(reload(&world), "in effect from now on:\n  mail.password\n");
    let code = world.mail().letter_to(ANA.email).code();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    portero.receive(&[text(ANAS, &code)]);
    world.graph.reply(ANAS, 3);
    assert_eq!(portero.stop().0, Some(0));
}

#[test]
fn a_bot_and_another_public_name_are_there_from_the_reload_on_and_gone_from_the_next() {
    let heard = Arc::new(AtomicUsize::new(0));
    let hearing = Arc::clone(&heard);
    let bot = Server::start(move |_| {
        hearing.fetch_add(1, Ordering::SeqCst);
        Reply::Json(200, json!({}))
    });
    let world = World::without_mail();
    let portero = world.start();
    let without = fs::read_to_string(world.path("portero.toml")).unwrap();
    let status = |host: &str| {
        let headers = [("Host", host)];
        ask(portero.address, "GET", "/healthz", &headers, b"")
            .unwrap()
            .status
    };
    assert_eq!((status("other.example"), status("localhost")), (421, 200));
    let table = format!(
        "[bot]\nurl = \"{}/\"\ngate = \"on_request\"\n[store]\n",
        bot.url()
    );
    world.edit("[store]\n", &table);
    world.edit(&format!("https://{PUBLIC_HOST}/"), "https://other.example/");
    assert_eq!(
        reload(&world),
        "in effect from now on:\n  server.public_url\n  bot.url\n  bot.gate\n"
    );
    assert_eq!((status("other.example"), status(PUBLIC_HOST)), (200, 421));
    let receive = |messages: &[Message]| {
        let body = webhook(messages);
        let signed = signature(APP_SECRET, &body);
        let headers = [
            ("Host", "localhost"),
            ("X-Hub-Signature-256", signed.as_str()),
        ];
        ask(portero.address, "POST", "/webhook", &headers, &body)
            .unwrap()
            .status
    };
    assert_eq!(receive(&[text(ANAS, "¿tienen pan?")]), 200);
    eventually("the bot heard it", || {
        (heard.load(Ordering::SeqCst) == 1).then_some(())
    });
    fs::write(world.path("portero.toml"), without).unwrap();
    assert_eq!(
        reload(&world),
        "in effect from now on:\n  server.public_url\n  bot.url\n  bot.gate\n"
    );
    // Without a bot everybody is asked who they are.
    assert_eq!(receive(&[text(BENS, "¿tienen pan?")]), 200);
    world.graph.reply(BENS, 1);
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    assert_eq!(portero.stop().0, Some(0));
}

#[test]
fn a_question_to_a_service_is_asked_again_at_once_at_the_right_address() {
    let mut world = World::with_mail(json!({}));
    let right = format!("{}/portero/find-user", world.kutamma.url());
    let wrong = "http://127.0.0.1:9/portero/find-user";
    world.edit(&right, wrong);
    let portero = world.start();
    portero.receive(&[text(ANAS, "hola"), text(ANAS, ANA.email)]);
    // It is asked less and less often; the person waits for two minutes at most.
    eventually("the question waits", || {
        let log = portero.log();
        (log.matches("a service gave no answer").count() >= 4).then_some(())
    });
    world.edit(wrong, &right);
    let begun = Instant::now();
    assert_eq!(
        reload(&world),
        "in effect from now on:\n  services[kutamma].find_user\n"
    );
    let code = world.mail().letter_to(ANA.email).code();
    assert!(begun.elapsed() < WELL_BEFORE, "{:?}", begun.elapsed());
    assert_eq!(code.len(), 8);
    assert_eq!(portero.stop().0, Some(0));
}

/// Two configurations that differ in two things which one sentence shows together.
#[test]
fn many_reloads_under_load_lose_nothing_and_nobody_gets_half_of_each() {
    const RELOADS: usize = 15;
    const SENDERS: usize = 4;
    let world = World::without_mail();
    world.edit("welcome = \"Hola, somos", "welcome = \"Uno");
    world.edit("\"Panadería La Espiga\"", "\"uno\"");
    let one = fs::read_to_string(world.path("portero.toml")).unwrap();
    let two = one
        .replace("\"Uno ", "\"Dos ")
        .replace("name = \"uno\"", "name = \"dos\"");
    assert_ne!(one, two);
    let (graph, folder) = (&world.graph, world.folder.path().to_owned());
    let put = |text: &str| {
        // As an editor does that leaves no half of a file.
        fs::write(folder.join("draft"), text).unwrap();
        fs::rename(folder.join("draft"), folder.join("portero.toml")).unwrap();
    };
    let portero = world.start();
    let (next, reloads) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let number = |n: usize| format!("57300{:07}", 1_000_000 + n);
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while reloads.load(Ordering::SeqCst) < RELOADS {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let body = webhook(&[text(&number(n), "hola")]);
                    let answer = post_webhook(portero.address, &body).unwrap();
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    graph.reply(&number(n), 1);
                }
            });
        }
        for file in [&two, "this is no file", &one]
            .into_iter()
            .cycle()
            .take(RELOADS)
        {
            put(file);
            hang_up(&portero, "the configuration was");
            reloads.fetch_add(1, Ordering::SeqCst);
        }
    });
    let people = next.load(Ordering::SeqCst);
    assert!(people >= RELOADS, "{people}");
    let mut told = [0, 0];
    for n in 0..people {
        let sent = world.graph.sent_to(&number(n));
        assert_eq!(sent.len(), 1, "{sent:?}");
        let is_one = sent[0].body.starts_with("Uno uno. ");
        assert!(
            is_one || sent[0].body.starts_with("Dos dos. "),
            "{}",
            sent[0].body
        );
        told[usize::from(is_one)] += 1;
    }
    assert!(told.iter().all(|count| *count > 0), "{told:?}");
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("panicked") && !log.contains("internal fault"));
}

/// What is under way ends in the hands in which it began; what begins later is in the others.
#[test]
fn what_is_being_sent_ends_as_it_began() {
    let house = House::in_memory();
    let (began, has_begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = Mutex::new(may_go_on);
    let old = move |_: &Work| {
        began.send(()).unwrap();
        may_go_on.lock().unwrap().recv().unwrap();
        Report::Failed(failure(FailureKind::Configuration, "the old token"))
    };
    let outbox = Arc::new(Outbox::new(
        Arc::clone(&house.app),
        Arc::new(old),
        Pace::default(),
    ));
    house.write(&Person::with_number(ANAS), "hola");
    let sending = Arc::clone(&outbox);
    let turn = std::thread::spawn(move || sending.drain(Lane::Chat));
    has_begun.recv().unwrap();

    let taken = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&taken);
    let new = move |_: &Work| {
        counting.fetch_add(1, Ordering::SeqCst);
        Report::Sent(None)
    };
    outbox.change_hands(Arc::clone(&house.app), Arc::new(new));
    outbox.try_now(Lane::Chat);
    go_on.send(()).unwrap();
    // The old token failed after the new one was there: that is no reason to wait. The clock of
    // this house stands still.
    turn.join().unwrap();
    outbox.drain(Lane::Chat);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    assert_eq!(house.overview().outbox, []);
    assert!(outbox.health().iter().all(|lane| lane.resting.is_none()));
}

#[test]
fn a_reload_that_panics_is_one_that_failed_and_the_next_one_does_it() {
    let world = World::without_mail();
    for (variable, value) in [
        ("META_TOKEN", ACCESS_TOKEN),
        ("OLD_APP_SECRET", "0123456789abcdef0123456789abcdef"),
        ("META_VERIFY", "a-word-to-verify"),
        ("STORE_KEY", STORE_KEY),
        (
            "KUTAMMA_SECRET",
            &format!("whsec_{}a2s=", "a2tr".repeat(10)),
        ),
    ] {
        world.secret_file(variable, value);
        world.edit(&format!("env:{variable}"), &format!("file:{variable}"));
    }
    let path = world.path("portero.toml");
    let panics = Arc::new(AtomicBool::new(true));
    let source = Source {
        log_lines_dropped: std::sync::Arc::default(),
        loaded: Config::load(&path).unwrap(),
        path,
        set_level: Box::new({
            let panics = Arc::clone(&panics);
            move |_| assert!(!panics.load(Ordering::SeqCst), "on purpose")
        }),
    };
    let running = serve::start_from(source, Vec::new()).unwrap();
    world.edit("not_signed_in = \"", "not_signed_in = \"Fuera. ");
    assert_eq!(running.reloader().reload(), Outcome::Failed);
    assert_eq!(running.reloader().reload(), Outcome::Failed);
    panics.store(false, Ordering::SeqCst);
    let Outcome::Done(changed) = running.reloader().reload() else {
        panic!("it is not done");
    };
    assert_eq!(changed.at_once, ["texts.es.not_signed_in"]);
    running.stop();
}

/// Whoever opens the file waits until nothing more is to be read from standard input.
const HOLD_THE_FILE: &str = "
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, lambda *_: print('awaited', flush=True))
held = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

#[test]
fn who_hangs_up_while_the_file_is_read_gets_one_reload_once_it_is_ready() {
    let world = World::without_mail();
    let path = world.path("portero.toml");
    let mut holder = Command::new(interpreter())
        .args(["-c", HOLD_THE_FILE])
        .arg(&path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "held");
    let mut child = (world.command(&["serve", "--config", "portero.toml"]))
        .spawn()
        .unwrap();
    let id = Pid::from_child(&child);
    assert_eq!(said.next().unwrap().unwrap(), "awaited");
    kill_process(id, Signal::HUP).unwrap();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = |line: &io::Result<String>| line.as_ref().is_ok_and(|line| line.contains(DONE));
    let mut until: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        let is_last = told(&line);
        until.push(line.unwrap());
        if is_last {
            break;
        }
    }
    let until = until.join("\n");
    assert!(until.contains("portero is ready"), "{until}");
    kill_process(id, Signal::TERM).unwrap();
    assert!(!lines.any(|line| told(&line)), "it reloaded twice");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// What a supervisor hears, one message each.
fn hear(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = [0; 4096];
    let count = socket.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..count].to_vec()).unwrap()
}

#[test]
fn a_supervisor_hears_that_it_is_ready_reloads_lives_and_stops() {
    let world = World::without_mail();
    let name = format!("portero-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let path = world.path("notify");
    for (told, supervisor) in [
        (
            format!("@{name}"),
            UnixDatagram::bind_addr(&address).unwrap(),
        ),
        (
            path.display().to_string(),
            UnixDatagram::bind(&path).unwrap(),
        ),
    ] {
        let mut command = world.command(&["serve", "--config", "portero.toml"]);
        command.env("NOTIFY_SOCKET", told);
        let portero = Portero::start(command);
        assert_eq!(hear(&supervisor), "READY=1\nSTATUS=Ready.\n");
        portero.signal(Signal::HUP);
        let reloading = hear(&supervisor);
        let moment = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.lines().next()?.parse::<u64>().ok());
        assert!(moment.is_some_and(|moment| moment > 0), "{reloading}");
        assert_eq!(hear(&supervisor), "READY=1\nSTATUS=Ready.\n");
        world.edit("[mail]", "[mial]");
        portero.signal(Signal::HUP);
        assert!(hear(&supervisor).starts_with("RELOADING=1\n"));
        let refused = hear(&supervisor);
        assert!(
            refused.starts_with("READY=1\nSTATUS=The last reload was refused: `portero check`"),
            "{refused}"
        );
        world.edit("[mial]", "[mail]");
        portero.signal(Signal::TERM);
        assert!(hear(&supervisor).starts_with("STOPPING=1\n"));
        assert_eq!(portero.stop().0, Some(0));
    }
}

#[test]
fn a_watchdog_hears_of_a_server_that_answers_requests() {
    let world = World::without_mail();
    let path = world.path("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", "400000");
    let portero = Portero::start(command);
    let mut signs = 0;
    while signs < 3 {
        signs += usize::from(hear(&supervisor) == "WATCHDOG=1\n");
    }
    eventually("each sign comes after a request", || {
        let log = portero.log();
        (log.matches("route=\"/healthz\"").count() >= signs).then_some(())
    });
    assert_eq!(portero.stop().0, Some(0));
    // For another process than this one it is silent.
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.env("NOTIFY_SOCKET", &path);
    command
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1");
    while supervisor.set_nonblocking(true).is_ok() && supervisor.recv(&mut [0; 4096]).is_ok() {}
    supervisor.set_nonblocking(false).unwrap();
    let portero = Portero::start(command);
    assert!(hear(&supervisor).starts_with("READY=1\n"));
    portero.signal(Signal::TERM);
    assert!(hear(&supervisor).starts_with("STOPPING=1\n"));
    assert_eq!(portero.stop().0, Some(0));
}

/// `portero serve` with this as the one socket that is handed over.
fn with_socket(world: &World, socket: OwnedFd) -> Command {
    let plain = world.command(&[]);
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --config portero.toml",
        ])
        .arg(env!("CARGO_BIN_EXE_portero"))
        .current_dir(world.folder.path())
        .env_clear()
        .envs(
            plain
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_socket_that_is_handed_over_is_listened_on() {
    let world = World::without_mail();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Whoever knocks before the start is answered after it.
    let early = std::net::TcpStream::connect(address).unwrap();
    let portero = Portero::start(with_socket(&world, socket.try_clone().unwrap().into()));
    assert_eq!(portero.address, address);
    assert_eq!(
        ask(address, "GET", "/healthz", &[], b"").unwrap().status,
        200
    );
    let early = crate::outside::ask_on(&early, "GET", "/healthz", &[], b"");
    assert_eq!(early.unwrap().status, 200);
    assert_eq!(portero.stop().0, Some(0));

    // It is the supervisor's, and the next process gets the same.
    let portero = Portero::start(with_socket(&world, socket.try_clone().unwrap().into()));
    assert_eq!(portero.get("/healthz").status, 200);
    assert_eq!(portero.stop().0, Some(0));

    let other = UnixDatagram::unbound().unwrap();
    let output = with_socket(&world, other.into()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{error}");
    assert!(error.contains("not a listening TCP socket"), "{error}");
}

/// A reload signs nobody out of the status page, unless the password is another one.
#[test]
fn whoever_is_in_at_the_status_page_stays_in_until_its_password_changes() {
    let world = World::without_mail();
    let table = |hash: &str| format!("[status]\npassword_hash = \"{hash}\"\n[store]\n");
    world.edit("[store]\n", &table(&status::HASH));
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(world.path("portero.toml"), private).unwrap();
    let portero = world.start();
    let body = format!(
        "action=sign_in&password={}",
        status::PASSWORD.replace(' ', "+")
    );
    let origin = format!("https://{PUBLIC_HOST}");
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", origin.as_str()),
    ];
    let answer = ask(
        portero.address,
        "POST",
        "/status/",
        &headers,
        body.as_bytes(),
    )
    .unwrap();
    assert_eq!(answer.status, 303);
    let cookie = answer.header("Set-Cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let is_in = || {
        let headers = [("Cookie", cookie)];
        let page = ask(portero.address, "GET", "/status/", &headers, b"").unwrap();
        page.body.contains("What needs you")
    };
    assert!(is_in());
    world.edit("not_signed_in = \"", "not_signed_in = \"Fuera. ");
    assert!(reload(&world).contains("texts.es.not_signed_in"));
    assert!(is_in());
    let other = status::HASH.replacen("t=2", "t=3", 1);
    world.edit(&status::HASH, &other);
    assert!(reload(&world).contains("status.password_hash"));
    assert!(!is_in());
}

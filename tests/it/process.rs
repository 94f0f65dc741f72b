//! The real program, from its start to its end, whatever happens in between (R-05, R-55,
//! R-75, S-90, S-91, S-93).

use crate::house::other_than;
use crate::outside::{
    ACCESS_TOKEN, ANA, APP_SECRET, BEA, CANCELLED, Message, Mood, NOT_SIGNED_IN, OLD_APP_SECRET,
    PHONE_NUMBER_ID, PUBLIC_HOST, Portero, Reply, STORE_KEY, Server, ServiceMood, VERIFY_TOKEN,
    WELCOME, World, ask, envelope, eventually, file_has, message, post_webhook, read_answer,
    ready_at, signature, text, webhook,
};
use crate::smtp_sink;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Flow A as three people live it at the same time, over HTTP, STARTTLS and signed calls.
#[test]
fn people_sign_in_side_by_side_and_only_with_their_own_code() {
    let mut world = World::with_mail(json!({}));
    let portero = world.start();
    let (ana, bea, nobody) = ("573001234567", "5491155550034", "16505551234");
    portero.receive(&[text(ana, "¿Tienen pan de masa madre?"), text(bea, "hola")]);
    portero.receive(&[text(nobody, "hello")]);
    let prompt = world.graph.reply(ana, 1);
    assert_eq!(
        prompt.body,
        "Hola, somos Panadería La Espiga. ¿Con qué correo estás en Kutamma o woku?"
    );
    assert_eq!(world.graph.reply(bea, 1).body, prompt.body);
    assert!(
        world
            .graph
            .reply(nobody, 1)
            .body
            .starts_with("Hello from Panadería La Espiga.")
    );

    portero.receive(&[text(ana, "mi correo es Ana@Example.com, gracias")]);
    portero.receive(&[
        text(bea, "bea@example.com"),
        text(nobody, "nobody@example.com"),
    ]);
    let neutral = world.graph.reply(ana, 2);
    assert_eq!(
        neutral.body,
        "Si A•••@e••• está registrado, va un código de 8 cifras. Vale 10 minutos."
    );
    let titles: Vec<&str> = neutral
        .buttons
        .iter()
        .map(|(_, title)| title.as_str())
        .collect();
    assert_eq!(titles.len(), 3, "{titles:?}");
    assert!(
        world
            .graph
            .reply(nobody, 2)
            .body
            .starts_with("If n•••@e••• is registered")
    );

    let for_ana = world.mail().letter_to(ANA.email);
    let for_bea = world.mail().letter_to(BEA.email);
    let first = for_ana.text.lines().next().unwrap();
    assert_eq!(
        first,
        format!("{} es tu código de Panadería La Espiga.", for_ana.code())
    );
    assert!(for_ana.text.contains("termina en 67"), "{}", for_ana.text);
    assert!(for_bea.text.contains("termina en 34"), "{}", for_bea.text);
    assert!(
        for_ana.subject.contains(&for_ana.code()),
        "{}",
        for_ana.subject
    );
    assert_ne!(for_ana.code(), for_bea.code());

    // Somebody else's code is a wrong one, and an address that nobody has takes tries like any.
    portero.receive(&[text(bea, &for_ana.code()), text(nobody, &for_ana.code())]);
    let wrong = world.graph.reply(bea, 3).body;
    assert!(
        wrong.starts_with("Código equivocado. Te quedan 4"),
        "{wrong}"
    );
    let wrong = world.graph.reply(nobody, 3).body;
    assert!(wrong.starts_with("Wrong code. Left: 4"), "{wrong}");
    portero.receive(&[text(ana, &format!("mi código es {}", for_ana.code()))]);
    portero.receive(&[text(bea, &for_bea.code())]);
    assert_eq!(
        world.graph.reply(ana, 3).body,
        "Entraste como Ana Pérez de Inpla en Kutamma."
    );
    assert_eq!(
        world.graph.reply(bea, 4).body,
        "Entraste como Bea Gómez de Inpla en Kutamma y Beatriz Gómez de Consultores en woku."
    );

    // Whoever reads the mailboxes is told, and can undo it.
    for (address, ending) in [(ANA.email, "67"), (BEA.email, "34")] {
        let notice = world.mail().letter_to(address);
        assert!(notice.is_notice(), "{}", notice.subject);
        assert!(notice.text.contains(&format!("termina en {ending}")));
    }

    // From here on what Ana writes is the bot's; what she asks of Portero is answered.
    portero.receive(&[text(ana, "¿a qué hora abren?"), text(ana, "quién soy")]);
    assert_eq!(
        world.graph.reply(ana, 4).body,
        "Eres Ana Pérez de Inpla en Kutamma."
    );
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(world.graph.sent_to(ana).len(), 4);
    assert_eq!(world.kutamma.asked().len(), 3);
    assert_eq!(world.woku.asked().len(), 3);
    let unread = world.mail.take().unwrap().finish();
    assert!(unread.is_empty(), "{unread:?}");
}

/// R-55, and a person who starts it twice gets a sentence and not a corrupted store.
#[test]
fn a_second_process_on_one_store_ends_with_a_sentence_and_the_first_goes_on() {
    let world = World::without_mail();
    let portero = world.start();
    let (code, error) = fails(world.command(&["serve", "--config", "portero.toml"]));
    assert_eq!(code, Some(69), "{error}");
    assert!(
        error.contains("portero.redb is in use by another process. Stop the other Portero first"),
        "{error}"
    );
    portero.receive(&[text("573001234567", "hola")]);
    world.graph.reply("573001234567", 1);
    assert_eq!(portero.stop().0, Some(0));
}

/// where there is no store yet, of those who start at once one makes it and lives.
#[test]
fn of_many_that_start_at_once_where_there_is_no_store_one_lives_and_the_others_say_why() {
    const PROCESSES: usize = 6;
    for _ in 0..3 {
        let world = World::without_mail();
        let started: Vec<_> = std::thread::scope(|scope| {
            let starting: Vec<_> = (0..PROCESSES)
                .map(|_| {
                    let command = world.command(&["serve", "--config", "portero.toml"]);
                    scope.spawn(|| Portero::start_or_end(command))
                })
                .collect();
            (starting.into_iter())
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut lives = Vec::new();
        for started in started {
            match started {
                Ok(portero) => lives.push(portero),
                Err((status, log)) => {
                    assert_eq!(status.code(), Some(69), "{log}");
                    assert!(log.contains("is in use by another process"), "{log}");
                }
            }
        }
        let [portero] = &lives[..] else {
            panic!("{} of them live", lives.len());
        };
        portero.receive(&[text("573001234567", "quién soy")]);
        world.graph.reply("573001234567", 1);
        // Nothing is left of the drafts of the others.
        let names = fs::read_dir(world.folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let drafts: Vec<String> = names.filter(|name| name.contains(".new")).collect();
        assert_eq!(drafts, Vec::<String>::new());
    }
}

/// Runs something that must end by itself: exit code, and what it said.
fn fails(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    (output.status.code(), error)
}

fn serve_fails(world: &World) -> (Option<i32>, String) {
    fails(world.command(&["serve", "--config", "portero.toml"]))
}

#[test]
fn what_hinders_a_start_is_said_and_told_by_the_exit_code() {
    let world = World::without_mail();
    let (code, error) = fails(world.command(&["serve", "--config", "none.toml"]));
    assert_eq!(code, Some(66), "{error}");
    assert!(error.contains("cannot read none.toml"), "{error}");

    fs::write(world.path("bad.toml"), "[business]\nnaem = 1\n").unwrap();
    let (code, error) = fails(world.command(&["serve", "--config", "bad.toml"]));
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("did you mean name?"), "{error}");

    // A secret that is not in the environment, and one that others can read (S-93).
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.env_remove("META_TOKEN");
    let (code, error) = fails(command);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("META_TOKEN"), "{error}");
    for mode in [0o640, 0o666, 0o604] {
        set_mode(&world.path("app_secret"), mode);
        let (code, error) = serve_fails(&world);
        assert_eq!(code, Some(78), "{mode:o} {error}");
        assert!(error.contains("app_secret"), "{error}");
        assert!(!error.contains(APP_SECRET), "{error}");
    }
    set_mode(&world.path("app_secret"), 0o600);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.edit("127.0.0.1:0", &address);
    let (code, error) = serve_fails(&world);
    assert_eq!(code, Some(69), "{error}");
    assert!(
        error.contains(&format!("cannot listen on {address}")),
        "{error}"
    );
    assert!(
        error.contains("hint: another program has this address"),
        "{error}"
    );
    world.edit(&address, "127.0.0.1:0");

    world.edit("path = \"portero.redb\"", "path = \"missing/portero.redb\"");
    let (code, error) = serve_fails(&world);
    assert_eq!(code, Some(74), "{error}");
    assert!(error.contains("missing does not exist"), "{error}");
}

#[test]
fn a_store_that_cannot_be_trusted_is_left_alone_and_named() {
    let world = World::without_mail();
    let portero = world.start();
    portero.receive(&[text("573001234567", "hola")]);
    world.graph.reply("573001234567", 1);
    assert_eq!(portero.stop().0, Some(0));
    let path = world.path("portero.redb");
    let good = fs::read(&path).unwrap();

    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.env("STORE_KEY", STORE_KEY.replace('c', "d"));
    let (code, error) = fails(command);
    assert_eq!(code, Some(78), "{error}");
    assert!(
        error.contains("The store is sealed with another key"),
        "{error}"
    );
    assert!(!error.contains(&STORE_KEY.replace('c', "d")), "{error}");

    for mode in [0o640, 0o666, 0o604] {
        set_mode(&path, mode);
        let (code, error) = serve_fails(&world);
        assert_eq!(code, Some(78), "{mode:o} {error}");
        assert!(error.contains("chmod 600"), "{error}");
    }
    set_mode(&path, 0o600);

    let (mut spoilt, middle) = (good.clone(), good.len() / 2);
    for byte in &mut spoilt[4096..middle] {
        *byte ^= 0xff;
    }
    for (name, bytes) in [
        ("spoilt", spoilt.as_slice()),
        ("short", &good[..middle]),
        ("empty", b"".as_slice()),
        ("foreign", b"This is somebody's diary.".as_slice()),
    ] {
        fs::write(&path, bytes).unwrap();
        let (code, error) = serve_fails(&world);
        assert_eq!(code, Some(74), "{name}: {error}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{name} was touched");
    }

    // None of the refusals has done harm.
    fs::write(&path, &good).unwrap();
    let portero = world.start();
    portero.receive(&[text("573001234567", "cancelar")]);
    assert!(
        world
            .graph
            .reply("573001234567", 2)
            .body
            .starts_with(CANCELLED)
    );
}

/// A new key for an old store would hide that the right one is missing.
#[test]
fn a_missing_key_is_made_for_a_new_store_only() {
    let world = World::without_mail();
    world.edit("key = \"env:STORE_KEY\"", "key = \"file:portero.key\"");
    assert_eq!(world.start().stop().0, Some(0));
    let mode = fs::metadata(world.path("portero.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::remove_file(world.path("portero.key")).unwrap();
    let (code, error) = serve_fails(&world);
    assert_eq!(code, Some(78), "{error}");
    assert!(error.contains("portero.key"), "{error}");
    assert!(!world.path("portero.key").exists());
}

/// R-51, as somebody whom file modes concern.
#[test]
fn a_folder_that_cannot_be_written_is_74() {
    let world = World::without_mail();
    world.edit("path = \"portero.redb\"", "path = \"kept/portero.redb\"");
    let kept = world.path("kept");
    fs::create_dir(&kept).unwrap();
    set_mode(&kept, 0o555);
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere, so that the program must be somebody else here.
        const NOBODY: u32 = 65_534;
        for entry in fs::read_dir(world.folder.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.path() != kept {
                std::os::unix::fs::chown(entry.path(), Some(NOBODY), None).unwrap();
            }
        }
        std::os::unix::fs::chown(world.folder.path(), Some(NOBODY), None).unwrap();
        command.uid(NOBODY);
    }
    let (code, error) = fails(command);
    assert_eq!(code, Some(74), "{error}");
    assert!(
        error.contains("may not be read and written by this user"),
        "{error}"
    );
    set_mode(&kept, 0o755);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_command_explains_itself() {
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut explained = 0;
    while let Some(command) = waiting.pop() {
        let output = Command::new(env!("CARGO_BIN_EXE_portero"))
            .args(&command)
            .arg("--help")
            .env_clear()
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert_eq!(output.stderr, b"", "{command:?}");
        let first = text.lines().next().unwrap();
        assert!(
            first.split(' ').count() > 1 && !text.contains('\u{1b}'),
            "{command:?}: {text}"
        );
        explained += 1;
        let list = text.split("\nCommands:\n").nth(1).unwrap_or("");
        for line in list.lines().take_while(|line| !line.is_empty()) {
            // A continued description is indented further than a name.
            let name = line
                .strip_prefix("  ")
                .filter(|rest| !rest.starts_with(' '));
            let name = name.and_then(|rest| rest.split(' ').next());
            if let Some(name) = name.filter(|name| *name != "help") {
                let mut path = command.clone();
                path.push(name.to_owned());
                waiting.push(path);
            }
        }
    }
    assert!(explained >= 6, "{explained}");
}

/// whoever should collect the log may close it, go away, or stop reading.
#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let world = World::without_mail();
    // More lines than a pipe and the queue before it hold; a reaction is never answered.
    let flood = |wa_id: &str| -> Vec<Message> {
        let reaction = || json!({"type": "reaction", "reaction": {"emoji": "👍"}});
        (0..900).map(|_| message(wa_id, reaction())).collect()
    };
    // Closed from the start.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    world.edit("127.0.0.1:0", &port.to_string());
    let mut shell = Command::new("/bin/sh");
    let program = world.command(&[]);
    shell
        .args(["-c", "exec \"$0\" serve --config portero.toml >&- 2>&-"])
        .arg(env!("CARGO_BIN_EXE_portero"))
        .current_dir(world.folder.path())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    let mut child = Ended(shell.spawn().unwrap());
    eventually("it answers", || ask(port, "GET", "/readyz", &[], b"").ok());
    assert_eq!(
        post_webhook(port, &webhook(&[text("573001234567", "hola")]))
            .unwrap()
            .status,
        200
    );
    world.graph.reply("573001234567", 1);
    assert_eq!(child.stop(), Some(0));
    world.edit(&port.to_string(), "127.0.0.1:0");

    // The reader goes away; the reader stops reading.
    for (stays, wa_id) in [(false, "573001234568"), (true, "573001234569")] {
        let mut command = world.command(&["serve", "--config", "portero.toml"]);
        command.stderr(Stdio::piped());
        let mut child = Ended(command.spawn().unwrap());
        let mut log = BufReader::new(child.0.stderr.take().unwrap());
        let address = ready_at(&mut log);
        let unread = stays.then_some(log);
        for _ in 0..if stays { 4 } else { 1 } {
            let body = webhook(&flood(wa_id));
            assert_eq!(post_webhook(address, &body).unwrap().status, 200);
        }
        post_webhook(address, &webhook(&[text(wa_id, "hola")])).unwrap();
        world.graph.reply(wa_id, 1);
        assert_eq!(child.stop(), Some(0));
        drop(unread);
    }
}

/// A child that does not outlive its test.
struct Ended(Child);

impl Ended {
    fn stop(&mut self) -> Option<i32> {
        let id = i32::try_from(self.0.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let status = eventually("it stops", || self.0.try_wait().unwrap());
        status.code()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// requests that have begun are answered whole, later ones are refused, and what was
/// answered 200 is there after the restart.
#[test]
fn what_was_acknowledged_while_stopping_is_in_effect_after_a_restart() {
    const IN_FLIGHT: usize = 200;
    let world = World::without_mail();
    let mut portero = world.start();
    let people: Vec<String> = (0..IN_FLIGHT)
        .map(|number| format!("5730050{number:05}"))
        .collect();
    let hellos: Vec<Vec<u8>> = people
        .iter()
        .map(|wa_id| webhook(&[text(wa_id, "quién soy")]))
        .collect();
    let begun: Vec<TcpStream> = hellos
        .iter()
        .map(|body| {
            let mut stream = TcpStream::connect(portero.address).unwrap();
            let head = format!(
                "POST /webhook HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nContent-Length: {}\r\nX-Hub-Signature-256: {}\r\n\r\n",
                body.len(),
                signature(APP_SECRET, body)
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body[..body.len() / 2]).unwrap();
            stream
        })
        .collect();
    // All of them have been accepted when one that came later has been answered.
    assert_eq!(portero.get("/readyz").status, 200);
    portero.signal(Signal::TERM);
    eventually("new connections are refused", || {
        let refused = TcpStream::connect(portero.address).err()?;
        (refused.kind() == io::ErrorKind::ConnectionRefused).then_some(())
    });
    let answered: Vec<bool> = std::thread::scope(|scope| {
        let finishing: Vec<_> = begun
            .iter()
            .zip(&hellos)
            .map(|(mut stream, body)| {
                scope.spawn(move || {
                    // A connection that was cut meanwhile has no answer, and that is one, too.
                    let _ = stream.write_all(&body[body.len() / 2..]);
                    let answer = read_answer(stream, "POST").ok().flatten();
                    answer.is_some_and(|answer| answer.status == 200)
                })
            })
            .collect();
        finishing
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let status = portero.ended_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    let acknowledged = answered.iter().filter(|answered| **answered).count();
    assert!(acknowledged > IN_FLIGHT / 2, "{acknowledged}");

    let portero = world.start();
    for ((wa_id, hello), answered) in people.iter().zip(&hellos).zip(answered) {
        // Meta sends again what was not acknowledged, and sometimes what was.
        if !answered || wa_id.ends_with('7') {
            assert_eq!(portero.post_webhook(hello).status, 200);
        }
        portero.receive(&[text(wa_id, "cancelar")]);
    }
    for wa_id in &people {
        world
            .graph
            .assert_received(wa_id, &[NOT_SIGNED_IN, CANCELLED]);
    }
}

/// A hanging Cloud API must not make a supervisor lose its patience.
#[test]
fn a_cloud_api_that_hangs_does_not_hold_up_the_end() {
    let world = World::without_mail();
    world.graph.always(Some(Mood::Hang));
    let mut portero = world.start();
    for number in 0..20 {
        portero.receive(&[text(&format!("5730041000{number:02}"), "hola")]);
    }
    eventually("calls hang", || (world.graph.refused() > 2).then_some(()));
    portero.signal(Signal::TERM);
    let status = portero.ended_within(Duration::from_secs(10));
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

/// The operator pastes a good token and starts again: what waited is sent, once.
#[test]
fn a_token_that_became_valid_lets_go_what_waited() {
    let world = World::without_mail();
    world.graph.accept_token("EAAGnewtoken");
    let portero = world.start();
    let (first, second) = ("573004000001", "573004000002");
    portero.receive(&[text(first, "hola")]);
    let ready = eventually("the lane rests", || {
        let ready = portero.get("/readyz");
        assert_eq!(ready.status, 200);
        (ready.json()["troubles"] != json!([])).then_some(ready)
    });
    let trouble = ready.json()["troubles"][0].as_str().unwrap().to_owned();
    assert!(
        trouble.starts_with("sending by whatsapp is paused: 190 ") && trouble.contains("; "),
        "{trouble}"
    );
    assert!(!trouble.contains(ACCESS_TOKEN), "{trouble}");
    // Receiving goes on.
    portero.receive(&[text(second, "hola")]);
    assert_eq!(portero.stop().0, Some(0));
    assert_eq!(world.graph.count(), 0);

    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.env("META_TOKEN", "EAAGnewtoken");
    let portero = Portero::start(command);
    portero.receive(&[text(first, "cancelar"), text(second, "cancelar")]);
    world.graph.assert_received(first, &[WELCOME, CANCELLED]);
    world.graph.assert_received(second, &[WELCOME, CANCELLED]);
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
}

/// Whoever reads the log learns which protections are off, not only whoever runs `portero check`.
#[test]
fn what_is_switched_off_is_said_at_every_start() {
    let world = World::without_mail();
    world.edit(
        "[store]",
        "[sign_in]\nreturn_code = \"off\"\nphone_on_file = \"off\"\n\
         [[pages]]\nname = \"tienda\"\ncredential = \"none\"\n[store]",
    );
    world.edit("[whatsapp]", "[whatsapp]\nnumber = \"+57 300 111 2233\"");
    for _ in 0..2 {
        let portero = world.start();
        for said in [
            "sign_in.return_code: is off: ",
            "sign_in.phone_on_file: is off: ",
            "pages[1].credential: is \"none\": ",
        ] {
            assert!(portero.log().contains(said), "{said}: {}", portero.log());
        }
    }
}

const BEHIND_SECRET: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";
const API_KEY: &str = "api-key-of-the-bot-0123456789abcdef";
const METRICS_KEY: &str = "key-of-prometheus-0123456789abcdef";

/// A bot, a receiver of events and Prometheus.
struct Behind {
    _server: Server,
    identities: Arc<Mutex<Vec<String>>>,
    told: Arc<Mutex<usize>>,
}

impl Behind {
    fn start(world: &World) -> Behind {
        let identities = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::new(Mutex::new(0));
        let (hearing, telling) = (Arc::clone(&identities), Arc::clone(&told));
        let server = Server::start(move |request| {
            if request.path == "/events" {
                *telling.lock().unwrap() += 1;
                // What a receiver says is not repeated either.
                return Reply::Json(500, json!({"error": "canary-answer"}));
            }
            let identity = request.header("portero-identity").map(str::to_owned);
            hearing.lock().unwrap().extend(identity);
            Reply::Json(200, json!({}))
        });
        world.secret_file("behind_secret", &format!("whsec_{BEHIND_SECRET}"));
        world.secret_file("api_key", API_KEY);
        world.secret_file("metrics_key", METRICS_KEY);
        let (url, secret) = (server.url(), "secret = \"file:behind_secret\"");
        let tables = format!(
            "[bot]\nurl = \"{url}/webhook/\"\n{secret}\n[events]\nurl = \"{url}/events\"\n{secret}\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\nkey = \"file:metrics_key\"\n\
             [[api_keys]]\nname = \"agent\"\nkey = \"file:api_key\"\nscopes = [\"tokens\", \"sign_in_links\"]\n\
             [store]\n"
        );
        world.edit("[store]\n", &tables);
        Behind {
            _server: server,
            identities,
            told,
        }
    }

    /// What the bot does with the message that it got last; returns the secrets that it has then.
    fn act(&self, portero: &Portero) -> (String, String) {
        let identity = eventually("the bot has both messages", || {
            let identities = self.identities.lock().unwrap();
            (identities.len() >= 2).then(|| identities[1].clone())
        });
        eventually("events were told", || {
            (*self.told.lock().unwrap() > 0).then_some(())
        });
        let post = |key: &str, body: &Value| portero.post_json(key, "/v1/tokens", body);
        let wish = json!({"identity": identity, "service": "kutamma"});
        let answer = post(API_KEY, &wish);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(post("canary-key", &wish).status, 401);
        let forged = json!({"identity": "canary.identity.x", "service": "canary"});
        assert_ne!(post(API_KEY, &forged).status, 200);
        for path in [
            "/v1/contacts/canary-uuid",
            "/hash-mappings/canary-hash",
            "/sign-in/?mappingHash=canary-hash",
            "/undo/?token=canary-undo",
            "/.well-known/canary",
        ] {
            portero.get(path);
        }
        (identity, token)
    }

    /// What an operator and Prometheus see.
    fn look_around(&self, world: &World, portero: &Portero) -> String {
        let mut seen = String::new();
        for arguments in [
            &["audit", "list", "--json"][..],
            &["audit", "verify"],
            &["outbox", "list", "--json"],
            &["outbox", "list", "--dead"],
            &["keys", "list"],
        ] {
            let mut command = world.command(arguments);
            let output = command.stdout(Stdio::piped()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            seen.push_str(&String::from_utf8(output.stdout).unwrap());
            seen.push_str(&String::from_utf8(output.stderr).unwrap());
        }
        let address = portero.metrics_address();
        for key in [METRICS_KEY, "canary-key"] {
            let key = format!("Bearer {key}");
            let headers = [("Authorization", key.as_str())];
            let answer = ask(address, "GET", "/metrics", &headers, b"").unwrap();
            seen.push_str(&answer.body);
        }
        assert!(seen.contains("contact.bound") && seen.contains("portero_build_info"));
        seen
    }
}

/// S-90, S-91: nothing that a person writes, no secret and nobody's name or number is in the log,
/// however much is logged, and nothing that comes from outside can write a line of its own.
fn assert_log_keeps_secrets(format: &str) {
    let refusals = json!({"RCPT": ["451 4.7.1 <ana@example.com> is busy \u{1b}[2Jfoo"]});
    let mut world = World::with_mail(refusals);
    world.edit(
        "level = \"debug\"\nformat = \"human\"",
        &format!("level = \"trace\"\nformat = \"{format}\""),
    );
    world.woku.set(ServiceMood::Refuse(500));
    let behind = Behind::start(&world);
    let portero = world.start();
    let forged = "\n2026-01-01T00:00:00.000000Z ERROR forged\r\n{\"level\":\"ERROR\",\"message\":\"forged\"}\u{1b}[2J\u{202e}";
    let (ana, mallory) = ("573001234567", "447700900123");

    // What Meta says about a message quotes it.
    let mut hostile = text(mallory, &format!("canary-words{forged}"));
    hostile.name = format!("Canary-Name{forged}");
    world.graph.next(&[Mood::Refuse(500, 131_000)]);
    portero.receive(&[hostile]);
    world.graph.reply(mallory, 1);
    world.graph.next(&[Mood::Refuse(400, 131_026)]);
    portero.receive(&[text(mallory, "cancelar")]);
    eventually("a refusal", || (world.graph.refused() == 2).then_some(()));
    let mut hostile = message(mallory, json!({"type": forged, "text": {"body": forged}}));
    hostile.value["id"] = json!(format!("wamid.forged{forged}"));
    portero.post_webhook(&webhook(&[hostile]));
    let notice = json!({"object": "whatsapp_business_account", "entry": [{"id": forged, "changes": [
        {"field": "account_update", "value": {"event": format!("EVENT{forged}")}},
        {"field": forged, "value": {}},
        {"field": "messages", "value": {"metadata": {"phone_number_id": PHONE_NUMBER_ID},
            "errors": [{"code": 130429, "title": format!("TITLE{forged}")}]}}]}]});
    // Meta's own words may be repeated, in their line.
    let notice = notice.to_string().replace("forged", "from Meta");
    portero.post_webhook(notice.as_bytes());
    let failed = json!({"statuses": [{"id": forged, "status": "failed", "timestamp": "1",
        "errors": [{"code": 131026, "title": forged}]}]});
    portero.post_webhook(&envelope(failed));
    let path =
        format!("/webhook?hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=1");
    assert_eq!(portero.get(&path).body, "1");
    portero.get("/webhook?hub.mode=subscribe&hub.verify_token=canary-guess&hub.challenge=1");
    let strange = [
        ("User-Agent", "canary-agent\u{1b}[2J\u{202e}"),
        ("X-Hub-Signature-256", "canary"),
    ];
    ask(
        portero.address,
        "POST",
        "/webhook/%0aforged%1b",
        &strange,
        b"canary-body",
    )
    .unwrap();

    portero.receive(&[text(ana, "canary-words de Ana")]);
    world.graph.reply(ana, 1);
    world.woku.set(ServiceMood::Good);
    portero.receive(&[text(ana, ANA.email)]);
    let letter = world.mail().letter_to(ANA.email);
    // The right code, wrongly first.
    let wrong = other_than(&letter.code());
    portero.receive(&[text(ana, &wrong), text(ana, &letter.code())]);
    world.graph.reply(ana, 4);
    portero.receive(&[text(ana, "canary-words for the bot")]);
    let (identity, token) = behind.act(&portero);
    let commands = behind.look_around(&world, &portero);
    portero.receive(&[text(ana, "cerrar sesión")]);
    world.graph.reply(ana, 5);
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    // The parts of the log that these secrets could be in are there.
    for part in ["/v1/tokens", "a delivery", "list_audit"] {
        assert!(log.contains(part), "{part}");
    }
    for lane in ["bot", "events"] {
        let forms = [format!("lane=\"{lane}\""), format!("\"lane\":\"{lane}\"")];
        assert!(forms.iter().any(|form| log.contains(form)), "{lane}");
    }

    let password = STANDARD.encode(smtp_sink::PASSWORD);
    let plain = STANDARD.encode(format!("\0{}\0{}", smtp_sink::USER, smtp_sink::PASSWORD));
    let code = letter.code();
    let secrets = [
        ("words", "canary"),
        ("name", "Canary"),
        ("address", ANA.email),
        ("address", "@example"),
        ("number", ana),
        ("number", mallory),
        ("account", "Pérez"),
        ("code", &code),
        ("wrong code", &wrong),
        ("token", ACCESS_TOKEN),
        ("app secret", APP_SECRET),
        ("app secret", OLD_APP_SECRET),
        ("verify token", VERIFY_TOKEN),
        ("password", smtp_sink::PASSWORD),
        ("password", &password),
        ("password", &plain),
        ("store key", STORE_KEY),
        ("signing secret", "whsec_"),
        ("bot secret", BEHIND_SECRET),
        ("API key", API_KEY),
        ("metrics key", METRICS_KEY),
        ("identity", &identity),
        ("token of a service", &token),
        ("forged line", "forged"),
        ("escape", "\u{1b}"),
        ("direction", "\u{202e}"),
    ];
    for (what, secret) in secrets {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what} is in the log");
        let line = commands.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{what} is in what commands or metrics show");
    }
    for line in log.lines() {
        if format == "json" {
            let event: Value = serde_json::from_str(line).unwrap();
            assert!(
                event["level"].is_string() && event["timestamp"].is_string(),
                "{line}"
            );
        } else {
            assert!(
                line.starts_with("20") && line.as_bytes()[10] == b'T',
                "{line}"
            );
        }
    }
    // The store knows all of it, and shows none of it.
    let raw_key: Vec<u8> = (0..STORE_KEY.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&STORE_KEY[at..at + 2], 16).unwrap())
        .collect();
    let store = world.path("portero.redb");
    for needle in [
        ANA.email.as_bytes(),
        ana.as_bytes(),
        code.as_bytes(),
        b"canary",
        "Pérez".as_bytes(),
        STORE_KEY.as_bytes(),
        &raw_key,
        APP_SECRET.as_bytes(),
        ACCESS_TOKEN.as_bytes(),
    ] {
        assert!(
            !file_has(&store, needle),
            "{}",
            String::from_utf8_lossy(needle)
        );
    }
    assert!(
        file_has(&store, b"redb"),
        "the search looks at the wrong bytes"
    );
}

#[test]
fn a_log_for_people_keeps_secrets_at_every_level() {
    assert_log_keeps_secrets("human");
}

#[test]
fn a_log_for_machines_keeps_secrets_at_every_level() {
    assert_log_keeps_secrets("json");
}

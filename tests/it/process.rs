//! The real program, from its start to its end, whatever happens in between (R-01, R-05, R-55,
//! R-75, S-90, S-91, S-93).

use crate::outside::{
    ANA, APP_SECRET, BEA, Message, STORE_KEY, World, ask, eventually, message, post_webhook, text,
    webhook,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
        "Hola, aquí Panadería La Espiga. Para ayudarte necesito saber quién eres: escríbeme el correo con el que estás en Kutamma o woku y te envío un código."
    );
    assert_eq!(world.graph.reply(bea, 1).body, prompt.body);
    assert!(
        world
            .graph
            .reply(nobody, 1)
            .body
            .starts_with("Hello, this is Panadería La Espiga.")
    );

    portero.receive(&[text(ana, "mi correo es Ana@Example.com, gracias")]);
    portero.receive(&[
        text(bea, "bea@example.com"),
        text(nobody, "nobody@example.com"),
    ]);
    let neutral = world.graph.reply(ana, 2);
    assert_eq!(
        neutral.body,
        "Si A•••@e••• está registrado, un código de 8 cifras va en camino a ese correo. Escríbelo aquí antes de 10 minutos. Si no llega, mira en el correo no deseado."
    );
    let titles: Vec<&str> = neutral
        .buttons
        .iter()
        .map(|(_, title)| title.as_str())
        .collect();
    assert_eq!(titles, ["Reenviar código", "Otro correo", "Cancelar"]);
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
        format!(
            "{} es tu código para entrar en el WhatsApp de Panadería La Espiga.",
            for_ana.code()
        )
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
    assert_eq!(
        world.graph.reply(bea, 3).body,
        "Ese no es el código. Puedes intentarlo 4 veces más."
    );
    assert_eq!(
        world.graph.reply(nobody, 3).body,
        "That is not the code. You can try 4 times more."
    );
    portero.receive(&[text(ana, &format!("mi código es {}", for_ana.code()))]);
    portero.receive(&[text(bea, &for_bea.code())]);
    assert_eq!(
        world.graph.reply(ana, 3).body,
        "Listo, entraste como Ana Pérez (Inpla, Kutamma). Para salir, escribe «cerrar sesión»."
    );
    assert_eq!(
        world.graph.reply(bea, 4).body,
        "Listo, entraste como Bea Gómez (Inpla, Kutamma) y Beatriz Gómez (Consultores, woku). Para salir, escribe «cerrar sesión»."
    );

    // From here on what Ana writes is the bot's; what she asks of Portero is answered.
    portero.receive(&[text(ana, "¿a qué hora abren?"), text(ana, "quién soy")]);
    assert_eq!(
        world.graph.reply(ana, 4).body,
        "Estás como Ana Pérez (Inpla, Kutamma)."
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
            .starts_with("Listo, lo dejamos")
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
            first.len() > 15 && !text.contains('\u{1b}'),
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
        let mut address = None;
        let mut line = String::new();
        while !line.contains("portero is ready") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0);
            if let Some((_, rest)) = line.split_once("listening on http://") {
                address = rest.split(';').next().map(|text| text.parse().unwrap());
            }
        }
        let address = address.unwrap();
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

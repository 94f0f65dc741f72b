//! `portero user` with the real program: the same whether the server runs or not, and no password
//! where it does not belong.

use crate::python;
use portero::app::user::HashedPassword;
use portero::domain::time::Timestamp;
use portero::store::record::Keys;
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const CONFIG: &str = r#"[business]
name = "La Espiga"
[server]
listen = "127.0.0.1:0"
public_url = "https://portero.example.com"
[whatsapp]
phone_number_id = "106540352242922"
access_token = "env:TOKEN"
app_secrets = "env:APP_SECRET"
verify_token = "env:VERIFY"
[mail]
server = "localhost"
security = "plain"
from = "portero@example.com"
[log]
level = "trace"
"#;

const PASSWORD: &str = "doce perros verdes";

/// Generous, because a loaded machine is not a failure.
const START_TIME_MAX: Duration = Duration::from_secs(60);

pub fn folder() -> tempfile::TempDir {
    folder_with(CONFIG)
}

pub fn folder_with(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("portero.toml"), config).unwrap();
    folder
}

pub fn portero(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portero"));
    command
        .current_dir(folder)
        .env_clear()
        .envs([
            ("TOKEN", "EAAGtoken"),
            ("APP_SECRET", "abc"),
            ("VERIFY", "tomillo"),
        ])
        .stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
pub type Ended = (i32, String, String);

pub fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs the program to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Ended {
    ended(portero(folder).args(arguments).output().unwrap())
}

/// The store of a folder while no server runs, and its keys.
pub fn store(folder: &Path) -> (Sealed, Keys) {
    let master = MasterKey::load_or_create(&folder.join("portero.key")).unwrap();
    let engine = Redb::open(&folder.join("portero.redb"), Options::default()).unwrap();
    let store = Sealed::open(Arc::new(engine), &master).unwrap();
    (store, Keys::new(master))
}

pub fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(now.as_millis()).unwrap())
}

fn user(folder: &Path, arguments: &[&str]) -> Ended {
    ended(
        portero(folder)
            .arg("user")
            .args(arguments)
            .output()
            .unwrap(),
    )
}

pub fn user_with_input(folder: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut child = portero(folder)
        .arg("user")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have refused its arguments already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    ended(child.wait_with_output().unwrap())
}

pub fn add(folder: &Path, email: &str) -> Ended {
    user(
        folder,
        &[
            "add",
            email,
            "--name",
            "Ana",
            "--company",
            "Espiga",
            "--no-password",
        ],
    )
}

fn addresses(folder: &Path) -> Vec<String> {
    let (code, output, error) = user(folder, &["list", "--json"]);
    assert_eq!(code, 0, "{error}");
    let users: Vec<Value> = serde_json::from_str(&output).unwrap();
    let email = |user: &Value| user["email"].as_str().unwrap().to_owned();
    users.iter().map(email).collect()
}

pub struct Server {
    child: Child,
    lines: Receiver<String>,
    log: String,
    socket: PathBuf,
}

impl Server {
    pub fn start(folder: &Path) -> Server {
        let mut child = portero(folder)
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let error = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in error.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut server = Server {
            child,
            lines,
            log: String::new(),
            socket: folder.join("portero.redb.sock"),
        };
        server.log_until(|line| line.contains("portero is ready"));
        server
    }

    /// Reads the log up to a line, or up to its end if there is no such line.
    fn log_until(&mut self, wanted: impl Fn(&str) -> bool) {
        loop {
            match self.lines.recv_timeout(START_TIME_MAX) {
                Ok(line) => {
                    self.log.push_str(&line);
                    self.log.push('\n');
                    if wanted(&line) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the log ends with {}", self.log),
            }
        }
    }

    /// Its whole log.
    pub fn stop(mut self) -> String {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.log_until(|_| false);
        assert!(self.child.wait().unwrap().success(), "{}", self.log);
        assert!(!self.socket.exists(), "the socket was left behind");
        std::mem::take(&mut self.log)
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The life of a few users, and what was said about it.
fn life(folder: &Path) -> Vec<Ended> {
    let ana = "ana@example.com";
    let csv = folder.join("users.csv");
    let file = |text: &str| fs::write(&csv, text).unwrap();
    let add_ana = [
        "add",
        ana,
        "--name",
        "Ana",
        "--company",
        "La Espiga",
        "--phone",
        "+34 600 111 222",
    ];
    let said = |mut more: Vec<&'static str>| {
        let mut arguments = add_ana.to_vec();
        arguments.append(&mut more);
        arguments
    };
    let mut story = vec![
        user_with_input(
            folder,
            &said(vec!["--password-stdin"]),
            &format!("{PASSWORD}\n"),
        ),
        user(folder, &said(vec!["--no-password"])),
        user(folder, &said(vec![])),
        user_with_input(folder, &said(vec!["--password-stdin"]), "short\n"),
        user(
            folder,
            &[
                "add",
                "ana",
                "--name",
                " ",
                "--company",
                "La Espiga",
                "--no-password",
            ],
        ),
        user_with_input(
            folder,
            &["passwd", ana, "--password-stdin"],
            "otra más larga",
        ),
        user_with_input(
            folder,
            &["passwd", "eva@example.com", "--password-stdin"],
            PASSWORD,
        ),
        user(folder, &["passwd", ana]),
        user(folder, &["passwd", "ana", "--password-stdin"]),
    ];
    file("email,name,company\nbea@example.com,山田太郎,La Espiga\ncid@example,Cid,La Espiga\n");
    story.push(user(folder, &["import", "users.csv"]));
    story.push(user(folder, &["list"]));
    story.push(user(folder, &["import", "users.csv", "--skip-bad"]));
    story.push(user(folder, &["import", "users.csv", "--skip-bad"]));
    file("email,name,company,password\nbea@example.com,Bea,La Espiga,tomillo y romero\n");
    story.push(user(folder, &["import", "users.csv", "--skip-bad"]));
    story.push(user(folder, &["import", "none.csv"]));
    story.push(user(folder, &["list"]));
    story.push(user(folder, &["remove", "ANA@example.com"]));
    story.push(user(folder, &["remove", ana]));
    let (code, output, error) = user(folder, &["list", "--json"]);
    let mut users: Value = serde_json::from_str(&output).unwrap();
    assert!(users[0]["id"].as_str().unwrap().starts_with("u-"));
    users[0]["id"] = json!("u-…");
    story.push((code, users.to_string(), error));
    story.push(user(folder, &["remove", "bea@example.com"]));
    story.push(user(folder, &["list"]));
    story
}

#[test]
fn a_user_lives_the_same_with_a_server_and_without_and_in_these_words() {
    let (with, without) = (folder(), folder());
    let server = Server::start(with.path());
    let story = life(with.path());
    assert_eq!(story, life(without.path()));
    let log = server.stop();
    assert!(
        log.matches("a command was attended to").count() > 10,
        "{log}"
    );
    for word in [
        "perros",
        "otra más",
        "example.com,",
        "ana@",
        "argon2",
        "Ana",
        "600111222",
    ] {
        assert!(!log.contains(word), "{word} is in the log: {log}");
    }
    let fine = |output: &str| (0, format!("{output}\n"), String::new());
    let wrong = |code: i32, error: &str| (code, String::new(), format!("{error}\n"));
    let table = "EMAIL            NAME      COMPANY    PHONE        PASSWORD\n\
                 ana@example.com  Ana       La Espiga  34600111222  yes";
    let with_bea = format!("{table}\nbea@example.com  山田太郎  La Espiga  -            no");
    let bad_line =
        "users.csv:3  email: a mail address looks like ana@example.com\n1 problem in users.csv";
    let expected = [
        fine("ana@example.com was added, with a password"),
        fine("ana@example.com was there before and has been changed; no password was set"),
        wrong(64, "a password is asked for at a terminal, and standard input is none\nhint: --password-stdin reads it from standard input; --no-password sets none"),
        wrong(65, "a password has 10 characters or more; a few words together are easy to remember"),
        wrong(64, "email: a mail address looks like ana@example.com\nname: is missing"),
        fine("ana@example.com has a new password"),
        wrong(67, "there is no user with the address eva@example.com\nhint: `portero user list` shows all"),
        wrong(64, "a password is asked for at a terminal, and standard input is none\nhint: --password-stdin reads it from standard input"),
        wrong(64, "email: a mail address looks like ana@example.com"),
        wrong(65, &format!("{bad_line}\nnothing has been imported\nhint: --skip-bad imports what is fine (1 user)")),
        fine(&table.replace("NAME      ", "NAME  ").replace("Ana       ", "Ana   ")),
        (0, "1 user in users.csv: 1 added, 0 changed, 0 as before\n".to_owned(), format!("{bad_line}\n")),
        (0, "1 user in users.csv: 0 added, 0 changed, 1 as before\n".to_owned(), format!("{bad_line}\n")),
        wrong(65, "users.csv:1  password: plain passwords are not accepted in a file; `portero user passwd` sets them, and the column password_hash takes argon2id hashes\n1 problem in users.csv"),
        wrong(66, "cannot read none.csv: No such file or directory (os error 2)"),
        fine(&with_bea),
        fine("ANA@example.com was removed; chats that are signed in as this user stay so until they log out or fall idle"),
        wrong(67, "there is no user with the address ana@example.com\nhint: `portero user list` shows all"),
        (0, json!([{"company": "La Espiga", "email": "bea@example.com", "id": "u-…", "name": "山田太郎", "password": false, "phone": null}]).to_string(), String::new()),
        fine("bea@example.com was removed; chats that are signed in as this user stay so until they log out or fall idle"),
        wrong(0, "there are no users; `portero user add` makes one"),
    ];
    for (said, expected) in story.iter().zip(&expected) {
        assert_eq!(said, expected);
    }
    assert_eq!(story.len(), expected.len());
}

#[test]
fn what_the_server_was_told_is_there_without_it_and_the_other_way_round() {
    let folder = folder();
    let path = folder.path();
    assert_eq!(add(path, "before@example.com").0, 0);
    let server = Server::start(path);
    assert_eq!(add(path, "during@example.com").0, 0);
    assert_eq!(
        addresses(path),
        ["before@example.com", "during@example.com"]
    );
    server.stop();
    assert_eq!(add(path, "after@example.com").0, 0);
    assert_eq!(
        addresses(path),
        [
            "after@example.com",
            "before@example.com",
            "during@example.com"
        ]
    );
}

#[test]
fn a_list_before_there_is_a_store_makes_none() {
    let folder = folder();
    let (code, output, error) = user(folder.path(), &["list"]);
    assert_eq!((code, output.as_str()), (66, ""));
    assert!(error.starts_with("there is no store at "), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_socket_is_the_owners_and_a_second_server_does_not_get_it() {
    let folder = folder();
    let server = Server::start(folder.path());
    let metadata = fs::symlink_metadata(&server.socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
    let (code, _, error) = ended(portero(folder.path()).arg("serve").output().unwrap());
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("in use by another process"), "{error}");
    assert_eq!(add(folder.path(), "ana@example.com").0, 0);
    server.stop();
}

#[test]
fn the_socket_of_a_killed_server_is_in_nobodys_way() {
    let folder = folder();
    let server = Server::start(folder.path());
    let socket = server.socket.clone();
    server.kill();
    assert!(socket.exists(), "there is nothing to test");
    assert_eq!(add(folder.path(), "ana@example.com").0, 0);
    let server = Server::start(folder.path());
    assert_eq!(addresses(folder.path()), ["ana@example.com"]);
    server.stop();
}

#[test]
fn a_file_in_the_sockets_place_stops_the_start_and_stays() {
    let folder = folder();
    let place = folder.path().join("portero.redb.sock");
    fs::write(&place, "letters").unwrap();
    let (code, _, error) = ended(portero(folder.path()).arg("serve").output().unwrap());
    assert_eq!(code, 73, "{error}");
    assert!(error.contains("is in the way"), "{error}");
    assert_eq!(fs::read_to_string(&place).unwrap(), "letters");
}

#[test]
fn garbage_on_the_socket_is_answered_and_the_server_lives() {
    let folder = folder();
    let server = Server::start(folder.path());
    for garbage in [
        &b"hello\n"[..],
        b"\xff\0\n",
        b"{\"version\":99}\n",
        &[b'['; 3_000_000],
    ] {
        let mut stream = UnixStream::connect(&server.socket).unwrap();
        // The server may have heard enough.
        let _ = stream.write_all(garbage);
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        assert!(
            answer.starts_with("{\"version\":1,\"answer\":{\"refused\":"),
            "{answer}"
        );
    }
    assert_eq!(add(folder.path(), "ana@example.com").0, 0);
    server.stop();
}

#[test]
fn commands_at_the_same_time_wait_for_one_another() {
    let folder = folder();
    let children: Vec<Child> = (0..4)
        .map(|n| {
            portero(folder.path())
                .args(["user", "add", &format!("u{n}@example.com"), "--no-password"])
                .args(["--name", "Ana", "--company", "Espiga"])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        let mut error = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut error)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{error}");
    }
    assert_eq!(addresses(folder.path()).len(), 4);
}

#[test]
fn a_file_of_many_users_is_imported_whole_and_twice_is_once() {
    let folder = folder();
    let mut text = "email;name;company;phone;password_hash\r\n".to_owned();
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert!(HashedPassword::parse(hash).is_ok());
    for n in 0..2_345 {
        text.push_str(&format!("u{n:04}@example.com;Ana {n};Espiga;;{hash}\r\n"));
    }
    fs::write(folder.path().join("users.csv"), text).unwrap();
    let server = Server::start(folder.path());
    let import = || user(folder.path(), &["import", "users.csv"]).1;
    assert_eq!(
        import(),
        "2345 users in users.csv: 2345 added, 0 changed, 0 as before\n"
    );
    assert_eq!(
        import(),
        "2345 users in users.csv: 0 added, 0 changed, 2345 as before\n"
    );
    let listed = addresses(folder.path());
    let expected: Vec<String> = (0..2_345).map(|n| format!("u{n:04}@example.com")).collect();
    assert_eq!(listed, expected);
    let (_, output, _) = user(folder.path(), &["list"]);
    assert!(!output.contains("argon2") && output.matches(" yes").count() == 2_345);
    server.stop();
}

/// Arguments can be read by every user of the machine.
#[test]
fn a_password_cannot_be_an_argument() {
    let folder = folder();
    let named = ["--name", "Ana", "--company", "Espiga"];
    for arguments in [
        &["add", "ana@example.com", "--password", PASSWORD][..],
        &["add", "ana@example.com", PASSWORD],
        &[
            "add",
            "ana@example.com",
            &format!("--password-stdin={PASSWORD}"),
        ],
        &[
            "add",
            "ana@example.com",
            "--password-stdin",
            "--no-password",
        ],
    ] {
        let (code, output, _) = user(folder.path(), &[arguments, &named].concat());
        assert_eq!((code, output.as_str()), (64, ""), "{arguments:?}");
    }
    for arguments in [
        &["passwd", "ana@example.com", PASSWORD][..],
        &["passwd", "ana@example.com", "--password", PASSWORD],
    ] {
        assert_eq!(user(folder.path(), arguments).0, 64, "{arguments:?}");
    }
}

#[test]
fn users_that_nobody_asks_for_are_kept_and_that_is_said() {
    let services = r#"[[services]]
name = "erp"
find_user = "https://erp.example.com/find"
issue_token = "https://erp.example.com/token"
secret = "env:SIGNING"
"#;
    let folder = folder_with(&format!("{CONFIG}{services}"));
    let mut command = portero(folder.path());
    command.env(
        "SIGNING",
        "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    );
    let (code, output, error) = ended(
        command
            .args(["user", "add", "ana@example.com", "--no-password"])
            .args(["--name", "Ana", "--company", "Espiga"])
            .output()
            .unwrap(),
    );
    assert_eq!(
        (code, output.as_str()),
        (0, "ana@example.com was added, without a password\n")
    );
    assert_eq!(
        error,
        "note: these users are not asked for; write directory.enabled = true in portero.toml and run `portero reload` to change that\n"
    );
}

/// What is on the screen, the exit code, and whether the terminal shows what is typed again.
fn at_terminal(folder: &Path, arguments: &[&str], talk: Value) -> (String, i64, bool) {
    let mut command = portero(folder);
    command.arg("user").args(arguments);
    let left = python::at_terminal(&command, None, &talk);
    (left.screen, left.code, left.echo)
}

#[test]
fn a_password_is_asked_for_twice_and_never_shown() {
    let folder = folder();
    let add = [
        "add",
        "ana@example.com",
        "--name",
        "Ana",
        "--company",
        "Espiga",
    ];
    let prompt = "Password for ana@example.com (empty for none): ";
    let line = |text: &str| format!("{text}\n");
    let password = line(PASSWORD);
    for (typed, screen, code) in [
        (
            json!([[prompt, "\n"]]),
            format!("{prompt}\nana@example.com was added, without a password\n"),
            0,
        ),
        (
            json!([[prompt, password], ["again: ", password]]),
            format!(
                "{prompt}\nThe same again: \nana@example.com was there before and has been changed; the password is a new one\n"
            ),
            0,
        ),
        (
            json!([[prompt, password], ["again: ", line("doce perros negros")]]),
            format!(
                "{prompt}\nThe same again: \nthe two passwords are not the same; nothing has been changed\n"
            ),
            65,
        ),
        (
            json!([[prompt, "corta\n"]]),
            format!(
                "{prompt}\na password has 10 characters or more; a few words together are easy to remember\n"
            ),
            65,
        ),
        // Ctrl-D on an empty line, and Ctrl-C in the middle.
        (
            json!([[prompt, "\u{4}"]]),
            format!("{prompt}no password was typed; nothing has been changed\n"),
            65,
        ),
        (
            json!([[prompt, "doce perros\u{3}"]]),
            format!("{prompt}\n"),
            -2,
        ),
    ] {
        assert_eq!(
            at_terminal(folder.path(), &add, typed),
            (screen, code, true)
        );
    }
    let (screen, code, echo) = at_terminal(
        folder.path(),
        &["passwd", "ana@example.com"],
        json!([
            ["New password for ana@example.com: ", password],
            ["again: ", password]
        ]),
    );
    assert_eq!((code, echo), (0, true), "{screen}");
    assert!(
        screen.ends_with("again: \nana@example.com has a new password\n"),
        "{screen}"
    );
}

#[test]
fn the_commands_need_no_secret_of_the_server_but_the_key_of_the_store() {
    let folder = folder();
    let without = |arguments: &[&str]| {
        let mut command = portero(folder.path());
        ended(command.env_clear().args(arguments).output().unwrap())
    };
    let ana = ["ana@example.com", "--name", "Ana", "--company", "Espiga"];
    let add = [&["user", "add"], &ana[..], &["--no-password"]].concat();
    let (code, _, error) = without(&add);
    assert_eq!((code, error.as_str()), (0, ""));
    let (code, output, _) = without(&["user", "list"]);
    assert!(code == 0 && output.contains("ana@example.com"), "{output}");
    // Everything that needs them still asks for them.
    let (code, _, error) = without(&["check"]);
    assert!(code == 78 && error.contains("TOKEN is not set"), "{error}");
    // Other problems are not passed over, and the key is not made up.
    for (line, problem) in [
        ("mail.from = \"portero@example.com\"\nfrmo = 1", "frmo"),
        (
            "from = \"portero@example.com\"\n[store]\nkey = \"env:KEY\"",
            "KEY is not set",
        ),
    ] {
        let config = CONFIG.replace("from = \"portero@example.com\"", line);
        let folder = folder_with(&config);
        let mut command = portero(folder.path());
        let output = command.env_clear().args(["user", "list"]).output().unwrap();
        let (code, _, error) = ended(output);
        assert!(code == 78 && error.contains(problem), "{error}");
    }
}

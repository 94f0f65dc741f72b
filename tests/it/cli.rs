//! The real program: what it prints and with which code it ends.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const GOOD: &str = r#"[business]
name = "La Espiga"
[server]
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
"#;

fn portero(folder: &Path) -> Command {
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
fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    ended(portero(folder).args(arguments).output().unwrap())
}

fn folder_with(text: &str, mode: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portero.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    folder
}

#[test]
fn help_and_version_are_answered_and_a_wrong_command_line_is_64() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output, error) = run(folder.path(), &["--help"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(output.lines().count() <= 34, "{output}");
    assert!(
        output.contains("Examples:") && !output.contains('\u{1b}'),
        "{output}"
    );
    let (code, output, _) = run(folder.path(), &["--version"]);
    assert_eq!(
        (code, output.starts_with("portero ")),
        (0, true),
        "{output}"
    );
    for arguments in [&["chekc"][..], &["check", "--shwo"], &[], &["config"]] {
        let (code, output, error) = run(folder.path(), arguments);
        assert_eq!((code, output.as_str()), (64, ""), "{arguments:?}");
        assert!(!error.is_empty());
    }
}

#[test]
fn a_good_file_is_called_fine_and_its_weak_spots_are_named() {
    let folder = folder_with(GOOD, 0o644);
    let (code, output, error) = run(folder.path(), &["check"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(
        output,
        "portero.toml: configuration is fine\n\n\
         Weaker than it could be, as configured:\n  \
         portero.toml:12:1  mail.security: codes go to the mail server on this machine unencrypted; it must encrypt what it passes on\n"
    );
    let (code, output, _) = run(folder.path(), &["check", "--show"]);
    assert_eq!(code, 0);
    assert!(
        output.contains("verify_token = \"(hidden, from env:VERIFY)\"  # line 9\n"),
        "{output}"
    );
    assert!(!output.contains("tomillo"), "{output}");
}

#[test]
fn a_bad_file_is_78_with_every_problem_and_a_hint() {
    let folder = folder_with(&GOOD.replace("verify_token", "verify_tokn"), 0o644);
    let (code, output, error) = run(folder.path(), &["check"]);
    assert_eq!((code, output.as_str()), (78, ""));
    assert_eq!(
        error,
        "portero.toml:5:2  whatsapp.verify_token: is missing; write for example verify_token = \"env:PORTERO_VERIFY_TOKEN\"\n\
         portero.toml:9:1  whatsapp.verify_tokn: unknown key; did you mean verify_token?\n\
         2 problems in portero.toml\n\
         hint: `portero config explain KEY` says what a key means\n"
    );
    fs::write(
        folder.path().join("portero.toml"),
        b"[business]\nname = \"\xff\"\n",
    )
    .unwrap();
    let (code, _, error) = run(folder.path(), &["check"]);
    assert_eq!(code, 78);
    assert!(
        error.starts_with("portero.toml:2:9  this is not UTF-8"),
        "{error}"
    );
}

/// S-93: whoever can read the file can act for the business.
#[test]
fn secrets_in_a_file_that_others_can_read_are_78() {
    let text = GOOD.replace("env:VERIFY", "tomillo");
    for mode in [0o640, 0o666, 0o604] {
        let folder = folder_with(&text, mode);
        let (code, output, error) = run(folder.path(), &["check"]);
        assert_eq!((code, output.as_str()), (78, ""), "{mode:o}");
        let words = format!(
            "portero.toml:9:16  whatsapp.verify_token: a secret is written here and the file is open to others than its owner (mode {mode:04o}); run: chmod 600 portero.toml\n"
        );
        assert!(error.starts_with(&words), "{error}");
        assert!(!error.contains("tomillo"), "{error}");
    }
    let folder = folder_with(&text, 0o600);
    let (code, output, _) = run(folder.path(), &["check"]);
    assert_eq!(code, 0);
    assert!(
        output.contains("the secret is written in this file"),
        "{output}"
    );
}

#[test]
fn a_missing_file_is_66_and_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, error) = run(folder.path(), &["check", "--config", "none.toml"]);
    assert_eq!(code, 66);
    assert!(error.starts_with("cannot read none.toml: "), "{error}");
    let (code, _, error) = run(folder.path(), &["check", "--config", "."]);
    assert_eq!(
        (code, error.lines().next()),
        (66, Some("cannot read .: it is not a file"))
    );
    let (code, _, error) = run(folder.path(), &["check"]);
    assert_eq!(code, 66);
    assert!(
        error.contains("./portero.toml nor /etc/portero/portero.toml is there"),
        "{error}"
    );
    assert!(
        error.ends_with("hint: `portero config example > portero.toml` makes one to fill in\n")
    );
}

#[test]
fn the_file_is_found_by_option_before_variable_before_folder() {
    let folder = folder_with("", 0o644);
    fs::write(folder.path().join("good.toml"), GOOD).unwrap();
    fs::write(folder.path().join("bad.toml"), "x = 1").unwrap();
    let check = |option: &[&str], variable: &str| {
        let mut command = portero(folder.path());
        command
            .arg("check")
            .args(option)
            .env("PORTERO_CONFIG", variable);
        ended(command.output().unwrap())
    };
    assert!(
        check(&[], "good.toml")
            .1
            .starts_with("good.toml: configuration is fine")
    );
    assert!(
        check(&["--config", "good.toml"], "bad.toml")
            .1
            .starts_with("good.toml: ")
    );
    assert!(check(&[], "").2.contains("problems in portero.toml"));
}

#[test]
fn the_example_becomes_a_good_file_and_keys_are_explained() {
    let (code, example, _) = run(Path::new("/"), &["config", "example"]);
    assert_eq!(code, 0);
    let folder = folder_with(&example, 0o644);
    let mut command = portero(folder.path());
    for name in [
        "ACCESS_TOKEN",
        "APP_SECRET",
        "VERIFY_TOKEN",
        "MAIL_PASSWORD",
    ] {
        command.env(format!("PORTERO_{name}"), name);
    }
    let (code, output, error) = ended(command.arg("check").output().unwrap());
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(output, "portero.toml: configuration is fine\n");
    let (code, output, _) = run(folder.path(), &["config", "explain", "mail.security"]);
    assert_eq!((code, output.starts_with("mail.security\n")), (0, true));
    let (code, _, error) = run(folder.path(), &["config", "explain", "mail.securty"]);
    assert_eq!(code, 64);
    assert_eq!(
        error,
        "there is no key mail.securty\nhint: did you mean mail.security?\n"
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child = portero(Path::new("/"))
        .args(["config", "example"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (code, _, error) = ended(child.wait_with_output().unwrap());
    assert_eq!((code, error.as_str()), (0, ""));
}

#[test]
fn a_story_that_is_stopped_in_the_middle_leaves_nothing() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = portero(folder.path())
            .args(["demo", "--play"])
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It has begun, with all that it needs.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("1. ")));
        assert!(fs::read_dir(folder.path()).unwrap().count() > 0);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = child.wait().unwrap();
        assert_eq!(ended.signal(), Some(signal.as_raw()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn the_story_of_the_demo_goes_as_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output, error) = run(folder.path(), &["demo", "--play"]);
    assert_eq!((code, error.as_str()), (0, ""), "{output}");
    assert!(!output.contains('✗') && output.contains("13. "), "{output}");
    // The bot stands behind it.
    for told in ["POST /v1/tokens kutamma → 200", "need sign_in"] {
        assert!(output.contains(told), "{told}: {output}");
    }
    // Links and what comes back from them stay untold.
    assert!(!output.contains("mappingHash") && output.contains("Q7…"));
}

//! Tests of the judgements over everything but Meta.

#![allow(clippy::unwrap_used)]

use super::super::finding::Verdict::{self, Fine, Look, Wrong};
use super::*;
use crate::services::{Call, Refusal};
use std::path::PathBuf;

const NOW: u64 = 1_795_600_000;

fn answer(status: u16, body: &str) -> Result<Answer, Broken> {
    Ok(Answer {
        status,
        retry_after_ms: None,
        date: None,
        nonce: None,
        is_json: false,
        telling: Vec::new(),
        body: body.as_bytes().to_vec(),
    })
}

fn broken(certificate_refused: bool, reason: &str) -> Result<Answer, Broken> {
    Err(Broken {
        may_have_arrived: false,
        certificate_refused,
        reason: reason.to_owned(),
    })
}

fn texts(texts: &[&str]) -> Records {
    Records::Texts(texts.iter().map(|&text| text.to_owned()).collect())
}

fn failure(kind: FailureKind, reason: &str, advice: Option<&'static str>) -> Result<(), Failure> {
    Err(Failure {
        kind,
        reason: reason.to_owned(),
        advice,
    })
}

fn run(reading: Reading) -> DryRun {
    DryRun {
        call: Call::FindUser,
        asking: None,
        answer: None,
        reading,
    }
}

fn refused(unreachable: bool, reason: &str) -> DryRun {
    run(Reading::Refused(Refusal {
        unreachable,
        reason: reason.to_owned(),
        advice: None,
        lines: Vec::new(),
    }))
}

/// What each fault is, what is found, and a part of what is said and of the advice.
type Row = (
    &'static str,
    Finding,
    &'static str,
    Verdict,
    &'static str,
    &'static str,
);

fn rows() -> Vec<Row> {
    let path = || PathBuf::from("portero.redb");
    let mode = |mode| Mode {
        path: "portero.redb".to_owned(),
        mode,
    };
    let gone = FailureKind::Unreachable;
    let soon = FailureKind::Temporary {
        retry_after_ms: None,
    };
    let service = |run: DryRun, asked| service("erp", &[run], asked).remove(0);
    let ready = |body: &str| ready(&answer(200, body)).remove(0);
    vec![
        // This machine.
        (
            "the store is cut short",
            store(&StoreSeen::Refused(OpenError::Truncated(path()))),
            "store",
            Wrong,
            "cut short",
            "Restore a copy",
        ),
        (
            "the store is in a folder with a full stop in its name",
            store(&StoreSeen::Refused(OpenError::Truncated(PathBuf::from(
                "v. 2/portero.redb",
            )))),
            "store",
            Wrong,
            "v. 2/portero.redb has been cut short",
            "Restore a copy",
        ),
        (
            "the store is damaged",
            store(&StoreSeen::Refused(OpenError::Damaged {
                path: path(),
                detail: "a checksum".to_owned(),
            })),
            "store",
            Wrong,
            "damaged",
            "Restore a copy",
        ),
        (
            "the wrong key",
            store(&StoreSeen::Refused(OpenError::WrongKey)),
            "store",
            Wrong,
            "another key",
            "Use the key file",
        ),
        (
            "the store is of a newer version",
            store(&StoreSeen::Refused(OpenError::NewerFile(path()))),
            "store",
            Wrong,
            "newer version",
            "Run that version",
        ),
        (
            "the key is missing",
            store(&StoreSeen::Unready("the key is not there".to_owned())),
            "store",
            Wrong,
            "key",
            "put the key",
        ),
        (
            "the store is held by somebody silent",
            store(&StoreSeen::InUseBySomebody),
            "store",
            Wrong,
            "no server answers",
            "in a moment",
        ),
        (
            "another user's server",
            store(&StoreSeen::Denied),
            "store",
            Look,
            "may not ask",
            "sudo -u",
        ),
        (
            "a server of another version",
            store(&StoreSeen::OtherVersion),
            "store",
            Look,
            "another version",
            "restart",
        ),
        (
            "no store",
            store(&StoreSeen::Absent),
            "store",
            Look,
            "none yet",
            "store.path",
        ),
        (
            "the store is open to others",
            modes(&[mode(0o644)]),
            "file modes",
            Wrong,
            "mode 0644",
            "chmod 600",
        ),
        (
            "the disk is nearly full",
            disk(Some(5 << 20)),
            "disk",
            Wrong,
            "nearly full: 5 MiB",
            "make room",
        ),
        (
            "the disk is filling up",
            disk(Some(300 << 20)),
            "disk",
            Look,
            "300 MiB",
            "make room",
        ),
        (
            "no folder for the store",
            disk(None),
            "disk",
            Look,
            "nobody says",
            "folder",
        ),
        (
            "the clock is fast",
            clock(Some(NOW), NOW + 600),
            "clock",
            Wrong,
            "10 minutes fast",
            "timedatectl",
        ),
        (
            "the clock is slow",
            clock(Some(NOW), NOW - 7_200),
            "clock",
            Wrong,
            "2 hours slow",
            "timedatectl",
        ),
        (
            "the clock is a little off",
            clock(Some(NOW), NOW + 60),
            "clock",
            Look,
            "60 seconds fast",
            "timedatectl",
        ),
        (
            "nobody tells the time",
            clock(None, NOW),
            "clock",
            Look,
            "nobody told",
            "Meta",
        ),
        // The public address.
        (
            "no public address",
            no_address(),
            ADDRESS,
            Wrong,
            "not set",
            "server.public_url",
        ),
        (
            "the certificate has expired",
            alive(
                &broken(true, "TLS failed: the certificate has expired"),
                true,
            ),
            ADDRESS,
            Wrong,
            "certificate has expired",
            "public authority",
        ),
        (
            "the name leads nowhere",
            alive(&broken(false, "the host name was not found"), true),
            ADDRESS,
            Wrong,
            "leads nowhere",
            "A or AAAA",
        ),
        (
            "nobody answers",
            alive(
                &broken(false, "connection failed: connection refused"),
                true,
            ),
            ADDRESS,
            Wrong,
            "nobody answers",
            "port 443",
        ),
        (
            "no encryption",
            alive(&answer(200, "alive\n"), false),
            ADDRESS,
            Look,
            "without encryption",
            "certificate",
        ),
        (
            "another program",
            alive(&answer(200, "<html>Welcome to nginx</html>"), true),
            ADDRESS,
            Wrong,
            "another program",
            "server.listen",
        ),
        (
            "a path that is not there",
            alive(&answer(404, ""), true),
            ADDRESS,
            Wrong,
            "with 404",
            "server.listen",
        ),
        (
            "a name that Portero does not know",
            alive(&answer(421, ""), true),
            ADDRESS,
            Wrong,
            "does not know this name",
            "restart",
        ),
        (
            "a redirect",
            alive(&answer(301, ""), true),
            ADDRESS,
            Wrong,
            "leads on",
            "leads to",
        ),
        (
            "a proxy with nobody behind it",
            alive(&answer(502, ""), true),
            ADDRESS,
            Wrong,
            "behind it nobody",
            "portero serve",
        ),
        (
            "a protection against robots",
            alive(&answer(403, "Just a moment..."), true),
            ADDRESS,
            Wrong,
            "refuses (403)",
            "/webhook",
        ),
        (
            "another verify token",
            handshake(&answer(403, ""), "abc"),
            "handshake",
            Wrong,
            "another verify token",
            "restart",
        ),
        (
            "the challenge does not come back",
            handshake(&answer(200, "abcd"), "abc"),
            "handshake",
            Wrong,
            "instead of the challenge",
            "query",
        ),
        (
            "other app secrets",
            signed(&answer(401, "")),
            "webhook",
            Wrong,
            "other app secrets",
            "restart",
        ),
        (
            "webhooks are not stored",
            signed(&answer(503, "")),
            "webhook",
            Wrong,
            "not be stored",
            "disk",
        ),
        (
            "POST is not passed on",
            signed(&answer(405, "")),
            "webhook",
            Wrong,
            "HTTP 405",
            "POST",
        ),
        (
            "sending is paused",
            ready(r#"{"ready":true,"troubles":["sending is paused: 190"]}"#),
            "server",
            Wrong,
            "paused: 190",
            "by itself",
        ),
        (
            "nothing can be stored",
            ready(r#"{"ready":false,"troubles":[]}"#),
            "server",
            Wrong,
            "cannot store",
            "log",
        ),
        // Mail.
        (
            "the log-in is refused",
            mail_server(&failure(
                FailureKind::Configuration,
                "SMTP, AUTH: 535 5.7.8",
                Some("app password"),
            )),
            "mail server",
            Wrong,
            "535",
            "app password",
        ),
        (
            "no mail server",
            mail_server(&failure(
                soon,
                "SMTP, connecting: the connection failed",
                None,
            )),
            "mail server",
            Wrong,
            "connecting",
            "mail.server",
        ),
        (
            "the recipient does not exist",
            test_mail(&failure(
                FailureKind::Recipient,
                "SMTP, RCPT: 550 5.1.1",
                None,
            )),
            "test mail",
            Wrong,
            "550",
            "--mail-to",
        ),
        (
            "no SPF",
            spf(&texts(&["google-site-verification=x"])),
            "SPF",
            Look,
            "no SPF record",
            "v=spf1",
        ),
        (
            "two SPF records",
            spf(&texts(&["v=spf1 -all", "v=spf1 a -all"])),
            "SPF",
            Wrong,
            "two SPF records",
            "one TXT record",
        ),
        (
            "SPF for everybody",
            spf(&texts(&["V=SPF1 a +all"])),
            "SPF",
            Look,
            "everybody",
            "-all",
        ),
        (
            "a domain that does not exist",
            spf(&Records::NoSuchName),
            "SPF",
            Wrong,
            "does not exist",
            "mail.from",
        ),
        (
            "no name server",
            spf(&Records::Unknown("no name server answered")),
            "SPF",
            Look,
            "not known",
            "resolv.conf",
        ),
        (
            "no DMARC",
            dmarc(&texts(&["v=DMARC10; p=none"])),
            "DMARC",
            Look,
            "no DMARC record",
            "_dmarc",
        ),
        (
            "no name for DMARC",
            dmarc(&Records::NoSuchName),
            "DMARC",
            Look,
            "no DMARC record",
            "_dmarc",
        ),
        // Services, bot, events.
        (
            "a service answers HTML",
            service(refused(false, "the answer is not JSON"), false),
            "service erp",
            Wrong,
            "find_user: the answer is not JSON",
            "portero check",
        ),
        (
            "a service is away",
            service(refused(true, "no connection within the deadline"), false),
            "service erp",
            Wrong,
            "no connection",
            "portero check",
        ),
        (
            "a service does not know the person",
            service(run(Reading::Users(Vec::new())), true),
            "service erp",
            Look,
            "knows nobody",
            "--email",
        ),
        (
            "the bot is away",
            bot(&failure(
                gone,
                "the bot gave no answer: connection failed",
                None,
            )),
            "bot",
            Wrong,
            "no answer",
            "start it",
        ),
        (
            "the bot has another secret",
            bot(&failure(
                soon,
                "the bot answered 401",
                Some("the signature was refused"),
            )),
            "bot",
            Wrong,
            "401",
            "signature",
        ),
        (
            "the bot stumbles over nothing",
            bot(&failure(soon, "the bot answered 500", None)),
            "bot",
            Look,
            "500",
            "bot's log",
        ),
        (
            "the bot's certificate",
            bot(&failure(
                gone,
                "the bot gave no answer: TLS failed",
                Some("its certificate is not trusted"),
            )),
            "bot",
            Wrong,
            "TLS failed",
            "certificate",
        ),
        (
            "the receiver of events is away",
            events(&failure(
                FailureKind::Unknown,
                "the receiver of events gave no answer: no whole answer",
                None,
            )),
            "events",
            Wrong,
            "no answer",
            "start it",
        ),
    ]
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    let rows = rows();
    let faults: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(faults.len(), rows.len(), "two faults have one name");
    assert!(faults.len() >= 40, "only {} faults", faults.len());
    for (fault, found, name, verdict, what, advice) in rows {
        let good = found.name == name
            && found.verdict == verdict
            && found.what.contains(what)
            && (found.advice.as_deref().unwrap_or_default()).contains(advice);
        assert!(good, "{fault}: {found:#?}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let mode = Mode {
        path: "portero.key".to_owned(),
        mode: 0o600,
    };
    let users = service("erp", &[run(Reading::Users(Vec::new()))], false);
    let mut found = vec![
        store(&StoreSeen::Whole),
        store(&StoreSeen::InUse),
        modes(&[mode]),
        disk(Some(40 << 30)),
        clock(Some(NOW), NOW + 3),
        alive(&answer(200, "alive\n"), true),
        handshake(&answer(200, "abc"), "abc"),
        signed(&answer(200, "")),
        mail_server(&Ok(())),
        test_mail(&Ok(())),
        spf(&texts(&["other", "v=spf1 include:_spf.example ~all"])),
        dmarc(&texts(&["v=DMARC1; p=reject"])),
        dmarc(&texts(&["v = DMARC1 ;p=none"])),
        bot(&Ok(())),
        events(&Ok(())),
    ];
    found.extend(users);
    found.extend(ready(&answer(200, r#"{"ready":true,"troubles":[]}"#)));
    for finding in found {
        assert_eq!(finding.verdict, Fine, "{finding:?}");
    }
}

#[test]
fn silence_is_told_from_every_other_fault() {
    const SILENT: [&str; 7] = [
        "the name leads nowhere",
        "nobody answers",
        "no mail server",
        "no name server",
        "a service is away",
        "the bot is away",
        "the receiver of events is away",
    ];
    for (fault, found, ..) in rows() {
        assert_eq!(found.is_silence, SILENT.contains(&fault), "{fault}");
    }
}

#[test]
fn what_an_unknown_server_says_cannot_move_the_cursor_or_fill_the_screen() {
    let long = "a".repeat(5_000);
    let body =
        serde_json::json!({"ready": true, "troubles": vec![format!("\u{1b}[2J\n{long}"); 50]});
    let found = ready(&answer(200, &body.to_string()));
    assert_eq!(found.len(), TROUBLES_MAX);
    for finding in found {
        assert!(!finding.what.contains(char::is_control), "{finding:?}");
        assert!(finding.what.chars().count() <= TROUBLE_CHARS_MAX + 1);
    }
}

//! Mail against a real SMTP server, in good and in bad moods (R-30 to R-34, S-22, F-11).

use crate::smtp_sink::{self, settings};
use portero::domain::delivery::Mail;
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::EmailAddress;
use portero::domain::secret::Secret;
use portero::mail::{Mailer, Security, Settings};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const TEMPORARY: FailureKind = FailureKind::Temporary {
    retry_after_ms: None,
};

fn mail() -> Mail {
    Mail {
        to: EmailAddress::parse("ana@example.com").unwrap(),
        subject: "Tu código: Inpla".to_owned(),
        text: "Hola, Ana:\n\n12345678\n.\nVale 10 minutos – no lo compartas.\n".to_owned(),
        html: "<p>Hola, <b>Ana</b>:</p>\n<p>12345678</p>\n".to_owned(),
        id: "4f1c0de".to_owned(),
        language: "es",
    }
}

fn send_once(settings: &Settings) -> Result<(), Failure> {
    Mailer::new(settings).unwrap().send(&mail())
}

fn header<'a>(mail: &'a Value, name: &str) -> &'a str {
    let all: Vec<_> = mail["headers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pair| pair[0] == name)
        .collect();
    assert_eq!(all.len(), 1, "one {name}");
    all[0][1].as_str().unwrap()
}

fn header_names(mail: &Value) -> Vec<&str> {
    let mut names: Vec<_> = mail["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair[0].as_str().unwrap())
        .collect();
    names.sort_unstable();
    names
}

const HEADER_NAMES: [&str; 11] = [
    "Auto-Submitted",
    "Content-Language",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Reply-To",
    "Subject",
    "To",
    "X-Auto-Response-Suppress",
];

#[test]
fn a_mail_arrives_as_it_was_meant_over_starttls_tls_and_plain() {
    for security in [Security::StartTls, Security::Tls, Security::Plain] {
        let sink = smtp_sink::start(security, json!({}));
        send_once(&settings(&sink, security)).unwrap();
        let got = sink.next("mail");
        assert_eq!(got["encrypted"], security != Security::Plain);
        assert_eq!(got["authenticated"], true);
        assert_eq!(got["from"], "no-reply@inpla.example");
        assert_eq!(got["to"], json!(["ana@example.com"]));
        assert_eq!(got["hello"], "inpla.example");
        assert_eq!(header_names(&got), HEADER_NAMES);
        assert_eq!(got["defects"], json!([]));
        assert_eq!(header(&got, "From"), "Inpla <no-reply@inpla.example>");
        assert_eq!(header(&got, "Reply-To"), "help@inpla.example");
        assert_eq!(header(&got, "Subject"), mail().subject);
        assert_eq!(header(&got, "Message-ID"), "<4f1c0de@inpla.example>");
        assert_eq!(header(&got, "Content-Language"), "es");
        assert_eq!(header(&got, "Auto-Submitted"), "auto-generated");
        assert!(header(&got, "Content-Type").starts_with("multipart/alternative;"));
        let parts = got["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 2);
        for (part, (kind, text)) in parts
            .iter()
            .zip([("text/plain", mail().text), ("text/html", mail().html)])
        {
            assert_eq!(part["type"], kind);
            assert_eq!(part["encoding"], "quoted-printable");
            assert_eq!(unix_lines(&part["text"]), text);
        }
    }
}

fn unix_lines(text: &Value) -> String {
    text.as_str().unwrap().replace("\r\n", "\n")
}

#[test]
fn one_connection_carries_many_mails_and_probes() {
    let sink = smtp_sink::start(Security::StartTls, json!({}));
    let mailer = Mailer::new(&settings(&sink, Security::StartTls)).unwrap();
    mailer.probe().unwrap();
    for _ in 0..3 {
        mailer.send(&mail()).unwrap();
    }
    mailer.probe().unwrap();
    drop(mailer);
    let events = sink.finish();
    let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(count("mail"), 3);
    assert_eq!(count("auth"), 1, "logged in once");
}

#[test]
fn a_kept_connection_that_the_server_closed_is_replaced_unnoticed() {
    for reply in ["drop", "421 4.4.2 idle for too long"] {
        let sink = smtp_sink::start(Security::Tls, json!({"MAIL": [null, reply]}));
        let mailer = Mailer::new(&settings(&sink, Security::Tls)).unwrap();
        mailer.send(&mail()).unwrap();
        mailer.send(&mail()).unwrap();
        sink.next("mail");
        sink.next("mail");
    }
}

/// RFC 5321, section 4.1.1.10: whoever ends a connection says so. No mail waits for the answer.
#[test]
fn a_kept_connection_that_takes_no_mail_any_more_is_told_goodbye_and_delays_none() {
    /// A fifth of how long a goodbye may take where no mail waits for it.
    const NO_DELAY: Duration = Duration::from_millis(200);
    /// A machine that is busy is slow in some, one that waits for the answer in all.
    const GOODBYES: usize = 10;
    for answer in [Value::Null, json!("silence")] {
        let said: Vec<Value> =
            std::iter::repeat_n([Value::Null, json!("451 4.3.2 busy")], GOODBYES)
                .flatten()
                .collect();
        let replies = json!({"MAIL": said, "QUIT": vec![answer.clone(); GOODBYES]});
        let sink = smtp_sink::start(Security::Tls, replies);
        let mailer = Mailer::new(&settings(&sink, Security::Tls)).unwrap();
        mailer.send(&mail()).unwrap();
        sink.next("mail");
        let took = (0..GOODBYES).map(|_| {
            let begun = Instant::now();
            mailer.send(&mail()).unwrap();
            let took = begun.elapsed();
            sink.next("quit");
            sink.next("mail");
            took
        });
        let took: Vec<Duration> = took.collect();
        assert!(
            took.iter().any(|took| *took < NO_DELAY),
            "{answer}: {took:?}"
        );
    }
}

#[test]
fn a_greylisted_mail_arrives_on_the_next_try_with_the_same_message_id() {
    let sink = smtp_sink::start(Security::StartTls, json!({"RCPT": ["451 4.7.1 try later"]}));
    let mailer = Mailer::new(&settings(&sink, Security::StartTls)).unwrap();
    let failure = mailer.send(&mail()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::RecipientForNow);
    assert_eq!(failure.reason, "SMTP, RCPT: 451 4.7.1");
    mailer.send(&mail()).unwrap();
    assert_eq!(
        header(&sink.next("mail"), "Message-ID"),
        "<4f1c0de@inpla.example>"
    );
}

#[test]
fn each_refusal_has_its_consequence_and_names_nobody() {
    let table = [
        (
            "RCPT",
            "550 5.1.1 <ana@example.com> unknown",
            FailureKind::Recipient,
        ),
        (
            "RCPT",
            "552 5.2.2 mailbox of Ana full",
            FailureKind::Recipient,
        ),
        ("RCPT", "553 5.1.3 ana@example.com", FailureKind::Recipient),
        (
            "RCPT",
            "452 4.2.2 mailbox of Ana full",
            FailureKind::RecipientForNow,
        ),
        ("RCPT", "421 4.3.2 going down", FailureKind::RecipientForNow),
        (
            "DATA",
            "552 5.3.4 Ana may not get so much",
            FailureKind::Recipient,
        ),
        (
            "DATA",
            "554 5.7.1 12345678 looks like spam",
            FailureKind::Recipient,
        ),
        ("DATA", "451 4.3.0 later", FailureKind::RecipientForNow),
        ("MAIL", "530 5.7.0 log in first", FailureKind::Configuration),
        (
            "MAIL",
            "553 5.7.1 not your address",
            FailureKind::Configuration,
        ),
        ("MAIL", "452 4.3.1 disk full", TEMPORARY),
        (
            "AUTH",
            "535 5.7.8 portero is not known",
            FailureKind::Configuration,
        ),
        (
            "AUTH",
            "534 5.7.9 use an app password",
            FailureKind::Configuration,
        ),
        ("AUTH", "454 4.7.0 try later", TEMPORARY),
    ];
    for (command, reply, kind) in table {
        let sink = smtp_sink::start(Security::Tls, json!({ command: [reply] }));
        let failure = send_once(&settings(&sink, Security::Tls)).unwrap_err();
        assert_eq!(failure.kind, kind, "{command} {reply}");
        let said = format!("{failure:?}").to_lowercase();
        for personal in ["ana", "código", "portero", "12345678"] {
            assert!(!said.contains(personal), "{said}");
        }
        let events = sink.finish();
        assert!(events.iter().all(|event| event["event"] != "mail"));
    }
}

#[test]
fn a_wrong_password_stops_the_lane_and_says_what_to_do() {
    let sink = smtp_sink::start(Security::StartTls, json!({}));
    let mut settings = settings(&sink, Security::StartTls);
    settings.credentials = Some((smtp_sink::USER.to_owned(), Secret::new("wrong")));
    let mailer = Mailer::new(&settings).unwrap();
    for failure in [
        mailer.probe().unwrap_err(),
        mailer.send(&mail()).unwrap_err(),
    ] {
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert_eq!(failure.reason, "SMTP, AUTH: 535 5.7.8");
        assert!(failure.advice.unwrap().contains("mail.password"));
    }
}

#[test]
fn a_connection_lost_after_the_mail_may_have_delivered_it() {
    let sink = smtp_sink::start(Security::StartTls, json!({"DATA": ["drop"]}));
    let mailer = Mailer::new(&settings(&sink, Security::StartTls)).unwrap();
    assert_eq!(mailer.send(&mail()).unwrap_err().kind, FailureKind::Unknown);
    mailer.send(&mail()).unwrap();
    let (first, second) = (sink.next("mail"), sink.next("mail"));
    assert_eq!(header(&first, "Message-ID"), header(&second, "Message-ID"));
}

#[test]
fn a_connection_lost_before_the_mail_has_delivered_nothing() {
    for command in ["AUTH", "MAIL", "RCPT"] {
        let sink = smtp_sink::start(Security::StartTls, json!({ command: ["drop"] }));
        let mailer = Mailer::new(&settings(&sink, Security::StartTls)).unwrap();
        assert_eq!(
            mailer.send(&mail()).unwrap_err().kind,
            TEMPORARY,
            "{command}"
        );
        mailer.send(&mail()).unwrap();
    }
}

#[test]
fn a_server_that_is_not_there_is_asked_again_later() {
    // Bound and dropped: nobody listens there now.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let sink = smtp_sink::start(Security::StartTls, json!({}));
    let refused = Settings {
        port,
        ..settings(&sink, Security::StartTls)
    };
    let unknown = Settings {
        server: "smtp.portero.invalid".to_owned(),
        ..settings(&sink, Security::StartTls)
    };
    for settings in [refused, unknown] {
        let failure = send_once(&settings).unwrap_err();
        assert_eq!(failure.kind, TEMPORARY);
        assert!(failure.advice.unwrap().contains("mail.server"));
    }
}

#[test]
fn a_certificate_is_accepted_from_the_named_authority_and_for_the_right_name_only() {
    for security in [Security::StartTls, Security::Tls] {
        let good = smtp_sink::start(security, json!({}));
        let other = smtp_sink::start(security, json!({}));
        send_once(&settings(&good, security)).unwrap();

        let without_ca = Settings {
            ca_pem: None,
            ..settings(&good, security)
        };
        let foreign_ca = Settings {
            ca_pem: Some(other.ca_pem.clone()),
            ..settings(&good, security)
        };
        let expired = smtp_sink::start_with(security, json!({"expired": true}));
        let misnamed = smtp_sink::start_with(security, json!({"names": ["other.example"]}));
        for (settings, reason) in [
            (without_ca, "unknown issuer"),
            (foreign_ca, "unknown issuer"),
            (settings(&expired, security), "expired"),
            (settings(&misnamed, security), "another name"),
        ] {
            let failure = send_once(&settings).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Configuration, "{reason}");
            assert!(failure.reason.contains(reason), "{failure:?}");
            assert!(failure.advice.unwrap().contains("mail.ca_file"));
        }
        for sink in [good, expired, misnamed] {
            let mails = sink
                .finish()
                .iter()
                .filter(|event| event["event"] == "auth" || event["event"] == "mail")
                .count();
            assert!(
                mails <= 2,
                "one log-in and one mail at the good sink, none elsewhere"
            );
        }
    }
}

#[test]
fn after_a_stripped_starttls_nothing_is_said_in_the_clear() {
    // What somebody in the middle does: take STARTTLS out of the list and wait for the password.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let stripper = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        let mut heard = Vec::new();
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let Ok(line) = line else { break };
            let answer: &[u8] = match line.split(' ').next() {
                Some("EHLO") => b"250-mail.example\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n",
                _ => b"250 ok\r\n",
            };
            heard.push(line);
            if stream.write_all(answer).is_err() {
                break;
            }
        }
        heard
    });
    let sink = smtp_sink::start(Security::StartTls, json!({}));
    let settings = Settings {
        port,
        ..settings(&sink, Security::StartTls)
    };
    let failure = send_once(&settings).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Configuration);
    assert!(failure.reason.contains("STARTTLS"));
    assert!(failure.advice.is_some());
    assert_eq!(stripper.join().unwrap(), ["EHLO inpla.example"]);
}

/// Somebody in the middle who offers STARTTLS, says `answer` to it and then, if `goes_on`, yes to
/// everything; returns every byte that they heard.
fn in_the_middle(answer: &'static str, goes_on: bool) -> (u16, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let hearing = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut heard = Vec::new();
        let say = |stream: &mut TcpStream, words: &str| stream.write_all(words.as_bytes());
        say(&mut stream, "220 mail.example ESMTP\r\n").unwrap();
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            heard.extend_from_slice(&buffer[..count]);
            let offer = "250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n";
            let words = match &buffer[..count] {
                b"STARTTLS\r\n" => answer,
                line if line.starts_with(b"EHLO ") => offer,
                _ if goes_on => "250 ok\r\n",
                _ => break,
            };
            if say(&mut stream, words).is_err() {
                break;
            }
        }
        heard
    });
    (port, hearing)
}

/// R-34: STARTTLS is offered, and then refused, broken, or answered by somebody who would rather go
/// on in the clear.
#[test]
fn whatever_is_answered_to_starttls_nothing_but_a_greeting_is_said_in_the_clear() {
    let sink = smtp_sink::start(Security::StartTls, json!({}));
    for (answer, goes_on, kind) in [
        ("454 4.7.0 TLS is not available\r\n", true, TEMPORARY),
        (
            "500 5.5.1 what is that\r\n",
            true,
            FailureKind::Configuration,
        ),
        ("502 5.5.1 not here\r\n", true, FailureKind::Configuration),
        ("554 5.7.0 never\r\n", true, FailureKind::Configuration),
        // Goes on as if nothing had been said.
        ("220 ready\r\n", true, FailureKind::Configuration),
        // What follows in the same breath is not of the server (CVE-2021-38371).
        (
            "220 ready\r\n250-AUTH PLAIN\r\n250 ok\r\n235 2.7.0 welcome\r\n",
            true,
            FailureKind::Configuration,
        ),
        ("220 ready\r\n", false, TEMPORARY),
        ("\r\n", true, TEMPORARY),
    ] {
        let (port, hearing) = in_the_middle(answer, goes_on);
        let settings = Settings {
            port,
            ..settings(&sink, Security::StartTls)
        };
        let failure = send_once(&settings).unwrap_err();
        assert_eq!(failure.kind, kind, "{answer:?}: {failure:?}");
        assert_eq!(failure.advice.is_some(), kind != TEMPORARY, "{failure:?}");
        let heard = hearing.join().unwrap();
        // After the greeting there is a record of TLS, its handshake, or nothing.
        let greeting = b"EHLO inpla.example\r\nSTARTTLS\r\n";
        let rest = heard.strip_prefix(greeting).unwrap();
        let plain = match rest {
            [22, 3, ..] | b"" | b"QUIT\r\n" => 0,
            others => others.len(),
        };
        assert_eq!(plain, 0, "{answer:?}: {:?}", String::from_utf8_lossy(rest));
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_told_apart_from_one_that_is_down() {
    let sink = smtp_sink::start(Security::Plain, json!({}));
    let failure = send_once(&settings(&sink, Security::Tls)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Configuration);
    assert!(failure.advice.unwrap().contains("mail.port"));
}

#[test]
fn hostile_names_and_subjects_stay_text() {
    // lettre CVE-2021-38189 and RUSTSEC-2026-0561: a line end of any kind that survives into the
    // message can end the mail early and start another one.
    let hostile = [
        "\r\nBcc: eve@example.com".to_owned(),
        "Ana\nBcc: eve@example.com".to_owned(),
        "Ana\rBcc: eve@example.com".to_owned(),
        "\n.\nMAIL FROM:<eve@example.com>\nRCPT TO:<eve@example.com>\nDATA\nhello\n.\n".to_owned(),
        "\r\n.\r\nMAIL FROM:<eve@example.com>\r\n".to_owned(),
        "\r.\rQUIT\r".to_owned(),
        "\u{202e}nimda\u{2066}\u{200f}".to_owned(),
        "a\0b\u{7f}c\u{85}d\u{2028}e".to_owned(),
        "\"Eve\" <eve@example.com>, Ana".to_owned(),
        "=?utf-8?q?=0D=0ABcc:_eve@example.com?=".to_owned(),
        "a".repeat(10_000),
        "ñ".repeat(10_000),
        ".".to_owned(),
        "..\n.\n".to_owned(),
        "From eve".to_owned(),
        "  spaces at both ends  ".to_owned(),
        "🦀".repeat(300),
        "Inpla S.A. \"la\" \\ de siempre".to_owned(),
        "S.A.".repeat(100),
        "Señor Ñandú".to_owned(),
    ];
    let sink = smtp_sink::start(Security::Plain, json!({}));
    for words in &hostile {
        let settings = Settings {
            from_name: words.clone(),
            ..settings(&sink, Security::Plain)
        };
        let mail = Mail {
            subject: words.clone(),
            text: format!("Hola, {words}:\n{words}\n"),
            html: format!("<p>{words}</p>\n"),
            ..mail()
        };
        Mailer::new(&settings).unwrap().send(&mail).unwrap();
    }
    let events = sink.finish();
    let named = |name: &'static str| events.iter().filter(move |event| event["event"] == name);
    assert_eq!(named("rcpt").count(), hostile.len());
    assert!(named("rcpt").all(|event| event["argument"] == "TO:<ana@example.com>"));
    assert_eq!(named("mail").count(), hostile.len());
    for (got, words) in named("mail").zip(&hostile) {
        assert_eq!(got["to"], json!(["ana@example.com"]), "{words:?}");
        assert_eq!(header_names(got), HEADER_NAMES, "{words:?}");
        assert_eq!(got["defects"], json!([]), "{words:?}");
        assert!(header(got, "From").ends_with("no-reply@inpla.example>"));
        assert_eq!(header(got, "From").matches('<').count(), 1 + decoys(words));
        // Python joins long runs of encoded words with spaces that are not there.
        let comparable = words.is_ascii() || words.chars().count() < 20;
        if comparable && !words.contains(|c: char| c.is_control() || c == '\u{202e}') {
            let name: String = words.chars().take(200).collect();
            let name = name.trim().replace("=?", "= ?");
            let from = header(got, "From");
            assert!(
                from.contains(&name)
                    || from.contains(&name.replace('\\', "\\\\").replace('"', "\\\"")),
                "{from}"
            );
        }
        assert!(header(got, "Message-ID").ends_with("@inpla.example>"));
        let parts = got["parts"].as_array().unwrap();
        assert_eq!(parts.len(), 2, "{words:?}");
        let lines = |text: String| text.replace("\r\n", "\n").replace('\r', "\n");
        assert_eq!(
            unix_lines(&parts[0]["text"]),
            lines(format!("Hola, {words}:\n{words}\n"))
        );
        assert_eq!(
            unix_lines(&parts[1]["text"]),
            lines(format!("<p>{words}</p>\n"))
        );
        for part in parts {
            assert_eq!(
                part["headers"],
                json!(["Content-Type", "Content-Transfer-Encoding"])
            );
        }
        let visible = header(got, "Subject");
        assert!(visible.chars().count() <= 200 && !visible.contains(char::is_control));
        assert!(!visible.contains(['\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}']));
    }
}

/// Angle brackets that belong to the words and stay inside the quoted display name.
fn decoys(words: &str) -> usize {
    words.matches('<').count()
}

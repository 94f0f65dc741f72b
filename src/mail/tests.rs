//! Tests of `mail`.

#![allow(clippy::unwrap_used)]
use super::verdict::enhanced_status;
use super::*;
use crate::domain::failure::FailureKind;

fn settings(security: Security, server: &str) -> Settings {
    Settings {
        server: server.to_owned(),
        port: 2525,
        security,
        credentials: Some(("portero".to_owned(), Secret::new("hunter2"))),
        from_name: "Inpla".to_owned(),
        from: EmailAddress::parse("no-reply@inpla.example").unwrap(),
        reply_to: None,
        ca_pem: None,
        connections: 2,
    }
}

#[test]
fn without_tls_only_this_machine_is_spoken_to() {
    for server in ["127.0.0.1", "::1", "localhost", "127.9.9.9"] {
        Mailer::new(&settings(Security::Plain, server)).unwrap();
    }
    for server in ["192.0.2.1", "10.0.0.5", "0.0.0.0", "8.8.8.8", "2001:db8::1"] {
        let sentence = Mailer::new(&settings(Security::Plain, server)).unwrap_err();
        assert!(
            sentence.contains("this machine only"),
            "{server}: {sentence}"
        );
    }
}

#[test]
fn settings_that_cannot_work_are_refused_with_a_sentence() {
    let mut no_ca = settings(Security::StartTls, "mail.example");
    no_ca.ca_pem = Some(b"no certificate".to_vec());
    let mut broken_ca = settings(Security::Tls, "mail.example");
    broken_ca.ca_pem =
        Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
    let mut no_connection = settings(Security::Tls, "mail.example");
    no_connection.connections = 0;
    let no_server = settings(Security::Tls, " ");
    for wrong in [no_ca, broken_ca, no_connection, no_server] {
        assert!(Mailer::new(&wrong).is_err_and(|sentence| sentence.len() > 20));
    }
}

#[test]
fn the_password_is_not_printed() {
    let mailer = Mailer::new(&settings(Security::Plain, "127.0.0.1")).unwrap();
    assert_eq!(format!("{mailer:?}"), "Mailer(127.0.0.1:2525)");
}

#[test]
fn a_refusal_means_what_its_place_makes_it_mean() {
    use FailureKind::{Configuration, Recipient, Unknown};
    let temporary = FailureKind::Temporary {
        retry_after_ms: None,
    };
    let table = [
        (Stage::Connect, 421, None, temporary),
        (Stage::Connect, 554, Some("5.7.1"), temporary),
        (Stage::Auth, 454, None, temporary),
        (Stage::Auth, 535, Some("5.7.8"), Configuration),
        (Stage::Auth, 534, Some("5.7.9"), Configuration),
        (Stage::Auth, 504, None, Configuration),
        (Stage::Sender, 530, Some("5.7.0"), Configuration),
        (Stage::Sender, 553, Some("5.7.1"), Configuration),
        (Stage::Sender, 451, None, temporary),
        (Stage::Sender, 503, None, temporary),
        (
            Stage::Recipient,
            450,
            Some("4.2.0"),
            FailureKind::RecipientForNow,
        ),
        (
            Stage::Recipient,
            451,
            Some("4.7.1"),
            FailureKind::RecipientForNow,
        ),
        (
            Stage::Recipient,
            452,
            Some("4.2.2"),
            FailureKind::RecipientForNow,
        ),
        (Stage::Recipient, 550, Some("5.1.1"), Recipient),
        (Stage::Recipient, 551, None, Recipient),
        (Stage::Recipient, 552, Some("5.2.2"), Recipient),
        (Stage::Recipient, 553, None, Recipient),
        (Stage::Recipient, 554, Some("5.7.1"), Recipient),
        (Stage::Recipient, 556, None, Recipient),
        (Stage::Recipient, 501, Some("5.1.3"), Recipient),
        (Stage::Recipient, 501, None, temporary),
        (Stage::Recipient, 530, None, Configuration),
        (Stage::Data, 554, None, Recipient),
        (Stage::Content, 552, Some("5.3.4"), Recipient),
        (Stage::Content, 550, Some("5.7.1"), Recipient),
        (Stage::Content, 421, None, FailureKind::RecipientForNow),
    ];
    for (stage, code, status, kind) in table {
        let failure = judge(stage, &Reply::Refused(code, status.map(str::to_owned)));
        assert_eq!(failure.kind, kind, "{stage:?} {code}");
        assert!(
            failure.advice.is_some() || failure.kind != Configuration,
            "an operator who must act is told how: {stage:?} {code}"
        );
        assert!(failure.reason.contains(&code.to_string()));
    }
    assert_eq!(judge(Stage::Content, &Reply::Lost("x")).kind, Unknown);
    assert_eq!(judge(Stage::Data, &Reply::Lost("x")).kind, temporary);
    assert_eq!(
        judge(Stage::StartTls, &Reply::Unsupported).kind,
        Configuration
    );
}

#[test]
fn of_a_reply_only_the_status_is_kept() {
    let table = [
        ("5.1.1 <ana@example.com> unknown", '5', Some("5.1.1")),
        ("5.7.26", '5', Some("5.7.26")),
        ("4.7.1 later", '5', None),
        ("ana@example.com 5.1.1", '5', None),
        ("5.1", '5', None),
        ("5.1.1.1", '5', None),
        ("5.1234.1", '5', None),
        ("", '5', None),
    ];
    for (text, class, status) in table {
        assert_eq!(enhanced_status(text, class).as_deref(), status, "{text}");
    }
}

#[test]
fn only_whole_lines_of_ascii_go_on_the_wire() {
    let long = [b"a".repeat(998), b"\r\n".to_vec()].concat();
    let too_long = [b"a".repeat(999), b"\r\n".to_vec()].concat();
    for safe in [&b"a\r\nb\r\n"[..], b"", b"a", b"\r\n\r\n", &long] {
        assert!(is_wire_safe(safe), "{safe:?}");
    }
    for unsafe_bytes in [
        &b"a\nb\r\n"[..],
        b"a\rb\r\n",
        b"a\r",
        b"a\n.\nMAIL FROM:<x@y>",
        b"\r\r\n",
        b"\0",
        "é\r\n".as_bytes(),
        &too_long,
    ] {
        assert!(!is_wire_safe(unsafe_bytes), "{unsafe_bytes:?}");
    }
}

/// Names of hosts are read without the tables of Unicode (`idna_adapter` in Cargo.toml).
#[test]
fn a_domain_in_punycode_is_written_to_as_it_is() {
    for text in [
        "ana@xn--bcher-kva.example",
        "ana@xn--80ak6aa92e.xn--p1ai",
        "ana@sub.xn--mgbh0fb.example",
    ] {
        let address = EmailAddress::parse(text).unwrap();
        let email = mailbox(None, &address).unwrap().email;
        assert_eq!(AsRef::<str>::as_ref(&email), text);
    }
}

#[test]
fn an_id_that_would_break_the_message_id_is_not_sent() {
    let mailer = Mailer::new(&settings(Security::Plain, "127.0.0.1")).unwrap();
    for id in ["", "a>\r\nBcc: x", "a b", ".", "ñ", &"a".repeat(129)] {
        let mail = Mail {
            to: EmailAddress::parse("ana@example.com").unwrap(),
            subject: String::new(),
            text: String::new(),
            html: String::new(),
            id: id.to_owned(),
            language: "es",
        };
        let failure = mailer.send(&mail).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Permanent, "{id:?}");
    }
}

#[test]
fn every_mail_that_can_be_written_is_safe_on_the_wire() {
    use proptest::prelude::*;
    let mailer = Mailer::new(&settings(Security::Plain, "127.0.0.1")).unwrap();
    proptest!(|(subject in any::<String>(), text in any::<String>(), html in "[\r\n.a é]{0,300}", id in "[A-Za-z0-9_-]{1,128}")| {
        let mail = Mail {
            to: EmailAddress::parse("ana@example.com").unwrap(),
            subject, text, html, id, language: "es",
        };
        let message = mailer.written(&mail).unwrap().0;
        prop_assert!(is_wire_safe(&message.formatted()));
        prop_assert_eq!(message.envelope().to().len(), 1);
    });
}

/// RFC 5321, section 4.5.2, and its end with it.
#[test]
fn no_line_of_a_mail_ends_it_but_the_last() {
    for (mail, wire) in [
        ("", "\r\n.\r\n"),
        ("a\r\n", "a\r\n\r\n.\r\n"),
        (".\r\n", "..\r\n\r\n.\r\n"),
        ("a.\r\n.b\r\n..\r\nc", "a.\r\n..b\r\n...\r\nc\r\n.\r\n"),
    ] {
        assert_eq!(Content::of(mail).to_string(), wire);
    }
}

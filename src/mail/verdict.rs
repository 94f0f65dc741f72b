//! What a server said, or did not, and what is to be done about it.

use crate::domain::failure::{Failure, FailureKind};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::response::Severity;

/// Where in the conversation something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connect,
    StartTls,
    Auth,
    Check,
    Sender,
    Recipient,
    Data,
    Content,
}

/// What the server said, or that it said nothing that could be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A negative reply: the code, and the enhanced status of RFC 3463 when there is one.
    Refused(u16, Option<String>),
    /// The certificate does not stand for this server.
    Certificate(&'static str),
    /// The other side does not speak TLS.
    NotTls,
    /// lettre cannot go on with what the server offers.
    Unsupported,
    /// The connection failed, timed out or carried nonsense.
    Lost(&'static str),
}

pub(super) fn reply(error: &Error) -> Reply {
    if let Some(code) = error.status() {
        let number = u16::from(code);
        let temporary = code.severity == Severity::TransientNegativeCompletion;
        let status = std::error::Error::source(error)
            .and_then(|text| enhanced_status(&text.to_string(), if temporary { '4' } else { '5' }));
        return Reply::Refused(number, status);
    }
    match rustls_error(error) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            use rustls::CertificateError as Why;
            return Reply::Certificate(match why {
                Why::Expired | Why::ExpiredContext { .. } => "the certificate has expired",
                Why::NotValidYet | Why::NotValidYetContext { .. } => {
                    "the certificate is not valid yet"
                }
                Why::NotValidForName | Why::NotValidForNameContext { .. } => {
                    "the certificate is for another name"
                }
                Why::UnknownIssuer => "the certificate is from an unknown issuer",
                _ => "the certificate is not acceptable",
            });
        }
        Some(rustls::Error::InvalidMessage(_)) => return Reply::NotTls,
        Some(_) => return Reply::Lost("the TLS handshake failed"),
        None => {}
    }
    if error.is_client() {
        Reply::Unsupported
    } else if error.is_timeout() || would_block(error) {
        Reply::Lost("no answer in time")
    } else if error.is_response() {
        Reply::Lost("the connection ended or the answer made no sense")
    } else {
        Reply::Lost("the connection failed")
    }
}

const USE_TLS: Option<&str> =
    Some("write mail.port = 587, or mail.security = \"tls\" with mail.port = 465");

/// What to do about a reply, depending on where it came.
pub(super) fn judge(stage: Stage, reply: &Reply) -> Failure {
    const CHECK_SERVER: &str = "if this lasts, check mail.server, mail.port and mail.security";
    let place = match stage {
        Stage::Connect => "connecting",
        Stage::StartTls => "STARTTLS",
        Stage::Auth => "AUTH",
        Stage::Check => "RSET",
        Stage::Sender => "MAIL",
        Stage::Recipient => "RCPT",
        Stage::Data => "DATA",
        Stage::Content => "the mail itself",
    };
    let temporary = FailureKind::Temporary {
        retry_after_ms: None,
    };
    let (kind, words, advice) = match reply {
        Reply::Refused(code, status) => {
            let (kind, advice) = judge_code(stage, *code, status.as_deref());
            let status = status.as_deref().map(|s| format!(" {s}"));
            (
                kind,
                format!("{code}{}", status.unwrap_or_default()),
                advice,
            )
        }
        Reply::Certificate(why) => (
            FailureKind::Configuration,
            (*why).to_owned(),
            Some(
                "mail.server must be the name in the server's certificate; a private authority is named in mail.ca_file",
            ),
        ),
        Reply::NotTls => (
            FailureKind::Configuration,
            "the server does not speak TLS here".to_owned(),
            Some("check mail.port and mail.security: 465 goes with \"tls\", 587 with \"starttls\""),
        ),
        Reply::Unsupported if stage == Stage::Auth => (
            FailureKind::Configuration,
            "the server offers neither AUTH PLAIN nor LOGIN".to_owned(),
            Some("check mail.port, or leave mail.username and mail.password out"),
        ),
        Reply::Unsupported if stage == Stage::StartTls => (
            FailureKind::Configuration,
            "the server does not offer STARTTLS, and nothing was sent without it".to_owned(),
            USE_TLS,
        ),
        Reply::Unsupported => (temporary, "an unexpected answer".to_owned(), None),
        Reply::Lost(words) if stage == Stage::Content => {
            (FailureKind::Unknown, (*words).to_owned(), None)
        }
        Reply::Lost(words) => (
            temporary,
            (*words).to_owned(),
            (stage == Stage::Connect).then_some(CHECK_SERVER),
        ),
    };
    Failure {
        kind,
        reason: format!("SMTP, {place}: {words}"),
        advice,
    }
}

/// RFC 5321, section 4.2.3; RFC 4954, section 6; RFC 7504 for 521 and 556.
fn judge_code(
    stage: Stage,
    code: u16,
    status: Option<&str>,
) -> (FailureKind, Option<&'static str>) {
    const LOG_IN: Option<&str> = Some(
        "the server does not accept mail.username and mail.password; some providers want an app password",
    );
    let temporary = FailureKind::Temporary {
        retry_after_ms: None,
    };
    match (stage, code) {
        (Stage::Recipient | Stage::Data | Stage::Content, 400..=499) => {
            (FailureKind::RecipientForNow, None)
        }
        (_, 400..=499) => (temporary, None),
        // Offered and then refused for good: the work of somebody in between, or of a fault.
        (Stage::StartTls, _) => (FailureKind::Configuration, USE_TLS),
        (_, 530 | 534 | 535 | 538) => (FailureKind::Configuration, LOG_IN),
        (Stage::Auth, _) => (FailureKind::Configuration, LOG_IN),
        (Stage::Connect, _) => (
            temporary,
            Some("the server turns this host away: ask its operator, or use a relay that knows you"),
        ),
        (Stage::Sender, 550 | 551 | 553 | 554) => (
            FailureKind::Configuration,
            Some("the server does not let mail.username write as mail.from"),
        ),
        (Stage::Recipient | Stage::Data | Stage::Content, 550..=554 | 556 | 521) => (
            FailureKind::Recipient,
            status
                .filter(|status| *status == "5.7.1" && stage == Stage::Recipient)
                .map(|_| "if every address is refused like this, the server wants mail.username and mail.password"),
        ),
        // RFC 3463, X.1.x: whatever the code, the status speaks about the address.
        (Stage::Recipient, _) if status.is_some_and(|status| status.starts_with("5.1.")) => {
            (FailureKind::Recipient, None)
        }
        _ => (temporary, None),
    }
}

/// The enhanced status at the start of a reply's text, if its class fits the code.
pub(super) fn enhanced_status(text: &str, class: char) -> Option<String> {
    let word = text.split_whitespace().next()?;
    let mut numbers = word.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let whole = numbers.next().is_some_and(|first| first.len() == 1)
        && word.starts_with(class)
        && number(numbers.next())
        && number(numbers.next())
        && numbers.next().is_none();
    whole.then(|| word.to_owned())
}

fn rustls_error(error: &Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| {
        cause.downcast_ref::<rustls::Error>().or_else(|| {
            cause
                .downcast_ref::<std::io::Error>()?
                .get_ref()?
                .downcast_ref::<rustls::Error>()
        })
    })
}

/// A read that timed out on a socket says `WouldBlock` on Unix.
fn would_block(error: &Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|io| io.kind() == std::io::ErrorKind::WouldBlock)
    })
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

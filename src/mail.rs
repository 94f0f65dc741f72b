//! Mail through lettre to a real SMTP server.
//!
//! The conversation is held command by command instead of through lettre's transport, because
//! what a reply means depends on where it comes: a 550 to `MAIL` condemns the sender, a 550 to
//! `RCPT` one recipient, and a connection lost after the final dot may have delivered the mail
//! . Connections are kept and reused, one for each mail that is sent at the same time.
//!
//! lettre must be built without its `tracing` feature: that one logs every line, `AUTH` included.

pub mod names;

use crate::domain::clean;
use crate::domain::delivery::Mail;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::EmailAddress;
use crate::domain::secret::Secret;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, SmtpConnection, TlsParameters,
};
use lettre::transport::smtp::commands;
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Severity;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for a connection and for one reply.
const REPLY_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest wait for the reply to the mail itself: servers scan before they answer, and giving up
/// early means a second copy of the mail. RFC 5321, section 4.5.3.2.6 would wait ten minutes.
const VERDICT_TIME_MAX: Duration = Duration::from_secs(30);

/// Longest time from the recipient of a mail to its end, so that many slow replies do not add up.
const SEND_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a polite goodbye may take on a connection that is given up.
const QUIT_TIME_MAX: Duration = Duration::from_secs(1);

/// How long one may take on a kept connection that takes no mail any more, while a mail waits for
/// another one: it is said, and an answer that is not there at once is not waited for.
const QUIT_IN_PASSING_TIME_MAX: Duration = Duration::from_millis(50);

/// A connection unused for longer is not tried again; servers hang up after one to five minutes.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Most addresses of the server that are tried for one connection, each with its own time-out.
const ADDRESSES_MAX: usize = 4;

/// Most connections kept: a mailbox provider closes the door on more.
const CONNECTIONS_MAX: usize = 16;

/// Longest subject and longest display name, in characters; RFC 5322 allows 998 bytes a line.
const LINE_CHARS_MAX: usize = 200;

/// Longest id of a mail; with the sender's domain it must fit a line.
const ID_BYTES_MAX: usize = 128;

/// Longest line of a message without its end, in bytes (RFC 5322, section 2.1.1).
const MESSAGE_LINE_BYTES_MAX: usize = 998;

/// How to reach the SMTP server and in whose name to write.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host name or address.
    pub server: String,
    /// 587 for STARTTLS, 465 for implicit TLS, 25 or another for plain.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// User name and password for AUTH, when the server wants them.
    pub credentials: Option<(String, Secret)>,
    /// Display name of the sender.
    pub from_name: String,
    /// Address of the sender.
    pub from: EmailAddress,
    /// Where answers go, when not to `from`.
    pub reply_to: Option<EmailAddress>,
    /// PEM certificates to trust besides the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Connections kept open: one per mail that is sent at the same time.
    pub connections: usize,
}

/// How a connection to the SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Upgrade before anything is said; refused when the server does not offer it.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None: accepted to loopback addresses only.
    Plain,
}

/// Sends mails through one SMTP server. Shared by the sender threads.
pub struct Mailer {
    server: String,
    port: u16,
    protection: Protection,
    credentials: Option<Credentials>,
    hello: ClientId,
    from: Mailbox,
    reply_to: Option<Mailbox>,
    connections_max: usize,
    idle: Mutex<Vec<Idle>>,
}

/// [`Security`] with what is needed to keep its promise.
enum Protection {
    StartTls(TlsParameters),
    Tls(TlsParameters),
    Plain,
}

/// An authenticated connection that waits for the next mail.
struct Idle {
    connection: SmtpConnection,
    since: Instant,
}

/// What became of what was said to the server.
type Said = Result<(), (Stage, Reply)>;

/// Where in the conversation something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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
enum Reply {
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

impl Mailer {
    /// Checks the settings; connects to nothing. `Err` is a sentence for the operator.
    ///
    /// With [`Security::Plain`] the server's name is looked up, because only a loopback address
    /// may be spoken to without TLS.
    pub fn new(settings: &Settings) -> Result<Mailer, String> {
        let server = settings.server.trim().to_owned();
        if server.is_empty() || settings.port == 0 {
            return Err("mail.server must be the name of a host, and mail.port not 0".to_owned());
        }
        if !(1..=CONNECTIONS_MAX).contains(&settings.connections) {
            return Err(format!(
                "the number of SMTP connections is 1 to {CONNECTIONS_MAX}"
            ));
        }
        let protection = match settings.security {
            Security::StartTls => Protection::StartTls(tls_parameters(&server, settings)?),
            Security::Tls => Protection::Tls(tls_parameters(&server, settings)?),
            Security::Plain => {
                loopback_addresses(&server, settings.port)?;
                Protection::Plain
            }
        };
        let name = Some(one_line(&settings.from_name)).filter(|name| !name.is_empty());
        Ok(Mailer {
            server,
            port: settings.port,
            protection,
            credentials: settings
                .credentials
                .as_ref()
                .map(|(user, password)| Credentials::from((user.as_str(), password.reveal()))),
            // The sender's domain says as much as a relay needs; the host's own name is nobody's
            // business and would end up in `Received`.
            hello: ClientId::Domain(settings.from.domain().to_owned()),
            from: mailbox(name, &settings.from)?,
            reply_to: match &settings.reply_to {
                Some(address) => Some(mailbox(None, address)?),
                None => None,
            },
            connections_max: settings.connections,
            idle: Mutex::default(),
        })
    }

    /// Sends one mail to its one recipient. The same `mail.id` gives the same `Message-ID`, so a
    /// repeat after [`FailureKind::Unknown`] can be recognised by the other side.
    pub fn send(&self, mail: &Mail) -> Result<(), Failure> {
        let (message, content) = self.written(mail)?;
        let envelope = message.envelope();
        let (Some(from), [to]) = (envelope.from(), envelope.to()) else {
            return Err(unsendable("the mail has no sender or not one recipient"));
        };
        let (mut connection, said) = self.check_out(from)?;
        let deadline = Instant::now() + SEND_TIME_MAX;
        let outcome = said.and_then(|()| {
            let recipient = commands::Rcpt::new(to.clone(), Vec::new());
            say(&mut connection, Stage::Recipient, deadline, recipient)?;
            say(&mut connection, Stage::Data, deadline, commands::Data)?;
            say(
                &mut connection,
                Stage::Content,
                deadline,
                Content::of(&content),
            )
        });
        self.settle(connection, outcome)
    }

    /// Does everything but send: connects, protects, authenticates, names the sender and takes that
    /// back. The effort spent on an address that nobody has, which fails where a mail would fail
    /// whoever it is for.
    pub fn probe(&self) -> Result<(), Failure> {
        let (mut connection, said) = self.check_out(&self.from.email)?;
        let deadline = Instant::now() + SEND_TIME_MAX;
        let outcome =
            said.and_then(|()| say(&mut connection, Stage::Check, deadline, commands::Rset));
        self.settle(connection, outcome)
    }

    /// A connection that was told the sender, and what it answered: a kept one, if there is one that
    /// took it, else a new one. A kept one may have ended meanwhile; nothing is lost by asking it.
    fn check_out(&self, from: &lettre::Address) -> Result<(SmtpConnection, Said), Failure> {
        let sender = || commands::Mail::new(Some(from.clone()), Vec::new());
        // Ends, because only `settle` adds to the kept ones and there are at most CONNECTIONS_MAX. In
        // the head of a loop, the list would stay locked while the server is spoken to.
        loop {
            let Some(mut idle) = self.idle().pop() else {
                break;
            };
            let deadline = Instant::now() + REPLY_TIME_MAX;
            if idle.since.elapsed() >= IDLE_TIME_MAX {
                continue;
            }
            match say(&mut idle.connection, Stage::Sender, deadline, sender()) {
                Ok(()) => return Ok((idle.connection, Ok(()))),
                Err((_, reply)) => {
                    say_goodbye(idle.connection, &reply, QUIT_IN_PASSING_TIME_MAX);
                }
            }
        }
        let mut connection = (self.connect()).map_err(|(stage, reply)| judge(stage, &reply))?;
        let deadline = Instant::now() + SEND_TIME_MAX;
        let said = say(&mut connection, Stage::Sender, deadline, sender());
        Ok((connection, said))
    }

    /// Keeps a connection on which all went well; gives up the others.
    fn settle(&self, connection: SmtpConnection, outcome: Said) -> Result<(), Failure> {
        match outcome {
            Ok(()) => {
                let mut idle = self.idle();
                if idle.len() < self.connections_max {
                    idle.push(Idle {
                        connection,
                        since: Instant::now(),
                    });
                }
                Ok(())
            }
            Err((stage, reply)) => {
                say_goodbye(connection, &reply, QUIT_TIME_MAX);
                Err(judge(stage, &reply))
            }
        }
    }

    fn connect(&self) -> Result<SmtpConnection, (Stage, Reply)> {
        let addresses = match &self.protection {
            // Asked again for every connection: a name may have moved since the start.
            Protection::Plain => loopback_addresses(&self.server, self.port).ok(),
            Protection::StartTls(_) | Protection::Tls(_) => resolve(&self.server, self.port).ok(),
        }
        .filter(|addresses| !addresses.is_empty())
        .ok_or((
            Stage::Connect,
            Reply::Lost("the server's name was not found"),
        ))?;
        let tls = match &self.protection {
            Protection::Tls(tls) => Some(tls),
            Protection::StartTls(_) | Protection::Plain => None,
        };
        let at = |stage: Stage| move |error: Error| (stage, reply(&error));
        let mut connection = SmtpConnection::connect(
            addresses.as_slice(),
            Some(REPLY_TIME_MAX),
            &self.hello,
            tls,
            None,
        )
        .map_err(at(Stage::Connect))?;
        if let Protection::StartTls(tls) = &self.protection {
            if !connection.can_starttls() {
                return Err((Stage::StartTls, Reply::Unsupported));
            }
            connection
                .starttls(tls, &self.hello)
                .map_err(at(Stage::StartTls))?;
        }
        // Nothing secret is said below this line unless the connection is what was asked for.
        if !connection.is_encrypted() && !matches!(self.protection, Protection::Plain) {
            return Err((Stage::StartTls, Reply::Unsupported));
        }
        if let Some(credentials) = &self.credentials {
            connection
                .auth(DEFAULT_MECHANISMS, credentials)
                .map_err(at(Stage::Auth))?;
        }
        Ok(connection)
    }

    /// The mail as it goes on the wire, and whom it is for.
    ///
    /// # Errors
    /// It cannot be sent to anybody, ever.
    pub fn written(&self, mail: &Mail) -> Result<(Message, String), Failure> {
        let message = self.compose(mail)?;
        // Whatever a composer lets through, only whole CRLF lines of ASCII go on the wire, so
        // nothing in them can be taken for the end of the mail or for a command (S-22).
        match String::from_utf8(message.formatted()) {
            Ok(content) if is_wire_safe(content.as_bytes()) => Ok((message, content)),
            _ => Err(unsendable("the composed mail is not plain lines of ASCII")),
        }
    }

    fn compose(&self, mail: &Mail) -> Result<Message, Failure> {
        let to = mailbox(None, &mail.to).map_err(|_| unsendable("the recipient's address"))?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !(1..=ID_BYTES_MAX).contains(&mail.id.len()) || !mail.id.bytes().all(plain) {
            return Err(unsendable("the mail's id is not letters and digits"));
        }
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(one_line(&mail.subject))
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .date_now()
            .raw_header(fixed("Content-Language", mail.language))
            // RFC 3834: no answering machine should answer.
            .raw_header(fixed("Auto-Submitted", "auto-generated"))
            .raw_header(fixed("X-Auto-Response-Suppress", "OOF, AutoReply"));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        let parts = MultiPart::alternative()
            .singlepart(part(ContentType::TEXT_PLAIN, &mail.text)?)
            .singlepart(part(ContentType::TEXT_HTML, &mail.html)?);
        let mut message = builder
            .multipart(parts)
            .map_err(|_| unsendable("the mail could not be composed"))?;
        if let Some(from) = quoted(&self.from) {
            message.headers_mut().insert_raw(from);
        }
        Ok(message)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // The list is whole between any two of its operations, so a panic elsewhere spoils nothing.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailer({}:{})", self.server, self.port)
    }
}

/// A mail and its end. Written at once: an end of its own would wait in the system until the other
/// side has confirmed the rest, which it puts off for 40 ms.
struct Content(String);

impl Content {
    const END: &str = "\r\n.\r\n";

    /// RFC 5321, section 4.5.2: a line that begins with a dot gets another one.
    fn of(mail: &str) -> Content {
        let mut content = String::with_capacity(mail.len() + mail.len() / 64 + Self::END.len());
        for line in mail.split_inclusive("\r\n") {
            if line.starts_with('.') {
                content.push('.');
            }
            content.push_str(line);
        }
        content.push_str(Self::END);
        Content(content)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Sends one command and reads its reply.
fn say(
    connection: &mut SmtpConnection,
    stage: Stage,
    deadline: Instant,
    command: impl fmt::Display,
) -> Said {
    limit(connection, stage, deadline)?;
    connection
        .command(command)
        .map(|_| ())
        .map_err(|error| (stage, reply(&error)))
}

/// Ends a connection. A server that answered is told so; one that did not would only be waited for.
fn say_goodbye(mut connection: SmtpConnection, answered: &Reply, within: Duration) {
    if matches!(answered, Reply::Refused(..)) && connection.set_timeout(Some(within)).is_ok() {
        connection.abort();
    }
}

/// Sets how long the next step may take.
fn limit(connection: &mut SmtpConnection, stage: Stage, deadline: Instant) -> Said {
    let step = match stage {
        Stage::Content => VERDICT_TIME_MAX,
        _ => REPLY_TIME_MAX,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    // Nothing of the mail has left yet, so running out of time here is an ordinary delay.
    let not_sent = |words| Err((Stage::Data, Reply::Lost(words)));
    if left.is_zero() {
        return not_sent("the server was too slow");
    }
    match connection.set_timeout(Some(step.min(left))) {
        Ok(()) => Ok(()),
        Err(_) => not_sent("the connection failed"),
    }
}

fn reply(error: &Error) -> Reply {
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
fn judge(stage: Stage, reply: &Reply) -> Failure {
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
fn enhanced_status(text: &str, class: char) -> Option<String> {
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

fn tls_parameters(server: &str, settings: &Settings) -> Result<TlsParameters, String> {
    let mut builder =
        TlsParameters::builder(server.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
    if let Some(pem) = &settings.ca_pem {
        let mut found = false;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let der = certificate.map_err(|_| "mail.ca_file is not valid PEM".to_owned())?;
            let certificate = Certificate::from_der(der.to_vec())
                .map_err(|_| "mail.ca_file holds a broken certificate".to_owned())?;
            builder = builder.add_root_certificate(certificate);
            found = true;
        }
        if !found {
            return Err("mail.ca_file holds no certificate".to_owned());
        }
    }
    builder
        .build()
        .map_err(|_| "mail.ca_file holds a broken certificate".to_owned())
}

/// At most [`ADDRESSES_MAX`] addresses of the server.
fn resolve(server: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    Ok((server, port)
        .to_socket_addrs()?
        .take(ADDRESSES_MAX)
        .collect())
}

/// The server's addresses, if all of them lead back to this machine.
fn loopback_addresses(server: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let addresses = resolve(server, port).map_err(|_| {
        "mail.server was not found, and without TLS it must be this machine".to_owned()
    })?;
    if addresses.is_empty() || !addresses.iter().all(|address| address.ip().is_loopback()) {
        return Err(
            "mail without TLS goes to this machine only: write mail.security = \"starttls\" or \"tls\""
                .to_owned(),
        );
    }
    Ok(addresses)
}

fn mailbox(name: Option<String>, address: &EmailAddress) -> Result<Mailbox, String> {
    match address.as_str().parse() {
        Ok(parsed) => Ok(Mailbox::new(name, parsed)),
        Err(_) => Err("the mailer does not accept this address".to_owned()),
    }
}

/// A display name with a dot ("Inpla S.A."), which lettre writes bare and RFC 5322, section 3.2.5,
/// wants quoted: strict readers stumble over it.
fn quoted(mailbox: &Mailbox) -> Option<HeaderValue> {
    let name = mailbox.name.as_deref()?;
    if !name.is_ascii() || !name.contains('.') {
        return None;
    }
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    let value = format!("\"{escaped}\" <{}>", mailbox.email);
    Some(HeaderValue::dangerous_new_pre_encoded(
        HeaderName::new_from_ascii_str("From"),
        value.clone(),
        value,
    ))
}

fn part(content_type: ContentType, text: &str) -> Result<SinglePart, Failure> {
    // A lone CR is a line end to some readers and a character to others: make it one thing.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        .map_err(|_| unsendable("a part of the mail could not be encoded"))?;
    Ok(SinglePart::builder().content_type(content_type).body(body))
}

/// A header of ours; name and value are constants of this file or of the language list.
fn fixed(name: &'static str, value: &'static str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// Text as it may stand in a header, shortened to [`LINE_CHARS_MAX`].
fn one_line(text: &str) -> String {
    // A run of spaces may be lost where the line is folded or encoded (RFC 2047, section 6.2), so
    // that what is read would be another text.
    let shown = clean::one_line(text, LINE_CHARS_MAX);
    let words: Vec<&str> = shown.split(' ').filter(|word| !word.is_empty()).collect();
    // RFC 2047: readers would decode an encoded word and find behind it what was removed here.
    words.join(" ").replace("=?", "= ?")
}

/// Whether these bytes are ASCII lines of at most 998 bytes, each ended by CRLF, with no other CR,
/// LF or NUL.
fn is_wire_safe(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        let line = match line.split_last() {
            Some((b'\r', line)) if !last => line,
            _ if last => line,
            _ => return false,
        };
        if line.len() > MESSAGE_LINE_BYTES_MAX
            || !line.iter().all(|b| b.is_ascii() && !matches!(b, b'\r' | 0))
        {
            return false;
        }
    }
    true
}

fn unsendable(words: &str) -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        reason: format!("mail: {words}"),
        advice: None,
    }
}

#[cfg(test)]
mod tests;

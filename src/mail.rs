//! Mail through lettre to a real SMTP server.
//!
//! The conversation is held command by command instead of through lettre's transport, because
//! what a reply means depends on where it comes: a 550 to `MAIL` condemns the sender, a 550 to
//! `RCPT` one recipient, and a connection lost after the final dot may have delivered the mail
//! . Connections are kept and reused, one for each mail that is sent at the same time.
//!
//! How a mail is composed is in `message.rs`, what a reply means in `verdict.rs`, and what the names of
//! the sender's domain say in `names.rs`.
//!
//! lettre must be built without its `tracing` feature: that one logs every line, `AUTH` included.

mod message;
pub mod names;
mod verdict;

use crate::domain::delivery::Mail;
use crate::domain::failure::Failure;
use crate::domain::id::EmailAddress;
use crate::domain::secret::Secret;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, SmtpConnection, TlsParameters,
};
use lettre::transport::smtp::commands;
use lettre::transport::smtp::extension::ClientId;
use message::{compose, is_wire_safe, mailbox, one_line, unsendable};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use verdict::{Reply, Stage, judge, reply};

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
    /// repeat after [`FailureKind::Unknown`](crate::domain::failure::FailureKind::Unknown) can be recognised by the other side.
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
        let message = compose(mail, &self.from, self.reply_to.as_ref())?;
        // Whatever a composer lets through, only whole CRLF lines of ASCII go on the wire, so
        // nothing in them can be taken for the end of the mail or for a command (S-22).
        match String::from_utf8(message.formatted()) {
            Ok(content) if is_wire_safe(content.as_bytes()) => Ok((message, content)),
            _ => Err(unsendable("the composed mail is not plain lines of ASCII")),
        }
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

#[cfg(test)]
mod tests;

//! A mail inbox: a real SMTP receiver on loopback (RFC 5321) that keeps what it is given.
//!
//! It takes mail for everybody and forwards to nobody. Enough of the protocol for a sender that
//! keeps to the standard; what it does not know it answers as the standard says.

use super::watch::{Watch, lock, now_ms};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Largest mail: a code mail is a few kilobytes.
const MAIL_BYTES_MAX: usize = 1024 * 1024;
/// Longest line, end included (RFC 5321, section 4.5.3.1.6, asks for 1,000).
const LINE_BYTES_MAX: usize = 4 * 1024;
/// Senders at the same time: the production pool is smaller.
const CONNECTIONS_MAX: usize = 32;
/// Recipients of one mail (RFC 5321, section 4.5.3.1.8).
const RECIPIENTS_MAX: usize = 100;
/// Mails kept; the oldest give way.
const MAILS_MAX: usize = 10_000;
/// A sender that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// One mail as it arrived.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Counts from 1 in the order of arrival.
    pub number: u64,
    /// Sender of the envelope.
    pub from: String,
    /// Recipients of the envelope: who really got it.
    pub to: Vec<String>,
    /// Decoded subject.
    pub subject: String,
    /// Decoded text part, empty when there is none.
    pub text: String,
    /// Decoded HTML part, when there is one.
    pub html: Option<String>,
    /// `Message-ID` without the angle brackets.
    pub message_id: String,
    /// Milliseconds since the Unix epoch.
    pub received_at_ms: u64,
    /// The mail as it went over the wire, dots unstuffed.
    pub raw: Vec<u8>,
}

impl Mail {
    /// The first run of 6 to 10 digits in the text part, single spaces and hyphens between them
    /// ignored: what a person would copy. Only of a mail that has it in its subject too: in a
    /// notice such a run is a date or part of a link.
    pub fn code(&self) -> Option<String> {
        code_in(&self.text).filter(|code| self.subject.contains(code.as_str()))
    }
}

fn code_in(text: &str) -> Option<String> {
    let mut digits = String::new();
    let mut gap = false;
    for character in text.chars().chain(Some('\n')) {
        match character {
            '0'..='9' => {
                digits.push(character);
                gap = false;
            }
            ' ' | '-' | '\u{a0}' | '\u{2009}' if !digits.is_empty() && !gap => gap = true,
            _ => {
                if (6..=10).contains(&digits.len()) {
                    return Some(digits);
                }
                digits.clear();
                gap = false;
            }
        }
    }
    None
}

/// What the mail server can be made to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 451 to the mail: comes back later (greylisting).
    Later,
    /// 550 to the recipient: no such mailbox.
    NoSuchMailbox,
    /// 421 and the connection closed, whenever anything is asked: down for maintenance.
    Down,
    /// The mail is kept, and the connection is closed before the answer.
    TakenWithoutAnswer,
}

/// The mail server and everybody's mailbox. Stops when dropped.
#[derive(Debug)]
pub struct Inbox {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    watch: Arc<Watch>,
    state: Mutex<State>,
    connections: AtomicUsize,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    mails: VecDeque<Mail>,
    received: u64,
    trouble: Option<(Trouble, u32)>,
}

impl Inbox {
    /// Listens on a free port of 127.0.0.1.
    pub fn start(watch: Arc<Watch>) -> io::Result<Inbox> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            watch,
            state: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let for_acceptor = shared.clone();
        let acceptor = thread::Builder::new()
            .name("inbox".into())
            .spawn(move || accept(&listener, &for_acceptor))?;
        Ok(Inbox {
            shared,
            address,
            acceptor: Some(acceptor),
        })
    }

    /// Where to send mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every mail, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        lock(&self.shared.state).mails.iter().cloned().collect()
    }

    /// The mails of one mailbox, oldest first; addresses are compared without case.
    pub fn mails_to(&self, address: &str) -> Vec<Mail> {
        let to_address = |mail: &&Mail| mail.to.iter().any(|to| to.eq_ignore_ascii_case(address));
        let state = lock(&self.shared.state);
        state.mails.iter().filter(to_address).cloned().collect()
    }

    /// Waits until the mailbox has its `nth` mail, counted from 1.
    pub fn wait_for_mail(&self, address: &str, nth: usize, within: Duration) -> Option<Mail> {
        self.wait_for_mail_that(address, |_| true, nth, within)
    }

    /// The same, among the mails that `fits` wants.
    pub fn wait_for_mail_that(
        &self,
        address: &str,
        fits: impl Fn(&Mail) -> bool,
        nth: usize,
        within: Duration,
    ) -> Option<Mail> {
        self.shared.watch.wait_for(within, || {
            let mails = self.mails_to(address).into_iter();
            mails.filter(&fits).nth(nth.checked_sub(1)?)
        })
    }

    /// The next `times` occasions go wrong in this way; [`u32::MAX`] until [`Inbox::behave`].
    pub fn misbehave(&self, trouble: Trouble, times: u32) {
        lock(&self.shared.state).trouble = (times > 0).then_some((trouble, times));
        self.shared.watch.touch();
    }

    /// Everything works again.
    pub fn behave(&self) {
        lock(&self.shared.state).trouble = None;
        self.shared.watch.touch();
    }

    /// What is wrong at the moment.
    pub fn trouble(&self) -> Option<Trouble> {
        lock(&self.shared.state).trouble.map(|(trouble, _)| trouble)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // The acceptor looks at the flag after every connection; one of our own wakes it.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// Takes one occasion for `trouble` if that is what is wrong now.
    fn suffers(&self, trouble: Trouble) -> bool {
        let mut state = lock(&self.state);
        let Some((current, left)) = state.trouble else {
            return false;
        };
        if current != trouble {
            return false;
        }
        state.trouble = match left {
            u32::MAX => Some((current, left)),
            1 => None,
            _ => Some((current, left - 1)),
        };
        true
    }

    fn keep(&self, from: String, to: Vec<String>, raw: Vec<u8>) {
        let parsed = mail_parser::MessageParser::default().parse(&raw);
        let part = |text: Option<std::borrow::Cow<'_, str>>| text.map(|text| text.into_owned());
        let (subject, text, html, message_id) = match &parsed {
            Some(mail) => (
                mail.subject().unwrap_or_default().to_owned(),
                part(mail.body_text(0)).unwrap_or_default(),
                // body_html would turn a text part into HTML.
                mail.html_part(0)
                    .filter(|part| part.is_text_html())
                    .and_then(|part| part.text_contents())
                    .map(str::to_owned),
                mail.message_id().unwrap_or_default().to_owned(),
            ),
            None => Default::default(),
        };
        let mut state = lock(&self.state);
        state.received += 1;
        let number = state.received;
        if state.mails.len() == MAILS_MAX {
            state.mails.pop_front();
        }
        state.mails.push_back(Mail {
            number,
            from,
            to,
            subject,
            text,
            html,
            message_id,
            received_at_ms: now_ms(),
            raw,
        });
        drop(state);
        self.watch.touch();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(mut stream) = stream else { continue };
        if shared.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
            let _ = stream.write_all(b"421 4.3.2 too many connections\r\n");
            continue;
        }
        let for_thread = shared.clone();
        let started = thread::Builder::new()
            .name("inbox-conversation".into())
            .spawn(move || {
                // An error is a sender that went away: there is nobody to tell.
                let _ = converse(&stream, &for_thread);
                for_thread.connections.fetch_sub(1, Ordering::SeqCst);
            });
        if started.is_err() {
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// One SMTP session from greeting to QUIT.
fn converse(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let say = |line: &str| {
        let mut out = stream;
        out.write_all(format!("{line}\r\n").as_bytes())
    };
    const DOWN: &str = "421 4.3.2 closed for maintenance";
    const BAD_SEQUENCE: &str = "503 5.5.1 bad sequence of commands";
    if shared.suffers(Trouble::Down) {
        return say(DOWN);
    }
    say("220 inbox.example ESMTP")?;
    let mut greeted = false;
    let mut from: Option<String> = None;
    let mut to: Vec<String> = Vec::new();
    while let Some(line) = read_line(&mut reader)? {
        if shared.stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        let verb = line
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        // A sender may keep a connection for the next mail; a server that goes down ends it there.
        if verb != "QUIT" && shared.suffers(Trouble::Down) {
            return say(DOWN);
        }
        match verb.as_str() {
            "EHLO" | "HELO" => {
                (greeted, from) = (true, None);
                to.clear();
                if verb == "HELO" {
                    say("250 inbox.example")?;
                } else {
                    say(&format!(
                        "250-inbox.example\r\n250-SIZE {MAIL_BYTES_MAX}\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES"
                    ))?;
                }
            }
            "MAIL" if !greeted || from.is_some() => say(BAD_SEQUENCE)?,
            "MAIL" => match path_after(&line, "FROM:") {
                Some(path) => {
                    from = Some(path);
                    say("250 2.1.0 ok")?;
                }
                None => say("501 5.5.4 MAIL FROM:<address>")?,
            },
            "RCPT" if from.is_none() => say(BAD_SEQUENCE)?,
            "RCPT" if to.len() == RECIPIENTS_MAX => say("452 4.5.3 too many recipients")?,
            "RCPT" => match path_after(&line, "TO:") {
                Some(path) if path.contains('@') => {
                    if shared.suffers(Trouble::NoSuchMailbox) {
                        say("550 5.1.1 no such mailbox")?;
                    } else {
                        to.push(path);
                        say("250 2.1.5 ok")?;
                    }
                }
                _ => say("501 5.5.4 RCPT TO:<address>")?,
            },
            "DATA" if to.is_empty() => say(BAD_SEQUENCE)?,
            "DATA" if shared.suffers(Trouble::Later) => say("451 4.7.1 come back later")?,
            "DATA" => {
                say("354 end with a line that is a single dot")?;
                let mail = read_mail(&mut reader)?;
                let envelope = (from.take().unwrap_or_default(), std::mem::take(&mut to));
                match mail {
                    Some(raw) => {
                        let silent = shared.suffers(Trouble::TakenWithoutAnswer);
                        shared.keep(envelope.0, envelope.1, raw);
                        if silent {
                            return Ok(());
                        }
                        say("250 2.0.0 kept")?;
                    }
                    None => say("552 5.3.4 too large")?,
                }
            }
            "RSET" => {
                from = None;
                to.clear();
                say("250 2.0.0 ok")?;
            }
            "NOOP" => say("250 2.0.0 ok")?,
            "QUIT" => return say("221 2.0.0 bye"),
            _ => say("502 5.5.1 not known here")?,
        }
    }
    Ok(())
}

/// `MAIL FROM:<a@b> SIZE=1` → `a@b`; the empty path `<>` is the empty text.
fn path_after(line: &str, keyword: &str) -> Option<String> {
    let rest = line.get(5..)?;
    let named = rest.get(..keyword.len())?.eq_ignore_ascii_case(keyword);
    let rest = rest.get(keyword.len()..)?.trim_start();
    let (path, _) = rest.strip_prefix('<')?.split_once('>')?;
    named.then(|| path.to_owned())
}

/// One line with its end, `None` at the end of the stream; longer lines end the session.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader
        .take(LINE_BYTES_MAX as u64)
        .read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::Error::other("a line without an end")),
    }
}

/// Everything up to the line with a single dot, dots unstuffed (RFC 5321, section 4.5.2);
/// `None` when it was too large, all of it read.
fn read_mail(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut mail = Vec::new();
    let mut fits = true;
    loop {
        let line = read_line(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line == b".\r\n" {
            return Ok(fits.then_some(mail));
        }
        let line = line.strip_prefix(b".").unwrap_or(&line);
        fits &= mail.len() + line.len() <= MAIL_BYTES_MAX;
        if fits {
            mail.extend_from_slice(line);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WITHIN: Duration = Duration::from_secs(30);

    struct Client(BufReader<TcpStream>);

    impl Client {
        fn connect(inbox: &Inbox) -> Client {
            let stream = TcpStream::connect(inbox.address()).unwrap();
            stream.set_read_timeout(Some(WITHIN)).unwrap();
            Client(BufReader::new(stream))
        }

        fn answer(&mut self) -> String {
            let mut answer = String::new();
            loop {
                let mut line = String::new();
                if self.0.read_line(&mut line).unwrap() == 0 {
                    return "closed".into();
                }
                answer.push_str(&line);
                if line.as_bytes()[3] == b' ' {
                    return answer;
                }
            }
        }

        fn ask(&mut self, line: &str) -> String {
            let stream = self.0.get_mut();
            stream.write_all(line.as_bytes()).unwrap();
            stream.write_all(b"\r\n").unwrap();
            self.answer()
        }

        fn send(&mut self, data: &str) -> String {
            assert!(
                self.ask("MAIL FROM:<portero@example.com>")
                    .starts_with("250")
            );
            assert!(self.ask("RCPT TO:<Ana@example.com>").starts_with("250"));
            assert!(self.ask("DATA").starts_with("354"));
            self.ask(&format!("{data}\r\n."))
        }
    }

    fn inbox() -> Inbox {
        Inbox::start(Arc::default()).unwrap()
    }

    #[test]
    fn a_mail_is_parsed_and_its_dots_are_unstuffed() {
        let inbox = inbox();
        let mut client = Client::connect(&inbox);
        assert!(client.answer().starts_with("220"));
        assert!(client.ask("EHLO x").starts_with("250-"));
        let data = "From: Portero <portero@example.com>\r\nTo: Ana@example.com\r\n\
            Subject: =?utf-8?q?12345678_es_tu_c=C3=B3digo?=\r\nMessage-ID: <abc@portero>\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/alternative; boundary=b\r\n\r\n\
            --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
            ..uno\r\nC=C3=B3digo: 1234 5678\r\n\
            --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>1234 5678</p>\r\n--b--";
        assert!(client.send(data).starts_with("250"));
        assert!(client.ask("QUIT").starts_with("221"));
        let mail = inbox.wait_for_mail("ana@EXAMPLE.com", 1, WITHIN).unwrap();
        assert_eq!(mail.subject, "12345678 es tu código");
        assert!(mail.text.starts_with(".uno\r\nCódigo"), "{:?}", mail.text);
        assert_eq!(
            mail.html.as_deref().map(str::trim),
            Some("<p>1234 5678</p>")
        );
        assert_eq!(mail.message_id, "abc@portero");
        assert_eq!(mail.code().as_deref(), Some("12345678"));
        assert_eq!(mail.to, ["Ana@example.com"]);
    }

    #[test]
    fn troubles_are_answered_as_the_standard_says_and_end() {
        let inbox = inbox();
        let mut client = Client::connect(&inbox);
        client.answer();
        client.ask("EHLO x");
        inbox.misbehave(Trouble::Later, 1);
        client.ask("MAIL FROM:<p@example.com>");
        client.ask("RCPT TO:<ana@example.com>");
        assert!(client.ask("DATA").starts_with("451"));
        assert_eq!(inbox.trouble(), None, "once only");
        inbox.misbehave(Trouble::NoSuchMailbox, 1);
        assert!(
            client
                .ask("RCPT TO:<nobody@example.com>")
                .starts_with("550")
        );
        client.ask("RSET");
        assert!(client.send("Subject: x\r\n\r\ny").starts_with("250"));
        inbox.misbehave(Trouble::TakenWithoutAnswer, 1);
        assert_eq!(client.send("Subject: x\r\n\r\nz"), "closed");
        assert_eq!(inbox.mails().len(), 2);
        inbox.misbehave(Trouble::Down, u32::MAX);
        assert!(Client::connect(&inbox).answer().starts_with("421"));
        assert!(Client::connect(&inbox).answer().starts_with("421"));
        inbox.behave();
        assert!(Client::connect(&inbox).answer().starts_with("220"));
    }

    #[test]
    fn a_mail_over_the_cap_is_refused_and_the_session_goes_on() {
        let inbox = inbox();
        let mut client = Client::connect(&inbox);
        client.answer();
        client.ask("EHLO x");
        let line = format!("{}\r\n", "x".repeat(998));
        assert!(client.send(&line.repeat(1_100)).starts_with("552"));
        assert!(client.send("Subject: x\r\n\r\ny").starts_with("250"));
        assert_eq!(inbox.mails().len(), 1);
    }

    #[test]
    fn commands_out_of_order_are_refused() {
        let inbox = inbox();
        let mut client = Client::connect(&inbox);
        client.answer();
        for command in [
            "MAIL FROM:<a@example.com>",
            "RCPT TO:<a@example.com>",
            "DATA",
        ] {
            assert!(client.ask(command).starts_with("503"), "{command}");
        }
        assert!(client.ask("STARTTLS").starts_with("502"));
    }

    #[test]
    fn what_looks_like_a_code_in_a_notice_is_none() {
        let inbox = inbox();
        let mut client = Client::connect(&inbox);
        client.answer();
        client.ask("EHLO x");
        client.send("Subject: Tu cuenta\r\n\r\n2026-11-22 http://x.example/?token=12345678");
        let mail = inbox.wait_for_mail("ana@example.com", 1, WITHIN).unwrap();
        assert_eq!(mail.code(), None);
    }

    #[test]
    fn a_code_is_found_as_a_person_would_find_it() {
        let table = [
            ("Tu código: 1234 5678.", Some("12345678")),
            ("12345678", Some("12345678")),
            ("1234-5678\nvence en 10 minutos", Some("12345678")),
            ("en 10 minutos", None),
            ("2026-11-22 a las 10", Some("20261122")),
            ("5 de mayo, 123456 es el código", Some("123456")),
            ("tarjeta 123456789012", None),
        ];
        for (text, code) in table {
            assert_eq!(code_in(text).as_deref(), code, "{text}");
        }
    }
}

//! Judgements over everything but Meta: this machine, the public address, mail, services, bot.
//! Nothing here asks anybody.

use super::finding::Finding;
use super::meta::span;
use crate::domain::clean::one_line;
use crate::domain::failure::{Failure, FailureKind};
use crate::http::{Answer, Broken};
use crate::mail::names::Records;
use crate::services::{DryRun, Reading};
use crate::store::OpenError;

// --- this machine -------------------------------------------------------------------------------

/// What became of the store.
pub(super) enum StoreSeen {
    /// It opened.
    Whole,
    /// A server that answers has it.
    InUse,
    /// Somebody has it who does not answer.
    InUseBySomebody,
    /// The server that has it may not be asked by this user.
    Denied,
    /// The server that has it is of another version than this program.
    OtherVersion,
    /// There is none yet.
    Absent,
    /// It did not open.
    Refused(OpenError),
    /// Something before it went wrong: the key.
    Unready(String),
}

pub(super) fn store(seen: &StoreSeen) -> Finding {
    const NAME: &str = "store";
    match seen {
        StoreSeen::Whole => Finding::fine(NAME, "it opens and is whole; no server runs"),
        StoreSeen::InUse => Finding::fine(
            NAME,
            "a running server has it, and checked it when it started",
        ),
        StoreSeen::InUseBySomebody => Finding::wrong(
            NAME,
            "it is in use, and no server answers for it",
            "a server may be starting or stopping: try again in a moment",
        ),
        StoreSeen::Denied => Finding::look(
            NAME,
            "a server runs, and this user may not ask it",
            "run the command as the user that runs the server, for example with sudo -u",
        ),
        StoreSeen::OtherVersion => Finding::look(
            NAME,
            "a server of another version than this command has it",
            "restart the server, so that both are of the version that is installed",
        ),
        StoreSeen::Absent => Finding::look(
            NAME,
            "there is none yet",
            "the first start of the server makes it; if there should be one, store.path is wrong",
        ),
        StoreSeen::Refused(error) => {
            Finding::wrong(NAME, error.to_string(), error.advice().into_owned())
        }
        StoreSeen::Unready(sentence) => Finding::wrong(
            NAME,
            sentence.clone(),
            "put the key of this store in its place; without it the store cannot be read",
        ),
    }
}

/// A file that only its owner should reach.
pub(super) struct Mode {
    /// Its path as configured.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
}

pub(super) fn modes(files: &[Mode]) -> Finding {
    const NAME: &str = "file modes";
    match files.iter().find(|file| file.mode & 0o077 != 0) {
        None => Finding::fine(NAME, "only the owner reaches the store and its key"),
        Some(file) => Finding::wrong(
            NAME,
            format!(
                "{} is open to other users (mode {:04o})",
                file.path, file.mode
            ),
            format!("chmod 600 {}", file.path),
        ),
    }
}

/// Less is full within a day of logs or one copy of the store.
const FREE_BYTES_MIN: u64 = 64 * 1024 * 1024;
const FREE_BYTES_LOW: u64 = 512 * 1024 * 1024;

/// `free` is what a user without privileges may write; `None` when nobody could say.
pub(super) fn disk(free: Option<u64>) -> Finding {
    const NAME: &str = "disk";
    const ROOM: &str = "make room on the file system of store.path: when it is full, messages are not taken, and Meta sends them again for seven days";
    let Some(free) = free else {
        return Finding::look(
            NAME,
            "nobody says how much is free",
            "check that the folder of store.path is there",
        );
    };
    let words = match free / (1024 * 1024) {
        mebibytes @ 0..10_240 => format!("{mebibytes} MiB free"),
        mebibytes => format!("{} GiB free", mebibytes / 1024),
    };
    match free {
        0..FREE_BYTES_MIN => Finding::wrong(NAME, format!("nearly full: {words}"), ROOM),
        FREE_BYTES_MIN..FREE_BYTES_LOW => Finding::look(NAME, words, ROOM),
        _ => Finding::fine(NAME, words),
    }
}

/// Services and bots refuse signatures that are older (Standard Webhooks, the usual five minutes);
/// one minute less, because networks are slow.
const CLOCK_SECONDS_MAX: u64 = 4 * 60;
const CLOCK_SECONDS_LOOK: u64 = 30;

/// `theirs` is the `Date` of an answer that has just come.
pub(super) fn clock(theirs: Option<u64>, ours: u64) -> Finding {
    const NAME: &str = "clock";
    const SET: &str = "switch time synchronisation on: timedatectl set-ntp true";
    let Some(theirs) = theirs else {
        return Finding::look(
            NAME,
            "nobody told the time",
            "see the checks of Meta and the public address",
        );
    };
    let off = span(ours.abs_diff(theirs));
    let words = if ours > theirs {
        format!("{off} fast")
    } else {
        format!("{off} slow")
    };
    match ours.abs_diff(theirs) {
        0..=CLOCK_SECONDS_LOOK => Finding::fine(NAME, "right"),
        off if off <= CLOCK_SECONDS_MAX => Finding::look(NAME, words, SET),
        _ => Finding::wrong(
            NAME,
            format!("{words}: what is signed counts as too old, and codes end at the wrong time"),
            SET,
        ),
    }
}

// --- the public address -------------------------------------------------------------------------

/// The name of the checks of the public address.
pub(super) const ADDRESS: &str = "public address";

pub(super) fn no_address() -> Finding {
    Finding::wrong(
        ADDRESS,
        "server.public_url is not set: Meta cannot send anything here",
        "write the https:// address under which the world reaches this server in server.public_url",
    )
}

/// Whether the public address leads to a Portero; `encrypted` is whether it is `https`.
pub(super) fn alive(answer: &Result<Answer, Broken>, encrypted: bool) -> Finding {
    let answer = match answer {
        Ok(answer) => answer,
        Err(broken) if broken.certificate_refused => {
            return Finding::wrong(
                ADDRESS,
                format!("its certificate is refused: {}", broken.reason),
                "Meta refuses it too: get one from a public authority for this name, and serve it with its intermediate certificates",
            );
        }
        Err(broken)
            if broken.reason.contains("host name") || broken.reason.contains("name server") =>
        {
            return Finding::silence(
                ADDRESS,
                format!("its name leads nowhere: {}", broken.reason),
                "give the name an A or AAAA record that points to this machine, or correct server.public_url",
            );
        }
        Err(broken) => {
            return Finding::silence(
                ADDRESS,
                format!("nobody answers there: {}", broken.reason),
                "start `portero serve`, and the reverse proxy if there is one, and open port 443 in the firewall; some routers do not let a machine reach its own public address",
            );
        }
    };
    let (what, advice) = match answer.status {
        200 if answer.body == b"alive\n" => {
            return match encrypted {
                true => Finding::fine(ADDRESS, "leads to a Portero"),
                false => Finding::look(
                    ADDRESS,
                    "leads to a Portero, without encryption: Meta calls https:// only",
                    "have Portero ask for a certificate (`portero config explain tls.acme`) or put a reverse proxy with one in front, and write the https:// address in server.public_url",
                ),
            };
        }
        200 => (
            "another program answers there".to_owned(),
            "let the reverse proxy pass everything on to the address in server.listen",
        ),
        421 => (
            "a Portero answers that does not know this name".to_owned(),
            "restart the server, so that it reads server.public_url; the reverse proxy has to pass on the Host header",
        ),
        301 | 302 | 303 | 307 | 308 => (
            format!(
                "it leads on to another address ({}), which Meta does not follow",
                answer.status
            ),
            "write the address that it leads to in server.public_url",
        ),
        502..=504 => (
            format!("a proxy answers {}: behind it nobody does", answer.status),
            "start `portero serve`, and let the proxy lead to the address in server.listen",
        ),
        401 | 403 => (
            format!("something in front of Portero refuses ({})", answer.status),
            "let the proxy or its protection against robots pass /webhook, /healthz and /readyz",
        ),
        status => (
            format!("another program answers there, with {status}"),
            "let the reverse proxy pass everything on to the address in server.listen",
        ),
    };
    Finding::wrong(ADDRESS, what, advice)
}

/// Meta's handshake as we have just made it: whether it came back, and so whether the server that
/// answers has our verify token.
pub(super) fn handshake(answer: &Result<Answer, Broken>, challenge: &str) -> Finding {
    const NAME: &str = "handshake";
    match answer {
        Err(broken) => Finding::silence(
            NAME,
            format!("no answer: {}", broken.reason),
            "let the reverse proxy pass /webhook on to Portero",
        ),
        Ok(answer) if answer.status == 200 && answer.body == challenge.as_bytes() => {
            Finding::fine(NAME, "the server that answers has this verify token")
        }
        Ok(answer) if answer.status == 403 => Finding::wrong(
            NAME,
            "the server that answers has another verify token",
            "restart the server, so that it reads whatsapp.verify_token; else the address leads to another Portero",
        ),
        Ok(answer) => Finding::wrong(
            NAME,
            format!("HTTP {} instead of the challenge", answer.status),
            "let the reverse proxy pass /webhook on to Portero, unchanged and with its query",
        ),
    }
}

/// A signed webhook without content, as we have just sent it: whether it was taken.
pub(super) fn signed(answer: &Result<Answer, Broken>) -> Finding {
    const NAME: &str = "webhook";
    match answer {
        Err(broken) => Finding::silence(
            NAME,
            format!("no answer: {}", broken.reason),
            "let the reverse proxy pass POST to /webhook on to Portero",
        ),
        Ok(answer) => match answer.status {
            200 => Finding::fine(NAME, "what is signed with the app secret is taken"),
            401 => Finding::wrong(
                NAME,
                "the server that answers has other app secrets",
                "restart the server, so that it reads whatsapp.app_secrets; else the address leads to another Portero",
            ),
            503 => Finding::wrong(
                NAME,
                "it could not be stored (503)",
                "see the server's log, and the disk",
            ),
            status => Finding::wrong(
                NAME,
                format!("HTTP {status} instead of 200"),
                "let the reverse proxy pass POST to /webhook on to Portero: bodies of 4 MB, no protection against robots",
            ),
        },
    }
}

/// Troubles that are shown, and characters of one.
const TROUBLES_MAX: usize = 10;
const TROUBLE_CHARS_MAX: usize = 300;

/// What the running server says of itself at `/readyz`.
pub(super) fn ready(answer: &Result<Answer, Broken>) -> Vec<Finding> {
    const NAME: &str = "server";
    let Ok(answer) = answer else {
        return Vec::new();
    };
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(&answer.body) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if body["ready"] == false {
        findings.push(Finding::wrong(
            NAME,
            "it cannot store what it receives",
            "see the server's log, and the disk",
        ));
    }
    let troubles = body["troubles"].as_array().map_or(&[][..], Vec::as_slice);
    findings.extend(troubles.iter().take(TROUBLES_MAX).filter_map(|trouble| {
        // Whoever answers at that address wrote it.
        let trouble = one_line(trouble.as_str()?, TROUBLE_CHARS_MAX);
        Some(Finding::wrong(
            NAME,
            trouble,
            "put that right: the server goes on by itself",
        ))
    }));
    if findings.is_empty() {
        findings.push(Finding::fine(
            NAME,
            "it stores what it receives, and nothing is paused",
        ));
    }
    findings
}

// --- mail ---------------------------------------------------------------------------------------

pub(super) fn mail_server(result: &Result<(), Failure>) -> Finding {
    const NAME: &str = "mail server";
    match result {
        Ok(()) => Finding::fine(NAME, "logged in, and the sender is accepted"),
        Err(failure) => of_mail(NAME, failure),
    }
}

pub(super) fn test_mail(result: &Result<(), Failure>) -> Finding {
    const NAME: &str = "test mail";
    match result {
        Ok(()) => Finding::fine(
            NAME,
            "the mail server took it: look into the mailbox, and into its spam folder",
        ),
        Err(failure) => of_mail(NAME, failure),
    }
}

fn of_mail(name: &str, failure: &Failure) -> Finding {
    let advice = failure.advice.unwrap_or(match failure.kind {
        FailureKind::Recipient => "give --mail-to an address that exists",
        _ => "try again in a moment; if it lasts, ask the operator of mail.server",
    });
    if failure.reason.starts_with("SMTP, connecting: ")
        && failure.kind != FailureKind::Configuration
    {
        return Finding::silence(name, failure.reason.clone(), advice);
    }
    Finding::wrong(name, failure.reason.clone(), advice)
}

/// `records` are those of the domain of `mail.from` (RFC 7208).
pub(super) fn spf(records: &Records) -> Finding {
    const NAME: &str = "SPF";
    let texts = match records {
        Records::NoSuchName => {
            return Finding::wrong(
                NAME,
                "the domain of mail.from does not exist",
                "write an address of a domain that is yours in mail.from",
            );
        }
        Records::Unknown(why) => return unknown(NAME, why),
        Records::Texts(texts) => texts,
    };
    let is_spf = |text: &&String| {
        let text = text.to_ascii_lowercase();
        text == "v=spf1" || text.starts_with("v=spf1 ")
    };
    let mut found = texts.iter().filter(is_spf);
    match (found.next(), found.next()) {
        (None, _) => Finding::look(
            NAME,
            "the domain of mail.from has no SPF record: codes land in the spam folder",
            "add the TXT record that your mail provider names, such as \"v=spf1 include:… -all\"",
        ),
        (Some(_), Some(_)) => Finding::wrong(
            NAME,
            "the domain of mail.from has two SPF records, so that neither counts",
            "put both into one TXT record",
        ),
        (Some(one), None)
            if one
                .split_whitespace()
                .any(|term| matches!(term, "+all" | "all" | "?all")) =>
        {
            Finding::look(
                NAME,
                "the SPF record lets everybody send in the name of the domain",
                "end it with ~all or -all",
            )
        }
        (Some(_), None) => Finding::fine(NAME, "there"),
    }
}

/// `records` are those of `_dmarc.` and the domain, or of the nearest domain above that has any
/// (RFC 9989).
pub(super) fn dmarc(records: &Records) -> Finding {
    const NAME: &str = "DMARC";
    match records {
        Records::Unknown(why) => unknown(NAME, why),
        records if is_dmarc(records) => Finding::fine(NAME, "there"),
        _ => Finding::look(
            NAME,
            "the domain of mail.from has no DMARC record: large providers distrust its mails",
            "add a TXT record at _dmarc in the domain, such as \"v=DMARC1; p=none\"; your provider should sign with DKIM too",
        ),
    }
}

/// Whether one of them is a DMARC record.
pub(super) fn is_dmarc(records: &Records) -> bool {
    let Records::Texts(texts) = records else {
        return false;
    };
    let version = |text: &String| text.split(';').next().unwrap_or_default().replace(' ', "");
    texts.iter().any(|text| version(text) == "v=DMARC1")
}

fn unknown(name: &str, why: &str) -> Finding {
    Finding {
        is_silence: true,
        ..Finding::look(
            name,
            format!("not known: {why}"),
            "see `nameserver` in /etc/resolv.conf, or name one with --name-server",
        )
    }
}

// --- services, bot, events ----------------------------------------------------------------------

/// The calls made of one service; `asked_for_somebody` is whether an address was given.
pub(super) fn service(name: &str, runs: &[DryRun], asked_for_somebody: bool) -> Vec<Finding> {
    let title = format!("service {name}");
    let mut findings = Vec::new();
    for run in runs {
        let call = run.call.name();
        match &run.reading {
            Reading::Refused(refusal) => {
                let what = format!("{call}: {}", refusal.reason);
                let shown = format!(
                    "`portero check --service {name} --email ADDRESS` shows what is sent and answered"
                );
                let advice = refusal.advice.map_or(shown, str::to_owned);
                findings.push(match refusal.unreachable {
                    true => Finding::silence(&title, what, advice),
                    false => Finding::wrong(&title, what, advice),
                });
            }
            Reading::Users(users) if users.is_empty() && asked_for_somebody => {
                findings.push(Finding::look(
                    &title,
                    format!("{call}: it knows nobody with the address of --email"),
                    "give --email the address of somebody whom it should know",
                ));
            }
            Reading::Users(_) | Reading::Token(_) => {}
        }
    }
    if findings.is_empty() {
        let token = (runs.iter()).any(|run| matches!(run.reading, Reading::Token(_)));
        findings.push(Finding::fine(
            &title,
            match token {
                true => "finds the person and issues a token",
                false => "answers; --email ADDRESS of somebody it knows tries tokens too",
            },
        ));
    }
    findings
}

pub(super) fn bot(result: &Result<(), Failure>) -> Finding {
    const NAME: &str = "bot";
    let Err(failure) = result else {
        return Finding::fine(
            NAME,
            "takes a signed webhook (it was sent one without a message)",
        );
    };
    of_program(
        NAME,
        failure,
        "see the bot's log; a webhook without a message has to be answered 200 as well",
    )
}

pub(super) fn events(result: &Result<(), Failure>) -> Finding {
    const NAME: &str = "events";
    let Err(failure) = result else {
        return Finding::fine(
            NAME,
            "the receiver takes a signed event (it was sent portero.test)",
        );
    };
    of_program(
        NAME,
        failure,
        "see the receiver's log; types that it does not know have to be answered 2xx",
    )
}

fn of_program(name: &str, failure: &Failure, look: &str) -> Finding {
    let advice = failure.advice.unwrap_or(look).to_owned();
    let what = failure.reason.clone();
    match failure.kind {
        FailureKind::Unreachable | FailureKind::Unknown if !what.contains(" answered ") => {
            let advice = failure
                .advice
                .unwrap_or("start it, and compare its address in the configuration");
            // Somebody is there whose certificate is refused.
            match failure.advice {
                Some(_) => Finding::wrong(name, what, advice),
                None => Finding::silence(name, what, advice),
            }
        }
        // It is there and takes webhooks: this one has nothing in it.
        FailureKind::Temporary { .. } if failure.advice.is_none() => {
            Finding::look(name, what, advice)
        }
        _ => Finding::wrong(name, what, advice),
    }
}

#[cfg(test)]
mod tests;

//! `[mail]`: the server that codes and notices leave by.

use super::keys;
use super::read::{Reader, choice, number, text};
use super::senders;
use super::values::{address, title};
use crate::domain::delivery::Lane;
use crate::domain::id::EmailAddress;
use crate::http::{host_name, is_loopback};
use crate::mail;
use toml::de::DeTable;

pub(super) fn mail(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    business: Option<&str>,
) -> Option<mail::Settings> {
    use mail::Security::{Plain, StartTls, Tls};
    let table = reader.table(root, "mail");
    let server = reader.one(&table, &keys::MAIL_SERVER, text(host_name));
    let security = reader.one(
        &table,
        &keys::MAIL_SECURITY,
        choice(&[("starttls", StartTls), ("tls", Tls), ("plain", Plain)]),
    );
    let port = reader.maybe(&table, &keys::MAIL_PORT, number(1..=65_535, ""));
    if let (Some(None), Some(security)) = (port, security) {
        let (port, origin) = usual_port(security);
        reader.derived(&keys::MAIL_PORT, &i64::from(port).into(), origin);
    }
    let username = reader.maybe(
        &table,
        &keys::MAIL_USERNAME,
        text(|name| {
            let plain = !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control);
            plain
                .then(|| name.to_owned())
                .ok_or_else(|| "must be 1 to 255 printable characters".to_owned())
        }),
    );
    let password = reader.maybe_secret(&table, &keys::MAIL_PASSWORD, |_| Ok(()));
    let from = reader.one(&table, &keys::MAIL_FROM, text(mailbox));
    let reply_to = reader.maybe(&table, &keys::MAIL_REPLY_TO, text(address));
    let ca_pem = reader.certificates(&table, &keys::MAIL_CA_FILE);
    match (
        table.has(&keys::MAIL_USERNAME),
        table.has(&keys::MAIL_PASSWORD),
    ) {
        (true, false) => reader.problem(
            &table,
            &keys::MAIL_PASSWORD,
            "is missing beside mail.username",
        ),
        (false, true) => reader.problem(
            &table,
            &keys::MAIL_USERNAME,
            "is missing beside mail.password",
        ),
        (true, true) | (false, false) => {}
    }
    let (server, security) = (server?, security?);
    if security == Plain {
        if is_loopback(&server) {
            reader.weakens(
                &table,
                &keys::MAIL_SECURITY,
                "codes go to the mail server on this machine unencrypted; it must encrypt what it passes on",
            );
        } else {
            reader.problem(
                &table,
                &keys::MAIL_SECURITY,
                "plain is for a mail server on this machine (localhost); write \"starttls\" or \"tls\"",
            );
        }
    }
    let (from_name, from) = from?;
    let credentials = match (username?, password?) {
        (Some(username), Some(password)) => Some((username, password)),
        _ => None,
    };
    Some(mail::Settings {
        server,
        port: match port? {
            Some(port) => u16::try_from(port).unwrap_or(u16::MAX),
            None => usual_port(security).0,
        },
        security,
        credentials,
        from_name: match from_name {
            Some(name) => name,
            None => business?.to_owned(),
        },
        from,
        reply_to: reply_to?,
        ca_pem: ca_pem?,
        connections: senders(Lane::Mail),
    })
}

fn usual_port(security: mail::Security) -> (u16, &'static str) {
    match security {
        mail::Security::StartTls => (587, "default with starttls"),
        mail::Security::Tls => (465, "default with tls"),
        mail::Security::Plain => (25, "default with plain"),
    }
}

/// `Name <a@b>` or `a@b`.
fn mailbox(text: &str) -> Result<(Option<String>, EmailAddress), String> {
    let Some((name, rest)) = text.split_once('<') else {
        return Ok((None, address(text.trim())?));
    };
    let Some(inner) = rest.trim_end().strip_suffix('>') else {
        return Err("must look like \"La Espiga <portero@example.com>\"".to_owned());
    };
    let name = name.trim().trim_matches('"').trim();
    let name = if name.is_empty() {
        None
    } else {
        Some(title(name)?)
    };
    Ok((name, address(inner.trim())?))
}

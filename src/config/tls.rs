//! `[tls]`: HTTPS of Portero's own, and where its certificate is from.

use super::read::{Purpose, Reader, Table, list, path_in, switch, text};
use super::server::{is_few, socket_address};
use super::values::address;
use super::{Server, Store, keys};
use crate::http::{Endpoint, host_name, is_loopback};
use crate::tls::{self, Certificate, Files, Source, Trust, acme};
use std::net::SocketAddr;
use toml::de::DeTable;

/// How HTTPS comes in.
#[derive(Clone, Debug)]
pub struct Tls {
    /// One or more addresses for HTTPS.
    pub listen: Vec<SocketAddr>,
    /// Where plain HTTP is answered with the way to HTTPS; may be none.
    pub redirect_listen: Vec<SocketAddr>,
    /// Where the certificate is from.
    pub source: Source,
}

pub(super) fn tls(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    server: Option<&mut Server>,
    store: Option<&Store>,
) -> Option<Option<Tls>> {
    let table = reader.table(root, "tls");
    let files = files(reader, &table);
    let listen = reader.one(&table, &keys::TLS_LISTEN, list(socket_address));
    let redirect_listen = reader.maybe(&table, &keys::TLS_REDIRECT_LISTEN, list(socket_address));
    let acme = acme(reader, &table, store);
    let (files, acme) = (files?, acme?);
    let (listen, redirect_listen) = (listen?, redirect_listen?.unwrap_or_default());
    let source = match (files, acme) {
        (Some(files), None) => Source::Files(files),
        (None, Some(settings)) => Source::Acme(settings),
        (None, None) => {
            for key in [&keys::TLS_LISTEN, &keys::TLS_REDIRECT_LISTEN] {
                if table.has(key) {
                    reader.warn(
                        &table,
                        key,
                        "does nothing without tls.certificate or tls.acme",
                    );
                }
            }
            return Some(None);
        }
        (Some(_), Some(_)) => {
            let words = "cannot be true beside tls.certificate: the certificate is from an authority or from files";
            reader.problem(&table, &keys::TLS_ACME, words);
            return None;
        }
    };
    if !is_few(reader, &table, &keys::TLS_LISTEN, &listen) {
        return None;
    }
    let server = server?;
    if !redirect_listen.is_empty() {
        if !is_few(reader, &table, &keys::TLS_REDIRECT_LISTEN, &redirect_listen) {
            return None;
        }
        if server.public_url.is_none() {
            let words = "needs server.public_url, where whoever comes is sent to";
            reader.problem(&table, &keys::TLS_REDIRECT_LISTEN, words);
            return None;
        }
    }
    // Two listeners at one address would be told as another program that has it.
    let before = server.listen.iter().chain(&listen);
    let twice = (redirect_listen.iter())
        .find(|one| one.port() != 0 && before.clone().any(|other| other == *one));
    if let Some(address) = twice {
        let words = format!("{address} is listened on already, by server.listen or tls.listen");
        reader.problem(&table, &keys::TLS_REDIRECT_LISTEN, words);
        return None;
    }
    if let Some(address) = listen
        .iter()
        .find(|one| one.port() != 0 && server.listen.contains(one))
    {
        let words = format!("{address} is in server.listen too, which is without TLS");
        reader.problem(&table, &keys::TLS_LISTEN, words);
        return None;
    }
    let source = match source {
        Source::Files(files) if reader.purpose == Purpose::Store => Source::Files(files),
        Source::Files(files) => match files.read() {
            Ok(certificate) => {
                judge(reader, &table, &certificate, server);
                Source::Files(files)
            }
            Err(sentence) => {
                reader.problem(&table, &keys::TLS_CERTIFICATE, sentence);
                return None;
            }
        },
        Source::Acme(mut settings) => {
            settings.answers_http = !redirect_listen.is_empty();
            name(reader, &table, &mut settings, server)?;
            Source::Acme(settings)
        }
    };
    Some(Some(Tls {
        listen,
        redirect_listen,
        source,
    }))
}

/// Certificate and key in files, if they are there.
fn files(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Option<Files>> {
    let folder = reader.folder();
    let certificate = reader.maybe(
        table,
        &keys::TLS_CERTIFICATE,
        text(|path| path_in(folder, path)),
    );
    let key = reader.maybe(
        table,
        &keys::TLS_KEY,
        text(|key| match key.strip_prefix("file:") {
            Some(path) => path_in(folder, path),
            None => Err("must be in a file of its own, which is read again when it changes; write \"file:/path\"".to_owned()),
        }),
    );
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Some(Files { certificate, key })),
        (Some(_), None) => {
            reader.problem(table, &keys::TLS_KEY, "is missing beside tls.certificate");
            None
        }
        (None, Some(_)) => {
            reader.problem(table, &keys::TLS_CERTIFICATE, "is missing beside tls.key");
            None
        }
        (None, None) => Some(None),
    }
}

/// The authority that is asked, if one is; its names are still to be told.
fn acme(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    store: Option<&Store>,
) -> Option<Option<Box<acme::Settings>>> {
    let wanted = reader.one(table, &keys::TLS_ACME, switch);
    let agreed = reader.one(table, &keys::TLS_ACME_TERMS_AGREED, switch);
    let email = reader.maybe(table, &keys::TLS_ACME_EMAIL, text(address));
    let names = reader.one(table, &keys::TLS_ACME_NAMES, list(host_name));
    let directory = reader.one(table, &keys::TLS_ACME_DIRECTORY, text(Endpoint::parse));
    let ca_pem = reader.certificates(table, &keys::TLS_ACME_CA_FILE);
    let folder = reader.folder();
    let folder = reader.maybe(
        table,
        &keys::TLS_ACME_FOLDER,
        text(|path| path_in(folder, path)),
    );
    let account_id = reader.maybe(table, &keys::TLS_ACME_ACCOUNT_ID, text(short));
    let account_key = reader.maybe_secret(table, &keys::TLS_ACME_ACCOUNT_KEY, base64url);
    let (wanted, agreed) = (wanted?, agreed?);
    let (email, names, directory, ca_pem) = (email?, names?, directory?, ca_pem?);
    let (folder, account_id, account_key) = (folder?, account_id?, account_key?);
    if !wanted {
        let idle = [
            &keys::TLS_ACME_TERMS_AGREED,
            &keys::TLS_ACME_EMAIL,
            &keys::TLS_ACME_NAMES,
            &keys::TLS_ACME_DIRECTORY,
            &keys::TLS_ACME_CA_FILE,
            &keys::TLS_ACME_FOLDER,
            &keys::TLS_ACME_ACCOUNT_ID,
            &keys::TLS_ACME_ACCOUNT_KEY,
        ];
        for key in idle.into_iter().filter(|key| table.has(key)) {
            reader.warn(table, key, "does nothing without tls.acme = true");
        }
        return Some(None);
    }
    if !agreed {
        let words = "is needed with tls.acme: read the terms of the authority, for Let's Encrypt at https://letsencrypt.org/repository/, and write true if you agree";
        reader.problem(table, &keys::TLS_ACME_TERMS_AGREED, words);
        return None;
    }
    let binding = match (account_id, account_key) {
        (Some(id), Some(key)) => Some((id, key)),
        (None, None) => None,
        (Some(_), None) => {
            let words = "is missing beside tls.acme_account_id";
            reader.problem(table, &keys::TLS_ACME_ACCOUNT_KEY, words);
            return None;
        }
        (None, Some(_)) => {
            let words = "is missing beside tls.acme_account_key";
            reader.problem(table, &keys::TLS_ACME_ACCOUNT_ID, words);
            return None;
        }
    };
    let folder = match folder {
        Some(folder) => folder,
        None => store?.path.with_file_name("acme"),
    };
    Some(Some(Box::new(acme::Settings {
        directory,
        ca_pem,
        email: email.map(|email| email.as_str().to_owned()),
        names,
        folder,
        binding,
        answers_http: false,
    })))
}

/// Puts the host of the public address before the other names; all of them are served.
fn name(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    settings: &mut acme::Settings,
    server: &mut Server,
) -> Option<()> {
    let Some(host) = host_of(server) else {
        let words = "needs server.public_url, the name that a certificate is asked for";
        reader.problem(table, &keys::TLS_ACME, words);
        return None;
    };
    let mut names = vec![host];
    names.append(&mut settings.names);
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let is_public = |name: &str| !is_loopback(name) && !is_address(name);
    if let Some(name) = names.iter().find(|name| !is_public(name)) {
        let words = format!(
            "no authority vouches for {name}: a name is needed that the whole internet can look up (server.public_url, tls.acme_names)"
        );
        reader.problem(table, &keys::TLS_ACME, words);
        return None;
    }
    if names.len() > acme::NAMES_MAX {
        let words = format!("there may be {} names in all", acme::NAMES_MAX);
        reader.problem(table, &keys::TLS_ACME_NAMES, words);
        return None;
    }
    server.hosts.extend(names.iter().cloned());
    server.hosts.sort();
    server.hosts.dedup();
    settings.names = names;
    Some(())
}

fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok()
}

fn host_of(server: &Server) -> Option<String> {
    let url = Endpoint::parse(server.public_url.as_deref()?).ok()?;
    Some(url.host())
}

fn short(name: &str) -> Result<String, String> {
    let good = (1..=256).contains(&name.len()) && !name.contains(char::is_control);
    good.then(|| name.to_owned())
        .ok_or_else(|| "must be 1 to 256 printable characters".to_owned())
}

fn base64url(key: &str) -> Result<(), String> {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-_=".contains(&b);
    (key.bytes().all(byte) && key.len() >= 16)
        .then_some(())
        .ok_or_else(|| "must be base64url, as the authority gave it".to_owned())
}

/// What is worth knowing about a certificate that can be served.
fn judge(reader: &mut Reader<'_>, table: &Table<'_>, certificate: &Certificate, server: &Server) {
    let key = &keys::TLS_CERTIFICATE;
    let now_s = tls::now_s();
    let until = tls::day(certificate.not_after_s());
    if certificate.not_after_s() < now_s {
        let words = format!("expired on {until}, so that Meta and browsers refuse it: renew it");
        reader.warn(table, key, words);
    } else if certificate.not_before_s() > now_s {
        let from = tls::day(certificate.not_before_s());
        let words = format!("counts only from {from}: look at the clock of this machine");
        reader.warn(table, key, words);
    } else {
        match certificate.trust(now_s) {
            Trust::Public => {}
            Trust::UnknownWithoutChain => reader.warn(table, key, "is alone in its file, and no public authority made it: if one did, the file must also hold the certificate between the two (with certbot: fullchain.pem)"),
            Trust::Unknown => reader.warn(table, key, "leads to no public authority, so that Meta and browsers refuse it"),
        }
    }
    let host = host_of(server);
    if let Some(host) = host.filter(|host| !certificate.is_for(host)) {
        let words = format!(
            "is not for {host}, the host of server.public_url, so that Meta and browsers refuse it"
        );
        reader.warn(table, key, words);
    }
}

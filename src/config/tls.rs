//! `[tls]`: HTTPS of Portero's own, and where its certificate is from.

use super::read::{Reader, Table, list, text};
use super::{Server, is_few, keys, socket_address};
use crate::http::Endpoint;
use crate::tls::{self, Certificate, Files, Source, Trust};
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
    server: Option<&Server>,
) -> Option<Option<Tls>> {
    let table = reader.table(root, "tls");
    let folder = reader.folder();
    let certificate = reader.maybe(
        &table,
        &keys::TLS_CERTIFICATE,
        text(|path| super::read::path_in(folder, path)),
    );
    let key = reader.maybe(
        &table,
        &keys::TLS_KEY,
        text(|key| match key.strip_prefix("file:") {
            Some(path) => super::read::path_in(folder, path),
            None => Err("must be in a file of its own, which is read again when it changes; write \"file:/path\"".to_owned()),
        }),
    );
    let listen = reader.one(&table, &keys::TLS_LISTEN, list(socket_address));
    let redirect_listen = reader.maybe(&table, &keys::TLS_REDIRECT_LISTEN, list(socket_address));
    let (listen, redirect_listen) = (listen?, redirect_listen?.unwrap_or_default());
    let source = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Source::Files(Files { certificate, key })),
        (Some(_), None) => {
            reader.problem(&table, &keys::TLS_KEY, "is missing beside tls.certificate");
            return None;
        }
        (None, Some(_)) => {
            reader.problem(&table, &keys::TLS_CERTIFICATE, "is missing beside tls.key");
            return None;
        }
        (None, None) => None,
    };
    let Some(source) = source else {
        for key in [&keys::TLS_LISTEN, &keys::TLS_REDIRECT_LISTEN] {
            if table.has(key) {
                reader.warn(&table, key, "does nothing without tls.certificate");
            }
        }
        return Some(None);
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
    match &source {
        Source::Files(files) => match files.read() {
            Ok(certificate) => judge(reader, &table, &certificate, server),
            Err(sentence) => {
                reader.problem(&table, &keys::TLS_CERTIFICATE, sentence);
                return None;
            }
        },
    }
    Some(Some(Tls {
        listen,
        redirect_listen,
        source,
    }))
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
    let host = (server.public_url.as_deref())
        .and_then(|url| Endpoint::parse(url).ok())
        .map(|url| url.host());
    if let Some(host) = host.filter(|host| !certificate.is_for(host)) {
        let words = format!(
            "is not for {host}, the host of server.public_url, so that Meta and browsers refuse it"
        );
        reader.warn(table, key, words);
    }
}

//! `[bot]` and `[events]`: what stands behind Portero.

use super::keys;
use super::read::{Reader, Table, choice, number, text};
use super::values::{HTTP_CALLED, Url, signing_secret};
use crate::bot;
use crate::domain::policy::Gate;
use std::time::Duration;
use toml::de::DeTable;

/// Connections to the bot: more would only wait for the store.
const CONNECTIONS_MAX: u64 = 64;

/// The bot, and whose messages it gets; without an address there is none.
pub(super) fn bot(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
) -> Option<(Option<bot::Settings>, Gate)> {
    let table = reader.table(root, "bot");
    let url = reader.maybe(&table, &keys::BOT_URL, text(Url::kept));
    let gate = reader.one(
        &table,
        &keys::BOT_GATE,
        choice(&[
            ("everyone", Gate::Everyone),
            ("on_request", Gate::OnRequest),
        ]),
    );
    let secret = reader.maybe_secret(&table, &keys::BOT_SECRET, signing_secret);
    let timeout = reader.one(
        &table,
        &keys::BOT_TIMEOUT_SECONDS,
        number(1..=bot::TIMEOUT_MAX.as_secs(), ""),
    );
    let connections = reader.one(
        &table,
        &keys::BOT_CONNECTIONS,
        number(1..=CONNECTIONS_MAX, ""),
    );
    let ca_pem = reader.certificates(&table, &keys::BOT_CA_FILE);
    let mut idle = vec![&keys::BOT_SECRET, &keys::BOT_CA_FILE];
    if gate == Some(Gate::OnRequest) {
        idle.push(&keys::BOT_GATE);
    }
    needs_address(reader, &table, &keys::BOT_URL, &idle);
    let mut bare = vec![&keys::BOT_TIMEOUT_SECONDS, &keys::BOT_CONNECTIONS];
    if gate == Some(Gate::Everyone) {
        bare.push(&keys::BOT_GATE);
    }
    is_without_effect(reader, &table, &keys::BOT_URL, &bare);
    is_encrypted(reader, &table, &keys::BOT_URL, url.as_ref());
    let (secret, timeout, connections) = (secret?, timeout?, connections?);
    let (ca_pem, gate) = (ca_pem?, gate?);
    let settings = url?.map(|url| bot::Settings {
        url: url.text,
        secret,
        timeout: Duration::from_secs(timeout),
        connections: usize::try_from(connections).unwrap_or(1),
        ca_pem,
    });
    Some((settings, gate))
}

/// Where events go; without an address there are none.
pub(super) fn events(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
) -> Option<Option<bot::EventSettings>> {
    let table = reader.table(root, "events");
    let url = reader.maybe(&table, &keys::EVENTS_URL, text(Url::kept));
    let secret = reader.maybe_secret(&table, &keys::EVENTS_SECRET, signing_secret);
    let timeout = reader.one(
        &table,
        &keys::EVENTS_TIMEOUT_SECONDS,
        number(1..=bot::TIMEOUT_MAX.as_secs(), ""),
    );
    let ca_pem = reader.certificates(&table, &keys::EVENTS_CA_FILE);
    let idle = [&keys::EVENTS_SECRET, &keys::EVENTS_CA_FILE];
    needs_address(reader, &table, &keys::EVENTS_URL, &idle);
    let bare = [&keys::EVENTS_TIMEOUT_SECONDS];
    is_without_effect(reader, &table, &keys::EVENTS_URL, &bare);
    is_encrypted(reader, &table, &keys::EVENTS_URL, url.as_ref());
    let (url, secret, timeout, ca_pem) = (url?, secret?, timeout?, ca_pem?);
    let Some(url) = url else {
        return Some(None);
    };
    let Some(secret) = secret else {
        reader.problem(
            &table,
            &keys::EVENTS_SECRET,
            "is missing; without it nobody can tell whether an event is Portero's",
        );
        return None;
    };
    Some(Some(bot::EventSettings {
        url: url.text,
        secret,
        timeout: Duration::from_secs(timeout),
        ca_pem,
    }))
}

/// What is written for an address that is not there would be forgotten in silence.
fn needs_address(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    address: &'static keys::Key,
    idle: &[&'static keys::Key],
) {
    if table.has(address) {
        return;
    }
    for key in idle.iter().filter(|key| table.has(key)) {
        let words = format!("is for {}, which is not set", address.path());
        reader.problem(table, key, words);
    }
}

/// What only says how is no mistake where there is nothing to do: the example has it, too.
fn is_without_effect(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    address: &'static keys::Key,
    bare: &[&'static keys::Key],
) {
    if table.has(address) {
        return;
    }
    for key in bare.iter().filter(|key| table.has(key)) {
        let words = format!(
            "has no effect: it is for {}, which is not set",
            address.path()
        );
        reader.warn(table, key, words);
    }
}

fn is_encrypted(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    key: &'static keys::Key,
    url: Option<&Option<Url>>,
) {
    if let Some(Some(url)) = url
        && !url.endpoint.is_encrypted()
    {
        reader.weakens(table, key, HTTP_CALLED);
    }
}

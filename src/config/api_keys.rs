//! Who may call the API: each `[[api_keys]]`.

use super::keys;
use super::problem::did_you_mean;
use super::read::{Reader, Table, list, switch, text};
use crate::domain::id::ServiceName;
use crate::web::{ApiKey, ApiScope};
use toml::de::DeTable;

/// Keys: a business has a few bots, and each may have an old and a new key for a while.
const API_KEYS_MAX: usize = 32;
/// Shortest key; `openssl rand -hex 16` has as many.
const KEY_CHARS_MIN: usize = 32;

pub(super) fn api_keys<'t>(
    reader: &mut Reader<'_>,
    root: &'t DeTable<'t>,
) -> (Vec<Table<'t>>, Option<Vec<ApiKey>>) {
    let tables = reader.tables(root, "api_keys", API_KEYS_MAX);
    let mut known: Vec<Option<ApiKey>> = Vec::new();
    for table in &tables {
        let key = api_key(reader, table);
        if let Some(key) = &key {
            for other in known.iter().flatten() {
                unlike(reader, table, key, other);
            }
        }
        known.push(key);
    }
    (tables, known.into_iter().collect())
}

/// Calls are told apart by their key, and keys in the log by their name.
fn unlike(reader: &mut Reader<'_>, table: &Table<'_>, key: &ApiKey, other: &ApiKey) {
    if key.name == other.name {
        reader.problem(
            table,
            &keys::API_KEYS_NAME,
            "another API key has this name; each needs one of its own",
        );
    }
    if key.key.matches(other.key.reveal()) {
        reader.problem(
            table,
            &keys::API_KEYS_KEY,
            "another API key is the same; each caller needs one of its own",
        );
    }
}

fn api_key(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<ApiKey> {
    let name_of_key = reader.one(table, &keys::API_KEYS_NAME, text(name));
    let key = reader.secret(table, &keys::API_KEYS_KEY, visible);
    let scopes = reader.one(table, &keys::API_KEYS_SCOPES, list(scope));
    let services = reader.maybe(table, &keys::API_KEYS_SERVICES, list(name));
    let first_hours_only = reader.one(table, &keys::API_KEYS_FIRST_HOURS_ONLY, switch);
    if let Some(scopes) = &scopes {
        if scopes.is_empty() {
            reader.problem(
                table,
                &keys::API_KEYS_SCOPES,
                "is empty, so that the key is good for nothing; name what it is for",
            );
        }
        let is_twice = |at: usize| scopes[..at].contains(&scopes[at]);
        if (0..scopes.len()).any(is_twice) {
            reader.problem(table, &keys::API_KEYS_SCOPES, "names a scope twice");
        }
        if scopes.contains(&ApiScope::AnyContact) {
            reader.weakens(
                table,
                &keys::API_KEYS_SCOPES,
                "has any_contact: whoever has this key can act for anybody without a message of theirs; not for an agent that reads what strangers write",
            );
        }
    }
    if let Some(scopes) = &scopes {
        does_something(reader, table, scopes, first_hours_only == Some(true));
    }
    Some(ApiKey {
        name: name_of_key?,
        key: key?,
        scopes: scopes?,
        services: services?,
        first_hours_only: first_hours_only?,
    })
}

/// What is without effect may be there in place of something else that was meant.
fn does_something(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    scopes: &[ApiScope],
    first_hours_only: bool,
) {
    const FOR_TOKENS: &str = "is about tokens, and the key has not the scope tokens";
    if !scopes.contains(&ApiScope::Tokens) {
        if table.has(&keys::API_KEYS_SERVICES) {
            reader.warn(table, &keys::API_KEYS_SERVICES, FOR_TOKENS);
        }
        if first_hours_only {
            reader.warn(table, &keys::API_KEYS_FIRST_HOURS_ONLY, FOR_TOKENS);
        }
    }
    if scopes == [ApiScope::AnyContact] {
        reader.warn(
            table,
            &keys::API_KEYS_SCOPES,
            "has only any_contact, which is good for nothing by itself; name what the key is for",
        );
    }
}

/// Notes keys for links where none are made.
pub(super) fn links_are_made(
    reader: &mut Reader<'_>,
    tables: &[Table<'_>],
    api_keys: &[ApiKey],
    has_web: bool,
) {
    for (table, key) in tables.iter().zip(api_keys) {
        if !has_web && key.scopes.contains(&ApiScope::SignInLinks) {
            reader.warn(
                table,
                &keys::API_KEYS_SCOPES,
                "has sign_in_links, and no links are made here; they need \"web\" in sign_in.methods",
            );
        }
    }
}

/// Notes services that there are none of.
pub(super) fn fits(
    reader: &mut Reader<'_>,
    tables: &[Table<'_>],
    api_keys: &[ApiKey],
    known: &[crate::services::Settings],
    directory: Option<&str>,
) {
    let names = || {
        let services = known.iter().map(|service| service.name.as_str());
        services.chain(directory)
    };
    for (table, key) in tables.iter().zip(api_keys) {
        for service in key.services.iter().flatten() {
            if names().any(|known| known == service.as_str()) {
                continue;
            }
            let service = service.as_str();
            let words = match did_you_mean(service, names()) {
                Some(near) => format!("no service is called {service}; did you mean {near}?"),
                None => {
                    let all: Vec<_> = names().collect();
                    format!(
                        "no service is called {service}; there are {}",
                        all.join(", ")
                    )
                }
            };
            reader.problem(table, &keys::API_KEYS_SERVICES, words);
        }
    }
}

fn name(text: &str) -> Result<ServiceName, String> {
    ServiceName::parse(text).map_err(|_| "a name is 1 to 40 of a–z, 0–9, - and _".to_owned())
}

fn scope(written: &str) -> Result<ApiScope, String> {
    let names = || ApiScope::ALL.iter().map(|scope| scope.name());
    (ApiScope::ALL.into_iter())
        .find(|scope| scope.name() == written)
        .ok_or_else(|| {
            let all: Vec<_> = names().collect();
            match did_you_mean(written, names()) {
                Some(near) => format!("did you mean \"{near}\"? (one of {})", all.join(", ")),
                None => format!("must be one of {}", all.join(", ")),
            }
        })
}

pub(super) fn visible(secret: &str) -> Result<(), String> {
    if secret.len() >= KEY_CHARS_MIN && secret.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!(
            "must be at least {KEY_CHARS_MIN} ASCII letters, digits and signs, without spaces; `openssl rand -hex 32` makes one"
        ))
    }
}

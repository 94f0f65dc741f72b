//! F-7. A configuration: it is refused, or what is shown of it is read as the same configuration; a
//! key that nobody knows is always refused; and no secret is ever repeated.

use portero::config::{Config, Loaded, keys};
use std::collections::BTreeSet;
use std::path::Path;
use toml::{Table, Value};

/// What every secret in the environment has in it.
const CANARY: &str = "canary";

pub fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    // What is elsewhere in the file system is not for this property to read.
    if text.contains("file:") || text.contains("_file") || text.contains("logo") {
        return;
    }
    let secrets = secrets_in(&text);
    let parsed = parse(&text);
    let told = match &parsed {
        Ok(loaded) => {
            let mut told = loaded.show();
            for warning in &loaded.warnings {
                told.push_str(&warning.line(Path::new("portero.toml")));
            }
            told
        }
        Err(problems) => problems.clone(),
    };
    assert!(!told.contains(CANARY), "{told}");
    for secret in &secrets {
        assert!(!told.contains(secret.as_str()), "{secret:?} in {told}");
    }
    match parsed {
        Ok(loaded) => {
            what_is_shown_is_the_same_again(&loaded);
            an_unknown_key_is_refused(&text);
        }
        Err(problems) => assert!(!problems.trim().is_empty()),
    }
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        // What a secret has to look like differs, and the names say what they are.
        name if name.contains("SIGNING") => {
            return Some("whsec_Y2FuYXJ5MDEyMzQ1Njc4OWNhbmFyeTAxMjM0NTY3ODk=".to_owned());
        }
        name if name.contains("STORE") => {
            return Some(
                "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff".to_owned(),
            );
        }
        "EMPTY" => String::new(),
        "SPACE" => format!("{CANARY} {CANARY}"),
        "SHORT" => CANARY.to_owned(),
        name if name.starts_with("PORTERO_") => {
            format!("{CANARY}-0123456789abcdef0123456789abcdef")
        }
        _ => return None,
    };
    Some(value)
}

fn parse(text: &str) -> Result<Loaded, String> {
    Config::parse(text, Path::new("/nowhere"), &environment).map_err(|wrong| wrong.to_string())
}

/// Texts that stand where secrets stand, and nowhere else in the file, not even as a part.
fn secrets_in(text: &str) -> Vec<String> {
    let Ok(table) = text.parse::<Table>() else {
        return Vec::new();
    };
    let mut secrets = BTreeSet::new();
    let mut others = Vec::new();
    sort_out(&table, "", false, &mut secrets, &mut others);
    (secrets.into_iter())
        .filter(|secret| secret.chars().count() >= 8 && !secret.starts_with("env:"))
        .filter(|secret| !others.iter().any(|other| other.contains(secret.as_str())))
        .filter(|secret| {
            !keys::ALL
                .iter()
                .any(|key| key.about.contains(secret.as_str()))
        })
        .filter(|secret| secret.chars().all(|c| c.is_ascii_alphanumeric()))
        // Words of Portero's own are no secret.
        .filter(|secret| secret.chars().any(|c| c.is_ascii_digit()))
        .collect()
}

fn sort_out(
    table: &Table,
    path: &str,
    within: bool,
    secrets: &mut BTreeSet<String>,
    others: &mut Vec<String>,
) {
    for (name, value) in table {
        let is_secret = within
            || keys::ALL
                .iter()
                .any(|key| key.is_secret() && key.table == path && key.name == name);
        others.push(name.clone());
        let inner = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        sort_out_value(value, &inner, is_secret, secrets, others);
    }
}

fn sort_out_value(
    value: &Value,
    path: &str,
    is_secret: bool,
    secrets: &mut BTreeSet<String>,
    others: &mut Vec<String>,
) {
    match value {
        Value::String(text) if is_secret => {
            secrets.insert(text.clone());
        }
        Value::Table(table) => sort_out(table, path, is_secret, secrets, others),
        Value::Array(values) => {
            for value in values {
                sort_out_value(value, path, is_secret, secrets, others);
            }
        }
        other => others.push(other.to_string()),
    }
}

/// The dump of the dump. A secret of the environment stays where it is; one that is written in the
/// file is not shown, so that nothing can be read from it.
fn what_is_shown_is_the_same_again(loaded: &Loaded) {
    let shown = loaded.show();
    let table: Table = shown
        .parse()
        .unwrap_or_else(|wrong| panic!("{wrong}\n{shown}"));
    if shown.contains("hidden, from this file") {
        return;
    }
    let again = with_names_of_secrets(&shown);
    // A part of a value that is hidden cannot be put back.
    if again.contains("(hidden") {
        return;
    }
    let again = parse(&again).unwrap_or_else(|wrong| panic!("{wrong}\n{again}"));
    let second: Table = again.show().parse().expect("a dump");
    assert_eq!(table, second);
}

/// `"(hidden, from env:NAME)"` as `"env:NAME"`.
fn with_names_of_secrets(shown: &str) -> String {
    let mut parts = shown.split("(hidden, from env:");
    let mut text = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let (name, rest) = part.split_once(')').expect("the end of what is hidden");
        text.push_str(&format!("env:{name}{rest}"));
    }
    text
}

fn an_unknown_key_is_refused(text: &str) {
    let table: Table = text.parse().expect("what was read");
    let mut with_table = table.clone();
    with_table.insert("unknown_to_all".to_owned(), Value::Table(Table::new()));
    refuses(&with_table);
    let mut with_key = table.clone();
    with_key.insert("unknown_to_all".to_owned(), Value::Boolean(true));
    refuses(&with_key);
    for name in table.keys() {
        // Words for sentences have the names of the sentences.
        let mut spoilt = table.clone();
        if spoil(spoilt.get_mut(name).expect("a key")) {
            refuses(&spoilt);
        }
    }
}

/// Puts a key that nobody knows into a table, or into the last table of a list.
fn spoil(value: &mut Value) -> bool {
    match value {
        Value::Table(table) => {
            table.insert("unknown_to_all".to_owned(), Value::Integer(1));
            true
        }
        Value::Array(values) => values.last_mut().is_some_and(spoil),
        _ => false,
    }
}

fn refuses(table: &Table) {
    let text = toml::to_string(table).expect("a table");
    let wrong = match parse(&text) {
        Err(wrong) => wrong,
        Ok(_) => panic!("accepted with a key that nobody knows:\n{text}"),
    };
    assert!(wrong.contains("unknown_to_all"), "{wrong}");
    assert!(!wrong.contains(CANARY), "{wrong}");
}

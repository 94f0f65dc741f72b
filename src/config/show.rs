//! What is in force, and what a key means.

use super::keys::{self, Absent, Effect, Key};
use super::problem::did_you_mean;
use super::{Loaded, read};
use crate::domain::language::Language;
use crate::text::Texts;
use std::fmt;

impl Loaded {
    /// The effective configuration as TOML: defaults filled in, secrets hidden, and behind each
    /// value where it is from.
    pub fn show(&self) -> String {
        let mut shown = String::new();
        for (table, settings) in read::by_table(&self.settings) {
            if !shown.is_empty() {
                shown.push('\n');
            }
            match table.split_once('[') {
                Some((array, rest)) => match rest.split_once("].") {
                    Some((_, inner)) => shown.push_str(&format!("[{array}.{inner}]\n")),
                    None => shown.push_str(&format!("[[{array}]]\n")),
                },
                None => shown.push_str(&format!("[{table}]\n")),
            }
            for setting in settings {
                let name = &setting.name;
                match &setting.value {
                    Some(value) => {
                        shown.push_str(&format!("{name} = {value}  # {}\n", setting.origin));
                    }
                    None => shown.push_str(&format!("# {name} is {}\n", setting.origin)),
                }
            }
        }
        shown
    }
}

/// What a key or a table means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation(String);

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Explains `table.key`, a key alone, or a table; `Err` has the name that was probably meant.
pub fn explain(written: &str) -> Result<Explanation, Option<String>> {
    // As a file writes a table, and as a problem names one of several.
    let written = without_brackets(written.trim_matches(['[', ']']));
    let written = written.as_str();
    if let Some(sentence) = written.strip_prefix("texts") {
        return explain_texts(sentence.trim_start_matches('.'));
    }
    let by_path: Vec<_> = keys::ALL
        .iter()
        .filter(|key| key.path() == written)
        .collect();
    let by_name = || keys::ALL.iter().filter(|key| key.name == written).collect();
    let found = if by_path.is_empty() {
        by_name()
    } else {
        by_path
    };
    if !found.is_empty() {
        // A key in whose place a table may stand is explained with the keys of that.
        let with_table = |key: &&Key| of_key(key) + &of_tables(&key.path()).unwrap_or_default();
        // A table may be called as a key of another one is.
        let of_that_name = of_tables(written).filter(|_| keys::TABLES.contains(&written));
        let blocks = of_that_name
            .into_iter()
            .chain(found.into_iter().map(with_table));
        return Ok(Explanation(blocks.collect::<Vec<_>>().join("\n")));
    }
    if let Some(lines) = of_tables(written) {
        return Ok(Explanation(lines));
    }
    let paths: Vec<_> = keys::ALL.iter().map(|key| key.path()).collect();
    let names = keys::ALL.iter().map(|key| key.name).chain(keys::TABLES);
    let near = did_you_mean(written, paths.iter().map(String::as_str).chain(names));
    Err(near.map(str::to_owned))
}

/// `services.find_user` of `services[1].find_user`.
fn without_brackets(written: &str) -> String {
    let mut inside = false;
    let outside = |c: &char| {
        inside = match c {
            '[' => true,
            ']' => false,
            _ => return !inside,
        };
        false
    };
    written.chars().filter(outside).collect()
}

/// A line for each key of a table.
fn of_tables(written: &str) -> Option<String> {
    let of_table: Vec<_> = keys::ALL
        .iter()
        .filter(|key| key.table == written)
        .collect();
    let width = of_table.iter().map(|key| key.path().len()).max()?;
    let lines = of_table
        .iter()
        .map(|key| format!("{:width$}  {}\n", key.path(), key.about));
    Some(lines.collect())
}

fn of_key(key: &Key) -> String {
    let (holds, example) = match key.absent {
        Absent::Required(example) => ("required".to_owned(), Some(example)),
        Absent::Default(value) => (format!("default {value}"), None),
        Absent::Unset(what, example) => (format!("when not set: {what}"), Some(example)),
    };
    let mut text = format!("{}\n  {}\n  {}; {holds}\n", key.path(), key.about, key.form);
    if let Some(example) = example {
        text.push_str(&format!("  Example: {} = {example}\n", key.path()));
    }
    text.push_str(match key.effect {
        Effect::AtRestart => "  Needs a restart.\n",
        Effect::AtOnce if key.is_secret() => {
            "  `portero reload` reads file:/path again; a change behind env:NAME needs a restart.\n"
        }
        Effect::AtOnce => "  `portero reload` puts a change into effect.\n",
    });
    text
}

/// `es`, `es.KEY` or nothing.
fn explain_texts(rest: &str) -> Result<Explanation, Option<String>> {
    let (code, sentence) = rest.split_once('.').unwrap_or((rest, ""));
    let general = "[texts.es], [texts.en], [texts.pt]\n  \
         Sentences of Portero's to be said in other words; `portero config explain texts.es` lists them.\n";
    if code.is_empty() {
        return Ok(Explanation(general.to_owned()));
    }
    let language = Language::parse(code).map_err(|_| Some("texts.es".to_owned()))?;
    let mut text = String::new();
    let catalogue = Texts::default().catalogue(language);
    for (key, placeholders, words) in &catalogue {
        if !sentence.is_empty() && sentence != *key {
            continue;
        }
        text.push_str(&format!("texts.{code}.{key} = {}\n", read::as_text(words)));
        if !sentence.is_empty() && !placeholders.is_empty() {
            let placeholders: Vec<_> = placeholders
                .iter()
                .map(|name| format!("{{{name}}}"))
                .collect();
            text.push_str(&format!("  Filled in: {}\n", placeholders.join(", ")));
        }
    }
    if text.is_empty() && !sentence.is_empty() {
        let near = did_you_mean(sentence, catalogue.iter().map(|(key, _, _)| *key));
        return Err(near.map(|key| format!("texts.{code}.{key}")));
    }
    Ok(Explanation(text))
}

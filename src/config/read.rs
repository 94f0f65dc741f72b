//! A reader that walks the parsed TOML, takes one key after another and notes every problem
//! instead of stopping at the first.
//!
//! Its methods answer `None` only after they have noted a problem, so that a table is put together
//! with `?` once all its keys have been read.

mod convert;
mod files;
mod secrets;

pub(super) use convert::{
    Converted, as_text, choice, expected, list, number, printable, switch, text,
};
pub(super) use files::path_in;
pub(super) use secrets::OTHERS;

use super::keys::{self, Absent, Effect, Key};
use super::problem::{Position, Problem, Warning, did_you_mean, showable};
use convert::{as_toml, value_as_toml};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One effective setting, for `check --show` and for what a reload changes.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub table: String,
    pub name: String,
    /// As TOML; nothing when it is not set.
    pub value: Option<String>,
    /// Where the value comes from, as a comment.
    pub origin: String,
    /// When another value would hold.
    pub effect: Effect,
    /// Of what is in force by this key itself, whether or not people may see it: the secret, the
    /// content of the file.
    pub content: Content,
}

/// Stands for a value, to be compared with another one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Content([u8; 32]);

impl Content {
    /// What is not set.
    const NONE: Content = Content([0; 32]);

    fn of<'b>(parts: impl IntoIterator<Item = &'b [u8]>) -> Content {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Content(hash.finalize().into())
    }
}

// The digest of a weak secret would give it away.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(..)")
    }
}

/// A table of the file, or the absence of one.
pub(super) struct Table<'t> {
    /// As problems name it: `mail`, `services[2]`.
    path: String,
    /// As [`Key::table`] names it.
    kind: &'static str,
    at: Option<usize>,
    entries: Option<&'t DeTable<'t>>,
}

impl<'t> Table<'t> {
    pub fn has(&self, key: &Key) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key.name))
    }

    /// Whether a table stands in place of the value of `key`.
    pub fn has_inner(&self, key: &Key) -> bool {
        let entry = self.entries.and_then(|entries| entries.get(key.name));
        entry.is_some_and(|value| value.get_ref().is_table())
    }

    /// Names, places and values, for a table whose keys are not in the list.
    pub fn entries(&self) -> impl Iterator<Item = (&'t str, usize, &'t DeValue<'t>)> + use<'t> {
        let entries = self.entries.into_iter().flatten();
        entries.map(|(name, value)| (name.get_ref().as_ref(), name.span().start, value.get_ref()))
    }
}

enum Found<'t> {
    Written(&'t Spanned<DeValue<'t>>),
    Default(DeValue<'t>),
    Unset,
    Missing,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// All of it must be right.
    Server,
    /// A command about the store, which must work while a certificate is being renewed.
    Store,
}

pub(super) struct Reader<'a> {
    text: &'a str,
    folder: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    pub purpose: Purpose,
    pub problems: Vec<Problem>,
    pub warnings: Vec<Warning>,
    pub settings: Vec<Setting>,
    /// Place and key of each secret that is written in the file itself.
    pub secrets_in_file: Vec<(Position, String)>,
}

impl<'a> Reader<'a> {
    pub fn new(
        text: &'a str,
        folder: &'a Path,
        environment: &'a dyn Fn(&str) -> Option<String>,
        purpose: Purpose,
    ) -> Reader<'a> {
        Reader {
            text,
            folder,
            environment,
            purpose,
            problems: Vec::new(),
            warnings: Vec::new(),
            settings: Vec::new(),
            secrets_in_file: Vec::new(),
        }
    }

    // --- problems and warnings ---

    pub fn problem_at(&mut self, at: Option<usize>, key: String, words: impl Into<String>) {
        let position = at.map(|at| Position::of(self.text, at));
        // What a file says must not move the cursor of whoever reads about it.
        let words = words.into().replace(char::is_control, "\u{fffd}");
        self.problems.push(Problem {
            position,
            key,
            words,
            line: None,
        });
    }

    /// A problem of `table` as a whole.
    pub fn problem_of_table(&mut self, table: &Table<'_>, words: impl Into<String>) {
        self.problem_at(table.at, table.path.clone(), words);
    }

    /// A problem of a key of `table`, at its place if it is written, else at the table's.
    pub fn problem(&mut self, table: &Table<'_>, key: &Key, words: impl Into<String>) {
        let at = self.place(table, key);
        self.problem_at(at, format!("{}.{}", table.path, key.name), words);
    }

    pub fn warn(&mut self, table: &Table<'_>, key: &Key, words: impl Into<String>) {
        self.note(table, key, words.into(), false);
    }

    /// A warning that a protection is weaker by the operator's choice.
    pub fn weakens(&mut self, table: &Table<'_>, key: &Key, words: impl Into<String>) {
        self.note(table, key, words.into(), true);
    }

    fn note(&mut self, table: &Table<'_>, key: &Key, words: String, weakens: bool) {
        let at = self.place(table, key);
        self.warnings.push(Warning {
            position: at.map(|at| Position::of(self.text, at)),
            key: format!("{}.{}", table.path, key.name),
            words,
            weakens,
        });
    }

    fn place(&self, table: &Table<'_>, key: &Key) -> Option<usize> {
        let entry = table
            .entries
            .and_then(|entries| entries.get_key_value(key.name));
        entry.map(|(name, _)| name.span().start).or(table.at)
    }

    pub fn syntax_error(&mut self, error: &toml::de::Error) {
        let position = error.span().map(|span| Position::of(self.text, span.start));
        let line = position.and_then(|at| self.text.lines().nth(at.line - 1));
        self.problems.push(Problem {
            position,
            key: String::new(),
            words: format!("this is not TOML: {}", error.message()),
            line: line.and_then(showable),
        });
    }

    // --- tables ---

    /// Refuses what is not a table of ours at the top of the file.
    pub fn known_tables(&mut self, root: &DeTable<'_>) {
        for (name, value) in root {
            let written = name.get_ref().as_ref();
            if keys::TABLES.contains(&written) {
                continue;
            }
            let at = Some(name.span().start);
            let homes: Vec<_> = keys::ALL.iter().filter(|key| key.name == written).collect();
            let words = if let Some(table) = did_you_mean(written, keys::TABLES) {
                format!("unknown table; did you mean {table}?")
            } else if let (false, [first, ..]) = (value.get_ref().is_table(), homes.as_slice()) {
                format!("a key must be in a table; did you mean {}?", first.path())
            } else {
                format!("unknown table; there are {}", keys::TABLES.join(", "))
            };
            self.problem_at(at, printable(written), words);
        }
    }

    /// The table `kind`, which may be left out.
    pub fn table<'t>(&mut self, root: &'t DeTable<'t>, kind: &'static str) -> Table<'t> {
        let mut table = Table {
            path: kind.to_owned(),
            kind,
            at: None,
            entries: None,
        };
        if let Some((name, value)) = root.get_key_value(kind) {
            table.at = Some(name.span().start);
            table.entries = value.get_ref().as_table();
            match table.entries {
                Some(entries) => self.known_keys(&table, entries),
                None => self.problem_at(
                    table.at,
                    kind.to_owned(),
                    format!("must be a table; write [{kind}] and its keys below it"),
                ),
            }
        }
        table
    }

    /// Each `[[kind]]`, in order.
    pub fn tables<'t>(
        &mut self,
        root: &'t DeTable<'t>,
        kind: &'static str,
        count_max: usize,
    ) -> Vec<Table<'t>> {
        let Some((name, value)) = root.get_key_value(kind) else {
            return Vec::new();
        };
        let at = Some(name.span().start);
        let wrong = format!("write [[{kind}]] with two brackets above the keys of each one");
        let Some(array) = value.get_ref().as_array() else {
            self.problem_at(at, kind.to_owned(), wrong);
            return Vec::new();
        };
        if array.len() > count_max {
            let words = format!("there may be {count_max} at most, here are {}", array.len());
            self.problem_at(at, kind.to_owned(), words);
            return Vec::new();
        }
        let mut tables = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let path = format!("{kind}[{}]", index + 1);
            let at = Some(element.span().start);
            let Some(entries) = element.get_ref().as_table() else {
                self.problem_at(at, path, wrong.as_str());
                continue;
            };
            let table = Table {
                path,
                kind,
                at,
                entries: Some(entries),
            };
            self.known_keys(&table, entries);
            tables.push(table);
        }
        tables
    }

    /// The table that stands in place of the value of `key`, if one does.
    pub fn inner<'t>(
        &mut self,
        table: &Table<'t>,
        key: &'static Key,
        kind: &'static str,
    ) -> Option<Table<'t>> {
        let (name, value) = table.entries?.get_key_value(key.name)?;
        let entries = value.get_ref().as_table()?;
        let inner = Table {
            path: format!("{}.{}", table.path, key.name),
            kind,
            at: Some(name.span().start),
            entries: Some(entries),
        };
        self.known_keys(&inner, entries);
        Some(inner)
    }

    fn known_keys(&mut self, table: &Table<'_>, entries: &DeTable<'_>) {
        let names = || {
            keys::ALL
                .iter()
                .filter(|key| key.table == table.kind)
                .map(|key| key.name)
        };
        for (name, value) in entries {
            let written = name.get_ref().as_ref();
            if names().any(|known| known == written) || table.kind == "texts" {
                continue;
            }
            let elsewhere = keys::ALL.iter().find(|key| key.name == written);
            let words = if keys::TABLES.contains(&written) && value.get_ref().is_table() {
                format!(
                    "unknown key; a line that begins with `{written}.` belongs above the first [table]"
                )
            } else if let Some(near) = did_you_mean(written, names()) {
                format!("unknown key; did you mean {near}?")
            } else if let Some(key) = elsewhere {
                format!("unknown key; did you mean {}?", key.path())
            } else {
                let names: Vec<_> = names().collect();
                format!("unknown key; there are {}", names.join(", "))
            };
            let path = format!("{}.{}", table.path, printable(written));
            self.problem_at(Some(name.span().start), path, words);
        }
    }

    // --- values ---

    fn find<'t>(&mut self, table: &Table<'t>, key: &'static Key) -> Found<'t> {
        debug_assert_eq!(table.kind, key.table);
        if let Some(value) = table.entries.and_then(|entries| entries.get(key.name)) {
            return Found::Written(value);
        }
        match key.absent {
            Absent::Default(value) => {
                // The list of keys is ours; a test parses every default.
                let value = DeValue::parse(value).expect("defaults are TOML");
                Found::Default(value.into_inner())
            }
            Absent::Unset(..) => Found::Unset,
            Absent::Required(example) => {
                let table_too = match self.place(table, key) {
                    Some(_) => String::new(),
                    None => format!("[{}] and below it ", table.path),
                };
                let name = key.name;
                let words = format!("is missing; write for example {table_too}{name} = {example}");
                self.problem(table, key, words);
                Found::Missing
            }
        }
    }

    /// A key that is required or has a default.
    pub fn one<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        convert: impl FnOnce(&DeValue<'_>) -> Converted<T>,
    ) -> Option<T> {
        self.maybe(table, key, convert)?
    }

    /// A key that may be left out.
    pub fn maybe<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        convert: impl FnOnce(&DeValue<'_>) -> Converted<T>,
    ) -> Option<Option<T>> {
        let (value, at) = match self.find(table, key) {
            Found::Written(value) => (value.get_ref().clone(), Some(value.span().start)),
            Found::Default(value) => (value, None),
            Found::Unset => {
                self.unset(table, key);
                return Some(None);
            }
            Found::Missing => return None,
        };
        match convert(&value) {
            Ok(converted) => {
                let origin = match at {
                    Some(at) => format!("line {}", Position::of(self.text, at).line),
                    None => "default".to_owned(),
                };
                let mut shown = as_toml(&value);
                let content = Content::of([shown.as_bytes()]);
                if let (true, Some(query)) = (key.is_url(), shown.find('?')) {
                    // Some services want a key there.
                    shown.replace_range(query.., "?…\"");
                }
                self.set(table, key, Some(shown), &origin, content);
                Some(Some(converted))
            }
            Err(faults) => {
                for fault in faults {
                    let path = format!("{}.{}", table.path, key.name);
                    self.problem_at(fault.at.or(at), path, fault.words);
                }
                None
            }
        }
    }

    fn unset(&mut self, table: &Table<'_>, key: &Key) {
        self.set(table, key, None, "not set", Content::NONE);
    }

    fn set(
        &mut self,
        table: &Table<'_>,
        key: &Key,
        value: Option<String>,
        origin: &str,
        content: Content,
    ) {
        self.settings.push(Setting {
            table: table.path.clone(),
            name: key.name.to_owned(),
            value,
            origin: origin.to_owned(),
            effect: key.effect,
            content,
        });
    }

    /// A sentence in other words, for `--show`.
    pub fn sentence(&mut self, sentence: &crate::text::Override, at: usize) {
        self.settings.push(Setting {
            table: format!("texts.{}", sentence.language.code()),
            name: sentence.key.clone(),
            value: Some(as_text(&sentence.words)),
            origin: format!("line {}", Position::of(self.text, at).line),
            effect: Effect::AtOnce,
            content: Content::of([sentence.words.as_bytes()]),
        });
    }

    /// Says what holds instead of a key that was left out.
    pub fn derived(&mut self, key: &Key, value: &toml::Value, origin: &str) {
        // The key was read just before, so the search from the end is short.
        if let Some(setting) = self.settings.iter_mut().rev().find(|s| s.name == key.name) {
            setting.value = Some(value_as_toml(value));
            setting.origin = origin.to_owned();
        }
    }
}

/// Settings of one table, in the order they were read.
pub(super) fn by_table(settings: &[Setting]) -> Vec<(&str, Vec<&Setting>)> {
    let mut order: Vec<(&str, Vec<&Setting>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for setting in settings {
        let place = *places.entry(&setting.table).or_insert_with(|| {
            order.push((&setting.table, Vec::new()));
            order.len() - 1
        });
        order[place].1.push(setting);
    }
    order
}

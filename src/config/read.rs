//! A reader that walks the parsed TOML, takes one key after another and notes every problem
//! instead of stopping at the first.
//!
//! Its methods answer `None` only after they have noted a problem, so that a table is put together
//! with `?` once all its keys have been read.

use super::keys::{self, Absent, Effect, Key};
use super::problem::{Position, Problem, Warning, did_you_mean, showable};
use crate::domain::id::Secret;
use crate::services::Custody;
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest secret, whether written in the file or read from another; tokens seen are about 200.
const SECRET_BYTES_MAX: usize = 8 * 1024;
/// Longest certificate file; a bundle of every public authority is about 220 KiB.
const CERTIFICATES_BYTES_MAX: usize = 1024 * 1024;
/// Longest list in the file.
const LIST_MAX: usize = 64;

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

/// What a conversion found wrong, at a place of its own when it is one element of a list.
pub(super) struct Fault {
    at: Option<usize>,
    words: String,
}

impl<T: Into<String>> From<T> for Fault {
    fn from(words: T) -> Fault {
        Fault {
            at: None,
            words: words.into(),
        }
    }
}

/// A value or everything that is wrong with it.
pub(super) type Converted<T> = Result<T, Vec<Fault>>;

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
                let words = format!("is missing; write for example {} = {example}", key.name);
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

    // --- secrets ---

    /// A secret that must be there; `check` says what is wrong with it, without repeating it.
    pub fn secret(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<Secret> {
        self.maybe_secret(table, key, check)?
    }

    /// A secret that may be left out.
    pub fn maybe_secret(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<Option<Secret>> {
        match self.find(table, key) {
            Found::Written(value) => {
                let (secret, hidden) = self.custody(table, key, value, check)?;
                let content = Content::of([secret.reveal().as_bytes()]);
                self.set_secret(table, key, value, as_text(&hidden), content);
                Some(Some(secret))
            }
            Found::Default(_) | Found::Unset => {
                self.unset(table, key);
                Some(None)
            }
            Found::Missing => None,
        }
    }

    /// A text that must not be shown and is written in the file itself, which then is for its owner
    /// alone.
    pub fn maybe_hidden<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let value = match self.find(table, key) {
            Found::Written(value) => value,
            Found::Default(_) | Found::Unset => {
                self.unset(table, key);
                return Some(None);
            }
            Found::Missing => return None,
        };
        let position = Position::of(self.text, value.span().start);
        let path = format!("{}.{}", table.path, key.name);
        match value.get_ref().as_str().map(parse) {
            Some(Ok(parsed)) => {
                self.secrets_in_file.push((position, path));
                let content = Content::of(value.get_ref().as_str().map(str::as_bytes));
                self.set_secret(table, key, value, as_text(IN_FILE), content);
                Some(Some(parsed))
            }
            wrong => {
                let words = match wrong {
                    Some(Err(words)) => words,
                    _ => expected(key.form, value.get_ref()),
                };
                self.problem_at(Some(value.span().start), path, words);
                None
            }
        }
    }

    /// A secret that must be there, or `word` in its place for none: the operator types it here,
    /// where everybody sees it, so it is believed from nowhere else.
    pub fn secret_or(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        word: &str,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<Option<Secret>> {
        let written = table.entries.and_then(|entries| entries.get(key.name));
        match written {
            Some(value) if value.get_ref().as_str() == Some(word) => {
                // Two parts, so that it is no secret of the same letters.
                let content = Content::of([word.as_bytes(), &[]]);
                self.set_secret(table, key, value, as_text(word), content);
                Some(None)
            }
            _ => self.secret(table, key, check).map(Some),
        }
    }

    /// One secret or a list of up to `count_max`, at least one.
    pub fn secrets(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        count_max: usize,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<Vec<Secret>> {
        let Found::Written(value) = self.find(table, key) else {
            return None;
        };
        let elements = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().collect(),
            _ => vec![value],
        };
        if elements.is_empty() || elements.len() > count_max {
            let words = format!(
                "1 to {count_max} secrets are expected, here are {}",
                elements.len()
            );
            self.problem(table, key, words);
            return None;
        }
        let taken: Vec<_> = elements
            .into_iter()
            .map(|element| self.custody(table, key, element, check))
            .collect();
        let taken: Vec<_> = taken.into_iter().collect::<Option<_>>()?;
        let (secrets, hidden): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
        let hidden: Vec<_> = hidden.iter().map(|text| as_text(text)).collect();
        let content = Content::of(secrets.iter().map(|secret| secret.reveal().as_bytes()));
        let shown = format!("[{}]", hidden.join(", "));
        self.set_secret(table, key, value, shown, content);
        Some(secrets)
    }

    fn set_secret(
        &mut self,
        table: &Table<'_>,
        key: &Key,
        value: &Spanned<DeValue<'_>>,
        shown: String,
        content: Content,
    ) {
        let line = Position::of(self.text, value.span().start).line;
        self.set(table, key, Some(shown), &format!("line {line}"), content);
    }

    /// Follows `env:` and `file:`; the second part says where the secret is from, for `--show`.
    fn custody(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        value: &Spanned<DeValue<'_>>,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<(Secret, String)> {
        let path = format!("{}.{}", table.path, key.name);
        self.custody_of(path, value, check)
    }

    fn custody_of(
        &mut self,
        path: String,
        value: &Spanned<DeValue<'_>>,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<(Secret, String)> {
        let at = Some(value.span().start);
        let taken = match value.get_ref() {
            DeValue::String(text) => self.follow(text),
            other => Err(expected("\"env:NAME\" or \"file:/path\"", other)),
        };
        let taken = taken.and_then(|(secret, hidden)| {
            let text = secret.reveal();
            if text.is_empty() {
                Err("is empty".to_owned())
            } else if text.len() > SECRET_BYTES_MAX || text.chars().any(char::is_control) {
                Err(format!(
                    "a secret is one line of at most {SECRET_BYTES_MAX} bytes"
                ))
            } else {
                check(text).map(|()| (secret, hidden))
            }
        });
        match taken {
            Ok((secret, hidden)) => {
                if hidden == IN_FILE {
                    let position = Position::of(self.text, value.span().start);
                    self.secrets_in_file.push((position, path));
                }
                Some((secret, hidden))
            }
            Err(words) => {
                self.problem_at(at, path, words);
                None
            }
        }
    }

    /// Names and values of a table, such as headers. All values count as secrets but those of the
    /// names in `open`.
    pub fn named_secrets(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        open: &[&str],
        check_names: impl Fn(&[&str]) -> Result<(), String>,
        check: fn(&str) -> Result<(), String>,
    ) -> Option<Vec<(String, Secret)>> {
        let Found::Written(value) = self.find(table, key) else {
            self.unset(table, key);
            return Some(Vec::new());
        };
        let path = format!("{}.{}", table.path, key.name);
        let Some(entries) = value.get_ref().as_table() else {
            let words = expected("a table such as { Name = \"value\" }", value.get_ref());
            self.problem_at(Some(value.span().start), path, words);
            return None;
        };
        let names: Vec<&str> = entries.keys().map(|name| name.get_ref().as_ref()).collect();
        if let Err(words) = check_names(&names) {
            self.problem_at(Some(value.span().start), path, words);
            return None;
        }
        let mut taken = Vec::new();
        let mut shown = Vec::new();
        for (name, value) in entries {
            let name = name.get_ref().as_ref();
            let is_open = open.iter().any(|open| open.eq_ignore_ascii_case(name));
            let before = self.secrets_in_file.len();
            let one = self.custody_of(format!("{path}.{}", printable(name)), value, check);
            let hidden = match (&one, is_open) {
                (Some((secret, hidden)), true) if hidden == IN_FILE => {
                    self.secrets_in_file.truncate(before);
                    secret.reveal().to_owned()
                }
                (Some((_, hidden)), _) => hidden.clone(),
                (None, _) => String::new(),
            };
            shown.push(format!("{} = {}", as_text(name), as_text(&hidden)));
            taken.push(one.map(|(secret, _)| (name.to_owned(), secret)));
        }
        let taken = taken.into_iter().collect::<Option<Vec<_>>>()?;
        let parts =
            (taken.iter()).flat_map(|(name, secret)| [name.as_bytes(), secret.reveal().as_bytes()]);
        let content = Content::of(parts);
        let shown = format!("{{ {} }}", shown.join(", "));
        self.set_secret(table, key, value, shown, content);
        Some(taken)
    }

    /// A document of names, texts, numbers and switches, as a table or as JSON in quotes; `parse`
    /// makes something of it, asks about each text whether it is a secret, and says how people may
    /// see it.
    pub fn document<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        is_secret: impl Fn(&str, &str) -> bool,
        parse: impl FnOnce(
            &serde_json::Value,
            &mut dyn Custody,
        ) -> Result<(T, serde_json::Value), String>,
    ) -> Option<Option<T>> {
        let Found::Written(value) = self.find(table, key) else {
            self.unset(table, key);
            return Some(None);
        };
        let path = format!("{}.{}", table.path, key.name);
        let mut in_file = false;
        let mut secrets = Vec::new();
        let mut follow = |name: &str, text: &str| {
            let reference = text.starts_with("env:") || text.starts_with("file:");
            if !reference && !is_secret(name, text) {
                return Ok(None);
            }
            let (secret, hidden) = self.follow(text)?;
            in_file |= hidden == IN_FILE;
            secrets.push(secret.clone());
            Ok(Some(secret))
        };
        let document = match value.get_ref() {
            DeValue::String(text) => serde_json::from_str(text).map_err(|error| {
                format!(
                    "is not JSON (line {}, column {} of it)",
                    error.line(),
                    error.column()
                )
            }),
            table @ DeValue::Table(_) => as_json(table),
            other => Err(expected("a table, or JSON in quotes", other)),
        };
        match document.and_then(|document| parse(&document, &mut follow)) {
            Ok((parsed, shown)) => {
                if in_file {
                    let position = Position::of(self.text, value.span().start);
                    self.secrets_in_file.push((position, path));
                }
                let shown = shown.to_string();
                let hidden = secrets.iter().map(|secret| secret.reveal().as_bytes());
                let content = Content::of([shown.as_bytes()].into_iter().chain(hidden));
                self.set_secret(table, key, value, as_text(&shown), content);
                Some(Some(parsed))
            }
            Err(words) => {
                self.problem_at(Some(value.span().start), path, words);
                None
            }
        }
    }

    fn follow(&self, text: &str) -> Result<(Secret, String), String> {
        if let Some(name) = text.strip_prefix("env:") {
            let secret = self.variable(name)?;
            return Ok((secret, format!("(hidden, from env:{name})")));
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = self.path(path)?;
            let secret = secret_file(&path)?;
            return Ok((secret, format!("(hidden, from file:{})", path.display())));
        }
        let start = text.get(..5).unwrap_or(text).to_ascii_lowercase();
        if text.starts_with('$') || start.starts_with("env:") || start.starts_with("file:") {
            return Err("write \"env:NAME\" or \"file:/path\", in small letters".to_owned());
        }
        Ok((Secret::new(text), IN_FILE.to_owned()))
    }

    fn variable(&self, name: &str) -> Result<Secret, String> {
        // A secret pasted behind `env:` must not come back in the words of the problem.
        if !is_name_of_variable(name) {
            return Err("after env: comes the name of a variable, not its value: at most 64 capital letters, digits and _, such as env:PORTERO_ACCESS_TOKEN".to_owned());
        }
        (self.environment)(name)
            .map(Secret::new)
            .ok_or_else(|| format!("the environment variable {name} is not set"))
    }

    /// Where to find or make the key of the store: a file that need not be there yet, or a variable.
    pub fn store_key(&mut self, table: &Table<'_>, key: &'static Key) -> Option<super::StoreKey> {
        let (value, at) = match self.find(table, key) {
            Found::Written(value) => (value.get_ref().clone(), Some(value.span().start)),
            Found::Default(value) => (value, None),
            Found::Unset | Found::Missing => return None,
        };
        let taken = match value.as_str() {
            None => Err(expected("\"file:/path\" or \"env:NAME\"", &value)),
            Some(text) => match (text.strip_prefix("file:"), text.strip_prefix("env:")) {
                (Some(path), _) => self.path(path).and_then(|path| {
                    let shown = format!("file:{}", path.display());
                    match path.try_exists() {
                        Ok(false) => Ok(()),
                        // What is in it, the store judges.
                        Ok(true) => private_file(&path).map(drop),
                        Err(error) => Err(format!("cannot look at {}: {error}", path.display())),
                    }
                    .map(|()| (super::StoreKey::File(path), shown))
                }),
                (None, Some(name)) => self.variable(name).and_then(|secret| {
                    key_of_store(secret.reveal())?;
                    let shown = format!("(hidden, from env:{name})");
                    Ok((super::StoreKey::Given(secret), shown))
                }),
                (None, None) => Err("the key of the store must not be written here; write \"file:/path\" or \"env:NAME\"".to_owned()),
            },
        };
        match taken {
            Ok((key_of_store, shown)) => {
                let origin = match at {
                    Some(at) => format!("line {}", Position::of(self.text, at).line),
                    None => "default".to_owned(),
                };
                let content = match &key_of_store {
                    super::StoreKey::File(_) => Content::of([shown.as_bytes()]),
                    super::StoreKey::Given(secret) => Content::of([secret.reveal().as_bytes()]),
                };
                self.set(table, key, Some(as_text(&shown)), &origin, content);
                Some(key_of_store)
            }
            Err(words) => {
                self.problem_at(at, format!("{}.{}", table.path, key.name), words);
                None
            }
        }
    }

    // --- files ---

    /// The path, taken from the folder of the configuration file when relative.
    pub fn path(&self, text: &str) -> Result<PathBuf, String> {
        path_in(self.folder, text)
    }

    /// The folder of the configuration file.
    pub fn folder(&self) -> &'a Path {
        self.folder
    }

    /// What `parse` makes of a file of at most `bytes_max`; it refuses in words that follow the
    /// name of the file.
    pub fn file<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        bytes_max: usize,
        parse: impl FnOnce(Vec<u8>) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let folder = self.folder;
        let content = Cell::new(Content::NONE);
        let read = self.maybe(
            table,
            key,
            text(|path| {
                let path = folder.join(path);
                let bytes = file_of(&path, bytes_max)?;
                content.set(Content::of([bytes.as_slice()]));
                parse(bytes).map_err(|words| format!("{} {words}", path.display()))
            }),
        );
        // What was just set counts by what is in the file.
        if let (Some(Some(_)), Some(setting)) = (&read, self.settings.last_mut()) {
            setting.content = content.get();
        }
        read
    }

    /// Certificates in PEM.
    pub fn certificates(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
    ) -> Option<Option<Vec<u8>>> {
        self.file(table, key, CERTIFICATES_BYTES_MAX, |pem| {
            let begins = b"-----BEGIN CERTIFICATE-----";
            if pem.windows(begins.len()).any(|window| window == begins) {
                Ok(pem)
            } else {
                Err("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned())
            }
        })
    }
}

/// The path, taken from `folder` when relative.
pub(super) fn path_in(folder: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("a path is expected".to_owned());
    }
    Ok(folder.join(text))
}

/// A whole file that is not longer than expected.
fn file_of(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let meta = std::fs::metadata(path).map_err(cannot)?;
    // A pipe or a device would keep the opening waiting.
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if meta.len() > bytes_max as u64 {
        return Err(format!("{shown} is larger than {bytes_max} bytes"));
    }
    std::fs::read(path).map_err(cannot)
}

/// Whether it is written as the names of variables are, and not as a secret that fits that form: a
/// token of Meta's, or a key in hexadecimal digits.
fn is_name_of_variable(text: &str) -> bool {
    const NAME_BYTES_MAX: usize = 64;
    /// Those of Meta's are longer, and no name begins so and is.
    const TOKEN_BYTES_MIN: usize = 31;
    /// 128 bits.
    const KEY_DIGITS_MIN: usize = 32;
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_token = text.starts_with("EAA") && text.len() >= TOKEN_BYTES_MIN;
    let is_key = text.len() >= KEY_DIGITS_MIN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.bytes()
        .next()
        .is_some_and(|first| !first.is_ascii_digit())
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(is_plain)
        && !is_token
        && !is_key
}

/// What `--show` says of a secret that is written in the file.
const IN_FILE: &str = "(hidden, from this file)";

/// Permission bits of group and others: none of them may be set on a file with secrets (S-93).
pub(super) const OTHERS: u32 = 0o077;

/// A file that only its owner may read or write (S-93).
fn private_file(path: &Path) -> Result<std::fs::File, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
    // A pipe or a device would keep the opening waiting.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mode = file.metadata().map_err(cannot)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(format!(
            "{shown} is open to others than its owner (mode {mode:04o}); run: chmod 600 {shown}"
        ));
    }
    Ok(file)
}

/// A secret in a file of its own, without the newline at its end.
fn secret_file(path: &Path) -> Result<Secret, String> {
    use std::io::Read;
    let shown = path.display();
    let mut bytes = Vec::new();
    private_file(path)?
        .take(SECRET_BYTES_MAX as u64 + 3) // a longer one is refused for its length
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    let mut text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(format!("{shown} is empty"));
    }
    Ok(Secret::new(text))
}

fn key_of_store(text: &str) -> Result<(), String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(
            "the key of the store is 64 hexadecimal digits; `openssl rand -hex 32` makes one"
                .to_owned(),
        )
    }
}

// --- conversions ---

/// Text, made into something by `parse`.
pub(super) fn text<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Converted<T> {
    move |value| match value {
        DeValue::String(text) => parse(text).map_err(one_fault),
        other => Err(one_fault(expected("text in quotes", other))),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    choices: &[(&'static str, T)],
) -> impl FnOnce(&DeValue<'_>) -> Converted<T> {
    text(move |written| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        choices
            .iter()
            .find(|(name, _)| *name == written)
            .map(|(_, value)| *value)
            .ok_or_else(|| match did_you_mean(written, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"? (one of {})", names.join(", ")),
                None => format!("must be one of {}", names.join(", ")),
            })
    })
}

/// A whole number in a range; `why` says where the range is from, when that is not plain.
pub(super) fn number(
    range: RangeInclusive<u64>,
    why: &'static str,
) -> impl FnOnce(&DeValue<'_>) -> Converted<u64> {
    move |value| {
        let DeValue::Integer(integer) = value else {
            return Err(one_fault(expected("a whole number without quotes", value)));
        };
        let (least, most) = (range.start(), range.end());
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(one_fault(format!(
                "must be {least} to {most}, not {integer}{why}"
            ))),
        }
    }
}

/// `true` or `false`.
pub(super) fn switch(value: &DeValue<'_>) -> Converted<bool> {
    value
        .as_bool()
        .ok_or_else(|| vec![expected("true or false without quotes", value).into()])
}

/// A list of texts, each made into something by `parse`; a single text is a list of one.
pub(super) fn list<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Converted<Vec<T>> {
    move |value| {
        let elements = match value {
            DeValue::String(text) => return parse(text).map(|one| vec![one]).map_err(one_fault),
            DeValue::Array(elements) => elements,
            other => {
                return Err(one_fault(expected(
                    "a list of texts, such as [\"one\", \"two\"]",
                    other,
                )));
            }
        };
        if elements.len() > LIST_MAX {
            return Err(one_fault(format!("a list has {LIST_MAX} elements at most")));
        }
        let (mut parsed, mut faults) = (Vec::new(), Vec::new());
        for element in elements {
            let one = match element.get_ref() {
                DeValue::String(text) => parse(text),
                other => Err(expected("text in quotes", other)),
            };
            match one {
                Ok(one) => parsed.push(one),
                Err(words) => faults.push(Fault {
                    at: Some(element.span().start),
                    words,
                }),
            }
        }
        if faults.is_empty() {
            Ok(parsed)
        } else {
            Err(faults)
        }
    }
}

fn one_fault(words: String) -> Vec<Fault> {
    vec![words.into()]
}

/// "expected …, found …", without the value.
pub(super) fn expected(form: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "text in quotes",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {form}, found {found}")
}

/// A name from the file as problems may show it.
pub(super) fn printable(name: &str) -> String {
    const CHARACTERS_MAX: usize = 40; // longer than any key, shorter than any token
    if name.is_empty() || name.chars().count() > CHARACTERS_MAX || name.contains(char::is_control) {
        return "(a strange name)".to_owned();
    }
    name.to_owned()
}

/// The same value as JSON, for what JSON has.
fn as_json(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(switch) => (*switch).into(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| "has a number that is too large".to_owned())?
            .into(),
        DeValue::Float(float) => float
            .as_str()
            .parse::<f64>()
            .map_err(|_| "has a number that cannot be read".to_owned())?
            .into(),
        DeValue::Datetime(_) => return Err("has a date; write it in quotes".to_owned()),
        DeValue::Array(items) => items
            .iter()
            .map(|item| as_json(item.get_ref()))
            .collect::<Result<_, _>>()?,
        DeValue::Table(entries) => entries
            .iter()
            .map(|(name, value)| Ok((name.get_ref().to_string(), as_json(value.get_ref())?)))
            .collect::<Result<_, String>>()?,
    })
}

fn as_toml(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => as_text(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(|e| as_toml(e.get_ref())).collect();
            format!("[{}]", elements.join(", "))
        }
        DeValue::Table(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, value)| {
                    format!("{} = {}", as_text(name.get_ref()), as_toml(value.get_ref()))
                })
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        // No key takes one of these.
        DeValue::Float(_) | DeValue::Datetime(_) => String::new(),
    }
}

fn value_as_toml(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => as_text(text),
        other => other.to_string(),
    }
}

/// A basic string of TOML: the escapes of JSON are TOML's too, but for DEL.
pub(super) fn as_text(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
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

//! Secrets: written in the file itself, or followed to where `env:` and `file:` lead.
//!
//! Whatever is wrong with one, no problem repeats it, and what people are shown says only where it
//! is from (S-93).

use super::convert::as_json;
use super::{Content, Found, Reader, Table, as_text, expected, printable};
use crate::config::StoreKey;
use crate::config::keys::Key;
use crate::config::problem::Position;
use crate::domain::secret::Secret;
use crate::services::Custody;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use toml::Spanned;
use toml::de::DeValue;

/// Longest secret, whether written in the file or read from another; tokens seen are about 200.
const SECRET_BYTES_MAX: usize = 8 * 1024;

impl Reader<'_> {
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
    pub fn store_key(&mut self, table: &Table<'_>, key: &'static Key) -> Option<StoreKey> {
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
                    .map(|()| (StoreKey::File(path), shown))
                }),
                (None, Some(name)) => self.variable(name).and_then(|secret| {
                    key_of_store(secret.reveal())?;
                    let shown = format!("(hidden, from env:{name})");
                    Ok((StoreKey::Given(secret), shown))
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
                    StoreKey::File(_) => Content::of([shown.as_bytes()]),
                    StoreKey::Given(secret) => Content::of([secret.reveal().as_bytes()]),
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
pub(in crate::config) const OTHERS: u32 = 0o077;

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

//! What is wrong with a configuration, as people read it.
//!
//! A problem names the key and never repeats a value that could be a secret: the same text goes
//! to terminals, journals and tickets.

use super::keys;
use std::fmt;
use std::path::{Path, PathBuf};

/// A place in the file, counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl Position {
    /// Where the byte `offset` of `text` is; an offset beyond the end is the end.
    pub(super) fn of(text: &str, offset: usize) -> Position {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |newline| newline + 1);
        Position {
            line: before.iter().filter(|b| **b == b'\n').count() + 1,
            // Continuation bytes do not begin a character.
            column: before[start..]
                .iter()
                .filter(|b| **b & 0xC0 != 0x80)
                .count()
                + 1,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, when it is at a place.
    pub position: Option<Position>,
    /// Which key, as `table.name`; empty when the file itself is meant.
    pub key: String,
    /// What is wrong and what to write.
    pub words: String,
    /// The line of a syntax error, as far as it may be shown.
    pub line: Option<String>,
}

/// Everything that is wrong with a file, in the order of its lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, as it was named.
    pub file: PathBuf,
    /// One or more.
    pub list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(file: &Path, mut list: Vec<Problem>) -> Problems {
        // What has no place comes last.
        list.sort_by_key(|problem| (problem.position.is_none(), problem.position));
        Problems {
            file: file.to_owned(),
            list,
        }
    }

    /// The one problem that the file itself is.
    pub(super) fn of_file(file: &Path, position: Option<Position>, words: String) -> Problems {
        let problem = Problem {
            position,
            key: String::new(),
            words,
            line: None,
        };
        Problems::new(file, vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for problem in &self.list {
            write!(f, "{}", at(&self.file, problem.position))?;
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key)?;
            }
            writeln!(f, "{}", problem.words)?;
            if let (Some(line), Some(position)) = (&problem.line, problem.position) {
                let number = position.line.to_string();
                writeln!(f, "    {number} | {line}")?;
                let column = position.column.min(line.chars().count() + 1);
                let indent = number.len() + 3 + column - 1;
                writeln!(f, "    {:indent$}^", "")?;
            }
        }
        match self.list.len() {
            1 => write!(f, "1 problem in {file}"),
            count => write!(f, "{count} problems in {file}"),
        }
    }
}

impl std::error::Error for Problems {}

/// Something that works and deserves a second look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where, when it is at a place.
    pub position: Option<Position>,
    /// Which key, as `table.name`.
    pub key: String,
    /// What it means and what would be better.
    pub words: String,
    /// Whether a protection is weaker than it could be, by the operator's own choice.
    pub weakens: bool,
}

impl Warning {
    /// The warning with its place in `file`.
    pub fn line(&self, file: &Path) -> String {
        format!("{}{}: {}", at(file, self.position), self.key, self.words)
    }
}

fn at(file: &Path, position: Option<Position>) -> String {
    let file = file.display();
    match position {
        Some(Position { line, column }) => format!("{file}:{line}:{column}  "),
        None => format!("{file}  "),
    }
}

/// As much of a line with a syntax error as may be shown: all of it when its key is known not to
/// be a secret, else the part before the value, else nothing.
pub(super) fn showable(line: &str) -> Option<String> {
    const CHARACTERS_MAX: usize = 100; // a screen's width; longer lines say no more
    let line = line.trim_end();
    if line.is_empty() || line.chars().count() > CHARACTERS_MAX || line.contains(char::is_control) {
        return None;
    }
    let Some((left, value)) = line.split_once('=') else {
        let header = line.trim_start().starts_with('[');
        let name = line.trim_matches(|c: char| c == '[' || c == ']' || c == ' ');
        return (header && keys::TABLES.contains(&name)).then(|| line.to_owned());
    };
    let name = left.trim().rsplit('.').next().unwrap_or("").trim();
    let mut known = keys::ALL.iter().filter(|key| key.name == name).peekable();
    known.peek()?;
    if known.any(|key| key.is_secret()) || value.contains('=') {
        return Some(format!("{left}= …"));
    }
    Some(line.to_owned())
}

/// The candidate that was probably meant, if any is near.
pub(super) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    const NEAR: f64 = 0.84; // below it the suggestions are rather funny than helpful
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let written = plain(written);
    let nearness = |candidate: &str| {
        let candidate = plain(candidate);
        // One slip in a short name is near, whatever its share of the name.
        match strsim::osa_distance(&written, &candidate) {
            0 => 1.0,
            1 => 0.99,
            _ => strsim::jaro_winkler(&written, &candidate),
        }
    };
    candidates
        .into_iter()
        .map(|candidate| (nearness(candidate), candidate))
        .filter(|(nearness, _)| *nearness >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "á = 1\nñandú = 2\n";
        let of = |offset| {
            let Position { line, column } = Position::of(text, offset);
            (line, column)
        };
        assert_eq!(of(0), (1, 1));
        assert_eq!(of(3), (1, 3));
        assert_eq!(of(7), (2, 1));
        assert_eq!(of(9), (2, 2));
        assert_eq!(of(1_000), (3, 1));
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_cut_before_the_value() {
        let cases = [
            ("name = \"La Espiga", Some("name = \"La Espiga")),
            ("access_token = \"EAAG", Some("access_token = …")),
            (
                "whatsapp.access_token = EAAG",
                Some("whatsapp.access_token = …"),
            ),
            ("access_tokn = \"EAAG", None),
            ("name = \"x\" access_token = \"EAAG\"", Some("name = …")),
            ("access_token \"EAAG\"", None),
            ("\"EAAG", None),
            ("[whatsapp", Some("[whatsapp")),
            ("[EAAG", None),
        ];
        for (line, shown) in cases {
            assert_eq!(showable(line).as_deref(), shown, "{line}");
        }
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let names = ["verify_token", "access_token", "app_secrets"];
        let meant = |written| did_you_mean(written, names);
        assert_eq!(meant("verify_tokn"), Some("verify_token"));
        assert_eq!(meant("verifyToken"), Some("verify_token"));
        assert_eq!(meant("app-secret"), Some("app_secrets"));
        assert_eq!(meant("colour"), None);
    }
}

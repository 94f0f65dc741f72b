//! What a check found, and how it is shown.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// As it should be.
    Fine,
    /// Works, and somebody should know it.
    Look,
    /// Does not work, or soon will not.
    Wrong,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Fine => "fine",
            Verdict::Look => "look",
            Verdict::Wrong => "WRONG",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Verdict::Fine => "fine",
            Verdict::Look => "worth_a_look",
            Verdict::Wrong => "wrong",
        }
    }
}

/// What `--fix` can do about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fix {
    /// Let the app have the account's webhooks.
    Subscribe,
    /// Let webhooks tell when a person's account may be in other hands.
    IdentityCheck,
}

/// One thing that was looked at. Nothing in it is a secret, a number or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at.
    pub name: String,
    pub verdict: Verdict,
    /// How it stands.
    pub what: String,
    /// The one thing to do.
    pub advice: Option<String>,
    pub fix: Option<Fix>,
    /// Whether nobody answered at all.
    pub is_silence: bool,
}

impl Finding {
    fn new(name: &str, verdict: Verdict, what: impl Into<String>) -> Finding {
        Finding {
            name: name.to_owned(),
            verdict,
            what: what.into(),
            advice: None,
            fix: None,
            is_silence: false,
        }
    }

    pub fn fine(name: &str, what: impl Into<String>) -> Finding {
        Finding::new(name, Verdict::Fine, what)
    }

    pub fn look(name: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            advice: Some(advice.into()),
            ..Finding::new(name, Verdict::Look, what)
        }
    }

    pub fn wrong(name: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            advice: Some(advice.into()),
            ..Finding::new(name, Verdict::Wrong, what)
        }
    }

    pub fn silence(name: &str, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding {
            is_silence: true,
            ..Finding::wrong(name, what, advice)
        }
    }

    pub fn with(self, fix: Fix) -> Finding {
        Finding {
            fix: Some(fix),
            ..self
        }
    }

    pub fn as_json(&self) -> Value {
        json!({"name": self.name, "verdict": self.verdict.key(), "what": self.what,
            "advice": self.advice, "canBeFixed": self.fix.is_some()})
    }

    /// Lines for people; `None` for a width without end.
    pub fn lines(&self, width: Option<usize>) -> String {
        let width = width.unwrap_or(usize::MAX);
        let (head, indent) = if width < NARROW {
            (format!("{:5}  {}", self.verdict.word(), self.name), 7)
        } else {
            let head = format!("{:5}  {:NAME_COLUMNS$}", self.verdict.word(), self.name);
            (head, 7 + NAME_COLUMNS + 1)
        };
        let margin = " ".repeat(indent);
        let mut text = head;
        let mut lines = wrapped(&self.what, width.saturating_sub(indent)).into_iter();
        if width < NARROW || self.name.width() > NAME_COLUMNS {
            text.push('\n');
        } else {
            text.push(' ');
            text.push_str(&lines.next().unwrap_or_default());
            text.push('\n');
        }
        for line in lines {
            text.push_str(&format!("{margin}{line}\n"));
        }
        if let Some(advice) = &self.advice {
            let mut mark = "→";
            for line in wrapped(advice, width.saturating_sub(indent + 2)) {
                text.push_str(&format!("{margin}{mark} {line}\n"));
                mark = " ";
            }
        }
        text
    }
}

/// Columns of the names where they stand beside what was found.
const NAME_COLUMNS: usize = 16;

/// Columns of a terminal below which they stand above it.
const NARROW: usize = 66;

/// The text in lines of at most so many columns, where its words allow it.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width().saturating_add(1 + word.width()) <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_keeps_within_the_screen() {
        let finding = Finding::wrong(
            "Meta token",
            "it has expired 3 days ago",
            "write a permanent token of a system user in whatsapp.access_token",
        );
        for width in [40, 60, 80, 120] {
            let lines = finding.lines(Some(width));
            assert!(lines.lines().all(|line| line.width() <= width), "{lines}");
            let words: Vec<&str> = lines.split_whitespace().collect();
            let whole = "WRONG Meta token it has expired 3 days ago → write a permanent token of a system user in whatsapp.access_token";
            assert_eq!(words.join(" "), whole);
        }
        assert_eq!(finding.lines(None).lines().count(), 2);
        assert_eq!(
            Finding::fine("store", "whole").lines(Some(80)),
            "fine   store            whole\n"
        );
    }
}

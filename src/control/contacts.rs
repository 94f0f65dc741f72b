//! The people who wrote, as the command line sees them, and what it does for them.
//!
//! In lists nobody is named: there is the `userUuid`, and the end of the number. Who asks for one
//! person sees whom that person is signed in as; who asks for everything gets everything.

use super::Answer;
use crate::app::{App, Forgotten, Whom, rfc_3339};
use crate::domain::contact::Contact;
use crate::domain::id::{ContactId, EmailAddress, Malformed, WaId};
use crate::domain::time::Timestamp;
use crate::store::CopyError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Contacts listed in one answer; who wants more asks again.
pub const LIST_CONTACTS_MAX: usize = 1_000;

/// Whom a command means, as it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WhomText {
    /// A `userUuid`.
    User(String),
    /// A number, as people write it.
    Number(String),
    /// A mail address.
    Email(String),
}

impl WhomText {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(&self) -> Result<Whom, Malformed> {
        match self {
            WhomText::User(text) => ContactId::parse(text.trim()).map(Whom::User),
            WhomText::Email(text) => EmailAddress::parse(text.trim()).map(Whom::Email),
            WhomText::Number(text) => {
                let text = text.trim();
                let international = text.strip_prefix('+').or_else(|| text.strip_prefix("00"));
                let separator = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/');
                let digits = international.unwrap_or(text).replace(separator, "");
                WaId::parse(&digits).map(Whom::Number)
            }
        }
    }
}

/// A contact in a list. Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactLine {
    /// `userUuid`.
    pub id: String,
    /// The end of the number, when it is shown.
    pub number_ending: Option<String>,
    /// The language of the chat.
    pub language: String,
    /// When the contact first wrote.
    pub created_at_ms: u64,
    /// When the contact last wrote.
    pub last_message_at_ms: u64,
    /// What the contact is signed in to.
    pub bindings: Vec<BindingLine>,
}

/// What a contact is signed in to. Its moment is in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingLine {
    /// The service.
    pub service: String,
    /// How it was proved.
    pub proof: String,
    /// When it was proved.
    pub proved_at_ms: u64,
    /// What it is good for now.
    pub scope: String,
    /// As whom; only where one person is asked for.
    pub account: Option<AccountLine>,
}

/// As whom a contact is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    /// The service's own id of the user.
    pub id: String,
    /// What people call the user.
    pub name: String,
    /// The address on file.
    pub email: Option<String>,
    /// The company.
    pub company: String,
}

/// What forgetting came to, or would come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenLine {
    /// The contacts' `userUuid`.
    pub contacts: Vec<String>,
    /// How many records of each kind.
    pub counts: BTreeMap<String, usize>,
    /// Tokens in memory.
    pub tokens: usize,
    /// Users of the built-in directory with this address, who stay.
    pub directory_users: usize,
    /// Why something may be left on the disk for now.
    pub unfinished: Option<String>,
}

impl From<Forgotten> for ForgottenLine {
    fn from(forgotten: Forgotten) -> ForgottenLine {
        let counts = forgotten.counts.into_iter();
        ForgottenLine {
            contacts: (forgotten.contacts.iter())
                .map(ContactId::to_string)
                .collect(),
            counts: counts
                .map(|(name, count)| (name.to_owned(), count))
                .collect(),
            tokens: forgotten.tokens,
            directory_users: forgotten.directory_users,
            unfinished: forgotten.unfinished,
        }
    }
}

fn contact_line(app: &App, contact: &Contact, with_accounts: bool) -> ContactLine {
    let (now, policy) = (app.now(), &app.settings().policy);
    // They end with the next message; nothing can be done with them until then.
    let stand = contact.outlived(now, policy).is_none();
    let bindings = contact.bindings.iter().filter(|_| stand);
    ContactLine {
        id: contact.id.to_string(),
        number_ending: contact.number_ending().map(str::to_owned),
        language: contact.language.code().to_owned(),
        created_at_ms: contact.created_at.0,
        last_message_at_ms: contact.last_message_at.0,
        bindings: bindings
            .map(|binding| BindingLine {
                service: binding.service.as_str().to_owned(),
                proof: binding.proof.name().to_owned(),
                proved_at_ms: binding.proved_at.0,
                scope: binding.scope(now, policy).name().to_owned(),
                account: with_accounts.then(|| AccountLine {
                    id: binding.user_id.clone(),
                    name: binding.name.clone(),
                    email: (binding.email.as_ref()).map(|email| email.as_str().to_owned()),
                    company: binding.company.name.clone(),
                }),
            })
            .collect(),
    }
}

pub(super) fn list(app: &App, after: Option<&str>) -> Result<Answer, Answer> {
    let after = after.map(ContactId::parse).transpose().map_err(wrong)?;
    let contacts = app.contacts_after(after, LIST_CONTACTS_MAX)?;
    let lines = contacts.iter();
    Ok(Answer::Contacts {
        contacts: lines
            .map(|contact| contact_line(app, contact, false))
            .collect(),
    })
}

pub(super) fn show(app: &App, whom: &WhomText) -> Result<Answer, Answer> {
    let (contacts, not_written_down) = app.show_contacts(&whom.parse().map_err(wrong)?)?;
    let lines = contacts.iter();
    Ok(Answer::Shown {
        contacts: lines
            .map(|contact| contact_line(app, contact, true))
            .collect(),
        not_written_down: not_written_down.map(|error| error.to_string()),
    })
}

pub(super) fn log_out(app: &App, whom: &WhomText) -> Result<Answer, Answer> {
    let (ended, contacts) = app.log_out(&whom.parse().map_err(wrong)?)?;
    Ok(Answer::LoggedOut { ended, contacts })
}

pub(super) fn forget(app: &App, whom: &WhomText, dry_run: bool) -> Result<Answer, Answer> {
    let whom = whom.parse().map_err(wrong)?;
    // A number or an address may be in a copy of the store although nobody here has it; a name that
    // nobody has been given is a slip.
    if matches!(whom, Whom::User(_)) && app.find_contacts(&whom)?.is_empty() {
        return Ok(Answer::NoSuchContact);
    }
    Ok(Answer::Forgotten(Box::new(match dry_run {
        true => app.would_forget(&whom)?.into(),
        false => app.forget(&whom)?.into(),
    })))
}

pub(super) fn export(app: &App, whom: &WhomText) -> Result<Answer, Answer> {
    let Some(export) = app.export(&whom.parse().map_err(wrong)?)? else {
        return Ok(Answer::NoSuchContact);
    };
    let mut kept = json!(export.kept);
    if let Some(kept) = kept.as_object_mut() {
        kept.values_mut().for_each(make_readable);
    }
    let contacts = export.contacts.iter();
    Ok(Answer::Exported {
        everything: json!({
            "exportedAt": rfc_3339(app.now()),
            "userUuids": contacts.map(|contact| contact.id.to_string()).collect::<Vec<_>>(),
            "kept": kept,
            "directory": export.directory,
        }),
    })
}

pub(super) fn back_up(app: &App, path: &Path) -> Result<Answer, Answer> {
    if !path.is_absolute() {
        return Err(Answer::refused("the path of a copy begins with a slash"));
    }
    match app.back_up(path) {
        Ok(copied) => Ok(Answer::BackedUp {
            records: copied.records,
            bytes: copied.bytes,
        }),
        Err(error @ CopyError::Cancelled) => Ok(Answer::NotBackedUp {
            reason: format!("{error} Make it again."),
        }),
        Err(error) => Ok(Answer::NotBackedUp {
            reason: error.to_string(),
        }),
    }
}

fn wrong(words: Malformed) -> Answer {
    Answer::refused(words)
}

/// Moments of this century so far and of its beginning, in milliseconds since 1970. No count that
/// is kept is as great.
const MOMENTS_MS: std::ops::Range<u64> = 946_684_800_000..4_102_444_800_000;

/// Writes moments as people write them, and ids and digests as hexadecimal digits.
fn make_readable(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(ms) = number.as_u64().filter(|ms| MOMENTS_MS.contains(ms)) {
                *value = rfc_3339(Timestamp(ms)).into();
            }
        }
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> = (items.iter())
                .map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect();
            match bytes.filter(|bytes| matches!(bytes.len(), 16 | 32)) {
                Some(bytes) => {
                    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                    *value = digits.collect::<String>().into();
                }
                None => items.iter_mut().for_each(make_readable),
            }
        }
        Value::Object(fields) => {
            for (name, mut value) in std::mem::take(fields) {
                let was_number = value.is_number();
                make_readable(&mut value);
                let is_moment = was_number && value.is_string();
                // A moment that is written out is no count of milliseconds any more; but nothing may
                // take the place of something else. Names come in order, the shorter one first.
                let bare = name.strip_suffix("_ms").filter(|_| is_moment);
                let bare = bare.filter(|bare| !fields.contains_key(*bare));
                fields.insert(bare.map(str::to_owned).unwrap_or(name), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_that_is_written_out_is_not_called_milliseconds() {
        let mut kept = json!({
            "at_ms": 1_800_000_000_000_u64,
            "tries": [{ "ends_at_ms": 1_800_000_000_001_u64, "begun": 1_800_000_000_002_u64 }],
            "waits_ms": 500,
            "said_ms": "soon",
            "sent": 5,
            "sent_ms": 1_800_000_000_003_u64,
        });
        make_readable(&mut kept);
        assert_eq!(
            kept,
            json!({
                "at": "2027-01-15T08:00:00Z",
                "tries": [{ "ends_at": "2027-01-15T08:00:00.001Z", "begun": "2027-01-15T08:00:00.002Z" }],
                "waits_ms": 500,
                "said_ms": "soon",
                "sent": 5,
                "sent_ms": "2027-01-15T08:00:00.003Z",
            })
        );
    }
}

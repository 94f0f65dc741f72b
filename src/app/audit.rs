//! What was written down, for whoever asks later.

use super::{App, Failed, Shared, Transaction};
use crate::domain::id::ContactId;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::record::{self, AuditCheck, AuditLine, AuditPlace};
use std::sync::Arc;

/// Lines listed in one answer; who wants more asks again.
pub const AUDIT_LINES_LISTED_MAX: usize = 500;

/// Lines checked in one answer: two digests each, well below a second in all.
pub const AUDIT_LINES_CHECKED_MAX: usize = 20_000;

/// What an operator did at the command line, as the audit names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorAct {
    /// Had another configuration taken over.
    Reloaded,
    /// Added a user to the built-in directory.
    UserAdded,
    /// Described a user anew who was there.
    UserChanged,
    /// Gave a user a password.
    PasswordSet,
    /// Added or changed many users at once.
    UsersImported,
    /// Removed a user.
    UserRemoved,
    /// Had a signing key made.
    KeyRotated,
    /// Dropped a signing key.
    KeyRevoked,
    /// Got all that is kept about somebody.
    Exported,
    /// Looked at whom a chat is signed in as.
    Shown,
    /// Had events told once more.
    EventsReplayed,
    /// Made a copy of the store.
    BackedUp,
    /// Put a copy in the place of the store.
    Restored,
    /// Had something tried again that was given up.
    LetterRetried,
    /// Dropped something that was given up or waited.
    LetterDropped,
}

impl OperatorAct {
    /// Every act.
    pub const ALL: [OperatorAct; 15] = [
        OperatorAct::Reloaded,
        OperatorAct::UserAdded,
        OperatorAct::UserChanged,
        OperatorAct::PasswordSet,
        OperatorAct::UsersImported,
        OperatorAct::UserRemoved,
        OperatorAct::KeyRotated,
        OperatorAct::KeyRevoked,
        OperatorAct::Exported,
        OperatorAct::Shown,
        OperatorAct::EventsReplayed,
        OperatorAct::BackedUp,
        OperatorAct::Restored,
        OperatorAct::LetterRetried,
        OperatorAct::LetterDropped,
    ];

    /// Its name in the audit.
    pub fn event(self) -> &'static str {
        match self {
            OperatorAct::Reloaded => "configuration.reloaded",
            OperatorAct::UserAdded => "user.added",
            OperatorAct::UserChanged => "user.changed",
            OperatorAct::PasswordSet => "user.password_set",
            OperatorAct::UsersImported => "user.imported",
            OperatorAct::UserRemoved => "user.removed",
            OperatorAct::KeyRotated => "key.rotated",
            OperatorAct::KeyRevoked => "key.revoked",
            OperatorAct::Exported => "contact.exported",
            OperatorAct::Shown => "contact.shown",
            OperatorAct::EventsReplayed => "events.replayed",
            OperatorAct::BackedUp => "store.backed_up",
            OperatorAct::Restored => "store.restored",
            OperatorAct::LetterRetried => "letter.retried",
            OperatorAct::LetterDropped => "letter.dropped",
        }
    }

    /// What is written down of it where no [`App`] does it.
    pub fn line(self, now: Timestamp) -> AuditLine {
        AuditLine {
            at_ms: now.0,
            event: self.event().to_owned(),
            contact: String::new(),
            number_ending: None,
            directory_user: None,
            about: None,
            link: None,
        }
    }
}

/// Whom or what an act is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ActOn {
    /// Nothing that would have a name.
    Nothing,
    /// A contact.
    Contact(ContactId),
    /// A user of the built-in directory, by id.
    DirectoryUser(String),
    /// Something that identifies nobody, for it is never erased: the id of a key, counts.
    Thing(String),
}

/// Names of keys in one line; more is another configuration rather than a change.
const KEYS_MAX: usize = 100;

impl App {
    /// Writes down that these keys have another value now.
    pub fn note_reload(&self, keys: &[String]) -> Result<(), Failed> {
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        let mut about = keys[..keys.len().min(KEYS_MAX)].join(", ");
        if keys.len() > KEYS_MAX {
            about.push_str(&format!(" and {} more", keys.len() - KEYS_MAX));
        }
        Ok(self.update(move |writer| {
            let about = ActOn::Thing(about.clone());
            shared.note_act(writer, OperatorAct::Reloaded, about, now)
        })?)
    }

    /// Up to [`AUDIT_LINES_LISTED_MAX`] lines before the one of this number, newest first.
    pub fn audit_before(&self, before: Option<u64>) -> Result<Vec<(u64, AuditLine)>, StoreError> {
        (self.shared.store)
            .view(|reader| record::audit_before(reader, before, AUDIT_LINES_LISTED_MAX))
    }

    /// Whether a line was about somebody, and whom was erased.
    pub fn is_erased(&self, line: &AuditLine) -> bool {
        line.is_erased(&self.shared.keys)
    }

    /// Checks up to [`AUDIT_LINES_CHECKED_MAX`] lines of the chain after `after`, where the last
    /// check ended.
    pub fn verify_audit(&self, after: Option<&AuditPlace>) -> Result<AuditCheck, StoreError> {
        let keys = &self.shared.keys;
        (self.shared.store)
            .view(|reader| record::verify_audit(reader, keys, after, AUDIT_LINES_CHECKED_MAX))
    }
}

impl Shared {
    /// Writes down what an operator did, in the transaction in which it is done.
    pub(super) fn note_act(
        &self,
        writer: &mut Transaction<'_>,
        act: OperatorAct,
        on: ActOn,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut line = act.line(now);
        match on {
            ActOn::Nothing => {}
            ActOn::Contact(id) => line.contact = id.to_string(),
            ActOn::DirectoryUser(id) => line.directory_user = Some(id),
            ActOn::Thing(thing) => line.about = Some(thing),
        }
        record::put_audit(writer, &self.keys, self.next_number(), line)
    }
}

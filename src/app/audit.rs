//! What was written down, for whoever asks later.

use super::{App, Failed};
use crate::store::StoreError;
use crate::store::record::{self, AuditCheck, AuditLine, AuditPlace};
use std::sync::Arc;

/// Lines listed in one answer; who wants more asks again.
pub const AUDIT_LINES_LISTED_MAX: usize = 500;

/// Lines checked in one answer: two digests each, well below a second in all.
pub const AUDIT_LINES_CHECKED_MAX: usize = 20_000;

/// A configuration was taken over.
const RELOADED: &str = "configuration.reloaded";

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
            let line = AuditLine {
                at_ms: now.0,
                event: RELOADED.to_owned(),
                contact: String::new(),
                number_ending: None,
                about: Some(about.clone()),
                link: None,
            };
            record::put_audit(writer, &shared.keys, shared.next_number(), line)
        })?)
    }

    /// Up to [`AUDIT_LINES_LISTED_MAX`] lines before the one of this number, newest first.
    pub fn audit_before(&self, before: Option<u64>) -> Result<Vec<(u64, AuditLine)>, StoreError> {
        (self.shared.store)
            .view(|reader| record::audit_before(reader, before, AUDIT_LINES_LISTED_MAX))
    }

    /// Checks up to [`AUDIT_LINES_CHECKED_MAX`] lines of the chain after `after`, where the last
    /// check ended.
    pub fn verify_audit(&self, after: Option<&AuditPlace>) -> Result<AuditCheck, StoreError> {
        let keys = &self.shared.keys;
        (self.shared.store)
            .view(|reader| record::verify_audit(reader, keys, after, AUDIT_LINES_CHECKED_MAX))
    }
}

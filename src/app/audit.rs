//! What was written down, for whoever asks later.

use super::App;
use crate::store::StoreError;
use crate::store::record::{self, AuditCheck, AuditLine, AuditPlace};

/// Lines listed in one answer; who wants more asks again.
pub const AUDIT_LINES_LISTED_MAX: usize = 500;

/// Lines checked in one answer: two digests each, well below a second in all.
pub const AUDIT_LINES_CHECKED_MAX: usize = 20_000;

impl App {
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

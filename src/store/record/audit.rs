//! What is written down for later questions.

use super::outbox::entry_id;
use super::{Sweep, collect, read, sweep, write};
use crate::domain::id::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// What, as a dotted name.
    pub event: String,
    /// The contact's UUID.
    pub contact: String,
    /// The end of the contact's number, when it is shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number_ending: Option<String>,
}

/// Appends a line under a number that grows.
pub fn put_audit(writer: &mut dyn Writer, number: u64, line: &AuditLine) -> Result<(), StoreError> {
    writer.put(
        Table::Audit,
        &number.to_be_bytes(),
        &write(Table::Audit, line)?,
    )
}

/// The newest `limit` lines, newest first.
pub fn audit(reader: &dyn Reader, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
    collect(
        reader,
        Table::Audit,
        KeyRange::all(),
        Order::Backward,
        limit,
        |_, bytes| read(Table::Audit, bytes),
    )
}

/// The newest number in use in the audit.
pub fn last_audit_number(reader: &dyn Reader) -> Result<u64, StoreError> {
    let mut last = 0;
    reader.scan(
        Table::Audit,
        KeyRange::all(),
        Order::Backward,
        &mut |key, _| {
            last = entry_id(key, Table::Audit).map_or(last, |id| id.0);
            ControlFlow::Break(())
        },
    )?;
    Ok(last)
}

/// Sweeps audit lines from before `before`.
pub fn forget_audit(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Audit, cursor, looks, |bytes| {
        let line: AuditLine = read(Table::Audit, bytes)?;
        Ok(line.at_ms < before.0)
    })
}

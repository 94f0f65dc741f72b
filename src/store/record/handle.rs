//! What was handed out for a sign-in on the web.

use super::{Keys, Sweep, read, sweep, write};
use crate::domain::id::{ContactId, MappingId};
use crate::domain::secret::{MappingHash, ReturnCode};
use crate::domain::time::Timestamp;
use crate::store::{Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};

/// To whom something belongs that was handed out for a sign-in on the web: a link's hash, or a
/// return code. Found by its digest; the secret itself is nowhere (S-37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Who asked for the link.
    pub contact: ContactId,
    /// Which link.
    pub mapping: MappingId,
    /// When it was handed out.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct HandleRecord {
    contact: [u8; 16],
    mapping: [u8; 16],
    at: u64,
}

fn handle(reader: &dyn Reader, key: &[u8; 16]) -> Result<Option<Handle>, StoreError> {
    let Some(bytes) = reader.get(Table::Handle, key)? else {
        return Ok(None);
    };
    let record: HandleRecord = read(Table::Handle, &bytes)?;
    Ok(Some(Handle {
        contact: ContactId(record.contact),
        mapping: MappingId(record.mapping),
        at: Timestamp(record.at),
    }))
}

fn put_handle(writer: &mut dyn Writer, key: &[u8; 16], handle: &Handle) -> Result<(), StoreError> {
    let record = HandleRecord {
        contact: handle.contact.0,
        mapping: handle.mapping.0,
        at: handle.at.0,
    };
    writer.put(Table::Handle, key, &write(Table::Handle, &record)?)
}

/// To whom a link's hash belongs.
pub fn handle_of_hash(
    reader: &dyn Reader,
    keys: &Keys,
    hash: &MappingHash,
) -> Result<Option<Handle>, StoreError> {
    handle(reader, &keys.mapping_hash(hash))
}

/// To whom a return code belongs.
pub fn handle_of_return_code(
    reader: &dyn Reader,
    keys: &Keys,
    code: &ReturnCode,
) -> Result<Option<Handle>, StoreError> {
    handle(reader, &keys.return_code(code))
}

/// Stores to whom a link's hash belongs.
pub fn put_handle_of_hash(
    writer: &mut dyn Writer,
    keys: &Keys,
    hash: &MappingHash,
    handle: &Handle,
) -> Result<(), StoreError> {
    put_handle(writer, &keys.mapping_hash(hash), handle)
}

/// Stores to whom a return code belongs.
pub fn put_handle_of_return_code(
    writer: &mut dyn Writer,
    keys: &Keys,
    code: &ReturnCode,
    handle: &Handle,
) -> Result<(), StoreError> {
    put_handle(writer, &keys.return_code(code), handle)
}

/// Sweeps handles handed out before `before`.
pub fn forget_handles(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Handle, cursor, looks, |bytes| {
        let record: HandleRecord = read(Table::Handle, bytes)?;
        Ok(record.at < before.0)
    })
}

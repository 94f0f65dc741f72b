//! What is to be handed on to the bot, as it came: kept for a contact that is not known yet, or
//! waiting beside its outbox entry.

use super::{VERSION, damaged};
use crate::domain::delivery::{EntryId, SignedBody};
use crate::domain::id::{ContactId, MessageId};
use crate::store::{Reader, StoreError, Table, Writer};

/// Whose body it is. Keys of one kind are never those of the other: they differ in length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyOf {
    /// The message that this contact wrote first; see [`kept_body`].
    Contact(ContactId),
    /// What this entry hands on, also when it has become a dead letter.
    Entry(EntryId),
}

impl BodyOf {
    pub(super) fn key(self) -> Vec<u8> {
        match self {
            BodyOf::Contact(contact) => contact.0.to_vec(),
            BodyOf::Entry(entry) => entry.0.to_be_bytes().to_vec(),
        }
    }
}

/// The body, if it is still there.
pub fn body(reader: &dyn Reader, of: BodyOf) -> Result<Option<SignedBody>, StoreError> {
    let Some(record) = reader.get(Table::Body, &of.key())? else {
        return Ok(None);
    };
    read_body(record).map(Some)
}

/// First byte of a body that lies with the id of its message.
const KEPT: u8 = 2;

/// The body of a message that waits until its writer, this contact, is known. `None` when it is not
/// there any more, or when what is there is another message.
pub fn kept_body(
    reader: &dyn Reader,
    contact: ContactId,
    id: &MessageId,
) -> Result<Option<SignedBody>, StoreError> {
    let Some(record) = reader.get(Table::Body, &BodyOf::Contact(contact).key())? else {
        return Ok(None);
    };
    match record.strip_prefix(kept_head(id).as_slice()) {
        Some(body) => read_body(body.to_vec()).map(Some),
        None => Ok(None),
    }
}

/// Stores the body of a message that waits, in the place of any other of this contact.
///
/// # Errors
/// As [`put_body`].
pub fn put_kept_body(
    writer: &mut dyn Writer,
    contact: ContactId,
    id: &MessageId,
    body: &SignedBody,
) -> Result<(), StoreError> {
    let mut record = kept_head(id);
    write_body(&mut record, body)?;
    writer.put(Table::Body, &BodyOf::Contact(contact).key(), &record)
}

/// Version, the id of the message, and a byte that is in no id.
fn kept_head(id: &MessageId) -> Vec<u8> {
    let mut head = vec![KEPT];
    head.extend(id.as_str().as_bytes());
    head.push(0);
    head
}

/// A body as it lies in the table, of either kind.
pub(super) fn read_any_body(mut record: Vec<u8>) -> Result<SignedBody, StoreError> {
    if record.first() == Some(&KEPT) {
        let head = record.iter().take_while(|byte| **byte != 0).count();
        record.drain(..record.len().min(head + 1));
    }
    read_body(record)
}

/// Version, length of the signature, signature, bytes.
fn read_body(mut record: Vec<u8>) -> Result<SignedBody, StoreError> {
    let damage = || StoreError::Damaged { table: Table::Body };
    let [VERSION, length, ..] = record[..] else {
        return Err(damage());
    };
    let start = 2 + usize::from(length);
    let signature = record.get(2..start).ok_or_else(damage)?;
    let signature = std::str::from_utf8(signature)
        .map_err(damaged(Table::Body))?
        .to_owned();
    record.drain(..start);
    Ok(SignedBody {
        bytes: record,
        signature,
    })
}

/// Stores a body.
///
/// # Errors
/// Besides those of the store: a signature of more than 255 bytes, which none has.
pub fn put_body(writer: &mut dyn Writer, of: BodyOf, body: &SignedBody) -> Result<(), StoreError> {
    let mut record = Vec::new();
    write_body(&mut record, body)?;
    writer.put(Table::Body, &of.key(), &record)
}

/// What [`read_body`] reads.
fn write_body(record: &mut Vec<u8>, body: &SignedBody) -> Result<(), StoreError> {
    let signature = body.signature.as_bytes();
    let length = u8::try_from(signature.len()).map_err(damaged(Table::Body))?;
    record.reserve_exact(2 + signature.len() + body.bytes.len());
    record.extend([VERSION, length]);
    record.extend(signature);
    record.extend(&body.bytes);
    Ok(())
}

/// Removes a body; nothing happens when there is none.
pub fn delete_body(writer: &mut dyn Writer, of: BodyOf) -> Result<(), StoreError> {
    writer.delete(Table::Body, &of.key())
}

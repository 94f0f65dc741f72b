//! Bytes ↔ types: what lies in each table, under which key, in which version.
//!
//! Domain types are not serialisable on purpose; what is on disk is a promise, and it is made
//! here. Every record begins with the version of its shape; an older version is read for ever, a
//! newer one is refused. Keys that would name a person are keyed digests ([`Keys`]).

mod alias;
mod asked;
mod audit;
mod body;
mod budget;
mod contact;
mod directory;
mod erased;
mod event;
mod forgotten;
mod handle;
mod key;
mod meta;
mod outbox;
mod seen;
mod tally;

pub use alias::*;
pub use asked::*;
pub use audit::*;
pub use body::*;
pub use budget::*;
pub use contact::*;
pub use directory::*;
pub use erased::*;
pub use event::*;
pub use forgotten::*;
pub use handle::*;
pub use key::*;
pub use meta::*;
pub use outbox::*;
pub use seen::*;
pub use tally::*;

use crate::domain::id::{Bsuid, ContactId, EmailAddress, MessageId, PhoneNumberId, WaId};
use crate::domain::secret::{MappingHash, ReturnCode};
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::store::{KeyRange, MasterKey, Order, Reader, StoreError, Table, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ops::{Bound, ControlFlow};

/// The shape written by this program.
const VERSION: u8 = 1;

/// By how many of their last digits numbers are found, and how many bytes of a key are for each. Lists
/// show two; with seven there is one in a million contacts or a few, and whoever leaves out the
/// country code has typed more.
const ENDS_OF_NUMBERS: [(usize, usize); 3] = [(2, 4), (4, 6), (7, 6)];

/// Makes the keys that must not be readable: one digest per name, keyed with the master key.
#[derive(Clone, Debug)]
pub struct Keys {
    master: std::sync::Arc<MasterKey>,
}

impl Keys {
    /// Keys under this master key.
    pub fn new(master: MasterKey) -> Keys {
        Keys {
            master: std::sync::Arc::new(master),
        }
    }

    /// The master key, for what is derived from it besides keys.
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    fn digest(&self, label: &str, parts: &[&[u8]]) -> [u8; 16] {
        let whole = self.master.keyed_digest(label, parts);
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }

    fn bsuid(&self, bsuid: &Bsuid) -> [u8; 16] {
        self.digest("alias bsuid", &[bsuid.as_str().as_bytes()])
    }

    /// Begins with the ends of the number, each as a digest of its own: whoever has the key finds
    /// the numbers that end alike beside one another, and nobody else can tell which digits they
    /// have in common.
    fn wa_id(&self, wa_id: &WaId) -> [u8; 32] {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.ends_of_number(wa_id.as_str()));
        key[16..].copy_from_slice(&self.digest("number", &[wa_id.as_str().as_bytes()]));
        key
    }

    /// How a number had it in stores of format 1.
    fn wa_id_of_format_1(&self, wa_id: &str) -> [u8; 16] {
        self.digest("alias wa_id", &[wa_id.as_bytes()])
    }

    /// One end after the other as far as the digits go; what is beyond them is 0.
    fn ends_of_number(&self, digits: &str) -> [u8; 16] {
        let (mut key, mut at) = ([0; 16], 0);
        for (length, bytes) in ENDS_OF_NUMBERS {
            if let Some(start) = digits.len().checked_sub(length) {
                let end = self.digest("end of a number", &[&digits.as_bytes()[start..]]);
                key[at..at + bytes].copy_from_slice(&end[..bytes]);
            }
            at += bytes;
        }
        key
    }

    /// What the keys of all numbers with this end begin with, as far as keys can tell: the rest is
    /// for whoever reads the contacts.
    fn numbers_ending(&self, digits: &str) -> Vec<u8> {
        let told = (ENDS_OF_NUMBERS.iter()).take_while(|(length, _)| *length <= digits.len());
        let bytes = told.map(|(_, bytes)| bytes).sum();
        self.ends_of_number(digits)[..bytes].to_vec()
    }

    fn signed_in_with(&self, address: &EmailAddress) -> [u8; 16] {
        self.digest("signed in with", &[address.key().as_bytes()])
    }

    /// Of both, so that what belongs to one contact has nothing in common either.
    fn signed_in_as(&self, address: &EmailAddress, id: ContactId) -> [u8; 16] {
        self.digest("signed in as", &[address.key().as_bytes(), &id.0])
    }

    fn address(&self, address: &EmailAddress) -> [u8; 16] {
        self.digest("address", &[address.key().as_bytes()])
    }

    /// Hour of the message first, so that what is old lies together and is swept as a range.
    fn seen(&self, number: &PhoneNumberId, id: &MessageId, sent_at: Timestamp) -> [u8; 20] {
        let digest = self.digest(
            "seen",
            &[number.as_str().as_bytes(), id.as_str().as_bytes()],
        );
        let mut key = [0; 20];
        key[..4].copy_from_slice(&hour(sent_at));
        key[4..].copy_from_slice(&digest);
        key
    }

    fn sent(&self, id: &MessageId) -> [u8; 16] {
        self.digest("sent", &[id.as_str().as_bytes()])
    }

    fn mapping_hash(&self, hash: &MappingHash) -> [u8; 16] {
        self.digest("mapping hash", &[hash.reveal().as_bytes()])
    }

    fn return_code(&self, code: &ReturnCode) -> [u8; 16] {
        self.digest("return code", &[code.reveal().as_bytes()])
    }

    fn asked(&self, caller: &str, key: &str) -> [u8; 16] {
        self.digest("asked", &[caller.as_bytes(), key.as_bytes()])
    }

    fn user_name(&self, name: &str) -> [u8; 16] {
        self.digest("user name", &[name.as_bytes()])
    }

    fn network(&self, network: &[u8; 16]) -> [u8; 16] {
        self.digest("network", &[network])
    }
}

fn hour(at: Timestamp) -> [u8; 4] {
    u32::try_from(at.0 / HOUR_MS)
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

fn write<T: Serialize>(table: Table, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    serde_json::to_writer(&mut bytes, record).map_err(|_| StoreError::Damaged { table })?;
    Ok(bytes)
}

fn read<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|_| StoreError::Damaged { table })
        }
        _ => Err(StoreError::Damaged { table }),
    }
}

fn damaged<T>(table: Table) -> impl Fn(T) -> StoreError {
    move |_| StoreError::Damaged { table }
}

fn collect<T>(
    reader: &dyn Reader,
    table: Table,
    range: KeyRange<'_>,
    order: Order,
    limit: usize,
    convert: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut failed = None;
    if limit == 0 {
        return Ok(found);
    }
    reader.scan(
        table,
        range,
        order,
        &mut |key, bytes| match convert(key, bytes) {
            Ok(item) => {
                found.push(item);
                if found.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    match failed {
        None => Ok(found),
        Some(error) => Err(error),
    }
}

/// How far a sweep over one table has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The last key looked at; `None` at the beginning and after the end.
    pub cursor: Option<Vec<u8>>,
    /// Records removed.
    pub removed: usize,
}

/// Looks at up to `looks` records after `cursor` and removes those that are due.
fn sweep(
    writer: &mut dyn Writer,
    table: Table,
    cursor: Option<&[u8]>,
    looks: usize,
    is_due: impl Fn(&[u8]) -> Result<bool, StoreError>,
) -> Result<Sweep, StoreError> {
    let (cursor, due) = due(writer, table, cursor, looks, is_due)?;
    for key in &due {
        writer.delete(table, key)?;
    }
    Ok(Sweep {
        cursor,
        removed: due.len(),
    })
}

/// Looks at up to `looks` records after `cursor`: where to go on, and the keys of those that are
/// due.
#[allow(clippy::type_complexity)]
fn due(
    reader: &dyn Reader,
    table: Table,
    cursor: Option<&[u8]>,
    looks: usize,
    is_due: impl Fn(&[u8]) -> Result<bool, StoreError>,
) -> Result<(Option<Vec<u8>>, Vec<Vec<u8>>), StoreError> {
    let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
    let range = KeyRange::new(start, Bound::Unbounded);
    let seen = collect(reader, table, range, Order::Forward, looks, |key, bytes| {
        Ok((key.to_vec(), is_due(bytes)?))
    })?;
    let cursor = if seen.len() < looks {
        None
    } else {
        seen.last().map(|(key, _)| key.clone())
    };
    let due = seen.into_iter().filter(|(_, is_due)| *is_due);
    Ok((cursor, due.map(|(key, _)| key).collect()))
}

#[cfg(test)]
mod tests;

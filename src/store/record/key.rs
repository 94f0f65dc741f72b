//! Keys that tokens are signed with.

use super::{collect, read, write};
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Most keys read; far more than are ever made.
const KEYS_READ_MAX: usize = 64;

/// A key that signs or has signed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// Its name, which tokens carry.
    pub id: String,
    /// The secret from which both halves of the key are made.
    pub seed: Zeroizing<[u8; 32]>,
    /// When it was made.
    pub made_at: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ..)", self.id)
    }
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct SigningKeyRecord {
    seed: [u8; 32],
    made_at: u64,
    signs_from: u64,
}

/// Every key, in no useful order.
pub fn signing_keys(reader: &dyn Reader) -> Result<Vec<SigningKey>, StoreError> {
    let damaged = || StoreError::Damaged { table: Table::Key };
    collect(
        reader,
        Table::Key,
        KeyRange::all(),
        Order::Forward,
        KEYS_READ_MAX,
        |key, bytes| {
            let record: SigningKeyRecord = read(Table::Key, bytes)?;
            Ok(SigningKey {
                id: str::from_utf8(key).map_err(|_| damaged())?.to_owned(),
                seed: Zeroizing::new(record.seed),
                made_at: Timestamp(record.made_at),
                signs_from: Timestamp(record.signs_from),
            })
        },
    )
}

/// Stores a key.
pub fn put_signing_key(writer: &mut dyn Writer, key: &SigningKey) -> Result<(), StoreError> {
    let record = SigningKeyRecord {
        seed: *key.seed,
        made_at: key.made_at.0,
        signs_from: key.signs_from.0,
    };
    let bytes = Zeroizing::new(write(Table::Key, &record)?);
    writer.put(Table::Key, key.id.as_bytes(), &bytes)
}

/// Removes a key; nothing happens when there is none of that name.
pub fn delete_signing_key(writer: &mut dyn Writer, id: &str) -> Result<(), StoreError> {
    writer.delete(Table::Key, id.as_bytes())
}

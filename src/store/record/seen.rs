//! Messages that had their effect.

use super::{Keys, collect, hour};
use crate::domain::id::{MessageId, PhoneNumberId, Timestamp};
use crate::store::{KeyRange, Order, StoreError, Table, Writer};
use std::ops::Bound;

/// How long it is remembered that a message had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// From when it was sent, until [`forget_seen`].
    Since(Timestamp),
    /// For ever.
    Always,
}

/// Whether a message had its effect before; from now on it has.
pub fn see(
    writer: &mut dyn Writer,
    keys: &Keys,
    number: &PhoneNumberId,
    id: &MessageId,
    remembered: Remembered,
) -> Result<bool, StoreError> {
    // No sweep comes to the end of time.
    let sent_at = match remembered {
        Remembered::Since(sent_at) => sent_at,
        Remembered::Always => Timestamp(u64::MAX),
    };
    let key = keys.seen(number, id, sent_at);
    if writer.get(Table::Seen, &key)?.is_some() {
        return Ok(true);
    }
    writer.put(Table::Seen, &key, &[])?;
    Ok(false)
}

/// Forgets up to `limit` messages sent before `before`; returns how many.
pub fn forget_seen(
    writer: &mut dyn Writer,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let end = hour(before);
    let range = KeyRange::new(Bound::Unbounded, Bound::Excluded(&end));
    let due = collect(
        writer,
        Table::Seen,
        range,
        Order::Forward,
        limit,
        |key, _| Ok(key.to_vec()),
    )?;
    for key in &due {
        writer.delete(Table::Seen, key)?;
    }
    Ok(due.len())
}

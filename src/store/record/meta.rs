//! Facts about the store as a whole.

use super::{read, write};
use crate::domain::id::Timestamp;
use crate::store::{Reader, StoreError, Table, Writer};

pub(super) const LATEST_KEY: &[u8] = b"latest moment";

/// The latest moment that the clock showed while Portero ran: it never starts before that (S-15).
pub fn latest_moment(reader: &dyn Reader) -> Result<Timestamp, StoreError> {
    match reader.get(Table::Meta, LATEST_KEY)? {
        Some(bytes) => Ok(Timestamp(read(Table::Meta, &bytes)?)),
        None => Ok(Timestamp(0)),
    }
}

/// Stores the latest moment, unless a later one is known.
pub fn put_latest_moment(writer: &mut dyn Writer, now: Timestamp) -> Result<(), StoreError> {
    if latest_moment(writer)? < now {
        writer.put(Table::Meta, LATEST_KEY, &write(Table::Meta, &now.0)?)?;
    }
    Ok(())
}

const FIRST_KEY: &[u8] = b"first moment";

/// When this store was made, as far as is known.
pub fn first_moment(reader: &dyn Reader) -> Result<Option<Timestamp>, StoreError> {
    match reader.get(Table::Meta, FIRST_KEY)? {
        Some(bytes) => Ok(Some(Timestamp(read(Table::Meta, &bytes)?))),
        None => Ok(None),
    }
}

/// Stores when this store was made.
pub fn put_first_moment(writer: &mut dyn Writer, at: Timestamp) -> Result<(), StoreError> {
    writer.put(Table::Meta, FIRST_KEY, &write(Table::Meta, &at.0)?)
}

const DOUBTED_KEY: &[u8] = b"clock doubted";

/// What the clock showed when a process that began wondered for the first time whether it is right.
pub fn clock_doubted_at(reader: &dyn Reader) -> Result<Option<Timestamp>, StoreError> {
    match reader.get(Table::Meta, DOUBTED_KEY)? {
        Some(bytes) => Ok(Some(Timestamp(read(Table::Meta, &bytes)?))),
        None => Ok(None),
    }
}

/// Stores that moment, or that nobody wonders.
pub fn put_clock_doubted_at(
    writer: &mut dyn Writer,
    at: Option<Timestamp>,
) -> Result<(), StoreError> {
    match at {
        Some(at) => writer.put(Table::Meta, DOUBTED_KEY, &write(Table::Meta, &at.0)?),
        None => writer.delete(Table::Meta, DOUBTED_KEY),
    }
}

const NUMBERS_KEY: &[u8] = b"numbers";

/// Up to which number entries, audit lines and events may have been given one: a later process
/// begins behind it.
pub fn numbers_reserved(reader: &dyn Reader) -> Result<u64, StoreError> {
    match reader.get(Table::Meta, NUMBERS_KEY)? {
        Some(bytes) => read(Table::Meta, &bytes),
        None => Ok(0),
    }
}

/// Stores up to which number they may be given.
pub fn put_numbers_reserved(writer: &mut dyn Writer, up_to: u64) -> Result<(), StoreError> {
    writer.put(Table::Meta, NUMBERS_KEY, &write(Table::Meta, &up_to)?)
}

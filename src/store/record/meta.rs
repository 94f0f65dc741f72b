//! Facts about the store as a whole.

use super::outbox::newest_entry;
use super::{read, write};
use crate::domain::delivery::Lane;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::store::{Reader, StoreError, Table, Writer};

pub(super) const LATEST_KEY: &[u8] = b"latest moment";

/// The latest moment that the clock showed while Portero ran: it never starts before that (S-15).
pub fn latest_moment(reader: &dyn Reader) -> Result<Timestamp, StoreError> {
    match reader.get(Table::Meta, LATEST_KEY)? {
        Some(bytes) => Ok(Timestamp(read(Table::Meta, &bytes)?)),
        None => Ok(Timestamp(0)),
    }
}

/// How far what waits may be ahead of the latest moment that was noted, which happens every twenty
/// seconds, or of what the machine shows; what is further ahead of both was most likely made by a clock
/// that was not believed.
const AHEAD_MS_MAX: u64 = MINUTE_MS;

/// The moment before which no clock starts, on a machine that shows `wall`. All that waits was decided
/// earlier, also when the process was killed and the clock of the machine went back meanwhile. A message
/// for the bot would otherwise be said to be of whoever signs in next, for the two moments are compared.
/// A process that copies for long or doubts its clock has noted nothing for a while; then only what went
/// back by more than a minute goes unnoticed.
pub fn earliest_start(reader: &dyn Reader, wall: Timestamp) -> Result<Timestamp, StoreError> {
    let noted = latest_moment(reader)?;
    let believed = noted.max(wall).plus_ms(AHEAD_MS_MAX);
    let mut known = noted;
    for lane in Lane::ALL {
        if let Some(entry) = newest_entry(reader, lane)?
            && entry.created_at <= believed
        {
            known = known.max(entry.created_at.plus_ms(1));
        }
    }
    Ok(known)
}

/// Stores a moment that a clock showed which is believed: nothing is left of a doubt.
pub fn put_latest_moment(writer: &mut dyn Writer, now: Timestamp) -> Result<(), StoreError> {
    writer.delete(Table::Meta, DOUBT_KEY)?;
    writer.put(Table::Meta, LATEST_KEY, &write(Table::Meta, &now.0)?)
}

/// By an earlier version: when the store was made.
pub(super) const FIRST_KEY: &[u8] = b"first moment";

const FORGOTTEN_KEY: &[u8] = b"seen forgotten until";

/// Of messages sent before this moment the ids may be forgotten; of all others that had their effect
/// they are known. Nothing for a store in which that was not noted yet.
pub fn seen_forgotten_until(reader: &dyn Reader) -> Result<Option<Timestamp>, StoreError> {
    match reader.get(Table::Meta, FORGOTTEN_KEY)? {
        Some(bytes) => Ok(Some(Timestamp(read(Table::Meta, &bytes)?))),
        None => Ok(None),
    }
}

/// Stores that moment.
pub fn put_seen_forgotten_until(writer: &mut dyn Writer, at: Timestamp) -> Result<(), StoreError> {
    writer.put(Table::Meta, FORGOTTEN_KEY, &write(Table::Meta, &at.0)?)
}

/// When the store was made, if an earlier version noted that: of what was sent before, it remembered
/// every id for ever.
pub fn first_moment(reader: &dyn Reader) -> Result<Option<Timestamp>, StoreError> {
    match reader.get(Table::Meta, FIRST_KEY)? {
        Some(bytes) => Ok(Some(Timestamp(read(Table::Meta, &bytes)?))),
        None => Ok(None),
    }
}

const DOUBT_KEY: &[u8] = b"clock doubt";

/// A doubt about the clock that was not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDoubt {
    /// What the clock showed last.
    pub seen_at: Timestamp,
    /// How long Portero has run with it.
    pub lasted_ms: u64,
}

/// The doubt that an earlier process had last.
pub fn clock_doubt(reader: &dyn Reader) -> Result<Option<ClockDoubt>, StoreError> {
    let Some(bytes) = reader.get(Table::Meta, DOUBT_KEY)? else {
        return Ok(None);
    };
    let (seen_at, lasted_ms) = read(Table::Meta, &bytes)?;
    Ok(Some(ClockDoubt {
        seen_at: Timestamp(seen_at),
        lasted_ms,
    }))
}

/// Stores a doubt.
pub fn put_clock_doubt(writer: &mut dyn Writer, doubt: ClockDoubt) -> Result<(), StoreError> {
    let record = (doubt.seen_at.0, doubt.lasted_ms);
    writer.put(Table::Meta, DOUBT_KEY, &write(Table::Meta, &record)?)
}

const NUMBERS_KEY: &[u8] = b"numbers";

/// Up to which number entries, audit lines and events may have been given one: a later process
/// begins behind it.
fn numbers_reserved(reader: &dyn Reader) -> Result<u64, StoreError> {
    match reader.get(Table::Meta, NUMBERS_KEY)? {
        Some(bytes) => read(Table::Meta, &bytes),
        None => Ok(0),
    }
}

/// Stores up to which number they may be given.
pub fn put_numbers_reserved(writer: &mut dyn Writer, up_to: u64) -> Result<(), StoreError> {
    writer.put(Table::Meta, NUMBERS_KEY, &write(Table::Meta, &up_to)?)
}

/// The last number that an entry, a line of the audit or an event may have.
pub fn last_number(reader: &dyn Reader) -> Result<u64, StoreError> {
    let last = super::last_entry_id(reader)?.0;
    Ok((last.max(super::last_audit_number(reader)?)).max(numbers_reserved(reader)?))
}

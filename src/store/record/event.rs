//! What happened with sign-ins, as whoever wants to know is told.

use super::outbox::entry_id;
use super::{Sweep, collect, read, sweep, write};
use crate::domain::delivery::EntryId;
use crate::domain::id::ContactId;
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// Something that happened.
#[derive(Clone, PartialEq, Eq)]
pub struct ToldEvent {
    /// The entry that told it first.
    pub id: EntryId,
    /// When it happened.
    pub at: Timestamp,
    /// Its dotted name.
    pub kind: String,
    /// Whose line it waits in.
    pub line: ContactId,
    /// All of it, as it is told.
    pub json: String,
}

impl std::fmt::Debug for ToldEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ToldEvent({}, {})", self.id.0, self.kind)
    }
}

#[derive(Serialize, Deserialize)]
struct EventRecord {
    at: u64,
    kind: String,
    line: [u8; 16],
    json: String,
}

fn read_event(id: EntryId, bytes: &[u8]) -> Result<ToldEvent, StoreError> {
    let record: EventRecord = read(Table::Event, bytes)?;
    Ok(ToldEvent {
        id,
        at: Timestamp(record.at),
        kind: record.kind,
        line: ContactId(record.line),
        json: record.json,
    })
}

/// The event with this id.
pub fn event(reader: &dyn Reader, id: EntryId) -> Result<Option<ToldEvent>, StoreError> {
    let Some(bytes) = reader.get(Table::Event, &id.0.to_be_bytes())? else {
        return Ok(None);
    };
    read_event(id, &bytes).map(Some)
}

/// Stores an event.
pub fn put_event(writer: &mut dyn Writer, event: &ToldEvent) -> Result<(), StoreError> {
    let record = EventRecord {
        at: event.at.0,
        kind: event.kind.clone(),
        line: event.line.0,
        json: event.json.clone(),
    };
    writer.put(
        Table::Event,
        &event.id.0.to_be_bytes(),
        &write(Table::Event, &record)?,
    )
}

/// Up to `limit` events after `after`, oldest first.
pub fn events(
    reader: &dyn Reader,
    after: Option<EntryId>,
    limit: usize,
) -> Result<Vec<ToldEvent>, StoreError> {
    let start = after.map(|id| id.0.to_be_bytes());
    let start = start
        .as_ref()
        .map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
    let range = KeyRange::new(start, Bound::Unbounded);
    collect(
        reader,
        Table::Event,
        range,
        Order::Forward,
        limit,
        |key, bytes| read_event(entry_id(key, Table::Event)?, bytes),
    )
}

/// Up to `limit` events before `before`, newest first.
pub fn events_before(
    reader: &dyn Reader,
    before: Option<EntryId>,
    limit: usize,
) -> Result<Vec<ToldEvent>, StoreError> {
    let end = before.map(|id| id.0.to_be_bytes());
    let end = (end.as_ref()).map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
    collect(
        reader,
        Table::Event,
        KeyRange::new(Bound::Unbounded, end),
        Order::Backward,
        limit,
        |key, bytes| read_event(entry_id(key, Table::Event)?, bytes),
    )
}

/// Sweeps events from before `before`.
pub fn forget_events(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Event, cursor, looks, |bytes| {
        let record: EventRecord = read(Table::Event, bytes)?;
        Ok(record.at < before.0)
    })
}

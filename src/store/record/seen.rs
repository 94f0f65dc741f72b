//! Messages that had their effect.

use super::{
    Keys, collect, first_moment, hour, latest_moment, put_seen_forgotten_until,
    seen_forgotten_until,
};
use crate::domain::id::{MessageId, PhoneNumberId};
use crate::domain::time::{HOUR_MS, SECOND_MS, Timestamp};
use crate::store::{KeyRange, Order, StoreError, Table, Writer};
use std::ops::Bound;

/// How long it is remembered that a message had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// Until [`forget_seen`] comes to when it was sent.
    UntilOld,
    /// For ever.
    Always,
}

/// Whether a message had its effect before; from now on it has.
pub fn see(
    writer: &mut dyn Writer,
    keys: &Keys,
    number: &PhoneNumberId,
    id: &MessageId,
    sent_at: Timestamp,
    remembered: Remembered,
) -> Result<bool, StoreError> {
    let until_old = keys.seen(number, id, sent_at);
    // No sweep comes to the end of time.
    let mut always = until_old;
    always[..4].copy_from_slice(&hour(Timestamp(u64::MAX)));
    // In which of the two it was put was decided by a clock that may have been set since.
    for key in [&until_old, &always] {
        if writer.get(Table::Seen, key)?.is_some() {
            return Ok(true);
        }
    }
    let key = match remembered {
        Remembered::UntilOld => until_old,
        Remembered::Always => always,
    };
    writer.put(Table::Seen, &key, &second_of_hour(sent_at))?;
    Ok(false)
}

/// When a message was sent, in seconds after the hour of its key: what is stored of it.
fn second_of_hour(sent_at: Timestamp) -> [u8; 2] {
    // An hour has 3,600.
    u16::try_from(sent_at.0 % HOUR_MS / SECOND_MS)
        .unwrap_or(u16::MAX)
        .to_be_bytes()
}

/// The first moment after the second in which a message was sent; after its hour, for those of
/// which an earlier version stored no more.
fn after(key: &[u8], value: &[u8]) -> Timestamp {
    let hours = key
        .first_chunk()
        .map_or(0, |hours| u32::from_be_bytes(*hours));
    let hour = Timestamp(u64::from(hours) * HOUR_MS);
    match value.first_chunk() {
        Some(second) => hour.plus_ms((u64::from(u16::from_be_bytes(*second)) + 1) * SECOND_MS),
        None => hour.plus_ms(HOUR_MS),
    }
}

/// Notes, where it was not yet, up to when ids may have been forgotten: in a new store there is no
/// such moment. An earlier version forgot what was older than `kept_ms` at the latest moment that it
/// noted, but nothing from before the store was made.
pub fn begin_to_forget_seen(writer: &mut dyn Writer, kept_ms: u64) -> Result<(), StoreError> {
    if seen_forgotten_until(writer)?.is_some() {
        return Ok(());
    }
    let until = latest_moment(writer)?.minus_ms(kept_ms);
    let first = first_moment(writer)?.unwrap_or_default();
    let until = if until <= first { Timestamp(0) } else { until };
    put_seen_forgotten_until(writer, until)
}

/// Forgets up to `limit` messages sent before `before`, and notes up to when; returns how many.
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
        |key, value| Ok((key.to_vec(), after(key, value))),
    )?;
    for (key, _) in &due {
        writer.delete(Table::Seen, key)?;
    }
    if let Some(until) = due.iter().map(|(_, after)| *after).max()
        && seen_forgotten_until(writer)?.is_none_or(|known| known < until)
    {
        put_seen_forgotten_until(writer, until)?;
    }
    Ok(due.len())
}

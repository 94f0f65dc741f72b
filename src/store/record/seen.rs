//! Messages that had their effect.

use super::{
    Keys, collect, first_moment, hour, latest_moment, put_seen_forgotten_until,
    seen_forgotten_until,
};
use crate::domain::id::{HOUR_MS, MessageId, PhoneNumberId, Timestamp};
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
    writer.put(Table::Seen, &key, &[])?;
    Ok(false)
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
        |key, _| Ok(key.to_vec()),
    )?;
    for key in &due {
        writer.delete(Table::Seen, key)?;
    }
    if let Some([a, b, c, d, ..]) = due.last().map(Vec::as_slice) {
        let hours = u64::from(u32::from_be_bytes([*a, *b, *c, *d]));
        let until = Timestamp((hours + 1) * HOUR_MS);
        if seen_forgotten_until(writer)?.is_none_or(|known| known < until) {
            put_seen_forgotten_until(writer, until)?;
        }
    }
    Ok(due.len())
}

//! One transaction: the body of an update, the numbers that it gives, and what follows once it is
//! durable. A body may run again, so that nothing is counted and no bell rings before that.

use super::hand_on::HandOn;
use super::{App, Shared};
use crate::domain::delivery::{Entry, EntryId, Lane};
use crate::domain::id::ContactId;
use crate::domain::tally::Tally;
use crate::domain::time::Timestamp;
use crate::store::engine::Visitor as RecordVisitor;
use crate::store::record;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// Numbers that are set aside on disk at a time: more than any update gives, and so many that few
/// updates have to set more aside.
pub(super) const NUMBERS_RESERVED: u64 = 65_536;

/// Entries that are remembered as freed until their lane asks; more wait for their usual time.
const FREED_MAX: usize = 1_000;

impl App {
    /// One transaction; the bells of the lanes that got something ring once it is durable.
    pub(super) fn update<T: Send + 'static>(
        &self,
        body: impl Fn(&mut Transaction<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let shared = Arc::clone(&self.shared);
        let updated = self.shared.store.update(move |writer| {
            let mut transaction = Transaction {
                writer,
                filled: Vec::new(),
                freed: Vec::new(),
                hand_on: Vec::new(),
                sign_ins: Vec::new(),
                dead: Vec::new(),
                tally: Tally::default(),
                counted_at: Timestamp::default(),
            };
            let value = body(&mut transaction)?;
            transaction.keep_tally()?;
            let reserved = shared.reserve_numbers(&mut transaction)?;
            let Transaction {
                filled,
                freed,
                sign_ins,
                dead,
                ..
            } = transaction;
            Ok((value, filled, freed, sign_ins, dead, reserved))
        });
        let counted = &self.counted;
        counted.update_durations.add(begun.elapsed());
        let result = if updated.is_ok() { "done" } else { "failed" };
        counted.updates.count(result);
        if let Some(is_refused) = is_refused(&updated) {
            counted.is_refused.store(is_refused, Ordering::Relaxed);
        }
        let (value, filled, freed, sign_ins, dead, reserved) = updated?;
        if let Some(reserved) = reserved {
            let known = &self.shared.number_reserved;
            known.fetch_max(reserved, Ordering::Relaxed);
        }
        sign_ins
            .iter()
            .for_each(|name| counted.sign_ins.count(name));
        (dead.iter()).for_each(|lane| counted.dead[*lane as usize].count());
        if !freed.is_empty() {
            let mut known = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
            let room = FREED_MAX - known.len();
            known.extend(freed.iter().take(room));
            drop(known);
            for lane in Lane::ALL {
                // It may end the rest of a lane, in which nobody listens for something new.
                if freed.iter().any(|(of, ..)| *of == lane) {
                    self.bells.of(lane).ring_all();
                }
            }
        }
        for lane in filled {
            self.bells.of(lane).ring();
        }
        Ok(value)
    }

    /// The entries of a lane that were settled without its senders since the last call, by a status
    /// or an operator, each with its contact: what waits behind them need wait no longer.
    pub fn take_freed(&self, lane: Lane) -> Vec<(ContactId, EntryId)> {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_lane = freed.extract_if(.., |(of, ..)| *of == lane);
        of_lane.map(|(_, contact, id)| (contact, id)).collect()
    }
}

/// What an update says about the disk, if it says anything: one that was given up by its own body
/// does not.
fn is_refused<T>(updated: &Result<T, StoreError>) -> Option<bool> {
    match updated {
        Ok(_) => Some(false),
        Err(
            StoreError::Unknown
            | StoreError::Full
            | StoreError::ReadOnly
            | StoreError::Unavailable(_)
            | StoreError::Broken(_),
        ) => Some(true),
        Err(
            StoreError::Damaged { .. }
            | StoreError::TooLarge { .. }
            | StoreError::BodyPanicked
            | StoreError::Nested
            | StoreError::Aborted(_),
        ) => None,
    }
}

impl Shared {
    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sets more numbers aside when few are left, in the update that gives some; returns up to which.
    fn reserve_numbers(&self, writer: &mut Transaction<'_>) -> Result<Option<u64>, StoreError> {
        let given = self.number.load(Ordering::Relaxed);
        let known = self.number_reserved.load(Ordering::Relaxed);
        if given.saturating_add(NUMBERS_RESERVED / 2) < known {
            return Ok(None);
        }
        let reserved = given.saturating_add(NUMBERS_RESERVED);
        record::put_numbers_reserved(writer, reserved)?;
        Ok(Some(reserved))
    }
}

/// A store's update that remembers which lanes it gave something, and which entries it took
/// away that a sender may still hold, and what of the webhook is the bot's.
pub(super) struct Transaction<'w> {
    pub(super) writer: &'w mut dyn Writer,
    pub(super) filled: Vec<Lane>,
    pub(super) freed: Vec<(Lane, ContactId, EntryId)>,
    pub(super) hand_on: Vec<HandOn>,
    /// What is counted once it is durable: the body may run again.
    pub(super) sign_ins: Vec<&'static str>,
    pub(super) dead: Vec<Lane>,
    /// What is counted with it, and when.
    pub(super) tally: Tally,
    pub(super) counted_at: Timestamp,
}

impl Transaction<'_> {
    /// One record for all that is counted, and none where nothing is: a message for the bot costs
    /// nothing here.
    fn keep_tally(&mut self) -> Result<(), StoreError> {
        let mut tally = std::mem::take(&mut self.tally);
        self.sign_ins.iter().for_each(|name| tally.count(name));
        (self.dead.iter()).for_each(|lane| tally.count(Tally::given_up(*lane)));
        if tally.is_empty() {
            return Ok(());
        }
        record::add_to_tally(self.writer, &tally, self.counted_at)
    }

    /// Counts something with what is stored; `now` is the moment of the operation.
    pub(super) fn count(&mut self, name: &str, now: Timestamp) {
        self.tally.count(name);
        self.counted_at = now;
    }
}

impl Reader for Transaction<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.writer.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut RecordVisitor<'_>,
    ) -> Result<(), StoreError> {
        self.writer.scan(table, range, order, visit)
    }
}

impl Writer for Transaction<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writer.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.writer.delete(table, key)
    }
}

/// Stores an entry and remembers that its lane has something to do.
pub(super) fn put_new_entry(writer: &mut Transaction<'_>, entry: Entry) -> Result<(), StoreError> {
    let lane = entry.errand.lane();
    if !writer.filled.contains(&lane) {
        writer.filled.push(lane);
    }
    record::put_entry(writer, &entry)
}

//! A store on a disk that keeps what it was asked to keep, and of all else what a loss of power
//! leaves: nothing, some sectors, half a write, in any order.

use super::writing::came_to;
use super::*;
use crate::dice::Dice;
use crate::simulation::invariants::ELEVENTH;
use crate::simulation::steps::OPERATIONS;
use portero::store::engine::{UpdateBody, Visitor};
use portero::store::redb::{Disk, Options, Purpose};
use portero::store::{OpenError, Redb, Writer};
use std::io;
use std::path::Path;
use std::sync::Mutex;

#[path = "../../../../src/store/redb/tests/platter.rs"]
#[allow(dead_code)]
mod platter;

use platter::Platter;

impl Disk for Platter {
    fn open(&self, _: Purpose) -> Result<Box<dyn redb::StorageBackend>, OpenError> {
        Ok(Box::new(self.clone()))
    }

    fn has_room(&self) -> bool {
        true
    }

    fn path(&self) -> &Path {
        Path::new("store")
    }
}

/// The syncs of a commit: of what was written, and of that it counts.
const SYNCS_OF_COMMIT: u64 = 2;

/// The disk of one world, and what the store on it has promised to keep.
pub struct FailingDisk {
    now: Mutex<(Platter, Dice)>,
    promised: Arc<Mutex<Promised>>,
}

type Records = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A record that is put, or removed.
type Change = ((Table, Vec<u8>), Option<Vec<u8>>);

#[derive(Default)]
struct Promised {
    /// What was acknowledged, no more and no less.
    records: Records,
    /// Of the update of which nobody knows: all of it, or nothing.
    unknown: Vec<Change>,
    /// What was there instead.
    broken: Option<String>,
}

impl FailingDisk {
    pub fn new(seed: u64) -> FailingDisk {
        FailingDisk {
            now: Mutex::new((Platter::default(), Dice::new(seed))),
            promised: Arc::default(),
        }
    }

    /// Opens what is there, and looks at whether it is what was promised.
    pub fn engine(&self) -> Arc<dyn Engine> {
        let platter = self.now.lock().unwrap().0.clone();
        // Little, so that pages are also read again.
        let options = Options {
            cache_bytes: 64 * 1024,
            ..Options::default()
        };
        let redb = Redb::on(Box::new(platter), options).unwrap();
        let there: Records = (records_of(&redb, &Table::ALL).into_iter())
            .map(|(table, key, value)| ((table, key), value))
            .collect();
        let mut promised = self.promised.lock().unwrap();
        let mut with_unknown = promised.records.clone();
        apply(&mut with_unknown, &promised.unknown);
        if there != promised.records && there != with_unknown {
            promised.broken = Some(format!(
                "{} records are there; {} were promised, and {} changes nobody knew of",
                there.len(),
                promised.records.len(),
                promised.unknown.len()
            ));
        }
        promised.records = there;
        promised.unknown.clear();
        Arc::new(OnDisk {
            redb,
            promised: Arc::clone(&self.promised),
        })
    }

    /// What was there when it was opened and had not been promised.
    pub fn broken(&self) -> Option<String> {
        self.promised.lock().unwrap().broken.take()
    }

    /// Does nothing from the n-th operation on, from 1.
    fn fails_at(&self, nth: u64) {
        let (platter, _) = &*self.now.lock().unwrap();
        platter.fail(nth, u64::MAX, io::ErrorKind::Other);
    }

    /// Keeps nothing from the second sync on.
    fn fails_at_end_of_commit(&self) {
        let (platter, _) = &*self.now.lock().unwrap();
        let mut state = platter.state();
        state.syncs_fail_from = Some(state.syncs + SYNCS_OF_COMMIT);
    }

    /// Does nothing any more from now on, or from some operation of the next commits.
    pub fn fails_soon(&self) {
        let dice = |sides| self.now.lock().unwrap().1.below(sides);
        match dice(3) {
            0 => self.fails_at(1),
            1 => self.fails_at(1 + dice(OPERATIONS) as u64),
            _ => self.fails_at_end_of_commit(),
        }
    }

    /// The power is gone, and comes back. Before whoever uses the disk closes it.
    pub fn loses_power(&self) {
        let (platter, dice) = &mut *self.now.lock().unwrap();
        let mut below = |limit| dice.below(usize::try_from(limit).unwrap()) as u64;
        let left = platter.after_power_loss(&mut below);
        *platter = left;
    }
}

fn apply(records: &mut Records, changes: &[Change]) {
    for (place, value) in changes.iter().cloned() {
        match value {
            Some(value) => records.insert(place, value),
            None => records.remove(&place),
        };
    }
}

/// The engine of production; what it promises is written down.
struct OnDisk {
    redb: Redb,
    promised: Arc<Mutex<Promised>>,
}

impl Engine for OnDisk {
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.redb.view_with(body)
    }

    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError> {
        let wrote = Arc::new(Mutex::new(Vec::new()));
        let writes = Arc::clone(&wrote);
        let result = self.redb.update_with(Box::new(move |writer| {
            let mut noting = Noting {
                writer,
                changes: Vec::new(),
            };
            let result = body(&mut noting);
            *writes.lock().unwrap() = noting.changes;
            result
        }));
        let changes = std::mem::take(&mut *wrote.lock().unwrap());
        let mut promised = self.promised.lock().unwrap();
        match &result {
            Ok(()) => apply(&mut promised.records, &changes),
            Err(StoreError::Unknown) => {
                // Whatever fails stays so until the power fails.
                assert!(promised.unknown.is_empty(), "a second update is unknown");
                promised.unknown = changes;
            }
            Err(_) => {}
        }
        result
    }

    /// Storing all anew takes a file, and has tests of its own.
    fn rewrite(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Writes down what is written.
struct Noting<'w> {
    writer: &'w mut dyn Writer,
    changes: Vec<Change>,
}

impl Reader for Noting<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.writer.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        self.writer.scan(table, range, order, visit)
    }
}

impl Writer for Noting<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.changes
            .push(((table, key.to_vec()), Some(value.to_vec())));
        self.writer.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.changes.push(((table, key.to_vec()), None));
        self.writer.delete(table, key)
    }
}

impl World {
    /// The program ends where it is, by a loss of power where it stands on a disk, and begins again.
    pub(super) fn ends_suddenly(&mut self) {
        if let Some(disk) = &self.disk {
            disk.loses_power();
        }
        self.begin_again();
    }

    /// What webhooks change: every start reserves numbers and begins a count of its own.
    fn raw_of_webhooks(&self) -> Vec<Raw> {
        let mut raw = self.raw();
        raw.retain(|(table, ..)| *table != Table::Meta);
        raw
    }

    /// A webhook comes, the power fails, and it comes again, for nobody answered. If something was
    /// stored of it, it is a repetition; if nothing, it is new.
    pub(super) fn receive_without_power(
        &mut self,
        item: &WebhookItem,
        disk: &FailingDisk,
        loss: Loss,
    ) -> Result<Option<Received>, Broken> {
        self.note_time();
        let before = self.raw_of_webhooks();
        match loss {
            Loss::AtOperation(number) => disk.fails_at(u64::from(number) + 1),
            Loss::AtEndOfCommit => disk.fails_at_end_of_commit(),
            Loss::BeforeAnswer => {}
        }
        let first = self.house().receive_all(vec![item.clone()]);
        self.ends_suddenly();
        let is_stored = self.raw_of_webhooks() != before;
        let again = match self.house().receive_all(vec![item.clone()]) {
            Ok(received) => came_to(&received),
            Err(error) => return broken(MODEL, format!("with power again it failed: {error}")),
        };
        let is_repeated = again == Some(Received::Repeated);
        match (&first, loss) {
            // It had come before, and nothing was to be stored.
            (Ok(first), _) if first.repeated > 0 && is_repeated && !is_stored => Ok(again),
            (Ok(first), Loss::AtOperation(_) | Loss::BeforeAnswer)
                if first.repeated == 0 && is_repeated && is_stored =>
            {
                self.happens("the power failed after a webhook");
                Ok(came_to(first))
            }
            (
                Err(Failed::Store(StoreError::Unknown)),
                Loss::AtOperation(_) | Loss::AtEndOfCommit,
            ) if is_repeated && is_stored => {
                self.happens("the power failed and a webhook was stored");
                Ok(None)
            }
            (
                Err(Failed::Store(StoreError::Unknown | StoreError::Unavailable(_))),
                Loss::AtOperation(_) | Loss::AtEndOfCommit,
            ) if !is_repeated && !is_stored => {
                self.happens("the power failed and nothing was stored");
                Ok(again)
            }
            _ => broken(
                ELEVENTH,
                format!(
                    "it came to {first:?}, the power failed ({loss:?}), what is stored {}, and it came to {again:?}",
                    if is_stored { "changed" } else { "is as before" },
                ),
            ),
        }
    }
}

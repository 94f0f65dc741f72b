//! A store on a disk that keeps what it was asked to keep, and of all else what a loss of power
//! leaves: nothing, some sectors, half a write, in any order.

use super::writing::came_to;
use super::*;
use crate::dice::Dice;
use portero::store::engine::UpdateBody;
use portero::store::redb::{Disk, Options, Purpose};
use portero::store::{OpenError, Redb};
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

/// What was written, and then that it counts (two phases).
const SYNCS_OF_COMMIT: u64 = 2;

/// The disk of one world.
pub struct FailingDisk {
    /// What is on it, and what the power will leave.
    now: Mutex<(Platter, Dice)>,
}

impl FailingDisk {
    pub fn new(seed: u64) -> FailingDisk {
        FailingDisk {
            now: Mutex::new((Platter::default(), Dice::new(seed))),
        }
    }

    pub fn engine(&self) -> Arc<dyn Engine> {
        let platter = self.now.lock().unwrap().0.clone();
        // Little, so that pages are also read again.
        let options = Options {
            cache_bytes: 64 * 1024,
            ..Options::default()
        };
        Arc::new(OnDisk(Redb::on(Box::new(platter), options).unwrap()))
    }

    /// Does nothing from the n-th operation on, from 1.
    pub fn fails_at(&self, nth: u64) {
        let (platter, _) = &*self.now.lock().unwrap();
        platter.fail(nth, u64::MAX, io::ErrorKind::Other);
    }

    /// Keeps nothing from the last sync of the next commit on.
    fn fails_at_end_of_commit(&self) {
        let (platter, _) = &*self.now.lock().unwrap();
        let mut state = platter.state();
        state.syncs_fail_from = Some(state.syncs + SYNCS_OF_COMMIT);
    }

    /// The power is gone, and comes back. Before whoever uses the disk closes it.
    pub fn loses_power(&self) {
        let (platter, dice) = &mut *self.now.lock().unwrap();
        let mut below = |limit| dice.below(usize::try_from(limit).unwrap()) as u64;
        let left = platter.after_power_loss(&mut below);
        *platter = left;
    }
}

/// Storing all anew takes a file, and has tests of its own.
struct OnDisk(Redb);

impl Engine for OnDisk {
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.0.view_with(body)
    }

    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError> {
        self.0.update_with(body)
    }

    fn rewrite(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl World {
    /// The power fails and comes back, and with it the program.
    pub(super) fn loses_power(&mut self, disk: &FailingDisk) {
        disk.loses_power();
        self.begin_again();
    }

    /// What webhooks change: every start reserves numbers and begins a count of its own.
    fn raw_of_webhooks(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let mut raw = self.raw();
        raw.retain(|(table, ..)| *table != Table::Meta);
        raw
    }

    /// A webhook comes, the power fails, and it comes again, for nobody answered. What was stored of
    /// it is all or nothing, and what was answered is there.
    pub(super) fn receive_without_power(
        &mut self,
        item: &WebhookItem,
        disk: &FailingDisk,
        loss: Loss,
    ) -> Result<Option<Received>, Broken> {
        const RULE: &str = crate::simulation::invariants::ELEVENTH;
        self.note_time();
        let before = self.raw_of_webhooks();
        match loss {
            Loss::AtOperation(number) => disk.fails_at(u64::from(number) + 1),
            Loss::AtEndOfCommit => disk.fails_at_end_of_commit(),
            Loss::BeforeAnswer => {}
        }
        let first = self.house().receive_all(vec![item.clone()]);
        self.loses_power(disk);
        let is_stored = self.raw_of_webhooks() != before;
        let again = match self.house().receive_all(vec![item.clone()]) {
            Ok(received) => came_to(&received),
            Err(error) => return broken(MODEL, format!("with power again it failed: {error}")),
        };
        let is_repeated = again == Some(Received::Repeated);
        match &first {
            // It was stored before.
            Ok(first) if first.repeated > 0 && is_repeated && !is_stored => Ok(again),
            Ok(first) if first.repeated == 0 && is_repeated && is_stored => {
                self.happens("the power failed after a webhook");
                Ok(came_to(first))
            }
            Err(_) if is_repeated && is_stored => {
                self.happens("the power failed and a webhook was stored");
                Ok(None)
            }
            Err(_) if !is_stored => {
                self.happens("the power failed and nothing was stored");
                Ok(again)
            }
            _ => broken(
                RULE,
                format!(
                    "it came to {first:?}, the power failed ({loss:?}), what is stored {}, and it came to {again:?}",
                    if is_stored { "changed" } else { "is as before" },
                ),
            ),
        }
    }
}

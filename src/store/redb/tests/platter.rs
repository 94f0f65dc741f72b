//! A disk in memory: it fails on request, and knows what a loss of power would leave. The simulation
//! of the whole core has one, too.

use redb::StorageBackend;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all, if it is a good one.
const SECTOR_BYTES: usize = 512;

/// The disk. Its copies are the same one.
#[derive(Clone, Default)]
pub struct Platter(Arc<Mutex<PlatterState>>);

/// What is on it, and what is wrong with it.
#[derive(Default)]
pub struct PlatterState {
    /// What reads see.
    pub bytes: Vec<u8>,
    /// What has been synced.
    pub durable: Vec<u8>,
    /// Changes since the last sync.
    pending: Vec<Change>,
    /// Writes, syncs and changes of length so far.
    pub operations: u64,
    pub syncs: u64,
    /// From this operation on, for so many, this error.
    pub fail: Option<(u64, u64, io::ErrorKind)>,
    pub reads_fail: bool,
    /// This sync fails, and with it goes what is pending.
    pub failing_sync: Option<(u64, Unsynced)>,
    /// From this sync on every one fails.
    pub syncs_fail_from: Option<u64>,
    /// Whether the failure of an operation makes the disk read-only.
    pub then_read_only: bool,
    /// Whether it says of a sync that it was done when it was not, each time anew.
    pub lies: Option<Box<dyn FnMut() -> bool + Send>>,
}

/// What becomes of writes when the sync that should keep them fails.
#[derive(Debug, Clone, Copy)]
pub enum Unsynced {
    /// They are kept by the next sync that succeeds.
    Wait,
    /// The system takes them for kept, and they are gone with the power.
    Forgotten,
    /// They were kept all the same.
    Kept,
}

#[derive(Debug, Clone)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn reach(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Length(length) => bytes.resize(*length, 0),
            Change::Bytes(at, data) => bytes[*at..*at + data.len()].copy_from_slice(data),
        }
    }
}

impl fmt::Debug for Platter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Platter")
    }
}

impl Platter {
    /// With these bytes on it.
    pub fn of(bytes: Vec<u8>) -> Platter {
        let platter = Platter::default();
        {
            let mut state = platter.state();
            state.durable = bytes.clone();
            state.bytes = bytes;
        }
        platter
    }

    pub fn state(&self) -> MutexGuard<'_, PlatterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails `count` operations, beginning with the `nth` from now.
    pub fn fail(&self, nth: u64, count: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        state.fail = Some((state.operations + nth, count, kind));
    }

    pub fn mend(&self) {
        let mut state = self.state();
        state.fail = None;
        state.reads_fail = false;
        state.then_read_only = false;
    }

    /// What is there when the power comes back: what was synced, and of what was not any part, in
    /// any order. `below` gives a number below the one it is asked with.
    pub fn after_power_loss(&self, below: &mut dyn FnMut(u64) -> u64) -> Platter {
        let state = self.state();
        let mut bytes = state.durable.clone();
        // Lengths are the file system's own record, and these arrive in order.
        for change in &state.pending {
            if let Change::Length(length) = change {
                if below(2) == 0 {
                    break;
                }
                bytes.resize(*length, 0);
            }
        }
        let mut writes: Vec<(usize, &[u8])> = Vec::new();
        for change in &state.pending {
            if let Change::Bytes(at, data) = change {
                let place = below(writes.len() as u64 + 1) as usize;
                writes.insert(place, (*at, data));
            }
        }
        for (at, data) in writes {
            match below(4) {
                // Forgotten.
                0 => {}
                1 => arrive(&mut bytes, at, data),
                // Torn at any byte.
                2 => {
                    let end = below(data.len() as u64 + 1) as usize;
                    arrive(&mut bytes, at, &data[..end]);
                }
                // Some sectors of it.
                _ => {
                    for (number, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        if below(2) == 0 {
                            arrive(&mut bytes, at + number * SECTOR_BYTES, sector);
                        }
                    }
                }
            }
        }
        Platter::of(bytes)
    }
}

/// Writes as much of this as the file is long.
fn arrive(bytes: &mut [u8], at: usize, data: &[u8]) {
    let end = (at + data.len()).min(bytes.len());
    if at < end {
        bytes[at..end].copy_from_slice(&data[..end - at]);
    }
}

impl PlatterState {
    fn operation(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.fail {
            Some((first, count, kind))
                if (first..first.saturating_add(count)).contains(&self.operations) =>
            {
                if self.then_read_only {
                    self.fail = Some((first, u64::MAX, io::ErrorKind::ReadOnlyFilesystem));
                }
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Platter {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        if state.reads_fail {
            return Err(io::Error::other("on purpose"));
        }
        let at = offset as usize;
        let from = state
            .bytes
            .get(at..at + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(from);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.bytes.resize(len as usize, 0);
        state.pending.push(Change::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        state.syncs += 1;
        let state = &mut *state;
        if state
            .syncs_fail_from
            .is_some_and(|from| state.syncs >= from)
        {
            return Err(io::ErrorKind::Other.into());
        }
        if let Some((_, unsynced)) = (state.failing_sync).take_if(|(nth, _)| state.syncs >= *nth) {
            match unsynced {
                Unsynced::Wait => {}
                Unsynced::Forgotten => state.pending.clear(),
                Unsynced::Kept => {
                    for change in state.pending.drain(..) {
                        change.reach(&mut state.durable);
                    }
                }
            }
            return Err(io::ErrorKind::Other.into());
        }
        if state.lies.as_mut().is_some_and(|lies| lies()) {
            return Ok(());
        }
        for change in state.pending.drain(..) {
            change.reach(&mut state.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.operation()?;
        let at = offset as usize;
        state.bytes[at..at + data.len()].copy_from_slice(data);
        state.pending.push(Change::Bytes(at, data.to_vec()));
        Ok(())
    }
}

//! The bytes of a database: those of its disk, or over them what is written without one.

use super::lock;
use redb::{BackendError, StorageBackend};
use std::collections::hash_map::{Entry, HashMap};
use std::io;
use std::ops::Bound;
use std::sync::Mutex;

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// All of it: what is there is read, and commits are kept.
    Writing,
    /// Nothing of the disk is changed.
    Reading,
}

/// A [`Disk`](super::Disk)'s bytes as redb takes them; with a scratch, nothing is written to the disk.
#[derive(Debug)]
pub(super) struct Backend {
    inner: Box<dyn StorageBackend>,
    scratch: Option<Mutex<Scratch>>,
}

const BLOCK_BYTES: usize = 4096;

/// Blocks written over those of the disk. redb writes a little even to open a file, for which a full
/// disk has no room; what a database writes that is only read is the few blocks of one repair.
#[derive(Debug)]
struct Scratch {
    blocks: HashMap<u64, Box<[u8; BLOCK_BYTES]>>,
    length: u64,
}

impl Backend {
    pub(super) fn new(inner: Box<dyn StorageBackend>, purpose: Purpose) -> io::Result<Backend> {
        let scratch = match purpose {
            Purpose::Writing => None,
            Purpose::Reading => Some(Mutex::new(Scratch {
                blocks: HashMap::new(),
                length: inner.len()?,
            })),
        };
        Ok(Backend { inner, scratch })
    }

    /// The block of the disk, with zeros where the disk has none.
    fn block(&self, number: u64) -> io::Result<Box<[u8; BLOCK_BYTES]>> {
        let mut block = Box::new([0; BLOCK_BYTES]);
        let at = number * BLOCK_BYTES as u64;
        let there = self.inner.len()?.saturating_sub(at);
        let there = there.min(BLOCK_BYTES as u64) as usize;
        if there > 0 {
            self.inner.read(at, &mut block[..there])?;
        }
        Ok(block)
    }
}

/// Splits `length` bytes at `offset` into (block, place in the block, place in the bytes, count).
fn blocks_of(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK_BYTES as u64) as usize;
        let count = (length - done).min(BLOCK_BYTES - within);
        let part = (at / BLOCK_BYTES as u64, within, done, count);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match &self.scratch {
            Some(scratch) => Ok(lock(scratch).length),
            None => self.inner.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(scratch) = &self.scratch else {
            return self.inner.read(offset, out);
        };
        let scratch = lock(scratch);
        if offset + out.len() as u64 > scratch.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at, count) in blocks_of(offset, out.len()) {
            let part = &mut out[at..at + count];
            match scratch.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[within..within + count]),
                None => part.copy_from_slice(&self.block(number)?[within..within + count]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.scratch {
            Some(scratch) => {
                lock(scratch).length = len;
                Ok(())
            }
            None => self.inner.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &self.scratch {
            Some(_) => Ok(()),
            None => self.inner.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(scratch) = &self.scratch else {
            return self.inner.write(offset, data);
        };
        let mut scratch = lock(scratch);
        for (number, within, at, count) in blocks_of(offset, data.len()) {
            let block = match scratch.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => place.insert(self.block(number)?),
            };
            block[within..within + count].copy_from_slice(&data[at..at + count]);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        match self.scratch {
            // What is opened for reading cannot be locked otherwise. It keeps out who would write.
            Some(_) => self.inner.try_lock_shared_range(start, end),
            None => self.inner.try_lock_range(start, end),
        }
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

//! A copy of all that a store holds at one moment.

use super::disk::{builder, explain, flatten, flatten_table, make_tables};
use super::tables::definition;
use super::{Options, Redb, lock};
use crate::store::engine::{Engine, KeyRange, Order, Reader, Table, count_records};
use crate::store::{Copied, CopyError, StoreError, file};
use redb::backends::FileBackend;
use redb::{CommitError, DatabaseError, StorageError};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Memory for pages of a copy, which is written and read once.
const COPY_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Writes every record that `engine` has at one moment into a new file at `path`, as the sealed
/// bytes that they are, for its owner only. It is durable and has been opened and compared when
/// this returns.
///
/// # Errors
/// [`CopyError::Exists`] when there is a file of that name: nothing is overwritten. Nothing is left
/// behind then, or after any other failure.
pub fn write_copy(engine: &dyn Engine, path: &Path) -> Result<Copied, CopyError> {
    write_copy_unless(engine, path, &AtomicBool::new(false))
}

/// As [`write_copy`], and gives up at the next record or before the next step once `is_cancelled` is
/// set. A step that has begun, and closing what was written, still wait for the disk.
///
/// # Errors
/// Also [`CopyError::Cancelled`].
pub fn write_copy_unless(
    engine: &dyn Engine,
    path: &Path,
    is_cancelled: &AtomicBool,
) -> Result<Copied, CopyError> {
    let of_file = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => CopyError::Exists(path.into()),
        io::ErrorKind::NotFound => CopyError::MissingDirectory(file::directory_of(path).into()),
        _ => explain(path, error.into()).into(),
    };
    // Said before the work is done and not only afterwards.
    if path.symlink_metadata().is_ok() {
        return Err(CopyError::Exists(path.into()));
    }
    let options = Options {
        cache_bytes: COPY_CACHE_BYTES,
        ..Options::default()
    };
    let (draft, file) = file::Draft::beside(path).map_err(of_file)?;
    let copied = Mutex::new(None);
    let mut file = Some(file);
    engine.view(|reader| {
        if let Some(file) = file.take() {
            let written = write_records(reader, draft.path(), file, &options, is_cancelled);
            *lock(&copied) = Some(written);
        }
        Ok(())
    })?;
    let records = lock(&copied)
        .take()
        .unwrap_or(Err(StoreError::Unknown.into()))?;
    go_on(is_cancelled)?;
    let copy = Redb::open(draft.path(), options)?;
    let found = (&copy as &dyn Engine).view(count_records)?;
    drop(copy);
    go_on(is_cancelled)?;
    if found != records {
        return Err(CopyError::Differs {
            written: records,
            found,
        });
    }
    let bytes = fs::metadata(draft.path()).map_err(of_file)?.len();
    draft.publish(path).map_err(of_file)?;
    Ok(Copied { records, bytes })
}

fn go_on(is_cancelled: &AtomicBool) -> Result<(), CopyError> {
    match is_cancelled.load(Ordering::Relaxed) {
        true => Err(CopyError::Cancelled),
        false => Ok(()),
    }
}

/// Writes every record that `reader` sees into a database in the empty `file`, unless it is cancelled;
/// returns how many.
pub(super) fn write_records(
    reader: &dyn Reader,
    path: &Path,
    file: fs::File,
    options: &Options,
    is_cancelled: &AtomicBool,
) -> Result<u64, CopyError> {
    let of_draft = |error: DatabaseError| CopyError::from(explain(path, error));
    let of_storage = |error: StorageError| of_draft(error.into());
    let synced = file.try_clone().map_err(|error| of_draft(error.into()))?;
    let backend = FileBackend::new(file).map_err(of_draft)?;
    let database = builder(options)
        .create_with_backend(backend)
        .map_err(of_draft)?;
    make_tables(&database).map_err(of_draft)?;
    let mut records = 0;
    let mut transaction = database
        .begin_write()
        .map_err(|error| of_storage(flatten(error)))?;
    transaction.set_two_phase_commit(true);
    for table in Table::ALL {
        let mut copy = transaction
            .open_table(definition(table))
            .map_err(|error| of_storage(flatten_table(error)))?;
        let mut failed = None;
        reader.scan(table, KeyRange::all(), Order::Forward, &mut |key, value| {
            let inserted = go_on(is_cancelled)
                .and_then(|()| copy.insert(key, value).map(drop).map_err(of_storage));
            match inserted {
                Ok(()) => {
                    records += 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    go_on(is_cancelled)?;
    transaction.commit().map_err(|error| match error {
        CommitError::Storage(error) => of_storage(error),
        error => of_storage(StorageError::Corrupted(error.to_string())),
    })?;
    database.close().map_err(of_draft)?;
    go_on(is_cancelled)?;
    synced.sync_all().map_err(|error| of_draft(error.into()))?;
    Ok(records)
}

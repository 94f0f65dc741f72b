//! Where the database lies: it is made, opened and checked there, and what is wrong with it is said in
//! a sentence.

use super::Options;
use super::backend::{Backend, Purpose};
use super::fault::{Fault, Refusal};
use super::tables::definition;
use crate::store::engine::Table;
use crate::store::{OpenError, file};
use redb::backends::FileBackend;
use redb::{
    Builder, CommitError, Database, DatabaseError, ReadableDatabase, StorageBackend, StorageError,
    TableError, TableHandle, TransactionError,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Room that must be there before the file is reopened after the disk took no writes: reopening
/// writes a few pages, and the updates that waited want some, too.
pub(super) const ROOM_BYTES: usize = 1024 * 1024;

/// Where the database lies.
pub trait Disk: Send + Sync {
    /// The bytes of the database, none where there is none yet. Those that are opened for reading are
    /// never written.
    fn open(&self, purpose: Purpose) -> Result<Box<dyn StorageBackend>, OpenError>;

    /// Whether there is room for what a reopening writes, and the updates that waited for it.
    fn has_room(&self) -> bool;

    /// What to call it in an error.
    fn path(&self) -> &Path;

    /// The file that another one may take the place of.
    fn replaceable(&self) -> Option<&Path> {
        None
    }
}

pub(super) struct FileDisk {
    path: PathBuf,
}

impl FileDisk {
    pub(super) fn at(path: &Path) -> FileDisk {
        FileDisk {
            path: path.to_path_buf(),
        }
    }

    /// Makes the file under another name, so that a crash never leaves half a store.
    pub(super) fn create(&self, options: &Options) -> Result<(), OpenError> {
        let make = || -> Result<(), DatabaseError> {
            let (draft, file) = file::Draft::beside(&self.path)?;
            let database = builder(options).create_with_backend(FileBackend::new(file)?)?;
            make_tables(&database)?;
            database.close()?;
            match draft.publish(&self.path) {
                // Another process was faster; opening will tell.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                published => Ok(published?),
            }
        };
        make().map_err(|error| self.explain(error))
    }

    fn explain(&self, error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() == io::ErrorKind::NotFound =>
            {
                OpenError::MissingDirectory(file::directory_of(&self.path).into())
            }
            error => explain(&self.path, error),
        }
    }
}

impl Disk for FileDisk {
    fn open(&self, purpose: Purpose) -> Result<Box<dyn StorageBackend>, OpenError> {
        let explain = |error: io::Error| self.explain(error.into());
        let file = OpenOptions::new()
            .read(true)
            .write(purpose == Purpose::Writing)
            .open(&self.path)
            .map_err(explain)?;
        let metadata = file.metadata().map_err(explain)?;
        if !metadata.is_file() {
            return Err(OpenError::NotAFile(self.path.clone()));
        }
        if let Some(mode) = file::mode_if_too_open(&file).map_err(explain)? {
            return Err(OpenError::TooOpen {
                path: self.path.clone(),
                mode,
            });
        }
        if metadata.len() == 0 {
            return Err(OpenError::Empty(self.path.clone()));
        }
        match FileBackend::new(file) {
            Ok(backend) => Ok(Box::new(backend)),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn has_room(&self) -> bool {
        let path = file::with_suffix(&self.path, ".room");
        let try_it = || {
            let mut room = fs::File::create(&path)?;
            // Not zeros, which a file system may store as nothing.
            room.write_all(&vec![0xA5; ROOM_BYTES])?;
            room.sync_data()
        };
        let has_room = try_it().is_ok();
        // Whether it goes away changes nothing about the answer; the next try replaces it.
        let _ = fs::remove_file(&path);
        has_room
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn replaceable(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

pub(super) fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    // Every page is read and compared with its checksum before anything is served.
    builder.set_check_integrity_on_open(true);
    builder
}

/// Opens and checks the database, and makes the tables it lacks.
pub(super) fn open_checked(
    disk: &dyn Disk,
    options: &Options,
    purpose: Purpose,
) -> Result<Database, OpenError> {
    let open = || {
        let database = disk.open(purpose).and_then(|inner| {
            Backend::new(inner, purpose)
                .map_err(DatabaseError::from)
                .and_then(|backend| builder(options).create_with_backend(backend))
                .map_err(|error| explain(disk.path(), error))
        })?;
        let known = table_names(&database).map_err(|error| explain(disk.path(), error))?;
        let lacks = |table: &Table| !known.iter().any(|name| name == table.name());
        // A redb file of somebody else's is not given our tables.
        if !known.is_empty() && lacks(&Table::Format) {
            return Err(OpenError::Foreign(disk.path().into()));
        }
        if Table::ALL.iter().any(lacks) {
            make_tables(&database).map_err(|error| explain(disk.path(), error))?;
        }
        Ok(database)
    };
    // A panic while opening leaves nothing that is used again.
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
        Err(OpenError::Damaged {
            path: disk.path().into(),
            detail: Fault::panicked().to_string(),
        })
    })
}

fn table_names(database: &Database) -> Result<Vec<String>, DatabaseError> {
    let transaction = database.begin_read().map_err(flatten)?;
    let tables = transaction.list_tables()?;
    Ok(tables.map(|table| table.name().to_owned()).collect())
}

pub(super) fn make_tables(database: &Database) -> Result<(), DatabaseError> {
    let mut transaction = database.begin_write().map_err(flatten)?;
    transaction.set_two_phase_commit(true);
    for table in Table::ALL {
        transaction
            .open_table(definition(table))
            .map_err(flatten_table)?;
    }
    transaction.commit().map_err(|error| match error {
        CommitError::Storage(error) => error,
        error => StorageError::Corrupted(error.to_string()),
    })?;
    Ok(())
}

pub(super) fn flatten_table(error: TableError) -> StorageError {
    match error {
        TableError::Storage(error) => error,
        error => StorageError::Corrupted(error.to_string()),
    }
}

pub(super) fn flatten(error: TransactionError) -> StorageError {
    match error {
        TransactionError::Storage(error) => error,
        error => StorageError::Corrupted(error.to_string()),
    }
}

/// redb's words for a file that is shorter than it says, and for one of a later layout. Should they
/// change, such a file is called damaged, which is as true.
const TRUNCATED: &str = "File truncated";
const NEWER: &str = "Expected file format version";

pub(super) fn explain(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::AlreadyOpen(path)
        }
        DatabaseError::UpgradeRequired(_) => OpenError::Foreign(path),
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            io::ErrorKind::PermissionDenied => OpenError::Denied(path),
            io::ErrorKind::IsADirectory => OpenError::NotAFile(path),
            io::ErrorKind::NotADirectory => {
                OpenError::MissingDirectory(file::directory_of(&path).into())
            }
            io::ErrorKind::InvalidData => OpenError::Foreign(path),
            io::ErrorKind::UnexpectedEof => OpenError::Truncated(path),
            _ => match Refusal::meant_by(&source) {
                Some(Refusal::Full) => OpenError::Full(path),
                Some(Refusal::ReadOnly) => OpenError::ReadOnly(path),
                None => OpenError::Io { path, source },
            },
        },
        DatabaseError::Storage(StorageError::Corrupted(what)) if what.starts_with(TRUNCATED) => {
            OpenError::Truncated(path)
        }
        DatabaseError::Storage(StorageError::Corrupted(what)) if what.starts_with(NEWER) => {
            OpenError::NewerFile(path)
        }
        DatabaseError::Storage(StorageError::Corrupted(detail)) => {
            OpenError::Damaged { path, detail }
        }
        error => OpenError::Damaged {
            path,
            detail: error.to_string(),
        },
    }
}

//! What can go wrong beneath the store, and what callers are told of it.

use crate::store::{OpenError, StoreError};
use redb::{CommitError, StorageError, TableError, TransactionError};
use std::io;

/// Why a disk takes no writes that can be read all the same: nothing is wrong with what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no room.
    Full,
    /// It is mounted for reading, perhaps by the system itself after an error.
    ReadOnly,
}

impl Refusal {
    pub(super) fn meant_by(error: &io::Error) -> Option<Refusal> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Refusal::Full),
            io::ErrorKind::ReadOnlyFilesystem => Some(Refusal::ReadOnly),
            _ => None,
        }
    }

    pub(super) fn told_by(error: &OpenError) -> Option<Refusal> {
        match error {
            OpenError::Full(_) => Some(Refusal::Full),
            OpenError::ReadOnly(_) => Some(Refusal::ReadOnly),
            _ => None,
        }
    }

    pub(super) fn into_error(self) -> StoreError {
        match self {
            Refusal::Full => StoreError::Full,
            Refusal::ReadOnly => StoreError::ReadOnly,
        }
    }
}

/// What went wrong beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Refused(Refusal),
    /// The file was closed, to be reopened, while a view was reading.
    Closed,
    Io(String),
    Damaged(String),
}

impl Fault {
    pub(super) fn panicked() -> Fault {
        Fault::Damaged("reading the file caused a panic".into())
    }

    pub(super) fn before_commit(&self) -> StoreError {
        match self {
            Fault::Refused(refusal) => refusal.into_error(),
            fault => StoreError::Unavailable(fault.to_string()),
        }
    }

    pub(super) fn at_commit(&self) -> StoreError {
        match self {
            Fault::Refused(refusal) => refusal.into_error(),
            _ => StoreError::Unknown,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Refused(Refusal::Full) => formatter.write_str("the disk is full"),
            Fault::Refused(Refusal::ReadOnly) => formatter.write_str("the disk is read-only"),
            Fault::Closed => formatter.write_str("the file is being reopened"),
            Fault::Io(what) => write!(formatter, "the disk failed ({what})"),
            Fault::Damaged(what) => write!(formatter, "the file is damaged ({what})"),
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Fault {
        match error {
            StorageError::Io(error) => match Refusal::meant_by(&error) {
                Some(refusal) => Fault::Refused(refusal),
                None => Fault::Io(StorageError::Io(error).to_string()),
            },
            StorageError::DatabaseClosed => Fault::Closed,
            StorageError::Corrupted(what) => Fault::Damaged(what),
            StorageError::LockPoisoned(_) => Fault::panicked(),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Fault {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Fault {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Fault {
        match error {
            TableError::Storage(error) => error.into(),
            error => Fault::Damaged(error.to_string()),
        }
    }
}

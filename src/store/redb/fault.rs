//! What can go wrong beneath the store, and what callers are told of it.

use crate::store::StoreError;
use redb::{CommitError, StorageError, TableError, TransactionError};
use std::io;

/// What went wrong beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Full,
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
            Fault::Full => StoreError::Full,
            fault => StoreError::Unavailable(fault.to_string()),
        }
    }

    pub(super) fn at_commit(&self) -> StoreError {
        match self {
            Fault::Full => StoreError::Full,
            _ => StoreError::Unknown,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Full => formatter.write_str("the disk is full"),
            Fault::Closed => formatter.write_str("the file is being reopened"),
            Fault::Io(what) => write!(formatter, "the disk failed ({what})"),
            Fault::Damaged(what) => write!(formatter, "the file is damaged ({what})"),
        }
    }
}

pub(super) fn means_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Fault {
        match error {
            StorageError::Io(error) if means_full(&error) => Fault::Full,
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

//! Bytes in ordered tables, kept safe: everything Portero remembers goes through here.
//!
//! From the bottom up: [`engine`] is the contract (four operations on named tables, `view` and
//! `update`), [`redb`] keeps it in one file with a shared durable commit, [`memory`] keeps it in
//! maps for tests and simulation, and [`seal`] makes every record unreadable without the master key
//! and every altered record an error. [`migrate`] brings a store of an older format forward.
//!
//! What holds whatever the engine:
//! - an update that returned `Ok` is durable; one that returned `Err` left nothing, except
//!   [`StoreError::Unknown`], [`StoreError::Full`] and [`StoreError::ReadOnly`], after which that is
//!   unknown;
//! - an update that fails or panics does not disturb the others that share its commit;
//! - an altered or swapped record is [`StoreError::Damaged`], never a wrong value.

pub mod engine;
mod file;
pub mod memory;
pub mod migrate;
pub mod record;
pub mod redb;
mod restore;
pub mod seal;
mod snapshots;

#[cfg(test)]
mod contract;

use std::borrow::Cow;
use std::path::PathBuf;

pub use engine::{Engine, KeyRange, Order, Reader, Table, Writer};
pub use memory::Memory;
pub use redb::{Redb, write_copy, write_copy_unless};
pub use restore::{RestoreError, Restored, restore};
pub use seal::{MasterKey, Sealed};
pub use snapshots::{SNAPSHOT_EVERY_MS, Snapshots};

/// Why an operation on an open store did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The commit failed, and nobody can say whether its records are there: after a failed fsync
    /// they often are. The caller reads again before it acts, or repeats an update that does
    /// nothing the second time.
    #[error("the commit failed and its outcome is unknown")]
    Unknown,
    /// The disk is full; for an update that was just being committed the outcome is as unknown as
    /// with [`StoreError::Unknown`]. Reads go on, and updates do by themselves once there is room.
    #[error("the disk that holds the store is full")]
    Full,
    /// The disk has become read-only, as a system does to it after an error; else as with
    /// [`StoreError::Full`].
    #[error("the disk that holds the store is read-only")]
    ReadOnly,
    /// The disk or the file failed before the commit: nothing was stored. The engine has reopened
    /// the file, or is about to; the call may be repeated.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The engine gave up: reopening did not help. Every call gets this from now on, and the
    /// process should end with an error so that its supervisor starts a new one.
    #[error("the store has stopped: {0}")]
    Broken(String),
    /// One record is not what was stored under its key, or was sealed with another key.
    #[error("a record in table {} is damaged", table.name())]
    Damaged {
        /// The table that holds the record.
        table: Table,
    },
    /// The key or the value is longer than [`engine::KEY_BYTES_MAX`] or
    /// [`engine::VALUE_BYTES_MAX`].
    #[error("a record for table {} is too large", table.name())]
    TooLarge {
        /// The table it was meant for.
        table: Table,
    },
    /// The body of the update panicked; nothing was stored.
    #[error("the body of an update panicked")]
    BodyPanicked,
    /// The body of an update called `update` itself, which would wait for its own end.
    #[error("an update was started inside an update")]
    Nested,
    /// The body decided to leave nothing, for the reason it gives. No engine makes this one.
    #[error("the update was given up: {0}")]
    Aborted(&'static str),
}

/// Why a store cannot be opened: what is the matter. What to do about it, says [`OpenError::advice`].
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory that should hold the file does not exist.
    #[error("The directory {} does not exist", .0.display())]
    MissingDirectory(PathBuf),
    /// The path names a directory or a device.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// The operating system denies access.
    #[error("{} may not be read and written by this user", .0.display())]
    Denied(PathBuf),
    /// The file system is mounted read-only.
    #[error("{} is on a read-only file system", .0.display())]
    ReadOnly(PathBuf),
    /// The disk has no room for what opening must write.
    #[error("The disk that holds {} is full", .0.display())]
    Full(PathBuf),
    /// Group or others may access the file.
    #[error("{} can be accessed by other users (mode {mode:04o})", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process, or another handle in this one, has the file open.
    #[error("{} is in use by another process", .0.display())]
    AlreadyOpen(PathBuf),
    /// The file has no bytes at all, which no store ever has.
    #[error("{} is empty, and a store never is: its content has been lost", .0.display())]
    Empty(PathBuf),
    /// The file is something else.
    #[error("{} is not a Portero store", .0.display())]
    Foreign(PathBuf),
    /// The file has lost its end.
    #[error("{} has been cut short", .0.display())]
    Truncated(PathBuf),
    /// The file does not pass the integrity check.
    #[error("{} is damaged ({detail})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the check found.
        detail: String,
    },
    /// The layout of the file is newer than the engine.
    #[error("{} was written by a newer version of Portero", .0.display())]
    NewerFile(PathBuf),
    /// The records are in a format newer than this program.
    #[error(
        "The store was written by a newer version of Portero (format {found}, this one knows {supported})"
    )]
    NewerFormat {
        /// The format of the store.
        found: u32,
        /// The newest format this program reads.
        supported: u32,
    },
    /// The store does not say what format it is in.
    #[error("The store holds records but not the mark every store begins with")]
    Unmarked,
    /// The master key is not the one the store was sealed with.
    #[error("The store is sealed with another key")]
    WrongKey,
    /// Something else the operating system said.
    #[error("{} cannot be opened: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The store opened, but its first records could not be read or written.
    #[error("The store cannot be used: {0}")]
    Store(#[from] StoreError),
}

impl OpenError {
    /// What to do about it, a sentence.
    pub fn advice(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            OpenError::MissingDirectory(_) => {
                "Create it (mkdir -p), or correct the path of the store in the configuration."
            }
            OpenError::NotAFile(_) => {
                "Correct the path of the store in the configuration; it names a file, not a directory."
            }
            OpenError::Denied(_) => {
                "Give the file and its directory to the user that runs Portero (chown)."
            }
            OpenError::ReadOnly(_) => "Mount it for writing, or move the store elsewhere.",
            OpenError::Full(_) => "Free some space and start again; nothing is lost.",
            OpenError::TooOpen { path, .. } => {
                return format!("Run: chmod 600 {}", path.display()).into();
            }
            OpenError::AlreadyOpen(_) => {
                "Stop the other Portero first, or give this one a store of its own."
            }
            OpenError::Empty(_) => {
                "Restore a copy of the store (`portero restore`), or remove the file to begin anew."
            }
            OpenError::Foreign(_) => {
                "Correct the path of the store in the configuration; the file has not been touched."
            }
            OpenError::Truncated(_) => {
                "Restore a copy of the store (`portero restore`); do not start on this file."
            }
            OpenError::Damaged { .. } => {
                "Restore a copy of the store (`portero restore`, which keeps the damaged file)."
            }
            OpenError::NewerFile(_) => "Run that version, or restore a copy made by this one.",
            OpenError::NewerFormat { .. } => {
                "Run that version; or go back with `portero restore` to a copy from before, such as the snapshot before-format-….redb that was made before the format was changed."
            }
            OpenError::Unmarked => "Restore a copy of the store (`portero restore`).",
            OpenError::WrongKey => {
                "Use the key file it was made with; a copy needs the key of the store it was made of, too."
            }
            OpenError::Io { .. } => {
                "Check the disk and the path of the store in the configuration."
            }
            OpenError::Store(_) => "Check the disk, then start again.",
        })
    }

    /// What is wrong and what to do, in two sentences.
    pub fn with_advice(&self) -> String {
        format!("{self}. {}", self.advice())
    }
}

/// A copy of a store that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// How many records are in it.
    pub records: u64,
    /// How long the file is.
    pub bytes: u64,
}

/// Why a copy of a store was not written. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Something has that name.
    #[error("{} is there already, and nothing is overwritten. Choose another name.", .0.display())]
    Exists(PathBuf),
    /// The directory that should hold the copy does not exist.
    #[error("The directory {} does not exist. Create it (mkdir -p), or choose another one for the copy.", .0.display())]
    MissingDirectory(PathBuf),
    /// Whoever makes it wants to end.
    #[error("No copy was made, because Portero stopped meanwhile.")]
    Cancelled,
    /// The disk lost something.
    #[error(
        "The copy does not hold what was written to it ({found} of {written} records). Check the disk."
    )]
    Differs {
        /// Records written.
        written: u64,
        /// Records found.
        found: u64,
    },
    /// The file of the copy.
    #[error("{}", .0.with_advice())]
    Open(#[from] OpenError),
    /// What was to be copied.
    #[error(transparent)]
    Store(#[from] StoreError),
}

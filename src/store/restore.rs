//! A copy takes the place of the store, and whoever was erased stays erased.

use super::engine::{Engine, count_records};
use super::record::{self, AuditLine, Keys, People};
use super::{
    CopyError, OpenError, Redb, Sealed, Snapshots, StoreError, Table, file, seal, write_copy,
};
use crate::domain::time::Timestamp;
use crate::store::migrate::FORMAT_VERSION;
use crate::store::redb::Options;
use crate::store::{KeyRange, Order, Reader};
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Records in the store now.
    pub records: u64,
    /// Contacts that were in the copy and had been erased since.
    pub erased_again: usize,
    /// Whether it is known who was erased since; not when neither the store before nor a snapshot
    /// of it can be read.
    pub erasures_known: bool,
    /// Where the store before is now, if there was one.
    pub kept_at: Option<PathBuf>,
}

/// Why nothing was restored. Everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no such file, or it cannot be read.
    #[error("{} cannot be read: {source}.", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is the store.
    #[error("{} is the store itself. Name a copy of it.", .0.display())]
    TheStore(PathBuf),
    /// The copy is of no use.
    #[error("The copy cannot be used. {0}")]
    Useless(String),
    /// The place of the store.
    #[error("{}", .0.with_advice())]
    Store(#[from] OpenError),
    /// Writing beside the store.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The name of the store could not be changed.
    #[error("{} could not be put aside or replaced: {source}.", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl RestoreError {
    /// Whether a running process has the store.
    pub fn is_in_use(&self) -> bool {
        matches!(self, RestoreError::Store(OpenError::AlreadyOpen(_)))
    }
}

/// Whether the file is not a whole store, whichever key there is.
fn is_no_store(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::Empty(_)
            | OpenError::Foreign(_)
            | OpenError::Truncated(_)
            | OpenError::Damaged { .. }
            | OpenError::Unmarked
    )
}

/// Puts the records of the copy `from` in the place of the store at `path`. The copy is only read;
/// all of it is opened with the key first. The store that is there is put aside, not overwritten.
/// What was erased since the copy was made, by the marks in that store or in its newest snapshot, is
/// erased again before anything takes the name of the store, and `line` is written down in its audit.
pub fn restore(
    from: &Path,
    path: &Path,
    keys: &Keys,
    snapshots: &Snapshots,
    line: &AuditLine,
) -> Result<Restored, RestoreError> {
    let unreadable = |source| RestoreError::Unreadable {
        path: from.into(),
        source,
    };
    let mut copy = File::open(from).map_err(unreadable)?;
    let of_copy = copy.metadata().map_err(unreadable)?;
    if !of_copy.is_file() {
        return Err(unreadable(io::ErrorKind::InvalidInput.into()));
    }
    let before = fs::metadata(path).ok();
    if (before.as_ref()).is_some_and(|m| (m.dev(), m.ino()) == (of_copy.dev(), of_copy.ino())) {
        return Err(RestoreError::TheStore(from.into()));
    }
    // Ours until the end: no server starts on it meanwhile. One that is damaged nobody can start on.
    let present = match before.is_some() {
        true => match Redb::open(path, Options::default()) {
            Err(error @ OpenError::AlreadyOpen(_)) => return Err(error.into()),
            opened => opened.ok(),
        },
        false => None,
    };
    let present = present.map(|engine| Arc::new(engine) as Arc<dyn Engine>);
    let mut erasures = present
        .as_ref()
        .and_then(|engine| erasures_in(engine, keys));
    if erasures.is_none() && before.is_some() {
        let newest = snapshots.list().unwrap_or_default().into_iter().next();
        let newest = newest.and_then(|(_, path)| Redb::open(&path, Options::default()).ok());
        erasures = newest.and_then(|engine| erasures_in(&(Arc::new(engine) as _), keys));
    }

    let of_place = |source| RestoreError::Place {
        path: path.into(),
        source,
    };
    let (draft, mut draft_file) =
        file::Draft::at(file::with_suffix(path, ".restore")).map_err(of_place)?;
    io::copy(&mut copy, &mut draft_file)
        .and_then(|_| draft_file.sync_all())
        .map_err(of_place)?;
    drop(draft_file);
    // The copy's name is what the operator knows, and what helps with a store that is no store does
    // not help with a copy.
    let useless = |error: OpenError| {
        let advice = match is_no_store(&error) {
            true => "Name another one.".into(),
            false => error.advice(),
        };
        let words = format!("{error}. {advice}");
        let (of_draft, of_copy) = (draft.path().display(), from.display());
        RestoreError::Useless(words.replace(&of_draft.to_string(), &of_copy.to_string()))
    };
    let engine = Redb::open(draft.path(), Options::default()).map_err(useless)?;
    let engine: Arc<dyn Engine> = Arc::new(engine);
    if seal::format_of(&*engine).map_err(useless)?.is_none() {
        return Err(useless(OpenError::Unmarked));
    }
    let sealed = Sealed::open(Arc::clone(&engine), keys.master()).map_err(useless)?;
    sealed
        .view(open_all)
        .map_err(|error| useless(error.into()))?;
    let erasures_known = erasures.is_some() || before.is_none();
    let erased_again =
        erase_again(&sealed, keys, erasures.unwrap_or_default(), line).map_err(CopyError::from)?;

    let kept_at = match before {
        // Nothing is overwritten: if a store has come meanwhile, this fails.
        None => {
            write_copy(&*engine, path)?;
            None
        }
        Some(_) => {
            let fresh = file::with_suffix(path, ".restored");
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(of_place(error));
                }
                _ => {}
            }
            write_copy(&*engine, &fresh)?;
            let aside = file::with_suffix(path, &format!(".before-{}", line.at_ms));
            // A second name first, so that at no moment there is no store: a server that started
            // then would make an empty one.
            let placed = fs::hard_link(path, &aside)
                .and_then(|()| fs::rename(&fresh, path))
                .and_then(|()| file::sync_directory(path));
            if let Err(error) = placed {
                let _ = fs::remove_file(&fresh);
                return Err(of_place(error));
            }
            Some(aside)
        }
    };
    let records = engine.view(count_records).map_err(CopyError::from)?;
    Ok(Restored {
        records,
        erased_again,
        erasures_known,
        kept_at,
    })
}

fn erasures_in(engine: &Arc<dyn Engine>, keys: &Keys) -> Option<Vec<(Vec<u8>, Timestamp)>> {
    // It is only read, also where it is of an older format.
    let sealed = Sealed::open_before(Arc::clone(engine), keys.master(), FORMAT_VERSION).ok()?;
    sealed.view(record::erasures).ok()
}

fn erase_again(
    store: &Sealed,
    keys: &Keys,
    erasures: Vec<(Vec<u8>, Timestamp)>,
    line: &AuditLine,
) -> Result<usize, StoreError> {
    let (keys, line) = (keys.clone(), line.clone());
    store.update(move |writer| {
        record::take_over_erasures(writer, &erasures)?;
        let contacts = record::contacts_back(writer, &keys)?;
        let back = contacts.len();
        let people = People {
            contacts,
            addresses: Vec::new(),
            with_erased: true,
        };
        record::traces(writer, &keys, &people)?.erase(writer)?;
        let number = record::last_number(writer)?.saturating_add(1);
        record::put_audit(writer, &keys, number, line.clone())?;
        Ok(back)
    })
}

/// Opens every record, so that nothing that is damaged takes the place of what may not be.
fn open_all(reader: &dyn Reader) -> Result<(), StoreError> {
    for table in Table::ALL {
        if table != Table::Format {
            let all = KeyRange::all();
            reader.scan(table, all, Order::Forward, &mut |_, _| {
                ControlFlow::Continue(())
            })?;
        }
    }
    Ok(())
}

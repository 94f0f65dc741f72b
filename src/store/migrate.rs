//! A store of an older format becomes one of the newer, a little at a time.
//!
//! Records carry the version of their own shape and older ones are read for ever, so that most
//! changes need nothing of this; what does is another meaning of keys or of a whole table. Each such
//! change is one [`Step`] at the end of [`STEPS`], never altered afterwards.
//!
//! What must stay true:
//! - Before anything is changed there is a snapshot of the store as it was. What is half changed is
//!   no way back: from the first change to the last there is no other one.
//! - The mark of the store is raised first. From then on an older program refuses it, for it would
//!   take the records that are changed already for damaged ones.
//! - A batch and the place that it has come to are one transaction, and so are the end of a step and
//!   the beginning of the one after it. Whenever the process ends, the next start goes on there, and
//!   no record is changed twice.

use super::engine::{Engine, Table, Writer};
use super::record::{self, Keys};
use super::{CopyError, MasterKey, OpenError, Sealed, Snapshots, StoreError, seal};
use crate::domain::time::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// From each format to the next one, the first of them from format 1.
pub const STEPS: &[Step] = &[Step {
    name: "people are found by the end of their number and by their address",
    run: record::numbers_by_their_ends_and_addresses,
}];

/// What the records of this program mean. A store with a greater one is not opened.
pub const FORMAT_VERSION: u32 = format_after(STEPS);

/// How far a step has come; there as long as the store is between two formats.
const PROGRESS_KEY: &[u8] = b"migration";

/// Changes a bounded number of records after the place that it was given; at the beginning that is
/// none. Returns the place that it has come to, or nothing when it is done. It may be run again for
/// the same place, after its changes were given up.
pub type RunBatch =
    fn(&mut dyn Writer, &Keys, Option<&[u8]>) -> Result<Option<Vec<u8>>, StoreError>;

/// One change of the format.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it changes, for the log.
    pub name: &'static str,
    /// Changes some records.
    pub run: RunBatch,
}

/// The format that a store has after all of these.
pub const fn format_after(steps: &[Step]) -> u32 {
    1 + steps.len() as u32
}

/// Opens a store with its key and brings it to the format after `steps`, if it is of an older one,
/// with a snapshot from before. Tells where that is, if one was made: none is when an earlier start
/// has begun to change the store.
///
/// # Errors
/// As [`Sealed::open`]; also when there is no room for the snapshot, and then nothing has changed.
pub fn open(
    engine: Arc<dyn Engine>,
    key: &MasterKey,
    snapshots: &Snapshots,
    now: Timestamp,
    steps: &[Step],
) -> Result<(Sealed, Option<PathBuf>), CopyError> {
    let format = seal::format_of(&*engine)?;
    let newest = format_after(steps);
    let made = match format {
        Some(format) if format < newest => {
            // A snapshot that the right key does not open would be no way back.
            let store = Sealed::open_before(Arc::clone(&engine), key, newest)?;
            match is_under_way(&store)? {
                true => None,
                false => {
                    let path = snapshots.make_before(newest, &*engine, now)?;
                    tracing::info!(
                        format,
                        path = %path.display(),
                        "the store is of an older format; a snapshot was made of it before it is changed"
                    );
                    Some(path)
                }
            }
        }
        Some(_) | None => None,
    };
    Ok((open_for(engine, key, steps)?, made))
}

/// The same without a snapshot: for a copy that nobody else has.
pub(super) fn open_for(
    engine: Arc<dyn Engine>,
    key: &MasterKey,
    steps: &[Step],
) -> Result<Sealed, OpenError> {
    let newest = format_after(steps);
    let store = Sealed::open_before(Arc::clone(&engine), key, newest)?;
    let mut format = seal::format_of(&*engine)?.ok_or(OpenError::Unmarked)?;
    if !is_under_way(&store)? {
        if format >= newest {
            return Ok(store);
        }
        format += 1;
        let begun = format;
        store.update_format(move |writer| Ok(((), Some(begin(writer, begun)?))))?;
    }
    let keys = Keys::new(key.clone());
    loop {
        // The mark is that of the format to come.
        let step = (format as usize)
            .checked_sub(2)
            .and_then(|at| steps.get(at));
        let step = *step.ok_or(OpenError::Unmarked)?;
        tracing::info!(format, step.name, "the store is brought to a newer format");
        let following = (format < newest).then_some(format + 1);
        loop {
            let keys = keys.clone();
            if store.update_format(move |writer| one_batch(writer, &keys, step, following))? {
                break;
            }
        }
        tracing::info!(format, step.name, "the store is of the newer format");
        match following {
            Some(following) => format = following,
            None => return Ok(store),
        }
    }
}

fn is_under_way(store: &Sealed) -> Result<bool, StoreError> {
    let progress = store.view(|reader| reader.get(Table::Format, PROGRESS_KEY))?;
    Ok(progress.is_some())
}

/// Begins the step to `format`, which is the mark of the store from then on.
fn begin(writer: &mut dyn Writer, format: u32) -> Result<u32, StoreError> {
    writer.put(Table::Format, PROGRESS_KEY, &[])?;
    Ok(format)
}

/// Whether the step is done, and the format of the step that was begun after it.
fn one_batch(
    writer: &mut dyn Writer,
    keys: &Keys,
    step: Step,
    following: Option<u32>,
) -> Result<(bool, Option<u32>), StoreError> {
    let place = writer.get(Table::Format, PROGRESS_KEY)?.unwrap_or_default();
    let place = Some(place.as_slice()).filter(|place| !place.is_empty());
    if let Some(place) = (step.run)(writer, keys, place)? {
        writer.put(Table::Format, PROGRESS_KEY, &place)?;
        return Ok((false, None));
    }
    let begun = match following {
        Some(format) => Some(begin(writer, format)?),
        None => {
            writer.delete(Table::Format, PROGRESS_KEY)?;
            None
        }
    };
    Ok((true, begun))
}

#[cfg(test)]
pub(super) mod tests;

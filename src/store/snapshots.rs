//! Copies of the store in a folder of their own, the newest few.
//!
//! Each is a whole store, sealed like the one it is of, and named for the moment it is of.

use super::engine::Engine;
use super::{CopyError, OpenError, file, write_copy};
use crate::domain::id::{HOUR_MS, Timestamp};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// From one snapshot to the next (R-53: a restore loses no more than this).
pub const SNAPSHOT_EVERY_MS: u64 = HOUR_MS;

/// In UTC, so that names are ordered as their moments are.
const NAME: StaticFormatDescription = format_description!(
    "portero-[year][month][day]T[hour][minute][second].[subsecond digits:3]Z.redb"
);

/// A folder of snapshots.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    kept: usize,
}

impl Snapshots {
    /// The newest `kept` in `folder`, which need not exist yet. With 0 none are made.
    pub fn new(folder: PathBuf, kept: usize) -> Snapshots {
        Snapshots { folder, kept }
    }

    /// The same, of which at least `count` are kept.
    #[must_use]
    pub fn at_least(&self, count: usize) -> Snapshots {
        Snapshots {
            kept: self.kept.max(count),
            ..self.clone()
        }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether any are made.
    pub fn are_made(&self) -> bool {
        self.kept > 0
    }

    /// Every snapshot with its moment, the newest first. Other files are not looked at.
    pub fn list(&self) -> io::Result<Vec<(Timestamp, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(at) = name.and_then(moment_of) {
                found.push((at, path));
            }
        }
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Makes one and removes those that are too many.
    ///
    /// # Errors
    /// Why there is none. One that cannot be removed is only noted in the log.
    pub fn make(&self, engine: &dyn Engine, now: Timestamp) -> Result<PathBuf, CopyError> {
        let of_folder = |source| {
            CopyError::Open(OpenError::Io {
                path: self.folder.clone(),
                source,
            })
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(of_folder)?;
        self.remove_drafts();
        let path = self.folder.join(name_of(now));
        write_copy(engine, &path)?;
        self.remove(self.list().map_err(of_folder)?.into_iter().skip(self.kept));
        Ok(path)
    }

    /// Removes all but this one; returns how many went.
    ///
    /// # Errors
    /// When there may be some left.
    pub fn remove_all_but(&self, spared: Option<&Path>) -> io::Result<usize> {
        self.remove_drafts();
        let mut removed = 0;
        for (_, path) in self.list()? {
            if spared != Some(path.as_path()) {
                fs::remove_file(&path)?;
                removed += 1;
            }
        }
        if removed > 0 {
            file::sync_directory(&self.folder.join("portero"))?;
        }
        Ok(removed)
    }

    fn remove(&self, snapshots: impl Iterator<Item = (Timestamp, PathBuf)>) {
        for (_, path) in snapshots {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, "an old snapshot could not be removed");
            }
        }
    }

    /// What processes left that ended while they made one.
    fn remove_drafts(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str());
            let is_draft = name
                .and_then(|name| name.split_once(".new-"))
                .is_some_and(|(name, _)| moment_of(name).is_some());
            if is_draft && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, "an unfinished snapshot could not be removed");
            }
        }
    }
}

fn name_of(at: Timestamp) -> String {
    // What is beyond the calendar was never a moment of ours.
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(NAME)
        .unwrap_or_default()
}

fn moment_of(name: &str) -> Option<Timestamp> {
    let at = time::PrimitiveDateTime::parse(name, NAME)
        .ok()?
        .assume_utc();
    let ms = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some(Timestamp(ms))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::Memory;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_newest_few_are_kept_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(folder.path().join("snapshots"), 2);
        assert_eq!(snapshots.list().unwrap(), []);
        let start = Timestamp(1_800_000_000_000);
        let memory = Memory::new();
        snapshots.make(&memory, start).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(snapshots.folder()), 0o700);
        let other = snapshots.folder().join("notes.txt");
        let draft = snapshots.folder().join(name_of(start) + ".new-17");
        fs::write(&other, "").unwrap();
        fs::write(&draft, "").unwrap();
        for hour in 1..4 {
            snapshots
                .make(&memory, start.plus_ms(hour * HOUR_MS))
                .unwrap();
        }
        let listed = snapshots.list().unwrap();
        let moments: Vec<Timestamp> = listed.iter().map(|(at, _)| *at).collect();
        assert_eq!(moments, [3, 2].map(|hour| start.plus_ms(hour * HOUR_MS)));
        assert_eq!(mode(&listed[0].1), 0o600);
        assert!(other.exists() && !draft.exists());
        assert_eq!(snapshots.remove_all_but(Some(&listed[0].1)).unwrap(), 1);
        assert_eq!(snapshots.list().unwrap(), listed[..1]);
    }
}

//! Copies of the store in a folder of their own: the newest few of every hour, and the one from
//! before the last change of its format.
//!
//! Each is a whole store, sealed like the one it is of, and named for the moment it is of. The one
//! from before a change of the format is the way back to the program before. Hourly ones never
//! displace it; the next change of the format does, and so does whoever is forgotten, who would be
//! in it for ever.

use super::engine::Engine;
use super::{CopyError, OpenError, file, write_copy_unless};
use crate::domain::time::{HOUR_MS, Timestamp};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

/// From one snapshot to the next (R-53: a restore loses no more than this).
pub const SNAPSHOT_EVERY_MS: u64 = HOUR_MS;

/// In UTC, so that names are ordered as their moments are.
const NAME: StaticFormatDescription = format_description!(
    "portero-[year][month][day]T[hour][minute][second].[subsecond digits:3]Z.redb"
);

/// In front of the name of one from before a change of the format; the format to come follows.
const BEFORE_FORMAT: &str = "before-format-";

/// Of a change of the format there is one way back.
const BEFORE_FORMAT_KEPT: usize = 1;

/// Why there is a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An hour is over.
    Hourly,
    /// The store is about to be brought to a format.
    BeforeFormat(u32),
}

/// A folder of snapshots.
#[derive(Clone, Debug)]
pub struct Snapshots {
    folder: PathBuf,
    kept: usize,
}

impl Snapshots {
    /// The newest `kept` of the hourly ones in `folder`, which need not exist yet. With 0 none of
    /// them are made.
    pub fn new(folder: PathBuf, kept: usize) -> Snapshots {
        Snapshots { folder, kept }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether hourly ones are made.
    pub fn are_made(&self) -> bool {
        self.kept > 0
    }

    /// Every snapshot with its moment, the newest first. Other files are not looked at.
    pub fn list(&self) -> io::Result<Vec<(Timestamp, PathBuf)>> {
        self.list_of(|_| true)
    }

    /// The hourly ones.
    pub fn list_hourly(&self) -> io::Result<Vec<(Timestamp, PathBuf)>> {
        self.list_of(|kind| kind == Kind::Hourly)
    }

    fn list_of(&self, is_wanted: impl Fn(Kind) -> bool) -> io::Result<Vec<(Timestamp, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some((kind, at)) = name.and_then(read_name)
                && is_wanted(kind)
            {
                found.push((at, path));
            }
        }
        found.sort();
        found.reverse();
        Ok(found)
    }

    /// Makes an hourly one, unless that is cancelled, and removes those of them that are too many.
    ///
    /// # Errors
    /// Why there is none. One that cannot be removed is only noted in the log.
    pub fn make(
        &self,
        engine: &dyn Engine,
        now: Timestamp,
        is_cancelled: &AtomicBool,
    ) -> Result<PathBuf, CopyError> {
        let path = self.write(Kind::Hourly, engine, now, is_cancelled)?;
        let hourly = self.list_hourly().map_err(|error| self.failed(error))?;
        self.remove(hourly.into_iter().skip(self.kept));
        Ok(path)
    }

    /// Makes one of a store that is about to be brought to `format`, also where no hourly ones are
    /// made, and removes those from before other changes of the format.
    ///
    /// # Errors
    /// As [`Snapshots::make`].
    pub fn make_before(
        &self,
        format: u32,
        engine: &dyn Engine,
        now: Timestamp,
    ) -> Result<PathBuf, CopyError> {
        let to_its_end = AtomicBool::new(false);
        let path = self.write(Kind::BeforeFormat(format), engine, now, &to_its_end)?;
        let mut before = self
            .list_of(|kind| kind != Kind::Hourly)
            .map_err(|error| self.failed(error))?;
        // Also where the clock went back since the last one.
        before.sort_by_key(|(_, other)| *other != path);
        self.remove(before.into_iter().skip(BEFORE_FORMAT_KEPT));
        Ok(path)
    }

    fn write(
        &self,
        kind: Kind,
        engine: &dyn Engine,
        now: Timestamp,
        is_cancelled: &AtomicBool,
    ) -> Result<PathBuf, CopyError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(|error| self.failed(error))?;
        self.remove_drafts();
        let path = self.folder.join(name_of(kind, now));
        write_copy_unless(engine, &path, is_cancelled)?;
        Ok(path)
    }

    fn failed(&self, source: io::Error) -> CopyError {
        CopyError::Open(OpenError::Io {
            path: self.folder.clone(),
            source,
        })
    }

    /// Removes all of either kind but this one; returns how many went. When the way back from a
    /// change of the format is among them, the log says so.
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
                let name = path.file_name().and_then(|name| name.to_str());
                if let Some((Kind::BeforeFormat(format), _)) = name.and_then(read_name) {
                    tracing::warn!(
                        format,
                        "somebody was forgotten, who was also in the snapshot from before the format of the store was changed: it was deleted, and there is no way back to the version of Portero before"
                    );
                }
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
                .is_some_and(|(name, _)| read_name(name).is_some());
            if is_draft && let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, "an unfinished snapshot could not be removed");
            }
        }
    }
}

fn name_of(kind: Kind, at: Timestamp) -> String {
    // What is beyond the calendar was never a moment of ours.
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(NAME)
        .unwrap_or_default();
    match kind {
        Kind::Hourly => moment,
        Kind::BeforeFormat(format) => format!("{BEFORE_FORMAT}{format}-{moment}"),
    }
}

fn read_name(name: &str) -> Option<(Kind, Timestamp)> {
    let (kind, moment) = match name.strip_prefix(BEFORE_FORMAT) {
        None => (Kind::Hourly, name),
        Some(rest) => {
            let (format, moment) = rest.split_once('-')?;
            (Kind::BeforeFormat(format.parse().ok()?), moment)
        }
    };
    let at = time::PrimitiveDateTime::parse(moment, NAME)
        .ok()?
        .assume_utc();
    let ms = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()?;
    Some((kind, Timestamp(ms)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::Memory;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::Ordering;

    #[test]
    fn the_newest_few_are_kept_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(folder.path().join("snapshots"), 2);
        assert_eq!(snapshots.list().unwrap(), []);
        let start = Timestamp(1_800_000_000_000);
        let memory = Memory::new();
        let cancelled = AtomicBool::new(false);
        snapshots.make(&memory, start, &cancelled).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(snapshots.folder()), 0o700);
        let other = snapshots.folder().join("notes.txt");
        let draft = snapshots
            .folder()
            .join(name_of(Kind::Hourly, start) + ".new-17");
        fs::write(&other, "").unwrap();
        fs::write(&draft, "").unwrap();
        for hour in 1..4 {
            snapshots
                .make(&memory, start.plus_ms(hour * HOUR_MS), &cancelled)
                .unwrap();
        }
        let listed = snapshots.list().unwrap();
        let moments: Vec<Timestamp> = listed.iter().map(|(at, _)| *at).collect();
        assert_eq!(moments, [3, 2].map(|hour| start.plus_ms(hour * HOUR_MS)));
        assert_eq!(mode(&listed[0].1), 0o600);
        assert!(other.exists() && !draft.exists());
        assert_eq!(snapshots.remove_all_but(Some(&listed[0].1)).unwrap(), 1);
        assert_eq!(snapshots.list().unwrap(), listed[..1]);

        cancelled.store(true, Ordering::Relaxed);
        let made = snapshots.make(&memory, start.plus_ms(4 * HOUR_MS), &cancelled);
        assert!(matches!(made, Err(CopyError::Cancelled)), "{made:?}");
        assert_eq!(snapshots.list().unwrap(), listed[..1]);
        let there = fs::read_dir(snapshots.folder()).unwrap().count();
        assert_eq!(
            there, 2,
            "a draft is left beside the snapshot and the notes"
        );
    }

    #[test]
    fn the_way_back_outlasts_the_hourly_ones_until_the_next_change_or_an_erasure() {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(folder.path().join("snapshots"), 2);
        let memory = Memory::new();
        let cancelled = AtomicBool::new(false);
        let hour = |hour| Timestamp(1_800_000_000_000).plus_ms(hour * HOUR_MS);
        let names = || -> Vec<String> {
            let listed = snapshots.list().unwrap().into_iter();
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            listed.map(|(_, path)| name(path)).collect()
        };
        snapshots.make_before(2, &memory, hour(0)).unwrap();
        let draft = (snapshots.folder()).join(name_of(Kind::BeforeFormat(2), hour(0)) + ".new-17");
        fs::write(&draft, "").unwrap();
        for later in 1..6 {
            snapshots.make(&memory, hour(later), &cancelled).unwrap();
        }
        assert!(!draft.exists());
        let way_back = "before-format-2-portero-20270115T080000.000Z.redb";
        assert_eq!(
            names(),
            [
                "portero-20270115T130000.000Z.redb",
                "portero-20270115T120000.000Z.redb",
                way_back
            ]
        );
        assert_eq!(snapshots.list_hourly().unwrap().len(), 2);

        // The clock went back in between, and yet the newer one is the one that stays.
        let replaced = snapshots.make_before(4, &memory, Timestamp(0)).unwrap();
        assert_eq!(snapshots.list().unwrap().len(), 3);
        assert_eq!(snapshots.list().unwrap()[2].1, replaced);

        let fresh = snapshots.make(&memory, hour(6), &cancelled).unwrap();
        assert_eq!(snapshots.remove_all_but(Some(&fresh)).unwrap(), 2);
        assert_eq!(names(), ["portero-20270115T140000.000Z.redb"]);
    }
}

//! Files that hold secrets: only their owner may read them, and they appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Permission bits of group and others: none of them may be set on a key or a store.
const OTHERS: u32 = 0o077;

/// A file in the making: under another name until [`Draft::publish`], removed if that never comes.
pub(super) struct Draft {
    path: PathBuf,
}

impl Draft {
    /// An empty file beside `path`, readable and writable by its owner only.
    pub(super) fn beside(path: &Path) -> io::Result<(Draft, File)> {
        Draft::at(with_suffix(path, &format!(".new-{}", std::process::id())))
    }

    /// An empty file at `path` itself, in place of what a process left there that ended half-way.
    /// Only for who can be sure that no other process is at it.
    pub(super) fn at(path: PathBuf) -> io::Result<(Draft, File)> {
        Draft { path }.create()
    }

    fn create(self) -> io::Result<(Draft, File)> {
        // A leftover of a process that was killed at this point.
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        Ok((self, file))
    }

    /// Where it is until it has its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, durably. The content must have been synced.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a file of that name: it is left as it is. A link is used and
    /// not a rename because a rename would replace the file of a process that was a little faster.
    pub(super) fn publish(self, path: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, path)?;
        drop(self);
        sync_directory(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Nothing depends on it: the next draft of that name replaces it.
        let _ = fs::remove_file(&self.path);
    }
}

/// The permission bits of `file` if anybody but its owner may access it.
pub(super) fn mode_if_too_open(file: &File) -> io::Result<Option<u32>> {
    let mode = file.metadata()?.mode() & 0o7777;
    Ok((mode & OTHERS != 0).then_some(mode))
}

/// `path` with `suffix` behind its last character.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory that holds `path`.
pub(super) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

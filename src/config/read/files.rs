//! Files that the configuration names, each read whole and no longer than expected.

use super::{Content, Reader, Table, text};
use crate::config::keys::Key;
use std::cell::Cell;
use std::path::{Path, PathBuf};

/// Longest certificate file; a bundle of every public authority is about 220 KiB.
const CERTIFICATES_BYTES_MAX: usize = 1024 * 1024;

impl<'a> Reader<'a> {
    /// The path, taken from the folder of the configuration file when relative.
    pub fn path(&self, text: &str) -> Result<PathBuf, String> {
        path_in(self.folder, text)
    }

    /// The folder of the configuration file.
    pub fn folder(&self) -> &'a Path {
        self.folder
    }

    /// What `parse` makes of a file of at most `bytes_max`; it refuses in words that follow the
    /// name of the file.
    pub fn file<T>(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        bytes_max: usize,
        parse: impl FnOnce(Vec<u8>) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let folder = self.folder;
        let content = Cell::new(Content::NONE);
        let read = self.maybe(
            table,
            key,
            text(|path| {
                let path = folder.join(path);
                let bytes = file_of(&path, bytes_max)?;
                content.set(Content::of([bytes.as_slice()]));
                parse(bytes).map_err(|words| format!("{} {words}", path.display()))
            }),
        );
        // What was just set counts by what is in the file.
        if let (Some(Some(_)), Some(setting)) = (&read, self.settings.last_mut()) {
            setting.content = content.get();
        }
        read
    }

    /// Certificates in PEM.
    pub fn certificates(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
    ) -> Option<Option<Vec<u8>>> {
        self.file(table, key, CERTIFICATES_BYTES_MAX, |pem| {
            let begins = b"-----BEGIN CERTIFICATE-----";
            if pem.windows(begins.len()).any(|window| window == begins) {
                Ok(pem)
            } else {
                Err("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned())
            }
        })
    }
}

/// The path, taken from `folder` when relative.
pub(in crate::config) fn path_in(folder: &Path, text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains(char::is_control) {
        return Err("a path is expected".to_owned());
    }
    Ok(folder.join(text))
}

/// A whole file that is not longer than expected.
fn file_of(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let meta = std::fs::metadata(path).map_err(cannot)?;
    // A pipe or a device would keep the opening waiting.
    if !meta.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if meta.len() > bytes_max as u64 {
        return Err(format!("{shown} is larger than {bytes_max} bytes"));
    }
    std::fs::read(path).map_err(cannot)
}

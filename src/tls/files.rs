//! A certificate and its key in two files, which somebody else renews.

use super::Certificate;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest file: a chain of four long certificates has about 8 KiB.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Permission bits of group and others: none of them may be set on a key (S-93).
const OTHERS: u32 = 0o077;

/// Where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain in PEM, that of the server first.
    pub certificate: PathBuf,
    /// Its key in PEM; only its owner can read it.
    pub key: PathBuf,
}

/// What changes when a file is written or replaced: device, inode, length and time of each.
pub(super) type Stamp = [(u64, u64, u64, i64, i64); 2];

impl Files {
    /// Reads both. Fails in a sentence.
    pub fn read(&self) -> Result<Certificate, String> {
        let chain = contents(&open(&self.certificate)?, &self.certificate)?;
        let key = private_contents(&self.key)?;
        Certificate::parse(&chain, &key)
            .map_err(|words| format!("the certificate in {} {words}", self.certificate.display()))
    }

    /// Nothing when one of them is not there.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let of = |path: &Path| {
            let meta = fs::metadata(path).ok()?;
            Some((
                meta.dev(),
                meta.ino(),
                meta.len(),
                meta.ctime(),
                meta.ctime_nsec(),
            ))
        };
        Some([of(&self.certificate)?, of(&self.key)?])
    }
}

/// What is in a file that only its owner can read.
pub(super) fn private_contents(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let file = open(path)?;
    let shown = path.display();
    let meta = file.metadata().map_err(|error| cannot(path, &error))?;
    let mode = meta.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(format!(
            "{shown} is open to others than its owner (mode {mode:04o}); run: chmod 600 {shown}"
        ));
    }
    contents(&file, path).map(Zeroizing::new)
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

fn open(path: &Path) -> Result<File, String> {
    // A pipe or a device would keep the opening waiting.
    let meta = fs::metadata(path).map_err(|error| cannot(path, &error))?;
    if !meta.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    File::open(path).map_err(|error| cannot(path, &error))
}

fn contents(file: &File, path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| cannot(path, &error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!(
            "{} is larger than {FILE_BYTES_MAX} bytes",
            path.display()
        ));
    }
    Ok(bytes)
}

//! `[store]`: where everything is kept.

use super::keys;
use super::read::{Reader, number, text};
use super::values::size;
use crate::domain::secret::Secret;
use std::path::PathBuf;
use toml::de::DeTable;

/// Where everything is kept.
#[derive(Clone, Debug)]
pub struct Store {
    /// The file; need not exist yet.
    pub path: PathBuf,
    /// What it is sealed with.
    pub key: StoreKey,
    /// Memory for the engine's cache.
    pub cache_bytes: usize,
    /// Hourly copies that are kept; with 0 none are made.
    pub snapshots: usize,
    /// Their folder; need not exist yet.
    pub snapshot_folder: PathBuf,
}

/// Where the key of the store is.
#[derive(Clone, Debug)]
pub enum StoreKey {
    /// In this file, which is made at the first start. If it exists, only its owner can read it.
    File(PathBuf),
    /// 64 hexadecimal digits, from the environment.
    Given(Secret),
}

pub(super) fn store(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Store> {
    const MIB: u64 = 1024 * 1024;
    let table = reader.table(root, "store");
    let path = reader.one(&table, &keys::STORE_PATH, text(|path| Ok(path.to_owned())));
    let key = reader.store_key(&table, &keys::STORE_KEY);
    let cache_bytes = reader.one(
        &table,
        &keys::STORE_CACHE_BYTES,
        number(MIB..=16 * 1024 * MIB, ""),
    );
    let snapshots = reader.one(&table, &keys::STORE_SNAPSHOTS, number(0..=1_000, ""));
    let folder = reader.one(
        &table,
        &keys::STORE_SNAPSHOT_FOLDER,
        text(|path| Ok(path.to_owned())),
    );
    let snapshot_folder = match reader.path(&folder?) {
        Ok(folder) => Some(folder),
        Err(words) => {
            reader.problem(&table, &keys::STORE_SNAPSHOT_FOLDER, words);
            None
        }
    };
    let path = match reader.path(&path?) {
        Ok(path) => path,
        Err(words) => {
            reader.problem(&table, &keys::STORE_PATH, words);
            return None;
        }
    };
    let key = key?;
    if matches!(&key, StoreKey::File(file) if *file == path) {
        reader.problem(&table, &keys::STORE_KEY, "must not be the store itself");
    }
    Some(Store {
        path,
        key,
        cache_bytes: size(cache_bytes?),
        snapshots: size(snapshots?),
        snapshot_folder: snapshot_folder?,
    })
}

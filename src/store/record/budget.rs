//! Counts over all contacts.

use super::{Keys, Sweep, read, sweep, write};
use crate::domain::budget::Budget;
use crate::domain::conversation::AddressCounts;
use crate::domain::id::EmailAddress;
use crate::domain::time::Timestamp;
use crate::store::{Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};

pub(super) fn moments(budget: &Budget) -> Vec<u64> {
    budget.moments().iter().map(|moment| moment.0).collect()
}

pub(super) fn budget(moments: Vec<u64>) -> Budget {
    Budget::from_moments(moments.into_iter().map(Timestamp).collect())
}

#[derive(Serialize, Deserialize, Default)]
struct CountsRecord {
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    codes: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    failures: Vec<u64>,
}

/// The key of what is counted over everybody: shorter than any digest.
const EVERYBODY: &[u8] = b"all";

fn counts(reader: &dyn Reader, key: &[u8]) -> Result<AddressCounts, StoreError> {
    let record: CountsRecord = match reader.get(Table::Budget, key)? {
        Some(bytes) => read(Table::Budget, &bytes)?,
        None => CountsRecord::default(),
    };
    Ok(AddressCounts {
        codes: budget(record.codes),
        failures: budget(record.failures),
    })
}

fn put_counts(
    writer: &mut dyn Writer,
    key: &[u8],
    counts: &AddressCounts,
) -> Result<(), StoreError> {
    if *counts == AddressCounts::default() {
        return writer.delete(Table::Budget, key);
    }
    let record = CountsRecord {
        codes: moments(&counts.codes),
        failures: moments(&counts.failures),
    };
    writer.put(Table::Budget, key, &write(Table::Budget, &record)?)
}

/// What was counted for an address.
pub fn address_counts(
    reader: &dyn Reader,
    keys: &Keys,
    address: &EmailAddress,
) -> Result<AddressCounts, StoreError> {
    counts(reader, &keys.address(address))
}

/// Stores what was counted for an address.
pub fn put_address_counts(
    writer: &mut dyn Writer,
    keys: &Keys,
    address: &EmailAddress,
    counts: &AddressCounts,
) -> Result<(), StoreError> {
    put_counts(writer, &keys.address(address), counts)
}

/// The wrong codes of everybody.
pub fn failures_in_all(reader: &dyn Reader) -> Result<Budget, StoreError> {
    Ok(counts(reader, EVERYBODY)?.failures)
}

/// Stores the wrong codes of everybody.
pub fn put_failures_in_all(writer: &mut dyn Writer, failures: &Budget) -> Result<(), StoreError> {
    put_counts(
        writer,
        EVERYBODY,
        &AddressCounts {
            codes: Budget::default(),
            failures: failures.clone(),
        },
    )
}

/// What is counted for who tries passwords on the page.
#[derive(Clone, Debug)]
pub enum Guesser {
    /// A user name, in lower case.
    UserName(String),
    /// A network: the address, or as much of it as one household has.
    Network([u8; 16]),
}

impl Guesser {
    pub(super) fn key(&self, keys: &Keys) -> [u8; 16] {
        match self {
            Guesser::UserName(name) => keys.user_name(name),
            Guesser::Network(network) => keys.network(network),
        }
    }
}

/// The passwords tried.
pub fn passwords_tried(
    reader: &dyn Reader,
    keys: &Keys,
    guesser: &Guesser,
) -> Result<Budget, StoreError> {
    Ok(counts(reader, &guesser.key(keys))?.failures)
}

/// Stores the passwords tried.
pub fn put_passwords_tried(
    writer: &mut dyn Writer,
    keys: &Keys,
    guesser: &Guesser,
    tried: &Budget,
) -> Result<(), StoreError> {
    put_counts(
        writer,
        &guesser.key(keys),
        &AddressCounts {
            codes: Budget::default(),
            failures: tried.clone(),
        },
    )
}

/// Sweeps addresses for which nothing was counted since `before`.
pub fn forget_counts(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Budget, cursor, looks, |bytes| {
        let record: CountsRecord = read(Table::Budget, bytes)?;
        Ok(record
            .codes
            .iter()
            .chain(&record.failures)
            .all(|moment| *moment < before.0))
    })
}

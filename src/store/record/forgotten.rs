//! Who wished to be forgotten: what is still to be erased, and the limits that outlive it.

use super::budget::{budget, moments};
use super::contact::BarredRecord;
use super::{Keys, collect, damaged, read, write};
use crate::domain::contact::{Barred, Contact};
use crate::domain::id::{ContactId, Malformed};
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

const WISH_KEY: &[u8] = b"forget ";
/// The first key behind those of all wishes.
const WISHES_END: &[u8] = b"forget!";

/// Notes that everything about this contact is to be erased.
pub fn put_wish_to_be_forgotten(
    writer: &mut dyn Writer,
    id: ContactId,
    at: Timestamp,
) -> Result<(), StoreError> {
    let key = [WISH_KEY, &id.0].concat();
    writer.put(Table::Meta, &key, &write(Table::Meta, &at.0)?)
}

/// Notes that it is.
pub fn delete_wish_to_be_forgotten(
    writer: &mut dyn Writer,
    id: ContactId,
) -> Result<(), StoreError> {
    writer.delete(Table::Meta, &[WISH_KEY, &id.0].concat())
}

/// Up to `limit` contacts that are to be erased, and since when.
pub fn wishes_to_be_forgotten(
    reader: &dyn Reader,
    limit: usize,
) -> Result<Vec<(ContactId, Timestamp)>, StoreError> {
    let range = KeyRange::new(Bound::Included(WISH_KEY), Bound::Excluded(WISHES_END));
    collect(
        reader,
        Table::Meta,
        range,
        Order::Forward,
        limit,
        |key, bytes| {
            let id = key[WISH_KEY.len()..]
                .try_into()
                .map_err(damaged(Table::Meta))?;
            Ok((ContactId(id), Timestamp(read(Table::Meta, bytes)?)))
        },
    )
}

/// What a contact has used up of its limits. It begins like every record of what is counted, and is
/// swept like them.
#[derive(Serialize, Deserialize)]
struct LimitsRecord {
    /// One moment: when this was written.
    codes: Vec<u64>,
    limits: Limits,
}

#[derive(Serialize, Deserialize)]
struct Limits {
    failures: Vec<u64>,
    codes: Vec<u64>,
    replies: Vec<u64>,
    links: Vec<u64>,
    mismatches: Vec<u64>,
    barred: Vec<BarredRecord>,
}

impl Keys {
    fn limits_of(&self, contact: &Contact) -> Vec<[u8; 16]> {
        let bsuid = contact.bsuid.as_ref().map(|id| id.as_str());
        let number = contact.wa_id.as_ref().map(|id| id.as_str());
        let names = [("bsuid", bsuid), ("number", number)].into_iter();
        names
            .filter_map(|(kind, name)| Some((kind, name?)))
            .map(|(kind, name)| self.digest("limits", &[kind.as_bytes(), name.as_bytes()]))
            .collect()
    }
}

/// Keeps what this contact has used up of its limits for whoever writes next under its names, whom
/// nothing else leads back to it: else being forgotten would be a way around every limit.
pub fn put_limits(
    writer: &mut dyn Writer,
    keys: &Keys,
    contact: &Contact,
    now: Timestamp,
) -> Result<(), StoreError> {
    let record = LimitsRecord {
        codes: vec![now.0],
        limits: Limits {
            failures: moments(&contact.failures),
            codes: moments(&contact.codes),
            replies: moments(&contact.replies),
            links: moments(&contact.links),
            mismatches: moments(&contact.mismatches),
            barred: contact.barred.iter().map(BarredRecord::from).collect(),
        },
    };
    for key in keys.limits_of(contact) {
        writer.put(Table::Budget, &key, &write(Table::Budget, &record)?)?;
    }
    Ok(())
}

/// The contact, who is new, with what was used up under its names before.
pub fn with_limits(
    reader: &dyn Reader,
    keys: &Keys,
    mut contact: Contact,
) -> Result<Contact, StoreError> {
    for key in keys.limits_of(&contact) {
        let Some(bytes) = reader.get(Table::Budget, &key)? else {
            continue;
        };
        let LimitsRecord { limits, .. } = read(Table::Budget, &bytes)?;
        contact.failures = budget(limits.failures);
        contact.codes = budget(limits.codes);
        contact.replies = budget(limits.replies);
        contact.links = budget(limits.links);
        contact.mismatches = budget(limits.mismatches);
        let barred: Result<Vec<Barred>, Malformed> = (limits.barred.into_iter())
            .map(BarredRecord::into_barred)
            .collect();
        contact.barred = barred.map_err(damaged(Table::Budget))?;
        break;
    }
    Ok(contact)
}

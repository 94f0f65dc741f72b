//! Everything that is kept about one person: found, given back, erased, and erased again when a
//! copy brings it back (section 6.2 of the threat model).

use super::body::{BodyOf, read_any_body};
use super::budget::Guesser;
use super::contact::{put_contact, read_contact};
use super::outbox::{entry_id, read_dead, read_entry};
use super::{AuditLine, Keys, read, write};
use crate::domain::contact::{Contact, Stage};
use crate::domain::delivery::{Entry, EntryId, Errand, Lane};
use crate::domain::id::{Bsuid, ContactId, EmailAddress, WaId};
use crate::domain::sign_in::{Mapping, MappingState};
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Present from an erasure on until nothing of it is left on the disk.
const UNFINISHED_KEY: &[u8] = b"erasure unfinished";

/// By what somebody was erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The contact.
    Contact(ContactId),
    /// WhatsApp's id of the person for this business.
    Bsuid(Bsuid),
    /// The number.
    Number(WaId),
    /// The address of an account.
    Address(EmailAddress),
    /// The id of a user in the built-in directory, who may stay there.
    DirectoryUser(String),
}

impl Keys {
    fn erased(&self, name: &Name) -> [u8; 16] {
        let (kind, bytes): (&[u8], Vec<u8>) = match name {
            Name::Contact(id) => (b"contact", id.0.to_vec()),
            Name::Bsuid(bsuid) => (b"bsuid", bsuid.as_str().into()),
            Name::Number(number) => (b"number", number.as_str().into()),
            Name::Address(address) => (b"address", address.key().into()),
            Name::DirectoryUser(id) => (b"directory user", id.as_bytes().into()),
        };
        self.digest("erased", &[kind, &bytes])
    }
}

/// When whoever has this name was last erased.
pub fn erased_at(
    reader: &dyn Reader,
    keys: &Keys,
    name: &Name,
) -> Result<Option<Timestamp>, StoreError> {
    match reader.get(Table::Erased, &keys.erased(name))? {
        Some(bytes) => Ok(Some(Timestamp(read(Table::Erased, &bytes)?))),
        None => Ok(None),
    }
}

/// Remembers that whoever has this name was erased, and nothing else about them: a digest that only
/// the master key can make.
pub fn put_erased(
    writer: &mut dyn Writer,
    keys: &Keys,
    name: &Name,
    at: Timestamp,
) -> Result<(), StoreError> {
    writer.put(
        Table::Erased,
        &keys.erased(name),
        &write(Table::Erased, &at.0)?,
    )
}

/// Every mark of an erasure, for another copy of the same store.
pub fn erasures(reader: &dyn Reader) -> Result<Vec<(Vec<u8>, Timestamp)>, StoreError> {
    let mut found = Vec::new();
    each(reader, Table::Erased, |key, bytes| {
        found.push((key.to_vec(), Timestamp(read(Table::Erased, bytes)?)));
        Ok(())
    })?;
    Ok(found)
}

/// Takes over marks of erasures from another copy of the same store; of two the later one stays.
pub fn take_over_erasures(
    writer: &mut dyn Writer,
    erasures: &[(Vec<u8>, Timestamp)],
) -> Result<(), StoreError> {
    for (key, at) in erasures {
        let known = match writer.get(Table::Erased, key)? {
            Some(bytes) => read(Table::Erased, &bytes)?,
            None => 0,
        };
        if known < at.0 {
            writer.put(Table::Erased, key, &write(Table::Erased, &at.0)?)?;
        }
    }
    Ok(())
}

/// The erasure of which something may be left on the disk.
pub fn unfinished_erasure(reader: &dyn Reader) -> Result<Option<u64>, StoreError> {
    match reader.get(Table::Meta, UNFINISHED_KEY)? {
        Some(bytes) => read(Table::Meta, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Notes an erasure of which something may be left on the disk, by a number of its own.
pub fn put_unfinished_erasure(writer: &mut dyn Writer, number: u64) -> Result<(), StoreError> {
    writer.put(Table::Meta, UNFINISHED_KEY, &write(Table::Meta, &number)?)
}

/// Notes that nothing is left of this erasure, nor of those before it. One that came later is not
/// touched.
pub fn finish_erasure(writer: &mut dyn Writer, number: u64) -> Result<(), StoreError> {
    match unfinished_erasure(writer)? {
        Some(noted) if noted == number => writer.delete(Table::Meta, UNFINISHED_KEY),
        _ => Ok(()),
    }
}

/// The contacts that were erased and are there again, as in a copy from before.
pub fn contacts_back(reader: &dyn Reader, keys: &Keys) -> Result<Vec<Contact>, StoreError> {
    let mut back = Vec::new();
    each(reader, Table::Contact, |key, bytes| {
        let contact = read_contact(contact_id(key)?, bytes)?;
        let mut names: Vec<Name> = vec![Name::Contact(contact.id)];
        names.extend(contact.bsuid.clone().map(Name::Bsuid));
        names.extend(contact.wa_id.clone().map(Name::Number));
        let bound = contact.bindings.iter();
        names.extend(bound.filter_map(|binding| Some(Name::Address(binding.email.clone()?))));
        for name in &names {
            // Who wrote again afterwards is somebody new.
            if erased_at(reader, keys, name)?.is_some_and(|at| contact.created_at <= at) {
                back.push(contact);
                return Ok(());
            }
        }
        Ok(())
    })?;
    Ok(back)
}

/// Whose traces are looked for.
#[derive(Default)]
pub struct People {
    /// The contacts.
    pub contacts: Vec<Contact>,
    /// Addresses that are theirs alone: also what others do with these is erased.
    pub addresses: Vec<EmailAddress>,
    /// Whether to look besides for what is left of contacts that were erased before.
    pub with_erased: bool,
}

/// Everything that is kept about some people.
#[derive(Default)]
pub struct Traces {
    records: Vec<(Table, Vec<u8>)>,
    audit: Vec<(Vec<u8>, AuditLine)>,
    /// To whom their aliases lead.
    ids: BTreeSet<[u8; 16]>,
    /// Others who hold something of these people.
    others: Vec<ContactId>,
    addresses: Vec<EmailAddress>,
    /// What waits, for whoever may be carrying it.
    waiting: Vec<(Lane, ContactId, EntryId)>,
}

impl Traces {
    /// How many records there are of each kind, by the name of their table.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for (table, _) in &self.records {
            *counts.entry(table.name()).or_default() += 1;
        }
        for (name, count) in [
            (Table::Audit.name(), self.audit.len()),
            ("unfinished sign-ins of others", self.others.len()),
        ] {
            if count > 0 {
                counts.insert(name, count);
            }
        }
        counts
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        // A line that names nobody any more is not looked for.
        self.records.is_empty() && self.audit.is_empty() && self.others.is_empty()
    }

    /// Removes all of it, also when others went on since it was found; what came since then stays.
    /// Lines of the audit stay and no longer say whom they are about. Returns what waited until now,
    /// for whoever may be carrying it.
    pub fn erase(
        &self,
        writer: &mut dyn Writer,
    ) -> Result<Vec<(Lane, ContactId, EntryId)>, StoreError> {
        let mut waited = Vec::new();
        for (lane, contact, id) in &self.waiting {
            if super::entry(writer, *lane, *id)?.is_some() {
                waited.push((*lane, *contact, *id));
            }
        }
        for (table, key) in &self.records {
            if *table == Table::Alias {
                // A name may be somebody else's by now.
                match writer.get(*table, key)? {
                    Some(bytes) if self.ids.contains(&contact_id(&bytes)?.0) => {}
                    Some(_) | None => continue,
                }
            }
            writer.delete(*table, key)?;
        }
        for (key, line) in &self.audit {
            let line = line.clone().erased();
            writer.put(Table::Audit, key, &write(Table::Audit, &line)?)?;
        }
        let has_address = |address: &EmailAddress| self.addresses.contains(address);
        for id in &self.others {
            let other = super::contact(writer, *id)?;
            if let Some(fresh) = other.and_then(|other| without_addresses(&other, &has_address)) {
                put_contact(writer, &fresh)?;
            }
        }
        Ok(waited)
    }

    /// All of it as JSON, table by table: for the person it is about. Bodies beyond
    /// `body_bytes_max` in all are named and left out.
    pub fn export(
        &self,
        reader: &dyn Reader,
        mut body_bytes_max: usize,
    ) -> Result<BTreeMap<&'static str, Vec<Value>>, StoreError> {
        let mut kept: BTreeMap<&'static str, Vec<Value>> = BTreeMap::new();
        for (table, key) in &self.records {
            let Some(bytes) = reader.get(*table, key)? else {
                continue;
            };
            let value = match table {
                // The bytes lead back to the contact, and the digests to nobody.
                Table::Alias => continue,
                Table::Body if bytes.len() > body_bytes_max => {
                    serde_json::json!({ "leftOutBytes": bytes.len() })
                }
                Table::Body => {
                    body_bytes_max -= bytes.len();
                    let body = read_any_body(bytes)?.bytes;
                    serde_json::from_slice(&body).unwrap_or_else(|_| {
                        Value::String(String::from_utf8_lossy(&body).into_owned())
                    })
                }
                _ => read(*table, &bytes)?,
            };
            kept.entry(table.name()).or_default().push(value);
        }
        for (_, line) in &self.audit {
            let line = serde_json::to_value(line);
            kept.entry(Table::Audit.name())
                .or_default()
                .push(line.unwrap_or_default());
        }
        Ok(kept)
    }
}

/// What tells of whom a record is.
#[derive(Deserialize)]
struct OfContact {
    #[serde(alias = "line")]
    contact: [u8; 16],
}

/// Everything that is kept about these people. Of messages that had their effect there are only
/// digests, which lead to nobody; they stay, so that no message has its effect twice.
pub fn traces(reader: &dyn Reader, keys: &Keys, people: &People) -> Result<Traces, StoreError> {
    let ids: BTreeSet<[u8; 16]> = people.contacts.iter().map(|contact| contact.id.0).collect();
    let is_theirs = |id: &[u8; 16]| -> Result<bool, StoreError> {
        if ids.contains(id) {
            return Ok(true);
        }
        let name = Name::Contact(ContactId(*id));
        Ok(people.with_erased && erased_at(reader, keys, &name)?.is_some())
    };
    let has_address = |address: &EmailAddress| people.addresses.contains(address);
    let is_entry_theirs = |entry: &Entry| -> Result<bool, StoreError> {
        let of_address = match &entry.errand {
            Errand::LookUp { address, .. } => has_address(address),
            Errand::MailCode { to, .. } | Errand::MailNotice { to, .. } => has_address(to),
            Errand::Chat { .. }
            | Errand::PretendMail { .. }
            | Errand::HandOn { .. }
            | Errand::Event { .. } => false,
        };
        Ok(of_address || is_theirs(&entry.contact.0)?)
    };
    let mut found = Traces {
        addresses: people.addresses.clone(),
        ..Traces::default()
    };
    each(reader, Table::Contact, |key, bytes| {
        if is_theirs(&contact_id(key)?.0)? {
            found.records.push((Table::Contact, key.to_vec()));
        } else if !people.addresses.is_empty() {
            let other = read_contact(contact_id(key)?, bytes)?;
            found
                .others
                .extend(without_addresses(&other, &has_address).map(|other| other.id));
        }
        Ok(())
    })?;
    each(reader, Table::Alias, |key, bytes| {
        let id = contact_id(bytes)?.0;
        if is_theirs(&id)? {
            found.ids.insert(id);
            found.records.push((Table::Alias, key.to_vec()));
        }
        Ok(())
    })?;
    let mut entries = Vec::new();
    each(reader, Table::Outbox, |key, bytes| {
        let entry = read_entry(entry_id(key, Table::Outbox)?, Table::Outbox, bytes)?;
        if is_entry_theirs(&entry)? {
            found.records.push((Table::Outbox, key.to_vec()));
            let lane = entry.errand.lane();
            found.waiting.push((lane, entry.contact, entry.id));
            entries.push(entry.id);
        }
        Ok(())
    })?;
    each(reader, Table::Dead, |key, bytes| {
        let letter = read_dead(entry_id(key, Table::Dead)?, bytes)?;
        if is_entry_theirs(&letter.entry)? {
            found.records.push((Table::Dead, key.to_vec()));
            entries.push(letter.entry.id);
        }
        Ok(())
    })?;
    for table in [Table::Sent, Table::Handle, Table::Asked, Table::Event] {
        each(reader, table, |key, bytes| {
            let OfContact { contact } = read(table, bytes)?;
            if is_theirs(&contact)? {
                found.records.push((table, key.to_vec()));
            }
            Ok(())
        })?;
    }
    let contacts = ids.iter().map(|id| BodyOf::Contact(ContactId(*id)));
    let entries = entries.into_iter().map(BodyOf::Entry);
    let bodies = contacts.chain(entries).map(|of| (Table::Body, of.key()));
    let bound = people.contacts.iter().flat_map(|contact| &contact.bindings);
    let bound = bound.filter_map(|binding| binding.email.as_ref());
    let budgets = bound.chain(&people.addresses).flat_map(|address| {
        let user_name = Guesser::UserName(address.key());
        [keys.address(address), user_name.key(keys)]
    });
    let budgets: BTreeSet<[u8; 16]> = budgets.collect();
    let budgets = budgets.into_iter().map(|key| (Table::Budget, key.to_vec()));
    for (table, key) in bodies.chain(budgets) {
        if reader.get(table, &key)?.is_some() {
            found.records.push((table, key));
        }
    }
    let named: BTreeSet<String> = ids.iter().map(|id| ContactId(*id).to_string()).collect();
    let users = directory_users(reader, keys, people)?;
    let is_users = |line: &AuditLine| -> Result<bool, StoreError> {
        let Some(id) = &line.directory_user else {
            return Ok(false);
        };
        if users.contains(id) {
            return Ok(true);
        }
        // The user may have stayed in the directory, and what was done to it since is not erased.
        let name = Name::DirectoryUser(id.clone());
        let erased = erased_at(reader, keys, &name)?;
        Ok(people.with_erased && erased.is_some_and(|at| line.at_ms <= at.0))
    };
    each(reader, Table::Audit, |key, bytes| {
        let line: AuditLine = read(Table::Audit, bytes)?;
        let is_theirs = named.contains(&line.contact)
            || is_users(&line)?
            || match ContactId::parse(&line.contact) {
                Ok(id) => is_theirs(&id.0)?,
                Err(_) => false,
            };
        if is_theirs {
            found.audit.push((key.to_vec(), line));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The ids of these people in the built-in directory: of whom their contacts are signed in as, and of
/// whoever has one of their addresses there.
pub fn directory_users(
    reader: &dyn Reader,
    keys: &Keys,
    people: &People,
) -> Result<BTreeSet<String>, StoreError> {
    let bound = people.contacts.iter().flat_map(|contact| &contact.bindings);
    let mut ids: BTreeSet<String> = bound.map(|binding| binding.user_id.clone()).collect();
    for address in &people.addresses {
        ids.extend(super::user(reader, keys, address)?.map(|user| user.id));
    }
    Ok(ids)
}

/// Somebody else without an unfinished sign-in that names one of these addresses; `None` when there
/// is none.
fn without_addresses(other: &Contact, is_meant: &dyn Fn(&EmailAddress) -> bool) -> Option<Contact> {
    let in_stage = match &other.stage {
        Stage::SpellingAsked {
            typed, suggested, ..
        } => is_meant(typed) || is_meant(suggested),
        Stage::CodeAwaited(challenge) => is_meant(&challenge.address),
        Stage::Idle | Stage::AddressAsked { .. } | Stage::LinkSent => false,
    };
    let in_mapping = (other.mapping.as_ref()).is_some_and(|mapping| {
        let signed_in = match &mapping.state {
            MappingState::SignedIn { bindings, .. } => bindings.as_slice(),
            MappingState::Issued | MappingState::Used | MappingState::Burned => &[],
        };
        let bindings = signed_in.iter().chain(&mapping.earlier);
        bindings
            .filter_map(|binding| binding.email.as_ref())
            .any(is_meant)
    });
    if !in_stage && !in_mapping {
        return None;
    }
    let mut fresh = other.clone();
    if in_stage {
        fresh.stage = Stage::Idle;
    }
    if in_mapping {
        fresh.mapping = fresh.mapping.map(|mapping| Mapping {
            state: MappingState::Burned,
            earlier: Vec::new(),
            ..mapping
        });
    }
    Some(fresh)
}

fn contact_id(bytes: &[u8]) -> Result<ContactId, StoreError> {
    bytes
        .try_into()
        .map(ContactId)
        .map_err(super::damaged(Table::Contact))
}

/// Every record of a table.
fn each(
    reader: &dyn Reader,
    table: Table,
    mut look: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut looked = Ok(());
    let all = KeyRange::all();
    reader.scan(table, all, Order::Forward, &mut |key, bytes| {
        looked = look(key, bytes);
        match looked {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    looked
}

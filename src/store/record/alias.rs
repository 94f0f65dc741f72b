//! What leads to contacts: a BSUID or a number to one, an address to all who are signed in with it.

use super::{ContactsPiece, Keys, collect, contact, damaged, read};
use crate::domain::contact::Contact;
use crate::domain::id::{Bsuid, ContactId, EmailAddress, WaId};
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::Deserialize;
use std::ops::{Bound, ControlFlow};

fn alias(reader: &dyn Reader, key: &[u8]) -> Result<Option<ContactId>, StoreError> {
    let Some(bytes) = reader.get(Table::Alias, key)? else {
        return Ok(None);
    };
    let id = bytes.as_slice().try_into().map_err(damaged(Table::Alias))?;
    Ok(Some(ContactId(id)))
}

/// Which contact a BSUID belongs to.
pub fn contact_of_bsuid(
    reader: &dyn Reader,
    keys: &Keys,
    bsuid: &Bsuid,
) -> Result<Option<ContactId>, StoreError> {
    alias(reader, &keys.bsuid(bsuid))
}

/// Which contact a number belongs to.
pub fn contact_of_wa_id(
    reader: &dyn Reader,
    keys: &Keys,
    wa_id: &WaId,
) -> Result<Option<ContactId>, StoreError> {
    alias(reader, &keys.wa_id(wa_id))
}

/// Makes a BSUID an alias of a contact.
pub fn put_bsuid(
    writer: &mut dyn Writer,
    keys: &Keys,
    bsuid: &Bsuid,
    id: ContactId,
) -> Result<(), StoreError> {
    writer.put(Table::Alias, &keys.bsuid(bsuid), &id.0)
}

/// Makes a number an alias of a contact, also when it was another's.
pub fn put_wa_id(
    writer: &mut dyn Writer,
    keys: &Keys,
    wa_id: &WaId,
    id: ContactId,
) -> Result<(), StoreError> {
    writer.put(Table::Alias, &keys.wa_id(wa_id), &id.0)
}

/// Removes the aliases that still lead to this contact.
pub fn delete_aliases(
    writer: &mut dyn Writer,
    keys: &Keys,
    contact: &Contact,
) -> Result<(), StoreError> {
    if let Some(bsuid) = &contact.bsuid {
        delete_alias(writer, &keys.bsuid(bsuid), contact.id)?;
    }
    if let Some(wa_id) = &contact.wa_id {
        delete_wa_id(writer, keys, wa_id, contact.id)?;
    }
    for address in addresses(contact) {
        writer.delete(Table::Alias, &address_key(keys, address, contact.id))?;
    }
    Ok(())
}

/// Makes a number no alias of this contact any more, if it is one.
pub fn delete_wa_id(
    writer: &mut dyn Writer,
    keys: &Keys,
    wa_id: &WaId,
    id: ContactId,
) -> Result<(), StoreError> {
    delete_alias(writer, &keys.wa_id(wa_id), id)
}

fn delete_alias(writer: &mut dyn Writer, key: &[u8], id: ContactId) -> Result<(), StoreError> {
    match alias(writer, key)? == Some(id) {
        true => writer.delete(Table::Alias, key),
        false => Ok(()),
    }
}

/// Has the addresses that a contact is signed in with lead to it, and those no more that it was
/// signed in with before. An address leads to everybody who is signed in with it.
pub fn put_addresses(
    writer: &mut dyn Writer,
    keys: &Keys,
    before: Option<&Contact>,
    contact: &Contact,
) -> Result<(), StoreError> {
    let (old, new) = (
        before.map(addresses).unwrap_or_default(),
        addresses(contact),
    );
    for address in &old {
        if !new.contains(address) {
            writer.delete(Table::Alias, &address_key(keys, address, contact.id))?;
        }
    }
    for address in &new {
        if !old.contains(address) {
            let key = address_key(keys, address, contact.id);
            writer.put(Table::Alias, &key, &contact.id.0)?;
        }
    }
    Ok(())
}

fn addresses(contact: &Contact) -> Vec<&EmailAddress> {
    let bindings = contact.bindings.iter();
    bindings
        .filter_map(|binding| binding.email.as_ref())
        .collect()
}

/// Begins alike for all who are signed in with the address; whose it is says only the value, which is
/// sealed.
fn address_key(keys: &Keys, address: &EmailAddress, id: ContactId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&keys.signed_in_with(address));
    key[16..].copy_from_slice(&keys.signed_in_as(address, id));
    key
}

/// By what contacts are found without looking through all of them.
#[derive(Clone, Copy, Debug)]
pub enum FoundBy<'a> {
    /// An address that they are signed in with.
    Address(&'a EmailAddress),
    /// The last digits of their numbers, two or more.
    Ending(&'a str),
}

/// Looks at up to `looks` contacts after `after` that are found so, until `enough` of them are meant:
/// keys of others may begin alike.
pub fn contacts_found_by(
    reader: &dyn Reader,
    keys: &Keys,
    by: FoundBy<'_>,
    after: Option<ContactId>,
    enough: usize,
    looks: usize,
) -> Result<ContactsPiece, StoreError> {
    let first = match by {
        FoundBy::Address(address) => keys.signed_in_with(address).to_vec(),
        FoundBy::Ending(digits) => keys.numbers_ending(digits),
    };
    let passed = match (by, after) {
        (_, None) => None,
        (FoundBy::Address(address), Some(id)) => Some(address_key(keys, address, id)),
        // From the beginning again if that contact is gone, or has another number by now.
        (FoundBy::Ending(_), Some(id)) => (contact(reader, id)?)
            .and_then(|contact| contact.wa_id)
            .map(|wa_id| keys.wa_id(&wa_id))
            .filter(|key| key.starts_with(&first)),
    };
    let mut start = passed.map_or(Bound::Included(first.clone()), |key| {
        Bound::Excluded(key.to_vec())
    });
    let mut piece = ContactsPiece::default();
    while piece.contacts.len() < enough && piece.looked_at < looks {
        let wanted = enough.min(looks - piece.looked_at);
        let range = KeyRange::new(start.as_ref().map(Vec::as_slice), Bound::Unbounded);
        let found = starting_with(reader, &first, range, wanted)?;
        let is_end = found.len() < wanted;
        piece.looked_at += found.len();
        for (key, id) in found {
            piece.last = Some(id);
            start = Bound::Excluded(key);
            piece
                .contacts
                .extend(contact(reader, id)?.filter(|contact| by.means(contact)));
        }
        if is_end {
            break;
        }
    }
    Ok(piece)
}

impl FoundBy<'_> {
    /// Whether a contact is one of them.
    pub fn means(self, contact: &Contact) -> bool {
        match self {
            FoundBy::Address(address) => addresses(contact).contains(&address),
            FoundBy::Ending(digits) => {
                (contact.wa_id.as_ref()).is_some_and(|wa_id| wa_id.as_str().ends_with(digits))
            }
        }
    }
}

/// The keys within a range that begin so, and to whom they lead.
fn starting_with(
    reader: &dyn Reader,
    first: &[u8],
    range: KeyRange<'_>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, ContactId)>, StoreError> {
    let (mut found, mut failed) = (Vec::new(), None);
    reader.scan(Table::Alias, range, Order::Forward, &mut |key, bytes| {
        if !key.starts_with(first) {
            return ControlFlow::Break(());
        }
        match bytes.try_into().map_err(damaged(Table::Alias)) {
            Ok(id) => found.push((key.to_vec(), ContactId(id))),
            Err(error) => failed = Some(error),
        }
        match found.len() < limit && failed.is_none() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    failed.map_or(Ok(found), Err)
}

/// From format 1 to 2: numbers get their keys of today, and addresses lead to contacts. Looks at a
/// few contacts after `place`.
///
/// # Errors
/// As of a [`Writer`].
pub fn numbers_by_their_ends_and_addresses(
    writer: &mut dyn Writer,
    keys: &Keys,
    place: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, StoreError> {
    const LOOKS: usize = 2_000;
    /// What there is in the record of a contact of format 1.
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        wa_id: Option<String>,
        #[serde(default)]
        bindings: Vec<Account>,
    }
    #[derive(Deserialize)]
    struct Account {
        #[serde(default)]
        email: Option<String>,
    }
    let start = place.map_or(Bound::Unbounded, Bound::Excluded);
    let range = KeyRange::new(start, Bound::Unbounded);
    let batch = collect(
        writer,
        Table::Contact,
        range,
        Order::Forward,
        LOOKS,
        |key, bytes| {
            let id = ContactId(key.try_into().map_err(damaged(Table::Contact))?);
            Ok((id, read::<Named>(Table::Contact, bytes)?))
        },
    )?;
    for (id, named) in &batch {
        if let Some(number) = &named.wa_id {
            let old = keys.wa_id_of_format_1(number);
            if alias(writer, &old)? == Some(*id) {
                let number = WaId::parse(number).map_err(damaged(Table::Contact))?;
                writer.delete(Table::Alias, &old)?;
                writer.put(Table::Alias, &keys.wa_id(&number), &id.0)?;
            }
        }
        for address in named.bindings.iter().filter_map(|b| b.email.as_ref()) {
            let address = EmailAddress::parse(address).map_err(damaged(Table::Contact))?;
            writer.put(Table::Alias, &address_key(keys, &address, *id), &id.0)?;
        }
    }
    Ok(match batch.len() < LOOKS {
        true => None,
        false => batch.last().map(|(id, _)| id.0.to_vec()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::account::{Account, Company};
    use crate::domain::binding::{Binding, Proof};
    use crate::domain::id::{ProofId, ServiceName};
    use crate::domain::language::Language;
    use crate::domain::time::Timestamp;
    use crate::store::record::put_contact;
    use crate::store::{Engine, MasterKey, Memory};
    use std::collections::BTreeSet;

    const PEOPLE: u64 = 3_000;

    fn keys() -> Keys {
        Keys::new(MasterKey::from_hex(&"41".repeat(32)).unwrap())
    }

    fn address(text: &str) -> EmailAddress {
        EmailAddress::parse(text).unwrap()
    }

    fn person(number: u64, emails: &[&str]) -> Contact {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let wa_id = WaId::parse(&(573_000_000_000 + number * 7_919).to_string()).unwrap();
        let bsuid = Bsuid::parse(&format!("CO.{number}")).unwrap();
        let id = ContactId(random);
        let mut contact = Contact::new(
            id,
            Some(bsuid),
            Some(wa_id),
            Language::Spanish,
            Timestamp(1),
        );
        contact.bindings = (emails.iter())
            .map(|email| {
                let account = Account {
                    service: ServiceName::parse("kutamma").unwrap(),
                    user_id: format!("u{number}"),
                    name: "Ana".into(),
                    email: address(email),
                    phone: None,
                    company: Company {
                        id: "c".into(),
                        name: "C".into(),
                    },
                };
                Binding::new(account, Proof::MailCode, ProofId([7; 16]), Timestamp(1))
            })
            .collect();
        contact
    }

    fn put(engine: &dyn Engine, people: Vec<Contact>) {
        let body = move |writer: &mut dyn Writer| {
            for contact in &people {
                put_contact(writer, contact)?;
                put_bsuid(writer, &keys(), contact.bsuid.as_ref().unwrap(), contact.id)?;
                put_wa_id(writer, &keys(), contact.wa_id.as_ref().unwrap(), contact.id)?;
                put_addresses(writer, &keys(), None, contact)?;
            }
            Ok(())
        };
        engine.update(body).unwrap();
    }

    fn found_by(engine: &dyn Engine, by: FoundBy<'_>) -> ContactsPiece {
        engine
            .view(|reader| contacts_found_by(reader, &keys(), by, None, 100, 10_000))
            .unwrap()
    }

    fn ids(contacts: &[Contact]) -> BTreeSet<[u8; 16]> {
        contacts.iter().map(|contact| contact.id.0).collect()
    }

    fn aliases(engine: &dyn Engine) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let all = |reader: &dyn Reader| {
            reader.scan(
                Table::Alias,
                KeyRange::all(),
                Order::Forward,
                &mut |key, _| {
                    found.push(key.to_vec());
                    ControlFlow::Continue(())
                },
            )
        };
        engine.view(all).unwrap();
        found
    }

    #[test]
    fn numbers_are_found_by_however_many_of_their_last_digits_piece_by_piece() {
        let memory = Memory::new();
        let engine: &dyn Engine = &memory;
        let people: Vec<Contact> = (0..PEOPLE).map(|number| person(number, &[])).collect();
        put(engine, people.clone());
        let whole = people[1_234].wa_id.clone().unwrap();
        let whole = whole.as_str();
        for length in 2..=whole.len() {
            let digits = &whole[whole.len() - length..];
            let by = FoundBy::Ending(digits);
            let meant: Vec<Contact> = (people.iter())
                .filter(|contact| by.means(contact))
                .cloned()
                .collect();
            let (mut found, mut after, mut looked_at) = (Vec::new(), None, 0);
            loop {
                let piece = engine
                    .view(|reader| contacts_found_by(reader, &keys(), by, after, 7, 10_000))
                    .unwrap();
                let is_end = piece.contacts.len() < 7;
                looked_at += piece.looked_at;
                after = piece.last;
                found.extend(piece.contacts);
                if is_end {
                    break;
                }
            }
            assert_eq!(found.len(), meant.len(), "{digits}");
            assert_eq!(ids(&found), ids(&meant), "{digits}");
            // Only those are read whose digits agree as far as the key tells.
            let most = match length {
                2 | 4 | 7.. => meant.len(),
                3 => 60,
                _ => 10,
            };
            assert!(looked_at <= most, "{looked_at} read for {digits}");
        }
        let nobody = found_by(engine, FoundBy::Ending("573999999998"));
        assert_eq!((nobody.looked_at, nobody.contacts.len()), (0, 0));
        // No more are looked at than may be.
        let piece = engine
            .view(|reader| contacts_found_by(reader, &keys(), FoundBy::Ending("34"), None, 100, 5));
        assert_eq!(piece.unwrap().looked_at, 5);
    }

    /// Whoever has the file without its key cannot tell who is signed in, nor who with whom.
    #[test]
    fn no_key_says_whose_it_is() {
        let memory = Memory::new();
        let people: Vec<Contact> = (0..PEOPLE)
            .map(|number| person(number, &["ana@example.com"]))
            .collect();
        put(&memory, people.clone());
        let all = aliases(&memory);
        assert_eq!(all.len(), 3 * people.len());
        let ids = ids(&people);
        let says_whose = |key: &&Vec<u8>| key.windows(16).any(|part| ids.contains(part));
        assert_eq!(all.iter().find(says_whose), None);
        // Nor do rows of one person have in common what those of another have not.
        let ana = person(1, &["ana@example.com", "second@example.com"]);
        let [first, second] = ["ana@example.com", "second@example.com"]
            .map(|email| address_key(&keys(), &address(email), ana.id));
        assert_ne!(first[16..], second[16..]);
    }

    #[test]
    fn all_who_are_signed_in_with_one_address_are_found_piece_by_piece_also_while_one_signs_out() {
        let memory = Memory::new();
        let engine: &dyn Engine = &memory;
        let people: Vec<Contact> = (0..PEOPLE)
            .map(|number| person(number, &["ana@example.com", "second@example.com"]))
            .collect();
        put(engine, people.clone());
        let ana = address("ana@example.com");
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let by = FoundBy::Address(&ana);
            let piece = engine
                .view(|reader| contacts_found_by(reader, &keys(), by, after, 700, 700))
                .unwrap();
            found.extend(piece.contacts);
            if piece.looked_at < 700 {
                break;
            }
            after = piece.last;
            // The next piece begins behind somebody who is signed in no more.
            let last = found.last().unwrap().clone();
            engine
                .update(move |writer| delete_aliases(writer, &keys(), &last))
                .unwrap();
        }
        assert_eq!(found.len(), people.len());
        assert_eq!(ids(&found), ids(&people));
    }

    #[test]
    fn an_address_leads_to_all_who_are_signed_in_with_it_and_to_nobody_afterwards() {
        let memory = Memory::new();
        let engine: &dyn Engine = &memory;
        let (ana, bea) = (
            person(1, &["Ana@Example.com", "second@example.com"]),
            person(2, &["ana@example.com"]),
        );
        put(engine, vec![ana.clone(), bea.clone()]);
        let of = |email: &str| ids(&found_by(engine, FoundBy::Address(&address(email))).contacts);
        assert_eq!(of("ANA@example.com"), ids(&[ana.clone(), bea.clone()]));
        assert_eq!(of("second@example.com"), ids(std::slice::from_ref(&ana)));
        assert_eq!(of("nobody@example.com"), ids(&[]));

        let other = Contact {
            bindings: person(1, &["third@example.com", "second@example.com"]).bindings,
            ..ana.clone()
        };
        let now = other.clone();
        let change = move |writer: &mut dyn Writer| {
            put_contact(writer, &now)?;
            put_addresses(writer, &keys(), Some(&ana), &now)
        };
        engine.update(change).unwrap();
        assert_eq!(of("ana@example.com"), ids(std::slice::from_ref(&bea)));
        assert_eq!(of("third@example.com"), ids(std::slice::from_ref(&other)));
        assert_eq!(of("second@example.com"), ids(std::slice::from_ref(&other)));

        let gone = move |writer: &mut dyn Writer| {
            delete_aliases(writer, &keys(), &bea)?;
            delete_aliases(writer, &keys(), &other)
        };
        engine.update(gone).unwrap();
        assert_eq!(aliases(engine), Vec::<Vec<u8>>::new());
    }

    /// also when a batch is given up at first.
    #[test]
    fn everybody_in_a_store_of_format_1_is_found_once_it_is_of_format_2() {
        let of_today = Memory::new();
        let people: Vec<Contact> = (0..PEOPLE)
            .map(|number| {
                let email = format!("user{}@example.com", number / 2);
                let emails = [email.as_str()];
                person(number, if number % 3 == 0 { &[] } else { &emails })
            })
            .collect();
        put(&of_today, people.clone());
        let memory = Memory::new();
        let engine: &dyn Engine = &memory;
        let fill = move |writer: &mut dyn Writer| {
            for contact in &people {
                put_contact(writer, contact)?;
                put_bsuid(writer, &keys(), contact.bsuid.as_ref().unwrap(), contact.id)?;
                let number = contact.wa_id.as_ref().unwrap().as_str();
                let key = keys().wa_id_of_format_1(number);
                writer.put(Table::Alias, &key, &contact.id.0)?;
            }
            Ok(())
        };
        engine.update(fill).unwrap();
        let (mut place, mut batches) = (None, 0);
        loop {
            let at: Option<Vec<u8>> = place.clone();
            let given_up = at.clone();
            let failed = engine.update(move |writer| {
                numbers_by_their_ends_and_addresses(writer, &keys(), given_up.as_deref())?;
                Err::<(), _>(StoreError::Aborted("on purpose"))
            });
            assert!(failed.is_err());
            place = engine
                .update(move |writer| {
                    numbers_by_their_ends_and_addresses(writer, &keys(), at.as_deref())
                })
                .unwrap();
            batches += 1;
            if place.is_none() {
                break;
            }
        }
        assert!(batches > 1, "{batches}");
        assert_eq!(aliases(engine), aliases(&of_today));
    }
}

//! What an operator sees of the people who wrote, and does for them: ends their sign-ins, gives them
//! what is kept about them, and forgets them (section 6.2 of the threat model).
//!
//! What is kept about somebody is looked for in one moment of the store while others go on, and
//! erased in a short transaction with the mark that makes it hold in copies. What came about them in
//! between is looked for once more, now that nothing can come, and then the store is written anew:
//! what is deleted stays readable in a file otherwise. Whatever happens in between, a second mark has
//! it finished, by the sweeper or at the next start.
//!
//! Who wishes so in the chat is nobody from that message on: whoever writes next is somebody new.
//! What is left of them the sweeper erases, together with others who wished the same, for it looks
//! through the whole store and writes it anew, and nobody can have it do that all the time.

use super::audit::{ActOn, OperatorAct};
use super::report::StatusAct;
use super::{About, App, Failed, Shared, Transaction};
use crate::domain::binding::ReleaseReason;
use crate::domain::contact::Contact;
use crate::domain::conversation::Event;
use crate::domain::id::{ContactId, EmailAddress, WaId};
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::store::record::{self, AuditLine, BodyOf, FoundBy, Name, People, Traces};
use crate::store::{
    Copied, CopyError, Reader, SNAPSHOT_EVERY_MS, Snapshots, StoreError, write_copy_unless,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// Bytes of messages in one export; what is beyond is named and left out.
const EXPORT_BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Contacts looked at in one piece.
const LOOKS: usize = 1_000;

/// From the wish to be forgotten to the erasure: the answer and the event are on their way.
const GOODBYE_MS: u64 = MINUTE_MS;

/// From one erasure of those who wished it to the next.
pub const FORGET_EVERY_MS: u64 = 10 * MINUTE_MS;

/// Erased in one piece.
const FORGET_TOGETHER_MAX: usize = 256;

/// Searches for what came about people before they were erased: one finds it, and one more that
/// nothing is left. What was under way then may end in between.
const SEARCHES_MAX: usize = 4;

/// Whom an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The contact with this `userUuid`.
    User(ContactId),
    /// Whoever writes from this number.
    Number(WaId),
    /// Whoever is signed in to an account with this address.
    Email(EmailAddress),
}

/// What forgetting somebody came to, or would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The contacts.
    pub contacts: Vec<ContactId>,
    /// How many records of each kind.
    pub counts: BTreeMap<&'static str, usize>,
    /// Tokens in memory.
    pub tokens: usize,
    /// Users of the built-in directory with this address, who stay.
    pub directory_users: usize,
    /// Why something may be left on the disk for now; nothing when nothing is.
    pub unfinished: Option<String>,
}

/// Everything that is kept about somebody.
#[derive(Clone, Debug)]
pub struct Export {
    /// The contacts.
    pub contacts: Vec<Contact>,
    /// Their records, by the name of the table.
    pub kept: BTreeMap<&'static str, Vec<Value>>,
    /// Users of the built-in directory with this address.
    pub directory: Vec<Value>,
}

impl App {
    /// The same, with a folder in which snapshots of its store are kept.
    #[must_use]
    pub fn with_snapshots(self, snapshots: Snapshots) -> App {
        App {
            snapshots: Some(snapshots),
            ..self
        }
    }

    /// Up to `limit` contacts after `after`, in no useful order.
    pub fn contacts_after(
        &self,
        after: Option<ContactId>,
        limit: usize,
    ) -> Result<Vec<Contact>, StoreError> {
        (self.shared.store).view(|reader| record::contacts(reader, after, limit))
    }

    /// Who is meant; several, when several chats are signed in to accounts with one address.
    pub fn find_contacts(&self, whom: &Whom) -> Result<Vec<Contact>, StoreError> {
        (self.shared.store).view(|reader| led_to(reader, &self.shared.keys, whom))
    }

    /// The same for an operator who looks at them, once that is written down. While the store takes no
    /// writes they are shown nevertheless (P7), with the reason why nothing was written down.
    pub fn show_contacts(&self, whom: &Whom) -> Result<(Vec<Contact>, Option<StoreError>), Failed> {
        let contacts = self.find_contacts(whom)?;
        if contacts.is_empty() {
            return Ok((contacts, None));
        }
        let ids: Vec<ContactId> = contacts.iter().map(|contact| contact.id).collect();
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        let written = self.update(move |writer| {
            for id in &ids {
                // Who was forgotten meanwhile does not come back.
                if record::contact(writer, *id)?.is_some() {
                    shared.note_act(writer, OperatorAct::Shown, ActOn::Contact(*id), now)?;
                }
            }
            Ok(())
        });
        match written {
            Ok(()) => Ok((contacts, None)),
            Err(error @ (StoreError::Full | StoreError::ReadOnly)) => Ok((contacts, Some(error))),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the bindings of who is meant; returns how many ended, of how many contacts.
    pub fn log_out(&self, whom: &Whom) -> Result<(usize, usize), Failed> {
        self.log_out_for(whom, None)
    }

    /// The same, and written down as an act on the status page if it is one.
    pub(super) fn log_out_for(
        &self,
        whom: &Whom,
        act: Option<StatusAct>,
    ) -> Result<(usize, usize), Failed> {
        let (now, shared, whom) = (self.now(), Arc::clone(&self.shared), whom.clone());
        let (ended, contacts) = self.update(move |writer| {
            let (mut ended, mut ids) = (0, Vec::new());
            for contact in led_to(writer, &shared.keys, &whom)? {
                let about = About {
                    now,
                    ..About::default()
                };
                if let Some(act) = act {
                    shared.audit_act(writer, act, Some(contact.id), now)?;
                }
                let event = Event::Released(ReleaseReason::Operator);
                shared.decide_about(writer, &contact, &event, &about)?;
                ended += contact.bindings.len();
                ids.push(contact.id);
            }
            Ok((ended, ids))
        })?;
        self.tokens.forget_contacts(&contacts);
        for contact in &contacts {
            tracing::info!(%contact, "signed out by the operator");
        }
        Ok((ended, contacts.len()))
    }

    /// Everything that is kept about who is meant, once it is written down that it was asked for;
    /// nothing when nothing is kept.
    pub fn export(&self, whom: &Whom) -> Result<Option<Export>, Failed> {
        let keys = &self.shared.keys;
        let (people, export) = self.shared.store.view(|reader| {
            let people = everything_of(reader, keys, whom)?;
            let traces = record::traces(reader, keys, &people)?;
            let mut directory = Vec::new();
            for address in &people.addresses {
                if let Some(user) = record::user(reader, keys, address)? {
                    directory.push(serde_json::json!({
                        "id": user.id,
                        "email": user.email.as_str(),
                        "name": user.name,
                        "company": user.company.name,
                        "phone": user.phone,
                        "password": user.password_hash.is_some(),
                    }));
                }
            }
            let export = Export {
                kept: traces.export(reader, EXPORT_BODY_BYTES_MAX)?,
                contacts: people.contacts.clone(),
                directory,
            };
            Ok((people, export))
        })?;
        if export.contacts.is_empty() && export.kept.is_empty() && export.directory.is_empty() {
            return Ok(None);
        }
        self.note_export(people)?;
        Ok(Some(export))
    }

    /// One line for each contact, and for each user of the directory where there is no contact.
    fn note_export(&self, people: People) -> Result<(), Failed> {
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        Ok(self.update(move |writer| {
            let mut on = Vec::new();
            for contact in &people.contacts {
                // Who was forgotten meanwhile does not come back.
                if record::contact(writer, contact.id)?.is_some() {
                    on.push(ActOn::Contact(contact.id));
                }
            }
            if people.contacts.is_empty() {
                let users = record::directory_users(writer, &shared.keys, &people)?;
                on.extend(users.into_iter().map(ActOn::DirectoryUser));
            }
            if on.is_empty() {
                on.push(ActOn::Nothing);
            }
            for on in on {
                shared.note_act(writer, OperatorAct::Exported, on, now)?;
            }
            Ok(())
        })?)
    }

    /// What [`App::forget`] would do now. Changes nothing.
    pub fn would_forget(&self, whom: &Whom) -> Result<Forgotten, StoreError> {
        let keys = &self.shared.keys;
        let mut forgotten = self.shared.store.view(|reader| {
            let people = everything_of(reader, keys, whom)?;
            let traces = record::traces(reader, keys, &people)?;
            Ok(Forgotten {
                contacts: people.contacts.iter().map(|contact| contact.id).collect(),
                counts: traces.counts(),
                directory_users: directory_users(reader, keys, &people)?,
                ..Forgotten::default()
            })
        })?;
        forgotten.tokens = self.tokens.of_contacts(&forgotten.contacts);
        Ok(forgotten)
    }

    /// Forgets who is meant, as of now.
    ///
    /// # Errors
    /// Nothing is forgotten, or nobody knows; asking again is safe.
    pub fn forget(&self, whom: &Whom) -> Result<Forgotten, Failed> {
        let _turn = self
            .forgetting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let keys = &self.shared.keys;
        let found = self.shared.store.view(|reader| {
            let people = everything_of(reader, keys, whom)?;
            Ok(Found {
                names: names(&people, whom),
                traces: record::traces(reader, keys, &people)?,
                people,
                wishes: Vec::new(),
            })
        })?;
        let mut forgotten = self.erase(found)?;
        forgotten.tokens = self.tokens.forget_contacts(&forgotten.contacts);
        tracing::info!(
            contacts = forgotten.contacts.len(),
            "somebody was forgotten"
        );
        if let Err(error) = self.finish() {
            tracing::warn!(%error, "what was forgotten may still be on the disk; it is tried again");
            forgotten.unfinished = Some(error.to_string());
        }
        Ok(forgotten)
    }

    /// Erases whoever wished it in the chat, if it is time for that; returns how many.
    ///
    /// # Errors
    /// As [`App::forget`].
    pub fn forget_who_wished_it(&self) -> Result<usize, Failed> {
        let now = self.now();
        let wishes = (self.shared.store)
            .view(|reader| record::wishes_to_be_forgotten(reader, FORGET_TOGETHER_MAX))?;
        let is_due = |at: &Timestamp| now.since_ms(*at) >= GOODBYE_MS;
        let due: Vec<ContactId> = (wishes.into_iter())
            .filter(|(_, at)| is_due(at))
            .map(|(id, _)| id)
            .collect();
        if due.is_empty() {
            return Ok(0);
        }
        let mut turn = self
            .forgetting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if turn.is_some_and(|last| now >= last && now.since_ms(last) < FORGET_EVERY_MS) {
            return Ok(0);
        }
        let keys = &self.shared.keys;
        let found = self.shared.store.view(|reader| {
            let mut people = People::default();
            for id in &due {
                people.contacts.extend(record::contact(reader, *id)?);
            }
            Ok(Found {
                names: Vec::new(),
                traces: record::traces(reader, keys, &people)?,
                people,
                wishes: due.clone(),
            })
        })?;
        let forgotten = self.erase(found)?;
        *turn = Some(now);
        self.tokens.forget_contacts(&forgotten.contacts);
        let contacts = forgotten.contacts.len();
        tracing::info!(contacts, "who wished to be forgotten was forgotten");
        if let Err(error) = self.finish() {
            tracing::warn!(%error, "what was forgotten may still be on the disk; it is tried again");
        }
        Ok(contacts)
    }

    /// Removes from the disk what an erasure left there that did not come to its end. Returns
    /// whether there was one.
    pub fn finish_erasure(&self) -> Result<bool, CopyError> {
        if (self.shared.store)
            .view(record::unfinished_erasure)?
            .is_none()
        {
            return Ok(false);
        }
        let _turn = self
            .forgetting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.finish()
    }

    /// Erases what was found, and notes that it is still on the disk.
    fn erase(&self, found: Found) -> Result<Forgotten, Failed> {
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        Ok(self.update(move |writer| {
            let keys = &shared.keys;
            let Found {
                people,
                names,
                traces,
                wishes,
            } = &found;
            let users = record::directory_users(writer, keys, people)?;
            let users = users.into_iter().map(Name::DirectoryUser);
            for name in names.iter().cloned().chain(users) {
                record::put_erased(writer, keys, &name, now)?;
            }
            for contact in &people.contacts {
                // As it is by now: it may have got another name.
                if let Some(contact) = record::contact(writer, contact.id)? {
                    for name in names_of(&contact) {
                        record::put_erased(writer, keys, &name, now)?;
                    }
                    for name in users_of(&contact) {
                        record::put_erased(writer, keys, &name, now)?;
                    }
                    record::delete_aliases(writer, keys, &contact)?;
                }
                record::delete_body(writer, BodyOf::Contact(contact.id))?;
                record::delete_contact(writer, contact.id)?;
            }
            let waited = traces.erase(writer)?;
            writer.freed.extend(waited);
            for id in wishes {
                record::delete_wish_to_be_forgotten(writer, *id)?;
            }
            let number = shared.next_number();
            let line = AuditLine {
                at_ms: now.0,
                event: "contact.forgotten".to_owned(),
                contact: String::new(),
                number_ending: None,
                directory_user: None,
                about: None,
                link: None,
            };
            record::put_audit(writer, keys, number, line)?;
            record::put_unfinished_erasure(writer, number)?;
            Ok(Forgotten {
                contacts: people.contacts.iter().map(|contact| contact.id).collect(),
                counts: traces.counts(),
                directory_users: directory_users(writer, keys, people)?,
                ..Forgotten::default()
            })
        })?)
    }

    /// Erases what came about people between the search for it and their end: whatever is about
    /// somebody who was erased.
    fn erase_what_came_since(&self) -> Result<(), StoreError> {
        let keys = &self.shared.keys;
        let people = People {
            with_erased: true,
            ..People::default()
        };
        for _ in 0..SEARCHES_MAX {
            let traces =
                (self.shared.store).view(|reader| record::traces(reader, keys, &people))?;
            if traces.is_empty() {
                break;
            }
            self.update(move |writer| {
                let waited = traces.erase(writer)?;
                writer.freed.extend(waited);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<bool, CopyError> {
        let store = &self.shared.store;
        let Some(number) = store.view(record::unfinished_erasure)? else {
            return Ok(false);
        };
        self.erase_what_came_since()?;
        store.engine().rewrite()?;
        if let Some(snapshots) = &self.snapshots {
            // First the new one: at no moment is there none.
            let fresh = match snapshots.are_made() {
                true => Some(self.new_snapshot(snapshots)?),
                false => None,
            };
            snapshots
                .remove_all_but(fresh.as_deref())
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        }
        store.update(move |writer| record::finish_erasure(writer, number))?;
        Ok(true)
    }

    /// Writes a copy of the store to `path`, which must not exist yet.
    pub fn back_up(&self, path: &Path) -> Result<Copied, CopyError> {
        let engine = self.shared.store.engine();
        let copied = write_copy_unless(&**engine, path, &self.copies_cancelled)?;
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        let noted = self.update(move |writer| {
            shared.note_act(writer, OperatorAct::BackedUp, ActOn::Nothing, now)
        });
        // A copy matters most when the store takes nothing more.
        if let Err(error) = noted {
            tracing::warn!(%error, "a copy of the store was made, and it is not in the audit");
        }
        Ok(copied)
    }

    /// Copies of the store under way are given up where they look (`write_copy_unless`), and no further
    /// ones are made.
    pub fn cancel_copies(&self) {
        self.copies_cancelled.store(true, Ordering::Relaxed);
    }

    /// Makes a snapshot when one is due: none is as young as [`SNAPSHOT_EVERY_MS`]. Returns where
    /// it is.
    pub fn snapshot_if_due(&self) -> Result<Option<PathBuf>, CopyError> {
        let Some(snapshots) = self.snapshots.as_ref().filter(|made| made.are_made()) else {
            return Ok(None);
        };
        let _turn = self
            .forgetting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.now();
        let listed = snapshots
            .list_hourly()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let is_young = |at: &Timestamp| *at <= now && now.since_ms(*at) < SNAPSHOT_EVERY_MS;
        if listed.iter().any(|(at, _)| is_young(at)) {
            return Ok(None);
        }
        self.new_snapshot(snapshots).map(Some)
    }

    fn new_snapshot(&self, snapshots: &Snapshots) -> Result<PathBuf, CopyError> {
        let mut at = self.now();
        // Two within one millisecond would have one name.
        while snapshots
            .list_hourly()
            .is_ok_and(|listed| listed.iter().any(|(taken, _)| *taken == at))
        {
            at = at.plus_ms(1);
        }
        let engine = self.shared.store.engine();
        snapshots.make(&**engine, at, &self.copies_cancelled)
    }
}

impl Shared {
    /// Whoever writes next under the names of this contact is somebody new, and nothing is left of
    /// it but its number; [`App::forget_who_wished_it`] does the rest.
    pub(super) fn begin_to_forget(
        &self,
        writer: &mut Transaction<'_>,
        before: &Contact,
        contact: &Contact,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let keys = &self.keys;
        // They are signed out by now, and the audit may name whom they were signed in as.
        for name in users_of(before) {
            record::put_erased(writer, keys, &name, now)?;
        }
        let nobody = Contact::new(contact.id, None, None, contact.language, contact.created_at);
        record::delete_aliases(writer, keys, contact)?;
        record::put_limits(writer, keys, contact, now)?;
        // What is on its way on account of the contact itself may still leave.
        for name in names_of(contact) {
            if !matches!(name, Name::Contact(_)) {
                record::put_erased(writer, keys, &name, now)?;
            }
        }
        record::put_contact(writer, &nobody)?;
        record::put_wish_to_be_forgotten(writer, contact.id, now)
    }
}

/// Whom to erase, and what of them.
struct Found {
    people: People,
    /// Under which they must not come back, besides those that the contacts have by then.
    names: Vec<Name>,
    traces: Traces,
    /// Which wishes this fulfils.
    wishes: Vec<ContactId>,
}

/// The contacts that are meant, by what leads to them: nobody waits while others are looked at, nor
/// is kept from it by what is wrong with theirs.
fn led_to(
    reader: &dyn Reader,
    keys: &record::Keys,
    whom: &Whom,
) -> Result<Vec<Contact>, StoreError> {
    let id = match whom {
        Whom::User(id) => Some(*id),
        Whom::Number(number) => record::contact_of_wa_id(reader, keys, number)?,
        Whom::Email(email) => {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let by = FoundBy::Address(email);
                let piece = record::contacts_found_by(reader, keys, by, after, LOOKS, LOOKS)?;
                found.extend(piece.contacts);
                if piece.looked_at < LOOKS {
                    return Ok(found);
                }
                after = piece.last;
            }
        }
    };
    let contact = id.map(|id| record::contact(reader, id)).transpose()?;
    Ok(contact.flatten().into_iter().collect())
}

/// The contacts that are meant, of whom nothing may be left. All are looked at, though an alias should
/// lead to each: what is to be forgotten does not depend on it.
fn people(
    reader: &dyn Reader,
    keys: &record::Keys,
    whom: &Whom,
) -> Result<Vec<Contact>, StoreError> {
    let by_alias = match whom {
        Whom::User(id) => return Ok(record::contact(reader, *id)?.into_iter().collect()),
        Whom::Number(number) => record::contact_of_wa_id(reader, keys, number)?,
        Whom::Email(_) => None,
    };
    let is_meant = |contact: &Contact| match whom {
        Whom::User(_) => false,
        Whom::Number(number) => contact.wa_id.as_ref() == Some(number),
        Whom::Email(email) => (contact.bindings.iter()).any(|b| b.email.as_ref() == Some(email)),
    };
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let piece = record::contacts(reader, after, LOOKS)?;
        let Some(last) = piece.last() else { break };
        after = Some(last.id);
        found.extend(
            (piece.into_iter()).filter(|contact| is_meant(contact) || Some(contact.id) == by_alias),
        );
    }
    Ok(found)
}

fn everything_of(
    reader: &dyn Reader,
    keys: &record::Keys,
    whom: &Whom,
) -> Result<People, StoreError> {
    Ok(People {
        contacts: people(reader, keys, whom)?,
        addresses: match whom {
            Whom::Email(email) => vec![email.clone()],
            Whom::User(_) | Whom::Number(_) => Vec::new(),
        },
        with_erased: false,
    })
}

/// The names under which they must not come back. An address only if it is the name that was given:
/// somebody else may be signed in to the same account.
fn names(people: &People, whom: &Whom) -> Vec<Name> {
    let mut names: Vec<Name> = match whom {
        Whom::User(id) => vec![Name::Contact(*id)],
        Whom::Number(number) => vec![Name::Number(number.clone())],
        Whom::Email(email) => vec![Name::Address(email.clone())],
    };
    names.extend(people.contacts.iter().flat_map(names_of));
    names
}

fn names_of(contact: &Contact) -> Vec<Name> {
    let mut names = vec![Name::Contact(contact.id)];
    names.extend(contact.bsuid.clone().map(Name::Bsuid));
    names.extend(contact.wa_id.clone().map(Name::Number));
    names
}

fn users_of(contact: &Contact) -> impl Iterator<Item = Name> + '_ {
    let bindings = contact.bindings.iter();
    bindings.map(|binding| Name::DirectoryUser(binding.user_id.clone()))
}

fn directory_users(
    reader: &dyn Reader,
    keys: &record::Keys,
    people: &People,
) -> Result<usize, StoreError> {
    let mut users = 0;
    for address in &people.addresses {
        users += usize::from(record::user(reader, keys, address)?.is_some());
    }
    Ok(users)
}

//! Who a message is from, by the names that came with it, and what becomes of contacts whose names
//! have changed hands.
//!
//! A name leads to one contact at any time, and nobody is ever taken for somebody else: in doubt
//! proofs end, and nothing is merged.

use crate::app::{Shared, Transaction};
use crate::domain::binding::ReleaseReason;
use crate::domain::contact::Contact;
use crate::domain::conversation::{Event, Outcome};
use crate::domain::id::{Bsuid, ContactId, WaId};
use crate::domain::language::Language;
use crate::domain::message::{IdentityChanged, Sender};
use crate::domain::policy::Gate;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::record;

impl Shared {
    /// The contacts that these names lead to: none, one, or two that are in conflict.
    pub(super) fn contacts_named(
        &self,
        writer: &Transaction<'_>,
        names: &Sender,
    ) -> Result<Vec<ContactId>, StoreError> {
        let mut found = Vec::new();
        if let Some(bsuid) = &names.bsuid {
            found.extend(record::contact_of_bsuid(writer, &self.keys, bsuid)?);
        }
        if let Some(wa_id) = &names.wa_id {
            found.extend(record::contact_of_wa_id(writer, &self.keys, wa_id)?);
        }
        found.dedup();
        Ok(found)
    }

    /// The contact who wrote, found by its aliases or made. BSUID first, number second; names that
    /// lead to two contacts end the proofs of both and merge nothing (Meta's contract, 2.6; S-64).
    pub(super) fn contact_of(
        &self,
        writer: &mut Transaction<'_>,
        sender: &Sender,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<Contact, StoreError> {
        let load = |writer: &Transaction<'_>, id: Option<ContactId>| match id {
            Some(id) => record::contact(writer, id),
            None => Ok(None),
        };
        let bsuid_leads_to = match &sender.bsuid {
            Some(bsuid) => record::contact_of_bsuid(writer, &self.keys, bsuid)?,
            None => None,
        };
        let by_bsuid = load(writer, bsuid_leads_to)?;
        let number_leads_to = match (&sender.wa_id, &by_bsuid) {
            // A contact's own number leads to it, always: whoever comes to have a number is
            // preceded by everybody else's losing it. So it need not be looked up.
            (Some(wa_id), Some(known)) if known.wa_id.as_ref() == Some(wa_id) => bsuid_leads_to,
            (Some(wa_id), _) => record::contact_of_wa_id(writer, &self.keys, wa_id)?,
            (None, _) => None,
        };
        // Both lead to the same contact, nearly always: it is read once.
        let by_wa_id = if number_leads_to == bsuid_leads_to {
            None
        } else {
            load(writer, number_leads_to)?
        };
        let known = by_bsuid.as_ref().or(by_wa_id.as_ref()).cloned();
        let mut contact = match (by_bsuid, by_wa_id) {
            (Some(first), Some(second)) if first.id != second.id => {
                let second = self.release(writer, &second, ReleaseReason::Conflict, now)?;
                lose_number(writer, second)?;
                self.release(writer, &first, ReleaseReason::Conflict, now)?
            }
            (Some(contact), _) => contact,
            (None, Some(contact)) => match (&contact.bsuid, &sender.bsuid) {
                // The number came into other hands: whoever had it is not this person.
                (Some(known), Some(now_seen)) if known != now_seen => {
                    let before =
                        self.release(writer, &contact, ReleaseReason::NumberChanged, now)?;
                    lose_number(writer, before)?;
                    self.new_contact(writer, sender, now, fresh)?
                }
                _ => contact,
            },
            (None, None) => self.new_contact(writer, sender, now, fresh)?,
        };
        if let (Some(known), Some(now_seen)) = (&contact.wa_id, &sender.wa_id)
            && known != now_seen
        {
            // Whoever gets the old number is somebody else.
            record::delete_wa_id(writer, &self.keys, known, contact.id)?;
            contact = self.release(writer, &contact, ReleaseReason::NumberChanged, now)?;
        }
        if sender.bsuid.is_some() && contact.bsuid.is_none() {
            contact.bsuid.clone_from(&sender.bsuid);
        }
        if sender.wa_id.is_some() {
            contact.wa_id.clone_from(&sender.wa_id);
        }
        if let Some(bsuid) = &sender.bsuid
            && bsuid_leads_to != Some(contact.id)
        {
            record::put_bsuid(writer, &self.keys, bsuid, contact.id)?;
        }
        if let Some(wa_id) = &sender.wa_id
            && number_leads_to != Some(contact.id)
        {
            record::put_wa_id(writer, &self.keys, wa_id, contact.id)?;
        }
        // An alias must never lead nowhere, whatever the decision that follows.
        if known.as_ref() != Some(&contact) {
            record::put_contact(writer, &contact)?;
        }
        Ok(contact)
    }

    fn new_contact(
        &self,
        writer: &Transaction<'_>,
        sender: &Sender,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<Contact, StoreError> {
        let language = Language::usual_for(sender.wa_id.as_ref(), sender.bsuid.as_ref())
            .unwrap_or(self.settings.language);
        let contact = Contact::new(
            ContactId::from_random(fresh),
            sender.bsuid.clone(),
            sender.wa_id.clone(),
            language,
            now,
        );
        record::with_limits(writer, &self.keys, contact)
    }

    /// Ends the proofs of a contact; returns the contact as it is now.
    pub(in crate::app) fn release(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        reason: ReleaseReason,
        now: Timestamp,
    ) -> Result<Contact, StoreError> {
        self.decide(writer, contact, &Event::Released(reason), now, [0; 16])?;
        Ok(record::contact(writer, contact.id)?.unwrap_or_else(|| contact.clone()))
    }

    pub(super) fn identity_changed(
        &self,
        writer: &mut Transaction<'_>,
        change: &IdentityChanged,
        item: usize,
        now: Timestamp,
    ) -> Result<Option<&'static str>, StoreError> {
        if self.is_repeated(writer, &change.id, change.at, now)? {
            return Ok(None);
        }
        let found = self.contacts_named(writer, &change.before)?;
        // It names the person, so that it is the bot's only if their messages were.
        let mut is_for_the_bot = self.settings.policy.gate == Gate::OnRequest;
        for id in &found {
            if let Some(contact) = record::contact(writer, *id)? {
                is_for_the_bot |= contact.is_bound();
                self.release(writer, &contact, ReleaseReason::NumberChanged, now)?;
            }
        }
        if is_for_the_bot {
            let line = found.first().copied();
            let line = line.unwrap_or_else(|| self.line_of(&names(&change.before)));
            self.news(writer, item, line);
        }
        Ok(Some(Outcome::Released.name()))
    }
}

pub(super) fn names(sender: &Sender) -> Vec<&str> {
    let bsuid = sender.bsuid.as_ref().map(Bsuid::as_str);
    let wa_id = sender.wa_id.as_ref().map(WaId::as_str);
    bsuid.into_iter().chain(wa_id).collect()
}

/// The contact's number is somebody else's now: nothing goes there on its account any more.
fn lose_number(writer: &mut Transaction<'_>, contact: Contact) -> Result<(), StoreError> {
    let contact = Contact {
        wa_id: None,
        ..contact
    };
    record::put_contact(writer, &contact)
}

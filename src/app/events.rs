//! What whoever wants to know is told about sign-ins.

use super::identity::{bindings_json, rfc_3339};
use super::{App, Failed, Shared, Transaction, put_new_entry};
use crate::domain::contact::Contact;
use crate::domain::conversation::AuditEvent;
use crate::domain::delivery::{Entry, EntryId, Errand};
use crate::domain::id::{DAY_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, ToldEvent};
use serde_json::{Map, json};
use std::sync::Arc;

/// How long an event is tried.
const LIFETIME_MS: u64 = 7 * DAY_MS;

/// Events replayed in one transaction: others wait for it.
const REPLAYED_AT_ONCE_MAX: usize = 256;

/// The event's name to its receiver: `webhook-id`.
pub(super) fn name_of(event: EntryId) -> String {
    format!("evt_{:x}", event.0)
}

/// The dotted name of an event, and the word for why.
fn kind_of(event: AuditEvent) -> (&'static str, Option<&'static str>) {
    match event {
        AuditEvent::CodeAsked => ("sign_in.started", Some("mail_code")),
        AuditEvent::LinkSent => ("sign_in.started", Some("link")),
        AuditEvent::CodeWrong => ("sign_in.failed", Some("code_wrong")),
        AuditEvent::PasswordWrong => ("sign_in.failed", Some("password_wrong")),
        AuditEvent::CodeForwarded => ("sign_in.refused", Some("code_forwarded")),
        AuditEvent::LinkBurned => ("sign_in.refused", Some("guessed_at")),
        AuditEvent::LinkDeclined => ("sign_in.refused", Some("declined")),
        AuditEvent::LinkMismatch => ("sign_in.refused", Some("other_chat")),
        AuditEvent::AccountRefused => ("sign_in.refused", Some("account")),
        AuditEvent::Limited => ("sign_in.refused", Some("limit")),
        AuditEvent::PasswordRight => ("sign_in.password_right", None),
        AuditEvent::ProofAsked => ("sign_in.started", Some("bot")),
        AuditEvent::Bound => ("contact.bound", None),
        AuditEvent::Released(reason) => {
            let reason = reason.event();
            let word = reason.strip_prefix("contact.released.").unwrap_or(reason);
            ("contact.released", Some(word))
        }
    }
}

impl App {
    /// The events of the last 30 days after `after`, oldest first; `limit` at most.
    pub fn events(
        &self,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<ToldEvent>, StoreError> {
        self.shared
            .store
            .view(|reader| record::events(reader, after, limit))
    }

    /// Tells all events after `after` that happened at `since` or later once more, under the names
    /// that they have. Returns how many, and where to go on when there may be more.
    pub fn replay_events(
        &self,
        after: Option<EntryId>,
        since: Timestamp,
    ) -> Result<(usize, Option<EntryId>), Failed> {
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        Ok(self.update(move |writer| {
            let events = record::events(writer, after, REPLAYED_AT_ONCE_MAX)?;
            let next = match events.len() {
                REPLAYED_AT_ONCE_MAX => events.last().map(|event| event.id),
                _ => None,
            };
            let mut replayed = 0;
            for event in events.iter().filter(|event| event.at >= since) {
                replayed += 1;
                let entry = EntryId(shared.next_number());
                shared.put_telling(writer, entry, event, now)?;
            }
            Ok((replayed, next))
        })?)
    }

    /// Tells one event once more; says whether there is one of this name.
    pub fn replay_event(&self, id: EntryId) -> Result<bool, Failed> {
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        Ok(self.update(move |writer| {
            let Some(event) = record::event(writer, id)? else {
                return Ok(false);
            };
            let entry = EntryId(shared.next_number());
            shared.put_telling(writer, entry, &event, now)?;
            Ok(true)
        })?)
    }
}

impl Shared {
    /// Notes what happened, for whoever wants to know.
    pub(super) fn tell(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: AuditEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.settings.tells_events {
            return Ok(());
        }
        let (kind, reason) = kind_of(event);
        let mut data = Map::new();
        data.insert("userUuid".into(), contact.id.to_string().into());
        data.insert("language".into(), contact.language.code().into());
        if let Some(ending) = contact.number_ending() {
            data.insert("numberEnding".into(), ending.into());
        }
        if let Some(reason) = reason {
            data.insert("reason".into(), reason.into());
        }
        if event == AuditEvent::Bound {
            data.insert(
                "bindings".into(),
                bindings_json(&contact.bindings, now, &self.settings.policy),
            );
        }
        let id = EntryId(self.next_number());
        let json = json!({ "type": kind, "timestamp": rfc_3339(now), "data": data });
        let told = ToldEvent {
            id,
            at: now,
            kind: kind.to_owned(),
            line: contact.id,
            json: json.to_string(),
        };
        record::put_event(writer, &told)?;
        self.put_telling(writer, id, &told, now)
    }

    fn put_telling(
        &self,
        writer: &mut Transaction<'_>,
        entry: EntryId,
        event: &ToldEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let errand = Errand::Event { origin: event.id };
        let entry = Entry::new(entry, event.line, errand, now, now.plus_ms(LIFETIME_MS));
        put_new_entry(writer, entry)
    }
}

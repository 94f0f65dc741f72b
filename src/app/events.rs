//! What whoever wants to know is told about sign-ins.

use super::identity::{bindings_json, rfc_3339};
use super::{Shared, Transaction, put_new_entry};
use crate::domain::contact::Contact;
use crate::domain::conversation::AuditEvent;
use crate::domain::delivery::{Entry, EntryId, Errand};
use crate::domain::time::{DAY_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, ToldEvent};
use serde_json::{Map, json};

/// How long an event is tried.
pub(super) const LIFETIME_MS: u64 = 7 * DAY_MS;

/// The event's name to its receiver: `webhook-id`.
pub fn event_name(event: EntryId) -> String {
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

    /// Tells an event, for the first time or once more.
    pub(super) fn put_telling(
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

//! What became of a message that was sent, as Meta tells later: of Portero's own, whose fate changes
//! what waits and who is trusted, and of the bot's, which are the bot's to hear of.

use super::sender::names;
use crate::app::{Shared, Transaction};
use crate::domain::binding::ReleaseReason;
use crate::domain::contact::Contact;
use crate::domain::delivery::{ChatMessage, Entry, EntryId, Errand, Lane};
use crate::domain::id::{Bsuid, ContactId, Malformed, MessageId, WaId, hex};
use crate::domain::message::{Sender, Status, StatusUpdate};
use crate::domain::tally::Tally;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::record::{self, DeadLetter, Sent};

/// The error code of a message that was held back because the identity key had changed
/// (Meta's contract, section 4).
const IDENTITY_KEY_MISMATCH: u32 = 137_000;

impl Shared {
    /// The fate of a message of ours, found by Meta's id, or by our tag when Meta's answer to the
    /// send never reached us. Later news never goes back to an earlier state.
    pub(super) fn status(
        &self,
        writer: &mut Transaction<'_>,
        update: &StatusUpdate,
        item: usize,
        now: Timestamp,
    ) -> Result<Option<&'static str>, StoreError> {
        let tagged = update.tag.as_deref().and_then(EntryId::from_tag);
        let waiting = match tagged {
            Some(id) => record::entry(writer, Lane::Chat, id)?,
            None => None,
        };
        let known = match (record::sent(writer, &self.keys, &update.id)?, &waiting) {
            (Some(known), _) => known,
            (None, Some(entry)) => {
                // It was taken after all: nothing to send any more.
                record::delete_entry(writer, Lane::Chat, entry.id)?;
                writer.freed.push((Lane::Chat, entry.contact, entry.id));
                writer.count(Tally::REPLIES, now);
                let Errand::Chat { sentence, .. } = &entry.errand else {
                    return Ok(Some("status"));
                };
                Sent {
                    entry: entry.id,
                    contact: entry.contact,
                    sentence: sentence.clone(),
                    at: update.at,
                    status: Status::Sent,
                }
            }
            // Ours, older than our memory.
            (None, None) if tagged.is_some() => return Ok(Some("status")),
            (None, None) => return self.status_of_the_bot(writer, update, item, now),
        };
        let news = update.status > known.status;
        if news || waiting.is_some() {
            let status = known.status.max(update.status);
            record::put_sent(
                writer,
                &self.keys,
                &update.id,
                &Sent {
                    status,
                    ..known.clone()
                },
            )?;
        }
        if news && update.status == Status::Failed {
            self.send_failed(writer, update, &known, waiting, now)?;
        }
        Ok(Some("status"))
    }

    /// The fate of a message that the bot has sent.
    fn status_of_the_bot(
        &self,
        writer: &mut Transaction<'_>,
        update: &StatusUpdate,
        item: usize,
        now: Timestamp,
    ) -> Result<Option<&'static str>, StoreError> {
        if !self.settings.hands_on {
            return Ok(Some("status"));
        }
        if let Ok(told) = self.mark_of(update)
            && self.is_repeated(writer, &told, update.at, now)?
        {
            return Ok(None);
        }
        let line = self.line_of_recipient(writer, &update.recipient)?;
        self.news(writer, item, line);
        Ok(Some("status"))
    }

    /// What tells this status from all others, and is the same when Meta repeats it: of a message to
    /// a group, each member has their own.
    fn mark_of(&self, update: &StatusUpdate) -> Result<MessageId, Malformed> {
        let status = format!("{:?}", update.status);
        let recipient = &update.recipient;
        let digest = self.keys.master().keyed_digest(
            "status",
            &[
                update.id.as_str().as_bytes(),
                status.as_bytes(),
                (recipient.bsuid.as_ref().map_or("", Bsuid::as_str)).as_bytes(),
                (recipient.wa_id.as_ref().map_or("", WaId::as_str)).as_bytes(),
                (update.participant.as_deref().unwrap_or("")).as_bytes(),
            ],
        );
        MessageId::parse(&format!("status {}", hex(&digest[..16])))
    }

    fn send_failed(
        &self,
        writer: &mut Transaction<'_>,
        update: &StatusUpdate,
        known: &Sent,
        waiting: Option<Entry>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let code = update.error_code.unwrap_or(0);
        tracing::warn!(contact = %known.contact, sentence = known.sentence, code, "a message was not delivered");
        if let Some(contact) = record::contact(writer, known.contact)? {
            if code == IDENTITY_KEY_MISMATCH {
                self.release(writer, &contact, ReleaseReason::IdentityKeyChanged, now)?;
            }
            if let Some(entry) = waiting.or_else(|| entry_of(known, &contact)) {
                let reason = format!("Meta reported the message as failed (code {code})");
                writer.dead.push(entry.errand.lane());
                writer.counted_at = now;
                record::put_dead(
                    writer,
                    &DeadLetter {
                        entry,
                        at: now,
                        reason,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// Whether a message that has a status was sent by Portero itself.
    pub(super) fn is_our_own(
        &self,
        writer: &Transaction<'_>,
        id: &MessageId,
        tag: Option<&str>,
    ) -> Result<bool, StoreError> {
        let is_tagged = tag.and_then(EntryId::from_tag).is_some();
        Ok(is_tagged || record::sent(writer, &self.keys, id)?.is_some())
    }

    /// Where what is about a message to somebody waits: behind what that person wrote.
    pub(super) fn line_of_recipient(
        &self,
        writer: &Transaction<'_>,
        recipient: &Sender,
    ) -> Result<ContactId, StoreError> {
        let contact = match (&recipient.bsuid, &recipient.wa_id) {
            (Some(bsuid), _) => record::contact_of_bsuid(writer, &self.keys, bsuid)?,
            (None, Some(wa_id)) => record::contact_of_wa_id(writer, &self.keys, wa_id)?,
            (None, None) => None,
        };
        Ok(contact.unwrap_or_else(|| self.line_of(&names(recipient))))
    }
}

/// The entry that a sent message was, without its words: they are gone once Meta has taken it.
fn entry_of(sent: &Sent, contact: &Contact) -> Option<Entry> {
    let message = ChatMessage {
        body: String::new(),
        buttons: Vec::new(),
        link: None,
    };
    Some(Entry {
        id: sent.entry,
        contact: sent.contact,
        errand: Errand::Chat {
            to: contact.recipient()?,
            message,
            sentence: sent.sentence.clone(),
        },
        created_at: sent.at,
        expires_at: sent.at,
        not_before: sent.at,
        attempts: 1,
        unknown: 0,
        unexplained: 0,
        hushed: false,
        last_failure: None,
        in_flight_since: None,
    })
}

//! What came through the webhook takes effect: once, in order, durably.

use super::hand_on::{Body, Element, HandOn};
use super::{About, App, Failed, Shared, Transaction};
use crate::domain::binding::ReleaseReason;
use crate::domain::contact::Contact;
use crate::domain::conversation::{self, Event, Outcome};
use crate::domain::delivery::{EntryId, Errand, Lane};
use crate::domain::id::{
    Bsuid, ContactId, DAY_MS, HOUR_MS, Language, Malformed, MessageId, Timestamp, WaId, hex,
};
use crate::domain::message::{
    IdentityChanged, Ignored, Inbound, Notice, Provenance, Sender, Status, StatusUpdate,
    WebhookItem,
};
use crate::domain::policy::Gate;
use crate::domain::reading;
use crate::domain::tally::Tally;
use crate::store::StoreError;
use crate::store::record::{self, DeadLetter, Remembered, Sent};
use std::sync::Arc;

/// Elements of a batch that share one transaction: bounds what a transaction holds in memory, and
/// is large enough that a batch of 1,000 needs few commits.
const ITEMS_PER_UPDATE: usize = 64;

/// Message ids are remembered this long: longer than the 7 days for which Meta repeats (S-03).
pub(super) const SEEN_MS: u64 = 9 * DAY_MS;

/// What is older when it comes would be forgotten at once: its id is remembered for ever.
const TOLD_BY_AGE_MS: u64 = SEEN_MS - DAY_MS;

/// No id of a message is forgotten sooner, whatever becomes of the clock: one that was set is believed
/// after a day.
const NEVER_FORGOTTEN_MS: u64 = HOUR_MS;

/// The error code of a message that was held back because the identity key had changed
/// (Meta's contract, section 4).
const IDENTITY_KEY_MISMATCH: u32 = 137_000;

/// What a webhook did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The outcome of each element that took effect, in order.
    pub outcomes: Vec<&'static str>,
    /// Elements that had their effect before.
    pub repeated: usize,
    /// Elements that were left alone.
    pub ignored: usize,
}

impl App {
    /// Lets every element of a webhook take effect. When this returns `Ok`, all of it is durable
    /// and may be acknowledged. After an error any part may have happened: the sender repeats the
    /// whole, and what had its effect has none again.
    pub fn receive(
        &self,
        items: Vec<WebhookItem>,
        body: Arc<dyn Body>,
    ) -> Result<Received, Failed> {
        let now = self.now();
        let mut received = Received::default();
        let mut takes_effect = false;
        for item in &items {
            match item {
                WebhookItem::Ignored(_) => received.ignored += 1,
                WebhookItem::Notice(notice) => note(notice),
                _ => {}
            }
            takes_effect |= self.takes_effect(item);
        }
        if !takes_effect {
            return Ok(received);
        }
        // Meta repeats for seven days, so that nothing is as old as that but by a clock that is wrong. It
        // is not let to decide on anything: whoever sends it again finds one that is right.
        let is_odd = |at| now.since_ms(at) > TOLD_BY_AGE_MS;
        if items.iter().filter_map(sent_at).any(is_odd) && !self.is_clock_believed() {
            return Err(Failed::ClockInDoubt);
        }
        let count = items.len();
        let items = Arc::new(items);
        for start in (0..count).step_by(ITEMS_PER_UPDATE) {
            let end = count.min(start + ITEMS_PER_UPDATE);
            // One for a contact that may be new, one for a challenge that may begin.
            let fresh = self.draw(2 * (end - start))?;
            let (shared, items) = (Arc::clone(&self.shared), Arc::clone(&items));
            let body = Arc::clone(&body);
            let outcomes = self.update(move |writer| {
                let mut outcomes = Vec::with_capacity(end - start);
                for (item, fresh) in (start..end).zip(fresh.chunks_exact(2)) {
                    let element = Element {
                        item,
                        items: count,
                        message: None,
                        body: Arc::clone(&body),
                    };
                    let outcome = shared.receive_one(
                        writer,
                        &items[item],
                        element,
                        now,
                        fresh[0],
                        fresh[1],
                    )?;
                    outcomes.extend(outcome);
                }
                shared.put_hand_overs(writer, &*body, end - start == count, count, now)?;
                Ok(outcomes)
            })?;
            for outcome in outcomes {
                match outcome {
                    Effect::Was(outcome) => received.outcomes.push(outcome),
                    Effect::Repeated => received.repeated += 1,
                }
            }
        }
        self.count(&received.outcomes);
        Ok(received)
    }

    fn takes_effect(&self, item: &WebhookItem) -> bool {
        match item {
            WebhookItem::Message(_) | WebhookItem::Status(_) | WebhookItem::IdentityChanged(_) => {
                true
            }
            WebhookItem::Notice(_) => self.settings().hands_on,
            WebhookItem::Ignored(why) => self.settings().hands_on && why.may_be_handed_on(),
        }
    }
}

/// When Meta's clock says that it happened.
fn sent_at(item: &WebhookItem) -> Option<Timestamp> {
    match item {
        WebhookItem::Message(message) => Some(message.sent_at),
        WebhookItem::Status(status) => Some(status.at),
        WebhookItem::IdentityChanged(change) => Some(change.at),
        WebhookItem::Notice(_) | WebhookItem::Ignored(_) => None,
    }
}

fn note(notice: &Notice) {
    let Notice {
        topic,
        event,
        severe,
    } = notice;
    if *severe {
        tracing::error!(topic, event, "Meta reports a problem");
    } else {
        tracing::info!(topic, event, "Meta notifies");
    }
}

/// What became of an element that can take effect.
enum Effect {
    /// It was this.
    Was(&'static str),
    /// It had its effect before.
    Repeated,
}

impl Shared {
    /// `None` for what only the bot may have a use for.
    fn receive_one(
        &self,
        writer: &mut Transaction<'_>,
        item: &WebhookItem,
        mut element: Element,
        now: Timestamp,
        fresh_contact: [u8; 16],
        fresh_challenge: [u8; 16],
    ) -> Result<Option<Effect>, StoreError> {
        let effect = |outcome: Option<&'static str>| outcome.map_or(Effect::Repeated, Effect::Was);
        match item {
            WebhookItem::Message(message) => {
                element.message = Some(message.id.clone());
                let outcome = self.message(
                    writer,
                    message,
                    element,
                    now,
                    fresh_contact,
                    fresh_challenge,
                )?;
                Ok(Some(effect(outcome)))
            }
            WebhookItem::IdentityChanged(change) => {
                let outcome = self.identity_changed(writer, change, element.item, now)?;
                Ok(Some(effect(outcome)))
            }
            WebhookItem::Status(status) => {
                let outcome = self.status(writer, status, element.item, now)?;
                Ok(Some(effect(outcome)))
            }
            WebhookItem::Notice(_) => {
                self.news(writer, element.item, self.line_of(&[]));
                Ok(None)
            }
            WebhookItem::Ignored(Ignored::UnknownStatus { id, recipient, tag }) => {
                if !self.is_our_own(writer, id, tag.as_deref())? {
                    let line = self.line_of_recipient(writer, recipient)?;
                    self.news(writer, element.item, line);
                }
                Ok(None)
            }
            WebhookItem::Ignored(why) => {
                let is_peoples = *why == Ignored::PeoplesField;
                let hears_everybody = self.settings.policy.gate == Gate::OnRequest;
                if why.may_be_handed_on() && (hears_everybody || !is_peoples) {
                    self.news(writer, element.item, self.line_of(&[]));
                }
                Ok(None)
            }
        }
    }

    /// Something that is no message of somebody's is the bot's.
    fn news(&self, writer: &mut Transaction<'_>, item: usize, line: ContactId) {
        if self.settings.hands_on {
            writer.hand_on.push(HandOn {
                item,
                line,
                message: None,
            });
        }
    }

    /// `None` when it had its effect before.
    fn message(
        &self,
        writer: &mut Transaction<'_>,
        message: &Inbound,
        element: Element,
        now: Timestamp,
        fresh_contact: [u8; 16],
        fresh_challenge: [u8; 16],
    ) -> Result<Option<&'static str>, StoreError> {
        if self.is_repeated(writer, &message.id, message.sent_at, now)? {
            return Ok(None);
        }
        let handle = match reading::return_code_of(message) {
            Some(code) => record::handle_of_return_code(writer, &self.keys, &code)?,
            None => None,
        };
        if message.provenance == Provenance::Group {
            let outcome = match handle {
                Some(handle) => self.returned_elsewhere(writer, handle, None, now)?,
                // In a group nobody is signed in, so that no identity goes with it.
                None if self.is_for_the_bot_in_a_group(writer, message, now)? => {
                    let names = names(&message.sender);
                    self.news(writer, element.item, self.line_of(&names));
                    Outcome::HandedOn
                }
                None => Outcome::Ignored,
            };
            return Ok(Some(outcome.name()));
        }
        let contact = self.contact_of(writer, &message.sender, now, fresh_contact)?;
        let foreign = handle.filter(|handle| handle.contact != contact.id);
        if let Some(handle) = foreign {
            self.returned_elsewhere(writer, handle, Some(contact.language), now)?;
        }
        let about = About {
            now,
            fresh: fresh_challenge,
            foreign_return_code: foreign.is_some(),
            element: Some(element),
            ..About::default()
        };
        let event = Event::Message(message);
        let outcome = self.decide_about(writer, &contact, &event, &about)?.outcome;
        if outcome == Outcome::Mismatch && foreign.is_none() {
            warn_of_links_passed_on(&contact);
        }
        log(message, &contact, outcome);
        Ok(Some(outcome.name()))
    }

    fn is_for_the_bot_in_a_group(
        &self,
        writer: &Transaction<'_>,
        message: &Inbound,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let policy = &self.settings.policy;
        if policy.gate != Gate::OnRequest {
            return Ok(false);
        }
        let mut writers = Vec::new();
        for id in self.contacts_named(writer, &message.sender)? {
            writers.extend(record::contact(writer, id)?);
        }
        Ok(conversation::is_for_the_bot_in_a_group(
            &writers, message, now, policy,
        ))
    }

    /// The contacts that these names lead to: none, one, or two that are in conflict.
    fn contacts_named(
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

    /// A return code came from where it does not belong: whoever asked for its link hears of it.
    fn returned_elsewhere(
        &self,
        writer: &mut Transaction<'_>,
        handle: record::Handle,
        language: Option<Language>,
        now: Timestamp,
    ) -> Result<Outcome, StoreError> {
        let Some(contact) = record::contact(writer, handle.contact)? else {
            return Ok(Outcome::Ignored);
        };
        let event = Event::ReturnedElsewhere {
            mapping: handle.mapping,
            code_made_at: handle.at,
            language: language.unwrap_or(contact.language),
        };
        let outcome = self.decide(writer, &contact, &event, now, [0; 16])?;
        if outcome == Outcome::Mismatch {
            warn_of_links_passed_on(&contact);
        }
        Ok(outcome)
    }

    /// What is older than our memory of ids cannot be told from a repetition, so it is one (S-04). How
    /// far that goes back is told by what was forgotten and by no clock: one that was wrong when the
    /// store was made, or is believed although it is wrong, neither loses a message nor lets one have
    /// its effect twice.
    fn is_repeated(
        &self,
        writer: &mut Transaction<'_>,
        id: &MessageId,
        sent_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let age_ms = now.since_ms(sent_at);
        if age_ms > NEVER_FORGOTTEN_MS
            && record::seen_forgotten_until(writer)?.is_some_and(|until| sent_at < until)
        {
            return Ok(true);
        }
        let remembered = match age_ms > TOLD_BY_AGE_MS {
            true => Remembered::Always,
            false => Remembered::UntilOld,
        };
        let number = &self.settings.phone_number_id;
        record::see(writer, &self.keys, number, id, sent_at, remembered)
    }

    /// The contact who wrote, found by its aliases or made. BSUID first, number second; names that
    /// lead to two contacts end the proofs of both and merge nothing (Meta's contract, 2.6; S-64).
    fn contact_of(
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
            let old_number = Contact {
                bsuid: None,
                ..contact.clone()
            };
            record::delete_aliases(writer, &self.keys, &old_number)?;
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
    pub(super) fn release(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        reason: ReleaseReason,
        now: Timestamp,
    ) -> Result<Contact, StoreError> {
        self.decide(writer, contact, &Event::Released(reason), now, [0; 16])?;
        Ok(record::contact(writer, contact.id)?.unwrap_or_else(|| contact.clone()))
    }

    fn identity_changed(
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

    /// The fate of a message of ours, found by Meta's id, or by our tag when Meta's answer to the
    /// send never reached us. Later news never goes back to an earlier state.
    fn status(
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

    /// Whether a message that has a status was sent by Portero itself.
    fn is_our_own(
        &self,
        writer: &Transaction<'_>,
        id: &MessageId,
        tag: Option<&str>,
    ) -> Result<bool, StoreError> {
        let is_tagged = tag.and_then(EntryId::from_tag).is_some();
        Ok(is_tagged || record::sent(writer, &self.keys, id)?.is_some())
    }

    /// Where what is about a message to somebody waits: behind what that person wrote.
    fn line_of_recipient(
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

    fn send_failed(
        &self,
        writer: &mut Transaction<'_>,
        update: &StatusUpdate,
        known: &Sent,
        waiting: Option<crate::domain::delivery::Entry>,
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
}

fn names(sender: &Sender) -> Vec<&str> {
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

/// The entry that a sent message was, without its words: they are gone once Meta has taken it.
fn entry_of(sent: &Sent, contact: &Contact) -> Option<crate::domain::delivery::Entry> {
    let message = crate::domain::delivery::ChatMessage {
        body: String::new(),
        buttons: Vec::new(),
        link: None,
    };
    Some(crate::domain::delivery::Entry {
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
        hushed: false,
        last_failure: None,
        in_flight_since: None,
    })
}

fn warn_of_links_passed_on(contact: &Contact) {
    tracing::warn!(
        contact = %contact.id,
        "a sign-in on the web was not confirmed by the chat that asked for its link itself, and was \
         refused; somebody may be passing links on"
    );
}

fn log(message: &Inbound, contact: &Contact, outcome: Outcome) {
    match outcome {
        Outcome::Bound | Outcome::Released | Outcome::CodeWrong | Outcome::Limited => {
            tracing::info!(contact = %contact.id, outcome = outcome.name(), "sign-in");
        }
        _ => {
            tracing::debug!(contact = %contact.id, outcome = outcome.name(), sent_at_ms = message.sent_at.0, "message")
        }
    }
}

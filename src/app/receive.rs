//! What came through the webhook takes effect: once, in order, durably. Who wrote is found in
//! `sender.rs`, and what became of a message that was sent is told in `status.rs`.

mod sender;
mod status;

use super::hand_on::{Body, Element, HandOn};
use super::{About, App, Failed, Shared, Transaction};
use crate::domain::contact::Contact;
use crate::domain::conversation::{self, Event, Outcome};
use crate::domain::id::{ContactId, MessageId};
use crate::domain::language::Language;
use crate::domain::message::{Ignored, Inbound, Notice, Provenance, WebhookItem};
use crate::domain::policy::Gate;
use crate::domain::reading;
use crate::domain::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, Remembered};
use sender::names;
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

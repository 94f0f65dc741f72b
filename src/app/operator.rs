//! What an operator sees of what leaves the house, and changes there.

use super::audit::{ActOn, OperatorAct};
use super::report::StatusAct;
use super::{
    App, Failed, NOTICE_LIFETIME_MS, Shared, Transaction, Work, events, hand_on, put_new_entry,
};
use crate::domain::delivery::{Entry, EntryId, Errand, Lane};
use crate::domain::time::Timestamp;
use crate::store::record::{self, BodyOf, DeadLetter, ToldEvent};
use crate::store::{Reader, StoreError};
use std::sync::Arc;

/// Letters changed in one transaction: others wait for it, and each may carry a body.
pub const CHANGED_AT_ONCE_MAX: usize = 64;

/// Events replayed in one transaction: others wait for it.
pub const REPLAYED_AT_ONCE_MAX: usize = 256;

/// Dead letters looked at for one answer, whether they are of the lane that was asked for or not.
const LOOKS_MAX: usize = 1_000;

/// Something that was given up, and what stands in the way of another try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What it was.
    pub dead: DeadLetter,
    /// Why it cannot be tried again; `None` when it can.
    pub obstacle: Option<Obstacle>,
}

/// Why a dead letter cannot be tried again. It can only be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Its words went when Meta took the message, or what it would have told has been forgotten.
    NothingLeft,
    /// It answered what somebody wrote then, and would only confuse them now.
    TimeOver,
    /// Something newer took its place: another code, another link, or the sign-in is over.
    Replaced,
    /// There is nobody to give it to: the part of the configuration that names them is missing.
    NoReceiver,
}

/// What an operator wants with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterChange {
    /// Try again, from the beginning.
    Retry,
    /// Forget it.
    Drop,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterChanged {
    /// It waits again, under this name and behind all that waits for the same contact.
    Retried(EntryId),
    /// It is forgotten.
    Dropped,
    /// It was still waiting, and is forgotten.
    DroppedWaiting,
    /// It is no dead letter yet: it waits, and is tried by itself.
    Waits,
    /// It waits on somebody's account who is about to sign in, and ends by itself within minutes.
    Kept,
    /// It cannot be tried again.
    NotRetried(Obstacle),
    /// There is nothing of that name.
    Unknown,
}

impl App {
    /// Up to `limit` entries that wait in a lane after `after`, oldest first.
    pub fn entries(
        &self,
        lane: Lane,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        (self.shared.store).view(|reader| record::entries(reader, lane, after, limit))
    }

    /// Up to `limit` dead letters before `before`, those of the newest entries first; of one lane or
    /// of all. Besides, where to go on when there may be more: there may be even when nothing was
    /// found.
    pub fn letters(
        &self,
        lane: Option<Lane>,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<(Vec<Letter>, Option<EntryId>), StoreError> {
        let (now, shared) = (self.now(), &self.shared);
        shared.store.view(|reader| {
            let looks = if lane.is_some() { LOOKS_MAX } else { limit };
            let looked_at = record::dead_letters_before(reader, before, looks)?;
            let mut next = match looked_at.len() == looks {
                true => looked_at.last().map(|dead| dead.entry.id),
                false => None,
            };
            let mut letters: Vec<Letter> = Vec::new();
            for dead in looked_at {
                if lane.is_some_and(|lane| dead.entry.errand.lane() != lane) {
                    continue;
                }
                if letters.len() == limit {
                    next = letters.last().map(|letter| letter.dead.entry.id);
                    break;
                }
                let obstacle = shared.obstacle(reader, &dead.entry, now)?;
                letters.push(Letter { dead, obstacle });
            }
            Ok((letters, next))
        })
    }

    /// Takes up dead letters again, or forgets them; also forgets what still waits for the bot or
    /// for whoever is told events. All in one transaction, in the order of their names, which keeps
    /// what belongs to one contact in its order. At most [`CHANGED_AT_ONCE_MAX`].
    pub fn change_letters(
        &self,
        ids: &[EntryId],
        change: LetterChange,
    ) -> Result<Vec<(EntryId, LetterChanged)>, Failed> {
        self.change_letters_for(ids, change, None)
    }

    /// The same, and what was changed is written down as an act on the status page if it is one.
    pub(super) fn change_letters_for(
        &self,
        ids: &[EntryId],
        change: LetterChange,
        act: Option<StatusAct>,
    ) -> Result<Vec<(EntryId, LetterChanged)>, Failed> {
        if ids.len() > CHANGED_AT_ONCE_MAX {
            return Err(StoreError::Aborted("too many letters at once").into());
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        Ok(self.update(move |writer| {
            let changed = ids.iter().map(|id| {
                let (contact, changed) = match record::dead_letter(writer, *id)? {
                    None => (None, shared.change_waiting(writer, *id, change)?),
                    Some(letter) => {
                        let contact = letter.entry.contact;
                        let changed = shared.change_dead(writer, letter.entry, change, now)?;
                        (Some(contact), changed)
                    }
                };
                let is_done = matches!(
                    changed,
                    LetterChanged::Retried(_)
                        | LetterChanged::Dropped
                        | LetterChanged::DroppedWaiting
                );
                match act {
                    _ if !is_done => {}
                    Some(act) => shared.audit_act(writer, act, contact, now)?,
                    None => {
                        let act = match change {
                            LetterChange::Retry => OperatorAct::LetterRetried,
                            LetterChange::Drop => OperatorAct::LetterDropped,
                        };
                        let on = contact.map_or(ActOn::Nothing, ActOn::Contact);
                        shared.note_act(writer, act, on, now)?;
                    }
                }
                Ok((*id, changed))
            });
            changed.collect()
        })?)
    }

    /// Up to `limit` events of the last 30 days after `after`, oldest first.
    pub fn events(
        &self,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<ToldEvent>, StoreError> {
        (self.shared.store).view(|reader| record::events(reader, after, limit))
    }

    /// Up to `limit` events of the last 30 days before `before`, newest first.
    pub fn events_before(
        &self,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<ToldEvent>, StoreError> {
        (self.shared.store).view(|reader| record::events_before(reader, before, limit))
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
            shared.note_replay(writer, replayed, now)?;
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
            shared.note_replay(writer, 1, now)?;
            Ok(true)
        })?)
    }
}

impl Shared {
    fn note_replay(
        &self,
        writer: &mut Transaction<'_>,
        events: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let about = match events {
            0 => return Ok(()),
            1 => "1 event".to_owned(),
            _ => format!("{events} events"),
        };
        self.note_act(
            writer,
            OperatorAct::EventsReplayed,
            ActOn::Thing(about),
            now,
        )
    }

    fn change_dead(
        &self,
        writer: &mut Transaction<'_>,
        dead: Entry,
        change: LetterChange,
        now: Timestamp,
    ) -> Result<LetterChanged, StoreError> {
        let id = dead.id;
        if change == LetterChange::Drop {
            record::delete_dead(writer, id)?;
            return Ok(LetterChanged::Dropped);
        }
        if let Some(obstacle) = self.obstacle(writer, &dead, now)? {
            return Ok(LetterChanged::NotRetried(obstacle));
        }
        let new = EntryId(self.next_number());
        if let Some(body) = record::body(writer, BodyOf::Entry(id))? {
            record::put_body(writer, BodyOf::Entry(new), &body)?;
        }
        record::delete_dead(writer, id)?;
        let expires_at = match &dead.errand {
            Errand::HandOn { .. } => now.plus_ms(hand_on::LIFETIME_MS),
            Errand::Event { .. } => now.plus_ms(events::LIFETIME_MS),
            Errand::MailNotice { .. } => now.plus_ms(NOTICE_LIFETIME_MS),
            // An answer is worth no more because it was tried more often.
            Errand::Chat { .. }
            | Errand::LookUp { .. }
            | Errand::MailCode { .. }
            | Errand::PretendMail { .. } => dead.expires_at,
        };
        let entry = Entry {
            // When it was decided: who writes is told as they were known then.
            created_at: dead.created_at,
            ..Entry::new(new, dead.contact, dead.errand, now, expires_at)
        };
        put_new_entry(writer, entry)?;
        Ok(LetterChanged::Retried(new))
    }

    /// What waits for a program waits for a week, and one message that it stumbles over must not
    /// hold up what waits behind it. What waits for a person is over within minutes, and whoever is
    /// signing in would never hear of it.
    fn change_waiting(
        &self,
        writer: &mut Transaction<'_>,
        id: EntryId,
        change: LetterChange,
    ) -> Result<LetterChanged, StoreError> {
        for lane in Lane::ALL {
            let Some(entry) = record::entry(writer, lane, id)? else {
                continue;
            };
            if change == LetterChange::Retry {
                return Ok(LetterChanged::Waits);
            }
            if !matches!(lane, Lane::Bot | Lane::Events) {
                return Ok(LetterChanged::Kept);
            }
            self.end(writer, &entry)?;
            writer.freed.push((lane, entry.contact, id));
            return Ok(LetterChanged::DroppedWaiting);
        }
        Ok(LetterChanged::Unknown)
    }

    /// What stands in the way of another try of a dead letter.
    fn obstacle(
        &self,
        reader: &dyn Reader,
        dead: &Entry,
        now: Timestamp,
    ) -> Result<Option<Obstacle>, StoreError> {
        let is_there = match &dead.errand {
            Errand::Chat { message, .. } => !message.body.is_empty(),
            Errand::HandOn { .. } if !self.settings.hands_on => {
                return Ok(Some(Obstacle::NoReceiver));
            }
            Errand::HandOn { .. } => record::body(reader, BodyOf::Entry(dead.id))?.is_some(),
            Errand::Event { .. } if !self.settings.tells_events => {
                return Ok(Some(Obstacle::NoReceiver));
            }
            Errand::Event { origin } => record::event(reader, *origin)?.is_some(),
            _ => true,
        };
        if !is_there {
            return Ok(Some(Obstacle::NothingLeft));
        }
        let fresh = match &dead.errand {
            Errand::HandOn { .. } | Errand::Event { .. } => return Ok(None),
            Errand::MailNotice { .. } => Entry {
                expires_at: now.plus_ms(NOTICE_LIFETIME_MS),
                ..dead.clone()
            },
            _ if now >= dead.expires_at => return Ok(Some(Obstacle::TimeOver)),
            _ => dead.clone(),
        };
        let contact = record::contact(reader, dead.contact)?;
        Ok(match self.work(fresh, contact.as_ref(), now) {
            Work::Nothing(_) => Some(Obstacle::Replaced),
            _ => None,
        })
    }
}

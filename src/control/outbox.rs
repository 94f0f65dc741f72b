//! What leaves the house, and the events that are told, as the command line sees and changes them.
//!
//! Nothing personal: who it is about is the contact's `userUuid`, what is said is the name of the
//! sentence. Events alone are shown as whoever is told them gets them.

use super::Answer;
use crate::app::{
    App, CHANGED_AT_ONCE_MAX, Letter, LetterChange, LetterChanged, Obstacle, event_name,
};
use crate::domain::delivery::{Entry, EntryId, Errand, Lane};
use crate::domain::time::Timestamp;
use crate::store::record::ToldEvent;
use serde::{Deserialize, Serialize};

/// Entries or dead letters listed in one answer; who wants more asks again.
pub const LIST_ENTRIES_MAX: usize = 500;

/// Events listed in one answer: one about somebody with many accounts has many kilobytes.
pub const LIST_EVENTS_MAX: usize = 32;

/// Something that waits. Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingLine {
    /// Names it.
    pub id: String,
    /// Where it waits.
    pub lane: String,
    /// What it is.
    pub what: String,
    /// On whose account: the contact's `userUuid`.
    pub contact: String,
    /// How it is named to the other side, where that is another name.
    pub webhook_id: Option<String>,
    /// When it was decided.
    pub created_at_ms: u64,
    /// Tries that have begun.
    pub attempts: u32,
    /// Not to be tried earlier.
    pub next_try_at_ms: u64,
    /// When it will be given up.
    pub expires_at_ms: u64,
    /// Why the last try failed.
    pub last_failure: Option<String>,
    /// Whether a try is known to be under way. Only what people would see twice is noted in the
    /// store before it is tried.
    pub in_flight: bool,
}

/// Something that was given up. Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterLine {
    /// Names it.
    pub id: String,
    /// Where it waited.
    pub lane: String,
    /// What it is.
    pub what: String,
    /// On whose account: the contact's `userUuid`.
    pub contact: String,
    /// How it is named to the other side, where that is another name.
    pub webhook_id: Option<String>,
    /// When it was decided.
    pub created_at_ms: u64,
    /// When it was given up.
    pub given_up_at_ms: u64,
    /// Tries that were made.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: String,
    /// Why it cannot be tried again; nothing when it can.
    pub no_retry: Option<NoRetry>,
}

/// Why something cannot be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoRetry {
    /// What it would say is forgotten.
    NothingLeft,
    /// It answered what somebody wrote then.
    TimeOver,
    /// Something newer took its place.
    Replaced,
    /// There is nobody to give it to.
    NoReceiver,
}

impl From<Obstacle> for NoRetry {
    fn from(obstacle: Obstacle) -> NoRetry {
        match obstacle {
            Obstacle::NothingLeft => NoRetry::NothingLeft,
            Obstacle::TimeOver => NoRetry::TimeOver,
            Obstacle::Replaced => NoRetry::Replaced,
            Obstacle::NoReceiver => NoRetry::NoReceiver,
        }
    }
}

/// What came of a wish about one letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", deny_unknown_fields)]
pub enum ChangeLine {
    /// It waits again.
    Retried {
        /// What it was called.
        id: String,
        /// What it is called now.
        new_id: String,
    },
    /// It is forgotten.
    Dropped {
        /// Which.
        id: String,
        /// Whether it was still waiting.
        waited: bool,
    },
    /// It is no dead letter: it is tried by itself.
    Waits {
        /// Which.
        id: String,
    },
    /// It is about somebody who is signing in, and ends by itself.
    Kept {
        /// Which.
        id: String,
    },
    /// It cannot be tried again.
    NotRetried {
        /// Which.
        id: String,
        /// Why.
        why: NoRetry,
    },
    /// There is nothing of that name.
    Unknown {
        /// Which.
        id: String,
    },
}

/// An event. Its moment is in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLine {
    /// Names it to whoever is told: `webhook-id`.
    pub id: String,
    /// When it happened.
    pub at_ms: u64,
    /// Its dotted name.
    pub kind: String,
    /// Whom it is about: the contact's `userUuid`.
    pub contact: String,
    /// All of it, as it is told.
    pub json: String,
}

/// How people write the name of an entry.
fn id_text(id: EntryId) -> String {
    format!("{:x}", id.0)
}

/// Reads the name of an entry or an event, alone or as the other side knows it.
pub fn read_id(text: &str) -> Option<EntryId> {
    let digits = ["portero-", "evt_"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .unwrap_or(text);
    // `from_str_radix` takes a sign.
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
    Some(EntryId(number))
}

fn id(text: &str) -> Result<EntryId, Answer> {
    read_id(text).ok_or_else(|| {
        Answer::refused("an id is a row of hexadecimal digits, as the list shows it")
    })
}

fn lane(text: &str) -> Result<Lane, Answer> {
    let mut lanes = Lane::ALL.into_iter();
    (lanes.find(|lane| lane.name() == text)).ok_or_else(|| Answer::refused("there is no such lane"))
}

/// The name under which the other side knows it.
fn webhook_id(errand: &Errand) -> Option<String> {
    match errand {
        Errand::HandOn { origin, .. } => Some(origin.tag()),
        Errand::Event { origin } => Some(event_name(*origin)),
        _ => None,
    }
}

fn waiting_line(entry: &Entry) -> WaitingLine {
    WaitingLine {
        id: id_text(entry.id),
        lane: entry.errand.lane().name().to_owned(),
        what: entry.errand.name().to_owned(),
        contact: entry.contact.to_string(),
        webhook_id: webhook_id(&entry.errand),
        created_at_ms: entry.created_at.0,
        attempts: entry.attempts,
        next_try_at_ms: entry.not_before.0,
        expires_at_ms: entry.expires_at.0,
        last_failure: entry.last_failure.clone(),
        in_flight: entry.in_flight_since.is_some(),
    }
}

fn letter_line(letter: &Letter) -> LetterLine {
    let dead = &letter.dead;
    let entry = &dead.entry;
    LetterLine {
        id: id_text(entry.id),
        lane: entry.errand.lane().name().to_owned(),
        what: entry.errand.name().to_owned(),
        contact: entry.contact.to_string(),
        webhook_id: webhook_id(&entry.errand),
        created_at_ms: entry.created_at.0,
        given_up_at_ms: dead.at.0,
        attempts: entry.attempts,
        reason: dead.reason.clone(),
        no_retry: letter.obstacle.map(NoRetry::from),
    }
}

fn event_line(event: ToldEvent) -> EventLine {
    EventLine {
        id: event_name(event.id),
        at_ms: event.at.0,
        kind: event.kind,
        contact: event.line.to_string(),
        json: event.json,
    }
}

pub(super) fn waiting(app: &App, of: &str, after: Option<&str>) -> Result<Answer, Answer> {
    let (lane, after) = (lane(of)?, after.map(id).transpose()?);
    let entries = app.entries(lane, after, LIST_ENTRIES_MAX)?;
    let next = match entries.len() {
        LIST_ENTRIES_MAX => entries.last().map(|entry| id_text(entry.id)),
        _ => None,
    };
    Ok(Answer::Waiting {
        entries: entries.iter().map(waiting_line).collect(),
        next,
    })
}

pub(super) fn dead(app: &App, of: Option<&str>, before: Option<&str>) -> Result<Answer, Answer> {
    let (lane, before) = (of.map(lane).transpose()?, before.map(id).transpose()?);
    let (letters, next) = app.letters(lane, before, LIST_ENTRIES_MAX)?;
    Ok(Answer::Dead {
        letters: letters.iter().map(letter_line).collect(),
        next: next.map(id_text),
    })
}

pub(super) fn change(app: &App, ids: &[String], change: LetterChange) -> Result<Answer, Answer> {
    if ids.len() > CHANGED_AT_ONCE_MAX {
        return Err(Answer::refused(format!(
            "{CHANGED_AT_ONCE_MAX} letters at once are the most"
        )));
    }
    let ids: Vec<EntryId> = ids.iter().map(|text| id(text)).collect::<Result<_, _>>()?;
    let changes = app.change_letters(&ids, change)?.into_iter();
    let changes = changes.map(|(of, changed)| {
        let id = id_text(of);
        match changed {
            LetterChanged::Retried(new) => ChangeLine::Retried {
                id,
                new_id: id_text(new),
            },
            LetterChanged::Dropped => ChangeLine::Dropped { id, waited: false },
            LetterChanged::DroppedWaiting => ChangeLine::Dropped { id, waited: true },
            LetterChanged::Waits => ChangeLine::Waits { id },
            LetterChanged::Kept => ChangeLine::Kept { id },
            LetterChanged::NotRetried(why) => ChangeLine::NotRetried {
                id,
                why: why.into(),
            },
            LetterChanged::Unknown => ChangeLine::Unknown { id },
        }
    });
    Ok(Answer::Changed {
        changes: changes.collect(),
    })
}

pub(super) fn events(app: &App, since_ms: u64, before: Option<&str>) -> Result<Answer, Answer> {
    let mut events = app.events_before(before.map(id).transpose()?, LIST_EVENTS_MAX)?;
    let oldest = events.last();
    let next = oldest
        .filter(|oldest| events.len() == LIST_EVENTS_MAX && oldest.at.0 >= since_ms)
        .map(|oldest| event_name(oldest.id));
    events.retain(|event| event.at.0 >= since_ms);
    Ok(Answer::Events {
        events: events.into_iter().map(event_line).collect(),
        next,
    })
}

pub(super) fn replay(app: &App, since_ms: u64, after: Option<&str>) -> Result<Answer, Answer> {
    if !app.settings().tells_events {
        return Ok(Answer::NobodyToTell);
    }
    let after = after.map(id).transpose()?;
    let (count, next) = app.replay_events(after, Timestamp(since_ms))?;
    Ok(Answer::Replayed {
        count,
        next: next.map(event_name),
    })
}

pub(super) fn replay_one(app: &App, of: &str) -> Result<Answer, Answer> {
    if !app.settings().tells_events {
        return Ok(Answer::NobodyToTell);
    }
    Ok(match app.replay_event(id(of)?)? {
        true => Answer::Replayed {
            count: 1,
            next: None,
        },
        false => Answer::NoSuchEvent,
    })
}

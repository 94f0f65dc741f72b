//! What is no longer needed is forgotten, a little at a time.

use super::clock::note_moment;
use super::receive::SEEN_MS;
use super::{App, Failed};
use crate::domain::binding::ReleaseReason;
use crate::domain::contact::Contact;
use crate::domain::conversation::AuditEvent;
use crate::domain::id::ContactId;
use crate::domain::sign_in::{Mapping, MappingState};
use crate::domain::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::store::record::{self, BodyOf, Sweep};
use crate::store::{StoreError, Writer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Records looked at in one transaction: keeps it short beside the messages that wait for theirs.
const LOOKS_PER_UPDATE: usize = 256;

/// How long what is kept for questions is kept (section 6.1 of the threat model).
const SENT_MS: u64 = 7 * DAY_MS;
const DEAD_MS: u64 = 30 * DAY_MS;
const EVENT_MS: u64 = 30 * DAY_MS;
const COUNTS_MS: u64 = 2 * DAY_MS;
/// Long enough that an old link and an old return code are still known as such.
const HANDLE_MS: u64 = 2 * DAY_MS;
/// How long it is known who did not finish a sign-in: longer than any return code lives.
const UNFINISHED_MS: u64 = HOUR_MS;
/// A mark of a bot's request: longer than anybody tries again.
const ASKED_MS: u64 = DAY_MS;
/// How long a bot can ask what became of a proof that it demanded.
const REQUIREMENT_MS: u64 = 2 * DAY_MS;
const AUDIT_MS: u64 = 180 * DAY_MS;
/// As far back as the status page draws, and a little more.
pub(super) const TALLY_MS: u64 = 100 * DAY_MS;
const UNBOUND_CONTACT_MS: u64 = 7 * DAY_MS;
/// From the end of a sign-in that nobody used any more.
pub const BOUND_CONTACT_MS: u64 = 30 * DAY_MS;

/// Kinds of records that end by themselves, by the name of their table, and how long each is kept.
/// A contact who is signed in is kept for as long as that may last, and some time after.
pub const KEPT_MS: [(&str, u64); 10] = [
    ("seen", SEEN_MS),
    ("sent", SENT_MS),
    ("dead", DEAD_MS),
    ("budget", COUNTS_MS),
    ("handle", HANDLE_MS),
    ("event", EVENT_MS),
    ("asked", ASKED_MS),
    ("audit", AUDIT_MS),
    ("tally", TALLY_MS),
    ("contact", UNBOUND_CONTACT_MS),
];

/// Most batches of one run over everything: more than the records of the largest store.
const BATCHES_MAX: usize = 100_000;

/// What one batch of every table came to.
struct Batch {
    /// Records removed, in the order of [`KEPT_MS`].
    removed: [usize; KEPT_MS.len()],
    /// Which of them have been looked at to their end.
    ended: [bool; KEPT_MS.len()],
    keys_removed: usize,
}

impl App {
    /// Removes all that is kept no longer, now; returns how many records of each kind, in the order
    /// of [`KEPT_MS`]. Others wait for no more than one batch.
    ///
    /// # Errors
    /// Nothing is gone when the clock is not believed. After another one some may be; asking again is
    /// safe.
    pub fn remove_what_is_old(&self) -> Result<BTreeMap<&'static str, usize>, Failed> {
        let mut janitor = Janitor::default();
        let (mut removed, mut ended) = ([0; KEPT_MS.len()], [false; KEPT_MS.len()]);
        for _ in 0..BATCHES_MAX {
            let now = self.now();
            if !self.is_clock_believed() {
                return Err(Failed::ClockInDoubt);
            }
            let batch = janitor.batch(self, now)?;
            for place in 0..KEPT_MS.len() {
                removed[place] += batch.removed[place];
                ended[place] |= batch.ended[place];
            }
            if ended.iter().all(|ended| *ended) {
                break;
            }
        }
        let kinds = KEPT_MS.iter().map(|(kind, _)| *kind);
        let removed: BTreeMap<&'static str, usize> = kinds.zip(removed).collect();
        tracing::info!(
            records = removed.values().sum::<usize>(),
            "old records were removed by the operator"
        );
        Ok(removed)
    }
}

/// Sweeps the tables in turn and remembers how far it came.
#[derive(Debug, Default)]
pub struct Janitor {
    sent: Option<Vec<u8>>,
    dead: Option<Vec<u8>>,
    counts: Option<Vec<u8>>,
    handles: Option<Vec<u8>>,
    events: Option<Vec<u8>>,
    asked: Option<Vec<u8>>,
    contacts: Option<ContactId>,
}

impl Janitor {
    /// One bounded batch of every table; returns how many records went. While the clock of the
    /// machine cannot be believed, nothing goes: a wrong one would take everything.
    pub fn sweep(&mut self, app: &App) -> Result<usize, Failed> {
        let now = app.now();
        if !app.is_clock_believed() {
            app.forget_dead_tokens();
            app.note_time()?;
            return Ok(0);
        }
        let batch = self.batch(app, now)?;
        Ok(batch.removed.iter().sum::<usize>() + batch.keys_removed)
    }

    fn batch(&mut self, app: &App, now: Timestamp) -> Result<Batch, Failed> {
        app.forget_dead_tokens();
        let shared = Arc::clone(&app.shared);
        let (sent, dead, counts) = (self.sent.take(), self.dead.take(), self.counts.take());
        let handles = self.handles.take();
        let (events, asked) = (self.events.take(), self.asked.take());
        let contacts = self.contacts.take();
        let idle_ms = shared.settings.policy.binding_idle_ms;
        let (sweeps, contacts, [seen, audit, tallies, gone]) = app.update(move |writer| {
            note_moment(writer, now)?;
            let looks = LOOKS_PER_UPDATE;
            let seen = record::forget_seen(writer, now.minus_ms(SEEN_MS), looks)?;
            let sweeps: [Sweep; 6] = [
                record::forget_sent(writer, now.minus_ms(SENT_MS), sent.as_deref(), looks)?,
                record::forget_dead(writer, now.minus_ms(DEAD_MS), dead.as_deref(), looks)?,
                record::forget_counts(writer, now.minus_ms(COUNTS_MS), counts.as_deref(), looks)?,
                record::forget_handles(writer, now.minus_ms(HANDLE_MS), handles.as_deref(), looks)?,
                record::forget_events(writer, now.minus_ms(EVENT_MS), events.as_deref(), looks)?,
                record::forget_asked(writer, now.minus_ms(ASKED_MS), asked.as_deref(), looks)?,
            ];
            let audit = record::forget_audit(writer, now.minus_ms(AUDIT_MS), looks)?.removed;
            let tallies = record::forget_tallies(writer, now.minus_ms(TALLY_MS), looks)?.removed;
            let mut gone = 0;
            let batch = record::contacts(writer, contacts, looks)?;
            for contact in batch
                .iter()
                .filter(|contact| is_forgotten(contact, now, idle_ms))
            {
                if contact.is_bound() {
                    let event = AuditEvent::Released(ReleaseReason::Idle);
                    shared.audit(writer, contact, event, now)?;
                }
                forget(writer, &shared.keys, contact)?;
                gone += 1;
            }
            for contact in batch
                .iter()
                .filter(|contact| !is_forgotten(contact, now, idle_ms))
            {
                let mut fresh = without_stale_sign_in(contact, now).unwrap_or(contact.clone());
                fresh
                    .requirement
                    .take_if(|asked| now >= asked.asked_at.plus_ms(REQUIREMENT_MS));
                if fresh != *contact {
                    record::put_contact(writer, &fresh)?;
                }
            }
            let next = if batch.len() < looks {
                None
            } else {
                batch.last().map(|contact| contact.id)
            };
            Ok((sweeps, next, [seen, audit, tallies, gone]))
        })?;
        let [a, b, c, d, e, f] = sweeps.each_ref().map(|sweep| sweep.removed);
        let removed = [seen, a, b, c, d, e, f, audit, tallies, gone];
        let [a, b, c, d, e, f] = sweeps.each_ref().map(|sweep| sweep.cursor.is_none());
        // These begin with the oldest, and have no place to come to.
        let [seen, audit, tallies] =
            [seen, audit, tallies].map(|removed| removed < LOOKS_PER_UPDATE);
        let ended = [seen, a, b, c, d, e, f, audit, tallies, contacts.is_none()];
        let cursors = sweeps.map(|sweep| sweep.cursor);
        let [sent, dead, counts, handles, events, asked] = cursors;
        *self = Janitor {
            sent,
            dead,
            counts,
            handles,
            events,
            asked,
            contacts,
        };
        Ok(Batch {
            removed,
            ended,
            keys_removed: app.tend_keys()?,
        })
    }
}

/// A contact is kept while its binding may stand and some time after; one that never proved
/// anything, for a week, so that its limits outlive a day.
fn is_forgotten(contact: &Contact, now: Timestamp, binding_idle_ms: u64) -> bool {
    let silent_ms = now.since_ms(contact.last_message_at);
    if contact.is_bound() {
        silent_ms > binding_idle_ms.saturating_add(BOUND_CONTACT_MS)
    } else {
        silent_ms > UNBOUND_CONTACT_MS
    }
}

/// The contact without what a sign-in on the web left behind that can no longer be finished: it
/// names somebody who may not be this person.
fn without_stale_sign_in(contact: &Contact, now: Timestamp) -> Option<Contact> {
    let mapping = contact.mapping.as_ref()?;
    match mapping.state {
        MappingState::SignedIn { until, .. } if now >= until.plus_ms(UNFINISHED_MS) => {
            Some(Contact {
                mapping: Some(Mapping {
                    state: MappingState::Burned,
                    earlier: Vec::new(),
                    ..mapping.clone()
                }),
                ..contact.clone()
            })
        }
        _ if !mapping.earlier.is_empty() && now >= mapping.asked_at.plus_ms(UNFINISHED_MS) => {
            Some(Contact {
                mapping: Some(Mapping {
                    earlier: Vec::new(),
                    ..mapping.clone()
                }),
                ..contact.clone()
            })
        }
        _ => None,
    }
}

fn forget(
    writer: &mut dyn Writer,
    keys: &record::Keys,
    contact: &Contact,
) -> Result<(), StoreError> {
    record::delete_aliases(writer, keys, contact)?;
    record::delete_body(writer, BodyOf::Contact(contact.id))?;
    record::delete_contact(writer, contact.id)
}

//! What waits in a lane, in which order, and when it may leave.

use super::LOOK_MS_MAX;
use super::conclude::Carried;
use super::other_side::{Noted, OtherSide, may_be_tried_now};
use super::pace::{PairPace, Rate};
use crate::app::{App, Report, Waiting};
use crate::domain::delivery::{EntryId, Lane};
use crate::domain::id::ContactId;
use crate::domain::time::{SECOND_MS, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::thread::ThreadId;

/// Entries of one lane held in memory; at 16 bytes each, a few megabytes at most.
const QUEUE_ENTRIES_MAX: usize = 200_000;

/// Entries read from the store at once.
const LOAD_ENTRIES_MAX: usize = 256;

/// Lines of one lane held in memory. When all of them wait for another try, those that wait longest
/// make room for others, and are found in the store again.
pub(super) const LINES_MAX: usize = 20_000;

/// A line makes room only if it is not to be looked at for this long, and is then looked for this
/// much later: finding it again means reading what waits from its beginning.
const PARKED_MS_MIN: u64 = 10 * SECOND_MS;

/// How long an entry is refused, while others of its lane are taken, before it steps aside.
const STEP_ASIDE_AFTER_MS: u64 = 15 * 60 * SECOND_MS;

/// What is taken within this time after the first refusal may have been under way before it, and
/// says nothing about the entry: longer than any request lasts.
const STRAGGLER_MS: u64 = 3 * 60 * SECOND_MS;

/// Names a line: what waits for a contact, or one entry that has stepped aside from there.
pub(super) type LineKey = (ContactId, Option<EntryId>);

/// What becomes of an entry of a line that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is not in the outbox any more.
    Gone,
    /// It is tried again.
    Again(Timestamp),
    /// The same, after the other side was there and did not take it.
    Refused(Timestamp),
}

/// A window on what waits in one lane.
pub(super) struct Queue {
    pub(super) loaded_to: Option<EntryId>,
    pub(super) lines: HashMap<LineKey, Line>,
    /// Lines with something to send and nothing under way, by the moment to look at them.
    pub(super) due: BTreeSet<(Timestamp, LineKey)>,
    pub(super) entries: usize,
    /// Taken and not finished, each by one thread.
    under_way: HashMap<EntryId, UnderWay>,
    /// How many of them may be on their way at the same time.
    pub(super) at_once_max: usize,
    /// What became of it is not stored yet: one of each line at most, its first.
    pub(super) unsettled: HashMap<EntryId, Carried>,
    pub(super) other_side: OtherSide,
    /// Contacts whose lines made room: what waits for them is in the store only.
    parked: HashSet<ContactId>,
    /// When to look for them there.
    parked_until: Option<Timestamp>,
    pub(super) rate: Option<Rate>,
    /// Whether messages to one person keep a pace.
    paces_pairs: bool,
    /// Whether an entry that is refused may be overtaken by those behind it.
    steps_aside: bool,
}

/// An entry that a thread has taken.
pub(super) struct UnderWay {
    line: LineKey,
    thread: ThreadId,
    /// It has come back, and what became of it is being stored.
    is_back: bool,
}

/// What waits for one contact, in order.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<(EntryId, Timestamp)>,
    /// The newest entry that was read from the store for this line.
    loaded_to: Option<EntryId>,
    busy: bool,
    /// A status has settled the first one while it was under way.
    freed: bool,
    /// Since when the first one is refused.
    refused_since: Option<Timestamp>,
    /// The first one waits for another try that may as well be now ([`may_be_tried_now`]).
    is_held: bool,
    pace: PairPace,
}

impl Line {
    /// When the first one may leave: its own moment, and the pace of the pair.
    fn look_at(&self) -> Timestamp {
        let own = self.waiting.front().map_or(Timestamp(0), |(_, at)| *at);
        own.max(self.pace.next_at())
    }
}

impl Queue {
    pub(super) fn new(lane: Lane, per_second: Option<usize>) -> Queue {
        Queue {
            loaded_to: None,
            lines: HashMap::new(),
            due: BTreeSet::new(),
            entries: 0,
            under_way: HashMap::new(),
            at_once_max: usize::MAX,
            unsettled: HashMap::new(),
            other_side: OtherSide::new(lane),
            parked: HashSet::new(),
            parked_until: None,
            rate: per_second.map(Rate::new),
            paces_pairs: lane == Lane::Chat,
            steps_aside: matches!(lane, Lane::Bot | Lane::Events),
        }
    }

    pub(super) fn add(&mut self, entry: Waiting) {
        self.loaded_to = Some(entry.id);
        let key = (entry.contact, None);
        // What was read before is met again when parked lines are looked for.
        let is_known = self.parked.contains(&entry.contact)
            || self.lines.contains_key(&(entry.contact, Some(entry.id)))
            || (self.lines.get(&key)).is_some_and(|line| line.loaded_to >= Some(entry.id));
        if is_known {
            return;
        }
        self.entries += 1;
        let line = self.lines.entry(key).or_default();
        line.loaded_to = Some(entry.id);
        line.waiting.push_back((entry.id, entry.look_at));
        if line.waiting.len() == 1 && !line.busy {
            let at = line.look_at();
            self.due.insert((at, key));
        }
    }

    /// Whether more may be read from the store; parks lines when it must.
    pub(super) fn has_room(&mut self, now: Timestamp) -> bool {
        if self.lines.len() < LINES_MAX && self.entries < QUEUE_ENTRIES_MAX {
            return true;
        }
        let soon = now.plus_ms(PARKED_MS_MIN);
        let mut room = LINES_MAX / 4;
        while room > 0
            && let Some(&(at, key)) = self.due.last()
            && at > soon
        {
            // One that has stepped aside would be taken for the first of its line.
            if key.1.is_some() {
                break;
            }
            self.due.pop_last();
            if let Some(line) = self.lines.remove(&key) {
                self.entries -= line.waiting.len();
            }
            self.parked.insert(key.0);
            let until = self.parked_until.map_or(at, |until| until.min(at));
            self.parked_until = Some(until.max(soon));
            room -= 1;
        }
        room < LINES_MAX / 4
    }

    /// All of the store was read: is it time to look for the lines that made room, from its
    /// beginning?
    pub(super) fn looks_again(&mut self, now: Timestamp) -> bool {
        let is_time = self.parked_until.is_some_and(|until| until <= now);
        if is_time && self.lines.len() < LINES_MAX {
            self.parked.clear();
            self.parked_until = None;
            self.loaded_to = None;
            return true;
        }
        false
    }

    /// The next entries to begin. A lane at rest tries one at a time.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        max: usize,
        threads: usize,
    ) -> Vec<(LineKey, EntryId)> {
        let mut max = max.min((self.due.len() / threads).max(1));
        if let Some(rest) = self.other_side.rest() {
            if now < rest.until || !self.under_way.is_empty() {
                return Vec::new();
            }
            max = 1;
        }
        if let Some(rate) = &mut self.rate {
            max = max.min(rate.room(self.under_way.len(), now));
        }
        if self.at_once_max < usize::MAX {
            let on_their_way = self.under_way.values().filter(|one| !one.is_back).count();
            max = max.min(self.at_once_max.saturating_sub(on_their_way));
        }
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(&(at, key)) = self.due.first() else {
                break;
            };
            if at > now {
                break;
            }
            self.due.pop_first();
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            let Some((id, _)) = line.waiting.front().copied() else {
                continue;
            };
            line.busy = true;
            if self.paces_pairs {
                line.pace.spend(now);
            }
            taken.push((key, id));
        }
        let thread = std::thread::current().id();
        self.under_way.extend(taken.iter().map(|(line, id)| {
            let (line, is_back) = (*line, false);
            let one = UnderWay {
                line,
                thread,
                is_back,
            };
            (*id, one)
        }));
        self.other_side
            .is_tried_with(taken.first().map(|(_, id)| *id));
        taken
    }

    /// It is not on its way any more. Says whether another one can use its place.
    pub(super) fn came_back(&mut self, id: EntryId, now: Timestamp) -> bool {
        if let Some(one) = self.under_way.get_mut(&id) {
            one.is_back = true;
        }
        self.at_once_max < usize::MAX && self.has_due(now)
    }

    /// For how long nothing may leave, whatever there is; `None` when something may.
    pub(super) fn full_for_ms(&self, now: Timestamp) -> Option<u64> {
        let rest_ms = match self.other_side.rest() {
            // The one under way decides, and whoever carries it goes on.
            Some(_) if !self.under_way.is_empty() => LOOK_MS_MAX,
            Some(rest) => rest.until.since_ms(now),
            None => 0,
        };
        let full_ms = rest_ms.max(self.room_in_ms(now));
        (full_ms > 0).then_some(full_ms)
    }

    /// In how long the rate has room.
    pub(super) fn room_in_ms(&self, now: Timestamp) -> u64 {
        let under_way = self.under_way.len();
        (self.rate.as_ref()).map_or(0, |rate| rate.room_in_ms(under_way, now))
    }

    pub(super) fn has_due(&self, now: Timestamp) -> bool {
        self.other_side.rest().is_none() && self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    pub(super) fn finish(&mut self, key: LineKey, id: EntryId, after: After, now: Timestamp) {
        if self.under_way.remove(&id).is_none() {
            return;
        }
        if let Some(rate) = &mut self.rate {
            rate.note_back(now);
        }
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        line.busy = false;
        let is_freed = std::mem::take(&mut line.freed);
        if let Some(front) = line.waiting.front_mut().filter(|front| front.0 == id) {
            match after {
                After::Gone => {
                    line.waiting.pop_front();
                    line.refused_since = None;
                    line.is_held = false;
                    self.entries -= 1;
                    if self.entries == 0 {
                        self.other_side.is_left_alone();
                    }
                }
                // Known in the meantime: there is nothing to wait for.
                After::Again(_) | After::Refused(_) if is_freed => front.1 = now,
                After::Again(at) => front.1 = at,
                After::Refused(at) => {
                    front.1 = at;
                    let since = *line.refused_since.get_or_insert(now);
                    let others_are_taken = (self.other_side.taken_at)
                        .is_some_and(|taken| taken > since.plus_ms(STRAGGLER_MS));
                    let is_alone = key.1.is_some() || line.waiting.len() == 1;
                    if self.steps_aside
                        && others_are_taken
                        && !is_alone
                        && now.since_ms(since) >= STEP_ASIDE_AFTER_MS
                    {
                        self.step_aside(key.0, now);
                        return;
                    }
                }
            }
        }
        self.look_again(key, now);
    }

    /// What this thread has taken and not finished.
    pub(super) fn held_by_this_thread(&self) -> Vec<(LineKey, EntryId)> {
        let thread = std::thread::current().id();
        let held = (self.under_way.iter()).filter(|(_, one)| one.thread == thread);
        held.map(|(id, one)| (one.line, *id)).collect()
    }

    /// A try of this entry has ended so.
    pub(super) fn note(
        &mut self,
        key: LineKey,
        id: EntryId,
        report: &Report,
        now: Timestamp,
    ) -> Noted {
        if let Some(line) = self.lines.get_mut(&key) {
            line.is_held = may_be_tried_now(report);
        }
        self.other_side.note(key, id, report, now)
    }

    /// Something was put right: what waits for another try is looked at now, if it may be.
    pub(super) fn try_now(&mut self, now: Timestamp) {
        self.other_side.is_put_right(now);
        if self.parked_until.is_some() {
            self.parked_until = Some(now);
        }
        let held: Vec<(Timestamp, LineKey)> = (self.due.iter())
            .filter(|(_, key)| self.lines.get(key).is_some_and(|line| line.is_held))
            .copied()
            .collect();
        for (at, key) in held {
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            if let Some(front) = line.waiting.front_mut() {
                front.1 = front.1.min(now);
            }
            self.due.remove(&(at, key));
            self.due.insert((line.look_at(), key));
        }
    }

    /// The first of a line makes a line of its own, and the rest goes on.
    fn step_aside(&mut self, contact: ContactId, now: Timestamp) {
        let Some(line) = self.lines.get_mut(&(contact, None)) else {
            return;
        };
        line.refused_since = None;
        if let Some(first) = line.waiting.pop_front() {
            let own = (contact, Some(first.0));
            self.lines.entry(own).or_default().waiting.push_back(first);
            self.look_again(own, now);
        }
        self.look_again((contact, None), now);
    }

    /// Nothing of the line is under way: when is it to be looked at?
    fn look_again(&mut self, key: LineKey, now: Timestamp) {
        let Some(line) = self.lines.get(&key) else {
            return;
        };
        if line.waiting.is_empty() {
            // The allowance is remembered as long as it is not whole.
            if line.pace.is_whole(now) {
                self.lines.remove(&key);
            }
        } else {
            let at = line.look_at();
            self.due.insert((at, key));
        }
        if self.lines.len() > 2 * LINES_MAX {
            self.lines.retain(|_, line| {
                !line.waiting.is_empty() || line.busy || !line.pace.is_whole(now)
            });
        }
    }

    /// This entry of the contact was settled without its sender. If it is the first of its line, it
    /// is looked at now, found gone, and makes way for the next; if not, that happens when it is.
    pub(super) fn free(&mut self, contact: ContactId, id: EntryId, now: Timestamp) {
        for key in [(contact, None), (contact, Some(id))] {
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            if line.waiting.front().is_none_or(|front| front.0 != id) {
                continue;
            }
            if line.busy {
                line.freed = true;
                continue;
            }
            self.due.remove(&(line.look_at(), key));
            if let Some(front) = line.waiting.front_mut() {
                front.1 = now;
            }
            self.due.insert((line.look_at(), key));
        }
    }

    pub(super) fn next_look_ms(&self, now: Timestamp) -> u64 {
        let due_ms = self
            .due
            .first()
            .map_or(u64::MAX, |(at, _)| at.since_ms(now));
        due_ms.max(self.full_for_ms(now).unwrap_or(0)).max(1)
    }
}

pub(super) fn load(app: &App, lane: Lane, queue: &mut Queue) -> Result<(), ()> {
    let now = app.now();
    while queue.has_room(now) {
        let waiting = app
            .waiting(lane, queue.loaded_to, LOAD_ENTRIES_MAX)
            .map_err(|error| {
                tracing::error!(lane = lane.name(), %error, "the outbox cannot be read");
            })?;
        let full = waiting.len() == LOAD_ENTRIES_MAX;
        for entry in waiting {
            queue.add(entry);
        }
        if !full && !queue.looks_again(now) {
            break;
        }
    }
    Ok(())
}

//! What becomes of what was carried: it is stored, or remembered until it can be.

use super::other_side::{Noted, is_refused};
use super::queue::{After, LineKey, Queue};
use super::{LOOK_MS_MAX, Outbox, STORE_RETRY};
use crate::app::{App, EndedTry, Report, Settled};
use crate::domain::delivery::{EntryId, Lane};
use crate::domain::time::Timestamp;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Something that was carried, or was to be, and what became of it.
pub(super) struct Carried {
    pub(super) line: LineKey,
    pub(super) id: EntryId,
    pub(super) report: Report,
    pub(super) tried: Tried,
}

/// A try, as it is told; an empty one when there was none.
#[derive(Default)]
pub(super) struct Tried {
    pub(super) what: String,
    pub(super) attempt: u32,
    pub(super) took: Duration,
}

impl Outbox {
    /// Before the process ends, what could not be stored so far has one more chance: the next
    /// process would have to take it for tries of unknown fate.
    pub(super) fn conclude_kept(&self, lane: Lane) {
        let kept = std::mem::take(&mut self.queue(lane).unsettled);
        let mut done: Vec<Carried> = kept.into_values().collect();
        let hands = self.hands();
        let conclude = || self.conclude(&hands.app, lane, &mut done);
        if catch_unwind(AssertUnwindSafe(conclude)).is_err() {
            hands.app.note_fault();
        }
    }

    /// Of what could not be stored as settled only the settling is repeated.
    pub(super) fn already_carried(
        &self,
        lane: Lane,
        ids: Vec<(LineKey, EntryId)>,
    ) -> (Vec<Carried>, Vec<(LineKey, EntryId)>) {
        let mut queue = self.queue(lane);
        let mut done = Vec::new();
        let mut fresh = Vec::new();
        for (line, id) in ids {
            match queue.unsettled.remove(&id) {
                Some(carried) => done.push(carried),
                None => fresh.push((line, id)),
            }
        }
        (done, fresh)
    }

    /// Stores what became of these, or remembers it until it can be stored.
    pub(super) fn conclude(&self, app: &App, lane: Lane, done: &mut Vec<Carried>) {
        if done.is_empty() {
            return;
        }
        self.note_rest(app, lane, done);
        let tries: Vec<EndedTry> = done
            .iter()
            .map(|carried| EndedTry {
                id: carried.id,
                attempt: carried.tried.attempt,
                report: carried.report.clone(),
            })
            .collect();
        match self.settle(app, lane, &tries) {
            Some(settled) => {
                for (carried, settled) in done.iter().zip(&settled) {
                    self.tell(lane, carried, *settled);
                }
                let mut queue = self.queue(lane);
                let now = app.now();
                for (carried, settled) in done.iter().zip(settled) {
                    let after = match settled {
                        Settled::Done => After::Gone,
                        Settled::Again(at) if is_refused(&carried.report) => After::Refused(at),
                        Settled::Again(at) => After::Again(at),
                    };
                    if matches!(carried.report, Report::Sent(_)) {
                        queue.other_side.taken_at = Some(now);
                    }
                    queue.finish(carried.line, carried.id, after, now);
                }
                done.clear();
            }
            None => self.keep(app, lane, std::mem::take(done)),
        }
    }

    /// Remembers what could not be stored until their lines are looked at again. While the store
    /// refuses, each turn may add some; an entry stays the first of its line and what is behind it is
    /// not begun, so that there is one for each line in memory at most.
    pub(super) fn keep(&self, app: &App, lane: Lane, done: Vec<Carried>) {
        let mut queue = self.queue(lane);
        let now = app.now();
        for carried in done {
            let (line, id) = (carried.line, carried.id);
            queue.unsettled.insert(id, carried);
            queue.finish(line, id, After::Again(now.plus_ms(LOOK_MS_MAX)), now);
        }
    }

    /// What was sent must be known as sent: a commit that failed is tried until the store gives up.
    fn settle(&self, app: &App, lane: Lane, tries: &[EndedTry]) -> Option<Vec<Settled>> {
        const TRIES_MAX: usize = 5;
        for attempt in 1..=TRIES_MAX {
            match app.settle(lane, tries.to_vec()) {
                Ok(settled) => return Some(settled),
                Err(error) => {
                    tracing::error!(lane = lane.name(), attempt, %error, "what became of a delivery could not be stored");
                    if error.is_for_good() {
                        return None;
                    }
                    if attempt > 1 {
                        let bell = self.bells.of(lane);
                        bell.wait(bell.heard(), STORE_RETRY);
                    }
                }
            }
        }
        None
    }

    /// None of these has left. Where a beginning as of that moment is stored, it is taken back first: it
    /// would count as a try of unknown fate.
    pub(super) fn put_back(
        &self,
        app: &App,
        lane: Lane,
        ids: Vec<(LineKey, EntryId)>,
        begun_at: Timestamp,
    ) {
        let mut queue = self.queue(lane);
        let now = app.now();
        for (line, id) in ids {
            if lane == Lane::Chat {
                // What became of it before is kept.
                queue.unsettled.entry(id).or_insert_with(|| Carried {
                    line,
                    id,
                    report: Report::Untried { begun_at },
                    tried: Tried::default(),
                });
            }
            queue.finish(line, id, After::Again(now.plus_ms(LOOK_MS_MAX)), now);
        }
    }

    /// What a status has settled makes way for what is behind it, and the other side takes what is
    /// sent to it after all.
    pub(super) fn hear_of_freed(&self, app: &App, lane: Lane, queue: &mut Queue, now: Timestamp) {
        for (contact, id) in app.take_freed(lane) {
            queue.free(contact, id, now);
            let was_at_rest = queue.other_side.rest().is_some();
            if queue.other_side.took_after_all(now) == Noted::GoesOn {
                tracing::info!(lane = lane.name(), "sending goes on");
            }
            if was_at_rest && queue.other_side.rest().is_none() {
                self.bells.of(lane).ring_all();
            }
        }
    }

    /// Token, permission, account or payment, or nobody there: the lane rests and says so; receiving
    /// goes on.
    fn note_rest(&self, app: &App, lane: Lane, done: &[Carried]) {
        let now = app.now();
        let mut queue = self.queue(lane);
        let was_at_rest = queue.other_side.rest().is_some();
        for Carried {
            line, id, report, ..
        } in done
        {
            match (queue.note(*line, *id, report, now), report) {
                (Noted::Paused, Report::Failed(failure)) => tracing::error!(
                    lane = lane.name(),
                    reason = failure.reason,
                    advice = failure.advice.unwrap_or(""),
                    "sending is paused; it resumes by itself when this is put right"
                ),
                (Noted::Failing, Report::Failed(failure)) => tracing::warn!(
                    lane = lane.name(),
                    reason = failure.reason,
                    advice = failure.advice.unwrap_or(""),
                    "nothing has been taken for minutes; what waits is tried again and again"
                ),
                (Noted::GoesOn, _) => tracing::info!(lane = lane.name(), "sending goes on"),
                _ => {}
            }
        }
        if was_at_rest && queue.other_side.rest().is_none() {
            drop(queue);
            self.bells.of(lane).ring_all();
        }
    }
}

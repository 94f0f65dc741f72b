//! What is known of the other side of a lane from how tries end: whether the lane rests, for how
//! long, and what people hear of it.
//!
//! A pause that the other side asked for is kept whole. Any other one ends with the first entry that
//! is taken, or as soon as somebody says that something was put right.

use super::queue::LineKey;
use crate::app::Report;
use crate::domain::delivery::{EntryId, Lane};
use crate::domain::failure::{Failure, FailureKind, PAUSE_MS};
use crate::domain::time::{SECOND_MS, Timestamp};
use std::collections::HashSet;

/// Pauses of a lane whose other side does not answer: the first, and the longest.
const UNREACHABLE_MS_MIN: u64 = SECOND_MS;
const UNREACHABLE_MS_MAX: u64 = 30 * SECOND_MS;

/// Lines that are refused one after the other, while nothing is taken, after which it is the other
/// side that is wrong and not what is sent to it. In the chat those count of which nobody knows
/// whether they arrived: each has one more try, which an outage must not use up.
pub(super) const REFUSED_LINES_MAX: usize = 8;

/// An alarm about a lane that is at rest is repeated this often.
const ALARM_EVERY_MS: u64 = 3_600 * SECOND_MS;

/// A lane that comes to rest again is told of at most this often.
const ALARM_AGAIN_MS: u64 = 300 * SECOND_MS;

/// Why a lane is at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// What the other side said.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// When the next entry tries whether it has been put right.
    pub until: Timestamp,
}

/// That nothing is taken is told after so long: what concerns one person may take a minute.
const FAILING_AFTER_MS: u64 = 120 * SECOND_MS;

/// Tries that failed since something was taken, before that is told: one may be of bad luck.
const FAILED_TRIES_MIN: u32 = 2;

/// Nothing is taken, whether the lane rests or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The first try that failed with nothing taken since.
    pub since: Timestamp,
    /// How the last one ended.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<&'static str>,
}

/// What failed since something was taken.
struct Silence {
    failing: Failing,
    /// Tries that could have been of anybody, up to [`FAILED_TRIES_MIN`].
    tries: u32,
    /// Lines that were refused for what they are, up to [`REFUSED_LINES_MAX`]: so many are everybody.
    refused: HashSet<LineKey>,
}

/// What is worth saying about a lane after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Nothing,
    /// It has come to rest.
    Paused,
    /// Nothing has been taken for a while.
    Failing,
    /// It was told of one of these, which is over.
    GoesOn,
}

/// What is known of the other side of one lane.
pub(super) struct OtherSide {
    /// What makes it suspicious that nobody is taken depends on who is behind the lane.
    lane: Lane,
    rest: Option<Rest>,
    /// How long the other side asked to be left alone; 0 when the lane rests for another reason, or
    /// not at all.
    throttled_ms: u64,
    /// The entry that tries, while the lane rests, whether it still has to.
    trying: Option<EntryId>,
    /// The last pause after which the other side did not answer; 0 when it did.
    unreachable_ms: u64,
    alarmed_at: Option<Timestamp>,
    silence: Option<Silence>,
    is_silence_told: bool,
    silence_told_at: Option<Timestamp>,
    /// When it last took something.
    pub(super) taken_at: Option<Timestamp>,
    /// Lines that were refused since, up to [`REFUSED_LINES_MAX`].
    refused: HashSet<LineKey>,
}

impl OtherSide {
    pub(super) fn new(lane: Lane) -> OtherSide {
        OtherSide {
            lane,
            rest: None,
            throttled_ms: 0,
            trying: None,
            unreachable_ms: 0,
            alarmed_at: None,
            silence: None,
            is_silence_told: false,
            silence_told_at: None,
            taken_at: None,
            refused: HashSet::new(),
        }
    }

    /// Why the lane is at rest, when it is.
    pub(super) fn rest(&self) -> Option<&Rest> {
        self.rest.as_ref()
    }

    /// The same, when it is somebody's concern.
    pub(super) fn rest_of_concern(&self) -> Option<&Rest> {
        self.rest.as_ref().filter(|_| !self.rests_briefly())
    }

    /// Since when and why nothing is taken, when that has lasted.
    pub(super) fn failing(&self, now: Timestamp) -> Option<&Failing> {
        let silence = self.silence.as_ref()?;
        let is_of_all =
            silence.tries >= FAILED_TRIES_MIN || silence.refused.len() >= REFUSED_LINES_MAX;
        let has_lasted = now.since_ms(silence.failing.since) >= FAILING_AFTER_MS;
        (is_of_all && has_lasted).then_some(&silence.failing)
    }

    /// Nothing waits any more: what failed is over, and says nothing about what comes next.
    pub(super) fn is_left_alone(&mut self) {
        self.silence = None;
        self.is_silence_told = false;
    }

    /// This entry, the first of those that leave now, shows whether a lane at rest still has to.
    pub(super) fn is_tried_with(&mut self, id: Option<EntryId>) {
        self.trying = id.filter(|_| self.rest.is_some());
    }

    /// What a try of an entry says.
    pub(super) fn note(
        &mut self,
        key: LineKey,
        id: EntryId,
        report: &Report,
        now: Timestamp,
    ) -> Noted {
        self.note_whether_it_fails(key, report, now);
        match self.note_whether_it_rests(key, id, report, now) {
            Noted::Nothing => self.news_of_silence(now),
            noted => noted,
        }
    }

    fn note_whether_it_fails(&mut self, key: LineKey, report: &Report, now: Timestamp) {
        let failure = match report {
            // Each service is told of by itself.
            Report::Failed(failure) if self.lane != Lane::Services => failure,
            Report::Sent(_) | Report::Answers(_) => {
                self.silence = None;
                return;
            }
            Report::Failed(_) | Report::Expired | Report::Superseded | Report::Untried { .. } => {
                return;
            }
        };
        let failing = Failing {
            since: now,
            reason: failure.reason.clone(),
            advice: failure.advice,
        };
        let silence = self.silence.get_or_insert_with(|| Silence {
            failing: failing.clone(),
            tries: 0,
            refused: HashSet::new(),
        });
        silence.failing = Failing {
            since: silence.failing.since,
            ..failing
        };
        match failure.kind {
            FailureKind::RecipientForNow
            | FailureKind::Recipient
            | FailureKind::Permanent
            | FailureKind::Temporary {
                retry_after_ms: Some(_),
            } => {
                if silence.refused.len() < REFUSED_LINES_MAX {
                    silence.refused.insert(key);
                }
            }
            FailureKind::Temporary {
                retry_after_ms: None,
            }
            | FailureKind::Unexplained { .. }
            | FailureKind::Unknown
            | FailureKind::Configuration
            | FailureKind::Throttled { .. }
            | FailureKind::Unreachable => {
                silence.tries = silence.tries.saturating_add(1).min(FAILED_TRIES_MIN);
            }
        }
    }

    /// Told when it does not show as a rest, once an hour at most; its end, when it was told.
    fn news_of_silence(&mut self, now: Timestamp) -> Noted {
        if self.silence.is_none() {
            return match std::mem::take(&mut self.is_silence_told) {
                true => Noted::GoesOn,
                false => Noted::Nothing,
            };
        }
        let is_due = |at| now.since_ms(at) >= ALARM_EVERY_MS;
        if self.rest.is_none()
            && self.failing(now).is_some()
            && self.silence_told_at.is_none_or(is_due)
        {
            self.silence_told_at = Some(now);
            self.is_silence_told = true;
            return Noted::Failing;
        }
        Noted::Nothing
    }

    fn note_whether_it_rests(
        &mut self,
        key: LineKey,
        id: EntryId,
        report: &Report,
        now: Timestamp,
    ) -> Noted {
        let is_suspicious = match self.lane {
            Lane::Chat => is_of_unknown_fate(report),
            Lane::Bot | Lane::Events => is_refused(report),
            Lane::Mail | Lane::Services => false,
        };
        if is_suspicious && self.refused.len() < REFUSED_LINES_MAX {
            self.refused.insert(key);
        }
        match report {
            Report::Failed(failure)
                if is_about_the_lane(report)
                    || (is_suspicious && self.refused.len() >= REFUSED_LINES_MAX) =>
            {
                self.come_to_rest(id, failure, now)
            }
            Report::Sent(_) | Report::Answers(_) => {
                self.refused.clear();
                // What was under way when less was asked for does not end that pause.
                match self.must_wait(now) {
                    true => Noted::Nothing,
                    false => self.go_on(),
                }
            }
            // It is there and answers, and does not want this entry.
            Report::Failed(_)
                if (self.unreachable_ms > 0 || self.throttled_ms > 0) && !self.must_wait(now) =>
            {
                self.go_on()
            }
            Report::Failed(_) | Report::Expired | Report::Superseded | Report::Untried { .. } => {
                Noted::Nothing
            }
        }
    }

    /// A status has told of a message whose fate was unknown: the other side takes them, and only
    /// its answers are lost.
    pub(super) fn took_after_all(&mut self, now: Timestamp) -> Noted {
        if self.lane != Lane::Chat {
            return Noted::Nothing;
        }
        self.refused.clear();
        self.silence = None;
        match self.unreachable_ms > 0 && !self.must_wait(now) {
            true => self.go_on(),
            false => self.news_of_silence(now),
        }
    }

    fn go_on(&mut self) -> Noted {
        self.unreachable_ms = 0;
        let is_brief = self.rests_briefly();
        self.throttled_ms = 0;
        match self.rest.take() {
            Some(_) if !is_brief => {
                self.is_silence_told = false;
                Noted::GoesOn
            }
            Some(_) | None => Noted::Nothing,
        }
    }

    /// Whether a pause that the other side asked for is not over.
    fn must_wait(&self, now: Timestamp) -> bool {
        self.throttled_ms > 0 && (self.rest.as_ref()).is_some_and(|rest| now < rest.until)
    }

    /// A moment in which the other side wants less is nobody's concern.
    fn rests_briefly(&self) -> bool {
        (1..PAUSE_MS).contains(&self.throttled_ms)
    }

    fn come_to_rest(&mut self, id: EntryId, failure: &Failure, now: Timestamp) -> Noted {
        let pause_ms = match failure.kind {
            FailureKind::Configuration => {
                self.unreachable_ms = 0;
                PAUSE_MS
            }
            FailureKind::Throttled { pause_ms } => {
                self.unreachable_ms = 0;
                pause_ms.max(1)
            }
            // Those that were under way together when it went fail together: one outage, one
            // pause. It grows with each try that was made to see whether it is over.
            _ => {
                if self.unreachable_ms == 0 || self.trying == Some(id) {
                    self.unreachable_ms =
                        (2 * self.unreachable_ms).clamp(UNREACHABLE_MS_MIN, UNREACHABLE_MS_MAX);
                }
                self.unreachable_ms
            }
        };
        // A pause that the other side asked for is not cut short, whatever comes in meanwhile.
        let asked_before_ms = match self.must_wait(now) {
            true => self.throttled_ms,
            false => 0,
        };
        let until = (self.rest.as_ref()).map_or(Timestamp(0), |rest| rest.until);
        let was_at_rest = self.rest.is_some();
        self.rest = Some(Rest {
            reason: failure.reason.clone(),
            advice: failure.advice,
            until: until.max(now.plus_ms(pause_ms)),
        });
        self.throttled_ms = match failure.kind {
            FailureKind::Throttled { .. } => asked_before_ms.max(pause_ms),
            _ => asked_before_ms,
        };
        if self.rests_briefly() {
            return Noted::Nothing;
        }
        // What goes up and down is told once in a while, not each time.
        let silence_ms = match was_at_rest {
            true => ALARM_EVERY_MS,
            false => ALARM_AGAIN_MS,
        };
        let is_due = |at| now.since_ms(at) >= silence_ms;
        if self.alarmed_at.is_none_or(is_due) {
            self.alarmed_at = Some(now);
            Noted::Paused
        } else {
            Noted::Nothing
        }
    }

    /// Something was put right. A lane at rest stays there until one entry has shown that it goes;
    /// if it does not, that is news.
    pub(super) fn is_put_right(&mut self, now: Timestamp) {
        let must_wait = self.must_wait(now);
        if let Some(rest) = self.rest.as_mut().filter(|_| !must_wait) {
            rest.until = now;
        }
        self.unreachable_ms = self.unreachable_ms.min(UNREACHABLE_MS_MIN);
        self.alarmed_at = None;
        self.refused.clear();
    }
}

/// Whether every other entry of the lane would fail as well.
pub(super) fn is_about_the_lane(report: &Report) -> bool {
    matches!(
        report,
        Report::Failed(Failure {
            kind: FailureKind::Configuration
                | FailureKind::Throttled { .. }
                | FailureKind::Unreachable,
            ..
        })
    )
}

/// Whether the other side was there and did not take the entry.
pub(super) fn is_refused(report: &Report) -> bool {
    matches!(report, Report::Failed(_)) && !is_about_the_lane(report)
}

/// Whether nobody knows whether it arrived.
fn is_of_unknown_fate(report: &Report) -> bool {
    matches!(report, Report::Failed(failure) if failure.kind == FailureKind::Unknown)
}

/// Whether the next try may come at any time: it has not arrived, and nobody asked for a pause. An
/// entry of which nobody knows whether it arrived would be seen twice.
pub(super) fn may_be_tried_now(report: &Report) -> bool {
    match report {
        Report::Failed(failure) => match failure.kind {
            FailureKind::Configuration
            | FailureKind::Unreachable
            | FailureKind::Temporary {
                retry_after_ms: None,
            } => true,
            FailureKind::Temporary {
                retry_after_ms: Some(_),
            }
            | FailureKind::Unexplained { .. }
            | FailureKind::Throttled { .. }
            | FailureKind::RecipientForNow
            | FailureKind::Unknown
            | FailureKind::Recipient
            | FailureKind::Permanent => false,
        },
        // A question that was not answered by all.
        Report::Answers(_) => true,
        Report::Sent(_) | Report::Expired | Report::Superseded | Report::Untried { .. } => false,
    }
}

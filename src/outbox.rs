//! The only sender: what waits in the outbox leaves the house here.
//!
//! Each lane has a queue of its own and a few threads. Entries of one contact leave one after the
//! other, those of different contacts at the same time; a contact that is slow or cannot be
//! reached holds up nobody else. The queue in memory is a window on the store: what does not fit
//! waits there, and a restart begins with the store alone.
//!
//! Two things may be wrong with the other side of a lane. It may not answer at all, leave it open
//! whether it takes anything, refuse whatever comes, or want less at once: then the lane rests, tries
//! with one entry at a time, and everything keeps its order. Or it may refuse one entry and take
//! others: then that entry steps aside after a while, and what waits behind it overtakes it.

use crate::app::{App, Begun, Bells, EndedTry, Report, Settled, Waiting, Work};
use crate::domain::delivery::{EntryId, Failure, FailureKind, Lane, PAUSE_MS};
use crate::domain::id::{ContactId, SECOND_MS, Timestamp};
use crate::metrics::{Counters, Durations};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// Entries of one lane held in memory; at 16 bytes each, a few megabytes at most.
const QUEUE_ENTRIES_MAX: usize = 200_000;

/// Entries read from the store at once.
const LOAD_ENTRIES_MAX: usize = 256;

/// Entries that one thread takes at once, when there are more than threads: they share the two
/// commits around a send.
const TAKE_ENTRIES_MAX: usize = 16;

/// A thread that sends several entries one after the other stores what became of them at least
/// this often: what is sent and not yet known as sent is what a crash could repeat.
const SETTLE_AFTER: Duration = Duration::from_millis(100);

/// Longest wait without looking at the store: a lost ring costs at most this.
const LOOK_MS_MAX: u64 = SECOND_MS;

/// How often it is looked whether the threads have ended, once they should.
const END_LOOK_EVERY: Duration = Duration::from_millis(5);

/// Wait after the store refused, before asking it again.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Messages to one person that may leave in a burst, and the pace after it: Meta allows about one
/// every 6 seconds and lends a burst (Meta's contract, section 6).
const PAIR_BURST: u64 = 10;
const PAIR_PACE_MS: u64 = 6 * SECOND_MS;

/// Pauses of a lane whose other side does not answer: the first, and the longest.
const UNREACHABLE_MS_MIN: u64 = SECOND_MS;
const UNREACHABLE_MS_MAX: u64 = 30 * SECOND_MS;

/// Lines that are refused one after the other, while nothing is taken, after which it is the other
/// side that is wrong and not what is sent to it. In the chat those count of which nobody knows
/// whether they arrived: each has one more try, which an outage must not use up.
const REFUSED_LINES_MAX: usize = 8;

/// Lines of one lane held in memory. When all of them wait for another try, those that wait longest
/// make room for others, and are found in the store again.
const LINES_MAX: usize = 20_000;

/// A line makes room only if it is not to be looked at for this long, and is then looked for this
/// much later: finding it again means reading what waits from its beginning.
const PARKED_MS_MIN: u64 = 10 * SECOND_MS;

/// How long an entry is refused, while others of its lane are taken, before it steps aside.
const STEP_ASIDE_AFTER_MS: u64 = 15 * 60 * SECOND_MS;

/// What is taken within this time after the first refusal may have been under way before it, and
/// says nothing about the entry: longer than any request lasts.
const STRAGGLER_MS: u64 = 3 * 60 * SECOND_MS;

/// An alarm about a lane that is at rest is repeated this often.
const ALARM_EVERY_MS: u64 = 3_600 * SECOND_MS;

/// A lane that comes to rest again is told of at most this often.
const ALARM_AGAIN_MS: u64 = 300 * SECOND_MS;

/// Carries a piece of work to the outside world and says what became of it. Called by several
/// threads; every call must end by itself.
pub trait Carry: Send + Sync + 'static {
    /// Does it.
    fn carry(&self, work: &Work) -> Report;
}

impl<F: Fn(&Work) -> Report + Send + Sync + 'static> Carry for F {
    fn carry(&self, work: &Work) -> Report {
        self(work)
    }
}

/// How fast and how wide.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Chat messages per second over everybody.
    pub messages_per_second: u32,
    /// Threads of each lane, in the order of [`Lane::ALL`].
    pub threads: [usize; Lane::ALL.len()],
    /// Entries of each lane that are on their way to the other side at the same time; no fewer than
    /// there are threads, if it wants no fewer.
    pub at_once: [usize; Lane::ALL.len()],
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            messages_per_second: 80,
            // More that mail than mail at once: while some wait for what they sent to be stored as
            // sent, others can send.
            threads: [4, 12, 4, 16, 2],
            // Smaller mail servers take no more connections.
            at_once: [usize::MAX, 4, usize::MAX, usize::MAX, usize::MAX],
        }
    }
}

/// The state of a lane, for health and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHealth {
    /// Which.
    pub lane: Lane,
    /// Entries in memory.
    pub waiting: usize,
    /// When the lane rests because something must be put right: what, and what to do.
    pub resting: Option<Rest>,
}

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

/// By whom everything is done: who begins and settles, and who carries. What was begun by one is
/// carried and settled by the same.
struct Hands {
    app: Arc<App>,
    carry: Arc<dyn Carry>,
}

/// The lanes.
pub struct Outbox {
    hands: RwLock<Arc<Hands>>,
    bells: Arc<Bells>,
    threads: [usize; Lane::ALL.len()],
    queues: [Mutex<Queue>; Lane::ALL.len()],
    stopping: AtomicBool,
    counted: [Deliveries; Lane::ALL.len()],
}

/// What became of what left by a lane, and how long the other side took.
#[derive(Debug)]
pub struct Deliveries {
    /// Outcomes.
    pub outcomes: Counters<6>,
    /// Of tries that reached for the other side.
    pub durations: Durations,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        Deliveries {
            outcomes: Counters::new([SENT, ANSWERED, RETRY, SUPERSEDED, EXPIRED, GIVEN_UP]),
            durations: Durations::default(),
        }
    }
}

const SENT: &str = "sent";
const ANSWERED: &str = "answered";
const RETRY: &str = "retry";
const SUPERSEDED: &str = "superseded";
const EXPIRED: &str = "expired";
const GIVEN_UP: &str = "given_up";

impl Outbox {
    /// The lanes of this store, at rest.
    pub fn new(app: Arc<App>, carry: Arc<dyn Carry>, pace: Pace) -> Outbox {
        let queues = Lane::ALL.map(|lane| {
            let per_second = if lane == Lane::Chat {
                Some(pace.messages_per_second.max(1) as usize)
            } else {
                None
            };
            let steps_aside = matches!(lane, Lane::Bot | Lane::Events);
            let mut queue = Queue::new(per_second, lane == Lane::Chat, steps_aside);
            queue.at_once_max = pace.at_once[lane as usize].max(1);
            Mutex::new(queue)
        });
        Outbox {
            bells: Arc::clone(app.bells()),
            hands: RwLock::new(Arc::new(Hands { app, carry })),
            threads: pace.threads,
            queues,
            stopping: AtomicBool::new(false),
            counted: Default::default(),
        }
    }

    /// Goes on with another app on the same store, and another carrier. What is under way ends as
    /// it began.
    pub fn change_hands(&self, app: Arc<App>, carry: Arc<dyn Carry>) {
        let mut hands = self.hands.write().unwrap_or_else(PoisonError::into_inner);
        *hands = Arc::new(Hands { app, carry });
    }

    /// Chat messages per second over everybody, from now on.
    pub fn set_messages_per_second(&self, messages_per_second: u32) {
        if let Some(rate) = &mut self.queue(Lane::Chat).rate {
            rate.per_second = messages_per_second.max(1) as usize;
        }
        self.bells.of(Lane::Chat).ring_all();
    }

    /// Something was put right: what waits because the other side of this lane could not be used
    /// is tried now, whatever pause was due.
    pub fn try_now(&self, lane: Lane) {
        let now = self.hands().app.now();
        self.queue(lane).try_now(now);
        self.bells.of(lane).ring_all();
    }

    fn hands(&self) -> Arc<Hands> {
        Arc::clone(&self.hands.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What left by each lane since the start.
    pub fn deliveries(&self) -> impl Iterator<Item = (Lane, &Deliveries)> {
        Lane::ALL.into_iter().zip(&self.counted)
    }

    /// The state of every lane.
    pub fn health(&self) -> Vec<LaneHealth> {
        Lane::ALL
            .iter()
            .map(|lane| {
                let queue = self.queue(*lane);
                LaneHealth {
                    lane: *lane,
                    waiting: queue.entries,
                    resting: queue.rest.clone().filter(|_| !queue.rests_briefly()),
                }
            })
            .collect()
    }

    /// Sends everything of a lane that is due now, on this thread; returns how many tries that were.
    pub fn drain(&self, lane: Lane) -> usize {
        let mut tries = 0;
        loop {
            match self.guarded_turn(lane, TAKE_ENTRIES_MAX) {
                Turn::Carried(count) => tries += count,
                Turn::Nothing(_) | Turn::Full(_) | Turn::StoreRefused | Turn::Faulted => {
                    return tries;
                }
            }
        }
    }

    /// Starts the threads of every lane.
    pub fn start(self: Arc<Self>) -> std::io::Result<Running> {
        let mut threads = Vec::new();
        for (lane, count) in Lane::ALL.into_iter().zip(self.threads) {
            for _ in 0..count.max(1) {
                let outbox = Arc::clone(&self);
                let name = format!("outbox-{}", lane.name());
                threads.push(std::thread::Builder::new().name(name).spawn(move || {
                    while catch_unwind(AssertUnwindSafe(|| outbox.run(lane))).is_err() {
                        outbox.hands().app.note_fault();
                        // One that comes again at once keeps nobody busy until the program has
                        // ended of it.
                        std::thread::sleep(STORE_RETRY);
                    }
                })?);
            }
        }
        Ok(Running {
            outbox: self,
            threads,
        })
    }

    fn run(&self, lane: Lane) {
        let bell = self.bells.of(lane);
        while !self.stopping.load(Ordering::Acquire) {
            let heard = bell.heard();
            match self.guarded_turn(lane, TAKE_ENTRIES_MAX) {
                Turn::Carried(_) => {}
                Turn::Nothing(at_most) => bell.wait(heard, at_most),
                Turn::Full(at_most) => bell.wait_for_call(heard, at_most),
                Turn::StoreRefused | Turn::Faulted => bell.wait(heard, STORE_RETRY),
            }
        }
        self.conclude_kept(lane);
    }

    /// Before the process ends, what could not be stored so far has one more chance: the next
    /// process would have to take it for tries of unknown fate.
    fn conclude_kept(&self, lane: Lane) {
        let kept = std::mem::take(&mut self.queue(lane).unsettled);
        let mut done: Vec<Carried> = kept.into_values().collect();
        let hands = self.hands();
        let conclude = || self.conclude(&hands.app, lane, &mut done);
        if catch_unwind(AssertUnwindSafe(conclude)).is_err() {
            hands.app.note_fault();
        }
    }

    /// A fault ends one turn and not its thread: what was carried is remembered as carried, and the
    /// rest of what the turn held, which cannot have left, as not tried.
    fn guarded_turn(&self, lane: Lane, take_max: usize) -> Turn {
        let hands = self.hands();
        let mut held = Held {
            since: hands.app.now(),
            done: Vec::new(),
        };
        let turn = || self.turn(&hands, lane, take_max, &mut held);
        catch_unwind(AssertUnwindSafe(turn)).unwrap_or_else(|_| {
            tracing::error!(
                lane = lane.name(),
                "a sender failed unexpectedly; what it held is taken up again"
            );
            let app = &hands.app;
            app.note_fault();
            self.keep(app, lane, held.done);
            let rest = self.queue(lane).held_by_this_thread();
            self.put_back(app, lane, rest, held.since);
            Turn::Faulted
        })
    }

    fn turn(&self, hands: &Arc<Hands>, lane: Lane, take_max: usize, held: &mut Held) -> Turn {
        let Held { since, done } = held;
        let (app, since) = (&hands.app, *since);
        let threads = self.threads[lane as usize].max(1);
        let (ids, more) = {
            let mut queue = self.queue(lane);
            if load(app, lane, &mut queue).is_err() {
                return Turn::StoreRefused;
            }
            let now = app.now();
            for (contact, id) in app.take_freed(lane) {
                queue.free(contact, id, now);
                let was_at_rest = queue.rest.is_some();
                if queue.took_after_all(now) == Noted::GoesOn {
                    tracing::info!(lane = lane.name(), "sending goes on");
                }
                if was_at_rest && queue.rest.is_none() {
                    self.bells.of(lane).ring_all();
                }
            }
            // A bot, a mail server or a service may be slow for one of them: nobody waits for
            // another's. Meta is not, and its messages share the commits around them.
            let take_max = match lane {
                Lane::Chat => take_max,
                Lane::Mail | Lane::Services | Lane::Bot | Lane::Events => 1,
            };
            let ids = queue.take(now, take_max, threads);
            if ids.is_empty() {
                let at_most = |ms: u64| Duration::from_millis(ms.min(LOOK_MS_MAX));
                return match queue.full_for_ms(now) {
                    Some(full_ms) => Turn::Full(at_most(full_ms)),
                    None => Turn::Nothing(at_most(queue.next_look_ms(now))),
                };
            }
            (ids, queue.has_due(now))
        };
        if more {
            self.bells.of(lane).ring();
        }
        let (carried_before, fresh) = self.already_carried(lane, ids);
        let taken = carried_before.len() + fresh.len();
        done.extend(carried_before);
        let entries: Vec<EntryId> = fresh.iter().map(|(_, id)| *id).collect();
        let Ok(work) = app.begin(lane, entries) else {
            self.keep(app, lane, std::mem::take(done));
            self.put_back(app, lane, fresh, since);
            return Turn::StoreRefused;
        };
        let mut begun_at = Instant::now();
        let mut is_over = false;
        let mut found_wrong = false;
        for ((line, id), work) in fresh.into_iter().zip(work) {
            let Some(begun) = work else {
                self.queue(lane).finish(line, id, After::Gone, app.now());
                continue;
            };
            is_over = is_over || self.stopping.load(Ordering::Acquire);
            let tried_at = Instant::now();
            let Begun {
                work,
                what,
                attempt,
                expires_at,
            } = begun;
            let report = if is_over {
                Report::Untried { since }
            } else if app.now() >= expires_at && !matches!(work, Work::Nothing(_)) {
                Report::Expired
            } else {
                hands.carry_one(&work)
            };
            let is_wrong = is_about_the_lane(&report);
            if self.queue(lane).came_back(id, app.now()) {
                self.bells.of(lane).ring();
            }
            // Known as carried before anything else can go wrong.
            done.push(Carried {
                line,
                id,
                report,
                tried: Tried {
                    what,
                    attempt,
                    took: Duration::ZERO,
                },
            });
            let took = tried_at.elapsed();
            if let Some(carried) = done.last_mut() {
                carried.tried.took = took;
            }
            if !is_over && !matches!(work, Work::Nothing(_)) {
                self.counted[lane as usize].durations.add(took);
            }
            // The others would fail in the same way.
            found_wrong = found_wrong || is_wrong;
            is_over = is_over || found_wrong;
            if begun_at.elapsed() >= SETTLE_AFTER {
                self.conclude(app, lane, done);
                begun_at = Instant::now();
            }
        }
        self.conclude(app, lane, done);
        if found_wrong && !Arc::ptr_eq(hands, &self.hands()) {
            // It was put right while this was under way.
            self.try_now(lane);
        }
        Turn::Carried(taken)
    }

    /// Of what could not be stored as settled only the settling is repeated.
    fn already_carried(
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
    fn conclude(&self, app: &App, lane: Lane, done: &mut Vec<Carried>) {
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
                        queue.taken_at = Some(now);
                    }
                    queue.finish(carried.line, carried.id, after, now);
                }
                done.clear();
            }
            None => self.keep(app, lane, std::mem::take(done)),
        }
    }

    /// Counts a delivery and logs it. What comes in thousands and went well is for who looks for it;
    /// a lane that rests says so itself.
    fn tell(&self, lane: Lane, carried: &Carried, settled: Settled) {
        let Some(outcome) = outcome(&carried.report, settled) else {
            return;
        };
        self.counted[lane as usize].outcomes.count(outcome);
        let Tried {
            what,
            attempt,
            took,
        } = &carried.tried;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let is_usual = matches!(lane, Lane::Bot | Lane::Events) && outcome == SENT;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    lane = lane.name(),
                    what,
                    id = format_args!("{:x}", carried.id.0),
                    contact = %carried.line.0,
                    attempts = attempt,
                    outcome,
                    duration_ms,
                    "a delivery"
                )
            };
        }
        if is_usual || is_about_the_lane(&carried.report) {
            line!(debug);
        } else {
            line!(info);
        }
    }

    /// Bounded by what was taken: at most [`TAKE_ENTRIES_MAX`] a thread.
    fn keep(&self, app: &App, lane: Lane, done: Vec<Carried>) {
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

    /// None of these has left. Where a beginning is stored, which can have happened since that
    /// moment, that is taken back first: it would count as a try of unknown fate.
    fn put_back(&self, app: &App, lane: Lane, ids: Vec<(LineKey, EntryId)>, since: Timestamp) {
        let mut queue = self.queue(lane);
        let now = app.now();
        for (line, id) in ids {
            if lane == Lane::Chat {
                // What became of it before is kept.
                queue.unsettled.entry(id).or_insert_with(|| Carried {
                    line,
                    id,
                    report: Report::Untried { since },
                    tried: Tried::default(),
                });
            }
            queue.finish(line, id, After::Again(now.plus_ms(LOOK_MS_MAX)), now);
        }
    }

    /// Token, permission, account or payment, or nobody there: the lane rests and says so; receiving
    /// goes on.
    fn note_rest(&self, app: &App, lane: Lane, done: &[Carried]) {
        let now = app.now();
        let mut queue = self.queue(lane);
        let was_at_rest = queue.rest.is_some();
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
                (Noted::GoesOn, _) => tracing::info!(lane = lane.name(), "sending goes on"),
                _ => {}
            }
        }
        if was_at_rest && queue.rest.is_none() {
            drop(queue);
            self.bells.of(lane).ring_all();
        }
    }

    fn queue(&self, lane: Lane) -> MutexGuard<'_, Queue> {
        self.queues[lane as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hands {
    fn carry_one(&self, work: &Work) -> Report {
        match work {
            Work::Nothing(report) => report.clone(),
            // A fault in an adapter ends one try, not the lane.
            work => {
                catch_unwind(AssertUnwindSafe(|| self.carry.carry(work))).unwrap_or_else(|_| {
                    tracing::error!("a sender failed unexpectedly; the entry is tried again later");
                    let fault = Failure::temporary("internal fault");
                    Report::Failed(match work {
                        // It may have left, and people would see it twice.
                        Work::Chat { .. } => Failure {
                            kind: FailureKind::Unknown,
                            ..fault
                        },
                        _ => fault,
                    })
                })
            }
        }
    }
}

fn load(app: &App, lane: Lane, queue: &mut Queue) -> Result<(), ()> {
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

/// What a turn has in its hands, should it end in a panic.
struct Held {
    /// Nothing was begun before.
    since: Timestamp,
    /// Carried, and not settled yet.
    done: Vec<Carried>,
}

/// Something that was carried, or was to be, and what became of it.
struct Carried {
    line: LineKey,
    id: EntryId,
    report: Report,
    tried: Tried,
}

/// A try, as it is told; an empty one when there was none.
#[derive(Default)]
struct Tried {
    what: String,
    attempt: u32,
    took: Duration,
}

/// What became of a try; nothing when there was none.
fn outcome(report: &Report, settled: Settled) -> Option<&'static str> {
    let is_again = matches!(settled, Settled::Again(_));
    match report {
        Report::Untried { .. } => None,
        Report::Sent(_) => Some(SENT),
        Report::Answers(_) | Report::Failed(_) if is_again => Some(RETRY),
        Report::Answers(_) => Some(ANSWERED),
        Report::Failed(_) => Some(GIVEN_UP),
        Report::Expired => Some(EXPIRED),
        Report::Superseded => Some(SUPERSEDED),
    }
}

/// Whether every other entry of the lane would fail as well.
fn is_about_the_lane(report: &Report) -> bool {
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
fn is_refused(report: &Report) -> bool {
    matches!(report, Report::Failed(_)) && !is_about_the_lane(report)
}

/// Whether nobody knows whether it arrived.
fn is_of_unknown_fate(report: &Report) -> bool {
    matches!(report, Report::Failed(failure) if failure.kind == FailureKind::Unknown)
}

/// Whether the next try may come at any time: it has not arrived, and nobody asked for a pause. An
/// entry of which nobody knows whether it arrived would be seen twice.
fn may_be_tried_now(report: &Report) -> bool {
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

enum Turn {
    Carried(usize),
    Nothing(Duration),
    /// Nothing new could leave either.
    Full(Duration),
    StoreRefused,
    /// It ended in a panic.
    Faulted,
}

/// The threads of the outbox.
pub struct Running {
    outbox: Arc<Outbox>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// The lanes.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Lets every thread finish what it holds, and waits for that until `deadline`. What is left
    /// waits in the store. Says whether all ended.
    pub fn stop(self, deadline: std::time::Instant) -> bool {
        self.outbox.stopping.store(true, Ordering::Release);
        for lane in Lane::ALL {
            self.outbox.bells.of(lane).ring_all();
        }
        // A thread that waits for the outside world may outlive the deadline; the process ends. They
        // are looked at and not joined, which would need a thread for each: it may be that the system
        // starts none any more.
        let mut threads = self.threads;
        loop {
            threads.retain(|thread| !thread.is_finished());
            if threads.is_empty() || Instant::now() >= deadline {
                return threads.is_empty();
            }
            std::thread::park_timeout(END_LOOK_EVERY);
        }
    }
}

/// Names a line: what waits for a contact, or one entry that has stepped aside from there.
type LineKey = (ContactId, Option<EntryId>);

/// What becomes of an entry of a line that was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// It is not in the outbox any more.
    Gone,
    /// It is tried again.
    Again(Timestamp),
    /// The same, after the other side was there and did not take it.
    Refused(Timestamp),
}

/// What is worth saying about a lane after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noted {
    Nothing,
    /// It has come to rest.
    Paused,
    /// It was at rest, and is not any more.
    GoesOn,
}

/// A window on what waits in one lane.
struct Queue {
    loaded_to: Option<EntryId>,
    lines: HashMap<LineKey, Line>,
    /// Lines with something to send and nothing under way, by the moment to look at them.
    due: BTreeSet<(Timestamp, LineKey)>,
    entries: usize,
    /// Taken and not finished, each by one thread.
    under_way: HashMap<EntryId, UnderWay>,
    /// How many of them may be on their way at the same time.
    at_once_max: usize,
    /// What became of it is not stored yet.
    unsettled: HashMap<EntryId, Carried>,
    rest: Option<Rest>,
    /// How long the other side asked to be left alone; 0 when the lane rests for another reason, or
    /// not at all.
    throttled_ms: u64,
    /// The entry that tries, while the lane rests, whether it still has to.
    trying: Option<EntryId>,
    /// The last pause after which the other side did not answer; 0 when it did.
    unreachable_ms: u64,
    alarmed_at: Option<Timestamp>,
    /// When the other side last took something.
    taken_at: Option<Timestamp>,
    /// Lines that were refused since, up to [`REFUSED_LINES_MAX`].
    refused: HashSet<LineKey>,
    /// Contacts whose lines made room: what waits for them is in the store only.
    parked: HashSet<ContactId>,
    /// When to look for them there.
    parked_until: Option<Timestamp>,
    rate: Option<Rate>,
    paces_pairs: bool,
    /// Whether an entry that is refused may be overtaken by those behind it.
    steps_aside: bool,
}

/// An entry that a thread has taken.
struct UnderWay {
    line: LineKey,
    thread: ThreadId,
    /// It has come back, and what became of it is being stored.
    is_back: bool,
}

/// What waits for one contact, in order.
#[derive(Default)]
struct Line {
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
    /// The theoretical moment at which the burst allowance would be whole again.
    paced_to: Timestamp,
}

/// How much may leave in any one second, wherever that begins. The other side counts a message at
/// some moment while it is under way, so its second ends one after it has come back.
struct Rate {
    per_second: usize,
    /// When those that count came back, oldest first; at most as many as may leave.
    back_at: VecDeque<Timestamp>,
}

impl Rate {
    /// How many may leave now, beside those under way.
    fn room(&mut self, under_way: usize, now: Timestamp) -> usize {
        let counts = |at: &Timestamp| *at <= now && now.since_ms(*at) < SECOND_MS;
        while self.back_at.front().is_some_and(|at| !counts(at)) {
            self.back_at.pop_front();
        }
        self.per_second
            .saturating_sub(under_way + self.back_at.len())
    }

    /// In how long the next one may leave.
    fn room_in_ms(&self, under_way: usize, now: Timestamp) -> u64 {
        if under_way + self.back_at.len() < self.per_second {
            return 0;
        }
        match self.back_at.front() {
            Some(at) => SECOND_MS.saturating_sub(now.since_ms(*at)),
            // Whoever carries those under way goes on.
            None => LOOK_MS_MAX,
        }
    }
}

impl Queue {
    fn new(per_second: Option<usize>, paces_pairs: bool, steps_aside: bool) -> Queue {
        let rate = per_second.map(|per_second| Rate {
            per_second,
            back_at: VecDeque::new(),
        });
        Queue {
            loaded_to: None,
            lines: HashMap::new(),
            due: BTreeSet::new(),
            entries: 0,
            under_way: HashMap::new(),
            at_once_max: usize::MAX,
            unsettled: HashMap::new(),
            rest: None,
            throttled_ms: 0,
            trying: None,
            unreachable_ms: 0,
            alarmed_at: None,
            taken_at: None,
            refused: HashSet::new(),
            parked: HashSet::new(),
            parked_until: None,
            rate,
            paces_pairs,
            steps_aside,
        }
    }

    fn add(&mut self, entry: Waiting) {
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
            let at = look_at(line, self.paces_pairs);
            self.due.insert((at, key));
        }
    }

    /// Whether more may be read from the store; parks lines when it must.
    fn has_room(&mut self, now: Timestamp) -> bool {
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
    fn looks_again(&mut self, now: Timestamp) -> bool {
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
    fn take(&mut self, now: Timestamp, max: usize, threads: usize) -> Vec<(LineKey, EntryId)> {
        let mut max = max.min((self.due.len() / threads).max(1));
        if let Some(rest) = &self.rest {
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
                line.paced_to = line.paced_to.max(now).plus_ms(PAIR_PACE_MS);
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
        self.trying = (self.rest.as_ref()).and(taken.first().map(|(_, id)| *id));
        taken
    }

    /// It is not on its way any more. Says whether another one can use its place.
    fn came_back(&mut self, id: EntryId, now: Timestamp) -> bool {
        if let Some(one) = self.under_way.get_mut(&id) {
            one.is_back = true;
        }
        self.at_once_max < usize::MAX && self.has_due(now)
    }

    /// For how long nothing may leave, whatever there is; `None` when something may.
    fn full_for_ms(&self, now: Timestamp) -> Option<u64> {
        let rest_ms = match &self.rest {
            // The one under way decides, and whoever carries it goes on.
            Some(_) if !self.under_way.is_empty() => LOOK_MS_MAX,
            Some(rest) => rest.until.since_ms(now),
            None => 0,
        };
        let full_ms = rest_ms.max(self.room_in_ms(now));
        (full_ms > 0).then_some(full_ms)
    }

    /// In how long the rate has room.
    fn room_in_ms(&self, now: Timestamp) -> u64 {
        let under_way = self.under_way.len();
        (self.rate.as_ref()).map_or(0, |rate| rate.room_in_ms(under_way, now))
    }

    fn has_due(&self, now: Timestamp) -> bool {
        self.rest.is_none() && self.due.first().is_some_and(|(at, _)| *at <= now)
    }

    fn finish(&mut self, key: LineKey, id: EntryId, after: After, now: Timestamp) {
        if self.under_way.remove(&id).is_none() {
            return;
        }
        if let Some(rate) = &mut self.rate {
            rate.back_at.push_back(now);
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
                }
                // Known in the meantime: there is nothing to wait for.
                After::Again(_) | After::Refused(_) if is_freed => front.1 = now,
                After::Again(at) => front.1 = at,
                After::Refused(at) => {
                    front.1 = at;
                    let since = *line.refused_since.get_or_insert(now);
                    let others_are_taken =
                        (self.taken_at).is_some_and(|taken| taken > since.plus_ms(STRAGGLER_MS));
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
    fn held_by_this_thread(&self) -> Vec<(LineKey, EntryId)> {
        let thread = std::thread::current().id();
        let held = (self.under_way.iter()).filter(|(_, one)| one.thread == thread);
        held.map(|(id, one)| (one.line, *id)).collect()
    }

    /// What a try says about the lane as a whole.
    fn note(&mut self, key: LineKey, id: EntryId, report: &Report, now: Timestamp) -> Noted {
        if let Some(line) = self.lines.get_mut(&key) {
            line.is_held = may_be_tried_now(report);
        }
        let is_suspicious = (self.steps_aside && is_refused(report))
            || (self.paces_pairs && is_of_unknown_fate(report));
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
    fn took_after_all(&mut self, now: Timestamp) -> Noted {
        if !self.paces_pairs {
            return Noted::Nothing;
        }
        self.refused.clear();
        match self.unreachable_ms > 0 && !self.must_wait(now) {
            true => self.go_on(),
            false => Noted::Nothing,
        }
    }

    fn go_on(&mut self) -> Noted {
        self.unreachable_ms = 0;
        let is_brief = self.rests_briefly();
        self.throttled_ms = 0;
        match self.rest.take() {
            Some(_) if !is_brief => Noted::GoesOn,
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

    /// What waits for another try is looked at now, if it may be. A lane at rest stays there until
    /// one entry has shown that it goes; if it does not, that is news.
    fn try_now(&mut self, now: Timestamp) {
        let must_wait = self.must_wait(now);
        if let Some(rest) = self.rest.as_mut().filter(|_| !must_wait) {
            rest.until = now;
        }
        self.unreachable_ms = self.unreachable_ms.min(UNREACHABLE_MS_MIN);
        self.alarmed_at = None;
        self.refused.clear();
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
            self.due.insert((look_at(line, self.paces_pairs), key));
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
            if line.paced_to <= now || !self.paces_pairs {
                self.lines.remove(&key);
            }
        } else {
            let at = look_at(line, self.paces_pairs);
            self.due.insert((at, key));
        }
        if self.lines.len() > 2 * LINES_MAX {
            self.lines
                .retain(|_, line| !line.waiting.is_empty() || line.busy || line.paced_to > now);
        }
    }

    /// This entry of the contact was settled without its sender. If it is the first of its line, it
    /// is looked at now, found gone, and makes way for the next; if not, that happens when it is.
    fn free(&mut self, contact: ContactId, id: EntryId, now: Timestamp) {
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
            self.due.remove(&(look_at(line, self.paces_pairs), key));
            if let Some(front) = line.waiting.front_mut() {
                front.1 = now;
            }
            self.due.insert((look_at(line, self.paces_pairs), key));
        }
    }

    fn next_look_ms(&self, now: Timestamp) -> u64 {
        let due_ms = self
            .due
            .first()
            .map_or(u64::MAX, |(at, _)| at.since_ms(now));
        due_ms.max(self.full_for_ms(now).unwrap_or(0)).max(1)
    }
}

/// When the first of a line may leave: its own moment, and the pace of the pair.
fn look_at(line: &Line, paces_pairs: bool) -> Timestamp {
    let own = line.waiting.front().map_or(Timestamp(0), |(_, at)| *at);
    if paces_pairs {
        own.max(line.paced_to.minus_ms((PAIR_BURST - 1) * PAIR_PACE_MS))
    } else {
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: ContactId = ContactId([1; 16]);

    /// A queue of one contact whose first entry waits for a minute, and its second one for that.
    fn waiting() -> Queue {
        let mut queue = Queue::new(None, true, false);
        for (number, look_at) in [(1, Timestamp(60_000)), (2, Timestamp(0))] {
            queue.add(Waiting {
                id: EntryId(number),
                contact: ANA,
                look_at,
            });
        }
        queue
    }

    #[test]
    fn what_a_status_has_settled_is_waited_for_no_longer() {
        let (mut queue, now) = (waiting(), Timestamp(1_000));
        assert_eq!(queue.take(now, 1, 1), []);
        queue.free(ANA, EntryId(1), now);
        assert_eq!(queue.take(now, 1, 1), [((ANA, None), EntryId(1))]);
        queue.finish((ANA, None), EntryId(1), After::Gone, now);
        assert_eq!(queue.take(now, 1, 1), [((ANA, None), EntryId(2))]);
    }

    #[test]
    fn as_long_as_nothing_may_leave_nobody_need_hear_of_something_new() {
        let mut queue = Queue::new(Some(1), false, false);
        queue.add(Waiting {
            id: EntryId(1),
            contact: ANA,
            look_at: Timestamp(0),
        });
        let now = Timestamp(10_000);
        assert_eq!(queue.full_for_ms(now), None);
        assert_eq!(queue.take(now, 1, 1), [((ANA, None), EntryId(1))]);
        assert_eq!(queue.full_for_ms(now), Some(LOOK_MS_MAX), "it is under way");
        queue.finish((ANA, None), EntryId(1), After::Gone, now);
        assert_eq!(queue.full_for_ms(now.plus_ms(SECOND_MS - 1)), Some(1));
        assert_eq!(queue.full_for_ms(now.plus_ms(SECOND_MS)), None);
        // A rest that is over and has nothing to try holds nobody up.
        queue.rest = Some(Rest {
            reason: String::new(),
            advice: None,
            until: now.plus_ms(2 * SECOND_MS),
        });
        assert_eq!(queue.full_for_ms(now.plus_ms(SECOND_MS)), Some(SECOND_MS));
        assert_eq!(queue.full_for_ms(now.plus_ms(2 * SECOND_MS)), None);
    }

    #[test]
    fn no_more_leave_at_once_than_may_and_what_came_back_makes_room_before_it_is_stored() {
        let mut queue = queue_of(&[
            (ANA, 1),
            (BEN, 2),
            (ContactId([3; 16]), 3),
            (ContactId([4; 16]), 4),
        ]);
        queue.at_once_max = 2;
        let taken = queue.take(NOW, 9, 1);
        assert_eq!(taken.len(), 2);
        assert_eq!(queue.take(NOW, 9, 1), []);
        assert!(queue.came_back(taken[0].1, NOW), "another one can leave");
        assert_eq!(queue.take(NOW, 9, 1).len(), 1);
        assert_eq!(queue.take(NOW, 9, 1), []);
        queue.finish(taken[1].0, taken[1].1, After::Gone, NOW);
        assert_eq!(queue.take(NOW, 9, 1).len(), 1);
    }

    #[test]
    fn a_status_that_comes_while_its_message_is_under_way_is_not_forgotten() {
        let (mut queue, later) = (waiting(), Timestamp(60_000));
        assert_eq!(queue.take(later, 1, 1), [((ANA, None), EntryId(1))]);
        queue.free(ANA, EntryId(1), later);
        queue.finish(
            (ANA, None),
            EntryId(1),
            After::Again(Timestamp(120_000)),
            later,
        );
        assert_eq!(queue.take(later, 1, 1), [((ANA, None), EntryId(1))]);
    }

    #[test]
    fn a_status_for_somebody_who_waits_for_nothing_changes_nothing() {
        let mut queue = waiting();
        queue.free(ContactId([2; 16]), EntryId(1), Timestamp(1_000));
        queue.free(ANA, EntryId(2), Timestamp(1_000));
        assert_eq!(queue.take(Timestamp(1_000), 1, 1), []);
    }

    #[test]
    fn what_is_settled_from_outside_in_the_middle_of_a_line_is_found_gone_when_its_turn_comes() {
        let mut queue = queue_of(&[(ANA, 1), (ANA, 2), (ANA, 3)]);
        queue.free(ANA, EntryId(2), NOW);
        assert_eq!(queue.take(NOW, 9, 1), [((ANA, None), EntryId(1))]);
        queue.finish((ANA, None), EntryId(1), After::Gone, NOW);
        assert_eq!(queue.take(NOW, 9, 1), [((ANA, None), EntryId(2))]);
    }

    const BEN: ContactId = ContactId([2; 16]);
    const CAI: ContactId = ContactId([3; 16]);
    const NOW: Timestamp = Timestamp(1_000_000_000);
    const MINUTE_MS: u64 = 60 * SECOND_MS;

    /// A queue of the bot's lane.
    fn queue_of(entries: &[(ContactId, u64)]) -> Queue {
        let mut queue = Queue::new(None, false, true);
        for (contact, number) in entries {
            queue.add(Waiting {
                id: EntryId(*number),
                contact: *contact,
                look_at: NOW,
            });
        }
        queue
    }

    fn away() -> Report {
        Report::Failed(Failure {
            kind: FailureKind::Unreachable,
            reason: "nobody there".into(),
            advice: None,
        })
    }

    fn refused() -> Report {
        Report::Failed(Failure::temporary("500"))
    }

    /// A try of the first of a line; says whether there was one.
    fn try_one(queue: &mut Queue, report: &Report, now: Timestamp) -> bool {
        let Some((line, id)) = queue.take(now, 1, 1).pop() else {
            return false;
        };
        let _ = queue.note(line, id, report, now);
        queue.finish(line, id, After::Again(now), now);
        true
    }

    fn pause_s(queue: &Queue, now: Timestamp) -> Option<u64> {
        let rest = queue.rest.as_ref()?;
        Some(rest.until.since_ms(now) / SECOND_MS)
    }

    #[test]
    fn those_that_were_under_way_together_when_the_other_side_went_make_one_pause() {
        let entries: Vec<_> = (0..16)
            .map(|n| (ContactId([n; 16]), u64::from(n)))
            .collect();
        let mut queue = queue_of(&entries);
        let taken = queue.take(NOW, 16, 1);
        assert_eq!(taken.len(), 16);
        let mut noted = Vec::new();
        for (line, id) in taken {
            noted.push(queue.note(line, id, &away(), NOW));
            queue.finish(line, id, After::Again(NOW), NOW);
        }
        assert_eq!(pause_s(&queue, NOW), Some(1));
        assert_eq!(noted[0], Noted::Paused);
        assert!(noted[1..].iter().all(|noted| *noted == Noted::Nothing));
        // Each try to see whether it is over doubles the pause.
        let (mut now, mut pauses) = (NOW, Vec::new());
        for _ in 0..7 {
            assert!(!try_one(&mut queue, &away(), now));
            now = queue.rest.as_ref().map_or(now, |rest| rest.until);
            assert!(try_one(&mut queue, &away(), now));
            pauses.extend(pause_s(&queue, now));
        }
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
        let now = now.plus_ms(30 * SECOND_MS);
        assert!(try_one(&mut queue, &Report::Sent(None), now));
        assert_eq!(pause_s(&queue, now), None);
    }

    #[test]
    fn what_is_put_right_ends_every_pause_but_that_of_what_may_have_arrived() {
        let failed = |kind| {
            Report::Failed(Failure {
                kind,
                ..Failure::temporary("the token is not valid")
            })
        };
        let wrong = failed(FailureKind::Configuration);
        let asked_for_a_pause = FailureKind::Temporary {
            retry_after_ms: Some(MINUTE_MS),
        };
        let others = [FailureKind::Unknown, asked_for_a_pause];
        let mut queue = queue_of(&[(ANA, 1), (BEN, 2), (CAI, 3), (BEN, 4)]);
        let later = NOW.plus_ms(MINUTE_MS);
        let reports = others.map(failed).into_iter().zip([1, 3]);
        let reports = reports.chain([(wrong.clone(), 2)]);
        assert_eq!(queue.take(NOW, 9, 1).len(), 3);
        for (report, id) in reports {
            let line = ([ANA, BEN, CAI][id - 1], None);
            let id = EntryId(id as u64);
            let _ = queue.note(line, id, &report, NOW);
            queue.finish(line, id, After::Again(later), NOW);
        }
        let now = NOW.plus_ms(SECOND_MS);
        assert!(queue.take(now, 9, 1).is_empty());
        queue.try_now(now);
        assert_eq!(queue.take(now, 9, 1), [((BEN, None), EntryId(2))]);
        // If it was not put right, that is said at once, and the pause is the usual one.
        let noted = queue.note((BEN, None), EntryId(2), &wrong, now);
        assert_eq!(noted, Noted::Paused);
        queue.finish((BEN, None), EntryId(2), After::Again(later), now);
        assert_eq!(pause_s(&queue, now), Some(PAUSE_MS / SECOND_MS));
        // When one has left, the next ones do; the others at their own time.
        queue.try_now(now);
        assert_eq!(queue.take(now, 9, 1), [((BEN, None), EntryId(2))]);
        let sent = Report::Sent(None);
        let noted = queue.note((BEN, None), EntryId(2), &sent, now);
        assert_eq!(noted, Noted::GoesOn);
        queue.finish((BEN, None), EntryId(2), After::Gone, now);
        assert_eq!(queue.take(now, 9, 1), [((BEN, None), EntryId(4))]);
        queue.finish((BEN, None), EntryId(4), After::Gone, now);
        queue.try_now(now);
        assert!(queue.take(now, 9, 1).is_empty());
        assert_eq!(queue.take(later, 9, 1).len(), 2);
    }

    ///
    #[test]
    fn the_chat_rests_when_nobody_knows_of_anybody_whether_it_arrived() {
        let person = |n: usize| (ContactId([u8::try_from(n).unwrap_or(0); 16]), None);
        let id = |n: usize| EntryId(n as u64);
        let silent = Report::Failed(Failure {
            kind: FailureKind::Unknown,
            ..Failure::temporary("no answer")
        });
        let mut queue = Queue::new(None, true, false);
        for n in 0..=REFUSED_LINES_MAX {
            queue.add(Waiting {
                id: id(n),
                contact: person(n).0,
                look_at: NOW,
            });
        }
        // One of whom that is so again and again is one; and so are those who are refused for what
        // they are.
        for _ in 0..100 {
            assert_eq!(queue.note(person(0), id(0), &silent, NOW), Noted::Nothing);
        }
        for n in 1..=REFUSED_LINES_MAX {
            assert_eq!(
                queue.note(person(n), id(n), &refused(), NOW),
                Noted::Nothing
            );
        }
        assert_eq!(pause_s(&queue, NOW), None);
        for n in 1..REFUSED_LINES_MAX - 1 {
            assert_eq!(queue.note(person(n), id(n), &silent, NOW), Noted::Nothing);
        }
        let last = REFUSED_LINES_MAX - 1;
        assert_eq!(
            queue.note(person(last), id(last), &silent, NOW),
            Noted::Paused
        );
        assert_eq!(pause_s(&queue, NOW), Some(1));
        // A status shows that they are taken all the same.
        assert_eq!(queue.took_after_all(NOW), Noted::GoesOn);
        assert_eq!(pause_s(&queue, NOW), None);
        assert_eq!(queue.note(person(0), id(0), &silent, NOW), Noted::Nothing);
    }

    ///
    #[test]
    fn a_pause_that_is_asked_of_the_lane_is_kept_whole_and_told_when_it_is_long() {
        let throttled = |pause_ms| {
            Report::Failed(Failure {
                kind: FailureKind::Throttled { pause_ms },
                ..Failure::temporary("too much at once")
            })
        };
        for (pause_ms, told) in [
            (SECOND_MS, [Noted::Nothing, Noted::Nothing]),
            (MINUTE_MS, [Noted::Paused, Noted::GoesOn]),
        ] {
            let entries: Vec<_> = (1..=4)
                .map(|n| (ContactId([n; 16]), u64::from(n)))
                .collect();
            let mut queue = queue_of(&entries);
            let taken = queue.take(NOW, 3, 1);
            assert_eq!(taken.len(), 3);
            let reports = [Report::Sent(None), throttled(pause_ms), Report::Sent(None)];
            let mut noted = Vec::new();
            for ((line, id), report) in taken.into_iter().zip(&reports) {
                noted.push(queue.note(line, id, report, NOW));
                let after = match report {
                    Report::Sent(_) => After::Gone,
                    _ => After::Again(NOW),
                };
                queue.finish(line, id, after, NOW);
            }
            assert_eq!(noted, [Noted::Nothing, told[0], Noted::Nothing]);
            // One that came back later does not end it, and then one tries, whose turn it was.
            let until = NOW.plus_ms(pause_ms);
            assert!(queue.take(until.minus_ms(1), 9, 1).is_empty());
            assert_eq!(
                queue.take(until, 9, 1),
                [((ContactId([2; 16]), None), EntryId(2))]
            );
            assert!(queue.take(until, 9, 1).is_empty());
            let line = (ContactId([2; 16]), None);
            assert_eq!(
                queue.note(line, EntryId(2), &Report::Sent(None), until),
                told[1]
            );
            queue.finish(line, EntryId(2), After::Gone, until);
            assert_eq!(queue.take(until, 9, 1).len(), 1);
            assert!(queue.rest.is_none());
        }
    }

    ///
    #[test]
    fn in_no_second_more_leave_than_may() {
        const PER_SECOND: usize = 5;
        let mut queue = Queue::new(Some(PER_SECOND), true, false);
        for n in 0..200_u64 {
            queue.add(Waiting {
                id: EntryId(n),
                contact: ContactId(u128::from(n).to_be_bytes()),
                look_at: NOW,
            });
        }
        // Each is under way for 0 to 700 ms and counts at any moment of that.
        let (mut left_at, mut under_way): (Vec<(u64, u64)>, Vec<_>) = Default::default();
        let mut ms = 0;
        while !queue.due.is_empty() || !under_way.is_empty() {
            let now = NOW.plus_ms(ms);
            under_way.retain(|(key, id, back): &(LineKey, EntryId, u64)| {
                let is_back = *back <= ms;
                if is_back {
                    queue.finish(*key, *id, After::Gone, now);
                }
                !is_back
            });
            for (key, id) in queue.take(now, 16, 4) {
                let back = ms + id.0 * 37 % 700;
                left_at.push((ms, back));
                under_way.push((key, id, back));
            }
            let next = under_way.iter().map(|(_, _, back)| *back).min();
            let look = ms.saturating_add(queue.next_look_ms(now));
            ms = next.map_or(look, |next| next.min(look)).max(ms + 1);
        }
        assert_eq!(left_at.len(), 200);
        // Those that were under way in a second could all count in it.
        for (_, from) in &left_at {
            let within = |(left, back): &&(u64, u64)| *left < from + 1_000 && back >= from;
            let most = left_at.iter().filter(within).count();
            assert!(most <= PER_SECOND, "{most} in the second from {from} ms");
        }
        let last = left_at.iter().map(|(_, back)| *back).max();
        assert!(last < Some(200 * 1_700 / PER_SECOND as u64), "{last:?} ms");
    }

    #[test]
    fn a_lane_rests_when_everybody_is_refused_and_not_for_one() {
        let person = |n: usize| ContactId([u8::try_from(n).unwrap_or(0); 16]);
        let entries: Vec<_> = (0..REFUSED_LINES_MAX + 2)
            .map(|n| (person(n), n as u64))
            .collect();
        let refuse = |queue: &mut Queue, n: usize| {
            queue.note((person(n), None), EntryId(n as u64), &refused(), NOW)
        };
        // One who is refused for ever is one, however often.
        let mut queue = queue_of(&entries);
        for _ in 0..100 {
            assert_eq!(refuse(&mut queue, 0), Noted::Nothing);
        }
        // So are many, as long as somebody is taken between them.
        for n in 0..REFUSED_LINES_MAX - 1 {
            assert_eq!(refuse(&mut queue, n), Noted::Nothing);
        }
        let taken = Report::Sent(None);
        let last = REFUSED_LINES_MAX + 1;
        queue.note((person(last), None), EntryId(last as u64), &taken, NOW);
        assert_eq!(refuse(&mut queue, 7), Noted::Nothing);
        assert_eq!(pause_s(&queue, NOW), None);
        // When nobody is taken, it is not about them.
        for n in 0..REFUSED_LINES_MAX - 1 {
            let _ = refuse(&mut queue, n);
        }
        assert_eq!(pause_s(&queue, NOW), Some(1));
        queue.note((person(last), None), EntryId(last as u64), &taken, NOW);
        assert_eq!(pause_s(&queue, NOW), None);
    }

    #[test]
    fn those_who_wait_long_make_room_and_are_found_again_in_their_order() {
        let waiting = |n: usize, id: u64, look_at| Waiting {
            id: EntryId(id),
            contact: ContactId((n as u128).to_be_bytes()),
            look_at,
        };
        let later = NOW.plus_ms(MINUTE_MS);
        let mut queue = Queue::new(None, false, true);
        for n in 0..LINES_MAX {
            assert!(queue.has_room(NOW));
            queue.add(waiting(n, 1 + n as u64, later.plus_ms(n as u64)));
        }
        // Somebody new, whom nothing keeps, is behind 20,000 who all wait for another try.
        assert!(queue.has_room(NOW));
        assert_eq!(queue.lines.len(), LINES_MAX - LINES_MAX / 4);
        let id = 1 + LINES_MAX as u64;
        queue.add(waiting(LINES_MAX, id, NOW));
        assert_eq!(queue.take(NOW, 1, 1)[0].1, EntryId(id));
        // The next message of one that made room waits behind the first, in the store.
        let parked = LINES_MAX - 1;
        queue.add(waiting(parked, id + 1, NOW));
        assert!(queue.take(NOW, 1, 1).is_empty());
        assert!(!queue.looks_again(NOW));
        let now = later.plus_ms(LINES_MAX as u64);
        assert!(queue.looks_again(now) && queue.loaded_to.is_none());
        // All is met again from the beginning; what is known is not taken twice.
        let entries = queue.entries;
        queue.add(waiting(0, 1, later));
        assert_eq!(queue.entries, entries);
        queue.add(waiting(parked, id - 1, NOW));
        queue.add(waiting(parked, id + 1, NOW));
        let key = (ContactId((parked as u128).to_be_bytes()), None);
        assert_eq!(queue.take(NOW, 1, 1), [(key, EntryId(id - 1))]);
    }

    #[test]
    fn when_nobody_waits_long_nobody_makes_room() {
        let mut queue = Queue::new(None, false, true);
        for n in 0..LINES_MAX {
            queue.add(Waiting {
                id: EntryId(1 + n as u64),
                contact: ContactId((n as u128).to_be_bytes()),
                look_at: NOW,
            });
        }
        assert!(!queue.has_room(NOW));
        assert_eq!(queue.lines.len(), LINES_MAX);
    }

    #[test]
    fn while_one_tries_for_all_nobody_looks_every_moment_whether_it_has_ended() {
        let mut queue = queue_of(&[(ANA, 1), (BEN, 2)]);
        assert!(try_one(&mut queue, &away(), NOW));
        let later = NOW.plus_ms(SECOND_MS);
        assert_eq!(queue.next_look_ms(NOW), SECOND_MS);
        assert_eq!(queue.take(later, 9, 1).len(), 1);
        assert!(queue.take(later, 9, 1).is_empty());
        assert_eq!(queue.next_look_ms(later), LOOK_MS_MAX);
    }

    /// Ana's first message is refused from [`NOW`] on, once a minute; what becomes of it at last.
    fn refuse(queue: &mut Queue, minutes: u64, taken_at: Option<Timestamp>) {
        for minute in 0..=minutes {
            let now = NOW.plus_ms(minute * MINUTE_MS);
            queue.taken_at = taken_at.filter(|at| *at <= now);
            let taken = queue.take(now, 9, 1);
            assert_eq!(taken, [((ANA, None), EntryId(1))], "in minute {minute}");
            let _ = queue.note((ANA, None), EntryId(1), &refused(), now);
            let next = now.plus_ms(MINUTE_MS);
            queue.finish((ANA, None), EntryId(1), After::Refused(next), now);
        }
    }

    #[test]
    fn what_is_refused_steps_aside_when_others_were_taken_and_only_then() {
        let until = NOW.plus_ms(15 * MINUTE_MS);
        let next = |queue: &mut Queue| queue.take(until, 9, 1);
        let minute = |minutes: u64| Some(NOW.plus_ms(minutes * MINUTE_MS));
        let line = || queue_of(&[(ANA, 1), (ANA, 2)]);

        let mut queue = line();
        refuse(&mut queue, 14, minute(5));
        assert_eq!(next(&mut queue), [((ANA, None), EntryId(1))], "not yet");

        let mut queue = line();
        refuse(&mut queue, 15, minute(5));
        assert_eq!(next(&mut queue), [((ANA, None), EntryId(2))]);
        queue.finish((ANA, None), EntryId(2), After::Gone, until);
        // It is tried on by itself, and can be dropped there.
        let own = (ANA, Some(EntryId(1)));
        assert!(next(&mut queue).is_empty());
        queue.free(ANA, EntryId(1), until);
        assert_eq!(next(&mut queue), [(own, EntryId(1))]);
        queue.finish(own, EntryId(1), After::Gone, until);
        assert_eq!((queue.entries, queue.lines.len()), (0, 0));

        // Nobody was taken, or only who was under way when the refusals began.
        for taken_at in [None, minute(0), minute(3)] {
            let mut queue = line();
            refuse(&mut queue, 60, taken_at);
        }
        // There is nothing behind it.
        let mut queue = queue_of(&[(ANA, 1)]);
        refuse(&mut queue, 60, minute(5));
    }
}

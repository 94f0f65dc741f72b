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
//!
//! Who sends, and a sender's turn from its beginning to its end, is told here; what it does on the
//! way has rooms of its own: what waits and when it may leave in `queue.rs`, how fast and how wide in
//! `pace.rs`, what a try says about the other side in `other_side.rs`, what becomes of a try in
//! `conclude.rs`, and what is told of it in `deliveries.rs`.

mod conclude;
mod deliveries;
mod other_side;
mod pace;
mod queue;

pub use deliveries::Deliveries;
pub use other_side::{Failing, Rest};
pub use pace::Pace;

use crate::app::{App, Begun, Bells, Report, Work, go_on_after_faults, have_ended};
use crate::domain::delivery::{EntryId, Lane};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::time::{SECOND_MS, Timestamp};
use conclude::{Carried, Tried};
use other_side::is_about_the_lane;
use queue::{After, Queue, load};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that one thread takes at once, when there are more than threads: they share the two
/// commits around a send.
const TAKE_ENTRIES_MAX: usize = 16;

/// A thread that sends several entries one after the other stores what became of them at least
/// this often: what is sent and not yet known as sent is what a crash could repeat.
const SETTLE_AFTER: Duration = Duration::from_millis(100);

/// Longest wait without looking at the store: a lost ring costs at most this.
const LOOK_MS_MAX: u64 = SECOND_MS;

/// Wait after the store refused, before asking it again.
const STORE_RETRY: Duration = Duration::from_millis(500);

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

/// The state of a lane, for health and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHealth {
    /// Which.
    pub lane: Lane,
    /// Entries in memory.
    pub waiting: usize,
    /// When the lane rests because something must be put right: what, and what to do.
    pub resting: Option<Rest>,
    /// When something waits and nothing has been taken for minutes, whether it rests or not: why.
    pub failing: Option<Failing>,
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

impl Outbox {
    /// The lanes of this store, at rest.
    pub fn new(app: Arc<App>, carry: Arc<dyn Carry>, pace: Pace) -> Outbox {
        let queues = Lane::ALL.map(|lane| {
            let per_second = if lane == Lane::Chat {
                Some(pace.messages_per_second.max(1) as usize)
            } else {
                None
            };
            let mut queue = Queue::new(lane, per_second);
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
        let now = self.hands().app.now();
        Lane::ALL
            .iter()
            .map(|lane| {
                let queue = self.queue(*lane);
                LaneHealth {
                    lane: *lane,
                    waiting: queue.entries,
                    resting: queue.other_side.rest_of_concern().cloned(),
                    failing: (queue.other_side.failing(now).cloned()).filter(|_| queue.entries > 0),
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
                    go_on_after_faults(|| Arc::clone(&outbox.hands().app), || outbox.run(lane));
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

    /// A fault ends one turn and not its thread: what was carried is remembered as carried, and the
    /// rest of what the turn held, which cannot have left, as not tried.
    fn guarded_turn(&self, lane: Lane, take_max: usize) -> Turn {
        let hands = self.hands();
        let mut held = Held {
            begun_at: hands.app.now(),
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
            self.put_back(app, lane, rest, held.begun_at);
            Turn::Faulted
        })
    }

    /// One turn of a sender: it takes what is due, begins it, carries one after the other, and stores
    /// what became of each.
    fn turn(&self, hands: &Arc<Hands>, lane: Lane, take_max: usize, held: &mut Held) -> Turn {
        let Held { begun_at, done } = held;
        let app = &hands.app;
        let threads = self.threads[lane as usize].max(1);
        let (ids, more) = {
            let mut queue = self.queue(lane);
            if load(app, lane, &mut queue).is_err() {
                return Turn::StoreRefused;
            }
            let now = app.now();
            self.hear_of_freed(app, lane, &mut queue, now);
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
        *begun_at = app.now();
        let begun_at = *begun_at;
        let Ok(work) = app.begin(lane, entries, begun_at) else {
            self.keep(app, lane, std::mem::take(done));
            self.put_back(app, lane, fresh, begun_at);
            return Turn::StoreRefused;
        };
        let mut unsettled_since = Instant::now();
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
            let is_for_nobody = matches!(work, Work::Nothing(_));
            let is_too_old = !is_for_nobody && app.now() >= expires_at;
            let report = if is_over {
                Report::Untried { begun_at }
            } else if is_too_old {
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
            if !is_over && !is_too_old && !is_for_nobody {
                self.counted[lane as usize].durations.add(took);
            }
            // The others would fail in the same way.
            found_wrong = found_wrong || is_wrong;
            is_over = is_over || found_wrong;
            if unsettled_since.elapsed() >= SETTLE_AFTER {
                self.conclude(app, lane, done);
                unsettled_since = Instant::now();
            }
        }
        self.conclude(app, lane, done);
        if found_wrong && !Arc::ptr_eq(hands, &self.hands()) {
            // It was put right while this was under way.
            self.try_now(lane);
        }
        Turn::Carried(taken)
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

/// What a turn has in its hands, should it end in a panic.
struct Held {
    /// As of when it begins what it takes.
    begun_at: Timestamp,
    /// Carried, and not settled yet.
    done: Vec<Carried>,
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
        // A thread that waits for the outside world may outlive the deadline; the process ends.
        have_ended(self.threads, deadline)
    }
}

#[cfg(test)]
mod tests;

//! The default engine: one redb file, and a durable commit that waiting updates share.
//!
//! *Sharing a commit.* A caller that finds nobody committing becomes the leader: it runs its own
//! body and those of the callers that queue meanwhile in one transaction, commits once, hands the
//! lead to the next waiting caller and only then wakes the callers it served. A caller that is alone
//! commits on its own thread. Woken callers wake two more each, so that the leader is not the one
//! who wakes them all.
//!
//! *When the disk fails.* A failed commit is unknown, not undone, and redb refuses to write after
//! any failure until the file is opened anew. So the leader closes and reopens the file once, with
//! its full check; if that fails, or something fails again before a commit succeeded, the engine is
//! broken and says so to everybody. A disk that is full or has become read-only is no such failure:
//! reads go on, and an update tries again from time to time whether it can be written. A panic inside
//! redb is what a damaged file looks like from here, and counts as one.
//!
//! Where the file lies and how it is opened and checked is in `disk.rs`, how its tables are read and
//! written in `tables.rs`, what redb may lock and see of it in `backend.rs`, what a failure means in
//! `fault.rs`, and how all of it is written into another file in `copy.rs`.

mod backend;
mod copy;
mod disk;
mod fault;
mod tables;

pub use backend::Purpose;
pub use copy::{write_copy, write_copy_unless};
pub use disk::Disk;

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{CommitError, Database, ReadableDatabase, WriteTransaction};

use super::engine::{Engine, Overlay, Reader, UpdateBody, in_body, run_body};
use super::{CopyError, OpenError, StoreError, file};
use copy::write_records;
use disk::{FileDisk, open_checked};
use fault::{Fault, Refusal};
use tables::{Tables, guarded};
use tracing::Span;

/// Updates that share one commit at most. More would not make the commit cheaper, and the first of
/// them waits for the bodies of all.
const GROUP_JOBS_MAX: usize = 256;

/// Bytes written by one commit beyond which it takes no further updates: a group of large records
/// must neither hold up the small ones behind it nor fill the memory.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory for pages. More brings little: what is not in it is mostly in that of the operating system.
/// The whole default of redb (1 GiB) brought nothing at 500,000 contacts. So many are the default of
/// `store.cache_bytes`, too.
pub const CACHE_BYTES: usize = 10 * 1024 * 1024;

/// How long after finding that the disk takes no writes it is tried again. Each try writes
/// [`disk::ROOM_BYTES`].
const REFUSED_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Failures without a successful commit between them after which the engine stops.
const FAILURES_MAX: u32 = 2;

/// How long views of a file that has been replaced may go on; later ones are told that it is closed.
const VIEWS_END_WITHIN: Duration = Duration::from_secs(10);

/// Behind the name of the store: its records in the making, when they are stored anew.
const REWRITE_SUFFIX: &str = ".rewrite";

/// How the file is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory for pages of the file.
    pub cache_bytes: usize,
    /// Whether each commit also stores which pages are in use. It makes commits slower (29 % for
    /// one caller), and opening after a crash faster only for who does without the check of the
    /// whole file that every opening makes here.
    pub quick_repair: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: CACHE_BYTES,
            quick_repair: false,
        }
    }
}

/// A store in one file.
pub struct Redb {
    disk: Box<dyn Disk>,
    options: Options,
    refused_retry_after: Duration,
    /// Changed only by the leader.
    state: RwLock<State>,
    /// Failures since the last successful commit. Changed only by the leader.
    failures: Mutex<u32>,
    /// What a view met, and at which opening, for the leader to see.
    suspicion: Mutex<Option<(u64, Fault)>>,
    queue: Mutex<Queue>,
}

enum State {
    Open {
        database: Database,
        /// Counts the openings, so that a failure is not blamed on a later one.
        opening: u64,
        viewers: Arc<Viewers>,
    },
    /// The disk takes no writes. The database, if it could be opened, is one over a [`backend::Backend`] with
    /// a scratch: it reads what is on the disk, and what it writes nobody keeps.
    Refused {
        refusal: Refusal,
        database: Option<Database>,
        opening: u64,
        tried_at: Instant,
    },
    Broken(String),
}

/// Callers waiting for their turn. Each waits on its own thread, so there are never more of them
/// than threads, which the listener bounds.
#[derive(Default)]
struct Queue {
    leading: bool,
    waiting: std::collections::VecDeque<Arc<Job>>,
}

impl Redb {
    /// Opens the store at `path`, checking all of it, or makes a new one when there is no such
    /// file. The file belongs to this handle until it is dropped.
    pub fn open(path: &Path, options: Options) -> Result<Redb, OpenError> {
        let disk = FileDisk::at(path);
        if let Err(error) = fs::metadata(path)
            && error.kind() == io::ErrorKind::NotFound
        {
            disk.create(&options)?;
        }
        let store = Redb::on(Box::new(disk), options)?;
        // The file is ours now, and so is what a process left beside it that ended half-way.
        match fs::remove_file(file::with_suffix(path, REWRITE_SUFFIX)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "a draft of the store could not be removed");
            }
            _ => {}
        }
        Ok(store)
    }

    /// Opens the store that lies there, checking all of it, or makes one where there are no bytes. It
    /// belongs to this handle until it is dropped.
    pub fn on(disk: Box<dyn Disk>, options: Options) -> Result<Redb, OpenError> {
        let database = open_checked(disk.as_ref(), &options, Purpose::Writing)?;
        Ok(Redb {
            disk,
            options,
            refused_retry_after: REFUSED_RETRY_AFTER,
            state: RwLock::new(State::Open {
                database,
                opening: 1,
                viewers: Arc::default(),
            }),
            failures: Mutex::new(0),
            suspicion: Mutex::new(None),
            queue: Mutex::new(Queue::default()),
        })
    }

    /// Runs `first` and whoever waits behind it in one transaction, and fills in their results.
    fn lead(&self, first: Arc<Job>) -> Vec<Served> {
        let mut group = vec![Served::new(first)];
        let committed = catch_unwind(AssertUnwindSafe(|| self.commit_group(&mut group)));
        let error = match committed {
            Ok(Ok(())) => {
                *lock(&self.failures) = 0;
                return group;
            }
            Ok(Err(Failure::Refused(error))) => error,
            Ok(Err(Failure::Before(fault))) => {
                let error = fault.before_commit();
                self.recover(fault);
                error
            }
            failed => {
                // A panic came from redb, perhaps within the commit.
                let fault = match failed {
                    Ok(Err(Failure::Committing(fault))) => fault,
                    _ => Fault::panicked(),
                };
                let error = fault.at_commit();
                self.recover(fault);
                error
            }
        };
        // A body may have failed because of what it read from an earlier one of its group, so its
        // own error says no more than the commit's.
        for served in &mut group {
            if served.result != Err(StoreError::BodyPanicked) {
                served.result = Err(error.clone());
            }
        }
        group
    }

    fn commit_group(&self, group: &mut Vec<Served>) -> Result<(), Failure> {
        self.make_ready().map_err(Failure::Refused)?;
        let mut transaction = match &*self.read_state() {
            State::Open { database, .. } => database
                .try_begin_write()
                .map_err(|error| Failure::Before(error.into()))?,
            State::Refused { refusal, .. } => {
                return Err(Failure::Refused(refusal.into_error()));
            }
            State::Broken(reason) => {
                return Err(Failure::Refused(StoreError::Broken(reason.clone())));
            }
        };
        // Durability is redb's default, immediate: a commit that returned has been synced. With one
        // phase, a crash while recovering from a crash could set an earlier redb back.
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(self.options.quick_repair);

        let wrote = self.run_bodies(&transaction, group)?;
        if wrote {
            transaction.commit().map_err(|error| match error {
                CommitError::TransactionPoisoned => {
                    Failure::Before(Fault::Damaged("the transaction was poisoned".into()))
                }
                error => Failure::Committing(error.into()),
            })
        } else {
            transaction
                .abort()
                .map_err(|error| Failure::Before(error.into()))
        }
    }

    /// Runs the body of the first and of those that wait, and stores what they wrote. Says whether
    /// anything was written.
    fn run_bodies(
        &self,
        transaction: &WriteTransaction,
        group: &mut Vec<Served>,
    ) -> Result<bool, Failure> {
        let mut tables = Tables::of(transaction);
        let (mut wrote, mut bytes) = (false, 0);
        for turn in 0.. {
            if turn == group.len() {
                if turn >= GROUP_JOBS_MAX || bytes >= GROUP_BYTES_MAX {
                    break;
                }
                match self.next_waiting() {
                    Some(job) => group.push(Served::new(job)),
                    None => break,
                }
            }
            let served = &mut group[turn];
            let mut overlay = Overlay::new(&tables, None);
            served.result =
                (served.job.span_for(turn)).in_scope(|| run_body(&served.job.body, &mut overlay));
            let changes = overlay.into_changes();
            if let Some(fault) = tables.take_fault() {
                return Err(Failure::Before(fault));
            }
            if served.result.is_ok() {
                wrote |= !changes.is_empty();
                bytes += changes.bytes();
                tables.apply(changes).map_err(Failure::Before)?;
            }
        }
        Ok(wrote)
    }

    /// The next job that waits. When there is none, those who are about to wait get the processor
    /// once: a commit costs the same for one as for many.
    fn next_waiting(&self) -> Option<Arc<Job>> {
        let next = || {
            let mut queue = lock(&self.queue);
            let alone = queue.waiting.front().is_some_and(|job| job.alone);
            if alone {
                None
            } else {
                queue.waiting.pop_front()
            }
        };
        next().or_else(|| {
            std::thread::yield_now();
            next()
        })
    }

    /// Reopens the file if that is due; the state then says whether it can be written.
    fn make_ready(&self) -> Result<(), StoreError> {
        let (opening_now, refused) = match &*self.read_state() {
            State::Open { opening, .. } => (*opening, None),
            State::Refused {
                refusal, tried_at, ..
            } => (0, Some((*refusal, *tried_at))),
            State::Broken(reason) => return Err(StoreError::Broken(reason.clone())),
        };
        if let Some((refusal, tried_at)) = refused {
            if tried_at.elapsed() < self.refused_retry_after {
                return Err(refusal.into_error());
            }
            if !self.disk.has_room() {
                if let State::Refused { tried_at, .. } = &mut *self.write_state() {
                    *tried_at = Instant::now();
                }
                return Err(refusal.into_error());
            }
            self.reopen(None);
            return Ok(());
        }
        // What was met before the last opening has been answered by it.
        match lock(&self.suspicion).take() {
            Some((opening, fault)) if opening == opening_now => self.recover(fault),
            _ => {}
        }
        Ok(())
    }

    /// What follows a failure: nothing but waiting when the disk takes no writes; else the one
    /// reopening.
    fn recover(&self, fault: Fault) {
        if let Fault::Refused(refusal) = fault {
            match refusal {
                Refusal::Full => {
                    tracing::error!("the disk that holds the store is full; updates wait for room");
                }
                Refusal::ReadOnly => tracing::error!(
                    "the disk that holds the store has become read-only; updates wait until it can be written"
                ),
            }
            self.reopen(Some(refusal));
            return;
        }
        let failures = {
            let mut failures = lock(&self.failures);
            *failures += 1;
            *failures
        };
        if failures >= FAILURES_MAX {
            let reason = format!("it failed again right after it was reopened: {fault}");
            tracing::error!(reason, "the store has stopped");
            let old = std::mem::replace(&mut *self.write_state(), State::Broken(reason));
            close(old);
        } else {
            tracing::error!(%fault, "the store failed and is being reopened");
            self.reopen(None);
        }
    }

    /// Closes the file and opens it with all its checks; only for reading when the disk takes no
    /// writes, for opening makes some. Views wait meanwhile.
    fn reopen(&self, refusal: Option<Refusal>) {
        let mut state = self.write_state();
        let broken = State::Broken("reopening was interrupted".into());
        let old = std::mem::replace(&mut *state, broken);
        let opening = match &old {
            State::Open { opening, .. } | State::Refused { opening, .. } => opening + 1,
            State::Broken(_) => {
                *state = old;
                return;
            }
        };
        close(old);
        let open = |purpose| open_checked(self.disk.as_ref(), &self.options, purpose);
        let opened = match refusal {
            None => open(Purpose::Writing)
                .map_err(|error| (Refusal::told_by(&error), error.with_advice())),
            Some(refusal) => Err((Some(refusal), String::new())),
        };
        *state = match opened {
            Ok(database) => {
                tracing::info!("the store is open again");
                State::Open {
                    database,
                    opening,
                    viewers: Arc::default(),
                }
            }
            Err((Some(refusal), _)) => State::Refused {
                refusal,
                database: open(Purpose::Reading).ok(),
                opening,
                tried_at: Instant::now(),
            },
            Err((None, reason)) => {
                tracing::error!(reason, "the store has stopped");
                State::Broken(reason)
            }
        };
    }

    // The state is replaced whole, so a panic cannot leave it half changed.
    fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all records into a fresh file, which takes the name and the place of the old one. Only
    /// for the leader, so nothing is stored meanwhile. Returns the old one, which views may still
    /// look at.
    fn replace_file(&self) -> Result<Retired, StoreError> {
        self.make_ready()?;
        let unavailable = |what: &str| StoreError::Unavailable(what.to_owned());
        let Some(path) = self.disk.replaceable() else {
            return Err(unavailable("it is no file that can be written anew"));
        };
        let (transaction, opening) = match &*self.read_state() {
            State::Open {
                database, opening, ..
            } => (
                guarded(|| database.begin_read().map_err(Fault::from)),
                *opening,
            ),
            State::Refused { refusal, .. } => return Err(refusal.into_error()),
            State::Broken(reason) => return Err(StoreError::Broken(reason.clone())),
        };
        let tables = Tables::of(transaction.map_err(|fault| self.recovered(fault))?);
        // A link stays one: what it leads to is replaced.
        let of_draft = |error: CopyError| {
            let refusal = match &error {
                CopyError::Open(error) => Refusal::told_by(error),
                _ => None,
            };
            match (refusal, error) {
                (Some(refusal), _) => refusal.into_error(),
                (None, CopyError::Store(error)) => error,
                (None, error) => StoreError::Unavailable(error.to_string()),
            }
        };
        let of_file = |error: io::Error| match Refusal::meant_by(&error) {
            Some(refusal) => refusal.into_error(),
            None => StoreError::Unavailable(error.to_string()),
        };
        let path = fs::canonicalize(path).map_err(of_file)?;
        let (draft, draft_file) =
            file::Draft::at(file::with_suffix(&path, REWRITE_SUFFIX)).map_err(of_file)?;
        // A stop waits for it, for as long as it waits for anything.
        let to_its_end = AtomicBool::new(false);
        let written = write_records(
            &tables,
            draft.path(),
            draft_file,
            &self.options,
            &to_its_end,
        );
        if let Some(fault) = tables.take_fault() {
            return Err(self.recovered(fault));
        }
        written.map_err(of_draft)?;
        let disk = FileDisk::at(draft.path());
        // Open before it has the name, so that nothing that can fail is left for afterwards.
        let database = open_checked(&disk, &self.options, Purpose::Writing)
            .map_err(|error| of_draft(error.into()))?;
        fs::rename(draft.path(), &path).map_err(of_file)?;
        let synced = file::sync_directory(&path);
        let viewers = Arc::default();
        let fresh = State::Open {
            database,
            opening: opening + 1,
            viewers,
        };
        let state = std::mem::replace(&mut *self.write_state(), fresh);
        let viewers = match &state {
            State::Open { viewers, .. } => Arc::clone(viewers),
            State::Refused { .. } | State::Broken(_) => Arc::default(),
        };
        if let Err(error) = synced {
            // The name may lead to the old file again after a loss of power: nothing may be stored
            // in the new one until that is out of the question.
            close(state);
            self.recover(Fault::Io(error.to_string()));
            return Err(StoreError::Unknown);
        }
        Ok(Retired { state, viewers })
    }

    /// [`Self::recover`], and what the caller may know.
    fn recovered(&self, fault: Fault) -> StoreError {
        let error = fault.before_commit();
        self.recover(fault);
        error
    }

    /// Whether the job leads at once; else it waits for its turn.
    fn line_up(&self, job: &Arc<Job>) -> bool {
        let mut queue = lock(&self.queue);
        if queue.leading {
            queue.waiting.push_back(Arc::clone(job));
        }
        !std::mem::replace(&mut queue.leading, true)
    }

    /// Passes the lead to the caller that has waited longest.
    fn hand_over(&self) {
        let mut queue = lock(&self.queue);
        match queue.waiting.pop_front() {
            Some(next) => {
                drop(queue);
                next.tell(Turn::Lead);
            }
            None => queue.leading = false,
        }
    }
}

impl Engine for Redb {
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (transaction, opening, _viewing) = match &*self.read_state() {
            State::Open {
                database,
                opening,
                viewers,
            } => (
                guarded(|| database.begin_read().map_err(Fault::from)),
                *opening,
                Some(Viewing::begin(viewers)),
            ),
            State::Refused {
                database: Some(database),
                opening,
                ..
            } => (
                guarded(|| database.begin_read().map_err(Fault::from)),
                *opening,
                None,
            ),
            State::Refused {
                refusal,
                database: None,
                ..
            } => return Err(refusal.into_error()),
            State::Broken(reason) => return Err(StoreError::Broken(reason.clone())),
        };
        let (result, fault) = match transaction {
            Err(fault) => (Ok(()), Some(fault)),
            Ok(transaction) => {
                let tables = Tables::of(transaction);
                (body(&tables), tables.take_fault())
            }
        };
        let Some(fault) = fault else {
            return result;
        };
        let error = fault.before_commit();
        if fault != Fault::Closed {
            *lock(&self.suspicion) = Some((opening, fault));
            if !in_body() {
                // Brings a leader along, who reopens the file; there is nothing to do or to learn.
                let _ = self.update_with(Box::new(|_| Ok(())));
            }
        }
        Err(error)
    }

    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError> {
        if in_body() {
            return Err(StoreError::Nested);
        }
        let job = Arc::new(Job {
            body,
            span: Span::current(),
            alone: false,
            turn: Mutex::new(Turn::Wait),
            bell: Condvar::new(),
        });
        if !self.line_up(&job)
            && let Some(Verdict {
                result,
                group,
                position,
            }) = job.wait()
        {
            wake(&group, 2 * position + 2);
            return result;
        }
        let mut group = self.lead(job).into_iter();
        // The others' next updates can begin to share a commit while these are being woken.
        self.hand_over();
        // A group holds its leader first.
        let own = group.next().expect("a group has a leader");
        let (jobs, results): (Vec<_>, Vec<_>) =
            group.map(|served| (served.job, served.result)).unzip();
        let jobs: Arc<[Arc<Job>]> = jobs.into();
        for (position, result) in results.into_iter().enumerate() {
            *lock(&jobs[position].turn) = Turn::Done(Verdict {
                result,
                group: Arc::clone(&jobs),
                position,
            });
        }
        wake(&jobs, 0);
        own.result
    }

    fn rewrite(&self) -> Result<(), StoreError> {
        if in_body() {
            return Err(StoreError::Nested);
        }
        let job = Arc::new(Job {
            body: Box::new(|_| Ok(())),
            span: Span::none(),
            alone: true,
            turn: Mutex::new(Turn::Wait),
            bell: Condvar::new(),
        });
        if !self.line_up(&job) {
            // Who wants to be alone is given the lead and nothing else.
            job.wait();
        }
        let replaced = catch_unwind(AssertUnwindSafe(|| self.replace_file()));
        self.hand_over();
        let retired = replaced.unwrap_or(Err(StoreError::Unknown))?;
        retired.close();
        Ok(())
    }
}

/// The views of one opening that have not ended.
#[derive(Default)]
struct Viewers {
    count: Mutex<usize>,
    /// Whether somebody waits for their end.
    is_awaited: AtomicBool,
    one_ended: Condvar,
}

/// One of them.
struct Viewing(Arc<Viewers>);

impl Viewing {
    fn begin(viewers: &Arc<Viewers>) -> Viewing {
        *lock(&viewers.count) += 1;
        Viewing(Arc::clone(viewers))
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        *lock(&self.0.count) -= 1;
        if self.0.is_awaited.load(Ordering::SeqCst) {
            self.0.one_ended.notify_all();
        }
    }
}

/// A file that another has taken the place of. It has no name any more, and is gone from the disk
/// once it is closed.
struct Retired {
    state: State,
    viewers: Arc<Viewers>,
}

impl Retired {
    /// Closes it when its last view has ended, or after [`VIEWS_END_WITHIN`].
    fn close(self) {
        self.viewers.is_awaited.store(true, Ordering::SeqCst);
        let count = lock(&self.viewers.count);
        let waited =
            (self.viewers.one_ended)
                .wait_timeout_while(count, VIEWS_END_WITHIN, |count| *count > 0);
        drop(waited);
        close(self.state);
    }
}

/// One waiting update.
struct Job {
    body: UpdateBody,
    /// What its caller is about: lines that the body logs name that, whoever leads.
    span: Span,
    /// It wants the lead and no company: it is never served by another leader.
    alone: bool,
    turn: Mutex<Turn>,
    bell: Condvar,
}

enum Turn {
    Wait,
    Lead,
    Done(Verdict),
}

/// What a served caller learns, and whom it wakes.
struct Verdict {
    result: Result<(), StoreError>,
    group: Arc<[Arc<Job>]>,
    position: usize,
}

impl Job {
    /// In which its body runs: never that of the leader, which comes first, unless it is its own.
    fn span_for(&self, turn: usize) -> Span {
        match turn > 0 && self.span.is_none() && !Span::current().is_none() {
            true => tracing::info_span!(parent: None, "background"),
            false => self.span.clone(),
        }
    }

    /// Waits for the verdict, or for the lead (`None`).
    fn wait(&self) -> Option<Verdict> {
        let mut turn = lock(&self.turn);
        loop {
            match std::mem::replace(&mut *turn, Turn::Wait) {
                Turn::Wait => {
                    turn = self.bell.wait(turn).unwrap_or_else(PoisonError::into_inner);
                }
                Turn::Lead => return None,
                Turn::Done(verdict) => return Some(verdict),
            }
        }
    }

    fn tell(&self, turn: Turn) {
        *lock(&self.turn) = turn;
        self.bell.notify_one();
    }
}

/// Wakes two of the group: the roots of the tree at 0, the children of `position` at 2 * position + 2.
fn wake(group: &[Arc<Job>], first: usize) {
    for job in group.iter().skip(first).take(2) {
        job.bell.notify_one();
    }
}

/// An update that has its result, or will when the group is committed.
struct Served {
    job: Arc<Job>,
    result: Result<(), StoreError>,
}

impl Served {
    fn new(job: Arc<Job>) -> Served {
        Served {
            job,
            result: Err(StoreError::Unknown),
        }
    }
}

/// Why a group was not committed.
enum Failure {
    /// Nothing was tried.
    Refused(StoreError),
    /// The disk failed before the commit: nothing is stored.
    Before(Fault),
    /// The disk failed in the commit: what is stored is unknown.
    Committing(Fault),
}

/// Closes what is open. What closing would still say is of no use: the file is not trusted.
fn close(state: State) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(state)));
}

/// The locks guard values that are replaced whole, so a panic cannot leave them half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

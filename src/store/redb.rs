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
//! broken and says so to everybody. A full disk is no such failure: reads go on, and an update tries
//! again from time to time whether there is room. A panic inside redb is what a damaged file looks
//! like from here, and counts as one.

use std::cell::{OnceCell, RefCell};
use std::collections::hash_map::{Entry, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    BackendError, Builder, CommitError, Database, DatabaseError, ReadOnlyTable, ReadTransaction,
    ReadableDatabase, ReadableTable, StorageBackend, StorageError, TableDefinition, TableError,
    TableHandle, TransactionError, WriteTransaction,
};

use super::engine::{
    Changes, Engine, KeyRange, Order, Overlay, Reader, Table, UpdateBody, Visitor, in_body,
    run_body,
};
use super::{OpenError, StoreError, file};

/// Updates that share one commit at most. More would not make the commit cheaper, and the first of
/// them waits for the bodies of all.
const GROUP_JOBS_MAX: usize = 256;

/// Bytes written by one commit beyond which it takes no further updates: a group of large records
/// must neither hold up the small ones behind it nor fill the memory.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Memory for pages. The whole default of redb (1 GiB) brought nothing at 500,000 contacts.
pub const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// How long after finding the disk full it is tried again. Each try writes [`ROOM_BYTES`].
const FULL_RETRY_AFTER: Duration = Duration::from_millis(500);

/// Room that must be there before the file is reopened after a full disk: reopening writes a few
/// pages, and the updates that waited want some, too.
const ROOM_BYTES: usize = 1024 * 1024;

/// Failures without a successful commit between them after which the engine stops.
const FAILURES_MAX: u32 = 2;

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
    full_retry_after: Duration,
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
    },
    /// The disk is full. The database, if it could be opened, is one over a [`Scratch`]: it reads
    /// what is on the disk, and what it writes nobody keeps.
    Full {
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
        let disk = FileDisk {
            path: path.to_path_buf(),
        };
        if let Err(error) = fs::metadata(path)
            && error.kind() == io::ErrorKind::NotFound
        {
            disk.create(&options)?;
        }
        Redb::on(Box::new(disk), options)
    }

    fn on(disk: Box<dyn Disk>, options: Options) -> Result<Redb, OpenError> {
        let database = open_checked(disk.as_ref(), &options, Purpose::Writing)?;
        Ok(Redb {
            disk,
            options,
            full_retry_after: FULL_RETRY_AFTER,
            state: RwLock::new(State::Open {
                database,
                opening: 1,
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
            State::Full { .. } => return Err(Failure::Refused(StoreError::Full)),
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
        let mut tables = WriteTables {
            transaction,
            tables: Default::default(),
            fault: RefCell::new(None),
        };
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
            served.result = run_body(&served.job.body, &mut overlay);
            let changes = overlay.into_changes();
            if let Some(fault) = tables.fault.take() {
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
        let next = || lock(&self.queue).waiting.pop_front();
        next().or_else(|| {
            std::thread::yield_now();
            next()
        })
    }

    /// Reopens the file if that is due; the state then says whether it can be written.
    fn make_ready(&self) -> Result<(), StoreError> {
        let (opening_now, full_since) = match &*self.read_state() {
            State::Open { opening, .. } => (*opening, None),
            State::Full { tried_at, .. } => (0, Some(*tried_at)),
            State::Broken(reason) => return Err(StoreError::Broken(reason.clone())),
        };
        if let Some(tried_at) = full_since {
            if tried_at.elapsed() < self.full_retry_after {
                return Err(StoreError::Full);
            }
            if !self.disk.has_room() {
                if let State::Full { tried_at, .. } = &mut *self.write_state() {
                    *tried_at = Instant::now();
                }
                return Err(StoreError::Full);
            }
            self.reopen(Purpose::Writing);
            return Ok(());
        }
        // What was met before the last opening has been answered by it.
        match lock(&self.suspicion).take() {
            Some((opening, fault)) if opening == opening_now => self.recover(fault),
            _ => {}
        }
        Ok(())
    }

    /// What follows a failure: nothing but waiting when the disk is full; else the one reopening.
    fn recover(&self, fault: Fault) {
        if let Fault::Full = fault {
            tracing::error!("the disk that holds the store is full; updates wait for room");
            self.reopen(Purpose::Reading);
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
            self.reopen(Purpose::Writing);
        }
    }

    /// Closes the file and opens it with all its checks; only for reading when the disk has no room
    /// for what opening writes. Views wait meanwhile.
    fn reopen(&self, purpose: Purpose) {
        let mut state = self.write_state();
        let broken = State::Broken("reopening was interrupted".into());
        let old = std::mem::replace(&mut *state, broken);
        let opening = match &old {
            State::Open { opening, .. } | State::Full { opening, .. } => opening + 1,
            State::Broken(_) => {
                *state = old;
                return;
            }
        };
        close(old);
        let opened = match purpose {
            Purpose::Writing => open_checked(self.disk.as_ref(), &self.options, purpose),
            Purpose::Reading => Err(OpenError::Full(self.disk.path().into())),
        };
        *state = match opened {
            Ok(database) => {
                tracing::info!("the store is open again");
                State::Open { database, opening }
            }
            Err(OpenError::Full(_)) => State::Full {
                database: open_checked(self.disk.as_ref(), &self.options, Purpose::Reading).ok(),
                opening,
                tried_at: Instant::now(),
            },
            Err(error) => {
                let reason = error.to_string();
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
        let (transaction, opening) = match &*self.read_state() {
            State::Open { database, opening }
            | State::Full {
                database: Some(database),
                opening,
                ..
            } => (
                guarded(|| database.begin_read().map_err(Fault::from)),
                *opening,
            ),
            State::Full { database: None, .. } => return Err(StoreError::Full),
            State::Broken(reason) => return Err(StoreError::Broken(reason.clone())),
        };
        let (result, fault) = match transaction {
            Err(fault) => (Ok(()), Some(fault)),
            Ok(transaction) => {
                let tables = ReadTables {
                    transaction,
                    tables: Default::default(),
                    fault: RefCell::new(None),
                };
                (body(&tables), tables.fault.take())
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
            turn: Mutex::new(Turn::Wait),
            bell: Condvar::new(),
        });
        let leads = {
            let mut queue = lock(&self.queue);
            if queue.leading {
                queue.waiting.push_back(Arc::clone(&job));
            }
            !std::mem::replace(&mut queue.leading, true)
        };
        if !leads
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
}

/// One waiting update.
struct Job {
    body: UpdateBody,
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

/// What went wrong beneath.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Full,
    /// The file was closed, to be reopened, while a view was reading.
    Closed,
    Io(String),
    Damaged(String),
}

impl Fault {
    fn panicked() -> Fault {
        Fault::Damaged("reading the file caused a panic".into())
    }

    fn before_commit(&self) -> StoreError {
        match self {
            Fault::Full => StoreError::Full,
            fault => StoreError::Unavailable(fault.to_string()),
        }
    }

    fn at_commit(&self) -> StoreError {
        match self {
            Fault::Full => StoreError::Full,
            _ => StoreError::Unknown,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Full => formatter.write_str("the disk is full"),
            Fault::Closed => formatter.write_str("the file is being reopened"),
            Fault::Io(what) => write!(formatter, "the disk failed ({what})"),
            Fault::Damaged(what) => write!(formatter, "the file is damaged ({what})"),
        }
    }
}

fn means_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Fault {
        match error {
            StorageError::Io(error) if means_full(&error) => Fault::Full,
            StorageError::DatabaseClosed => Fault::Closed,
            StorageError::Corrupted(what) => Fault::Damaged(what),
            StorageError::LockPoisoned(_) => Fault::panicked(),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<TransactionError> for Fault {
    fn from(error: TransactionError) -> Fault {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Fault {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Fault::Io(error.to_string()),
        }
    }
}

impl From<TableError> for Fault {
    fn from(error: TableError) -> Fault {
        match error {
            TableError::Storage(error) => error.into(),
            error => Fault::Damaged(error.to_string()),
        }
    }
}

/// Runs one operation of redb; a panic in it is a fault of the file and not of the caller.
fn guarded<T>(operation: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // What redb left half done is not used again: every fault ends in closing the file.
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|_| Err(Fault::panicked()))
}

type Bytes = &'static [u8];

fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// The tables of a group's transaction, opened when first used.
struct WriteTables<'t> {
    transaction: &'t WriteTransaction,
    tables: [OnceCell<redb::Table<'t, Bytes, Bytes>>; Table::ALL.len()],
    fault: RefCell<Option<Fault>>,
}

impl<'t> WriteTables<'t> {
    fn table(&self, table: Table) -> Result<&redb::Table<'t, Bytes, Bytes>, Fault> {
        let cell = &self.tables[table.index()];
        if cell.get().is_none() {
            let opened = guarded(|| Ok(self.transaction.open_table(definition(table))?))?;
            // Nobody else fills the cell between the two lines: this is one thread.
            let _ = cell.set(opened);
        }
        cell.get().ok_or_else(Fault::panicked)
    }

    fn apply(&mut self, changes: Changes) -> Result<(), Fault> {
        for (table, changes) in changes.into_tables() {
            self.table(table)?;
            let records = self.tables[table.index()]
                .get_mut()
                .ok_or_else(Fault::panicked)?;
            for (key, change) in changes {
                guarded(|| {
                    match &change {
                        Some(value) => records.insert(key.as_slice(), value.as_slice())?,
                        None => records.remove(key.as_slice())?,
                    };
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

impl Reader for WriteTables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.table(table).and_then(|records| get(records, key));
        report(read, &self.fault)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let read = self
            .table(table)
            .and_then(|records| scan(records, range, order, visit));
        report(read, &self.fault)
    }
}

/// The tables of a view, opened when first used.
struct ReadTables {
    transaction: ReadTransaction,
    tables: [OnceCell<ReadOnlyTable<Bytes, Bytes>>; Table::ALL.len()],
    fault: RefCell<Option<Fault>>,
}

impl ReadTables {
    fn table(&self, table: Table) -> Result<&ReadOnlyTable<Bytes, Bytes>, Fault> {
        let cell = &self.tables[table.index()];
        if cell.get().is_none() {
            let opened = guarded(|| Ok(self.transaction.open_table(definition(table))?))?;
            // Nobody else fills the cell between the two lines: this is one thread.
            let _ = cell.set(opened);
        }
        cell.get().ok_or_else(Fault::panicked)
    }
}

impl Reader for ReadTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.table(table).and_then(|records| get(records, key));
        report(read, &self.fault)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        let read = self
            .table(table)
            .and_then(|records| scan(records, range, order, visit));
        report(read, &self.fault)
    }
}

fn get(records: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    guarded(|| Ok(records.get(key)?.map(|value| value.value().to_vec())))
}

fn scan(
    records: &impl ReadableTable<Bytes, Bytes>,
    range: KeyRange<'_>,
    order: Order,
    visit: &mut Visitor<'_>,
) -> Result<(), Fault> {
    if range.is_empty() {
        return Ok(());
    }
    let mut found = guarded(|| Ok(records.range::<&[u8]>((range.start(), range.end()))?))?;
    loop {
        // The visitor is not guarded: a panic in it is the caller's.
        let record = guarded(|| {
            let next = match order {
                Order::Forward => found.next(),
                Order::Backward => found.next_back(),
            };
            Ok(next.transpose()?)
        })?;
        match record {
            Some((key, value)) if visit(key.value(), value.value()).is_continue() => {}
            _ => return Ok(()),
        }
    }
}

/// Keeps the fault for the leader and gives the body what it may know.
fn report<T>(read: Result<T, Fault>, kept: &RefCell<Option<Fault>>) -> Result<T, StoreError> {
    read.map_err(|fault| {
        let error = fault.before_commit();
        kept.borrow_mut().get_or_insert(fault);
        error
    })
}

/// Where the database lies.
trait Disk: Send + Sync {
    /// The bytes of the existing database.
    fn open(&self) -> Result<Box<dyn StorageBackend>, OpenError>;

    /// Whether [`ROOM_BYTES`] can be written.
    fn has_room(&self) -> bool;

    /// What to call it in an error.
    fn path(&self) -> &Path;
}

struct FileDisk {
    path: PathBuf,
}

impl FileDisk {
    /// Makes the file under another name, so that a crash never leaves half a store.
    fn create(&self, options: &Options) -> Result<(), OpenError> {
        let make = || -> Result<(), DatabaseError> {
            let (draft, file) = file::Draft::beside(&self.path)?;
            let database = builder(options).create_with_backend(FileBackend::new(file)?)?;
            make_tables(&database)?;
            database.close()?;
            match draft.publish(&self.path) {
                // Another process was faster; opening will tell.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                published => Ok(published?),
            }
        };
        make().map_err(|error| self.explain(error))
    }

    fn explain(&self, error: DatabaseError) -> OpenError {
        match error {
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() == io::ErrorKind::NotFound =>
            {
                OpenError::MissingDirectory(file::directory_of(&self.path).into())
            }
            error => explain(&self.path, error),
        }
    }
}

impl Disk for FileDisk {
    fn open(&self) -> Result<Box<dyn StorageBackend>, OpenError> {
        let explain = |error: io::Error| self.explain(error.into());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(explain)?;
        let metadata = file.metadata().map_err(explain)?;
        if !metadata.is_file() {
            return Err(OpenError::NotAFile(self.path.clone()));
        }
        if let Some(mode) = file::mode_if_too_open(&file).map_err(explain)? {
            return Err(OpenError::TooOpen {
                path: self.path.clone(),
                mode,
            });
        }
        if metadata.len() == 0 {
            return Err(OpenError::Empty(self.path.clone()));
        }
        match FileBackend::new(file) {
            Ok(backend) => Ok(Box::new(backend)),
            Err(error) => Err(self.explain(error)),
        }
    }

    fn has_room(&self) -> bool {
        let path = file::with_suffix(&self.path, ".room");
        let try_it = || {
            let mut room = fs::File::create(&path)?;
            // Not zeros, which a file system may store as nothing.
            room.write_all(&vec![0xA5; ROOM_BYTES])?;
            room.sync_data()
        };
        let has_room = try_it().is_ok();
        // Whether it goes away changes nothing about the answer; the next try replaces it.
        let _ = fs::remove_file(&path);
        has_room
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

fn builder(options: &Options) -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    // Every page is read and compared with its checksum before anything is served.
    builder.set_check_integrity_on_open(true);
    builder
}

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Writing,
    Reading,
}

/// A [`Disk`]'s bytes as redb takes them; with a scratch, nothing is written to the disk.
#[derive(Debug)]
struct Backend {
    inner: Box<dyn StorageBackend>,
    scratch: Option<Mutex<Scratch>>,
}

const BLOCK_BYTES: usize = 4096;

/// Blocks written over those of the disk. redb writes a little even to open a file, for which a full
/// disk has no room; what a database writes that is only read is the few blocks of one repair.
#[derive(Debug)]
struct Scratch {
    blocks: HashMap<u64, Box<[u8; BLOCK_BYTES]>>,
    length: u64,
}

impl Backend {
    fn new(inner: Box<dyn StorageBackend>, purpose: Purpose) -> io::Result<Backend> {
        let scratch = match purpose {
            Purpose::Writing => None,
            Purpose::Reading => Some(Mutex::new(Scratch {
                blocks: HashMap::new(),
                length: inner.len()?,
            })),
        };
        Ok(Backend { inner, scratch })
    }

    /// The block of the disk, with zeros where the disk has none.
    fn block(&self, number: u64) -> io::Result<Box<[u8; BLOCK_BYTES]>> {
        let mut block = Box::new([0; BLOCK_BYTES]);
        let at = number * BLOCK_BYTES as u64;
        let there = self.inner.len()?.saturating_sub(at);
        let there = there.min(BLOCK_BYTES as u64) as usize;
        if there > 0 {
            self.inner.read(at, &mut block[..there])?;
        }
        Ok(block)
    }
}

/// Splits `length` bytes at `offset` into (block, place in the block, place in the bytes, count).
fn blocks_of(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let within = (at % BLOCK_BYTES as u64) as usize;
        let count = (length - done).min(BLOCK_BYTES - within);
        let part = (at / BLOCK_BYTES as u64, within, done, count);
        done += count;
        (count > 0).then_some(part)
    })
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        match &self.scratch {
            Some(scratch) => Ok(lock(scratch).length),
            None => self.inner.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let Some(scratch) = &self.scratch else {
            return self.inner.read(offset, out);
        };
        let scratch = lock(scratch);
        if offset + out.len() as u64 > scratch.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, at, count) in blocks_of(offset, out.len()) {
            let part = &mut out[at..at + count];
            match scratch.blocks.get(&number) {
                Some(block) => part.copy_from_slice(&block[within..within + count]),
                None => part.copy_from_slice(&self.block(number)?[within..within + count]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.scratch {
            Some(scratch) => {
                lock(scratch).length = len;
                Ok(())
            }
            None => self.inner.set_len(len),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        match &self.scratch {
            Some(_) => Ok(()),
            None => self.inner.sync_data(),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let Some(scratch) = &self.scratch else {
            return self.inner.write(offset, data);
        };
        let mut scratch = lock(scratch);
        for (number, within, at, count) in blocks_of(offset, data.len()) {
            let block = match scratch.blocks.entry(number) {
                Entry::Occupied(block) => block.into_mut(),
                Entry::Vacant(place) => place.insert(self.block(number)?),
            };
            block[within..within + count].copy_from_slice(&data[at..at + count]);
        }
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// Opens and checks the database, and makes the tables it lacks.
fn open_checked(
    disk: &dyn Disk,
    options: &Options,
    purpose: Purpose,
) -> Result<Database, OpenError> {
    let open = || {
        let database = disk.open().and_then(|inner| {
            Backend::new(inner, purpose)
                .map_err(DatabaseError::from)
                .and_then(|backend| builder(options).create_with_backend(backend))
                .map_err(|error| explain(disk.path(), error))
        })?;
        let known = table_names(&database).map_err(|error| explain(disk.path(), error))?;
        let lacks = |table: &Table| !known.iter().any(|name| name == table.name());
        // A redb file of somebody else's is not given our tables.
        if !known.is_empty() && lacks(&Table::Format) {
            return Err(OpenError::Foreign(disk.path().into()));
        }
        if Table::ALL.iter().any(lacks) {
            make_tables(&database).map_err(|error| explain(disk.path(), error))?;
        }
        Ok(database)
    };
    // A panic while opening leaves nothing that is used again.
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| {
        Err(OpenError::Damaged {
            path: disk.path().into(),
            detail: Fault::panicked().to_string(),
        })
    })
}

fn table_names(database: &Database) -> Result<Vec<String>, DatabaseError> {
    let transaction = database.begin_read().map_err(flatten)?;
    let tables = transaction.list_tables()?;
    Ok(tables.map(|table| table.name().to_owned()).collect())
}

fn make_tables(database: &Database) -> Result<(), DatabaseError> {
    let mut transaction = database.begin_write().map_err(flatten)?;
    transaction.set_two_phase_commit(true);
    for table in Table::ALL {
        transaction
            .open_table(definition(table))
            .map_err(|error| match error {
                TableError::Storage(error) => error,
                error => StorageError::Corrupted(error.to_string()),
            })?;
    }
    transaction.commit().map_err(|error| match error {
        CommitError::Storage(error) => error,
        error => StorageError::Corrupted(error.to_string()),
    })?;
    Ok(())
}

fn flatten(error: TransactionError) -> StorageError {
    match error {
        TransactionError::Storage(error) => error,
        error => StorageError::Corrupted(error.to_string()),
    }
}

/// redb's words for a file that is shorter than it says, and for one of a later layout. Should they
/// change, such a file is called damaged, which is as true.
const TRUNCATED: &str = "File truncated";
const NEWER: &str = "Expected file format version";

fn explain(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_path_buf();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            OpenError::AlreadyOpen(path)
        }
        DatabaseError::UpgradeRequired(_) => OpenError::Foreign(path),
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            io::ErrorKind::PermissionDenied => OpenError::Denied(path),
            io::ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly(path),
            io::ErrorKind::IsADirectory => OpenError::NotAFile(path),
            io::ErrorKind::NotADirectory => {
                OpenError::MissingDirectory(file::directory_of(&path).into())
            }
            io::ErrorKind::InvalidData => OpenError::Foreign(path),
            io::ErrorKind::UnexpectedEof => OpenError::Truncated(path),
            _ if means_full(&source) => OpenError::Full(path),
            _ => OpenError::Io { path, source },
        },
        DatabaseError::Storage(StorageError::Corrupted(what)) if what.starts_with(TRUNCATED) => {
            OpenError::Truncated(path)
        }
        DatabaseError::Storage(StorageError::Corrupted(what)) if what.starts_with(NEWER) => {
            OpenError::NewerFile(path)
        }
        DatabaseError::Storage(StorageError::Corrupted(detail)) => {
            OpenError::Damaged { path, detail }
        }
        error => OpenError::Damaged {
            path,
            detail: error.to_string(),
        },
    }
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
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc;
    use std::thread;

    use super::super::contract::{
        Dice, Model, check_against_model, contract, counter, dump, get, increment, steps,
    };
    use super::super::seal::{MasterKey, Sealed};
    use super::*;

    /// A disk that fails on request and knows what a power cut would leave.
    #[derive(Debug, Clone, Default)]
    struct Platter(Arc<Mutex<PlatterState>>);

    #[derive(Debug, Default)]
    struct PlatterState {
        /// What reads see.
        bytes: Vec<u8>,
        /// What has been synced.
        durable: Vec<u8>,
        /// Changes since the last sync.
        pending: Vec<Change>,
        /// Writes, syncs and changes of length so far.
        operations: u64,
        syncs: u64,
        /// From this operation on, for so many, this error.
        fail: Option<(u64, u64, io::ErrorKind)>,
        reads_fail: bool,
    }

    #[derive(Debug, Clone)]
    enum Change {
        Length(usize),
        Bytes(usize, Vec<u8>),
    }

    impl Platter {
        fn of(bytes: Vec<u8>) -> Platter {
            let platter = Platter::default();
            {
                let mut state = lock(&platter.0);
                state.durable = bytes.clone();
                state.bytes = bytes;
            }
            platter
        }

        fn open(&self) -> Result<Redb, OpenError> {
            let options = Options {
                // Little, so that pages are also read again.
                cache_bytes: 64 * 1024,
                ..Options::default()
            };
            let mut engine = Redb::on(Box::new(self.clone()), options)?;
            engine.full_retry_after = Duration::ZERO;
            Ok(engine)
        }

        /// Fails `count` operations, beginning with the `nth` from now.
        fn fail(&self, nth: u64, count: u64, kind: io::ErrorKind) {
            let mut state = lock(&self.0);
            state.fail = Some((state.operations + nth, count, kind));
        }

        fn mend(&self) {
            let mut state = lock(&self.0);
            state.fail = None;
            state.reads_fail = false;
        }

        /// What is there after a power cut now: what was synced, and any part of what was not.
        fn after_power_cut(&self, dice: &mut Dice) -> Platter {
            let state = lock(&self.0);
            let mut bytes = state.durable.clone();
            let mut lengths_arrive = true;
            for change in &state.pending {
                match change {
                    // The length is the file system's own record, and these arrive in order.
                    Change::Length(length) => {
                        lengths_arrive &= dice.below(2) == 0;
                        if lengths_arrive {
                            bytes.resize(*length, 0);
                        }
                    }
                    Change::Bytes(at, data) => {
                        let arrived = match dice.below(3) {
                            0 => 0,
                            1 => data.len(),
                            _ => dice.below(data.len() as u64 + 1) as usize,
                        };
                        let end = (at + arrived).min(bytes.len());
                        if *at < end {
                            bytes[*at..end].copy_from_slice(&data[..end - at]);
                        }
                    }
                }
            }
            Platter::of(bytes)
        }
    }

    impl PlatterState {
        fn operation(&mut self) -> io::Result<()> {
            self.operations += 1;
            match self.fail {
                Some((first, count, kind))
                    if (first..first.saturating_add(count)).contains(&self.operations) =>
                {
                    Err(kind.into())
                }
                _ => Ok(()),
            }
        }
    }

    impl StorageBackend for Platter {
        fn len(&self) -> io::Result<u64> {
            Ok(lock(&self.0).bytes.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let state = lock(&self.0);
            if state.reads_fail {
                return Err(io::Error::other("on purpose"));
            }
            let at = offset as usize;
            let from = state
                .bytes
                .get(at..at + out.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(from);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            let mut state = lock(&self.0);
            state.operation()?;
            state.bytes.resize(len as usize, 0);
            state.pending.push(Change::Length(len as usize));
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            let mut state = lock(&self.0);
            state.operation()?;
            state.syncs += 1;
            state.durable = state.bytes.clone();
            state.pending.clear();
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            let mut state = lock(&self.0);
            state.operation()?;
            let at = offset as usize;
            state.bytes[at..at + data.len()].copy_from_slice(data);
            state.pending.push(Change::Bytes(at, data.to_vec()));
            Ok(())
        }
    }

    impl Disk for Platter {
        fn open(&self) -> Result<Box<dyn StorageBackend>, OpenError> {
            Ok(Box::new(self.clone()))
        }

        fn has_room(&self) -> bool {
            let full = lock(&self.0).fail;
            !matches!(full, Some((_, u64::MAX, io::ErrorKind::StorageFull)))
        }

        fn path(&self) -> &Path {
            Path::new("store")
        }
    }

    fn fresh() -> Arc<dyn Engine> {
        Arc::new(Platter::default().open().unwrap())
    }

    fn in_directory() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        (directory, path)
    }

    fn open(path: &Path) -> Result<Redb, OpenError> {
        Redb::open(path, Options::default())
    }

    fn put_number(engine: &dyn Engine, number: u64) -> Result<u64, StoreError> {
        engine.update(move |writer| {
            // Records large enough to need new pages and a longer file now and then.
            let value = vec![number as u8; 600];
            writer.put(Table::Contact, &number.to_be_bytes(), &value)?;
            writer.put(Table::Outbox, &number.to_be_bytes(), &value)?;
            increment(writer)
        })
    }

    /// The numbers that are there; panics if one is there by half.
    fn numbers(engine: &dyn Engine) -> Vec<u64> {
        let records = dump(engine);
        let of = |wanted: Table| -> Vec<u64> {
            records
                .iter()
                .filter(|((table, _), _)| *table == wanted)
                .map(|((_, key), value)| {
                    let number = u64::from_be_bytes(key.clone().try_into().unwrap());
                    assert_eq!(*value, vec![number as u8; 600]);
                    number
                })
                .collect()
        };
        let numbers = of(Table::Contact);
        assert_eq!(numbers, of(Table::Outbox));
        assert_eq!(counter(engine), numbers.len() as u64);
        numbers
    }

    #[test]
    fn redb_keeps_the_contract() {
        contract(fresh);
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn redb_agrees_with_a_map_over_reopening(steps in steps()) {
            let platter = Platter::default();
            check_against_model(steps, Arc::new(platter.open().unwrap()), |engine| {
                drop(engine);
                Arc::new(platter.open().unwrap())
            });
        }
    }

    #[test]
    fn values_survive_closing_and_opening_a_file() {
        let (_directory, path) = in_directory();
        let engine = open(&path).unwrap();
        put_number(&engine, 1).unwrap();
        drop(engine);
        assert_eq!(numbers(&open(&path).unwrap()), [1]);
    }

    /// Runs the bodies in one group: the first waits until the others have queued behind it.
    fn in_one_group(engine: &Arc<Redb>, bodies: Vec<UpdateBody>) -> Vec<Result<(), StoreError>> {
        let count = bodies.len();
        let (begun, begins) = mpsc::channel();
        let mut bodies = bodies.into_iter();
        let first = bodies.next().unwrap();
        let leader = {
            let (engine, queue) = (Arc::clone(engine), Arc::clone(engine));
            thread::spawn(move || {
                engine.update_with(Box::new(move |writer| {
                    begun.send(()).unwrap();
                    while lock(&queue.queue).waiting.len() < count - 1 {
                        thread::yield_now();
                    }
                    first(writer)
                }))
            })
        };
        begins.recv().unwrap();
        let mut threads = vec![leader];
        for (nth, body) in bodies.enumerate() {
            let engine_of_thread = Arc::clone(engine);
            threads.push(thread::spawn(move || engine_of_thread.update_with(body)));
            // They queue in this order.
            while nth + 1 < count - 1 && lock(&engine.queue).waiting.len() < nth + 1 {
                thread::yield_now();
            }
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    }

    fn adds_one() -> UpdateBody {
        Box::new(|writer| increment(writer).map(drop))
    }

    #[test]
    fn bodies_that_fail_or_panic_leave_their_group_undisturbed() {
        let platter = Platter::default();
        let engine = Arc::new(platter.open().unwrap());
        let syncs = lock(&platter.0).syncs;
        let results = in_one_group(
            &engine,
            vec![
                adds_one(),
                Box::new(|writer| {
                    // Sees the one before it, and its own.
                    assert_eq!(increment(writer)?, 2);
                    writer.put(Table::Contact, b"a", b"a")?;
                    Err(StoreError::Aborted("on purpose"))
                }),
                Box::new(|writer| {
                    assert_eq!(increment(writer)?, 2);
                    Ok(())
                }),
                Box::new(|writer| {
                    writer.put(Table::Contact, b"b", b"b")?;
                    panic!("on purpose")
                }),
                adds_one(),
            ],
        );
        assert_eq!(
            results,
            [
                Ok(()),
                Err(StoreError::Aborted("on purpose")),
                Ok(()),
                Err(StoreError::BodyPanicked),
                Ok(()),
            ]
        );
        // One commit: two phases, two syncs.
        assert_eq!(lock(&platter.0).syncs - syncs, 2);
        let counter_only = Model::from([(
            (Table::Budget, b"counter".into()),
            vec![0, 0, 0, 0, 0, 0, 0, 3],
        )]);
        assert_eq!(dump(&*engine), counter_only);
    }

    #[test]
    fn a_failed_commit_is_unknown_to_its_whole_group_and_the_next_works() {
        let platter = Platter::default();
        let engine = Arc::new(platter.open().unwrap());
        engine.update_with(adds_one()).unwrap();
        let failing = platter.clone();
        let results = in_one_group(
            &engine,
            vec![
                Box::new(move |writer| {
                    failing.fail(1, 1, io::ErrorKind::Other);
                    increment(writer).map(drop)
                }),
                adds_one(),
                Box::new(|writer| {
                    increment(writer)?;
                    Err(StoreError::Aborted("on purpose"))
                }),
            ],
        );
        assert_eq!(results, vec![Err(StoreError::Unknown); 3]);
        let after = counter(&*engine);
        assert!(after == 1 || after == 3, "{after}");
        engine.update_with(adds_one()).unwrap();
        assert_eq!(counter(&*engine), after + 1);
    }

    #[test]
    fn a_group_does_not_grow_without_end() {
        let engine = Arc::new(Platter::default().open().unwrap());
        let (tell, told) = mpsc::channel();
        let big = |number: u8| -> UpdateBody {
            let tell = Mutex::new(tell.clone());
            Box::new(move |writer| {
                // A group runs on the thread of its leader.
                lock(&tell).send(thread::current().id()).unwrap();
                writer.put(Table::Contact, &[number], &vec![0; GROUP_BYTES_MAX / 2])
            })
        };
        let results = in_one_group(&engine, (0..4).map(big).collect());
        assert_eq!(results, vec![Ok(()); 4]);
        let threads: Vec<_> = told.try_iter().collect();
        assert_eq!(threads[0], threads[1]);
        assert_ne!(threads[1], threads[2]);
        assert_eq!(threads[2], threads[3]);
    }

    /// The n-th write, sync or change of length fails once: what was acknowledged stays, what was
    /// not is there whole or not at all, and the engine goes on by itself.
    #[test]
    fn whichever_disk_operation_fails_acknowledged_updates_stay() {
        let mut failed = 0;
        for nth in 1..=300 {
            let platter = Platter::default();
            let engine = platter.open().unwrap();
            let kind = match nth % 2 {
                0 => io::ErrorKind::Other,
                _ => io::ErrorKind::StorageFull,
            };
            platter.fail(nth, 1, kind);
            let mut acknowledged = Vec::new();
            let mut errors = Vec::new();
            for number in 0..20 {
                match put_number(&engine, number) {
                    Ok(_) => acknowledged.push(number),
                    Err(error) => errors.push(error),
                }
            }
            // Reopening goes on where the disk failed once more in none of these.
            assert!(errors.len() <= 1, "{nth}: {errors:?}");
            assert!(
                errors.iter().all(|error| match kind {
                    io::ErrorKind::StorageFull => *error == StoreError::Full,
                    _ => matches!(error, StoreError::Unknown | StoreError::Unavailable(_)),
                }),
                "{nth}: {errors:?}"
            );
            failed += errors.len();
            let check = |engine: &dyn Engine| {
                let there = numbers(engine);
                assert!(acknowledged.iter().all(|number| there.contains(number)));
                assert!(there.len() - acknowledged.len() <= errors.len());
            };
            check(&engine);
            drop(engine);
            platter.mend();
            check(&platter.open().unwrap());
        }
        assert!(failed > 100, "the failures met only {failed} updates");
    }

    #[test]
    fn a_disk_that_keeps_failing_breaks_the_engine_and_loses_nothing() {
        for nth in 1..=100 {
            let platter = Platter::default();
            let engine = platter.open().unwrap();
            platter.fail(nth, u64::MAX, io::ErrorKind::Other);
            let results: Vec<_> = (0..40).map(|number| put_number(&engine, number)).collect();
            assert!(matches!(results[39], Err(StoreError::Broken(_))), "{nth}");
            let read = (&engine as &dyn Engine).view(|reader| reader.get(Table::Meta, b"a"));
            assert!(matches!(read, Err(StoreError::Broken(_))));
            drop(engine);
            platter.mend();
            let there = numbers(&platter.open().unwrap());
            let acknowledged = results.iter().filter(|result| result.is_ok()).count() as u64;
            assert!((0..acknowledged).all(|number| there.contains(&number)));
            assert!(there.len() as u64 <= acknowledged + 1);
        }
    }

    #[test]
    fn two_failures_without_a_commit_between_them_break_the_engine() {
        let platter = Platter::default();
        let engine = platter.open().unwrap();
        let fail_commit = || {
            let failing = platter.clone();
            engine.update_with(Box::new(move |writer| {
                failing.fail(1, 1, io::ErrorKind::Other);
                increment(writer).map(drop)
            }))
        };
        assert_eq!(fail_commit(), Err(StoreError::Unknown));
        engine.update_with(adds_one()).unwrap();
        assert_eq!(fail_commit(), Err(StoreError::Unknown));
        assert_eq!(fail_commit(), Err(StoreError::Unknown));
        assert!(matches!(
            engine.update_with(adds_one()),
            Err(StoreError::Broken(_))
        ));
    }

    #[test]
    fn on_a_full_disk_reads_go_on_and_updates_do_once_there_is_room() {
        for nth in 1..=60 {
            let platter = Platter::default();
            let engine = platter.open().unwrap();
            put_number(&engine, 0).unwrap();
            platter.fail(nth, u64::MAX, io::ErrorKind::StorageFull);
            let mut acknowledged = vec![0];
            for number in 1..40 {
                match put_number(&engine, number) {
                    Ok(_) => acknowledged.push(number),
                    Err(error) => assert_eq!(error, StoreError::Full),
                }
                let there = get(&engine, Table::Contact, &0u64.to_be_bytes());
                assert_eq!(there, Some(vec![0; 600]));
            }
            assert!(acknowledged.len() < 40);
            platter.mend();
            put_number(&engine, 40).unwrap();
            acknowledged.push(40);
            let there = numbers(&engine);
            assert!(acknowledged.iter().all(|number| there.contains(number)));
            assert!(there.len() <= acknowledged.len() + 1);
        }
    }

    #[test]
    fn a_full_disk_is_left_alone_between_tries() {
        let platter = Platter::default();
        let mut engine = platter.open().unwrap();
        engine.full_retry_after = Duration::MAX;
        put_number(&engine, 0).unwrap();
        platter.fail(1, 1, io::ErrorKind::StorageFull);
        assert_eq!(put_number(&engine, 1), Err(StoreError::Full));
        let operations = lock(&platter.0).operations;
        assert_eq!(put_number(&engine, 2), Err(StoreError::Full));
        assert_eq!(numbers(&engine)[0], 0);
        assert_eq!(lock(&platter.0).operations, operations);
    }

    /// Needs a disk that can be filled: a few MiB, named by PORTERO_SMALL_DISK.
    #[test]
    #[ignore = "needs a small disk"]
    fn a_really_full_disk_is_survived() {
        let directory = PathBuf::from(std::env::var_os("PORTERO_SMALL_DISK").unwrap());
        let (path, ballast) = (directory.join("store.redb"), directory.join("ballast"));
        fs::write(&ballast, vec![1; 1024 * 1024]).unwrap();
        let engine = open(&path).unwrap();
        let mut acknowledged = 0;
        let error = loop {
            match put_number(&engine, acknowledged) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, StoreError::Full);
        assert!(numbers(&engine).len() as u64 >= acknowledged);
        assert_eq!(put_number(&engine, 1 << 40), Err(StoreError::Full));
        fs::remove_file(&ballast).unwrap();
        let freed = Instant::now();
        while put_number(&engine, 1 << 40).is_err() {
            assert!(freed.elapsed() < Duration::from_secs(5));
            thread::yield_now();
        }
        drop(engine);
        let there = numbers(&open(&path).unwrap());
        assert!((0..acknowledged).all(|number| there.contains(&number)));
        assert!(there.contains(&(1 << 40)));
    }

    #[test]
    fn a_power_cut_loses_nothing_that_was_acknowledged() {
        for seed in 0..300 {
            let mut dice = Dice(seed);
            let platter = Platter::default();
            let engine = platter.open().unwrap();
            platter.fail(1 + dice.below(250), u64::MAX, io::ErrorKind::Other);
            let mut acknowledged = Vec::new();
            for number in 0..40 {
                if put_number(&engine, number).is_ok() {
                    acknowledged.push(number);
                }
            }
            let after = platter.after_power_cut(&mut dice);
            let there = numbers(&after.open().unwrap());
            assert!(
                acknowledged.iter().all(|number| there.contains(number)),
                "{seed}: {acknowledged:?} {there:?}"
            );
            assert!(there.len() <= acknowledged.len() + 1, "{seed}");
        }
    }

    #[test]
    fn a_read_that_fails_reopens_the_file_and_at_last_breaks_the_engine() {
        let platter = Platter::default();
        let engine = platter.open().unwrap();
        for number in 0..300 {
            put_number(&engine, number).unwrap();
        }
        let read_all = || {
            (&engine as &dyn Engine).view(|reader| {
                let mut count = 0;
                reader.scan(
                    Table::Contact,
                    KeyRange::all(),
                    Order::Forward,
                    &mut |_, _| {
                        count += 1;
                        std::ops::ControlFlow::Continue(())
                    },
                )?;
                Ok(count)
            })
        };
        assert_eq!(read_all(), Ok(300));
        lock(&platter.0).reads_fail = true;
        assert!(matches!(read_all(), Err(StoreError::Unavailable(_))));
        // Reopening read the file and met the same.
        assert!(matches!(read_all(), Err(StoreError::Broken(_))));
    }

    /// A sealed store with some history, and what it holds.
    fn populated(path: &Path, key: &MasterKey) -> (Sealed, BTreeMap<Vec<u8>, Vec<u8>>) {
        let sealed = Sealed::open(Arc::new(open(path).unwrap()), key).unwrap();
        let mut records = BTreeMap::new();
        for number in 0..400u32 {
            let key = (number % 300).to_be_bytes().to_vec();
            let value = vec![number as u8; 40 + number as usize];
            records.insert(key.clone(), value.clone());
            sealed
                .update(move |writer| writer.put(Table::Contact, &key, &value))
                .unwrap();
        }
        (sealed, records)
    }

    fn write_private(path: &Path, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Opens the file and reads all of it. True if it was served whole; an error at any place is
    /// fine, another content is not.
    fn served_whole(path: &Path, key: &MasterKey, records: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
        let Ok(engine) = open(path) else { return false };
        let Ok(sealed) = Sealed::open(Arc::new(engine), key) else {
            return false;
        };
        let mut whole = true;
        for (key, value) in records {
            match sealed.view(|reader| reader.get(Table::Contact, key)) {
                Ok(found) => assert_eq!(found.as_ref(), Some(value)),
                Err(_) => whole = false,
            }
        }
        let scanned = sealed.view(|reader| {
            let mut found = BTreeMap::new();
            reader.scan(
                Table::Contact,
                KeyRange::all(),
                Order::Forward,
                &mut |key, value| {
                    found.insert(key.to_vec(), value.to_vec());
                    std::ops::ControlFlow::Continue(())
                },
            )?;
            Ok(found)
        });
        match scanned {
            Ok(found) => assert_eq!(found, *records),
            Err(_) => whole = false,
        }
        whole
    }

    #[test]
    fn a_damaged_file_is_refused_or_served_right() {
        let (_directory, path) = in_directory();
        let key = MasterKey::generate().unwrap();
        let (sealed, records) = populated(&path, &key);
        // As a killed process leaves it, and as an orderly end does.
        let killed = fs::read(&path).unwrap();
        drop(sealed);
        let closed = fs::read(&path).unwrap();
        let mut dice = Dice(1);
        let mut refused = 0;
        for round in 0..200 {
            let mut bytes = if round % 2 == 0 {
                killed.clone()
            } else {
                closed.clone()
            };
            let at = dice.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.below(8);
            write_private(&path, &bytes);
            refused += u32::from(!served_whole(&path, &key, &records));
        }
        assert!(refused > 50, "only {refused} of 200 flips were noticed");
        for round in 0..100 {
            let mut bytes = if round % 2 == 0 {
                killed.clone()
            } else {
                closed.clone()
            };
            bytes.truncate(1 + dice.below(bytes.len() as u64 - 1) as usize);
            write_private(&path, &bytes);
            assert!(!served_whole(&path, &key, &records), "{}", bytes.len());
        }
        for round in 0..100 {
            let mut bytes = if round % 2 == 0 {
                killed.clone()
            } else {
                closed.clone()
            };
            let page = 4096 * dice.below(bytes.len() as u64 / 4096) as usize;
            bytes[page..page + 4096].fill(0);
            write_private(&path, &bytes);
            served_whole(&path, &key, &records);
        }
        write_private(&path, &killed);
        assert!(served_whole(&path, &key, &records));
    }

    #[test]
    fn a_file_altered_while_it_is_open_gives_no_wrong_value() {
        let (_directory, path) = in_directory();
        let key = MasterKey::generate().unwrap();
        let (sealed, records) = populated(&path, &key);
        drop(sealed);
        let whole = fs::read(&path).unwrap();
        let mut dice = Dice(2);
        let mut noticed = 0;
        for _ in 0..100 {
            write_private(&path, &whole);
            let sealed = Sealed::open(Arc::new(open(&path).unwrap()), &key).unwrap();
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            for _ in 0..20 {
                let at = 4096 + dice.below(whole.len() as u64 - 4096);
                let flipped = whole[at as usize] ^ 1 << dice.below(8);
                std::os::unix::fs::FileExt::write_all_at(&file, &[flipped], at).unwrap();
            }
            for (key, value) in &records {
                match sealed.view(|reader| reader.get(Table::Contact, key)) {
                    // An altered key in the tree may hide a record until the next start refuses
                    // the file, but no other value is ever given out.
                    Ok(found) => assert!(found.is_none_or(|found| found == *value)),
                    Err(_) => noticed += 1,
                }
            }
        }
        assert!(noticed > 100, "{noticed}");
    }

    #[test]
    fn a_new_file_is_its_owners_only_and_another_mode_is_refused() {
        let (_directory, path) = in_directory();
        drop(open(&path).unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        for mode in [0o640, 0o604, 0o666, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = open(&path).err().unwrap();
            assert!(matches!(error, OpenError::TooOpen { mode: found, .. } if found == mode));
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        // Only the store is left behind.
        let entries = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(entries, 1);
    }

    #[test]
    fn a_second_handle_is_refused() {
        let (_directory, path) = in_directory();
        let engine = open(&path).unwrap();
        assert!(matches!(open(&path), Err(OpenError::AlreadyOpen(_))));
        put_number(&engine, 1).unwrap();
        drop(engine);
        assert_eq!(numbers(&open(&path).unwrap()), [1]);
    }

    #[test]
    fn another_file_is_refused_by_its_name() {
        let (directory, path) = in_directory();
        let sentence = |path: &Path| open(path).err().unwrap().to_string();

        write_private(&path, b"");
        assert!(sentence(&path).contains("is empty"));
        write_private(&path, b"PK\x03\x04, an archive");
        assert!(sentence(&path).contains("is not a Portero store"));
        assert_eq!(fs::read(&path).unwrap(), b"PK\x03\x04, an archive");
        fs::remove_file(&path).unwrap();

        let foreign = TableDefinition::<u64, u64>::new("somebody");
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(foreign).unwrap();
        transaction.commit().unwrap();
        drop(database);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(sentence(&path).contains("is not a Portero store"));
        fs::remove_file(&path).unwrap();

        assert!(sentence(directory.path()).contains("is not a file"));
        let nowhere = directory.path().join("no").join("store.redb");
        assert!(sentence(&nowhere).contains("mkdir -p"));

        drop(open(&path).unwrap());
        let whole = fs::read(&path).unwrap();
        write_private(&path, &whole[..whole.len() / 2]);
        assert!(sentence(&path).contains("cut short"));
        let mut newer = whole.clone();
        // The version bytes of both commit slots.
        (newer[64], newer[192]) = (9, 9);
        write_private(&path, &newer);
        assert!(sentence(&path).contains("newer version"));
        let mut damaged = whole;
        damaged[64..320].fill(3);
        write_private(&path, &damaged);
        assert!(sentence(&path).contains("is damaged"));
    }

    #[test]
    fn what_the_operating_system_says_becomes_a_sentence() {
        let sentence = |kind: io::ErrorKind| {
            explain(Path::new("store"), io::Error::from(kind).into()).to_string()
        };
        assert!(sentence(io::ErrorKind::ReadOnlyFilesystem).contains("read-only"));
        assert!(sentence(io::ErrorKind::PermissionDenied).contains("chown"));
        assert!(sentence(io::ErrorKind::StorageFull).contains("is full"));
        assert!(sentence(io::ErrorKind::QuotaExceeded).contains("is full"));
        assert!(sentence(io::ErrorKind::TimedOut).contains("cannot be opened"));
    }
}

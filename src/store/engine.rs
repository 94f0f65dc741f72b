//! The contract of a store: four operations on named tables of bytes, in views and updates.
//!
//! An *update* is a body that reads and writes; it runs against an `Overlay` of its own writes,
//! which reaches the engine only when the body returned `Ok`. So a body that fails or panics leaves
//! nothing, and several bodies can share one commit without knowing of one another. A *view* sees
//! one moment of the store, and nothing that is stored later.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::StoreError;

/// Longest key in bytes. Ours are identities and digests, well below 200 bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest value in bytes. The largest thing stored is the body of one webhook, which Meta limits
/// to 3 MB; it must fit after being sealed and wrapped.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The tables. Adding one is adding a line here, to `ALL` and to `name`: engines make missing
/// tables when they open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The mark of the sealing layer: format and key check. Nobody else writes here.
    Format,
    /// Facts about the store as a whole.
    Meta,
    /// Contacts by their id.
    Contact,
    /// Which contact a BSUID or wa_id belongs to, and who is signed in with an address.
    Alias,
    /// Message ids that had their effect.
    Seen,
    /// What is to be sent.
    Outbox,
    /// What has been sent, until its status is known.
    Sent,
    /// What could not be sent, with the reason.
    Dead,
    /// Counters of tries and mails.
    Budget,
    /// Users of the built-in directory.
    Directory,
    /// Who did what when.
    Audit,
    /// Whom to forget again after a restore.
    Erased,
    /// To whom the secrets of a sign-in on the web belong.
    Handle,
    /// What is to be handed on to the bot, as it came.
    Body,
    /// What happened with sign-ins, as it is told.
    Event,
    /// What tokens are signed with.
    Key,
    /// What bots asked for, under the mark with which they may ask again.
    Asked,
    /// What was counted in each hour, without names.
    Tally,
}

impl Table {
    /// Every table, in the order of the enum.
    pub const ALL: [Table; 18] = [
        Table::Format,
        Table::Meta,
        Table::Contact,
        Table::Alias,
        Table::Seen,
        Table::Outbox,
        Table::Sent,
        Table::Dead,
        Table::Budget,
        Table::Directory,
        Table::Audit,
        Table::Erased,
        Table::Handle,
        Table::Body,
        Table::Event,
        Table::Key,
        Table::Asked,
        Table::Tally,
    ];

    /// The name on disk, which is also part of what seals a record: it never changes.
    pub fn name(self) -> &'static str {
        match self {
            Table::Format => "format",
            Table::Meta => "meta",
            Table::Contact => "contact",
            Table::Alias => "alias",
            Table::Seen => "seen",
            Table::Outbox => "outbox",
            Table::Sent => "sent",
            Table::Dead => "dead",
            Table::Budget => "budget",
            Table::Directory => "directory",
            Table::Audit => "audit",
            Table::Erased => "erased",
            Table::Handle => "handle",
            Table::Body => "body",
            Table::Event => "event",
            Table::Key => "key",
            Table::Asked => "asked",
            Table::Tally => "tally",
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// The keys a scan visits. Keys are ordered as byte strings.
#[derive(Debug, Clone)]
pub struct KeyRange<'a> {
    start: Bound<Cow<'a, [u8]>>,
    end: Bound<Cow<'a, [u8]>>,
}

impl<'a> KeyRange<'a> {
    /// From one bound to the other. An inverted range holds nothing.
    pub fn new(start: Bound<&'a [u8]>, end: Bound<&'a [u8]>) -> KeyRange<'a> {
        KeyRange {
            start: start.map(Cow::Borrowed),
            end: end.map(Cow::Borrowed),
        }
    }

    /// Every key.
    pub fn all() -> KeyRange<'static> {
        KeyRange {
            start: Bound::Unbounded,
            end: Bound::Unbounded,
        }
    }

    /// Every key that begins with `prefix`.
    pub fn prefix(prefix: &'a [u8]) -> KeyRange<'a> {
        // The first key behind them: the prefix, its last byte that can grow grown by one.
        let end = match prefix.iter().rposition(|byte| *byte != u8::MAX) {
            Some(last) => {
                let mut end = prefix[..=last].to_vec();
                end[last] += 1;
                Bound::Excluded(Cow::Owned(end))
            }
            None => Bound::Unbounded,
        };
        KeyRange {
            start: Bound::Included(Cow::Borrowed(prefix)),
            end,
        }
    }

    /// Where the range begins.
    pub fn start(&self) -> Bound<&[u8]> {
        self.start.as_ref().map(AsRef::as_ref)
    }

    /// Where the range ends.
    pub fn end(&self) -> Bound<&[u8]> {
        self.end.as_ref().map(AsRef::as_ref)
    }

    /// Whether no key can lie in it. Engines ask first, since ordered maps panic on such a range.
    pub fn is_empty(&self) -> bool {
        let (start, end) = match (self.start(), self.end()) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => return false,
            (Bound::Included(start), Bound::Included(end)) => return start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end))
            | (Bound::Excluded(start), Bound::Included(end)) => (start, end),
        };
        start >= end
    }
}

/// What a scan calls with each key and value, until it answers `Break`.
pub type Visitor<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// Reading, in a view or an update.
pub trait Reader {
    /// The value under `key`, if there is one.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits the records of `range` in `order` until the visitor breaks. The visitor may read.
    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError>;
}

/// How many records there are in all tables together.
pub(super) fn count_records(reader: &dyn Reader) -> Result<u64, StoreError> {
    let mut records = 0;
    for table in Table::ALL {
        reader.scan(table, KeyRange::all(), Order::Forward, &mut |_, _| {
            records += 1;
            ControlFlow::Continue(())
        })?;
    }
    Ok(records)
}

/// Writing, in an update. Reads of the same update see its writes.
pub trait Writer: Reader {
    /// Stores `value` under `key`, in place of what was there.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes the record under `key`; nothing happens when there is none.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
}

/// The body of an update as an engine takes it: owned, because another thread may run it.
pub type UpdateBody = Box<dyn Fn(&mut dyn Writer) -> Result<(), StoreError> + Send + Sync>;

/// What keeps the tables. Called through `view` and `update` of `dyn Engine`, or the sealing layer.
pub trait Engine: Send + Sync {
    /// Runs `body`, on the calling thread, against one moment of the store.
    ///
    /// An operation that failed fails the view, also when the body ignored it.
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Runs `body` and returns once its writes are durable.
    ///
    /// Updates happen one after the other: each sees all that returned before it began. The body
    /// may run on another thread and more than once, so it must not act outside the store; it must
    /// not start an update ([`StoreError::Nested`]). An operation that failed fails the update,
    /// also when the body ignored it.
    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError>;

    /// Stores all records anew, so that nothing of those that were deleted is left on the disk.
    /// Updates wait meanwhile, views do not. An engine that keeps nothing of what is deleted has
    /// nothing to do.
    ///
    /// # Errors
    /// The store goes on as it was, or nobody knows ([`StoreError::Unknown`]); trying again is safe.
    fn rewrite(&self) -> Result<(), StoreError>;
}

impl dyn Engine + '_ {
    /// [`Engine::view_with`] for a body that returns a value.
    pub fn view<T>(
        &self,
        mut body: impl FnMut(&dyn Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut value = None;
        self.view_with(&mut |reader| {
            value = Some(body(reader)?);
            Ok(())
        })?;
        // An engine that answers Ok has run the body to its end.
        Ok(value.expect("the body of a view has run"))
    }

    /// [`Engine::update_with`] for a body that returns a value.
    pub fn update<T: Send + 'static>(
        &self,
        body: impl Fn(&mut dyn Writer) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let value = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&value);
        self.update_with(Box::new(move |writer| {
            let done = body(writer)?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            Ok(())
        }))?;
        let done = value.lock().unwrap_or_else(PoisonError::into_inner).take();
        // An engine that answers Ok has run the body to its end.
        Ok(done.expect("the body of an update has run"))
    }
}

thread_local! {
    static IN_BODY: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is running the body of an update.
pub(super) fn in_body() -> bool {
    IN_BODY.get()
}

/// Runs one body against `overlay`: a panic becomes an error, and so does an operation that failed
/// unseen.
pub(super) fn run_body(body: &UpdateBody, overlay: &mut Overlay<'_>) -> Result<(), StoreError> {
    IN_BODY.set(true);
    // The overlay is thrown away when the body panicked, so nothing half done is seen afterwards.
    let result = catch_unwind(AssertUnwindSafe(|| body(overlay)));
    IN_BODY.set(false);
    match result {
        Err(_) => Err(StoreError::BodyPanicked),
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) => overlay.failure(),
    }
}

/// The writes of one update: per table the new value, or `None` for a removed record.
#[derive(Default)]
pub(super) struct Changes {
    tables: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Table::ALL.len()],
}

impl Changes {
    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// The bytes of all keys and values.
    pub(super) fn bytes(&self) -> usize {
        self.tables
            .iter()
            .flatten()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum()
    }

    /// The changes of each table that has any.
    pub(super) fn into_tables(
        self,
    ) -> impl Iterator<Item = (Table, BTreeMap<Vec<u8>, Option<Vec<u8>>>)> {
        Table::ALL
            .into_iter()
            .zip(self.tables)
            .filter(|(_, changes)| !changes.is_empty())
    }
}

/// The kinds of operation, as the memory engine counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// [`Reader::get`]
    Get,
    /// [`Reader::scan`]
    Scan,
    /// [`Writer::put`]
    Put,
    /// [`Writer::delete`]
    Delete,
    /// The commit at the end of an update that wrote something.
    Commit,
    /// [`Engine::rewrite`]
    Rewrite,
}

/// Asked before each operation of an update; its error becomes the operation's.
pub(super) type Hook<'h> = &'h dyn Fn(Operation) -> Result<(), StoreError>;

/// The store as the body of one update sees it: what is committed (or will be, with the earlier
/// updates of the same commit), and over it the body's own writes.
pub(super) struct Overlay<'b> {
    base: &'b dyn Reader,
    changes: Changes,
    failed: RefCell<Option<StoreError>>,
    hook: Option<Hook<'b>>,
}

impl<'b> Overlay<'b> {
    pub(super) fn new(base: &'b dyn Reader, hook: Option<Hook<'b>>) -> Overlay<'b> {
        Overlay {
            base,
            changes: Changes::default(),
            failed: RefCell::new(None),
            hook,
        }
    }

    /// The first operation that failed, whatever the body made of it.
    pub(super) fn failure(&self) -> Result<(), StoreError> {
        self.failed.borrow().clone().map_or(Ok(()), Err)
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    /// Asks the hook, runs the operation, and remembers that it failed.
    fn run<T>(
        &self,
        operation: Operation,
        run: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let result = match self.hook {
            Some(hook) => hook(operation).and_then(|()| run()),
            None => run(),
        };
        if let Err(error) = &result {
            self.failed.borrow_mut().get_or_insert(error.clone());
        }
        result
    }
}

impl Reader for Overlay<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(Operation::Get, || {
            match self.changes.tables[table.index()].get(key) {
                Some(change) => Ok(change.clone()),
                None => self.base.get(table, key),
            }
        })
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        self.run(Operation::Scan, || {
            if range.is_empty() {
                return Ok(());
            }
            let changes =
                self.changes.tables[table.index()].range::<[u8], _>((range.start(), range.end()));
            match order {
                Order::Forward => merge(self.base, table, range.clone(), order, changes, visit),
                Order::Backward => {
                    let changes = changes.rev();
                    merge(self.base, table, range.clone(), order, changes, visit)
                }
            }
        })
    }
}

impl Writer for Overlay<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.run(Operation::Put, || {
            if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
                return Err(StoreError::TooLarge { table });
            }
            Ok(())
        })?;
        self.changes.tables[table.index()].insert(key.to_vec(), Some(value.to_vec()));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.run(Operation::Delete, || Ok(()))?;
        self.changes.tables[table.index()].insert(key.to_vec(), None);
        Ok(())
    }
}

/// Visits the records of `base` and the `changes` over them as one sequence. Both come in `order`.
fn merge<'c>(
    base: &dyn Reader,
    table: Table,
    range: KeyRange<'_>,
    order: Order,
    changes: impl Iterator<Item = (&'c Vec<u8>, &'c Option<Vec<u8>>)>,
    visit: &mut Visitor<'_>,
) -> Result<(), StoreError> {
    let mut changes = changes.peekable();
    let mut flow = ControlFlow::Continue(());
    base.scan(table, range, order, &mut |key, value| {
        flow = (|| {
            // What lies before this record, and what replaces or hides it.
            while let Some((changed, new)) = changes.next_if(|(changed, _)| match order {
                Order::Forward => changed.as_slice() <= key,
                Order::Backward => changed.as_slice() >= key,
            }) {
                if let Some(new) = new {
                    visit(changed, new)?;
                }
                if changed.as_slice() == key {
                    return ControlFlow::Continue(());
                }
            }
            visit(key, value)
        })();
        flow
    })?;
    if flow.is_continue() {
        for (changed, new) in changes {
            if let Some(new) = new
                && visit(changed, new).is_break()
            {
                break;
            }
        }
    }
    Ok(())
}

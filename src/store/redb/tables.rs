//! The tables of one transaction: what is in them is read, and what a body changed is written.

use super::fault::Fault;
use crate::store::StoreError;
use crate::store::engine::{Changes, KeyRange, Order, Reader, Table, Visitor};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use std::cell::{OnceCell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one operation of redb; a panic in it is a fault of the file and not of the caller.
pub(super) fn guarded<T>(operation: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // What redb left half done is not used again: every fault ends in closing the file.
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|_| Err(Fault::panicked()))
}

pub(super) type Bytes = &'static [u8];

pub(super) fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

/// What tables are opened in.
pub(super) trait Opens {
    type Records: ReadableTable<Bytes, Bytes>;

    fn open(&self, table: Table) -> Result<Self::Records, Fault>;
}

impl<'t> Opens for &'t WriteTransaction {
    type Records = redb::Table<'t, Bytes, Bytes>;

    fn open(&self, table: Table) -> Result<Self::Records, Fault> {
        Ok(self.open_table(definition(table))?)
    }
}

impl Opens for ReadTransaction {
    type Records = ReadOnlyTable<Bytes, Bytes>;

    fn open(&self, table: Table) -> Result<Self::Records, Fault> {
        Ok(self.open_table(definition(table))?)
    }
}

/// The tables of a transaction, opened when first used.
pub(super) struct Tables<T: Opens> {
    transaction: T,
    tables: [OnceCell<T::Records>; Table::ALL.len()],
    fault: RefCell<Option<Fault>>,
}

impl<T: Opens> Tables<T> {
    pub(super) fn of(transaction: T) -> Tables<T> {
        Tables {
            transaction,
            tables: Default::default(),
            fault: RefCell::new(None),
        }
    }

    /// What went wrong at a read, if anything has.
    pub(super) fn take_fault(&self) -> Option<Fault> {
        self.fault.take()
    }

    fn table(&self, table: Table) -> Result<&T::Records, Fault> {
        let cell = &self.tables[table.index()];
        if cell.get().is_none() {
            let opened = guarded(|| self.transaction.open(table))?;
            // Nobody else fills the cell between the two lines: this is one thread.
            let _ = cell.set(opened);
        }
        cell.get().ok_or_else(Fault::panicked)
    }
}

impl Tables<&WriteTransaction> {
    pub(super) fn apply(&mut self, changes: Changes) -> Result<(), Fault> {
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

impl<T: Opens> Reader for Tables<T> {
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

//! The engine for tests and simulation: maps in memory, and trouble on request.
//!
//! It keeps the whole contract of [`Engine`] except that nothing outlives the process. It can fail
//! the n-th operation with a chosen error, commit and answer that the outcome is unknown, and run
//! every body twice, so that whatever is built above can be tested against all three.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::engine::{
    Changes, Engine, KeyRange, Operation, Order, Overlay, Reader, Table, UpdateBody, Visitor,
    in_body, run_body,
};

/// A store in memory.
#[derive(Default)]
pub struct Memory {
    /// Held through a whole update: updates happen one after the other.
    turn: Mutex<()>,
    tables: Mutex<Tables>,
    plan: Mutex<Plan>,
}

/// One moment of the store. A view keeps its own handles, and an update copies a table only if a
/// view still looks at it.
#[derive(Clone, Default)]
struct Tables([Arc<BTreeMap<Vec<u8>, Vec<u8>>>; Table::ALL.len()]);

#[derive(Default)]
struct Plan {
    operations: u64,
    fail: Option<(u64, StoreError)>,
    unknown_commit: Option<u64>,
    refusal: Option<StoreError>,
    twice: bool,
    rewrites: u64,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// How many operations there have been: get, scan, put, delete, commit and rewrite.
    pub fn operations(&self) -> u64 {
        lock(&self.plan).operations
    }

    /// How often all was stored anew.
    pub fn rewrites(&self) -> u64 {
        lock(&self.plan).rewrites
    }

    /// Makes the `nth` operation from now, counting from 1, fail with `error`. A failed commit
    /// leaves nothing.
    pub fn fail_operation(&self, nth: u64, error: StoreError) {
        let mut plan = lock(&self.plan);
        plan.fail = Some((plan.operations + nth, error));
    }

    /// Makes the `nth` commit from now, counting from 1, succeed and yet answer
    /// [`StoreError::Unknown`], as a disk may do whose fsync failed.
    pub fn answer_unknown_at_commit(&self, nth: u64) {
        lock(&self.plan).unknown_commit = Some(nth);
    }

    /// Makes every commit fail with `error` until it is told otherwise, as on a full disk: reads go
    /// on, and nothing is stored.
    pub fn refuse_commits(&self, error: Option<StoreError>) {
        lock(&self.plan).refusal = error;
    }

    /// Whether each body runs twice, the first time for nothing, as an engine is allowed to do.
    pub fn run_bodies_twice(&self, twice: bool) {
        lock(&self.plan).twice = twice;
    }

    /// Counts one operation, and fails it if it is the one.
    fn count(&self, _operation: Operation) -> Result<(), StoreError> {
        let mut plan = lock(&self.plan);
        plan.operations += 1;
        match plan.fail.take() {
            Some((nth, error)) if nth <= plan.operations => Err(error),
            planned => {
                plan.fail = planned;
                Ok(())
            }
        }
    }

    fn commit(&self, changes: Changes) -> Result<(), StoreError> {
        self.count(Operation::Commit)?;
        if let Some(error) = &lock(&self.plan).refusal {
            return Err(error.clone());
        }
        let mut tables = lock(&self.tables);
        for (table, changes) in changes.into_tables() {
            let records = Arc::make_mut(&mut tables.0[table.index()]);
            for (key, change) in changes {
                match change {
                    Some(value) => records.insert(key, value),
                    None => records.remove(&key),
                };
            }
        }
        let mut plan = lock(&self.plan);
        match plan.unknown_commit.take() {
            Some(nth) if nth <= 1 => Err(StoreError::Unknown),
            planned => {
                plan.unknown_commit = planned.map(|nth| nth - 1);
                Ok(())
            }
        }
    }
}

impl Engine for Memory {
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let moment = lock(&self.tables).clone();
        let hook = |operation| self.count(operation);
        let overlay = Overlay::new(&moment, Some(&hook));
        body(&overlay)?;
        overlay.failure()
    }

    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError> {
        if in_body() {
            return Err(StoreError::Nested);
        }
        let _turn = lock(&self.turn);
        let moment = lock(&self.tables).clone();
        let hook = |operation| self.count(operation);
        let runs = if lock(&self.plan).twice { 2 } else { 1 };
        let mut changes = Changes::default();
        for _ in 0..runs {
            let mut overlay = Overlay::new(&moment, Some(&hook));
            run_body(&body, &mut overlay)?;
            changes = overlay.into_changes();
        }
        // Given up before the commit, which would otherwise copy the tables it changes.
        drop(moment);
        if changes.is_empty() {
            return Ok(());
        }
        self.commit(changes)
    }

    fn rewrite(&self) -> Result<(), StoreError> {
        let _turn = lock(&self.turn);
        self.count(Operation::Rewrite)?;
        lock(&self.plan).rewrites += 1;
        Ok(())
    }
}

impl Reader for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0[table.index()].get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut Visitor<'_>,
    ) -> Result<(), StoreError> {
        if range.is_empty() {
            return Ok(());
        }
        let mut records = self.0[table.index()].range::<[u8], _>((range.start(), range.end()));
        while let Some((key, value)) = match order {
            Order::Forward => records.next(),
            Order::Backward => records.next_back(),
        } {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The lock guards plain values that a panic cannot leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::contract::{check_against_model, contract, counter, dump, increment, steps};
    use super::*;

    #[test]
    fn memory_keeps_the_contract() {
        contract(|| Arc::new(Memory::new()));
    }

    #[test]
    fn memory_keeps_the_contract_when_bodies_run_twice() {
        contract(|| {
            let memory = Memory::new();
            memory.run_bodies_twice(true);
            Arc::new(memory)
        });
    }

    proptest::proptest! {
        #[test]
        fn memory_agrees_with_a_map(steps in steps()) {
            check_against_model(steps, Arc::new(Memory::new()), |engine| engine);
        }
    }

    fn change_three_tables(engine: &dyn Engine) -> Result<(), StoreError> {
        engine.update(|writer| {
            let there = writer.get(Table::Contact, b"a")?;
            writer.put(Table::Contact, b"a", b"new")?;
            writer.scan(
                Table::Outbox,
                KeyRange::all(),
                Order::Forward,
                &mut |_, _| std::ops::ControlFlow::Continue(()),
            )?;
            writer.delete(Table::Outbox, b"b")?;
            writer.put(Table::Seen, b"c", &there.unwrap_or_default())
        })
    }

    fn filled() -> Memory {
        let memory = Memory::new();
        let engine: &dyn Engine = &memory;
        engine
            .update(|writer| {
                writer.put(Table::Contact, b"a", b"old")?;
                writer.put(Table::Outbox, b"b", b"old")
            })
            .unwrap();
        memory
    }

    #[test]
    fn whichever_operation_fails_nothing_is_half_done() {
        for nth in 1.. {
            let memory = filled();
            let before = dump(&memory);
            let operations_before = memory.operations();
            let error = StoreError::Unavailable("on purpose".into());
            memory.fail_operation(nth, error.clone());
            match change_three_tables(&memory) {
                Err(failed) => {
                    assert_eq!(failed, error);
                    assert_eq!(memory.operations() - operations_before, nth);
                    assert_eq!(dump(&memory), before);
                }
                Ok(()) => {
                    // get, put, scan, delete, put, commit
                    assert_eq!(nth, 7);
                    return;
                }
            }
        }
    }

    #[test]
    fn a_failure_that_the_body_ignores_still_fails_the_update() {
        let memory = filled();
        let before = dump(&memory);
        memory.fail_operation(2, StoreError::Full);
        let engine: &dyn Engine = &memory;
        let result = engine.update(|writer| {
            let _ = writer.put(Table::Contact, b"a", b"new");
            let _ = writer.put(Table::Contact, b"b", b"new");
            Ok(())
        });
        assert_eq!(result, Err(StoreError::Full));
        assert_eq!(dump(&memory), before);
    }

    #[test]
    fn an_unknown_commit_may_have_happened() {
        let memory = Memory::new();
        memory.answer_unknown_at_commit(2);
        let engine: &dyn Engine = &memory;
        assert_eq!(engine.update(increment), Ok(1));
        assert_eq!(engine.update(increment), Err(StoreError::Unknown));
        assert_eq!(counter(engine), 2);
        assert_eq!(engine.update(increment), Ok(3));
    }
}

//! What every engine must do, as tests: each engine runs [`contract`] and [`check_against_model`]
//! over stores of its own.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use proptest::prelude::*;

use super::StoreError;
use super::engine::{
    Engine, KEY_BYTES_MAX, KeyRange, Order, Reader, Table, VALUE_BYTES_MAX, Writer,
};

pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Runs every check on a fresh store each.
pub(super) fn contract(fresh: impl Fn() -> Arc<dyn Engine>) {
    what_was_put_is_there(&*fresh());
    a_failed_body_leaves_nothing(&*fresh());
    a_panic_leaves_nothing_and_is_only_an_error(&*fresh());
    an_update_reads_its_own_writes(&*fresh());
    a_scan_merges_own_writes_in_both_orders(&*fresh());
    a_scan_keeps_to_its_bounds(&*fresh());
    a_scan_ends_when_its_visitor_breaks(&*fresh());
    a_visitor_may_read(&*fresh());
    deleted_records_are_not_scanned(&*fresh());
    empty_keys_and_values_are_kept(&*fresh());
    a_view_sees_one_moment(&*fresh());
    an_update_within_an_update_is_refused(fresh());
    records_that_are_too_large_are_refused(&*fresh());
    updates_of_many_threads_add_up(fresh());
    failures_among_many_threads_change_nothing(fresh());
}

fn what_was_put_is_there(engine: &dyn Engine) {
    engine
        .update(|writer| {
            writer.put(Table::Contact, b"a", b"1")?;
            writer.put(Table::Alias, b"a", b"2")
        })
        .unwrap();
    assert_eq!(get(engine, Table::Contact, b"a"), Some(b"1".to_vec()));
    assert_eq!(get(engine, Table::Alias, b"a"), Some(b"2".to_vec()));
    assert_eq!(get(engine, Table::Seen, b"a"), None);
    engine
        .update(|writer| writer.put(Table::Contact, b"a", b"3"))
        .unwrap();
    assert_eq!(get(engine, Table::Contact, b"a"), Some(b"3".to_vec()));
}

fn a_failed_body_leaves_nothing(engine: &dyn Engine) {
    fill(engine, &["a", "b"]);
    let before = dump(engine);
    let result: Result<(), _> = engine.update(|writer| {
        writer.put(Table::Contact, b"a", b"changed")?;
        writer.delete(Table::Contact, b"b")?;
        writer.put(Table::Seen, b"new", b"new")?;
        Err(StoreError::Aborted("on purpose"))
    });
    assert_eq!(result, Err(StoreError::Aborted("on purpose")));
    assert_eq!(dump(engine), before);
}

fn a_panic_leaves_nothing_and_is_only_an_error(engine: &dyn Engine) {
    fill(engine, &["a"]);
    let before = dump(engine);
    let result: Result<(), _> = engine.update(|writer| {
        writer.delete(Table::Contact, b"a")?;
        panic!("on purpose")
    });
    assert_eq!(result, Err(StoreError::BodyPanicked));
    assert_eq!(dump(engine), before);
    fill(engine, &["b"]);
    assert_eq!(get(engine, Table::Contact, b"b"), Some(b"b".to_vec()));
}

fn an_update_reads_its_own_writes(engine: &dyn Engine) {
    fill(engine, &["a", "b"]);
    let seen = engine
        .update(|writer| {
            writer.put(Table::Contact, b"a", b"new")?;
            writer.delete(Table::Contact, b"b")?;
            writer.put(Table::Contact, b"c", b"c")?;
            writer.delete(Table::Contact, b"c")?;
            Ok([b"a", b"b", b"c"].map(|key| writer.get(Table::Contact, key).unwrap()))
        })
        .unwrap();
    assert_eq!(seen, [Some(b"new".to_vec()), None, None]);
}

fn a_scan_merges_own_writes_in_both_orders(engine: &dyn Engine) {
    fill(engine, &["b", "d", "f", "h"]);
    let (forward, backward) = engine
        .update(|writer| {
            for key in ["a", "c", "d", "i"] {
                writer.put(Table::Contact, key.as_bytes(), b"own")?;
            }
            writer.delete(Table::Contact, b"f")?;
            writer.delete(Table::Contact, b"g")?;
            writer.delete(Table::Contact, b"i")?;
            writer.put(Table::Contact, b"j", b"own")?;
            Ok((
                scan(writer, KeyRange::all(), Order::Forward),
                scan(writer, KeyRange::all(), Order::Backward),
            ))
        })
        .unwrap();
    let expected: Pairs = [
        ("a", "own"),
        ("b", "b"),
        ("c", "own"),
        ("d", "own"),
        ("h", "h"),
        ("j", "own"),
    ]
    .map(|(key, value)| (key.into(), value.into()))
    .into();
    assert_eq!(forward, expected);
    assert_eq!(backward, expected.into_iter().rev().collect::<Pairs>());
}

fn a_scan_keeps_to_its_bounds(engine: &dyn Engine) {
    fill(engine, &["a", "b", "ba", "bb", "c", "d"]);
    let keys = |range: KeyRange<'_>| -> String {
        let pairs = engine
            .view(|reader| Ok(scan(reader, range.clone(), Order::Forward)))
            .unwrap();
        let backward = engine
            .view(|reader| Ok(scan(reader, range.clone(), Order::Backward)))
            .unwrap();
        assert_eq!(pairs, backward.into_iter().rev().collect::<Pairs>());
        let keys: Vec<_> = pairs
            .into_iter()
            .map(|(key, _)| String::from_utf8(key).unwrap())
            .collect();
        keys.join(" ")
    };
    use Bound::{Excluded, Included, Unbounded};
    let (b, c): (&[u8], &[u8]) = (b"b", b"c");
    assert_eq!(keys(KeyRange::prefix(b"b")), "b ba bb");
    assert_eq!(keys(KeyRange::prefix(b"")), "a b ba bb c d");
    assert_eq!(keys(KeyRange::prefix(&[0xff, 0xff])), "");
    assert_eq!(keys(KeyRange::new(Included(b), Excluded(c))), "b ba bb");
    assert_eq!(keys(KeyRange::new(Excluded(b), Included(c))), "ba bb c");
    assert_eq!(keys(KeyRange::new(Excluded(b), Unbounded)), "ba bb c d");
    assert_eq!(keys(KeyRange::new(Unbounded, Excluded(b))), "a");
    assert_eq!(keys(KeyRange::new(Included(b), Included(b))), "b");
    assert_eq!(keys(KeyRange::new(Included(b), Excluded(b))), "");
    assert_eq!(keys(KeyRange::new(Excluded(b), Excluded(b))), "");
    assert_eq!(keys(KeyRange::new(Included(c), Included(b))), "");
}

fn a_scan_ends_when_its_visitor_breaks(engine: &dyn Engine) {
    fill(engine, &["a", "c", "e"]);
    let visited = engine
        .update(|writer| {
            writer.put(Table::Contact, b"b", b"own")?;
            writer.put(Table::Contact, b"d", b"own")?;
            let mut counts = Vec::new();
            for limit in 1..=5 {
                let mut count = 0;
                writer.scan(
                    Table::Contact,
                    KeyRange::all(),
                    Order::Forward,
                    &mut |_, _| {
                        count += 1;
                        match count == limit {
                            true => ControlFlow::Break(()),
                            false => ControlFlow::Continue(()),
                        }
                    },
                )?;
                counts.push(count);
            }
            Ok(counts)
        })
        .unwrap();
    assert_eq!(visited, [1, 2, 3, 4, 5]);
}

fn a_visitor_may_read(engine: &dyn Engine) {
    fill(engine, &["a", "b"]);
    let read = |reader: &dyn Reader| {
        let mut found = Vec::new();
        reader.scan(
            Table::Contact,
            KeyRange::all(),
            Order::Forward,
            &mut |key, _| {
                found.push(reader.get(Table::Contact, key).unwrap());
                assert_eq!(reader.get(Table::Dead, key), Ok(None));
                ControlFlow::Continue(())
            },
        )?;
        Ok(found)
    };
    let expected = [Some(b"a".to_vec()), Some(b"b".to_vec())];
    assert_eq!(engine.view(read).unwrap(), expected);
    assert_eq!(engine.update(move |writer| read(writer)).unwrap(), expected);
}

fn deleted_records_are_not_scanned(engine: &dyn Engine) {
    fill(engine, &["a", "b", "c"]);
    engine
        .update(|writer| writer.delete(Table::Contact, b"b"))
        .unwrap();
    let keys: Vec<_> = dump(engine).into_keys().map(|(_, key)| key).collect();
    assert_eq!(keys, [b"a", b"c"]);
}

fn empty_keys_and_values_are_kept(engine: &dyn Engine) {
    engine
        .update(|writer| writer.put(Table::Contact, b"", b""))
        .unwrap();
    assert_eq!(get(engine, Table::Contact, b""), Some(Vec::new()));
}

fn a_view_sees_one_moment(engine: &dyn Engine) {
    fill(engine, &["a"]);
    engine
        .view(|reader| {
            assert_eq!(reader.get(Table::Contact, b"b")?, None);
            engine.update(|writer| writer.put(Table::Contact, b"b", b"later"))?;
            assert_eq!(reader.get(Table::Contact, b"b")?, None);
            assert_eq!(scan(reader, KeyRange::all(), Order::Forward).len(), 1);
            Ok(())
        })
        .unwrap();
    assert_eq!(get(engine, Table::Contact, b"b"), Some(b"later".to_vec()));
}

fn an_update_within_an_update_is_refused(engine: Arc<dyn Engine>) {
    let inner = Arc::clone(&engine);
    let result = engine
        .update(move |_| Ok(inner.update(|writer| writer.put(Table::Contact, b"a", b"a"))))
        .unwrap();
    assert_eq!(result, Err(StoreError::Nested));
    assert!(dump(&*engine).is_empty());
    fill(&*engine, &["a"]);
}

fn records_that_are_too_large_are_refused(engine: &dyn Engine) {
    let table = Table::Contact;
    let key = vec![0; KEY_BYTES_MAX + 1];
    // Also when the body does not care.
    let long_key = engine.update(move |writer| {
        let _ = writer.put(table, &key, b"");
        writer.put(table, b"a", b"a")
    });
    assert_eq!(long_key, Err(StoreError::TooLarge { table }));
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let long_value = engine.update(move |writer| writer.put(table, b"a", &value));
    assert_eq!(long_value, Err(StoreError::TooLarge { table }));
    assert!(dump(engine).is_empty());
}

fn updates_of_many_threads_add_up(engine: Arc<dyn Engine>) {
    const THREADS: u64 = 16;
    const ROUNDS: u64 = 25;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let new = engine
                        .update(move |writer| {
                            writer.put(Table::Seen, &key(thread, round), b"")?;
                            increment(writer)
                        })
                        .unwrap();
                    // Durable and visible once it returned.
                    assert!(counter(&**engine) >= new);
                }
            });
        }
    });
    assert_eq!(counter(&*engine), THREADS * ROUNDS);
    assert_eq!(dump(&*engine).len() as u64, THREADS * ROUNDS + 1);
}

fn failures_among_many_threads_change_nothing(engine: Arc<dyn Engine>) {
    let succeeded = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..12 {
            let (engine, succeeded) = (&engine, &succeeded);
            scope.spawn(move || {
                for round in 0..20 {
                    let result = engine.update(move |writer| {
                        increment(writer)?;
                        writer.put(Table::Seen, &key(thread, round), b"")?;
                        match thread % 3 {
                            0 => Err(StoreError::Aborted("on purpose")),
                            1 => panic!("on purpose"),
                            _ => Ok(()),
                        }
                    });
                    match thread % 3 {
                        0 => assert_eq!(result, Err(StoreError::Aborted("on purpose"))),
                        1 => assert_eq!(result, Err(StoreError::BodyPanicked)),
                        _ => {
                            result.unwrap();
                            succeeded.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(counter(&*engine), 80);
    assert_eq!(succeeded.into_inner(), 80);
    assert_eq!(dump(&*engine).len(), 81);
}

/// One step of a random history.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// An update that writes, and then perhaps fails.
    Update { writes: Vec<Write>, fails: bool },
    /// The store is closed and opened, as far as the engine can.
    Reopen,
}

#[derive(Debug, Clone)]
pub(super) enum Write {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
    /// Compares a scan from the first key to the second, of own writes and older ones.
    Scan(Table, Vec<u8>, Vec<u8>, bool),
}

/// Few tables and short keys, so that steps meet.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let table = prop::sample::select(vec![Table::Contact, Table::Outbox]);
    let key = || prop::collection::vec(0u8..4, 0..3);
    let write = prop_oneof![
        4 => (table.clone(), key(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(table, key, value)| Write::Put(table, key, value)),
        2 => (table.clone(), key()).prop_map(|(table, key)| Write::Delete(table, key)),
        2 => (table, key(), key(), any::<bool>())
            .prop_map(|(table, from, to, back)| Write::Scan(table, from, to, back)),
    ];
    let step = prop_oneof![
        8 => (prop::collection::vec(write, 0..8), prop::bool::weighted(0.2))
            .prop_map(|(writes, fails)| Step::Update { writes, fails }),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 0..25)
}

pub(super) type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// Runs a history on an engine and on a map, which must agree all the way.
pub(super) fn check_against_model(
    steps: Vec<Step>,
    mut engine: Arc<dyn Engine>,
    reopen: impl Fn(Arc<dyn Engine>) -> Arc<dyn Engine>,
) {
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Reopen => engine = reopen(engine),
            Step::Update { writes, fails } => {
                let mut after = model.clone();
                let mut expected = Vec::new();
                for write in &writes {
                    match write.clone() {
                        Write::Put(table, key, value) => {
                            after.insert((table, key), value);
                        }
                        Write::Delete(table, key) => {
                            after.remove(&(table, key));
                        }
                        Write::Scan(table, from, to, back) => {
                            let mut pairs: Pairs = after
                                .iter()
                                .filter(|((of, key), _)| *of == table && *key >= from && *key < to)
                                .map(|((_, key), value)| (key.clone(), value.clone()))
                                .collect();
                            if back {
                                pairs.reverse();
                            }
                            expected.push(pairs);
                        }
                    }
                }
                let result = engine.update(move |writer| {
                    let scans = play(writer, &writes)?;
                    match fails {
                        true => Err(StoreError::Aborted("on purpose")),
                        false => Ok(scans),
                    }
                });
                if fails {
                    assert_eq!(result, Err(StoreError::Aborted("on purpose")));
                } else {
                    assert_eq!(result.unwrap(), expected);
                    model = after;
                }
            }
        }
        assert_eq!(dump(&*engine), model);
    }
}

fn play(writer: &mut dyn Writer, writes: &[Write]) -> Result<Vec<Pairs>, StoreError> {
    let mut scans = Vec::new();
    for write in writes {
        match write {
            Write::Put(table, key, value) => writer.put(*table, key, value)?,
            Write::Delete(table, key) => writer.delete(*table, key)?,
            Write::Scan(table, from, to, back) => {
                let range = KeyRange::new(Bound::Included(from), Bound::Excluded(to));
                let order = if *back {
                    Order::Backward
                } else {
                    Order::Forward
                };
                scans.push(scan_table(writer, *table, range, order));
            }
        }
    }
    Ok(scans)
}

/// Everything in the store.
pub(super) fn dump(engine: &dyn Engine) -> Model {
    engine
        .view(|reader| {
            let mut records = Model::new();
            for table in Table::ALL {
                for (key, value) in scan_table(reader, table, KeyRange::all(), Order::Forward) {
                    records.insert((table, key), value);
                }
            }
            Ok(records)
        })
        .unwrap()
}

pub(super) fn get(engine: &dyn Engine, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    engine.view(|reader| reader.get(table, key)).unwrap()
}

fn scan(reader: &(impl Reader + ?Sized), range: KeyRange<'_>, order: Order) -> Pairs {
    scan_table(reader, Table::Contact, range, order)
}

fn scan_table(
    reader: &(impl Reader + ?Sized),
    table: Table,
    range: KeyRange<'_>,
    order: Order,
) -> Pairs {
    let mut pairs = Pairs::new();
    reader
        .scan(table, range, order, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .unwrap();
    pairs
}

fn fill(engine: &dyn Engine, keys: &'static [&'static str]) {
    engine
        .update(move |writer| {
            for key in keys {
                writer.put(Table::Contact, key.as_bytes(), key.as_bytes())?;
            }
            Ok(())
        })
        .unwrap();
}

/// Adds one to a counter, and returns it.
pub(super) fn increment(writer: &mut dyn Writer) -> Result<u64, StoreError> {
    let value = number(writer.get(Table::Budget, b"counter")?) + 1;
    writer.put(Table::Budget, b"counter", &value.to_be_bytes())?;
    Ok(value)
}

pub(super) fn counter(engine: &dyn Engine) -> u64 {
    number(get(engine, Table::Budget, b"counter"))
}

fn number(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

fn key(thread: u64, round: u64) -> Vec<u8> {
    [thread.to_be_bytes(), round.to_be_bytes()].concat()
}

/// Random numbers that a failing test can be repeated with (splitmix64).
#[derive(Debug)]
pub(super) struct Dice(pub u64);

impl Dice {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % limit
    }
}

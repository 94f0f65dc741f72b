//! The disk takes no writes any more, or does not keep them.

use super::platter::Unsynced;
use super::*;
use std::ops::RangeInclusive;

/// Operations of the disk of which each is once the first that is refused.
const OPERATIONS: RangeInclusive<u64> = 1..=500;

/// Syncs of which each fails once.
const SYNCS: RangeInclusive<u64> = 1..=200;

/// Records that are there before.
const BEFORE: u64 = 30;

/// Updates in a history at most: more than as many operations or syncs as above take.
const UPDATES_MAX: u64 = 400;

/// One message as it is received: it has no effect the second time.
fn receive(engine: &dyn Engine, number: u64) -> Result<(), StoreError> {
    engine.update(move |writer| {
        let key = number.to_be_bytes();
        if writer.get(Table::Contact, &key)?.is_some() {
            return Ok(());
        }
        let value = vec![number as u8; 600];
        writer.put(Table::Contact, &key, &value)?;
        writer.put(Table::Outbox, &key, &value)?;
        increment(writer).map(drop)
    })
}

/// A disk with some records.
fn filled() -> Vec<u8> {
    let platter = Platter::default();
    let engine = platter.open().unwrap();
    for number in 0..BEFORE {
        receive(&engine, number).unwrap();
    }
    drop(engine);
    let state = platter.state();
    state.durable.clone()
}

/// What is there is exactly all of these, each once; also when the file is opened again.
fn check_all_once(platter: &Platter, engine: Redb, last: u64) {
    let all: Vec<u64> = (0..=last).collect();
    assert_eq!(numbers(&engine), all);
    drop(engine);
    assert_eq!(numbers(&platter.open().unwrap()), all);
}

/// From the n-th operation on nothing can be written, until somebody makes that possible again.
fn refuse_from(nth: u64, bytes: &[u8], kind: io::ErrorKind, error: &StoreError) {
    let platter = Platter::of(bytes.to_vec());
    let engine = platter.open().unwrap();
    platter.fail(nth, u64::MAX, kind);
    let mut number = BEFORE;
    while receive(&engine, number).is_ok() {
        number += 1;
        assert!(number < UPDATES_MAX, "nothing was refused");
    }
    for _ in 0..2 {
        assert_eq!(receive(&engine, number).as_ref(), Err(error));
        // What was acknowledged is read; whether the last one is there nobody has said.
        let there = numbers(&engine);
        assert!(there.iter().copied().take(number as usize).eq(0..number));
        assert!(there.len() as u64 <= number + 1);
    }
    platter.mend();
    for number in number..number + 3 {
        receive(&engine, number).unwrap();
    }
    check_all_once(&platter, engine, number + 2);
}

/// So many operations are refused, and the sender repeats what was not acknowledged.
fn refuse_for(nth: u64, operations: u64, bytes: &[u8], kind: io::ErrorKind) {
    const TRIES_MAX: usize = 8;
    let platter = Platter::of(bytes.to_vec());
    let engine = platter.open().unwrap();
    platter.fail(nth, operations, kind);
    let mut number = BEFORE;
    while platter.state().operations < nth + operations + 20 {
        let mut tries = (0..TRIES_MAX).map(|_| receive(&engine, number));
        assert!(tries.any(|answer| answer.is_ok()), "it does not recover");
        number += 1;
    }
    check_all_once(&platter, engine, number - 1);
}

/// whichever operation is the first that a full or read-only disk refuses, nothing is
/// acknowledged that is not stored, what is there is read meanwhile, and when the disk can be
/// written all goes on, with nothing lost and nothing done twice.
#[test]
fn whichever_operation_a_disk_refuses_nothing_is_lost_or_doubled_and_all_goes_on_by_itself() {
    let bytes = filled();
    for (kind, error) in [
        (io::ErrorKind::StorageFull, StoreError::Full),
        (io::ErrorKind::ReadOnlyFilesystem, StoreError::ReadOnly),
    ] {
        for_each(OPERATIONS, |nth| {
            refuse_from(nth, &bytes, kind, &error);
            refuse_for(nth, 1 + nth % 7, &bytes, kind);
        });
    }
}

/// a disk that fails once and is made read-only by the system because of it.
#[test]
fn a_disk_that_becomes_read_only_after_an_error_is_waited_for() {
    let bytes = filled();
    for_each(1..=60, |nth| {
        let platter = Platter::of(bytes.clone());
        let engine = platter.open().unwrap();
        {
            let mut state = platter.state();
            state.then_read_only = true;
        }
        platter.fail(nth, 1, io::ErrorKind::Other);
        let mut number = BEFORE;
        while receive(&engine, number).is_ok() {
            number += 1;
            assert!(number < UPDATES_MAX, "nothing failed");
        }
        assert_eq!(receive(&engine, number), Err(StoreError::ReadOnly));
        assert!(numbers(&engine).len() as u64 >= number);
        platter.mend();
        receive(&engine, number).unwrap();
        check_all_once(&platter, engine, number);
    });
}

/// whichever sync fails, and whatever becomes of what it should have kept, that update is not
/// acknowledged, the file is opened again, and what the sender then repeats is there once, also
/// when the power fails afterwards.
#[test]
fn whichever_sync_fails_is_not_acknowledged_and_what_is_repeated_is_kept_once() {
    let bytes = filled();
    for unsynced in [Unsynced::Wait, Unsynced::Forgotten, Unsynced::Kept] {
        for_each(SYNCS, |nth| {
            let platter = Platter::of(bytes.clone());
            let engine = platter.open().unwrap();
            {
                let mut state = platter.state();
                state.failing_sync = Some((state.syncs + nth, unsynced));
            }
            let mut number = BEFORE;
            while receive(&engine, number).is_ok() {
                number += 1;
                assert!(number < UPDATES_MAX, "no sync failed");
            }
            for number in number..number + 2 {
                receive(&engine, number).unwrap();
            }
            let after_power_loss = Platter::of(platter.state().durable.clone());
            assert_eq!(
                numbers(&after_power_loss.open().unwrap()),
                (0..number + 2).collect::<Vec<_>>(),
                "{unsynced:?}"
            );
            check_all_once(&platter, engine, number + 1);
        });
    }
}

/// a disk that never keeps anything again is tried once more, and then given up for good.
#[test]
fn whichever_sync_is_the_first_of_all_that_fail_nothing_is_acknowledged_from_then_on() {
    let bytes = filled();
    for_each(SYNCS, |nth| {
        let platter = Platter::of(bytes.clone());
        let engine = platter.open().unwrap();
        {
            let mut state = platter.state();
            state.syncs_fail_from = Some(state.syncs + nth);
        }
        let mut number = BEFORE;
        while receive(&engine, number).is_ok() {
            number += 1;
            assert!(number < UPDATES_MAX, "no sync failed");
        }
        // The second time at the latest.
        assert!(receive(&engine, number).is_err());
        assert!(matches!(
            receive(&engine, number),
            Err(StoreError::Broken(_))
        ));
        drop(engine);
        let durable = Platter::of(platter.state().durable.clone());
        let there = numbers(&durable.open().unwrap());
        assert!(there.iter().copied().eq(0..number));
    });
}

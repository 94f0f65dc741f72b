//! Tests of `migrate`, with steps of their own: a store is made as one of format 1, and becomes one
//! of format 2 and 3.

#![allow(clippy::unwrap_used)]

use super::super::contract::dump;
use super::super::engine::{KeyRange, Order, Reader};
use super::super::redb::Options;
use super::super::{Memory, Redb};
use super::*;
use std::io::Read as _;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RECORDS: u32 = 50;
const BATCH: usize = 7;

pub(in crate::store) const SEEDED: &[Step] = &[
    Step {
        name: "budgets end in a plus",
        run: |writer, _, place| change(writer, place, b"+"),
    },
    Step {
        name: "and in a star",
        run: |writer, _, place| change(writer, place, b"*"),
    },
];

/// Appends to a few records: done twice it would show.
fn change(
    writer: &mut dyn Writer,
    place: Option<&[u8]>,
    end: &[u8],
) -> Result<Option<Vec<u8>>, StoreError> {
    let after = place.map_or(Bound::Unbounded, Bound::Excluded);
    let mut batch = Vec::new();
    writer.scan(
        Table::Budget,
        KeyRange::new(after, Bound::Unbounded),
        Order::Forward,
        &mut |key, value| {
            batch.push((key.to_vec(), [value, end].concat()));
            match batch.len() < BATCH {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        },
    )?;
    for (key, value) in &batch {
        writer.put(Table::Budget, key, value)?;
    }
    Ok(match batch.len() < BATCH {
        true => None,
        false => batch.pop().map(|(key, _)| key),
    })
}

pub(in crate::store) fn key() -> MasterKey {
    MasterKey::from_hex(&"0123456789abcdef".repeat(4)).unwrap()
}

/// A store as the program of format 1 leaves it.
pub(in crate::store) fn fill(engine: Arc<dyn Engine>) {
    let store = open_for(engine, &key(), &[]).unwrap();
    store
        .update(|writer| {
            for number in 0..RECORDS {
                writer.put(Table::Budget, &number.to_be_bytes(), b"one")?;
            }
            Ok(())
        })
        .unwrap();
}

pub(in crate::store) fn budgets(store: &Sealed) -> Vec<String> {
    let read = |reader: &dyn Reader| {
        let mut found = Vec::new();
        reader.scan(
            Table::Budget,
            KeyRange::all(),
            Order::Forward,
            &mut |_, value| {
                found.push(String::from_utf8(value.to_vec()).unwrap());
                ControlFlow::Continue(())
            },
        )?;
        Ok(found)
    };
    store.view(read).unwrap()
}

pub(in crate::store) fn all(text: &str) -> Vec<String> {
    vec![text.to_owned(); RECORDS as usize]
}

fn redb(path: &Path) -> Arc<dyn Engine> {
    Arc::new(Redb::open(path, Options::default()).unwrap())
}

#[test]
fn an_older_store_is_brought_forward_after_a_snapshot_of_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portero.redb");
    // Also where the operator wants none.
    let snapshots = Snapshots::new(folder.path().join("snapshots"), 0);
    let now = Timestamp(1_800_000_000_000);
    fill(redb(&path));
    let (store, made) = open(redb(&path), &key(), &snapshots, now, SEEDED).unwrap();
    assert_eq!(budgets(&store), all("one+*"));
    assert_eq!(seal::format_of(&**store.engine()).unwrap(), Some(3));
    drop(store);
    // The way back is a whole store of the program before.
    let before = open_for(redb(&made.unwrap()), &key(), &[]).unwrap();
    assert_eq!(budgets(&before), all("one"));

    // Nothing more is to be done, and nothing is kept again.
    let (store, made) = open(redb(&path), &key(), &snapshots, now, SEEDED).unwrap();
    assert_eq!((budgets(&store), made), (all("one+*"), None));
    assert_eq!(snapshots.list().unwrap().len(), 1);
    // Nor is the first hourly one late because of it.
    assert_eq!(snapshots.list_hourly().unwrap(), []);
    // A new store is of the newest format from the beginning.
    let (new, made) = open(Arc::new(Memory::new()), &key(), &snapshots, now, SEEDED).unwrap();
    let format = seal::format_of(&**new.engine()).unwrap();
    assert_eq!((format, made), (Some(3), None));
}

#[test]
fn without_a_snapshot_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("snapshots");
    std::fs::write(&in_the_way, "").unwrap();
    let engine: Arc<dyn Engine> = Arc::new(Memory::new());
    fill(Arc::clone(&engine));
    let before = dump(&*engine);
    let snapshots = Snapshots::new(in_the_way, 24);
    let opened = open(
        Arc::clone(&engine),
        &key(),
        &snapshots,
        Timestamp(0),
        SEEDED,
    );
    assert!(matches!(opened, Err(CopyError::Open(OpenError::Io { .. }))));
    assert_eq!(dump(&*engine), before);
}

#[test]
fn wherever_it_fails_the_next_start_goes_on_and_changes_nothing_twice() {
    let mut nth = 0;
    loop {
        nth += 1;
        let memory = Arc::new(Memory::new());
        let engine: Arc<dyn Engine> = Arc::clone(&memory) as _;
        fill(Arc::clone(&engine));
        let begun = memory.operations();
        memory.fail_operation(nth, StoreError::Unavailable("a fault".to_owned()));
        let failed = open_for(Arc::clone(&engine), &key(), SEEDED).is_err();
        let is_over = !failed && memory.operations() - begun < nth;
        memory.fail_operation(1 << 40, StoreError::Unknown);
        if seal::format_of(&*engine).unwrap() > Some(1) {
            let older = open_for(Arc::clone(&engine), &key(), &[]);
            let Err(OpenError::NewerFormat { supported: 1, .. }) = older else {
                panic!("at {nth} the program before opens what is half changed");
            };
        }
        let store = open_for(Arc::clone(&engine), &key(), SEEDED).unwrap();
        assert_eq!(budgets(&store), all("one+*"), "{nth}");
        if is_over {
            break;
        }
    }
    assert!(nth > 100, "{nth}");
}

#[test]
fn r_80_wherever_it_fails_the_snapshot_from_before_stays_and_is_the_only_one() {
    let mut nth = 0;
    loop {
        nth += 1;
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(folder.path().join("snapshots"), 0);
        let memory = Arc::new(Memory::new());
        let engine: Arc<dyn Engine> = Arc::clone(&memory) as _;
        fill(Arc::clone(&engine));
        let start = |now| {
            open(
                Arc::clone(&engine),
                &key(),
                &snapshots,
                Timestamp(now),
                SEEDED,
            )
        };
        let begun = memory.operations();
        memory.fail_operation(nth, StoreError::Unavailable("a fault".to_owned()));
        let failed = start(1).is_err();
        let is_over = !failed && memory.operations() - begun < nth;
        memory.fail_operation(1 << 40, StoreError::Unknown);
        let was_changed = seal::format_of(&*engine).unwrap() > Some(1);
        let (store, made) = start(2).unwrap();
        assert_eq!(budgets(&store), all("one+*"), "{nth}");
        assert_eq!(made.is_some(), !was_changed, "{nth}");
        let [(_, way_back)] = &snapshots.list().unwrap()[..] else {
            panic!("{nth}: {:?}", snapshots.list());
        };
        let name = way_back.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("before-format-3-portero-1970"), "{name}");
        let before = open_for(redb(way_back), &key(), &[]).unwrap();
        assert_eq!(budgets(&before), all("one"), "{nth}");
        if is_over {
            break;
        }
    }
    assert!(nth > 100, "{nth}");
}

#[test]
fn an_unknown_commit_and_bodies_that_run_twice_change_nothing_twice() {
    for nth in 1..=20 {
        let memory = Arc::new(Memory::new());
        let engine: Arc<dyn Engine> = Arc::clone(&memory) as _;
        fill(Arc::clone(&engine));
        memory.run_bodies_twice(true);
        memory.answer_unknown_at_commit(nth);
        let _ = open_for(Arc::clone(&engine), &key(), SEEDED);
        let store = open_for(engine, &key(), SEEDED).unwrap();
        assert_eq!(budgets(&store), all("one+*"), "{nth}");
    }
}

#[test]
fn a_newer_store_is_refused_with_what_to_do() {
    let engine: Arc<dyn Engine> = Arc::new(Memory::new());
    fill(Arc::clone(&engine));
    drop(open_for(Arc::clone(&engine), &key(), SEEDED).unwrap());
    let before = dump(&*engine);
    let refused = open_for(Arc::clone(&engine), &key(), &SEEDED[..1]);
    let refusal = refused.map(|_| ()).unwrap_err();
    assert!(refusal.to_string().contains("format 3, this one knows 2"));
    let advice = refusal.advice();
    assert!(advice.contains("Run that version") && advice.contains("portero restore"));
    assert_eq!(dump(&*engine), before);
}

/// Names the store that the process below changes.
const STORE: &str = "PORTERO_TEST_MIGRATED_STORE";

/// Not a test of its own: the process that is killed.
#[test]
fn the_process_that_is_killed() {
    let Some(path) = std::env::var_os(STORE) else {
        return;
    };
    const SLOW: &[Step] = &[
        Step {
            name: "slowly",
            run: |writer, _, place| {
                std::thread::sleep(Duration::from_millis(5));
                change(writer, place, b"+")
            },
        },
        SEEDED[1],
    ];
    println!("begun");
    open_for(redb(Path::new(&path)), &key(), SLOW).unwrap();
}

#[test]
fn r_80_a_process_that_is_killed_while_it_changes_the_store_is_followed_by_one_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut half_changed = 0;
    for wait_ms in [0, 4, 8, 12, 16, 20, 25, 30, 40, 50, 60, 80] {
        let path = folder.path().join(format!("{wait_ms}.redb"));
        fill(redb(&path));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::migrate::tests::the_process_that_is_killed",
            ])
            .arg("--nocapture")
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut output, mut told) = (child.stdout.take().unwrap(), Vec::new());
        while !told.ends_with(b"begun\n") {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            told.push(byte[0]);
        }
        let until = Instant::now() + Duration::from_millis(wait_ms);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Sealed::open_before(redb(&path), &key(), 3).unwrap();
        let found = budgets(&store);
        half_changed += usize::from(found.iter().any(|one| *one != found[0]));
        drop(store);
        let store = open_for(redb(&path), &key(), SEEDED).unwrap();
        assert_eq!(budgets(&store), all("one+*"), "after {wait_ms} ms");
    }
    assert!(half_changed > 0, "nothing was killed in the middle");
}

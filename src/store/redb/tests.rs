//! Tests of `redb`.

#![allow(clippy::unwrap_used)]

mod damage;
mod platter;
mod power;
mod refused;
mod upgrade;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use super::super::contract::{
    Dice, Model, check_against_model, contract, counter, dump, get, increment, steps,
};
use super::disk::explain;
use super::*;
use crate::store::engine::{KeyRange, Order, Table};
use platter::Platter;
use redb::{StorageBackend, TableDefinition};
use std::path::PathBuf;

impl Platter {
    fn open(&self) -> Result<Redb, OpenError> {
        let options = Options {
            // Little, so that pages are also read again.
            cache_bytes: 64 * 1024,
            ..Options::default()
        };
        let mut engine = Redb::on(Box::new(self.clone()), options)?;
        engine.refused_retry_after = Duration::ZERO;
        Ok(engine)
    }
}

impl Disk for Platter {
    fn open(&self, purpose: Purpose) -> Result<Box<dyn StorageBackend>, OpenError> {
        let fail = self.state().fail;
        match (purpose, fail) {
            (Purpose::Writing, Some((_, u64::MAX, io::ErrorKind::ReadOnlyFilesystem))) => {
                Err(OpenError::ReadOnly(self.path().into()))
            }
            _ => Ok(Box::new(self.clone())),
        }
    }

    fn has_room(&self) -> bool {
        // What fails once does not fail while it is tried.
        let fail = self.state().fail;
        !matches!(fail, Some((_, u64::MAX, _)))
    }

    fn path(&self) -> &Path {
        Path::new("store")
    }
}

/// Calls `check` with each number on all processors; the first that fails is named.
fn for_each(numbers: std::ops::RangeInclusive<u64>, check: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(*numbers.start());
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while lock(&failed).is_none() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > *numbers.end() {
                        return;
                    }
                    if catch_unwind(AssertUnwindSafe(|| check(number))).is_err() {
                        *lock(&failed) = Some(number);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert_eq!(failed, None, "number {} fails", failed.unwrap_or(0));
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
    let syncs = platter.state().syncs;
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
    assert_eq!(platter.state().syncs - syncs, 2);
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
    engine.refused_retry_after = Duration::MAX;
    put_number(&engine, 0).unwrap();
    platter.fail(1, 1, io::ErrorKind::StorageFull);
    assert_eq!(put_number(&engine, 1), Err(StoreError::Full));
    let operations = platter.state().operations;
    assert_eq!(put_number(&engine, 2), Err(StoreError::Full));
    assert_eq!(numbers(&engine)[0], 0);
    assert_eq!(platter.state().operations, operations);
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
    platter.state().reads_fail = true;
    assert!(matches!(read_all(), Err(StoreError::Unavailable(_))));
    // Reopening read the file and met the same.
    let Err(StoreError::Broken(reason)) = read_all() else {
        panic!("it goes on");
    };
    assert!(reason.contains("Check the disk"), "{reason}");
}

fn write_private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
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
        assert!(error.advice().contains("chmod 600"), "{error}");
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
    let nowhere = open(&nowhere).err().unwrap();
    assert!(nowhere.advice().contains("mkdir -p"), "{nowhere}");

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
    let told = |kind: io::ErrorKind| explain(Path::new("store"), io::Error::from(kind).into());
    let sentence = |kind| told(kind).to_string();
    assert!(sentence(io::ErrorKind::ReadOnlyFilesystem).contains("read-only"));
    let denied = told(io::ErrorKind::PermissionDenied);
    assert!(denied.advice().contains("chown"), "{denied}");
    assert!(sentence(io::ErrorKind::StorageFull).contains("is full"));
    assert!(sentence(io::ErrorKind::QuotaExceeded).contains("is full"));
    assert!(sentence(io::ErrorKind::TimedOut).contains("cannot be opened"));
}

// --- copies, and all stored anew ---------------------------------------------------------------------------

fn on_disk(folder: &tempfile::TempDir) -> (PathBuf, Arc<Redb>) {
    let path = folder.path().join("store.redb");
    let engine = Redb::open(&path, Options::default()).unwrap();
    (path, Arc::new(engine))
}

fn holds(path: &Path, needle: &[u8]) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn what_was_deleted_is_in_the_file_until_all_is_stored_anew() {
    const SECRET: &[u8] = b"the words of somebody who wants to be forgotten";
    let folder = tempfile::tempdir().unwrap();
    let (path, engine) = on_disk(&folder);
    let engine: Arc<dyn Engine> = engine;
    engine
        .update(|writer| {
            writer.put(Table::Contact, b"a", SECRET)?;
            writer.put(Table::Contact, b"b", b"stays")
        })
        .unwrap();
    engine
        .update(|writer| writer.delete(Table::Contact, b"a"))
        .unwrap();
    let before = dump(&*engine);
    assert!(holds(&path, SECRET), "there would be nothing to do");
    engine.rewrite().unwrap();
    assert!(!holds(&path, SECRET));
    assert_eq!(dump(&*engine), before);
    // What is stored from now on is in the file that has the name.
    engine.update(increment).unwrap();
    drop(engine);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "something was left beside the store");
    let (_, engine) = on_disk(&folder);
    assert_eq!(counter(&*engine), 1);
    assert_eq!(get(&*engine, Table::Contact, b"b"), Some(b"stays".into()));
}

#[test]
fn a_view_goes_on_while_all_is_stored_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (_, redb) = on_disk(&folder);
    let engine: &dyn Engine = &*redb;
    engine.update(increment).unwrap();
    let mut rewrite = None;
    engine
        .view(|reader| {
            let rewriting = Arc::clone(&redb);
            let thread = thread::spawn(move || rewriting.rewrite());
            while !matches!(&*redb.read_state(), State::Open { opening: 2, .. }) {
                thread::yield_now();
            }
            // Time enough to close the old file, for who does not wait for this view.
            for _ in 0..50 {
                engine.update(increment)?;
            }
            assert!(!thread.is_finished(), "the file was closed under a view");
            rewrite = Some(thread);
            assert!(reader.get(Table::Budget, b"counter")?.is_some());
            reader.get(Table::Contact, b"none").map(|_| ())
        })
        .unwrap();
    rewrite.unwrap().join().unwrap().unwrap();
    assert_eq!(counter(engine), 51);
}

#[test]
fn nothing_is_lost_when_all_is_stored_anew_again_and_again_under_load() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let (_, engine) = on_disk(&folder);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        (&*engine as &dyn Engine).update(increment).unwrap();
                    }
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            engine.rewrite().unwrap();
        }
    });
    assert_eq!(counter(&*engine), THREADS * ROUNDS);
    drop(engine);
    let (_, engine) = on_disk(&folder);
    assert_eq!(counter(&*engine), THREADS * ROUNDS);
}

#[test]
fn a_draft_that_a_process_left_is_gone_with_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let (path, engine) = on_disk(&folder);
    drop(engine);
    let draft = file::with_suffix(&path, REWRITE_SUFFIX);
    fs::write(&draft, "half a store").unwrap();
    let _engine = on_disk(&folder);
    assert!(!draft.exists());
}

/// whatever is stored meanwhile, a copy is of one moment.
#[test]
fn copies_under_load_are_of_one_moment_each_and_overwrite_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, engine) = on_disk(&folder);
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut round = 0u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                round += 1;
                (&*engine as &dyn Engine)
                    .update(move |writer| {
                        writer.put(Table::Contact, b"a", &round.to_be_bytes())?;
                        writer.put(Table::Outbox, b"b", &round.to_be_bytes())
                    })
                    .unwrap();
            }
        });
        for number in 0..5 {
            let path = folder.path().join(format!("copy-{number}"));
            let copied = write_copy(&*engine, &path).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let again = write_copy(&*engine, &path);
            assert!(matches!(again, Err(CopyError::Exists(_))), "{again:?}");
            let copy = Redb::open(&path, Options::default()).unwrap();
            assert_eq!(
                get(&copy, Table::Contact, b"a"),
                get(&copy, Table::Outbox, b"b")
            );
            assert_eq!(dump(&copy).len() as u64, copied.records);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().unwrap();
    });
    let nowhere = write_copy(&*engine, &folder.path().join("none/copy"));
    let error = nowhere.unwrap_err();
    assert!(matches!(error, CopyError::MissingDirectory(_)), "{error}");
    assert!(!error.to_string().contains("configuration"), "{error}");
}

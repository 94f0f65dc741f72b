//! How many durable updates a second the store makes, against how often the disk can sync.
//!
//! Run with `cargo bench --bench store`, or `-- 8 64` for other numbers of threads. The file lies in `target/`, which must be on a real disk.
//! Absolute figures differ between machines; the ratio to the disk's own rate, measured in between,
//! is what to compare.
#![allow(clippy::unwrap_used)]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed, Table};

const ROUNDS: u32 = 3;
const DISK_SECONDS: f64 = 2.0;
const UPDATE_SECONDS: f64 = 4.0;
const THREADS: [usize; 3] = [1, 32, 128];

fn main() {
    // cargo passes --bench; numbers behind it replace the thread counts.
    let mut counts: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if counts.is_empty() {
        counts = THREADS.into();
    }
    let directory = Path::new("target/bench-store");
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap();
    println!("round  fdatasync/s  threads  updates/s  ratio  cpu us  written kB");
    for round in 1..=ROUNDS {
        let syncs = syncs_per_second(&directory.join("disk"));
        for &threads in &counts {
            let path = directory.join(format!("store-{round}-{threads}"));
            let before = (cpu_seconds(), written_bytes());
            let (updates, seconds) = updates(&path, threads);
            let rate = updates as f64 / seconds;
            println!(
                "{round:5}  {syncs:11.0}  {threads:7}  {rate:9.0}  {:5.2}  {:6.1}  {:10.1}",
                rate / syncs,
                (cpu_seconds() - before.0) * 1e6 / updates as f64,
                (written_bytes() - before.1) / 1e3 / updates as f64,
            );
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

/// Appends of 4 KiB, each followed by fdatasync.
fn syncs_per_second(path: &Path) -> f64 {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed().as_secs_f64() < DISK_SECONDS {
        file.write_all(&[1; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

/// What one webhook does: a look at a contact, and its new state, a seen mark and something to send.
/// Contacts and marks lie anywhere in their tables, as digests do; what is to be sent is in order.
fn updates(path: &Path, threads: usize) -> (u64, f64) {
    let engine = Redb::open(path, Options::default()).unwrap();
    let key = MasterKey::generate().unwrap();
    let store = Sealed::open(Arc::new(engine), &key).unwrap();
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    let entries = AtomicU64::new(0);
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let (store, stop, done, entries) = (&store, &stop, &done, &entries);
            scope.spawn(move || {
                let mut number = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let contact = spread((thread << 32) | (number % 64));
                    let message = spread((thread << 32) | number);
                    let entry = entries.fetch_add(1, Ordering::Relaxed).to_be_bytes();
                    store
                        .update(move |writer| {
                            let old = writer.get(Table::Contact, &contact)?;
                            let size = 300 + old.map_or(0, |old| old.len() % 2);
                            writer.put(Table::Contact, &contact, &vec![1; size])?;
                            writer.put(Table::Seen, &message, &[2; 300])?;
                            writer.put(Table::Outbox, &entry, &[3; 300])
                        })
                        .unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(Duration::from_secs_f64(UPDATE_SECONDS));
        stop.store(true, Ordering::Relaxed);
    });
    (done.into_inner(), start.elapsed().as_secs_f64())
}

/// Keys as digests are: anywhere in the table.
fn spread(number: u64) -> [u8; 16] {
    let high = (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&high.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// CPU time of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The fields behind the name: utime and stime are the 12th and 13th of them, in ticks of 10 ms.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .filter_map(|tick| tick.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

/// Bytes this process has sent to the disk.
fn written_bytes() -> f64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find(|line| line.starts_with("write_bytes:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0.0)
}

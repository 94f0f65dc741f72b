//! What it was measured on.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const DISK_MEASURED: Duration = Duration::from_secs(2);

/// Prints the machine and what was run.
pub fn print(folder: &Path, words: &[String], seed: u64) -> io::Result<()> {
    let cores = thread::available_parallelism()?;
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = (info.lines())
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Up to the first word that is a distributor's own.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory: f64 = (memory.lines())
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0.0);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("# What Portero does in a second\n");
    println!("- commit: {}", commit());
    println!(
        "- command: `cargo bench --bench portero{}`",
        words
            .iter()
            .map(|word| format!(" {word}"))
            .collect::<String>()
    );
    println!("- seed: {seed:#x}");
    println!(
        "- machine: {cores} cores ({model}), {:.0} GiB of memory, Linux {kernel}; clients, stand-ins and program share the cores",
        memory / 1024.0 / 1024.0
    );
    println!("- others on it before the run: load average {load}");
    println!(
        "- disk: {:.0} fdatasync/s of 4 KiB",
        fdatasync_rate(folder)?
    );
    Ok(())
}

fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changes = git(&[
        "status",
        "--porcelain",
        "--",
        "src",
        "Cargo.toml",
        "Cargo.lock",
    ]);
    if changes.is_some_and(|changes| !changes.is_empty()) {
        format!("{commit}, with changes that are not in it")
    } else {
        commit
    }
}

/// How many appends of 4 KiB a second the disk makes durable, one after the other.
pub fn fdatasync_rate(folder: &Path) -> io::Result<f64> {
    let path = folder.join("disk");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = [7u8; 4096];
    let (begin, mut count) = (Instant::now(), 0);
    while begin.elapsed() < DISK_MEASURED {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

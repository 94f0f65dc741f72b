//! How fast the release binary is and what it needs: `cargo bench --bench portero`, or only some of
//! the parts, `cargo bench --bench portero -- webhooks sign-ins`.
//!
//! `-- peers`, which needs Node 22 and npm and runs only when asked for, measures another program beside
//! it.
//!
//! Starts the binary on loopback with stand-ins for the world around it and drives it as people,
//! bots, browsers and Meta do; nothing here calls the program's own code while something is
//! measured. Client, stand-ins, server and disk share one machine, so the CPU time of the server is
//! given beside each rate, and the disk's own rate of small durable writes and a route that does
//! nothing are measured in the same run: compare the ratios, and absolute figures with those of the
//! same machine only. What is printed is Markdown; `| tee` keeps it as a report.
#![allow(clippy::unwrap_used)]

mod calls;
mod client;
mod growth;
mod instructions;
mod machine;
mod page;
mod peers;
mod people;
mod process;
mod report;
mod server;
mod sign_ins;
mod stand_ins;
mod start;
mod status;
mod webhooks;

use report::Report;
use stand_ins::World;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What all parts need.
pub struct Bench {
    /// The stand-ins.
    pub world: World,
    /// Everything that is written, on the disk that is measured.
    pub root: PathBuf,
    /// The table at the end.
    pub report: Report,
}

type Part = fn(&mut Bench) -> io::Result<()>;

/// In the order in which they run when nothing is asked for.
const PARTS: [(&str, Part); 9] = [
    ("start", start::run),
    ("webhooks", webhooks::run),
    ("forwarding", webhooks::forwarding),
    ("sign-ins", sign_ins::run),
    ("calls", calls::run),
    ("page", page::run),
    ("status", status::run),
    ("growth", growth::run),
    ("instructions", instructions::run),
];

/// Only when asked for: they need more than Rust.
const OTHERS: [(&str, Part); 1] = [("peers", peers::run)];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    // cargo adds --bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        let list = |parts: &[(&str, Part)]| {
            let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
            names.join(", ")
        };
        println!("cargo bench --bench portero [-- PART ...]\n");
        println!("Without a part, in some ten minutes: {}.", list(&PARTS));
        println!("Only when named: {}.", list(&OTHERS));
        return Ok(());
    }
    let names: Vec<&str> = PARTS.iter().chain(&OTHERS).map(|(name, _)| *name).collect();
    if let Some(unknown) = words.iter().find(|word| !names.contains(&word.as_str())) {
        let words = format!(
            "there is no part {unknown:?}; there are {}",
            names.join(", ")
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("portero-bench");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    fs::create_dir_all(&root)?;
    let mut shown = words.clone();
    if !shown.is_empty() {
        shown.insert(0, "--".to_owned());
    }
    machine::print(&root, &shown, people::SEED)?;
    let mut bench = Bench {
        world: World::start()?,
        root,
        report: Report::default(),
    };
    let usual = PARTS.iter().map(|part| (part, words.is_empty()));
    let others = OTHERS.iter().map(|part| (part, false));
    for ((name, part), usual) in usual.chain(others) {
        if usual || words.iter().any(|word| word == name) {
            part(&mut bench)?;
        }
    }
    if words.is_empty() {
        let how = "`cargo bench --bench listener -- --slow`";
        bench.report.absent("10,000 slow connections", how);
    }
    bench.report.print();
    fs::remove_dir_all(&bench.root)
}

//! Size, start with an empty store, and memory before anything happened.

use super::Bench;
use super::report::{head, heading, line};
use super::server::{BINARY, Server, Setup};
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

const STARTS: usize = 9;
/// Until what was needed for starting is over.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("Start and size");
    let size = fs::metadata(BINARY)?.len() as f64 / 1_048_576.0;
    let mut times = Vec::new();
    let mut idle = 0.0;
    for _ in 0..STARTS {
        let setup = Setup::in_folder(&bench.root, "empty")?;
        let server = Server::start(&setup, &bench.world)?;
        times.push(server.started_in.as_secs_f64() * 1e3);
        thread::sleep(SETTLED_AFTER);
        idle = server.mebibytes("VmRSS");
    }
    times.sort_by(f64::total_cmp);
    let middle = times[STARTS / 2];
    head(&["what", "figure"]);
    line("the binary", &[format!("{size:.2} MiB")]);
    line(
        &format!("start to the first 200, empty store ({STARTS} starts: least, middle, most)"),
        &[format!(
            "{:.1}, {middle:.1}, {:.1} ms",
            times[0],
            times[STARTS - 1]
        )],
    );
    line("memory, idle", &[format!("{idle:.1} MiB")]);
    let report = &mut bench.report;
    report.at_most("the binary", size, 8.0, "MiB");
    report.at_most("start to the first 200, empty store", middle, 30.0, "ms");
    report.at_most("memory, idle", idle, 12.0, "MiB");
    Ok(())
}

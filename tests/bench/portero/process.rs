//! A program under load, started on loopback, and what the operating system tells of it.

use super::client::{Client, get};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A store of a million rows is checked before the first answer, also under valgrind.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// Lines of its log that are kept, for when something fails.
const LOG_LINES: usize = 12;

pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The program while it runs.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub started_in: Duration,
    /// The CPU time that it used until then, in milliseconds.
    pub started_with_ms: f64,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts it; it has started when it answers a `GET` of this path at the address with 200.
    pub fn start(command: &mut Command, address: SocketAddr, path: &str) -> io::Result<Process> {
        let begun = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(lines) = child.stderr.take() {
            let log = Arc::clone(&log);
            let read = move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == LOG_LINES {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            };
            // It reads what a journal would.
            let name = format!("{}-log", super::stand_ins::THREADS);
            thread::Builder::new().name(name).spawn(read)?;
        }
        let mut process = Process {
            child,
            address,
            started_in: Duration::ZERO,
            started_with_ms: 0.0,
            log,
        };
        let request = get(path, "");
        while begun.elapsed() < STARTS_WITHIN {
            let answered =
                Client::connect(address).and_then(|mut client| client.succeed(&request).map(drop));
            if answered.is_ok() {
                process.started_in = begun.elapsed();
                process.started_with_ms = process.cpu_us() / 1e3;
                return Ok(process);
            }
            if process.child.try_wait()?.is_some() {
                break;
            }
            thread::sleep(Duration::from_micros(500));
        }
        // What it wrote last is read a moment later.
        thread::sleep(Duration::from_millis(50));
        Err(process.explain(&io::Error::other("the program did not start")))
    }

    /// The error, with the last lines of the log.
    pub fn explain(&self, error: &io::Error) -> io::Error {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = log.iter().map(String::as_str).collect();
        io::Error::other(format!("{error}\nThe log ends:\n{}", lines.join("\n")))
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// A field of `/proc/PID/status` that counts kibibytes, in MiB: `VmRSS`, `VmHWM`.
    pub fn mebibytes(&self, field: &str) -> f64 {
        let kib = field_of(&self.proc("status"), field);
        kib / 1024.0
    }

    /// User and system time so far, in microseconds; Linux counts hundredths of a second.
    pub fn cpu_us(&self) -> f64 {
        let stat = self.proc("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.filter_map(|one| one.parse::<f64>().ok()).sum::<f64>() * 10_000.0
    }

    /// Bytes given to the disk so far.
    pub fn bytes_written(&self) -> f64 {
        field_of(&self.proc("io"), "write_bytes")
    }

    /// Ends it as a loss of power would end the process.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ends it as a supervisor does.
    pub fn stop(mut self) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        if let Some(process) = rustix::process::Pid::from_raw(id) {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field_of(text: &str, field: &str) -> f64 {
    let line = (text.lines()).find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(f64::NAN)
}

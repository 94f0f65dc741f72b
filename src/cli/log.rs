//! The log: lines go to standard error, where a supervisor collects them.
//!
//! Whoever collects may be slow or stand still, and a person at the door must not wait for that:
//! lines pass through a bounded queue and a thread of its own writes them. When the queue is full,
//! new lines are dropped and counted, and so are those that the other side does not take.
//!
//! The journal of systemd has a time of its own for each line, and its priority is told in front of
//! it (sd-daemon(3)): so `journalctl -p warning` finds what it should, and no line has two times.

use crate::config::{Log, LogFormat};
use crate::metrics::Counter;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Bytes of lines that may wait: about 2,000 lines, a pause of the collector that goes unnoticed.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// How long the end of the program waits for lines to be collected.
const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// Changes how much is logged.
pub(super) type SetLevel = Box<dyn Fn(Level) + Send + Sync>;

/// Starts the log. The first value waits, when it is dropped, until the lines so far are written.
///
/// The last one counts the lines that were dropped.
pub(super) fn start(log: &Log) -> (Flush, SetLevel, Arc<Counter>) {
    let dropped = Arc::new(Counter::default());
    let queue = Arc::new(Queue {
        dropped: Arc::clone(&dropped),
        is_journal: std::env::var("JOURNAL_STREAM")
            .is_ok_and(|stream| is_stream(&stream, &io::stderr())),
        ..Queue::default()
    });
    let is_journal = queue.is_journal;
    let format = log.format;
    let writing = Arc::clone(&queue);
    let thread = std::thread::Builder::new()
        .name("log".into())
        .spawn(move || writing.write_to(&mut io::stderr(), format));
    if thread.is_err() {
        // Without a thread to write them lines would wait for ever: each is written at once.
        queue.lock().has_no_writer = true;
    }
    let flush = Flush(Arc::clone(&queue));
    let (level, set_level) = reload::Layer::new(LevelFilter::from_level(log.level));
    let lines = fmt::layer()
        .with_writer(Lines(queue))
        .with_target(false)
        .log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(level);
    // A second start in one process keeps the first log.
    let _ = match log.format {
        LogFormat::Human => {
            use std::io::IsTerminal;
            let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let lines = lines.with_ansi(colours);
            match is_journal {
                true => registry.with(lines.without_time()).try_init(),
                false => registry.with(lines).try_init(),
            }
        }
        LogFormat::Json => {
            // There is one span at most, that of the request.
            let lines = lines.json().flatten_event(true).with_span_list(false);
            registry.with(lines).try_init()
        }
    };
    let set_level = move |level| {
        // It fails only when the log is gone.
        let _ = set_level.reload(LevelFilter::from_level(level));
    };
    (flush, Box::new(set_level), dropped)
}

/// Whether `stream`, which names a device and an inode as systemd does in `JOURNAL_STREAM`
/// (systemd.exec(5)), is this file: whoever is asked to write elsewhere inherits the variable too.
fn is_stream(stream: &str, file: &impl AsFd) -> bool {
    let Ok(stat) = rustix::fs::fstat(file) else {
        return false;
    };
    // The types differ between systems.
    #[allow(clippy::useless_conversion)]
    let found = (u64::from(stat.st_dev), u64::from(stat.st_ino));
    let named = stream.split_once(':');
    named.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)))
        == Some(found)
}

/// The priority of a line for the journal.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Waits at its end for the lines that are still on their way.
#[must_use = "lines that wait are lost when the program ends without it"]
pub(super) struct Flush(Arc<Queue>);

impl Drop for Flush {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_WITHIN;
        let mut lines = self.0.lock();
        lines.end_is_awaited = true;
        while lines.bytes > 0 || lines.under_way {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.written.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Lines between those who log and the thread that writes.
#[derive(Default)]
struct Queue {
    lines: Mutex<Waiting>,
    /// For the one who writes.
    added: Condvar,
    /// For who waits until all is written.
    written: Condvar,
    is_journal: bool,
    /// All that nobody will read.
    dropped: Arc<Counter>,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Of those that were dropped, the ones that the log does not tell of yet.
    dropped: u64,
    under_way: bool,
    has_no_writer: bool,
    /// Whether the one who writes waits for a line, and somebody for the end: nobody else is woken.
    writer_waits: bool,
    end_is_awaited: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, level: Level, line: &[u8]) {
        let priority = if self.is_journal { priority(level) } else { "" };
        let line = [priority.as_bytes(), line].concat();
        let mut waiting = self.lock();
        if waiting.has_no_writer {
            // It goes to the terminal or nowhere.
            let _ = io::stderr().write_all(&line);
        } else if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            self.dropped.count();
        } else {
            waiting.bytes += line.len();
            waiting.lines.push_back(line);
            if std::mem::take(&mut waiting.writer_waits) {
                drop(waiting);
                self.added.notify_one();
            }
        }
    }

    /// Writes lines for ever. Those that cannot be written are counted with those that were dropped,
    /// and told of as soon as something can be written again.
    fn write_to(&self, output: &mut dyn Write, format: LogFormat) {
        let mut output = Whole {
            output,
            is_torn: false,
        };
        let mut waiting = self.lock();
        loop {
            let Some(line) = waiting.lines.pop_front() else {
                waiting.writer_waits = true;
                let woken = self.added.wait(waiting);
                waiting = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let mut dropped = std::mem::take(&mut waiting.dropped);
            waiting.bytes -= line.len();
            waiting.under_way = true;
            drop(waiting);
            if dropped > 0 {
                let priority = if self.is_journal {
                    priority(Level::WARN)
                } else {
                    ""
                };
                let told = format!("{priority}{}", lines_dropped(dropped, format));
                if output.put(told.as_bytes()) {
                    dropped = 0;
                }
            }
            if !output.put(&line) {
                dropped += 1;
                self.dropped.count();
            }
            waiting = self.lock();
            waiting.dropped += dropped;
            waiting.under_way = false;
            if waiting.end_is_awaited {
                self.written.notify_all();
            }
        }
    }
}

/// Where lines go, each whole or not at all as far as a reader is concerned.
struct Whole<'o> {
    output: &'o mut dyn Write,
    /// Whether the last line stopped in its midst: then it ends before another one begins.
    is_torn: bool,
}

impl Whole<'_> {
    /// Whether the line could be written.
    fn put(&mut self, line: &[u8]) -> bool {
        let end: &[u8] = if self.is_torn { b"\n" } else { b"" };
        let bytes = [end, line].concat();
        let mut written = 0;
        while written < bytes.len() {
            match self.output.write(&bytes[written..]) {
                Ok(count) if count > 0 => {
                    written += count;
                    self.is_torn = bytes[written - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }
}

/// Stands among the other lines, so that nobody takes the log for whole.
fn lines_dropped(count: u64, format: LogFormat) -> String {
    match format {
        LogFormat::Human => {
            format!(" WARN {count} log lines were dropped: they could not be written\n")
        }
        LogFormat::Json => format!(
            "{{\"level\":\"WARN\",\"message\":\"log lines were dropped: they could not be written\",\"count\":{count}}}\n"
        ),
    }
}

/// Gives each event its way into the queue.
struct Lines(Arc<Queue>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0, Level::INFO)
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line(&self.0, *event.level())
    }
}

/// One event: the layer above hands it over in one piece.
struct Line<'a>(&'a Queue, Level);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.add(self.1, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes a line when it is allowed to, and tells what it took.
    struct Slow(Receiver<()>, Sender<String>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // When the test is over, nobody listens any more.
            let _ = self.0.recv();
            let _ = self.1.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_beyond_the_queue_are_dropped_counted_and_told_in_their_place() {
        let queue = Arc::new(Queue::default());
        let (allow, allowed) = channel();
        let (tell, told) = channel();
        let writing = Arc::clone(&queue);
        std::thread::spawn(move || {
            writing.write_to(&mut Slow(allowed, tell), LogFormat::Human);
        });
        queue.add(Level::INFO, b"first\n");
        // From here on the writer holds the first line and the queue is empty.
        while !queue.lock().under_way {
            std::thread::yield_now();
        }
        let line = vec![b'x'; WAITING_BYTES_MAX / 2];
        for _ in 0..5 {
            queue.add(Level::INFO, &line);
        }
        for _ in 0..4 {
            allow.send(()).unwrap();
        }
        let written: Vec<String> = told.iter().take(4).collect();
        assert_eq!(written[0], "first\n");
        assert_eq!(
            written[1],
            " WARN 3 log lines were dropped: they could not be written\n"
        );
        assert_eq!(written[2].len(), line.len());
        drop(Flush(Arc::clone(&queue)));
        assert_eq!(queue.lock().bytes, 0);
        assert_eq!(queue.dropped.get(), 3);
    }

    /// A disk with room for so many bytes, where room can be made again.
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().unwrap();
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= count;
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    ///
    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted_and_told_once_there_is_room() {
        let queue = Arc::new(Queue::default());
        let disk = Arc::new(Mutex::new(("first\nsec".len(), Vec::new())));
        let (writing, mut output) = (Arc::clone(&queue), Disk(Arc::clone(&disk)));
        std::thread::spawn(move || writing.write_to(&mut output, LogFormat::Human));
        let log = |line: &str| {
            queue.add(Level::INFO, line.as_bytes());
            drop(Flush(Arc::clone(&queue)));
            let waiting = queue.lock();
            assert!(waiting.bytes == 0 && !waiting.under_way);
        };
        log("first\n");
        log("second\n");
        log("third\n");
        disk.lock().unwrap().0 = 1_000;
        log("fourth\n");
        log("fifth\n");
        let written = String::from_utf8(disk.lock().unwrap().1.clone()).unwrap();
        let told = " WARN 2 log lines were dropped: they could not be written\n";
        assert_eq!(written, format!("first\nsec\n{told}fourth\nfifth\n"));
        assert_eq!(queue.dropped.get(), 2);
    }

    #[test]
    fn the_journal_is_known_by_its_device_and_inode_and_nothing_else() {
        use std::os::unix::fs::MetadataExt;
        let file = tempfile::tempfile().unwrap();
        let meta = file.metadata().unwrap();
        let (device, inode) = (meta.dev(), meta.ino());
        assert!(is_stream(&format!("{device}:{inode}"), &file));
        for other in [
            String::new(),
            format!("{device}"),
            format!("{device}:{}", inode + 1),
            format!("{}:{inode}", device + 1),
            format!("{device}:{inode}:"),
            format!("{device}: {inode}"),
        ] {
            assert!(!is_stream(&other, &file), "{other:?}");
        }
    }
}

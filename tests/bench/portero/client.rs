//! Clients that keep their connection, and how fast many of them are served.

use super::process::Process;
use super::stand_ins;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// An answer that takes longer is a failure of the run.
const PATIENCE: Duration = Duration::from_secs(30);
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(5);
/// As much of an answer is shown when it is not the one that was expected.
const ERROR_CHARS: usize = 300;
/// The longest answer is a page of the status page.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// A connection to the program.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What was answered.
pub struct Answer<'c> {
    pub status: u16,
    head: &'c str,
    pub body: &'c str,
}

impl Answer<'_> {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    /// Itself, if it has this status.
    pub fn expect(self, status: u16) -> io::Result<Self> {
        if self.status == status {
            return Ok(self);
        }
        let begin: String = self.body.chars().take(ERROR_CHARS).collect();
        let words = format!("{status} was expected, and this came: {}{begin}", self.head);
        Err(io::Error::other(words))
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            buffer: vec![0; 8 * 1024],
        })
    }

    /// Sends a request and reads its answer.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request)?;
        let (mut length, mut extent) = (0, None);
        while extent.is_none() {
            if length == self.buffer.len() {
                if length >= ANSWER_BYTES_MAX {
                    return Err(io::Error::other("the answer is too long"));
                }
                self.buffer.resize(2 * length, 0);
            }
            match self.stream.read(&mut self.buffer[length..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => length += read,
            }
            extent = Extent::of(&mut self.buffer[..length])?;
        }
        let Extent { head, whole } = extent.unwrap_or_default();
        let text = |bytes| std::str::from_utf8(bytes).map_err(io::Error::other);
        let (head, body) = (
            text(&self.buffer[..head])?,
            text(&self.buffer[head..whole])?,
        );
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok(Answer {
            status: status.ok_or_else(|| io::Error::other("no status"))?,
            head,
            body,
        })
    }

    /// Sends a request that is answered 200.
    pub fn succeed(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.exchange(request)?.expect(200)
    }
}

/// Where the head of an answer ends, and where its body does.
#[derive(Default)]
struct Extent {
    head: usize,
    whole: usize,
}

impl Extent {
    /// Of an answer that is there to its end; a body that came in chunks is joined.
    fn of(bytes: &mut [u8]) -> io::Result<Option<Extent>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let (head, body) = bytes.split_at_mut(end + 4);
        let fields = std::str::from_utf8(head).map_err(io::Error::other)?;
        let length: Option<usize> =
            header(fields, "content-length").and_then(|value| value.parse().ok());
        let length = match length {
            Some(length) => Some(length).filter(|length| *length <= body.len()),
            None if header(fields, "transfer-encoding").is_some() => join_chunks(body)?,
            None => Some(0),
        };
        Ok(length.map(|length| Extent {
            head: head.len(),
            whole: head.len() + length,
        }))
    }
}

/// Moves the chunks of a body together once the last one is there; the length of them all.
fn join_chunks(body: &mut [u8]) -> io::Result<Option<usize>> {
    let (mut chunks, mut at) = (Vec::new(), 0);
    loop {
        let rest = body.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&rest[..line]).map_err(io::Error::other)?;
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        let begin = at + line + 2;
        at = begin + size + 2;
        if at > body.len() {
            return Ok(None);
        }
        if size == 0 {
            break;
        }
        chunks.push(begin..begin + size);
    }
    let mut joined = 0;
    for chunk in chunks {
        let size = chunk.len();
        body.copy_within(chunk, joined);
        joined += size;
    }
    Ok(Some(joined))
}

/// `GET` of a path, with further header lines (each ended by CR LF).
pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

/// `POST` to a path, with further header lines (each ended by CR LF).
pub fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// What one client does again and again.
pub trait Act: Send {
    /// Makes ready what the next act sends; not measured.
    fn prepare(&mut self) {}

    /// Does it once, to its end.
    fn act(&mut self) -> io::Result<()>;
}

/// An act that is a request, made anew for each time and answered 200.
struct Asks<M> {
    client: Client,
    make: M,
    next: Vec<u8>,
}

/// A client that asks what `make` makes.
pub fn asks<'a, M: FnMut() -> Vec<u8> + Send + 'a>(
    server: &Process,
    make: M,
) -> io::Result<Box<dyn Act + 'a>> {
    Ok(Box::new(Asks {
        client: Client::connect(server.address)?,
        make,
        next: Vec::new(),
    }))
}

impl<M: FnMut() -> Vec<u8> + Send> Act for Asks<M> {
    fn prepare(&mut self) {
        self.next = (self.make)();
    }

    fn act(&mut self) -> io::Result<()> {
        self.client.succeed(&self.next).map(drop)
    }
}

/// How many do it at once, and how fast they may.
#[derive(Clone, Copy)]
pub struct Load {
    pub clients: u64,
    /// Acts a second of all clients together; as fast as they can if not set.
    pub rate: Option<u64>,
    pub measured: Duration,
}

impl Load {
    pub fn of(clients: u64) -> Load {
        Load {
            clients,
            rate: None,
            measured: MEASURED,
        }
    }

    pub fn steady(clients: u64, rate: u64) -> Load {
        Load {
            rate: Some(rate),
            ..Load::of(clients)
        }
    }
}

/// What was measured.
#[derive(Default)]
pub struct Measured {
    pub per_second: f64,
    /// In milliseconds, sorted.
    pub latencies: Vec<f64>,
    /// Of the program, in microseconds for each act.
    pub cpu_us: f64,
    /// Of the stand-ins, likewise.
    pub stand_ins_us: f64,
    /// Bytes that the program gave to the disk, for each act.
    pub bytes: f64,
}

impl Measured {
    /// The latency within which this share of the acts ended, in milliseconds.
    pub fn within(&self, share: f64) -> f64 {
        let index = (self.latencies.len() as f64 * share) as usize;
        let last = self.latencies.len().saturating_sub(1);
        (self.latencies.get(index.min(last)).copied()).unwrap_or(f64::NAN)
    }
}

/// Lets so many clients act for a while. With a rate, the moments of acting are fixed beforehand, so
/// that a slow answer is counted as such (no coordinated omission).
pub fn drive<'a>(
    server: &Process,
    load: Load,
    begin: impl Fn(u64) -> io::Result<Box<dyn Act + 'a>>,
) -> io::Result<Measured> {
    let (stop, counting) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let actors: Vec<_> = (0..load.clients).map(begin).collect::<io::Result<_>>()?;
    thread::scope(|scope| {
        let threads: Vec<_> = (actors.into_iter().zip(0..))
            .map(|(actor, number)| scope.spawn(move || run(actor, number, load, stop, counting)))
            .collect();
        let until = Instant::now() + WARM_UP;
        // A client that fails ends the run, whatever was to be measured.
        let wait = |until: Instant| {
            while Instant::now() < until && !threads.iter().any(|thread| thread.is_finished()) {
                thread::sleep(Duration::from_millis(5).min(until - Instant::now()));
            }
        };
        wait(until);
        let before = (server.cpu_us(), stand_ins::cpu_us(), server.bytes_written());
        counting.store(true, Ordering::Relaxed);
        let began = Instant::now();
        wait(began + load.measured);
        counting.store(false, Ordering::Relaxed);
        let seconds = began.elapsed().as_secs_f64();
        let after = (server.cpu_us(), stand_ins::cpu_us(), server.bytes_written());
        stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for thread in threads {
            let ended = thread
                .join()
                .map_err(|_| io::Error::other("a client panicked"))?;
            latencies.extend(ended.map_err(|error| server.explain(&error))?);
        }
        latencies.sort_by(f64::total_cmp);
        let count = latencies.len() as f64;
        Ok(Measured {
            per_second: count / seconds,
            cpu_us: (after.0 - before.0) / count,
            stand_ins_us: (after.1 - before.1) / count,
            bytes: (after.2 - before.2) / count,
            latencies,
        })
    })
}

fn run(
    mut actor: Box<dyn Act + '_>,
    number: u64,
    load: Load,
    stop: &AtomicBool,
    counting: &AtomicBool,
) -> io::Result<Vec<f64>> {
    let mut latencies = Vec::new();
    let pause = load.rate.map(|rate| load.clients as f64 / rate as f64);
    let mut due = Instant::now();
    if let Some(pause) = pause {
        due += Duration::from_secs_f64(pause * number as f64 / load.clients as f64);
    }
    while !stop.load(Ordering::Relaxed) {
        actor.prepare();
        let begin = match pause {
            None => Instant::now(),
            Some(pause) => {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += Duration::from_secs_f64(pause);
                due - Duration::from_secs_f64(pause)
            }
        };
        actor.act()?;
        if counting.load(Ordering::Relaxed) {
            latencies.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(latencies)
}

/// One client acts so often, one act after the other.
pub fn repeat(server: &Process, count: usize, actor: &mut dyn Act) -> io::Result<Measured> {
    let mut latencies = Vec::with_capacity(count);
    let before = (server.cpu_us(), stand_ins::cpu_us(), server.bytes_written());
    let began = Instant::now();
    for _ in 0..count {
        actor.prepare();
        let begin = Instant::now();
        actor.act().map_err(|error| server.explain(&error))?;
        latencies.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let seconds = began.elapsed().as_secs_f64();
    let each = |now: f64, then: f64| (now - then) / count as f64;
    latencies.sort_by(f64::total_cmp);
    Ok(Measured {
        per_second: count as f64 / seconds,
        cpu_us: each(server.cpu_us(), before.0),
        stand_ins_us: each(stand_ins::cpu_us(), before.1),
        bytes: each(server.bytes_written(), before.2),
        latencies,
    })
}

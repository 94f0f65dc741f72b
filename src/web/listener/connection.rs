//! One connection on its own thread: hyper's HTTP/1 server on a blocking socket.
//!
//! Four layers, from the wire upwards. [`Wire`] is the socket under total deadlines. [`Channel`] is
//! that, or TLS over it: the deadlines hold beneath. [`Gate`] reads a head, has it checked, and then
//! hands hyper exactly that head and exactly the body it declares; what follows waits for the next
//! request, so a connection has one request at a time. hyper parses, keeps the connection alive, and
//! writes the answer.

use super::framing::{self, HEAD_BYTES_MAX, Refusal};
use super::registry::{Connection, Registry, Slot};
use super::{Handler, SAFE_HEADERS, Trust, Trusting};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::rt::ReadBufCursor;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// First size of the buffer between socket and hyper. Most heads fit; idle connections are many.
const BUFFER_BYTES: usize = 2 * 1024;

/// Most bytes read from a response's body at once.
const CHUNK_BYTES_MAX: usize = 16 * 1024;

/// hyper's own buffers. More than a whole head, so that hyper never waits for the rest of one.
const HYPER_BUFFER_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;

/// Bytes of a request body reserved before they are here. More is allocated as they arrive.
const BODY_RESERVED_BYTES_MAX: u64 = 16 * 1024;

/// Bytes of an answer that wait in TLS for the socket: a record and a little more.
const TLS_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// What an authority speaks that looks whether a name is ours (RFC 8737): the handshake is all it
/// wants.
const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// After a refusal the rest of what the client sends is read and thrown away, this much and this
/// long. Closing at once would reset the connection and could take the answer with it.
const LINGER_BYTES_MAX: usize = 32 * 1024;
const LINGER: Duration = Duration::from_secs(1);

/// Serves the connection in `slot` until it ends; the place is free on return.
pub(super) fn serve(
    slot: Slot,
    handler: Arc<dyn Handler>,
    trusting: Arc<Trusting>,
    tls: Option<Arc<ServerConfig>>,
) {
    let Slot { connection, place } = slot;
    let registry = Arc::clone(&place.registry);
    converse(&connection, &registry, handler, &trusting, tls);
    // All that belongs to the handler is gone before the place is free: who stops the listener
    // can rely on it.
    drop((connection, registry, trusting));
    drop(place);
}

fn converse(
    connection: &Arc<Connection>,
    registry: &Arc<Registry>,
    handler: Arc<dyn Handler>,
    trusting: &Arc<Trusting>,
    tls: Option<Arc<ServerConfig>>,
) {
    let deadlines = Rc::new(Deadlines::default());
    let wire = Wire {
        connection: Arc::clone(connection),
        deadlines: Rc::clone(&deadlines),
    };
    // A new connection has the head's deadline from the start, for a handshake and the head.
    let head_deadline = registry.limits.head_deadline;
    deadlines.read.borrow_mut().start(head_deadline);
    let (stream, refused) = match tls {
        None => (Channel::Plain(wire), None),
        Some(tls) => {
            deadlines.write.borrow_mut().start(head_deadline);
            match shake_hands(wire, tls) {
                Some(Shaken::Encrypted(stream)) => (Channel::Encrypted(stream), None),
                Some(Shaken::PlainHttp(wire)) => {
                    (Channel::Plain(wire), Some(Refusal::NotEncrypted))
                }
                None => return,
            }
        }
    };
    let gate = Rc::new(RefCell::new(Gate {
        stream,
        deadlines,
        connection: Arc::clone(connection),
        registry: Arc::clone(registry),
        handler: Arc::clone(&handler),
        trusting: Arc::clone(trusting),
        trust: trusting.now(),
        buffer: Vec::new(),
        start: 0,
        end: 0,
        passing: 0,
        phase: Rc::new(Cell::new(Phase::Receiving)),
        body_has_deadline: false,
        write_has_deadline: false,
        yielded: false,
        ending: None,
    }));
    // A client that never completes a request costs no more than its thread: hyper and its
    // buffers are there only from the first whole head on.
    let first = match refused {
        None => gate.borrow_mut().next_head(true),
        Some(refusal) => Err(Ending::Refused(refusal)),
    };
    match first {
        Err(ending) => gate.borrow_mut().ending = Some(ending),
        Ok(()) => {
            let service = hyper::service::service_fn(|request| {
                let (gate, handler) = (Rc::clone(&gate), &handler);
                async move { exchange(request, gate, &**handler).await }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                // Else hyper reads on while the answer is pending, and the read blocks.
                .half_close(true)
                .header_read_timeout(None)
                .max_buf_size(HYPER_BUFFER_BYTES_MAX);
            let served = block_on(builder.serve_connection(Io(Rc::clone(&gate)), service));
            match served {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
                None => tracing::error!("a connection waited for nothing and was closed"),
            }
        }
    }
    let ending = gate.borrow_mut().ending.take();
    match ending {
        // Nothing can be done for a client that does not even take the refusal.
        Some(Ending::Refused(refusal)) => drop(gate.borrow_mut().refuse(refusal)),
        Some(Ending::Closed) | None => drop(gate.borrow_mut().say_goodbye()),
    }
}

/// What a client turned out to speak.
enum Shaken {
    Encrypted(Box<Encrypted>),
    /// A request in plain words, of which nothing was read.
    PlainHttp(Wire),
}

/// The handshake, until the deadlines of `wire`. `None` when the client has gone, was too slow, did
/// not speak TLS as it is spoken here, or wanted nothing more than the handshake.
fn shake_hands(mut wire: Wire, tls: Arc<ServerConfig>) -> Option<Shaken> {
    let first = wire.peek().ok()??;
    // A method begins with a letter, a handshake with 22 (RFC 8446, section 5.1).
    if first.is_ascii_alphabetic() {
        return Some(Shaken::PlainHttp(wire));
    }
    let mut session = ServerConnection::new(tls).ok()?;
    session.set_buffer_limit(Some(TLS_BUFFER_BYTES_MAX));
    while session.is_handshaking() {
        // What the other side did wrong it is told by an alert, as far as it takes one.
        if let Err(error) = session.complete_io(&mut wire) {
            tracing::debug!(%error, "a TLS handshake failed");
            return None;
        }
    }
    let mut stream = Box::new(StreamOwned::new(session, wire));
    if stream.conn.alpn_protocol() == Some(ACME_TLS_1) {
        stream.conn.send_close_notify();
        let _ = stream.flush();
        return None;
    }
    Some(Shaken::Encrypted(stream))
}

/// One request and its answer. `Err` ends the connection without an answer of hyper's.
async fn exchange(
    request: hyper::Request<Incoming>,
    gate: Rc<RefCell<Gate>>,
    handler: &dyn Handler,
) -> Result<hyper::Response<Answer>, Unanswered> {
    let (head, mut incoming) = request.into_parts();
    let declared = incoming.size_hint().lower().min(BODY_RESERVED_BYTES_MAX);
    let mut body = Vec::with_capacity(usize::try_from(declared).unwrap_or(0));
    while let Some(frame) = incoming.frame().await {
        // The gate knows why, and what to answer.
        let frame = frame.map_err(|_| Unanswered)?;
        if let Some(data) = frame.data_ref() {
            body.extend_from_slice(data);
        }
    }
    let (peer, phase) = gate.borrow_mut().begin_answer().ok_or(Unanswered)?;
    let trust = Arc::clone(&gate.borrow().trust);

    let headers: Vec<(String, String)> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let client = trust.client(peer, &headers);
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    // `http://host?query` has no path, which is the root (RFC 9110, section 4.2.3); the cap on the
    // body was asked for that, too.
    let target = match target.starts_with('?') {
        true => Cow::Owned(format!("/{target}")),
        false => Cow::Borrowed(target),
    };
    let request =
        rouille::Request::fake_http_from(client, head.method.as_str(), target, headers, body);
    let handled = catch_unwind(AssertUnwindSafe(|| handler.handle(&request)));
    drop(request);

    let mut response = match handled {
        Ok(response) => answer(response, phase),
        Err(_) => {
            tracing::error!("a request handler panicked, 500 was answered");
            failed(phase)
        }
    };
    if gate.borrow().registry.is_stopping() {
        close_after(&mut response);
    }
    Ok(response)
}

/// Turns rouille's response into hyper's.
fn answer(response: rouille::Response, phase: Rc<Cell<Phase>>) -> hyper::Response<Answer> {
    let rouille::Response {
        status_code,
        headers: given,
        data,
        upgrade: _,
    } = response;
    let Some(status) = final_status(status_code) else {
        tracing::error!("a request handler gave a status that is none, 500 was answered");
        return failed(phase);
    };
    let mut headers = HeaderMap::with_capacity(given.len() + 2);
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_maybe_shared(match value {
            Cow::Borrowed(value) => Bytes::from_static(value.as_bytes()),
            Cow::Owned(value) => Bytes::from(value),
        });
        // A line break in a value would be a second header, or a second response.
        let (Ok(name), Ok(value)) = (name, value) else {
            tracing::error!("a request handler gave an impossible header, 500 was answered");
            return failed(phase);
        };
        if !is_ours(&name) {
            headers.append(name, value);
        }
    }
    // For HEAD, 204 and 304, hyper takes no body, whatever is in here.
    let (reader, left) = data.into_reader_and_size();
    let mut response = hyper::Response::new(Answer {
        reader,
        left,
        ended: false,
        phase,
    });
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn final_status(code: u16) -> Option<hyper::StatusCode> {
    let status = hyper::StatusCode::from_u16(code).ok()?;
    // An interim status promises another response.
    (!status.is_informational()).then_some(status)
}

/// Headers that describe the connection or the framing, which are not the handler's.
fn is_ours(name: &HeaderName) -> bool {
    [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TRAILER,
    ]
    .contains(name)
        || name == header::UPGRADE
        || name == "keep-alive"
}

/// The answer when the handler gave none that can be sent.
fn failed(phase: Rc<Cell<Phase>>) -> hyper::Response<Answer> {
    const WORDS: &[u8] = b"internal error\n";
    let body = Answer {
        reader: Box::new(WORDS),
        left: Some(WORDS.len()),
        ended: false,
        phase,
    };
    let mut response = hyper::Response::new(body);
    *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
    let plain = ("Content-Type", "text/plain; charset=utf-8");
    for (name, value) in SAFE_HEADERS.into_iter().chain([plain]) {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
    }
    close_after(&mut response);
    response
}

fn close_after(response: &mut hyper::Response<Answer>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
}

/// What is answered without hyper, whole: in the envelope of the API, for whose routes it may be.
pub(super) fn refusal_bytes(refusal: Refusal) -> Vec<u8> {
    let (status, reason) = refusal.status();
    let (key, sentence) = (refusal.key(), Value::from(refusal.sentence()));
    let body =
        format!("{{\"error\":{{\"key\":\"{key}\",\"message\":{sentence},\"details\":{{}}}}}}\n");
    let retry = if refusal == Refusal::Busy {
        "Retry-After: 1\r\n"
    } else {
        ""
    };
    let length = body.len();
    let safe = SAFE_HEADERS
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/json; charset=utf-8\r\n\
         Content-Length: {length}\r\n{safe}{retry}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

impl Trust {
    /// Whether requests for this host name are answered.
    fn accepts(&self, host: Option<&str>) -> bool {
        let known = |host: &str| {
            self.hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
        };
        self.hosts.is_empty() || host.is_some_and(known)
    }

    /// Whether `address` is one of our proxies.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies
            .iter()
            .any(|proxy| proxy.to_canonical() == address)
    }

    /// Who sent the request. Each trusted proxy appends whom it heard it from, so the list is
    /// read from its end up to the first hop that is not ours; what stands before that is hearsay.
    ///
    /// An IPv4 address inside IPv6, as a socket for both gives it, comes out as IPv4: a limit per
    /// IPv6 network must not take all of IPv4 for one network.
    pub(super) fn client(&self, peer: SocketAddr, headers: &[(String, String)]) -> SocketAddr {
        let mut client = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if self.is_proxy(peer.ip()) {
            let lists = headers
                .iter()
                .rev()
                .filter(|(name, _)| name == "x-forwarded-for");
            for hop in lists.flat_map(|(_, list)| list.rsplit(',')) {
                let hop = hop.trim();
                let with_port = || hop.parse().map(|hop: SocketAddr| hop.ip());
                let Ok(address) = hop.parse().or_else(|_| with_port()) else {
                    break;
                };
                let address: IpAddr = address;
                client.set_ip(address.to_canonical());
                if !self.is_proxy(address) {
                    break;
                }
            }
        }
        client
    }
}

/// One direction of a socket until a point in time, however many calls that takes.
#[derive(Default)]
struct Deadline {
    at: Option<Instant>,
    /// The time given, until the first call; lets the socket keep its time-out from one request
    /// to the next.
    given: Option<Duration>,
    on_socket: Option<Duration>,
}

impl Deadline {
    fn start(&mut self, given: Duration) {
        self.at = Some(Instant::now() + given);
        self.given = Some(given);
    }

    /// The time-out the socket must be given before the next call, if it has another one.
    fn next(&mut self) -> io::Result<Option<Duration>> {
        let left = self.given.take().or_else(|| {
            self.at
                .map(|at| at.saturating_duration_since(Instant::now()))
        });
        match left {
            Some(left) if left.is_zero() => Err(io::ErrorKind::TimedOut.into()),
            left if left == self.on_socket => Ok(None),
            left => {
                self.on_socket = left;
                Ok(left)
            }
        }
    }
}

#[derive(Default)]
struct Deadlines {
    read: RefCell<Deadline>,
    write: RefCell<Deadline>,
}

/// The socket. Each call blocks at most until the deadline; then it fails with `TimedOut` or
/// `WouldBlock`.
struct Wire {
    connection: Arc<Connection>,
    deadlines: Rc<Deadlines>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut socket = &self.connection.socket;
            if let Some(timeout) = self.deadlines.read.borrow_mut().next()? {
                socket.set_read_timeout(Some(timeout))?;
            }
            match socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut socket = &self.connection.socket;
            if let Some(timeout) = self.deadlines.write.borrow_mut().next()? {
                socket.set_write_timeout(Some(timeout))?;
            }
            match socket.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Wire {
    /// The next byte, which stays to be read; nothing at the end.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        let mut first = [0];
        loop {
            let socket = &self.connection.socket;
            if let Some(timeout) = self.deadlines.read.borrow_mut().next()? {
                socket.set_read_timeout(Some(timeout))?;
            }
            match socket.peek(&mut first) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) => return Ok(None),
                done => return done.map(|_| Some(first[0])),
            }
        }
    }
}

type Encrypted = StreamOwned<ServerConnection, Wire>;

/// What a request comes in by.
enum Channel {
    Plain(Wire),
    // Some kilobytes, of which plain connections need none.
    Encrypted(Box<Encrypted>),
}

impl Channel {
    /// Says all that is to be said, and that it is all: without that an encrypted answer could have
    /// been cut short by somebody between (RFC 8446, section 6.1).
    fn say_goodbye(&mut self) -> io::Result<()> {
        if let Channel::Encrypted(stream) = self {
            stream.conn.send_close_notify();
        }
        self.flush()
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(wire) => wire.read(buffer),
            Channel::Encrypted(stream) => stream.read(buffer),
        }
    }
}

impl Write for Channel {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Channel::Plain(wire) => wire.write(bytes),
            Channel::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Channel::Plain(wire) => wire.flush(),
            Channel::Encrypted(stream) => stream.flush(),
        }
    }
}

/// Where a connection is with its present request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its head was passed on; its body is arriving.
    Receiving,
    /// The handler runs, or its answer is being taken from it.
    Answering,
    /// All of the answer is with hyper, which flushes it before it reads again.
    Answered,
}

/// Why no further request is read.
enum Ending {
    /// The client has gone, has been idle too long, or was cut.
    Closed,
    Refused(Refusal),
}

/// Between the stream and hyper; lets only checked requests through, one at a time.
struct Gate {
    stream: Channel,
    deadlines: Rc<Deadlines>,
    connection: Arc<Connection>,
    registry: Arc<Registry>,
    handler: Arc<dyn Handler>,
    trusting: Arc<Trusting>,
    /// What holds for the present request.
    trust: Arc<Trust>,
    /// `buffer[start..end]` was read from the stream and not yet passed on.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes of the present request hyper has not yet been given.
    passing: u64,
    phase: Rc<Cell<Phase>>,
    body_has_deadline: bool,
    write_has_deadline: bool,
    /// hyper was given the chance to flush since the last blocking read.
    yielded: bool,
    ending: Option<Ending>,
}

impl Gate {
    /// Waits for the next whole head, checks it and opens the gate for its request.
    fn next_head(&mut self, first: bool) -> Result<(), Ending> {
        self.registry.release_body(&self.connection);
        // A new connection waits since it was admitted.
        if !first && !self.connection.wait_from(self.registry.now()) {
            return Err(Ending::Closed);
        }
        let limits = &self.registry.limits;
        let (head_deadline, idle_deadline) = (limits.head_deadline, limits.idle_deadline);
        let mut scanned = 0;
        // The deadline of a new connection runs already; between requests a client may be idle for
        // longer, and the head's deadline runs from its first byte.
        let mut idle = !first && self.start == self.end;
        if self.start < self.end {
            self.connection.note_first_byte();
        } else if self.registry.is_stopping() {
            return Err(Ending::Closed);
        }
        if !first {
            self.start_reading_within(if idle { idle_deadline } else { head_deadline });
        }
        let head_bytes = loop {
            let received = &self.buffer[self.start..self.end];
            match framing::head_end(received, scanned).map_err(Ending::Refused)? {
                Some(end) if end <= HEAD_BYTES_MAX => break end,
                None if received.len() < HEAD_BYTES_MAX => scanned = received.len(),
                _ => return Err(Ending::Refused(Refusal::HeadTooLarge)),
            }
            match self.fill() {
                Ok(0) => return Err(Ending::Closed),
                Ok(_) if idle => {
                    idle = false;
                    self.start_reading_within(head_deadline);
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) && scanned > 0 => {
                    return Err(Ending::Refused(Refusal::TooSlow));
                }
                Err(_) => return Err(Ending::Closed),
            }
            self.connection.note_first_byte();
        };
        self.trust = self.trusting.now();
        let head = &self.buffer[self.start..self.start + head_bytes];
        let body_bytes = self.approve(head).map_err(Ending::Refused)?;
        self.passing = head_bytes as u64 + body_bytes;
        self.phase.set(Phase::Receiving);
        self.body_has_deadline = false;
        self.write_has_deadline = false;
        self.yielded = false;
        let here = (self.end - self.start - head_bytes) as u64;
        self.hold_body(here.min(body_bytes))
            .map_err(Ending::Refused)
    }

    /// The length of the body that this head announces, if all of it may be read.
    fn approve(&self, head: &[u8]) -> Result<u64, Refusal> {
        let framing = framing::check(head)?;
        if !self.trust.accepts(framing.host) {
            return Err(Refusal::UnknownHost);
        }
        if framing.content_length > 0 {
            // The path as the handler will see it, so that both speak of the same route.
            let path = if framing.path.contains('%') {
                rouille::Request::fake_http(framing.method, framing.path, vec![], vec![]).url()
            } else {
                framing.path.to_owned()
            };
            let asked = || self.handler.body_max_bytes(framing.method, &path);
            let cap = catch_unwind(AssertUnwindSafe(asked)).unwrap_or_else(|_| {
                tracing::error!("a request handler panicked when asked for a cap, none is given");
                0
            });
            if framing.content_length > cap as u64 {
                return Err(Refusal::BodyTooLarge);
            }
        }
        Ok(framing.content_length)
    }

    fn hold_body(&self, bytes: u64) -> Result<(), Refusal> {
        let bytes = usize::try_from(bytes).map_err(|_| Refusal::Busy)?;
        if bytes == 0 || self.registry.hold_body(&self.connection, bytes) {
            Ok(())
        } else {
            Err(Refusal::Busy)
        }
    }

    fn start_reading_within(&mut self, given: Duration) {
        self.deadlines.read.borrow_mut().start(given);
    }

    /// Reads once from the stream into the buffer, which grows to a head's maximum and no further.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let larger = (2 * self.buffer.len()).clamp(BUFFER_BYTES, HEAD_BYTES_MAX);
            self.buffer.resize(larger, 0);
        }
        let count = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// The request is complete. From here on the connection is not evicted, and the deadline for
    /// writing the answer starts with its first byte. `None` if the connection was cut.
    fn begin_answer(&mut self) -> Option<(SocketAddr, Rc<Cell<Phase>>)> {
        if !self.connection.answer() {
            return None;
        }
        self.phase.set(Phase::Answering);
        self.write_has_deadline = false;
        Some((self.connection.peer, Rc::clone(&self.phase)))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        mut target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.passing == 0 && self.phase.get() != Phase::Answered {
            // hyper has all of the request. If it wants more of it than was checked, the two
            // disagree on where it ends; the end of the stream settles that.
            return match self.phase.get() {
                Phase::Answering => Poll::Pending,
                Phase::Receiving | Phase::Answered => Poll::Ready(Ok(())),
            };
        }
        let must_block = self.passing == 0 || self.start == self.end;
        if must_block && !self.yielded {
            // Before a blocking read hyper must have written all it has: the answer, or the
            // `100 Continue` that the client waits for before it sends what is read here.
            self.yielded = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.passing == 0 {
            if let Err(ending) = self.next_head(false) {
                self.ending = Some(ending);
                return Poll::Ready(Ok(()));
            }
        } else if must_block && let Err(refusal) = self.read_body() {
            self.ending = Some(refusal);
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let here = self.end - self.start;
        let passing = usize::try_from(self.passing).unwrap_or(usize::MAX);
        let count = here.min(passing).min(target.remaining());
        target.put_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        self.passing -= count as u64;
        Poll::Ready(Ok(()))
    }

    /// Reads more of a body of which at least one byte is missing.
    fn read_body(&mut self) -> Result<(), Ending> {
        self.yielded = false;
        if !self.body_has_deadline {
            self.body_has_deadline = true;
            self.start_reading_within(self.registry.limits.body_deadline);
            if self.passing > self.buffer.len() as u64 {
                self.buffer.resize(HEAD_BYTES_MAX, 0);
            }
        }
        let received = match self.fill() {
            Ok(0) => return Err(Ending::Closed),
            Ok(received) => received,
            Err(error) if is_timeout(&error) => return Err(Ending::Refused(Refusal::TooSlow)),
            Err(_) => return Err(Ending::Closed),
        };
        self.hold_body(self.passing.min(received as u64))
            .map_err(Ending::Refused)
    }

    fn poll_write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.write_has_deadline {
            self.write_has_deadline = true;
            self.deadlines
                .write
                .borrow_mut()
                .start(self.registry.limits.write_deadline);
        }
        Poll::Ready(self.stream.write(bytes))
    }

    /// Tells a client that listens that no more will come. One that does not has had its time.
    fn say_goodbye(&mut self) -> io::Result<()> {
        self.deadlines.write.borrow_mut().start(LINGER);
        self.stream.say_goodbye()
    }

    /// Answers without hyper, when hyper has nothing left to write, and lets the client read it.
    fn refuse(&mut self, refusal: Refusal) -> io::Result<()> {
        self.deadlines
            .write
            .borrow_mut()
            .start(self.registry.limits.write_deadline);
        self.stream.write_all(&refusal_bytes(refusal))?;
        self.stream.say_goodbye()?;
        self.connection.socket.shutdown(Shutdown::Write)?;
        self.start_reading_within(LINGER);
        let mut left = LINGER_BYTES_MAX;
        let mut sink = [0; 2048];
        while left > 0 {
            let most = left.min(sink.len());
            match self.stream.read(&mut sink[..most])? {
                0 => break,
                count => left -= count,
            }
        }
        Ok(())
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// The gate as hyper sees it.
struct Io(Rc<RefCell<Gate>>);

impl hyper::rt::Read for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_read(context, target)
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow_mut().stream.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A refusal may still have to be written; the socket closes when it is dropped.
        Poll::Ready(Ok(()))
    }
}

/// The body of a response, read from the handler's reader as hyper asks for it.
struct Answer {
    reader: Box<dyn Read + Send>,
    /// Bytes still to come, if the handler said how many there are.
    left: Option<usize>,
    ended: bool,
    phase: Rc<Cell<Phase>>,
}

impl Answer {
    /// The next bytes; none at the end. If that comes before the promised size, hyper cuts the
    /// connection, so that the client does not take the part for the whole.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let most = self.left.unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX);
        let mut chunk = Vec::new();
        if self.left.is_some() {
            chunk.reserve_exact(most);
            let read = || (&mut self.reader).take(most as u64).read_to_end(&mut chunk);
            unless_panic(read)?;
        } else {
            // What is there is sent: a reader without a size may be one that takes its time.
            chunk.resize(most, 0);
            let count = unless_panic(|| {
                loop {
                    match self.reader.read(&mut chunk) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        done => return done,
                    }
                }
            })?;
            chunk.truncate(count);
        }
        self.left = self.left.map(|left| left - chunk.len());
        Ok(chunk)
    }
}

fn unless_panic<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        tracing::error!("the body of a response panicked, its connection was cut");
        Err(io::ErrorKind::Other.into())
    })
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_end_stream() {
            return Poll::Ready(None);
        }
        match self.chunk() {
            Ok(chunk) if chunk.is_empty() => {
                self.ended = true;
                Poll::Ready(None)
            }
            Ok(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk.into())))),
            Err(error) => {
                self.ended = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, |left| SizeHint::with_exact(left as u64))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.phase.set(Phase::Answered);
    }
}

/// The request could not be read whole, or its connection was cut.
#[derive(Debug)]
struct Unanswered;

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the request was not read to its end")
    }
}

impl std::error::Error for Unanswered {}

/// Runs a future whose every wait is a blocking call of its own on this thread. `None` if it
/// waits for something else: nobody would ever wake it.
fn block_on<F: Future>(future: F) -> Option<F::Output> {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    while woken.0.swap(false, Ordering::SeqCst) {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
    }
    None
}

//! What listens: HTTP/1 on blocking sockets, one bounded thread per connection.
//!
//! A connection is accepted here, gets a place in the `registry` (which evicts when there is
//! none), and is served by `connection` on its own thread. There the head of each request passes
//! [`framing`] before hyper sees it, the body is read whole under the cap of its route, and the
//! [`Handler`] gets a `rouille::Request` and gives a `rouille::Response`.
//!
//! With TLS the handshake is the connection's, under the deadline of its first head: a client that
//! does not finish it waits like one that does not finish a request, and is evicted like one.
//!
//! What must stay true: no bytes from outside choose how much memory or how many threads are
//! used; no client holds a place longer than the deadlines allow; the accept loop ends only when
//! told to. Rows S-70 to S-75 and of the threat model.

mod connection;
pub mod framing;
mod registry;
#[cfg(test)]
mod tests;

use framing::Refusal;
use registry::{Registry, Slot};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections the kernel completes and keeps for us until they are accepted. Above what arrives
/// in the milliseconds in which the loop may be busy; kernels cap it at `somaxconn`.
const LISTEN_BACKLOG: i32 = 1024;

/// Descriptors left to the store, the mails and the services when all connections are in use.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors believed to be open where the system does not say.
const DESCRIPTORS_OPEN_GUESS: u64 = 32;

/// Stack of a connection's thread. Address space, not memory: what is touched is what counts.
/// hyper, rouille and a small handler need less than a quarter of it even without optimisation.
const THREAD_STACK_BYTES: usize = 256 * 1024;

/// The same where TLS is spoken: a handshake signs and verifies on the connection's thread.
const THREAD_STACK_BYTES_TLS: usize = 2 * THREAD_STACK_BYTES;

/// Pause of the accept loop after an error that eviction does not mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// At most one line is logged about refused connections, or about errors of accept, in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Time for the threads of connections that were cut to notice it.
const CUT_PATIENCE: Duration = Duration::from_secs(1);

/// Bytes read from a connection that is turned away, so that its answer is not lost in a reset.
const TURNED_AWAY_BYTES: usize = 4096;

/// What a browser is told with each answer of the listener's own, so that a refusal is no weaker
/// spot than a page: nothing may be loaded, framed, kept, guessed or passed on. (S-47)
pub const SAFE_HEADERS: [(&str, &str); 7] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; frame-ancestors 'none'",
    ),
    ("Strict-Transport-Security", "max-age=63072000"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    (
        "Permissions-Policy",
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// Answers requests. One value for all connections and threads.
pub trait Handler: Send + Sync + 'static {
    /// Largest body accepted for this route, in bytes; asked before a byte of the body is read,
    /// and only for requests that have one. `path` is decoded and without query, as
    /// `rouille::Request::url` gives it.
    fn body_max_bytes(&self, method: &str, path: &str) -> usize;

    /// Answers one complete request. `remote_addr` is the client's address, also behind a trusted
    /// proxy. May block; may panic, which is answered with 500. Of the response's headers, those
    /// about connection and framing are ignored.
    fn handle(&self, request: &rouille::Request) -> rouille::Response;
}

/// Bounds of a listener. Deadlines are totals: a byte now and then does not extend them.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Open connections, each with a thread. Lowered at start if there are not descriptors enough.
    pub connections_max: usize,
    /// Open connections per IPv4 address or IPv6 network of 64 bits; trusted proxies have no cap.
    pub connections_per_address_max: usize,
    /// Bytes of request bodies in memory, over all connections; more than the largest cap that
    /// the handler gives.
    pub bodies_bytes_max: usize,
    /// From the first byte of a head (of a new connection: from its acceptance) to its last.
    pub head_deadline: Duration,
    /// From the first wait for the body to its last byte.
    pub body_deadline: Duration,
    /// From the first byte of an answer to its last; includes the reading of a streamed body.
    pub write_deadline: Duration,
    /// From the end of an answer to the first byte of the next request.
    pub idle_deadline: Duration,
    /// Address space for the stack of a connection's thread.
    pub thread_stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 512,
            connections_per_address_max: 64,
            bodies_bytes_max: 16 * 1024 * 1024,
            head_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(20),
            write_deadline: Duration::from_secs(10),
            idle_deadline: Duration::from_secs(30),
            thread_stack_bytes: THREAD_STACK_BYTES,
        }
    }
}

/// Whom a listener believes.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Host names that requests may be for, without port; anything else is answered 421. Empty:
    /// any name. (S-39)
    pub hosts: Vec<String>,
    /// Peers whose `X-Forwarded-For` is believed, and which have no cap per address.
    pub proxies: Vec<IpAddr>,
}

/// Whom a listener believes now. Each request has what held when its head was whole.
#[derive(Debug)]
pub struct Trusting(RwLock<Arc<Trust>>);

impl Trusting {
    fn now(&self) -> Arc<Trust> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Believes these from the next request on.
    pub fn set(&self, trust: Trust) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections whose request was not finished in time.
    pub cut: usize,
}

/// A running server. Dropping it without [`Listener::stop`] cuts all connections.
pub struct Listener {
    address: SocketAddr,
    registry: Arc<Registry>,
    trusting: Arc<Trusting>,
    /// Writing to it, or dropping it, wakes the accept loop.
    wake: Option<UnixStream>,
    accepting: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens on `address` and serves until stopped.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or no thread can be started.
    pub fn bind(
        address: SocketAddr,
        limits: Limits,
        trust: Trust,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Listener> {
        Listener::serve(bound(address)?, limits, trust, handler, None)
    }

    /// The same with TLS. What `tls` does about certificates must not wait for anything.
    ///
    /// # Errors
    ///
    /// As for [`Listener::bind`].
    pub fn bind_tls(
        address: SocketAddr,
        mut limits: Limits,
        trust: Trust,
        handler: Arc<dyn Handler>,
        tls: Arc<ServerConfig>,
    ) -> io::Result<Listener> {
        limits.thread_stack_bytes = limits.thread_stack_bytes.max(THREAD_STACK_BYTES_TLS);
        Listener::serve(bound(address)?, limits, trust, handler, Some(tls))
    }

    /// Serves on a socket that already listens, until stopped.
    ///
    /// # Errors
    ///
    /// The socket does not listen, or no thread can be started.
    pub fn start(
        socket: TcpListener,
        limits: Limits,
        trust: Trust,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Listener> {
        Listener::serve(socket, limits, trust, handler, None)
    }

    fn serve(
        socket: TcpListener,
        mut limits: Limits,
        trust: Trust,
        handler: Arc<dyn Handler>,
        tls: Option<Arc<ServerConfig>>,
    ) -> io::Result<Listener> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        let (wake, woken) = UnixStream::pair()?;
        limits.connections_max = make_room_for(limits.connections_max);
        let registry = Arc::new(Registry::new(limits));
        let trusting = Arc::new(Trusting(RwLock::new(Arc::new(trust))));
        let accept = Accept {
            socket,
            woken,
            registry: Arc::clone(&registry),
            trusting: Arc::clone(&trusting),
            handler,
            tls,
            faults: Tally::default(),
            turned_away: Tally::default(),
        };
        let accepting = thread::Builder::new()
            .name("accept".to_owned())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || accept.run_on())?;
        Ok(Listener {
            address,
            registry,
            trusting,
            wake: Some(wake),
            accepting: Some(accepting),
        })
    }

    /// Whom it believes, to be changed while it runs.
    pub fn trusting(&self) -> Arc<Trusting> {
        Arc::clone(&self.trusting)
    }

    /// The address that is listened on; tells the port if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The cap on connections after the descriptors were counted.
    pub fn connections_max(&self) -> usize {
        self.registry.limits.connections_max
    }

    /// Stops gracefully. The port is closed at once, and so are idle connections. Requests that
    /// have begun are finished, with `Connection: close`; what is not finished `within` this time
    /// is cut. A handler cannot be cut: if one goes on running, it answers nobody.
    pub fn stop(self, within: Duration) -> Stopped {
        Listener::stop_all(vec![self], within)
    }

    /// Stops several as [`Listener::stop`] does one, all at the same time. It needs no thread: it
    /// may be that the system starts none any more.
    pub fn stop_all(mut listeners: Vec<Listener>, within: Duration) -> Stopped {
        halt(&mut listeners, within)
    }

    /// From here on nobody is accepted, and no connection waits for another request.
    fn close(&mut self) {
        self.registry.stop();
        drop(self.wake.take());
        if let Some(accepting) = self.accepting.take()
            && accepting.join().is_err()
        {
            tracing::error!("the accept loop panicked");
        }
        // Once more: a connection may have been admitted between the first call and the end of
        // the loop.
        self.registry.stop();
    }
}

fn halt(listeners: &mut [Listener], within: Duration) -> Stopped {
    let deadline = Instant::now() + within;
    listeners.iter_mut().for_each(Listener::close);
    let mut cut = 0;
    for listener in &*listeners {
        if !listener.registry.wait_for_all(deadline) {
            cut += listener.registry.cut_all();
        }
    }
    if cut > 0 {
        let deadline = Instant::now() + CUT_PATIENCE;
        for listener in listeners {
            listener.registry.wait_for_all(deadline);
        }
    }
    Stopped { cut }
}

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A restart need not wait for the connections of the process before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            halt(std::slice::from_mut(self), Duration::ZERO);
        }
    }
}

/// The accept loop and what it needs.
struct Accept {
    socket: TcpListener,
    woken: UnixStream,
    registry: Arc<Registry>,
    trusting: Arc<Trusting>,
    handler: Arc<dyn Handler>,
    tls: Option<Arc<ServerConfig>>,
    faults: Tally,
    turned_away: Tally,
}

impl Accept {
    /// A fault costs a connection, never the door.
    fn run_on(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            tracing::error!("a connection could not be taken in; others can");
            // What failed may fail here as well.
            let relieve = || self.registry.relieve(ACCEPT_PAUSE);
            if catch_unwind(AssertUnwindSafe(relieve)).is_err() {
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }

    fn run(&mut self) {
        while !self.registry.is_stopping() {
            let mut both = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.woken, PollFlags::IN),
            ];
            match poll(&mut both, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => {
                    self.endure(&error.into());
                    continue;
                }
            }
            // One accept for each time that somebody is known to wait: without descriptors,
            // accept fails whether or not there is anybody to evict one for.
            if both[0].revents().is_empty() {
                continue;
            }
            match self.socket.accept() {
                Ok((socket, peer)) => self.welcome(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.endure(&error),
            }
        }
    }

    /// Goes on after an error of accept. None of them ends the loop.
    fn endure(&mut self, error: &io::Error) {
        match Errno::from_io_error(error) {
            // The peer has gone before it was accepted, or a signal came: nothing to mend. The
            // network errors are those of the new connection (accept(2), "Error handling").
            Some(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::PROTO
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::TIMEDOUT,
            ) => {}
            // No descriptor or memory for the new connection. The longest waiting one gives its
            // own; if none waits, time may help. The pause keeps the loop from spinning.
            _ => {
                if let Some(count) = self.faults.due() {
                    tracing::warn!(%error, count, "connections cannot be accepted");
                }
                self.registry.relieve(ACCEPT_PAUSE);
            }
        }
    }

    fn welcome(&mut self, socket: TcpStream, peer: SocketAddr) {
        // A peer that has already gone makes these fail; its thread finds out.
        let _ = socket.set_nonblocking(false);
        let _ = socket.set_nodelay(true);
        let trusted = self.trusting.now().is_proxy(peer.ip());
        match self.registry.admit(socket, peer, trusted) {
            Ok(slot) => self.spawn(slot),
            Err((socket, refusal)) => self.turn_away(&socket, refusal),
        }
    }

    fn spawn(&mut self, slot: Slot) {
        let (handler, trusting) = (Arc::clone(&self.handler), Arc::clone(&self.trusting));
        let tls = self.tls.clone();
        let connection = Arc::clone(&slot.connection);
        let spawned = thread::Builder::new()
            .name("connection".to_owned())
            .stack_size(self.registry.limits.thread_stack_bytes)
            .spawn(move || connection::serve(slot, handler, trusting, tls));
        if spawned.is_err() {
            self.turn_away(&connection.socket, Refusal::Busy);
        }
    }

    /// Answers a connection that gets no thread, without ever waiting for it.
    fn turn_away(&mut self, mut socket: &TcpStream, refusal: Refusal) {
        if let Some(count) = self.turned_away.due() {
            tracing::warn!(
                count,
                "connections were turned away: too many are open, or no thread starts"
            );
        }
        // Best effort: the answer fits the empty send buffer of a new connection.
        let _ = socket.set_nonblocking(true);
        // With TLS there is nothing to say before a handshake, for which there is no thread.
        if self.tls.is_none() {
            let _ = socket.write(&connection::refusal_bytes(refusal));
        }
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.read(&mut [0; TURNED_AWAY_BYTES]);
    }
}

/// Counts events so that a flood of them is one line in the log.
#[derive(Default)]
struct Tally {
    count: u64,
    said: Option<Instant>,
}

impl Tally {
    /// Counts one more. How many are to be told, if it is time to tell.
    fn due(&mut self) -> Option<u64> {
        self.count += 1;
        let due = self.said.is_none_or(|said| said.elapsed() >= LOG_INTERVAL);
        due.then(|| {
            self.said = Some(Instant::now());
            std::mem::take(&mut self.count)
        })
    }
}

/// Raises this process's limit of descriptors towards what the system allows, as far as `wanted`
/// connections need it, and says how many connections there can be.
fn make_room_for(wanted: usize) -> usize {
    let open = descriptors_open();
    // One for the connection that is accepted before another one is evicted for it.
    let needed = wanted as u64 + open + DESCRIPTORS_RESERVED + 1;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut limit = current.unwrap_or(u64::MAX);
    if limit < needed {
        let raised = needed.min(maximum.unwrap_or(u64::MAX));
        if setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(raised),
                maximum,
            },
        )
        .is_ok()
        {
            limit = raised;
        }
    }
    let possible = connections_within(wanted, limit, open);
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            limit,
            "fewer connections than configured: the limit of open files (nofile) is too low"
        );
    }
    possible
}

/// How many connections leave the reserve untouched; always at least one.
fn connections_within(wanted: usize, limit: u64, open: u64) -> usize {
    let free = limit
        .saturating_sub(open)
        .saturating_sub(DESCRIPTORS_RESERVED + 1);
    wanted
        .min(usize::try_from(free).unwrap_or(usize::MAX))
        .max(1)
}

fn descriptors_open() -> u64 {
    let listed = std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd"));
    listed.map_or(DESCRIPTORS_OPEN_GUESS, |entries| entries.count() as u64)
}

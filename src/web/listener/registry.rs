//! Who is connected, and who has to go when there is no room.
//!
//! The rule: at a cap, the connection that has waited longest *without a complete request* makes
//! room for the new one. One whose request is being answered never does. So a crowd of slow
//! clients pushes out itself, and an honest request, which is complete in a moment, gets through.

use super::Limits;
use super::framing::Refusal;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait of a new connection for the place of an evicted one. Its thread only has to wake
/// up and end; if that takes a second, the machine has no time for the new one either.
const EVICTION_WAIT: Duration = Duration::from_secs(1);

/// Of so many places one is kept free by evicting early: then a burst of new connections need not
/// wait, each in turn, for the thread of an evicted one to end.
const PLACES_PER_FREE_ONE: usize = 16;

/// Values of [`Connection::activity`] that are not a point in time.
const ANSWERING: u64 = 0;
const CUT: u64 = u64::MAX;

/// One open connection, as others may see it.
pub(super) struct Connection {
    pub(super) socket: TcpStream,
    pub(super) peer: SocketAddr,
    /// What counts towards the cap per address; nothing for a trusted proxy.
    group: Option<IpAddr>,
    /// `ANSWERING`, `CUT`, or since when a request is awaited. One word, so that a thread that
    /// starts to answer and another one that evicts cannot both win.
    activity: AtomicU64,
    /// Some bytes of the next request are here. Such a connection is not idle when stopping.
    receiving: AtomicBool,
    /// Bytes of request body held in memory for this connection.
    body_bytes: AtomicUsize,
}

impl Connection {
    /// The next request is awaited from `now` on. False if the connection was cut.
    pub(super) fn wait_from(&self, now: Moment) -> bool {
        self.receiving.store(false, Ordering::SeqCst);
        self.change(|_| now.0)
    }

    /// A complete request is here; until [`Connection::wait_from`] nobody evicts this connection.
    /// False if the connection was cut.
    pub(super) fn answer(&self) -> bool {
        self.change(|_| ANSWERING)
    }

    pub(super) fn note_first_byte(&self) {
        self.receiving.store(true, Ordering::SeqCst);
    }

    fn change(&self, to: impl Fn(u64) -> u64) -> bool {
        let change = |seen| (seen != CUT).then(|| to(seen));
        let changed = self
            .activity
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
        changed.is_ok()
    }

    /// Ends it, whatever it is doing. True if it was not cut already.
    fn cut(&self) -> bool {
        let first = self.activity.swap(CUT, Ordering::SeqCst) != CUT;
        self.hang_up(Shutdown::Both);
        first
    }

    /// Wakes the thread that is blocked on the socket. An error says that the peer was faster.
    fn hang_up(&self, how: Shutdown) {
        let _ = self.socket.shutdown(how);
    }
}

/// A point in time after the registry was made, in microseconds; never `ANSWERING` or `CUT`.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

/// All open connections.
pub(super) struct Registry {
    pub(super) limits: Limits,
    started: Instant,
    table: Mutex<Table>,
    /// Notified when a connection has ended and its descriptor is closed, and when stopping.
    freed: Condvar,
    stopping: AtomicBool,
    /// Sum of all [`Connection::body_bytes`].
    body_bytes: AtomicUsize,
}

#[derive(Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Arc<Connection>>,
    per_group: HashMap<IpAddr, usize>,
}

/// The place of one connection; dropping it closes the socket and frees the place.
pub(super) struct Slot {
    // Dropped before `place`, so that a place is free only when its descriptor is.
    pub(super) connection: Arc<Connection>,
    pub(super) place: Place,
}

pub(super) struct Place {
    pub(super) registry: Arc<Registry>,
    number: u64,
}

impl Registry {
    pub(super) fn new(limits: Limits) -> Registry {
        Registry {
            limits,
            started: Instant::now(),
            table: Mutex::default(),
            freed: Condvar::new(),
            stopping: AtomicBool::new(false),
            body_bytes: AtomicUsize::new(0),
        }
    }

    pub(super) fn now(&self) -> Moment {
        let micros = self.started.elapsed().as_micros();
        // Half a million years of microseconds fit.
        Moment(u64::try_from(micros).unwrap_or(CUT - 1).clamp(1, CUT - 1))
    }

    /// Finds a place for a new connection, if need be that of another one. A peer that is a
    /// `trusted` proxy speaks for many clients and has no cap per address.
    ///
    /// # Errors
    ///
    /// The socket back, when its address has too many connections already, or when all others
    /// are being answered.
    pub(super) fn admit(
        self: &Arc<Registry>,
        socket: TcpStream,
        peer: SocketAddr,
        trusted: bool,
    ) -> Result<Slot, (TcpStream, Refusal)> {
        let group = (!trusted).then(|| group(peer.ip()));
        let mut table = self.table();
        let from_group = group.and_then(|group| table.per_group.get(&group)).copied();
        if from_group.unwrap_or(0) >= self.limits.connections_per_address_max {
            return Err((socket, Refusal::Busy));
        }
        let deadline = Instant::now() + EVICTION_WAIT;
        while table.open.len() >= self.limits.connections_max {
            let room_is_coming =
                table.staying() < table.open.len() || table.evict_longest_waiting(|_| true);
            let left = deadline.saturating_duration_since(Instant::now());
            if !room_is_coming || left.is_zero() || self.is_stopping() {
                return Err((socket, Refusal::Busy));
            }
            table = self.wait(table, left);
        }
        let free = self.limits.connections_max / PLACES_PER_FREE_ONE;
        if table.staying() + free >= self.limits.connections_max {
            table.evict_longest_waiting(|_| true);
        }
        let connection = Arc::new(Connection {
            socket,
            peer,
            group,
            activity: AtomicU64::new(self.now().0),
            receiving: AtomicBool::new(false),
            body_bytes: AtomicUsize::new(0),
        });
        let number = table.next;
        table.next += 1;
        table.open.insert(number, Arc::clone(&connection));
        if let Some(group) = group {
            *table.per_group.entry(group).or_default() += 1;
        }
        drop(table);
        Ok(Slot {
            connection,
            place: Place {
                registry: Arc::clone(self),
                number,
            },
        })
    }

    /// For when the process has no descriptor left: makes the longest waiting connection go, and
    /// waits at most `patience` until any has gone.
    pub(super) fn relieve(&self, patience: Duration) {
        let table = self.table();
        if !self.is_stopping() {
            table.evict_longest_waiting(|_| true);
            drop(self.wait(table, patience));
        }
    }

    /// Counts `bytes` more of request body held for `connection`. Over the bound for all bodies,
    /// the longest waiting connection that holds some goes; that may be this one. False if all
    /// that is held is being answered: then there is no room.
    pub(super) fn hold_body(&self, connection: &Connection, bytes: usize) -> bool {
        connection.body_bytes.fetch_add(bytes, Ordering::SeqCst);
        let held = self.body_bytes.fetch_add(bytes, Ordering::SeqCst) + bytes;
        held <= self.limits.bodies_bytes_max || {
            let holds_body = |other: &Connection| other.body_bytes.load(Ordering::SeqCst) > 0;
            self.table().evict_longest_waiting(holds_body)
        }
    }

    /// The body of the request of `connection` is no longer in memory.
    pub(super) fn release_body(&self, connection: &Connection) {
        let bytes = connection.body_bytes.swap(0, Ordering::SeqCst);
        if bytes > 0 {
            self.body_bytes.fetch_sub(bytes, Ordering::SeqCst);
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// From here on no connection waits for another request; those that wait without a byte of it
    /// are told to end.
    pub(super) fn stop(&self) {
        // A connection looks at the mark after it says that it waits; here the order is the other
        // way round. One of the two sees the other, so none goes on to wait.
        self.stopping.store(true, Ordering::SeqCst);
        let table = self.table();
        for connection in table.open.values() {
            let activity = connection.activity.load(Ordering::SeqCst);
            let idle = activity != ANSWERING && !connection.receiving.load(Ordering::SeqCst);
            if idle {
                // Only the reading half: a request that has just come in is still read and
                // answered, the others read the end of the stream.
                connection.hang_up(Shutdown::Read);
            }
        }
        self.freed.notify_all();
    }

    /// Waits until `deadline` for all connections to end. True if they have.
    pub(super) fn wait_for_all(&self, deadline: Instant) -> bool {
        let mut table = self.table();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if table.open.is_empty() || left.is_zero() {
                return table.open.is_empty();
            }
            table = self.wait(table, left);
        }
    }

    /// Cuts all connections; says how many there were.
    pub(super) fn cut_all(&self) -> usize {
        self.table()
            .open
            .values()
            .filter(|connection| connection.cut())
            .count()
    }

    fn wait<'table>(
        &self,
        table: MutexGuard<'table, Table>,
        patience: Duration,
    ) -> MutexGuard<'table, Table> {
        let waited = self.freed.wait_timeout(table, patience);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No code that can panic changes the table half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.table().open.len()
    }
}

impl Table {
    /// How many connections were not cut.
    fn staying(&self) -> usize {
        let stays = |open: &&Arc<Connection>| open.activity.load(Ordering::SeqCst) != CUT;
        self.open.values().filter(stays).count()
    }

    /// Cuts the longest waiting of those `eligible`. False if none of them waits.
    fn evict_longest_waiting(&self, eligible: impl Fn(&Connection) -> bool) -> bool {
        loop {
            let waiting = self
                .open
                .values()
                .filter(|open| eligible(open))
                .filter_map(|open| {
                    let activity = open.activity.load(Ordering::SeqCst);
                    (activity != ANSWERING && activity != CUT).then_some((activity, open))
                });
            let Some((since, victim)) = waiting.min_by_key(|(since, _)| *since) else {
                return false;
            };
            // If its request has become complete since we looked, it stays and another one goes.
            let exchange =
                victim
                    .activity
                    .compare_exchange(since, CUT, Ordering::SeqCst, Ordering::SeqCst);
            if exchange.is_ok() {
                victim.hang_up(Shutdown::Both);
                return true;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.registry.table();
        let Some(connection) = table.open.remove(&self.number) else {
            return;
        };
        if let Some(group) = connection.group
            && let Some(count) = table.per_group.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                table.per_group.remove(&group);
            }
        }
        self.registry.release_body(&connection);
        drop(connection);
        drop(table);
        self.registry.freed.notify_all();
    }
}

/// What one client may be expected to own: an IPv4 address, or an IPv6 network of 64 bits.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::io::Read;
    use std::net::TcpListener;

    /// A registry and what it takes to add connections from any address to it.
    struct Bench {
        registry: Arc<Registry>,
        listener: TcpListener,
    }

    impl Bench {
        fn new(limits: Limits) -> Bench {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            Bench {
                registry: Arc::new(Registry::new(limits)),
                listener,
            }
        }

        fn admit(&self, from: &str, trusted: bool) -> Result<(Slot, TcpStream), Refusal> {
            let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
            let (socket, _) = self.listener.accept().unwrap();
            let peer = SocketAddr::new(from.parse().unwrap(), 1);
            let admitted = self.registry.admit(socket, peer, trusted);
            admitted
                .map(|slot| (slot, client))
                .map_err(|(_, refusal)| refusal)
        }
    }

    #[test]
    fn an_ipv6_client_is_its_network_of_64_bits_and_a_mapped_address_is_ipv4() {
        let same = |a: &str, b: &str| group(a.parse().unwrap()) == group(b.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn the_cap_per_address_counts_networks_spares_proxies_and_is_freed() {
        let bench = Bench::new(Limits {
            connections_per_address_max: 2,
            ..Limits::default()
        });
        let one = bench.admit("2001:db8::1", false).unwrap();
        let _two = bench.admit("2001:db8::2", false).unwrap();
        assert!(bench.admit("2001:db8::3", false).is_err());
        let _other = bench.admit("2001:db8:0:1::1", false).unwrap();
        let _proxy = bench.admit("2001:db8::3", true).unwrap();
        drop(one);
        assert!(bench.admit("2001:db8::3", false).is_ok());
    }

    #[test]
    fn nobody_is_admitted_or_evicted_while_all_are_being_answered() {
        let bench = Bench::new(Limits {
            connections_max: 2,
            ..Limits::default()
        });
        let (one, _client) = bench.admit("192.0.2.1", false).unwrap();
        let (two, _client) = bench.admit("192.0.2.1", false).unwrap();
        assert!(one.connection.answer() && two.connection.answer());
        assert_eq!(bench.admit("192.0.2.2", false).err(), Some(Refusal::Busy));
        assert!(one.connection.wait_from(bench.registry.now()));
        assert!(two.connection.wait_from(bench.registry.now()));
    }

    #[test]
    fn an_evicted_connection_never_starts_to_answer() {
        let bench = Bench::new(Limits::default());
        let (slot, mut client) = bench.admit("192.0.2.1", false).unwrap();
        bench.registry.relieve(Duration::ZERO);
        assert!(!slot.connection.answer());
        assert!(!slot.connection.wait_from(bench.registry.now()));
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn over_the_bound_for_bodies_the_longest_waiting_holder_goes() {
        let bench = Bench::new(Limits {
            bodies_bytes_max: 100,
            ..Limits::default()
        });
        let (empty, _client) = bench.admit("192.0.2.1", false).unwrap();
        let (first, _client) = bench.admit("192.0.2.1", false).unwrap();
        let (second, _client) = bench.admit("192.0.2.1", false).unwrap();
        let ages = [(&empty, 1), (&first, 2), (&second, 3)];
        for (slot, age) in ages {
            slot.connection.wait_from(Moment(age));
        }
        assert!(bench.registry.hold_body(&first.connection, 60));
        assert!(bench.registry.hold_body(&second.connection, 60));
        assert!(empty.connection.answer());
        assert!(!first.connection.answer());
        assert!(second.connection.answer());
        // What is being answered is kept, so there is no room for more.
        assert!(!bench.registry.hold_body(&empty.connection, 1));
        drop((first, second));
        assert!(bench.registry.hold_body(&empty.connection, 99));
    }
}

//! What a supervisor such as systemd is told and gives: whether the program is ready, reloads,
//! stops and lives (sd_notify(3)), and sockets that listen already (sd_listen_fds(3)).
//!
//! Without a supervisor nothing of this happens.

use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// What `systemctl status` says of a server that does all that it should.
pub const READY: &str = "Ready.";

/// The first descriptor that is handed over (sd_listen_fds(3)).
const FIRST_DESCRIPTOR: i32 = 3;

/// More are not handed over on purpose.
const SOCKETS_MAX: i32 = 8;

/// How long the program's own front door may take to answer the program.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long the end of the program waits for a look that is under way.
const END_WITHIN: Duration = Duration::from_secs(1);

/// What is to be told.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    /// Webhooks are answered; with words for people.
    Ready(&'a str),
    /// The configuration is read again. [`State::Ready`] must follow.
    Reloading,
    /// The end has begun.
    Stopping,
    /// It was just seen that the program lives.
    Alive,
}

impl State<'_> {
    fn text(&self) -> String {
        match self {
            State::Ready(words) => format!("READY=1\nSTATUS={words}\n"),
            State::Reloading => {
                // Tells apart what was wished before this moment and after it.
                let now = clock_gettime(ClockId::Monotonic);
                let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
                format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=Reading the configuration.\n")
            }
            State::Stopping => "STOPPING=1\nSTATUS=Finishing what is under way.\n".to_owned(),
            State::Alive => "WATCHDOG=1\n".to_owned(),
        }
    }
}

/// Tells the supervisor, if there is one that wants to know.
pub fn notify(state: &State<'_>) {
    let Some(address) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let told = || -> io::Result<()> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => UnixAddress::from_abstract_name(name)?,
            _ => UnixAddress::from_pathname(&address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A supervisor that does not read must not keep anybody waiting.
        socket.set_write_timeout(Some(Duration::from_secs(1)))?;
        socket.send_to_addr(state.text().as_bytes(), &address)?;
        Ok(())
    };
    if let Err(error) = told() {
        tracing::warn!(%error, "the supervisor cannot be told: NOTIFY_SOCKET");
    }
}

/// The sockets that were handed over to this process, each of which must listen; none without a
/// supervisor that does so. To be called once, before threads start.
pub fn sockets() -> io::Result<Vec<TcpListener>> {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<i32>().ok())
    };
    let is_ours = number("LISTEN_PID") == i32::try_from(std::process::id()).ok();
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    if count > SOCKETS_MAX {
        let words = format!("{SOCKETS_MAX} are the most, here are {count}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
    }
    (FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + count)
        .map(|descriptor| {
            // SAFETY: the supervisor opened these descriptors for this process and says so by its
            // process id; nobody has taken them before, as this is called once.
            #[allow(unsafe_code)]
            let descriptor = unsafe {
                // Looks first whether it is open at all.
                let borrowed = BorrowedFd::borrow_raw(descriptor);
                rustix::io::fcntl_getfd(borrowed)?;
                <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(descriptor)
            };
            listening(descriptor)
        })
        .collect()
}

fn listening(descriptor: OwnedFd) -> io::Result<TcpListener> {
    let wrong = |words: &str| io::Error::new(io::ErrorKind::InvalidInput, words);
    rustix::io::fcntl_setfd(descriptor.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    let socket = socket2::Socket::from(descriptor);
    let is_tcp =
        socket.r#type()? == socket2::Type::STREAM && socket.local_addr()?.as_socket().is_some();
    if !is_tcp || !socket.is_listener()? {
        return Err(wrong("one of them is not a listening TCP socket"));
    }
    Ok(socket.into())
}

/// Looks again and again whether the program lives, and tells the supervisor only when it has seen
/// it: the store was read, and a request through the front door was answered.
pub struct Watchdog {
    stop: mpsc::Sender<()>,
    /// Closed by its thread at the end.
    ended: mpsc::Receiver<()>,
}

impl Watchdog {
    /// Starts, if the supervisor wants to know; `None` if it does not. `store_answers` returns once
    /// the store has said anything.
    pub fn start(
        front_door: SocketAddr,
        store_answers: impl Fn() + Send + 'static,
    ) -> io::Result<Option<Watchdog>> {
        let Some(patience) = patience() else {
            return Ok(None);
        };
        // One look may fail, and the next ones may take their time.
        let every = patience / 4;
        let (stop, stopped) = mpsc::channel();
        let (ending, ended) = mpsc::channel();
        std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                let _ending: mpsc::Sender<()> = ending;
                loop {
                    store_answers();
                    match knock(reachable(front_door)) {
                        Ok(()) => notify(&State::Alive),
                        Err(error) => {
                            tracing::warn!(%error, "a request of the watchdog was not answered");
                        }
                    }
                    if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        Ok(Some(Watchdog { stop, ended }))
    }

    /// Ends it, after the look that is under way; a look that hangs is not waited for.
    pub fn stop(self) {
        // One that has ended already hears nothing.
        let _ = self.stop.send(());
        let _ = self.ended.recv_timeout(END_WITHIN);
    }
}

/// How long the supervisor waits for a sign of life (sd_watchdog_enabled(3)).
fn patience() -> Option<Duration> {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let is_for_another =
        number("WATCHDOG_PID").is_some_and(|of| of != u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && !is_for_another)?;
    Some(Duration::from_micros(micros))
}

/// Any answer is a sign of life, also that there are too many connections.
fn knock(door: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&door, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut begin = [0; 5];
    stream.read_exact(&mut begin)?;
    match &begin {
        b"HTTP/" => Ok(()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// An address under which a listener there can be reached from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What a knock says of a door where this is answered.
    fn knock_at(answer: &'static [u8]) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let door = listener.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(answer);
        });
        let knocked = knock(door);
        answering.join().unwrap();
        knocked
    }

    #[test]
    fn only_an_answer_is_a_sign_of_life() {
        assert!(knock_at(b"HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(knock_at(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").is_ok());
        assert!(knock_at(b"").is_err());
        assert!(knock_at(b"SSH-2.0").is_err());
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let door = gone.local_addr().unwrap();
        drop(gone);
        assert!(knock(door).is_err());
        let any = reachable("[::]:8080".parse().unwrap());
        assert_eq!(any.to_string(), "[::1]:8080");
    }
}

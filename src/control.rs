//! The control socket: how the command line talks to the running server.
//!
//! A Unix socket beside the store, for the user that runs the server and for root. A connection
//! carries one line of JSON each way, `{"version":1,"request":…}` and `{"version":1,"answer":…}`,
//! and ends. The version is read before anything else, so that programs of different versions part
//! with a sentence. One thread attends to one connection after the other: requests of an operator
//! are few, and so no two passwords are hashed at once.
//!
//! [`perform`] is the same whether the request came through the socket or from a command that
//! opened the store itself because no server runs. Only [`Request::Reload`] is for a server alone.

mod audit;
mod certificate;
mod contacts;
mod keys;
mod outbox;
mod requests;
mod users;

pub use audit::{AuditCheckLine, AuditFaultLine, AuditRow};
pub use certificate::CertificateLine;
pub use contacts::{
    AccountLine, BindingLine, ContactLine, ForgottenLine, LIST_CONTACTS_MAX, WhomText,
};
pub use keys::{KeyLine, KeyLineState};
pub use outbox::{
    ChangeLine, EventLine, LIST_ENTRIES_MAX, LIST_EVENTS_MAX, LetterLine, NoRetry, WaitingLine,
    read_id,
};
pub use requests::{Answer, Request, perform};
pub use users::{Hidden, LIST_USERS_MAX, UserLine, UserText};

use crate::app::{App, go_on_after_faults};
use crate::tls::Watch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Raised when a request or an answer changes in a way that the other side would misread.
pub const VERSION: u32 = 1;

/// A request holds [`crate::app::admin::IMPORT_USERS_MAX`] users with the longest values at most.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// An answer holds [`LIST_USERS_MAX`] users with the longest values at most.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Connections that wait while one is attended to. The next ones wait in their own process.
const BACKLOG: i32 = 16;

/// From the first byte of a request to its last: both ends are on one machine.
const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// From the first byte of an answer to its last.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How long a command waits for its answer: the requests before it, the hash of a password and a
/// commit on a slow disk.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// The same for what writes the whole store.
const COPY_WITHIN: Duration = Duration::from_secs(600);

/// After an error of `accept`, mostly a lack of file descriptors, which others must give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Longest path of a Unix socket on Linux (unix(7): `sun_path` has 108 bytes, one of them the end).
const PATH_BYTES_MAX: usize = 107;

/// Where the socket of a store is: beside it.
pub fn socket_path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".sock");
    path.into()
}

// --- lines ------------------------------------------------------------------------------------------------

/// What can be read from a line of any version.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct RequestLine<T> {
    version: u32,
    request: T,
}

#[derive(Serialize, Deserialize)]
struct AnswerLine<T> {
    version: u32,
    answer: T,
}

fn line(value: &impl Serialize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(serde_json::to_vec(value)?);
    line.push(b'\n');
    Ok(line)
}

/// What a line could not be understood for.
enum Misread {
    Version(u32),
    Form,
}

fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T, Misread> {
    let Versioned { version } = serde_json::from_slice(line).map_err(|_| Misread::Form)?;
    if version != VERSION {
        return Err(Misread::Version(version));
    }
    serde_json::from_slice(line).map_err(|_| Misread::Form)
}

// --- the server's side ------------------------------------------------------------------------------------

/// Why there is no control socket: a sentence, and what to do where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A living process has this socket.
    #[error("{} belongs to another running Portero. Stop that one first.", .0.display())]
    InUse(PathBuf),
    /// Something else has this name; it has not been touched.
    #[error("{} is in the way: the control socket belongs there. Move it elsewhere.", .0.display())]
    InTheWay(PathBuf),
    /// The operating system's limit.
    #[error("The path of the control socket is too long ({bytes} bytes, {PATH_BYTES_MAX} are the most): {}. Give the store a shorter path.", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The operating system gives no threads.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// What the operating system said.
    #[error("The control socket {} cannot be made: {source}. It lies beside the store: whoever runs Portero must be allowed to write there.", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The running control socket.
pub struct Control {
    path: PathBuf,
    /// Device and inode of the socket file: another one of that name is left alone.
    identity: (u64, u64),
    /// Closed to stop.
    stop: UnixStream,
    thread: JoinHandle<()>,
}

/// Attends to commands at `path` from now on. The caller has the store of that name open, so a
/// socket found there is a dead process's; it is replaced unless somebody answers at it all the
/// same.
pub fn start(server: Arc<dyn Server>, path: &Path) -> Result<Control, ControlError> {
    let io = |source| ControlError::Io {
        path: path.to_owned(),
        source,
    };
    let (listener, identity) = bind(path)?;
    let (stop, stopped) = UnixStream::pair().map_err(io)?;
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let attendant = Attendant { server, stopped };
            // A fault ends one connection; commands must be attended to after it.
            go_on_after_faults(|| attendant.server.app(), || attendant.run(&listener));
        })
        .map_err(|error| {
            remove_if_same(path, identity);
            ControlError::Thread(error)
        })?;
    Ok(Control {
        path: path.to_owned(),
        identity,
        stop,
        thread,
    })
}

impl Control {
    /// Lets in no request any more, and removes the socket. The thread ends when it has answered the
    /// request under way, if that has come in whole: which may take long, as a copy of the store does.
    pub fn close(self) -> JoinHandle<()> {
        remove_if_same(&self.path, self.identity);
        drop(self.stop);
        self.thread
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

fn remove_if_same(path: &Path, owned: (u64, u64)) {
    if identity(path).is_ok_and(|found| found == owned)
        && let Err(error) = fs::remove_file(path)
    {
        tracing::warn!(%error, "the control socket could not be removed");
    }
}

/// A listening socket at `path` that only its owner can connect to.
///
/// It is made under another name, and nobody can connect before `listen`: so there is no moment at
/// which the mode that the umask gave it matters. Then it takes its name, in one step.
fn bind(path: &Path) -> Result<(UnixListener, (u64, u64)), ControlError> {
    let io = |source| ControlError::Io {
        path: path.to_owned(),
        source,
    };
    make_way(path)?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".new-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    if draft.as_os_str().len() > PATH_BYTES_MAX {
        return Err(ControlError::TooLong {
            path: path.to_owned(),
            bytes: draft.as_os_str().len(),
        });
    }
    // A leftover of a process that was killed at this point and had the same number.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let listening = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&draft)?)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let identity = identity(&draft)?;
        fs::rename(&draft, path)?;
        Ok((UnixListener::from(socket), identity))
    };
    listening().map_err(|error| {
        // It may not be there at all.
        let _ = fs::remove_file(&draft);
        io(error)
    })
}

/// Fails if there is something at `path` that must stay.
fn make_way(path: &Path) -> Result<(), ControlError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ControlError::Io {
            path: path.to_owned(),
            source,
        }),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err(ControlError::InTheWay(path.to_owned()))
        }
        Ok(_) => match connect(path) {
            // Nobody holds the other end any more.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            _ => Err(ControlError::InUse(path.to_owned())),
        },
    }
}

/// The running server, as commands need it.
pub trait Server: Send + Sync {
    /// The operations, as they are configured now.
    fn app(&self) -> Arc<App>;

    /// Takes over what the configuration says now.
    fn reload(&self) -> Answer;

    /// The certificate of HTTPS, when there is any.
    fn certificate(&self) -> Option<Watch>;
}

struct Attendant {
    server: Arc<dyn Server>,
    /// Becomes readable when the server stops.
    stopped: UnixStream,
}

/// Why a connection ended without an answer.
enum Gone {
    /// The server stops.
    Stopping,
    /// The other side hung up, is too slow or is not there any more.
    Lost,
}

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Gone {
        Gone::Lost
    }
}

impl Attendant {
    fn run(&self, listener: &UnixListener) {
        loop {
            let attended = self
                .wait(listener.as_fd(), PollFlags::IN, None)
                .and_then(|()| match listener.accept() {
                    Ok((stream, _)) => self.attend(stream),
                    Err(error) => match error.kind() {
                        // The other side changed its mind.
                        ErrorKind::WouldBlock
                        | ErrorKind::Interrupted
                        | ErrorKind::ConnectionAborted => Ok(()),
                        _ => {
                            tracing::warn!(%error, "the control socket cannot take a connection");
                            let pause = Instant::now() + ACCEPT_PAUSE;
                            self.wait(self.stopped.as_fd(), PollFlags::IN, Some(pause))
                        }
                    },
                });
            if let Err(Gone::Stopping) = attended {
                return;
            }
        }
    }

    fn attend(&self, stream: UnixStream) -> Result<(), Gone> {
        let peer = rustix::net::sockopt::socket_peercred(&stream)
            .map_err(io::Error::from)?
            .uid;
        if peer != rustix::process::geteuid() && !peer.is_root() {
            tracing::warn!(
                uid = peer.as_raw(),
                "a command of another user was turned away"
            );
            return Err(Gone::Lost);
        }
        stream.set_nonblocking(true)?;
        let answer = match self.receive(&stream)? {
            None => return Ok(()),
            Some(Err(answer)) => answer,
            Some(Ok(request)) => {
                let answer = catch_unwind(AssertUnwindSafe(|| match &request {
                    Request::Reload => self.server.reload(),
                    request if request.is_about_certificate() => {
                        certificate::attend(request, self.server.certificate().as_ref())
                    }
                    request => perform(&self.server.app(), request),
                }));
                let answer = answer.unwrap_or_else(|_| Answer::Failed {
                    reason: "the server met an error of its own; its log says more".to_owned(),
                });
                let (name, outcome) = (request.name(), answer.name());
                if request.only_looks() {
                    tracing::debug!(request = name, outcome, "a command was attended to");
                } else {
                    tracing::info!(request = name, outcome, "a command was attended to");
                }
                answer
            }
        };
        let answer = line(&AnswerLine {
            version: VERSION,
            answer,
        })?;
        self.send(&stream, &answer)
    }

    /// The request, or what to answer instead; nothing if the other side only looked whether
    /// somebody is here.
    fn receive(&self, mut stream: &UnixStream) -> Result<Option<Result<Request, Answer>>, Gone> {
        let deadline = Instant::now() + REQUEST_WITHIN;
        // Never grows, so that no copy of a password is left behind.
        let mut bytes = Zeroizing::new(vec![0; REQUEST_BYTES_MAX]);
        let mut filled = 0;
        let end = loop {
            self.wait(stream.as_fd(), PollFlags::IN, Some(deadline))?;
            let count = match stream.read(&mut bytes[filled..]) {
                Ok(count) => count,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            let fresh = filled..filled + count;
            filled += count;
            if let Some(end) = bytes[fresh].iter().position(|byte| *byte == b'\n') {
                break filled - count + end;
            }
            if count == 0 || filled == bytes.len() {
                return Ok((filled > 0).then(|| {
                    Err(Answer::refused(match count {
                        0 => "the request ended before its line did",
                        _ => "the request is too long",
                    }))
                }));
            }
        };
        let line: Result<RequestLine<Request>, Misread> = read(&bytes[..end]);
        Ok(Some(line.map(|line| line.request).map_err(|misread| {
            Answer::refused(match misread {
                Misread::Form => "this is no request that this version of Portero knows".to_owned(),
                Misread::Version(version) => format!(
                    "the running server and this command are of different versions ({VERSION} and {version} of the control socket)"
                ),
            })
        })))
    }

    fn send(&self, mut stream: &UnixStream, mut bytes: &[u8]) -> Result<(), Gone> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(stream.as_fd(), PollFlags::OUT, Some(deadline))?;
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until `fd` is ready. The wish to stop comes first, then the deadline.
    fn wait(
        &self,
        fd: BorrowedFd<'_>,
        flags: PollFlags,
        deadline: Option<Instant>,
    ) -> Result<(), Gone> {
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(self.stopped.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(fd, flags),
            ];
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec {
                tv_sec: left.as_secs().cast_signed(),
                tv_nsec: left.subsec_nanos().into(),
            });
            match poll(&mut fds, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(_) if !fds[0].revents().is_empty() => return Err(Gone::Stopping),
                Ok(0) => return Err(Gone::Lost),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// Whether the same call may succeed in a moment.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

// --- the command's side -----------------------------------------------------------------------------------

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No server runs on this store, as far as its socket tells. Nothing has happened.
    #[error("no server answers at {}", .0.display())]
    NoServer(PathBuf),
    /// This user may not use the socket. Nothing has happened.
    #[error("{} may not be used by this user", .0.display())]
    Denied(PathBuf),
    /// The server is of another version. Nothing has happened.
    #[error(
        "the running server and this command are of different versions ({0} and {VERSION} of the control socket)"
    )]
    OtherVersion(u32),
    /// The socket cannot be used. Nothing has happened.
    #[error("the running server cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The connection broke: it is unknown whether the request was carried out.
    #[error("the running server gave no answer; whether it did what was asked is unknown")]
    NoAnswer,
}

/// Asks the server whose socket is at `path`.
pub fn ask(path: &Path, request: &Request) -> Result<Answer, AskError> {
    let within = if request.takes_long() {
        COPY_WITHIN
    } else {
        ASK_WITHIN
    };
    let deadline = Instant::now() + within;
    let mut stream = connect(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NoServer(path.to_owned()),
        ErrorKind::PermissionDenied => AskError::Denied(path.to_owned()),
        _ => AskError::Unreachable(error),
    })?;
    let question = line(&RequestLine {
        version: VERSION,
        request,
    })
    .map_err(AskError::Unreachable)?;
    // A server that refuses what it has read so far answers and hangs up; so the answer is read
    // even if not everything could be written.
    let _ = stream.write_all(&question);
    let answer = answer(&mut stream, deadline).map_err(|_| AskError::NoAnswer)?;
    match read::<AnswerLine<Answer>>(&answer) {
        Ok(line) => Ok(line.answer),
        Err(Misread::Version(version)) => Err(AskError::OtherVersion(version)),
        Err(Misread::Form) => Err(AskError::NoAnswer),
    }
}

/// Waits no longer than [`ASK_WITHIN`] for a place among those that wait.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(ASK_WITHIN))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn answer(stream: &mut UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || bytes.len() > ANSWER_BYTES_MAX {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        bytes.extend_from_slice(&piece[..count]);
        if bytes.ends_with(b"\n") {
            return Ok(bytes);
        }
    }
}

#[cfg(test)]
mod tests;

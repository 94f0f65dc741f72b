//! The whole program, put together: opens, starts, waits, stops, in this order.

mod generation;
mod metrics;
mod reload;
mod status;
pub mod supervisor;

pub use reload::{Outcome, Reloader, Source};

use crate::app::{
    App, Clock, Failed, Janitor, SystemClock, SystemRandom, go_on_after_faults, have_ended,
};
use crate::config::{self, Config, StoreKey};
use crate::control::{self, Control, ControlError};
use crate::domain::delivery::Lane;
use crate::domain::time::Timestamp;
use crate::outbox::{Outbox, Pace, Running as Senders};
use crate::store::record::{self, Keys};
use crate::store::redb::Options;
use crate::store::seal::KeyError;
use crate::store::{CopyError, Engine, MasterKey, Redb, StoreError, migrate};
use crate::tls::Tls;
use crate::web::listener::{Handler, Limits, Listener, Trust, Trusting};
use crate::web::{CurrentWeb, MetricsDoor, RedirectDoor};
use generation::{Adapters, Current, Generation, settings, snapshots};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use supervisor::Watchdog;

/// The directory's name as a service.
pub const DIRECTORY: &str = config::Directory::SERVICE;

/// From the wish to stop to the end of the process: what a supervisor grants without asking twice.
const STOP_WITHIN: Duration = Duration::from_secs(9);

/// The part of it that requests under way get.
const REQUESTS_WITHIN: Duration = Duration::from_secs(4);

/// How long the last moment may take to be noted when nothing is left of [`STOP_WITHIN`]: a disk that
/// hangs would take for ever.
const NOTED_WITHIN: Duration = Duration::from_millis(300);

/// Prometheus, perhaps another one beside it, and somebody who looks.
const METRICS_CONNECTIONS_MAX: usize = 16;

/// Between two looks at whether the store has given up: until then everything is refused, and only a
/// new process can help.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Between two sweeps of what is old.
const SWEEP_EVERY: Duration = Duration::from_secs(20);

/// After a snapshot that could not be made.
const SNAPSHOT_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Why the program did not start: a sentence and what kind of trouble it is.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key of the store.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error("{}", .0.with_advice())]
    Store(#[from] crate::store::OpenError),
    /// A setting that only shows when it is used.
    #[error("{0}")]
    Settings(String),
    /// What a supervisor handed over cannot be listened on.
    #[error("the sockets that were handed over cannot be used: {0}")]
    HandedOver(std::io::Error),
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The socket for the command line.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The operating system gives no threads.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl From<Failed> for StartError {
    fn from(error: Failed) -> StartError {
        match error {
            Failed::Store(error) => error.into(),
            Failed::Random(_) => StartError::Key(KeyError::NoRandomness),
            Failed::ClockInDoubt => StartError::Settings(error.to_string()),
        }
    }
}

impl From<CopyError> for StartError {
    fn from(error: CopyError) -> StartError {
        match error {
            CopyError::Open(error) => error.into(),
            CopyError::Store(error) => error.into(),
            error => StartError::Settings(error.to_string()),
        }
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> StartError {
        StartError::Store(error.into())
    }
}

/// Why a running program cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The store has given up, for this reason.
    Store(String),
    /// Its threads met too many faults of their own in a short time.
    Faults,
}

/// The running program.
pub struct Running {
    current: Arc<Current>,
    listeners: Vec<Listener>,
    encrypted: Option<Encrypted>,
    metrics: Option<Listener>,
    senders: Senders,
    sweeper: Sweeper,
    reloader: Arc<Reloader>,
    control: Option<Control>,
}

/// HTTPS of its own.
struct Encrypted {
    tls: Tls,
    listeners: Vec<Listener>,
    redirects: Vec<Listener>,
}

/// Opens the store with the key that belongs to it and puts the operations over it.
///
/// A key is made only for a store that does not exist yet: a new key for an old store would hide
/// that the right one is missing.
pub fn open(config: &Config) -> Result<Arc<App>, StartError> {
    let master = match &config.store.key {
        StoreKey::File(path) if !exists(&config.store.path) => MasterKey::load_or_create(path)?,
        key => existing_key(key)?,
    };
    let options = Options {
        cache_bytes: config.store.cache_bytes,
        ..Options::default()
    };
    let engine: Arc<dyn Engine> = Arc::new(Redb::open(&config.store.path, options)?);
    let wall = || SystemClock::new(Timestamp(0)).now();
    let (store, _) = migrate::open(engine, &master, &snapshots(config), wall(), migrate::STEPS)?;
    // Read again: a store may take minutes to be brought to the format of today.
    let wall = wall();
    let latest = store.view(|reader| record::earliest_start(reader, wall))?;
    let clock = Arc::new(SystemClock::new(latest));
    let app = App::new(
        store,
        Keys::new(master),
        settings(config),
        clock,
        Arc::new(SystemRandom),
    )?
    .with_snapshots(snapshots(config));
    finish_erasure(&app);
    Ok(Arc::new(app))
}

/// The key of a store that exists.
pub fn existing_key(key: &StoreKey) -> Result<MasterKey, KeyError> {
    match key {
        StoreKey::Given(digits) => MasterKey::from_hex(digits.reveal()),
        StoreKey::File(path) => MasterKey::load(path),
    }
}

/// An erasure that was interrupted, or could not be finished, is finished as soon as it can be.
fn finish_erasure(app: &App) {
    match app.finish_erasure() {
        Ok(false) => {}
        Ok(true) => tracing::info!("what was left of an erasure is gone from the disk"),
        Err(error @ CopyError::Cancelled) => {
            tracing::info!(%error, "what was forgotten leaves the disk after the next start");
        }
        Err(error) => {
            tracing::error!(%error, "what was forgotten may still be on the disk; it is tried again");
        }
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Starts everything, with a configuration that is never another one. From the return on, webhooks
/// are answered.
pub fn start(config: &Config) -> Result<Running, StartError> {
    start_with(config, None, Vec::new())
}

/// Starts everything, with a configuration that can be read again. Instead of listening where that
/// says, `sockets` are used if there are any.
pub fn start_from(source: Source, sockets: Vec<TcpListener>) -> Result<Running, StartError> {
    let config = source.loaded.config.clone();
    start_with(&config, Some(source), sockets)
}

fn start_with(
    config: &Config,
    source: Option<Source>,
    sockets: Vec<TcpListener>,
) -> Result<Running, StartError> {
    let adapters = Adapters::new(config).map_err(StartError::Settings)?;
    let tls = (config.tls.as_ref())
        .map(|settings| Tls::open(settings.source.clone()))
        .transpose()
        .map_err(StartError::Settings)?;
    let certificate = tls.as_ref().map(Tls::watch);
    let app = open(config)?;
    // Before anybody is let in, so that a process which is killed before it sweeps has told when that was.
    // What a disk refuses that became full since the store was opened ends no start: what is known is
    // still read.
    match app.note_time() {
        Err(error) if error.is_for_good() => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "the moment of this start could not be noted"),
        Ok(()) => {}
    }
    let mut pace = Pace {
        messages_per_second: config.whatsapp.messages_per_second,
        ..Pace::default()
    };
    if let Some(bot) = &config.bot {
        pace.threads[Lane::Bot as usize] = bot.connections;
    }
    let (carry, parts) = adapters.carry(&app);
    let outbox = Arc::new(Outbox::new(Arc::clone(&app), carry, pace));
    let generation = Generation::new(config, app, parts, &outbox, certificate.clone(), None);
    let current = Arc::new(Current::new(generation));
    let listeners = listen(config, sockets, &current)?;
    let encrypted = match (&config.tls, tls) {
        (Some(settings), Some(tls)) => Some(listen_encrypted(config, settings, tls, &current)?),
        (None, _) | (_, None) => None,
    };
    let reloads = Arc::new(reload::Told::default());
    let log_lines_dropped = source
        .as_ref()
        .map(|source| Arc::clone(&source.log_lines_dropped));
    let metrics = match &config.metrics {
        None => None,
        Some(settings) => {
            let counting = metrics::Counting {
                current: Arc::clone(&current),
                outbox: Arc::clone(&outbox),
                reloads: Arc::clone(&reloads),
                tls: certificate.clone(),
                log_lines_dropped: log_lines_dropped.unwrap_or_default(),
                store: config.store.path.clone(),
                started_at: SystemTime::now(),
            };
            Some(listen_for_metrics(settings, counting, &current)?)
        }
    };
    let for_https = encrypted
        .iter()
        .flat_map(|encrypted: &Encrypted| (encrypted.listeners.iter()).chain(&encrypted.redirects));
    let reloader = Arc::new(Reloader::new(
        source,
        reload::House {
            current: Arc::clone(&current),
            outbox: Arc::clone(&outbox),
            certificate,
            listeners: listeners.iter().chain(for_https).map(believed).collect(),
            metrics: metrics.as_ref().map(believed),
        },
        reloads,
    ));
    let senders = outbox.start().map_err(StartError::Thread)?;
    let sweeper = Sweeper::start(Arc::clone(&current)).map_err(StartError::Thread)?;
    let mut running = Running {
        current,
        listeners,
        encrypted,
        metrics,
        senders,
        sweeper,
        reloader,
        control: None,
    };
    let path = control::socket_path(&config.store.path);
    match control::start(
        Arc::clone(&running.reloader) as Arc<dyn control::Server>,
        &path,
    ) {
        Ok(control) => running.control = Some(control),
        Err(error) => {
            running.stop();
            return Err(error.into());
        }
    }
    Ok(running)
}

/// Listens for HTTPS, and then has the certificate looked after: an authority that is asked for one
/// looks whether somebody answers.
fn listen_encrypted(
    config: &Config,
    settings: &config::Tls,
    mut tls: Tls,
    current: &Arc<Current>,
) -> Result<Encrypted, StartError> {
    let limits = limits(config);
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let (trust, tls) = (trust(config, *address), tls.server_config());
        let listener = Listener::bind_tls(*address, limits.clone(), trust, door(current), tls)
            .map_err(|error| cannot_listen(*address, error))?;
        listeners.push(listener);
    }
    let mut redirects = Vec::new();
    for address in &settings.redirect_listen {
        let certificates = Arc::clone(tls.certificates());
        let challenges = Box::new(move |token: &str| certificates.answer_to(token));
        let current = Arc::clone(current);
        let origin = Box::new(move || current.get().origin.clone());
        let door = Arc::new(RedirectDoor::new(origin, challenges));
        let listener = Listener::bind(*address, limits.clone(), trust(config, *address), door)
            .map_err(|error| cannot_listen(*address, error))?;
        redirects.push(listener);
    }
    tls.start().map_err(StartError::Thread)?;
    Ok(Encrypted {
        tls,
        listeners,
        redirects,
    })
}

/// Why a listener did not start. An address is never "temporarily unavailable", a thread is
/// (pthread_create(3), `EAGAIN`; bind(2) has no such error).
fn cannot_listen(address: SocketAddr, error: std::io::Error) -> StartError {
    match error.kind() {
        ErrorKind::WouldBlock => StartError::Thread(error),
        _ => StartError::Listen(address, error),
    }
}

/// Where a listener is, and whom it believes.
fn believed(listener: &Listener) -> (SocketAddr, Arc<Trusting>) {
    (listener.local_addr(), listener.trusting())
}

fn listen(
    config: &Config,
    sockets: Vec<TcpListener>,
    current: &Arc<Current>,
) -> Result<Vec<Listener>, StartError> {
    let (limits, door) = (&limits(config), &door(current));
    if sockets.is_empty() {
        return (config.server.listen.iter())
            .map(|address| {
                let trust = trust(config, *address);
                Listener::bind(*address, limits.clone(), trust, Arc::clone(door))
                    .map_err(|error| cannot_listen(*address, error))
            })
            .collect();
    }
    let listeners = sockets.into_iter().map(|socket| {
        let address = socket.local_addr().map_err(StartError::HandedOver)?;
        let trust = trust(config, address);
        Listener::start(socket, limits.clone(), trust, Arc::clone(door))
            .map_err(|error| cannot_listen(address, error))
    });
    listeners.collect()
}

/// Answers as configured at the moment.
fn door(current: &Arc<Current>) -> Arc<dyn Handler> {
    let current = Arc::clone(current);
    Arc::new(CurrentWeb::new(move || Arc::clone(&current.get().web)))
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections_max: config.server.connections_max,
        connections_per_address_max: config.server.connections_per_address_max,
        ..Limits::default()
    }
}

/// Whom the listener at `address` believes.
fn trust(config: &Config, address: SocketAddr) -> Trust {
    let mut hosts = config.server.hosts.clone();
    // It may be another one than the file has by now.
    if !address.ip().is_unspecified() {
        hosts.push(host_of(address));
    }
    Trust {
        hosts,
        proxies: config.server.trusted_proxies.clone(),
    }
}

/// A listener of its own, so that no proxy in front of the other one can let anybody in.
fn listen_for_metrics(
    settings: &config::Metrics,
    counting: metrics::Counting,
    current: &Arc<Current>,
) -> Result<Listener, StartError> {
    let limits = Limits {
        connections_max: METRICS_CONNECTIONS_MAX,
        ..Limits::default()
    };
    let trust = trust_for_metrics(settings);
    let current = Arc::clone(current);
    let door = MetricsDoor::new(
        Box::new(move || current.get().metrics_key.clone()),
        Box::new(move || counting.page()),
    );
    Listener::bind(settings.listen, limits, trust, Arc::new(door))
        .map_err(|error| cannot_listen(settings.listen, error))
}

fn trust_for_metrics(settings: &config::Metrics) -> Trust {
    Trust {
        // Without a key a page in somebody's browser must not reach it under a name of its own.
        hosts: match &settings.key {
            None => ["localhost".to_owned(), host_of(settings.listen)].into(),
            Some(_) => Vec::new(),
        },
        proxies: Vec::new(),
    }
}

/// As a `Host` names it.
fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

impl Running {
    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(Listener::local_addr).collect()
    }

    /// Where it listens for HTTPS, and where plain HTTP is sent there.
    pub fn encrypted_addresses(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let of = |listeners: &[Listener]| listeners.iter().map(Listener::local_addr).collect();
        let encrypted = self.encrypted.as_ref();
        let (listeners, redirects) = encrypted.map_or((&[][..], &[][..]), |encrypted| {
            (&encrypted.listeners[..], &encrypted.redirects[..])
        });
        (of(listeners), of(redirects))
    }

    /// Where the numbers are, when they are anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Listener::local_addr)
    }

    /// The operations, as they are configured now.
    pub fn app(&self) -> Arc<App> {
        Arc::clone(&self.current.get().app)
    }

    /// Reads the configuration again.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// The lanes.
    pub fn outbox(&self) -> &Arc<Outbox> {
        self.senders.outbox()
    }

    /// Tells the supervisor that the program lives, as long as it does, if that wants to know.
    pub fn watchdog(&self) -> std::io::Result<Option<Watchdog>> {
        let Some(door) = self.listeners.first().map(Listener::local_addr) else {
            return Ok(None);
        };
        let current = Arc::clone(&self.current);
        Watchdog::start(door, move || {
            // Also a store that refuses has answered: starting again would not mend it.
            let _ = current.get().app.is_ready();
        })
    }

    /// Why the process should end with an error, so that its supervisor starts another one, if it
    /// should.
    pub fn broken(&self) -> Option<Broken> {
        if let Some(reason) = self.sweeper.broken.get() {
            return Some(Broken::Store(reason.clone()));
        }
        let has_faults = self.current.get().app.has_too_many_faults();
        has_faults.then_some(Broken::Faults)
    }

    /// Stops in order: no more commands, no new requests, those under way are answered, senders finish
    /// what they hold, the rest waits in the store. Copies of the store are given up, if the disk lets
    /// them. Says whether all of that happened in time. A command or the sweeper may be at something that
    /// takes longer, such as an erasure that stores all anew: that is not finished, and who asked for it
    /// gets no answer.
    pub fn stop(self) -> bool {
        let deadline = Instant::now() + STOP_WITHIN;
        self.current.get().app.cancel_copies();
        let mut others = vec![self.sweeper.tell_to_end()];
        others.extend(self.control.map(Control::close));
        let (tls, encrypted) = match self.encrypted {
            None => (None, Vec::new()),
            Some(encrypted) => {
                let mut all = encrypted.listeners;
                all.extend(encrypted.redirects);
                (Some(encrypted.tls), all)
            }
        };
        if let Some(tls) = tls {
            tls.stop();
        }
        let listeners = (self.listeners.into_iter())
            .chain(encrypted)
            .chain(self.metrics)
            .collect();
        let cut = Listener::stop_all(listeners, REQUESTS_WITHIN).cut;
        let senders_done = self.senders.stop(deadline);
        let others_done = have_ended(others, deadline);
        let current = self.current.get();
        current.web.tell_last_rest();
        note_last_moment(
            Arc::clone(&current.app),
            deadline.max(Instant::now() + NOTED_WITHIN),
        );
        if cut > 0 || !senders_done || !others_done {
            tracing::warn!(
                requests_cut = cut,
                senders_done,
                others_done,
                "stopped before everything was finished"
            );
        }
        cut == 0 && senders_done && others_done
    }
}

/// On a thread of its own: whoever is late may be storing all anew, or the disk hang, and this would
/// wait for that.
fn note_last_moment(app: Arc<App>, deadline: Instant) {
    let noting = std::thread::Builder::new()
        .name("last moment".into())
        .spawn(move || {
            if let Err(error) = app.note_time() {
                tracing::warn!(%error, "the last moment could not be noted");
            }
        });
    match noting.map(|thread| have_ended(vec![thread], deadline)) {
        Ok(true) => {}
        Ok(false) => tracing::warn!("the last moment could not be noted in time"),
        Err(error) => tracing::warn!(%error, "the last moment could not be noted"),
    }
}

/// What is done from time to time, and what is remembered between.
struct Sweep {
    janitor: Janitor,
    /// Counted from the first look.
    swept_at: Option<Instant>,
    /// No snapshot is tried before.
    rest_until: Option<Instant>,
}

impl Sweep {
    /// Does all of it once, if it is time.
    fn run_if_due(&mut self, app: &App) {
        let now = Instant::now();
        if now.duration_since(*self.swept_at.get_or_insert(now)) < SWEEP_EVERY {
            return;
        }
        self.swept_at = Some(now);
        match self.janitor.sweep(app) {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "old records were removed"),
            Err(error) => tracing::warn!(%error, "old records could not be removed"),
        }
        if let Err(error) = app.forget_who_wished_it() {
            tracing::warn!(%error, "who wished to be forgotten could not be forgotten yet; it is tried again");
        }
        finish_erasure(app);
        if (self.rest_until).is_some_and(|until| Instant::now() < until) {
            return;
        }
        self.rest_until = match app.snapshot_if_due() {
            Ok(None) => None,
            Ok(Some(path)) => {
                tracing::debug!(path = %path.display(), "a snapshot of the store was made");
                None
            }
            Err(CopyError::Cancelled) => None,
            Err(error) => {
                tracing::error!(%error, "no snapshot of the store could be made");
                Some(Instant::now() + SNAPSHOT_AGAIN_AFTER)
            }
        };
    }
}

/// Sweeps what is old, tells what would else be told too late, and notices when the store gives up.
struct Sweeper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
    broken: Arc<OnceLock<String>>,
}

impl Sweeper {
    fn start(current: Arc<Current>) -> std::io::Result<Sweeper> {
        let (stop, stopped) = mpsc::channel();
        let broken = Arc::new(OnceLock::new());
        let seen = Arc::clone(&broken);
        let thread = std::thread::Builder::new()
            .name("sweeper".into())
            .spawn(move || {
                let mut sweep = Sweep {
                    janitor: Janitor::default(),
                    swept_at: None,
                    rest_until: None,
                };
                let app = || Arc::clone(&current.get().app);
                let reason = go_on_after_faults(app, || {
                    while stopped.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                        let generation = current.get();
                        if let Err(StoreError::Broken(reason)) = generation.app.is_ready() {
                            return Some(reason);
                        }
                        generation.app.try_to_write_again();
                        generation.web.tell_rest();
                        sweep.run_if_due(&generation.app);
                    }
                    None
                });
                if let Some(reason) = reason {
                    tracing::error!(reason, "the store has stopped");
                    let _ = seen.set(reason);
                }
            })?;
        Ok(Sweeper {
            stop,
            thread,
            broken,
        })
    }

    /// The thread ends when it has done what it is at.
    fn tell_to_end(self) -> JoinHandle<()> {
        // A sweeper that has ended already hears nothing.
        let _ = self.stop.send(());
        self.thread
    }
}

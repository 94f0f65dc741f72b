//! The whole program, put together: opens, starts, waits, stops, in this order.

mod metrics;

use crate::app::{
    self, App, CheckFailed, Clock, Failed, HandOver, Issued, Janitor, Report, SystemClock,
    SystemRandom, TokenWanted, Verdict, Work,
};
use crate::backend::Backend;
use crate::bot::{Bot, EventReceiver};
use crate::config::{self, Config, StoreKey};
use crate::control::{self, Control, ControlError};
use crate::domain::account::{Answer, Unavailable};
use crate::domain::delivery::{Failure, Lane};
use crate::domain::id::{Secret, ServiceName, Timestamp};
use crate::mail::Mailer;
use crate::outbox::{Outbox, Pace, Running as Senders};
use crate::services::{self, Services, TokenFor};
use crate::store::record::{self, Keys};
use crate::store::redb::Options;
use crate::store::seal::KeyError;
use crate::store::{CopyError, Engine, MasterKey, Redb, Snapshots, StoreError, migrate};
use crate::text::Voice;
use crate::tls::{self, Tls};
use crate::web::listener::{Limits, Listener, Trust};
use crate::web::pages::CHAT_ORIGINS;
use crate::web::{
    Look, MetricsDoor, RedirectDoor, SIGN_IN_PATH, Site, UNDO_PATH, Web, WebSettings,
    WebhookSettings,
};
use crate::whatsapp::Client;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// The directory's name as a service.
pub const DIRECTORY: &str = config::Directory::SERVICE;

/// From the wish to stop to the end of the process: what a supervisor grants without asking twice.
const STOP_WITHIN: Duration = Duration::from_secs(9);

/// The part of it that requests under way get.
const REQUESTS_WITHIN: Duration = Duration::from_secs(4);

/// Prometheus, perhaps another one beside it, and somebody who looks.
const METRICS_CONNECTIONS_MAX: usize = 16;

/// Between two looks at whether the store still works, and two sweeps of what is old.
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
    #[error(transparent)]
    Store(#[from] crate::store::OpenError),
    /// A setting that only shows when it is used.
    #[error("{0}")]
    Settings(String),
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

/// The running program.
pub struct Running {
    app: Arc<App>,
    listeners: Vec<Listener>,
    encrypted: Option<Encrypted>,
    metrics: Option<Listener>,
    senders: Senders,
    sweeper: Sweeper,
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
    let snapshots = Snapshots::new(config.store.snapshot_folder.clone(), config.store.snapshots);
    let now = SystemClock::new(Timestamp(0)).now();
    let (store, _) = migrate::open(engine, &master, &snapshots, now, migrate::STEPS)?;
    let latest = store.view(record::latest_moment)?;
    let clock = Arc::new(SystemClock::new(latest));
    let app = App::new(
        store,
        Keys::new(master),
        settings(config),
        clock,
        Arc::new(SystemRandom),
    )?
    .with_snapshots(snapshots);
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
        Err(error) => {
            tracing::error!(%error, "what was forgotten may still be on the disk; it is tried again");
        }
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn settings(config: &Config) -> app::Settings {
    // The name is a constant of the allowed form.
    let directory = ServiceName::parse(DIRECTORY).expect("the directory's name is well formed");
    let mut services: Vec<(ServiceName, String)> = config
        .services
        .iter()
        .map(|service| (service.name.clone(), service.title.clone()))
        .collect();
    if config.directory.enabled {
        services.push((directory.clone(), config.directory.title.clone()));
    }
    app::Settings {
        policy: config.policy.clone(),
        phone_number_id: config.whatsapp.sender.phone_number_id.clone(),
        language: config.business.language,
        texts: config.texts.clone(),
        voice: Voice {
            business: config.business.name.clone(),
            services,
            code_digits: config.policy.code_digits,
            code_minutes: config
                .policy
                .code_lifetime_ms
                .div_ceil(crate::domain::id::MINUTE_MS),
            methods: config.policy.methods,
            link_minutes: config
                .policy
                .link_lifetime_ms
                .div_ceil(crate::domain::id::MINUTE_MS),
        },
        directory: config.directory.enabled.then_some(directory),
        places: places(config),
        hands_on: config.bot.is_some(),
        tells_events: config.events.is_some(),
        identity: app::IdentitySettings {
            // Verifiers who are told only the issuer find the keys below it.
            issuer: (config.server.public_url.clone())
                .unwrap_or_else(|| app::IdentitySettings::default().issuer),
            lifetime_ms: config.identity.lifetime_ms,
            rotate_ms: config.identity.rotate_ms,
        },
    }
}

/// Where browsers are sent. All of it comes from the configuration.
fn places(config: &Config) -> app::Places {
    let public_url = config.server.public_url.as_ref();
    let page = config.sign_in.page.as_ref().and_then(|name| {
        let page = config.pages.iter().find(|page| page.name == *name)?;
        page.url.clone()
    });
    let own = public_url.map(|url| format!("{url}{SIGN_IN_PATH}/"));
    let number = config.whatsapp.number.clone();
    app::Places {
        sign_in: page.or(own).map(|url| format!("{url}?mappingHash=")),
        undo: public_url.map(|url| format!("{url}{UNDO_PATH}/?token=")),
        chat: number
            .as_ref()
            .map(|number| format!("{}?phone={}", config.whatsapp.chat_url, number.as_str())),
        number,
    }
}

/// What the pages need; `None` without a public address.
fn site(
    config: &Config,
    app: &Arc<App>,
    services: &Arc<Services>,
) -> Result<Option<Site>, StartError> {
    let Some(public_url) = &config.server.public_url else {
        return Ok(None);
    };
    let backend = (config.sign_in.backend.clone())
        .map(Backend::new)
        .transpose()
        .map_err(StartError::Settings)?;
    let mut chat_origins: Vec<String> = CHAT_ORIGINS.map(str::to_owned).into();
    let (origin, _) = origin_and_path(&config.whatsapp.chat_url);
    if !chat_origins.contains(&origin) {
        chat_origins.push(origin);
    }
    let (origin, base) = origin_and_path(public_url);
    Ok(Some(Site {
        origin,
        base,
        look: Look {
            business: config.business.name.clone(),
            color: config.business.color,
            logo: config.business.logo.is_some(),
        },
        logo: config.business.logo.clone(),
        chat_origins,
        check: Box::new({
            let (app, services) = (Arc::clone(app), Arc::clone(services));
            move |user: &str, password: &Secret| whose(&app, &services, user, password)
        }),
        backend,
    }))
}

/// `https://host[:port]` and the rest, without a slash at the end, of an address that was parsed
/// before.
fn origin_and_path(url: &str) -> (String, String) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find('/').map_or(url.len(), |at| host + at);
    let (origin, path) = url.split_at(path);
    (
        origin.to_ascii_lowercase(),
        path.trim_end_matches('/').to_owned(),
    )
}

/// Whose user name and password these are: the directory and every service that can say are asked.
/// Who answers *nobody's* does not outweigh who gives no answer.
fn whose(app: &App, services: &Services, user: &str, password: &Secret) -> Verdict {
    let mut accounts = Vec::new();
    let (mut silent, mut answered) = (false, false);
    if app.settings().directory.is_some() {
        match app.sign_in_to_directory(user, password) {
            Ok(found) => {
                answered = true;
                accounts.extend(found);
            }
            Err(CheckFailed::Busy) => return Verdict::Busy,
            Err(CheckFailed::Store(error)) => {
                tracing::error!(%error, "a password could not be compared");
                silent = true;
            }
        }
    }
    for answer in services.check_password(user, password, app.now(), "sign-in") {
        match answer.users {
            Ok(users) => {
                answered = true;
                accounts.extend(users);
            }
            Err(unavailable) => {
                let service = answer.service.as_str();
                let reason = unavailable.reason;
                tracing::warn!(service, reason, "a service gave no answer about a password");
                silent = true;
            }
        }
    }
    match (accounts.is_empty(), silent, answered) {
        (false, ..) => Verdict::These(accounts),
        // Whoever did answer was a chance to guess.
        (true, true, true) => Verdict::NotEverybody,
        (true, true, false) => Verdict::NoAnswer,
        (true, false, _) => Verdict::Nobody,
    }
}

/// Starts everything. From the return on, webhooks are answered.
pub fn start(config: &Config) -> Result<Running, StartError> {
    let client = Client::new(&config.whatsapp.sender).map_err(StartError::Settings)?;
    let mailer = Mailer::new(&config.mail).map_err(StartError::Settings)?;
    let services = Services::new(config.services.clone()).map_err(StartError::Settings)?;
    let services = Arc::new(services);
    let tls = (config.tls.as_ref())
        .map(|settings| Tls::open(settings.source.clone()))
        .transpose()
        .map_err(StartError::Settings)?;
    let watched = tls.as_ref().map(Tls::watch);
    let app = open(config)?;
    let mut pace = Pace {
        messages_per_second: config.whatsapp.messages_per_second,
        ..Pace::default()
    };
    if let Some(bot) = &config.bot {
        pace.threads[Lane::Bot as usize] = bot.connections;
    }
    let bot = (config.bot.as_ref()).map(Bot::new);
    let receiver = (config.events.as_ref())
        .map(|events| EventReceiver::new(events, pace.threads[Lane::Events as usize]));
    let carrier = Carrier {
        app: Arc::clone(&app),
        client,
        mailer,
        services: Arc::clone(&services),
        bot: bot.transpose().map_err(StartError::Settings)?,
        receiver: receiver.transpose().map_err(StartError::Settings)?,
    };
    let outbox = Arc::new(Outbox::new(
        Arc::clone(&app),
        Arc::new(move |work: &Work| carrier.carry(work)),
        pace,
    ));
    let web = Arc::new(Web::new(
        Arc::clone(&app),
        WebSettings {
            webhook: WebhookSettings {
                app_secrets: config.whatsapp.app_secrets.clone(),
                verify_token: config.whatsapp.verify_token.clone(),
                phone_number_id: config.whatsapp.sender.phone_number_id.clone(),
            },
            site: site(config, &app, &services)?,
            pages: config.pages.clone(),
            api_keys: config.api_keys.clone(),
            issue_token: Box::new({
                let services = Arc::clone(&services);
                move |wanted: &TokenWanted<'_>, now: Timestamp, id: &str| {
                    issue_token(&services, wanted, now, id)
                }
            }),
        },
        Box::new({
            let (outbox, services) = (Arc::clone(&outbox), Arc::clone(&services));
            let watched = watched.clone();
            move || troubles(&outbox, &services, watched.as_ref())
        }),
    ));
    let limits = Limits {
        connections_max: config.server.connections_max,
        connections_per_address_max: config.server.connections_per_address_max,
        ..Limits::default()
    };
    let trust = Trust {
        hosts: config.server.hosts.clone(),
        proxies: config.server.trusted_proxies.clone(),
    };
    let mut listeners = Vec::new();
    for address in &config.server.listen {
        let handler = Arc::clone(&web) as Arc<dyn crate::web::listener::Handler>;
        let listener = Listener::bind(*address, limits.clone(), trust.clone(), handler)
            .map_err(|error| StartError::Listen(*address, error))?;
        listeners.push(listener);
    }
    let encrypted = match (&config.tls, tls) {
        (Some(settings), Some(tls)) => {
            let handler = Arc::clone(&web) as Arc<dyn crate::web::listener::Handler>;
            let origin = config.server.public_url.as_deref().map(origin_and_path);
            let origin = origin.map_or_else(String::new, |(origin, _)| origin);
            Some(listen_encrypted(
                settings, tls, &limits, &trust, handler, origin,
            )?)
        }
        (None, _) | (_, None) => None,
    };
    let metrics = match &config.metrics {
        None => None,
        Some(settings) => {
            let counting = metrics::Counting {
                app: Arc::clone(&app),
                outbox: Arc::clone(&outbox),
                services,
                web,
                tls: watched,
                store: config.store.path.clone(),
                started_at: SystemTime::now(),
            };
            Some(listen_for_metrics(settings, counting)?)
        }
    };
    let senders = outbox.start().map_err(StartError::Thread)?;
    let sweeper = Sweeper::start(Arc::clone(&app)).map_err(StartError::Thread)?;
    let mut running = Running {
        app,
        listeners,
        encrypted,
        metrics,
        senders,
        sweeper,
        control: None,
    };
    let path = control::socket_path(&config.store.path);
    let certificate = running.certificate();
    match control::start_with(Arc::clone(&running.app), certificate, &path) {
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
    settings: &config::Tls,
    mut tls: Tls,
    limits: &Limits,
    trust: &Trust,
    handler: Arc<dyn crate::web::listener::Handler>,
    origin: String,
) -> Result<Encrypted, StartError> {
    let mut listeners = Vec::new();
    for address in &settings.listen {
        let handler = Arc::clone(&handler);
        let config = tls.server_config();
        let listener = Listener::bind_tls(*address, limits.clone(), trust.clone(), handler, config)
            .map_err(|error| StartError::Listen(*address, error))?;
        listeners.push(listener);
    }
    let mut redirects = Vec::new();
    for address in &settings.redirect_listen {
        let certificates = Arc::clone(tls.certificates());
        let challenges = Box::new(move |token: &str| certificates.answer_to(token));
        let door = RedirectDoor::new(origin.clone(), challenges);
        let listener = Listener::bind(*address, limits.clone(), trust.clone(), Arc::new(door))
            .map_err(|error| StartError::Listen(*address, error))?;
        redirects.push(listener);
    }
    tls.start().map_err(StartError::Thread)?;
    Ok(Encrypted {
        tls,
        listeners,
        redirects,
    })
}

/// A listener of its own, so that no proxy in front of the other one can let anybody in.
fn listen_for_metrics(
    settings: &config::Metrics,
    counting: metrics::Counting,
) -> Result<Listener, StartError> {
    let limits = Limits {
        connections_max: METRICS_CONNECTIONS_MAX,
        ..Limits::default()
    };
    let trust = Trust {
        // Without a key a page in somebody's browser must not reach it under a name of its own.
        hosts: match &settings.key {
            None => ["localhost".to_owned(), host_of(settings.listen)].into(),
            Some(_) => Vec::new(),
        },
        proxies: Vec::new(),
    };
    let door = MetricsDoor::new(settings.key.clone(), Box::new(move || counting.page()));
    Listener::bind(settings.listen, limits, trust, Arc::new(door))
        .map_err(|error| StartError::Listen(settings.listen, error))
}

/// As a `Host` names it.
fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}

fn troubles(outbox: &Outbox, services: &Services, tls: Option<&tls::Watch>) -> Vec<String> {
    let mut troubles = paused(outbox);
    // Everybody can ask: where the files are is for the log.
    if tls.is_some_and(|tls| tls.health().failures_in_a_row > 0) {
        troubles.push("there is no new certificate for HTTPS; the log says why".to_owned());
    }
    troubles.extend(
        services
            .health()
            .into_iter()
            .filter_map(|(name, _, health)| {
                health.next_try?;
                let (_, reason) = health.last_failure?;
                Some(format!(
                    "the service {} gives no answer: {reason}",
                    name.as_str()
                ))
            }),
    );
    troubles
}

fn paused(outbox: &Outbox) -> Vec<String> {
    outbox
        .health()
        .into_iter()
        .filter_map(|health| {
            let rest = health.resting?;
            let advice = rest
                .advice
                .map_or(String::new(), |advice| format!("; {advice}"));
            Some(format!(
                "sending by {} is paused: {}{advice}",
                health.lane.name(),
                rest.reason
            ))
        })
        .collect()
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

    /// The certificate of HTTPS, when there is any: to ask after it, and to have it read again.
    pub fn certificate(&self) -> Option<tls::Watch> {
        (self.encrypted.as_ref()).map(|encrypted| encrypted.tls.watch())
    }

    /// Where the numbers are, when they are anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Listener::local_addr)
    }

    /// The operations.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The lanes.
    pub fn outbox(&self) -> &Arc<Outbox> {
        self.senders.outbox()
    }

    /// Set when the store gave up: the process should end with an error, so that its supervisor
    /// starts another one.
    pub fn store_broken(&self) -> &Arc<OnceLock<String>> {
        &self.sweeper.broken
    }

    /// Stops in order: no more commands, no new requests, those under way are answered, senders finish what they
    /// hold, the rest waits in the store. Says whether all of that happened in time.
    pub fn stop(self) -> bool {
        let deadline = Instant::now() + STOP_WITHIN;
        if let Some(control) = self.control {
            control.stop();
        }
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
        // Each in a thread of its own, or the second would wait for the first.
        let stopping: Vec<JoinHandle<usize>> = self
            .listeners
            .into_iter()
            .chain(encrypted)
            .chain(self.metrics)
            .map(|listener| std::thread::spawn(move || listener.stop(REQUESTS_WITHIN).cut))
            .collect();
        let cut: usize = stopping
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .sum();
        let senders_done = self.senders.stop(deadline);
        self.sweeper.stop();
        if let Err(error) = self.app.note_time() {
            tracing::warn!(%error, "the last moment could not be noted");
        }
        if cut > 0 || !senders_done {
            tracing::warn!(
                requests_cut = cut,
                senders_done,
                "stopped before everything was finished"
            );
        }
        cut == 0 && senders_done
    }
}

/// Carries work to the adapters.
struct Carrier {
    app: Arc<App>,
    client: Client,
    mailer: Mailer,
    services: Arc<Services>,
    bot: Option<Bot>,
    receiver: Option<EventReceiver>,
}

impl Carrier {
    fn carry(&self, work: &Work) -> Report {
        match work {
            Work::Chat { to, message, tag } => match self.client.send(to, message, tag) {
                Ok(id) => Report::Sent(Some(id)),
                Err(failure) => Report::Failed(failure),
            },
            Work::Mail(mail) => match self.mailer.send(mail) {
                Ok(()) => Report::Sent(None),
                Err(failure) => Report::Failed(failure),
            },
            Work::PretendMail => match self.mailer.probe() {
                Ok(()) => Report::Sent(None),
                Err(failure) => Report::Failed(failure),
            },
            Work::LookUp(lookup) => {
                let mut answers =
                    self.services
                        .find_user(&lookup.address, self.app.now(), &lookup.id);
                if let Some(service) = &self.app.settings().directory {
                    let users = self.app.find_in_directory(&lookup.address);
                    let users = users.map_err(|error| Unavailable {
                        reason: error.to_string(),
                    });
                    answers.push(Answer {
                        service: service.clone(),
                        users,
                    });
                }
                for answer in &answers {
                    if let Err(unavailable) = &answer.users {
                        let service = answer.service.as_str();
                        tracing::warn!(
                            service,
                            reason = unavailable.reason,
                            "a service gave no answer"
                        );
                    }
                }
                Report::Answers(answers)
            }
            Work::HandOn(hand_over) => {
                let HandOver { id, body, identity } = hand_over;
                taken(self.bot.as_ref().map_or(Ok(()), |bot| {
                    bot.hand_on(id, body, identity.as_ref(), self.app.now())
                }))
            }
            Work::Tell(telling) => taken(self.receiver.as_ref().map_or(Ok(()), |receiver| {
                receiver.tell(&telling.id, &telling.json, self.app.now())
            })),
            Work::Nothing(report) => report.clone(),
        }
    }
}

/// What is left over for a part that is not configured any more is taken by nobody.
fn taken(result: Result<(), Failure>) -> Report {
    match result {
        Ok(()) => Report::Sent(None),
        Err(failure) => Report::Failed(failure),
    }
}

const _: () = assert!(
    services::TIMEOUT_MAX.as_millis() < app::tokens::WAIT_MS_MAX as u128,
    "whoever waits for a token waits as long as a service may take"
);

/// Asks a service for a token. The directory is not asked: its tokens are made where they are asked
/// for.
fn issue_token(
    services: &Services,
    wanted: &TokenWanted<'_>,
    now: Timestamp,
    id: &str,
) -> Result<Issued, Failure> {
    let token_for = TokenFor {
        user_id: wanted.user_id,
        company_id: wanted.company_id,
        contact: wanted.contact,
        scope: wanted.scope,
    };
    let token = services.issue_token(wanted.service, &token_for, now, id)?;
    Ok(Issued {
        token: token.token,
        token_type: token.token_type,
        expires_in_seconds: token.expires_in_seconds,
    })
}

/// Sweeps what is old and notices when the store gives up.
struct Sweeper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
    broken: Arc<OnceLock<String>>,
}

impl Sweeper {
    fn start(app: Arc<App>) -> std::io::Result<Sweeper> {
        let (stop, stopped) = mpsc::channel();
        let broken = Arc::new(OnceLock::new());
        let seen = Arc::clone(&broken);
        let thread = std::thread::Builder::new()
            .name("sweeper".into())
            .spawn(move || {
                let mut janitor = Janitor::default();
                let mut rest_until = None;
                while stopped.recv_timeout(SWEEP_EVERY) == Err(RecvTimeoutError::Timeout) {
                    match janitor.sweep(&app) {
                        Ok(0) => {}
                        Ok(removed) => tracing::debug!(removed, "old records were removed"),
                        Err(Failed::Store(StoreError::Broken(reason))) => {
                            tracing::error!(reason, "the store has stopped");
                            let _ = seen.set(reason);
                            return;
                        }
                        Err(error) => tracing::warn!(%error, "old records could not be removed"),
                    }
                    if let Err(error) = app.forget_who_wished_it() {
                        tracing::warn!(%error, "who wished to be forgotten could not be forgotten yet; it is tried again");
                    }
                    finish_erasure(&app);
                    if rest_until.is_some_and(|until| Instant::now() < until) {
                        continue;
                    }
                    rest_until = match app.snapshot_if_due() {
                        Ok(None) => None,
                        Ok(Some(path)) => {
                            tracing::debug!(path = %path.display(), "a snapshot of the store was made");
                            None
                        }
                        Err(error) => {
                            tracing::error!(%error, "no snapshot of the store could be made");
                            Some(Instant::now() + SNAPSHOT_AGAIN_AFTER)
                        }
                    };
                }
            })?;
        Ok(Sweeper {
            stop,
            thread,
            broken,
        })
    }

    fn stop(self) {
        // A sweeper that has ended already hears nothing.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

//! A world and a production server, joined: the server is started from a configuration file like
//! any other, in a folder of its own that goes with it.

use super::door::Door;
use super::page::{self, Inside, InsideContact, InsideEntry, InsideLine, Tone};
use super::watch::random_hex;
use super::{Place, World};
use crate::app::user::HashedPassword;
use crate::app::{App, SystemRandom};
use crate::config::{Config, Problems};
use crate::domain::contact::{Contact, Stage};
use crate::domain::delivery::{Entry, Errand, Lane, Recipient};
use crate::domain::message::Status;
use crate::domain::secret::Secret;
use crate::domain::time::{SECOND_MS, Timestamp};
use crate::outbox::Outbox;
use crate::serve::{self, Running, StartError};
use crate::store::record::{DeadLetter, Sent};
use crate::web::STATUS_PATH;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Times that another port is looked for when somebody else was faster.
const PORTS_TRIED_MAX: usize = 5;

/// Rows of each kind that the panel shows.
const ROWS_MAX: usize = 40;

/// Log lines that the panel remembers.
const LOG_LINES_MAX: usize = 60;

/// Random bytes of the password of the demo's status page: short enough to be typed.
const STATUS_PASSWORD_BYTES: usize = 6;

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A port, a thread or a folder cannot be had.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The page has no address.
    #[error("cannot open the page: {0}")]
    Page(io::Error),
    /// The configuration that the world wrote is not accepted.
    #[error("{0}")]
    Configuration(#[from] Problems),
    /// The server does not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A production server in a world of stand-ins.
pub struct Demo {
    world: Arc<World>,
    running: Option<Running>,
    server: String,
    status_password: String,
    door: Option<Door>,
    panel: Panel,
    folder: PathBuf,
}

/// What can be seen of the server from the page, which is there before the server is.
#[derive(Clone, Default)]
struct Panel {
    server: Arc<OnceLock<(Arc<App>, Arc<Outbox>)>>,
    log: LogLines,
}

impl Panel {
    fn look(&self) -> Inside {
        match self.server.get() {
            Some((app, outbox)) => inside(app, outbox, &self.log),
            None => Inside::default(),
        }
    }
}

impl Demo {
    /// Starts a world and a server on free ports of 127.0.0.1; browsers open the chat at WhatsApp's
    /// own address.
    pub fn start(log: LogLines) -> Result<Demo, DemoError> {
        Demo::begin(&[], false, log)
    }

    /// The same with a server that lets in a page which knows the published document and nothing
    /// else; see [`Place::takes_any_page`].
    pub fn start_for_any_page(log: LogLines) -> Result<Demo, DemoError> {
        Demo::begin(&[], true, log)
    }

    /// The same with the demo's page on the first of the addresses that is free; there browsers
    /// open the chat.
    pub fn start_with_page(addresses: &[SocketAddr], log: LogLines) -> Result<Demo, DemoError> {
        Demo::begin(addresses, false, log)
    }

    fn begin(
        addresses: &[SocketAddr],
        takes_any_page: bool,
        log: LogLines,
    ) -> Result<Demo, DemoError> {
        let world = Arc::new(World::start()?);
        let folder = std::env::temp_dir().join(format!("portero-demo-{}", random_hex(8)));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let panel = Panel {
            log,
            ..Panel::default()
        };
        // From here on the folder goes when something fails.
        let mut demo = Demo {
            world,
            running: None,
            server: String::new(),
            status_password: random_hex(STATUS_PASSWORD_BYTES),
            door: None,
            panel,
            folder,
        };
        demo.door = demo.open_page(addresses)?;
        let chat_url = demo.door.as_ref();
        let chat_url = chat_url.map(|door| format!("http://{}{}", door.address(), page::SEND_PATH));
        let store = demo.folder.join("portero.redb");
        let password = Secret::new(demo.status_password.as_str());
        let hash = HashedPassword::of(&password, &SystemRandom).map_err(StartError::from)?;
        let running = start_server(&demo.world, &hash, |listen| Place {
            listen,
            store: &store,
            chat_url: chat_url.as_deref(),
            takes_any_page,
        })?;
        let seen = (running.app(), Arc::clone(running.outbox()));
        // Nobody else has this panel yet.
        let _ = demo.panel.server.set(seen);
        let address = running.addresses().into_iter().next();
        demo.server = address.map_or_else(String::new, |address| format!("http://{address}"));
        demo.running = Some(running);
        Ok(demo)
    }

    fn open_page(&self, addresses: &[SocketAddr]) -> Result<Option<Door>, DemoError> {
        let mut last = None;
        for address in addresses {
            let panel = self.panel.clone();
            let look = Box::new(move || panel.look());
            match page::open(*address, Arc::clone(&self.world), look) {
                Ok(door) => return Ok(Some(door)),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), |error| Err(DemoError::Page(error)))
    }

    /// The outside world.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Where the page is, when there is one.
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.door.as_ref().map(Door::address)
    }

    /// Where everything of it lies while it lasts.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The public address of the server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Where the status page of the server is, and the password that opens it while this lasts.
    pub fn status_page(&self) -> (String, &str) {
        let url = format!("{}{STATUS_PATH}/", self.server);
        (url, &self.status_password)
    }

    /// What happens inside of the server.
    pub fn inside(&self) -> Inside {
        self.panel.look()
    }

    /// Stops the server as a signal would; says whether everything was finished.
    pub fn stop(mut self) -> bool {
        self.door = None;
        self.running.take().is_none_or(Running::stop)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.door = None;
        if let Some(running) = self.running.take() {
            running.stop();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server's address is part of what it is configured with, so that the port is chosen before
/// the server listens there. Whoever takes it in between gets it, and another one is chosen.
fn start_server<'p>(
    world: &World,
    status_hash: &HashedPassword,
    place: impl Fn(SocketAddr) -> Place<'p>,
) -> Result<Running, DemoError> {
    let mut tried = 0;
    loop {
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let place = place(listen);
        let text = world.configuration(&place);
        let hash = status_hash.reveal();
        let text = format!("{text}\n[status]\npassword_hash = \"{hash}\"\n");
        let folder = place.store.parent().unwrap_or(Path::new("."));
        let loaded = Config::parse(&text, folder, &|_| None)?;
        tried += 1;
        match serve::start(&loaded.config) {
            Ok(running) => {
                world.connect(&format!("http://{listen}"));
                return Ok(running);
            }
            Err(StartError::Listen(_, error))
                if error.kind() == io::ErrorKind::AddrInUse && tried < PORTS_TRIED_MAX => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The last log lines, for the panel. Cheap to clone; a writer for the log.
#[derive(Clone, Debug, Default)]
pub struct LogLines {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl LogLines {
    fn lines(&self) -> Vec<String> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(bytes).lines() {
            if lines.len() == LOG_LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line.to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn inside(app: &App, outbox: &Outbox, log: &LogLines) -> Inside {
    let now = app.now();
    let Ok(mut overview) = app.overview(ROWS_MAX) else {
        return Inside::default();
    };
    overview
        .contacts
        .sort_by_key(|contact| std::cmp::Reverse(contact.last_message_at));
    let mut rows: Vec<(u64, InsideEntry)> = Vec::new();
    let resting = outbox
        .health()
        .into_iter()
        .filter(|health| health.resting.is_some());
    let resting: Vec<Lane> = resting.map(|health| health.lane).collect();
    rows.extend(
        overview
            .outbox
            .iter()
            .map(|entry| (entry.id.0, waiting_row(entry, &resting, now))),
    );
    rows.extend(
        overview
            .dead
            .iter()
            .map(|letter| (letter.entry.id.0, dead_row(letter))),
    );
    rows.extend(
        overview
            .sent
            .iter()
            .map(|sent| (sent.entry.0, sent_row(sent, &overview.contacts))),
    );
    rows.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
    rows.dedup_by_key(|(id, _)| *id);
    let audit = overview.audit.into_iter().map(|line| InsideLine {
        at_ms: line.at_ms,
        what: line.event,
        who: line
            .number_ending
            .map_or("hidden number".to_owned(), |ending| {
                format!("number …{ending}")
            }),
    });
    Inside {
        contacts: overview
            .contacts
            .iter()
            .map(|contact| contact_card(contact, app, now))
            .collect(),
        outbox: rows
            .into_iter()
            .take(ROWS_MAX)
            .map(|(_, row)| row)
            .collect(),
        audit: audit.collect(),
        log: log.lines(),
    }
}

fn name_of(contact: &Contact) -> String {
    match contact.number_ending() {
        Some(ending) => format!("Number …{ending}"),
        None => "Hidden number".to_owned(),
    }
}

fn contact_card(contact: &Contact, app: &App, now: Timestamp) -> InsideContact {
    let policy = &app.settings().policy;
    let mut facts = vec![
        ("userUuid".to_owned(), contact.id.to_string()),
        ("language".to_owned(), contact.language.code().to_owned()),
    ];
    let (state, tone) = match &contact.stage {
        _ if contact.is_bound() => {
            for binding in &contact.bindings {
                let account = format!("{} ({})", binding.name, binding.company.name);
                facts.push((binding.service.as_str().to_owned(), account));
            }
            ("signed in", Tone::Good)
        }
        Stage::Idle => ("nothing asked", Tone::Calm),
        Stage::AddressAsked { .. } => ("asked for the address", Tone::Busy),
        Stage::SpellingAsked { .. } => ("asked about the spelling", Tone::Busy),
        Stage::LinkSent => match &contact.mapping {
            Some(mapping) if mapping.is_live(now) => {
                let left_s = mapping.expires_at.since_ms(now) / SECOND_MS / 10 * 10;
                facts.push(("link lives".to_owned(), format!("about {left_s} s")));
                ("waiting for the page", Tone::Busy)
            }
            Some(mapping) if mapping.is_signed_in() => ("waiting for the way back", Tone::Busy),
            _ => ("the link is dead", Tone::Bad),
        },
        Stage::CodeAwaited(challenge) => {
            // Whether somebody has the address is not shown: the panel knows no more than the chat.
            let left_s = challenge.expires_at.since_ms(now) / SECOND_MS / 10 * 10;
            facts.push(("address".to_owned(), challenge.address.masked()));
            facts.push(("code lives".to_owned(), format!("about {left_s} s")));
            let tries = policy.tries_per_code.saturating_sub(challenge.wrong);
            facts.push(("tries left".to_owned(), tries.to_string()));
            if challenge.is_live(now, policy) {
                ("waiting for the code", Tone::Busy)
            } else {
                ("the code is dead", Tone::Bad)
            }
        }
    };
    if contact.kept.is_some() {
        facts.push((
            "kept for the bot".to_owned(),
            "the first message".to_owned(),
        ));
    }
    let failures = contact
        .failures
        .used(now, crate::domain::policy::Policy::DAY_MS);
    if failures > 0 {
        facts.push((
            "wrong codes today".to_owned(),
            format!("{failures} of {}", policy.failures_per_day),
        ));
    }
    InsideContact {
        id: contact.id.to_string(),
        title: name_of(contact),
        state: state.to_owned(),
        tone,
        facts,
    }
}

fn to_whom(entry: &Entry) -> String {
    match &entry.errand {
        Errand::Chat {
            to: Recipient::Number(number),
            ..
        } => format!("reply to number …{}", number.ending()),
        Errand::Chat {
            to: Recipient::Bsuid(_),
            ..
        } => "reply to a hidden number".to_owned(),
        Errand::LookUp { .. } => "question to the services".to_owned(),
        Errand::MailCode { .. } | Errand::PretendMail { .. } | Errand::MailNotice { .. } => {
            "to the mail server".to_owned()
        }
        Errand::HandOn { .. } => "to the bot".to_owned(),
        Errand::Event { .. } => "to the receiver of events".to_owned(),
    }
}

fn row(id: u64, what: &str, to: String, state: String, tone: Tone) -> InsideEntry {
    InsideEntry {
        id: id.to_string(),
        what: what.replace('_', " "),
        to,
        state,
        tone,
        attempts: 1,
        detail: String::new(),
    }
}

fn waiting_row(entry: &Entry, resting: &[Lane], now: Timestamp) -> InsideEntry {
    let wait_s = entry.not_before.since_ms(now).div_ceil(SECOND_MS);
    let state = if resting.contains(&entry.errand.lane()) {
        "paused".to_owned()
    } else if wait_s > 0 {
        format!("next try in {wait_s} s")
    } else if entry.in_flight_since.is_some() {
        "on its way".to_owned()
    } else {
        "waiting".to_owned()
    };
    let tone = if entry.attempts > 0 && wait_s > 0 {
        Tone::Bad
    } else {
        Tone::Busy
    };
    InsideEntry {
        attempts: entry.attempts,
        ..row(entry.id.0, entry.errand.name(), to_whom(entry), state, tone)
    }
}

fn dead_row(letter: &DeadLetter) -> InsideEntry {
    let entry = &letter.entry;
    let given_up = row(
        entry.id.0,
        entry.errand.name(),
        to_whom(entry),
        "given up".to_owned(),
        Tone::Bad,
    );
    InsideEntry {
        attempts: entry.attempts,
        detail: letter.reason.clone(),
        ..given_up
    }
}

fn sent_row(sent: &Sent, contacts: &[Contact]) -> InsideEntry {
    let (state, tone) = match sent.status {
        Status::Sent => ("taken by WhatsApp", Tone::Calm),
        Status::Delivered => ("delivered", Tone::Good),
        Status::Read => ("read", Tone::Good),
        Status::Failed => ("failed", Tone::Bad),
    };
    let to = contacts.iter().find(|contact| contact.id == sent.contact);
    let to = to
        .and_then(Contact::number_ending)
        .map_or("reply to a hidden number".to_owned(), |ending| {
            format!("reply to number …{ending}")
        });
    row(sent.entry.0, &sent.sentence, to, state.to_owned(), tone)
}

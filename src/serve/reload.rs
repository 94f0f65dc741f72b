//! What a reload does, in order. All of it is in [`Reloader::reload`].
//!
//! 1. The file is read as at the start: `file:` secrets, certificates and the logo with it, their
//!    modes checked. One problem, and nothing changes.
//! 2. What waits for a restart keeps its value ([`Loaded::reloaded`]); the key table in
//!    `config/keys.rs` says of each key which it is.
//! 3. From the rest a whole new [`Generation`] is made. If an adapter cannot work with it, nothing
//!    changes.
//! 4. It takes the place of the one before, in one step for requests and in one for what is sent.
//!    Whoever holds the one before finishes with it.
//! 5. The files of a certificate are read again, whether or not anything else has changed.
//! 6. What rests because of something that has changed is tried at once.
//! 7. It is written down: in the audit, in the log, and in two metrics.
//!
//! A panic on the way ends nothing but the reload, whoever asked for it. What was taken over is
//! remembered last, so that the next reload does all of it again.

use super::generation::{Adapters, Current, Generation, settings, snapshots};
use super::supervisor::{self, State};
use super::{trust, trust_for_metrics};
use crate::app::{App, HeldTokens};
use crate::config::{Changed, Config, Loaded};
use crate::control::{self, Answer};
use crate::domain::delivery::Lane;
use crate::metrics::Counter;
use crate::outbox::Outbox;
use crate::tls;
use crate::web::listener::Trusting;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where a configuration is from, so that it can be read again.
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// What was read from it.
    pub loaded: Loaded,
    /// Makes the log tell as much as is wanted.
    pub set_level: Box<dyn Fn(tracing::Level) + Send + Sync>,
    /// Counts the lines that the log had no room for.
    pub log_lines_dropped: Arc<Counter>,
}

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken over; there may have been nothing new in it.
    Done(Changed),
    /// Nothing has changed: all that is wrong, as `portero check` tells it.
    Refused(String),
    /// Portero met an error of its own on the way, and it may be tried again.
    Failed,
}

/// What a reload changes in the running program.
pub(super) struct House {
    pub(super) current: Arc<Current>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) certificate: Option<tls::Watch>,
    pub(super) listeners: Vec<(SocketAddr, Arc<Trusting>)>,
    pub(super) metrics: Option<(SocketAddr, Arc<Trusting>)>,
}

/// How the last reload went, for whoever watches. The start counts as one.
pub(super) struct Told {
    last_is_good: AtomicBool,
    last_good_seconds: AtomicU64,
}

impl Default for Told {
    fn default() -> Told {
        Told {
            last_is_good: AtomicBool::new(true),
            last_good_seconds: AtomicU64::new(unix_seconds()),
        }
    }
}

impl Told {
    pub(super) fn last_is_good(&self) -> bool {
        self.last_is_good.load(Ordering::Relaxed)
    }

    pub(super) fn last_good_seconds(&self) -> u64 {
        self.last_good_seconds.load(Ordering::Relaxed)
    }

    fn tell(&self, outcome: &Outcome) {
        let is_good = matches!(outcome, Outcome::Done(_));
        self.last_is_good.store(is_good, Ordering::Relaxed);
        if is_good {
            self.last_good_seconds
                .store(unix_seconds(), Ordering::Relaxed);
        }
    }
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Reads the configuration again, one time after the other.
pub struct Reloader {
    /// With what has been taken over so far; held as long as a reload lasts.
    source: Mutex<Option<Source>>,
    house: House,
    told: Arc<Told>,
}

impl Reloader {
    pub(super) fn new(source: Option<Source>, house: House, told: Arc<Told>) -> Reloader {
        Reloader {
            source: Mutex::new(source),
            house,
            told,
        }
    }

    /// Takes over what the file says now, all of it or nothing.
    pub fn reload(&self) -> Outcome {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(source) = source.as_mut() else {
            return Outcome::Refused("this server was not started from a file".to_owned());
        };
        supervisor::notify(&State::Reloading);
        let outcome = match catch_unwind(AssertUnwindSafe(|| self.take_over(source))) {
            Ok(Ok(changed)) => Outcome::Done(changed),
            Ok(Err(problems)) => Outcome::Refused(problems),
            Err(_) => Outcome::Failed,
        };
        self.told.tell(&outcome);
        log(source, &outcome);
        supervisor::notify(&State::Ready(match &outcome {
            Outcome::Done(_) => supervisor::READY,
            Outcome::Refused(_) => {
                "The last reload was refused: `portero check` says why. The configuration before it holds on."
            }
            Outcome::Failed => {
                "The last reload failed by an error of Portero's own: the log says where. It can be tried again."
            }
        }));
        outcome
    }

    fn take_over(&self, source: &mut Source) -> Result<Changed, String> {
        let new = Config::load(&source.path).map_err(|unusable| unusable.to_string())?;
        let (loaded, changed) = source.loaded.reloaded(new);
        if changed.at_once.is_empty() {
            self.read_certificate();
            return Ok(changed);
        }
        let config = &loaded.config;
        let adapters = Adapters::new(config)?;

        let House {
            current,
            outbox,
            certificate,
            ..
        } = &self.house;
        let before = current.get();
        let tokens = match changed.concerns(&["services", "directory", "server", "identity"]) {
            true => HeldTokens::Dropped,
            false => HeldTokens::Kept,
        };
        let app = before.app.with_settings(settings(config), tokens);
        let app = Arc::new(app.with_snapshots(snapshots(config)));
        let (carry, parts) = adapters.carry(&app);
        let web = Some(&*before.web);
        let generation = Generation::new(
            config,
            Arc::clone(&app),
            parts,
            outbox,
            certificate.clone(),
            web,
        );

        // From here on nothing can fail.
        current.set(generation);
        outbox.change_hands(Arc::clone(&app), carry);
        outbox.set_messages_per_second(config.whatsapp.messages_per_second);
        self.believe(config);
        self.read_certificate();
        (source.set_level)(config.log.level);
        for lane in put_right(&changed) {
            outbox.try_now(lane);
        }
        note(&app, &changed);
        source.loaded = loaded;
        Ok(changed)
    }

    fn read_certificate(&self) {
        if let Some(certificate) = &self.house.certificate {
            certificate.read_again();
        }
    }

    fn believe(&self, config: &Config) {
        for (address, trusting) in &self.house.listeners {
            trusting.set(trust(config, *address));
        }
        if let (Some((_, trusting)), Some(metrics)) = (&self.house.metrics, &config.metrics) {
            trusting.set(trust_for_metrics(metrics));
        }
    }
}

impl control::Server for Reloader {
    fn app(&self) -> Arc<App> {
        Arc::clone(&self.house.current.get().app)
    }

    fn certificate(&self) -> Option<tls::Watch> {
        self.house.certificate.clone()
    }

    fn reload(&self) -> Answer {
        match Reloader::reload(self) {
            Outcome::Done(Changed {
                at_once,
                at_restart,
            }) => Answer::Reloaded {
                at_once,
                at_restart,
            },
            Outcome::Refused(problems) => Answer::NotReloaded { problems },
            Outcome::Failed => Answer::Failed {
                reason: "the configuration was not reloaded: Portero met an error of its own. The server goes on, and its log says where the error is"
                    .to_owned(),
            },
        }
    }
}

/// The lanes whose other side may be another one now, or know us by something else.
fn put_right(changed: &Changed) -> Vec<Lane> {
    let tables = |lane: Lane| -> &[&str] {
        match lane {
            Lane::Chat => &["whatsapp"],
            Lane::Mail => &["mail"],
            Lane::Services => &["services", "directory"],
            // What the bot gets is signed with the app secret.
            Lane::Bot => &["bot", "whatsapp"],
            Lane::Events => &["events"],
        }
    };
    let concerns = |lane: &Lane| changed.concerns(tables(*lane));
    Lane::ALL.into_iter().filter(concerns).collect()
}

/// For whoever asks later. A reload is not undone because this cannot be written.
fn note(app: &App, changed: &Changed) {
    if let Err(error) = app.note_reload(&changed.at_once) {
        tracing::error!(%error, "the reload could not be written into the audit");
    }
}

fn log(source: &Source, outcome: &Outcome) {
    match outcome {
        Outcome::Refused(problems) => tracing::error!(
            "the configuration was not reloaded and is as before; `portero check` says why, as here:\n{problems}"
        ),
        Outcome::Failed => tracing::error!(
            "the configuration was not reloaded: Portero met an error of its own, whose place is in the log; the server goes on, and it can be tried again"
        ),
        Outcome::Done(changed) => {
            let changes = names(&changed.at_once);
            match changed.at_once.is_empty() {
                true => tracing::info!("the configuration was reloaded: nothing has changed"),
                false => {
                    for warning in &source.loaded.warnings {
                        tracing::warn!("{}", warning.line(&source.path));
                    }
                    tracing::info!(changes, "the configuration was reloaded");
                }
            }
            if !changed.at_restart.is_empty() {
                let keys = names(&changed.at_restart);
                tracing::warn!(keys, "a restart is needed for a part of the configuration");
            }
        }
    }
}

/// Names of keys on one line, and how many were left out.
fn names(keys: &[String]) -> String {
    /// More is another configuration rather than a change.
    const NAMED_MAX: usize = 40;
    let mut line = keys[..keys.len().min(NAMED_MAX)].join(", ");
    if keys.len() > NAMED_MAX {
        line.push_str(&format!(" and {} more", keys.len() - NAMED_MAX));
    }
    line
}

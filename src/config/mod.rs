//! The configuration: one TOML file becomes a [`Config`] of parsed values, or all that is wrong
//! with it at once.
//!
//! * Unknown keys and tables are refused: a misspelled protection must not be silently off (S-94).
//! * Secrets are `env:NAME`, `file:/path` or, in a file that only its owner can read, written out
//!   (S-93). No problem, warning or dump repeats one.
//! * Relative paths are taken from the folder of the file, not from where the program was started.
//! * What is dangerous but wanted is accepted with a [`Warning`].
//!
//! `keys.rs` has the list of all keys with defaults and explanations, `read.rs` walks the file, each
//! table has a file of its name and `values.rs` what several of them have in common, `problem.rs` is
//! what people read, `show.rs` answers what is in force and what a key means, `reload.rs` what
//! another reading of the file changes.

mod api_keys;
mod bot;
mod business;
mod directory;
mod identity;
pub mod keys;
mod limits;
mod log;
mod mail;
mod metrics;
mod problem;
mod read;
mod reload;
mod server;
mod services;
mod show;
mod sign_in;
mod status;
mod store;
mod texts;
mod tls;
mod values;
mod whatsapp;

pub use business::Business;
pub use directory::Directory;
pub use identity::Identity;
pub use log::{Log, LogFormat};
pub use metrics::Metrics;
pub use problem::{Position, Problem, Problems, Warning};
pub use reload::Changed;
pub use server::Server;
pub use show::{Explanation, explain};
pub use sign_in::SignIn;
pub use store::{Store, StoreKey};
pub use tls::Tls;
pub use whatsapp::WhatsApp;

use crate::domain::delivery::Lane;
use crate::domain::policy::Policy;
use crate::outbox::Pace;
use crate::text::Texts;
use crate::web::{ApiKey, PageSettings, StatusPassword};
use base64::Engine as _;
use read::{Purpose, Reader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// An example that names every key with its default and one sentence.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// Longest configuration file; a full one has about 20 KB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that can be configured, ready to be used.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[business]`
    pub business: Business,
    /// `[server]`
    pub server: Server,
    /// `[tls]`, when there is a certificate.
    pub tls: Option<Tls>,
    /// `[whatsapp]`
    pub whatsapp: WhatsApp,
    /// `[mail]`
    pub mail: crate::mail::Settings,
    /// `[sign_in]`, what is not part of the policy.
    pub sign_in: SignIn,
    /// `[store]`
    pub store: Store,
    /// `[bot]`, when there is one.
    pub bot: Option<crate::bot::Settings>,
    /// `[events]`, when they go anywhere.
    pub events: Option<crate::bot::EventSettings>,
    /// Each `[[services]]`, in order; names are unique.
    pub services: Vec<crate::services::Settings>,
    /// Each `[[pages]]`, in order; names are unique.
    pub pages: Vec<PageSettings>,
    /// Each `[[api_keys]]`, in order; names and keys are unique.
    pub api_keys: Vec<ApiKey>,
    /// `[directory]`
    pub directory: Directory,
    /// `[identity]`
    pub identity: Identity,
    /// `[limits]`, and the rules of `[sign_in]`.
    pub policy: Policy,
    /// `[texts.…]` laid over the built-in sentences.
    pub texts: Texts,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`, when anybody may read them.
    pub metrics: Option<Metrics>,
    /// `[status]`: the password of the status page, when there is one.
    pub status: Option<StatusPassword>,
    /// Protections that are weaker than they could be, as configured, each in a sentence.
    pub weakened: Vec<String>,
}

/// A configuration that can be used, and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Warning>,
    settings: Vec<read::Setting>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read, or is not there.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The file was read.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

impl Config {
    /// Reads a file, with the environment of the process. The file may hold secrets only if nobody
    /// but its owner can access it.
    pub fn load(path: &Path) -> Result<Loaded, Unusable> {
        let environment = |name: &str| std::env::var(name).ok();
        Config::load_with(path, &environment, Purpose::Server)
    }

    /// Reads a file for a command that needs only the store: secrets of the server that are kept
    /// in its environment may be missing in this one's. What takes their place opens nothing, and
    /// cannot pass for the key of the store. Nor need the files of a certificate be right, which
    /// somebody else renews. All else must be, or the problems are those of [`Config::load`].
    pub fn load_for_the_store(path: &Path) -> Result<Loaded, Unusable> {
        let placeholder = |name: &str| {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(bytes.len().max(32), b'.');
            format!(
                "whsec_{}",
                base64::engine::general_purpose::STANDARD.encode(bytes)
            )
        };
        let lenient = |name: &str| Some(std::env::var(name).unwrap_or_else(|_| placeholder(name)));
        Config::load(path).or_else(|problems| {
            Config::load_with(path, &lenient, Purpose::Store).map_err(|_| problems)
        })
    }

    fn load_with(
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
        purpose: Purpose,
    ) -> Result<Loaded, Unusable> {
        let unreadable = |error| Unusable::Unreadable(path.to_owned(), error);
        let meta = std::fs::metadata(path).map_err(unreadable)?;
        if !meta.is_file() {
            return Err(unreadable(std::io::Error::other("it is not a file")));
        }
        if meta.len() > FILE_BYTES_MAX {
            let words = format!("is larger than {FILE_BYTES_MAX} bytes");
            return Err(Problems::of_file(path, None, words).into());
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) => {
                let valid = str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or("");
                let position = Position::of(valid, valid.len());
                let words = "this is not UTF-8; save the file as UTF-8".to_owned();
                return Err(Problems::of_file(path, Some(position), words).into());
            }
        };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let mode = meta.permissions().mode() & 0o777;
        let reader = Reader::new(text, folder, environment, purpose);
        read(reader, text, path, Some(mode)).map_err(Unusable::Wrong)
    }

    /// Where the store is, as far as a file says it that may be wrong in everything else: whoever
    /// asks the server about the file finds it there. `None` if it cannot be known.
    pub fn store_path(path: &Path) -> Option<PathBuf> {
        if std::fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        let table: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
        let key = &keys::STORE_PATH;
        let written = table.get(key.table).and_then(|store| store.get(key.name));
        let store = match written {
            Some(written) => written.as_str()?,
            None => key.example().trim_matches('"'),
        };
        Some(path.parent()?.join(store))
    }

    /// Reads a text as if it were `portero.toml` in `folder`, which must not be readable by others
    /// than its owner if it holds secrets: that cannot be known here.
    pub fn parse(
        text: &str,
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Loaded, Problems> {
        let reader = Reader::new(text, folder, environment, Purpose::Server);
        read(reader, text, Path::new("portero.toml"), None)
    }
}

fn read(
    mut reader: Reader<'_>,
    text: &str,
    file: &Path,
    mode: Option<u32>,
) -> Result<Loaded, Problems> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What was recovered would bring problems that are not there.
        errors.iter().for_each(|error| reader.syntax_error(error));
        return Err(Problems::new(file, reader.problems));
    }
    let config = whole(&mut reader, root.get_ref());
    secrets_are_private(&mut reader, file, mode);
    match config {
        Some(mut config) if reader.problems.is_empty() => {
            reader
                .warnings
                .sort_by_key(|warning| (warning.position.is_none(), warning.position));
            let weakened = reader.warnings.iter().filter(|warning| warning.weakens);
            config.weakened = weakened
                .map(|warning| format!("{}: {}", warning.key, warning.words))
                .collect();
            Ok(Loaded {
                config,
                warnings: reader.warnings,
                settings: reader.settings,
            })
        }
        _ => Err(Problems::new(file, reader.problems)),
    }
}

/// Secrets written out are for a file that only its owner can access (S-93).
fn secrets_are_private(reader: &mut Reader<'_>, file: &Path, mode: Option<u32>) {
    let secrets = std::mem::take(&mut reader.secrets_in_file);
    let Some((first, key)) = secrets.first() else {
        return;
    };
    let file = file.display();
    match mode {
        Some(mode) if mode & read::OTHERS != 0 => reader.problems.push(Problem {
            position: Some(*first),
            key: key.clone(),
            words: format!(
                "a secret is written here and the file is open to others than its owner (mode {mode:04o}); run: chmod 600 {file}"
            ),
            line: None,
        }),
        _ => reader.warnings.extend(secrets.into_iter().filter(|(_, key)| *key != keys::STATUS_PASSWORD_HASH.path()).map(|(position, key)| Warning {
            position: Some(position),
            key,
            words: "the secret is written in this file; \"env:NAME\" or \"file:/path\" keep it out of copies and screenshots".to_owned(),
            weakens: true,
        })),
    }
}

fn whole(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Config> {
    reader.known_tables(root);
    let business = business::business(reader, root);
    let mut server = server::server(reader, root);
    let whatsapp = whatsapp::whatsapp(reader, root);
    let name = business.as_ref().map(|business| business.name.as_str());
    let mail = mail::mail(reader, root, name);
    let (sign_in_table, sign_in) = sign_in::sign_in(reader, root);
    let store = store::store(reader, root);
    let tls = tls::tls(reader, root, server.as_mut(), store.as_ref());
    let bot = bot::bot(reader, root);
    let events = bot::events(reader, root);
    let (service_tables, services) = services::services(reader, root);
    let pages = sign_in::pages(reader, root, whatsapp.as_ref());
    let (api_key_tables, api_keys) = api_keys::api_keys(reader, root);
    let directory = directory::directory(reader, root, name);
    let identity = identity::identity(reader, root);
    let policy = limits::policy(reader, root);
    let texts = texts::texts(reader, root);
    let log = log::log(reader, root);
    let metrics = metrics::metrics(reader, root);
    let status = status::status(reader, root);
    let around = sign_in::Around {
        server: server.as_ref(),
        whatsapp: whatsapp.as_ref(),
        services: services.as_deref(),
        directory: directory.as_ref(),
        pages: pages.as_deref(),
    };
    if let Some((sign_in, rules)) = &sign_in {
        sign_in::fits(reader, &sign_in_table, sign_in, rules, &around);
    }
    if let (Some(api_keys), Some(services), Some(directory)) = (&api_keys, &services, &directory) {
        let directory = directory.enabled.then_some(Directory::SERVICE);
        api_keys::fits(reader, &api_key_tables, api_keys, services, directory);
        let begins_small = (sign_in.as_ref()).is_some_and(|(_, rules)| rules.has_first_hours());
        services::limits_are_told(reader, &service_tables, services, |service| {
            let mut callers = (api_keys.iter()).filter(|key| key.gets_tokens_of(service));
            callers.any(|key| begins_small || key.first_hours_only)
        });
    }
    if let (Some(api_keys), Some((_, rules))) = (&api_keys, &sign_in) {
        api_keys::links_are_made(reader, &api_key_tables, api_keys, rules.makes_links());
    }
    let (sign_in, rules) = sign_in?;
    let (bot, gate) = bot?;
    Some(Config {
        business: business?,
        server: server?,
        tls: tls?,
        whatsapp: whatsapp?,
        mail: mail?,
        sign_in,
        store: store?,
        bot,
        events: events?,
        services: services?,
        pages: pages?,
        api_keys: api_keys?,
        directory: directory?,
        policy: Policy {
            gate,
            ..rules.over(policy?)
        },
        identity: identity?,
        texts: texts?,
        log: log?,
        metrics: metrics?,
        status: status?,
        weakened: Vec::new(),
    })
}

/// How many send at the same time in a lane, each over a connection.
pub(super) fn senders(lane: Lane) -> usize {
    let pace = Pace::default();
    pace.threads[lane as usize].min(pace.at_once[lane as usize])
}

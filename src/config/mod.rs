//! The configuration: one TOML file becomes a [`Config`] of parsed values, or all that is wrong
//! with it at once.
//!
//! * Unknown keys and tables are refused: a misspelled protection must not be silently off (S-94).
//! * Secrets are `env:NAME`, `file:/path` or, in a file that only its owner can read, written out
//!   (S-93). No problem, warning or dump repeats one.
//! * Relative paths are taken from the folder of the file, not from where the program was started.
//! * What is dangerous but wanted is accepted with a [`Warning`].
//!
//! `keys.rs` has the list of all keys with defaults and explanations, `read.rs` walks the file,
//! `tls.rs`, `limits.rs`, `services.rs`, `sign_in.rs`, `bot.rs`, `metrics.rs` and `status.rs` have
//! the tables of those names, `problem.rs` is what people read, `show.rs` answers what is in force
//! and what a key means, `reload.rs` what another reading of the file changes.

mod api_keys;
mod bot;
pub mod keys;
mod limits;
mod metrics;
mod problem;
mod read;
mod reload;
mod services;
mod show;
mod sign_in;
mod status;
mod tls;

pub use problem::{Position, Problem, Problems, Warning};
pub use reload::Changed;
pub use show::{Explanation, explain};
pub use sign_in::SignIn;
pub use tls::Tls;

use crate::domain::delivery::Lane;
use crate::domain::id::{DAY_MS, EmailAddress, Language, PhoneNumberId, SECOND_MS, Secret, WaId};
use crate::domain::policy::Policy;
use crate::http::{Endpoint, host_name, is_loopback};
use crate::outbox::Pace;
use crate::text::{Override, Texts};
use crate::web::{ApiKey, Color, Logo, PageSettings, StatusPassword};
use crate::{mail, whatsapp};
use base64::Engine as _;
use read::{Purpose, Reader, choice, expected, list, number, switch, text};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// An example that names every key with its default and one sentence.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// Longest configuration file; a full one has about 20 KB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// App secrets: the current one, the previous one, and room for a second mistake.
const APP_SECRETS_MAX: usize = 4;
/// Addresses to listen on.
const LISTEN_MAX: usize = 8;
/// Longest name or title, in characters: they stand in sentences on a phone.
const TITLE_CHARS_MAX: usize = 60;

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
    pub mail: mail::Settings,
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

/// Who is speaking.
#[derive(Clone, Debug)]
pub struct Business {
    /// What people call it.
    pub name: String,
    /// Spoken with people whose country does not tell.
    pub language: Language,
    /// Of the sign-in page.
    pub color: Option<Color>,
    /// On the sign-in page.
    pub logo: Option<Logo>,
}

/// How requests come in.
#[derive(Clone, Debug)]
pub struct Server {
    /// One or more addresses.
    pub listen: Vec<SocketAddr>,
    /// `https://host[:port][/path]` without a slash at the end.
    pub public_url: Option<String>,
    /// Every host name that requests may be for, in lower case, without port, IPv6 in brackets:
    /// that of `public_url`, the configured ones, the loopback names, the addresses listened on.
    pub hosts: Vec<String>,
    /// Peers whose word about the caller's address is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections per address.
    pub connections_per_address_max: usize,
}

/// The number and the app behind it.
#[derive(Clone, Debug)]
pub struct WhatsApp {
    /// For sending.
    pub sender: whatsapp::Settings,
    /// The number that people write to. There if anybody can sign in on the web.
    pub number: Option<WaId>,
    /// Where a browser is sent to open the chat, as written: without `?`.
    pub chat_url: String,
    /// One or more; a webhook signed with any of them is accepted.
    pub app_secrets: Vec<Secret>,
    /// For Meta's verification request; not empty.
    pub verify_token: Secret,
    /// Messages sent in any second.
    pub messages_per_second: u32,
}

/// Where everything is kept.
#[derive(Clone, Debug)]
pub struct Store {
    /// The file; need not exist yet.
    pub path: PathBuf,
    /// What it is sealed with.
    pub key: StoreKey,
    /// Memory for the engine's cache.
    pub cache_bytes: usize,
    /// Hourly copies that are kept; with 0 none are made.
    pub snapshots: usize,
    /// Their folder; need not exist yet.
    pub snapshot_folder: PathBuf,
}

/// Where the key of the store is.
#[derive(Clone, Debug)]
pub enum StoreKey {
    /// In this file, which is made at the first start. If it exists, only its owner can read it.
    File(PathBuf),
    /// 64 hexadecimal digits, from the environment.
    Given(Secret),
}

/// Users kept by Portero itself.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Whether it is asked for users.
    pub enabled: bool,
    /// What people call it.
    pub title: String,
}

/// How what Portero signs is signed.
#[derive(Clone, Debug)]
pub struct Identity {
    /// How long the bot may believe who wrote a message.
    pub lifetime_ms: u64,
    /// How long a key signs.
    pub rotate_ms: u64,
}

impl Directory {
    /// Its name as a service.
    pub const SERVICE: &str = "directory";
}

/// What is written about the program's work.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: tracing::Level,
}

/// Where the numbers are for whoever watches.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// A listener of their own.
    pub listen: SocketAddr,
    /// There if anybody but this machine can connect.
    pub key: Option<Secret>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words each.
    Human,
    /// One JSON object each.
    Json,
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
    let business = business(reader, root);
    let mut server = server(reader, root);
    let whatsapp = whatsapp(reader, root);
    let name = business.as_ref().map(|business| business.name.as_str());
    let mail = mail(reader, root, name);
    let (sign_in_table, sign_in) = sign_in::sign_in(reader, root);
    let store = store(reader, root);
    let tls = tls::tls(reader, root, server.as_mut(), store.as_ref());
    let bot = bot::bot(reader, root);
    let events = bot::events(reader, root);
    let (service_tables, services) = services::services(reader, root);
    let pages = sign_in::pages(reader, root, whatsapp.as_ref());
    let (api_key_tables, api_keys) = api_keys::api_keys(reader, root);
    let directory = directory(reader, root, name);
    let identity = identity(reader, root);
    let policy = limits::policy(reader, root);
    let texts = texts(reader, root);
    let log = log(reader, root);
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

fn business(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Business> {
    let table = reader.table(root, "business");
    let name = reader.one(&table, &keys::BUSINESS_NAME, text(title));
    let languages = Language::ALL.map(|language| (language.code(), language));
    let language = reader.one(&table, &keys::BUSINESS_LANGUAGE, choice(&languages));
    let color = reader.maybe(
        &table,
        &keys::BUSINESS_COLOR,
        text(|color| Color::parse(color).map_err(|wrong| wrong.to_string())),
    );
    let logo = reader.file(&table, &keys::BUSINESS_LOGO, Logo::BYTES_MAX, |bytes| {
        Logo::parse(bytes).map_err(|wrong| wrong.to_string())
    });
    Some(Business {
        name: name?,
        language: language?,
        color: color?,
        logo: logo?,
    })
}

fn server(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Server> {
    let table = reader.table(root, "server");
    let listen = reader.one(&table, &keys::SERVER_LISTEN, list(socket_address));
    let public_url = reader.maybe(&table, &keys::SERVER_PUBLIC_URL, text(Url::base));
    let hosts = reader.one(&table, &keys::SERVER_HOSTS, list(host_name));
    let trusted_proxies = reader.one(
        &table,
        &keys::SERVER_TRUSTED_PROXIES,
        list(|text| {
            text.parse::<IpAddr>()
                .map_err(|_| "must be an IP address, such as \"10.0.0.2\"; names and networks are not accepted".to_owned())
        }),
    );
    let connections_max = reader.one(
        &table,
        &keys::SERVER_CONNECTIONS_MAX,
        number(8..=100_000, ""),
    );
    let connections_per_address_max = reader.one(
        &table,
        &keys::SERVER_CONNECTIONS_PER_ADDRESS_MAX,
        number(1..=100_000, ""),
    );
    let (listen, public_url, mut hosts) = (listen?, public_url?, hosts?);
    if !is_few(reader, &table, &keys::SERVER_LISTEN, &listen) {
        return None;
    }
    if listen.iter().any(|address| !address.ip().is_loopback()) {
        reader.warn(
            &table,
            &keys::SERVER_LISTEN,
            "listens beyond this machine without TLS; let only a reverse proxy with TLS reach it, and name that in server.trusted_proxies",
        );
    }
    match &public_url {
        None => reader.warn(
            &table,
            &keys::SERVER_PUBLIC_URL,
            "is not set, so that requests from outside are refused unless server.hosts names their host; set it to the https:// address that Meta calls",
        ),
        Some(url) if !url.endpoint.is_encrypted() => reader.weakens(
            &table,
            &keys::SERVER_PUBLIC_URL,
            "is http://, so that nobody but this machine can use it; Meta calls https:// only",
        ),
        Some(_) => {}
    }
    hosts.extend(public_url.iter().map(|url| url.endpoint.host()));
    hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    let specific = listen
        .iter()
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_unspecified());
    hosts.extend(specific.map(|ip| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    hosts.sort();
    hosts.dedup();
    Some(Server {
        listen,
        public_url: public_url.map(|url| url.text),
        hosts,
        trusted_proxies: trusted_proxies?,
        connections_max: size(connections_max?),
        connections_per_address_max: size(connections_per_address_max?),
    })
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned()
    })
}

/// Notes a problem unless there are addresses to listen on, and not too many.
fn is_few(
    reader: &mut Reader<'_>,
    table: &read::Table<'_>,
    key: &keys::Key,
    listen: &[SocketAddr],
) -> bool {
    let few = (1..=LISTEN_MAX).contains(&listen.len());
    if !few {
        let words = format!("1 to {LISTEN_MAX} addresses are expected");
        reader.problem(table, key, words);
    }
    few
}

fn whatsapp(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<WhatsApp> {
    let table = reader.table(root, "whatsapp");
    let phone_number_id = reader.one(
        &table,
        &keys::WHATSAPP_PHONE_NUMBER_ID,
        text(|text| PhoneNumberId::parse(text).map_err(|wrong| wrong.to_string())),
    );
    let number_dialed = reader.maybe(&table, &keys::WHATSAPP_NUMBER, text(dialable));
    let access_token = reader.secret(&table, &keys::WHATSAPP_ACCESS_TOKEN, header_value);
    let app_secrets = reader.secrets(
        &table,
        &keys::WHATSAPP_APP_SECRETS,
        APP_SECRETS_MAX,
        header_value,
    );
    let verify_token = reader.secret(&table, &keys::WHATSAPP_VERIFY_TOKEN, header_value);
    let api_url = reader.one(&table, &keys::WHATSAPP_API_URL, text(Url::parse));
    let api_version = reader.one(
        &table,
        &keys::WHATSAPP_API_VERSION,
        text(|version| {
            let major = version
                .strip_prefix('v')
                .and_then(|rest| rest.strip_suffix(".0"));
            match major {
                Some(digits)
                    if (1..=3).contains(&digits.len())
                        && digits.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    Ok(version.to_owned())
                }
                _ => Err("must look like \"v25.0\"".to_owned()),
            }
        }),
    );
    let chat_url = reader.one(&table, &keys::WHATSAPP_CHAT_URL, text(Url::opened));
    if chat_url
        .as_ref()
        .is_some_and(|url| !url.endpoint.is_encrypted())
    {
        reader.weakens(&table, &keys::WHATSAPP_CHAT_URL, HTTP_OPENED);
    }
    let messages_per_second = reader.one(
        &table,
        &keys::WHATSAPP_MESSAGES_PER_SECOND,
        number(1..=1_000, "; Meta's highest rate is 1,000"),
    );
    let ca_pem = reader.certificates(&table, &keys::WHATSAPP_CA_FILE);
    let (access_token, app_secrets, verify_token) = (access_token?, app_secrets?, verify_token?);
    let other_secrets = app_secrets.iter().chain([&access_token]);
    if other_secrets
        .into_iter()
        .any(|secret| secret.matches(verify_token.reveal()))
    {
        // It travels in the address of a request, which logs keep.
        reader.problem(
            &table,
            &keys::WHATSAPP_VERIFY_TOKEN,
            "must be a word of its own, not the access token or an app secret",
        );
    }
    Some(WhatsApp {
        sender: whatsapp::Settings {
            api_url: api_url?.text,
            api_version: api_version?,
            phone_number_id: phone_number_id?,
            access_token,
            ca_pem: ca_pem?,
            connections: senders(Lane::Chat),
        },
        number: number_dialed?,
        chat_url: chat_url?.text,
        app_secrets,
        verify_token,
        messages_per_second: u32_of(messages_per_second?),
    })
}

fn mail(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    business: Option<&str>,
) -> Option<mail::Settings> {
    use mail::Security::{Plain, StartTls, Tls};
    let table = reader.table(root, "mail");
    let server = reader.one(&table, &keys::MAIL_SERVER, text(host_name));
    let security = reader.one(
        &table,
        &keys::MAIL_SECURITY,
        choice(&[("starttls", StartTls), ("tls", Tls), ("plain", Plain)]),
    );
    let port = reader.maybe(&table, &keys::MAIL_PORT, number(1..=65_535, ""));
    if let (Some(None), Some(security)) = (port, security) {
        let (port, origin) = usual_port(security);
        reader.derived(&keys::MAIL_PORT, &i64::from(port).into(), origin);
    }
    let username = reader.maybe(
        &table,
        &keys::MAIL_USERNAME,
        text(|name| {
            let plain = !name.is_empty() && name.len() <= 255 && !name.contains(char::is_control);
            plain
                .then(|| name.to_owned())
                .ok_or_else(|| "must be 1 to 255 printable characters".to_owned())
        }),
    );
    let password = reader.maybe_secret(&table, &keys::MAIL_PASSWORD, |_| Ok(()));
    let from = reader.one(&table, &keys::MAIL_FROM, text(mailbox));
    let reply_to = reader.maybe(&table, &keys::MAIL_REPLY_TO, text(address));
    let ca_pem = reader.certificates(&table, &keys::MAIL_CA_FILE);
    match (
        table.has(&keys::MAIL_USERNAME),
        table.has(&keys::MAIL_PASSWORD),
    ) {
        (true, false) => reader.problem(
            &table,
            &keys::MAIL_PASSWORD,
            "is missing beside mail.username",
        ),
        (false, true) => reader.problem(
            &table,
            &keys::MAIL_USERNAME,
            "is missing beside mail.password",
        ),
        (true, true) | (false, false) => {}
    }
    let (server, security) = (server?, security?);
    if security == Plain {
        if is_loopback(&server) {
            reader.weakens(
                &table,
                &keys::MAIL_SECURITY,
                "codes go to the mail server on this machine unencrypted; it must encrypt what it passes on",
            );
        } else {
            reader.problem(
                &table,
                &keys::MAIL_SECURITY,
                "plain is for a mail server on this machine (localhost); write \"starttls\" or \"tls\"",
            );
        }
    }
    let (from_name, from) = from?;
    let credentials = match (username?, password?) {
        (Some(username), Some(password)) => Some((username, password)),
        _ => None,
    };
    Some(mail::Settings {
        server,
        port: match port? {
            Some(port) => u16::try_from(port).unwrap_or(u16::MAX),
            None => usual_port(security).0,
        },
        security,
        credentials,
        from_name: match from_name {
            Some(name) => name,
            None => business?.to_owned(),
        },
        from,
        reply_to: reply_to?,
        ca_pem: ca_pem?,
        connections: senders(Lane::Mail),
    })
}

fn usual_port(security: mail::Security) -> (u16, &'static str) {
    match security {
        mail::Security::StartTls => (587, "default with starttls"),
        mail::Security::Tls => (465, "default with tls"),
        mail::Security::Plain => (25, "default with plain"),
    }
}

fn store(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Store> {
    const MIB: u64 = 1024 * 1024;
    let table = reader.table(root, "store");
    let path = reader.one(&table, &keys::STORE_PATH, text(|path| Ok(path.to_owned())));
    let key = reader.store_key(&table, &keys::STORE_KEY);
    let cache_bytes = reader.one(
        &table,
        &keys::STORE_CACHE_BYTES,
        number(MIB..=16 * 1024 * MIB, ""),
    );
    let snapshots = reader.one(&table, &keys::STORE_SNAPSHOTS, number(0..=1_000, ""));
    let folder = reader.one(
        &table,
        &keys::STORE_SNAPSHOT_FOLDER,
        text(|path| Ok(path.to_owned())),
    );
    let snapshot_folder = match reader.path(&folder?) {
        Ok(folder) => Some(folder),
        Err(words) => {
            reader.problem(&table, &keys::STORE_SNAPSHOT_FOLDER, words);
            None
        }
    };
    let path = match reader.path(&path?) {
        Ok(path) => path,
        Err(words) => {
            reader.problem(&table, &keys::STORE_PATH, words);
            return None;
        }
    };
    let key = key?;
    if matches!(&key, StoreKey::File(file) if *file == path) {
        reader.problem(&table, &keys::STORE_KEY, "must not be the store itself");
    }
    Some(Store {
        path,
        key,
        cache_bytes: size(cache_bytes?),
        snapshots: size(snapshots?),
        snapshot_folder: snapshot_folder?,
    })
}

fn directory(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    business: Option<&str>,
) -> Option<Directory> {
    let table = reader.table(root, "directory");
    let enabled = reader.maybe(&table, &keys::DIRECTORY_ENABLED, switch);
    let title = reader.maybe(&table, &keys::DIRECTORY_TITLE, text(title));
    let with_services = root.contains_key("services");
    let enabled = match enabled? {
        Some(enabled) => enabled,
        None => {
            let origin = if with_services {
                "default with [[services]]"
            } else {
                "default without [[services]]"
            };
            reader.derived(&keys::DIRECTORY_ENABLED, &(!with_services).into(), origin);
            !with_services
        }
    };
    if !enabled && !with_services {
        reader.problem(
            &table,
            &keys::DIRECTORY_ENABLED,
            "there would be no users at all; write true, or add a [[services]]",
        );
    }
    let title = match title? {
        Some(title) => title,
        None => {
            let name = business?;
            reader.derived(
                &keys::DIRECTORY_TITLE,
                &name.into(),
                "the name of the business",
            );
            name.to_owned()
        }
    };
    Some(Directory { enabled, title })
}

fn identity(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Identity> {
    let table = reader.table(root, "identity");
    let lifetime = reader.one(
        &table,
        &keys::IDENTITY_LIFETIME_SECONDS,
        number(
            10..=300,
            "; a bot needs a moment to ask, and an identity that was copied must not be worth much",
        ),
    );
    let rotate = reader.one(
        &table,
        &keys::IDENTITY_ROTATE_DAYS,
        number(
            1..=3_650,
            "; `portero keys rotate` changes the key at any time",
        ),
    );
    Some(Identity {
        lifetime_ms: lifetime? * SECOND_MS,
        rotate_ms: rotate? * DAY_MS,
    })
}

fn texts(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Texts> {
    let table = reader.table(root, "texts");
    let mut overrides = Vec::new();
    let mut places = Vec::new();
    for (code, at, sentences) in table.entries() {
        let path = format!("texts.{code}");
        let Ok(language) = Language::parse(code) else {
            let words = "unknown language; write [texts.es], [texts.en] or [texts.pt]";
            reader.problem_at(Some(at), "texts".to_owned(), words);
            continue;
        };
        let Some(sentences) = sentences.as_table() else {
            let words = format!("must be a table; write [{path}] and sentences below it");
            reader.problem_at(Some(at), path, words);
            continue;
        };
        for (key, value) in sentences {
            let at = key.span().start;
            match value.get_ref() {
                DeValue::String(words) => {
                    overrides.push(Override {
                        language,
                        key: key.get_ref().to_string(),
                        words: words.to_string(),
                    });
                    places.push(at);
                }
                other => {
                    let key = format!("{path}.{}", read::printable(key.get_ref()));
                    reader.problem_at(Some(at), key, expected("text in quotes", other));
                }
            }
        }
    }
    match Texts::with_overrides(&overrides) {
        Ok(texts) => {
            for (sentence, at) in overrides.iter().zip(places) {
                reader.sentence(sentence, at);
            }
            Some(texts)
        }
        Err(problems) => {
            for (index, words) in problems {
                let at = places.get(index).copied();
                let key = match overrides.get(index) {
                    Some(sentence) => format!(
                        "texts.{}.{}",
                        sentence.language.code(),
                        read::printable(&sentence.key)
                    ),
                    None => "texts".to_owned(),
                };
                reader.problem_at(at, key, words);
            }
            None
        }
    }
}

fn log(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Log> {
    use tracing::Level;
    let table = reader.table(root, "log");
    let format = reader.one(
        &table,
        &keys::LOG_FORMAT,
        choice(&[("human", LogFormat::Human), ("json", LogFormat::Json)]),
    );
    let level = reader.one(
        &table,
        &keys::LOG_LEVEL,
        choice(&[
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ]),
    );
    Some(Log {
        format: format?,
        level: level?,
    })
}

/// How many send at the same time in a lane, each over a connection.
fn senders(lane: Lane) -> usize {
    let pace = Pace::default();
    pace.threads[lane as usize].min(pace.at_once[lane as usize])
}

// --- values ---

/// An address that is called or that others call.
struct Url {
    /// As written, without a slash at the end.
    text: String,
    endpoint: Endpoint,
}

impl Url {
    fn parse(text: &str) -> Result<Url, String> {
        Ok(Url {
            text: text.trim_end_matches('/').to_owned(),
            endpoint: Endpoint::parse(text)?,
        })
    }

    /// One that is somebody else's: a slash at its end is part of it.
    fn kept(text: &str) -> Result<Url, String> {
        Ok(Url {
            text: text.to_owned(),
            ..Url::parse(text)?
        })
    }

    /// One to which more is appended.
    fn base(text: &str) -> Result<Url, String> {
        if text.contains('?') {
            return Err("must be without `?` and what follows".to_owned());
        }
        Url::parse(text)
    }

    /// One that is opened in a browser with a query of ours: kept as written, because a slash at
    /// its end is part of somebody else's address. Its characters have no meaning in a header.
    fn opened(text: &str) -> Result<Url, String> {
        let url = Url::base(text)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]@!$&()*+=%".contains(&b);
        if !text.bytes().all(plain) {
            return Err(
                "must be written with letters, digits and signs such as - . / %".to_owned(),
            );
        }
        Ok(Url {
            text: text.to_owned(),
            ..url
        })
    }
}

/// What is said of plain http to this machine.
const HTTP_CALLED: &str =
    "is called over http://, unencrypted; that is allowed to this machine only";
const HTTP_OPENED: &str = "is http://, so that only browsers on this machine can open it";

/// A number as people dial it from abroad; only its digits are kept (S-40).
fn dialable(text: &str) -> Result<WaId, String> {
    /// The longest number in the world (ITU-T E.164, section 6).
    const DIGITS_MAX: usize = 15;
    let wrong = "must be the number as dialed from abroad, country code first, such as \"+57 300 111 2233\"";
    let digits: String = text
        .strip_prefix('+')
        .unwrap_or(text)
        .chars()
        .filter(|c| ![' ', '-'].contains(c))
        .collect();
    match WaId::parse(&digits) {
        // No country code begins with 0: that is a prefix for dialing.
        Ok(number) if !digits.starts_with('0') && digits.len() <= DIGITS_MAX => Ok(number),
        _ => Err(wrong.to_owned()),
    }
}

/// A name for people.
fn title(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TITLE_CHARS_MAX || text.contains(char::is_control)
    {
        return Err(format!(
            "must be 1 to {TITLE_CHARS_MAX} characters on one line"
        ));
    }
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<EmailAddress, String> {
    EmailAddress::parse(text).map_err(|wrong| wrong.to_string())
}

/// `Name <a@b>` or `a@b`.
fn mailbox(text: &str) -> Result<(Option<String>, EmailAddress), String> {
    let Some((name, rest)) = text.split_once('<') else {
        return Ok((None, address(text.trim())?));
    };
    let Some(inner) = rest.trim_end().strip_suffix('>') else {
        return Err("must look like \"La Espiga <portero@example.com>\"".to_owned());
    };
    let name = name.trim().trim_matches('"').trim();
    let name = if name.is_empty() {
        None
    } else {
        Some(title(name)?)
    };
    Ok((name, address(inner.trim())?))
}

/// A secret that can travel in a header.
fn header_value(secret: &str) -> Result<(), String> {
    if secret.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be ASCII letters, digits and signs, without spaces".to_owned())
    }
}

/// `whsec_` and base64 of 24 to 64 bytes, as Standard Webhooks has it.
fn signing_secret(secret: &str) -> Result<(), String> {
    use base64::Engine;
    let decoded = secret
        .strip_prefix("whsec_")
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    match decoded {
        Some(bytes) if (24..=64).contains(&bytes.len()) => Ok(()),
        _ => Err("must be whsec_ and base64 of 24 to 64 random bytes; `echo whsec_$(head -c 32 /dev/urandom | base64)` makes one".to_owned()),
    }
}

/// For numbers whose range was checked: no target has a `usize` below 32 bits here.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// For numbers whose range was checked.
fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! The release binary, started on loopback as its configuration file says.

use super::client::{Client, get};
use super::process::{Process, free_address};
use super::stand_ins::World;
use portero::app::App;
use portero::config::Config;
use portero::serve;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_portero");
pub const PHONE_NUMBER_ID: &str = "106540352242922";
pub const APP_SECRET: &str = "benchmark-app-secret";
pub const SERVICE: &str = "kutamma";
pub const API_KEY: &str = "benchmark-key-0123456789abcdef0123456789";
pub const STATUS_PASSWORD: &str = "seven quiet doors in a row";

/// Meta's highest rate, and the highest that the configuration takes.
pub const MESSAGES_PER_SECOND_MAX: u64 = 1_000;

/// Who may write to the bot without having signed in, if there is a bot.
#[derive(Clone, Copy, PartialEq)]
pub enum Bot {
    Absent,
    Everyone,
    OnRequest,
}

/// Where passwords are checked.
#[derive(Clone, Copy, PartialEq)]
pub enum Passwords {
    Service,
    Directory,
}

/// What the configuration says besides the addresses of the stand-ins.
#[derive(Clone)]
pub struct Setup {
    pub folder: PathBuf,
    pub bot: Bot,
    pub passwords: Passwords,
    /// Hash for the status page.
    pub status: Option<String>,
    /// Copies of the store that are kept; with any, the first one is made soon after the start.
    pub snapshots: u32,
    pub messages_per_second: u64,
}

impl Setup {
    /// A folder of its own, empty.
    pub fn in_folder(root: &Path, name: &str) -> io::Result<Setup> {
        let folder = root.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(Setup {
            folder,
            bot: Bot::Absent,
            passwords: Passwords::Service,
            status: None,
            snapshots: 24,
            messages_per_second: 80,
        })
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("portero.redb")
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join("portero.toml")
    }

    /// Writes the configuration file; where the program will listen, for requests and for metrics.
    fn write(&self, world: &World) -> io::Result<(SocketAddr, SocketAddr)> {
        let (address, metrics) = (free_address()?, free_address()?);
        let (graph, mail, service, bot) = (world.graph, world.mail, world.service, world.bot);
        let mut text = format!(
            "[business]\nname = \"Bench\"\nlanguage = \"es\"\n\
             [server]\nlisten = \"{address}\"\npublic_url = \"https://portero.example.com\"\n\
             [whatsapp]\nnumber = \"+15550783881\"\nphone_number_id = \"{PHONE_NUMBER_ID}\"\n\
             access_token = \"benchmark-token\"\napp_secrets = [\"{APP_SECRET}\"]\n\
             verify_token = \"benchmark-verify\"\napi_url = \"http://{graph}\"\n\
             messages_per_second = {}\n\
             [mail]\nserver = \"{}\"\nport = {}\nsecurity = \"plain\"\nfrom = \"bench@example.com\"\n\
             [sign_in]\nmethods = [\"mail\", \"web\"]\n\
             [store]\nsnapshots = {}\n\
             [metrics]\nlisten = \"{metrics}\"\n\
             [[api_keys]]\nname = \"bench\"\nkey = \"{API_KEY}\"\n\
             scopes = [\"tokens\", \"sign_in_links\", \"contacts:read\", \"contacts:release\", \"any_contact\"]\n",
            self.messages_per_second,
            mail.ip(),
            mail.port(),
            self.snapshots,
        );
        match self.bot {
            Bot::Absent => {}
            Bot::Everyone => {
                text += &format!("[bot]\nurl = \"http://{bot}/\"\ngate = \"everyone\"\n")
            }
            Bot::OnRequest => {
                text += &format!("[bot]\nurl = \"http://{bot}/\"\ngate = \"on_request\"\n");
            }
        }
        match self.passwords {
            Passwords::Directory => text += "[directory]\nenabled = true\n",
            Passwords::Service => {
                text += &format!(
                    "[[services]]\nname = \"{SERVICE}\"\ntitle = \"Kutamma\"\n\
                     find_user = \"http://{service}/find-user\"\n\
                     issue_token = \"http://{service}/issue-token\"\n\
                     check_password = \"http://{service}/check-password\"\n\
                     secret = \"whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\"\n"
                );
            }
        }
        if let Some(hash) = &self.status {
            text += &format!("[status]\npassword_hash = \"{hash}\"\n");
        }
        fs::write(self.file(), text)?;
        fs::set_permissions(self.file(), fs::Permissions::from_mode(0o600))?;
        Ok((address, metrics))
    }

    /// The operations over its store, while no program has it.
    pub fn open(&self, world: &World) -> io::Result<Arc<App>> {
        self.write(world)?;
        let loaded =
            Config::load(&self.file()).map_err(|_| io::Error::other("the configuration"))?;
        serve::open(&loaded.config).map_err(io::Error::other)
    }
}

/// Portero while it runs.
pub struct Server {
    process: Process,
    metrics: SocketAddr,
}

impl Server {
    pub fn start(setup: &Setup, world: &World) -> io::Result<Server> {
        Server::start_under(&[], setup, world)
    }

    /// Starts it as the last arguments of another program.
    pub fn start_under(wrapper: &[&str], setup: &Setup, world: &World) -> io::Result<Server> {
        let (address, metrics) = setup.write(world)?;
        let words: Vec<&str> = (wrapper.iter().copied())
            .chain([BINARY, "serve", "--config"])
            .collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(setup.file());
        let process = Process::start(&mut command, address, "/healthz")?;
        Ok(Server { process, metrics })
    }

    /// The sum of a family of its metrics, over the lines that have this label.
    pub fn metric(&self, family: &str, label: &str) -> io::Result<f64> {
        let mut client = Client::connect(self.metrics)?;
        let page = client.succeed(&get("/metrics", ""))?;
        let lines = (page.body.lines())
            .filter(|line| line.starts_with(family) && line.contains(label))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        Ok(lines.sum())
    }

    /// Waits until nothing is left to be sent.
    pub fn quiet(&self, within: Duration) -> io::Result<()> {
        let begun = Instant::now();
        while self.metric("portero_outbox_entries", "{")? > 0.0 {
            if begun.elapsed() > within {
                let late = io::Error::other("what was to be sent is still waiting");
                return Err(self.explain(&late));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it as a supervisor does.
    pub fn stop(self) -> io::Result<()> {
        self.process.stop()
    }
}

impl Deref for Server {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

//! The release binary, started on loopback as its configuration file says, and what the operating
//! system tells of it.

use super::client::{Client, get};
use super::stand_ins::World;
use portero::app::App;
use portero::config::Config;
use portero::serve;
use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_portero");
pub const PHONE_NUMBER_ID: &str = "106540352242922";
pub const APP_SECRET: &str = "benchmark-app-secret";
pub const SERVICE: &str = "kutamma";
pub const API_KEY: &str = "benchmark-key-0123456789abcdef0123456789";
pub const STATUS_PASSWORD: &str = "seven quiet doors in a row";

/// A store of a million rows is checked before the first answer, also under valgrind.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// Lines of its log that are kept, for when something fails.
const LOG_LINES: usize = 12;
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

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// The program while it runs.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    metrics: SocketAddr,
    /// From its start to its first answer.
    pub started_in: Duration,
    /// The CPU time that it used until then, in milliseconds.
    pub started_with_ms: f64,
    log: Arc<Mutex<VecDeque<String>>>,
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
        let begun = Instant::now();
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .arg(setup.file())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(lines) = child.stderr.take() {
            let log = Arc::clone(&log);
            let read = move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == LOG_LINES {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            };
            // It reads what a journal would.
            let name = format!("{}-log", super::stand_ins::THREADS);
            thread::Builder::new().name(name).spawn(read)?;
        }
        let mut server = Server {
            child,
            address,
            metrics,
            started_in: Duration::ZERO,
            started_with_ms: 0.0,
            log,
        };
        let healthz = get("/healthz", "");
        while begun.elapsed() < STARTS_WITHIN {
            let answered =
                Client::connect(address).and_then(|mut client| client.succeed(&healthz).map(drop));
            if answered.is_ok() {
                server.started_in = begun.elapsed();
                server.started_with_ms = server.cpu_us() / 1e3;
                return Ok(server);
            }
            if server.child.try_wait()?.is_some() {
                break;
            }
            thread::sleep(Duration::from_micros(500));
        }
        // What it wrote last is read a moment later.
        thread::sleep(Duration::from_millis(50));
        Err(server.explain(&io::Error::other("the program did not start")))
    }

    /// The error, with the last lines of the log.
    pub fn explain(&self, error: &io::Error) -> io::Error {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&str> = log.iter().map(String::as_str).collect();
        io::Error::other(format!("{error}\nThe log ends:\n{}", lines.join("\n")))
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    /// A field of `/proc/PID/status` that counts kibibytes, in MiB: `VmRSS`, `VmHWM`.
    pub fn mebibytes(&self, field: &str) -> f64 {
        let kib = field_of(&self.proc("status"), field);
        kib / 1024.0
    }

    /// User and system time so far, in microseconds; Linux counts hundredths of a second.
    pub fn cpu_us(&self) -> f64 {
        let stat = self.proc("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.filter_map(|one| one.parse::<f64>().ok()).sum::<f64>() * 10_000.0
    }

    /// Bytes given to the disk so far.
    pub fn bytes_written(&self) -> f64 {
        field_of(&self.proc("io"), "write_bytes")
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

    /// Ends it as a loss of power would end the process.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Ends it as a supervisor does.
    pub fn stop(mut self) -> io::Result<()> {
        let id = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        if let Some(process) = rustix::process::Pid::from_raw(id) {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn field_of(text: &str, field: &str) -> f64 {
    let line = (text.lines()).find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(f64::NAN)
}

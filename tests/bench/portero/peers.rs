//! Portero's sign-ins by code beside those of better-auth, which signs people in on web sites: the same
//! machine, disk, client and mail server, one after the other in one run.
//!
//! Each side does what it calls a sign-in by a mailed code of somebody new, to its end. A person asks
//! better-auth with one request and types the code into another one; to Portero they write three
//! messages and are sent three, of which only as many leave meanwhile as Meta lets. Rate limits of
//! better-auth are off, because everybody comes from one address; Portero's are as they are, and are
//! not reached.

use super::Bench;
use super::client::{Act, Client, Load, Measured, drive, get, post};
use super::machine::fdatasync_rate;
use super::people::{address_of, newcomer};
use super::process::{Process, free_address};
use super::report::{head, heading, line, load, loads};
use super::server::{Bot, Server};
use super::sign_ins;
use super::stand_ins::World;
use serde_json::{Value, json};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

/// How many times as fast Portero shall be (section 10 of the design).
const GOAL: f64 = 12.0;
/// Until JavaScript that runs often is compiled.
const WARM_UP: Load = Load {
    clients: 32,
    rate: None,
    measured: Duration::from_secs(5),
};
/// Until what was needed for starting is over.
const SETTLED_AFTER: Duration = Duration::from_millis(500);
const SECRET: &str = "benchmark-secret-0123456789abcdef";
/// The first that better-sqlite3 runs on.
const NODE_MAJOR: u32 = 22;
/// Where `.ci/test` puts a Node, for those who have none.
const NODE_OF_THE_TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python/bin");
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/peers/better-auth");
const LOCK: &str = "package-lock.json";
/// What was installed when this is there and the same as [`LOCK`].
const INSTALLED: &str = "installed.json";

/// How better-auth's database is kept.
struct Keeps {
    words: &'static str,
    journal_mode: &'static str,
    synchronous: &'static str,
    /// Whether what was answered outlasts a loss of power.
    durable: bool,
}

/// The last one promises what Portero does, and is measured right before it.
const KEEPS: [Keeps; 3] = [
    Keeps {
        words: "rollback journal, as opened by default",
        journal_mode: "delete",
        synchronous: "full",
        durable: true,
    },
    // What better-sqlite3 does in this mode when nothing else is said.
    Keeps {
        words: "WAL, synchronous normal (not durable)",
        journal_mode: "wal",
        synchronous: "normal",
        durable: false,
    },
    Keeps {
        words: "WAL, synchronous full",
        journal_mode: "wal",
        synchronous: "full",
        durable: true,
    },
];

/// Node with npm.
struct Node {
    /// Before the usual places for programs.
    path: OsString,
    program: PathBuf,
    version: String,
}

impl Node {
    fn find() -> io::Result<Node> {
        let usual = env::var_os("PATH").unwrap_or_default();
        let mut with_tests = OsString::from(NODE_OF_THE_TESTS);
        with_tests.push(":");
        with_tests.push(&usual);
        let found = [usual, with_tests].into_iter().find_map(Node::on);
        found.ok_or_else(|| {
            io::Error::other(format!(
                "peers needs Node {NODE_MAJOR} or later with npm: install it, or run .ci/test once, \
                 which puts it under target/tools"
            ))
        })
    }

    fn on(path: OsString) -> Option<Node> {
        let npm = (Command::new("npm").arg("--version"))
            .env("PATH", &path)
            .output();
        npm.ok().filter(|output| output.status.success())?;
        // What is on the path may only start it.
        let about = "console.log(process.versions.node + ' ' + process.execPath)";
        let output = (Command::new("node").args(["-e", about]))
            .env("PATH", &path)
            .output();
        let said = String::from_utf8(output.ok()?.stdout).ok()?;
        let (version, program) = said.trim().split_once(' ')?;
        let major: u32 = version.split('.').next()?.parse().ok()?;
        (major >= NODE_MAJOR).then(|| Node {
            path,
            program: PathBuf::from(program),
            version: version.to_owned(),
        })
    }

    /// The folder where the peer is ready to be started; below `target`, from one run to the next.
    fn install(&self) -> io::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers/better-auth");
        fs::create_dir_all(&folder)?;
        let wanted = fs::read(Path::new(SOURCES).join(LOCK))?;
        for file in ["package.json", LOCK, "server.mjs"] {
            fs::copy(Path::new(SOURCES).join(file), folder.join(file))?;
        }
        if fs::read(folder.join(INSTALLED)).is_ok_and(|installed| installed == wanted) {
            return Ok(folder);
        }
        // Nothing of it has to be built or loaded besides: its binaries are in the packages.
        let output = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .env("PATH", &self.path)
            .output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let words = format!("npm ci failed in {}:\n{said}", folder.display());
            return Err(io::Error::other(words));
        }
        fs::write(folder.join(INSTALLED), wanted)?;
        Ok(folder)
    }
}

/// The version of a package that is installed.
fn version(folder: &Path, package: &str) -> io::Result<String> {
    let file = folder.join("node_modules").join(package);
    let about: Value = serde_json::from_slice(&fs::read(file.join("package.json"))?)?;
    let version = about["version"].as_str().unwrap_or_default();
    Ok(version.to_owned())
}

/// Starts better-auth with an empty database.
fn start(bench: &Bench, node: &Node, folder: &Path, keeps: &Keeps) -> io::Result<Process> {
    let data = bench.root.join("better-auth");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data)?;
    let address = free_address()?;
    let mut command = Command::new(&node.program);
    command
        .arg("server.mjs")
        .current_dir(folder)
        .env_clear()
        .env("NODE_ENV", "production")
        .env("BETTER_AUTH_SECRET", SECRET)
        .env("BETTER_AUTH_URL", format!("http://{address}"))
        .env("PORT", address.port().to_string())
        .env("DATABASE", data.join("database.sqlite"))
        .env("JOURNAL_MODE", keeps.journal_mode)
        .env("SYNCHRONOUS", keeps.synchronous)
        .env("SMTP_PORT", bench.world.mail.port().to_string());
    Process::start(&mut command, address, "/api/auth/ok")
}

/// Somebody who signs in at better-auth, and then somebody else.
struct SignsIn<'b> {
    client: Client,
    world: &'b World,
}

impl<'b> SignsIn<'b> {
    fn new(address: SocketAddr, world: &'b World) -> io::Result<SignsIn<'b>> {
        let client = Client::connect(address)?;
        Ok(SignsIn { client, world })
    }

    /// The cookie of the session.
    fn sign_in(&mut self, address: &str) -> io::Result<String> {
        let mail = self.world.expect(address);
        let asks = json!({"email": address, "type": "sign-in"});
        self.client
            .succeed(&send("email-otp/send-verification-otp", &asks))?;
        let code = sign_ins::wait(&mail)?;
        let types = json!({"email": address, "otp": code});
        let answer = self.client.succeed(&send("sign-in/email-otp", &types))?;
        let cookie = answer
            .header("set-cookie")
            .and_then(|value| value.split(';').next());
        match cookie {
            Some(cookie) if answer.body.contains(r#""token":"#) => Ok(cookie.to_owned()),
            _ => Err(io::Error::other("nobody was signed in")),
        }
    }

    /// Signs somebody in, and asks who that is.
    fn prove(&mut self) -> io::Result<()> {
        let address = address_of(&newcomer());
        let cookie = self.sign_in(&address)?;
        let asks = get("/api/auth/get-session", &format!("Cookie: {cookie}\r\n"));
        let answer = self.client.succeed(&asks)?;
        let session: Value = serde_json::from_str(answer.body)?;
        if session["user"]["email"] == json!(address) {
            return Ok(());
        }
        let words = format!("{address} signed in, and the session says {}", answer.body);
        Err(io::Error::other(words))
    }
}

fn send(path: &str, body: &Value) -> Vec<u8> {
    let path = format!("/api/auth/{path}");
    post(
        &path,
        "Content-Type: application/json\r\n",
        &body.to_string(),
    )
}

impl Act for SignsIn<'_> {
    fn act(&mut self) -> io::Result<()> {
        self.sign_in(&address_of(&newcomer())).map(drop)
    }
}

/// Of one program, in MiB and ms.
struct Needs {
    start_ms: f64,
    idle: f64,
    after: f64,
}

impl Needs {
    fn line(&self, what: &str) {
        let mib = [self.idle, self.after].map(|mib| format!("{mib:.1}"));
        let mut cells = vec![format!("{:.0}", self.start_ms)];
        cells.extend(mib);
        line(what, &cells);
    }
}

/// Its fastest and what it needs.
fn better_auth(
    bench: &Bench,
    node: &Node,
    folder: &Path,
    keeps: &Keeps,
    disk: f64,
) -> io::Result<(f64, Needs)> {
    let process = start(bench, node, folder, keeps)?;
    thread::sleep(SETTLED_AFTER);
    let idle = process.mebibytes("VmRSS");
    let people = |load| -> io::Result<Measured> {
        drive(&process, load, |_| {
            Ok(Box::new(SignsIn::new(process.address, &bench.world)?))
        })
    };
    let mut one = SignsIn::new(process.address, &bench.world)?;
    one.prove().map_err(|error| process.explain(&error))?;
    people(WARM_UP)?;
    let (mut best, mut after): (f64, f64) = (0.0, 0.0);
    for clients in sign_ins::PEOPLE_AT_ONCE {
        let measured = people(Load::of(clients))?;
        let words = format!("better-auth, {}, {clients} people at once", keeps.words);
        load(&words, &measured, disk);
        best = best.max(measured.per_second);
        after = after.max(process.mebibytes("VmRSS"));
    }
    let needs = Needs {
        start_ms: process.started_in.as_secs_f64() * 1e3,
        idle,
        after,
    };
    Ok((best, needs))
}

/// The same of Portero.
fn portero(bench: &Bench, disk: f64) -> io::Result<(f64, Needs)> {
    let server = Server::start(&sign_ins::setup(bench, Bot::Absent)?, &bench.world)?;
    thread::sleep(SETTLED_AFTER);
    let mut needs = Needs {
        start_ms: server.started_in.as_secs_f64() * 1e3,
        idle: server.mebibytes("VmRSS"),
        after: 0.0,
    };
    server.stop()?;
    let (best, after) = sign_ins::fastest(bench, disk, "Portero, ")?;
    needs.after = after;
    Ok((best, needs))
}

pub fn run(bench: &mut Bench) -> io::Result<()> {
    let node = Node::find()?;
    let folder = node.install()?;
    heading("Beside others: whole sign-ins by code");
    let disk = fdatasync_rate(&bench.root)?;
    println!(
        "Somebody new each time. better-auth {}, better-sqlite3 {} and nodemailer {} on Node {}, one \
         process, {} s under way before it is measured. Disk: {disk:.0} fdatasync/s.\n",
        version(&folder, "better-auth")?,
        version(&folder, "better-sqlite3")?,
        version(&folder, "nodemailer")?,
        node.version,
        WARM_UP.measured.as_secs(),
    );
    loads();
    let mut peers = Vec::new();
    for keeps in &KEEPS {
        peers.push((keeps, better_auth(bench, &node, &folder, keeps, disk)?));
    }
    let (portero, needs) = portero(bench, disk)?;
    println!();
    head(&[
        "what",
        "start to the first 200 ms",
        "memory idle MiB",
        "after that load MiB",
    ]);
    for (keeps, (_, needs)) in &peers {
        needs.line(&format!("better-auth, {}", keeps.words));
    }
    needs.line("Portero");
    let best = |durable: bool| {
        let ones = peers.iter().filter(|(keeps, _)| keeps.durable == durable);
        ones.map(|(_, (best, _))| *best).fold(0.0, f64::max)
    };
    let report = &mut bench.report;
    report.fact("whole sign-ins by code", portero, "a second");
    report.fact("— better-auth, durable", best(true), "a second");
    report.fact("— better-auth, not durable", best(false), "a second");
    let times = portero / best(true);
    report.at_least("— Portero beside it, both durable", times, GOAL, "×");
    let times = portero / best(false);
    report.fact("— Portero, durable, beside it not durable", times, "×");
    Ok(())
}

//! Signed webhooks, acknowledged after a durable commit: `cargo bench --bench webhooks`.
//!
//! Starts the release binary on loopback with a stand-in for the Graph API and drives it with
//! keep-alive clients; every webhook has an id of its own and comes from one of 1,000 people. The
//! disk's own rate of small durable writes and the server's no-op route are measured in the same
//! run, because clients, server and disk share one machine: the ratios are the result.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MEASURED: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(1);
const PEOPLE: u64 = 1_000;
const NUMBER: &str = "106540352242922";
const SECRET: &str = "benchmark-app-secret";

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("webhooks-bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let disk = fdatasync_rate(&folder)?;
    println!("disk: {disk:.0} fdatasync/s of 4 KiB\n");
    let (graph, _) = stand_in()?;
    let started = Instant::now();
    let server = Server::start(&folder, graph, None)?;
    println!(
        "start to first 200: {:.0} ms",
        started.elapsed().as_secs_f64() * 1e3
    );
    println!("memory idle: {:.1} MiB", server.resident_mib());
    let size = fs::metadata(env!("CARGO_BIN_EXE_portero"))?.len();
    println!("binary: {:.2} MiB\n", size as f64 / 1048576.0);
    println!(
        "{:<26}{:>9}{:>9}{:>9}{:>9}{:>11}{:>11}{:>9}",
        "", "per s", "p50 ms", "p99 ms", "p99.9", "CPU us/ack", "kB/ack", "x disk"
    );
    let noop = measure(&server, 32, None, |_| get_healthz());
    report("no-op route, 32", &noop, disk);
    for clients in [1, 32, 128] {
        let result = measure(&server, clients, None, webhook);
        report(&format!("webhooks, {clients} connections"), &result, disk);
    }
    for rate in [500, 2_000] {
        let result = measure(&server, 32, Some(rate), webhook);
        report(&format!("webhooks, steady {rate}/s"), &result, disk);
    }
    println!("\nmemory after load: {:.1} MiB", server.resident_mib());
    drop(server);
    handed_on(&folder, graph, disk)
}

/// The same in front of a bot that takes everything at once: how fast messages are acknowledged, and
/// how fast the bot has them.
fn handed_on(folder: &Path, graph: SocketAddr, disk: f64) -> io::Result<()> {
    let folder = folder.join("with-bot");
    fs::create_dir_all(&folder)?;
    let (bot, taken) = stand_in()?;
    let server = Server::start(&folder, graph, Some(bot))?;
    println!();
    for (clients, rate) in [(32, None), (32, Some(500)), (32, Some(2_000))] {
        let (before, begin) = (taken.load(Ordering::Relaxed), Instant::now());
        let result = measure(&server, clients, rate, webhook);
        let name = rate.map_or("unbridled".to_owned(), |rate| format!("steady {rate}/s"));
        report(&format!("for a bot, {name}"), &result, disk);
        // What is acknowledged is on its way; the bot has it when its count stands still.
        let (mut count, mut last, mut seen_at) = (0, u64::MAX, Instant::now());
        while seen_at.elapsed() < Duration::from_millis(500) {
            count = taken.load(Ordering::Relaxed) - before;
            if count != last {
                (last, seen_at) = (count, Instant::now());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let seconds = seen_at.duration_since(begin).as_secs_f64();
        println!(
            "{:<26}{:>9.0}",
            "  taken by the bot",
            count as f64 / seconds
        );
    }
    println!("\nmemory after load: {:.1} MiB", server.resident_mib());
    Ok(())
}

fn fdatasync_rate(folder: &Path) -> io::Result<f64> {
    let path = folder.join("disk");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = [7u8; 4096];
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        file.write_all(&block)?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

/// Takes every message at once, as the Graph API would after a network's delay, or a bot; counts
/// them.
fn stand_in() -> io::Result<(SocketAddr, Arc<AtomicU64>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = Arc::clone(&counted);
            thread::spawn(move || answer_sends(&stream, &count));
        }
    });
    Ok((address, count))
}

fn answer_sends(stream: &TcpStream, count: &AtomicU64) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let id = count.fetch_add(1, Ordering::Relaxed);
        let json = format!(
            r#"{{"messaging_product":"whatsapp","contacts":[],"messages":[{{"id":"wamid.out{id}"}}]}}"#
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            json.len()
        );
        (&mut &*stream)
            .write_all(format!("{head}{json}").as_bytes())
            .ok()?;
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path, graph: SocketAddr, bot: Option<SocketAddr>) -> io::Result<Server> {
        let config = folder.join("portero.toml");
        let address = free_address()?;
        let bot = bot.map_or(String::new(), |bot| {
            format!("[bot]\nurl = \"http://{bot}/\"\ngate = \"on_request\"\n")
        });
        let text = format!(
            "{bot}[business]\nname = \"Bench\"\nlanguage = \"es\"\n[server]\nlisten = \"{address}\"\n\
             [whatsapp]\nphone_number_id = \"{NUMBER}\"\naccess_token = \"benchmark-token\"\n\
             app_secrets = [\"{SECRET}\"]\nverify_token = \"benchmark-verify\"\napi_url = \"http://{graph}\"\n\
             [mail]\nserver = \"127.0.0.1\"\nport = 9\nsecurity = \"plain\"\nfrom = \"bench@example.com\"\n\
             [directory]\nenabled = true\ntitle = \"Bench\"\n[log]\nlevel = \"warn\"\n"
        );
        fs::write(&config, text)?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let child = Command::new(env!("CARGO_BIN_EXE_portero"))
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()?;
        let server = Server { child, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(mut client) = Client::connect(address)
                && client.exchange(&get_healthz()).is_ok()
            {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Err(io::Error::other("the server did not start"))
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    fn resident_mib(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0.0);
        kib / 1024.0
    }

    /// User and system time so far, in microseconds: /proc counts in hundredths of a second.
    fn cpu_us(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        (ticks(11) + ticks(12)) * 10_000.0
    }

    fn bytes_written(&self) -> f64 {
        let io = self.proc("io");
        let line = io.lines().find(|line| line.starts_with("write_bytes:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn get_healthz() -> Vec<u8> {
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()
}

fn webhook(number: u64) -> Vec<u8> {
    let person = 573_000_000_000 + number % PEOPLE;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, unique) = (now.as_secs(), now.as_nanos());
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"419561257915477","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550783881","phone_number_id":"{NUMBER}"}},"contacts":[{{"profile":{{"name":"Sheena Nelson"}},"wa_id":"{person}","user_id":"CO.{person}"}}],"messages":[{{"from":"{person}","from_user_id":"CO.{person}","id":"wamid.{number}x{unique}","timestamp":"{seconds}","type":"text","text":{{"body":"Does it come in another color?"}}}}]}},"field":"messages"}}]}}]}}"#
    );
    // HMAC takes keys of every length.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(body.as_bytes());
    let signature: String = mac
        .finalize()
        .into_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Client {
            stream,
            buffer: vec![0; 4096],
        })
    }

    /// Sends one request and reads one answer, which must be 200.
    fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)?;
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..])?;
            if read == 0 {
                return Err(io::Error::other("closed"));
            }
            length += read;
            let text = String::from_utf8_lossy(&self.buffer[..length]).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let lower = head.to_ascii_lowercase();
            let wanted: usize = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= wanted {
                return if head.starts_with("HTTP/1.1 200") {
                    Ok(())
                } else {
                    Err(io::Error::other(head.to_owned()))
                };
            }
        }
    }
}

struct Measured {
    per_second: f64,
    latencies: Vec<f64>,
    cpu_us: f64,
    bytes: f64,
}

/// Drives the server for a while; with a rate, the moments of sending are fixed beforehand, so that
/// a slow answer is counted as such (no coordinated omission).
fn measure(
    server: &Server,
    clients: u64,
    rate: Option<u64>,
    request: fn(u64) -> Vec<u8>,
) -> Measured {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let stop = Arc::new(AtomicBool::new(false));
    let counting = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let (stop, counting, address) =
                (Arc::clone(&stop), Arc::clone(&counting), server.address);
            thread::spawn(move || {
                let mut connection = Client::connect(address).expect("the server accepts");
                let mut latencies = Vec::new();
                let pause = rate.map(|rate| Duration::from_secs_f64(clients as f64 / rate as f64));
                let mut due = Instant::now()
                    + pause
                        .unwrap_or_default()
                        .mul_f64(client as f64 / clients as f64);
                while !stop.load(Ordering::Relaxed) {
                    let bytes = request(NUMBER.fetch_add(1, Ordering::Relaxed));
                    let begin = match pause {
                        None => Instant::now(),
                        Some(pause) => {
                            thread::sleep(due.saturating_duration_since(Instant::now()));
                            due += pause;
                            due - pause
                        }
                    };
                    connection
                        .exchange(&bytes)
                        .expect("every webhook is acknowledged");
                    if counting.load(Ordering::Relaxed) {
                        latencies.push(begin.elapsed().as_secs_f64() * 1e3);
                    }
                }
                latencies
            })
        })
        .collect();
    thread::sleep(WARM_UP);
    let (cpu, bytes) = (server.cpu_us(), server.bytes_written());
    counting.store(true, Ordering::Relaxed);
    let begin = Instant::now();
    thread::sleep(MEASURED);
    counting.store(false, Ordering::Relaxed);
    let seconds = begin.elapsed().as_secs_f64();
    let (cpu, bytes) = (server.cpu_us() - cpu, server.bytes_written() - bytes);
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<f64> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("a client ends"))
        .collect();
    latencies.sort_by(f64::total_cmp);
    let count = latencies.len() as f64;
    Measured {
        per_second: count / seconds,
        latencies,
        cpu_us: cpu / count,
        bytes: bytes / count,
    }
}

fn report(name: &str, measured: &Measured, disk: f64) {
    let at = |share: f64| {
        let index = (measured.latencies.len() as f64 * share) as usize;
        measured
            .latencies
            .get(index.min(measured.latencies.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
    };
    println!(
        "{name:<26}{:>9.0}{:>9.2}{:>9.2}{:>9.2}{:>11.0}{:>11.1}{:>9.2}",
        measured.per_second,
        at(0.5),
        at(0.99),
        at(0.999),
        measured.cpu_us,
        measured.bytes / 1e3,
        measured.per_second / disk
    );
}

//! What the listener alone costs: `cargo bench --bench listener`; with `-- --tls` what TLS adds, and
//! with `-- --slow` what ten thousand slow connections do to honest clients.
//!
//! The server runs in a process of its own, so that its memory and CPU time are its own. Clients
//! and server share the machine's cores; compare figures of the same run only.

use portero::tls::{Files, Source, Tls};
use portero::web::listener::{Handler, Limits, Listener, Trust};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long each number of clients is measured, after a warm-up.
const MEASURED: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);

/// A webhook of one message is about this long.
const BODY_BYTES: usize = 1024;

const SLOW_CONNECTIONS: usize = 10_000;
const SLOW_MEASURED: Duration = Duration::from_secs(20);
/// Each slow connection sends one byte in this time.
const DRIP: Duration = Duration::from_secs(1);
/// From one connection of a slow client to its next: the deadline for a head, which is how long
/// it would be served if nobody were evicted.
const COMES_BACK: Duration = Duration::from_secs(10);
/// Pause between the requests of an honest client.
const HONEST_PAUSE: Duration = Duration::from_millis(5);

/// Names the folder with the certificate and the key to a server with TLS.
const PAIR: &str = "PORTERO_BENCH_PAIR";

struct Nothing;

impl Handler for Nothing {
    fn body_max_bytes(&self, _: &str, _: &str) -> usize {
        1024 * 1024
    }

    fn handle(&self, _: &rouille::Request) -> rouille::Response {
        rouille::Response::text("ok\n")
    }
}

fn main() -> io::Result<()> {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    if has("--server") {
        serve()
    } else if has("--tls") {
        encrypted()
    } else if has("--slow") {
        slow()
    } else {
        fast()
    }
}

/// Serves until the standard input ends, which it does when the parent has gone.
fn serve() -> io::Result<()> {
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    // All clients come from one address here.
    let trust = Trust {
        proxies: vec![any.ip()],
        ..Trust::default()
    };
    let (limits, handler) = (Limits::default(), Arc::new(Nothing));
    let listener = match std::env::var_os(PAIR) {
        None => Listener::bind(any, limits, trust, handler)?,
        Some(folder) => {
            let folder = Path::new(&folder);
            let files = Files {
                certificate: folder.join("certificate.pem"),
                key: folder.join("key.pem"),
            };
            let tls = Tls::open(Source::Files(files)).map_err(io::Error::other)?;
            Listener::bind_tls(any, limits, trust, handler, tls.server_config())?
        }
    };
    println!("{}", listener.local_addr());
    io::copy(&mut io::stdin(), &mut io::sink())?;
    listener.stop(Duration::from_secs(5));
    Ok(())
}

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> io::Result<Server> {
        Server::start_with(None)
    }

    /// With TLS, if there is a folder with a certificate and a key.
    fn start_with(pair: Option<&Path>) -> io::Result<Server> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--server")
            .envs(pair.map(|folder| (PAIR, folder)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = Vec::new();
        if let Some(output) = &mut process.stdout {
            let mut byte = [0];
            while output.read(&mut byte)? == 1 && byte != *b"\n" {
                line.push(byte[0]);
            }
        }
        let address = String::from_utf8_lossy(&line)
            .parse()
            .map_err(io::Error::other)?;
        Ok(Server { process, address })
    }

    /// A number from `/proc/<pid>/status`: kibibytes for `VmRSS` and `VmHWM`, a count for
    /// `Threads`; 0 where there is no such file.
    fn status(&self, field: &str) -> u64 {
        let file = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn mebibytes(&self, field: &str) -> f64 {
        self.status(field) as f64 / 1024.0
    }

    /// CPU time used so far, in units of 10 ms, which is what Linux counts in.
    fn cpu(&self) -> Duration {
        let file = format!("/proc/{}/stat", self.process.id());
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let fields = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|one| one.parse::<u64>().ok())
            .sum();
        Duration::from_millis(10 * ticks)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

struct Client {
    socket: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Client> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        let head = format!(
            "POST /webhook/ HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\nAccept: */*\r\n\
             Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
        );
        let request = [head.as_bytes(), &[b'x'; BODY_BYTES]].concat();
        Ok(Client {
            socket,
            request,
            answer: vec![0; 4096],
        })
    }

    fn ask(&mut self) -> io::Result<Duration> {
        let started = Instant::now();
        self.socket.write_all(&self.request)?;
        let mut length = 0;
        while !self.answer[..length].ends_with(b"\r\n\r\nok\n") {
            match self.socket.read(&mut self.answer[length..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => length += count,
            }
        }
        Ok(started.elapsed())
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(index)
        .map_or(f64::NAN, |one| one.as_secs_f64() * 1000.0)
}

fn fast() -> io::Result<()> {
    let server = Server::start()?;
    Client::connect(server.address)?.ask()?;
    println!(
        "idle after one request: {:.1} MiB",
        server.mebibytes("VmRSS")
    );
    println!("clients  requests/s  p50 ms  p99 ms  server CPU µs/request  RSS MiB");
    for clients in [1, 32, 128] {
        let measuring = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..clients)
            .map(|_| {
                let (measuring, ended) = (Arc::clone(&measuring), Arc::clone(&ended));
                let mut client = Client::connect(server.address)?;
                Ok(thread::spawn(move || -> io::Result<Vec<Duration>> {
                    let mut times = Vec::new();
                    while !ended.load(Ordering::Relaxed) {
                        let time = client.ask()?;
                        if measuring.load(Ordering::Relaxed) {
                            times.push(time);
                        }
                    }
                    Ok(times)
                }))
            })
            .collect::<io::Result<_>>()?;
        thread::sleep(WARM_UP);
        let (cpu, started) = (server.cpu(), Instant::now());
        measuring.store(true, Ordering::Relaxed);
        thread::sleep(MEASURED);
        ended.store(true, Ordering::Relaxed);
        let (cpu, elapsed) = (server.cpu() - cpu, started.elapsed());
        let memory = server.mebibytes("VmRSS");
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| io::ErrorKind::Other)??);
        }
        times.sort_unstable();
        println!(
            "{clients:7}  {:10.0}  {:6.3}  {:6.3}  {:21.1}  {memory:7.1}",
            times.len() as f64 / elapsed.as_secs_f64(),
            percentile(&times, 50),
            percentile(&times, 99),
            cpu.as_secs_f64() * 1e6 / times.len() as f64,
        );
    }
    Ok(())
}

/// Plain and encrypted requests side by side, and whole handshakes, each with one request.
fn encrypted() -> io::Result<()> {
    let folder = std::env::temp_dir().join(format!("portero-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let config = pair(&folder)?;
    let (plain, tls) = (Server::start()?, Server::start_with(Some(&folder))?);
    fs::remove_dir_all(&folder)?;
    println!("what                       clients     a second  server CPU µs each  RSS MiB");
    for clients in [1, 32] {
        let address = plain.address;
        rate("plain requests", &plain, clients, move || {
            let mut client = Client::connect(address)?;
            Ok(move || client.ask().map(drop))
        })?;
        let (address, on) = (tls.address, Arc::clone(&config));
        rate("encrypted requests", &tls, clients, move || {
            let mut client = Secured::connect(address, &on)?;
            Ok(move || client.ask())
        })?;
        let (address, on) = (tls.address, Arc::clone(&config));
        rate("handshakes with a request", &tls, clients, move || {
            let on = Arc::clone(&on);
            Ok(move || Secured::connect(address, &on)?.ask())
        })?;
    }
    Ok(())
}

/// A certificate (ECDSA P-256, as authorities are asked for it) and who trusts it.
fn pair(folder: &Path) -> io::Result<Arc<ClientConfig>> {
    use base64::Engine as _;
    let made = rcgen::generate_simple_self_signed(["a".to_owned()]).map_err(io::Error::other)?;
    let write = |name: &str, label: &str, der: &[u8]| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let path = folder.join(name);
        fs::write(
            &path,
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"),
        )?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
    };
    write("certificate.pem", "CERTIFICATE", made.cert.der())?;
    write("key.pem", "PRIVATE KEY", &made.signing_key.serialize_der())?;
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join("certificate.pem"));
    (roots.add(certificate.map_err(io::Error::other)?)).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

struct Secured {
    stream: StreamOwned<ClientConnection, TcpStream>,
    request: Vec<u8>,
}

impl Secured {
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Secured> {
        let Client {
            socket, request, ..
        } = Client::connect(address)?;
        let name = ServerName::try_from("a").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name);
        let stream = StreamOwned::new(session.map_err(io::Error::other)?, socket);
        Ok(Secured { stream, request })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        let (mut answer, mut length) = ([0; 4096], 0);
        while !answer[..length].ends_with(b"\r\n\r\nok\n") {
            match self.stream.read(&mut answer[length..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => length += count,
            }
        }
        Ok(())
    }
}

/// How often in a second so many clients do something, and what that costs the server.
fn rate<C, D>(what: &str, server: &Server, clients: usize, begin: C) -> io::Result<()>
where
    C: Fn() -> io::Result<D>,
    D: FnMut() -> io::Result<()> + Send + 'static,
{
    let (done, ended) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (done, ended) = (Arc::clone(&done), Arc::clone(&ended));
            let mut act = begin()?;
            Ok(thread::spawn(move || -> io::Result<()> {
                while !ended.load(Ordering::Relaxed) {
                    act()?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }))
        })
        .collect::<io::Result<_>>()?;
    thread::sleep(WARM_UP);
    let (before, cpu, started) = (done.load(Ordering::Relaxed), server.cpu(), Instant::now());
    thread::sleep(MEASURED);
    let (count, cpu) = (done.load(Ordering::Relaxed) - before, server.cpu() - cpu);
    let elapsed = started.elapsed();
    ended.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| io::ErrorKind::Other)??;
    }
    println!(
        "{what:25}  {clients:7}  {:11.0}  {:18.1}  {:7.1}",
        count as f64 / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / count as f64,
        server.mebibytes("VmRSS"),
    );
    Ok(())
}

fn slow() -> io::Result<()> {
    let server = Server::start()?;
    let address = server.address;
    println!(
        "honest clients                              requests  failed  p50 ms  p99 ms  max ms"
    );
    honest("alone", &server, SLOW_MEASURED / 4)?;

    let ends = Arc::new(AtomicBool::new(false));
    let connects = Arc::new(AtomicUsize::new(0));
    let crowd = {
        let (ends, connects) = (Arc::clone(&ends), Arc::clone(&connects));
        thread::spawn(move || crowd(address, &ends, &connects))
    };
    while connects.load(Ordering::Relaxed) < SLOW_CONNECTIONS && !crowd.is_finished() {
        thread::sleep(Duration::from_millis(10));
    }
    let (before, cpu) = (connects.load(Ordering::Relaxed), server.cpu());
    let threads = honest("in the crowd", &server, SLOW_MEASURED)?;
    let reconnects = connects.load(Ordering::Relaxed) - before;
    let cpu = server.cpu() - cpu;
    ends.store(true, Ordering::Relaxed);
    crowd.join().map_err(|_| io::ErrorKind::Other)??;
    println!(
        "server: at most {:.1} MiB and {threads} threads, {:.0} % of a core; \
         {SLOW_CONNECTIONS} slow clients connected {:.0} times a second",
        server.mebibytes("VmHWM"),
        100.0 * cpu.as_secs_f64() / SLOW_MEASURED.as_secs_f64(),
        reconnects as f64 / SLOW_MEASURED.as_secs_f64(),
    );
    Ok(())
}

/// Two honest clients for a while: one that stays connected and one that connects for each
/// request. Gives the most threads that the server had meanwhile.
fn honest(place: &str, server: &Server, during: Duration) -> io::Result<u64> {
    let address = server.address;
    let end = Instant::now() + during;
    let clients = [
        ("stays connected", true),
        ("connects for each request", false),
    ];
    let clients = clients.map(|(kind, stays)| {
        let ask = move || {
            let (mut times, mut failed) = (Vec::new(), 0);
            let mut client = None;
            while Instant::now() < end {
                let started = Instant::now();
                let connected = client.take().map_or_else(|| Client::connect(address), Ok);
                let asked = connected.and_then(|mut client| client.ask().map(|_| client));
                match asked {
                    Ok(used) => {
                        times.push(started.elapsed());
                        client = stays.then_some(used);
                    }
                    Err(_) => failed += 1,
                }
                thread::sleep(HONEST_PAUSE);
            }
            (times, failed)
        };
        (kind, thread::spawn(ask))
    });
    let mut threads = 0;
    while Instant::now() < end {
        threads = threads.max(server.status("Threads"));
        thread::sleep(Duration::from_millis(50));
    }
    for (kind, client) in clients {
        let (mut times, failed) = client.join().map_err(|_| io::ErrorKind::Other)?;
        times.sort_unstable();
        println!(
            "{:42}  {:8}  {failed:6}  {:6.3}  {:6.3}  {:6.1}",
            format!("{place}, {kind}"),
            times.len(),
            percentile(&times, 50),
            percentile(&times, 99),
            percentile(&times, 100),
        );
    }
    Ok(threads)
}

/// Ten thousand clients that send a head byte by byte. One that was cut comes back a while later.
/// `connects` counts all connections.
fn crowd(address: SocketAddr, ends: &AtomicBool, connects: &AtomicUsize) -> io::Result<()> {
    let connect = || -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        // The server may have evicted it by now.
        let _ = socket.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
        connects.fetch_add(1, Ordering::Relaxed);
        Ok(socket)
    };
    let mut clients = Vec::new();
    for _ in 0..SLOW_CONNECTIONS {
        clients.push((connect()?, Instant::now()));
    }
    // Each of them on its own clock: a part of the crowd at a time, spread over the period.
    const PARTS: usize = 100;
    let mut next = Instant::now();
    for part in (0..PARTS).cycle() {
        for (socket, connected) in clients.iter_mut().skip(part).step_by(PARTS) {
            if ends.load(Ordering::Relaxed) {
                return Ok(());
            }
            if socket.write(b"x").is_err() && connected.elapsed() >= COMES_BACK {
                (*socket, *connected) = (connect()?, Instant::now());
            }
        }
        next = (next + DRIP / PARTS as u32).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

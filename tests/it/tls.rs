//! HTTPS of the program's own, as Meta and browsers meet it: certificates in files, what is said
//! to who does not speak TLS, and what changes while connections are open.

use crate::outside::{
    Answer, PATIENCE, PUBLIC_HOST, Portero, World, eventually, signature, text, webhook,
};
use portero::web::listener::{Handler, Limits, Listener, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::Signal;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An authority that signs by one between, as public ones do.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    between: CertifiedIssuer<'static, KeyPair>,
}

/// A chain and a key, as they stand in files.
pub struct Pair {
    pub chain: String,
    pub key: String,
    pub certificate: CertificateDer<'static>,
}

fn issuing(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new() -> Authority {
        let root = issuing("root");
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let between = issuing("between");
        let between =
            CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &root).unwrap();
        Authority { root, between }
    }

    pub fn root_der(&self) -> &[u8] {
        self.root.der()
    }

    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_until(names, (2096, 1, 1))
    }

    fn issue_until(&self, names: &[&str], (year, month, day): (i32, u8, u8)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let certificate = params.signed_by(&key, &self.between).unwrap();
        Pair {
            chain: pem("CERTIFICATE", certificate.der()) + &pem("CERTIFICATE", self.between.der()),
            key: pem("PRIVATE KEY", key.serialized_der()),
            certificate: certificate.der().clone(),
        }
    }

    /// A client that trusts this authority alone.
    pub fn client(&self) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        Client::trusting(roots)
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// How somebody connects.
#[derive(Clone)]
pub struct Client {
    pub config: ClientConfig,
}

impl Client {
    pub fn trusting(roots: RootCertStore) -> Client {
        Client::with(roots, rustls::DEFAULT_VERSIONS)
    }

    fn with(
        roots: RootCertStore,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Client {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed session has the certificate of the one before it.
        config.resumption = Resumption::disabled();
        Client { config }
    }

    pub fn connect(&self, to: SocketAddr, name: &str) -> io::Result<Secured> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let socket = TcpStream::connect(to)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let session = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Secured(stream))
    }
}

/// An encrypted connection.
pub struct Secured(pub StreamOwned<ClientConnection, TcpStream>);

impl Secured {
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    }

    /// One request and its answer, after which the connection is open.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n");
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.0.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        self.0.write_all(body).unwrap();
        self.0.flush().unwrap();
        let mut received = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&received).into_owned();
            if let Some((head, rest)) = text.split_once("\r\n\r\n") {
                let mut lines = head.split("\r\n");
                let status = lines.next().unwrap().split(' ').nth(1).unwrap();
                let headers: Vec<(String, String)> = lines
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                let answer = Answer {
                    status: status.parse().unwrap(),
                    headers,
                    body: rest.to_owned(),
                };
                let length = answer
                    .header("content-length")
                    .map_or(0, |n| n.parse().unwrap());
                if rest.len() >= length {
                    return answer;
                }
            }
            let mut buffer = [0; 8192];
            let count = self.0.read(&mut buffer).unwrap();
            assert_ne!(count, 0, "half an answer: {text}");
            received.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Writes a pair where `[tls]` of [`world`] looks for it.
pub fn put(folder: &Path, pair: &Pair) {
    let write = |name: &str, text: &str| {
        // As certbot and others do it: another file takes the name.
        let draft = folder.join("draft.pem");
        fs::write(&draft, text).unwrap();
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(draft, folder.join(name)).unwrap();
    };
    write("fullchain.pem", &pair.chain);
    write("privkey.pem", &pair.key);
}

const METRICS: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n\n";

/// Has `world` serve HTTPS with a certificate in files.
pub fn serve_files(world: &World, more: &str) -> Authority {
    let authority = Authority::new();
    put(world.folder.path(), &authority.issue(&[PUBLIC_HOST]));
    let table = format!(
        r#"[tls]
certificate = "fullchain.pem"
key = "file:privkey.pem"
listen = "127.0.0.1:0"
redirect_listen = "127.0.0.1:0"

{more}[whatsapp]
"#
    );
    world.edit("[whatsapp]\n", &table);
    authority
}

/// A world whose file has `[tls]` with files, and metrics.
fn world(pair: &Pair) -> World {
    let world = World::without_mail();
    serve_files(&world, METRICS);
    put(world.folder.path(), pair);
    world
}

/// What stands in the log behind these words, up to a space.
pub fn told(portero: &Portero, before: &str) -> SocketAddr {
    let log = portero.log();
    let (_, rest) = log
        .split_once(before)
        .unwrap_or_else(|| panic!("{before}: {log}"));
    let address = rest.split([' ', '\n', '/', ';']).next().unwrap();
    address.parse().unwrap()
}

pub fn https(portero: &Portero) -> SocketAddr {
    told(portero, "listening for HTTPS on ")
}

pub fn metric(portero: &Portero, name: &str) -> u64 {
    let address = told(portero, "metrics are at http://");
    let host = [("Host", "127.0.0.1")];
    let page = crate::outside::ask(address, "GET", "/metrics", &host, b"").unwrap();
    let line = page
        .body
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {}", page.body))[name.len() + 1..]
        .parse()
        .unwrap()
}

/// Waits until the log has these words: it is read by another thread than the one that looks.
pub fn logged(portero: &Portero, words: &str) {
    eventually(words, || portero.log().contains(words).then_some(()));
}

fn versions() -> [(
    &'static rustls::SupportedProtocolVersion,
    rustls::ProtocolVersion,
); 2] {
    use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
    [
        (&rustls::version::TLS12, TLSv1_2),
        (&rustls::version::TLS13, TLSv1_3),
    ]
}

#[test]
fn meta_and_browsers_come_by_https_without_a_proxy() {
    let authority = Authority::new();
    let world = world(&authority.issue(&[PUBLIC_HOST]));
    let portero = world.start();
    let address = https(&portero);
    for (offered, spoken) in versions() {
        let mut roots = RootCertStore::empty();
        roots.add(authority.root.der().clone()).unwrap();
        let mut client = Client::with(roots, &[offered]);
        client.config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut secured = client.connect(address, PUBLIC_HOST).unwrap();
        assert_eq!(secured.0.conn.protocol_version(), Some(spoken));
        assert_eq!(secured.0.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        // More than one request on a connection, and a body larger than a record.
        let body = webhook(&[text("573001112233", &"hola ".repeat(4_000))]);
        let signature = signature(crate::outside::APP_SECRET, &body);
        let headers = [("X-Hub-Signature-256", signature.as_str())];
        for _ in 0..2 {
            assert_eq!(secured.ask("POST", "/webhook", &headers, &body).status, 200);
        }
        let page = secured.ask("GET", "/healthz", &[], b"");
        assert_eq!(page.status, 200);
        let strict = page.header("strict-transport-security");
        assert_eq!(strict, Some("max-age=63072000"));
        // The end is told, so that nobody can cut an answer short unseen.
        let last = secured.ask("GET", "/healthz", &[("Connection", "close")], b"");
        assert_eq!(last.status, 200);
        assert_eq!(secured.0.read(&mut [0; 16]).unwrap(), 0);
    }
    // This machine still has its own way in, and plain HTTP leads to HTTPS.
    assert_eq!(portero.get("/healthz").status, 200);
    let plain = told(&portero, "sending whoever comes by http:// on ");
    let moved = crate::outside::ask(plain, "GET", "/sign-in/?a=b%20c", &[], b"").unwrap();
    let location = format!("https://{PUBLIC_HOST}/sign-in/?a=b%20c");
    assert_eq!(
        (moved.status, moved.header("location")),
        (308, Some(&*location))
    );
    let refused = crate::outside::ask(plain, "POST", "/webhook", &[], b"{}").unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["error"]["key"], "HTTPS_REQUIRED");
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_renewed_certificate_is_served_while_older_connections_go_on() {
    let authority = Authority::new();
    let (first, second) = (
        authority.issue(&[PUBLIC_HOST]),
        authority.issue(&[PUBLIC_HOST]),
    );
    let world = world(&first);
    let portero = world.start();
    let client = authority.client();
    let mut open = client.connect(https(&portero), PUBLIC_HOST).unwrap();
    assert_eq!(open.certificate(), first.certificate);
    assert_eq!(open.ask("GET", "/healthz", &[], b"").status, 200);

    put(world.folder.path(), &second);
    eventually("the new certificate is served", || {
        let secured = client.connect(https(&portero), PUBLIC_HOST).unwrap();
        (secured.certificate() == second.certificate).then_some(())
    });
    assert_eq!(open.ask("GET", "/healthz", &[], b"").status, 200);
    logged(
        &portero,
        "the certificate was read again; it ends on 2096-01-01",
    );
}

#[test]
fn a_bad_new_file_leaves_the_old_certificate_and_says_so() {
    const FAILURES: &str = "portero_tls_certificate_failures_in_a_row";
    let authority = Authority::new();
    let pair = authority.issue(&[PUBLIC_HOST]);
    let world = world(&pair);
    let portero = world.start();
    let expiry = "portero_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(metric(&portero, expiry), 3_976_214_400);
    assert_eq!(metric(&portero, FAILURES), 0);

    let other = authority.issue(&[PUBLIC_HOST]);
    let torn = Pair {
        key: other.key,
        ..authority.issue(&[PUBLIC_HOST])
    };
    put(world.folder.path(), &torn);
    portero.signal(Signal::HUP);
    eventually("the failure is counted", || {
        (metric(&portero, FAILURES) > 0).then_some(())
    });
    logged(&portero, "fullchain.pem does not belong to the key");
    logged(&portero, "the certificate before it is still served");
    let secured = authority
        .client()
        .connect(https(&portero), PUBLIC_HOST)
        .unwrap();
    assert_eq!(secured.certificate(), pair.certificate);
    assert_eq!(metric(&portero, expiry), 3_976_214_400);
    let ready = portero.get("/readyz");
    assert!(
        ready.body.contains("there is no new certificate for HTTPS"),
        "{}",
        ready.body
    );
    // Who looks after the store meanwhile is not kept from it, and who asks is told.
    for command in [["tls", "show"], ["contact", "list"], ["audit", "verify"]] {
        let (code, said) = run(&world, &command);
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    let (_, said) = run(&world, &["tls", "show"]);
    assert!(said.contains("does not belong to the key"), "{said}");

    put(world.folder.path(), &pair);
    portero.signal(Signal::HUP);
    eventually("all is well again", || {
        (metric(&portero, FAILURES) == 0).then_some(())
    });
}

/// Exit code and what was said by a command that ends by itself.
fn run(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = world
        .command(arguments)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn what_is_wrong_with_the_files_is_said_before_anything_starts() {
    let authority = Authority::new();
    let pair = authority.issue(&[PUBLIC_HOST]);
    let world = world(&pair);
    let check = || run(&world, &["check", "--config", "portero.toml"]);
    let serve = || run(&world, &["serve", "--config", "portero.toml"]);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("leads to no public authority"), "{said}");

    let other = authority.issue(&[PUBLIC_HOST]);
    put(
        world.folder.path(),
        &Pair {
            key: other.key,
            ..authority.issue(&[PUBLIC_HOST])
        },
    );
    for (code, said) in [check(), serve()] {
        assert_eq!(code, Some(78), "{said}");
        assert!(
            said.contains("tls.certificate: the certificate in"),
            "{said}"
        );
        assert!(said.contains("does not belong to the key"), "{said}");
    }

    put(world.folder.path(), &pair);
    let key = world.path("privkey.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("chmod 600"), "{said}");
    fs::remove_file(&key).unwrap();
    let (code, said) = check();
    assert!(code == Some(78) && said.contains("cannot read"), "{said}");

    let old = authority.issue_until(&["other.example"], (2021, 2, 3));
    put(world.folder.path(), &old);
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("expired on 2021-02-03"), "{said}");
    assert!(
        said.contains(&format!("is not for {PUBLIC_HOST}")),
        "{said}"
    );
    let (first, _) = pair
        .chain
        .split_at(pair.chain[1..].find("-----BEGIN").unwrap() + 1);
    put(
        world.folder.path(),
        &Pair {
            chain: first.to_owned(),
            ..pair
        },
    );
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is alone in its file"), "{said}");
}

/// All that comes back on a connection until it ends.
fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    answer
}

/// RFC 5246, section 7.4.1.2, with the version of TLS 1.1 and nothing newer.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]);
    // signature_algorithms, without which rustls finds fault with that first.
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 1]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[test]
fn who_does_not_speak_tls_as_here_is_told_and_harms_nobody() {
    const ALERT: u8 = 21;
    const PROTOCOL_VERSION: u8 = 70;
    let authority = Authority::new();
    let world = world(&authority.issue(&[PUBLIC_HOST]));
    let portero = world.start();
    let address = https(&portero);

    let plain = format!("GET /healthz HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\r\n");
    let answer = String::from_utf8(talk(address, plain.as_bytes())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("HTTPS_REQUIRED") && answer.contains("Connection: close"),
        "{answer}"
    );

    let alert = talk(address, &hello_of_tls_1_1());
    assert_eq!(
        (alert[0], alert[5..].to_vec()),
        (ALERT, vec![2, PROTOCOL_VERSION])
    );
    for garbage in [
        &b"\x16\x03\x01\xff\xff\0\0"[..],
        &[0; 2_000],
        b"\x80\x2e\x01\0\x02",
        b"\x15\x03\x03\0\x02\x02\x28",
    ] {
        let answer = talk(address, garbage);
        assert!(answer.is_empty() || answer[0] == ALERT, "{answer:?}");
    }
    // Somebody else's protocol, or another host's name in the request.
    let mut client = authority.client();
    client.config.alpn_protocols = vec![b"h2".to_vec()];
    assert!(client.connect(address, PUBLIC_HOST).is_err());
    assert!(
        authority
            .client()
            .connect(address, "other.example")
            .is_err()
    );
    let mut secured = authority.client().connect(address, PUBLIC_HOST).unwrap();
    let host = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "http"),
    ];
    assert_eq!(secured.ask("GET", "/healthz", &host, b"").status, 200);
}

/// Statuses of guesses at sign-ins that do not exist, each said to come from another address.
fn guesses(portero: &Portero, authority: &Authority) -> Vec<u16> {
    let mut secured = authority
        .client()
        .connect(https(portero), PUBLIC_HOST)
        .unwrap();
    let path = format!("/hash-mappings/{}/", "0".repeat(40));
    (1..=40)
        .map(|n| {
            let from = format!("192.0.2.{n}");
            let headers = [
                ("X-Forwarded-For", from.as_str()),
                ("X-Forwarded-Proto", "http"),
                ("Forwarded", "for=192.0.2.1;proto=http"),
            ];
            secured.ask("GET", &path, &headers, b"").status
        })
        .collect()
}

#[test]
fn only_a_proxy_that_is_configured_is_believed_where_a_request_is_from() {
    let world = World::without_mail();
    let authority = serve_files(&world, "");
    let listen = "listen = \"127.0.0.1:0\"\n\n[";
    world.edit(
        listen,
        "listen = \"127.0.0.1:0\"\ntrusted_proxies = []\n\n[",
    );
    let portero = world.start();
    let statuses = guesses(&portero, &authority);
    assert_eq!(
        (statuses[0], statuses[29], statuses[30]),
        (404, 404, 429),
        "{statuses:?}"
    );
    drop(portero);

    world.edit("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1\"]");
    let portero = world.start();
    let statuses = guesses(&portero, &authority);
    assert!(statuses.iter().all(|status| *status == 404), "{statuses:?}");
}

struct Nothing;

impl Handler for Nothing {
    fn body_max_bytes(&self, _: &str, _: &str) -> usize {
        0
    }

    fn handle(&self, _: &rouille::Request) -> rouille::Response {
        rouille::Response::text("here")
    }
}

fn listener(authority: &Authority, limits: Limits) -> Listener {
    let pair = authority.issue(&[PUBLIC_HOST]);
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), &pair);
    let files = portero::tls::Files {
        certificate: folder.path().join("fullchain.pem"),
        key: folder.path().join("privkey.pem"),
    };
    let tls = portero::tls::Tls::open(portero::tls::Source::Files(files)).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let handler = Arc::new(Nothing);
    Listener::bind_tls(any, limits, Trust::default(), handler, tls.server_config()).unwrap()
}

/// Bytes of a first flight that is never finished, one at a time, until the other side has enough.
fn drip(mut socket: &TcpStream) -> Duration {
    let started = Instant::now();
    socket
        .write_all(&[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3])
        .unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    while started.elapsed() < PATIENCE {
        if socket.write_all(&[0]).is_err() || matches!(socket.read(&mut [0; 64]), Ok(0)) {
            return started.elapsed();
        }
    }
    panic!("the handshake may go on for ever");
}

#[test]
fn a_handshake_that_drips_is_cut_at_the_deadline_of_a_head() {
    let limits = Limits {
        head_deadline: Duration::from_millis(300),
        ..Limits::default()
    };
    let listener = listener(&Authority::new(), limits);
    let socket = TcpStream::connect(listener.local_addr()).unwrap();
    assert!(drip(&socket) >= Duration::from_millis(300));
}

#[test]
fn the_deadline_of_the_first_head_runs_from_the_start_of_the_handshake() {
    let limits = Limits {
        head_deadline: Duration::from_millis(1_000),
        ..Limits::default()
    };
    let authority = Authority::new();
    let listener = listener(&authority, limits);
    let started = Instant::now();
    let socket = TcpStream::connect(listener.local_addr()).unwrap();
    // Half of the time passes before the handshake begins.
    std::thread::park_timeout(Duration::from_millis(500));
    let name = ServerName::try_from(PUBLIC_HOST).unwrap();
    let config = Arc::new(authority.client().config);
    let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket);
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        started.elapsed() < Duration::from_millis(1_450),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_crowd_that_never_finishes_its_handshakes_makes_way_for_who_does() {
    let limits = Limits {
        connections_max: 8,
        ..Limits::default()
    };
    let authority = Authority::new();
    let listener = listener(&authority, limits);
    let mut crowd = Vec::new();
    for n in 0..64 {
        let mut socket = TcpStream::connect(listener.local_addr()).unwrap();
        socket.write_all(&[22, 3, 1][..n % 4]).unwrap();
        crowd.push(socket);
    }
    let client = authority.client();
    let mut honest = client.connect(listener.local_addr(), PUBLIC_HOST).unwrap();
    assert_eq!(honest.ask("GET", "/", &[], b"").body, "here");
}

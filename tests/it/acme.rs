//! Certificates from a real authority of the ACME project's own for tests, Pebble, which looks at
//! the program from outside as Let's Encrypt does. Debian's package `pebble` has it.

use crate::outside::{Answer, PUBLIC_HOST, Portero, World, eventually};
use crate::tls::{Authority, Client, https, logged, metric, pem};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const HELP: &str = "The tests need Debian's package pebble; .ci/test installs it.";

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(command: &mut Command) -> Process {
    let child = command.stdin(Stdio::null()).spawn();
    Process(child.unwrap_or_else(|error| panic!("{command:?}: {error}. {HELP}")))
}

/// How the authority is.
struct Wishes {
    /// Of a hundred nonces, those that it refuses although they are good.
    nonces_refused: u32,
    /// Where it looks by TLS; 0 for where the program listens.
    tls_port: u16,
    /// Whether it wants accounts that it knows.
    known_accounts: bool,
}

const USUAL: Wishes = Wishes {
    nonces_refused: 5,
    tls_port: 0,
    known_accounts: false,
};

/// Name and key of an account that it knows.
const ACCOUNT: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);

/// The authority, names that all lead to this machine, and a world in which the program asks it.
struct Pebble {
    world: World,
    /// Who vouches for the authority itself.
    above: Authority,
    authority: Option<Process>,
    _names: Process,
    management: SocketAddr,
    port: u16,
    wishes: Wishes,
}

impl Pebble {
    fn start(wishes: Wishes) -> Pebble {
        let world = World::without_mail();
        let (port, management_port, names_port) = (free_port(), free_port(), free_port());
        let (tls_port, http_port) = (free_port(), free_port());
        let above = Authority::new();
        let pair = above.issue(&["localhost"]);
        fs::write(world.path("pebble.pem"), &pair.chain).unwrap();
        fs::write(world.path("pebble-key.pem"), &pair.key).unwrap();
        fs::write(world.path("pebble-ca.pem"), above.root_pem()).unwrap();
        let looks_at = match wishes.tls_port {
            0 => tls_port,
            other => other,
        };
        let settings = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management_port}"),
            "certificate": world.path("pebble.pem"),
            "privateKey": world.path("pebble-key.pem"),
            "httpPort": http_port,
            "tlsPort": looks_at,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": wishes.known_accounts,
            "externalAccountMACKeys": { ACCOUNT.0: ACCOUNT.1 },
        }});
        fs::write(world.path("pebble.json"), settings.to_string()).unwrap();
        let names = spawn(
            Command::new("pebble-challtestsrv")
                .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
                .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
                .args(["-management", &format!("127.0.0.1:{}", free_port())])
                .args(["-dns01", &format!("127.0.0.1:{names_port}")])
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        world.edit(
            "[whatsapp]\n",
            &format!(
                r#"[tls]
acme = true
acme_terms_agreed = true
acme_email = "admin@espiga.example"
acme_directory = "https://localhost:{port}/dir"
acme_ca_file = "pebble-ca.pem"
listen = "127.0.0.1:{tls_port}"
redirect_listen = "127.0.0.1:{http_port}"

[metrics]
listen = "127.0.0.1:0"

[whatsapp]
"#
            ),
        );
        fs::write(world.path("names"), names_port.to_string()).unwrap();
        let mut pebble = Pebble {
            world,
            above,
            authority: None,
            _names: names,
            management: SocketAddr::from(([127, 0, 0, 1], management_port)),
            port,
            wishes,
        };
        pebble.begin();
        pebble
    }

    /// Starts the authority, which has forgotten everything.
    fn begin(&mut self) {
        let names_port = fs::read_to_string(self.world.path("names")).unwrap();
        let log = fs::File::create(self.world.path("pebble.log")).unwrap();
        let authority = spawn(
            Command::new("pebble")
                .arg("-config")
                .arg(self.world.path("pebble.json"))
                .args(["-dnsserver", &format!("127.0.0.1:{names_port}")])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env(
                    "PEBBLE_WFE_NONCEREJECT",
                    self.wishes.nonces_refused.to_string(),
                )
                .env("PEBBLE_AUTHZREUSE", "0")
                .stdout(log.try_clone().unwrap())
                .stderr(log),
        );
        self.authority = Some(authority);
        let port = self.port;
        eventually("pebble listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    fn end(&mut self) {
        self.authority = None;
    }

    /// How many certificates it has made.
    fn made(&self) -> usize {
        self.log().matches("Issued certificate serial").count()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.path("pebble.log")).unwrap()
    }

    /// A client that trusts what this authority signs.
    fn client(&self) -> Client {
        let mut asked = self
            .above
            .client()
            .connect(self.management, "localhost")
            .unwrap();
        let root = asked.ask("GET", "/roots/0", &[], b"").body;
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
            .unwrap();
        Client::trusting(roots)
    }

    /// What is served to who trusts the authority, once it is.
    fn served(&self, portero: &Portero) -> CertificateDer<'static> {
        let (client, before) = (self.client(), metric(portero, FAILURES));
        eventually("a certificate of the authority's is served", || {
            let failures = metric(portero, FAILURES);
            assert!(failures <= before, "{}\n{}", self.log(), portero.log());
            let secured = client.connect(https(portero), PUBLIC_HOST).ok()?;
            Some(secured.certificate())
        })
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["--config", "portero.toml"], arguments].concat();
        let output = self
            .world
            .command(&arguments)
            .stdout(Stdio::piped())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }
}

const FAILURES: &str = "portero_tls_certificate_failures_in_a_row";
const EXPIRY: &str = "portero_tls_certificate_expiry_timestamp_seconds";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_certificate_comes_by_itself_and_is_still_there_after_a_restart() {
    let pebble = Pebble::start(USUAL);
    let portero = pebble.world.start();
    let first = pebble.served(&portero);
    let mut secured = pebble
        .client()
        .connect(https(&portero), PUBLIC_HOST)
        .unwrap();
    let answer: Answer = secured.ask("GET", "/healthz", &[], b"");
    assert_eq!(answer.status, 200);
    assert!(metric(&portero, EXPIRY) > crate::outside::unix_seconds());
    let (code, said) = pebble.run(&["tls", "show"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("counts until  20") && said.contains("next one      20"),
        "{said}"
    );
    assert!(
        said.contains("an authority") && !said.contains("failed"),
        "{said}"
    );

    let folder = pebble.world.path("acme");
    let inner = folder.join(format!("localhost-{}-dir", pebble.port));
    assert_eq!((mode(&folder), mode(&inner)), (0o700, 0o700));
    for name in ["account.pem", "certificate.pem", "tries"] {
        assert_eq!(mode(&inner.join(name)), 0o600, "{name}");
    }
    let (_, log) = portero.stop();
    assert!(
        log.contains("there is a new certificate; it ends on 20"),
        "{log}"
    );
    assert!(!log.contains("PRIVATE") && !log.contains("admin@"), "{log}");

    let portero = pebble.world.start();
    // At once, without asking: what is kept is served from the first handshake on.
    let secured = pebble
        .client()
        .connect(https(&portero), PUBLIC_HOST)
        .unwrap();
    assert_eq!(secured.certificate(), first);
    assert_eq!(pebble.made(), 1);
    assert!(!portero.log().contains("is asked for"), "{}", portero.log());
}

#[test]
fn a_new_certificate_comes_on_demand_while_connections_go_on_and_not_without_end() {
    let pebble = Pebble::start(Wishes {
        // Of a hundred: a tenth refusal of the same request, which ends a try, is as good as
        // impossible.
        nonces_refused: 30,
        ..USUAL
    });
    let portero = pebble.world.start();
    let mut before = pebble.served(&portero);
    let client = pebble.client();
    let mut open = client.connect(https(&portero), PUBLIC_HOST).unwrap();
    for made in 2..=4 {
        let (code, said) = pebble.run(&["tls", "renew"]);
        assert_eq!(code, Some(0), "{said}");
        before = eventually("another certificate is served", || {
            let secured = client.connect(https(&portero), PUBLIC_HOST).ok()?;
            Some(secured.certificate()).filter(|now| *now != before)
        });
        assert_eq!(pebble.made(), made);
        assert_eq!(open.ask("GET", "/healthz", &[], b"").status, 200);
    }
    let (code, said) = pebble.run(&["tls", "renew"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("as often within an hour as it may be"),
        "{said}"
    );
    // Nor does a restart get around it.
    drop(portero);
    fs::remove_file(pebble.world.path(&format!(
        "acme/localhost-{}-dir/certificate.pem",
        pebble.port
    )))
    .unwrap();
    let portero = pebble.world.start();
    let (_, said) = pebble.run(&["tls", "show"]);
    assert!(said.contains("there is none yet"), "{said}");
    logged(
        &portero,
        "was asked as often within an hour as it may be; next try in ",
    );
    let troubles = portero.get("/readyz").body;
    assert!(
        troubles.contains("there is no certificate for HTTPS"),
        "{troubles}"
    );
    let (code, said) = pebble.run(&["tls", "renew"]);
    assert!(
        code == Some(1) && said.contains("hint: it can be asked again at 20"),
        "{said}"
    );
    assert_eq!(pebble.made(), 4);
    assert!(client.connect(https(&portero), PUBLIC_HOST).is_err());
    assert_eq!(metric(&portero, EXPIRY), 0);
}

#[test]
fn a_port_that_the_authority_cannot_reach_is_named_and_the_other_one_is_used_next() {
    let closed = free_port();
    let pebble = Pebble::start(Wishes {
        tls_port: closed,
        ..USUAL
    });
    let portero = pebble.world.start();
    eventually("the first try has failed", || {
        (metric(&portero, FAILURES) == 1).then_some(())
    });
    let told = format!("could not see that {PUBLIC_HOST} is this server's (");
    logged(&portero, &told);
    logged(&portero, "let port 443 of this machine be reached");
    logged(&portero, "next try in 5 min");
    assert!(
        pebble
            .client()
            .connect(https(&portero), PUBLIC_HOST)
            .is_err()
    );
    let (_, said) = pebble.run(&["tls", "show"]);
    assert!(
        said.contains("there is none yet") && said.contains("failed once"),
        "{said}"
    );
    // All else is answered meanwhile.
    assert_eq!(portero.get("/healthz").status, 200);

    let (code, said) = pebble.run(&["tls", "renew"]);
    assert_eq!(code, Some(0), "{said}");
    pebble.served(&portero);
    assert!(
        pebble.log().contains("Attempting to validate w/ HTTP"),
        "{}",
        pebble.log()
    );
    assert_eq!(metric(&portero, FAILURES), 0);
}

#[test]
fn an_authority_that_is_away_leaves_the_old_certificate_and_does_not_hinder_a_start() {
    let mut pebble = Pebble::start(USUAL);
    let portero = pebble.world.start();
    let first = pebble.served(&portero);
    let client = pebble.client();
    pebble.end();
    let (code, said) = pebble.run(&["tls", "renew"]);
    assert_eq!(code, Some(0), "{said}");
    eventually("the failure is counted", || {
        (metric(&portero, FAILURES) == 1).then_some(())
    });
    logged(&portero, "the authority gives no answer");
    logged(&portero, "the certificate before it is still served");
    let secured = client.connect(https(&portero), PUBLIC_HOST).unwrap();
    assert_eq!(secured.certificate(), first);
    assert_eq!(portero.stop().0, Some(0));

    fs::remove_dir_all(pebble.world.path("acme")).unwrap();
    let portero = pebble.world.start();
    eventually("the failure is counted", || {
        (metric(&portero, FAILURES) == 1).then_some(())
    });
    logged(&portero, "without one HTTPS is not answered");
    pebble.begin();
    let (code, said) = pebble.run(&["tls", "renew"]);
    assert_eq!(code, Some(0), "{said}");
    pebble.served(&portero);
}

#[test]
fn a_name_more_does_not_take_https_from_the_others_while_it_is_asked_for() {
    let mut pebble = Pebble::start(USUAL);
    let portero = pebble.world.start();
    let first = pebble.served(&portero);
    let client = pebble.client();
    assert_eq!(portero.stop().0, Some(0));
    pebble.end();
    pebble.world.edit(
        "acme = true\n",
        "acme = true\nacme_names = [\"other.example\"]\n",
    );
    let portero = pebble.world.start();
    let secured = client.connect(https(&portero), PUBLIC_HOST).unwrap();
    assert_eq!(secured.certificate(), first);
    // The other one is asked for all the same.
    logged(&portero, "the certificate before it is still served");
    pebble.begin();
    let client = pebble.client();
    assert_eq!(pebble.run(&["tls", "renew"]).0, Some(0));
    eventually("the certificate for both is served", || {
        client.connect(https(&portero), "other.example").ok()
    });
}

#[test]
fn an_authority_that_wants_accounts_it_knows_is_told_one() {
    let pebble = Pebble::start(Wishes {
        known_accounts: true,
        ..USUAL
    });
    let portero = pebble.world.start();
    eventually("it was refused", || {
        (metric(&portero, FAILURES) == 1).then_some(())
    });
    logged(&portero, "set tls.acme_account_id and tls.acme_account_key");
    drop(portero);

    pebble.world.secret_file("acme_key", ACCOUNT.1);
    pebble.world.edit(
        "acme = true\n",
        &format!("acme = true\nacme_account_id = \"{}\"\nacme_account_key = \"file:acme_key\"\nacme_names = [\"other.example\"]\n", ACCOUNT.0),
    );
    let portero = pebble.world.start();
    pebble.served(&portero);
    // Both names are in the one certificate, and requests for both are answered.
    let mut secured = pebble
        .client()
        .connect(https(&portero), "other.example")
        .unwrap();
    assert_eq!(secured.ask("GET", "/healthz", &[], b"").status, 200);
}

/// What `portero doctor` says about HTTPS, a line each: the rest of the world is not there.
fn doctor(pebble: &Pebble) -> String {
    let (_, said) = pebble.run(&["doctor"]);
    let about = ["certificate", "port ", "authority"];
    let lines = said.lines().filter(|line| {
        let name = line.get(7..).unwrap_or("").trim_start();
        about.iter().any(|about| name.starts_with(about))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_doctor_says_how_https_stands_before_a_start_and_after() {
    let pebble = Pebble::start(USUAL);
    // The stand-in for Meta knows send calls only.
    let graph = pebble.world.graph.url();
    pebble.world.edit(&graph, "http://127.0.0.1:9");
    let said = doctor(&pebble);
    assert!(
        said.contains("it is free, and may be listened on"),
        "{said}"
    );
    assert!(said.contains("localhost answers"), "{said}");
    let portero = pebble.world.start();
    pebble.served(&portero);
    let said = doctor(&pebble);
    assert!(said.contains("the next one is asked for on 20"), "{said}");
}

/// As a file holds it.
impl Authority {
    fn root_pem(&self) -> String {
        pem("CERTIFICATE", self.root_der())
    }
}

#[test]
fn a_handshake_for_an_authority_is_answered_only_while_it_looks() {
    let pebble = Pebble::start(USUAL);
    let portero = pebble.world.start();
    pebble.served(&portero);
    let mut client = pebble.client();
    client.config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let refused = client.connect(https(&portero), PUBLIC_HOST).map(drop);
    assert!(refused.is_err());
    let plain = crate::tls::told(&portero, "sending whoever comes by http:// on ");
    for token in ["abc", "", "../../metrics"] {
        let path = format!("/.well-known/acme-challenge/{token}");
        let answer = crate::outside::ask(plain, "GET", &path, &[], b"").unwrap();
        assert_eq!(answer.status, 404, "{token}");
    }
}

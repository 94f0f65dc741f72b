//! The recipes of README.md, as they stand, with the real program between Meta and them: bots with
//! pywa, programs that verify who wrote, an agent that acts for the person.

use crate::keys::part;
use crate::outside::{
    ANA, APP_SECRET, Answer, BEA, BOT_ACCESS_TOKEN, BotSaid, PATIENCE, PHONE_NUMBER_ID,
    PUBLIC_HOST, Portero, Reply, Request, SIGNED_IN, Server, VERIFY_TOKEN, WELCOME, World, ask,
    eventually, hmac_sha256, post_webhook, signature, text, unix_seconds, webhook,
};
use crate::python::{StandIn, interpreter};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const ANAS: &str = "573001234567";
const ANAS_USER_ID: &str = "CO.13491208655302741918";
const API_KEY: &str = "agent-key-0123456789abcdef0123456789abcdef";

/// The answer when nobody is signed in there, in the words of the program.
const NEED: &str = "Para eso necesito que entres con tu cuenta de Kutamma.";

// --- what runs ------------------------------------------------------------------------------------

fn recipe(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recipes");
    folder.join(name)
}

/// A port at which nobody listens yet.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

type Environment = Vec<(&'static str, String)>;

fn python(name: &str, environment: &Environment) -> Command {
    let mut command = Command::new(interpreter());
    command
        .arg(recipe(name))
        .env_clear()
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// The recipe in JavaScript in a folder with what it imports: an import looks beside the file, and
/// nowhere else.
struct Node {
    folder: tempfile::TempDir,
}

impl Node {
    fn new(name: &str) -> Node {
        let packages = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node/node_modules");
        assert!(
            packages.join("jose").exists(),
            "{} has no jose; the command under \"Tests\" in README.md installs it",
            packages.display()
        );
        let folder = tempfile::tempdir().unwrap();
        symlink(packages, folder.path().join("node_modules")).unwrap();
        fs::copy(recipe(name), folder.path().join("recipe.mjs")).unwrap();
        Node { folder }
    }

    /// Node comes with Python's packages.
    fn run(&self, environment: &Environment, input: &str) -> Ended {
        let mut command = Command::new(interpreter().with_file_name("node"));
        command
            .arg(self.folder.path().join("recipe.mjs"))
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)));
        Ended::of(command, input)
    }
}

/// How a program ended that reads an identity from its standard input.
#[derive(Debug)]
struct Ended {
    is_good: bool,
    said: String,
    complained: String,
}

impl Ended {
    fn of(mut command: Command, input: &str) -> Ended {
        let mut child = (command.stdin(Stdio::piped()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{input}").unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        Ended {
            is_good: output.status.success(),
            said: String::from_utf8(output.stdout).unwrap().trim().to_owned(),
            complained: String::from_utf8(output.stderr).unwrap().trim().to_owned(),
        }
    }

    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.is_good, "{self:?}");
        serde_json::from_str(&self.said).unwrap()
    }
}

/// A recipe that listens; it ends with this value.
struct Bot {
    child: Child,
    address: SocketAddr,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Bot {
    fn start(name: &str, port: u16, mut environment: Environment) -> Bot {
        environment.push(("PORT", port.to_string()));
        let mut child = python(name, &environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let pipes: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        let readers = pipes.map(|pipe| {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let mut output = output.lock().unwrap();
                    output.push_str(&line);
                    output.push('\n');
                }
            })
        });
        let mut bot = Bot {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            output,
            readers: readers.into(),
        };
        eventually("the bot listens", || {
            if let Some(status) = bot.child.try_wait().unwrap() {
                panic!("{name} ended with {status}: {}", bot.output());
            }
            TcpStream::connect(bot.address).ok()
        });
        bot
    }

    fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Posts a message's body with this header as its identity.
    fn post(&self, body: &[u8], identity: Option<&str>) -> u16 {
        let headers: Vec<(&str, &str)> = (identity.iter())
            .map(|identity| ("Portero-Identity", *identity))
            .collect();
        post(self.address, &headers, body)
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- what the bot said ---\n{}", self.output());
        }
    }
}

/// The status of an answer of Python's own server, which need not keep the connection.
fn post(address: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = format!(
        "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream
        .write_all(&[head.as_bytes(), b"\r\n", body].concat())
        .unwrap();
    let mut first = String::new();
    BufReader::new(stream).read_line(&mut first).unwrap();
    first.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The world in front of whatever listens at a port.
struct Setting {
    world: World,
    /// Where people and programs find Portero, and who signs.
    portero_url: String,
    bot_port: u16,
}

impl Setting {
    fn new(gate: &str, bot_port: u16) -> Setting {
        let world = World::with_mail(json!({}));
        // The address has to be known before, as everywhere outside of tests.
        let portero_url = format!("http://127.0.0.1:{}", free_port());
        let listen = portero_url.trim_start_matches("http://");
        world.edit(
            &format!("public_url = \"https://{PUBLIC_HOST}/\"\nlisten = \"127.0.0.1:0\""),
            &format!(
                "public_url = \"{portero_url}\"\nlisten = \"{listen}\"\nhosts = [\"{PUBLIC_HOST}\"]"
            ),
        );
        world.edit(
            "[store]\n",
            &format!(
                "[bot]\nurl = \"http://127.0.0.1:{bot_port}/webhook\"\ngate = \"{gate}\"\n\n[store]\n"
            ),
        );
        world.edit("name = \"kutamma\"", "name = \"erp\"");
        world.edit(
            "[[services]]",
            "[[api_keys]]\nname = \"agent\"\nkey = \"file:agent_key\"\nscopes = [\"tokens\", \"challenges\"]\n\
             services = [\"erp\", \"directory\"]\n\n[directory]\nenabled = true\n\n[[services]]",
        );
        world.secret_file("agent_key", API_KEY);
        Setting {
            world,
            portero_url,
            bot_port,
        }
    }

    /// Somebody of the service signs in, in the chat.
    fn sign_in(&mut self, portero: &Portero, email: &str) {
        write(portero, email);
        let code = self.world.mail().letter_to(email).code();
        write(portero, &code);
        eventually("somebody is signed in", || {
            let replies = self.world.graph.sent_to(ANAS);
            (replies.iter())
                .any(|reply| reply.body.starts_with(SIGNED_IN))
                .then_some(())
        });
    }

    fn bot_said(&self, count: usize) -> Vec<BotSaid> {
        eventually("the bot answered", || {
            Some(self.world.graph.bot_said()).filter(|said| said.len() >= count)
        })
    }

    /// What a recipe needs to know of Portero and of the service.
    fn environment(&self) -> Environment {
        vec![
            ("PORTERO_URL", self.portero_url.clone()),
            ("PORTERO_API_KEY", API_KEY.to_owned()),
            ("ERP_URL", self.world.kutamma.url()),
        ]
    }
}

/// A message as Meta sends it in 2026.
fn body_of(words: &str) -> Vec<u8> {
    webhook(&[text(ANAS, words).of_user(ANAS_USER_ID)])
}

fn write(portero: &Portero, words: &str) {
    assert_eq!(portero.post_webhook(&body_of(words)).status, 200);
}

/// The way to Meta, and what a bot with pywa is told on the way to its first line.
fn pywa(world: &World) -> (StandIn, Environment) {
    let tunnel = StandIn::start("graph_api_tunnel.py", &json!({"to": world.graph.port()}));
    let authority = world.path("graph-ca.pem");
    fs::write(&authority, &tunnel.ca_pem).unwrap();
    let environment = vec![
        ("PHONE_ID", PHONE_NUMBER_ID.to_owned()),
        ("WHATSAPP_TOKEN", BOT_ACCESS_TOKEN.to_owned()),
        ("APP_SECRET", APP_SECRET.to_owned()),
        ("VERIFY_TOKEN", VERIFY_TOKEN.to_owned()),
        ("HTTPS_PROXY", format!("http://127.0.0.1:{}", tunnel.port)),
        ("SSL_CERT_FILE", authority.to_string_lossy().into_owned()),
    ];
    (tunnel, environment)
}

/// What a bot with pywa sends: it answers people by the name that WhatsApp gave them.
fn said(body: &str) -> BotSaid {
    BotSaid {
        to: ANAS_USER_ID.to_owned(),
        body: body.to_owned(),
    }
}

/// A bot that takes everything, and the identities it got.
struct Recorder {
    server: Server,
    came: Arc<Mutex<Vec<Request>>>,
}

impl Recorder {
    fn start() -> Recorder {
        let came = Arc::new(Mutex::new(Vec::new()));
        let writing = Arc::clone(&came);
        let server = Server::start(move |request| {
            writing.lock().unwrap().push(request.clone());
            Reply::Json(200, json!({}))
        });
        Recorder { server, came }
    }

    /// The message with these words, and its identity.
    fn got(&self, words: &str) -> (Vec<u8>, String) {
        eventually("the bot got it", || {
            let came = self.came.lock().unwrap();
            let request = (came.iter())
                .find(|request| String::from_utf8_lossy(&request.body).contains(words))?;
            let identity = request.header("portero-identity").expect("an identity");
            Some((request.body.clone(), identity.to_owned()))
        })
    }
}

// --- bots with pywa -------------------------------------------------------------------------------

#[test]
fn a_bot_with_pywa_works_behind_portero_as_it_does_behind_meta() {
    let mut setting = Setting::new("everyone", free_port());
    let (tunnel, environment) = pywa(&setting.world);
    let bot = Bot::start("bot_with_pywa.py", setting.bot_port, environment);

    // As it was before: Meta calls the bot itself.
    let answer = post_webhook(bot.address, &body_of("hello from Meta")).unwrap();
    assert_eq!(answer.status, 200);
    setting.bot_said(1);
    let call = tunnel.next("call");
    assert_eq!(call["host"], "graph.facebook.com");

    // And now Portero is in between. The first message is the bot's once it is known whose it is.
    let portero = setting.world.start();
    write(&portero, "¿Cuánto debo?");
    let welcome = setting.world.graph.reply(ANAS, 1);
    assert!(welcome.body.starts_with(WELCOME));
    setting.sign_in(&portero, ANA.email);
    setting.bot_said(2);
    write(&portero, "gracias 🙂");
    let everything = setting.bot_said(3);
    assert_eq!(
        everything,
        [
            said("You wrote: hello from Meta"),
            said("You wrote: ¿Cuánto debo?"),
            said("You wrote: gracias 🙂"),
        ],
        "an address or a code reached the bot, or a message was lost"
    );
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
}

#[test]
fn a_bot_with_pywa_hears_strangers_on_request() {
    let setting = Setting::new("on_request", free_port());
    let (_tunnel, environment) = pywa(&setting.world);
    let _bot = Bot::start("bot_with_pywa.py", setting.bot_port, environment);
    let portero = setting.world.start();
    write(&portero, "hola");
    assert_eq!(setting.bot_said(1), [said("You wrote: hola")]);
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(setting.world.graph.count(), 0, "nobody asked for a sign-in");
}

/// pywa reads the first message of a body alone; Portero sends it each by itself.
#[test]
fn a_bot_with_pywa_checks_who_signed_and_takes_what_portero_cut_out_of_a_batch() {
    let setting = Setting::new("on_request", free_port());
    let (_tunnel, environment) = pywa(&setting.world);
    let bot = Bot::start("bot_with_pywa.py", setting.bot_port, environment);
    let portero = setting.world.start();
    let forged = body_of("forged");
    let forged_signature = signature("another secret", &forged);
    let headers = [("X-Hub-Signature-256", forged_signature.as_str())];
    assert_eq!(post(bot.address, &headers, &forged), 403);
    portero.receive(&[
        text(ANAS, "one").of_user(ANAS_USER_ID),
        text(ANAS, "two").of_user(ANAS_USER_ID),
    ]);
    assert_eq!(
        setting.bot_said(2),
        [said("You wrote: one"), said("You wrote: two")]
    );
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
}

#[test]
fn with_three_lines_more_a_bot_with_pywa_knows_who_is_writing_and_acts_for_them() {
    let mut setting = Setting::new("everyone", free_port());
    let (_tunnel, mut environment) = pywa(&setting.world);
    environment.extend(setting.environment());
    let _bot = Bot::start("bot_with_pywa_acting.py", setting.bot_port, environment);
    let portero = setting.world.start();
    write(&portero, "mis pedidos");
    setting.world.graph.reply(ANAS, 1);
    setting.sign_in(&portero, BEA.email);
    // Bea is the second user of the service, and has two orders there.
    let answer = "Bea Gómez, you have 2 orders.";
    assert_eq!(setting.bot_said(1), [said(answer)]);
    write(&portero, "¿y ahora?");
    assert_eq!(setting.bot_said(2), [said(answer), said(answer)]);
    assert_eq!(setting.world.kutamma.told(), [200, 200]);
    assert_eq!(setting.world.kutamma.issued(), 1, "the token was held");
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
    assert!(!log.contains("-token-"), "a token is in the log");
}

#[test]
fn on_request_the_acting_bot_says_what_is_needed_and_portero_asks_for_it() {
    let mut setting = Setting::new("on_request", free_port());
    let (_tunnel, mut environment) = pywa(&setting.world);
    environment.extend(setting.environment());
    let _bot = Bot::start("bot_with_pywa_acting.py", setting.bot_port, environment);
    let portero = setting.world.start();
    write(&portero, "hola, mis pedidos");
    assert_eq!(setting.bot_said(1), [said(NEED)]);
    assert_eq!(setting.world.kutamma.issued(), 0);
    // What the bot asked for: Portero's own question, in the same chat.
    setting.world.graph.reply(ANAS, 1);
    setting.sign_in(&portero, ANA.email);
    write(&portero, "hola, mis pedidos");
    let everything = setting.bot_said(2);
    assert_eq!(
        everything,
        [said(NEED), said("Ana Pérez, you have 1 orders.")]
    );
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
}

/// What is rare: an identity so long that names were left out, and a service that is down.
#[test]
fn the_acting_bot_has_an_answer_where_there_is_no_name_and_where_there_is_no_token() {
    let world = World::without_mail();
    let (_tunnel, mut environment) = pywa(&world);
    let signer = Signer::new("key-1");
    let jwks = signer.jwks();
    let troubles = Arc::new(Mutex::new(vec![503]));
    let portero = Server::start(move |request| match request.path.as_str() {
        "/.well-known/jwks.json" => Reply::Json(200, jwks.clone()),
        "/v1/tokens" => match troubles.lock().unwrap().pop() {
            Some(status) => Reply::Json(
                status,
                json!({"error": {"key": "SERVICE_UNAVAILABLE", "message": "Later", "details": {}}}),
            ),
            None => Reply::Json(200, json!({"token": "t", "tokenType": "Bearer"})),
        },
        "/orders" => Reply::Json(200, json!([{"id": 1}, {"id": 2}])),
        _ => Reply::Json(404, json!({})),
    });
    environment.extend([
        ("PORTERO_URL", portero.url()),
        ("PORTERO_API_KEY", API_KEY.to_owned()),
        ("ERP_URL", portero.url()),
    ]);
    let bot = Bot::start("bot_with_pywa_acting.py", free_port(), environment);
    for _ in 0..2 {
        let body = body_of("mis pedidos");
        let identity = signer.sign(&claims(&portero.url(), &message_id(&body)), &json!({}));
        let signed = signature(APP_SECRET, &body);
        let headers = [
            ("X-Hub-Signature-256", signed.as_str()),
            ("Portero-Identity", identity.as_str()),
        ];
        assert_eq!(post(bot.address, &headers, &body), 200);
    }
    let both = [
        said("That does not work at the moment."),
        said("Hello, you have 2 orders."),
    ];
    assert_eq!(world.graph.bot_said(), both);
}

// --- who is writing ---------------------------------------------------------------------------------

/// A key that signs as Portero does, and the server that publishes it.
struct Signer {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Signer {
    fn new(kid: &'static str) -> Signer {
        Signer {
            pair: Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap(),
            kid,
        }
    }

    fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
            "kid": self.kid, "x": x}]})
    }

    fn publish(&self) -> Server {
        let jwks = self.jwks();
        Server::start(move |request| match request.path.as_str() {
            "/.well-known/jwks.json" => Reply::Json(200, jwks.clone()),
            _ => Reply::Json(404, json!({})),
        })
    }

    /// A JWT with these claims, and `changes` to its header.
    fn sign(&self, claims: &Value, changes: &Value) -> String {
        let mut header = json!({"alg": "EdDSA", "kid": self.kid, "typ": "portero-identity+jwt"});
        for (name, value) in changes.as_object().unwrap() {
            header[name] = value.clone();
        }
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(&header), encoded(claims));
        let signature = match header["alg"].as_str() {
            Some("none") => Vec::new(),
            // The public key taken for a shared secret.
            Some("HS256") => hmac_sha256(self.pair.public_key().as_ref(), signed.as_bytes()),
            _ => self.pair.sign(signed.as_bytes()).as_ref().to_vec(),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Good claims of an identity of the message.
fn claims(issuer: &str, message: &Value) -> Value {
    let now = unix_seconds();
    json!({"iss": issuer, "aud": "bot", "sub": "5f0c3a9d-7e1b-48c2-a6d4-f8e0b1c3d5e7",
        "jti": message, "iat": now, "exp": now + 300, "scopes": ["full"],
        "contact": {"userUuid": "5f0c3a9d-7e1b-48c2-a6d4-f8e0b1c3d5e7", "language": "es"},
        // Without names, as when there are many.
        "bindings": [{"service": "erp", "account": {"id": "7"}, "company": {"id": "1"},
            "proof": "mail_code", "provedAt": "2026-11-25T12:00:00Z", "scope": "full"}]})
}

fn message_id(body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["entry"][0]["changes"][0]["value"]["messages"][0]["id"].clone()
}

/// Everything that is almost an identity: what is wrong with it, and the token.
fn defects(signer: &Signer, good: &Value) -> Vec<(&'static str, String)> {
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signer.sign(&claims, &json!({}))
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        signer.sign(&claims, &json!({}))
    };
    let header = |changes: Value| signer.sign(good, &changes);
    let stranger = Signer {
        pair: Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap(),
        kid: signer.kid,
    };
    let good_one = signer.sign(good, &json!({}));
    let (signed, signature) = good_one.rsplit_once('.').unwrap();
    let other_claims = with("sub", json!("somebody else"));
    let (other_signed, _) = other_claims.rsplit_once('.').unwrap();
    assert_ne!(signed, other_signed);
    vec![
        // The clocks may differ by a minute.
        ("expired", with("exp", json!(unix_seconds() - 100))),
        ("without an end", without("exp")),
        ("for somebody else", with("aud", json!("directory"))),
        ("by somebody else", with("iss", json!("http://127.0.0.1:1"))),
        ("about nobody", without("sub")),
        ("of no message", without("jti")),
        ("signed by a stranger", stranger.sign(good, &json!({}))),
        ("of another key", header(json!({"kid": "another"}))),
        ("of another type", header(json!({"typ": "JWT"}))),
        ("not signed", header(json!({"alg": "none"}))),
        (
            "signed with the public key",
            header(json!({"alg": "HS256"})),
        ),
        ("changed", format!("{other_signed}.{signature}")),
        ("no token", "no token".to_owned()),
    ]
}

#[test]
fn a_bot_that_reads_the_identity_knows_who_is_writing_and_believes_nobody_else() {
    let setting = &mut Setting::new("on_request", free_port());
    let bot = Bot::start(
        "bot_with_identity.py",
        setting.bot_port,
        setting.environment(),
    );
    let portero = setting.world.start();
    let knows = |what: &str| {
        eventually("the bot knows who is writing", || {
            let output = bot.output();
            let line = output.lines().find(|line| line.ends_with(what))?;
            Some(line.split(' ').next().unwrap().to_owned())
        })
    };
    write(&portero, "hola");
    let before = knows(" is nobody we know");
    // In a group nobody is anybody, and the bot takes it.
    let mut in_group = text(ANAS, "a todos").of_user(ANAS_USER_ID);
    in_group.value["group_id"] = json!("g1");
    portero.receive(&[in_group]);
    portero.stop();
    setting.world.edit("\"on_request\"", "\"everyone\"");
    let portero = setting.world.start();
    write(&portero, "hola");
    setting.world.graph.reply(ANAS, 1);
    setting.sign_in(&portero, BEA.email);
    let after = knows(" is 2 in erp, 1 in woku");
    assert_eq!(before, after, "the same chat has one name");

    // Somebody who is no Portero, with its address and the name of its key.
    let jwks = portero.get("/.well-known/jwks.json").json();
    let kid = jwks["keys"][0]["kid"].as_str().unwrap().to_owned();
    let body = body_of("una mentira");
    let good = claims(&setting.portero_url, &message_id(&body));
    let forged = Signer::new("mine").sign(&good, &json!({ "kid": kid }));
    assert_eq!(bot.post(&body, Some(&forged)), 401);
    let (_, log) = portero.stop();
    assert!(
        !log.contains("the bot answered"),
        "the bot did not want something: {log}"
    );
}

#[test]
fn a_bot_that_reads_the_identity_refuses_everything_that_is_almost_one() {
    let signer = Signer::new("key-1");
    let jwks = signer.publish();
    let environment = vec![("PORTERO_URL", jwks.url())];
    let bot = Bot::start("bot_with_identity.py", free_port(), environment);
    let body = body_of("hola");
    let good = claims(&jwks.url(), &message_id(&body));
    for (what, token) in defects(&signer, &good) {
        assert_eq!(bot.post(&body, Some(&token)), 401, "{what}");
    }
    let token = signer.sign(&good, &json!({}));
    assert_eq!(
        bot.post(&body_of("another"), Some(&token)),
        401,
        "it came with another message"
    );
    assert_eq!(bot.output(), "", "somebody was believed");
    for malformed in ["", "{", "[]", "7", "{\"entry\":[]}", "\u{feff}null"] {
        assert_eq!(
            bot.post(malformed.as_bytes(), Some(&token)),
            400,
            "{malformed}"
        );
    }
    // A minute is given for clocks that differ, and a message without an identity is nobody's.
    let mut late = good.clone();
    late["exp"] = json!(unix_seconds() - 10);
    assert_eq!(
        bot.post(&body, Some(&signer.sign(&late, &json!({})))),
        200,
        "late"
    );
    assert_eq!(bot.post(&body, None), 200);
    assert_eq!(bot.post(&body, Some(&token)), 200);
    let lines = eventually("the bot said who it was", || {
        Some(bot.output()).filter(|output| output.lines().count() >= 2)
    });
    let line = "5f0c3a9d-7e1b-48c2-a6d4-f8e0b1c3d5e7 is 7 in erp\n";
    assert_eq!(lines, line.repeat(2));
}

#[test]
fn a_bot_that_cannot_get_the_keys_asks_for_the_message_again() {
    let signer = Signer::new("key-1");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let environment = vec![("PORTERO_URL", nobody.clone())];
    let bot = Bot::start("bot_with_identity.py", free_port(), environment);
    let body = body_of("hola");
    let token = signer.sign(&claims(&nobody, &message_id(&body)), &json!({}));
    assert_eq!(bot.post(&body, Some(&token)), 503);
}

/// An identity of the real program, and the program, which still runs.
fn identity_of(setting: &mut Setting, recorder: &Recorder, email: &str) -> (Portero, String) {
    let portero = setting.world.start();
    write(&portero, "mis pedidos, por favor");
    setting.world.graph.reply(ANAS, 1);
    setting.sign_in(&portero, email);
    let (_, identity) = recorder.got("mis pedidos, por favor");
    (portero, identity)
}

#[test]
fn in_javascript_an_identity_is_verified_with_jose() {
    let recorder = Recorder::start();
    let mut setting = Setting::new("everyone", recorder.server.port);
    let (portero, identity) = identity_of(&mut setting, &recorder, ANA.email);
    let node = Node::new("verify_identity.mjs");
    let verify = |environment: &Environment, identity: &str| node.run(environment, identity);
    let claims_said = verify(&setting.environment(), &identity).json();
    let (body, _) = recorder.got("mis pedidos, por favor");
    assert_eq!(claims_said["jti"], message_id(&body));
    assert_eq!(claims_said["iss"], setting.portero_url.as_str());
    assert_eq!(claims_said["bindings"][0]["account"]["name"], ANA.name);
    assert_eq!(claims_said["contact"]["numberEnding"], "67");
    let (head, _) = identity.rsplit_once('.').unwrap();
    let refused = verify(
        &setting.environment(),
        &format!("{head}.{}", "A".repeat(86)),
    );
    assert_eq!(
        (refused.is_good, refused.complained.as_str()),
        (false, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED")
    );
    assert_eq!(portero.stop().0, Some(0));

    let signer = Signer::new("key-1");
    let jwks = signer.publish();
    let environment = vec![("PORTERO_URL", jwks.url())];
    let good = claims(&jwks.url(), &json!("wamid.1"));
    let accepted = verify(&environment, &signer.sign(&good, &json!({})));
    assert_eq!(accepted.json(), good);
    let mut late = good.clone();
    late["exp"] = json!(unix_seconds() - 10);
    assert_eq!(
        verify(&environment, &signer.sign(&late, &json!({}))).json(),
        late
    );
    for (what, token) in defects(&signer, &good) {
        let refused = verify(&environment, &token);
        assert!(!refused.is_good, "{what}: {refused:?}");
        assert!(refused.said.is_empty(), "{what}: {refused:?}");
        let code = &refused.complained;
        assert!(code.starts_with("ERR_J"), "{what}: {refused:?}");
    }
}

// --- an agent ---------------------------------------------------------------------------------------

fn tokens(portero: &Portero, body: &Value) -> Answer {
    portero.post_json(API_KEY, "/v1/tokens", body)
}

fn error_of(answer: &Answer) -> (u16, String) {
    let key = answer.json()["error"]["key"].as_str().unwrap().to_owned();
    (answer.status, key)
}

#[test]
fn an_agent_acts_for_the_person_whose_message_it_works_on_and_for_nobody_else() {
    let recorder = Recorder::start();
    let mut setting = Setting::new("everyone", recorder.server.port);
    let add = ["user", "add", BEA.email, "--name", BEA.name, "--company"];
    let more = ["Inpla", "--no-password", "--config", "portero.toml"];
    let added = (setting.world)
        .command(&[&add[..], &more].concat())
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    let (portero, identity) = identity_of(&mut setting, &recorder, BEA.email);
    let environment = setting.environment();
    let agent = |identity: &str| Ended::of(python("agent_with_token.py", &environment), identity);
    let orders = agent(&identity).json();
    assert_eq!(
        orders,
        json!([{"id": 1, "customer": BEA.name}, {"id": 2, "customer": BEA.name}])
    );
    assert_eq!(setting.world.kutamma.told(), [200]);

    // The service knows its own tokens, so the answer above was earned.
    let orders_for = |bearer: &str| {
        let address = setting.world.kutamma.url();
        let address: SocketAddr = address.trim_start_matches("http://").parse().unwrap();
        let bearer = format!("Bearer {bearer}");
        let headers = [("Authorization", bearer.as_str())];
        ask(address, "GET", "/orders", &headers, b"")
            .unwrap()
            .status
    };
    assert_eq!(orders_for("Inpla-token-2"), 401);
    assert_eq!(orders_for(&identity), 401);

    // Signed by the same key, and something else: a token of the directory.
    let answer = tokens(
        &portero,
        &json!({"identity": identity, "service": "directory"}),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    let directory_token = answer.json()["token"].as_str().unwrap().to_owned();
    let refused = tokens(
        &portero,
        &json!({"identity": directory_token, "service": "erp"}),
    );
    assert_eq!(error_of(&refused), (401, "IDENTITY_INVALID".to_owned()));
    assert!(!agent(&directory_token).is_good);

    // Nobody is named by a number, or by anything else that was not signed.
    for name in [ANAS, "+573001234567", ANAS_USER_ID] {
        let refused = tokens(&portero, &json!({"identity": name, "service": "erp"}));
        assert_eq!(error_of(&refused), (401, "IDENTITY_INVALID".to_owned()));
        let refused = tokens(&portero, &json!({"contact": name, "service": "erp"}));
        assert_eq!(error_of(&refused), (400, "BODY_INVALID".to_owned()));
        let refused = tokens(&portero, &json!({"number": name, "service": "erp"}));
        assert_eq!(error_of(&refused), (400, "BODY_INVALID".to_owned()));
    }
    let contact = user_uuid_of(&identity);
    let refused = tokens(&portero, &json!({"contact": contact, "service": "erp"}));
    assert_eq!(error_of(&refused), (403, "SCOPE_MISSING".to_owned()));
    let refused = tokens(&portero, &json!({"identity": identity, "service": "woku"}));
    assert_eq!(error_of(&refused), (403, "SERVICE_NOT_ALLOWED".to_owned()));

    // The person leaves: the same identity is still true, and worth nothing.
    write(&portero, "cerrar sesión");
    eventually("the person has left", || {
        let answer = tokens(&portero, &json!({"identity": identity, "service": "erp"}));
        (answer.json()["need"] == "sign_in").then_some(())
    });
    let ended = agent(&identity);
    assert_eq!((ended.is_good, ended.said.as_str()), (true, NEED));
    assert_eq!(setting.world.kutamma.issued(), 1);
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
    for secret in [&identity, &directory_token, "Inpla-token-1", API_KEY] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

/// The `userUuid` of an identity.
fn user_uuid_of(identity: &str) -> Value {
    part(identity, 1)["sub"].clone()
}

// --- the README -------------------------------------------------------------------------------------

/// The section of README.md that the recipes are in.
fn section() -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let (_, rest) = readme.split_once("\n## In front of your bot\n").unwrap();
    let (section, _) = rest.split_once("\n## ").unwrap();
    section.to_owned()
}

/// The blocks of these languages, each with the text before it.
fn blocks<'s>(section: &'s str, languages: &[&str]) -> Vec<(&'s str, &'s str)> {
    let mut found = Vec::new();
    let mut parts = section.split("```");
    // The text before each fence, and what is between it and the next one.
    let mut before = 0;
    while let (Some(text), Some(block)) = (parts.next(), parts.next()) {
        let (language, code) = block.split_once('\n').unwrap();
        let start = before + text.len();
        if languages.contains(&language) {
            found.push((&section[..start], code));
        }
        before = start + block.len() + 2 * "```".len();
    }
    found
}

#[test]
fn what_the_readme_shows_of_a_recipe_is_in_the_file_that_it_names() {
    let section = section();
    let mut shown = Vec::new();
    for (before, code) in blocks(&section, &["python", "js", "sh"]) {
        let (_, named) = before.rsplit_once("(tests/it/recipes/").unwrap();
        let (name, _) = named.split_once(')').unwrap();
        let file = fs::read_to_string(recipe(name)).unwrap();
        assert!(
            file.contains(&format!("\n{code}")),
            "{name} has no such lines:\n{code}"
        );
        shown.push(name);
    }
    let all = section.matches("```").count() / 2;
    let configuration = blocks(&section, &["toml"]).len();
    assert_eq!(
        shown.len() + configuration,
        all,
        "a block in another language"
    );
    shown.dedup();
    let mut files: Vec<String> = (fs::read_dir(recipe("")).unwrap())
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != "__pycache__")
        .collect();
    files.sort();
    shown.sort_unstable();
    assert_eq!(
        shown, files,
        "each recipe is shown, and nothing else is there"
    );
}

#[test]
fn the_acting_bot_is_the_other_one_with_three_lines_more_in_its_handler() {
    let read = |name: &str| fs::read_to_string(recipe(name)).unwrap();
    let plain = read("bot_with_pywa.py");
    let acting = read("bot_with_pywa_acting.py");
    let parts = |file: &str| {
        let (top, rest) = file.split_once("@wa.on_message").unwrap();
        let (handler, end) = rest.split_once("\n\n\nif __name__").unwrap();
        (top.to_owned(), handler.to_owned(), end.to_owned())
    };
    let ((plain_top, plain_handler, plain_end), (top, handler, end)) =
        (parts(&plain), parts(&acting));
    assert_eq!(plain_end, end);
    // Above it everything stays; what Portero needs comes to it.
    let mut lines = top.lines();
    for line in plain_top.lines().skip(1) {
        let is_there = match line {
            "from flask import Flask" => {
                lines.any(|other| other == "from flask import Flask, request")
            }
            line => lines.any(|other| other == line),
        };
        assert!(is_there, "{line} is gone or moved");
    }
    // In it three lines, and then what the bot does with them.
    let (plain_head, plain_work) = plain_handler.split_once(":\n    ").unwrap();
    assert_eq!(plain_work.lines().count(), 1);
    let (head, _) = handler.split_once(":\n    ").unwrap();
    assert_eq!(head, plain_head);
    let (more, _) = handler.split_once("\n\n").unwrap();
    let more: Vec<&str> = more.lines().skip(2).collect();
    assert_eq!(more.len(), 3, "{more:#?}");
    let more = format!("{}\n", more.join("\n"));
    let section = section();
    let is_shown = (blocks(&section, &["python"]).iter()).any(|(_, code)| *code == more);
    assert!(is_shown, "the README does not show these three lines");
}

#[test]
fn the_configuration_that_the_readme_shows_for_a_bot_is_good() {
    let world = World::without_mail();
    world.edit("name = \"kutamma\"", "name = \"erp\"");
    let section = section();
    let shown = blocks(&section, &["toml"]);
    assert_eq!(shown.len(), 3);
    let tables: Vec<&str> = shown.iter().map(|(_, table)| *table).collect();
    world.edit("[store]\n", &format!("{}\n[store]\n", tables.join("\n")));
    let secret = format!(
        "whsec_{}",
        base64::engine::general_purpose::STANDARD.encode([7; 32])
    );
    let checked = (world.command(&["check", "--config", "portero.toml"]))
        .env("PORTERO_AGENT_KEY", API_KEY)
        .env("PORTERO_EVENTS_SECRET", secret)
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:#?}");
}

//! `portero doctor` from outside: the real program, and around it a world in which one thing after
//! another is wrong. Each fault is named, with what to do, and nothing is told that should not be
//! pasted where others read it.

use crate::outside::{
    ACCESS_TOKEN, ANA, APP_SECRET, OLD_APP_SECRET, PHONE_NUMBER_ID, Portero, Reply, Request,
    STORE_KEY, Server, ServiceMood, VERIFY_TOKEN, World, unix_seconds,
};
use crate::python::{StandIn, interpreter};
use crate::smtp_sink;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const ACCOUNT: &str = "419561257915477";
const APP: &str = "634974688087057";
const NUMBER: &str = "15550783881";

/// Among the answers: a change is taken, and not to be seen yet.
const SLOW: &str = "slow";

// --- Meta, as it answers questions about itself --------------------------------------------------

/// Answers by what is asked, and takes the two changes.
struct Meta {
    server: Server,
    /// Status and body by path without version and query.
    answers: Arc<Mutex<HashMap<String, (u16, Value)>>>,
    /// How far its clock is from ours, in seconds.
    ahead: Arc<Mutex<i64>>,
}

impl Meta {
    fn start() -> Meta {
        let answers = Arc::new(Mutex::new(HashMap::new()));
        let ahead = Arc::new(Mutex::new(0));
        let (answering, clock) = (Arc::clone(&answers), Arc::clone(&ahead));
        let server = Server::start(move |request| {
            let (status, body) = answer(&mut answering.lock().unwrap(), request);
            Reply::Dated(status, body, date(*clock.lock().unwrap()))
        });
        let meta = Meta {
            server,
            answers,
            ahead,
        };
        meta.be_well("http://127.0.0.1:9");
        meta
    }

    /// Everything as it should be, for a Portero at this address.
    fn be_well(&self, public_url: &str) {
        let callback = format!("{public_url}/webhook");
        let entity =
            |kind, id| json!({"entity_type": kind, "id": id, "can_send_message": "AVAILABLE"});
        let good = [
            (
                "debug_token",
                json!({"data": {"app_id": APP, "type": "SYSTEM_USER", "expires_at": 0, "is_valid": true,
                    "scopes": ["whatsapp_business_management", "whatsapp_business_messaging"],
                    "granular_scopes": [{"scope": "whatsapp_business_management", "target_ids": [ACCOUNT]}]}}),
            ),
            (
                PHONE_NUMBER_ID,
                json!({"id": PHONE_NUMBER_ID, "status": "CONNECTED", "display_phone_number": "+1 555-078-3881",
                    "quality_rating": "GREEN", "platform_type": "CLOUD_API", "account_mode": "LIVE",
                    "webhook_configuration": {"application": callback},
                    // Nobody can call it, which Meta tells in the same place.
                    "health_status": {"can_send_message": "BLOCKED", "entities": [
                        {"entity_type": "PHONE_NUMBER", "id": PHONE_NUMBER_ID,
                            "can_send_message": "AVAILABLE", "can_receive_call_sip": "BLOCKED",
                            "errors": [{"error_code": 138024, "error_description": "SIP is not enabled"}]},
                        entity("WABA", ACCOUNT),
                        entity("BUSINESS", "506914307656634"), entity("APP", APP)]}}),
            ),
            ("phone_numbers", json!({"data": [{"id": PHONE_NUMBER_ID}]})),
            (
                "subscribed_apps",
                json!({"data": [{"whatsapp_business_api_data": {"id": APP, "name": "La Espiga"}}]}),
            ),
            (
                "subscriptions",
                json!({"data": [{"object": "whatsapp_business_account", "active": true,
                    "callback_url": callback, "fields": [{"name": "messages", "version": "v25.0"}]}]}),
            ),
            (
                "settings",
                json!({"user_identity_change": {"enable_identity_key_check": true}}),
            ),
        ];
        *self.answers.lock().unwrap() = good
            .into_iter()
            .map(|(path, body)| (path.to_owned(), (200, body)))
            .collect();
        *self.ahead.lock().unwrap() = 0;
    }

    fn say(&self, path: &str, body: Value) {
        let status = if body["error"].is_object() { 400 } else { 200 };
        let answers = &mut *self.answers.lock().unwrap();
        answers.insert(path.to_owned(), (status, body)).unwrap();
    }

    /// One member of an answer.
    fn change(&self, path: &str, pointer: &str, value: Value) {
        let answers = &mut *self.answers.lock().unwrap();
        let (_, body) = answers.get_mut(path).unwrap();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
    }
}

fn error(code: u32, message: &str) -> Value {
    json!({"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "AbC"}})
}

fn answer(answers: &mut HashMap<String, (u16, Value)>, request: &Request) -> (u16, Value) {
    let path = request.path.strip_prefix("/v25.0/").unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (node, edge) = path.split_once('/').unwrap_or((path, ""));
    let token = (request.header("authorization"))
        .and_then(|header| header.strip_prefix("Bearer "))
        .unwrap_or_default();
    let key = if edge.is_empty() { node } else { edge };
    if key == "subscriptions" {
        if token != format!("{APP}|{APP_SECRET}") && token != format!("{APP}|{OLD_APP_SECRET}") {
            return (400, error(190, "Invalid OAuth access token signature."));
        }
        assert_eq!(node, APP);
    } else if token != ACCESS_TOKEN {
        return (401, error(190, "Invalid OAuth access token."));
    }
    if request.method == "POST" {
        return change(answers, node, edge, request);
    }
    if key == "debug_token" {
        assert_eq!(query, format!("input_token={ACCESS_TOKEN}"));
    }
    match answers.get(key) {
        Some(known) if edge != "phone_numbers" && edge != "subscribed_apps" || node == ACCOUNT => {
            known.clone()
        }
        _ if node == ACCOUNT => (
            400,
            error(
                100,
                "(#100) Tried accessing nonexisting field (status) on node type (WhatsAppBusinessAccount)",
            ),
        ),
        _ => (400, error(100, "Unsupported get request.")),
    }
}

fn change(
    answers: &mut HashMap<String, (u16, Value)>,
    node: &str,
    edge: &str,
    request: &Request,
) -> (u16, Value) {
    let done = match (node, edge) {
        (ACCOUNT, "subscribed_apps") => {
            assert!(request.body.is_empty());
            json!({"data": [{"whatsapp_business_api_data": {"id": APP}}]})
        }
        (PHONE_NUMBER_ID, "settings") => request.json().unwrap(),
        _ => return (400, error(100, "Unsupported post request.")),
    };
    if !answers.contains_key(SLOW) {
        answers.insert(edge.to_owned(), (200, done));
    }
    (200, json!({"success": true}))
}

fn date(ahead: i64) -> String {
    let now = i64::try_from(unix_seconds()).unwrap() + ahead;
    let now = time::OffsetDateTime::from_unix_timestamp(now).unwrap();
    let text = now.format(&time::format_description::well_known::Rfc2822);
    text.unwrap().replace("+0000", "GMT")
}

// --- a name server --------------------------------------------------------------------------------

/// Answers with the texts of names that it knows; the others do not exist.
struct Names {
    address: SocketAddr,
    texts: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

impl Names {
    fn start() -> Names {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let texts = Arc::new(Mutex::new(HashMap::new()));
        let names = Names {
            address: socket.local_addr().unwrap(),
            texts: Arc::clone(&texts),
        };
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((count, from)) = socket.recv_from(&mut buffer) {
                let answer = name_answer(&buffer[..count], &texts.lock().unwrap());
                let _ = socket.send_to(&answer, from);
            }
        });
        names.be_well();
        names
    }

    fn be_well(&self) {
        let mut texts = self.texts.lock().unwrap();
        texts.clear();
        texts.insert("espiga.example".into(), vec!["v=spf1 a -all".into()]);
        texts.insert(
            "_dmarc.espiga.example".into(),
            vec!["v=DMARC1; p=none".into()],
        );
    }

    fn say(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|&text| text.to_owned()).collect();
        self.texts.lock().unwrap().insert(name.to_owned(), texts);
    }
}

fn name_answer(query: &[u8], texts: &HashMap<String, Vec<String>>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let found = texts.get(&labels.join("."));
    let code = if found.is_some() { 0x80 } else { 0x83 };
    let count = u8::try_from(found.map_or(0, Vec::len)).unwrap();
    let mut answer = vec![query[0], query[1], 0x81, code, 0, 1, 0, count, 0, 0, 0, 0];
    answer.extend_from_slice(&query[12..at + 5]);
    for text in found.into_iter().flatten() {
        let length = u8::try_from(text.len()).unwrap();
        answer.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, length + 1, length]);
        answer.extend(text.as_bytes());
    }
    answer
}

// --- the world ------------------------------------------------------------------------------------

/// What a bot or a receiver of events answers.
type Mood = Arc<Mutex<u16>>;

fn program(mood: &Mood) -> Server {
    let mood = Arc::clone(mood);
    Server::start(move |request| {
        assert_eq!(request.method, "POST");
        let body = request.json().unwrap();
        assert!(body["entry"] == json!([]) || body["type"] == "portero.test");
        Reply::Json(*mood.lock().unwrap(), json!({}))
    })
}

struct House {
    world: World,
    meta: Meta,
    names: Names,
    bot: Mood,
    events: Mood,
    /// The bot and the receiver of events.
    programs: [Server; 2],
    url: String,
}

impl House {
    /// A world in which all is well, with a mail server and a port for the program.
    fn new() -> House {
        let world = World::with_mail(json!({}));
        let (meta, names) = (Meta::start(), Names::start());
        let (bot, events) = (Mood::new(200.into()), Mood::new(204.into()));
        let programs = [program(&bot), program(&events)];
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = free.local_addr().unwrap();
        let url = format!("http://{at}");
        world.edit("https://portero.example.com/", &url);
        world.edit("127.0.0.1:0", &at.to_string());
        world.edit(
            &format!("api_url = \"{}\"", world.graph.url()),
            &format!(
                "api_url = \"{}\"\nnumber = \"+{NUMBER}\"",
                meta.server.url()
            ),
        );
        let secret = "whsec_d29rdSB3b2t1IHdva3Ugd29rdSB3b2t1IHdva3Ugd28=";
        world.edit(
            "# Words of its own",
            &format!(
                "[bot]\nurl = \"{}\"\n[events]\nurl = \"{}\"\nsecret = \"{secret}\"\n# Words",
                programs[0].url(),
                programs[1].url()
            ),
        );
        let path = world.path("portero.toml");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        meta.be_well(&url);
        House {
            world,
            meta,
            names,
            bot,
            events,
            programs,
            url,
        }
    }

    fn start(&self) -> Portero {
        self.world.start()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let names = self.names.address.to_string();
        let mut all = vec![
            "doctor",
            "--config",
            "portero.toml",
            "--name-server",
            &names,
        ];
        all.extend(arguments);
        self.world.command(&all)
    }

    fn doctor(&self, arguments: &[&str]) -> Told {
        told(self.command(arguments))
    }

    fn json(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let told = self.doctor(&all);
        let value = serde_json::from_str(&told.output).unwrap_or_else(|_| panic!("{told:?}"));
        (value, told.code)
    }
}

#[derive(Debug)]
struct Told {
    output: String,
    error: String,
    code: Option<i32>,
}

/// What it said; none of which may be a secret, a number or an address.
fn told(mut command: Command) -> Told {
    let output = command.stdout(Stdio::piped()).output().unwrap();
    let told = Told {
        output: String::from_utf8(output.stdout).unwrap(),
        error: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    };
    for secret in [
        ACCESS_TOKEN,
        APP_SECRET,
        OLD_APP_SECRET,
        VERIFY_TOKEN,
        STORE_KEY,
        smtp_sink::PASSWORD,
        "whsec_",
        PHONE_NUMBER_ID,
        ACCOUNT,
        APP,
        NUMBER,
        "555-078",
        ANA.email,
        "no-reply@espiga.example",
    ] {
        let shown = told.output.contains(secret) || told.error.contains(secret);
        assert!(!shown, "{secret} is in {told:?}");
    }
    told
}

/// The findings of this name: verdict and words.
fn found<'v>(told: &'v Value, name: &str) -> Vec<(&'v str, String)> {
    let findings = told["findings"].as_array().unwrap().iter();
    let named = findings.filter(|finding| finding["name"] == name);
    let words = |finding: &Value| {
        let advice = finding["advice"].as_str().unwrap_or_default();
        format!("{} → {advice}", finding["what"].as_str().unwrap())
    };
    named
        .map(|finding| (finding["verdict"].as_str().unwrap(), words(finding)))
        .collect()
}

/// What is wrong or worth a look.
fn complaints(told: &Value) -> Vec<&Value> {
    let findings = told["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| finding["verdict"] != "fine")
        .collect()
}

// --- all is well ----------------------------------------------------------------------------------

#[test]
fn a_world_in_order_is_found_in_order() {
    let mut house = House::new();
    let portero = house.start();
    let told = house.doctor(&["--email", ANA.email, "--mail-to", "someone@else.example"]);
    assert_eq!((told.code, told.error.as_str()), (Some(0), ""), "{told:?}");
    let names: Vec<&str> = (told.output.lines())
        .filter(|line| line.starts_with("fine") || line.starts_with("look"))
        .map(|line| line[7..23].trim_end())
        .collect();
    let expected = [
        "store",
        "file modes",
        "disk",
        "clock",
        "public address",
        "handshake",
        "webhook",
        "server",
        "Meta token",
        "permissions",
        "number",
        "sending",
        "account",
        "subscription",
        "app secret",
        "callback",
        "identity check",
        "mail server",
        "test mail",
        "SPF",
        "DMARC",
        "service kutamma",
        "service woku",
        "bot",
        "events",
    ];
    assert_eq!(names, expected, "{}", told.output);
    // Loopback cannot have a certificate, and the second service does not know her.
    let looks: Vec<&str> = (told.output.lines())
        .filter(|line| line.starts_with("look"))
        .collect();
    assert_eq!(looks.len(), 2, "{looks:?}");
    assert!(looks[0].contains("without encryption") && looks[1].contains("service woku"));
    assert!(
        told.output
            .ends_with("\n0 wrong, 2 worth a look, 23 fine\n")
    );
    assert!(!told.output.contains('\x1b') && !told.output.contains("..."));
    let mail = house.world.mail().letter_to("someone@else.example");
    assert_eq!(mail.subject, "Test of Portero for Panadería La Espiga");
    // Nobody was written to, and the server saw nothing that it minds.
    assert_eq!(house.world.graph.count(), 0);
    assert!(!portero.log().contains("wrong"), "{}", portero.log());
}

// --- one thing after another ----------------------------------------------------------------------

struct Fault {
    /// What is wrong.
    title: &'static str,
    /// Makes it so.
    make: fn(&House),
    /// What is named, how bad it is, and a part of what is said.
    name: &'static str,
    verdict: &'static str,
    words: &'static str,
    /// A finding beside it that follows from it.
    beside: &'static [&'static str],
}

const FAULTS: &[Fault] = &[
    Fault {
        title: "the token has expired",
        make: |house| {
            house.meta.change(
                "debug_token",
                "/data/expires_at",
                json!(unix_seconds() - 90_000),
            )
        },
        name: "Meta token",
        verdict: "wrong",
        words: "expired 25 hours ago",
        beside: &[],
    },
    Fault {
        title: "a token of the dashboard",
        make: |house| {
            house.meta.change(
                "debug_token",
                "/data/expires_at",
                json!(unix_seconds() + 36_030),
            )
        },
        name: "Meta token",
        verdict: "wrong",
        words: "ends in 10 hours",
        beside: &[],
    },
    Fault {
        title: "another token",
        make: |house| house.world.edit("env:META_TOKEN", "EAAother"),
        name: "Meta token",
        verdict: "wrong",
        words: "190 access token expired or revoked",
        beside: &[],
    },
    Fault {
        title: "a permission is missing",
        make: |house| {
            house.meta.change(
                "debug_token",
                "/data/scopes",
                json!(["whatsapp_business_management"]),
            )
        },
        name: "permissions",
        verdict: "wrong",
        words: "whatsapp_business_messaging",
        beside: &[],
    },
    Fault {
        title: "the id of the account",
        make: |house| house.world.edit(PHONE_NUMBER_ID, ACCOUNT),
        name: "number",
        verdict: "wrong",
        words: "is the id of the WhatsApp account",
        beside: &[],
    },
    Fault {
        title: "the phone number",
        make: |house| house.world.edit(PHONE_NUMBER_ID, NUMBER),
        name: "number",
        verdict: "wrong",
        words: "is the phone number itself",
        beside: &[],
    },
    Fault {
        title: "another number",
        make: |house| house.world.edit(&format!("+{NUMBER}"), "+57 300 1112233"),
        name: "number",
        verdict: "wrong",
        words: "another number",
        beside: &[],
    },
    Fault {
        title: "not registered",
        make: |house| {
            house
                .meta
                .change(PHONE_NUMBER_ID, "/status", json!("PENDING"))
        },
        name: "number",
        verdict: "wrong",
        words: "not registered",
        beside: &[],
    },
    Fault {
        title: "a low quality",
        make: |house| {
            house
                .meta
                .change(PHONE_NUMBER_ID, "/quality_rating", json!("RED"))
        },
        name: "number",
        verdict: "wrong",
        words: "quality is low",
        beside: &[],
    },
    Fault {
        title: "no payment method",
        make: |house| {
            house.meta.change(PHONE_NUMBER_ID, "/health_status/entities", json!([{"entity_type": "WABA", "id": ACCOUNT, "can_send_message": "LIMITED", "errors": [{"error_code": 141006, "error_description": "There is an error with the payment method."}]}]))
        },
        name: "payment",
        verdict: "wrong",
        words: "no payment method",
        beside: &[],
    },
    Fault {
        title: "an unpublished app",
        make: |house| {
            house.meta.change(PHONE_NUMBER_ID, "/health_status/entities", json!([{"entity_type": "APP", "id": APP, "can_send_message": "BLOCKED", "errors": [{"error_code": 999999, "error_description": "The app is in development mode."}]}]))
        },
        name: "app",
        verdict: "wrong",
        words: "not published",
        beside: &[],
    },
    Fault {
        title: "another account",
        make: |house| {
            house
                .meta
                .say("phone_numbers", json!({"data": [{"id": "1"}]}))
        },
        name: "account",
        verdict: "wrong",
        words: "not one of the account",
        beside: &[],
    },
    Fault {
        title: "not subscribed",
        make: |house| house.meta.say("subscribed_apps", json!({"data": []})),
        name: "subscription",
        verdict: "wrong",
        words: "not subscribed",
        beside: &[],
    },
    Fault {
        title: "a wrong app secret",
        make: |house| {
            house.world.edit(
                "[\"file:app_secret\", \"env:OLD_APP_SECRET\"]",
                "[\"something_else\"]",
            )
        },
        name: "app secret",
        verdict: "wrong",
        words: "refused as forged",
        beside: &["webhook"],
    },
    Fault {
        title: "another callback",
        make: |house| {
            house.meta.change(
                "subscriptions",
                "/data/0/callback_url",
                json!("https://bot.example.com/"),
            )
        },
        name: "callback",
        verdict: "wrong",
        words: "not this Portero's",
        beside: &[],
    },
    Fault {
        title: "no field messages",
        make: |house| {
            house
                .meta
                .change("subscriptions", "/data/0/fields", json!([]))
        },
        name: "callback",
        verdict: "wrong",
        words: "field messages",
        beside: &[],
    },
    Fault {
        title: "no identity check",
        make: |house| {
            house.meta.say(
                "settings",
                json!({"user_identity_change": {"enable_identity_key_check": false}}),
            )
        },
        name: "identity check",
        verdict: "worth_a_look",
        words: "--fix",
        beside: &[],
    },
    Fault {
        title: "a wrong clock",
        make: |house| *house.meta.ahead.lock().unwrap() = 615,
        name: "clock",
        verdict: "wrong",
        words: "10 minutes slow",
        beside: &[],
    },
    Fault {
        title: "an edge of Meta's fails",
        make: |house| {
            house
                .meta
                .answers
                .lock()
                .unwrap()
                .insert("settings".to_owned(), (502, json!("Bad gateway")));
        },
        name: "identity check",
        verdict: "wrong",
        words: "not Meta answered HTTP 502",
        beside: &[],
    },
    Fault {
        title: "another verify token",
        make: |house| house.world.edit("env:META_VERIFY", "mejorana"),
        name: "handshake",
        verdict: "wrong",
        words: "another verify token",
        beside: &[],
    },
    Fault {
        title: "nobody at the public address",
        make: |house| house.world.edit(&house.url, "http://127.0.0.1:9"),
        name: "public address",
        verdict: "wrong",
        words: "nobody answers",
        beside: &["callback"],
    },
    Fault {
        title: "another program at the public address",
        make: |house| house.world.edit(&house.url, &house.meta.server.url()),
        name: "public address",
        verdict: "wrong",
        words: "refuses (401)",
        beside: &["callback"],
    },
    Fault {
        title: "a wrong mail password",
        make: |house| house.world.secret_file("mail_password", "wrong"),
        name: "mail server",
        verdict: "wrong",
        words: "AUTH: 535",
        beside: &[],
    },
    Fault {
        title: "TLS at the port of STARTTLS",
        make: |house| {
            house
                .world
                .edit("username = ", "security = \"tls\"\nusername = ")
        },
        name: "mail server",
        verdict: "wrong",
        words: "does not speak TLS",
        beside: &[],
    },
    Fault {
        title: "a mail server with a certificate of its own",
        make: |house| house.world.edit("ca_file = \"mail-ca.pem\"", ""),
        name: "mail server",
        verdict: "wrong",
        words: "unknown issuer",
        beside: &[],
    },
    Fault {
        title: "no mail server",
        make: |house| {
            let port = house.world.mail.as_ref().unwrap().port();
            house.world.edit(&format!("port = {port}"), "port = 9");
        },
        name: "mail server",
        verdict: "wrong",
        words: "connecting",
        beside: &[],
    },
    Fault {
        title: "no SPF",
        make: |house| house.names.say("espiga.example", &["something"]),
        name: "SPF",
        verdict: "worth_a_look",
        words: "no SPF record",
        beside: &[],
    },
    Fault {
        title: "two SPF records",
        make: |house| {
            house
                .names
                .say("espiga.example", &["v=spf1 -all", "v=spf1 a ~all"])
        },
        name: "SPF",
        verdict: "wrong",
        words: "two SPF records",
        beside: &[],
    },
    Fault {
        title: "no DMARC",
        make: |house| {
            house
                .names
                .texts
                .lock()
                .unwrap()
                .remove("_dmarc.espiga.example");
        },
        name: "DMARC",
        verdict: "worth_a_look",
        words: "no DMARC record",
        beside: &[],
    },
    Fault {
        title: "no such domain",
        make: |house| house.names.texts.lock().unwrap().clear(),
        name: "SPF",
        verdict: "wrong",
        words: "does not exist",
        beside: &[],
    },
    Fault {
        title: "a service answers HTML",
        make: |house| house.world.kutamma.set(ServiceMood::Garbled),
        name: "service kutamma",
        verdict: "wrong",
        words: "find_user",
        beside: &[],
    },
    Fault {
        title: "a service fails",
        make: |house| house.world.kutamma.set(ServiceMood::Refuse(500)),
        name: "service kutamma",
        verdict: "wrong",
        words: "500",
        beside: &[],
    },
    Fault {
        title: "a service is away",
        make: |house| {
            house
                .world
                .edit(&house.world.woku.url(), "http://127.0.0.1:9")
        },
        name: "service woku",
        verdict: "wrong",
        words: "connection",
        beside: &[],
    },
    Fault {
        title: "the bot refuses the signature",
        make: |house| *house.bot.lock().unwrap() = 401,
        name: "bot",
        verdict: "wrong",
        words: "signature",
        beside: &[],
    },
    Fault {
        title: "nothing at the bot's address",
        make: |house| *house.bot.lock().unwrap() = 404,
        name: "bot",
        verdict: "wrong",
        words: "404",
        beside: &[],
    },
    Fault {
        title: "the receiver of events redirects",
        make: |house| *house.events.lock().unwrap() = 302,
        name: "events",
        verdict: "wrong",
        words: "redirect",
        beside: &[],
    },
    Fault {
        title: "a store that others can read",
        make: |house| {
            fs::set_permissions(
                house.world.path("portero.redb"),
                fs::Permissions::from_mode(0o644),
            )
            .unwrap()
        },
        name: "file modes",
        verdict: "wrong",
        words: "chmod 600",
        beside: &[],
    },
    Fault {
        title: "the token was revoked",
        make: |house| {
            house
                .meta
                .change("debug_token", "/data/is_valid", json!(false))
        },
        name: "Meta token",
        verdict: "wrong",
        words: "revoked",
        beside: &[],
    },
    Fault {
        title: "the token of a page",
        make: |house| {
            house
                .meta
                .change("debug_token", "/data/type", json!("PAGE"))
        },
        name: "Meta token",
        verdict: "wrong",
        words: "of an app or a page",
        beside: &[],
    },
    Fault {
        title: "a person's token",
        make: |house| {
            house
                .meta
                .change("debug_token", "/data/type", json!("USER"))
        },
        name: "Meta token",
        verdict: "worth_a_look",
        words: "a person's",
        beside: &[],
    },
    Fault {
        title: "the account cannot be looked at",
        make: |house| {
            let only = "whatsapp_business_messaging";
            let granular = json!([{"scope": only, "target_ids": [ACCOUNT]}]);
            house
                .meta
                .change("debug_token", "/data/scopes", json!([only]));
            house
                .meta
                .change("debug_token", "/data/granular_scopes", granular);
        },
        name: "permissions",
        verdict: "worth_a_look",
        words: "whatsapp_business_management",
        beside: &[],
    },
    Fault {
        title: "a test number",
        make: |house| {
            house
                .meta
                .change(PHONE_NUMBER_ID, "/account_mode", json!("SANDBOX"))
        },
        name: "number",
        verdict: "worth_a_look",
        words: "test number",
        beside: &[],
    },
    Fault {
        title: "Meta holds the number back",
        make: |house| {
            house
                .meta
                .change(PHONE_NUMBER_ID, "/status", json!("RESTRICTED"))
        },
        name: "number",
        verdict: "wrong",
        words: "holds it back",
        beside: &[],
    },
    Fault {
        title: "a display name that is not approved",
        make: |house| {
            house.meta.change(PHONE_NUMBER_ID, "/health_status/entities", json!([{"entity_type": "PHONE_NUMBER", "id": PHONE_NUMBER_ID, "can_send_message": "LIMITED", "additional_info": ["Your display name has not been approved yet."]}, {"entity_type": "WABA", "id": ACCOUNT, "can_send_message": "AVAILABLE"}]))
        },
        name: "number",
        verdict: "worth_a_look",
        words: "display name",
        beside: &[],
    },
    Fault {
        title: "a business that is not verified",
        make: |house| {
            house.meta.change(PHONE_NUMBER_ID, "/health_status/entities", json!([{"entity_type": "WABA", "id": ACCOUNT, "can_send_message": "AVAILABLE"}, {"entity_type": "BUSINESS", "id": "506914307656634", "can_send_message": "LIMITED", "errors": [{"error_code": 141010, "error_description": "The Business has not passed business verification."}]}]))
        },
        name: "portfolio",
        verdict: "worth_a_look",
        words: "not verified",
        beside: &[],
    },
    Fault {
        title: "the number has a callback of its own",
        make: |house| {
            house.meta.change(
                PHONE_NUMBER_ID,
                "/webhook_configuration/phone_number",
                json!("https://old.example.com/webhook"),
            )
        },
        name: "callback",
        verdict: "wrong",
        words: "of its own",
        beside: &[],
    },
    Fault {
        title: "the account sends elsewhere",
        make: |house| {
            house.meta.change(
                "subscribed_apps",
                "/data/0/override_callback_uri",
                json!("https://old.example.com/webhook"),
            )
        },
        name: "subscription",
        verdict: "wrong",
        words: "another address",
        beside: &[],
    },
    Fault {
        title: "a callback that is switched off",
        make: |house| {
            house
                .meta
                .change("subscriptions", "/data/0/active", json!(false))
        },
        name: "callback",
        verdict: "wrong",
        words: "switched",
        beside: &[],
    },
    Fault {
        title: "everybody may send",
        make: |house| house.names.say("espiga.example", &["v=spf1 +all"]),
        name: "SPF",
        verdict: "worth_a_look",
        words: "lets everybody send",
        beside: &[],
    },
];

#[test]
fn each_fault_of_the_world_is_named() {
    let titles: BTreeSet<&str> = FAULTS.iter().map(|fault| fault.title).collect();
    assert_eq!(titles.len(), FAULTS.len(), "two faults have one title");
    assert!(titles.len() >= 40, "only {} faults", titles.len());
    let house = House::new();
    let _portero = house.start();
    let file = fs::read_to_string(house.world.path("portero.toml")).unwrap();
    for fault in FAULTS {
        let title = fault.title;
        (fault.make)(&house);
        let (told, code) = house.json(&[]);
        let named = found(&told, fault.name);
        let good = |(verdict, words): &(&str, String)| {
            *verdict == fault.verdict && words.contains(fault.words)
        };
        assert!(named.iter().any(good), "{title}: {told:#}");
        for other in complaints(&told) {
            let name = other["name"].as_str().unwrap();
            let expected = name == fault.name
                || fault.beside.contains(&name)
                || other["what"]
                    .as_str()
                    .unwrap()
                    .contains("without encryption");
            assert!(expected, "{title} is also taken for {other:#}");
        }
        let expected = if fault.verdict == "wrong" { 1 } else { 0 };
        assert_eq!(code, Some(expected), "{title}");
        // As it was.
        house.meta.be_well(&house.url);
        house.names.be_well();
        house.world.kutamma.set(ServiceMood::Good);
        (*house.bot.lock().unwrap(), *house.events.lock().unwrap()) = (200, 204);
        house
            .world
            .secret_file("mail_password", smtp_sink::PASSWORD);
        fs::write(house.world.path("portero.toml"), &file).unwrap();
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(house.world.path("portero.redb"), private).unwrap();
    }
    assert_eq!(house.json(&[]).1, Some(0), "something was left behind");
}

#[test]
fn the_account_is_found_among_those_of_the_token() {
    let house = House::new();
    let entities = "/health_status/entities";
    house.meta.change(PHONE_NUMBER_ID, entities, json!([]));
    let targets = "/data/granular_scopes/0/target_ids";
    let account = |targets_of_the_token| {
        house
            .meta
            .change("debug_token", targets, targets_of_the_token);
        let (told, _) = house.json(&[]);
        let (verdict, words) = found(&told, "account").remove(0);
        let subscription = !found(&told, "subscription").is_empty();
        (verdict.to_owned(), words, subscription)
    };
    let (verdict, words, subscription) = account(json!(["1", ACCOUNT]));
    assert!(verdict == "fine" && subscription, "{words}");
    let (verdict, words, _) = account(json!(["1"]));
    assert!(verdict == "wrong", "{words}");
    let (verdict, words, subscription) = account(json!([]));
    assert!(verdict == "worth_a_look" && !subscription, "{words}");
    assert!(words.contains("does not tell"), "{words}");
}

#[test]
fn a_bad_certificate_is_named_wherever_it_is() {
    let house = House::new();
    let stand_in = |wishes: Value| StandIn::start("https_stand_in.py", &wishes);
    let (expired, other) = (
        stand_in(json!({"expired": true, "answer": {}})),
        stand_in(json!({"names": ["other.example"], "answer": {}})),
    );
    for (name, stand_in) in [("expired.pem", &expired), ("other.pem", &other)] {
        fs::write(house.world.path(name), &stand_in.ca_pem).unwrap();
    }
    let https = |stand_in: &StandIn| format!("https://localhost:{}", stand_in.port);
    house.world.edit(&house.url, &https(&expired));
    house.world.edit(
        &format!("\"{}\"", house.meta.server.url()),
        &format!("\"{}\"\nca_file = \"expired.pem\"", https(&expired)),
    );
    let woku = house.world.woku.url();
    for call in ["find-user", "issue-token"] {
        let path = format!("/portero/{call}\"");
        let ca_file = if call == "find-user" {
            "\nca_file = \"other.pem\""
        } else {
            ""
        };
        house.world.edit(
            &format!("{woku}{path}"),
            &format!("{}{path}{ca_file}", https(&other)),
        );
    }
    let (told, code) = house.json(&[]);
    assert_eq!(code, Some(1));
    for (name, words) in [
        ("public address", "certificate is refused"),
        (
            "Meta token",
            "certificate of whatsapp.api_url is refused: TLS failed: the certificate has expired",
        ),
        ("service woku", "another name"),
    ] {
        let named = found(&told, name);
        assert!(
            named
                .iter()
                .any(|(verdict, what)| *verdict == "wrong" && what.contains(words)),
            "{name}: {told:#}"
        );
    }
}

#[test]
fn the_store_is_looked_at_when_no_server_runs() {
    let house = House::new();
    let store = |told: &Value| {
        let (verdict, words) = found(told, "store").remove(0);
        (verdict.to_owned(), words)
    };
    let (told, _) = house.json(&[]);
    let (verdict, words) = store(&told);
    assert!(
        verdict == "worth_a_look" && words.contains("none yet"),
        "{words}"
    );
    assert!(
        !house.world.path("portero.redb").exists(),
        "looking makes nothing"
    );
    house.start().stop();
    let (told, _) = house.json(&[]);
    assert_eq!(
        store(&told),
        (
            "fine".to_owned(),
            "it opens and is whole; no server runs → ".to_owned()
        )
    );
    let mut command = house.command(&["--json"]);
    command.env("STORE_KEY", STORE_KEY.replace('c', "d"));
    let told: Value = serde_json::from_str(&told_of(command)).unwrap();
    assert!(
        store(&told).1.contains("sealed with another key"),
        "{told:#}"
    );
    let path = house.world.path("portero.redb");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (told, code) = house.json(&[]);
    let (verdict, words) = store(&told);
    assert_eq!((verdict.as_str(), code), ("wrong", Some(1)));
    assert!(words.contains("Restore a copy"), "{words}");
    fs::write(
        &path,
        "not a store, and long enough to be read as one by somebody",
    )
    .unwrap();
    let (told, _) = house.json(&[]);
    assert_eq!(store(&told).0, "wrong");
}

fn told_of(command: Command) -> String {
    told(command).output
}

#[test]
fn when_nobody_can_be_reached_the_exit_code_says_so() {
    let house = House::new();
    house.world.edit(&house.url, "http://127.0.0.1:9");
    house
        .world
        .edit(&house.meta.server.url(), "http://127.0.0.1:9");
    for service in [&house.world.kutamma, &house.world.woku] {
        house.world.edit(&service.url(), "http://127.0.0.1:9");
    }
    for program in &house.programs {
        house.world.edit(&program.url(), "http://127.0.0.1:9");
    }
    let port = house.world.mail.as_ref().unwrap().port();
    house.world.edit(&format!("port = {port}"), "port = 9");
    let mut command = house.world.command(&["doctor", "--config", "portero.toml"]);
    command.args(["--name-server", "127.0.0.1:9"]);
    let told = told(command);
    assert_eq!(told.code, Some(69), "{told:?}");
    assert!(
        told.error.starts_with("nobody could be reached\nhint: "),
        "{told:?}"
    );
}

// --- putting right --------------------------------------------------------------------------------

#[test]
fn what_the_api_can_do_is_done_when_it_is_wished_for() {
    let house = House::new();
    let _portero = house.start();
    let ill = || {
        house.meta.say("subscribed_apps", json!({"data": []}));
        house.meta.say(
            "settings",
            json!({"user_identity_change": {"enabled": false}}),
        );
    };
    ill();
    let refused = house.doctor(&["--fix"]);
    assert_eq!(refused.code, Some(64));
    assert!(refused.error.contains("--yes"), "{refused:?}");
    let (told, code) = house.json(&[]);
    assert_eq!(code, Some(1));
    let fixable: Vec<&str> = (complaints(&told).iter())
        .filter(|finding| finding["canBeFixed"] == true)
        .map(|finding| finding["name"].as_str().unwrap())
        .collect();
    assert_eq!(fixable, ["subscription", "identity check"]);
    let (told, code) = house.json(&["--fix", "--yes"]);
    assert_eq!(code, Some(0), "{told:#}");
    assert_eq!(found(&told, "subscription")[0].0, "fine");
    assert_eq!(found(&told, "identity check")[0].0, "fine");
    // What was done is not asked for again.
    ill();
    let slow = (200, Value::Null);
    house
        .meta
        .answers
        .lock()
        .unwrap()
        .insert(SLOW.to_owned(), slow);
    let said = house.doctor(&["--fix", "--yes"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(
        said.output
            .matches("Meta has just taken the change")
            .count(),
        2,
        "{said:?}"
    );
    assert!(
        !said.output.contains("run `portero doctor --fix`"),
        "{said:?}"
    );
    house.meta.answers.lock().unwrap().remove(SLOW);
    // At a terminal it is asked first, and a no is a no.
    ill();
    for (columns, answers, code) in [(100, ["n\n", "y\n"], 1), (44, ["y\n", "y\n"], 0)] {
        let (screen, exit) = at_terminal(&house, columns, &answers);
        assert_eq!(exit, code, "{screen}");
        let left = house.meta.answers.lock().unwrap()["settings"].1.clone();
        let asked = screen.matches("[y/N]").count();
        assert_eq!(asked, if columns == 100 { 2 } else { 1 }, "{screen}");
        assert_eq!(
            left["user_identity_change"]["enable_identity_key_check"],
            true
        );
    }
}

/// What stood on a terminal that is so wide, and the exit code.
fn at_terminal(house: &House, columns: u16, answers: &[&str]) -> (String, i64) {
    let names = house.names.address.to_string();
    let program = [
        env!("CARGO_BIN_EXE_portero"),
        "doctor",
        "--config",
        "portero.toml",
        "--name-server",
        &names,
        "--fix",
    ];
    let subscribed = house.meta.answers.lock().unwrap()["subscribed_apps"].1["data"] != json!([]);
    let identity = house.meta.answers.lock().unwrap()["settings"].1["user_identity_change"]["enabled"]
        == false;
    let wanted = usize::from(!subscribed) + usize::from(identity);
    let talk: Vec<_> = answers
        .iter()
        .take(wanted)
        .map(|answer| ("[y/N] ", answer))
        .collect();
    let wishes = json!({"program": program, "talk": talk, "columns": columns});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/terminal.py");
    let mut command = Command::new(interpreter());
    // The program gets the environment of the script.
    let meant = house.world.command(&[]);
    for (name, value) in meant.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let output = command
        .arg(script)
        .arg(wishes.to_string())
        .current_dir(house.world.folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    (
        told["screen"].as_str().unwrap().to_owned(),
        told["code"].as_i64().unwrap(),
    )
}

#[test]
fn at_a_terminal_each_check_shows_that_it_has_begun_and_keeps_within_the_screen() {
    let house = House::new();
    let _portero = house.start();
    house.world.kutamma.set(ServiceMood::Garbled);
    for columns in [40, 100] {
        let (screen, code) = at_terminal(&house, columns, &[]);
        assert_eq!(code, 1, "{screen}");
        for title in [
            "...    store\r\x1b[2K",
            "...    Meta token\r\x1b[2K",
            "...    service kutamma\r\x1b[2K",
        ] {
            assert!(screen.contains(title), "{title:?} in {screen}");
        }
        let after_wiping = |line: &str| line.rsplit("\x1b[2K").next().unwrap().to_owned();
        let lines: Vec<String> = screen.lines().map(after_wiping).collect();
        let (lines, _) = lines.split_at(
            lines
                .iter()
                .position(|line| line.contains(" wrong, "))
                .unwrap(),
        );
        for line in lines {
            assert!(
                line.trim_end().chars().count() <= usize::from(columns),
                "{line:?}"
            );
        }
        if std::env::var_os("PORTERO_SHOW_SCREENS").is_some() {
            println!("{}\n", lines.join("\n"));
        }
    }
}

#[test]
fn what_is_typed_wrongly_is_said_before_anybody_is_asked() {
    let house = House::new();
    for (arguments, words) in [
        (&["--email", "nobody"][..], "--email: "),
        (&["--mail-to", "a b"], "--mail-to: "),
        (&["--yes"], "--fix"),
        (&["--name-server", "one"], "expected an IP address"),
    ] {
        let usual = ["doctor", "--config", "portero.toml"];
        let mut command = house.world.command(&[&usual[..], arguments].concat());
        let output = command.stdout(Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{error}");
        assert!(error.contains(words) && output.stdout.is_empty(), "{error}");
    }
}

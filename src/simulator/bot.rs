//! The bot behind Portero, as somebody writes it who has read Meta's documentation and three lines
//! more: a webhook under `X-Hub-Signature-256` that answers through the Graph API, and beside that
//! `Portero-Identity`, which says who wrote and for which it is given a token of their service.
//!
//! It checks signatures with its own code, not with the server's, and keeps what it was sent for
//! whoever wants to look.

use super::cast::{BUSINESS, SERVICES};
use super::door::{self, Door};
use super::watch::{Watch, lock, now_ms, random_hex};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ED25519, UnparsedPublicKey};
use rouille::{Request, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WEBHOOK_PATH: &str = "/webhook";
/// The version of the Graph API that it was written for.
const GRAPH_VERSION: &str = "v25.0";
/// Longest time for one call that it makes.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer that it reads, in bytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// Requests remembered; the oldest give way.
const REMEMBERED_MAX: usize = 1_000;
/// How far the signer's clock may be off.
const CLOCK_SKEW_MAX_SECONDS: u64 = 60;

/// What the bot can be made to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 503, as a proxy says for a bot that is not running.
    Down,
    /// Its work, after so long.
    Slow(Duration),
    /// 500.
    Error,
    /// 200 with an HTML page, and nothing is done.
    Garbage,
    /// The connection breaks before the answer.
    ClosesEarly,
}

/// A webhook as it came, and what was made of it.
#[derive(Clone, Debug)]
pub struct Received {
    /// Counts from 1.
    pub number: u64,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Every header, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// Whether `X-Hub-Signature-256` fits the body.
    pub is_signed: bool,
    /// What it is about.
    pub what: What,
    /// Who wrote, as `Portero-Identity` says, or why that is not believed. `None` where there is
    /// none.
    pub identity: Option<Result<Value, Refused>>,
    /// What was asked of others because of it, in order.
    pub calls: Vec<Call>,
    /// What the bot wrote into the chat.
    pub reply: Option<String>,
    /// Status of the answer.
    pub status: u16,
}

impl Received {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// What a webhook is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody wrote; the text, when it is one.
    Message {
        /// Meta's id.
        id: String,
        /// What it says.
        text: Option<String>,
    },
    /// News of a message of the bot's own: `sent`, `delivered`, `read` or `failed`.
    Status(String),
    /// Anything else.
    Other,
}

/// A call to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Method, path and what is asked for, without what is secret.
    pub call: String,
    /// Status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// What it said, in a few words.
    pub told: String,
}

/// Why an identity is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no JWT of the kind that it should be.
    Malformed,
    /// Nobody publishes a key with its name.
    Key,
    /// Somebody altered it.
    Signature,
    /// It is from somebody else or for somebody else.
    Party,
    /// Its time is over.
    Expired,
    /// It came with another message.
    Message,
}

impl Refused {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Refused::Malformed => "not an identity",
            Refused::Key => "signed with an unknown key",
            Refused::Signature => "its signature is wrong",
            Refused::Party => "from or for somebody else",
            Refused::Expired => "expired",
            Refused::Message => "of another message",
        }
    }
}

/// What the bot knows of the world around it.
#[derive(Clone, Debug)]
pub struct Around {
    /// The Graph API.
    pub graph: SocketAddr,
    /// The token for it.
    pub access_token: String,
    /// With which webhooks are signed.
    pub app_secret: String,
    /// The word of the handshake.
    pub verify_token: String,
    /// The company's services.
    pub services: SocketAddr,
}

/// A running bot. Stops when dropped.
pub struct Bot {
    shared: Arc<Shared>,
    door: Door,
}

struct Shared {
    watch: Arc<Watch>,
    around: Around,
    api_key: String,
    agent: ureq::Agent,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    /// The public address of Portero.
    portero: String,
    /// Portero's keys, as they were published last.
    keys: Value,
    received: VecDeque<Received>,
    received_so_far: u64,
    /// Messages that need no further answer: one may come twice.
    answered: VecDeque<String>,
}

impl Bot {
    /// Listens on a free port of 127.0.0.1, with a fresh key for Portero's API.
    pub fn start(watch: Arc<Watch>, around: Around) -> io::Result<Bot> {
        let shared = Arc::new(Shared::new(watch, around));
        let for_door = shared.clone();
        let door = Door::open((Ipv4Addr::LOCALHOST, 0).into(), move |request: &Request| {
            for_door.answer(request)
        })?;
        Ok(Bot { shared, door })
    }

    /// Where webhooks go.
    pub fn url(&self) -> String {
        format!("http://{}{WEBHOOK_PATH}", self.door.address())
    }

    /// With which it calls Portero.
    pub fn api_key(&self) -> &str {
        &self.shared.api_key
    }

    /// From now on Portero is there: its public address.
    pub fn connect(&self, portero: &str) {
        let mut state = lock(&self.shared.state);
        state.portero = portero.to_owned();
        state.keys = Value::Null;
    }

    /// From now on it fails so, or works again with `None`.
    pub fn misbehave(&self, trouble: Option<Trouble>) {
        lock(&self.shared.state).trouble = trouble;
        self.shared.watch.touch();
    }

    /// What is wrong with it.
    pub fn trouble(&self) -> Option<Trouble> {
        lock(&self.shared.state).trouble
    }

    /// What it was sent while it worked, oldest first.
    pub fn received(&self) -> Vec<Received> {
        let state = lock(&self.shared.state);
        state.received.iter().cloned().collect()
    }

    /// The last `count` of that, newest first.
    pub fn received_last(&self, count: usize) -> Vec<Received> {
        let state = lock(&self.shared.state);
        state.received.iter().rev().take(count).cloned().collect()
    }

    /// Asks for a token of this service once more, with the identity of an earlier request, as
    /// somebody does who has kept it; `None` when that had none.
    pub fn asks_again(&self, received: &Received, service: &str) -> Option<Call> {
        let identity = received.header("Portero-Identity")?;
        let mut calls = Vec::new();
        self.shared.token(&mut calls, identity, service, None);
        calls.pop()
    }
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let mut headers = headers.iter();
    let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

// ---- the webhook ----

impl Shared {
    fn new(watch: Arc<Watch>, around: Around) -> Shared {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Shared {
            watch,
            around,
            api_key: random_hex(24),
            agent: agent.into(),
            state: Mutex::default(),
        }
    }

    fn answer(&self, request: &Request) -> Response {
        if request.url() != WEBHOOK_PATH {
            return Response::empty_404();
        }
        let trouble = lock(&self.state).trouble;
        match trouble {
            Some(Trouble::Down) => return status(503),
            Some(Trouble::Error) => return status(500),
            Some(Trouble::Garbage) => return Response::html("<h1>It works!</h1>"),
            Some(Trouble::ClosesEarly) => return door::broken(),
            Some(Trouble::Slow(delay)) => std::thread::sleep(delay),
            None => {}
        }
        match request.method() {
            "GET" => self.handshake(request),
            "POST" => status(self.receive(request)),
            _ => status(405),
        }
    }

    /// As in Meta's sample: whoever knows the word gets the challenge back.
    fn handshake(&self, request: &Request) -> Response {
        let is_meta = request.get_param("hub.mode").as_deref() == Some("subscribe")
            && request.get_param("hub.verify_token").as_ref() == Some(&self.around.verify_token);
        match request.get_param("hub.challenge") {
            Some(challenge) if is_meta => Response::text(challenge),
            _ => status(403),
        }
    }

    fn receive(&self, request: &Request) -> u16 {
        let Some(body) = door::body(request) else {
            return 413;
        };
        let headers: Vec<(String, String)> = request
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let signature = header(&headers, "X-Hub-Signature-256").unwrap_or_default();
        let is_signed = is_signed(&self.around.app_secret, &body, signature);
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        // What nobody signed is looked at no further.
        let value = if is_signed {
            change(&body)
        } else {
            &Value::Null
        };
        let mut received = Received {
            number: 0,
            at_ms: now_ms(),
            headers,
            is_signed,
            what: about(value),
            identity: None,
            calls: Vec::new(),
            reply: None,
            status: if is_signed { 200 } else { 401 },
        };
        if let What::Message { id, text } = received.what.clone() {
            received.status = self.read(&mut received, value, &id, text.as_deref());
        }
        let answer = received.status;
        let mut state = lock(&self.state);
        state.received_so_far += 1;
        received.number = state.received_so_far;
        if state.received.len() == REMEMBERED_MAX {
            state.received.pop_front();
        }
        state.received.push_back(received);
        drop(state);
        self.watch.touch();
        answer
    }

    /// A message: who wrote it, and what they get. Returns the status; whatever is no success comes
    /// again.
    fn read(&self, received: &mut Received, value: &Value, id: &str, text: Option<&str>) -> u16 {
        let identity = header(&received.headers, "Portero-Identity").map(str::to_owned);
        if let Some(identity) = &identity {
            let keys = match self.keys_for(&mut received.calls, identity) {
                Ok(keys) => keys,
                Err(NoAnswer) => return 503,
            };
            let issuer = lock(&self.state).portero.clone();
            let who = verified(identity, &keys, &issuer, id, now_ms() / 1_000);
            let is_believed = who.is_ok();
            received.identity = Some(who);
            if !is_believed {
                return 401;
            }
        }
        let Some(text) = text else {
            return 200;
        };
        if lock(&self.state).answered.iter().any(|known| known == id) {
            return 200;
        }
        let who = received.identity.clone().and_then(Result::ok);
        let who = who.unwrap_or_default();
        let reply = self.reply(&mut received.calls, identity.as_deref(), &who, text);
        let is_sent = self.send(&mut received.calls, value, &reply);
        received.reply = is_sent.then_some(reply);
        if !is_sent {
            return 500;
        }
        let mut state = lock(&self.state);
        if state.answered.len() == REMEMBERED_MAX {
            state.answered.pop_front();
        }
        state.answered.push_back(id.to_owned());
        200
    }

    /// What the person is told. Only their own service says what is theirs, for a token of theirs.
    fn reply(
        &self,
        calls: &mut Vec<Call>,
        identity: Option<&str>,
        who: &Value,
        text: &str,
    ) -> String {
        let words = Words::of(who["contact"]["language"].as_str().unwrap_or_default());
        let name = first_name(who);
        let (Some(wish), Some(identity)) = (Wish::of(text), identity) else {
            return addressed(name, words.help);
        };
        let mut papers = Vec::new();
        let mut silent = Vec::new();
        for (service, account) in accounts(who, wish) {
            match self.token(calls, identity, service, account) {
                TokenTold::Token(token) => match self.own(calls, service, wish, &token) {
                    Some(own) => papers.extend(own),
                    None => silent.push(title(service)),
                },
                TokenTold::Say(say) => return say,
                TokenTold::Nothing => silent.push(title(service)),
            }
        }
        let mut reply = match papers.len() {
            0 if !silent.is_empty() => String::new(),
            0 => addressed(name, words.none(wish)),
            count => {
                let have = words.have(wish, count);
                addressed(name, &have.replace("{count}", &count.to_string()))
            }
        };
        for paper in &papers {
            let text = |key: &str| paper[key].as_str().unwrap_or_default();
            reply.push_str(&format!(
                "\n• *{}* {}, {}",
                text("number"),
                text("what"),
                text("state")
            ));
        }
        for service in silent {
            if !reply.is_empty() {
                reply.push('\n');
            }
            reply.push_str(&words.silent.replace("{service}", service));
        }
        reply
    }
}

fn status(code: u16) -> Response {
    Response::text("").with_status_code(code)
}

/// `sha256=` and the HMAC-SHA256 of the raw body under the app secret, in hex.
fn is_signed(app_secret: &str, body: &[u8], header: &str) -> bool {
    let digits = header.strip_prefix("sha256=").unwrap_or_default();
    let digit = |byte: u8| Some(char::from(byte).to_digit(16)? as u8);
    let bytes: Option<Vec<u8>> = (digits.as_bytes().chunks(2))
        .map(|pair| match *pair {
            [high, low] => Some((digit(high)? << 4) | digit(low)?),
            _ => None,
        })
        .collect();
    // HMAC takes keys of any length (RFC 2104, section 2).
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(app_secret.as_bytes())
        .expect("a key of any length");
    mac.update(body);
    bytes.is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
}

/// The `value` of a webhook; Portero sends at most one message in each.
fn change(body: &Value) -> &Value {
    &body["entry"][0]["changes"][0]["value"]
}

fn about(value: &Value) -> What {
    let message = &value["messages"][0];
    if let Some(id) = message["id"].as_str() {
        let text = message["text"]["body"].as_str();
        let tapped = message["interactive"]["button_reply"]["title"].as_str();
        return What::Message {
            id: id.to_owned(),
            text: text.or(tapped).map(str::to_owned),
        };
    }
    match value["statuses"][0]["status"].as_str() {
        Some(status) => What::Status(status.to_owned()),
        None => What::Other,
    }
}

// ---- who wrote ----

/// The claims of an identity that is Portero's, for this bot, came with this message and holds now.
fn verified(
    identity: &str,
    keys: &Value,
    issuer: &str,
    message_id: &str,
    now_seconds: u64,
) -> Result<Value, Refused> {
    let (signed, signature) = identity.rsplit_once('.').ok_or(Refused::Malformed)?;
    let (head, claims) = signed.split_once('.').ok_or(Refused::Malformed)?;
    let head: Value = unpacked(head).ok_or(Refused::Malformed)?;
    // One algorithm and one kind of token, whatever the token says (RFC 8725).
    if head["alg"] != "EdDSA" || head["typ"] != "portero-identity+jwt" {
        return Err(Refused::Malformed);
    }
    let key = key_of(keys, &head["kid"]).ok_or(Refused::Key)?;
    let signature = BASE64URL
        .decode(signature)
        .map_err(|_| Refused::Malformed)?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| Refused::Signature)?;
    let claims: Value = unpacked(claims).ok_or(Refused::Malformed)?;
    if claims["iss"] != issuer || claims["aud"] != "bot" {
        return Err(Refused::Party);
    }
    let expires_at = claims["exp"].as_u64().unwrap_or_default();
    if now_seconds >= expires_at.saturating_add(CLOCK_SKEW_MAX_SECONDS) {
        return Err(Refused::Expired);
    }
    if claims["jti"] != message_id {
        return Err(Refused::Message);
    }
    Ok(claims)
}

fn unpacked(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64URL.decode(part).ok()?).ok()
}

/// The public point of the key with this name (RFC 8037, section 2).
fn key_of(keys: &Value, kid: &Value) -> Option<Vec<u8>> {
    let mut keys = keys["keys"].as_array()?.iter();
    let key = keys.find(|key| key["kid"] == *kid && key["crv"] == "Ed25519")?;
    BASE64URL.decode(key["x"].as_str()?).ok()
}

/// First names are what a person is called; a page that only says *signed in* tells none.
fn first_name(who: &Value) -> &str {
    let name = who["bindings"][0]["account"]["name"].as_str();
    name.unwrap_or_default()
        .split(' ')
        .next()
        .unwrap_or_default()
}

// ---- calls ----

/// Nobody answered as agreed.
#[derive(Debug)]
struct NoAnswer;

enum TokenTold {
    Token(String),
    /// Something for the person.
    Say(String),
    Nothing,
}

impl Shared {
    /// Portero's keys; asked for again when a token names one that is new.
    fn keys_for(&self, calls: &mut Vec<Call>, identity: &str) -> Result<Value, NoAnswer> {
        let head = identity.split('.').next().and_then(unpacked);
        let kid = head.map_or(Value::Null, |head| head["kid"].clone());
        let (portero, known) = {
            let state = lock(&self.state);
            (state.portero.clone(), state.keys.clone())
        };
        if key_of(&known, &kid).is_some() {
            return Ok(known);
        }
        let path = "/.well-known/jwks.json";
        let asked = self.agent.get(format!("{portero}{path}")).call();
        let (code, keys) = told(asked).unwrap_or_default();
        let count = keys["keys"].as_array().map_or(0, Vec::len);
        note(calls, format!("GET {path}"), code, format!("keys: {count}"));
        if code != 200 {
            return Err(NoAnswer);
        }
        lock(&self.state).keys = keys.clone();
        Ok(keys)
    }

    /// A token with which to act for whoever the identity stands for.
    fn token(
        &self,
        calls: &mut Vec<Call>,
        identity: &str,
        service: &str,
        account: Option<&str>,
    ) -> TokenTold {
        let mut asked = json!({"identity": identity, "service": service});
        if let Some(account) = account {
            asked["account"] = account.into();
        }
        let portero = lock(&self.state).portero.clone();
        let path = "/v1/tokens";
        let answer = self
            .agent
            .post(format!("{portero}{path}"))
            .header("Authorization", format!("Bearer {}", self.api_key))
            .header("Content-Type", "application/json")
            .send(asked.to_string());
        let (code, answer) = told(answer).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (words, told) = if let Some(token) = answer["token"].as_str() {
            let life_s = answer["expiresIn"].as_u64().unwrap_or_default();
            let scope = text(&answer["scope"]);
            (
                format!("a token for {life_s} s, {scope}"),
                TokenTold::Token(token.to_owned()),
            )
        } else if let Some(say) = answer["say"].as_str() {
            let words = format!("need {}", text(&answer["need"]));
            (words, TokenTold::Say(say.to_owned()))
        } else {
            (text(&answer["error"]["key"]), TokenTold::Nothing)
        };
        note(calls, format!("POST {path} {service}"), code, words);
        told
    }

    /// What the service says is the user's own.
    fn own(
        &self,
        calls: &mut Vec<Call>,
        service: &str,
        wish: Wish,
        token: &str,
    ) -> Option<Vec<Value>> {
        let path = format!("/{service}/me/{}", wish.path());
        let url = format!("http://{}{path}", self.around.services);
        let authorization = format!("Bearer {token}");
        let asked = self.agent.get(url).header("Authorization", authorization);
        let (code, answer) = told(asked.call()).unwrap_or_default();
        let own = answer[wish.path()].as_array().cloned();
        let words = match &own {
            Some(own) => format!("{}: {}", wish.path(), own.len()),
            None => answer["error"]["key"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        note(calls, format!("GET {path}"), code, words);
        own.filter(|_| code == 200)
    }

    /// Answers in the chat, as without Portero.
    fn send(&self, calls: &mut Vec<Call>, value: &Value, reply: &str) -> bool {
        let path = format!("/{GRAPH_VERSION}/{}/messages", BUSINESS.phone_number_id);
        let message = &value["messages"][0];
        let mut outgoing = json!({
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "type": "text",
            "text": {"body": reply},
        });
        match message["from"].as_str() {
            Some(number) => outgoing["to"] = format!("+{number}").into(),
            // Somebody who shows no number is answered by the id that Meta gives instead.
            None => outgoing["recipient"] = message["from_user_id"].clone(),
        }
        let answer = self
            .agent
            .post(format!("http://{}{path}", self.around.graph))
            .header(
                "Authorization",
                format!("Bearer {}", self.around.access_token),
            )
            .header("Content-Type", "application/json")
            .send(outgoing.to_string());
        let (code, answer) = told(answer).unwrap_or_default();
        let words = match answer["error"]["code"].as_u64() {
            Some(code) => format!("error {code}"),
            None => "taken".to_owned(),
        };
        note(calls, format!("POST {path}"), code, words);
        code == 200
    }
}

/// Status and JSON of an answer.
fn told(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<(u16, Value)> {
    let mut answer = answer.ok()?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let body = body.read_to_vec().ok()?;
    let json = serde_json::from_slice(&body).unwrap_or_default();
    Some((answer.status().as_u16(), json))
}

fn note(calls: &mut Vec<Call>, call: String, code: u16, told: String) {
    let status = (code != 0).then_some(code);
    let told = if code == 0 {
        "no answer".to_owned()
    } else {
        told
    };
    calls.push(Call { call, status, told });
}

// ---- what it understands and says ----

/// What people can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Orders,
    Invoices,
}

impl Wish {
    /// One of a few words, anywhere in the text.
    fn of(text: &str) -> Option<Wish> {
        let text = text.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["pedido", "order", "encomenda"]) {
            Some(Wish::Orders)
        } else if has(&["factura", "fatura", "invoice"]) {
            Some(Wish::Invoices)
        } else {
            None
        }
    }

    fn path(self) -> &'static str {
        match self {
            Wish::Orders => "orders",
            Wish::Invoices => "invoices",
        }
    }
}

/// Whom to ask, for which account: orders of every account that the person has proved, invoices of
/// the one service that writes them.
fn accounts(who: &Value, wish: Wish) -> Vec<(&str, Option<&str>)> {
    let bindings = who["bindings"].as_array().into_iter().flatten();
    let proved = bindings.filter_map(|binding| {
        let account = binding["account"]["id"].as_str();
        let account = account.filter(|id| !id.is_empty());
        Some((binding["service"].as_str()?, account))
    });
    let keeper = SERVICES[0].name;
    let asked: Vec<(&str, Option<&str>)> = match wish {
        Wish::Orders => proved.collect(),
        Wish::Invoices => proved.filter(|(service, _)| *service == keeper).collect(),
    };
    if asked.is_empty() {
        // Portero knows what to say to whoever has none.
        return vec![(keeper, None)];
    }
    asked
}

fn title(service: &str) -> &str {
    let mut services = SERVICES.iter();
    services
        .find(|known| known.name == service)
        .map_or(service, |known| known.title)
}

/// What the bot says in one language; each sentence goes on after a name.
struct Words {
    help: &'static str,
    orders: [&'static str; 3],
    invoices: [&'static str; 3],
    silent: &'static str,
}

impl Words {
    fn of(language: &str) -> &'static Words {
        match language {
            "en" => &ENGLISH,
            "pt" => &PORTUGUESE,
            _ => &SPANISH,
        }
    }

    fn none(&self, wish: Wish) -> &'static str {
        self.about(wish)[0]
    }

    fn have(&self, wish: Wish, count: usize) -> &'static str {
        self.about(wish)[count.min(2)]
    }

    /// For none, one and several.
    fn about(&self, wish: Wish) -> [&'static str; 3] {
        match wish {
            Wish::Orders => self.orders,
            Wish::Invoices => self.invoices,
        }
    }
}

const SPANISH: Words = Words {
    help: "soy el bot de Inpla. Pregúntame por tus pedidos o tus facturas.",
    orders: [
        "no tienes pedidos en curso.",
        "tienes 1 pedido:",
        "tienes {count} pedidos:",
    ],
    invoices: [
        "no tienes facturas por pagar.",
        "tienes 1 factura por pagar:",
        "tienes {count} facturas por pagar:",
    ],
    silent: "{service} no responde ahora. Pregúntame otra vez en un rato.",
};

const ENGLISH: Words = Words {
    help: "I am Inpla's bot. Ask me about your orders or your invoices.",
    orders: [
        "you have no open orders.",
        "you have 1 order:",
        "you have {count} orders:",
    ],
    invoices: [
        "you have no invoices to pay.",
        "you have 1 invoice to pay:",
        "you have {count} invoices to pay:",
    ],
    silent: "{service} does not answer right now. Ask me again in a while.",
};

const PORTUGUESE: Words = Words {
    help: "sou o bot da Inpla. Pergunte pelos seus pedidos ou pelas suas faturas.",
    orders: [
        "você não tem pedidos em andamento.",
        "você tem 1 pedido:",
        "você tem {count} pedidos:",
    ],
    invoices: [
        "você não tem faturas a pagar.",
        "você tem 1 fatura a pagar:",
        "você tem {count} faturas a pagar:",
    ],
    silent: "{service} não responde agora. Pergunte de novo daqui a pouco.",
};

/// The sentence after the name of the person, or by itself where that is not known.
fn addressed(name: &str, sentence: &str) -> String {
    if !name.is_empty() {
        return format!("{name}, {sentence}");
    }
    let mut letters = sentence.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::World;
    use super::super::cast::ANA;
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const ISSUER: &str = "http://portero.example";
    const NOW: u64 = 1_000_000;

    /// A token as RFC 8037 makes it, and the set with its key.
    fn token(head: Value, claims: Value) -> (String, Value) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let packed = |value: &Value| BASE64URL.encode(value.to_string());
        let signed = format!("{}.{}", packed(&head), packed(&claims));
        let signature = BASE64URL.encode(pair.sign(signed.as_bytes()));
        let point = BASE64URL.encode(pair.public_key().as_ref());
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": point}]});
        (format!("{signed}.{signature}"), keys)
    }

    fn head() -> Value {
        json!({"alg": "EdDSA", "typ": "portero-identity+jwt", "kid": "k"})
    }

    fn claims() -> Value {
        json!({"iss": ISSUER, "aud": "bot", "jti": "m", "exp": NOW + 300})
    }

    fn with(mut value: Value, key: &str, other: Value) -> Value {
        value[key] = other;
        value
    }

    #[test]
    fn an_identity_is_believed_only_as_it_was_made_for_this_message_and_bot() {
        let judge = |head: Value, claims: Value, now: u64| {
            let (token, keys) = token(head, claims);
            verified(&token, &keys, ISSUER, "m", now).err()
        };
        assert_eq!(judge(head(), claims(), NOW), None);
        assert_eq!(judge(head(), claims(), NOW + 359), None, "clocks differ");
        assert_eq!(judge(head(), claims(), NOW + 360), Some(Refused::Expired));
        for (head, claims, refused) in [
            (
                with(head(), "alg", json!("none")),
                claims(),
                Refused::Malformed,
            ),
            (
                with(head(), "typ", json!("JWT")),
                claims(),
                Refused::Malformed,
            ),
            (with(head(), "kid", json!("other")), claims(), Refused::Key),
            (head(), with(claims(), "iss", json!("x")), Refused::Party),
            (
                head(),
                with(claims(), "aud", json!("kutamma")),
                Refused::Party,
            ),
            (head(), with(claims(), "jti", json!("n")), Refused::Message),
        ] {
            assert_eq!(judge(head, claims, NOW), Some(refused));
        }
        let (token, keys) = token(head(), claims());
        let (signed, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", BASE64URL.encode([0; 64]));
        let judged = verified(&forged, &keys, ISSUER, "m", NOW);
        assert_eq!(judged, Err(Refused::Signature));
    }

    #[test]
    fn a_webhook_counts_only_under_the_app_secret() {
        // RFC 4231, test case 2.
        let known = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let body = b"what do ya want for nothing?";
        assert!(is_signed("Jefe", body, known));
        assert!(!is_signed("Jefe", b"what do ya want for nothing", known));
        assert!(!is_signed("other", body, known));
        let with_sign = known.replace("6a04", "6a+4");
        for wrong in [
            "",
            "sha256=",
            "sha256=5b",
            "sha256=é",
            &known[7..],
            &known[..70],
            &with_sign,
        ] {
            assert!(!is_signed("Jefe", body, wrong), "{wrong}");
        }
    }

    #[test]
    fn the_bot_fails_as_it_is_told_and_hears_nothing_then() {
        let world = World::start().unwrap();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let ask = || {
            let answer = agent.post(world.bot.url()).send("{}");
            answer.ok().map(|answer| answer.status().as_u16())
        };
        assert_eq!(ask(), Some(401), "unsigned");
        assert_eq!(world.bot.received().len(), 1);
        for (trouble, status) in [
            (Trouble::Down, 503),
            (Trouble::Error, 500),
            (Trouble::Garbage, 200),
        ] {
            world.bot.misbehave(Some(trouble));
            assert_eq!(ask(), Some(status), "{trouble:?}");
        }
        world
            .bot
            .misbehave(Some(Trouble::Slow(Duration::from_millis(1))));
        assert_eq!(ask(), Some(401));
        assert_eq!(world.bot.received().len(), 2);
        world.bot.misbehave(Some(Trouble::ClosesEarly));
        let answer = agent.post(world.bot.url()).send("{}");
        assert!(answer.is_err() || answer.unwrap().into_body().read_to_vec().is_err());
        world.behave();
        assert_eq!(world.bot.trouble(), None);
    }

    #[test]
    fn the_handshake_is_for_whoever_knows_the_word() {
        let world = World::start().unwrap();
        let ask = |word: &str| {
            let url = format!(
                "{}?hub.mode=subscribe&hub.challenge=42&hub.verify_token={word}",
                world.bot.url()
            );
            ureq::get(url)
                .call()
                .ok()
                .map(|mut answer| answer.body_mut().read_to_string().unwrap())
        };
        assert_eq!(ask(world.verify_token()).as_deref(), Some("42"));
        assert_eq!(ask("other"), None);
    }

    #[test]
    fn without_an_identity_nobody_is_named_and_nothing_is_fetched() {
        let world = World::start().unwrap();
        world.graph.connect(&world.bot.url());
        let said = world.phone(ANA).say("¿Qué pedidos tengo?");
        let reply = world
            .phone(ANA)
            .wait_for_reply(&said, Duration::from_secs(20));
        assert!(reply.unwrap().body.starts_with("Soy el bot de Inpla"));
        let noted = world.watch().wait_for(Duration::from_secs(20), || {
            world.bot.received().into_iter().next()
        });
        let noted = noted.unwrap();
        assert!(noted.is_signed && noted.identity.is_none());
        assert_eq!(noted.calls.len(), 1, "the answer: {:?}", noted.calls);
    }

    #[test]
    fn wishes_are_understood_in_three_languages_and_counts_are_worded() {
        for (text, wish) in [
            ("¿Qué PEDIDOS tengo?", Some(Wish::Orders)),
            ("my orders", Some(Wish::Orders)),
            ("e as faturas?", Some(Wish::Invoices)),
            ("hola", None),
        ] {
            assert_eq!(Wish::of(text), wish, "{text}");
        }
        let words = Words::of("en");
        assert_eq!(words.have(Wish::Orders, 1), "you have 1 order:");
        assert_eq!(words.have(Wish::Orders, 9), "you have {count} orders:");
        assert_eq!(
            addressed("Ana", words.none(Wish::Invoices)),
            "Ana, you have no invoices to pay."
        );
        let both = json!({"bindings": [
            {"service": "woku", "account": {"id": "w-ana"}},
            {"service": "kutamma", "account": {"id": ""}},
        ]});
        assert_eq!(
            accounts(&both, Wish::Orders),
            [("woku", Some("w-ana")), ("kutamma", None)]
        );
        assert_eq!(accounts(&both, Wish::Invoices), [("kutamma", None)]);
        assert_eq!(accounts(&Value::Null, Wish::Orders), [("kutamma", None)]);
    }
}

//! The outside world of the real program: Meta, two companies and a mail server on loopback, the
//! file an administrator would write for them, and the process itself.
//!
//! Everything here is written against the contracts (Meta's, Standard Webhooks, SMTP) and knows
//! nothing of the program's inside, so that a misunderstanding cannot be on both sides.

use crate::python::StandIn;
use crate::smtp_sink;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use portero::mail::Security;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait for anything; generous, because a loaded machine is not a failure.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// Threads of a stand-in, each with one connection at a time: more than the program opens to it.
const SERVER_THREADS: usize = 32;

/// How often a thread of a stand-in looks whether the test is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How sentences begin that many tests wait for, in the words of the file.
pub const WELCOME: &str = "Hola, somos Panadería La Espiga.";
/// The answer to *who am I*, each time that it is asked: a repetition shows.
pub const NOT_SIGNED_IN: &str = "No has entrado.";
pub const ON_ITS_WAY: &str = "Si ";
pub const SIGNED_IN: &str = "Entraste como ";
pub const CANCELLED: &str = "Cancelado.";

pub const PUBLIC_HOST: &str = "portero.example.com";
pub const PHONE_NUMBER_ID: &str = "106540352242922";
pub const APP_SECRET: &str = "5f0c3a9d7e1b48c2a6d4f8e0b1c3d5e7";
pub const OLD_APP_SECRET: &str = "0ld0c3a9d7e1b48c2a6d4f8e0b1c3d5e";
pub const VERIFY_TOKEN: &str = "tomillo-y-romero";
pub const ACCESS_TOKEN: &str = "EAAGm0PX4ZCpsBAtoken0123456789";
/// With this one a bot sends, so that its messages and the program's are told apart.
pub const BOT_ACCESS_TOKEN: &str = "EAAGm0PX4ZCpsBAbot0123456789";
pub const STORE_KEY: &str = "c0ffee00112233445566778899aabbccddeeff00112233445566778899abcdef";

/// Waits until `ready` gives something; `what` is what the test was waiting for.
pub fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "this never happened: {what}");
        // Not a wait for time to pass: the pace at which a condition is looked at.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

// --- a small HTTP server --------------------------------------------------------------------------

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let mut found = headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.as_str())
}

/// What a stand-in does with a request.
pub enum Reply {
    Json(u16, Value),
    /// JSON, and what the server's clock says, as in `Date`.
    Dated(u16, Value, String),
    Html(u16, &'static str),
    /// No byte, until the other side gives up.
    Silence,
    /// A head, and then a byte a second until the other side gives up; how long that took is written
    /// down.
    Drip(Arc<Mutex<Vec<Duration>>>),
    /// The connection ends without a byte.
    HangUp,
}

/// Answers requests from a closure, on connections that stay open.
pub struct Server {
    pub port: u16,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let (over, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(answer));
        let threads = (0..SERVER_THREADS)
            .map(|_| {
                let (listener, over) = (Arc::clone(&listener), Arc::clone(&over));
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || {
                    while let Ok((stream, _)) = listener.accept() {
                        if over.load(Ordering::SeqCst) {
                            return;
                        }
                        // A client that was killed breaks its connection; that is its affair.
                        let _ = serve(&stream, &over, &*answer);
                    }
                })
            })
            .collect();
        Server {
            port,
            over,
            threads,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // One knock for each thread that waits at the door; the others look by themselves.
        for _ in &self.threads {
            let _ = TcpStream::connect(("127.0.0.1", self.port));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(
    stream: &TcpStream,
    over: &AtomicBool,
    answer: &dyn Fn(&Request) -> Reply,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let mut received = Vec::new();
    loop {
        let Some(request) = read_request(stream, &mut received, over)? else {
            return Ok(());
        };
        let mut date = String::new();
        let (status, kind, body) = match answer(&request) {
            Reply::Json(status, value) => (status, "application/json", value.to_string()),
            Reply::Dated(status, value, now) => {
                date = format!("Date: {now}\r\n");
                (status, "application/json", value.to_string())
            }
            Reply::Html(status, text) => (status, "text/html", text.to_owned()),
            Reply::HangUp => return stream.shutdown(Shutdown::Both),
            Reply::Silence => {
                while fill(stream, &mut received, over)? {}
                return Ok(());
            }
            Reply::Drip(lasted) => {
                let since = Instant::now();
                drip(stream, over)?;
                locked(&lasted).push(since.elapsed());
                return Ok(());
            }
        };
        let head = format!(
            "HTTP/1.1 {status} Said\r\n{date}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut out = stream;
        out.write_all(format!("{head}{body}").as_bytes())?;
    }
}

/// A head, and then a byte of the body each second.
fn drip(mut stream: &TcpStream, over: &AtomicBool) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")?;
    let mut next = Instant::now();
    while !over.load(Ordering::SeqCst) {
        if Instant::now() >= next {
            next += Duration::from_secs(1);
            if stream.write_all(b" ").is_err() {
                return Ok(());
            }
        }
        // Waits for [`LOOK_EVERY`] unless the other side has hung up.
        match stream.read(&mut [0; 16]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Reads more; false when the other side has closed or the test is over.
fn fill(mut stream: &TcpStream, received: &mut Vec<u8>, over: &AtomicBool) -> io::Result<bool> {
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                received.extend_from_slice(&buffer[..count]);
                return Ok(true);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {
                if over.load(Ordering::SeqCst) {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_request(
    stream: &TcpStream,
    received: &mut Vec<u8>,
    over: &AtomicBool,
) -> io::Result<Option<Request>> {
    let (first, headers, end) = loop {
        if let Some(head) = split_head(received) {
            break head;
        }
        if !fill(stream, received, over)? {
            return Ok(None);
        }
    };
    let length = header(&headers, "content-length").map_or(0, |length| length.parse().unwrap());
    while received.len() < end + length {
        if !fill(stream, received, over)? {
            return Ok(None);
        }
    }
    let body = received[end..end + length].to_vec();
    received.drain(..end + length);
    let mut words = first.split(' ');
    Ok(Some(Request {
        method: words.next().unwrap_or("").to_owned(),
        path: words.next().unwrap_or("").to_owned(),
        headers,
        body,
    }))
}

type Fields = Vec<(String, String)>;

/// First line, fields, and where the body begins.
fn split_head(received: &[u8]) -> Option<(String, Fields, usize)> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or("").to_owned();
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Some((first, fields, end + 4))
}

// --- Meta -----------------------------------------------------------------------------------------

/// A message that Meta took.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Meta's id of it.
    pub id: String,
    /// As it was addressed, `+57…` or a BSUID.
    pub to: String,
    pub body: String,
    /// Id and title of each button.
    pub buttons: Vec<(String, String)>,
    /// Where the button leads that opens a page.
    pub link: Option<String>,
    pub tag: String,
}

/// A text that a bot sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotSaid {
    /// A number or a BSUID.
    pub to: String,
    pub body: String,
}

/// How Meta answers the next send calls; when there is no more, as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// `{"error":{"code"}}` with this status; nothing is sent.
    Refuse(u16, u32),
    /// Never an answer; nothing is sent.
    Hang,
    /// Sent, and the connection is lost before the answer.
    TakeAndHangUp,
    /// Sent, and never an answer.
    TakeAndHang,
    /// Sent, and somebody in between answers with this status and a page.
    TakeAndSay(u16),
    /// Nothing is sent, and an answer comes a byte a second.
    Drip,
}

#[derive(Default)]
struct GraphState {
    sent: Vec<Sent>,
    bot_said: Vec<BotSaid>,
    /// What broke the contract.
    complaints: Vec<String>,
    next: Vec<Mood>,
    always: Option<Mood>,
    token: String,
    refused: usize,
    /// When each call came, taken or not.
    called_at: Vec<Instant>,
    /// How long the other side waited for each answer that dripped.
    dripped: Arc<Mutex<Vec<Duration>>>,
}

/// The Cloud API as Meta describes it (sections 2.6 and 3 of the contract), without patience.
pub struct Graph {
    server: Server,
    state: Arc<(Mutex<GraphState>, Condvar)>,
}

impl Graph {
    pub fn start() -> Graph {
        let state = Arc::new((Mutex::new(GraphState::default()), Condvar::new()));
        locked(&state.0).token = ACCESS_TOKEN.to_owned();
        let answering = Arc::clone(&state);
        let server = Server::start(move |request| {
            let reply = locked(&answering.0).answer(request);
            answering.1.notify_all();
            reply
        });
        Graph { server, state }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// What a bot sent with a token of its own.
    pub fn bot_said(&self) -> Vec<BotSaid> {
        locked(&self.state.0).bot_said.clone()
    }

    /// From now on only this token is good.
    pub fn accept_token(&self, token: &str) {
        locked(&self.state.0).token = token.to_owned();
    }

    /// The next calls are met in these moods.
    pub fn next(&self, moods: &[Mood]) {
        locked(&self.state.0).next.extend(moods.iter().rev());
    }

    /// Every call is met in this mood, until told otherwise.
    pub fn always(&self, mood: Option<Mood>) {
        locked(&self.state.0).always = mood;
    }

    /// When each call came, taken or not.
    pub fn called_at(&self) -> Vec<Instant> {
        locked(&self.state.0).called_at.clone()
    }

    /// How long the other side waited for each answer that dripped.
    pub fn dripped(&self) -> Vec<Duration> {
        let dripped = Arc::clone(&locked(&self.state.0).dripped);
        locked(&dripped).clone()
    }

    /// Calls that were not taken.
    pub fn refused(&self) -> usize {
        locked(&self.state.0).refused
    }

    /// Everything taken so far; none of it may have broken the contract.
    pub fn sent(&self) -> Vec<Sent> {
        let state = locked(&self.state.0);
        assert!(state.complaints.is_empty(), "{:#?}", state.complaints);
        state.sent.clone()
    }

    /// What was taken after so many.
    pub fn sent_since(&self, count: usize) -> Vec<Sent> {
        locked(&self.state.0).sent[count..].to_vec()
    }

    /// How many were taken so far.
    pub fn count(&self) -> usize {
        locked(&self.state.0).sent.len()
    }

    /// What one person received, in order.
    pub fn sent_to(&self, wa_id: &str) -> Vec<Sent> {
        let to = format!("+{wa_id}");
        let sent = self.sent().into_iter();
        sent.filter(|sent| sent.to == to).collect()
    }

    /// Waits for the `count`-th message to this person.
    pub fn reply(&self, wa_id: &str, count: usize) -> Sent {
        self.reply_within(wa_id, count, PATIENCE)
    }

    /// Waits until what this person received begins as told, each once and in this order. Whoever
    /// sends last what will surely be answered has seen everything that came before it.
    pub fn assert_received(&self, wa_id: &str, beginnings: &[&str]) {
        self.reply(wa_id, beginnings.len());
        let sent = self.sent_to(wa_id);
        let bodies: Vec<&str> = sent.iter().map(|sent| sent.body.as_str()).collect();
        let good = bodies.len() == beginnings.len()
            && bodies
                .iter()
                .zip(beginnings)
                .all(|(body, begin)| body.starts_with(begin));
        assert!(good, "{wa_id}: {bodies:#?} instead of {beginnings:#?}");
    }

    /// The same with a limit of its own.
    pub fn reply_within(&self, wa_id: &str, count: usize, limit: Duration) -> Sent {
        let to = format!("+{wa_id}");
        let (state, changed) = &*self.state;
        let guard = locked(state);
        let waiting = |state: &mut GraphState| {
            state.complaints.is_empty()
                && state.sent.iter().filter(|sent| sent.to == to).count() < count
        };
        let (guard, _) = changed
            .wait_timeout_while(guard, limit, waiting)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        assert!(guard.complaints.is_empty(), "{:#?}", guard.complaints);
        let theirs: Vec<&Sent> = guard.sent.iter().filter(|sent| sent.to == to).collect();
        match theirs.get(count - 1) {
            Some(sent) => (*sent).clone(),
            None => panic!("message {count} never came; before it came {theirs:#?}"),
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.sent();
        }
    }
}

impl GraphState {
    fn answer(&mut self, request: &Request) -> Reply {
        let error = |status, code: u32, words: &str| {
            Reply::Json(
                status,
                json!({"error": {"message": format!("(#{code}) {words}"), "type": "OAuthException",
                    "code": code, "fbtrace_id": "AbCdEf123"}}),
            )
        };
        if request.header("authorization") == Some(&format!("Bearer {BOT_ACCESS_TOKEN}")) {
            return self.answer_bot(request);
        }
        if request.header("authorization") != Some(format!("Bearer {}", self.token).as_str()) {
            self.refused += 1;
            return error(401, 190, "Error validating access token: expired");
        }
        self.called_at.push(Instant::now());
        let sent = match read_send(request) {
            Ok(sent) => sent,
            Err(complaint) => {
                self.complaints.push(format!(
                    "{complaint}: {} {}",
                    request.path,
                    String::from_utf8_lossy(&request.body)
                ));
                return error(400, 100, "Invalid parameter");
            }
        };
        let mood = self.next.pop().or(self.always);
        match mood {
            Some(Mood::Refuse(status, code)) => {
                self.refused += 1;
                let words = format!("Something happened to {}: {}", sent.to, sent.body);
                return error(status, code, &words);
            }
            Some(Mood::Hang) => {
                self.refused += 1;
                return Reply::Silence;
            }
            Some(Mood::Drip) => {
                self.refused += 1;
                return Reply::Drip(Arc::clone(&self.dripped));
            }
            Some(Mood::TakeAndHangUp | Mood::TakeAndHang | Mood::TakeAndSay(_)) | None => {}
        }
        let id = format!("wamid.HBgLOUT{:08}==", self.sent.len() + 1);
        let input = sent.to.clone();
        self.sent.push(Sent {
            id: id.clone(),
            ..sent
        });
        match mood {
            Some(Mood::TakeAndHangUp) => return Reply::HangUp,
            Some(Mood::TakeAndHang) => return Reply::Silence,
            Some(Mood::TakeAndSay(status)) => return Reply::Html(status, "<html>Oh no</html>"),
            _ => {}
        }
        let wa_id = input.trim_start_matches('+');
        Reply::Json(
            200,
            json!({"messaging_product": "whatsapp",
                "contacts": [{"input": input, "wa_id": wa_id}], "messages": [{"id": id}]}),
        )
    }
}

impl GraphState {
    /// A bot may use another version and more of the fields than the program does.
    fn answer_bot(&mut self, request: &Request) -> Reply {
        let body = request.json().unwrap_or_default();
        let to = body["to"].as_str().or(body["recipient"].as_str());
        let is_send_call = request.method == "POST"
            && request
                .path
                .ends_with(&format!("/{PHONE_NUMBER_ID}/messages"));
        match (is_send_call, to, body["text"]["body"].as_str()) {
            (true, Some(to), Some(text)) => {
                self.bot_said.push(BotSaid {
                    to: to.to_owned(),
                    body: text.to_owned(),
                });
                let id = format!("wamid.HBgLBOT{:08}==", self.bot_said.len());
                Reply::Json(
                    200,
                    json!({"messaging_product": "whatsapp",
                        "contacts": [{"input": to, "wa_id": to}], "messages": [{"id": id}]}),
                )
            }
            _ => {
                self.complaints
                    .push(format!("the bot sent {} {body}", request.path));
                Reply::Json(400, json!({"error": {"message": "(#100)", "code": 100}}))
            }
        }
    }
}

/// A send call, if it is exactly what the contract allows.
fn read_send(request: &Request) -> Result<Sent, String> {
    let wrong = |words: &str| Err(words.to_owned());
    if request.method != "POST" || request.path != format!("/v25.0/{PHONE_NUMBER_ID}/messages") {
        return wrong("not the address of send calls");
    }
    if request.header("content-type") != Some("application/json") {
        return wrong("the content type is not JSON");
    }
    let Some(body) = request.json() else {
        return wrong("the body is not JSON");
    };
    let known = [
        "messaging_product",
        "recipient_type",
        "to",
        "recipient",
        "type",
        "text",
        "interactive",
        "biz_opaque_callback_data",
    ];
    let fields = body.as_object().ok_or("the body is no object")?;
    if let Some(field) = fields.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("the field {field} is unknown"));
    }
    if body["messaging_product"] != "whatsapp" || body["recipient_type"] != "individual" {
        return wrong("messaging_product or recipient_type");
    }
    let to = match (body["to"].as_str(), body["recipient"].as_str()) {
        (Some(to), None) => {
            let digits = to.strip_prefix('+').ok_or("`to` without +")?;
            if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return wrong("`to` is not a number");
            }
            to
        }
        (None, Some(bsuid)) if bsuid.as_bytes().get(2) == Some(&b'.') => bsuid,
        _ => return wrong("exactly one of `to` and `recipient` is wanted"),
    };
    let characters = |value: &Value, max: usize, name: &str| -> Result<String, String> {
        let text = value.as_str().ok_or(format!("{name} is no text"))?;
        let good = (1..=max).contains(&text.chars().count());
        good.then(|| text.to_owned())
            .ok_or(format!("{name} has {} characters", text.chars().count()))
    };
    let mut buttons: Vec<(String, String)> = Vec::new();
    let mut link = None;
    let text = match body["type"].as_str() {
        Some("text") => {
            if body["text"]["preview_url"] != false || body.get("interactive").is_some() {
                return wrong("a text wants preview_url false and nothing interactive");
            }
            characters(&body["text"]["body"], 4096, "text.body")?
        }
        Some("interactive") if body["interactive"]["type"] == "cta_url" => {
            let action = &body["interactive"]["action"];
            let parameters = &action["parameters"];
            if action["name"] != "cta_url" || body.get("text").is_some() {
                return wrong("a link of another form");
            }
            characters(&parameters["display_text"], 20, "display_text")?;
            link = Some(characters(&parameters["url"], 2000, "url")?);
            characters(
                &body["interactive"]["body"]["text"],
                1024,
                "interactive.body",
            )?
        }
        Some("interactive") => {
            let interactive = &body["interactive"];
            if interactive["type"] != "button" || body.get("text").is_some() {
                return wrong("an interactive message of another type");
            }
            let list = interactive["action"]["buttons"]
                .as_array()
                .ok_or("no buttons")?;
            if !(1..=3).contains(&list.len()) {
                return wrong("1 to 3 buttons are allowed");
            }
            for button in list {
                let id = characters(&button["reply"]["id"], 256, "button id")?;
                let title = characters(&button["reply"]["title"], 20, "button title")?;
                let same = |(other, name): &(String, String)| *other == id || *name == title;
                if button["type"] != "reply" || id.trim() != id || buttons.iter().any(same) {
                    return wrong("a button that is none, or twice the same");
                }
                buttons.push((id, title));
            }
            characters(&interactive["body"]["text"], 1024, "interactive.body")?
        }
        _ => return wrong("type"),
    };
    let tag = characters(&body["biz_opaque_callback_data"], 512, "the tag")?;
    Ok(Sent {
        id: String::new(),
        to: to.to_owned(),
        body: text,
        buttons,
        link,
        tag,
    })
}

// --- a company ------------------------------------------------------------------------------------

/// A user that a service knows.
#[derive(Clone, Copy, Debug)]
pub struct User {
    pub email: &'static str,
    pub name: &'static str,
    pub company: &'static str,
}

/// How a service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceMood {
    Good,
    Hang,
    HangUp,
    /// 200, and something that is not JSON.
    Garbled,
    Refuse(u16),
}

struct ServiceState {
    mood: ServiceMood,
    asked: Vec<String>,
    complaints: Vec<String>,
    /// Body of each webhook-id: a repeat is the same question. Several programs, with a store each,
    /// may choose the same id.
    questions: HashMap<String, Vec<u8>>,
    has_many_askers: bool,
    /// Tokens that were issued, and for which user.
    tokens: HashMap<String, usize>,
    /// How long tokens are good.
    token_seconds: u64,
    /// What the callers of `/orders` were told.
    told: Vec<u16>,
}

/// A company's system that checks each call as Standard Webhooks says.
pub struct Service {
    server: Server,
    secret: String,
    state: Arc<Mutex<ServiceState>>,
}

impl Service {
    pub fn start(key: &[u8; 32], users: Vec<User>) -> Service {
        let state = Arc::new(Mutex::new(ServiceState {
            mood: ServiceMood::Good,
            asked: Vec::new(),
            complaints: Vec::new(),
            questions: HashMap::new(),
            has_many_askers: false,
            tokens: HashMap::new(),
            token_seconds: 3600,
            told: Vec::new(),
        }));
        let (answering, key_bytes) = (Arc::clone(&state), *key);
        let server =
            Server::start(move |request| locked(&answering).answer(request, &key_bytes, &users));
        Service {
            server,
            secret: format!("whsec_{}", STANDARD.encode(key)),
            state,
        }
    }

    pub fn set(&self, mood: ServiceMood) {
        locked(&self.state).mood = mood;
    }

    /// Several programs ask, each of which has a store of its own.
    pub fn is_asked_by_many(&self) {
        locked(&self.state).has_many_askers = true;
    }

    /// Tokens are good for this long from now on.
    pub fn issue_tokens_for(&self, seconds: u64) {
        locked(&self.state).token_seconds = seconds;
    }

    /// The addresses asked about, repeats included; every call must have been properly signed.
    pub fn asked(&self) -> Vec<String> {
        let state = locked(&self.state);
        assert!(state.complaints.is_empty(), "{:#?}", state.complaints);
        state.asked.clone()
    }

    /// Where the service itself is, which knows a token of its own from another one.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// How many tokens it issued.
    pub fn issued(&self) -> usize {
        locked(&self.state).tokens.len()
    }

    /// The status of each answer about orders.
    pub fn told(&self) -> Vec<u16> {
        locked(&self.state).told.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.asked();
        }
    }
}

impl ServiceState {
    fn answer(&mut self, request: &Request, key: &[u8], users: &[User]) -> Reply {
        if request.path == "/orders" {
            return self.orders(request, users);
        }
        let asked = match request.path.as_str() {
            "/portero/issue-token" => self.issue(request, key, users).map(Err),
            _ => self.read_email(request, key).map(Ok),
        };
        let email = match asked {
            Ok(Ok(email)) => email,
            Ok(Err(token)) => return token,
            Err(complaint) => {
                self.complaints.push(format!("{complaint}: {request:?}"));
                return Reply::Json(401, json!({"error": "unsigned"}));
            }
        };
        self.asked.push(email.clone());
        match self.mood {
            ServiceMood::Good => {}
            ServiceMood::Hang => return Reply::Silence,
            ServiceMood::HangUp => return Reply::HangUp,
            ServiceMood::Garbled => return Reply::Html(200, "<html>We will be back soon</html>"),
            ServiceMood::Refuse(status) => {
                return Reply::Json(status, json!({"error": format!("not now, {email}")}));
            }
        }
        let known = users.iter().enumerate();
        let found: Vec<Value> = known
            .filter(|(_, user)| user.email.eq_ignore_ascii_case(&email))
            .map(|(index, user)| {
                json!({"id": index + 1, "name": user.name, "email": user.email,
                    "company": {"id": "c-1", "name": user.company}})
            })
            .collect();
        Reply::Json(200, json!({ "users": found }))
    }

    /// The orders of whoever a token was issued for: as many as their id says.
    fn orders(&mut self, request: &Request, users: &[User]) -> Reply {
        let bearer = (request.header("authorization"))
            .and_then(|header| header.strip_prefix("Bearer "))
            .and_then(|token| self.tokens.get(token));
        let (status, answer) = match bearer {
            Some(id) if request.method == "GET" => {
                let orders: Vec<Value> = (1..=*id)
                    .map(|order| json!({"id": order, "customer": users[id - 1].name}))
                    .collect();
                (200, json!(orders))
            }
            _ => (401, json!({"error": "not a token of this service"})),
        };
        self.told.push(status);
        Reply::Json(status, answer)
    }

    fn issue(&mut self, request: &Request, key: &[u8], users: &[User]) -> Result<Reply, String> {
        let body = self.read(request, key)?;
        let id = (body["userId"].as_str())
            .and_then(|id| id.parse().ok())
            .filter(|id| (1..=users.len()).contains(id))
            .ok_or("a token for nobody")?;
        if body["companyId"] != "c-1" || body["userUuid"].as_str().is_none() {
            return Err("a token for another company, or for no chat".to_owned());
        }
        let token = format!("{}-token-{}", users[id - 1].company, self.tokens.len() + 1);
        self.tokens.insert(token.clone(), id);
        let answer =
            json!({"token": token, "tokenType": "Bearer", "expiresIn": self.token_seconds});
        Ok(Reply::Json(200, answer))
    }

    fn read_email(&mut self, request: &Request, key: &[u8]) -> Result<String, String> {
        if request.path != "/portero/find-user" {
            return Err("not an address of this service".to_owned());
        }
        let body = self.read(request, key)?;
        let fields = body.as_object().ok_or("the body is no object")?;
        match (fields.len(), body["email"].as_str()) {
            (1, Some(email)) => Ok(email.to_owned()),
            _ => Err("exactly an e-mail is expected".to_owned()),
        }
    }

    /// The body of a call that is properly signed.
    fn read(&mut self, request: &Request, key: &[u8]) -> Result<Value, String> {
        if request.method != "POST" {
            return Err("not a call of this service".to_owned());
        }
        let head = |name: &str| {
            let value = request.header(name);
            value.ok_or(format!("{name} is missing"))
        };
        let (id, time, signatures) = (
            head("webhook-id")?,
            head("webhook-timestamp")?,
            head("webhook-signature")?,
        );
        let sent_at: u64 = time.parse().map_err(|_| "the timestamp is no number")?;
        if sent_at.abs_diff(unix_seconds()) > 300 {
            return Err("the timestamp is not of now".to_owned());
        }
        let expected = webhook_signature(key, id, time, &request.body);
        if !signatures.split(' ').any(|one| one == expected) {
            return Err("the signature is wrong".to_owned());
        }
        let known = self
            .questions
            .entry(id.to_owned())
            .or_insert_with(|| request.body.clone());
        if *known != request.body && !self.has_many_askers {
            return Err("one webhook-id for two questions".to_owned());
        }
        request
            .json()
            .ok_or_else(|| "the body is not JSON".to_owned())
    }
}

// --- the mail server ------------------------------------------------------------------------------

/// A mail as the server took it.
#[derive(Clone, Debug)]
pub struct Letter {
    pub to: String,
    /// Its `Message-ID`.
    pub id: String,
    pub subject: String,
    pub text: String,
}

impl Letter {
    /// Whether it tells of a sign-in, with the link to undo it, and carries no code.
    pub fn is_notice(&self) -> bool {
        self.text.contains("/undo/?token=")
            && !self.subject.starts_with(|c: char| c.is_ascii_digit())
    }

    /// The code, which stands at the beginning of the first line.
    pub fn code(&self) -> String {
        let first = self.text.lines().next().unwrap();
        let code: String = first.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(code.len(), 8, "{first}");
        code
    }
}

/// The mailboxes behind a real SMTP server with STARTTLS and AUTH.
pub struct Mailboxes {
    sink: StandIn,
    unread: Vec<Letter>,
}

impl Mailboxes {
    /// `replies` are said first, as `smtp_sink.py` explains.
    pub fn start(replies: Value) -> Mailboxes {
        Mailboxes {
            sink: smtp_sink::start(Security::StartTls, replies),
            unread: Vec::new(),
        }
    }

    /// While this file is there, what is in it is said, as `smtp_sink.py` explains.
    fn with_mood(file: &Path) -> Mailboxes {
        Mailboxes {
            sink: smtp_sink::start_with(Security::StartTls, json!({ "mood": file })),
            unread: Vec::new(),
        }
    }

    /// The next mail to this address.
    pub fn letter_to(&mut self, address: &str) -> Letter {
        eventually(&format!("a mail to {address}"), || {
            self.letter_if_any(address)
        })
    }

    /// The same without waiting long.
    pub fn letter_if_any(&mut self, address: &str) -> Option<Letter> {
        let more = self.any();
        self.unread.extend(more);
        let place = self.unread.iter().position(|letter| letter.to == address)?;
        Some(self.unread.remove(place))
    }

    /// The mails that come in a moment, whoever they are for.
    pub fn any(&mut self) -> Option<Letter> {
        self.sink.next_within("mail", LOOK_EVERY).map(letter)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.sink.port
    }

    /// Waits until a recipient was named, which is before the mail to it is taken or refused.
    pub fn named_recipient(&mut self) {
        self.sink.next("rcpt");
    }

    /// What is left when the server has ended: mails that nobody has read.
    pub fn finish(self) -> Vec<Letter> {
        let mut unread = self.unread;
        let events = self.sink.finish().into_iter();
        unread.extend(events.filter(|event| event["event"] == "mail").map(letter));
        unread
    }
}

fn letter(event: Value) -> Letter {
    assert_eq!(event["encrypted"], true);
    assert_eq!(event["authenticated"], true);
    assert_eq!(event["to"].as_array().unwrap().len(), 1);
    let headers = event["headers"].as_array().unwrap();
    let of = |name: &str| headers.iter().find(|header| header[0] == name);
    let (subject, id) = (of("Subject"), of("Message-ID"));
    let parts = event["parts"].as_array().unwrap();
    let plain = parts.iter().find(|part| part["type"] == "text/plain");
    Letter {
        to: event["to"][0].as_str().unwrap().to_owned(),
        id: id.unwrap()[1].as_str().unwrap().to_owned(),
        subject: subject.unwrap()[1].as_str().unwrap().to_owned(),
        text: plain.unwrap()["text"].as_str().unwrap().to_owned(),
    }
}

// --- the program ----------------------------------------------------------------------------------

/// Users of the first service who have these addresses.
fn users(emails: impl Iterator<Item = String>) -> Vec<User> {
    let users = emails.map(|email| User {
        // As long as the process: those of other tests are in its program.
        email: email.leak(),
        ..ANA
    });
    users.collect()
}

/// Everything around the program, and the folder in which it lives.
pub struct World {
    pub folder: tempfile::TempDir,
    pub graph: Graph,
    pub kutamma: Service,
    pub woku: Service,
    pub mail: Option<Mailboxes>,
}

pub const ANA: User = User {
    email: "ana@example.com",
    name: "Ana Pérez",
    company: "Inpla",
};
pub const BEA: User = User {
    email: "bea@example.com",
    name: "Bea Gómez",
    company: "Inpla",
};
/// People for whoever needs some more.
pub const MORE: [User; 4] = [
    User {
        email: "carla@example.com",
        name: "Carla Díaz",
        company: "Inpla",
    },
    User {
        email: "diego@example.com",
        name: "Diego Ríos",
        company: "Inpla",
    },
    User {
        email: "elena@example.com",
        name: "Elena Paz",
        company: "Inpla",
    },
    User {
        email: "fabio@example.com",
        name: "Fabio Sol",
        company: "Inpla",
    },
];
pub const BEA_AT_WOKU: User = User {
    email: "bea@example.com",
    name: "Beatriz Gómez",
    company: "Consultores",
};

impl World {
    /// With a mail server that says `replies` before it behaves.
    pub fn with_mail(replies: Value) -> World {
        let mail = Mailboxes::start(replies);
        World::around(Some(mail), &[])
    }

    /// With a mail server, and users of the first service who have these addresses.
    pub fn with_users(emails: impl Iterator<Item = String>) -> World {
        World::around(Some(Mailboxes::start(json!({}))), &users(emails))
    }

    /// The same, and the mail server has moods while this file is there.
    pub fn with_moody_mail(file: &Path, emails: impl Iterator<Item = String>) -> World {
        World::around(Some(Mailboxes::with_mood(file)), &users(emails))
    }

    /// For what needs no mail: nobody listens at the mail server's port.
    pub fn without_mail() -> World {
        World::around(None, &[])
    }

    fn around(mail: Option<Mailboxes>, more: &[User]) -> World {
        let mut users = vec![ANA, BEA];
        users.extend(MORE);
        users.extend(more);
        let world = World {
            folder: tempfile::tempdir().unwrap(),
            graph: Graph::start(),
            kutamma: Service::start(b"kutamma kutamma kutamma kutamma ", users),
            woku: Service::start(b"woku woku woku woku woku woku wo", vec![BEA_AT_WOKU]),
            mail,
        };
        let port = world.mail.as_ref().map_or(9, |mail| mail.sink.port);
        if let Some(mail) = &world.mail {
            fs::write(world.path("mail-ca.pem"), &mail.sink.ca_pem).unwrap();
        }
        let ca_file = match world.mail {
            Some(_) => "ca_file = \"mail-ca.pem\"",
            None => "",
        };
        world.secret_file("app_secret", APP_SECRET);
        world.secret_file("mail_password", smtp_sink::PASSWORD);
        let text = format!(
            r#"# What an administrator writes.
[business]
name = "Panadería La Espiga"

[server]
public_url = "https://{PUBLIC_HOST}/"
listen = "127.0.0.1:0"

[whatsapp]
phone_number_id = "{PHONE_NUMBER_ID}"
access_token = "env:META_TOKEN"
app_secrets = ["file:app_secret", "env:OLD_APP_SECRET"]
verify_token = "env:META_VERIFY"
api_url = "{graph}"
messages_per_second = 1000

[mail]
server = "localhost"
port = {port}
username = "{user}"
password = "file:mail_password"
from = "La Espiga <no-reply@espiga.example>"
{ca_file}

[store]
path = "portero.redb"
key = "env:STORE_KEY"

# Words of its own, which the tests can rely on.
[texts.es]
welcome = "Hola, somos {{business}}. ¿Con qué correo estás en {{services}}?"
code_on_its_way = "Si {{address}} está registrado, va un código de {{digits}} cifras. Vale {{minutes}} minutos."
code_wrong = "Código equivocado. Te quedan {{left}}."
signed_in = "Entraste como {{accounts}}."
who_you_are = "Eres {{accounts}}."
account_name = "{{name}} de {{company}} en {{service}}"
cancelled = "Cancelado."
not_signed_in = "No has entrado. ¿Con qué correo estás en {{services}}?"
not_forwarded = "Reenviado no vale."
old_button = "Botón viejo."
mail_subject = "{{code}} para {{business}}"
mail_code = "{{code}} es tu código de {{business}}."
mail_asked_by = "Lo pidió {{chat}}."
chat_number = "el número que termina en {{ending}}"

[texts.en]
welcome = "Hello from {{business}}. Which address do you have with {{services}}?"
code_on_its_way = "If {{address}} is registered, a code of {{digits}} digits comes."
code_wrong = "Wrong code. Left: {{left}}."

[log]
level = "debug"
format = "human"

[[services]]
name = "kutamma"
title = "Kutamma"
find_user = "{kutamma}/portero/find-user"
issue_token = "{kutamma}/portero/issue-token"
secret = "env:KUTAMMA_SECRET"
timeout_seconds = 10

[[services]]
name = "woku"
find_user = "{woku}/portero/find-user"
issue_token = "{woku}/portero/issue-token"
secret = "file:woku_secret"
timeout_seconds = 10
"#,
            graph = world.graph.url(),
            user = smtp_sink::USER,
            kutamma = world.kutamma.server.url(),
            woku = world.woku.server.url(),
        );
        world.secret_file("woku_secret", &world.woku.secret);
        fs::write(world.path("portero.toml"), text).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file for `file:NAME` in the configuration.
    pub fn secret_file(&self, name: &str, content: &str) {
        fs::write(self.path(name), format!("{content}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Changes the configuration file; what is to be replaced must be there.
    pub fn edit(&self, old: &str, new: &str) {
        let path = self.path("portero.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{old} is not in the file");
        fs::write(path, text.replacen(old, new, 1)).unwrap();
    }

    /// The program with the environment that the file names, in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portero"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("META_TOKEN", ACCESS_TOKEN)
            .env("OLD_APP_SECRET", OLD_APP_SECRET)
            .env("META_VERIFY", VERIFY_TOKEN)
            .env("STORE_KEY", STORE_KEY)
            .env("KUTAMMA_SECRET", &self.kutamma.secret)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// `portero serve`, once it is ready.
    pub fn start(&self) -> Portero {
        Portero::start(self.command(&["serve", "--config", "portero.toml"]))
    }

    pub fn mail(&mut self) -> &mut Mailboxes {
        self.mail.as_mut().expect("this world has a mail server")
    }

    /// Signs somebody in as one of the users of the services, also when they were signed in before.
    pub fn sign_in(&mut self, portero: &Portero, from: &str, email: &str) {
        let sign_ins = |world: &World| {
            let sent = world.graph.sent_to(from).into_iter();
            sent.filter(|sent| sent.body.starts_with(SIGNED_IN)).count()
        };
        let before = sign_ins(self);
        portero.receive(&[text(from, email)]);
        let code = self.mail().letter_to(email).code();
        portero.receive(&[text(from, &code)]);
        eventually("somebody is signed in", || {
            (sign_ins(self) > before).then_some(())
        });
    }
}

/// The running program; it ends with this value.
pub struct Portero {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Portero {
    /// Spawns it and waits until its log says that it is ready.
    pub fn start(command: Command) -> Portero {
        Portero::start_or_end(command).unwrap_or_else(|(status, log)| {
            panic!("it ended with {status}: {log}");
        })
    }

    /// The same, or its end and what it said.
    pub fn start_or_end(mut command: Command) -> Result<Portero, (ExitStatus, String)> {
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let writing = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut line = Vec::new();
            while stderr
                .read_until(b'\n', &mut line)
                .is_ok_and(|count| count > 0)
            {
                locked(&writing).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        let mut portero = Portero {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
            reader: Some(reader),
        };
        let begun = eventually("portero is ready", || {
            if let Some(status) = portero.ended_within(Duration::ZERO) {
                return Some(Err(status));
            }
            let log = portero.log();
            if !log.contains("portero is ready") {
                return None;
            }
            let (_, rest) = log.split_once("listening on http://")?;
            Some(Ok(rest.split_once(';')?.0.parse().unwrap()))
        });
        match begun {
            Ok(address) => {
                portero.address = address;
                Ok(portero)
            }
            Err(status) => Err((status, portero.log())),
        }
    }

    /// Everything it has logged so far.
    pub fn log(&self) -> String {
        locked(&self.log).clone()
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Its number.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap()
    }

    /// What it has of the machine at the moment, as Linux counts it.
    pub fn figures(&self) -> Figures {
        Figures::of(self.pid())
    }

    /// Waits for its end; `None` when it has not come within `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    let _ = reader.join();
                }
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Tells it to stop, and returns its exit code and all of its log.
    pub fn stop(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        let status = self.ended_within(PATIENCE).expect("it never stopped");
        (status.code(), self.log())
    }

    /// The hardest end: no goodbye, no flush.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn get(&self, path: &str) -> Answer {
        ask(self.address, "GET", path, &[], b"").unwrap()
    }

    /// A call of the API with this key.
    pub fn post_json(&self, key: &str, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        let body = body.to_string();
        ask(self.address, "POST", path, &headers, body.as_bytes()).unwrap()
    }

    /// Where Prometheus asks.
    pub fn metrics_address(&self) -> SocketAddr {
        let log = self.log();
        let (_, rest) = log.split_once("metrics are at http://").unwrap();
        rest.split_once("/metrics").unwrap().0.parse().unwrap()
    }

    /// Sends a body as Meta does.
    pub fn post_webhook(&self, body: &[u8]) -> Answer {
        post_webhook(self.address, body).unwrap()
    }

    /// Sends messages as Meta does; each must be taken.
    pub fn receive(&self, messages: &[Message]) {
        let answer = self.post_webhook(&webhook(messages));
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
}

impl Drop for Portero {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let end = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- the end of the program's log ---\n{}", end.join("\n"));
        }
    }
}

/// Reads a log up to where the program is ready, and returns where it listens.
pub fn ready_at(log: &mut impl BufRead) -> SocketAddr {
    let (mut address, mut line) = (None, String::new());
    while !line.contains("portero is ready") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0);
        if let Some((_, rest)) = line.split_once("listening on http://") {
            address = rest.split(';').next().map(|text| text.parse().unwrap());
        }
    }
    address.unwrap()
}

/// What a process has of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Of its own: the pages of its program's file come and go as the system likes.
    pub memory_kib: u64,
    /// Of the program's file.
    pub memory_kib_of_file: u64,
    /// The most that both ever were together.
    pub memory_kib_peak: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Figures {
    /// From `/proc` (proc_pid_status(5), proc_pid_fd(5)).
    pub fn of(pid: Pid) -> Figures {
        let folder = format!("/proc/{}", pid.as_raw_nonzero());
        let status = fs::read_to_string(format!("{folder}/status")).unwrap();
        let number = |field: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(field));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.unwrap().parse().unwrap()
        };
        Figures {
            memory_kib: number("RssAnon:"),
            memory_kib_of_file: number("RssFile:"),
            memory_kib_peak: number("VmHWM:"),
            threads: number("Threads:"),
            descriptors: fs::read_dir(format!("{folder}/fd")).unwrap().count() as u64,
        }
    }
}

// --- the other side of the wire ---------------------------------------------------------------------

/// An answer of the program.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// One request on a connection of its own, for the public host unless `headers` name another.
pub fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let stream = TcpStream::connect(address)?;
    let mut fields = vec![("Connection", "close")];
    fields.extend_from_slice(headers);
    ask_on(&stream, method, path, &fields, body)
}

/// The same on a connection that may be used again.
pub fn ask_on(
    stream: &TcpStream,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {PUBLIC_HOST}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut bytes = format!("{head}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    let mut out = stream;
    // A refusal may come, and the connection close, before all of the body has left.
    let written = out.write_all(&bytes);
    read_answer(stream, method).and_then(|answer| match answer {
        Some(answer) => Ok(answer),
        None => Err(written.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())),
    })
}

/// A whole answer, or `None` when the connection ended before its first byte; half of one is a
/// fault of the program.
pub fn read_answer(mut stream: &TcpStream, method: &str) -> io::Result<Option<Answer>> {
    let mut received = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some((first, headers, end)) = split_head(&received) {
            let length: usize = match header(&headers, "content-length") {
                Some(_) if method == "HEAD" => 0,
                Some(length) => length.parse().unwrap(),
                None => 0,
            };
            if received.len() >= end + length {
                let status = first.split(' ').nth(1).unwrap().parse().unwrap();
                assert_eq!(received.len(), end + length, "bytes after the answer");
                return Ok(Some(Answer {
                    status,
                    headers,
                    body: String::from_utf8(received[end..].to_vec()).unwrap(),
                }));
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) if received.is_empty() => return Ok(None),
            Ok(0) => panic!("half an answer: {}", String::from_utf8_lossy(&received)),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if received.is_empty() => return Err(error),
            Err(error) => panic!("half an answer ({error})"),
        }
    }
}

/// `webhook-signature` of a body (Standard Webhooks).
pub fn webhook_signature(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> String {
    let mut signed = format!("{id}.{timestamp}.").into_bytes();
    signed.extend_from_slice(body);
    format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)))
}

/// `X-Hub-Signature-256` of a body.
pub fn signature(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hex(&hmac_sha256(secret.as_bytes(), body)))
}

/// Sends a body as Meta does.
pub fn post_webhook(address: SocketAddr, body: &[u8]) -> io::Result<Answer> {
    let signature = signature(APP_SECRET, body);
    let headers = [
        ("Content-Type", "application/json"),
        ("User-Agent", "facebookexternalua"),
        ("X-Hub-Signature-256", signature.as_str()),
    ];
    ask(address, "POST", "/webhook", &headers, body)
}

/// A message of a person, with Meta's id.
#[derive(Clone, Debug)]
pub struct Message {
    pub from: String,
    pub name: String,
    /// What WhatsApp calls the person to this business (their BSUID), where the body says it.
    pub user_id: Option<String>,
    /// The element of `messages[]`.
    pub value: Value,
}

/// Numbers the messages of all tests.
static MESSAGES: AtomicU64 = AtomicU64::new(1);

/// A text of `from`, sent now.
pub fn text(from: &str, text: &str) -> Message {
    message(from, json!({"type": "text", "text": {"body": text}}))
}

/// A tap on a button of ours.
pub fn tap(from: &str, id: &str, title: &str) -> Message {
    let reply = json!({"type": "button_reply", "button_reply": {"id": id, "title": title}});
    message(from, json!({"type": "interactive", "interactive": reply}))
}

/// A message with these fields, sent now.
pub fn message(from: &str, mut value: Value) -> Message {
    let number = MESSAGES.fetch_add(1, Ordering::Relaxed);
    let fields = value.as_object_mut().unwrap();
    let mut put = |name: &str, value: Value| {
        fields.entry(name).or_insert(value);
    };
    put("from", json!(from));
    put("id", json!(format!("wamid.HBgLIN{number:08}")));
    put("timestamp", json!(unix_seconds().to_string()));
    Message {
        from: from.to_owned(),
        name: "Sheena Nelson".to_owned(),
        user_id: None,
        value,
    }
}

impl Message {
    /// As Meta has sent it since 2026: with the BSUID beside the number.
    pub fn of_user(mut self, user_id: &str) -> Message {
        self.value["from_user_id"] = json!(user_id);
        self.user_id = Some(user_id.to_owned());
        self
    }
}

/// The body in which Meta sends these messages.
pub fn webhook(messages: &[Message]) -> Vec<u8> {
    let mut contacts: Vec<Value> = Vec::new();
    for message in messages {
        let mut contact = json!({"profile": {"name": message.name}, "wa_id": message.from});
        if let Some(user_id) = &message.user_id {
            contact["user_id"] = json!(user_id);
        }
        if contacts.last() != Some(&contact) {
            contacts.push(contact);
        }
    }
    let messages: Vec<&Value> = messages.iter().map(|message| &message.value).collect();
    envelope(json!({"contacts": contacts, "messages": messages}))
}

/// The body in which Meta reports the fate of a message.
pub fn status(sent: &Sent, status: &str) -> Vec<u8> {
    envelope(json!({"statuses": [status_of(sent, status)]}))
}

/// An element of `statuses[]`.
pub fn status_of(sent: &Sent, status: &str) -> Value {
    json!({
        "id": sent.id, "status": status, "timestamp": unix_seconds().to_string(),
        "recipient_id": sent.to.trim_start_matches('+'), "biz_opaque_callback_data": sent.tag,
        "pricing": {"billable": false, "pricing_model": "PMP", "type": "free_customer_service",
            "category": "service"},
    })
}

/// A body of Meta around the fields of a `value`.
pub fn envelope(mut value: Value) -> Vec<u8> {
    value["messaging_product"] = json!("whatsapp");
    value["metadata"] =
        json!({"display_phone_number": "15550783881", "phone_number_id": PHONE_NUMBER_ID});
    let change = json!({"value": value, "field": "messages"});
    let entry = json!({"id": "419561257915477", "changes": [change]});
    json!({"object": "whatsapp_business_account", "entry": [entry]})
        .to_string()
        .into_bytes()
}

/// Whether these bytes are anywhere in the file.
pub fn file_has(path: &Path, needle: &[u8]) -> bool {
    has(&fs::read(path).unwrap(), needle)
}

/// Whether these bytes are anywhere in others.
pub fn has(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

//! The demo's page: two phones, the mailboxes, what the bot gets, and what happens inside, live.
//!
//! One HTML page, one style sheet, one script, nothing from elsewhere. The script asks
//! `GET /demo/state?after=VERSION`, which answers as soon as something changed, and posts what the
//! person does. The page is served on loopback to whoever sits at this machine: requests for other
//! host names are refused (a foreign name that resolves to 127.0.0.1), and so are posts without
//! the page's own header (a foreign page in the same browser).
//!
//! A link in a chat opens in the browser of that phone. There is one browser for all phones here, so
//! that `GET /demo/open` notes in a cookie whose it is from now on, and leads on to where the link
//! leads. Whoever opens the chat from there comes to `GET /send/`, which stands for
//! `api.whatsapp.com`, and finds the words ready on that phone.

use super::World;
use super::bot::{self, Received, What};
use super::cast::{ANA, BUSINESS, PEOPLE, SERVICES, STRANGER_EMAIL};
use super::door::{self, Door};
use super::graph::{Fault, Link, Message, Said, Ticks};
use super::inbox::{self, Mail};
use super::services;
use super::watch::lock;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use rouille::{Request, Response, input};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A question for news is answered at the latest after this long.
const NEWS_WAIT_MAX: Duration = Duration::from_secs(20);
/// What happens inside has no bell of its own: it is looked at this often while somebody waits.
const INSIDE_EVERY: Duration = Duration::from_millis(250);
/// Bubbles shown per phone.
const MESSAGES_SHOWN_MAX: usize = 200;
/// Mails shown.
const MAILS_SHOWN_MAX: usize = 50;
/// Requests to the bot that are shown.
const REQUESTS_SHOWN_MAX: usize = 40;
/// Longest value of a header that is shown whole, in characters.
const HEADER_CHARS_MAX: usize = 44;
/// Longest text that can be typed (Cloud API, section 3.1).
const TEXT_CHARS_MAX: usize = 4_096;
/// Phones on the page: two people can be played.
const PHONES_SHOWN: usize = 2;

/// Where browsers open the chat: `?phone=` is the business's number, `&text=` what is ready to be
/// sent.
pub const SEND_PATH: &str = "/send/";

/// The cookie that says whose browser this is. Cookies know no ports: the server sees it as well
/// and has no use for it.
const WHOSE_COOKIE: &str = "portero-demo-phone";

const STYLE: &str = include_str!("../../assets/demo/phone.css");
const SCRIPT: &str = include_str!("../../assets/demo/phone.js");

/// What the panel shows of the server's inside. Plain words for people, made by whoever can look
/// into the store; nothing here is interpreted.
///
/// As JSON: `{"contacts": [{"id", "title", "state", "tone", "facts": [["label", "value"], …]}],
/// "outbox": [{"id", "what", "to", "state", "tone", "attempts", "detail"}],
/// "audit": [{"at_ms", "what", "who"}], "log": ["line", …]}`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inside {
    /// One card per contact, the most recent first.
    pub contacts: Vec<InsideContact>,
    /// One row per entry, the most recent first; entries that are done may stay for a while.
    pub outbox: Vec<InsideEntry>,
    /// One line per event, the most recent first.
    pub audit: Vec<InsideLine>,
    /// The last log lines, oldest first.
    pub log: Vec<String>,
}

/// A contact and where its conversation stands.
#[derive(Clone, Debug, Serialize)]
pub struct InsideContact {
    /// Stays the same while the contact exists.
    pub id: String,
    /// Whom people would recognise, for example `Number ending in 67`.
    pub title: String,
    /// A word or two, for example `waiting for the code`.
    pub state: String,
    /// How the state is coloured.
    pub tone: Tone,
    /// Labels and values, for example `tries left` and `4`.
    pub facts: Vec<(String, String)>,
}

/// Something to be sent.
#[derive(Clone, Debug, Serialize)]
pub struct InsideEntry {
    /// Stays the same while the entry exists.
    pub id: String,
    /// What it is, for example `chat message` or `code mail`.
    pub what: String,
    /// Where it goes, masked or not as the store has it.
    pub to: String,
    /// A word or two, for example `next try in 4 s`.
    pub state: String,
    /// How the state is coloured.
    pub tone: Tone,
    /// Attempts so far.
    pub attempts: u32,
    /// Why the last attempt failed, or nothing.
    pub detail: String,
}

/// One event of the audit trail.
#[derive(Clone, Debug, Serialize)]
pub struct InsideLine {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
    /// To whom or by whom; may be empty.
    pub who: String,
}

/// How a state is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Nothing to see.
    #[default]
    Calm,
    /// Under way.
    Busy,
    /// As wished.
    Good,
    /// Somebody should look.
    Bad,
}

/// The demo's page and what it asks for.
pub struct Page {
    world: Arc<World>,
    inside: Box<dyn Fn() -> Inside + Send + Sync>,
    shown: Mutex<Shown>,
    /// For each phone, what somebody has passed on to it last.
    passed_on: Mutex<[Option<PassedOn>; PHONES_SHOWN]>,
}

/// A message with a link that came from another person's phone, in another chat.
#[derive(Clone)]
struct PassedOn {
    /// Of the message that was passed on.
    message_id: String,
    /// Whose phone it came from.
    from: usize,
    body: String,
    link: Link,
}

/// Serves the page on `address` until the door is dropped; port 0 takes a free one.
///
/// # Errors
///
/// The address cannot be bound, or no thread can be started.
pub fn open(
    address: SocketAddr,
    world: Arc<World>,
    inside: Box<dyn Fn() -> Inside + Send + Sync>,
) -> io::Result<Door> {
    let page = Page::new(world, inside);
    Door::open(address, move |request: &Request| page.answer(request))
}

/// The last state that was told, so that only news is told again.
#[derive(Default)]
struct Shown {
    version: u64,
    digest: u64,
}

impl Page {
    /// `inside` is asked several times a second while somebody looks.
    pub fn new(world: Arc<World>, inside: Box<dyn Fn() -> Inside + Send + Sync>) -> Page {
        Page {
            world,
            inside,
            shown: Mutex::default(),
            passed_on: Mutex::default(),
        }
    }

    /// Answers one request of the page.
    pub fn answer(&self, request: &Request) -> Response {
        if !is_for_this_machine(request.header("Host").unwrap_or_default()) {
            return refused(421, "this page is for this machine only");
        }
        let path = request.url();
        let response = match (request.method(), path.as_str()) {
            ("GET" | "HEAD", "/") => match address_in_digits(request) {
                Some(address) => Response::redirect_302(Cow::Owned(address)),
                None => Response::html(document(ANA, "").into_string()),
            },
            ("GET" | "HEAD", SEND_PATH) => chat_with_words(request),
            ("GET", "/demo/open") => self.open_link(request),
            ("GET" | "HEAD", "/demo/phone.css") => {
                Response::from_data("text/css; charset=utf-8", STYLE)
            }
            ("GET" | "HEAD", "/demo/phone.js") => {
                Response::from_data("text/javascript; charset=utf-8", SCRIPT)
            }
            ("GET", "/demo/state") => {
                let after = request.get_param("after");
                self.news(after.and_then(|after| after.parse().ok()))
            }
            ("GET" | "HEAD", _) => match path.strip_prefix("/demo/mail/") {
                Some(number) => return self.mail(number),
                None => refused(404, "no such page"),
            },
            ("POST", _) if request.header("Portero-Demo") != Some("1") => {
                refused(403, "only the demo's own page may do this")
            }
            ("POST", _) => match self.act(request, &path) {
                Ok(()) => door::json(200, &json!({"done": true})),
                Err(response) => response,
            },
            _ => refused(405, "GET or POST"),
        };
        protected(
            response,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
             frame-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
        )
    }

    /// Answers when there is something newer than `after`, or when the wait is over.
    fn news(&self, after: Option<u64>) -> Response {
        let deadline = Instant::now() + NEWS_WAIT_MAX;
        loop {
            // Read before the state is: what changes in between ends the wait at once.
            let seen = self.world.watch().version();
            let mut state = self.state();
            let version = {
                let mut shown = lock(&self.shown);
                let mut hasher = DefaultHasher::new();
                state.to_string().hash(&mut hasher);
                if shown.digest != hasher.finish() {
                    shown.digest = hasher.finish();
                    shown.version += 1;
                }
                shown.version
            };
            if after != Some(version) || Instant::now() >= deadline {
                state["version"] = version.into();
                return door::json(200, &state);
            }
            self.world.watch().wait_past(seen, INSIDE_EVERY);
        }
    }

    fn state(&self) -> Value {
        let phones: Vec<Value> = (0..PHONES_SHOWN)
            .map(|phone| {
                let messages = self.world.graph.messages(phone);
                let first = messages.len().saturating_sub(MESSAGES_SHOWN_MAX);
                let bubbles: Vec<Value> = messages[first..]
                    .iter()
                    .map(|message| bubble(message, &messages))
                    .collect();
                let passed_on = lock(&self.passed_on)[phone].clone();
                json!({
                    "typing": self.world.graph.is_typing(phone),
                    "messages": bubbles,
                    "passed_on": passed_on.map(|card| json!({
                        "message": card.message_id,
                        "from": PEOPLE[card.from].name,
                        "body": card.body,
                        "link": {"title": card.link.title},
                    })),
                })
            })
            .collect();
        let mails = self.world.inbox.mails();
        let mails: Vec<Value> = mails
            .iter()
            .rev()
            .take(MAILS_SHOWN_MAX)
            .map(envelope)
            .collect();
        json!({
            "phones": phones,
            "mails": mails,
            "bot": self.requests_to_bot(),
            "mischief": {
                "bot_down": self.world.bot.trouble().is_some(),
                "mail_down": self.world.inbox.trouble().is_some(),
                "service_down": self.world.services.trouble(SERVICES[0].name).is_some(),
                "meta_500": self.world.graph.fault().is_some(),
            },
            "inside": (self.inside)(),
        })
    }

    /// What the bot was sent last, newest first.
    fn requests_to_bot(&self) -> Vec<Value> {
        let newest = self.world.bot.received_last(REQUESTS_SHOWN_MAX);
        newest.iter().map(request_to_bot).collect()
    }

    /// One mail as its HTML part or its text part. Styles of the mail's own are its only freedom, and
    /// links that are opened beside it: no scripts, no loads, no forms, an origin that may be
    /// measured but runs nothing.
    fn mail(&self, number: &str) -> Response {
        let mails = self.world.inbox.mails();
        let mail = mails.iter().find(|mail| mail.number.to_string() == number);
        let response = match mail {
            None => refused(404, "no such mail"),
            Some(Mail {
                html: Some(html), ..
            }) => Response::html(with_links_in_new_tabs(html)),
            Some(mail) => Response::html(html! { pre { (mail.text) } }.into_string()),
        };
        protected(
            response,
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
             sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox; frame-ancestors 'self'",
        )
    }

    /// Opens a link in the browser of the phone on which it was tapped.
    fn open_link(&self, request: &Request) -> Response {
        let phone = request.get_param("phone");
        let phone = phone.and_then(|phone| phone.parse().ok());
        let phone = phone.filter(|phone| *phone < PHONES_SHOWN);
        let id = request.get_param("message").unwrap_or_default();
        let link = phone.and_then(|phone| Some((phone, self.link_on(phone, &id)?)));
        let Some((phone, link)) = link else {
            return refused(404, "no such link");
        };
        Response::redirect_302(Cow::Owned(link.url)).with_additional_header(
            "Set-Cookie",
            format!("{WHOSE_COOKIE}={phone}; Path=/; HttpOnly; SameSite=Lax"),
        )
    }

    /// The link of a message of the chat, or of the one that was passed on to this phone.
    fn link_on(&self, phone: usize, message_id: &str) -> Option<Link> {
        let messages = self.world.graph.messages(phone).into_iter();
        let in_chat = messages.filter(|message| message.id == message_id);
        let in_chat = in_chat.filter_map(|message| message.link).next();
        in_chat.or_else(|| {
            let passed_on = lock(&self.passed_on)[phone].clone();
            let card = passed_on.filter(|card| card.message_id == message_id)?;
            Some(card.link)
        })
    }

    fn act(&self, request: &Request, path: &str) -> Result<(), Response> {
        let body = door::body(request).ok_or_else(|| refused(413, "too large"))?;
        let body: Value =
            serde_json::from_slice(&body).map_err(|_| refused(400, "the body is not JSON"))?;
        let phone = body["phone"].as_u64().unwrap_or_default() as usize;
        if phone >= PHONES_SHOWN {
            return Err(refused(400, "no such phone"));
        }
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let graph = &self.world.graph;
        match path {
            "/demo/say" => {
                let words = text("text");
                if words.trim().is_empty() || words.chars().count() > TEXT_CHARS_MAX {
                    return Err(refused(400, "a message has 1 to 4,096 characters"));
                }
                let said = if body["forwarded"] == true {
                    Said::Forwarded(words)
                } else {
                    Said::Text(words)
                };
                graph.deliver(phone, said);
            }
            "/demo/tap" => {
                let (message_id, id) = (text("message"), text("button"));
                let messages = graph.messages(phone);
                let message = messages.iter().find(|message| message.id == message_id);
                let button = message.and_then(|m| m.buttons.iter().find(|b| b.id == id));
                let title = button
                    .ok_or_else(|| refused(404, "no such button"))?
                    .title
                    .clone();
                graph.deliver(
                    phone,
                    Said::Tap {
                        message_id,
                        id,
                        title,
                    },
                );
            }
            "/demo/pass-on" => {
                let message_id = text("message");
                let messages = graph.messages(phone);
                let message = messages.into_iter().find(|one| one.id == message_id);
                let card = message.and_then(|message| {
                    Some(PassedOn {
                        message_id: message.id,
                        from: phone,
                        body: message.body,
                        link: message.link?,
                    })
                });
                let card = card.ok_or_else(|| refused(404, "no such link"))?;
                lock(&self.passed_on)[other_than(phone)] = Some(card);
                self.world.watch().touch();
            }
            "/demo/throw-away" => {
                lock(&self.passed_on)[phone] = None;
                self.world.watch().touch();
            }
            "/demo/seen" => graph.look(phone),
            "/demo/mischief" => {
                let on = body["on"] == true;
                let what = text("what");
                self.mischief(&what, on)
                    .ok_or_else(|| refused(404, "no such mischief"))?;
            }
            _ => return Err(refused(404, "no such action")),
        }
        Ok(())
    }

    fn mischief(&self, what: &str, on: bool) -> Option<()> {
        let world = &self.world;
        match what {
            "bot_down" => world.bot.misbehave(on.then_some(bot::Trouble::Down)),
            "mail_down" if on => world.inbox.misbehave(inbox::Trouble::Down, u32::MAX),
            "mail_down" => world.inbox.behave(),
            "service_down" => {
                let trouble = on.then_some(services::Trouble::Down);
                world.services.misbehave(SERVICES[0].name, trouble);
            }
            "meta_500" if on => {
                let fault = Fault::Refused {
                    status: 500,
                    code: 131_000,
                };
                world.graph.misbehave(fault, u32::MAX);
            }
            "meta_500" => world.graph.behave(),
            _ => return None,
        }
        Some(())
    }
}

fn other_than(phone: usize) -> usize {
    (phone + 1) % PHONES_SHOWN
}

/// What stands for `api.whatsapp.com`: the chat with the business on the phone whose browser this
/// is, with the words ready and nothing sent.
fn chat_with_words(request: &Request) -> Response {
    if request.get_param("phone").as_deref() != Some(BUSINESS.number) {
        return refused(404, "WhatsApp would open the chat with another number");
    }
    let words = request.get_param("text").unwrap_or_default();
    if words.chars().count() > TEXT_CHARS_MAX {
        return refused(400, "a message has at most 4,096 characters");
    }
    let whose = input::cookies(request).find(|(name, _)| *name == WHOSE_COOKIE);
    let phone = whose.and_then(|(_, phone)| phone.parse().ok());
    let phone = phone.filter(|phone| *phone < PHONES_SHOWN);
    Response::html(document(phone.unwrap_or(ANA), &words).into_string())
}

/// A mail has no say in where it is shown: a page that refuses to be framed opens beside it.
fn with_links_in_new_tabs(html: &str) -> String {
    html.replacen("<head>", r#"<head><base target="_blank">"#, 1)
}

/// The same address with the name that the way back from a link has, if it has another: a cookie is
/// for one name.
fn address_in_digits(request: &Request) -> Option<String> {
    let host = request.header("Host")?;
    let port = host.strip_prefix("localhost")?;
    Some(format!("http://127.0.0.1{port}/"))
}

fn refused(status: u16, words: &str) -> Response {
    Response::text(words).with_status_code(status)
}

fn protected(response: Response, policy: &'static str) -> Response {
    response
        .with_no_cache()
        .with_unique_header("Content-Security-Policy", policy)
        .with_unique_header("X-Content-Type-Options", "nosniff")
        .with_unique_header("Referrer-Policy", "no-referrer")
        .with_unique_header("Cross-Origin-Resource-Policy", "same-origin")
}

fn is_for_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

fn bubble(message: &Message, chat: &[Message]) -> Value {
    let quoted = message.quotes.as_ref();
    let quoted = quoted.and_then(|id| chat.iter().find(|other| other.id == *id));
    let buttons: Vec<Value> = message
        .buttons
        .iter()
        .map(|button| json!({"id": button.id, "title": button.title}))
        .collect();
    let link = message.link.as_ref();
    json!({
        "id": message.id,
        "mine": message.from_person,
        "at_ms": message.at_ms,
        "body": message.body,
        "footer": message.footer,
        "buttons": buttons,
        "link": link.map(|link| json!({"title": link.title})),
        "quoted": quoted.map(|other| json!({"mine": other.from_person, "body": other.body})),
        "forwarded": message.forwarded,
        "ticks": match message.ticks {
            Ticks::Sent => "sent",
            Ticks::Delivered => "delivered",
            Ticks::Read => "read",
        },
    })
}

fn envelope(mail: &Mail) -> Value {
    json!({
        "number": mail.number,
        "from": mail.from,
        "to": mail.to.join(", "),
        "subject": mail.subject,
        "preview": mail.text.split_whitespace().take(24).collect::<Vec<_>>().join(" "),
        "code": mail.code(),
        "at_ms": mail.received_at_ms,
    })
}

// ---- what the bot gets ----

fn request_to_bot(received: &Received) -> Value {
    let (kind, text) = match &received.what {
        What::Message { text, .. } => ("message", text.as_deref().unwrap_or("(not a text)")),
        What::Status(status) => ("status", status.as_str()),
        What::Other => ("other", "something else"),
    };
    let headers = received.headers.iter();
    let headers = headers.map(|(name, value)| [header_name(name), shortened(value)]);
    let (identity, claims) = match &received.identity {
        None => (None, Vec::new()),
        Some(Ok(claims)) => (Some("verified"), readable(claims)),
        Some(Err(refused)) => (Some(refused.words()), Vec::new()),
    };
    let calls = received
        .calls
        .iter()
        .map(|call| json!({"call": call.call, "status": call.status, "told": call.told}));
    json!({
        "number": received.number,
        "at_ms": received.at_ms,
        "kind": kind,
        "text": text,
        "status": received.status,
        "signed": received.is_signed,
        "headers": headers.collect::<Vec<_>>(),
        "identity": identity,
        "claims": claims,
        "calls": calls.collect::<Vec<_>>(),
        "reply": received.reply,
    })
}

/// As documentation writes it; on the way all letters are small.
fn header_name(name: &str) -> String {
    let known = ["X-Hub-Signature-256", "Portero-Identity"];
    let known = known.into_iter().find(|one| one.eq_ignore_ascii_case(name));
    known.map_or_else(|| name.to_ascii_lowercase(), str::to_owned)
}

/// Enough to recognise a value, and too little to use it.
fn shortened(value: &str) -> String {
    let count = value.chars().count();
    if count <= HEADER_CHARS_MAX {
        return value.to_owned();
    }
    let start: String = value.chars().take(HEADER_CHARS_MAX - 14).collect();
    let end: String = value.chars().skip(count - 6).collect();
    format!("{start}…{end}")
}

/// The claims of an identity, as labels and values.
fn readable(claims: &Value) -> Vec<[String; 2]> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |label: &str, value: String| [label.to_owned(), value];
    let contact = &claims["contact"];
    let ending = contact["numberEnding"].as_str();
    let ending = ending.map_or("hidden number".to_owned(), |ending| {
        format!("number …{ending}")
    });
    let mut rows = vec![
        row("sub", text(&claims["sub"])),
        row("jti", shortened(&text(&claims["jti"]))),
        row(
            "contact",
            format!("{}, {ending}", text(&contact["language"])),
        ),
    ];
    for binding in claims["bindings"].as_array().into_iter().flatten() {
        let (service, proof) = (text(&binding["service"]), text(&binding["proof"]));
        let (who, company) = (
            text(&binding["account"]["name"]),
            text(&binding["company"]["name"]),
        );
        rows.push(row(
            &service,
            format!("{who}, {company}; by {}", proof.replace('_', " ")),
        ));
    }
    let scopes = claims["scopes"].as_array().into_iter().flatten();
    let scopes: Vec<&str> = scopes.filter_map(Value::as_str).collect();
    let seconds = |name: &str| claims[name].as_u64().unwrap_or_default();
    rows.push(row("scopes", scopes.join(", ")));
    let life_s = seconds("exp").saturating_sub(seconds("iat"));
    rows.push(row("exp", format!("{life_s} s after it was made")));
    rows
}

// ---- the document ----

/// The page as it is first seen: whose phone, and which words are ready there to be sent.
fn document(phone: usize, words: &str) -> Markup {
    let words_on = |index| if index == phone { words } else { "" };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content";
                meta name="color-scheme" content="light dark";
                title { "Portero demo" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/demo/phone.css";
                script src="/demo/phone.js" defer {}
            }
            body data-view="chat" data-side="inside" data-phone=(phone) data-stranger=(STRANGER_EMAIL) {
                (icons())
                header.top {
                    div.brand {
                        svg.brand-mark aria-hidden="true" { use href="#i-door" {} }
                        div {
                            h1 { "Portero" span.thin { " demo" } }
                            p.brand-note { "Nothing leaves this machine" }
                        }
                    }
                    (steps())
                    (mischief())
                }
                main.stage {
                    section.phones id="view-chat" aria-label="Phones" {
                        div.people role="group" aria-label="Whose phone" {
                            @for (index, person) in PEOPLE.iter().enumerate().take(PHONES_SHOWN) {
                                button.person type="button" data-pick=(index) aria-pressed=(if index == phone { "true" } else { "false" }) {
                                    (first_name(person.name)) "’s phone"
                                    span.dot hidden title="New message" {}
                                }
                            }
                        }
                        @for index in 0..PHONES_SHOWN { (handset(index, words_on(index))) }
                    }
                    section.mail id="view-mail" aria-label="Mailboxes" {
                        div.panel-head {
                            h2 { "Mail" }
                            p { "Every mail the server sent, whoever it is for" }
                        }
                        p.empty id="mail-empty" { "No mail yet. Give an address in the chat, and the code arrives here." }
                        ul.mail-list id="mail-list" {}
                        article.reader id="reader" hidden aria-live="polite" {
                            div.reader-head {
                                button.back type="button" id="reader-close" {
                                    svg aria-hidden="true" { use href="#i-back" {} }
                                    span { "All mail" }
                                }
                                h3 id="reader-subject" {}
                                p id="reader-route" {}
                            }
                            iframe id="reader-body" title="The mail" sandbox="allow-same-origin allow-popups allow-popups-to-escape-sandbox" {}
                            button.to-chat type="button" id="reader-chat" { "Back to the chat" }
                        }
                    }
                    div.side {
                    div.people.sides role="group" aria-label="Which panel" {
                        @for (side, name) in [("bot", "Bot"), ("inside", "Inside")] {
                            button.person type="button" data-side=(side) aria-pressed=(if side == "inside" { "true" } else { "false" }) {
                                (name)
                                @if side == "bot" { span.dot id="bot-news" hidden title="New request" {} }
                            }
                        }
                    }
                    section.bot id="view-bot" aria-label="The bot" {
                        div.panel-head {
                            h2 { "Bot" }
                            p { "What it is given, and what it does with it" }
                        }
                        p.empty id="bot-empty" { "Nothing yet. The bot hears of nobody before they have signed in, and of no code or address at all." }
                        ol.requests id="bot-requests" {}
                    }
                    section.inside id="view-inside" aria-label="Inside the server" {
                        div.panel-head {
                            h2 { "Inside" }
                            p { "What the server knows and does, as it happens" }
                        }
                        div.inside-body {
                            h3 { "Contacts" small { "who has written, and what is known" } }
                            div id="inside-contacts" { p.empty { "Nobody has written yet." } }
                            h3 { "Outbox" small { "what was sent, and what waits" } }
                            div id="inside-outbox" { p.empty { "Nothing to send." } }
                            h3 { "Audit" small { "what is kept as evidence" } }
                            ol.audit id="inside-audit" {}
                            details.log {
                                summary { "Log" }
                                pre id="inside-log" tabindex="0" {}
                            }
                        }
                    }
                    }
                }
                nav.tabs aria-label="Views" {
                    @for (view, icon, name) in [("chat", "#i-chat", "Chat"), ("mail", "#i-mail", "Mail"), ("bot", "#i-bot", "Bot"), ("inside", "#i-eye", "Inside")] {
                        button type="button" data-view=(view) aria-pressed=(if view == "chat" { "true" } else { "false" }) {
                            svg aria-hidden="true" { use href=(icon) {} }
                            span { (name) }
                            span.badge data-badge=(view) hidden {}
                        }
                    }
                }
                p.offline id="offline" role="status" hidden { "The demo has stopped answering. Is it still running in the terminal?" }
                noscript { p.offline { "This page needs JavaScript." } }
            }
        }
    }
}

fn steps() -> Markup {
    html! {
        ol.steps aria-label="What to try" {
            @for (step, words) in [("hello", "Write anything"), ("address", "Mail or the web"), ("code", "Type the code"), ("done", "Ask for your orders"), ("mischief", "Make mischief")] {
                li data-step=(step) { span.number {} span.words { (words) } }
            }
        }
    }
}

fn mischief() -> Markup {
    html! {
        details.mischief id="mischief" {
            summary { svg aria-hidden="true" { use href="#i-spark" {} } span { "Mischief" } }
            div.menu {
                p.menu-title { "Act like somebody you should not trust" }
                @for (act, title, words) in [
                    ("wrong", "Type a wrong code", "one digit off, from this phone"),
                    ("forward", "Forward the code", "from the other phone, as a stranger would"),
                    ("unknown", "Give an unknown address", "the answer must look the same"),
                    ("lure", "Forward the link", "to the other phone: whoever signs in there lets nobody in"),
                ] {
                    button type="button" data-act=(act) { strong { (title) } small { (words) } }
                }
                p.menu-title { "Break the world" }
                @for (what, title, words) in [
                    ("bot_down", "Bot is down", "messages wait and are answered in order"),
                    ("mail_down", "Mail server is down", "codes wait and arrive later"),
                    ("service_down", "Kutamma is down", "one of two services does not answer"),
                    ("meta_500", "Meta answers 500", "replies wait; nothing is doubled"),
                ] {
                    button.switch type="button" role="switch" aria-checked="false" data-switch=(what) {
                        span { strong { (title) } small { (words) } }
                        span.knob aria-hidden="true" {}
                    }
                }
            }
        }
    }
}

fn handset(index: usize, words: &str) -> Markup {
    let person = &PEOPLE[index];
    let other = first_name(PEOPLE[other_than(index)].name);
    let field = format!("text-{index}");
    html! {
        article.phone data-phone=(index) data-email=(person.email) data-password=[person.password()] data-other=(other) data-ending=(ending(person.wa_id)) data-name=(first_name(person.name)) aria-label={ (first_name(person.name)) "’s phone" } {
            p.owner { strong { (first_name(person.name)) "’s phone" } span { (person.number_for_people()) } }
            div.device {
                div.chat-head {
                    span.avatar aria-hidden="true" { (initial(BUSINESS.name)) }
                    div {
                        p.chat-name { (BUSINESS.name) }
                        p.chat-line data-usual="Business account" { "Business account" }
                    }
                }
                div.passed-on hidden role="region" aria-label="From another chat" {}
                div.chat role="log" aria-live="polite" aria-label={ "Chat with " (BUSINESS.name) } tabindex="0" {
                    p.notice { "You are " strong { (first_name(person.name)) } ", writing to " (BUSINESS.name) " on WhatsApp. Portero stands at the door: it finds out who you are before the bot answers. Tap a suggestion below, or write." }
                }
                p.hint hidden aria-live="polite" {}
                div.chips role="group" aria-label="Suggestions" {}
                form.composer {
                    label.unseen for=(field) { "Message" }
                    textarea id=(field) rows="1" maxlength="4096" placeholder="Message" autocomplete="off" enterkeyhint="send" { (words) }
                    button.send type="submit" aria-label="Send" { svg aria-hidden="true" { use href="#i-send" {} } }
                }
            }
        }
    }
}

fn first_name(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// How the panel names a number.
fn ending(number: &str) -> &str {
    &number[number.len() - 2..]
}

fn initial(name: &str) -> String {
    name.chars().take(1).collect()
}

/// Drawn for this page; 24 units wide and high.
fn icons() -> PreEscaped<&'static str> {
    PreEscaped(
        r##"<svg class="unseen" aria-hidden="true" focusable="false">
<symbol id="i-door" viewBox="0 0 24 24"><path fill="currentColor" d="M5 21V10a7 7 0 0 1 14 0v11h-4.5v-9a2.5 2.5 0 0 0-5 0v9z"/><circle cx="12" cy="17.5" r="1.4" fill="currentColor"/></symbol>
<symbol id="i-send" viewBox="0 0 24 24"><path fill="currentColor" d="M3.6 20.2 21.4 12 3.6 3.8l-.1 6.4L15 12 3.5 13.8z"/></symbol>
<symbol id="i-chat" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" d="M4 5.5h16v11H10l-4 3.5v-3.5H4z"/></symbol>
<symbol id="i-mail" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" d="M3.5 6h17v12.5h-17zM4 6.5l8 6.5 8-6.5"/></symbol>
<symbol id="i-eye" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="1.8" d="M2.5 12S6 5.8 12 5.8 21.5 12 21.5 12 18 18.2 12 18.2 2.5 12 2.5 12z"/><circle cx="12" cy="12" r="2.8" fill="none" stroke="currentColor" stroke-width="1.8"/></symbol>
<symbol id="i-bot" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" d="M5 9.5h14v9.5H5zM12 9.5V5.8M2.5 13v3M21.5 13v3"/><circle cx="12" cy="4.5" r="1.3" fill="currentColor"/><circle cx="9.2" cy="13.6" r="1.3" fill="currentColor"/><circle cx="14.8" cy="13.6" r="1.3" fill="currentColor"/></symbol>
<symbol id="i-back" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" d="M14.5 5.5 8 12l6.5 6.5"/></symbol>
<symbol id="i-reply" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" d="M9.5 6 4 11.5 9.5 17M4.5 11.5H14a6 6 0 0 1 6 6v1"/></symbol>
<symbol id="i-close" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" d="m6.5 6.5 11 11m0-11-11 11"/></symbol>
<symbol id="i-open" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" d="M13 4.5h6.5V11M19 5l-9 9M10 5.5H5v13.5h13.5V14"/></symbol>
<symbol id="i-spark" viewBox="0 0 24 24"><path fill="none" stroke="currentColor" stroke-width="1.9" stroke-linejoin="round" d="M13 3 5.5 13.5H12L11 21l7.5-10.5H12z"/></symbol>
<symbol id="i-tick" viewBox="0 0 18 12"><path fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" d="m4.5 6.5 3 3.3 6.5-7.6"/></symbol>
<symbol id="i-ticks" viewBox="0 0 18 12"><path fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" d="m1 6.5 3 3.3 6.5-7.6M8.3 9.5l.3.3 6.8-7.6"/></symbol>
</svg>"##,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::cast::BRUNO;
    use super::*;

    fn page() -> Page {
        Page::new(Arc::new(World::start().unwrap()), Box::new(Inside::default))
    }

    fn ask(
        page: &Page,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let response = page.answer(&Request::fake_http(method, path, headers, body.into()));
        let status = response.status_code;
        let (mut reader, _) = response.data.into_reader_and_size();
        let mut body = String::new();
        std::io::Read::read_to_string(&mut reader, &mut body).unwrap();
        (status, body)
    }

    const HERE: (&str, &str) = ("Host", "127.0.0.1:4000");
    const OURS: (&str, &str) = ("Portero-Demo", "1");

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_has_nothing_inline() {
        let (status, page) = ask(&page(), "GET", "/", &[HERE], "");
        assert_eq!(status, 200);
        for forbidden in [
            "http:", "https:", "//", " style=", "<style", " onclick", "<script>",
        ] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for source in [STYLE, SCRIPT] {
            assert!(!source.contains("url(http") && !source.contains("@import"));
        }
    }

    #[test]
    fn foreign_names_and_foreign_pages_are_refused() {
        let page = page();
        assert_eq!(
            ask(&page, "GET", "/", &[("Host", "evil.example")], "").0,
            421
        );
        assert_eq!(
            ask(
                &page,
                "GET",
                "/",
                &[("Host", "127.0.0.1.evil.example:80")],
                ""
            )
            .0,
            421
        );
        let say = r#"{"phone":0,"text":"hola"}"#;
        assert_eq!(ask(&page, "POST", "/demo/say", &[HERE], say).0, 403);
        assert!(page.world.graph.messages(ANA).is_empty());
        assert_eq!(ask(&page, "POST", "/demo/say", &[HERE, OURS], say).0, 200);
        assert_eq!(page.world.graph.messages(ANA)[0].body, "hola");
    }

    #[test]
    fn a_header_is_shown_so_that_it_can_be_recognised_and_not_used() {
        let long = "eyJ".repeat(100);
        let shown = shortened(&long);
        assert!(shown.contains('…') && shown.chars().count() < HEADER_CHARS_MAX);
        assert_eq!(shortened("portero-1"), "portero-1");
        let claims =
            json!({"sub": "u", "jti": long, "contact": {"language": "pt"}, "bindings": []});
        let rows = readable(&claims);
        assert!(rows.contains(&["contact".to_owned(), "pt, hidden number".to_owned()]));
    }

    #[test]
    fn news_is_told_once_and_again_after_a_change() {
        let page = Arc::new(page());
        let version = |body: &str| {
            serde_json::from_str::<Value>(body).unwrap()["version"]
                .as_u64()
                .unwrap()
        };
        let first = version(&ask(&page, "GET", "/demo/state", &[HERE], "").1);
        let waiting = page.clone();
        let asked = std::thread::spawn(move || {
            ask(
                &waiting,
                "GET",
                &format!("/demo/state?after={first}"),
                &[HERE],
                "",
            )
            .1
        });
        page.world.phone(ANA).say("hola");
        let body = asked.join().unwrap();
        assert!(version(&body) > first);
        assert!(body.contains("hola"));
    }

    /// Meta is asked to bring a link to Ana, as the server would ask.
    fn link_for_ana(page: &Page, url: &str) -> String {
        page.world.phone(ANA).say("hola");
        let graph = &page.world.graph;
        let to = format!("+{}", PEOPLE[ANA].wa_id);
        let call = json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": to,
            "type": "interactive", "interactive": {
                "type": "cta_url", "body": {"text": "Toca"},
                "action": {"name": "cta_url", "parameters": {"display_text": "Entrar", "url": url}},
            },
        });
        let endpoint = format!(
            "http://{}/v25.0/{}/messages",
            graph.address(),
            BUSINESS.phone_number_id
        );
        let authorization = format!("Bearer {}", graph.access_token());
        let call = ureq::post(&endpoint)
            .header("Authorization", authorization)
            .content_type("application/json")
            .send(call.to_string());
        assert_eq!(call.unwrap().status(), 200);
        graph.messages(ANA).pop().unwrap().id
    }

    fn open(page: &Page, phone: usize, message: &str) -> Response {
        let message: String = form_urlencoded::byte_serialize(message.as_bytes()).collect();
        let path = format!("/demo/open?phone={phone}&message={message}");
        let host = (HERE.0.to_owned(), HERE.1.to_owned());
        page.answer(&Request::fake_http("GET", path, vec![host], Vec::new()))
    }

    #[test]
    fn a_link_opens_only_where_it_was_sent_or_passed_on_and_says_whose_browser_it_is() {
        let page = page();
        let url = "https://portero.example.com/sign-in/?mappingHash=0f";
        let id = link_for_ana(&page, url);
        let header = |response: &Response, name: &str| {
            let mut headers = response.headers.iter();
            let found = headers.find(|(known, _)| known == name);
            found.map(|(_, value)| value.to_string())
        };
        let answer = open(&page, ANA, &id);
        assert_eq!(answer.status_code, 302);
        assert_eq!(header(&answer, "Location").as_deref(), Some(url));
        let cookie = header(&answer, "Set-Cookie").unwrap();
        assert!(
            cookie.starts_with("portero-demo-phone=0; Path=/;"),
            "{cookie}"
        );
        assert_eq!(open(&page, BRUNO, &id).status_code, 404);
        assert_eq!(open(&page, PHONES_SHOWN, &id).status_code, 404);
        let body = json!({"phone": ANA, "message": id}).to_string();
        let passed_on = ask(&page, "POST", "/demo/pass-on", &[HERE, OURS], &body);
        assert_eq!(passed_on.0, 200);
        let cookie = header(&open(&page, BRUNO, &id), "Set-Cookie").unwrap();
        assert!(cookie.starts_with("portero-demo-phone=1;"), "{cookie}");
        let state = ask(&page, "GET", "/demo/state", &[HERE], "").1;
        assert!(state.contains("Ana Pérez") && !state.contains("mappingHash"));
        let body = json!({"phone": BRUNO}).to_string();
        ask(&page, "POST", "/demo/throw-away", &[HERE, OURS], &body);
        assert_eq!(open(&page, BRUNO, &id).status_code, 404);
    }

    #[test]
    fn words_are_made_ready_on_the_phone_of_the_browser_and_are_text() {
        let page = page();
        let back = |cookie: &str, query: &str| {
            let path = format!("/send/?{query}");
            ask(&page, "GET", &path, &[HERE, ("Cookie", cookie)], "")
        };
        let query = format!("phone={}&text=Quiero%20%3C%2Ftextarea%3E", BUSINESS.number);
        let ready = ">Quiero &lt;/textarea&gt;</textarea>";
        for (cookie, phone) in [
            ("portero-demo-phone=0", "text-0"),
            ("other=0; portero-demo-phone=1", "text-1"),
            ("portero-demo-phone=9", "text-0"),
            ("", "text-0"),
        ] {
            let (status, body) = back(cookie, &query);
            assert_eq!(status, 200);
            let before = body.split(ready).next().unwrap();
            let field = before.rsplit("<textarea id=\"").next().unwrap();
            assert!(field.starts_with(phone), "{cookie}: {field}");
            assert_eq!(body.matches("Quiero").count(), 1);
        }
        assert_eq!(back("", "phone=573001234567&text=x").0, 404);
        assert_eq!(back("", "text=x").0, 404);
        assert!(page.world.graph.messages(ANA).is_empty(), "nothing is sent");
    }

    #[test]
    fn there_is_one_name_for_the_page() {
        let page = page();
        let host = ("Host".to_owned(), "localhost:4000".to_owned());
        let answer = page.answer(&Request::fake_http("GET", "/", vec![host], Vec::new()));
        assert_eq!(answer.status_code, 302);
        let to = ("Location".into(), "http://127.0.0.1:4000/".into());
        assert!(answer.headers.contains(&to));
    }

    #[test]
    fn bad_requests_of_the_page_are_refused() {
        let page = page();
        for (path, body) in [
            ("/demo/say", r#"{"phone":0,"text":" "}"#),
            ("/demo/say", r#"{"phone":7,"text":"x"}"#),
            ("/demo/say", "nonsense"),
            ("/demo/tap", r#"{"phone":0,"message":"m","button":"b"}"#),
            ("/demo/mischief", r#"{"what":"x","on":true}"#),
            ("/demo/pass-on", r#"{"phone":0,"message":"m"}"#),
            ("/demo/other", "{}"),
        ] {
            let (status, _) = ask(&page, "POST", path, &[HERE, OURS], body);
            assert!((400..500).contains(&status), "{path} {body}");
        }
    }
}

//! A stand-in for Meta's Graph API and for the phones behind it, as strict as the contract
//! (Cloud API, sections 1 to 5) and stricter where Meta would silently misdeliver.
//!
//! Messages to a phone come in through `POST /{version}/{phone number id}/messages`. What people
//! do on their phones, and the fate of the business's messages, goes out as signed webhooks from
//! one thread with a bounded queue and retries.

mod checks;

use super::cast::{BUSINESS, PEOPLE, Person};
use super::door::{self, Door};
use super::watch::{Watch, lock, now_ms, random_hex};
use base64::Engine as _;
use checks::{Outgoing, Refusal, checked, expect_fields, meaning, refusal};
use hmac::{Hmac, KeyInit, Mac};
use rouille::{Request, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Messages kept per phone; the oldest give way.
const MESSAGES_MAX: usize = 2_000;
/// Webhooks waiting to be delivered. Meta keeps them for days; beyond this they are lost.
const PARCELS_MAX: usize = 10_000;
/// Attempts per webhook: with the pauses below, about ten minutes.
const ATTEMPTS_MAX: u32 = 30;
/// First pause between attempts; doubled each time. Meta's grow to hours: nobody would wait here.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest time for one webhook: the receiver's goal is 250 ms.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls remembered for tests; the oldest give way.
const CALLS_MAX: usize = 10_000;
/// Typing is shown until a message comes, at most so long (section 3.6).
const TYPING_MS: u64 = 25_000;
/// The business may answer for so long after the person's last message (section 6).
const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;

/// How far a message has got. For the person's own messages: at Meta, stored by the business,
/// marked as read by the business; for the business's: as reported in status webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ticks {
    /// One grey tick.
    Sent,
    /// Two grey ticks.
    Delivered,
    /// Two blue ticks.
    Read,
}

/// One bubble of a chat.
#[derive(Clone, Debug)]
pub struct Message {
    /// `wamid.…`.
    pub id: String,
    /// Whether the person wrote it; else the business did.
    pub from_person: bool,
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it says.
    pub body: String,
    /// Small line below the body.
    pub footer: Option<String>,
    /// Reply buttons below the bubble.
    pub buttons: Vec<Button>,
    /// The link button of a `cta_url` message.
    pub link: Option<Link>,
    /// The message that this one answers.
    pub quotes: Option<String>,
    /// Whether it was forwarded from another chat.
    pub forwarded: bool,
    /// How far it got.
    pub ticks: Ticks,
    /// `biz_opaque_callback_data` of the business's message.
    pub tag: Option<String>,
}

/// A reply button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// Goes back verbatim.
    pub id: String,
    /// What the person sees.
    pub title: String,
}

/// A link button. `Debug` does not show where it leads: whoever has a sign-in link may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// What the person sees.
    pub title: String,
    /// Where it leads; `https`, or `http` to loopback.
    pub url: String,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({:?})", self.title)
    }
}

/// What a person does on their phone.
#[derive(Clone, Debug)]
pub enum Said {
    /// Types and sends.
    Text(String),
    /// Forwards somebody else's message.
    Forwarded(String),
    /// Taps a reply button.
    Tap {
        /// The message that carries the button.
        message_id: String,
        /// The button's id.
        id: String,
        /// The button's title.
        title: String,
    },
    /// Sends a picture with a caption.
    Picture {
        /// May carry anything, but no secret that counts.
        caption: String,
    },
    /// Says something in a group that the business is in.
    InGroup(String),
}

/// What Meta can be made to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error of section 5; nothing is taken.
    Refused {
        /// HTTP status.
        status: u16,
        /// Meta's code.
        code: u32,
    },
    /// 429 with `Retry-After` and code 130429; nothing is taken.
    RateLimited {
        /// Asked-for pause.
        retry_after_seconds: u32,
    },
    /// An HTML page from an edge with this status; nothing is taken.
    Html(u16),
    /// No answer for so long, then 503; nothing is taken.
    Hang(Duration),
    /// The connection breaks before an answer; nothing is taken.
    Broken,
    /// The message is taken, and the connection breaks before the answer.
    TakenWithoutAnswer,
    /// The message is taken, and a `failed` status with this code follows.
    FailedLater {
        /// Meta's code.
        code: u32,
    },
}

/// One call to the messages endpoint as it was answered.
#[derive(Clone, Debug)]
pub struct Call {
    /// Status of the answer.
    pub status: u16,
    /// Meta's error code, when it was refused.
    pub code: Option<u32>,
    /// Why it was refused, in a few words.
    pub reason: Option<String>,
    /// Whether it was a mark (read, typing) and no message.
    pub is_mark: bool,
    /// Whether a message went to a phone because of it.
    pub taken: bool,
    /// The body, when it was JSON.
    pub body: Value,
}

/// The Graph API and the phones behind it. Stops when dropped.
pub struct Graph {
    shared: Arc<Shared>,
    door: Door,
    courier: Option<thread::JoinHandle<()>>,
}

struct Shared {
    watch: Arc<Watch>,
    access_token: String,
    app_secret: String,
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    phones: Vec<Phone>,
    webhook: Option<String>,
    parcels: VecDeque<Parcel>,
    parcels_lost: u64,
    twice: bool,
    fault: Option<(Fault, u32)>,
    calls: VecDeque<Call>,
    stopping: bool,
}

#[derive(Default)]
struct Phone {
    messages: VecDeque<Message>,
    typing_until_ms: u64,
    wrote_at_ms: Option<u64>,
}

/// One webhook on its way.
#[derive(Clone)]
struct Parcel {
    body: Vec<u8>,
    attempts: u32,
    due: Instant,
    /// The person's message that gets its second tick when this arrives.
    about: Option<(usize, String)>,
}

impl Graph {
    /// Listens on a free port of 127.0.0.1 with a fresh token and app secret.
    pub fn start(watch: Arc<Watch>) -> io::Result<Graph> {
        let shared = Arc::new(Shared::new(watch));
        let for_door = shared.clone();
        let door = Door::open((Ipv4Addr::LOCALHOST, 0).into(), move |request: &Request| {
            for_door.answer(request)
        })?;
        let for_courier = shared.clone();
        let courier = thread::Builder::new()
            .name("graph-webhooks".into())
            .spawn(move || for_courier.carry())?;
        Ok(Graph {
            shared,
            door,
            courier: Some(courier),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// The token that calls must present.
    pub fn access_token(&self) -> &str {
        &self.shared.access_token
    }

    /// The secret that webhooks are signed with.
    pub fn app_secret(&self) -> &str {
        &self.shared.app_secret
    }

    /// From now on webhooks go there; those that waited go first.
    pub fn connect(&self, webhook_url: &str) {
        let mut state = lock(&self.shared.state);
        state.webhook = Some(webhook_url.to_owned());
        for parcel in &mut state.parcels {
            parcel.due = Instant::now();
        }
        drop(state);
        self.shared.work.notify_all();
    }

    /// Every webhook is delivered a second time, as Meta may (section 1.4).
    pub fn deliver_twice(&self, twice: bool) {
        lock(&self.shared.state).twice = twice;
    }

    /// Webhooks that have not arrived yet.
    pub fn webhooks_waiting(&self) -> usize {
        lock(&self.shared.state).parcels.len()
    }

    /// A person does something on their phone now; the id of the message is returned.
    pub fn deliver(&self, phone: usize, said: Said) -> String {
        self.deliver_at(phone, said, now_ms())
    }

    /// The same with the moment at which the person did it.
    pub fn deliver_at(&self, phone: usize, said: Said, at_ms: u64) -> String {
        let message = said.into_message(phone, at_ms);
        let (id, body) = (message.0.id.clone(), inbound(phone, &message.0, message.1));
        let mut state = lock(&self.shared.state);
        let about = Some((phone, id.clone()));
        state.phones[phone].wrote_at_ms = Some(at_ms);
        state.phones[phone].keep(message.0);
        state.enqueue(&body, about);
        drop(state);
        self.shared.moved();
        id
    }

    /// Any signed webhook of the caller's making.
    pub fn deliver_raw(&self, body: &Value) {
        lock(&self.shared.state).enqueue(body, None);
        self.shared.moved();
    }

    /// The person looks at the chat: what the business wrote is read.
    pub fn look(&self, phone: usize) {
        let mut state = lock(&self.shared.state);
        let mut read = Vec::new();
        for message in &mut state.phones[phone].messages {
            if !message.from_person && message.ticks == Ticks::Delivered {
                message.ticks = Ticks::Read;
                read.push(message.clone());
            }
        }
        for message in &read {
            state.enqueue(&status(phone, message, "read", None), None);
        }
        drop(state);
        if !read.is_empty() {
            self.shared.moved();
        }
    }

    /// The chat on a phone, oldest first.
    pub fn messages(&self, phone: usize) -> Vec<Message> {
        let state = lock(&self.shared.state);
        state.phones[phone].messages.iter().cloned().collect()
    }

    /// Whether the business is shown as typing.
    pub fn is_typing(&self, phone: usize) -> bool {
        lock(&self.shared.state).phones[phone].typing_until_ms > now_ms()
    }

    /// The next `times` messages go wrong in this way; [`u32::MAX`] until [`Graph::behave`].
    pub fn misbehave(&self, fault: Fault, times: u32) {
        lock(&self.shared.state).fault = (times > 0).then_some((fault, times));
        self.shared.watch.touch();
    }

    /// Everything works again.
    pub fn behave(&self) {
        lock(&self.shared.state).fault = None;
        self.shared.watch.touch();
    }

    /// What is wrong at the moment.
    pub fn fault(&self) -> Option<Fault> {
        lock(&self.shared.state).fault.map(|(fault, _)| fault)
    }

    /// Calls to the messages endpoint, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.state).calls.iter().cloned().collect()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        lock(&self.shared.state).stopping = true;
        self.shared.work.notify_all();
        if let Some(courier) = self.courier.take() {
            let _ = courier.join();
        }
    }
}

impl State {
    fn enqueue(&mut self, body: &Value, about: Option<(usize, String)>) {
        let copies = if self.twice { 2 } else { 1 };
        for _ in 0..copies {
            if self.parcels.len() >= PARCELS_MAX {
                self.parcels_lost += 1;
                return;
            }
            self.parcels.push_back(Parcel {
                body: as_meta_writes(&body.to_string()),
                attempts: 0,
                due: Instant::now(),
                about: about.clone(),
            });
        }
    }
}

impl Phone {
    fn keep(&mut self, message: Message) {
        if self.messages.len() == MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    fn find(&mut self, id: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.id == id)
    }
}

// ---- webhooks ----

impl Shared {
    fn new(watch: Arc<Watch>) -> Shared {
        Shared {
            watch,
            access_token: format!("EAAdemo{}", random_hex(24)),
            app_secret: random_hex(16),
            state: Mutex::new(State {
                phones: PEOPLE.iter().map(|_| Phone::default()).collect(),
                webhook: None,
                parcels: VecDeque::new(),
                parcels_lost: 0,
                twice: false,
                fault: None,
                calls: VecDeque::new(),
                stopping: false,
            }),
            work: Condvar::new(),
        }
    }

    fn moved(&self) {
        self.work.notify_all();
        self.watch.touch();
    }

    /// Delivers webhooks until told to stop.
    fn carry(&self) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(WEBHOOK_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
        while let Some((url, mut parcel)) = self.next_parcel() {
            let signature = sign(&self.app_secret, &parcel.body);
            let answer = agent
                .post(&url)
                .header("Content-Type", "application/json")
                .header("User-Agent", "facebookexternalua")
                .header("X-Hub-Signature-256", format!("sha256={signature}"))
                .send(&parcel.body[..]);
            // Anything but 200 counts as failed (section 1.4).
            let arrived = answer.is_ok_and(|mut answer| {
                // Read to its end, so that the connection can be used again.
                let _ = answer
                    .body_mut()
                    .as_reader()
                    .take(64 * 1024)
                    .read_to_end(&mut Vec::new());
                answer.status() == 200
            });
            let mut state = lock(&self.state);
            if arrived {
                if let Some((phone, id)) = &parcel.about
                    && let Some(message) = state.phones[*phone].find(id)
                {
                    message.ticks = message.ticks.max(Ticks::Delivered);
                }
            } else if parcel.attempts + 1 < ATTEMPTS_MAX {
                let pause = PAUSE_MIN.saturating_mul(1 << parcel.attempts.min(16));
                // The first retry comes at once.
                let pause = if parcel.attempts == 0 {
                    Duration::ZERO
                } else {
                    pause.min(PAUSE_MAX)
                };
                parcel.attempts += 1;
                parcel.due = Instant::now() + pause;
                state.parcels.push_back(parcel);
            } else {
                state.parcels_lost += 1;
            }
            drop(state);
            self.watch.touch();
        }
    }

    /// Waits for a webhook that is due; `None` when it is time to stop.
    fn next_parcel(&self) -> Option<(String, Parcel)> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let now = Instant::now();
            let due = state.parcels.iter().map(|parcel| parcel.due);
            let first = due.enumerate().min_by_key(|(index, due)| (*due, *index));
            let wait = match (state.webhook.clone(), first) {
                (Some(url), Some((index, due))) if due <= now => {
                    let parcel = state.parcels.remove(index)?;
                    return Some((url, parcel));
                }
                (Some(_), Some((_, due))) => due - now,
                _ => Duration::from_secs(3_600),
            };
            state = self
                .work
                .wait_timeout(state, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// `X-Hub-Signature-256` without its prefix (section 1.2).
fn sign(app_secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length (RFC 2104, section 2).
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(app_secret.as_bytes())
        .expect("a key of any length");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// JSON as it comes from Meta (section 1.2): ASCII only, `/` as `\/`, `@`, `%` and `<` escaped.
/// The characters replaced occur only inside the strings of a JSON text.
fn as_meta_writes(json: &str) -> Vec<u8> {
    let mut out = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        match character {
            '/' => out.push_str("\\/"),
            '<' => out.push_str("\\u003C"),
            '%' | '@' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ if character.is_ascii() => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.into_bytes()
}

fn envelope(value: Value) -> Value {
    let mut value = value;
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] = json!({
        "display_phone_number": BUSINESS.number,
        "phone_number_id": BUSINESS.phone_number_id,
    });
    json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": BUSINESS.account_id, "changes": [{"value": value, "field": "messages"}]}],
    })
}

/// `contacts[]` of a person: names first, the number only when it is shown (section 2.6).
fn contact(person: &Person) -> Value {
    let mut contact = json!({"profile": {"name": person.name}, "user_id": person.bsuid});
    if let Some(username) = person.username {
        contact["profile"]["username"] = username.into();
    }
    if person.shows_number {
        contact["wa_id"] = person.wa_id.into();
    }
    contact
}

impl Said {
    /// The bubble, and the fields of the webhook that are the message's own.
    fn into_message(self, phone: usize, at_ms: u64) -> (Message, Value) {
        let text = |body: &str| json!({"type": "text", "text": {"body": body}});
        let (body, quotes, own) = match self {
            Said::Text(body) => {
                let own = text(&body);
                (body, None, own)
            }
            Said::Forwarded(body) => {
                let mut own = text(&body);
                own["context"] = json!({"forwarded": true});
                (body, None, own)
            }
            Said::InGroup(body) => {
                let mut own = text(&body);
                own["group_id"] = "Y2FwaV9ncm91cDox".into();
                (body, None, own)
            }
            Said::Picture { caption } => {
                let own = json!({"type": "image", "image": {
                    "caption": caption, "mime_type": "image/jpeg", "id": "1003383421387256",
                    "sha256": "SfInY0gGKTsJlUWbwxC1k+FAD0FZHvzwfpvO0zX0GUI=",
                }});
                (format!("📷 {caption}"), None, own)
            }
            Said::Tap {
                message_id,
                id,
                title,
            } => {
                let own = json!({
                    "context": {"from": BUSINESS.number, "id": message_id},
                    "type": "interactive",
                    "interactive": {"type": "button_reply", "button_reply": {"id": id, "title": title}},
                });
                (title, Some(message_id), own)
            }
        };
        let message = Message {
            id: new_message_id(phone),
            from_person: true,
            at_ms,
            body,
            footer: None,
            buttons: Vec::new(),
            link: None,
            quotes,
            forwarded: own["context"]["forwarded"] == true,
            ticks: Ticks::Sent,
            tag: None,
        };
        (message, own)
    }
}

/// The webhook of a person's message (sections 2.1 to 2.4).
fn inbound(phone: usize, message: &Message, own: Value) -> Value {
    let person = &PEOPLE[phone];
    let mut own = own;
    own["id"] = message.id.as_str().into();
    own["timestamp"] = (message.at_ms / 1_000).to_string().into();
    own["from_user_id"] = person.bsuid.into();
    if person.shows_number {
        own["from"] = person.wa_id.into();
    }
    envelope(json!({"contacts": [contact(person)], "messages": [own]}))
}

/// The webhook of a status (section 2.5); with an error code the status is `failed`.
fn status(phone: usize, message: &Message, status: &str, code: Option<u32>) -> Value {
    let person = &PEOPLE[phone];
    let mut entry = json!({
        "id": message.id,
        "status": status,
        "timestamp": (now_ms() / 1_000).to_string(),
        "recipient_user_id": person.bsuid,
    });
    if person.shows_number {
        entry["recipient_id"] = person.wa_id.into();
    }
    if let Some(tag) = &message.tag {
        entry["biz_opaque_callback_data"] = tag.as_str().into();
    }
    if let Some(code) = code {
        entry["errors"] = json!([{
            "code": code, "title": meaning(code), "message": meaning(code),
            "error_data": {"details": meaning(code)},
            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
        }]);
        return envelope(json!({"statuses": [entry]}));
    }
    if status == "sent" {
        entry["pricing"] = json!({
            "billable": false, "pricing_model": "PMP", "category": "service",
            "type": "free_customer_service",
        });
    }
    envelope(json!({"contacts": [contact(person)], "statuses": [entry]}))
}

/// Like Meta's: opaque, and the number of the other side is somewhere in it.
fn new_message_id(phone: usize) -> String {
    let digits = PEOPLE[phone].wa_id;
    let plain = [
        &[0x1d, digits.len() as u8],
        digits.as_bytes(),
        random_hex(16).as_bytes(),
    ]
    .concat();
    let encoded = base64::engine::general_purpose::STANDARD.encode(plain);
    format!("wamid.{encoded}")
}

// ---- calls ----

impl Shared {
    fn answer(&self, request: &Request) -> Response {
        let path = request.url();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (version, number, edge) = match parts[..] {
            [version, number] => (version, number, None),
            [version, number, edge] => (version, number, Some(edge)),
            _ => return refusal(100, "Unknown path components").response(),
        };
        if let Err(refusal) = self.check_caller(request, version, number) {
            return refusal.response();
        }
        match (request.method(), edge) {
            ("GET", None) => door::json(
                200,
                &json!({
                    "id": BUSINESS.phone_number_id,
                    "display_phone_number": number_for_people(BUSINESS.number),
                    "verified_name": BUSINESS.name,
                    "status": "CONNECTED",
                    "name_status": "APPROVED",
                    "code_verification_status": "VERIFIED",
                    "quality_rating": "GREEN",
                    "platform_type": "CLOUD_API",
                    "account_mode": "SANDBOX",
                    "throughput": {"level": "STANDARD"},
                }),
            ),
            ("POST", Some("messages")) => self.messages_call(request),
            _ => refusal(100, "Unsupported request").response(),
        }
    }

    fn check_caller(&self, request: &Request, version: &str, number: &str) -> Result<(), Refusal> {
        let version_number = version.strip_prefix('v').and_then(|v| v.strip_suffix(".0"));
        if !version_number.is_some_and(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit())) {
            return Err(refusal(100, "The version in the path looks like v25.0"));
        }
        let header = request.header("Authorization").unwrap_or_default();
        if header.strip_prefix("Bearer ") != Some(self.access_token.as_str()) {
            return Err(refusal(190, "The access token could not be decrypted"));
        }
        if number != BUSINESS.phone_number_id {
            return Err(refusal(
                33,
                format!("Object with ID '{number}' does not exist"),
            ));
        }
        Ok(())
    }

    fn messages_call(&self, request: &Request) -> Response {
        let content_type = request.header("Content-Type").unwrap_or_default();
        let body = match door::body(request) {
            Some(body) if content_type.starts_with("application/json") => {
                serde_json::from_slice::<Value>(&body).ok()
            }
            _ => None,
        };
        let Some(body) = body.filter(Value::is_object) else {
            return refusal(100, "The body is not a JSON object").response();
        };
        let is_mark = body.get("status").is_some();
        let mut call = Call {
            status: 200,
            code: None,
            reason: None,
            is_mark,
            taken: false,
            body,
        };
        let response = match self.take(&mut call) {
            Ok(response) => response,
            Err(refusal) => {
                call.code = Some(refusal.code);
                call.reason = Some(refusal.details.clone());
                refusal.response()
            }
        };
        call.status = response.status_code;
        let mut state = lock(&self.state);
        if state.calls.len() == CALLS_MAX {
            state.calls.pop_front();
        }
        state.calls.push_back(call);
        drop(state);
        self.moved();
        response
    }

    fn take(&self, call: &mut Call) -> Result<Response, Refusal> {
        if call.is_mark {
            self.mark(&call.body)?;
            return Ok(door::json(200, &json!({"success": true})));
        }
        let outgoing = checked(&call.body)?;
        let fault = {
            let mut state = lock(&self.state);
            let phone = &mut state.phones[outgoing.phone];
            if let Some(id) = &outgoing.quotes
                && phone.find(id).is_none()
            {
                return Err(refusal(131009, "context.message_id is not of this chat"));
            }
            let open = |at: u64| now_ms().saturating_sub(at) < WINDOW_MS;
            if !phone.wrote_at_ms.is_some_and(open) {
                let details = "More than 24 hours have passed since the customer last replied";
                return Err(refusal(131047, details));
            }
            match state.fault {
                Some((fault, u32::MAX)) => Some(fault),
                Some((fault, times)) => {
                    state.fault = (times > 1).then_some((fault, times - 1));
                    Some(fault)
                }
                None => None,
            }
        };
        match fault {
            Some(Fault::Refused { status, code }) => Err(Refusal {
                status,
                code,
                details: meaning(code).to_owned(),
            }),
            Some(Fault::RateLimited {
                retry_after_seconds,
            }) => {
                call.code = Some(130_429);
                let refusal = Refusal {
                    status: 429,
                    code: 130_429,
                    details: "Message failed to send because there were too many messages".into(),
                };
                Ok(refusal
                    .response()
                    .with_unique_header("Retry-After", retry_after_seconds.to_string()))
            }
            Some(Fault::Html(status)) => Ok(Response::html(
                "<html><body>Sorry, something went wrong.</body></html>",
            )
            .with_status_code(status)),
            Some(Fault::Hang(time)) => {
                thread::sleep(time);
                Ok(Response::text("").with_status_code(503))
            }
            Some(Fault::Broken) => Ok(door::broken()),
            Some(Fault::TakenWithoutAnswer) => {
                self.hand_over(outgoing, None);
                call.taken = true;
                Ok(door::broken())
            }
            Some(Fault::FailedLater { code }) => {
                call.taken = true;
                Ok(self.hand_over(outgoing, Some(code)))
            }
            None => {
                call.taken = true;
                Ok(self.hand_over(outgoing, None))
            }
        }
    }

    /// Puts the message on the phone and reports its fate.
    fn hand_over(&self, outgoing: Outgoing, fails_with: Option<u32>) -> Response {
        let id = new_message_id(outgoing.phone);
        let message = Message {
            id: id.clone(),
            from_person: false,
            at_ms: now_ms(),
            body: outgoing.content.body,
            footer: outgoing.content.footer,
            buttons: outgoing.content.buttons,
            link: outgoing.content.link,
            quotes: outgoing.quotes,
            forwarded: false,
            ticks: Ticks::Delivered,
            tag: outgoing.tag,
        };
        let mut state = lock(&self.state);
        if let Some(code) = fails_with {
            state.enqueue(
                &status(outgoing.phone, &message, "failed", Some(code)),
                None,
            );
        } else {
            for name in ["sent", "delivered"] {
                state.enqueue(&status(outgoing.phone, &message, name, None), None);
            }
            state.phones[outgoing.phone].typing_until_ms = 0;
            state.phones[outgoing.phone].keep(message);
        }
        let answer = json!({
            "messaging_product": "whatsapp",
            "contacts": [outgoing.contact],
            "messages": [{"id": id}],
        });
        door::json(200, &answer)
    }

    /// Read receipt and typing (section 3.6); earlier messages of the chat are read as well.
    fn mark(&self, body: &Value) -> Result<(), Refusal> {
        expect_fields(
            body,
            &[
                "messaging_product",
                "status",
                "message_id",
                "typing_indicator",
            ],
        )?;
        if body["messaging_product"] != "whatsapp" {
            return Err(refusal(100, "messaging_product must be whatsapp"));
        }
        if body["status"] != "read" {
            return Err(refusal(100, "status must be read"));
        }
        let typing = match body.get("typing_indicator") {
            None => false,
            Some(indicator) if indicator["type"] == "text" => true,
            Some(_) => return Err(refusal(100, "typing_indicator.type must be text")),
        };
        let id = body["message_id"].as_str().unwrap_or_default();
        let mut state = lock(&self.state);
        let of_person = |message: &Message| message.from_person && message.id == id;
        let chat = |phone: &&mut Phone| phone.messages.iter().any(of_person);
        let Some(phone) = state.phones.iter_mut().find(chat) else {
            return Err(refusal(131009, "message_id is not of this number"));
        };
        for message in phone
            .messages
            .iter_mut()
            .filter(|message| message.from_person)
        {
            message.ticks = Ticks::Read;
            if message.id == id {
                break;
            }
        }
        if typing {
            phone.typing_until_ms = now_ms() + TYPING_MS;
        }
        Ok(())
    }
}

fn number_for_people(digits: &str) -> String {
    format!(
        "+{} {}-{}-{}",
        &digits[..1],
        &digits[1..4],
        &digits[4..7],
        &digits[7..]
    )
}

#[cfg(test)]
mod tests;

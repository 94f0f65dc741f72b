//! F-12. Any sequence of requests against the whole route table, with people who write and time that
//! passes between them: every status is one that is documented for its route, none is 500, and the
//! store keeps its promises.

use super::hall::{AGENT, APP_SECRET, Answer, CREDENTIAL, Hall, NUMBER_ID, OFFICE};
use super::house::{Left, Person, said_in};
use portero::domain::id::MessageId;
use portero::domain::message::Status;
use portero::domain::reading;
use portero::domain::secret::{MappingHash, Secret};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use portero::store::record;
use portero::whatsapp::signature;
use rouille::percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// Steps of one sequence.
const STEPS_MAX: usize = 40;

const NUMBERS: [&str; 3] = ["573001234567", "34600111222", "5511987654321"];

const ADDRESSES: [&str; 3] = ["ana@example.com", "max@example.com", "nobody@example.com"];
const PASSWORDS: [&str; 3] = ["Ana Pérez", "Max <b>", "guess"];

const TEXTS: [&str; 12] = [
    "hola",
    "ana@example.com",
    "max@example.com",
    "nobody@example.com",
    "ana@gmial.com",
    "enlace",
    "12345678",
    "cancelar",
    "cerrar sesión",
    "olvídame",
    "sí, olvídame",
    "reenviar",
];

const METHODS: [&str; 8] = [
    "GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE",
];

/// Every route, `{}` where something stands that is known here.
const TARGETS: [&str; 25] = [
    "/webhook",
    "/webhook/?hub.mode=subscribe&hub.verify_token=tomillo&hub.challenge=1158201444",
    "/sign-in/",
    "/sign-in/?mappingHash={hash}",
    "/sign-in/logo",
    "/undo/",
    "/undo/?token={undo}",
    "/hash-mappings/{hash}/",
    "/chat/history/",
    "/v1/tokens",
    "/v1/sign-in-links",
    "/v1/challenges",
    "/v1/challenges/{challenge}",
    "/v1/contacts/{contact}",
    "/v1/contacts/{contact}/bindings",
    "/v1/contacts/{contact}/bindings?service=kutamma",
    "/.well-known/jwks.json",
    "/openapi.json",
    "/status/",
    "/status/contacts/",
    "/status/contacts/{contact}/",
    "/status/letters/",
    "/status/log/",
    "/healthz",
    "/readyz",
];

pub fn holds(input: &[u8]) {
    let mut play = Play::new(input);
    for _ in 0..STEPS_MAX {
        let Some(step) = play.next() else { break };
        play.step(step);
    }
    // A person is sent one message in six seconds at most.
    play.hall.house.later(5 * MINUTE_MS);
    play.keeps_its_promises();
}

struct Play<'i> {
    hall: Hall,
    rest: &'i [u8],
    people: Vec<Person>,
    /// Who has shown something that only they could know, or only their mailbox.
    have_proved: BTreeSet<usize>,
    /// What a page of others, which is believed, has said about addresses.
    claimed: BTreeSet<&'static str>,
    hash: String,
    undo: String,
    challenge: String,
    token: String,
    messages: u32,
    cookie: String,
}

impl<'i> Play<'i> {
    fn new(input: &'i [u8]) -> Play<'i> {
        Play {
            hall: Hall::open(),
            rest: input,
            people: NUMBERS.map(Person::with_number).into(),
            have_proved: BTreeSet::new(),
            claimed: BTreeSet::new(),
            hash: "0".repeat(40),
            undo: "0".repeat(40),
            challenge: "00000000-0000-4000-8000-000000000000".to_owned(),
            token: "nothing".to_owned(),
            messages: 0,
            cookie: "__Host-portero_status=nothing".to_owned(),
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let byte = self.next().unwrap_or(0);
        all[usize::from(byte) % all.len()]
    }

    fn who(&mut self) -> usize {
        usize::from(self.next().unwrap_or(0)) % NUMBERS.len()
    }

    /// As many bytes as the next one says.
    fn bytes(&mut self) -> &'i [u8] {
        let count = usize::from(self.next().unwrap_or(0)).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(count);
        self.rest = rest;
        bytes
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    fn step(&mut self, step: u8) {
        match step % 16 {
            0 => self.anything(),
            1 => {
                let (who, text) = (self.who(), self.one_of(&TEXTS));
                self.writes(who, text, &json!({}));
            }
            2 => {
                let (who, text) = (self.who(), self.text());
                let more = self.one_of(&[
                    "{}",
                    r#"{"context":{"forwarded":true}}"#,
                    r#"{"group_id":"1"}"#,
                ]);
                self.writes(who, &text, &more.parse().expect("JSON"));
            }
            3 => {
                let body = self.bytes();
                self.signed(body);
            }
            4 => {
                let times = [
                    SECOND_MS,
                    MINUTE_MS,
                    11 * MINUTE_MS,
                    HOUR_MS,
                    DAY_MS,
                    91 * DAY_MS,
                ];
                let ms = self.one_of(&times);
                self.hall.house.clock.forward(ms);
            }
            5 => self.settle(),
            6 => self.writes_their_code(),
            7 => self.signs_in_on_the_page(),
            8 => self.returns(),
            9 => self.asks_the_api(),
            10 => self.a_page_of_others(),
            11 => self.undoes(),
            12 => self.at_the_status_page(),
            13 => {
                let (who, status) = (
                    self.who(),
                    self.one_of(&["sent", "delivered", "read", "failed"]),
                );
                self.status(who, status);
            }
            14 => self.on_the_phone(),
            _ => self.settle(),
        }
    }

    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let from = 0x0a00_0001 + self.messages;
        let answer = self.hall.ask(from, method, target, headers, body);
        is_documented(method, target, &answer);
        answer
    }

    // --- anybody ----------------------------------------------------------------------------------

    fn filled_in(&self, target: &str) -> String {
        let contact = self
            .hall
            .house
            .contacts()
            .first()
            .map(|contact| contact.id.to_string());
        (target.replace("{hash}", &self.hash))
            .replace("{undo}", &self.undo)
            .replace("{challenge}", &self.challenge)
            .replace(
                "{contact}",
                &contact.unwrap_or_else(|| self.challenge.clone()),
            )
    }

    fn anything(&mut self) {
        let (method, target) = (self.one_of(&METHODS), self.one_of(&TARGETS));
        let mut target = self.filled_in(target);
        let which = self.next().unwrap_or(0);
        let agent = format!("Bearer {AGENT}");
        let (token, cookie) = (format!("Bearer {}", self.token), self.cookie.clone());
        let mut headers = vec![];
        let field = self.text();
        let field: String = field.chars().filter(|c| !c.is_control()).collect();
        let types = [
            "application/json",
            "application/x-www-form-urlencoded",
            field.as_str(),
        ];
        headers.push(("Content-Type", types[usize::from(which) % 3]));
        match which / 3 % 5 {
            0 => headers.push(("Authorization", agent.as_str())),
            1 => headers.push(("Authorization", token.as_str())),
            2 => headers.push(("Cookie", cookie.as_str())),
            3 => headers.push(("Authorization", field.as_str())),
            _ => headers.push(("Cookie", field.as_str())),
        }
        if which >= 128 {
            headers.extend([
                ("Sec-Fetch-Site", "same-origin"),
                ("Idempotency-Key", field.as_str()),
                ("Origin", "https://shop.example.com"),
                ("Accept-Language", field.as_str()),
            ]);
        }
        if which.is_multiple_of(7) {
            let (bytes, graphic) = (self.bytes(), |c: &char| c.is_ascii_graphic() && *c != '#');
            target.extend(bytes.iter().map(|byte| char::from(*byte)).filter(graphic));
        }
        let body = self.bytes();
        self.ask(method, &target, &headers, body);
    }

    // --- those who write --------------------------------------------------------------------------

    fn signed(&self, body: &[u8]) -> Answer {
        let header = signature::sign(&Secret::new(APP_SECRET), body);
        let answer = self.ask(
            "POST",
            "/webhook/",
            &[("X-Hub-Signature-256", &header)],
            body,
        );
        assert_eq!(answer.status, 200, "a signed webhook");
        answer
    }

    fn webhook(&self, value: Value) {
        let mut value = value;
        value["messaging_product"] = "whatsapp".into();
        value["metadata"] = json!({"phone_number_id": NUMBER_ID});
        let body = json!({
            "object": "whatsapp_business_account",
            "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}],
        });
        self.signed(body.to_string().as_bytes());
    }

    fn writes(&mut self, who: usize, text: &str, more: &Value) {
        self.messages += 1;
        let mut message = json!({
            "from": NUMBERS[who], "id": format!("wamid.in{}", self.messages),
            "timestamp": self.hall.house.app.now().seconds().to_string(),
            "type": "text", "text": {"body": text},
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        self.webhook(json!({"messages": [message]}));
    }

    fn status(&mut self, who: usize, status: &str) {
        let said = self.hall.house.said();
        let Some(said) = said.iter().rev().find(|said| self.people[who].is(&said.to)) else {
            return;
        };
        let known = [
            Status::Sent,
            Status::Delivered,
            Status::Read,
            Status::Failed,
        ];
        assert_eq!(known.len(), 4);
        self.webhook(json!({"statuses": [{
            "id": said.id.as_str(), "status": status, "recipient_id": NUMBERS[who],
            "timestamp": self.hall.house.app.now().seconds().to_string(),
            "biz_opaque_callback_data": said.tag,
            "errors": [{"code": 131_026}],
        }]}));
    }

    /// Everything that is due leaves; links and tokens that arrive are known from then on.
    fn settle(&mut self) {
        self.hall.house.settle();
        let newest = (self.people.iter())
            .filter_map(|person| self.hall.house.link(person))
            .last();
        if let Some(hash) = newest {
            self.hash = hash.reveal().to_owned();
        }
        for address in ADDRESSES {
            if let Some(token) = self.hall.house.undo_token(address) {
                self.undo = token;
            }
        }
    }

    fn writes_their_code(&mut self) {
        let who = self.who();
        let mails = self.hall.house.mails();
        let code = mails.iter().rev().find_map(|mail| {
            let word = mail.subject.split(' ').next()?;
            (word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| word.to_owned())
        });
        if let Some(code) = code {
            self.have_proved.insert(who);
            self.writes(who, &code, &json!({}));
        }
    }

    // --- the page ---------------------------------------------------------------------------------

    fn form(&self, path: &str, fields: &[(&str, &str)], cookie: Option<&str>) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut headers = vec![
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        headers.extend(cookie.map(|cookie| ("Cookie", cookie)));
        self.ask("POST", path, &headers, body.as_bytes())
    }

    fn hidden(answer: &Answer, name: &str) -> Option<String> {
        let (_, rest) = answer
            .body
            .split_once(&format!("name=\"{name}\" value=\""))?;
        Some(rest.split('"').next()?.to_owned())
    }

    fn signs_in_on_the_page(&mut self) {
        let (user, password) = (self.one_of(&ADDRESSES), self.one_of(&PASSWORDS));
        let action = self.one_of(&["sign_in", "sign_in", "sign_in", "not_me"]);
        let number = self.one_of(&NUMBERS);
        let page = self.ask(
            "GET",
            &format!("/sign-in/?mappingHash={}", self.hash),
            &[],
            b"",
        );
        let Some(token) = Self::hidden(&page, "formToken") else {
            return;
        };
        let fields = [
            ("mappingHash", self.hash.as_str()),
            ("formToken", &token),
            ("user", user),
            ("password", password),
            ("number", number),
            ("action", action),
        ];
        let answer = self.form("/sign-in/", &fields, None);
        if let Some(text) = return_text(&answer) {
            self.token = text;
        }
    }

    /// Somebody sends the text that a browser made ready.
    fn returns(&mut self) {
        let who = self.who();
        let text = self.token.clone();
        if reading::return_code(&text).is_some() {
            self.have_proved.insert(who);
            self.writes(who, &text, &json!({}));
        }
    }

    fn on_the_phone(&mut self) {
        let target = format!("/sign-in/?mappingHash={}", self.hash);
        let headers = [("Sec-CH-UA-Mobile", "?1"), ("Accept-Language", "pt-BR")];
        self.ask("GET", &target, &headers, b"");
    }

    fn undoes(&mut self) {
        let page = self.ask("GET", &format!("/undo/?token={}", self.undo), &[], b"");
        let Some(token) = Self::hidden(&page, "formToken") else {
            return;
        };
        let fields = [("token", self.undo.as_str()), ("formToken", &token)];
        self.form("/undo/", &fields, None);
    }

    // --- programs ---------------------------------------------------------------------------------

    fn asks_the_api(&mut self) {
        let key = self.one_of(&[AGENT, OFFICE]);
        let which = self.next().unwrap_or(0);
        let who = self.who();
        let known = |person: &Person| {
            let contacts = self.hall.house.contacts();
            contacts
                .into_iter()
                .find(|contact| contact.wa_id == person.wa_id)
        };
        let Some(contact) = known(&self.people[who]) else {
            return;
        };
        let app = &self.hall.house.app;
        let message = MessageId::parse("wamid.1").expect("an id");
        let identity = app.identity_of(&contact, &message, app.now());
        let identity = identity.reveal();
        let bearer = format!("Bearer {key}");
        let mark = format!("mark-{}", which % 4);
        let mut headers = vec![
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
            ("Portero-Identity", identity),
        ];
        if which >= 128 {
            headers.push(("Idempotency-Key", mark.as_str()));
        }
        let proof = ["any", "mail_code", "password", "nothing"][usize::from(which) % 4];
        let uuid = contact.id.to_string();
        let path = format!("/v1/contacts/{uuid}");
        let (method, target, body) = match which % 8 {
            0 => (
                "POST",
                "/v1/tokens",
                json!({"identity": identity, "service": "kutamma"}),
            ),
            1 => (
                "POST",
                "/v1/tokens",
                json!({"contact": uuid, "service": "woku", "scope": "full"}),
            ),
            2 => (
                "POST",
                "/v1/sign-in-links",
                json!({"identity": identity, "send": which >= 64}),
            ),
            3 => (
                "POST",
                "/v1/challenges",
                json!({"identity": identity, "proof": proof}),
            ),
            4 => (
                "POST",
                "/v1/challenges",
                json!({"contact": uuid, "maxAgeSeconds": which}),
            ),
            5 => ("GET", path.as_str(), Value::Null),
            6 => ("DELETE", "", Value::Null),
            _ => ("GET", "/v1/challenges/", Value::Null),
        };
        let target = match (method, target) {
            ("DELETE", _) => format!("{path}/bindings"),
            ("GET", "/v1/challenges/") => format!("/v1/challenges/{}", self.challenge),
            (_, target) => target.to_owned(),
        };
        let bytes = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let answer = self.ask(method, &target, &headers, &bytes);
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if let Some(id) = told["id"].as_str() {
            self.challenge = id.to_owned();
        }
        if let Some(hash) = told["url"].as_str().and_then(|url| url.rsplit('=').next())
            && MappingHash::parse(hash).is_ok()
        {
            self.hash = hash.to_owned();
        }
        assert!(
            told["token"].is_null() || contact.is_bound(),
            "a token for a stranger"
        );
    }

    fn a_page_of_others(&mut self) {
        let credential = format!("Bearer {CREDENTIAL}");
        let target = format!("/hash-mappings/{}/", self.hash);
        let answer = self.ask("GET", &target, &[("Authorization", &credential)], b"");
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let (Some(token), Some(uuid)) = (told["accessToken"].as_str(), told["userUuid"].as_str())
        else {
            return;
        };
        let user = self.one_of(&ADDRESSES);
        self.claimed.insert(user);
        let mut payload = json!({"auth": true});
        if self.next().unwrap_or(0).is_multiple_of(2) {
            payload["user"] = json!({
                "id": 42, "email": user, "name": "Ana", "company": {"id": "c-1", "name": "Acme"},
            });
        }
        let body = json!({
            "userUuid": uuid, "messageFrom": "WHATSAPP_END_USER",
            "messagePayload": {"type": "SIGN_IN", "signInPayload": payload},
        });
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Content-Type", "application/json;charset=UTF-8"),
            ("Authorization", bearer.as_str()),
        ];
        let answer = self.ask(
            "POST",
            "/chat/history/",
            &headers,
            body.to_string().as_bytes(),
        );
        if let Some(text) = return_text(&answer) {
            self.token = text;
        }
    }

    fn at_the_status_page(&mut self) {
        let which = self.next().unwrap_or(0);
        if which == 0 {
            self.cookie = self.hall.status_cookie();
        }
        let cookie = self.cookie.clone();
        let page = self.ask("GET", "/status/", &[("Cookie", &cookie)], b"");
        let Some(token) = Self::hidden(&page, "formToken") else {
            return;
        };
        let contact = self.filled_in("{contact}");
        let (path, action) = self.one_of(&[
            ("/status/contacts/", "search"),
            ("/status/contacts/", "release"),
            ("/status/letters/", "retry"),
            ("/status/letters/", "drop"),
            ("/status/", "sign_out"),
            ("/status/", "nothing"),
        ]);
        let search = self.text();
        let fields = [
            ("formToken", token.as_str()),
            ("action", action),
            ("search", &search),
            ("id", &contact),
            ("newest", &search),
        ];
        self.form(path, &fields, Some(&cookie));
    }

    // --- what must hold ---------------------------------------------------------------------------

    fn keeps_its_promises(&self) {
        let house = &self.hall.house;
        let overview = house.overview();
        for contact in overview
            .contacts
            .iter()
            .filter(|contact| contact.is_bound())
        {
            let who = self
                .people
                .iter()
                .position(|person| person.wa_id == contact.wa_id);
            let has_proved = who.is_some_and(|who| self.have_proved.contains(&who));
            assert!(has_proved, "{:?} is bound without a proof", contact.wa_id);
        }
        let (store, keys) = house.store_and_keys();
        let check = store.view(|reader| record::verify_audit(reader, &keys, None, 100_000));
        let check = check.expect("an audit that can be read");
        assert!(
            check.is_end && check.faults.is_empty(),
            "{:?}",
            check.faults
        );
        // Each contact is found under its names, unless it wished to be forgotten and is not yet.
        let wishes = store.view(|reader| record::wishes_to_be_forgotten(reader, 1_000));
        let wishes = wishes.expect("wishes that can be read");
        for contact in &overview.contacts {
            let found = store.view(|reader| {
                Ok(match (&contact.bsuid, &contact.wa_id) {
                    (Some(bsuid), _) => record::contact_of_bsuid(reader, &keys, bsuid)?,
                    (None, Some(number)) => record::contact_of_wa_id(reader, &keys, number)?,
                    (None, None) => Some(contact.id),
                })
            });
            let wishes_it = wishes.iter().any(|(id, _)| *id == contact.id);
            assert!(found == Ok(Some(contact.id)) || wishes_it, "{found:?}");
        }
        // Nothing waits that is due: the outbox was emptied, and retries have a later time.
        let now = house.app.now();
        for entry in &overview.outbox {
            assert!(entry.not_before > now, "{} waits", entry.errand.name());
        }
        // What leaves is bounded by what came, goes to addresses on file, and the bot gets no code.
        let left = house.left();
        assert!(
            left.len() <= 8 * (STEPS_MAX + 1) * 4,
            "{} things left",
            left.len()
        );
        for left in &left {
            match left {
                Left::Mailed(mail) => {
                    let to = mail.to.as_str();
                    assert!(
                        ADDRESSES[..2].contains(&to) || self.claimed.contains(to),
                        "{to}"
                    );
                }
                Left::HandedOn(hand_over) => {
                    let text = said_in(hand_over).unwrap_or_default();
                    assert!(
                        reading::return_code(&text).is_none(),
                        "the bot got a return code"
                    );
                }
                Left::Said(_) | Left::Told(_) => {}
            }
        }
        house.records();
    }
}

/// The text that an answer has ready for the chat.
fn return_text(answer: &Answer) -> Option<String> {
    let whole = format!(
        "{} {}",
        answer.header("Location").unwrap_or(""),
        answer.body
    );
    let whole = whole.replace("%20", " ").replace('+', " ");
    let code = reading::return_code(&whole)?;
    Some(code.reveal().to_owned())
}

/// The description of the API names the statuses of each of its operations; pages have theirs.
fn is_documented(method: &str, target: &str, answer: &Answer) {
    static OPENAPI: OnceLock<Value> = OnceLock::new();
    let openapi = OPENAPI.get_or_init(|| {
        let text = include_str!("../../../assets/openapi.json");
        serde_json::from_str(text).expect("JSON")
    });
    // Decoded, so that an encoded slash divides; one slash at the end makes no difference, a second
    // one does.
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let path = percent_decode_str(path).decode_utf8_lossy();
    let segments = |path: &str| -> Vec<String> {
        let path = path.strip_suffix('/').unwrap_or(path);
        path.split('/').map(str::to_owned).collect()
    };
    let is_that = |pattern: &str| {
        let (pattern, path) = (segments(pattern), segments(&path));
        pattern.len() == path.len()
            && pattern
                .iter()
                .zip(&path)
                .all(|(one, other)| one == other || (one.starts_with('{') && !other.is_empty()))
    };
    let paths = openapi["paths"].as_object().expect("paths");
    let operations = paths
        .iter()
        .find(|(pattern, _)| is_that(pattern))
        .map(|(_, found)| found);
    let method = if method == "HEAD" { "get" } else { method };
    let operation = operations.map(|operations| &operations[method.to_ascii_lowercase()]);
    let status = answer.status;
    match operation {
        Some(operation) if operation.is_object() => {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(
                responses.contains_key(&status.to_string()),
                "{method} {target}: {status}"
            );
        }
        Some(_) => assert!([404, 405].contains(&status), "{method} {target}: {status}"),
        None => {
            let known = [200, 303, 400, 401, 403, 404, 405, 415, 422, 429];
            assert!(known.contains(&status), "{method} {target}: {status}");
        }
    }
}

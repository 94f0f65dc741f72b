//! The company's services, Kutamma and woku: *does this user exist*, *a token for this user* and
//! *whose password is this*, `POST` with JSON, signed by the caller per Standard Webhooks; and what
//! they are there for: `GET /{service}/me/orders` and `…/me/invoices`, with a token of theirs.

use super::cast::{Paper, SERVICES, Service, User};
use super::door::{self, Door};
use super::watch::{Watch, lock, now_ms, random_hex};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use rouille::{Request, Response};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How far the caller's clock may be off (Standard Webhooks recommends five minutes).
const CLOCK_SKEW_MAX_SECONDS: u64 = 300;
/// Tokens live so long.
const TOKEN_LIFETIME_SECONDS: u64 = 900;
/// Tokens and calls remembered per service; the oldest give way.
const REMEMBERED_MAX: usize = 1_000;

/// What a service can be made to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 503 to everything.
    Down,
    /// Every answer comes after this long.
    Slow(Duration),
    /// 200 with an HTML page.
    Garbage,
}

/// A token that was handed out.
#[derive(Clone, Debug)]
pub struct Token {
    /// Opaque.
    pub token: String,
    /// For whom.
    pub user_id: String,
    /// In which company.
    pub company_id: String,
    /// On behalf of which contact.
    pub user_uuid: String,
    /// Milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// One call as it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `find_user`, `issue_token`, `check_password`, `me/orders` or `me/invoices`.
    pub path: String,
    /// Status of the answer.
    pub status: u16,
}

/// Both services behind one address. Stops when dropped.
pub struct Services {
    shared: Arc<Shared>,
    door: Door,
}

struct Shared {
    watch: Arc<Watch>,
    offices: Vec<Office>,
}

struct Office {
    service: &'static Service,
    key: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    tokens: VecDeque<Token>,
    calls: VecDeque<Call>,
    password_checks: usize,
}

impl Services {
    /// Listens on a free port of 127.0.0.1 with fresh signing keys.
    pub fn start(watch: Arc<Watch>) -> io::Result<Services> {
        let office = |service: &'static Service| Office {
            service,
            key: random_hex(24).into_bytes(),
            state: Mutex::default(),
        };
        let shared = Arc::new(Shared {
            watch,
            offices: SERVICES.iter().map(office).collect(),
        });
        let for_door = shared.clone();
        let door = Door::open((Ipv4Addr::LOCALHOST, 0).into(), move |request: &Request| {
            for_door.answer(request)
        })?;
        Ok(Services { shared, door })
    }

    /// Where both listen.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// URL of `find_user`, `issue_token` or `check_password` of a service.
    pub fn url(&self, service: &str, call: &str) -> String {
        format!("http://{}/{service}/{call}", self.address())
    }

    /// Signing secret of a service: `whsec_` and base64.
    pub fn secret(&self, service: &str) -> Option<String> {
        let office = self.shared.office(service)?;
        Some(format!("whsec_{}", BASE64.encode(&office.key)))
    }

    /// From now on this service fails so, or works again with `None`.
    pub fn misbehave(&self, service: &str, trouble: Option<Trouble>) {
        if let Some(office) = self.shared.office(service) {
            lock(&office.state).trouble = trouble;
            self.shared.watch.touch();
        }
    }

    /// What is wrong with a service.
    pub fn trouble(&self, service: &str) -> Option<Trouble> {
        lock(&self.shared.office(service)?.state).trouble
    }

    /// Tokens handed out by a service, oldest first.
    pub fn tokens(&self, service: &str) -> Vec<Token> {
        self.shared.office(service).map_or_else(Vec::new, |office| {
            lock(&office.state).tokens.iter().cloned().collect()
        })
    }

    /// Calls that a service answered, oldest first.
    pub fn calls(&self, service: &str) -> Vec<Call> {
        self.shared.office(service).map_or_else(Vec::new, |office| {
            lock(&office.state).calls.iter().cloned().collect()
        })
    }

    /// How many passwords a service was asked about since the start, whatever it answered.
    pub fn password_checks(&self, service: &str) -> usize {
        self.shared
            .office(service)
            .map_or(0, |office| lock(&office.state).password_checks)
    }
}

impl Shared {
    fn office(&self, name: &str) -> Option<&Office> {
        self.offices
            .iter()
            .find(|office| office.service.name == name)
    }

    fn answer(&self, request: &Request) -> Response {
        let path = request.url();
        let mut parts = path.trim_matches('/').splitn(2, '/');
        let office = parts.next().and_then(|name| self.office(name));
        let (Some(office), Some(call)) = (office, parts.next()) else {
            return refused(404, "NOT_FOUND", "no such service");
        };
        let trouble = lock(&office.state).trouble;
        let response = match trouble {
            Some(Trouble::Down) => refused(503, "DOWN", "closed for maintenance"),
            Some(Trouble::Garbage) => Response::html("<h1>It works!</h1>"),
            Some(Trouble::Slow(delay)) => {
                std::thread::sleep(delay);
                office.answer(call, request)
            }
            None => office.answer(call, request),
        };
        let mut state = lock(&office.state);
        if call == "check_password" {
            state.password_checks += 1;
        }
        if state.calls.len() == REMEMBERED_MAX {
            state.calls.pop_front();
        }
        state.calls.push_back(Call {
            path: call.to_owned(),
            status: response.status_code,
        });
        drop(state);
        self.watch.touch();
        response
    }
}

impl Office {
    fn answer(&self, call: &str, request: &Request) -> Response {
        if let Some(papers) = call.strip_prefix("me/") {
            return self.own(papers, request, now_ms());
        }
        if request.method() != "POST" {
            return refused(405, "METHOD_NOT_ALLOWED", "POST only");
        }
        let Some(body) = door::body(request) else {
            return refused(413, "TOO_LARGE", "the body is too large");
        };
        if let Err(reason) = verify(&self.key, request, &body, now_ms() / 1_000) {
            return refused(401, "BAD_SIGNATURE", reason);
        }
        let Ok(body) = serde_json::from_slice::<Value>(&body) else {
            return refused(400, "BAD_JSON", "the body is not JSON");
        };
        match call {
            "find_user" => self.find_user(&body),
            "issue_token" => self.issue_token(&body),
            "check_password" => self.check_password(&body),
            _ => refused(404, "NOT_FOUND", "no such call"),
        }
    }

    /// What belongs to the user for whom this service has issued the token in the request.
    fn own(&self, papers: &str, request: &Request, now_ms: u64) -> Response {
        if request.method() != "GET" {
            return refused(405, "METHOD_NOT_ALLOWED", "GET only");
        }
        let header = request.header("Authorization").unwrap_or_default();
        let given = header.strip_prefix("Bearer ");
        let token = {
            let state = lock(&self.state);
            let mut issued = state.tokens.iter();
            issued
                .find(|token| Some(token.token.as_str()) == given)
                .cloned()
        };
        let Some(token) = token.filter(|token| now_ms < token.expires_at_ms) else {
            return refused(
                401,
                "TOKEN_INVALID",
                "the token is not known, or has expired",
            );
        };
        let is_theirs =
            |user: &&User| user.id == token.user_id && user.company.id == token.company_id;
        let Some(user) = self.service.users.iter().find(is_theirs) else {
            return refused(401, "TOKEN_INVALID", "the token is nobody's");
        };
        let found = match papers {
            "orders" => user.orders,
            "invoices" => user.invoices,
            _ => return refused(404, "NOT_FOUND", "no such call"),
        };
        let described = |paper: &Paper| json!({"number": paper.number, "what": paper.what, "state": paper.state});
        let found: Vec<Value> = found.iter().map(described).collect();
        door::json(200, &json!({ papers: found }))
    }

    fn find_user(&self, body: &Value) -> Response {
        let Some(email) = body["email"].as_str() else {
            return refused(400, "EMAIL_MISSING", "email is missing");
        };
        self.users(|user| user.email.eq_ignore_ascii_case(email))
    }

    fn check_password(&self, body: &Value) -> Response {
        let (Some(name), Some(password)) = (body["user"].as_str(), body["password"].as_str())
        else {
            return refused(400, "PASSWORD_MISSING", "user or password is missing");
        };
        self.users(|user| {
            (user.email.eq_ignore_ascii_case(name) || user.id == name) && user.password == password
        })
    }

    fn users(&self, wanted: impl Fn(&User) -> bool) -> Response {
        let described = |user: &User| {
            let mut described = json!({
                "id": user.id,
                "name": user.name,
                "email": user.email,
                "company": {"id": user.company.id, "name": user.company.name},
            });
            if let Some(phone) = user.phone {
                described["phone"] = phone.into();
            }
            described
        };
        let users = self.service.users.iter();
        let found: Vec<Value> = users.filter(|user| wanted(user)).map(described).collect();
        door::json(200, &json!({ "users": found }))
    }

    fn issue_token(&self, body: &Value) -> Response {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let (user_id, company_id, user_uuid) =
            (text("userId"), text("companyId"), text("userUuid"));
        if user_uuid.is_empty() {
            return refused(400, "USER_UUID_MISSING", "userUuid is missing");
        }
        let known = |user: &&User| user.id == user_id && user.company.id == company_id;
        if !self.service.users.iter().any(|user| known(&user)) {
            return refused(404, "USER_UNKNOWN", "no such user in that company");
        }
        let token = Token {
            token: format!("{}_{}", self.service.name, random_hex(24)),
            user_id,
            company_id,
            user_uuid,
            expires_at_ms: now_ms() + TOKEN_LIFETIME_SECONDS * 1_000,
        };
        let answer = json!({
            "token": token.token,
            "tokenType": "Bearer",
            "expiresIn": TOKEN_LIFETIME_SECONDS,
        });
        let mut state = lock(&self.state);
        if state.tokens.len() == REMEMBERED_MAX {
            state.tokens.pop_front();
        }
        state.tokens.push_back(token);
        door::json(200, &answer)
    }
}

/// Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`; any of the space-separated
/// signatures with version `v1` may fit.
fn verify(key: &[u8], request: &Request, body: &[u8], now: u64) -> Result<(), &'static str> {
    let header = |name| request.header(name).ok_or("a webhook-… header is missing");
    let id = header("webhook-id")?;
    let timestamp = header("webhook-timestamp")?;
    let signatures = header("webhook-signature")?;
    let sent_at: u64 = timestamp
        .parse()
        .map_err(|_| "the timestamp is no number")?;
    if now.abs_diff(sent_at) > CLOCK_SKEW_MAX_SECONDS {
        return Err("the timestamp is too far from now");
    }
    let mut mac = mac(key);
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    let fits = |signature: &str| {
        let signature = signature.strip_prefix("v1,")?;
        let signature = BASE64.decode(signature).ok()?;
        mac.clone().verify_slice(&signature).ok()
    };
    let fitting = signatures.split(' ').any(|one| fits(one).is_some());
    fitting.then_some(()).ok_or("no signature fits")
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104, section 2).
    Hmac::new_from_slice(key).expect("a key of any length")
}

/// The error envelope that all JSON of the house shares.
fn refused(status: u16, key: &str, message: &str) -> Response {
    let error = json!({"error": {"key": key, "message": message, "details": {}}});
    door::json(status, &error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const KEY: &[u8] = b"a key of the test, 24 by";

    fn office() -> Office {
        Office {
            service: &SERVICES[1],
            key: KEY.to_vec(),
            state: Mutex::default(),
        }
    }

    fn signed(call: &str, body: &str, key: &[u8], timestamp: u64) -> Request {
        let mut mac = mac(key);
        mac.update(format!("msg_1.{timestamp}.{body}").as_bytes());
        let signature = BASE64.encode(mac.finalize().into_bytes());
        let header = |name: &str, value: String| (name.to_owned(), value);
        Request::fake_http(
            "POST",
            format!("/woku/{call}"),
            vec![
                header("webhook-id", "msg_1".into()),
                header("webhook-timestamp", timestamp.to_string()),
                header("webhook-signature", format!("v1,AAAA v1,{signature}")),
            ],
            body.as_bytes().to_vec(),
        )
    }

    fn told(response: Response) -> (u16, Value) {
        let (mut reader, _) = response.data.into_reader_and_size();
        let mut body = String::new();
        io::Read::read_to_string(&mut reader, &mut body).unwrap();
        (response.status_code, serde_json::from_str(&body).unwrap())
    }

    fn ask(call: &str, body: &str) -> (u16, Value) {
        told(office().answer(call, &signed(call, body, KEY, now_ms() / 1_000)))
    }

    #[test]
    fn the_published_example_of_standard_webhooks_verifies() {
        let key = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let request = Request::fake_http(
            "POST",
            "/",
            vec![
                ("webhook-id".into(), "msg_p5jXN8AQM9LWM0D4loKWxJek".into()),
                ("webhook-timestamp".into(), "1614265330".into()),
                (
                    "webhook-signature".into(),
                    "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".into(),
                ),
            ],
            vec![],
        );
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(verify(&key, &request, body, 1_614_265_330), Ok(()));
        assert!(verify(&key, &request, b"{}", 1_614_265_330).is_err());
        assert!(verify(&key, &request, body, 1_614_265_330 + 301).is_err());
    }

    #[test]
    fn a_user_is_found_without_regard_to_case_and_a_stranger_is_not() {
        let (status, found) = ask("find_user", r#"{"email":"ANA@example.com"}"#);
        assert_eq!(status, 200);
        assert_eq!(found["users"][0]["company"]["name"], "Panadería La Espiga");
        let (status, found) = ask("find_user", r#"{"email":"visitante@example.net"}"#);
        assert_eq!((status, found), (200, json!({"users": []})));
    }

    #[test]
    fn a_token_is_given_for_a_user_of_the_company_only() {
        let body = r#"{"userId":"w-ana","companyId":"c-espiga","userUuid":"u"}"#;
        let (status, token) = ask("issue_token", body);
        assert_eq!((status, &token["tokenType"]), (200, &json!("Bearer")));
        let body = r#"{"userId":"w-ana","companyId":"c-serra-azul","userUuid":"u"}"#;
        assert_eq!(ask("issue_token", body).0, 404);
    }

    #[test]
    fn a_token_shows_what_its_user_owns_until_it_expires_and_nothing_else_does() {
        let office = office();
        let body = r#"{"userId":"w-ana","companyId":"c-espiga","userUuid":"u"}"#;
        let issued = signed("issue_token", body, KEY, now_ms() / 1_000);
        let (_, issued) = told(office.answer("issue_token", &issued));
        let token = issued["token"].as_str().unwrap();
        let ask = |method: &str, path: &str, authorization: String, at_ms: u64| {
            let headers = vec![("Authorization".to_owned(), authorization)];
            let request = Request::fake_http(method, "/woku/me/orders", headers, Vec::new());
            told(office.own(path, &request, at_ms))
        };
        let (now, good) = (now_ms(), format!("Bearer {token}"));
        let (status, own) = ask("GET", "orders", good.clone(), now);
        assert_eq!(status, 200);
        assert_eq!(own["orders"][0]["number"], "W-118");
        assert_eq!(own["orders"].as_array().unwrap().len(), 1, "Ana's alone");
        assert_eq!(
            ask("GET", "invoices", good.clone(), now).1,
            json!({"invoices": []})
        );
        assert_eq!(ask("GET", "wages", good.clone(), now).0, 404);
        assert_eq!(ask("POST", "orders", good.clone(), now).0, 405);
        let expired = now + TOKEN_LIFETIME_SECONDS * 1_000 + 1_000;
        assert_eq!(ask("GET", "orders", good, expired).0, 401);
        for wrong in [
            token.to_owned(),
            "Bearer ".to_owned(),
            format!("Bearer {token}x"),
        ] {
            assert_eq!(ask("GET", "orders", wrong, now).0, 401);
        }
    }

    #[test]
    fn a_password_opens_the_own_account_only() {
        let ask = |user: &str, password: &str| {
            let body = json!({"user": user, "password": password}).to_string();
            let (status, found) = ask("check_password", &body);
            assert_eq!(status, 200);
            found["users"].clone()
        };
        for user in ["Bruno@example.org", "w-bruno"] {
            let found = ask(user, "pão de queijo quente");
            assert_eq!(found[0]["id"], "w-bruno");
            assert_eq!(found.as_array().unwrap().len(), 1);
        }
        for (user, password) in [
            ("bruno@example.org", "Pão de queijo quente"),
            ("camila@example.org", "pão de queijo quente"),
            ("visitante@example.net", "pão de queijo quente"),
            ("bruno@example.org", ""),
            ("", ""),
        ] {
            assert_eq!(ask(user, password), json!([]), "{user}");
        }
        let missing = self::ask("check_password", r#"{"user":"w-bruno"}"#);
        assert_eq!(missing.0, 400);
    }

    #[test]
    fn an_unsigned_or_wrongly_signed_call_is_refused() {
        let body = r#"{"email":"ana@example.com"}"#;
        let now = now_ms() / 1_000;
        for request in [
            signed("find_user", body, b"another key", now),
            signed("find_user", body, KEY, now - 301),
            Request::fake_http("POST", "/woku/find_user", vec![], body.into()),
        ] {
            let (status, error) = told(office().answer("find_user", &request));
            assert_eq!(status, 401);
            assert_eq!(error["error"]["key"], "BAD_SIGNATURE");
        }
    }
}

//! The two calls of the published document, by which somebody else's page signs people in: on the
//! real wire before a core with a clock that is set by hand, and before the real program with a page
//! whose author has read nothing but the document (S-30, S-34, S-36, S-37, S-76).

use crate::house::{House, Person, no_tokens};
use crate::outside::{self, Answer, PUBLIC_HOST, Portero, World, ask, file_has, tap, text};
use crate::python::StandIn;
use portero::domain::id::{PhoneNumberId, ServiceName};
use portero::domain::policy::{Finish, Methods, Policy};
use portero::domain::secret::Secret;
use portero::domain::time::MINUTE_MS;
use portero::web::listener::{Limits, Listener, Trust};
use portero::web::{PageSettings, Web, WebSettings, WebhookSettings};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

const CREDENTIAL: &str = "page-key-0123456789abcdef0123456789abcdef";
const OTHER_CREDENTIAL: &str = "page-key-fedcba9876543210fedcba9876543210";
const SHOP: &str = "https://shop.example.com";
const OTHER_SHOP: &str = "https://other.example.com:8443";
const RETURN_TO: &str = "https://api.whatsapp.com/send/?phone=15550783881";

fn page(name: &str, credential: Option<&str>, origins: &[&str]) -> PageSettings {
    PageSettings {
        name: ServiceName::parse(name).unwrap(),
        url: None,
        credential: credential.map(Secret::new),
        origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
        service: ServiceName::parse("kutamma").unwrap(),
    }
}

/// The page of a shop, which has a server that keeps its credential.
fn shop() -> PageSettings {
    page("shop", Some(CREDENTIAL), &[SHOP])
}

/// A page just as in the document.
fn open_page() -> PageSettings {
    page("open", None, &[SHOP])
}

fn policy(finish: Finish) -> Policy {
    Policy {
        methods: Methods {
            mail: true,
            web: true,
        },
        finish,
        ..Policy::default()
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// The house, and its web on a real socket.
struct Front {
    house: House,
    address: SocketAddr,
    _listener: Listener,
}

/// What a page was told about a link.
struct Session {
    hash: String,
    token: String,
    uuid: String,
}

impl Front {
    fn new(finish: Finish, pages: Vec<PageSettings>) -> Front {
        let house = House::on_the_web(policy(finish));
        let settings = WebSettings {
            webhook: WebhookSettings {
                app_secrets: vec![Secret::new("0123456789abcdef0123456789abcdef")],
                verify_token: Secret::new("tomillo"),
                phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            },
            site: None,
            pages,
            api_keys: Vec::new(),
            issue_token: no_tokens(),
            status: None,
        };
        let web = Web::new(Arc::clone(&house.app), settings, Box::new(Vec::new));
        let loopback = Ipv4Addr::LOCALHOST;
        let trust = Trust {
            hosts: vec![PUBLIC_HOST.to_owned()],
            // So that a test can come from several networks.
            proxies: vec![loopback.into()],
        };
        let at = SocketAddr::from((loopback, 0));
        let listener = Listener::bind(at, Limits::default(), trust, Arc::new(web)).unwrap();
        Front {
            house,
            address: listener.local_addr(),
            _listener: listener,
        }
    }

    /// Somebody who asks for a link, and the hash of the link that they got.
    fn somebody(&self, number: &str) -> (Person, String) {
        let person = Person::with_number(number);
        let hash = self.link(&person);
        (person, hash)
    }

    fn link(&self, person: &Person) -> String {
        self.house.new_link(person).reveal().to_owned()
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        ask(self.address, method, path, headers, body).unwrap()
    }

    /// `GET /hash-mappings/{hash}/` with a credential.
    fn look(&self, hash: &str, credential: Option<&str>) -> Answer {
        let value = credential.map(bearer);
        let headers: Vec<(&str, &str)> = value
            .iter()
            .map(|value| ("Authorization", value.as_str()))
            .collect();
        self.ask("GET", &format!("/hash-mappings/{hash}/"), &headers, b"")
    }

    fn session(&self, hash: &str, credential: Option<&str>) -> Session {
        let answer = self.look(hash, credential);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answer = answer.json();
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        Session {
            hash: hash.to_owned(),
            token: text("accessToken"),
            uuid: text("userUuid"),
        }
    }

    fn post(&self, token: &str, body: &Value) -> Answer {
        let value = bearer(token);
        let headers = [
            ("Content-Type", "application/json;charset=UTF-8"),
            ("Authorization", value.as_str()),
        ];
        self.ask(
            "POST",
            "/chat/history/",
            &headers,
            body.to_string().as_bytes(),
        )
    }

    fn sign_in(&self, session: &Session) -> Answer {
        self.post(&session.token, &entry(&session.uuid))
    }
}

/// The document's body.
fn entry(uuid: &str) -> Value {
    json!({
        "userUuid": uuid, "messageFrom": "WHATSAPP_END_USER",
        "messagePayload": {"type": "SIGN_IN", "signInPayload": {"auth": true}},
    })
}

fn entry_of(uuid: &str, user: Value) -> Value {
    let mut entry = entry(uuid);
    entry["messagePayload"]["signInPayload"]["user"] = user;
    entry
}

fn ana() -> Value {
    json!({"id": 42, "email": "ana@example.com", "name": "Ana Pérez",
        "company": {"id": "c-1", "name": "Inpla"}})
}

fn not_found(hash: &str) -> String {
    format!(
        r#"{{"error":{{"key":"HASH_MAPPING_NOT_FOUND","message":"Hash mapping {hash} not found","details":{{}}}}}}"#
    )
}

fn key(answer: &Answer) -> String {
    answer.json()["error"]["key"].as_str().unwrap().to_owned()
}

/// S-30.
#[test]
fn whoever_holds_a_link_cannot_sign_in_their_own_chat() {
    let front = Front::new(Finish::ReturnCode, vec![shop()]);
    let (eve, hash) = front.somebody("573001234567");
    let (bob, hash_of_bob) = front.somebody("573007654321");
    let before = front.house.records();
    for credential in [
        None,
        Some(""),
        Some("x"),
        Some(OTHER_CREDENTIAL),
        Some(&*hash),
    ] {
        let answer = front.look(&hash, credential);
        assert_eq!((answer.status, answer.body), (404, not_found(&hash)));
    }
    let session = front.session(&hash, Some(CREDENTIAL));
    let of_bob = front.session(&hash_of_bob, Some(CREDENTIAL));
    // Nothing but the very token of the very link says anything.
    let mut made_up = session.token.clone();
    let last = if made_up.ends_with('0') { "1" } else { "0" };
    made_up.replace_range(made_up.len() - 1.., last);
    let (contact, proof) = session.token.split_at(32);
    let mixed = format!("{}{proof}", &of_bob.token[..32]);
    let zeros = format!("{contact}{}", "0".repeat(64));
    for token in [
        made_up.as_str(),
        &mixed,
        &zeros,
        &session.token.to_uppercase(),
        &session.token[..95],
        CREDENTIAL,
        &hash,
        "",
    ] {
        let answer = front.post(token, &entry(&session.uuid));
        assert_eq!(
            (answer.status, key(&answer)),
            (401, "ACCESS_TOKEN_INVALID".into())
        );
    }
    // Somebody else's token, and a token with somebody else's name.
    for (token, uuid) in [
        (&of_bob.token, session.uuid.as_str()),
        (&session.token, of_bob.uuid.as_str()),
        (&session.token, "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"),
        (&session.token, "ana"),
    ] {
        let answer = front.post(token, &entry(uuid));
        assert_eq!(
            (answer.status, key(&answer)),
            (403, "USER_UUID_MISMATCH".into())
        );
    }
    assert!(front.house.records() == before, "something was written");
    // A link that is too old, and one that was replaced.
    front.house.clock.forward(10 * MINUTE_MS);
    let answer = front.sign_in(&session);
    assert_eq!((answer.status, answer.body), (404, not_found(&hash)));
    let newer = front.session(&front.link(&eve), Some(CREDENTIAL));
    let answer = front.sign_in(&session);
    assert_eq!(
        (answer.status, key(&answer)),
        (401, "ACCESS_TOKEN_INVALID".into())
    );
    assert_eq!(front.sign_in(&newer).status, 200);
    // The page has said so, and still the chat is nobody's: the return code has not come back.
    for person in [&eve, &bob] {
        assert!(!front.house.is_bound(person));
    }
}

/// The whole way with a page that keeps its credential, and says who signed in.
#[test]
fn a_page_with_a_credential_says_who_signed_in_and_the_chat_confirms_it() {
    let front = Front::new(Finish::ReturnCode, vec![open_page(), shop()]);
    let (person, hash) = front.somebody("573001234567");
    let session = front.session(&hash, Some(CREDENTIAL));
    let answer = front.post(&session.token, &entry_of(&session.uuid, ana()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stored = answer.json();
    let mut expected = entry(&session.uuid);
    expected["createdAt"] = json!("2027-01-15T08:00:10Z");
    expected["redirectUrl"] = stored["redirectUrl"].clone();
    assert_eq!(stored, expected);
    let url = stored["redirectUrl"].as_str().unwrap();
    let sentence = url.strip_prefix(&format!("{RETURN_TO}&text=")).unwrap();
    let sentence: String = form_urlencoded::parse(format!("s={sentence}").as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect();
    assert!(!front.house.is_bound(&person));
    front.house.ask(&person, &sentence);
    let bindings = front.house.contact(&person).bindings;
    assert_eq!(bindings.len(), 1);
    assert_eq!(
        (
            bindings[0].name.as_str(),
            bindings[0].user_id.as_str(),
            bindings[0].service.as_str()
        ),
        ("Ana Pérez", "42", "kutamma")
    );
    let answer = front.sign_in(&session);
    assert_eq!((answer.status, answer.body), (404, not_found(&hash)));
}

#[test]
fn a_page_without_a_credential_is_not_believed_about_who_signed_in() {
    let front = Front::new(Finish::Nothing, vec![open_page()]);
    let (person, hash) = front.somebody("573001234567");
    // A credential that nobody has is as good as none.
    let session = front.session(&hash, Some(OTHER_CREDENTIAL));
    let answer = front.post(&session.token, &entry_of(&session.uuid, ana()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["redirectUrl"], RETURN_TO);
    let bindings = front.house.contact(&person).bindings;
    assert_eq!(
        (
            bindings.len(),
            bindings[0].name.as_str(),
            &bindings[0].email
        ),
        (1, "", &None)
    );
}

#[test]
fn where_a_code_is_mailed_the_page_has_to_say_to_whom() {
    let front = Front::new(Finish::MailCode, vec![shop()]);
    let (person, hash) = front.somebody("573001234567");
    let session = front.session(&hash, Some(CREDENTIAL));
    let answer = front.sign_in(&session);
    assert_eq!((answer.status, key(&answer)), (400, "USER_REQUIRED".into()));
    let answer = front.post(&session.token, &entry_of(&session.uuid, ana()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.json()["redirectUrl"], RETURN_TO);
    front.house.settle();
    assert_eq!(front.house.mails_to("ana@example.com"), 1);
    front.house.ask(&person, &front.house.code());
    assert!(front.house.is_bound(&person));

    // More codes than the mailbox gets: the page is told when to try again.
    let mut limited = None;
    for number in 0..10 {
        let (_, hash) = front.somebody(&format!("57300222000{number}"));
        let session = front.session(&hash, Some(CREDENTIAL));
        let answer = front.post(&session.token, &entry_of(&session.uuid, ana()));
        if answer.status != 200 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("a limit");
    assert_eq!(
        (limited.status, key(&limited)),
        (429, "TOO_MANY_TRIES".into())
    );
    assert!(
        limited
            .header("Retry-After")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 60
    );
}

/// S-34.
#[test]
fn of_a_hundred_completions_of_one_link_one_counts() {
    const AT_ONCE: usize = 100;
    const ROUNDS: usize = 8;
    let front = Front::new(Finish::ReturnCode, vec![shop()]);
    for round in 0..ROUNDS {
        let (_, hash) = front.somebody(&format!("57300333000{round}"));
        let session = front.session(&hash, Some(CREDENTIAL));
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..AT_ONCE)
                .map(|_| scope.spawn(|| front.sign_in(&session)))
                .collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        let (good, gone): (Vec<&Answer>, Vec<&Answer>) =
            answers.iter().partition(|answer| answer.status == 200);
        assert_eq!((good.len(), gone.len()), (1, AT_ONCE - 1));
        for answer in gone {
            assert_eq!(
                (answer.status, &answer.body),
                (404, &not_found(&session.hash))
            );
        }
    }
    assert_eq!(front.house.audited("password.right"), ROUNDS);
}

/// S-36.
#[test]
fn hashes_that_lead_nowhere_look_alike_and_who_guesses_has_to_wait() {
    let front = Front::new(Finish::Nothing, vec![shop(), open_page()]);
    let (_, live) = front.somebody("573001234567");
    let (_, used) = front.somebody("573001234568");
    let (_, expired) = front.somebody("573001234569");
    let session = front.session(&used, None);
    assert_eq!(front.sign_in(&session).status, 200);
    front.house.clock.forward(10 * MINUTE_MS);
    let (_, newer) = front.somebody("573001234570");
    let mut seen = Vec::new();
    for hash in [
        used.as_str(),
        &expired,
        &live,
        &"0".repeat(40),
        &newer.to_uppercase(),
        "x",
        &"7".repeat(128),
    ] {
        for credential in [None, Some(OTHER_CREDENTIAL), Some(CREDENTIAL)] {
            let answer = front.look(hash, credential);
            assert_eq!(answer.status, 404, "{hash}");
            assert_eq!(answer.body, not_found(hash));
            let headers: Vec<(String, String)> = answer
                .headers
                .into_iter()
                // The name of a request is another one each time, and tells nothing.
                .filter(|(name, _)| {
                    !["date", "content-length", "x-request-id"].contains(&name.as_str())
                })
                .collect();
            seen.push(headers);
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    // What is no hash is not repeated.
    for (path, shown) in [
        ("%3Cscript%3E", "(malformed)"),
        ("a%22%2C%22b", "(malformed)"),
        ("%0d%0aX-A:%201", "(malformed)"),
        ("a%00", "(malformed)"),
        ("%C3%B1", "(malformed)"),
        ("..", "(malformed)"),
        (&"7".repeat(129), "(malformed)"),
        ("%61", "a"),
    ] {
        let answer = front.look(path, Some(CREDENTIAL));
        assert_eq!(
            (answer.status, answer.body),
            (404, not_found(shown)),
            "{path}"
        );
    }
    for path in ["a%2Fb", "a/b", "%2F", "", "/a"] {
        let answer = front.look(path, Some(CREDENTIAL));
        assert_eq!(
            (answer.status, key(&answer)),
            (404, "NOT_FOUND".into()),
            "{path}"
        );
    }

    // Guessing, by either call, from one network; IPv6 networks are /64.
    let from = |address: &str, guess: u32, answer_of: u32| -> Answer {
        if answer_of == 0 {
            let headers = [("X-Forwarded-For", address)];
            front.ask(
                "GET",
                &format!("/hash-mappings/{guess:040x}"),
                &headers,
                b"",
            )
        } else {
            let token = bearer(&format!("{guess:096x}"));
            let headers = [("X-Forwarded-For", address), ("Authorization", &token)];
            front.ask("POST", "/chat/history", &headers, b"{}")
        }
    };
    let before = front.house.records();
    for guess in 0..30 {
        let address = format!("2001:db8:0:1::{guess:x}");
        let status = if guess % 2 == 0 { 404 } else { 401 };
        assert_eq!(from(&address, guess, guess % 2).status, status, "{guess}");
    }
    for call in [0, 1] {
        let answer = from("2001:db8:0:1:ffff::1", 99, call);
        assert_eq!(
            (answer.status, key(&answer)),
            (429, "TOO_MANY_TRIES".into())
        );
        let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
        assert!((1..=600).contains(&wait), "{wait}");
        assert_eq!(
            from("2001:db8:0:2::1", 99 + call, call).status,
            [404, 401][call as usize]
        );
    }
    assert!(front.house.records() == before, "a guess was written down");
    front.house.clock.forward(10 * MINUTE_MS);
    assert_eq!(from("2001:db8:0:1::1", 99, 0).status, 404);
    // A page that shows its credential asks for many.
    for _ in 0..100 {
        let answer = front.look(&"0".repeat(40), Some(CREDENTIAL));
        assert_eq!(answer.status, 404);
    }
}

/// Method, path, headers and body; status and key of the answer.
type WrongCall<'c> = (
    &'c str,
    &'c str,
    Vec<(&'c str, &'c str)>,
    &'c str,
    u16,
    &'c str,
);

/// Each wrong call has its answer, and changes nothing. S-76.
#[test]
fn a_call_that_is_not_as_documented_changes_nothing() {
    let front = Front::new(Finish::ReturnCode, vec![shop()]);
    let (_, hash) = front.somebody("573001234567");
    let session = front.session(&hash, Some(CREDENTIAL));
    let before = front.house.records();
    let good = entry(&session.uuid);
    let whole = good.to_string();
    let with = |path: &[&str], value: Value| {
        let mut entry = good.clone();
        let mut place = &mut entry;
        for name in path {
            place = &mut place[*name];
        }
        *place = value;
        entry.to_string()
    };
    let user = |field: &[&str], value: Value| {
        let mut user = ana();
        let mut place = &mut user;
        for name in field {
            place = &mut place[*name];
        }
        *place = value;
        entry_of(&session.uuid, user).to_string()
    };
    let payload = ["messagePayload", "signInPayload"];
    let nested = format!(
        "{}1{}",
        r#"{"a":"#.repeat(20_000 / 6),
        "}".repeat(20_000 / 6)
    );
    let bodies = [
        ("empty", String::new()),
        ("not JSON", "auth=true".into()),
        ("null", "null".into()),
        ("a list", "[]".into()),
        ("an empty object", "{}".into()),
        ("cut", whole[..whole.len() - 1].to_owned()),
        ("more behind it", format!("{whole}{whole}")),
        ("a byte order mark", format!("\u{feff}{whole}")),
        ("deep", nested.clone()),
        (
            "deep within",
            with(&payload, serde_json::from_str("[[[[[[1]]]]]]").unwrap()),
        ),
        ("a huge number", whole.replace("true", "1e999999")),
        (
            "a field twice",
            whole.replacen('{', r#"{"messageFrom":"WHATSAPP_END_USER","#, 1),
        ),
        (
            "auth twice",
            whole.replace(r#""auth":true"#, r#""auth":false,"auth":true"#),
        ),
        ("another field", with(&["role"], json!("admin"))),
        (
            "another field within",
            with(&[payload[0], payload[1], "role"], json!("admin")),
        ),
        ("no userUuid", whole.replace("userUuid", "uuid")),
        ("a userUuid that is no text", with(&["userUuid"], json!(7))),
        (
            "from the business",
            with(&["messageFrom"], json!("BUSINESS")),
        ),
        (
            "another type",
            with(&["messagePayload", "type"], json!("TEXT")),
        ),
        (
            "auth false",
            with(&[payload[0], payload[1], "auth"], json!(false)),
        ),
        (
            "auth as a text",
            with(&[payload[0], payload[1], "auth"], json!("true")),
        ),
        (
            "auth as a number",
            with(&[payload[0], payload[1], "auth"], json!(1)),
        ),
        ("no auth", with(&payload, json!({}))),
        ("a user that is none", user(&["id"], json!({"$gt": ""}))),
        ("a user without company", user(&["company"], json!(null))),
        ("a user with more", user(&["role"], json!("admin"))),
        ("an id that is empty", user(&["id"], json!(""))),
        (
            "an id that hides something",
            user(&["id"], json!("a\u{202e}b")),
        ),
        ("a long id", user(&["id"], json!("a".repeat(201)))),
        ("a long name", user(&["name"], json!("ñ".repeat(201)))),
        (
            "a long company",
            user(&["company", "name"], json!("ñ".repeat(201))),
        ),
        ("no address", user(&["email"], json!("ana"))),
        (
            "two addresses",
            user(&["email"], json!("ana@example.com, eve@example.com")),
        ),
        (
            "an address with a line end",
            user(&["email"], json!("ana@example.com\r\nBcc: x@y.example")),
        ),
    ];
    for (name, body) in bodies {
        let token = bearer(&session.token);
        let headers = [
            ("Content-Type", "application/json"),
            ("Authorization", &*token),
        ];
        let answer = front.ask("POST", "/chat/history", &headers, body.as_bytes());
        assert_eq!(answer.status, 400, "{name}: {}", answer.body);
        assert_eq!(key(&answer), "PAYLOAD_INVALID", "{name}");
        for private in ["admin", "ana", "eve", &*session.uuid, &*session.token] {
            assert!(!answer.body.contains(private), "{name}: {}", answer.body);
        }
    }
    let named = |body: String| {
        let body = serde_json::from_str(&body).unwrap();
        front.post(&session.token, &body).json()["error"]["details"].clone()
    };
    assert_eq!(
        named(user(&["company", "id"], json!(""))),
        json!({"field": "messagePayload.signInPayload.user.company.id"})
    );
    assert_eq!(
        named(json!({"a": 1}).to_string()),
        json!({"line": 1, "column": 4})
    );

    let token = bearer(&session.token);
    let (json_type, auth) = (
        ("Content-Type", "application/json"),
        ("Authorization", &*token),
    );
    let path = "/chat/history/";
    let get = format!("/hash-mappings/{hash}/");
    let other_types: Vec<[(&str, &str); 2]> = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "application/json;charset=utf-16",
        "",
    ]
    .into_iter()
    .map(|kind| [("Content-Type", kind), auth])
    .collect();
    let mut calls: Vec<WrongCall<'_>> = vec![
        (
            "POST",
            path,
            vec![auth],
            &whole,
            415,
            "CONTENT_TYPE_UNSUPPORTED",
        ),
        (
            "POST",
            path,
            vec![json_type],
            &whole,
            401,
            "ACCESS_TOKEN_INVALID",
        ),
        // The token is looked at first.
        ("POST", path, vec![], "{", 401, "ACCESS_TOKEN_INVALID"),
        (
            "POST",
            path,
            vec![json_type, auth, auth],
            &whole,
            401,
            "ACCESS_TOKEN_INVALID",
        ),
        (
            "POST",
            path,
            vec![json_type, ("Authorization", &session.token)],
            &whole,
            401,
            "ACCESS_TOKEN_INVALID",
        ),
        (
            "POST",
            path,
            vec![json_type, ("Authorization", "Basic eDp5")],
            &whole,
            401,
            "ACCESS_TOKEN_INVALID",
        ),
        (
            "GET",
            path,
            vec![json_type, auth],
            "",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "PUT",
            path,
            vec![json_type, auth],
            &whole,
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "POST",
            &get,
            vec![json_type, auth],
            &whole,
            405,
            "METHOD_NOT_ALLOWED",
        ),
        ("DELETE", &get, vec![auth], "", 405, "METHOD_NOT_ALLOWED"),
        (
            "POST",
            "/chat/history/x",
            vec![json_type, auth],
            &whole,
            404,
            "NOT_FOUND",
        ),
    ];
    for headers in &other_types {
        calls.push((
            "POST",
            path,
            headers.to_vec(),
            &whole,
            415,
            "CONTENT_TYPE_UNSUPPORTED",
        ));
    }
    for (method, path, headers, body, status, expected) in calls {
        let answer = front.ask(method, path, &headers, body.as_bytes());
        assert_eq!(
            (answer.status, key(&answer).as_str()),
            (status, expected),
            "{method} {headers:?}"
        );
        assert_eq!(answer.header("Allow").is_some(), status == 405);
    }
    let large = format!("{whole}{}", " ".repeat(64 * 1024));
    let answer = front.ask("POST", path, &[json_type, auth], large.as_bytes());
    assert_eq!(answer.status, 413);
    let head = [("Authorization", &*bearer(CREDENTIAL))];
    let answer = front.ask("HEAD", &get, &head, b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert!(front.house.records() == before, "something was written");

    // After all of that the link is as good as new, and other ways of writing the same are, too.
    let kind = ("content-type", "Application/JSON; charset=\"utf-8\"");
    let token = format!("bearer  {}", session.token);
    let headers = [kind, ("authorization", &*token)];
    let pretty = serde_json::to_string_pretty(&good).unwrap();
    let answer = front.ask("POST", "/chat/history", &headers, pretty.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn browsers_may_call_from_the_origins_of_the_page_and_from_no_other() {
    const ALLOW: &str = "Access-Control-Allow-Origin";
    let other = page("other", Some(OTHER_CREDENTIAL), &[OTHER_SHOP]);
    let front = Front::new(Finish::ReturnCode, vec![shop(), other]);
    let (_, hash) = front.somebody("573001234567");
    let session = front.session(&hash, Some(CREDENTIAL));
    let mapping = format!("/hash-mappings/{hash}/");
    let nowhere = format!("/hash-mappings/{}/", "0".repeat(40));
    let (own, others) = (bearer(CREDENTIAL), bearer(OTHER_CREDENTIAL));
    let token = bearer(&session.token);
    let cases = [
        // A page's own origins.
        ("GET", &*mapping, &*own, SHOP, 200, true),
        ("GET", &mapping, &own, OTHER_SHOP, 200, false),
        ("GET", &mapping, &others, OTHER_SHOP, 200, true),
        ("GET", &nowhere, &own, SHOP, 404, true),
        ("GET", &nowhere, &own, OTHER_SHOP, 404, false),
        ("POST", "/chat/history/", &token, SHOP, 415, true),
        ("POST", "/chat/history/", &token, OTHER_SHOP, 415, false),
        // As long as it is not known who calls, those of all.
        ("GET", &mapping, "", SHOP, 404, true),
        ("GET", &mapping, "", OTHER_SHOP, 404, true),
        ("POST", "/chat/history/", "", OTHER_SHOP, 401, true),
        // Anything else is another origin.
        ("GET", &mapping, &own, "https://evil.example", 200, false),
        ("GET", &mapping, &own, "http://shop.example.com", 200, false),
        (
            "GET",
            &mapping,
            &own,
            "https://shop.example.com.evil.example",
            200,
            false,
        ),
        (
            "GET",
            &mapping,
            &own,
            "https://shop.example.com:444",
            200,
            false,
        ),
        ("GET", &mapping, &own, "null", 200, false),
        ("GET", &mapping, &own, "*", 200, false),
        ("GET", "/healthz", "", SHOP, 200, false),
    ];
    for (method, path, authorization, origin, status, allowed) in cases {
        let headers = [("Authorization", authorization), ("Origin", origin)];
        let answer = front.ask(method, path, &headers, b"");
        let case = format!("{method} {path} {origin}");
        assert_eq!(answer.status, status, "{case}");
        assert_eq!(answer.header(ALLOW), allowed.then_some(origin), "{case}");
        assert!(answer.header("Access-Control-Allow-Credentials").is_none());
        if path != "/healthz" {
            assert_eq!(answer.header("Vary"), Some("Origin"), "{case}");
        }
    }
    let without = front.ask("GET", &mapping, &[("Authorization", &*own)], b"");
    assert_eq!(without.header(ALLOW), None);

    for (path, methods) in [
        (&*nowhere, "GET, OPTIONS"),
        ("/chat/history", "POST, OPTIONS"),
    ] {
        for (origin, listed) in [
            (SHOP, true),
            (OTHER_SHOP, true),
            ("https://evil.example", false),
        ] {
            let headers = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
                (
                    "Access-Control-Request-Headers",
                    "authorization,content-type",
                ),
            ];
            let answer = front.ask("OPTIONS", path, &headers, b"");
            assert_eq!(
                (answer.status, answer.body.as_str()),
                (204, ""),
                "{path} {origin}"
            );
            for (name, value) in [
                (ALLOW, origin),
                ("Access-Control-Allow-Methods", methods),
                (
                    "Access-Control-Allow-Headers",
                    "Authorization, Content-Type",
                ),
                ("Access-Control-Max-Age", "600"),
            ] {
                assert_eq!(
                    answer.header(name),
                    listed.then_some(value),
                    "{path} {origin}"
                );
            }
            assert_eq!(answer.header("Vary"), Some("Origin"));
        }
    }
    // Nothing that every answer carries keeps a listed page from reading this one.
    assert_eq!(without.header("Cross-Origin-Resource-Policy"), None);
}

// --- the document, as others read it ------------------------------------------------------------------

/// Compares with a template in which `{name}` stands for what is known or becomes known.
fn is_as_recorded(template: &str, actual: &str, known: &mut HashMap<String, String>) -> bool {
    let Some((before, rest)) = template.split_once('{') else {
        return template == actual;
    };
    let named = rest
        .split_once('}')
        .filter(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()));
    let Some((name, rest)) = named else {
        let (head, tail) = template.split_at(before.len() + 1);
        return actual
            .strip_prefix(head)
            .is_some_and(|actual| is_as_recorded(tail, actual, known));
    };
    let Some(actual) = actual.strip_prefix(before) else {
        return false;
    };
    if let Some(value) = known.get(name) {
        let after = actual.strip_prefix(value.as_str()).map(str::to_owned);
        return after.is_some_and(|actual| is_as_recorded(rest, &actual, known));
    }
    let end = actual
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(actual.len());
    known.insert(name.to_owned(), actual[..end].to_owned());
    is_as_recorded(rest, &actual[end..], known)
}

fn filled(template: &str, known: &HashMap<String, String>) -> String {
    let mut text = template.to_owned();
    for (name, value) in known {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// The recorded turns: what is sent, and what comes back.
fn recorded() -> Vec<(Vec<String>, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/transcripts/http/page-of-the-document.txt");
    let mut turns: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let rest = |line: &str| line[1..].strip_prefix(' ').unwrap_or("").to_owned();
        match line.as_bytes().first() {
            Some(b'>') => {
                if turns.last().is_none_or(|(_, answer)| !answer.is_empty()) {
                    turns.push((Vec::new(), Vec::new()));
                }
                turns.last_mut().unwrap().0.push(rest(line));
            }
            Some(b'<') => turns.last_mut().unwrap().1.push(rest(line)),
            _ => {}
        }
    }
    turns
}

/// Lines of HTTP, with the body behind the empty one.
fn wire(lines: &[String]) -> String {
    let empty = lines.iter().position(String::is_empty).unwrap();
    let head = lines[..empty].join("\r\n");
    format!("{head}\r\n\r\n{}", lines[empty + 1..].join("\n"))
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    // The page would keep the connection; half of it is closed to see where the answer ends.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_recorded_page_of_the_document_is_served_to_the_byte() {
    let front = Front::new(Finish::Nothing, vec![open_page()]);
    let (person, hash) = front.somebody("573001234567");
    let mut known = HashMap::from([("hash".to_owned(), hash)]);
    let turns = recorded();
    assert_eq!(turns.len(), 3);
    for (request, expected) in &turns {
        assert!(!expected.is_empty());
        let request = filled(&wire(request), &known);
        let answer = exchange(front.address, &request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head: Vec<&str> = head.split("\r\n").collect();
        let empty = expected.iter().position(String::is_empty).unwrap();
        assert_eq!(head[0], expected[0], "{request}");
        for line in &expected[1..empty] {
            let is_there = head.iter().any(|there| there.eq_ignore_ascii_case(line));
            assert!(is_there, "{line} is not in {head:#?}");
        }
        let template = &expected[empty + 1];
        assert!(
            is_as_recorded(template, body, &mut known),
            "{request}\n{body}\ninstead of\n{template}"
        );
    }
    assert!(front.house.is_bound(&person));
    let uuid = front.house.contact(&person).id.to_string();
    assert_eq!(known["uuid"], uuid);
}

const PAGE: &str = "[[pages]]\nname = \"tienda\"\nurl = \"https://shop.example.com/sign-in/\"\n";

/// The real program with a page of somebody else's, which keeps to the document.
fn world(sign_in: &str, credential: &str) -> World {
    let world = World::without_mail();
    world.secret_file("page_key", CREDENTIAL);
    world.edit("[whatsapp]\n", "[whatsapp]\nnumber = \"+1 555 078 3881\"\n");
    world.edit(
        "[log]\nlevel = \"debug\"\n",
        &format!(
            "[sign_in]\nmethods = [\"mail\", \"web\"]\npage = \"tienda\"\n{sign_in}\n[log]\nlevel = \"trace\"\n"
        ),
    );
    let page = format!("{PAGE}credential = \"{credential}\"\n\n[[services]]\n");
    world.edit("[[services]]\n", &page);
    world
}

/// A person asks for a link; its hash.
fn link_for(world: &World, portero: &Portero, wa_id: &str) -> String {
    portero.receive(&[text(wa_id, "hola")]);
    let buttons = world.graph.reply(wa_id, 1).buttons;
    let (id, title) = buttons
        .iter()
        .find(|(id, _)| id.starts_with("portero:web:"))
        .unwrap();
    portero.receive(&[tap(wa_id, id, title)]);
    let link = world.graph.reply(wa_id, 2).link.unwrap();
    let hash = link.strip_prefix("https://shop.example.com/sign-in/?mappingHash=");
    hash.unwrap().to_owned()
}

/// Somebody opens the link and signs in on the page; what the page does then.
fn sign_in_on(page: &StandIn, hash: &str) -> Answer {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, page.port));
    let path = format!("/sign-in/?mappingHash={hash}");
    let form = ask(address, "GET", &path, &[], b"").unwrap();
    assert!(form.body.contains(&format!("value=\"{hash}\"")));
    let body = format!("mappingHash={hash}&user=ana&password=secreto");
    ask(address, "POST", "/sign-in/", &[], body.as_bytes()).unwrap()
}

fn page_for(portero: &Portero) -> StandIn {
    let backend = format!("http://{}", portero.address);
    let wishes = json!({"backend": backend, "user": "ana", "password": "secreto"});
    StandIn::start("page_of_the_document.py", &wishes)
}

#[test]
fn a_page_by_somebody_who_read_only_the_document_signs_people_in() {
    let world = world("return_code = \"off\"", "none");
    let portero = world.start();
    let (page, wa_id) = (page_for(&portero), "573001234567");
    let hash = link_for(&world, &portero, wa_id);
    let answer = sign_in_on(&page, &hash);
    assert_eq!((answer.status, answer.body.as_str()), (302, ""));
    assert_eq!(answer.header("Location"), Some(RETURN_TO));
    let welcome = world.graph.reply(wa_id, 3).body;
    assert!(welcome.starts_with(outside::SIGNED_IN), "{welcome}");
    // The link is used up, and the page says so in the back end's words.
    let answer = sign_in_on(&page, &hash);
    assert_eq!(answer.status, 404);
    assert_eq!(answer.body, format!("Hash mapping {hash} not found"));
    let (_, log) = portero.stop();
    let told = |key: &str| {
        log.lines()
            .any(|line| line.contains("WARN") && line.contains(key))
    };
    assert!(told("return_code") && told("credential"), "{log}");
}

#[test]
fn the_same_page_is_refused_where_pages_need_a_credential_and_the_log_says_why() {
    let world = world("", "file:page_key");
    let portero = world.start();
    let (page, wa_id) = (page_for(&portero), "573001234567");
    let hash = link_for(&world, &portero, wa_id);
    for _ in 0..3 {
        let answer = sign_in_on(&page, &hash);
        assert_eq!(answer.status, 404);
        assert_eq!(answer.body, format!("Hash mapping {hash} not found"));
    }
    // Who is signed in would have this handed to the bot.
    portero.receive(&[text(wa_id, "cancelar")]);
    let cancelled = world.graph.reply(wa_id, 3).body;
    assert_eq!(cancelled, outside::CANCELLED);
    let (_, log) = portero.stop();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("WARN") && line.contains("[[pages]] credential"))
        .collect();
    // Once a minute, or whoever calls would write the log.
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("Authorization: Bearer"), "{}", told[0]);
}

/// S-37.
#[test]
fn hash_token_and_return_code_are_neither_in_the_store_nor_in_the_log() {
    let world = world("", "file:page_key");
    let portero = world.start();
    let wa_id = "573001234567";
    let hash = link_for(&world, &portero, wa_id);
    let call = |method: &str, path: &str, authorization: &str, body: &str| {
        let headers = [
            ("Authorization", authorization),
            ("Content-Type", "application/json"),
        ];
        ask(portero.address, method, path, &headers, body.as_bytes()).unwrap()
    };
    let path = format!("/hash-mappings/{hash}/");
    assert_eq!(call("GET", &path, "", "").status, 404);
    assert_eq!(call("GET", &path.to_uppercase(), "", "").status, 404);
    assert_eq!(call("PUT", &path, "", &hash).status, 405);
    let mapping = call("GET", &path, &bearer(CREDENTIAL), "").json();
    let field = |name: &str| mapping[name].as_str().unwrap().to_owned();
    let (token, uuid) = (field("accessToken"), field("userUuid"));
    let authorization = bearer(&token);
    let post = |body: &str| call("POST", "/chat/history/", &authorization, body);
    assert_eq!(post(&format!("{token}{hash}")).status, 400);
    assert_eq!(post(&entry(&field("wanumber")).to_string()).status, 403);
    let answer = post(&entry_of(&uuid, ana()).to_string());
    let url = answer.json()["redirectUrl"].as_str().unwrap().to_owned();
    assert_eq!(post(&entry(&uuid).to_string()).status, 404);
    let code = url.rsplit("%20").next().unwrap().to_owned();
    assert!(code.starts_with("Q7") && code.len() == 28, "{url}");
    portero.receive(&[text(wa_id, &format!("listo {code}"))]);
    let welcome = world.graph.reply(wa_id, 3).body;
    assert!(welcome.starts_with(outside::SIGNED_IN), "{welcome}");
    let (_, log) = portero.stop();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    let store = world.path("portero.redb");
    for secret in [
        &hash,
        &token,
        &token[32..].to_owned(),
        &code,
        &CREDENTIAL.to_owned(),
    ] {
        let upper = secret.to_uppercase();
        for form in [secret.as_str(), upper.as_str()] {
            assert!(!log.contains(form), "{form} is in the log");
            assert!(!file_has(&store, form.as_bytes()), "{form} is in the store");
        }
    }
    let raw: Vec<u8> = (0..hash.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hash[at..at + 2], 16).unwrap())
        .collect();
    assert!(
        !file_has(&store, &raw),
        "the hash is in the store, as bytes"
    );
}

//! The company's services over real sockets, in good and in bad moods (R-40 to R-42, S-80 to S-84).

use crate::python::StandIn;
use portero::domain::account::{Account, Answer};
use portero::domain::binding::Scope;
use portero::domain::failure::FailureKind;
use portero::domain::id::{ContactId, EmailAddress, ServiceName};
use portero::domain::secret::Secret;
use portero::domain::time::Timestamp;
use portero::services::{
    FAILURES_MAX, PASSWORD_BYTES_MAX, REST_MS, Services, Settings, TokenCall, TokenFor,
    USER_CHARS_MAX, UsersCall,
};
use portero::simulator;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const FIND: &str = "/find-user?from=portero";
const TOKEN: &str = "/issue-token";
const CHECK: &str = "/check-password?v=1";
const PASSWORD: &str = "doce \"perros\" verdes\u{0}\n🐕";

/// One request as it came in, head and body.
struct Request {
    head: String,
    text: String,
    body: Value,
}

impl Request {
    fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Serves one connection after the other with `serve`; tells every request.
fn stand_in(serve: impl Fn(usize, &mut TcpStream) + Send + 'static) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            // A client that hangs up without a word has nothing to be served.
            let Some(request) = read_request(&mut stream) else {
                continue;
            };
            let _ = sender.send(request);
            serve(index, &mut stream);
        }
    });
    (url, requests)
}

/// Answers every request with these bytes and closes.
fn answering(bytes: impl Into<Vec<u8>>) -> (String, Receiver<Request>) {
    let bytes = bytes.into();
    stand_in(move |_, stream| {
        let _ = stream.write_all(&bytes);
    })
}

fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            // A redirect that was followed would come as a GET without a body.
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, value)| value.trim().parse::<usize>().unwrap());
            if body.len() >= length {
                return Some(Request {
                    head: head.to_owned(),
                    text: body.to_owned(),
                    body: serde_json::from_str(body).unwrap_or_default(),
                });
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

fn http(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn ok(body: &Value) -> String {
    http("200 OK", "application/json", &body.to_string())
}

fn users() -> Value {
    json!({"users": [{"id": 42, "name": "Ana Pérez", "email": "ana@example.com",
        "phone": "+57 300 1234567", "company": {"id": "c-1", "name": "Inpla"}}]})
}

fn settings(name: &str, url: &str) -> Settings {
    Settings {
        name: ServiceName::parse(name).unwrap(),
        title: name.to_uppercase(),
        find_user: UsersCall::find_user(&format!("{url}{FIND}")).unwrap(),
        issue_token: TokenCall::issue_token(&format!("{url}{TOKEN}")).unwrap(),
        check_password: Some(UsersCall::check_password(&format!("{url}{CHECK}")).unwrap()),
        secret: Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
        bearer: None,
        // Long enough for a loaded machine; tests that wait for it set their own.
        timeout: Duration::from_secs(30),
        ca_pem: None,
        connections: 1,
    }
}

fn one(url: &str) -> Services {
    Services::new(vec![settings("kutamma", url)]).unwrap()
}

fn ana() -> EmailAddress {
    EmailAddress::parse("ana@example.com").unwrap()
}

fn contact() -> ContactId {
    ContactId::parse("4f1c0de0-1111-4222-8333-444455556666").unwrap()
}

fn find(services: &Services) -> Result<Vec<Account>, String> {
    let mut answers = services.find_user(&ana(), NOW, "entry-1");
    assert_eq!(answers.len(), 1);
    answers
        .remove(0)
        .users
        .map_err(|unavailable| unavailable.reason)
}

fn check_as(services: &Services, user: &str, password: &str) -> Result<Vec<Account>, String> {
    let mut answers = services.check_password(user, &Secret::new(password), NOW, "session-1");
    assert_eq!(answers.len(), 1);
    answers
        .remove(0)
        .users
        .map_err(|unavailable| unavailable.reason)
}

fn check(services: &Services) -> Result<Vec<Account>, String> {
    check_as(services, "ana@example.com", PASSWORD)
}

/// The calls that ask about a user.
type Ask = fn(&Services) -> Result<Vec<Account>, String>;
const ASKS: [Ask; 2] = [find, check];

fn token_for(scope: Scope) -> TokenFor<'static> {
    TokenFor {
        user_id: "42",
        company_id: "c-1",
        contact: contact(),
        scope,
    }
}

fn ask_for_token(services: &Services) -> Result<portero::services::Token, FailureKind> {
    let name = ServiceName::parse("kutamma").unwrap();
    services
        .issue_token(&name, &token_for(Scope::Full), NOW, "entry-1")
        .map_err(|failure| failure.kind)
}

#[test]
fn a_user_is_found_and_the_question_is_signed() {
    let (url, requests) = answering(ok(&users()));
    let mut settings = settings("kutamma", &url);
    settings.bearer = Some(Secret::new("bearer-1"));
    let services = Services::new(vec![settings]).unwrap();
    let accounts = find(&services).unwrap();
    assert_eq!(accounts.len(), 1);
    assert_eq!(accounts[0].user_id, "42");
    assert_eq!(accounts[0].company.id, "c-1");
    assert_eq!(accounts[0].phone.as_deref(), Some("573001234567"));

    let request = requests.recv().unwrap();
    assert_eq!(request.line(), format!("POST {FIND} HTTP/1.1"));
    assert_eq!(request.body, json!({"email": "ana@example.com"}));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert_eq!(request.header("authorization"), Some("Bearer bearer-1"));
    assert_eq!(request.header("webhook-timestamp"), Some("1800000000"));
    assert!(
        request
            .header("webhook-signature")
            .unwrap()
            .starts_with("v1,")
    );

    // Asked again for the same entry, the receiver can recognise it.
    find(&services).unwrap();
    let again = requests.recv().unwrap();
    assert_eq!(again.header("webhook-id"), request.header("webhook-id"));
    services.find_user(&ana(), NOW, "entry-2");
    let other = requests.recv().unwrap();
    assert_ne!(other.header("webhook-id"), request.header("webhook-id"));
}

#[test]
fn the_signature_can_be_checked_by_the_receiver() {
    use base64::Engine;
    use hmac::{Hmac, KeyInit, Mac};
    let base64 = base64::engine::general_purpose::STANDARD;
    let key = base64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let (url, requests) = answering(ok(&users()));
    for ask in ASKS {
        ask(&one(&url)).unwrap();
        let request = requests.recv().unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(
            format!(
                "{}.{}.{}",
                request.header("webhook-id").unwrap(),
                request.header("webhook-timestamp").unwrap(),
                request.text
            )
            .as_bytes(),
        );
        let expected = format!("v1,{}", base64.encode(mac.finalize().into_bytes()));
        assert_eq!(request.header("webhook-signature"), Some(&*expected));
    }
}

#[test]
fn a_token_is_issued_for_the_named_user() {
    for status in ["200 OK", "201 Created"] {
        let token = json!({"token": "abc.def", "tokenType": "Bearer", "expiresIn": 3600});
        let (url, requests) = answering(http(
            status,
            "application/json; charset=utf-8",
            &token.to_string(),
        ));
        let token = ask_for_token(&one(&url)).unwrap();
        assert_eq!(token.token.reveal(), "abc.def");
        assert_eq!(token.expires_in_seconds, 3600);
        let request = requests.recv().unwrap();
        assert_eq!(request.line(), format!("POST {TOKEN} HTTP/1.1"));
        assert_eq!(
            request.body,
            json!({"userId": "42", "companyId": "c-1", "userUuid": contact().to_string()})
        );
    }
}

#[test]
fn a_service_hears_of_the_scope_only_when_it_is_less_than_everything() {
    let token = json!({"token": "abc.def", "tokenType": "Bearer", "expiresIn": 3600});
    let (url, requests) = answering(ok(&token));
    let services = one(&url);
    let name = ServiceName::parse("kutamma").unwrap();
    let uuid = contact();
    for (scope, body) in [
        (
            Scope::Full,
            format!(r#"{{"companyId":"c-1","userId":"42","userUuid":"{uuid}"}}"#),
        ),
        (
            Scope::FirstHours,
            format!(
                r#"{{"companyId":"c-1","scope":"first_hours","userId":"42","userUuid":"{uuid}"}}"#
            ),
        ),
    ] {
        services
            .issue_token(&name, &token_for(scope), NOW, "entry-1")
            .unwrap();
        assert_eq!(requests.recv().unwrap().text, body);
    }
}

#[test]
fn a_service_that_asks_for_a_pause_is_asked_for_no_token_until_it_is_over() {
    let pause =
        "HTTP/1.1 503 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let (url, requests) = answering(pause);
    let services = one(&url);
    let name = ServiceName::parse("kutamma").unwrap();
    let ask_at = |now| {
        let asked = services.issue_token(&name, &token_for(Scope::Full), now, "x");
        asked.unwrap_err().kind
    };
    let temporary = |ms| FailureKind::Temporary {
        retry_after_ms: Some(ms),
    };
    assert_eq!(ask_at(NOW), temporary(7_000));
    assert_eq!(ask_at(NOW.plus_ms(1_000)), temporary(6_000));
    requests.recv().unwrap();
    assert!(requests.try_recv().is_err(), "not asked again");
    find(&services).unwrap_err();
    requests.recv().unwrap();
    assert_eq!(ask_at(NOW.plus_ms(7_000)), temporary(7_000));
    requests.recv().unwrap();
}

#[test]
fn nobody_is_an_empty_list_or_a_404_of_the_service_itself() {
    for answer in [
        ok(&json!({"users": []})),
        http(
            "404 Not Found",
            "application/json",
            r#"{"error":{"key":"USER_NOT_FOUND"}}"#,
        ),
        http("404 Not Found", "application/problem+json", "{}"),
        http("404 Not Found", "application/json", r#"{"users":[]}"#),
        http("404 Not Found", "application/json", ""),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let (url, _requests) = answering(answer.clone());
        for ask in ASKS {
            assert_eq!(ask(&one(&url)), Ok(Vec::new()), "{answer}");
        }
    }
}

/// What is no answer to a question about Ana's address.
fn wrong_answers() -> Vec<String> {
    let json_ok = |body: &str| http("200 OK", "application/json", body);
    let with = |field: &str, value: Value| {
        let mut answer = users();
        answer["users"][0][field] = value;
        ok(&answer)
    };
    let without = |field: &str| {
        let mut answer = users();
        answer["users"][0].as_object_mut().unwrap().remove(field);
        ok(&answer)
    };
    let empty = r#"{"users":[]}"#;
    let wrong = vec![
        // Not HTTP, or not to its end.
        String::new(),
        "hello\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n".to_owned(),
        "HTTP/1.1 999999 OK\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{empty}"),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nZZ\r\n".to_owned(),
        // Not a 200.
        http("201 Created", "application/json", empty),
        http("202 Accepted", "application/json", empty),
        http("204 No Content", "application/json", ""),
        http("400 Bad Request", "application/json", empty),
        http("401 Unauthorized", "application/json", empty),
        http("403 Forbidden", "application/json", empty),
        http("405 Method Not Allowed", "text/html", ""),
        http("410 Gone", "application/json", ""),
        http("418 I'm a teapot", "application/json", empty),
        http("422 Unprocessable", "application/json", empty),
        http("429 Too Many Requests", "application/json", empty),
        http("500 Internal Server Error", "application/json", empty),
        http("502 Bad Gateway", "text/html", "<html>"),
        http("503 Service Unavailable", "application/json", empty),
        // A 404 of something that is not the service.
        http("404 Not Found", "text/html", "<h1>404 Not Found</h1>"),
        http("404 Not Found", "text/plain", "404 page not found"),
        http("404 Not Found", "text/html", empty),
        http("404 Not Found", "application/json", "<html>"),
        http("404 Not Found", "application/json", &users().to_string()),
        http("404 Not Found", "application/json", r#"{"users":5}"#),
        // Not JSON.
        http("200 OK", "text/html", "<html>Log in</html>"),
        http("200 OK", "text/html", empty),
        http("200 OK", "text/plain", empty),
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{empty}", empty.len()),
        json_ok(""),
        json_ok("<html>"),
        json_ok("null"),
        json_ok("[]"),
        json_ok("\"users\""),
        json_ok(r#"{"users":[]"#),
        json_ok(r#"{"users":[]} x"#),
        json_ok(r#"{"users":[],"users":[]}"#),
        json_ok("{\"users\":[\"\u{0}\"]}"),
        json_ok(&"[".repeat(100_000)),
        // An error with the manners of a success.
        json_ok("{}"),
        json_ok(r#"{"error":"database down"}"#),
        json_ok(r#"{"users":[],"error":{"key":"DATABASE_DOWN"}}"#),
        json_ok(r#"{"users":[],"errors":["database down"]}"#),
        json_ok(r#"{"users":[],"error":true}"#),
        // Wrong types and missing things.
        json_ok(r#"{"users":null}"#),
        json_ok(r#"{"users":{}}"#),
        json_ok(r#"{"users":false}"#),
        json_ok(r#"{"users":[null]}"#),
        json_ok(r#"{"users":["ana@example.com"]}"#),
        json_ok(r#"{"Users":[]}"#),
        without("id"),
        without("name"),
        without("email"),
        without("company"),
        with("id", json!(null)),
        with("id", json!("")),
        with("id", json!(1.5)),
        with("id", json!("a\nb")),
        with("id", json!("x".repeat(Account::TEXT_CHARS_MAX + 1))),
        with("name", json!(null)),
        with("name", json!(["Ana"])),
        with("phone", json!(573_001_234_567_u64)),
        with("phone", json!("ask reception")),
        with("company", json!("Inpla")),
        with("company", json!({"id": "c-1"})),
        with("company", json!({"name": "Inpla"})),
        // About somebody else (S-84).
        with("email", json!("eve@example.com")),
        with("email", json!("ana@example.com.evil.example")),
        with("email", json!("Ana <ana@example.com>")),
        with("email", json!("aña@example.com")),
        with("email", json!("")),
        ok(&json!({"users": [users()["users"][0], {"id": 1, "name": "Eve", "email": "eve@example.com",
            "company": {"id": 1, "name": "E"}}]})),
        // Too much.
        ok(&json!({"users": vec![users()["users"][0].clone(); 51]})),
    ];
    // R-42 wants forty.
    assert_eq!(wrong.len(), 74);
    wrong
}

fn assert_no_wrong_answer_is_believed(ask: Ask) {
    for answer in wrong_answers() {
        let (url, requests) = answering(answer.clone());
        let shown: String = answer.chars().take(300).collect();
        let reason = ask(&one(&url)).expect_err(&shown);
        assert!(!reason.is_empty());
        for private in ["ana", "Ana", "eve", "573", "perros"] {
            assert!(!reason.contains(private), "{reason}");
        }
        assert!(requests.recv().is_ok(), "it was asked: {shown}");
        assert!(requests.try_recv().is_err(), "and not again: {shown}");
    }
}

#[test]
fn no_wrong_answer_says_that_nobody_has_this_address() {
    assert_no_wrong_answer_is_believed(find);
}

#[test]
fn no_wrong_answer_says_whose_password_it_is_or_that_it_is_wrong() {
    assert_no_wrong_answer_is_believed(check);
}

#[test]
fn a_password_is_asked_about_in_the_body_only_and_never_twice_under_one_id() {
    let (url, requests) = answering(ok(&users()));
    let mut settings = settings("kutamma", &url);
    settings.bearer = Some(Secret::new("bearer-1"));
    let services = Services::new(vec![settings]).unwrap();
    assert!(services.check_passwords());
    let accounts = check(&services).unwrap();
    assert_eq!(accounts, find(&services).unwrap());
    let request = requests.recv().unwrap();
    assert_eq!(request.line(), format!("POST {CHECK} HTTP/1.1"));
    assert_eq!(
        request.body,
        json!({"user": "ana@example.com", "password": PASSWORD})
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), Some("Bearer bearer-1"));
    assert_eq!(request.header("webhook-timestamp"), Some("1800000000"));
    for private in ["perros", "ana@", "session-1"] {
        assert!(!request.head.contains(private), "{}", request.head);
    }
    requests.recv().unwrap();
    // The same question again is another one: what is remembered of the first is not its answer.
    // So it is after a restart, which begins to count anew but not at the same moment.
    let mut ids = BTreeSet::new();
    let password = Secret::new(PASSWORD);
    let restarted = one(&url);
    for (services, now) in [
        (&services, NOW),
        (&services, NOW),
        (&services, NOW.plus_ms(1)),
        (&restarted, NOW.plus_ms(2)),
    ] {
        services.check_password("ana@example.com", &password, now, "session-1");
        let request = requests.recv().unwrap();
        ids.insert(request.header("webhook-id").unwrap().to_owned());
    }
    ids.insert(request.header("webhook-id").unwrap().to_owned());
    assert_eq!(ids.len(), 5);
}

#[test]
fn a_user_name_that_is_no_address_belongs_to_one_user_whoever_that_is() {
    let mut two = users();
    let mut other = two["users"][0].clone();
    other["company"]["id"] = json!("c-2");
    two["users"].as_array_mut().unwrap().push(other);
    let (one_user, _one_user) = answering(ok(&users()));
    let (two_users, _two_users) = answering(ok(&two));
    for user in ["k-1001", "ana", "ana@intranet", "añá@example.com"] {
        let accounts = check_as(&one(&one_user), user, PASSWORD).unwrap();
        assert_eq!(accounts[0].email, ana(), "{user}");
        assert!(
            check_as(&one(&two_users), user, PASSWORD).is_err(),
            "{user}"
        );
    }
    // One address may have an account in each of several companies.
    assert_eq!(check(&one(&two_users)).unwrap().len(), 2);
    for user in ["eve@example.com", " eve@example.com "] {
        assert!(check_as(&one(&one_user), user, PASSWORD).is_err(), "S-84");
    }
}

#[test]
fn what_is_too_long_or_empty_is_nobodys_and_no_service_hears_of_it() {
    let (url, requests) = answering(ok(&users()));
    let services = one(&url);
    let (user, password) = ("ñ".repeat(USER_CHARS_MAX), "x".repeat(PASSWORD_BYTES_MAX));
    for (user, password) in [
        ("ana", ""),
        ("", PASSWORD),
        (&*format!("{user}n"), PASSWORD),
        ("ana", &*format!("{password}x")),
    ] {
        assert_eq!(check_as(&services, user, password), Ok(Vec::new()));
    }
    assert!(requests.try_recv().is_err());
    check_as(&services, &user, &password).unwrap();
    let request = requests.recv().unwrap();
    assert_eq!(request.body, json!({"user": user, "password": password}));
}

#[test]
fn only_services_with_the_call_are_asked_and_all_at_the_same_time() {
    // Neither answers before both have been asked: one after the other would never end.
    let barrier = Arc::new(Barrier::new(2));
    let waiting = |answer: String| {
        let barrier = Arc::clone(&barrier);
        stand_in(move |_, stream| {
            barrier.wait();
            let _ = stream.write_all(answer.as_bytes());
        })
    };
    let (a, _keep_a) = waiting(http("500 Oops", "text/html", ""));
    let (b, asked_b) = answering(ok(&users()));
    let (c, _keep_c) = waiting(ok(&users()));
    let mut without = settings("b", &b);
    without.check_password = None;
    let services = Services::new(vec![settings("a", &a), without.clone(), settings("c", &c)]);
    let password = Secret::new(PASSWORD);
    let answers = services
        .unwrap()
        .check_password("ana@example.com", &password, NOW, "session-1");
    let told: Vec<_> = answers
        .iter()
        .map(|answer| {
            let count = answer.users.as_ref().map(Vec::len).ok();
            (answer.service.as_str(), count)
        })
        .collect();
    assert_eq!(told, [("a", None), ("c", Some(1))]);
    let without = Services::new(vec![without]).unwrap();
    assert!(!without.check_passwords());
    assert_eq!(without.check_password("ana", &password, NOW, "x"), []);
    assert!(asked_b.try_recv().is_err());
}

#[test]
fn who_guesses_passwords_does_not_switch_the_service_off() {
    for answer in [
        ok(&json!({"users": []})),
        http("404 Not Found", "application/json", "{}"),
        http("429 Too Many Requests", "application/json", "{}"),
        http("422 Unprocessable", "application/json", "{}"),
    ] {
        let (url, requests) = answering(answer);
        let services = one(&url);
        for _ in 0..3 * FAILURES_MAX {
            let _ = check(&services);
        }
        assert_eq!(requests.try_iter().count(), 3 * FAILURES_MAX as usize);
        assert_eq!(services.health()[0].2.failures_in_a_row, 0);
    }
    // One that does not know us, or does not work, is left alone as after any other call.
    for status in ["401 Unauthorized", "403 Forbidden", "500 Oops"] {
        let (url, requests) = answering(http(status, "application/json", "{}"));
        let services = one(&url);
        for _ in 0..3 * FAILURES_MAX {
            assert!(check(&services).is_err());
        }
        assert_eq!(requests.try_iter().count(), FAILURES_MAX as usize);
        assert!(find(&services).unwrap_err().contains("left alone"));
    }
}

/// Everything that is logged on this thread while `work` runs.
pub fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .without_time()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn no_log_line_has_the_user_or_the_password_whatever_the_service_does() {
    let log = logged(|| {
        let mut answers = wrong_answers();
        answers.push(ok(&users()));
        answers.push(ok(&json!({"users": []})));
        for answer in answers {
            let (url, _requests) = answering(answer);
            let services = one(&url);
            let unavailable = check(&services).err();
            // What a caller may log of it.
            tracing::trace!(?services, ?unavailable, health = ?services.health(), "checked");
        }
    });
    assert!(log.contains("TRACE") && log.contains("checked"), "{log}");
    assert!(log.contains("compare services.secret"), "{log}");
    for private in ["perros", "verdes", "ana@", "Ana", "MfKQ", "573001"] {
        assert!(!log.contains(private), "{private}: {log}");
    }
}

#[test]
fn the_services_of_the_simulator_know_their_passwords_and_count_what_they_are_asked() {
    let world = simulator::World::start().unwrap();
    let configured = |service: &simulator::cast::Service| {
        let url = |call| world.services.url(service.name, call);
        let mut settings = settings(service.name, "http://127.0.0.1:9");
        settings.secret = Some(Secret::new(world.services.secret(service.name).unwrap()));
        settings.check_password = Some(UsersCall::check_password(&url("check_password")).unwrap());
        settings
    };
    let services = simulator::cast::SERVICES.iter().map(configured).collect();
    let services = Services::new(services).unwrap();
    // These check the time of the signature.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = Timestamp(u64::try_from(now).unwrap());
    let mut asked = 0;
    for service in &simulator::cast::SERVICES {
        for user in service.users {
            for name in [user.email, user.id] {
                for (password, right) in [(user.password, true), ("another password", false)] {
                    let password = Secret::new(password);
                    asked += 1;
                    for answer in services.check_password(name, &password, now, "session-1") {
                        let ids: Vec<_> = answer
                            .users
                            .unwrap()
                            .into_iter()
                            .map(|account| account.user_id)
                            .collect();
                        let here = right && answer.service.as_str() == service.name;
                        let expected = if here { vec![user.id] } else { Vec::new() };
                        assert_eq!(ids, expected, "{name}");
                    }
                }
            }
        }
    }
    world
        .services
        .misbehave("kutamma", Some(simulator::services::Trouble::Down));
    services.check_password("ana@example.com", &Secret::new("x"), now, "session-1");
    for service in &simulator::cast::SERVICES {
        assert_eq!(world.services.password_checks(service.name), asked + 1);
    }
    assert_eq!(world.services.password_checks("nobody"), 0);
}

#[test]
fn a_refused_signature_tells_the_operator_what_to_compare() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let (url, _requests) = answering(http(status, "application/json", "{}"));
        let services = one(&url);
        assert!(
            find(&services)
                .unwrap_err()
                .contains("compare services.secret")
        );
        let reason = check(&services).unwrap_err();
        assert!(
            reason.contains("compare services.secret") && reason.contains("a wrong password"),
            "{reason}"
        );
        assert_eq!(
            ask_for_token(&services).unwrap_err(),
            FailureKind::Configuration
        );
    }
}

#[test]
fn a_token_that_is_not_given_has_its_consequence() {
    let temporary = |retry_after_ms| FailureKind::Temporary { retry_after_ms };
    let pause =
        "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let table = [
        (
            http("404 Not Found", "application/json", "{}"),
            FailureKind::Permanent,
        ),
        (
            http("410 Gone", "application/json", ""),
            FailureKind::Permanent,
        ),
        (
            http("404 Not Found", "text/html", "<html>"),
            FailureKind::Configuration,
        ),
        (
            http("302 Found", "text/html", ""),
            FailureKind::Configuration,
        ),
        (http("500 Oops", "text/html", ""), temporary(None)),
        (pause.to_owned(), temporary(Some(7_000))),
        (ok(&json!({"error": "no"})), temporary(None)),
        (
            ok(&json!({"token": "", "tokenType": "Bearer", "expiresIn": 1})),
            temporary(None),
        ),
    ];
    for (answer, kind) in table {
        let (url, _requests) = answering(answer.clone());
        assert_eq!(ask_for_token(&one(&url)).unwrap_err(), kind, "{answer}");
    }
    let (url, requests) = answering(ok(&users()));
    let other = ServiceName::parse("other").unwrap();
    let failure = one(&url)
        .issue_token(&other, &token_for(Scope::Full), NOW, "x")
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(
        requests.try_recv().is_err(),
        "nobody is asked for another's token"
    );
}

#[test]
fn no_redirect_is_followed() {
    let (sink, sunk) = answering(ok(&users()));
    for status in [301, 302, 303, 307, 308] {
        let (url, _requests) = answering(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {sink}{FIND}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ));
        let services = one(&url);
        for ask in ASKS {
            assert!(ask(&services).is_err(), "{status}");
        }
        assert!(ask_for_token(&services).is_err(), "{status}");
    }
    assert!(sunk.try_recv().is_err(), "nothing reached the sink");
}

#[test]
fn what_a_person_types_never_changes_where_it_is_sent() {
    let (url, requests) = answering(ok(&json!({"users": []})));
    let services = one(&url);
    for text in [
        "../../admin?x=@example.com",
        "a/../b@example.com",
        "{email}@example.com",
        "a&admin=1@example.com",
        "a#b@example.com",
        "%0d%0aHost:evil@example.com",
    ] {
        // What is no address is refused before; the others are content, not path.
        if let Ok(email) = EmailAddress::parse(text) {
            services.find_user(&email, NOW, "entry-1");
            let request = requests.recv().unwrap();
            assert_eq!(request.line(), format!("POST {FIND} HTTP/1.1"), "{text}");
            assert_eq!(request.body, json!({ "email": text }));
            assert_eq!(
                request.header("host"),
                Some(url.trim_start_matches("http://"))
            );
        }
    }
}

#[test]
fn an_endless_answer_is_cut_at_its_cap() {
    // The stand-in writes until it is hung up on; the test would not end otherwise.
    let (done, ended) = channel();
    let (url, _requests) = stand_in(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"users\":[";
        let _ = stream.write_all(head.as_bytes());
        let block = vec![b' '; 64 * 1024];
        let mut written = 0_usize;
        while stream.write_all(&block).is_ok() {
            written += block.len();
        }
        done.send(written).unwrap();
    });
    for ask in ASKS {
        assert!(ask(&one(&url)).unwrap_err().contains("too large"));
        let written = ended.recv().unwrap();
        assert!(
            written < 64 * 1024 * 1024,
            "the socket's buffers at most, not {written}"
        );
    }
}

#[test]
fn a_dripping_answer_is_cut_at_the_time_out() {
    // Ends only because the caller hangs up: a byte every few milliseconds satisfies any time-out
    // that counts from the latest byte.
    let (done, ended) = channel();
    let (url, _requests) = stand_in(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"users\":[";
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        done.send(()).unwrap();
    });
    let mut settings = settings("kutamma", &url);
    settings.timeout = Duration::from_millis(300);
    let services = Services::new(vec![settings]).unwrap();
    assert!(find(&services).unwrap_err().contains("within the deadline"));
    ended.recv().unwrap();
}

#[test]
fn a_service_that_is_not_there_is_unavailable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    assert!(find(&one(&format!("http://127.0.0.1:{port}"))).is_err());
    assert!(find(&one("https://portero.invalid")).is_err());
}

#[test]
fn all_services_are_asked_at_the_same_time_and_one_down_is_not_all_down() {
    // No stand-in answers before all have been asked: one after the other would never end.
    let barrier = Arc::new(Barrier::new(3));
    let waiting = |answer: String| {
        let barrier = Arc::clone(&barrier);
        stand_in(move |_, stream| {
            barrier.wait();
            let _ = stream.write_all(answer.as_bytes());
        })
    };
    let (a, _keep_a) = waiting(ok(&users()));
    let (b, _keep_b) = waiting(http("500 Oops", "text/html", ""));
    let (c, _keep_c) = waiting(ok(&json!({"users": []})));
    let services = Services::new(vec![
        settings("a", &a),
        settings("b", &b),
        settings("c", &c),
    ])
    .unwrap();
    let answers = services.find_user(&ana(), NOW, "entry-1");
    let names: Vec<_> = answers.iter().map(|a| a.service.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let count = |answer: &Answer| answer.users.as_ref().map(Vec::len).ok();
    assert_eq!(
        answers.iter().map(count).collect::<Vec<_>>(),
        [Some(1), None, Some(0)]
    );
}

#[test]
fn a_service_that_fails_five_times_is_left_alone_and_comes_back() {
    let failures = FAILURES_MAX as usize;
    // Fails five times and once more at the first trial, then works.
    let (url, requests) = stand_in(move |index, stream| {
        let answer = if index <= failures {
            http("500 Oops", "text/html", "")
        } else {
            ok(&users())
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let services = one(&url);
    let find_at = |now| services.find_user(&ana(), now, "entry-1").remove(0).users;
    for _ in 0..failures {
        assert!(find_at(NOW).is_err());
    }
    assert_eq!(requests.try_iter().count(), failures);
    let health = services.health().remove(0);
    assert_eq!(health.0.as_str(), "kutamma");
    assert_eq!(health.2.failures_in_a_row, FAILURES_MAX);
    assert_eq!(health.2.next_try, Some(NOW.plus_ms(REST_MS)));
    assert_eq!(health.2.last_failure, Some((NOW, "500".to_owned())));

    for ms in [0, 1, REST_MS - 1] {
        assert!(
            find_at(NOW.plus_ms(ms))
                .unwrap_err()
                .reason
                .contains("left alone")
        );
    }
    assert_eq!(requests.try_iter().count(), 0, "nothing was sent meanwhile");

    let first_trial = NOW.plus_ms(REST_MS);
    assert!(find_at(first_trial).is_err());
    assert!(find_at(first_trial.plus_ms(REST_MS - 1)).is_err());
    assert_eq!(requests.try_iter().count(), 1, "one trial");

    let second_trial = first_trial.plus_ms(REST_MS);
    assert_eq!(find_at(second_trial).unwrap().len(), 1);
    assert_eq!(
        find_at(second_trial).unwrap().len(),
        1,
        "open for all again"
    );
    assert_eq!(requests.try_iter().count(), 2);
    assert_eq!(services.health()[0].2.failures_in_a_row, 0);
}

#[test]
fn a_service_that_fails_with_tokens_is_left_alone_with_these_and_people_can_still_sign_in() {
    let (url, requests) = stand_in(move |index, stream| {
        let answer = if index < FAILURES_MAX as usize {
            http("500 Oops", "text/html", "")
        } else {
            ok(&users())
        };
        let _ = stream.write_all(answer.as_bytes());
    });
    let services = one(&url);
    for _ in 0..FAILURES_MAX {
        assert!(ask_for_token(&services).is_err());
    }
    assert_eq!(requests.try_iter().count(), FAILURES_MAX as usize);
    assert!(ask_for_token(&services).is_err());
    assert_eq!(requests.try_iter().count(), 0, "nothing was sent");
    let health = services.health().remove(0).2;
    assert_eq!(health.failures_in_a_row, FAILURES_MAX);
    let found = services.find_user(&ana(), NOW, "entry-1").remove(0);
    assert_eq!(found.users.unwrap().len(), 1);
}

#[test]
fn one_spoilt_record_does_not_switch_the_service_off() {
    // Who knows an address with a spoilt record could otherwise lock everybody out by typing it.
    let mut answer = users();
    answer["users"][0]["email"] = json!("somebody.else@example.com");
    let (url, requests) = answering(ok(&answer));
    let services = one(&url);
    for _ in 0..3 * FAILURES_MAX {
        assert!(find(&services).is_err());
    }
    assert_eq!(requests.try_iter().count(), 3 * FAILURES_MAX as usize);
    assert_eq!(services.health()[0].2.failures_in_a_row, 0);
}

#[test]
fn https_is_believed_with_the_right_certificate_only() {
    let start = |mut wishes: Value| {
        wishes["answer"] = users();
        StandIn::start("https_stand_in.py", &wishes)
    };
    let services = |port: u16, ca_pem: Option<&[u8]>| {
        let mut settings = settings("kutamma", &format!("https://localhost:{port}"));
        settings.ca_pem = ca_pem.map(<[u8]>::to_vec);
        Services::new(vec![settings]).unwrap()
    };
    let good = start(json!({}));
    let other = start(json!({}));
    let expired = start(json!({"expired": true}));
    let misnamed = start(json!({"names": ["other.example"]}));
    for (stand_in, ca_pem, words) in [
        (&good, None, "issuer is not trusted"),
        (
            &good,
            Some(other.ca_pem.as_slice()),
            "issuer is not trusted",
        ),
        (&expired, Some(expired.ca_pem.as_slice()), "expired"),
        (&misnamed, Some(misnamed.ca_pem.as_slice()), "another name"),
    ] {
        let services = services(stand_in.port, ca_pem);
        let reason = find(&services).unwrap_err();
        assert!(reason.contains(words), "{reason}");
        assert_eq!(
            ask_for_token(&services).unwrap_err(),
            FailureKind::Configuration
        );
    }
    assert_eq!(
        find(&services(good.port, Some(&good.ca_pem)))
            .unwrap()
            .len(),
        1
    );
    assert_eq!(good.next("request")["path"], FIND);
    for stand_in in [good, expired, misnamed] {
        assert_eq!(stand_in.finish(), [] as [Value; 0], "nothing else was said");
    }
}

//! Tests of `backend`: the document's two calls over real sockets, in good and in bad moods.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::http::stand_in::{answer, serve, serve_bytes};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

const HASH: &str = "7542394d84161d10f90c8042da90a76c4f106c58";
const NUMBER: &str = "573001234567";
const NOT_FOUND: &str = r#"{
  "error": {
      "key": "HASH_MAPPING_NOT_FOUND",
      "message": "Hash mapping 7542394d84161d10f90c8042da90a76c4f106c58 not found",
      "details": {}
  }
}"#;

fn settings(url: &str) -> Settings {
    Settings {
        url: url.to_owned(),
        credential: None,
        timeout: TIMEOUT_MAX,
        ca_pem: None,
    }
}

fn backend(url: &str) -> Backend {
    Backend::new(settings(url)).unwrap()
}

fn hash() -> ForeignHash {
    ForeignHash::parse(HASH).unwrap()
}

fn four_fields() -> Value {
    json!({"accessToken": "token-1", "userUuid": "4f1c0de0-1111-4222-8333-444455556666",
        "userType": "WHATSAPP_END_USER", "wanumber": NUMBER})
}

fn with(field: &str, value: Value) -> String {
    let mut fields = four_fields();
    fields[field] = value;
    fields.to_string()
}

fn session_of_the_document() -> Session {
    session(four_fields().to_string().as_bytes()).unwrap()
}

/// Sends these bytes to whoever asks and hangs up.
fn saying(bytes: &str) -> (String, Receiver<String>) {
    let bytes = bytes.to_owned();
    serve(move |_, stream| {
        let _ = stream.write_all(bytes.as_bytes());
        let _ = stream.shutdown(Shutdown::Both);
    })
}

fn fetch_from(bytes: &str) -> Result<Option<Session>, Failure> {
    let (url, _requests) = saying(bytes);
    backend(&url).fetch(&hash())
}

fn sign_in_at(bytes: &str) -> Result<SignInOutcome, Failure> {
    let (url, _requests) = saying(bytes);
    backend(&url).sign_in(&session_of_the_document())
}

/// The header lines of a request in lower case and in order, and its first line and body as sent.
fn taken_apart(request: &str) -> (String, Vec<String>, String) {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut headers: Vec<String> = headers
        .split("\r\n")
        .map(|header| {
            let (name, value) = header.split_once(": ").unwrap();
            format!("{}: {value}", name.to_ascii_lowercase())
        })
        .collect();
    headers.sort();
    (line.to_owned(), headers, body.to_owned())
}

#[test]
fn the_two_calls_are_those_of_the_document_byte_for_byte() {
    let (url, requests) = serve(|request, stream| {
        let body = if request.starts_with("GET ") {
            four_fields().to_string()
        } else {
            "{}".to_owned()
        };
        let _ = stream.write_all(answer("200 OK", "application/json", &body).as_bytes());
    });
    let host = url.strip_prefix("http://").unwrap().to_owned();
    for (path, credential) in [("", None), ("/api/v1", Some("page-key-1"))] {
        let mut settings = settings(&format!("{url}{path}"));
        settings.credential = credential.map(Secret::new);
        let backend = Backend::new(settings).unwrap();

        let session = backend.fetch(&hash()).unwrap().unwrap();
        assert_eq!(session.access_token.reveal(), "token-1");
        assert_eq!(session.user_uuid, "4f1c0de0-1111-4222-8333-444455556666");
        assert_eq!(session.user_type, "WHATSAPP_END_USER");
        assert_eq!(session.number.as_str(), NUMBER);
        let (line, headers, body) = taken_apart(&requests.recv().unwrap());
        assert_eq!(
            line,
            format!("GET {path}/hash-mappings/{HASH}/ HTTP/1.1"),
            "the document's address"
        );
        let ours = [
            "accept-encoding: identity".to_owned(),
            "accept: application/json".to_owned(),
            format!("host: {host}"),
            concat!("user-agent: Portero/", env!("CARGO_PKG_VERSION")).to_owned(),
        ];
        let mut expected = ours.to_vec();
        expected.extend(credential.map(|word| format!("authorization: Bearer {word}")));
        expected.sort();
        assert_eq!(headers, expected);
        assert_eq!(body, "");

        assert_eq!(
            backend.sign_in(&session).unwrap(),
            SignInOutcome::Done(Signed { redirect_url: None })
        );
        let (line, headers, body) = taken_apart(&requests.recv().unwrap());
        assert_eq!(line, format!("POST {path}/chat/history/ HTTP/1.1"));
        assert_eq!(
            body,
            concat!(
                r#"{"userUuid":"4f1c0de0-1111-4222-8333-444455556666","#,
                r#""messageFrom":"WHATSAPP_END_USER","#,
                r#""messagePayload":{"type":"SIGN_IN","signInPayload":{"auth":true}}}"#
            )
        );
        let mut expected = ours.to_vec();
        expected.extend([
            "authorization: Bearer token-1".to_owned(),
            "content-type: application/json;charset=UTF-8".to_owned(),
            format!("content-length: {}", body.len()),
        ]);
        expected.sort();
        assert_eq!(headers, expected, "the session's token, not our credential");
    }
    assert!(requests.try_recv().is_err(), "two calls, and no third");
}

#[test]
fn a_404_of_the_back_end_is_an_expired_link() {
    for gone in [
        answer("404 Not Found", "application/json", NOT_FOUND),
        answer("404 Not Found", "text/plain", NOT_FOUND),
        answer("404 Not Found", "application/json", ""),
        answer("404 Not Found", "application/json", "\r\n"),
    ] {
        assert!(fetch_from(&gone).unwrap().is_none(), "{gone}");
        assert_eq!(sign_in_at(&gone).unwrap(), SignInOutcome::Expired, "{gone}");
    }
}

#[test]
fn a_404_of_a_web_server_is_a_wrong_address() {
    let page = answer("404 Not Found", "text/html", "<h1>404 Not Found</h1>");
    for failure in [
        fetch_from(&page).unwrap_err(),
        sign_in_at(&page).unwrap_err(),
    ] {
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert_eq!(failure.advice, Some(CHECK_URL));
    }
}

#[test]
fn an_answer_of_another_kind_is_no_session() {
    let ok = |body: &str| answer("200 OK", "application/json", body);
    let without = |field: &str| {
        let mut fields = four_fields();
        fields.as_object_mut().unwrap().remove(field);
        ok(&fields.to_string())
    };
    let twice = |field: &str| {
        let whole = four_fields().to_string();
        let again = format!(",{}:{}}}", json!(field), four_fields()[field]);
        ok(&whole.replace('}', &again))
    };
    let whole = four_fields().to_string();
    let mut wrong = vec![
        // Not HTTP, or not to its end.
        String::new(),
        "hello\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\n".to_owned(),
        "HTTP/1.1 999999 OK\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{whole}"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_owned(),
        // Not a 200, whatever it carries.
        answer("201 Created", "application/json", &whole),
        answer("202 Accepted", "application/json", &whole),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        answer("302 Found", "application/json", &whole),
        answer("400 Bad Request", "application/json", &whole),
        answer("401 Unauthorized", "application/json", &whole),
        answer("403 Forbidden", "application/json", &whole),
        answer("405 Method Not Allowed", "application/json", &whole),
        answer("410 Gone", "application/json", NOT_FOUND),
        answer("429 Too Many Requests", "application/json", &whole),
        answer("500 Internal Server Error", "application/json", &whole),
        answer("502 Bad Gateway", "text/html", "<html>"),
        answer("503 Service Unavailable", "application/json", &whole),
        // Not JSON, or not such JSON.
        ok(""),
        ok("<html>Log in</html>"),
        ok("null"),
        ok("[]"),
        ok(
            r#"["token-1","4f1c0de0-1111-4222-8333-444455556666","WHATSAPP_END_USER","573001234567"]"#,
        ),
        ok("{}"),
        ok(NOT_FOUND),
        ok(&format!("{whole} x")),
        ok(&format!("[{whole}]")),
        ok(&"[".repeat(100_000)),
        ok(&"{\"a\":".repeat(100_000)),
    ];
    for field in ["accessToken", "userUuid", "userType", "wanumber"] {
        wrong.extend([without(field), twice(field)]);
        let values = [
            json!(null),
            json!(true),
            json!(573_001_234_567_u64),
            json!(["a"]),
            json!({}),
            json!(""),
            json!(" "),
            json!("a b"),
            json!("a\r\nx: y"),
            json!("a\0b"),
            json!("é"),
            json!("x".repeat(5_000)),
        ];
        wrong.extend(values.map(|value| ok(&with(field, value))));
    }
    for user_type in ["WHATSAPP_AGENT", "whatsapp_end_user", "WHATSAPP_END_USER "] {
        wrong.push(ok(&with("userType", json!(user_type))));
    }
    wrong.push(ok(&with("userUuid", json!("u".repeat(101)))));
    wrong.push(ok(&with("accessToken", json!("t".repeat(4_097)))));
    for bytes in wrong {
        let shown: String = bytes.chars().take(300).collect();
        let failure = fetch_from(&bytes).expect_err(&shown);
        assert!(
            !failure.reason.is_empty() && !quotes(&failure),
            "{failure:?}"
        );
    }
}

#[test]
fn a_session_at_the_limits_and_with_more_fields_is_taken() {
    let mut fields = four_fields();
    fields["accessToken"] = json!("t".repeat(4_096));
    fields["userUuid"] = json!("u".repeat(100));
    fields["company"] = json!({"id": 7});
    fields["AccessToken"] = json!("other");
    let bytes = answer("200 OK", "text/plain", &fields.to_string());
    let session = fetch_from(&bytes).unwrap().unwrap();
    assert_eq!(session.access_token.reveal().len(), 4_096);
    assert_eq!(session.user_uuid.len(), 100);
}

#[test]
fn a_poisoned_number_leads_nobody_anywhere() {
    // S-40: the number becomes a part of the address where the browser is sent.
    for number in [
        "57300&text=x#",
        "573001234567&text=x",
        "+573001234567",
        " 573001234567",
        "573001234567 ",
        "57 300 1234567",
        "573001234567\n",
        "573001234567#",
        "573001234567/../",
        "%35%37300",
        "٥٧٣٠٠١٢٣٤٥٦٧",
        "５７３００",
        "1234",
        "123456789012345678901",
        "",
    ] {
        let bytes = answer(
            "200 OK",
            "application/json",
            &with("wanumber", json!(number)),
        );
        let failure = fetch_from(&bytes).expect_err(number);
        assert_eq!(failure.reason, "a wanumber that is not digits");
    }
}

#[test]
fn only_a_link_to_the_same_number_is_taken_over() {
    let link_of = |value: Value| {
        let body = json!({"redirectUrl": value, "id": 1}).to_string();
        match sign_in_at(&answer("200 OK", "application/json", &body)).unwrap() {
            SignInOutcome::Done(signed) => signed.redirect_url,
            SignInOutcome::Expired => panic!("{body}"),
        }
    };
    let own = format!("https://api.whatsapp.com/send/?phone={NUMBER}");
    for link in [
        own.clone(),
        format!("{own}&text="),
        format!("{own}&text=Ya%20entr%C3%A9%3A%20abc-DEF_123"),
        format!("{own}&text=Ya+entr%C3%A9!"),
    ] {
        assert_eq!(link_of(json!(link)), Some(link));
    }
    for link in [
        json!(null),
        json!(5),
        json!([own]),
        json!({"url": own}),
        json!(""),
        json!("https://api.whatsapp.com/send/?phone=573009999999"),
        json!(format!("{own}8")),
        json!("https://api.whatsapp.com/send/?phone=57300"),
        json!(format!("http{}", own.trim_start_matches("https"))),
        json!(own.to_uppercase()),
        json!(own.replace("api.whatsapp.com", "api.whatsapp.com.evil.example")),
        json!(own.replace("api.whatsapp.com", "api.whatsapp.com@evil.example")),
        json!(own.replace("/send/", "/")),
        json!(format!(" {own}")),
        json!(format!("{own}#")),
        json!(format!("{own}&phone=573009999999")),
        json!(format!("{own}&text=a&phone=573009999999")),
        json!(format!("{own}&text=a;phone=573009999999")),
        json!(format!("{own}&text=a#b")),
        json!(format!("{own}&text=a b")),
        json!(format!("{own}&text=a\r\nSet-Cookie: a=b")),
        json!(format!("{own}&text=\"><script>")),
        json!(format!("{own}&text=é")),
        json!(format!("{own}&text={}", "a".repeat(REDIRECT_URL_BYTES_MAX))),
    ] {
        assert_eq!(link_of(link.clone()), None, "{link}");
    }
}

#[test]
fn any_answer_with_a_2xx_is_a_sign_in() {
    let own = format!("https://api.whatsapp.com/send/?phone={NUMBER}");
    for bytes in [
        answer("200 OK", "application/json", r#"{"id":"m-1"}"#),
        answer("200 OK", "text/plain", "OK"),
        answer("201 Created", "application/json", ""),
        answer("202 Accepted", "application/json", "[]"),
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
        answer("200 OK", "application/json", &json!([own]).to_string()),
        answer(
            "200 OK",
            "application/json",
            &format!(r#"{{"redirectUrl":"{own}","redirectUrl":"{own}"}}"#),
        ),
    ] {
        let done = SignInOutcome::Done(Signed { redirect_url: None });
        assert_eq!(sign_in_at(&bytes).unwrap(), done, "{bytes}");
    }
}

#[test]
fn every_refusal_has_its_consequence() {
    use FailureKind::{Configuration, Permanent, Unknown};
    let temporary = |retry_after_ms| FailureKind::Temporary { retry_after_ms };
    let table = [
        ("302 Found", Configuration, Configuration),
        ("304 Not Modified", Configuration, Configuration),
        ("307 Temporary Redirect", Configuration, Configuration),
        ("400 Bad Request", Permanent, Permanent),
        ("401 Unauthorized", Configuration, Permanent),
        ("403 Forbidden", Configuration, Permanent),
        ("405 Method Not Allowed", Configuration, Configuration),
        ("410 Gone", Permanent, Permanent),
        (
            "429 Slow\r\nRetry-After: 7",
            temporary(Some(7_000)),
            temporary(Some(7_000)),
        ),
        ("500 Oops", temporary(None), Unknown),
        ("502 Bad Gateway", temporary(None), Unknown),
        ("503 Later", temporary(None), temporary(None)),
        ("504 Gateway Timeout", temporary(None), Unknown),
    ];
    for (status, at_fetch, at_sign_in) in table {
        let bytes = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(fetch_from(&bytes).unwrap_err().kind, at_fetch, "{status}");
        let failure = sign_in_at(&bytes).unwrap_err();
        assert_eq!(failure.kind, at_sign_in, "{status}");
        assert!(failure.reason.starts_with(&status[..3]), "{failure:?}");
    }
}

#[test]
fn no_redirect_is_followed() {
    let (sink, sunk) = serve_bytes(answer(
        "200 OK",
        "application/json",
        &four_fields().to_string(),
    ));
    for status in [301, 302, 303, 307, 308] {
        let moved = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {sink}/hash-mappings/{HASH}/\r\nContent-Length: 0\r\n\r\n"
        );
        assert!(fetch_from(&moved).is_err(), "{status}");
        assert!(sign_in_at(&moved).is_err(), "{status}");
    }
    assert!(sunk.try_recv().is_err(), "nothing reached the sink");
}

#[test]
fn after_an_unknown_outcome_nothing_is_sent_again() {
    let outcome = |url: &str, requests: &Receiver<String>, timeout_ms| {
        let mut settings = settings(url);
        settings.timeout = Duration::from_millis(timeout_ms);
        let backend = Backend::new(settings).unwrap();
        let failure = backend.sign_in(&session_of_the_document()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{failure:?}");
        assert!(!quotes(&failure), "{failure:?}");
        assert!(requests.recv().unwrap().starts_with("POST "));
        assert!(requests.try_recv().is_err(), "asked twice");
    };
    const LONG_MS: u64 = 10_000;
    const SHORT_MS: u64 = 200;
    let (url, requests) = serve(|_, _| std::thread::park());
    outcome(&url, &requests, SHORT_MS);
    let (url, requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    });
    outcome(&url, &requests, SHORT_MS);
    let (url, requests) = saying("");
    outcome(&url, &requests, LONG_MS);
    let (url, requests) = saying("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{");
    outcome(&url, &requests, LONG_MS);
    let (url, requests) = saying("garbage\r\n\r\n");
    outcome(&url, &requests, LONG_MS);
}

#[test]
fn the_second_call_has_a_connection_of_its_own() {
    // The stand-in answers once per connection, promises to keep it, and hangs up on the next
    // request there, as servers that restart do. That request would be lost, and it is made once.
    let mut last = None;
    let (url, requests) = serve(move |_, stream| {
        let caller = stream.peer_addr().unwrap();
        if last.replace(caller) == Some(caller) {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        let body = four_fields().to_string();
        let _ = stream.write_all(answer("200 OK", "application/json", &body).as_bytes());
    });
    let backend = backend(&url);
    for _ in 0..2 {
        let session = backend.fetch(&hash()).unwrap().unwrap();
        backend.sign_in(&session).unwrap();
    }
    assert_eq!(requests.try_iter().count(), 4);
}

#[test]
fn silence_is_cut_at_the_time_out_and_an_endless_answer_at_the_cap() {
    let (url, _requests) = serve(|_, _| std::thread::park());
    let mut slow = settings(&url);
    slow.timeout = Duration::from_millis(200);
    let failure = Backend::new(slow).unwrap().fetch(&hash()).unwrap_err();
    assert_eq!(failure.reason, "no whole answer within the deadline");
    assert_eq!(failure.kind, Failure::temporary("").kind);

    let (url, _requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{");
        let block = [b' '; 65_536];
        while stream.write_all(&block).is_ok() {}
    });
    let failure = backend(&url).fetch(&hash()).unwrap_err();
    assert_eq!(failure.reason, "the answer is too large");
}

#[test]
fn a_back_end_that_is_not_there_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let backend = backend(&closed);
    let temporary = Failure::temporary("").kind;
    assert_eq!(backend.fetch(&hash()).unwrap_err().kind, temporary);
    let failure = backend.sign_in(&session_of_the_document()).unwrap_err();
    assert_eq!(failure.kind, temporary, "nothing can have arrived");
}

#[test]
fn settings_that_cannot_work_are_refused_in_words() {
    type Spoil = fn(&mut Settings);
    let wrong: [(&str, Spoil); 14] = [
        ("sign_in.backend ", |s| s.url = String::new()),
        ("sign_in.backend ", |s| s.url = "backend.example".to_owned()),
        ("sign_in.backend ", |s| {
            s.url = "http://backend.example".to_owned()
        }),
        ("sign_in.backend ", |s| {
            s.url = "https://backend.example/".to_owned()
        }),
        ("sign_in.backend ", |s| {
            s.url = "https://backend.example?a=b".to_owned()
        }),
        ("sign_in.backend ", |s| {
            s.url = "https://backend.example#a".to_owned()
        }),
        ("sign_in.backend ", |s| {
            s.url = "https://geheim@backend.example".to_owned()
        }),
        ("sign_in.backend_timeout_seconds ", |s| {
            s.timeout = Duration::ZERO
        }),
        ("sign_in.backend_timeout_seconds ", |s| {
            s.timeout = TIMEOUT_MAX + Duration::from_millis(1)
        }),
        ("sign_in.backend_credential ", |s| {
            s.credential = Some(Secret::new(""))
        }),
        ("sign_in.backend_credential ", |s| {
            s.credential = Some(Secret::new("geheim\r\nx: y"))
        }),
        ("sign_in.backend_credential ", |s| {
            s.credential = Some(Secret::new("geheim geheim"))
        }),
        ("sign_in.backend_ca_file ", |s| {
            s.ca_pem = Some(b"no PEM".to_vec())
        }),
        ("sign_in.backend_ca_file ", |s| s.ca_pem = Some(Vec::new())),
    ];
    for (name, spoil) in wrong {
        let mut settings = settings("https://backend.example/api");
        spoil(&mut settings);
        let sentence = Backend::new(settings).unwrap_err();
        assert!(sentence.starts_with(&format!("{name}must ")), "{sentence}");
        assert!(!sentence.contains("geheim"), "{sentence}");
    }
    Backend::new(settings("https://backend.example/api")).unwrap();
}

#[test]
fn a_foreign_hash_stands_in_a_path_as_it_is() {
    for text in [
        HASH,
        "abcDEF12",
        "a-b_c-d_",
        "--------",
        &"x".repeat(128),
        "4f1c0de0-1111-4222-8333-444455556666",
    ] {
        assert_eq!(ForeignHash::parse(text).unwrap().reveal(), text);
    }
    for text in [
        "",
        "1234567",
        &"x".repeat(129),
        "abcdefg/",
        "../../../admin",
        "..%2f..%2f",
        "abcdefgh?",
        "abcdefgh#",
        "abcdefgh ",
        "abcdefgh\r\n",
        "abcdefgh\0",
        "abcdéfgh",
        "abcdefg=",
        "abcdefg.",
        "{{hash}}",
    ] {
        assert!(ForeignHash::parse(text).is_err(), "{text:?}");
    }
    assert!(hash().matches(&hash()));
    assert!(!hash().matches(&ForeignHash::parse(&HASH.replace("c58", "c59")).unwrap()));
}

/// What nobody may read in a log: parts of the hash, the token, the user, the number, the code.
fn quotes(failure: &Failure) -> bool {
    shows_private(&format!("{failure:?}"))
}

fn shows_private(text: &str) -> bool {
    ["7542", "token-1", "4f1c0de0", "57300", "page-key", "geheim"]
        .iter()
        .any(|word| text.contains(word))
}

/// Where a test's log lines go.
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

#[test]
fn neither_log_nor_reason_nor_debug_tells_a_secret() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(log, || {
        tracing::info!("the log is heard");
        for body in [
            four_fields().to_string(),
            with("wanumber", json!("57300&text=geheim")),
            with("accessToken", json!("token-1 geheim")),
            with("accessToken", json!({"geheim": "token-1"})),
            with("userType", json!("geheim")),
            "geheim token-1".to_owned(),
            json!({"redirectUrl": format!("https://api.whatsapp.com/send/?phone={NUMBER}&text=geheim")})
                .to_string(),
        ] {
            for status in ["200 OK", "404 Not Found", "401 Unauthorized", "500 Oops"] {
                let bytes = answer(status, "application/json", &body);
                let (url, _requests) = saying(&bytes);
                let mut settings = settings(&url);
                settings.credential = Some(Secret::new("page-key-1"));
                assert!(!shows_private(&format!("{settings:?}")));
                let backend = Backend::new(settings).unwrap();
                let hash = hash();
                let fetched = backend.fetch(&hash);
                let signed = backend.sign_in(&session_of_the_document());
                let shown = format!("{backend:?} {hash:?} {fetched:?} {signed:?}");
                assert!(!shows_private(&shown), "{shown}");
            }
        }
    });
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log is heard"));
    assert!(!shows_private(&log), "{log}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = session(&body);
        let _ = redirect_url(&body, &WaId::parse(NUMBER).unwrap());
    }

    #[test]
    fn an_answer_cut_anywhere_is_no_session(part in 0.0..1.0f64) {
        let whole = four_fields().to_string();
        let cut = (whole.len() as f64 * part) as usize;
        prop_assert!(session(&whole.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn whatever_is_taken_fits_where_it_goes(token in any::<String>(), user in "[ -~é]{0,110}", number in "[0-9+& ]{0,22}") {
        let mut fields = four_fields();
        fields["accessToken"] = json!(token);
        fields["userUuid"] = json!(user);
        fields["wanumber"] = json!(number);
        if let Ok(session) = session(fields.to_string().as_bytes()) {
            prop_assert!(session.access_token.reveal().bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(session.user_uuid.len() <= USER_UUID_BYTES_MAX);
            prop_assert!(session.number.as_str().bytes().all(|b| b.is_ascii_digit()));
        }
    }

    #[test]
    fn a_link_taken_over_stays_on_the_way_back(rest in "(&text=)?[ -~é\r\n]{0,40}") {
        let number = WaId::parse(NUMBER).unwrap();
        let link = format!("{RETURN_TO}{NUMBER}{rest}");
        let body = json!({"redirectUrl": link}).to_string();
        if let Some(taken) = redirect_url(body.as_bytes(), &number) {
            prop_assert_eq!(&taken, &link);
            prop_assert!(taken.matches('&').count() <= 1 && !taken.contains(['#', '"', '<', ' ', '\r', '\n']));
        }
    }
}

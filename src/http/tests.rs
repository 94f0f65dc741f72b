//! Tests of `http`.

#![allow(clippy::unwrap_used)]

use super::stand_in::{answer, serve, serve_bytes};
use super::*;
use std::io::Write;

fn agent(timeout_ms: u64) -> Agent {
    Agent::new(AgentSettings {
        timeout: Duration::from_millis(timeout_ms),
        connections: 2,
        ca_pem: None,
    })
    .unwrap()
}

fn post(url: &str, timeout_ms: u64) -> Result<Answer, Broken> {
    agent(timeout_ms).post_json(
        &Endpoint::parse(url).unwrap(),
        &[("x-a", "b")],
        b"{\"a\":1}",
    )
}

const LONG_MS: u64 = 10_000;
const SHORT_MS: u64 = 200;

#[test]
fn plain_http_leads_to_this_machine_only() {
    for url in [
        "https://graph.facebook.com",
        "https://example.com:8443/a?b=c",
        "http://127.0.0.1:8080/x",
        "http://127.9.9.9",
        "http://[::1]:9/",
        "http://LocalHost/",
    ] {
        assert!(Endpoint::parse(url).is_ok(), "{url}");
    }
    for url in [
        "http://example.com/",
        "http://127.0.0.1.example.com/",
        "http://0.0.0.0/",
        "http://10.0.0.1/",
        "http://[::2]/",
        "http://localhost.example.com/",
        "https://user:secret@example.com/",
        "http://user@127.0.0.1/",
        "https://example.com/#a",
        "ftp://example.com/",
        "/relative",
        "example.com",
        "https://",
        "https://example.com:/",
        "https://example.com:0/",
        "https://example..com/",
        "https://-example.com/",
        "https://[::1/",
        "",
    ] {
        let words = Endpoint::parse(url).expect_err(url);
        assert!(words.starts_with("must "), "{url}: {words}");
    }
    let endpoint = Endpoint::parse("https://API.Example.com:8443/a").unwrap();
    assert_eq!(endpoint.host(), "api.example.com");
    assert!(endpoint.is_encrypted());
    let endpoint = Endpoint::parse("http://[::1]:9/").unwrap();
    assert_eq!(endpoint.host(), "[::1]");
    assert!(!endpoint.is_encrypted());
}

#[test]
fn a_request_carries_our_name_headers_and_length() {
    let (url, requests) = serve_bytes(answer("200 OK", "application/json", "{}"));
    let got = post(&format!("{url}/a/b"), LONG_MS).unwrap();
    assert_eq!((got.status, got.body.as_slice()), (200, &b"{}"[..]));
    let request = requests.recv().unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post /a/b http/1.1\r\n"), "{request}");
    for line in [
        "user-agent: portero/",
        "x-a: b\r\n",
        "content-length: 7\r\n",
        "content-type: application/json\r\n",
    ] {
        assert!(request.contains(line), "{line} in {request}");
    }
    assert!(!request.contains("transfer-encoding"), "{request}");
    assert!(request.ends_with("{\"a\":1}"));
}

#[test]
fn a_type_among_the_headers_is_the_only_one() {
    let (url, requests) = serve_bytes(answer("200 OK", "application/json", "{}"));
    let kind = "application/json;charset=UTF-8";
    let endpoint = Endpoint::parse(&url).unwrap();
    agent(LONG_MS)
        .post_json(&endpoint, &[("Content-Type", kind)], b"{}")
        .unwrap();
    let request = requests.recv().unwrap().to_ascii_lowercase();
    let line = format!("\r\ncontent-type: {}\r\n", kind.to_ascii_lowercase());
    assert!(request.contains(&line), "{request}");
    assert_eq!(request.matches("content-type").count(), 1, "{request}");
}

#[test]
fn a_connection_is_used_again() {
    let (url, _requests) = serve_bytes(answer("200 OK", "application/json", "{}"));
    let agent = agent(LONG_MS);
    let endpoint = Endpoint::parse(&url).unwrap();
    // The stand-in serves one connection at a time, so a second one would wait for ever.
    for _ in 0..3 {
        assert_eq!(agent.post_json(&endpoint, &[], b"{}").unwrap().status, 200);
        assert_eq!(agent.get(&endpoint, &[]).unwrap().status, 200);
    }
}

#[test]
fn the_other_side_s_clock_is_read_where_it_is_told() {
    let date = "Wed, 21 Oct 2015 07:28:00 GMT";
    let (url, _requests) = serve_bytes(format!(
        "HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 0\r\n\r\n"
    ));
    assert_eq!(post(&url, LONG_MS).unwrap().date, Some(1_445_412_480));
    for odd in ["", "today", "Wed, 21 Oct 1915 07:28:00 GMT"] {
        assert_eq!(unix_seconds(odd), None, "{odd}");
    }
}

#[test]
fn redirects_are_answers_and_are_not_followed() {
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let (other, other_requests) = serve_bytes(answer("200 OK", "text/plain", ""));
        let (url, _requests) = serve_bytes(format!(
            "HTTP/1.1 {status}\r\nlocation: {other}/\r\ncontent-length: 0\r\n\r\n"
        ));
        let got = post(&url, LONG_MS).unwrap();
        assert_eq!(got.status.to_string(), status[..3]);
        assert!(other_requests.try_recv().is_err(), "{status} was followed");
    }
}

#[test]
fn an_endless_answer_is_cut_at_the_cap() {
    let (url, _requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n");
        let chunk = [b'a'; 65_536];
        while stream.write_all(&chunk).is_ok() {}
    });
    let broken = post(&url, LONG_MS).unwrap_err();
    assert_eq!(broken.reason, "the answer is too large");
    assert!(broken.may_have_arrived);
}

#[test]
fn a_dripping_answer_is_cut_at_the_deadline() {
    let (url, _requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while stream.write_all(b"a").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let broken = post(&url, SHORT_MS).unwrap_err();
    assert_eq!(broken.reason, "no whole answer within the deadline");
    assert!(broken.may_have_arrived);
}

#[test]
fn silence_and_a_closed_connection_may_hide_an_arrival() {
    let (silent, _requests) = serve(|_, _| std::thread::park());
    assert!(post(&silent, SHORT_MS).unwrap_err().may_have_arrived);
    let (closing, _requests) = serve(|_, stream| {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    assert!(post(&closing, LONG_MS).unwrap_err().may_have_arrived);
    let (truncating, _requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{");
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    assert!(post(&truncating, LONG_MS).unwrap_err().may_have_arrived);
}

#[test]
fn without_a_connection_nothing_can_have_arrived() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let broken = post(&closed, LONG_MS).unwrap_err();
    assert!(!broken.may_have_arrived, "{broken:?}");

    // TLS spoken to somebody who answers otherwise: the body never left.
    let (plain, _requests) = serve_bytes("");
    let broken = post(&plain.replace("http:", "https:"), SHORT_MS).unwrap_err();
    assert!(!broken.may_have_arrived, "{broken:?}");
}

#[test]
fn a_name_that_leads_nowhere_is_said_to() {
    // RFC 6761, section 6.4: nobody has it; without a network nobody can say so.
    let broken = post("https://nobody.invalid/", LONG_MS).unwrap_err();
    let words = [
        "the host name was not found",
        "no answer from the name server",
    ];
    assert!(words.contains(&broken.reason.as_str()), "{broken:?}");
    assert!(!broken.may_have_arrived);
}

#[test]
fn an_unfit_header_is_refused_without_being_quoted() {
    let broken = agent(LONG_MS)
        .post_json(
            &Endpoint::parse("http://127.0.0.1:1/").unwrap(),
            &[("authorization", "Bearer geheim\r\nx: y")],
            b"",
        )
        .unwrap_err();
    assert!(!broken.may_have_arrived && !broken.reason.contains("geheim"));
}

#[test]
fn a_file_without_certificates_is_refused() {
    for pem in [
        &b""[..],
        b"hello",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let settings = AgentSettings {
            timeout: Duration::from_secs(1),
            connections: 1,
            ca_pem: Some(pem),
        };
        assert!(Agent::new(settings).is_err());
    }
}

#[test]
fn json_is_what_says_so() {
    for kind in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
    ] {
        let (url, _requests) = serve_bytes(answer("200 OK", kind, "{}"));
        assert!(post(&url, LONG_MS).unwrap().is_json, "{kind}");
    }
    for kind in ["", "text/html", "text/json", "application/jsonp", "json"] {
        let (url, _requests) = serve_bytes(answer("200 OK", kind, "{}"));
        assert!(!post(&url, LONG_MS).unwrap().is_json, "{kind}");
    }
    let (url, _requests) = serve_bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    assert!(!post(&url, LONG_MS).unwrap().is_json, "no type at all");
}

#[test]
fn retry_after_is_read_in_both_forms_and_capped() {
    let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
    assert_eq!(retry_after_ms("7", None), Some(7_000));
    assert_eq!(
        retry_after_ms("Wed, 21 Oct 2015 07:30:00 GMT", date),
        Some(120_000)
    );
    assert_eq!(
        retry_after_ms("Wed, 21 Oct 2015 07:00:00 GMT", date),
        Some(0),
        "already over"
    );
    assert_eq!(
        retry_after_ms("99999999999999999999999", None),
        Some(RETRY_AFTER_MS_MAX)
    );
    assert_eq!(retry_after_ms("Wed, 21 Oct 2015 07:30:00 GMT", None), None);
    for odd in ["", "soon", "-1", "1.5"] {
        assert_eq!(retry_after_ms(odd, date), None, "{odd}");
    }
}

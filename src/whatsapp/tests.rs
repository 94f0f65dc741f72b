//! Calls to a stand-in for Meta's server, and what is made of its answers.

#![allow(clippy::unwrap_used)]

use super::errors::{SOON, too_fast};
use super::*;
use crate::domain::id::{Bsuid, MappingId, WaId};
use crate::http::stand_in::{answer, serve, serve_bytes};
use std::io::Write;

const TOKEN: &str = "EAAGgeheim";
const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(200);

fn settings(api_url: &str) -> Settings {
    Settings {
        api_url: api_url.to_owned(),
        api_version: "v25.0".to_owned(),
        phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
        access_token: Secret::new(TOKEN),
        ca_pem: None,
        connections: 1,
    }
}

fn number() -> Recipient {
    Recipient::Number(WaId::parse("16505551234").unwrap())
}

fn message(buttons: &[(&str, &str)]) -> ChatMessage {
    let button = |(id, title): &(&str, &str)| Button {
        id: (*id).to_owned(),
        title: (*title).to_owned(),
    };
    ChatMessage {
        body: "¿Quién es? 👋 \"x\"\nhttps://x.y".to_owned(),
        buttons: buttons.iter().map(button).collect(),
        link: None,
    }
}

const SIGN_IN: &str = "https://id.example.com/portero/Wb7Geheim";

fn linked(body: &str, title: &str) -> ChatMessage {
    ChatMessage {
        body: body.to_owned(),
        buttons: Vec::new(),
        link: Some(Link {
            title: title.to_owned(),
            to: LinkTarget::Url(SIGN_IN.to_owned()),
        }),
    }
}

fn body_to(to: &Recipient, message: &ChatMessage, tag: &str) -> Value {
    send_body(to, message, tag).unwrap()
}

fn send_to(url: &str, timeout: Duration) -> Result<MessageId, Failure> {
    let client = Client::with_timeout(&settings(url), timeout).unwrap();
    client.send(&number(), &message(&[]), "tag-1")
}

fn send_answered(status: &str, content_type: &str, body: &str) -> Result<MessageId, Failure> {
    let (url, _requests) = serve_bytes(answer(status, content_type, body));
    send_to(&url, LONG)
}

fn error_answered(status: &str, error: Value) -> Failure {
    let body = json!({"error": error}).to_string();
    send_answered(status, "application/json", &body).unwrap_err()
}

const ACCEPTED: &str = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+16505551234","wa_id":"16505551234"}],"messages":[{"id":"wamid.1"}]}"#;

#[test]
fn bodies_are_exactly_as_in_the_contract() {
    let text = message(&[]);
    assert_eq!(
        body_to(&number(), &text, "tag-1"),
        json!({
            "messaging_product": "whatsapp", "recipient_type": "individual",
            "to": "+16505551234", "biz_opaque_callback_data": "tag-1",
            "type": "text", "text": {"preview_url": false, "body": text.body},
        })
    );
    let hidden = Recipient::Bsuid(Bsuid::parse("CO.123").unwrap());
    let buttons = message(&[("resend:1", "Otra vez"), ("cancel:1", "Cancelar")]);
    assert_eq!(
        body_to(&hidden, &buttons, "t"),
        json!({
            "messaging_product": "whatsapp", "recipient_type": "individual",
            "recipient": "CO.123", "biz_opaque_callback_data": "t",
            "type": "interactive", "interactive": {
                "type": "button", "body": {"text": buttons.body},
                "action": {"buttons": [
                    {"type": "reply", "reply": {"id": "resend:1", "title": "Otra vez"}},
                    {"type": "reply", "reply": {"id": "cancel:1", "title": "Cancelar"}},
                ]},
            },
        })
    );
}

#[test]
fn a_link_is_sent_as_in_the_contract_to_numbers_and_to_bsuids() {
    let interactive = json!({
        "type": "cta_url", "body": {"text": "Entra aquí"},
        "action": {"name": "cta_url", "parameters": {"display_text": "Entrar", "url": SIGN_IN}},
    });
    let hidden = Recipient::Bsuid(Bsuid::parse("CO.123").unwrap());
    for (to, key, value) in [
        (number(), "to", "+16505551234"),
        (hidden, "recipient", "CO.123"),
    ] {
        assert_eq!(
            body_to(&to, &linked("Entra aquí", "Entrar"), "portero-7"),
            json!({
                "messaging_product": "whatsapp", "recipient_type": "individual",
                key: value, "biz_opaque_callback_data": "portero-7",
                "type": "interactive", "interactive": interactive,
            })
        );
    }
}

#[test]
fn a_link_message_fits_the_schema_with_the_branch_that_it_lacks() {
    let schema = include_str!("../../tests/fixtures/meta/send-message.schema.json");
    let mut schema: Value = serde_json::from_str(schema).unwrap();
    let body = body_to(&number(), &linked("Entra aquí", "Entrar"), "t");
    // The published file does not know links: section 3.2 is written into it.
    assert!(!fits(&body, &schema["$defs"]["Message"], &schema));
    let kinds = &mut schema["$defs"]["InteractiveObject"]["properties"]["type"]["enum"];
    kinds.as_array_mut().unwrap().push("cta_url".into());
    let actions = &mut schema["$defs"]["ActionObject"]["oneOf"];
    actions.as_array_mut().unwrap().push(json!({
        "required": ["name", "parameters"],
        "properties": {
            "name": {"enum": ["cta_url"]},
            "parameters": {
                "type": "object", "required": ["display_text", "url"],
                "properties": {
                    "display_text": {"type": "string", "minLength": 1, "maxLength": 20},
                    "url": {"type": "string", "minLength": 1},
                },
            },
        },
    }));
    let message = &schema["$defs"]["Message"];
    let longest = linked(&"ñ".repeat(1_024), &"ñ".repeat(20));
    for link in [linked("Entra aquí", "Entrar"), longest] {
        let body = body_to(&number(), &link, "t");
        assert!(fits(&body, message, &schema), "{body}");
    }
    let mut long = body.clone();
    long["interactive"]["body"]["text"] = "ñ".repeat(1_025).into();
    assert!(!fits(&long, message, &schema), "the body is looked at");
    let mut long = body;
    long["interactive"]["action"]["parameters"]["display_text"] = "ñ".repeat(21).into();
    assert!(!fits(&long, message, &schema), "the title is looked at");
}

#[test]
fn a_link_message_that_cannot_be_sent_reaches_nobody() {
    let mut unready = linked("x", "Entrar");
    unready.link.as_mut().unwrap().to = LinkTarget::SignIn(MappingId([7; 16]));
    let mut mixed = linked("x", "Entrar");
    mixed.buttons = message(&[("a", "A")]).buttons;
    let (url, requests) = serve_bytes(answer("200 OK", "application/json", ACCEPTED));
    let client = Client::with_timeout(&settings(&url), LONG).unwrap();
    for (unsendable, reason) in [
        (unready, "a link that leads nowhere yet"),
        (mixed, "a link and reply buttons in one message"),
        (
            linked(&"ñ".repeat(1_025), "Entrar"),
            "a message with a link is empty or too long",
        ),
        (
            linked("", "Entrar"),
            "a message with a link is empty or too long",
        ),
        (
            linked("x", &"ñ".repeat(21)),
            "the title of a link is empty or too long",
        ),
        (linked("x", ""), "the title of a link is empty or too long"),
    ] {
        let failure = client.send(&number(), &unsendable, "t").unwrap_err();
        assert_eq!(
            (failure.kind, failure.reason.as_str()),
            (FailureKind::Permanent, reason)
        );
        let told = format!("{failure:?} {unsendable:?} {:?}", unsendable.link);
        assert!(!told.contains("Geheim"), "{told}");
    }
    assert!(requests.try_recv().is_err(), "nothing has left");
    client.send(&number(), &linked("x", "y"), "t").unwrap();
}

#[test]
fn whatever_becomes_of_a_link_message_nobody_is_told_where_it_leads() {
    let quoting = json!({"error": {
        "code": 131009, "message": SIGN_IN, "fbtrace_id": "A1",
        "error_data": {"details": format!("url {SIGN_IN} is invalid")},
    }});
    for (status, body) in [
        ("400 Bad Request", quoting.to_string()),
        ("500 Internal Server Error", SIGN_IN.to_owned()),
        ("200 OK", SIGN_IN.to_owned()),
    ] {
        let (url, _requests) = serve_bytes(answer(status, "application/json", &body));
        let client = Client::with_timeout(&settings(&url), LONG).unwrap();
        let failure = client
            .send(&number(), &linked("x", "Entrar"), "t")
            .unwrap_err();
        let told = format!("{failure:?} {client:?}");
        assert!(!told.contains("Geheim"), "{told}");
    }
}

#[test]
fn bodies_fit_the_published_schema() {
    let schema = include_str!("../../tests/fixtures/meta/send-message.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let three = [("a", "A"), ("b", "B"), ("c", "C")];
    for buttons in [&[][..], &three[..1], &three] {
        let body = body_to(&number(), &message(buttons), "t");
        assert!(fits(&body, &schema["$defs"]["Message"], &schema), "{body}");
        // The schema is older than BSUIDs and asks for `to`.
        let mut hidden = body;
        hidden.as_object_mut().unwrap().remove("to");
        assert!(!fits(&hidden, &schema["$defs"]["Message"], &schema));
    }
    let four = [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")];
    let body = body_to(&number(), &message(&four), "t");
    assert!(!fits(&body, &schema["$defs"]["Message"], &schema));
    let body = body_to(
        &number(),
        &message(&[("a", "longer than twenty characters")]),
        "t",
    );
    assert!(!fits(&body, &schema["$defs"]["Message"], &schema));
}

/// The part of JSON Schema that the published file uses, without `additionalProperties`: the
/// file puts it beside `allOf`, where it would refuse every message.
fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let list = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/$defs/").unwrap();
        return fits(value, &root["$defs"][name], root);
    }
    let all_of = list("allOf").iter().all(|part| fits(value, part, root));
    let one_of = list("oneOf");
    let fitting = one_of.iter().filter(|part| fits(value, part, root)).count();
    let one_of = one_of.is_empty() || fitting == 1;
    let known = list("enum");
    let known = known.is_empty() || known.contains(value);
    let of_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("{other}"),
        None => true,
    };
    let within = |length: usize, least: &str, most: &str| {
        let bound = |key: &str, default| schema[key].as_u64().unwrap_or(default);
        (bound(least, 0)..=bound(most, u64::MAX)).contains(&(length as u64))
    };
    let inside = match value {
        Value::String(text) => within(text.chars().count(), "minLength", "maxLength"),
        Value::Array(elements) => {
            within(elements.len(), "minItems", "maxItems")
                && (schema["items"].is_null()
                    || elements.iter().all(|e| fits(e, &schema["items"], root)))
        }
        Value::Object(fields) => {
            let required = list("required");
            required
                .iter()
                .all(|key| fields.contains_key(key.as_str().unwrap()))
                && fields.iter().all(|(key, value)| {
                    let property = &schema["properties"][key];
                    property.is_null() || fits(value, property, root)
                })
        }
        _ => true,
    };
    all_of && one_of && known && of_type && inside
}

#[test]
fn an_accepted_message_has_metas_id_and_the_call_has_the_token() {
    let (url, requests) = serve_bytes(answer("200 OK", "application/json", ACCEPTED));
    // An old habit of configuration files: the trailing slash.
    assert_eq!(
        send_to(&format!("{url}/"), LONG).unwrap().as_str(),
        "wamid.1"
    );
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /v25.0/106540352242922/messages HTTP/1.1\r\n"));
    assert!(
        request.contains("authorization: Bearer EAAGgeheim\r\n"),
        "{request}"
    );
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, body_to(&number(), &message(&[]), "tag-1"));
}

#[test]
fn the_code_decides_and_not_the_status() {
    let failure = error_answered("500 Internal Server Error", json!({"code": 131026}));
    assert_eq!(failure.kind, FailureKind::Recipient);
    let failure = error_answered("200 OK", json!({"code": 190}));
    assert_eq!(failure.kind, FailureKind::Configuration);
    let failure = error_answered("400 Bad Request", json!({"code": "130429"}));
    assert_eq!(failure.kind, too_fast(None));
    let failure = error_answered("400 Bad Request", json!({"code": 100, "error_subcode": 33}));
    assert_eq!(failure.kind, FailureKind::Configuration);
    assert!(failure.reason.starts_with("33 "), "{}", failure.reason);
}

#[test]
fn an_unknown_code_is_judged_by_its_status() {
    let kind = |status| error_answered(status, json!({"code": 999_999})).kind;
    assert_eq!(kind("400 Bad Request"), FailureKind::Permanent);
    assert_eq!(kind("401 Unauthorized"), FailureKind::Configuration);
    assert_eq!(kind("403 Forbidden"), FailureKind::Configuration);
    assert_eq!(kind("429 Too Many Requests"), too_fast(None));
    assert_eq!(kind("500 Internal Server Error"), SOON);
    let without = error_answered("503 Service Unavailable", json!({"message": "x"}));
    assert_eq!(without.kind, SOON);
}

#[test]
fn a_failure_names_the_trace_and_nothing_that_meta_quotes() {
    let failure = error_answered(
        "401 Unauthorized",
        json!({"message": format!("Error validating {TOKEN} for +16505551234"), "type": "OAuthException",
               "code": 190, "error_data": {"details": "+16505551234"}, "fbtrace_id": "AbC_1-2"}),
    );
    assert_eq!(
        failure.reason,
        "190 access token expired or revoked (trace AbC_1-2)"
    );
    let odd = error_answered("400 Bad Request", json!({"code": 2, "fbtrace_id": "a\nb"}));
    assert_eq!(odd.reason, "2 temporary error at Meta");
}

#[test]
fn a_pause_that_meta_asks_for_is_kept() {
    let pause = |code: u32, header: &str| {
        let body = json!({"error": {"code": code}}).to_string();
        let (url, _requests) = serve_bytes(format!(
            "HTTP/1.1 400 Bad Request\r\nretry-after: {header}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        send_to(&url, LONG).unwrap_err().kind
    };
    let wait = |ms| FailureKind::Temporary {
        retry_after_ms: Some(ms),
    };
    let throttled = |pause_ms| FailureKind::Throttled { pause_ms };
    assert_eq!(pause(130429, "7"), throttled(7_000));
    assert_eq!(pause(130429, "soon"), throttled(1_000));
    assert_eq!(pause(131056, "7"), wait(7_000));
    assert_eq!(pause(4, "7"), throttled(60_000), "the longer of both");
    assert_eq!(pause(2, "999999999"), wait(crate::http::RETRY_AFTER_MS_MAX));
    assert_eq!(pause(131026, "7"), FailureKind::Recipient);
}

/// R-21.
#[test]
fn whoever_answers_in_metas_place_may_have_passed_it_on() {
    let html = "<html>Bad Gateway</html>";
    for (status, kind, advised) in [
        // It may have been passed on: its status has to be waited for.
        ("500 Internal Server Error", FailureKind::Unknown, false),
        ("502 Bad Gateway", FailureKind::Unknown, false),
        ("504 Gateway Timeout", FailureKind::Unknown, false),
        ("503 Unavailable", SOON, false),
        ("429 Too Many Requests", too_fast(None), false),
        ("404 Not Found", SOON, true),
        ("407 Proxy", SOON, true),
        ("302 Found", SOON, true),
    ] {
        let failure = send_answered(status, "text/html", html).unwrap_err();
        assert_eq!(failure.kind, kind, "{status}");
        assert_eq!(failure.advice.is_some(), advised, "{status}");
    }
}

#[test]
fn success_without_a_message_id_is_of_unknown_fate() {
    for body in [
        "",
        "<html>ok</html>",
        "{}",
        "[]",
        "7",
        r#"{"messages":[]}"#,
        r#"{"messages":[{"id":""}]}"#,
        r#"{"messages":{"id":"wamid.1"}}"#,
        r#"{"error":"x"}"#,
    ] {
        let failure = send_answered("200 OK", "application/json", body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{body}");
    }
}

#[test]
fn what_breaks_after_the_request_left_is_of_unknown_fate() {
    let (hanging, _requests) = serve(|_, _| std::thread::park());
    let (resetting, _requests) = serve(|_, stream| {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let (dripping, _requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
        while stream.write_all(b"{").is_ok() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let (endless, _requests) = serve(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n");
        while stream.write_all(&[b' '; 65_536]).is_ok() {}
    });
    for (url, timeout) in [
        (hanging, SHORT),
        (resetting, LONG),
        (dripping, SHORT),
        (endless, LONG),
    ] {
        let failure = send_to(&url, timeout).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{failure:?}");
        assert!(!format!("{failure:?}").contains(TOKEN));
    }
}

#[test]
fn without_a_connection_it_is_known_not_to_have_arrived_and_everything_waits() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = send_to(&url, LONG).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(
        failure.reason.starts_with("Meta gave no answer: "),
        "{failure:?}"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_without_being_quoted() {
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings("https://graph.facebook.com");
        change(&mut settings);
        let sentence = Client::new(&settings).unwrap_err();
        assert!(!sentence.contains("geheim"), "{sentence}");
    };
    refused(&|s| s.api_url = "http://graph.facebook.com".to_owned());
    refused(&|s| s.api_url = "graph.facebook.com".to_owned());
    refused(&|s| s.access_token = Secret::new(""));
    refused(&|s| s.access_token = Secret::new("geheim\n"));
    refused(&|s| s.access_token = Secret::new("Bearer geheim"));
    for version in ["", "25.0", "v25", "v25.", "v25.0/x", "v.0", "latest"] {
        refused(&|s| s.api_version = version.to_owned());
    }
    refused(&|s| s.ca_pem = Some(b"geheim".to_vec()));
    let client = Client::new(&settings("https://graph.facebook.com")).unwrap();
    assert_eq!(
        format!("{client:?}"),
        "Client(Endpoint(graph.facebook.com))"
    );
}

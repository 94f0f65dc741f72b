//! Meta's door and the routes beside it, through the real program (S-01 to S-09, S-39, S-47, R-13).

use crate::house::other_than;
use crate::outside::{
    ANA, APP_SECRET, Answer, CANCELLED, Message, Mood, NOT_SIGNED_IN, OLD_APP_SECRET,
    PHONE_NUMBER_ID, PUBLIC_HOST, Portero, STORE_KEY, Sent, VERIFY_TOKEN, WELCOME, World, ask,
    ask_on, envelope, eventually, hex, hmac_sha256, message, post_webhook, signature, status,
    status_of, tap, text, unix_seconds, webhook,
};
use serde_json::{Value, json};
use std::fs;
use std::net::TcpStream;
use std::path::Path;

/// A webhook with exactly these signature headers.
fn post_signed(portero: &Portero, body: &[u8], signatures: &[&str]) -> Answer {
    let headers: Vec<(&str, &str)> = signatures
        .iter()
        .map(|value| ("X-Hub-Signature-256", *value))
        .collect();
    ask(portero.address, "POST", "/webhook", &headers, body).unwrap()
}

/// S-01.
#[test]
fn whoever_cannot_sign_changes_nothing_and_learns_nothing() {
    let world = World::without_mail();
    let portero = world.start();
    let wa_id = "573001234567";
    let body = webhook(&[text(wa_id, "quién soy")]);
    let good = signature(APP_SECRET, &body);
    let digits = good.strip_prefix("sha256=").unwrap();
    let mut one_bit_off = body.clone();
    *one_bit_off.last_mut().unwrap() ^= 1;
    let short = format!("sha256={}", &digits[..63]);
    let long = format!("sha256={digits}0");
    let upper = format!("sha256={}", digits.to_uppercase());
    let sha1 = format!("sha1={digits}");
    let algorithm = format!("SHA256={digits}");
    let quoted = format!("\"{good}\"");
    let listed = format!("{good}, {good}");
    let spaced = format!("sha256= {digits}");
    let other = signature("0123456789abcdef0123456789abcdef", &body);
    let by_token = signature(VERIFY_TOKEN, &body);
    let by_key = signature(STORE_KEY, &body);
    let unkeyed = signature("", &body);
    let of_digest = format!("sha256={}", hex(&hmac_sha256(digits.as_bytes(), &body)));
    let bad = signature("bad", &body);
    let variants: [(&str, &[u8], &[&str]); 21] = [
        ("none", &body, &[]),
        ("empty", &body, &[""]),
        ("sha1", &body, &[&sha1]),
        ("63 digits", &body, &[&short]),
        ("65 digits", &body, &[&long]),
        ("upper case", &body, &[&upper]),
        ("the algorithm in upper case", &body, &[&algorithm]),
        ("no algorithm", &body, &[digits]),
        ("quoted", &body, &[&quoted]),
        ("a list", &body, &[&listed]),
        ("a space within", &body, &[&spaced]),
        ("good and bad", &body, &[&good, &bad]),
        ("bad and good", &body, &[&bad, &good]),
        ("twice good", &body, &[&good, &good]),
        ("one bit off", &one_bit_off, &[&good]),
        ("another secret", &body, &[&other]),
        ("the verify token", &body, &[&by_token]),
        ("the store key", &body, &[&by_key]),
        ("an empty secret", &body, &[&unkeyed]),
        ("something else", &body, &[&of_digest]),
        ("an empty body", b"", &[&good]),
    ];
    for (name, body, signatures) in variants {
        let answer = post_signed(&portero, body, signatures);
        assert_eq!((answer.status, answer.body.as_str()), (401, ""), "{name}");
    }
    // Nothing was begun that could be cancelled.
    portero.receive(&[text(wa_id, "cancelar")]);
    // The very same message is still new, and the secret before the change is good, too.
    let old = signature(OLD_APP_SECRET, &body);
    assert_eq!(post_signed(&portero, &body, &[&old]).status, 200);
    assert_eq!(post_signed(&portero, &body, &[&good]).status, 200);
    portero.receive(&[text(wa_id, "cancelar")]);
    world
        .graph
        .assert_received(wa_id, &[WELCOME, NOT_SIGNED_IN, CANCELLED]);
}

/// S-01b: the signature is of the bytes, whatever way of writing JSON they are.
#[test]
fn every_way_of_writing_the_same_json_is_read() {
    let world = World::without_mail();
    let portero = world.start();
    let plain =
        String::from_utf8(webhook(&[text("573002000000", "¿sí? 👍 a/b ana@x.es")])).unwrap();
    let escaped: String = plain
        .encode_utf16()
        .map(|unit| match char::from_u32(u32::from(unit)) {
            Some(c) if c.is_ascii() => c.to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    let cases = [
        ("plain", plain.clone()),
        ("escaped", escaped.clone()),
        (
            "slashes",
            escaped.replace('/', "\\/").replace('@', "\\u0040"),
        ),
        ("line ends", plain.replace(",\"", ",\r\n\t\"")),
        ("a line end after it", format!("{plain}\n")),
        ("a byte order mark", format!("\u{feff}{plain}")),
    ];
    for (number, (name, body)) in cases.into_iter().enumerate() {
        let wa_id = format!("57300200000{number}");
        // Another person, another message, the same form.
        let body = body
            .replace("573002000000", &wa_id)
            .replace("HBgLIN", &format!("HBgLCASE{number}"));
        assert_eq!(portero.post_webhook(body.as_bytes()).status, 200, "{name}");
        world.graph.reply(&wa_id, 1);
    }
    // What Meta calls the payload may be the escaped form of what is on the wire.
    let on_the_wire = webhook(&[text("573002000009", "¿sí? 👍")]);
    let signed: String = String::from_utf8(on_the_wire.clone())
        .unwrap()
        .encode_utf16()
        .map(|unit| match char::from_u32(u32::from(unit)) {
            Some(c) if c.is_ascii() => c.to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    let by_form = signature(APP_SECRET, signed.as_bytes());
    assert_eq!(post_signed(&portero, &on_the_wire, &[&by_form]).status, 200);
    world.graph.reply("573002000009", 1);
}

/// S-03.
#[test]
fn one_webhook_a_thousand_times_at_once_has_one_effect() {
    const CONNECTIONS: usize = 50;
    const EACH: usize = 20;
    let world = World::without_mail();
    let portero = world.start();
    let wa_id = "573001234567";
    let body = webhook(&[text(wa_id, "quién soy")]);
    let signed = signature(APP_SECRET, &body);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let stream = TcpStream::connect(portero.address).unwrap();
                for _ in 0..EACH {
                    let headers = [("X-Hub-Signature-256", signed.as_str())];
                    let answer = ask_on(&stream, "POST", "/webhook/", &headers, &body).unwrap();
                    assert_eq!(answer.status, 200);
                }
            });
        }
    });
    portero.receive(&[text(wa_id, "cancelar")]);
    world
        .graph
        .assert_received(wa_id, &[NOT_SIGNED_IN, CANCELLED]);
}

/// S-04, S-07: the right code in the wrong way is no code.
#[test]
fn a_code_counts_only_as_a_direct_message_typed_in_time() {
    let mut world = World::with_mail(json!({}));
    let portero = world.start();
    let wa_id = "573001234567";
    portero.receive(&[text(wa_id, ANA.email)]);
    let letter = world.mail().letter_to(ANA.email);
    let code = letter.code();
    let typed = json!({"body": code});
    let aged = |seconds: u64| (unix_seconds() - seconds).to_string();
    let reply = |kind: &str| json!({"type": "interactive", "interactive": {"type": kind, kind: {"id": code, "title": code}}});
    let forwarded = json!({"type": "text", "text": typed, "context": {"forwarded": true}});
    let often = json!({"type": "text", "text": typed, "context": {"frequently_forwarded": true}});
    let wrong_ways = [
        json!({"type": "text", "text": typed, "group_id": "Y2FwaV9ncm91cA"}),
        json!({"type": "image", "image": {"id": "1", "mime_type": "image/jpeg", "caption": code}}),
        json!({"type": "document", "document": {"id": "1", "filename": code, "caption": code}}),
        json!({"type": "button", "button": {"payload": code, "text": code}}),
        reply("button_reply"),
        reply("list_reply"),
        json!({"type": "edit", "edit": {"original_message_id": "wamid.x",
            "message": {"type": "text", "text": typed}}}),
        json!({"type": "unsupported", "errors": [{"code": 131051, "title": code}]}),
        json!({"type": "contacts", "contacts": [{"name": {"formatted_name": code}}]}),
        json!({"type": "text", "text": typed, "timestamp": aged(10 * 86_400)}),
        json!({"type": "text", "text": typed, "timestamp": aged(8 * 86_400)}),
        json!({"type": "text", "text": typed, "timestamp": aged(3 * 3_600)}),
        json!({"type": "text", "text": typed, "timestamp": aged(601)}),
        json!({"type": "text", "text": typed, "timestamp": "never"}),
        forwarded.clone(),
        often,
    ];
    for way in wrong_ways {
        portero.receive(&[message(wa_id, way)]);
    }
    // Two forwarded ones were tries; a wrong code makes three of five.
    let wrong = other_than(&code);
    portero.receive(&[text(wa_id, &wrong)]);
    portero.receive(&[text(wa_id, &code)]);
    let signed_in = |sent: &Sent| sent.body.starts_with("Entraste como Ana Pérez");
    eventually("the sign-in", || {
        world
            .graph
            .sent_to(wa_id)
            .last()
            .filter(|sent| signed_in(sent))
            .map(|_| ())
    });
    let bodies: Vec<String> = world
        .graph
        .sent_to(wa_id)
        .into_iter()
        .map(|sent| sent.body)
        .collect();
    let place = bodies.len() - 2;
    let left_two = "Código equivocado. Te quedan 2";
    assert!(bodies[place].starts_with(left_two), "{bodies:#?}");
    // Whoever forwards a code is told; the rest may pass as words of the same breath.
    let told = |body: &String| body.starts_with("Reenviado no vale.");
    assert!(bodies[..place].iter().any(told), "{bodies:#?}");
    // S-04: the same code again, and the same message again, do nothing.
    portero.receive(&[text(wa_id, "cerrar sesión")]);
    portero.receive(&[text(wa_id, &code)]);
    let after = world.graph.reply(wa_id, bodies.len() + 2);
    assert!(after.body.starts_with(WELCOME), "{}", after.body);
}

/// S-06, and what Meta's dashboard sends at the press of *Test*.
#[test]
fn messages_for_another_number_are_acknowledged_and_left_alone() {
    let world = World::without_mail();
    let portero = world.start();
    let wa_id = "573001234567";
    for other in ["123456123", "", "1065403522429220"] {
        let body = String::from_utf8(webhook(&[text(wa_id, "quién soy")])).unwrap();
        let body = body.replace(PHONE_NUMBER_ID, other);
        assert_eq!(portero.post_webhook(body.as_bytes()).status, 200);
    }
    // Nothing was begun that could be cancelled.
    portero.receive(&[text(wa_id, "cancelar")]);
    portero.receive(&[text(wa_id, "cancelar")]);
    world.graph.assert_received(wa_id, &[WELCOME, CANCELLED]);
}

/// S-08.
#[test]
fn the_handshake_answers_meta_and_nobody_else() {
    let world = World::without_mail();
    let portero = world.start();
    let get = |query: String| portero.get(&format!("/webhook{query}"));
    let asked = |token: &str, challenge: &str| {
        get(format!(
            "?hub.mode=subscribe&hub.challenge={challenge}&hub.verify_token={token}"
        ))
    };
    let answer = asked(VERIFY_TOKEN, "1158201444");
    assert_eq!((answer.status, answer.body.as_str()), (200, "1158201444"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(asked(VERIFY_TOKEN, &"a".repeat(128)).status, 200);
    let with_slash =
        format!("/?hub.mode=subscribe&hub.challenge=7&hub.verify_token={VERIFY_TOKEN}");
    assert_eq!(get(with_slash).body, "7");
    for token in [
        "",
        "tomillo",
        "tomillo-y-romero%00",
        "TOMILLO-Y-ROMERO",
        APP_SECRET,
    ] {
        let answer = asked(token, "1158201444");
        assert_eq!(answer.status, 403, "{token}");
        assert!(!answer.body.contains("1158201444"), "{token}");
    }
    for challenge in [
        "",
        "%3Csvg%20onload%3Dalert(1)%3E",
        "a%20b",
        "a%0d%0aX:1",
        &"a".repeat(129),
        "%C3%A1",
    ] {
        assert_eq!(asked(VERIFY_TOKEN, challenge).status, 400, "{challenge}");
    }
    assert_eq!(
        get(format!("?hub.challenge=1&hub.verify_token={VERIFY_TOKEN}")).status,
        400
    );
    assert_eq!(
        get(format!(
            "?hub.mode=unsubscribe&hub.challenge=1&hub.verify_token={VERIFY_TOKEN}"
        ))
        .status,
        400
    );
    assert_eq!(get(String::new()).status, 403);
}

/// S-09, R-13: the largest batch that Meta sends, with one spoilt element in its middle.
#[test]
fn a_batch_of_a_thousand_takes_effect_whole_whatever_one_element_is() {
    const COUNT: usize = 1_000;
    let world = World::without_mail();
    let portero = world.start();
    let people: Vec<String> = (0..COUNT)
        .map(|number| format!("5730030{number:05}"))
        .collect();
    // What people write after a tap on an advertisement comes with its text.
    let advertisement = json!({"source_type": "ad", "body": "pan ".repeat(650)});
    let mut messages: Vec<Message> = people
        .iter()
        .map(|wa_id| {
            let mut message = text(wa_id, "quién soy");
            message.value["referral"] = advertisement.clone();
            message
        })
        .collect();
    messages[500].value = json!({"type": 5, "text": [null, {}], "id": {"a": 1}, "from": false});
    let body = webhook(&messages);
    assert!(
        (2_800_000..3_200_000).contains(&body.len()),
        "{}",
        body.len()
    );
    assert_eq!(portero.post_webhook(&body).status, 200);
    assert_eq!(portero.post_webhook(&body).status, 200);
    let ends: Vec<Message> = people.iter().map(|wa_id| text(wa_id, "cancelar")).collect();
    portero.receive(&ends);
    eventually("every answer", || {
        (world.graph.count() >= 2 * COUNT - 1).then_some(())
    });
    let sent = world.graph.sent();
    for (number, wa_id) in people.iter().enumerate() {
        let to = format!("+{wa_id}");
        let mut theirs = sent.iter().filter(|sent| sent.to == to);
        let bodies: Vec<&str> = theirs.by_ref().map(|sent| sent.body.as_str()).collect();
        // The one whose message was spoilt says *cancel* as the first thing that is understood.
        let expected: &[&str] = if number == 500 {
            &[WELCOME]
        } else {
            &[NOT_SIGNED_IN, CANCELLED]
        };
        let good = bodies.len() == expected.len()
            && bodies
                .iter()
                .zip(expected)
                .all(|(body, begin)| body.starts_with(begin));
        assert!(good, "{wa_id}: {bodies:#?}");
    }
}

/// S-09: large bodies are for this route only.
#[test]
fn each_route_has_its_own_limit_for_bodies() {
    const MEBIBYTE: usize = 1024 * 1024;
    let world = World::without_mail();
    let portero = world.start();
    let size = |method: &str, path: &str, bytes: usize| {
        let body = vec![b' '; bytes];
        let signed = signature(APP_SECRET, &body);
        let headers = [("X-Hub-Signature-256", signed.as_str())];
        ask(portero.address, method, path, &headers, &body)
            .unwrap()
            .status
    };
    assert_eq!(size("POST", "/webhook", 4 * MEBIBYTE), 200);
    assert_eq!(size("POST", "/webhook/", 4 * MEBIBYTE), 200);
    assert_eq!(size("POST", "/%77ebhook", 4 * MEBIBYTE), 200);
    assert_eq!(size("POST", "/webhook", 4 * MEBIBYTE + 1), 413);
    for (method, path, status) in [
        ("PUT", "/webhook", 405),
        ("POST", "/webhooks", 404),
        ("POST", "/healthz", 405),
        ("POST", "/", 404),
    ] {
        assert_eq!(size(method, path, 64 * 1024), status, "{method} {path}");
        assert_eq!(size(method, path, 64 * 1024 + 1), 413, "{method} {path}");
    }
    // A length that nobody can mean costs nothing, on any route (S-70).
    for length in [
        "40000000000",
        "9223372036854775807",
        "18446744073709551615",
        "99999999999999999999999",
    ] {
        for path in ["/", "/webhook", "/readyz"] {
            let stream = TcpStream::connect(portero.address).unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nContent-Length: {length}\r\n\r\n"
            );
            std::io::Write::write_all(&mut &stream, head.as_bytes()).unwrap();
            let answer = crate::outside::read_answer(&stream, "POST")
                .unwrap()
                .unwrap();
            assert!(
                matches!(answer.status, 400 | 413),
                "{length} {path}: {}",
                answer.status
            );
        }
    }
    assert_eq!(portero.get("/readyz").status, 200);
}

/// Whatever is signed is acknowledged: anything else would be sent again for seven days.
#[test]
fn every_published_body_and_every_odd_one_is_acknowledged() {
    let world = World::without_mail();
    let portero = world.start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/meta");
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.ends_with(".json") || name.ends_with(".schema.json") {
            continue;
        }
        count += 1;
        let published = fs::read(&path).unwrap();
        assert_eq!(portero.post_webhook(&published).status, 200, "{name}");
        // The same as if it came now, from somebody new.
        let mut fresh: Value = serde_json::from_slice(&published).unwrap();
        refresh(&mut fresh, &format!("1650556{count:04}"));
        let answer = portero.post_webhook(fresh.to_string().as_bytes());
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{name}");
    }
    assert!(count >= 15, "{count}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let odd = [
        "".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "{\"object\":\"page\",\"entry\":[{}]}".to_owned(),
        "{\"object\":\"whatsapp_business_account\",\"entry\":{}}".to_owned(),
        "not JSON \u{0}".to_owned(),
        "{\"entry\":[{\"changes\":[{\"field\":\"messages\",\"value\":1e999999}]}]}".to_owned(),
        "{\"entry\":1,\"entry\":2}".to_owned(),
        deep.clone(),
        format!("{{\"object\":\"whatsapp_business_account\",\"entry\":{deep}}}"),
        format!("{{\"entry\":[{}1]}}", "1,".repeat(1_000_000)),
        String::from_utf8(envelope(json!({"messages": [], "new_things": {"a": [1]}}))).unwrap(),
        String::from_utf8(envelope(json!({"group_participants_update": {}}))).unwrap(),
    ];
    for body in &odd {
        let name = &body[..body.len().min(60)];
        assert_eq!(portero.post_webhook(body.as_bytes()).status, 200, "{name}");
    }
    assert_eq!(portero.post_webhook(b"\xff\xfe{}").status, 200);

    // A message with fields that nobody has heard of is a message.
    let wa_id = "573001234567";
    let mut message = text(wa_id, "hola");
    message.value["mood"] = json!({"happy": true, "since": [1, 2.5, null]});
    message.value["text"]["fonts"] = json!(["serif"]);
    let mut body: Value = serde_json::from_slice(&webhook(&[message])).unwrap();
    body["version"] = json!(27);
    body["entry"][0]["changes"][0]["value"]["contacts"][0]["profile"] = Value::Null;
    assert_eq!(
        portero.post_webhook(body.to_string().as_bytes()).status,
        200
    );
    world.graph.assert_received(wa_id, &[WELCOME]);
}

/// Gives every message of a published body a time of now, a sender and ids of its own.
fn refresh(value: &mut Value, wa_id: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "timestamp" => *value = json!(unix_seconds().to_string()),
                    "from" | "wa_id" => *value = json!(wa_id),
                    "id" if value.as_str().is_some_and(|id| id.starts_with("wamid.")) => {
                        *value = json!(format!("wamid.FRESH{wa_id}"));
                    }
                    _ => refresh(value, wa_id),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| refresh(value, wa_id)),
        _ => {}
    }
}

/// Meta promises no order, and repeats.
#[test]
fn statuses_in_any_order_disturb_nobody() {
    let world = World::without_mail();
    let portero = world.start();
    let wa_id = "573001234567";
    portero.receive(&[text(wa_id, "hola")]);
    let sent = world.graph.reply(wa_id, 1);
    let names = [
        "read",
        "delivered",
        "sent",
        "played",
        "deleted",
        "failed",
        "sent",
        "read",
        "",
        "failed",
    ];
    for name in names {
        assert_eq!(
            portero.post_webhook(&status(&sent, name)).status,
            200,
            "{name}"
        );
    }
    // A message of the bot's, one that nobody sent, and many at once.
    let foreign = Sent {
        id: "wamid.HBgLBOT".to_owned(),
        tag: "portero-ffffffffffffffff".to_owned(),
        ..sent.clone()
    };
    assert_eq!(
        portero.post_webhook(&status(&foreign, "delivered")).status,
        200
    );
    let many: Vec<Value> = names.iter().map(|name| status_of(&sent, name)).collect();
    assert_eq!(
        portero
            .post_webhook(&envelope(json!({"statuses": many})))
            .status,
        200
    );
    portero.receive(&[text(wa_id, "cancelar")]);
    world.graph.assert_received(wa_id, &[WELCOME, CANCELLED]);
}

/// S-47, S-39 and the envelope of errors: every route and every status.
#[test]
fn every_answer_carries_the_headers_and_every_error_its_key() {
    const HEADERS: [(&str, &str); 6] = [
        ("cache-control", "no-store"),
        (
            "content-security-policy",
            "default-src 'none'; frame-ancestors 'none'",
        ),
        ("cross-origin-opener-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=()",
        ),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
    ];
    let world = World::without_mail();
    let portero = world.start();
    let handshake =
        format!("/webhook?hub.mode=subscribe&hub.verify_token={VERIFY_TOKEN}&hub.challenge=");
    let (good, malformed) = (format!("{handshake}1"), format!("{handshake}%3C"));
    let long = format!("/{}", "a".repeat(17_000));
    let large = vec![b' '; 64 * 1024 + 1];
    let unknown = [("Host", "evil.example")];
    let port = [("Host", "portero.example.com:8443")];
    let upper = [("Host", "PORTERO.EXAMPLE.COM")];
    let local = [("Host", "localhost")];
    let forwarded = [
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example"),
    ];
    let encoded = [("Transfer-Encoding", "chunked")];
    // Method, target, headers, body, status, key of the envelope.
    type Row<'r> = (
        &'r str,
        &'r str,
        &'r [(&'r str, &'r str)],
        &'r [u8],
        u16,
        Option<&'r str>,
    );
    let rows: [Row<'_>; 32] = [
        ("GET", "/healthz", &[], b"", 200, None),
        ("GET", "/healthz/", &[], b"", 200, None),
        ("HEAD", "/healthz", &[], b"", 200, None),
        ("GET", "/readyz", &[], b"", 200, None),
        ("GET", "/readyz/", &[], b"", 200, None),
        ("HEAD", "/readyz", &[], b"", 200, None),
        ("GET", &good, &[], b"", 200, None),
        ("HEAD", &good, &[], b"", 200, None),
        (
            "GET",
            &malformed,
            &[],
            b"",
            400,
            Some("MALFORMED_HANDSHAKE"),
        ),
        ("GET", "/webhook", &[], b"", 403, Some("WRONG_VERIFY_TOKEN")),
        (
            "GET",
            "/webhook/",
            &[],
            b"",
            403,
            Some("WRONG_VERIFY_TOKEN"),
        ),
        ("HEAD", "/webhook", &[], b"", 403, None),
        ("POST", "/webhook", &[], b"{}", 401, None),
        ("POST", "/webhook/", &[], b"{}", 401, None),
        (
            "DELETE",
            "/webhook",
            &[],
            b"",
            405,
            Some("METHOD_NOT_ALLOWED"),
        ),
        (
            "PUT",
            "/webhook/",
            &[],
            b"{}",
            405,
            Some("METHOD_NOT_ALLOWED"),
        ),
        (
            "POST",
            "/healthz",
            &[],
            b"{}",
            405,
            Some("METHOD_NOT_ALLOWED"),
        ),
        (
            "OPTIONS",
            "/readyz",
            &[],
            b"",
            405,
            Some("METHOD_NOT_ALLOWED"),
        ),
        ("BREW", "/readyz", &[], b"", 405, Some("METHOD_NOT_ALLOWED")),
        ("GET", "/", &[], b"", 404, Some("NOT_FOUND")),
        ("GET", "/healthz//", &[], b"", 404, Some("NOT_FOUND")),
        ("GET", "//webhook", &[], b"", 404, Some("NOT_FOUND")),
        (
            "GET",
            "/healthz/../webhook",
            &[],
            b"",
            404,
            Some("NOT_FOUND"),
        ),
        ("GET", "/WEBHOOK", &[], b"", 404, Some("NOT_FOUND")),
        ("HEAD", "/nothing", &[], b"", 404, None),
        ("GET", "/healthz", &port, b"", 200, None),
        ("GET", "/healthz", &upper, b"", 200, None),
        ("GET", "/healthz", &local, b"", 200, None),
        ("GET", "/healthz", &forwarded, b"", 200, None),
        ("GET", "/healthz", &unknown, b"", 421, Some("HOST_UNKNOWN")),
        ("POST", "/healthz", &[], &large, 413, Some("BODY_TOO_LONG")),
        ("GET", &long, &[], b"", 431, Some("HEAD_TOO_LONG")),
    ];
    let check = |name: &str, answer: &Answer| {
        for (header, value) in HEADERS {
            let values: Vec<&str> = answer
                .headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(header))
                .map(|(_, value)| value.as_str())
                .collect();
            assert_eq!(values, [value], "{name}: {header}");
        }
        let transport = answer.header("strict-transport-security");
        let seconds = transport.and_then(|value| value.strip_prefix("max-age=")?.parse().ok());
        assert!(seconds >= Some(365 * 86_400_u64), "{name}: {transport:?}");
        assert_eq!(answer.header("server"), None, "{name}");
        assert!(!answer.body.contains("evil"), "{name}: {}", answer.body);
    };
    for (method, target, headers, body, status, key) in rows {
        let name = format!("{method} {} {headers:?}", &target[..target.len().min(40)]);
        let answer = ask(portero.address, method, target, headers, body).unwrap();
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        check(&name, &answer);
        if method == "HEAD" {
            // The same head as the GET, and no body.
            assert_eq!(answer.body, "", "{name}");
            let get = ask(portero.address, "GET", target, headers, body).unwrap();
            assert_eq!(
                answer.header("content-length"),
                get.header("content-length"),
                "{name}"
            );
        }
        if let Some(key) = key {
            let envelope = answer.json();
            assert_eq!(envelope["error"]["key"], key, "{name}");
            assert!(envelope["error"]["message"].is_string(), "{name}");
            assert_eq!(envelope["error"]["details"], json!({}), "{name}");
            assert_eq!(envelope.as_object().unwrap().len(), 1, "{name}");
            let kind = answer.header("content-type");
            assert!(
                kind.is_some_and(|kind| kind.starts_with("application/json")),
                "{name}"
            );
        }
        if status == 405 {
            let expected = if target.starts_with("/webhook") {
                "GET, POST"
            } else {
                "GET"
            };
            assert_eq!(answer.header("allow"), Some(expected), "{name}");
        }
    }
    let answer = ask(portero.address, "POST", "/webhook", &encoded, b"").unwrap();
    assert!(matches!(answer.status, 400 | 501), "{}", answer.status);
    check("Transfer-Encoding", &answer);
    let signed = post_webhook(portero.address, b"{}").unwrap();
    assert_eq!((signed.status, signed.body.as_str()), (200, ""));
    check("a signed webhook", &signed);
}

/// The health endpoints tell a supervisor what it needs, and an operator what rests and why.
#[test]
fn readiness_names_a_lane_that_rests_and_forgets_it_when_it_works_again() {
    let world = World::without_mail();
    let portero = world.start();
    assert_eq!(portero.get("/healthz").body, "alive\n");
    assert_eq!(
        portero.get("/readyz").json(),
        json!({"ready": true, "troubles": []})
    );
    world.graph.next(&[Mood::Refuse(401, 190)]);
    portero.receive(&[text("573001234567", "hola")]);
    let troubles = eventually("the lane rests", || {
        let answer = portero.get("/readyz");
        // What is received can be kept, so the supervisor has nothing to restart.
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["ready"], true);
        let troubles = answer.json()["troubles"].clone();
        (troubles != json!([])).then_some(troubles)
    });
    let [trouble] = troubles.as_array().unwrap().as_slice() else {
        panic!("{troubles}");
    };
    let trouble = trouble.as_str().unwrap();
    assert!(
        trouble.starts_with("sending by whatsapp is paused: 190 "),
        "{trouble}"
    );
    assert!(!trouble.contains("573001234567"), "{trouble}");
    world.graph.reply("573001234567", 1);
    eventually("the lane works", || {
        (portero.get("/readyz").json()["troubles"] == json!([])).then_some(())
    });
}

/// A button of an earlier question, and one that nobody made.
#[test]
fn buttons_are_untrusted_input() {
    let mut world = World::with_mail(json!({}));
    let portero = world.start();
    let (ana, other) = ("573001234567", "573007654321");
    portero.receive(&[text(ana, ANA.email), text(other, "hola")]);
    let question = world.graph.reply(ana, 1);
    let (cancel, title) = question.buttons.last().unwrap().clone();
    world.graph.reply(other, 1);
    world.mail().letter_to(ANA.email);
    // Somebody else taps Ana's button; then made-up ones; then she does, twice.
    portero.receive(&[tap(other, &cancel, &title)]);
    for id in [
        "portero:cancel:",
        "portero:yes:0",
        "portero:nonsense:1",
        "x",
        &"y".repeat(5_000),
    ] {
        portero.receive(&[tap(ana, id, "Cancelar")]);
    }
    portero.receive(&[tap(ana, &cancel, &title)]);
    eventually("it is cancelled", || {
        world
            .graph
            .sent_to(ana)
            .last()
            .filter(|sent| sent.body.starts_with(CANCELLED))
            .map(|_| ())
    });
    let old = world.graph.reply(other, 2);
    assert!(old.body.starts_with("Botón viejo."), "{}", old.body);
}

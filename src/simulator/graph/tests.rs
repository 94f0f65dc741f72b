//! Tests of `graph`.

#![allow(clippy::unwrap_used)]
use super::super::cast::{ANA, LUCIA};
use super::*;

fn to_ana(own: Value) -> Value {
    let mut body = json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "+573001234567",
    });
    for (key, value) in own.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn with_buttons(buttons: Value) -> Value {
    to_ana(json!({"type": "interactive", "interactive": {
        "type": "button", "body": {"text": "x"}, "action": {"buttons": buttons},
    }}))
}

fn reply(id: &str, title: &str) -> Value {
    json!({"type": "reply", "reply": {"id": id, "title": title}})
}

#[test]
fn what_the_contract_forbids_is_refused_with_metas_code() {
    let hello = json!({"type": "text", "text": {"body": "hola"}});
    let to = |to: &str| {
        let mut body = to_ana(hello.clone());
        body["to"] = to.into();
        body
    };
    let table = [
        (to("573001234567"), 100, "without +"),
        (to("CO.13491208655302741918"), 100, "a BSUID in to"),
        (to("+13491208655302741918"), 131030, "a stranger"),
        (to_ana(json!({"text": {"body": ""}})), 131009, "empty"),
        (
            to_ana(json!({"text": {"body": "x".repeat(4_097)}})),
            131009,
            "long",
        ),
        (to_ana(json!({"text": {}})), 131008, "no body"),
        (to_ana(json!({"type": "template"})), 131051, "template"),
        (
            to_ana(json!({"text": {"body": "x"}, "recipient_type": "group"})),
            100,
            "group",
        ),
        (
            to_ana(json!({"text": {"body": "x"}, "foo": 1})),
            100,
            "unknown key",
        ),
        (
            to_ana(json!({"text": {"body": "x"}, "biz_opaque_callback_data": "x".repeat(513)})),
            131009,
            "tag",
        ),
        (with_buttons(json!([])), 131009, "no buttons"),
        (
            with_buttons(json!([
                reply("1", "a"),
                reply("2", "b"),
                reply("3", "c"),
                reply("4", "d")
            ])),
            131009,
            "four buttons",
        ),
        (
            with_buttons(json!([reply("1", "a"), reply("2", "a")])),
            131009,
            "same title",
        ),
        (
            with_buttons(json!([reply("1", "a"), reply("1", "b")])),
            131009,
            "same id",
        ),
        (
            with_buttons(json!([reply("1", &"x".repeat(21))])),
            131009,
            "long title",
        ),
        (
            with_buttons(json!([reply(&"x".repeat(257), "a")])),
            131009,
            "long id",
        ),
        (
            with_buttons(json!([reply(" 1", "a")])),
            131009,
            "space in id",
        ),
        (
            json!({"messaging_product": "whatsapp", "text": {"body": "x"}}),
            100,
            "nobody",
        ),
        (
            json!({"to": "+573001234567", "text": {"body": "x"}}),
            100,
            "no product",
        ),
    ];
    for (body, code, why) in table {
        assert_eq!(checked(&body).unwrap_err().code, code, "{why}");
    }
}

#[test]
fn what_the_contract_allows_is_taken() {
    checked(&to_ana(
        json!({"text": {"body": "ñ".repeat(4_096), "preview_url": false}}),
    ))
    .unwrap();
    let buttons = json!([
        reply("1", &"ñ".repeat(20)),
        reply("2", "b"),
        reply("3", "c")
    ]);
    assert_eq!(
        checked(&with_buttons(buttons))
            .unwrap()
            .content
            .buttons
            .len(),
        3
    );
    let link = checked(&with_link("Entrar", "https://x.example/?a=b"));
    assert_eq!(link.unwrap().content.link.unwrap().title, "Entrar");
    let hidden = checked(&json!({
        "messaging_product": "whatsapp", "recipient": "MX.77120934418826510043",
        "type": "text", "text": {"body": "x"},
    }));
    assert_eq!(hidden.unwrap().phone, LUCIA);
}

fn with_link(title: &str, url: &str) -> Value {
    to_ana(json!({"type": "interactive", "interactive": {
        "type": "cta_url", "body": {"text": "Entra aquí"},
        "action": {"name": "cta_url", "parameters": {"display_text": title, "url": url}},
    }}))
}

#[test]
fn a_link_that_meta_would_refuse_or_nobody_should_send_is_refused() {
    let good = with_link("Entrar", "https://x.example/a");
    let with = |path: &str, value: Value| {
        let mut body = good.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        body.pointer_mut(&format!("/interactive{parent}")).unwrap()[key] = value;
        body
    };
    let without = |path: &str| {
        let mut body = good.clone();
        let (parent, key) = path.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(&format!("/interactive{parent}")).unwrap();
        parent.as_object_mut().unwrap().remove(key).unwrap();
        body
    };
    let title = "/action/parameters/display_text";
    let url = "/action/parameters/url";
    checked(&good).unwrap();
    checked(&with("/body/text", "ñ".repeat(1_024).into())).unwrap();
    checked(&with(title, "ñ".repeat(20).into())).unwrap();
    let table = [
        (with("/body/text", "ñ".repeat(1_025).into()), 131009),
        (with("/body/text", "".into()), 131009),
        (without("/body"), 131008),
        (with("/body/html", "x".into()), 100),
        (without("/action"), 131009),
        (with("/action/name", "open".into()), 131009),
        (without("/action/name"), 131009),
        (without("/action/parameters"), 131008),
        (with("/action/buttons", json!([reply("1", "a")])), 100),
        (with("/type", "button".into()), 100),
        (with("/extra", 1.into()), 100),
        (with(title, "ñ".repeat(21).into()), 131009),
        (with(title, "".into()), 131009),
        (with(title, 7.into()), 131008),
        (without(title), 131008),
        (with("/action/parameters/extra", 1.into()), 100),
        (without(url), 131008),
        (
            with(
                url,
                format!("https://x.example/{}", "a".repeat(2_000)).into(),
            ),
            131009,
        ),
    ];
    for (body, code) in table {
        assert_eq!(checked(&body).unwrap_err().code, code, "{body}");
    }
    let mut with_reply = with_buttons(json!([reply("1", "a")]));
    with_reply["interactive"]["action"]["name"] = "cta_url".into();
    assert_eq!(checked(&with_reply).unwrap_err().code, 100);
}

#[test]
fn a_link_leads_to_the_encrypted_web_or_to_this_machine() {
    for url in [
        "https://x.example",
        "https://x.example:8443/a?b=c&d=%20#e",
        "http://127.0.0.1:8080/a",
        "http://127.8.0.1/a",
        "http://localhost:1/",
        "http://[::1]:8080/a",
    ] {
        checked(&with_link("Entrar", url)).unwrap();
    }
    for url in [
        "",
        "x.example",
        "/a",
        "//x.example/a",
        "http://x.example/a",
        "http://localhost.x.example/",
        "http://127.0.0.1.x.example/",
        "http://127.0.0.1@x.example/",
        "http://192.168.0.1/",
        "https://",
        "https:///a",
        "https://x.example/a b",
        "https://x.example/\n",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://x.example/",
    ] {
        let code = checked(&with_link("Entrar", url)).unwrap_err().code;
        assert_eq!(code, 131009, "{url}");
    }
}

#[test]
fn the_phone_keeps_the_link_and_debug_does_not_show_where_it_leads() {
    let graph = Graph::start(Arc::default()).unwrap();
    let url = "https://x.example/Geheim";
    graph.deliver(ANA, Said::Text("hola".into()));
    let (status, _) = call(
        &graph.shared,
        graph.access_token(),
        &with_link("Entrar", url),
    );
    assert_eq!(status, 200);
    let message = graph.messages(ANA).pop().unwrap();
    let kept = Link {
        title: "Entrar".into(),
        url: url.into(),
    };
    assert!(!format!("{message:?}").contains("Geheim"));
    assert_eq!((message.link, message.buttons), (Some(kept), Vec::new()));
}

#[test]
fn bodies_are_written_and_signed_as_in_the_contracts_vectors() {
    let plain = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"type":"text","text":{"body":"ana@ejemplo.es ¿sí? 👍 https://x.y"}}]}}]}]}"#;
    let written = as_meta_writes(plain);
    assert_eq!(written.len(), 211);
    assert_eq!(
        sign("portero-test-secret", &written),
        "43cd8e6c4c2bba2cd571dc8dbd5644b427f9ae0af435cc3bcf711fdd23419eae"
    );
    let read: Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(read, serde_json::from_str::<Value>(plain).unwrap());
    let tricky = json!({"a": "back\\slash\\/ \"quote\" \n %<@ñ"});
    let read: Value = serde_json::from_slice(&as_meta_writes(&tricky.to_string())).unwrap();
    assert_eq!(read, tricky);
}

#[test]
fn a_hidden_number_appears_nowhere_in_the_webhook() {
    let (message, own) = Said::Text("hola".into()).into_message(LUCIA, 1_700_000_000_000);
    let mut hook = inbound(LUCIA, &message, own);
    hook["entry"][0]["changes"][0]["value"]["messages"][0]["id"] = "".into();
    assert!(!hook.to_string().contains(PEOPLE[LUCIA].wa_id));
    assert!(hook.to_string().contains(PEOPLE[LUCIA].bsuid));
}

fn call(shared: &Shared, token: &str, body: &Value) -> (u16, Value) {
    let request = Request::fake_http(
        "POST",
        format!("/v25.0/{}/messages", BUSINESS.phone_number_id),
        vec![
            ("Authorization".into(), format!("Bearer {token}")),
            ("Content-Type".into(), "application/json".into()),
        ],
        body.to_string().into_bytes(),
    );
    let response = shared.answer(&request);
    let (mut reader, _) = response.data.into_reader_and_size();
    let mut answer = String::new();
    reader.read_to_string(&mut answer).unwrap();
    (response.status_code, serde_json::from_str(&answer).unwrap())
}

#[test]
fn messages_need_the_token_and_an_open_window_and_faults_take_nothing() {
    let shared = Shared::new(Arc::default());
    let token = shared.access_token.clone();
    let body = to_ana(json!({"text": {"body": "hola"}, "biz_opaque_callback_data": "t1"}));
    let (status, error) = call(&shared, "wrong", &body);
    assert_eq!((status, &error["error"]["code"]), (401, &json!(190)));
    let (_, error) = call(&shared, &token, &body);
    assert_eq!(error["error"]["code"], 131_047, "nobody wrote yet");
    lock(&shared.state).phones[ANA].wrote_at_ms = Some(now_ms());
    lock(&shared.state).fault = Some((
        Fault::Refused {
            status: 500,
            code: 131_000,
        },
        1,
    ));
    assert_eq!(call(&shared, &token, &body).0, 500);
    assert!(lock(&shared.state).phones[ANA].messages.is_empty());
    let (status, answer) = call(&shared, &token, &body);
    assert_eq!(status, 200);
    assert_eq!(answer["contacts"][0]["wa_id"], PEOPLE[ANA].wa_id);
    let state = lock(&shared.state);
    assert_eq!(state.phones[ANA].messages.len(), 1);
    assert_eq!(state.parcels.len(), 2, "sent and delivered");
    let taken: Vec<bool> = state.calls.iter().map(|call| call.taken).collect();
    assert_eq!(taken, [false, false, true]);
}

#[test]
fn a_mark_turns_ticks_blue_and_a_foreign_one_is_refused() {
    let shared = Shared::new(Arc::default());
    let token = shared.access_token.clone();
    let (message, _) = Said::Text("hola".into()).into_message(ANA, now_ms());
    let id = message.id.clone();
    lock(&shared.state).phones[ANA].keep(message);
    let mark = |id: &str| {
        json!({"messaging_product": "whatsapp", "status": "read", "message_id": id,
            "typing_indicator": {"type": "text"}})
    };
    let (_, error) = call(&shared, &token, &mark("wamid.other"));
    assert_eq!(error["error"]["code"], 131_009);
    assert_eq!(
        call(&shared, &token, &mark(&id)).1,
        json!({"success": true})
    );
    let state = lock(&shared.state);
    assert_eq!(state.phones[ANA].messages[0].ticks, Ticks::Read);
    assert!(state.phones[ANA].typing_until_ms > now_ms());
}

#[test]
fn a_broken_answer_is_no_answer_and_may_hide_a_message_that_was_taken() {
    let graph = Graph::start(Arc::default()).unwrap();
    lock(&graph.shared.state).phones[ANA].wrote_at_ms = Some(now_ms());
    let url = format!(
        "http://{}/v25.0/{}/messages",
        graph.address(),
        BUSINESS.phone_number_id
    );
    let body = to_ana(json!({"text": {"body": "hola"}})).to_string();
    let mut answers = [Fault::Broken, Fault::TakenWithoutAnswer].map(|fault| {
        graph.misbehave(fault, 1);
        let answer = ureq::post(&url)
            .header("Authorization", format!("Bearer {}", graph.access_token()))
            .header("Content-Type", "application/json")
            .send(&body)
            .and_then(|mut answer| answer.body_mut().read_to_string());
        (answer.is_ok(), graph.messages(ANA).len())
    });
    answers.sort();
    assert_eq!(answers, [(false, 0), (false, 1)]);
}

#[test]
fn a_webhook_is_signed_and_comes_again_until_it_is_taken() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let for_door = received.clone();
    let door = Door::open((Ipv4Addr::LOCALHOST, 0).into(), move |request: &Request| {
        let body = door::body(request).unwrap();
        let signature = request.header("X-Hub-Signature-256").unwrap().to_owned();
        let mut received = lock(&for_door);
        received.push((body, signature));
        // Accepted is not success for Meta.
        Response::text("").with_status_code(if received.len() < 3 { 202 } else { 200 })
    })
    .unwrap();
    let watch = Arc::new(Watch::default());
    let graph = Graph::start(watch.clone()).unwrap();
    let id = graph.deliver(ANA, Said::Text("ñandú".into()));
    graph.connect(&format!("http://{}/webhook", door.address()));
    let ticks = watch.wait_for(Duration::from_secs(30), || {
        let message = graph
            .messages(ANA)
            .into_iter()
            .find(|message| message.id == id)?;
        (message.ticks == Ticks::Delivered).then_some(())
    });
    assert!(ticks.is_some());
    let received = lock(&received);
    assert_eq!(received.len(), 3);
    assert!(
        received.iter().all(|one| *one == received[0]),
        "the same bytes each time"
    );
    let (body, signature) = &received[0];
    assert!(body.is_ascii());
    assert_eq!(
        *signature,
        format!("sha256={}", sign(graph.app_secret(), body))
    );
}

//! Bodies as Meta sends them, and as nobody should.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::time::Timestamp;
use crate::whatsapp::json::KEYS;
use proptest::prelude::*;
use serde_json::{Value, json};

#[test]
fn the_handshake_echoes_only_a_harmless_challenge() {
    let expected = Secret::new("geheim");
    let ask = |mode, token, challenge| handshake(mode, token, challenge, &expected);
    let long = "9".repeat(CHALLENGE_BYTES_MAX);
    for challenge in ["1158201444", "a-B_9", long.as_str()] {
        assert_eq!(
            ask(Some("subscribe"), Some("geheim"), Some(challenge)),
            Handshake::Accepted { challenge }
        );
    }
    for token in [
        None,
        Some(""),
        Some("geheim "),
        Some("Geheim"),
        Some("geheimgeheim"),
    ] {
        let refused = ask(Some("subscribe"), token, Some("1"));
        assert_eq!(refused, Handshake::WrongToken, "{token:?}");
    }
    let too_long = format!("{long}9");
    for challenge in [
        None,
        Some(""),
        Some("<svg onload=alert(1)>"),
        Some("1\n"),
        Some("ñ"),
        Some(too_long.as_str()),
    ] {
        let refused = ask(Some("subscribe"), Some("geheim"), challenge);
        assert_eq!(refused, Handshake::Malformed, "{challenge:?}");
    }
    for mode in [None, Some(""), Some("unsubscribe")] {
        assert_eq!(ask(mode, Some("geheim"), Some("1")), Handshake::Malformed);
    }
    let unset = handshake(Some("subscribe"), Some(""), Some("1"), &Secret::new(""));
    assert_eq!(unset, Handshake::WrongToken, "an empty token opens nothing");
}

pub(in crate::whatsapp) const OWN: &str = "106540352242922";
const NUMBER: &str = "16505551234";
const BSUID: &str = "US.13491208655302741918";

pub(in crate::whatsapp) fn own() -> PhoneNumberId {
    PhoneNumberId::parse(OWN).unwrap()
}

fn items(body: &Value) -> Vec<WebhookItem> {
    items_of(body.to_string().as_bytes())
}

fn items_of(body: &[u8]) -> Vec<WebhookItem> {
    parse(body, &own()).unwrap().items
}

/// A body around one `value` with our own number in its metadata.
pub(in crate::whatsapp) fn body_of(mut value: Value) -> Value {
    value["metadata"] = json!({"display_phone_number": "15550783881", "phone_number_id": OWN});
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
        {"value": value, "field": "messages"}]}]})
}

fn of_messages(messages: Value) -> Vec<WebhookItem> {
    items(&body_of(json!({"messages": messages})))
}

pub(in crate::whatsapp) fn text(id: &str, body: &str) -> Value {
    json!({"from": NUMBER, "id": id, "timestamp": "1749416383", "type": "text", "text": {"body": body}})
}

fn with(mut message: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().unwrap() {
        message[key] = value.clone();
    }
    message
}

fn only_message(items: Vec<WebhookItem>) -> Inbound {
    match <[WebhookItem; 1]>::try_from(items) {
        Ok([WebhookItem::Message(message)]) => message,
        other => panic!("{other:?}"),
    }
}

pub(in crate::whatsapp) fn sender(bsuid: Option<&str>, wa_id: Option<&str>) -> Sender {
    Sender {
        bsuid: bsuid.map(|id| Bsuid::parse(id).unwrap()),
        wa_id: wa_id.map(|id| WaId::parse(id).unwrap()),
        identity_key: None,
    }
}

const MALFORMED: WebhookItem = WebhookItem::Ignored(Ignored::Malformed);

#[test]
fn published_messages_parse_to_what_they_are() {
    let button = |id: &str| Content::Button { id: id.to_owned() };
    let typed = |text: &str| Content::Text(text.to_owned());
    let cases: [(&str, Content, u64); 12] = [
        ("button_message", button("Unsubscribe"), 1_750_091_045),
        (
            "contact_sharing_message",
            Content::Other("contacts"),
            1_744_344_496,
        ),
        ("image_message", Content::Other("image"), 1_744_344_496),
        (
            "interactive_button_reply_message",
            button("cancel-button"),
            1_750_025_136,
        ),
        (
            "interactive_list_reply_message",
            button("priority_express"),
            1_749_854_575,
        ),
        (
            "location_message",
            Content::Other("location"),
            1_744_344_496,
        ),
        ("order_message", Content::Other("order"), 1_750_096_325),
        (
            "reaction_message",
            Content::Other("reaction"),
            1_749_419_544,
        ),
        (
            "text_message",
            typed("Does it come in another color?"),
            1_749_416_383,
        ),
        (
            "text_message_from_click_to_whatsapp_ad",
            typed("Hello! Can I get more info on this?"),
            1_750_275_992,
        ),
        (
            "text_message_with_context_product_inquiry",
            typed("Is this still available?"),
            1_750_016_800,
        ),
        (
            "unsupported_message",
            Content::Other("unsupported"),
            1_750_090_702,
        ),
    ];
    for (name, content, seconds) in cases {
        let message = only_message(items_of(&fixture(name)));
        assert!(message.id.as_str().starts_with("wamid."), "{name}");
        assert_eq!(message.content, content, "{name}");
        assert_eq!(message.sent_at, Timestamp(seconds * 1_000), "{name}");
        assert_eq!(message.sender, sender(None, Some(NUMBER)), "{name}");
        assert_eq!(message.provenance, Provenance::Direct, "{name}");
    }
}

pub(in crate::whatsapp) fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/meta/");
    std::fs::read(format!("{folder}{name}.json")).unwrap()
}

#[test]
fn published_group_events_are_ignored_and_a_changed_number_is_told() {
    for name in [
        "group_create_message",
        "group_remove_participants",
        "group_settings_update",
    ] {
        let ignored = [WebhookItem::Ignored(Ignored::UnknownField)];
        assert_eq!(items_of(&fixture(name)), ignored, "{name}");
    }
    let changed = WebhookItem::IdentityChanged(IdentityChanged {
        id: MessageId::parse("wamid.HBgLMTk4MzU1NTE5NzQVAgASGAoxMTgyMDg2MjY3AA==").unwrap(),
        at: Timestamp(1_750_269_342_000),
        before: sender(None, Some(NUMBER)),
    });
    assert_eq!(items_of(&fixture("system_message")), [changed]);
}

#[test]
fn every_published_body_for_another_number_is_foreign() {
    let other = PhoneNumberId::parse("1").unwrap();
    let messages = [
        "text_message",
        "image_message",
        "system_message",
        "button_message",
    ];
    for name in messages {
        let foreign = [WebhookItem::Ignored(Ignored::ForeignNumber)];
        assert_eq!(
            parse(&fixture(name), &other).unwrap().items,
            foreign,
            "{name}"
        );
    }
}

#[test]
fn the_test_button_of_the_dashboard_is_foreign() {
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": [
        {"field": "messages", "value": {"messaging_product": "whatsapp",
         "metadata": {"display_phone_number": "16505551111", "phone_number_id": "123456123"},
         "contacts": [{"profile": {"name": "test user name"}, "wa_id": "16315551181"}],
         "messages": [{"from": "16315551181", "id": "ABGGFlA5Fpa", "timestamp": "1504902988",
                       "type": "text", "text": {"body": "this is a text message"}}]}}]}]});
    assert_eq!(items(&body), [WebhookItem::Ignored(Ignored::ForeignNumber)]);
}

#[test]
fn names_are_resolved_by_shape_and_only_from_a_contact_who_agrees() {
    let bare = json!({"id": "a", "timestamp": 1, "type": "text", "text": {"body": "x"}});
    let contact = |fields: Value| json!([fields]);
    let both = Some((Some(BSUID), Some(NUMBER)));
    #[rustfmt::skip]
    let cases = [
        // message, contacts, expected
        (json!({"from": NUMBER}), json!([]), Some((None, Some(NUMBER)))),
        (json!({"from": NUMBER, "from_user_id": BSUID}), json!([]), both),
        (json!({"from_user_id": BSUID}), json!([]), Some((Some(BSUID), None))),
        (json!({"from": BSUID}), json!([]), Some((Some(BSUID), None))),
        (json!({"from": 16505551234_u64}), json!([]), Some((None, Some(NUMBER)))),
        (json!({"from": NUMBER}), contact(json!({"wa_id": NUMBER, "user_id": BSUID})), both),
        (json!({"from": NUMBER}), contact(json!({"wa_id": BSUID})), both),
        (json!({"from_user_id": BSUID}), contact(json!({"wa_id": NUMBER, "user_id": BSUID})), both),
        (json!({}), contact(json!({"wa_id": NUMBER, "user_id": BSUID})), both),
        (json!({}), json!({"user_id": BSUID}), Some((Some(BSUID), None))),
        // Somebody else's contact lends nothing.
        (json!({"from": NUMBER}), contact(json!({"wa_id": "34600111222", "user_id": BSUID})), Some((None, Some(NUMBER)))),
        (json!({"from": NUMBER, "from_user_id": BSUID}), contact(json!({"wa_id": NUMBER, "user_id": "US.2"})), both),
        (json!({"from": NUMBER}), json!([{"wa_id": "34600111222", "user_id": "ES.1"}, {"wa_id": NUMBER, "user_id": BSUID}]), both),
        (json!({"from": NUMBER}), json!([{"wa_id": NUMBER, "user_id": "ES.1"}, {"wa_id": NUMBER, "user_id": BSUID}]), Some((None, Some(NUMBER)))),
        (json!({}), json!([{"wa_id": NUMBER}, {"wa_id": "34600111222"}]), None),
        (json!({}), json!([{"wa_id": NUMBER}, {"wa_id": NUMBER}]), Some((None, Some(NUMBER)))),
        (json!({}), json!([{"wa_id": NUMBER}, {"profile": {}}, 7, null]), Some((None, Some(NUMBER)))),
        // Nobody who could be answered.
        (json!({}), json!([]), None),
        (json!({"from": ""}), json!([{"profile": {"username": "ana"}}]), None),
        (json!({"from": "ana", "from_parent_user_id": "US.ENT.1"}), json!("x"), None),
    ];
    for (fields, contacts, expected) in cases {
        let message = with(bare.clone(), fields.clone());
        let got = items(&body_of(
            json!({"contacts": contacts, "messages": [message]}),
        ));
        match expected {
            Some((bsuid, wa_id)) => {
                assert_eq!(
                    only_message(got).sender,
                    sender(bsuid, wa_id),
                    "{fields} {contacts}"
                );
            }
            None => assert_eq!(got, [MALFORMED], "{fields} {contacts}"),
        }
    }
}

#[test]
fn the_only_contact_lends_nothing_beside_several_people() {
    let bare = |id: &str, from: Value| with(json!({"id": id, "type": "text"}), from);
    let value = |other: Value| {
        let hidden = bare("a", json!({"from_user_id": BSUID}));
        with(
            json!({"contacts": [{"wa_id": NUMBER}], "messages": [hidden]}),
            other,
        )
    };
    let first = |value: Value| match items(&body_of(value)).swap_remove(0) {
        WebhookItem::Message(message) => message.sender,
        other => panic!("{other:?}"),
    };
    let lent = sender(Some(BSUID), Some(NUMBER));
    assert_eq!(first(value(json!({}))), lent);
    let hidden = bare("a", json!({"from_user_id": BSUID}));
    let again = bare("b", json!({"from_user_id": BSUID}));
    assert_eq!(first(value(json!({"messages": [hidden, again]}))), lent);
    let not_lent = sender(Some(BSUID), None);
    let other = bare("b", json!({"from": NUMBER}));
    assert_eq!(first(value(json!({"messages": [hidden, other]}))), not_lent);
    let status = json!({"id": "c", "status": "sent", "recipient_id": NUMBER});
    assert_eq!(first(value(json!({"statuses": [status]}))), not_lent);
}

#[test]
fn the_identity_key_comes_from_the_writers_own_contact() {
    let key = Some(IdentityKey::parse("DF2lS5v2W6x=").unwrap());
    let of = |contacts: Value| {
        let value = json!({"contacts": contacts, "messages": [text("a", "x")]});
        only_message(items(&body_of(value))).sender.identity_key
    };
    let contact = |wa_id: &str| json!({"wa_id": wa_id, "identity_key_hash": "DF2lS5v2W6x="});
    assert_eq!(of(json!([contact(NUMBER)])), key);
    assert_eq!(of(json!([{"wa_id": "34600111222"}, contact(NUMBER)])), key);
    assert_eq!(of(json!([contact("34600111222")])), None);
}

#[test]
fn only_what_was_written_here_is_direct() {
    let cases = [
        (json!({}), Provenance::Direct),
        (
            json!({"context": {"from": "1", "id": "wamid.x"}}),
            Provenance::Direct,
        ),
        (json!({"context": {"forwarded": false}}), Provenance::Direct),
        (
            json!({"context": null, "group_id": null}),
            Provenance::Direct,
        ),
        (
            json!({"context": {"forwarded": true}}),
            Provenance::Forwarded,
        ),
        (
            json!({"context": {"frequently_forwarded": true}}),
            Provenance::Forwarded,
        ),
        (
            json!({"context": {"forwarded": "true"}}),
            Provenance::Forwarded,
        ),
        (json!({"context": [true]}), Provenance::Forwarded),
        (json!({"group_id": "Y2Fw"}), Provenance::Group),
        (json!({"group_id": 7}), Provenance::Group),
        (
            json!({"group_id": "g", "context": {"forwarded": true}}),
            Provenance::Group,
        ),
    ];
    for (fields, provenance) in cases {
        let message = only_message(of_messages(json!([with(text("a", "x"), fields.clone())])));
        assert_eq!(message.provenance, provenance, "{fields}");
    }
}

#[test]
fn only_typed_text_and_taps_carry_content() {
    let button = |id: &str| Content::Button { id: id.to_owned() };
    let long = "x".repeat(BUTTON_ID_BYTES_MAX + 1);
    let code = "12345678";
    let cases = [
        (
            json!({"type": "image", "image": {"caption": code}}),
            Content::Other("image"),
        ),
        (
            json!({"type": "document", "document": {"caption": code}}),
            Content::Other("document"),
        ),
        (
            json!({"type": "edit", "edit": {"message": {"type": "text", "text": {"body": code}}}}),
            Content::Other("edit"),
        ),
        (
            json!({"type": "unsupported", "text": {"body": code}}),
            Content::Other("unsupported"),
        ),
        (
            json!({"type": "hologram", "text": {"body": code}}),
            Content::Other("unknown"),
        ),
        (json!({"type": null}), Content::Other("unknown")),
        (
            json!({"type": "text", "text": code}),
            Content::Other("text"),
        ),
        (
            json!({"type": "text", "text": {"body": 12345678}}),
            Content::Other("text"),
        ),
        (
            json!({"type": "button", "button": {"payload": "DID_NOT_REQUEST_CODE", "text": "x"}}),
            button("DID_NOT_REQUEST_CODE"),
        ),
        (
            json!({"type": "button", "button": {"payload": long}}),
            Content::Other("button"),
        ),
        (
            json!({"type": "interactive", "interactive": {"type": "nfm_reply", "nfm_reply": {"response_json": "{"}}}),
            Content::Other("interactive"),
        ),
        (
            json!({"type": "interactive", "interactive": {"type": "nfm_reply", "button_reply": {"id": "a"}}}),
            Content::Other("interactive"),
        ),
        (
            json!({"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "r1"}}}),
            button("r1"),
        ),
        (
            json!({"type": "system", "system": {"type": "something_new", "body": code}}),
            Content::Other("system"),
        ),
    ];
    for (fields, content) in cases {
        let message = with(text("a", "x"), fields.clone());
        let got = only_message(of_messages(json!([message])));
        assert_eq!(got.content, content, "{fields}");
    }
}

#[test]
fn long_text_is_cut_between_characters() {
    let body = format!("a{}", "ñ".repeat(Content::TEXT_BYTES_MAX));
    let got = only_message(of_messages(json!([text("a", &body)])));
    let Content::Text(kept) = got.content else {
        panic!("no text")
    };
    assert_eq!(kept.len(), Content::TEXT_BYTES_MAX - 1);
    assert!(body.starts_with(&kept));
}

#[test]
fn a_change_of_identity_names_the_person_as_they_were() {
    let new_number = "12195555358";
    let new_bsuid = "US.99";
    #[rustfmt::skip]
    let cases = [
        (json!({"from": NUMBER, "system": {"type": "user_changed_number", "wa_id": new_number, "user_id": new_bsuid, "previous_user_id": BSUID}}), Some((Some(BSUID), Some(NUMBER)))),
        (json!({"from": NUMBER, "from_user_id": new_bsuid, "system": {"type": "user_changed_number", "wa_id": new_number, "user_id": new_bsuid}}), Some((None, Some(NUMBER)))),
        (json!({"system": {"type": "user_changed_user_id", "user_id": new_bsuid, "previous_user_id": BSUID}}), Some((Some(BSUID), None))),
        (json!({"from": NUMBER, "system": {"type": "customer_changed_number", "new_wa_id": new_number, "customer": NUMBER}}), Some((None, Some(NUMBER)))),
        (json!({"from": new_number, "system": {"type": "customer_changed_number", "new_wa_id": new_number, "customer": NUMBER}}), Some((None, Some(NUMBER)))),
        (json!({"type": "customer_changed_number", "from": NUMBER, "system": {"new_wa_id": new_number}}), Some((None, Some(NUMBER)))),
        (json!({"from": NUMBER, "identity": {"hash": "x"}, "system": {"type": "customer_identity_changed"}}), Some((None, Some(NUMBER)))),
        (json!({"system": {"type": "customer_identity_changed", "customer": NUMBER}}), Some((None, Some(NUMBER)))),
        (json!({"system": {"type": "user_changed_user_id", "user_id": new_bsuid}}), None),
    ];
    for (fields, expected) in cases {
        let bare = json!({"id": "a", "timestamp": "7", "type": "system"});
        let got = of_messages(json!([with(bare, fields.clone())]));
        let expected = match expected {
            Some((bsuid, wa_id)) => WebhookItem::IdentityChanged(IdentityChanged {
                id: MessageId::parse("a").unwrap(),
                at: Timestamp(7_000),
                before: sender(bsuid, wa_id),
            }),
            None => MALFORMED,
        };
        assert_eq!(got, [expected], "{fields}");
    }
}

#[test]
fn statuses_tell_the_fate_of_our_messages() {
    let base = json!({"id": "wamid.1", "timestamp": "7", "recipient_id": NUMBER});
    let update = |status, tag: Option<&str>, error_code| {
        WebhookItem::Status(StatusUpdate {
            id: MessageId::parse("wamid.1").unwrap(),
            status,
            at: Timestamp(7_000),
            recipient: sender(None, Some(NUMBER)),
            participant: None,
            tag: tag.map(str::to_owned),
            error_code,
        })
    };
    let error = json!([{"code": 131047, "title": "Re-engagement message"}]);
    let unknown = WebhookItem::Ignored(Ignored::UnknownStatus {
        id: MessageId::parse("wamid.1").unwrap(),
        recipient: sender(None, Some(NUMBER)),
        tag: None,
    });
    let cases = [
        (
            json!({"status": "sent", "biz_opaque_callback_data": "t1"}),
            update(Status::Sent, Some("t1"), None),
        ),
        (
            json!({"status": "delivered", "timestamp": 7}),
            update(Status::Delivered, None, None),
        ),
        (
            json!({"status": "read", "errors": error}),
            update(Status::Read, None, None),
        ),
        (
            json!({"status": "failed", "errors": error}),
            update(Status::Failed, None, Some(131_047)),
        ),
        (
            json!({"status": "failed", "errors": [{"code": "131026"}]}),
            update(Status::Failed, None, Some(131_026)),
        ),
        (
            json!({"status": "failed", "errors": [{"code": 99999999999_u64}]}),
            update(Status::Failed, None, None),
        ),
        (
            json!({"status": "failed"}),
            update(Status::Failed, None, None),
        ),
        (
            json!({"status": "sent", "biz_opaque_callback_data": "x".repeat(TAG_BYTES_MAX + 1)}),
            update(Status::Sent, None, None),
        ),
        (json!({"status": "played"}), unknown.clone()),
        (json!({"status": "deleted"}), unknown),
        (json!({"status": 7}), MALFORMED),
        (json!({"status": "sent", "id": null}), MALFORMED),
    ];
    for (fields, expected) in cases {
        let status = with(base.clone(), fields.clone());
        let got = items(&body_of(json!({"statuses": [status]})));
        assert_eq!(got, [expected], "{fields}");
    }
}

#[test]
fn a_status_names_its_recipient_by_shape() {
    let cases = [
        (json!({"recipient_id": NUMBER}), None, Some(NUMBER)),
        (
            json!({"recipient_id": NUMBER, "recipient_user_id": BSUID}),
            Some(BSUID),
            Some(NUMBER),
        ),
        (json!({"recipient_user_id": BSUID}), Some(BSUID), None),
        (json!({"recipient_id": BSUID}), Some(BSUID), None),
        (json!({"recipient_id": 16505551234_u64}), None, Some(NUMBER)),
        (
            json!({"recipient_id": "Y2FwaV9ncm91cDox", "recipient_type": "group"}),
            None,
            None,
        ),
        (json!({}), None, None),
    ];
    for (fields, bsuid, wa_id) in cases {
        for word in ["delivered", "played"] {
            let status = with(json!({"id": "wamid.1", "status": word}), fields.clone());
            let recipient = match items(&body_of(json!({"statuses": [status]}))).swap_remove(0) {
                WebhookItem::Status(status) => status.recipient,
                WebhookItem::Ignored(Ignored::UnknownStatus { recipient, .. }) => recipient,
                other => panic!("{other:?}"),
            };
            assert_eq!(recipient, sender(bsuid, wa_id), "{fields} {word}");
        }
    }
}

fn place(entry: u32, change: u32, what: What) -> Option<Place> {
    Some(Place {
        entry,
        change,
        what,
    })
}

#[test]
fn every_item_tells_where_it_stands() {
    let status = json!({"id": "s", "status": "sent"});
    let odd_status = json!({"id": "s"});
    let played = json!({"id": "s", "status": "played"});
    let value = json!({
        "messages": [7, text("a", "x"), null, {"id": "b"}, text("c", "x"), text("a", "x")],
        "statuses": [[], status, odd_status, played],
        "errors": {"code": 1},
    });
    let change = body_of(value)["entry"][0]["changes"][0].clone();
    let body = json!({"entry": [
        "x",
        {"changes": [false, {"field": "flows", "value": {}}, {"field": "security", "value": {}}, {"field": "x"}]},
        {},
        {"changes": change},
        {"changes": [body_of(json!({}))["entry"][0]["changes"][0]]},
    ]});
    let parsed = parse(body.to_string().as_bytes(), &own()).unwrap();
    assert_eq!(parsed.items.len(), parsed.places.len());
    let placed: Vec<_> = parsed
        .places
        .iter()
        .copied()
        .filter(Option::is_some)
        .collect();
    let expected = [
        place(1, 1, What::Change),
        place(1, 2, What::Change),
        place(3, 0, What::Message(1)),
        place(3, 0, What::Message(4)),
        place(3, 0, What::Status(1)),
        place(3, 0, What::Status(3)),
        place(3, 0, What::Error(0)),
        place(4, 0, What::Change),
    ];
    assert_eq!(placed, expected);
    for (item, place) in parsed.items.iter().zip(&parsed.places) {
        assert_eq!(*item == MALFORMED, place.is_none(), "{item:?}");
    }
    // Read with patience, the places are the same.
    let bent = format!("{{\"title\":1e999999,{}", &body.to_string()[1..]);
    assert_eq!(parse(bent.as_bytes(), &own()), Ok(parsed));
    let page = br#"{"object":"page","entry":[{"changes":[{}]}]}"#;
    let page = parse(page, &own()).unwrap();
    assert_eq!(
        (page.places, page.is_whole),
        (vec![place(0, 0, What::Body)], true)
    );
}

#[test]
fn what_is_for_another_number_or_malformed_has_no_place() {
    let messages = json!({"messages": [text("a", "x")], "statuses": [{"id": "s", "status": "sent"}], "errors": [{}]});
    let body = body_of(messages).to_string();
    for (body, places) in [
        (body.replace(OWN, "1"), vec![None, None, None]),
        (
            body.replace("\"phone_number_id\"", "\"x\""),
            vec![None, None, place(0, 0, What::Error(0))],
        ),
        (body_of(json!({})).to_string().replace(OWN, "1"), vec![None]),
    ] {
        let parsed = parse(body.as_bytes(), &own()).unwrap();
        assert_eq!((parsed.places, parsed.is_whole), (places, false), "{body}");
    }
}

#[test]
fn a_body_is_whole_when_it_is_exactly_its_items() {
    let whole = |body: &Value| parse(body.to_string().as_bytes(), &own()).unwrap().is_whole;
    let status = |id: &str, word: &str| json!({"id": id, "status": word, "recipient_id": NUMBER});
    let contact = json!({"wa_id": NUMBER, "user_id": BSUID});
    let stranger = json!({"wa_id": "34600111222"});
    let messages = json!([text("a", "x"), text("b", "x")]);
    let flows = json!({"field": "flows", "value": {}});
    for value in [
        json!({"messages": messages}),
        json!({"messages": text("a", "x"), "contacts": contact}),
        json!({"messages": messages, "contacts": [contact], "errors": [{}]}),
        json!({"messages": null, "statuses": [status("s", "sent"), status("s", "played")]}),
        json!({"statuses": [status("s", "sent")], "contacts": [contact]}),
        // One person, one contact: theirs.
        json!({"messages": messages, "contacts": [stranger]}),
        json!({"messages": messages, "contacts": [{"profile": {"name": "Ana"}}]}),
        json!({}),
    ] {
        assert!(whole(&body_of(value.clone())), "{value}");
    }
    for value in [
        json!({"messages": [text("a", "x"), text("a", "x")]}),
        json!({"messages": [text("a", "x"), 7]}),
        json!({"messages": [text("a", "x"), {}]}),
        json!({"messages": [text("a", "x")], "statuses": "x"}),
        json!({"messages": [text("a", "x")], "errors": [null]}),
        json!({"statuses": [{"id": "s"}]}),
        json!({"statuses": vec![status("s", "played"); IGNORED_MAX + 1]}),
        json!({"messages": messages, "contacts": [contact, stranger]}),
        json!({"messages": messages, "contacts": [contact, 7]}),
        json!({"messages": messages, "contacts": [contact, {}]}),
        json!({"messages": messages, "contacts": "Ana"}),
        json!({"errors": [{}], "contacts": [contact]}),
        json!({"messages": [7]}),
    ] {
        assert!(!whole(&body_of(value.clone())), "{value}");
    }
    for (body, expected) in [
        (json!({"entry": [{"changes": [flows]}]}), true),
        (json!({"entry": {"changes": flows}}), true),
        (json!({"entry": [{"changes": [flows, 7]}]}), false),
        (json!({"entry": [{"changes": [flows, {}]}]}), false),
        (json!({"entry": [{"changes": [flows]}, {}]}), false),
        (json!({"entry": [{"changes": [flows]}, 7]}), false),
        (
            json!({"entry": [{"changes": [flows]}, {"changes": []}]}),
            false,
        ),
        (json!({"entry": []}), false),
        (json!({}), false),
    ] {
        assert_eq!(whole(&body), expected, "{body}");
    }
}

#[test]
fn an_odd_message_does_not_hide_in_an_unknown_change() {
    for value in [
        json!({"messages": [[text("a", "x")]]}),
        json!({"messages": "x"}),
    ] {
        assert_eq!(items(&body_of(value)), [MALFORMED]);
    }
}

#[test]
fn the_operator_hears_of_the_account_and_of_nothing_quiet() {
    let notice = |topic: &str, event: &str, severe| {
        WebhookItem::Notice(Notice {
            topic: topic.to_owned(),
            event: event.to_owned(),
            severe,
        })
    };
    let quiet = WebhookItem::Ignored(Ignored::UnknownField);
    let peoples = WebhookItem::Ignored(Ignored::PeoplesField);
    let alert = json!({"alert_info": {"alert_severity": "CRITICAL", "alert_type": "OBA"}});
    let cases = [
        (
            "account_update",
            json!({"event": "ACCOUNT_RESTRICTION"}),
            notice("account_update", "ACCOUNT_RESTRICTION", true),
        ),
        (
            "account_update",
            json!({"event": "VERIFIED_ACCOUNT"}),
            notice("account_update", "VERIFIED_ACCOUNT", false),
        ),
        (
            "account_alerts",
            alert,
            notice("account_alerts", "OBA", true),
        ),
        (
            "security",
            json!({"event": "PIN_CHANGED"}),
            notice("security", "PIN_CHANGED", false),
        ),
        (
            "phone_number_name_update",
            json!({"decision": "REJECTED"}),
            notice("phone_number_name_update", "REJECTED", false),
        ),
        (
            "business_capability_update",
            json!({}),
            notice("business_capability_update", "", false),
        ),
        (
            "security",
            json!({"event": "A\n{\"level\":\"INFO\"}\u{1b}[2J\u{202e}B"}),
            notice("security", "A{\"level\":\"INFO\"}[2JB", false),
        ),
        ("user_preferences", json!({"event": "x"}), peoples.clone()),
        (
            "smb_message_echoes",
            json!({"messages": [text("a", "b")]}),
            peoples,
        ),
        ("never_heard_of", json!({}), quiet),
    ];
    for (field, value, expected) in cases {
        let body = json!({"entry": [{"id": "1", "time": 7, "changes": [{"field": field, "value": value}]}]});
        assert_eq!(items(&body), [expected], "{field}");
    }
    let errors = json!([{"code": 130429, "title": "Rate limit hit"}, {"code": 131042, "title": "Payment"}, {}]);
    assert_eq!(
        items(&body_of(json!({"errors": errors}))),
        [
            notice("error 130429", "Rate limit hit", false),
            notice("error 131042", "Payment", true),
            notice("error", "", false)
        ]
    );
}

#[test]
fn lists_may_be_single_objects_and_levels_may_be_missing() {
    let value =
        body_of(json!({"messages": text("a", "x")}))["entry"][0]["changes"][0]["value"].clone();
    let single = json!({"entry": {"changes": {"value": value}}});
    only_message(items(&single));
    for (body, expected) in [
        (json!({}), vec![]),
        (json!({"entry": null}), vec![]),
        (json!({"entry": [{}]}), vec![]),
        (json!({"entry": 7}), vec![MALFORMED]),
        (json!({"entry": [7, [], "x"]}), vec![MALFORMED; 3]),
        (json!({"entry": [{"changes": [{}]}]}), vec![MALFORMED]),
        (
            json!({"entry": [{"changes": [{"field": "messages"}]}]}),
            vec![MALFORMED],
        ),
        (
            json!({"entry": [{"changes": [{"field": "messages", "value": {"messages": [text("a", "x")]}}]}]}),
            vec![MALFORMED],
        ),
        (
            json!({"object": "instagram", "entry": [{"changes": [{}]}]}),
            vec![WebhookItem::Ignored(Ignored::UnknownField)],
        ),
    ] {
        assert_eq!(items(&body), expected, "{body}");
    }
}

#[test]
fn a_message_without_a_time_is_as_old_as_the_epoch() {
    for time in [json!(null), json!("soon"), json!(-5), json!(1.5), json!([])] {
        let message = with(text("a", "x"), json!({"timestamp": time}));
        let got = only_message(of_messages(json!([message])));
        assert_eq!(got.sent_at, Timestamp(0), "{time}");
    }
    let message = with(text("a", "x"), json!({"timestamp": u64::MAX}));
    let far = only_message(of_messages(json!([message])));
    assert_eq!(far.sent_at, Timestamp(u64::MAX));
}

#[test]
fn the_same_id_in_one_batch_counts_once() {
    let changes = body_of(json!({"messages": [text("a", "1"), text("b", "2"), text("a", "3")]}));
    let mut body = changes.clone();
    let again = changes["entry"][0].clone();
    body["entry"].as_array_mut().unwrap().push(again);
    let texts: Vec<_> = items(&body)
        .into_iter()
        .map(|item| only_message(vec![item]).content)
        .collect();
    assert_eq!(
        texts,
        [Content::Text("1".into()), Content::Text("2".into())]
    );
}

#[test]
fn an_element_with_a_doubled_key_is_left_alone_and_its_neighbours_are_not() {
    let good = text("wamid.good", "x").to_string();
    let around = |element: &str| {
        format!(
            r#"{{"entry":[{{"changes":[{{"field":"messages","value":{{"metadata":{{"phone_number_id":"{OWN}"}},"messages":[{good},{element}]}}}}]}}]}}"#
        )
    };
    for doubled in [
        r#"{"id":"a","id":"b","from":"16505551234","type":"text","text":{"body":"x"}}"#,
        r#"{"id":"a","from":"16505551234","from":"34600111222","type":"text","text":{"body":"x"}}"#,
        r#"{"id":"a","from":"16505551234","type":"text","type":"image","text":{"body":"x"}}"#,
        r#"{"id":"a","from":"16505551234","type":"text","text":{"body":"x"},"text":{"body":"y"}}"#,
        r#"{"id":"a","from":"16505551234","type":"text","text":{"body":"x","body":"y"}}"#,
        r#"{"id":"a","from":"16505551234","type":"text","text":{"body":"x"},"group_id":null,"group_id":"g"}"#,
        r#"{"id":"a","from":"16505551234","type":"text","text":{"body":"x"},"context":{},"context":{"forwarded":true}}"#,
        r#"{"id":"a","from":"16505551234","type":"text","text":{"body":"x"},"context":{"forwarded":false,"forwarded":true}}"#,
        r#"{"id":"a","\u0069d":"b","from":"16505551234","type":"text","text":{"body":"x"}}"#,
    ] {
        let got = items_of(around(doubled).as_bytes());
        let [WebhookItem::Message(first), second] = got.as_slice() else {
            panic!("{doubled}: {got:?}")
        };
        assert_eq!(first.id.as_str(), "wamid.good");
        assert_eq!(*second, MALFORMED, "{doubled}");
    }
    let twice = around(&good).replace(
        r#"{"phone_number_id":"#,
        r#"{"phone_number_id":"1","phone_number_id":"#,
    );
    assert_eq!(items_of(twice.as_bytes()), [MALFORMED, MALFORMED]);
}

#[test]
fn odd_json_spoils_the_element_in_which_it_stands() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let nested = |levels: usize| format!("{}1{}", r#"{"text":"#.repeat(levels), "}".repeat(levels));
    let message = |body: &str| {
        format!(r#"{{"id":"odd","from":"16505551234","type":"text","text":{{"body":{body}}}}}"#)
    };
    for odd in [
        message("1e999999"),
        message(&deep(129)),
        message(&nested(100_000)),
        message(&deep(100_000)),
        deep(100_000),
        "1e999999".to_owned(),
        r#""\ud83d""#.to_owned(),
    ] {
        let good = text("wamid.good", "x");
        let body = body_of(json!({"messages": [good, "HERE", good]})).to_string();
        let body = body.replace(r#""HERE""#, &odd);
        let got = items_of(body.as_bytes());
        let good: Vec<_> = got
            .iter()
            .filter(|item| matches!(item, WebhookItem::Message(m) if m.id.as_str() == "wamid.good"))
            .collect();
        assert_eq!(
            (good.len(), got.len()),
            (1, 2),
            "{}",
            &odd[..odd.len().min(60)]
        );
    }
    let half = message(r#""mi c\u00f3digo \ud83d es 12345678""#);
    let body = body_of(json!({"messages": ["HERE"]}))
        .to_string()
        .replace(r#""HERE""#, &half);
    let Content::Text(kept) = only_message(items_of(body.as_bytes())).content else {
        panic!("no text")
    };
    assert!(kept.starts_with("mi código \u{fffd}") && kept.ends_with(" es 12345678"));
}

#[test]
fn what_is_no_json_object_is_not_understood() {
    let cut = fixture("text_message");
    for body in [
        &b""[..],
        b"[]",
        b"7",
        b"null",
        b"\"entry\"",
        b"{\"entry\":[]",
        b"{\"entry\":[]}x",
        b"{\"entry\":\"\xff\"}",
        b"object=page",
        &cut[..cut.len() / 2],
        "[".repeat(100_000).as_bytes(),
    ] {
        assert_eq!(parse(body, &own()), Err(NotUnderstood));
    }
    assert_eq!(items_of(b"\xef\xbb\xbf{}"), [], "a byte order mark");
}

#[test]
fn a_hostile_batch_is_counted_up_to_a_bound() {
    let body = body_of(json!({"messages": ["HERE"]})).to_string();
    let body = body.replace(r#""HERE""#, &vec!["0"; 1_000_000].join(","));
    let got = items_of(body.as_bytes());
    assert_eq!(got, vec![MALFORMED; IGNORED_MAX]);
}

#[test]
fn a_full_batch_keeps_its_order() {
    let messages: Vec<_> = (0..1_000)
        .map(|n| text(&format!("wamid.{n}"), "x"))
        .collect();
    let ids: Vec<_> = of_messages(json!(messages))
        .into_iter()
        .map(|item| only_message(vec![item]).id.as_str().to_owned())
        .collect();
    let expected: Vec<_> = (0..1_000).map(|n| format!("wamid.{n}")).collect();
    assert_eq!(ids, expected);
}

/// Any JSON, with a liking for the keys and words that mean something here.
pub(in crate::whatsapp) fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        proptest::sample::select(KEYS).prop_map(str::to_owned),
        proptest::sample::select(vec![
            "messages",
            "text",
            "system",
            "interactive",
            "button_reply",
            "failed",
            "user_changed_number",
            NUMBER,
            BSUID,
            OWN,
            ""
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn elements_of(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(elements_of).sum(),
        Value::Object(fields) => fields.values().map(elements_of).sum(),
        _ => 0,
    }
}

proptest! {
    #[test]
    fn parsing_is_total_on_bytes(body: Vec<u8>, keep in 0_usize..2_000) {
        let _ = parse(&body, &own());
        let whole = fixture("text_message");
        let mut bent = whole[..keep.min(whole.len())].to_vec();
        bent.extend(body);
        let _ = parse(&bent, &own());
    }

    #[test]
    fn parsing_is_total_on_json_and_items_never_outnumber_elements(odd in any_json()) {
        for body in [
            odd.clone(),
            json!({"entry": odd}),
            json!({"entry": [{"changes": odd}]}),
            json!({"entry": [{"changes": [{"field": "messages", "value": odd}]}]}),
            body_of(json!({"messages": odd, "statuses": odd, "contacts": odd, "errors": odd})),
            body_of(json!({"messages": [odd], "statuses": [odd], "contacts": [odd], "errors": [odd]})),
        ] {
            if let Ok(found) = parse(body.to_string().as_bytes(), &own()) {
                prop_assert!(found.items.len() <= elements_of(&body), "{body}: {found:?}");
            }
        }
    }

    #[test]
    fn reading_with_patience_gives_the_same(odd in any_json()) {
        let body = body_of(json!({"messages": [odd, text("a", "x")], "contacts": odd})).to_string();
        let at_once = parse(body.as_bytes(), &own());
        // A number beyond f64 under a known key makes serde_json refuse the whole.
        let bent = format!("{{\"title\":1e999999,{}", &body[1..]);
        prop_assert_eq!(parse(bent.as_bytes(), &own()), at_once);
    }

    #[test]
    fn one_odd_element_never_changes_its_neighbours(
        odd in any_json(),
        place in 0_usize..6,
        at in 0_usize..4,
    ) {
        let good: Vec<_> = (0..3).map(|n| text(&format!("wamid.good{n}"), "x")).collect();
        let status = json!({"id": "wamid.good", "status": "sent", "timestamp": "7"});
        let value = json!({"messages": good, "statuses": [status, status, status]});
        let plain = body_of(value);
        let mut bent = plain.clone();
        let path = ["/entry/0/changes/0/value/messages", "/entry/0/changes/0/value/statuses",
            "/entry/0/changes", "/entry", "/entry/0/changes/0/value/errors", "/entry/0/changes/0/value/contacts"][place];
        match bent.pointer_mut(path) {
            Some(Value::Array(list)) => list.insert(at.min(list.len()), odd.clone()),
            _ => bent["entry"][0]["changes"][0]["value"][path.rsplit('/').next().unwrap()] = json!([odd]),
        }
        // An odd contact may well be a known person; then names may be added, nothing else.
        let good = |items: Vec<WebhookItem>| -> Vec<_> {
            items.into_iter().filter_map(|item| match item {
                WebhookItem::Message(m) if m.id.as_str().starts_with("wamid.good") =>
                    Some(format!("{:?} {:?} {:?}", m.id.as_str(), m.content, m.sender.wa_id)),
                WebhookItem::Status(s) if s.id.as_str() == "wamid.good" => Some(format!("{s:?}")),
                _ => None,
            }).collect()
        };
        prop_assert_eq!(good(items(&bent)), good(items(&plain)));
    }
}

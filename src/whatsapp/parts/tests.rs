//! Every subset of every body, and nothing of anybody else.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::message::{Ignored, WebhookItem};
use crate::whatsapp::webhook::tests::{OWN, any_json, body_of, fixture, own, text};
use crate::whatsapp::webhook::{Parsed, parse};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

fn parsed(body: &[u8]) -> Parsed {
    parse(body, &own()).unwrap()
}

fn has(bytes: &[u8], piece: &str) -> bool {
    String::from_utf8_lossy(bytes).contains(piece)
}

/// Cuts out the items that `choose` picks by their index; the part must say exactly them.
fn cut(body: &[u8], mut choose: impl FnMut(usize) -> bool) -> Option<Vec<u8>> {
    let whole = parsed(body);
    let (mut items, mut places) = (Vec::new(), Vec::new());
    for (index, (item, place)) in whole.items.into_iter().zip(whole.places).enumerate() {
        if let Some(place) = place.filter(|_| choose(index)) {
            items.push(item);
            places.push(place);
        }
    }
    let part = Parts::new(body).unwrap().cut(body, &places);
    assert_eq!(part.is_some(), !places.is_empty(), "a place cannot be cut");
    if let Some(part) = &part {
        let shown = String::from_utf8_lossy(part);
        let again = parsed(part);
        assert_eq!(again.items, items, "{shown}");
        assert!(again.is_whole, "{shown}");
    }
    part
}

/// Every subset of the items.
fn check(body: &[u8]) {
    let count = parsed(body).items.len();
    assert!((1..=10).contains(&count), "{count} items");
    for subset in 0..1_u32 << count {
        cut(body, |index| subset >> index & 1 == 1);
    }
}

#[test]
fn every_published_body_is_whole_and_its_part_of_everything_is_the_same() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/meta");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".json").map(str::to_owned)
    });
    let mut count = 0;
    for name in names.flatten().filter(|name| !name.contains("schema")) {
        let body = fixture(&name);
        assert!(parsed(&body).is_whole, "{name}");
        let part = cut(&body, |_| true).unwrap();
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(value(&part), value(&body), "{name}");
        count += 1;
    }
    assert!(count >= 15, "{count} bodies");
}

const META: &str =
    r#""metadata":{"display_phone_number":"15550783881","phone_number_id":"106540352242922"}"#;

/// A body around the fields of one value.
fn around(fields: &str) -> String {
    format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"value":{{{META},{fields}}},"field":"messages"}}]}}]}}"#
    )
}

#[test]
fn what_is_on_the_way_stays_as_it_was() {
    let body = "\u{feff}\r\n{ \"a\" : [1 ,2], \"object\":\"whatsapp_business_account\",\r\n\t\"ent\\u0072y\" : [ {\"id\":\"1\"}, { \"time\":1e2, \"id\": \"2\",\"changes\":[ {\"b\":\"\\u0041\",\"value\" :{ \"c\":{\"c\":1,\"c\":2} , META , \"contacts\":[{\"wa_id\":\"34600000001\"} , {\"wa_id\":\"34600000002\"}],\"d\":null,\"messages\":[ MA, MB ],\"e\":\"\\/\", \"errors\":[{}]},\"field\":\"messages\"} , {\"field\":\"flows\",\"value\":{}} ],\"f\":[]} ] , \"g\":0 } \n";
    let message = |n: u32| {
        format!(
            "{{ \"id\":\"m{n}\",\r\n\"from\" : \"3460000000{n}\",\"type\":\"text\",\"text\":{{\"body\":\"\\u0040 \\/ ñ \\ud83d\\udc4d\"}}}}"
        )
    };
    let body = body
        .replace("META", META)
        .replace("MA", &message(1))
        .replace("MB", &message(2));
    check(body.as_bytes());
    let part = cut(body.as_bytes(), |index| index == 1).unwrap();
    let expected = "{\"a\" : [1 ,2], \"object\":\"whatsapp_business_account\",\"ent\\u0072y\":[{\"time\":1e2, \"id\": \"2\",\"changes\":[{\"b\":\"\\u0041\",\"value\":{\"c\":{\"c\":1,\"c\":2} , META,\"contacts\":[{\"wa_id\":\"34600000002\"}],\"d\":null,\"messages\":[MB],\"e\":\"\\/\"},\"field\":\"messages\"}],\"f\":[]}],\"g\":0}";
    let expected = expected.replace("META", META).replace("MB", &message(2));
    assert_eq!(String::from_utf8(part).unwrap(), expected);
}

#[test]
fn every_subset_of_odd_bodies_can_be_cut() {
    let message = |n: u32, more: &str| {
        format!(r#"{{"id":"m{n}","from":"3460000000{n}","type":"text"{more}}}"#)
    };
    let status = |n: u32, more: &str| {
        format!(r#"{{"id":"s{n}","status":"sent","recipient_id":"3460000000{n}"{more}}}"#)
    };
    let (ana, eva) = (message(1, ""), message(2, ""));
    let deep = format!(r#","text":{}{}"#, "[".repeat(3_000), "]".repeat(3_000));
    let half = r#","text":{"body":"\ud83d"},"button":1e999"#;
    let contact = |n: u32| format!(r#"{{"wa_id":"3460000000{n}","user_id":"ES.{n}"}}"#);
    let hidden = r#"{"id":"h","from_user_id":"ES.9"}"#;
    let only_number = r#"{"wa_id":"34600000001"}"#;
    let values = [
        format!(r#""messages":{ana}"#),
        format!(
            r#""messages":{ana},"statuses":{},"errors":{{}},"contacts":{}"#,
            status(2, ""),
            contact(1)
        ),
        format!(r#""messages":[7,{ana},[{eva}],{eva},null]"#),
        format!(
            r#""messages":[{ana},{ana},{eva}],"statuses":[{},{}]"#,
            status(1, ""),
            status(1, "")
        ),
        format!(
            r#""messages":[{ana},{}],"statuses":null"#,
            message(2, &deep)
        ),
        format!(
            r#""messages":[{ana},{}],"contacts":[{},{}]"#,
            message(2, half),
            contact(1),
            contact(2)
        ),
        format!(
            r#""messages":[{ana},{}],"errors":[3,{{"code":1}}]"#,
            message(2, r#","id":"again""#)
        ),
        format!(
            r#""statuses":[{},{}]"#,
            status(1, r#","status":"read""#),
            status(2, "")
        ),
        format!(
            r#""statuses":[{}],"contacts":[{},7,{}]"#,
            status(1, ""),
            contact(1),
            contact(2)
        ),
        // Contacts that two readers could take for different people.
        format!(
            r#""messages":[{ana},{eva}],"contacts":[{{"wa_id":"34600000001","wa_id":"34600000002"}},{}]"#,
            contact(2)
        ),
        format!(
            r#""messages":[{ana},{eva}],"contacts":[{},{{"wa_id":"34600000001","user_id":"ES.2"}}]"#,
            contact(1)
        ),
        format!(
            r#""messages":[{ana},{eva}],"contacts":[{},{},{}]"#,
            contact(1),
            contact(2),
            contact(1)
        ),
        // Whoever hides the number gets nobody's when the others are gone.
        format!(
            r#""messages":[{ana},{hidden}],"contacts":[{only_number},{}]"#,
            contact(2)
        ),
        format!(r#""messages":[{ana},{hidden}],"contacts":[{only_number}]"#),
        format!(
            r#""messages":[{hidden}],"statuses":[{}],"contacts":[{only_number},{}]"#,
            status(1, ""),
            contact(2)
        ),
        format!(r#""messages":[{hidden},{{"id":"n"}}],"contacts":[{only_number}]"#),
        format!(
            r#""messages":[{{"id":"n"}}],"statuses":[{}],"contacts":[{only_number}]"#,
            status(2, "")
        ),
        format!(r#""messages":[{ana}],"groups":[{{"x":1}}],"\u0065rrors":[{{}},{{}}]"#),
    ];
    for value in &values {
        check(around(value).as_bytes());
        // Without a field it is one of messages all the same, and without a number there are errors.
        check(
            around(value)
                .replace(r#","field":"messages""#, "")
                .as_bytes(),
        );
    }
    let errors = around(r#""errors":[{},{"code":2}]"#);
    check(errors.replace(OWN, "").as_bytes());
    check(errors.replace(r#","field":"messages""#, "").as_bytes());
    for body in [
        r#"{"object":"page","entry":[{},{"changes":[{}]}]}"#,
        r#"{"entry":{"changes":{"field":"flows","value":{"messages":[{"id":"a"}]}}}}"#,
        r#"{"entry":[[],{"changes":7},{"changes":[{"field":"a","field":"b","value":{}},{"field":"flows","value":{}}]}]}"#,
        r#"{"entry":[{"changes":[{"field":"flows","value":{}}],"changes":[]},{"changes":[{"field":"flows","value":{}}]}]}"#,
        r#"{"entry":[{"changes":[{"field":"flows","value":{}}]},{"changes":[{"field":"flows","value":{"deep":DEEP}}]}]}"#,
    ] {
        check(
            body.replace(
                "DEEP",
                &format!("{}{}", "[".repeat(3_000), "]".repeat(3_000)),
            )
            .as_bytes(),
        );
    }
}

#[test]
fn bytes_that_are_no_text_stay_where_nobody_reads() {
    let body = around(
        r#""messages":[{"id":"a","from":"34600000001","x":"HEREé"},{"id":"b","from":"34600000002"}],"y":"HERE""#,
    );
    let mut bytes = Vec::new();
    for piece in body.split_inclusive("HERE") {
        bytes.extend(piece.trim_end_matches("HERE").as_bytes());
        if piece.ends_with("HERE") {
            bytes.extend(b"\xff\xe2\x82");
        }
    }
    check(&bytes);
    let part = cut(&bytes, |index| index == 0).unwrap();
    let odd = b"\"x\":\"\xff\xe2\x82\xc3\xa9\"";
    assert!(part.windows(odd.len()).any(|bytes| bytes == odd));
}

#[test]
fn a_contact_of_whom_two_readers_disagree_goes_along_with_nobody() {
    let body = around(
        r#""messages":[{"id":"a","from":"34600000001"}],"contacts":[{"wa_id":"34600000001","wa_id":"34600000002"}]"#,
    );
    let part = cut(body.as_bytes(), |_| true).unwrap();
    assert!(!has(&part, "34600000002") && !has(&part, "contacts"));
}

#[test]
fn a_contact_goes_along_with_those_who_bear_its_name() {
    let contact = |n: u32| json!({"wa_id": format!("3460000000{n}"), "user_id": format!("ES.{n}")});
    let status = |n: u32| json!({"id": format!("s{n}"), "status": "sent", "recipient_user_id": format!("ES.{n}")});
    let mut messages = [text("a", "x"), text("b", "x")];
    messages[0]["from"] = json!("34600000001");
    messages[1]["from"] = json!("34600000002");
    let body = body_of(json!({
        "contacts": [contact(1), contact(2), contact(3), contact(4)],
        "messages": messages, "statuses": [status(3)], "errors": [{}],
    }));
    let body = body.to_string();
    for (chosen, along) in [
        (vec![0], vec![1]),
        (vec![1], vec![2]),
        (vec![2], vec![3]),
        (vec![1, 2], vec![2, 3]),
        (vec![3], vec![]),
        (vec![0, 1, 2, 3], vec![1, 2, 3]),
    ] {
        let part = cut(body.as_bytes(), |index| chosen.contains(&index)).unwrap();
        let part: Value = serde_json::from_slice(&part).unwrap();
        let expected: Vec<Value> = along.into_iter().map(contact).collect();
        let found = &part["entry"][0]["changes"][0]["value"]["contacts"];
        if expected.is_empty() {
            assert_eq!(*found, Value::Null);
        } else {
            assert_eq!(*found, json!(expected));
        }
    }
}

#[test]
fn the_only_contact_goes_along_when_the_value_is_about_one_person() {
    let name = json!([{"profile": {"name": "Ana"}}]);
    let other = json!({"id": "b", "from": "34600000002"});
    let body = body_of(json!({"contacts": name, "messages": [text("a", "x")], "errors": [{}]}));
    let part = cut(body.to_string().as_bytes(), |index| index == 0).unwrap();
    assert!(has(&part, "Ana"));
    let body = body_of(json!({"contacts": name, "messages": [text("a", "x"), other]}));
    let part = cut(body.to_string().as_bytes(), |index| index == 0).unwrap();
    assert!(!has(&part, "Ana"));
}

#[test]
fn places_that_are_not_there_give_no_part() {
    let body = around(r#""messages":[{"id":"a","from":"34600000001"},7],"errors":{}"#);
    let parts = Parts::new(body.as_bytes()).unwrap();
    let place = |entry, change, what| Place {
        entry,
        change,
        what,
    };
    let message = place(0, 0, What::Message(0));
    assert!(parts.cut(body.as_bytes(), &[message]).is_some());
    let cut = |places: &[Place]| parts.cut(body.as_bytes(), places);
    assert_eq!(cut(&[message, message]), cut(&[message]));
    for places in [
        &[][..],
        &[place(1, 0, What::Change)],
        &[place(0, 1, What::Change)],
        &[place(0, 0, What::Message(1))],
        &[place(0, 0, What::Message(2))],
        &[place(0, 0, What::Status(0))],
        &[place(0, 0, What::Error(1))],
        &[message, place(0, 0, What::Error(1))],
        &[message, place(0, 0, What::Change)],
        &[message, place(0, 0, What::Body)],
        &[message, place(7, 0, What::Change)],
    ] {
        assert_eq!(cut(places), None, "{places:?}");
    }
    for odd in [
        &br#"{"entry":[{"changes":[{"value":{"messages":[{}],"messages":[{}]}}]}]}"#[..],
        br#"{"entry":[{"changes":[{"value":{"messages":[{}],"contacts":{},"contacts":{}}}]}]}"#,
    ] {
        assert_eq!(Parts::new(odd).unwrap().cut(odd, &[message]), None);
    }
    let single = br#"{"entry":{"changes":{"value":{"messages":{}}}}}"#;
    let parts = Parts::new(single).unwrap();
    assert!(parts.cut(single, &[message]).is_some());
    for (entry, change) in [(0, 1), (1, 0)] {
        let beside = place(entry, change, What::Change);
        assert_eq!(parts.cut(single, &[message, beside]), None);
    }
    for body in [&b"[]"[..], b"", b"{", b"\xff"] {
        assert!(Parts::new(body).is_none());
    }
}

#[test]
fn a_full_batch_is_cut_into_single_parts_in_time_of_its_size() {
    let messages: Vec<Value> = (0..1_000)
        .map(|n| {
            let mut message = text(&format!("wamid.{n}"), &"x".repeat(3_000));
            message["from"] = json!(format!("34600{n:06}"));
            message
        })
        .collect();
    let contacts: Vec<Value> = (0..1_000)
        .map(|n| json!({"wa_id": format!("34600{n:06}"), "profile": {"name": "Ana"}}))
        .collect();
    let body = body_of(json!({"contacts": contacts, "messages": messages})).to_string();
    assert!(body.len() > 3_000_000);
    let places: Vec<Place> = parsed(body.as_bytes())
        .places
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(places.len(), 1_000);
    let started = Instant::now();
    let parts = Parts::new(body.as_bytes()).unwrap();
    let mut bytes = 0;
    for place in places {
        bytes += parts.cut(body.as_bytes(), &[place]).unwrap().len();
    }
    // Reading the body once for each part would take a hundred times as long.
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert!(bytes < body.len() + 1_000 * 500, "{bytes} bytes");
}

/// One of few people, and what of an element is theirs.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    ChangedNumber,
    Status,
    Played,
    Error,
}

#[derive(Clone, Debug)]
struct Batch {
    /// Entries, their changes, and the elements of these; no elements stand for another field.
    entries: Vec<Vec<Vec<(Kind, usize)>>>,
    /// Whether the people of a value are in its contacts.
    with_contacts: bool,
    /// Whether lists of one are written as an object.
    bare: bool,
    space: &'static str,
}

fn number(person: usize) -> String {
    format!("3460000{person:04}")
}

fn bsuid(person: usize) -> String {
    format!("ES.9{person:04}9")
}

/// The names that the person's own elements bear.
fn names(person: usize, keys: [&str; 2]) -> String {
    let number = format!(r#""{}":"{}","#, keys[0], number(person));
    let bsuid = format!(r#""{}":"{}","#, keys[1], bsuid(person));
    match person % 3 {
        0 => number + &bsuid,
        1 => number,
        _ => bsuid,
    }
}

impl Batch {
    fn list(&self, elements: &[String]) -> String {
        match elements {
            [only] if self.bare => only.clone(),
            many => format!(
                "[{0}{1}{0}]",
                self.space,
                many.join(&format!(",{}", self.space))
            ),
        }
    }

    /// The body, and the raw text of each message in the order of the batch.
    fn write(&self) -> (String, Vec<String>) {
        let mut texts = Vec::new();
        let mut entries = Vec::new();
        for entry in &self.entries {
            let mut changes = Vec::new();
            for change in entry {
                changes.push(self.change(change, &mut texts));
            }
            entries.push(format!(
                r#"{{"id":"1",{}"changes":{},"more":{{}}}}"#,
                self.space,
                self.list(&changes)
            ));
        }
        let entries = self.list(&entries);
        (
            format!(r#"{{"object":"whatsapp_business_account","entry":{entries}}}"#),
            texts,
        )
    }

    fn change(&self, elements: &[(Kind, usize)], texts: &mut Vec<String>) -> String {
        if elements.is_empty() {
            return r#"{"field":"flows","value":{"event":"x"}}"#.to_owned();
        }
        let space = self.space;
        let mut lists: [Vec<String>; 4] = Default::default();
        let named =
            |(kind, person): &(Kind, usize)| (!matches!(kind, Kind::Error)).then_some(*person);
        let people: BTreeSet<usize> = elements.iter().filter_map(named).collect();
        for person in people.iter().filter(|_| self.with_contacts) {
            lists[0].push(format!(
                r#"{{"profile":{{"name":"Nombre{person:04}"}},{space}"wa_id":"{}","user_id":"{}"}}"#,
                number(*person),
                bsuid(*person)
            ));
        }
        for (kind, person) in elements {
            let n = texts.len();
            let from = names(*person, ["from", "from_user_id"]);
            let to = names(*person, ["recipient_id", "recipient_user_id"]);
            let (list, element) = match kind {
                Kind::Text => (
                    1,
                    format!(
                        r#"{{{from}{space}"id":"wamid.{n:05}","type":"text","text":{{{space}"body":"palabra{n:05} \u0040 \/ ñ"}},"new":[{{}}]}}"#
                    ),
                ),
                Kind::ChangedNumber => (
                    1,
                    format!(
                        r#"{{{from}"id":"wamid.{n:05}","type":"system",{space}"system":{{"type":"user_changed_number","previous_user_id":"{}"}}}}"#,
                        bsuid(*person)
                    ),
                ),
                Kind::Status => (2, format!(r#"{{{to}"id":"wamid.{n:05}","status":"read"}}"#)),
                Kind::Played => (
                    2,
                    format!(r#"{{{to}"id":"wamid.{n:05}","status":"played"}}"#),
                ),
                Kind::Error => (3, format!(r#"{{"code":131000,"title":"wamid.{n:05}"}}"#)),
            };
            texts.push(element.clone());
            lists[list].push(element);
        }
        let mut value = format!("{{{META}");
        for (key, list) in ["contacts", "messages", "statuses", "errors"]
            .iter()
            .zip(&lists)
        {
            if !list.is_empty() {
                write!(value, r#",{space}"{key}" : {}"#, self.list(list)).unwrap();
            }
        }
        format!(r#"{{{space}"value":{value},"more":1}},"field":"messages"}}"#)
    }
}

fn batch() -> impl Strategy<Value = Batch> {
    let kinds = vec![
        Kind::Text,
        Kind::Text,
        Kind::ChangedNumber,
        Kind::Status,
        Kind::Played,
        Kind::Error,
    ];
    let element = (proptest::sample::select(kinds), 0_usize..6);
    let change = proptest::collection::vec(element, 0..5);
    let entry = proptest::collection::vec(change, 1..4);
    let entries = proptest::collection::vec(entry, 1..4);
    let space = proptest::sample::select(vec!["", " ", "\r\n\t"]);
    (entries, any::<bool>(), any::<bool>(), space).prop_map(
        |(entries, with_contacts, bare, space)| Batch {
            entries,
            with_contacts,
            bare,
            space,
        },
    )
}

/// A number and a BSUID out of few, either of them or both in the other's place or missing.
fn any_names() -> impl Strategy<Value = [Value; 2]> {
    let name = proptest::sample::select(vec![
        Value::Null,
        json!("34600000001"),
        json!(34_600_000_002_u64),
        json!("ES.1"),
        json!("ES.2"),
        json!("Ana"),
    ]);
    [name.clone(), name]
}

/// The id of an element, by which its text is found; `None` for a whole change.
fn id_of(item: &WebhookItem) -> Option<String> {
    match item {
        WebhookItem::Message(message) => Some(message.id.as_str().to_owned()),
        WebhookItem::IdentityChanged(change) => Some(change.id.as_str().to_owned()),
        WebhookItem::Status(status) => Some(status.id.as_str().to_owned()),
        WebhookItem::Ignored(Ignored::UnknownStatus { id, .. }) => Some(id.as_str().to_owned()),
        WebhookItem::Notice(notice) => Some(notice.event.clone()),
        WebhookItem::Ignored(_) => None,
    }
}

proptest! {
    #[test]
    fn a_part_holds_its_elements_byte_for_byte_and_nobody_elses(
        batch in batch(),
        chosen in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let (body, texts) = batch.write();
        let whole = parsed(body.as_bytes());
        prop_assert!(whole.is_whole, "{body}");
        let part = cut(body.as_bytes(), |index| chosen[index]).unwrap_or_default();
        let people: Vec<usize> = batch.entries.iter().flatten().flatten().map(|(_, person)| *person).collect();
        let errors: Vec<bool> = batch.entries.iter().flatten().flatten().map(|(kind, _)| matches!(kind, Kind::Error)).collect();
        let mut present = BTreeSet::new();
        for (index, item) in whole.items.iter().enumerate() {
            let Some(id) = id_of(item) else { continue };
            let n: usize = id["wamid.".len()..].parse().unwrap();
            prop_assert_eq!(has(&part, &texts[n]), chosen[index]);
            prop_assert_eq!(has(&part, &id), chosen[index]);
            if matches!(item, WebhookItem::Message(_)) {
                prop_assert_eq!(has(&part, &format!("palabra{n:05}")), chosen[index]);
            }
            if chosen[index] && !errors[n] {
                present.insert(people[n]);
            }
        }
        for person in (0..6).filter(|person| !present.contains(person)) {
            for name in [number(person), bsuid(person), format!("Nombre{person:04}")] {
                prop_assert!(!has(&part, &name), "{} in {}", name, String::from_utf8_lossy(&part));
            }
        }
    }

    #[test]
    fn whatever_can_be_parsed_can_be_cut(odd in any_json(), subset: u64) {
        let message = text("a", "x");
        for body in [
            odd.clone(),
            json!({"entry": odd}),
            json!({"entry": [{"changes": odd}]}),
            json!({"entry": [{"changes": [{"field": "messages", "value": odd}]}]}),
            body_of(json!({"messages": odd, "statuses": odd, "contacts": odd, "errors": odd})),
            body_of(json!({"messages": [odd, message], "statuses": [odd], "contacts": [odd, odd], "errors": [odd]})),
        ] {
            let body = body.to_string();
            let bent = format!("{{\"title\":1e999999,{}", &body[1..]);
            for body in [body, bent] {
                if parse(body.as_bytes(), &own()).is_ok() {
                    cut(body.as_bytes(), |_| true);
                    cut(body.as_bytes(), |index| subset >> (index % 64) & 1 == 1);
                }
            }
        }
    }

    #[test]
    fn a_message_is_from_the_same_sender_in_every_part(
        contacts in proptest::collection::vec(any_names(), 0..4),
        messages in proptest::collection::vec(any_names(), 1..5),
        statuses in proptest::collection::vec(any_names(), 0..3),
    ) {
        let named = |id: String, [number, bsuid]: &[Value; 2], keys: [&str; 2]| {
            json!({"id": id, "status": "sent", keys[0]: number, keys[1]: bsuid})
        };
        let list = |people: &[[Value; 2]], id: &str, keys| -> Vec<Value> {
            let each = people.iter().enumerate();
            each.map(|(n, names)| named(format!("{id}{n}"), names, keys)).collect()
        };
        let body = body_of(json!({
            "contacts": list(&contacts, "c", ["wa_id", "user_id"]),
            "messages": list(&messages, "m", ["from", "from_user_id"]),
            "statuses": list(&statuses, "s", ["recipient_id", "recipient_user_id"]),
        }));
        check(body.to_string().as_bytes());
    }

    #[test]
    fn finding_parts_is_total_on_bytes(body: Vec<u8>, keep in 0_usize..2_000) {
        let _ = Parts::new(&body);
        let whole = fixture("text_message");
        let mut bent = whole[..keep.min(whole.len())].to_vec();
        bent.extend(body);
        let _ = Parts::new(&bent);
    }
}

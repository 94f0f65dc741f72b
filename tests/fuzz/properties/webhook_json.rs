//! F-3. A webhook's JSON: reading it is total and takes no more than it was given, one odd element
//! spoils nothing beside it, and what is cut out for the bot says the same as before.

use portero::domain::id::PhoneNumberId;
use portero::domain::message::{Content, Ignored, Sender, WebhookItem};
use portero::whatsapp::parts::Parts;
use portero::whatsapp::webhook::{self, Parsed};
use serde::de::IgnoredAny;

const OURS: &str = "106540352242922";

pub fn holds(input: &[u8]) {
    let whole = read(input);
    if let Some(parsed) = &whole {
        no_more_than_was_given(input, parsed);
        parts_say_what_the_whole_said(input, parsed);
    }
    if serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(input).is_ok() {
        assert!(whole.is_some(), "an object");
    }
    // Anything that is JSON, wherever an element may stand.
    if serde_json::from_slice::<IgnoredAny>(input).is_ok() && std::str::from_utf8(input).is_ok() {
        it_spoils_nothing_beside_it(input);
    }
}

fn read(body: &[u8]) -> Option<Parsed> {
    webhook::parse(body, &PhoneNumberId::parse(OURS).unwrap()).ok()
}

fn no_more_than_was_given(body: &[u8], parsed: &Parsed) {
    assert_eq!(parsed.items.len(), parsed.places.len());
    assert!(parsed.items.len() <= body.len());
    assert!(!parsed.is_whole || parsed.places.iter().all(Option::is_some));
    let told: usize = parsed.items.iter().map(bytes_of).sum();
    // What stands once in a change is told with each of its messages, as often as there are some.
    assert!(
        told <= body.len() * (1 + parsed.items.len()),
        "{told} bytes"
    );
    let mut ids = Vec::new();
    let mut ignored = 0;
    for (item, place) in parsed.items.iter().zip(&parsed.places) {
        match item {
            WebhookItem::Message(message) => {
                assert!(has_a_name(&message.sender));
                if let Content::Text(text) = &message.content {
                    assert!(text.len() <= Content::TEXT_BYTES_MAX);
                }
                ids.push(message.id.as_str());
            }
            WebhookItem::IdentityChanged(changed) => ids.push(changed.id.as_str()),
            WebhookItem::Ignored(why) => {
                ignored += 1;
                assert_eq!(place.is_some(), why.may_be_handed_on());
            }
            WebhookItem::Status(_) | WebhookItem::Notice(_) => assert!(place.is_some()),
        }
    }
    assert!(ignored <= 1_000);
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "a message that counts twice");
}

fn has_a_name(sender: &Sender) -> bool {
    sender.bsuid.is_some() || sender.wa_id.is_some()
}

fn bytes_of(item: &WebhookItem) -> usize {
    let names = |sender: &Sender| {
        let names = [
            sender.bsuid.as_ref().map(|name| name.as_str().len()),
            sender.wa_id.as_ref().map(|name| name.as_str().len()),
            sender.identity_key.as_ref().map(|key| key.as_str().len()),
        ];
        names.into_iter().flatten().sum::<usize>()
    };
    match item {
        WebhookItem::Message(message) => {
            let content = match &message.content {
                Content::Text(text) => text.len(),
                Content::Button { id } => id.len(),
                Content::Other(_) => 0,
            };
            message.id.as_str().len() + names(&message.sender) + content
        }
        WebhookItem::Status(update) => {
            let tag = update.tag.as_ref().map_or(0, String::len);
            let participant = update.participant.as_ref().map_or(0, String::len);
            update.id.as_str().len() + names(&update.recipient) + tag + participant
        }
        WebhookItem::IdentityChanged(changed) => changed.id.as_str().len() + names(&changed.before),
        // `error ` and the code are words of ours.
        WebhookItem::Notice(notice) => notice.event.len(),
        WebhookItem::Ignored(Ignored::UnknownStatus { id, recipient, tag }) => {
            id.as_str().len() + names(recipient) + tag.as_ref().map_or(0, String::len)
        }
        WebhookItem::Ignored(_) => 0,
    }
}

/// What goes on to the bot: each element alone, and all of them together.
fn parts_say_what_the_whole_said(body: &[u8], parsed: &Parsed) {
    let Some(parts) = Parts::new(body) else {
        return;
    };
    let placed = || {
        let both = parsed.items.iter().zip(&parsed.places);
        both.filter_map(|(item, place)| Some((item, (*place)?)))
    };
    for (item, place) in placed().take(8) {
        let cut = parts.cut(body, &[place]).expect("the place of an item");
        assert!(
            cut.len() <= body.len() + 256,
            "a part is longer than the whole"
        );
        let again = read(&cut).expect("a part is a body");
        assert!(
            again.items.contains(item),
            "{item:?} became {:?}",
            again.items
        );
        assert_eq!(again.items.len(), 1, "{:?}", again.items);
    }
    let places: Vec<_> = placed().map(|(_, place)| place).collect();
    if places.is_empty() {
        return;
    }
    let cut = parts.cut(body, &places).expect("the places of items");
    let again = read(&cut).expect("a part is a body");
    for (item, _) in placed() {
        assert!(again.items.contains(item), "{item:?} got lost");
    }
}

fn it_spoils_nothing_beside_it(odd: &[u8]) {
    let odd = std::str::from_utf8(odd).expect("checked above");
    let message = |id: &str| {
        format!(
            r#"{{"from":"573001234567","id":"{id}","timestamp":"1800000000","type":"text","text":{{"body":"hola"}}}}"#
        )
    };
    let (before, after) = (message("wamid.before"), message("wamid.after"));
    let value = |messages: &str| {
        format!(
            r#"{{"messaging_product":"whatsapp","metadata":{{"phone_number_id":"{OURS}"}},"messages":[{messages}]}}"#
        )
    };
    let change = |messages: &str| format!(r#"{{"field":"messages","value":{}}}"#, value(messages));
    let entry = |changes: &str| format!(r#"{{"id":"1","changes":[{changes}]}}"#);
    let root =
        |entries: &str| format!(r#"{{"object":"whatsapp_business_account","entry":[{entries}]}}"#);
    let bodies = [
        root(&entry(&change(&format!("{before},{odd},{after}")))),
        root(&entry(&format!(
            "{},{odd},{}",
            change(&before),
            change(&after)
        ))),
        root(&format!(
            "{},{odd},{}",
            entry(&change(&before)),
            entry(&change(&after))
        )),
    ];
    for body in bodies {
        let parsed = read(body.as_bytes()).expect("a body with something odd in it");
        for id in ["wamid.before", "wamid.after"] {
            let is_there = parsed.items.iter().any(|item| match item {
                WebhookItem::Message(message) => message.id.as_str() == id,
                WebhookItem::IdentityChanged(changed) => changed.id.as_str() == id,
                WebhookItem::Status(_) | WebhookItem::Notice(_) | WebhookItem::Ignored(_) => false,
            });
            assert!(is_there, "{id} got lost beside {odd}");
        }
        no_more_than_was_given(body.as_bytes(), &parsed);
    }
}

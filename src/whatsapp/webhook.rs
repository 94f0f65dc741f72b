//! What Meta posts to the webhook: whether it is Meta's, and what it says. Pure.
//!
//! Three questions in the order in which they must be asked: [`verify`] the signature over the raw
//! bytes, then [`parse`]; [`handshake`] answers the GET of the dashboard. Parsing is total and
//! tolerant: every level is optional, what is unknown is [`Ignored`], and one odd element never
//! spoils its batch, because an answer other than 200 to a signed body is resent for seven days
//! (Meta's contract, section 1.4).

use crate::domain::delivery::FailureKind;
use crate::domain::id::{
    Bsuid, IdentityKey, MessageId, PhoneNumberId, SECOND_MS, Secret, Timestamp, WaId,
};
use crate::domain::message::{
    Content, IdentityChanged, Ignored, Inbound, Notice, Provenance, Sender, Status, StatusUpdate,
    WebhookItem,
};
use hmac::{Hmac, KeyInit, Mac};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::Sha256;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Longest id of a button or list row that is looked at, in bytes; ours have at most 256 characters.
const BUTTON_ID_BYTES_MAX: usize = 1_024;
/// Longest `biz_opaque_callback_data` (Meta's contract, section 3).
const TAG_BYTES_MAX: usize = 512;
/// Longest topic or event of a notice, in characters: one line of a log.
const NOTICE_CHARS_MAX: usize = 80;
/// Ignored elements reported per body: they are only counted, and a batch has at most 1,000
/// updates (section 1.4), so that more say nothing new and must not cost memory.
const IGNORED_MAX: usize = 1_000;
/// Levels of a body that are looked at when it is read with patience; Meta's own shapes need 10.
const LEVELS_MAX: usize = 16;

/// Whether Meta signed this body: exactly one `X-Hub-Signature-256`, exactly `sha256=` and 64
/// lower-case hex digits (S-01), the HMAC-SHA256 of the raw bytes under one of the app secrets,
/// compared in constant time (S-02).
///
/// Several secrets let an operator replace one without losing messages. A body with non-ASCII
/// bytes is tried once more in Meta's escaped form, `\uXXXX` in lower case (Meta's contract,
/// section 1.2, step 4). An empty secret never matches.
pub fn verify(app_secrets: &[Secret], header_values: &[&str], body: &[u8]) -> bool {
    let [header] = header_values else {
        return false;
    };
    let Some(tag) = header.strip_prefix("sha256=").and_then(tag_of_hex) else {
        return false;
    };
    let signed_by_one = |feed: &dyn Fn(&mut Hmac<Sha256>)| {
        app_secrets
            .iter()
            .filter(|secret| !secret.reveal().is_empty())
            .filter_map(|secret| Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok())
            .any(|mut mac| {
                feed(&mut mac);
                mac.verify_slice(&tag).is_ok()
            })
    };
    if signed_by_one(&|mac| mac.update(body)) {
        return true;
    }
    match std::str::from_utf8(body) {
        Ok(text) if !text.is_ascii() => signed_by_one(&|mac| update_escaped(mac, text)),
        _ => false,
    }
}

fn tag_of_hex(hex: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(tag)
}

/// Feeds `text` with every non-ASCII character as lower-case `\uXXXX`, surrogate pairs included.
fn update_escaped(mac: &mut Hmac<Sha256>, text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| !c.is_ascii()) {
        let (ascii, after) = rest.split_at(start);
        mac.update(ascii.as_bytes());
        let end = after.find(|c: char| c.is_ascii()).unwrap_or(after.len());
        for unit in after[..end].encode_utf16() {
            mac.update(format!("\\u{unit:04x}").as_bytes());
        }
        rest = &after[end..];
    }
    mac.update(rest.as_bytes());
}

/// What to answer to the verification GET (Meta's contract, section 1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake<'a> {
    /// 200, `text/plain`, `nosniff`, and the challenge byte for byte.
    Accepted {
        /// 1 to 128 of `A–Z a–z 0–9 _ -`.
        challenge: &'a str,
    },
    /// 403: the token is wrong or missing.
    WrongToken,
    /// 400: the token is right, and the rest is not a handshake (S-08).
    Malformed,
}

/// Longest challenge that is echoed; Meta's have about ten characters.
const CHALLENGE_BYTES_MAX: usize = 128;

/// Judges `hub.mode`, `hub.verify_token` and `hub.challenge`. The token is compared in constant
/// time; an empty expected token refuses everybody.
pub fn handshake<'a>(
    mode: Option<&str>,
    verify_token: Option<&str>,
    challenge: Option<&'a str>,
    expected: &Secret,
) -> Handshake<'a> {
    let expected_is_set = !expected.reveal().is_empty();
    if !expected_is_set || !verify_token.is_some_and(|token| expected.matches(token)) {
        return Handshake::WrongToken;
    }
    let harmless = |challenge: &&str| {
        (1..=CHALLENGE_BYTES_MAX).contains(&challenge.len())
            && challenge
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    match challenge.filter(harmless) {
        Some(challenge) if mode == Some("subscribe") => Handshake::Accepted { challenge },
        _ => Handshake::Malformed,
    }
}

/// The body is not a JSON object in UTF-8. When it is signed, the answer is 200 all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood;

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is not a JSON object")
    }
}

impl std::error::Error for NotUnderstood {}

/// Reads a verified body into what it says, in the order of the batch (Meta's contract, sections
/// 2.1 to 2.8).
///
/// Items never outnumber the elements of the body; a message id that appears twice counts once; an
/// element in which a key that is read here appears twice is [`Ignored::Malformed`] (S-76), because
/// two readers could disagree about it. A message without a usable time is as old as the epoch, so
/// that it can be passed on and never authenticate. Time and memory are linear in the size.
pub fn parse(
    body: &[u8],
    phone_number_id: &PhoneNumberId,
) -> Result<Vec<WebhookItem>, NotUnderstood> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let tree = match serde_json::from_slice::<Json<'_>>(body) {
        Ok(tree) => tree,
        // What serde_json refuses as a whole (half a surrogate pair, a number beyond f64, great
        // depth) may be one odd element among good ones.
        Err(_) => {
            let raw = serde_json::from_slice::<&RawValue>(body).map_err(|_| NotUnderstood)?;
            patient(raw, 0)
        }
    };
    let Json::Object(root) = &tree else {
        return Err(NotUnderstood);
    };
    let mut batch = Batch {
        phone_number_id,
        items: Vec::new(),
        ignored: 0,
        seen: HashSet::new(),
    };
    batch.root(root);
    Ok(batch.items)
}

/// The items of one body as they are found.
struct Batch<'t> {
    phone_number_id: &'t PhoneNumberId,
    items: Vec<WebhookItem>,
    ignored: usize,
    seen: HashSet<&'t str>,
}

impl<'t> Batch<'t> {
    fn root(&mut self, root: &'t Object<'_>) {
        if root.has_duplicates_itself {
            return self.ignore(Ignored::Malformed, 1);
        }
        let ours = |object: &str| object == "whatsapp_business_account";
        if root.text(Key::Object).is_some_and(|object| !ours(object)) {
            return self.ignore(Ignored::UnknownField, 1);
        }
        for entry in self.elements(root, Key::Entry) {
            if entry.has_duplicates_itself {
                self.ignore(Ignored::Malformed, 1);
                continue;
            }
            for change in self.elements(entry, Key::Changes) {
                self.change(change);
            }
        }
    }

    /// The objects of a list; a single object stands for a list of one, as some bridges write it.
    /// Whatever else is in the list is counted.
    fn elements<'o, 'a>(&mut self, object: &'o Object<'a>, key: Key) -> &'o [Object<'a>] {
        match object.get(key) {
            None | Some(Json::No) => &[],
            Some(Json::Array { objects, odd }) => {
                self.ignore(Ignored::Malformed, *odd);
                objects
            }
            Some(Json::Object(single)) => std::slice::from_ref(single),
            Some(_) => {
                self.ignore(Ignored::Malformed, 1);
                &[]
            }
        }
    }

    fn ignore(&mut self, why: Ignored, count: usize) {
        let count = count.min(IGNORED_MAX - self.ignored);
        self.ignored += count;
        self.items
            .extend(std::iter::repeat_n(WebhookItem::Ignored(why), count));
    }

    fn change(&mut self, change: &'t Object<'_>) {
        let value = match change.get(Key::Value) {
            Some(Json::Object(value)) => value,
            _ => return self.ignore(Ignored::Malformed, 1),
        };
        if change.has_duplicates_itself || value.has_duplicates_itself {
            return self.ignore(Ignored::Malformed, 1);
        }
        let is_messages = |key| value.get(key).is_some();
        match change.text(Key::Field) {
            Some("messages") => self.messages_value(value),
            None if is_messages(Key::Messages) || is_messages(Key::Statuses) => {
                self.messages_value(value);
            }
            Some(field) => match notice_of_field(field, value) {
                Some(notice) => self.items.push(WebhookItem::Notice(notice)),
                None => self.ignore(Ignored::UnknownField, 1),
            },
            None => self.ignore(Ignored::Malformed, 1),
        }
    }

    fn messages_value(&mut self, value: &'t Object<'_>) {
        // S-06: one app receives the events of all its numbers on one URL. Without a number
        // nothing can be attributed.
        let refused = match value.object(Key::Metadata) {
            Some(metadata) if metadata.has_duplicates_itself => Some(Ignored::Malformed),
            Some(metadata) => match metadata.digits(Key::PhoneNumberId) {
                Some(id) if id == self.phone_number_id.as_str() => None,
                Some(_) => Some(Ignored::ForeignNumber),
                None => Some(Ignored::Malformed),
            },
            None => Some(Ignored::Malformed),
        };
        let messages = self.elements(value, Key::Messages);
        let statuses = self.elements(value, Key::Statuses);
        let errors = self.elements(value, Key::Errors);
        if messages.is_empty() && statuses.is_empty() && errors.is_empty() {
            return self.ignore(refused.unwrap_or(Ignored::UnknownField), 1);
        }
        if let Some(why) = refused {
            self.ignore(why, messages.len() + statuses.len());
        } else {
            let contacts = Contacts::of(value);
            for message in messages {
                self.message(message, &contacts);
            }
            for status in statuses {
                match status_update(status) {
                    Ok(update) => self.items.push(WebhookItem::Status(update)),
                    Err(why) => self.ignore(why, 1),
                }
            }
        }
        if refused == Some(Ignored::ForeignNumber) {
            return self.ignore(Ignored::ForeignNumber, errors.len());
        }
        for error in errors {
            self.items.push(WebhookItem::Notice(notice_of_error(error)));
        }
    }

    fn message(&mut self, message: &'t Object<'_>, contacts: &Contacts) {
        let Some(item) = message_item(message, contacts) else {
            return self.ignore(Ignored::Malformed, 1);
        };
        // A malformed namesake must not hide the message that can be read, so the mark comes last.
        if message.text(Key::Id).is_some_and(|id| self.seen.insert(id)) {
            self.items.push(item);
        }
    }
}

fn message_item(message: &Object<'_>, contacts: &Contacts) -> Option<WebhookItem> {
    if message.has_duplicates() {
        return None;
    }
    let id = MessageId::parse(message.text(Key::Id)?).ok()?;
    let sent_at = message.time();
    let kind = message.text(Key::Type).unwrap_or("");
    let system = message.object(Key::System);
    let change = system.and_then(|s| s.text(Key::Type)).unwrap_or(kind);
    if let Some(before) = names_before(change, message, system, contacts) {
        return before.map(|before| {
            WebhookItem::IdentityChanged(IdentityChanged {
                id,
                at: sent_at,
                before,
            })
        });
    }
    Some(WebhookItem::Message(Inbound {
        id,
        sender: contacts.sender(message)?,
        sent_at,
        content: content(kind, message),
        provenance: provenance(message),
    }))
}

/// The names that a person had before a system message (Meta's contract, section 2.3): `None` when
/// `change` is no change of identity, `Some(None)` when it is and names nobody.
fn names_before(
    change: &str,
    message: &Object<'_>,
    system: Option<&Object<'_>>,
    contacts: &Contacts,
) -> Option<Option<Sender>> {
    let of_system = |key| system.and_then(|system| system.digits(key));
    let mut before = Sender::default();
    match change {
        // The account is the same, so its names are those of the message.
        "customer_identity_changed" | "user_identity_changed" => {
            before = contacts.sender(message).unwrap_or_default();
            before.identity_key = None;
            if let Some(name) = of_system(Key::Customer) {
                add_name(&mut before, &name);
            }
        }
        "user_changed_number"
        | "customer_changed_number"
        | "user_changed_user_id"
        | "customer_changed_user_id" => {
            let new = [Key::WaId, Key::NewWaId, Key::UserId].map(of_system);
            let candidates = [
                of_system(Key::PreviousUserId),
                message.digits(Key::From),
                of_system(Key::Customer),
                message.digits(Key::FromUserId),
            ];
            for name in candidates.iter().flatten() {
                if !new.iter().flatten().any(|new| new == name) {
                    add_name(&mut before, name);
                }
            }
        }
        _ => return None,
    }
    Some(has_a_name(&before).then_some(before))
}

fn content(kind: &str, message: &Object<'_>) -> Content {
    let button = |id: Option<&str>, other| match id {
        Some(id) if id.len() <= BUTTON_ID_BYTES_MAX => Content::Button { id: id.to_owned() },
        _ => Content::Other(other),
    };
    match kind {
        "text" => match message.object(Key::Text).and_then(|t| t.text(Key::Body)) {
            Some(body) => Content::Text(cut(body, Content::TEXT_BYTES_MAX).to_owned()),
            None => Content::Other("text"),
        },
        "interactive" => {
            let interactive = message.object(Key::Interactive);
            let reply = interactive.and_then(|interactive| match interactive.text(Key::Type)? {
                "button_reply" => interactive.object(Key::ButtonReply),
                "list_reply" => interactive.object(Key::ListReply),
                _ => None,
            });
            button(reply.and_then(|reply| reply.text(Key::Id)), "interactive")
        }
        "button" => {
            let tapped = message.object(Key::Button);
            button(
                tapped.and_then(|tapped| tapped.text(Key::Payload)),
                "button",
            )
        }
        _ => Content::Other(known_type(kind)),
    }
}

/// Meta's name of a type that carries nothing for a sign-in (Meta's contract, section 2.2).
fn known_type(kind: &str) -> &'static str {
    const KNOWN: [&str; 14] = [
        "image",
        "video",
        "audio",
        "document",
        "sticker",
        "location",
        "contacts",
        "reaction",
        "order",
        "unsupported",
        "edit",
        "revoke",
        "system",
        "request_welcome",
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == kind)
        .unwrap_or("unknown")
}

/// In doubt a message did not come directly: then it may not carry a secret (S-07).
fn provenance(message: &Object<'_>) -> Provenance {
    let said = |value: Option<&Json<'_>>| !matches!(value, None | Some(Json::No));
    if said(message.get(Key::GroupId)) {
        return Provenance::Group;
    }
    let forwarded = match message.get(Key::Context) {
        None | Some(Json::No) => false,
        Some(Json::Object(context)) => {
            said(context.get(Key::Forwarded)) || said(context.get(Key::FrequentlyForwarded))
        }
        Some(_) => true,
    };
    if forwarded {
        Provenance::Forwarded
    } else {
        Provenance::Direct
    }
}

/// Takes a name by its shape, not by the field it came in: some bridges write a BSUID into `from`
/// or `wa_id` (Meta's contract, section 2.6, rule 2). The first of a shape stays.
fn add_name(sender: &mut Sender, name: &str) {
    if let Ok(bsuid) = Bsuid::parse(name) {
        sender.bsuid.get_or_insert(bsuid);
    } else if let Ok(wa_id) = WaId::parse(name) {
        sender.wa_id.get_or_insert(wa_id);
    }
}

fn has_a_name(sender: &Sender) -> bool {
    sender.bsuid.is_some() || sender.wa_id.is_some()
}

fn names(sender: &Sender) -> impl Iterator<Item = &str> {
    let bsuid = sender.bsuid.as_ref().map(Bsuid::as_str);
    bsuid
        .into_iter()
        .chain(sender.wa_id.as_ref().map(WaId::as_str))
}

/// Whether nothing says that these are two people.
fn agree(one: &Sender, other: &Sender) -> bool {
    let differ = |one: Option<&str>, other: Option<&str>| {
        one.zip(other).is_some_and(|(one, other)| one != other)
    };
    !differ(
        one.bsuid.as_ref().map(Bsuid::as_str),
        other.bsuid.as_ref().map(Bsuid::as_str),
    ) && !differ(
        one.wa_id.as_ref().map(WaId::as_str),
        other.wa_id.as_ref().map(WaId::as_str),
    )
}

/// `contacts[]` of one value, findable by either name.
struct Contacts {
    known: Vec<Sender>,
    /// Index in `known`; `None` when two different contacts share the name.
    by_name: HashMap<String, Option<usize>>,
}

impl Contacts {
    fn of(value: &Object<'_>) -> Contacts {
        let objects = match value.get(Key::Contacts) {
            Some(Json::Array { objects, .. }) => objects.as_slice(),
            Some(Json::Object(single)) => std::slice::from_ref(single),
            _ => &[],
        };
        let mut contacts = Contacts {
            known: Vec::with_capacity(objects.len()),
            by_name: HashMap::new(),
        };
        for object in objects.iter().filter(|object| !object.has_duplicates()) {
            let mut contact = Sender::default();
            for key in [Key::UserId, Key::WaId] {
                if let Some(name) = object.digits(key) {
                    add_name(&mut contact, &name);
                }
            }
            contact.identity_key = object
                .text(Key::IdentityKeyHash)
                .and_then(|key| IdentityKey::parse(key).ok());
            // The same person twice is one person, and an entry without names is nobody.
            if has_a_name(&contact) && contacts.known.last() != Some(&contact) {
                contacts.known.push(contact);
            }
        }
        if contacts.known.len() > 1 {
            for (index, contact) in contacts.known.iter().enumerate() {
                for name in names(contact) {
                    contacts
                        .by_name
                        .entry(name.to_owned())
                        .and_modify(|at| {
                            if at.is_some_and(|at| contacts.known[at] != *contact) {
                                *at = None;
                            }
                        })
                        .or_insert(Some(index));
                }
            }
        }
        contacts
    }

    /// Who wrote `message` (section 2.6, rule 2), or `None` when nobody who could be answered.
    ///
    /// A contact lends its other names and its identity key only when it is certainly the same
    /// person: it shares a name with the message or is the only one, and contradicts nothing.
    fn sender(&self, message: &Object<'_>) -> Option<Sender> {
        let mut sender = Sender::default();
        for key in [Key::FromUserId, Key::From] {
            if let Some(name) = message.digits(key) {
                add_name(&mut sender, &name);
            }
        }
        let contact = match self.known.as_slice() {
            [only] => Some(only),
            many => names(&sender)
                .find_map(|name| self.by_name.get(name).copied().flatten())
                .map(|index| &many[index]),
        };
        if let Some(contact) = contact.filter(|contact| agree(contact, &sender)) {
            sender.bsuid = sender.bsuid.or_else(|| contact.bsuid.clone());
            sender.wa_id = sender.wa_id.or_else(|| contact.wa_id.clone());
            sender.identity_key = contact.identity_key.clone();
        }
        has_a_name(&sender).then_some(sender)
    }
}

fn status_update(status: &Object<'_>) -> Result<StatusUpdate, Ignored> {
    if status.has_duplicates() {
        return Err(Ignored::Malformed);
    }
    let id = status
        .text(Key::Id)
        .and_then(|id| MessageId::parse(id).ok());
    let id = id.ok_or(Ignored::Malformed)?;
    let what = match status.text(Key::Status).ok_or(Ignored::Malformed)? {
        "sent" => Status::Sent,
        "delivered" => Status::Delivered,
        "read" => Status::Read,
        "failed" => Status::Failed,
        _ => return Err(Ignored::UnknownStatus),
    };
    let first_error = match status.get(Key::Errors) {
        Some(Json::Array { objects, .. }) => objects.first(),
        Some(Json::Object(single)) => Some(single),
        _ => None,
    };
    let error_code = first_error
        .filter(|_| what == Status::Failed)
        .and_then(|error| error.number(Key::Code))
        .and_then(|code| u32::try_from(code).ok());
    let tag = status
        .text(Key::BizOpaqueCallbackData)
        .filter(|tag| tag.len() <= TAG_BYTES_MAX);
    Ok(StatusUpdate {
        id,
        status: what,
        at: status.time(),
        tag: tag.map(str::to_owned),
        error_code,
    })
}

/// `value.errors[]`: something is wrong with the app or the account.
fn notice_of_error(error: &Object<'_>) -> Notice {
    let code = error
        .number(Key::Code)
        .and_then(|code| u32::try_from(code).ok());
    Notice {
        topic: code.map_or("error".to_owned(), |code| format!("error {code}")),
        event: one_line(error.text(Key::Title).or(error.text(Key::Message))),
        severe: code
            .is_some_and(|code| super::failure_of_code(code).kind == FailureKind::Configuration),
    }
}

/// The fields that an operator should hear of (Meta's contract, section 1.5); the others are
/// ignored quietly.
fn notice_of_field(field: &str, value: &Object<'_>) -> Option<Notice> {
    let alert = value.object(Key::AlertInfo).unwrap_or(value);
    let event = match field {
        "account_update"
        | "security"
        | "phone_number_quality_update"
        | "message_template_status_update" => value.text(Key::Event),
        "phone_number_name_update" | "account_review_update" => value.text(Key::Decision),
        "account_alerts" => alert.text(Key::AlertType),
        "business_capability_update" => None,
        _ => return None,
    };
    let severe = match field {
        "account_update" => matches!(
            event,
            Some(
                "ACCOUNT_VIOLATION"
                    | "ACCOUNT_RESTRICTION"
                    | "DISABLED_UPDATE"
                    | "ACCOUNT_DELETED"
                    | "ACCOUNT_OFFBOARDED"
            )
        ),
        "account_alerts" => alert.text(Key::AlertSeverity) == Some("CRITICAL"),
        _ => false,
    };
    Some(Notice {
        topic: field.to_owned(),
        event: one_line(event),
        severe,
    })
}

/// Text from outside as it may stand in a log line (S-90): short, without control characters and
/// without the marks that turn the direction of writing.
fn one_line(text: Option<&str>) -> String {
    let turns = |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.unwrap_or("")
        .chars()
        .filter(|c| !c.is_control() && !turns(c))
        .take(NOTICE_CHARS_MAX)
        .collect()
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends with a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// JSON as far as it is read here: keys that are not in [`Key`] are checked and dropped, and what
/// nobody asks for leaves a mark, so that hostile bodies cost little memory.
enum Json<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    /// `null` or `false`.
    No,
    /// Present, and of no shape that is read: `true`, a fraction, half a surrogate pair.
    Odd,
    Object(Object<'a>),
    Array {
        objects: Vec<Object<'a>>,
        /// How many elements are no objects.
        odd: usize,
    },
}

#[derive(Default)]
struct Object<'a> {
    fields: Vec<(Key, Json<'a>)>,
    /// Whether a key of [`Key`] appears twice; the first value is kept.
    has_duplicates_itself: bool,
}

impl<'a> Object<'a> {
    fn put(&mut self, key: Key, value: Json<'a>) {
        if self.get(key).is_some() {
            self.has_duplicates_itself = true;
        } else {
            self.fields.push((key, value));
        }
    }

    fn get(&self, key: Key) -> Option<&Json<'a>> {
        let mut fields = self.fields.iter();
        fields
            .find(|(other, _)| *other == key)
            .map(|(_, value)| value)
    }

    fn text(&self, key: Key) -> Option<&str> {
        match self.get(key) {
            Some(Json::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// An id or a number of digits that some senders write without quotes.
    fn digits(&self, key: Key) -> Option<Cow<'_, str>> {
        match self.get(key) {
            Some(Json::Text(text)) => Some(Cow::Borrowed(text)),
            Some(Json::Number(number)) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    fn number(&self, key: Key) -> Option<u64> {
        match self.get(key) {
            Some(Json::Text(text)) => text.parse().ok(),
            Some(Json::Number(number)) => Some(*number),
            _ => None,
        }
    }

    fn object(&self, key: Key) -> Option<&Object<'a>> {
        match self.get(key) {
            Some(Json::Object(object)) => Some(object),
            _ => None,
        }
    }

    /// `timestamp`, Unix seconds as text or number; the epoch when there is none.
    fn time(&self) -> Timestamp {
        let seconds = self.number(Key::Timestamp).unwrap_or(0);
        Timestamp(seconds.saturating_mul(SECOND_MS))
    }

    /// Whether a key appears twice here or further in.
    fn has_duplicates(&self) -> bool {
        self.has_duplicates_itself
            || self.fields.iter().any(|(_, value)| match value {
                Json::Object(object) => object.has_duplicates(),
                Json::Array { objects, .. } => objects.iter().any(Object::has_duplicates),
                _ => false,
            })
    }
}

macro_rules! keys {
    ($($name:ident = $text:literal,)*) => {
        /// The keys that are read; all others are skipped.
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Key { $($name,)* }

        impl Key {
            fn of(text: &str) -> Option<Key> {
                match text {
                    $($text => Some(Key::$name),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        const KEYS: &[&str] = &[$($text,)*];
    };
}

keys! {
    AlertInfo = "alert_info",
    AlertSeverity = "alert_severity",
    AlertType = "alert_type",
    BizOpaqueCallbackData = "biz_opaque_callback_data",
    Body = "body",
    Button = "button",
    ButtonReply = "button_reply",
    Changes = "changes",
    Code = "code",
    Contacts = "contacts",
    Context = "context",
    Customer = "customer",
    Decision = "decision",
    Entry = "entry",
    Errors = "errors",
    Event = "event",
    Field = "field",
    Forwarded = "forwarded",
    FrequentlyForwarded = "frequently_forwarded",
    From = "from",
    FromUserId = "from_user_id",
    GroupId = "group_id",
    Id = "id",
    IdentityKeyHash = "identity_key_hash",
    Interactive = "interactive",
    ListReply = "list_reply",
    Message = "message",
    Messages = "messages",
    Metadata = "metadata",
    NewWaId = "new_wa_id",
    Object = "object",
    Payload = "payload",
    PhoneNumberId = "phone_number_id",
    PreviousUserId = "previous_user_id",
    Status = "status",
    Statuses = "statuses",
    System = "system",
    Text = "text",
    Timestamp = "timestamp",
    Title = "title",
    Type = "type",
    UserId = "user_id",
    Value = "value",
    WaId = "wa_id",
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<Key>;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<Option<Key>, D::Error> {
        key.deserialize_str(self)
    }
}

struct KeySeed;

impl Visitor<'_> for KeySeed {
    type Value = Option<Key>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Option<Key>, E> {
        Ok(Key::of(text))
    }
}

impl<'de> serde::Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Json<'de>, D::Error> {
        value.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json<'de>, E> {
        Ok(Json::Odd)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json<'de>, E> {
        Ok(Json::Odd)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Json<'de>, E> {
        Ok(if yes { Json::Odd } else { Json::No })
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::No)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json<'de>, A::Error> {
        let (mut objects, mut odd) = (Vec::new(), 0);
        while let Some(element) = elements.next_element()? {
            match element {
                Json::Object(object) => objects.push(object),
                _ => odd += 1,
            }
        }
        Ok(Json::Array { objects, odd })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json<'de>, A::Error> {
        let mut object = Object::default();
        while let Some(key) = fields.next_key_seed(KeySeed)? {
            match key {
                Some(key) => object.put(key, fields.next_value()?),
                None => {
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Json::Object(object))
    }
}

/// The same reading level by level: what cannot be read is odd where it stands and nowhere else.
/// Each level scans its text once more, so the cost is at most [`LEVELS_MAX`] times the size.
fn patient(raw: &RawValue, level: usize) -> Json<'_> {
    let text = raw.get();
    match text.as_bytes().first() {
        _ if level >= LEVELS_MAX => Json::Odd,
        Some(b'{') => match serde_json::from_str::<RawFields<'_>>(text) {
            Ok(RawFields(fields)) => {
                let mut object = Object::default();
                for (key, value) in fields {
                    object.put(key, patient(value, level + 1));
                }
                Json::Object(object)
            }
            Err(_) => Json::Odd,
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Ok(elements) => {
                let (mut objects, mut odd) = (Vec::new(), 0);
                for element in elements {
                    match patient(element, level + 1) {
                        Json::Object(object) => objects.push(object),
                        _ => odd += 1,
                    }
                }
                Json::Array { objects, odd }
            }
            Err(_) => Json::Odd,
        },
        Some(b'"') => match serde_json::from_str::<LossyText>(text) {
            Ok(LossyText(text)) => Json::Text(Cow::Owned(text)),
            Err(_) => Json::Odd,
        },
        _ => serde_json::from_str(text).unwrap_or(Json::Odd),
    }
}

struct RawFields<'a>(Vec<(Key, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<RawFields<'de>, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RawFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawFields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key_seed(KeySeed)? {
                    let value = map.next_value()?;
                    fields.extend(key.map(|key| (key, value)));
                }
                Ok(RawFields(fields))
            }
        }

        value.deserialize_map(FieldsVisitor)
    }
}

/// Text in which half a surrogate pair has become U+FFFD.
struct LossyText(String);

impl<'de> serde::Deserialize<'de> for LossyText {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<LossyText, D::Error> {
        struct BytesVisitor;

        impl Visitor<'_> for BytesVisitor {
            type Value = LossyText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<LossyText, E> {
                Ok(LossyText(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        value.deserialize_bytes(BytesVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const FIRST: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;
    const V4: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"type":"text","text":{"body":"ana\u0040ejemplo.es \u00bfs\u00ed? \ud83d\udc4d https:\/\/x.y"}}]}}]}]}"#;
    const V5: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"type":"text","text":{"body":"ana@ejemplo.es ¿sí? 👍 https://x.y"}}]}}]}]}"#;
    const FIRST_TAG: &str = "dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn sign(key: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(body);
        let tag = mac.finalize().into_bytes();
        let hex: String = tag.iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256={hex}")
    }

    #[test]
    fn the_published_vectors_verify() {
        assert_eq!((V4.len(), V5.len()), (211, 188));
        let spaced = br#"{"object": "whatsapp_business_account", "entry": []}"#;
        let vectors: [(&str, &[u8], &str); 5] = [
            ("test_app_secret", FIRST, FIRST_TAG),
            (
                "test_app_secret",
                spaced,
                "56cbbaf4961c6cfdae48b7f116c047e5eb513d2c931baae63a2bc1afd26f803a",
            ),
            (
                "otro_secreto",
                FIRST,
                "769b03d8c2ae6498f2d1e1f7299c0ba55448c69d741e7b0bb243d852d8a8d8c7",
            ),
            (
                "portero-test-secret",
                V4.as_bytes(),
                "43cd8e6c4c2bba2cd571dc8dbd5644b427f9ae0af435cc3bcf711fdd23419eae",
            ),
            (
                "portero-test-secret",
                V5.as_bytes(),
                "acb1cb9c6f5d7b604e9da49e4c07787b86e7a74f31d30dbfa60282cdc239c520",
            ),
        ];
        for (key, body, hex) in vectors {
            assert!(verify(&[secret(key)], &[&format!("sha256={hex}")], body));
            assert!(!verify(
                &[secret("another")],
                &[&format!("sha256={hex}")],
                body
            ));
        }
    }

    #[test]
    fn every_forged_or_odd_signature_is_refused() {
        let keys = [secret("test_app_secret")];
        let good = format!("sha256={FIRST_TAG}");
        assert!(verify(&keys, &[&good], FIRST));
        let bad = sign("verify-token", FIRST);
        let headers: &[&[&str]] = &[
            &[],
            &[""],
            &["sha256="],
            &[FIRST_TAG],
            &[&format!("sha1={FIRST_TAG}")],
            &[&format!("SHA256={FIRST_TAG}")],
            &[&good[..good.len() - 1]],
            &[&format!("{good}0")],
            &[&good.to_uppercase().replace("SHA256", "sha256")],
            &[&format!("{good} ")],
            &[&format!(" {good}")],
            &[&format!("{good}\n")],
            &[&format!("sha256= {}", &FIRST_TAG[1..])],
            &[&format!("sha256={}é", &FIRST_TAG[2..])],
            &[&good, &bad],
            &[&bad, &good],
            &[&good, &good],
            &[&bad],
            &[&sign("other-company", FIRST)],
        ];
        for headers in headers {
            assert!(!verify(&keys, headers, FIRST), "{headers:?}");
        }
        assert!(!verify(&keys, &[&good], b""), "another body");
        for bit in 0..FIRST.len() * 8 {
            let mut body = FIRST.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&keys, &[&good], &body), "bit {bit}");
        }
        assert!(!verify(&[], &[&good], FIRST), "no secret at all");
        let empty = sign("", FIRST);
        assert!(!verify(&[secret("")], &[&empty], FIRST), "an empty secret");
    }

    #[test]
    fn the_previous_secret_verifies_beside_the_current_one() {
        let keys = [secret("new"), secret("old")];
        for key in ["new", "old"] {
            assert!(verify(&keys, &[&sign(key, FIRST)], FIRST));
        }
        assert!(!verify(&keys, &[&sign("older", FIRST)], FIRST));
    }

    #[test]
    fn the_raw_bytes_are_what_is_verified() {
        for body in [
            r#"{"a":"\u00e1"}"#,
            r#"{"a":"👍"}"#,
            r#"{"a":"\/"}"#,
            "{\r\n}",
            "{}\n",
            "\u{feff}{}",
        ] {
            let header = sign("k", body.as_bytes());
            assert!(
                verify(&[secret("k")], &[&header], body.as_bytes()),
                "{body}"
            );
        }
        let invalid = b"{\"a\":\"\xff\"}";
        assert!(verify(&[secret("k")], &[&sign("k", invalid)], invalid));
    }

    #[test]
    fn a_body_in_utf8_verifies_under_its_escaped_form() {
        let escaped = r#"{"a":"\u00bfs\u00ed? \ud83d\udc4d / @","b":"\u20ac"}"#;
        let plain = r#"{"a":"¿sí? 👍 / @","b":"€"}"#;
        let header = sign("k", escaped.as_bytes());
        assert!(verify(&[secret("k")], &[&header], plain.as_bytes()));
        assert!(!verify(
            &[secret("k")],
            &[&header],
            plain.replace('€', "£").as_bytes()
        ));
        let upper = sign("k", escaped.to_uppercase().as_bytes());
        assert!(!verify(&[secret("k")], &[&upper], plain.as_bytes()));
    }

    #[test]
    fn the_handshake_echoes_only_a_harmless_challenge() {
        let expected = secret("geheim");
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
        let unset = handshake(Some("subscribe"), Some(""), Some("1"), &secret(""));
        assert_eq!(unset, Handshake::WrongToken, "an empty token opens nothing");
    }

    const OWN: &str = "106540352242922";
    const NUMBER: &str = "16505551234";
    const BSUID: &str = "US.13491208655302741918";

    fn own() -> PhoneNumberId {
        PhoneNumberId::parse(OWN).unwrap()
    }

    fn items(body: &Value) -> Vec<WebhookItem> {
        parse(body.to_string().as_bytes(), &own()).unwrap()
    }

    /// A body around one `value` with our own number in its metadata.
    fn body_of(mut value: Value) -> Value {
        value["metadata"] = json!({"display_phone_number": "15550783881", "phone_number_id": OWN});
        json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
            {"value": value, "field": "messages"}]}]})
    }

    fn of_messages(messages: Value) -> Vec<WebhookItem> {
        items(&body_of(json!({"messages": messages})))
    }

    fn text(id: &str, body: &str) -> Value {
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

    fn sender(bsuid: Option<&str>, wa_id: Option<&str>) -> Sender {
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
            let message = only_message(parse(&fixture(name), &own()).unwrap());
            assert!(message.id.as_str().starts_with("wamid."), "{name}");
            assert_eq!(message.content, content, "{name}");
            assert_eq!(message.sent_at, Timestamp(seconds * 1_000), "{name}");
            assert_eq!(message.sender, sender(None, Some(NUMBER)), "{name}");
            assert_eq!(message.provenance, Provenance::Direct, "{name}");
        }
    }

    fn fixture(name: &str) -> Vec<u8> {
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
            assert_eq!(parse(&fixture(name), &own()).unwrap(), ignored, "{name}");
        }
        let changed = WebhookItem::IdentityChanged(IdentityChanged {
            id: MessageId::parse("wamid.HBgLMTk4MzU1NTE5NzQVAgASGAoxMTgyMDg2MjY3AA==").unwrap(),
            at: Timestamp(1_750_269_342_000),
            before: sender(None, Some(NUMBER)),
        });
        assert_eq!(
            parse(&fixture("system_message"), &own()).unwrap(),
            [changed]
        );
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
            assert_eq!(parse(&fixture(name), &other).unwrap(), foreign, "{name}");
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
                tag: tag.map(str::to_owned),
                error_code,
            })
        };
        let error = json!([{"code": 131047, "title": "Re-engagement message"}]);
        let unknown = WebhookItem::Ignored(Ignored::UnknownStatus);
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
    fn the_operator_hears_of_the_account_and_of_nothing_quiet() {
        let notice = |topic: &str, event: &str, severe| {
            WebhookItem::Notice(Notice {
                topic: topic.to_owned(),
                event: event.to_owned(),
                severe,
            })
        };
        let quiet = WebhookItem::Ignored(Ignored::UnknownField);
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
            ("user_preferences", json!({"event": "x"}), quiet.clone()),
            (
                "smb_message_echoes",
                json!({"messages": [text("a", "b")]}),
                quiet.clone(),
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
        let changes =
            body_of(json!({"messages": [text("a", "1"), text("b", "2"), text("a", "3")]}));
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
            let got = parse(around(doubled).as_bytes(), &own()).unwrap();
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
        assert_eq!(
            parse(twice.as_bytes(), &own()).unwrap(),
            [MALFORMED, MALFORMED]
        );
    }

    #[test]
    fn odd_json_spoils_the_element_in_which_it_stands() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let nested =
            |levels: usize| format!("{}1{}", r#"{"text":"#.repeat(levels), "}".repeat(levels));
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
            let got = parse(body.as_bytes(), &own()).unwrap();
            let good: Vec<_> = got
                .iter()
                .filter(
                    |item| matches!(item, WebhookItem::Message(m) if m.id.as_str() == "wamid.good"),
                )
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
        let Content::Text(kept) = only_message(parse(body.as_bytes(), &own()).unwrap()).content
        else {
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
        assert_eq!(
            parse(b"\xef\xbb\xbf{}", &own()),
            Ok(vec![]),
            "a byte order mark"
        );
    }

    #[test]
    fn a_hostile_batch_is_counted_up_to_a_bound() {
        let body = body_of(json!({"messages": ["HERE"]})).to_string();
        let body = body.replace(r#""HERE""#, &vec!["0"; 1_000_000].join(","));
        let got = parse(body.as_bytes(), &own()).unwrap();
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
    fn any_json() -> impl Strategy<Value = Value> {
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
                    prop_assert!(found.len() <= elements_of(&body), "{body}: {found:?}");
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

        #[test]
        fn only_the_exact_header_verifies(header in "\\PC{0,80}|(sha256=)?[0-9a-fA-F]{60,66}") {
            prop_assert!(!verify(&[secret("k")], &[&header], FIRST));
        }
    }
}

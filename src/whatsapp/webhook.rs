//! What Meta posts to the webhook, and what it says. Pure.
//!
//! Only what Meta signed is read ([`signer`](super::signature::signer)): [`parse`] says what is in
//! it, and [`handshake`] answers the GET of the dashboard. Parsing is total and tolerant: every level
//! is optional, what is unknown is [`Ignored`], and one odd element never spoils its batch, because
//! an answer other than 200 to a signed body is resent for seven days (Meta's contract, section
//! 1.4). What goes on to the bot is cut out of the body by [`super::parts`].

use super::json::{Json, Key, Object, read, without_mark};
use crate::domain::clean::one_line;
use crate::domain::failure::FailureKind;
use crate::domain::id::{Bsuid, IdentityKey, MessageId, PhoneNumberId, WaId};
use crate::domain::message::{
    Content, IdentityChanged, Ignored, Inbound, Notice, Provenance, Sender, Status, StatusUpdate,
    WebhookItem,
};
use crate::domain::secret::Secret;
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
/// The fields besides `messages` that carry what people wrote or who they are (Meta's contract,
/// section 1.5).
const PEOPLES_FIELDS: [&str; 6] = [
    "history",
    "smb_message_echoes",
    "smb_app_state_sync",
    "calls",
    "user_preferences",
    "standby",
];

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

/// What a body says, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the batch.
    pub items: Vec<WebhookItem>,
    /// For each item, where it stands in the body; `None` when it may never be handed on
    /// ([`Ignored::may_be_handed_on`]), so that no part can hold it. Their order is that of the
    /// body.
    pub places: Vec<Option<Place>>,
    /// Whether the body holds exactly what the items say: there are some, each has a place, and
    /// nothing else is there, be it a repeated message, an empty entry or a contact whom nobody
    /// names.
    pub is_whole: bool,
}

/// Where an item stands in the body it was read from; means nothing in any other body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Position in `entry[]`, counting everything that is in the list.
    pub(super) entry: u32,
    /// Position in `changes[]`, likewise.
    pub(super) change: u32,
    pub(super) what: What,
}

/// What of a change it is, with its position in the list as JSON has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum What {
    /// More than a change: all of it.
    Body,
    Change,
    Message(u32),
    Status(u32),
    Error(u32),
}

/// Reads a verified body into what it says, in the order of the batch (Meta's contract, sections
/// 2.1 to 2.8).
///
/// Items never outnumber the elements of the body; a message id that appears twice counts once; an
/// element in which a key that is read here appears twice is [`Ignored::Malformed`] (S-76), because
/// two readers could disagree about it. A message without a usable time is as old as the epoch,
/// which is too old for anything. Time and memory are linear in the size.
pub fn parse(body: &[u8], phone_number_id: &PhoneNumberId) -> Result<Parsed, NotUnderstood> {
    let Some(Json::Object(root)) = read(without_mark(body), 0) else {
        return Err(NotUnderstood);
    };
    let mut batch = Batch {
        phone_number_id,
        items: Vec::new(),
        places: Vec::new(),
        is_whole: true,
        ignored: 0,
        seen: HashSet::new(),
    };
    batch.root(&root);
    Ok(Parsed {
        is_whole: batch.is_whole && !batch.items.is_empty(),
        items: batch.items,
        places: batch.places,
    })
}

/// The items of one body as they are found.
struct Batch<'t> {
    phone_number_id: &'t PhoneNumberId,
    items: Vec<WebhookItem>,
    places: Vec<Option<Place>>,
    is_whole: bool,
    ignored: usize,
    seen: HashSet<&'t str>,
}

impl<'t> Batch<'t> {
    fn root(&mut self, root: &'t Object<'_>) {
        if root.has_duplicates_itself {
            return self.malformed(1);
        }
        let ours = |object: &str| object == "whatsapp_business_account";
        if root.text(Key::Object).is_some_and(|object| !ours(object)) {
            let everything = Place {
                entry: 0,
                change: 0,
                what: What::Body,
            };
            return self.leave(Ignored::UnknownField, everything);
        }
        for entry in self.elements(root, Key::Entry) {
            if entry.has_duplicates_itself {
                self.malformed(1);
                continue;
            }
            let changes = self.elements(entry, Key::Changes);
            self.is_whole &= !changes.is_empty();
            for change in changes {
                let place = Place {
                    entry: entry.at,
                    change: change.at,
                    what: What::Change,
                };
                self.change(change, place);
            }
        }
    }

    /// The objects of a list; a single object stands for a list of one, as some bridges write it.
    /// Whatever else is in the list is counted.
    fn elements<'o, 'a>(&mut self, object: &'o Object<'a>, key: Key) -> &'o [Object<'a>] {
        self.malformed(object.odd(key));
        object.list(key)
    }

    fn found(&mut self, item: WebhookItem, place: Place) {
        self.items.push(item);
        self.places.push(Some(place));
    }

    /// Counts one element that stays without effect, as long as there are not too many.
    fn leave(&mut self, why: Ignored, place: Place) {
        let place = why.may_be_handed_on().then_some(place);
        let has_room = self.ignored < IGNORED_MAX;
        self.is_whole &= has_room && place.is_some();
        if has_room {
            self.ignored += 1;
            self.items.push(WebhookItem::Ignored(why));
            self.places.push(place);
        }
    }

    /// Counts elements of which nothing can be said.
    fn malformed(&mut self, count: usize) {
        let room = IGNORED_MAX - self.ignored;
        self.is_whole &= count == 0;
        self.ignored += count.min(room);
        for _ in 0..count.min(room) {
            self.items.push(WebhookItem::Ignored(Ignored::Malformed));
            self.places.push(None);
        }
    }

    fn change(&mut self, change: &'t Object<'_>, place: Place) {
        let value = match change.get(Key::Value) {
            Some(Json::Object(value)) => value,
            _ => return self.malformed(1),
        };
        if change.has_duplicates_itself || value.has_duplicates_itself {
            return self.malformed(1);
        }
        let elements = [Key::Messages, Key::Statuses, Key::Errors];
        let is_ambiguous =
            (value.object(Key::Metadata)).is_some_and(|metadata| metadata.has_duplicates_itself);
        match change.text(Key::Field) {
            Some("messages") => self.messages_value(value, place),
            None if elements.iter().any(|key| value.get(*key).is_some()) => {
                self.messages_value(value, place);
            }
            Some(field) => match (refused_by_metadata(value, self.phone_number_id), field) {
                // Many fields are about no number in particular.
                (Some(why), _) if why == Ignored::ForeignNumber || is_ambiguous => {
                    self.leave(why, place);
                }
                (_, field) if PEOPLES_FIELDS.contains(&field) => {
                    self.leave(Ignored::PeoplesField, place);
                }
                (_, field) => match notice_of_field(field, value) {
                    Some(notice) => self.found(WebhookItem::Notice(notice), place),
                    None => self.leave(Ignored::UnknownField, place),
                },
            },
            None => self.malformed(1),
        }
    }

    fn messages_value(&mut self, value: &'t Object<'_>, place: Place) {
        let refused = refused_by_metadata(value, self.phone_number_id);
        // Looked at only as long as it can still matter.
        self.is_whole = self.is_whole && everybody_is_named(value);
        let of = |what| Place { what, ..place };
        let is_odd = [Key::Messages, Key::Statuses, Key::Errors]
            .iter()
            .any(|key| value.odd(*key) > 0);
        let messages = self.elements(value, Key::Messages);
        let statuses = self.elements(value, Key::Statuses);
        let errors = self.elements(value, Key::Errors);
        if messages.is_empty() && statuses.is_empty() && errors.is_empty() {
            match refused {
                Some(why) => self.leave(why, place),
                None if !is_odd => self.leave(Ignored::UnknownField, place),
                // An odd message must not travel on under the name of its change.
                None => {}
            }
            return;
        }
        if let Some(why) = &refused {
            for message in messages {
                self.leave(why.clone(), of(What::Message(message.at)));
            }
            for status in statuses {
                self.leave(why.clone(), of(What::Status(status.at)));
            }
        } else {
            let contacts = Contacts::of(value);
            for message in messages {
                self.message(message, &contacts, of(What::Message(message.at)));
            }
            for status in statuses {
                let place = of(What::Status(status.at));
                match status_update(status) {
                    Ok(update) => self.found(WebhookItem::Status(update), place),
                    Err(why) => self.leave(why, place),
                }
            }
        }
        for error in errors {
            let place = of(What::Error(error.at));
            if refused == Some(Ignored::ForeignNumber) {
                self.leave(Ignored::ForeignNumber, place);
            } else {
                self.found(WebhookItem::Notice(notice_of_error(error)), place);
            }
        }
    }

    fn message(&mut self, message: &'t Object<'_>, contacts: &Contacts, place: Place) {
        let Some(item) = message_item(message, contacts) else {
            return self.malformed(1);
        };
        // A malformed namesake must not hide the message that can be read, so the mark comes last.
        if message.text(Key::Id).is_some_and(|id| self.seen.insert(id)) {
            self.found(item, place);
        } else {
            self.is_whole = false;
        }
    }
}

/// Why a value is not looked into. S-06: one app receives the events of all its numbers on one URL.
/// Without a number nothing can be attributed.
fn refused_by_metadata(value: &Object<'_>, ours: &PhoneNumberId) -> Option<Ignored> {
    match value.object(Key::Metadata) {
        Some(metadata) if metadata.has_duplicates_itself => Some(Ignored::Malformed),
        Some(metadata) => match metadata.digits(Key::PhoneNumberId) {
            Some(id) if id == ours.as_str() => None,
            Some(_) => Some(Ignored::ForeignNumber),
            None => Some(Ignored::Malformed),
        },
        None => Some(Ignored::Malformed),
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

/// The names that an element bears itself, without those that a contact would lend.
fn own_names(object: &Object<'_>, keys: [Key; 2]) -> Sender {
    let mut own = Sender::default();
    for key in keys {
        if let Some(name) = object.digits(key) {
            add_name(&mut own, &name);
        }
    }
    own
}

/// Who wrote a message, as far as the message says.
pub(super) fn writer(message: &Object<'_>) -> Sender {
    own_names(message, [Key::FromUserId, Key::From])
}

/// To whom a status says that the message went.
pub(super) fn recipient(status: &Object<'_>) -> Sender {
    own_names(status, [Key::RecipientUserId, Key::RecipientId])
}

/// `None` when two readers could disagree about who it is.
fn contact(object: &Object<'_>) -> Option<Sender> {
    let mut contact = own_names(object, [Key::UserId, Key::WaId]);
    contact.identity_key = object
        .text(Key::IdentityKeyHash)
        .and_then(|key| IdentityKey::parse(key).ok());
    (!object.has_duplicates()).then_some(contact)
}

/// The people in `contacts[]` of one value. The same person twice is one person, and an entry
/// without names is nobody.
fn known(value: &Object<'_>) -> Vec<Sender> {
    let mut known: Vec<Sender> = value
        .list(Key::Contacts)
        .iter()
        .filter_map(contact)
        .filter(has_a_name)
        .collect();
    known.dedup();
    known
}

/// Whether all messages and statuses of one value that name anybody name the same person.
fn is_about_one(value: &Object<'_>) -> bool {
    let (messages, statuses) = (value.list(Key::Messages), value.list(Key::Statuses));
    if messages.len() + statuses.len() <= 1 {
        return true;
    }
    let statuses = statuses.iter().map(recipient);
    let mut people = messages
        .iter()
        .map(writer)
        .chain(statuses)
        .filter(has_a_name);
    let first = people.next();
    people.all(|person| Some(&person) == first.as_ref())
}

/// Who is in `contacts[]` of one value, findable by either name.
struct Contacts {
    known: Vec<Sender>,
    /// Index in `known`; `None` when two different contacts share the name.
    by_name: HashMap<String, Option<usize>>,
    /// Whether the value knows one contact and is about one person.
    is_only: bool,
}

impl Contacts {
    fn of(value: &Object<'_>) -> Contacts {
        let known = known(value);
        let is_only = known.len() == 1 && is_about_one(value);
        let mut by_name = HashMap::new();
        // The only one is not looked for.
        let several = if is_only { &[][..] } else { &known[..] };
        for (index, contact) in several.iter().enumerate() {
            for name in names(contact) {
                by_name
                    .entry(name.to_owned())
                    .and_modify(|at: &mut Option<usize>| {
                        if at.is_some_and(|at| known[at] != *contact) {
                            *at = None;
                        }
                    })
                    .or_insert(Some(index));
            }
        }
        Contacts {
            is_only,
            known,
            by_name,
        }
    }

    /// Who wrote `message` (section 2.6, rule 2), or `None` when nobody who could be answered.
    ///
    /// A contact lends its other names and its identity key only when it is certainly the same
    /// person: it shares a name with the message or is the only one beside messages of one person,
    /// and contradicts nothing.
    fn sender(&self, message: &Object<'_>) -> Option<Sender> {
        let mut sender = writer(message);
        let contact = if self.is_only {
            self.known.first()
        } else {
            names(&sender)
                .find_map(|name| self.by_name.get(name).copied().flatten())
                .map(|index| &self.known[index])
        };
        if let Some(contact) = contact.filter(|contact| agree(contact, &sender)) {
            sender.bsuid = sender.bsuid.or_else(|| contact.bsuid.clone());
            sender.wa_id = sender.wa_id.or_else(|| contact.wa_id.clone());
            sender.identity_key = contact.identity_key.clone();
        }
        has_a_name(&sender).then_some(sender)
    }
}

/// Which elements of `contacts[]` go along with which messages and statuses of their value.
///
/// They are the contacts that [`Contacts`] could need for those, so that a message is from the
/// same sender wherever it stands, and never those of other people.
pub(super) struct ContactsOfNames {
    /// Positions in the list as JSON has it.
    by_name: HashMap<String, Vec<u32>>,
    /// Those that go along with every message and status, because the value is about one person.
    always: Vec<u32>,
}

impl ContactsOfNames {
    pub(super) fn of(value: &Object<'_>) -> ContactsOfNames {
        let contacts = value.list(Key::Contacts);
        let mut by_name: HashMap<String, Vec<u32>> = HashMap::new();
        let mut always = Vec::new();
        let is_only = known(value).len() <= 1 && is_about_one(value);
        for object in contacts {
            let Some(contact) = contact(object) else {
                continue;
            };
            for name in names(&contact) {
                by_name.entry(name.to_owned()).or_default().push(object.at);
            }
            if is_only && (has_a_name(&contact) || contacts.len() == 1) {
                always.push(object.at);
            }
        }
        ContactsOfNames { by_name, always }
    }

    /// The positions of what goes along with messages and statuses of these people, in the order of
    /// the list; a person may be without names.
    pub(super) fn along_with(&self, people: &[Sender]) -> Vec<u32> {
        if people.is_empty() {
            return Vec::new();
        }
        let names: HashSet<&str> = people.iter().flat_map(names).collect();
        let named = names.iter().filter_map(|name| self.by_name.get(*name));
        let mut positions: Vec<u32> = named.flatten().chain(&self.always).copied().collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }
}

/// Whether every contact of a value goes along with one of its messages or statuses
/// ([`ContactsOfNames`]).
fn everybody_is_named(value: &Object<'_>) -> bool {
    if value.odd(Key::Contacts) > 0 {
        return false;
    }
    let contacts = value.list(Key::Contacts);
    let (messages, statuses) = (value.list(Key::Messages), value.list(Key::Statuses));
    // Of one person, as nearly all are: this contact goes along with whatever there is.
    if let [contact] = contacts
        && messages.len() + statuses.len() == 1
    {
        return !contact.has_duplicates();
    }
    let messages = messages.iter().map(writer);
    let people: Vec<Sender> = messages.chain(statuses.iter().map(recipient)).collect();
    ContactsOfNames::of(value).along_with(&people).len() == contacts.len()
}

fn status_update(status: &Object<'_>) -> Result<StatusUpdate, Ignored> {
    if status.has_duplicates() {
        return Err(Ignored::Malformed);
    }
    let id = status
        .text(Key::Id)
        .and_then(|id| MessageId::parse(id).ok());
    let id = id.ok_or(Ignored::Malformed)?;
    let recipient = recipient(status);
    let tag = status
        .text(Key::BizOpaqueCallbackData)
        .filter(|tag| tag.len() <= TAG_BYTES_MAX)
        .map(str::to_owned);
    let what = match status.text(Key::Status).ok_or(Ignored::Malformed)? {
        "sent" => Status::Sent,
        "delivered" => Status::Delivered,
        "read" => Status::Read,
        "failed" => Status::Failed,
        _ => return Err(Ignored::UnknownStatus { id, recipient, tag }),
    };
    let error_code = status
        .list(Key::Errors)
        .first()
        .filter(|_| what == Status::Failed)
        .and_then(|error| error.number(Key::Code))
        .and_then(|code| u32::try_from(code).ok());
    Ok(StatusUpdate {
        id,
        status: what,
        at: status.time(),
        recipient,
        participant: (status.digits(Key::RecipientParticipantId)).map(Cow::into_owned),
        tag,
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
        event: notice_line(error.text(Key::Title).or(error.text(Key::Message))),
        severe: code.is_some_and(|code| {
            super::errors::failure_of_code(code).kind == FailureKind::Configuration
        }),
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
        event: notice_line(event),
        severe,
    })
}

/// Text from outside as it may stand in a log line (S-90).
fn notice_line(text: Option<&str>) -> String {
    one_line(text.unwrap_or(""), NOTICE_CHARS_MAX)
}

/// The longest beginning of `text` that has at most `bytes_max` bytes and ends with a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
pub(super) mod tests;

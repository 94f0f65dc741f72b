//! JSON as webhooks are read: a few keys of it, with patience for what is odd. Pure.

use crate::domain::time::{SECOND_MS, Timestamp};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Levels of a body that are looked at when it is read with patience; Meta's own shapes need 10.
const LEVELS_MAX: usize = 16;

/// The body after its byte order mark, which some bridges write.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// Reads JSON that stands so many levels below the root; `None` when it is none.
pub(super) fn read(json: &[u8], level: usize) -> Option<Json<'_>> {
    match serde_json::from_slice(json) {
        Ok(tree) => Some(tree),
        // What serde_json refuses as a whole (half a surrogate pair, a number beyond f64, great
        // depth) may be one odd element among good ones.
        Err(_) => {
            let raw = serde_json::from_slice::<&RawValue>(json).ok()?;
            Some(patient(raw, level))
        }
    }
}

/// JSON as far as it is read here: keys that are not in [`Key`] are checked and dropped, and what
/// nobody asks for leaves a mark, so that hostile bodies cost little memory.
pub(super) enum Json<'a> {
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
pub(super) struct Object<'a> {
    fields: Vec<(Key, Json<'a>)>,
    /// Whether a key of [`Key`] appears twice; the first value is kept.
    pub(super) has_duplicates_itself: bool,
    /// Position in the list that it stands in, counting everything; 0 when it stands in none.
    pub(super) at: u32,
}

impl<'a> Object<'a> {
    fn put(&mut self, key: Key, value: Json<'a>) {
        if self.get(key).is_some() {
            self.has_duplicates_itself = true;
        } else {
            self.fields.push((key, value));
        }
    }

    pub(super) fn get(&self, key: Key) -> Option<&Json<'a>> {
        let mut fields = self.fields.iter();
        fields
            .find(|(other, _)| *other == key)
            .map(|(_, value)| value)
    }

    /// The objects of a list; a single object stands for a list of one.
    pub(super) fn list(&self, key: Key) -> &[Object<'a>] {
        match self.get(key) {
            Some(Json::Array { objects, .. }) => objects,
            Some(Json::Object(single)) => std::slice::from_ref(single),
            _ => &[],
        }
    }

    /// How much in the place of a list is no object.
    pub(super) fn odd(&self, key: Key) -> usize {
        match self.get(key) {
            None | Some(Json::No | Json::Object(_)) => 0,
            Some(Json::Array { odd, .. }) => *odd,
            Some(Json::Text(_) | Json::Number(_) | Json::Odd) => 1,
        }
    }

    pub(super) fn text(&self, key: Key) -> Option<&str> {
        match self.get(key) {
            Some(Json::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// An id or a number of digits that some senders write without quotes.
    pub(super) fn digits(&self, key: Key) -> Option<Cow<'_, str>> {
        match self.get(key) {
            Some(Json::Text(text)) => Some(Cow::Borrowed(text)),
            Some(Json::Number(number)) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    pub(super) fn number(&self, key: Key) -> Option<u64> {
        match self.get(key) {
            Some(Json::Text(text)) => text.parse().ok(),
            Some(Json::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn object(&self, key: Key) -> Option<&Object<'a>> {
        match self.get(key) {
            Some(Json::Object(object)) => Some(object),
            _ => None,
        }
    }

    /// `timestamp`, Unix seconds as text or number; the epoch when there is none.
    pub(super) fn time(&self) -> Timestamp {
        let seconds = self.number(Key::Timestamp).unwrap_or(0);
        Timestamp(seconds.saturating_mul(SECOND_MS))
    }

    /// Whether a key appears twice here or further in.
    pub(super) fn has_duplicates(&self) -> bool {
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
        pub(super) enum Key { $($name,)* }

        impl Key {
            fn of(text: &str) -> Option<Key> {
                match text {
                    $($text => Some(Key::$name),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        pub(super) const KEYS: &[&str] = &[$($text,)*];
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
    RecipientId = "recipient_id",
    RecipientParticipantId = "recipient_participant_id",
    RecipientUserId = "recipient_user_id",
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

/// Reads a key, written with escapes or not.
pub(super) struct KeySeed;

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
            sort_in(element, &mut objects, &mut odd);
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

/// Takes in the next element of a list.
fn sort_in<'a>(element: Json<'a>, objects: &mut Vec<Object<'a>>, odd: &mut usize) {
    match element {
        Json::Object(mut object) => {
            object.at = u32::try_from(objects.len() + *odd).unwrap_or(u32::MAX);
            objects.push(object);
        }
        _ => *odd += 1,
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
                    sort_in(patient(element, level + 1), &mut objects, &mut odd);
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

//! Parts of a webhook body: what of a batch goes on to the bot, in Meta's own bytes. Pure.
//!
//! A part is the body without the elements that were not chosen. Every chosen message, status,
//! error or change is in it byte for byte, as is whatever else Meta wrote on the way down to it, in
//! the same order; only white space between the fields of that way may be gone. So a bot reads a
//! part as if Meta had sent it, and [`super::webhook::parse`] reads out of it exactly the items of
//! its places. What a part must never hold is anything of another person (S-07): contacts go along
//! with those who bear their names, and lists that are left empty are left out.

use super::json::{Json, Key, KeySeed, Object, read, without_mark};
use super::webhook::{ContactsOfNames, Place, What, recipient, writer};
use crate::domain::message::Sender;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Levels above the value of a change, and above an element of one of its lists.
const VALUE_LEVEL: usize = 5;
const ELEMENT_LEVEL: usize = 7;

/// A body of which it is known where everything stands, so that a part costs no more than its own
/// size.
pub struct Parts {
    /// Of the body.
    bytes: usize,
    root: Level,
    /// `None` where no part can come from.
    entries: List<Option<Box<Entry>>>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parts({} bytes)", self.bytes)
    }
}

struct Entry {
    level: Level,
    changes: List<Change>,
}

struct Change {
    whole: Span,
    /// `None` when it goes on whole or not at all.
    inside: Option<Box<Inside>>,
}

struct Inside {
    level: Level,
    value: Level,
    contacts: List<Span>,
    messages: List<Span>,
    statuses: List<Span>,
    errors: List<Span>,
    along: ContactsOfNames,
}

/// A list, or the single object that stands for one.
struct List<T> {
    is_single: bool,
    elements: Vec<T>,
}

impl<T> List<T> {
    fn get(&self, position: u32) -> Option<&T> {
        self.elements.get(usize::try_from(position).ok()?)
    }

    fn map<U>(self, then: impl FnMut(T) -> U) -> List<U> {
        List {
            is_single: self.is_single,
            elements: self.elements.into_iter().map(then).collect(),
        }
    }
}

/// An object: the fields that lead to the elements, and all that stands between them.
struct Level(Vec<Field>);

enum Field {
    /// One that is written anew with the chosen elements.
    Way { key: Key, name: Span, value: Span },
    /// Neighbours that stay as they are, from the first name to the last value.
    Kept(Span),
}

impl Level {
    fn value(&self, wanted: Key) -> Option<Span> {
        self.0.iter().find_map(|field| match field {
            Field::Way { key, value, .. } if *key == wanted => Some(*value),
            Field::Way { .. } | Field::Kept(_) => None,
        })
    }
}

/// Bytes of the body, from and to.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn range(self) -> Option<Range<usize>> {
        Some(usize::try_from(self.start).ok()?..usize::try_from(self.end).ok()?)
    }
}

impl Parts {
    /// Finds everything in a body that was parsed. `None` when it is no JSON object, or larger than
    /// 4 GiB. Time and memory are linear in the size.
    pub fn new(body: &[u8]) -> Option<Parts> {
        let body = without_mark(body);
        u32::try_from(body.len()).ok()?;
        let text = text_of(body);
        let text = Text(&text);
        let whole = text.span(text.0.trim_ascii());
        let root = text.level(whole, &[Key::Entry])?;
        let entries = text.list(root.value(Key::Entry));
        Some(Parts {
            bytes: body.len(),
            root,
            entries: entries.map(|entry| text.entry(entry).map(Box::new)),
        })
    }

    /// The part of `body`, the one this was made of, that holds exactly these elements, whatever
    /// their order here. `None` when there are none, when they are not of this body, or when one
    /// stands within another: then nothing may be handed on.
    pub fn cut(&self, body: &[u8], places: &[Place]) -> Option<Vec<u8>> {
        let body = without_mark(body);
        if body.len() != self.bytes {
            return None;
        }
        let mut places = places.to_vec();
        places.sort_unstable();
        places.dedup();
        if places.first()?.what == What::Body {
            return (places.len() == 1).then(|| body.to_vec());
        }
        let mut part = Part {
            body,
            bytes: Vec::new(),
            written: 0,
        };
        part.object(&self.root, |part, _| {
            let chosen = places.chunk_by(|one, other| one.entry == other.entry);
            part.list(self.entries.is_single, chosen, |part, chosen| {
                let entry = self.entries.get(chosen.first()?.entry)?.as_ref()?;
                part.entry(entry, chosen)
            })?;
            Some(true)
        })?;
        (part.written == places.len()).then_some(part.bytes)
    }
}

/// A part that is being written. `None` says that a place is not in the body.
struct Part<'b> {
    body: &'b [u8],
    bytes: Vec<u8>,
    /// How many places.
    written: usize,
}

impl<'b> Part<'b> {
    fn entry(&mut self, entry: &Entry, places: &[Place]) -> Option<()> {
        self.object(&entry.level, |part, _| {
            let chosen = places.chunk_by(|one, other| one.change == other.change);
            part.list(entry.changes.is_single, chosen, |part, chosen| {
                let change = entry.changes.get(chosen.first()?.change)?;
                part.change(change, chosen)
            })?;
            Some(true)
        })
    }

    fn change(&mut self, change: &Change, places: &[Place]) -> Option<()> {
        if let [one] = places
            && one.what == What::Change
        {
            return self.element(change.whole);
        }
        let inside = change.inside.as_ref()?;
        self.object(&inside.level, |part, _| {
            part.value(inside, places)?;
            Some(true)
        })
    }

    fn value(&mut self, inside: &Inside, places: &[Place]) -> Option<()> {
        let (mut messages, mut statuses, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut people = Vec::new();
        for place in places {
            match place.what {
                What::Body | What::Change => return None,
                What::Message(at) => {
                    let message = *inside.messages.get(at)?;
                    people.push(self.person(message, writer)?);
                    messages.push(message);
                }
                What::Status(at) => {
                    let status = *inside.statuses.get(at)?;
                    people.push(self.person(status, recipient)?);
                    statuses.push(status);
                }
                What::Error(at) => errors.push(*inside.errors.get(at)?),
            }
        }
        let along = inside.along.along_with(&people);
        let contacts = along.into_iter().map(|at| inside.contacts.get(at).copied());
        let contacts: Vec<Span> = contacts.collect::<Option<_>>()?;
        self.object(&inside.value, |part, key| {
            let (list, chosen) = match key {
                Key::Messages => (&inside.messages, &messages),
                Key::Statuses => (&inside.statuses, &statuses),
                Key::Errors => (&inside.errors, &errors),
                _ => {
                    part.list(inside.contacts.is_single, &contacts, |part, contact| {
                        part.copy(*contact)
                    })?;
                    return Some(!contacts.is_empty());
                }
            };
            part.list(list.is_single, chosen, |part, element| {
                part.element(*element)
            })?;
            Some(!chosen.is_empty())
        })
    }

    /// Whom an element names.
    fn person(&self, element: Span, names: fn(&Object<'_>) -> Sender) -> Option<Sender> {
        match read(self.body.get(element.range()?)?, ELEMENT_LEVEL)? {
            Json::Object(element) => Some(names(&element)),
            _ => None,
        }
    }

    /// Writes an object whose ways are written by `way`, which says whether the field stays.
    fn object(
        &mut self,
        level: &Level,
        mut way: impl FnMut(&mut Self, Key) -> Option<bool>,
    ) -> Option<()> {
        self.bytes.push(b'{');
        let mut is_first = true;
        for field in &level.0 {
            let before = self.bytes.len();
            if !is_first {
                self.bytes.push(b',');
            }
            let stays = match field {
                Field::Kept(fields) => self.copy(*fields).map(|()| true)?,
                Field::Way { key, name, .. } => {
                    self.copy(*name)?;
                    self.bytes.push(b':');
                    way(self, *key)?
                }
            };
            if stays {
                is_first = false;
            } else {
                self.bytes.truncate(before);
            }
        }
        self.bytes.push(b'}');
        Some(())
    }

    fn list<T>(
        &mut self,
        is_single: bool,
        chosen: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Option<()>,
    ) -> Option<()> {
        let mut chosen = chosen.into_iter();
        if is_single {
            // An object that stands for a list has no second element.
            return chosen.next().map_or(Some(()), |only| write(self, only));
        }
        self.bytes.push(b'[');
        for (index, element) in chosen.enumerate() {
            if index > 0 {
                self.bytes.push(b',');
            }
            write(self, element)?;
        }
        self.bytes.push(b']');
        Some(())
    }

    /// Writes what a place names.
    fn element(&mut self, element: Span) -> Option<()> {
        self.written += 1;
        self.copy(element)
    }

    fn copy(&mut self, bytes: Span) -> Option<()> {
        self.bytes.extend_from_slice(self.body.get(bytes.range()?)?);
        Some(())
    }
}

/// The body as text. What is no UTF-8 stands where nobody reads, or the body would not have been
/// parsed; here it becomes question marks, so that everything keeps its place.
fn text_of(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n('?', chunk.invalid().len()));
    }
    Cow::Owned(text)
}

/// The text in which everything is looked for. What is not as expected is not found.
#[derive(Clone, Copy)]
struct Text<'t>(&'t str);

impl<'t> Text<'t> {
    /// Where a piece of this text stands in it.
    fn span(self, piece: &str) -> Span {
        let start = (piece.as_ptr() as usize).wrapping_sub(self.0.as_ptr() as usize);
        let place = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
        Span {
            start: place(start),
            end: place(start.saturating_add(piece.len())),
        }
    }

    fn piece(self, span: Span) -> Option<&'t str> {
        self.0.get(span.range()?)
    }

    fn entry(self, entry: Span) -> Option<Entry> {
        let level = self.level(entry, &[Key::Changes])?;
        let changes = self.list(level.value(Key::Changes));
        (!changes.elements.is_empty()).then(|| Entry {
            changes: changes.map(|change| Change {
                whole: change,
                inside: self.inside(change).map(Box::new),
            }),
            level,
        })
    }

    fn inside(self, change: Span) -> Option<Inside> {
        let level = self.level(change, &[Key::Value])?;
        let span = level.value(Key::Value)?;
        let keys = [Key::Contacts, Key::Messages, Key::Statuses, Key::Errors];
        let value = self.level(span, &keys)?;
        let [contacts, messages, statuses, errors] = keys.map(|key| self.list(value.value(key)));
        let is_empty = |list: &List<Span>| list.elements.is_empty();
        if is_empty(&messages) && is_empty(&statuses) && is_empty(&errors) {
            return None;
        }
        let Some(Json::Object(people)) = read(self.piece(span)?.as_bytes(), VALUE_LEVEL) else {
            return None;
        };
        Some(Inside {
            along: ContactsOfNames::of(&people),
            level,
            value,
            contacts,
            messages,
            statuses,
            errors,
        })
    }

    /// The object there; `None` when there is none, or when one of the keys appears twice.
    fn level(self, object: Span, keys: &[Key]) -> Option<Level> {
        let mut json = serde_json::Deserializer::from_str(self.piece(object)?);
        json.deserialize_map(LevelVisitor { text: self, keys }).ok()
    }

    /// The elements there, odd ones included; none when there is no list.
    fn list(self, list: Option<Span>) -> List<Span> {
        let text = list.and_then(|list| self.piece(list)).unwrap_or_default();
        let is_single = text.starts_with('{');
        let mut json = serde_json::Deserializer::from_str(text);
        let elements = match list {
            Some(single) if is_single => Ok(vec![single]),
            _ => json.deserialize_seq(ListVisitor { text: self }),
        };
        List {
            is_single,
            elements: elements.unwrap_or_default(),
        }
    }
}

struct ListVisitor<'t> {
    text: Text<'t>,
}

impl<'t> Visitor<'t> for ListVisitor<'t> {
    type Value = Vec<Span>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<Vec<Span>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element::<&RawValue>()? {
            elements.push(self.text.span(element.get()));
        }
        Ok(elements)
    }
}

struct LevelVisitor<'t, 'k> {
    text: Text<'t>,
    keys: &'k [Key],
}

impl<'t> Visitor<'t> for LevelVisitor<'t, '_> {
    type Value = Level;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Level, A::Error> {
        let mut level = Level(Vec::new());
        while let Some(name) = map.next_key::<&RawValue>()? {
            let value = self.text.span(map.next_value::<&RawValue>()?.get());
            let key = KeySeed.deserialize(&mut serde_json::Deserializer::from_str(name.get()));
            let key = key
                .map_err(Error::custom)?
                .filter(|key| self.keys.contains(key));
            let name = self.text.span(name.get());
            if let Some(key) = key {
                if level.value(key).is_some() {
                    return Err(Error::custom("a key appears twice"));
                }
                level.0.push(Field::Way { key, name, value });
            } else if let Some(Field::Kept(kept)) = level.0.last_mut() {
                kept.end = value.end;
            } else {
                let kept = Span {
                    end: value.end,
                    ..name
                };
                level.0.push(Field::Kept(kept));
            }
        }
        Ok(level)
    }
}

#[cfg(test)]
mod tests;

//! What is to be sent, what was sent, and what could not be sent.

use super::body::{BodyOf, delete_body};
use super::{Keys, Sweep, collect, damaged, due, read, sweep, write};
use crate::domain::delivery::{
    Button, ChatMessage, Entry, EntryId, Errand, Lane, Link, LinkTarget, Notice, Recipient,
};
use crate::domain::id::{
    Bsuid, ChallengeId, ContactId, EmailAddress, Malformed, MappingId, MessageId, ProofId, WaId,
};
use crate::domain::language::Language;
use crate::domain::message::Status;
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::{Bound, ControlFlow};

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    contact: [u8; 16],
    errand: ErrandRecord,
    created_at: u64,
    expires_at: u64,
    not_before: u64,
    attempts: u32,
    #[serde(default)]
    unknown: u32,
    #[serde(default)]
    unexplained: u32,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    hushed: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    last_failure: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    in_flight_since: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ErrandRecord {
    Chat {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        number: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        bsuid: Option<String>,
        body: String,
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        buttons: Vec<(String, String)>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        link: Option<LinkRecord>,
        sentence: String,
    },
    LookUp {
        challenge: [u8; 16],
        address: String,
    },
    MailCode {
        challenge: [u8; 16],
        to: String,
    },
    PretendMail {
        challenge: [u8; 16],
    },
    /// Of a binding by this proof; of a refusal when there is none.
    MailNotice {
        to: String,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        bound: Option<[u8; 16]>,
        language: String,
    },
    HandOn {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        message: Option<String>,
        origin: u64,
    },
    Event {
        origin: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct LinkRecord {
    title: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    mapping: Option<[u8; 16]>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    url: Option<String>,
}

impl From<&Link> for LinkRecord {
    fn from(link: &Link) -> LinkRecord {
        let (mapping, url) = match &link.to {
            LinkTarget::SignIn(mapping) => (Some(mapping.0), None),
            LinkTarget::Url(url) => (None, Some(url.clone())),
        };
        LinkRecord {
            title: link.title.clone(),
            mapping,
            url,
        }
    }
}

impl LinkRecord {
    fn into_link(self) -> Result<Link, Malformed> {
        let to = match (self.mapping, self.url) {
            (Some(mapping), _) => LinkTarget::SignIn(MappingId(mapping)),
            (None, Some(url)) => LinkTarget::Url(url),
            (None, None) => return Err(Malformed("a link that leads nowhere")),
        };
        Ok(Link {
            title: self.title,
            to,
        })
    }
}

impl From<&Errand> for ErrandRecord {
    fn from(errand: &Errand) -> ErrandRecord {
        match errand {
            Errand::Chat {
                to,
                message,
                sentence,
            } => {
                let (number, bsuid) = match to {
                    Recipient::Number(id) => (Some(id.as_str().to_owned()), None),
                    Recipient::Bsuid(id) => (None, Some(id.as_str().to_owned())),
                };
                let buttons = message
                    .buttons
                    .iter()
                    .map(|b| (b.id.clone(), b.title.clone()))
                    .collect();
                ErrandRecord::Chat {
                    number,
                    bsuid,
                    body: message.body.clone(),
                    buttons,
                    link: message.link.as_ref().map(LinkRecord::from),
                    sentence: sentence.clone(),
                }
            }
            Errand::LookUp { challenge, address } => ErrandRecord::LookUp {
                challenge: challenge.0,
                address: address.as_str().to_owned(),
            },
            Errand::MailCode { challenge, to } => ErrandRecord::MailCode {
                challenge: challenge.0,
                to: to.as_str().to_owned(),
            },
            Errand::PretendMail { challenge } => ErrandRecord::PretendMail {
                challenge: challenge.0,
            },
            Errand::MailNotice {
                to,
                notice,
                language,
            } => ErrandRecord::MailNotice {
                to: to.as_str().to_owned(),
                language: language.code().to_owned(),
                bound: match notice {
                    Notice::Bound(proof) => Some(proof.0),
                    Notice::Refused => None,
                },
            },
            Errand::HandOn { message, origin } => ErrandRecord::HandOn {
                message: message.as_ref().map(|id| id.as_str().to_owned()),
                origin: origin.0,
            },
            Errand::Event { origin } => ErrandRecord::Event { origin: origin.0 },
        }
    }
}

impl ErrandRecord {
    fn into_errand(self) -> Result<Errand, Malformed> {
        Ok(match self {
            ErrandRecord::Chat {
                number,
                bsuid,
                body,
                buttons,
                link,
                sentence,
            } => Errand::Chat {
                to: match (number, bsuid) {
                    (Some(number), _) => Recipient::Number(WaId::parse(&number)?),
                    (None, Some(bsuid)) => Recipient::Bsuid(Bsuid::parse(&bsuid)?),
                    (None, None) => return Err(Malformed("a message without a recipient")),
                },
                message: ChatMessage {
                    body,
                    buttons: buttons
                        .into_iter()
                        .map(|(id, title)| Button { id, title })
                        .collect(),
                    link: link.map(LinkRecord::into_link).transpose()?,
                },
                sentence,
            },
            ErrandRecord::LookUp { challenge, address } => Errand::LookUp {
                challenge: ChallengeId(challenge),
                address: EmailAddress::parse(&address)?,
            },
            ErrandRecord::MailCode { challenge, to } => Errand::MailCode {
                challenge: ChallengeId(challenge),
                to: EmailAddress::parse(&to)?,
            },
            ErrandRecord::PretendMail { challenge } => Errand::PretendMail {
                challenge: ChallengeId(challenge),
            },
            ErrandRecord::MailNotice {
                to,
                bound,
                language,
            } => Errand::MailNotice {
                language: Language::parse(&language)?,
                to: EmailAddress::parse(&to)?,
                notice: bound.map_or(Notice::Refused, |proof| Notice::Bound(ProofId(proof))),
            },
            ErrandRecord::HandOn { message, origin } => Errand::HandOn {
                message: message.as_deref().map(MessageId::parse).transpose()?,
                origin: EntryId(origin),
            },
            ErrandRecord::Event { origin } => Errand::Event {
                origin: EntryId(origin),
            },
        })
    }
}

/// Lane first, then the entry: each lane is a queue of its own.
pub(super) fn entry_key(lane: Lane, id: EntryId) -> [u8; 9] {
    let mut key = [0; 9];
    key[..1].copy_from_slice(lane_prefix(lane));
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

/// What the keys of a lane begin with.
fn lane_prefix(lane: Lane) -> &'static [u8; 1] {
    match lane {
        Lane::Chat => &[1],
        Lane::Mail => &[2],
        Lane::Services => &[3],
        Lane::Bot => &[4],
        Lane::Events => &[5],
    }
}

pub(super) fn read_entry(id: EntryId, table: Table, bytes: &[u8]) -> Result<Entry, StoreError> {
    let record: EntryRecord = read(table, bytes)?;
    record.into_entry(id).map_err(damaged(table))
}

impl EntryRecord {
    fn of(entry: &Entry) -> EntryRecord {
        EntryRecord {
            contact: entry.contact.0,
            errand: ErrandRecord::from(&entry.errand),
            created_at: entry.created_at.0,
            expires_at: entry.expires_at.0,
            not_before: entry.not_before.0,
            attempts: entry.attempts,
            unknown: entry.unknown,
            unexplained: entry.unexplained,
            hushed: entry.hushed,
            last_failure: entry.last_failure.clone(),
            in_flight_since: entry.in_flight_since.map(|at| at.0),
        }
    }

    fn into_entry(self, id: EntryId) -> Result<Entry, Malformed> {
        Ok(Entry {
            id,
            contact: ContactId(self.contact),
            errand: self.errand.into_errand()?,
            created_at: Timestamp(self.created_at),
            expires_at: Timestamp(self.expires_at),
            not_before: Timestamp(self.not_before),
            attempts: self.attempts,
            unknown: self.unknown,
            unexplained: self.unexplained,
            hushed: self.hushed,
            last_failure: self.last_failure,
            in_flight_since: self.in_flight_since.map(Timestamp),
        })
    }
}

/// The entry with this id, while it waits.
pub fn entry(reader: &dyn Reader, lane: Lane, id: EntryId) -> Result<Option<Entry>, StoreError> {
    let Some(bytes) = reader.get(Table::Outbox, &entry_key(lane, id))? else {
        return Ok(None);
    };
    read_entry(id, Table::Outbox, &bytes).map(Some)
}

/// Stores an entry.
pub fn put_entry(writer: &mut dyn Writer, entry: &Entry) -> Result<(), StoreError> {
    let bytes = write(Table::Outbox, &EntryRecord::of(entry))?;
    writer.put(
        Table::Outbox,
        &entry_key(entry.errand.lane(), entry.id),
        &bytes,
    )
}

/// Removes an entry.
pub fn delete_entry(writer: &mut dyn Writer, lane: Lane, id: EntryId) -> Result<(), StoreError> {
    writer.delete(Table::Outbox, &entry_key(lane, id))
}

/// Up to `limit` entries of a lane after `after`, oldest first.
pub fn entries(
    reader: &dyn Reader,
    lane: Lane,
    after: Option<EntryId>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let start = entry_key(lane, after.unwrap_or(EntryId(0)));
    let end = entry_key(lane, EntryId(u64::MAX));
    let start = if after.is_some() {
        Bound::Excluded(&start[..])
    } else {
        Bound::Included(&start[..])
    };
    let range = KeyRange::new(start, Bound::Included(&end));
    collect(
        reader,
        Table::Outbox,
        range,
        Order::Forward,
        limit,
        |key, bytes| read_entry(entry_id(key, Table::Outbox)?, Table::Outbox, bytes),
    )
}

/// What waits in a lane and was decided last.
pub(super) fn newest_entry(reader: &dyn Reader, lane: Lane) -> Result<Option<Entry>, StoreError> {
    let newest = collect(
        reader,
        Table::Outbox,
        KeyRange::prefix(lane_prefix(lane)),
        Order::Backward,
        1,
        |key, bytes| read_entry(entry_id(key, Table::Outbox)?, Table::Outbox, bytes),
    )?;
    Ok(newest.into_iter().next())
}

/// The newest entry id in use in any lane, among the dead letters and among the events.
pub fn last_entry_id(reader: &dyn Reader) -> Result<EntryId, StoreError> {
    let mut last = EntryId(0);
    for lane in Lane::ALL {
        let range = KeyRange::prefix(lane_prefix(lane));
        reader.scan(Table::Outbox, range, Order::Backward, &mut |key, _| {
            last = last.max(entry_id(key, Table::Outbox).unwrap_or(last));
            ControlFlow::Break(())
        })?;
    }
    for table in [Table::Dead, Table::Event] {
        reader.scan(table, KeyRange::all(), Order::Backward, &mut |key, _| {
            last = last.max(entry_id(key, table).unwrap_or(last));
            ControlFlow::Break(())
        })?;
    }
    Ok(last)
}

pub(super) fn entry_id(key: &[u8], table: Table) -> Result<EntryId, StoreError> {
    let digits = key.last_chunk::<8>().ok_or(StoreError::Damaged { table })?;
    Ok(EntryId(u64::from_be_bytes(*digits)))
}

/// An entry that will not be sent, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// What was to be sent.
    pub entry: Entry,
    /// When it was given up.
    pub at: Timestamp,
    /// Why, for the operator.
    pub reason: String,
}

#[derive(Serialize, Deserialize)]
struct DeadRecord {
    entry: EntryRecord,
    at: u64,
    reason: String,
}

/// Stores a dead letter.
pub fn put_dead(writer: &mut dyn Writer, letter: &DeadLetter) -> Result<(), StoreError> {
    let record = DeadRecord {
        entry: EntryRecord::of(&letter.entry),
        at: letter.at.0,
        reason: letter.reason.clone(),
    };
    writer.put(
        Table::Dead,
        &letter.entry.id.0.to_be_bytes(),
        &write(Table::Dead, &record)?,
    )
}

/// The dead letter of this entry.
pub fn dead_letter(reader: &dyn Reader, id: EntryId) -> Result<Option<DeadLetter>, StoreError> {
    let Some(bytes) = reader.get(Table::Dead, &id.0.to_be_bytes())? else {
        return Ok(None);
    };
    read_dead(id, &bytes).map(Some)
}

pub(super) fn read_dead(id: EntryId, bytes: &[u8]) -> Result<DeadLetter, StoreError> {
    let record: DeadRecord = read(Table::Dead, bytes)?;
    let entry = record.entry.into_entry(id).map_err(damaged(Table::Dead))?;
    Ok(DeadLetter {
        entry,
        at: Timestamp(record.at),
        reason: record.reason,
    })
}

/// Removes a dead letter and what it would have handed on.
pub fn delete_dead(writer: &mut dyn Writer, id: EntryId) -> Result<(), StoreError> {
    delete_body(writer, BodyOf::Entry(id))?;
    writer.delete(Table::Dead, &id.0.to_be_bytes())
}

/// The newest `limit` dead letters, newest first.
pub fn dead_letters(reader: &dyn Reader, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
    dead_letters_before(reader, None, limit)
}

/// Up to `limit` dead letters before `before`, those of the newest entries first.
pub fn dead_letters_before(
    reader: &dyn Reader,
    before: Option<EntryId>,
    limit: usize,
) -> Result<Vec<DeadLetter>, StoreError> {
    let end = before.map(|id| id.0.to_be_bytes());
    let end = (end.as_ref()).map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
    collect(
        reader,
        Table::Dead,
        KeyRange::new(Bound::Unbounded, end),
        Order::Backward,
        limit,
        |key, bytes| read_dead(entry_id(key, Table::Dead)?, bytes),
    )
}

/// Sweeps dead letters given up before `before`.
pub fn forget_dead(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    let (cursor, due) = due(writer, Table::Dead, cursor, looks, |bytes| {
        let record: DeadRecord = read(Table::Dead, bytes)?;
        Ok(record.at < before.0)
    })?;
    for key in &due {
        delete_dead(writer, entry_id(key, Table::Dead)?)?;
    }
    Ok(Sweep {
        cursor,
        removed: due.len(),
    })
}

/// A message that Meta took, until nobody asks about it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which entry it was.
    pub entry: EntryId,
    /// To which contact.
    pub contact: ContactId,
    /// The name of the sentence.
    pub sentence: String,
    /// When Meta took it.
    pub at: Timestamp,
    /// The furthest it got.
    pub status: Status,
}

#[derive(Serialize, Deserialize)]
struct SentRecord {
    entry: u64,
    contact: [u8; 16],
    sentence: String,
    at: u64,
    status: u8,
}

pub(super) const STATUSES: [Status; 4] = [
    Status::Sent,
    Status::Delivered,
    Status::Read,
    Status::Failed,
];

/// What we know of a message that Meta gave this id.
pub fn sent(reader: &dyn Reader, keys: &Keys, id: &MessageId) -> Result<Option<Sent>, StoreError> {
    let Some(bytes) = reader.get(Table::Sent, &keys.sent(id))? else {
        return Ok(None);
    };
    read_sent(&bytes).map(Some)
}

fn read_sent(bytes: &[u8]) -> Result<Sent, StoreError> {
    let record: SentRecord = read(Table::Sent, bytes)?;
    let status = STATUSES
        .get(usize::from(record.status))
        .ok_or(StoreError::Damaged { table: Table::Sent })?;
    Ok(Sent {
        entry: EntryId(record.entry),
        contact: ContactId(record.contact),
        sentence: record.sentence,
        at: Timestamp(record.at),
        status: *status,
    })
}

/// Stores what we know of a message that Meta gave this id.
pub fn put_sent(
    writer: &mut dyn Writer,
    keys: &Keys,
    id: &MessageId,
    sent: &Sent,
) -> Result<(), StoreError> {
    let status = STATUSES
        .iter()
        .position(|status| *status == sent.status)
        .unwrap_or(0);
    let record = SentRecord {
        entry: sent.entry.0,
        contact: sent.contact.0,
        sentence: sent.sentence.clone(),
        at: sent.at.0,
        status: u8::try_from(status).unwrap_or(0),
    };
    writer.put(Table::Sent, &keys.sent(id), &write(Table::Sent, &record)?)
}

/// Up to `limit` sent messages, in no useful order.
pub fn all_sent(reader: &dyn Reader, limit: usize) -> Result<Vec<Sent>, StoreError> {
    collect(
        reader,
        Table::Sent,
        KeyRange::all(),
        Order::Forward,
        limit,
        |_, bytes| read_sent(bytes),
    )
}

/// Sweeps messages sent before `before`.
pub fn forget_sent(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Sent, cursor, looks, |bytes| {
        Ok(read_sent(bytes)?.at < before)
    })
}

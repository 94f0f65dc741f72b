//! Bytes ↔ types: what lies in each table, under which key, in which version.
//!
//! Domain types are not serialisable on purpose; what is on disk is a promise, and it is made
//! here. Every record begins with the version of its shape; an older version is read for ever, a
//! newer one is refused. Keys that would name a person are keyed digests ([`Keys`]).

use super::{KeyRange, MasterKey, Order, Reader, StoreError, Table, Writer};
use crate::domain::account::{Account, Company};
use crate::domain::binding::{Binding, Proof, ReleaseReason};
use crate::domain::budget::Budget;
use crate::domain::challenge::{Challenge, Sought};
use crate::domain::contact::{Barred, Contact, Kept, Stage};
use crate::domain::conversation::AddressCounts;
use crate::domain::delivery::{
    Button, ChatMessage, Entry, EntryId, Errand, Lane, Link, LinkTarget, Notice, Recipient,
};
use crate::domain::id::{
    Bsuid, ChallengeId, ContactId, EmailAddress, HOUR_MS, IdentityKey, Language, Malformed,
    MappingHash, MappingId, MessageId, PhoneNumberId, ProofId, ReturnCode, ServiceName, Timestamp,
    WaId,
};
use crate::domain::message::Status;
use crate::domain::sign_in::{Mapping, MappingState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::ops::{Bound, ControlFlow};

/// The shape written by this program.
const VERSION: u8 = 1;

/// Makes the keys that must not be readable: one digest per name, keyed with the master key.
#[derive(Clone, Debug)]
pub struct Keys {
    master: std::sync::Arc<MasterKey>,
}

impl Keys {
    /// Keys under this master key.
    pub fn new(master: MasterKey) -> Keys {
        Keys {
            master: std::sync::Arc::new(master),
        }
    }

    /// The master key, for what is derived from it besides keys.
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    fn digest(&self, label: &str, parts: &[&[u8]]) -> [u8; 16] {
        let whole = self.master.keyed_digest(label, parts);
        let mut half = [0; 16];
        half.copy_from_slice(&whole[..16]);
        half
    }

    fn bsuid(&self, bsuid: &Bsuid) -> [u8; 16] {
        self.digest("alias bsuid", &[bsuid.as_str().as_bytes()])
    }

    fn wa_id(&self, wa_id: &WaId) -> [u8; 16] {
        self.digest("alias wa_id", &[wa_id.as_str().as_bytes()])
    }

    fn address(&self, address: &EmailAddress) -> [u8; 16] {
        self.digest("address", &[address.key().as_bytes()])
    }

    /// Hour of the message first, so that what is old lies together and is swept as a range.
    fn seen(&self, number: &PhoneNumberId, id: &MessageId, sent_at: Timestamp) -> [u8; 20] {
        let digest = self.digest(
            "seen",
            &[number.as_str().as_bytes(), id.as_str().as_bytes()],
        );
        let mut key = [0; 20];
        key[..4].copy_from_slice(&hour(sent_at));
        key[4..].copy_from_slice(&digest);
        key
    }

    fn sent(&self, id: &MessageId) -> [u8; 16] {
        self.digest("sent", &[id.as_str().as_bytes()])
    }

    fn mapping_hash(&self, hash: &MappingHash) -> [u8; 16] {
        self.digest("mapping hash", &[hash.reveal().as_bytes()])
    }

    fn return_code(&self, code: &ReturnCode) -> [u8; 16] {
        self.digest("return code", &[code.reveal().as_bytes()])
    }

    fn user_name(&self, name: &str) -> [u8; 16] {
        self.digest("user name", &[name.as_bytes()])
    }

    fn network(&self, network: &[u8; 16]) -> [u8; 16] {
        self.digest("network", &[network])
    }
}

fn hour(at: Timestamp) -> [u8; 4] {
    u32::try_from(at.0 / HOUR_MS)
        .unwrap_or(u32::MAX)
        .to_be_bytes()
}

fn write<T: Serialize>(table: Table, record: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(VERSION);
    serde_json::to_writer(&mut bytes, record).map_err(|_| StoreError::Damaged { table })?;
    Ok(bytes)
}

fn read<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, json)) => {
            serde_json::from_slice(json).map_err(|_| StoreError::Damaged { table })
        }
        _ => Err(StoreError::Damaged { table }),
    }
}

fn damaged<T>(table: Table) -> impl Fn(T) -> StoreError {
    move |_| StoreError::Damaged { table }
}

// --- contacts and their aliases -----------------------------------------------------------------

#[derive(Serialize, Deserialize)]
struct ContactRecord {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    bsuid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    wa_id: Option<String>,
    language: String,
    created_at: u64,
    last_message_at: u64,
    stage: StageRecord,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    mapping: Option<MappingRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    barred: Vec<BarredRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    bindings: Vec<BindingRecord>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    identity_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    released: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    kept: Option<KeptRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    failures: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    codes: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    replies: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    links: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    mismatches: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StageRecord {
    Idle,
    AddressAsked {
        at: u64,
    },
    SpellingAsked {
        typed: String,
        suggested: String,
        tag: String,
    },
    CodeAwaited(ChallengeRecord),
    LinkSent,
}

#[derive(Serialize, Deserialize)]
struct MappingRecord {
    id: [u8; 16],
    asked_at: u64,
    expires_at: u64,
    #[serde(default)]
    passwords: u32,
    #[serde(default)]
    wrong_numbers: u32,
    state: MappingStateRecord,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    earlier: Vec<BindingRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MappingStateRecord {
    Issued,
    SignedIn {
        bindings: Vec<BindingRecord>,
        until: u64,
    },
    Used,
    Burned,
}

#[derive(Serialize, Deserialize)]
struct BarredRecord {
    service: String,
    user_id: String,
    until: u64,
}

#[derive(Serialize, Deserialize)]
struct ChallengeRecord {
    id: [u8; 16],
    address: String,
    asked_at: u64,
    expires_at: u64,
    wrong: u32,
    sought: SoughtRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SoughtRecord {
    Asking,
    Found(Vec<AccountRecord>),
    Nobody,
}

#[derive(Serialize, Deserialize)]
struct AccountRecord {
    service: String,
    user_id: String,
    name: String,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    phone: Option<String>,
    company_id: String,
    company_name: String,
}

#[derive(Serialize, Deserialize)]
struct BindingRecord {
    service: String,
    user_id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    email: Option<String>,
    company_id: String,
    company_name: String,
    proof: String,
    #[serde(default)]
    proof_id: [u8; 16],
    proved_at: u64,
}

#[derive(Serialize, Deserialize)]
struct KeptRecord {
    id: String,
    sent_at: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    text: Option<String>,
}

fn moments(budget: &Budget) -> Vec<u64> {
    budget.moments().iter().map(|moment| moment.0).collect()
}

fn budget(moments: Vec<u64>) -> Budget {
    Budget::from_moments(moments.into_iter().map(Timestamp).collect())
}

impl From<&Contact> for ContactRecord {
    fn from(contact: &Contact) -> ContactRecord {
        let text = |address: &EmailAddress| address.as_str().to_owned();
        let stage = match &contact.stage {
            Stage::Idle => StageRecord::Idle,
            Stage::AddressAsked { at } => StageRecord::AddressAsked { at: at.0 },
            Stage::SpellingAsked {
                typed,
                suggested,
                tag,
            } => StageRecord::SpellingAsked {
                typed: text(typed),
                suggested: text(suggested),
                tag: tag.clone(),
            },
            Stage::CodeAwaited(challenge) => StageRecord::CodeAwaited(ChallengeRecord {
                id: challenge.id.0,
                address: text(&challenge.address),
                asked_at: challenge.asked_at.0,
                expires_at: challenge.expires_at.0,
                wrong: challenge.wrong,
                sought: match &challenge.sought {
                    Sought::Asking => SoughtRecord::Asking,
                    Sought::Nobody => SoughtRecord::Nobody,
                    Sought::Found(accounts) => {
                        SoughtRecord::Found(accounts.iter().map(AccountRecord::from).collect())
                    }
                },
            }),
            Stage::LinkSent => StageRecord::LinkSent,
        };
        ContactRecord {
            bsuid: contact.bsuid.as_ref().map(|id| id.as_str().to_owned()),
            wa_id: contact.wa_id.as_ref().map(|id| id.as_str().to_owned()),
            language: contact.language.code().to_owned(),
            created_at: contact.created_at.0,
            last_message_at: contact.last_message_at.0,
            stage,
            mapping: contact.mapping.as_ref().map(MappingRecord::from),
            barred: contact.barred.iter().map(BarredRecord::from).collect(),
            bindings: contact.bindings.iter().map(BindingRecord::from).collect(),
            identity_key: contact
                .identity_key
                .as_ref()
                .map(|key| key.as_str().to_owned()),
            released: contact.released.map(|reason| reason.event().to_owned()),
            kept: contact.kept.as_ref().map(KeptRecord::from),
            failures: moments(&contact.failures),
            codes: moments(&contact.codes),
            replies: moments(&contact.replies),
            links: moments(&contact.links),
            mismatches: moments(&contact.mismatches),
        }
    }
}

impl ContactRecord {
    fn into_contact(self, id: ContactId) -> Result<Contact, Malformed> {
        let stage = match self.stage {
            StageRecord::Idle => Stage::Idle,
            StageRecord::AddressAsked { at } => Stage::AddressAsked { at: Timestamp(at) },
            StageRecord::SpellingAsked {
                typed,
                suggested,
                tag,
            } => Stage::SpellingAsked {
                typed: EmailAddress::parse(&typed)?,
                suggested: EmailAddress::parse(&suggested)?,
                tag,
            },
            StageRecord::CodeAwaited(record) => Stage::CodeAwaited(Challenge {
                id: ChallengeId(record.id),
                address: EmailAddress::parse(&record.address)?,
                asked_at: Timestamp(record.asked_at),
                expires_at: Timestamp(record.expires_at),
                wrong: record.wrong,
                sought: match record.sought {
                    SoughtRecord::Asking => Sought::Asking,
                    SoughtRecord::Nobody => Sought::Nobody,
                    SoughtRecord::Found(accounts) => Sought::Found(
                        accounts
                            .into_iter()
                            .map(AccountRecord::into_account)
                            .collect::<Result<_, _>>()?,
                    ),
                },
            }),
            StageRecord::LinkSent => Stage::LinkSent,
        };
        Ok(Contact {
            id,
            bsuid: self.bsuid.as_deref().map(Bsuid::parse).transpose()?,
            wa_id: self.wa_id.as_deref().map(WaId::parse).transpose()?,
            language: Language::parse(&self.language)?,
            created_at: Timestamp(self.created_at),
            last_message_at: Timestamp(self.last_message_at),
            stage,
            mapping: self.mapping.map(MappingRecord::into_mapping).transpose()?,
            barred: self
                .barred
                .into_iter()
                .map(BarredRecord::into_barred)
                .collect::<Result<_, _>>()?,
            bindings: self
                .bindings
                .into_iter()
                .map(BindingRecord::into_binding)
                .collect::<Result<_, _>>()?,
            identity_key: self
                .identity_key
                .as_deref()
                .map(IdentityKey::parse)
                .transpose()?,
            // One that this program does not know is only a reason not told.
            released: self
                .released
                .and_then(|event| ReleaseReason::ALL.into_iter().find(|r| r.event() == event)),
            kept: self.kept.map(KeptRecord::into_kept).transpose()?,
            failures: budget(self.failures),
            codes: budget(self.codes),
            replies: budget(self.replies),
            links: budget(self.links),
            mismatches: budget(self.mismatches),
        })
    }
}

impl From<&Mapping> for MappingRecord {
    fn from(mapping: &Mapping) -> MappingRecord {
        MappingRecord {
            id: mapping.id.0,
            asked_at: mapping.asked_at.0,
            expires_at: mapping.expires_at.0,
            passwords: mapping.passwords,
            wrong_numbers: mapping.wrong_numbers,
            state: match &mapping.state {
                MappingState::Issued => MappingStateRecord::Issued,
                MappingState::SignedIn { bindings, until } => MappingStateRecord::SignedIn {
                    bindings: bindings.iter().map(BindingRecord::from).collect(),
                    until: until.0,
                },
                MappingState::Used => MappingStateRecord::Used,
                MappingState::Burned => MappingStateRecord::Burned,
            },
            earlier: mapping.earlier.iter().map(BindingRecord::from).collect(),
        }
    }
}

impl MappingRecord {
    fn into_mapping(self) -> Result<Mapping, Malformed> {
        Ok(Mapping {
            id: MappingId(self.id),
            asked_at: Timestamp(self.asked_at),
            expires_at: Timestamp(self.expires_at),
            passwords: self.passwords,
            wrong_numbers: self.wrong_numbers,
            state: match self.state {
                MappingStateRecord::Issued => MappingState::Issued,
                MappingStateRecord::SignedIn { bindings, until } => MappingState::SignedIn {
                    bindings: bindings
                        .into_iter()
                        .map(BindingRecord::into_binding)
                        .collect::<Result<_, _>>()?,
                    until: Timestamp(until),
                },
                MappingStateRecord::Used => MappingState::Used,
                MappingStateRecord::Burned => MappingState::Burned,
            },
            earlier: self
                .earlier
                .into_iter()
                .map(BindingRecord::into_binding)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Barred> for BarredRecord {
    fn from(barred: &Barred) -> BarredRecord {
        BarredRecord {
            service: barred.service.as_str().to_owned(),
            user_id: barred.user_id.clone(),
            until: barred.until.0,
        }
    }
}

impl BarredRecord {
    fn into_barred(self) -> Result<Barred, Malformed> {
        Ok(Barred {
            service: ServiceName::parse(&self.service)?,
            user_id: self.user_id,
            until: Timestamp(self.until),
        })
    }
}

impl From<&Account> for AccountRecord {
    fn from(account: &Account) -> AccountRecord {
        AccountRecord {
            service: account.service.as_str().to_owned(),
            user_id: account.user_id.clone(),
            name: account.name.clone(),
            email: account.email.as_str().to_owned(),
            phone: account.phone.clone(),
            company_id: account.company.id.clone(),
            company_name: account.company.name.clone(),
        }
    }
}

impl AccountRecord {
    fn into_account(self) -> Result<Account, Malformed> {
        Ok(Account {
            service: ServiceName::parse(&self.service)?,
            user_id: self.user_id,
            name: self.name,
            email: EmailAddress::parse(&self.email)?,
            phone: self.phone,
            company: Company {
                id: self.company_id,
                name: self.company_name,
            },
        })
    }
}

impl From<&Binding> for BindingRecord {
    fn from(binding: &Binding) -> BindingRecord {
        BindingRecord {
            service: binding.service.as_str().to_owned(),
            user_id: binding.user_id.clone(),
            name: binding.name.clone(),
            email: binding
                .email
                .as_ref()
                .map(|email| email.as_str().to_owned()),
            company_id: binding.company.id.clone(),
            company_name: binding.company.name.clone(),
            proof: binding.proof.name().to_owned(),
            proof_id: binding.proof_id.0,
            proved_at: binding.proved_at.0,
        }
    }
}

impl BindingRecord {
    fn into_binding(self) -> Result<Binding, Malformed> {
        Ok(Binding {
            service: ServiceName::parse(&self.service)?,
            user_id: self.user_id,
            name: self.name,
            email: self.email.as_deref().map(EmailAddress::parse).transpose()?,
            company: Company {
                id: self.company_id,
                name: self.company_name,
            },
            proof: Proof::ALL
                .into_iter()
                .find(|proof| proof.name() == self.proof)
                .ok_or(Malformed("an unknown proof"))?,
            proof_id: ProofId(self.proof_id),
            proved_at: Timestamp(self.proved_at),
        })
    }
}

impl From<&Kept> for KeptRecord {
    fn from(kept: &Kept) -> KeptRecord {
        KeptRecord {
            id: kept.id.as_str().to_owned(),
            sent_at: kept.sent_at.0,
            text: kept.text.clone(),
        }
    }
}

impl KeptRecord {
    fn into_kept(self) -> Result<Kept, Malformed> {
        Ok(Kept {
            id: MessageId::parse(&self.id)?,
            sent_at: Timestamp(self.sent_at),
            text: self.text,
        })
    }
}

/// The contact with this id.
pub fn contact(reader: &dyn Reader, id: ContactId) -> Result<Option<Contact>, StoreError> {
    let Some(bytes) = reader.get(Table::Contact, &id.0)? else {
        return Ok(None);
    };
    read_contact(id, &bytes).map(Some)
}

fn read_contact(id: ContactId, bytes: &[u8]) -> Result<Contact, StoreError> {
    let record: ContactRecord = read(Table::Contact, bytes)?;
    record.into_contact(id).map_err(damaged(Table::Contact))
}

/// Stores a contact, not its aliases.
pub fn put_contact(writer: &mut dyn Writer, contact: &Contact) -> Result<(), StoreError> {
    let bytes = write(Table::Contact, &ContactRecord::from(contact))?;
    writer.put(Table::Contact, &contact.id.0, &bytes)
}

/// Removes a contact, not its aliases.
pub fn delete_contact(writer: &mut dyn Writer, id: ContactId) -> Result<(), StoreError> {
    writer.delete(Table::Contact, &id.0)
}

/// Up to `limit` contacts with an id after `after`, in the order of their ids.
pub fn contacts(
    reader: &dyn Reader,
    after: Option<ContactId>,
    limit: usize,
) -> Result<Vec<Contact>, StoreError> {
    let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0));
    let range = KeyRange::new(start.as_ref().map(|id| &id[..]), Bound::Unbounded);
    collect(
        reader,
        Table::Contact,
        range,
        Order::Forward,
        limit,
        |key, bytes| {
            let id = key.try_into().map_err(damaged(Table::Contact))?;
            read_contact(ContactId(id), bytes)
        },
    )
}

fn alias(reader: &dyn Reader, key: &[u8; 16]) -> Result<Option<ContactId>, StoreError> {
    let Some(bytes) = reader.get(Table::Alias, key)? else {
        return Ok(None);
    };
    let id = bytes.as_slice().try_into().map_err(damaged(Table::Alias))?;
    Ok(Some(ContactId(id)))
}

/// Which contact a BSUID belongs to.
pub fn contact_of_bsuid(
    reader: &dyn Reader,
    keys: &Keys,
    bsuid: &Bsuid,
) -> Result<Option<ContactId>, StoreError> {
    alias(reader, &keys.bsuid(bsuid))
}

/// Which contact a number belongs to.
pub fn contact_of_wa_id(
    reader: &dyn Reader,
    keys: &Keys,
    wa_id: &WaId,
) -> Result<Option<ContactId>, StoreError> {
    alias(reader, &keys.wa_id(wa_id))
}

/// Makes a BSUID an alias of a contact.
pub fn put_bsuid(
    writer: &mut dyn Writer,
    keys: &Keys,
    bsuid: &Bsuid,
    id: ContactId,
) -> Result<(), StoreError> {
    writer.put(Table::Alias, &keys.bsuid(bsuid), &id.0)
}

/// Makes a number an alias of a contact, also when it was another's.
pub fn put_wa_id(
    writer: &mut dyn Writer,
    keys: &Keys,
    wa_id: &WaId,
    id: ContactId,
) -> Result<(), StoreError> {
    writer.put(Table::Alias, &keys.wa_id(wa_id), &id.0)
}

/// Removes the aliases that still lead to this contact.
pub fn delete_aliases(
    writer: &mut dyn Writer,
    keys: &Keys,
    contact: &Contact,
) -> Result<(), StoreError> {
    let names = [
        contact.bsuid.as_ref().map(|id| keys.bsuid(id)),
        contact.wa_id.as_ref().map(|id| keys.wa_id(id)),
    ];
    for key in names.into_iter().flatten() {
        if alias(writer, &key)? == Some(contact.id) {
            writer.delete(Table::Alias, &key)?;
        }
    }
    Ok(())
}

// --- what was handed out for a sign-in on the web ---------------------------------------------------

/// To whom something belongs that was handed out for a sign-in on the web: a link's hash, or a
/// return code. Found by its digest; the secret itself is nowhere (S-37).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Who asked for the link.
    pub contact: ContactId,
    /// Which link.
    pub mapping: MappingId,
    /// When it was handed out.
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct HandleRecord {
    contact: [u8; 16],
    mapping: [u8; 16],
    at: u64,
}

fn handle(reader: &dyn Reader, key: &[u8; 16]) -> Result<Option<Handle>, StoreError> {
    let Some(bytes) = reader.get(Table::Handle, key)? else {
        return Ok(None);
    };
    let record: HandleRecord = read(Table::Handle, &bytes)?;
    Ok(Some(Handle {
        contact: ContactId(record.contact),
        mapping: MappingId(record.mapping),
        at: Timestamp(record.at),
    }))
}

fn put_handle(writer: &mut dyn Writer, key: &[u8; 16], handle: &Handle) -> Result<(), StoreError> {
    let record = HandleRecord {
        contact: handle.contact.0,
        mapping: handle.mapping.0,
        at: handle.at.0,
    };
    writer.put(Table::Handle, key, &write(Table::Handle, &record)?)
}

/// To whom a link's hash belongs.
pub fn handle_of_hash(
    reader: &dyn Reader,
    keys: &Keys,
    hash: &MappingHash,
) -> Result<Option<Handle>, StoreError> {
    handle(reader, &keys.mapping_hash(hash))
}

/// To whom a return code belongs.
pub fn handle_of_return_code(
    reader: &dyn Reader,
    keys: &Keys,
    code: &ReturnCode,
) -> Result<Option<Handle>, StoreError> {
    handle(reader, &keys.return_code(code))
}

/// Stores to whom a link's hash belongs.
pub fn put_handle_of_hash(
    writer: &mut dyn Writer,
    keys: &Keys,
    hash: &MappingHash,
    handle: &Handle,
) -> Result<(), StoreError> {
    put_handle(writer, &keys.mapping_hash(hash), handle)
}

/// Stores to whom a return code belongs.
pub fn put_handle_of_return_code(
    writer: &mut dyn Writer,
    keys: &Keys,
    code: &ReturnCode,
    handle: &Handle,
) -> Result<(), StoreError> {
    put_handle(writer, &keys.return_code(code), handle)
}

/// Sweeps handles handed out before `before`.
pub fn forget_handles(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Handle, cursor, looks, |bytes| {
        let record: HandleRecord = read(Table::Handle, bytes)?;
        Ok(record.at < before.0)
    })
}

// --- messages that had their effect ---------------------------------------------------------------

/// Whether a message had its effect before; from now on it has.
pub fn see(
    writer: &mut dyn Writer,
    keys: &Keys,
    number: &PhoneNumberId,
    id: &MessageId,
    sent_at: Timestamp,
) -> Result<bool, StoreError> {
    let key = keys.seen(number, id, sent_at);
    if writer.get(Table::Seen, &key)?.is_some() {
        return Ok(true);
    }
    writer.put(Table::Seen, &key, &[])?;
    Ok(false)
}

/// Forgets up to `limit` messages sent before `before`; returns how many.
pub fn forget_seen(
    writer: &mut dyn Writer,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let end = hour(before);
    let range = KeyRange::new(Bound::Unbounded, Bound::Excluded(&end));
    let due = collect(
        writer,
        Table::Seen,
        range,
        Order::Forward,
        limit,
        |key, _| Ok(key.to_vec()),
    )?;
    for key in &due {
        writer.delete(Table::Seen, key)?;
    }
    Ok(due.len())
}

// --- the outbox -------------------------------------------------------------------------------------

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
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    hushed: bool,
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
    HandOn(KeptRecord),
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
            Errand::HandOn(kept) => ErrandRecord::HandOn(kept.into()),
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
            ErrandRecord::HandOn(kept) => Errand::HandOn(kept.into_kept()?),
        })
    }
}

/// Lane first, then the entry: each lane is a queue of its own.
fn entry_key(lane: Lane, id: EntryId) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = match lane {
        Lane::Chat => 1,
        Lane::Mail => 2,
        Lane::Services => 3,
        Lane::Bot => 4,
    };
    key[1..].copy_from_slice(&id.0.to_be_bytes());
    key
}

fn read_entry(id: EntryId, table: Table, bytes: &[u8]) -> Result<Entry, StoreError> {
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
            hushed: entry.hushed,
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
            hushed: self.hushed,
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

/// The newest entry id in use in any lane or among the dead letters.
pub fn last_entry_id(reader: &dyn Reader) -> Result<EntryId, StoreError> {
    let mut last = EntryId(0);
    for lane in Lane::ALL {
        let (start, end) = (
            entry_key(lane, EntryId(0)),
            entry_key(lane, EntryId(u64::MAX)),
        );
        let range = KeyRange::new(Bound::Included(&start), Bound::Included(&end));
        reader.scan(Table::Outbox, range, Order::Backward, &mut |key, _| {
            last = last.max(entry_id(key, Table::Outbox).unwrap_or(last));
            ControlFlow::Break(())
        })?;
    }
    reader.scan(
        Table::Dead,
        KeyRange::all(),
        Order::Backward,
        &mut |key, _| {
            last = last.max(entry_id(key, Table::Dead).unwrap_or(last));
            ControlFlow::Break(())
        },
    )?;
    Ok(last)
}

fn entry_id(key: &[u8], table: Table) -> Result<EntryId, StoreError> {
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

/// The newest `limit` dead letters, newest first.
pub fn dead_letters(reader: &dyn Reader, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
    collect(
        reader,
        Table::Dead,
        KeyRange::all(),
        Order::Backward,
        limit,
        |key, bytes| {
            let record: DeadRecord = read(Table::Dead, bytes)?;
            let id = entry_id(key, Table::Dead)?;
            let entry = record.entry.into_entry(id).map_err(damaged(Table::Dead))?;
            Ok(DeadLetter {
                entry,
                at: Timestamp(record.at),
                reason: record.reason,
            })
        },
    )
}

/// Sweeps dead letters given up before `before`.
pub fn forget_dead(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Dead, cursor, looks, |bytes| {
        let record: DeadRecord = read(Table::Dead, bytes)?;
        Ok(record.at < before.0)
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

const STATUSES: [Status; 4] = [
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

// --- counts over all contacts -------------------------------------------------------------------------

#[derive(Serialize, Deserialize, Default)]
struct CountsRecord {
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    codes: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    failures: Vec<u64>,
}

/// The key of what is counted over everybody: shorter than any digest.
const EVERYBODY: &[u8] = b"all";

fn counts(reader: &dyn Reader, key: &[u8]) -> Result<AddressCounts, StoreError> {
    let record: CountsRecord = match reader.get(Table::Budget, key)? {
        Some(bytes) => read(Table::Budget, &bytes)?,
        None => CountsRecord::default(),
    };
    Ok(AddressCounts {
        codes: budget(record.codes),
        failures: budget(record.failures),
    })
}

fn put_counts(
    writer: &mut dyn Writer,
    key: &[u8],
    counts: &AddressCounts,
) -> Result<(), StoreError> {
    if *counts == AddressCounts::default() {
        return writer.delete(Table::Budget, key);
    }
    let record = CountsRecord {
        codes: moments(&counts.codes),
        failures: moments(&counts.failures),
    };
    writer.put(Table::Budget, key, &write(Table::Budget, &record)?)
}

/// What was counted for an address.
pub fn address_counts(
    reader: &dyn Reader,
    keys: &Keys,
    address: &EmailAddress,
) -> Result<AddressCounts, StoreError> {
    counts(reader, &keys.address(address))
}

/// Stores what was counted for an address.
pub fn put_address_counts(
    writer: &mut dyn Writer,
    keys: &Keys,
    address: &EmailAddress,
    counts: &AddressCounts,
) -> Result<(), StoreError> {
    put_counts(writer, &keys.address(address), counts)
}

/// The wrong codes of everybody.
pub fn failures_in_all(reader: &dyn Reader) -> Result<Budget, StoreError> {
    Ok(counts(reader, EVERYBODY)?.failures)
}

/// Stores the wrong codes of everybody.
pub fn put_failures_in_all(writer: &mut dyn Writer, failures: &Budget) -> Result<(), StoreError> {
    put_counts(
        writer,
        EVERYBODY,
        &AddressCounts {
            codes: Budget::default(),
            failures: failures.clone(),
        },
    )
}

/// What is counted for who tries passwords on the page.
#[derive(Clone, Debug)]
pub enum Guesser {
    /// A user name, in lower case.
    UserName(String),
    /// A network: the address, or as much of it as one household has.
    Network([u8; 16]),
}

impl Guesser {
    fn key(&self, keys: &Keys) -> [u8; 16] {
        match self {
            Guesser::UserName(name) => keys.user_name(name),
            Guesser::Network(network) => keys.network(network),
        }
    }
}

/// The passwords tried.
pub fn passwords_tried(
    reader: &dyn Reader,
    keys: &Keys,
    guesser: &Guesser,
) -> Result<Budget, StoreError> {
    Ok(counts(reader, &guesser.key(keys))?.failures)
}

/// Stores the passwords tried.
pub fn put_passwords_tried(
    writer: &mut dyn Writer,
    keys: &Keys,
    guesser: &Guesser,
    tried: &Budget,
) -> Result<(), StoreError> {
    put_counts(
        writer,
        &guesser.key(keys),
        &AddressCounts {
            codes: Budget::default(),
            failures: tried.clone(),
        },
    )
}

/// Sweeps addresses for which nothing was counted since `before`.
pub fn forget_counts(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Budget, cursor, looks, |bytes| {
        let record: CountsRecord = read(Table::Budget, bytes)?;
        Ok(record
            .codes
            .iter()
            .chain(&record.failures)
            .all(|moment| *moment < before.0))
    })
}

// --- the directory --------------------------------------------------------------------------------------

/// A user of the built-in directory.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Names the user in bindings; never used again for another.
    pub id: String,
    /// The address that finds the user.
    pub email: EmailAddress,
    /// What people call the user.
    pub name: String,
    /// The company the user belongs to.
    pub company: Company,
    /// Digits of the user's phone, when known.
    pub phone: Option<String>,
    /// Argon2id in PHC form, when the user has a password.
    pub password_hash: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct UserRecord {
    id: String,
    email: String,
    name: String,
    company_id: String,
    company_name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    password_hash: Option<String>,
}

/// The user with this address.
pub fn user(
    reader: &dyn Reader,
    keys: &Keys,
    email: &EmailAddress,
) -> Result<Option<User>, StoreError> {
    let Some(bytes) = reader.get(Table::Directory, &keys.address(email))? else {
        return Ok(None);
    };
    read_user(&bytes).map(Some)
}

fn read_user(bytes: &[u8]) -> Result<User, StoreError> {
    let record: UserRecord = read(Table::Directory, bytes)?;
    Ok(User {
        id: record.id,
        email: EmailAddress::parse(&record.email).map_err(damaged(Table::Directory))?,
        name: record.name,
        company: Company {
            id: record.company_id,
            name: record.company_name,
        },
        phone: record.phone,
        password_hash: record.password_hash,
    })
}

/// Stores a user.
pub fn put_user(writer: &mut dyn Writer, keys: &Keys, user: &User) -> Result<(), StoreError> {
    let record = UserRecord {
        id: user.id.clone(),
        email: user.email.as_str().to_owned(),
        name: user.name.clone(),
        company_id: user.company.id.clone(),
        company_name: user.company.name.clone(),
        phone: user.phone.clone(),
        password_hash: user.password_hash.clone(),
    };
    writer.put(
        Table::Directory,
        &keys.address(&user.email),
        &write(Table::Directory, &record)?,
    )
}

/// Removes a user; says whether there was one.
pub fn delete_user(
    writer: &mut dyn Writer,
    keys: &Keys,
    email: &EmailAddress,
) -> Result<bool, StoreError> {
    let key = keys.address(email);
    let known = writer.get(Table::Directory, &key)?.is_some();
    writer.delete(Table::Directory, &key)?;
    Ok(known)
}

/// Up to `limit` users, in no useful order.
pub fn users(reader: &dyn Reader, limit: usize) -> Result<Vec<User>, StoreError> {
    collect(
        reader,
        Table::Directory,
        KeyRange::all(),
        Order::Forward,
        limit,
        |_, bytes| read_user(bytes),
    )
}

/// Up to `limit` users after the one with the address `after`, whether that one still exists or
/// not; always in the same order, which is not a useful one.
pub fn users_after(
    reader: &dyn Reader,
    keys: &Keys,
    after: Option<&EmailAddress>,
    limit: usize,
) -> Result<Vec<User>, StoreError> {
    let start = after.map_or(Bound::Unbounded, |email| {
        Bound::Excluded(keys.address(email))
    });
    let range = KeyRange::new(start.as_ref().map(|key| &key[..]), Bound::Unbounded);
    collect(
        reader,
        Table::Directory,
        range,
        Order::Forward,
        limit,
        |_, bytes| read_user(bytes),
    )
}

// --- audit and facts about the whole -----------------------------------------------------------------------

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// What, as a dotted name.
    pub event: String,
    /// The contact's UUID.
    pub contact: String,
    /// The end of the contact's number, when it is shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number_ending: Option<String>,
}

/// Appends a line under a number that grows.
pub fn put_audit(writer: &mut dyn Writer, number: u64, line: &AuditLine) -> Result<(), StoreError> {
    writer.put(
        Table::Audit,
        &number.to_be_bytes(),
        &write(Table::Audit, line)?,
    )
}

/// The newest `limit` lines, newest first.
pub fn audit(reader: &dyn Reader, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
    collect(
        reader,
        Table::Audit,
        KeyRange::all(),
        Order::Backward,
        limit,
        |_, bytes| read(Table::Audit, bytes),
    )
}

/// The newest number in use in the audit.
pub fn last_audit_number(reader: &dyn Reader) -> Result<u64, StoreError> {
    let mut last = 0;
    reader.scan(
        Table::Audit,
        KeyRange::all(),
        Order::Backward,
        &mut |key, _| {
            last = entry_id(key, Table::Audit).map_or(last, |id| id.0);
            ControlFlow::Break(())
        },
    )?;
    Ok(last)
}

/// Sweeps audit lines from before `before`.
pub fn forget_audit(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Audit, cursor, looks, |bytes| {
        let line: AuditLine = read(Table::Audit, bytes)?;
        Ok(line.at_ms < before.0)
    })
}

const LATEST_KEY: &[u8] = b"latest moment";

/// The latest moment that the clock showed while Portero ran: it never starts before that (S-15).
pub fn latest_moment(reader: &dyn Reader) -> Result<Timestamp, StoreError> {
    match reader.get(Table::Meta, LATEST_KEY)? {
        Some(bytes) => Ok(Timestamp(read(Table::Meta, &bytes)?)),
        None => Ok(Timestamp(0)),
    }
}

/// Stores the latest moment, unless a later one is known.
pub fn put_latest_moment(writer: &mut dyn Writer, now: Timestamp) -> Result<(), StoreError> {
    if latest_moment(writer)? < now {
        writer.put(Table::Meta, LATEST_KEY, &write(Table::Meta, &now.0)?)?;
    }
    Ok(())
}

// --- scanning ------------------------------------------------------------------------------------------------

fn collect<T>(
    reader: &dyn Reader,
    table: Table,
    range: KeyRange<'_>,
    order: Order,
    limit: usize,
    convert: impl Fn(&[u8], &[u8]) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut found = Vec::new();
    let mut failed = None;
    if limit == 0 {
        return Ok(found);
    }
    reader.scan(
        table,
        range,
        order,
        &mut |key, bytes| match convert(key, bytes) {
            Ok(item) => {
                found.push(item);
                if found.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    match failed {
        None => Ok(found),
        Some(error) => Err(error),
    }
}

/// How far a sweep over one table has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The last key looked at; `None` at the beginning and after the end.
    pub cursor: Option<Vec<u8>>,
    /// Records removed.
    pub removed: usize,
}

/// Looks at up to `looks` records after `cursor` and removes those that are due.
fn sweep(
    writer: &mut dyn Writer,
    table: Table,
    cursor: Option<&[u8]>,
    looks: usize,
    is_due: impl Fn(&[u8]) -> Result<bool, StoreError>,
) -> Result<Sweep, StoreError> {
    let start = cursor.map_or(Bound::Unbounded, Bound::Excluded);
    let range = KeyRange::new(start, Bound::Unbounded);
    let seen = collect(writer, table, range, Order::Forward, looks, |key, bytes| {
        Ok((key.to_vec(), is_due(bytes)?))
    })?;
    let mut removed = 0;
    for (key, _) in seen.iter().filter(|(_, due)| *due) {
        writer.delete(table, key)?;
        removed += 1;
    }
    let cursor = if seen.len() < looks {
        None
    } else {
        seen.into_iter().next_back().map(|(key, _)| key)
    };
    Ok(Sweep { cursor, removed })
}

#[cfg(test)]
mod tests;

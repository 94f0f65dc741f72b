//! Contacts.

use super::budget::{budget, moments};
use super::{collect, damaged, read, write};
use crate::domain::account::{Account, Company};
use crate::domain::binding::{Binding, Proof, ReleaseReason};
use crate::domain::challenge::{Challenge, Sought};
use crate::domain::contact::{Barred, Contact, ForgetAsked, Kept, Stage};
use crate::domain::id::{
    Bsuid, ChallengeId, ContactId, EmailAddress, IdentityKey, Malformed, MappingId, MessageId,
    ProofId, RequirementId, ServiceName, WaId,
};
use crate::domain::language::Language;
use crate::domain::requirement::{ProofWanted, Requirement, RequirementState};
use crate::domain::sign_in::{Mapping, MappingState};
use crate::domain::tally::{Method, Milestone, Progress};
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

#[derive(Serialize, Deserialize)]
pub(super) struct ContactRecord {
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
    #[serde(skip_serializing_if = "Option::is_none", default)]
    requirement: Option<RequirementRecord>,
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
    #[serde(skip_serializing_if = "Option::is_none", default)]
    forget_asked: Option<ForgetAskedRecord>,
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
    #[serde(skip_serializing_if = "Option::is_none", default)]
    progress: Option<ProgressRecord>,
}

#[derive(Serialize, Deserialize)]
struct ProgressRecord {
    method: String,
    begun_at: u64,
    milestone: String,
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
struct RequirementRecord {
    id: [u8; 16],
    proof: String,
    asked_at: u64,
    expires_at: u64,
    state: RequirementStateRecord,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    after_password: Option<[u8; 16]>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RequirementStateRecord {
    Pending,
    Passed,
    Refused,
}

#[derive(Serialize, Deserialize)]
pub(super) struct BarredRecord {
    service: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    company_id: Option<String>,
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
    /// As `proved_at` if not set.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    bound_since: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct ForgetAskedRecord {
    at: u64,
    tag: String,
}

#[derive(Serialize, Deserialize)]
struct KeptRecord {
    id: String,
    sent_at: u64,
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
            requirement: contact.requirement.as_ref().map(RequirementRecord::from),
            barred: contact.barred.iter().map(BarredRecord::from).collect(),
            bindings: contact.bindings.iter().map(BindingRecord::from).collect(),
            identity_key: contact
                .identity_key
                .as_ref()
                .map(|key| key.as_str().to_owned()),
            released: contact.released.map(|reason| reason.event().to_owned()),
            kept: contact.kept.as_ref().map(KeptRecord::from),
            forget_asked: (contact.forget_asked.as_ref()).map(|asked| ForgetAskedRecord {
                at: asked.at.0,
                tag: asked.tag.clone(),
            }),
            failures: moments(&contact.failures),
            codes: moments(&contact.codes),
            replies: moments(&contact.replies),
            links: moments(&contact.links),
            mismatches: moments(&contact.mismatches),
            progress: contact.progress.as_ref().map(ProgressRecord::from),
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
            requirement: self
                .requirement
                .map(RequirementRecord::into_requirement)
                .transpose()?,
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
            forget_asked: self.forget_asked.map(|asked| ForgetAsked {
                at: Timestamp(asked.at),
                tag: asked.tag,
            }),
            failures: budget(self.failures),
            codes: budget(self.codes),
            replies: budget(self.replies),
            links: budget(self.links),
            mismatches: budget(self.mismatches),
            // One that this program does not know is only not counted.
            progress: self.progress.and_then(ProgressRecord::into_progress),
        })
    }
}

impl From<&Progress> for ProgressRecord {
    fn from(progress: &Progress) -> ProgressRecord {
        ProgressRecord {
            method: progress.method.name().to_owned(),
            begun_at: progress.begun_at.0,
            milestone: progress.milestone.name().to_owned(),
        }
    }
}

impl ProgressRecord {
    fn into_progress(self) -> Option<Progress> {
        let method = Method::ALL.into_iter().find(|m| m.name() == self.method)?;
        let mut milestones = Milestone::ALL.into_iter();
        Some(Progress {
            method,
            begun_at: Timestamp(self.begun_at),
            milestone: milestones.find(|m| m.name() == self.milestone)?,
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

impl From<&Requirement> for RequirementRecord {
    fn from(requirement: &Requirement) -> RequirementRecord {
        RequirementRecord {
            id: requirement.id.0,
            proof: requirement.proof.name().to_owned(),
            asked_at: requirement.asked_at.0,
            expires_at: requirement.expires_at.0,
            state: match requirement.state {
                RequirementState::Pending => RequirementStateRecord::Pending,
                RequirementState::Passed => RequirementStateRecord::Passed,
                RequirementState::Refused => RequirementStateRecord::Refused,
            },
            after_password: requirement.after_password.map(|id| id.0),
        }
    }
}

impl RequirementRecord {
    fn into_requirement(self) -> Result<Requirement, Malformed> {
        Ok(Requirement {
            id: RequirementId(self.id),
            proof: ProofWanted::ALL
                .into_iter()
                .find(|proof| proof.name() == self.proof)
                .ok_or(Malformed("an unknown proof"))?,
            asked_at: Timestamp(self.asked_at),
            expires_at: Timestamp(self.expires_at),
            state: match self.state {
                RequirementStateRecord::Pending => RequirementState::Pending,
                RequirementStateRecord::Passed => RequirementState::Passed,
                RequirementStateRecord::Refused => RequirementState::Refused,
            },
            after_password: self.after_password.map(ChallengeId),
        })
    }
}

impl From<&Barred> for BarredRecord {
    fn from(barred: &Barred) -> BarredRecord {
        BarredRecord {
            service: barred.service.as_str().to_owned(),
            user_id: barred.user_id.clone(),
            company_id: barred.company_id.clone(),
            until: barred.until.0,
        }
    }
}

impl BarredRecord {
    pub(super) fn into_barred(self) -> Result<Barred, Malformed> {
        Ok(Barred {
            service: ServiceName::parse(&self.service)?,
            user_id: self.user_id,
            company_id: self.company_id,
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
            bound_since: (binding.bound_since != binding.proved_at)
                .then_some(binding.bound_since.0),
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
            bound_since: Timestamp(self.bound_since.unwrap_or(self.proved_at)),
        })
    }
}

impl From<&Kept> for KeptRecord {
    fn from(kept: &Kept) -> KeptRecord {
        KeptRecord {
            id: kept.id.as_str().to_owned(),
            sent_at: kept.sent_at.0,
        }
    }
}

impl KeptRecord {
    fn into_kept(self) -> Result<Kept, Malformed> {
        Ok(Kept {
            id: MessageId::parse(&self.id)?,
            sent_at: Timestamp(self.sent_at),
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

pub(super) fn read_contact(id: ContactId, bytes: &[u8]) -> Result<Contact, StoreError> {
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

/// Contacts of one piece of the table that may be wanted.
#[derive(Clone, Debug, Default)]
pub struct ContactsPiece {
    /// Those whose record may be wanted.
    pub contacts: Vec<Contact>,
    /// How many were looked at; fewer than asked for at the end.
    pub looked_at: usize,
    /// The last one looked at.
    pub last: Option<ContactId>,
}

/// Looks at up to `looks` contacts after `after`, and reads only those whose record may be wanted by
/// its bytes, which are JSON behind the version: reading all of it takes most of the time.
pub fn contacts_that(
    reader: &dyn Reader,
    after: Option<ContactId>,
    looks: usize,
    may_be_wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<ContactsPiece, StoreError> {
    let start = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0));
    let start = start.as_ref().map(|id| &id[..]);
    let range = KeyRange::new(start, Bound::Unbounded);
    let mut piece = ContactsPiece::default();
    let found = collect(
        reader,
        Table::Contact,
        range,
        Order::Forward,
        looks,
        |key, bytes| {
            let id = key.try_into().map_err(damaged(Table::Contact))?;
            let id = ContactId(id);
            let contact = may_be_wanted(bytes).then(|| read_contact(id, bytes));
            Ok((id, contact.transpose()?))
        },
    )?;
    piece.looked_at = found.len();
    piece.last = found.last().map(|(id, _)| *id);
    piece.contacts = found
        .into_iter()
        .filter_map(|(_, contact)| contact)
        .collect();
    Ok(piece)
}

//! What the bot asked for, under the key with which it may ask again.

use super::{Keys, Sweep, damaged, read, sweep, write};
use crate::domain::binding::Proof;
use crate::domain::id::{ContactId, Malformed, MappingId, RequirementId};
use crate::domain::requirement::ProofWanted;
use crate::domain::time::Timestamp;
use crate::store::{Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};

/// Something that the bot asked for and got: what the same answer is made from again. Secrets are
/// not among it; they are derived (S-37).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Timestamp,
    /// Digest of the request: the same key with another request is a mistake of the caller's.
    pub request: [u8; 32],
    /// About whom.
    pub contact: ContactId,
    /// What came of it.
    pub got: Got,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// A link.
    Link {
        /// Which.
        mapping: MappingId,
        /// From when on it leads nowhere.
        expires_at: Timestamp,
    },
    /// The person was asked for a proof.
    Demand {
        /// Which demand.
        requirement: RequirementId,
        /// For which proof.
        proof: ProofWanted,
        /// From when on it cannot pass.
        expires_at: Timestamp,
    },
    /// Such a proof stood already.
    Proved {
        /// Which.
        proof: Proof,
        /// Since when.
        proved_at: Timestamp,
    },
}

#[derive(Serialize, Deserialize)]
struct AskedRecord {
    at: u64,
    request: [u8; 32],
    contact: [u8; 16],
    got: GotRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum GotRecord {
    Link {
        mapping: [u8; 16],
        expires_at: u64,
    },
    Demand {
        requirement: [u8; 16],
        proof: String,
        expires_at: u64,
    },
    Proved {
        proof: String,
        proved_at: u64,
    },
}

impl From<&Asked> for AskedRecord {
    fn from(asked: &Asked) -> AskedRecord {
        AskedRecord {
            at: asked.at.0,
            request: asked.request,
            contact: asked.contact.0,
            got: match &asked.got {
                Got::Link {
                    mapping,
                    expires_at,
                } => GotRecord::Link {
                    mapping: mapping.0,
                    expires_at: expires_at.0,
                },
                Got::Demand {
                    requirement,
                    proof,
                    expires_at,
                } => GotRecord::Demand {
                    requirement: requirement.0,
                    proof: proof.name().to_owned(),
                    expires_at: expires_at.0,
                },
                Got::Proved { proof, proved_at } => GotRecord::Proved {
                    proof: proof.name().to_owned(),
                    proved_at: proved_at.0,
                },
            },
        }
    }
}

impl AskedRecord {
    fn into_asked(self) -> Result<Asked, Malformed> {
        let unknown = Malformed("an unknown proof");
        Ok(Asked {
            at: Timestamp(self.at),
            request: self.request,
            contact: ContactId(self.contact),
            got: match self.got {
                GotRecord::Link {
                    mapping,
                    expires_at,
                } => Got::Link {
                    mapping: MappingId(mapping),
                    expires_at: Timestamp(expires_at),
                },
                GotRecord::Demand {
                    requirement,
                    proof,
                    expires_at,
                } => Got::Demand {
                    requirement: RequirementId(requirement),
                    proof: (ProofWanted::ALL.into_iter())
                        .find(|known| known.name() == proof)
                        .ok_or(unknown)?,
                    expires_at: Timestamp(expires_at),
                },
                GotRecord::Proved { proof, proved_at } => Got::Proved {
                    proof: (Proof::ALL.into_iter())
                        .find(|known| known.name() == proof)
                        .ok_or(unknown)?,
                    proved_at: Timestamp(proved_at),
                },
            },
        })
    }
}

/// What was asked for by this caller under this key.
pub fn asked(
    reader: &dyn Reader,
    keys: &Keys,
    caller: &str,
    key: &str,
) -> Result<Option<Asked>, StoreError> {
    let Some(bytes) = reader.get(Table::Asked, &keys.asked(caller, key))? else {
        return Ok(None);
    };
    let record: AskedRecord = read(Table::Asked, &bytes)?;
    record.into_asked().map(Some).map_err(damaged(Table::Asked))
}

/// Remembers what was asked for by this caller under this key.
pub fn put_asked(
    writer: &mut dyn Writer,
    keys: &Keys,
    caller: &str,
    key: &str,
    asked: &Asked,
) -> Result<(), StoreError> {
    let bytes = write(Table::Asked, &AskedRecord::from(asked))?;
    writer.put(Table::Asked, &keys.asked(caller, key), &bytes)
}

/// Sweeps what was asked for before `before`.
pub fn forget_asked(
    writer: &mut dyn Writer,
    before: Timestamp,
    cursor: Option<&[u8]>,
    looks: usize,
) -> Result<Sweep, StoreError> {
    sweep(writer, Table::Asked, cursor, looks, |bytes| {
        let record: AskedRecord = read(Table::Asked, bytes)?;
        Ok(record.at < before.0)
    })
}

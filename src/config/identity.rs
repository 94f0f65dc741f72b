//! `[identity]`: how what Portero signs is signed.

use super::keys;
use super::read::{Reader, number};
use crate::domain::time::{DAY_MS, SECOND_MS};
use toml::de::DeTable;

/// How what Portero signs is signed.
#[derive(Clone, Debug)]
pub struct Identity {
    /// How long the bot may believe who wrote a message.
    pub lifetime_ms: u64,
    /// How long a key signs.
    pub rotate_ms: u64,
}

pub(super) fn identity(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Identity> {
    let table = reader.table(root, "identity");
    let lifetime = reader.one(
        &table,
        &keys::IDENTITY_LIFETIME_SECONDS,
        number(
            10..=300,
            "; a bot needs a moment to ask, and an identity that was copied must not be worth much",
        ),
    );
    let rotate = reader.one(
        &table,
        &keys::IDENTITY_ROTATE_DAYS,
        number(
            1..=3_650,
            "; `portero keys rotate` changes the key at any time",
        ),
    );
    Some(Identity {
        lifetime_ms: lifetime? * SECOND_MS,
        rotate_ms: rotate? * DAY_MS,
    })
}

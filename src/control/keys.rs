//! The keys that tokens are signed with, as the command line sees them, and what it does with them.

use super::Answer;
use crate::app::App;
use crate::app::keys::{KEPT_MS, KeyState, KeyView, NoTurn, Revoked, Turned, When};
use serde::{Deserialize, Serialize};

/// A key in a list. Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLine {
    /// Its name, the `kid` of what it signs.
    pub id: String,
    /// What it does now.
    pub state: KeyLineState,
    /// From when on it signs.
    pub signs_from_ms: u64,
    /// When it stops signing; unknown as long as there is no later one.
    pub signs_until_ms: Option<u64>,
    /// When it stops being published and verifying.
    pub published_until_ms: Option<u64>,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyLineState {
    /// It is published and will sign.
    Coming,
    /// It signs.
    Signing,
    /// It only verifies what it signed.
    Verifying,
    /// It is out of use and about to be removed.
    Over,
}

fn key_lines(keys: &[KeyView]) -> Vec<KeyLine> {
    let successors = keys.iter().skip(1).map(Some).chain([None]);
    keys.iter()
        .zip(successors)
        .map(|(key, successor)| KeyLine {
            id: key.id.clone(),
            state: match key.state {
                KeyState::Coming => KeyLineState::Coming,
                KeyState::Signing => KeyLineState::Signing,
                KeyState::Kept { .. } => KeyLineState::Verifying,
                KeyState::Over => KeyLineState::Over,
            },
            signs_from_ms: key.signs_from.0,
            signs_until_ms: successor.map(|next| next.signs_from.0),
            published_until_ms: successor.map(|next| next.signs_from.plus_ms(KEPT_MS).0),
        })
        .collect()
}

pub(super) fn list(app: &App) -> Answer {
    Answer::Keys {
        keys: key_lines(&app.signing_keys()),
    }
}

/// A new key signs at once, or when every verifier can know it.
pub(super) fn rotate(app: &App, now: bool) -> Result<Answer, Answer> {
    let when = if now { When::Now } else { When::Soon };
    Ok(match app.rotate_keys(when)? {
        Turned::Made { id, signs_from } => Answer::KeyMade {
            id,
            signs_from_ms: signs_from.0,
        },
        Turned::Not(NoTurn::Coming { signs_from }) => Answer::KeyComing {
            signs_from_ms: signs_from.0,
        },
        Turned::Not(NoTurn::Full { room_from }) => Answer::KeysFull {
            room_from_ms: room_from.0,
        },
    })
}

pub(super) fn revoke(app: &App, id: &str) -> Result<Answer, Answer> {
    Ok(match app.revoke_key(id)? {
        Revoked::Gone { made } => Answer::KeyRevoked { made },
        Revoked::NoSuchKey => Answer::NoSuchKey,
    })
}

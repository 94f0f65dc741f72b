//! Which key signs, which are published, which still verify, and when there is a new one.
//!
//! Keys take turns: the one that began last signs, until the next begins. Verifiers keep what they
//! were told about our keys for a while, so a key is published before it signs; what it signed lives
//! on for a while, so it is kept afterwards. All of it follows from the moments at which keys begin,
//! and no function here knows the time but from its caller.

use super::{Key, SKEW_MS, TOKEN_LIFETIME_MS_MAX};
use crate::domain::time::{MINUTE_MS, Timestamp};
use std::fmt;

/// From the publication of a key to its first signature. Whoever keeps the JWK set for no longer
/// never meets a key that they do not know.
pub const PUBLISHED_BEFORE_MS: u64 = 10 * MINUTE_MS;

/// How long a key verifies and is published after its last signature.
pub const KEPT_MS: u64 = TOKEN_LIFETIME_MS_MAX + SKEW_MS;

/// Most keys that exist at a time. Turns by age need three; who turns by hand that often has a
/// program that runs wild.
pub const KEYS_MAX: usize = 8;

/// When a key was made and from when on it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was made, which is when it was published. No two keys of a store have the same.
    pub made_at: Timestamp,
    /// From when on it signs, unless a later one does.
    pub signs_from: Timestamp,
}

/// What a key does at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is published and will sign.
    Coming,
    /// It signs.
    Signing,
    /// Another one signs; it verifies what it has signed.
    Kept {
        /// When the other one began.
        signed_until: Timestamp,
    },
    /// Nothing that it signed can live.
    Over,
}

/// All keys there are: at least one.
pub struct KeyRing {
    /// By the moment at which they begin; not empty.
    keys: Vec<Key>,
}

impl KeyRing {
    /// A ring of these keys; `None` if there are none.
    pub fn new(mut keys: Vec<Key>) -> Option<KeyRing> {
        // Of two that begin at the same moment the one that was made later counts as later.
        keys.sort_by_key(|key| (key.life().signs_from, key.life().made_at));
        (!keys.is_empty()).then_some(KeyRing { keys })
    }

    /// Every key, by the moment at which it begins, with what it does now.
    pub fn states(&self, now: Timestamp) -> impl Iterator<Item = (&Key, KeyState)> {
        let lives = self.lives();
        self.keys
            .iter()
            .enumerate()
            .map(move |(index, key)| (key, state(&lives, index, now)))
    }

    /// The key that signs now.
    pub fn signing(&self, now: Timestamp) -> &Key {
        self.states(now)
            .find(|(_, state)| *state == KeyState::Signing)
            .map_or(&self.keys[0], |(key, _)| key)
    }

    /// The keys that others are told of.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        self.states(now)
            .filter(|(_, state)| *state != KeyState::Over)
            .map(|(key, _)| key)
    }

    /// The key of this name, if what it signed may be believed now, and the end of its turn if that
    /// is over.
    pub fn verifying(&self, id: &str, now: Timestamp) -> Option<(&Key, Option<Timestamp>)> {
        let (key, state) = self.states(now).find(|(key, _)| key.id() == id)?;
        match state {
            KeyState::Signing => Some((key, None)),
            KeyState::Kept { signed_until } => Some((key, Some(signed_until))),
            KeyState::Coming | KeyState::Over => None,
        }
    }

    /// When each key begins, in order.
    pub fn lives(&self) -> Vec<Life> {
        self.keys.iter().map(Key::life).collect()
    }

    /// The keys at these places of [`Self::lives`], by name.
    pub fn ids(&self, places: &[usize]) -> Vec<String> {
        let keys = places.iter().filter_map(|place| self.keys.get(*place));
        keys.map(|key| key.id().to_owned()).collect()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.keys).finish()
    }
}

/// What the key at a place does now. `lives` are in the order in which keys begin.
fn state(lives: &[Life], place: usize, now: Timestamp) -> KeyState {
    let begun = |life: &Life| life.signs_from <= now;
    // Somebody has to sign, also when the clock was set back to before all of them.
    let signing = lives.iter().rposition(begun).unwrap_or(0);
    if place > signing {
        return KeyState::Coming;
    }
    if place == signing {
        return KeyState::Signing;
    }
    let signed_until = lives[place + 1].signs_from;
    if now < signed_until.plus_ms(KEPT_MS) {
        KeyState::Kept { signed_until }
    } else {
        KeyState::Over
    }
}

/// When a key is to take its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once. Verifiers that have kept the JWK set and do not ask again refuse it for a while.
    Now,
    /// Once every verifier can know it.
    Soon,
}

/// What is to change about the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// A key to make.
    pub make: Option<Life>,
    /// Places of keys to remove.
    pub remove: Vec<usize>,
}

impl Plan {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.make.is_none() && self.remove.is_empty()
    }
}

/// What time alone brings: keys that are over go, and a key that has signed for `rotate_ms` gets a
/// successor, published early enough.
pub fn due(lives: &[Life], now: Timestamp, rotate_ms: u64) -> Plan {
    let mut plan = Plan::default();
    let (mut coming, mut signing_from) = (false, None);
    for (place, life) in lives.iter().enumerate() {
        match state(lives, place, now) {
            KeyState::Coming => coming = true,
            KeyState::Signing => signing_from = Some(life.signs_from),
            KeyState::Kept { .. } => {}
            KeyState::Over => plan.remove.push(place),
        }
    }
    let room = lives.len() - plan.remove.len() < KEYS_MAX;
    plan.make = match signing_from {
        None => Some(new_life(lives, now, When::Now)),
        Some(from) => {
            let aged = now.plus_ms(PUBLISHED_BEFORE_MS) >= from.plus_ms(rotate_ms);
            (aged && !coming && room).then(|| new_life(lives, now, When::Soon))
        }
    };
    plan
}

/// What an operator brings about who wants another key. A key that has not begun is not waited for
/// when it must be now: it may be known to whoever the turn is against.
///
/// # Errors
/// Why there is no new key now.
pub fn turn(lives: &[Life], now: Timestamp, when: When) -> Result<Plan, NoTurn> {
    let mut plan = Plan::default();
    let mut room_from = None;
    for (place, life) in lives.iter().enumerate() {
        match (state(lives, place, now), when) {
            (KeyState::Coming, When::Soon) => {
                return Err(NoTurn::Coming {
                    signs_from: life.signs_from,
                });
            }
            (KeyState::Coming, When::Now) | (KeyState::Over, _) => plan.remove.push(place),
            (KeyState::Kept { signed_until }, _) => {
                room_from.get_or_insert(signed_until.plus_ms(KEPT_MS));
            }
            (KeyState::Signing, _) => {}
        }
    }
    if lives.len() - plan.remove.len() >= KEYS_MAX {
        return Err(NoTurn::Full {
            room_from: room_from.unwrap_or(now),
        });
    }
    plan.make = Some(new_life(lives, now, when));
    Ok(plan)
}

/// What it takes to drop the key at `place` at once. If it is the one that signs, another one does
/// from now on. The keys before it go with it: the end of their turns is the beginning of its own,
/// and would not be known any more.
pub fn revoke(lives: &[Life], place: usize, now: Timestamp) -> Plan {
    let is = |place, wanted| state(lives, place, now) == wanted;
    let first = if is(place, KeyState::Coming) {
        place
    } else {
        0
    };
    Plan {
        make: is(place, KeyState::Signing).then(|| new_life(lives, now, When::Now)),
        remove: (first..=place).collect(),
    }
}

/// Why there is no new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// One is published already.
    Coming {
        /// When it begins.
        signs_from: Timestamp,
    },
    /// There are [`KEYS_MAX`].
    Full {
        /// When the oldest of them is over.
        room_from: Timestamp,
    },
}

fn new_life(lives: &[Life], now: Timestamp, when: When) -> Life {
    let last = lives.iter().map(|life| life.made_at).max();
    Life {
        made_at: last.map_or(now, |last| now.max(last.plus_ms(1))),
        signs_from: match when {
            When::Now => now,
            When::Soon => now.plus_ms(PUBLISHED_BEFORE_MS),
        },
    }
}

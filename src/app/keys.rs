//! The keys that tokens are signed with: made, taken in turns, published, removed.

use super::audit::{ActOn, OperatorAct};
use super::{App, Failed};
use crate::domain::time::Timestamp;
use crate::signing::{self, Key, KeyRing, Life, Plan};
use crate::store::record::{self, SigningKey};
use crate::store::{Reader, StoreError, Table, Writer};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError};
use zeroize::Zeroizing;

pub use crate::signing::{KEPT_MS, KEYS_MAX, KeyState, NoTurn, PUBLISHED_BEFORE_MS, When};

/// How long others may keep the JWK set: a new key is published for twice as long before it signs,
/// so that a copy which is served by somebody in between does no harm either.
pub const JWKS_MAX_AGE_SECONDS: u64 = PUBLISHED_BEFORE_MS / 2 / 1_000;

/// A key, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Its name, the `kid` of tokens.
    pub id: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// From when on it signs.
    pub signs_from: Timestamp,
    /// What it does now.
    pub state: KeyState,
}

/// What came of the wish for another key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turned {
    /// There is one.
    Made {
        /// Its name.
        id: String,
        /// From when on it signs.
        signs_from: Timestamp,
    },
    /// There is none, and why.
    Not(NoTurn),
}

/// What came of the wish to drop a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It is gone.
    Gone {
        /// The key that signs in its place, if it was the one that signed.
        made: Option<String>,
    },
    /// There is none of this name.
    NoSuchKey,
}

impl App {
    /// The public keys as a JWK set (RFC 7517), in JSON, for whoever verifies what Portero signs.
    pub fn jwks(&self) -> String {
        self.shared.ring().jwks(self.now())
    }

    /// Every key there is, by the moment at which it begins.
    pub fn signing_keys(&self) -> Vec<KeyView> {
        let (ring, now) = (self.shared.ring(), self.now());
        ring.states(now)
            .map(|(key, state)| view(key, state))
            .collect()
    }

    /// Makes a new key, which signs at once or after [`PUBLISHED_BEFORE_MS`]. The one before it is
    /// published and verifies until nothing that it signed can live.
    ///
    /// # Errors
    /// Whatever the store or the source of randomness says.
    pub fn rotate_keys(&self, when: When) -> Result<Turned, Failed> {
        let now = self.now();
        match self.change_keys(By::Operator, move |lives, _| {
            signing::turn(lives, now, when)
        })? {
            // A turn always brings a key.
            Ok(made) => Ok(made.map_or(
                Turned::Not(NoTurn::Full { room_from: now }),
                |(id, life)| Turned::Made {
                    id,
                    signs_from: life.signs_from,
                },
            )),
            Err(reason) => Ok(Turned::Not(reason)),
        }
    }

    /// Drops a key, so that nothing that it signed or will sign is believed; if it is the one that
    /// signs, there is another one first.
    ///
    /// # Errors
    /// Whatever the store or the source of randomness says.
    pub fn revoke_key(&self, id: &str) -> Result<Revoked, Failed> {
        let (now, wanted) = (self.now(), id.to_owned());
        let revoke = move |lives: &[Life], ids: &[String]| {
            let place = ids.iter().position(|id| *id == wanted).ok_or(())?;
            Ok::<_, ()>(signing::revoke(lives, place, now))
        };
        let revoked = self.change_keys(By::OperatorRevoking, revoke)?;
        Ok(match revoked {
            Ok(made) => {
                tracing::warn!(key = id, "a signing key was revoked");
                Revoked::Gone {
                    made: made.map(|(id, _)| id),
                }
            }
            Err(()) => Revoked::NoSuchKey,
        })
    }

    /// What time brings: a successor for a key of a certain age, and the end of old ones. Says how
    /// many went.
    pub(super) fn tend_keys(&self) -> Result<usize, Failed> {
        let now = self.now();
        let rotate_ms = self.shared.settings.identity.rotate_ms;
        // What the store knows, not what is remembered: an earlier change may have been stored
        // although nobody could say so.
        let lives = self.shared.reload_keys()?.lives();
        let plan = signing::due(&lives, now, rotate_ms);
        if !plan.is_empty() {
            let Ok(_) = self.change_keys(By::Time, move |lives, _| {
                Ok::<_, Infallible>(signing::due(lives, now, rotate_ms))
            })?;
        }
        Ok(plan.remove.len())
    }

    /// One transaction over the keys and what is written down of it, and from then on the ones that
    /// it left.
    fn change_keys<R: Send + 'static>(
        &self,
        by: By,
        decide: impl Fn(&[Life], &[String]) -> Result<Plan, R> + Send + Sync + 'static,
    ) -> Result<Result<Made, R>, Failed> {
        let mut seed = Zeroizing::new([0; 32]);
        self.random.fill(&mut *seed)?;
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        let changed = self.update(move |writer| {
            let ring = KeyRing::new(read(writer)?);
            let lives = ring.as_ref().map(KeyRing::lives).unwrap_or_default();
            let places: Vec<usize> = (0..lives.len()).collect();
            let ids = ring
                .as_ref()
                .map(|ring| ring.ids(&places))
                .unwrap_or_default();
            let plan = match decide(&lives, &ids) {
                Ok(plan) => plan,
                Err(reason) => return Ok(Err(reason)),
            };
            for id in ring.iter().flat_map(|ring| ring.ids(&plan.remove)) {
                record::delete_signing_key(writer, &id)?;
                if by == By::OperatorRevoking {
                    shared.note_act(writer, OperatorAct::KeyRevoked, ActOn::Thing(id), now)?;
                }
            }
            let Some(life) = plan.make else {
                return Ok(Ok(None));
            };
            let id = make(writer, &seed, life)?;
            if by != By::Time {
                let on = ActOn::Thing(id.clone());
                shared.note_act(writer, OperatorAct::KeyRotated, on, now)?;
            }
            Ok(Ok(Some((id, life))))
        })?;
        self.shared.reload_keys()?;
        if let Ok(Some((key, _))) = &changed {
            tracing::info!(key, "there is a new signing key");
        }
        Ok(changed)
    }
}

/// On whose account keys change: what an operator does is written down.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Nobody's: it was time.
    Time,
    /// An operator's, who wants another key.
    Operator,
    /// An operator's, who wants what goes to be believed no longer.
    OperatorRevoking,
}

/// The name and the life of a key that was made, if one was.
type Made = Option<(String, Life)>;

impl super::Shared {
    /// The keys, as they are now.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the store holds.
    fn reload_keys(&self) -> Result<Arc<KeyRing>, StoreError> {
        // Of two threads the one that read last is the last to write. The ring itself can be read
        // meanwhile: by an update, for example, that this view may have to wait for.
        let _turn = (self.ring_reload.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = KeyRing::new(self.store.view(|reader| read(reader))?) {
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        }
        Ok(self.ring())
    }
}

/// The keys of a store; one is made if there is none, all in one transaction.
pub(super) fn open(
    store: &crate::store::Sealed,
    random: &dyn super::Random,
    now: Timestamp,
) -> Result<KeyRing, Failed> {
    if let Some(ring) = KeyRing::new(store.view(|reader| read(reader))?) {
        return Ok(ring);
    }
    let mut seed = Zeroizing::new([0; 32]);
    random.fill(&mut *seed)?;
    store.update(move |writer| {
        // Nobody can have kept a JWK set yet.
        let life = Life {
            made_at: now,
            signs_from: now,
        };
        if read(writer)?.is_empty() {
            make(writer, &seed, life)?;
        }
        Ok(())
    })?;
    let keys = store.view(|reader| read(reader))?;
    KeyRing::new(keys).ok_or(Failed::Store(StoreError::Damaged { table: Table::Key }))
}

fn read(reader: &dyn Reader) -> Result<Vec<Key>, StoreError> {
    let records = record::signing_keys(reader)?;
    let keys = records.iter().map(|record| {
        let life = Life {
            made_at: record.made_at,
            signs_from: record.signs_from,
        };
        Key::new(&record.seed, life)
    });
    Ok(keys.collect())
}

fn make(writer: &mut dyn Writer, seed: &[u8; 32], life: Life) -> Result<String, StoreError> {
    let id = Key::new(seed, life).id().to_owned();
    let record = SigningKey {
        id: id.clone(),
        seed: Zeroizing::new(*seed),
        made_at: life.made_at,
        signs_from: life.signs_from,
    };
    record::put_signing_key(writer, &record)?;
    Ok(id)
}

fn view(key: &Key, state: KeyState) -> KeyView {
    KeyView {
        id: key.id().to_owned(),
        made_at: key.life().made_at,
        signs_from: key.life().signs_from,
        state,
    }
}

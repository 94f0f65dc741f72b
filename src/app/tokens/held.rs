//! Tokens in memory: one question at a time for each, none held past its life, and never more of
//! them than there is room for.

use super::Issued;
use crate::domain::binding::{Binding, Scope};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::{ContactId, ProofId, ServiceName};
use crate::domain::secret::Secret;
use crate::domain::time::{HOUR_MS, SECOND_MS, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a held token has left at least when it is handed out: whoever checks it may have a clock
/// that is a minute ahead, and it still has to travel and to be used.
pub const MARGIN_MS: u64 = 75 * SECOND_MS;

/// How much earlier than at the margin a token is renewed, at least: time for a slow service.
const REFRESH_EARLIER_MS: u64 = 30 * SECOND_MS;

/// After a renewal that failed, what is held serves this long before the next one, unless the
/// service asks for more.
pub const REFRESH_REST_MS: u64 = 10 * SECOND_MS;

/// Longest life that is made use of. Beyond it the service is asked again, so that it can say that
/// the user is gone.
pub const LIFE_MS_MAX: u64 = HOUR_MS;

/// Tokens held: more contacts than write at once behind one number.
pub const ENTRIES_MAX: usize = 16_384;

/// Bytes of them, with what it takes to find them: a token alone may have 8 KiB.
pub const HELD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What an entry takes besides its texts, in bytes; rather more than it is.
const ENTRY_BYTES: usize = 384;

/// Different tokens of one service that are asked for at the same time: each keeps a thread of the
/// web waiting, and a slow service must leave enough of them to the others.
pub const FLIGHTS_PER_SERVICE_MAX: usize = 32;

/// How many may wait for one token that is being asked for.
pub const WAITERS_PER_FLIGHT_MAX: usize = 1_024;

/// How long they wait: as long as a service may take at most, and a moment.
pub const WAIT_MS_MAX: u64 = 65 * SECOND_MS;

/// A moment by two clocks. Of what has passed since, the longer counts: one clock may be set back,
/// the other may stand still while the machine is suspended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) steady_ms: u64,
}

impl Moment {
    fn since_ms(self, earlier: Moment) -> u64 {
        let steady_ms = self.steady_ms.saturating_sub(earlier.steady_ms);
        self.wall.since_ms(earlier.wall).max(steady_ms)
    }
}

/// What a token is held under. The proof is part of it, so a new proof never gets an old token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    contact: ContactId,
    proof: ProofId,
    scope: Scope,
    service: ServiceName,
    user_id: String,
    company_id: String,
}

impl Key {
    pub(super) fn new(contact: ContactId, binding: &Binding, scope: Scope) -> Key {
        Key {
            contact,
            proof: binding.proof_id,
            scope,
            service: binding.service.clone(),
            user_id: binding.user_id.clone(),
            company_id: binding.company.id.clone(),
        }
    }

    fn bytes(&self) -> usize {
        self.service.as_str().len() + self.user_id.len() + self.company_id.len()
    }
}

/// A token and how long it lives.
pub(super) struct HeldToken {
    pub(super) token: Secret,
    pub(super) token_type: String,
    begun: Moment,
    life_ms: u64,
}

impl HeldToken {
    /// What is left of its life, counted from before it was asked for.
    pub(super) fn left_ms(&self, now: Moment) -> u64 {
        self.life_ms.saturating_sub(now.since_ms(self.begun))
    }

    fn is_good(&self, now: Moment) -> bool {
        self.left_ms(now) >= MARGIN_MS
    }

    /// Whether it is time to ask for the next one: in the last quarter of its life, well before
    /// the margin, and not before half of the time for which it can be held is over.
    fn is_due(&self, now: Moment) -> bool {
        let usable_ms = self.life_ms.saturating_sub(MARGIN_MS);
        let zone_ms = (self.life_ms / 4)
            .max(MARGIN_MS + REFRESH_EARLIER_MS)
            .min(MARGIN_MS + usable_ms / 2);
        self.left_ms(now) < zone_ms
    }
}

/// What came of a question, for everybody who waited for it.
pub(super) type Landed = Result<Arc<HeldToken>, Failure>;

/// How a caller comes to a token.
pub(super) enum Approach<'a> {
    /// It is here.
    Have(Arc<HeldToken>),
    /// Somebody is asking for it.
    Wait(Arc<Flight>),
    /// This caller has to ask.
    Lead(Lead<'a>),
    /// Too many are asking or waiting.
    Busy,
}

/// A question under way.
#[derive(Default)]
pub(super) struct Flight {
    landed: Mutex<Option<Landed>>,
    has_landed: Condvar,
}

impl Flight {
    /// Waits for the answer, but no longer than [`WAIT_MS_MAX`].
    pub(super) fn wait(&self) -> Landed {
        let landed = self.landed.lock().unwrap_or_else(PoisonError::into_inner);
        let (landed, _) = self
            .has_landed
            .wait_timeout_while(landed, Duration::from_millis(WAIT_MS_MAX), |landed| {
                landed.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &*landed {
            Some(landed) => landed.clone(),
            None => Err(Failure::temporary("the answer took too long")),
        }
    }

    fn land(&self, landed: Landed) {
        *self.landed.lock().unwrap_or_else(PoisonError::into_inner) = Some(landed);
        self.has_landed.notify_all();
    }
}

/// All tokens that are held or being asked for.
#[derive(Default)]
pub(in crate::app) struct Held {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Arc<Key>, Entry>,
    /// The oldest first, by their numbers.
    order: BTreeMap<u64, Arc<Key>>,
    number: u64,
    bytes: usize,
    flights: HashMap<Key, UnderWay>,
}

struct Entry {
    token: Arc<HeldToken>,
    number: u64,
    bytes: usize,
    /// When a renewal failed, and how long none is tried.
    rest: Option<(Moment, u64)>,
}

struct UnderWay {
    flight: Arc<Flight>,
    waiters: usize,
}

impl Held {
    pub(super) fn approach(&self, key: &Key, now: Moment) -> Approach<'_> {
        let mut inner = self.inner();
        let good = (inner.entries.get(key)).filter(|entry| entry.token.is_good(now));
        let fallback = good.map(|entry| Arc::clone(&entry.token));
        let is_resting = good
            .and_then(|entry| entry.rest)
            .is_some_and(|(since, rest_ms)| now.since_ms(since) < rest_ms);
        if let Some(token) = &fallback
            && (!token.is_due(now) || is_resting || inner.flights.contains_key(key))
        {
            return Approach::Have(Arc::clone(token));
        }
        if let Some(under_way) = inner.flights.get_mut(key) {
            if under_way.waiters >= WAITERS_PER_FLIGHT_MAX {
                return Approach::Busy;
            }
            under_way.waiters += 1;
            return Approach::Wait(Arc::clone(&under_way.flight));
        }
        let of_the_service = |other: &&Key| other.service == key.service;
        if inner.flights.keys().filter(of_the_service).count() >= FLIGHTS_PER_SERVICE_MAX {
            return fallback.map_or(Approach::Busy, Approach::Have);
        }
        let flight = Arc::new(Flight::default());
        let under_way = UnderWay {
            flight: Arc::clone(&flight),
            waiters: 0,
        };
        inner.flights.insert(key.clone(), under_way);
        Approach::Lead(Lead {
            held: self,
            key: key.clone(),
            flight,
            fallback,
            has_landed: false,
        })
    }

    /// Drops what is held for these contacts; returns how many tokens went. What is being asked for
    /// lives on for its time and finds nobody.
    pub(in crate::app) fn forget_contacts(&self, contacts: &[ContactId]) -> usize {
        self.inner()
            .forget(|key, _| contacts.contains(&key.contact))
    }

    /// How many tokens are held for these contacts.
    pub(in crate::app) fn of_contacts(&self, contacts: &[ContactId]) -> usize {
        let inner = self.inner();
        let held = inner.entries.keys();
        held.filter(|key| contacts.contains(&key.contact)).count()
    }

    /// Drops what is dead; returns how many tokens went.
    pub(super) fn forget_dead(&self, now: Moment) -> usize {
        self.inner()
            .forget(|_, entry| entry.token.left_ms(now) < MARGIN_MS)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // No change of it can panic half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, key: &Key, token: &Arc<HeldToken>) {
        self.remove(key);
        let bytes = ENTRY_BYTES + key.bytes() + token.token.reveal().len() + token.token_type.len();
        let key = Arc::new(key.clone());
        self.number += 1;
        self.bytes += bytes;
        self.order.insert(self.number, Arc::clone(&key));
        let entry = Entry {
            token: Arc::clone(token),
            number: self.number,
            bytes,
            rest: None,
        };
        self.entries.insert(key, entry);
        // The oldest give way, so that no service with long lives crowds out the others.
        while self.entries.len() > ENTRIES_MAX || self.bytes > HELD_BYTES_MAX {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            self.remove(&oldest);
        }
    }

    /// No renewal is tried for this long.
    fn rest(&mut self, key: &Key, now: Moment, ms: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.rest = Some((now, ms));
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.number);
            self.bytes -= entry.bytes;
        }
    }

    fn forget(&mut self, is_over: impl Fn(&Key, &Entry) -> bool) -> usize {
        let over: Vec<Arc<Key>> = (self.entries.iter())
            .filter(|(key, entry)| is_over(key, entry))
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in &over {
            self.remove(key);
        }
        over.len()
    }
}

/// The right and the duty to ask. Given up without an answer, also by a panic, everybody who waits
/// hears that it broke off.
pub(super) struct Lead<'a> {
    held: &'a Held,
    key: Key,
    flight: Arc<Flight>,
    fallback: Option<Arc<HeldToken>>,
    has_landed: bool,
}

impl Lead<'_> {
    /// The answer to a question that was put after `begun`, for this caller and all who wait. A
    /// failure is not kept; while what was held before is better than what came, this caller gets
    /// that.
    pub(super) fn land(
        mut self,
        begun: Moment,
        issued: Result<Issued, Failure>,
        now: impl FnOnce() -> Moment,
    ) -> Landed {
        let landed = issued.map(|issued| {
            let life_ms = issued.expires_in_seconds.saturating_mul(SECOND_MS);
            Arc::new(HeldToken {
                token: issued.token,
                token_type: issued.token_type,
                begun,
                life_ms: life_ms.min(LIFE_MS_MAX),
            })
        });
        let now = now();
        self.finish(&landed, now);
        let before = (self.fallback.as_ref()).filter(|before| before.is_good(now));
        match (landed, before) {
            (Err(failure), Some(before)) if failure.kind != FailureKind::Permanent => {
                Ok(Arc::clone(before))
            }
            (Ok(token), Some(before)) if token.left_ms(now) < before.left_ms(now) => {
                Ok(Arc::clone(before))
            }
            (landed, _) => landed,
        }
    }

    fn finish(&mut self, landed: &Landed, now: Moment) {
        self.has_landed = true;
        let mut inner = self.held.inner();
        match landed {
            Ok(token) if token.is_good(now) => inner.put(&self.key, token),
            // Too short-lived to be held.
            Ok(_) => inner.rest(&self.key, now, REFRESH_REST_MS),
            Err(failure) => match failure.kind {
                FailureKind::Permanent => {
                    let Key {
                        service, user_id, ..
                    } = &self.key;
                    inner.forget(|key, _| key.service == *service && key.user_id == *user_id);
                }
                FailureKind::Temporary {
                    retry_after_ms: Some(ms),
                } => inner.rest(&self.key, now, ms.max(REFRESH_REST_MS)),
                _ => inner.rest(&self.key, now, REFRESH_REST_MS),
            },
        }
        // Together with the token, so that nobody finds neither the one nor the other.
        inner.flights.remove(&self.key);
        drop(inner);
        self.flight.land(landed.clone());
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.has_landed {
            self.held.inner().flights.remove(&self.key);
            let broken = Failure::temporary("the question was broken off");
            self.flight.land(Err(broken));
        }
    }
}

#[cfg(test)]
impl Held {
    /// Entries and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let inner = self.inner();
        assert_eq!(inner.entries.len(), inner.order.len());
        let bytes = inner.entries.values().map(|entry| entry.bytes).sum();
        assert_eq!(inner.bytes, bytes);
        (inner.entries.len(), bytes)
    }

    pub(super) fn under_way(&self) -> usize {
        self.inner().flights.len()
    }

    /// How many have come to wait for questions under way.
    pub(super) fn waiters(&self) -> usize {
        let inner = self.inner();
        inner
            .flights
            .values()
            .map(|under_way| under_way.waiters)
            .sum()
    }
}

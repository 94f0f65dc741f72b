//! The operations: each one is one transaction on the store, and every edge calls the same ones.
//!
//! The clock is read and randomness is drawn before the transaction begins, so that an engine may
//! run its body again. Nothing is sent from here; what is to be sent is stored in the outbox in
//! the same transaction as the reason for it, and the [`Bell`] wakes whoever sends.

pub mod admin;
mod api;
mod audit;
mod bell;
mod clock;
mod contacts;
mod counted;
mod decide;
mod events;
mod faults;
mod hand_on;
mod identity;
mod janitor;
pub mod keys;
mod operator;
mod password;
mod receive;
mod report;
mod settle;
mod sign_in;
pub mod tokens;
mod transaction;
pub mod user;

pub use api::{ContactView, DemandView, Granted, Once, Wish};
pub use audit::{AUDIT_LINES_CHECKED_MAX, AUDIT_LINES_LISTED_MAX, OperatorAct};
pub use bell::{Bell, Bells, Heard};
pub use clock::{Machine, SystemClock, SystemRandom};
pub use contacts::{Export, FORGET_EVERY_MS, Forgotten, Whom};
pub use counted::Counted;
pub use events::event_name;
pub use faults::{go_on_after_faults, have_ended};
pub use hand_on::Body;
pub use identity::{
    AUDIENCE, DirectoryToken, IDENTITY_LIFETIME_MS_MAX, Identity, IdentitySettings, Refused,
    Subject, Users, rfc_3339,
};
pub use janitor::{BOUND_CONTACT_MS, Janitor, KEPT_MS};
pub use operator::{
    CHANGED_AT_ONCE_MAX, Letter, LetterChange, LetterChanged, Obstacle, REPLAYED_AT_ONCE_MAX,
};
pub use password::{CheckFailed, PASSWORD_BYTES_MAX, PASSWORD_CHECKS_MAX, PASSWORD_WAIT_MS_MAX};
pub use receive::Received;
pub use report::{Found, Happened, SEARCH_LOOKS_MAX, SEARCH_ON_LOOKS_MAX, StatusAct, Wanted};
pub use settle::{Begun, EndedTry, HandOver, Lookup, Report, Settled, Telling, Waiting, Work};
pub use sign_in::{Attempt, Claim, MappingAnswer, PageView, Tried, UndoView, Verdict, Visitor};
pub use tokens::{IssueToken, Issued, NamedAccount, Need, TokenAnswer, TokenAsked, TokenWanted};

use crate::domain::delivery::{EntryId, Lane};
use crate::domain::id::{ContactId, PhoneNumberId, ServiceName, WaId};
use crate::domain::language::Language;
use crate::domain::policy::Policy;
use crate::domain::time::Timestamp;
use crate::signing::KeyRing;
use crate::store::record::{self, Keys};
use crate::store::{Sealed, Snapshots, StoreError};
use crate::text::{Texts, Voice};
use clock::Belief;
use decide::{About, NOTICE_LIFETIME_MS};
use faults::Faults;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use transaction::{NUMBERS_RESERVED, Transaction, put_new_entry};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now; never earlier than what it said before.
    fn now(&self) -> Timestamp;

    /// Milliseconds by a clock that nobody sets; only differences mean something. Without one of
    /// its own it is the time itself.
    fn steady_ms(&self) -> u64 {
        self.now().0
    }

    /// How far the clock of the machine is behind [`Clock::now`], which does not go back with it.
    fn behind_ms(&self) -> u64 {
        0
    }
}

/// Where randomness comes from.
pub trait Random: Send + Sync {
    /// Fills `bytes` with unpredictable ones; an error means that there are none to be had, and
    /// nothing may be made up instead (S-17).
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// Why an operation did not happen. It left nothing behind, or nobody knows
/// ([`StoreError::Unknown`]); repeating it is always safe.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The clock of the machine would decide, and is not believed.
    #[error(
        "the clock of this machine is not believed: it was set by more than an hour, or Portero was \
         down for more than a day; check the time; it is believed once Portero has run for a day"
    )]
    ClockInDoubt,
}

impl Failed {
    /// Whether nothing will be stored any more by this process: repeating it is of no use.
    pub fn is_for_good(&self) -> bool {
        matches!(self, Failed::Store(StoreError::Broken(_)))
    }
}

/// What the operations need to know besides the store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The limits.
    pub policy: Policy,
    /// The business's number: part of what makes a message id unique.
    pub phone_number_id: PhoneNumberId,
    /// The language for whoever's country does not tell.
    pub language: Language,
    /// What Portero says.
    pub texts: Texts,
    /// What it speaks about.
    pub voice: Voice,
    /// The name of the built-in directory as a service, when it is one.
    pub directory: Option<ServiceName>,
    /// Where the web is.
    pub places: Places,
    /// Whether there is a bot that messages are handed on to.
    pub hands_on: bool,
    /// Whether anybody is told what happens with sign-ins.
    pub tells_events: bool,
    /// How tokens are signed.
    pub identity: IdentitySettings,
}

/// Where browsers are sent; every link is built from these and from nothing that a request says
/// (S-39, S-40).
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The page to which a hash is added: ends with `?mappingHash=`. Without it no links are sent.
    pub sign_in: Option<String>,
    /// The page to which the token is added that undoes a binding. Without it nobody is told by
    /// mail that they were bound.
    pub undo: Option<String>,
    /// Where a browser opens the chat, up to and including `?phone=` and the business's number.
    pub chat: Option<String>,
    /// The business's number, as a page is told.
    pub number: Option<WaId>,
}

impl Places {
    /// Where a browser opens the chat with `text` ready to be sent.
    pub fn chat_with(&self, text: &str) -> Option<String> {
        let chat = self.chat.as_ref()?;
        let mut url = format!("{chat}&text=");
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                url.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                let _ = write!(url, "%{byte:02X}");
            }
        }
        Some(url)
    }
}

/// The operations, as one set of settings has them.
///
/// Whoever holds one has the same settings from the beginning of what it does to its end. Other
/// settings are another `App` on the same store ([`App::with_settings`]): what is behind an `Arc`
/// here belongs to all of them.
pub struct App {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    bells: Arc<Bells>,
    freed: Arc<Mutex<Vec<(Lane, ContactId, EntryId)>>>,
    outcomes: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    password_checks: Arc<password::Turns>,
    tokens: Arc<tokens::Held>,
    snapshots: Option<Snapshots>,
    /// Whether no copy of the store is made any more.
    copies_cancelled: Arc<AtomicBool>,
    /// Held by who erases, and by who copies what is to be erased; when those who wished it were last
    /// erased.
    forgetting: Arc<Mutex<Option<Timestamp>>>,
    counted: Arc<Counted>,
    /// Whether the clock of the machine shows what it should.
    belief: Arc<Mutex<Belief>>,
    faults: Arc<Faults>,
}

/// What the bodies of updates share; they may outlive the call that made them.
struct Shared {
    store: Sealed,
    keys: Keys,
    settings: Settings,
    /// What tokens are signed with.
    ring: Arc<RwLock<Arc<KeyRing>>>,
    /// Held by whoever replaces the ring.
    ring_reload: Arc<Mutex<()>>,
    /// The last number given to an entry or an audit line. Numbers are given inside updates, which
    /// happen one after the other, so what is stored later has the higher number.
    number: Arc<AtomicU64>,
    /// Up to which number the disk knows that they may be given.
    number_reserved: Arc<AtomicU64>,
    /// When it was last said that nobody can sign in.
    alarmed_at_ms: Arc<AtomicU64>,
}

/// What becomes of tokens in memory when settings change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldTokens {
    /// They are as good as before.
    Kept,
    /// They may be what a service or the signer would not issue any more.
    Dropped,
}

impl App {
    /// The operations on this store.
    ///
    /// # Errors
    /// When the store cannot be read, or has no signing key yet and none can be made.
    pub fn new(
        store: Sealed,
        keys: Keys,
        settings: Settings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<App, Failed> {
        let last = store.view(record::last_number)?;
        // Tags, Message-IDs and what the bot tells repetitions by are made from numbers, so that none
        // is given twice although its entry is long gone: behind what an earlier process may have
        // given, and from the clock on, for a store that was put back from an old copy.
        let start = clock.now().0.saturating_mul(1_000).max(last);
        let reserved = start.saturating_add(NUMBERS_RESERVED);
        store.update(move |writer| record::put_numbers_reserved(writer, reserved))?;
        let ring = keys::open(&store, &*random, clock.now())?;
        store.update(|writer| record::begin_to_forget_seen(writer, receive::SEEN_MS))?;
        // Before the time of this process is noted.
        let belief = store.view(|reader| Belief::beginning(reader, &*clock))?;
        let shared = Shared {
            store,
            keys,
            settings,
            ring: Arc::new(RwLock::new(Arc::new(ring))),
            ring_reload: Arc::default(),
            number: Arc::new(AtomicU64::new(start)),
            number_reserved: Arc::new(AtomicU64::new(reserved)),
            alarmed_at_ms: Arc::default(),
        };
        Ok(App {
            shared: Arc::new(shared),
            clock,
            random,
            bells: Arc::new(Bells::default()),
            freed: Arc::default(),
            outcomes: Arc::default(),
            password_checks: Arc::default(),
            tokens: Arc::default(),
            snapshots: None,
            copies_cancelled: Arc::default(),
            forgetting: Arc::default(),
            counted: Arc::default(),
            belief: Arc::new(Mutex::new(belief)),
            faults: Arc::default(),
        })
    }

    /// The same store and all that is remembered, with other settings. Who holds `self` goes on
    /// with the old ones.
    #[must_use]
    pub fn with_settings(&self, settings: Settings, tokens: HeldTokens) -> App {
        let shared = &self.shared;
        App {
            shared: Arc::new(Shared {
                store: shared.store.clone(),
                keys: shared.keys.clone(),
                settings,
                ring: Arc::clone(&shared.ring),
                ring_reload: Arc::clone(&shared.ring_reload),
                number: Arc::clone(&shared.number),
                number_reserved: Arc::clone(&shared.number_reserved),
                alarmed_at_ms: Arc::clone(&shared.alarmed_at_ms),
            }),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            bells: Arc::clone(&self.bells),
            freed: Arc::clone(&self.freed),
            outcomes: Arc::clone(&self.outcomes),
            password_checks: Arc::clone(&self.password_checks),
            tokens: match tokens {
                HeldTokens::Kept => Arc::clone(&self.tokens),
                HeldTokens::Dropped => Arc::default(),
            },
            snapshots: self.snapshots.clone(),
            copies_cancelled: Arc::clone(&self.copies_cancelled),
            forgetting: Arc::clone(&self.forgetting),
            counted: Arc::clone(&self.counted),
            belief: Arc::clone(&self.belief),
            faults: Arc::clone(&self.faults),
        }
    }

    /// One for each lane: rings when something new waits in it.
    pub fn bells(&self) -> &Arc<Bells> {
        &self.bells
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How often each outcome happened since the start.
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        self.outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether the store answers: what is known can be read.
    pub fn is_ready(&self) -> Result<(), StoreError> {
        self.shared
            .store
            .view(|reader| record::latest_moment(reader).map(|_| ()))
    }

    /// Whether what is received can be stored, as far as is known: the store answers, and the last
    /// update was not refused. Writes nothing, for everybody may ask.
    pub fn takes_writes(&self) -> bool {
        self.is_ready().is_ok() && !self.counted.is_refused.load(Ordering::Relaxed)
    }

    /// After an update was refused, tries the one that notes the time, so that it is known when there
    /// is room again, also if nobody is let through to write before that.
    pub fn try_to_write_again(&self) {
        if self.counted.is_refused.load(Ordering::Relaxed) {
            // What came of it is counted, as of every update.
            let _ = self.note_time();
        }
    }

    /// Sixteen random bytes for each of `count` events.
    fn draw(&self, count: usize) -> Result<Vec<[u8; 16]>, NoRandomness> {
        let mut bytes = vec![0; count * 16];
        self.random.fill(&mut bytes)?;
        Ok(bytes
            .chunks_exact(16)
            .map(|chunk| chunk.try_into().unwrap_or_default())
            .collect())
    }

    fn count(&self, outcomes: &[&'static str]) {
        let mut counted = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in outcomes {
            *counted.entry(outcome).or_default() += 1;
        }
    }
}

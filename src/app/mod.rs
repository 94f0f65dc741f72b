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
pub mod user;

pub use api::{ContactView, DemandView, Granted, Once, Wish};
pub use audit::{AUDIT_LINES_CHECKED_MAX, AUDIT_LINES_LISTED_MAX, OperatorAct};
pub use bell::{Bell, Bells, Heard};
pub use clock::{Machine, SystemClock, SystemRandom};
pub use contacts::{Export, FORGET_EVERY_MS, Forgotten, Whom};
pub use counted::Counted;
pub use events::event_name;
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
pub use report::{Found, Happened, SEARCH_WITHIN, StatusAct, Wanted};
pub use settle::{Begun, EndedTry, HandOver, Lookup, Report, Settled, Telling, Waiting, Work};
pub use sign_in::{Attempt, Claim, MappingAnswer, PageView, Tried, UndoView, Verdict, Visitor};
pub use tokens::{IssueToken, Issued, NamedAccount, Need, TokenAnswer, TokenAsked, TokenWanted};

use crate::domain::contact::{Contact, Stage};
use crate::domain::conversation::{
    self, Action, AuditEvent, Context, Counts, Event, Outcome, Step,
};
use crate::domain::delivery::{Entry, EntryId, Errand, Lane};
use crate::domain::id::{
    ChallengeId, ContactId, DAY_MS, HOUR_MS, Language, MINUTE_MS, OtpCode, PhoneNumberId,
    ServiceName, Timestamp, WaId,
};
use crate::domain::policy::Policy;
use crate::domain::tally::Tally;
use crate::signing::KeyRing;
use crate::store::engine::Visitor as RecordVisitor;
use crate::store::record::{self, AuditLine, Guesser, Keys};
use crate::store::{KeyRange, Order, Reader, Sealed, Snapshots, StoreError, Table, Writer};
use crate::text::{Texts, Voice};
use clock::Belief;
use faults::Faults;
use hand_on::{Element, HandOn};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The time now; never earlier than what it said before.
    fn now(&self) -> Timestamp;

    /// Milliseconds by a clock that nobody sets; only differences mean something. Without one of
    /// its own it is the time itself.
    fn steady_ms(&self) -> u64 {
        self.now().0
    }

    /// Whether the time goes on as a clock once showed it that was set back by more than an hour since.
    fn is_left_behind(&self) -> bool {
        false
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

/// How long a prompt is worth sending: an answer to what was said ten minutes ago confuses.
const PROMPT_LIFETIME_MS: u64 = 10 * MINUTE_MS;

/// How long the services may take to answer before the person is told.
const LOOK_UP_LIFETIME_MS: u64 = 2 * MINUTE_MS;

/// How long a notice to the owner of an account waits for the mail server.
const NOTICE_LIFETIME_MS: u64 = DAY_MS;

/// Numbers that are set aside on disk at a time: more than any update gives, and so many that few
/// updates have to set more aside.
const NUMBERS_RESERVED: u64 = 65_536;

/// Entries that are remembered as freed until their lane asks; more wait for their usual time.
const FREED_MAX: usize = 1_000;

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
        let last = store.view(|reader| {
            Ok(record::last_entry_id(reader)?
                .0
                .max(record::last_audit_number(reader)?)
                .max(record::numbers_reserved(reader)?))
        })?;
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

    /// Whether the store answers.
    pub fn is_ready(&self) -> Result<(), StoreError> {
        self.shared
            .store
            .view(|reader| record::latest_moment(reader).map(|_| ()))
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

    /// One transaction; the bells of the lanes that got something ring once it is durable.
    fn update<T: Send + 'static>(
        &self,
        body: impl Fn(&mut Transaction<'_>) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let shared = Arc::clone(&self.shared);
        let updated = self.shared.store.update(move |writer| {
            let mut transaction = Transaction {
                writer,
                filled: Vec::new(),
                freed: Vec::new(),
                hand_on: Vec::new(),
                sign_ins: Vec::new(),
                dead: Vec::new(),
                tally: Tally::default(),
                counted_at: Timestamp::default(),
            };
            let value = body(&mut transaction)?;
            transaction.keep_tally()?;
            let reserved = shared.reserve_numbers(&mut transaction)?;
            let Transaction {
                filled,
                freed,
                sign_ins,
                dead,
                ..
            } = transaction;
            Ok((value, filled, freed, sign_ins, dead, reserved))
        });
        let counted = &self.counted;
        counted.update_durations.add(begun.elapsed());
        let result = if updated.is_ok() { "done" } else { "failed" };
        counted.updates.count(result);
        let (value, filled, freed, sign_ins, dead, reserved) = updated?;
        if let Some(reserved) = reserved {
            let known = &self.shared.number_reserved;
            known.fetch_max(reserved, Ordering::Relaxed);
        }
        sign_ins
            .iter()
            .for_each(|name| counted.sign_ins.count(name));
        (dead.iter()).for_each(|lane| counted.dead[*lane as usize].count());
        if !freed.is_empty() {
            let mut known = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
            let room = FREED_MAX - known.len();
            known.extend(freed.iter().take(room));
            drop(known);
            for lane in Lane::ALL {
                // It may end the rest of a lane, in which nobody listens for something new.
                if freed.iter().any(|(of, ..)| *of == lane) {
                    self.bells.of(lane).ring_all();
                }
            }
        }
        for lane in filled {
            self.bells.of(lane).ring();
        }
        Ok(value)
    }

    /// The entries of a lane that were settled without its senders since the last call, by a status
    /// or an operator, each with its contact: what waits behind them need wait no longer.
    pub fn take_freed(&self, lane: Lane) -> Vec<(ContactId, EntryId)> {
        let mut freed = self.freed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_lane = freed.extract_if(.., |(of, ..)| *of == lane);
        of_lane.map(|(_, contact, id)| (contact, id)).collect()
    }

    fn count(&self, outcomes: &[&'static str]) {
        let mut counted = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        for outcome in outcomes {
            *counted.entry(outcome).or_default() += 1;
        }
    }
}

/// A store's update that remembers which lanes it gave something, and which entries it took
/// away that a sender may still hold, and what of the webhook is the bot's.
struct Transaction<'w> {
    writer: &'w mut dyn Writer,
    filled: Vec<Lane>,
    freed: Vec<(Lane, ContactId, EntryId)>,
    hand_on: Vec<HandOn>,
    /// What is counted once it is durable: the body may run again.
    sign_ins: Vec<&'static str>,
    dead: Vec<Lane>,
    /// What is counted with it, and when.
    tally: Tally,
    counted_at: Timestamp,
}

impl Transaction<'_> {
    /// One record for all that is counted, and none where nothing is: a message for the bot costs
    /// nothing here.
    fn keep_tally(&mut self) -> Result<(), StoreError> {
        let mut tally = std::mem::take(&mut self.tally);
        self.sign_ins.iter().for_each(|name| tally.count(name));
        (self.dead.iter()).for_each(|lane| tally.count(Tally::given_up(*lane)));
        if tally.is_empty() {
            return Ok(());
        }
        record::add_to_tally(self.writer, &tally, self.counted_at)
    }

    /// Counts something with what is stored; `now` is the moment of the operation.
    fn count(&mut self, name: &str, now: Timestamp) {
        self.tally.count(name);
        self.counted_at = now;
    }
}

impl Reader for Transaction<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.writer.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: &mut RecordVisitor<'_>,
    ) -> Result<(), StoreError> {
        self.writer.scan(table, range, order, visit)
    }
}

impl Writer for Transaction<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writer.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.writer.delete(table, key)
    }
}

/// What a decision may need to know that most events do not.
#[derive(Default)]
struct About {
    now: Timestamp,
    fresh: [u8; 16],
    /// Who tries a password on the page, by name and by network.
    guessers: Option<(Guesser, Guesser)>,
    /// Whether the message carries a return code of another contact.
    foreign_return_code: bool,
    /// The element of a webhook that is decided about.
    element: Option<Element>,
}

impl Shared {
    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Sets more numbers aside when few are left, in the update that gives some; returns up to which.
    fn reserve_numbers(&self, writer: &mut Transaction<'_>) -> Result<Option<u64>, StoreError> {
        let given = self.number.load(Ordering::Relaxed);
        let known = self.number_reserved.load(Ordering::Relaxed);
        if given.saturating_add(NUMBERS_RESERVED / 2) < known {
            return Ok(None);
        }
        let reserved = given.saturating_add(NUMBERS_RESERVED);
        record::put_numbers_reserved(writer, reserved)?;
        Ok(Some(reserved))
    }

    /// The code of a challenge: derived, so that there is nothing to steal from the store and a
    /// mail that is sent again carries the same one. Bound to the contact and the purpose (S-16).
    fn code(&self, contact: ContactId, challenge: ChallengeId) -> Option<OtpCode> {
        let digits = self.settings.policy.code_digits;
        let digest = self
            .keys
            .master()
            .keyed_digest("code by mail", &[&contact.0, &challenge.0]);
        let (number, _) = digest.split_first_chunk::<16>()?;
        // 128 bits over at most 10^10 values: the bias is below 2^-94.
        let value = u128::from_be_bytes(*number) % 10u128.pow(u32::try_from(digits).ok()?);
        OtpCode::parse(&format!("{value:0digits$}")).ok()
    }

    /// Lets the domain decide about one event and stores everything that follows from it.
    fn decide(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: &Event<'_>,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<Outcome, StoreError> {
        let about = About {
            now,
            fresh,
            ..About::default()
        };
        Ok(self.decide_about(writer, contact, event, &about)?.outcome)
    }

    /// As [`Self::decide`], with what only some events know besides; returns the whole decision.
    fn decide_about(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: &Event<'_>,
        about: &About,
    ) -> Result<Step, StoreError> {
        let policy = &self.settings.policy;
        let mut counts = Counts::default();
        for address in conversation::addresses_concerned(contact, event, policy) {
            let counted = record::address_counts(writer, &self.keys, &address)?;
            counts.addresses.push((address, counted));
        }
        // A decision that concerns no address neither asks for a code nor tries one.
        if !counts.addresses.is_empty() {
            counts.failures_in_all = record::failures_in_all(writer)?;
        }
        if let Some((user_name, network)) = &about.guessers {
            counts.user_name = record::passwords_tried(writer, &self.keys, user_name)?;
            counts.network = record::passwords_tried(writer, &self.keys, network)?;
        }
        let expected_code = match &contact.stage {
            Stage::CodeAwaited(challenge) => self.code(contact.id, challenge.id),
            _ => None,
        };
        let expected_return_code = (contact.mapping.as_ref())
            .filter(|mapping| mapping.is_signed_in())
            .map(|mapping| self.return_code(contact.id, mapping.id));
        let context = Context {
            now: about.now,
            fresh: about.fresh,
            policy,
            expected_code,
            expected_return_code,
            foreign_return_code: about.foreign_return_code,
            counts,
        };
        let mut step = conversation::step(contact, event, &context);
        writer.counted_at = about.now;
        step.contact.progress = writer.tally.follow(contact, event, &step, about.now);
        if step
            .actions
            .contains(&Action::Say(conversation::Sentence::SignInPaused))
        {
            self.alarm_about_guessing(about.now);
            writer.sign_ins.push("sign_in.paused");
        }
        self.store_step(writer, contact, &context.counts, &step, about)?;
        if let Some((user_name, network)) = &about.guessers {
            for (guesser, before, after) in [
                (user_name, &context.counts.user_name, &step.counts.user_name),
                (network, &context.counts.network, &step.counts.network),
            ] {
                if before != after {
                    record::put_passwords_tried(writer, &self.keys, guesser, after)?;
                }
            }
        }
        Ok(step)
    }

    /// Somebody may be trying codes in many chats at once (S-24): said once an hour, not once a try.
    fn alarm_about_guessing(&self, now: Timestamp) {
        let last = Timestamp(self.alarmed_at_ms.load(Ordering::Relaxed));
        if last == Timestamp(0) || now.since_ms(last) >= HOUR_MS {
            self.alarmed_at_ms.store(now.0, Ordering::Relaxed);
            tracing::error!(
                "nobody can sign in: there were too many wrong codes in all (limits.failures_per_day_in_all); \
                 somebody may be guessing"
            );
        }
    }

    fn store_step(
        &self,
        writer: &mut Transaction<'_>,
        before: &Contact,
        counts_before: &Counts,
        step: &Step,
        about: &About,
    ) -> Result<(), StoreError> {
        let now = about.now;
        if step.contact != *before {
            record::put_contact(writer, &step.contact)?;
            self.hand_out(writer, before, &step.contact, now)?;
        }
        for (address, counts) in &step.counts.addresses {
            let known = counts_before
                .addresses
                .iter()
                .find(|(other, _)| other == address);
            if known.is_none_or(|(_, known)| known != counts) {
                record::put_address_counts(writer, &self.keys, address, counts)?;
            }
        }
        if step.counts.failures_in_all != counts_before.failures_in_all {
            record::put_failures_in_all(writer, &step.counts.failures_in_all)?;
        }
        for action in &step.actions {
            match action {
                Action::Audit(event) => self.audit(writer, &step.contact, *event, now)?,
                Action::HandOn(kept) => {
                    self.hand_on(writer, &step.contact, kept, about)?;
                }
                Action::Forget => {}
                other => self.enqueue(writer, &step.contact, other, now)?,
            }
        }
        self.keep_for_later(writer, before, &step.contact, about)?;
        match step.actions.contains(&Action::Forget) {
            true => self.begin_to_forget(writer, before, &step.contact, now),
            false => Ok(()),
        }
    }

    fn audit(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: AuditEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writer.sign_ins.push(event.name());
        writer.counted_at = now;
        let line = AuditLine {
            at_ms: now.0,
            event: event.name().to_owned(),
            contact: contact.id.to_string(),
            number_ending: contact.number_ending().map(str::to_owned),
            directory_user: None,
            about: None,
            link: None,
        };
        record::put_audit(writer, &self.keys, self.next_number(), line)?;
        self.tell(writer, contact, event, now)
    }

    fn enqueue(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        action: &Action,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (errand, expires_at) = match action {
            // None is an errand of the contact's own making; each has its own place.
            Action::Audit(_) | Action::HandOn(_) | Action::Forget => return Ok(()),
            Action::Say(sentence) => {
                let Some(to) = contact.recipient() else {
                    return Ok(());
                };
                let Settings { texts, voice, .. } = &self.settings;
                let message = texts.chat(contact.language, sentence, voice, now);
                let errand = Errand::Chat {
                    to,
                    message,
                    sentence: sentence.name().to_owned(),
                };
                (errand, now.plus_ms(PROMPT_LIFETIME_MS))
            }
            Action::LookUp { challenge, address } => {
                let errand = Errand::LookUp {
                    challenge: *challenge,
                    address: address.clone(),
                };
                (errand, now.plus_ms(LOOK_UP_LIFETIME_MS))
            }
            Action::MailCode {
                challenge,
                to,
                expires_at,
            } => (
                Errand::MailCode {
                    challenge: *challenge,
                    to: to.clone(),
                },
                *expires_at,
            ),
            Action::PretendMail {
                challenge,
                expires_at,
            } => (
                Errand::PretendMail {
                    challenge: *challenge,
                },
                *expires_at,
            ),
            Action::MailNotice {
                to,
                notice,
                language,
            } => {
                if self.settings.places.undo.is_none() {
                    return Ok(());
                }
                let errand = Errand::MailNotice {
                    to: to.clone(),
                    notice: *notice,
                    language: *language,
                };
                (errand, now.plus_ms(NOTICE_LIFETIME_MS))
            }
        };
        let id = EntryId(self.next_number());
        put_new_entry(writer, Entry::new(id, contact.id, errand, now, expires_at))
    }
}

/// Stores an entry and remembers that its lane has something to do.
fn put_new_entry(writer: &mut Transaction<'_>, entry: Entry) -> Result<(), StoreError> {
    let lane = entry.errand.lane();
    if !writer.filled.contains(&lane) {
        writer.filled.push(lane);
    }
    record::put_entry(writer, &entry)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{MasterKey, Memory};

    fn app() -> App {
        let key = MasterKey::from_hex(&"41".repeat(32)).unwrap();
        let store = Sealed::open(Arc::new(Memory::new()), &key).unwrap();
        let settings = Settings {
            policy: Policy::default(),
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            language: Language::Spanish,
            texts: Texts::default(),
            voice: Voice {
                business: String::new(),
                services: Vec::new(),
                code_digits: 8,
                code_minutes: 10,
                methods: Policy::default().methods,
                link_minutes: 10,
            },
            directory: None,
            places: Places::default(),
            hands_on: false,
            tells_events: false,
            identity: IdentitySettings::default(),
        };
        let clock = Arc::new(SystemClock::new(Timestamp(0)));
        App::new(
            store,
            Keys::new(key),
            settings,
            clock,
            Arc::new(SystemRandom),
        )
        .unwrap()
    }

    /// S-17: every digit equally often at every place, leading zeros kept; another contact or
    /// another challenge is another code, the same ones are the same.
    #[test]
    fn a_million_codes_have_every_digit_equally_often_at_every_place() {
        const CODES: u32 = 1_000_000;
        let shared = app().shared;
        let contact = ContactId([7; 16]);
        let tally = |range: std::ops::Range<u32>| {
            let mut tally = [[0u32; 10]; 8];
            for number in range {
                let mut challenge = [0; 16];
                challenge[..4].copy_from_slice(&number.to_be_bytes());
                let code = shared.code(contact, ChallengeId(challenge)).unwrap();
                assert_eq!(code.reveal().len(), 8);
                for (place, digit) in code.reveal().bytes().enumerate() {
                    tally[place][usize::from(digit - b'0')] += 1;
                }
            }
            tally
        };
        let halves = std::thread::scope(|scope| {
            let first = scope.spawn(|| tally(0..CODES / 2));
            let second = tally(CODES / 2..CODES);
            [first.join().unwrap(), second]
        });
        let expected = f64::from(CODES) / 10.0;
        let [first, second] = halves;
        for (place, (first, second)) in first.iter().zip(&second).enumerate() {
            let chi_square: f64 = first
                .iter()
                .zip(second)
                .map(|(first, second)| f64::from(first + second))
                .map(|found| (found - expected).powi(2) / expected)
                .sum();
            // 9 degrees of freedom, p = 0.001; the inputs are fixed, so this never fails by chance.
            assert!(chi_square < 27.88, "place {place}: {chi_square}");
        }
        let code = |contact: u8, challenge: u8| {
            let code = shared.code(ContactId([contact; 16]), ChallengeId([challenge; 16]));
            code.unwrap().reveal().to_owned()
        };
        assert_eq!(code(1, 1), code(1, 1));
        assert_ne!(code(1, 1), code(2, 1));
        assert_ne!(code(1, 1), code(1, 2));
    }
}

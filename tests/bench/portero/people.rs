//! Who writes: webhooks with a signature, and stores that are full of contacts.

use super::client::post;
use super::server::{APP_SECRET, PHONE_NUMBER_ID, SERVICE, Setup};
use super::stand_ins::World;
use hmac::{Hmac, KeyInit, Mac};
use portero::app::{Clock, SystemClock};
use portero::domain::account::{Account, Company};
use portero::domain::binding::{Binding, Proof};
use portero::domain::contact::Contact;
use portero::domain::delivery::{Entry, EntryId, Errand};
use portero::domain::id::{Bsuid, ContactId, EmailAddress, MessageId, ProofId, ServiceName, WaId};
use portero::domain::language::Language;
use portero::domain::tally::Tally;
use portero::domain::time::{HOUR_MS, Timestamp};
use portero::store::record::{self, AuditLine, DeadLetter, Keys, User};
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed, Writer};
use sha2::Sha256;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// From it come the ids of contacts.
pub const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Contacts whose records are stored in one commit: each commit writes anew what it finds beside
/// them, so fewer are quicker, and need more memory.
const CONTACTS_AT_ONCE: u64 = 125_000;
const FILL_CACHE_BYTES: usize = 1 << 30;
/// Rows of the store for each contact that [`fill`] makes: itself, its two aliases, its address, a line
/// of the audit.
pub const ROWS_PER_CONTACT: u64 = 5;
/// Dead letters and hours of the tally in a store for the status page.
const DEAD_LETTERS: u64 = 500;
const TALLY_HOURS: u64 = 90 * 24;

/// Contacts made by [`fill`] have numbers from here on, whoever else writes from [`NEWCOMERS`] on.
const KNOWN: u64 = 573_000_000_000;
const NEWCOMERS: u64 = 573_100_000_000;

/// The number, and so the address in `people.example`, of a contact that [`fill`] made.
pub fn known(number: u64) -> String {
    (KNOWN + number).to_string()
}

/// A number that nobody wrote from before.
pub fn newcomer() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(NEWCOMERS);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}

/// The address of whoever has that number.
pub fn address_of(number: &str) -> String {
    format!("p{number}@people.example")
}

/// Every one of `0..count` once in `count` calls, in no order, when `count` is no multiple of the step.
pub fn scattered(turn: u64, count: u64) -> u64 {
    const STEP: u64 = 7_368_787;
    turn.wrapping_mul(STEP) % count.max(1)
}

/// More contacts than any store here has.
const CONTACTS_MAX: u64 = 1 << 20;

/// Spread over all there can be, so that somebody new comes between others; in the order of the
/// numbers, so that a store is filled from one end to the other.
pub fn contact_id(number: u64) -> ContactId {
    let mut random = [0; 16];
    let place = number.wrapping_mul(u64::MAX / CONTACTS_MAX);
    random[..8].copy_from_slice(&place.to_be_bytes());
    random[8..].copy_from_slice(&(number + 1).wrapping_mul(SEED).to_be_bytes());
    ContactId::from_random(random)
}

/// A webhook with one text, of an id of its own, sent now, signed.
pub fn webhook(number: &str, text: &str) -> Vec<u8> {
    static SENT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, unique) = (now.as_secs(), now.as_nanos());
    let sent = SENT.fetch_add(1, Ordering::Relaxed);
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"419561257915477","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550783881","phone_number_id":"{PHONE_NUMBER_ID}"}},"contacts":[{{"profile":{{"name":"Sheena Nelson"}},"wa_id":"{number}","user_id":"CO.{number}"}}],"messages":[{{"from":"{number}","from_user_id":"CO.{number}","id":"wamid.{sent}x{unique}","timestamp":"{seconds}","type":"text","text":{{"body":"{text}"}}}}]}},"field":"messages"}}]}}]}}"#
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes())
        .expect("HMAC takes keys of every length");
    mac.update(body.as_bytes());
    let signature = mac.finalize().into_bytes();
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let headers =
        format!("Content-Type: application/json\r\nX-Hub-Signature-256: sha256={signature}\r\n");
    post("/webhook", &headers, &body)
}

/// Whether the contacts of a store are signed in.
#[derive(Clone, Copy, PartialEq)]
pub enum Are {
    SignedIn,
    Unknown,
}

fn contact(number: u64, are: Are, now: Timestamp) -> io::Result<Contact> {
    let digits = known(number);
    let wrong = |_| io::Error::other("a name that the program does not take");
    let wa_id = WaId::parse(&digits).map_err(wrong)?;
    let bsuid = Bsuid::parse(&format!("CO.{digits}")).map_err(wrong)?;
    let id = contact_id(number);
    let mut contact = Contact::new(id, Some(bsuid), Some(wa_id), Language::Spanish, now);
    if are == Are::SignedIn {
        let account = Account {
            service: ServiceName::parse(SERVICE).map_err(wrong)?,
            user_id: format!("p{digits}"),
            name: ["Ana Pérez", "Bruno Díaz", "Camila Rojas"][number as usize % 3].to_owned(),
            email: EmailAddress::parse(&address_of(&digits)).map_err(wrong)?,
            phone: None,
            company: Company {
                id: "c-1".to_owned(),
                name: "Panadería La Espiga".to_owned(),
            },
        };
        contact.bindings = vec![Binding::new(account, Proof::MailCode, ProofId(id.0), now)];
    }
    Ok(contact)
}

/// The store of a folder while no program has it, with much memory.
pub fn open(setup: &Setup) -> io::Result<(Sealed, Keys)> {
    let key = MasterKey::load_or_create(&setup.folder.join("portero.key"));
    let key = key.map_err(io::Error::other)?;
    let options = Options {
        cache_bytes: FILL_CACHE_BYTES,
        ..Options::default()
    };
    let engine = Redb::open(&setup.store(), options).map_err(io::Error::other)?;
    let store = Sealed::open(Arc::new(engine), &key).map_err(io::Error::other)?;
    Ok((store, Keys::new(key)))
}

/// Stores these contacts, each with its aliases and a line of the audit.
pub fn fill(setup: &Setup, numbers: Range<u64>, are: Are) -> io::Result<()> {
    let (store, keys) = open(setup)?;
    let now = SystemClock::new(Timestamp(0)).now();
    for first in numbers.clone().step_by(CONTACTS_AT_ONCE as usize) {
        let last = (first + CONTACTS_AT_ONCE).min(numbers.end);
        let contacts: Vec<Contact> = (first..last)
            .map(|number| contact(number, are, now))
            .collect::<io::Result<_>>()?;
        let keys = keys.clone();
        let body = move |writer: &mut dyn Writer| {
            for (number, contact) in (first..).zip(&contacts) {
                if let (Some(bsuid), Some(wa_id)) = (&contact.bsuid, &contact.wa_id) {
                    record::put_bsuid(writer, &keys, bsuid, contact.id)?;
                    record::put_wa_id(writer, &keys, wa_id, contact.id)?;
                }
                record::put_contact(writer, contact)?;
                record::put_addresses(writer, &keys, None, contact)?;
                let line = AuditLine {
                    at_ms: now.0,
                    event: "contact.bound".to_owned(),
                    contact: contact.id.to_string(),
                    number_ending: Some("42".to_owned()),
                    directory_user: None,
                    about: None,
                    link: None,
                };
                record::put_audit(writer, &keys, number + 1, line)?;
            }
            Ok(())
        };
        store.update(body).map_err(io::Error::other)?;
    }
    Ok(())
}

/// What the status page draws besides contacts: dead letters, and counts of 90 days.
pub fn fill_history(setup: &Setup) -> io::Result<()> {
    let (store, _) = open(setup)?;
    let now = SystemClock::new(Timestamp(0)).now();
    let body = move |writer: &mut dyn Writer| {
        for number in 0..DEAD_LETTERS {
            let errand = Errand::HandOn {
                message: None,
                origin: EntryId(number + 1),
            };
            let entry = Entry::new(EntryId(number + 1), contact_id(number), errand, now, now);
            let reason = format!("the bot answered {}", 500 + number % 4);
            let letter = DeadLetter {
                entry,
                at: now,
                reason,
            };
            record::put_dead(writer, &letter)?;
        }
        for hour in 0..TALLY_HOURS {
            let mut tally = Tally {
                milestones: [[90, 80, 75, 70], [40, 35, 30, 28], [5, 4, 4, 4]],
                ..Tally::default()
            };
            tally.times[0] = [3; 14];
            for event in [
                "contact.bound",
                "code.asked",
                "code.wrong",
                "sign_in.limited",
                Tally::REPLIES,
                Tally::MAILS,
            ] {
                tally.events.insert(event.to_owned(), 42);
            }
            record::add_to_tally(writer, &tally, now.minus_ms(hour * HOUR_MS))?;
        }
        Ok(())
    };
    store.update(body).map_err(io::Error::other)
}

/// Users of the built-in directory with the addresses of these contacts and one password.
pub fn fill_directory(setup: &Setup, numbers: Range<u64>, hash: &str) -> io::Result<()> {
    let (store, keys) = open(setup)?;
    let hash = hash.to_owned();
    let body = move |writer: &mut dyn Writer| {
        for number in numbers.clone() {
            let digits = known(number);
            let Ok(email) = EmailAddress::parse(&address_of(&digits)) else {
                continue;
            };
            let user = User {
                id: format!("p{digits}"),
                email,
                name: "Ana Pérez".to_owned(),
                company: Company {
                    id: "c-1".to_owned(),
                    name: "Panadería La Espiga".to_owned(),
                },
                phone: None,
                password_hash: Some(hash.clone()),
            };
            record::put_user(writer, &keys, &user)?;
        }
        Ok(())
    };
    store.update(body).map_err(io::Error::other)
}

/// What comes with messages of these contacts to the bot; good for five minutes from now.
pub fn identities(
    setup: &Setup,
    world: &World,
    numbers: impl Iterator<Item = u64>,
) -> io::Result<Vec<String>> {
    let app = setup.open(world)?;
    let now = app.now();
    let message = MessageId::parse("wamid.identity").map_err(|_| io::ErrorKind::InvalidInput)?;
    numbers
        .map(|number| {
            let contact = contact(number, Are::SignedIn, now)?;
            let identity = app.identity_of(&contact, &message, now);
            Ok(identity.reveal().to_owned())
        })
        .collect()
}

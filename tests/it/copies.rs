//! Copies of the store: made under load, and by the clock; and what a restored one knows.

use crate::house::{House, Person};
use crate::outside::{
    Message, PHONE_NUMBER_ID, Portero, STORE_KEY, World, eventually, post_webhook, text, webhook,
};
use portero::app::{App, SystemRandom};
use portero::domain::id::{MessageId, PhoneNumberId, WaId};
use portero::domain::message::Inbound;
use portero::domain::time::{HOUR_MS, MINUTE_MS, Timestamp};
use portero::store::record::{self, Keys, Remembered};
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed, Snapshots, StoreError, Writer, write_copy};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Runs a command to its end, which must be a good one.
fn fine(world: &World, arguments: &[&str]) -> String {
    let mut command = world.command(arguments);
    command.args(["--config", "portero.toml"]);
    let Output {
        status,
        stdout,
        stderr,
    } = command.stdout(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{arguments:?}: {said}");
    String::from_utf8(stdout).unwrap()
}

/// Somebody wrote twice, and the second was acknowledged when the list had grown.
type Ledger = Mutex<Vec<[Message; 2]>>;

/// Writes until it is over, a pair of messages for each person.
fn write_all_the_time(portero: &Portero, writer: usize, ledger: &Ledger, over: &AtomicBool) {
    for number in 0.. {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let wa_id = format!("573004{writer}{number:05}");
        let pair = ["quién soy", "cancelar"].map(|words| text(&wa_id, words));
        for message in &pair {
            let body = webhook(std::slice::from_ref(message));
            assert_eq!(post_webhook(portero.address, &body).unwrap().status, 200);
        }
        ledger.lock().unwrap().push(pair);
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Whether the store has taken this message.
fn is_seen(writer: &mut dyn Writer, keys: &Keys, message: &Message) -> Result<bool, StoreError> {
    let field = |name: &str| message.value[name].as_str().unwrap();
    let number = PhoneNumberId::parse(PHONE_NUMBER_ID).unwrap();
    let id = MessageId::parse(field("id")).unwrap();
    let seconds: u64 = field("timestamp").parse().unwrap();
    let sent_at = Timestamp(seconds * 1_000);
    record::see(writer, keys, &number, &id, sent_at, Remembered::UntilOld)
}

/// What the store knows of somebody: whether there is a contact, and which of the two messages came.
/// The name, the contact and the mark of its first message come together.
fn known(
    writer: &mut dyn Writer,
    keys: &Keys,
    pair: &[Message; 2],
) -> Result<[bool; 2], StoreError> {
    let wa_id = WaId::parse(&pair[0].from).unwrap();
    let id = record::contact_of_wa_id(writer, keys, &wa_id)?;
    let contact = match id {
        Some(id) => record::contact(writer, id)?,
        None => None,
    };
    assert_eq!(id.is_some(), contact.is_some());
    let first = is_seen(writer, keys, &pair[0])?;
    let second = is_seen(writer, keys, &pair[1])?;
    assert_eq!(first, contact.is_some());
    assert!(first || !second);
    Ok([first, second])
}

/// a copy that is made under load is of one moment: it has all that was acknowledged before, and
/// of no message only a part; and a program starts on it.
#[test]
fn every_copy_that_is_made_under_load_is_whole_and_has_all_that_was_acknowledged() {
    const COPIES: usize = 20;
    const WRITERS: usize = 4;
    let world = World::without_mail();
    let portero = world.start();
    let (ledger, over) = (Ledger::default(), AtomicBool::new(false));
    let acknowledged: Vec<usize> = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (portero, ledger, over) = (&portero, &ledger, &over);
            scope.spawn(move || write_all_the_time(portero, writer, ledger, over));
        }
        let count = || ledger.lock().unwrap().len();
        let before_each = (0..COPIES).map(|number| {
            let before = count();
            eventually("people write", || (count() > before + 2).then_some(()));
            let before = count();
            fine(&world, &["backup", &format!("copy-{number}.redb")]);
            before
        });
        let acknowledged = before_each.collect();
        over.store(true, Ordering::SeqCst);
        acknowledged
    });
    assert_eq!(portero.stop().0, Some(0));
    let ledger = Arc::new(ledger.into_inner().unwrap());
    let keys = Keys::new(MasterKey::from_hex(STORE_KEY).unwrap());
    let mut half = 0;
    for (number, acknowledged) in acknowledged.into_iter().enumerate() {
        let said = fine(&world, &["restore", &format!("copy-{number}.redb")]);
        assert!(said.contains("records"), "{said}");
        let verified = fine(&world, &["audit", "verify"]);
        assert!(verified.starts_with("the chain holds"), "{verified}");
        // A program lives on it.
        assert_eq!(world.start().stop().0, Some(0));
        let engine = Redb::open(&world.path("portero.redb"), Options::default()).unwrap();
        let store = Sealed::open(Arc::new(engine), keys.master()).unwrap();
        let (all, known_to) = (Arc::clone(&ledger), keys.clone());
        let came = store
            .update(move |writer| {
                let known = |pair| known(writer, &known_to, pair);
                all.iter().map(known).collect::<Result<Vec<_>, _>>()
            })
            .unwrap();
        let of_before = &came[..acknowledged];
        assert!(of_before.iter().all(|came| *came == [true, true]));
        half += came.iter().filter(|came| **came == [true, false]).count();
    }
    println!(
        "{COPIES} copies among {} people, {half} between their messages",
        ledger.len()
    );
}

/// by the clock of the server there is at any moment a snapshot of the hour before, and no more of
/// them than the operator wants.
#[test]
fn there_is_a_snapshot_of_every_hour() {
    const KEPT: usize = 24;
    const LOOK_EVERY_MS: u64 = MINUTE_MS;
    let house = House::in_memory();
    let (store, keys) = house.store_and_keys();
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::new(folder.path().join("snapshots"), KEPT);
    let app = App::new(
        store,
        keys,
        house.app.settings().clone(),
        Arc::clone(&house.clock) as _,
        Arc::new(SystemRandom),
    )
    .unwrap()
    .with_snapshots(snapshots.clone());
    for _ in 0..27 * HOUR_MS / LOOK_EVERY_MS {
        app.snapshot_if_due().unwrap();
        let listed = snapshots.list().unwrap();
        assert!(house.app.now().since_ms(listed[0].0) <= HOUR_MS);
        assert!(listed.len() <= KEPT);
        house.clock.forward(LOOK_EVERY_MS);
    }
    let listed = snapshots.list().unwrap();
    assert_eq!(listed.len(), KEPT);
    let mut gaps = listed.windows(2).map(|pair| pair[0].0.since_ms(pair[1].0));
    assert!(gaps.all(|gap_ms| gap_ms == HOUR_MS));
}

/// a copy from before a sign-in does not know its messages. Meta may bring them once more; then
/// the old ones start nothing, and young ones start a sign-in of its own, with another code.
#[test]
fn messages_that_a_restored_copy_does_not_know_finish_no_sign_in_a_second_time() {
    for (age_ms, is_young) in [(2 * MINUTE_MS, true), (11 * MINUTE_MS, false)] {
        let house = House::on_file();
        house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
        let ana = Person::with_number("573001234567");
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join("copy.redb");
        write_copy(&**house.store_and_keys().0.engine(), &copy).unwrap();

        let mut messages: Vec<Inbound> = Vec::new();
        for words in ["hola", "ana@example.com"] {
            messages.push(house.text(&ana, words));
            house.receive(messages[messages.len() - 1].clone()).unwrap();
            house.settle();
        }
        let code = house.code();
        messages.push(house.text(&ana, &code));
        house.receive(messages[2].clone()).unwrap();
        assert!(house.is_bound(&ana));

        house.clock.forward(age_ms);
        let house = house.restored(&copy);
        assert_eq!(house.contacts().len(), 0);
        let mails = house.mails().len();
        for message in messages {
            house.receive(message).unwrap();
            house.settle();
        }
        assert!(!house.is_bound(&ana), "{age_ms}");
        assert_eq!(house.mails().len() - mails, usize::from(is_young));
        if is_young {
            assert_ne!(house.code(), code);
            house.ask(&ana, &house.code());
            assert!(house.is_bound(&ana));
        }
    }
}

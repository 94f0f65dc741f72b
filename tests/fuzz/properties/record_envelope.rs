//! F-9. Records: bytes that were not sealed here, or were altered or moved since, are an error and
//! never a value; and a record whose seal is good but which says nonsense is damage or a value that
//! can be stored and read again, never a panic.

use super::house::{House, Person};
use portero::domain::delivery::{EntryId, Lane};
use portero::domain::id::{ContactId, EmailAddress, MessageId, WaId};
use portero::domain::time::Timestamp;
use portero::store::record::{self, BodyOf, FoundBy, Keys};
use portero::store::{
    Engine, KeyRange, MasterKey, Memory, Order, Reader, Sealed, StoreError, Table, Writer,
};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

const KEY: &str = "4141414141414141414141414141414141414141414141414141414141414141";

/// The tables that hold records: the first one holds the mark of the format.
const TABLES: &[Table] = Table::ALL.split_at(1).1;

fn key(digits: &str) -> MasterKey {
    MasterKey::from_hex(digits).expect("64 digits")
}

/// The digits of a key that was never used. What compares bytes is watched by the fuzzer, which learns
/// what was sealed before: under the same key that would be a record, and a good one.
fn fresh_key() -> String {
    let sixteen = || format!("{:016x}", RandomState::new().hash_one(0));
    [sixteen(), sixteen(), sixteen(), sixteen()].concat()
}

/// Which table, how to alter what is sealed, and bytes.
pub fn holds(input: &[u8]) {
    let [which, how, rest @ ..] = input else {
        return;
    };
    let table = TABLES[usize::from(*which) % TABLES.len()];
    what_was_not_sealed_here_is_damage(table, *how, rest);
    what_says_nonsense_is_damage(table, *how, rest);
}

struct Store {
    memory: Arc<Memory>,
    sealed: Sealed,
}

impl Store {
    fn new(key: &MasterKey) -> Store {
        let memory = Arc::new(Memory::new());
        let sealed = Sealed::open(Arc::clone(&memory) as Arc<dyn Engine>, key);
        Store {
            memory,
            sealed: sealed.expect("an empty store"),
        }
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) {
        let (key, value) = (key.to_vec(), value.to_vec());
        let put = move |writer: &mut dyn Writer| writer.put(table, &key, &value);
        self.sealed.update(put).expect("room in memory");
    }

    fn put_raw(&self, table: Table, key: &[u8], value: &[u8]) {
        let (key, value) = (key.to_vec(), value.to_vec());
        let put = move |writer: &mut dyn Writer| writer.put(table, &key, &value);
        let engine: &dyn Engine = &*self.memory;
        engine.update(put).expect("room in memory");
    }

    fn raw(&self, table: Table, key: &[u8]) -> Vec<u8> {
        let engine: &dyn Engine = &*self.memory;
        let get = |reader: &dyn Reader| reader.get(table, key);
        engine.view(get).expect("memory").expect("what was put")
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.sealed.view(|reader| reader.get(table, key))
    }

    fn scan(&self, table: Table) -> Result<usize, StoreError> {
        let mut count = 0;
        self.sealed.view(|reader| {
            reader.scan(table, KeyRange::all(), Order::Forward, &mut |_, _| {
                count += 1;
                ControlFlow::Continue(())
            })
        })?;
        Ok(count)
    }
}

fn what_was_not_sealed_here_is_damage(table: Table, how: u8, bytes: &[u8]) {
    let store = Store::new(&key(&fresh_key()));
    let value = &bytes[..bytes.len().min(64)];
    store.put(table, b"one", value);
    store.put(table, b"other", value);
    let sealed = store.raw(table, b"one");
    assert_eq!(store.get(table, b"one"), Ok(Some(value.to_vec())));
    let altered = match how % 6 {
        // Bytes of anybody's.
        0 => bytes.to_vec(),
        // With the version in front, and as long as the real one.
        1 => [&[1], bytes].concat(),
        // Bits turned over, as the input says where.
        2 => {
            let mut altered = sealed.clone();
            for place in bytes.iter().take(16) {
                let bit = usize::from(*place) % (8 * altered.len());
                altered[bit / 8] ^= 1 << (bit % 8);
            }
            altered
        }
        // Cut short, or longer.
        3 => sealed[..usize::from(bytes.first().copied().unwrap_or(0)) % sealed.len()].to_vec(),
        4 => [&sealed[..], bytes].concat(),
        // Of another record in the same table.
        _ => store.raw(table, b"other"),
    };
    if altered == sealed {
        return;
    }
    store.put_raw(table, b"one", &altered);
    let damaged = StoreError::Damaged { table };
    assert_eq!(store.get(table, b"one"), Err(damaged.clone()));
    assert_eq!(store.scan(table), Err(damaged.clone()));
    // What is beside it is as good as before.
    assert_eq!(store.get(table, b"other"), Ok(Some(value.to_vec())));
    // And in another table or under another master key the right bytes are no better.
    let elsewhere = TABLES[(usize::from(how) + 1) % TABLES.len()];
    if elsewhere != table {
        store.put_raw(elsewhere, b"one", &sealed);
        let damaged = StoreError::Damaged { table: elsewhere };
        assert_eq!(store.get(elsewhere, b"one"), Err(damaged));
    }
    let engine = Arc::clone(&store.memory) as Arc<dyn Engine>;
    assert!(
        Sealed::open(engine, &key(&fresh_key())).is_err(),
        "a key that is another"
    );
}

/// Table, key and value.
type Record = (Table, Vec<u8>, Vec<u8>);

/// The records of a store in which people have signed in, on the web and by mail, so that every
/// table has some.
fn real_records() -> &'static [Record] {
    static RECORDS: OnceLock<Vec<Record>> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let house = House::on_the_web(House::both_ways_in());
        house.register("kutamma", "ana@example.com", "Ana", "Acme");
        house.register("woku", "max@example.com", "Max", "Beta");
        let (ana, max) = (
            Person::with_number("573001234567"),
            Person::with_number("34600111222"),
        );
        house.sign_in(&ana, "ana@example.com");
        let hash = house.new_link(&max);
        let text = house.sign_in_on_page(&hash, "max@example.com");
        house.ask(&max, &text);
        let last = Person::with_number("5511987654321");
        house.new_link(&last);
        house.write(&last, "ana@example.com");
        let (store, keys) = house.store_and_keys();
        let mut records = Vec::new();
        for table in TABLES.iter().copied() {
            let read = |reader: &dyn Reader| {
                reader.scan(table, KeyRange::all(), Order::Forward, &mut |key, value| {
                    records.push((table, key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })
            };
            store.view(read).expect("a store that is whole");
        }
        drop(keys);
        records
    })
}

/// Everything that is read of a table, over bytes that only the seal vouches for: those of the
/// input under the key of a real record, whole or in place of a piece of it.
fn what_says_nonsense_is_damage(table: Table, how: u8, bytes: &[u8]) {
    let store = Store::new(&key(KEY));
    let keys = Keys::new(key(KEY));
    let (id, entry) = (ContactId([7; 16]), EntryId(7));
    let real: Vec<_> = real_records()
        .iter()
        .filter(|(of, ..)| *of == table)
        .collect();
    if real.is_empty() {
        store.put(table, &id.0, bytes);
        store.put(table, &entry.0.to_be_bytes(), bytes);
    }
    for (at, (_, key, value)) in real.iter().enumerate() {
        let value = match bytes.split_first_chunk::<2>() {
            _ if at != usize::from(how) % real.len() => value.clone(),
            Some(([from, count], piece)) if how >= 128 => {
                let from = usize::from(*from) * value.len() / 256;
                let to = (from + usize::from(*count)).min(value.len());
                [&value[..from], piece, &value[to..]].concat()
            }
            _ => bytes.to_vec(),
        };
        store.put(table, key, &value);
    }
    let keys_there: Vec<_> = real.iter().map(|(_, key, _)| key.clone()).collect();
    let email = EmailAddress::parse("ana@example.com").expect("an address");
    let message = MessageId::parse("wamid.out1").expect("an id");
    let outcome = store.sealed.view(|reader| {
        let reader: &dyn Reader = reader;
        // Each reads or says that the record is damaged; nobody has another trouble.
        let fair = |result: Result<(), StoreError>| match result {
            Ok(()) => {}
            Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
        };
        fair(record::latest_moment(reader).map(drop));
        fair(record::first_moment(reader).map(drop));
        fair(record::last_number(reader).map(drop));
        fair(record::contacts(reader, None, 100).map(drop));
        fair(record::contacts_that(reader, None, 100, &|_| true).map(drop));
        for lane in Lane::ALL {
            fair(record::entries(reader, lane, None, 100).map(drop));
        }
        fair(record::last_entry_id(reader).map(drop));
        fair(record::dead_letters(reader, 100).map(drop));
        fair(record::all_sent(reader, 100).map(drop));
        fair(record::sent(reader, &keys, &message).map(drop));
        fair(record::address_counts(reader, &keys, &email).map(drop));
        fair(record::failures_in_all(reader).map(drop));
        let guesser = record::Guesser::Network([7; 16]);
        fair(record::passwords_tried(reader, &keys, &guesser).map(drop));
        fair(record::user(reader, &keys, &email).map(drop));
        fair(record::users(reader, 100).map(drop));
        fair(record::audit(reader, 100).map(drop));
        fair(record::last_audit_number(reader).map(drop));
        fair(record::verify_audit(reader, &keys, None, 100).map(drop));
        fair(record::erasures(reader).map(drop));
        fair(record::unfinished_erasure(reader).map(drop));
        fair(record::contacts_back(reader, &keys).map(drop));
        fair(record::events(reader, None, 100).map(drop));
        fair(record::signing_keys(reader).map(drop));
        fair(record::asked(reader, &keys, "agent", "mark").map(drop));
        fair(record::tallies(reader, Timestamp(0)).map(drop));
        for number in ["573001234567", "34600111222"] {
            let number = WaId::parse(number).expect("digits");
            fair(record::contact_of_wa_id(reader, &keys, &number).map(drop));
            for by in [FoundBy::Ending(number.as_str()), FoundBy::Address(&email)] {
                fair(record::contacts_found_by(reader, &keys, by, None, 10, 100).map(drop));
            }
        }
        for key in &keys_there {
            if let Ok(id) = <[u8; 16]>::try_from(&key[..]) {
                fair(record::body(reader, BodyOf::Contact(ContactId(id))).map(drop));
                fair(record::kept_body(reader, ContactId(id), &message).map(drop));
            }
            if let Ok(id) = <[u8; 8]>::try_from(&key[..]) {
                let entry = EntryId(u64::from_be_bytes(id));
                fair(record::body(reader, BodyOf::Entry(entry)).map(drop));
                fair(record::dead_letter(reader, entry).map(drop));
                fair(record::event(reader, entry).map(drop));
            }
        }
        Ok(record::contacts(reader, None, 100).unwrap_or_default())
    });
    for contact in outcome.expect("memory") {
        // What was read can be kept, and is the same then.
        let same = contact.clone();
        let put = move |writer: &mut dyn Writer| record::put_contact(writer, &same);
        store.sealed.update(put).expect("room in memory");
        let again = store
            .sealed
            .view(|reader| record::contact(reader, contact.id));
        assert_eq!(again, Ok(Some(contact)));
    }
}

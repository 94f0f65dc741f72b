//! Tests of `seal`.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;

use super::super::Memory;
use super::super::contract::{dump, get as raw_get};
use super::*;

fn key() -> MasterKey {
    MasterKey::from_hex(&"0123456789abcdef".repeat(4)).unwrap()
}

fn sealed() -> (Arc<dyn Engine>, Sealed) {
    let engine: Arc<dyn Engine> = Arc::new(Memory::new());
    let sealed = Sealed::open(Arc::clone(&engine), &key()).unwrap();
    (engine, sealed)
}

fn put(sealed: &Sealed, table: Table, key: &'static [u8], value: &'static [u8]) {
    sealed
        .update(move |writer| writer.put(table, key, value))
        .unwrap();
}

fn read(sealed: &Sealed, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    sealed.view(|reader| reader.get(table, key))
}

#[test]
fn what_was_sealed_is_read_by_get_and_scan_in_views_and_updates() {
    let (_, sealed) = sealed();
    put(&sealed, Table::Contact, b"a", b"plain");
    put(&sealed, Table::Contact, b"b", b"");
    let all = |reader: &dyn Reader| {
        let mut found = vec![reader.get(Table::Contact, b"a")?.unwrap()];
        for order in [Order::Forward, Order::Backward] {
            reader.scan(Table::Contact, KeyRange::all(), order, &mut |_, value| {
                found.push(value.to_vec());
                ControlFlow::Continue(())
            })?;
        }
        Ok(found)
    };
    let expected: [&[u8]; 5] = [b"plain", b"plain", b"", b"", b"plain"];
    assert_eq!(sealed.view(all).unwrap(), expected);
    assert_eq!(sealed.update(move |writer| all(writer)).unwrap(), expected);
    sealed
        .update(|writer| writer.delete(Table::Contact, b"a"))
        .unwrap();
    assert_eq!(read(&sealed, Table::Contact, b"a"), Ok(None));
}

#[test]
fn the_engine_never_sees_a_plain_value() {
    let (engine, sealed) = sealed();
    put(&sealed, Table::Contact, b"a", b"+57 300 1234567");
    for (_, value) in dump(&*engine) {
        assert!(!value.windows(7).any(|part| part == b"1234567"));
    }
}

#[test]
fn every_altered_bit_and_every_cut_is_noticed() {
    let (engine, sealed) = sealed();
    let table = Table::Contact;
    put(&sealed, table, b"a", b"plain");
    let whole = raw_get(&*engine, table, b"a").unwrap();
    let damaged = |altered: Vec<u8>| {
        engine
            .update(move |writer| writer.put(table, b"a", &altered))
            .unwrap();
        assert_eq!(
            read(&sealed, table, b"a"),
            Err(StoreError::Damaged { table })
        );
        let scanned = sealed.view(|reader| {
            reader.scan(table, KeyRange::all(), Order::Forward, &mut |_, _| {
                panic!("a damaged record was visited")
            })
        });
        assert_eq!(scanned, Err(StoreError::Damaged { table }));
    };
    for bit in 0..8 * whole.len() {
        let mut altered = whole.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        damaged(altered);
    }
    for length in 0..whole.len() {
        damaged(whole[..length].to_vec());
    }
    damaged([whole.as_slice(), &[0]].concat());
}

#[test]
fn a_record_moved_to_another_place_is_noticed() {
    let (engine, sealed) = sealed();
    put(&sealed, Table::Contact, b"a", b"plain");
    let value = raw_get(&*engine, Table::Contact, b"a").unwrap();
    engine
        .update(move |writer| {
            writer.put(Table::Contact, b"b", &value)?;
            writer.put(Table::Alias, b"a", &value)
        })
        .unwrap();
    let damaged = |table| Err(StoreError::Damaged { table });
    assert_eq!(read(&sealed, Table::Contact, b"b"), damaged(Table::Contact));
    assert_eq!(read(&sealed, Table::Alias, b"a"), damaged(Table::Alias));
    assert_eq!(
        read(&sealed, Table::Contact, b"a"),
        Ok(Some(b"plain".to_vec()))
    );
}

#[test]
fn nonces_differ_within_and_between_updates() {
    let (engine, sealed) = sealed();
    for round in 0..20u8 {
        sealed
            .update(move |writer| {
                (0..20u8)
                    .try_for_each(|record| writer.put(Table::Seen, &[round, record], b"the same"))
            })
            .unwrap();
    }
    let nonces: HashSet<Vec<u8>> = dump(&*engine)
        .into_iter()
        .filter(|((table, _), _)| *table == Table::Seen)
        .map(|(_, value)| value[1..HEAD_BYTES].to_vec())
        .collect();
    assert_eq!(nonces.len(), 400);
}

#[test]
fn a_wrong_key_is_told_apart_from_damage() {
    let (engine, first) = sealed();
    put(&first, Table::Contact, b"a", b"plain");
    let other = MasterKey::generate().unwrap();
    assert!(matches!(
        Sealed::open(Arc::clone(&engine), &other),
        Err(OpenError::WrongKey)
    ));
    // Nothing was changed by the attempt.
    let again = Sealed::open(engine, &key()).unwrap();
    assert_eq!(
        read(&again, Table::Contact, b"a"),
        Ok(Some(b"plain".to_vec()))
    );
}

#[test]
fn a_newer_format_and_a_store_without_a_mark_are_refused() {
    let (engine, _) = sealed();
    engine
        .update(|writer| {
            writer.put(
                Table::Format,
                FORMAT_KEY,
                &(migrate::FORMAT_VERSION + 6).to_be_bytes(),
            )
        })
        .unwrap();
    let error = Sealed::open(engine, &key()).err().unwrap();
    assert!(error.to_string().contains("format 8, this one knows 2"));

    let engine: Arc<dyn Engine> = Arc::new(Memory::new());
    engine
        .update(|writer| writer.put(Table::Contact, b"a", b"a"))
        .unwrap();
    assert!(matches!(
        Sealed::open(engine, &key()),
        Err(OpenError::Unmarked)
    ));
}

#[test]
fn a_key_file_is_made_once_for_its_owner_and_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    assert!(matches!(MasterKey::load(&path), Err(KeyError::Missing(_))));
    let made = MasterKey::load_or_create(&path).unwrap();
    let read = MasterKey::load_or_create(&path).unwrap();
    assert_eq!(made.0, read.0);
    assert!(made.save(&path).is_err());
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.len(), KEY_DIGITS + 1);
    assert_eq!(MasterKey::from_hex(&text).unwrap().0, made.0);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = MasterKey::load(&path).err().unwrap();
    assert!(error.to_string().contains("chmod 600"));
}

#[test]
fn what_is_no_key_is_refused() {
    let digits = "0123456789abcdef".repeat(4);
    assert!(MasterKey::from_hex(&format!(" {digits}\n")).is_ok());
    assert!(MasterKey::from_hex(&digits.to_uppercase()).is_ok());
    for text in [
        "",
        &digits[1..],
        &format!("{digits}0"),
        &digits.replace('0', "g"),
        &digits.replace('0', "\u{e9}"),
    ] {
        assert!(matches!(
            MasterKey::from_hex(text),
            Err(KeyError::Malformed)
        ));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, digits.repeat(100)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(
        MasterKey::load(&path),
        Err(KeyError::MalformedFile(_))
    ));
}

#[test]
fn digests_and_derived_keys_depend_on_every_part_and_its_borders() {
    let key = key();
    let digest = |label: &str, parts: &[&[u8]]| key.keyed_digest(label, parts);
    let all = [
        digest("alias", &[b"ab", b"c"]),
        digest("alias", &[b"a", b"bc"]),
        digest("alias", &[b"abc"]),
        digest("alias", &[b"abc", b""]),
        digest("alias", &[]),
        digest("aliasa", &[b"bc"]),
        digest("code", &[b"abc"]),
        *key.derive("alias"),
        *key.derive("code"),
        MasterKey::from_hex(&"ab".repeat(32))
            .unwrap()
            .keyed_digest("alias", &[b"abc"]),
    ];
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    assert_eq!(
        digest("alias", &[b"ab", b"c"]),
        digest("alias", &[b"ab", b"c"])
    );
}

#[test]
fn a_master_key_does_not_print_itself() {
    assert_eq!(format!("{:?}", key()), "MasterKey(..)");
}

/// The vector of draft-irtf-cfrg-xchacha-03, section A.3.1.
#[test]
fn the_published_vector_of_the_cipher_is_sealed_and_opened() {
    let bytes = |hex: &str| -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
        let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
        pairs
            .map(|pair| u8::from_str_radix(&pair, 16).unwrap())
            .collect()
    };
    let key: Vec<u8> = (0x80..=0x9f).collect();
    let sealer = Sealer(chacha20::Key::try_from(&key[..]).unwrap());
    let aad = bytes("50515253c0c1c2c3c4c5c6c7");
    let words = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for \
                 the future, sunscreen would be it.";
    let sealed = bytes(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb
         731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
         2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
         21f9664c97637da9768812f615c68b13b52e
         c0875924c1c7987947deafd8780acf49",
    );
    let run_key = sealer.run_key(&std::array::from_fn(|index| 0x40 + index as u8));
    let count = std::array::from_fn(|index| 0x50 + index as u8);
    let mut text = words.as_bytes().to_vec();
    run_key
        .seal_in_place_append_tag(nonce(count), Aad::from(&aad), &mut text)
        .unwrap();
    assert_eq!(text, sealed);
    let mut text = sealed;
    let opened = run_key.open_in_place(nonce(count), Aad::from(&aad), &mut text);
    assert_eq!(opened.unwrap(), words.as_bytes());
}

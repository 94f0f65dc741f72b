//! The file is not what was written (R-53).
//!
//! ```sh
//! PORTERO_MUTATIONS=1000 cargo test --lib damage    as many damaged files
//! ```

use super::super::super::seal::{MasterKey, Sealed};
use super::*;
use std::collections::BTreeMap;
use std::fs::OpenOptions;

/// Damaged files, unless the environment says otherwise.
const MUTATIONS: usize = 400;

/// What may have become of a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Bit,
    Page,
    Garbage,
    Truncated,
    Empty,
    Foreign,
    Newer,
}

impl Damage {
    /// Those that can happen in many ways more often than the others.
    const ALL: [Damage; 10] = [
        Damage::Bit,
        Damage::Page,
        Damage::Garbage,
        Damage::Truncated,
        Damage::Bit,
        Damage::Page,
        Damage::Truncated,
        Damage::Empty,
        Damage::Foreign,
        Damage::Newer,
    ];

    fn done_to(self, whole: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        let at = dice.below(bytes.len() as u64) as usize;
        match self {
            Damage::Bit => bytes[at] ^= 1 << dice.below(8),
            Damage::Page => {
                let page = at / 4096 * 4096;
                bytes[page..page + 4096].fill(0);
            }
            Damage::Garbage => {
                let end = (at + 1 + dice.below(20_000) as usize).min(bytes.len());
                for byte in &mut bytes[at..end] {
                    *byte = dice.below(256) as u8;
                }
            }
            Damage::Truncated => bytes.truncate(at.max(1)),
            Damage::Empty => bytes.clear(),
            Damage::Foreign => bytes = vec![b"PK\x03\x04 a diary"[at % 12]; at + 1],
            // The version bytes of both commit slots.
            Damage::Newer => (bytes[64], bytes[192]) = (9, 9),
        }
        bytes
    }
}

/// A sealed store with some history, and what it holds.
fn populated(path: &Path, key: &MasterKey) -> (Sealed, BTreeMap<Vec<u8>, Vec<u8>>) {
    let sealed = Sealed::open(Arc::new(open(path).unwrap()), key).unwrap();
    let mut records = BTreeMap::new();
    for number in 0..400u32 {
        let key = (number % 300).to_be_bytes().to_vec();
        let value = vec![number as u8; 40 + number as usize];
        records.insert(key.clone(), value.clone());
        sealed
            .update(move |writer| writer.put(Table::Contact, &key, &value))
            .unwrap();
    }
    (sealed, records)
}

/// Opens the file and reads all of it. True if it was served whole; an error at any place is
/// fine, another content is not.
fn served_whole(path: &Path, key: &MasterKey, records: &BTreeMap<Vec<u8>, Vec<u8>>) -> bool {
    let Ok(engine) = open(path) else { return false };
    let Ok(sealed) = Sealed::open(Arc::new(engine), key) else {
        return false;
    };
    let mut whole = true;
    for (key, value) in records {
        match sealed.view(|reader| reader.get(Table::Contact, key)) {
            Ok(found) => assert_eq!(found.as_ref(), Some(value)),
            Err(_) => whole = false,
        }
    }
    let scanned = sealed.view(|reader| {
        let mut found = BTreeMap::new();
        reader.scan(
            Table::Contact,
            KeyRange::all(),
            Order::Forward,
            &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
                std::ops::ControlFlow::Continue(())
            },
        )?;
        Ok(found)
    });
    match scanned {
        Ok(found) => assert_eq!(found, *records),
        Err(_) => whole = false,
    }
    whole
}

/// R-53: whatever has become of a file, nothing but what was stored is read from it, and no start
/// hangs.
#[test]
fn a_damaged_file_is_refused_or_served_right() {
    const ENDS_WITHIN: Duration = Duration::from_secs(10);
    let (_directory, path) = in_directory();
    let key = MasterKey::generate().unwrap();
    let (sealed, records) = populated(&path, &key);
    // As a killed process leaves it, and as an orderly end does.
    let killed = fs::read(&path).unwrap();
    drop(sealed);
    let whole = [killed, fs::read(&path).unwrap()];
    let mut dice = Dice(1);
    let count = std::env::var("PORTERO_MUTATIONS").map_or(MUTATIONS, |n| n.parse().unwrap());
    let mut refused = vec![0; Damage::ALL.len()];
    for number in 0..count {
        let (turn, kind) = (number / Damage::ALL.len(), number % Damage::ALL.len());
        let damage = Damage::ALL[kind];
        write_private(&path, &damage.done_to(&whole[turn % 2], &mut dice));
        let begun = Instant::now();
        let served = served_whole(&path, &key, &records);
        assert!(begun.elapsed() < ENDS_WITHIN, "{damage:?} {number}");
        refused[kind] += usize::from(!served);
        let is_told = matches!(damage, Damage::Bit | Damage::Page | Damage::Garbage);
        assert!(is_told || !served, "{damage:?} {number} was served");
    }
    // The others are whatever the free pages of a file are hit by.
    let told = refused.iter().sum::<usize>();
    assert!(told > count / 2, "only {refused:?} of {count} were noticed");
    for whole in whole {
        write_private(&path, &whole);
        assert!(served_whole(&path, &key, &records));
    }
}

#[test]
fn a_file_altered_while_it_is_open_gives_no_wrong_value() {
    let (_directory, path) = in_directory();
    let key = MasterKey::generate().unwrap();
    let (sealed, records) = populated(&path, &key);
    drop(sealed);
    let whole = fs::read(&path).unwrap();
    let mut dice = Dice(2);
    let mut noticed = 0;
    for _ in 0..100 {
        write_private(&path, &whole);
        let sealed = Sealed::open(Arc::new(open(&path).unwrap()), &key).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        for _ in 0..20 {
            let at = 4096 + dice.below(whole.len() as u64 - 4096);
            let flipped = whole[at as usize] ^ 1 << dice.below(8);
            std::os::unix::fs::FileExt::write_all_at(&file, &[flipped], at).unwrap();
        }
        for (key, value) in &records {
            match sealed.view(|reader| reader.get(Table::Contact, key)) {
                // An altered key in the tree may hide a record until the next start refuses
                // the file, but no other value is ever given out.
                Ok(found) => assert!(found.is_none_or(|found| found == *value)),
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 100, "{noticed}");
}

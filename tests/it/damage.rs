//! The store of the real program is not what was written: it is refused with a sentence or read
//! right, and one command brings a copy back.
//!
//! `PORTERO_MUTATIONS=1000 cargo test --test it damage::` damages as many.

use crate::flags::flag;
use crate::outside::Portero;
use crate::user::{CONFIG, Ended, Server, folder_with, portero, run};
use portero::store::redb::Options;
use portero::store::{Engine, Redb, Table};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Damaged stores, unless the environment says otherwise.
const MUTATIONS: usize = 200;

/// Whatever it is started on, it has ended or is ready by then.
const SAID_WITHIN: Duration = Duration::from_secs(10);

const USERS: usize = 150;

/// What may have become of a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Bit,
    Page,
    Garbage,
    Truncated,
    Empty,
    Foreign,
    NewerFile,
    NewerFormat,
}

impl Damage {
    /// What can happen in many ways more often than what can happen in one.
    const ALL: [Damage; 14] = [
        Damage::Bit,
        Damage::Page,
        Damage::Garbage,
        Damage::Truncated,
        Damage::Bit,
        Damage::Page,
        Damage::Garbage,
        Damage::Bit,
        Damage::Page,
        Damage::Truncated,
        Damage::Empty,
        Damage::Foreign,
        Damage::NewerFile,
        Damage::NewerFormat,
    ];

    /// Writes it there.
    fn done_to(self, whole: &[u8], path: &Path) {
        let below = |end: usize| (getrandom::u64().unwrap() % end as u64) as usize;
        let mut bytes = whole.to_vec();
        let at = below(bytes.len());
        match self {
            Damage::Bit => bytes[at] ^= 1 << below(8),
            Damage::Page => {
                let page = at / 4096 * 4096;
                bytes[page..page + 4096].fill(0);
            }
            Damage::Garbage => {
                let end = (at + 1 + below(20_000)).min(bytes.len());
                getrandom::fill(&mut bytes[at..end]).unwrap();
            }
            Damage::Truncated => bytes.truncate(at.max(1)),
            Damage::Empty => bytes.clear(),
            Damage::Foreign => bytes = b"PK\x03\x04 somebody's holidays".repeat(at / 30 + 1),
            // The version bytes of both commit slots.
            Damage::NewerFile => (bytes[64], bytes[192]) = (9, 9),
            Damage::NewerFormat => {}
        }
        fs::write(path, bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        if let Damage::NewerFormat = self {
            let engine = Redb::open(path, Options::default()).unwrap();
            (&engine as &dyn Engine)
                .update(|writer| writer.put(Table::Format, b"version", &99u32.to_be_bytes()))
                .unwrap();
        }
    }

    /// Whether no start may ever succeed on it; what else is hit may be of no use to anybody.
    fn is_always_told(self) -> bool {
        match self {
            Damage::Bit | Damage::Page | Damage::Garbage => false,
            Damage::Truncated
            | Damage::Empty
            | Damage::Foreign
            | Damage::NewerFile
            | Damage::NewerFormat => true,
        }
    }
}

/// A folder with a store of some users, and a copy of it.
struct Kept {
    folder: tempfile::TempDir,
    users: String,
    /// As an orderly end leaves it, and as a kill does.
    whole: [Vec<u8>; 2],
}

impl Kept {
    fn make() -> Kept {
        let folder = folder_with(CONFIG);
        let path = folder.path();
        let mut people = "email,name,company,phone\n".to_owned();
        for number in 0..USERS {
            let phone = format!("+34600{number:06}");
            writeln!(
                people,
                "user{number}@example.com,Ana {number},Espiga,{phone}"
            )
            .unwrap();
        }
        fs::write(path.join("people.csv"), people).unwrap();
        let (code, _, error) = run(path, &["user", "import", "people.csv"]);
        assert_eq!(code, 0, "{error}");
        let users = users(path).1;
        assert_eq!(users.matches("@example.com").count(), USERS);
        let (code, _, error) = run(path, &["backup", "copy.redb"]);
        assert_eq!(code, 0, "{error}");
        let closed = fs::read(path.join("portero.redb")).unwrap();
        let server = Server::start(path);
        server.kill();
        let killed = fs::read(path.join("portero.redb")).unwrap();
        Kept {
            folder,
            users,
            whole: [closed, killed],
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What commands say of the store is what was stored, or a sentence.
    fn check_read(&self, what: &str) {
        let (code, users, error) = users(self.path());
        match code {
            0 => assert!(users == self.users, "{what}: other users"),
            _ => assert_sentence(&error, what),
        }
    }

    /// Says whether the server refused the store.
    fn serve(&self, what: &str) -> bool {
        let mut command = portero(self.path());
        command.arg("serve").stderr(Stdio::piped());
        let begun = Instant::now();
        let started = Portero::start_or_end(command);
        assert!(
            begun.elapsed() < SAID_WITHIN,
            "{what}: {:?}",
            begun.elapsed()
        );
        match started {
            Ok(server) => {
                self.check_read(what);
                server.kill();
                false
            }
            Err((status, log)) => {
                assert_eq!(status.code(), Some(74), "{what}: {log}");
                assert_sentence(&log, what);
                true
            }
        }
    }

    /// One command, and all is as it was when the copy was made.
    fn restore(&self, what: &str) {
        let (code, _, error) = run(self.path(), &["restore", "copy.redb"]);
        assert_eq!(code, 0, "{what}: {error}");
        let (code, users, error) = users(self.path());
        assert_eq!(code, 0, "{what}: {error}");
        assert!(users == self.users, "{what}: other users");
        for entry in fs::read_dir(self.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().contains(".before-") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

fn users(folder: &Path) -> Ended {
    run(folder, &["user", "list", "--json"])
}

/// Not a panic as the last word, and a way out.
fn assert_sentence(error: &str, what: &str) {
    let last = error.trim_end().lines().last().unwrap_or_default();
    let is_panic = ["panicked", "RUST_BACKTRACE", "internal fault"]
        .iter()
        .any(|word| last.contains(word));
    assert!(!is_panic && last.ends_with('.'), "{what}: {error}");
}

/// whatever has become of the store, nothing but what was stored is told, nobody waits for more
/// than ten seconds, the last word is a sentence, and one command brings back a copy.
#[test]
fn a_program_on_a_damaged_store_refuses_with_a_sentence_or_tells_what_was_stored() {
    let count = flag("PORTERO_MUTATIONS").unwrap_or(MUTATIONS);
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let kept = Kept::make();
                let store = kept.path().join("portero.redb");
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let damage = Damage::ALL[number % Damage::ALL.len()];
                    let what = format!("{damage:?} {number}");
                    let turn = number / Damage::ALL.len();
                    damage.done_to(&kept.whole[turn % 2], &store);
                    let is_refused = kept.serve(&what);
                    assert!(is_refused || !damage.is_always_told(), "{what}");
                    kept.check_read(&what);
                    if is_refused {
                        refused.fetch_add(1, Ordering::Relaxed);
                        kept.restore(&what);
                    }
                }
            });
        }
    });
    let refused = refused.into_inner();
    println!("{refused} of {count} damaged stores were refused");
    assert!(refused > count / 3, "{refused} of {count}");
}

//! The house stays as its map says: read from the sources, told as sentences.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, as its path from there and its text without tests and comments.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&root().join(folder), &root().join(folder), &mut found);
    assert!(found.len() > 5, "nothing to read in {folder}");
    found
}

fn collect(base: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(base, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(base)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            found.push((name, code_of(&fs::read_to_string(&path).unwrap())));
        }
    }
}

/// The code itself: no comments, and nothing from `#[cfg(test)]` on, which ends every file.
fn code_of(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    let code = lines.map(|line| match line.trim_start() {
        comment if comment.starts_with("//") => "",
        _ => line,
    });
    code.collect::<Vec<_>>().join("\n")
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("tests.rs") || name.ends_with("contract.rs")
}

/// The module a file belongs to: the first part of its path.
fn room(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The rooms named after `crate::` in a text.
fn imports(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let mut names = vec![rest.to_owned()];
        if let Some(list) = rest.strip_prefix('{') {
            let end = list.find("};").unwrap_or(list.len());
            names = list[..end]
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect();
        }
        for name in names {
            let room: String = name
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if !room.is_empty() {
                rooms.insert(room);
            }
        }
    }
    rooms
}

/// Whether a text uses a word, not merely one that ends like it.
fn mentions(text: &str, word: &str) -> bool {
    let within = |at: usize| text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| !within(at))
}

/// What each room may import. A room that is not here may not exist.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("metrics", &[]),
    ("text", &["domain"]),
    ("store", &["domain"]),
    ("signing", &["domain"]),
    ("app", &["domain", "text", "store", "signing", "metrics"]),
    ("http", &[]),
    ("tls", &["domain", "http"]),
    ("whatsapp", &["domain", "http"]),
    ("mail", &["domain"]),
    ("services", &["domain", "http"]),
    ("backend", &["domain", "http"]),
    ("bot", &["domain", "http"]),
    ("outbox", &["domain", "app", "metrics"]),
    ("control", &["domain", "app", "store", "tls"]),
    (
        "web",
        &[
            "domain", "app", "text", "store", "whatsapp", "backend", "metrics",
        ],
    ),
    (
        "config",
        &[
            "domain", "text", "store", "http", "tls", "whatsapp", "mail", "services", "backend",
            "bot", "outbox", "web",
        ],
    ),
    (
        "serve",
        &[
            "domain", "app", "text", "store", "whatsapp", "mail", "services", "outbox", "web",
            "config", "control", "backend", "bot", "metrics", "tls",
        ],
    ),
    (
        "simulator",
        &[
            "domain", "app", "store", "outbox", "web", "config", "serve", "text",
        ],
    ),
    (
        "cli",
        &[
            "domain",
            "app",
            "store",
            "web",
            "config",
            "serve",
            "simulator",
            "control",
            "outbox",
            "services",
            "http",
            "whatsapp",
            "mail",
            "bot",
            "tls",
            "metrics",
        ],
    ),
    ("lib", &[]),
    ("main", &[]),
];

#[test]
fn imports_go_down_the_layers_only() {
    for (name, text) in sources("src") {
        if is_test_file(&name) {
            continue;
        }
        let room = room(&name);
        let (_, allowed) = MAY_IMPORT
            .iter()
            .find(|(known, _)| *known == room)
            .unwrap_or_else(|| {
                panic!("src/{name}: the map in src/lib.rs has no room called {room}")
            });
        for import in imports(&text) {
            assert!(
                import == room || allowed.contains(&import.as_str()),
                "src/{name} imports crate::{import}, but {room} may only know {allowed:?}; \
                 move the code, or change the map in src/lib.rs and here"
            );
        }
    }
}

/// A word that belongs to one place, and why.
const BELONGS: &[(&str, &[&str], &str)] = &[
    (
        "redb::",
        &["store/redb", "store/file.rs", "store/mod.rs", "serve.rs"],
        "the engine is behind store::Engine",
    ),
    (
        "rouille::",
        &["web/", "simulator/"],
        "the web framework stays at the web's edge",
    ),
    (
        "maud::",
        &["web/", "simulator/"],
        "pages are made at the web's edge",
    ),
    (
        "ureq::",
        &["http.rs", "http/", "simulator/"],
        "outgoing HTTP has one place with every limit set",
    ),
    ("lettre::", &["mail.rs", "mail/"], "mail has one adapter"),
    ("hyper::", &["web/listener/"], "HTTP/1 has one listener"),
    (
        "webpki::",
        &["tls/certificate.rs"],
        "what a certificate says is read in one place",
    ),
    (
        "rcgen::",
        &["tls/"],
        "what is asked of an authority is made in one place",
    ),
    (
        "jsonwebtoken::",
        &["signing/"],
        "what tokens are believed is decided in one place",
    ),
    (
        "ring::signature",
        &["signing/provider.rs", "tls/acme/", "simulator/bot.rs"],
        "the JWT crate asks it for signatures, and an authority wants them; only the stand-in bot judges them for itself",
    ),
    (
        "send_raw",
        &[],
        "a raw mail body can end the mail and inject commands (S-22)",
    ),
    (
        "PreEscaped",
        &["simulator/page.rs"],
        "maud escapes; what is not escaped is an injection (S-43)",
    ),
    (
        "accept_invalid",
        &[],
        "there is no switch that accepts a bad certificate (S-83)",
    ),
    (
        "process::exit",
        &[],
        "helpers do not exit; main maps errors to exit codes in one place",
    ),
    (
        "thread::sleep",
        // The end of another process's hold on the store rings no bell, and after a fault of a
        // thread of its own there is nothing to wait for.
        &[
            "simulator/",
            "cli/worker.rs",
            "app/faults.rs",
            "tls/mod.rs",
            "web/listener/mod.rs",
        ],
        "wait for a condition, not for a while",
    ),
    ("todo!(", &[], "a stub is not code"),
    ("unimplemented!(", &[], "a stub is not code"),
];

#[test]
fn each_technology_stays_in_its_room() {
    for (name, text) in sources("src") {
        if is_test_file(&name) {
            continue;
        }
        for (word, places, why) in BELONGS {
            // `crate::store::redb::` names our own module.
            let foreign = text
                .replace("store::redb::", "")
                .replace("self::redb::", "");
            assert!(
                !mentions(&foreign, word) || places.iter().any(|place| name.starts_with(place)),
                "src/{name} uses {word}, which belongs to {places:?}: {why}"
            );
        }
    }
}

#[test]
fn decisions_touch_nothing() {
    const FORBIDDEN: &[&str] = &[
        "std::time",
        "SystemTime",
        "Instant",
        "std::fs",
        "std::net",
        "std::io",
        "std::thread",
        "std::env",
        "getrandom",
        "rand::",
        "serde",
        "tracing",
        "Mutex",
        "println!",
        "eprintln!",
    ];
    for (name, text) in sources("src") {
        if room(&name) != "domain" || is_test_file(&name) {
            continue;
        }
        for word in FORBIDDEN {
            assert!(
                !mentions(&text, word),
                "src/{name} uses {word}: domain gets time and randomness as arguments and touches nothing"
            );
        }
    }
}

#[test]
fn secrets_are_never_compared_with_a_plain_equals() {
    for (name, text) in sources("src") {
        for word in [
            "signature ==",
            "== signature",
            "token ==",
            "== token",
            ".reveal() ==",
        ] {
            assert!(
                !text.contains(word) || name.starts_with("simulator/"),
                "src/{name}: {word:?} compares in a time that depends on the secret (S-02); use Secret::matches"
            );
        }
    }
}

/// a panic in whoever holds a lock is no reason for the next one to panic as well. What a lock
/// guards is replaced whole, or made whole again by whoever caught the panic.
#[test]
fn a_lock_that_somebody_panicked_in_is_taken_all_the_same() {
    let mut locks = 0;
    for (name, text) in sources("src") {
        if is_test_file(&name) {
            continue;
        }
        let dense: String = text.split_whitespace().collect();
        let makes = ["Mutex<", "RwLock<", "Condvar,"];
        let made: usize = makes.iter().map(|lock| dense.matches(lock).count()).sum();
        locks += made;
        // Whoever holds one in the library's own way has a guard, or the poison.
        let takes = ["lock()", "read()", "write()"];
        for (take, end) in takes
            .iter()
            .flat_map(|take| [(take, "unwrap("), (take, "expect(")])
        {
            assert!(
                !dense.contains(&format!(".{take}.{end}")),
                "src/{name}: {take}.{end}…) panics because somebody else did (R-78); use PoisonError::into_inner"
            );
        }
        assert!(
            made == 0 || dense.contains("PoisonError") || !dense.contains(".lock()"),
            "src/{name} takes a lock and says nothing of poison (R-78)"
        );
    }
    assert!(locks > 30, "only {locks} locks were found");
}

#[test]
fn production_knows_nothing_of_the_demo() {
    for (name, text) in sources("src") {
        if matches!(room(&name), "simulator" | "cli" | "lib") {
            continue;
        }
        for word in ["simulator", "demo", "is_test", "cfg!("] {
            assert!(
                !text.contains(word),
                "src/{name} mentions {word}: production has no branch for it"
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut folders = vec![root().join("src"), root().join("tests/it")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                assert!(
                    text.starts_with("//! "),
                    "{} begins without a module comment",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_top_level_is_as_listed() {
    const LISTED: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "assets",
        "tests",
        "config.example.toml",
        "README.md",
        "LICENSE",
        ".ci",
        ".gitignore",
    ];
    // What version control and cargo keep beside it.
    const KEPT: &[&str] = &[".git", "target"];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            LISTED.contains(&name.as_str()) || KEPT.contains(&name.as_str()),
            "{name} is not part of the top level; put it into one of {LISTED:?}"
        );
    }
    for name in LISTED {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn lettre_keeps_silent_about_passwords() {
    // Its feature of that name logs AUTH.
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let line = manifest
        .lines()
        .find(|line| line.starts_with("lettre"))
        .unwrap();
    assert!(!line.contains("tracing"), "{line}");
}

#[test]
fn libraries_do_not_write_into_the_log() {
    // What they log goes through this crate; at the level trace ureq logs whole addresses, and the
    // path of one may be a secret (S-37).
    let locked = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(!locked.contains("name = \"tracing-log\""));
}

/// Each promise of the README names the tests that would go red if it were broken; they exist, and
/// none is left out of a usual run.
#[test]
fn every_promise_of_the_readme_names_tests_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let rows = rows_of(&readme, "| P");
    let numbers: Vec<String> = (1..=10).map(|number| format!("P{number}")).collect();
    assert_eq!(firsts(&rows), numbers);
    for row in &rows {
        assert_tests_exist(row[0], row[2]);
    }
}

/// The same for each fault of the list, which says besides what a usual run shows.
#[test]
fn every_fault_of_the_list_names_tests_that_exist() {
    let list = fs::read_to_string(root().join("tests/faults.md")).unwrap();
    let rows = rows_of(&list, "| R-");
    let mut numbers: Vec<String> = [1..=6, 10..=13, 20..=25, 30..=35, 40..=42, 50..=55]
        .into_iter()
        .chain([60..=61, 70..=81])
        .flatten()
        .map(|number: u32| format!("R-{number:02}"))
        .collect();
    numbers.insert(1, "R-01b".into());
    assert_eq!(firsts(&rows), numbers);
    for row in &rows {
        assert_tests_exist(row[0], row[2]);
        assert!(
            !row[3].is_empty(),
            "{}: what does a usual run show?",
            row[0]
        );
    }
}

/// The rows of a table whose line begins so, as their cells.
fn rows_of<'t>(text: &'t str, begin: &str) -> Vec<Vec<&'t str>> {
    text.lines()
        .filter(|line| line.starts_with(begin))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

fn firsts(rows: &[Vec<&str>]) -> Vec<String> {
    rows.iter().map(|row| row[0].to_owned()).collect()
}

/// `names` are names of tests in backticks, with commas between them.
fn assert_tests_exist(what: &str, names: &str) {
    static CODE: OnceLock<String> = OnceLock::new();
    let code = CODE.get_or_init(|| {
        let mut code = String::new();
        for folder in ["src", "tests/it"] {
            whole(&root().join(folder), &mut code);
        }
        code
    });
    for name in names.split(", ") {
        let name = name.trim_matches('`');
        let test = format!("#[test]\nfn {name}() {{");
        assert!(code.contains(&test), "{what}: there is no test {name:?}");
    }
}

/// All the Rust below `folder`, each line without what it is indented by.
fn whole(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            whole(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            for line in fs::read_to_string(&path).unwrap().lines() {
                code.push_str(line.trim_start());
                code.push('\n');
            }
        }
    }
}

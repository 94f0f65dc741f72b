//! Stores that an earlier version left, kept for ever in `tests/fixtures/stores`: each opens, and
//! what people had begun goes on.
//!
//! A version with another format adds the store that it leaves itself, in the commit before it raises
//! the format again: `cargo test --test it make_the_store_of_this_format -- --ignored`.

use crate::house::{House, Person, Takes, failure};
use crate::user::{CONFIG, folder_with, portero, run};
use portero::app::{Janitor, Wanted, Whom};
use portero::domain::account::Company;
use portero::domain::contact::Contact;
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::EmailAddress;
use portero::domain::time::Timestamp;
use portero::store::migrate::FORMAT_VERSION;
use portero::store::{record, write_copy};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn stores() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stores")
}

fn person(number: u8) -> Person {
    Person::with_number(&format!("3460011100{number}"))
}

/// What one needs to know of a store to go on with it.
struct Known {
    bytes: Vec<u8>,
    /// When it was left.
    at: Timestamp,
    /// The code that Carla was mailed.
    code: String,
}

fn known(format: u32) -> Known {
    let read = |ending: &str| {
        let path = stores().join(format!("format-{format}.{ending}"));
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let facts: Value = serde_json::from_slice(&read("json")).unwrap();
    Known {
        bytes: read("redb"),
        at: Timestamp(facts["left_at_ms"].as_u64().unwrap()),
        code: facts["code"].as_str().unwrap().to_owned(),
    }
}

impl Known {
    /// The store in a folder of its own.
    fn lies_in(&self, folder: &Path) {
        let path = folder.join("portero.redb");
        fs::write(&path, &self.bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// everything that was begun with a store of any format goes on with this program.
#[test]
fn people_go_on_with_the_store_of_every_format_that_there_was() {
    for format in 1..=FORMAT_VERSION {
        let store = known(format);
        let folder = tempfile::tempdir().unwrap();
        store.lies_in(folder.path());
        let house = House::moved_in(folder, House::both_ways_in(), store.at);
        for (name, service) in [("ana", "kutamma"), ("bea", "kutamma"), ("carla", "kutamma")] {
            house.register(service, &format!("{name}@example.com"), name, "Acme");
        }
        let (ana, bea, carla, eva) = (person(1), person(2), person(3), person(4));
        assert!(house.is_bound(&ana) && house.is_bound(&bea), "{format}");
        // They are found by their address, their number and its end.
        let id = house.contact(&ana).id;
        for typed in ["ANA@example.com", "34600111001", "600 111 001", "01"] {
            let found = house.app.search(&Wanted::parse(typed), None, 10).unwrap();
            let ids: Vec<_> = found.contacts.iter().map(|contact| contact.id).collect();
            assert_eq!((ids, found.looked_at), (vec![id], 1), "{format}: {typed}");
        }
        // Whoever has the file without its key does not see who is signed in.
        let contacts = house.contacts();
        let names_one = |(table, key, _): &&(String, Vec<u8>, Vec<u8>)| {
            let has = |contact: &Contact| key.windows(16).any(|part| part == contact.id.0);
            table == "Alias" && contacts.iter().any(has)
        };
        assert_eq!(house.records().iter().find(names_one), None, "{format}");
        // What waited for the bot is taken by it; what was given up is kept with its reason.
        house.later(60_000);
        assert!(house.handed_on().contains(&Some("it waits".to_owned())));
        let overview = house.overview();
        assert_eq!(overview.dead.len(), 1);
        assert_eq!(overview.dead[0].reason, "the bot says no");
        // The code that was on its way is good, once.
        house.ask(&carla, &store.code);
        assert!(house.is_bound(&carla), "{:?}", house.said_to(&carla));
        // Who was forgotten is somebody new, and who is known may leave.
        house.ask(&eva, "hola");
        assert!(!house.is_bound(&eva));
        house.ask(&ana, "cerrar sesión");
        assert!(!house.is_bound(&ana) && house.is_bound(&bea));
        // All of it can be read, checked, tidied up and written anew.
        assert_eq!(house.app.verify_audit(None).unwrap().faults, []);
        assert_eq!(house.app.users().unwrap().len(), 1);
        Janitor::default().sweep(&house.app).unwrap();
        house
            .app
            .forget(&Whom::User(house.contact(&bea).id))
            .unwrap();
        // Ana, Carla, Eva and somebody who was sent a link.
        assert_eq!(house.contacts().len(), 4);
    }
}

/// the commands and the server of the real program open them, too.
#[test]
fn the_program_starts_on_the_store_of_every_format_that_there_was() {
    for format in 1..=FORMAT_VERSION {
        let folder = folder_with(CONFIG);
        let path = folder.path();
        let key = path.join("portero.key");
        fs::write(&key, format!("{}\n", House::MASTER_KEY)).unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
        known(format).lies_in(path);
        let fine = |arguments: &[&str]| {
            let (code, output, error) = run(path, arguments);
            assert_eq!(code, 0, "format {format}: {arguments:?}: {error}");
            output
        };
        let listed: Vec<Value> = serde_json::from_str(&fine(&["user", "list", "--json"])).unwrap();
        assert_eq!(listed[0]["email"], "dora@example.com");
        assert!(fine(&["audit", "verify"]).starts_with("the chain holds"));
        let dead: Vec<Value> =
            serde_json::from_str(&fine(&["outbox", "list", "--dead", "--json"])).unwrap();
        assert_eq!(dead.len(), 1);
        let export: Value =
            serde_json::from_str(&fine(&["export", "--email", "ana@example.com"])).unwrap();
        assert!(export.to_string().contains("34600111001"), "{export}");
        let mut command = portero(path);
        command.arg("serve").stderr(std::process::Stdio::piped());
        let server = crate::outside::Portero::start(command);
        assert_eq!(
            fine(&["contact", "list", "--json"])
                .matches("userUuid")
                .count(),
            4
        );
        assert_eq!(server.stop().0, Some(0));
    }
}

/// Writes the store of this format, with something in every table but the one for marks of bots.
#[test]
#[ignore = "makes a fixture"]
fn make_the_store_of_this_format() {
    let path = stores().join(format!("format-{FORMAT_VERSION}.redb"));
    assert!(!path.exists(), "{} is kept as it is", path.display());
    fs::create_dir_all(stores()).unwrap();
    let house = House::on_the_web_on_file(House::both_ways_in()).telling();
    for name in ["ana", "bea", "carla", "eva"] {
        house.register("kutamma", &format!("{name}@example.com"), name, "Acme");
    }
    let (ana, bea, carla, eva) = (person(1), person(2), person(3), person(4));
    house.sign_in(&eva, "eva@example.com");
    house
        .app
        .forget(&Whom::User(house.contact(&eva).id))
        .unwrap();
    let (store, keys) = house.store_and_keys();
    let user = record::User {
        id: "u-dora".into(),
        email: EmailAddress::parse("dora@example.com").unwrap(),
        name: "Dora".into(),
        company: Company {
            id: "acme".into(),
            name: "Acme".into(),
        },
        phone: Some("34600111005".into()),
        password_hash: None,
    };
    let put = keys.clone();
    store
        .update(move |writer| record::put_user(writer, &put, &user))
        .unwrap();
    house.sign_in(&ana, "ana@example.com");
    let text = house.sign_in_on_page(&house.new_link(&bea), "bea@example.com");
    house.ask(&bea, &text);
    assert!(house.is_bound(&bea));
    house.world.change(|outside| {
        outside.bot = Takes::Not(failure(FailureKind::Permanent, "the bot says no"));
    });
    house.ask(&bea, "it is given up");
    house.world.change(|outside| {
        outside.bot = Takes::Not(Failure::temporary("later"));
    });
    house.ask(&ana, "it waits");
    house.new_link(&person(5));
    house.ask(&carla, "carla@example.com");
    let code = house.code();
    house.app.note_time().unwrap();
    let tables: BTreeSet<String> = house.records().into_iter().map(|record| record.0).collect();
    println!("{tables:?}");
    let facts = serde_json::json!({"left_at_ms": house.app.now().0, "code": code});
    write_copy(&**store.engine(), &path).unwrap();
    fs::write(path.with_extension("json"), format!("{facts:#}\n")).unwrap();
}

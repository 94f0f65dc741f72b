//! The audit: a chain in the core, and with the real program, whether the server runs or not (S-92).

use crate::house::{House, Person};
use crate::user::{Ended, Server, add, ended, folder, portero, run, store, user_with_input};
use portero::app::Janitor;
use portero::control::{Answer, Request, WhomText, perform};
use portero::domain::id::ContactId;
use portero::domain::time::DAY_MS;
use portero::store::Table;
use portero::store::record::{self, AuditLine};
use serde_json::Value;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const ANA: ContactId = ContactId([0x3f; 16]);

fn audit(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = portero(folder);
    ended(command.arg("audit").args(arguments).output().unwrap())
}

/// Twenty-five lines an hour apart, the last one a minute ago.
fn fill(folder: &Path) {
    Server::start(folder).stop();
    let (store, keys) = store(folder);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = u64::try_from(now.as_millis()).unwrap();
    let filled = store.update(move |writer| {
        for number in 1..=25_u64 {
            let line = AuditLine {
                at_ms: now_ms - 60_000 - (25 - number) * 3_600_000,
                event: "code.asked".to_owned(),
                contact: ANA.to_string(),
                number_ending: Some("67".to_owned()),
                directory_user: None,
                about: None,
                link: None,
            };
            record::put_audit(writer, &keys, number, line)?;
        }
        Ok(())
    });
    filled.unwrap();
}

/// What an operator is told; the same with and without a server.
fn story(folder: &Path) -> Vec<Ended> {
    let told = [
        audit(folder, &["verify"]),
        audit(folder, &["verify", "--json"]),
        audit(folder, &["list", "--limit", "2"]),
        audit(folder, &["list", "--since", "150m", "--json"]),
        audit(folder, &["list", "--since", "yesterday"]),
    ];
    assert_eq!(told[4].0, 64);
    told.into()
}

#[test]
fn an_operator_reads_and_checks_the_audit_whether_the_server_runs_or_not() {
    let folder = folder();
    let path = folder.path();
    fill(path);
    let alone = story(path);
    let server = Server::start(path);
    assert_eq!(story(path), alone);
    server.stop();

    let (code, output, error) = &alone[0];
    assert_eq!(*code, 0, "{error}");
    assert!(
        output.starts_with("the chain holds: 25 lines\nit ends with 19, whose digest is\n  "),
        "{output}"
    );
    let check: Value = serde_json::from_str(&alone[1].1).unwrap();
    assert_eq!(check["holds"], true);
    assert_eq!(
        (&check["lines"], &check["unchained"]),
        (&25.into(), &0.into())
    );
    assert_eq!(check["faults"], Value::Array(Vec::new()));
    assert!(output.ends_with(&format!("  {}\n", check["digest"].as_str().unwrap())));

    let lines: Vec<&str> = alone[2].1.lines().collect();
    assert!(
        lines[0].starts_with("ID  AT (UTC)        WHAT        CONTACT"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("18  ") && lines[2].starts_with("19  "),
        "{lines:?}"
    );
    assert!(alone[2].2.contains("--limit shows more"));
    let listed: Vec<Value> = (alone[3].1.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ids: Vec<&str> = listed
        .iter()
        .map(|line| line["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["17", "18", "19"]);
    assert_eq!(listed[0]["event"], "code.asked");
    assert_eq!(listed[0]["userUuid"], ANA.to_string());
    assert_eq!(listed[0]["numberEnding"], "67");
    assert_eq!(listed[0]["chained"], true);
}

#[test]
fn whoever_changed_the_audit_is_found_out_by_the_number_of_the_line() {
    let folder = folder();
    let path = folder.path();
    fill(path);
    let (opened, _) = store(path);
    let tampered = opened.update(|writer| {
        let key = 5_u64.to_be_bytes();
        let bytes = writer.get(Table::Audit, &key)?.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let changed = text.replace("code.asked", "code.wrong");
        writer.put(Table::Audit, &key, changed.as_bytes())?;
        writer.delete(Table::Audit, &0x10_u64.to_be_bytes())
    });
    tampered.unwrap();
    drop(opened);
    let (code, output, error) = audit(path, &["verify"]);
    assert_eq!(code, 1);
    assert!(
        output.starts_with(
            "the chain is broken: 2 faults in 24 lines\n  \
             5: is not what was written\n  \
             11: lines before it are missing, or it was moved\n"
        ),
        "{output}"
    );
    assert!(
        error.starts_with("the audit is not what was written down\nhint: "),
        "{error}"
    );
    let (code, output, _) = audit(path, &["verify", "--json"]);
    let check: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &check["holds"]), (1, &false.into()));
    assert_eq!(
        check["faults"][1],
        serde_json::json!({"id": "11", "fault": "missing_before"})
    );
}

#[test]
fn what_happens_in_a_chat_is_in_a_chain_that_the_janitor_does_not_break() {
    let house = House::in_memory();
    let ana = Person::with_number("573001234567");
    let checked = || house.app.verify_audit(None).unwrap();
    let sweep = || Janitor::default().sweep(&house.app).unwrap();
    house.ask(&ana, "ana@example.com");
    let first = checked();
    assert!(first.lines > 0 && first.faults.is_empty(), "{first:?}");
    assert_eq!((first.unchained, &first.anchor), (0, &None));
    house.clock.forward(181 * DAY_MS);
    house.ask(&ana, "ana@example.com");
    sweep();
    let second = checked();
    assert_eq!(second.anchor, first.head);
    assert_eq!(second.faults, []);
}

/// What was written down, oldest first: the event, and its line as JSON.
fn written_down(folder: &Path) -> Vec<(String, Value)> {
    let (code, output, error) = audit(folder, &["list", "--json"]);
    assert_eq!(code, 0, "{error}");
    let lines = output.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["event"].as_str().unwrap().to_owned(), line)
    });
    lines.collect()
}

/// An operator's day; returns the id of the user, and the names of the keys that were made and
/// revoked.
fn day_of_an_operator(folder: &Path) -> (String, [String; 2]) {
    let fine = |arguments: &[&str]| {
        let (code, output, error) = run(folder, arguments);
        assert_eq!(code, 0, "{arguments:?}: {error}");
        output
    };
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&fine(arguments)).unwrap() };
    let with_password = |arguments: &[&str], password: &str| {
        let (code, _, error) = user_with_input(folder, arguments, password);
        assert_eq!(code, 0, "{error}");
    };
    assert_eq!(add(folder, "ana@example.com").0, 0);
    let id = json(&["user", "list", "--json"])[0]["id"].clone();
    let described = [
        "add",
        "ana@example.com",
        "--name",
        "Ana",
        "--company",
        "Espiga",
    ];
    let described = [&described[..], &["--password-stdin"]].concat();
    with_password(&described, "doce perros verdes");
    let passwd = ["passwd", "ana@example.com", "--password-stdin"];
    with_password(&passwd, "trece gatos azules");
    let rows = "email,name,company\nbea@example.com,Bea,Espiga\nana@example.com,Ana María,Espiga\n";
    std::fs::write(folder.join("users.csv"), rows).unwrap();
    fine(&["user", "import", "users.csv"]);
    // Nothing changes, and nothing is written down.
    fine(&["user", "import", "users.csv"]);
    fine(&["export", "--email", "ana@example.com"]);
    let (code, ..) = run(folder, &["export", "--email", "nobody@example.com"]);
    assert_ne!(code, 0);
    let before = json(&["keys", "list", "--json"]);
    fine(&["keys", "rotate"]);
    let keys = json(&["keys", "list", "--json"]);
    let [first, second] =
        [&keys[0]["kid"], &keys[1]["kid"]].map(|id| id.as_str().unwrap().to_owned());
    assert_eq!(
        (keys.as_array().unwrap().len(), &before[0]["kid"]),
        (2, &first.clone().into())
    );
    fine(&["keys", "revoke", &second]);
    let copy = folder.join("copy.redb");
    fine(&["backup", copy.to_str().unwrap()]);
    fine(&["user", "remove", "ana@example.com"]);
    assert_ne!(run(folder, &["user", "remove", "ana@example.com"]).0, 0);
    (id.as_str().unwrap().to_owned(), [first, second])
}

/// Whoever has a shell there can set somebody's password and sign in as them, and not without a
/// trace (S-92).
#[test]
fn what_an_operator_does_is_in_the_audit_whether_the_server_runs_or_not() {
    let (with, without) = (folder(), folder());
    let server = Server::start(with.path());
    let served = day_of_an_operator(with.path());
    server.stop();
    let alone = day_of_an_operator(without.path());
    for (path, (user, [_, made])) in [(with.path(), served), (without.path(), alone)] {
        let lines = written_down(path);
        let told: Vec<_> = (lines.iter())
            .map(|(event, line)| (event.as_str(), &line["directoryUser"], &line["about"]))
            .collect();
        let (user, made) = (Value::from(user), Value::from(made));
        let counts = Value::from("1 new, 1 changed, 0 with a password");
        assert_eq!(
            told,
            [
                ("user.added", &user, &Value::Null),
                ("user.changed", &user, &Value::Null),
                ("user.password_set", &user, &Value::Null),
                ("user.password_set", &user, &Value::Null),
                ("user.imported", &Value::Null, &counts),
                ("contact.exported", &user, &Value::Null),
                ("key.rotated", &Value::Null, &made),
                ("key.revoked", &Value::Null, &made),
                ("store.backed_up", &Value::Null, &Value::Null),
                ("user.removed", &user, &Value::Null),
            ]
        );
        let (code, verified, error) = audit(path, &["verify"]);
        assert_eq!(code, 0, "{error}");
        assert!(
            verified.starts_with("the chain holds: 10 lines\n"),
            "{verified}"
        );
        assert!(!verified.contains("erased"), "{verified}");
        let (_, listed, _) = audit(path, &["list"]);
        assert!(
            listed.contains("user.password_set") && !listed.contains("erased"),
            "{listed}"
        );
        let whole = format!("{listed}{lines:?}");
        for word in ["example.com", "Ana", "Espiga", "perros", "gatos", "argon2"] {
            assert!(!whole.contains(word), "{word} is in the audit: {whole}");
        }
    }
}

/// Reading who somebody is leaves a trace, too, and so does telling others again (S-92).
#[test]
fn whom_an_operator_looks_up_and_what_is_told_again_is_in_the_audit() {
    let house = House::in_memory().telling();
    let ana = Person::with_number("573001234567");
    house.register("kutamma", "ana@example.com", "Ana", "Acme");
    house.sign_in(&ana, "ana@example.com");
    let before = house.app.audit_before(None).unwrap()[0].0;
    let show = |number: &str| {
        let whom = WhomText::Number(number.to_owned());
        match perform(&house.app, &Request::ShowContacts { whom }) {
            Answer::Shown {
                contacts,
                not_written_down: None,
            } => contacts.len(),
            answer => panic!("{answer:?}"),
        }
    };
    assert_eq!((show("+573001234567"), show("+573009999999")), (1, 0));
    let replay = |since_ms| {
        let request = Request::ReplayEvents {
            since_ms,
            after: None,
        };
        match perform(&house.app, &request) {
            Answer::Replayed { count, .. } => count,
            answer => panic!("{answer:?}"),
        }
    };
    let told = replay(0);
    assert!(told > 1);
    assert_eq!(replay(u64::MAX), 0);
    let one = house.app.events(None, 1).unwrap()[0].id;
    assert!(house.app.replay_event(one).unwrap());
    let mut lines = house.app.audit_before(None).unwrap();
    lines.retain(|(number, _)| *number > before);
    lines.reverse();
    let lines: Vec<_> = (lines.iter())
        .map(|(_, line)| {
            (
                line.event.as_str(),
                line.contact.as_str(),
                line.about.as_deref(),
            )
        })
        .collect();
    let contact = house.contact(&ana).id.to_string();
    assert_eq!(
        lines,
        [
            ("contact.shown", contact.as_str(), None),
            (
                "events.replayed",
                "",
                Some(format!("{told} events").as_str())
            ),
            ("events.replayed", "", Some("1 event")),
        ]
    );
    assert_eq!(house.app.verify_audit(None).unwrap().faults, []);
}

/// The store that a copy came from cannot tell it (S-92).
#[test]
fn that_a_copy_took_the_place_of_the_store_is_written_down_in_the_copy() {
    let folder = folder();
    let path = folder.path();
    assert_eq!(add(path, "ana@example.com").0, 0);
    let copy = path.join("copy.redb");
    let copy = copy.to_str().unwrap();
    assert_eq!(run(path, &["backup", copy]).0, 0);
    assert_eq!(add(path, "bea@example.com").0, 0);
    let (code, _, error) = run(path, &["restore", copy]);
    assert_eq!(code, 0, "{error}");
    assert_eq!(add(path, "eva@example.com").0, 0);
    let events: Vec<String> = (written_down(path).into_iter())
        .map(|(event, _)| event)
        .collect();
    assert_eq!(events, ["user.added", "store.restored", "user.added"]);
    let (code, verified, error) = audit(path, &["verify"]);
    assert_eq!(code, 0, "{error}");
    assert!(
        verified.starts_with("the chain holds: 3 lines\n"),
        "{verified}"
    );
}

#[test]
fn whoever_changed_of_which_user_a_line_tells_is_found_out() {
    let folder = folder();
    let path = folder.path();
    assert_eq!(add(path, "ana@example.com").0, 0);
    let id = written_down(path)[0].1["directoryUser"].clone();
    let (opened, _) = store(path);
    let id = id.as_str().unwrap().to_owned();
    let tampered = opened.update(move |writer| {
        let number = record::last_audit_number(writer)?.to_be_bytes();
        let line = String::from_utf8(writer.get(Table::Audit, &number)?.unwrap()).unwrap();
        assert!(line.contains(&id));
        writer.put(Table::Audit, &number, line.replace(&id, "u-0").as_bytes())
    });
    tampered.unwrap();
    drop(opened);
    let (code, output, _) = audit(path, &["verify"]);
    assert_eq!(code, 1);
    assert!(output.contains("is not what was written"), "{output}");
}

#[test]
fn who_is_forgotten_by_the_address_is_in_no_line_from_before() {
    let folder = folder();
    let path = folder.path();
    for email in ["ana@example.com", "bea@example.com"] {
        assert_eq!(add(path, email).0, 0);
    }
    let of = |lines: &[(String, Value)], at: usize| lines[at].1["directoryUser"].clone();
    let before = written_down(path);
    let (ana, bea) = (of(&before, 0), of(&before, 1));
    assert_eq!(
        run(path, &["contact", "forget", "--email", "ana@example.com"]).0,
        0
    );
    let passwd = ["passwd", "ana@example.com", "--password-stdin"];
    assert_eq!(user_with_input(path, &passwd, "doce perros verdes").0, 0);
    assert_eq!(
        run(path, &["contact", "forget", "--email", "eva@example.com"]).0,
        0
    );
    let after = written_down(path);
    let told = |at: usize| (after[at].0.as_str(), of(&after, at));
    assert_eq!(told(0), ("user.added", Value::Null));
    assert_eq!(told(1), ("user.added", bea));
    assert_eq!(told(2), ("contact.forgotten", Value::Null));
    // The user stayed in the directory, and so does what was done to it since.
    assert_eq!(told(3), ("user.password_set", ana));
    let (code, output, _) = audit(path, &["verify"]);
    assert_eq!(code, 0);
    assert!(
        output.contains("in 1 line it was erased whom they are about"),
        "{output}"
    );
}

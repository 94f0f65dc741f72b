//! The audit: a chain in the core, and with the real program, whether the server runs or not (S-92).

use crate::house::{House, Person};
use crate::user::{Ended, Server, ended, folder, portero, store};
use portero::app::Janitor;
use portero::domain::id::{ContactId, DAY_MS};
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

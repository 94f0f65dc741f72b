//! The program answers as its published description says: schemathesis makes requests of all kinds
//! from the description, sends them to the running program, and compares what comes back.

use crate::outside::PATIENCE;
use crate::page::Town;
use crate::python::interpreter;
use portero::domain::contact::Contact;
use portero::domain::id::{MessageId, WaId};
use portero::simulator::cast::{ANA, BRUNO, PEOPLE};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

const KEY: &str = "agent-key-0123456789abcdef0123456789abcdef";

/// Requests made from the constraints of each operation, besides its examples and edge cases.
const EXAMPLES_MAX: &str = "60";

/// The same requests each time.
const SEED: &str = "20261125";

/// The town with a caller who may do everything, and two people whom it knows.
fn town() -> Town {
    let town = Town::with(|file| {
        let key = toml::toml! {
            name = "agent"
            key = "agent-key-0123456789abcdef0123456789abcdef"
            scopes = ["tokens", "sign_in_links", "challenges", "contacts:read", "contacts:release", "any_contact"]
        };
        file.insert("api_keys".to_owned(), toml::Value::Array(vec![key.into()]));
    });
    signs_in(&town, ANA);
    signs_in(&town, BRUNO);
    town
}

/// Somebody signs in by mail.
fn signs_in(town: &Town, who: usize) {
    let (phone, address) = (town.world.phone(who), PEOPLE[who].email);
    for words in ["hola", address] {
        let said = phone.say(words);
        phone.wait_for_reply(&said, PATIENCE).unwrap();
    }
    let mail = town.world.inbox.wait_for_mail(address, 1, PATIENCE);
    let said = phone.say(&mail.unwrap().code().unwrap());
    phone.wait_for_reply(&said, PATIENCE).unwrap();
    assert!(contact(town, who).is_some_and(|contact| contact.is_bound()));
}

fn contact(town: &Town, who: usize) -> Option<Contact> {
    let wa_id = WaId::parse(PEOPLE[who].wa_id).unwrap();
    let mut contacts = town.app().overview(100).unwrap().contacts.into_iter();
    contacts.find(|contact| contact.wa_id.as_ref() == Some(&wa_id))
}

/// Compares the program with a description, or only one operation of it; what was found is in the
/// words.
fn compare(town: &Town, description: &Value, operation: Option<&str>) -> (bool, String) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    fs::write(&file, description.to_string()).unwrap();
    let mut command = Command::new(interpreter());
    command
        .current_dir(folder.path())
        .args(["-m", "schemathesis.cli", "run"])
        .arg(file)
        .args(["--url", &format!("http://{}", town.address)])
        .args(["--header", &format!("Authorization: Bearer {KEY}")])
        .args(["--checks", "all", "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES_MAX, "--seed", SEED])
        .args(["--generation-database", "none", "--warnings", "off"])
        .args([
            "--request-timeout",
            "30",
            "--no-shrink",
            "--continue-on-failure",
            "--no-color",
        ])
        .env("PYTHONPATH", &tests)
        .env("SCHEMATHESIS_HOOKS", "description_hooks")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(operation) = operation {
        command.args(["--include-operation-id", operation]);
    }
    let message = MessageId::parse("wamid.1").unwrap();
    let app = town.app();
    for (name, who) in [("ANA", ANA), ("BRUNO", BRUNO)] {
        let contact = contact(town, who).unwrap();
        let identity = app.identity_of(&contact, &message, app.now());
        command
            .env(format!("PORTERO_{name}"), contact.id.to_string())
            .env(format!("PORTERO_{name}_IDENTITY"), identity.reveal());
    }
    let output = command.output().unwrap();
    let words =
        [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
    (output.status.success(), words.concat())
}

fn description() -> Value {
    serde_json::from_str(include_str!("../../assets/openapi.json")).unwrap()
}

#[test]
fn the_program_answers_as_its_description_says() {
    let town = town();
    let (is_true, words) = compare(&town, &description(), None);
    assert!(is_true, "{words}");
    let tested = format!("Tested: {}", operations(&description()));
    assert!(words.contains(&tested), "not all were tried: {words}");
}

fn operations(description: &Value) -> usize {
    let paths = description["paths"].as_object().unwrap().values();
    paths.map(|path| path.as_object().unwrap().len()).sum()
}

/// What is compared would be noticed: each of these makes the description untrue in one place.
#[test]
fn a_description_that_is_not_true_is_noticed() {
    let town = town();
    type Break = fn(&mut Value);
    let breaks: [(&str, &str, Break); 5] = [
        ("a field that is not sent", "getContact", |file| {
            let contact = &mut file["components"]["schemas"]["Contact"];
            contact["properties"]["nickname"] = json!({"type": "string"});
            contact["required"]
                .as_array_mut()
                .unwrap()
                .push("nickname".into());
        }),
        ("a field that is not told", "createToken", |file| {
            let token = &mut file["components"]["schemas"]["Token"];
            token["properties"]
                .as_object_mut()
                .unwrap()
                .remove("expiresIn");
            token["required"]
                .as_array_mut()
                .unwrap()
                .retain(|field| field != "expiresIn");
        }),
        ("a status that is not told", "createSignInLink", |file| {
            let link = &mut file["paths"]["/v1/sign-in-links"]["post"]["responses"];
            link.as_object_mut().unwrap().remove("202");
        }),
        ("a constraint that is not told", "createChallenge", |file| {
            let body = &mut file["components"]["schemas"]["ChallengeRequest"];
            let age = body["properties"]["maxAgeSeconds"].as_object_mut().unwrap();
            age.remove("minimum");
        }),
        (
            "a constraint that does not hold",
            "createSignInLink",
            |file| {
                let body = &mut file["components"]["schemas"]["LinkRequest"];
                body["properties"]["send"] = json!({"type": "boolean", "enum": [true]});
            },
        ),
    ];
    for (what, operation, make) in breaks {
        let mut file = description();
        make(&mut file);
        let (is_true, words) = compare(&town, &file, Some(operation));
        assert!(!is_true && words.contains("FAILURES"), "{what}: {words}");
    }
}

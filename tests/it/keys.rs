//! Identities and the keys they are signed with: what a bot reads, how keys take their turns, and
//! `portero keys` with the real program.

use crate::house::{House, Person, START};
use crate::outside::has;
use crate::python::interpreter;
use crate::user::{Ended, Server, ended, folder, portero, store};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portero::app::keys::{KEPT_MS, KEYS_MAX, NoTurn, PUBLISHED_BEFORE_MS, Revoked, Turned, When};
use portero::app::{App, Clock, Failed, Janitor, NoRandomness, Random, Refused, SystemRandom};
use portero::config::Config;
use portero::control::{self, Answer, Request};
use portero::domain::account::Company;
use portero::domain::binding::{Binding, Proof, Scope};
use portero::domain::contact::Contact;
use portero::domain::id::{ContactId, MessageId, ProofId, ServiceName, WaId};
use portero::domain::language::Language;
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use portero::serve;
use portero::store::record::{self, Keys};
use portero::store::{Engine, MasterKey, Memory, Sealed, StoreError};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::{SystemTime, UNIX_EPOCH};

const FOREVER: Timestamp = Timestamp(u64::MAX);

fn message() -> MessageId {
    MessageId::parse("wamid.HBgLMzQ2MDAxMTEyMjI=").unwrap()
}

fn ana() -> Person {
    Person::with_number("34600111222")
}

/// A house in which Ana is bound.
fn house() -> House {
    let house = House::in_memory();
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    house.sign_in(&ana(), "ana@example.com");
    house
}

fn identity(house: &House) -> String {
    let token = house
        .app
        .identity_of(&house.contact(&ana()), &message(), FOREVER);
    token.reveal().to_owned()
}

/// The header of a token, which is part 0, or its claims, which are part 1, unchecked.
pub fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

/// The names of the published keys, in order of their beginning.
fn published(house: &House) -> Vec<String> {
    let jwks: Value = serde_json::from_str(&house.app.jwks()).unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
    keys.iter().map(kid).collect()
}

fn stored(house: &House) -> usize {
    let records = house.records();
    records.iter().filter(|(table, ..)| table == "Key").count()
}

fn sweep(house: &House) {
    Janitor::default().sweep(&house.app).unwrap();
}

// --- what a bot reads -------------------------------------------------------------------------------------

#[test]
fn an_identity_says_who_wrote_and_what_they_proved() {
    let house = house();
    let contact = house.contact(&ana());
    let token = identity(&house);
    let now = house.clock.now().seconds();
    assert_eq!(
        part(&token, 0),
        json!({"typ": "portero-identity+jwt", "alg": "EdDSA", "kid": published(&house)[0]})
    );
    let mut claims = part(&token, 1);
    // A mark for each of the bindings, for Portero itself.
    let users = claims.as_object_mut().unwrap().remove("users").unwrap();
    assert_eq!(
        URL_SAFE_NO_PAD
            .decode(users.as_str().unwrap())
            .unwrap()
            .len(),
        8
    );
    assert_eq!(
        claims,
        json!({
            "iss": "portero",
            "aud": "bot",
            "sub": contact.id.to_string(),
            "jti": "wamid.HBgLMzQ2MDAxMTEyMjI=",
            "iat": now,
            "exp": now + 300,
            "contact": {"userUuid": contact.id.to_string(), "language": "es", "numberEnding": "22"},
            "bindings": [{
                "service": "kutamma",
                "account": {"id": "u1-ana@example.com", "name": "Ana Pérez"},
                "company": {"id": "acme", "name": "Acme"},
                "proof": "mail_code",
                "provedAt": "2027-01-15T08:00:30Z",
                "scope": "full",
            }],
            "scopes": ["full"],
        })
    );
    let verified = house.app.identity(&token).unwrap();
    assert_eq!(
        (verified.contact, verified.message),
        (contact.id, message())
    );
    assert_eq!(verified.expires_at.seconds(), now + 300);
    house.clock.set(verified.expires_at.minus_ms(1));
    assert!(house.app.identity(&token).is_ok());
    house.clock.set(verified.expires_at);
    assert_eq!(house.app.identity(&token), Err(Refused::Expired));
}

#[test]
fn what_was_proved_after_the_message_is_not_in_its_identity() {
    let house = house();
    let mut contact = house.contact(&ana());
    let first = contact.bindings[0].proved_at;
    contact.bindings.push(Binding {
        service: ServiceName::parse("woku").unwrap(),
        proof: Proof::Password,
        proved_at: first.plus_ms(HOUR_MS),
        bound_since: first.plus_ms(HOUR_MS),
        ..contact.bindings[0].clone()
    });
    house.clock.set(first.plus_ms(2 * HOUR_MS));
    let told = |proved_before| {
        let token = house.app.identity_of(&contact, &message(), proved_before);
        let claims = part(token.reveal(), 1);
        let bindings = claims["bindings"].as_array().unwrap();
        let services = bindings.iter().map(|binding| binding["service"].clone());
        (services.collect::<Value>(), claims["scopes"].clone())
    };
    let second = first.plus_ms(HOUR_MS);
    assert_eq!(told(first.minus_ms(1)), (json!([]), json!([])));
    assert_eq!(told(first), (json!(["kutamma"]), json!(["full"])));
    assert_eq!(
        told(second.minus_ms(1)),
        (json!(["kutamma"]), json!(["full"]))
    );
    // No more than the least of them allows.
    assert_eq!(
        told(second),
        (json!(["kutamma", "woku"]), json!(["first_hours"]))
    );
}

#[test]
fn identities_are_from_the_public_address_and_hold_as_long_as_the_configuration_says() {
    let folder = folder();
    let file = folder.path().join("portero.toml");
    let written = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        format!("{written}[identity]\nlifetime_seconds = 60\n"),
    )
    .unwrap();
    let config = Config::load_for_the_store(&file).unwrap().config;
    let app = serve::open(&config).unwrap();
    let contact = with_bindings(1, "Ana", |_| "u1".to_owned());
    let token = app.identity_of(&contact, &message(), FOREVER);
    let claims = part(token.reveal(), 1);
    assert_eq!(claims["iss"], "https://portero.example.com");
    let seconds = |name: &str| claims[name].as_u64().unwrap();
    assert_eq!(seconds("exp") - seconds("iat"), 60);
    assert!(app.identity(token.reveal()).is_ok());
}

fn with_bindings(count: u64, name: &str, id: impl Fn(u64) -> String) -> Contact {
    let number = WaId::parse("34600111222").unwrap();
    let contact_id = ContactId([7; 16]);
    let mut contact = Contact::new(contact_id, None, Some(number), Language::Spanish, START);
    contact.bindings = (0..count)
        .map(|n| Binding {
            service: ServiceName::parse("kutamma").unwrap(),
            user_id: id(n),
            name: name.to_owned(),
            email: None,
            company: Company {
                id: id(n),
                name: name.to_owned(),
            },
            proof: Proof::MailCode,
            proof_id: ProofId([1; 16]),
            // The oldest is neither the first nor the last.
            proved_at: START.plus_ms((n + 7) % count * SECOND_MS),
            bound_since: START.plus_ms((n + 7) % count * SECOND_MS),
        })
        .collect();
    contact
}

#[test]
fn an_identity_is_never_longer_than_6_kib_and_loses_names_before_bindings_and_old_ones_first() {
    const BYTES_MAX: usize = 6 * 1024;
    let house = House::in_memory();
    house.clock.forward(HOUR_MS);
    let told = |contact: &Contact, message: &MessageId| {
        let token = house.app.identity_of(contact, message, FOREVER);
        let token = token.reveal();
        assert!(token.len() <= BYTES_MAX, "{}", token.len());
        assert_eq!(house.app.identity(token).unwrap().contact, contact.id);
        (token.len(), part(token, 1))
    };
    let short = |n: u64| format!("u{n}");
    let of = |claims: &Value| claims["bindings"].as_array().unwrap().clone();

    let name = "N".repeat(200);
    let (_, few) = told(&with_bindings(7, &name, short), &message());
    assert_eq!(of(&few).len(), 7);
    assert_eq!(of(&few)[0]["account"]["name"], json!(name));

    // Without names 25 of them fit, and then they are all there.
    let (_, more) = told(&with_bindings(25, &name, short), &message());
    assert_eq!(of(&more).len(), 25);
    for binding in of(&more) {
        assert_eq!(binding["account"]["name"], Value::Null);
        assert_eq!(binding["company"]["name"], Value::Null);
    }

    // The measure: 40 bindings with names of 200 characters, each of four bytes.
    let contact = with_bindings(40, &"𝔑".repeat(200), short);
    let (length, most) = told(&contact, &message());
    let kept: Vec<Value> = of(&most);
    let ids: Vec<&str> = kept
        .iter()
        .map(|b| b["account"]["id"].as_str().unwrap())
        .collect();
    assert!((20..40).contains(&ids.len()), "{ids:?}");
    // As many as there is room for.
    let one = serde_json::to_vec(&kept[0]).unwrap().len();
    assert!(length + (one + 3) * 4 / 3 > BYTES_MAX - 256, "{length}");
    // In their order, and without the oldest ones.
    let mut by_age: Vec<&Binding> = contact.bindings.iter().collect();
    by_age.sort_by_key(|binding| std::cmp::Reverse(binding.proved_at));
    let newest: Vec<&str> = by_age[..ids.len()]
        .iter()
        .map(|b| b.user_id.as_str())
        .collect();
    let all = contact.bindings.iter().map(|b| b.user_id.as_str());
    let expected: Vec<&str> = all.filter(|id| newest.contains(id)).collect();
    assert_eq!(ids, expected);
    assert_eq!(most["scopes"], json!(["full"]));

    // The longest that there can be: a message id and ids that JSON writes with six bytes for one.
    let longest = MessageId::parse(&"\"".repeat(MessageId::BYTES_MAX)).unwrap();
    let (_, worst) = told(
        &with_bindings(40, "\u{1}", |_| "\u{1}".repeat(200)),
        &longest,
    );
    assert_eq!(of(&worst).len(), 1);
}

#[test]
fn a_directory_token_names_the_user_and_is_no_identity() {
    let house = house();
    let mut contact = house.contact(&ana());
    contact.bindings[0].service = ServiceName::parse("directory").unwrap();
    let binding = &contact.bindings[0];
    let app = &house.app;
    let token = app.directory_token(&contact, binding, Scope::Full, 5 * MINUTE_MS);
    let now = house.clock.now().seconds();
    let mut claims = part(token.token.reveal(), 1);
    let jti = claims["jti"].take();
    assert_eq!(jti.as_str().unwrap().len(), 32);
    assert_eq!(
        claims,
        json!({
            "iss": "portero",
            "aud": "directory",
            "sub": "u1-ana@example.com",
            "jti": null,
            "iat": now,
            "exp": now + 300,
            "userUuid": contact.id.to_string(),
            "company": {"id": "acme", "name": "Acme"},
            "scope": "full",
        })
    );
    assert_eq!(token.expires_at.seconds(), now + 300);
    assert_eq!(part(token.token.reveal(), 0)["typ"], "JWT");
    assert_eq!(app.identity(token.token.reveal()), Err(Refused::Type));
    // Each is another one; none lives longer than ten minutes or allows more than was asked for.
    let other = app.directory_token(&contact, binding, Scope::FirstHours, DAY_MS);
    let claims = part(other.token.reveal(), 1);
    assert_ne!(claims["jti"], jti);
    assert_eq!(claims["exp"], json!(now + 600));
    assert_eq!(claims["scope"], "first_hours");
    let fresh = Binding {
        proof: Proof::Password,
        proved_at: house.clock.now(),
        bound_since: house.clock.now(),
        ..binding.clone()
    };
    let narrow = app.directory_token(&contact, &fresh, Scope::Full, MINUTE_MS);
    assert_eq!(part(narrow.token.reveal(), 1)["scope"], "first_hours");
}

/// What PyJWT, and Ed25519 of another library, say about a token.
fn in_python(house: &House, token: &str, audience: &str) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/verify_identity.py");
    let mut python = Command::new(interpreter())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let jwks: Value = serde_json::from_str(&house.app.jwks()).unwrap();
    let asked = json!({"jwks": jwks, "token": token, "issuer": "portero", "audience": audience});
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(asked.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_common_library_of_another_language_verifies_identities_with_the_published_keys() {
    let house = House::in_memory();
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    // The library has a clock of its own.
    let real = Timestamp(real.as_secs() * SECOND_MS);
    house.clock.set(real.minus_ms(MINUTE_MS));
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    house.sign_in(&ana(), "ana@example.com");
    let token = identity(&house);
    let answer = in_python(&house, &token, "bot");
    assert_eq!(answer["claims"], part(&token, 1));
    assert_eq!(answer["header"], part(&token, 0));
    house.app.rotate_keys(When::Now).unwrap();
    assert_eq!(in_python(&house, &token, "bot")["claims"], part(&token, 1));
    let newer = identity(&house);
    assert_ne!(kid(&newer), kid(&token));
    assert_eq!(in_python(&house, &newer, "bot")["claims"], part(&newer, 1));

    assert_eq!(
        in_python(&house, &token, "erp")["refused"],
        "InvalidAudienceError"
    );
    let mut altered: Vec<&str> = token.split('.').collect();
    let claims = part(&token, 1).to_string().replace("Acme", "Emca");
    let claims = URL_SAFE_NO_PAD.encode(claims);
    altered[1] = &claims;
    let refused = in_python(&house, &altered.join("."), "bot");
    assert_eq!(refused["refused"], "InvalidSignatureError");
    house.clock.set(real.minus_ms(6 * MINUTE_MS));
    let expired = identity(&house);
    assert_eq!(
        in_python(&house, &expired, "bot")["refused"],
        "ExpiredSignatureError"
    );
}

// --- keys take their turns --------------------------------------------------------------------------------

#[test]
fn by_age_a_new_key_is_published_before_it_signs_and_the_old_one_goes_when_its_tokens_are_dead() {
    let mut house = House::in_memory();
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    house.sign_in(&ana(), "ana@example.com");
    // The contact would be forgotten meanwhile.
    let contact = house.contact(&ana());
    let mint = |house: &House| {
        let token = house.app.identity_of(&contact, &message(), FOREVER);
        token.reveal().to_owned()
    };
    let old = published(&house);
    assert_eq!(old.len(), 1);
    let turn = START.plus_ms(90 * DAY_MS);
    house.clock.set(turn.minus_ms(PUBLISHED_BEFORE_MS + 1));
    sweep(&house);
    assert_eq!(published(&house), old);
    house.clock.set(turn.minus_ms(PUBLISHED_BEFORE_MS));
    sweep(&house);
    sweep(&house);
    let both = published(&house);
    assert_eq!((both.len(), &both[0]), (2, &old[0]));
    house = house.restarted();
    assert_eq!(published(&house), both);
    house.clock.set(turn.minus_ms(1));
    let last = mint(&house);
    assert_eq!(kid(&last), old[0]);
    // Nothing has to run for the turn itself.
    house.clock.set(turn);
    let first = mint(&house);
    assert_eq!(kid(&first), both[1]);
    assert!(house.app.identity(&last).is_ok() && house.app.identity(&first).is_ok());
    house = house.restarted();
    house
        .clock
        .set(turn.plus_ms(5 * MINUTE_MS).minus_ms(SECOND_MS + 1));
    assert!(house.app.identity(&last).is_ok(), "across a restart");
    house.clock.set(turn.plus_ms(KEPT_MS).minus_ms(1));
    sweep(&house);
    assert_eq!((published(&house), stored(&house)), (both.clone(), 2));
    assert_eq!(house.app.identity(&last), Err(Refused::Expired));
    house.clock.set(turn.plus_ms(KEPT_MS));
    assert_eq!(published(&house), both[1..]);
    assert_eq!(house.app.identity(&last), Err(Refused::Key));
    sweep(&house);
    assert_eq!(stored(&house), 1);
    assert_eq!(kid(&mint(&house.restarted())), both[1]);
}

#[test]
fn by_command_a_key_signs_at_once_or_soon_and_what_was_signed_before_still_has() {
    let house = house();
    let before = identity(&house);
    let Turned::Made { id, signs_from } = house.app.rotate_keys(When::Now).unwrap() else {
        panic!("no key was made");
    };
    assert_eq!(signs_from, house.clock.now());
    let after = identity(&house);
    assert_eq!(kid(&after), id);
    assert_ne!(kid(&before), id);
    for token in [&before, &after] {
        assert!(house.app.identity(token).is_ok());
    }
    let house = house.restarted();
    assert_eq!(kid(&identity(&house)), id);
    assert!(house.app.identity(&before).is_ok());

    let perform = |now| control::perform(&house.app, &Request::RotateKeys { now });
    let Answer::KeyMade {
        id: coming,
        signs_from_ms,
    } = perform(false)
    else {
        panic!("no key was made");
    };
    let signs_from = house.clock.now().plus_ms(PUBLISHED_BEFORE_MS);
    assert_eq!(signs_from_ms, signs_from.0);
    assert_eq!(kid(&identity(&house)), id);
    assert!(published(&house).contains(&coming));
    assert_eq!(perform(false), Answer::KeyComing { signs_from_ms });
    // At once is another one, and the one that has not begun goes.
    let Answer::KeyMade { id: sudden, .. } = perform(true) else {
        panic!("no key was made");
    };
    assert_eq!(kid(&identity(&house)), sudden);
    assert!(!published(&house).contains(&coming));
    assert_eq!(stored(&house), 3);
}

#[test]
fn a_revoked_key_is_published_no_more_and_nothing_that_it_signed_is_believed() {
    let house = house();
    let first = identity(&house);
    assert_eq!(house.app.revoke_key("another").unwrap(), Revoked::NoSuchKey);
    assert_eq!(published(&house), [kid(&first)]);

    // The only one: another one signs.
    let revoked = house.app.revoke_key(&kid(&first)).unwrap();
    let second = identity(&house);
    let made = Some(kid(&second));
    assert_eq!(revoked, Revoked::Gone { made });
    assert_eq!(published(&house), [kid(&second)]);
    assert_eq!(house.app.identity(&first), Err(Refused::Key));
    assert!(house.app.identity(&second).is_ok());

    // One whose turn is over goes alone, and one that is coming, too.
    house.clock.forward(SECOND_MS);
    house.app.rotate_keys(When::Now).unwrap();
    house.app.rotate_keys(When::Soon).unwrap();
    let [_, signing, coming] = &published(&house)[..] else {
        panic!("there are three");
    };
    for id in [&kid(&second), coming] {
        let revoked = house.app.revoke_key(id).unwrap();
        assert_eq!(revoked, Revoked::Gone { made: None });
    }
    assert_eq!(house.app.identity(&second), Err(Refused::Key));
    assert_eq!(published(&house), std::slice::from_ref(signing));

    // No older key is taken for one whose turn went on until now.
    let third = identity(&house);
    house.clock.forward(SECOND_MS);
    house.app.rotate_keys(When::Now).unwrap();
    let revoked = house.app.revoke_key(&kid(&identity(&house))).unwrap();
    assert!(matches!(revoked, Revoked::Gone { made: Some(_) }));
    assert_eq!(house.app.identity(&third), Err(Refused::Key));
    let house = house.restarted();
    assert_eq!(published(&house), [kid(&identity(&house))]);
    assert_eq!(stored(&house), 1);
}

#[test]
fn there_are_never_more_keys_than_the_limit() {
    let house = House::in_memory();
    for made in 1..KEYS_MAX {
        assert_eq!(stored(&house), made);
        house.clock.forward(SECOND_MS);
        let turned = house.app.rotate_keys(When::Now).unwrap();
        assert!(matches!(turned, Turned::Made { .. }));
    }
    let room_from = START.plus_ms(SECOND_MS + KEPT_MS);
    let full = Turned::Not(NoTurn::Full { room_from });
    assert_eq!(house.app.rotate_keys(When::Now).unwrap(), full);
    assert_eq!(house.app.rotate_keys(When::Soon).unwrap(), full);
    assert_eq!(stored(&house), KEYS_MAX);
    house.clock.set(room_from);
    house.app.rotate_keys(When::Now).unwrap();
    assert_eq!(stored(&house), KEYS_MAX);
}

#[test]
fn a_turn_that_fails_leaves_the_keys_as_they_were_and_one_of_unknown_end_is_found_by_the_next_sweep()
 {
    let house = House::in_memory();
    let before = published(&house);
    house.random.fails.store(true, Ordering::SeqCst);
    assert!(matches!(
        house.app.rotate_keys(When::Now),
        Err(Failed::Random(_))
    ));
    sweep(&house);
    house.random.fails.store(false, Ordering::SeqCst);
    house.memory().fail_operation(1, StoreError::Full);
    assert!(house.app.rotate_keys(When::Now).is_err());
    assert_eq!((published(&house), stored(&house)), (before.clone(), 1));

    house.memory().answer_unknown_at_commit(1);
    let unknown = house.app.rotate_keys(When::Soon);
    assert!(
        matches!(unknown, Err(Failed::Store(StoreError::Unknown))),
        "{unknown:?}"
    );
    assert_eq!((published(&house), stored(&house)), (before, 2));
    sweep(&house);
    assert_eq!((published(&house).len(), stored(&house)), (2, 2));
}

fn sealed(engine: &Arc<Memory>) -> (Sealed, Keys) {
    let key = MasterKey::from_hex(&"41".repeat(32)).unwrap();
    let engine = Arc::clone(engine) as Arc<dyn Engine>;
    (Sealed::open(engine, &key).unwrap(), Keys::new(key))
}

/// Another program on this engine, with the settings and the clock of the house.
fn app_on(house: &House, engine: &Arc<Memory>, random: Arc<dyn Random>) -> Result<App, Failed> {
    let (store, keys) = sealed(engine);
    let clock = Arc::clone(&house.clock) as Arc<dyn Clock>;
    App::new(store, keys, house.app.settings().clone(), clock, random)
}

#[test]
fn without_randomness_there_is_no_first_key_and_no_start() {
    let house = House::in_memory();
    house.random.fails.store(true, Ordering::SeqCst);
    let start = |engine: &Arc<Memory>| {
        let random = Arc::clone(&house.random) as Arc<dyn Random>;
        app_on(&house, engine, random)
    };
    let empty = Arc::new(Memory::new());
    assert!(matches!(start(&empty), Err(Failed::Random(_))));
    // A store that has its key needs none.
    let other = start(house.memory()).unwrap();
    assert_eq!(other.jwks(), house.app.jwks());
}

/// Randomness that comes once everybody has asked for it.
struct Together(Barrier);

impl Random for Together {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        self.0.wait();
        SystemRandom.fill(bytes)
    }
}

#[test]
fn starts_at_the_same_moment_on_one_store_agree_on_one_key() {
    const STARTS: usize = 4;
    let house = House::in_memory();
    let engine = Arc::new(Memory::new());
    // It has its mark already, so that only the key is raced for.
    sealed(&engine);
    let random = Arc::new(Together(Barrier::new(STARTS)));
    let start = || {
        let random = Arc::clone(&random) as Arc<dyn Random>;
        let app = app_on(&house, &engine, random).unwrap();
        serde_json::from_str::<Value>(&app.jwks()).unwrap()
    };
    let sets: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STARTS).map(|_| scope.spawn(start)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(sets[0]["keys"].as_array().unwrap().len(), 1);
    assert!(sets.iter().all(|set| *set == sets[0]), "{sets:?}");
}

// --- the command ------------------------------------------------------------------------------------------

fn keys(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = portero(folder);
    ended(command.arg("keys").args(arguments).output().unwrap())
}

fn listed(folder: &Path) -> Vec<(String, String)> {
    let (code, output, error) = keys(folder, &["list", "--json"]);
    assert_eq!(code, 0, "{error}");
    let keys: Vec<Value> = serde_json::from_str(&output).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys.iter()
        .map(|key| (text(&key["kid"]), text(&key["state"])))
        .collect()
}

/// Turns of keys, and what was said about them with names and moments left out.
fn story(folder: &Path) -> Vec<Ended> {
    let plain = |(code, output, error): Ended| {
        let plain = |text: String| {
            let words = text.split(' ').map(|word| {
                let bare = word.trim_end_matches(['\n', ';', ',']);
                let is_name = bare.len() == 43;
                let is_moment = bare.len() >= 8 && bare.starts_with(|c: char| c.is_ascii_digit());
                let tail = &word[bare.len()..];
                match (is_name, is_moment) {
                    (true, _) => format!("KEY{tail}"),
                    (_, true) => format!("TIME{tail}"),
                    _ => word.to_owned(),
                }
            });
            words.collect::<Vec<_>>().join(" ")
        };
        (code, plain(output), plain(error))
    };
    [
        &["rotate"][..],
        &["rotate"],
        &["rotate", "--now"],
        &["rotate", "--now", "--soon"],
    ]
    .map(|arguments| plain(keys(folder, arguments)))
    .into()
}

#[test]
fn keys_turn_by_command_the_same_with_a_server_and_without_and_in_these_words() {
    let (with, without) = (folder(), folder());
    assert_eq!(
        keys(without.path(), &["list"]).0,
        66,
        "a list makes no store"
    );
    let server = Server::start(with.path());
    Server::start(without.path()).stop();
    let first = listed(with.path());
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].1, "signing");
    let told = story(with.path());
    assert_eq!(told, story(without.path()));
    assert_eq!(
        told[..3],
        [
            (0, "KEY is published now and signs from TIME TIME UTC on; the key before it is published for another 11 minutes then\n".to_owned(), String::new()),
            (1, String::new(), "a new key is published already and signs from TIME TIME UTC on; nothing has been changed\nhint: `portero keys rotate --now` makes another one, which signs at once\n".to_owned()),
            (0, "KEY signs from now on; the key before it is published for another 11 minutes\nWhoever keeps the published keys and does not ask again when a key is unknown to them may refuse identities for up to 5 minutes.\n".to_owned(), String::new()),
        ]
    );
    assert_eq!(told[3].0, 64);
    // The running server has it: it is the one that was asked.
    let second = listed(with.path());
    let states: Vec<&str> = second.iter().map(|(_, state)| state.as_str()).collect();
    assert_eq!(states, ["verifying", "signing"]);
    assert_eq!(second[0].0, first[0].0);
    let (code, output, _) = keys(with.path(), &["rotate", "--json"]);
    let made: Value = serde_json::from_str(&output).unwrap();
    assert_eq!(code, 0);
    let third = listed(with.path());
    assert_eq!(
        third[2],
        (
            made["kid"].as_str().unwrap().to_owned(),
            "coming".to_owned()
        )
    );
    let (_, table, _) = keys(with.path(), &["list"]);
    assert!(table.starts_with("KEY  "), "{table}");
    assert_eq!(table.lines().count(), 4);
    assert!(
        table.contains(&format!("{}  signing", second[1].0)),
        "{table}"
    );
    let revoke = |id: &str| keys(with.path(), &["revoke", id]);
    let (code, output, error) = revoke(&second[1].0);
    let now = listed(with.path());
    let signing = &now.iter().find(|(_, state)| state == "signing").unwrap().0;
    let said = format!(
        "{signing} signs from now on\n{} is revoked\nWhoever keeps the published keys may believe it for up to 5 minutes more.\n",
        second[1].0
    );
    assert_eq!((code, output, error), (0, said, String::new()));
    assert!(
        !now.iter()
            .any(|(id, _)| *id == second[1].0 || *id == second[0].0)
    );
    let unknown = "there is no key of this name; nothing has been changed\nhint: `portero keys list` shows the names\n";
    assert_eq!(
        revoke(&second[1].0),
        (67, String::new(), unknown.to_owned())
    );
    server.stop();
    assert_eq!(listed(with.path()), now, "after the server has stopped");
}

#[test]
fn the_secret_of_a_key_is_in_no_log_no_answer_and_not_in_the_store_as_it_is_on_disk() {
    let folder = folder();
    let path = folder.path();
    let server = Server::start(path);
    let mut said = String::new();
    for arguments in [
        &["rotate", "--now"][..],
        &["rotate"],
        &["list"],
        &["list", "--json"],
    ] {
        let (_, output, error) = keys(path, arguments);
        said.push_str(&output);
        said.push_str(&error);
    }
    said.push_str(&server.stop());
    assert!(said.contains("there is a new signing key"), "{said}");
    let (store, _) = store(path);
    let keys = store.view(|reader| record::signing_keys(reader)).unwrap();
    drop(store);
    assert_eq!(keys.len(), 3);
    let file = fs::read(path.join("portero.redb")).unwrap();
    for key in &keys {
        let seed = &key.seed[..];
        let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            seed[..16].to_vec(),
            hex.as_bytes()[..16].to_vec(),
            STANDARD.encode(seed).as_bytes()[..16].to_vec(),
            URL_SAFE_NO_PAD.encode(seed).as_bytes()[..16].to_vec(),
            serde_json::to_vec(seed).unwrap()[..24].to_vec(),
            format!("{seed:?}").as_bytes()[..24].to_vec(),
        ];
        for form in &forms {
            assert!(!has(said.as_bytes(), form), "{said}");
            assert!(!has(&file, form), "in the store");
        }
        assert_eq!(format!("{key:?}"), format!("SigningKey({}, ..)", key.id));
    }
    // The search finds what is there.
    assert!(has(said.as_bytes(), keys[0].id.as_bytes()));
}

//! Keeping and giving back: people are forgotten for good, also by copies; copies are made, found
//! whole and put in the store's place (R-53, R-54, P-1 to P-5, P-8).

use crate::house::{Crowd, House, Person, Takes, failure, other_than};
use crate::outside::{eventually, has};
use crate::user::{self, CONFIG, Server, folder_with, now, portero, run, store};
use portero::app::{Clock, Issued, Janitor, TokenAnswer, TokenAsked, TokenWanted, Whom};
use portero::domain::account::{Account, Company};
use portero::domain::binding::{Binding, Proof};
use portero::domain::budget::Budget;
use portero::domain::contact::Contact;
use portero::domain::delivery::{Entry, EntryId, Errand, SignedBody};
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::{Bsuid, ContactId, EmailAddress, MessageId, ProofId, ServiceName, WaId};
use portero::domain::language::Language;
use portero::domain::secret::Secret;
use portero::domain::time::{DAY_MS, MINUTE_MS, Timestamp};
use portero::store::record::{self, BodyOf, DeadLetter, People};
use portero::store::redb::Options;
use portero::store::{Engine, Redb, Sealed, StoreError, Table};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Record = (String, Vec<u8>, Vec<u8>);

/// How somebody may be recognised in what is kept.
fn marks_of(contact: &Contact) -> Vec<Vec<u8>> {
    let id = contact.id.0;
    let mut marks = vec![
        id.to_vec(),
        contact.id.to_string().into_bytes(),
        contact.id.to_string().replace('-', "").into_bytes(),
        serde_json::to_vec(&id).unwrap(),
    ];
    marks.extend(contact.wa_id.iter().map(|id| id.as_str().into()));
    marks.extend(contact.bsuid.iter().map(|id| id.as_str().into()));
    let emails = contact.bindings.iter().filter_map(|b| b.email.as_ref());
    marks.extend(emails.map(|email| email.as_str().into()));
    marks
}

fn is_about(record: &Record, marks: &[Vec<u8>]) -> bool {
    let (_, key, value) = record;
    (marks.iter()).any(|mark| has(key, mark) || has(value, mark))
}

/// A house in which much is kept about everybody: waiting, given up, told, sent and written down.
fn busy() -> Crowd {
    let crowd = Crowd::in_house(House::that_tells(), 3);
    let house = &crowd.house;
    house.world.change(|outside| {
        outside.bot = Takes::Not(failure(FailureKind::Permanent, "no"));
    });
    for person in &crowd.people {
        house.ask(person, "given up");
    }
    house.world.change(|outside| {
        outside.bot = Takes::Not(Failure::temporary("later"));
    });
    for person in &crowd.people {
        house.ask(person, "waits");
    }
    crowd
}

// --- in the core ------------------------------------------------------------------------------------------

#[test]
fn who_is_forgotten_is_nowhere_and_everybody_else_is_as_before() {
    let crowd = busy();
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    let contact = house.contact(ana);
    let marks = marks_of(&contact);
    let before = house.records();
    let tables: BTreeSet<&str> = before
        .iter()
        .filter(|record| is_about(record, &marks))
        .map(|(table, ..)| table.as_str())
        .collect();
    for table in [
        "Contact", "Alias", "Outbox", "Dead", "Event", "Sent", "Audit",
    ] {
        assert!(
            tables.contains(table),
            "nothing about her in {table}: {tables:?}"
        );
    }

    let whom = Whom::Number(ana.wa_id.clone().unwrap());
    let would = house.app.would_forget(&whom).unwrap();
    assert_eq!(house.records(), before, "looking changed something");
    let forgotten = house.app.forget(&whom).unwrap();
    assert_eq!(forgotten, would);
    assert_eq!(forgotten.contacts, [contact.id]);
    assert_eq!(forgotten.unfinished, None);
    assert_eq!(house.memory().rewrites(), 1);
    assert_eq!(forgotten.counts["outbox"], 1);
    assert_eq!(forgotten.counts["dead"], 1);
    assert_eq!(forgotten.counts["body"], 2);

    let after = house.records();
    for record in &after {
        assert!(!is_about(record, &marks), "{record:?}");
    }
    // Everything of the others is there, byte by byte; a digest that was hers may be gone.
    let hers_by_digest = forgotten.counts["budget"] + forgotten.counts["body"];
    let gone: Vec<&Record> = before
        .iter()
        .filter(|record| !is_about(record, &marks) && !after.contains(record))
        .filter(|(table, ..)| table != "Meta")
        .collect();
    assert!(gone.len() <= hers_by_digest, "{gone:?}");
    for (table, key, _) in gone {
        assert!(table == "Budget" || table == "Body", "{table} {key:?}");
    }
    for other in &crowd.people[1..] {
        assert!(house.is_bound(other));
    }
    // What waited for her is dropped, and the others' goes on.
    house.world.change(|outside| outside.bot = Takes::It);
    house.later(DAY_MS);
    assert_eq!(house.handed_on().len(), 2);
}

#[test]
fn who_was_forgotten_and_writes_again_is_somebody_new() {
    let crowd = busy();
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    let before = house.contact(ana);
    house.app.forget(&Whom::User(before.id)).unwrap();
    house.ask(ana, "hola");
    let after = house.contact(ana);
    assert_ne!(after.id, before.id);
    assert!(!after.is_bound());
    assert_eq!(after.created_at, house.clock.now());
    assert_eq!(house.app.find_contacts(&Whom::User(before.id)).unwrap(), []);
}

/// She is looked for while others go on; so what came about her meanwhile is looked for again.
#[test]
fn what_came_about_somebody_while_she_was_looked_for_goes_before_the_file_is_written_anew() {
    let crowd = busy();
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    let contact = house.contact(ana);
    let marks = marks_of(&contact);
    house.app.forget(&Whom::User(contact.id)).unwrap();
    let (store, keys) = house.store_and_keys();
    let sent = record::Sent {
        entry: EntryId(77),
        contact: contact.id,
        sentence: "late".into(),
        at: house.clock.now(),
        status: portero::domain::message::Status::Sent,
    };
    store
        .update(move |writer| {
            record::put_sent(
                writer,
                &keys,
                &MessageId::parse("wamid.late").unwrap(),
                &sent,
            )?;
            record::put_unfinished_erasure(writer, 5)
        })
        .unwrap();
    let about_her = || {
        house
            .records()
            .iter()
            .filter(|one| is_about(one, &marks))
            .count()
    };
    assert_eq!(about_her(), 1);
    assert!(house.app.finish_erasure().unwrap());
    assert_eq!((about_her(), house.memory().rewrites()), (0, 2));
}

/// Between the search and the end a name may come into other hands.
#[test]
fn a_name_that_is_somebody_elses_by_now_is_not_erased_with_its_former_owner() {
    let (store, keys) = House::in_memory().store_and_keys();
    let number = WaId::parse(ANA_NUMBER).unwrap();
    let ana = signed_in(ANA, ANA_NUMBER, None, ANA_EMAIL, Timestamp(1));
    let (alias, own_keys) = (number.clone(), keys.clone());
    let contact = ana.clone();
    store
        .update(move |writer| {
            record::put_contact(writer, &contact)?;
            record::put_wa_id(writer, &own_keys, &alias, ANA)
        })
        .unwrap();
    let people = People {
        contacts: vec![ana],
        ..People::default()
    };
    let traces = store
        .view(|reader| record::traces(reader, &keys, &people))
        .unwrap();
    assert_eq!(traces.counts()["alias"], 1);
    let (alias, own_keys) = (number.clone(), keys.clone());
    store
        .update(move |writer| {
            record::put_wa_id(writer, &own_keys, &alias, BEA)?;
            traces.erase(writer).map(|_| ())
        })
        .unwrap();
    let of = store.view(|reader| record::contact_of_wa_id(reader, &keys, &number));
    assert_eq!(of.unwrap(), Some(BEA));
    assert_eq!(
        store.view(|reader| record::contact(reader, ANA)).unwrap(),
        None
    );
}

/// P-6: each kind of record goes on its day, however many there are, and not before.
#[test]
fn what_is_old_is_removed_at_once_when_the_operator_wishes_it() {
    let crowd = busy();
    let house = &crowd.house;
    // More than one batch of what ends with their writers.
    for number in 0..600 {
        house.ask(&Person::with_number(&format!("3460{number:07}")), "hola");
    }
    let count = |removed: &std::collections::BTreeMap<&str, usize>, kind| removed[kind];
    let removed = house.app.remove_what_is_old().unwrap();
    assert_eq!(removed.values().sum::<usize>(), 0, "{removed:?}");
    let kinds: Vec<&str> = portero::app::KEPT_MS
        .iter()
        .map(|(kind, _)| *kind)
        .collect();
    assert_eq!(
        removed.keys().copied().collect::<BTreeSet<_>>(),
        kinds.iter().copied().collect()
    );

    house.clock.forward(6 * DAY_MS);
    let removed = house.app.remove_what_is_old().unwrap();
    assert_eq!(
        (count(&removed, "contact"), count(&removed, "sent")),
        (0, 0),
        "{removed:?}"
    );
    house.clock.forward(2 * DAY_MS);
    let removed = house.app.remove_what_is_old().unwrap();
    assert_eq!(count(&removed, "contact"), 600, "{removed:?}");
    assert!(count(&removed, "sent") > 600, "{removed:?}");
    assert_eq!((count(&removed, "seen"), count(&removed, "dead")), (0, 0));
    house.clock.forward(3 * DAY_MS);
    let removed = house.app.remove_what_is_old().unwrap();
    assert!(count(&removed, "seen") > 600, "{removed:?}");
    house.clock.forward(30 * DAY_MS);
    let removed = house.app.remove_what_is_old().unwrap();
    assert_eq!(
        (count(&removed, "dead"), count(&removed, "contact")),
        (3, 0),
        "{removed:?}"
    );
    assert!(count(&removed, "event") >= 3, "{removed:?}");
    house.clock.forward(200 * DAY_MS);
    let removed = house.app.remove_what_is_old().unwrap();
    assert_eq!(count(&removed, "contact"), 3, "{removed:?}");
    assert!(count(&removed, "audit") > 3, "{removed:?}");
    assert_eq!(house.contacts().len(), 0);
}

/// She wishes it in the chat; what is sent back to her is not lost over it.
fn wish_to_be_forgotten(house: &House, person: &Person) {
    house.ask(person, "olvídame");
    house.ask(person, "sí, olvídame");
}

#[test]
fn who_wishes_it_in_the_chat_is_nobody_at_once_and_soon_nowhere() {
    let crowd = busy();
    let (house, ana, eva) = (&crowd.house, &crowd.people[0], &crowd.people[1]);
    let (contact, other) = (house.contact(ana), house.contact(eva));
    let marks = marks_of(&contact);
    wish_to_be_forgotten(house, ana);
    assert!(
        house
            .said_to(ana)
            .pop()
            .unwrap()
            .contains("empezamos de cero")
    );
    assert_eq!(house.audited("contact.released.forgotten"), 1);
    // Nobody from now on, and not erased before what is on its way has left.
    let by_number = house
        .app
        .find_contacts(&Whom::Number(ana.wa_id.clone().unwrap()));
    assert_eq!(by_number.unwrap(), []);
    assert_eq!(house.app.forget_who_wished_it().unwrap(), 0);

    house.later(MINUTE_MS);
    assert_eq!(house.app.forget_who_wished_it().unwrap(), 1);
    assert_eq!(house.memory().rewrites(), 1);
    for record in house.records() {
        assert!(!is_about(&record, &marks), "{record:?}");
    }
    assert_eq!(house.contact(eva), other);
    assert_eq!(house.app.forget_who_wished_it().unwrap(), 0);
    house.ask(ana, "hola");
    let again = house.contact(ana);
    assert!(again.id != contact.id && !again.is_bound());
}

/// Whatever an operator did to the user of the directory whom they were signed in as, until then.
#[test]
fn who_is_forgotten_is_in_no_line_about_a_user_of_the_directory_either() {
    for by_wish in [false, true] {
        let crowd = Crowd::new(2);
        let (house, ana) = (&crowd.house, &crowd.people[0]);
        let bound = |person: &Person| house.contact(person).bindings[0].clone();
        let (hers, others) = (bound(ana), bound(&crowd.people[1]));
        let (store, keys) = house.store_and_keys();
        for binding in [&hers, &others] {
            let user = record::User {
                id: binding.user_id.clone(),
                email: binding.email.clone().unwrap(),
                name: binding.name.clone(),
                company: binding.company.clone(),
                phone: None,
                password_hash: None,
            };
            let keys = keys.clone();
            let put = store.update(move |writer| record::put_user(writer, &keys, &user));
            put.unwrap();
        }
        let set_password = |binding: &Binding| {
            let password = Secret::new("doce perros verdes");
            let email = binding.email.as_ref().unwrap();
            assert!(house.app.set_password(email, &password).unwrap());
        };
        let named = || -> Vec<Option<String>> {
            let lines = house.overview().audit.into_iter().rev();
            let lines = lines.filter(|line| line.event == "user.password_set");
            lines.map(|line| line.directory_user).collect()
        };
        set_password(&hers);
        set_password(&others);
        let [of_her, of_other] = [&hers, &others].map(|binding| Some(binding.user_id.clone()));
        assert_ne!(of_her, of_other);
        assert_eq!(named(), [of_her.clone(), of_other.clone()]);
        if by_wish {
            wish_to_be_forgotten(house, ana);
            house.later(MINUTE_MS);
            assert_eq!(house.app.forget_who_wished_it().unwrap(), 1);
        } else {
            let whom = Whom::Number(ana.wa_id.clone().unwrap());
            house.app.forget(&whom).unwrap();
        }
        assert_eq!(named(), [None, of_other.clone()], "by wish: {by_wish}");
        house.later(MINUTE_MS);
        set_password(&hers);
        assert_eq!(named(), [None, of_other, of_her]);
        assert_eq!(house.app.verify_audit(None).unwrap().faults, []);
    }
}

#[test]
fn many_who_wish_it_are_forgotten_together_and_not_one_by_one() {
    let crowd = Crowd::new(4);
    let house = &crowd.house;
    wish_to_be_forgotten(house, &crowd.people[0]);
    house.later(MINUTE_MS);
    assert_eq!(house.app.forget_who_wished_it().unwrap(), 1);
    for person in &crowd.people[1..] {
        wish_to_be_forgotten(house, person);
    }
    house.later(2 * MINUTE_MS);
    assert_eq!(house.app.forget_who_wished_it().unwrap(), 0);
    house.later(portero::app::FORGET_EVERY_MS);
    assert_eq!(house.app.forget_who_wished_it().unwrap(), 3);
    assert_eq!((house.memory().rewrites(), house.contacts().len()), (2, 0));
}

/// Being forgotten would else be a way around the wrong codes of a day, and around the owner of an
/// account who ended a sign-in.
#[test]
fn being_forgotten_lifts_no_limit() {
    let house = House::in_memory();
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    let mallory = Person::with_number("34600333444");
    house.ask(&mallory, "ana@example.com");
    let code = house.code();
    for _ in 0..4 {
        house.ask(&mallory, &other_than(&code));
    }
    let before = house.contact(&mallory);
    wish_to_be_forgotten(&house, &mallory);
    house.later(MINUTE_MS);
    house.app.forget_who_wished_it().unwrap();
    house.ask(&mallory, "hola");
    let after = house.contact(&mallory);
    assert_ne!(after.id, before.id);
    assert_eq!(after.failures, before.failures);
    assert_eq!(after.codes, before.codes);
    assert!(after.replies.moments().len() > before.replies.moments().len());
    // They end like all that is counted.
    house.later(3 * DAY_MS);
    wish_to_be_forgotten(&house, &mallory);
    let mut janitor = Janitor::default();
    house.later(3 * DAY_MS);
    janitor.sweep(&house.app).unwrap();
    house.ask(&mallory, "hola");
    assert_eq!(house.contact(&mallory).failures, Budget::default());
}

#[test]
fn whatever_fails_when_somebody_wished_it_she_is_gone_in_the_end() {
    for nth in 1.. {
        let crowd = Crowd::new(2);
        let (house, ana) = (&crowd.house, &crowd.people[0]);
        let marks = marks_of(&house.contact(ana));
        wish_to_be_forgotten(house, ana);
        house.later(MINUTE_MS);
        let operations = house.memory().operations();
        let error = StoreError::Unavailable("on purpose".into());
        house.memory().fail_operation(nth, error);
        let first = house.app.forget_who_wished_it();
        let reached = house.memory().operations() - operations >= nth;
        house
            .memory()
            .fail_operation(u64::from(u32::MAX), StoreError::Full);
        if first.is_err() {
            assert_eq!(house.app.forget_who_wished_it().unwrap(), 1, "{nth}");
        }
        house.app.finish_erasure().unwrap();
        for record in house.records() {
            assert!(!is_about(&record, &marks), "{nth} {record:?}");
        }
        assert!(house.memory().rewrites() >= 1 && house.is_bound(&crowd.people[1]));
        if !reached {
            assert!(nth > 20, "{nth}");
            return;
        }
    }
}

#[test]
fn an_address_leads_to_who_is_signed_in_with_it_and_to_nobody_who_only_typed_it() {
    let house = House::in_memory();
    let (ana, other) = (
        Person::with_number("34600111222"),
        Person::with_number("34600333444"),
    );
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    house.sign_in(&ana, "ana@example.com");
    house.ask(&other, "hola");
    house.ask(&other, "ana@example.com");
    let email = EmailAddress::parse("ANA@example.com").unwrap();
    let forgotten = house.app.forget(&Whom::Email(email.clone())).unwrap();
    assert_eq!(forgotten.contacts.len(), 1);
    assert_eq!(house.contacts().len(), 1);
    assert!(house.contact(&other).wa_id == other.wa_id);
    let marks = [b"ana@example.com".to_vec()];
    for record in house.records() {
        assert!(!is_about(&record, &marks), "{record:?}");
    }
    assert_eq!(house.app.find_contacts(&Whom::Email(email)).unwrap(), []);
}

/// P-2: whichever operation fails, she is wholly there or wholly gone, and what is left to do is
/// done the next time.
#[test]
fn whatever_fails_on_the_way_she_is_there_or_gone_and_it_is_finished_later() {
    let (mut whole, mut unfinished) = (0, 0);
    for nth in 1.. {
        let crowd = Crowd::new(1);
        let (house, ana) = (&crowd.house, &crowd.people[0]);
        let contact = house.contact(ana);
        let marks = marks_of(&contact);
        let before = house.records();
        let about_her =
            |records: &[Record]| (records.iter().filter(|record| is_about(record, &marks))).count();
        let operations = house.memory().operations();
        let error = StoreError::Unavailable("on purpose".into());
        house.memory().fail_operation(nth, error);
        let forgotten = house.app.forget(&Whom::User(contact.id));
        let reached = house.memory().operations() - operations >= nth;
        house
            .memory()
            .fail_operation(u64::from(u32::MAX), StoreError::Full);
        match forgotten {
            Err(_) => {
                whole += 1;
                assert_eq!(house.records(), before, "operation {nth}");
                house.app.forget(&Whom::User(contact.id)).unwrap();
            }
            Ok(forgotten) => {
                assert_eq!(about_her(&house.records()), 0, "operation {nth}");
                if forgotten.unfinished.is_some() {
                    unfinished += 1;
                    assert!(house.app.finish_erasure().unwrap());
                } else if !reached {
                    // It came to its end before anything failed.
                    assert!(whole > 20 && unfinished >= 3, "{whole} {unfinished}");
                    return;
                }
            }
        }
        assert!(house.memory().rewrites() >= 1);
        assert_eq!(about_her(&house.records()), 0, "operation {nth}");
        assert!(!house.app.finish_erasure().unwrap(), "operation {nth}");
    }
}

#[test]
fn an_erasure_of_which_nobody_knows_whether_it_happened_is_finished_if_it_did() {
    let crowd = Crowd::new(1);
    let (house, ana) = (&crowd.house, &crowd.people[0]);
    let id = house.contact(ana).id;
    house.memory().answer_unknown_at_commit(1);
    assert!(house.app.forget(&Whom::User(id)).is_err());
    assert_eq!(house.memory().rewrites(), 0);
    assert!(house.app.finish_erasure().unwrap());
    assert_eq!((house.memory().rewrites(), house.contacts().len()), (1, 0));
}

fn ask_for_token(house: &House, contact: ContactId) -> TokenAnswer {
    let issue = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
        Ok(Issued {
            token: Secret::new("a token"),
            token_type: "Bearer".into(),
            expires_in_seconds: 3_600,
        })
    };
    let asked = TokenAsked {
        contact,
        service: ServiceName::parse("kutamma").unwrap(),
        account: None,
        company: None,
        users: portero::app::Users::default(),
        scope: None,
        first_hours_only: false,
    };
    house.app.token(&asked, &issue).unwrap()
}

#[test]
fn tokens_die_with_a_sign_out_and_with_an_erasure_and_those_of_others_live() {
    let crowd = Crowd::new(2);
    let (house, people) = (&crowd.house, &crowd.people);
    let ids = [house.contact(&people[0]).id, house.contact(&people[1]).id];
    for id in ids {
        assert!(matches!(
            ask_for_token(house, id),
            TokenAnswer::Token { .. }
        ));
    }
    assert_eq!(house.app.log_out(&Whom::User(ids[0])).unwrap(), (1, 1));
    assert!(!house.is_bound(&people[0]) && house.is_bound(&people[1]));
    assert_eq!(house.audited("contact.released.operator"), 1);
    assert_eq!(house.app.log_out(&Whom::User(ids[0])).unwrap(), (0, 1));
    let forgotten = |id| house.app.forget(&Whom::User(id)).unwrap().tokens;
    assert_eq!(forgotten(ids[0]), 0, "the sign-out dropped it");
    assert_eq!(forgotten(ids[1]), 1);
    let answer = ask_for_token(house, ids[1]);
    assert!(!matches!(answer, TokenAnswer::Token { .. }), "{answer:?}");
}

/// Else one bad record would keep everybody signed in, and everybody waiting who writes meanwhile.
#[test]
fn somebody_is_logged_out_by_address_or_number_without_a_look_at_others() {
    let crowd = Crowd::new(3);
    let (house, people) = (&crowd.house, &crowd.people);
    let contacts = [0, 1, 2].map(|place| house.contact(&people[place]));
    let other = contacts[2].id.0;
    (&**house.memory() as &dyn Engine)
        .update(move |writer| writer.put(Table::Contact, &other, b"damaged"))
        .unwrap();
    let address = contacts[0].bindings[0].email.clone().unwrap();
    let number = contacts[1].wa_id.clone().unwrap();
    for (whom, contact) in [
        (Whom::Email(address), &contacts[0]),
        (Whom::Number(number), &contacts[1]),
    ] {
        let found = house.app.find_contacts(&whom).unwrap();
        assert_eq!(found, std::slice::from_ref(contact));
        assert_eq!(house.app.log_out(&whom).unwrap(), (1, 1));
        let of_contact = house.app.find_contacts(&Whom::User(contact.id)).unwrap();
        assert!(!of_contact[0].is_bound());
    }
}

// --- with the real program --------------------------------------------------------------------------------

const ANA: ContactId = ContactId([0x3f; 16]);
const BEA: ContactId = ContactId([0xbe; 16]);
const ANA_NUMBER: &str = "34600111222";
const ANA_EMAIL: &str = "ana@example.com";
const ANA_BSUID: &str = "ES.13491208655302741918";
const WORDS: &str = "where are my orders";

pub fn signed_in(
    id: ContactId,
    number: &str,
    bsuid: Option<&str>,
    email: &str,
    now: Timestamp,
) -> Contact {
    let number = WaId::parse(number).ok();
    let bsuid = bsuid.map(|bsuid| Bsuid::parse(bsuid).unwrap());
    let mut contact = Contact::new(id, bsuid, number, Language::Spanish, now.minus_ms(DAY_MS));
    let account = Account {
        service: ServiceName::parse("directory").unwrap(),
        user_id: format!("u-of-{email}"),
        name: "Ana Pérez".into(),
        email: EmailAddress::parse(email).unwrap(),
        phone: None,
        company: Company {
            id: "acme".into(),
            name: "Acme".into(),
        },
    };
    let proof = ProofId(id.0);
    contact.bindings = vec![Binding::new(account, Proof::MailCode, proof, now)];
    contact.last_message_at = now;
    contact
}

/// Ana, of whom there is a message that was given up, Bea, and more of whom nothing is asked.
fn fill(folder: &Path, more: usize) {
    fs::set_permissions(
        folder.join("portero.toml"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let (store, keys) = store(folder);
    let at = now();
    store
        .update(move |writer| {
            let ana = signed_in(ANA, ANA_NUMBER, Some(ANA_BSUID), ANA_EMAIL, at);
            let bea = signed_in(BEA, "34600999888", None, "bea@example.com", at);
            for contact in [&ana, &bea] {
                record::put_contact(writer, contact)?;
                record::put_wa_id(writer, &keys, contact.wa_id.as_ref().unwrap(), contact.id)?;
                record::put_addresses(writer, &keys, None, contact)?;
            }
            record::put_bsuid(writer, &keys, ana.bsuid.as_ref().unwrap(), ANA)?;
            for number in 0..more {
                let mut id = [0x77; 16];
                id[..8].copy_from_slice(&number.to_be_bytes());
                let email = format!("user{number}@example.com");
                let number = format!("346{number:08}");
                record::put_contact(writer, &signed_in(ContactId(id), &number, None, &email, at))?;
            }
            let errand = Errand::HandOn {
                message: None,
                origin: EntryId(7),
            };
            let body = SignedBody {
                bytes: json!({"from": ANA_NUMBER, "text": WORDS, "more": "x".repeat(100_000)})
                    .to_string()
                    .into_bytes(),
                signature: "sha256=00".into(),
            };
            record::put_body(writer, BodyOf::Entry(EntryId(7)), &body)?;
            record::put_dead(
                writer,
                &DeadLetter {
                    entry: Entry::new(EntryId(7), ANA, errand, at, at.plus_ms(DAY_MS)),
                    at,
                    reason: "the bot answered 500".into(),
                },
            )
        })
        .unwrap();
}

fn filled() -> tempfile::TempDir {
    let folder = folder_with(CONFIG);
    fill(folder.path(), 0);
    folder
}

fn fine(folder: &Path, arguments: &[&str]) -> String {
    let (code, output, error) = run(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}: {error}");
    output
}

fn contacts(folder: &Path) -> Vec<String> {
    let listed = fine(folder, &["contact", "list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let mut ids: Vec<String> = (listed.iter())
        .map(|contact| contact["userUuid"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

/// How Ana is found in a file: by what names her, and by pieces of the sealed records about her,
/// which stay readable in free pages for who has the key. While nobody else has the store.
fn marks_of_ana(folder: &Path) -> Vec<Vec<u8>> {
    let id = ANA.to_string();
    let names: [&[u8]; 6] = [
        &ANA.0,
        id.as_bytes(),
        ANA_NUMBER.as_bytes(),
        ANA_EMAIL.as_bytes(),
        ANA_BSUID.as_bytes(),
        WORDS.as_bytes(),
    ];
    let mut marks: Vec<Vec<u8>> = names.map(<[u8]>::to_vec).into();
    let engine = Redb::open(&folder.join("portero.redb"), Options::default()).unwrap();
    let body = EntryId(7).0.to_be_bytes();
    for (table, key) in [(Table::Contact, &ANA.0[..]), (Table::Body, &body)] {
        let sealed = (&engine as &dyn Engine).view(|reader| reader.get(table, key));
        let sealed = sealed.unwrap().unwrap();
        let pieces = sealed.chunks_exact(32).step_by(600);
        marks.extend(pieces.map(<[u8]>::to_vec));
    }
    marks
}

/// Every file of the folder with a trace of her.
fn traces_of_ana(folder: &Path, marks: &[Vec<u8>]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(traces_of_ana(&path, marks));
        } else if let Ok(bytes) = fs::read(&path)
            && marks.iter().any(|mark| has(&bytes, mark))
        {
            found.push(path);
        }
    }
    found
}

fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder.join("snapshots")) else {
        return Vec::new();
    };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// What an operator does with people, and what is said.
fn story(path: &Path) -> Vec<(i32, String, String)> {
    let ana = ANA.to_string();
    let mut said: Vec<_> = [
        &["contact", "list"][..],
        &["contact", "show", &ana],
        &["contact", "show", "--number", "+34 600-111-222"],
        &["contact", "show", "--email", "nobody@example.com"],
        &["contact", "show", "ana"],
        &["contact", "show"],
        &["contact", "show", &ana, "--number", "1"],
        &["contact", "logout", "--email", "bea@example.com"],
        &["contact", "logout", &BEA.to_string()],
        &["contact", "forget", "--number", ANA_NUMBER, "--dry-run"],
        &["contact", "forget", "--number", ANA_NUMBER],
        &["contact", "forget", "--number", ANA_NUMBER, "--json"],
        &["contact", "forget", &ana],
        &["export", "--user", &ana],
        &["retention", "run"],
        &["retention", "run", "--json"],
    ]
    .iter()
    .map(|arguments| run(path, arguments))
    .collect();
    for (_, output, _) in &mut said {
        // Moments differ.
        *output = (output.lines())
            .map(|line| match line.find(" 20") {
                Some(at) if line[at + 1..].starts_with("20") => line[..at].to_owned(),
                _ => line.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\n");
    }
    said
}

#[test]
fn people_are_seen_and_forgotten_the_same_with_a_server_and_without() {
    let (with, without) = (filled(), filled());
    let server = Server::start(with.path());
    let said = story(with.path());
    assert_eq!(said, story(without.path()));
    let log = server.stop();
    for word in [ANA_NUMBER, ANA_EMAIL, "Ana", "bea@"] {
        assert!(!log.contains(word), "{word} is in the log: {log}");
    }
    let codes: Vec<i32> = said.iter().map(|(code, ..)| *code).collect();
    assert_eq!(
        codes,
        [0, 0, 0, 67, 64, 64, 64, 0, 0, 0, 0, 0, 67, 67, 0, 0],
        "{said:#?}"
    );
    let list = &said[0].1;
    assert!(
        list.lines().all(|line| line.chars().count() <= 80),
        "{list}"
    );
    assert!(list.contains("3f3f3f3f…  …22     es"), "{list}");
    assert!(
        !list.contains("Ana") && !list.contains(ANA_NUMBER),
        "{list}"
    );
    let shown = &said[1].1;
    assert_eq!(shown, &said[2].1);
    assert!(
        shown.contains("signed in to directory: Ana Pérez <ana@example.com> of Acme"),
        "{shown}"
    );
    assert!(shown.contains("number …22"), "{shown}");
    assert!(!shown.contains(ANA_NUMBER), "{shown}");
    assert_eq!(said[7].1, "1 sign-in of 1 contact ended");
    assert_eq!(said[8].1, "not signed in; nothing has changed");
    let (would, did) = (&said[9].1, &said[10].1);
    assert!(
        would.starts_with("1 contact would be forgotten:"),
        "{would}"
    );
    assert!(did.starts_with("forgotten for good, 1 contact:"), "{did}");
    let records = "  records: alias 3, audit 2, body 1, contact 1, dead 1";
    assert!(
        would.contains(records) && did.contains(records),
        "{would}\n{did}"
    );
    assert!(
        did.contains("Erase it elsewhere, too:\n  - WhatsApp"),
        "{did}"
    );
    assert!(did.lines().all(|line| line.chars().count() <= 80), "{did}");
    let again: Value = serde_json::from_str(&said[11].1).unwrap();
    assert_eq!(again["userUuids"], json!([]));
    assert!(again["eraseElsewhere"].as_array().unwrap().len() >= 4);
    assert_eq!(contacts(with.path()), [BEA.to_string()]);
}

#[test]
fn all_that_is_kept_about_one_person_is_given_to_them_and_nothing_of_others() {
    let folder = filled();
    {
        let (store, _) = store(folder.path());
        let id = MessageId::parse("wamid.waits").unwrap();
        let body = SignedBody {
            bytes: json!({"text": "it waits"}).to_string().into_bytes(),
            signature: "sha256=00".into(),
        };
        let kept = store.update(move |writer| record::put_kept_body(writer, ANA, &id, &body));
        kept.unwrap();
    }
    for by in [
        ["--user", &ANA.to_string()],
        ["--number", ANA_NUMBER],
        ["--email", ANA_EMAIL],
    ] {
        let output = fine(folder.path(), &["export", by[0], by[1]]);
        let all: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(all["userUuids"], json!([ANA.to_string()]));
        let contact = &all["kept"]["contact"][0];
        assert_eq!(contact["wa_id"], json!(ANA_NUMBER));
        assert_eq!(contact["bindings"][0]["email"], json!(ANA_EMAIL));
        let proved_at = contact["bindings"][0]["proved_at"].as_str().unwrap();
        assert!(proved_at.starts_with("20"), "{proved_at}");
        assert_eq!(all["kept"]["body"][0]["text"], json!("it waits"));
        assert_eq!(all["kept"]["body"][1]["text"], json!(WORDS));
        assert_eq!(
            all["kept"]["dead"][0]["reason"],
            json!("the bot answered 500")
        );
        assert!(!output.contains("bea@") && !output.contains("34600999888"));
    }
}

/// P-1.
#[test]
fn nothing_of_who_was_forgotten_is_in_any_file_while_the_server_runs() {
    let folder = filled();
    let path = folder.path();
    let marks = marks_of_ana(path);
    let server = Server::start(path);
    fine(path, &["contact", "forget", "--number", "34600999777"]);
    let before = snapshots(path);
    assert_eq!(before.len(), 1);
    // And one from before a change of the format.
    let way_back = path.join("snapshots/before-format-2-portero-20260101T000000.000Z.redb");
    fs::copy(&before[0], &way_back).unwrap();
    let traces = traces_of_ana(path, &marks);
    assert_eq!(traces.len(), 3, "the store and its snapshots: {traces:?}");
    fine(path, &["contact", "forget", "--email", ANA_EMAIL]);
    assert_eq!(traces_of_ana(path, &marks), Vec::<PathBuf>::new());
    let after = snapshots(path);
    assert_eq!(after.len(), 1);
    assert_ne!(after, before);
    // The server goes on, on the file that is there now.
    fine(path, &["contact", "logout", &BEA.to_string()]);
    let log = server.stop();
    assert!(!log.contains(ANA_EMAIL), "{log}");
    assert!(log.contains("there is no way back to the version"), "{log}");
    assert_eq!(contacts(path), [BEA.to_string()]);
    assert_eq!(
        fine(path, &["contact", "list"])
            .matches("directory")
            .count(),
        0
    );
}

/// P-2, with the real program: killed after any time, she is there as before or wholly gone, and the
/// next command leaves no trace of who is gone.
#[test]
fn killed_on_the_way_she_is_there_or_gone_without_a_trace() {
    const KILLS: u32 = 12;
    let (mut gone, mut there) = (0, 0);
    let mut whole = Duration::ZERO;
    for kill in 0..=KILLS {
        let folder = folder_with(CONFIG);
        let path = folder.path();
        fill(path, 500);
        let marks = marks_of_ana(path);
        let started = Instant::now();
        let mut child = portero(path)
            .args(["contact", "forget", "--number", ANA_NUMBER])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if kill == 0 {
            // The first one tells how long it takes.
            child.wait().unwrap();
            whole = started.elapsed();
        } else {
            // Anywhere between the start of the program and its end is right.
            std::thread::park_timeout(whole * kill / KILLS);
        }
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        let known = contacts(path);
        if known.contains(&ANA.to_string()) {
            there += 1;
            assert_eq!(known.len(), 502);
            fine(path, &["contact", "forget", "--number", ANA_NUMBER]);
        } else {
            gone += 1;
        }
        assert_eq!(
            traces_of_ana(path, &marks),
            Vec::<PathBuf>::new(),
            "kill {kill}"
        );
        assert_eq!(contacts(path).len(), 501);
    }
    assert!(there > 0 && gone > 0, "{there} {gone}");
}

/// P-2, at the step that a kill seldom meets: the transaction is done, and nothing after it.
#[test]
fn what_an_interrupted_erasure_left_in_the_file_goes_with_the_next_start() {
    let folder = filled();
    let path = folder.path();
    let marks = marks_of_ana(path);
    let (store, keys) = store(path);
    // Something behind her records, so that the file is not simply cut off where they were.
    store
        .update(|writer| {
            let body = SignedBody {
                bytes: vec![b'x'; 300_000],
                signature: String::new(),
            };
            record::put_body(writer, BodyOf::Entry(EntryId(9)), &body)
        })
        .unwrap();
    store
        .update(move |writer| {
            let people = People {
                contacts: record::contact(writer, ANA)?.into_iter().collect(),
                ..People::default()
            };
            record::traces(writer, &keys, &people)?.erase(writer)?;
            record::put_unfinished_erasure(writer, 1)
        })
        .unwrap();
    drop(store);
    assert_eq!(traces_of_ana(path, &marks).len(), 1);
    let log = Server::start(path).stop();
    assert!(log.contains("what was left of an erasure is gone"), "{log}");
    assert_eq!(traces_of_ana(path, &marks), Vec::<PathBuf>::new());
    let (store, _) = user::store(path);
    assert_eq!(store.view(record::unfinished_erasure), Ok(None));
}

/// P-3, R-53.
#[test]
fn a_copy_from_before_brings_back_everybody_but_who_was_forgotten() {
    let folder = filled();
    let path = folder.path();
    let marks = marks_of_ana(path);
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.redb");
    let copy = copy.to_str().unwrap();
    let server = Server::start(path);
    let said = fine(path, &["backup", copy]);
    assert!(said.contains("copy.redb holds "), "{said}");
    assert_eq!(
        fs::metadata(copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let (code, _, error) = run(path, &["backup", copy]);
    assert_eq!(code, 73, "{error}");
    assert!(
        error.contains("is there already, and nothing is overwritten"),
        "{error}"
    );
    fine(path, &["contact", "forget", "--number", ANA_NUMBER]);
    fine(path, &["contact", "forget", &BEA.to_string()]);
    assert_eq!(contacts(path), Vec::<String>::new());
    server.stop();

    let of_copy = fs::read(copy).unwrap();
    let said = fine(path, &["restore", copy]);
    assert!(
        said.contains("2 contacts had been forgotten since and are forgotten again"),
        "{said}"
    );
    assert_eq!(fs::read(copy).unwrap(), of_copy, "the copy was changed");
    assert_eq!(contacts(path), Vec::<String>::new());
    assert_eq!(traces_of_ana(path, &marks), Vec::<PathBuf>::new());
    let aside = |path: &Path| {
        let names = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = names.filter(|name| name.to_string_lossy().contains(".redb.before-"));
        names.count()
    };
    assert_eq!(aside(path), 1);

    // Damaged, the store tells nothing, and its snapshot does.
    fs::write(path.join("portero.redb"), vec![7; 50_000]).unwrap();
    let said = fine(path, &["restore", copy]);
    assert!(said.contains("forgotten again"), "{said}");
    assert_eq!(traces_of_ana(path, &marks), Vec::<PathBuf>::new());
    assert_eq!(aside(path), 2);

    // With neither, that is said.
    fs::write(path.join("portero.redb"), vec![7; 50_000]).unwrap();
    fs::remove_dir_all(path.join("snapshots")).unwrap();
    let (code, _, error) = run(path, &["restore", copy]);
    assert_eq!(code, 0, "{error}");
    assert!(
        error.contains("it is not known who was forgotten"),
        "{error}"
    );
    assert_eq!(contacts(path), [ANA.to_string(), BEA.to_string()]);

    // A server starts on what was restored.
    Server::start(path).stop();
}

#[test]
fn who_came_after_an_erasure_survives_a_restore_and_so_does_everybody_else() {
    let folder = filled();
    let path = folder.path();
    fine(path, &["contact", "forget", "--number", ANA_NUMBER]);
    // She writes again, and a copy is made of that.
    let (store, keys) = store(path);
    let again = ContactId([0x4a; 16]);
    let at = now();
    store
        .update(move |writer| {
            let mut contact = signed_in(again, ANA_NUMBER, None, ANA_EMAIL, at);
            contact.created_at = at;
            record::put_contact(writer, &contact)?;
            record::put_wa_id(writer, &keys, contact.wa_id.as_ref().unwrap(), again)
        })
        .unwrap();
    drop(store);
    fine(path, &["backup", "copy.redb"]);
    let said = fine(path, &["restore", "copy.redb"]);
    assert!(!said.contains("forgotten again"), "{said}");
    let mut everybody = [again.to_string(), BEA.to_string()];
    everybody.sort();
    assert_eq!(contacts(path), everybody);
}

#[test]
fn what_is_no_whole_copy_of_this_store_is_refused_and_nothing_changes() {
    let folder = filled();
    let path = folder.path();
    fine(path, &["backup", "copy.redb"]);
    let copy = fs::read(path.join("copy.redb")).unwrap();
    let server = Server::start(path);
    let (code, _, error) = run(path, &["restore", "copy.redb"]);
    assert_eq!(code, 69, "{error}");
    assert!(error.contains("stop it first"), "{error}");
    server.stop();
    let everything = || fine(path, &["export", &ANA.to_string()]);
    let kept = |export: &str| {
        let export: Value = serde_json::from_str(export).unwrap();
        let mut kept = export["kept"].clone();
        // Each export is in the next one.
        if let Some(lines) = kept["audit"].as_array_mut() {
            lines.retain(|line| line["event"] != "contact.exported");
        }
        let audit = kept["audit"].as_array().cloned();
        kept["audit"] = audit.unwrap_or_default().into();
        kept
    };
    let store = (kept(&everything()), contacts(path));

    let put = |name: &str, bytes: &[u8]| {
        fs::write(path.join(name), bytes).unwrap();
    };
    put("garbage", &[7; 60_000]);
    put("empty", b"");
    put("short", &copy[..copy.len() / 2]);
    // Of another key, and of a later format.
    let other = filled();
    fine(other.path(), &["backup", "copy.redb"]);
    put(
        "foreign",
        &fs::read(other.path().join("copy.redb")).unwrap(),
    );
    let newer = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let engine = Redb::open(path, Options::default()).unwrap();
        let engine: &dyn Engine = &engine;
        engine
            .update(|writer| writer.put(Table::Format, b"version", &99u32.to_be_bytes()))
            .unwrap();
    };
    put("newer", &copy);
    newer(&path.join("newer"));
    // One record is not what was sealed.
    put("altered", &copy);
    fs::set_permissions(path.join("altered"), fs::Permissions::from_mode(0o600)).unwrap();
    let engine = Redb::open(&path.join("altered"), Options::default()).unwrap();
    (&engine as &dyn Engine)
        .update(|writer| {
            let mut bytes = writer.get(Table::Contact, &ANA.0)?.unwrap_or_default();
            bytes[40] ^= 1;
            writer.put(Table::Contact, &ANA.0, &bytes)
        })
        .unwrap();
    drop(engine);
    for (name, wanted, words) in [
        ("none", 66, "cannot be read"),
        ("portero.redb", 64, "is the store itself"),
        (
            "garbage",
            65,
            "garbage is not a Portero store. Name another one.",
        ),
        ("empty", 65, "has been lost. Name another one."),
        ("short", 65, "The copy cannot be used"),
        ("foreign", 65, "sealed with another key"),
        ("newer", 65, "newer version of Portero (format 99"),
        ("altered", 65, "a record in table contact is damaged"),
    ] {
        let (code, output, error) = run(path, &["restore", name]);
        assert_eq!((code, output.as_str()), (wanted, ""), "{name}: {error}");
        assert!(error.contains(words), "{name}: {error}");
        assert!(!error.contains(".redb.restore"), "{name}: {error}");
        let now = (kept(&everything()), contacts(path));
        assert!(now == store, "{name} changed the store");
    }
    let left: Vec<String> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("portero.redb."))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    // And a store of a later version is not started on.
    newer(&path.join("portero.redb"));
    let output = portero(path).arg("serve").output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("newer version of Portero (format 99"),
        "{error}"
    );
}

#[test]
fn a_running_server_makes_snapshots_and_a_store_of_no_known_format_is_left_as_it_is() {
    let folder = folder_with(&format!("{CONFIG}[store]\nsnapshot_folder = \"copies\"\n"));
    let path = folder.path();
    fill(path, 0);
    let copies = || {
        let Ok(entries) = fs::read_dir(path.join("copies")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().path());
        names
            .filter(|path| path.extension().is_some_and(|e| e == "redb"))
            .collect::<Vec<_>>()
    };
    let server = Server::start(path);
    let copy = eventually("a snapshot", || copies().first().cloned());
    server.stop();
    let (store, keys) = store(path);
    drop(store);
    let snapshot = Redb::open(&copy, Options::default()).unwrap();
    let snapshot = Sealed::open(Arc::new(snapshot), keys.master()).unwrap();
    let ana = snapshot
        .view(|reader| record::contact(reader, ANA))
        .unwrap();
    assert_eq!(ana.unwrap().wa_id.unwrap().as_str(), ANA_NUMBER);
    drop(snapshot);
    let engine = Redb::open(&path.join("portero.redb"), Options::default()).unwrap();
    (&engine as &dyn Engine)
        .update(|writer| writer.put(Table::Format, b"version", &0u32.to_be_bytes()))
        .unwrap();
    drop(engine);
    // There never was such a format: nothing is made of it, not even a snapshot.
    let (code, _, error) = run(path, &["contact", "list"]);
    assert_eq!(code, 74, "{error}");
    assert!(error.contains("not the mark"), "{error}");
    assert_eq!(copies().len(), 1);
}

/// How long nobody else can store anything while somebody is forgotten, among 100,000 contacts who
/// are signed in: while what is kept about them is looked for, and while the file is written anew.
#[test]
#[ignore = "takes a minute; prints its measurement"]
fn how_long_others_wait_while_somebody_is_forgotten() {
    const CONTACTS: u64 = 100_000;
    let folder = folder_with(CONFIG);
    {
        let (store, keys) = store(folder.path());
        let at = now();
        for batch in 0..CONTACTS / 1_000 {
            let keys = keys.clone();
            store
                .update(move |writer| {
                    for number in batch * 1_000..(batch + 1) * 1_000 {
                        let mut id = [0x77; 16];
                        id[..8].copy_from_slice(&number.to_be_bytes());
                        let email = format!("user{number}@example.com");
                        let phone = format!("346{number:08}");
                        let contact = signed_in(ContactId(id), &phone, None, &email, at);
                        record::put_contact(writer, &contact)?;
                        let wa_id = contact.wa_id.as_ref().unwrap();
                        record::put_wa_id(writer, &keys, wa_id, contact.id)?;
                        let line = record::AuditLine {
                            at_ms: at.0,
                            event: "contact.bound".into(),
                            contact: contact.id.to_string(),
                            number_ending: None,
                            directory_user: None,
                            about: None,
                            link: None,
                        };
                        record::put_audit(writer, &keys, number + 1, line)?;
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
    let (store, keys) = store(folder.path());
    let app = Arc::new(in_store(store, keys));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let waits = std::thread::spawn({
        let (app, stop) = (Arc::clone(&app), Arc::clone(&stop));
        move || {
            let mut longest = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let begun = Instant::now();
                app.release_for_the_bot("nobody", BEA, None).unwrap();
                longest.push(begun.elapsed());
            }
            longest.sort();
            longest
        }
    });
    let mut id = [0x77; 16];
    id[..8].copy_from_slice(&5_000_u64.to_be_bytes());
    let begun = Instant::now();
    let forgotten = app.forget(&Whom::User(ContactId(id))).unwrap();
    let took = begun.elapsed();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let waits = waits.join().unwrap();
    let longest: Vec<Duration> = waits.iter().rev().take(3).copied().collect();
    println!(
        "forgotten in {took:?} ({:?}); others waited at most {longest:?}, {} of them not long",
        forgotten.counts,
        waits.len()
    );
}

fn in_store(store: Sealed, keys: record::Keys) -> portero::app::App {
    let settings = House::in_memory().app.settings().clone();
    portero::app::App::new(
        store,
        keys,
        settings,
        Arc::new(portero::app::SystemClock::new(Timestamp(0))),
        Arc::new(portero::app::SystemRandom),
    )
    .unwrap()
}

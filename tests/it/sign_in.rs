//! Signing in on the web, below the web: the rows of the threat model about links, pages and return
//! codes, by their numbers, and attacks that are made up at random.

use super::house::{House, Left, NETWORK, Person, Takes, said_in};
use crate::dice::Dice;
use crate::flags::cycles;
use crate::outside::has;
use portero::app::{Verdict, Visitor};
use portero::domain::binding::{Proof, Scope};
use portero::domain::contact::Stage;
use portero::domain::delivery::{Link, LinkTarget};
use portero::domain::failure::Failure;
use portero::domain::id::{Bsuid, IdentityKey, ServiceName};
use portero::domain::message::{Content, Inbound, Provenance};
use portero::domain::policy::{Finish, Methods, PhoneOnFile, Policy};
use portero::domain::secret::MappingHash;
use portero::domain::sign_in::PageAnswer;
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use std::collections::BTreeSet;

/// The victim, and the attacker, who has an account as well.
const VERA: &str = "vera@example.com";
const MALO: &str = "malo@example.com";

fn house() -> House {
    with_people(House::on_the_web(House::both_ways_in()))
}

fn with_policy(policy: Policy) -> House {
    with_people(House::on_the_web(policy))
}

fn with_people(house: House) -> House {
    house.register("kutamma", VERA, "Vera Ruiz", "Acme");
    house.register("kutamma", MALO, "Malo Paz", "Otra");
    house
}

fn web_only() -> Policy {
    Policy {
        methods: Methods {
            mail: false,
            web: true,
        },
        ..Policy::default()
    }
}

fn finishing_by(finish: Finish) -> Policy {
    Policy {
        finish,
        ..House::both_ways_in()
    }
}

/// The attacker's chat, the victim's, and that of somebody who has nothing to do with it.
fn malo() -> Person {
    Person::with_number("573001000001")
}

fn vera() -> Person {
    Person::with_number("573002000002")
}

fn other() -> Person {
    Person::with_number("573003000003")
}

/// Whether the chat may act for the owner of the address.
fn acts_for(house: &House, person: &Person, email: &str) -> bool {
    let known = house
        .contacts()
        .into_iter()
        .find(|contact| match &person.bsuid {
            Some(bsuid) => contact.bsuid.as_ref() == Some(bsuid),
            None => contact.wa_id == person.wa_id,
        });
    known.is_some_and(|contact| {
        (contact.bindings.iter()).any(|bound| {
            bound
                .email
                .as_ref()
                .is_some_and(|known| known.as_str() == email)
        })
    })
}

fn forwarded(house: &House, person: &Person, text: &str) -> &'static str {
    let message = Inbound {
        provenance: Provenance::Forwarded,
        ..house.text(person, text)
    };
    let received = house.receive(message).unwrap();
    house.settle();
    received.outcomes[0]
}

fn in_a_group(house: &House, person: &Person, text: &str) -> &'static str {
    let message = Inbound {
        provenance: Provenance::Group,
        ..house.text(person, text)
    };
    let received = house.receive(message).unwrap();
    house.settle();
    received.outcomes[0]
}

fn subjects(house: &House, email: &str) -> Vec<String> {
    let mails = house.mails().into_iter();
    mails
        .filter(|mail| mail.to.as_str() == email)
        .map(|mail| mail.subject)
        .collect()
}

/// Everything but counters and audit.
fn unchanged(house: &House) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    house.records()
}

fn contains(records: &[(String, Vec<u8>, Vec<u8>)], needle: &str) -> bool {
    let needle = needle.as_bytes();
    (records.iter()).any(|(_, key, value)| has(key, needle) || has(value, needle))
}

// --- the way in ---------------------------------------------------------------------------------

#[test]
fn a_sign_in_on_the_web_ends_in_the_chat_with_the_first_message_handed_on() {
    for house in [
        with_people(House::on_the_web(web_only())),
        with_people(House::on_the_web_on_file(web_only())),
    ] {
        house.ask(&vera(), "quiero ver mi factura");
        let hash = house.link(&vera()).unwrap();
        assert!(house.app.page(&hash).unwrap().is_some());
        let text = house.sign_in_on_page(&hash, VERA);
        assert!(
            !house.is_bound(&vera()),
            "nobody is in by the password alone"
        );
        assert!(house.app.page(&hash).unwrap().is_none(), "the link is dead");
        let told = house.ask(&vera(), &text);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("Vera Ruiz"), "{told:?}");
        assert!(acts_for(&house, &vera(), VERA));
        assert_eq!(
            house.handed_on(),
            [Some("quiero ver mi factura".to_owned())]
        );
        assert_eq!(house.mails_to(VERA), 1);
        assert_eq!(house.contact(&vera()).bindings[0].proof, Proof::Password);
    }
}

#[test]
fn people_add_words_to_the_text_that_was_ready() {
    let house = house();
    let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
    house.ask(&vera(), &format!("hola!! {} gracias", text.to_lowercase()));
    assert!(acts_for(&house, &vera(), VERA));
    assert!(house.handed_on().is_empty());
}

#[test]
fn the_process_may_end_between_every_two_steps() {
    for on_file in [false, true] {
        let mut house = with_people(if on_file {
            House::on_the_web_on_file(web_only())
        } else {
            House::on_the_web(web_only())
        });
        house.write(&vera(), "mi factura");
        house = house.restarted();
        house.settle();
        let hash = house.link(&vera()).unwrap();
        house = house.restarted();
        let visitor = Visitor::new(VERA, NETWORK);
        let attempt = house.app.begin_try(&hash, &visitor, None).unwrap();
        house = house.restarted();
        let verdict = Verdict::These(vec![house.account(VERA)]);
        let tried = house
            .app
            .finish_try(&hash, &visitor, attempt.tried_at, verdict)
            .unwrap();
        assert_eq!(tried.answer, PageAnswer::Return);
        house = house.restarted();
        assert!(!acts_for(&house, &vera(), VERA));
        let (answer, _) = house.right_password(&hash, VERA);
        assert_eq!(answer, PageAnswer::Gone, "the link stays dead");
        let url = tried.chat_url.unwrap();
        let code = url.reveal().rsplit("%20").next().unwrap().to_owned();
        house.write(&vera(), &code);
        house = house.restarted();
        house.settle();
        assert!(acts_for(&house, &vera(), VERA));
        assert_eq!(house.handed_on(), [Some("mi factura".to_owned())]);
        let token = house.undo_token(VERA).unwrap();
        house = house.restarted();
        assert!(house.app.undo(&token).unwrap());
        house = house.restarted();
        house.settle();
        assert!(!acts_for(&house, &vera(), VERA));
        assert!(!house.app.undo(&token).unwrap());
    }
}

/// R-22 for the web: nobody knows whether a commit happened, so the other side repeats.
#[test]
fn a_commit_of_which_nobody_knows_leads_to_one_sign_in_or_to_a_new_link() {
    let mut finished = 0;
    for nth in 1..=12 {
        let house = with_policy(web_only());
        house.memory().answer_unknown_at_commit(nth);
        let hello = house.text(&vera(), "hola");
        let twice = |message: &Inbound| {
            if house.receive(message.clone()).is_err() {
                house.receive(message.clone()).unwrap();
            }
            house.settle();
            house.later(MINUTE_MS);
        };
        twice(&hello);
        let Some(hash) = house.link(&vera()) else {
            panic!("no link at {nth}");
        };
        let visitor = Visitor::new(VERA, NETWORK);
        let verdict = Verdict::These(vec![house.account(VERA)]);
        let begin = || house.app.begin_try(&hash, &visitor, None);
        let attempt = begin().or_else(|_| begin()).unwrap();
        let finish = || {
            house
                .app
                .finish_try(&hash, &visitor, attempt.tried_at, verdict.clone())
        };
        let tried = finish().or_else(|_| finish()).unwrap();
        if tried.answer == PageAnswer::Return {
            let code = tried.chat_url.unwrap();
            twice(&house.text(&vera(), code.reveal().rsplit("%20").next().unwrap()));
            assert!(acts_for(&house, &vera(), VERA), "at {nth}");
            finished += 1;
        } else {
            // The password took effect and the browser never heard of it: nobody is in.
            assert_eq!(tried.answer, PageAnswer::Gone);
            assert!(!house.is_bound(&vera()));
            let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
            house.ask(&vera(), &text);
        }
        assert!(acts_for(&house, &vera(), VERA), "at {nth}");
        assert_eq!(house.audited("contact.bound"), 1);
    }
    assert!(finished >= 8, "only {finished}");
}

// --- S-30 to S-35: whose link is it? --------------------------------------------------------------

/// With the hash alone nobody is signed in, whatever they call.
#[test]
fn s_30_a_hash_names_a_sign_in_and_proves_nothing() {
    let house = house();
    let hash = house.new_link(&malo());
    let page = ServiceName::parse("portal").unwrap();
    let answer = house.app.mapping(&hash, &page).unwrap().unwrap();
    assert_eq!(answer.user_uuid, house.contact(&malo()).id);
    assert_eq!(answer.number.as_str(), "15550783881");
    let token = answer.access_token.reveal();
    let other_page = [ServiceName::parse("other").unwrap()];
    assert!(house.app.holder(token, &other_page).unwrap().is_none());
    let mut made_up = token.to_owned();
    let last = if made_up.pop() == Some('0') { '1' } else { '0' };
    made_up.push(last);
    for wrong in [
        "",
        "x",
        made_up.as_str(),
        &"0".repeat(96),
        hash.reveal(),
        &token[..95],
    ] {
        let holder = house.app.holder(wrong, std::slice::from_ref(&page));
        assert!(holder.unwrap().is_none(), "{wrong}");
    }
    let claim = house.app.holder(token, std::slice::from_ref(&page));
    let claim = claim.unwrap().unwrap();
    let service = ServiceName::parse("kutamma").unwrap();
    let tried = house.app.claim(&claim, None, service.clone()).unwrap();
    assert_eq!(tried.answer, PageAnswer::Return);
    assert!(!house.is_bound(&malo()), "a claim is no proof");
    assert!(house.app.mapping(&hash, &page).unwrap().is_none());
    let again = house.app.claim(&claim, None, service).unwrap();
    assert_eq!(again.answer, PageAnswer::Gone);
    house.later(10 * MINUTE_MS);
    assert!(!house.is_bound(&malo()));
}

#[test]
fn s_31_a_link_that_was_passed_on_lets_nobody_in_and_everybody_is_told() {
    for house in [
        house(),
        with_people(House::on_the_web_on_file(House::both_ways_in())),
    ] {
        let hash = house.new_link(&malo());
        let text = house.sign_in_on_page(&hash, VERA);
        let before = house.left().len();
        assert_eq!(house.write(&vera(), &text), "mismatch");
        house.settle();
        for person in [malo(), vera()] {
            assert!(!acts_for(&house, &person, VERA));
            assert!(!house.is_bound(&person));
        }
        let to_malo = house.said_to(&malo()).pop().unwrap();
        assert!(to_malo.contains("No entraste"), "{to_malo}");
        let to_vera = house.said_to(&vera()).pop().unwrap();
        assert!(
            to_vera.contains("alguien intentó usar tu cuenta"),
            "{to_vera}"
        );
        let mails = subjects(&house, VERA);
        assert_eq!(mails.len(), 1, "{mails:?}");
        assert!(house.undo_token(VERA).is_none(), "there is nothing to undo");
        assert_eq!(house.left().len(), before + 3);
        // On both sides.
        assert_eq!(house.audited("link.mismatch"), 2);
        assert_eq!(house.audited("contact.bound"), 0);
        assert_eq!(house.app.outcomes().get("mismatch"), Some(&1));
        // The link and the code are dead, for everybody.
        assert!(house.app.page(&hash).unwrap().is_none());
        assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::Gone);
        house.ask(&malo(), &text);
        forwarded(&house, &malo(), &text);
        assert!(!house.is_bound(&malo()));
        assert!(house.handed_on().is_empty());
    }
}

#[test]
fn s_31_whoever_was_sent_the_link_is_warned_in_the_language_of_their_own_chat() {
    let house = house();
    let victim = Person::with_number("5511987650001");
    let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
    assert_eq!(house.write(&victim, &text), "mismatch");
    house.settle();
    assert!(
        house
            .said_to(&malo())
            .pop()
            .unwrap()
            .contains("No entraste")
    );
    let mails = subjects(&house, VERA);
    assert!(
        mails.len() == 1 && mails[0].contains("Alguém tentou"),
        "{mails:?}"
    );
}

/// Section 3.3, R1: the code was told to the attacker, and then its owner presses *Send* after all.
#[test]
fn s_31_a_code_that_comes_from_its_owner_ends_what_it_had_bound_elsewhere() {
    let house = house();
    let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
    house.ask(&malo(), &text);
    assert!(acts_for(&house, &malo(), VERA));
    assert_eq!(house.write(&vera(), &text), "mismatch");
    house.settle();
    assert!(!house.is_bound(&malo()));
    assert_eq!(house.audited("contact.released.undone"), 1);
    assert!(
        subjects(&house, VERA)
            .iter()
            .any(|s| s.contains("intentó usar tu cuenta"))
    );
}

/// Neither giving up nor asking anew hides that a link was passed on.
#[test]
fn s_31_cancelling_or_asking_for_another_link_spares_nobody_the_warning() {
    for word in ["cancelar", "nuevo enlace"] {
        let house = house();
        let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
        house.ask(&malo(), word);
        assert_eq!(house.write(&vera(), &text), "mismatch", "{word}");
        house.settle();
        assert_eq!(subjects(&house, VERA).len(), 1, "{word}");
        assert_eq!(house.audited("link.mismatch"), 2, "{word}");
        house.ask(&malo(), &text);
        assert!(!house.is_bound(&malo()));
    }
}

/// S-63: hiding the number is no way around a phone on file.
#[test]
fn s_63_with_a_phone_on_file_a_hidden_number_has_to_prove_the_mailbox_too() {
    let house = house();
    house.phone_on_file(VERA, Some("573002000002"));
    let hidden = Person {
        bsuid: Some(portero::domain::id::Bsuid::parse("CO.77").unwrap()),
        ..Person::default()
    };
    let hash = house.new_link(&hidden);
    assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::CodeMailed);
    assert!(!house.is_bound(&hidden));
}

#[test]
fn s_31_after_two_links_that_were_passed_on_there_is_none_for_a_day() {
    let house = house();
    for _ in 0..2 {
        let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
        house.ask(&vera(), &text);
        house.later(HOUR_MS);
    }
    let links = |house: &House| house.audited("link.sent");
    let before = links(&house);
    house.ask(&malo(), "enlace");
    house.clock.forward(22 * HOUR_MS - MINUTE_MS);
    house.ask(&malo(), "enlace");
    assert_eq!(links(&house), before);
    house.clock.forward(MINUTE_MS);
    house.clock.forward(HOUR_MS);
    house.ask(&malo(), "enlace");
    assert_eq!(links(&house), before + 1);
    // Whoever was nearly deceived is not punished for it.
    let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
    house.ask(&vera(), &text);
    assert!(acts_for(&house, &vera(), VERA));
}

#[test]
fn s_31_asking_for_a_new_link_in_time_hides_nothing() {
    let house = house();
    let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
    let newer = house.new_link(&malo());
    house.ask(&vera(), &text);
    assert!(!house.is_bound(&malo()));
    assert!(
        house.app.page(&newer).unwrap().is_none(),
        "the new link is dead as well"
    );
    let second = house.sign_in_on_page(&house.new_link(&malo()), VERA);
    house.ask(&vera(), &second);
    let before = house.audited("link.sent");
    house.clock.forward(2 * HOUR_MS);
    house.ask(&malo(), "enlace");
    assert_eq!(house.audited("link.sent"), before);
}

#[test]
fn s_31_only_the_code_of_the_last_sign_in_counts() {
    let house = house();
    let own = house.sign_in_on_page(&house.new_link(&malo()), MALO);
    let of_another = house.sign_in_on_page(&house.new_link(&other()), MALO);
    let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
    let made_up = format!("Quiero entrar: Q7{}", "A".repeat(26));
    let shorter = &text[..text.len() - 1];
    for wrong in [own.as_str(), &of_another, &made_up, shorter] {
        house.ask(&malo(), wrong);
        assert!(!house.is_bound(&malo()), "{wrong}");
    }
    assert_eq!(house.audited("contact.bound"), 0);
}

#[test]
fn s_33_a_return_code_that_was_forwarded_is_burned() {
    let house = house();
    let hash = house.new_link(&malo());
    let text = house.sign_in_on_page(&hash, VERA);
    assert_eq!(forwarded(&house, &malo(), &text), "mismatch");
    assert_eq!(house.audited("link.mismatch"), 1);
    assert_eq!(subjects(&house, VERA).len(), 1);
    house.ask(&malo(), &text);
    house.ask(&vera(), &text);
    assert!(!house.is_bound(&malo()) && !house.is_bound(&vera()));
}

#[test]
fn a_return_code_in_a_group_is_burned_and_the_group_hears_nothing() {
    let house = house();
    for who in [malo(), vera()] {
        let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
        let before = house.said().len();
        assert_eq!(in_a_group(&house, &who, &text), "mismatch");
        let said = house.said().split_off(before);
        assert!(said.iter().all(|said| malo().is(&said.to)) && said.len() == 1);
        house.ask(&malo(), &text);
        assert!(!house.is_bound(&malo()));
    }
}

#[test]
fn s_34_of_a_hundred_right_passwords_at_once_one_signs_in() {
    for round in 0..10 {
        let policy = Policy {
            passwords_per_link: 1_000,
            passwords_per_user_per_hour: 1_000,
            passwords_per_network: 1_000,
            ..House::both_ways_in()
        };
        let house = with_people(if round == 0 {
            House::on_the_web_on_file(policy)
        } else {
            House::on_the_web(policy)
        });
        let hash = house.new_link(&vera());
        let visitor = Visitor::new(VERA, NETWORK);
        let attempts: Vec<_> = (0..100)
            .map(|_| house.app.begin_try(&hash, &visitor, None).unwrap())
            .collect();
        let answers: Vec<PageAnswer> = std::thread::scope(|scope| {
            let threads: Vec<_> = (attempts.iter())
                .map(|attempt| {
                    let (house, hash, visitor) = (&house, &hash, &visitor);
                    scope.spawn(move || {
                        let verdict = Verdict::These(vec![house.account(VERA)]);
                        let tried =
                            (house.app).finish_try(hash, visitor, attempt.tried_at, verdict);
                        tried.unwrap().answer
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let with = |wanted| answers.iter().filter(|answer| **answer == wanted).count();
        assert_eq!(
            (with(PageAnswer::Return), with(PageAnswer::Gone)),
            (1, 99),
            "round {round}"
        );
        assert_eq!(house.audited("password.right"), 1);
    }
}

/// S-34, R-12: the same return code in a hundred messages at once, many times over.
#[test]
fn r_12_of_a_hundred_messages_with_the_return_code_one_signs_in() {
    for round in 0..cycles(170) {
        let house = with_people(if round == 0 {
            House::on_the_web_on_file(web_only())
        } else {
            House::on_the_web(web_only())
        });
        house.ask(&vera(), "hola");
        let text = house.sign_in_on_page(&house.link(&vera()).unwrap(), VERA);
        let messages: Vec<Inbound> = (0..100).map(|_| house.text(&vera(), &text)).collect();
        let bound: usize = std::thread::scope(|scope| {
            let senders: Vec<_> = (messages.chunks(10))
                .map(|messages| {
                    let house = &house;
                    scope.spawn(move || {
                        let outcomes = messages.iter().map(|message| {
                            house.receive(message.clone()).unwrap().outcomes[0] == "bound"
                        });
                        outcomes.filter(|bound| *bound).count()
                    })
                })
                .collect();
            senders.into_iter().map(|s| s.join().unwrap()).sum()
        });
        house.settle();
        assert_eq!(bound, 1, "round {round}");
        let signed_in = house.said_to(&vera()).into_iter();
        assert_eq!(
            signed_in.filter(|said| said.contains("Vera Ruiz")).count(),
            1
        );
        assert_eq!(house.handed_on().len(), 1);
        assert_eq!(house.mails_to(VERA), 1);
    }
}

#[test]
fn s_35_looking_changes_nothing() {
    for house in [
        house(),
        with_people(House::on_the_web_on_file(House::both_ways_in())),
    ] {
        let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
        house.ask(&vera(), &text);
        let token = house.undo_token(VERA).unwrap();
        let hash = house.new_link(&malo());
        let page = ServiceName::parse("portal").unwrap();
        let before = unchanged(&house);
        for _ in 0..50 {
            let view = house.app.page(&hash).unwrap().unwrap();
            assert_eq!(view.number_ending.as_deref(), Some("01"));
            let mapping = house.app.mapping(&hash, &page).unwrap().unwrap();
            let token = mapping.access_token.reveal();
            let holder = house.app.holder(token, std::slice::from_ref(&page));
            assert!(holder.unwrap().is_some());
        }
        let undo = house.app.undo_view(&token).unwrap().unwrap();
        assert!(undo.accounts.contains("Vera Ruiz"));
        let _ = house.app.form_token(hash.reveal());
        assert!(house.records() == before, "looking wrote something");
        let text = house.sign_in_on_page(&hash, MALO);
        house.ask(&malo(), &text);
        assert!(acts_for(&house, &malo(), MALO));
    }
}

// --- what is kept -------------------------------------------------------------------------------

/// S-37: neither hash nor return code nor undo token nor access token is in the store, nor the user
/// name or the number of whoever tried.
#[test]
fn s_37_no_secret_of_a_sign_in_is_in_the_store() {
    let house = house();
    house.world.change(|outside| {
        outside.whatsapp = Takes::Not(Failure::temporary("down"));
    });
    house.ask(&vera(), "enlace");
    let waiting = house.records();
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(MINUTE_MS);
    let hash = house.link(&vera()).unwrap();
    let page = ServiceName::parse("portal").unwrap();
    let mapping = house.app.mapping(&hash, &page).unwrap().unwrap();
    house.wrong_password(&hash, "nobody.else@example.com");
    let text = house.sign_in_on_page(&hash, VERA);
    let code = text.rsplit(' ').next().unwrap().to_owned();
    let signed_in = house.records();
    house.ask(&vera(), &text);
    let token = house.undo_token(VERA).unwrap();
    let after = house.records();
    let secrets = [
        hash.reveal(),
        &hash.reveal()[..20],
        &code,
        &code[2..],
        mapping.access_token.reveal(),
        &mapping.access_token.reveal()[32..],
        &token,
        &token[32..],
        "nobody.else",
    ];
    for secret in secrets {
        for records in [&waiting, &signed_in, &after] {
            assert!(!contains(records, secret));
        }
    }
    assert!(contains(&after, VERA), "the search finds what is there");
}

#[test]
fn a_link_that_could_not_be_sent_in_time_gives_way_to_the_newer_one() {
    let house = house();
    house.world.change(|outside| {
        outside.whatsapp = Takes::Not(Failure::temporary("down"));
    });
    for _ in 0..2 {
        house.ask(&vera(), "enlace");
    }
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(5 * MINUTE_MS);
    let links = house.said().into_iter();
    assert_eq!(links.filter(|said| said.message.link.is_some()).count(), 1);
    let hash = house.link(&vera()).unwrap();
    assert!(house.app.page(&hash).unwrap().is_some());
}

#[test]
fn a_link_that_is_too_old_is_not_sent_any_more() {
    let policy = Policy {
        link_lifetime_ms: 2 * MINUTE_MS,
        ..House::both_ways_in()
    };
    let house = with_policy(policy);
    house.world.change(|outside| {
        outside.whatsapp = Takes::Not(Failure::temporary("down"));
    });
    house.ask(&vera(), "enlace");
    house.later(3 * MINUTE_MS);
    house.world.change(|outside| outside.whatsapp = Takes::It);
    house.later(10 * MINUTE_MS);
    assert!(house.link(&vera()).is_none());
}

// --- limits ---------------------------------------------------------------------------------------

#[test]
fn there_is_one_live_link_per_contact() {
    let house = house();
    let first = house.new_link(&vera());
    let second = house.new_link(&vera());
    assert!(house.app.page(&first).unwrap().is_none());
    assert!(house.app.page(&second).unwrap().is_some());
    assert_eq!(house.right_password(&first, VERA).0, PageAnswer::Gone);
    let text = house.sign_in_on_page(&second, VERA);
    let third = house.new_link(&vera());
    house.ask(&vera(), &text);
    assert!(
        !house.is_bound(&vera()),
        "the code of a link that was replaced"
    );
    assert!(house.app.page(&third).unwrap().is_some());
}

#[test]
fn there_are_three_links_in_an_hour_and_ten_in_a_day() {
    let mut house = house();
    let mut sent = Vec::new();
    let start = house.app.now();
    for _ in 0..24 * 12 {
        let before = house.audited("link.sent");
        house.ask(&vera(), "enlace");
        if house.audited("link.sent") > before {
            sent.push(house.app.now());
        }
        house.clock.forward(5 * MINUTE_MS - 10 * SECOND_MS);
        if sent.len() == 5 {
            house = house.restarted();
        }
    }
    for at in &sent {
        let within = |ms| {
            (sent.iter())
                .filter(|other| *other <= at && at.since_ms(**other) < ms)
                .count()
        };
        assert!(within(HOUR_MS) <= 3 && within(DAY_MS) <= 10);
    }
    assert_eq!(sent.len(), 10);
    assert!(sent[9].since_ms(start) < 5 * HOUR_MS, "three an hour");
    let told = house.said_to(&vera()).pop().unwrap();
    assert!(told.contains("Podrás pedir otro en"), "{told}");
}

#[test]
fn s_41_five_wrong_passwords_burn_a_link_and_the_chat_is_told() {
    let house = house();
    let hash = house.new_link(&vera());
    for left in (1..5).rev() {
        assert_eq!(
            house.wrong_password(&hash, VERA),
            PageAnswer::WrongPassword { left }
        );
    }
    assert_eq!(house.wrong_password(&hash, VERA), PageAnswer::Burned);
    house.settle();
    let told = house.said_to(&vera()).pop().unwrap();
    assert!(told.contains("intentos fallidos"), "{told}");
    assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::Gone);
    assert_eq!(house.audited("link.burned"), 1);
    assert_eq!(house.audited("password.wrong"), 5);
}

#[test]
fn s_41_ten_wrong_passwords_in_an_hour_for_a_user_over_all_links_and_restarts() {
    let mut house = house();
    let people: Vec<Person> = (0..4)
        .map(|n| Person::with_number(&format!("5730010010{n:02}")))
        .collect();
    let mut evaluated = 0;
    for person in &people {
        let hash = house.new_link(person);
        house = house.restarted();
        for user in [
            "vera@example.com",
            "  VERA@Example.com ",
            "vera@example.COM",
            VERA,
        ] {
            let visitor = Visitor::new(user, [evaluated as u8; 16]);
            match house.form(&hash, None, &visitor, Verdict::Nobody).0 {
                PageAnswer::WrongPassword { .. } | PageAnswer::Burned => evaluated += 1,
                PageAnswer::TooMany { until } => {
                    assert_eq!(evaluated, 10);
                    assert!(until.since_ms(house.app.now()) <= HOUR_MS);
                }
                answer => panic!("{answer:?}"),
            }
        }
    }
    assert_eq!(evaluated, 10);
    // The right password waits as well: else the limit would tell which one is right.
    let hash = house.new_link(&other());
    assert!(matches!(
        house.right_password(&hash, VERA).0,
        PageAnswer::TooMany { .. }
    ));
    assert_eq!(house.right_password(&hash, MALO).0, PageAnswer::Return);
}

#[test]
fn s_41_thirty_wrong_passwords_in_ten_minutes_from_a_network() {
    let house = house();
    let mut evaluated = 0;
    let mut last = START_OF_TIME;
    for number in 0..10 {
        let hash = house.new_link(&Person::with_number(&format!("5730010020{number:02}")));
        for user in 0..4 {
            let visitor = Visitor::new(&format!("user{number}-{user}@example.com"), NETWORK);
            match house.form(&hash, None, &visitor, Verdict::Nobody).0 {
                PageAnswer::WrongPassword { .. } => evaluated += 1,
                PageAnswer::TooMany { until } => last = until,
                answer => panic!("{answer:?}"),
            }
        }
    }
    assert_eq!(evaluated, 30);
    let hash = house.new_link(&vera());
    let before = house.records();
    for _ in 0..50 {
        assert!(matches!(
            house.right_password(&hash, VERA).0,
            PageAnswer::TooMany { .. }
        ));
    }
    assert!(
        house.records() == before,
        "a refused try leaves nothing behind"
    );
    let elsewhere = Visitor::new(VERA, [8; 16]);
    let nobody = house.form(&hash, None, &elsewhere, Verdict::Nobody).0;
    assert_eq!(nobody, PageAnswer::WrongPassword { left: 4 });
    house.clock.set(last);
    let hash = house.new_link(&other());
    assert_eq!(
        house.wrong_password(&hash, "somebody@example.com"),
        PageAnswer::WrongPassword { left: 4 }
    );
}

const START_OF_TIME: Timestamp = Timestamp(0);

#[test]
fn s_41_what_could_not_be_checked_and_what_was_right_costs_nothing() {
    let house = house();
    for round in 0..15 {
        let person = Person::with_number(&format!("5730010030{round:02}"));
        let hash = house.new_link(&person);
        let visitor = Visitor::new(VERA, NETWORK);
        for verdict in [Verdict::NoAnswer, Verdict::Busy] {
            let (answer, _) = house.form(&hash, None, &visitor, verdict);
            assert_eq!(answer, PageAnswer::NoAnswer);
        }
        assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::Return);
    }
}

#[test]
fn s_41_guesses_sent_at_the_same_moment_never_exceed_the_limits() {
    for round in 0..10 {
        let house = house();
        let hash = house.new_link(&vera());
        let barrier = std::sync::Barrier::new(100);
        let checked: usize = std::thread::scope(|scope| {
            let guessers: Vec<_> = (0..100u8)
                .map(|number| {
                    let (house, hash, barrier) = (&house, &hash, &barrier);
                    scope.spawn(move || {
                        let visitor = Visitor::new(VERA, [number; 16]);
                        barrier.wait();
                        let attempt = house.app.begin_try(hash, &visitor, None).unwrap();
                        if attempt.answer != PageAnswer::Check {
                            return 0;
                        }
                        let tried = (house.app)
                            .finish_try(hash, &visitor, attempt.tried_at, Verdict::Nobody)
                            .unwrap();
                        assert_ne!(tried.answer, PageAnswer::Return);
                        1
                    })
                })
                .collect();
            guessers.into_iter().map(|g| g.join().unwrap()).sum()
        });
        assert!((1..=5).contains(&checked), "{checked} in round {round}");
        assert!(house.app.page(&hash).unwrap().is_none());
    }
}

// --- S-45, S-46: what was signed in ---------------------------------------------------------------

#[test]
fn s_45_signing_in_as_somebody_else_ends_what_was_before() {
    let house = house();
    for email in [VERA, MALO] {
        // A bound contact asks the bot, and the bot asks for a link.
        if house.contacts().is_empty() {
            house.new_link(&vera());
        } else {
            let id = house.contact(&vera()).id;
            let wish = portero::app::Wish::Link { send: true };
            house.app.grant("agent", id, wish, None).unwrap();
            house.settle();
        }
        let text = house.sign_in_on_page(&house.link(&vera()).unwrap(), email);
        house.ask(&vera(), &text);
    }
    assert!(acts_for(&house, &vera(), MALO) && !acts_for(&house, &vera(), VERA));
    assert_eq!(house.contact(&vera()).bindings.len(), 1);
    assert_eq!(house.audited("contact.released.replaced"), 1);
    let proofs: BTreeSet<_> = (house.mails().iter())
        .map(|mail| mail.to.as_str().to_owned())
        .collect();
    assert_eq!(proofs.len(), 2, "each owner is told");
}

#[test]
fn s_46_whoever_has_the_mailbox_can_end_a_sign_in_for_seven_days_and_bars_it_for_one() {
    let house = house();
    house.ask(&malo(), "hola");
    let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
    house.ask(&malo(), &text);
    assert!(acts_for(&house, &malo(), VERA), "the code was relayed");
    let token = house.undo_token(VERA).unwrap();
    let before = house.records();
    assert!(house.app.undo_view(&token).unwrap().is_some());
    for wrong in [
        "",
        "x",
        &token[..95],
        &"0".repeat(96),
        &token.replace('a', "b"),
    ] {
        assert!(wrong == token || !house.app.undo(wrong).unwrap());
        assert!(house.app.undo_view(wrong).unwrap().is_none() || wrong == token);
    }
    assert!(house.records() == before, "looking ended something");
    assert!(house.app.undo(&token).unwrap());
    house.settle();
    assert!(!house.is_bound(&malo()));
    let told = house.said_to(&malo()).pop().unwrap();
    assert!(told.contains("Cerré tu sesión"), "{told}");
    assert_eq!(house.audited("contact.released.undone"), 1);
    assert!(!house.app.undo(&token).unwrap() && house.app.undo_view(&token).unwrap().is_none());

    // Barred from this account, by either way in, and from no other.
    let hash = house.new_link(&malo());
    assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::Refused);
    house.settle();
    house.ask(&malo(), VERA);
    house.ask(&malo(), &house.code());
    assert!(!house.is_bound(&malo()));
    assert_eq!(house.audited("account.refused"), 2);
    house.later(HOUR_MS);
    house.ask(&malo(), MALO);
    house.ask(&malo(), &house.code());
    assert!(acts_for(&house, &malo(), MALO));
    // Vera is not barred from her own account.
    let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
    house.ask(&vera(), &text);
    assert!(acts_for(&house, &vera(), VERA));
}

#[test]
fn s_46_the_bar_and_the_undoing_end_on_time() {
    for (age_ms, can_be_undone) in [(7 * DAY_MS - 1, true), (7 * DAY_MS, false)] {
        let house = house();
        let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
        house.ask(&malo(), &text);
        let token = house.undo_token(VERA).unwrap();
        let proved_at = house.contact(&malo()).bindings[0].proved_at;
        house.clock.set(proved_at.plus_ms(age_ms));
        assert_eq!(
            house.app.undo_view(&token).unwrap().is_some(),
            can_be_undone
        );
        assert_eq!(house.app.undo(&token).unwrap(), can_be_undone);
        assert_eq!(house.is_bound(&malo()), !can_be_undone);
    }
    for (wait_ms, answer) in [
        (DAY_MS - 1, PageAnswer::Refused),
        (DAY_MS, PageAnswer::Return),
    ] {
        let house = house();
        let text = house.sign_in_on_page(&house.new_link(&malo()), VERA);
        house.ask(&malo(), &text);
        let token = house.undo_token(VERA).unwrap();
        assert!(house.app.undo(&token).unwrap());
        let undone_at = house.app.now();
        house.clock.forward(DAY_MS - MINUTE_MS);
        let hash = house.new_link(&malo());
        house.clock.set(undone_at.plus_ms(wait_ms));
        assert_eq!(house.right_password(&hash, VERA).0, answer);
    }
}

#[test]
fn a_binding_from_the_web_is_worth_less_in_its_first_hours() {
    let house = house();
    let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
    house.ask(&vera(), &text);
    house.sign_in(&malo(), MALO);
    let policy = &house.app.settings().policy;
    let contact = house.contact(&vera());
    let proved_at = contact.bindings[0].proved_at;
    let at = |ms| contact.scope(proved_at.plus_ms(ms), policy);
    assert_eq!(at(0), Some(Scope::FirstHours));
    assert_eq!(at(DAY_MS - 1), Some(Scope::FirstHours));
    assert_eq!(at(DAY_MS), Some(Scope::Full));
    let by_mail = house.contact(&malo());
    assert_eq!(by_mail.scope(house.app.now(), policy), Some(Scope::Full));
}

// --- time -----------------------------------------------------------------------------------------

#[test]
fn every_secret_dies_on_its_millisecond() {
    let lifetime_ms = Policy::default().link_lifetime_ms;
    for (age_ms, works) in [(lifetime_ms - 1, true), (lifetime_ms, false)] {
        let house = house();
        let hash = house.new_link(&vera());
        let asked_at = house.contact(&vera()).mapping.unwrap().asked_at;
        house.clock.set(asked_at.plus_ms(age_ms));
        let page = ServiceName::parse("portal").unwrap();
        assert_eq!(house.app.page(&hash).unwrap().is_some(), works);
        assert_eq!(house.app.mapping(&hash, &page).unwrap().is_some(), works);
        assert_eq!(
            house.right_password(&hash, VERA).0 == PageAnswer::Return,
            works
        );
        assert_eq!(
            house.app.decline(&hash).unwrap().answer,
            PageAnswer::Gone,
            "used, or too old"
        );
    }
    let lifetime_ms = Policy::default().return_code_lifetime_ms;
    for (age_ms, works) in [(lifetime_ms - 1, true), (lifetime_ms, false)] {
        let house = house();
        let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
        house.clock.forward(age_ms);
        house.write(&vera(), &text);
        house.settle();
        assert_eq!(house.is_bound(&vera()), works);
        if !works {
            let told = house.said_to(&vera()).pop().unwrap();
            assert!(told.contains("ya venció"), "{told}");
        }
    }
    for (age_ms, works) in [(10 * MINUTE_MS, true), (10 * MINUTE_MS + 1, false)] {
        let policy = Policy {
            return_code_lifetime_ms: HOUR_MS,
            ..House::both_ways_in()
        };
        let house = with_policy(policy);
        let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
        let message = house.text(&vera(), &text);
        house.clock.forward(age_ms);
        house.receive(message).unwrap();
        assert_eq!(house.is_bound(&vera()), works, "a message that came late");
    }
    let lifetime_ms = Policy::default().code_lifetime_ms;
    for (age_ms, works) in [(lifetime_ms - 1, true), (lifetime_ms, false)] {
        let house = with_policy(finishing_by(Finish::MailCode));
        let hash = house.new_link(&vera());
        assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::CodeMailed);
        house.settle();
        house.clock.forward(age_ms);
        house.write(&vera(), &house.code());
        assert_eq!(house.is_bound(&vera()), works, "the code by mail");
    }
}

#[test]
fn a_clock_that_is_set_back_frees_nothing() {
    let house = house();
    for _ in 0..3 {
        house.new_link(&malo());
    }
    let hash = house.link(&malo()).unwrap();
    for _ in 0..4 {
        house.wrong_password(&hash, VERA);
    }
    let now = house.app.now();
    house.clock.set(now.minus_ms(30 * MINUTE_MS));
    let sent = house.audited("link.sent");
    house.ask(&malo(), "enlace");
    assert_eq!(house.audited("link.sent"), sent);
    assert_eq!(house.wrong_password(&hash, VERA), PageAnswer::Burned);
}

#[test]
fn a_link_that_is_too_old_is_told_with_a_way_to_another_one() {
    let house = with_policy(web_only());
    house.ask(&vera(), "hola");
    house.later(11 * MINUTE_MS);
    house.ask(&vera(), "no puedo");
    let said = house.said().pop().unwrap().message;
    assert!(said.body.contains("ya venció"), "{}", said.body);
    let titles: Vec<&str> = (said.buttons.iter()).map(|b| b.title.as_str()).collect();
    assert_eq!(titles, ["Nuevo enlace", "Cancelar"]);
    let tap = Content::Button {
        id: said.buttons[0].id.clone(),
    };
    house.receive(house.message(&vera(), tap)).unwrap();
    house.settle();
    let text = house.sign_in_on_page(&house.link(&vera()).unwrap(), VERA);
    house.ask(&vera(), &text);
    assert_eq!(house.handed_on(), [Some("hola".to_owned())]);
}

#[test]
fn a_number_that_came_into_other_hands_takes_nothing_over() {
    let house = house();
    let mut person = vera();
    person.bsuid = Bsuid::parse("CO.13491208655302741918").ok();
    person.key = IdentityKey::parse("first").ok();
    let text = house.sign_in_on_page(&house.new_link(&person), VERA);
    let heir = Person {
        bsuid: Bsuid::parse("CO.13491208655302741919").ok(),
        key: IdentityKey::parse("second").ok(),
        ..person.clone()
    };
    house.ask(&heir, &text);
    assert!(!acts_for(&house, &heir, VERA) && !acts_for(&house, &person, VERA));
}

#[test]
fn a_link_that_was_declined_is_dead_and_the_chat_is_told() {
    let house = house();
    let hash = house.new_link(&malo());
    assert_eq!(
        house.app.decline(&hash).unwrap().answer,
        PageAnswer::Declined
    );
    house.settle();
    let told = house.said_to(&malo()).pop().unwrap();
    assert!(told.contains("dijo que no lo había pedido"), "{told}");
    assert_eq!(house.audited("link.declined"), 1);
    assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::Gone);
    assert_eq!(house.app.decline(&hash).unwrap().answer, PageAnswer::Gone);
    assert_eq!(house.audited("link.declined"), 1);
}

#[test]
fn a_step_up_proves_one_mailbox_and_binds_nothing_that_belongs_to_another() {
    let house = with_policy(finishing_by(Finish::MailCode));
    let hash = house.new_link(&vera());
    let verdict = Verdict::These(vec![house.account(VERA), house.account(MALO)]);
    let visitor = Visitor::new(VERA, NETWORK);
    let (answer, _) = house.form(&hash, None, &visitor, verdict);
    assert_eq!(answer, PageAnswer::CodeMailed);
    house.settle();
    assert_eq!((house.mails_to(VERA), house.mails_to(MALO)), (1, 0));
    house.ask(&vera(), &house.code());
    assert!(acts_for(&house, &vera(), VERA) && !acts_for(&house, &vera(), MALO));
}

#[test]
fn the_code_of_a_step_up_is_typed_in_the_chat_that_asked_for_the_link() {
    let house = with_policy(finishing_by(Finish::MailCode));
    let hash = house.new_link(&malo());
    assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::CodeMailed);
    house.settle();
    let code = house.code();
    house.ask(&vera(), &code);
    house.ask(&other(), &code);
    assert!(!acts_for(&house, &vera(), VERA) && !acts_for(&house, &other(), VERA));
    assert_eq!(forwarded(&house, &malo(), &code), "code_wrong");
    assert!(!house.is_bound(&malo()));
    assert!(matches!(
        house.contact(&malo()).stage,
        Stage::CodeAwaited(_)
    ));
}

// --- S-31, S-32: attacks ----------------------------------------------------------------------------

/// How far the victim goes along with the attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    /// Opens the link, signs in, goes back to WhatsApp.
    Natural,
    /// Also hands over the text with the return code, off the natural path.
    Relays,
    /// Is talked through it: also types the attacker's number where the page asks for it.
    TalkedThrough,
}

/// Whether the attacker's chat ends up as the victim's.
fn is_taken_over(policy: &Policy, phone: Option<&str>, victim: Victim) -> bool {
    let house = with_policy(policy.clone());
    house.phone_on_file(VERA, phone);
    let hash = house.new_link(&malo());
    let number = if victim == Victim::TalkedThrough {
        "573001000001"
    } else {
        "573002000002"
    };
    let verdict = Verdict::These(vec![house.account(VERA)]);
    let visitor = Visitor::new(VERA, NETWORK);
    let (_, text) = house.form(&hash, Some(number), &visitor, verdict);
    house.settle();
    if let Some(text) = text {
        if victim == Victim::Natural {
            house.ask(&vera(), &text);
            forwarded(&house, &malo(), &text);
        }
        house.ask(&malo(), &text);
    }
    acts_for(&house, &malo(), VERA)
}

/// S-32: the documented residual, in every setting there is. A line here that comes or goes is a
/// change of what Portero promises.
#[test]
fn s_32_who_gets_in_with_the_link_of_somebody_else_is_known_for_every_setting() {
    let mut taken = BTreeSet::new();
    for finish in [Finish::ReturnCode, Finish::MailCode, Finish::Nothing] {
        for ask_number in [false, true] {
            for phone_on_file in [
                PhoneOnFile::MustMatch,
                PhoneOnFile::StepUp,
                PhoneOnFile::Ignored,
            ] {
                for phone in [None, Some("+57 300 2000002")] {
                    let policy = Policy {
                        finish,
                        ask_number,
                        phone_on_file,
                        ..House::both_ways_in()
                    };
                    let least = [Victim::Natural, Victim::Relays, Victim::TalkedThrough]
                        .into_iter()
                        .find(|victim| is_taken_over(&policy, phone, *victim));
                    if let Some(victim) = least {
                        let asked = if ask_number { "asked" } else { "not asked" };
                        let known = if phone.is_some() { "known" } else { "unknown" };
                        taken.insert(format!(
                            "{finish:?}, number {asked}, phone {known} and {phone_on_file:?}: {victim:?}"
                        ));
                    }
                }
            }
        }
    }
    let golden: BTreeSet<String> = [
        // A return code: only who hands it over, and nobody whose phone is on file and looked at.
        "ReturnCode, number not asked, phone unknown and MustMatch: Relays",
        "ReturnCode, number not asked, phone unknown and StepUp: Relays",
        "ReturnCode, number not asked, phone unknown and Ignored: Relays",
        "ReturnCode, number not asked, phone known and Ignored: Relays",
        // With the number asked for, that must be the attacker's, too.
        "ReturnCode, number asked, phone unknown and MustMatch: TalkedThrough",
        "ReturnCode, number asked, phone unknown and StepUp: TalkedThrough",
        "ReturnCode, number asked, phone unknown and Ignored: TalkedThrough",
        "ReturnCode, number asked, phone known and Ignored: TalkedThrough",
        // Nothing: whoever opens the link and signs in. This is what the return code is for.
        "Nothing, number not asked, phone unknown and MustMatch: Natural",
        "Nothing, number not asked, phone unknown and StepUp: Natural",
        "Nothing, number not asked, phone unknown and Ignored: Natural",
        "Nothing, number not asked, phone known and Ignored: Natural",
        "Nothing, number asked, phone unknown and MustMatch: TalkedThrough",
        "Nothing, number asked, phone unknown and StepUp: TalkedThrough",
        "Nothing, number asked, phone unknown and Ignored: TalkedThrough",
        "Nothing, number asked, phone known and Ignored: TalkedThrough",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    let more: Vec<_> = taken.difference(&golden).collect();
    let fewer: Vec<_> = golden.difference(&taken).collect();
    assert!(
        more.is_empty() && fewer.is_empty(),
        "now: {more:#?}\nno longer: {fewer:#?}"
    );
}

#[test]
fn s_32_the_number_that_the_page_asks_for_is_tried_three_times() {
    let policy = Policy {
        ask_number: true,
        ..House::both_ways_in()
    };
    let house = with_policy(policy);
    let hash = house.new_link(&malo());
    assert!(house.app.page(&hash).unwrap().unwrap().asks_number);
    let visitor = Visitor::new(VERA, NETWORK);
    let with = |number| {
        let verdict = Verdict::These(vec![house.account(VERA)]);
        house.form(&hash, number, &visitor, verdict).0
    };
    assert_eq!(with(None), PageAnswer::WrongNumber { left: 2 });
    assert_eq!(
        with(Some("573002000002")),
        PageAnswer::WrongNumber { left: 1 }
    );
    assert_eq!(with(Some("300 200 0002")), PageAnswer::Burned);
    assert_eq!(with(Some("300 100 0001")), PageAnswer::Gone);
    assert_eq!(house.audited("password.right"), 0);
}

#[test]
fn s_32_a_phone_on_file_decides_without_anybody_having_to_judge() {
    let own = Some("+57 300 2000002");
    let sign_in = |phone_on_file, chat: &Person| {
        let policy = Policy {
            phone_on_file,
            ..House::both_ways_in()
        };
        let house = with_policy(policy);
        house.phone_on_file(VERA, own);
        let hash = house.new_link(chat);
        let (answer, _) = house.right_password(&hash, VERA);
        house.settle();
        (
            answer,
            acts_for(&house, chat, VERA),
            subjects(&house, VERA).len(),
        )
    };
    for setting in [PhoneOnFile::MustMatch, PhoneOnFile::StepUp] {
        assert_eq!(sign_in(setting, &vera()), (PageAnswer::Finished, true, 1));
    }
    assert_eq!(
        sign_in(PhoneOnFile::MustMatch, &malo()),
        (PageAnswer::Refused, false, 1)
    );
    assert_eq!(
        sign_in(PhoneOnFile::StepUp, &malo()),
        (PageAnswer::CodeMailed, false, 1)
    );
    for chat in [vera(), malo()] {
        assert_eq!(
            sign_in(PhoneOnFile::Ignored, &chat),
            (PageAnswer::Return, false, 0)
        );
    }
}

/// The takeover that the return code prevents, shown with nothing in its place: the operator has to
/// type this setting, and is warned of it at every start.
#[test]
fn with_nothing_after_the_password_a_link_that_was_passed_on_is_a_takeover() {
    let house = with_policy(finishing_by(Finish::Nothing));
    let hash = house.new_link(&malo());
    assert_eq!(house.right_password(&hash, VERA).0, PageAnswer::Finished);
    assert!(acts_for(&house, &malo(), VERA));
}

/// What came of many attacks.
#[derive(Debug, Default)]
struct Tally {
    taken_over: usize,
    as_victim: usize,
    as_attacker: usize,
    mismatches: usize,
    undone: usize,
    repeated: usize,
}

/// One attack of random moves. The attacker passes links on, asks for new ones, signs in as itself,
/// guesses, declines, writes the victim's address, and has everything but the victim's mailbox and
/// the return code; that one it has only as a forwarded message, unless `relays`. The victim opens
/// whatever comes, signs in, goes back to WhatsApp, and never tells a code.
fn attack(seed: u64, policy: &Policy, relays: bool, tally: &mut Tally) {
    const MOVES: usize = 40;
    let mut dice = Dice::new(seed);
    let mut house = with_policy(policy.clone());
    let (malo, vera, other) = (malo(), vera(), other());
    // Links that everybody has, texts that are ready in the victim's and in the attacker's browser,
    // messages that came before, messages that are still on their way.
    let mut links: Vec<MappingHash> = Vec::new();
    let (mut victims, mut attackers): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let (mut before, mut under_way): (Vec<Inbound>, Vec<Inbound>) = (Vec::new(), Vec::new());
    let (mut bound, mut seen) = (0, 0);
    for turn in 0..MOVES {
        house.clock.forward(SECOND_MS + dice.below(20_000) as u64);
        let mut message = None;
        match dice.below(27) {
            0 | 1 => message = Some(house.text(&malo, "enlace")),
            2 | 3 => message = Some(house.text(&vera, "enlace")),
            4 => message = Some(house.text(&other, "enlace")),
            5..=8 => {
                if let Some(hash) = dice.any(&links)
                    && let (PageAnswer::Return, Some(text)) = house.right_password(hash, VERA)
                {
                    victims.push(text);
                }
            }
            9 => {
                if let Some(hash) = dice.any(&links) {
                    house.wrong_password(hash, VERA);
                }
            }
            10 | 11 => {
                if let Some(hash) = dice.any(&links)
                    && let (PageAnswer::Return, Some(text)) = house.right_password(hash, MALO)
                {
                    attackers.push(text);
                }
            }
            12 => {
                if let Some(hash) = dice.any(&links) {
                    house.app.decline(hash).unwrap();
                }
            }
            // The victim presses "Send": the newest text, or an old one from the browser's history.
            13 | 14 => {
                message = victims.last().map(|text| house.text(&vera, text));
            }
            15 => message = dice.any(&victims).map(|text| house.text(&vera, text)),
            16 => {
                message = dice.any(&victims).map(|text| Inbound {
                    provenance: Provenance::Forwarded,
                    ..house.text(&malo, text)
                });
            }
            17 => message = dice.any(&attackers).map(|text| house.text(&malo, text)),
            18 => {
                let everybody = [&malo, &vera, &other];
                let person = everybody[dice.below(3)];
                message = dice.any(&victims).map(|text| Inbound {
                    provenance: Provenance::Group,
                    ..house.text(person, text)
                });
            }
            19 => {
                if let Some(again) = dice.any(&before) {
                    tally.repeated += house.receive(again.clone()).unwrap().repeated;
                }
            }
            20 => house.clock.forward(dice.below(12 * 60) as u64 * SECOND_MS),
            21 => {
                house = house.restarted();
                bound = u64::MAX;
            }
            22 => {
                let words = [
                    VERA,
                    "12345678",
                    "reenviar",
                    "cancelar",
                    "cerrar sesión",
                    "hola",
                    MALO,
                ];
                message = Some(house.text(&malo, dice.one(&words)));
            }
            23 => {
                message = Some(match dice.below(2) {
                    0 => house.text(&vera, VERA),
                    // From her own mailbox, into her own chat.
                    _ => match house
                        .mails()
                        .iter()
                        .rev()
                        .find(|mail| mail.to.as_str() == VERA)
                    {
                        Some(mail) => house.text(&vera, &super::house::code_of(mail)),
                        None => house.text(&vera, "hola"),
                    },
                });
            }
            24 => {
                if let Some(token) = house.undo_token(VERA)
                    && house.app.undo(&token).unwrap()
                {
                    tally.undone += 1;
                }
            }
            25 if !under_way.is_empty() => {
                let late = under_way.swap_remove(dice.below(under_way.len()));
                house.receive(late).unwrap();
            }
            _ if relays => message = victims.last().map(|text| house.text(&malo, text)),
            _ => {}
        }
        if let Some(message) = message {
            before.push(message.clone());
            if dice.below(6) == 0 {
                under_way.push(message);
            } else {
                let outcomes = house.receive(message).unwrap().outcomes;
                tally.mismatches += usize::from(outcomes.contains(&"mismatch"));
            }
        }
        if dice.below(8) > 0 {
            house.settle();
        }
        let said = house.said();
        for said in &said[seen..] {
            if let Some(Link {
                to: LinkTarget::Url(url),
                ..
            }) = &said.message.link
            {
                links.push(MappingHash::parse(url.rsplit('=').next().unwrap()).unwrap());
            }
        }
        seen = said.len();
        // Nobody is bound without this outcome; the last move looks at everybody anyway.
        let now_bound = house
            .app
            .outcomes()
            .get("bound")
            .copied()
            .unwrap_or_default();
        let is_last = turn + 1 == MOVES;
        if is_last || now_bound != bound {
            bound = now_bound;
            if acts_for(&house, &malo, VERA) || acts_for(&house, &other, VERA) {
                tally.taken_over += 1;
                return;
            }
            tally.as_victim += usize::from(!is_last && acts_for(&house, &vera, VERA));
            tally.as_attacker += usize::from(!is_last && acts_for(&house, &malo, MALO));
        }
    }
}

#[test]
fn s_31_a_thousand_random_attacks_without_the_return_code_take_nothing_over() {
    let mut tally = Tally::default();
    let policies = [
        House::both_ways_in(),
        web_only(),
        finishing_by(Finish::MailCode),
        Policy {
            passwords_per_network: 1_000,
            passwords_per_user_per_hour: 1_000,
            ..House::both_ways_in()
        },
    ];
    for seed in 1..=1_000 {
        let policy = &policies[seed as usize % policies.len()];
        attack(seed, policy, false, &mut tally);
        assert_eq!(tally.taken_over, 0, "with seed {seed}");
    }
    // The attacks were attacks, and the people in them got where they wanted.
    assert!(tally.mismatches > 300, "{tally:?}");
    assert!(tally.as_victim > 200, "{tally:?}");
    assert!(tally.as_attacker > 40, "{tally:?}");
    assert!(tally.undone > 30, "{tally:?}");
    assert!(tally.repeated > 300, "{tally:?}");
}

/// The same moves, with the return code told to the attacker as well: the documented residual, and
/// the proof that the attacks above would find a way in if there was one.
#[test]
fn s_31_random_attacks_with_the_return_code_take_over_only_where_it_is_documented() {
    let taken_over = |seeds: u64, policy: &Policy, phone: bool| {
        let mut tally = Tally::default();
        for seed in 1..=seeds {
            let policy = Policy {
                phone_on_file: if phone {
                    PhoneOnFile::MustMatch
                } else {
                    PhoneOnFile::Ignored
                },
                ..policy.clone()
            };
            attack(seed, &policy, true, &mut tally);
        }
        tally.taken_over
    };
    // One attack in fourteen finds the way in, whatever dice are thrown: of so many, no fewer do by
    // chance.
    let relayed = taken_over(300, &House::both_ways_in(), false);
    assert!(relayed > 7, "{relayed}");
    assert_eq!(taken_over(150, &finishing_by(Finish::MailCode), false), 0);
    let nothing = taken_over(150, &finishing_by(Finish::Nothing), false);
    assert!(
        nothing > 75,
        "{nothing}: with nothing after the password the link is enough"
    );
}

#[test]
fn nothing_that_leaves_for_the_bot_has_a_return_code_in_it() {
    let house = house();
    let text = house.sign_in_on_page(&house.new_link(&vera()), VERA);
    house.ask(&vera(), &text);
    // Again, by the thumb, later, from elsewhere, by forward.
    house.ask(&vera(), &text);
    house.later(MINUTE_MS);
    house.ask(&vera(), &text);
    forwarded(&house, &vera(), &text);
    house.sign_in(&malo(), MALO);
    house.ask(&malo(), &text);
    let bots = |left: &Left| matches!(left, Left::HandedOn(one) if said_in(one).as_deref() != Some("hola"));
    assert!(!house.left().iter().any(bots));
}

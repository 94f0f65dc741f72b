//! What the bot never sees: conversations at random, with everything that people type in a sign-in
//! and around it, through both gates.

use super::house::{House, Left, Person, code_of, other_than, said_in};
use crate::dice::Dice;
use crate::keys::part;
use portero::app::{Granted, Verdict, Wish};
use portero::domain::contact::{Contact, Stage};
use portero::domain::conversation::Outcome;
use portero::domain::delivery::{LinkTarget, Mail};
use portero::domain::message::{Content, Inbound, Provenance};
use portero::domain::policy::{Gate, Policy};
use portero::domain::requirement::{ProofWanted, RequirementState};
use portero::domain::sign_in::PageAnswer;
use portero::domain::time::{DAY_MS, MINUTE_MS, SECOND_MS};
use std::collections::HashSet;

/// Conversations of each gate.
const CONVERSATIONS: u64 = 500;

/// Turns of each.
const TURNS: usize = 30;

/// Somebody who answers what they are asked, more or less.
struct Talker {
    person: Person,
    number: u64,
    address: String,
    password: String,
    /// Everything that was typed for a sign-in, as it was typed.
    secrets: HashSet<String>,
    /// What was typed for the bot.
    words: Vec<String>,
}

impl Talker {
    fn new(number: u64) -> Talker {
        Talker {
            person: Person::with_number(&format!("57300{number:07}")),
            number,
            address: format!("canario{number}@example.com"),
            password: format!("Zorro-{number}-Rojo!"),
            secrets: HashSet::new(),
            words: Vec::new(),
        }
    }

    fn secret(&mut self, text: String) -> String {
        self.secrets.insert(text.clone());
        text
    }

    /// Who this is in the records, once they have written.
    fn contact(&self, house: &House) -> Option<Contact> {
        let mut contacts = house.contacts().into_iter();
        contacts.find(|known| known.wa_id == self.person.wa_id)
    }

    fn mailed_code(&self, house: &House) -> Option<String> {
        let mails = house.mails();
        let mine = |mail: &&Mail| mail.to.as_str() == self.address;
        // Notices carry no code.
        mails.iter().rev().filter(mine).find_map(|mail| {
            let digits = |word: &str| word.len() == 8 && word.bytes().all(|b| b.is_ascii_digit());
            let has_code = mail.text.split_whitespace().any(digits);
            has_code.then(|| code_of(mail))
        })
    }

    /// One turn: an answer to the last sentence of Portero's, or something else.
    fn turn(&mut self, house: &House, dice: &mut Dice, gate: Gate) {
        let last = house
            .said_to(&self.person)
            .last()
            .cloned()
            .unwrap_or_default();
        let contact = self.contact(house);
        let is_bound = contact.as_ref().is_some_and(|known| known.is_bound());
        match dice.below(12) {
            0 => house.later(dice.below(30) as u64 * SECOND_MS),
            1 => house.later(dice.below(15) as u64 * MINUTE_MS),
            2 if dice.below(6) == 0 => house.later(25 * 60 * MINUTE_MS),
            // The bot asks for a sign-in, of somebody unknown or once more.
            3 if gate == Gate::OnRequest || dice.below(4) == 0 => {
                if let Some(contact) = contact {
                    let wish = if dice.below(2) == 0 {
                        Wish::Link { send: true }
                    } else {
                        let proof = dice.one(&[
                            ProofWanted::Any,
                            ProofWanted::MailCode,
                            ProofWanted::Password,
                        ]);
                        let age_max_ms = Some(SECOND_MS);
                        Wish::Proof { proof, age_max_ms }
                    };
                    house.app.grant("bot", contact.id, wish, None).unwrap();
                }
            }
            // What people say anyway, to whoever listens.
            4 | 5 => {
                let number = self.words.len();
                let said = format!("pregunta {number} de la persona {}", self.number);
                self.words.push(said.clone());
                house.write(&self.person, &said);
            }
            6 => {
                let ours = [
                    "cancelar",
                    "reenviar",
                    "otro correo",
                    "quién soy",
                    "entrar en la web",
                ];
                house.write(&self.person, dice.one(&ours));
            }
            7 if is_bound && dice.below(3) == 0 => {
                house.write(&self.person, "cerrar sesión");
            }
            8 => self.on_the_page(house, dice),
            _ => self.answer(house, dice, &last, is_bound),
        }
        house.settle();
    }

    /// An answer to what was asked, when something is.
    fn answer(&mut self, house: &House, dice: &mut Dice, last: &str, is_bound: bool) {
        let asks = |words: &[&str]| words.iter().any(|word| last.contains(word));
        let in_flight = self.is_in_flight(house);
        let typed = if self.awaits_code(house) {
            let right = self.mailed_code(house).unwrap_or_else(|| "73519284".into());
            let code = if dice.below(3) == 0 {
                other_than(&right)
            } else {
                right
            };
            match dice.below(5) {
                0 => format!("mi código es {} {}", &code[..4], &code[4..]),
                1 => format!("{}-{}", &code[..4], &code[4..]),
                2 => code[..7].to_owned(),
                _ => code,
            }
        } else if asks(&["correo", "email", "address"]) && !is_bound && in_flight {
            match dice.below(6) {
                0 => self.address.to_uppercase(),
                1 => format!("es {} gracias", self.address),
                2 => self.address.replace("example.com", "gmial.com"),
                3 => format!("{} o {}", self.address, self.address.replace("com", "org")),
                _ => self.address.clone(),
            }
        } else if self.link(house).is_some() && in_flight {
            // In the wrong place.
            self.password.clone()
        } else {
            return;
        };
        let typed = self.secret(typed);
        let mut message = house.text(&self.person, &typed);
        if dice.below(8) == 0 {
            message.provenance = Provenance::Forwarded;
        }
        self.receive(house, message, dice);
    }

    fn receive(&self, house: &House, message: Inbound, dice: &mut Dice) {
        house.receive(message.clone()).unwrap();
        if dice.below(5) == 0 {
            // Meta repeats.
            house.receive(message).unwrap();
        }
    }

    /// Whether Portero is waiting for an answer: what is typed then is typed for it.
    fn is_in_flight(&self, house: &House) -> bool {
        let (now, policy) = (house.app.now(), Policy::default());
        (self.contact(house)).is_some_and(|contact| match &contact.stage {
            Stage::Idle | Stage::LinkSent => (contact.mapping.as_ref())
                .is_some_and(|mapping| mapping.is_live(now) || mapping.awaits_return(now)),
            Stage::AddressAsked { at } => now.since_ms(*at) < policy.code_lifetime_ms,
            // The next day it is another conversation.
            Stage::SpellingAsked { .. } => now.since_ms(contact.last_message_at) < 60 * MINUTE_MS,
            Stage::CodeAwaited(challenge) => now < challenge.expires_at,
        })
    }

    fn awaits_code(&self, house: &House) -> bool {
        (self.contact(house)).is_some_and(|contact| {
            matches!(&contact.stage, Stage::CodeAwaited(challenge) if house.app.now() < challenge.expires_at)
        })
    }

    fn link(&self, house: &House) -> Option<portero::domain::secret::MappingHash> {
        let said = house.said().into_iter().rev();
        let mut mine = said.filter(|said| self.person.is(&said.to));
        let link = mine.find_map(|said| said.message.link)?;
        match link.to {
            LinkTarget::Url(_) => house.link(&self.person),
            LinkTarget::SignIn(_) => None,
        }
    }

    fn on_the_page(&mut self, house: &House, dice: &mut Dice) {
        let Some(hash) = self.link(house) else {
            return;
        };
        if dice.below(4) == 0 {
            house.wrong_password(&hash, &self.address);
            return;
        }
        let (answer, text) = house.right_password(&hash, &self.address);
        if answer == PageAnswer::Return
            && let Some(text) = text
            && dice.below(4) > 0
        {
            let text = self.secret(text);
            let message = house.text(&self.person, &text);
            self.receive(house, message, dice);
        }
    }
}

/// Of 1,000 conversations at random, 500 through each gate, the bot sees what was said to it and no
/// code, address or password that was typed in a sign-in.
#[test]
fn no_code_address_or_password_of_a_thousand_conversations_reaches_the_bot() {
    for gate in [Gate::Everyone, Gate::OnRequest] {
        let (mut bound, mut handed_on, mut asked) = (0, 0, 0);
        for number in 0..CONVERSATIONS {
            let policy = Policy {
                gate,
                ..House::both_ways_in()
            };
            let house = House::on_the_web(policy);
            let mut dice = Dice::new(number);
            let mut talker = Talker::new(number);
            house.register("kutamma", &talker.address, "Canaria", "Acme");
            house.write(&talker.person, "hola, soy nueva");
            talker.words.push("hola, soy nueva".into());
            house.settle();
            for _ in 0..TURNS {
                talker.turn(&house, &mut dice, gate);
            }
            for left in house.left() {
                let Left::HandedOn(hand_over) = left else {
                    continue;
                };
                let said = said_in(&hand_over).unwrap_or_default();
                let is_for_the_bot = talker.words.contains(&said) || COMMANDS.contains(&&*said);
                assert!(
                    is_for_the_bot && !talker.secrets.contains(&said),
                    "conversation {number}, {gate:?}: the bot got {said:?}"
                );
                handed_on += 1;
            }
            let outcomes = house.app.outcomes();
            bound += outcomes.get(Outcome::Bound.name()).copied().unwrap_or(0);
            asked += talker.secrets.len();
        }
        // The conversations are worth something only if they come this far.
        assert!(bound >= CONVERSATIONS / 2, "{gate:?}: {bound} sign-ins");
        assert!(
            handed_on as u64 >= 2 * CONVERSATIONS,
            "{gate:?}: {handed_on} handed on"
        );
        assert!(
            asked as u64 >= CONVERSATIONS,
            "{gate:?}: {asked} secrets typed"
        );
    }
}

/// Words of Portero's that mean nothing when nothing is in flight, and so are the bot's.
const COMMANDS: [&str; 5] = [
    "cancelar",
    "reenviar",
    "otro correo",
    "quién soy",
    "entrar en la web",
];

/// What the bot asked for while the person had it open, and what they typed late.
#[test]
fn on_request_a_late_answer_is_still_an_answer_and_ordinary_words_are_the_bots_again() {
    let house = open_house(Gate::OnRequest);
    let ana = Person::with_number("573001112233");
    assert_eq!(house.write(&ana, "hola"), "handed_on");
    assert_eq!(
        house.write(&ana, "mi correo es ana@example.com"),
        "handed_on"
    );
    let id = house.contact(&ana).id;
    let wish = Wish::Proof {
        proof: ProofWanted::MailCode,
        age_max_ms: None,
    };
    house.app.grant("bot", id, wish, None).unwrap();
    house.settle();
    // Under way: everything is part of it, also what is not understood.
    for text in ["ana arroba example", "¿para qué?", "Zorro-1-Rojo!"] {
        assert_ne!(house.write(&ana, text), "handed_on", "{text}");
        house.later(6 * SECOND_MS);
    }
    assert_eq!(house.write(&ana, "ana@example.com"), "code_asked");
    house.settle();
    let code = house.code();
    house.later(11 * MINUTE_MS);
    // The code is dead, and still nobody's business.
    assert_ne!(house.write(&ana, &code), "handed_on");
    assert_ne!(house.write(&ana, "ana@example.com"), "handed_on");
    house.later(11 * MINUTE_MS);
    assert_eq!(house.write(&ana, "¿y mi pedido?"), "handed_on");
    let picture = house.message(&ana, Content::Other("image"));
    assert_eq!(house.receive(picture).unwrap().outcomes, ["handed_on"]);
    house.settle();
    let got = house.handed_on();
    let expected = ["hola", "mi correo es ana@example.com", "¿y mi pedido?"];
    let expected = expected.map(|text| Some(text.to_owned()));
    assert_eq!(got[..3], expected);
    assert_eq!(got[3..], [None]);
}

/// Everybody may write to the bot, and both ways in are open; Ana and Bea are registered.
fn open_house(gate: Gate) -> House {
    let policy = Policy {
        gate,
        ..House::both_ways_in()
    };
    let house = House::on_the_web(policy);
    house.register("kutamma", "ana@example.com", "Ana", "Acme");
    house.register("kutamma", "bea@example.com", "Bea", "Acme");
    house
}

/// The bot demands a fresh proof, and what follows from it leaves.
fn demand(house: &House, person: &Person, proof: ProofWanted) {
    house.later(2 * MINUTE_MS);
    // In WhatsApp's window.
    house.write(person, "una pregunta");
    let wish = Wish::Proof {
        proof,
        age_max_ms: Some(SECOND_MS),
    };
    let id = house.contact(person).id;
    let granted = house.app.grant("bot", id, wish, None).unwrap();
    assert!(matches!(granted, Granted::Demand { .. }), "{granted:?}");
    house.settle();
}

fn standing(house: &House, person: &Person) -> RequirementState {
    house.contact(person).requirement.unwrap().state
}

#[test]
fn on_request_what_is_typed_for_a_sign_in_in_a_group_is_not_handed_on() {
    let house = open_house(Gate::OnRequest);
    let ana = Person::with_number("573001112233");
    let in_group = |text: &str| {
        let message = Inbound {
            provenance: Provenance::Group,
            ..house.text(&ana, text)
        };
        house.receive(message).unwrap().outcomes[0]
    };
    // Of strangers nothing is asked, and a group makes nobody a contact.
    assert_eq!(in_group("12345678"), "handed_on");
    assert_eq!(in_group("soy ana@example.com"), "handed_on");
    assert!(house.contacts().is_empty());
    demand(&house, &ana, ProofWanted::MailCode);
    assert_ne!(in_group("ana@example.com"), "handed_on", "asked for");
    assert_eq!(house.write(&ana, "ana@example.com"), "code_asked");
    house.settle();
    let code = house.code();
    assert_ne!(in_group(&code), "handed_on", "live");
    house.later(40 * MINUTE_MS);
    assert_ne!(in_group(&code), "handed_on", "dead");
    assert_ne!(in_group("ana@example.com"), "handed_on", "late");
    assert_eq!(in_group("hola a todos"), "handed_on");
    // A code of the page is nobody's business, whoever sends it.
    let wish = Wish::Link { send: true };
    let id = house.contact(&ana).id;
    house.app.grant("bot", id, wish, None).unwrap();
    house.settle();
    let hash = house.link(&ana).unwrap();
    let text = house.sign_in_on_page(&hash, "ana@example.com");
    let stranger = Person::with_number("573009998877");
    let message = Inbound {
        provenance: Provenance::Group,
        ..house.text(&stranger, &text)
    };
    assert_ne!(
        house.receive(message.clone()).unwrap().outcomes[0],
        "handed_on"
    );

    // And of somebody bound.
    house.later(61 * MINUTE_MS);
    house.write(&ana, "ana@example.com");
    demand(&house, &ana, ProofWanted::MailCode);
    house.write(&ana, "ana@example.com");
    house.settle();
    house.write(&ana, &house.code());
    assert!(house.is_bound(&ana));
    demand(&house, &ana, ProofWanted::MailCode);
    assert_ne!(in_group(&house.code()), "handed_on", "of a step-up");
    house.write(&ana, &house.code());
    assert_eq!(in_group("hola a todos"), "handed_on");
}

#[test]
fn a_live_code_reaches_the_bot_in_no_disguise() {
    let house = open_house(Gate::Everyone);
    let ana = Person::with_number("573001112233");
    house.sign_in(&ana, "ana@example.com");
    demand(&house, &ana, ProofWanted::MailCode);
    let code = house.code();
    let keycaps: String = code
        .chars()
        .flat_map(|digit| [digit, '\u{fe0f}', '\u{20e3}'])
        .collect();
    let apart: Vec<String> = code.chars().map(|digit| format!("{digit} y ")).collect();
    let digit = |digit: char, zero: u32| char::from_u32(zero + digit as u32 - 0x30).unwrap();
    let long = "palabras ".repeat(60);
    for text in [
        format!("{long}{code}"),
        format!("{long}{}", &code[..7]),
        format!("mi codigo es {}", &code[..7]),
        format!("mi codigo es {}1", code),
        format!("mi codigo es +{code}"),
        format!("codigo{code}"),
        format!("es {keycaps}"),
        format!("es {}", apart.concat()),
        format!(
            "codigo{}x",
            code.chars().map(|c| digit(c, 0xff10)).collect::<String>()
        ),
        format!("{}  -  {} gracias", &code[..4], &code[4..]),
    ] {
        house.later(6 * SECOND_MS);
        assert_ne!(house.write(&ana, &text), "handed_on", "{text}");
    }
    for kind in ["edit", "image", "video", "document"] {
        house.later(6 * SECOND_MS);
        let message = house.message(&ana, Content::Other(kind));
        assert_eq!(
            house.receive(message).unwrap().outcomes,
            ["asked"],
            "{kind}"
        );
    }
    for text in ["¿y mi pedido 1234?", "el 12 de mayo"] {
        assert_eq!(house.write(&ana, text), "handed_on", "{text}");
    }
    let sticker = house.message(&ana, Content::Other("sticker"));
    assert_eq!(house.receive(sticker).unwrap().outcomes, ["handed_on"]);
    // None of it was a try.
    assert_eq!(house.write(&ana, &code), "bound");
    house.later(6 * SECOND_MS);
    let picture = house.message(&ana, Content::Other("image"));
    assert_eq!(house.receive(picture).unwrap().outcomes, ["handed_on"]);
    assert_eq!(house.write(&ana, "mi telefono es 3001234567"), "handed_on");
}

/// The chat is bound to whoever signs in under a link that the bot sends.
fn sign_in_by_link(house: &House, person: &Person, email: &str) {
    house.write(person, "una pregunta");
    let id = house.contact(person).id;
    house
        .app
        .grant("bot", id, Wish::Link { send: true }, None)
        .unwrap();
    house.settle();
    let hash = house.link(person).unwrap();
    let text = house.sign_in_on_page(&hash, email);
    assert_eq!(house.write(person, &text), "bound");
}

#[test]
fn a_proof_that_was_given_is_none_when_somebody_else_has_the_chat() {
    let house = open_house(Gate::Everyone);
    let ana = Person::with_number("573001112233");
    house.sign_in(&ana, "ana@example.com");
    demand(&house, &ana, ProofWanted::MailCode);
    assert_eq!(house.write(&ana, &house.code()), "bound");
    house.settle();
    assert_eq!(standing(&house, &ana), RequirementState::Passed);
    sign_in_by_link(&house, &ana, "ana@example.com");
    assert_eq!(standing(&house, &ana), RequirementState::Passed);
    sign_in_by_link(&house, &ana, "bea@example.com");
    assert_eq!(standing(&house, &ana), RequirementState::Refused);
}

#[test]
fn a_demand_that_nobody_can_fulfil_any_more_is_refused() {
    let house = open_house(Gate::Everyone);
    let ana = Person::with_number("573001112233");
    house.sign_in(&ana, "ana@example.com");
    demand(&house, &ana, ProofWanted::MailCode);
    let code = house.code();
    demand(&house, &ana, ProofWanted::Password);
    // It proves the mailbox, and with that the link is used up.
    assert_eq!(house.write(&ana, &code), "bound");
    assert_eq!(standing(&house, &ana), RequirementState::Refused);
}

#[test]
fn a_step_up_leaves_the_other_accounts_of_the_same_person_bound() {
    let house = open_house(Gate::Everyone);
    house.register("woku", "ana.p@example.com", "Ana P.", "Acme");
    let ana = Person::with_number("573001112233");
    house.ask(&ana, "hola");
    let hash = house.new_link(&ana);
    let accounts = ["ana@example.com", "ana.p@example.com"].map(|email| house.account(email));
    let visitor = portero::app::Visitor::new("ana", super::house::NETWORK);
    let verdict = Verdict::These(accounts.to_vec());
    let (_, text) = house.form(&hash, None, &visitor, verdict);
    assert_eq!(house.write(&ana, &text.unwrap()), "bound");
    house.settle();
    let before = house.contact(&ana).bindings;
    assert_eq!(before.len(), 2);
    demand(&house, &ana, ProofWanted::MailCode);
    let (mails, told_before) = (house.mails().len(), house.app.now());
    assert_eq!(house.write(&ana, &house.code()), "bound");
    house.settle();
    assert_eq!(standing(&house, &ana), RequirementState::Passed);
    let after = house.contact(&ana).bindings;
    assert_eq!(after.len(), 2, "{after:?}");
    let of = |email: &str| {
        after
            .iter()
            .find(|b| b.email.as_ref().unwrap() == &house.account(email).email)
    };
    assert_eq!(of("ana@example.com").unwrap().proved_at, told_before);
    // As it was: its proof, its first hours and the way to undo it.
    assert_eq!(
        of("ana.p@example.com"),
        before.iter().find(|b| b.service.as_str() == "woku")
    );
    assert_eq!(house.mails().len(), mails + 1, "only one was proved");
    // An ordinary sign-in still takes the place of all.
    sign_in_by_link(&house, &ana, "ana@example.com");
    assert_eq!(house.contact(&ana).bindings.len(), 1);
}

#[test]
fn an_identity_names_whoever_was_bound_before_also_when_they_proved_it_again_since() {
    let house = open_house(Gate::Everyone);
    let ana = Person::with_number("573001112233");
    house.sign_in(&ana, "ana@example.com");
    let written_at = house.app.now();
    let id = house.text(&ana, "hola").id;
    let named = |at| {
        let token = house.app.identity_of(&house.contact(&ana), &id, at);
        let claims = part(token.reveal(), 1);
        claims["bindings"].as_array().unwrap().len()
    };
    assert_eq!(named(written_at), 1);
    demand(&house, &ana, ProofWanted::MailCode);
    assert_eq!(house.write(&ana, &house.code()), "bound");
    assert_eq!(named(written_at), 1, "proved again");
    house.later(MINUTE_MS);
    sign_in_by_link(&house, &ana, "bea@example.com");
    assert_eq!(named(written_at), 0, "somebody else");
    // Having left, Ana is bound anew.
    sign_in_by_link(&house, &ana, "ana@example.com");
    assert_eq!(named(written_at), 0, "a gap");
}

/// S-15: the process is killed, and the clock of its machine goes back before it begins again.
#[test]
fn a_message_that_waits_is_not_of_who_signs_in_after_a_start_with_an_earlier_clock() {
    let noted = |house: House| {
        house.app.note_time().unwrap();
        house
    };
    let down_for = |house: House, ms: u64| {
        let house = noted(house);
        house.clock.forward(ms);
        house.restarted()
    };
    for (story, back_ms) in [
        ("the time was noted", 19 * SECOND_MS),
        ("it never was", 19 * SECOND_MS),
        ("a copy of the store took long", MINUTE_MS),
        ("it had been down for a while", 19 * SECOND_MS),
        ("it had been down for days", MINUTE_MS),
    ] {
        let (house, machine) = open_house(Gate::OnRequest).onto_a_machine(0);
        let house = match story {
            "the time was noted" => noted(house),
            "it never was" => house,
            "a copy of the store took long" => {
                let house = noted(house);
                house.clock.forward(5 * MINUTE_MS);
                house
            }
            "it had been down for a while" => down_for(house, 10 * MINUTE_MS),
            "it had been down for days" => noted(down_for(house, 3 * DAY_MS)),
            _ => unreachable!("{story}"),
        };
        house.later(back_ms);
        let ana = Person::with_number("573001112233");
        let message = house.text(&ana, "hola");
        assert_eq!(house.receive(message).unwrap().outcomes, ["handed_on"]);
        machine.set_ahead(-(back_ms as i64));
        let house = house.restarted();
        sign_in_by_link(&house, &ana, "ana@example.com");
        house.later(back_ms + SECOND_MS);
        let said = |left| match left {
            Left::HandedOn(hand_over) => Some((said_in(&hand_over), hand_over.identity.unwrap())),
            Left::Said(_) | Left::Mailed(_) | Left::Told(_) => None,
        };
        let (said, identity) = house.left().into_iter().find_map(said).unwrap();
        assert_eq!(said.as_deref(), Some("hola"), "{story}");
        let claims = part(identity.reveal(), 1);
        assert_eq!(claims["bindings"], serde_json::json!([]), "{story}");
    }
}

/// The operator takes the bot away and brings it back: no message goes on under the id of another.
#[test]
fn what_was_kept_before_the_bot_was_taken_away_is_not_handed_on_as_another_message() {
    let ana = Person::with_number("573001112233");
    let house = House::on_file();
    house.register("kutamma", "ana@example.com", "Ana", "Acme");
    house.write(&ana, "palabras de ayer");
    house.settle();
    let house = house.restarted_with_a_bot(false);
    // In between another message takes its place, in a new conversation.
    house.later(25 * 60 * MINUTE_MS);
    house.write(&ana, "palabras de hoy");
    house.settle();
    let house = house.restarted_with_a_bot(true);
    house.write(&ana, "ana@example.com");
    house.settle();
    assert_eq!(house.write(&ana, &house.code()), "bound");
    house.settle();
    assert_eq!(house.handed_on(), [] as [Option<String>; 0]);
    house.write(&ana, "otra pregunta");
    house.settle();
    assert_eq!(house.handed_on(), [Some("otra pregunta".to_owned())]);
}

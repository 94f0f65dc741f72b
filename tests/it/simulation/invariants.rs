//! The eleven sentences of the threat model (section 5.2), each a check with its sentence. What the
//! model says beside them is compared in [`World::compare`].

use super::model::{Asked, User, address_of};
use super::steps::{Check, EVERYBODY, How, Step, Text, Weather, Who};
use super::world::{Held, MODEL, World, broken, message_of, name_of};
use crate::house::{Said, code_of, said_in};
use portero::app::{HandOver, Users};
use portero::domain::contact::Contact;
use portero::domain::delivery::Mail;
use portero::domain::id::EmailAddress;
use portero::domain::policy::{Gate, PhoneOnFile};
use portero::domain::reading;
use portero::domain::time::{DAY_MS, HOUR_MS};
use portero::store::Table;
use portero::store::record::{self, FoundBy};
use std::collections::BTreeSet;

pub const FIRST: &str =
    "1: signed in only by a right proof from that chat, in time, never used before";
pub const SECOND: &str = "2: every code, hash, return code and link to undo succeeds once";
pub const THIRD: &str = "3: failures are counted, and guesses stay within their budget";
pub const FOURTH: &str = "4: known and unknown addresses look alike";
pub const FIFTH: &str = "5: what leaves is bounded by what came";
pub const SIXTH: &str = "6: a token is valid while the binding stands, and no longer";
pub const SEVENTH: &str = "7: what happens in one chat touches no other";
pub const EIGHTH: &str = "8: what is refused changes nothing";
pub const NINTH: &str = "9: who was forgotten is nowhere";
pub const TENTH: &str = "10: everybody can still sign in, or is told to wait until a moment";
pub const ELEVENTH: &str = "11: a failure leaves the state before or after, nothing between";

/// What holds after every step.
pub fn after_step(world: &mut World, step: Step, before: &[Contact]) -> Held {
    bound_by_a_proof_of_their_own(world, before)?;
    guesses_within_their_budget(world)?;
    bounded_by_what_came(world)?;
    only_these_chats_changed(world, step, before)?;
    world.compare()?;
    names_lead_to_whose_they_are(world, before)?;
    tokens_while_it_stands(world, step, before)
}

/// What the program relies on where it looks up one of a contact's names and not the other.
fn names_lead_to_whose_they_are(world: &World, before: &[Contact]) -> Held {
    if world.contacts() == before {
        return Ok(());
    }
    let (store, keys) = world.house().store_and_keys();
    let mut names = 0;
    for contact in world.contacts() {
        let addresses: BTreeSet<String> = (contact.bindings.iter())
            .filter_map(|binding| Some(binding.email.as_ref()?.key()))
            .collect();
        names += addresses.len();
        names += usize::from(contact.bsuid.is_some()) + usize::from(contact.wa_id.is_some());
        for address in addresses.iter().map(|text| EmailAddress::parse(text)) {
            let by = FoundBy::Address(address.as_ref().unwrap());
            let found = store
                .view(|reader| record::contacts_found_by(reader, &keys, by, None, 1_000, 1_000));
            if !found.unwrap().contacts.contains(contact) {
                return broken(
                    MODEL,
                    format!("an address does not lead to {:?}", contact.id),
                );
            }
        }
        let led_to = store.view(|reader| {
            let bsuid = (contact.bsuid.as_ref())
                .map(|bsuid| record::contact_of_bsuid(reader, &keys, bsuid))
                .transpose()?;
            let wa_id = (contact.wa_id.as_ref())
                .map(|wa_id| record::contact_of_wa_id(reader, &keys, wa_id))
                .transpose()?;
            Ok([bsuid, wa_id])
        });
        for id in led_to.unwrap().into_iter().flatten() {
            if id != Some(contact.id) {
                return broken(MODEL, format!("a name of {:?} leads to {id:?}", contact.id));
            }
        }
    }
    let aliases = (world.raw().into_iter()).filter(|(table, ..)| *table == Table::Alias);
    match aliases.count() {
        count if count == names => Ok(()),
        count => broken(MODEL, format!("{count} aliases for {names} names")),
    }
}

/// 1. Signed in (chat, user) ⇒ there is, within its time, a right proof from that chat for that
///    user, never before used.
fn bound_by_a_proof_of_their_own(world: &mut World, before: &[Contact]) -> Held {
    let mut used = Vec::new();
    for contact in world.contacts() {
        let old = before.iter().find(|old| old.id == contact.id);
        for binding in &contact.bindings {
            let is_old = old.is_some_and(|old| {
                (old.bindings.iter()).any(|known| known.proof_id == binding.proof_id)
            });
            if is_old {
                continue;
            }
            let email = binding.email.as_ref().map_or("", |email| email.as_str());
            let proof = world.shown.iter().find(|shown| {
                world.ids.get(shown.chat).copied().flatten() == Some(contact.id)
                    && shown.address == email
            });
            let Some(proof) = proof else {
                return broken(FIRST, format!("nothing proves {email} in this chat"));
            };
            if !world.setting.relays && proof.by.is_some_and(|by| address_of(by) != email) {
                return broken(FIRST, format!("{:?} is signed in as {email}", proof.by));
            }
            let secret = ("a proof", proof.secret.clone());
            if !used.contains(&secret) {
                used.push(secret);
            }
        }
    }
    used.into_iter()
        .try_for_each(|secret| world.succeeds(secret))
}

/// 3. Failures per person and address never become fewer but by time or success; guesses that are
///    evaluated stay within the budget of any window, whatever is sent again, restarted or from
///    which chat.
fn guesses_within_their_budget(world: &World) -> Held {
    let policy = &world.setting.policy;
    let Some((now, chat, address)) = world.guesses.last() else {
        return Ok(());
    };
    let today = || world.guesses.iter().filter(|(at, ..)| *now < at + DAY_MS);
    let here = today().filter(|(_, of, _)| of == chat).count();
    let there = today()
        .filter(|(.., of)| !of.is_empty() && of == address)
        .count();
    let max = policy.failures_per_day as usize;
    match here <= max && there <= max && today().count() <= policy.failures_per_day_in_all as usize
    {
        true => Ok(()),
        false => broken(
            THIRD,
            format!("{here} guesses in a chat, {there} at an address"),
        ),
    }
}

/// 5. What a conversation puts into the outbox ≤ f(what came): no loops, no bombs.
fn bounded_by_what_came(world: &World) -> Held {
    let (said, mailed) = (world.said_tags.len(), world.mail_ids.len());
    match said <= 3 * world.events && mailed <= 3 * world.events {
        true => Ok(()),
        false => broken(
            FIFTH,
            format!(
                "{said} messages and {mailed} mails after {} events",
                world.events
            ),
        ),
    }
}

/// 5, and what may be visible: nothing about an account before its proof, no secret in a chat, and
/// a message that nobody knows to have arrived is repeated once, word by word.
pub fn what_is_said(world: &mut World, said: &Said) -> Held {
    let body = said.message.body.clone();
    let known = (world.said_tags.entry(said.tag.clone())).or_insert((0, body.clone()));
    known.0 += 1;
    if known.0 > 2 || known.1 != body {
        return broken(FIFTH, format!("{} times: {body}", known.0));
    }
    if world
        .mailed
        .iter()
        .any(|mailed| body.contains(&mailed.code))
    {
        return broken(MODEL, "a code was said in a chat");
    }
    for who in EVERYBODY {
        if !body.contains(name_of(who)) {
            continue;
        }
        let number = match &said.to {
            portero::domain::delivery::Recipient::Number(number) => number.as_str().to_owned(),
            portero::domain::delivery::Recipient::Bsuid(bsuid) => bsuid.as_str().to_owned(),
        };
        let email = address_of(who);
        let has_proved = world
            .proved
            .iter()
            .any(|(names, of)| *of == email && names.contains(&number));
        if !has_proved {
            return broken(MODEL, format!("{number} heard of {who:?} without a proof"));
        }
    }
    Ok(())
}

/// 5, for mails: to addresses on file alone, five codes an hour and twenty a day each, and one that
/// is sent again is the same.
pub fn what_is_mailed(world: &mut World, mail: &Mail) -> Held {
    let (now, to) = (world.now(), mail.to.as_str().to_owned());
    if !world.model.users.iter().any(|user| user.email == to) {
        return broken(MODEL, format!("{to} is on no file"));
    }
    let known =
        (world.mail_ids.entry(mail.id.clone())).or_insert((now, to.clone(), mail.subject.clone()));
    if known.1 != to || known.2 != mail.subject {
        return broken(FIFTH, "a mail that was sent again is another one");
    }
    let code = code_of(mail);
    if code.len() != 8 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    let codes = |window: u64| {
        let mails = world.mail_ids.values();
        mails
            .filter(|(at, of, subject)| {
                *of == to && subject.as_bytes()[0].is_ascii_digit() && now < at + window
            })
            .count()
    };
    let policy = &world.setting.policy;
    // A mail leaves up to the life of its code after it was asked for.
    match codes(HOUR_MS - policy.code_lifetime_ms) <= policy.mails_per_hour as usize
        && codes(DAY_MS - policy.code_lifetime_ms) <= policy.mails_per_day as usize
    {
        true => Ok(()),
        false => broken(FIFTH, format!("too many codes are mailed to {to}")),
    }
}

/// What may be visible to the bot: no return code, no code that would still sign somebody in, and
/// nothing under another name than that of whoever wrote it.
pub fn what_the_bot_gets(world: &World, hand_over: &HandOver) -> Held {
    let text = said_in(hand_over).unwrap_or_default();
    if reading::return_code(&text).is_some() {
        return broken(MODEL, "the bot got a return code");
    }
    let Some(identity) = &hand_over.identity else {
        return Ok(());
    };
    let Some(message) = message_of(world, identity) else {
        return broken(MODEL, "the bot got an identity that is not believed");
    };
    let Some(author) = world.authors.get(message.as_str()) else {
        return broken(MODEL, "the bot got a message that nobody wrote");
    };
    if world.of_sign_ins.contains(message.as_str()) {
        return broken(MODEL, format!("the bot got what was for a sign-in: {text}"));
    }
    if let Ok(identity) = world.house().app.identity(identity.reveal()) {
        if world.ids[*author] != Some(identity.contact) {
            return broken(SEVENTH, "the bot got a message under another name");
        }
        // Whoever signed in afterwards did not write it.
        if let Some(decided) = world.decided.get(message.as_str()) {
            let given = world.tokens(identity.contact, &identity.users)?;
            tokens_are_of(&given, decided, false)?;
        }
    }
    let live = world.model.chats[*author]
        .as_ref()
        .and_then(|chat| match &chat.asked {
            Asked::Code(code) => code.mailed.clone(),
            _ => None,
        });
    match live {
        Some(code) if text.contains(&code) => broken(MODEL, "the bot got a code that is awaited"),
        _ => Ok(()),
    }
}

/// 6. A token is valid ⇒ the binding is live ⇒ neither ended, suspended nor erased.
fn tokens_while_it_stands(world: &World, step: Step, before: &[Contact]) -> Held {
    let (now, is_later) = (
        world.now(),
        matches!(step, Step::Tick(ms) | Step::Leap(ms) if ms >= HOUR_MS),
    );
    for contact in world.contacts() {
        let is_changed = !before.contains(contact);
        if !is_changed && !is_later && !matches!(step, Step::Restart | Step::BackAtRestart { .. }) {
            continue;
        }
        let Some(chat) = world.ids.iter().position(|id| *id == Some(contact.id)) else {
            continue;
        };
        let given = world.tokens(contact.id, &Users::default())?;
        tokens_are_of(&given, &world.model.acts_as(chat, now), true)?;
    }
    Ok(())
}

/// 6, for what was given: of those who are signed in, all of them where `is_all`.
pub fn tokens_are_of(given: &[User], allowed: &[User], is_all: bool) -> Held {
    let is_too_many = given.iter().any(|user| !allowed.contains(user));
    let is_too_few = is_all && allowed.iter().any(|user| !given.contains(user));
    match is_too_many || is_too_few {
        true => broken(
            SIXTH,
            format!("tokens of {given:?}, signed in as {allowed:?}"),
        ),
        false => Ok(()),
    }
}

/// 7. One business per process: in place of *company A's events never touch company B's keys*,
///    what happens in a chat changes no other contact but the one whose link came back there, and
///    those who have the same number or BSUID.
fn only_these_chats_changed(world: &World, step: Step, before: &[Contact]) -> Held {
    let writes = matches!(step, Step::Write(..) | Step::Arrives(_));
    if !writes && !matches!(step, Step::Look(_) | Step::Token(_) | Step::Again(_)) {
        return Ok(());
    }
    for old in before {
        let is_same = world.contacts().iter().any(|contact| contact == old);
        if !is_same && !world.concerned.contains(&old.id) {
            return broken(SEVENTH, format!("contact {} changed", old.id));
        }
    }
    Ok(())
}

/// 8. No state but counters and the audit changes on what is refused; and 11. A failure leaves the
///    state before the step. Here: not a byte of the store.
pub fn nothing_changed(world: &World, before: &[(Table, Vec<u8>, Vec<u8>)], what: &str) -> Held {
    match world.raw() == before {
        true => Ok(()),
        false => broken(EIGHTH, format!("{what} changed the store")),
    }
}

/// 9. After `forget`: no record mentions the person (looked for in what is unsealed).
pub fn is_nowhere(world: &World, contact: &Contact, address: Option<&str>) -> Held {
    let mut needles: Vec<Vec<u8>> = vec![contact.id.0.to_vec(), contact.id.to_string().into()];
    // Arrays of bytes are lists of numbers in JSON.
    needles.push(format!("{:?}", contact.id.0).replace(' ', "").into());
    needles.extend(contact.bsuid.iter().map(|bsuid| bsuid.as_str().into()));
    // A number is also what another chat may have now, or what a service told of an account.
    let is_theirs_alone = |number: &str| {
        let others = (world.contacts().iter()).filter(|other| other.id != contact.id);
        let has_it =
            |other: &Contact| (other.wa_id.as_ref()).is_some_and(|known| known.as_str() == number);
        let is_on_file = |user: &User| user.phone.as_deref() == Some(number);
        !others.into_iter().any(has_it) && !world.model.users.iter().any(is_on_file)
    };
    let number = contact.wa_id.as_ref().map(|number| number.as_str());
    needles.extend(number.filter(|n| is_theirs_alone(n)).map(Into::into));
    needles.extend(address.map(Into::into));
    // By its place: the words in a body may be those of the person, or of others about them.
    let bodies = world.house().records().into_iter();
    let is_theirs = |key: &[u8]| key.windows(16).any(|part| part == contact.id.0);
    if bodies
        .into_iter()
        .any(|(table, key, _)| table == "Body" && is_theirs(&key))
    {
        return broken(NINTH, "a message of theirs is kept");
    }
    look_for(world, &needles)
}

/// 9, for an address. What others wrote to the bot is theirs, whoever is mentioned in it.
pub fn address_is_nowhere(world: &World, address: &str) -> Held {
    look_for(world, &[address.into()])
}

fn look_for(world: &World, needles: &[Vec<u8>]) -> Held {
    let records = world.house().records().into_iter();
    for (table, key, value) in records.filter(|(table, ..)| table != "Body") {
        for needle in needles {
            let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
            if has(&key) || has(&value) {
                let needle = String::from_utf8_lossy(needle);
                return broken(NINTH, format!("{needle} is in table {table}"));
            }
        }
    }
    Ok(())
}

/// 10. Every conversation can still reach *signed in* or *told to wait until a moment* (no dead
///     ends): within six events, and after that moment without a second wait of the same kind.
pub fn nobody_is_stuck(world: &mut World) -> Held {
    world.take(Step::Outside(Weather::Fair))?;
    world.take(Step::Leave)?;
    for who in [Who::Ana, Who::Ben, Who::Cleo, Who::Mallory] {
        // The longest wait there is: a day, counted from what was done last.
        for waits in 0..3 {
            if tries_to_sign_in(world, who)? {
                break;
            }
            if waits == 2 {
                return broken(TENTH, format!("{who:?} cannot sign in any more"));
            }
            world.take(Step::Tick(DAY_MS))?;
            world.take(Step::Leave)?;
        }
    }
    Ok(())
}

/// An honest try, in at most six events.
fn tries_to_sign_in(world: &mut World, who: Who) -> Result<bool, super::world::Broken> {
    let is_in = |world: &World| {
        let chat = world
            .chat_of(who)
            .filter(|chat| world.model.chats[*chat].is_some());
        let users = chat.map_or(Vec::new(), |chat| world.model.acts_as(chat, world.now()));
        users.iter().any(|user| user.email == address_of(who))
    };
    let methods = world.setting.policy.methods;
    let says = |text| Step::Write(who, text, How::Direct);
    let by_mail = [
        says(Text::LogOut),
        says(Text::Hello),
        says(Text::Address(who)),
        says(Text::Code(who)),
    ];
    // Where everybody is heard, the bot asks for a link when it needs one.
    let asks = match world.setting.policy.gate {
        Gate::Everyone => says(Text::Web),
        Gate::OnRequest => Step::BotLink(who, true),
    };
    let on_the_web = [
        says(Text::LogOut),
        says(Text::Hello),
        asks,
        Step::Sign(who, who, Check::Right),
        // The one or the other is what is asked for now.
        says(Text::Return(who)),
        says(Text::Code(who)),
    ];
    let way: &[Step] = match world.setting.policy.gate {
        Gate::Everyone if methods.mail => &by_mail,
        Gate::Everyone | Gate::OnRequest => &on_the_web,
    };
    // An account with another phone on file is refused on the web, in words that say so.
    let has_other_phone = (world.model.users.iter())
        .filter(|user| user.email == address_of(who))
        .any(|user| user.phone.is_some() && user.phone != world.names(who).number);
    let is_refused =
        has_other_phone && world.setting.policy.phone_on_file == PhoneOnFile::MustMatch;
    if is_refused && way.len() == on_the_web.len() {
        return Ok(true);
    }
    for step in way {
        if is_in(world) {
            return Ok(true);
        }
        world.take(*step)?;
        world.take(Step::Tick(10_000))?;
        world.take(Step::Leave)?;
    }
    Ok(is_in(world))
}

//! F-6. The names that WhatsApp gives to people: what is accepted is kept word for word, being the
//! same is being the same, whichever way it is asked, and a number is never a BSUID.

use portero::domain::contact::{Contact, Stage};
use portero::domain::delivery::Recipient;
use portero::domain::id::{Bsuid, ContactId, IdentityKey, MessageId, PhoneNumberId, WaId};
use portero::domain::language::Language;
use portero::domain::sign_in::{Phones, compare_phones, is_number_of};
use portero::domain::time::Timestamp;
use std::cmp::Ordering;

/// Three texts, each to its line feed.
pub fn holds(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(3, '\n');
    let three: [&str; 3] = std::array::from_fn(|_| lines.next().unwrap_or(""));
    for text in three {
        each_is_read_as_written(text);
    }
    let numbers = three.map(|text| WaId::parse(text).ok());
    let bsuids = three.map(|text| Bsuid::parse(text).ok());
    being_the_same_is_fair(&three, &numbers, |number| number.as_str());
    being_the_same_is_fair(&three, &bsuids, |bsuid| bsuid.as_str());
    phones_are_compared_fairly(&three);
}

fn each_is_read_as_written(text: &str) {
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let number = WaId::parse(text);
    assert_eq!(
        number.is_ok(),
        digits(text) && (5..=20).contains(&text.len())
    );
    let bsuid = Bsuid::parse(text);
    assert_eq!(bsuid.is_ok(), is_bsuid(text), "{text:?}");
    assert!(number.is_err() || bsuid.is_err(), "{text:?} is both");
    let id = PhoneNumberId::parse(text);
    assert_eq!(id.is_ok(), digits(text) && (1..=40).contains(&text.len()));

    let (number, bsuid) = (number.ok(), bsuid.ok());
    if let Some(number) = &number {
        assert_eq!(number.as_str(), text);
        assert!(text.ends_with(number.ending()) && number.ending().len() == 2);
        assert_eq!(format!("{number:?}"), format!("WaId(…{})", number.ending()));
    }
    if let Some(bsuid) = &bsuid {
        assert_eq!(bsuid.as_str(), text);
        assert_eq!(format!("{bsuid:?}"), format!("Bsuid({}.…)", &text[..2]));
    }
    // A number goes where numbers go, and a BSUID never does (Meta's contract, section 2.6).
    let contact = Contact::new(
        ContactId([1; 16]),
        bsuid.clone(),
        number.clone(),
        Language::usual_for(number.as_ref(), bsuid.as_ref()).unwrap_or(Language::English),
        Timestamp(0),
    );
    assert_eq!(contact.stage, Stage::Idle);
    match contact.recipient() {
        Some(Recipient::Number(to)) => assert_eq!(Some(to), number),
        Some(Recipient::Bsuid(to)) => assert_eq!(Some(to), bsuid),
        None => assert!(number.is_none() && bsuid.is_none()),
    }
    if let Ok(id) = MessageId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert!((1..=512).contains(&text.len()) && !text.chars().any(char::is_control));
    }
    if let Ok(key) = IdentityKey::parse(text) {
        assert_eq!(key.as_str(), text);
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
}

/// `^[A-Z]{2}\.[A-Za-z0-9.]{1,140}$`
fn is_bsuid(text: &str) -> bool {
    let mut chars = text.chars();
    let country = |c: Option<char>| c.is_some_and(|c| c.is_ascii_uppercase());
    if !country(chars.next()) || !country(chars.next()) || chars.next() != Some('.') {
        return false;
    }
    let rest = chars.as_str();
    let known = |c: char| matches!(c, 'A'..='Z' | 'a'..='z' | '0'..='9' | '.');
    (1..=140).contains(&rest.chars().count()) && rest.chars().all(known)
}

fn being_the_same_is_fair<T: PartialEq + Ord>(
    texts: &[&str; 3],
    names: &[Option<T>; 3],
    written: impl Fn(&T) -> &str,
) {
    for (a, one) in names.iter().enumerate() {
        let Some(one) = one else { continue };
        assert_eq!(one.cmp(one), Ordering::Equal);
        for (b, other) in names.iter().enumerate() {
            let Some(other) = other else { continue };
            let (forth, back) = (one == other, other == one);
            assert_eq!(forth, back);
            assert_eq!(one == other, texts[a] == texts[b]);
            assert_eq!(one == other, written(one) == written(other));
            assert_eq!(one.cmp(other), other.cmp(one).reverse());
            for third in names.iter().flatten() {
                assert!(!(one == other && other == third) || one == third);
            }
        }
    }
}

/// Phones as E.164 writes them (country code first, so no zero; at most 15 digits): being the same
/// does not depend on which one is on file, and goes from one to the next.
fn phones_are_compared_fairly(texts: &[&str; 3]) {
    for text in texts {
        for other in texts {
            let Ok(chat) = WaId::parse(other) else {
                continue;
            };
            // Whatever people write: it is compared or not, and never without a number.
            let compared = compare_phones(Some(text), Some(&chat));
            let is_it = is_number_of(text, &chat);
            if compared == Phones::Same && chat.as_str().len() >= 7 {
                assert!(is_it, "{text:?} is {other} and is not");
            }
            if !text.chars().any(|c| c.is_ascii_digit()) {
                assert!(compared == Phones::Unknown && !is_it);
            }
            assert_eq!(compare_phones(None, Some(&chat)), Phones::Unknown);
        }
        assert_eq!(compare_phones(Some(text), None), Phones::Unknown);
    }
    let is_e164 = |text: &&&str| {
        let digits = text.chars().all(|c| c.is_ascii_digit());
        digits && (7..=15).contains(&text.len()) && !text.starts_with('0')
    };
    let numbers: Vec<(&str, WaId)> = (texts.iter().filter(is_e164))
        .map(|text| (*text, WaId::parse(text).expect("digits")))
        .collect();
    let is_same = |a: usize, b: usize| {
        compare_phones(Some(numbers[a].0), Some(&numbers[b].1)) == Phones::Same
    };
    for a in 0..numbers.len() {
        assert!(is_same(a, a), "{}", numbers[a].0);
        for b in 0..numbers.len() {
            assert_eq!(is_same(a, b), is_same(b, a));
            let forth = compare_phones(Some(numbers[a].0), Some(&numbers[b].1));
            assert_eq!(
                forth,
                compare_phones(Some(numbers[b].0), Some(&numbers[a].1))
            );
            for c in 0..numbers.len() {
                assert!(!(is_same(a, b) && is_same(b, c)) || is_same(a, c));
            }
        }
    }
}

//! What a service answers, read with suspicion: bytes in, accounts or a reason out.

use super::shape::{
    CompanyPlace, EmailPlace, LifetimePlace, Place, TokenShape, TokenTypePlace, UsersShape,
};
use super::{Token, Trouble};
use crate::domain::account::{Account, Company};
use crate::domain::clean::{is_hidden, one_line};
use crate::domain::failure::Failure;
use crate::domain::id::{EmailAddress, ServiceName};
use crate::domain::secret::Secret;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// Most users that one address may have in one service; more is a wrong answer, not a long one.
pub const USERS_MAX: usize = 50;

/// Longest token; what fits a request header of the usual servers.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest life of a token that is believed; a longer one is asked for again after this.
pub const EXPIRES_IN_SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Fewest and most digits of a phone number, country code included (ITU E.164 allows 15).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 5..=20;

/// What is to be done about a place that is not where the configuration says.
const ELSEWHERE: &str = "write the JSON pointer of its place in the key that is named; `portero check --service NAME --email ADDRESS` shows an answer";

/// Whom a question was about, as far as an answer can be held against it.
#[derive(Clone, Copy)]
pub(super) enum Asked<'a> {
    /// Everybody in the answer has this address (S-84).
    Address(&'a EmailAddress),
    /// A name that is no address and may belong to any address; but to one user only.
    UserName,
}

/// The users in an answer about `asked`.
pub(super) fn users(
    service: &ServiceName,
    shape: &UsersShape,
    asked: Asked<'_>,
    body: &[u8],
) -> Result<Vec<Account>, Trouble> {
    let answer = parse(body)?;
    no_error(&answer)?;
    let found = list(shape, &answer)?;
    if found.len() > USERS_MAX {
        return Err(Trouble::data(format!(
            "more than {USERS_MAX} users with one address"
        )));
    }
    let mut accounts: Vec<Account> = Vec::with_capacity(found.len());
    for user in found {
        let account = account(service, shape, asked, user)?;
        if !accounts.contains(&account) {
            accounts.push(account);
        }
    }
    if matches!(asked, Asked::UserName) && accounts.len() > 1 {
        return Err(Trouble::data("more than one user with one user name"));
    }
    if shape.email == EmailPlace::AsAsked && accounts.len() > 1 {
        // Whoever searches finds similar addresses too, and nothing here would show it.
        return Err(Trouble::data(
            "more than one user, and no address that says whether all of them were meant",
        ));
    }
    Ok(accounts)
}

/// The users as they stand in the answer.
fn list<'v>(shape: &UsersShape, answer: &'v Value) -> Result<&'v [Value], Trouble> {
    match shape.users.of(answer) {
        Some(Value::Array(users)) => Ok(users),
        Some(user @ Value::Object(_)) if !shape.documented => Ok(std::slice::from_ref(user)),
        Some(_) => Err(wrong_type(&shape.users)),
        // What has an answer in it at all must at least be an object, or it is somebody else's.
        None if shape.absent_is_nobody && (answer.is_object() || answer.is_null()) => Ok(&[]),
        None => Err(missing(&shape.users, answer, "the answer")),
    }
}

/// Whether a body says that nobody was found, beside a status that does: it may say anything but
/// somebody.
pub(super) fn says_nobody(shape: &UsersShape, body: &[u8]) -> bool {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return false;
    };
    if shape.users.pointer.as_str().is_empty() {
        // Every body stands there, and that of an error is not a user.
        return shape.id.of(&answer).is_none() && answer.as_array().is_none_or(Vec::is_empty);
    }
    // A list with somebody in it contradicts the status.
    match shape.users.pointer.of(&answer) {
        None => true,
        Some(Value::Array(users)) => users.is_empty(),
        Some(Value::Null) => !shape.documented,
        Some(_) => false,
    }
}

fn account(
    service: &ServiceName,
    shape: &UsersShape,
    asked: Asked<'_>,
    user: &Value,
) -> Result<Account, Trouble> {
    if !user.is_object() {
        return Err(Trouble::Service(Failure {
            advice: Some(ELSEWHERE),
            ..Failure::temporary(format!(
                "a user that is no object at {:?} ({})",
                shape.users.pointer.as_str(),
                shape.users.key
            ))
        }));
    }
    let text = |place: &Place| -> Result<String, Trouble> {
        let found = place
            .of(user)
            .ok_or_else(|| missing(place, user, "a user"))?;
        let text = found.as_str().ok_or_else(|| wrong_type(place))?;
        Ok(text.to_owned())
    };
    // S-84: an answer about somebody else says that the service did not understand the question,
    // so the rest of the answer is worth nothing either.
    let another = || Trouble::data("a user with another address than the one asked for");
    let email = match (&shape.email, asked) {
        (EmailPlace::AsAsked, Asked::Address(asked)) => asked.clone(),
        (EmailPlace::AsAsked, Asked::UserName) => {
            return Err(Trouble::data(
                "no address on file for a user name that is none",
            ));
        }
        (EmailPlace::At(place), asked) => {
            let email = EmailAddress::parse(&text(place)?).map_err(|_| another())?;
            match asked {
                Asked::Address(asked) if email != *asked => return Err(another()),
                Asked::Address(_) | Asked::UserName => email,
            }
        }
    };
    let user_id = id(user, &shape.id, "a user's id")?;
    let phone_on_file = match shape.phone.of(user) {
        None => None,
        Some(Value::String(text)) => phone(text)?,
        Some(_) => return Err(wrong_type(&shape.phone)),
    };
    let company = match &shape.company {
        CompanyPlace::Always(company) => company.clone(),
        CompanyPlace::At {
            id: place,
            name: called,
        } => {
            let company_id = id(user, place, "a company's id")?;
            Company {
                name: name(&text(called)?, &company_id),
                id: company_id,
            }
        }
    };
    Ok(Account {
        service: service.clone(),
        name: name(&text(&shape.name)?, &user_id),
        email,
        phone: phone_on_file,
        company,
        user_id,
    })
}

/// The token in an answer to `issue_token`.
pub(super) fn token(shape: &TokenShape, body: &[u8]) -> Result<Token, Trouble> {
    let mut answer = parse(body)?;
    // Taken into custody first, so that it is wiped whatever comes of it.
    let token = match answer
        .pointer_mut(shape.token.pointer.as_str())
        .map(Value::take)
    {
        Some(Value::String(token)) => Secret::new(token),
        Some(Value::Null) | None => {
            no_error(&answer)?;
            return Err(missing(&shape.token, &answer, "the answer"));
        }
        Some(_) => return Err(wrong_type(&shape.token)),
    };
    no_error(&answer)?;
    let visible = |text: &str, bytes_max: usize| {
        (1..=bytes_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if !visible(token.reveal(), TOKEN_BYTES_MAX) {
        return Err(Trouble::data("a token that fits no header"));
    }
    let found = |place: &Place| -> Result<Value, Trouble> {
        let found = place.of(&answer);
        Ok(found
            .ok_or_else(|| missing(place, &answer, "the answer"))?
            .clone())
    };
    let token_type = match &shape.token_type {
        TokenTypePlace::Always(word) => word.clone(),
        TokenTypePlace::At(place) => match found(place)? {
            Value::String(word) => word,
            _ => return Err(wrong_type(place)),
        },
    };
    if !visible(&token_type, Account::TEXT_CHARS_MAX) {
        return Err(Trouble::data("a token type that is not a word"));
    }
    let expires_in = match &shape.lifetime {
        LifetimePlace::Always(seconds) => *seconds,
        LifetimePlace::At(place) => match found(place)? {
            Value::String(digits) if !shape.documented && is_number(&digits) => {
                // More digits than fit are a long time too.
                digits.parse().unwrap_or(u64::MAX)
            }
            value => value.as_u64().ok_or_else(|| wrong_type(place))?,
        },
    };
    if expires_in == 0 {
        return Err(Trouble::data("a token that has expired already"));
    }
    Ok(Token {
        token,
        token_type,
        expires_in_seconds: expires_in.min(EXPIRES_IN_SECONDS_MAX),
    })
}

fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn missing(place: &Place, value: &Value, what: &str) -> Trouble {
    Trouble::Service(Failure {
        advice: Some(ELSEWHERE),
        ..Failure::temporary(place.missing_in(value, what))
    })
}

fn wrong_type(place: &Place) -> Trouble {
    Trouble::Service(Failure {
        advice: Some(ELSEWHERE),
        ..Failure::temporary(format!(
            "a field of the wrong type at {:?} ({})",
            place.pointer.as_str(),
            place.key
        ))
    })
}

/// A JSON document in which no object has a name twice: readers differ about which of them counts,
/// and what one of them sees another would not.
struct Unambiguous(Value);

fn parse(body: &[u8]) -> Result<Value, Trouble> {
    let parsed: Result<Unambiguous, _> = serde_json::from_slice(body);
    parsed.map(|document| document.0).map_err(|error| {
        // The parser's own words may quote the answer.
        Trouble::service(if error.is_data() {
            "a name that stands twice in one object"
        } else {
            "not JSON"
        })
    })
}

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unambiguous, D::Error> {
        struct Builder;
        impl<'de> Visitor<'de> for Builder {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, switch: bool) -> Result<Value, E> {
                Ok(switch.into())
            }

            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(number.into())
            }

            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(number.into())
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(number.into())
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(text.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Unambiguous(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut object = Map::new();
                while let Some((name, Unambiguous(member))) = members.next_entry::<String, _>()? {
                    if object.insert(name, member).is_some() {
                        return Err(A::Error::custom("a name twice"));
                    }
                }
                Ok(Value::Object(object))
            }
        }
        deserializer.deserialize_any(Builder).map(Unambiguous)
    }
}

/// Refuses a 200 that carries an error, even beside an empty list: *no users* must be meant.
fn no_error(answer: &Value) -> Result<(), Trouble> {
    let empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    };
    let said = ["error", "errors"].map(|name| answer.get(name));
    if said.into_iter().flatten().all(empty) {
        Ok(())
    } else {
        Err(Trouble::service("200 with an error inside"))
    }
}

/// Databases count, and their JSON shows it; both forms are kept as text.
fn id(user: &Value, place: &Place, what: &str) -> Result<String, Trouble> {
    let text = match place.of(user) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string(),
        Some(_) => return Err(wrong_type(place)),
        None => return Err(missing(place, user, "a user")),
    };
    // An id is given back as it came or not at all.
    let whole = text.trim() == text && !text.chars().any(is_hidden);
    if whole && (1..=Account::TEXT_CHARS_MAX).contains(&text.chars().count()) {
        Ok(text)
    } else {
        Err(Trouble::data(format!("{what} that is no id")))
    }
}

/// A name for people; the id where nothing is left of it.
fn name(text: &str, id: &str) -> String {
    let shown = one_line(text, Account::TEXT_CHARS_MAX);
    if shown.is_empty() {
        id.to_owned()
    } else {
        shown
    }
}

/// Digits with the country code first. What cannot be read is refused rather than left out: a phone
/// that seems not to be on file is compared with nothing.
fn phone(text: &str) -> Result<Option<String>, Trouble> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let separator = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}');
    let digits: String = text
        .strip_prefix('+')
        .or_else(|| text.strip_prefix("00"))
        .unwrap_or(text)
        .chars()
        .filter(|c| !separator(*c))
        .collect();
    if PHONE_DIGITS.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        Ok(Some(digits))
    } else {
        Err(Trouble::data("a phone that is no phone number"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn asked() -> EmailAddress {
        EmailAddress::parse("ana@example.com").unwrap()
    }

    fn service() -> ServiceName {
        ServiceName::parse("kutamma").unwrap()
    }

    fn read(answer: &Value) -> Result<Vec<Account>, Trouble> {
        users(
            &service(),
            &UsersShape::documented(),
            Asked::Address(&asked()),
            answer.to_string().as_bytes(),
        )
    }

    fn user() -> Value {
        json!({"id": "u1", "name": "Ana", "email": "ANA@example.com", "phone": "+57 (300) 123-45.67",
               "company": {"id": 7, "name": "Inpla"}, "more": [1, 2]})
    }

    #[test]
    fn an_answer_of_the_contract_is_understood() {
        let accounts = read(&json!({"users": [user()], "error": null, "errors": []})).unwrap();
        assert_eq!(
            accounts,
            [Account {
                service: service(),
                user_id: "u1".to_owned(),
                name: "Ana".to_owned(),
                email: asked(),
                phone: Some("573001234567".to_owned()),
                company: Company {
                    id: "7".to_owned(),
                    name: "Inpla".to_owned()
                },
            }]
        );
        assert_eq!(accounts[0].email.as_str(), "ANA@example.com", "as on file");
        assert!(read(&json!({"users": []})).unwrap().is_empty());
    }

    #[test]
    fn ids_may_be_numbers_and_stay_what_they_are() {
        for (id, text) in [
            (json!(42), "42"),
            (json!(-1), "-1"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!("0042"), "0042"),
        ] {
            let mut user = user();
            user["id"] = id;
            assert_eq!(read(&json!({"users": [user]})).unwrap()[0].user_id, text);
        }
    }

    #[test]
    fn names_are_cleaned_and_never_empty() {
        for (name, shown) in [
            ("\u{202e}ana\u{2066}\r\n\u{0}", "ana"),
            ("  Ana  ", "Ana"),
            ("", "u1"),
            ("\u{200f}", "u1"),
        ] {
            let mut user = user();
            user["name"] = json!(name);
            assert_eq!(read(&json!({"users": [user]})).unwrap()[0].name, shown);
        }
        let mut long = user();
        long["name"] = json!("ñ".repeat(10_000));
        let accounts = read(&json!({"users": [long]})).unwrap();
        assert_eq!(accounts[0].name.chars().count(), Account::TEXT_CHARS_MAX);
    }

    #[test]
    fn the_same_user_twice_is_one_account() {
        assert_eq!(read(&json!({"users": [user(), user()]})).unwrap().len(), 1);
        let mut other_company = user();
        other_company["company"]["id"] = json!(8);
        let both = read(&json!({"users": [user(), other_company]})).unwrap();
        assert_eq!(both.len(), 2);
    }

    #[test]
    fn a_user_name_may_have_any_address_and_belongs_to_one_user() {
        let read = |answer: &Value| {
            let body = answer.to_string();
            let shape = UsersShape::documented();
            users(&service(), &shape, Asked::UserName, body.as_bytes())
        };
        assert!(read(&json!({"users": []})).unwrap().is_empty());
        let accounts = read(&json!({"users": [user(), user()]})).unwrap();
        assert_eq!(accounts.len(), 1, "the same user twice is one");
        assert_eq!(accounts[0].email.as_str(), "ANA@example.com");
        for (field, value) in [("id", json!("u2")), ("email", json!("eve@example.com"))] {
            let mut other = user();
            other[field] = value;
            assert!(read(&json!({"users": [user(), other]})).is_err(), "{field}");
        }
        let mut nobodys = user();
        nobodys["email"] = json!("ana");
        assert!(read(&json!({"users": [nobodys]})).is_err());
    }

    #[test]
    fn a_phone_is_read_or_the_answer_is_refused() {
        for (phone, digits) in [
            (json!(null), None),
            (json!(""), None),
            (json!("0057 300 1234567"), Some("573001234567")),
            (json!("573001234567"), Some("573001234567")),
        ] {
            let mut user = user();
            user["phone"] = phone;
            let accounts = read(&json!({"users": [user]})).unwrap();
            assert_eq!(accounts[0].phone.as_deref(), digits);
        }
        for phone in ["none", "12", "+57 300 ext. 5", "١٢٣٤٥٦٧", "+57;300123456"] {
            let mut user = user();
            user["phone"] = json!(phone);
            assert!(read(&json!({"users": [user]})).is_err(), "{phone}");
        }
    }

    #[test]
    fn no_reason_quotes_the_answer() {
        let private = ["ana", "eve", "secret", "57300"];
        for answer in [
            json!({"users": "eve@example.com secret"}),
            json!({"users": [{"id": {"secret": 1}}]}),
            json!({"users": [{"id": "eve secret", "name": 5}]}),
            json!({"users": [], "error": "ana is secret"}),
            json!({"data": "ana is secret"}),
            json!({"ana@example.com": 1, "573001234567": 2, "57300": 3}),
        ] {
            let reason = format!("{:?}", read(&answer).unwrap_err());
            assert!(
                !private.iter().any(|word| reason.contains(word)),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_token_is_taken_only_whole_and_alive() {
        let good = json!({"token": "abc.def", "tokenType": "Bearer", "expiresIn": 3600});
        let token_of =
            |answer: &Value| token(&TokenShape::documented(), answer.to_string().as_bytes());
        let taken = token_of(&good).unwrap();
        assert_eq!(taken.token.reveal(), "abc.def");
        assert_eq!(taken.token_type, "Bearer");
        assert_eq!(taken.expires_in_seconds, 3600);
        assert!(!format!("{taken:?}").contains("abc"));
        let with = |field: &str, value: Value| {
            let mut answer = good.clone();
            answer[field] = value;
            answer
        };
        for wrong in [
            with("token", json!("")),
            with("token", json!("a b")),
            with("token", json!("a\r\nX-Admin: 1")),
            with("token", json!("é")),
            with("token", json!(5)),
            with("token", json!(null)),
            with("token", json!("x".repeat(TOKEN_BYTES_MAX + 1))),
            with("tokenType", json!("")),
            with("tokenType", json!("Bearer token")),
            with("tokenType", json!(null)),
            with("expiresIn", json!(0)),
            with("expiresIn", json!(-5)),
            with("expiresIn", json!("3600")),
            with("expiresIn", json!(1.5)),
            with("expiresIn", json!(null)),
            with("error", json!("no")),
        ] {
            assert!(token_of(&wrong).is_err(), "{wrong}");
        }
        let eternal = token_of(&with("expiresIn", json!(u64::MAX))).unwrap();
        assert_eq!(eternal.expires_in_seconds, EXPIRES_IN_SECONDS_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for shape in [UsersShape::documented(), UsersShape::like_documented()] {
                let _ = users(&service(), &shape, Asked::Address(&asked()), &body);
                let _ = users(&service(), &shape, Asked::UserName, &body);
                let _ = says_nobody(&shape, &body);
            }
            let _ = token(&TokenShape::documented(), &body);
        }

        #[test]
        fn an_answer_cut_anywhere_is_no_answer(part in 0.0..1.0f64) {
            let whole = json!({"users": [user(), user()]}).to_string();
            let cut = (whole.len() as f64 * part) as usize;
            for asked in [Asked::Address(&asked()), Asked::UserName] {
                let shape = UsersShape::documented();
                prop_assert!(users(&service(), &shape, asked, &whole.as_bytes()[..cut]).is_err());
            }
        }

        #[test]
        fn whatever_is_taken_is_bounded_and_clean(name in any::<String>(), id in any::<String>(), phone in any::<String>()) {
            let mut user = user();
            user["name"] = json!(name);
            user["id"] = json!(id);
            user["phone"] = json!(phone);
            if let Ok(accounts) = read(&json!({"users": [user]})) {
                let account = &accounts[0];
                for text in [&account.name, &account.user_id] {
                    prop_assert!(!text.is_empty() && text.chars().count() <= Account::TEXT_CHARS_MAX);
                    prop_assert!(!text.chars().any(is_hidden));
                }
            }
        }
    }
}

//! Tests of `shape`: where things are found in the answers of services that exist.
#![allow(clippy::unwrap_used)]

use super::super::Trouble;
use super::super::answer::{self, Asked};
use super::*;
use crate::domain::id::{EmailAddress, ServiceName};
use serde_json::json;

fn at(pointer: &str) -> Place {
    Place::new(
        Pointer::parse(pointer).unwrap(),
        format!("key of {pointer}"),
    )
}

fn service() -> ServiceName {
    ServiceName::parse("crm").unwrap()
}

fn ana() -> EmailAddress {
    EmailAddress::parse("ana@example.com").unwrap()
}

/// As an existing REST service has it.
fn rest() -> UsersShape {
    UsersShape {
        users: at("/data/items"),
        id: at("/uuid"),
        name: at("/full_name"),
        email: EmailPlace::At(at("/contact/mail")),
        phone: at("/contact/phones/0"),
        company: CompanyPlace::Always(Company {
            id: "1".to_owned(),
            name: "La Espiga".to_owned(),
        }),
        ..UsersShape::like_documented()
    }
}

fn read(shape: &UsersShape, answer: &Value) -> Result<Vec<Account>, Trouble> {
    let body = answer.to_string();
    answer::users(&service(), shape, Asked::Address(&ana()), body.as_bytes())
}

fn person() -> Value {
    json!({"uuid": "u-1", "full_name": "Ana", "contact": {"mail": "ana@example.com", "phones": ["+57 300 1234567"]}})
}

fn flat() -> Value {
    json!({"id": 7, "name": "Ana", "email": "ana@example.com", "company_id": 3, "company": "Inpla"})
}

fn flat_shape(users: &str) -> UsersShape {
    UsersShape {
        users: at(users),
        company: CompanyPlace::At {
            id: at("/company_id"),
            name: at("/company"),
        },
        ..UsersShape::like_documented()
    }
}

#[test]
fn answers_of_many_forms_are_read() {
    let asked = |users: &str| UsersShape {
        email: EmailPlace::AsAsked,
        ..flat_shape(users)
    };
    let lenient = |users: &str| UsersShape {
        absent_is_nobody: true,
        ..flat_shape(users)
    };
    let mut no_email = flat();
    no_email.as_object_mut().unwrap().remove("email");
    let table = [
        (rest(), json!({"data": {"items": [person()]}}), 1),
        (rest(), json!({"data": {"items": []}}), 0),
        (rest(), json!({"data": {"items": [person(), person()]}}), 1),
        (rest(), json!({"data": {"items": person()}}), 1),
        (
            rest(),
            json!({"data": {"items": [person()], "page": 1}, "error": null, "errors": []}),
            1,
        ),
        (flat_shape(""), json!([flat()]), 1),
        (flat_shape(""), json!([]), 0),
        (flat_shape(""), flat(), 1),
        (flat_shape("/0"), json!([flat()]), 1),
        (flat_shape("/user"), json!({"user": flat()}), 1),
        (
            flat_shape("/a~1b/c~0d"),
            json!({"a/b": {"c~d": [flat()]}}),
            1,
        ),
        (flat_shape("/"), json!({"": [flat()]}), 1),
        (lenient("/user"), json!({"user": null}), 0),
        (lenient("/user"), json!({}), 0),
        (lenient("/user"), json!({"other": 1}), 0),
        (lenient("/user"), json!(null), 0),
        (lenient(""), json!(null), 0),
        (asked("/user"), json!({"user": no_email}), 1),
        (asked("/users"), json!({"users": [no_email, no_email]}), 1),
    ];
    for (shape, answer, count) in table {
        let accounts =
            read(&shape, &answer).unwrap_or_else(|trouble| panic!("{answer}: {trouble:?}"));
        assert_eq!(accounts.len(), count, "{answer}");
        assert!(accounts.iter().all(|account| account.email == ana()));
    }
    let accounts = read(&rest(), &json!({"data": {"items": [person()]}})).unwrap();
    assert_eq!(accounts[0].user_id, "u-1");
    assert_eq!(accounts[0].phone.as_deref(), Some("573001234567"));
    assert_eq!(accounts[0].company.name, "La Espiga");
    let accounts = read(&flat_shape("/user"), &json!({"user": flat()})).unwrap();
    assert_eq!(
        (
            accounts[0].company.id.as_str(),
            accounts[0].user_id.as_str()
        ),
        ("3", "7")
    );
}

#[test]
fn answers_that_say_something_else_are_refused_with_the_place_and_the_names_there() {
    let with = |change: fn(&mut Value)| {
        let mut answer = json!({"data": {"items": [person()]}});
        change(&mut answer["data"]["items"][0]);
        answer
    };
    let asked = UsersShape {
        email: EmailPlace::AsAsked,
        ..rest()
    };
    let mut other = person();
    other["uuid"] = json!("u-2");
    let table = [
        (
            rest(),
            json!({"items": [], "total": 0}),
            r#"nothing at "/data/items" (key of /data/items) in the answer, which has items, total"#,
        ),
        (
            rest(),
            json!({"data": {"items": null}}),
            r#"nothing at "/data/items""#,
        ),
        (rest(), json!({"data": {}}), "which has data"),
        (rest(), json!({}), "which is empty"),
        (rest(), json!([]), "which is an empty list"),
        (rest(), json!(null), "which is null"),
        (
            rest(),
            json!({"ana@example.com": 1, "573001234567": 1, "eve perez": 1}),
            "which has 3 names that are no words",
        ),
        (
            rest(),
            json!({"data": 1, "ana@example.com": 1}),
            "which has data and 1 more",
        ),
        (
            rest(),
            json!({"data": {"items": "none"}}),
            "a field of the wrong type",
        ),
        (
            rest(),
            json!({"data": {"items": ["u-1"]}}),
            "a user that is no object",
        ),
        (
            rest(),
            json!({"data": {"items": {}}}),
            r#"nothing at "/contact/mail""#,
        ),
        (
            rest(),
            json!({"data": {"items": []}, "error": "down"}),
            "an error inside",
        ),
        (
            rest(),
            json!({"data": {"items": []}, "errors": [1]}),
            "an error inside",
        ),
        (
            rest(),
            with(|user| user["uuid"] = json!(null)),
            r#"nothing at "/uuid""#,
        ),
        (rest(), with(|user| user["uuid"] = json!(1.5)), "wrong type"),
        (rest(), with(|user| user["uuid"] = json!("")), "no id"),
        (
            rest(),
            with(|user| user["full_name"] = json!(5)),
            "wrong type",
        ),
        (
            rest(),
            with(|user| {
                user.as_object_mut().unwrap().remove("full_name");
            }),
            "in a user, which has contact, uuid",
        ),
        (
            rest(),
            with(|user| user["contact"]["mail"] = json!("eve@example.com")),
            "another address",
        ),
        (
            rest(),
            with(|user| user["contact"]["mail"] = json!("ana")),
            "another address",
        ),
        (
            rest(),
            with(|user| {
                user["contact"].as_object_mut().unwrap().remove("mail");
            }),
            r#"nothing at "/contact/mail""#,
        ),
        (
            rest(),
            with(|user| user["contact"]["phones"][0] = json!("ask")),
            "no phone number",
        ),
        (
            rest(),
            with(|user| user["contact"]["phones"][0] = json!(5)),
            "wrong type",
        ),
        (
            rest(),
            json!({"data": {"items": vec![person(); 51]}}),
            "more than 50",
        ),
        (
            flat_shape("/user"),
            json!({"user": person()}),
            r#"nothing at "/email""#,
        ),
        (
            asked,
            json!({"data": {"items": [person(), other]}}),
            "more than one user, and no address",
        ),
    ];
    for (shape, answer, words) in table {
        let reason = read(&shape, &answer)
            .expect_err(&answer.to_string())
            .failure()
            .reason;
        assert!(reason.contains(words), "{answer}: {reason}");
        for private in ["ana", "eve", "57300"] {
            assert!(!reason.contains(private), "{reason}");
        }
    }
    // A user name has no address that it could be held against.
    let asked = UsersShape {
        email: EmailPlace::AsAsked,
        ..flat_shape("/user")
    };
    let body = json!({"user": flat()}).to_string();
    assert!(answer::users(&service(), &asked, Asked::UserName, body.as_bytes()).is_err());
}

#[test]
fn the_contract_is_as_strict_as_it_was() {
    let documented = UsersShape::documented();
    let user = json!({"id": 1, "name": "Ana", "email": "ana@example.com", "company": {"id": 1, "name": "A"}});
    assert_eq!(
        read(&documented, &json!({"users": [user]})).unwrap().len(),
        1
    );
    for answer in [
        json!({"users": user}),
        json!({"users": null}),
        json!({}),
        json!(null),
        json!([user]),
    ] {
        assert!(read(&documented, &answer).is_err(), "{answer}");
    }
}

#[test]
fn a_name_that_stands_twice_is_no_answer() {
    for body in [
        r#"{"data":{"items":[]},"data":{"items":[]}}"#,
        r#"{"data":{"items":[],"items":[]}}"#,
        r#"{"data":{"items":[{"uuid":"1","uuid":"2"}]}}"#,
    ] {
        let read = answer::users(&service(), &rest(), Asked::Address(&ana()), body.as_bytes());
        assert!(
            read.unwrap_err().failure().reason.contains("twice"),
            "{body}"
        );
    }
}

#[test]
fn beside_a_status_that_says_nobody_a_body_may_say_anything_but_somebody() {
    for (shape, body, nobody) in [
        (rest(), "{}", true),
        (rest(), r#"{"error":{"code":5}}"#, true),
        (rest(), r#"{"data":{"items":[]}}"#, true),
        (rest(), r#"{"data":{"items":null}}"#, true),
        (rest(), r#"{"data":{"items":[{"uuid":"1"}]}}"#, false),
        (rest(), "<html>", false),
        (flat_shape(""), r#"{"message":"not found"}"#, true),
        (flat_shape(""), r#"{"id":7}"#, false),
        (flat_shape(""), "[]", true),
        (flat_shape(""), "[{}]", false),
    ] {
        assert_eq!(
            answer::says_nobody(&shape, body.as_bytes()),
            nobody,
            "{body}"
        );
    }
}

#[test]
fn tokens_of_many_forms_are_read() {
    let oauth = || TokenShape {
        token: at("/access_token"),
        token_type: TokenTypePlace::At(at("/token_type")),
        lifetime: LifetimePlace::At(at("/expires_in")),
        ..TokenShape::like_documented()
    };
    let bare = || TokenShape {
        token: at("/data/jwt"),
        token_type: TokenTypePlace::Always("Bearer".to_owned()),
        lifetime: LifetimePlace::Always(600),
        ..TokenShape::like_documented()
    };
    let whole = || TokenShape {
        token: at(""),
        ..bare()
    };
    let token =
        |shape: &TokenShape, answer: &Value| answer::token(shape, answer.to_string().as_bytes());
    for (shape, answer, kind, seconds) in [
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "bearer", "expires_in": "3600"}),
            "bearer",
            3_600,
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "Bearer", "expires_in": 60}),
            "Bearer",
            60,
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "Bearer", "expires_in": "99999999999999999999999"}),
            "Bearer",
            answer::EXPIRES_IN_SECONDS_MAX,
        ),
        (bare(), json!({"data": {"jwt": "abc"}}), "Bearer", 600),
        (whole(), json!("abc"), "Bearer", 600),
    ] {
        let token =
            token(&shape, &answer).unwrap_or_else(|trouble| panic!("{answer}: {trouble:?}"));
        assert_eq!(token.token.reveal(), "abc");
        assert_eq!(
            (token.token_type.as_str(), token.expires_in_seconds),
            (kind, seconds)
        );
    }
    for (shape, answer, words) in [
        (
            oauth(),
            json!({"token": "abc", "token_type": "b", "expires_in": 1}),
            r#"nothing at "/access_token" (key of /access_token) in the answer, which has expires_in, token, token_type"#,
        ),
        (
            oauth(),
            json!({"access_token": "abc", "expires_in": 1}),
            r#"nothing at "/token_type""#,
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "b"}),
            r#"nothing at "/expires_in""#,
        ),
        (
            oauth(),
            json!({"access_token": {"a": "abc"}, "token_type": "b", "expires_in": 1}),
            "wrong type",
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "b", "expires_in": ""}),
            "wrong type",
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "b", "expires_in": "1h"}),
            "wrong type",
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "b", "expires_in": "-1"}),
            "wrong type",
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": "b", "expires_in": "0"}),
            "expired already",
        ),
        (
            oauth(),
            json!({"access_token": "abc", "token_type": 5, "expires_in": 1}),
            "wrong type",
        ),
        (
            oauth(),
            json!({"access_token": "a b", "token_type": "b", "expires_in": 1}),
            "fits no header",
        ),
        (
            oauth(),
            json!({"error": "invalid_client"}),
            "an error inside",
        ),
        (bare(), json!({"data": {"jwt": null}}), "nothing at"),
    ] {
        let reason = token(&shape, &answer)
            .expect_err(&answer.to_string())
            .failure()
            .reason;
        assert!(reason.contains(words), "{answer}: {reason}");
        assert!(!reason.contains("abc"), "{reason}");
    }
}

#[test]
fn pointers_are_those_of_the_standard() {
    for text in ["", "/", "/a", "/a/0/b", "/a~0b~1c", "/ñ", "//", "/a b"] {
        assert_eq!(Pointer::parse(text).unwrap().as_str(), text);
    }
    let long = format!("/{}", "a".repeat(POINTER_BYTES_MAX));
    for text in ["a", "data.items", "#/a", "/a~", "/a~2", "$.a", " /a", &long] {
        assert!(Pointer::parse(text).is_err(), "{text}");
    }
    // RFC 6901, section 5.
    let document = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "m~n": 8, " ": 7});
    for (pointer, found) in [
        ("/foo/0", json!("bar")),
        ("/", json!(0)),
        ("/a~1b", json!(1)),
        ("/c%d", json!(2)),
        ("/m~0n", json!(8)),
        ("/ ", json!(7)),
    ] {
        assert_eq!(Pointer::parse(pointer).unwrap().of(&document), Some(&found));
    }
    assert_eq!(Pointer::parse("/foo/00").unwrap().of(&document), None);
}

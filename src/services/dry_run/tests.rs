//! Tests of `dry_run`: what is hidden, and what would fit.
#![allow(clippy::unwrap_used)]

use super::super::shape::{TokenCall, UsersCall};
use super::*;
use serde_json::json;

#[test]
fn what_may_be_a_secret_is_hidden_by_name_look_or_because_it_is_ours() {
    let mut veil = Veil::default();
    veil.hide_all([Secret::new("Bearer our-api-key-1"), Secret::new("abc")].iter());
    let mut answer = json!({
        "id": "4f1c0de0-1111-4222-8333-444455556666",
        "name": "Ana\u{202e}\u{7f}",
        "page": "https://example.com/a-long-path/with-1-digit-in-it",
        "access_token": "eyJhbGciOiJFZERTQSJ9.e30.abc",
        "pin": 1234,
        "password_hash": {"salt": "short", "ok": true},
        "token_type": "bearer",
        "expires_in": 3600,
        "note": "you sent Bearer our-api-key-1 and our-api-key-1!",
        "blob": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY1",
        "our-api-key-1": "abc"
    });
    veil.draw(&mut answer);
    assert_eq!(
        answer,
        json!({
            "id": "4f1c0de0-1111-4222-8333-444455556666",
            "name": "Ana\u{fffd}\u{fffd}",
            "page": "https://example.com/a-long-path/with-1-digit-in-it",
            "access_token": "eyJ… (28 characters)",
            "pin": "…",
            "password_hash": {"salt": "… (5 characters)", "ok": true},
            "token_type": "bearer",
            "expires_in": 3600,
            "note": "you sent … and …!",
            "blob": "QUJ… (33 characters)",
            "…": "… (3 characters)"
        })
    );
}

fn lines(answer: &Value) -> Vec<String> {
    let call = UsersCall::find_user("https://a.example/").unwrap();
    let email = EmailAddress::parse("ana@example.com").unwrap();
    lines_for_users(&call, Some(&email), answer.to_string().as_bytes())
}

#[test]
fn lines_that_would_fit_are_found_by_the_address_and_by_names() {
    let rest = json!({"meta": {"links": [{"a": 1}]}, "data": {"items": [
        {"uuid": "u", "full_name": "Ana", "contact": {"mail": "ana@example.com"}}]}});
    assert_eq!(
        lines(&rest),
        [
            "users = \"/data/items\"",
            "id = \"/uuid\"",
            "name = \"/full_name\"",
            "email = \"/contact/mail\"",
            "company = { id = \"1\", name = \"…\" }  # when all users are of one company"
        ]
    );
    let one = json!({"user": {"id": 1, "displayName": "Ana", "email": "ANA@example.com",
        "organization": {"id": 5, "name": "Inpla"}}});
    assert_eq!(
        lines(&one),
        [
            "users = \"/user\"",
            "name = \"/displayName\"",
            "company_id = \"/organization/id\"",
            "company_name = \"/organization/name\""
        ]
    );
    let documented = json!({"users": [{"id": 1, "name": "Ana", "email": "ana@example.com", "company": {"id": 1, "name": "A"}}]});
    assert_eq!(lines(&documented), [] as [&str; 0]);
    assert_eq!(lines(&json!("x")), [] as [&str; 0]);
    // Names that are data are no names to write down.
    assert_eq!(
        lines(&json!({"ana@example.com": [{"a": 1}]})),
        [] as [&str; 0]
    );
}

#[test]
fn lines_that_would_fit_a_token_are_found_by_names() {
    let call = TokenCall::issue_token("https://a.example/").unwrap();
    let lines = |answer: Value| lines_for_token(&call, answer.to_string().as_bytes());
    assert_eq!(
        lines(json!({"access_token": "x", "token_type": "bearer", "expires_in": "60"})),
        [
            "token = \"/access_token\"",
            "token_type = \"/token_type\"",
            "expires_in = \"/expires_in\""
        ]
    );
    assert_eq!(
        lines(json!({"data": {"jwt": "x"}})),
        [
            "token = \"/data/jwt\"",
            "token_type = \"Bearer\"",
            "expires_in_seconds = 3600  # as the service has it"
        ]
    );
}

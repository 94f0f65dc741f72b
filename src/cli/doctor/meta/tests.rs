//! Tests of the judgements over what Meta says, with its answers as they come over the wire
//! (Meta's contract, sections 5 and 8).

#![allow(clippy::unwrap_used)]

use super::super::finding::Verdict::{self, Fine, Look, Wrong};
use super::*;
use crate::http::Answer;
use crate::whatsapp::inspect::read;
use serde_json::json;

const NOW: u64 = 1_795_600_000;
const NUMBER_ID: &str = "106540352242922";
const ACCOUNT: &str = "419561257915477";
const APP: &str = "634974688087057";

fn known() -> Known {
    Known {
        number_id: NUMBER_ID.to_owned(),
        number: Some("15550783881".to_owned()),
        app: Some(APP.to_owned()),
        account: Some(ACCOUNT.to_owned()),
        targets: vec![ACCOUNT.to_owned()],
        callback: Some("https://portero.example.com/webhook".to_owned()),
    }
}

fn told(status: u16, body: &[u8]) -> Told {
    read(&Answer {
        status,
        retry_after_ms: None,
        date: Some(NOW),
        nonce: None,
        is_json: true,
        telling: Vec::new(),
        body: body.to_vec(),
    })
}

fn yes(body: &Value) -> Told {
    told(200, body.to_string().as_bytes())
}

fn no(status: u16, code: u32, subcode: Option<u32>, message: &str) -> Told {
    let mut error = json!({"message": message, "type": "OAuthException", "code": code,
        "fbtrace_id": "AbCdEf123"});
    if let Some(subcode) = subcode {
        error["error_subcode"] = subcode.into();
    }
    told(status, json!({"error": error}).to_string().as_bytes())
}

fn nothing(certificate_refused: bool, reason: &str) -> Told {
    Told {
        date: None,
        said: Said::Nothing {
            certificate_refused,
            reason: reason.to_owned(),
        },
    }
}

/// The same object with one member changed; `null` takes it out.
fn but(mut whole: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = whole.pointer_mut(parent).unwrap();
    match value {
        Value::Null => {
            parent.as_object_mut().unwrap().remove(name).unwrap();
        }
        value => parent[name] = value,
    }
    whole
}

fn good_token() -> Value {
    json!({"data": {"app_id": APP, "type": "SYSTEM_USER", "application": "La Espiga",
        "expires_at": 0, "data_access_expires_at": 0, "is_valid": true, "issued_at": 1_790_000_000,
        "scopes": ["whatsapp_business_management", "whatsapp_business_messaging"],
        "granular_scopes": [
            {"scope": "whatsapp_business_management", "target_ids": [ACCOUNT]},
            {"scope": "whatsapp_business_messaging", "target_ids": [ACCOUNT]}],
        "user_id": "122100000000000000"}})
}

fn good_number() -> Value {
    json!({"id": NUMBER_ID, "status": "CONNECTED", "display_phone_number": "+1 555-078-3881",
        "name_status": "APPROVED", "code_verification_status": "VERIFIED", "quality_rating": "GREEN",
        "throughput": {"level": "STANDARD"}, "platform_type": "CLOUD_API", "account_mode": "LIVE",
        "webhook_configuration": {"application": "https://portero.example.com/webhook"}})
}

fn good_health() -> Value {
    let entity = |kind, id| json!({"entity_type": kind, "id": id, "can_send_message": "AVAILABLE"});
    json!({"id": NUMBER_ID, "health_status": {"can_send_message": "AVAILABLE", "entities": [
        entity("PHONE_NUMBER", NUMBER_ID), entity("WABA", ACCOUNT),
        entity("BUSINESS", "506914307656634"), entity("APP", APP)]}})
}

/// An error whose number is not known here: its words alone tell.
const SOME_ERROR: u32 = 999_999;

/// Meta's example of a number that takes no calls, and may send.
fn no_calls() -> Value {
    let mut health = good_health();
    health["health_status"]["can_send_message"] = "BLOCKED".into();
    for (place, code) in [(0, 138_024), (3, 138_025)] {
        let entity = &mut health["health_status"]["entities"][place];
        entity["can_receive_call_sip"] = "BLOCKED".into();
        entity["errors"] = json!([{"error_code": code,
            "error_description": "WhatsApp Business calling cannot use SIP because it is not enabled",
            "possible_solution": "Configure SIP using {PHONE_NUMBER_ID}/settings API"}]);
    }
    health
}

/// Meta's example of a limit: told as a sentence, and beside it an error that is about calls.
fn no_display_name() -> Value {
    let mut health = no_calls();
    let entity = &mut health["health_status"]["entities"][0];
    entity["can_send_message"] = "LIMITED".into();
    entity["additional_info"] = json!([
        "Your display name has not been approved yet. Your message limit will increase after the display name is approved."
    ]);
    health
}

/// One part in trouble, as Meta tells it.
fn health_with(place: usize, state: &str, code: u32, description: &str) -> Value {
    let mut health = good_health();
    let entity = &mut health["health_status"]["entities"][place];
    entity["can_send_message"] = state.into();
    if code > 0 {
        entity["errors"] = json!([{"error_code": code, "error_description": description,
            "possible_solution": "Call +1 555 010 9999"}]);
    }
    health["health_status"]["can_send_message"] = state.into();
    health
}

fn good_subscribed() -> Value {
    json!({"data": [{"whatsapp_business_api_data": {"id": APP, "name": "La Espiga",
        "link": "https://www.facebook.com/games/?app_id=634974688087057"}}]})
}

fn good_subscriptions() -> Value {
    json!({"data": [{"object": "whatsapp_business_account", "active": true,
        "callback_url": "https://portero.example.com/webhook",
        "fields": [{"name": "messages", "version": "v25.0"}]}]})
}

/// What each fault is, what is found, and a part of what is said and of the advice.
type Row = (
    &'static str,
    Vec<Finding>,
    &'static str,
    Verdict,
    &'static str,
    &'static str,
);

fn rows() -> Vec<Row> {
    let t = |told: &Told| token(told, NOW);
    let tok = |pointer, value| t(&yes(&but(good_token(), pointer, value)));
    let num = |pointer, value| number(&yes(&but(good_number(), pointer, value)), &known());
    let num_no = |code, subcode, message| number(&no(400, code, subcode, message), &known());
    let hea = |place, state, code, text| health(&yes(&health_with(place, state, code, text)));
    let sub = |body: Value| subscription(&yes(&body), &known());
    let app_of = |body: Value| app(&[yes(&body)], &known());
    let subs = |pointer, value| app_of(but(good_subscriptions(), pointer, value));
    let bad_secret = || no(400, 190, None, "Invalid OAuth access token signature.");
    let swapped = |id: &str| {
        let known = Known {
            number_id: id.to_owned(),
            ..known()
        };
        let message = "Unsupported get request. Object with ID '1' does not exist";
        number(&no(400, 100, Some(33), message), &known)
    };
    vec![
        // The token.
        (
            "the token may not ask about itself",
            t(&no(
                400,
                100,
                None,
                "(#100) You must provide an app access token",
            )),
            "Meta token",
            Look,
            "does not tell",
            "debug/accesstoken",
        ),
        (
            "the token has expired",
            tok("/data/expires_at", json!(NOW - 7_300)),
            "Meta token",
            Wrong,
            "expired 2 hours ago",
            "System users",
        ),
        (
            "the token was revoked",
            tok("/data/is_valid", json!(false)),
            "Meta token",
            Wrong,
            "revoked",
            "System users",
        ),
        (
            "the token of the dashboard",
            tok("/data/expires_at", json!(NOW + 80_000)),
            "Meta token",
            Wrong,
            "ends in 22 hours",
            "permanent token",
        ),
        (
            "a token with an end",
            tok("/data/expires_at", json!(NOW + 20 * DAY)),
            "Meta token",
            Look,
            "ends in 20 days",
            "permanent token",
        ),
        (
            "a person's token",
            tok("/data/type", json!("USER")),
            "Meta token",
            Look,
            "a person's",
            "permanent token",
        ),
        (
            "the token of a page",
            tok("/data/type", json!("PAGE")),
            "Meta token",
            Wrong,
            "of an app or a page",
            "permanent token",
        ),
        (
            "its access to data ends",
            tok("/data/data_access_expires_at", json!(NOW + DAY)),
            "Meta token",
            Look,
            "access to data ends in 24 hours",
            "permanent token",
        ),
        (
            "the token is refused",
            t(&no(
                401,
                190,
                None,
                "Error validating access token: Session has expired",
            )),
            "Meta token",
            Wrong,
            "190 access token expired or revoked",
            "permanent token",
        ),
        (
            "nonsense in place of the token",
            t(&no(401, 0, None, "AuthException")),
            "Meta token",
            Wrong,
            "0 could not authenticate",
            "permanent token",
        ),
        (
            "messaging is not permitted",
            tok(
                "/data",
                json!({"type": "SYSTEM_USER", "is_valid": true, "scopes": ["whatsapp_business_management"]}),
            ),
            "permissions",
            Wrong,
            "whatsapp_business_messaging is missing",
            "generate the token again",
        ),
        (
            "management is not permitted",
            tok(
                "/data",
                json!({"type": "SYSTEM_USER", "is_valid": true, "scopes": ["whatsapp_business_messaging"]}),
            ),
            "permissions",
            Look,
            "whatsapp_business_management is missing",
            "generate the token again",
        ),
        (
            "an edge answers HTML",
            t(&told(502, b"<html>Bad gateway</html>")),
            "Meta token",
            Wrong,
            "not Meta answered HTTP 502",
            "metastatus.com",
        ),
        (
            "a captive portal answers",
            t(&told(200, b"<html>Log in</html>")),
            "Meta token",
            Wrong,
            "not Meta answered HTTP 200",
            "proxies",
        ),
        (
            "Meta is out of reach",
            t(&nothing(false, "no connection within the deadline")),
            "Meta token",
            Wrong,
            "does not answer",
            "let this machine reach",
        ),
        (
            "a proxy opens TLS",
            t(&nothing(
                true,
                "TLS failed: the certificate's issuer is not trusted",
            )),
            "Meta token",
            Wrong,
            "certificate of whatsapp.api_url is refused",
            "proxy",
        ),
        // The number.
        (
            "the id of the account",
            num_no(
                100,
                None,
                "(#100) Tried accessing nonexisting field (status) on node type (WhatsAppBusinessAccount)",
            ),
            "number",
            Wrong,
            "is the id of the WhatsApp account",
            "Phone number ID",
        ),
        (
            "the id of the account, out of reach",
            swapped(ACCOUNT),
            "number",
            Wrong,
            "is the id of the WhatsApp account",
            "Phone number ID",
        ),
        (
            "the id of the app",
            swapped(APP),
            "number",
            Wrong,
            "is the id of the app",
            "Phone number ID",
        ),
        (
            "the phone number itself",
            swapped("15550783881"),
            "number",
            Wrong,
            "is the phone number itself",
            "Phone number ID",
        ),
        (
            "another phone number",
            swapped("573001112233"),
            "number",
            Wrong,
            "is the phone number itself",
            "Phone number ID",
        ),
        (
            "a number out of reach",
            num_no(100, Some(33), "Unsupported get request."),
            "number",
            Wrong,
            "no number with this id",
            "assign the WhatsApp account",
        ),
        (
            "no access to the account",
            num_no(
                200,
                None,
                "(#200) You do not have the necessary permissions",
            ),
            "number",
            Wrong,
            "200 permission missing",
            "assign the WhatsApp account",
        ),
        (
            "not registered",
            num("/status", json!("PENDING")),
            "number",
            Wrong,
            "not registered",
            "register it",
        ),
        (
            "banned",
            num("/status", json!("BANNED")),
            "number",
            Wrong,
            "holds it back (BANNED)",
            "appeal",
        ),
        (
            "not on the Cloud API",
            num("/platform_type", json!("NOT_APPLICABLE")),
            "number",
            Wrong,
            "not on the Cloud API",
            "register it",
        ),
        (
            "another number than configured",
            num("/display_phone_number", json!("+57 300 1112233")),
            "number",
            Wrong,
            "whatsapp.number is another number",
            "WhatsApp Manager",
        ),
        (
            "not verified",
            num("/code_verification_status", json!("NOT_VERIFIED")),
            "number",
            Look,
            "not verified",
            "SMS or call",
        ),
        (
            "its name was declined",
            num("/name_status", json!("DECLINED")),
            "number",
            Look,
            "display name was declined",
            "another display name",
        ),
        (
            "low quality",
            num("/quality_rating", json!("RED")),
            "number",
            Wrong,
            "quality is low",
            "WhatsApp Manager",
        ),
        (
            "medium quality",
            num("/quality_rating", json!("YELLOW")),
            "number",
            Look,
            "quality is medium",
            "WhatsApp Manager",
        ),
        (
            "a test number",
            num("/account_mode", json!("SANDBOX")),
            "number",
            Look,
            "test number",
            "API Setup > To",
        ),
        // Who may send.
        (
            "no payment method",
            hea(
                1,
                "BLOCKED",
                141_006,
                "There is an error with the payment method. This will block business initiated conversations.",
            ),
            "payment",
            Wrong,
            "no payment method",
            "add a payment method",
        ),
        (
            "the business is not verified",
            hea(
                2,
                "LIMITED",
                141_010,
                "The Business has not passed business verification.",
            ),
            "portfolio",
            Look,
            "not verified",
            "Security Center",
        ),
        (
            "the app is not published",
            hea(3, "BLOCKED", SOME_ERROR, "The app is in development mode."),
            "app",
            Wrong,
            "not published",
            "publish it",
        ),
        (
            "the app is held back",
            hea(3, "LIMITED", 0, ""),
            "app",
            Wrong,
            "holds back the app",
            "App Dashboard",
        ),
        (
            "the account is held back",
            hea(1, "BLOCKED", 0, ""),
            "account",
            Wrong,
            "this WhatsApp account",
            "WhatsApp Manager",
        ),
        (
            "the number is held back",
            hea(0, "BLOCKED", SOME_ERROR, "Policy"),
            "sending",
            Wrong,
            "of this number",
            "WhatsApp Manager",
        ),
        (
            "its display name is not approved",
            health(&yes(&no_display_name())),
            "number",
            Look,
            "display name is not approved",
            "wait for the approval",
        ),
        (
            "held back without a reason",
            health(&yes(
                &json!({"health_status": {"can_send_message": "BLOCKED", "entities": []}}),
            )),
            "sending",
            Wrong,
            "does not say",
            "WhatsApp Manager",
        ),
        // The account and the app.
        (
            "another account",
            account(
                &yes(&json!({"data": [{"id": "106540352242923"}]})),
                &known(),
            ),
            "account",
            Wrong,
            "not one of the account",
            "assign the account",
        ),
        (
            "the app is not subscribed",
            sub(json!({"data": []})),
            "subscription",
            Wrong,
            "not subscribed",
            "--fix",
        ),
        (
            "another app is subscribed",
            sub(but(
                good_subscribed(),
                "/data/0/whatsapp_business_api_data/id",
                json!("1"),
            )),
            "subscription",
            Wrong,
            "not subscribed",
            "--fix",
        ),
        (
            "the account sends elsewhere",
            sub(but(
                good_subscribed(),
                "/data/0/override_callback_uri",
                json!("https://old.example.com/webhook"),
            )),
            "subscription",
            Wrong,
            "another address",
            "--fix",
        ),
        (
            "the wrong app secret",
            app(&[bad_secret()], &known()),
            "app secret",
            Wrong,
            "refused as forged",
            "App settings > Basic",
        ),
        (
            "no app secret is right",
            app(&[bad_secret(), bad_secret()], &known()),
            "app secret",
            Wrong,
            "none of whatsapp.app_secrets",
            "App settings > Basic",
        ),
        (
            "an old app secret is left",
            app(&[yes(&good_subscriptions()), bad_secret()], &known()),
            "app secret",
            Look,
            "number 2 of",
            "take it out",
        ),
        (
            "no callback address",
            app_of(json!({"data": []})),
            "callback",
            Wrong,
            "no callback address",
            "verify token",
        ),
        (
            "another callback address",
            subs(
                "/data/0/callback_url",
                json!("https://bot.example.com/webhook"),
            ),
            "callback",
            Wrong,
            "not this Portero's",
            "Configuration",
        ),
        (
            "the callback is switched off",
            subs("/data/0/active", json!(false)),
            "callback",
            Wrong,
            "switched",
            "Verify and save",
        ),
        (
            "the field messages is missing",
            subs(
                "/data/0/fields",
                json!([{"name": "account_update", "version": "v25.0"}]),
            ),
            "callback",
            Wrong,
            "field messages",
            "Webhook fields",
        ),
        (
            "the number sends elsewhere",
            number_override(
                &yes(&but(
                    good_number(),
                    "/webhook_configuration/phone_number",
                    json!("https://old.example.com/"),
                )),
                &known(),
            )
            .into_iter()
            .collect(),
            "callback",
            Wrong,
            "address of its own",
            "override_callback_uri",
        ),
        // The identity check.
        (
            "the identity check is off",
            identity_check(&yes(
                &json!({"user_identity_change": {"enable_identity_key_check": false}}),
            )),
            "identity check",
            Look,
            "off",
            "--fix",
        ),
        (
            "the same in the other name",
            identity_check(&yes(&json!({"user_identity_change": {"enabled": false}}))),
            "identity check",
            Look,
            "off",
            "--fix",
        ),
        (
            "nobody says whether it is on",
            identity_check(&yes(&json!({}))),
            "identity check",
            Look,
            "does not say",
            "--fix",
        ),
    ]
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    let rows = rows();
    let faults: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.0).collect();
    assert_eq!(faults.len(), rows.len(), "two faults have one name");
    assert!(faults.len() >= 40, "only {} faults", faults.len());
    for (fault, found, name, verdict, what, advice) in rows {
        let named = found.iter().any(|finding| {
            finding.name == name
                && finding.verdict == verdict
                && finding.what.contains(what)
                && (finding.advice.as_deref().unwrap_or_default()).contains(advice)
        });
        assert!(named, "{fault}: {found:#?}");
        let others: Vec<_> = (found.iter())
            .filter(|finding| finding.verdict != Fine && finding.name != name)
            .filter(|finding| finding.name != "permissions")
            .collect();
        assert!(others.is_empty(), "{fault} is taken for {others:#?}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let known = known();
    let mut found = token(&yes(&good_token()), NOW);
    found.extend(number(&yes(&good_number()), &known));
    found.extend(number_override(&yes(&good_number()), &known));
    found.extend(health(&yes(&good_health())));
    found.extend(health(&yes(&no_calls())));
    found.extend(account(&yes(&json!({"data": [{"id": NUMBER_ID}]})), &known));
    found.extend(subscription(&yes(&good_subscribed()), &known));
    found.extend(app(&[yes(&good_subscriptions())], &known));
    // Older versions write fields as texts, and the address with a slash.
    let other = but(good_subscriptions(), "/data/0/fields", json!(["messages"]));
    let other = but(
        other,
        "/data/0/callback_url",
        json!("https://Portero.example.com/webhook/"),
    );
    found.extend(app(&[yes(&other)], &known));
    let on = json!({"user_identity_change": {"enable_identity_key_check": true}});
    found.extend(identity_check(&yes(&on)));
    found.extend(identity_check(&yes(
        &json!({"user_identity_change": {"enabled": true}}),
    )));
    assert_eq!(found.len(), 13);
    for finding in found {
        assert_eq!((finding.verdict, finding.fix), (Fine, None), "{finding:?}");
    }
}

#[test]
fn what_the_token_and_the_health_say_is_known_to_the_checks_after_them() {
    let token = yes(&good_token());
    assert_eq!(
        of_token(&token),
        (Some(APP.to_owned()), vec![ACCOUNT.to_owned()])
    );
    let health = yes(&good_health());
    assert_eq!(account_in_health(&health).as_deref(), Some(ACCOUNT));
    // Ids go into addresses: what is none is not taken for one.
    let odd = yes(&but(good_token(), "/data/app_id", json!("../me")));
    assert_eq!(of_token(&odd).0, None);
    assert!(is_usable(&token));
    assert!(!is_usable(&no(401, 190, None, "expired")));
    assert!(!is_usable(&nothing(false, "no answer")));
    // A token that may not ask about itself may still send.
    assert!(is_usable(&no(400, 100, None, "must be the developer")));
    let as_text = told(400, br#"{"error":{"code":"100"}}"#);
    assert!(is_usable(&as_text), "the number is the same as a text");
}

#[test]
fn what_meta_says_in_its_own_words_is_never_repeated() {
    for (fault, found, ..) in rows() {
        let shown = format!("{found:?}");
        for quoted in [
            "555",
            "573001112233",
            "example.com",
            NUMBER_ID,
            ACCOUNT,
            APP,
        ] {
            assert!(!shown.contains(quoted), "{fault}: {quoted} in {shown}");
        }
    }
}

#[test]
fn silence_is_told_from_every_other_fault() {
    for (fault, found, ..) in rows() {
        let silent = found.iter().any(|finding| finding.is_silence);
        assert_eq!(silent, fault == "Meta is out of reach", "{fault}");
    }
}

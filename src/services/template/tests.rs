//! Tests of `template`: what people type stays a value (S-80).
#![allow(clippy::unwrap_used)]

use super::*;
use crate::http::Method;
use proptest::prelude::*;
use serde_json::json;

const HOST: &str = "https://api.example.com";

fn url(text: &str, call: Call) -> UrlTemplate {
    UrlTemplate::parse(text, call).unwrap_or_else(|words| panic!("{text}: {words}"))
}

fn filled(text: &str, user: &str) -> Result<String, UnfitForPath> {
    let values = [(Placeholder::User, user)];
    let url = url(&format!("{HOST}{text}"), Call::CheckPassword);
    url.fill(Values(&values)).map(|endpoint| endpoint.text())
}

fn body(value: &Value, call: Call) -> Result<BodyTemplate, String> {
    BodyTemplate::parse(value, call, &mut |name: &str, text: &str| {
        Ok((name == "client_secret").then(|| Secret::new(text)))
    })
}

fn written(value: &Value, encoding: Encoding, user: &str, password: &str) -> String {
    let values = [(Placeholder::User, user), (Placeholder::Password, password)];
    let bytes = body(value, Call::CheckPassword)
        .unwrap()
        .fill(encoding, Values(&values));
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_value_is_percent_encoded_wherever_it_stands() {
    for (template, user, expected) in [
        ("/u/{user}", "ana", "/u/ana"),
        ("/u/{user}/x", "a b", "/u/a%20b/x"),
        ("/u/{user}", "a@b.co", "/u/a%40b.co"),
        ("/u/{user}", "a?b#c", "/u/a%3Fb%23c"),
        ("/u/{user}", "a&b=c;d", "/u/a%26b%3Dc%3Bd"),
        ("/u/{user}", "ñandú 🐕", "/u/%C3%B1and%C3%BA%20%F0%9F%90%95"),
        ("/u/{user}", "..a", "/u/..a"),
        ("/u/{user}.json", "ana", "/u/ana.json"),
        ("/u?n={user}", "../../x", "/u?n=..%2F..%2Fx"),
        ("/u?n={user}", "%2f", "/u?n=%252f"),
        ("/u?n={user}", "a&admin=1", "/u?n=a%26admin%3D1"),
        ("/u?n={user}", "a#b", "/u?n=a%23b"),
        (
            "/u?n={user}&v=1",
            "a\r\nHost: evil",
            "/u?n=a%0D%0AHost%3A%20evil&v=1",
        ),
        ("/u?{user}", "a=b", "/u?a%3Db"),
        ("/u?n={user}&m={user}", "+", "/u?n=%2B&m=%2B"),
        ("/u?n={user}", "{password}", "/u?n=%7Bpassword%7D"),
        ("?n={user}", "a", "/?n=a"),
    ] {
        assert_eq!(
            filled(template, user).unwrap(),
            format!("{HOST}{expected}"),
            "{template} {user}"
        );
    }
}

#[test]
fn what_a_server_on_the_way_might_resolve_is_not_put_into_a_path() {
    for user in [
        "",
        ".",
        "..",
        "...",
        "../",
        "../../admin",
        "a/b",
        "/",
        "\\",
        "..\\x",
        "%2f",
        "%2e%2e",
        "a%00",
        "a\u{0}",
        "a\nb",
        "a\u{85}b",
    ] {
        assert_eq!(filled("/u/{user}", user), Err(UnfitForPath), "{user:?}");
    }
    // Behind the question mark they are only signs.
    assert!(filled("/u?n={user}", "../%2f\n").is_ok());
}

#[test]
fn addresses_that_cannot_be_are_refused_in_words() {
    for (text, call, words) in [
        (
            "https://{email}.example.com/",
            Call::FindUser,
            "after the host",
        ),
        ("https://{email}/", Call::FindUser, "after the host"),
        (
            "https://a.example:{email}/",
            Call::FindUser,
            "after the host",
        ),
        ("{email}", Call::FindUser, "after the host"),
        (
            "https://a.example/?q={mail}",
            Call::FindUser,
            "there are {email}",
        ),
        (
            "https://a.example/?q={Email}",
            Call::FindUser,
            "there are {email}",
        ),
        (
            "https://a.example/?q={userId}",
            Call::FindUser,
            "{userId} has no value here",
        ),
        (
            "https://a.example/?q={ email }",
            Call::FindUser,
            "without braces",
        ),
        (
            "https://a.example/?q={email",
            Call::FindUser,
            "without braces",
        ),
        (
            "https://a.example/?q=email}",
            Call::FindUser,
            "without braces",
        ),
        (
            "https://a.example/?p={password}",
            Call::CheckPassword,
            "without {password}",
        ),
        (
            "https://a.example/{password}",
            Call::CheckPassword,
            "without {password}",
        ),
        ("https://a.example/{email}#x", Call::FindUser, "without `#`"),
        ("http://a.example/{email}", Call::FindUser, "https://"),
        (
            "https://me:pw@a.example/{email}",
            Call::FindUser,
            "user name",
        ),
        ("ftp://a.example/{email}", Call::FindUser, "https://"),
        (
            "https://a.example/a b?q={email}",
            Call::FindUser,
            "must be an address",
        ),
    ] {
        let refusal = UrlTemplate::parse(text, call).unwrap_err();
        assert!(refusal.contains(words), "{text}: {refusal}");
    }
    let long = format!("{HOST}/{}", "x".repeat(URL_BYTES_MAX));
    assert!(UrlTemplate::parse(&long, Call::FindUser).is_err());
}

#[test]
fn bodies_are_written_as_json_or_as_a_form() {
    let hostile = "a\"}, \"admin\": true, {\"&b=c\u{0}\n\\ñ";
    let json_text = |text: &str| Value::from(text).to_string();
    for (template, encoding, expected) in [
        (json!({"u": "{user}"}), Encoding::Json, format!("{{\"u\":{}}}", json_text(hostile))),
        (json!({"u": {"n": ["{user}", 1, true, null]}}), Encoding::Json,
            format!("{{\"u\":{{\"n\":[{},1,true,null]}}}}", json_text(hostile))),
        (json!({"u": "x {user} y {password}"}), Encoding::Json,
            format!("{{\"u\":{}}}", json_text(&format!("x {hostile} y pw")))),
        (json!({"client_secret": "c&s\""}), Encoding::Json, r#"{"client_secret":"c&s\""}"#.to_owned()),
        (json!({"q": "query { me { id } } {"}), Encoding::Json, r#"{"q":"query { me { id } } {"}"#.to_owned()),
        (json!({"{user}": "a"}), Encoding::Json, r#"{"{user}":"a"}"#.to_owned()),
        (json!(["{user}"]), Encoding::Json, format!("[{}]", json_text(hostile))),
        (json!("{password}"), Encoding::Json, "\"pw\"".to_owned()),
        (json!({}), Encoding::Json, "{}".to_owned()),
        (json!({"u": "{user}", "v": 1, "w": null, "x": false}), Encoding::Form,
            "u=a%22%7D%2C%20%22admin%22%3A%20true%2C%20%7B%22%26b%3Dc%00%0A%5C%C3%B1&v=1&w=&x=false".to_owned()),
        (json!({"client_secret": "c&s=", "n&m": "="}), Encoding::Form, "client_secret=c%26s%3D&n%26m=%3D".to_owned()),
    ] {
        assert_eq!(written(&template, encoding, hostile, "pw"), expected, "{template}");
    }
}

#[test]
fn a_member_without_a_value_is_left_out() {
    let values = [
        (Placeholder::UserId, "7"),
        (Placeholder::CompanyId, "1"),
        (Placeholder::UserUuid, "u"),
    ];
    let documented = Question::documented(Call::IssueToken, HOST).unwrap();
    let text = |values: &[(Placeholder, &str)]| {
        let body = documented
            .body
            .as_ref()
            .unwrap()
            .fill(Encoding::Json, Values(values));
        String::from_utf8(body.to_vec()).unwrap()
    };
    assert_eq!(
        text(&values),
        r#"{"companyId":"1","userId":"7","userUuid":"u"}"#
    );
    let scoped = [&values[..], &[(Placeholder::Scope, "read")]].concat();
    assert_eq!(
        text(&scoped),
        r#"{"companyId":"1","scope":"read","userId":"7","userUuid":"u"}"#
    );
}

#[test]
fn the_documented_bodies_are_as_they_were() {
    let text = |question: &Question, values: &[(Placeholder, &str)]| {
        let body = question
            .body
            .as_ref()
            .unwrap()
            .fill(question.encoding, Values(values));
        String::from_utf8(body.to_vec()).unwrap()
    };
    let find = Question::documented(Call::FindUser, HOST).unwrap();
    assert_eq!(
        text(&find, &[(Placeholder::Email, "a@b.co")]),
        r#"{"email":"a@b.co"}"#
    );
    let check = Question::documented(Call::CheckPassword, HOST).unwrap();
    for pair in ["", "a", "\u{0}\n\"", "ñ🙂\u{7f}"] {
        let values = [(Placeholder::User, pair), (Placeholder::Password, pair)];
        #[derive(serde::Serialize)]
        struct Was<'a> {
            user: &'a str,
            password: &'a str,
        }
        let was = serde_json::to_string(&Was {
            user: pair,
            password: pair,
        })
        .unwrap();
        assert_eq!(text(&check, &values), was);
    }
    assert!(
        Question::documented(Call::FindUser, "https://a.example/{email}")
            .unwrap_err()
            .contains("url =")
    );
}

#[test]
fn a_body_with_a_password_never_grows() {
    let template = body(
        &json!({"u": "{user}", "p": "{password}"}),
        Call::CheckPassword,
    )
    .unwrap();
    for text in ["", "a", "\u{0}\n\"", "ñ🙂\u{7f}"] {
        let long = text.repeat(1_024);
        let values = [
            (Placeholder::User, long.as_str()),
            (Placeholder::Password, &long),
        ];
        for encoding in [Encoding::Json, Encoding::Form] {
            let body = template.fill(encoding, Values(&values));
            assert_eq!(body.capacity(), body.len(), "no byte more than was counted");
        }
    }
}

#[test]
fn a_question_that_cannot_tell_people_apart_is_refused() {
    let find = |path: &str| url(&format!("{HOST}{path}"), Call::FindUser);
    let check = |path: &str| url(&format!("{HOST}{path}"), Call::CheckPassword);
    let token = |path: &str| url(&format!("{HOST}{path}"), Call::IssueToken);
    let with = |value: Value, call| Some(body(&value, call).unwrap());
    let (json, form) = (Encoding::Json, Encoding::Form);
    let misfits = [
        (
            Question::new(Call::FindUser, Method::Get, find("/x"), vec![], None, json),
            "url",
        ),
        (
            Question::new(
                Call::FindUser,
                Method::Post,
                find("/x"),
                vec![],
                with(json!({"a": 1}), Call::FindUser),
                json,
            ),
            "url",
        ),
        (
            Question::new(
                Call::IssueToken,
                Method::Post,
                token("/{companyId}"),
                vec![],
                None,
                json,
            ),
            "url",
        ),
        (
            Question::new(
                Call::IssueToken,
                Method::Post,
                token("/x"),
                vec![],
                with(json!({"u": "{userUuid}"}), Call::IssueToken),
                json,
            ),
            "url",
        ),
        (
            Question::new(
                Call::CheckPassword,
                Method::Get,
                check("/{user}"),
                vec![],
                None,
                json,
            ),
            "body",
        ),
        (
            Question::new(
                Call::CheckPassword,
                Method::Post,
                check("/{user}"),
                vec![],
                None,
                json,
            ),
            "body",
        ),
        (
            Question::new(
                Call::CheckPassword,
                Method::Post,
                check("/x"),
                vec![],
                with(json!({"u": "{user}"}), Call::CheckPassword),
                json,
            ),
            "body",
        ),
        (
            Question::new(
                Call::FindUser,
                Method::Get,
                find("/{email}"),
                vec![],
                with(json!({}), Call::FindUser),
                json,
            ),
            "body",
        ),
        (
            Question::new(
                Call::FindUser,
                Method::Get,
                find("/{email}"),
                vec![],
                None,
                form,
            ),
            "encoding",
        ),
        (
            Question::new(
                Call::FindUser,
                Method::Post,
                find("/x"),
                vec![],
                with(json!({"a": ["{email}"]}), Call::FindUser),
                form,
            ),
            "encoding",
        ),
        (
            Question::new(
                Call::FindUser,
                Method::Post,
                find("/x"),
                vec![],
                with(json!("{email}"), Call::FindUser),
                form,
            ),
            "encoding",
        ),
    ];
    for (index, (question, part)) in misfits.into_iter().enumerate() {
        assert_eq!(question.unwrap_err().part, part, "{index}");
    }
    // What says everything in its address needs no body, and what says nothing has the documented one.
    let said = Question::new(
        Call::FindUser,
        Method::Post,
        find("/{email}"),
        vec![],
        None,
        json,
    )
    .unwrap();
    assert!(said.body.is_none());
    let silent = Question::new(
        Call::CheckPassword,
        Method::Put,
        check("/x"),
        vec![],
        None,
        form,
    )
    .unwrap();
    assert!(silent.body.is_some());
    assert!(!silent.has_credentials());
    let secret = with(
        json!({"client_secret": "x", "u": "{userId}"}),
        Call::IssueToken,
    );
    let secret = Question::new(
        Call::IssueToken,
        Method::Post,
        token("/x"),
        vec![],
        secret,
        json,
    )
    .unwrap();
    assert!(secret.has_credentials());
}

#[test]
fn a_body_is_bounded_and_names_its_placeholders() {
    let mut deep = json!("{email}");
    for _ in 0..=DEPTH_MAX {
        deep = json!([deep]);
    }
    assert!(body(&deep, Call::FindUser).is_err());
    assert!(body(&json!(vec![1; NODES_MAX]), Call::FindUser).is_err());
    let refusal = body(&json!({"a": "{secretword}"}), Call::FindUser).unwrap_err();
    assert!(
        refusal.contains("{email}") && !refusal.contains("secretword"),
        "{refusal}"
    );
}

#[test]
fn people_see_the_question_without_its_secrets() {
    let shown = url(
        "https://a.example/x?key=abc&mail={email}&k2=pre{email}post&flag",
        Call::FindUser,
    );
    let values = [(Placeholder::Email, "a@b.co")];
    assert_eq!(
        shown.shown(Values(&values)),
        "https://a.example/x?key=…&mail=a%40b.co&k2=…a%40b.co&flag"
    );
    assert_eq!(format!("{shown:?}"), "UrlTemplate(a.example)");
    let template = body(
        &json!({"client_secret": "s", "p": "<{password}>", "u": "{user}", "n": 1}),
        Call::CheckPassword,
    )
    .unwrap();
    let values = [
        (Placeholder::User, "ana"),
        (Placeholder::Password, "perros"),
    ];
    assert_eq!(
        template.shown(Values(&values)),
        json!({"client_secret": "…", "p": "<…>", "u": "ana", "n": 1})
    );
    assert_eq!(template.outline(Call::CheckPassword)["u"], "{user}");
    assert!(!format!("{template:?}").contains("\"s\""));
}

proptest! {
    #[test]
    fn no_value_changes_where_a_question_goes(user in "\\PC{0,40}|[./%\\\\?#@&=:;{}a\\n\\x00]{0,20}") {
        for (template, parts) in [("/u/{user}/x?q=1", 3), ("/u?q={user}&r=1", 1)] {
            let Ok(text) = filled(template, &user) else {
                prop_assert!(template.starts_with("/u/"), "only a path may refuse");
                continue;
            };
            let rest = text.strip_prefix(HOST).unwrap();
            prop_assert!(rest.bytes().all(|b| b.is_ascii_graphic()));
            let (path, query) = rest.split_once('?').unwrap();
            let segments: Vec<_> = path.split('/').skip(1).collect();
            prop_assert_eq!(segments.len(), parts);
            prop_assert!(!segments.iter().any(|segment| [".", "..", ""].contains(segment)));
            prop_assert!(!query.contains(['?', '#', '/']));
            prop_assert_eq!(query.matches('&').count(), template.matches('&').count());
            // And it arrives as it was typed.
            let decoded: Vec<u8> = match parts {
                3 => form_urlencoded::parse(format!("v={}", segments[1]).as_bytes()).next().unwrap().1.into_owned().into_bytes(),
                _ => form_urlencoded::parse(query.as_bytes()).next().unwrap().1.into_owned().into_bytes(),
            };
            prop_assert_eq!(String::from_utf8(decoded).unwrap(), user.clone());
        }
    }

    #[test]
    fn a_body_holds_the_values_and_nothing_else(user in any::<String>(), password in any::<String>()) {
        let template = json!({"a": "{user}", "b": {"c": ["x{password}y"]}, "d": 1});
        let read: Value = serde_json::from_str(&written(&template, Encoding::Json, &user, &password)).unwrap();
        prop_assert_eq!(read, json!({"a": user, "b": {"c": [format!("x{password}y")]}, "d": 1}));
        let form = written(&json!({"a": "{user}", "b": "x{password}y"}), Encoding::Form, &user, &password);
        let read: Vec<_> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        prop_assert_eq!(read, [("a".to_owned(), user), ("b".to_owned(), format!("x{password}y"))]);
    }

    #[test]
    fn any_template_is_read_or_refused(text in "\\PC{0,60}|[a-zA-Z{}/?:#@.]{0,40}") {
        for call in [Call::FindUser, Call::IssueToken, Call::CheckPassword] {
            let _ = UrlTemplate::parse(&text, call);
            let _ = UrlTemplate::parse(&format!("{HOST}{text}"), call);
            let _ = body(&json!({"a": text}), call);
        }
    }
}

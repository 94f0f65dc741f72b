//! A service that has its endpoints in another shape, over HTTPS: the real program in front of it,
//! and `portero check --service`, which shows one call and no secret (S-80, S-91).

use crate::outside::{World, text};
use crate::python::{AtTerminal, StandIn, at_terminal};
use portero::config::Config;
use portero::domain::binding::Scope;
use portero::domain::id::{ContactId, EmailAddress, ServiceName};
use portero::domain::time::Timestamp;
use portero::services::{Services, TokenFor};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const KEY: &str = "canary-api-key-0451";
const BASIC: &str = "Basic Y2FuYXJ5OmNhbmFyeS1iYXNpYw==";
const TOKEN: &str = "eyJhbGciOiJub25lIn0.canary-token.abcdefgh";
const CLIENT: &str = "canary client & secret";
const SIGNING: &str = "whsec_Y2FuYXJ5IGNhbmFyeSBjYW5hcnkgY2FuYXJ5IDEy";
const BEARER: &str = "canary-bearer-1723";
const PASSWORD: &str = "canary perros verdes";
const UUID: &str = "7d9f0a54-51aa-4ad1-9c5c-31f0ad1c35bd";
const EVA: &str = "eva@example.com";

/// The service that the README describes.
fn routes(echo: bool) -> Value {
    json!({
        "GET /api/v2/customers": {"needs": {"x-api-key": KEY}, "echo": echo,
            "answer": {"data": {"items": [{"uuid": UUID, "full_name": "Eva Ruiz", "mail": EVA}]}}},
        "POST /oauth/token": {"needs": {"authorization": BASIC}, "echo": echo,
            "answer": {"access_token": TOKEN, "expires_in": "3600", "token_type": "bearer"}},
        "PUT /login": {"echo": echo, "answer": {"customer": {"uuid": UUID, "full_name": "Eva Ruiz", "mail": EVA}}},
        "POST /refuses": {"status": 401, "answer": {"message": "no"}},
    })
}

fn crm(echo: bool) -> StandIn {
    StandIn::start("https_stand_in.py", &json!({"routes": routes(echo)}))
}

/// The example in the README, with the address of the stand-in in place of its own.
fn example(stand_in: &StandIn) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let blocks = readme.split("```toml\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let block = blocks
        .find(|block| block.contains("name = \"crm\""))
        .unwrap();
    let here = format!("https://localhost:{}", stand_in.port);
    block.replace("https://crm.example.com", &here).replace(
        "name = \"crm\"\n",
        "name = \"crm\"\nca_file = \"crm-ca.pem\"\n",
    )
}

/// A world in which the service stands before woku.
fn world_with(world: World, stand_in: &StandIn, service: &str) -> World {
    fs::write(world.path("crm-ca.pem"), &stand_in.ca_pem).unwrap();
    let woku = "[[services]]\nname = \"woku\"";
    world.edit(woku, &format!("{service}\n{woku}"));
    world
}

fn command(world: &World, arguments: &[&str]) -> Command {
    let mut command = world.command(arguments);
    command
        .envs([
            ("CRM_KEY", KEY),
            ("CRM_BASIC", BASIC),
            ("CRM_CLIENT", CLIENT),
            ("CRM_SIGNING", SIGNING),
            ("CRM_BEARER", BEARER),
        ])
        .stdout(Stdio::piped());
    command
}

/// Exit code, standard output, standard error.
fn check(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let arguments = [
        &["check", "--config", "portero.toml", "--service", "crm"],
        arguments,
    ]
    .concat();
    let output = command(world, &arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, error) = (text(output.stdout), text(output.stderr));
    assert!(!world.path("portero.redb").exists(), "nothing is kept");
    (output.status.code().unwrap(), out, error)
}

#[test]
fn somebody_signs_in_through_a_service_that_knows_nothing_of_portero() {
    let stand_in = crm(false);
    let mut world = world_with(World::with_mail(json!({})), &stand_in, &example(&stand_in));
    let portero =
        crate::outside::Portero::start(command(&world, &["serve", "--config", "portero.toml"]));
    let eva = "573007654321";
    portero.receive(&[text(eva, "hola")]);
    world.graph.reply(eva, 1);
    portero.receive(&[text(eva, EVA)]);
    let code = world.mail().letter_to(EVA).code();
    world.graph.reply(eva, 2);
    portero.receive(&[text(eva, &code)]);
    assert_eq!(
        world.graph.reply(eva, 3).body,
        "Entraste como Eva Ruiz de La Espiga en crm."
    );
    let asked = stand_in.next("call");
    assert_eq!(asked["method"], "GET");
    assert_eq!(asked["path"], "/api/v2/customers?mail=eva%40example.com");
    assert_eq!(asked["headers"]["x-api-key"], KEY);
    assert_eq!(asked["headers"]["accept"], "application/json");
    assert_eq!(
        asked["headers"]["webhook-signature"],
        Value::Null,
        "there is no secret to sign with"
    );
    assert_eq!(asked["body"], "");

    // Somebody whom the service does not mean by this address is not let in by it.
    let other = "573001112233";
    portero.receive(&[text(other, "hola")]);
    world.graph.reply(other, 1);
    portero.receive(&[text(other, "somebody@example.com")]);
    world.graph.reply(other, 2);
    let asked = stand_in.next("call");
    assert_eq!(
        asked["path"],
        "/api/v2/customers?mail=somebody%40example.com"
    );
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    for private in ["canary", EVA, "Eva Ruiz"] {
        assert!(!log.contains(private), "{private}: {log}");
    }
    let mails = world.mail.take().unwrap().finish();
    assert!(mails.iter().all(|letter| letter.to == EVA), "{mails:?}");
}

#[test]
fn a_token_is_asked_for_as_a_form_and_its_lifetime_may_be_digits_in_a_text() {
    let stand_in = crm(false);
    let world = world_with(World::without_mail(), &stand_in, &example(&stand_in));
    let text = fs::read_to_string(world.path("portero.toml")).unwrap();
    let environment = |name: &str| {
        Some(match name {
            "CRM_KEY" => KEY.to_owned(),
            "CRM_BASIC" => BASIC.to_owned(),
            "STORE_KEY" => crate::outside::STORE_KEY.to_owned(),
            "KUTAMMA_SECRET" => SIGNING.to_owned(),
            other => format!("a{other}"),
        })
    };
    let loaded = Config::parse(&text, world.folder.path(), &environment);
    let config = loaded.unwrap_or_else(|wrong| panic!("{wrong}")).config;
    let configured = config.services.into_iter();
    let only = configured.filter(|service| service.name.as_str() == "crm");
    let services = Services::new(only.collect()).unwrap();
    let now = Timestamp(1_800_000_000_000);
    let crm = ServiceName::parse("crm").unwrap();
    let contact = ContactId::parse("4f1c0de0-1111-4222-8333-444455556666").unwrap();
    let wanted = |user_id: &'static str| TokenFor {
        user_id,
        company_id: "1",
        contact,
        scope: Scope::Full,
    };
    // What a service says an id is never becomes another member of the form.
    for (id, encoded) in [
        (UUID, UUID),
        ("7&admin=1", "7%26admin%3D1"),
        ("../x", "..%2Fx"),
    ] {
        let token = services.issue_token(&crm, &wanted(id), now, "x").unwrap();
        assert_eq!(
            (token.token.reveal(), token.token_type.as_str()),
            (TOKEN, "bearer")
        );
        assert_eq!(token.expires_in_seconds, 3_600);
        let asked = stand_in.next("call");
        assert_eq!(asked["path"], "/oauth/token");
        assert_eq!(
            asked["headers"]["content-type"],
            "application/x-www-form-urlencoded"
        );
        assert_eq!(
            asked["body"],
            format!("customer={encoded}&grant_type=urn%3Aexample%3Acustomer")
        );
    }
    for typed in [
        "a&admin=1@example.com",
        "a/./b@example.com",
        "a#b@example.com",
        "{email}@example.com",
        "%2e%2e@example.com",
    ] {
        let email = EmailAddress::parse(typed).unwrap();
        let answers = services.find_user(&email, now, "x");
        let crm = answers
            .iter()
            .find(|answer| answer.service.as_str() == "crm")
            .unwrap();
        assert!(crm.users.is_err(), "Eva is not {typed} (S-84)");
        let asked = stand_in.next("call");
        let query = asked["path"]
            .as_str()
            .unwrap()
            .strip_prefix("/api/v2/customers?")
            .unwrap();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect();
        assert_eq!(pairs, [("mail".to_owned(), typed.to_owned())]);
    }
}

#[test]
fn the_dry_run_shows_what_is_sent_answered_and_read() {
    let stand_in = crm(false);
    let world = world_with(World::without_mail(), &stand_in, &example(&stand_in));
    let (code, out, error) = check(&world, &["--email", EVA, "--token"]);
    let here = format!("https://localhost:{}", stand_in.port);
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(
        out,
        format!(
            r#"find_user
  asked     GET {here}/api/v2/customers?mail=eva%40example.com
            X-Api-Key: …
  answered  200
            content-type: application/json
            {{
              "data": {{
                "items": [
                  {{
                    "full_name": "Eva Ruiz",
                    "mail": "eva@example.com",
                    "uuid": "{UUID}"
                  }}
                ]
              }}
            }}
  read      ID                                    NAME      EMAIL            PHONE  COMPANY ID  COMPANY
            {UUID}  Eva Ruiz  eva@example.com  -      1           La Espiga

issue_token
  asked     POST {here}/oauth/token
            content-type: application/x-www-form-urlencoded
            Authorization: Basic …
            {{"customer":"{UUID}","grant_type":"urn:example:customer"}}  (as a form)
  answered  200
            content-type: application/json
            {{
              "access_token": "eyJ… (41 characters)",
              "expires_in": "3600",
              "token_type": "bearer"
            }}
  read      a bearer token of 41 characters, good for 60 minutes (3600 s)
"#
        )
    );
    // The same for a program.
    let (code, out, _) = check(&world, &["--email", EVA, "--token", "--json"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(told["calls"][0]["read"]["users"][0]["id"], UUID);
    assert_eq!(
        told["calls"][1]["read"],
        json!({"tokenType": "bearer", "characters": 41, "expiresIn": 3600})
    );
    assert_eq!(told["calls"][1]["asked"]["encoding"], "form");
}

#[test]
fn the_exit_code_of_the_dry_run_tells_what_came_of_it() {
    let stand_in = crm(false);
    let world = world_with(World::without_mail(), &stand_in, &example(&stand_in));
    let here = format!("https://localhost:{}", stand_in.port);
    // Another address than the one that was asked for (S-84).
    let (code, out, error) = check(&world, &["--email", "bea@example.com", "--token"]);
    assert_eq!(code, 1, "{out}{error}");
    assert!(
        out.contains("refused   a user with another address"),
        "{out}"
    );
    assert!(!out.contains("issue_token"), "{out}");

    world.edit("users = \"/data/items\"", "users = \"/customers\"");
    world.edit("name = \"/full_name\"\n", "");
    let (code, out, error) = check(&world, &["--email", EVA]);
    assert_eq!(code, 1);
    let words = "  refused   nothing at \"/customers\" (services.find_user.users) in the answer, which has data\n  \
                 would fit, below [services.find_user]:\n            \
                 users = \"/data/items\"\n            name = \"/full_name\"\n";
    assert!(out.ends_with(words), "{out}");
    assert!(error.contains("hint: write what would fit"), "{error}");
    world.edit(
        "users = \"/customers\" ",
        "users = \"/data/items\"\nname = \"/full_name\" ",
    );
    assert_eq!(check(&world, &["--email", EVA]).0, 0);

    for (arguments, words) in [
        (&["--email", "eva"][..], "a mail address looks like"),
        (&[], "needs somebody to ask about"),
        (&["--password-of", EVA], "at a terminal, and this is none"),
    ] {
        let (code, out, error) = check(&world, arguments);
        assert_eq!((code, out.as_str()), (64, ""), "{error}");
        assert!(error.contains(words), "{error}");
    }
    let misspelt = ["check", "--config", "portero.toml", "--service", "crmm"];
    let output = command(&world, &misspelt).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{error}");
    let words = "no [[services]] is called \"crmm\"\nhint: there are kutamma, crm, woku";
    assert!(error.contains(words), "{error}");
    // Nobody listens there (RFC 863's port is not served here).
    world.edit(&format!("{here}/api"), "https://localhost:9/api");
    let (code, out, error) = check(&world, &["--email", EVA]);
    assert_eq!(code, 69, "{out}{error}");
    assert!(error.contains("crm could not be asked"), "{error}");
}

/// A service that repeats everything that it was sent.
#[test]
fn no_secret_comes_out_of_the_dry_run_whatever_the_service_says() {
    let stand_in = crm(true);
    let here = format!("https://localhost:{}", stand_in.port);
    let service = example(&stand_in)
        .replace(
            "ca_file = \"crm-ca.pem\"\n",
            "ca_file = \"crm-ca.pem\"\nsecret = \"env:CRM_SIGNING\"\nbearer = \"env:CRM_BEARER\"\n",
        )
        .replace("?mail=", "?key=canary-in-the-query&mail=")
        .replace("headers = { Authorization = \"env:CRM_BASIC\" }\n", "")
        .replace(
            "grant_type =",
            "client_secret = \"env:CRM_CLIENT\", grant_type =",
        )
        + &format!(
            "\n[services.check_password]\nmethod = \"PUT\"\nurl = \"{here}/login\"\nusers = \"/customer\"\nbody = {{ login = \"{{user}}\", pw = \"{{password}}\" }}\n"
        );
    let world = world_with(World::without_mail(), &stand_in, &service);
    let canaries = |shown: &str| {
        let encoded = "Y2FuYXJ5";
        assert!(
            !shown.contains("canary") && !shown.contains(encoded),
            "{shown}"
        );
    };
    for arguments in [
        &["--email", EVA, "--token"][..],
        &["--email", EVA, "--token", "--json"],
    ] {
        let (code, out, error) = check(&world, arguments);
        // The token's endpoint wants another header than the bearer, so that it refuses.
        assert_eq!(code, 1, "{out}{error}");
        assert!(out.contains("you_sent"), "{out}");
        canaries(&format!("{out}{error}"));
    }
    // With what it wants.
    world.edit("bearer = \"env:CRM_BEARER\"\n", "");
    world.edit(
        "body = { client_secret",
        "headers = { Authorization = \"env:CRM_BASIC\" }\nbody = { client_secret",
    );
    let (code, out, error) = check(&world, &["--email", EVA, "--token"]);
    assert_eq!(code, 0, "{out}{error}");
    assert!(out.contains("a bearer token of 41 characters"), "{out}");
    canaries(&format!("{out}{error}"));

    // And a password, typed at a terminal.
    let typed = json!([["Password of eva@example.com: ", format!("{PASSWORD}\n")]]);
    let asking = command(&world, &["check", "--service", "crm", "--password-of", EVA]);
    let AtTerminal { screen, code, .. } = at_terminal(&asking, None, &typed);
    assert_eq!(code, 0, "{screen}");
    assert!(
        screen.contains("Eva Ruiz") && screen.contains("\"pw\":\"…\""),
        "{screen}"
    );
    canaries(&screen);
    let sent = std::iter::repeat_with(|| stand_in.next("call"));
    let login = sent.take(20).find(|call| call["path"] == "/login").unwrap();
    let body: Value = serde_json::from_str(login["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        body,
        json!({"login": EVA, "pw": PASSWORD}),
        "it was sent all the same"
    );

    let shown = command(&world, &["check", "--config", "portero.toml", "--show"])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("\"client_secret\\\":\\\"…\\\""), "{shown}");
    canaries(&shown);
}

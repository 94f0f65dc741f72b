//! The configuration file: what is refused and in which words, and what is never shown.

use portero::config::keys::{self, Absent, Effect, Key};
use portero::config::{Config, EXAMPLE, Loaded, explain};
use portero::domain::language::Language;
use portero::domain::policy::{Finish, Methods, PhoneOnFile, Policy};
use portero::domain::time::MINUTE_MS;
use portero::web::ApiScope;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

/// 24 bytes and more, as Standard Webhooks wants them.
const SIGNING_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const STORE_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";

const AGENT_KEY: &str = "agent-key-0123456789abcdef0123456789abcdef";
const PAGE_KEY: &str = "0123456789abcdef0123456789abcdef";

const GOOD: &str = r#"[business]
name = "La Espiga"
[server]
public_url = "https://portero.example.com/"
[whatsapp]
phone_number_id = "106540352242922"
access_token = "env:TOKEN"
app_secrets = ["env:APP_SECRET"]
verify_token = "env:VERIFY"
[mail]
server = "smtp.example.com"
from = "portero@example.com"
"#;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "TOKEN" | "PORTERO_ACCESS_TOKEN" => "EAAGtoken",
        "APP_SECRET" | "PORTERO_APP_SECRET" => "0123456789abcdef",
        "VERIFY" | "PORTERO_VERIFY_TOKEN" => "tomillo",
        "PORTERO_MAIL_PASSWORD" | "PORTERO_ERP_BEARER" => "romero",
        "PORTERO_ERP_SECRET" | "PORTERO_BOT_SECRET" | "PORTERO_EVENTS_SECRET" => SIGNING_SECRET,
        "PORTERO_PAGE_KEY" => PAGE_KEY,
        "PORTERO_AGENT_KEY" | "PORTERO_METRICS_KEY" => AGENT_KEY,
        "PORTERO_ACME_KEY" => "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajV",
        "PORTERO_BACKEND_KEY" => "laurel",
        "STORE_KEY" => STORE_KEY,
        "NONE" => "none",
        "SPACE" => "two words",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn parse(text: &str) -> Result<Loaded, String> {
    Config::parse(text, Path::new("/nowhere"), &environment).map_err(|wrong| wrong.to_string())
}

/// The problems of a text, one a line.
fn problems(text: &str) -> String {
    parse(text).expect_err("this file should be refused")
}

/// The good file with `line` instead of the line that sets the same key.
fn with(table: &str, line: &str) -> String {
    let name = line.split(' ').next().unwrap();
    let mut text = String::new();
    let (mut here, mut found) = (false, false);
    for old in GOOD.lines() {
        if old.starts_with('[') {
            here = old == format!("[{table}]");
        }
        if here && old.starts_with(&format!("{name} =")) {
            continue;
        }
        text.push_str(&format!("{old}\n"));
        if here && !found && old.starts_with('[') {
            text.push_str(&format!("{line}\n"));
            found = true;
        }
    }
    if !found {
        text.push_str(&format!("[{table}]\n{line}\n"));
    }
    text
}

#[test]
fn a_short_file_is_completed_with_the_documented_defaults() {
    let Loaded { config, .. } = parse(GOOD).unwrap();
    assert_eq!(config.policy, Policy::default());
    assert_eq!(config.business.language, Language::Spanish);
    assert_eq!(config.server.listen, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.server.connections_max, 512);
    assert_eq!(config.server.connections_per_address_max, 64);
    assert_eq!(config.whatsapp.sender.api_url, "https://graph.facebook.com");
    let pace = portero::outbox::Pace::default();
    let connections = [config.whatsapp.sender.connections, config.mail.connections];
    let at_once = [pace.threads[0], pace.at_once[1]];
    assert_eq!(connections, at_once, "one for each message on its way");
    assert_eq!(config.whatsapp.sender.api_version, "v25.0");
    assert_eq!(config.whatsapp.messages_per_second, 80);
    assert_eq!(config.mail.port, 587);
    assert_eq!(config.mail.from_name, "La Espiga");
    assert_eq!(config.store.path, Path::new("/nowhere/portero.redb"));
    let cache_bytes = portero::store::redb::Options::default().cache_bytes;
    assert_eq!(config.store.cache_bytes, cache_bytes);
    assert!(config.directory.enabled);
    assert_eq!(config.directory.title, "La Espiga");
    assert_eq!(config.identity.lifetime_ms, 300_000);
    assert_eq!(config.identity.rotate_ms, 90 * 24 * 3_600_000);
    assert_eq!(config.log.level, tracing::Level::INFO);
}

#[test]
fn requests_are_for_the_public_name_the_added_names_and_this_machine() {
    let text = with("server", "hosts = [\"Other.example\"]").replace(
        "[server]",
        "[server]\nlisten = [\"192.0.2.7:80\", \"[::]:81\"]",
    );
    let Loaded { config, .. } = parse(&text).unwrap();
    assert_eq!(
        config.server.hosts,
        [
            "127.0.0.1",
            "192.0.2.7",
            "[::1]",
            "localhost",
            "other.example",
            "portero.example.com"
        ]
    );
    assert_eq!(
        config.server.public_url.as_deref(),
        Some("https://portero.example.com"),
        "links are made by adding a path"
    );
}

#[test]
fn https_of_its_own_needs_a_certificate_and_a_key_in_files() {
    let table: &[(&str, &str)] = &[
        (
            "certificate = \"a.pem\"",
            "tls.key: is missing beside tls.certificate",
        ),
        (
            "key = \"file:a.pem\"",
            "tls.certificate: is missing beside tls.key",
        ),
        ("key = \"env:KEY\"", "tls.key: must be in a file of its own"),
        (
            "certificate = \"a.pem\"\nkey = \"file:b.pem\"",
            "tls.certificate: cannot read /nowhere/a.pem",
        ),
        (
            "listen = \"443\"",
            "tls.listen: must be an address and a port",
        ),
        (
            "acme = true",
            "tls.acme_terms_agreed: is needed with tls.acme: read the terms",
        ),
        (
            "acme = true\nacme_terms_agreed = true\nkey = \"file:b\"\ncertificate = \"a\"",
            "tls.acme: cannot be true beside tls.certificate",
        ),
        (
            "acme = true\nacme_terms_agreed = true\nacme_names = [\"192.0.2.1\"]",
            "tls.acme: no authority vouches for 192.0.2.1",
        ),
        (
            "acme = true\nacme_terms_agreed = true\nlisten = \"127.0.0.1:8080\"",
            "tls.listen: 127.0.0.1:8080 is in server.listen too",
        ),
        (
            "acme = true\nacme_terms_agreed = true\nredirect_listen = \"[::]:443\"",
            "tls.redirect_listen: [::]:443 is listened on already",
        ),
        (
            "acme = true\nacme_terms_agreed = true\nacme_account_id = \"kid\"",
            "tls.acme_account_key: is missing beside tls.acme_account_id",
        ),
    ];
    for (lines, expected) in table {
        let said = problems(&format!("{GOOD}[tls]\n{lines}\n"));
        assert!(said.contains(expected), "{said}");
    }
    let agreed = "acme = true\nacme_terms_agreed = true\nacme_names = [\"B.example\"]\n";
    let Loaded { config, .. } = parse(&format!("{GOOD}[tls]\n{agreed}")).unwrap();
    let Some(portero::tls::Source::Acme(settings)) = config.tls.map(|tls| tls.source) else {
        panic!("no authority");
    };
    assert_eq!(settings.names, ["portero.example.com", "b.example"]);
    assert_eq!(settings.folder, Path::new("/nowhere/acme"));
    assert_eq!(settings.directory.text(), portero::tls::acme::LETS_ENCRYPT);
    assert!(config.server.hosts.contains(&"b.example".to_owned()));
    let loaded = parse(&format!("{GOOD}[tls]\nredirect_listen = \"[::]:80\"\n")).unwrap();
    assert!(loaded.config.tls.is_none());
    let idle = loaded
        .warnings
        .iter()
        .find(|warning| warning.key == "tls.redirect_listen");
    assert!(idle.unwrap().words.starts_with("does nothing"));
}

#[test]
fn services_are_read_and_switch_the_directory_off() {
    let text = format!(
        "{GOOD}[[services]]\nname = \"erp\"\nfind_user = \"https://erp.example/f\"\n\
         issue_token = \"http://127.0.0.1:9/t?k=1\"\nsecret = \"env:PORTERO_ERP_SECRET\"\ntimeout_seconds = 3\n"
    );
    let loaded = parse(&text).unwrap();
    let config = &loaded.config;
    let [erp] = config.services.as_slice() else {
        panic!("one service is configured")
    };
    assert_eq!((erp.name.as_str(), erp.title.as_str()), ("erp", "erp"));
    assert_eq!(erp.timeout, Duration::from_secs(3));
    assert!(erp.check_password.is_none());
    assert!(!config.directory.enabled);
    assert_eq!(weakened_keys(&loaded), ["services[1].issue_token"]);
}

/// Each bad line: its table, the line, and the end of the one problem that it brings.
#[test]
fn each_mistake_is_named_with_its_place_and_what_to_write() {
    #[rustfmt::skip] // one mistake a line
    let cases = [
        ("business", "name = \"\"", "2:8  business.name: must be 1 to 60 characters on one line"),
        ("business", "language = \"english\"", "2:12  business.language: must be one of es, en, pt"),
        ("business", "nmae = \"x\"", "2:1  business.nmae: unknown key; did you mean name?"),
        ("business", "port = 1", "2:1  business.port: unknown key; did you mean mail.port?"),
        ("business", "zzz = 1", "2:1  business.zzz: unknown key; there are name, language, color, logo"),
        ("busines", "name = \"x\"", "13:2  busines: unknown table; did you mean business?"),
        ("zzz", "name = 1", "13:2  zzz: unknown table; there are business, server, tls, whatsapp, mail, sign_in, store, bot, events, services, pages, api_keys, directory, identity, limits, texts, log, metrics, status"),
        ("business", "color = \"green\"", "2:9  business.color: a colour is \"#\" and six hex digits, as in \"#2c6e58\""),
        ("business", "color = 0x1f7a4d", "2:9  business.color: expected text in quotes, found a number"),
        ("business", "logo = \"none.png\"", "2:8  business.logo: cannot read /nowhere/none.png: No such file or directory (os error 2)"),
        ("business", "logo = \"/dev/zero\"", "2:8  business.logo: /dev/zero is not a file"),
        ("server", "listen = \"8080\"", "4:10  server.listen: must be an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\""),
        ("server", "listen = []", "4:1  server.listen: 1 to 8 addresses are expected"),
        ("server", "public_url = \"http://portero.example\"", "4:14  server.public_url: must begin with https:// (http:// is for this machine only)"),
        ("server", "public_url = \"https://a@portero.example\"", "4:14  server.public_url: must be without user name and password"),
        ("server", "public_url = \"portero.example\"", "4:14  server.public_url: must begin with https:// (http:// is for this machine only)"),
        ("server", "public_url = \"/sign-in\"", "4:14  server.public_url: must be an address such as https://example.com/path"),
        ("server", "hosts = [\"a.example\", \"https://b.example\"]", "4:23  server.hosts: must be the name of a host such as example.com, without https:// and without port"),
        ("server", "trusted_proxies = [1]", "4:20  server.trusted_proxies: expected text in quotes, found a number"),
        ("server", "trusted_proxies = [\"10.0.0.0/8\"]", "4:20  server.trusted_proxies: must be an IP address, such as \"10.0.0.2\"; names and networks are not accepted"),
        ("server", "connections_max = \"512\"", "4:19  server.connections_max: expected a whole number without quotes, found text in quotes"),
        ("server", "connections_max = -1", "4:19  server.connections_max: must be 8 to 100000, not -1"),
        ("whatsapp", "phone_number_id = 106540352242922", "6:19  whatsapp.phone_number_id: expected text in quotes, found a number"),
        ("whatsapp", "phone_number_id = \"+1 650\"", "6:19  whatsapp.phone_number_id: the phone number id is the long number under API Setup, digits only (not the phone number)"),
        ("whatsapp", "number = 573001112233", "6:10  whatsapp.number: expected text in quotes, found a number"),
        ("whatsapp", "chat_url = \"http://whatsapp.example\"", "6:12  whatsapp.chat_url: must begin with https:// (http:// is for this machine only)"),
        ("whatsapp", "chat_url = \"https://w.example/?phone=1\"", "6:12  whatsapp.chat_url: must be without `?` and what follows"),
        ("whatsapp", "chat_url = \"https://w.example/#x\"", "6:12  whatsapp.chat_url: must be without `#` and what follows"),
        ("whatsapp", "chat_url = \"https://w.example/;script-src\"", "6:12  whatsapp.chat_url: must be written with letters, digits and signs such as - . / %"),
        ("whatsapp", "access_token = \"env:NOWHERE\"", "6:16  whatsapp.access_token: the environment variable NOWHERE is not set"),
        ("whatsapp", "access_token = \"env:EAAGx\"", "6:16  whatsapp.access_token: after env: comes the name of a variable, not its value: at most 64 capital letters, digits and _, such as env:PORTERO_ACCESS_TOKEN"),
        ("whatsapp", "access_token = \"$TOKEN\"", "6:16  whatsapp.access_token: write \"env:NAME\" or \"file:/path\", in small letters"),
        ("whatsapp", "access_token = \"env:SPACE\"", "6:16  whatsapp.access_token: must be ASCII letters, digits and signs, without spaces"),
        ("whatsapp", "access_token = \"env:VERIFY\"", "9:1  whatsapp.verify_token: must be a word of its own, not the access token or an app secret"),
        ("whatsapp", "app_secrets = []", "6:1  whatsapp.app_secrets: 1 to 4 secrets are expected, here are 0"),
        ("whatsapp", "app_secrets = [\"env:APP_SECRET\", 7]", "6:34  whatsapp.app_secrets: expected \"env:NAME\" or \"file:/path\", found a number"),
        ("whatsapp", "verify_token = \"\"", "6:16  whatsapp.verify_token: is empty"),
        ("whatsapp", "verify_token = \"env:EMPTY\"", "6:16  whatsapp.verify_token: is empty"),
        ("whatsapp", "verify_token = \"file:none\"", "6:16  whatsapp.verify_token: cannot read /nowhere/none: No such file or directory (os error 2)"),
        ("whatsapp", "api_url = \"http://graph.example\"", "6:11  whatsapp.api_url: must begin with https:// (http:// is for this machine only)"),
        ("whatsapp", "api_version = \"25\"", "6:15  whatsapp.api_version: must look like \"v25.0\""),
        ("whatsapp", "messages_per_second = 0", "6:23  whatsapp.messages_per_second: must be 1 to 1000, not 0; Meta's highest rate is 1,000"),
        ("mail", "security = \"startls\"", "11:12  mail.security: did you mean \"starttls\"? (one of starttls, tls, plain)"),
        ("mail", "security = \"plain\"", "11:1  mail.security: plain is for a mail server on this machine (localhost); write \"starttls\" or \"tls\""),
        ("mail", "port = 99999", "11:8  mail.port: must be 1 to 65535, not 99999"),
        ("mail", "username = \"ana\"", "10:2  mail.password: is missing beside mail.username"),
        ("mail", "password = \"env:TOKEN\"", "10:2  mail.username: is missing beside mail.password"),
        ("mail", "from = \"La Espiga\"", "11:8  mail.from: a mail address looks like ana@example.com"),
        ("mail", "from = \"La Espiga <a@b.example\"", "11:8  mail.from: must look like \"La Espiga <portero@example.com>\""),
        ("mail", "reply_to = 1", "11:12  mail.reply_to: expected text in quotes, found a number"),
        ("mail", "ca_file = \"none.pem\"", "11:11  mail.ca_file: cannot read /nowhere/none.pem: No such file or directory (os error 2)"),
        ("sign_in", "methods = []", "14:11  sign_in.methods: must name mail, web or both"),
        ("sign_in", "methods = [\"mail\", \"mail\"]", "14:11  sign_in.methods: names a method twice"),
        ("sign_in", "methods = [\"mail\", \"sms\"]", "14:20  sign_in.methods: must be mail or web"),
        ("sign_in", "methods = [\"web\"]", "14:1  sign_in.methods: \"web\" needs whatsapp.number, where people return to the chat"),
        ("sign_in", "return_code = false", "14:15  sign_in.return_code: expected text in quotes, found true or false"),
        ("sign_in", "return_code = \"of\"", "14:15  sign_in.return_code: did you mean \"off\"? (one of on, mail, off)"),
        ("sign_in", "ask_number = \"yes\"", "14:14  sign_in.ask_number: expected true or false without quotes, found text in quotes"),
        ("sign_in", "phone_on_file = \"mustmatch\"", "14:17  sign_in.phone_on_file: did you mean \"must_match\"? (one of must_match, step_up, off)"),
        ("sign_in", "first_hours = 169", "14:15  sign_in.first_hours: must be 0 to 168, not 169; a week is the most"),
        ("sign_in", "page = \"Tienda\"", "14:8  sign_in.page: a name is 1 to 40 of a–z, 0–9, - and _"),
        ("sign_in", "page = \"tienda\"", "14:1  sign_in.page: no [[pages]] has this name; add one, with name and url"),
        ("sign_in", "backend = \"http://b.example\"", "14:11  sign_in.backend: must begin with https:// (http:// is for this machine only)"),
        ("sign_in", "backend = \"https://b.example/?a=1\"", "14:11  sign_in.backend: must be without `?` and what follows"),
        ("sign_in", "backend_credential = \"env:TOKEN\"", "14:1  sign_in.backend_credential: is for sign_in.backend, which is not set"),
        ("sign_in", "backend_timeout_seconds = 11", "14:27  sign_in.backend_timeout_seconds: must be 1 to 10, not 11; a person waits for two calls"),
        ("sign_in", "backend_ca_file = \"none.pem\"\nbackend = \"https://b.example\"", "14:19  sign_in.backend_ca_file: cannot read /nowhere/none.pem: No such file or directory (os error 2)"),
        ("store", "path = \"\"", "14:1  store.path: a path is expected"),
        ("store", "key = \"sesame\"", "14:7  store.key: the key of the store must not be written here; write \"file:/path\" or \"env:NAME\""),
        ("store", "key = \"env:TOKEN\"", "14:7  store.key: the key of the store is 64 hexadecimal digits; `openssl rand -hex 32` makes one"),
        ("store", "key = \"file:portero.redb\"", "14:1  store.key: must not be the store itself"),
        ("store", "cache_bytes = 1.5", "14:15  store.cache_bytes: expected a whole number without quotes, found a number with a point"),
        ("directory", "enabled = \"yes\"", "14:11  directory.enabled: expected true or false without quotes, found text in quotes"),
        ("directory", "enabled = false", "14:1  directory.enabled: there would be no users at all; write true, or add a [[services]]"),
        ("identity", "lifetime_seconds = 301", "14:20  identity.lifetime_seconds: must be 10 to 300, not 301; a bot needs a moment to ask, and an identity that was copied must not be worth much"),
        ("identity", "rotate_days = 0", "14:15  identity.rotate_days: must be 1 to 3650, not 0; `portero keys rotate` changes the key at any time"),
        ("limits", "code_digits = 4", "14:15  limits.code_digits: must be 6 to 10, not 4; fewer can be guessed, more are mistyped"),
        ("limits", "code_minutes = 60", "14:16  limits.code_minutes: must be 2 to 10, not 60; NIST SP 800-63B allows 10 minutes at most, and a mail needs one"),
        ("limits", "failures_per_day_in_all = 9", "14:1  limits.failures_per_day_in_all: must be at least limits.failures_per_day, which is 10"),
        ("limits", "mails_per_day = 4", "14:1  limits.mails_per_day: must be at least limits.mails_per_hour, which is 5"),
        ("limits", "link_minutes = 11", "14:16  limits.link_minutes: must be 2 to 10, not 11; 10 is what pages count on, and signing in takes one"),
        ("limits", "links_per_hour = 0", "14:18  limits.links_per_hour: must be 1 to 60, not 0; more would flood a chat"),
        ("limits", "passwords_per_link = 11", "14:22  limits.passwords_per_link: must be 1 to 10, not 11; each one is a chance to guess"),
        ("limits", "passwords_per_user_per_hour = 101", "14:31  limits.passwords_per_user_per_hour: must be 1 to 100, not 101; each one is a chance to guess"),
        ("limits", "passwords_per_network = 1001", "14:25  limits.passwords_per_network: must be 1 to 1000, not 1001; each one is a chance to guess"),
        ("limits", "return_code_minutes = 11", "14:23  limits.return_code_minutes: must be 1 to 10, not 11; it is sent with one tap"),
        ("texts.fr", "ask = \"x\"", "13:8  texts.fr: unknown language; write [texts.es], [texts.en] or [texts.pt]"),
        ("texts.es", "ask = 1", "14:1  texts.es.ask: expected text in quotes, found a number"),
        ("texts", "es = 1", "14:1  texts.es: must be a table; write [texts.es] and sentences below it"),
        ("log", "level = \"loud\"", "14:9  log.level: must be one of error, warn, info, debug, trace"),
        ("pages", "name = \"tienda\"", "13:2  pages: write [[pages]] with two brackets above the keys of each one"),
        ("services", "name = \"erp\"", "13:2  services: write [[services]] with two brackets above the keys of each one"),
    ];
    for (table, line, expected) in cases {
        let expected = format!("portero.toml:{expected}\n1 problem in portero.toml");
        assert_eq!(problems(&with(table, line)), expected, "[{table}] {line}");
    }
}

#[test]
fn what_is_wrong_with_services_is_said_of_each() {
    let erp = "[[services]]\nname = \"erp\"\nfind_user = \"https://e.example/f\"\nissue_token = \"https://e.example/t\"\nsecret = \"env:PORTERO_ERP_SECRET\"\n";
    assert_eq!(
        problems(&format!("{GOOD}{erp}{erp}")),
        "portero.toml:19:1  services[2].name: another service has this name; each needs one of its own\n1 problem in portero.toml"
    );
    let short = erp
        .replace("PORTERO_ERP_SECRET", "TOKEN")
        .replace("erp", "E R P");
    assert_eq!(
        problems(&format!("{GOOD}{short}directory.enabled = true\n")),
        "portero.toml:14:8  services[1].name: a service's name is 1 to 40 of a–z, 0–9, - and _\n\
         portero.toml:17:10  services[1].secret: must be whsec_ and base64 of 24 to 64 random bytes; `echo whsec_$(head -c 32 /dev/urandom | base64)` makes one\n\
         portero.toml:18:1  services[1].directory: unknown key; a line that begins with `directory.` belongs above the first [table]\n\
         3 problems in portero.toml"
    );
    let many = (0..17)
        .map(|n| erp.replace("\"erp\"", &format!("\"erp{n}\"")))
        .collect::<String>();
    assert!(problems(&format!("{GOOD}{many}")).contains("there may be 16 at most, here are 17"));
}

#[test]
fn a_secret_behind_env_by_mistake_is_not_repeated() {
    let token = format!("EAAG{}", "Q7".repeat(14));
    let key = "A0".repeat(32);
    let id = "106540352242922";
    let long = "A_".repeat(33);
    for (path, good) in [
        ("whatsapp.access_token", "access_token = \"env:TOKEN\""),
        ("whatsapp.app_secrets", "app_secrets = [\"env:APP_SECRET\"]"),
    ] {
        for secret in [
            token.as_str(),
            &key,
            &key[..32],
            id,
            &long,
            "EAAGx",
            "whsec_QQ==",
        ] {
            let (start, _) = good.split_once("env:").unwrap();
            let end = if good.ends_with(']') { "\"]" } else { "\"" };
            let told = problems(&GOOD.replace(good, &format!("{start}env:{secret}{end}")));
            let words = format!("{path}: after env: comes the name of a variable, not its value");
            assert!(told.contains(&words), "{told}");
            assert!(!told.contains(secret), "{told}");
        }
    }
    let told = problems(&format!("{GOOD}[store]\nkey = \"env:{key}\"\n"));
    assert!(told.contains("store.key: after env: comes"), "{told}");
    assert!(!told.contains(&key), "{told}");
    // These are names, of 64 bytes the last.
    let longest = "PORTERO_".repeat(8);
    for name in ["EAA_TOKEN", "DEADBEEF", "_X1", &longest] {
        let told = problems(&GOOD.replace("env:TOKEN", &format!("env:{name}")));
        let words = format!("the environment variable {name} is not set");
        assert!(told.contains(&words), "{told}");
    }
}

/// Each bad table, where and how it is refused: the line, its column, and the end of the words.
#[test]
fn what_is_wrong_with_a_call_in_another_shape_is_said_with_its_place() {
    let good = "url = \"https://e.example/?mail={email}\"\n";
    #[rustfmt::skip] // one mistake a line
    let cases = [
        ("find_user", "", "18:11  services[1].find_user.url: is missing; write for example url = \"https://crm.example.com/api/v2/customers?mail={email}\""),
        ("find_user", "url = \"https://{email}.example/\"", "19:7  services[1].find_user.url: must have its placeholders after the host"),
        ("find_user", "url = \"http://e.example/{email}\"", "19:7  services[1].find_user.url: must begin with https:// (http:// is for this machine only)"),
        ("find_user", "url = \"https://e.example/\"\nmethod = \"GET\"", "19:1  services[1].find_user.url: {email} must be in the address, or every question would be the same"),
        ("find_user", "metod = \"GET\"", "20:1  services[1].find_user.metod: unknown key; did you mean method?"),
        ("find_user", "method = \"get\"", "20:10  services[1].find_user.method: did you mean \"GET\"? (one of GET, POST, PUT, PATCH)"),
        ("find_user", "token = \"/t\"", "20:1  services[1].find_user.token: unknown key; did you mean services.issue_token.token?"),
        ("find_user", "users = \"data.items\"", "20:9  services[1].find_user.users: must be a JSON pointer: a slash before each name, such as \"/data/items\", or \"\" for the whole answer"),
        ("find_user", "headers = \"X: 1\"", "20:11  services[1].find_user.headers: expected a table such as { Name = \"value\" }, found text in quotes"),
        ("find_user", "headers = { Host = \"x\" }", "20:11  services[1].find_user.headers: Host is written by Portero itself"),
        ("find_user", "headers = { Webhook-Id = \"x\" }", "20:11  services[1].find_user.headers: Webhook-Id is written by Portero itself"),
        ("find_user", "headers = { A = \"env:SPACE\", B = \"env:NOWHERE\" }", "20:34  services[1].find_user.headers.B: the environment variable NOWHERE is not set"),
        ("find_user", "headers = { A = \"{email}\" }", "20:17  services[1].find_user.headers.A: a header takes no placeholders; they go into url or body"),
        ("find_user", "headers = { a = \"env:TOKEN\", A = \"env:TOKEN\" }", "20:11  services[1].find_user.headers: a is there twice"),
        ("find_user", "body = { a = \"{mail}\" }", "20:8  services[1].find_user.body: a word in braces is no placeholder of this call; there are {email}. Braces that are text need a space inside: { … }"),
        ("find_user", "body = \"{\"", "20:8  services[1].find_user.body: is not JSON (line 1, column 1 of it)"),
        ("find_user", "body = { a = 1979-05-27 }", "20:8  services[1].find_user.body: has a date; write it in quotes"),
        ("find_user", "body = { a = \"env:NOWHERE\" }", "20:8  services[1].find_user.body: the environment variable NOWHERE is not set"),
        ("find_user", "encoding = \"form\"", "20:1  services[1].find_user.encoding: form needs a body of names with texts, numbers or switches"),
        ("find_user", "nobody_status = 401", "20:17  services[1].find_user.nobody_status: must be 204, or a status from 400 that says nothing but that nobody was found"),
        ("find_user", "nobody_status = 301", "20:17  services[1].find_user.nobody_status: must be 204, or a status from 400 that says nothing but that nobody was found"),
        ("find_user", "company = { id = \"1\" }", "20:11  services[1].find_user.company: expected a table such as { id = \"1\", name = \"La Espiga\" }; name is missing"),
        ("find_user", "company = { id = \"1\", name = \"A\" }\ncompany_id = \"/c\"", "20:1  services[1].find_user.company: is for all users alike; leave this or company_id and company_name out"),
        ("issue_token", "url = \"https://e.example/{userid}\"", "19:7  services[1].issue_token.url: {userId} has no value here; there are {userId}, {companyId}, {userUuid}, {scope}"),
        ("issue_token", "url = \"https://e.example/{companyId}\"", "19:1  services[1].issue_token.url: {userId} must be in the address or the body, or every question would be the same"),
        ("issue_token", "url = \"https://e.example/\"\ntoken_type = \"two words\"", "20:14  services[1].issue_token.token_type: must be a JSON pointer such as \"/token_type\", or a word such as \"Bearer\""),
        ("issue_token", "url = \"https://e.example/\"\nexpires_in = \"/e\"\nexpires_in_seconds = 60", "21:1  services[1].issue_token.expires_in_seconds: is for answers that do not say it; leave this or services.issue_token.expires_in out"),
        ("check_password", "url = \"https://e.example/?p={password}\"", "19:7  services[1].check_password.url: must be without {password}, which addresses would carry into logs; it goes into the body"),
        ("check_password", "url = \"https://e.example/{user}\"", "18:11  services[1].check_password.body: {password} must be in the body, or every question would be the same"),
    ];
    for (call, lines, words) in cases {
        let others = [
            "find_user = \"https://e.example/f\"",
            "issue_token = \"https://e.example/t\"",
            "check_password = \"https://e.example/c\"",
        ];
        let others: Vec<_> = others
            .into_iter()
            .filter(|line| !line.starts_with(&format!("{call} ")))
            .collect();
        let lines = match lines.starts_with("url") || lines.is_empty() {
            true => lines.to_owned(),
            false => format!("{good}{lines}"),
        };
        // The heading is line 18, so that the lines begin at 19.
        let text = format!(
            "{GOOD}[[services]]\nname = \"crm\"\nsecret = \"env:PORTERO_ERP_SECRET\"\n{}\n[services.{call}]\n{lines}\n",
            others.join("\n"),
        );
        assert_eq!(
            problems(&text),
            format!("portero.toml:{words}\n1 problem in portero.toml"),
            "{lines}"
        );
    }
}

#[test]
fn a_service_without_a_secret_needs_headers_in_every_call() {
    let service = |find: &str, token: &str, more: &str| {
        parse(&format!(
            "{GOOD}[[services]]\nname = \"crm\"\n{more}\nfind_user = {find}\nissue_token = {token}\n"
        ))
    };
    let find = "{ url = \"https://e.example/{email}\", headers = { X = \"env:TOKEN\" } }";
    let token = "{ url = \"https://e.example/{userId}\", headers = { X = \"env:TOKEN\" } }";
    let bare = "{ url = \"https://e.example/{userId}\" }";
    let in_body = "{ url = \"https://e.example/\", body = { client_secret = \"env:TOKEN\", u = \"{userId}\" } }";
    let plain = "\"https://e.example/t\"";
    for (token, more, fine) in [
        (token, "", true),
        (in_body, "", true),
        (bare, "bearer = \"env:TOKEN\"", true),
        (bare, "secret = \"env:PORTERO_ERP_SECRET\"", true),
        (plain, "secret = \"env:PORTERO_ERP_SECRET\"", true),
        (bare, "", false),
        (plain, "", false),
        (plain, "bearer = \"env:TOKEN\"", false),
        (token, "check_password = \"https://e.example/c\"", false),
    ] {
        let read = service(find, token, more);
        assert_eq!(read.is_ok(), fine, "{token} {more}");
        if let Err(wrong) = read {
            assert!(
                wrong.contains("services[1].secret: is missing; write for example"),
                "{wrong}"
            );
        }
    }
}

#[test]
fn an_address_that_nobody_has_confirmed_is_the_operators_word() {
    let text = format!(
        "{GOOD}[[services]]\nname = \"crm\"\nsecret = \"env:PORTERO_ERP_SECRET\"\nissue_token = \"https://e.example/t\"\n\
         find_user = {{ url = \"https://e.example/?q={{email}}\", method = \"GET\", email = \"asked\" }}\n"
    );
    let loaded = parse(&text).unwrap();
    assert_eq!(weakened_keys(&loaded), ["services[1].find_user.email"]);
}

#[test]
fn secrets_in_a_call_are_never_shown_and_need_a_private_file() {
    let text = format!(
        "{GOOD}[[services]]\nname = \"crm\"\n[services.find_user]\nmethod = \"GET\"\nurl = \"https://e.example/?key=hunter2&mail={{email}}\"\n\
         headers = {{ X-Api-Key = \"hunter2\", Accept = \"text/json\" }}\n\
         [services.issue_token]\nurl = \"https://e.example/\"\nbody = {{ client_secret = \"hunter2\", grant = \"client\", user = \"{{userId}}\" }}\n"
    );
    let loaded = parse(&text).unwrap();
    let shown = loaded.show();
    assert!(!leaks(&shown), "{shown}");
    assert!(!leaks(&format!("{:?}", loaded.config.services)));
    assert!(shown.contains("\"Accept\" = \"text/json\""), "{shown}");
    assert!(shown.contains("grant\\\":\\\"client"), "{shown}");
    shown.parse::<toml::Table>().unwrap();
    assert_eq!(
        weakened_keys(&loaded),
        [
            "services[1].find_user.headers.X-Api-Key",
            "services[1].issue_token.body"
        ]
    );
    for spoilt in [
        text.replace("\"hunter2\", Accept", "\"hunter2{email}\", Accept"),
        text.replace("\"hunter2\", Accept", "[\"hunter2\"], Accept"),
        text.replace(
            "client_secret = \"hunter2\"",
            "client_secret = \"hunter2 {hunter2}\"",
        ),
        text.replace("X-Api-Key = \"hunter2\"", "X-Api-Key = \"hunter2"),
        text.replace("\"hunter2\", grant", "\"hunter2, grant"),
        text.replace("X-Api-Key", "\"hunter2\""),
        text.replace("https://e.example/?key", "https://hunter2@e.example/?key"),
    ] {
        let wrong = parse(&spoilt).err().unwrap_or_default();
        assert!(!leaks(&wrong), "{wrong}");
    }
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let text =
        "[whatsapp]\nphone_number_id = \"x\"\nverify_tokn = \"y\"\n[limits]\ncode_digits = 3\n";
    assert_eq!(
        problems(text),
        "portero.toml:1:2  whatsapp.access_token: is missing; write for example access_token = \"env:PORTERO_ACCESS_TOKEN\"\n\
         portero.toml:1:2  whatsapp.app_secrets: is missing; write for example app_secrets = [\"env:PORTERO_APP_SECRET\"]\n\
         portero.toml:1:2  whatsapp.verify_token: is missing; write for example verify_token = \"env:PORTERO_VERIFY_TOKEN\"\n\
         portero.toml:2:19  whatsapp.phone_number_id: the phone number id is the long number under API Setup, digits only (not the phone number)\n\
         portero.toml:3:1  whatsapp.verify_tokn: unknown key; did you mean verify_token?\n\
         portero.toml:5:15  limits.code_digits: must be 6 to 10, not 3; fewer can be guessed, more are mistyped\n\
         portero.toml  business.name: is missing; write for example [business] and below it name = \"Panadería La Espiga\"\n\
         portero.toml  mail.server: is missing; write for example [mail] and below it server = \"smtp.example.com\"\n\
         portero.toml  mail.from: is missing; write for example [mail] and below it from = \"La Espiga <portero@example.com>\"\n\
         9 problems in portero.toml"
    );
}

#[test]
fn a_syntax_error_shows_its_place_and_its_line() {
    let wrong = problems("[business]\nname = \"La Espiga\nlanguage = \"es\"\n");
    let mut lines = wrong.lines();
    let first = lines.next().unwrap();
    assert!(
        first.starts_with("portero.toml:2:18  this is not TOML: "),
        "{wrong}"
    );
    assert_eq!(lines.next(), Some("    2 | name = \"La Espiga"));
    assert_eq!(lines.next(), Some("                         ^"));
    assert!(wrong.ends_with("problem in portero.toml"), "{wrong}");
}

/// S-94: a misspelled protection would silently be off.
#[test]
fn every_key_is_refused_when_misspelled() {
    for key in keys::ALL {
        let middle = key.name.len() / 2;
        let misspelled = format!("{}{}", &key.name[..middle], &key.name[middle + 1..]);
        let line = format!("{misspelled} = {}", key.example());
        let text = match key.table {
            array if keys::ARRAYS.contains(&array) => format!("{GOOD}[[{array}]]\n{line}\n"),
            inner if keys::INNER.contains(&inner) => {
                format!("{GOOD}[[services]]\n[{inner}]\n{line}\n")
            }
            table => with(table, &line),
        };
        let wrong = problems(&text);
        let refused = format!(".{misspelled}: unknown key; ");
        assert!(wrong.contains(&refused), "{}: {wrong}", key.path());
        let suggested = wrong.contains(&format!("did you mean {}?", key.name));
        assert!(suggested, "{}: {wrong}", key.path());
    }
}

#[test]
fn sentences_in_other_words_are_taken_and_mistakes_in_them_have_their_line() {
    let own = "ask_address = \"¿Tu correo en {services}?\"";
    let loaded = parse(&with("texts.es", own)).unwrap();
    let catalogue = loaded.config.texts.catalogue(Language::Spanish);
    let said = catalogue
        .iter()
        .find(|(key, ..)| *key == "ask_address")
        .unwrap();
    assert_eq!(said.2, "¿Tu correo en {services}?");
    let shown = loaded.show();
    assert!(
        shown.contains(&format!("[texts.es]\n{own}  # line 14\n")),
        "{shown}"
    );

    let wrong = problems(&with("texts.pt", "cancelled = \"ok\"\nask_adress = \"x\""));
    assert!(
        wrong.starts_with("portero.toml:15:1  texts.pt.ask_adress: "),
        "{wrong}"
    );
    assert!(wrong.contains("did you mean ask_address?"), "{wrong}");
    let wrong = problems(&with("texts.es", "\"a\\u001b[2J\" = \"x\""));
    assert!(!wrong.contains('\u{1b}'), "{wrong:?}");
    let explained = explain("texts.es.ask_address").unwrap().to_string();
    assert!(
        explained.ends_with("\n  Filled in: {services}\n"),
        "{explained}"
    );
    assert!(
        EXAMPLE.contains(explained.lines().next().unwrap()),
        "{explained}"
    );
}

// --- secrets ---

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_from_a_file_loses_its_newline_and_needs_a_private_mode() {
    let folder = tempfile::tempdir().unwrap();
    let text = with("whatsapp", "verify_token = \"file:verify\"");
    let parse = || Config::parse(&text, folder.path(), &environment);
    let path = folder.path().join("verify");
    for good in [0o600, 0o400] {
        let _ = fs::remove_file(&path);
        write(&path, "tomillo\r\n", good);
        let verify_token = parse().unwrap().config.whatsapp.verify_token;
        assert_eq!(verify_token.reveal(), "tomillo");
    }
    for bad in [0o640, 0o604, 0o666] {
        let _ = fs::remove_file(&path);
        write(&path, "tomillo\n", bad);
        let wrong = parse().unwrap_err().to_string();
        let chmod = format!("(mode {bad:04o}); run: chmod 600 {}", path.display());
        assert!(wrong.contains(&chmod), "{wrong}");
    }
    for (content, words) in [
        ("\n", "is empty"),
        ("a\nb\n", "a secret is one line"),
        (
            &"x".repeat(9_000),
            "a secret is one line of at most 8192 bytes",
        ),
    ] {
        write(&path, content, 0o600);
        let wrong = parse().unwrap_err().to_string();
        assert!(wrong.contains(words), "{wrong}");
    }
}

#[test]
fn the_key_of_the_store_may_still_have_to_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let parse = |text: &str| Config::parse(text, folder.path(), &environment);
    assert!(parse(GOOD).is_ok(), "the file is made at the first start");
    write(&folder.path().join("portero.key"), STORE_KEY, 0o644);
    let wrong = parse(GOOD).unwrap_err().to_string();
    assert!(
        wrong.contains("store.key: ") && wrong.contains("chmod 600"),
        "{wrong}"
    );
    assert!(parse(&with("store", "key = \"env:STORE_KEY\"")).is_ok());
}

/// The good file with every secret written out; each contains the word `hunter2`.
fn with_secrets_in_file() -> String {
    use base64::Engine;
    let signing = base64::engine::general_purpose::STANDARD.encode("hunter2hunter2hunter2hunter2");
    GOOD.replace("[whatsapp]", "[whatsapp]\nnumber = \"+57 300 111 2233\"")
        .replace("env:TOKEN", "EAAGhunter2token")
        .replace("env:APP_SECRET", "abhunter2cd")
        .replace("env:VERIFY", "hunter2")
        .replace(
            "from =",
            "username = \"portero\"\npassword = \"pwhunter2\"\nfrom =",
        )
        + &format!(
            "[[services]]\nname = \"erp\"\nfind_user = \"https://e.example/f?key=hunter2\"\n\
             issue_token = \"https://e.example/t\"\ncheck_password = \"https://e.example/c?key=hunter2\"\n\
             secret = \"whsec_{signing}\"\nbearer = \"hunter2bearer\"\n\
             [sign_in]\nbackend = \"https://b.example\"\nbackend_credential = \"bbhunter2\"\n\
             [[pages]]\nname = \"tienda\"\ncredential = \"hunter2hunter2hunter2hunter2hunter2\"\n\
             [[api_keys]]\nname = \"agent\"\nkey = \"hunter2hunter2hunter2hunter2hunter2k\"\nscopes = \"tokens\"\n\
             [directory]\nenabled = true\n"
        )
}

/// `hunter2`, or the beginning of it in base64.
fn leaks(text: &str) -> bool {
    text.contains("hunter2") || text.contains("aHVudGVy")
}

#[test]
fn secrets_written_in_the_file_are_taken_and_never_shown() {
    let loaded = parse(&with_secrets_in_file()).unwrap();
    assert_eq!(loaded.config.whatsapp.verify_token.reveal(), "hunter2");
    assert_eq!(
        weakened_keys(&loaded),
        [
            "whatsapp.access_token",
            "whatsapp.app_secrets",
            "whatsapp.verify_token",
            "mail.password",
            "services[1].secret",
            "services[1].bearer",
            "sign_in.backend_credential",
            "pages[1].credential",
            "api_keys[1].key",
        ]
    );
    let shown = loaded.show();
    assert!(!leaks(&shown), "{shown}");
    assert!(
        shown.contains("access_token = \"(hidden, from this file)\"  # line 8\n"),
        "{shown}"
    );
    let config = &loaded.config;
    let debug = format!(
        "{:?} {:?} {:?}",
        config.whatsapp, config.sign_in, config.pages
    );
    assert!(!leaks(&debug), "{debug}");
}

#[test]
fn a_secret_in_the_wrong_form_or_place_is_not_repeated() {
    let forms = [
        "verify_token = [\"hunter2\"]",
        "verify_token = {hunter2 = 1, a = \"hunter2\"}",
        "verify_token = \"env:hunter2\"",
        "verify_token = \"$hunter2\"",
        "verify_token = \"hunter2 and more\"",
        "app_secrets = [[\"hunter2\"]]",
        "app_secrets = \"\"\"hunter2\nhunter2\"\"\"",
        "access_tokn = \"hunter2\"",
        "api_url = \"https://me:hunter2@graph.example\"",
        "api_url = \"https://graph.example#hunter2\"",
        "verify_token = \"hunter2",
        "verify_token = hunter2",
        "app_secrets = [\n\"hunter2\nhunter2 ]",
    ];
    for form in forms {
        let wrong = problems(&with("whatsapp", form));
        assert!(!leaks(&wrong), "{form}\n{wrong}");
        assert!(wrong.starts_with("portero.toml:"), "{wrong}");
    }
    let wrong = problems(&with("store", "key = \"hunter2\""));
    assert!(!leaks(&wrong), "{wrong}");
}

#[test]
fn the_dump_is_toml_and_says_where_each_value_is_from() {
    let loaded = parse(GOOD).unwrap();
    let shown = loaded.show();
    let table: toml::Table = shown.parse().unwrap();
    assert_eq!(table["limits"]["code_digits"].as_integer(), Some(8));
    for line in [
        "name = \"La Espiga\"  # line 2\n",
        "access_token = \"(hidden, from env:TOKEN)\"  # line 7\n",
        "app_secrets = [\"(hidden, from env:APP_SECRET)\"]  # line 8\n",
        "language = \"es\"  # default\n",
        "port = 587  # default with starttls\n",
        "enabled = true  # default without [[services]]\n",
        "# reply_to is not set\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
    for key in keys::ALL.iter().filter(|key| !is_in_array(key)) {
        let named = shown.contains(&format!("\n{} = ", key.name))
            || shown.contains(&format!("\n# {} is not set\n", key.name));
        assert!(named, "{}\n{shown}", key.path());
    }
}

// --- sign-in on the web ---

/// What `[sign_in]` and `[[pages]]` ask of the rest.
fn with_number() -> String {
    with("whatsapp", "number = \"+57 300-111 2233\"")
}

const ERP: &str = "[[services]]\nname = \"erp\"\nfind_user = \"https://e.example/f\"\nissue_token = \"https://e.example/t\"\nsecret = \"env:PORTERO_ERP_SECRET\"\n";
const TIENDA: &str = "[[pages]]\nname = \"tienda\"\ncredential = \"env:PORTERO_PAGE_KEY\"\n";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Keys and words of the warnings that a protection is off.
fn weakened(loaded: &Loaded) -> Vec<(&str, &str)> {
    let weakened = loaded.warnings.iter().filter(|w| w.weakens);
    weakened
        .map(|w| (w.key.as_str(), w.words.as_str()))
        .collect()
}

/// The keys alone.
fn weakened_keys(loaded: &Loaded) -> Vec<&str> {
    weakened(loaded).into_iter().map(|(key, _)| key).collect()
}

#[test]
fn sign_in_on_the_web_is_read_into_the_policy() {
    let text = with_number()
        + "[sign_in]\nmethods = [\"web\", \"mail\"]\nreturn_code = \"mail\"\nask_number = true\n\
           phone_on_file = \"step_up\"\nfirst_hours = 0\n\
           [limits]\nlink_minutes = 5\nlinks_per_hour = 4\npasswords_per_link = 3\n\
           passwords_per_user_per_hour = 20\npasswords_per_network = 40\nreturn_code_minutes = 2\n";
    let loaded = parse(&text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let expected = Policy {
        methods: Methods {
            mail: true,
            web: true,
        },
        finish: Finish::MailCode,
        ask_number: true,
        phone_on_file: PhoneOnFile::StepUp,
        first_hours_ms: 0,
        link_lifetime_ms: 5 * MINUTE_MS,
        links_per_hour: 4,
        passwords_per_link: 3,
        passwords_per_user_per_hour: 20,
        passwords_per_network: 40,
        return_code_lifetime_ms: 2 * MINUTE_MS,
        ..Policy::default()
    };
    assert_eq!(loaded.config.policy, expected);
    let only_web = parse(&(with_number() + "[sign_in]\nmethods = \"web\"\n")).unwrap();
    let methods = only_web.config.policy.methods;
    assert!(methods.web && !methods.mail);
    let plain = parse(GOOD).unwrap().config;
    assert_eq!(plain.whatsapp.chat_url, "https://api.whatsapp.com/send/");
    assert!(plain.whatsapp.number.is_none() && plain.pages.is_empty());
    assert!(plain.sign_in.page.is_none() && plain.sign_in.backend.is_none());
    assert!(plain.business.color.is_none() && plain.business.logo.is_none());
}

/// S-40: the address to which people are sent is built from it.
#[test]
fn of_the_businesss_number_only_digits_survive() {
    let number = |written: &str| {
        let line = format!("number = \"{written}\"");
        parse(&with("whatsapp", &line)).map(|loaded| loaded.config.whatsapp.number.unwrap())
    };
    for written in [
        "573001112233",
        "+573001112233",
        "+57 300 111 2233",
        "57-300-111-2233",
    ] {
        assert_eq!(number(written).unwrap().as_str(), "573001112233");
    }
    for written in [
        "",
        "+",
        "57300&text=x#",
        "57300?a=1",
        "57300%26",
        "57+300111",
        "++573001112233",
        "0057 300 111 2233",
        "300x1112233",
        "５７３００１１１",
        "+1234 5678 9012 3456",
        "1234",
    ] {
        assert_eq!(
            number(written).unwrap_err(),
            "portero.toml:6:10  whatsapp.number: must be the number as dialed from abroad, country code first, such as \"+57 300 111 2233\"\n1 problem in portero.toml",
            "{written}"
        );
    }
}

#[test]
fn the_looks_of_the_page_are_read_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = with("business", "color = \"#1F7a4d\"\nlogo = \"logo\"");
    let parse = || Config::parse(&text, folder.path(), &environment);
    let path = folder.path().join("logo");
    fs::write(&path, PNG).unwrap();
    let business = parse().unwrap().config.business;
    assert_eq!(
        business.color.map(|color| color.0),
        Some([0x1f, 0x7a, 0x4d])
    );
    let logo = business.logo.unwrap();
    assert_eq!((logo.media_type, logo.bytes.as_slice()), ("image/png", PNG));
    for (bytes, words) in [
        (b"GIF89a".to_vec(), "is not a PNG, JPEG, WebP or SVG image"),
        (vec![0; 128 * 1024 + 1], "is larger than 131072 bytes"),
    ] {
        fs::write(&path, bytes).unwrap();
        let wrong = parse().unwrap_err().to_string();
        let expected = format!("3:8  business.logo: {} {words}\n", path.display());
        assert!(wrong.contains(&expected), "{wrong}");
    }
}

#[test]
fn pages_are_read_each_with_its_credential() {
    let text = with_number()
        + TIENDA
        + "url = \"https://shop.example.com/sign-in/\"\norigins = [\"https://shop.example.com\", \"http://localhost:3000\"]\nservice = \"erp\"\n\
           [[pages]]\nname = \"open\"\ncredential = \"none\"\n\
           [sign_in]\npage = \"tienda\"\nmethods = \"web\"\n\
           [directory]\nenabled = false\n"
        + ERP;
    let loaded = parse(&text).unwrap();
    let config = &loaded.config;
    let [tienda, open] = config.pages.as_slice() else {
        panic!("two pages are configured")
    };
    // Whoever checks the passwords, it is not this side.
    assert_eq!(config.sign_in.page.as_ref(), Some(&tienda.name));
    assert_eq!(tienda.name.as_str(), "tienda");
    let url = tienda.url.as_deref();
    assert_eq!(url, Some("https://shop.example.com/sign-in/"));
    assert!(tienda.credential.as_ref().unwrap().matches(PAGE_KEY));
    assert_eq!(
        tienda.origins,
        ["https://shop.example.com", "http://localhost:3000"]
    );
    assert_eq!(tienda.service.as_str(), "erp");
    assert!(open.credential.is_none() && open.url.is_none() && open.origins.is_empty());
    assert_eq!(open.service.as_str(), "open");
    let none = "is \"none\": whoever holds a link can sign in their own chat without any password";
    assert_eq!(weakened(&loaded), [("pages[2].credential", none)]);
    let shown = loaded.show();
    for line in [
        "credential = \"(hidden, from env:PORTERO_PAGE_KEY)\"  # line 16\n",
        "credential = \"none\"  # line 22\n",
        "service = \"open\"  # the page's own name\n",
    ] {
        assert!(shown.contains(line), "{line}{shown}");
    }
}

#[test]
fn what_is_wrong_with_pages_is_said_of_each() {
    let page = |lines: &str| with_number() + "[[pages]]\n" + lines;
    let wrong_credential = "must be at least 32 ASCII letters, digits and signs, without spaces; `openssl rand -hex 32` makes one";
    let long = format!("{} {}", &PAGE_KEY[..20], &PAGE_KEY[..20]);
    for credential in ["env:NONE", "None", "", &PAGE_KEY[1..], &long] {
        let wrong = problems(&page(&format!(
            "name = \"tienda\"\ncredential = \"{credential}\"\n"
        )));
        let words = if credential.is_empty() {
            "is empty"
        } else {
            wrong_credential
        };
        assert!(
            wrong.starts_with(&format!(
                "portero.toml:16:14  pages[1].credential: {words}\n1 problem"
            )),
            "{wrong}"
        );
    }
    for (origin, words) in [
        ("*", "must be an address such as"),
        ("null", "must begin with https://"),
        ("http://shop.example.com", "must begin with https://"),
        ("https://shop.example.com/", "must be without a path"),
        ("https://shop.example.com?a", "must be without a path"),
        ("https://Shop.example.com", "must be in small letters"),
        ("https://shop.example.com:443", "must be without :443"),
        ("http://localhost:80", "must be without :80"),
    ] {
        let text = with_number() + TIENDA + &format!("origins = [\"{origin}\"]\n");
        let wrong = problems(&text);
        let expected = format!("portero.toml:17:12  pages[1].origins: {words}");
        assert!(wrong.starts_with(&expected), "{origin}: {wrong}");
    }
    let cases = [
        (
            "name = \"Mi tienda\"\n",
            "14:1  pages[1].credential: is missing; write for example credential = \"env:PORTERO_PAGE_KEY\"\nportero.toml:15:8  pages[1].name: a name is 1 to 40 of a–z, 0–9, - and _\n2 problems",
        ),
        (
            "name = \"a\"\ncredential = \"none\"\nurl = \"https://a.example/?b\"\n",
            "17:7  pages[1].url: must be without `?` and what follows\n1 problem",
        ),
        (
            "name = \"a\"\ncredential = \"none\"\n[[pages]]\nname = \"b\"\ncredential = \"none\"\n",
            "19:1  pages[2].credential: another page has \"none\" already; this one needs a credential\n1 problem",
        ),
        (
            "name = \"a\"\ncredential = \"env:PORTERO_PAGE_KEY\"\n[[pages]]\nname = \"a\"\ncredential = \"env:PORTERO_PAGE_KEY\"\n",
            "18:1  pages[2].name: another page has this name; each needs one of its own\nportero.toml:19:1  pages[2].credential: another page has this credential; each needs one of its own\n2 problems",
        ),
    ];
    for (lines, expected) in cases {
        let wrong = problems(&page(lines));
        let expected = format!("portero.toml:{expected} in portero.toml");
        assert_eq!(wrong, expected, "{lines}");
    }
    let many: String = (0..9)
        .map(|n| format!("[[pages]]\nname = \"p{n}\"\n"))
        .collect();
    assert!(problems(&(with_number() + &many)).contains("there may be 8 at most, here are 9"));
    // One that is written wrong is not also told to be missing.
    assert!(problems(&format!("{GOOD}{TIENDA}")).contains(
        "  pages[1]: a page needs whatsapp.number, where people return to the chat\n1 problem"
    ));
    let wrong = with("whatsapp", "number = \"x\"") + TIENDA;
    assert!(problems(&wrong).ends_with("\n1 problem in portero.toml"));
}

/// One deployment is one half of the document or both; what it needs must be there.
const AGENT: &str = "[[api_keys]]\nname = \"agent\"\nkey = \"env:PORTERO_AGENT_KEY\"\n";

#[test]
fn api_keys_are_read_each_with_what_it_is_good_for() {
    let text = GOOD.to_owned()
        + ERP
        + AGENT
        + "scopes = [\"tokens\", \"contacts:read\"]\nservices = [\"erp\", \"directory\"]\nfirst_hours_only = true\n\
           [[api_keys]]\nname = \"office\"\nkey = \"env:PORTERO_PAGE_KEY\"\nscopes = [\"contacts:release\", \"any_contact\"]\n\
           [directory]\nenabled = true\n";
    let loaded = parse(&text).unwrap();
    let [agent, office] = loaded.config.api_keys.as_slice() else {
        panic!("two keys are configured")
    };
    assert_eq!(agent.name.as_str(), "agent");
    assert!(agent.key.matches(AGENT_KEY) && agent.first_hours_only);
    assert_eq!(agent.scopes, [ApiScope::Tokens, ApiScope::ReadContacts]);
    let services: Vec<&str> = (agent.services.iter().flatten())
        .map(|name| name.as_str())
        .collect();
    assert_eq!(services, ["erp", "directory"]);
    assert!(office.services.is_none() && !office.first_hours_only);
    let warnings = weakened(&loaded);
    let [(key, words)] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert_eq!(*key, "api_keys[2].scopes");
    assert!(
        words.starts_with("has any_contact: whoever has this key"),
        "{words}"
    );
    let shown = loaded.show();
    assert!(
        shown.contains("key = \"(hidden, from env:PORTERO_AGENT_KEY)\""),
        "{shown}"
    );
    assert!(parse(GOOD).unwrap().config.api_keys.is_empty());
}

#[test]
fn a_service_that_is_not_told_the_scope_is_named_where_tokens_are_limited() {
    let key = |more: &str| {
        format!("[[api_keys]]\nname = \"agent\"\nkey = \"env:PORTERO_AGENT_KEY\"\n{more}\n")
    };
    let (tokens, links) = ("scopes = [\"tokens\"]", "scopes = [\"sign_in_links\"]");
    let limited = &key(&format!("{tokens}\nfirst_hours_only = true"));
    let elsewhere = format!("{tokens}\nfirst_hours_only = true\nservices = [\"directory\"]");
    let directory = "[directory]\nenabled = true\n";
    let mail = "[sign_in]\nmethods = \"mail\"\n";
    let web = "[sign_in]\nmethods = [\"web\", \"mail\"]\n";
    let for_good = &format!("{web}first_hours = 0\n");
    let get = "issue_token = { url = \"https://e.example/t/{userId}\", method = \"GET\" }";
    let told =
        "issue_token = { url = \"https://e.example/t/{userId}?s={scope}\", method = \"GET\" }";
    let documented = "issue_token = \"https://e.example/t\"";
    for (call, sign_in, api_keys, is_named) in [
        (get, mail, limited, true),
        (get, web, &key(tokens), true),
        (get, for_good, &key(tokens), false),
        (get, mail, &key(tokens), false),
        (get, web, &key(links), false),
        (get, mail, &key(&elsewhere), false),
        (told, web, limited, false),
        (documented, web, limited, false),
    ] {
        let service = ERP.replace(documented, call);
        let text = with_number() + directory + sign_in + &service + api_keys;
        let loaded = parse(&text).unwrap();
        let named = weakened(&loaded).iter().any(|(key, words)| {
            *key == "services[1].issue_token" && words.contains("put {scope} into")
        });
        assert_eq!(named, is_named, "{text}");
    }
}

#[test]
fn what_is_written_and_does_nothing_is_worth_a_look() {
    let named = |text: &str| {
        let loaded = parse(text).unwrap();
        let idle = loaded.warnings.iter().filter(|w| !w.weakens);
        let keys: Vec<String> = idle.map(|w| w.key.clone()).collect();
        keys.join(" ")
    };
    let key = |more: &str| format!("{AGENT}{more}\n");
    let web = "[sign_in]\nmethods = [\"web\", \"mail\"]\n";
    let bot = "[bot]\ntimeout_seconds = 30\nconnections = 16\ngate = \"everyone\"\n";
    let events = "[events]\ntimeout_seconds = 10\n";
    let (services, first) = ("services = [\"directory\"]", "first_hours_only = true");
    for (text, expected) in [
        (key("scopes = [\"tokens\"]"), ""),
        (
            key(&format!("scopes = [\"tokens\"]\n{services}\n{first}")),
            "",
        ),
        (
            key(&format!("scopes = [\"challenges\"]\n{services}\n{first}")),
            "api_keys[1].services api_keys[1].first_hours_only",
        ),
        (
            key("scopes = [\"challenges\"]\nfirst_hours_only = false"),
            "",
        ),
        (key("scopes = [\"any_contact\"]"), "api_keys[1].scopes"),
        (key("scopes = [\"any_contact\", \"contacts:read\"]"), ""),
        (key("scopes = [\"sign_in_links\"]"), "api_keys[1].scopes"),
        (web.to_owned() + &key("scopes = [\"sign_in_links\"]"), ""),
        (
            bot.to_owned(),
            "bot.timeout_seconds bot.connections bot.gate",
        ),
        (format!("{bot}url = \"https://b.example/w\"\n"), ""),
        (events.to_owned(), "events.timeout_seconds"),
    ] {
        let text = with_number() + "[directory]\nenabled = true\n" + &text;
        assert_eq!(named(&text), expected, "{text}");
    }
}

#[test]
fn what_is_wrong_with_api_keys_is_said_of_each() {
    let key = |lines: &str| format!("{GOOD}{AGENT}{lines}");
    for (lines, expected) in [
        (
            "",
            "scopes: is missing; write for example scopes = [\"tokens\", \"challenges\"]",
        ),
        (
            "scopes = []",
            "scopes: is empty, so that the key is good for nothing; name what it is for",
        ),
        (
            "scopes = [\"tokens\", \"tokens\"]",
            "scopes: names a scope twice",
        ),
        (
            "scopes = [\"tokens\", \"contact:read\"]",
            "scopes: did you mean \"contacts:read\"? (one of tokens, sign_in_links, challenges, contacts:read, contacts:release, any_contact)",
        ),
        (
            "scopes = [\"everything\"]",
            "scopes: must be one of tokens, sign_in_links, challenges, contacts:read, contacts:release, any_contact",
        ),
        (
            "scopes = \"tokens\"\nservices = [\"Erp\"]",
            "services: a name is 1 to 40 of a–z, 0–9, - and _",
        ),
        (
            "scopes = \"tokens\"\nservices = [\"directry\"]",
            "services: no service is called directry; did you mean directory?",
        ),
        (
            "scopes = \"tokens\"\nservices = \"crm\"",
            "services: no service is called crm; there are directory",
        ),
        (
            "scopes = \"tokens\"\n[[api_keys]]\nname = \"agent\"\nkey = \"env:PORTERO_PAGE_KEY\"\nscopes = \"tokens\"",
            "name: another API key has this name; each needs one of its own",
        ),
        (
            "scopes = \"tokens\"\n[[api_keys]]\nname = \"b\"\nkey = \"env:PORTERO_AGENT_KEY\"\nscopes = \"tokens\"",
            "key: another API key is the same; each caller needs one of its own",
        ),
    ] {
        let wrong = problems(&key(&format!("{lines}\n")));
        assert!(wrong.contains(expected), "{lines}: {wrong}");
        assert!(wrong.ends_with("\n1 problem in portero.toml"), "{wrong}");
    }
    for secret in ["short", "NONE", "SPACE"] {
        let wrong = problems(&key("scopes = \"tokens\"\n").replace("PORTERO_AGENT_KEY", secret));
        assert!(wrong.contains("api_keys[1].key: "), "{wrong}");
    }
    let many: String = (0..33)
        .map(|n| format!("[[api_keys]]\nname = \"k{n}\"\n"))
        .collect();
    let wrong = problems(&format!("{GOOD}{many}"));
    assert!(
        wrong.contains("there may be 32 at most, here are 33"),
        "{wrong}"
    );
}

#[test]
fn what_does_not_fit_together_is_told_with_what_to_write() {
    let no_url = with_number().replace("public_url = \"https://portero.example.com/\"\n", "");
    let no_users = with_number() + ERP;
    let checks = ERP.replace(
        "secret =",
        "check_password = \"https://e.example/c\"\nsecret =",
    );
    let page = TIENDA.to_owned() + "url = \"https://shop.example.com/\"\n";
    let needs_url = "needs server.public_url, the https:// address at which people open the page";
    let needs_users = "needs users with passwords: write directory.enabled = true, or check_password in a [[services]]";
    let cases: Vec<(String, &str, Vec<String>)> = vec![
        (no_url.clone(), "methods = \"web\"", vec![format!("methods: \"web\" {needs_url}")]),
        (no_users.clone(), "methods = \"web\"", vec![format!("methods: \"web\" {needs_users}, or sign_in.page with the name of a [[pages]] that has a url")]),
        (no_users.clone() + "[directory]\nenabled = true\n", "methods = \"web\"", vec![]),
        (with_number() + &checks, "methods = \"web\"", vec![]),
        (no_users.clone() + &page, "methods = \"web\"\npage = \"tienda\"", vec![]),
        (no_users.clone() + TIENDA, "methods = \"web\"\npage = \"tienda\"", vec!["page: names a page without url; write one below its [[pages]]".into()]),
        (with_number() + &page, "page = \"tineda\"", vec!["page: no [[pages]] has this name; did you mean tienda?".into()]),
        (with_number() + &page, "page = \"tienda\"", vec![]),
        (with_number(), "backend = \"https://b.example/\"", vec![]),
        (GOOD.to_owned(), "backend = \"https://b.example/\"\nbackend_credential = \"env:PORTERO_BACKEND_KEY\"", vec![]),
        (with_number() + &checks, "backend = \"https://b.example/\"", vec![]),
        (no_url, "backend = \"https://b.example/\"", vec![format!("backend: {needs_url}")]),
        (no_users, "backend = \"https://b.example/\"", vec![format!("backend: {needs_users}")]),
        (with_number(), "backend = \"https://b.example/\"\nmethods = [\"mail\", \"web\"]", vec!["backend: has the links, so that none are made here; take web out of sign_in.methods, or leave the back end out".into()]),
        (with_number() + &page, "backend = \"https://b.example/\"\npage = \"tienda\"", vec!["backend: is for Portero's own page, and sign_in.page names another; leave one of them out".into()]),
    ];
    for (rest, lines, expected) in cases {
        let found = match parse(&format!("{rest}[sign_in]\n{lines}\n")) {
            Ok(_) => Vec::new(),
            Err(wrong) => {
                let words = wrong
                    .lines()
                    .filter_map(|line| line.split_once("  sign_in."));
                let words: Vec<_> = words.map(|(_, words)| words.to_owned()).collect();
                assert_eq!(words.len() + 1, wrong.lines().count(), "{wrong}");
                words
            }
        };
        assert_eq!(found, expected, "{lines}\n{rest}");
    }
    let alone = problems(&with("sign_in", "backend_ca_file = \"none.pem\""));
    let unused = "14:1  sign_in.backend_ca_file: is for sign_in.backend, which is not set\n";
    assert!(alone.contains(unused), "{alone}");
    let backend = parse(&(GOOD.to_owned() + "[sign_in]\nbackend = \"https://b.example/api/\"\n"));
    let backend = backend.unwrap().config.sign_in.backend.unwrap();
    assert_eq!(backend.url, "https://b.example/api");
    assert!(backend.credential.is_none() && backend.ca_pem.is_none());
    assert_eq!(backend.timeout, Duration::from_secs(10));
}

/// Each protection that the operator may switch off, and each connection without encryption.
#[test]
fn what_is_switched_off_is_named() {
    let http_opened = "is http://, so that only browsers on this machine can open it";
    let http_called = "is called over http://, unencrypted; that is allowed to this machine only";
    let cases = [
        (
            "[sign_in]\nreturn_code = \"off\"\n",
            "sign_in.return_code",
            "is off: whoever makes somebody open their link and sign in gets in as that person",
        ),
        (
            "[sign_in]\nphone_on_file = \"off\"\n",
            "sign_in.phone_on_file",
            "is off: a sign-in counts even if the user's phone on file is not the number of the chat",
        ),
        (
            "[sign_in]\nbackend = \"http://127.0.0.1:9\"\n",
            "sign_in.backend",
            http_called,
        ),
        (
            "[[pages]]\nname = \"a\"\ncredential = \"env:PORTERO_PAGE_KEY\"\nurl = \"http://localhost:3000/\"\n",
            "pages[1].url",
            http_opened,
        ),
        (
            "[[services]]\nname = \"erp\"\nfind_user = \"https://e.example/f\"\nissue_token = \"https://e.example/t\"\ncheck_password = \"http://[::1]/c\"\nsecret = \"env:PORTERO_ERP_SECRET\"\n",
            "services[1].check_password",
            http_called,
        ),
    ];
    for (lines, key, words) in cases {
        let loaded = parse(&(with_number() + lines)).unwrap();
        assert_eq!(weakened(&loaded), [(key, words)], "{lines}");
    }
    let loaded = parse(&with("whatsapp", "chat_url = \"http://127.0.0.1:9/send/\"")).unwrap();
    assert_eq!(weakened(&loaded), [("whatsapp.chat_url", http_opened)]);
    assert_eq!(loaded.config.whatsapp.chat_url, "http://127.0.0.1:9/send/");
}

// --- the list of keys and the example ---

#[test]
fn every_key_has_a_sentence_and_an_explanation() {
    for key in keys::ALL {
        let tables = [&keys::TABLES[..], &keys::INNER].concat();
        assert!(tables.contains(&key.table), "{}", key.path());
        assert!(key.about.ends_with('.'), "{}", key.path());
        let explanation = explain(&key.path()).unwrap().to_string();
        assert!(explanation.contains(key.about) && explanation.contains(key.example()));
        assert!(
            explain(key.name)
                .unwrap()
                .to_string()
                .contains(&explanation)
        );
    }
    assert_eq!(explain("limits").unwrap().to_string().lines().count(), 18);
    let services = explain("services").unwrap().to_string();
    assert!(services.contains("services.find_user ") && services.contains("api_keys.services\n"));
    // As problems name them.
    for written in [
        "services[1].find_user",
        "[[services]].find_user",
        "services[erp].find_user",
    ] {
        let explained = explain(written).map(|said| said.to_string());
        assert_eq!(
            explained,
            explain("services.find_user").map(|said| said.to_string())
        );
    }
    assert_eq!(
        explain("mail.securty"),
        Err(Some("mail.security".to_owned()))
    );
    assert_eq!(explain("xyzzy"), Err(None));
}

fn is_in_array(key: &Key) -> bool {
    keys::ARRAYS.contains(&key.table) || is_inner(key)
}

fn is_inner(key: &Key) -> bool {
    keys::INNER.contains(&key.table)
}

/// `#key = value` becomes `key = value`; sentences stay comments.
fn uncommented(only: impl Fn(&Key) -> bool) -> String {
    let mut array = None;
    let mut text = String::new();
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix('#').filter(|rest| !rest.starts_with(' '));
        let header = bare.and_then(|bare| bare.strip_prefix("[[")?.strip_suffix("]]"));
        let inner = bare.and_then(|bare| bare.strip_prefix("[services.")?.strip_suffix("]"));
        let inner = inner.map(|_| bare.unwrap().trim_matches(['[', ']']));
        array = header.or(inner).or(array);
        let wanted = bare.is_some_and(|bare| {
            let name = bare.split(" =").next().unwrap();
            let path = match (header.or(inner), array) {
                // The address stands for the table, as the name does for that of an array.
                (Some(table), _) if inner.is_some() => format!("{table}.url"),
                (Some(header), _) => format!("{header}.name"),
                (None, Some(array)) => format!("{array}.{name}"),
                (None, None) => name.to_owned(),
            };
            let key = keys::ALL.iter().find(|key| key.path() == path);
            key.is_some_and(|key| only(key))
        });
        text.push_str(if wanted { bare.unwrap() } else { line });
        text.push('\n');
    }
    text
}

#[test]
fn the_example_names_every_key_with_its_default_and_its_sentence() {
    for key in keys::ALL {
        let example = if is_in_array(key) {
            let header = match is_inner(key) {
                true => format!("\n#[{}]\n", key.table),
                false => format!("\n#[[{}]]\n", key.table),
            };
            EXAMPLE.split(&header).nth(1).unwrap_or_default()
        } else {
            EXAMPLE
        };
        let path = if is_in_array(key) {
            key.name.to_owned()
        } else {
            key.path()
        };
        let setting = format!("\n{path} = {}\n", key.example());
        let commented = format!("\n#{path} = {}\n", key.example());
        assert!(
            example.contains(&setting) || example.contains(&commented),
            "{commented}"
        );
        let sentence = EXAMPLE.contains(key.about.trim_end_matches('.'));
        assert!(sentence, "{}: {}", key.path(), key.about);
    }
    let filled = EXAMPLE
        .lines()
        .take(15)
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>();
    for key in keys::ALL
        .iter()
        .filter(|key| matches!(key.absent, Absent::Required(_)))
    {
        let there = filled.iter().any(|line| line.starts_with(&key.path()));
        assert!(
            there || is_in_array(key),
            "{} is not among the first 15 lines",
            key.path()
        );
    }
}

#[test]
fn the_example_and_the_explanation_say_of_a_key_that_it_needs_a_restart() {
    for key in keys::ALL {
        let needs = key.effect == Effect::AtRestart;
        let explained = explain(&key.path()).unwrap().to_string();
        assert_eq!(
            explained.contains("  Needs a restart.\n"),
            needs,
            "{explained}"
        );
        let reloaded = explained.contains("  `portero reload` ");
        assert_eq!(reloaded, !needs, "{explained}");
        let again = explained.contains("a change behind env:NAME needs a restart");
        assert_eq!(again, key.is_secret() && !needs, "{explained}");
        // Those in the first lines are explained below them.
        let setting = format!("\n#{} = ", key.path());
        if let Some((before, _)) = EXAMPLE.split_once(&setting) {
            let sentence = before.lines().last().unwrap();
            assert_eq!(sentence.ends_with(" Needs a restart."), needs, "{sentence}");
        } else {
            assert!(!needs || is_in_array(key), "{}", key.path());
        }
    }
}

#[test]
fn the_example_is_good_and_its_defaults_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("ca.pem"),
        "-----BEGIN CERTIFICATE-----\n",
    )
    .unwrap();
    fs::write(folder.path().join("logo.png"), PNG).unwrap();
    let pair = crate::tls::Authority::new().issue(&["portero.example.com"]);
    write(&folder.path().join("fullchain.pem"), &pair.chain, 0o600);
    write(&folder.path().join("privkey.pem"), &pair.key, 0o600);
    let parse = |text: &str| {
        Config::parse(text, folder.path(), &environment).unwrap_or_else(|wrong| panic!("{wrong}"))
    };
    let plain = parse(EXAMPLE);
    assert!(plain.warnings.is_empty(), "{:?}", plain.warnings);
    let defaults = uncommented(|key| matches!(key.absent, Absent::Default(_)) && !is_in_array(key));
    assert_ne!(defaults, EXAMPLE);
    let defaults = parse(&defaults).config;
    assert_eq!(format!("{:?}", plain.config), format!("{defaults:?}"));
    // One deployment is one half of the document: the page, or the back end.
    let with_page = uncommented(|key| !key.name.starts_with("backend") && !is_inner(key));
    let with_page = parse(&with_page).config;
    let with_backend = uncommented(|key| key.path() != "sign_in.page" && !is_inner(key));
    let with_backend = parse(&with_backend).config;
    for all in [&with_page, &with_backend] {
        assert_eq!((all.services.len(), all.pages.len()), (1, 1));
        assert!(all.mail.ca_pem.is_some() && all.directory.enabled);
        assert!(all.business.logo.is_some() && all.whatsapp.number.is_some());
    }
    assert!(
        with_page
            .tls
            .as_ref()
            .is_some_and(|tls| tls.listen == ["[::]:443".parse().unwrap()])
    );
    assert!(with_page.sign_in.page.is_some());
    let backend = with_backend.sign_in.backend.as_ref();
    assert!(backend.is_some_and(|backend| backend.ca_pem.is_some()));
}

/// The texts in quotes of a source file, tests and comments left out.
fn literals(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        let from = &rest[at..];
        rest = if from.starts_with("//") {
            from.split_once('\n').map_or("", |(_, rest)| rest)
        } else if let Some(rest) = from
            .strip_prefix("'\\''")
            .or_else(|| from.strip_prefix("'\"'"))
        {
            rest
        } else if let Some(inner) = from.strip_prefix('"') {
            let mut escaped = false;
            let end = inner
                .find(|c| {
                    let ends = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    ends
                })
                .unwrap();
            found.push(inner[..end].to_owned());
            &inner[end + 1..]
        } else {
            &from[1..]
        };
    }
    found
}

/// The words of a sentence that look like `table.key`.
fn keys_named(sentence: &str) -> Vec<&str> {
    sentence
        .split(|c: char| !c.is_ascii_alphanumeric() && !"._-/@:".contains(c))
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(|word| {
            word.split_once('.')
                .is_some_and(|(table, _)| keys::TABLES.contains(&table))
        })
        .collect()
}

#[test]
fn every_key_that_an_adapter_names_exists() {
    // Somebody reads the advice when the sending has stopped, and looks for the key in the file.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut unknown = Vec::new();
    for (file, named_min) in [
        ("mail.rs", 5),
        ("mail/verdict.rs", 5),
        ("services/mod.rs", 8),
        ("services/shape.rs", 10),
        ("config/services.rs", 4),
        ("whatsapp/errors.rs", 8),
        ("config/mail.rs", 2),
        ("config/server.rs", 2),
        ("backend.rs", 6),
        ("config/limits.rs", 2),
        ("config/sign_in.rs", 8),
    ] {
        let literals = literals(&fs::read_to_string(source.join(file)).unwrap());
        let named: Vec<_> = literals.iter().flat_map(|text| keys_named(text)).collect();
        assert!(named.len() >= named_min, "{file}: {named:?}");
        // The keys of `[texts.…]` are those of the sentences.
        let known = |name: &str| {
            name.starts_with("texts.") || keys::ALL.iter().any(|key| key.path() == name)
        };
        unknown.extend(
            named
                .into_iter()
                .filter(|name| !known(name))
                .map(|name| format!("{file}: {name}")),
        );
    }
    assert_eq!(unknown, [] as [String; 0]);
}

#[test]
fn keys_are_found_in_literals_and_nowhere_else() {
    let source = r#"
        //! mail.comment "mail.comment"
        let quote = ('"', '\''); mail.code();
        let text = "say \"no\" to mail.user, mail.from: https://mail.host/ and x.mail.y.";
"#;
    let literals = literals(&format!(
        "{source}#[cfg(test)]\nmod tests {{ \"mail.test\" }}"
    ));
    let named: Vec<_> = literals.iter().flat_map(|text| keys_named(text)).collect();
    assert_eq!(named, ["mail.user", "mail.from"]);
}

// --- F-7 ---

proptest! {
    // A failure prints its input, which then becomes a test with a name.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}|([\\[\\]a-z_.=\"' #\\n0-9{}-]){0,200}") {
        if let Err(wrong) = Config::parse(&text, Path::new("/nowhere"), &environment) {
            prop_assert!(!wrong.list.is_empty());
        }
    }

    #[test]
    fn no_slip_of_the_finger_brings_a_secret_into_a_problem(
        at in 0..1_000_usize,
        length in 0..3_usize,
        typed in "[\\PC\\n]{0,2}|[\"'=\\[\\]#\\n]{1,2}",
    ) {
        // Without its `?` a query is a path, and paths are shown.
        let text = with_secrets_in_file().replace("?key=hunter2", "");
        let mut text: Vec<char> = text.chars().collect();
        let at = at % text.len();
        let end = (at + length).min(text.len());
        text.splice(at..end, typed.chars());
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(loaded) => {
                prop_assert!(!leaks(&loaded.show()), "{}", loaded.show());
                let warnings = format!("{:?}", loaded.warnings);
                prop_assert!(!leaks(&warnings), "{}", warnings);
            }
            Err(wrong) => prop_assert!(!leaks(&wrong), "{}\n{}", text, wrong),
        }
    }

    #[test]
    fn any_value_in_any_key_is_taken_or_refused_by_name(
        key in prop::sample::select(keys::ALL).prop_filter("in a plain table", |key| !is_in_array(key)),
        value in "true|-?[1-9][0-9]{0,25}|0x[0-9a-f]{1,20}|1\\.5|1979-05-27|\\[\\]|\\[1, \"x\"\\]|\\{a = 1\\}|\"[a-z:/.@<> ]{0,20}\"",
    ) {
        let text = with(key.table, &format!("{} = {value}", key.name));
        if let Err(wrong) = Config::parse(&text, Path::new("/nowhere"), &environment) {
            for problem in wrong.list {
                prop_assert!(problem.key.starts_with(key.table), "{}: {}", problem.key, problem.words);
            }
        }
    }
}

#[test]
fn the_numbers_are_for_this_machine_or_for_who_has_a_key() {
    let metrics = |lines: &str| format!("{GOOD}[metrics]\n{lines}\n");
    assert!(parse(GOOD).unwrap().config.metrics.is_none());
    let loaded = parse(&metrics("listen = \"[::1]:9464\"")).unwrap();
    let settings = loaded.config.metrics.unwrap();
    assert_eq!(settings.listen.to_string(), "[::1]:9464");
    assert!(settings.key.is_none() && loaded.warnings.is_empty());
    let key = "key = \"env:PORTERO_METRICS_KEY\"";
    let loaded = parse(&metrics(&format!("listen = \"0.0.0.0:9464\"\n{key}"))).unwrap();
    let settings = loaded.config.metrics.unwrap();
    assert!(settings.key.is_some_and(|key| key.matches(AGENT_KEY)));
    assert!(
        loaded.warnings[0]
            .words
            .contains("listens beyond this machine without TLS"),
        "{:?}",
        loaded.warnings
    );
    for (lines, words) in [
        (
            "listen = \"0.0.0.0:9464\"",
            "metrics.key: is missing; metrics.listen is not on this machine alone",
        ),
        (
            "listen = \"localhost\"",
            "metrics.listen: must be an address and a port",
        ),
        (key, "metrics.key: is for metrics.listen, which is not set"),
        (
            "listen = \"127.0.0.1:1\"\nkey = \"env:VERIFY\"",
            "metrics.key: must be at least 32 ASCII letters",
        ),
    ] {
        let wrong = problems(&metrics(lines));
        assert!(wrong.contains(words), "{wrong}");
    }
}

const STATUS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[test]
fn the_status_page_has_a_strong_argon2id_hash_or_is_not_there() {
    let status = |hash: &str| format!("{GOOD}[status]\npassword_hash = \"{hash}\"\n");
    assert!(parse(GOOD).unwrap().config.status.is_none());
    let loaded = parse(&status(STATUS_HASH)).unwrap();
    assert!(loaded.config.status.is_some());
    // It is meant to be written there, and yet for nobody to see.
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(loaded.config.weakened.is_empty());
    let shown = loaded.show();
    assert!(
        shown.contains("[status]\npassword_hash = \"(hidden") && !shown.contains("bm9ib2R5"),
        "{shown}"
    );
    assert!(!format!("{:?}", loaded.config).contains("bm9ib2R5"));
    for (hash, words) in [
        ("seven quiet doors", "must be an argon2id hash"),
        ("$2y$10$abcdefghijklmnopqrstuv", "must be an argon2id hash"),
        (
            &STATUS_HASH.replace("argon2id", "argon2i"),
            "must be an argon2id hash",
        ),
        (
            &STATUS_HASH.replace("m=19456", "m=4096"),
            "is too weak; argon2id needs m=19456,t=2,p=1",
        ),
        (
            &STATUS_HASH.replace("m=19456", "m=999999"),
            "costs too much to check",
        ),
    ] {
        let wrong = problems(&status(hash));
        assert!(wrong.contains("status.password_hash: "), "{wrong}");
        assert!(wrong.contains(words), "{wrong}");
        assert!(
            wrong.contains("`portero status password` makes one"),
            "{wrong}"
        );
        assert!(
            !wrong.contains("bm9ib2R5") && !wrong.contains("quiet"),
            "{wrong}"
        );
    }
}

#[test]
fn a_file_with_the_hash_of_the_status_page_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portero.toml");
    let text = GOOD.replace("env:", "file:");
    let text = text.lines().map(|line| match line.split_once("file:") {
        Some((before, name)) => {
            let name = name.trim_end_matches([']', '"']);
            let file = folder.path().join(name);
            write(&file, environment(name).as_deref().unwrap_or("x"), 0o600);
            line.replace(&format!("file:{name}"), &format!("file:{}", file.display()))
                + &before[..0]
        }
        None => line.to_owned(),
    });
    let text: String = text.map(|line| line + "\n").collect();
    let text = format!("{text}[status]\npassword_hash = \"{STATUS_HASH}\"\n");
    write(&path, &text, 0o600);
    let loaded = Config::load(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
    assert!(loaded.config.status.is_some());
    write(&path, &text, 0o644);
    let wrong = Config::load(&path).unwrap_err().to_string();
    assert!(
        wrong.contains("status.password_hash: a secret is written here"),
        "{wrong}"
    );
}

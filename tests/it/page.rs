//! The sign-in page over HTTP, without a browser: the production server as its configuration file
//! starts it, the simulator's phones, mailboxes and services around it (S-35 to S-47).
//!
//! What needs another time of day, another store or a check that breaks stands at the end, on the
//! same web over records in memory and a clock that is set by hand.

use crate::house::no_tokens;
use crate::outside::{Answer, PATIENCE, PUBLIC_HOST, Portero, Reply, Server, ask, eventually, has};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portero::app::admin::NewUser;
use portero::app::{App, Clock, Report, Settings, SystemRandom, Verdict, Work};
use portero::config::Config;
use portero::domain::delivery::{ChatMessage, Lane, LinkTarget};
use portero::domain::id::{ContactId, MessageId, PhoneNumberId, ServiceName, WaId};
use portero::domain::language::Language;
use portero::domain::message::{Content, Inbound, Provenance, Sender, Status, WebhookItem};
use portero::domain::policy::{Methods, Policy};
use portero::domain::secret::Secret;
use portero::domain::time::{MINUTE_MS, Timestamp};
use portero::outbox::{Outbox, Pace};
use portero::serve::{self, Running};
use portero::simulator::cast::{ANA, BRUNO, BUSINESS, PEOPLE};
use portero::simulator::graph::Said;
use portero::simulator::inbox::Mail;
use portero::simulator::services::Trouble;
use portero::simulator::{Place, World};
use portero::store::engine::UpdateBody;
use portero::store::record::{Keys, Sent};
use portero::store::{
    Engine, KeyRange, MasterKey, Memory, Order, Reader, Sealed, StoreError, Table,
};
use portero::text::{Texts, Voice};
use portero::web::listener::{Handler, Limits, Listener, Trust};
use portero::web::{Look, Site, Web, WebSettings, WebhookSettings};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub const LAPTOP: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36";
pub const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1";
pub const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36";

/// What Ana signs in with, at Kutamma only.
pub const ANA_USER: &str = "ana@example.com";
pub const ANA_PASSWORD: &str = "pan de masa madre";
pub const WRONG_PASSWORD: &str = "canary-wrong-password";

/// Somebody of the directory, which is switched on beside the two services.
const DORA_USER: &str = "dora@example.com";
const DORA_PASSWORD: &str = "doce perros verdes";

const FORM: &str = "application/x-www-form-urlencoded";

type Headers<'h> = &'h [(&'h str, &'h str)];

/// Content type, body, further headers, and the status that answers it.
type Form<'a> = (&'a str, String, Vec<(&'a str, &'a str)>, u16);
/// Fields, headers, and the status that answers it.
type HostileForm<'a> = (&'a [(&'a str, &'a str)], Headers<'a>, u16);

// --- the town -------------------------------------------------------------------------------------

/// The program, as its configuration file starts it, and everybody around it.
pub struct Town {
    // Stopped before the world around it is.
    running: Option<Running>,
    pub world: World,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

/// The configuration of the tests: both ways in, the page at the public address.
fn configuration(world: &World, folder: &std::path::Path) -> toml::Table {
    let text = world.configuration(&Place {
        listen: ([127, 0, 0, 1], 0).into(),
        store: &folder.join("portero.redb"),
        chat_url: None,
        takes_any_page: false,
    });
    let mut file: toml::Table = text.parse().unwrap();
    let public_url = format!("https://{PUBLIC_HOST}");
    for (table, key, value) in [
        ("server", "public_url", toml::Value::from(public_url)),
        ("whatsapp", "number", toml::Value::from(BUSINESS.number)),
        ("sign_in", "methods", vec!["mail", "web"].into()),
        ("directory", "enabled", true.into()),
        ("limits", "links_per_hour", 60.into()),
    ] {
        set(&mut file, table, key, value);
    }
    // Nobody stands behind it: what is asked here ends at the door.
    for table in ["bot", "api_keys"] {
        file.remove(table);
    }
    // Nowhere but to WhatsApp, as in production.
    if let Some(whatsapp) = file["whatsapp"].as_table_mut() {
        whatsapp.remove("chat_url");
    }
    file
}

pub fn set(file: &mut toml::Table, table: &str, key: &str, value: impl Into<toml::Value>) {
    let table = file
        .entry(table)
        .or_insert_with(|| toml::Table::new().into());
    let table = table.as_table_mut().unwrap();
    table.insert(key.to_owned(), value.into());
}

impl Town {
    /// The program.
    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn start() -> Town {
        Town::with(|_| {})
    }

    /// With something else in the file.
    pub fn with(change: impl FnOnce(&mut toml::Table)) -> Town {
        let (world, folder) = (World::start().unwrap(), tempfile::tempdir().unwrap());
        let mut file = configuration(&world, folder.path());
        change(&mut file);
        let text = toml::to_string(&file).unwrap();
        let loaded = Config::parse(&text, folder.path(), &|_| None);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let running = serve::start(&loaded.config).unwrap();
        let address = running.addresses()[0];
        world.connect(&format!("http://{address}"));
        Town {
            running: Some(running),
            world,
            address,
            _folder: folder,
        }
    }

    pub fn app(&self) -> Arc<App> {
        self.running.as_ref().unwrap().app()
    }

    /// Somebody asks for a link; its path and query.
    pub fn link(&self, phone: usize) -> String {
        let link = link_of(&self.world, phone);
        let path = link.strip_prefix(&format!("https://{PUBLIC_HOST}"));
        path.unwrap_or_else(|| panic!("{link}")).to_owned()
    }

    fn add_user(&self, email: &str, name: &str, company: &str, password: &str) {
        let mut user = NewUser::parse(email, name, company, "").unwrap();
        user.password = Some(Secret::new(password));
        self.app().add_user(&user).unwrap();
    }

    pub fn get(&self, path: &str, headers: Headers<'_>) -> Answer {
        ask(self.address, "GET", path, headers, b"").unwrap()
    }

    fn post(&self, path: &str, fields: &[(&str, &str)], headers: Headers<'_>) -> Answer {
        post(self.address, path, fields, headers)
    }

    /// Fills in the form of a page that was loaded.
    fn fill_in(&self, page: &Answer, user: &str, password: &str, headers: Headers<'_>) -> Answer {
        fill_in(self.address, page, user, password, headers)
    }

    /// Opens a link, fills in the form, and sends it.
    fn sign_in(&self, link: &str, user: &str, password: &str, headers: Headers<'_>) -> Answer {
        let page = self.get(link, headers);
        assert_eq!(page.status, 200, "{}", page.body);
        self.fill_in(&page, user, password, headers)
    }

    /// The person sends the text of a redirect, and is answered with these words.
    pub fn returns(&self, phone: usize, text: &str, words: &str) {
        returns(&self.world, phone, text, words);
    }

    pub fn checks(&self, service: &str) -> usize {
        self.world.services.password_checks(service)
    }

    pub fn is_bound(&self) -> bool {
        let contacts = self.app().overview(100).unwrap().contacts;
        contacts.iter().any(|contact| contact.is_bound())
    }

    /// Waits until nothing is left to be sent, and Meta has reported all that was.
    fn quiet(&self) {
        eventually("everything is sent and delivered", || {
            let overview = self.app().overview(1_000).unwrap();
            let is_over = |sent: &Sent| sent.status != Status::Sent;
            let is_quiet = overview.outbox.is_empty() && overview.sent.iter().all(is_over);
            (is_quiet && self.world.graph.webhooks_waiting() == 0).then_some(())
        });
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

pub fn link_of(world: &World, phone: usize) -> String {
    let said = world.phone(phone).say("enlace");
    let link = world.phone(phone).wait_for_link(&said, PATIENCE);
    let link = link.unwrap_or_else(|| panic!("{:?}", world.phone(phone).messages()));
    link.url
}

pub fn returns(world: &World, phone: usize, text: &str, words: &str) {
    let said = world.phone(phone).say(text);
    let reply = world.phone(phone).wait_for_reply(&said, PATIENCE).unwrap();
    assert!(reply.body.contains(words), "{}", reply.body);
}

fn post(address: SocketAddr, path: &str, fields: &[(&str, &str)], headers: Headers<'_>) -> Answer {
    let mut all = vec![("Content-Type", FORM), ("Sec-Fetch-Site", "same-origin")];
    for header in headers {
        all.retain(|(name, _)| name != &header.0);
    }
    all.extend_from_slice(headers);
    ask(address, "POST", path, &all, encode(fields).as_bytes()).unwrap()
}

fn encode(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

fn fill_in(
    address: SocketAddr,
    page: &Answer,
    user: &str,
    password: &str,
    headers: Headers<'_>,
) -> Answer {
    let (hash, token) = (hidden(page, "mappingHash"), hidden(page, "formToken"));
    let fields = [
        ("mappingHash", hash.as_str()),
        ("formToken", &token),
        ("user", user),
        ("password", password),
        ("action", "sign_in"),
    ];
    post(address, "/sign-in/", &fields, headers)
}

/// The value of a hidden field.
fn hidden(page: &Answer, name: &str) -> String {
    let start = format!("<input type=\"hidden\" name=\"{name}\" value=\"");
    between(&page.body, &start, "\"").unwrap_or_else(|| panic!("no {name} in {}", page.body))
}

pub fn between(text: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0.to_owned())
}

pub fn unescaped(text: &str) -> String {
    let marks = [
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    marks
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The parameters of an address, which begins as told.
fn parameters(url: &str, begins: &str) -> BTreeMap<String, String> {
    let query = url.strip_prefix(begins).unwrap_or_else(|| panic!("{url}"));
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

/// The text that WhatsApp is opened with.
pub fn text_of(url: &str) -> String {
    let parameters = parameters(url, "https://api.whatsapp.com/send/?");
    assert_eq!(parameters["phone"], BUSINESS.number);
    parameters["text"].clone()
}

/// The return code in a text: the word that is one.
pub fn code_of(text: &str) -> String {
    let is_code = |word: &&str| {
        word.len() == 28
            && word.starts_with("Q7")
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let code = text.split_whitespace().find(is_code);
    code.unwrap_or_else(|| panic!("no code in {text}"))
        .to_owned()
}

pub fn undo_link(mail: &Mail) -> String {
    let start = format!("https://{PUBLIC_HOST}");
    let link = mail
        .text
        .split_whitespace()
        .find(|word| word.starts_with(&start));
    let link = link.unwrap_or_else(|| panic!("{}", mail.text));
    link[start.len()..].to_owned()
}

/// Every opening tag, in order, as names.
fn elements(html: &str) -> Vec<String> {
    let starts = html.split('<').skip(1);
    starts
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic()))
        .map(|rest| {
            rest.chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect()
        })
        .collect()
}

/// What a person reads: no tags, no style, no script.
fn words(html: &str) -> String {
    let (_, body) = html.split_once("<body>").unwrap();
    let body = body.split("<script>").next().unwrap();
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        text.push(' ');
    }
    unescaped(&text)
}

// --- the whole way (section 3.2) ------------------------------------------------------------------

#[test]
fn somebody_signs_in_on_a_phone_with_a_service_and_undoes_it_by_mail() {
    let town = Town::start();
    let link = town.link(ANA);
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    assert_eq!(answer.status, 303, "{}", answer.body);
    let text = text_of(answer.header("Location").unwrap());
    let code = code_of(&text);
    assert_eq!(
        text,
        format!("Quiero entrar en Inpla: {code}"),
        "one sentence"
    );
    assert!(!town.is_bound(), "before the code came back");
    town.returns(ANA, &text, "Ana Pérez");
    assert!(town.is_bound());

    let mail = town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    let undo = undo_link(&mail);
    town.quiet();
    let before = town.app().overview(1_000).unwrap();
    for agent in [LAPTOP, IPHONE, "Microsoft Office/16.0 (SafeLinks)"] {
        let page = town.get(&undo, &[("User-Agent", agent)]);
        assert_eq!(page.status, 200);
        assert!(
            words(&page.body).contains("Ana Pérez"),
            "{}",
            words(&page.body)
        );
    }
    assert_eq!(
        format!("{:?}", town.app().overview(1_000).unwrap()),
        format!("{before:?}")
    );

    let page = town.get(&undo, &[]);
    let (token, form_token) = (hidden(&page, "token"), hidden(&page, "formToken"));
    let fields = [("token", token.as_str()), ("formToken", &form_token)];
    let seen = town.world.phone(ANA).messages().len();
    let done = town.post("/undo/", &fields, &[]);
    assert_eq!(done.status, 200);
    assert!(words(&done.body).contains("Sesión cerrada"));
    assert!(!town.is_bound());
    assert_eq!(town.post("/undo/", &fields, &[]).status, 404);
    assert_eq!(town.get(&undo, &[]).status, 404);
    let told = town.world.phone(ANA).wait_for(
        |messages| messages.get(seen).map(|message| message.body.clone()),
        PATIENCE,
    );
    assert!(told.unwrap().contains("correo"), "the chat is told");
}

#[test]
fn somebody_of_the_directory_signs_in_on_a_laptop_and_never_reads_the_code() {
    let town = Town::start();
    town.add_user(DORA_USER, "Dora Núñez", "Panadería", DORA_PASSWORD);
    let link = town.link(BRUNO);
    let laptop = [("User-Agent", LAPTOP), ("Accept-Language", "en")];
    let answer = town.sign_in(&link, DORA_USER, DORA_PASSWORD, &laptop);
    assert_eq!((answer.status, answer.header("Location")), (200, None));
    let url = between(&answer.body, "<a class=\"button first\" href=\"", "\"");
    let text = text_of(&unescaped(&url.unwrap()));
    let code = code_of(&text);
    assert!(!words(&answer.body).contains(&code), "the code can be read");
    assert_eq!(answer.body.matches(&code).count(), 1, "in the button only");
    assert!(answer.body.contains("<svg class=\"qr\" role=\"img\""));
    town.returns(BRUNO, &text, "Dora Núñez");
    let mail = town.world.inbox.wait_for_mail(DORA_USER, 1, PATIENCE);
    assert!(mail.unwrap().text.contains("/undo/?token="));
}

#[test]
fn whatsapp_is_opened_at_once_on_a_phone_and_with_a_tap_elsewhere() {
    let town = Town::with(|file| set(file, "limits", "links_per_hour", 60));
    let agents: [(&str, Headers<'_>, u16); 8] = [
        ("iPhone", &[("User-Agent", IPHONE)], 303),
        ("Android", &[("User-Agent", ANDROID)], 303),
        ("laptop", &[("User-Agent", LAPTOP)], 200),
        ("nobody", &[], 200),
        (
            "a hint",
            &[("User-Agent", LAPTOP), ("Sec-CH-UA-Mobile", "?1")],
            303,
        ),
        (
            "a hint that it is none",
            &[("User-Agent", ANDROID), ("Sec-CH-UA-Mobile", "?0")],
            200,
        ),
        (
            "a broken hint",
            &[("User-Agent", LAPTOP), ("Sec-CH-UA-Mobile", "yes")],
            200,
        ),
        (
            "the app itself",
            &[("User-Agent", "WhatsApp/2.23.20.0 iPhone")],
            303,
        ),
    ];
    for (name, headers, status) in agents {
        let link = town.link(ANA);
        let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, headers);
        assert_eq!(answer.status, status, "{name}");
        let to = answer.header("Location");
        assert_eq!(to.is_some(), status == 303, "{name}");
    }
}

#[test]
fn a_code_from_another_chat_lets_nobody_in_and_both_are_told() {
    let town = Town::start();
    let link = town.link(BRUNO);
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    let text = text_of(answer.header("Location").unwrap());
    let seen = town.world.phone(BRUNO).messages().len();
    town.returns(ANA, &text, "");
    assert!(!town.is_bound());
    let told = town.world.phone(BRUNO).wait_for(
        |messages| messages.get(seen).map(|message| message.body.clone()),
        PATIENCE,
    );
    assert!(told.is_some());
    let mail = town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    assert!(!mail.text.contains("/undo/"), "nothing to undo");
    // It is dead, in both chats.
    town.returns(BRUNO, &text, "");
    assert!(!town.is_bound());
}

#[test]
fn a_forwarded_code_counts_for_nothing() {
    let town = Town::start();
    let link = town.link(ANA);
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    let text = text_of(answer.header("Location").unwrap());
    let said = town.world.graph.deliver(ANA, Said::Forwarded(text.clone()));
    town.world
        .phone(ANA)
        .wait_for_reply(&said, PATIENCE)
        .unwrap();
    town.returns(ANA, &text, "");
    assert!(!town.is_bound());
}

///
#[test]
fn while_nobody_answers_about_a_password_no_try_counts() {
    let town = Town::with(|file| set(file, "directory", "enabled", false));
    let link = town.link(ANA);
    town.world
        .services
        .misbehave("kutamma", Some(Trouble::Down));
    town.world.services.misbehave("woku", Some(Trouble::Down));
    for _ in 0..8 {
        let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[]);
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(
            words(&answer.body).contains("no responde"),
            "{}",
            words(&answer.body)
        );
        assert_eq!(field(&answer, "user"), ANA_USER);
        assert_eq!(field(&answer, "password"), "");
    }
    town.world.behave();
    // Whoever was at rest is asked again after a while.
    let answer = eventually("the service is asked again", || {
        let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[]);
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(answer.status, 200, "{}", words(&answer.body));
    assert!(words(&answer.body).contains("Falta un paso"));
}

/// S-41: whoever did answer was a chance to guess.
#[test]
fn while_one_service_is_silent_guesses_at_the_others_count() {
    let town = Town::start();
    let link = town.link(ANA);
    town.world
        .services
        .misbehave("kutamma", Some(Trouble::Down));
    let statuses: Vec<u16> = (0..5)
        .map(|_| town.sign_in(&link, DORA_USER, WRONG_PASSWORD, &[]).status)
        .collect();
    assert_eq!(statuses, [503, 503, 503, 503, 404]);
}

/// What stands in a field that is shown again.
fn field(page: &Answer, id: &str) -> String {
    let input = between(&page.body, &format!("<input id=\"{id}\""), ">").unwrap();
    between(&input, "value=\"", "\"").map_or(String::new(), |value| unescaped(&value))
}

#[test]
fn the_chats_own_phone_on_file_needs_no_code_and_another_one_lets_nobody_in() {
    let with_phone = |number: &'static str| {
        let town = Town::start();
        let mut user = NewUser::parse(DORA_USER, "Dora Núñez", "Panadería", number).unwrap();
        user.password = Some(Secret::new(DORA_PASSWORD));
        town.app().add_user(&user).unwrap();
        town
    };
    for agent in [IPHONE, LAPTOP] {
        let town = with_phone(PEOPLE[ANA].wa_id);
        let link = town.link(ANA);
        let answer = town.sign_in(&link, DORA_USER, DORA_PASSWORD, &[("User-Agent", agent)]);
        let bare = format!("https://api.whatsapp.com/send/?phone={}", BUSINESS.number);
        if agent == IPHONE {
            let to = answer.header("Location");
            assert_eq!((answer.status, to), (303, Some(bare.as_str())));
        } else {
            assert_eq!(answer.status, 200);
            assert!(words(&answer.body).contains("Listo, ya entraste"));
            assert!(answer.body.contains(&format!("href=\"{bare}\"")));
        }
        assert!(town.is_bound());
    }

    let town = with_phone(PEOPLE[BRUNO].wa_id);
    let link = town.link(ANA);
    let answer = town.sign_in(&link, DORA_USER, DORA_PASSWORD, &[("User-Agent", IPHONE)]);
    assert_eq!((answer.status, answer.header("Location")), (403, None));
    assert!(
        !answer.body.contains(PEOPLE[BRUNO].wa_id),
        "which one is not told"
    );
    assert!(!town.is_bound());
    assert!(
        town.world
            .inbox
            .wait_for_mail(DORA_USER, 1, PATIENCE)
            .is_some()
    );
    assert_eq!(town.get(&link, &[]).status, 404);
}

#[test]
fn when_the_number_is_asked_for_no_password_is_looked_at_before_it_is_right() {
    let town = Town::with(|file| set(file, "sign_in", "ask_number", true));
    let link = town.link(ANA);
    let page = town.get(&link, &[]);
    assert!(page.body.contains("autocomplete=\"tel\""));
    assert!(
        !page.body.contains(PEOPLE[ANA].wa_id),
        "a shown number teaches what to type"
    );
    let send = |number: &str| {
        let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
        let mut fields = vec![
            ("mappingHash", hash.as_str()),
            ("formToken", &token),
            ("user", ANA_USER),
            ("password", ANA_PASSWORD),
            ("action", "sign_in"),
        ];
        if !number.is_empty() {
            fields.push(("number", number));
        }
        town.post("/sign-in/", &fields, &[("User-Agent", IPHONE)])
    };
    assert_eq!(send("").status, 422);
    for wrong in ["+57 300 999 9999", "5511987654321"] {
        let answer = send(wrong);
        assert_eq!(answer.status, 422);
        assert_eq!(field(&answer, "number"), wrong);
    }
    assert_eq!((town.checks("kutamma"), town.checks("woku")), (0, 0));
    assert_eq!(send("300 123 4567").status, 303);

    // Three wrong ones and the link is dead.
    let link = town.link(ANA);
    let page = town.get(&link, &[]);
    let statuses = [1, 2, 3, 4].map(|last| {
        let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
        let fields = [
            ("mappingHash", hash.as_str()),
            ("formToken", &token),
            ("number", &format!("30012300{last:02}")),
            ("user", ANA_USER),
            ("password", ANA_PASSWORD),
        ];
        town.post("/sign-in/", &fields, &[]).status
    });
    assert_eq!(statuses, [422, 422, 404, 404]);
    assert_eq!(town.checks("kutamma"), 1);

    // The page about it speaks the language of the chat, like the ones before.
    let link = town.link(BRUNO);
    let page = town.get(&link, &[]);
    let last = [1, 2, 3].map(|_| town.fill_in(&page, ANA_USER, ANA_PASSWORD, &[]));
    assert_eq!(
        last.each_ref().map(|answer| answer.status),
        [422; 3],
        "no number is no try"
    );
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let fields = [
        ("mappingHash", hash.as_str()),
        ("formToken", &token),
        ("number", "3001230099"),
        ("user", ANA_USER),
        ("password", ANA_PASSWORD),
    ];
    let tries = [1, 2, 3].map(|_| town.post("/sign-in/", &fields, &[]));
    assert!(
        words(&tries[2].body).contains("Tentativas demais"),
        "{}",
        words(&tries[2].body)
    );
}

#[test]
fn a_code_by_mail_takes_the_place_of_the_way_back() {
    let town = Town::with(|file| set(file, "sign_in", "return_code", "mail"));
    let link = town.link(ANA);
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    assert_eq!(answer.status, 200);
    let told = words(&answer.body);
    assert!(
        told.contains("a•••@e•••") && !answer.body.contains(ANA_USER),
        "{told}"
    );
    let mail = town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    // The chat is told of it, too, before or after the mail arrives.
    let told = town.world.phone(ANA).wait_for(
        |messages| {
            let mut bodies = messages.iter().map(|message| &message.body);
            bodies.find(|body| body.contains("escribe aquí")).cloned()
        },
        PATIENCE,
    );
    assert!(told.is_some_and(|told| told.contains("a•••@e•••")));
    town.returns(ANA, &mail.code().unwrap(), "Ana Pérez");
}

#[test]
fn without_a_way_back_the_password_is_enough_as_the_file_says() {
    let town = Town::with(|file| set(file, "sign_in", "return_code", "off"));
    let link = town.link(ANA);
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    let bare = format!("https://api.whatsapp.com/send/?phone={}", BUSINESS.number);
    assert_eq!(answer.header("Location"), Some(bare.as_str()));
    assert!(town.is_bound());
}

#[test]
fn it_was_not_me_ends_the_link_and_tells_the_chat() {
    let town = Town::start();
    let link = town.link(ANA);
    let page = town.get(&link, &[]);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let fields = [
        ("mappingHash", hash.as_str()),
        ("formToken", &token),
        ("action", "not_me"),
    ];
    let seen = town.world.phone(ANA).messages().len();
    let answer = town.post("/sign-in/", &fields, &[]);
    assert_eq!(answer.status, 200);
    assert!(words(&answer.body).contains("Gracias por avisar"));
    assert!(
        !answer.body.contains("api.whatsapp.com"),
        "it is not their chat"
    );
    assert_eq!(town.get(&link, &[]).status, 404);
    assert_eq!(town.post("/sign-in/", &fields, &[]).status, 404);
    let told = town.world.phone(ANA).wait_for(
        |messages| messages.get(seen).map(|message| message.body.clone()),
        PATIENCE,
    );
    assert!(told.unwrap().contains("no lo había pedido"));
}

#[test]
fn the_page_speaks_the_language_of_the_browser_else_that_of_the_chat() {
    let town = Town::start();
    let link = town.link(BRUNO);
    for (wished, language, heading) in [
        (None, "pt-BR", "Entre em Inpla"),
        (Some("fr-CH, fr;q=0.9"), "pt-BR", "Entre em Inpla"),
        (Some("en-GB,en;q=0.8,es;q=0.5"), "en", "Sign in to Inpla"),
        (Some("es-CO"), "es", "Entra en Inpla"),
    ] {
        let header = wished.map(|wished| ("Accept-Language", wished));
        let page = town.get(&link, header.as_slice());
        assert!(
            page.body.contains(&format!("<html lang=\"{language}\">")),
            "{wished:?}"
        );
        assert!(words(&page.body).contains(heading), "{wished:?}");
    }
}

// --- who may do what ------------------------------------------------------------------------------

/// S-39: links come from the file, whoever asks and however.
#[test]
fn no_host_that_a_request_names_gets_into_a_link() {
    let town = Town::start();
    let link = town.link(ANA);
    let raw = |head: String| {
        let stream = TcpStream::connect(town.address).unwrap();
        (&stream).write_all(head.as_bytes()).unwrap();
        crate::outside::read_answer(&stream, "GET")
            .unwrap()
            .unwrap()
    };
    for (name, head) in [
        (
            "another host",
            format!("GET {link} HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        ),
        (
            "two hosts",
            format!("GET {link} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nHost: evil.example\r\n\r\n"),
        ),
        (
            "two hosts, turned round",
            format!("GET {link} HTTP/1.1\r\nHost: evil.example\r\nHost: {PUBLIC_HOST}\r\n\r\n"),
        ),
        ("no host", format!("GET {link} HTTP/1.1\r\n\r\n")),
        (
            "another host in the line",
            format!("GET https://evil.example{link} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\n\r\n"),
        ),
        (
            "ours as a beginning",
            format!("GET {link} HTTP/1.1\r\nHost: {PUBLIC_HOST}.evil.example\r\n\r\n"),
        ),
        (
            "ours behind an @",
            format!("GET {link} HTTP/1.1\r\nHost: {PUBLIC_HOST}@evil.example\r\n\r\n"),
        ),
    ] {
        let answer = raw(head);
        assert!(
            (400..500).contains(&answer.status),
            "{name}: {}",
            answer.status
        );
        assert!(!answer.body.contains("evil"), "{name}");
    }
    let forwarded = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Port", "666"),
        ("Forwarded", "host=evil.example;proto=gopher"),
        ("X-Original-Host", "evil.example"),
        ("X-Host", "evil.example"),
        ("User-Agent", IPHONE),
    ];
    let page = town.get(&link, &forwarded);
    assert_eq!(page.body, town.get(&link, &[]).body);
    let answer = town.fill_in(&page, ANA_USER, ANA_PASSWORD, &forwarded);
    let text = text_of(answer.header("Location").unwrap());
    town.returns(ANA, &text, "Ana Pérez");
    let mail = town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    undo_link(&mail);
    let raw = String::from_utf8_lossy(&mail.raw).into_owned();
    assert!(!raw.contains("evil") && !raw.contains("gopher"));
}

/// S-40.
#[test]
fn nothing_that_is_sent_decides_where_people_are_sent() {
    let town = Town::start();
    let link = town.link(ANA);
    let more = "&phone=573009999999&next=//evil.example&redirect=https://evil.example\
        &redirect_uri=https://evil.example&text=evil&wanumber=573009999999&url=//evil.example";
    let page = town.get(&format!("{link}{more}"), &[]);
    assert_eq!(page.body, town.get(&link, &[]).body);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let fields = [
        ("mappingHash", hash.as_str()),
        ("formToken", &token),
        ("user", ANA_USER),
        ("password", ANA_PASSWORD),
        ("phone", "573009999999"),
        ("next", "//evil.example"),
        ("redirect", "https://evil.example"),
        ("wanumber", "573009999999&text=x#"),
        ("text", "evil"),
    ];
    let answer = town.post(
        &format!("/sign-in/?{}", &more[1..]),
        &fields,
        &[("User-Agent", IPHONE)],
    );
    assert_eq!(answer.status, 303);
    let to = answer.header("Location").unwrap();
    let parameters = parameters(to, "https://api.whatsapp.com/send/?");
    assert_eq!(parameters.keys().collect::<Vec<_>>(), ["phone", "text"]);
    assert_eq!(parameters["phone"], BUSINESS.number);
    assert!(
        !to.contains("evil") && !to.contains('#') && !to.contains(' '),
        "{to}"
    );
}

/// S-41: many names, each a few times, from one network.
#[test]
fn a_network_that_sprays_is_stopped_and_its_ipv6_neighbours_with_it() {
    let town = Town::start();
    let spray = |from: &dyn Fn(usize) -> String, users: usize| {
        let mut page = town.get(&town.link(ANA), &[]);
        let mut stopped = 0;
        for number in 0..users * 3 {
            let address = from(number);
            let headers = [("X-Forwarded-For", address.as_str())];
            let user = format!("user{}@example.com", number / 3);
            let answer = town.fill_in(&page, &user, WRONG_PASSWORD, &headers);
            match answer.status {
                422 => {}
                // Burned by the fifth; there are more where it came from.
                404 => page = town.get(&town.link(ANA), &[]),
                429 => {
                    let wait: u64 = answer.header("Retry-After").unwrap().parse().unwrap();
                    assert!((1..=600).contains(&wait), "{wait}");
                    stopped += 1;
                }
                other => panic!("{other}: {}", answer.body),
            }
        }
        stopped
    };
    let one_house = |number: usize| format!("2001:db8:1:2:{:x}::{:x}", number % 7, number + 1);
    let stopped = spray(&one_house, 100);
    assert_eq!((town.checks("kutamma"), stopped), (30, 270));
    assert_eq!(town.checks("woku"), 30);
    // Their neighbours have done nothing.
    let link = town.link(BRUNO);
    let next_door = [
        ("X-Forwarded-For", "2001:db8:1:3::1"),
        ("User-Agent", IPHONE),
    ];
    assert_eq!(
        town.sign_in(&link, ANA_USER, ANA_PASSWORD, &next_door)
            .status,
        303
    );
    let own = [
        ("X-Forwarded-For", "2001:db8:1:2:ffff::1"),
        ("User-Agent", IPHONE),
    ];
    let link = town.link(BRUNO);
    assert_eq!(
        town.sign_in(&link, ANA_USER, ANA_PASSWORD, &own).status,
        429
    );
}

/// S-41: one name, a hundred times, from everywhere, over several links and two chats.
#[test]
fn one_user_name_is_guessed_at_ten_times_an_hour_however_it_is_written() {
    let town = Town::start();
    let mut page = town.get(&town.link(ANA), &[]);
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for number in 0..100 {
        let address = format!("198.51.{}.{}", number / 7, number + 1);
        let user = match number % 4 {
            0 => "camila@example.org",
            1 => "CAMILA@example.org",
            2 => "  camila@Example.org ",
            _ => "Camila@EXAMPLE.ORG",
        };
        let headers = [("X-Forwarded-For", address.as_str())];
        let answer = town.fill_in(&page, user, WRONG_PASSWORD, &headers);
        *statuses.entry(answer.status).or_default() += 1;
        if answer.status == 404 {
            let phone = if number % 2 == 0 { BRUNO } else { ANA };
            page = town.get(&town.link(phone), &[]);
        }
    }
    assert_eq!(town.checks("woku"), 10, "{statuses:?}");
    assert_eq!(statuses, BTreeMap::from([(404, 2), (422, 8), (429, 90)]));
    // The link is not what was stopped.
    let headers = [("X-Forwarded-For", "203.0.113.9"), ("User-Agent", IPHONE)];
    assert_eq!(
        town.fill_in(&page, ANA_USER, ANA_PASSWORD, &headers).status,
        303
    );
}

#[test]
fn guesses_sent_at_the_same_moment_count_one_by_one() {
    let town = Town::start();
    let slow = Some(Trouble::Slow(std::time::Duration::from_millis(300)));
    town.world.services.misbehave("kutamma", slow);
    let page = town.get(&town.link(ANA), &[]);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let (town, page) = (&town, &page);
            scope.spawn(move || {
                let user = format!("user{number}@example.com");
                town.fill_in(page, &user, WRONG_PASSWORD, &[]).status
            });
        }
    });
    assert!(town.checks("kutamma") <= 5, "{}", town.checks("kutamma"));
}

/// S-42.
#[test]
fn a_form_counts_only_as_our_own_page_sends_it() {
    let town = Town::start();
    let link = town.link(ANA);
    let other = town.link(BRUNO);
    let page = town.get(&link, &[]);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let strange = hidden(&town.get(&other, &[]), "formToken");
    let mut twisted = token.clone().into_bytes();
    twisted[0] = if twisted[0] == b'0' { b'1' } else { b'0' };
    let twisted = String::from_utf8(twisted).unwrap();
    let fields = |token: &str| {
        encode(&[
            ("mappingHash", &hash),
            ("formToken", token),
            ("user", ANA_USER),
            ("password", ANA_PASSWORD),
            ("action", "sign_in"),
        ])
    };
    let good = fields(&token);
    town.quiet();
    let before = format!("{:?}", town.app().overview(1_000).unwrap());
    let form: (&str, &str) = ("Content-Type", FORM);
    let cases: Vec<Form<'_>> = vec![
        ("from another site", good.clone(), vec![form, ("Sec-Fetch-Site", "cross-site")], 403),
        ("from a sister site", good.clone(), vec![form, ("Sec-Fetch-Site", "same-site")], 403),
        ("another origin", good.clone(), vec![form, ("Origin", "https://evil.example")], 403),
        ("our origin without s", good.clone(), vec![form, ("Origin", "http://portero.example.com")], 403),
        ("our origin as a beginning", good.clone(), vec![form, ("Origin", "https://portero.example.com.evil.example")], 403),
        ("hidden, and from another site", good.clone(), vec![form, ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")], 403),
        ("no token", fields(""), vec![form], 403),
        ("the token of another link", fields(&strange), vec![form], 403),
        ("a token changed a little", fields(&twisted), vec![form], 403),
        ("half a token", fields(&token[..16]), vec![form], 403),
        ("no content type", good.clone(), vec![], 400),
        ("text", good.clone(), vec![("Content-Type", "text/plain")], 400),
        ("JSON", json!({"mappingHash": hash, "formToken": token, "user": ANA_USER, "password": ANA_PASSWORD}).to_string(), vec![("Content-Type", "application/json")], 400),
        ("multipart", good.clone(), vec![("Content-Type", "multipart/form-data; boundary=x")], 400),
        ("the password twice", format!("{good}&password=x"), vec![form], 400),
        ("the hash twice", format!("{good}&mappingHash={hash}"), vec![form], 400),
        ("the token twice", format!("formToken={token}&{good}"), vec![form], 400),
        ("many fields", (0..5_000).map(|n| format!("f{n}=&")).collect::<String>() + &good, vec![form], 400),
    ];
    for (name, body, headers, status) in &cases {
        let answer = ask(town.address, "POST", "/sign-in/", headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, *status, "{name}");
        assert!(!answer.body.contains(ANA_PASSWORD), "{name}");
        assert!(
            !answer.body.contains("mappingHash"),
            "{name}: no form to go on with"
        );
    }
    let got = town.get(&format!("/sign-in/?{good}"), &[]);
    assert_eq!(got.body, page.body, "the fields of a GET are its link");
    town.quiet();
    assert_eq!(format!("{:?}", town.app().overview(1_000).unwrap()), before);
    assert_eq!((town.checks("kutamma"), town.checks("woku")), (0, 0));

    // What browsers send that have an opinion, and what those send that have none.
    let ways: [Headers<'_>; 4] = [
        &[
            ("Origin", "null"),
            ("Sec-Fetch-Site", "same-origin"),
            ("User-Agent", IPHONE),
        ],
        &[
            ("Origin", "https://portero.example.com"),
            ("User-Agent", IPHONE),
        ],
        &[("Sec-Fetch-Site", "none"), ("User-Agent", IPHONE)],
        &[
            (
                "Content-Type",
                "Application/X-WWW-Form-URLencoded; charset=UTF-8",
            ),
            ("User-Agent", IPHONE),
        ],
    ];
    for headers in ways {
        let link = town.link(ANA);
        assert_eq!(
            town.sign_in(&link, ANA_USER, ANA_PASSWORD, headers).status,
            303,
            "{headers:?}"
        );
    }
}

/// S-42 for the page that undoes.
#[test]
fn nobody_elses_page_undoes_a_sign_in() {
    let town = Town::start();
    let link = town.link(ANA);
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    town.returns(
        ANA,
        &text_of(answer.header("Location").unwrap()),
        "Ana Pérez",
    );
    let mail = town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    let page = town.get(&undo_link(&mail), &[]);
    let (token, form_token) = (hidden(&page, "token"), hidden(&page, "formToken"));
    let good = [("token", token.as_str()), ("formToken", &form_token)];
    let cases: [HostileForm<'_>; 6] = [
        (&good, &[("Sec-Fetch-Site", "cross-site")], 403),
        (&good, &[("Origin", "https://evil.example")], 403),
        (&good[..1], &[], 403),
        (&[good[0], ("formToken", &token)], &[], 403),
        (&good, &[("Content-Type", "text/plain")], 400),
        (&[good[0], good[0], good[1]], &[], 400),
    ];
    for (fields, headers, status) in cases {
        assert_eq!(
            town.post("/undo/", fields, headers).status,
            status,
            "{headers:?}"
        );
    }
    assert!(town.is_bound());
    assert_eq!(town.post("/undo", &good, &[]).status, 200);
    assert!(!town.is_bound());
}

// --- what is shown --------------------------------------------------------------------------------

const HOSTILE: &str = "</style><script>alert()</script>\"'><img src onerror=1>&lt;";

/// S-43.
#[test]
fn no_name_becomes_an_element() {
    let plain = Town::start();
    let hostile = Town::with(|file| {
        set(file, "business", "name", HOSTILE);
        set(file, "directory", "title", "<b>title</b>");
    });
    let mut seen: Vec<Vec<(String, Vec<String>)>> = Vec::new();
    for (town, name, company, typed) in [
        (&plain, "Dora", "Panadería", "somebody"),
        (
            &hostile,
            "<img src=x onerror=alert(1)>",
            "\"><script>x</script>",
            HOSTILE,
        ),
    ] {
        town.add_user(DORA_USER, name, company, DORA_PASSWORD);
        let mut pages = Vec::new();
        let mut look = |what: &str, page: &Answer| {
            assert_eq!(page.body.matches("<img").count(), 0, "{what}");
            pages.push((what.to_owned(), elements(&page.body)));
        };
        let link = town.link(ANA);
        let page = town.get(&link, &[]);
        look("form", &page);
        let again = town.fill_in(&page, typed, WRONG_PASSWORD, &[]);
        assert_eq!(again.status, 422);
        assert_eq!(field(&again, "user"), typed, "as it was typed");
        look("error", &again);
        look("no link", &town.get("/sign-in/", &[]));
        look("gone", &town.get("/sign-in/?mappingHash=%3Cscript%3E", &[]));
        look(
            "not undone",
            &town.get("/undo/?token=%22%3E%3Cscript%3E", &[]),
        );
        let done = town.fill_in(&page, DORA_USER, DORA_PASSWORD, &[]);
        assert_eq!(done.status, 200, "{}", words(&done.body));
        look("back", &done);
        let url = between(&done.body, "<a class=\"button first\" href=\"", "\"").unwrap();
        let url = unescaped(&url);
        assert!(!url.contains(['<', '>', '"', '\'']), "{url}");
        town.returns(ANA, &text_of(&url), "");
        let mail = town
            .world
            .inbox
            .wait_for_mail(DORA_USER, 1, PATIENCE)
            .unwrap();
        let undo = town.get(&undo_link(&mail), &[]);
        assert!(words(&undo.body).contains(name), "{}", words(&undo.body));
        look("undo", &undo);
        // Modules of the picture are a matter of the text's length, and no element.
        seen.push(pages);
    }
    assert_eq!(seen[0], seen[1]);
}

/// S-38: what a page loads, and where it leads.
#[test]
fn a_page_asks_for_nothing_but_the_logo_and_leads_nowhere_but_to_the_chat() {
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logo.png");
    fs::write(&path, STANDARD.decode(PNG).unwrap()).unwrap();
    let town = Town::with(|file| {
        set(
            file,
            "business",
            "logo",
            path.to_string_lossy().into_owned(),
        );
    });
    let link = town.link(ANA);
    let page = town.get(&link, &[]);
    let wrong = town.fill_in(&page, ANA_USER, WRONG_PASSWORD, &[]);
    let back = town.fill_in(&page, ANA_USER, ANA_PASSWORD, &[]);
    let gone = town.get(&link, &[]);
    for page in [&page, &wrong, &back, &gone, &town.get("/sign-in/", &[])] {
        for attribute in [
            "src=", "href=", "action=", "srcset=", "data=", "poster=", "url(",
        ] {
            for (at, _) in page.body.match_indices(attribute) {
                let rest = &page.body[at + attribute.len()..];
                let value = rest.trim_start_matches('"').split('"').next().unwrap();
                let own = value == "/sign-in/logo" || value == "?";
                let chat = value.starts_with("https://api.whatsapp.com/send/?phone=15550783881");
                assert!(own || chat, "{attribute}{value}");
            }
        }
        assert_eq!(page.header("Referrer-Policy"), Some("no-referrer"));
        assert!(
            page.body
                .contains("<meta name=\"referrer\" content=\"no-referrer\">")
        );
        assert!(
            page.body
                .contains("<meta name=\"robots\" content=\"noindex, nofollow\">")
        );
        // Nothing that a preview would show.
        assert!(!page.body.contains("og:") && !page.body.contains("twitter:"));
    }
    let logo = ask(town.address, "HEAD", "/sign-in/logo", &[], b"").unwrap();
    assert_eq!(
        (logo.status, logo.header("Content-Type")),
        (200, Some("image/png"))
    );
}

/// S-47: every route and status with what it tells the browser.
#[test]
fn every_answer_of_the_pages_carries_its_headers() {
    let town = Town::start();
    let link = town.link(ANA);
    let page = town.get(&link, &[]);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let sent = |user: &str, password: &str, agent: &str| {
        let fields = [
            ("mappingHash", hash.as_str()),
            ("formToken", &token),
            ("user", user),
            ("password", password),
        ];
        town.post("/sign-in/", &fields, &[("User-Agent", agent)])
    };
    let raw = |method: &str, path: &str| ask(town.address, method, path, &[], b"").unwrap();
    let unknown = format!("/sign-in/?mappingHash={}", "0".repeat(40));
    let elsewhere = [("X-Forwarded-For", "198.51.100.77")];
    for _ in 0..30 {
        town.get(&unknown, &elsewhere);
    }
    let mut answers = vec![
        ("GET the form", page.clone(), 200, "form"),
        ("HEAD the form", raw("HEAD", &link), 200, "form"),
        (
            "GET without the slash",
            raw("GET", &link.replacen("/?", "?", 1)),
            200,
            "form",
        ),
        ("GET no link", raw("GET", "/sign-in/"), 200, "words"),
        ("GET a dead link", raw("GET", &unknown), 404, "words"),
        ("GET too many", town.get(&unknown, &elsewhere), 429, "words"),
        ("OPTIONS", raw("OPTIONS", "/sign-in/"), 405, "none"),
        ("PUT", raw("PUT", "/sign-in/"), 405, "none"),
        ("DELETE the undoing", raw("DELETE", "/undo/"), 405, "none"),
        ("POST nothing", raw("POST", "/sign-in/"), 400, "words"),
        (
            "POST from elsewhere",
            town.post("/sign-in/", &[("mappingHash", &hash)], &[]),
            403,
            "words",
        ),
        ("POST no user", sent("", "x", IPHONE), 422, "form"),
        (
            "POST wrong",
            sent(ANA_USER, WRONG_PASSWORD, IPHONE),
            422,
            "form",
        ),
        ("GET no logo", raw("GET", "/sign-in/logo"), 404, "none"),
        (
            "GET nothing to undo",
            raw("GET", "/undo/?token=x"),
            404,
            "words",
        ),
        ("POST nothing to undo", raw("POST", "/undo/"), 400, "words"),
        ("nothing there", raw("GET", "/sign-in/x"), 404, "none"),
    ];
    town.world
        .services
        .misbehave("kutamma", Some(Trouble::Garbage));
    answers.push((
        "POST unavailable",
        sent(ANA_USER, ANA_PASSWORD, IPHONE),
        503,
        "form",
    ));
    town.world.behave();
    let done = eventually("the service is asked again", || {
        let answer = sent(ANA_USER, ANA_PASSWORD, IPHONE);
        (answer.status != 503).then_some(answer)
    });
    answers.push(("POST right", done.clone(), 303, "none"));
    town.returns(ANA, &text_of(done.header("Location").unwrap()), "Ana Pérez");
    let mail = town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    let undo = town.get(&undo_link(&mail), &[]);
    let fields = [
        ("token", hidden(&undo, "token")),
        ("formToken", hidden(&undo, "formToken")),
    ];
    let fields = fields
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    answers.push(("GET the undoing", undo.clone(), 200, "form"));
    answers.push((
        "POST the undoing",
        town.post("/undo/", &fields, &[]),
        200,
        "words",
    ));
    let link = town.link(ANA);
    let back = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", LAPTOP)]);
    // Ana's phone was just taken from the account, so that nobody gets in for a day.
    answers.push(("POST barred", back, 403, "words"));
    let link = town.link(BRUNO);
    let back = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", LAPTOP)]);
    answers.push(("POST right, on a laptop", back, 200, "words"));

    for (name, answer, status, kind) in &answers {
        assert_eq!(answer.status, *status, "{name}");
        let once = |header: &str| {
            let found = answer
                .headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(header));
            let found: Vec<&str> = found.map(|(_, value)| value.as_str()).collect();
            assert_eq!(found.len(), 1, "{name}: {header} {found:?}");
            found[0].to_owned()
        };
        let hash = |element: &str| {
            let body = if answer.body.is_empty() {
                &page.body
            } else {
                &answer.body
            };
            let source = between(body, &format!("<{element}>"), &format!("</{element}>")).unwrap();
            format!("'sha256-{}'", STANDARD.encode(Sha256::digest(source)))
        };
        let policy = match *kind {
            "none" => "default-src 'none'; frame-ancestors 'none'".to_owned(),
            "words" => format!(
                "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src 'self'; style-src {}; form-action 'none'",
                hash("style")
            ),
            _ => format!(
                "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src 'self'; style-src {}; script-src {}; form-action 'self' https://api.whatsapp.com https://wa.me",
                hash("style"),
                hash("script")
            ),
        };
        assert_eq!(once("Content-Security-Policy"), policy, "{name}");
        for (header, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            (
                "Permissions-Policy",
                "camera=(), geolocation=(), microphone=()",
            ),
        ] {
            assert_eq!(once(header), value, "{name}");
        }
        let age = once("Strict-Transport-Security");
        let age: u64 = age.strip_prefix("max-age=").unwrap().parse().unwrap();
        assert!(age >= 365 * 24 * 3_600, "{name}");
        if *kind != "none" {
            let media_type = once("Content-Type").to_ascii_lowercase().replace(' ', "");
            assert!(
                media_type.starts_with("text/html;charset=utf-8"),
                "{name}: {media_type}"
            );
        }
        let cookies = answer
            .headers
            .iter()
            .any(|(key, _)| key.eq_ignore_ascii_case("set-cookie"));
        assert!(!cookies, "{name}");
    }
}

// --- how requests come in -------------------------------------------------------------------------

#[test]
fn odd_requests_are_answered_and_change_nothing() {
    let town = Town::start();
    let link = town.link(ANA);
    let head = ask(town.address, "HEAD", &link, &[], b"").unwrap();
    let page = town.get(&link, &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let length = page.body.len().to_string();
    assert_eq!(head.header("Content-Length"), Some(length.as_str()));
    for query in [
        "mappingHash=%",
        "mappingHash=%4",
        "mappingHash=%zz",
        "mappingHash=%FF%FE",
        "mappingHash=%00",
        "mappingHash=",
        "mappingHash",
        "%6DappingHash=%F0%28%8C%28",
        "mappingHash=..%2f..%2fetc",
        "mappingHash=%E2%80%AE",
        "&&&=&=",
        "mappingHash=a&mappingHash=b",
    ] {
        let answer = town.get(&format!("/sign-in/?{query}"), &[]);
        assert!(
            [200, 404, 400].contains(&answer.status),
            "{query}: {}",
            answer.status
        );
        assert!(!answer.body.contains("<form"), "{query}");
    }
    for body in [
        "mappingHash=%",
        "user=%FF&password=%FF",
        "=",
        "&",
        "%",
        "mappingHash=%00&formToken=%00",
    ] {
        let form = [("Content-Type", FORM)];
        let answer = ask(town.address, "POST", "/sign-in/", &form, body.as_bytes()).unwrap();
        assert!(
            [400, 403, 404].contains(&answer.status),
            "{body}: {}",
            answer.status
        );
    }
    // As large as a body may be, and one byte more.
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let start = format!("mappingHash={hash}&formToken={token}&user=x&password=");
    for (bytes, status) in [(64 * 1024, 422), (64 * 1024 + 1, 413)] {
        let body = format!("{start}{}", "a".repeat(bytes - start.len()));
        let form = [("Content-Type", FORM)];
        let answer = ask(town.address, "POST", "/sign-in/", &form, body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{bytes}");
    }
    // Nobody has a password of that length, and nobody is asked about it; it counts as any other.
    assert_eq!(town.checks("kutamma"), 0);
    town.quiet();
    let overview = town.app().overview(1_000).unwrap();
    let tried: Vec<&str> = overview
        .audit
        .iter()
        .map(|line| line.event.as_str())
        .collect();
    assert_eq!(tried, ["password.wrong", "link.sent"]);
}

#[test]
fn a_form_that_arrives_byte_by_byte_is_a_form() {
    let town = Town::start();
    let page = town.get(&town.link(ANA), &[]);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let body = encode(&[
        ("mappingHash", &hash),
        ("formToken", &token),
        ("user", ANA_USER),
        ("password", ANA_PASSWORD),
    ]);
    let stream = TcpStream::connect(town.address).unwrap();
    stream.set_nodelay(true).unwrap();
    let head = format!(
        "POST /sign-in/ HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nUser-Agent: {IPHONE}\r\nContent-Type: {FORM}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    for byte in head.bytes().chain(body.bytes()) {
        (&stream).write_all(&[byte]).unwrap();
    }
    let answer = crate::outside::read_answer(&stream, "POST")
        .unwrap()
        .unwrap();
    assert_eq!(answer.status, 303);
}

// --- in front of somebody else's back end ---------------------------------------------------------

const FOREIGN_HASH: &str = "AZaz09-_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// A back end of the published document: what it is to answer, and what it was asked.
struct Foreign {
    server: Server,
    asked: Arc<Mutex<Vec<crate::outside::Request>>>,
    answers: Arc<Mutex<(serde_json::Value, u16)>>,
}

impl Foreign {
    fn start() -> Foreign {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mapping = json!({"accessToken": "canary-access-token", "userUuid": "u-1",
            "userType": "WHATSAPP_END_USER", "wanumber": "573007654321"});
        let answers = Arc::new(Mutex::new((mapping, 200)));
        let (noting, answering) = (Arc::clone(&asked), Arc::clone(&answers));
        let server = Server::start(move |request| {
            noting.lock().unwrap().push(request.clone());
            let (mapping, status) = answering.lock().unwrap().clone();
            if request.method == "GET" {
                Reply::Json(status, mapping)
            } else {
                Reply::Json(200, json!({}))
            }
        });
        Foreign {
            server,
            asked,
            answers,
        }
    }

    fn town(&self) -> Town {
        let town = Town::with(|file| {
            set(file, "sign_in", "methods", vec!["mail"]);
            set(file, "sign_in", "backend", self.server.url());
            set(
                file,
                "sign_in",
                "backend_credential",
                "canary-backend-credential",
            );
        });
        town.add_user(DORA_USER, "Dora Núñez", "Panadería", DORA_PASSWORD);
        town
    }

    fn asked(&self) -> Vec<(String, String)> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|request| (request.method.clone(), request.path.clone()))
            .collect()
    }
}

#[test]
fn the_page_serves_somebody_elses_back_end_as_the_document_says() {
    let foreign = Foreign::start();
    let town = foreign.town();
    let link = format!("/sign-in/?mappingHash={FOREIGN_HASH}");
    for agent in ["WhatsApp/2.23.20.0", LAPTOP, IPHONE] {
        let page = town.get(&link, &[("User-Agent", agent)]);
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("not_me"), "nobody could be told");
    }
    let wrong = town.sign_in(&link, DORA_USER, WRONG_PASSWORD, &[("User-Agent", IPHONE)]);
    assert_eq!(wrong.status, 422);
    let path = format!("/hash-mappings/{FOREIGN_HASH}/");
    assert_eq!(
        foreign.asked(),
        [("GET".to_owned(), path.clone())],
        "before the right password nobody is said to have signed in"
    );
    foreign.asked.lock().unwrap().clear();

    let right = town.sign_in(&link, DORA_USER, DORA_PASSWORD, &[("User-Agent", IPHONE)]);
    assert_eq!(right.status, 303, "{}", words(&right.body));
    let to = "https://api.whatsapp.com/send/?phone=573007654321";
    assert_eq!(right.header("Location"), Some(to));
    let calls = [
        ("GET".to_owned(), path),
        ("POST".into(), "/chat/history/".into()),
    ];
    assert_eq!(foreign.asked(), calls);
    let asked = foreign.asked.lock().unwrap().clone();
    assert_eq!(
        asked[0].header("authorization"),
        Some("Bearer canary-backend-credential")
    );
    assert_eq!(
        asked[1].header("authorization"),
        Some("Bearer canary-access-token")
    );
    let body: serde_json::Value = serde_json::from_slice(&asked[1].body).unwrap();
    let document = json!({"userUuid": "u-1", "messageFrom": "WHATSAPP_END_USER", "messagePayload":
        {"type": "SIGN_IN", "signInPayload": {"auth": true}}});
    assert_eq!(body, document);
    for request in &asked {
        let sent = format!("{request:?}{}", String::from_utf8_lossy(&request.body));
        assert!(
            !sent.contains(DORA_PASSWORD) && !sent.contains("dora"),
            "{sent}"
        );
    }
    for answer in [&wrong, &right] {
        let sent = format!("{answer:?}");
        assert!(
            !sent.contains("canary-access") && !sent.contains("canary-backend"),
            "{sent}"
        );
    }
}

#[test]
fn what_a_foreign_back_end_answers_is_checked_before_anybody_follows_it() {
    let foreign = Foreign::start();
    let town = foreign.town();
    let link = format!("/sign-in/?mappingHash={FOREIGN_HASH}");
    let good = foreign.answers.lock().unwrap().0.clone();
    let unknown =
        json!({"error": {"key": "HASH_MAPPING_NOT_FOUND", "message": "x", "details": {}}});
    let mut cases = vec![
        (unknown, 404, 404),
        (json!({}), 200, 503),
        (json!([good]), 200, 503),
    ];
    for number in [
        "573007654321&text=x",
        "57300#",
        "//evil.example",
        "",
        "+573007654321",
        "573 007",
    ] {
        let mut hostile = good.clone();
        hostile["wanumber"] = json!(number);
        cases.push((hostile, 200, 503));
    }
    for (field, value) in [
        ("accessToken", "a\r\nb"),
        ("userType", "ADMIN"),
        ("userUuid", ""),
    ] {
        let mut hostile = good.clone();
        hostile[field] = json!(value);
        cases.push((hostile, 200, 503));
    }
    cases.extend([
        (good.clone(), 500, 503),
        (good.clone(), 302, 503),
        (good, 401, 503),
    ]);
    for (answer, status, shown) in cases {
        *foreign.answers.lock().unwrap() = (answer.clone(), status);
        let page = town.sign_in(&link, DORA_USER, DORA_PASSWORD, &[("User-Agent", IPHONE)]);
        assert_eq!(
            (page.status, page.header("Location")),
            (shown, None),
            "{status} {answer}"
        );
        assert!(!page.body.contains("evil"), "{answer}");
    }
    let posts = foreign
        .asked()
        .iter()
        .filter(|(method, _)| method == "POST")
        .count();
    assert_eq!(posts, 0, "nobody was signed in");
}

/// Both halves of the document are Portero's: one has the page, the other one the chat.
#[test]
fn a_portero_page_in_front_of_a_portero_back_end_signs_people_in() {
    const CREDENTIAL: &str = "0123456789abcdef0123456789abcdef";
    let page = format!(
        "name = \"tienda\"\nurl = \"https://{PUBLIC_HOST}/sign-in/\"\ncredential = \"{CREDENTIAL}\"\n"
    );
    let behind = Town::with(|file| {
        let page: toml::Table = page.parse().unwrap();
        file.insert("pages".into(), toml::Value::Array(vec![page.into()]));
        set(file, "sign_in", "page", "tienda");
    });
    let front = |credential: &str| {
        let town = Town::with(|file| {
            set(file, "sign_in", "methods", vec!["mail"]);
            set(
                file,
                "sign_in",
                "backend",
                format!("http://{}", behind.address),
            );
            set(file, "sign_in", "backend_credential", credential);
        });
        town.add_user(DORA_USER, "Dora Núñez", "Panadería", DORA_PASSWORD);
        town
    };
    let phone = [("User-Agent", IPHONE)];
    let link = behind.link(ANA);
    // Whoever has a link but no credential is told what everybody is told who has no link.
    let stranger = front("fedcba9876543210fedcba9876543210");
    let answer = stranger.sign_in(&link, DORA_USER, DORA_PASSWORD, &phone);
    assert_eq!((answer.status, answer.header("Location")), (404, None));

    let front = front(CREDENTIAL);
    let answer = front.sign_in(&link, DORA_USER, DORA_PASSWORD, &phone);
    assert_eq!(answer.status, 303, "{}", words(&answer.body));
    let text = text_of(answer.header("Location").unwrap());
    assert!(!behind.is_bound(), "before the code came back");
    let again = front.sign_in(&link, DORA_USER, DORA_PASSWORD, &phone);
    assert_eq!(again.status, 404, "the link was used");
    behind.returns(ANA, &text, "tienda");
    assert!(behind.is_bound());
    assert!(!front.is_bound());
}

/// S-41 and S-36 where the links are not ours.
#[test]
fn in_front_of_a_foreign_back_end_passwords_and_hashes_are_counted_as_well() {
    let foreign = Foreign::start();
    let town = foreign.town();
    for odd in [
        "short",
        "a%2fb%2fc%2fd%2fe",
        "../../etc/passwd",
        "aaaaaaa%0d%0aHost:x",
    ] {
        let answer = town.get(&format!("/sign-in/?mappingHash={odd}"), &[]);
        assert_eq!(answer.status, 404, "{odd}");
    }
    let link = format!("/sign-in/?mappingHash={FOREIGN_HASH}");
    let page = town.get(&link, &[]);
    let statuses: Vec<u16> = (0..15)
        .map(|number| {
            let from = format!("198.51.100.{number}");
            let headers = [("X-Forwarded-For", from.as_str())];
            town.fill_in(&page, "camila@example.org", WRONG_PASSWORD, &headers)
                .status
        })
        .collect();
    assert_eq!(statuses, [[422; 10].as_slice(), &[429; 5]].concat());
    assert_eq!(town.checks("woku"), 10);
    assert!(
        foreign.asked().iter().all(|(method, _)| method == "GET"),
        "nobody is said to have signed in"
    );
    // A made-up link is no way to try passwords, nor to use up somebody's tries.
    let unknown =
        json!({"error": {"key": "HASH_MAPPING_NOT_FOUND", "message": "x", "details": {}}});
    foreign.answers.lock().unwrap().0 = unknown;
    foreign.answers.lock().unwrap().1 = 404;
    let answer = town.fill_in(&page, DORA_USER, DORA_PASSWORD, &[]);
    assert_eq!(answer.status, 404);
    assert_eq!(town.checks("woku"), 10);
}

// --- what is kept and what is told ----------------------------------------------------------------

/// S-37 and S-44: with the real program and everything logged, no secret is anywhere but in the
/// answer that has to carry it.
#[test]
fn no_password_hash_code_or_token_is_in_the_log_the_store_or_a_wrong_answer() {
    let (world, folder) = (World::start().unwrap(), tempfile::tempdir().unwrap());
    let mut file = configuration(&world, folder.path());
    set(&mut file, "log", "level", "trace");
    for service in file["services"].as_array_mut().unwrap() {
        let service = service.as_table_mut().unwrap();
        service.insert("timeout_seconds".into(), 1.into());
    }
    let path = folder.path().join("portero.toml");
    fs::write(&path, toml::to_string(&file).unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_portero"));
    command
        .args(["serve", "--config"])
        .arg(&path)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let portero = Portero::start(command);
    world.connect(&format!("http://{}", portero.address));
    let get = |path: &str| ask(portero.address, "GET", path, &[], b"").unwrap();
    let link = link_of(&world, ANA);
    let link = link
        .strip_prefix(&format!("https://{PUBLIC_HOST}"))
        .unwrap();
    let page = get(link);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    assert!(link.ends_with(&hash));
    let send = |user: &str, password: &str, agent: &str| {
        fill_in(
            portero.address,
            &page,
            user,
            password,
            &[("User-Agent", agent)],
        )
    };
    let mut answers = vec![send(ANA_USER, WRONG_PASSWORD, IPHONE)];
    assert_eq!(answers[0].status, 422);
    let slow = Trouble::Slow(std::time::Duration::from_secs(3));
    for (trouble, password) in [
        (Trouble::Down, "canary-down-password"),
        (slow, "canary-slow-password"),
        (Trouble::Garbage, "canary-garbage-password"),
    ] {
        world.services.misbehave("kutamma", Some(trouble));
        world.services.misbehave("woku", Some(trouble));
        let answer = send("canary-user", password, IPHONE);
        assert_eq!(answer.status, 503, "{trouble:?}");
        assert_eq!(field(&answer, "password"), "");
        answers.push(answer);
    }
    world.behave();
    // In the address, where a mistake would put it, and in a form that is none.
    answers.push(get(&format!(
        "/sign-in/?mappingHash=canary-hash&password={WRONG_PASSWORD}"
    )));
    answers.push(get("/undo/?token=canary-undo"));
    answers.push(post(
        portero.address,
        "/sign-in/",
        &[("password", WRONG_PASSWORD)],
        &[],
    ));
    let done = eventually("the service is asked again", || {
        let answer = send(ANA_USER, ANA_PASSWORD, IPHONE);
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(done.status, 303, "{}", words(&done.body));
    let text = text_of(done.header("Location").unwrap());
    let code = code_of(&text);
    answers.push(get(link));
    returns(&world, ANA, &text, "Ana Pérez");
    let mail = world.inbox.wait_for_mail(ANA_USER, 1, PATIENCE).unwrap();
    let undo = undo_link(&mail);
    let undo_token = undo.split_once("token=").unwrap().1.to_owned();
    let undo_page = get(&undo);
    let form_token = hidden(&undo_page, "formToken");
    let fields = [("token", undo_token.as_str()), ("formToken", &form_token)];
    answers.push(post(portero.address, "/undo/", &fields, &[]));
    answers.push(post(portero.address, "/undo/", &fields, &[]));
    let (exit, log) = portero.stop();
    assert_eq!(exit, Some(0), "{log}");

    let passwords = [
        WRONG_PASSWORD,
        "canary-down-password",
        "canary-slow-password",
        "canary-garbage-password",
        ANA_PASSWORD,
        "pan+de+masa+madre",
        "pan%20de%20masa%20madre",
    ];
    let tokens = [token.as_str(), &code, &undo_token, &form_token];
    let more = [
        hash.as_str(),
        "canary",
        ANA_USER,
        PEOPLE[ANA].wa_id,
        &undo_token[32..],
        &code[2..],
    ];
    let secrets = passwords.iter().chain(&tokens).chain(&more);
    for secret in secrets.clone() {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
    assert!(log.contains("sign-in page"), "the log is that of the page");
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.extension().is_none_or(|kind| kind != "toml") {
            let bytes = fs::read(&path).unwrap();
            for secret in secrets.clone() {
                let found = has(&bytes, secret.as_bytes());
                assert!(!found, "{secret} is in {}", path.display());
            }
        }
    }
    for answer in &answers {
        let told = format!("{:?}{}", answer.headers, answer.body);
        for secret in passwords.iter().copied().chain([code.as_str()]) {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
        // Its own form is the only place for a hash and its token.
        if ![422, 503].contains(&answer.status) {
            for secret in [&hash, &token, &undo_token] {
                assert!(!told.contains(secret.as_str()), "{secret}: {told}");
            }
        }
    }
    assert!(!done.body.contains(&code) && !done.body.contains(&hash));
    let calls = format!("{:?}", world.graph.calls());
    for secret in passwords
        .iter()
        .chain(&[token.as_str(), &code, &undo_token])
    {
        assert!(!calls.contains(secret), "{secret} was sent to Meta");
    }
    assert!(!mail.text.contains(&code) && !mail.text.contains(&hash));
}

// --- the same web on records in memory, and a clock set by hand -----------------------------------

const MASTER_KEY: &str = "4242424242424242424242424242424242424242424242424242424242424242";

/// Counts the updates on their way to an engine.
struct Counted {
    engine: Memory,
    updates: AtomicUsize,
}

impl Engine for Counted {
    fn view_with(
        &self,
        body: &mut dyn FnMut(&dyn Reader) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.engine.view_with(body)
    }

    fn update_with(&self, body: UpdateBody) -> Result<(), StoreError> {
        self.updates.fetch_add(1, Ordering::SeqCst);
        self.engine.update_with(body)
    }

    fn rewrite(&self) -> Result<(), StoreError> {
        self.engine.rewrite()
    }
}

type Dump = Vec<(Table, Vec<u8>, Vec<u8>)>;

impl Counted {
    /// Every record of every table.
    fn dump(&self) -> Dump {
        let engine: &dyn Engine = self;
        engine
            .view(|reader| {
                let mut dump = Vec::new();
                for table in Table::ALL {
                    reader.scan(table, KeyRange::all(), Order::Forward, &mut |key, value| {
                        dump.push((table, key.to_vec(), value.to_vec()));
                        ControlFlow::Continue(())
                    })?;
                }
                Ok(dump)
            })
            .unwrap()
    }
}

struct HandClock(AtomicU64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// The web over the operations, without the parts of the program that send.
struct Hall {
    app: Arc<App>,
    outbox: Outbox,
    engine: Arc<Counted>,
    clock: Arc<HandClock>,
    said: Arc<Mutex<Vec<ChatMessage>>>,
    address: SocketAddr,
    messages: AtomicUsize,
    /// Whether the check of a password breaks.
    breaks: Arc<AtomicBool>,
    _listener: Listener,
}

impl Hall {
    fn open() -> Hall {
        let key = || MasterKey::from_hex(MASTER_KEY).unwrap();
        let engine = Arc::new(Counted {
            engine: Memory::new(),
            updates: AtomicUsize::new(0),
        });
        let clock = Arc::new(HandClock(AtomicU64::new(1_800_000_000_000)));
        let policy = Policy {
            methods: Methods {
                mail: true,
                web: true,
            },
            links_per_hour: 60,
            ..Policy::default()
        };
        let number = WaId::parse(BUSINESS.number).unwrap();
        let voice = Voice {
            business: "Inpla".into(),
            services: vec![(ServiceName::parse("erp").unwrap(), "ERP".into())],
            code_digits: 8,
            code_minutes: 10,
            methods: policy.methods,
            link_minutes: 10,
        };
        let settings = Settings {
            policy,
            phone_number_id: PhoneNumberId::parse(BUSINESS.phone_number_id).unwrap(),
            language: Language::Spanish,
            texts: Texts::default(),
            voice,
            directory: None,
            places: portero::app::Places {
                sign_in: Some(format!("https://{PUBLIC_HOST}/sign-in/?mappingHash=")),
                undo: Some(format!("https://{PUBLIC_HOST}/undo/?token=")),
                chat: Some(format!(
                    "https://api.whatsapp.com/send/?phone={}",
                    number.as_str()
                )),
                number: Some(number),
            },
            hands_on: false,
            tells_events: false,
            identity: portero::app::IdentitySettings::default(),
        };
        let store = Sealed::open(Arc::clone(&engine) as Arc<dyn Engine>, &key()).unwrap();
        let for_app = Arc::clone(&clock) as Arc<dyn Clock>;
        let app = App::new(
            store,
            Keys::new(key()),
            settings,
            for_app,
            Arc::new(SystemRandom),
        );
        let app = Arc::new(app.unwrap());
        let said: Arc<Mutex<Vec<ChatMessage>>> = Arc::default();
        let hearing = Arc::clone(&said);
        let carry = move |work: &Work| {
            if let Work::Chat { message, .. } = work {
                hearing.lock().unwrap().push(message.clone());
            }
            Report::Sent(None)
        };
        let outbox = Outbox::new(Arc::clone(&app), Arc::new(carry), Pace::default());
        let breaks = Arc::new(AtomicBool::new(false));
        let breaking = Arc::clone(&breaks);
        let check = move |_: &str, _: &Secret| {
            assert!(!breaking.load(Ordering::SeqCst), "the check breaks");
            Verdict::Nobody
        };
        let site = Site {
            origin: format!("https://{PUBLIC_HOST}"),
            base: String::new(),
            look: Look {
                business: "Inpla".into(),
                color: None,
                logo: false,
            },
            logo: None,
            chat_origins: vec!["https://api.whatsapp.com".into()],
            check: Box::new(check),
            backend: None,
        };
        let settings = WebSettings {
            webhook: WebhookSettings {
                app_secrets: Vec::new(),
                verify_token: Secret::new("tomillo"),
                phone_number_id: PhoneNumberId::parse(BUSINESS.phone_number_id).unwrap(),
            },
            site: Some(site),
            pages: Vec::new(),
            api_keys: Vec::new(),
            issue_token: no_tokens(),
            status: None,
        };
        let web = Arc::new(Web::new(Arc::clone(&app), settings, Box::new(Vec::new)));
        let trust = Trust {
            hosts: vec![PUBLIC_HOST.into()],
            proxies: vec![[127, 0, 0, 1].into()],
        };
        let anywhere = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(anywhere, Limits::default(), trust, web as Arc<dyn Handler>);
        let listener = listener.unwrap();
        Hall {
            app,
            outbox,
            engine,
            clock,
            said,
            address: listener.local_addr(),
            messages: AtomicUsize::new(0),
            breaks,
            _listener: listener,
        }
    }

    /// Ana writes, and what she is told leaves.
    fn write(&self, text: &str) {
        let number = self.messages.fetch_add(1, Ordering::SeqCst);
        let sender = Sender {
            bsuid: None,
            wa_id: Some(WaId::parse(PEOPLE[ANA].wa_id).unwrap()),
            identity_key: None,
        };
        let message = Inbound {
            id: MessageId::parse(&format!("wamid.hall{number}")).unwrap(),
            sender,
            sent_at: self.clock.now(),
            content: Content::Text(text.into()),
            provenance: Provenance::Direct,
        };
        self.app
            .receive(vec![WebhookItem::Message(message)], Arc::new(NoBody))
            .unwrap();
        while Lane::ALL
            .iter()
            .map(|lane| self.outbox.drain(*lane))
            .sum::<usize>()
            > 0
        {}
    }

    /// Asks for a link; its path and query.
    fn link(&self) -> String {
        self.write("enlace");
        let said = self.said.lock().unwrap();
        let link = said.last().and_then(|message| message.link.clone());
        match link.map(|link| link.to) {
            Some(LinkTarget::Url(url)) => url[format!("https://{PUBLIC_HOST}").len()..].to_owned(),
            _ => panic!("{:?}", said.last()),
        }
    }

    fn get(&self, path: &str, headers: Headers<'_>) -> Answer {
        ask(self.address, "GET", path, headers, b"").unwrap()
    }

    fn forward(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn updates(&self) -> usize {
        self.engine.updates.load(Ordering::SeqCst)
    }
}

/// S-35: whoever looks at a link before the person does, from wherever, leaves no trace.
#[test]
fn whoever_only_looks_at_a_link_changes_nothing_and_a_person_completes() {
    let hall = Hall::open();
    let link = hall.link();
    let agents = [
        "WhatsApp/2.23.20.0 A",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) SafeLinks Outlook",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    ];
    let (dump, updates) = (hall.engine.dump(), hall.updates());
    let mut pages = Vec::new();
    for number in 0..50 {
        let from = format!("2001:db8:{number:x}::1, 203.0.113.{number}");
        let headers = [
            ("User-Agent", agents[number % agents.len()]),
            ("X-Forwarded-For", from.as_str()),
            ("Purpose", "prefetch"),
        ];
        for method in ["GET", "HEAD", "OPTIONS", "GET"] {
            let answer = ask(hall.address, method, &link, &headers, b"").unwrap();
            assert_eq!(answer.status, if method == "OPTIONS" { 405 } else { 200 });
            if method == "GET" {
                pages.push(answer.body);
            }
        }
    }
    pages.dedup();
    assert_eq!(pages.len(), 1, "the same for all");
    assert_eq!(hall.engine.dump(), dump);
    assert_eq!(hall.updates(), updates);
    let page = hall.get(&link, &[]);
    let answer = fill_in(hall.address, &page, ANA_USER, WRONG_PASSWORD, &[]);
    assert_eq!(answer.status, 422, "the link lives");
    assert_ne!(
        hall.engine.dump(),
        dump,
        "the dump sees what a form changes"
    );
}

/// S-35 with the whole program: nobody needs a link that nobody has looked at.
#[test]
fn a_link_that_was_crawled_signs_its_person_in() {
    let town = Town::start();
    let link = town.link(ANA);
    for number in 0..20 {
        let from = format!("203.0.113.{number}");
        let headers = [
            ("User-Agent", "WhatsApp/2.23.20.0"),
            ("X-Forwarded-For", from.as_str()),
        ];
        assert_eq!(town.get(&link, &headers).status, 200);
    }
    let answer = town.sign_in(&link, ANA_USER, ANA_PASSWORD, &[("User-Agent", IPHONE)]);
    town.returns(
        ANA,
        &text_of(answer.header("Location").unwrap()),
        "Ana Pérez",
    );
}

/// S-36: from outside there is one kind of dead link.
#[test]
fn links_that_lead_nowhere_are_alike_to_the_byte() {
    let hall = Hall::open();
    let mut dead = vec![(
        "unknown",
        format!("/sign-in/?mappingHash={}", "a".repeat(40)),
    )];
    dead.push(("no hash", "/sign-in/?mappingHash=hello".into()));
    let declined = hall.link();
    let page = hall.get(&declined, &[]);
    let (hash, token) = (hidden(&page, "mappingHash"), hidden(&page, "formToken"));
    let fields = [
        ("mappingHash", hash.as_str()),
        ("formToken", &token),
        ("action", "not_me"),
    ];
    assert_eq!(post(hall.address, "/sign-in/", &fields, &[]).status, 200);
    dead.push(("declined", declined));
    let guessed = hall.link();
    let page = hall.get(&guessed, &[]);
    let tries = [0; 5].map(|_| fill_in(hall.address, &page, ANA_USER, "x", &[]).status);
    assert_eq!(tries, [422, 422, 422, 422, 404]);
    dead.push(("guessed at", guessed));
    let replaced = hall.link();
    let expired = hall.link();
    dead.push(("replaced", replaced));
    hall.forward(10 * MINUTE_MS - 1);
    let last = hall.get(&expired, &[]);
    assert_eq!(last.status, 200, "good to the last moment");
    hall.forward(1);
    dead.push(("expired", expired));

    let first = hall.get(&dead[0].1, &[]);
    for (name, link) in &dead {
        let answer = hall.get(link, &[]);
        assert_eq!((answer.status, &answer.body), (404, &first.body), "{name}");
        let plain = |answer: &Answer| {
            let headers = answer
                .headers
                .iter()
                // The name of a request is another one each time, and tells nothing.
                .filter(|(name, _)| {
                    !["date", "x-request-id"].contains(&name.to_ascii_lowercase().as_str())
                });
            headers.cloned().collect::<Vec<_>>()
        };
        assert_eq!(plain(&answer), plain(&first), "{name}");
    }
    // Nor does the form tell: its token is right, the link is dead.
    let sent = fill_in(hall.address, &last, ANA_USER, "x", &[]);
    assert_eq!((sent.status, &sent.body), (404, &first.body));
}

/// S-36: guessing is told to wait, and nobody else is.
#[test]
fn a_network_with_thirty_misses_waits_ten_minutes_and_no_other() {
    let hall = Hall::open();
    let link = hall.link();
    let from = |address: &'static str| [("X-Forwarded-For", address)];
    let miss = |number: usize, address: &'static str| {
        let path = match number % 3 {
            0 => format!("/sign-in/?mappingHash={number:040x}"),
            1 => format!("/undo/?token={number:096x}"),
            _ => format!("/sign-in/?mappingHash=x{number}"),
        };
        hall.get(&path, &from(address))
    };
    for number in 0..30 {
        let address = if number % 2 == 0 {
            "2001:db8::1"
        } else {
            "2001:db8:0:0:ffff::2"
        };
        assert_eq!(miss(number, address).status, 404, "{number}");
    }
    let stopped = miss(30, "2001:db8::3");
    assert_eq!(
        (stopped.status, stopped.header("Retry-After")),
        (429, Some("600"))
    );
    let form = [("mappingHash", "0".repeat(40))];
    let form = form.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        post(hall.address, "/sign-in/", &form, &from("2001:db8::4")).status,
        403
    );
    assert_eq!(miss(31, "2001:db8:0:1::1").status, 404, "next door");
    assert_eq!(miss(32, "198.51.100.1").status, 404);
    // Whoever has a link has guessed nothing.
    assert_eq!(hall.get(&link, &from("2001:db8::5")).status, 200);
    hall.forward(10 * MINUTE_MS);
    assert_eq!(miss(33, "2001:db8::3").status, 404);
}

/// S-44: what breaks in the middle takes the password with it.
#[test]
fn a_check_that_breaks_shows_and_keeps_no_password() {
    let hall = Hall::open();
    let page = hall.get(&hall.link(), &[]);
    hall.breaks.store(true, Ordering::SeqCst);
    let answer = fill_in(hall.address, &page, "canary-user", WRONG_PASSWORD, &[]);
    assert_eq!(answer.status, 500);
    assert!(!format!("{answer:?}").contains("canary"));
    for (header, _) in portero::web::listener::SAFE_HEADERS {
        assert!(answer.header(header).is_some(), "{header}");
    }
    let dump = hall.engine.dump();
    let parts = dump.iter().flat_map(|(_, key, value)| [key, value]);
    for part in parts {
        assert!(!has(part, b"canary"));
    }
    hall.breaks.store(false, Ordering::SeqCst);
    let answer = fill_in(hall.address, &page, ANA_USER, WRONG_PASSWORD, &[]);
    assert_eq!(answer.status, 422, "others are served");
}

/// What the store refuses is told as a fault of ours, and leads nowhere.
#[test]
fn a_store_that_fails_is_no_dead_link() {
    let hall = Hall::open();
    let page = hall.get(&hall.link(), &[]);
    hall.engine.engine.refuse_commits(Some(StoreError::Full));
    let answer = fill_in(hall.address, &page, ANA_USER, WRONG_PASSWORD, &[]);
    assert_eq!(answer.status, 503);
    assert!(words(&answer.body).contains("Algo falló de nuestro lado"));
    hall.engine.engine.refuse_commits(None);
    assert_eq!(
        fill_in(hall.address, &page, ANA_USER, WRONG_PASSWORD, &[]).status,
        422
    );
}

/// The ids of contacts are not what a page is asked with.
#[test]
fn the_contact_of_a_link_is_not_on_its_page() {
    let hall = Hall::open();
    let link = hall.link();
    let contacts = hall.app.overview(10).unwrap().contacts;
    let id: ContactId = contacts[0].id;
    let page = hall.get(&link, &[]);
    assert!(!page.body.contains(&id.to_string()));
    assert!(!page.body.contains(PEOPLE[ANA].wa_id));
    assert!(page.body.contains("67"), "the end of the number is");
}

/// Nobody asks for what a webhook was made of.
struct NoBody;

impl portero::app::Body for NoBody {
    fn whole(&self) -> Option<portero::domain::delivery::SignedBody> {
        None
    }

    fn part(&self, _: &[usize]) -> Option<portero::domain::delivery::SignedBody> {
        None
    }
}

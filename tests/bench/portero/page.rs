//! The sign-in page: looked at, and whole sign-ins through it.

use super::Bench;
use super::calls;
use super::client::{Act, Client, Load, Measured, asks, drive, get, post};
use super::machine::fdatasync_rate;
use super::people::{Are, address_of, fill, fill_directory, known, scattered, webhook};
use super::report::{heading, load, loads};
use super::server::{MESSAGES_PER_SECOND_MAX, Passwords, Server, Setup};
use super::sign_ins::bound;
use portero::app::SystemRandom;
use portero::app::user::HashedPassword;
use portero::domain::secret::Secret;
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// More than sign in while one load lasts; each signs in once.
const PEOPLE: u64 = 60_000;
/// Of the directory: a password takes some 20 ms of a processor.
const USERS: u64 = 4_000;
const LINKS: u64 = 200;
/// A form that is answered *busy* is sent so often.
const TRIES: usize = 10;
const PASSWORD: &str = "pan de masa madre";
const PHONE: &str = "User-Agent: Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36\r\n";

/// Somebody who signs in on the page, and then the next one.
pub struct SignsInOnPage {
    client: Client,
    next: Arc<AtomicU64>,
}

impl SignsInOnPage {
    pub fn new(server: &Server, next: &Arc<AtomicU64>) -> io::Result<SignsInOnPage> {
        Ok(SignsInOnPage {
            client: Client::connect(server.address)?,
            next: Arc::clone(next),
        })
    }

    /// Sends the form, and again while too many others are having their passwords checked; the words
    /// for the chat.
    fn send(&mut self, number: u64, form: &str) -> io::Result<String> {
        let request = fill_in(number, form);
        for _ in 1..TRIES {
            let answer = self.client.exchange(&request)?;
            if answer.status != 503 {
                return words_of(answer.expect(303)?.header("location").unwrap_or_default());
            }
        }
        let answer = self.client.exchange(&request)?.expect(303)?;
        words_of(answer.header("location").unwrap_or_default())
    }
}

impl Act for SignsInOnPage {
    fn act(&mut self) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = link(&mut self.client, number)?;
        let page = self.client.succeed(&open(&path))?;
        let form = form(page.body, &known(number))?;
        let words = self.send(number, &form)?;
        self.client
            .succeed(&webhook(&known(number), &words))
            .map(drop)
    }
}

/// The path and query of a new link for this contact.
pub fn link(client: &mut Client, number: u64) -> io::Result<String> {
    let answer = client.exchange(&calls::link(number))?.expect(201)?;
    let answer: Value = serde_json::from_str(answer.body)?;
    let url = answer["url"].as_str().unwrap_or_default();
    let path = url.find("/sign-in").map(|at| url[at..].to_owned());
    path.ok_or_else(|| io::Error::other("an answer without a link"))
}

/// Looks at the page.
pub fn open(path: &str) -> Vec<u8> {
    get(path, PHONE)
}

/// What the form of a page sends for whoever has that number.
pub fn form(page: &str, number: &str) -> io::Result<String> {
    let value = |name: &str| {
        let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
        rest.split('"').next()
    };
    let (Some(hash), Some(token)) = (value("mappingHash"), value("formToken")) else {
        return Err(io::Error::other("a page without a form"));
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("mappingHash", hash);
    form.append_pair("formToken", token);
    form.append_pair("action", "sign_in");
    form.append_pair("user", &address_of(number));
    form.append_pair("password", PASSWORD);
    Ok(form.finish())
}

/// Sends the form, from a network of one's own.
pub fn fill_in(number: u64, form: &str) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let headers = format!(
        "{PHONE}X-Forwarded-For: 10.{a}.{b}.{c}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    post("/sign-in/", &headers, form)
}

/// What the chat has ready to be sent after the redirect.
pub fn words_of(location: &str) -> io::Result<String> {
    let (_, query) = location.split_once('?').unwrap_or_default();
    let text = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "text");
    text.map(|(_, text)| text.into_owned())
        .ok_or_else(|| io::Error::other("a redirect without a text"))
}

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("The sign-in page");
    let disk = fdatasync_rate(&bench.root)?;
    println!(
        "A whole sign-in is a link (asked for by the bot), the page, the form, and the code that \
         comes back through the chat: bound.\n"
    );
    loads();
    let (looked, by_service) = with_service(bench, disk)?;
    let by_directory = with_directory(bench, disk)?;
    let report = &mut bench.report;
    report.fact(
        "sign-in page looked at, 32 at once",
        looked.per_second,
        "a second",
    );
    report.fact(
        "whole sign-ins on the web, a service checks passwords",
        by_service.per_second,
        "a second",
    );
    report.fact(
        "whole sign-ins on the web, directory (argon2id)",
        by_directory.per_second,
        "a second",
    );
    Ok(())
}

fn with_service(bench: &Bench, disk: f64) -> io::Result<(Measured, Measured)> {
    let mut setup = Setup::in_folder(&bench.root, "page")?;
    setup.messages_per_second = MESSAGES_PER_SECOND_MAX;
    fill(&setup, 0..PEOPLE, Are::Unknown)?;
    let server = Server::start(&setup, &bench.world)?;
    let mut client = Client::connect(server.address)?;
    let links: Vec<String> = (0..LINKS)
        .map(|number| link(&mut client, number))
        .collect::<io::Result<_>>()
        .map_err(|error| server.explain(&error))?;
    let (links, turn) = (Arc::new(links), Arc::new(AtomicU64::new(0)));
    let mut looked = Measured::default();
    for clients in [1, 32] {
        looked = drive(&server, Load::of(clients), |_| {
            let (links, turn) = (Arc::clone(&links), Arc::clone(&turn));
            asks(&server, move || {
                open(&links[scattered(turn.fetch_add(1, Ordering::Relaxed), LINKS) as usize])
            })
        })?;
        load(
            &format!("the page looked at, {clients} at once"),
            &looked,
            disk,
        );
    }
    let next = Arc::new(AtomicU64::new(LINKS));
    let measured = sign_in(&server, &next, 32)?;
    load(
        "whole sign-ins, a service checks passwords, 32 people at once",
        &measured,
        disk,
    );
    Ok((looked, measured))
}

fn with_directory(bench: &Bench, disk: f64) -> io::Result<Measured> {
    let mut setup = Setup::in_folder(&bench.root, "directory")?;
    setup.passwords = Passwords::Directory;
    setup.messages_per_second = MESSAGES_PER_SECOND_MAX;
    let hash = HashedPassword::of(&Secret::new(PASSWORD), &SystemRandom);
    let hash = hash.map_err(io::Error::other)?;
    fill(&setup, 0..USERS, Are::Unknown)?;
    fill_directory(&setup, 0..USERS, hash.reveal())?;
    let server = Server::start(&setup, &bench.world)?;
    let measured = sign_in(&server, &Arc::new(AtomicU64::new(0)), 8)?;
    load(
        "whole sign-ins, directory (argon2id), 8 people at once",
        &measured,
        disk,
    );
    Ok(measured)
}

fn sign_in(server: &Server, next: &Arc<AtomicU64>, clients: u64) -> io::Result<Measured> {
    let measured = drive(server, Load::of(clients), |_| {
        Ok(Box::new(SignsInOnPage::new(server, next)?))
    })?;
    let (bound, counted) = (bound(server)?, measured.latencies.len() as f64);
    if bound < counted {
        let words = format!("{counted} sign-ins ended, and only {bound} people are bound");
        return Err(server.explain(&io::Error::other(words)));
    }
    Ok(measured)
}

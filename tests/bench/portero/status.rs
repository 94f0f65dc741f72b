//! The pages of the status page with many contacts. Beside them the store has a line of the audit
//! for each, 500 dead letters, and counts for every hour of 90 days.

use super::Bench;
use super::client::{Client, Measured, get, post};
use super::people::{Are, address_of, contact_id, fill, fill_history, known};
use super::report::{head, heading, line};
use super::server::{STATUS_PASSWORD, Server, Setup};
use portero::app::SystemRandom;
use portero::app::user::HashedPassword;
use portero::domain::id::Secret;
use std::io;
use std::time::Instant;

const CONTACTS: u64 = 100_000;
const ROUNDS: usize = 15;

/// Who is signed in on the status page.
pub struct Visitor {
    client: Client,
    cookie: String,
    token: String,
}

/// A page, and how it is asked for.
pub struct Page {
    pub name: &'static str,
    request: Vec<u8>,
}

/// The hash of [`STATUS_PASSWORD`].
pub fn password_hash() -> io::Result<String> {
    let hash = HashedPassword::of(&Secret::new(STATUS_PASSWORD), &SystemRandom);
    Ok(hash.map_err(io::Error::other)?.reveal().to_owned())
}

impl Visitor {
    pub fn sign_in(server: &Server) -> io::Result<Visitor> {
        let mut client = Client::connect(server.address)?;
        let body = format!(
            "action=sign_in&password={}",
            STATUS_PASSWORD.replace(' ', "+")
        );
        let answer = client.exchange(&form("/status/", "", &body))?;
        let cookie = answer
            .header("set-cookie")
            .and_then(|cookie| cookie.split(';').next());
        let cookie =
            cookie.ok_or_else(|| io::Error::other("nobody was let in to the status page"))?;
        let cookie = format!("Cookie: {cookie}\r\n");
        let page = client.succeed(&get("/status/", &cookie))?;
        let token = page.body.split_once("name=\"formToken\" value=\"");
        let token = token.and_then(|(_, rest)| rest.split('"').next());
        let token = token.unwrap_or_default().to_owned();
        Ok(Visitor {
            client,
            cookie,
            token,
        })
    }

    /// The pages, with one contact of so many in the middle.
    pub fn pages(&self, contacts: u64) -> Vec<Page> {
        let one = contacts / 2;
        let look = |name, path: &str| Page {
            name,
            request: get(path, &self.cookie),
        };
        let search = |name, words: &str| {
            let body = format!("formToken={}&action=search&search={words}", self.token);
            Page {
                name,
                request: form("/status/contacts/", &self.cookie, &body),
            }
        };
        vec![
            look("status: overview, 7 days", "/status/"),
            look("status: overview, 90 days", "/status/?range=90d"),
            look("status: contacts", "/status/contacts/"),
            look(
                "status: one contact",
                &format!("/status/contacts/{}/", contact_id(one)),
            ),
            look("status: dead letters", "/status/letters/"),
            look("status: log", "/status/log/"),
            look(
                "status: log, failures (there are none)",
                "/status/log/?show=failures",
            ),
            search("status: search for a whole number", &known(one)),
            search(
                "status: search for an address",
                &address_of(&known(one)).replace('@', "%40"),
            ),
            search("status: search for a frequent name", "ana"),
            search("status: search for nobody's name", "zzzz"),
            search("status: search for the end of a number", "0042"),
        ]
    }

    /// Loads a page so often; also its length, and how many contacts a search that was cut short
    /// came through.
    pub fn load(
        &mut self,
        server: &Server,
        page: &Page,
        rounds: usize,
    ) -> io::Result<(Measured, usize, Option<String>)> {
        let (mut bytes, mut cut) = (0, None);
        let (cpu, mut latencies) = (server.cpu_us(), Vec::new());
        for _ in 0..rounds {
            let begun = Instant::now();
            let answer = self.client.succeed(&page.request)?;
            latencies.push(begun.elapsed().as_secs_f64() * 1e3);
            if !answer.body.contains("Sign out") {
                return Err(io::Error::other(format!("{}: {}", page.name, answer.body)));
            }
            if let Some((before, _)) = answer.body.split_once(" contacts were looked through") {
                cut = before.rsplit('>').next().map(str::to_owned);
            }
            bytes = answer.body.len();
        }
        latencies.sort_by(f64::total_cmp);
        let measured = Measured {
            cpu_us: (server.cpu_us() - cpu) / rounds as f64,
            latencies,
            ..Measured::default()
        };
        Ok((measured, bytes, cut))
    }
}

fn form(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let headers = format!(
        "{headers}Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    );
    post(path, &headers, body)
}

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("The status page");
    let mut setup = Setup::in_folder(&bench.root, "status")?;
    setup.status = Some(password_hash()?);
    setup.snapshots = 0;
    fill(&setup, 0..CONTACTS, Are::SignedIn)?;
    fill_history(&setup)?;
    let server = Server::start(&setup, &bench.world)?;
    let mut visitor = Visitor::sign_in(&server).map_err(|error| server.explain(&error))?;
    println!("{CONTACTS} contacts; each page {ROUNDS} times, one after the other.\n");
    head(&[
        "page",
        "p50 ms",
        "most ms",
        "CPU ms",
        "kB",
        "cut short after",
    ]);
    for page in visitor.pages(CONTACTS) {
        let (measured, bytes, cut) = visitor.load(&server, &page, ROUNDS)?;
        let cells = [
            format!("{:.1}", measured.within(0.5)),
            format!("{:.1}", measured.within(1.0)),
            format!("{:.1}", measured.cpu_us / 1e3),
            format!("{:.0}", bytes as f64 / 1e3),
            cut.map_or(String::new(), |count| format!("{count} contacts")),
        ];
        line(page.name.trim_start_matches("status: "), &cells);
        if page.name == "status: overview, 7 days" {
            let what = format!("status page with {CONTACTS} contacts, overview, p50");
            bench.report.fact(&what, measured.within(0.5), "ms");
        }
    }
    Ok(())
}

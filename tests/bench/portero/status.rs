//! The pages of the status page with many contacts. Beside them the store has a line of the audit
//! for each, 500 dead letters, and counts for every hour of 90 days.

use super::Bench;
use super::client::{Client, Measured, get, post};
use super::people::{Are, address_of, contact_id, fill, fill_history, known};
use super::report::{head, heading, line};
use super::server::{STATUS_PASSWORD, Server, Setup};
use portero::app::user::HashedPassword;
use portero::app::{SEARCH_LOOKS_MAX, SEARCH_ON_LOOKS_MAX, SystemRandom};
use portero::domain::id::ContactId;
use portero::domain::secret::Secret;
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
    /// What its work ends at, however many contacts there are.
    pub bound: Option<Bound>,
    request: Vec<u8>,
}

/// A bound of the work of one page.
#[derive(Clone, Copy)]
pub struct Bound {
    /// What it is.
    pub words: &'static str,
    /// With so many contacts it is reached: what the page takes with fewer is no measure of growth.
    pub reached_with: u64,
}

/// What a search for a name looks at.
const SEARCH: Bound = Bound {
    words: "looks at 10,000 contacts",
    reached_with: SEARCH_LOOKS_MAX as u64,
};

/// What it looks at when it goes on.
const SEARCH_ON: Bound = Bound {
    words: "looks at 100,000 contacts",
    reached_with: SEARCH_ON_LOOKS_MAX as u64,
};

/// One contact in a hundred has the last two digits.
const FULL_PAGE: Bound = Bound {
    words: "shows 50 contacts",
    reached_with: 10_000,
};

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
            bound: None,
            request: get(path, &self.cookie),
        };
        let search_within = |bound, name, words: &str, after: &str| {
            let token = &self.token;
            let body = format!("formToken={token}&action=search&search={words}&after={after}");
            Page {
                name,
                bound,
                request: form("/status/contacts/", &self.cookie, &body),
            }
        };
        let search = |name, words: &str| search_within(None, name, words, "");
        let number = known(one);
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
            search("status: search for a whole number", &number),
            search(
                "status: search for a number without its country",
                &number[2..],
            ),
            search(
                "status: search for the last 7 digits of a number",
                &number[5..],
            ),
            search_within(
                Some(FULL_PAGE),
                "status: search for the last 2 digits of a number",
                "42",
                "",
            ),
            search(
                "status: search for an address",
                &address_of(&number).replace('@', "%40"),
            ),
            search(
                "status: search for nobody's address",
                "zzzz%40people.example",
            ),
            search("status: search for a frequent name", "ana"),
            search_within(Some(SEARCH), "status: search for nobody's name", "zzzz", ""),
            search_within(
                Some(SEARCH_ON),
                "status: the same, searched on",
                "zzzz",
                &ContactId::from_random([0; 16]).to_string(),
            ),
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

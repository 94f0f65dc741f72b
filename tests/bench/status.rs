//! How long the pages of the status page take with many contacts: `cargo bench --bench status`, or
//! `-- 1000` for another number of them.
//!
//! The store is sealed and on disk, the listener is the program's own, and each request is one on a
//! connection of its own over loopback: the time is to the first byte of the answer. Beside the
//! contacts there are a line of the audit for each, 500 dead letters, and a tally for every hour of
//! 90 days.
#![allow(clippy::unwrap_used)]

use portero::app::user::HashedPassword;
use portero::app::{App, Clock, IdentitySettings, Places, Settings, SystemClock, SystemRandom};
use portero::domain::account::{Account, Company};
use portero::domain::binding::{Binding, Proof};
use portero::domain::contact::Contact;
use portero::domain::delivery::{Entry, EntryId, Errand};
use portero::domain::id::{
    ContactId, DAY_MS, EmailAddress, HOUR_MS, Language, PhoneNumberId, ProofId, Secret,
    ServiceName, Timestamp, WaId,
};
use portero::domain::policy::Policy;
use portero::domain::tally::Tally;
use portero::store::record::{self, AuditLine, DeadLetter, Keys};
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed};
use portero::text::{Texts, Voice};
use portero::web::listener::{Handler, Limits, Listener, Trust};
use portero::web::{
    Look, Outlook, StatusPassword, StatusSettings, Web, WebSettings, WebhookSettings,
};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CONTACTS: u64 = 100_000;
const AT_ONCE: u64 = 5_000;
const ROUNDS: usize = 9;
const PASSWORD: &str = "seven quiet doors in a row";

fn main() {
    let count = std::env::args().find_map(|arg| arg.parse().ok());
    let count: u64 = count.unwrap_or(CONTACTS);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status-bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let app = Arc::new(app(&folder.join("portero.redb"), count));
    let listener = listen(&app);
    let address = listener.local_addr();
    let (session, token) = sign_in(address);
    println!(
        "{count} contacts; milliseconds to the first byte: median, most; of a processor in all; bytes"
    );
    let search = |words: &str| format!("formToken={token}&action=search&search={words}");
    let one = count / 2;
    let pages = [
        ("overview, 7 days", "/status/".to_owned(), None),
        ("overview, 90 days", "/status/?range=90d".to_owned(), None),
        ("contacts", "/status/contacts/".to_owned(), None),
        (
            "one contact",
            format!("/status/contacts/{}/", contact_id(one)),
            None,
        ),
        ("dead letters", "/status/letters/".to_owned(), None),
        ("log", "/status/log/".to_owned(), None),
        (
            "log, failures (there are none)",
            "/status/log/?show=failures".to_owned(),
            None,
        ),
        (
            "search: a whole number",
            "/status/contacts/".to_owned(),
            Some(search(&number(one))),
        ),
        (
            "search: an address",
            "/status/contacts/".to_owned(),
            Some(search(&format!("user{one}%40example.com"))),
        ),
        (
            "search: a frequent name",
            "/status/contacts/".to_owned(),
            Some(search("ana")),
        ),
        (
            "search: nobody's name",
            "/status/contacts/".to_owned(),
            Some(search("zzzz")),
        ),
        (
            "search: the end of a number",
            "/status/contacts/".to_owned(),
            Some(search("0042")),
        ),
    ];
    for (name, path, body) in &pages {
        let (mut looked_at, before) = (None, processor_time());
        let mut times: Vec<(Duration, usize)> = (0..ROUNDS)
            .map(|_| {
                let (took, page) = ask(address, path, body.as_deref(), &session);
                assert!(page.contains("Sign out"), "{page}");
                if let Some((before, _)) = page.split_once(" contacts were looked through") {
                    looked_at = before.rsplit('>').next().map(str::to_owned);
                }
                (took, page.len())
            })
            .collect();
        let processor = (processor_time() - before).as_secs_f64() * 1_000.0 / ROUNDS as f64;
        times.sort();
        let ms = |at: usize| times[at].0.as_secs_f64() * 1_000.0;
        let cut = looked_at.map_or(String::new(), |count| format!("  cut short after {count}"));
        println!(
            "{name:32} {:7.1} {:7.1} {processor:7.1} {:8}{cut}",
            ms(ROUNDS / 2),
            ms(ROUNDS - 1),
            times[0].1
        );
    }
    listener.stop(Duration::from_secs(1));
    drop(app);
    fs::remove_dir_all(folder).unwrap();
}

/// What server and client have used: it tells more than the clock on a machine with other work.
fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn ask(address: SocketAddr, path: &str, body: Option<&str>, session: &str) -> (Duration, String) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or("");
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nCookie: {session}\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let took = begun.elapsed();
    let mut rest = first.to_vec();
    stream.read_to_end(&mut rest).unwrap();
    (took, String::from_utf8(rest).unwrap())
}

/// The cookie, and what forms carry.
fn sign_in(address: SocketAddr) -> (String, String) {
    let body = format!("action=sign_in&password={}", PASSWORD.replace(' ', "+"));
    let (_, answer) = ask(address, "/status/", Some(&body), "");
    let (_, rest) = answer.split_once("Set-Cookie: ").unwrap_or_else(|| {
        answer
            .split_once("set-cookie: ")
            .expect("somebody who is in")
    });
    let session = rest.split(';').next().unwrap().to_owned();
    let (_, page) = ask(address, "/status/", None, &session);
    let (_, rest) = page.split_once("name=\"formToken\" value=\"").unwrap();
    (session, rest.split('"').next().unwrap().to_owned())
}

fn listen(app: &Arc<App>) -> Listener {
    let hash = HashedPassword::of(&Secret::new(PASSWORD), &SystemRandom).unwrap();
    let settings = WebSettings {
        webhook: WebhookSettings {
            app_secrets: Vec::new(),
            verify_token: Secret::new("x"),
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
        },
        site: None,
        pages: Vec::new(),
        api_keys: Vec::new(),
        issue_token: Box::new(
            |_: &portero::app::TokenWanted<'_>, _: Timestamp, _: &str| unreachable!(),
        ),
        status: Some(StatusSettings {
            password: StatusPassword::parse(hash.reveal()).unwrap(),
            look: Look {
                business: "Inpla".into(),
                color: None,
                logo: false,
            },
            public: None,
            weakened: Vec::new(),
            version: "",
            api_version: String::new(),
            store_format: 1,
            started_at: app.now(),
            outlook: Box::new(Outlook::default),
        }),
    };
    let web = Web::new(Arc::clone(app), settings, Box::new(Vec::new));
    let trust = Trust {
        hosts: vec!["127.0.0.1".into()],
        proxies: Vec::new(),
    };
    let anywhere = ([127, 0, 0, 1], 0).into();
    let handler = Arc::new(web) as Arc<dyn Handler>;
    Listener::bind(anywhere, Limits::default(), trust, handler).unwrap()
}

fn service() -> ServiceName {
    ServiceName::parse("kutamma").unwrap()
}

fn contact_id(number: u64) -> ContactId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ContactId::from_random(id)
}

fn number(number: u64) -> String {
    format!("57300{number:07}")
}

fn contact(number_of: u64, now: Timestamp) -> Contact {
    let wa_id = WaId::parse(&number(number_of)).unwrap();
    let id = contact_id(number_of);
    let mut contact = Contact::new(id, None, Some(wa_id), Language::Spanish, now);
    let account = Account {
        service: service(),
        user_id: format!("u-{number_of}"),
        name: ["Ana Pérez", "Bruno Díaz", "Camila Rojas"][number_of as usize % 3].into(),
        email: EmailAddress::parse(&format!("user{number_of}@example.com")).unwrap(),
        phone: None,
        company: Company {
            id: "c-1".into(),
            name: "Panadería La Espiga".into(),
        },
    };
    contact.bindings = vec![Binding::new(account, Proof::MailCode, ProofId(id.0), now)];
    contact
}

fn app(path: &Path, count: u64) -> App {
    let key = MasterKey::generate().unwrap();
    let engine = Redb::open(path, Options::default()).unwrap();
    let store = Sealed::open(Arc::new(engine), &key).unwrap();
    let keys = Keys::new(key);
    let clock = SystemClock::new(Timestamp(0));
    let now = clock.now();
    for first in (0..count).step_by(AT_ONCE as usize) {
        let keys = keys.clone();
        let body = move |writer: &mut dyn portero::store::Writer| {
            for number in first..(first + AT_ONCE).min(count) {
                let contact = contact(number, now);
                record::put_wa_id(writer, &keys, contact.wa_id.as_ref().unwrap(), contact.id)?;
                record::put_contact(writer, &contact)?;
                let line = AuditLine {
                    at_ms: now.0,
                    event: "contact.bound".into(),
                    contact: contact.id.to_string(),
                    number_ending: Some("42".into()),
                    directory_user: None,
                    about: None,
                    link: None,
                };
                record::put_audit(writer, &keys, number + 1, line)?;
            }
            Ok(())
        };
        store.update(body).unwrap();
    }
    let rest = move |writer: &mut dyn portero::store::Writer| {
        for number in 0..500 {
            let errand = Errand::HandOn {
                message: None,
                origin: EntryId(number + 1),
            };
            let entry = Entry::new(EntryId(number + 1), contact_id(number), errand, now, now);
            let letter = DeadLetter {
                entry,
                at: now,
                reason: format!("the bot answered {}", 500 + number % 4),
            };
            record::put_dead(writer, &letter)?;
        }
        for hour in 0..90 * 24 {
            let mut tally = Tally {
                milestones: [[90, 80, 75, 70], [40, 35, 30, 28], [5, 4, 4, 4]],
                ..Tally::default()
            };
            tally.times[0] = [3; 14];
            for event in [
                "contact.bound",
                "code.asked",
                "code.wrong",
                "sign_in.limited",
                Tally::REPLIES,
                Tally::MAILS,
            ] {
                tally.events.insert(event.to_owned(), 42);
            }
            record::add_to_tally(writer, &tally, now.minus_ms(hour * HOUR_MS))?;
        }
        Ok(())
    };
    store.update(rest).unwrap();
    let policy = Policy {
        binding_idle_ms: 90 * DAY_MS,
        ..Policy::default()
    };
    let settings = Settings {
        phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
        language: Language::Spanish,
        texts: Texts::default(),
        voice: Voice {
            business: "Inpla".into(),
            services: vec![(service(), "Kutamma".into())],
            code_digits: 8,
            code_minutes: 10,
            methods: policy.methods,
            link_minutes: 10,
        },
        policy,
        directory: None,
        places: Places::default(),
        hands_on: true,
        tells_events: false,
        identity: IdentitySettings::default(),
    };
    App::new(
        store,
        keys,
        settings,
        Arc::new(clock),
        Arc::new(SystemRandom),
    )
    .unwrap()
}

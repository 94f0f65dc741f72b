//! The status page over HTTP, without a browser: the same web as in production over records in
//! memory and a clock that is set by hand (S-35, S-41, S-42, S-47, S-90).

use crate::house::{House, NETWORK, Person, Takes, no_tokens, other_than, server_error};
use crate::outside::{Answer, PUBLIC_HOST, ask};
use portero::app::admin::NewUser;
use portero::app::user::HashedPassword;
use portero::app::{SEARCH_LOOKS_MAX, SystemRandom, Verdict, Visitor, Wanted, Whom};
use portero::domain::contact::Contact;
use portero::domain::delivery::Lane;
use portero::domain::id::{ContactId, PhoneNumberId, WaId};
use portero::domain::language::Language;
use portero::domain::policy::Policy;
use portero::domain::secret::Secret;
use portero::domain::sign_in::PageAnswer;
use portero::domain::tally::{Method, Milestone, Tally};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use portero::store::{Writer, record};
use portero::web::listener::{Handler, Limits, Listener, Trust};
use portero::web::{
    LaneView, Look, Outlook, ServiceView, StatusPassword, StatusSettings, Web, WebSettings,
    WebhookSettings,
};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

pub const PASSWORD: &str = "seven quiet doors in a row";

/// Hashed once: that takes a while on purpose.
pub static HASH: LazyLock<String> = LazyLock::new(|| {
    let hash = HashedPassword::of(&Secret::new(PASSWORD), &SystemRandom).unwrap();
    hash.reveal().to_owned()
});

pub const CONTACTS: &str = "/status/contacts/";
const LETTERS: &str = "/status/letters/";

/// A house with a status page.
pub struct Office {
    pub house: House,
    pub address: SocketAddr,
    _listener: Listener,
}

impl Office {
    pub fn in_house(house: House) -> Office {
        let outbox = Arc::clone(&house.outbox);
        let app = Arc::clone(&house.app);
        let outlook = move || Outlook {
            certificate: None,
            lanes: (outbox.health().into_iter())
                .map(|health| LaneView {
                    name: health.lane.name(),
                    waiting: health.waiting,
                    oldest: app.oldest_waiting(health.lane).unwrap(),
                    paused: health.resting.map(|rest| (rest.reason, rest.advice)),
                    failing: (health.failing)
                        .map(|failing| (failing.since, failing.reason, failing.advice)),
                })
                .collect(),
            services: vec![ServiceView {
                name: "kutamma".to_owned(),
                title: "Kutamma".to_owned(),
                is_left_alone: false,
                answered_at: Some(app.now()),
                failed: None,
            }],
            store_bytes: Some(5 << 20),
            disk_bytes: Some((40 << 30, 80 << 30)),
            snapshot: Some(Some(app.now())),
            is_young: false,
            takes_writes: true,
        };
        let status = StatusSettings {
            password: StatusPassword::parse(&HASH).unwrap(),
            look: Look {
                business: "Café Río".to_owned(),
                color: None,
                logo: false,
            },
            public: Some((format!("https://{PUBLIC_HOST}"), String::new())),
            weakened: vec!["sign_in.return_code is off".to_owned()],
            version: "0.1.0",
            api_version: "v25.0".to_owned(),
            store_format: 1,
            started_at: house.clock_now(),
            outlook: Box::new(outlook),
        };
        let settings = WebSettings {
            webhook: WebhookSettings {
                app_secrets: Vec::new(),
                verify_token: Secret::new("tomillo"),
                phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            },
            site: None,
            pages: Vec::new(),
            api_keys: Vec::new(),
            issue_token: no_tokens(),
            status: Some(status),
        };
        let web = Web::new(Arc::clone(&house.app), settings, Box::new(Vec::new));
        let trust = Trust {
            hosts: vec![PUBLIC_HOST.into(), "127.0.0.1".into()],
            proxies: vec![[127, 0, 0, 1].into()],
        };
        let anywhere = ([127, 0, 0, 1], 0).into();
        let handler = Arc::new(web) as Arc<dyn Handler>;
        let listener = Listener::bind(anywhere, Limits::default(), trust, handler).unwrap();
        Office {
            house,
            address: listener.local_addr(),
            _listener: listener,
        }
    }

    fn new() -> Office {
        Office::in_house(House::on_the_web(House::both_ways_in()))
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address, "GET", path, headers, b"").unwrap()
    }

    fn post(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut all = vec![
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        for header in headers {
            all.retain(|(name, _)| name != &header.0);
        }
        all.extend_from_slice(headers);
        ask(self.address, "POST", path, &all, body.as_bytes()).unwrap()
    }

    fn tries(&self, password: &str, headers: &[(&str, &str)]) -> Answer {
        let fields = [("action", "sign_in"), ("password", password)];
        self.post("/status/", &fields, headers)
    }

    /// From a network of its own.
    fn tries_from(&self, network: &str, password: &str) -> Answer {
        self.tries(password, &[("X-Forwarded-For", network)])
    }

    pub fn signs_in(&self) -> Desk<'_> {
        let answer = self.tries(PASSWORD, &[]);
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert_eq!(answer.header("Location"), Some("/status/"));
        let cookie = answer.header("Set-Cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let desk = Desk {
            office: self,
            token: String::new(),
            cookie,
        };
        let page = desk.get("/status/");
        assert_eq!(page.status, 200);
        Desk {
            token: token_in(&page).expect("a form of whoever is in"),
            ..desk
        }
    }
}

/// Somebody who is in.
pub struct Desk<'o> {
    office: &'o Office,
    cookie: String,
    token: String,
}

impl Desk<'_> {
    pub fn get(&self, path: &str) -> Answer {
        self.office.get(path, &[("Cookie", &self.cookie)])
    }

    fn page(&self, path: &str) -> String {
        let page = self.get(path);
        assert_eq!(page.status, 200, "{path}");
        assert!(token_in(&page).is_some(), "signed out at {path}");
        page.body
    }

    pub fn does(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut all = vec![("formToken", self.token.as_str())];
        all.extend_from_slice(fields);
        self.office.post(path, &all, &[("Cookie", &self.cookie)])
    }

    fn finds(&self, search: &str) -> String {
        let found = self.does(CONTACTS, &[("action", "search"), ("search", search)]);
        assert_eq!(found.status, 200);
        // What was typed stands in its field, and nowhere else.
        let field = form_urlencoded::byte_serialize(search.as_bytes()).collect::<String>();
        assert!(!found.body.contains(&format!("?search={field}")));
        found.body.replacen(&format!("value=\"{search}\""), "", 1)
    }
}

fn token_in(page: &Answer) -> Option<String> {
    let (_, rest) = page.body.split_once("name=\"formToken\" value=\"")?;
    Some(rest.split('"').next()?.to_owned())
}

/// People in a list of contacts or on the page of one.
fn shows(body: &str, words: &[&str], not: &[&str]) {
    // What is in the head is the same on every page.
    let body = body.split_once("<body>").map_or(body, |(_, body)| body);
    for word in words {
        assert!(body.contains(word), "no {word} in {body}");
    }
    for word in not {
        assert!(!body.contains(word), "{word} in {body}");
    }
}

impl House {
    pub fn clock_now(&self) -> Timestamp {
        self.app.now()
    }

    fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for (_, tally) in self.app.tallies(Timestamp(0)).unwrap() {
            sum.add(&tally);
        }
        sum
    }

    fn contact_of(&self, person: &Person) -> Contact {
        self.contact(person)
    }
}

fn ana(office: &Office) -> Person {
    let person = Person::with_number("573001234567");
    (office.house).register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    person
}

// --- the way in -----------------------------------------------------------------------------------

#[test]
fn nobody_sees_anything_without_the_password() {
    let office = Office::new();
    let person = ana(&office);
    office.house.sign_in(&person, "ana@example.com");
    let id = office.house.contact_of(&person).id.to_string();
    let paths = [
        "/status",
        "/status/",
        CONTACTS,
        LETTERS,
        "/status/log/",
        &format!("{CONTACTS}{id}/"),
    ];
    for path in paths {
        for cookie in [
            "",
            "__Host-portero_status=",
            "__Host-portero_status=0000",
            "portero_status=x",
        ] {
            let page = office.get(path, &[("Cookie", cookie)]);
            assert_eq!(page.status, 200);
            shows(
                &page.body,
                &["type=\"password\""],
                &["Ana", "Acme", "formToken", &id],
            );
        }
    }
    for action in ["release", "search", "drop_all", "retry_all", "sign_out"] {
        for path in ["/status/", CONTACTS, LETTERS] {
            let fields = [
                ("action", action),
                ("id", &id),
                ("newest", "ffffffffffffffff"),
            ];
            let page = office.post(path, &fields, &[]);
            assert_eq!(page.status, 403, "{action}");
            shows(&page.body, &["type=\"password\""], &["Ana", "formToken"]);
        }
    }
    assert!(office.house.is_bound(&person));
}

#[test]
fn a_page_asks_for_nothing_else_and_nobody_keeps_it() {
    let office = Office::new();
    let desk = office.signs_in();
    for path in ["/status/", CONTACTS, LETTERS, "/status/log/"] {
        let page = desk.get(path);
        let policy = page.header("Content-Security-Policy").unwrap();
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
            "style-src 'sha256-",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(
            !policy.contains("script") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("Cache-Control"), Some("no-store"));
        assert_eq!(page.header("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(page.header("Referrer-Policy"), Some("same-origin"));
        assert!(page.header("Strict-Transport-Security").is_some());
        shows(
            &page.body,
            &[],
            &["<script", "style=", "http://", "https://", "onclick"],
        );
    }
}

/// S-42: browsers keep it to this host, and no script and no other site can use it.
#[test]
fn the_cookie_is_for_this_host_alone_and_a_new_one_each_time() {
    let office = Office::new();
    let one = office.tries(PASSWORD, &[]);
    let cookie = one.header("Set-Cookie").unwrap().to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    let id = pair.strip_prefix("__Host-portero_status=").unwrap();
    assert_eq!(
        (id.len(), attributes),
        (64, "Path=/; Secure; HttpOnly; SameSite=Strict")
    );
    // Signed in again, the old session is nobody's: it cannot have been planted.
    let two = office.tries(PASSWORD, &[("Cookie", pair)]);
    assert_ne!(two.header("Set-Cookie").unwrap(), cookie);
    assert!(token_in(&office.get("/status/", &[("Cookie", pair)])).is_none());
    // Without TLS, on this machine, browsers would not keep that one.
    let host = office.address.to_string();
    let origin = format!("http://{host}");
    let here = office.tries(PASSWORD, &[("Host", &host), ("Origin", &origin)]);
    let cookie = here.header("Set-Cookie").unwrap();
    assert!(
        cookie.starts_with("portero_status=") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    let page = office.get("/status/", &[("Cookie", pair), ("Host", &host)]);
    assert!(token_in(&page).is_some());
    let elsewhere = office.get("/status/", &[("Cookie", pair)]);
    assert!(
        token_in(&elsewhere).is_none(),
        "a cookie that others can plant opens the page"
    );
}

#[test]
fn a_form_from_elsewhere_or_without_its_token_does_nothing() {
    let office = Office::new();
    let person = ana(&office);
    office.house.sign_in(&person, "ana@example.com");
    let desk = office.signs_in();
    let id = office.house.contact_of(&person).id.to_string();
    let fields = |token: &'static str| [("formToken", token), ("action", "release"), ("id", "")];
    for token in ["", "0000", "formToken"] {
        let mut fields = fields(token);
        fields[2].1 = &id;
        let answer = office.post(CONTACTS, &fields, &[("Cookie", &desk.cookie)]);
        assert_eq!(answer.status, 403, "{token}");
    }
    let foreign: [&[(&str, &str)]; 6] = [
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "none")],
        &[("Origin", "https://evil.example")],
        &[("Origin", "http://bot.example")],
        &[("Origin", "http://127.0.0.1:8080")],
    ];
    for headers in foreign {
        let mut headers = headers.to_vec();
        headers.push(("Cookie", &desk.cookie));
        let fields = [
            ("formToken", desk.token.as_str()),
            ("action", "release"),
            ("id", &id),
        ];
        let answer = office.post(CONTACTS, &fields, &headers);
        assert_eq!(answer.status, 403, "{headers:?}");
        let answer = office.tries(PASSWORD, &headers);
        assert_eq!(answer.status, 403, "{headers:?}");
        assert!(answer.header("Set-Cookie").is_none());
    }
    // A program that says neither is no browser of anybody's.
    let body = format!("action=sign_in&password={}", PASSWORD.replace(' ', "+"));
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = ask(office.address, "POST", "/status/", &form, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 403);
    assert!(office.house.is_bound(&person));
    let own = format!("https://{PUBLIC_HOST}");
    let headers = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(office.tries(PASSWORD, &headers).status, 303);
}

#[test]
fn a_session_ends_by_silence_by_age_and_by_signing_out() {
    let office = Office::new();
    let is_in = |desk: &Desk<'_>| token_in(&desk.get("/status/")).is_some();
    let desk = office.signs_in();
    office.house.clock.forward(29 * MINUTE_MS);
    assert!(is_in(&desk));
    office.house.clock.forward(30 * MINUTE_MS);
    assert!(!is_in(&desk), "half an hour of silence");
    let desk = office.signs_in();
    for _ in 0..31 {
        office.house.clock.forward(15 * MINUTE_MS);
        assert!(is_in(&desk));
    }
    office.house.clock.forward(15 * MINUTE_MS);
    assert!(!is_in(&desk), "eight hours");
    let (one, two) = (office.signs_in(), office.signs_in());
    let out = one.does("/status/", &[("action", "sign_out")]);
    assert_eq!(out.status, 200);
    assert!(out.header("Set-Cookie").unwrap().contains("Max-Age=0"));
    assert!(!is_in(&one) && is_in(&two));
    // What came too late is told so, and does nothing.
    let late = one.does(LETTERS, &[("action", "drop_all"), ("newest", "ff")]);
    assert_eq!(late.status, 403);
    shows(&late.body, &["session has ended", "type=\"password\""], &[]);
}

/// S-41.
#[test]
fn guessing_waits_longer_and_longer_and_keeps_nobody_else_out() {
    let office = Office::new();
    let (guesser, other) = ("203.0.113.9", "198.51.100.7");
    for _ in 0..5 {
        assert_eq!(office.tries_from(guesser, "wrong").status, 422);
    }
    let waits = office.tries_from(guesser, PASSWORD);
    assert_eq!(
        (waits.status, waits.header("Retry-After")),
        (429, Some("30"))
    );
    assert!(waits.header("Set-Cookie").is_none());
    shows(&waits.body, &["next try is in 30 s"], &[]);
    assert_eq!(office.tries_from(other, PASSWORD).status, 303);
    office.house.clock.forward(30 * SECOND_MS);
    assert_eq!(office.tries_from(guesser, "wrong").status, 422);
    let waits = office.tries_from(guesser, "wrong");
    assert_eq!(
        (waits.status, waits.header("Retry-After")),
        (429, Some("60"))
    );
    office.house.clock.forward(MINUTE_MS);
    assert_eq!(office.tries_from(guesser, PASSWORD).status, 303);
    assert_eq!(office.house.audited("status_page.password_wrong"), 6);
    assert_eq!(office.house.audited("status_page.signed_in"), 2);
}

#[test]
fn without_a_password_there_is_no_such_page() {
    let town = crate::page::Town::start();
    for path in ["/status", "/status/", CONTACTS, LETTERS, "/status/log/"] {
        assert_eq!(town.get(path, &[]).status, 404);
    }
}

// --- what it shows --------------------------------------------------------------------------------

/// Each person once on each way, however often a code was sent again; and a restart forgets nothing.
#[test]
fn the_funnel_counts_people_and_survives_a_restart() {
    let house = House::on_the_web(House::both_ways_in());
    let people: Vec<Person> = (0..4)
        .map(|number| Person::with_number(&format!("57300123456{number}")))
        .collect();
    for number in 0..4 {
        house.register(
            "kutamma",
            &format!("user{number}@example.com"),
            "Ana",
            "Acme",
        );
    }
    // Signs in after a wrong code and another mail.
    house.ask(&people[0], "hola");
    house.ask(&people[0], "user0@example.com");
    house.ask(&people[0], &other_than(&house.code()));
    house.later(2 * MINUTE_MS);
    house.ask(&people[0], "resend");
    house.ask(&people[0], &house.code());
    assert!(house.is_bound(&people[0]));
    // Never types the code; an address that nobody has.
    house.ask(&people[1], "hola");
    house.ask(&people[1], "user1@example.com");
    house.ask(&people[2], "hola");
    house.ask(&people[2], "nobody@example.com");
    // By the link, and once only with a wrong password.
    let link = house.new_link(&people[3]);
    house.wrong_password(&link, "user3@example.com");
    let text = house.sign_in_on_page(&link, "user3@example.com");
    house.ask(&people[3], &text);
    assert!(house.is_bound(&people[3]));
    let link = house.new_link(&people[2]);
    house.wrong_password(&link, "user2@example.com");

    let house = house.restarted();
    let tally = house.tally();
    let of = |method| Milestone::ALL.map(|milestone| tally.reached(method, milestone));
    assert_eq!(of(Method::MailCode), [3, 2, 1, 1]);
    assert_eq!(of(Method::Link), [2, 2, 1, 1]);
    assert_eq!(of(Method::Bot), [0, 0, 0, 0]);
    for (event, count) in [
        ("contact.bound", 2),
        ("code.wrong", 1),
        ("password.wrong", 2),
        (Tally::UNKNOWN_ADDRESS, 1),
    ] {
        assert_eq!(tally.of(event), count, "{event}");
    }
    assert_eq!(tally.of(Tally::REPLIES), house.said().len() as u64);
    assert_eq!(tally.of(Tally::MAILS), house.mails().len() as u64);
    // Two minutes and a few questions.
    let median = tally.median_s(&[Method::MailCode]).unwrap();
    assert!((120..=180).contains(&median), "{median}");
    // What is for the bot costs nothing here.
    let before = house.tally();
    house.ask(&people[0], "how much is the bread?");
    assert_eq!(house.tally(), before);
    // Nothing of a person is in a tally.
    let records = house.records();
    let tallies = records.iter().filter(|(table, ..)| table == "Tally");
    for (_, _, value) in tallies {
        let text = String::from_utf8_lossy(value);
        assert!(
            !text.contains("example") && !text.contains("5730"),
            "{text}"
        );
    }
}

#[test]
fn tallies_are_swept_after_a_hundred_days() {
    let house = House::in_memory();
    house.ask(&Person::with_number("573001234567"), "hola");
    let kept = |house: &House| house.app.tallies(Timestamp(0)).unwrap().len();
    let mut janitor = portero::app::Janitor::default();
    house.clock.forward(99 * DAY_MS);
    janitor.sweep(&house.app).unwrap();
    assert_eq!(kept(&house), 1);
    house.clock.forward(2 * DAY_MS);
    janitor.sweep(&house.app).unwrap();
    assert_eq!(kept(&house), 0);
}

#[test]
fn the_overview_answers_who_signed_in_what_failed_and_what_to_do() {
    let office = Office::new();
    let person = ana(&office);
    office.house.sign_in(&person, "ana@example.com");
    let other = Person::with_number("573009998877");
    office.house.ask(&other, "hola");
    office.house.ask(&other, "nobody@example.com");
    let desk = office.signs_in();
    let page = desk.page("/status/");
    shows(
        &page,
        &[
            "Everything works",
            "Ana Pérez, Acme</a> signed in",
            "50 % of 2 that began",
            "that nobody has",
            "portero check --service NAME --email ADDRESS",
            "<svg",
            " / 1000",
            "sign_in.return_code is off",
            "40.0 GiB of 80.0 GiB",
        ],
        &["573001234567", "ana@example.com", "nobody@example.com"],
    );
    // A lane that rests says why.
    office
        .house
        .world
        .change(|outside| outside.whatsapp = Takes::Not(portero_rests()));
    office.house.ask(&other, "hola");
    let page = desk.page("/status/?range=48h");
    shows(
        &page,
        &["Replies to WhatsApp: paused. 190 access token", "Paused"],
        &["Everything works"],
    );
    for range in ["7d", "30d", "90d", "", "x%22%3E%3Cb%3E"] {
        let page = desk.page(&format!("/status/?range={range}"));
        shows(&page, &["<svg"], &["<b>"]);
    }
}

#[test]
fn a_lane_that_takes_nothing_for_minutes_is_what_needs_somebody() {
    let office = Office::new();
    let desk = office.signs_in();
    let busy = portero::domain::failure::Failure::temporary("131016 service unavailable");
    (office.house.world).change(|outside| outside.whatsapp = Takes::Not(busy));
    office
        .house
        .ask(&Person::with_number("573009998877"), "hola");
    office.house.later(61_000);
    shows(&desk.page("/status/"), &["Everything works"], &["Fails"]);
    office.house.later(121_000);
    shows(
        &desk.page("/status/"),
        &[
            "Replies to WhatsApp: nothing has been taken for 3 minutes. 131016 service unavailable",
            "Fails",
        ],
        &["Everything works", "paused."],
    );
    (office.house.world).change(|outside| outside.whatsapp = Takes::It);
    office.house.later(61_000);
    shows(&desk.page("/status/"), &["Everything works"], &["Fails"]);
}

fn portero_rests() -> portero::domain::failure::Failure {
    portero::domain::failure::Failure {
        kind: portero::domain::failure::FailureKind::Configuration,
        reason: "190 access token expired or revoked".to_owned(),
        advice: Some("write a permanent token"),
    }
}

#[test]
fn an_office_in_which_nothing_has_happened_says_so() {
    let office = Office::new();
    let desk = office.signs_in();
    shows(
        &desk.page("/status/"),
        &[
            "Nobody has begun",
            "Nothing failed",
            "Nobody has signed in yet",
        ],
        &["<svg"],
    );
    shows(&desk.page(CONTACTS), &["Nobody has written yet"], &[]);
    shows(&desk.page(LETTERS), &["There are none"], &["Drop all"]);
    shows(&desk.page("/status/log/"), &["signed in to this page"], &[]);
    shows(
        &desk.page("/status/log/?show=failures"),
        &["Nothing has been written down"],
        &[],
    );
}

/// A chat that changes hands must not put one person's deeds under another's name.
#[test]
fn a_line_says_who_it_was_then_and_not_who_it_is_now() {
    let office = Office::new();
    let person = ana(&office);
    let house = &office.house;
    house.register("woku", "bea@example.com", "Bea Ruiz", "Río");
    house.sign_in(&person, "ana@example.com");
    house.ask(&person, "log out");
    house.clock.forward(3 * HOUR_MS);
    house.sign_in(&person, "bea@example.com");
    let desk = office.signs_in();
    let log = desk.page("/status/log/?show=sign-ins");
    shows(
        &log,
        &["Bea Ruiz, Río</a> signed in", "Number …67</a> signed in"],
        &["Ana"],
    );
    assert_eq!(log.matches("Bea Ruiz").count(), 1);
}

#[test]
fn a_reload_is_told_with_its_keys_and_as_nobodys_deed() {
    let office = Office::new();
    let keys = ["mail.password".to_owned(), "services[erp]".to_owned()];
    office.house.app.note_reload(&keys).unwrap();
    let desk = office.signs_in();
    shows(
        &desk.page("/status/log/"),
        &["the configuration was reloaded: mail.password, services[erp]"],
        &["Somebody who was forgotten"],
    );
}

#[test]
fn what_operators_do_is_told_and_only_whom_it_was_about_is_forgotten() {
    let office = Office::new();
    let (person, house) = (ana(&office), &office.house);
    house.sign_in(&person, "ana@example.com");
    let user = NewUser::parse("bea@example.com", "Bea Ruiz", "Río", "").unwrap();
    house.app.add_user(&user).unwrap();
    let id = house.app.users().unwrap().remove(0).id;
    let number = Whom::Number(person.wa_id.clone().unwrap());
    house.app.export(&number).unwrap().unwrap();
    let desk = office.signs_in();
    let added = format!("a user was added to the directory: {id}");
    let exported = "had all that is kept about them exported by an operator";
    let by_ana = format!("</a> {exported}");
    shows(
        &desk.page("/status/log/"),
        &[&added, &by_ana],
        &["bea@", "Bea", "Somebody"],
    );
    house.app.forget(&number).unwrap();
    house.app.forget(&Whom::Email(user.email)).unwrap();
    let by_somebody = format!("Somebody who was forgotten {exported}");
    shows(
        &desk.page("/status/log/"),
        &["a user was added to the directory", &by_somebody],
        &[&id],
    );
}

#[test]
fn a_wrong_number_on_the_page_is_counted_and_told() {
    let policy = Policy {
        ask_number: true,
        ..House::both_ways_in()
    };
    let office = Office::in_house(House::on_the_web(policy));
    let person = ana(&office);
    let link = office.house.new_link(&person);
    let visitor = Visitor::new("ana@example.com", NETWORK);
    let (answer, _) = (office.house).form(&link, Some("34600111222"), &visitor, Verdict::Nobody);
    assert!(matches!(answer, PageAnswer::WrongNumber { .. }));
    assert_eq!(office.house.tally().of(Tally::WRONG_NUMBER), 1);
    let desk = office.signs_in();
    shows(
        &desk.page("/status/"),
        &["that are not the chat"],
        &["34600111222"],
    );
}

// --- contacts -------------------------------------------------------------------------------------

#[test]
fn somebody_is_found_by_name_address_number_ending_and_uuid_and_lists_mask_them() {
    let office = Office::new();
    let person = ana(&office);
    office.house.sign_in(&person, "ana@example.com");
    let bea = Person::with_number("573009998877");
    office
        .house
        .register("woku", "bea@example.com", "Bea <b>Ruiz", "Río");
    office.house.sign_in(&bea, "bea@example.com");
    let desk = office.signs_in();
    let id = office.house.contact_of(&person).id.to_string();
    for search in [
        "pérez",
        "ANA@example.com",
        "Acme",
        "573001234567",
        "+57 300 123-4567",
        "…67",
        "67",
        &id,
    ] {
        let found = desk.finds(search);
        shows(
            &found,
            &["Ana Pérez, Acme", "…67", "a•••@e•••"],
            &["Ruiz", "573001234567\""],
        );
    }
    shows(&desk.finds("zzz"), &["Nobody was found"], &["Ana"]);
    let all = desk.page(CONTACTS);
    shows(
        &all,
        &["Ana Pérez", "Bea &lt;b&gt;Ruiz"],
        &["573001234567", "ana@example.com", "<b>"],
    );
    let one = desk.page(&format!("{CONTACTS}{id}/"));
    shows(
        &one,
        &["ana@example.com", "kutamma", "code by mail", "…67"],
        &["573001234567"],
    );
    for nobody in ["x", "0b0e3a52-63a5-4c60-9d39-7b3d6f0f7f1b"] {
        assert_eq!(desk.get(&format!("{CONTACTS}{nobody}/")).status, 404);
    }
}

/// Contacts who wrote and are not signed in. In a list of all they come before those who write.
pub fn crowd(house: &House, count: usize) {
    let (store, keys) = house.store_and_keys();
    let now = house.clock_now();
    let put = move |writer: &mut dyn Writer| {
        for number in 0..u32::try_from(count).unwrap() {
            let mut random = [0; 16];
            random[..4].copy_from_slice(&number.to_be_bytes());
            let id = ContactId::from_random(random);
            let wa_id = WaId::parse(&format!("51999{number:06}")).unwrap();
            record::put_wa_id(writer, &keys, &wa_id, id)?;
            let contact = Contact::new(id, None, Some(wa_id), Language::Spanish, now);
            record::put_contact(writer, &contact)?;
        }
        Ok(())
    };
    store.update(put).unwrap();
}

#[test]
fn everybody_of_a_business_with_thousands_of_contacts_is_found_by_name() {
    let office = Office::new();
    office.house.sign_in(&ana(&office), "ana@example.com");
    crowd(&office.house, SEARCH_LOOKS_MAX - 1);
    let desk = office.signs_in();
    shows(
        &desk.finds("pérez"),
        &["Ana Pérez, Acme"],
        &["looked through", "Search on"],
    );
    shows(
        &desk.finds("zzz"),
        &["Nobody was found"],
        &["looked through", "Search on"],
    );
}

/// However many there are, a search takes no longer.
#[test]
fn a_search_looks_at_so_many_contacts_and_says_what_is_found_at_once() {
    let office = Office::new();
    let person = ana(&office);
    office.house.sign_in(&person, "ana@example.com");
    crowd(&office.house, SEARCH_LOOKS_MAX);
    let desk = office.signs_in();
    let cut_short = [
        "Not found so far.",
        "10,000 contacts were looked through, and there are more.",
        "type what is found at once: a whole mail address, a number, or its last digits",
        "Search on",
    ];
    let found = desk.finds("pérez");
    shows(&found, &cut_short, &["Ana Pérez"]);
    let after = found.split_once("name=\"after\" value=\"").unwrap().1;
    let after = after.split('"').next().unwrap();
    let fields = [("action", "search"), ("search", "pérez"), ("after", after)];
    let found = desk.does(CONTACTS, &fields).body;
    shows(&found, &["Ana Pérez, Acme"], &["Search on", "More"]);

    for typed in [
        "ANA@example.com",
        "573001234567",
        "300 123 4567",
        "…1234567",
    ] {
        shows(&desk.finds(typed), &["Ana Pérez, Acme"], &["Search on"]);
        let found = (office.house.app).search(&Wanted::parse(typed), None, 50);
        assert_eq!(found.unwrap().looked_at, 1, "{typed}");
    }
    for (typed, words) in [
        (
            "nobody@example.com",
            "Nobody is signed in with this address. To find similar ones",
        ),
        (
            "573001234568",
            "Nobody has written from a number that is this one or ends like it.",
        ),
    ] {
        shows(&desk.finds(typed), &[words], &["Ana", "Search on"]);
        let found = (office.house.app).search(&Wanted::parse(typed), None, 50);
        assert_eq!(found.unwrap().looked_at, 0, "{typed}");
    }
    // A whole page, and the next one, of the hundred that end so.
    let found = (office.house.app).search(&Wanted::parse("42"), None, 50);
    let found = found.unwrap();
    assert_eq!(found.contacts.len(), 50);
    assert!((51..=102).contains(&found.looked_at), "{}", found.looked_at);
    let rest = (office.house.app).search(&Wanted::parse("42"), found.next, 60);
    let rest = rest.unwrap();
    assert_eq!((rest.contacts.len(), rest.next), (50, None));
    let is_new = |contact: &Contact| !found.contacts.contains(contact);
    assert!(rest.contacts.iter().all(is_new));
}

#[test]
fn an_address_finds_every_chat_that_is_signed_in_with_it_until_it_is_signed_out_or_forgotten() {
    let office = Office::new();
    let (first, second) = (ana(&office), Person::with_number("573009998877"));
    for person in [&first, &second] {
        office.house.sign_in(person, "ana@example.com");
    }
    let found = || {
        let wanted = Wanted::parse("Ana@example.com");
        let found = office.house.app.search(&wanted, None, 50).unwrap();
        let numbers = found.contacts.iter().map(|contact| contact.number_ending());
        let mut endings: Vec<String> = numbers.map(|of| of.unwrap().to_owned()).collect();
        endings.sort();
        (endings.join(" "), found.looked_at)
    };
    assert_eq!(found(), ("67 77".to_owned(), 2));
    office.house.ask(&first, "cerrar sesión");
    assert_eq!(found(), ("77".to_owned(), 1));
    let id = office.house.contact_of(&second).id;
    office.house.app.forget(&Whom::User(id)).unwrap();
    assert_eq!(found(), (String::new(), 0));
    let alias_of_second =
        |(table, _, value): &(String, Vec<u8>, Vec<u8>)| table == "Alias" && value == &id.0;
    assert!(!office.house.records().iter().any(alias_of_second));
}

#[test]
fn somebody_is_logged_out_and_it_is_written_down() {
    let office = Office::new();
    let person = ana(&office);
    office.house.sign_in(&person, "ana@example.com");
    let desk = office.signs_in();
    let id = office.house.contact_of(&person).id.to_string();
    let done = desk.does(CONTACTS, &[("action", "release"), ("id", &id)]);
    assert_eq!(done.status, 303);
    assert!(!office.house.is_bound(&person));
    let lines = office.house.overview().audit;
    let of = |event: &str| {
        lines
            .iter()
            .find(|line| line.event == event)
            .map(|line| &line.contact)
    };
    assert_eq!(of("status_page.contact_released"), Some(&id));
    assert_eq!(of("contact.released.operator"), Some(&id));
    let page = desk.page(done.header("Location").unwrap());
    shows(&page, &["Logged out", "Not signed in"], &["Log out…"]);
    let again = desk.does(CONTACTS, &[("action", "release"), ("id", &id)]);
    shows(
        &desk.page(again.header("Location").unwrap()),
        &["nothing to end"],
        &[],
    );
}

/// Search terms name people: they stay out of addresses, which proxies write into their logs.
#[test]
fn a_long_list_goes_on_without_naming_anybody_in_an_address() {
    let office = Office::new();
    for number in 0..120 {
        office
            .house
            .write(&Person::with_number(&format!("57300{number:07}")), "hola");
    }
    let desk = office.signs_in();
    let (mut seen, mut after) = (0, String::new());
    for _ in 0..3 {
        let fields = [
            ("action", "search"),
            ("search", ""),
            ("after", after.as_str()),
        ];
        let page = desk.does(CONTACTS, &fields).body;
        seen += page.matches("<th scope=\"row\">").count();
        let next = page.split_once("name=\"after\" value=\"");
        after = next.map_or(String::new(), |(_, rest)| {
            rest.split('"').next().unwrap().to_owned()
        });
    }
    assert_eq!((seen, after.as_str()), (120, ""));
}

// --- dead letters ---------------------------------------------------------------------------------

/// Three messages that the bot did not take, and an answer whose time is over.
fn with_letters(office: &Office) -> Person {
    let person = ana(office);
    let house = &office.house;
    house.sign_in(&person, "ana@example.com");
    house
        .world
        .change(|outside| outside.bot = Takes::Not(server_error()));
    for text in ["one", "two", "three"] {
        house.write(&person, text);
    }
    house.settle();
    for _ in 0..30 {
        house.clock.forward(7 * HOUR_MS);
        house.settle();
    }
    let (letters, _) = house.app.letters(None, None, 100).unwrap();
    assert_eq!(letters.len(), 3, "{letters:#?}");
    person
}

#[test]
fn letters_are_retried_and_dropped_one_by_one_and_all() {
    let office = Office::new();
    with_letters(&office);
    let desk = office.signs_in();
    let page = desk.page(LETTERS);
    shows(
        &page,
        &[
            "Messages to the bot",
            "Retry",
            "Drop…",
            "Retry all that can be",
        ],
        &["one", "two", "three"].map(|_| "573001234567"),
    );
    let (letters, _) = office.house.app.letters(None, None, 100).unwrap();
    let name = |at: usize| format!("{:x}", letters[at].dead.entry.id.0);
    let waiting = || {
        office
            .house
            .app
            .entries(Lane::Bot, None, 100)
            .unwrap()
            .len()
    };
    let dead = || office.house.app.letters(None, None, 100).unwrap().0.len();

    let done = desk.does(LETTERS, &[("action", "retry"), ("id", &name(0))]);
    assert_eq!(
        done.header("Location"),
        Some("/status/letters/?done=1&left=0")
    );
    assert_eq!((waiting(), dead()), (1, 2));
    desk.does(LETTERS, &[("action", "drop"), ("id", &name(1))]);
    assert_eq!((waiting(), dead()), (1, 1));
    assert_eq!(office.house.audited("status_page.letter_retried"), 1);
    assert_eq!(office.house.audited("status_page.letter_dropped"), 1);
    // Nothing newer than what the page showed.
    let older = format!("{:x}", letters[2].dead.entry.id.0 - 1);
    desk.does(LETTERS, &[("action", "drop_all"), ("newest", &older)]);
    assert_eq!(dead(), 1);
    for wrong in ["", "zz", "+1", "-1"] {
        desk.does(LETTERS, &[("action", "drop_all"), ("newest", wrong)]);
        desk.does(LETTERS, &[("action", "drop"), ("id", wrong)]);
    }
    assert_eq!(dead(), 1);
    desk.does(LETTERS, &[("action", "retry_all"), ("newest", &name(0))]);
    assert_eq!((waiting(), dead()), (2, 0));
    // Nothing is lost on the way: the bot gets what was retried.
    office.house.world.change(|outside| outside.bot = Takes::It);
    office.house.later(HOUR_MS);
    assert_eq!(waiting(), 0);
}

#[test]
fn all_letters_are_dropped_by_one_press() {
    let office = Office::new();
    with_letters(&office);
    let desk = office.signs_in();
    let page = desk.page(LETTERS);
    let (_, rest) = page.split_once("name=\"newest\" value=\"").unwrap();
    let newest = rest.split('"').next().unwrap();
    let done = desk.does(LETTERS, &[("action", "drop_all"), ("newest", newest)]);
    assert_eq!(
        done.header("Location"),
        Some("/status/letters/?done=3&left=0")
    );
    assert!(
        office
            .house
            .app
            .letters(None, None, 100)
            .unwrap()
            .0
            .is_empty()
    );
    assert_eq!(office.house.audited("status_page.letter_dropped"), 3);
}

// --- secrets --------------------------------------------------------------------------------------

/// S-90: what opens something is on no page, and a whole number is on none.
#[test]
fn no_page_has_a_secret_or_a_whole_number() {
    let office = Office::new();
    let person = with_letters(&office);
    let house = &office.house;
    house.world.change(|outside| outside.bot = Takes::It);
    let third = Person::with_number("573002223344");
    let link = house.new_link(&third);
    let text = house.sign_in_on_page(&link, "ana@example.com");
    let return_code = text.rsplit(' ').next().unwrap().to_owned();
    let stranger = Person::with_number("573007776655");
    house.register("kutamma", "eva@example.com", "Eva", "Acme");
    house.ask(&stranger, "hola");
    house.ask(&stranger, "eva@example.com");
    house.ask(&stranger, "canary-what-somebody-wrote");
    let desk = office.signs_in();
    let undo = house.undo_token("ana@example.com").unwrap();
    let code = house.code();
    let session = desk.cookie.split_once('=').unwrap().1.to_owned();
    let secrets = [
        code.as_str(),
        &return_code,
        link.reveal(),
        &undo,
        &session,
        PASSWORD,
        &HASH,
        "573001234567",
        "573002223344",
        "573007776655",
        "canary-what-somebody-wrote",
        "eva@example.com",
    ];
    let ids = [&person, &stranger].map(|one| house.contact_of(one).id.to_string());
    let mut pages: Vec<String> = [
        "/status/",
        CONTACTS,
        LETTERS,
        "/status/log/",
        "/status/log/?show=failures",
    ]
    .map(|path| desk.page(path))
    .into();
    pages.extend(ids.iter().map(|id| desk.page(&format!("{CONTACTS}{id}/"))));
    pages.push(desk.finds("example"));
    pages.push(
        office
            .tries_from("203.0.113.5", "canary-wrong-password")
            .body,
    );
    for page in &pages {
        shows(page, &[], &secrets);
        shows(page, &[], &["canary-wrong-password"]);
    }
}

// --- the whole program ----------------------------------------------------------------------------

/// The line that the command prints, put into a file, opens the page of the real program.
#[test]
fn the_line_that_the_command_prints_opens_the_page() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let prints = |password: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portero"))
            .args(["status", "password", "--password-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(password.as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, line, told) = prints(&format!("{PASSWORD}\n"));
    assert_eq!(code, Some(0), "{told}");
    let set: toml::Table = line.parse().unwrap();
    let hash = set["status"]["password_hash"].as_str().unwrap().to_owned();
    assert!(
        !line.contains(PASSWORD) && told.contains("portero.toml"),
        "{told}"
    );
    let (_, again, _) = prints(PASSWORD);
    assert_ne!(line, again, "no fresh salt");
    let (code, line, told) = prints("fourteen chars");
    assert_eq!((code, line.as_str()), (Some(65), ""));
    assert!(told.contains("15 characters or more"), "{told}");

    let town = crate::page::Town::with(|file| {
        crate::page::set(file, "status", "password_hash", hash);
    });
    assert_eq!(town.get("/status/", &[]).status, 200);
    let body = format!("action=sign_in&password={}", PASSWORD.replace(' ', "+"));
    let origin = format!("https://{PUBLIC_HOST}");
    let headers = [
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Origin", origin.as_str()),
    ];
    let answer = ask(town.address, "POST", "/status/", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 303);
    let cookie = answer
        .header("Set-Cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let page = town.get("/status/", &[("Cookie", cookie)]).body;
    // What the program knows of itself, as `check` tells it.
    shows(
        &page,
        &[
            env!("CARGO_PKG_VERSION"),
            "Replies to WhatsApp",
            "Kutamma",
            "none yet",
            "mail.security: codes go to the mail server on this machine unencrypted",
        ],
        &["There is no recent snapshot"],
    );
    shows(
        &town.get("/status", &[("Cookie", cookie)]).body,
        &["What needs you"],
        &[],
    );
}

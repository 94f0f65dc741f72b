//! The status page in a real browser, on a phone and at a desk, by day and at night.

use crate::house::{House, Person, Takes, failure, mailbox_refused, other_than, server_error};
use crate::status::{CONTACTS, Office, PASSWORD, crowd};
use crate::webdriver::{Browser, Device, ENTER, Outfit};
use portero::app::SEARCH_LOOKS_MAX;
use portero::domain::failure::FailureKind;
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use serde_json::json;

const PHONE: Device = Device::Phone(390, 844);
const LAPTOP: Device = Device::Desktop(1280, 800);

/// A month of a small business.
fn a_month() -> Office {
    let house = House::on_the_web(House::both_ways_in());
    let names = [
        "Ana Pérez",
        "Bruno Díaz",
        "Camila Rojas",
        "Dora Núñez",
        "Elena Ríos",
    ];
    let mut number = 0;
    for day in 0..30u64 {
        for visit in 0..(2 + day % 4 + u64::from(day % 7 < 2) * 3) {
            number += 1;
            let person = Person::with_number(&format!("57300{number:07}"));
            let email = format!("person{number}@example.com");
            let name = names[number % names.len()];
            house.register("kutamma", &email, name, "Panadería La Espiga");
            match (day + visit) % 7 {
                0 => {
                    house.ask(&person, "hola");
                    house.ask(&person, "nobody@example.com");
                }
                1 => {
                    house.ask(&person, "hola");
                    house.ask(&person, &email);
                    house.ask(&person, &other_than(&house.code()));
                }
                2 | 3 => {
                    let link = house.new_link(&person);
                    house.wrong_password(&link, &email);
                    let text = house.sign_in_on_page(&link, &email);
                    house.clock.forward(40 * SECOND_MS);
                    house.ask(&person, &text);
                }
                _ => {
                    house.ask(&person, "hola");
                    house.ask(&person, &email);
                    house.clock.forward((20 + 15 * visit) * SECOND_MS);
                    house.ask(&person, &house.code());
                }
            }
            house.clock.forward(HOUR_MS + 7 * MINUTE_MS * visit);
        }
        house.clock.forward(DAY_MS - 9 * HOUR_MS);
    }
    let bad = Person::with_number("573119998877");
    house.register("kutamma", "bad@example.com", "Sin Buzón", "La Espiga");
    (house.world).change(|outside| outside.mail = Takes::Not(mailbox_refused()));
    house.ask(&bad, "hola");
    house.ask(&bad, "bad@example.com");
    house.world.change(|outside| {
        outside.mail = Takes::It;
        outside.bot = Takes::Not(server_error());
    });
    let one = Person::with_number(&format!("57300{number:07}"));
    house.ask(&one, "¿a qué hora cierran?");
    for _ in 0..30 {
        house.clock.forward(7 * HOUR_MS);
        house.settle();
    }
    house.register(
        "kutamma",
        "last@example.com",
        "Lucía Gómez",
        "Panadería La Espiga",
    );
    let last = Person::with_number("573110001122");
    house.sign_in(&last, "last@example.com");
    let expired = failure(
        FailureKind::Configuration,
        "190 access token expired or revoked",
    );
    (house.world).change(|outside| outside.whatsapp = Takes::Not(expired));
    house.ask(&Person::with_number("573110003344"), "hola");
    Office::in_house(house)
}

struct Visit<'o> {
    browser: Browser,
    office: &'o Office,
}

impl<'o> Visit<'o> {
    fn to(office: &'o Office, name: &str, device: Device, outfit: &Outfit) -> Visit<'o> {
        let browser = Browser::start_in(name, device, outfit);
        browser.paint("light");
        Visit { browser, office }
    }

    fn open(&self, path: &str) {
        self.browser
            .open(&format!("http://{}{path}", self.office.address));
    }

    fn types(&self, selector: &str, text: &str) {
        let field = self.browser.find(selector, "");
        self.browser.type_into(&field, text);
    }

    fn signs_in(&self) {
        self.open("/status/");
        self.types("#password", &format!("{PASSWORD}{ENTER}"));
        self.reads("From asking to signed in");
    }

    fn reads(&self, words: &str) {
        self.browser.until(&format!("the page says “{words}”"), || {
            let text = self
                .browser
                .run("return document.body.innerText", json!([]));
            text.as_str()?.contains(words).then_some(())
        });
    }

    /// Nothing sticks out of the page, nothing is pale, and the console is quiet.
    fn is_in_order(&self, what: &str) {
        let wide = self.browser.run(
            "return [...document.querySelectorAll('body *')]
               .filter((one) => !one.closest('.scroll, nav, .unseen, .skip'))
               .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
               .map((one) => one.outerHTML.slice(0, 90))",
            json!([]),
        );
        assert_eq!(wide, json!([]), "{what}");
        let pale = crate::browser::pale_texts(&self.browser, what);
        assert!(pale.is_empty(), "{pale:#?}");
        let told = self.browser.console();
        let lines: Vec<_> = (told.iter())
            .filter(|line| !line.contains("favicon.ico"))
            .collect();
        assert!(lines.is_empty(), "{what}: {lines:#?}");
    }

    /// The whole page, as long as it is.
    fn photograph(&self, name: &str) {
        let size = self.browser.run(
            "return [innerWidth, innerHeight, document.documentElement.scrollHeight]",
            json!([]),
        );
        let of = |place: usize| size[place].as_u64().unwrap();
        let show = |height| {
            let metrics = json!({
                "width": of(0), "height": height, "deviceScaleFactor": 1, "mobile": false,
            });
            let command = "Emulation.setDeviceMetricsOverride";
            self.browser.chromium(command, metrics);
        };
        show(of(2));
        self.browser.photograph(name);
        show(of(1));
    }
}

const PAGES: [(&str, &str); 4] = [
    ("overview", "/status/?range=30d"),
    ("contacts", CONTACTS),
    ("letters", "/status/letters/"),
    ("log", "/status/log/"),
];

#[test]
fn every_page_can_be_read_on_a_phone_and_at_a_desk_by_day_and_at_night() {
    let full = a_month();
    let empty = Office::in_house(House::on_the_web(House::both_ways_in()));
    for (device, on) in [(PHONE, "phone"), (LAPTOP, "laptop")] {
        for (office, of) in [(&full, "full"), (&empty, "empty")] {
            let visit = Visit::to(office, "status-look", device, &Outfit::default());
            for scheme in ["light", "dark"] {
                visit.browser.paint(scheme);
                let pages = PAGES
                    .iter()
                    .filter(|(page, _)| of == "full" || *page == "overview");
                if scheme == "light" {
                    visit.open("/status/");
                    visit.is_in_order("the way in");
                    visit.photograph(&format!("status-door-{on}"));
                    visit.signs_in();
                }
                for (page, path) in pages {
                    visit.open(path);
                    visit.is_in_order(&format!("{page} {of} {on} {scheme}"));
                    visit.photograph(&format!("status-{page}-{of}-{on}-{scheme}"));
                }
            }
        }
    }
}

#[test]
fn the_administrator_finds_somebody_logs_them_out_and_drops_a_letter_without_a_script() {
    let office = a_month();
    office
        .house
        .world
        .change(|outside| outside.whatsapp = Takes::It);
    let outfit = Outfit {
        has_no_scripts: true,
        ..Outfit::default()
    };
    let visit = Visit::to(&office, "status-walk", LAPTOP, &outfit);
    visit.open("/status/");
    visit.types("#password", &format!("not the password{ENTER}"));
    visit.reads("That is not the password");
    visit.types("#password", &format!("{PASSWORD}{ENTER}"));
    visit.reads("Signed in lately");
    visit.reads("Lucía Gómez, Panadería La Espiga signed in");

    visit.open(CONTACTS);
    visit.types("#search", &format!("lucía{ENTER}"));
    // She is on the page of everybody as well.
    visit.browser.until("one contact is found", || {
        let rows = "return document.querySelectorAll('tbody tr').length";
        (visit.browser.run(rows, json!([])) == 1).then_some(())
    });
    visit.reads("l•••@e•••");
    let link = visit
        .browser
        .run("return document.querySelector('tbody a').href", json!([]));
    visit.browser.open(link.as_str().unwrap());
    visit.reads("last@example.com");
    visit.photograph("status-contact-laptop-light");
    // With the keyboard: the driver's click waits for a script.
    let summary = visit.browser.find("summary", "");
    visit.browser.type_into(&summary, ENTER_KEY);
    let button = visit.browser.find("button[value=release]", "");
    visit.browser.type_into(&button, ENTER_KEY);
    visit.reads("Logged out");
    let last = Person::with_number("573110001122");
    assert!(!office.house.is_bound(&last));
    assert_eq!(office.house.audited("status_page.contact_released"), 1);

    visit.open("/status/letters/");
    let letters = || office.house.app.letters(None, None, 100).unwrap().0.len();
    let before = letters();
    assert!(before >= 2, "{before}");
    let summary = visit.browser.find("li summary", "");
    visit.browser.type_into(&summary, ENTER_KEY);
    let button = visit.browser.find("li button[value=drop]", "");
    visit.browser.type_into(&button, ENTER_KEY);
    visit.reads("Done.");
    assert_eq!(letters(), before - 1);

    let button = visit.browser.find("button[value=sign_out]", "");
    visit.browser.type_into(&button, ENTER_KEY);
    visit.reads("You are signed out");
    visit.open(CONTACTS);
    visit.reads("Password");
}

#[test]
fn a_search_that_was_cut_short_can_be_read_and_goes_on_at_a_press() {
    let house = House::on_the_web(House::both_ways_in());
    house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
    let ana = Person::with_number("573001234567");
    house.sign_in(&ana, "ana@example.com");
    crowd(&house, SEARCH_LOOKS_MAX);
    let office = Office::in_house(house);
    for (device, on, scheme) in [(PHONE, "phone", "light"), (LAPTOP, "laptop", "dark")] {
        let visit = Visit::to(&office, "status-search", device, &Outfit::default());
        visit.browser.paint(scheme);
        visit.signs_in();
        let mut shown = 0;
        for (typed, words) in [
            ("pérez", "were looked through, and there are more"),
            (
                "nobody@example.com",
                "Nobody is signed in with this address.",
            ),
            ("573001234568", "Nobody has written from a number"),
            ("300 123 4567", "Ana Pérez, Acme"),
            ("pérez", "Not found so far."),
        ] {
            visit.open(CONTACTS);
            visit.types("#search", &format!("{typed}{ENTER}"));
            visit.reads(words);
            visit.is_in_order(&format!("the search for {typed} {on} {scheme}"));
            shown += 1;
            visit.photograph(&format!("status-search-{shown}-{on}-{scheme}"));
        }
        let button = visit.browser.find("form.more button", "");
        visit.browser.type_into(&button, ENTER_KEY);
        visit.reads("Ana Pérez, Acme");
    }
}

/// As a key that is pressed.
const ENTER_KEY: &str = "\u{E007}";

//! The sign-in page as people use it: the production server, a real browser on a phone and on a
//! laptop, and a stand-in behind the name api.whatsapp.com, reached over TLS under the page's own
//! Content-Security-Policy (S-38, S-42, S-42b).

use crate::browser::pale_texts;
use crate::outside::{Reply, Server};
use crate::page::{
    ANA_PASSWORD, ANA_USER, ANDROID, Town, WRONG_PASSWORD, between, link_of, set, text_of,
};
use crate::python::StandIn;
use crate::webdriver::{Browser, Device, ENTER, Outfit, PATIENCE, TAB};
use portero::simulator::cast::{ANA, BRUNO};
use portero::simulator::services::Trouble;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;

const PHONE: Device = Device::Phone(390, 844);
const LAPTOP: Device = Device::Desktop(1280, 800);
const NARROW: Device = Device::Phone(320, 568);

/// What stands behind the names of WhatsApp adds this to the address, as the real one does.
const MOVED: &str = "&type=phone_number&app_absent=0";

/// A person with a browser, the program, and WhatsApp's site.
struct Visit {
    browser: Browser,
    town: Town,
    whatsapp: StandIn,
    origin: String,
}

impl Visit {
    fn on(name: &str, device: Device) -> Visit {
        Visit::with(name, device, Outfit::default(), MOVED, |_| {})
    }

    fn with(
        name: &str,
        device: Device,
        outfit: Outfit,
        moves_to: &str,
        change: impl FnOnce(&mut toml::Table),
    ) -> Visit {
        // Somebody else may take the port in between; then the program says so.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let origin = format!("http://{host}");
        let town = Town::with(|file| {
            set(file, "server", "listen", host);
            set(file, "server", "public_url", origin.clone());
            change(file);
        });
        let names = [
            "api.whatsapp.com",
            "wa.me",
            "www.whatsapp.com",
            "evil.example",
        ];
        let wishes = json!({"names": names, "moves_to": moves_to});
        let whatsapp = StandIn::start("https_stand_in.py", &wishes);
        let rules = names.map(|name| format!("MAP {name} 127.0.0.1:{}", whatsapp.port));
        let mut switches = vec![
            format!("--host-resolver-rules={}", rules.join(",")),
            "--ignore-certificate-errors".to_owned(),
            "--no-proxy-server".to_owned(),
            "--accept-lang=es-CO,es".to_owned(),
        ];
        switches.extend(outfit.switches);
        let outfit = Outfit {
            switches,
            agent: matches!(device, Device::Phone(..)).then_some(ANDROID),
            notes_requests: true,
            ..outfit
        };
        let browser = Browser::start_in(name, device, &outfit);
        browser.paint("light");
        // Without a screen no window is in front, and what has the focus would not show it.
        browser.chromium(
            "Emulation.setFocusEmulationEnabled",
            json!({"enabled": true}),
        );
        Visit {
            browser,
            town,
            whatsapp,
            origin,
        }
    }

    /// Asks for a link and opens it.
    fn opens_link(&self, phone: usize) -> String {
        let link = link_of(&self.town.world, phone);
        assert!(link.starts_with(&self.origin), "{link}");
        self.browser.open(&link);
        link
    }

    fn types(&self, selector: &str, text: &str) {
        let field = self.browser.find(selector, "");
        self.browser.type_into(&field, text);
    }

    fn signs_in(&self, user: &str, password: &str) {
        self.types("#user", user);
        self.types("#password", password);
        self.browser.press("button[value=sign_in]", "");
    }

    /// Waits until WhatsApp's site is open; the address that was asked for first.
    fn is_in_whatsapp(&self) -> String {
        self.browser.until("WhatsApp is open", || {
            let here = self.address();
            here.starts_with("https://api.whatsapp.com/send/")
                .then_some(())
        });
        let visit = self.whatsapp.next("visit");
        let headers = visit["headers"].as_object().unwrap();
        assert!(!headers.contains_key("referer"), "{visit}");
        assert!(!headers.contains_key("cookie"), "{visit}");
        let path = visit["path"].as_str().unwrap();
        format!("https://api.whatsapp.com{path}")
    }

    fn address(&self) -> String {
        let here = self.browser.run("return location.href", json!([]));
        here.as_str().unwrap().to_owned()
    }

    fn reads(&self, words: &str) {
        self.browser.until(&format!("the page says “{words}”"), || {
            let text = self
                .browser
                .run("return document.body.innerText", json!([]));
            text.as_str()?.contains(words).then_some(())
        });
    }

    /// Every request so far went to the program or to WhatsApp.
    fn assert_asked_nobody_else(&self, hash: &str) {
        let requests = self.browser.requests();
        assert!(!requests.is_empty());
        for (url, headers) in &requests {
            // The browser's own first page.
            if url.starts_with("data:") || url.starts_with("chrome") {
                continue;
            }
            let own = url.starts_with(&self.origin);
            let chat = url.starts_with("https://api.whatsapp.com/");
            assert!(own || chat, "{url}");
            assert!(own || !url.contains(hash), "{url}");
            // WhatsApp's page names itself when it asks WhatsApp for its icon.
            let ours = |(name, value): &&(String, String)| {
                name == "referer" && value.contains(&self.origin)
            };
            assert_eq!(headers.iter().find(ours), None, "{url}");
        }
    }

    fn assert_console_is_quiet(&self) {
        let told = self.browser.console();
        // Browsers ask for an icon by themselves.
        let lines: Vec<&String> = told
            .iter()
            .filter(|line| !line.contains("favicon.ico"))
            .collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

fn hash_of(link: &str) -> &str {
    link.split_once("mappingHash=").unwrap().1
}

// --- the whole way --------------------------------------------------------------------------------

/// S-42b: the redirect passes the page's own policy, and what follows it, too.
#[test]
fn somebody_with_a_phone_signs_in_and_is_in_whatsapp() {
    let visit = Visit::on("page-phone", PHONE);
    let link = visit.opens_link(ANA);
    let hash = hash_of(&link);
    // S-38: it leaves the address bar and what the browser remembers.
    let form = format!("{}/sign-in/", visit.origin);
    assert_eq!(visit.address(), form);
    let focused = visit
        .browser
        .run("return document.activeElement.tagName", json!([]));
    assert_eq!(focused, "BODY", "a keyboard would cover the warning");
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    let url = visit.is_in_whatsapp();
    assert_eq!(visit.address(), format!("{url}{MOVED}"));
    let text = text_of(&url);
    visit.town.returns(ANA, &text, "Ana Pérez");
    assert!(visit.town.is_bound());
    visit.assert_asked_nobody_else(hash);
    visit.assert_console_is_quiet();
}

#[test]
fn somebody_at_a_laptop_signs_in_by_the_button_and_the_picture_is_the_same_way() {
    let visit = Visit::on("page-laptop", LAPTOP);
    let link = visit.opens_link(ANA);
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    visit.reads("Falta un paso");
    assert_eq!(visit.address(), format!("{}/sign-in/?", visit.origin));
    let url = visit
        .browser
        .run("return document.querySelector('a.button').href", json!([]));
    let url = url.as_str().unwrap();
    let text = text_of(url);
    let shown = visit
        .browser
        .run("return document.body.innerText", json!([]));
    let code = text.rsplit(' ').next().unwrap();
    assert!(
        !shown.as_str().unwrap().contains(code),
        "the code can be read out"
    );

    assert_eq!(visit.read_picture(), modules(url));
    let picture = visit.browser.find("svg.qr", "");
    let (role, name) = visit.browser.role_and_name(&picture);
    assert!(["img", "image"].contains(&role.as_str()), "{role}");
    assert_eq!(name, "Código QR que abre ese mismo mensaje en WhatsApp");

    visit.browser.press("a.button", "");
    assert_eq!(visit.is_in_whatsapp(), url);
    visit.town.returns(ANA, &text, "Ana Pérez");
    visit.assert_asked_nobody_else(hash_of(&link));
    visit.assert_console_is_quiet();
}

impl Visit {
    /// The picture as a phone's camera sees it: drawn by the browser, then each module looked at in
    /// its middle; the white around it left out.
    fn read_picture(&self) -> Vec<Vec<bool>> {
        let seen = self.browser.run_async(
            "const done = arguments[0], svg = document.querySelector('svg.qr');
             const side = svg.viewBox.baseVal.width, scale = 4, image = new Image();
             const copy = svg.cloneNode(true);
             copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
             copy.setAttribute('width', side * scale); copy.setAttribute('height', side * scale);
             const canvas = document.createElement('canvas');
             canvas.width = canvas.height = side * scale;
             const context = canvas.getContext('2d');
             const rows = [];
             const path = new Path2D(copy.querySelector('path').getAttribute('d'));
             context.fillStyle = copy.querySelector('rect').getAttribute('fill');
             context.fillRect(0, 0, side * scale, side * scale);
             context.scale(scale, scale);
             context.fillStyle = copy.querySelector('path').getAttribute('fill');
             context.fill(path);
             const data = context.getImageData(0, 0, side * scale, side * scale).data;
             for (let y = 0; y < side; y++) { let row = '';
               for (let x = 0; x < side; x++) row += data[4 * ((y * scale + 2) * side * scale + x * scale + 2)] < 128 ? 1 : 0;
               rows.push(row); }
             done(rows);",
            json!([]),
        );
        let rows: Vec<&str> = seen
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row.as_str().unwrap())
            .collect();
        const QUIET: usize = 4;
        let (side, inner) = (rows.len(), QUIET..rows.len() - QUIET);
        for (y, row) in rows.iter().enumerate() {
            let edge = !inner.contains(&y);
            let white = |part: &str| part.bytes().all(|b| b == b'0');
            assert!(white(&row[..QUIET]) && white(&row[side - QUIET..]) && (!edge || white(row)));
        }
        let read = |row: &&str| row[inner.clone()].bytes().map(|b| b == b'1').collect();
        rows[inner.clone()].iter().map(read).collect()
    }
}

fn modules(text: &str) -> Vec<Vec<bool>> {
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::L).unwrap();
    let is_dark = |color: &qrcode::Color| *color == qrcode::Color::Dark;
    code.to_colors()
        .chunks(code.width())
        .map(|row| row.iter().map(is_dark).collect())
        .collect()
}

#[test]
fn without_scripts_everything_works() {
    let outfit = Outfit {
        has_no_scripts: true,
        ..Outfit::default()
    };
    let visit = Visit::with("page-no-scripts", PHONE, outfit, MOVED, |_| {});
    let link = visit.opens_link(ANA);
    assert_eq!(visit.address(), link, "no script has run");
    // With the keyboard: the driver's click waits for a script of its own, until it loses patience.
    visit.types("#user", ANA_USER);
    visit.types("#password", &format!("{WRONG_PASSWORD}{ENTER}"));
    visit.reads("no van juntos");
    visit.types("#password", &format!("{ANA_PASSWORD}{ENTER}"));
    let text = text_of(&visit.is_in_whatsapp());
    visit.town.returns(ANA, &text, "Ana Pérez");
    visit.assert_asked_nobody_else(hash_of(&link));
}

#[test]
fn a_wrong_password_is_told_in_place_and_the_user_stays() {
    let visit = Visit::on("page-wrong", PHONE);
    let link = visit.opens_link(ANA);
    visit.signs_in(ANA_USER, WRONG_PASSWORD);
    visit.reads("no van juntos");
    let state = visit.browser.run(
        "const [user, password, alert] = ['#user', '#password', '[role=alert]'].map((one) => document.querySelector(one));
         return {user: user.value, password: password.value, html: document.documentElement.outerHTML,
           focused: document.activeElement.id, shown: getComputedStyle(password).outlineStyle !== 'none', invalid: password.getAttribute('aria-invalid'),
           described: password.getAttribute('aria-describedby') === alert.id,
           above: alert.getBoundingClientRect().bottom <= password.getBoundingClientRect().top,
           seen: alert.getBoundingClientRect().top >= 0 && password.getBoundingClientRect().bottom <= innerHeight};",
        json!([]),
    );
    assert_eq!(state["user"], ANA_USER);
    assert_eq!(state["password"], "");
    assert_eq!(state["focused"], "password");
    assert_eq!(state["invalid"], "true");
    for fact in ["shown", "described", "above", "seen"] {
        assert_eq!(state[fact], true, "{fact}");
    }
    let html = state["html"].as_str().unwrap();
    assert!(!html.contains(WRONG_PASSWORD));
    assert!(!visit.address().contains(hash_of(&link)));
    // It stays so when the page is loaded again from the bar: there is no link in it any more.
    visit.browser.open(&visit.address());
    visit.reads("Abre el enlace desde el chat");
}

#[test]
fn while_a_service_is_down_the_page_says_so_in_place() {
    let visit = Visit::on("page-down", PHONE);
    for service in ["kutamma", "woku"] {
        visit
            .town
            .world
            .services
            .misbehave(service, Some(Trouble::Garbage));
    }
    visit.opens_link(ANA);
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    visit.reads("no responde en este momento");
    let user = visit
        .browser
        .run("return document.querySelector('#user').value", json!([]));
    assert_eq!(user, ANA_USER);
}

#[test]
fn a_second_tap_sends_nothing_twice() {
    let visit = Visit::on("page-twice", LAPTOP);
    visit.opens_link(ANA);
    let slow = Some(Trouble::Slow(Duration::from_secs(2)));
    visit.town.world.services.misbehave("kutamma", slow);
    visit.types("#user", ANA_USER);
    visit.types("#password", ANA_PASSWORD);
    // The second tap comes when the first form is on its way: browsers drop one that comes before.
    visit.browser.run_async(
        "const done = arguments[0], button = document.querySelector('button[value=sign_in]');
         button.click();
         setTimeout(() => { button.click(); setTimeout(done, 50); }, 150);",
        json!([]),
    );
    visit.reads("Falta un paso");
    assert_eq!(visit.town.checks("kutamma"), 1);
}

#[test]
fn the_owner_of_the_mailbox_undoes_a_sign_in() {
    let visit = Visit::on("page-undo", PHONE);
    visit.opens_link(ANA);
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    let text = text_of(&visit.is_in_whatsapp());
    visit.town.returns(ANA, &text, "Ana Pérez");
    let mail = visit
        .town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    let begins = format!("{}/undo/?token=", visit.origin);
    let link = mail
        .text
        .split_whitespace()
        .find(|word| word.starts_with(&begins));
    visit.browser.open(link.unwrap());
    assert_eq!(visit.address(), format!("{}/undo/", visit.origin));
    visit.reads("Ana Pérez");
    assert!(visit.town.is_bound(), "looking undoes nothing");
    visit.browser.press("button", "Cerrar esa sesión");
    visit.reads("Sesión cerrada");
    assert!(!visit.town.is_bound());
    visit.assert_console_is_quiet();
}

// --- hands and eyes -------------------------------------------------------------------------------

const TABS_MAX: usize = 12;

/// Walks with the keyboard until such an element has the focus, and shows it.
fn walk_to(browser: &Browser, selector: &str) {
    let focused = "const one = document.activeElement;
      return one.matches(arguments[0]) && one.matches(':focus-visible') && getComputedStyle(one).outlineStyle !== 'none'";
    for _ in 0..TABS_MAX {
        if browser.run(focused, json!([selector])) == true {
            return;
        }
        browser.keys(None, &TAB.to_string());
    }
    panic!("{selector} is not reached with the keyboard, or does not show the focus");
}

#[test]
fn somebody_without_a_mouse_signs_in_and_enter_never_declines() {
    let visit = Visit::on("page-keyboard", LAPTOP);
    let (browser, enter) = (&visit.browser, ENTER.to_string());
    visit.opens_link(ANA);
    walk_to(browser, "#user");
    // Enter with half of it typed: the browser asks for the rest, and nothing is sent.
    browser.keys(None, &format!("{ANA_USER}{enter}"));
    walk_to(browser, "#password");
    browser.keys(None, &format!("{WRONG_PASSWORD}{enter}"));
    visit.reads("no van juntos");
    assert_eq!(visit.town.checks("kutamma"), 1);
    // The cursor waits where something is to be typed.
    browser.keys(None, &format!("{ANA_PASSWORD}{enter}"));
    visit.reads("Falta un paso");
    walk_to(browser, "a.button");
    browser.keys(None, &enter);
    let text = text_of(&visit.is_in_whatsapp());
    visit.town.returns(ANA, &text, "Ana Pérez");

    visit.opens_link(BRUNO);
    walk_to(browser, "button[value=not_me]");
    browser.keys(None, &enter);
    visit.reads("Gracias por avisar");
}

/// What password managers go by (ASVS 6.2.7), and what keyboards of phones do.
#[test]
fn password_managers_and_phones_know_the_fields() {
    let visit = Visit::on("page-fields", PHONE);
    visit.opens_link(ANA);
    let fields = visit.browser.run(
        "return [...document.querySelectorAll('#user, #password')].map((one) => ({
           type: one.type, complete: one.autocomplete, name: one.name, same: one.form === document.querySelector('#user').form,
           paste: one.dispatchEvent(new ClipboardEvent('paste', {cancelable: true, bubbles: true})),
           high: one.getBoundingClientRect().height >= 44, size: parseFloat(getComputedStyle(one).fontSize) >= 16,
           capital: one.autocapitalize, readonly: one.readOnly, most: one.maxLength}));",
        json!([]),
    );
    let wished = |kind: &str, complete: &str, name: &str, capital: Value| {
        json!({"type": kind, "complete": complete, "name": name, "same": true, "paste": true, "high": true,
            "size": true, "capital": capital, "readonly": false, "most": -1})
    };
    assert_eq!(fields[0], wished("text", "username", "user", json!("none")));
    let capital = fields[1]["capital"].clone();
    assert_eq!(
        fields[1],
        wished("password", "current-password", "password", capital)
    );
    let buttons = visit.browser.run(
        "return [...document.querySelectorAll('button')].map((one) => { const box = one.getBoundingClientRect(); return [box.width, box.height]; })",
        json!([]),
    );
    assert_eq!(buttons[0], buttons[1], "“It was not me” is as large");
}

#[test]
fn assistive_technology_is_told_what_everything_is() {
    let visit = Visit::on("page-names", PHONE);
    visit.opens_link(ANA);
    visit.signs_in(ANA_USER, WRONG_PASSWORD);
    visit.reads("no van juntos");
    let tree = visit.tree();
    let named = |role: &str| -> Vec<String> {
        let nodes = tree.iter().filter(|(found, _)| found == role);
        nodes.map(|(_, name)| name.clone()).collect()
    };
    assert_eq!(named("RootWebArea"), ["Entra en Inpla"]);
    assert_eq!(named("heading"), ["Entra en Inpla"]);
    assert_eq!(named("textbox"), ["Correo o usuario", "Contraseña"]);
    assert_eq!(named("button"), ["Entrar", "No fui yo"]);
    assert_eq!(named("main").len(), 1);
    assert_eq!(named("banner").len(), 1);
    assert_eq!(named("alert").len(), 1);
    let language = visit
        .browser
        .run("return document.documentElement.lang", json!([]));
    assert_eq!(language, "es");

    visit.types("#password", ANA_PASSWORD);
    visit.browser.chromium(
        "Network.setUserAgentOverride",
        json!({"userAgent": crate::page::LAPTOP, "userAgentMetadata": {"platform": "Linux",
            "platformVersion": "", "architecture": "x86", "model": "", "mobile": false}}),
    );
    visit.browser.press("button[value=sign_in]", "");
    visit.reads("Falta un paso");
    let tree = visit.tree();
    let links: Vec<&String> = tree
        .iter()
        .filter(|(role, _)| role == "link")
        .map(|(_, name)| name)
        .collect();
    assert_eq!(links, ["Volver a WhatsApp"]);
    let code_is_read = tree.iter().any(|(_, name)| name.contains("Q7"));
    assert!(!code_is_read, "{tree:?}");
}

impl Visit {
    /// Role and name of everything that assistive technology is shown.
    fn tree(&self) -> Vec<(String, String)> {
        let tree = self
            .browser
            .chromium("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap().iter();
        nodes
            .filter(|node| node["ignored"] != true)
            .map(|node| {
                let text =
                    |field: &str| node[field]["value"].as_str().unwrap_or_default().to_owned();
                (text("role"), text("name"))
            })
            .collect()
    }

    /// A picture by day and by night, what is too pale to be read, and what sticks out.
    fn looks_at(&self, name: &str) {
        for scheme in ["light", "dark"] {
            self.browser.paint(scheme);
            self.browser.photograph(&format!("page-{name}-{scheme}"));
            assert_eq!(
                pale_texts(&self.browser, name),
                Vec::<String>::new(),
                "{scheme}"
            );
        }
        self.browser.paint("light");
        let out = self.browser.run(
            "const wide = document.documentElement.clientWidth;
             return [...document.querySelectorAll('body *')].filter((one) => one.checkVisibility())
               .filter((one) => one.getBoundingClientRect().right > wide + 0.5 || one.getBoundingClientRect().left < -0.5)
               .map((one) => one.outerHTML.slice(0, 100))
               .concat(document.documentElement.scrollWidth > wide ? ['the page scrolls sideways'] : []);",
            json!([]),
        );
        assert_eq!(out, json!([]), "{name}");
    }
}

/// Every page in every form: nothing sticks out, everything can be read; the pictures are for eyes.
fn look_at_everything(form: &str, device: Device) {
    let visit = Visit::with(
        &format!("page-look-{form}"),
        device,
        Outfit::default(),
        MOVED,
        |file| {
            set(file, "business", "color", "#ffb000");
            set(file, "limits", "passwords_per_link", 2);
        },
    );
    let look = |state: &str| visit.looks_at(&format!("{form}-{state}"));
    visit.opens_link(ANA);
    look("1-form");
    visit.signs_in(
        "a.very.long.address.of.somebody@subdomain.example.com",
        WRONG_PASSWORD,
    );
    visit.reads("no van juntos");
    look("2-wrong");
    visit.signs_in("", WRONG_PASSWORD);
    visit.reads("Demasiados intentos");
    look("3-burned");
    visit.browser.open(&format!("{}/sign-in/", visit.origin));
    look("4-no-link");
    visit
        .browser
        .open(&format!("{}/sign-in/?mappingHash={:040}", visit.origin, 0));
    look("5-gone");
    visit.opens_link(ANA);
    visit.browser.press("button[value=not_me]", "");
    visit.reads("Gracias por avisar");
    look("6-declined");
    visit.opens_link(ANA);
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    let text = if matches!(device, Device::Phone(..)) {
        text_of(&visit.is_in_whatsapp())
    } else {
        visit.reads("Falta un paso");
        look("7-back");
        let url = visit
            .browser
            .run("return document.querySelector('a.button').href", json!([]));
        text_of(url.as_str().unwrap())
    };
    visit.town.returns(ANA, &text, "Ana Pérez");
    let mail = visit
        .town
        .world
        .inbox
        .wait_for_mail(ANA_USER, 1, PATIENCE)
        .unwrap();
    let begins = format!("{}/undo/?token=", visit.origin);
    let link = mail
        .text
        .split_whitespace()
        .find(|word| word.starts_with(&begins));
    visit.browser.open(link.unwrap());
    look("8-undo");
    visit.browser.press("button", "");
    visit.reads("Sesión cerrada");
    look("9-undone");
}

#[test]
fn every_page_can_be_read_on_a_phone() {
    look_at_everything("phone", PHONE);
}

#[test]
fn every_page_can_be_read_on_a_phone_of_320_pixels() {
    look_at_everything("narrow", NARROW);
}

#[test]
fn every_page_can_be_read_on_a_laptop() {
    look_at_everything("laptop", LAPTOP);
}

#[test]
fn the_page_speaks_the_languages_of_its_readers() {
    let visit = Visit::on("page-languages", PHONE);
    visit.browser.chromium("Network.enable", json!({}));
    let link = visit.opens_link(BRUNO);
    for (wished, heading, button) in [
        ("es-CO,es;q=0.9", "Entra en Inpla", "No fui yo"),
        ("en-GB,en;q=0.9", "Sign in to Inpla", "It was not me"),
        ("pt-BR,pt;q=0.9", "Entre em Inpla", "Não fui eu"),
    ] {
        let headers = json!({"headers": {"Accept-Language": wished}});
        visit
            .browser
            .chromium("Network.setExtraHTTPHeaders", headers);
        visit.browser.open(&link);
        visit.browser.find("h1", heading);
        visit.browser.find("button", button);
        visit.looks_at(&format!("language-{}", &wished[..2]));
    }
}

// --- other people's pages -------------------------------------------------------------------------

/// A page of somebody else.
fn elsewhere(html: String) -> Server {
    // Lives as long as the test, which is short.
    let html: &'static str = Box::leak(html.into_boxed_str());
    Server::start(move |_| Reply::Html(200, html))
}

/// S-42.
#[test]
fn nobody_elses_page_frames_ours() {
    let visit = Visit::on("page-frame", LAPTOP);
    let link = link_of(&visit.town.world, ANA);
    let server = elsewhere(format!("<!doctype html><iframe src=\"{link}\"></iframe>"));
    visit.browser.open(&server.url());
    let frame = visit.browser.find("iframe", "");
    let inside = visit.browser.inside(&frame, |browser| {
        browser.until("the frame is loaded", || {
            let state = browser.run(
                "return [location.href, document.body?.innerText ?? '']",
                json!([]),
            );
            (state[0] != "about:blank").then_some(state)
        })
    });
    assert_eq!(inside[0], "chrome-error://chromewebdata/", "{inside}");
    let told = visit.browser.console().join("\n");
    assert!(told.contains("frame-ancestors"), "{told}");
}

/// S-42: with everything right but where it comes from.
#[test]
fn nobody_elses_page_sends_our_form() {
    let visit = Visit::on("page-cross-site", LAPTOP);
    let link = link_of(&visit.town.world, ANA);
    let path = &link[visit.origin.len()..];
    let page = visit
        .town
        .get(path, &[("Host", &visit.origin["http://".len()..])]);
    let token = between(&page.body, "name=\"formToken\" value=\"", "\"").unwrap();
    let hash = hash_of(&link);
    for (policy, host) in [
        ("no-referrer", "localhost"),
        ("unsafe-url", "localhost"),
        ("no-referrer", "127.0.0.1"),
    ] {
        let server = elsewhere(format!(
            "<!doctype html><meta name=referrer content={policy}>
             <form method=post action=\"{}/sign-in/\">
             <input name=mappingHash value={hash}><input name=formToken value={token}>
             <input name=user value={ANA_USER}><input name=password value=\"{ANA_PASSWORD}\"></form>
             <script>document.forms[0].submit()</script>",
            visit.origin
        ));
        visit
            .browser
            .open(&format!("http://{host}:{}/", server.port));
        visit.reads("Abre el enlace desde el chat");
    }
    assert_eq!(visit.town.checks("kutamma"), 0);
    // The link has not suffered.
    visit.browser.open(&link);
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    visit.reads("Falta un paso");
}

/// S-42b: were the policy wider than WhatsApp, a redirect could leave it.
#[test]
fn a_form_of_ours_ends_at_whatsapp_and_nowhere_else() {
    let outfit = Outfit::default();
    let visit = Visit::with(
        "page-further",
        PHONE,
        outfit,
        "https://evil.example/",
        |_| {},
    );
    visit.opens_link(ANA);
    visit.signs_in(ANA_USER, ANA_PASSWORD);
    let told = visit.browser.until("the browser refuses", || {
        let told = visit.browser.console().join("\n");
        told.contains("form-action").then_some(told)
    });
    assert!(!told.contains("ERR_"), "{told}");
    assert!(!visit.address().contains("evil.example"));
    let visits: Vec<Value> = visit.whatsapp.finish();
    let paths: Vec<&Value> = visits.iter().map(|visit| &visit["path"]).collect();
    assert_eq!(paths.len(), 1, "{paths:?}");
}

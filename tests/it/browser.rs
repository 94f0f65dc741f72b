//! The page of `portero demo` as people use it: the real binary, a real browser, real clicks.
//! Everything that is checked is read from the page; nothing is asked of the server behind it.

use crate::webdriver::{Browser, Device, ENTER, ESCAPE, PATIENCE, Process, SHIFT, TAB};
use portero::domain::delivery::{ChatMessage, Link, LinkTarget, Recipient};
use portero::domain::id::{PhoneNumberId, WaId};
use portero::domain::secret::Secret;
use portero::simulator::World;
use portero::simulator::cast::{ANA, BUSINESS, PEOPLE};
use portero::simulator::page::{self, Inside};
use portero::whatsapp;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

const LAPTOP: Device = Device::Desktop(1280, 800);
const PHONE: Device = Device::Phone(390, 844);

// Enough of what Portero says to know which sentence it is (src/text/words.rs).
const WELCOME: &str = "aquí Inpla";
const ASKED: &str = "un código de 8 cifras";
const ASKED_PT: &str = "um código de 8 dígitos";
const WRONG: &str = "Ese no es el código";
const WRONG_PT: &str = "Esse não é o código";
const SIGNED_IN: &str = "como Ana Pérez";
const NOT_SIGNED_IN: &str = "Todavía no has entrado";

/// Somebody at the page of a demo of their own.
struct Visitor {
    // Closed first: the page would complain about a server that is gone.
    browser: Browser,
    address: String,
    _demo: Process,
    is_touching: bool,
}

/// One bubble of the chat that is seen.
#[derive(Debug)]
struct Bubble {
    is_mine: bool,
    text: String,
    ticks: String,
}

impl Visitor {
    fn at(name: &str, device: Device) -> Visitor {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portero"));
        command.args(["demo", "--port", "0"]);
        let demo = Process::start(command, false, "");
        let address = demo.told(|line| {
            let line = line.trim();
            line.starts_with("http://").then(|| line.to_owned())
        });
        let address = address.unwrap_or_else(|told| panic!("the demo has no page: {told}"));
        let browser = Browser::start(name, device);
        browser.paint("light");
        browser.open(&address);
        let visitor = Visitor {
            browser,
            address,
            _demo: demo,
            is_touching: matches!(device, Device::Phone(..)),
        };
        // The suggestions are drawn with the first news.
        visitor.browser.find(".chip", "Hola");
        visitor
    }

    /// On a phone one panel is seen at a time.
    fn turn_to(&self, view: &str) {
        if self.is_touching {
            self.browser.press(&format!(".tabs [data-view={view}]"), "");
        } else if matches!(view, "bot" | "inside") {
            self.browser
                .press(&format!(".sides [data-side={view}]"), "");
        }
    }

    /// Types a message into the phone that is seen, and sends it.
    fn says(&self, text: &str) {
        let so_far = self.mine();
        let field = self.browser.find("textarea", "");
        self.browser.type_into(&field, text);
        if self.is_touching {
            self.browser.press(".send", "");
        } else {
            self.browser.type_into(&field, &ENTER.to_string());
        }
        self.browser.until("what was sent is in the chat", || {
            (self.mine() > so_far).then_some(())
        });
    }

    /// Asks for a link, as somebody unknown: the last bubble has it.
    fn asks_for_link(&self, hello: &str, button: &str) {
        self.says(hello);
        self.browser.press(".option", button);
        self.browser.find("a.option.open", "Entrar");
    }

    /// On the sign-in page: types user name and password, and presses the button.
    fn signs_in_on_the_page(&self, user: &str, password: &str) {
        let browser = &self.browser;
        let field = browser.find("input[name=user]", "");
        browser.type_into(&field, user);
        let field = browser.find("input[name=password]", "");
        browser.type_into(&field, password);
        browser.press("button[value=sign_in]", "");
    }

    /// From the page to the phone again: on a computer it takes a button.
    fn comes_back(&self) {
        if !self.is_touching {
            self.browser.press("a.button.first", "WhatsApp");
        }
        self.browser.until("the words are ready on the phone", || {
            self.ready_words().starts_with("Q").then_some(())
        });
        let address = self.browser.run("return location.href", json!([]));
        assert_eq!(address, self.address, "the code is not in the address");
        self.browser.find(".chip, .row", "");
    }

    /// The words in the field of the phone that is chosen, when *Send* has the focus.
    fn ready_words(&self) -> String {
        let ready = self.browser.run(
            "const phone = document.querySelector(`.phone[data-phone='${document.body.dataset.phone}']`);
             return phone && document.activeElement === phone.querySelector('.send') ? phone.querySelector('textarea').value : ''",
            json!([]),
        );
        ready.as_str().unwrap_or_default().to_owned()
    }

    fn mine(&self) -> usize {
        self.chat().iter().filter(|bubble| bubble.is_mine).count()
    }

    /// Gives an address, again when patience is asked for: another code has to wait a second.
    fn gives(&self, address: &str) {
        self.browser.until(&format!("{address} is taken"), || {
            self.says(address);
            let answer = self.hears("");
            (answer.contains("en camino") || answer.contains("a caminho")).then_some(())
        });
    }

    /// The chat that is seen, oldest first.
    fn chat(&self) -> Vec<Bubble> {
        let rows = self.browser.run(
            "const phone = [...document.querySelectorAll('.phone')].find((one) => one.checkVisibility() && one.dataset.phone === document.body.dataset.phone);
             return phone ? [...phone.querySelectorAll('.row')].filter((row) => row.querySelector('.said')).map((row) => ({
               mine: row.classList.contains('mine'),
               text: row.querySelector('.said').textContent,
               ticks: row.querySelector('.ticks')?.getAttribute('aria-label') ?? '',
             })) : [];",
            json!([]),
        );
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| Bubble {
            is_mine: row["mine"] == true,
            text: row["text"].as_str().unwrap().to_owned(),
            ticks: row["ticks"].as_str().unwrap().to_owned(),
        })
        .collect()
    }

    fn replies(&self) -> Vec<String> {
        let chat = self.chat().into_iter();
        chat.filter(|bubble| !bubble.is_mine)
            .map(|bubble| bubble.text)
            .collect()
    }

    /// Waits for a reply with these words to what was said last: Portero and the bot may both have
    /// one.
    fn hears(&self, words: &str) -> String {
        self.browser
            .until(&format!("there is a reply with “{words}”"), || {
                let chat = self.chat().into_iter().rev();
                let mut replies = chat.take_while(|bubble| !bubble.is_mine);
                let reply = replies.find(|bubble| bubble.text.contains(words))?;
                Some(reply.text)
            })
    }

    /// Waits for the mail after the first `seen` ones, opens it, and reads the code in it.
    fn reads_code_of_mail(&self, seen: usize) -> String {
        self.turn_to("mail");
        self.browser.until("another mail arrives", || {
            (self.mails() > seen).then_some(())
        });
        if self.is_touching && self.browser.seen("#reader-close", "").is_some() {
            self.browser.press("#reader-close", "");
        }
        // The newest is the first of the list.
        self.browser
            .press("#mail-list li:first-child .envelope", "");
        self.read_code()
    }

    /// The code in the mail that is open.
    fn read_code(&self) -> String {
        let subject = self.browser.until("a mail is open", || {
            self.browser.read("#reader-subject", "")
        });
        let frame = self.browser.find("#reader-body", "");
        let code = self.browser.until("the open mail shows its code", || {
            let shown = self.browser.inside(&frame, |frame| {
                frame.run("return document.body?.innerText ?? ''", json!([]))
            });
            let mut words = shown.as_str()?.split_whitespace();
            let code = words.find(|word| is_code(word))?;
            // The frame may still show the mail before.
            subject.contains(code).then(|| code.to_owned())
        });
        self.turn_to("chat");
        code
    }

    fn mails(&self) -> usize {
        self.browser.all("#mail-list .envelope").len()
    }

    /// From anything to signed in, with Ana's address.
    fn signs_in(&self) {
        let seen = self.mails();
        self.says("ana@example.com");
        self.hears(ASKED);
        let code = self.reads_code_of_mail(seen);
        self.says(&code);
        self.hears(SIGNED_IN);
    }

    /// Flips a switch of the menu.
    fn flips(&self, title: &str, on: bool) {
        self.browser.press("#mischief summary", "");
        self.browser.press("[role=switch]", title);
        let wished = format!("[role=switch][aria-checked={on}]");
        self.browser.find(&wished, title);
        self.browser.press("#mischief summary", "");
        self.browser.until("the menu is closed", || {
            self.browser.seen(".menu", "").is_none().then_some(())
        });
    }

    /// Waits until the panel tells that something was tried, failed, and will be tried again.
    fn sees_a_retry_of(&self, what: &str) {
        self.turn_to("inside");
        self.browser
            .until(&format!("a {what} waits for another try"), || {
                let entry = self.browser.read(".entry:has(.bad)", what)?;
                entry.contains("next try in").then_some(())
            });
        self.turn_to("chat");
    }
}

fn is_code(word: &str) -> bool {
    word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Another code of the same length.
fn one_off(code: &str) -> String {
    let other = if code.ends_with('7') { '8' } else { '7' };
    format!("{}{other}", &code[..code.len() - 1])
}

fn flow_by_code(name: &str, device: Device) {
    let visitor = Visitor::at(name, device);
    let started = Instant::now();
    visitor.says("Hola");
    let welcome = visitor.hears(WELCOME);
    assert!(welcome.contains("correo"), "says what it needs: {welcome}");
    visitor.says("ana@example.com");
    let asked = visitor.hears(ASKED);
    assert!(!asked.contains("ana@example.com"), "masked: {asked}");
    let code = visitor.reads_code_of_mail(0);
    visitor.says(&code);
    visitor.hears(SIGNED_IN);
    let took = started.elapsed();
    println!("flow A, {device:?}, by script: {} ms", took.as_millis());

    let chat = visitor.browser.until("every message is ticked twice", || {
        let chat = visitor.chat();
        let mut mine = chat.iter().filter(|bubble| bubble.is_mine);
        mine.all(|bubble| matches!(bubble.ticks.as_str(), "delivered" | "read"))
            .then_some(chat)
    });
    let typed = chat.iter().filter(|bubble| bubble.is_mine).count();
    assert!(typed <= 4, "{typed} messages typed: {chat:?}");
    // Three of Portero's, and the bot's one.
    assert!(chat.len() - typed <= 4, "too many replies: {chat:?}");
}

#[test]
fn somebody_signs_in_with_a_code_on_a_laptop() {
    flow_by_code("laptop", LAPTOP);
}

#[test]
fn somebody_signs_in_with_a_code_on_a_phone() {
    flow_by_code("phone", PHONE);
}

/// Presses until the first message is handed on, with as little as the device allows.
fn flow_on_the_web(name: &str, device: Device) {
    let visitor = Visitor::at(name, device);
    let browser = &visitor.browser;
    let started = Instant::now();
    visitor.asks_for_link("Hola", "Entrar en la web");
    browser.find(".hint", "ana@example.com");
    browser.press("a.option.open", "Entrar");
    // The page is the server's own, which has never heard of this one.
    browser.until("the sign-in page is open", || {
        browser.read("h1", BUSINESS.name)
    });
    let address = browser.run("return location.href", json!([]));
    let address = address.as_str().unwrap();
    assert!(
        !address.starts_with(&visitor.address) && address.ends_with("/sign-in/"),
        "{address}"
    );
    visitor.signs_in_on_the_page("ana@example.com", "pan de masa madre");
    visitor.comes_back();
    let words = visitor.ready_words();
    assert!(words.starts_with("Quiero entrar en Inpla: Q7"), "{words}");
    // Nothing counts before it is sent.
    assert_eq!(visitor.mine(), 2);
    browser.press(".send", "");
    visitor.hears(SIGNED_IN);
    println!(
        "flow B, {device:?}, by script: {} ms",
        started.elapsed().as_millis()
    );
    // The message with which everything began is for the bot, and a mail tells.
    visitor.hears("soy el bot");
    visitor.turn_to("bot");
    browser.find(".request strong", "“Hola”");
    visitor.turn_to("inside");
    browser.until("a mail tells of it", || {
        (visitor.mails() == 1).then_some(())
    });
    browser.find("[data-step=done][aria-current]", "");
    let replies = visitor.replies();
    assert!(replies.len() <= 4, "{replies:?}");
    // Browsers ask every server for an icon, and this one has none.
    let mut console = browser.console();
    console.retain(|line| !line.contains("/favicon.ico"));
    assert_eq!(console, Vec::<String>::new());
}

#[test]
fn somebody_signs_in_on_the_web_on_a_laptop() {
    flow_on_the_web("web-laptop", LAPTOP);
}

#[test]
fn somebody_signs_in_on_the_web_on_a_phone() {
    flow_on_the_web("web-phone", PHONE);
}

#[test]
fn a_forwarded_link_signs_nobody_in() {
    let visitor = Visitor::at("lure", PHONE);
    let browser = &visitor.browser;
    visitor.asks_for_link("Hola", "Entrar en la web");
    browser.press(".pass-on", "Forward to Bruno");
    // On Bruno's phone it is from Ana, and it opens in Bruno's browser.
    browser.find(".passed-on", "Ana Pérez");
    browser.find(".passed-on .forwarded", "Forwarded");
    browser.find(".hint", "bruno@example.org");
    browser.press(".passed-on a.option.open", "Entrar");
    visitor.signs_in_on_the_page("bruno@example.org", "pão de queijo quente");
    visitor.comes_back();
    let chosen = "return document.body.dataset.phone";
    assert_eq!(browser.run(chosen, json!([])), "1", "Bruno's phone");
    browser.press(".send", "");
    visitor.hears("não deixei ninguém entrar");
    browser.press(".person", "Ana");
    visitor.hears("No entraste");
    browser.until("the account's owner is warned by mail", || {
        (visitor.mails() == 1).then_some(())
    });
    visitor.turn_to("mail");
    browser.find(".envelope", "bruno@example.org");
    visitor.turn_to("inside");
    browser.find(".audit li", "link.mismatch");
    assert!(browser.seen(".pill", "signed in").is_none());
    browser.press(".log summary", "");
    browser.find("#inside-log", "passing links on");
    // It can be put away.
    visitor.turn_to("chat");
    browser.press(".person", "Bruno");
    browser.press(".passed-on .close", "");
    browser.until("what was forwarded is gone", || {
        browser.seen(".passed-on", "").is_none().then_some(())
    });
}

#[test]
fn the_words_are_ready_on_the_phone_whose_browser_it_was() {
    let visitor = Visitor::at("whose", Device::Desktop(1600, 900));
    let browser = &visitor.browser;
    browser.press(".chip", "Olá");
    visitor.asks_for_link("Oi", "Entrar na web");
    browser.press("a.option.open", "Entrar");
    visitor.signs_in_on_the_page("bruno@example.org", "pão de queijo quente");
    visitor.comes_back();
    // Side by side, Ana writes first; Bruno's words wait.
    let ana = browser.find(".phone[data-phone='0'] textarea", "");
    browser.type_into(&ana, &format!("Hola{ENTER}"));
    visitor.hears(WELCOME);
    browser.press(".phone[data-phone='1'] .send", "");
    visitor.hears("você entrou como Bruno Carvalho");
    // A chat with another number is none of this page's business.
    browser.open(&format!(
        "{}send/?phone=573001234567&text=x",
        visitor.address
    ));
    assert!(browser.seen(".phone", "").is_none());
}

#[test]
fn a_mail_about_a_sign_in_undoes_it() {
    let visitor = Visitor::at("undo", LAPTOP);
    let browser = &visitor.browser;
    visitor.asks_for_link("Hola", "Entrar en la web");
    browser.press("a.option.open", "Entrar");
    visitor.signs_in_on_the_page("ana@example.com", "pan de masa madre");
    visitor.comes_back();
    browser.press(".send", "");
    visitor.hears(SIGNED_IN);
    browser.press(".envelope", "ana@example.com");
    let frame = browser.find("#reader-body", "");
    // It opens in a tab of its own: the page that undoes it may not be framed.
    let link = browser.until("the mail shows a link", || {
        let link = browser.inside(&frame, |frame| {
            frame.run(
                "const link = document.querySelector('a[href]'); return link && [link.href, document.querySelector('base').target]",
                json!([]),
            )
        });
        link.is_array().then_some(link)
    });
    assert_eq!(link[1], "_blank");
    browser.open(link[0].as_str().unwrap());
    browser.press("button.first", "");
    // What is asked and what came of it both have a heading; who leaves earlier is brought back.
    browser.find("h1", "Signed out");
    browser.open(&visitor.address);
    visitor.hears("Cerré tu sesión");
}

#[test]
fn somebody_without_a_mouse_signs_in_on_the_web() {
    let visitor = Visitor::at("web-keyboard", LAPTOP);
    let browser = &visitor.browser;
    let enter = ENTER.to_string();
    let walk_to = |selector: &str| walk_to(browser, None, selector);
    walk_to("textarea");
    browser.keys(None, &format!("Hola{enter}"));
    visitor.hears(WELCOME);
    walk_to("button.option");
    browser.keys(None, &enter);
    browser.find("a.option.open", "Entrar");
    walk_to("a.option.open");
    browser.keys(None, &enter);
    browser.find("input[name=user]", "");
    walk_to("input[name=user]");
    browser.keys(None, "ana@example.com");
    walk_to("input[name=password]");
    browser.keys(None, &format!("pan de masa madre{enter}"));
    browser.find("a.button.first", "WhatsApp");
    walk_to("a.button.first");
    browser.keys(None, &enter);
    browser.until("the words are ready", || {
        (!visitor.ready_words().is_empty()).then_some(())
    });
    // The focus waits on Send.
    browser.keys(None, &enter);
    visitor.hears(SIGNED_IN);
}

#[test]
fn every_button_does_what_it_says_when_tapped() {
    let visitor = Visitor::at("buttons", PHONE);
    let browser = &visitor.browser;
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.says("ana@example.com");
    visitor.hears(ASKED);
    let first = visitor.reads_code_of_mail(0);

    // A second code too soon is answered with a request for patience: then it is tapped again.
    browser.until("a second code is sent", || {
        let so_far = visitor.chat().len();
        browser.press(".option", "Reenviar código");
        let answer = browser.until("the tap is answered", || {
            let mut chat = visitor.chat();
            let last = chat.pop()?;
            (chat.len() > so_far && !last.is_mine).then_some(last.text)
        });
        answer.contains("va en camino").then_some(())
    });
    let second = visitor.reads_code_of_mail(1);
    assert_ne!(first, second);
    visitor.says(&first);
    visitor.hears(WRONG);

    browser.press(".option", "Otro correo");
    visitor.hears("¿Qué correo usas");
    // Not signed in, and the page does not say so either.
    browser.find("[data-step=address][aria-current]", "");
    visitor.gives("lucia@example.com");
    let third = visitor.reads_code_of_mail(2);
    browser.press(".option", "Cancelar");
    visitor.hears("lo dejamos aquí");
    visitor.says(&third);
    visitor.hears(WELCOME);

    visitor.gives("ana@example.com");
    let fourth = visitor.reads_code_of_mail(3);
    visitor.says(&fourth);
    visitor.hears(SIGNED_IN);
    browser.find("[data-step=done][aria-current]", "");
    visitor.says("¿Quién soy?");
    visitor.hears(SIGNED_IN);
    browser.find("[data-step=mischief][aria-current]", "");
    browser.press(".option", "Cerrar sesión");
    visitor.hears("Cerré tu sesión");
    visitor.says("¿Quién soy?");
    visitor.hears(NOT_SIGNED_IN);
}

#[test]
fn a_code_is_refused_on_the_phone_that_did_not_ask_for_it() {
    let visitor = Visitor::at("two-people", LAPTOP);
    let browser = &visitor.browser;
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.says("ana@example.com");
    visitor.hears(ASKED);
    let code = visitor.reads_code_of_mail(0);

    browser.press(".person", "Bruno");
    visitor.says("Oi");
    visitor.hears("Olá");
    visitor.says("bruno@example.org");
    visitor.hears(ASKED_PT);
    // Ana's code opens nothing here, though a code is being waited for.
    visitor.says(&code);
    visitor.hears(WRONG_PT);

    browser.press(".person", "Ana");
    visitor.says(&code);
    visitor.hears(SIGNED_IN);
    browser.press(".person", "Bruno");
    let replies = visitor.replies();
    assert!(
        !replies.iter().any(|text| text.contains("você entrou")),
        "{replies:?}"
    );
}

#[test]
fn both_phones_are_seen_side_by_side_on_a_wide_screen() {
    let visitor = Visitor::at("wide", Device::Desktop(1600, 900));
    let browser = &visitor.browser;
    for chip in ["Hola", "Olá"] {
        browser.press(".chip", chip);
    }
    // The field that was filled last has the focus.
    browser.keys(None, &ENTER.to_string());
    visitor.hears("Olá, aqui é Inpla");
    assert!(browser.seen(".phone", "Ana").is_some());
    assert!(browser.seen(".phone", "Bruno").is_some());
}

#[test]
fn the_menu_acts_like_somebody_who_should_not_be_trusted() {
    let visitor = Visitor::at("menu", LAPTOP);
    let browser = &visitor.browser;
    let act = |title: &str| {
        browser.press("#mischief summary", "");
        browser.press("[data-act]", title);
    };
    visitor.says("Hola");
    visitor.hears(WELCOME);
    act("Give an unknown address");
    visitor.hears(ASKED);
    visitor.gives("ana@example.com");
    let code = visitor.reads_code_of_mail(0);
    assert_eq!(visitor.mails(), 1, "the unknown address got no mail");
    act("Type a wrong code");
    visitor.hears(WRONG);
    assert!(!visitor.chat().iter().any(|bubble| bubble.text == code));
    act("Forward the code");
    let answer = visitor.hears("");
    assert!(!answer.contains("entr"), "{answer}");
    let chosen = browser.run("return document.body.dataset.phone", json!([]));
    assert_eq!(chosen, "1", "the stranger's phone is seen");
}

#[test]
fn while_the_mail_server_is_down_the_code_waits_and_then_arrives() {
    let visitor = Visitor::at("mail-down", LAPTOP);
    visitor.flips("Mail server is down", true);
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.says("ana@example.com");
    // The answer does not wait for the mail.
    visitor.hears(ASKED);
    visitor.sees_a_retry_of("code mail");
    assert_eq!(visitor.mails(), 0);
    visitor.flips("Mail server is down", false);
    let code = visitor.reads_code_of_mail(0);
    visitor.says(&code);
    visitor.hears(SIGNED_IN);
    // One mail with a code, and the one that tells of the sign-in.
    visitor.turn_to("mail");
    visitor
        .browser
        .until("the mail about the sign-in arrives", || {
            (visitor.mails() == 2).then_some(())
        });
    let with_a_code = visitor.browser.run(
        "return [...document.querySelectorAll('#mail-list .envelope')]
            .filter((mail) => /\\d{8}/.test(mail.textContent)).length",
        json!([]),
    );
    assert_eq!(with_a_code, json!(1));
}

#[test]
fn the_bot_answers_with_the_persons_own_data_and_shows_what_it_was_given() {
    for (name, device) in [("bot-laptop", LAPTOP), ("bot-phone", PHONE)] {
        let visitor = Visitor::at(name, device);
        let browser = &visitor.browser;
        visitor.says("¿Qué pedidos tengo?");
        visitor.hears(WELCOME);
        visitor.turn_to("bot");
        browser.find("#bot-empty", "hears of nobody");
        visitor.turn_to("chat");
        visitor.signs_in();
        let answer = visitor.hears("Ana, tienes 3 pedidos");
        assert!(
            answer.contains("K-2041") && !answer.contains("W-120"),
            "{answer}"
        );
        visitor.turn_to("bot");
        let request = browser.until("the request is shown", || {
            browser.read(".request", "¿Qué pedidos tengo?")
        });
        for words in [
            "X-Hub-Signature-256",
            "fits, as from Meta",
            "webhook-id",
            "Portero-Identity",
            "verified",
            "Ana Pérez, Panadería La Espiga; by mail code",
            "es, number …67",
            "POST /v1/tokens kutamma",
            "GET /kutamma/me/orders",
            "POST /v25.0/",
            "Ana, tienes 3 pedidos",
        ] {
            assert!(request.contains(words), "{words}: {request}");
        }
        // A header that is whole could be used by whoever sees the screen.
        let whole = "return [...document.querySelectorAll('.request code')].filter((one) => one.textContent.length > 60 && one.textContent.startsWith('eyJ')).length";
        assert_eq!(browser.run(whole, json!([])), 0);
        let heard = browser.all(".request").len();
        assert_eq!(heard, 1, "of the sign-in it hears nothing");
        assert_eq!(browser.console(), Vec::<String>::new());
    }
}

#[test]
fn while_the_bot_is_down_messages_wait_and_are_then_answered_in_order() {
    let visitor = Visitor::at("bot-down", LAPTOP);
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.signs_in();
    visitor.hears("soy el bot");
    visitor.flips("Bot is down", true);
    visitor.says("¿Y mis facturas?");
    visitor.says("¿Qué pedidos tengo?");
    visitor.turn_to("inside");
    visitor.browser.until("both wait in the outbox", || {
        let entries = visitor.browser.all(".entry:has(.busy, .bad)").len();
        visitor
            .browser
            .read(".entry:has(.busy, .bad)", "to the bot")?;
        (entries >= 2).then_some(())
    });
    let so_far = visitor.chat().len();
    visitor.flips("Bot is down", false);
    let answers = visitor.browser.until("both are answered", || {
        let chat = visitor.chat();
        (chat.len() == so_far + 2).then_some(chat)
    });
    let texts: Vec<&str> = answers[so_far..]
        .iter()
        .map(|one| one.text.as_str())
        .collect();
    assert!(
        texts[0].contains("F-311") && texts[1].contains("K-2041"),
        "{texts:?}"
    );
}

#[test]
fn while_meta_answers_500_the_reply_waits_and_is_then_delivered_once() {
    let visitor = Visitor::at("meta-500", PHONE);
    visitor.flips("Meta answers 500", true);
    visitor.says("Hola");
    visitor.sees_a_retry_of("reply to");
    assert_eq!(visitor.replies().len(), 0);
    visitor.flips("Meta answers 500", false);
    visitor.hears(WELCOME);
    // What would be said twice had its reason before this answer.
    visitor.says("¿Quién soy?");
    visitor.hears(NOT_SIGNED_IN);
    assert_eq!(visitor.replies().len(), 2);
}

#[test]
fn while_one_service_is_down_the_other_one_still_knows_ana() {
    let visitor = Visitor::at("service-down", LAPTOP);
    visitor.flips("Kutamma is down", true);
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.signs_in();
}

#[test]
fn the_page_fetches_nothing_from_elsewhere_and_the_console_stays_empty() {
    let visitor = Visitor::at("same-origin", LAPTOP);
    let browser = &visitor.browser;
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.signs_in();
    let entries = "return performance.getEntries().map((entry) => entry.name).filter((name) => name.includes(':'))";
    let mut fetched = vec![browser.run(entries, json!([]))];
    let frame = browser.find("#reader-body", "");
    browser.inside(&frame, |frame| fetched.push(frame.run(entries, json!([]))));
    let fetched: Vec<String> = fetched
        .iter()
        .flat_map(|list| list.as_array().unwrap())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert!(fetched.len() > 5, "{fetched:?}");
    for name in &fetched {
        assert!(
            name.starts_with(&visitor.address) || name.starts_with("data:"),
            "{name} is fetched"
        );
    }
    let policies = browser.run_async(
        "const done = arguments[arguments.length - 1];
         Promise.all(['/', document.querySelector('#reader-body').src].map((url) => fetch(url)))
           .then((all) => done(all.map((one) => one.headers.get('Content-Security-Policy'))));",
        json!([]),
    );
    for policy in policies.as_array().unwrap() {
        let policy = policy.as_str().unwrap_or_default();
        assert!(policy.starts_with("default-src 'none'"), "{policy:?}");
        assert!(!policy.contains("script-src 'unsafe"), "{policy:?}");
    }
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Elements that stick out of the window sideways; what lies in a row that scrolls may.
const STICKS_OUT: &str = "return [...document.querySelectorAll('body *')]
  .filter((one) => one.checkVisibility({visibilityProperty: true}) && !one.closest('.chips, .unseen, symbol'))
  .filter((one) => { const box = one.getBoundingClientRect(); return box.width && (box.left < -0.5 || box.right > innerWidth + 0.5); })
  .map((one) => one.outerHTML.slice(0, 120))
  .concat(document.scrollingElement.scrollWidth > innerWidth ? ['the page scrolls sideways'] : [])
  .concat([...document.querySelectorAll('.said, .option, .envelope, .pill, .entry, .card, .steps, .chip, .menu button')]
    .filter((one) => one.checkVisibility() && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display !== 'inline')
    .map((one) => 'its text is cut: ' + one.outerHTML.slice(0, 120)))";

#[test]
fn nothing_sticks_out_of_a_window_of_320_pixels() {
    let visitor = Visitor::at("narrow", Device::Phone(320, 568));
    let browser = &visitor.browser;
    let check = |state: &str| {
        let out = browser.run(STICKS_OUT, json!([]));
        assert_eq!(out, json!([]), "{state}");
    };
    check("at the start");
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.says("ana@example.com");
    visitor.hears(ASKED);
    check("with buttons");
    browser.press("#mischief summary", "");
    check("with the menu");
    browser.press("#mischief summary", "");
    let code = visitor.reads_code_of_mail(0);
    visitor.turn_to("mail");
    check("with the mail");
    let frame = browser.find("#reader-body", "");
    browser.inside(&frame, |_| check("inside of the mail"));
    visitor.turn_to("chat");
    visitor.says(&code);
    visitor.hears(SIGNED_IN);
    check("at the end");
    visitor.turn_to("inside");
    browser.find(".pill", "signed in");
    check("in the panel");
    visitor.turn_to("bot");
    browser.find(".request", "soy el bot");
    check("with the bot");
    visitor.turn_to("chat");
    browser.press(".person", "Bruno");
    visitor.asks_for_link("Oi", "Entrar na web");
    browser.find(".hint", "bruno@example.org");
    check("with a link");
    browser.press(".pass-on", "Ana");
    browser.find(".passed-on", "Bruno");
    check("with a forwarded link");
}

/// Keys pressed at most until the focus is where it should be.
const TABS_MAX: usize = 60;

/// Presses Tab until the focus is there and can be seen.
fn walk_to(browser: &Browser, held: Option<char>, selector: &str) {
    let focused = "return document.activeElement?.matches(arguments[0])
       && document.activeElement.matches(':focus-visible')
       && getComputedStyle(document.activeElement).outlineStyle !== 'none'";
    for _ in 0..TABS_MAX {
        if browser.run(focused, json!([selector])) == true {
            return;
        }
        browser.keys(held, &TAB.to_string());
    }
    panic!("{selector} is not reached with the keyboard, or does not show the focus");
}

#[test]
fn somebody_without_a_mouse_signs_in() {
    let visitor = Visitor::at("keyboard", LAPTOP);
    let browser = &visitor.browser;
    let enter = ENTER.to_string();
    let walk_to = |held: Option<char>, selector: &str| walk_to(browser, held, selector);
    walk_to(None, "textarea");
    browser.keys(None, &format!("Hola{enter}"));
    visitor.hears(WELCOME);
    // A suggestion fills the field and gives the focus back to it.
    walk_to(Some(SHIFT), ".chip:first-child");
    let suggested = browser.run("return document.activeElement.textContent", json!([]));
    browser.keys(None, &enter);
    walk_to(None, "textarea");
    let filled = browser.run("return document.activeElement.value", json!([]));
    assert!(
        filled.as_str().is_some_and(|text| text.contains('@')),
        "{suggested}: {filled}"
    );
    browser.keys(None, &enter);
    visitor.hears(ASKED);
    browser.find(".envelope", "ana@example.com");
    walk_to(None, ".envelope");
    browser.keys(None, &enter);
    let code = visitor.read_code();
    walk_to(Some(SHIFT), "textarea");
    browser.keys(None, &format!("{code}{enter}"));
    visitor.hears(SIGNED_IN);

    walk_to(Some(SHIFT), "#mischief summary");
    browser.keys(None, &enter);
    walk_to(None, "[role=switch]");
    browser.keys(None, &ESCAPE.to_string());
    walk_to(None, "#mischief summary");
    assert!(browser.seen(".menu", "").is_none());
}

#[test]
fn a_link_is_a_row_below_its_message_and_opens_in_the_same_tab() {
    let world = Arc::new(World::start().unwrap());
    let inside = Box::new(Inside::default);
    let door = page::open(([127, 0, 0, 1], 0).into(), world.clone(), inside).unwrap();
    let home = format!("http://{}/", door.address());
    let browser = Browser::start("link", LAPTOP);
    browser.open(&home);

    let client = whatsapp::Client::new(&whatsapp::Settings {
        api_url: format!("http://{}", world.graph.address()),
        api_version: "v25.0".to_owned(),
        phone_number_id: PhoneNumberId::parse(BUSINESS.phone_number_id).unwrap(),
        access_token: Secret::new(world.graph.access_token()),
        ca_pem: None,
        connections: 1,
    })
    .unwrap();
    let ana = Recipient::Number(WaId::parse(PEOPLE[ANA].wa_id).unwrap());
    let send = |title: &str, query: &str| {
        let link = Link {
            title: title.to_owned(),
            to: LinkTarget::Url(format!("{home}?{query}")),
        };
        let message = ChatMessage {
            body: "Entra con tu usuario y contraseña de Kutamma.".to_owned(),
            buttons: Vec::new(),
            link: Some(link),
        };
        client.send(&ana, &message, "t").unwrap();
    };
    let said = world.phone(ANA).say("Hola");
    assert_eq!(world.phone(ANA).link(), None);
    send("Entrar", "from=link");
    // At most 20 characters; the quote and the brackets are markup to whoever forgets to escape.
    send("<b>x</b>\"><img src=x", "a='onclick=x&b=%22");
    let first = world.phone(ANA).wait_for_link(&said, PATIENCE).unwrap();
    assert_eq!(first.title, "Entrar");
    assert_eq!(first.url, format!("{home}?from=link"));
    let newest = world.phone(ANA).link().unwrap();
    assert_eq!(newest.url, format!("{home}?a='onclick=x&b=%22"));
    let newest = world.phone(ANA).messages().pop().unwrap().id;
    let newest: String = form_urlencoded::byte_serialize(newest.as_bytes()).collect();

    browser.find(".option", "<b>x</b>\"><img src=x");
    let hostile = browser.run(
        "const link = [...document.querySelectorAll('a.option')].pop();
         return {href: link.getAttribute('href'), text: link.textContent,
                 inside: [...link.querySelectorAll('*')].map((one) => one.localName),
                 attributes: link.getAttributeNames()};",
        json!([]),
    );
    assert_eq!(
        hostile,
        json!({
            "href": format!("/demo/open?phone=0&message={newest}"), "text": "<b>x</b>\"><img src=x",
            "inside": ["svg", "use"], "attributes": ["class", "href"],
        })
    );
    let below = "return [...document.querySelectorAll('a.option')].every((link) =>
      link.getBoundingClientRect().top >= link.previousElementSibling.getBoundingClientRect().bottom
      && link.previousElementSibling.matches('.bubble') && link.querySelector('use').getAttribute('href') === '#i-open')";
    assert_eq!(browser.run(below, json!([])), true);
    let link = browser.find("a.option", "Entrar");
    assert_eq!(
        browser.role_and_name(&link),
        ("link".to_owned(), "Entrar".to_owned())
    );
    for scheme in ["light", "dark"] {
        browser.paint(scheme);
        let pale = browser.run(PALE_TEXTS, json!([]));
        browser.photograph(&format!("link-{scheme}"));
        assert_eq!(pale["pale"], json!([]), "{scheme}");
    }

    // The keyboard reaches it, sees that it does, and follows it.
    let focused = "return document.activeElement.matches('a.option:focus-visible')
      && getComputedStyle(document.activeElement).outlineStyle !== 'none'
      && document.activeElement.textContent === 'Entrar'";
    let reached = (0..TABS_MAX).any(|_| {
        browser.keys(None, &TAB.to_string());
        browser.run(focused, json!([])) == true
    });
    assert!(reached, "the link is not reached with the keyboard");
    let before = browser.run("return history.length", json!([]));
    browser.keys(None, &ENTER.to_string());
    browser.until("the link is open", || {
        (browser.run("return location.search", json!([])) == "?from=link").then_some(())
    });
    let after = browser.run("return history.length", json!([]));
    assert_eq!(
        after.as_u64(),
        before.as_u64().map(|pages| pages + 1),
        "in the same tab"
    );
}

/// News of the bot's own messages share a line. Once it went when the first of them did, and with it
/// went all that came later.
#[test]
fn a_line_of_news_to_the_bot_stays_as_long_as_any_of_its_news() {
    /// As many requests as the page shows.
    const SHOWN: usize = 40;
    let world = Arc::new(World::start().unwrap());
    let inside = Box::new(Inside::default);
    let door = page::open(([127, 0, 0, 1], 0).into(), world.clone(), inside).unwrap();
    let browser = Browser::start("news", LAPTOP);
    browser.open(&format!("http://{}/", door.address()));
    let secret = Secret::new(world.graph.app_secret());
    let tell = |status: &str| {
        let value = json!({"statuses": [{"status": status}]});
        let body = json!({"entry": [{"changes": [{"value": value}]}]}).to_string();
        let signature = whatsapp::signature::sign(&secret, body.as_bytes());
        let call = ureq::post(world.bot.url()).header("X-Hub-Signature-256", signature);
        assert_eq!(call.send(body).unwrap().status(), 200);
    };
    browser.press(".sides [data-side=bot]", "");
    tell("sent");
    browser.find(".request-news", "status: sent");
    for _ in 2..=SHOWN {
        tell("delivered");
    }
    browser.find(".request-news", &", delivered".repeat(SHOWN - 1));
    tell("read");
    browser.find(".request-news", ", delivered, read");
    assert_eq!(browser.all(".request-news").len(), 1);
}

#[test]
fn everything_that_can_be_operated_has_a_name() {
    let visitor = Visitor::at("names", LAPTOP);
    let browser = &visitor.browser;
    visitor.says("Hola");
    visitor.hears(WELCOME);
    visitor.says("ana@example.com");
    visitor.hears(ASKED);
    visitor.reads_code_of_mail(0);
    browser.press("#mischief summary", "");
    let mut named = 0;
    for element in browser.all("button, textarea, input, a, summary, iframe, [tabindex]") {
        let (role, name) = browser.role_and_name(&element);
        // What is hidden in this window has neither.
        if matches!(role.as_str(), "none" | "generic" | "") && name.is_empty() {
            continue;
        }
        assert!(
            !name.trim().is_empty(),
            "a {role} without a name: {element:?}"
        );
        named += 1;
    }
    assert!(named > 12, "only {named} elements were looked at");
    let field = browser.find("textarea", "");
    let (role, name) = browser.role_and_name(&field);
    assert_eq!((role.as_str(), name.as_str()), ("textbox", "Message"));
    let (role, _) = browser.role_and_name(&browser.find("[data-switch]", "Mail server"));
    assert_eq!(role, "switch");
}

/// Every text that is seen with less than 4.5:1 between its colour and what lies behind it
/// (WCAG 2.2, success criterion 1.4.3), as `ratio text`.
const PALE_TEXTS: &str = "
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (colour) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255]; };
  // What a browser paints where the page paints nothing; it differs in light and dark.
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = 'Canvas';
  const canvasColour = getComputedStyle(probe).color;
  probe.remove();
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const light = (rgb) => { const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (one) => { if (!one) return rgba(canvasColour).slice(0, 3); const own = rgba(getComputedStyle(one).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, behind(one.parentElement)); };
  const pale = [];
  let looked = 0;
  const judge = (one, colour, text) => {
    looked += 1;
    const back = behind(one), fore = over(rgba(colour), back);
    const [high, low] = [light(back), light(fore)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) pale.push(ratio.toFixed(2) + ' ' + text.trim().slice(0, 60));
  };
  for (const one of document.querySelectorAll('body, body *')) {
    if (!one.checkVisibility({visibilityProperty: true}) || one.closest('.unseen, svg')) continue;
    const text = [...one.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data).join('');
    if (text.trim()) judge(one, getComputedStyle(one).color, text);
    if (one.placeholder) judge(one, getComputedStyle(one, '::placeholder').color, one.placeholder);
    if (getComputedStyle(one, '::before').content.startsWith('counter')) judge(one, getComputedStyle(one, '::before').color, 'number of ' + one.className);
  }
  return {pale, looked};";

pub fn pale_texts(browser: &Browser, state: &str) -> Vec<String> {
    let found = browser.run(PALE_TEXTS, json!([]));
    assert!(found["looked"].as_u64() > Some(3), "{state}: {found}");
    let pale = found["pale"].as_array().unwrap().iter();
    pale.map(|text| format!("{state}: {text}")).collect()
}

#[test]
fn every_text_is_legible_in_light_and_dark() {
    let visitor = Visitor::at("contrast", LAPTOP);
    let browser = &visitor.browser;
    let mut pale = Vec::new();
    let mut look = |state: &str| {
        for scheme in ["light", "dark"] {
            browser.paint(scheme);
            pale.extend(pale_texts(browser, &format!("{state}, {scheme}")));
        }
    };
    look("start");
    let paper = |scheme: &str| -> Value {
        browser.paint(scheme);
        browser.run(
            "return getComputedStyle(document.body).backgroundColor",
            json!([]),
        )
    };
    assert_ne!(paper("light"), paper("dark"), "dark mode is another one");
    visitor.flips("Meta answers 500", true);
    visitor.says("Hola");
    visitor.sees_a_retry_of("reply to");
    look("something failed");
    visitor.flips("Meta answers 500", false);
    visitor.hears(WELCOME);
    visitor.says("ana@example.com");
    visitor.hears(ASKED);
    let code = visitor.reads_code_of_mail(0);
    look("mail open");
    browser.press(".option", "Reenviar código");
    browser.find(".quoted", "");
    look("button tapped");
    visitor.says(&one_off(&code));
    visitor.hears(WRONG);
    visitor.says(&code);
    visitor.hears(SIGNED_IN);
    visitor.turn_to("bot");
    browser.find(".request", "soy el bot");
    look("bot");
    visitor.turn_to("inside");
    browser.press("#mischief summary", "");
    browser.press(".log summary", "");
    look("menu and log");
    browser.press("#mischief summary", "");
    browser.press(".person", "Bruno");
    visitor.asks_for_link("Oi", "Entrar na web");
    browser.find(".hint", "bruno@example.org");
    look("link");
    browser.press(".pass-on", "Ana");
    browser.find(".passed-on", "Bruno");
    look("forwarded link");
    let frame = browser.find("#reader-body", "");
    for scheme in ["light", "dark"] {
        browser.paint(scheme);
        let mail = browser.inside(&frame, |frame| {
            pale_texts(frame, &format!("mail, {scheme}"))
        });
        pale.extend(mail);
    }
    assert_eq!(pale, Vec::<String>::new());
}

#[test]
fn pictures_of_every_main_state_are_taken() {
    for (form, device) in [("desktop", LAPTOP), ("phone", PHONE)] {
        let visitor = Visitor::at(&format!("pictures-{form}"), device);
        let browser = &visitor.browser;
        let take = |state: &str| {
            for scheme in ["light", "dark"] {
                browser.paint(scheme);
                let picture = browser.photograph(&format!("{form}-{scheme}-{state}"));
                let size = std::fs::metadata(picture).unwrap().len();
                assert!(size > 10_000, "{form} {state} is empty: {size} bytes");
            }
        };
        let settled = |pill: &str| {
            visitor.turn_to("inside");
            browser.find(".card .pill", pill);
            visitor.turn_to("chat");
            browser.until("nobody is typing", || {
                browser.seen(".typing", "").is_none().then_some(())
            });
        };
        take("1-start");
        visitor.says("Hola, ¿a qué hora abren mañana?");
        visitor.hears(WELCOME);
        settled("asked for the address");
        take("2-asked");
        visitor.says("ana@example.com");
        visitor.hears(ASKED);
        settled("waiting for the code");
        browser.until("the mail is there", || (visitor.mails() == 1).then_some(()));
        take("3-code-asked");
        let code = visitor.reads_code_of_mail(0);
        visitor.turn_to("mail");
        take("4-mail");
        visitor.turn_to("chat");
        visitor.says(&one_off(&code));
        visitor.hears(WRONG);
        visitor.says(&code);
        visitor.hears(SIGNED_IN);
        settled("signed in");
        take("5-signed-in");
        visitor.turn_to("inside");
        take("6-inside");
        visitor.turn_to("chat");
        visitor.says("¿Qué pedidos tengo?");
        visitor.hears("tienes 3 pedidos");
        visitor.turn_to("bot");
        browser.find(".request", "K-2041");
        take("6-bot");
        visitor.turn_to("inside");
        visitor.turn_to("chat");
        browser.press("#mischief summary", "");
        take("7-mischief");
        browser.press("#mischief summary", "");
        visitor.flips("Meta answers 500", true);
        visitor.says("¿Quién soy?");
        visitor.sees_a_retry_of("reply to");
        visitor.turn_to("inside");
        take("8-retry");
    }
}

#[test]
fn pictures_of_the_way_over_the_web_are_taken() {
    for (form, device) in [("desktop", LAPTOP), ("phone", PHONE)] {
        let visitor = Visitor::at(&format!("pictures-web-{form}"), device);
        let browser = &visitor.browser;
        let take = |state: &str| {
            for scheme in ["light", "dark"] {
                browser.paint(scheme);
                browser.photograph(&format!("{form}-{scheme}-web-{state}"));
            }
        };
        visitor.asks_for_link("Hola, ¿a qué hora abren mañana?", "Entrar en la web");
        browser.find(".hint", "ana@example.com");
        take("1-link");
        browser.press("a.option.open", "Entrar");
        browser.find("input[name=user]", "");
        take("2-page");
        visitor.signs_in_on_the_page("ana@example.com", "pan de masa madre");
        if !visitor.is_touching {
            browser.find("a.button.first", "WhatsApp");
            take("3-page-back");
        }
        visitor.comes_back();
        browser.find(".hint", "Send");
        take("4-ready");
        browser.press(".send", "");
        visitor.hears(SIGNED_IN);
        browser.find(".hint", "Signed in");
        take("5-signed-in");
        browser.until("a mail tells of it", || {
            (visitor.mails() == 1).then_some(())
        });
        visitor.turn_to("mail");
        browser.press(".envelope", "ana@example.com");
        take("6-mail");
        visitor.turn_to("chat");
        browser.press(".person", "Bruno");
        visitor.asks_for_link("Oi", "Entrar na web");
        browser.press(".pass-on", "Ana");
        browser.find(".passed-on", "Bruno");
        take("7-forwarded-signed-in");
        browser.press(".passed-on a.option.open", "Entrar");
        visitor.signs_in_on_the_page("ana@example.com", "pan de masa madre");
        visitor.comes_back();
        browser.press(".send", "");
        visitor.hears("no dejé entrar");
        take("8-refused");
        visitor.turn_to("inside");
        browser.find(".audit li", "link.mismatch");
        take("9-inside");
    }
}

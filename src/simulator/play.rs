//! The demo as a story in the terminal: people write, read their mail and try to cheat, against a
//! running server. What the server says is quoted, not known by heart: it is judged by accounts
//! named, codes accepted, buttons offered and answers counted, so that other words or another
//! language do not spoil the story.

use super::bot;
use super::browser::{Answer, Browser, parameter};
use super::cast::{ANA, BRUNO, BUSINESS, CAMILA, LUCIA, PEOPLE, SERVICES, STRANGER_EMAIL};
use super::demo::Demo;
use super::graph::{Fault, Link, Message};
use super::inbox::{Mail, Trouble};
use super::page::{Inside, Tone};
use super::{BARE_PAGE, Handset, World};
use std::collections::HashSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Longest wait for an answer or a mail when nothing is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longest wait when the server has to try again: above the sum of its first pauses.
const PATIENCE_WITH_RETRIES: Duration = Duration::from_secs(120);
/// Pause before asking again when the server wants one; the demo's configuration says one second.
const RESEND_PAUSE: Duration = Duration::from_millis(1_100);
/// Times that an address or a new code is asked for again after such a pause.
const ASKS_MAX: usize = 5;
/// Between two looks at what rings no bell.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Columns of the story's text.
const COLUMNS: usize = 78;
/// Columns before what somebody says.
const INDENT: usize = 12;

/// Acts the whole story; what did not go as it should is returned, a sentence each.
///
/// `for_any_page` is a server in a world of its own that was started with the switches off which
/// keep the published document's bare protocol out. `colours` is for terminals. Everything works
/// again afterwards.
///
/// # Errors
///
/// Only when the story cannot be written.
pub fn act(
    demo: &Demo,
    for_any_page: &Demo,
    out: &mut dyn Write,
    colours: bool,
) -> io::Result<Vec<String>> {
    let started = Instant::now();
    let world: &World = demo.world();
    let (look, look_at_any) = (|| demo.inside(), || for_any_page.inside());
    let mut story = Story {
        world,
        server: demo.server(),
        inside: &look,
        out,
        colours,
        failed: Vec::new(),
    };
    let chapters: [(&str, Chapter); 12] = [
        (
            "Ana signs in with a code from her mailbox, and the bot answers",
            signs_in,
        ),
        ("The bot is down, and nothing is lost", bot_down),
        (
            "An address that nobody knows looks the same, and the bot hears nothing",
            unknown_address,
        ),
        (
            "Lucía slips once, then types the right code",
            wrong_then_right,
        ),
        (
            "Bruno asks for a second code, and the first is worth nothing",
            resend,
        ),
        (
            "A code works in the chat that asked for it, and nowhere else",
            stolen_code,
        ),
        (
            "Ana leaves, and the bot can do nothing for her any more",
            leaves,
        ),
        ("The mail server is down, and nothing is lost", mail_down),
        (
            "Camila signs in on the web: tap the link, sign in, press Send",
            signs_in_on_the_web,
        ),
        (
            "Bruno forwards his link to Camila, and gains nothing by it",
            forwarded_link,
        ),
        ("Meta stumbles, and nothing is said twice", meta_stumbles),
        (
            "A page that only read the document is told that there is no such link",
            bare_protocol_refused,
        ),
    ];
    let mut number = 0;
    for (title, chapter) in chapters {
        number += 1;
        story.title(number, title)?;
        chapter(&mut story)?;
        world.behave();
        world.graph.deliver_twice(false);
    }
    story.world = for_any_page.world();
    story.server = for_any_page.server();
    story.inside = &look_at_any;
    story.title(
        number + 1,
        "The document to the letter, where both switches are off",
    )?;
    bare_protocol_taken(&mut story)?;
    story.epilogue(started.elapsed())?;
    Ok(story.failed)
}

/// A chapter that cannot go on ends early; the claim that failed is already noted.
type Chapter = fn(&mut Story<'_>) -> io::Result<()>;

struct Story<'a> {
    world: &'a World,
    /// The public address of the server.
    server: &'a str,
    /// What the operator sees.
    inside: &'a dyn Fn() -> Inside,
    out: &'a mut dyn Write,
    colours: bool,
    failed: Vec<String>,
}

// ---- the chapters ----

fn signs_in(story: &mut Story<'_>) -> io::Result<()> {
    let said = story.says(ANA, "Hola, ¿qué pedidos tengo abiertos?")?;
    let Some(welcome) = story.hears(ANA, &said)? else {
        return Ok(());
    };
    story.claim(
        welcome.body.contains(BUSINESS.name),
        "the business says who it is and what it needs",
    )?;
    let Some((mail, asked)) = story.asks_for_code(ANA, PEOPLE[ANA].email, PATIENCE)? else {
        return Ok(());
    };
    story.claim(
        asked.body.contains('@') && !asked.body.contains(PEOPLE[ANA].email),
        "the answer repeats the address only in part",
    )?;
    story.claim(
        (1..=3).contains(&asked.buttons.len()),
        "buttons offer a way out (another code, another address, cancel)",
    )?;
    story.claim(
        mail.html.is_some() && mail.subject.contains(&code_of(&mail)),
        "the code can be read in the subject, the text and the page of the mail",
    )?;
    story.types_code(ANA, &code_of(&mail), "Ana Pérez", true)?;
    let Some(answer) = story.hears_bot(ANA, &said)? else {
        return Ok(());
    };
    story.claim(
        answer.body.contains("K-2041") && answer.body.contains("W-118"),
        "the bot answers her first message with her own orders, of both services",
    )?;
    story.tells_of_bot(&said)?;
    let handed_on = story.handed_on(&said);
    let who = handed_on.and_then(|one| one.identity?.ok());
    story.claim(
        who.is_some_and(|who| who["bindings"][0]["account"]["name"] == "Ana Pérez"),
        "who she is came with the message, signed; she typed no code to the bot",
    )?;
    let heard = story.world.bot.received();
    let texts = heard
        .iter()
        .filter(|one| matches!(&one.what, bot::What::Message { .. }));
    story.claim(texts.count() == 1, "of the sign-in itself it heard nothing")?;
    let replies = story.phone(ANA).replies_to(&said).into_iter();
    let replies = replies.filter(|message| message.tag.is_some()).count();
    story.claim(replies <= 3, "three replies were enough to sign in")
}

fn bot_down(story: &mut Story<'_>) -> io::Result<()> {
    story.tells("The bot answers 503 to everything. Ana goes on writing.")?;
    story.world.bot.misbehave(Some(bot::Trouble::Down));
    let first = story.says(ANA, "¿Y qué facturas?")?;
    let second = story.says(ANA, "¿Y los pedidos?")?;
    let look = story.inside;
    let waiting = || {
        let entries = look().outbox.into_iter();
        entries.filter(|entry| entry.to == "to the bot").count()
    };
    // Nothing rings when an attempt has failed.
    let started = Instant::now();
    while waiting() < 2 && started.elapsed() < PATIENCE {
        story.world.watch().wait_past(u64::MAX, LOOK_AGAIN);
    }
    story.claim(waiting() >= 2, "both messages wait in the outbox")?;
    let unheard = [&first, &second].map(|id| story.handed_on(id).is_none());
    story.claim(unheard == [true, true], "the bot has seen neither")?;
    story.tells("It is started again.")?;
    story.world.bot.misbehave(None);
    let phone = story.phone(ANA);
    let from_bot = |messages: Vec<Message>| -> Vec<Message> {
        let messages = messages.into_iter();
        messages.filter(|one| one.tag.is_none()).collect()
    };
    let answers = story.world.watch().wait_for(PATIENCE_WITH_RETRIES, || {
        let answers = from_bot(phone.replies_to(&first));
        (answers.len() == 2).then_some(answers)
    });
    let Some(answers) = answers else {
        return story.claim(false, "both are answered");
    };
    for answer in &answers {
        story.line("bot", &quoted(answer), Style::Bot)?;
    }
    story.claim(
        answers[0].body.contains("F-311") && answers[1].body.contains("K-2041"),
        "both are answered, in order, once each",
    )
}

fn unknown_address(story: &mut Story<'_>) -> io::Result<()> {
    let known = story.last_answer_with_buttons(ANA);
    let issued_before = tokens_issued(story.world);
    let said = story.says(LUCIA, "¿Qué pedidos tengo?")?;
    if story.hears(LUCIA, &said)?.is_none() {
        return Ok(());
    }
    let Some(answer) = story.gives_address(LUCIA, STRANGER_EMAIL)? else {
        return Ok(());
    };
    let same = known.is_some_and(|known| {
        without_address(&known.body) == without_address(&answer.body)
            && titles(&known) == titles(&answer)
    });
    story.claim(
        same,
        "words and buttons are those that Ana saw, but for the address",
    )?;
    story.types_code(LUCIA, "12345678", "Lucía Fernández", false)?;
    story.claim(
        story.world.inbox.mails_to(STRANGER_EMAIL).is_empty(),
        "no mail went to that address",
    )?;
    let is_unheard = story.handed_on(&said).is_none();
    story.claim(
        is_unheard && tokens_issued(story.world) == issued_before,
        "what she asked has not reached the bot, and no service gave a token",
    )
}

fn wrong_then_right(story: &mut Story<'_>) -> io::Result<()> {
    let Some((mail, _)) = story.asks_for_code(LUCIA, PEOPLE[LUCIA].email, PATIENCE)? else {
        return Ok(());
    };
    let right = code_of(&mail);
    story.types_code(LUCIA, &one_off(&right), "Lucía Fernández", false)?;
    let answers = story.phone(LUCIA).messages();
    let last = story.last_answer(LUCIA).map(|message| message.body);
    let same = answers
        .iter()
        .filter(|message| Some(&message.body) == last.as_ref());
    story.claim(
        same.count() == 2,
        "the answer is word for word the one that the unknown address got",
    )?;
    let spaced = format!("mi código es {} {}", &right[..4], &right[4..]);
    let first = story.phone(LUCIA).messages().into_iter();
    let first = first.map(|message| message.id).next().unwrap_or_default();
    story.types_code(LUCIA, &spaced, "Lucía Fernández", true)?;
    let Some(answer) = story.hears_bot(LUCIA, &first)? else {
        return Ok(());
    };
    story.claim(
        answer.body.contains("K-2039") && !answer.body.contains("K-2041"),
        "now the bot answers what she asked at first: with her orders, not with Ana's",
    )
}

fn resend(story: &mut Story<'_>) -> io::Result<()> {
    let said = story.says(BRUNO, "Bom dia!")?;
    if story.hears(BRUNO, &said)?.is_none() {
        return Ok(());
    }
    let email = PEOPLE[BRUNO].email;
    let Some((first, asked)) = story.asks_for_code(BRUNO, email, PATIENCE)? else {
        return Ok(());
    };
    let Some(button) = asked.buttons.first().map(|button| button.title.clone()) else {
        return story.claim(false, "there is a button for another code");
    };
    let so_far = story.codes_so_far(email);
    let mut second = None;
    for _ in 0..ASKS_MAX {
        std::thread::sleep(RESEND_PAUSE);
        let Some(tapped) = story.taps(BRUNO, &button)? else {
            break;
        };
        let Some(answer) = story.hears(BRUNO, &tapped)? else {
            break;
        };
        // An answer without the address asks for patience.
        if answer.body.contains('@') {
            second = story.reads_mail(email, so_far + 1, PATIENCE)?;
            break;
        }
    }
    let Some(second) = second else {
        return story.claim(false, "a second code arrives");
    };
    story.claim(
        code_of(&first) != code_of(&second),
        "the second code is another one",
    )?;
    story.types_code(BRUNO, &code_of(&first), "Bruno Carvalho", false)?;
    story.types_code(BRUNO, &code_of(&second), "Bruno Carvalho", true)
}

fn stolen_code(story: &mut Story<'_>) -> io::Result<()> {
    for (who, word) in [(ANA, "cerrar sesión"), (LUCIA, "cerrar sesión")] {
        let said = story.says(who, word)?;
        if story.hears(who, &said)?.is_none() {
            return Ok(());
        }
    }
    let email = PEOPLE[ANA].email;
    let Some((mail, _)) = story.asks_for_code(ANA, email, PATIENCE)? else {
        return Ok(());
    };
    story
        .tells("Lucía has looked over Ana's shoulder. She gives Ana's address in her own chat.")?;
    if story.asks_for_code(LUCIA, email, PATIENCE)?.is_none() {
        return Ok(());
    }
    let code = code_of(&mail);
    story.types_code(LUCIA, &code, "Ana Pérez", false)?;
    let forwarded = story.phone(LUCIA).forward(&code);
    story.line("Lucía", &format!("(forwarded) {code}"), Style::Person)?;
    if let Some(answer) = story.hears(LUCIA, &forwarded)? {
        story.claim(
            !answer.body.contains("Ana Pérez"),
            "forwarded, it does not work either",
        )?;
    }
    story.types_code(ANA, &code, "Ana Pérez", true)
}

fn leaves(story: &mut Story<'_>) -> io::Result<()> {
    let ask = |story: &mut Story<'_>| -> io::Result<Option<Message>> {
        let said = story.says(ANA, "¿Quién soy?")?;
        story.hears(ANA, &said)
    };
    let Some(answer) = ask(story)? else {
        return Ok(());
    };
    story.claim(answer.body.contains("Ana Pérez"), "the account is named")?;
    let asked = story.says(ANA, "¿Qué pedidos tengo?")?;
    if story.hears_bot(ANA, &asked)?.is_none() {
        return Ok(());
    }
    let said = story.says(ANA, "Cerrar sesión")?;
    if story.hears(ANA, &said)?.is_none() {
        return Ok(());
    }
    story.tells("The bot has kept the identity of her last message and shows it once more.")?;
    let kept = story.handed_on(&asked);
    let refused = kept.and_then(|one| story.world.bot.asks_again(&one, SERVICES[0].name));
    if let Some(call) = &refused {
        story.line("bot", &told(call), Style::Told)?;
    }
    story.claim(
        refused.is_some_and(|call| call.told == "need sign_in"),
        "there is no token for it any more",
    )?;
    match ask(story)? {
        Some(answer) => story.claim(
            !answer.body.contains("Ana Pérez"),
            "after leaving, nobody is named",
        ),
        None => Ok(()),
    }
}

fn mail_down(story: &mut Story<'_>) -> io::Result<()> {
    story.tells("The mail server refuses every connection: the next two attempts will fail.")?;
    story.world.inbox.misbehave(Trouble::Down, 2);
    let email = PEOPLE[ANA].email;
    let Some((mail, _)) = story.asks_for_code(ANA, email, PATIENCE_WITH_RETRIES)? else {
        return Ok(());
    };
    story.claim(
        story.world.inbox.trouble().is_none(),
        "the mail was kept, and came when the server was back",
    )?;
    story.types_code(ANA, &code_of(&mail), "Ana Pérez", true)
}

fn meta_stumbles(story: &mut Story<'_>) -> io::Result<()> {
    story.tells("Meta answers 500 to the next two messages, and delivers every webhook twice.")?;
    let fault = Fault::Refused {
        status: 500,
        code: 131_000,
    };
    story.world.graph.misbehave(fault, 2);
    story.world.graph.deliver_twice(true);
    let first = story.says(CAMILA, "¿Quién soy?")?;
    if story
        .hears_within(CAMILA, &first, PATIENCE_WITH_RETRIES)?
        .is_none()
    {
        return Ok(());
    }
    story.claim(
        story.world.graph.fault().is_none(),
        "the answer came after Meta had recovered",
    )?;
    let second = story.says(CAMILA, "Cerrar sesión")?;
    if story.hears(CAMILA, &second)?.is_none() {
        return Ok(());
    }
    // Whatever would be said twice has had its reason by the time the last copy has arrived.
    let world = story.world;
    let arrived = world.watch().wait_for(PATIENCE, || {
        (world.graph.webhooks_waiting() == 0).then_some(())
    });
    story.claim(arrived.is_some(), "every webhook was taken")?;
    let third = story.says(CAMILA, "¿Quién soy?")?;
    if story.hears(CAMILA, &third)?.is_none() {
        return Ok(());
    }
    let replies = story.phone(CAMILA).replies_to(&first).len();
    story.claim(replies == 3, "three messages, three answers")?;
    let calls = story.world.graph.calls();
    let tags = calls.iter().filter(|call| call.taken);
    let tags = tags.filter_map(|call| call.body["biz_opaque_callback_data"].as_str());
    let mut seen = HashSet::new();
    let doubled = tags.filter(|tag| !seen.insert(*tag)).count();
    story.claim(doubled == 0, "in the whole story no message was sent twice")
}

fn signs_in_on_the_web(story: &mut Story<'_>) -> io::Result<()> {
    let Some(link) = story.asks_for_link(CAMILA, "Hola, ¿me ayudas con un pedido?")? else {
        return Ok(());
    };
    let browser = Browser::default();
    for _ in 0..3 {
        browser.open(&link.url);
    }
    story.tells("Three previews open the link before she does. Then Camila taps it.")?;
    let Some(words) = story.signs_in_with(CAMILA, &link)? else {
        return Ok(());
    };
    let notices = story.notices_so_far(PEOPLE[CAMILA].email);
    let said = story.sends_back(CAMILA, &words)?;
    if let Some(answer) = story.hears(CAMILA, &said)? {
        let named = answer.body.contains("Camila Torres");
        story.claim(named, "Camila is signed in as Camila Torres")?;
    }
    if let Some(answer) = story.hears_bot(CAMILA, &said)? {
        let own = answer.body.contains("W-123");
        story.claim(own, "the bot answers what she had asked, with her order")?;
    }
    story.reads_notice(
        CAMILA,
        notices,
        "a mail tells the account's owner, who can undo it",
    )?;
    let again = browser.open(&link.url);
    story.claim(again.status == 404, "the link is used up")
}

fn forwarded_link(story: &mut Story<'_>) -> io::Result<()> {
    let said = story.says(BRUNO, "Sair")?;
    if story.hears(BRUNO, &said)?.is_none() {
        return Ok(());
    }
    let Some(link) = story.asks_for_link(BRUNO, "Oi, tudo bem?")? else {
        return Ok(());
    };
    story.tells(
        "Bruno forwards the link to Camila, with a story about a parcel. Camila believes him.",
    )?;
    let Some(words) = story.signs_in_with(CAMILA, &link)? else {
        return Ok(());
    };
    let so_far = story.phone(BRUNO).messages().len();
    let notices = story.notices_so_far(PEOPLE[CAMILA].email);
    let said = story.sends_back(CAMILA, &words)?;
    if let Some(answer) = story.hears(CAMILA, &said)? {
        let named = answer.body.contains("Camila Torres");
        story.claim(!named, "Camila is told, and not signed in as anybody by it")?;
    }
    let told = story
        .phone(BRUNO)
        .wait_for(|messages| messages.get(so_far).cloned(), PATIENCE);
    if let Some(message) = &told {
        story.line(BUSINESS.name, &quoted(message), Style::Business)?;
    }
    story.claim(
        told.is_some_and(|message| !message.from_person && !message.body.contains("Camila")),
        "Bruno is told, and not signed in either",
    )?;
    story.reads_notice(CAMILA, notices, "a mail warns the account's owner")?;
    let look = story.inside;
    let alarm = story.world.watch().wait_for(PATIENCE, || {
        let mut lines = look().log.into_iter().rev();
        lines.find(|line| line.contains("WARN") && line.contains("passing links on"))
    });
    if let Some(line) = &alarm {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        story.line("log", &line, Style::Told)?;
    }
    story.claim(alarm.is_some(), "the log has a line for whoever is on duty")?;
    story.claim(
        !story.is_signed_in(BRUNO),
        "as far as the server knows, nobody has come in",
    )
}

/// With the defaults a link is a name and no key: whoever holds it is told what a stranger is.
fn bare_protocol_refused(story: &mut Story<'_>) -> io::Result<()> {
    story.tells(
        "Camila has read the document, too: the chat is where the hash is, so she makes the two \
         calls of the sign-in page herself.",
    )?;
    let Some(link) = story.taps_for_link(CAMILA)? else {
        return Ok(());
    };
    let hash = parameter(&link.url, "mappingHash").unwrap_or_default();
    let browser = Browser::default();
    let mapping = browser.ask_for_mapping(story.server, &hash);
    story.call("GET /hash-mappings/…/", &mapping)?;
    let told = mapping.body.contains("HASH_MAPPING_NOT_FOUND");
    story.claim(
        mapping.status == 404 && told,
        "the hash alone gets the document's 404",
    )?;
    let reported = browser.report_sign_in(story.server, &mapping);
    story.call("POST /chat/history/", &reported)?;
    story.claim(
        reported.status == 401 && !story.is_signed_in(CAMILA),
        "and there is no way around it",
    )
}

/// With both switches off, the document works as it was written, for good and for ill.
fn bare_protocol_taken(story: &mut Story<'_>) -> io::Result<()> {
    story.tells(
        "Another server, with credential = \"none\" for the page and return_code = \"off\": the \
         document to the letter. It says at every start what that is worth.",
    )?;
    let Some(link) = story.asks_for_link(ANA, "Hola")? else {
        return Ok(());
    };
    story.claim(
        link.url.starts_with(BARE_PAGE),
        "the link leads to the page that read the document",
    )?;
    story.line("Ana", "(on that page) signs in", Style::Person)?;
    let so_far = story.phone(ANA).messages().len();
    let hash = parameter(&link.url, "mappingHash").unwrap_or_default();
    let browser = Browser::default();
    let mapping = browser.ask_for_mapping(story.server, &hash);
    story.call("GET /hash-mappings/…/", &mapping)?;
    let reported = browser.report_sign_in(story.server, &mapping);
    story.call("POST /chat/history/", &reported)?;
    story.claim(
        (mapping.status, reported.status) == (200, 200),
        "both calls are answered as documented",
    )?;
    let told = story.phone(ANA).wait_for(
        |messages| messages.iter().skip(so_far).find(is_portero).cloned(),
        PATIENCE,
    );
    if let Some(message) = &told {
        story.line(BUSINESS.name, &quoted(message), Style::Business)?;
    }
    story.claim(
        told.is_some() && story.is_signed_in(ANA),
        "Ana is signed in, and told so at once",
    )?;
    let again = browser.ask_for_mapping(story.server, &hash);
    story.claim(again.status == 404, "the hash is used up")?;
    story.tells(
        "Nobody had to show a password to the server: whoever holds the link could have made both \
         calls. That is why the switches are on unless somebody writes otherwise.",
    )
}

// ---- what people do ----

impl Story<'_> {
    /// A call of the document and what was answered, without what is secret in it.
    fn call(&mut self, call: &str, answer: &Answer) -> io::Result<()> {
        let text = format!("{call} → {}", answer.status);
        self.line("page", &text, Style::Mail)
    }

    /// Somebody unknown writes, and takes the way over the web.
    fn asks_for_link(&mut self, who: usize, words: &str) -> io::Result<Option<Link>> {
        let said = self.says(who, words)?;
        match self.hears(who, &said)? {
            Some(_) => self.taps_for_link(who),
            None => Ok(None),
        }
    }

    /// Whoever is not signed in was offered the way over the web last.
    fn taps_for_link(&mut self, who: usize) -> io::Result<Option<Link>> {
        let offer = self.last_answer_with_buttons(who);
        let button = offer.and_then(|offer| offer.buttons.into_iter().next());
        let Some(button) = button.map(|button| button.title) else {
            self.claim(false, "there is a button for the web")?;
            return Ok(None);
        };
        let Some(tapped) = self.taps(who, &button)? else {
            return Ok(None);
        };
        let link = self.hears(who, &tapped)?.and_then(|answer| answer.link);
        self.claim(link.is_some(), "a link comes, in a message of its own")?;
        Ok(link)
    }

    /// Opens the page and signs in there; the words with which the browser comes back to the chat.
    fn signs_in_with(&mut self, who: usize, link: &Link) -> io::Result<Option<String>> {
        let person = &PEOPLE[who];
        let browser = Browser::default();
        let page = browser.open(&link.url);
        self.claim(page.status == 200, "the sign-in page opens")?;
        let password = person.password().unwrap_or_default();
        let text = format!("(on the page) {}, {password}", person.email);
        self.line(first_name(who), &text, Style::Person)?;
        let answer = browser.sign_in(&link.url, &page, person.email, password);
        let chat = answer.location.filter(|_| answer.status == 303);
        let is_business =
            |url: &String| parameter(url, "phone").as_deref() == Some(BUSINESS.number);
        let words = chat.filter(is_business);
        let words = words.and_then(|url| parameter(&url, "text"));
        self.claim(
            words.is_some(),
            "the browser leads back to WhatsApp, with the words ready",
        )?;
        Ok(words)
    }

    /// As the operator sees it.
    fn is_signed_in(&self, who: usize) -> bool {
        let number = PEOPLE[who].wa_id;
        let ending = &number[number.len() - 2..];
        let mut contacts = (self.inside)().contacts.into_iter();
        contacts.any(|contact| contact.title.ends_with(ending) && contact.tone == Tone::Good)
    }

    /// Presses *Send* where a browser has left words. Their code is good for one time and still not
    /// told.
    fn sends_back(&mut self, who: usize, words: &str) -> io::Result<String> {
        let (start, _) = words.rsplit_once(' ').unwrap_or((words, ""));
        self.line(first_name(who), &format!("{start} Q7…"), Style::Person)?;
        Ok(self.phone(who).say(words))
    }
}

impl<'a> Story<'a> {
    fn phone(&self, who: usize) -> Handset<'a> {
        self.world.phone(who)
    }

    fn says(&mut self, who: usize, text: &str) -> io::Result<String> {
        self.line(first_name(who), text, Style::Person)?;
        Ok(self.phone(who).say(text))
    }

    fn taps(&mut self, who: usize, title: &str) -> io::Result<Option<String>> {
        self.line(first_name(who), &format!("[{title}]"), Style::Person)?;
        let tapped = self.phone(who).tap(title);
        if tapped.is_none() {
            self.claim(false, &format!("there is a button “{title}”"))?;
        }
        Ok(tapped)
    }

    /// What the bot wrote first after a message; that it wrote nothing is a failed claim.
    fn hears_bot(&mut self, who: usize, said: &str) -> io::Result<Option<Message>> {
        let phone = self.phone(who);
        let answer = phone.wait_for_reply_that(said, |one| !is_portero(&one), PATIENCE);
        match &answer {
            Some(message) => {
                self.phone(who).look();
                self.line("bot", &quoted(message), Style::Bot)?;
            }
            None => self.claim(false, &format!("the bot answers {}", first_name(who)))?,
        }
        Ok(answer)
    }

    /// What the bot got when this message was handed on.
    fn handed_on(&self, said: &str) -> Option<bot::Received> {
        let mut received = self.world.bot.received().into_iter();
        received.find(|one| matches!(&one.what, bot::What::Message { id, .. } if id == said))
    }

    /// Which headers came with a message, and what the bot did for it.
    fn tells_of_bot(&mut self, said: &str) -> io::Result<()> {
        // It is noted when the answer is already in the chat.
        let world = self.world;
        let received = world.watch().wait_for(PATIENCE, || self.handed_on(said));
        let Some(received) = received else {
            return self.claim(false, "the bot has got the message");
        };
        for name in ["X-Hub-Signature-256", "webhook-id", "Portero-Identity"] {
            let value = received.header(name).unwrap_or_default();
            let start: String = value.chars().take(24).collect();
            self.line("", &format!("{name}: {start}…"), Style::Told)?;
        }
        for call in &received.calls {
            self.line("", &told(call), Style::Told)?;
        }
        Ok(())
    }

    /// Portero's first answer to a message; that there is none is a failed claim.
    fn hears(&mut self, who: usize, said: &str) -> io::Result<Option<Message>> {
        self.hears_within(who, said, PATIENCE)
    }

    fn hears_within(
        &mut self,
        who: usize,
        said: &str,
        within: Duration,
    ) -> io::Result<Option<Message>> {
        let phone = self.phone(who);
        let answer = phone.wait_for_reply_that(said, |one| is_portero(&one), within);
        match &answer {
            Some(message) => {
                self.phone(who).look();
                self.line(BUSINESS.name, &quoted(message), Style::Business)?;
            }
            None => self.claim(false, &format!("{} is answered", first_name(who)))?,
        }
        Ok(answer)
    }

    /// Gives an address, again after a pause when the server asks for one.
    fn gives_address(&mut self, who: usize, address: &str) -> io::Result<Option<Message>> {
        for _ in 0..ASKS_MAX {
            let said = self.says(who, address)?;
            let Some(answer) = self.hears(who, &said)? else {
                return Ok(None);
            };
            // An answer without the address asks for patience.
            if answer.body.contains('@') {
                return Ok(Some(answer));
            }
            std::thread::sleep(RESEND_PAUSE);
        }
        self.claim(false, "the address is taken")?;
        Ok(None)
    }

    /// Gives an address that somebody has, and reads the mail that follows.
    fn asks_for_code(
        &mut self,
        who: usize,
        address: &str,
        within: Duration,
    ) -> io::Result<Option<(Mail, Message)>> {
        let so_far = self.codes_so_far(address);
        let Some(answer) = self.gives_address(who, address)? else {
            return Ok(None);
        };
        let mail = self.reads_mail(address, so_far + 1, within)?;
        Ok(mail.map(|mail| (mail, answer)))
    }

    /// Mails with a code; notices come to the same mailbox.
    fn codes_so_far(&self, address: &str) -> usize {
        let mails = self.world.inbox.mails_to(address).into_iter();
        mails.filter(|mail| mail.code().is_some()).count()
    }

    fn notices_so_far(&self, address: &str) -> usize {
        let mails = self.world.inbox.mails_to(address).into_iter();
        mails.filter(|mail| mail.code().is_none()).count()
    }

    /// The notice that comes after the first `so_far` ones.
    fn reads_notice(&mut self, who: usize, so_far: usize, claim: &str) -> io::Result<()> {
        let email = PEOPLE[who].email;
        let is_notice = |mail: &Mail| mail.code().is_none();
        let inbox = &self.world.inbox;
        let notice = inbox.wait_for_mail_that(email, is_notice, so_far + 1, PATIENCE);
        if let Some(notice) = &notice {
            let words = format!("to {email}: {}", notice.subject);
            self.line("mail", &words, Style::Mail)?;
        }
        self.claim(notice.is_some(), claim)
    }

    fn reads_mail(
        &mut self,
        address: &str,
        nth: usize,
        within: Duration,
    ) -> io::Result<Option<Mail>> {
        let has_code = |mail: &Mail| mail.code().is_some();
        let inbox = &self.world.inbox;
        let mail = inbox.wait_for_mail_that(address, has_code, nth, within);
        match &mail {
            Some(mail) if mail.code().is_some() => {
                self.line(
                    "mail",
                    &format!("to {address}: {}", mail.subject),
                    Style::Mail,
                )?;
            }
            _ => {
                self.claim(false, &format!("a mail with a code reaches {address}"))?;
                return Ok(None);
            }
        }
        Ok(mail)
    }

    /// Types something with a code in it; `works` says whether it should name the account.
    fn types_code(&mut self, who: usize, text: &str, account: &str, works: bool) -> io::Result<()> {
        let said = self.says(who, text)?;
        let Some(answer) = self.hears(who, &said)? else {
            return Ok(());
        };
        let named = answer.body.contains(account);
        if works {
            self.claim(
                named,
                &format!("{} is signed in as {account}", first_name(who)),
            )
        } else {
            self.claim(!named, "that code does not work here")
        }
    }

    fn last_answer(&self, who: usize) -> Option<Message> {
        let messages = self.phone(who).messages();
        messages
            .into_iter()
            .rev()
            .find(|message| !message.from_person)
    }

    fn last_answer_with_buttons(&self, who: usize) -> Option<Message> {
        let messages = self.phone(who).messages();
        messages
            .into_iter()
            .rev()
            .find(|message| !message.buttons.is_empty())
    }
}

/// Portero names each of its messages, so that Meta's reports find them; the bot does not.
fn is_portero(message: &&Message) -> bool {
    message.tag.is_some()
}

/// Tokens that all services have handed out so far.
fn tokens_issued(world: &World) -> usize {
    let services = SERVICES.iter();
    let issued = services.map(|service| world.services.tokens(service.name).len());
    issued.sum()
}

/// A call of the bot and what was answered.
fn told(call: &bot::Call) -> String {
    let status = call
        .status
        .map_or("—".to_owned(), |status| status.to_string());
    format!("{} → {status} {}", call.call, call.told)
}

fn first_name(who: usize) -> &'static str {
    PEOPLE[who].name.split(' ').next().unwrap_or_default()
}

fn code_of(mail: &Mail) -> String {
    mail.code().unwrap_or_default()
}

/// Another code of the same length.
fn one_off(code: &str) -> String {
    let (head, last) = code.split_at(code.len().saturating_sub(1));
    let next = last.parse::<u8>().map_or(0, |digit| (digit + 1) % 10);
    format!("{head}{next}")
}

fn titles(message: &Message) -> Vec<&str> {
    message
        .buttons
        .iter()
        .map(|button| button.title.as_str())
        .collect()
}

/// What the business says, with what can be tapped. Where a link leads is not told: whoever reads
/// the story could follow it.
fn quoted(message: &Message) -> String {
    let mut text = message.body.clone();
    for title in titles(message) {
        text.push_str(&format!(" [{title}]"));
    }
    if let Some(link) = &message.link {
        text.push_str(&format!(" {} [link]", link.title));
    }
    text
}

/// The words of an answer without the one that is an address.
fn without_address(body: &str) -> String {
    let words = body.split_whitespace();
    words
        .filter(|word| !word.contains('@'))
        .collect::<Vec<_>>()
        .join(" ")
}

// ---- how it is told ----

#[derive(Clone, Copy)]
enum Style {
    Person,
    Business,
    Bot,
    Mail,
    Told,
    Good,
    Bad,
    Title,
}

impl Style {
    /// SGR parameters (ECMA-48, section 8.3.117).
    fn code(self) -> &'static str {
        match self {
            Style::Person => "36",
            Style::Business => "0",
            Style::Bot => "35",
            Style::Mail => "33",
            Style::Told => "2;3",
            Style::Good => "32",
            Style::Bad => "1;31",
            Style::Title => "1",
        }
    }
}

impl Story<'_> {
    fn painted(&self, text: &str, style: Style) -> String {
        if self.colours {
            format!("\x1b[{}m{text}\x1b[0m", style.code())
        } else {
            text.to_owned()
        }
    }

    fn title(&mut self, number: usize, title: &str) -> io::Result<()> {
        let title = self.painted(&format!("{number}. {title}"), Style::Title);
        let gap = if number == 1 { "" } else { "\n" };
        writeln!(self.out, "{gap}{title}\n")
    }

    /// What somebody says, wrapped, the name before its first line.
    fn line(&mut self, name: &str, text: &str, style: Style) -> io::Result<()> {
        for (index, line) in wrapped(text, COLUMNS - INDENT).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let line = self.painted(line, style);
            // The names are short and of single-width letters.
            writeln!(self.out, "   {name:<8} {line}")?;
        }
        self.out.flush()
    }

    fn tells(&mut self, text: &str) -> io::Result<()> {
        for line in wrapped(text, COLUMNS - 3) {
            let line = self.painted(&line, Style::Told);
            writeln!(self.out, "   {line}")?;
        }
        Ok(())
    }

    fn claim(&mut self, holds: bool, claim: &str) -> io::Result<()> {
        let (mark, style) = if holds {
            ("✓", Style::Good)
        } else {
            self.failed.push(claim.to_owned());
            ("✗", Style::Bad)
        };
        let claim = self.painted(&format!("{mark} {claim}"), style);
        writeln!(self.out, "     {claim}")?;
        self.out.flush()
    }

    fn epilogue(&mut self, took: Duration) -> io::Result<()> {
        let seconds = took.as_secs_f32();
        let (text, style) = match self.failed.len() {
            0 => (
                format!("✓ All of it went as it should, in {seconds:.1} s."),
                Style::Good,
            ),
            1 => (
                "✗ One thing did not go as it should.".to_owned(),
                Style::Bad,
            ),
            many => (
                format!("✗ {many} things did not go as they should."),
                Style::Bad,
            ),
        };
        let text = self.painted(&text, style);
        writeln!(self.out, "\n{text}")
    }
}

/// Lines of at most `columns` characters, broken at spaces and where the text has a line's end;
/// longer words stand alone.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    text.lines()
        .flat_map(|line| wrapped_line(line, columns))
        .collect()
}

fn wrapped_line(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        // There is always a last line: the list begins with one and only grows.
        let line = lines.last_mut().expect("a last line");
        let length = line.chars().count() + 1 + word.chars().count();
        if line.is_empty() {
            line.push_str(word);
        } else if length <= columns {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::graph::Link;
    use super::*;

    #[test]
    fn long_text_is_wrapped_at_spaces_and_nothing_is_lost() {
        let lines = wrapped("uno dos tres cuatro_muy_largo cinco", 8);
        assert_eq!(lines, ["uno dos", "tres", "cuatro_muy_largo", "cinco"]);
        assert_eq!(wrapped("uno\ndos", 8), ["uno", "dos"]);
    }

    #[test]
    fn a_code_that_is_one_off_differs_and_has_the_same_length() {
        assert_eq!(one_off("12345678"), "12345679");
        assert_eq!(one_off("12345679"), "12345670");
    }

    #[test]
    fn what_can_be_tapped_is_told_and_where_a_link_leads_is_not() {
        let world = World::start().unwrap();
        world.phone(ANA).say("hola");
        let mut message = world.phone(ANA).messages().remove(0);
        assert_eq!(quoted(&message), "hola");
        message.link = Some(Link {
            title: "Entrar".into(),
            url: "https://x.example/Geheim".into(),
        });
        assert_eq!(quoted(&message), "hola Entrar [link]");
    }

    #[test]
    fn a_failed_claim_is_noted_and_marked() {
        let world = World::start().unwrap();
        let mut out = Vec::new();
        let mut story = Story {
            world: &world,
            server: "",
            inside: &Inside::default,
            out: &mut out,
            colours: false,
            failed: Vec::new(),
        };
        story.claim(true, "this holds").unwrap();
        story.claim(false, "this does not").unwrap();
        assert_eq!(story.failed, ["this does not"]);
        let told = String::from_utf8(out).unwrap();
        assert!(told.contains("✓ this holds") && told.contains("✗ this does not"));
        assert!(!told.contains('\x1b'), "plain");
    }
}

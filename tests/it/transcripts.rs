//! Conversations as text that a shopkeeper can read and correct: `tests/transcripts/*.txt`.
//!
//! Each file is played against the whole core, written down again, and compared. Lines that the
//! person wrote and things that happened are kept; what Portero answers, mails and hands to the bot
//! is written anew. `PORTERO_UPDATE_TRANSCRIPTS=1` stores the new text.
//!
//! ```text
//! The title
//! # a remark
//! service kutamma: ana@example.com is Ana Pérez of Acme
//!
//! Ana +573001234534                a person with a number, a BSUID (CO.123), or both
//!   > text                         she writes, ten seconds after what happened before
//!   > [Reenviar código]            she taps the latest button with these words
//!   > (first) [Cancelar]           she taps the first one
//!   > (forwarded) text             also: group, at once, sent 11 minutes ago, new phone
//!   > (picture)                    also: voice, reaction
//!   < what Portero answers [Button] [Link →]
//!   [page] opens the link          also: opens Eva's link, opens the link in the mail,
//!                                  signs in as ana@example.com, right password (or wrong),
//!                                  says it was not me, ends the sign-in,
//!                                  goes back to WhatsApp and presses Send
//!   page: what the page says
//!   [bot] asks for a code by mail  also: asks for a password, sends a link, signs them out,
//!                                  asks what became of it
//!   bot is told: what the bot is told
//!   mail to ana@example.com: subject
//!   bot gets: text
//! (10 minutes later)               time passes; also: kutamma is down, mail is up, restart …
//! ```
//!
//! Before anything else, `both ways in` or `on the web only` says how people sign in, and
//! `after the password a code by mail` what follows there.
//!
//! `{ready}` is what the page has ready in the chat. `{code}` is the code of the last mail, `{old code}` the one before, `{wrong code}` another one,
//! `{code to ana@example.com}` the last one sent there, `{code in groups}` 1234-5678.

use super::house::{House, Left, Person, Takes, code_of, other_than, said_in};
use portero::app::{Granted, Wish};
use portero::domain::delivery::Mail;
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::{Bsuid, EmailAddress, IdentityKey, MessageId, WaId};
use portero::domain::message::{Content, IdentityChanged, Provenance, WebhookItem};
use portero::domain::policy::{Finish, Methods, Policy};
use portero::domain::requirement::ProofWanted;
use portero::domain::secret::{MappingHash, ReturnCode};
use portero::domain::sign_in::PageAnswer;
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts")
}

#[test]
fn conversations_go_as_written() {
    let update = std::env::var_os("PORTERO_UPDATE_TRANSCRIPTS").is_some();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "only {} transcripts", files.len());
    let mut differences = String::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let written = std::fs::read_to_string(&path).unwrap();
        let played = play(&written).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        if played == written {
            continue;
        }
        if update {
            std::fs::write(&path, played).unwrap();
        } else {
            differences.push_str(&format!("\n{name}\n{}", difference(&written, &played)));
        }
    }
    assert!(
        differences.is_empty(),
        "conversations go otherwise than written (PORTERO_UPDATE_TRANSCRIPTS=1 writes them anew):\n{differences}"
    );
}

/// The first lines that differ, with the line before them.
fn difference(written: &str, played: &str) -> String {
    let (written, played): (Vec<_>, Vec<_>) = (written.lines().collect(), played.lines().collect());
    let same = written
        .iter()
        .zip(&played)
        .take_while(|(a, b)| a == b)
        .count();
    let show = |mark: &str, lines: &[&str]| -> String {
        lines
            .iter()
            .skip(same)
            .take(3)
            .map(|line| format!("{mark}{line}\n"))
            .collect()
    };
    let before = same.checked_sub(1).map_or("", |line| written[line]);
    format!(
        "line {}:\n  {before}\n{}{}",
        same + 1,
        show("- ", &written),
        show("+ ", &played)
    )
}

/// Plays a transcript; returns it as it should be written.
pub fn play(transcript: &str) -> Result<String, String> {
    let mut stage = Stage {
        house: Some(House::in_memory()),
        people: Vec::new(),
        current: None,
        shown: 0,
        text: String::new(),
        mails_in_full: false,
        open: None,
        ready: None,
        undo: None,
        demand: None,
    };
    let mut lines = transcript.lines();
    stage.write(lines.next().ok_or("an empty file")?);
    for line in lines {
        if let Some(input) = line.strip_prefix("  > ") {
            stage.write(line);
            stage.input(input)?;
        } else if let Some(doing) = line.strip_prefix("  [page] ") {
            stage.write(line);
            stage.page(doing)?;
        } else if let Some(doing) = line.strip_prefix("  [bot] ") {
            stage.write(line);
            stage.bot(doing)?;
        } else if line.starts_with("  ") {
            // What was answered is written anew.
            continue;
        } else if let Some(event) = line.strip_prefix('(').and_then(|l| l.strip_suffix(')')) {
            stage.write(line);
            stage.event(event)?;
        } else {
            stage.write(line);
            match line {
                "" => {}
                "mails in full" => stage.mails_in_full = true,
                "both ways in" => stage.house = Some(House::on_the_web(House::both_ways_in())),
                "on the web only" => stage.house = Some(House::on_the_web(web_only())),
                "after the password a code by mail" => {
                    let policy = stage.house().app.settings().policy.clone();
                    stage.house = Some(House::on_the_web(Policy {
                        finish: Finish::MailCode,
                        ..policy
                    }));
                }
                remark if remark.starts_with('#') => {}
                service if service.starts_with("service ") => stage.service(service)?,
                person => stage.person(person)?,
            }
        }
        stage.show();
    }
    Ok(stage.text)
}

struct Stage {
    house: Option<House>,
    people: Vec<(String, Person)>,
    current: Option<usize>,
    /// How much of what left the house is written down.
    shown: usize,
    text: String,
    mails_in_full: bool,
    /// The link that is open in the browser.
    open: Option<MappingHash>,
    /// What the page has ready in the chat.
    ready: Option<String>,
    /// The link of the mail that is open in the browser.
    undo: Option<String>,
    /// What the bot asked for last.
    demand: Option<String>,
}

fn web_only() -> Policy {
    Policy {
        methods: Methods {
            mail: false,
            web: true,
        },
        ..Policy::default()
    }
}

impl Stage {
    fn house(&self) -> &House {
        self.house.as_ref().unwrap()
    }

    fn write(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn service(&mut self, line: &str) -> Result<(), String> {
        let parts = || {
            let (service, rest) = line.strip_prefix("service ")?.split_once(": ")?;
            let (email, rest) = rest.split_once(" is ")?;
            let (name, company) = rest.split_once(" of ")?;
            Some((service, email, name, company))
        };
        let (service, email, name, company) = parts().ok_or(format!("not understood: {line}"))?;
        self.house().register(service, email, name, company);
        Ok(())
    }

    fn person(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let names: Vec<&str> = words.collect();
        let place = match self.people.iter().position(|(known, _)| known == name) {
            Some(place) => place,
            None if names.is_empty() => return Err(format!("who is {line}?")),
            None => {
                self.people.push((name.to_owned(), Person::default()));
                self.people.len() - 1
            }
        };
        if !names.is_empty() {
            let key = self.people[place].1.key.clone();
            let mut person = Person {
                key,
                ..Person::default()
            };
            for name in names {
                match name.strip_prefix('+') {
                    Some(number) => person.wa_id = WaId::parse(number).ok(),
                    None => person.bsuid = Bsuid::parse(name).ok(),
                }
            }
            if person.wa_id.is_none() && person.bsuid.is_none() {
                return Err(format!("not understood: {line}"));
            }
            self.people[place].1 = person;
        }
        self.current = Some(place);
        Ok(())
    }

    fn input(&mut self, line: &str) -> Result<(), String> {
        let place = self.current.ok_or("nobody is there")?;
        let (mut provenance, mut age_ms, mut pause_ms, mut first) =
            (Provenance::Direct, 0, 10 * SECOND_MS, false);
        let mut rest = self.fill(line)?;
        let mut other = None;
        while let Some((mark, tail)) = rest
            .strip_prefix('(')
            .and_then(|marked| marked.split_once(')'))
        {
            match mark {
                "forwarded" => provenance = Provenance::Forwarded,
                "group" => provenance = Provenance::Group,
                "at once" => pause_ms = 0,
                "first" => first = true,
                "new phone" => {
                    let key = format!("key{}", self.text.len());
                    self.people[place].1.key = Some(IdentityKey::parse(&key).unwrap());
                }
                "picture" => other = Some("image"),
                "voice" => other = Some("audio"),
                "reaction" => other = Some("reaction"),
                _ => match mark
                    .strip_prefix("sent ")
                    .and_then(|s| s.strip_suffix(" ago"))
                {
                    Some(span) => age_ms = duration(span)?,
                    None => return Err(format!("({mark}) is not understood")),
                },
            }
            rest = tail.trim_start().to_owned();
        }
        self.house().later(pause_ms);
        let content = match (other, rest.strip_prefix('[')) {
            (Some(kind), _) => Content::Other(kind),
            (None, Some(button)) => Content::Button {
                id: self.button(place, button.trim_end_matches(']'), first)?,
            },
            (None, None) => Content::Text(rest),
        };
        let house = self.house();
        let mut message = house.message(&self.people[place].1, content);
        message.provenance = provenance;
        message.sent_at = message.sent_at.minus_ms(age_ms);
        house.receive(message).map_err(|error| error.to_string())?;
        house.settle();
        Ok(())
    }

    /// The bot asks for something on account of whoever is there.
    fn bot(&mut self, doing: &str) -> Result<(), String> {
        let (_, person) = &self.people[self.current.ok_or("nobody is there")?];
        let person = person.clone();
        self.house().later(10 * SECOND_MS);
        let house = self.house();
        let (app, id) = (&house.app, house.contact(&person).id);
        let proof = |proof| Wish::Proof {
            proof,
            age_max_ms: Some(5 * MINUTE_MS),
        };
        let wish = match doing {
            "asks for a code by mail" => proof(ProofWanted::MailCode),
            "asks for a password" => proof(ProofWanted::Password),
            "sends a link" => Wish::Link { send: true },
            "asks what became of it" => {
                let demand = self.demand.as_deref().ok_or("nothing was asked for")?;
                let view = app.demand("agent", demand).map_err(|e| e.to_string())?;
                let said = view.map_or("nothing", |view| view.standing.name());
                self.write(&format!("  bot is told: {said}"));
                return Ok(());
            }
            "signs them out" => {
                let ended = app.release_for_the_bot("agent", id, None);
                let ended = ended.map_err(|e| e.to_string())?.unwrap_or(0);
                self.write(&format!("  bot is told: {ended} ended"));
                return Ok(());
            }
            _ => return Err(format!("[bot] {doing} is not understood")),
        };
        let granted = app
            .grant("agent", id, wish, None)
            .map_err(|e| e.to_string())?;
        let said = match granted {
            Granted::Demand { id, .. } => {
                self.demand = Some(id);
                "pending".to_owned()
            }
            Granted::Proved { proof, .. } => format!("passed, by {}", proof.name()),
            Granted::Link { .. } => "a link is on its way".to_owned(),
            Granted::Limited { say, .. } => format!("a limit is reached: {say}"),
            other => format!("{other:?}"),
        };
        self.write(&format!("  bot is told: {said}"));
        self.house().settle();
        self.show();
        Ok(())
    }

    /// Somebody does something in the browser.
    fn page(&mut self, doing: &str) -> Result<(), String> {
        let current = self.current.ok_or("nobody is there")?;
        if doing == "goes back to WhatsApp and presses Send" {
            return self.input("{ready}");
        }
        self.house().later(10 * SECOND_MS);
        let house = self.house();
        let said = if let Some(whose) = doing.strip_prefix("opens ") {
            if whose == "the link in the mail" {
                let mails = house.mails().into_iter().rev();
                let token = mails
                    .into_iter()
                    .find_map(|mail| house.undo_token(mail.to.as_str()));
                let view = match &token {
                    Some(token) => house.app.undo_view(token).map_err(|e| e.to_string())?,
                    None => None,
                };
                let said = view.map_or("there is nothing to end any more".into(), |view| {
                    let chat = view.number_ending.unwrap_or("hidden".into());
                    format!(
                        "the chat that ends in {chat} is signed in as {}",
                        view.accounts
                    )
                });
                self.undo = token;
                said
            } else {
                let owner = match whose.strip_suffix("'s link") {
                    Some(name) => self.people.iter().find(|(known, _)| known == name),
                    None if whose == "the link" => self.people.get(current),
                    None => return Err(format!("what is {whose}?")),
                };
                let (_, owner) = owner.ok_or(format!("whose is {whose}?"))?;
                let hash = house.link(owner).ok_or("no link yet")?;
                let view = house.app.page(&hash).map_err(|e| e.to_string())?;
                self.open = Some(hash);
                view.map_or("this link no longer works".into(), |view| {
                    let chat = view.number_ending.unwrap_or("hidden".into());
                    format!("the chat that ends in {chat} asked for this link; user and password")
                })
            }
        } else if doing == "ends the sign-in" {
            let token = self.undo.clone().ok_or("no mail is open")?;
            match house.app.undo(&token).map_err(|e| e.to_string())? {
                true => "the sign-in is ended".into(),
                false => "there is nothing to end any more".to_owned(),
            }
        } else {
            let hash = self.open.clone().ok_or("no link is open")?;
            let (answer, ready) = if doing == "says it was not me" {
                let tried = house.app.decline(&hash).map_err(|e| e.to_string())?;
                (tried.answer, None)
            } else {
                let parts = || doing.strip_prefix("signs in as ")?.split_once(", ");
                match parts() {
                    Some((email, "right password")) => house.right_password(&hash, email),
                    Some((email, "wrong password")) => (house.wrong_password(&hash, email), None),
                    _ => return Err(format!("[page] {doing} is not understood")),
                }
            };
            let said = page_words(answer, ready.as_deref());
            self.ready = ready.or(self.ready.take());
            said
        };
        let said = hide_return_code(&said);
        self.write(&format!("  page: {said}"));
        self.house().settle();
        Ok(())
    }

    fn fill(&self, line: &str) -> Result<String, String> {
        let mut line = line.to_owned();
        while let Some((before, rest)) = line.split_once('{') {
            let (name, after) = rest.split_once('}').ok_or("a { without its }")?;
            let mails = code_mails(self.house());
            let code = |back: usize| {
                let place = mails.len().checked_sub(back + 1).ok_or("no mail yet")?;
                Ok::<_, String>(code_of(&mails[place]))
            };
            let value = match name {
                "ready" => self.ready.clone().ok_or("nothing is ready in the chat")?,
                "code" => code(0)?,
                "old code" => code(1)?,
                "code in groups" => {
                    let code = code(0)?;
                    format!("{}-{}", &code[..4], &code[4..])
                }
                "wrong code" => code(0).map_or("12345678".into(), |code| other_than(&code)),
                _ => {
                    let to = name
                        .strip_prefix("code to ")
                        .ok_or(format!("what is {{{name}}}?"))?;
                    let mail = mails.iter().rev().find(|mail| mail.to.as_str() == to);
                    code_of(mail.ok_or(format!("no mail to {to}"))?)
                }
            };
            line = format!("{before}{value}{after}");
        }
        Ok(line)
    }

    fn button(&self, place: usize, title: &str, first: bool) -> Result<String, String> {
        let person = &self.people[place].1;
        let mut buttons = self
            .house()
            .said()
            .into_iter()
            .filter(|said| person.is(&said.to))
            .flat_map(|said| said.message.buttons)
            .filter(|button| button.title == title);
        let button = if first {
            buttons.next()
        } else {
            buttons.next_back()
        };
        Ok(button.ok_or(format!("no button [{title}] yet"))?.id)
    }

    fn event(&mut self, event: &str) -> Result<(), String> {
        let house = self.house();
        if let Some(span) = event.strip_suffix(" later") {
            house.later(duration(span)?);
            return Ok(());
        }
        let down = || Takes::Not(Failure::temporary("connection refused"));
        match event {
            "restart" => self.house = self.house.take().map(House::restarted),
            "mail is down" => house.world.change(|outside| outside.mail = down()),
            "mail is up" => house.world.change(|outside| outside.mail = Takes::It),
            "WhatsApp is down" => house.world.change(|outside| outside.whatsapp = down()),
            "WhatsApp is up" => house.world.change(|outside| outside.whatsapp = Takes::It),
            "the key of WhatsApp is refused" => house.world.change(|outside| {
                outside.whatsapp = Takes::Not(super::house::failure(
                    FailureKind::Configuration,
                    "the access token has expired (190)",
                ));
            }),
            _ => {
                let words: Vec<&str> = event.split(' ').collect();
                match words.as_slice() {
                    [service, "is", "down"] => house.service_is_down(service, true),
                    [service, "is", "up"] => house.service_is_down(service, false),
                    ["mailbox", address, "refuses"] => {
                        let address = EmailAddress::parse(address).map_err(|e| e.to_string())?;
                        house.world.change(|outside| outside.refusing.push(address));
                    }
                    ["WhatsApp", "says", "that", name, "changed", "number"] => {
                        let person = self
                            .people
                            .iter()
                            .find(|(known, _)| known == name)
                            .ok_or(format!("who is {name}?"))?;
                        let change = IdentityChanged {
                            id: MessageId::parse(&format!("change{}", self.text.len())).unwrap(),
                            at: house.app.now(),
                            before: person.1.sender(),
                        };
                        house
                            .receive_all(vec![WebhookItem::IdentityChanged(change)])
                            .unwrap();
                    }
                    _ => return Err(format!("({event}) is not understood")),
                }
            }
        }
        self.house().settle();
        Ok(())
    }

    /// Writes down what left the house since the last time.
    fn show(&mut self) {
        let left = self.house().left();
        let codes: Vec<String> = code_mails(self.house()).iter().map(code_of).collect();
        let hide = |text: &str| {
            let mut text = text.replace('\n', " / ");
            for (back, code) in codes.iter().rev().enumerate() {
                let name = if back == 0 { "{code}" } else { "{old code}" };
                text = text.replace(code.as_str(), name);
            }
            hide_return_code(&hide_undo_link(&text))
        };
        let current = self.current.map(|place| &self.people[place].1);
        let mut lines = Vec::new();
        for left in &left[self.shown..] {
            match left {
                Left::Said(said) => {
                    let to = match current {
                        Some(person) if person.is(&said.to) => String::new(),
                        _ => self
                            .people
                            .iter()
                            .find(|(_, person)| person.is(&said.to))
                            .map_or("(to nobody known) ".into(), |(name, _)| {
                                format!("(to {name}) ")
                            }),
                    };
                    let buttons: String = said
                        .message
                        .buttons
                        .iter()
                        .map(|button| format!(" [{}]", button.title))
                        .collect();
                    let link = (said.message.link.as_ref())
                        .map_or(String::new(), |link| format!(" [{} →]", link.title));
                    let body = hide(&said.message.body);
                    lines.push(format!("  < {to}{body}{link}{buttons}"));
                }
                Left::Mailed(mail) => {
                    lines.push(format!(
                        "  mail to {}: {}",
                        mail.to.as_str(),
                        hide(&mail.subject)
                    ));
                    if self.mails_in_full {
                        let text = mail.text.trim_end().replace("\n\n", "\n");
                        lines.extend(text.lines().map(|line| format!("    | {}", hide(line))));
                    }
                }
                Left::Told(_) => {}
                Left::HandedOn(hand_over) => lines.push(match &said_in(hand_over) {
                    Some(text) => format!("  bot gets: {}", hide(text)),
                    None => "  bot gets something that is not text".into(),
                }),
            }
        }
        self.shown = left.len();
        for line in lines {
            self.write(&line);
        }
    }
}

/// The mails with a code: their subject begins with it.
fn code_mails(house: &House) -> Vec<Mail> {
    let mut mails = house.mails();
    mails.retain(|mail| code_of(mail).bytes().all(|byte| byte.is_ascii_digit()));
    mails
}

/// What a page says, in a few words; its own are shown by the tests of the pages.
fn page_words(answer: PageAnswer, ready: Option<&str>) -> String {
    match answer {
        PageAnswer::Gone => "this link no longer works".into(),
        PageAnswer::WrongPassword { left } => format!("that is not right; tries left: {left}"),
        PageAnswer::Burned => "too many tries; this link no longer works".into(),
        PageAnswer::Return => {
            format!(
                "back to WhatsApp, where this is ready: {}",
                ready.unwrap_or_default()
            )
        }
        PageAnswer::CodeMailed => "a code was mailed; type it in the chat".into(),
        PageAnswer::Finished => "signed in".into(),
        PageAnswer::Refused => "this account cannot be used in that chat".into(),
        PageAnswer::Declined => "the link is dead, nobody was signed in".into(),
        other => format!("{other:?}"),
    }
}

fn hide_return_code(text: &str) -> String {
    let mut hidden = text.to_owned();
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        if ReturnCode::parse(word).is_ok() {
            hidden = hidden.replace(word, "{return code}");
        }
    }
    hidden
}

fn hide_undo_link(text: &str) -> String {
    match text.split_once("?token=") {
        Some((before, _)) => format!("{before}?token=…"),
        None => text.to_owned(),
    }
}

fn duration(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_once(' ').ok_or(format!("how long is {text}?"))?;
    let number: u64 = number.parse().map_err(|_| format!("how long is {text}?"))?;
    let unit_ms = match unit.trim_end_matches('s') {
        "second" => SECOND_MS,
        "minute" => MINUTE_MS,
        "hour" => HOUR_MS,
        "day" => DAY_MS,
        _ => return Err(format!("how long is {text}?")),
    };
    Ok(number * unit_ms)
}

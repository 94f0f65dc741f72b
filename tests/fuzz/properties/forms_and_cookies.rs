//! F-4. Forms, queries, cookies and paths: a reference reads the same in them, what says anything
//! twice that protects somebody is refused, and however a byte is written, it is the same byte.

use super::hall::{Answer, HOST, Hall};
use super::house::Person;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

/// Stand in the input for the hash of a link, for its form token, and for a session of the
/// administrator's.
const HASH: &str = "\u{1}";
const FORM_TOKEN: &str = "\u{2}";
const SESSION: &str = "\u{3}";

/// Most fields that a form may have.
const FIELDS_MAX: usize = 16;

const COOKIE: &str = "__Host-portero_status";
const COOKIE_HERE: &str = "portero_status";

/// What is read, and all of it.
pub fn holds(input: &[u8]) {
    let Some((what, rest)) = input.split_first() else {
        return;
    };
    let desk = desk();
    match what % 4 {
        0 => a_form_is_read_as_the_reference_reads_it(desk, &desk.filled_in(rest)),
        1 => a_query_is_read_as_the_reference_reads_it(desk, &desk.filled_in(rest)),
        2 => a_session_opens_the_page_and_nothing_else_does(desk, &desk.filled_in(rest)),
        _ => a_path_is_the_same_however_it_is_written(desk, rest),
    }
}

struct Desk {
    hall: Mutex<Hall>,
    hash: String,
    form_token: String,
    session: String,
    asks: AtomicU32,
}

fn desk() -> &'static Desk {
    static DESK: OnceLock<Desk> = OnceLock::new();
    DESK.get_or_init(|| {
        let hall = Hall::open();
        let person = Person::with_number("573001234567");
        let hash = hall.house.new_link(&person).reveal().to_owned();
        let page = hall.ask(1, "GET", &format!("/sign-in/?mappingHash={hash}"), &[], b"");
        let mark = "name=\"formToken\" value=\"";
        let (_, rest) = page.body.split_once(mark).expect("a form");
        let form_token = rest.split('"').next().unwrap_or("").to_owned();
        let cookie = hall.status_cookie();
        let session = cookie.split_once('=').expect("a cookie").1.to_owned();
        Desk {
            hall: Mutex::new(hall),
            hash,
            form_token,
            session,
            asks: AtomicU32::new(0x0b00_0000),
        }
    })
}

impl Desk {
    fn filled_in(&self, input: &[u8]) -> String {
        // Only what can stand in a head or in a form that a browser sends.
        let text: String = (input.iter())
            .map(|byte| char::from(*byte))
            .filter(|c| c.is_ascii() && (!c.is_control() || ('\u{1}'..='\u{3}').contains(c)))
            .collect();
        text.replace(HASH, &self.hash)
            .replace(FORM_TOKEN, &self.form_token)
            .replace(SESSION, &self.session)
    }

    /// From another network each time, so that nobody has guessed too often.
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let from = self.asks.fetch_add(1, Ordering::SeqCst);
        let hall = self
            .hall
            .lock()
            .unwrap_or_else(|broken| broken.into_inner());
        hall.ask(from, method, target, headers, body)
    }

    fn send(&self, body: &[u8]) -> Answer {
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        self.ask("POST", "/sign-in/", &headers, body)
    }
}

// --- the reference --------------------------------------------------------------------------------

/// `name=value&name=value`, as URL Living Standard section 5.1 takes it apart.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pieces = text.split('&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let (name, value) = match piece.find('=') {
                Some(at) => (&piece[..at], &piece[at + 1..]),
                None => (piece, ""),
            };
            let decoded = |text: &str| unescaped(&text.replace('+', " "));
            (decoded(name), decoded(value))
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let (mut decoded, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(16 * high + low).expect("two digits"));
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Every byte but these as `%XX`, in the case that is asked for.
fn escaped(text: &str, but: &str, upper: bool) -> String {
    let escape = |byte: u8| match char::from(byte) {
        c if but.contains(c) => c.to_string(),
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    text.bytes().map(escape).collect()
}

fn has_twice(pairs: &[(String, String)], name: &str) -> bool {
    pairs.iter().filter(|(known, _)| known == name).count() > 1
}

fn value<'p>(pairs: &'p [(String, String)], name: &str) -> &'p str {
    let found = pairs.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

// --- what is read ---------------------------------------------------------------------------------

fn a_form_is_read_as_the_reference_reads_it(desk: &Desk, body: &str) {
    let fields = pairs(body);
    if value(&fields, "action") == "not_me" {
        return; // That ends the link, and the next input would find none.
    }
    let (user, number) = (
        value(&fields, "user").trim(),
        value(&fields, "number").trim(),
    );
    if !user.is_empty() && !value(&fields, "password").is_empty() {
        return; // That is a try, of which a link has five.
    }
    let answer = desk.send(body.as_bytes());
    let says_twice = fields.iter().any(|(name, _)| has_twice(&fields, name));
    let expected = if says_twice || fields.len() > FIELDS_MAX {
        400
    } else if !is_hash(value(&fields, "mappingHash")) {
        404
    } else if desk.is_another(&fields) {
        // A link that nobody has, with a form token that fits none or that of another.
        assert!([403, 404].contains(&answer.status), "{}", answer.status);
        return;
    } else if value(&fields, "formToken") != desk.form_token {
        403
    } else {
        422
    };
    assert_eq!(answer.status, expected, "{body}");
    if expected == 422 {
        assert_eq!(shown(&answer.body, "user").as_deref(), Some(user), "{body}");
        if let Some(typed) = shown(&answer.body, "number") {
            assert_eq!(typed, number, "{body}");
        }
    }
    for upper in [false, true] {
        let again: Vec<String> = (fields.iter())
            .map(|(name, value)| {
                format!(
                    "{}={}",
                    escaped(name, "", upper),
                    escaped(value, "", !upper)
                )
            })
            .collect();
        let again = desk.send(again.join("&").as_bytes());
        assert_eq!(again, answer, "{body}");
    }
}

impl Desk {
    fn is_another(&self, fields: &[(String, String)]) -> bool {
        value(fields, "mappingHash") != self.hash
    }
}

fn is_hash(text: &str) -> bool {
    let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    text.chars().count() == 40 && text.chars().all(digit)
}

/// What stands in a field of the page.
fn shown(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!(" name=\"{name}\" "))?;
    let tag = rest.split('>').next()?;
    let (_, value) = tag.split_once(" value=\"")?;
    let value = value.split('"').next()?;
    let marks = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ];
    let plain = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    Some(marks.iter().fold(value.to_owned(), plain))
}

fn a_query_is_read_as_the_reference_reads_it(desk: &Desk, query: &str) {
    // What is behind this is never sent; a space would end the target.
    if query.contains(['#', ' ']) {
        return;
    }
    let parameters = pairs(query);
    let named = |name: &str| match parameters.iter().any(|(known, _)| known == name) {
        true if !has_twice(&parameters, name) => Some(value(&parameters, name)),
        _ => None,
    };
    let answer = desk.ask("GET", &format!("/sign-in/?{query}"), &[], b"");
    let has_form = answer.body.contains("name=\"formToken\"");
    match named("mappingHash") {
        Some(hash) if hash == desk.hash => assert!(answer.status == 200 && has_form, "{query}"),
        Some(_) => assert!(answer.status == 404 && !has_form, "{query}"),
        None => assert!(answer.status == 200 && !has_form, "{query}"),
    }
    let undo = desk.ask("GET", &format!("/undo/?{query}"), &[], b"");
    assert_eq!(undo.status, 404, "{query}");
    let hand = desk.ask("GET", &format!("/webhook/?{query}"), &[], b"");
    let challenge = named("hub.challenge").filter(|challenge| {
        let known = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        (1..=128).contains(&challenge.len()) && challenge.chars().all(known)
    });
    let expected = match (named("hub.verify_token"), named("hub.mode"), challenge) {
        (Some(super::hall::VERIFY_TOKEN), Some("subscribe"), Some(challenge)) => {
            assert_eq!(hand.body, challenge, "{query}");
            200
        }
        (Some(super::hall::VERIFY_TOKEN), ..) => 400,
        _ => 403,
    };
    assert_eq!(hand.status, expected, "{query}");
    let again: Vec<String> = (parameters.iter())
        .map(|(name, value)| format!("{}={}", escaped(name, "", true), escaped(value, "", false)))
        .collect();
    let again = desk.ask("GET", &format!("/sign-in/?{}", again.join("&")), &[], b"");
    assert_eq!(again, answer, "{query}");
}

/// Several headers are lines with `|` between them; `@` is this machine.
fn a_session_opens_the_page_and_nothing_else_does(desk: &Desk, text: &str) {
    let (is_here, text) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let lines: Vec<&str> = text.split('|').collect();
    let headers: Vec<(&str, &str)> = lines.iter().map(|line| ("Cookie", *line)).collect();
    let cookies: Vec<(&str, &str)> = (lines.iter())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .collect();
    let only = |name: &str| {
        let mut values = cookies.iter().filter(|(known, _)| *known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(*value),
            _ => None,
        }
    };
    let cookie = only(COOKIE).or(is_here.then(|| only(COOKIE_HERE)).flatten());
    let host = if is_here { "127.0.0.1:8080" } else { HOST };
    let hall = desk
        .hall
        .lock()
        .unwrap_or_else(|broken| broken.into_inner());
    let answer = hall.ask_of(host, 0x0a00_0002, "GET", "/status/", &headers, b"");
    drop(hall);
    assert_eq!(answer.status, 200);
    let is_in = !answer.body.contains("name=\"password\"");
    assert_eq!(is_in, cookie == Some(desk.session.as_str()), "{text}");
}

fn a_path_is_the_same_however_it_is_written(desk: &Desk, input: &[u8]) {
    let path: String = (input.iter())
        .map(|byte| char::from(*byte))
        .filter(|c| c.is_ascii_graphic() && !"?#".contains(*c))
        .collect();
    let path = format!("/{path}");
    let decoded = unescaped(&path);
    let answer = desk.ask("GET", &path, &[], b"");
    assert!(
        [200, 401, 403, 404, 405].contains(&answer.status),
        "{path}: {}",
        answer.status
    );
    // A byte that is no text is another one in its place, which would be written otherwise.
    if decoded.contains('\u{fffd}') {
        return;
    }
    for upper in [false, true] {
        let again = desk.ask("GET", &escaped(&decoded, "/", upper), &[], b"");
        assert_eq!(again.status, answer.status, "{path}");
        assert_eq!(again.body, answer.body, "{path}");
    }
}

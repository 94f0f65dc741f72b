//! F-8. Codes in what people write: at most one is found, where a reference finds it too, and one in
//! a message that was forwarded, or that came from a group, signs nobody in.

use portero::domain::account::{Account, Company};
use portero::domain::challenge::{Challenge, Sought};
use portero::domain::contact::{Contact, Stage};
use portero::domain::conversation::{Context, Counts, Event, step};
use portero::domain::id::{ChallengeId, ContactId, EmailAddress, MessageId, ServiceName, WaId};
use portero::domain::language::Language;
use portero::domain::message::{Content, Inbound, Provenance, Sender};
use portero::domain::policy::Policy;
use portero::domain::reading::{self, Codes, Reading};
use portero::domain::secret::{OtpCode, ReturnCode};
use portero::domain::time::{MINUTE_MS, Timestamp};

/// Stand in the input for the right code, and for a right return code.
const CODE: char = '\u{1}';
const RETURN_CODE: char = '\u{2}';

const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub fn holds(input: &[u8]) {
    let right = OtpCode::parse("40718293").unwrap();
    let way_back = ReturnCode::from_bytes(*b"fuzz return code");
    let text = String::from_utf8_lossy(input)
        .replace(CODE, right.reveal())
        .replace(RETURN_CODE, way_back.reveal());
    for digits in OtpCode::DIGITS {
        at_most_one_is_found(&text, digits);
    }
    a_return_code_is_in_it(&text);
    let _ = reading::looks_like_a_password(&text);
    only_what_was_written_here_signs_in(&text, &right, &way_back);
}

fn at_most_one_is_found(text: &str, digits: usize) {
    let reading = reading::read(text, digits);
    let expected = reference(text, digits);
    match &reading {
        Reading::Codes(Codes::One(code)) => {
            assert_eq!(expected, Some(Ok(code.reveal().to_owned())), "{text:?}");
            assert_eq!(code.reveal().len(), digits);
            assert!(reading::may_hold_a_code(text, digits), "{text:?}");
        }
        Reading::Codes(Codes::Several) => assert_eq!(expected, Some(Err(true)), "{text:?}"),
        Reading::Codes(Codes::WrongLength) => assert_eq!(expected, Some(Err(false)), "{text:?}"),
        Reading::Words => assert_eq!(expected, None, "{text:?}"),
        // These come first, whatever digits are beside them.
        Reading::Command(_) => {}
        Reading::Addresses(found) => assert!((1..=2).contains(&found.len())),
    }
}

/// `Ok`: the one code; `Err(true)`: several; `Err(false)`: digits, and no code.
fn reference(text: &str, digits: usize) -> Option<Result<String, bool>> {
    const ZEROS: &str = "0٠۰०০๐０";
    let value = |c: char| {
        let above = |zero: char| u32::from(c).checked_sub(u32::from(zero));
        let digit = ZEROS.chars().filter_map(above).find(|above| *above < 10)?;
        char::from_digit(digit, 10)
    };
    let joins = |c: char| " -.\u{a0}\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{202f}".contains(c);
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > 500 {
        return None;
    }
    let is_digit = |at: usize| chars.get(at).is_some_and(|c| value(*c).is_some());
    let mut runs = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if !is_digit(at) {
            at += 1;
            continue;
        }
        let start = at;
        let mut run = String::new();
        loop {
            run.extend(value(chars[at]));
            at += 1;
            if !is_digit(at) {
                if chars.get(at).is_some_and(|c| joins(*c)) && is_digit(at + 1) {
                    at += 1;
                } else {
                    break;
                }
            }
        }
        let before = start.checked_sub(1).map(|before| chars[before]);
        let is_a_word = before.is_some_and(|c| c == '+' || c.is_alphabetic())
            || chars.get(at).is_some_and(|c| c.is_alphabetic());
        if !is_a_word {
            runs.push(run);
        }
    }
    let mut exact = runs.iter().filter(|run| run.len() == digits);
    match (exact.next(), exact.next()) {
        (Some(one), None) => Some(Ok(one.clone())),
        (Some(_), Some(_)) => Some(Err(true)),
        (None, _) if runs.iter().any(|run| run.len() >= 2 * digits) => Some(Err(true)),
        (None, _) if runs.iter().any(|run| run.len() >= 4) => Some(Err(false)),
        (None, _) => None,
    }
}

fn a_return_code_is_in_it(text: &str) {
    let Some(code) = reading::return_code(text) else {
        return;
    };
    assert_eq!(code.reveal().len(), ReturnCode::CHARS);
    let upper = text.to_ascii_uppercase();
    assert!(upper.contains(code.reveal()), "{text:?}");
    let again = ReturnCode::parse(code.reveal()).expect("what was found");
    assert!(again.matches(&code));
}

/// Somebody of whom a code is awaited, and the text as their message.
fn only_what_was_written_here_signs_in(text: &str, right: &OtpCode, way_back: &ReturnCode) {
    let policy = Policy::default();
    let wa_id = WaId::parse("573001234567").ok();
    let address = EmailAddress::parse("ana@example.com").unwrap();
    let account = Account {
        service: ServiceName::parse("erp").unwrap(),
        user_id: "u1".to_owned(),
        name: "Ana".to_owned(),
        email: address.clone(),
        phone: None,
        company: Company {
            id: "c1".to_owned(),
            name: "Acme".to_owned(),
        },
    };
    let mut contact = Contact::new(
        ContactId::from_random([7; 16]),
        None,
        wa_id.clone(),
        Language::Spanish,
        NOW.minus_ms(MINUTE_MS),
    );
    contact.stage = Stage::CodeAwaited(Challenge {
        id: ChallengeId([1; 16]),
        address,
        asked_at: NOW.minus_ms(MINUTE_MS),
        expires_at: NOW.plus_ms(policy.code_lifetime_ms),
        wrong: 0,
        sought: Sought::Found(vec![account]),
    });
    let context = Context {
        now: NOW,
        fresh: [9; 16],
        policy: &policy,
        expected_code: Some(right.clone()),
        expected_return_code: Some(way_back.clone()),
        foreign_return_code: false,
        counts: Counts::default(),
    };
    let content = Content::Text(text.chars().take(4_096).collect());
    for provenance in [Provenance::Direct, Provenance::Forwarded, Provenance::Group] {
        let message = Inbound {
            id: MessageId::parse("wamid.1").unwrap(),
            sender: Sender {
                bsuid: None,
                wa_id: wa_id.clone(),
                identity_key: None,
            },
            sent_at: NOW,
            content: content.clone(),
            provenance,
        };
        let next = step(&contact, &Event::Message(&message), &context);
        if provenance == Provenance::Direct {
            let is_right = matches!(reading::read(text, policy.code_digits),
                Reading::Codes(Codes::One(code)) if code.matches(right));
            let is_other = reading::return_code(text).is_some();
            if !is_other && text.chars().count() <= 500 {
                assert_eq!(next.contact.is_bound(), is_right, "{text:?}");
            }
            assert!(is_right || !next.contact.is_bound(), "{text:?}");
        } else {
            assert!(!next.contact.is_bound(), "{provenance:?} {text:?}");
        }
    }
}

//! A sign-in on the web: the link that was sent, and how far somebody came with it.

use super::account::Account;
use super::binding::{Binding, Proof};
use super::id::{MappingId, ProofId, ServiceName, WaId};
use super::time::{HOUR_MS, Timestamp};

/// One attempt to sign in on the web. Its hash names it and proves nothing (section 2.2 of the
/// threat model).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Names it; hash, return code and access token are derived from it and never stored.
    pub id: MappingId,
    /// When the link was asked for.
    pub asked_at: Timestamp,
    /// From here on the link leads nowhere.
    pub expires_at: Timestamp,
    /// Passwords that were tried, checks under way included.
    pub passwords: u32,
    /// Wrong numbers of the chat.
    pub wrong_numbers: u32,
    /// How far it came.
    pub state: MappingState,
    /// Who had signed in with the link whose place it took: to be told if that one's return code
    /// comes from elsewhere after all.
    pub earlier: Vec<Binding>,
}

/// How far a sign-in came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingState {
    /// The link can be used.
    Issued,
    /// Somebody signed in, and the link is dead; nobody is bound until the return code has come
    /// from the chat that asked.
    SignedIn {
        /// Who it was.
        bindings: Vec<Binding>,
        /// From here on the return code is refused.
        until: Timestamp,
    },
    /// The link was used up.
    Used,
    /// The link was burned: declined, guessed at, replaced, or its return code came from elsewhere.
    Burned,
}

impl Mapping {
    /// Whether the link can be used.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.state == MappingState::Issued && self.is_in_time(now, self.expires_at)
    }

    /// Whether the return code is awaited; not for how much longer.
    pub fn is_signed_in(&self) -> bool {
        matches!(self.state, MappingState::SignedIn { .. })
    }

    /// Whether the return code would bind now.
    pub fn awaits_return(&self, now: Timestamp) -> bool {
        matches!(self.state, MappingState::SignedIn { until, .. } if self.is_in_time(now, until))
    }

    /// One that is asked for in more than an hour was made by a clock that was set right since: it would live too
    /// long.
    fn is_in_time(&self, now: Timestamp, until: Timestamp) -> bool {
        now < until && self.asked_at.since_ms(now) <= HOUR_MS
    }

    /// The proof that it can become.
    pub fn proof_id(&self) -> ProofId {
        ProofId(self.id.0)
    }
}

/// What somebody did on the sign-in page.
#[derive(Clone, Debug)]
pub enum PageAct<'a> {
    /// Sent the form: may the password be checked?
    Try {
        /// The number of the chat as it was typed, when the page asks for it.
        number: Option<&'a str>,
    },
    /// The password that was tried at `tried_at` has been checked.
    Checked {
        /// When [`PageAct::Try`] was decided.
        tried_at: Timestamp,
        /// Who it is.
        who: Who<'a>,
    },
    /// A page that is not ours says that somebody signed in.
    Claimed(Who<'a>),
    /// *It was not me.*
    Declined,
}

/// Whose user name and password they are.
#[derive(Clone, Debug)]
pub enum Who<'a> {
    /// Nobody's.
    Nobody,
    /// It could not be found out; the try does not count.
    NoAnswer,
    /// Nobody's, as far as anybody answered; the try counts.
    NotEverybody,
    /// These accounts'.
    These(&'a [Account]),
    /// Somebody's; the page does not say whose, and lets its users into this service.
    Somebody(&'a ServiceName),
}

impl Who<'_> {
    /// What they would be bound to.
    pub(super) fn bindings(&self, proof: Proof, id: ProofId, now: Timestamp) -> Vec<Binding> {
        match self {
            Who::Nobody | Who::NoAnswer | Who::NotEverybody => Vec::new(),
            Who::These(accounts) => accounts
                .iter()
                .map(|account| Binding::new(account.clone(), proof, id, now))
                .collect(),
            Who::Somebody(service) => vec![Binding::unnamed((*service).clone(), id, now)],
        }
    }
}

/// What the page is to say or do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAnswer {
    /// The link is unknown, used, replaced or too old: all the same.
    Gone,
    /// Check the password.
    Check,
    /// That is not the number of the chat.
    WrongNumber {
        /// Tries left.
        left: u32,
    },
    /// That is not the password.
    WrongPassword {
        /// Tries left.
        left: u32,
    },
    /// Too many wrong passwords for this user name or from this network.
    TooMany {
        /// From when there are more tries.
        until: Timestamp,
    },
    /// There was no answer about the password.
    NoAnswer,
    /// Too many wrong passwords or numbers: the link is dead.
    Burned,
    /// Signed in; the return code has to go back through the chat.
    Return,
    /// Signed in; a code was mailed and has to be typed in the chat.
    CodeMailed,
    /// Signed in, and nothing more to do.
    Finished,
    /// The account cannot be bound to that chat: another phone is on file, or its owner ended an
    /// earlier sign-in from there.
    Refused,
    /// A code has to be mailed, and the page did not say to whom.
    Unnamed,
    /// The link is dead, as asked.
    Declined,
}

/// How a phone on file and the number of a chat compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phones {
    /// The same number, country code included.
    Same,
    /// The same as far as it goes: one of them lacks its country code.
    Alike,
    /// Two numbers.
    Different,
    /// One of them is not known: never a match (S-63).
    Unknown,
}

/// Digits at the end that make two numbers alike when one lacks its country code.
const ALIKE_DIGITS: usize = 9;

/// Fewest digits of a national number.
const NATIONAL_DIGITS_MIN: usize = 7;

/// How a phone on file compares with the number that a chat shows.
pub fn compare_phones(on_file: Option<&str>, chat: Option<&WaId>) -> Phones {
    let (Some(on_file), Some(chat)) = (on_file, chat) else {
        return Phones::Unknown;
    };
    let (on_file, chat) = (usual_form(&digits(on_file)), usual_form(chat.as_str()));
    if on_file.len() < NATIONAL_DIGITS_MIN {
        return Phones::Unknown;
    }
    if on_file == chat {
        return Phones::Same;
    }
    if is_alike(&on_file, &chat) {
        Phones::Alike
    } else {
        Phones::Different
    }
}

/// Whether a number that a person typed is that of the chat (section 3.2 b of the threat model).
pub fn is_number_of(typed: &str, chat: &WaId) -> bool {
    is_alike(&usual_form(&digits(typed)), &usual_form(chat.as_str()))
}

fn is_alike(one: &str, other: &str) -> bool {
    // Beside Brazil's area code the 9 may be there or not.
    let brazilian = one.starts_with("55") || other.starts_with("55");
    let alike_digits = if brazilian {
        ALIKE_DIGITS - 1
    } else {
        ALIKE_DIGITS
    };
    let compared = alike_digits.min(one.len()).min(other.len());
    compared >= NATIONAL_DIGITS_MIN
        && one.as_bytes()[one.len() - compared..] == other.as_bytes()[other.len() - compared..]
}

fn digits(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.trim_start_matches('0').to_owned()
}

/// Argentina's and Mexico's numbers come with and without a digit after the country code that
/// only mobile networks use (Meta's contract, section 2.7).
fn usual_form(digits: &str) -> String {
    for (with, without) in [("549", "54"), ("521", "52")] {
        if let Some(rest) = digits.strip_prefix(with)
            && rest.len() == 10
        {
            return format!("{without}{rest}");
        }
    }
    // Brazil's mobile numbers have a 9 after the area code, which accounts of old lack.
    if digits.starts_with("55") && digits.len() == 13 && digits.as_bytes()[4] == b'9' {
        return format!("{}{}", &digits[..4], &digits[5..]);
    }
    digits.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn phones_are_the_same_only_with_their_country_code() {
        let cases = [
            ("573001234567", "573001234567", Phones::Same),
            ("+57 300 123-4567", "573001234567", Phones::Same),
            ("0057 300 1234567", "573001234567", Phones::Same),
            ("3001234567", "573001234567", Phones::Alike),
            ("001234567", "573001234567", Phones::Alike),
            ("13001234567", "573001234567", Phones::Alike),
            ("573001234568", "573001234567", Phones::Different),
            ("61234567", "50761234567", Phones::Alike),
            ("5491123456789", "541123456789", Phones::Same),
            ("5215512345678", "525512345678", Phones::Same),
            ("5511987654321", "551187654321", Phones::Same),
            ("551187654321", "5511987654321", Phones::Same),
            ("11 98765-4321", "551187654321", Phones::Alike),
            ("5511987654322", "551187654321", Phones::Different),
            ("12345", "573001212345", Phones::Unknown),
            ("", "573001234567", Phones::Unknown),
        ];
        for (on_file, chat, expected) in cases {
            let chat = WaId::parse(chat).unwrap();
            assert_eq!(
                compare_phones(Some(on_file), Some(&chat)),
                expected,
                "{on_file}"
            );
        }
        let chat = WaId::parse("573001234567").unwrap();
        assert_eq!(compare_phones(None, Some(&chat)), Phones::Unknown);
        assert_eq!(compare_phones(Some("573001234567"), None), Phones::Unknown);
    }

    #[test]
    fn a_typed_number_is_compared_by_its_last_digits() {
        let chat = WaId::parse("573001234567").unwrap();
        for right in ["300 123 4567", "+57 3001234567", "0300-123-4567"] {
            assert!(is_number_of(right, &chat), "{right}");
        }
        for wrong in ["", "4567", "34567", "300 123 4568", "+57 301 234 5670"] {
            assert!(!is_number_of(wrong, &chat), "{wrong}");
        }
    }

    ///
    #[test]
    fn a_link_that_is_yet_to_be_asked_for_was_made_by_a_wrong_clock_and_is_dead() {
        let asked_at = Timestamp(10 * HOUR_MS);
        let link = |state| Mapping {
            id: MappingId([1; 16]),
            asked_at,
            expires_at: asked_at.plus_ms(HOUR_MS),
            passwords: 0,
            wrong_numbers: 0,
            state,
            earlier: Vec::new(),
        };
        let issued = link(MappingState::Issued);
        let signed_in = link(MappingState::SignedIn {
            bindings: Vec::new(),
            until: asked_at.plus_ms(HOUR_MS),
        });
        for (now, is_live) in [
            (asked_at.plus_ms(HOUR_MS), false),
            (asked_at.plus_ms(HOUR_MS - 1), true),
            (asked_at, true),
            (asked_at.minus_ms(HOUR_MS), true),
            (asked_at.minus_ms(HOUR_MS + 1), false),
        ] {
            assert_eq!(issued.is_live(now), is_live, "{now:?}");
            assert_eq!(signed_in.awaits_return(now), is_live, "{now:?}");
        }
    }
}

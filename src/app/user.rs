//! What an operator writes about a user, read once: names, a phone, a password or its hash.
//!
//! Every sentence here is for the operator and never repeats what was written.

use super::admin::NewUser;
use super::{Failed, Random};
use crate::domain::account::Account;
use crate::domain::id::{EmailAddress, Malformed};
use crate::domain::secret::Secret;
use crate::store::StoreError;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params};
use std::fmt;

/// Fewest characters of a password. NIST SP 800-63B asks for 8 where something else is asked for as
/// well, here the chat that the sign-in belongs to.
pub const PASSWORD_CHARS_MIN: usize = 10;

/// Most characters of a password: more bring no safety, only work for the hash.
pub const PASSWORD_CHARS_MAX: usize = 200;

/// Fewest and most digits of a phone number, country code included (ITU E.164 allows 15).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// The weakest Argon2id that OWASP's Password Storage Cheat Sheet still recommends: its settings
/// go from 46 MiB once to 7 MiB five times, and all of them are at least these.
const MEMORY_KIB_MIN: u32 = 7_168;
const MEMORY_KIB_TIMES_PASSES_MIN: u64 = 35_840;

/// What checking one password may cost this machine: beyond it a hash would be a way to exhaust it.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const MEMORY_KIB_TIMES_PASSES_MAX: u64 = 1024 * 1024;
const LANES_MAX: u32 = 16;

/// Bytes of salt and of the hash itself (RFC 9106, section 3.1, recommends 16 or more of both; 8
/// of salt are its minimum).
const SALT_BYTES_MIN: usize = 8;
const OUTPUT_BYTES_MIN: usize = 16;

/// Longest PHC form: the parser's own limits on salt and hash end below it.
pub const HASH_BYTES_MAX: usize = 256;

/// Something wrong in what was written about a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Which field: `email`, `name`, `company`, `phone`, `password` or `password_hash`.
    pub field: &'static str,
    /// What is wrong with it.
    pub words: Malformed,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.words)
    }
}

impl NewUser {
    /// Reads the fields of a user without a password. The phone may have separators and a `+`, and
    /// an empty one is none.
    ///
    /// # Errors
    /// Every field that is wrong, in the order of the arguments.
    pub fn parse(
        email: &str,
        name: &str,
        company: &str,
        phone: &str,
    ) -> Result<NewUser, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let email = note(
            &mut problems,
            "email",
            EmailAddress::parse(email.trim()).map(Some),
        );
        let name = note(&mut problems, "name", title(name).map(Some));
        let company = note(&mut problems, "company", title(company).map(Some));
        let phone = note(&mut problems, "phone", digits(phone));
        match (email, name, company) {
            (Some(email), Some(name), Some(company)) if problems.is_empty() => Ok(NewUser {
                email,
                name,
                company,
                phone,
                password: None,
            }),
            _ => Err(problems),
        }
    }
}

fn note<T>(
    problems: &mut Vec<FieldProblem>,
    field: &'static str,
    value: Result<Option<T>, Malformed>,
) -> Option<T> {
    value.unwrap_or_else(|words| {
        problems.push(FieldProblem { field, words });
        None
    })
}

/// A name that is shown to people.
fn title(text: &str) -> Result<String, Malformed> {
    const _: () = assert!(Account::TEXT_CHARS_MAX == 200, "the sentence says 200");
    let text = text.trim();
    if text.is_empty() {
        Err(Malformed("is missing"))
    } else if text.chars().count() > Account::TEXT_CHARS_MAX {
        Err(Malformed("is longer than 200 characters"))
    } else if text.contains(['\n', '\r']) {
        Err(Malformed("has a line break; is a quotation mark missing?"))
    } else if text.contains(is_hidden) {
        Err(Malformed("has a character that nobody can see"))
    } else {
        Ok(text.to_owned())
    }
}

/// Digits with the country code first; the separators that people and spreadsheets write are left
/// out. A number must match the one that WhatsApp tells, so a national one is refused.
fn digits(text: &str) -> Result<Option<String>, Malformed> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let separator = |c: char| matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}');
    let text = text
        .strip_prefix('+')
        .or_else(|| text.strip_prefix("00"))
        .unwrap_or(text);
    let digits: String = text.chars().filter(|c| !separator(*c)).collect();
    let whole = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if whole && PHONE_DIGITS.contains(&digits.len()) {
        Ok(Some(digits))
    } else {
        Err(Malformed(
            "a phone is written in digits with the country code first, such as 34600111222",
        ))
    }
}

/// Fewest characters of the password for the status page, which nothing else stands beside: what NIST
/// SP 800-63B asks for then.
pub const STATUS_PASSWORD_CHARS_MIN: usize = 15;

/// Reads a new password for the status page.
pub fn status_password(text: &str) -> Result<Secret, Malformed> {
    const _: () = assert!(STATUS_PASSWORD_CHARS_MIN == 15, "the sentence says so");
    if text.chars().count() < STATUS_PASSWORD_CHARS_MIN {
        return Err(Malformed(
            "the password of the status page has 15 characters or more, because nothing else is asked for; four or five words together are easy to remember",
        ));
    }
    password(text)
}

/// Reads a new password.
pub fn password(text: &str) -> Result<Secret, Malformed> {
    const _: () = assert!(
        PASSWORD_CHARS_MIN == 10 && PASSWORD_CHARS_MAX == 200,
        "the sentences say so"
    );
    let length = text.chars().count();
    if length < PASSWORD_CHARS_MIN {
        Err(Malformed(
            "a password has 10 characters or more; a few words together are easy to remember",
        ))
    } else if length > PASSWORD_CHARS_MAX {
        Err(Malformed("a password has 200 characters at most"))
    } else if text.contains(char::is_control) {
        Err(Malformed(
            "a password is one line without control characters",
        ))
    } else {
        Ok(Secret::new(text))
    }
}

/// An Argon2id hash in PHC form, neither too weak to keep nor too costly to check.
#[derive(Clone)]
pub struct HashedPassword(Secret);

impl HashedPassword {
    /// Reads the form `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
    pub fn parse(text: &str) -> Result<HashedPassword, Malformed> {
        const FORM: Malformed = Malformed(
            "must be an argon2id hash such as $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH; plain passwords are not accepted here",
        );
        let text = text.trim();
        if text.len() > HASH_BYTES_MAX {
            return Err(FORM);
        }
        let hash = PasswordHash::new(text).map_err(|_| FORM)?;
        if hash.algorithm.as_str() != "argon2id" {
            return Err(FORM);
        }
        let (Some(salt), Some(output)) = (&hash.salt, &hash.hash) else {
            return Err(FORM);
        };
        if hash.version != Some(argon2::Version::V0x13.into()) {
            return Err(Malformed("must be of Argon2's version 19 (v=19)"));
        }
        // What is left out would be filled with defaults, which may change.
        let names: Vec<String> = hash
            .params
            .iter()
            .map(|(name, _)| name.to_string())
            .collect();
        if names != ["m", "t", "p"] {
            return Err(FORM);
        }
        let params = Params::try_from(&hash).map_err(|_| FORM)?;
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        if params.m_cost() < MEMORY_KIB_MIN || work < MEMORY_KIB_TIMES_PASSES_MIN {
            return Err(Malformed(
                "is too weak; argon2id needs m=19456,t=2,p=1 or as much work in another form (OWASP)",
            ));
        }
        if params.m_cost() > MEMORY_KIB_MAX
            || work > MEMORY_KIB_TIMES_PASSES_MAX
            || params.p_cost() > LANES_MAX
        {
            return Err(Malformed(
                "costs too much to check; 256 MiB (m=262144), m × t = 1048576 and p=16 are the most",
            ));
        }
        if salt.as_ref().len() < SALT_BYTES_MIN || output.as_bytes().len() < OUTPUT_BYTES_MIN {
            return Err(Malformed(
                "is too short; 8 bytes of salt and 16 of hash are the least",
            ));
        }
        Ok(HashedPassword(Secret::new(text)))
    }

    /// Hashes a password with fresh salt, as passwords are hashed here.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn of(password: &Secret, random: &dyn Random) -> Result<HashedPassword, Failed> {
        let mut salt = [0; 16];
        random.fill(&mut salt)?;
        Argon2::default()
            .hash_password_with_salt(password.reveal().as_bytes(), &salt)
            .map(|hash| HashedPassword(Secret::new(hash.to_string())))
            .map_err(|_| Failed::Store(StoreError::Aborted("the password cannot be hashed")))
    }

    /// The PHC form, for the store.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl fmt::Debug for HashedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedPassword(..)")
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn problems(email: &str, name: &str, company: &str, phone: &str) -> Vec<String> {
        NewUser::parse(email, name, company, phone)
            .expect_err("this user should be refused")
            .iter()
            .map(FieldProblem::to_string)
            .collect()
    }

    #[test]
    fn every_wrong_field_is_named_at_once_and_never_repeated() {
        assert_eq!(
            problems("ana", " ", "a\u{202e}b", "secreto"),
            [
                "email: a mail address looks like ana@example.com",
                "name: is missing",
                "company: has a character that nobody can see",
                "phone: a phone is written in digits with the country code first, such as 34600111222",
            ]
        );
        let long = "ñ".repeat(201);
        assert_eq!(
            problems("ana@example.com", &long, "a\nb", ""),
            [
                "name: is longer than 200 characters",
                "company: has a line break; is a quotation mark missing?"
            ]
        );
    }

    #[test]
    fn a_phone_loses_what_people_write_between_digits_and_needs_its_country_code() {
        for (text, kept) in [
            ("", None),
            (" +34 600 111-222 ", Some("34600111222")),
            ("0034600111222", Some("34600111222")),
            ("+57 (300) 123.45/67", Some("573001234567")),
        ] {
            let user = NewUser::parse("ana@example.com", "Ana", "Espiga", text).unwrap();
            assert_eq!(user.phone.as_deref(), kept, "{text}");
        }
        for text in [
            "0600111222",
            "12",
            "1234567890123456",
            "٣٤٦٠٠١١١٢٢٢",
            "+",
            "x",
        ] {
            assert!(
                NewUser::parse("ana@example.com", "Ana", "Espiga", text).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_password_has_10_to_200_characters_on_one_line() {
        let words = |text: &str| password(text).map_err(|words| words.0).map(|_| ());
        assert!(words("123456789").unwrap_err().contains("10 characters"));
        assert_eq!(words("ñandú ñand"), Ok(()));
        assert_eq!(words(&"ñ".repeat(200)), Ok(()));
        assert!(words(&"ñ".repeat(201)).unwrap_err().contains("200"));
        assert!(words("0123456789\n").unwrap_err().contains("one line"));
    }

    const SALT_AND_HASH: &str = "bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_hash_is_argon2id_and_neither_weak_nor_costly() {
        let words = |head: &str| {
            let text = format!("{head}${SALT_AND_HASH}");
            HashedPassword::parse(&text).map_or_else(|words| words.0, |_| "fine")
        };
        // Each line of OWASP's list.
        for setting in [
            "m=47104,t=1",
            "m=19456,t=2",
            "m=12288,t=3",
            "m=9216,t=4",
            "m=7168,t=5",
        ] {
            assert_eq!(words(&format!("$argon2id$v=19${setting},p=1")), "fine");
        }
        for (setting, word) in [
            ("m=19456,t=1,p=1", "too weak"),
            ("m=7167,t=6,p=1", "too weak"),
            ("m=7168,t=4,p=1", "too weak"),
            ("m=262145,t=1,p=1", "costs too much"),
            ("m=262144,t=5,p=1", "costs too much"),
            ("m=65536,t=3,p=17", "costs too much"),
            ("m=4294967295,t=4294967295,p=1", "costs too much"),
        ] {
            let said = words(&format!("$argon2id$v=19${setting}"));
            assert!(said.contains(word), "{setting}: {said}");
        }
        for head in [
            "$argon2i$v=19$m=19456,t=2,p=1",
            "$argon2d$v=19$m=19456,t=2,p=1",
            "$scrypt$ln=17,r=8,p=1",
            "$argon2id$v=19$m=19456",
            "$argon2id$v=19$m=19456,t=2,p=0",
        ] {
            assert_ne!(words(head), "fine", "{head}");
        }
        assert!(words("$argon2id$v=16$m=19456,t=2,p=1").contains("19"));
        for text in [
            "mi contraseña",
            "$argon2id$v=19$m=19456,t=2,p=1",
            "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz",
            "$2b$12$abcdefghijklmnopqrstuv",
            &format!(
                "$argon2id$v=19$m=19456,t=2,p=1${SALT_AND_HASH}{}",
                "A".repeat(200)
            ),
        ] {
            assert!(HashedPassword::parse(text).is_err(), "{text}");
        }
        assert!(
            HashedPassword::parse(
                "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAA"
            )
            .is_err_and(|words| words.0.contains("too short"))
        );
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_bounded_and_visible(email in any::<String>(), name in any::<String>(), phone in "[0-9 +]{0,20}") {
            if let Ok(user) = NewUser::parse("ana@example.com", &name, &name, &phone) {
                prop_assert!(!user.name.is_empty() && user.name.chars().count() <= 200);
                prop_assert!(!user.name.contains(is_hidden));
                prop_assert!(user.phone.is_none_or(|phone| PHONE_DIGITS.contains(&phone.len())));
            }
            // Must not panic.
            let _ = NewUser::parse(&email, &name, &name, &phone);
            let _ = HashedPassword::parse(&email);
        }
    }
}

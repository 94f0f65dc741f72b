//! Names and numbers that come from outside, each parsed once at the edge.
//!
//! After `parse` nobody asks again whether a value is well formed. What must not be read by
//! chance in a log prints itself shortened or not at all.

use std::fmt;

/// Why a value from outside was not accepted: a sentence for whoever wrote it, without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// One person as WhatsApp shows them to this business: the `userUuid` of ours (UUID v4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContactId(pub [u8; 16]);

impl ContactId {
    /// Makes a UUID v4 from 16 random bytes (RFC 9562, section 5.4).
    pub fn from_random(random: [u8; 16]) -> ContactId {
        ContactId(
            uuid::Builder::from_random_bytes(random)
                .into_uuid()
                .into_bytes(),
        )
    }

    /// Reads the hyphenated form.
    pub fn parse(text: &str) -> Result<ContactId, Malformed> {
        uuid::Uuid::parse_str(text)
            .map(|id| ContactId(id.into_bytes()))
            .map_err(|_| Malformed("a contact is named by a UUID such as 4f1c…-…"))
    }
}

impl fmt::Display for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContactId({self})")
    }
}

/// WhatsApp's account id of a person: digits, usually but not always their phone number
/// (Meta's contract, sections 2.6 and 2.7). Kept and compared verbatim.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaId(String);

impl WaId {
    /// Accepts 5 to 20 ASCII digits.
    pub fn parse(text: &str) -> Result<WaId, Malformed> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        if digits && (5..=20).contains(&text.len()) {
            Ok(WaId(text.to_owned()))
        } else {
            Err(Malformed(
                "a WhatsApp number is written in digits only, country code first",
            ))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last two digits, for people who should recognise the number and nobody else.
    pub fn ending(&self) -> &str {
        &self.0[self.0.len() - 2..]
    }
}

impl fmt::Debug for WaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaId(…{})", self.ending())
    }
}

/// Business-scoped user id, for example `US.13491208655302741918` (Meta's contract, section 2.6).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bsuid(String);

impl Bsuid {
    /// Accepts `^[A-Z]{2}\.[A-Za-z0-9.]{1,140}$`.
    pub fn parse(text: &str) -> Result<Bsuid, Malformed> {
        let bytes = text.as_bytes();
        let country =
            bytes.len() > 3 && bytes[..2].iter().all(u8::is_ascii_uppercase) && bytes[2] == b'.';
        if country
            && bytes.len() <= 143
            && bytes[3..]
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || *b == b'.')
        {
            Ok(Bsuid(text.to_owned()))
        } else {
            Err(Malformed(
                "a business-scoped user id looks like US.1349120865",
            ))
        }
    }

    /// The whole id, country part included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// ISO 3166 alpha-2 country of the account.
    pub fn country(&self) -> &str {
        &self.0[..2]
    }
}

impl fmt::Debug for Bsuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bsuid({}.…)", self.country())
    }
}

/// Meta's id of a message, `wamid.…`; opaque.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// Longest id accepted, in bytes; ids seen are about 60 to 100.
    pub const BYTES_MAX: usize = 512;

    /// Accepts any non-empty text without control characters up to [`Self::BYTES_MAX`].
    pub fn parse(text: &str) -> Result<MessageId, Malformed> {
        if text.is_empty() || text.len() > Self::BYTES_MAX || text.chars().any(char::is_control) {
            Err(Malformed("a message id is 1 to 512 printable characters"))
        } else {
            Ok(MessageId(text.to_owned()))
        }
    }

    /// The id as Meta wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The id carries the sender's number in base64.
        f.write_str("MessageId(..)")
    }
}

/// Meta's opaque id of one of the business's numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhoneNumberId(String);

impl PhoneNumberId {
    /// Accepts 1 to 40 ASCII digits.
    pub fn parse(text: &str) -> Result<PhoneNumberId, Malformed> {
        if !text.is_empty() && text.len() <= 40 && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(PhoneNumberId(text.to_owned()))
        } else {
            Err(Malformed(
                "the phone number id is the long number under API Setup, digits only (not the phone number)",
            ))
        }
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `identity_key_hash`: changes when the account may be in other hands (Meta's contract, section 4).
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityKey(String);

impl IdentityKey {
    /// Accepts 1 to 128 printable ASCII characters.
    pub fn parse(text: &str) -> Result<IdentityKey, Malformed> {
        if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(IdentityKey(text.to_owned()))
        } else {
            Err(Malformed(
                "an identity key is a short text of printable characters",
            ))
        }
    }

    /// The text as Meta wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey(..)")
    }
}

/// A mail address that is safe to put into an envelope: ASCII, one `@`, a dotted domain (S-21).
///
/// The domain is lower-cased, the local part is kept as written; two addresses are the same when
/// they are equal without regard to ASCII case. Nothing else is normalised: no Unicode folding,
/// no provider tricks with dots or tags.
#[derive(Clone)]
pub struct EmailAddress {
    text: String,
    at: usize,
}

impl EmailAddress {
    /// Longest address and longest local part (RFC 5321, section 4.5.3.1).
    pub const BYTES_MAX: usize = 254;
    const LOCAL_BYTES_MAX: usize = 64;

    /// Accepts the dot-atom form of RFC 5322 with a domain of at least two labels.
    pub fn parse(text: &str) -> Result<EmailAddress, Malformed> {
        const WRONG: Malformed = Malformed("a mail address looks like ana@example.com");
        if text.len() > Self::BYTES_MAX || !text.is_ascii() {
            return Err(WRONG);
        }
        let (local, domain) = text.split_once('@').ok_or(WRONG)?;
        let atom = |part: &str| !part.is_empty() && part.bytes().all(is_atom_byte);
        if local.len() > Self::LOCAL_BYTES_MAX || !local.split('.').all(atom) {
            return Err(WRONG);
        }
        let label = |part: &str| {
            !part.is_empty()
                && part.len() <= 63
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let Some((_, top)) = domain.rsplit_once('.') else {
            return Err(WRONG);
        };
        let top_is_a_name = top.len() >= 2 && !top.bytes().all(|b| b.is_ascii_digit());
        if !domain.split('.').all(label) || !top_is_a_name {
            return Err(WRONG);
        }
        Ok(EmailAddress {
            text: format!("{local}@{}", domain.to_ascii_lowercase()),
            at: local.len(),
        })
    }

    /// The address as it goes into an envelope.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The part before the `@`, as written.
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// The part after the `@`, in lower case.
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The whole address in lower case: what addresses are compared and counted by.
    pub fn key(&self) -> String {
        self.text.to_ascii_lowercase()
    }

    /// The same local part at another domain.
    pub fn at_domain(&self, domain: &str) -> Result<EmailAddress, Malformed> {
        EmailAddress::parse(&format!("{}@{domain}", self.local()))
    }

    /// `a•••@d•••`: enough for its owner to recognise, useless to anybody else.
    pub fn masked(&self) -> String {
        let first = |part: &str| part.chars().next().unwrap_or('•');
        format!("{}•••@{}•••", first(self.local()), first(self.domain()))
    }
}

pub(super) fn is_atom_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

impl PartialEq for EmailAddress {
    fn eq(&self, other: &EmailAddress) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}

impl Eq for EmailAddress {}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmailAddress({})", self.masked())
    }
}

/// Names one attempt to prove a mailbox: 128 random bits. The code is derived from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChallengeId(pub [u8; 16]);

impl ChallengeId {
    /// A short public name of this challenge, for the buttons that belong to it.
    pub fn tag(&self) -> String {
        hex(&self.0[..6])
    }
}

impl fmt::Debug for ChallengeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChallengeId(..)")
    }
}

/// Names one attempt to sign in on the web: 128 random bits. Its hash, its return code and its
/// access token are derived from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MappingId(pub [u8; 16]);

impl MappingId {
    /// A short public name of this attempt, for the buttons that belong to it.
    pub fn tag(&self) -> String {
        ChallengeId(self.0).tag()
    }
}

impl fmt::Debug for MappingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MappingId(..)")
    }
}

/// Names a proof: the challenge or the mapping by which somebody showed that an account is theirs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProofId(pub [u8; 16]);

impl fmt::Debug for ProofId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofId(..)")
    }
}

/// Names a proof that the bot asked for: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequirementId(pub [u8; 16]);

impl fmt::Debug for RequirementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequirementId(..)")
    }
}

/// A company system with the two endpoints, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(String);

impl ServiceName {
    /// Accepts 1 to 40 of `a–z 0–9 - _`.
    pub fn parse(text: &str) -> Result<ServiceName, Malformed> {
        let byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if (1..=40).contains(&text.len()) && text.bytes().all(byte) {
            Ok(ServiceName(text.to_owned()))
        } else {
            Err(Malformed(
                "a service's name is 1 to 40 of a–z, 0–9, - and _",
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Two lower-case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_plain_ascii_addresses_are_accepted() {
        let accepted = [
            "ana@example.com",
            "A.b+tag@Example.COM",
            "o'neil@a-b.example",
            "x@xn--bcher-kva.example",
            "1@2.co",
            "a_b-c@sub.sub.example.org",
        ];
        for text in accepted {
            assert!(EmailAddress::parse(text).is_ok(), "{text}");
        }
        let refused = [
            "",
            "ana",
            "@example.com",
            "ana@",
            "ana@example",
            "ana@@example.com",
            "a@b@example.com",
            "ana @example.com",
            "ana@exa mple.com",
            "ana@example..com",
            ".ana@example.com",
            "ana.@example.com",
            "a..b@example.com",
            "ana@-example.com",
            "ana@example-.com",
            "ana@example.com.",
            "ana@127.0.0.1",
            "ana@[127.0.0.1]",
            "\"ana\"@example.com",
            "ana(x)@example.com",
            "<ana@example.com>",
            "ana@example.com,b@y.com",
            "ana@example.com;b@y.com",
            "ana@example.com\r\nBcc: x@y.com",
            "ana%0a@example.com\n",
            "mıke@example.com",
            "ana@exámple.com",
            "ana＠example.com",
            "\u{212A}ate@example.com",
            "stra\u{df}e@example.com",
            "ana\0@example.com",
            "ana@example.c",
        ];
        for text in refused {
            assert!(EmailAddress::parse(text).is_err(), "{text:?}");
        }
        let local = "a".repeat(64);
        assert!(EmailAddress::parse(&format!("{local}@example.com")).is_ok());
        assert!(EmailAddress::parse(&format!("{local}a@example.com")).is_err());
        let domain = vec!["a".repeat(60); 4].join(".");
        assert!(
            EmailAddress::parse(&format!("{local}@{domain}.com")).is_err(),
            "over 254 bytes"
        );
    }

    #[test]
    fn addresses_are_compared_without_case_and_keep_their_local_part() {
        let typed = EmailAddress::parse("Ana.Perez@EXAMPLE.com").unwrap();
        assert_eq!(typed, EmailAddress::parse("ana.perez@example.com").unwrap());
        assert_eq!(typed.as_str(), "Ana.Perez@example.com");
        assert_ne!(typed, EmailAddress::parse("anaperez@example.com").unwrap());
    }

    #[test]
    fn nothing_personal_is_printed_by_debug() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            EmailAddress::parse("ana@example.com").unwrap(),
            WaId::parse("573001234534").unwrap(),
            Bsuid::parse("CO.13491208655302741918").unwrap(),
            MessageId::parse("wamid.ABC").unwrap(),
        );
        for personal in ["ana", "example", "57300", "1349", "wamid"] {
            assert!(!shown.contains(personal), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_address_survives_its_own_display(text in "\\PC{0,40}@?\\PC{0,40}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                let again = EmailAddress::parse(address.as_str()).unwrap();
                prop_assert_eq!(again.as_str(), address.as_str());
                let one_at = address.as_str().matches('@').count() == 1;
                prop_assert!(one_at && !address.as_str().contains(|c: char| c.is_control() || " ,;<>()\"".contains(c)));
                prop_assert!(address.as_str().parse::<lettre::Address>().is_ok(), "what we accept, the mailer accepts");
            }
        }

        #[test]
        fn likely_addresses_are_accepted_by_the_mailer(text in "[a-z0-9.+_-]{1,12}@[a-z0-9-]{1,8}\\.[a-z]{2,5}") {
            if let Ok(address) = EmailAddress::parse(&text) {
                prop_assert!(address.as_str().parse::<lettre::Address>().is_ok());
            }
        }

        #[test]
        fn a_number_is_never_a_bsuid(text in "\\PC{0,40}") {
            prop_assert!(WaId::parse(&text).is_err() || Bsuid::parse(&text).is_err());
        }
    }
}

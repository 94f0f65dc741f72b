//! Names and numbers that come from outside, each parsed once at the edge.
//!
//! After `parse` nobody asks again whether a value is well formed. What must not be read by
//! chance in a log prints itself shortened or not at all.

use std::fmt;

/// Milliseconds since the Unix epoch, as the process's trusted clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// One second, in the unit of [`Timestamp`].
pub const SECOND_MS: u64 = 1_000;
/// One minute, in the unit of [`Timestamp`].
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
/// One hour, in the unit of [`Timestamp`].
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// One day, in the unit of [`Timestamp`].
pub const DAY_MS: u64 = 24 * HOUR_MS;

impl Timestamp {
    /// This moment plus `ms` milliseconds; stays at the end of time instead of wrapping.
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// This moment minus `ms` milliseconds; stays at the epoch instead of wrapping.
    pub fn minus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` to this moment, 0 when `earlier` is later.
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since the epoch.
    pub fn seconds(self) -> u64 {
        self.0 / SECOND_MS
    }
}

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

/// The hash that names a web sign-in in its link: 40 lower-case hex digits (design, section 5.1).
/// Never printed, compared in constant time.
#[derive(Clone)]
pub struct MappingHash(String);

impl MappingHash {
    /// Bytes that the digits stand for.
    pub const BYTES: usize = 20;

    /// From what the digits stand for.
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> MappingHash {
        MappingHash(hex(&bytes))
    }

    /// Accepts exactly 40 lower-case hex digits.
    pub fn parse(text: &str) -> Result<MappingHash, Malformed> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 2 * Self::BYTES && text.bytes().all(digit) {
            Ok(MappingHash(text.to_owned()))
        } else {
            Err(Malformed("a mapping hash is 40 hexadecimal digits"))
        }
    }

    /// The digits, for the link and the answer that name it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether both are the same, in time that does not depend on where they differ (S-02).
    pub fn matches(&self, other: &MappingHash) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.0.as_bytes()).into()
    }
}

impl fmt::Debug for MappingHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MappingHash(..)")
    }
}

impl Drop for MappingHash {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// The secret that travels from the browser back through the chat: 128 bits in base32 behind a
/// mark by which it is found in a text that people may have added to (section 3.4 of the threat
/// model). Never printed, compared in constant time.
#[derive(Clone)]
pub struct ReturnCode(String);

impl ReturnCode {
    /// What every return code begins with.
    const MARK: &'static str = "Q7";
    /// Characters of a code: the mark, and 128 bits at 5 a character.
    pub const CHARS: usize = Self::MARK.len() + 26;
    const ALPHABET: &'static [u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

    /// From its 128 bits (RFC 4648, section 6).
    pub fn from_bytes(bytes: [u8; 16]) -> ReturnCode {
        let bits = u128::from_be_bytes(bytes);
        let digits = (0..26u32).map(|place| {
            let digit = if place < 25 {
                bits >> (123 - 5 * place)
            } else {
                bits << 2
            };
            char::from(Self::ALPHABET[usize::try_from(digit & 31).unwrap_or(0)])
        });
        ReturnCode(Self::MARK.chars().chain(digits).collect())
    }

    /// Accepts the mark and 26 letters and digits of base32, in either case.
    pub fn parse(text: &str) -> Result<ReturnCode, Malformed> {
        // Every word of every message is tried: only what may be one is copied.
        if text.len() == Self::CHARS {
            let code = text.to_ascii_uppercase();
            if code.starts_with(Self::MARK) && code.bytes().all(|b| Self::ALPHABET.contains(&b)) {
                return Ok(ReturnCode(code));
            }
        }
        Err(Malformed("a return code is Q7 and 26 letters and digits"))
    }

    /// The characters, for the one link that carries them.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether both are the same, in time that does not depend on where they differ (S-02).
    pub fn matches(&self, other: &ReturnCode) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.0.as_bytes()).into()
    }
}

impl fmt::Debug for ReturnCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReturnCode(..)")
    }
}

impl Drop for ReturnCode {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// A one-time code: a run of ASCII digits. Never printed, compared in constant time.
#[derive(Clone)]
pub struct OtpCode(String);

impl OtpCode {
    /// Fewest and most digits that a code may have.
    pub const DIGITS: std::ops::RangeInclusive<usize> = 6..=10;

    /// Accepts 6 to 10 ASCII digits.
    pub fn parse(text: &str) -> Result<OtpCode, Malformed> {
        if Self::DIGITS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(OtpCode(text.to_owned()))
        } else {
            Err(Malformed("a code is 6 to 10 digits"))
        }
    }

    /// The digits, for the mail that carries them and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether both are the same code, in time that does not depend on where they differ (S-02).
    pub fn matches(&self, other: &OtpCode) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.0.as_bytes()).into()
    }
}

impl fmt::Debug for OtpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtpCode(..)")
    }
}

impl Drop for OtpCode {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// A text that must not be read by chance: an access token, a key, a password.
/// `Debug` hides it, it is wiped when dropped, and it is compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in custody.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same text, in time that depends on its length alone.
    pub fn matches(&self, other: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
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

/// A language that Portero speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Spanish.
    Spanish,
    /// English.
    English,
    /// Portuguese, as written in Brazil.
    Portuguese,
}

impl Language {
    /// Every language, in the order of the documentation.
    pub const ALL: [Language; 3] = [Language::Spanish, Language::English, Language::Portuguese];

    /// ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Language::Spanish => "es",
            Language::English => "en",
            Language::Portuguese => "pt",
        }
    }

    /// Reads an ISO 639-1 code.
    pub fn parse(code: &str) -> Result<Language, Malformed> {
        Language::ALL
            .into_iter()
            .find(|language| language.code() == code)
            .ok_or(Malformed("the languages are \"es\", \"en\" and \"pt\""))
    }

    /// The language usual where this account is from, when Portero speaks it: by the BSUID's
    /// country, else by the calling code of the number.
    pub fn usual_for(wa_id: Option<&WaId>, bsuid: Option<&Bsuid>) -> Option<Language> {
        bsuid
            .and_then(|id| language_of_country(id.country()))
            .or_else(|| wa_id.and_then(|id| language_of_number(id.as_str())))
    }
}

fn language_of_country(country: &str) -> Option<Language> {
    const SPANISH: &str = "AR BO CL CO CR CU DO EC ES GQ GT HN MX NI PA PE PR PY SV UY VE";
    const PORTUGUESE: &str = "AO BR CV GW MZ PT ST TL";
    const ENGLISH: &str =
        "AG AU BB BS BZ CA DM GB GD GH GY IE JM KE KN LC MT NG NZ SG TT UG US VC ZA ZM ZW";
    let among = |list: &str| list.split(' ').any(|code| code == country);
    if among(SPANISH) {
        Some(Language::Spanish)
    } else if among(PORTUGUESE) {
        Some(Language::Portuguese)
    } else if among(ENGLISH) {
        Some(Language::English)
    } else {
        None
    }
}

fn language_of_number(digits: &str) -> Option<Language> {
    // Longest prefix first: the North American plan shares +1 with Spanish-speaking islands.
    const PREFIXES: [(&str, Language); 66] = {
        use Language::{English as En, Portuguese as Pt, Spanish as Es};
        [
            ("1787", Es),
            ("1809", Es),
            ("1829", Es),
            ("1849", Es),
            ("1939", Es),
            ("220", En),
            ("233", En),
            ("234", En),
            ("254", En),
            ("256", En),
            ("260", En),
            ("263", En),
            ("238", Pt),
            ("239", Pt),
            ("240", Es),
            ("244", Pt),
            ("245", Pt),
            ("258", Pt),
            ("351", Pt),
            ("353", En),
            ("356", En),
            ("501", En),
            ("502", Es),
            ("503", Es),
            ("504", Es),
            ("505", Es),
            ("506", Es),
            ("507", Es),
            ("591", Es),
            ("592", En),
            ("593", Es),
            ("595", Es),
            ("598", Es),
            ("670", Pt),
            ("27", En),
            ("34", Es),
            ("44", En),
            ("51", Es),
            ("52", Es),
            ("53", Es),
            ("54", Es),
            ("55", Pt),
            ("56", Es),
            ("57", Es),
            ("58", Es),
            ("61", En),
            ("64", En),
            ("65", En),
            ("1242", En),
            ("1246", En),
            ("1264", En),
            ("1268", En),
            ("1284", En),
            ("1345", En),
            ("1441", En),
            ("1473", En),
            ("1649", En),
            ("1664", En),
            ("1758", En),
            ("1767", En),
            ("1784", En),
            ("1868", En),
            ("1869", En),
            ("1876", En),
            ("1658", En),
            ("1", En),
        ]
    };
    PREFIXES
        .iter()
        .find(|(prefix, _)| digits.starts_with(prefix))
        .map(|(_, language)| *language)
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
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            EmailAddress::parse("ana@example.com").unwrap(),
            WaId::parse("573001234534").unwrap(),
            Bsuid::parse("CO.13491208655302741918").unwrap(),
            OtpCode::parse("12345678").unwrap(),
            MessageId::parse("wamid.ABC").unwrap(),
            MappingHash::parse(HASH).unwrap(),
        );
        for secret in [
            "ana", "example", "57300", "1349", "1234567", "wamid", "7542",
        ] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    const HASH: &str = "7542394d84161d10f90c8042da90a76c4f106c58";

    #[test]
    fn a_hash_is_40_hex_digits_in_lower_case() {
        let hash = MappingHash::parse(HASH).unwrap();
        assert_eq!(hash.reveal(), HASH);
        let from_bytes = MappingHash::from_bytes([0xa0; MappingHash::BYTES]);
        assert_eq!(from_bytes.reveal(), "a0".repeat(20));
        assert!(hash.matches(&MappingHash::parse(HASH).unwrap()));
        let other = HASH.replace("c58", "c59");
        assert!(!hash.matches(&MappingHash::parse(&other).unwrap()));
        for text in [
            "",
            &HASH[1..],
            &format!("{HASH}0"),
            &HASH.to_uppercase(),
            &HASH.replace("75", "g5"),
            &HASH.replace("75", " 5"),
            &HASH.replace("75", "%7"),
            &HASH.replace("75", "\u{e9}"),
            &HASH.replace("75", "٧"),
            &format!("{HASH}\n"),
        ] {
            assert!(MappingHash::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_return_code_is_the_base32_of_its_bits_behind_its_mark() {
        // RFC 4648, section 10: "foobar" is MZXW6YTBOI.
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(b"foobar");
        let code = ReturnCode::from_bytes(bytes);
        assert_eq!(code.reveal(), format!("Q7MZXW6YTBOI{}", "A".repeat(16)));
        let last = ReturnCode::from_bytes([0xff; 16]);
        assert_eq!(last.reveal(), format!("Q7{}4", "7".repeat(25)));
        assert!(
            ReturnCode::parse(&last.reveal().to_lowercase())
                .unwrap()
                .matches(&last)
        );
        assert!(!code.matches(&last));
        for wrong in ["", "Q7", &"A".repeat(28), &format!("Q7{}", "1".repeat(26))] {
            assert!(ReturnCode::parse(wrong).is_err());
        }
    }

    #[test]
    fn the_language_follows_the_country() {
        let of = |digits: &str| Language::usual_for(Some(&WaId::parse(digits).unwrap()), None);
        assert_eq!(of("573001234567"), Some(Language::Spanish));
        assert_eq!(of("5511987654321"), Some(Language::Portuguese));
        assert_eq!(of("16505551234"), Some(Language::English));
        assert_eq!(
            of("18095551234"),
            Some(Language::Spanish),
            "the Dominican Republic shares +1"
        );
        assert_eq!(of("4915112345678"), None);
        let bsuid = Bsuid::parse("BR.1").unwrap();
        assert_eq!(
            Language::usual_for(Some(&WaId::parse("573001234567").unwrap()), Some(&bsuid)),
            Some(Language::Portuguese),
            "the BSUID's country is the account's own"
        );
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

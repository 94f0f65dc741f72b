//! What only one person or one program may know: codes, hashes, tokens, passwords.
//!
//! None prints itself, each is wiped when it is dropped and compared in constant time.

use super::id::{Malformed, hex};
use std::fmt;

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HASH: &str = "7542394d84161d10f90c8042da90a76c4f106c58";

    #[test]
    fn no_secret_is_printed_by_debug() {
        let shown = format!(
            "{:?} {:?} {:?} {:?}",
            OtpCode::parse("12345678").unwrap(),
            MappingHash::parse(HASH).unwrap(),
            ReturnCode::from_bytes([0xff; 16]),
            Secret::new("hunter2"),
        );
        assert_eq!(
            shown,
            "OtpCode(..) MappingHash(..) ReturnCode(..) Secret(..)"
        );
    }

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
}

//! F-2. `X-Hub-Signature-256`: exactly one value, exactly `sha256=` and 64 lower-case hex digits,
//! and these the right ones. Compared with a reference written by hand, on another implementation
//! of HMAC.

use portero::domain::secret::Secret;
use portero::whatsapp::signature;
use ring::hmac::{HMAC_SHA256, Key, sign};

const SECRETS: [&str; 3] = ["", "the one before", "the one that holds"];

/// Stand in the input for the 64 right digits, of the last secret and of the one before; for the
/// digits of the escaped form; and for the right ones in upper case.
const RIGHT: char = '\u{1}';
const OLDER: char = '\u{2}';
const ESCAPED: char = '\u{3}';
const UPPER: char = '\u{4}';

/// Between the values of several headers.
const NEXT: char = '\u{5}';

/// The headers, a line feed, and the body.
pub fn holds(input: &[u8]) {
    let at = input.iter().position(|byte| *byte == b'\n');
    let (headers, body) = match at {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &b""[..]),
    };
    let digits = |secret: &str, bytes: &[u8]| -> String {
        let tag = sign(&Key::new(HMAC_SHA256, secret.as_bytes()), bytes);
        tag.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let escaped = escaped(body);
    let right = digits(SECRETS[2], body);
    let headers = String::from_utf8_lossy(headers)
        .replace(RIGHT, &right)
        .replace(OLDER, &digits(SECRETS[1], body))
        .replace(ESCAPED, &digits(SECRETS[2], &escaped))
        .replace(UPPER, &right.to_uppercase());
    let values: Vec<&str> = headers.split(NEXT).collect();
    let secrets = SECRETS.map(Secret::new);
    for values in [&values[..], &[]] {
        let found = signature::signer(&secrets, values, body);
        assert_eq!(
            found,
            reference(values, body, &escaped, &digits),
            "{values:?}"
        );
    }
    // What is signed here is believed here, and nowhere else.
    for (index, secret) in secrets.iter().enumerate().skip(1) {
        let header = signature::sign(secret, body);
        assert!(is_well_formed(&header));
        assert_eq!(signature::signer(&secrets, &[&header], body), Some(index));
        assert_eq!(signature::signer(&secrets, &[&header, &header], body), None);
        let other = [body, b"."].concat();
        assert_eq!(signature::signer(&secrets, &[&header], &other), None);
    }
}

fn reference(
    values: &[&str],
    body: &[u8],
    escaped: &[u8],
    digits: &dyn Fn(&str, &[u8]) -> String,
) -> Option<usize> {
    let [value] = values else {
        return None;
    };
    if !is_well_formed(value) {
        return None;
    }
    let signs = |bytes: &[u8]| {
        let is_right = |secret: &&str| !secret.is_empty() && digits(secret, bytes) == value[7..];
        SECRETS.iter().position(is_right)
    };
    signs(body).or_else(|| signs(escaped))
}

/// `^sha256=[0-9a-f]{64}$`
fn is_well_formed(value: &str) -> bool {
    let bytes = value.as_bytes();
    let mut well = bytes.len() == 71;
    for (at, byte) in bytes.iter().enumerate() {
        well &= match at {
            0..=6 => *byte == b"sha256="[at],
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        };
    }
    well
}

/// Every character beyond ASCII as `\uXXXX` in lower case; bytes that are not text as they are.
fn escaped(body: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(body) else {
        return body.to_vec();
    };
    let mut escaped = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        let point = u32::from(c);
        if let Some(above) = point.checked_sub(0x1_0000) {
            escaped.push_str(&format!("\\u{:04x}", 0xd800 + (above >> 10)));
            escaped.push_str(&format!("\\u{:04x}", 0xdc00 + (above & 0x3ff)));
        } else {
            escaped.push_str(&format!("\\u{point:04x}"));
        }
    }
    escaped.into_bytes()
}

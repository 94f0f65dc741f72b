//! The signature over a webhook's raw bytes, Meta's and our own. Pure.

use crate::domain::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Which of the app secrets signed this body, by its index; `None` when Meta did not: exactly one
/// `X-Hub-Signature-256`, exactly `sha256=` and 64 lower-case hex digits (S-01), the HMAC-SHA256
/// of the raw bytes under one of the app secrets, compared in constant time (S-02).
///
/// Several secrets let an operator replace one without losing messages; what is made of this body
/// is signed with the same one, because it is the one that the sender and the bot share. A body
/// with non-ASCII bytes is tried once more in Meta's escaped form, `\uXXXX` in lower case (Meta's
/// contract, section 1.2, step 4). An empty secret never matches.
pub fn signer(app_secrets: &[Secret], header_values: &[&str], body: &[u8]) -> Option<usize> {
    let [header] = header_values else {
        return None;
    };
    let tag = tag_of_hex(header.strip_prefix("sha256=")?)?;
    let signer_of = |feed: &dyn Fn(&mut Hmac<Sha256>)| {
        app_secrets.iter().position(|secret| {
            let mut mac = keyed(secret);
            feed(&mut mac);
            !secret.reveal().is_empty() && mac.verify_slice(&tag).is_ok()
        })
    };
    signer_of(&|mac| mac.update(body)).or_else(|| match std::str::from_utf8(body) {
        Ok(text) if !text.is_ascii() => signer_of(&|mac| update_escaped(mac, text)),
        _ => None,
    })
}

/// The value of `X-Hub-Signature-256` for `body`: `sha256=` and 64 lower-case hex digits (S-01).
pub fn sign(app_secret: &Secret, body: &[u8]) -> String {
    let mut mac = keyed(app_secret);
    mac.update(body);
    let mut header = String::from("sha256=");
    for byte in mac.finalize().into_bytes() {
        for digit in [byte >> 4, byte & 0xf] {
            header.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    header
}

fn keyed(secret: &Secret) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104, section 2).
    Hmac::new_from_slice(secret.reveal().as_bytes()).expect("a key of any length")
}

fn tag_of_hex(hex: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let hex: &[u8; 64] = hex.as_bytes().try_into().ok()?;
    let mut tag = [0; 32];
    for (byte, pair) in tag.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(tag)
}

/// Feeds `text` with every non-ASCII character as lower-case `\uXXXX`, surrogate pairs included.
fn update_escaped(mac: &mut Hmac<Sha256>, text: &str) {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| !c.is_ascii()) {
        let (ascii, after) = rest.split_at(start);
        mac.update(ascii.as_bytes());
        let end = after.find(|c: char| c.is_ascii()).unwrap_or(after.len());
        for unit in after[..end].encode_utf16() {
            mac.update(format!("\\u{unit:04x}").as_bytes());
        }
        rest = &after[end..];
    }
    mac.update(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    const FIRST: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;
    const V4: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"type":"text","text":{"body":"ana\u0040ejemplo.es \u00bfs\u00ed? \ud83d\udc4d https:\/\/x.y"}}]}}]}]}"#;
    const V5: &str = r#"{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"messages":[{"type":"text","text":{"body":"ana@ejemplo.es ¿sí? 👍 https://x.y"}}]}}]}]}"#;
    const FIRST_TAG: &str = "dec6a680679a968e7e0319355b23599cbfc54502c0784668e9618baa0c633756";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    fn sign(key: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(body);
        let tag = mac.finalize().into_bytes();
        let hex: String = tag.iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256={hex}")
    }

    fn verify(app_secrets: &[Secret], header_values: &[&str], body: &[u8]) -> bool {
        signer(app_secrets, header_values, body).is_some()
    }

    #[test]
    fn the_published_vectors_verify() {
        assert_eq!((V4.len(), V5.len()), (211, 188));
        let spaced = br#"{"object": "whatsapp_business_account", "entry": []}"#;
        let vectors: [(&str, &[u8], &str); 5] = [
            ("test_app_secret", FIRST, FIRST_TAG),
            (
                "test_app_secret",
                spaced,
                "56cbbaf4961c6cfdae48b7f116c047e5eb513d2c931baae63a2bc1afd26f803a",
            ),
            (
                "otro_secreto",
                FIRST,
                "769b03d8c2ae6498f2d1e1f7299c0ba55448c69d741e7b0bb243d852d8a8d8c7",
            ),
            (
                "portero-test-secret",
                V4.as_bytes(),
                "43cd8e6c4c2bba2cd571dc8dbd5644b427f9ae0af435cc3bcf711fdd23419eae",
            ),
            (
                "portero-test-secret",
                V5.as_bytes(),
                "acb1cb9c6f5d7b604e9da49e4c07787b86e7a74f31d30dbfa60282cdc239c520",
            ),
        ];
        for (key, body, hex) in vectors {
            assert!(verify(&[secret(key)], &[&format!("sha256={hex}")], body));
            assert!(!verify(
                &[secret("another")],
                &[&format!("sha256={hex}")],
                body
            ));
        }
    }

    #[test]
    fn every_forged_or_odd_signature_is_refused() {
        let keys = [secret("test_app_secret")];
        let good = format!("sha256={FIRST_TAG}");
        assert!(verify(&keys, &[&good], FIRST));
        let bad = sign("verify-token", FIRST);
        let headers: &[&[&str]] = &[
            &[],
            &[""],
            &["sha256="],
            &[FIRST_TAG],
            &[&format!("sha1={FIRST_TAG}")],
            &[&format!("SHA256={FIRST_TAG}")],
            &[&good[..good.len() - 1]],
            &[&format!("{good}0")],
            &[&good.to_uppercase().replace("SHA256", "sha256")],
            &[&format!("{good} ")],
            &[&format!(" {good}")],
            &[&format!("{good}\n")],
            &[&format!("sha256= {}", &FIRST_TAG[1..])],
            &[&format!("sha256={}é", &FIRST_TAG[2..])],
            &[&good, &bad],
            &[&bad, &good],
            &[&good, &good],
            &[&bad],
            &[&sign("other-company", FIRST)],
        ];
        for headers in headers {
            assert!(!verify(&keys, headers, FIRST), "{headers:?}");
        }
        assert!(!verify(&keys, &[&good], b""), "another body");
        for bit in 0..FIRST.len() * 8 {
            let mut body = FIRST.to_vec();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&keys, &[&good], &body), "bit {bit}");
        }
        assert!(!verify(&[], &[&good], FIRST), "no secret at all");
        let empty = sign("", FIRST);
        assert!(!verify(&[secret("")], &[&empty], FIRST), "an empty secret");
    }

    #[test]
    fn the_previous_secret_verifies_beside_the_current_one() {
        let keys = [secret("new"), secret("old")];
        for key in ["new", "old"] {
            assert!(verify(&keys, &[&sign(key, FIRST)], FIRST));
        }
        assert!(!verify(&keys, &[&sign("older", FIRST)], FIRST));
    }

    #[test]
    fn the_secret_that_signed_is_told_and_signs_again() {
        let keys = [secret(""), secret("new"), secret("old"), secret("old")];
        for (key, index) in [
            ("new", Some(1)),
            ("old", Some(2)),
            ("older", None),
            ("", None),
        ] {
            assert_eq!(signer(&keys, &[&sign(key, FIRST)], FIRST), index, "{key}");
        }
        let escaped = sign("old", br#"{"a":"\u00bf"}"#);
        let plain = r#"{"a":"¿"}"#.as_bytes();
        assert_eq!(signer(&keys, &[&escaped], plain), Some(2));
        assert_eq!(signer(&keys, &[], FIRST), None);
        let header = super::sign(&secret("test_app_secret"), FIRST);
        assert_eq!(header, format!("sha256={FIRST_TAG}"));
        let other = super::sign(&keys[1], V4.as_bytes());
        assert_eq!(other, sign("new", V4.as_bytes()));
        assert_eq!(signer(&keys, &[&other], V4.as_bytes()), Some(1));
    }

    #[test]
    fn the_raw_bytes_are_what_is_verified() {
        for body in [
            r#"{"a":"\u00e1"}"#,
            r#"{"a":"👍"}"#,
            r#"{"a":"\/"}"#,
            "{\r\n}",
            "{}\n",
            "\u{feff}{}",
        ] {
            let header = sign("k", body.as_bytes());
            assert!(
                verify(&[secret("k")], &[&header], body.as_bytes()),
                "{body}"
            );
        }
        let invalid = b"{\"a\":\"\xff\"}";
        assert!(verify(&[secret("k")], &[&sign("k", invalid)], invalid));
    }

    #[test]
    fn a_body_in_utf8_verifies_under_its_escaped_form() {
        let escaped = r#"{"a":"\u00bfs\u00ed? \ud83d\udc4d / @","b":"\u20ac"}"#;
        let plain = r#"{"a":"¿sí? 👍 / @","b":"€"}"#;
        let header = sign("k", escaped.as_bytes());
        assert!(verify(&[secret("k")], &[&header], plain.as_bytes()));
        assert!(!verify(
            &[secret("k")],
            &[&header],
            plain.replace('€', "£").as_bytes()
        ));
        let upper = sign("k", escaped.to_uppercase().as_bytes());
        assert!(!verify(&[secret("k")], &[&upper], plain.as_bytes()));
    }

    proptest! {
        #[test]
        fn only_the_exact_header_verifies(header in "\\PC{0,80}|(sha256=)?[0-9a-fA-F]{60,66}") {
            prop_assert!(!verify(&[secret("k")], &[&header], FIRST));
        }
    }
}

//! Requests that their receiver can know to be ours, signed per
//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// Shortest and longest signing secret, in bytes ("Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// What requests are signed with. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct SigningSecret(Zeroizing<Vec<u8>>);

impl SigningSecret {
    /// Reads `whsec_` and base64. The refusal is words that follow the name of what was read.
    pub fn parse(text: &str) -> Result<SigningSecret, String> {
        let key = text
            .strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .map(Zeroizing::new)
            .ok_or("must be whsec_ and base64")?;
        if SECRET_BYTES.contains(&key.len()) {
            Ok(SigningSecret(key))
        } else {
            Err(format!(
                "must be {} to {} bytes before base64",
                SECRET_BYTES.start(),
                SECRET_BYTES.end()
            ))
        }
    }

    /// The value of `webhook-signature`: `v1,` and the HMAC-SHA-256 of `id.timestamp.body`.
    /// `timestamp` is the value of `webhook-timestamp`, seconds since the epoch.
    pub fn signature(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        // HMAC takes keys of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        for part in [id, ".", timestamp, "."] {
            mac.update(part.as_bytes());
        }
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // The example of the specification's reference libraries.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(
            secret.signature(id, "1614265330", b"{\"test\": 2432232314}"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_does_not_show_itself() {
        let secret = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for (bytes, is_good) in [(23, false), (24, true), (64, true), (65, false)] {
            let parsed = SigningSecret::parse(&secret(bytes));
            assert_eq!(parsed.is_ok(), is_good, "{bytes} bytes");
        }
        for text in ["", "whsec_", "whsec_x", &secret(32)["whsec_".len()..]] {
            let refusal = SigningSecret::parse(text).unwrap_err();
            assert!(
                !refusal.contains("x\"") && refusal.starts_with("must be"),
                "{refusal}"
            );
        }
        let shown = format!("{:?}", SigningSecret::parse(&secret(24)).unwrap());
        assert_eq!(shown, "SigningSecret(..)");
    }
}

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

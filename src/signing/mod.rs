//! What Portero signs so that others can verify it: JWTs under Ed25519 (RFC 7519, RFC 8037), and the
//! keys for it, published as a JWK set (RFC 7517).
//!
//! One algorithm, fixed by the key and not by the token; a `typ` per kind of token, demanded when it
//! is verified, so that no token passes for one of another kind (RFC 8725, sections 3.1 and 3.11).
//! Time comes in as an argument: the JWT crate's own idea of it is switched off.

mod provider;
mod turns;

pub use turns::{
    KEPT_MS, KEYS_MAX, KeyRing, KeyState, Life, NoTurn, PUBLISHED_BEFORE_MS, Plan, When, due,
    revoke, turn,
};

use crate::domain::secret::Secret;
use crate::domain::time::{MINUTE_MS, SECOND_MS, Timestamp};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyAlgorithm,
    OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse, ThumbprintHash,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;

/// Longest life of any token signed here.
pub const TOKEN_LIFETIME_MS_MAX: u64 = 10 * MINUTE_MS;

/// How far another machine's clock may be from this one's.
pub const SKEW_MS: u64 = 60 * SECOND_MS;

/// How far ahead of this clock, or of the end of its key's turn, a token may have been made: it was
/// this clock, so next to nothing.
const AHEAD_MS_MAX: u64 = 5 * SECOND_MS;

/// Longest token that is looked at, in bytes. Servers commonly take header fields of 8 KiB.
pub const TOKEN_BYTES_MAX: usize = 6 * 1024;

/// Longest claims, as JSON, that make a token of at most [`TOKEN_BYTES_MAX`]: base64 makes four
/// bytes of three, and the header and the signature take less than 256.
pub const CLAIMS_BYTES_MAX: usize = (TOKEN_BYTES_MAX - 256) / 4 * 3;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Tells the bot who wrote a message.
    Identity,
    /// Lets the bot act for a user of the built-in directory.
    Directory,
}

impl Kind {
    /// The header's `typ`.
    pub fn typ(self) -> &'static str {
        match self {
            Kind::Identity => "portero-identity+jwt",
            Kind::Directory => "JWT",
        }
    }

    /// Longest life of one.
    pub const fn lifetime_ms_max(self) -> u64 {
        match self {
            Kind::Identity => 5 * MINUTE_MS,
            Kind::Directory => TOKEN_LIFETIME_MS_MAX,
        }
    }
}

/// Who has to have made a token, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// What it is for.
    pub kind: Kind,
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`.
    pub audience: &'a str,
}

/// Claims that say from when to when they hold, in seconds since 1970.
pub trait Dated {
    /// `iat`.
    fn issued_at_seconds(&self) -> u64;
    /// `exp`.
    fn expires_at_seconds(&self) -> u64;
}

/// Why a token is not believed. For the log and the caller; nothing of the token is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no token, or lacks a claim that it must have.
    #[error("it is not a token of the expected form")]
    Malformed,
    /// It is for something else.
    #[error("it is a token of another type")]
    Type,
    /// It is not signed with Ed25519.
    #[error("it is not signed with EdDSA")]
    Algorithm,
    /// No key of this name verifies now.
    #[error("it is signed with a key that is not in use")]
    Key,
    /// It was altered, or somebody else signed it.
    #[error("its signature is wrong")]
    Signature,
    /// Somebody else made it.
    #[error("it is from another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("it is for another audience")]
    Audience,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// It would hold for longer than one of ours ever does.
    #[error("it holds for too long")]
    Life,
    /// Its time has not begun.
    #[error("it was made in the future")]
    Early,
}

/// A key that signs or has signed.
pub struct Key {
    id: String,
    life: Life,
    signing: EncodingKey,
    verifying: DecodingKey,
    public: Jwk,
}

impl Key {
    /// The key with this seed, any 32 bytes that nobody knows.
    pub fn new(seed: &[u8; 32], life: Life) -> Key {
        let (signing, verifying, point) = provider::keys(seed);
        let mut public = Jwk {
            common: CommonParameters {
                public_key_use: Some(PublicKeyUse::Signature),
                key_algorithm: Some(KeyAlgorithm::EdDSA),
                ..CommonParameters::default()
            },
            algorithm: AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
                key_type: OctetKeyPairType::OctetKeyPair,
                curve: EllipticCurve::Ed25519,
                x: base64url(&point),
            }),
        };
        let id = public
            .thumbprint(ThumbprintHash::SHA256)
            .expect("an Ed25519 key has a thumbprint");
        public.common.key_id = Some(id.clone());
        Key {
            id,
            life,
            signing,
            verifying,
            public,
        }
    }

    /// Its name in headers and in the JWK set: the thumbprint of RFC 7638.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// From when on it signs.
    pub fn life(&self) -> Life {
        self.life
    }

    /// A token with these claims.
    pub fn sign(&self, kind: Kind, claims: &impl Serialize) -> Secret {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(kind.typ().to_owned());
        header.kid = Some(self.id.clone());
        let token = jsonwebtoken::encode(&header, claims, &self.signing);
        Secret::new(token.expect("claims of ours are JSON, and a key that was made signs"))
    }

    fn claims<C: DeserializeOwned>(
        &self,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<C, Refused> {
        use jsonwebtoken::errors::ErrorKind;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // With the caller's clock, below.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[expected.issuer]);
        validation.set_audience(&[expected.audience]);
        match jsonwebtoken::decode(token, &self.verifying, &validation) {
            Ok(data) => Ok(data.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature => Refused::Signature,
                ErrorKind::InvalidIssuer => Refused::Issuer,
                ErrorKind::InvalidAudience => Refused::Audience,
                _ => Refused::Malformed,
            }),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {:?})", self.id, self.life)
    }
}

impl KeyRing {
    /// A token with these claims, signed with the key whose turn it is.
    pub fn sign(&self, kind: Kind, claims: &impl Serialize, now: Timestamp) -> Secret {
        self.signing(now).sign(kind, claims)
    }

    /// What a token says, if it is ours, meant so and still holds.
    ///
    /// # Errors
    /// The first thing that is wrong with it, in the order: form, header, signature, claims, time.
    pub fn verify<C: Dated + DeserializeOwned>(
        &self,
        token: &str,
        expected: &Expected<'_>,
        now: Timestamp,
    ) -> Result<C, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Malformed);
        }
        let header = header(token)?;
        if header.typ.as_deref() != Some(expected.kind.typ()) {
            return Err(Refused::Type);
        }
        let (key, signed_until) = (header.kid.as_deref())
            .and_then(|id| self.verifying(id, now))
            .ok_or(Refused::Key)?;
        let claims: C = key.claims(token, expected)?;
        let millis = |seconds: u64| Timestamp(seconds.saturating_mul(SECOND_MS));
        let made_at = millis(claims.issued_at_seconds());
        let expires_at = millis(claims.expires_at_seconds());
        if now >= expires_at {
            return Err(Refused::Expired);
        }
        if made_at > now.plus_ms(AHEAD_MS_MAX) {
            return Err(Refused::Early);
        }
        // Whoever has stolen a key can go on making tokens with it after its turn, and long ones.
        if signed_until.is_some_and(|until| made_at > until.plus_ms(AHEAD_MS_MAX)) {
            return Err(Refused::Key);
        }
        if expires_at.since_ms(made_at) > expected.kind.lifetime_ms_max() {
            return Err(Refused::Life);
        }
        Ok(claims)
    }

    /// The public keys as a JWK set, in JSON: everything that signs now, has signed what may still
    /// live, or will sign soon.
    pub fn jwks(&self, now: Timestamp) -> String {
        let keys = self.published(now).map(|key| key.public.clone()).collect();
        let set = jsonwebtoken::jwk::JwkSet { keys };
        serde_json::to_string(&set).expect("public keys are JSON")
    }
}

/// The header of a token, if it is one that only says what ours say.
fn header(token: &str) -> Result<Header, Refused> {
    #[derive(serde::Deserialize)]
    struct Named {
        alg: String,
    }
    let (first, _) = token.split_once('.').ok_or(Refused::Malformed)?;
    let bytes = from_base64url(first).ok_or(Refused::Malformed)?;
    let Named { alg } = serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)?;
    if alg != "EdDSA" {
        return Err(Refused::Algorithm);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Malformed)?;
    let ours = Header {
        typ: header.typ.clone(),
        kid: header.kid.clone(),
        ..Header::new(Algorithm::EdDSA)
    };
    // Among what it could say besides is `crit`, which must not be ignored (RFC 7515, 4.1.11).
    if header == ours {
        Ok(header)
    } else {
        Err(Refused::Malformed)
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .ok()
}

#[cfg(test)]
mod tests;

//! Ed25519 for the JWT crate, by the library that TLS is made with: the crate brings the format, and
//! what it asks of a provider is a dozen lines. With its own providers another elliptic-curve
//! library, RSA and two more curves would come along.
//!
//! A signing key is the 32 bytes of its seed, a verifying key the 32 bytes of its public point
//! (RFC 8032, section 5.1.5).

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::ThumbprintHash;
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use std::sync::Once;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        only_eddsa(*algorithm)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(key.as_bytes())
            .map_err(|_| Error::from(ErrorKind::InvalidEddsaKey))?;
        Ok(Box::new(EdSigner(pair)))
    },
    verifier_factory: |algorithm, key| {
        only_eddsa(*algorithm)?;
        let mut point = [0; PUBLIC_BYTES];
        let given = key.try_get_as_bytes()?;
        if given.len() != PUBLIC_BYTES {
            return Err(ErrorKind::InvalidEddsaKey.into());
        }
        point.copy_from_slice(given);
        Ok(Box::new(EdVerifier(UnparsedPublicKey::new(
            &ED25519, point,
        ))))
    },
    key_utils: KeyUtils {
        compute_digest: |data, hash| match hash {
            ThumbprintHash::SHA256 => Ok(Sha256::digest(data).to_vec()),
            _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
        },
        ..KeyUtils::new_unimplemented()
    },
};

const PUBLIC_BYTES: usize = 32;

/// Makes it the JWT crate's provider. Called wherever a key is made, so before any use.
fn install() {
    static INSTALLED: Once = Once::new();
    // It is refused only if there is one already, and nobody else in this program has one.
    INSTALLED.call_once(|| {
        let _ = PROVIDER.install_default();
    });
}

/// Both halves of a key, as the JWT crate takes them, and the public point.
pub(super) fn keys(seed: &[u8; 32]) -> (EncodingKey, DecodingKey, [u8; PUBLIC_BYTES]) {
    install();
    // Any 32 bytes are a seed.
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("32 bytes are a seed");
    let mut point = [0; PUBLIC_BYTES];
    point.copy_from_slice(pair.public_key().as_ref());
    // Named after the form that the crate's own providers take; the bytes are not looked at.
    let (signing, verifying) = (
        EncodingKey::from_ed_der(seed),
        DecodingKey::from_ed_der(&point),
    );
    (signing, verifying, point)
}

/// There is one algorithm, whatever a token says (RFC 8725, section 3.1).
fn only_eddsa(algorithm: Algorithm) -> Result<(), Error> {
    match algorithm {
        Algorithm::EdDSA => Ok(()),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

struct EdSigner(Ed25519KeyPair);

impl Signer<Vec<u8>> for EdSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).as_ref().to_vec())
    }
}

impl JwtSigner for EdSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

struct EdVerifier(UnparsedPublicKey<[u8; PUBLIC_BYTES]>);

impl Verifier<Vec<u8>> for EdVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        self.0
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for EdVerifier {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

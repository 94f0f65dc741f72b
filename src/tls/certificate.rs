//! A certificate with its chain and its key, and what can be said about it.

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use webpki::EndEntityCert;

/// Signatures that clients on the public internet accept in a chain.
const SIGNATURES: &[&dyn rustls::pki_types::SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
    webpki::ring::ED25519,
    webpki::ring::RSA_PKCS1_2048_8192_SHA256,
    webpki::ring::RSA_PKCS1_2048_8192_SHA384,
    webpki::ring::RSA_PKCS1_2048_8192_SHA512,
];

/// A certificate that can be served: its key belongs to it. `Debug` shows when it ends and nothing
/// else.
#[derive(Clone)]
pub struct Certificate {
    certified: Arc<CertifiedKey>,
    not_before_s: u64,
    not_after_s: u64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(until {})", self.not_after_s)
    }
}

/// Whether strangers believe a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A public authority stands behind it, and the chain leads there.
    Public,
    /// No public authority is found. The chain has this certificate alone, so that the one between
    /// may be missing.
    UnknownWithoutChain,
    /// No public authority is found, though there is a chain.
    Unknown,
}

impl Certificate {
    /// Reads a chain and the key of its first certificate, both in PEM. The refusal is words that
    /// follow the name of the certificate.
    pub fn parse(chain_pem: &[u8], key_pem: &[u8]) -> Result<Certificate, String> {
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| "is not in PEM form".to_owned())?;
        if chain.is_empty() {
            return Err("holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                "has a key file that holds no key in PEM form (-----BEGIN PRIVATE KEY-----); a key with a passphrase cannot be used".to_owned()
            }
            _ => "has a key file that is not in PEM form".to_owned(),
        })?;
        Certificate::of(chain, key)
    }

    /// The same from what was parsed.
    pub(super) fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Certificate, String> {
        let (not_before_s, not_after_s) = validity(&chain[0])
            .ok_or_else(|| "is not a certificate for a server that can be read".to_owned())?;
        let certified = CertifiedKey::from_der(chain, key, &default_provider());
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                "does not belong to the key: the first certificate of the file must be the one that was made for it".to_owned()
            }
            _ => "has a key of a kind that is not known; ECDSA (P-256) and RSA from 2048 bits are".to_owned(),
        })?;
        Ok(Certificate {
            certified: Arc::new(certified),
            not_before_s,
            not_after_s,
        })
    }

    /// First second at which it counts, since 1970.
    pub fn not_before_s(&self) -> u64 {
        self.not_before_s
    }

    /// Last second at which it counts, since 1970.
    pub fn not_after_s(&self) -> u64 {
        self.not_after_s
    }

    /// Whether it is for the host `name`, which may be an address; IPv6 in brackets or not.
    pub fn is_for(&self, name: &str) -> bool {
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let Ok(name) = ServerName::try_from(name) else {
            return false;
        };
        self.end_entity()
            .is_some_and(|certificate| certificate.verify_is_valid_for_subject_name(&name).is_ok())
    }

    /// Whether strangers believe it at that second.
    pub fn trust(&self, now_s: u64) -> Trust {
        let Some(certificate) = self.end_entity() else {
            return Trust::Unknown;
        };
        let found = certificate.verify_for_usage(
            SIGNATURES,
            webpki_roots::TLS_SERVER_ROOTS,
            &self.certified.cert[1..],
            UnixTime::since_unix_epoch(Duration::from_secs(now_s)),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        );
        match (found, self.certified.cert.len()) {
            (Ok(_), _) => Trust::Public,
            (Err(_), 1) => Trust::UnknownWithoutChain,
            (Err(_), _) => Trust::Unknown,
        }
    }

    /// As rustls serves it.
    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    fn end_entity(&self) -> Option<EndEntityCert<'_>> {
        EndEntityCert::try_from(self.certified.cert.first()?).ok()
    }
}

/// From when and until when a certificate counts, in seconds since 1970. webpki looks at that
/// before all else, and says what it saw when a moment lies outside.
fn validity(certificate: &CertificateDer<'_>) -> Option<(u64, u64)> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let fault_at = |at_s: u64| {
        let verified = certificate.verify_for_usage(
            SIGNATURES,
            &[],
            &[],
            UnixTime::since_unix_epoch(Duration::from_secs(at_s)),
            webpki::KeyUsage::server_auth(),
            None,
            None,
        );
        verified.err()
    };
    let not_before = match fault_at(0)? {
        webpki::Error::CertNotValidYet { not_before, .. } => not_before.as_secs(),
        _ => return None,
    };
    match fault_at(u64::MAX)? {
        webpki::Error::CertExpired { not_after, .. } => Some((not_before, not_after.as_secs())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    fn pair(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let pem = |label: &str, der: &[u8]| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        (
            pem("CERTIFICATE", certificate.der()),
            pem("PRIVATE KEY", key.serialized_der()),
        )
    }

    #[test]
    fn a_certificate_says_from_when_until_when_and_for_whom_it_counts() {
        let (chain, key) = pair(&[
            "portero.example",
            "*.espiga.example",
            "192.0.2.1",
            "2001:db8::1",
        ]);
        let certificate = Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap();
        assert_eq!(certificate.not_before_s(), 1_577_836_800);
        assert_eq!(certificate.not_after_s(), 1_893_456_000);
        for name in [
            "portero.example",
            "PORTERO.example",
            "a.espiga.example",
            "192.0.2.1",
            "[2001:db8::1]",
        ] {
            assert!(certificate.is_for(name), "{name}");
        }
        for name in [
            "example",
            "espiga.example",
            "a.b.espiga.example",
            "192.0.2.2",
            "",
            "not a name",
        ] {
            assert!(!certificate.is_for(name), "{name}");
        }
        assert_eq!(certificate.trust(1_800_000_000), Trust::UnknownWithoutChain);
        assert_eq!(format!("{certificate:?}"), "Certificate(until 1893456000)");
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_said_in_words_that_follow_its_name() {
        let (chain, key) = pair(&["portero.example"]);
        let (_, other_key) = pair(&["portero.example"]);
        let table = [
            (
                chain.as_str(),
                other_key.as_str(),
                "does not belong to the key",
            ),
            (&key, &key, "holds no certificate"),
            ("", &key, "holds no certificate"),
            (&chain, &chain, "holds no key"),
            (&chain, "", "holds no key"),
            (
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
                &key,
                "not in PEM form",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                &key,
                "can be read",
            ),
        ];
        for (chain, key, expected) in table {
            let words = Certificate::parse(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(words.contains(expected), "{words}");
        }
    }
}

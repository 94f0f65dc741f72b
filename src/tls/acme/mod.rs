//! Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt.
//!
//! `protocol` is the conversation, `folder` what is kept of it on disk, and `plan` decides
//! when the next one is due. The names are proved in a handshake on the port of HTTPS (`tls-alpn-01`,
//! RFC 8737), for which no other port must be open; where plain HTTP is answered too, the tries take
//! turns between that and `http-01`.

mod folder;
mod plan;
mod protocol;

use super::{Certificate, Certificates};
use crate::domain::secret::Secret;
use crate::http::{Agent, AgentSettings, Endpoint};
use folder::Folder;
pub use plan::Plan;
use protocol::{Account, Client};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Longest time for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Questions whether a name was looked at, or a certificate made, before a try is given up.
const POLLS_MAX: u32 = 20;

/// Between two of them, unless the authority asks for more.
const POLL_EVERY: Duration = Duration::from_secs(2);

/// The longest of such pauses that is granted.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Names in one certificate: as many as Let's Encrypt signs are too many to prove in a handshake.
pub const NAMES_MAX: usize = 20;

/// From whom, for what and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the authority says what it offers.
    pub directory: Endpoint,
    /// What to trust when it is called, in place of the public authorities.
    pub ca_pem: Option<Vec<u8>>,
    /// Where it may write to.
    pub email: Option<String>,
    /// For which hosts; at least one, [`NAMES_MAX`] at most.
    pub names: Vec<String>,
    /// Where account, key and certificate are kept.
    pub folder: PathBuf,
    /// Name and key of an account that the authority knows from elsewhere (section 7.3.4); the key
    /// is the bytes that are meant.
    pub binding: Option<(String, Secret)>,
    /// Whether plain HTTP is answered at port 80.
    pub answers_http: bool,
}

/// How a name is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Handshake,
    Http,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Handshake => "tls-alpn-01",
            Way::Http => "http-01",
        }
    }
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, and the one thing to do.
    pub sentence: String,
    /// Not before this time, as the authority wishes.
    pub retry_after: Option<Duration>,
    /// Whether the authority counts it as a try.
    pub counts: bool,
}

impl Failure {
    fn new(sentence: impl Into<String>) -> Failure {
        Failure {
            sentence: sentence.into(),
            retry_after: None,
            counts: true,
        }
    }
}

/// Waits so long, and says whether to go on.
pub(super) type Pause<'p> = dyn Fn(Duration) -> bool + 'p;

/// An authority and what we have with it.
pub(super) struct Authority {
    settings: Settings,
    agent: Agent,
    folder: Folder,
}

impl Authority {
    /// Makes the folder if it is not there. Fails in a sentence.
    pub(super) fn new(settings: Settings) -> Result<Authority, String> {
        let agent = Agent::new(AgentSettings {
            timeout: CALL_TIMEOUT,
            connections: 1,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("the file in tls.acme_ca_file {words}"))?;
        let folder = Folder::open(&settings.folder, &settings.directory)?;
        Ok(Authority {
            settings,
            agent,
            folder,
        })
    }

    /// The certificate that is kept, if it is for any name that is wanted: a name more must not take
    /// HTTPS from the others while it is asked for.
    pub(super) fn kept(&self) -> Option<Certificate> {
        let kept = self.folder.certificate()?;
        let names = &self.settings.names;
        names.iter().any(|name| kept.is_for(name)).then_some(kept)
    }

    /// Whether a certificate is for every name that is wanted.
    pub(super) fn is_for_all_names(&self, certificate: &Certificate) -> bool {
        let names = &self.settings.names;
        names.iter().all(|name| certificate.is_for(name))
    }

    /// The host of the authority, for people.
    pub(super) fn host(&self) -> String {
        self.settings.directory.host()
    }

    /// Moments of tries within the last hour, in seconds since 1970.
    pub(super) fn tries(&self, now_s: u64) -> Vec<u64> {
        self.folder.tries(now_s)
    }

    /// Asks for a certificate, proves the names, and keeps what comes. `failures` are the tries in a
    /// row before this one.
    pub(super) fn obtain(
        &self,
        certificates: &Certificates,
        failures: u32,
        now_s: u64,
        pause: &Pause<'_>,
    ) -> Result<Certificate, Failure> {
        let proofs = Proofs(certificates);
        let obtained = self.converse(&proofs, failures, now_s, pause);
        drop(proofs);
        let (chain, key) = obtained?;
        let certificate = Certificate::parse(chain.as_bytes(), key.as_bytes())
            .map_err(|words| Failure::new(format!("the certificate that came {words}")))?;
        let missing = self
            .settings
            .names
            .iter()
            .find(|name| !certificate.is_for(name));
        if let Some(name) = missing {
            return Err(Failure::new(format!(
                "the certificate that came is not for {name}"
            )));
        }
        // One file, so that there is no moment at which key and certificate do not belong together.
        let both = zeroize::Zeroizing::new(format!("{}{chain}", key.as_str()));
        if let Err(sentence) = self.folder.keep_certificate(&both) {
            tracing::error!(
                "{sentence}; the new certificate is served, and the next start asks for another one"
            );
        }
        Ok(certificate)
    }

    /// The chain and its key, in PEM.
    fn converse(
        &self,
        proofs: &Proofs<'_>,
        failures: u32,
        now_s: u64,
        pause: &Pause<'_>,
    ) -> Result<(String, zeroize::Zeroizing<String>), Failure> {
        let account_key = self.folder.account_key().map_err(Failure::new)?;
        let mut client = Client::new(&self.agent, &self.settings.directory, account_key)?;
        let account = Account {
            email: self.settings.email.as_deref(),
            binding: self.settings.binding.as_ref(),
        };
        client.sign_up(&account)?;
        // From here on the authority counts.
        self.folder.note_try(now_s).map_err(Failure::new)?;
        let names = &self.settings.names;
        let order = client.order(names)?;
        let way = match (self.settings.answers_http, failures % 2) {
            (true, 1) => Way::Http,
            _ => Way::Handshake,
        };
        for authorization in &order.authorizations {
            client.prove(authorization, way, proofs, pause)?;
        }
        let key = KeyPair::generate().map_err(|_| Failure::new("no key could be made"))?;
        let request = request(names, &key)
            .ok_or_else(|| Failure::new("a name cannot stand in a certificate; look at server.public_url and tls.acme_names"))?;
        let chain = client.finish(&order, &request, pause)?;
        let key = zeroize::Zeroizing::new(folder::pem("PRIVATE KEY", &key.serialize_der()));
        Ok((chain, key))
    }
}

/// A certificate signing request in DER.
fn request(names: &[String], key: &KeyPair) -> Option<Vec<u8>> {
    let mut params = CertificateParams::new(names).ok()?;
    // The names are all that it is about.
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(key).ok()?;
    Some(request.der().to_vec())
}

/// What an authority finds when it looks whether names are ours; gone when this is.
struct Proofs<'c>(&'c Certificates);

impl Proofs<'_> {
    /// A certificate that holds the digest of the answer (RFC 8737, section 3).
    fn show_in_handshake(&self, name: &str, answer: &str) -> Option<()> {
        let key = KeyPair::generate().ok()?;
        let mut params = CertificateParams::new([name.to_owned()]).ok()?;
        let digest = Sha256::digest(answer.as_bytes());
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
        let certificate = params.self_signed(&key).ok()?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        // Not `from_der`, which refuses an extension that it must know and does not: this one.
        let key = default_provider().key_provider.load_private_key(key).ok()?;
        let certified = CertifiedKey::new(chain, key);
        self.0
            .challenges()
            .by_name
            .insert(name.to_ascii_lowercase(), Arc::new(certified));
        Some(())
    }

    fn show_by_http(&self, token: &str, answer: &str) {
        let mut challenges = self.0.challenges();
        challenges
            .by_token
            .insert(token.to_owned(), answer.to_owned());
    }
}

impl Drop for Proofs<'_> {
    fn drop(&mut self) {
        *self.0.challenges() = super::Challenges::default();
    }
}

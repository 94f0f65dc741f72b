//! HTTPS of Portero's own: which certificate is served, and how it is kept fresh while connections
//! go on.
//!
//! [`Certificates`] is what a handshake asks; it is changed in one step, so a connection has the
//! certificate of the moment at which it began and keeps it. [`Tls`] owns the thread that looks
//! after the certificate, from [`files`] that somebody else renews, or from an authority that is
//! asked for it. Nothing that goes wrong there takes away what is served: an old certificate is
//! better than none.

mod certificate;
pub mod files;

pub use certificate::{Certificate, Trust};
pub use files::Files;

use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What clients may speak below HTTP/1.1; older versions are broken (RFC 8996).
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The protocol that is spoken (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// How the files of a certificate are looked at for a change. What has changed is read once it has
/// been the same for two looks, because key and certificate are replaced one after the other.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where the certificate is from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Somebody else renews it.
    Files(Files),
}

/// What is known about the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Last second at which the one that is served counts, since 1970; nothing while there is none.
    pub not_after_s: Option<u64>,
    /// Tries in a row that gave no new certificate.
    pub failures_in_a_row: u32,
    /// Why the last one did not.
    pub trouble: Option<String>,
}

/// The certificates that handshakes ask for.
#[derive(Default)]
pub struct Certificates {
    served: RwLock<Option<Certificate>>,
    health: Mutex<Health>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({:?})", self.served())
    }
}

impl Certificates {
    /// The one that is served.
    pub fn served(&self) -> Option<Certificate> {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served.clone()
    }

    fn serve(&self, certificate: Certificate) {
        *self.health() = Health {
            not_after_s: Some(certificate.not_after_s()),
            ..Health::default()
        };
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    fn note_failure(&self, trouble: &str) {
        let mut health = self.health();
        health.failures_in_a_row = health.failures_in_a_row.saturating_add(1);
        health.trouble = Some(trouble.to_owned());
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whatever name is asked for: a client that asks for none, or by address, shows the
        // certificate's names in its own words. What is served under a name, the listener decides.
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        served
            .as_ref()
            .map(|certificate| Arc::clone(certificate.certified()))
    }
}

/// The certificate of a running server, and who looks after it.
pub struct Tls {
    certificates: Arc<Certificates>,
    server_config: Arc<ServerConfig>,
    keeper: Arc<Keeper>,
    thread: Option<JoinHandle<()>>,
}

impl Tls {
    /// Reads what is there to be served. Fails in a sentence when that cannot be used.
    pub fn open(source: Source) -> Result<Tls, String> {
        let certificates = Arc::new(Certificates::default());
        let seen = match &source {
            Source::Files(files) => {
                let seen = files.stamp();
                certificates.serve(files.read()?);
                seen
            }
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(VERSIONS)
            .map_err(|error| format!("TLS cannot be used: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Tls {
            keeper: Arc::new(Keeper {
                source,
                certificates: Arc::clone(&certificates),
                wishes: Mutex::default(),
                wished: Condvar::new(),
                seen: Mutex::new(Seen {
                    read: seen,
                    last: seen,
                }),
            }),
            certificates,
            server_config: Arc::new(config),
            thread: None,
        })
    }

    /// For the listener.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// Looks after the certificate from now on: a listener answers with it.
    pub fn start(&mut self) -> std::io::Result<()> {
        let keeper = Arc::clone(&self.keeper);
        let thread = std::thread::Builder::new()
            .name("certificate".to_owned())
            .spawn(move || keeper.run())?;
        self.thread = Some(thread);
        Ok(())
    }

    /// What others may ask and tell.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.keeper))
    }

    /// Ends the looking after. What is served stays so until the listener ends.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.keeper.wish(|wishes| wishes.stop = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that looks after the certificate panicked");
        }
    }

    /// The certificates.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.halt();
    }
}

/// A way to ask after the certificate, and to have it looked at at once.
#[derive(Clone)]
pub struct Watch(Arc<Keeper>);

impl Watch {
    /// How it stands.
    pub fn health(&self) -> Health {
        self.0.certificates.health().clone()
    }

    /// Has files read again now, changed or not. With an authority there is nothing to read.
    pub fn read_again(&self) {
        self.0.wish(|wishes| wishes.read = true);
    }
}

/// What the thread is to do.
#[derive(Default)]
struct Wishes {
    stop: bool,
    read: bool,
}

/// What files looked like.
#[derive(Clone, Copy)]
struct Seen {
    /// When they were read.
    read: Option<files::Stamp>,
    /// At the last look.
    last: Option<files::Stamp>,
}

struct Keeper {
    source: Source,
    certificates: Arc<Certificates>,
    wishes: Mutex<Wishes>,
    wished: Condvar,
    seen: Mutex<Seen>,
}

impl Keeper {
    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.wished.notify_all();
    }

    /// Waits for a wish, or so long. `None` when the end is wished.
    fn rest(&self, at_most: Duration) -> Option<Wishes> {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |wishes: &mut Wishes| !wishes.stop && !wishes.read;
        let waited = self.wished.wait_timeout_while(wishes, at_most, nothing);
        let mut wishes = waited.unwrap_or_else(PoisonError::into_inner).0;
        (!wishes.stop).then(|| std::mem::take(&mut *wishes))
    }

    fn run(&self) {
        match &self.source {
            Source::Files(files) => {
                while let Some(wishes) = self.rest(LOOK_EVERY) {
                    self.look_at(files, wishes.read);
                }
            }
        }
    }

    fn look_at(&self, files: &Files, at_once: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = files.stamp();
        let settled = now == seen.last;
        seen.last = now;
        if !(at_once || settled && now != seen.read) {
            return;
        }
        seen.read = now;
        drop(seen);
        match files.read() {
            Ok(certificate) => {
                let until = day(certificate.not_after_s());
                self.certificates.serve(certificate);
                tracing::info!("the certificate was read again; it ends on {until}");
            }
            Err(sentence) => {
                self.certificates.note_failure(&sentence);
                tracing::error!("{sentence}; the certificate before it is still served");
            }
        }
    }
}

/// Seconds since 1970, now.
pub fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// A day in words, in UTC, of seconds since 1970.
pub fn day(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(|| "an unknown day".to_owned(), |at| at.date().to_string())
}

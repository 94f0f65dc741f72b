//! HTTPS of Portero's own: which certificate is served, and how it is kept fresh while connections
//! go on.
//!
//! [`Certificates`] is what a handshake asks; it is changed in one step, so a connection has the
//! certificate of the moment at which it began and keeps it. [`Tls`] owns the thread that looks
//! after the certificate, from [`files`] that somebody else renews, or from an authority that is
//! asked for it. Nothing that goes wrong there takes away what is served: an old certificate is
//! better than none.

pub mod acme;
mod certificate;
pub mod files;

use acme::Plan;
pub use certificate::{Certificate, Trust};
pub use files::Files;

use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What clients may speak below HTTP/1.1; older versions are broken (RFC 8996).
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The protocol that is spoken (RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// What an authority speaks that looks whether a name is ours (RFC 8737).
const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// How the files of a certificate are looked at for a change. What has changed is read once it has
/// been the same for two looks, because key and certificate are replaced one after the other.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The longest sleep until a moment: the clock of the machine may be set.
const CLOCK_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);

/// Until the looking after goes on when it met a fault of its own, and until files that could not be
/// used are tried again.
const AGAIN_AFTER_A_FAULT: Duration = Duration::from_secs(600);

/// Pause after every fault, so that one which comes again at once keeps nobody busy.
const AFTER_A_FAULT: Duration = Duration::from_millis(100);

/// How long the end of the thread is waited for.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// Where the certificate is from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Somebody else renews it.
    Files(Files),
    /// An authority is asked for it.
    Acme(Box<acme::Settings>),
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
    /// When the next one is asked for, in seconds since 1970, if an authority is asked.
    pub next_try_s: Option<u64>,
}

/// The certificates that handshakes ask for.
#[derive(Default)]
pub struct Certificates {
    served: RwLock<Option<Certificate>>,
    challenges: Mutex<Challenges>,
    health: Mutex<Health>,
}

/// What an authority is shown while it looks.
#[derive(Default)]
struct Challenges {
    /// In a handshake, by lower-case name.
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// By plain HTTP.
    by_token: HashMap<String, String>,
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

    /// What is found under a token, while an authority looks for it.
    pub fn answer_to(&self, token: &str) -> Option<String> {
        self.challenges().by_token.get(token).cloned()
    }

    fn challenges(&self) -> MutexGuard<'_, Challenges> {
        self.challenges
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let looks = hello
            .alpn()
            .is_some_and(|mut spoken| spoken.next() == Some(ACME_TLS_1) && spoken.next().is_none());
        if looks {
            let name = hello.server_name()?.to_ascii_lowercase();
            return self.challenges().by_name.get(&name).cloned();
        }
        // Whatever name is asked for: a client that asks for none, or by address, shows the
        // certificate's names in its own words. What is served under a name, the listener decides.
        // While there is none the handshake fails: one that nobody vouches for would teach people to
        // look away.
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
    started: bool,
}

impl Tls {
    /// Reads what is there to be served. Fails in a sentence when files cannot be used; from an
    /// authority there may be nothing yet.
    pub fn open(source: Source) -> Result<Tls, String> {
        let certificates = Arc::new(Certificates::default());
        let mut spoken = vec![HTTP_1_1.to_vec()];
        let kept = match source {
            Source::Files(files) => {
                let seen = files.stamp();
                certificates.serve(files.read()?);
                Kept::InFiles(
                    files,
                    Mutex::new(Seen {
                        read: seen,
                        last: seen,
                        again_at: None,
                    }),
                )
            }
            Source::Acme(settings) => {
                spoken.push(ACME_TLS_1.to_vec());
                let authority = acme::Authority::new(*settings)?;
                if let Some(certificate) = authority.kept() {
                    certificates.serve(certificate);
                }
                Kept::ByAuthority(authority)
            }
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(VERSIONS)
            .map_err(|error| format!("TLS cannot be used: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = spoken;
        Ok(Tls {
            keeper: Arc::new(Keeper {
                kept,
                certificates: Arc::clone(&certificates),
                wishes: Mutex::default(),
                wished: Condvar::new(),
            }),
            certificates,
            server_config: Arc::new(config),
            started: false,
        })
    }

    /// For the listener.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// For the listener of plain HTTP.
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Looks after the certificate from now on: a listener answers with it.
    pub fn start(&mut self) -> std::io::Result<()> {
        let keeper = Arc::clone(&self.keeper);
        std::thread::Builder::new()
            .name("certificate".to_owned())
            .spawn(move || {
                let end = End(&keeper);
                // A certificate must not end because of a fault, wherever it happened. What is
                // remembered is whole at every moment.
                let mut looks = true;
                loop {
                    let turn = catch_unwind(AssertUnwindSafe(|| match looks {
                        true => {
                            end.0.run();
                            false
                        }
                        false => end.0.rest_after_a_fault(),
                    }));
                    match turn {
                        Ok(true) => looks = true,
                        Ok(false) => return,
                        Err(_) => {
                            looks = false;
                            tracing::error!(
                                "looking after the certificate failed unexpectedly; it goes on"
                            );
                            std::thread::sleep(AFTER_A_FAULT);
                        }
                    }
                }
            })?;
        self.started = true;
        Ok(())
    }

    /// What others may ask and tell.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.keeper))
    }

    /// Ends the looking after; a call to an authority that hangs is left to itself. What is served
    /// stays so until the listener ends.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.keeper.wish(|wishes| wishes.stop = true);
        if std::mem::take(&mut self.started) {
            self.keeper.wait_for_the_end();
        }
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

/// What became of the wish for another certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// One is asked for, or files are read again, from now on.
    Begun,
    /// The authority was asked too often within an hour; it can be asked again at this moment, in
    /// seconds since 1970.
    NotBefore(u64),
}

impl Watch {
    /// How it stands.
    pub fn health(&self) -> Health {
        self.0.certificates.health().clone()
    }

    /// Has files read again now, changed or not. With an authority there is nothing to read.
    pub fn read_again(&self) {
        if matches!(self.0.kept, Kept::InFiles(..)) {
            self.0.wish(|wishes| wishes.now = true);
        }
    }

    /// Has a new certificate asked for now, however long the present one counts.
    pub fn renew(&self) -> Renewal {
        if let Kept::ByAuthority(authority) = &self.0.kept {
            let now_s = now_s();
            let free_at = Plan::free_at(&authority.tries(now_s));
            if free_at > now_s {
                return Renewal::NotBefore(free_at);
            }
        }
        self.0.wish(|wishes| wishes.now = true);
        Renewal::Begun
    }

    /// Whether an authority is asked for it.
    pub fn is_by_authority(&self) -> bool {
        matches!(self.0.kept, Kept::ByAuthority(_))
    }
}

/// What the thread is to do.
#[derive(Default)]
struct Wishes {
    stop: bool,
    /// Without waiting for a change, or for the time.
    now: bool,
    /// Said by the thread itself.
    ended: bool,
}

/// Says that the thread has ended, however that came.
struct End<'k>(&'k Keeper);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.wish(|wishes| wishes.ended = true);
    }
}

/// What files looked like.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// When they were read.
    read: Option<files::Stamp>,
    /// At the last look.
    last: Option<files::Stamp>,
    /// When they are read again although nothing has changed, after they could not be: the fault may
    /// have been of the moment, such as too many open files.
    again_at: Option<Instant>,
}

/// Who renews it.
enum Kept {
    InFiles(Files, Mutex<Seen>),
    ByAuthority(acme::Authority),
}

struct Keeper {
    kept: Kept,
    certificates: Arc<Certificates>,
    wishes: Mutex<Wishes>,
    wished: Condvar,
}

impl Keeper {
    fn wish(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.wishes.lock().unwrap_or_else(PoisonError::into_inner));
        self.wished.notify_all();
    }

    /// Waits for a wish, or so long. Says whether something is wished at once; `None` when the end
    /// is.
    fn rest(&self, at_most: Duration) -> Option<bool> {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |wishes: &mut Wishes| !wishes.stop && !wishes.now;
        let waited = self.wished.wait_timeout_while(wishes, at_most, nothing);
        let mut wishes = waited.unwrap_or_else(PoisonError::into_inner).0;
        (!wishes.stop).then(|| std::mem::take(&mut wishes.now))
    }

    /// Waits until it may go on after a fault, or something is wished; says whether that is not the
    /// end.
    fn rest_after_a_fault(&self) -> bool {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = |wishes: &mut Wishes| !wishes.stop && !wishes.now;
        let waited = (self.wished).wait_timeout_while(wishes, AGAIN_AFTER_A_FAULT, nothing);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Waits so long unless the end is wished; says whether it is not.
    fn pause(&self, time: Duration) -> bool {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let going_on = |wishes: &mut Wishes| !wishes.stop;
        let waited = self.wished.wait_timeout_while(wishes, time, going_on);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stop
    }

    /// Waits for the end of the thread, but not for ever.
    fn wait_for_the_end(&self) {
        let wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let going_on = |wishes: &mut Wishes| !wishes.ended;
        // What came of it changes nothing.
        let _ = self
            .wished
            .wait_timeout_while(wishes, STOP_WITHIN, going_on);
    }

    fn run(&self) {
        match &self.kept {
            Kept::InFiles(files, seen) => {
                while let Some(at_once) = self.rest(LOOK_EVERY) {
                    self.look_at(files, seen, at_once, Instant::now());
                }
            }
            Kept::ByAuthority(authority) => self.renew(authority),
        }
    }

    fn look_at(&self, files: &Files, seen: &Mutex<Seen>, at_once: bool, moment: Instant) {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = files.stamp();
        let settled = now == seen.last;
        seen.last = now;
        let is_due = seen.again_at.is_some_and(|again_at| moment >= again_at);
        if !(at_once || settled && (now != seen.read || is_due)) {
            return;
        }
        seen.read = now;
        let read = files.read();
        seen.again_at = read.is_err().then(|| moment + AGAIN_AFTER_A_FAULT);
        drop(seen);
        match read {
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

    /// Asks an authority whenever it is time.
    fn renew(&self, authority: &acme::Authority) {
        let mut plan = Plan::default();
        let mut due_s = self.renewal_at(authority);
        let mut at_once = false;
        let now = now_s();
        let free_at = Plan::free_at(&authority.tries(now));
        if free_at > now.max(due_s) {
            let minutes = (free_at - now).div_ceil(60);
            tracing::warn!(
                "a certificate is wanted, but {} was asked as often within an hour as it may be; next try in {minutes} min",
                authority.host()
            );
        }
        loop {
            let now = now_s();
            let free_at = Plan::free_at(&authority.tries(now));
            let planned = due_s.max(plan.not_before_s);
            let next = if at_once {
                free_at
            } else {
                planned.max(free_at)
            };
            self.certificates.health().next_try_s = Some(next);
            if next > now {
                // The clock of the machine may be put right meanwhile.
                let left = Duration::from_secs(next - now).min(CLOCK_LOOKED_AT_EVERY);
                match self.rest(left) {
                    None => return,
                    Some(wished) => at_once |= wished,
                }
                continue;
            }
            at_once = false;
            tracing::info!("a certificate is asked for at {}", authority.host());
            let pause = |time| self.pause(time);
            match authority.obtain(&self.certificates, plan.failures, now, &pause) {
                Ok(certificate) => {
                    let until = day(certificate.not_after_s());
                    self.certificates.serve(certificate);
                    plan = Plan::default();
                    due_s = self.renewal_at(authority);
                    tracing::info!("there is a new certificate; it ends on {until}");
                }
                Err(failure) => {
                    if !self.pause(Duration::ZERO) {
                        return;
                    }
                    plan = plan.after_failure(now_s(), failure.counts, failure.retry_after);
                    self.certificates.note_failure(&failure.sentence);
                    let minutes = plan.not_before_s.saturating_sub(now_s()).div_ceil(60);
                    let meanwhile = match self.certificates.served() {
                        Some(_) => "the certificate before it is still served",
                        None => {
                            "without one HTTPS is not answered; Meta repeats its calls for days"
                        }
                    };
                    tracing::error!(
                        "there is no new certificate: {}; {meanwhile}; next try in {minutes} min",
                        failure.sentence
                    );
                }
            }
        }
    }

    /// When the certificate that is served should be replaced: at once if there is none, or none for
    /// every name.
    fn renewal_at(&self, authority: &acme::Authority) -> u64 {
        let served = self.certificates.served();
        let complete = served.filter(|served| authority.is_for_all_names(served));
        complete.map_or(0, |certificate| {
            // Without randomness everybody may come at once, which is no reason not to come.
            let fresh = getrandom::u32().unwrap_or(0);
            Plan::renewal_at(certificate.not_before_s(), certificate.not_after_s(), fresh)
        })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn files_that_could_not_be_read_are_tried_again_although_they_are_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            certificate: folder.path().join("certificate.pem"),
            key: folder.path().join("key.pem"),
        };
        for file in [&files.certificate, &files.key] {
            std::fs::write(file, "nothing of use").unwrap();
        }
        let keeper = Keeper {
            kept: Kept::InFiles(files.clone(), Mutex::new(Seen::default())),
            certificates: Arc::default(),
            wishes: Mutex::default(),
            wished: Condvar::new(),
        };
        let Kept::InFiles(_, seen) = &keeper.kept else {
            unreachable!()
        };
        let begin = Instant::now();
        let failures_after = |seconds: u64| {
            keeper.look_at(&files, seen, false, begin + Duration::from_secs(seconds));
            keeper.certificates.health().failures_in_a_row
        };
        // First seen, then read once they are the same for two looks, and left alone for a while.
        assert_eq!([0, 5, 10, 500].map(failures_after), [0, 1, 1, 1]);
        assert_eq!([606, 611, 1_207].map(failures_after), [2, 2, 3]);
    }
}

//! The company's services: who has this address, and a token for a user.
//!
//! Two calls per service (design, section 5.2), JSON over HTTPS, signed by us per
//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
//! What comes back is checked, not believed, and *no answer* is never *no user* (R-40, R-42): only
//! a 200 with an empty list, or a 404 that a service and not a lost path has sent, says that
//! nobody has this address.

mod answer;
mod breaker;

use crate::domain::account::{Account, Answer, Unavailable};
use crate::domain::delivery::{Failure, FailureKind};
use crate::domain::id::{ContactId, EmailAddress, Secret, ServiceName, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use breaker::Breaker;
use hmac::{Hmac, KeyInit, Mac};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ureq::http::{HeaderMap, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use zeroize::Zeroizing;

pub use answer::{EXPIRES_IN_SECONDS_MAX, TOKEN_BYTES_MAX, USERS_MAX};
pub use breaker::{FAILURES_MAX, Health, REST_MS};

/// Most services: each is asked on a thread of its own for every address typed.
pub const SERVICES_MAX: usize = 16;

/// Longest answer read (S-82).
pub const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Longest time that a service may be given for one call (R-41: longer, and the person has left).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Longest pause that a service can ask for with `Retry-After`.
pub const RETRY_AFTER_SECONDS_MAX: u64 = 60 * 60;

/// A connection unused for longer is not tried again: Node closes after 5 seconds, and a request
/// that meets the closing is lost.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// Shortest and longest signing secret, in bytes (Standard Webhooks, "Signature scheme").
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// One service, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in configuration, bindings and log.
    pub name: ServiceName,
    /// What people call it.
    pub title: String,
    /// `POST {"email"}`; `https`, or `http` to loopback.
    pub find_user_url: String,
    /// `POST {"userId","companyId","userUuid"}`; `https`, or `http` to loopback.
    pub issue_token_url: String,
    /// Signing secret per Standard Webhooks, `whsec_` and base64.
    pub secret: Secret,
    /// An additional `Authorization: Bearer`, when the service wants one.
    pub bearer: Option<Secret>,
    /// Longest time for one call, connection included.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
}

/// A token that a service issued for one of its users.
#[derive(Clone, Debug)]
pub struct Token {
    /// Visible ASCII, at most [`TOKEN_BYTES_MAX`].
    pub token: Secret,
    /// For example `Bearer`.
    pub token_type: String,
    /// From the moment of the answer; 1 to [`EXPIRES_IN_SECONDS_MAX`].
    pub expires_in_seconds: u64,
}

/// All configured services. Shared by the threads that ask.
#[derive(Debug)]
pub struct Services {
    services: Vec<Service>,
}

struct Service {
    settings: Settings,
    agent: ureq::Agent,
    key: Zeroizing<Vec<u8>>,
    breaker: Mutex<Breaker>,
}

/// Why there is no usable answer; the words carry nothing personal.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The service as such does not work: counted by the breaker.
    Service(Failure),
    /// It works, and what it said about this user cannot be used. Not counted, or whoever types an
    /// address with a spoilt record could switch the service off for everybody.
    Data(Failure),
    /// The breaker is open; nothing was sent.
    Resting(Failure),
}

impl Trouble {
    fn service(reason: impl Into<String>) -> Trouble {
        Trouble::Service(Failure::temporary(reason))
    }

    fn data(reason: impl Into<String>) -> Trouble {
        Trouble::Data(Failure::temporary(reason))
    }

    fn failure(self) -> Failure {
        match self {
            Trouble::Service(failure) | Trouble::Data(failure) | Trouble::Resting(failure) => {
                failure
            }
        }
    }
}

/// What came back, before it is understood.
struct Response {
    status: u16,
    json: bool,
    retry_after_ms: Option<u64>,
    body: Vec<u8>,
}

impl Services {
    /// Checks the settings; connects to nothing. `Err` is a sentence for the operator.
    pub fn new(settings: Vec<Settings>) -> Result<Services, String> {
        if settings.len() > SERVICES_MAX {
            return Err(format!("at most {SERVICES_MAX} services can be asked"));
        }
        let mut services: Vec<Service> = Vec::with_capacity(settings.len());
        for settings in settings {
            let name = settings.name.clone();
            if services.iter().any(|known| known.settings.name == name) {
                return Err(format!("two services are called {:?}", name.as_str()));
            }
            let service = Service::new(settings)
                .map_err(|sentence| format!("service {:?}: {sentence}", name.as_str()))?;
            services.push(service);
        }
        Ok(Services { services })
    }

    /// Asks every service at the same time who has this address; one [`Answer`] each, in the order
    /// of the configuration, at the latest after the longest time-out.
    ///
    /// `id` names the question, for example by its outbox entry: a repeat with the same `id`
    /// carries the same `webhook-id`, which differs from service to service.
    pub fn find_user(&self, email: &EmailAddress, now: Timestamp, id: &str) -> Vec<Answer> {
        let ask = |service: &Service| Answer {
            service: service.settings.name.clone(),
            users: service
                .find_user(email, now, id)
                .map_err(|trouble| Unavailable {
                    reason: with_advice(trouble.failure()),
                }),
        };
        if let [only] = self.services.as_slice() {
            return vec![ask(only)];
        }
        let nobody_answered = |service: &Service| Answer {
            service: service.settings.name.clone(),
            users: Err(Unavailable {
                reason: "the question could not be asked".to_owned(),
            }),
        };
        // As many threads as services, so at most SERVICES_MAX.
        std::thread::scope(|scope| {
            let asked: Vec<_> = self
                .services
                .iter()
                .map(|service| {
                    let thread = std::thread::Builder::new()
                        .name(format!("ask {}", service.settings.name.as_str()))
                        .spawn_scoped(scope, move || ask(service));
                    (service, thread)
                })
                .collect();
            asked
                .into_iter()
                .map(|(service, thread)| {
                    thread
                        .ok()
                        .and_then(|thread| thread.join().ok())
                        .unwrap_or_else(|| nobody_answered(service))
                })
                .collect()
        })
    }

    /// A token for a user of one service, as whom `contact` has proved to be.
    ///
    /// [`FailureKind::Permanent`] says that the service knows no such user (404, 410);
    /// [`FailureKind::Configuration`] that it does not know us; everything else may pass.
    pub fn issue_token(
        &self,
        service: &ServiceName,
        user_id: &str,
        company_id: &str,
        contact: ContactId,
        now: Timestamp,
        id: &str,
    ) -> Result<Token, Failure> {
        let service = self
            .services
            .iter()
            .find(|known| known.settings.name == *service)
            .ok_or_else(|| Failure {
                kind: FailureKind::Permanent,
                reason: "this service is not configured any more".to_owned(),
                advice: None,
            })?;
        service
            .issue_token(user_id, company_id, contact, now, id)
            .map_err(Trouble::failure)
    }

    /// How each service is doing, in the order of the configuration: name, title, health.
    pub fn health(&self) -> Vec<(ServiceName, String, Health)> {
        self.services
            .iter()
            .map(|service| {
                (
                    service.settings.name.clone(),
                    service.settings.title.clone(),
                    service.breaker().health(),
                )
            })
            .collect()
    }
}

impl Service {
    fn new(settings: Settings) -> Result<Service, String> {
        let secret = settings.secret.reveal();
        let key = secret
            .strip_prefix("whsec_")
            .and_then(|encoded| STANDARD.decode(encoded).ok())
            .map(Zeroizing::new)
            .ok_or("the signing secret is written as whsec_ and base64")?;
        if !SECRET_BYTES.contains(&key.len()) {
            return Err(format!(
                "the signing secret is {} to {} bytes before base64",
                SECRET_BYTES.start(),
                SECRET_BYTES.end()
            ));
        }
        let https = check_url(&settings.find_user_url)? & check_url(&settings.issue_token_url)?;
        if settings.timeout.is_zero() || settings.timeout > TIMEOUT_MAX {
            return Err(format!(
                "the time-out is more than 0 and at most {} seconds",
                TIMEOUT_MAX.as_secs()
            ));
        }
        if let Some(bearer) = &settings.bearer
            && (bearer.reveal().is_empty()
                || !bearer.reveal().bytes().all(|b| b.is_ascii_graphic()))
        {
            return Err("the bearer is one word of visible ASCII".to_owned());
        }
        let roots = match &settings.ca_pem {
            None => RootCerts::WebPki,
            Some(pem) => RootCerts::from(certificates(pem)?),
        };
        // ureq's defaults are ten redirects, any scheme, no time-outs and the proxy of the
        // environment; none of them may decide where an address is sent (S-80, S-81).
        let agent = ureq::Agent::config_builder()
            .https_only(https)
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .timeout_connect(Some(settings.timeout))
            .timeout_global(Some(settings.timeout))
            .max_idle_age(IDLE_TIME_MAX)
            .user_agent(concat!("portero/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .tls_config(
                TlsConfig::builder()
                    .provider(TlsProvider::Rustls)
                    .root_certs(roots)
                    .build(),
            )
            .build()
            .new_agent();
        Ok(Service {
            settings,
            agent,
            key,
            breaker: Mutex::default(),
        })
    }

    fn find_user(
        &self,
        email: &EmailAddress,
        now: Timestamp,
        id: &str,
    ) -> Result<Vec<Account>, Trouble> {
        let body = serde_json::json!({ "email": email.as_str() }).to_string();
        self.guarded(now, || {
            let answer = self.post(&self.settings.find_user_url, "find_user", id, now, &body)?;
            match answer.status {
                200 if answer.json => answer::users(&self.settings.name, email, &answer.body),
                404 => nobody(&answer).map(|()| Vec::new()),
                _ => Err(unusable(&answer)),
            }
        })
    }

    fn issue_token(
        &self,
        user_id: &str,
        company_id: &str,
        contact: ContactId,
        now: Timestamp,
        id: &str,
    ) -> Result<Token, Trouble> {
        let body = serde_json::json!({
            "userId": user_id,
            "companyId": company_id,
            "userUuid": contact.to_string(),
        })
        .to_string();
        self.guarded(now, || {
            let url = &self.settings.issue_token_url;
            let answer = self.post(url, "issue_token", id, now, &body)?;
            match answer.status {
                200 | 201 if answer.json => answer::token(&answer.body),
                404 | 410 => {
                    nobody(&answer)?;
                    Err(Trouble::Data(Failure {
                        kind: FailureKind::Permanent,
                        reason: format!("{}: the service knows no such user", answer.status),
                        advice: None,
                    }))
                }
                _ => Err(unusable(&answer)),
            }
        })
    }

    /// Lets the breaker decide whether to call, and tells it what became of the call.
    fn guarded<T>(
        &self,
        now: Timestamp,
        call: impl FnOnce() -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        if !self.breaker().admits(now) {
            return Err(Trouble::Resting(Failure::temporary(
                "left alone for a moment after repeated failures",
            )));
        }
        let outcome = call();
        match &outcome {
            Ok(_) | Err(Trouble::Data(_)) => self.breaker().answered(now),
            Err(Trouble::Service(failure)) => self.breaker().failed(now, &failure.reason),
            Err(Trouble::Resting(_)) => {}
        }
        outcome
    }

    fn post(
        &self,
        url: &str,
        call: &str,
        id: &str,
        now: Timestamp,
        body: &str,
    ) -> Result<Response, Trouble> {
        let id = webhook_id(&self.settings.name, call, id);
        let timestamp = now.seconds().to_string();
        let mut request = self
            .agent
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                "webhook-signature",
                signature(&self.key, &id, &timestamp, body),
            )
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(bearer) = &self.settings.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", bearer.reveal()));
        }
        let mut response = request.send(body).map_err(|error| self.trouble(&error))?;
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|error| self.trouble(&error))?;
        Ok(Response {
            status: response.status().as_u16(),
            json: is_json(response.headers()),
            retry_after_ms: retry_after_ms(response.headers()),
            body,
        })
    }

    fn trouble(&self, error: &ureq::Error) -> Trouble {
        const CHECK_CERTIFICATE: &str =
            "the URL must carry the name in the certificate; name a private CA in the service's ca";
        if let Some(tls) = rustls_error(error) {
            use rustls::CertificateError as Why;
            let reason = match tls {
                rustls::Error::InvalidCertificate(Why::Expired | Why::ExpiredContext { .. }) => {
                    "the certificate has expired"
                }
                rustls::Error::InvalidCertificate(
                    Why::NotValidForName | Why::NotValidForNameContext { .. },
                ) => "the certificate is for another name",
                rustls::Error::InvalidCertificate(Why::UnknownIssuer) => {
                    "the certificate is from an unknown issuer"
                }
                rustls::Error::InvalidCertificate(_) => "the certificate is not acceptable",
                _ => return Trouble::service("the TLS handshake failed"),
            };
            return Trouble::Service(Failure {
                kind: FailureKind::Configuration,
                reason: reason.to_owned(),
                advice: Some(CHECK_CERTIFICATE),
            });
        }
        Trouble::service(match error {
            ureq::Error::Timeout(_) => {
                format!("no answer within {:?}", self.settings.timeout)
            }
            ureq::Error::HostNotFound => "the host name was not found".to_owned(),
            ureq::Error::BodyExceedsLimit(_) => "an answer of more than 1 MiB".to_owned(),
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                "the connection was refused".to_owned()
            }
            ureq::Error::Io(_) | ureq::Error::ConnectionFailed => {
                "the connection failed".to_owned()
            }
            _ => "the answer was not HTTP as agreed".to_owned(),
        })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Each change of the breaker is one method call, so a panic elsewhere leaves it whole.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.settings.name.as_str())
    }
}

/// Whether a 404 was said by the service: it has no body or a JSON one. A web server that does not
/// know the path sends a page, and a wrong path must never look like an unknown user.
fn nobody(answer: &Response) -> Result<(), Trouble> {
    let said_nobody = answer.body.is_empty()
        || answer.json
            && serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok_and(|value| {
                // A list with somebody in it contradicts the status.
                value
                    .get("users")
                    .is_none_or(|users| users.as_array().is_some_and(Vec::is_empty))
            });
    if said_nobody {
        return Ok(());
    }
    Err(Trouble::Service(Failure {
        kind: FailureKind::Configuration,
        reason: format!("{} with something else than JSON", answer.status),
        advice: Some("check the path of the URL: this looks like a web server's own page"),
    }))
}

/// A status, or a type of content, that is not an answer.
fn unusable(answer: &Response) -> Trouble {
    let configuration = |reason: String, advice| {
        Trouble::Service(Failure {
            kind: FailureKind::Configuration,
            reason,
            advice: Some(advice),
        })
    };
    let status = answer.status;
    match status {
        200..=299 if !answer.json => {
            Trouble::service(format!("{status} without Content-Type: application/json"))
        }
        300..=399 => configuration(
            format!("{status}: a redirect, which is not followed"),
            "write the URL that it leads to",
        ),
        401 | 403 => configuration(
            format!("{status}: the service does not accept who we are"),
            "compare the signing secret and the bearer with what the service expects",
        ),
        // The service works and does not like this question.
        400 | 409 | 422 => Trouble::data(format!("{status}: the question was not understood")),
        405 => configuration(
            "405: POST is not accepted here".to_owned(),
            "check the path of the URL",
        ),
        429 | 503 => Trouble::Service(Failure {
            kind: FailureKind::Temporary {
                retry_after_ms: answer.retry_after_ms,
            },
            reason: format!("{status}: asks for a pause"),
            advice: None,
        }),
        _ => Trouble::service(format!("{status}")),
    }
}

fn with_advice(failure: Failure) -> String {
    match failure.advice {
        None => failure.reason,
        Some(advice) => format!("{} ({advice})", failure.reason),
    }
}

/// The `webhook-id` of one call to one service: the same for a repeat, another for everything
/// else, and without the full stop that would blur the signed content.
fn webhook_id(service: &ServiceName, call: &str, id: &str) -> String {
    let digest = Sha256::new()
        .chain_update(call)
        .chain_update([0])
        .chain_update(service.as_str())
        .chain_update([0])
        .chain_update(id)
        .finalize();
    let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("msg_{hex}")
}

/// `v1,` and the HMAC-SHA-256 of `id.timestamp.body` (Standard Webhooks, "Signature scheme").
fn signature(key: &[u8], id: &str, timestamp: &str, body: &str) -> String {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in [id, ".", timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Whether the URL is `https`; `Err` if it is neither that nor `http` to this machine.
fn check_url(text: &str) -> Result<bool, String> {
    let uri: Uri = text
        .parse()
        .map_err(|_| "a URL looks like https://api.example.com/portero/find-user".to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err("a URL begins with https:// and a host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("a URL carries no user and password; use bearer".to_owned());
    }
    match scheme {
        "https" => Ok(true),
        "http" if is_loopback(authority.host()) => Ok(false),
        _ => Err("a URL is https, or http to this machine".to_owned()),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        // RFC 6761, section 6.3: this name leads nowhere else.
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let der = certificate.map_err(|_| "the CA file is not valid PEM".to_owned())?;
        rustls::RootCertStore::empty()
            .add(der.clone())
            .map_err(|_| "the CA file holds a broken certificate".to_owned())?;
        found.push(Certificate::from_der(&der).to_owned());
    }
    if found.is_empty() {
        return Err("the CA file holds no certificate".to_owned());
    }
    Ok(found)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(value)) = headers
        .get(header::CONTENT_TYPE)
        .map(|value| value.to_str())
    else {
        return false;
    };
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
        || kind.to_ascii_lowercase().starts_with("application/")
            && kind.to_ascii_lowercase().ends_with("+json")
}

/// `Retry-After` in its form of seconds; the form of a date is rare and says less than a guess.
fn retry_after_ms(headers: &HeaderMap) -> Option<u64> {
    let seconds: u64 = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(seconds.min(RETRY_AFTER_SECONDS_MAX) * 1_000)
}

fn rustls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings() -> Settings {
        Settings {
            name: ServiceName::parse("kutamma").unwrap(),
            title: "Kutamma".to_owned(),
            find_user_url: "https://api.example.com/find".to_owned(),
            issue_token_url: "https://api.example.com/token".to_owned(),
            secret: Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            bearer: None,
            timeout: Duration::from_secs(10),
            ca_pem: None,
        }
    }

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // The example of the specification's reference libraries.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(
            signature(&key, id, "1614265330", "{\"test\": 2432232314}"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_repeat_has_the_same_id_and_nothing_else_has() {
        let name = |text| ServiceName::parse(text).unwrap();
        let id = webhook_id(&name("a"), "find_user", "entry-1");
        assert_eq!(id, webhook_id(&name("a"), "find_user", "entry-1"));
        for other in [
            webhook_id(&name("b"), "find_user", "entry-1"),
            webhook_id(&name("a"), "issue_token", "entry-1"),
            webhook_id(&name("a"), "find_user", "entry-2"),
        ] {
            assert_ne!(id, other);
        }
        assert!(id.len() == 36 && !id.contains('.'));
    }

    #[test]
    fn only_https_and_http_to_this_machine_are_called() {
        for url in [
            "https://api.example.com",
            "https://api.example.com:8443/a?b=c",
            "http://127.0.0.1:8080/find",
            "http://[::1]:8080/find",
            "http://localhost/find",
        ] {
            check_url(url).unwrap();
        }
        for url in [
            "http://api.example.com/find",
            "http://localhost.example.com/find",
            "http://127.0.0.1.example.com/find",
            "http://10.0.0.1/find",
            "http://0.0.0.0/find",
            "https://user:password@api.example.com/",
            "http://localhost@example.com/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "/find",
            "api.example.com/find",
            "",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_with_the_name_of_the_service() {
        let wrong: [fn(&mut Settings); 10] = [
            |s| s.secret = Secret::new("whsec_"),
            |s| s.secret = Secret::new("whsec_not base64!"),
            |s| s.secret = Secret::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            |s| s.secret = Secret::new("whsec_c2hvcnQ="),
            |s| s.find_user_url = "http://api.example.com/".to_owned(),
            |s| s.issue_token_url = "http://api.example.com/".to_owned(),
            |s| s.timeout = Duration::ZERO,
            |s| s.timeout = Duration::from_secs(3600),
            |s| s.bearer = Some(Secret::new("a\r\nb")),
            |s| s.ca_pem = Some(b"no PEM".to_vec()),
        ];
        for spoil in wrong {
            let mut settings = settings();
            spoil(&mut settings);
            let sentence = Services::new(vec![settings]).unwrap_err();
            assert!(sentence.starts_with("service \"kutamma\": "), "{sentence}");
            assert!(!sentence.contains("MfKQ") && !sentence.contains("c2hv"));
        }
        Services::new(vec![settings()]).unwrap();
        assert!(
            Services::new(vec![settings(), settings()]).is_err(),
            "same name"
        );
        assert!(Services::new(vec![settings(); SERVICES_MAX + 1]).is_err());
    }
}

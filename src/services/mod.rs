//! The company's services: who has this address, a token for a user, and whose password this is.
//!
//! Two calls per service and a third where there is one (design, section 5.2), JSON over HTTPS,
//! signed by us per
//! [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
//! What comes back is checked, not believed, and *no answer* is never *no user* (R-40, R-42): only
//! a 200 with an empty list, or a 404 that a service and not a lost path has sent, says that
//! nobody has this address.

//!
//! A service that has such calls already, in another shape, is met by configuration: `template`
//! says what is sent and `shape` where in the answer things are. The documented contract is the
//! shape that is used when nothing is said.

mod answer;
mod breaker;
mod dry_run;
mod shape;
mod template;

use crate::domain::account::{Account, Answer, Unavailable};
use crate::domain::binding::Scope;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::{ContactId, EmailAddress, ServiceName, hex};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::standard_webhooks::SigningSecret;
use crate::http::{self, Agent, AgentSettings, Broken, Endpoint, Method};
use answer::Asked;
use breaker::Breaker;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use zeroize::Zeroizing;

pub use answer::{EXPIRES_IN_SECONDS_MAX, TOKEN_BYTES_MAX, USERS_MAX};
pub use breaker::{FAILURES_MAX, Health, PAUSE_MS_MAX, REST_MS};
pub use dry_run::{Asking, DryRun, Exchange, Reading, Refusal, TokenReading, is_secret_name};
pub use shape::{
    CompanyPlace, EmailPlace, LifetimePlace, Place, Pointer, TokenCall, TokenShape, TokenTypePlace,
    UsersCall, UsersShape, token_type,
};
pub use template::{
    BodyTemplate, Call, Custody, Encoding, Misfit, Placeholder, Question, UrlTemplate,
    has_placeholder,
};
use template::{UnfitForPath, Values};

/// Most services: each is asked on a thread of its own for every address typed.
pub const SERVICES_MAX: usize = 16;

/// Longest time that a service may be given for one call (R-41: longer, and the person has left).
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Longest user name that a service is asked about, in characters: the longest address is as long.
pub const USER_CHARS_MAX: usize = EmailAddress::BYTES_MAX;

/// Longest password that a service is asked about, in bytes: passphrases are shorter, and more is
/// only work for whoever hashes it.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// One service, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in configuration, bindings and log.
    pub name: ServiceName,
    /// What people call it.
    pub title: String,
    /// Documented: `POST {"email"}`.
    pub find_user: UsersCall,
    /// Documented: `POST {"userId","companyId","userUuid"}`.
    pub issue_token: TokenCall,
    /// Documented: `POST {"user","password"}`; when the service has that call.
    pub check_password: Option<UsersCall>,
    /// Signing secret per Standard Webhooks, `whsec_` and base64. May be missing only where every
    /// call carries something else by which the service knows Portero: an endpoint that answers
    /// anybody would give everybody's tokens away.
    pub secret: Option<Secret>,
    /// An additional `Authorization: Bearer`, when the service wants one.
    pub bearer: Option<Secret>,
    /// Longest time for one call, connection included.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Connections kept open: one per thread that asks.
    pub connections: usize,
}

/// Which token is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TokenFor<'a> {
    /// The service's own id of the user.
    pub user_id: &'a str,
    /// The service's own id of the company.
    pub company_id: &'a str,
    /// Who has proved to be that user.
    pub contact: ContactId,
    /// How much it may be good for. The service reads of it only when that is less than
    /// everything.
    pub scope: Scope,
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
    /// Passwords asked about since the start; makes each question another one.
    password_attempts: AtomicU64,
}

struct Service {
    settings: Settings,
    agent: Agent,
    authorization: Option<Secret>,
    secret: Option<SigningSecret>,
    breaker: Mutex<Breaker>,
    /// Of its own, for what goes wrong with tokens may be about one user: nobody shall be kept from
    /// signing in by it.
    token_breaker: Mutex<Breaker>,
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
        Ok(Services {
            services,
            password_attempts: AtomicU64::new(0),
        })
    }

    /// Asks every service at the same time who has this address; one [`Answer`] each, in the order
    /// of the configuration, at the latest after the longest time-out.
    ///
    /// `id` names the question, for example by its outbox entry: a repeat with the same `id`
    /// carries the same `webhook-id`, which differs from service to service.
    pub fn find_user(&self, email: &EmailAddress, now: Timestamp, id: &str) -> Vec<Answer> {
        let services: Vec<&Service> = self.services.iter().collect();
        ask_each(&services, |service| service.find_user(email, now, id))
    }

    /// Whether any service can be asked about a password.
    pub fn check_passwords(&self) -> bool {
        self.services
            .iter()
            .any(|service| service.settings.check_password.is_some())
    }

    /// Asks every service that has the call, at the same time, which of its users signs in with
    /// this name and password; one [`Answer`] each, in the order of the configuration, at the
    /// latest after the longest time-out. No users is a no, and only that is: a service that did
    /// not answer has not said that the password is wrong. Nothing is asked twice, whatever
    /// happens.
    ///
    /// When `user` is an address, so is everybody's in the answer; any other name belongs to one
    /// user at most. What no service need be asked about is nobody's: no name or no password at
    /// all, which some directories behind services take for an anonymous visitor and let in, a
    /// name longer than [`USER_CHARS_MAX`], a password longer than [`PASSWORD_BYTES_MAX`].
    ///
    /// `id` names the session. Every call carries a `webhook-id` of its own, with the same `id`
    /// too: a service that knows repeated questions by it must not answer one password with what
    /// it said about another.
    pub fn check_password(
        &self,
        user: &str,
        password: &Secret,
        now: Timestamp,
        id: &str,
    ) -> Vec<Answer> {
        let services: Vec<&Service> = self
            .services
            .iter()
            .filter(|service| service.settings.check_password.is_some())
            .collect();
        let answerable = (1..=USER_CHARS_MAX).contains(&user.chars().count())
            && (1..=PASSWORD_BYTES_MAX).contains(&password.reveal().len());
        if !answerable {
            return services
                .iter()
                .map(|service| service.answer(Ok(Vec::new())))
                .collect();
        }
        // The clock tells apart what happened before and after a restart.
        let attempt = self.password_attempts.fetch_add(1, Ordering::Relaxed);
        let id = format!("{id} {} {attempt}", now.0);
        ask_each(&services, |service| {
            service.check_password(user, password, now, &id)
        })
    }

    /// A token for a user of one service.
    ///
    /// [`FailureKind::Permanent`] says that the service knows no such user (404, 410);
    /// [`FailureKind::Configuration`] that it does not know us; everything else may pass. A
    /// service that asks for a pause is asked for no token until it is over.
    pub fn issue_token(
        &self,
        service: &ServiceName,
        wanted: &TokenFor<'_>,
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
            .issue_token(wanted, now, id)
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
                    service
                        .breaker()
                        .health()
                        .and(service.token_breaker().health()),
                )
            })
            .collect()
    }
}

/// Asks all of `services` at the same time; the answers come in their order.
fn ask_each(
    services: &[&Service],
    ask: impl Fn(&Service) -> Result<Vec<Account>, Trouble> + Sync,
) -> Vec<Answer> {
    if let [only] = services {
        return vec![only.answer(ask(only))];
    }
    let ask = &ask;
    // As many threads as services, so at most SERVICES_MAX.
    std::thread::scope(|scope| {
        let asked: Vec<_> = services
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
                let answer = thread.ok().and_then(|thread| thread.join().ok());
                service.answer(
                    answer.unwrap_or_else(|| {
                        Err(Trouble::service("the question could not be asked"))
                    }),
                )
            })
            .collect()
    })
}

impl Service {
    fn new(settings: Settings) -> Result<Service, String> {
        let secret = (settings.secret.as_ref())
            .map(|secret| SigningSecret::parse(secret.reveal()))
            .transpose()
            .map_err(|words| format!("services.secret {words}"))?;
        if secret.is_none() && !settings.has_credentials() {
            return Err(
                "services.secret is missing, and not every call has headers of its own".to_owned(),
            );
        }
        if settings.timeout.is_zero() || settings.timeout > TIMEOUT_MAX {
            return Err(format!(
                "services.timeout_seconds must be more than 0 and at most {}",
                TIMEOUT_MAX.as_secs()
            ));
        }
        let authorization = match &settings.bearer {
            None => None,
            Some(bearer) => {
                let word = bearer.reveal();
                if word.is_empty() || !word.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err("services.bearer must be one word of visible ASCII".to_owned());
                }
                Some(Secret::new(format!("Bearer {word}")))
            }
        };
        let agent = Agent::new(AgentSettings {
            timeout: settings.timeout,
            connections: settings.connections,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("services.ca_file {words}"))?;
        Ok(Service {
            settings,
            agent,
            authorization,
            secret,
            breaker: Mutex::default(),
            token_breaker: Mutex::default(),
        })
    }

    fn find_user(
        &self,
        email: &EmailAddress,
        now: Timestamp,
        id: &str,
    ) -> Result<Vec<Account>, Trouble> {
        let call = &self.settings.find_user;
        let values = [(Placeholder::Email, email.as_str())];
        let request = self.request(&call.question, Values(&values), now, id)?;
        self.guarded(&self.breaker, now, || {
            let answer = self.send(&request)?;
            self.users(call, Asked::Address(email), &answer)
        })
    }

    /// A service without the call has no such user.
    fn check_password(
        &self,
        user: &str,
        password: &Secret,
        now: Timestamp,
        id: &str,
    ) -> Result<Vec<Account>, Trouble> {
        let Some(call) = &self.settings.check_password else {
            return Ok(Vec::new());
        };
        let email = EmailAddress::parse(user.trim()).ok();
        let asked = email.as_ref().map_or(Asked::UserName, Asked::Address);
        let values = [
            (Placeholder::User, user),
            (Placeholder::Password, password.reveal()),
        ];
        let request = self.request(&call.question, Values(&values), now, id)?;
        self.guarded(&self.breaker, now, || {
            let answer = self.send(&request)?;
            self.users(call, asked, &answer)
        })
    }

    /// The users in an answer about one.
    fn users(
        &self,
        call: &UsersCall,
        asked: Asked<'_>,
        answer: &http::Answer,
    ) -> Result<Vec<Account>, Trouble> {
        let shape = &call.answer;
        // What answers a POST with 201 in place of 200 is common; the contract has no need of it.
        let created =
            answer.status == 201 && !shape.documented && call.question.method != Method::Get;
        match answer.status {
            status if status == shape.nobody_status => {
                nobody(answer, |body| answer::says_nobody(shape, body)).map(|()| Vec::new())
            }
            200 | 201 if answer.is_json && (answer.status == 200 || created) => {
                answer::users(&self.settings.name, shape, asked, &answer.body)
            }
            _ if call.question.call == Call::CheckPassword => {
                Err(unusable_about_a_password(answer, call.question.method))
            }
            _ => Err(unusable(answer, call.question.method)),
        }
    }

    fn answer(&self, users: Result<Vec<Account>, Trouble>) -> Answer {
        Answer {
            service: self.settings.name.clone(),
            users: users.map_err(|trouble| Unavailable {
                reason: with_advice(trouble.failure()),
            }),
        }
    }

    fn issue_token(
        &self,
        wanted: &TokenFor<'_>,
        now: Timestamp,
        id: &str,
    ) -> Result<Token, Trouble> {
        let call = &self.settings.issue_token;
        let contact = wanted.contact.to_string();
        let mut values = vec![
            (Placeholder::UserId, wanted.user_id),
            (Placeholder::CompanyId, wanted.company_id),
            (Placeholder::UserUuid, &contact),
        ];
        // Everything is what the contract means when it says nothing.
        if wanted.scope < Scope::Full {
            values.push((Placeholder::Scope, wanted.scope.name()));
        }
        let request = self.request(&call.question, Values(&values), now, id)?;
        let pause_ms = self.token_breaker().pause_left_ms(now);
        if pause_ms > 0 {
            return Err(resting("asked for a pause", pause_ms));
        }
        let issued = self.guarded(&self.token_breaker, now, || {
            self.token(call, &self.send(&request)?)
        });
        if let Err(Trouble::Service(Failure {
            kind: FailureKind::Temporary {
                retry_after_ms: Some(ms),
            },
            ..
        })) = issued
        {
            self.token_breaker().pause(now, ms);
        }
        issued
    }

    /// The token in an answer about one.
    fn token(&self, call: &TokenCall, answer: &http::Answer) -> Result<Token, Trouble> {
        match answer.status {
            200 | 201 if answer.is_json => answer::token(&call.answer, &answer.body),
            404 | 410 => {
                let contradicts = |answer: serde_json::Value| {
                    let token = call.answer.token.pointer.of(&answer);
                    token.is_some_and(|token| !token.is_null() && !token.is_object())
                };
                nobody(answer, |body| {
                    serde_json::from_slice(body).is_ok_and(|answer| !contradicts(answer))
                })?;
                Err(Trouble::Data(Failure {
                    kind: FailureKind::Permanent,
                    reason: format!("{}: the service knows no such user", answer.status),
                    advice: None,
                }))
            }
            _ => Err(unusable(answer, call.question.method)),
        }
    }

    /// What is sent, whole; `id` names the question.
    fn request(
        &self,
        question: &Question,
        values: Values<'_>,
        now: Timestamp,
        id: &str,
    ) -> Result<Request, Trouble> {
        let to = question.url.fill(values).map_err(|UnfitForPath| unfit())?;
        let body = match &question.body {
            Some(body) => body.fill(question.encoding, values),
            None => Zeroizing::default(),
        };
        let named = |name: &str| {
            let mut names = question.headers.iter().map(|(name, _)| name);
            names.any(|own| own.eq_ignore_ascii_case(name))
        };
        let mut headers = Vec::new();
        if !body.is_empty() && !named("content-type") {
            let kind = Secret::new(question.encoding.content_type());
            headers.push(("content-type".to_owned(), kind));
        }
        if let Some(secret) = &self.secret {
            let id = webhook_id(&self.settings.name, question.call.name(), id);
            let timestamp = now.seconds().to_string();
            let signature = secret.signature(&id, &timestamp, &body);
            headers.extend([
                ("webhook-id".to_owned(), Secret::new(id)),
                ("webhook-timestamp".to_owned(), Secret::new(timestamp)),
                ("webhook-signature".to_owned(), Secret::new(signature)),
            ]);
        }
        if let Some(authorization) = self
            .authorization
            .as_ref()
            .filter(|_| !named("authorization"))
        {
            headers.push(("authorization".to_owned(), authorization.clone()));
        }
        headers.extend(question.headers.iter().cloned());
        Ok(Request {
            method: question.method,
            to,
            headers,
            body,
        })
    }

    /// Lets the breaker decide whether to call, and tells it what became of the call.
    fn guarded<T>(
        &self,
        breaker: &Mutex<Breaker>,
        now: Timestamp,
        call: impl FnOnce() -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut before = whole(breaker);
        if !before.admits(now) {
            return Err(resting(
                "left alone for a moment after repeated failures",
                before.rest_left_ms(now),
            ));
        }
        drop(before);
        let outcome = call();
        match &outcome {
            Ok(_) | Err(Trouble::Data(_)) => whole(breaker).answered(now),
            Err(Trouble::Service(failure)) => whole(breaker).failed(now, &failure.reason),
            Err(Trouble::Resting(_)) => {}
        }
        outcome
    }

    fn send(&self, request: &Request) -> Result<http::Answer, Trouble> {
        self.transmit(request).map_err(trouble)
    }

    fn transmit(&self, request: &Request) -> Result<http::Answer, Broken> {
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.reveal()))
            .collect();
        self.agent
            .send(request.method, &request.to, &headers, &request.body)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        whole(&self.breaker)
    }

    fn token_breaker(&self) -> MutexGuard<'_, Breaker> {
        whole(&self.token_breaker)
    }
}

/// Each change of a breaker is one method call, so a panic elsewhere leaves it whole.
fn whole(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({})", self.settings.name.as_str())
    }
}

/// Nothing was sent, and for how long nothing will be.
fn resting(reason: &str, left_ms: u64) -> Trouble {
    Trouble::Resting(Failure {
        kind: FailureKind::Temporary {
            retry_after_ms: Some(left_ms),
        },
        reason: reason.to_owned(),
        advice: None,
    })
}

/// One call, ready to leave.
struct Request {
    method: Method,
    to: Endpoint,
    headers: Vec<(String, Secret)>,
    body: Zeroizing<Vec<u8>>,
}

impl Settings {
    /// Whether every call carries something of its own by which the service can know Portero.
    pub fn has_credentials(&self) -> bool {
        let knows = |question: &Question, documented: bool| {
            question.has_credentials() || self.bearer.is_some() && !documented
        };
        let users = |call: &UsersCall| knows(&call.question, call.answer.documented);
        users(&self.find_user)
            && knows(
                &self.issue_token.question,
                self.issue_token.answer.documented,
            )
            && self.check_password.as_ref().is_none_or(users)
    }
}

/// Nothing was sent: a value would have changed the path, or a server on the way might think so.
fn unfit() -> Trouble {
    Trouble::Data(Failure {
        advice: Some(
            "put the placeholder behind the ? of the address or into the body, where every sign is only a sign",
        ),
        ..Failure::temporary(
            "what was asked for has a slash or a percent sign, or is dots only, and would stand in the path of the address",
        )
    })
}

/// No whole answer came. Asking again is harmless, so it does not matter whether this one arrived.
fn trouble(broken: Broken) -> Trouble {
    if !broken.certificate_refused {
        return Trouble::service(broken.reason);
    }
    Trouble::Service(Failure {
        kind: FailureKind::Configuration,
        reason: broken.reason,
        advice: Some(
            "services.find_user, services.issue_token and services.check_password must carry the name in the certificate; a private authority is named in services.ca_file",
        ),
    })
}

/// Whether *nobody* was said by the service: the answer has no body, or a JSON one that agrees. A
/// web server that does not know the path sends a page, and a wrong path must never look like an
/// unknown user.
fn nobody(answer: &http::Answer, agrees: impl FnOnce(&[u8]) -> bool) -> Result<(), Trouble> {
    if answer.body.is_empty() || answer.is_json && agrees(&answer.body) {
        return Ok(());
    }
    Err(Trouble::Service(Failure {
        kind: FailureKind::Configuration,
        reason: format!("{} with something else than JSON", answer.status),
        advice: Some(
            "check the path in services.find_user, services.issue_token and services.check_password: this looks like a web server's own page",
        ),
    }))
}

/// A status, or a type of content, that is not an answer.
fn unusable(answer: &http::Answer, method: Method) -> Trouble {
    let configuration = |reason: String, advice| {
        Trouble::Service(Failure {
            kind: FailureKind::Configuration,
            reason,
            advice: Some(advice),
        })
    };
    let status = answer.status;
    match status {
        200..=299 if !answer.is_json => {
            Trouble::service(format!("{status} without Content-Type: application/json"))
        }
        300..=399 => configuration(
            format!("{status}: a redirect, which is not followed"),
            "write where it leads to in services.find_user, services.issue_token or services.check_password",
        ),
        401 | 403 => configuration(
            format!("{status}: the service does not accept who we are"),
            "compare services.secret, services.bearer and the headers of the call with what the service expects",
        ),
        // The service works and does not like this question.
        400 | 409 | 422 => Trouble::data(format!("{status}: the question was not understood")),
        405 => configuration(
            format!("405: {} is not accepted here", method.name()),
            "check method and path in services.find_user, services.issue_token and services.check_password",
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

/// The same about a password. People who guess must not be able to switch the service off, so what
/// it says to somebody who guesses too much is not counted.
fn unusable_about_a_password(answer: &http::Answer, method: Method) -> Trouble {
    match (answer.status, unusable(answer, method)) {
        (429, Trouble::Service(failure)) => Trouble::Data(failure),
        (401 | 403, Trouble::Service(failure)) => Trouble::Service(Failure {
            advice: Some(
                "compare services.secret, services.bearer and the headers of the call with what the service expects; to a wrong password it answers 200 with no users, or what services.check_password.nobody_status says",
            ),
            ..failure
        }),
        (_, trouble) => trouble,
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
    format!("msg_{}", hex(&digest[..16]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn settings() -> Settings {
        Settings {
            name: ServiceName::parse("kutamma").unwrap(),
            title: "Kutamma".to_owned(),
            find_user: UsersCall::find_user("https://api.example.com/find").unwrap(),
            issue_token: TokenCall::issue_token("https://api.example.com/token").unwrap(),
            check_password: Some(
                UsersCall::check_password("https://api.example.com/check").unwrap(),
            ),
            secret: Some(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            bearer: None,
            timeout: Duration::from_secs(10),
            ca_pem: None,
            connections: 1,
        }
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
    fn settings_that_cannot_work_are_refused_with_the_name_of_the_service() {
        let wrong: [fn(&mut Settings); 9] = [
            |s| s.secret = Some(Secret::new("whsec_")),
            |s| s.secret = Some(Secret::new("whsec_not base64!")),
            |s| s.secret = Some(Secret::new("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")),
            |s| s.secret = Some(Secret::new("whsec_c2hvcnQ=")),
            |s| s.secret = None,
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

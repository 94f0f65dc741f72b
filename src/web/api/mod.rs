//! The calls of bots and agents (design, section 5.4; `assets/openapi.json` describes them).
//!
//! An agent reads what strangers write, so it must not be able to name the person it acts for: it
//! shows the identity that came with the message (S-51). Who may name anybody has a key that says
//! so. What is refused is refused in an order in which nobody learns about a contact that is not
//! theirs to ask about.

mod caller;
mod marks;
mod wire;

pub use caller::{ApiKey, ApiScope};
pub(super) use marks::Marks;

use super::request::values;
use super::sign_in::retry_after;
use super::{Route, Web, error, error_about, without_slash};
use crate::app::keys::JWKS_MAX_AGE_SECONDS;
use crate::app::rfc_3339;
use crate::app::{Granted, Identity, Once, Refused, Subject, TokenAnswer, TokenAsked, Wish};
use crate::domain::binding::Scope;
use crate::domain::id::{ContactId, ServiceName};
use crate::domain::requirement::Standing;
use crate::domain::time::Timestamp;
use caller::caller;
use rouille::{Request, Response};
use serde_json::{Value, json};
use wire::{ChallengeBody, LinkBody, TokenBody, wrong_field};

pub(super) const TOKENS_PATH: &str = "/v1/tokens";
pub(super) const LINKS_PATH: &str = "/v1/sign-in-links";
pub(super) const CHALLENGES_PATH: &str = "/v1/challenges";
pub(super) const CHALLENGE_PATH: &str = "/v1/challenges/{id}";
pub(super) const CONTACT_PATH: &str = "/v1/contacts/{userUuid}";
pub(super) const BINDINGS_PATH: &str = "/v1/contacts/{userUuid}/bindings";

/// Where the public keys are (RFC 8414's usual place).
pub(super) const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Where this is described.
pub(super) const OPENAPI_PATH: &str = "/openapi.json";

pub(super) const OPENAPI: &str = include_str!("../../../assets/openapi.json");

/// The identity of a message, where there is no body for it.
const IDENTITY_HEADER: &str = "Portero-Identity";

/// Longest identity: as long as a header field of ours can be.
const IDENTITY_BYTES_MAX: usize = 8 * 1024;

/// The caller's mark of a request.
const ONCE_HEADER: &str = "Idempotency-Key";

/// Longest mark.
const ONCE_BYTES_MAX: usize = 128;

/// Names under which people put secrets into addresses, where logs keep them (S-54).
const SECRET_PARAMETERS: [&str; 10] = [
    "token",
    "access_token",
    "key",
    "api_key",
    "apikey",
    "identity",
    "portero-identity",
    "authorization",
    "bearer",
    "secret",
];

/// When a service gives no token and does not say for how long.
const RETRY_AFTER_MS: u64 = 5_000;

// --- for everybody ------------------------------------------------------------------------------

pub(super) fn jwks(web: &Web) -> Response {
    public("application/jwk-set+json", web.app.jwks()).with_unique_header(
        "Cache-Control",
        format!("public, max-age={JWKS_MAX_AGE_SECONDS}"),
    )
}

pub(super) fn openapi() -> Response {
    public("application/json", OPENAPI.to_owned())
}

/// For the scripts of any page: there is nothing in it that is not for everybody.
fn public(media_type: &'static str, text: String) -> Response {
    Response::from_data(media_type, text).with_additional_header("Access-Control-Allow-Origin", "*")
}

// --- for callers with a key ---------------------------------------------------------------------

/// A call with a key that is good for it.
struct Call<'w> {
    web: &'w Web,
    key: &'w ApiKey,
    request: &'w Request,
    now: Timestamp,
}

pub(super) fn respond(web: &Web, request: &Request, route: Route, segment: &str) -> Response {
    answer(web, request, route, segment).unwrap_or_else(|refusal| refusal)
}

fn answer(web: &Web, request: &Request, route: Route, segment: &str) -> Result<Response, Response> {
    let parameters = parameters(request);
    if (parameters.iter()).any(|(name, _)| SECRET_PARAMETERS.contains(&&*name.to_ascii_lowercase()))
    {
        return Err(error(
            400,
            "SECRET_IN_URL",
            "Keys, tokens and identities belong in headers or in the body: logs keep addresses",
        ));
    }
    let key = caller(&web.api_keys, request).ok_or_else(|| unknown_caller(web))?;
    let scope = match route {
        Route::Tokens => ApiScope::Tokens,
        Route::Links => ApiScope::SignInLinks,
        Route::Challenges | Route::Challenge => ApiScope::Challenges,
        Route::Contact => ApiScope::ReadContacts,
        _ => ApiScope::ReleaseContacts,
    };
    if !key.may(scope) {
        return Err(lacks(key, scope));
    }
    let call = Call {
        web,
        key,
        request,
        now: web.app.now(),
    };
    let known: &[&str] = match route {
        Route::Bindings => &["service"],
        _ => &[],
    };
    let mut seen = Vec::new();
    for (name, _) in &parameters {
        if !known.contains(&name.as_str()) || seen.contains(&name) {
            return Err(error(
                400,
                "QUERY_INVALID",
                "There is a parameter in the address that is not known here, or twice",
            ));
        }
        seen.push(name);
    }
    match route {
        Route::Tokens => call.token(),
        Route::Links => call.link(),
        Route::Challenges => call.challenge(),
        Route::Challenge => call.challenge_state(segment),
        Route::Contact => call.contact(segment),
        _ => {
            let service = parameters.first().map(|(_, value)| value.as_str());
            call.release(segment, service)
        }
    }
}

/// Names and values of the query, decoded.
fn parameters(request: &Request) -> Vec<(String, String)> {
    form_urlencoded::parse(request.raw_query_string().as_bytes())
        .into_owned()
        .collect()
}

fn unknown_caller(web: &Web) -> Response {
    if web.unknown_callers.due(web.app.now()).is_some() {
        tracing::warn!(
            "a call of the API came without a key that is known; [[api_keys]] has them, and callers send one as Authorization: Bearer"
        );
    }
    error(
        401,
        "API_KEY_INVALID",
        "The API key is missing or not known; send it as Authorization: Bearer",
    )
    .with_additional_header("WWW-Authenticate", "Bearer")
}

fn lacks(key: &ApiKey, scope: ApiScope) -> Response {
    tracing::info!(
        caller = key.name.as_str(),
        scope = scope.name(),
        "a call was refused: its API key lacks the scope"
    );
    let scope = scope.name();
    error_about(
        403,
        "SCOPE_MISSING",
        &format!("The API key lacks the scope {scope}"),
        &json!({ "scope": scope }),
    )
}

/// A contact that does not exist and one that is not the caller's to ask about are the same (S-50).
fn no_contact() -> Response {
    error(404, "CONTACT_NOT_FOUND", "There is no such contact")
}

impl Call<'_> {
    // --- whom a call is about -------------------------------------------------------------------

    fn subject(
        &self,
        identity: Option<String>,
        contact: Option<String>,
    ) -> Result<Subject, Response> {
        match (identity, contact) {
            (Some(identity), None) => Ok(self.identified(&identity)?.into()),
            (None, Some(contact)) => {
                // A number is not a person (S-51): only what Portero itself has named is.
                let id = contact_id(&contact).ok_or_else(|| wrong_field("contact"))?;
                if self.key.may(ApiScope::AnyContact) {
                    Ok(id.into())
                } else {
                    Err(lacks(self.key, ApiScope::AnyContact))
                }
            }
            _ => Err(error_about(
                400,
                "SUBJECT_INVALID",
                "Name the person by either identity or contact",
                &json!({ "field": "identity" }),
            )),
        }
    }

    /// The contact of the path, if the identity in the header is theirs.
    fn subject_of_path(&self, segment: &str) -> Result<Subject, Response> {
        let mut given = values(self.request, IDENTITY_HEADER);
        let id = contact_id(segment);
        match (given.next(), given.next()) {
            (None, _) if self.key.may(ApiScope::AnyContact) => {
                id.map(Subject::from).ok_or_else(no_contact)
            }
            (None, _) => Err(lacks(self.key, ApiScope::AnyContact)),
            (Some(identity), None) => {
                let subject = Subject::from(self.identified(identity)?);
                match id == Some(subject.contact) {
                    true => Ok(subject),
                    false => Err(no_contact()),
                }
            }
            (Some(_), Some(_)) => Err(not_identified(false)),
        }
    }

    fn identified(&self, identity: &str) -> Result<Identity, Response> {
        if identity.len() > IDENTITY_BYTES_MAX {
            return Err(not_identified(false));
        }
        match self.web.app.identity(identity) {
            Ok(identity) => Ok(identity),
            Err(refused) => {
                tracing::info!(
                    caller = self.key.name.as_str(),
                    reason = %refused,
                    "an identity was refused"
                );
                Err(not_identified(refused == Refused::Expired))
            }
        }
    }

    // --- the same request once more -----------------------------------------------------------------

    /// The caller's mark.
    fn mark(&self) -> Result<Option<String>, Response> {
        let mut given = values(self.request, ONCE_HEADER);
        let (Some(key), more) = (given.next(), given.next()) else {
            return Ok(None);
        };
        let is_well_formed = (1..=ONCE_BYTES_MAX).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic())
            && more.is_none();
        if !is_well_formed {
            return Err(error(
                400,
                "IDEMPOTENCY_KEY_INVALID",
                "An Idempotency-Key is 1 to 128 visible ASCII characters",
            ));
        }
        Ok(Some(key.to_owned()))
    }

    /// The mark, tied to all that is asked: about whom, and not by which identity, for a repeat may
    /// come with the identity of a later message or of another try.
    fn once(&self, mark: Option<String>, contact: ContactId, asked: &Value) -> Option<Once> {
        let url = self.request.url();
        let path = without_slash(&url).as_bytes();
        let asked = asked.to_string();
        mark.map(|key| Once {
            key,
            request: (self.web.app).request_digest(&[path, &contact.0, asked.as_bytes()]),
        })
    }

    // --- the calls ------------------------------------------------------------------------------

    fn token(&self) -> Result<Response, Response> {
        let body = wire::raw(self.request)?;
        let mark = self.mark()?;
        let TokenBody {
            identity,
            contact,
            service,
            account,
            company,
            scope,
        } = wire::parse(&body)?;
        let service = wire::service(&service)?;
        let account = (account.map(|id| wire::own_id(id, "account"))).transpose()?;
        let company = (company.map(|id| wire::own_id(id, "company"))).transpose()?;
        let scope = match scope.as_deref() {
            None => None,
            Some("full") => Some(Scope::Full),
            Some("first_hours") => Some(Scope::FirstHours),
            Some(_) => return Err(wrong_field("scope")),
        };
        let Subject { contact, users } = self.subject(identity, contact)?;
        let app = &self.web.app;
        if !app.is_service(&service) {
            return Err(no_service());
        }
        if !self.key.may_use(&service) {
            return Err(error(
                403,
                "SERVICE_NOT_ALLOWED",
                "The API key is not for this service; add it to its services in the configuration",
            ));
        }
        let fields = json!([service.as_str(), account, company, scope.map(Scope::name)]);
        if let Some(once) = self.once(mark, contact, &fields) {
            // A repeat is answered anew: what was handed out may have expired or ended (S-52).
            let mark = [self.key.name.as_str().as_bytes(), once.key.as_bytes()];
            let mark = app.request_digest(&mark);
            if !self.web.marks.is_of(mark, once.request, self.now) {
                return Err(reused());
            }
        }
        let asked = TokenAsked {
            contact,
            users,
            service: service.clone(),
            account,
            company,
            scope,
            first_hours_only: self.key.first_hours_only,
        };
        let answer = app
            .token(&asked, &*self.web.issue_token)
            .map_err(|failed| unavailable(&failed))?;
        Ok(match answer {
            TokenAnswer::Token {
                token,
                token_type,
                expires_in_seconds,
                account,
                scope,
            } => Response::json(&wire::Token {
                token: token.reveal(),
                token_type: &token_type,
                expires_in: expires_in_seconds,
                service: service.as_str(),
                account: (&account).into(),
                scope: scope.name(),
            }),
            TokenAnswer::Need { need, say } => Response::json(&wire::Need {
                need: need.name(),
                say: &say,
            }),
            TokenAnswer::Ambiguous(accounts) => {
                let accounts: Vec<wire::AccountAnswer<'_>> =
                    accounts.iter().map(Into::into).collect();
                error_about(
                    409,
                    "ACCOUNT_AMBIGUOUS",
                    "There are several accounts at this service; name one of them as account, and its company where the account has several",
                    &json!({ "accounts": accounts }),
                )
            }
            TokenAnswer::ScopeTooWide => error(
                403,
                "SCOPE_TOO_WIDE",
                "The API key never gets more than first_hours",
            ),
            TokenAnswer::NoSuchService => no_service(),
            TokenAnswer::NoSuchContact => no_contact(),
            TokenAnswer::NoSuchAccount => error(
                404,
                "ACCOUNT_NOT_FOUND",
                "The person has no such account at this service",
            ),
            TokenAnswer::AccountGone => error(
                409,
                "ACCOUNT_GONE",
                "The service does not know this user, or no longer",
            ),
            TokenAnswer::Unavailable { retry_after_ms } => {
                let until = self.now.plus_ms(retry_after_ms.unwrap_or(RETRY_AFTER_MS));
                error(
                    503,
                    "SERVICE_UNAVAILABLE",
                    "The service gives no token at the moment; call again",
                )
                .with_additional_header("Retry-After", retry_after(until, self.now))
            }
            TokenAnswer::Busy => error(
                503,
                "BUSY",
                "Too many tokens of this service are being asked for; call again",
            )
            .with_additional_header("Retry-After", "1"),
        })
    }

    fn link(&self) -> Result<Response, Response> {
        let body = wire::raw(self.request)?;
        let mark = self.mark()?;
        let LinkBody {
            identity,
            contact,
            send,
        } = wire::parse(&body)?;
        let subject = self.subject(identity, contact)?;
        let send = send.unwrap_or(true);
        let once = self.once(mark, subject.contact, &json!([send]));
        match self.grant(subject, Wish::Link { send }, once)? {
            Granted::Link {
                id,
                url,
                expires_at,
            } => {
                let status = if send { 202 } else { 201 };
                Ok(Response::json(&wire::Link {
                    id: &id,
                    state: Standing::Pending.name(),
                    expires_at: rfc_3339(expires_at),
                    url: url.as_ref().map(|url| url.reveal()),
                })
                .with_status_code(status))
            }
            Granted::NoWay => Err(error(
                409,
                "WEB_SIGN_IN_OFF",
                "There is no sign-in page; put \"web\" into sign_in.methods, and set server.public_url and whatsapp.number",
            )),
            other => Err(self.not_granted(&other)),
        }
    }

    fn challenge(&self) -> Result<Response, Response> {
        let body = wire::raw(self.request)?;
        let mark = self.mark()?;
        let ChallengeBody {
            identity,
            contact,
            proof,
            max_age_seconds,
        } = wire::parse(&body)?;
        let proof = wire::proof(proof.as_deref())?;
        let age_max_ms = wire::age_max_ms(max_age_seconds)?;
        let subject = self.subject(identity, contact)?;
        let once = self.once(mark, subject.contact, &json!([proof.name(), age_max_ms]));
        match self.grant(subject, Wish::Proof { proof, age_max_ms }, once)? {
            Granted::Demand {
                id,
                proof,
                expires_at,
            } => Ok(Response::json(&wire::Challenge {
                id: &id,
                state: Standing::Pending.name(),
                proof: proof.name(),
                expires_at: rfc_3339(expires_at),
            })
            .with_status_code(202)),
            Granted::Proved { proof, proved_at } => Ok(Response::json(&wire::Proved {
                state: Standing::Passed.name(),
                proof: proof.name(),
                proved_at: rfc_3339(proved_at),
            })),
            Granted::NoWay => Err(error(
                409,
                "PROOF_UNAVAILABLE",
                "There is no way to this proof; see sign_in.methods in the configuration",
            )),
            Granted::Outlived => Err(error(
                409,
                "IDENTITY_OUTLIVED",
                "Whoever wrote this is not signed in any more, or somebody else is; their next message brings an identity that holds",
            )),
            other => Err(self.not_granted(&other)),
        }
    }

    fn challenge_state(&self, id: &str) -> Result<Response, Response> {
        let view = (self.web.app)
            .demand(self.key.name.as_str(), id)
            .map_err(|failed| unavailable(&failed))?;
        match view {
            Some(view) => Ok(Response::json(&wire::Challenge::of(id, &view))),
            None => Err(error(
                404,
                "CHALLENGE_NOT_FOUND",
                "There is no such challenge of this API key, or a later one took its place",
            )),
        }
    }

    fn contact(&self, segment: &str) -> Result<Response, Response> {
        let subject = self.subject_of_path(segment)?;
        let view = (self.web.app)
            .contact_view(subject)
            .map_err(|failed| unavailable(&failed))?;
        view.as_ref().map(wire::contact).ok_or_else(no_contact)
    }

    fn release(&self, segment: &str, service: Option<&str>) -> Result<Response, Response> {
        let service = service
            .map(ServiceName::parse)
            .transpose()
            .map_err(|_| wrong_parameter("service"))?;
        let subject = self.subject_of_path(segment)?;
        let released = (self.web.app)
            .release_for_the_bot(self.key.name.as_str(), subject, service)
            .map_err(|failed| unavailable(&failed))?;
        match released {
            Some(count) => Ok(Response::json(&json!({ "released": count }))),
            None => Err(no_contact()),
        }
    }

    fn grant(&self, subject: Subject, wish: Wish, once: Option<Once>) -> Result<Granted, Response> {
        (self.web.app)
            .grant(self.key.name.as_str(), subject, wish, once)
            .map_err(|failed| unavailable(&failed))
    }

    fn not_granted(&self, granted: &Granted) -> Response {
        match granted {
            Granted::Limited { say, until } => error_about(
                429,
                "LIMIT_REACHED",
                "A limit of the sign-in is reached; details.say can be said in the chat",
                &json!({ "say": say }),
            )
            .with_additional_header("Retry-After", retry_after(*until, self.now)),
            Granted::Closed => error(
                409,
                "CHAT_CLOSED",
                "The person last wrote more than 23 hours ago, so nothing can be sent; it has to be them who write first",
            ),
            Granted::Reused => reused(),
            _ => no_contact(),
        }
    }
}

/// A contact as Portero writes it, letter by letter.
fn contact_id(text: &str) -> Option<ContactId> {
    ContactId::parse(text)
        .ok()
        .filter(|id| id.to_string() == text)
}

fn not_identified(is_expired: bool) -> Response {
    let (key, message) = if is_expired {
        (
            "IDENTITY_EXPIRED",
            "The identity has expired; the next message brings another",
        )
    } else {
        (
            "IDENTITY_INVALID",
            "The identity is not one that came with a message",
        )
    };
    error(401, key, message).with_additional_header("WWW-Authenticate", "Bearer")
}

fn no_service() -> Response {
    error(
        404,
        "SERVICE_NOT_FOUND",
        "No service of this name is configured",
    )
}

fn reused() -> Response {
    error(
        422,
        "IDEMPOTENCY_KEY_REUSED",
        "This Idempotency-Key came with another request before",
    )
}

fn wrong_parameter(name: &str) -> Response {
    error_about(
        400,
        "QUERY_INVALID",
        "A parameter in the address is not what /openapi.json describes",
        &json!({ "field": name }),
    )
}

fn unavailable(failed: &dyn std::fmt::Display) -> Response {
    tracing::error!(error = %failed, "a call of the API could not be served");
    error(503, "UNAVAILABLE", "It could not be done; call again")
        .with_additional_header("Retry-After", "1")
}

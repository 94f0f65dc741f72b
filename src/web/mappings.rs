//! Sign-in pages that are not Portero's, and the two calls with which they sign people in (design,
//! section 5.1): the back end of the published document.
//!
//! A hash only names a sign-in: whoever is in the chat holds it, too. So a page shows a credential,
//! and what it says is believed because of that (section 2.2 of the threat model). Nothing here
//! tells apart a hash that is unknown, used or expired, a caller who may not ask, and a path that
//! holds no hash.

use super::request::{bearer, json_body};
use super::sign_in::{network, retry_after};
use super::{Web, error, error_about};
use crate::app::{Claim, Tried, rfc_3339};
use crate::domain::account::{Account, Company};
use crate::domain::clean::{is_hidden, one_line};
use crate::domain::id::{ContactId, EmailAddress, ServiceName};
use crate::domain::secret::{MappingHash, Secret};
use crate::domain::sign_in::PageAnswer;
use crate::domain::time::Timestamp;
use rouille::{Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What a hash stands for.
pub(super) const MAPPING_PATH: &str = "/hash-mappings/{hash}";

/// Where a page says that somebody signed in.
pub(super) const HISTORY_PATH: &str = "/chat/history";

/// The only kind of user that the document knows.
const USER_TYPE: &str = "WHATSAPP_END_USER";

/// The only kind of message that a page sends.
const SIGN_IN: &str = "SIGN_IN";

/// Longest hash that an answer repeats; ours have 40 characters.
const SHOWN_HASH_BYTES_MAX: usize = 128;

/// How long a browser may remember what is allowed.
const PREFLIGHT_MAX_AGE_SECONDS: &str = "600";

/// One page, as configured.
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// Its name in configuration and log.
    pub name: ServiceName,
    /// Where links lead, as written: without `?`, with or without a slash at the end.
    pub url: Option<String>,
    /// What it sends as `Authorization: Bearer`, at least 32 visible ASCII characters; without one
    /// whoever holds a link can sign in their own chat. Different from that of every other page,
    /// and at most one page has none.
    pub credential: Option<Secret>,
    /// Origins from which browsers may make its calls, as browsers write them.
    pub origins: Vec<String>,
    /// The service whose users sign in there.
    pub service: ServiceName,
}

// --- what a hash stands for -------------------------------------------------------------------------

/// The answer, field by field in the document's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireMapping<'a> {
    access_token: &'a str,
    user_uuid: String,
    user_type: &'a str,
    wanumber: &'a str,
}

/// `GET /hash-mappings/{hash}/`
pub(super) fn get(web: &Web, request: &Request, hash: &str) -> Response {
    let page = page_of(web, request);
    let known = page.zip(MappingHash::parse(hash).ok());
    let response = match known.map(|(page, hash)| web.app.mapping(&hash, &page.name)) {
        Some(Ok(Some(mapping))) => Response::json(&WireMapping {
            access_token: mapping.access_token.reveal(),
            user_uuid: mapping.user_uuid.to_string(),
            user_type: USER_TYPE,
            wanumber: mapping.number.as_str(),
        }),
        Some(Err(error)) => unavailable(&error),
        None | Some(Ok(None)) => {
            let name = page.map_or("none", |page| page.name.as_str());
            tracing::debug!(
                page = name,
                "a sign-in page was told that a link is not there"
            );
            let response = no_mapping(hash);
            match page {
                // It asks for many people, whose links grow old.
                Some(page) if page.credential.is_some() => response,
                _ => missed(web, request, response),
            }
        }
    };
    with_cors(web, request, page, response)
}

/// Which page calls: the one whose credential came, or else the one that needs none.
fn page_of<'w>(web: &'w Web, request: &Request) -> Option<&'w PageSettings> {
    let given = bearer(request);
    let (mut known, mut open) = (None, None);
    // All are looked at, so that the time does not tell which came near.
    for page in &web.pages {
        match (&page.credential, given) {
            (Some(credential), Some(given)) if credential.matches(given) => known = Some(page),
            (Some(_), _) => {}
            (None, _) => open = Some(page),
        }
    }
    let page = known.or(open);
    if page.is_none() && web.uncredentialed.due(web.app.now()).is_some() {
        let credential = if given.is_some() {
            "unknown"
        } else {
            "missing"
        };
        if web.pages.is_empty() {
            tracing::warn!(
                credential,
                "a sign-in page asked about a link and got 404, because no page is configured; add [[pages]] with a credential, and let the page send it as Authorization: Bearer"
            );
        } else {
            tracing::warn!(
                credential,
                "a sign-in page asked about a link and got 404; it has to send its [[pages]] credential as Authorization: Bearer"
            );
        }
    }
    page
}

/// The document's answer about a hash that leads nowhere. The hash is repeated, and nothing else
/// that somebody may have written in its place.
fn no_mapping(hash: &str) -> Response {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_shown = hash.len() <= SHOWN_HASH_BYTES_MAX && hash.bytes().all(byte);
    let shown = if is_shown { hash } else { "(malformed)" };
    error(
        404,
        "HASH_MAPPING_NOT_FOUND",
        &format!("Hash mapping {shown} not found"),
    )
}

// --- somebody signed in -----------------------------------------------------------------------------

/// The document's body, and the addition that says who signed in. Anything else is refused, also a
/// field that comes twice (S-76).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireEntry {
    user_uuid: String,
    message_from: String,
    message_payload: WirePayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WirePayload {
    r#type: String,
    sign_in_payload: WireSignIn,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignIn {
    auth: bool,
    user: Option<WireUser>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireUser {
    id: WireId,
    email: String,
    name: String,
    company: WireCompany,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireCompany {
    id: WireId,
    name: String,
}

/// Ids are text, or numbers that stay what they are.
#[derive(Deserialize)]
#[serde(untagged)]
enum WireId {
    Text(String),
    Unsigned(u64),
    Signed(i64),
}

/// The stored entry, and where the browser goes now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireStored<'a> {
    created_at: String,
    user_uuid: String,
    message_from: &'a str,
    message_payload: WireStoredPayload<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireStoredPayload<'a> {
    r#type: &'a str,
    sign_in_payload: WireAuth,
}

#[derive(Serialize)]
struct WireAuth {
    auth: bool,
}

/// What a page says, once it is understood.
struct Entry {
    user_uuid: Option<ContactId>,
    user: Option<User>,
}

/// Who signed in, as the page says.
struct User {
    id: String,
    name: String,
    email: EmailAddress,
    company: Company,
}

/// `POST /chat/history/`: the first thing that is wrong is answered, in an order in which nobody
/// learns about a chat without its token.
pub(super) fn post(web: &Web, request: &Request) -> Response {
    let pages: Vec<ServiceName> = web.pages.iter().map(|page| page.name.clone()).collect();
    let claim = match bearer(request).map(|token| web.app.holder(token, &pages)) {
        None | Some(Ok(None)) => None,
        Some(Ok(Some(claim))) => Some(claim),
        Some(Err(error)) => return with_cors(web, request, None, unavailable(&error)),
    };
    let page = claim
        .as_ref()
        .and_then(|claim| web.pages.iter().find(|page| page.name == claim.page));
    let response = match (&claim, page) {
        (Some(claim), Some(page)) => signed_in(web, request, claim, page),
        _ => {
            let response = error(
                401,
                "ACCESS_TOKEN_INVALID",
                "The access token is missing or not valid; ask /hash-mappings/ for one",
            )
            .with_additional_header("WWW-Authenticate", "Bearer");
            missed(web, request, response)
        }
    };
    with_cors(web, request, page, response)
}

fn signed_in(web: &Web, request: &Request, claim: &Claim, page: &PageSettings) -> Response {
    let entry = match read(request) {
        Ok(entry) => entry,
        Err(refusal) => return refusal,
    };
    if entry.user_uuid != Some(claim.user_uuid) {
        tracing::info!(
            contact = %claim.user_uuid,
            page = page.name.as_str(),
            "a sign-in was refused: its userUuid is not the one of its access token"
        );
        return error(
            403,
            "USER_UUID_MISMATCH",
            "The access token was given out for another userUuid",
        );
    }
    let account = match entry.user {
        // Whoever holds a link can call for this page, and would choose whom to be.
        Some(_) if page.credential.is_none() => {
            tracing::debug!(
                page = page.name.as_str(),
                "a page without a credential says who signed in, which is not believed"
            );
            None
        }
        user => user.map(|user| Account {
            service: page.service.clone(),
            user_id: user.id,
            name: user.name,
            email: user.email,
            phone: None,
            company: user.company,
        }),
    };
    match web.app.claim(claim, account, page.service.clone()) {
        Ok(tried) => answer(web, claim, &tried),
        Err(error) => unavailable(&error),
    }
}

fn answer(web: &Web, claim: &Claim, tried: &Tried) -> Response {
    match tried.answer {
        PageAnswer::Return | PageAnswer::Finished | PageAnswer::CodeMailed => {
            Response::json(&WireStored {
                created_at: rfc_3339(web.app.now()),
                user_uuid: claim.user_uuid.to_string(),
                message_from: USER_TYPE,
                message_payload: WireStoredPayload {
                    r#type: SIGN_IN,
                    sign_in_payload: WireAuth { auth: true },
                },
                redirect_url: tried.chat_url.as_ref().map(Secret::reveal),
            })
        }
        PageAnswer::Refused => error(
            403,
            "SIGN_IN_REFUSED",
            "This user cannot sign in from that chat",
        ),
        PageAnswer::Unnamed => error_about(
            400,
            "USER_REQUIRED",
            "A code has to be mailed, so the page has to say who signed in",
            &json!({ "field": "messagePayload.signInPayload.user" }),
        ),
        PageAnswer::TooMany { until } => too_many(until, web.app.now()),
        _ => no_mapping(claim.hash.reveal()),
    }
}

fn read(request: &Request) -> Result<Entry, Response> {
    let body = json_body(request, || invalid(&json!({})))?;
    // The parser's own words may quote the body; a place in it does not.
    let wire: WireEntry = serde_json::from_slice(&body)
        .map_err(|error| invalid(&json!({ "line": error.line(), "column": error.column() })))?;
    let in_field = |field: &str| invalid(&json!({ "field": field }));
    if wire.message_from != USER_TYPE {
        return Err(in_field("messageFrom"));
    }
    if wire.message_payload.r#type != SIGN_IN {
        return Err(in_field("messagePayload.type"));
    }
    let sign_in = wire.message_payload.sign_in_payload;
    if !sign_in.auth {
        return Err(in_field("messagePayload.signInPayload.auth"));
    }
    let user = sign_in
        .user
        .map(user)
        .transpose()
        .map_err(|field| in_field(&format!("messagePayload.signInPayload.user.{field}")))?;
    Ok(Entry {
        user_uuid: ContactId::parse(&wire.user_uuid).ok(),
        user,
    })
}

/// `Err` names the field that is no good.
fn user(wire: WireUser) -> Result<User, &'static str> {
    let id = id(wire.id).ok_or("id")?;
    let company_id = self::id(wire.company.id).ok_or("company.id")?;
    let email = EmailAddress::parse(&wire.email).map_err(|_| "email")?;
    Ok(User {
        name: name(&wire.name, &id).ok_or("name")?,
        id,
        email,
        company: Company {
            name: name(&wire.company.name, &company_id).ok_or("company.name")?,
            id: company_id,
        },
    })
}

/// An id as it came, or not at all.
fn id(wire: WireId) -> Option<String> {
    let text = match wire {
        WireId::Text(text) => text,
        WireId::Unsigned(number) => number.to_string(),
        WireId::Signed(number) => number.to_string(),
    };
    let is_whole = text.trim() == text && !text.chars().any(is_hidden);
    (is_whole && !text.is_empty() && is_short(&text)).then_some(text)
}

/// A name for people; the id where nothing is left of it.
fn name(text: &str, id: &str) -> Option<String> {
    let shown = one_line(text, Account::TEXT_CHARS_MAX);
    let shown = if shown.is_empty() {
        id.to_owned()
    } else {
        shown
    };
    is_short(text).then_some(shown)
}

fn is_short(text: &str) -> bool {
    text.chars().count() <= Account::TEXT_CHARS_MAX
}

fn invalid(details: &serde_json::Value) -> Response {
    error_about(
        400,
        "PAYLOAD_INVALID",
        "The body is not the documented payload",
        details,
    )
}

// --- who calls --------------------------------------------------------------------------------------

/// The answer to a guess, until there were too many from this network (S-36).
fn missed(web: &Web, request: &Request, response: Response) -> Response {
    let (network, now) = (network(request.remote_addr().ip()), web.app.now());
    match web.guesses.count(network, now) {
        None => response,
        Some(until) => too_many(until, now),
    }
}

fn too_many(until: Timestamp, now: Timestamp) -> Response {
    error(
        429,
        "TOO_MANY_TRIES",
        "Too many tries; wait before the next one",
    )
    .with_additional_header("Retry-After", retry_after(until, now))
}

fn unavailable(error: &dyn std::fmt::Display) -> Response {
    tracing::error!(%error, "a call of a sign-in page could not be served");
    super::error(503, "UNAVAILABLE", "It could not be done; call again")
}

// --- browsers ---------------------------------------------------------------------------------------

/// `OPTIONS` of either path: the browser asks before the page may. Who calls is not known yet.
pub(super) fn preflight(web: &Web, request: &Request, methods: &[&str]) -> Response {
    let methods = methods.join(", ");
    let response = Response::text("")
        .with_status_code(204)
        .without_header("Content-Type")
        .with_additional_header("Allow", methods.clone());
    let response = with_cors(web, request, None, response);
    let is_listed = response
        .headers
        .iter()
        .any(|(name, _)| name == "Access-Control-Allow-Origin");
    if !is_listed {
        return response;
    }
    response
        .with_additional_header("Access-Control-Allow-Methods", methods)
        .with_additional_header(
            "Access-Control-Allow-Headers",
            "Authorization, Content-Type",
        )
        .with_additional_header("Access-Control-Max-Age", PREFLIGHT_MAX_AGE_SECONDS)
}

/// Lets the browser show the answer to a listed origin: one of the page that called, or of any while
/// it is not known which.
fn with_cors(
    web: &Web,
    request: &Request,
    page: Option<&PageSettings>,
    response: Response,
) -> Response {
    let response = response.with_additional_header("Vary", "Origin");
    let Some(origin) = request.header("Origin") else {
        return response;
    };
    let lists = |page: &PageSettings| page.origins.iter().any(|listed| listed == origin);
    let is_listed = match page {
        Some(page) => lists(page),
        None => web.pages.iter().any(lists),
    };
    if is_listed {
        response.with_additional_header("Access-Control-Allow-Origin", origin.to_owned())
    } else {
        response
    }
}

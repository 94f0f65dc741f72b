//! Somebody else's back end, which our own sign-in page serves.
//!
//! The page's side of the published document: once somebody has signed in with user and password,
//! two calls and a redirect to WhatsApp. They go from server to server, so the browser never sees
//! the access token. What comes back is checked, not believed: it decides where a person is sent.

use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::{Malformed, WaId};
use crate::domain::secret::Secret;
use crate::http::{self, Agent, AgentSettings, Broken, Endpoint};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longest time for one call: a person looks at the browser while both are made.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(10);

/// Longest access token; what fits a request header of the usual servers.
pub const ACCESS_TOKEN_BYTES_MAX: usize = 4 * 1024;

/// Longest `userUuid`; a UUID has 36, and other back ends may count otherwise.
pub const USER_UUID_BYTES_MAX: usize = 100;

/// Longest link back to WhatsApp: a number, a sentence and a code, percent-encoded.
pub const REDIRECT_URL_BYTES_MAX: usize = 2 * 1024;

/// The only kind of user that the document knows.
const USER_TYPE: &str = "WHATSAPP_END_USER";

/// Where people return to; the number follows.
pub const RETURN_TO: &str = "https://api.whatsapp.com/send/?phone=";

const CHECK_URL: &str = "check the address in sign_in.backend";

/// The back end, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What its two paths are appended to: `https`, or `http` to loopback, no slash at the end.
    pub url: String,
    /// Who we are: `Authorization: Bearer` of the question about a hash, when the back end asks.
    pub credential: Option<Secret>,
    /// Longest time for one call, connection included; at most [`TIMEOUT_MAX`].
    pub timeout: Duration,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
}

/// The back end that is served. Shared by the threads that answer browsers.
pub struct Backend {
    agent: Agent,
    url: String,
    history: Endpoint,
    authorization: Option<Secret>,
}

/// A hash that somebody else's back end has put into its link. Never printed.
///
/// The document shows 40 hex digits without promising them. Whatever is accepted here stands in a
/// path as it is.
#[derive(Clone)]
pub struct ForeignHash(String);

impl ForeignHash {
    /// Fewest and most characters.
    pub const CHARS: std::ops::RangeInclusive<usize> = 8..=128;

    /// Accepts 8 to 128 of `A–Z a–z 0–9 - _`.
    pub fn parse(text: &str) -> Result<ForeignHash, Malformed> {
        let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if Self::CHARS.contains(&text.len()) && text.bytes().all(byte) {
            Ok(ForeignHash(text.to_owned()))
        } else {
            Err(Malformed(
                "a sign-in link carries 8 to 128 letters, digits, - and _",
            ))
        }
    }

    /// The text, for the request that carries it and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether both are the same hash, in time that does not depend on where they differ (S-02).
    pub fn matches(&self, other: &ForeignHash) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.0.as_bytes()).into()
    }
}

impl fmt::Debug for ForeignHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignHash(..)")
    }
}

impl Drop for ForeignHash {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// What a hash stands for. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Session {
    /// Visible ASCII, at most [`ACCESS_TOKEN_BYTES_MAX`].
    pub access_token: Secret,
    /// The contact's name in the back end: visible ASCII, at most [`USER_UUID_BYTES_MAX`].
    pub user_uuid: String,
    /// What the back end calls the contact; goes back to it as it came.
    pub user_type: String,
    /// The business's number, where the person returns to.
    pub number: WaId,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

/// What became of telling the back end that the person has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    /// It knows now, and the hash is spent.
    Done(Signed),
    /// The hash was spent or too old.
    Expired,
}

/// The back end's answer to a sign-in. `Debug` hides the link.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The way back, when the answer carries one that leads to [`Session::number`]; it may hold a
    /// code that the person is to send, so it is shown to nobody else.
    pub redirect_url: Option<String>,
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = if self.redirect_url.is_some() {
            "with"
        } else {
            "without"
        };
        write!(f, "Signed({link} a link)")
    }
}

/// The four fields; a second one of the same name is refused, others are not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSession {
    access_token: String,
    user_uuid: String,
    user_type: String,
    wanumber: String,
}

/// The document's body, field by field in its order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireSignIn<'a> {
    user_uuid: &'a str,
    message_from: &'a str,
    message_payload: WirePayload,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WirePayload {
    r#type: &'static str,
    sign_in_payload: WireAuth,
}

#[derive(Serialize)]
struct WireAuth {
    auth: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireSigned {
    redirect_url: String,
}

/// Which of the two calls an answer belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Fetch,
    SignIn,
}

impl Backend {
    /// Checks the settings; connects to nothing. `Err` is a sentence for the operator.
    pub fn new(settings: Settings) -> Result<Backend, String> {
        if settings.url.contains('?') {
            return Err("sign_in.backend must be without `?` and what follows".to_owned());
        }
        if settings.url.ends_with('/') {
            return Err("sign_in.backend must be without a slash at the end".to_owned());
        }
        let history = Endpoint::parse(&settings.url)
            .and_then(|_| Endpoint::parse(&format!("{}/chat/history/", settings.url)))
            .map_err(|words| format!("sign_in.backend {words}"))?;
        if settings.timeout.is_zero() || settings.timeout > TIMEOUT_MAX {
            return Err(format!(
                "sign_in.backend_timeout_seconds must be more than 0 and at most {}",
                TIMEOUT_MAX.as_secs()
            ));
        }
        let authorization = match &settings.credential {
            None => None,
            Some(credential) if is_visible(credential.reveal(), ACCESS_TOKEN_BYTES_MAX) => {
                Some(bearer(credential))
            }
            Some(_) => {
                return Err(
                    "sign_in.backend_credential must be one word of visible ASCII".to_owned(),
                );
            }
        };
        let agent = Agent::new(AgentSettings {
            timeout: settings.timeout,
            // The second call is made once. A connection kept from earlier may be closed under it,
            // and then nobody would know whether it arrived.
            connections: 0,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("sign_in.backend_ca_file {words}"))?;
        Ok(Backend {
            agent,
            url: settings.url,
            history,
            authorization,
        })
    }

    /// What this hash stands for; `None` when the back end knows no such hash, or not any more.
    /// Changes nothing, so it may be asked again.
    pub fn fetch(&self, hash: &ForeignHash) -> Result<Option<Session>, Failure> {
        let url = format!("{}/hash-mappings/{}/", self.url, hash.reveal());
        let url = Endpoint::parse(&url).map_err(|_| Failure {
            kind: FailureKind::Permanent,
            reason: "the hash fits no address".to_owned(),
            advice: None,
        })?;
        let mut headers = Vec::new();
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization.reveal()));
        }
        let answer = self
            .agent
            .get(&url, &headers)
            .map_err(|broken| failure(Call::Fetch, broken))?;
        match answer.status {
            200 => session(&answer.body).map(Some),
            404 => not_found(&answer).map(|()| None),
            _ => Err(unusable(Call::Fetch, &answer)),
        }
    }

    /// Tells the back end that the person of this session has signed in. Only to be called after
    /// the password was found right.
    ///
    /// One request and no second: after [`FailureKind::Unknown`] the back end may know, and then
    /// [`Self::fetch`] finds the hash spent.
    pub fn sign_in(&self, session: &Session) -> Result<SignInOutcome, Failure> {
        let body = serde_json::to_vec(&WireSignIn {
            user_uuid: &session.user_uuid,
            message_from: &session.user_type,
            message_payload: WirePayload {
                r#type: "SIGN_IN",
                sign_in_payload: WireAuth { auth: true },
            },
        })
        // Structs of strings always have a JSON form.
        .expect("a body of strings");
        let authorization = bearer(&session.access_token);
        let headers = [
            ("content-type", "application/json;charset=UTF-8"),
            ("authorization", authorization.reveal()),
        ];
        let answer = self
            .agent
            .post_json(&self.history, &headers, &body)
            .map_err(|broken| failure(Call::SignIn, broken))?;
        match answer.status {
            // The document does not say what the answer holds, so nothing is asked of it.
            200..=299 => Ok(SignInOutcome::Done(Signed {
                redirect_url: redirect_url(&answer.body, &session.number),
            })),
            404 => not_found(&answer).map(|()| SignInOutcome::Expired),
            _ => Err(unusable(Call::SignIn, &answer)),
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.history.host())
    }
}

fn bearer(word: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", word.reveal()))
}

fn is_visible(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether fields are named: serde would take a list for a struct, value by value.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// Reads the answer about a hash.
fn session(body: &[u8]) -> Result<Session, Failure> {
    if !is_object(body) {
        return Err(Failure::temporary("not a JSON object"));
    }
    let answer: WireSession = serde_json::from_slice(body).map_err(|error| {
        // The parser's own words may quote the answer, except about what is not there.
        let words = error.to_string();
        Failure::temporary(if words.starts_with("missing field") {
            words
        } else if error.is_data() {
            "a field twice or of the wrong type".to_owned()
        } else {
            "not JSON".to_owned()
        })
    })?;
    // Taken into custody first, so that it is wiped whatever comes of it.
    let access_token = Secret::new(answer.access_token);
    if !is_visible(access_token.reveal(), ACCESS_TOKEN_BYTES_MAX) {
        return Err(Failure::temporary("an accessToken that fits no header"));
    }
    if !is_visible(&answer.user_uuid, USER_UUID_BYTES_MAX) {
        return Err(Failure::temporary("a userUuid that is no name"));
    }
    if answer.user_type != USER_TYPE {
        return Err(Failure::temporary("a userType that is not for this page"));
    }
    // S-40: it becomes a part of the address where the person is sent.
    let number = WaId::parse(&answer.wanumber)
        .map_err(|_| Failure::temporary("a wanumber that is not digits"))?;
    Ok(Session {
        access_token,
        user_uuid: answer.user_uuid,
        user_type: answer.user_type,
        number,
    })
}

/// The way back that the answer carries, when it leads to `number` on WhatsApp and nowhere else
/// (S-40). Anything else is as good as none: the document has the page make the link itself.
fn redirect_url(body: &[u8], number: &WaId) -> Option<String> {
    if !is_object(body) {
        return None;
    }
    let answer: WireSigned = serde_json::from_slice(body).ok()?;
    let url = answer.redirect_url;
    let rest = url.strip_prefix(RETURN_TO)?.strip_prefix(number.as_str())?;
    // What percent-encoders leave; above all no `&` or `#`, which would end the text.
    let byte = |b: u8| b.is_ascii_alphanumeric() || b"-._~!*'()%+".contains(&b);
    let leads_there = rest.is_empty()
        || rest
            .strip_prefix("&text=")
            .is_some_and(|text| text.bytes().all(byte));
    (leads_there && url.len() <= REDIRECT_URL_BYTES_MAX).then_some(url)
}

/// Whether a 404 was said by the back end: it has no body or a JSON one. A web server that does not
/// know the path sends a page, and a wrong path must not look like one expired link after another.
fn not_found(answer: &http::Answer) -> Result<(), Failure> {
    let body = answer.body.trim_ascii();
    if body.is_empty() || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() {
        return Ok(());
    }
    Err(Failure {
        kind: FailureKind::Configuration,
        reason: "404 with something else than JSON".to_owned(),
        advice: Some(CHECK_URL),
    })
}

fn failure(call: Call, broken: Broken) -> Failure {
    let (kind, advice) = if broken.certificate_refused {
        (
            FailureKind::Configuration,
            Some(
                "sign_in.backend must carry the name in the certificate; a private authority is named in sign_in.backend_ca_file",
            ),
        )
    } else if call == Call::SignIn && broken.may_have_arrived {
        (FailureKind::Unknown, None)
    } else {
        (
            FailureKind::Temporary {
                retry_after_ms: None,
            },
            None,
        )
    };
    Failure {
        kind,
        reason: broken.reason,
        advice,
    }
}

/// A status that is not an answer of the document.
fn unusable(call: Call, answer: &http::Answer) -> Failure {
    let status = answer.status;
    let temporary = FailureKind::Temporary {
        retry_after_ms: answer.retry_after_ms,
    };
    let (kind, words, advice) = match (status, call) {
        (300..=399, _) => (
            FailureKind::Configuration,
            ": a redirect, which is not followed",
            Some(CHECK_URL),
        ),
        (401 | 403, Call::Fetch) => (
            FailureKind::Configuration,
            ": the back end does not accept who we are",
            Some("compare sign_in.backend_credential with what the back end expects"),
        ),
        (401 | 403, Call::SignIn) => (
            FailureKind::Permanent,
            ": the back end does not accept the access token that it gave",
            None,
        ),
        (405, _) => (
            FailureKind::Configuration,
            ": the method is not accepted here",
            Some(CHECK_URL),
        ),
        (429 | 503, _) => (temporary, ": asks for a pause", None),
        (400..=499, _) => (FailureKind::Permanent, ": the back end refuses", None),
        // Whatever broke may have broken after the work was done.
        (500..=599, Call::SignIn) => (FailureKind::Unknown, "", None),
        _ => (temporary, "", None),
    };
    Failure {
        kind,
        reason: format!("{status}{words}"),
        advice,
    }
}

#[cfg(test)]
mod tests;

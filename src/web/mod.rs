//! The web: what listens, the one route table, and who answers.

mod api;
pub mod listener;
mod logo;
pub mod look;
mod mappings;
pub mod pages;
mod paint;
mod redirect;
mod reminder;
mod request;
mod sign_in;
mod status;
mod throttle;
mod watch;
mod webhook;

pub use api::{ApiKey, ApiScope};
pub use logo::Logo;
pub use look::{Color, Look};
pub use mappings::PageSettings;
pub use redirect::RedirectDoor;
pub use sign_in::{SIGN_IN_PATH, UNDO_PATH};
pub use status::{
    CertificateView, LaneView, Outlook, STATUS_PATH, ServiceView, StatusPassword, StatusSettings,
};
pub use watch::{METRICS_PATH, MetricsDoor, OfRoute};

use crate::app::{App, IssueToken, Verdict};
use crate::backend::Backend;
use crate::domain::id::PhoneNumberId;
use crate::domain::secret::Secret;
use listener::SAFE_HEADERS;
use reminder::Reminder;
use rouille::{Request, Response};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use throttle::Throttle;

/// Where Meta sends webhooks: the callback URL is the public URL and this.
pub const WEBHOOK_PATH: &str = "/webhook";

/// Meta sends up to 3 MB in one POST (Meta's contract, section 1.4; S-09).
const WEBHOOK_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Every other body is a form or a small JSON document.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the webhook needs to know its sender.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// A webhook signed with any of them is accepted.
    pub app_secrets: Vec<Secret>,
    /// For Meta's verification request.
    pub verify_token: Secret,
    /// The business's number; what is for another one is ignored.
    pub phone_number_id: PhoneNumberId,
}

/// Whether the parts of the program that the web does not know can do their work; each line names
/// a part that cannot, and what to do.
pub type Troubles = dyn Fn() -> Vec<String> + Send + Sync;

/// Asks everybody who can say whose user name and password these are.
pub type CheckPassword = dyn Fn(&str, &Secret) -> Verdict + Send + Sync;

/// What the pages need, where there is a public address for them.
pub struct Site {
    /// `https://host[:port]` of the public address, as browsers write an origin.
    pub origin: String,
    /// The path of the public address without its last slash; mostly empty.
    pub base: String,
    /// What the pages show of the business.
    pub look: Look,
    /// Its logo.
    pub logo: Option<Logo>,
    /// Where a form may lead besides this server.
    pub chat_origins: Vec<String>,
    /// Who checks passwords.
    pub check: Box<CheckPassword>,
    /// Whose links the page serves, when not Portero's own.
    pub backend: Option<Backend>,
}

impl Site {
    fn is_origin(&self, origin: &str) -> bool {
        self.origin.eq_ignore_ascii_case(origin)
    }
}

/// What is configured for the web.
pub struct WebSettings {
    /// Meta's door.
    pub webhook: WebhookSettings,
    /// The pages, where there are any.
    pub site: Option<Site>,
    /// Sign-in pages that are not Portero's.
    pub pages: Vec<PageSettings>,
    /// Whoever may call the API; names and keys are unique.
    pub api_keys: Vec<ApiKey>,
    /// Who issues tokens.
    pub issue_token: Box<dyn IssueToken>,
    /// The status page, where there is one.
    pub status: Option<StatusSettings>,
}

/// Answers every request, as one configuration has it. What is behind an `Arc` besides `app` goes
/// on under the next one ([`Web::with_settings`]).
pub struct Web {
    app: Arc<App>,
    webhook: WebhookSettings,
    site: Option<Site>,
    pages: Vec<PageSettings>,
    api_keys: Vec<ApiKey>,
    issue_token: Box<dyn IssueToken>,
    status: Option<status::Status>,
    troubles: Box<Troubles>,
    marks: Arc<api::Marks>,
    guesses: Arc<Throttle>,
    uncredentialed: Arc<Reminder>,
    unknown_callers: Arc<Reminder>,
    forged_webhooks: Arc<Reminder>,
    unstored_webhooks: Arc<Reminder>,
    wrong_handshakes: Arc<Reminder>,
    requests: Arc<watch::Requests>,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Webhook,
    SignIn,
    Logo,
    Undo,
    Mapping,
    History,
    Tokens,
    Links,
    Challenges,
    Challenge,
    Contact,
    Bindings,
    Jwks,
    OpenApi,
    Status,
    StatusContacts,
    StatusContact,
    StatusLetters,
    StatusLog,
    Alive,
    Ready,
}

/// The routes, as data: what is not here is 404. `{…}` is one segment, whatever it is; a
/// path has one at most.
const ROUTES: [(&str, Route, &[&str]); 21] = [
    (WEBHOOK_PATH, Route::Webhook, &["GET", "POST"]),
    (SIGN_IN_PATH, Route::SignIn, &["GET", "POST"]),
    (pages::LOGO_PATH, Route::Logo, &["GET"]),
    (UNDO_PATH, Route::Undo, &["GET", "POST"]),
    (mappings::MAPPING_PATH, Route::Mapping, &["GET", "OPTIONS"]),
    (mappings::HISTORY_PATH, Route::History, &["POST", "OPTIONS"]),
    (api::TOKENS_PATH, Route::Tokens, &["POST"]),
    (api::LINKS_PATH, Route::Links, &["POST"]),
    (api::CHALLENGES_PATH, Route::Challenges, &["POST"]),
    (api::CHALLENGE_PATH, Route::Challenge, &["GET"]),
    (api::CONTACT_PATH, Route::Contact, &["GET"]),
    (api::BINDINGS_PATH, Route::Bindings, &["DELETE"]),
    (api::JWKS_PATH, Route::Jwks, &["GET"]),
    (api::OPENAPI_PATH, Route::OpenApi, &["GET"]),
    (STATUS_PATH, Route::Status, &["GET", "POST"]),
    (
        status::CONTACTS_PATH,
        Route::StatusContacts,
        &["GET", "POST"],
    ),
    (status::CONTACT_PATH, Route::StatusContact, &["GET"]),
    (status::LETTERS_PATH, Route::StatusLetters, &["GET", "POST"]),
    (status::LOG_PATH, Route::StatusLog, &["GET"]),
    ("/healthz", Route::Alive, &["GET"]),
    ("/readyz", Route::Ready, &["GET"]),
];

impl Web {
    /// The web of this app.
    pub fn new(app: Arc<App>, settings: WebSettings, troubles: Box<Troubles>) -> Web {
        Web {
            app,
            webhook: settings.webhook,
            site: settings.site,
            pages: settings.pages,
            api_keys: settings.api_keys,
            issue_token: settings.issue_token,
            status: settings.status.map(status::Status::new),
            troubles,
            marks: Arc::default(),
            guesses: Arc::default(),
            uncredentialed: Arc::default(),
            unknown_callers: Arc::default(),
            forged_webhooks: Arc::default(),
            unstored_webhooks: Arc::default(),
            wrong_handshakes: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// The web of another app, which goes on counting and remembers what this one knows.
    #[must_use]
    pub fn with_settings(
        &self,
        app: Arc<App>,
        settings: WebSettings,
        troubles: Box<Troubles>,
    ) -> Web {
        let mut next = Web::new(app, settings, troubles);
        if let (Some(next), Some(before)) = (&mut next.status, &self.status) {
            next.take_over(before);
        }
        Web {
            marks: Arc::clone(&self.marks),
            guesses: Arc::clone(&self.guesses),
            uncredentialed: Arc::clone(&self.uncredentialed),
            unknown_callers: Arc::clone(&self.unknown_callers),
            forged_webhooks: Arc::clone(&self.forged_webhooks),
            unstored_webhooks: Arc::clone(&self.unstored_webhooks),
            wrong_handshakes: Arc::clone(&self.wrong_handshakes),
            requests: Arc::clone(&self.requests),
            ..next
        }
    }

    /// The patterns of all routes, and what was counted about requests for them.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, &OfRoute)> {
        self.requests.all()
    }

    /// Tells how often something was refused that anybody can repeat, where it has stopped and the
    /// rest is not told yet. To be called about once a second.
    pub fn tell_rest(&self) {
        let now = self.app.now();
        webhook::tell_rest(self, |reminder| reminder.rest_due(now));
    }

    /// The same before the end, when nobody will ask again.
    pub fn tell_last_rest(&self) {
        webhook::tell_rest(self, Reminder::last_rest);
    }

    fn respond(&self, request: &Request, found: Option<Found<'_>>) -> Response {
        let Some(Found {
            route,
            methods,
            segment,
        }) = found
        else {
            return not_found();
        };
        let method = if request.method() == "HEAD" {
            "GET"
        } else {
            request.method()
        };
        let is_status = matches!(
            route,
            Route::Status
                | Route::StatusContacts
                | Route::StatusContact
                | Route::StatusLetters
                | Route::StatusLog
        );
        if is_status && self.status.is_none() {
            return not_found();
        }
        if !methods.contains(&method) {
            return wrong_method(methods.join(", "));
        }
        match route {
            Route::Webhook if method == "POST" => webhook::post(self, request),
            Route::Webhook => webhook::handshake(self, request),
            Route::Alive => Response::text("alive\n"),
            Route::Ready => self.ready(),
            Route::Mapping | Route::History if method == "OPTIONS" => {
                mappings::preflight(self, request, methods)
            }
            Route::Mapping => mappings::get(self, request, segment),
            Route::History => mappings::post(self, request),
            Route::Tokens
            | Route::Links
            | Route::Challenges
            | Route::Challenge
            | Route::Contact
            | Route::Bindings => api::respond(self, request, route, segment),
            Route::Jwks => api::jwks(self),
            Route::OpenApi => api::openapi(),
            Route::Status
            | Route::StatusContacts
            | Route::StatusContact
            | Route::StatusLetters
            | Route::StatusLog => match &self.status {
                Some(status) => status::respond(self, status, route, method, segment, request),
                None => not_found(),
            },
            Route::SignIn | Route::Logo | Route::Undo => match &self.site {
                Some(site) => self.page(route, method, site, request),
                None => not_found(),
            },
        }
    }

    fn page(&self, route: Route, method: &str, site: &Site, request: &Request) -> Response {
        match (route, method) {
            (Route::SignIn, "POST") => sign_in::post(self, site, request),
            (Route::SignIn, _) => sign_in::get(self, site, request),
            (Route::Undo, "POST") => sign_in::undo_post(self, site, request),
            (Route::Undo, _) => sign_in::undo_get(self, site, request),
            _ => match &site.logo {
                Some(logo) => Response::from_data(logo.media_type, logo.bytes.clone()),
                None => not_found(),
            },
        }
    }

    /// Ready means: what is received can be kept. A lane that is paused or fails is told, but receiving
    /// goes on.
    fn ready(&self) -> Response {
        let mut troubles = (self.troubles)();
        let ready = self.app.takes_writes();
        if !ready {
            let refuses = "the store refuses what is received; look at its disk, the log says more";
            troubles.insert(0, refuses.to_owned());
        }
        let status = if ready { 200 } else { 503 };
        Response::json(&json!({ "ready": ready, "troubles": troubles })).with_status_code(status)
    }
}

impl listener::Handler for Web {
    fn body_max_bytes(&self, method: &str, path: &str) -> usize {
        match route(path) {
            Some(found) if found.route == Route::Webhook && method == "POST" => {
                WEBHOOK_BODY_BYTES_MAX
            }
            _ => BODY_BYTES_MAX,
        }
    }

    fn handle(&self, request: &Request) -> Response {
        let id = self.requests.next_id();
        // Whatever is logged meanwhile carries the name of the request.
        tracing::info_span!("request", id = format_args!("{id:016x}")).in_scope(|| {
            let begun = Instant::now();
            let path = request.url();
            let found = route(&path);
            let route = found.as_ref().map(|found| found.route);
            let response = with_headers(self.respond(request, found));
            let took = begun.elapsed();
            (self.requests).answered(route, request.method(), id, took, response)
        })
    }
}

/// Answers each request with the web that is current when all of it is here.
pub struct CurrentWeb(Box<dyn Fn() -> Arc<Web> + Send + Sync>);

impl CurrentWeb {
    /// `now` gives the current one.
    pub fn new(now: impl Fn() -> Arc<Web> + Send + Sync + 'static) -> CurrentWeb {
        CurrentWeb(Box::new(now))
    }
}

impl listener::Handler for CurrentWeb {
    fn body_max_bytes(&self, method: &str, path: &str) -> usize {
        (self.0)().body_max_bytes(method, path)
    }

    fn handle(&self, request: &Request) -> Response {
        (self.0)().handle(request)
    }
}

/// A route, and what its path holds.
struct Found<'p> {
    route: Route,
    methods: &'static [&'static str],
    /// What stands in place of `{…}`; empty where there is none.
    segment: &'p str,
}

/// A path without the slash at its end: every path works with and without that one.
fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// The path comes decoded, so that an encoded slash is one that divides.
fn route(path: &str) -> Option<Found<'_>> {
    let plain = without_slash(path);
    ROUTES.iter().find_map(|(known, route, methods)| {
        Some(Found {
            route: *route,
            methods,
            segment: matched(known, plain)?,
        })
    })
}

/// What stands in place of the `{…}` of a pattern, if a path is of that form.
fn matched<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let (Some(open), Some(close)) = (pattern.find('{'), pattern.find('}')) else {
        return (pattern == path).then_some("");
    };
    path.strip_prefix(&pattern[..open])?
        .strip_suffix(&pattern[close + 1..])
        .filter(|segment| !segment.is_empty() && !segment.contains('/'))
}

fn not_found() -> Response {
    error(404, "NOT_FOUND", "There is nothing at this address")
}

fn wrong_method(allow: String) -> Response {
    error(
        405,
        "METHOD_NOT_ALLOWED",
        "This address does not answer that method",
    )
    .with_additional_header("Allow", allow)
}

/// A page with the policy that it needs.
fn page_response(site: &Site, page: &pages::Page) -> Response {
    let leads_to: Vec<&str> = site.chat_origins.iter().map(String::as_str).collect();
    Response::html(page.html.as_str()).with_unique_header(POLICY, page.policy(&leads_to))
}

const POLICY: &str = "Content-Security-Policy";

/// The envelope of every error: `{"error":{"key","message","details"}}`.
fn error(status: u16, key: &str, message: &str) -> Response {
    error_about(status, key, message, &json!({}))
}

/// The envelope with details, which never quote what was sent.
fn error_about(status: u16, key: &str, message: &str, details: &Value) -> Response {
    // In the order of the published document.
    #[derive(Serialize)]
    struct Envelope<'a> {
        error: Inside<'a>,
    }
    #[derive(Serialize)]
    struct Inside<'a> {
        key: &'a str,
        message: &'a str,
        details: &'a Value,
    }
    let error = Inside {
        key,
        message,
        details,
    };
    Response::json(&Envelope { error }).with_status_code(status)
}

/// What every answer carries (S-47).
fn with_headers(mut response: Response) -> Response {
    for (name, value) in SAFE_HEADERS {
        // A page has a policy of its own.
        if !response.headers.iter().any(|(known, _)| known == name) {
            let header = (Cow::Borrowed(name), Cow::Borrowed(value));
            response.headers.push(header);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Pages for people are no part of what programs are told.
    const FOR_PEOPLE: [Route; 8] = [
        Route::SignIn,
        Route::Logo,
        Route::Undo,
        Route::Status,
        Route::StatusContacts,
        Route::StatusContact,
        Route::StatusLetters,
        Route::StatusLog,
    ];

    #[test]
    fn the_description_has_just_the_routes_that_there_are() {
        let described: Value = serde_json::from_str(api::OPENAPI).unwrap();
        let mut described: Vec<(String, String)> = (described["paths"].as_object().unwrap().iter())
            .flat_map(|(path, operations)| {
                let path = without_slash(path);
                (operations.as_object().unwrap().keys())
                    .map(move |method| (path.to_owned(), method.to_uppercase()))
            })
            .collect();
        let mut known: Vec<(String, String)> = (ROUTES.iter())
            .filter(|(_, route, _)| !FOR_PEOPLE.contains(route))
            .flat_map(|(path, _, methods)| {
                (methods.iter()).map(|method| ((*path).to_owned(), (*method).to_owned()))
            })
            .collect();
        described.sort();
        known.sort();
        assert_eq!(described, known);
    }

    #[test]
    fn one_segment_of_a_path_may_be_anything() {
        let pattern = "/v1/contacts/{userUuid}/bindings";
        assert_eq!(matched(pattern, "/v1/contacts/a-b/bindings"), Some("a-b"));
        assert_eq!(
            matched("/hash-mappings/{hash}", "/hash-mappings/x"),
            Some("x")
        );
        assert_eq!(matched("/healthz", "/healthz"), Some(""));
        for other in [
            "/v1/contacts//bindings",
            "/v1/contacts/bindings",
            "/v1/contacts/a/b/bindings",
            "/v1/contacts/a/bindings/b",
            "/v1/contacts/a",
            "/v1/contacts/a/bindings.json",
        ] {
            assert_eq!(matched(pattern, other), None, "{other}");
        }
    }
}

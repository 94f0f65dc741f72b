//! The web: what listens, the one route table, and who answers.

pub mod listener;
mod logo;
pub mod look;
mod mappings;
pub mod pages;
mod paint;
mod webhook;

pub use logo::Logo;
pub use look::{Color, Look};
pub use mappings::PageSettings;

use crate::app::App;
use crate::domain::id::{PhoneNumberId, Secret};
use listener::SAFE_HEADERS;
use rouille::{Request, Response};
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;

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

/// Answers every request.
pub struct Web {
    app: Arc<App>,
    webhook: WebhookSettings,
    troubles: Box<Troubles>,
}

/// The routes, as data: what is not here is 404.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Webhook,
    Alive,
    Ready,
}

const ROUTES: [(&str, Route, &[&str]); 3] = [
    (WEBHOOK_PATH, Route::Webhook, &["GET", "POST"]),
    ("/healthz", Route::Alive, &["GET"]),
    ("/readyz", Route::Ready, &["GET"]),
];

impl Web {
    /// The web of this app.
    pub fn new(app: Arc<App>, webhook: WebhookSettings, troubles: Box<Troubles>) -> Web {
        Web {
            app,
            webhook,
            troubles,
        }
    }

    fn respond(&self, request: &Request) -> Response {
        let Some((route, methods)) = route(request.url().as_str()) else {
            return error(404, "NOT_FOUND", "There is nothing at this address");
        };
        let method = if request.method() == "HEAD" {
            "GET"
        } else {
            request.method()
        };
        if !methods.contains(&method) {
            let allow = methods.join(", ");
            return error(
                405,
                "METHOD_NOT_ALLOWED",
                "This address does not answer that method",
            )
            .with_additional_header("Allow", allow);
        }
        match route {
            Route::Webhook if method == "POST" => webhook::post(&self.app, &self.webhook, request),
            Route::Webhook => webhook::handshake(&self.webhook, request),
            Route::Alive => Response::text("alive\n"),
            Route::Ready => self.ready(),
        }
    }

    /// Ready means: what is received can be kept. A lane at rest is told, but receiving goes on.
    fn ready(&self) -> Response {
        let troubles = (self.troubles)();
        let (ready, status) = match self.app.is_ready() {
            Ok(()) => (true, 200),
            Err(_) => (false, 503),
        };
        Response::json(&json!({ "ready": ready, "troubles": troubles })).with_status_code(status)
    }
}

impl listener::Handler for Web {
    fn body_max_bytes(&self, method: &str, path: &str) -> usize {
        match route(path) {
            Some((Route::Webhook, _)) if method == "POST" => WEBHOOK_BODY_BYTES_MAX,
            _ => BODY_BYTES_MAX,
        }
    }

    fn handle(&self, request: &Request) -> Response {
        with_headers(self.respond(request))
    }
}

/// Every path works with and without the trailing slash.
fn route(path: &str) -> Option<(Route, &'static [&'static str])> {
    let plain = if path.len() > 1 {
        path.strip_suffix('/').unwrap_or(path)
    } else {
        path
    };
    ROUTES
        .iter()
        .find(|(known, ..)| *known == plain)
        .map(|(_, route, methods)| (*route, *methods))
}

/// The envelope of every error: `{"error":{"key","message","details"}}`.
fn error(status: u16, key: &str, message: &str) -> Response {
    Response::json(&json!({ "error": { "key": key, "message": message, "details": {} } }))
        .with_status_code(status)
}

/// What every answer carries (S-47).
fn with_headers(mut response: Response) -> Response {
    let headers = SAFE_HEADERS.map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value)));
    response.headers.extend(headers);
    response
}

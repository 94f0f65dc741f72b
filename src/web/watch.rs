//! What requests leave behind for whoever watches: a line in the log, numbers, and the page of all
//! numbers for Prometheus.

use super::listener::Handler;
use super::request::bearer;
use super::{ROUTES, Route, error, not_found, with_headers, wrong_method};
use crate::domain::secret::Secret;
use crate::metrics::{Counters, Durations, MEDIA_TYPE};
use rouille::{Request, Response, ResponseBody};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the numbers are, on their own listener.
pub const METRICS_PATH: &str = "/metrics";

/// What names a request to whoever asks about it later.
const REQUEST_ID: &str = "X-Request-Id";

/// Requests that took longer are told, whatever they were.
const SLOW: Duration = Duration::from_secs(1);

/// The route of what is at no address.
const NOWHERE: &str = "none";

/// The statuses that are given; others are counted together.
const STATUSES: [&str; 18] = [
    "200", "201", "204", "302", "303", "400", "401", "403", "404", "405", "409", "413", "415",
    "422", "429", "500", "503", "other",
];

/// What is counted about requests.
pub(super) struct Requests {
    by_route: [OfRoute; ROUTES.len() + 1],
    ids: RandomState,
    last: AtomicU64,
}

/// What is counted about the requests of one route.
pub struct OfRoute {
    /// By status.
    pub statuses: Counters<18>,
    /// From the whole request to the whole answer; the network is not in it.
    pub durations: Durations,
}

impl Default for Requests {
    fn default() -> Requests {
        Requests {
            by_route: std::array::from_fn(|_| OfRoute {
                statuses: Counters::new(STATUSES),
                durations: Durations::default(),
            }),
            ids: RandomState::new(),
            last: AtomicU64::new(0),
        }
    }
}

impl Requests {
    /// A name for a request, 16 hexadecimal digits. It only has to be another one each time, and to
    /// tell nobody how many there were: a keyed hash of a number that grows.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.hash_one(self.last.fetch_add(1, Ordering::Relaxed))
    }

    /// The patterns of all routes, each with what was counted.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &OfRoute)> {
        let patterns = ROUTES.iter().map(|(pattern, ..)| *pattern);
        patterns.chain([NOWHERE]).zip(&self.by_route)
    }

    /// Counts and logs a request that was answered, and gives the answer its name.
    pub(super) fn answered(
        &self,
        route: Option<Route>,
        method: &str,
        id: u64,
        took: Duration,
        mut response: Response,
    ) -> Response {
        let place = (ROUTES.iter())
            .position(|(_, known, _)| Some(*known) == route)
            .unwrap_or(ROUTES.len());
        let pattern = ROUTES.get(place).map_or(NOWHERE, |(pattern, ..)| *pattern);
        let status = response.status_code;
        let counted = &self.by_route[place];
        counted.statuses.count(&status.to_string());
        counted.durations.add(took);
        let (body, length) = response.data.into_reader_and_size();
        response.data = match length {
            Some(length) => ResponseBody::from_reader_and_size(body, length),
            None => ResponseBody::from_reader(body),
        };
        let method = known_method(method);
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let bytes = length.unwrap_or(0);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    method,
                    route = pattern,
                    status,
                    duration_ms,
                    bytes,
                    "a request"
                )
            };
        }
        if is_usual(route, status) && took < SLOW {
            line!(debug);
        } else {
            line!(info);
        }
        response.with_additional_header(REQUEST_ID, format!("{id:016x}"))
    }
}

/// What comes all the time and says nothing: webhooks that were taken, whose messages and deliveries
/// say more; machines that look whether somebody is there; strangers who knock at every address, or
/// at Meta's door, of whom a line a minute tells where they could be taken for Meta.
fn is_usual(route: Option<Route>, status: u16) -> bool {
    match route {
        None => true,
        Some(Route::Alive | Route::Ready | Route::Jwks | Route::OpenApi | Route::Logo) => true,
        Some(Route::Webhook) => matches!(status, 200 | 400 | 401 | 403 | 405),
        Some(_) => false,
    }
}

/// A method in words of ours.
fn known_method(method: &str) -> &'static str {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("other")
}

/// Answers Prometheus, and nobody else.
pub struct MetricsDoor {
    key: Box<AskedKey>,
    page: Box<dyn Fn() -> String + Send + Sync>,
}

/// The key that is asked for now, if one is.
pub type AskedKey = dyn Fn() -> Option<Secret> + Send + Sync;

impl MetricsDoor {
    /// Gives the page to whoever has the key; to everybody who can connect, if there is none.
    pub fn new(key: Box<AskedKey>, page: Box<dyn Fn() -> String + Send + Sync>) -> MetricsDoor {
        MetricsDoor { key, page }
    }

    fn respond(&self, request: &Request) -> Response {
        if request.url() != METRICS_PATH {
            return not_found();
        }
        if !["GET", "HEAD"].contains(&request.method()) {
            return wrong_method("GET".to_owned());
        }
        if let Some(key) = (self.key)()
            && !bearer(request).is_some_and(|given| key.matches(given))
        {
            return error(401, "KEY_WRONG", "This needs metrics.key as a bearer token")
                .with_additional_header("WWW-Authenticate", "Bearer");
        }
        Response::from_data(MEDIA_TYPE, (self.page)())
    }
}

impl Handler for MetricsDoor {
    fn body_max_bytes(&self, _: &str, _: &str) -> usize {
        0
    }

    fn handle(&self, request: &Request) -> Response {
        with_headers(self.respond(request))
    }
}

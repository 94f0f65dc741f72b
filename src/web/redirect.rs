//! What plain HTTP is answered where HTTPS is at home: the way there.

use super::listener::Handler;
use super::{error, not_found, with_headers};
use rouille::{Request, Response};

/// Where an authority looks whether a name is ours (RFC 8555, section 8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// Largest body that is read before its sender is told where to go.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What an authority is to find under a token, when it looks for it now.
pub type Challenges = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Sends browsers to HTTPS, and answers authorities.
pub struct RedirectDoor {
    origin: Box<dyn Fn() -> String + Send + Sync>,
    challenges: Box<Challenges>,
}

impl RedirectDoor {
    /// `origin` tells `https://host[:port]`, where the same path is found at the moment.
    pub fn new(
        origin: Box<dyn Fn() -> String + Send + Sync>,
        challenges: Box<Challenges>,
    ) -> RedirectDoor {
        RedirectDoor { origin, challenges }
    }

    fn respond(&self, request: &Request) -> Response {
        let path = request.url();
        if let Some(token) = path.strip_prefix(CHALLENGE_PATH) {
            return match (self.challenges)(token) {
                Some(answer) => Response::from_data("application/octet-stream", answer),
                None => not_found(),
            };
        }
        if !["GET", "HEAD"].contains(&request.method()) {
            // What it carried has been readable on its way: who sends it must learn of that.
            let words = "This is not encrypted: use https:// in the address";
            return error(403, "HTTPS_REQUIRED", words);
        }
        let location = format!("{}{}", (self.origin)(), request.raw_url());
        Response::text("This is at https://\n")
            .with_status_code(308)
            .with_additional_header("Location", location)
    }
}

impl Handler for RedirectDoor {
    fn body_max_bytes(&self, _: &str, _: &str) -> usize {
        BODY_BYTES_MAX
    }

    fn handle(&self, request: &Request) -> Response {
        with_headers(self.respond(request))
    }
}

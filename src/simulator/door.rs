//! How the stand-ins are reached over HTTP: each on a free port of 127.0.0.1, behind the same
//! listener as the production server.

use crate::web::listener::{Handler, Limits, Listener, Trust};
use rouille::{Request, Response};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Largest body that a stand-in reads: messages, look-ups and chips are a few kilobytes.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// Callers are one server and one browser, all from 127.0.0.1.
const CONNECTIONS_MAX: usize = 128;

/// Time for answers under way when a door closes; a page that waits for news is cut.
const CLOSING_PATIENCE: Duration = Duration::from_millis(200);

/// An HTTP server on loopback. Stops when dropped.
pub struct Door {
    address: SocketAddr,
    listener: Option<Listener>,
}

struct Answering<F>(F);

impl<F: Fn(&Request) -> Response + Send + Sync + 'static> Handler for Answering<F> {
    fn body_max_bytes(&self, _: &str, _: &str) -> usize {
        BODY_BYTES_MAX
    }

    fn handle(&self, request: &Request) -> Response {
        (self.0)(request)
    }
}

impl Door {
    /// Answers every request with `answer`, each connection on its own thread.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or no thread can be started.
    pub fn open(
        address: SocketAddr,
        answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
    ) -> io::Result<Door> {
        let limits = Limits {
            connections_max: CONNECTIONS_MAX,
            connections_per_address_max: CONNECTIONS_MAX,
            ..Limits::default()
        };
        let handler = Arc::new(Answering(answer));
        let listener = Listener::bind(address, limits, Trust::default(), handler)?;
        Ok(Door {
            address: listener.local_addr(),
            listener: Some(listener),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.stop(CLOSING_PATIENCE);
        }
    }
}

/// The body, `None` when it is too large or did not arrive.
pub(super) fn body(request: &Request) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    request
        .data()?
        .take(BODY_BYTES_MAX as u64 + 1)
        .read_to_end(&mut body)
        .ok()?;
    (body.len() <= BODY_BYTES_MAX).then_some(body)
}

/// A JSON answer.
pub(super) fn json(status: u16, value: &serde_json::Value) -> Response {
    Response::from_data("application/json; charset=utf-8", value.to_string())
        .with_status_code(status)
        .with_no_cache()
}

/// An answer whose body breaks off at once, and with it the connection.
pub(super) fn broken() -> Response {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    Response {
        status_code: 200,
        headers: Vec::new(),
        data: rouille::ResponseBody::from_reader_and_size(Broken, 400),
        upgrade: None,
    }
}

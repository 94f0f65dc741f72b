//! How the stand-ins are reached over HTTP: each on a free port of 127.0.0.1.

use rouille::{Request, Response};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;

/// Largest body that a stand-in reads: messages, look-ups and chips are a few kilobytes.
pub(super) const BODY_BYTES_MAX: usize = 256 * 1024;

/// An HTTP server on loopback. Stops when dropped.
pub struct Door {
    address: SocketAddr,
    stop: Option<(thread::JoinHandle<()>, mpsc::Sender<()>)>,
}

impl Door {
    /// Answers every request with `handler`, each connection on its own thread.
    pub fn open(
        address: SocketAddr,
        handler: Arc<dyn Fn(&Request) -> Response + Send + Sync>,
    ) -> io::Result<Door> {
        let server = rouille::Server::new(address, move |request| handler(request))
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Door {
            address: server.server_addr(),
            stop: Some(server.stoppable()),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some((thread, stop)) = self.stop.take() {
            let _ = stop.send(());
            let _ = thread.join();
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

//! `[metrics]`: who may read the numbers, and where.

use super::api_keys::visible;
use super::keys;
use super::read::{Reader, text};
use crate::domain::secret::Secret;
use std::net::SocketAddr;
use toml::de::DeTable;

/// Where the numbers are for whoever watches.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// A listener of their own.
    pub listen: SocketAddr,
    /// There if anybody but this machine can connect.
    pub key: Option<Secret>,
}

/// Where the numbers are; without an address nowhere.
pub(super) fn metrics(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Option<Metrics>> {
    let table = reader.table(root, "metrics");
    let listen = reader.maybe(
        &table,
        &keys::METRICS_LISTEN,
        text(|address| {
            address
                .parse::<SocketAddr>()
                .map_err(|_| "must be an address and a port, such as \"127.0.0.1:9464\"".to_owned())
        }),
    );
    let key = reader.maybe_secret(&table, &keys::METRICS_KEY, visible);
    if table.has(&keys::METRICS_KEY) && !table.has(&keys::METRICS_LISTEN) {
        let words = "is for metrics.listen, which is not set";
        reader.problem(&table, &keys::METRICS_KEY, words);
    }
    let (listen, key) = (listen?, key?);
    let Some(listen) = listen else {
        return Some(None);
    };
    if !listen.ip().is_loopback() {
        if key.is_none() {
            reader.problem(
                &table,
                &keys::METRICS_KEY,
                "is missing; metrics.listen is not on this machine alone, so that everybody could read how the business is doing",
            );
            return None;
        }
        let words = "listens beyond this machine without TLS: whoever can listen in learns metrics.key and the numbers";
        reader.warn(&table, &keys::METRICS_LISTEN, words);
    }
    Some(Some(Metrics { listen, key }))
}

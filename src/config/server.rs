//! `[server]`: how requests come in.

use super::keys::{self, Key};
use super::read::{Reader, Table, list, number, text};
use super::values::{Url, size};
use crate::http::host_name;
use std::net::{IpAddr, SocketAddr};
use toml::de::DeTable;

/// Addresses to listen on.
const LISTEN_MAX: usize = 8;

/// How requests come in.
#[derive(Clone, Debug)]
pub struct Server {
    /// One or more addresses.
    pub listen: Vec<SocketAddr>,
    /// `https://host[:port][/path]` without a slash at the end.
    pub public_url: Option<String>,
    /// Every host name that requests may be for, in lower case, without port, IPv6 in brackets:
    /// that of `public_url`, the configured ones, the loopback names, the addresses listened on.
    pub hosts: Vec<String>,
    /// Peers whose word about the caller's address is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections per address.
    pub connections_per_address_max: usize,
}

pub(super) fn server(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Server> {
    let table = reader.table(root, "server");
    let listen = reader.one(&table, &keys::SERVER_LISTEN, list(socket_address));
    let public_url = reader.maybe(&table, &keys::SERVER_PUBLIC_URL, text(Url::base));
    let hosts = reader.one(&table, &keys::SERVER_HOSTS, list(host_name));
    let trusted_proxies = reader.one(
        &table,
        &keys::SERVER_TRUSTED_PROXIES,
        list(|text| {
            text.parse::<IpAddr>()
                .map_err(|_| "must be an IP address, such as \"10.0.0.2\"; names and networks are not accepted".to_owned())
        }),
    );
    let connections_max = reader.one(
        &table,
        &keys::SERVER_CONNECTIONS_MAX,
        number(8..=100_000, ""),
    );
    let connections_per_address_max = reader.one(
        &table,
        &keys::SERVER_CONNECTIONS_PER_ADDRESS_MAX,
        number(1..=100_000, ""),
    );
    let (listen, public_url, mut hosts) = (listen?, public_url?, hosts?);
    if !is_few(reader, &table, &keys::SERVER_LISTEN, &listen) {
        return None;
    }
    if listen.iter().any(|address| !address.ip().is_loopback()) {
        reader.warn(
            &table,
            &keys::SERVER_LISTEN,
            "listens beyond this machine without TLS; let only a reverse proxy with TLS reach it, and name that in server.trusted_proxies",
        );
    }
    match &public_url {
        None => reader.warn(
            &table,
            &keys::SERVER_PUBLIC_URL,
            "is not set, so that requests from outside are refused unless server.hosts names their host; set it to the https:// address that Meta calls",
        ),
        Some(url) if !url.endpoint.is_encrypted() => reader.weakens(
            &table,
            &keys::SERVER_PUBLIC_URL,
            "is http://, so that nobody but this machine can use it; Meta calls https:// only",
        ),
        Some(_) => {}
    }
    hosts.extend(public_url.iter().map(|url| url.endpoint.host()));
    hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
    let specific = listen
        .iter()
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_unspecified());
    hosts.extend(specific.map(|ip| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    hosts.sort();
    hosts.dedup();
    Some(Server {
        listen,
        public_url: public_url.map(|url| url.text),
        hosts,
        trusted_proxies: trusted_proxies?,
        connections_max: size(connections_max?),
        connections_per_address_max: size(connections_per_address_max?),
    })
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "must be an address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned()
    })
}

/// Notes a problem unless there are addresses to listen on, and not too many.
pub(super) fn is_few(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    key: &Key,
    listen: &[SocketAddr],
) -> bool {
    let few = (1..=LISTEN_MAX).contains(&listen.len());
    if !few {
        let words = format!("1 to {LISTEN_MAX} addresses are expected");
        reader.problem(table, key, words);
    }
    few
}

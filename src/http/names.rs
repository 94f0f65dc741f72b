//! From the name of a host to its addresses.
//!
//! ureq asks for the addresses of every call, also of one that goes over a connection that is open.
//! Its own resolver starts a thread for each, so that a look-up cannot outlast the call. Here an
//! address that is written out needs no look-up, and what was found is remembered for a moment.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long what was found is used: a host that moves is followed within this time, or as soon as a
/// call failed.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Hosts that are remembered; those that the configuration names are a handful.
const HOSTS_MAX: usize = 64;

/// Looks names up as the operating system does. Clones remember together.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<HashMap<String, Found>>>);

/// The addresses of a host, and since when they are known.
#[derive(Debug)]
struct Found {
    addresses: Vec<SocketAddr>,
    at: Instant,
}

impl Names {
    /// Looks everything up anew: a call failed, perhaps because a host has moved.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, host_and_port: &str) -> Option<Vec<SocketAddr>> {
        let known = self.lock();
        let found = known.get(host_and_port)?;
        (found.at.elapsed() < REMEMBERED).then(|| found.addresses.clone())
    }

    fn remember(&self, host_and_port: String, addresses: &[SocketAddr]) {
        let mut known = self.lock();
        if known.len() >= HOSTS_MAX {
            known.clear();
        }
        let found = Found {
            addresses: addresses.to_vec(),
            at: Instant::now(),
        };
        known.insert(host_and_port, found);
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let (scheme, authority) = uri.scheme().zip(uri.authority()).ok_or(HOST_NOT_FOUND)?;
        let host_and_port =
            DefaultResolver::host_and_port(scheme, authority).ok_or(HOST_NOT_FOUND)?;
        let addresses = match host_and_port.parse() {
            Ok(address) => vec![address],
            Err(_) => match self.remembered(&host_and_port) {
                Some(addresses) => addresses,
                None => {
                    let addresses = look_up(host_and_port.clone(), timeout)?;
                    self.remember(host_and_port, &addresses);
                    addresses
                }
            },
        };
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            resolved.push(address);
        }
        match resolved.is_empty() {
            true => Err(HOST_NOT_FOUND),
            false => Ok(resolved),
        }
    }
}

/// Addresses of one host that are tried; ureq takes no more.
const ADDRESSES_MAX: usize = 16;

const HOST_NOT_FOUND: ureq::Error = ureq::Error::HostNotFound;

/// Asks the operating system, which knows no deadline: its thread may outlive the call.
fn look_up(host_and_port: String, timeout: NextTimeout) -> Result<Vec<SocketAddr>, ureq::Error> {
    let (tell, told) = mpsc::sync_channel(1);
    let ask = move || {
        let found = host_and_port.to_socket_addrs();
        // Nobody listens any more when the time was over.
        let _ = tell.send(found.map(Iterator::collect));
    };
    std::thread::Builder::new()
        .name("names".into())
        .spawn(ask)
        .map_err(ureq::Error::Io)?;
    match told.recv_timeout(*timeout.after) {
        Ok(found) => found.map_err(ureq::Error::Io),
        Err(RecvTimeoutError::Timeout) => Err(ureq::Error::Timeout(timeout.reason)),
        Err(RecvTimeoutError::Disconnected) => Err(ureq::Error::Io(io::Error::other(
            "the look-up of a name failed",
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ureq::unversioned::transport::time;

    fn within(limit: Duration) -> NextTimeout {
        NextTimeout {
            after: time::Duration::Exact(limit),
            ..NextTimeout::default()
        }
    }

    fn resolved(names: &Names, url: &str, limit: Duration) -> Result<Vec<SocketAddr>, ureq::Error> {
        let config = ureq::config::Config::default();
        let found = names.resolve(&url.parse().unwrap(), &config, within(limit))?;
        Ok(found.to_vec())
    }

    #[test]
    fn an_address_that_is_written_out_takes_no_time_and_no_memory() {
        let names = Names::default();
        for (url, address) in [
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
            ("https://[::1]/", "[::1]:443"),
        ] {
            let found = resolved(&names, url, Duration::ZERO).unwrap();
            assert_eq!(found, [address.parse().unwrap()]);
        }
        assert!(names.lock().is_empty());
    }

    #[test]
    fn what_was_found_is_used_until_a_call_fails_and_not_for_ever() {
        let names = Names::default();
        let found = resolved(&names, "http://localhost:81/", Duration::from_secs(30)).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()));
        let again = resolved(&names, "http://localhost:81/", Duration::ZERO).unwrap();
        assert_eq!(again, found);
        let long_ago = Instant::now().checked_sub(REMEMBERED).unwrap();
        for found in names.lock().values_mut() {
            found.at = long_ago;
        }
        assert_eq!(names.remembered("localhost:81"), None);
        resolved(&names, "http://localhost:81/", Duration::from_secs(30)).unwrap();
        names.forget();
        assert_eq!(names.remembered("localhost:81"), None);
    }

    #[test]
    fn no_more_hosts_are_remembered_than_the_bound_says() {
        let names = Names::default();
        for host in 0..3 * HOSTS_MAX {
            names.remember(format!("{host}.example:443"), &[]);
            assert!(names.lock().len() <= HOSTS_MAX);
        }
    }

    #[test]
    fn a_host_that_does_not_exist_is_an_error_and_is_looked_for_again() {
        let names = Names::default();
        let url = "https://no-such-host.invalid/";
        assert!(resolved(&names, url, Duration::from_secs(30)).is_err());
        assert!(names.lock().is_empty());
    }
}

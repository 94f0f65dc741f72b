//! `portero serve`: the server, until it is told to stop.

use super::{Exit, Failure, Shell, Stop, log, no_signals};
use crate::control::ControlError;
use crate::serve::supervisor::{self, State};
use crate::serve::{self, Broken, Source, StartError};
use crate::store::OpenError;
use crate::web::{METRICS_PATH, WEBHOOK_PATH};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

/// Between two looks at whether the store still works.
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(shell: &mut Shell<'_>, _: &Arguments) -> Result<(), Stop> {
    // Before anything has a descriptor of its own.
    let sockets = supervisor::sockets().map_err(StartError::HandedOver);
    // Before the file is read: who changes it and hangs up meanwhile does not end the process, and
    // what the file says since is taken over as soon as the server is ready.
    let mut signals = Signals::new([SIGHUP]).map_err(no_signals)?;
    let (path, loaded) = shell.load()?;
    let (_flush, set_level, log_lines_dropped) = log::start(&loaded.config.log);
    log_faults();
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.line(&path));
    }
    // Before anything starts: a wish to stop must never meet a process that does not listen. While
    // the file was read, it ended the process at once, which is right as well.
    for signal in [SIGTERM, SIGINT] {
        signals.add_signal(signal).map_err(no_signals)?;
    }
    let source = Source {
        path,
        loaded,
        set_level,
        log_lines_dropped,
    };
    let running = sockets
        .and_then(|sockets| serve::start_from(source, sockets))
        .map_err(failure_of)?;
    for address in running.addresses() {
        tracing::info!(
            "listening on http://{address}; the callback URL for Meta ends in {WEBHOOK_PATH}"
        );
    }
    let (encrypted, redirects) = running.encrypted_addresses();
    for address in encrypted {
        tracing::info!("listening for HTTPS on {address}");
    }
    for address in redirects {
        tracing::info!("sending whoever comes by http:// on {address} to HTTPS");
    }
    if let Some(address) = running.metrics_address() {
        tracing::info!("metrics are at http://{address}{METRICS_PATH}");
    }
    tracing::info!("portero is ready");
    let watchdog = running.watchdog().map_err(StartError::Thread);
    let watchdog = watchdog.map_err(failure_of)?;
    supervisor::notify(&State::Ready(supervisor::READY));
    let broken = loop {
        if let Some(broken) = running.broken() {
            break Some(broken);
        }
        match signals.pending().next() {
            // What became of it is logged.
            Some(SIGHUP) => drop(running.reloader().reload()),
            Some(_) => break None,
            None => std::thread::park_timeout(LOOK_EVERY),
        }
    };
    tracing::info!("stopping");
    supervisor::notify(&State::Stopping);
    if let Some(watchdog) = watchdog {
        watchdog.stop();
    }
    running.stop();
    match broken {
        None => {
            tracing::info!("stopped");
            Ok(())
        }
        Some(Broken::Store(reason)) => Err(
            Failure::new(Exit::Io, format!("the store has stopped: {reason}"))
                .hint("check the disk; a supervisor such as systemd may start Portero again")
                .into(),
        ),
        Some(Broken::Faults) => Err(
            Failure::new(Exit::Software, "too many internal faults in a minute")
                .hint("the log names their places, which its makers want to know; a supervisor such as systemd may start Portero again")
                .into(),
        ),
    }
}

/// What starting can fail with, as an exit code.
pub(super) fn failure_of(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Settings(_) | StartError::Key(_) => Exit::Config,
        StartError::Store(OpenError::AlreadyOpen(_)) => Exit::Unavailable,
        StartError::Store(OpenError::WrongKey | OpenError::TooOpen { .. }) => Exit::Config,
        StartError::Store(_) => Exit::Io,
        StartError::Listen(..) | StartError::HandedOver(_) => Exit::Unavailable,
        StartError::Control(ControlError::InUse(_) | ControlError::Thread(_)) => Exit::Unavailable,
        StartError::Control(_) => Exit::CannotCreate,
        StartError::Thread(_) => Exit::Unavailable,
    };
    let failure = Failure::new(exit, error.to_string());
    match &error {
        StartError::Listen(address, cause) => failure.hint(hint_about(*address, cause)),
        StartError::Thread(_) | StartError::Control(ControlError::Thread(_)) => failure.hint(
            "the system or this user has too many threads; in the unit of systemd TasksMax= is the limit, else `ulimit -u` and `pids.max` of the container; Portero needs about 40 and one for each connection",
        ),
        StartError::HandedOver(_) => failure.hint(
            "a systemd socket unit for Portero has ListenStream= with addresses and ports, and nothing else",
        ),
        _ => failure,
    }
}

/// What to do when an address cannot be listened on.
pub(super) fn hint_about(address: SocketAddr, cause: &std::io::Error) -> String {
    let port = address.port();
    match cause.kind() {
        ErrorKind::AddrInUse => format!(
            "another program has this address; stop it, or change the address in the configuration (as root, `ss -ltnp 'sport = :{port}'` names the program)"
        ),
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 need a privilege: with systemd, AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE in the unit; else, as root, setcap cap_net_bind_service=+ep on the program's file; or use a port such as 8{:03} behind a reverse proxy",
            port.min(999)
        ),
        ErrorKind::AddrNotAvailable => {
            "this address is not one of this machine's; change it in the configuration".to_owned()
        }
        _ if address.is_ipv6() => {
            format!("if this machine has no IPv6, write \"0.0.0.0:{port}\" in the configuration")
        }
        _ => "change the address in the configuration".to_owned(),
    }
}

/// An internal fault is one line with its place. Its words are left out: they may quote what a
/// person wrote.
fn log_faults() {
    std::panic::set_hook(Box::new(|fault| {
        let place = fault
            .location()
            .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(place, "internal fault");
    }));
}

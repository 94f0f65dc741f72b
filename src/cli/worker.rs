//! Who does what a command asks for: the running server, or this process if none runs.

use super::serve::failure_of;
use super::{Exit, Failure};
use crate::app::App;
use crate::config::Config;
use crate::control::{self, Answer, AskError, Request};
use crate::serve::{self, StartError};
use crate::store::OpenError;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long the store may be in use by somebody who does not answer: another command that is about
/// to end, or a server that starts or stops.
const STORE_FREE_WITHIN: Duration = Duration::from_secs(5);

/// Between two tries meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Carries out requests, each by whoever has the store then.
pub(super) struct Worker<'a> {
    config: &'a Config,
    /// Set once the store was opened here; it stays ours until the command ends.
    app: Option<Arc<App>>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(config: &'a Config) -> Worker<'a> {
        Worker { config, app: None }
    }

    /// The answer, when the request was carried out or there is no such user.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        match self.answer(request)? {
            Answer::Refused { reason } => Err(Failure::new(Exit::Data, reason)),
            Answer::Failed { reason } => Err(Failure::new(Exit::Io, reason).hint(match request {
                Request::RotateKeys { .. } | Request::RevokeKey { .. } => {
                    "look with `portero keys list` what has happened"
                }
                Request::Retry { .. } | Request::Drop { .. } => {
                    "look with `portero outbox list --dead` what has happened"
                }
                _ => "asking again is safe; what is done already is not done twice",
            })),
            answer => Ok(answer),
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Answer, Failure> {
        let socket = control::socket_path(&self.config.store.path);
        let give_up_at = Instant::now() + STORE_FREE_WITHIN;
        loop {
            if let Some(app) = &self.app {
                return Ok(control::perform(app, request));
            }
            match control::ask(&socket, request) {
                Ok(answer) => return Ok(answer),
                Err(AskError::NoServer(_)) => {}
                Err(error) => return Err(unanswered(&error, request)),
            }
            match self.open(request) {
                Ok(app) => self.app = Some(app),
                Err(Unopened::InUse(_)) if Instant::now() < give_up_at => thread::sleep(TRY_EVERY),
                Err(Unopened::InUse(failure) | Unopened::Failed(failure)) => return Err(failure),
            }
        }
    }

    fn open(&self, request: &Request) -> Result<Arc<App>, Unopened> {
        let path = &self.config.store.path;
        let adds = matches!(
            request,
            Request::AddUser { .. } | Request::ImportUsers { .. }
        );
        if !adds && path.symlink_metadata().is_err() {
            let message = format!("there is no store at {} yet", path.display());
            return Err(Unopened::Failed(Failure::new(Exit::NoInput, message).hint(
                "`portero user add` or the first start of the server makes it; is this the right configuration?",
            )));
        }
        serve::open(self.config).map_err(|error| match error {
            StartError::Store(OpenError::AlreadyOpen(_)) => {
                let message = format!(
                    "{} is in use, but no server answers at {}",
                    path.display(),
                    control::socket_path(path).display()
                );
                Unopened::InUse(
                    Failure::new(Exit::Unavailable, message)
                        .hint("a server may be starting or stopping; try again in a moment"),
                )
            }
            error => Unopened::Failed(failure_of(error)),
        })
    }
}

/// Why the store was not opened here.
enum Unopened {
    /// Somebody has it: the server may answer in a moment, or the store be free.
    InUse(Failure),
    Failed(Failure),
}

pub(super) fn unanswered(error: &AskError, request: &Request) -> Failure {
    let failure = |exit| Failure::new(exit, error.to_string());
    match error {
        AskError::Denied(_) => failure(Exit::NoPermission)
            .hint("run the command as the user that runs the server, for example with sudo -u"),
        AskError::OtherVersion(_) => failure(Exit::Unavailable)
            .hint("restart the server, so that both are of the version that is installed"),
        AskError::NoAnswer => failure(Exit::Unavailable).hint(match request {
            Request::ShowCertificate | Request::RenewCertificate => "look with `portero tls show`",
            Request::ListKeys | Request::RotateKeys { .. } | Request::RevokeKey { .. } => {
                "look with `portero keys list`"
            }
            Request::ListWaiting { .. }
            | Request::ListDead { .. }
            | Request::Retry { .. }
            | Request::Drop { .. } => "look with `portero outbox list --dead`",
            Request::ListEvents { .. }
            | Request::ReplayEvents { .. }
            | Request::ReplayEvent { .. } => {
                "asking again is safe: a receiver knows events by their webhook-id"
            }
            Request::ListContacts { .. }
            | Request::ShowContacts { .. }
            | Request::LogOut { .. }
            | Request::Forget { .. }
            | Request::Export { .. } => "look with `portero contact show`; asking again is safe",
            Request::BackUp { .. } => "look whether the file is there; it appears when it is whole",
            Request::RemoveWhatIsOld => "asking again is safe: what is gone is not there any more",
            Request::ListAudit { .. } | Request::VerifyAudit { .. } => {
                "asking again is safe: nothing is changed"
            }
            _ => "look with `portero user list`; asking again is safe",
        }),
        AskError::NoServer(_) | AskError::Unreachable(_) => failure(Exit::Unavailable),
    }
}

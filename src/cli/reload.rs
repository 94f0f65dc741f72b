//! `portero reload`: the running server takes over what the configuration says now.

use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::config::Config;
use crate::control::{self, Answer, AskError, Request};
use serde::Serialize;
use std::io;

const EXAMPLE: &str = "\
Examples:
  portero check && portero reload
  portero reload --json | jq .needsRestart";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    /// As a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let path = shell.config_path()?;
    // What is wrong with the file, the server says: it has variables in its environment that this
    // command may not have.
    let Some(store) = Config::store_path(&path) else {
        Config::load_for_the_store(&path).map_err(Failure::from)?;
        let message = format!("{} does not say where the store is", path.display());
        return Err(Failure::new(Exit::Config, message).into());
    };
    let socket = control::socket_path(&store);
    let answer = control::ask(&socket, &Request::Reload).map_err(unanswered)?;
    let (at_once, at_restart) = match answer {
        Answer::Reloaded {
            at_once,
            at_restart,
        } => (at_once, at_restart),
        Answer::NotReloaded { problems } => {
            let message = format!("{problems}\nThe server goes on with the configuration it has.");
            return Err(Failure::new(Exit::Config, message)
                .hint("`portero config explain KEY` says what a key means")
                .into());
        }
        Answer::Failed { reason } => return Err(Failure::new(Exit::Io, reason).into()),
        Answer::Refused { reason } => return Err(Failure::new(Exit::Unavailable, reason).into()),
        _ => return Err(unexpected().into()),
    };
    if arguments.json {
        let told = ReloadedJson {
            changed: &at_once,
            needs_restart: &at_restart,
        };
        serde_json::to_writer_pretty(&mut *shell.output, &told).map_err(io::Error::from)?;
        writeln!(shell.output)?;
    } else {
        write!(shell.output, "{}", told(&at_once, &at_restart))?;
    }
    Ok(())
}

fn told(at_once: &[String], at_restart: &[String]) -> String {
    let list = |heading: &str, keys: &[String]| {
        let keys: String = keys.iter().map(|key| format!("  {key}\n")).collect();
        format!("{heading}\n{keys}")
    };
    let mut text = String::new();
    match (at_once, at_restart) {
        ([], []) => text.push_str("nothing has changed\n"),
        ([], _) => {}
        (keys, _) => text.push_str(&list("in effect from now on:", keys)),
    }
    if !at_restart.is_empty() {
        text.push_str(&list("after a restart:", at_restart));
    }
    text
}

fn unanswered(error: AskError) -> Failure {
    let failure = |exit| Failure::new(exit, error.to_string());
    match error {
        AskError::NoServer(_) => failure(Exit::Unavailable).hint(
            "a server reads its configuration when it starts; one that runs on another store.path needs a restart",
        ),
        AskError::Denied(_) => failure(Exit::NoPermission)
            .hint("run the command as the user that runs the server, for example with sudo -u"),
        AskError::OtherVersion(_) => failure(Exit::Unavailable)
            .hint("restart the server, so that both are of the version that is installed"),
        AskError::NoAnswer => {
            failure(Exit::Unavailable).hint("its log says what became of it; asking again is safe")
        }
        AskError::Unreachable(_) => failure(Exit::Unavailable),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReloadedJson<'a> {
    changed: &'a [String],
    needs_restart: &'a [String],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_a_restart_is_told_apart() {
        let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(&[], &[]), "nothing has changed\n");
        assert_eq!(
            told(&keys(&["mail.password", "services[erp]"]), &[]),
            "in effect from now on:\n  mail.password\n  services[erp]\n"
        );
        assert_eq!(
            told(&keys(&["log.level"]), &keys(&["server.listen"])),
            "in effect from now on:\n  log.level\nafter a restart:\n  server.listen\n"
        );
        assert_eq!(
            told(&[], &keys(&["server.listen"])),
            "after a restart:\n  server.listen\n"
        );
    }
}

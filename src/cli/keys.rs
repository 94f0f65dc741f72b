//! `portero keys`: the keys with which Portero signs who wrote a message, and tokens of its own.
//!
//! Only their names are ever shown, which every token carries.

use super::show::{self, moment, rfc_3339};
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::app::keys::{JWKS_MAX_AGE_SECONDS, KEPT_MS, KEYS_MAX};
use crate::control::{Answer, KeyLine, KeyLineState, Request};
use crate::domain::time::MINUTE_MS;
use serde::Serialize;
use std::io;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the keys, the oldest first
    List {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Make a new key; the one before it is kept as long as anything that it signed may live
    ///
    /// Keys change by themselves (identity.rotate_days). A new one is published ten minutes before
    /// it signs, so that everybody who verifies knows it by then. If a key may be in wrong hands,
    /// use --now.
    Rotate {
        /// Sign with it at once; whoever keeps the published keys may refuse identities for a while
        #[arg(long)]
        now: bool,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Drop a key at once: nothing that it has signed is believed any more
    ///
    /// For a key that is in wrong hands. If it is the one that signs, a new one signs first. What
    /// older keys have signed is not believed any more either. Others may know the published keys
    /// for some minutes more.
    Revoke {
        /// Its name, as `portero keys list` shows it
        #[arg(allow_hyphen_values = true)]
        id: String,
    },
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let mut worker = Worker::new(&loaded.config);
    match &arguments.command {
        Command::List { json } => list(shell, &mut worker, *json),
        Command::Rotate { now, json } => rotate(shell, &mut worker, *now, *json),
        Command::Revoke { id } => revoke(shell, &mut worker, id),
    }
}

fn list(shell: &mut Shell<'_>, worker: &mut Worker<'_>, json: bool) -> Result<(), Stop> {
    let Answer::Keys { keys } = worker.ask(&Request::ListKeys)? else {
        return Err(unexpected().into());
    };
    if json {
        let keys: Vec<KeyJson<'_>> = keys.iter().map(KeyJson::new).collect();
        serde_json::to_writer_pretty(&mut *shell.output, &keys).map_err(io::Error::from)?;
        writeln!(shell.output)?;
    } else {
        write!(shell.output, "{}", table(&keys))?;
    }
    Ok(())
}

fn rotate(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    now: bool,
    json: bool,
) -> Result<(), Stop> {
    match worker.ask(&Request::RotateKeys { now })? {
        Answer::KeyMade { id, signs_from_ms } => {
            if json {
                let made = MadeJson {
                    kid: &id,
                    signs_from: rfc_3339(signs_from_ms),
                };
                serde_json::to_writer_pretty(&mut *shell.output, &made).map_err(io::Error::from)?;
                writeln!(shell.output)?;
            } else {
                writeln!(shell.output, "{}", made(&id, signs_from_ms, now))?;
            }
            Ok(())
        }
        Answer::KeyComing { signs_from_ms } => {
            let message = format!(
                "a new key is published already and signs from {} on; nothing has been changed",
                moment(signs_from_ms)
            );
            let hint = "`portero keys rotate --now` makes another one, which signs at once";
            Err(Failure::new(Exit::Failed, message).hint(hint).into())
        }
        Answer::KeysFull { room_from_ms } => {
            let message = format!(
                "there are {KEYS_MAX} keys, the most that are kept; nothing has been changed"
            );
            let hint = format!("the oldest one goes at {}", moment(room_from_ms));
            Err(Failure::new(Exit::Failed, message).hint(hint).into())
        }
        _ => Err(unexpected().into()),
    }
}

fn revoke(shell: &mut Shell<'_>, worker: &mut Worker<'_>, id: &str) -> Result<(), Stop> {
    let request = Request::RevokeKey { id: id.to_owned() };
    match worker.ask(&request)? {
        Answer::KeyRevoked { made } => {
            if let Some(made) = made {
                writeln!(shell.output, "{made} signs from now on")?;
            }
            writeln!(
                shell.output,
                "{id} is revoked\n\
                 Whoever keeps the published keys may believe it for up to {} minutes more.",
                JWKS_MAX_AGE_SECONDS / 60
            )?;
            Ok(())
        }
        Answer::NoSuchKey => {
            let message = "there is no key of this name; nothing has been changed";
            let hint = "`portero keys list` shows the names";
            Err(Failure::new(Exit::NoUser, message).hint(hint).into())
        }
        _ => Err(unexpected().into()),
    }
}

fn made(id: &str, signs_from_ms: u64, now: bool) -> String {
    let kept = KEPT_MS / MINUTE_MS;
    if now {
        format!(
            "{id} signs from now on; the key before it is published for another {kept} minutes\n\
             Whoever keeps the published keys and does not ask again when a key is unknown to them \
             may refuse identities for up to {} minutes.",
            JWKS_MAX_AGE_SECONDS / 60
        )
    } else {
        format!(
            "{id} is published now and signs from {} on; the key before it is published for another {kept} minutes then",
            moment(signs_from_ms)
        )
    }
}

fn table(keys: &[KeyLine]) -> String {
    let mut rows = vec![
        [
            "KEY",
            "STATE",
            "SIGNS FROM",
            "SIGNS UNTIL",
            "PUBLISHED UNTIL",
        ]
        .map(String::from),
    ];
    let until = |at: Option<u64>| at.map_or_else(|| "-".to_owned(), moment);
    rows.extend(keys.iter().map(|key| {
        [
            key.id.clone(),
            state(key.state).to_owned(),
            moment(key.signs_from_ms),
            until(key.signs_until_ms),
            until(key.published_until_ms),
        ]
    }));
    show::text(&show::columns(&rows))
}

fn state(state: KeyLineState) -> &'static str {
    match state {
        KeyLineState::Coming => "coming",
        KeyLineState::Signing => "signing",
        KeyLineState::Verifying => "verifying",
        KeyLineState::Over => "over",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyJson<'a> {
    kid: &'a str,
    state: KeyLineState,
    signs_from: String,
    signs_until: Option<String>,
    published_until: Option<String>,
}

impl<'a> KeyJson<'a> {
    fn new(key: &'a KeyLine) -> KeyJson<'a> {
        KeyJson {
            kid: &key.id,
            state: key.state,
            signs_from: rfc_3339(key.signs_from_ms),
            signs_until: key.signs_until_ms.map(rfc_3339),
            published_until: key.published_until_ms.map(rfc_3339),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MadeJson<'a> {
    kid: &'a str,
    signs_from: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_when_each_key_signs_and_how_long_it_is_published() {
        let key = |id: &str, state, until: Option<u64>| KeyLine {
            id: id.to_owned(),
            state,
            signs_from_ms: 1_800_000_000_000,
            signs_until_ms: until,
            published_until_ms: until.map(|at| at + KEPT_MS),
        };
        assert_eq!(
            table(&[
                key("kPrK_qmx", KeyLineState::Verifying, Some(1_800_000_600_000)),
                key("AbC", KeyLineState::Signing, None),
            ]),
            "KEY       STATE      SIGNS FROM               SIGNS UNTIL              PUBLISHED UNTIL\n\
             kPrK_qmx  verifying  2027-01-15 08:00:00 UTC  2027-01-15 08:10:00 UTC  2027-01-15 08:21:00 UTC\n\
             AbC       signing    2027-01-15 08:00:00 UTC  -                        -\n"
        );
    }
}

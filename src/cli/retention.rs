//! `portero retention run`: what is old is removed now, and not little by little.
//!
//! The server does the same by itself, 256 records of each kind every 20 seconds.

use super::listed::write_json;
use super::worker::Worker;
use super::{Shell, Stop, show, unexpected};
use crate::app::KEPT_MS;
use crate::control::{Answer, Request};
use crate::domain::time::DAY_MS;
use clap::Subcommand;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Remove what is kept no longer, and say how much of what that was
    Run {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let Command::Run { json } = &arguments.command;
    let (_, loaded) = shell.load_for_the_store()?;
    let answer = Worker::new(&loaded.config).ask(&Request::RemoveWhatIsOld)?;
    let Answer::Removed { counts } = answer else {
        return Err(unexpected().into());
    };
    if *json {
        return write_json(shell, &json!({ "removed": counts }));
    }
    let text = show::text(&show::columns(&table(
        &counts,
        loaded.config.policy.binding_idle_ms,
    )));
    write!(shell.output, "{text}")?;
    Ok(())
}

fn table(counts: &BTreeMap<String, u64>, binding_idle_ms: u64) -> Vec<[String; 3]> {
    let mut rows = vec![["WHAT", "KEPT FOR", "REMOVED"].map(str::to_owned)];
    let days = |ms: u64| show::count(usize::try_from(ms / DAY_MS).unwrap_or(usize::MAX), "day");
    rows.extend(KEPT_MS.iter().map(|(kind, ms)| {
        let what = match *kind {
            "seen" => "ids of messages that had their effect",
            "sent" => "what was sent",
            "dead" => "what was given up",
            "budget" => "what was counted for the limits",
            "handle" => "links and return codes",
            "event" => "events",
            "asked" => "what bots asked for",
            "audit" => "lines of the audit",
            "tally" => "what the status page counts",
            "contact" => "who wrote, and is not signed in",
            other => other,
        };
        let removed = counts.get(*kind).copied().unwrap_or(0);
        [what.to_owned(), days(*ms), removed.to_string()]
    }));
    rows.push([
        "who wrote, and is signed in".to_owned(),
        days(binding_idle_ms.saturating_add(crate::app::BOUND_CONTACT_MS)),
        "with those above".to_owned(),
    ]);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_that_ends_has_words() {
        let counts = BTreeMap::from([("audit".to_owned(), 3), ("contact".to_owned(), 12)]);
        let told = show::columns(&table(&counts, 90 * DAY_MS));
        assert_eq!(
            told,
            [
                "WHAT                                   KEPT FOR  REMOVED",
                "ids of messages that had their effect  9 days    0",
                "what was sent                          7 days    0",
                "what was given up                      30 days   0",
                "what was counted for the limits        2 days    0",
                "links and return codes                 2 days    0",
                "events                                 30 days   0",
                "what bots asked for                    1 day     0",
                "lines of the audit                     180 days  3",
                "what the status page counts            100 days  0",
                "who wrote, and is not signed in        7 days    12",
                "who wrote, and is signed in            120 days  with those above",
            ]
        );
    }
}

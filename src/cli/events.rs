//! `portero events`: what happened with sign-ins, as it was told, and telling it once more.

use super::listed::{self, note_more, write_json_line};
use super::moment::moment;
use super::show::{self, count, short_moment};
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop};
use crate::control::{Answer, EventLine, Request, read_id};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io;

/// Events listed unless another number is asked for.
const LIMIT: usize = 100;

const EXAMPLE: &str = "\
Examples:
  portero events list --since 2h
  portero events replay --since 2026-11-25T10:00:00Z";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the last events, the oldest of them first; they are kept for 30 days
    #[command(after_help = "Example:\n  portero events list --since 2h --json | jq .type")]
    List {
        /// From this moment on: 45s, 30m, 2h, 7d ago, or 2026-11-25T10:00:00Z
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        since: Option<u64>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = LIMIT)]
        limit: usize,
        /// Each as a line of JSON, as it is told
        #[arg(long)]
        json: bool,
    },
    /// Tell events once more, each under the webhook-id that it has
    ///
    /// A receiver that keeps to Standard Webhooks knows by the webhook-id what it has had already.
    #[command(after_help = "Example:\n  portero events replay --since 2h")]
    Replay(Choice),
}

#[derive(clap::Args)]
struct Choice {
    /// All from this moment on: 45s, 30m, 2h, 7d ago, or 2026-11-25T10:00:00Z
    #[arg(
        long,
        value_name = "WHEN",
        value_parser = moment,
        required_unless_present = "ids",
        conflicts_with = "ids"
    )]
    since: Option<u64>,
    /// These, as the list shows them
    #[arg(long = "id", value_name = "EVT", num_args = 1..)]
    ids: Vec<String>,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let mut worker = Worker::new(&loaded.config);
    match &arguments.command {
        Command::List { since, limit, json } => {
            list(shell, &mut worker, since.unwrap_or(0), *limit, *json)
        }
        Command::Replay(choice) => {
            let done = match choice.since {
                Some(since_ms) => replay_since(&mut worker, since_ms)?,
                None => replay_these(&mut worker, &choice.ids)?,
            };
            writeln!(shell.output, "{done}")?;
            Ok(())
        }
    }
}

// --- list -------------------------------------------------------------------------------------------------

fn list(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    since_ms: u64,
    limit: usize,
    json: bool,
) -> Result<(), Stop> {
    let (events, are_more) = listed::last(limit, |before| {
        match worker.ask(&Request::ListEvents { since_ms, before })? {
            Answer::Events { events, next } => Ok((events, next)),
            _ => Err(super::unexpected()),
        }
    })?;
    if json {
        for event in &events {
            let event = EventJson {
                id: &event.id,
                event: serde_json::from_str(&event.json).map_err(io::Error::from)?,
            };
            write_json_line(shell, &event)?;
        }
    } else if events.is_empty() {
        eprintln!("nothing has happened, or [events] is not configured");
    } else {
        write!(
            shell.output,
            "{}",
            show::text(&table(&events, show::width()))
        )?;
    }
    note_more(are_more);
    Ok(())
}

fn table(events: &[EventLine], width: usize) -> Vec<String> {
    show::with_contacts(width, |contact| {
        let head = ["ID", "AT (UTC)", "WHAT", "CONTACT"].map(String::from);
        let rows = events.iter().map(|event| {
            [
                event.id.clone(),
                short_moment(event.at_ms),
                what(event),
                contact(&event.contact),
            ]
        });
        [head].into_iter().chain(rows).collect()
    })
}

/// Its name, and the reason where there is one.
fn what(event: &EventLine) -> String {
    let told: Option<Value> = serde_json::from_str(&event.json).ok();
    let reason = told
        .as_ref()
        .and_then(|told| told.pointer("/data/reason")?.as_str());
    match reason {
        Some(reason) => format!("{}: {reason}", event.kind),
        None => event.kind.clone(),
    }
}

#[derive(Serialize)]
struct EventJson<'a> {
    id: &'a str,
    #[serde(flatten)]
    event: Map<String, Value>,
}

// --- replay -----------------------------------------------------------------------------------------------

fn replay_since(worker: &mut Worker<'_>, since_ms: u64) -> Result<String, Failure> {
    let (mut all, mut after) = (0, None);
    loop {
        match worker.ask(&Request::ReplayEvents { since_ms, after })? {
            Answer::Replayed { count, next } => {
                all += count;
                after = next;
            }
            Answer::NobodyToTell => return Err(nobody_to_tell()),
            _ => return Err(super::unexpected()),
        }
        if after.is_none() {
            return Ok(replayed(all));
        }
    }
}

fn replay_these(worker: &mut Worker<'_>, ids: &[String]) -> Result<String, Failure> {
    let mut unknown: Vec<&str> = Vec::new();
    // Before the first one is told.
    if let Some(id) = ids.iter().find(|id| read_id(id).is_none()) {
        let message = format!("{id:?} is no id of an event: one looks like evt_66517a28f3d00");
        return Err(Failure::new(Exit::Usage, message).hint("`portero events list` shows them"));
    }
    for id in ids {
        match worker.ask(&Request::ReplayEvent { id: id.clone() })? {
            Answer::Replayed { .. } => {}
            Answer::NoSuchEvent => unknown.push(id),
            Answer::NobodyToTell => return Err(nobody_to_tell()),
            _ => return Err(super::unexpected()),
        }
    }
    let done = replayed(ids.len() - unknown.len());
    if unknown.is_empty() {
        return Ok(done);
    }
    let message = format!("{done}; not found: {}", unknown.join(", "));
    Err(Failure::new(Exit::NoUser, message)
        .hint("`portero events list` shows them; they are kept for 30 days"))
}

fn replayed(events: usize) -> String {
    let verb = if events == 1 { "is" } else { "are" };
    format!("{} {verb} told once more", count(events, "event"))
}

fn nobody_to_tell() -> Failure {
    let message = "nobody is told events: [events] is not configured; nothing has been changed";
    Failure::new(Exit::Config, message).hint("`portero config explain events.url` says how")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_event_fits_80_columns() {
        let event = EventLine {
            id: "evt_6651728f83d00".to_owned(),
            at_ms: 1_800_000_000_000,
            kind: "sign_in.refused".to_owned(),
            contact: "3f2a9c1e-0000-4000-8000-000000000000".to_owned(),
            json: r#"{"data":{"reason":"code_forwarded"}}"#.to_owned(),
        };
        assert_eq!(
            table(&[event], 80),
            [
                "ID                 AT (UTC)        WHAT                             CONTACT",
                "evt_6651728f83d00  01-15 08:00:00  sign_in.refused: code_forwarded  3f2a9c1e…",
            ]
        );
    }
}

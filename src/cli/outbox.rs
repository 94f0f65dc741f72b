//! `portero outbox`: what waits to leave the house, and what was given up.

use super::listed::write_json;
use super::moment::now_ms;
use super::show::{self, count, rfc_3339, span};
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop};
use crate::app::CHANGED_AT_ONCE_MAX;
use crate::control::{Answer, ChangeLine, LetterLine, NoRetry, Request, WaitingLine, read_id};
use crate::domain::delivery::Lane;
use serde::Serialize;
use std::collections::BTreeMap;

/// Entries that one listing shows; who has more has one mistake many times.
const LISTED_MAX: usize = 100_000;

const EXAMPLE: &str = "\
Examples:
  portero outbox list --dead
  portero outbox retry --all --lane bot    # once the bot is mended";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List what waits, the oldest first, or what was given up
    ///
    /// Contacts are shown by their userUuid. Only of messages on WhatsApp is it known that a try is
    /// under way.
    #[command(after_help = "Example:\n  portero outbox list --dead --lane bot")]
    List {
        /// What was given up and why, the newest first; it is kept for 30 days
        #[arg(long)]
        dead: bool,
        /// Only of this lane
        #[arg(long, value_name = "LANE", value_parser = LaneNames)]
        lane: Option<Lane>,
        /// As a JSON array, with every detail
        #[arg(long)]
        json: bool,
    },
    /// Try again what was given up, from the beginning
    ///
    /// It leaves after everything that waits for the same contact, under the same webhook-id as
    /// before. What answered somebody minutes ago, or was replaced since, is not sent any more.
    #[command(after_help = "Example:\n  portero outbox retry --all --lane bot")]
    Retry(Choice),
    /// Forget what was given up, or one message that the bot stumbles over
    ///
    /// What still waits can be dropped by its id alone, and only in the lanes bot and events;
    /// what waits behind it goes on at once.
    #[command(after_help = "Example:\n  portero outbox drop 66517a28f3d00")]
    Drop {
        #[command(flatten)]
        choice: Choice,
        /// With --all: forget them without asking
        #[arg(long, requires = "all")]
        yes: bool,
    },
}

#[derive(clap::Args)]
struct Choice {
    /// What the list shows under ID
    #[arg(
        value_name = "ID",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    ids: Vec<String>,
    /// Everything that was given up
    #[arg(long)]
    all: bool,
    /// With --all: only of this lane
    #[arg(long, value_name = "LANE", requires = "all", value_parser = LaneNames)]
    lane: Option<Lane>,
}

/// Lanes by their names.
#[derive(Clone)]
struct LaneNames;

impl clap::builder::TypedValueParser for LaneNames {
    type Value = Lane;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Lane, clap::Error> {
        let names = clap::builder::PossibleValuesParser::new(Lane::ALL.map(Lane::name));
        let name = names.parse_ref(command, argument, value)?;
        let mut lanes = Lane::ALL.into_iter();
        lanes
            .find(|lane| lane.name() == name)
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidValue))
    }

    fn possible_values(
        &self,
    ) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        let names = Lane::ALL.into_iter().map(Lane::name);
        Some(Box::new(names.map(clap::builder::PossibleValue::new)))
    }
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let mut worker = Worker::new(&loaded.config);
    match &arguments.command {
        Command::List {
            dead: false,
            lane,
            json,
        } => list_waiting(shell, &mut worker, *lane, *json),
        Command::List {
            dead: true,
            lane,
            json,
        } => list_dead(shell, &mut worker, *lane, *json),
        Command::Retry(choice) => retry(shell, &mut worker, choice),
        Command::Drop { choice, yes } => forget(shell, &mut worker, choice, *yes),
    }
}

// --- list -------------------------------------------------------------------------------------------------

fn list_waiting(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    lane: Option<Lane>,
    json: bool,
) -> Result<(), Stop> {
    let entries = all_waiting(worker, lane)?;
    if json {
        let entries: Vec<WaitingJson<'_>> = entries.iter().map(WaitingJson::new).collect();
        return write_json(shell, &entries);
    }
    let nothing = "nothing waits; `portero outbox list --dead` shows what was given up";
    write_table(shell, &entries, nothing, waiting_table)
}

fn list_dead(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    lane: Option<Lane>,
    json: bool,
) -> Result<(), Stop> {
    let letters = all_dead(worker, lane)?;
    if json {
        let letters: Vec<LetterJson<'_>> = letters.iter().map(LetterJson::new).collect();
        return write_json(shell, &letters);
    }
    let nothing = "nothing was given up in the last 30 days";
    write_table(shell, &letters, nothing, dead_table)
}

fn write_table<T>(
    shell: &mut Shell<'_>,
    lines: &[T],
    nothing: &str,
    table: fn(&[T], u64, usize) -> Vec<String>,
) -> Result<(), Stop> {
    if lines.is_empty() {
        eprintln!("{nothing}");
        return Ok(());
    }
    let lines = table(lines, now_ms(), show::width());
    write!(shell.output, "{}", show::text(&lines))?;
    Ok(())
}

fn all_waiting(worker: &mut Worker<'_>, lane: Option<Lane>) -> Result<Vec<WaitingLine>, Failure> {
    let lanes = lane.map_or_else(|| Lane::ALL.to_vec(), |lane| vec![lane]);
    let mut all = Vec::new();
    for lane in lanes {
        let mut after = None;
        loop {
            let request = Request::ListWaiting {
                lane: lane.name().to_owned(),
                after,
            };
            let Answer::Waiting { entries, next } = worker.ask(&request)? else {
                return Err(super::unexpected());
            };
            all.extend(entries);
            after = next;
            if after.is_none() || is_enough(all.len()) {
                break;
            }
        }
    }
    Ok(all)
}

fn all_dead(worker: &mut Worker<'_>, lane: Option<Lane>) -> Result<Vec<LetterLine>, Failure> {
    let mut all = Vec::new();
    let mut before = None;
    loop {
        let request = Request::ListDead {
            lane: lane.map(|lane| lane.name().to_owned()),
            before,
        };
        let Answer::Dead { letters, next } = worker.ask(&request)? else {
            return Err(super::unexpected());
        };
        all.extend(letters);
        before = next;
        if before.is_none() || is_enough(all.len()) {
            break;
        }
    }
    // They come by the age of the entry; what was given up last is what somebody looks for.
    all.sort_by_key(|letter| std::cmp::Reverse(letter.given_up_at_ms));
    Ok(all)
}

fn is_enough(listed: usize) -> bool {
    let is_enough = listed >= LISTED_MAX;
    if is_enough {
        eprintln!("there are more than {LISTED_MAX}; the rest is left out, use --lane");
    }
    is_enough
}

fn waiting_table(entries: &[WaitingLine], now_ms: u64, width: usize) -> Vec<String> {
    let head = ["ID", "LANE", "WHAT", "CONTACT", "AGE", "TRIES", "NEXT TRY"].map(String::from);
    let table = show::with_contacts(width, |contact| {
        let rows = entries.iter().map(|entry| {
            let next = if entry.in_flight {
                "under way".to_owned()
            } else if entry.next_try_at_ms <= now_ms {
                "now".to_owned()
            } else {
                format!("in {}", span(entry.next_try_at_ms - now_ms))
            };
            [
                entry.id.clone(),
                entry.lane.clone(),
                entry.what.clone(),
                contact(&entry.contact),
                span(now_ms.saturating_sub(entry.created_at_ms)),
                entry.attempts.to_string(),
                next,
            ]
        });
        [head.clone()].into_iter().chain(rows).collect()
    });
    let mut rows = table.into_iter();
    let mut lines: Vec<String> = rows.next().into_iter().collect();
    for (row, entry) in rows.zip(entries) {
        lines.push(row);
        let failure = entry.last_failure.iter();
        lines.extend(failure.flat_map(|failure| show::indented(failure, width)));
    }
    let lanes = entries.iter().map(|entry| entry.lane.as_str());
    lines.push(format!("waiting: {}", totals(lanes)));
    lines
}

fn dead_table(letters: &[LetterLine], now_ms: u64, width: usize) -> Vec<String> {
    let head = [
        "ID", "LANE", "WHAT", "CONTACT", "GIVEN UP", "TRIES", "RETRY",
    ]
    .map(String::from);
    let table = show::with_contacts(width, |contact| {
        let rows = letters.iter().map(|letter| {
            [
                letter.id.clone(),
                letter.lane.clone(),
                letter.what.clone(),
                contact(&letter.contact),
                format!("{} ago", span(now_ms.saturating_sub(letter.given_up_at_ms))),
                letter.attempts.to_string(),
                if letter.no_retry.is_none() {
                    "yes"
                } else {
                    "no"
                }
                .to_owned(),
            ]
        });
        [head.clone()].into_iter().chain(rows).collect()
    });
    let mut rows = table.into_iter();
    let mut lines: Vec<String> = rows.next().into_iter().collect();
    for (row, letter) in rows.zip(letters) {
        lines.push(row);
        lines.extend(show::indented(&letter.reason, width));
        let why = letter.no_retry.map(no_retry);
        lines.extend(
            why.into_iter()
                .flat_map(|why| show::indented(&format!("no retry: {why}"), width)),
        );
    }
    let lanes = letters.iter().map(|letter| letter.lane.as_str());
    lines.push(format!("given up: {}", totals(lanes)));
    let retryable = letters.iter().filter(|letter| letter.no_retry.is_none());
    lines.push(match retryable.count() {
        0 => "none of them can be retried".to_owned(),
        some => format!("can be retried: {some}"),
    });
    lines
}

/// How many of each lane: "whatsapp 2, bot 12".
fn totals<'a>(lanes: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<usize, (&str, usize)> = BTreeMap::new();
    for lane in lanes {
        let place = Lane::ALL.iter().position(|known| known.name() == lane);
        counts
            .entry(place.unwrap_or(usize::MAX))
            .or_insert((lane, 0))
            .1 += 1;
    }
    let counts = counts
        .values()
        .map(|(lane, count)| format!("{lane} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn no_retry(why: NoRetry) -> &'static str {
    match why {
        NoRetry::NothingLeft => "what it said is forgotten",
        NoRetry::TimeOver => "it answered what somebody wrote then, and would confuse them now",
        NoRetry::Replaced => "something newer has taken its place",
        NoRetry::NoReceiver => "nobody is configured who would get it",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitingJson<'a> {
    id: &'a str,
    lane: &'a str,
    what: &'a str,
    user_uuid: &'a str,
    webhook_id: Option<&'a str>,
    created_at: String,
    attempts: u32,
    next_try_at: String,
    expires_at: String,
    last_failure: Option<&'a str>,
    in_flight: bool,
}

impl<'a> WaitingJson<'a> {
    fn new(entry: &'a WaitingLine) -> WaitingJson<'a> {
        WaitingJson {
            id: &entry.id,
            lane: &entry.lane,
            what: &entry.what,
            user_uuid: &entry.contact,
            webhook_id: entry.webhook_id.as_deref(),
            created_at: rfc_3339(entry.created_at_ms),
            attempts: entry.attempts,
            next_try_at: rfc_3339(entry.next_try_at_ms),
            expires_at: rfc_3339(entry.expires_at_ms),
            last_failure: entry.last_failure.as_deref(),
            in_flight: entry.in_flight,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LetterJson<'a> {
    id: &'a str,
    lane: &'a str,
    what: &'a str,
    user_uuid: &'a str,
    webhook_id: Option<&'a str>,
    created_at: String,
    given_up_at: String,
    attempts: u32,
    reason: &'a str,
    can_retry: bool,
    no_retry: Option<NoRetry>,
}

impl<'a> LetterJson<'a> {
    fn new(letter: &'a LetterLine) -> LetterJson<'a> {
        LetterJson {
            id: &letter.id,
            lane: &letter.lane,
            what: &letter.what,
            user_uuid: &letter.contact,
            webhook_id: letter.webhook_id.as_deref(),
            created_at: rfc_3339(letter.created_at_ms),
            given_up_at: rfc_3339(letter.given_up_at_ms),
            attempts: letter.attempts,
            reason: &letter.reason,
            can_retry: letter.no_retry.is_none(),
            no_retry: letter.no_retry,
        }
    }
}

// --- retry and drop ---------------------------------------------------------------------------------------

fn retry(shell: &mut Shell<'_>, worker: &mut Worker<'_>, choice: &Choice) -> Result<(), Stop> {
    if !choice.all {
        let ids = named(&choice.ids)?;
        return change(shell, worker, &ids, |ids| Request::Retry { ids });
    }
    let letters = all_dead(worker, choice.lane)?;
    let all = letters.len();
    // Picked out first: what is refused again comes back as another letter.
    let ids = ids_of(
        letters
            .into_iter()
            .filter(|letter| letter.no_retry.is_none()),
    );
    let left = all - ids.len();
    if ids.is_empty() {
        eprintln!("nothing can be tried again");
    }
    change(shell, worker, &ids, |ids| Request::Retry { ids })?;
    if left > 0 {
        eprintln!(
            "{} cannot be tried again; `portero outbox list --dead` says why",
            count(left, "letter")
        );
    }
    Ok(())
}

fn forget(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    choice: &Choice,
    yes: bool,
) -> Result<(), Stop> {
    if !choice.all {
        let ids = named(&choice.ids)?;
        return change(shell, worker, &ids, |ids| Request::Drop { ids });
    }
    let ids = ids_of(all_dead(worker, choice.lane)?.into_iter());
    if ids.is_empty() {
        eprintln!("nothing was given up");
        return Ok(());
    }
    if !yes {
        let message = format!(
            "{} would be forgotten for good; nothing has been changed",
            count(ids.len(), "letter")
        );
        return Err(Failure::new(Exit::Usage, message)
            .hint("--yes forgets them; `portero outbox list --dead` shows them")
            .into());
    }
    change(shell, worker, &ids, |ids| Request::Drop { ids })
}

/// Oldest first, so that what belongs to one contact keeps its order.
fn ids_of(letters: impl Iterator<Item = LetterLine>) -> Vec<String> {
    let mut ids: Vec<String> = letters.map(|letter| letter.id).collect();
    ids.sort_by_key(|id| read_id(id));
    ids
}

fn named(ids: &[String]) -> Result<Vec<String>, Failure> {
    let mut named = Vec::new();
    for id in ids {
        let number = read_id(id).ok_or_else(|| {
            let message = format!("{id:?} is no id: one is a row of hexadecimal digits");
            Failure::new(Exit::Usage, message).hint("`portero outbox list` shows them")
        })?;
        named.push((number, id.clone()));
    }
    named.sort_by_key(|(number, _)| *number);
    named.dedup_by_key(|(number, _)| *number);
    Ok(named.into_iter().map(|(_, id)| id).collect())
}

fn change(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    ids: &[String],
    request: impl Fn(Vec<String>) -> Request,
) -> Result<(), Stop> {
    let (mut unknown, mut undone) = (0, 0);
    for ids in ids.chunks(CHANGED_AT_ONCE_MAX) {
        let Answer::Changed { changes } = worker.ask(&request(ids.to_vec()))? else {
            return Err(super::unexpected().into());
        };
        for change in &changes {
            match change {
                ChangeLine::Unknown { .. } => unknown += 1,
                ChangeLine::Waits { .. } | ChangeLine::Kept { .. } => undone += 1,
                ChangeLine::NotRetried { .. } => undone += 1,
                ChangeLine::Retried { .. } | ChangeLine::Dropped { .. } => {}
            }
            writeln!(shell.output, "{}", told(change))?;
        }
    }
    if unknown > 0 {
        let message = format!("{} not found", count(unknown, "id"));
        let hint = "`portero outbox list` and `portero outbox list --dead` show them";
        return Err(Failure::new(Exit::NoUser, message).hint(hint).into());
    }
    if undone > 0 {
        let message = format!("{} left as before", count(undone, "letter"));
        return Err(Failure::new(Exit::Failed, message).into());
    }
    Ok(())
}

fn told(change: &ChangeLine) -> String {
    match change {
        ChangeLine::Retried { id, new_id } => format!("{id} is tried again, as {new_id}"),
        ChangeLine::Dropped { id, waited: false } => format!("{id} is forgotten"),
        ChangeLine::Dropped { id, waited: true } => {
            format!("{id} was waiting and is forgotten; what waits behind it goes on")
        }
        ChangeLine::Waits { id } => {
            format!("{id} was not given up: it waits and is tried by itself")
        }
        ChangeLine::Kept { id } => {
            format!("{id} waits for somebody who is signing in, and ends by itself within minutes")
        }
        ChangeLine::NotRetried { id, why } => {
            format!("{id} cannot be tried again: {}", no_retry(*why))
        }
        ChangeLine::Unknown { id } => format!("{id} is not there"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn waiting(lane: &str, what: &str, next_try_in_ms: u64, in_flight: bool) -> WaitingLine {
        WaitingLine {
            id: "6651728f83d00".to_owned(),
            lane: lane.to_owned(),
            what: what.to_owned(),
            contact: "3f2a9c1e-0000-4000-8000-000000000000".to_owned(),
            webhook_id: None,
            created_at_ms: NOW_MS - 59 * 60_000,
            attempts: 99_999,
            next_try_at_ms: NOW_MS + next_try_in_ms,
            expires_at_ms: NOW_MS,
            last_failure: (lane == "bot").then(|| "the bot answered 500".to_owned()),
            in_flight,
        }
    }

    #[test]
    fn what_waits_fits_80_columns_and_shows_whole_contacts_on_a_wide_screen() {
        let entries = [
            waiting("whatsapp", "return_code_foreign", 0, true),
            waiting("services", "look_up", 59_000, false),
            waiting("bot", "hand_on", 0, false),
        ];
        assert_eq!(
            waiting_table(&entries, NOW_MS, 80),
            [
                "ID             LANE      WHAT                 CONTACT    AGE  TRIES  NEXT TRY",
                "6651728f83d00  whatsapp  return_code_foreign  3f2a9c1e…  59m  99999  under way",
                "6651728f83d00  services  look_up              3f2a9c1e…  59m  99999  in 59s",
                "6651728f83d00  bot       hand_on              3f2a9c1e…  59m  99999  now",
                "  the bot answered 500",
                "waiting: whatsapp 1, services 1, bot 1",
            ]
        );
        let wide = waiting_table(&entries, NOW_MS, 120);
        assert!(
            wide[1].contains("3f2a9c1e-0000-4000-8000-000000000000  59m"),
            "{wide:?}"
        );
    }

    #[test]
    fn a_dead_letter_says_why_it_died_and_why_it_cannot_live_again() {
        let letter = |no_retry| LetterLine {
            id: "6651728f83d00".to_owned(),
            lane: "whatsapp".to_owned(),
            what: "return_code_foreign".to_owned(),
            contact: "3f2a9c1e-0000-4000-8000-000000000000".to_owned(),
            webhook_id: None,
            created_at_ms: NOW_MS,
            given_up_at_ms: NOW_MS - 86_400_000 * 29,
            attempts: 312,
            reason: "Meta answered 400: 131026".to_owned(),
            no_retry,
        };
        assert_eq!(
            dead_table(&[letter(None), letter(Some(NoRetry::TimeOver))], NOW_MS, 80),
            [
                "ID             LANE      WHAT                 CONTACT    GIVEN UP  TRIES  RETRY",
                "6651728f83d00  whatsapp  return_code_foreign  3f2a9c1e…  29d ago   312    yes",
                "  Meta answered 400: 131026",
                "6651728f83d00  whatsapp  return_code_foreign  3f2a9c1e…  29d ago   312    no",
                "  Meta answered 400: 131026",
                "  no retry: it answered what somebody wrote then, and would confuse them now",
                "given up: whatsapp 2",
                "can be retried: 1",
            ]
        );
    }
}

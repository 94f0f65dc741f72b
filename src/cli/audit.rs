//! `portero audit`: who did what when, and whether anybody has changed what was written down.

use super::listed::{self, note_more, write_json, write_json_line};
use super::moment::moment;
use super::show::{self, count, rfc_3339};
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::control::{Answer, AuditCheckLine, AuditFaultLine, AuditRow, Request};
use crate::store::record::AuditPlace;
use serde::Serialize;

/// Lines listed unless another number is asked for.
const LIMIT: usize = 100;

/// Faults that are shown; who has more has one mistake many times.
const FAULTS_SHOWN_MAX: usize = 20;

const EXAMPLE: &str = "\
Examples:
  portero audit list --since 7d
  portero audit verify";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the last lines, the oldest of them first; they are kept for 180 days
    #[command(after_help = "Example:\n  portero audit list --since 7d --json | jq .event")]
    List {
        /// From this moment on: 45s, 30m, 2h, 7d ago, or 2026-11-25T10:00:00Z
        #[arg(long, value_name = "WHEN", value_parser = moment)]
        since: Option<u64>,
        /// How many at most
        #[arg(long, value_name = "N", default_value_t = LIMIT)]
        limit: usize,
        /// Each as a line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that no line was changed, taken out, put in or moved since it was written
    ///
    /// Each line carries a digest of the one before it. What is older than 180 days is forgotten,
    /// and the chain is checked from there on. Ends with 1 if it does not hold.
    #[command(after_help = "Example:\n  portero audit verify --json")]
    Verify {
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let mut worker = Worker::new(&loaded.config);
    match arguments.command {
        Command::List { since, limit, json } => {
            list(shell, &mut worker, since.unwrap_or(0), limit, json)
        }
        Command::Verify { json } => verify(shell, &mut worker, json),
    }
}

/// As everywhere else, in hexadecimal digits.
fn id(number: u64) -> String {
    format!("{number:x}")
}

// --- list -------------------------------------------------------------------------------------------------

fn list(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    since_ms: u64,
    limit: usize,
    json: bool,
) -> Result<(), Stop> {
    let (lines, are_more) = listed::last(limit, |before| {
        match worker.ask(&Request::ListAudit { since_ms, before })? {
            Answer::Audit { lines, next } => Ok((lines, next)),
            _ => Err(unexpected()),
        }
    })?;
    if json {
        for line in &lines {
            write_json_line(shell, &RowJson::new(line))?;
        }
    } else if lines.is_empty() {
        eprintln!("nothing has been written down");
    } else {
        write!(
            shell.output,
            "{}",
            show::text(&table(&lines, show::width()))
        )?;
    }
    note_more(are_more);
    Ok(())
}

fn table(lines: &[AuditRow], width: usize) -> Vec<String> {
    show::with_contacts(width, |contact| {
        let head = ["ID", "AT (UTC)", "WHAT", "CONTACT", "DETAIL"].map(String::from);
        let rows = lines.iter().map(|line| {
            [
                id(line.number),
                show::short_moment(line.at_ms),
                line.event.clone(),
                match &line.contact {
                    Some(of) => contact(of),
                    None if line.erased => "erased".to_owned(),
                    // What an operator does may be about nobody, or about a user of the directory.
                    None => "-".to_owned(),
                },
                match (&line.number_ending, &line.directory_user, &line.about) {
                    (Some(ending), ..) => format!("…{ending}"),
                    (None, Some(user), _) => contact(user),
                    (None, None, Some(about)) => about.clone(),
                    (None, None, None) => "-".to_owned(),
                },
            ]
        });
        [head].into_iter().chain(rows).collect()
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowJson<'a> {
    id: String,
    at: String,
    event: &'a str,
    user_uuid: Option<&'a str>,
    number_ending: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<&'a str>,
    chained: bool,
}

impl<'a> RowJson<'a> {
    fn new(line: &'a AuditRow) -> RowJson<'a> {
        RowJson {
            id: id(line.number),
            at: rfc_3339(line.at_ms),
            event: &line.event,
            user_uuid: line.contact.as_deref(),
            number_ending: line.number_ending.as_deref(),
            directory_user: line.directory_user.as_deref(),
            about: line.about.as_deref(),
            chained: line.chained,
        }
    }
}

// --- verify -----------------------------------------------------------------------------------------------

fn verify(shell: &mut Shell<'_>, worker: &mut Worker<'_>, json: bool) -> Result<(), Stop> {
    let check = whole_check(worker)?;
    if json {
        write_json(shell, &CheckJson::new(&check))?;
    } else {
        write!(shell.output, "{}", show::text(&told(&check)))?;
    }
    if check.faults.is_empty() {
        return Ok(());
    }
    let message = "the audit is not what was written down";
    let hint = "a backup from before may have what is missing; whoever changed it had the store and perhaps its key";
    Err(Failure::new(Exit::Failed, message).hint(hint).into())
}

/// All parts of the check, one after the other, as one.
fn whole_check(worker: &mut Worker<'_>) -> Result<AuditCheckLine, Failure> {
    let mut whole = checked(worker, None)?;
    while let Some(after) = whole.next.take() {
        let part = checked(worker, Some(after))?;
        whole.faults.extend(part.faults);
        whole = AuditCheckLine {
            lines: whole.lines + part.lines,
            unchained: whole.unchained + part.unchained,
            erased: whole.erased + part.erased,
            faults: whole.faults,
            ..part
        };
    }
    Ok(whole)
}

fn checked(worker: &mut Worker<'_>, after: Option<AuditPlace>) -> Result<AuditCheckLine, Failure> {
    match worker.ask(&Request::VerifyAudit { after })? {
        Answer::AuditChecked(check) => Ok(*check),
        _ => Err(unexpected()),
    }
}

fn told(check: &AuditCheckLine) -> Vec<String> {
    let mut lines = Vec::new();
    let chained = check.lines - check.unchained;
    if check.faults.is_empty() {
        lines.push(format!("the chain holds: {}", count(chained, "line")));
    } else {
        lines.push(format!(
            "the chain is broken: {} in {}",
            count(check.faults.len(), "fault"),
            count(check.lines, "line")
        ));
    }
    for (number, fault) in check.faults.iter().take(FAULTS_SHOWN_MAX) {
        lines.push(format!("  {}: {}", id(*number), words(*fault)));
    }
    if check.faults.len() > FAULTS_SHOWN_MAX {
        lines.push("  and more; --json shows them".to_owned());
    }
    if check.unchained > 0 {
        lines.push(format!(
            "{} from before there was a chain: nobody can tell whether they were changed",
            count(check.unchained, "line")
        ));
    }
    if check.erased > 0 {
        lines.push(format!(
            "in {} it was erased whom they are about",
            count(check.erased, "line")
        ));
    }
    if let Some(anchor) = &check.anchor {
        lines.push(format!(
            "it begins after {}: what is older than 180 days was forgotten",
            id(anchor.number)
        ));
    }
    if let Some(head) = &check.head {
        let digest = head.digest.as_deref().unwrap_or("-");
        lines.push(format!("it ends with {}, whose digest is", id(head.number)));
        lines.push(format!("  {digest}"));
    }
    lines
}

fn words(fault: AuditFaultLine) -> &'static str {
    match fault {
        AuditFaultLine::Changed => "is not what was written",
        AuditFaultLine::MissingBefore => "lines before it are missing, or it was moved",
        AuditFaultLine::Unchained => "was put in: it is not in the chain",
        AuditFaultLine::CutOff => "was the last line, and is missing",
        AuditFaultLine::NotNoted => "is the last line, and another one is noted as that",
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckJson<'a> {
    holds: bool,
    lines: usize,
    unchained: usize,
    erased: usize,
    begins_after: Option<String>,
    ends_with: Option<String>,
    digest: Option<&'a str>,
    faults: Vec<FaultJson>,
}

#[derive(Serialize)]
struct FaultJson {
    id: String,
    fault: AuditFaultLine,
}

impl<'a> CheckJson<'a> {
    fn new(check: &'a AuditCheckLine) -> CheckJson<'a> {
        let faults = check.faults.iter().map(|(number, fault)| FaultJson {
            id: id(*number),
            fault: *fault,
        });
        CheckJson {
            holds: check.faults.is_empty(),
            lines: check.lines,
            unchained: check.unchained,
            erased: check.erased,
            begins_after: check.anchor.as_ref().map(|anchor| id(anchor.number)),
            ends_with: check.head.as_ref().map(|head| id(head.number)),
            digest: check.head.as_ref().and_then(|head| head.digest.as_deref()),
            faults: faults.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_was_written_and_what_was_erased() {
        let row = AuditRow {
            number: 0x0006_6517_28f8_3d00,
            at_ms: 1_800_000_000_000,
            event: "contact.released.identity_key_changed".to_owned(),
            contact: Some("3f2a9c1e-0000-4000-8000-000000000000".to_owned()),
            number_ending: Some("67".to_owned()),
            directory_user: None,
            erased: false,
            about: None,
            chained: true,
        };
        let erased = AuditRow {
            contact: None,
            number_ending: None,
            erased: true,
            ..row.clone()
        };
        let backup = AuditRow {
            event: "store.backed_up".to_owned(),
            erased: false,
            ..erased.clone()
        };
        let password = AuditRow {
            event: "user.password_set".to_owned(),
            directory_user: Some("u-3f2a9c1e000040008000000000000000".to_owned()),
            ..backup.clone()
        };
        let reload = AuditRow {
            event: "configuration.reloaded".to_owned(),
            about: Some("mail.password".to_owned()),
            ..backup.clone()
        };
        assert_eq!(
            table(&[row, erased, backup, password, reload], 80),
            [
                "ID             AT (UTC)        WHAT                                   CONTACT    DETAIL",
                "6651728f83d00  01-15 08:00:00  contact.released.identity_key_changed  3f2a9c1e…  …67",
                "6651728f83d00  01-15 08:00:00  contact.released.identity_key_changed  erased     -",
                "6651728f83d00  01-15 08:00:00  store.backed_up                        -          -",
                "6651728f83d00  01-15 08:00:00  user.password_set                      -          u-3f2a9c…",
                "6651728f83d00  01-15 08:00:00  configuration.reloaded                 -          mail.password",
            ]
        );
    }
}

//! `portero check --service NAME --email ADDRESS`: one service is asked as it would be for a
//! person, and everything is shown but the secrets. Nothing is kept of it.

use super::terminal::ask_hidden;
use super::{Exit, Failure, Shell, Stop};
use crate::config::Config;
use crate::domain::account::Account;
use crate::domain::id::{ContactId, EmailAddress, ServiceName};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::services::{Asking, Call, DryRun, Exchange, Reading, Refusal, Services, TokenReading};
use serde_json::{Value, json};
use std::io::{self, IsTerminal};
use std::time::SystemTime;
use unicode_width::UnicodeWidthStr;

/// Lines of an answer that are shown to people; who wants more takes `--json`.
const ANSWER_LINES_MAX: usize = 60;

/// What to ask, as it was typed.
pub(super) struct Wanted<'a> {
    pub service: &'a str,
    pub email: Option<&'a str>,
    pub token: bool,
    pub password_of: Option<&'a str>,
    pub json: bool,
}

pub(super) fn run(shell: &mut Shell<'_>, config: &Config, wanted: &Wanted<'_>) -> Result<(), Stop> {
    let service = ServiceName::parse(wanted.service).ok();
    let known = |name: &ServiceName| config.services.iter().any(|service| service.name == *name);
    let Some(service) = service.filter(known) else {
        return Err(no_such_service(config, wanted.service).into());
    };
    if wanted.email.is_none() && wanted.password_of.is_none() {
        let failure = Failure::new(Exit::Usage, "--service needs somebody to ask about");
        return Err(failure
            .hint("--email ADDRESS, --password-of USER, or both")
            .into());
    }
    let email = wanted.email.map(|text| {
        EmailAddress::parse(text)
            .map_err(|wrong| Failure::new(Exit::Usage, format!("--email: {wrong}")))
    });
    let email = email.transpose()?;
    let services = Services::new(config.services.clone())
        .map_err(|sentence| Failure::new(Exit::Config, sentence))?;
    let mut runs = Vec::new();
    if let Some(email) = &email {
        runs.extend(services.dry_run_find_user(&service, email, now(), &fresh_id()));
    }
    if let Some(user) = wanted.password_of {
        runs.push(check_password(&services, &service, user)?);
    }
    let found = runs.iter().find_map(|run| match &run.reading {
        Reading::Users(users) => users.first(),
        Reading::Token(_) | Reading::Refused(_) => None,
    });
    let token_wanted_and_nobody = wanted.token && found.is_none();
    if let Some(user) = found.filter(|_| wanted.token) {
        let contact = ContactId::parse(&uuid::Uuid::new_v4().to_string())
            .map_err(|_| Failure::new(Exit::Failed, "no id could be made"))?;
        let user = user.clone();
        runs.extend(services.dry_run_issue_token(&service, &user, contact, now(), &fresh_id()));
    }
    if wanted.json {
        let told: Vec<_> = runs.iter().map(as_json).collect();
        let told = json!({"service": service.as_str(), "calls": told});
        serde_json::to_writer_pretty(&mut *shell.output, &told).map_err(io::Error::from)?;
        writeln!(shell.output)?;
    } else {
        for (index, run) in runs.iter().enumerate() {
            if index > 0 {
                writeln!(shell.output)?;
            }
            write!(shell.output, "{}", as_text(run))?;
        }
    }
    shell.output.flush()?;
    verdict(&service, &runs, token_wanted_and_nobody).map_or(Ok(()), |failure| Err(failure.into()))
}

/// What is said at the end, and with which exit code: nothing when all went well.
fn verdict(service: &ServiceName, runs: &[DryRun], nobody_for_a_token: bool) -> Option<Failure> {
    let name = service.as_str();
    for run in runs {
        let Reading::Refused(refusal) = &run.reading else {
            continue;
        };
        let call = run.call.name();
        // Why is on the output already.
        let failure = match refusal.unreachable {
            true => Failure::new(Exit::Unavailable, format!("{name} could not be asked")),
            false => {
                let message = format!("the answer of {name} to {call} cannot be used");
                Failure::new(Exit::Failed, message)
            }
        };
        return Some(match refusal.advice {
            _ if !refusal.lines.is_empty() => failure.hint(format!(
                "write what would fit below [services.{call}], and try again"
            )),
            Some(advice) => failure.hint(advice),
            None => failure,
        });
    }
    nobody_for_a_token.then(|| {
        Failure::new(
            Exit::Failed,
            format!("{name} was not asked for a token: there is nobody to ask it for"),
        )
        .hint("--email with the address of a user that the service knows")
    })
}

fn no_such_service(config: &Config, written: &str) -> Failure {
    let names: Vec<_> = config
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    let failure = Failure::new(
        Exit::Usage,
        format!("no [[services]] is called {written:?}"),
    );
    failure.hint(match names.as_slice() {
        [] => "there are no [[services]] in the configuration".to_owned(),
        names => format!("there are {}", names.join(", ")),
    })
}

fn check_password(
    services: &Services,
    service: &ServiceName,
    user: &str,
) -> Result<DryRun, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "--password-of asks for the password at a terminal, and this is none",
        ));
    }
    let password = ask_hidden(&format!("Password of {user}: "))
        .map_err(|error| Failure::new(Exit::Io, format!("cannot read the password: {error}")))?;
    if password.is_empty() {
        return Err(Failure::new(
            Exit::Usage,
            "services are never asked about an empty password",
        ));
    }
    services
        .dry_run_check_password(
            service,
            user,
            &Secret::new(password.as_str()),
            now(),
            &fresh_id(),
        )
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!(
                    "{} has no check_password in the configuration",
                    service.as_str()
                ),
            )
        })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// A question that no service has answered before.
fn fresh_id() -> String {
    format!("check {}", uuid::Uuid::new_v4())
}

// --- for people -------------------------------------------------------------------------------------------

fn as_text(run: &DryRun) -> String {
    let mut text = format!("{}\n", run.call.name());
    if let Some(asking) = &run.asking {
        text.push_str(&asked(asking));
    }
    if let Some(answer) = &run.answer {
        text.push_str(&answered(answer));
    }
    text.push_str(&match &run.reading {
        Reading::Users(users) if users.is_empty() => match run.call {
            Call::CheckPassword => "  read      nobody: the password counts as wrong\n".to_owned(),
            _ => "  read      nobody\n".to_owned(),
        },
        Reading::Users(users) => table(users),
        Reading::Token(token) => format!("  read      {}\n", token_words(token)),
        Reading::Refused(refusal) => refused(run.call, refusal),
    });
    text
}

fn asked(asking: &Asking) -> String {
    let mut text = format!("  asked     {} {}\n", asking.method, asking.url);
    for (name, value) in &asking.headers {
        text.push_str(&format!("            {name}: {value}\n"));
    }
    if let Some(body) = &asking.body {
        let form = if asking.form { "  (as a form)" } else { "" };
        text.push_str(&format!("            {body}{form}\n"));
    }
    text
}

fn answered(answer: &Exchange) -> String {
    let mut text = format!("  answered  {}\n", answer.status);
    for (name, value) in &answer.headers {
        text.push_str(&format!("            {name}: {value}\n"));
    }
    match &answer.body {
        Some(body) => {
            // A document of ours can always be written.
            let pretty = serde_json::to_string_pretty(body).unwrap_or_default();
            let count = pretty.lines().count();
            for line in pretty.lines().take(ANSWER_LINES_MAX) {
                text.push_str(&format!("            {line}\n"));
            }
            if count > ANSWER_LINES_MAX {
                let more = count - ANSWER_LINES_MAX;
                text.push_str(&format!(
                    "            … and {more} lines more; --json has all\n"
                ));
            }
        }
        None if answer.bytes == 0 => text.push_str("            (no body)\n"),
        None => text.push_str(&format!(
            "            ({} bytes that are not JSON, not shown)\n",
            answer.bytes
        )),
    }
    text
}

fn table(users: &[Account]) -> String {
    let mut rows = vec![["ID", "NAME", "EMAIL", "PHONE", "COMPANY ID", "COMPANY"]];
    rows.extend(users.iter().map(|user| {
        [
            user.user_id.as_str(),
            &user.name,
            user.email.as_str(),
            user.phone.as_deref().unwrap_or("-"),
            &user.company.id,
            &user.company.name,
        ]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = if index == 0 {
            "  read      "
        } else {
            "            "
        }
        .to_owned();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            // Not by `{:width$}`, which counts characters: some take two places, some none.
            line.push_str(&" ".repeat(width - cell.width() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn token_words(token: &TokenReading) -> String {
    format!(
        "a {} token of {} characters, good for {}",
        token.token_type,
        token.characters,
        lifetime(token.expires_in_seconds)
    )
}

fn lifetime(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ({seconds} s)")
}

fn refused(call: Call, refusal: &Refusal) -> String {
    let mut text = format!("  refused   {}\n", refusal.reason);
    if !refusal.lines.is_empty() {
        text.push_str(&format!("  would fit, below [services.{}]:\n", call.name()));
        for line in &refusal.lines {
            text.push_str(&format!("            {line}\n"));
        }
    }
    text
}

// --- for programs -----------------------------------------------------------------------------------------

fn as_json(run: &DryRun) -> Value {
    let asked = run.asking.as_ref().map(|asking| {
        let headers: Vec<_> = asking
            .headers
            .iter()
            .map(|(name, value)| json!([name, value]))
            .collect();
        json!({"method": asking.method, "url": asking.url, "headers": headers, "body": asking.body,
            "encoding": if asking.form { "form" } else { "json" }})
    });
    let answered = run.answer.as_ref().map(|answer| {
        let headers: Vec<_> = answer.headers.iter().map(|(name, value)| json!([name, value])).collect();
        json!({"status": answer.status, "headers": headers, "body": answer.body, "bytes": answer.bytes})
    });
    let (outcome, read) = match &run.reading {
        Reading::Users(users) => {
            let users = users.iter().map(|user| {
                json!({"id": user.user_id, "name": user.name, "email": user.email.as_str(),
                    "phone": user.phone, "company": {"id": user.company.id, "name": user.company.name}})
            });
            ("read", json!({"users": users.collect::<Vec<_>>()}))
        }
        Reading::Token(token) => (
            "read",
            json!({"tokenType": token.token_type, "characters": token.characters,
                "expiresIn": token.expires_in_seconds}),
        ),
        Reading::Refused(refusal) => (
            if refusal.unreachable {
                "unreachable"
            } else {
                "refused"
            },
            json!({"reason": refusal.reason, "advice": refusal.advice, "wouldFit": refusal.lines}),
        ),
    };
    json!({"call": run.call.name(), "asked": asked, "answered": answered, "outcome": outcome, "read": read})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(unreachable: bool) -> DryRun {
        DryRun {
            call: Call::FindUser,
            asking: None,
            answer: None,
            reading: Reading::Refused(Refusal {
                unreachable,
                reason: "because".to_owned(),
                advice: Some("do this"),
                lines: vec!["users = \"/data\"".to_owned()],
            }),
        }
    }

    fn nobody() -> DryRun {
        DryRun {
            reading: Reading::Users(Vec::new()),
            ..refusal(false)
        }
    }

    #[test]
    fn the_exit_code_tells_a_refusal_from_silence_and_nobody_from_both() {
        let service = ServiceName::parse("erp").expect("a name");
        let exit = |runs: &[DryRun], nobody| verdict(&service, runs, nobody).map(|f| f.exit);
        assert_eq!(exit(&[nobody()], false), None);
        assert_eq!(exit(&[nobody()], true), Some(Exit::Failed));
        assert_eq!(exit(&[nobody(), refusal(false)], false), Some(Exit::Failed));
        assert_eq!(exit(&[refusal(true)], true), Some(Exit::Unavailable));
        let failure = verdict(&service, &[refusal(true)], false).expect("a failure");
        assert_eq!(failure.message, "erp could not be asked");
        let hint = "write what would fit below [services.find_user], and try again";
        assert_eq!(failure.hint.as_deref(), Some(hint));
    }

    #[test]
    fn a_lifetime_is_said_in_the_unit_that_people_would_use() {
        for (seconds, words) in [
            (1, "1 second (1 s)"),
            (119, "119 seconds (119 s)"),
            (3_600, "60 minutes (3600 s)"),
            (86_400, "24 hours (86400 s)"),
            (864_000, "10 days (864000 s)"),
        ] {
            assert_eq!(lifetime(seconds), words);
        }
    }

    #[test]
    fn a_refusal_names_the_table_in_which_lines_would_fit() {
        assert_eq!(
            as_text(&refusal(false)),
            "find_user\n  refused   because\n  would fit, below [services.find_user]:\n            users = \"/data\"\n"
        );
    }
}

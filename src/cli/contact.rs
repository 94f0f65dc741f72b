//! `portero contact` and `portero export`: the people who wrote.
//!
//! Lists show no names and only the ends of numbers; who asks for one person is shown as whom that
//! person is signed in.

use super::listed::write_json;
use super::show::{self, count, moment, rfc_3339};
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::control::{
    Answer, BindingLine, ContactLine, ForgottenLine, LIST_CONTACTS_MAX, Request, WhomText,
};
use serde::Serialize;
use serde_json::json;

/// Contacts that are listed at most, far more than one number has in a month.
const CONTACTS_MAX: usize = 1_000_000;

/// What Portero cannot erase, for whoever has to.
const ELSEWHERE: [&str; 6] = [
    "WhatsApp: the chat itself, and the contact in the account's contact book at Meta",
    "the mail server and the mail provider: codes and notices that were mailed",
    "the bot and whatever it uses: what it was handed on, its memory and its logs",
    "the services: the account is theirs, and so are their logs of what was asked",
    "copies made with `portero backup`, and stores put aside by `portero restore`: restoring one \
     forgets again, but the file itself holds everything until it is deleted",
    "logs of this machine and of proxies, where they hold addresses of browsers",
];

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List who wrote, the latest first
    List {
        /// Only who is signed in
        #[arg(long)]
        signed_in: bool,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show as whom somebody is signed in
    Show {
        #[command(flatten)]
        who: Who,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// End the sign-ins of somebody, and drop their tokens
    Logout {
        #[command(flatten)]
        who: Who,
    },
    /// Forget somebody for good
    ///
    /// Everything that is kept about them goes, the store is written anew without it, and snapshots
    /// from before are deleted. Restoring an older copy forgets them again. Whoever writes again
    /// afterwards is somebody new.
    Forget {
        #[command(flatten)]
        who: Who,
        /// Only say what would be forgotten
        #[arg(long)]
        dry_run: bool,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Somebody, by one name.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(super) struct Who {
    /// Their userUuid
    #[arg(value_name = "USER_UUID")]
    user: Option<String>,
    /// Their userUuid
    #[arg(long = "user", value_name = "USER_UUID", hide = true)]
    user_named: Option<String>,
    /// Their number, with country code
    #[arg(long)]
    number: Option<String>,
    /// The address of the account that they are signed in to
    #[arg(long)]
    email: Option<String>,
}

impl Who {
    fn text(&self) -> Result<WhomText, Failure> {
        let user = self.user.as_ref().or(self.user_named.as_ref());
        let whom = match (user, &self.number, &self.email) {
            (Some(id), ..) => WhomText::User(id.clone()),
            (_, Some(number), _) => WhomText::Number(number.clone()),
            (.., Some(email)) => WhomText::Email(email.clone()),
            // The group demands one of them.
            _ => return Err(Failure::new(Exit::Usage, "nobody is named")),
        };
        whom.parse()
            .map_err(|words| Failure::new(Exit::Usage, words.to_string()))?;
        Ok(whom)
    }
}

#[derive(clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    who: Who,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let mut worker = Worker::new(&loaded.config);
    match &arguments.command {
        Command::List { signed_in, json } => list(shell, &mut worker, *signed_in, *json),
        Command::Show { who, json } => show_one(shell, &mut worker, who, *json),
        Command::Logout { who } => log_out(shell, &mut worker, who),
        Command::Forget { who, dry_run, json } => forget(shell, &mut worker, who, *dry_run, *json),
    }
}

/// Everything that is kept about one person, as JSON: for a request for access.
pub(super) fn export(shell: &mut Shell<'_>, arguments: &Export) -> Result<(), Stop> {
    let whom = arguments.who.text()?;
    let (_, loaded) = shell.load_for_the_store()?;
    let mut worker = Worker::new(&loaded.config);
    match worker.ask(&Request::Export { whom })? {
        Answer::Exported { everything } => write_json(shell, &everything),
        Answer::NoSuchContact => Err(nobody().into()),
        _ => Err(unexpected().into()),
    }
}

fn nobody() -> Failure {
    Failure::new(Exit::NoUser, "nobody of that name is known here")
        .hint("`portero contact list` shows who wrote")
}

// --- list and show ----------------------------------------------------------------------------------------

fn list(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    signed_in: bool,
    json: bool,
) -> Result<(), Stop> {
    let mut contacts = all_contacts(worker)?;
    contacts.retain(|contact| !signed_in || !contact.bindings.is_empty());
    contacts.sort_by_key(|contact| std::cmp::Reverse(contact.last_message_at_ms));
    if json {
        let contacts: Vec<ContactJson<'_>> = contacts.iter().map(ContactJson::new).collect();
        return write_json(shell, &contacts);
    }
    if contacts.is_empty() {
        eprintln!("nobody to list");
        return Ok(());
    }
    let lines = show::with_contacts(show::width(), |contact| table(&contacts, contact));
    write!(shell.output, "{}", show::text(&lines))?;
    Ok(())
}

fn all_contacts(worker: &mut Worker<'_>) -> Result<Vec<ContactLine>, Failure> {
    let mut all: Vec<ContactLine> = Vec::new();
    for _ in 0..=CONTACTS_MAX / LIST_CONTACTS_MAX {
        let after = all.last().map(|contact| contact.id.clone());
        match worker.ask(&Request::ListContacts { after })? {
            Answer::Contacts { contacts } if contacts.is_empty() => return Ok(all),
            Answer::Contacts { contacts } => all.extend(contacts),
            _ => return Err(unexpected()),
        }
    }
    Err(Failure::new(
        Exit::Unavailable,
        format!("there are more than {CONTACTS_MAX} contacts; this command lists no more"),
    ))
}

fn table(contacts: &[ContactLine], contact: &dyn Fn(&str) -> String) -> Vec<[String; 5]> {
    let mut rows =
        vec![["CONTACT", "NUMBER", "LANGUAGE", "LAST MESSAGE", "SIGNED IN"].map(String::from)];
    rows.extend(contacts.iter().map(|line| {
        [
            contact(&line.id),
            number(line),
            line.language.clone(),
            moment(line.last_message_at_ms),
            match line.bindings.as_slice() {
                [] => "-".to_owned(),
                [one] => one.service.clone(),
                [first, rest @ ..] => format!("{} and {}", first.service, rest.len()),
            },
        ]
    }));
    rows
}

fn number(line: &ContactLine) -> String {
    let ending = line.number_ending.as_ref();
    ending.map_or_else(|| "-".to_owned(), |ending| format!("…{ending}"))
}

fn show_one(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    who: &Who,
    json: bool,
) -> Result<(), Stop> {
    let whom = who.text()?;
    let Answer::Shown {
        contacts,
        not_written_down,
    } = worker.ask(&Request::ShowContacts { whom })?
    else {
        return Err(unexpected().into());
    };
    if let Some(reason) = not_written_down {
        eprintln!("that this was looked up could not be written to the audit: {reason}");
    }
    if contacts.is_empty() {
        return Err(nobody().into());
    }
    if json {
        let contacts: Vec<ContactJson<'_>> = contacts.iter().map(ContactJson::new).collect();
        return write_json(shell, &contacts);
    }
    for contact in &contacts {
        write!(shell.output, "{}", shown(contact, show::width()))?;
    }
    Ok(())
}

fn shown(contact: &ContactLine, width: usize) -> String {
    let mut lines = vec![contact.id.clone()];
    lines.push(format!(
        "  number {}, language {}",
        number(contact),
        contact.language
    ));
    lines.push(format!("  first wrote {}", moment(contact.created_at_ms)));
    lines.push(format!(
        "  last wrote  {}",
        moment(contact.last_message_at_ms)
    ));
    if contact.bindings.is_empty() {
        lines.push("  not signed in".to_owned());
    }
    for binding in &contact.bindings {
        let who = binding
            .account
            .as_ref()
            .map_or_else(String::new, |account| {
                let email = account.email.as_ref();
                let email = email.map_or_else(String::new, |email| format!(" <{email}>"));
                format!(
                    ": {}{email} of {} ({})",
                    account.name, account.company, account.id
                )
            });
        lines.extend(show::indented(
            &format!("signed in to {}{who}", binding.service),
            width,
        ));
        lines.extend(show::indented(
            &format!(
                "— by {} at {}, good for {}",
                binding.proof,
                moment(binding.proved_at_ms),
                binding.scope
            ),
            width,
        ));
    }
    show::text(&lines)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContactJson<'a> {
    user_uuid: &'a str,
    number_ending: Option<&'a str>,
    language: &'a str,
    created_at: String,
    last_message_at: String,
    bindings: Vec<BindingJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BindingJson<'a> {
    service: &'a str,
    proof: &'a str,
    proved_at: String,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<serde_json::Value>,
}

impl<'a> BindingJson<'a> {
    fn new(binding: &'a BindingLine) -> BindingJson<'a> {
        BindingJson {
            service: &binding.service,
            proof: &binding.proof,
            proved_at: rfc_3339(binding.proved_at_ms),
            scope: &binding.scope,
            account: binding.account.as_ref().map(|account| json!(account)),
        }
    }
}

impl<'a> ContactJson<'a> {
    fn new(contact: &'a ContactLine) -> ContactJson<'a> {
        ContactJson {
            user_uuid: &contact.id,
            number_ending: contact.number_ending.as_deref(),
            language: &contact.language,
            created_at: rfc_3339(contact.created_at_ms),
            last_message_at: rfc_3339(contact.last_message_at_ms),
            bindings: contact.bindings.iter().map(BindingJson::new).collect(),
        }
    }
}

// --- log out and forget -----------------------------------------------------------------------------------

fn log_out(shell: &mut Shell<'_>, worker: &mut Worker<'_>, who: &Who) -> Result<(), Stop> {
    let whom = who.text()?;
    match worker.ask(&Request::LogOut { whom })? {
        Answer::LoggedOut { contacts: 0, .. } => Err(nobody().into()),
        Answer::LoggedOut { ended: 0, .. } => {
            writeln!(shell.output, "not signed in; nothing has changed")?;
            Ok(())
        }
        Answer::LoggedOut { ended, contacts } => {
            let (ended, contacts) = (count(ended, "sign-in"), count(contacts, "contact"));
            writeln!(shell.output, "{ended} of {contacts} ended")?;
            Ok(())
        }
        _ => Err(unexpected().into()),
    }
}

fn forget(
    shell: &mut Shell<'_>,
    worker: &mut Worker<'_>,
    who: &Who,
    dry_run: bool,
    json: bool,
) -> Result<(), Stop> {
    let whom = who.text()?;
    let forgotten = match worker.ask(&Request::Forget { whom, dry_run })? {
        Answer::Forgotten(forgotten) => forgotten,
        Answer::NoSuchContact => return Err(nobody().into()),
        _ => return Err(unexpected().into()),
    };
    if json {
        let answer = json!({
            "dryRun": dry_run,
            "userUuids": forgotten.contacts,
            "records": forgotten.counts,
            "tokens": forgotten.tokens,
            "directoryUsersLeft": forgotten.directory_users,
            "unfinished": forgotten.unfinished,
            "eraseElsewhere": ELSEWHERE,
        });
        return write_json(shell, &answer);
    }
    let text = told(&forgotten, dry_run, show::width());
    write!(shell.output, "{text}")?;
    Ok(())
}

fn told(forgotten: &ForgottenLine, dry_run: bool, width: usize) -> String {
    let mut lines = Vec::new();
    let contacts = forgotten.contacts.len();
    lines.push(match (contacts, dry_run) {
        (0, true) => "nobody of that name is known here".to_owned(),
        (0, false) => {
            "nobody of that name is known here; a copy of the store that is restored forgets them"
                .to_owned()
        }
        (_, true) => format!("{} would be forgotten:", count(contacts, "contact")),
        (_, false) => format!("forgotten for good, {}:", count(contacts, "contact")),
    });
    lines.extend(forgotten.contacts.iter().map(|id| format!("  {id}")));
    let counts = forgotten.counts.iter();
    let counts: Vec<String> = counts
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if !counts.is_empty() {
        let records = format!("records: {}", counts.join(", "));
        lines.extend(show::indented(&records, width));
    }
    if forgotten.tokens > 0 {
        lines.push(format!("  tokens in memory: {}", forgotten.tokens));
    }
    if forgotten.directory_users > 0 {
        lines.extend(show::indented(
            "the user of the built-in directory with this address stays; `portero user remove` \
             removes it",
            width,
        ));
    }
    if let Some(reason) = &forgotten.unfinished {
        lines.push("Not finished: the file may still hold traces of it.".to_owned());
        lines.extend(show::indented(reason, width));
        lines.push("  It is tried again by itself, also at the next start.".to_owned());
    }
    lines.push("Erase it elsewhere, too:".to_owned());
    for place in ELSEWHERE {
        lines.extend(show::indented(&format!("- {place}"), width));
    }
    show::text(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_contacts_fits_eighty_columns_and_names_nobody() {
        let binding = |service: &str| BindingLine {
            service: service.to_owned(),
            proof: "mail_code".to_owned(),
            proved_at_ms: 1_800_000_000_000,
            scope: "full".to_owned(),
            account: None,
        };
        let contact = |ending: Option<&str>, bindings| ContactLine {
            id: "3f2a9c1e-0000-4000-8000-000000000000".to_owned(),
            number_ending: ending.map(str::to_owned),
            language: "es".to_owned(),
            created_at_ms: 1_800_000_000_000,
            last_message_at_ms: 1_800_000_000_000,
            bindings,
        };
        let contacts = [
            contact(Some("22"), vec![binding("kutamma"), binding("woku")]),
            contact(None, Vec::new()),
        ];
        assert_eq!(
            show::with_contacts(80, |id| table(&contacts, id)),
            [
                "CONTACT    NUMBER  LANGUAGE  LAST MESSAGE             SIGNED IN",
                "3f2a9c1e…  …22     es        2027-01-15 08:00:00 UTC  kutamma and 1",
                "3f2a9c1e…  -       es        2027-01-15 08:00:00 UTC  -",
            ]
        );
    }
}

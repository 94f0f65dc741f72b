//! `portero user`: the users that Portero keeps itself.
//!
//! Passwords come from the terminal, unseen, or from standard input, never from the command line,
//! which every user of the machine can read.

use super::show::{self, count};
use super::terminal::ask_hidden;
use super::users_csv::{self, FILE_BYTES_MAX, Problem};
use super::worker::Worker;
use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::app::admin::{IMPORT_USERS_MAX, USERS_MAX};
use crate::app::user::{self, FieldProblem};
use crate::control::{Answer, Hidden, LIST_USERS_MAX, Request, UserLine, UserText};
use crate::domain::id::EmailAddress;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes taken from standard input for a password, far more than one can have.
const PASSWORD_INPUT_BYTES_MAX: usize = 4096;

/// Problems of a file that are shown; who has more has one mistake many times.
const PROBLEMS_SHOWN_MAX: usize = 100;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the users by address
    List {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Add a user, or change the one with this address
    Add(Add),
    /// Give a user another password
    Passwd {
        /// The user's mail address
        email: String,
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove a user
    Remove {
        /// The user's mail address
        email: String,
    },
    /// Add or change the users in a CSV file
    ///
    /// Its first line names the columns: email,name,company and, if wanted, phone,password_hash.
    /// A line describes a user as a whole; only a password stays if no hash is given. Hashes are
    /// Argon2id in PHC form, and plain passwords are not accepted. Importing a file again does no
    /// harm. Users that are not in the file are left alone.
    Import {
        /// The file, in UTF-8
        file: PathBuf,
        /// Import the good lines even if there are bad ones
        #[arg(long)]
        skip_bad: bool,
    },
}

#[derive(clap::Args)]
struct Add {
    /// Where codes are mailed to
    email: String,
    /// What people call the user
    #[arg(long)]
    name: String,
    /// The company that the user acts for
    #[arg(long)]
    company: String,
    /// The phone, with country code
    #[arg(
        long,
        value_name = "DIGITS",
        default_value = "",
        hide_default_value = true
    )]
    phone: String,
    /// Read a password from standard input instead of asking for it
    #[arg(long, conflicts_with = "no_password")]
    password_stdin: bool,
    /// Set no password, which only signing in on a web page needs; one that is there stays
    #[arg(long)]
    no_password: bool,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (path, loaded) = shell.load_for_the_store()?;
    if !loaded.config.directory.enabled {
        eprintln!(
            "note: these users are not asked for; write directory.enabled = true in {} and run `portero reload` to change that",
            path.display()
        );
    }
    let mut worker = Worker::new(&loaded.config);
    let done = match &arguments.command {
        Command::List { json } => return list(shell, &mut worker, *json),
        Command::Add(add) => add_user(&mut worker, add)?,
        Command::Passwd {
            email,
            password_stdin,
        } => set_password(&mut worker, email, *password_stdin)?,
        Command::Remove { email } => remove(&mut worker, email)?,
        Command::Import { file, skip_bad } => import(&mut worker, file, *skip_bad)?,
    };
    writeln!(shell.output, "{done}")?;
    Ok(())
}

// --- list -------------------------------------------------------------------------------------------------

fn list(shell: &mut Shell<'_>, worker: &mut Worker<'_>, json: bool) -> Result<(), Stop> {
    let users = all_users(worker)?;
    if json {
        serde_json::to_writer_pretty(&mut *shell.output, &users).map_err(io::Error::from)?;
        writeln!(shell.output)?;
    } else if users.is_empty() {
        eprintln!("there are no users; `portero user add` makes one");
    } else {
        write!(shell.output, "{}", table(&users))?;
    }
    Ok(())
}

fn all_users(worker: &mut Worker<'_>) -> Result<Vec<UserLine>, Failure> {
    let mut all: Vec<UserLine> = Vec::new();
    // One answer more than full ones, and as many again for users that come meanwhile.
    for _ in 0..=2 * USERS_MAX / LIST_USERS_MAX {
        let after = all.last().map(|user| user.email.clone());
        match worker.ask(&Request::ListUsers { after })? {
            Answer::Users { users } if users.is_empty() => {
                all.sort_by_cached_key(|user| user.email.to_ascii_lowercase());
                return Ok(all);
            }
            Answer::Users { users } => all.extend(users),
            _ => return Err(unexpected()),
        }
    }
    Err(Failure::new(
        Exit::Unavailable,
        format!("there are more than {USERS_MAX} users; this command lists no more"),
    ))
}

fn table(users: &[UserLine]) -> String {
    let mut rows = vec![["EMAIL", "NAME", "COMPANY", "PHONE", "PASSWORD"].map(String::from)];
    rows.extend(users.iter().map(|user| {
        [
            user.email.clone(),
            user.name.clone(),
            user.company.clone(),
            user.phone.clone().unwrap_or_else(|| "-".to_owned()),
            if user.password { "yes" } else { "no" }.to_owned(),
        ]
    }));
    show::text(&show::columns(&rows))
}

// --- one user ---------------------------------------------------------------------------------------------

fn add_user(worker: &mut Worker<'_>, add: &Add) -> Result<String, Failure> {
    let user = UserText {
        email: add.email.clone(),
        name: add.name.clone(),
        company: add.company.clone(),
        phone: add.phone.clone(),
    };
    let email = user.parse().map_err(wrong_fields)?.email;
    let password = match (add.no_password, add.password_stdin) {
        (true, _) => None,
        (false, true) => Some(password_from_input(new_password)?),
        (false, false) if io::stdin().is_terminal() => password_asked(
            &format!(
                "Password for {email} (empty for none): ",
                email = email.as_str()
            ),
            true,
            new_password,
        )?,
        (false, false) => {
            return Err(no_terminal()
                .hint("--password-stdin reads it from standard input; --no-password sets none"));
        }
    };
    let with_password = password.is_some();
    let email = email.as_str();
    match worker.ask(&Request::AddUser { user, password })? {
        Answer::UserAdded { changed } => Ok(match (changed, with_password) {
            (false, true) => format!("{email} was added, with a password"),
            (false, false) => format!("{email} was added, without a password"),
            (true, true) => {
                format!("{email} was there before and has been changed; the password is a new one")
            }
            (true, false) => {
                format!("{email} was there before and has been changed; no password was set")
            }
        }),
        _ => Err(unexpected()),
    }
}

fn set_password(worker: &mut Worker<'_>, email: &str, stdin: bool) -> Result<String, Failure> {
    let email = address(email)?;
    let password = if stdin {
        password_from_input(new_password)?
    } else if io::stdin().is_terminal() {
        let prompt = format!("New password for {}: ", email.as_str());
        // None is for an empty one, which is not offered here.
        password_asked(&prompt, false, new_password)?.ok_or_else(no_terminal)?
    } else {
        return Err(no_terminal().hint("--password-stdin reads it from standard input"));
    };
    let request = Request::SetPassword {
        email: email.as_str().to_owned(),
        password,
    };
    match worker.ask(&request)? {
        Answer::PasswordSet => Ok(format!("{} has a new password", email.as_str())),
        Answer::NoSuchUser => Err(no_such_user(&email)),
        _ => Err(unexpected()),
    }
}

fn remove(worker: &mut Worker<'_>, email: &str) -> Result<String, Failure> {
    let email = address(email)?;
    let request = Request::RemoveUser {
        email: email.as_str().to_owned(),
    };
    match worker.ask(&request)? {
        Answer::UserRemoved => Ok(format!(
            "{} was removed; chats that are signed in as this user stay so until they log out or fall idle",
            email.as_str()
        )),
        Answer::NoSuchUser => Err(no_such_user(&email)),
        _ => Err(unexpected()),
    }
}

fn address(text: &str) -> Result<EmailAddress, Failure> {
    EmailAddress::parse(text).map_err(|words| {
        wrong_fields(vec![FieldProblem {
            field: "email",
            words,
        }])
    })
}

fn wrong_fields(problems: Vec<FieldProblem>) -> Failure {
    let sentences: Vec<String> = problems.iter().map(FieldProblem::to_string).collect();
    Failure::new(Exit::Usage, sentences.join("\n"))
}

fn no_such_user(email: &EmailAddress) -> Failure {
    let message = format!("there is no user with the address {}", email.as_str());
    Failure::new(Exit::NoUser, message).hint("`portero user list` shows all")
}

// --- passwords --------------------------------------------------------------------------------------------

pub(super) fn no_terminal() -> Failure {
    Failure::new(
        Exit::Usage,
        "a password is asked for at a terminal, and standard input is none",
    )
}

fn new_password(text: &str) -> Result<Hidden, Failure> {
    user::password(text)
        .map(Hidden::new)
        .map_err(|words| Failure::new(Exit::Data, words.to_string()))
}

/// All of standard input but the end of its line.
pub(super) fn password_from_input<T>(
    read_password: impl Fn(&str) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_INPUT_BYTES_MAX + 1));
    let limit = PASSWORD_INPUT_BYTES_MAX as u64;
    io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Failure::new(
                Exit::Io,
                format!("cannot read the password from standard input: {error}"),
            )
        })?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Exit::Data, "the password is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    read_password(text.strip_suffix('\r').unwrap_or(text))
}

/// Asks twice at the terminal; nothing for an empty answer if that is allowed.
pub(super) fn password_asked<T>(
    prompt: &str,
    may_be_none: bool,
    read_password: impl Fn(&str) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let ask = |prompt: &str| {
        ask_hidden(prompt).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::Interrupted => Failure::new(
                Exit::Data,
                "no password was typed; nothing has been changed",
            ),
            _ => Failure::new(Exit::Io, format!("cannot read the password: {error}")),
        })
    };
    let first = ask(prompt)?;
    if first.is_empty() && may_be_none {
        return Ok(None);
    }
    let password = read_password(&first)?;
    if *ask("The same again: ")? != *first {
        return Err(Failure::new(
            Exit::Data,
            "the two passwords are not the same; nothing has been changed",
        ));
    }
    Ok(Some(password))
}

// --- import -----------------------------------------------------------------------------------------------

fn import(worker: &mut Worker<'_>, path: &Path, skip_bad: bool) -> Result<String, Failure> {
    let name = path.display();
    let bytes = read_file(path)?;
    let sheet = users_csv::read(&bytes)
        .map_err(|problems| Failure::new(Exit::Data, sentences(path, &problems)))?;
    let good = sheet.users.len();
    if !sheet.problems.is_empty() {
        let problems = sentences(path, &sheet.problems);
        if !skip_bad {
            let failure =
                Failure::new(Exit::Data, format!("{problems}\nnothing has been imported"));
            return Err(match good {
                0 => failure,
                _ => failure.hint(format!(
                    "--skip-bad imports what is fine ({})",
                    count(good, "user")
                )),
            });
        }
        eprintln!("{problems}");
    }
    if good == 0 {
        return Err(Failure::new(
            Exit::Data,
            format!("there is no user to import in {name}"),
        ));
    }
    let (mut added, mut altered, mut same) = (0, 0, 0);
    let mut users = sheet.users.into_iter();
    loop {
        let users: Vec<_> = users.by_ref().take(IMPORT_USERS_MAX).collect();
        if users.is_empty() {
            break;
        }
        let answer = worker.ask(&Request::ImportUsers { users });
        match answer.map_err(|failure| interrupted(failure, added + altered + same))? {
            Answer::UsersImported {
                new,
                changed,
                unchanged,
            } => {
                added += new;
                altered += changed;
                same += unchanged;
            }
            _ => return Err(unexpected()),
        }
    }
    Ok(format!(
        "{} in {name}: {added} added, {altered} changed, {same} as before",
        count(good, "user")
    ))
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(
            Exit::NoInput,
            format!("cannot read {}: {error}", path.display()),
        )
    };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!(
            "{} has more than {} MiB",
            path.display(),
            FILE_BYTES_MAX / 1024 / 1024
        );
        return Err(Failure::new(Exit::Data, message).hint("import it in several files"));
    }
    Ok(bytes)
}

/// One line each, and how many there are.
fn sentences(path: &Path, problems: &[Problem]) -> String {
    let path = path.display();
    let mut lines: Vec<String> = problems
        .iter()
        .take(PROBLEMS_SHOWN_MAX)
        .map(|problem| format!("{path}:{}  {}", problem.line, problem.words))
        .collect();
    if problems.len() > PROBLEMS_SHOWN_MAX {
        lines.push(format!(
            "… and {} more",
            problems.len() - PROBLEMS_SHOWN_MAX
        ));
    }
    let problem = if problems.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    lines.push(format!("{} {problem} in {path}", problems.len()));
    lines.join("\n")
}

fn interrupted(failure: Failure, done: usize) -> Failure {
    let message = format!("after {done} users: {}", failure.message);
    Failure { message, ..failure }.hint("importing the file again does no harm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stay_under_each_other_whatever_the_script() {
        let user = |email: &str, name: &str, phone: Option<&str>| UserLine {
            id: "u-1".to_owned(),
            email: email.to_owned(),
            name: name.to_owned(),
            company: "La Espiga".to_owned(),
            phone: phone.map(str::to_owned),
            password: phone.is_some(),
        };
        assert_eq!(
            table(&[
                user("a@example.com", "山田太郎", Some("81312345678")),
                user("long.name@example.com", "Jose\u{301}", None),
            ]),
            "EMAIL                  NAME      COMPANY    PHONE        PASSWORD\n\
             a@example.com          山田太郎  La Espiga  81312345678  yes\n\
             long.name@example.com  Jose\u{301}      La Espiga  -            no\n"
        );
    }
}

//! The command line: one file per command.
//!
//! A command writes its result to the output it is given and answers with a [`Failure`] when it
//! cannot do its work; here alone failures become words and an exit code. Nothing below exits.

mod audit;
mod backup;
mod check;
mod check_service;
mod completions;
mod config;
mod contact;
mod demo;
mod doctor;
mod events;
mod keys;
mod listed;
mod log;
mod man;
mod moment;
mod names;
mod outbox;
mod reload;
mod retention;
mod serve;
mod show;
mod status;
mod terminal;
mod tls;
mod user;
mod users_csv;
mod worker;

use crate::config::{Config, Loaded, Unusable};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLE: &str = "\
Examples:
  portero config example > portero.toml    # then fill in its first lines
  portero check                            # says what is wrong or missing";

/// Finds out who writes to a business on WhatsApp, so that its bot may act for them.
#[derive(Parser)]
#[command(name = "portero", version, after_help = EXAMPLE)]
struct Cli {
    /// Configuration [default: $PORTERO_CONFIG, ., /etc/portero]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try everything on this machine, without an account or a network
    Demo(demo::Arguments),
    /// Run the server until it is told to stop
    ///
    /// SIGTERM and SIGINT let it finish what is under way and end; SIGHUP lets it take over the
    /// configuration as it is now, as `portero reload` does. A supervisor that wants to know
    /// (NOTIFY_SOCKET, WATCHDOG_USEC) is told, and sockets that it hands over (LISTEN_FDS) are
    /// listened on instead of server.listen.
    Serve(serve::Arguments),
    /// Let the running server take over the configuration as it is now
    ///
    /// The server reads its file again, and the files with secrets that it names. If anything is
    /// wrong, nothing changes, and all of it is said. What is under way ends as it began. Some keys
    /// need a restart: those that have changed are named, and `portero config explain KEY` says it
    /// of each. Sending that is paused is tried at once if what it may wait for has changed.
    ///
    /// Ends with 78 if the configuration is wrong.
    Reload(reload::Arguments),
    /// Say what is wrong with the configuration, or try a service
    Check(check::Arguments),
    /// Say what is wrong around it: Meta, mail, services, bot
    Doctor(doctor::Arguments),
    /// Explain a key, or print an example file
    Config(config::Arguments),
    /// Add, list and change the users that Portero keeps itself
    User(user::Arguments),
    /// List who wrote, sign somebody out, forget somebody
    Contact(contact::Arguments),
    /// Print everything that is kept about one person
    Export(contact::Export),
    /// Show the certificate of its own HTTPS, or renew it now
    Tls(tls::Arguments),
    /// List and change the keys that sign who wrote a message
    Keys(keys::Arguments),
    /// List what waits or was given up; try that again or drop it
    Outbox(outbox::Arguments),
    /// List what happened with sign-ins, and tell it once more
    Events(events::Arguments),
    /// Remove at once what is kept no longer
    Retention(retention::Arguments),
    /// Copy the store to a file, also while the server runs
    Backup(backup::Backup),
    /// Put a copy in the place of the store
    Restore(backup::Restore),
    /// List who did what when, and check that nobody has changed it since
    Audit(audit::Arguments),
    /// Make the password for the status page
    Status(status::Arguments),
    /// Print what a shell needs to complete commands
    #[command(hide = true)]
    Completions(completions::Arguments),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(man::Arguments),
}

/// Why a command ends: 1, or as in sysexits.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was tried did not go as it should.
    Failed,
    /// The command line is wrong.
    Usage,
    /// What was given to the command is wrong.
    Data,
    /// A file that was named is not there or cannot be read.
    NoInput,
    /// There is no user, letter, event or key of that name.
    NoUser,
    /// Something that the command needs does not answer.
    Unavailable,
    /// The program met faults of its own.
    Software,
    /// A file cannot be made.
    CannotCreate,
    /// Reading or writing failed.
    Io,
    /// The user who runs the command may not do this.
    NoPermission,
    /// The configuration is wrong.
    Config,
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Exit::Failed => 1,
            Exit::Usage => 64,
            Exit::Data => 65,
            Exit::NoInput => 66,
            Exit::NoUser => 67,
            Exit::Unavailable => 69,
            Exit::Software => 70,
            Exit::CannotCreate => 73,
            Exit::Io => 74,
            Exit::NoPermission => 77,
            Exit::Config => 78,
        }
    }
}

/// A command could not do its work.
#[derive(Debug)]
pub struct Failure {
    /// Becomes the exit code.
    pub exit: Exit,
    /// What happened: a sentence, or the problems of a file.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl From<Unusable> for Failure {
    fn from(unusable: Unusable) -> Failure {
        match unusable {
            Unusable::Unreadable(..) => Failure::new(Exit::NoInput, unusable.to_string())
                .hint("--config PATH names another file"),
            Unusable::Wrong(problems) => Failure::new(Exit::Config, problems.to_string())
                .hint("`portero config explain KEY` says what a key means"),
        }
    }
}

fn unexpected() -> Failure {
    Failure::new(
        Exit::Unavailable,
        "the running server answered another question than the one that was asked",
    )
}

/// What commands share.
struct Shell<'a> {
    /// `--config`.
    config: Option<PathBuf>,
    /// Where results go.
    output: &'a mut dyn Write,
}

impl Shell<'_> {
    /// Reads the configuration that is meant, and says which file that is.
    fn load(&self) -> Result<(PathBuf, Loaded), Failure> {
        let path = self.config_path()?;
        let loaded = Config::load(&path)?;
        Ok((path, loaded))
    }

    /// The same for a command that needs the store and nothing else.
    fn load_for_the_store(&self) -> Result<(PathBuf, Loaded), Failure> {
        let path = self.config_path()?;
        let loaded = Config::load_for_the_store(&path)?;
        Ok((path, loaded))
    }

    fn config_path(&self) -> Result<PathBuf, Failure> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => usual_config(),
        }
    }
}

fn usual_config() -> Result<PathBuf, Failure> {
    const USUAL: [&str; 2] = ["portero.toml", "/etc/portero/portero.toml"];
    if let Some(path) = std::env::var_os("PORTERO_CONFIG").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    let found = USUAL.iter().map(Path::new).find(|path| path.exists());
    found.map(Path::to_owned).ok_or_else(|| {
        let message = format!(
            "there is no configuration: PORTERO_CONFIG is not set, and neither ./{} nor {} is there",
            USUAL[0], USUAL[1]
        );
        Failure::new(Exit::NoInput, message)
            .hint("`portero config example > portero.toml` makes one to fill in")
    })
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    names::without_modules();
    let mut output = io::stdout().lock();
    let mut result = run(std::env::args_os(), &mut output);
    if result.is_ok() {
        result = output.flush().map_err(Stop::from);
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Clap(error)) => {
            // It goes to the terminal or nowhere.
            let _ = error.print();
            match error.use_stderr() {
                true => ExitCode::from(Exit::Usage.code()),
                false => ExitCode::SUCCESS,
            }
        }
        // Whoever reads the output has seen enough.
        Err(Stop::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Stop::Output(error)) => report(&Failure::new(
            Exit::Io,
            format!("cannot write the output: {error}"),
        )),
        Err(Stop::Failure(failure)) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    let mut text = format!("{}\n", failure.message);
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // There is nowhere else to complain.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(failure.exit.code())
}

/// Why a run ended early.
enum Stop {
    Clap(clap::Error),
    Output(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Output(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failure(failure)
    }
}

fn run(arguments: impl Iterator<Item = OsString>, output: &mut dyn Write) -> Result<(), Stop> {
    let cli = Cli::try_parse_from(arguments).map_err(Stop::Clap)?;
    let mut shell = Shell {
        config: cli.config,
        output,
    };
    match cli.command {
        Command::Demo(arguments) => demo::run(&mut shell, &arguments),
        Command::Serve(arguments) => serve::run(&mut shell, &arguments),
        Command::Reload(arguments) => reload::run(&mut shell, &arguments),
        Command::Check(arguments) => check::run(&mut shell, &arguments),
        Command::Doctor(arguments) => doctor::run(&mut shell, &arguments),
        Command::Config(arguments) => config::run(&mut shell, &arguments),
        Command::User(arguments) => user::run(&mut shell, &arguments),
        Command::Contact(arguments) => contact::run(&mut shell, &arguments),
        Command::Export(arguments) => contact::export(&mut shell, &arguments),
        Command::Retention(arguments) => retention::run(&mut shell, &arguments),
        Command::Backup(arguments) => backup::run(&mut shell, &arguments),
        Command::Restore(arguments) => backup::run_restore(&mut shell, &arguments),
        Command::Tls(arguments) => tls::run(&mut shell, &arguments),
        Command::Keys(arguments) => keys::run(&mut shell, &arguments),
        Command::Outbox(arguments) => outbox::run(&mut shell, &arguments),
        Command::Events(arguments) => events::run(&mut shell, &arguments),
        Command::Audit(arguments) => audit::run(&mut shell, &arguments),
        Command::Status(arguments) => status::run(&mut shell, &arguments),
        Command::Completions(arguments) => completions::run(&mut shell, &arguments),
        Command::Man(arguments) => man::run(&mut shell, &arguments),
    }
}

/// Nothing can be told that it is to end.
fn no_signals(error: io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot wait for signals: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_fits_a_screen_and_ends_with_an_example() {
        let help = Cli::command().term_width(80).render_help().to_string();
        // As many as a window has that is not made larger, with the line that was typed and the next.
        assert!(help.lines().count() <= 33, "{help}");
        assert!(help.trim_end().ends_with("wrong or missing"), "{help}");
    }
}

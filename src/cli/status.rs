//! `portero status`: the password for the status page.
//!
//! Only its hash goes into the configuration, so that whoever reads that cannot sign in with it.

use super::user::{no_terminal, password_asked, password_from_input};
use super::{Exit, Failure, Shell, Stop};
use crate::app::SystemRandom;
use crate::app::user::{HashedPassword, status_password};
use crate::domain::secret::Secret;
use std::io::IsTerminal;

const EXAMPLE: &str = "\
Example:
  portero status password        # then put the line it prints into portero.toml";

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Ask for a password twice, and print the line that makes it the one of the status page
    ///
    /// Nothing is changed by this: put the line into portero.toml and run `portero reload`. The page
    /// is then at /status/ below server.public_url, and on this machine.
    Password {
        /// Read the password from standard input instead of asking for it
        #[arg(long)]
        password_stdin: bool,
    },
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let Command::Password { password_stdin } = arguments.command;
    let password = if password_stdin {
        password_from_input(new_password)?
    } else if std::io::stdin().is_terminal() {
        let asked = password_asked("Password for the status page: ", false, new_password)?;
        asked.ok_or_else(no_terminal)?
    } else {
        return Err(no_terminal()
            .hint("--password-stdin reads it from there")
            .into());
    };
    let hash = HashedPassword::of(&password, &SystemRandom)
        .map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    writeln!(shell.output, "status.password_hash = \"{}\"", hash.reveal())?;
    eprintln!(
        "Put this line into portero.toml, above the first [table], then run `portero reload`; the file must be readable by its owner alone."
    );
    Ok(())
}

fn new_password(text: &str) -> Result<Secret, Failure> {
    status_password(text).map_err(|words| Failure::new(Exit::Data, words.to_string()))
}

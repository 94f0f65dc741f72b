//! `portero config`: the example file, and what a key means.

use super::{Exit, Failure, Shell, Stop};
use crate::config::{EXAMPLE, explain, keys};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Say what a key or a table means, such as mail.security or limits
    Explain {
        /// table.key, a key alone, or a table
        key: String,
    },
    /// Print a configuration to fill in, with every key and its default
    Example,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    match &arguments.command {
        Command::Example => shell.output.write_all(EXAMPLE.as_bytes())?,
        Command::Explain { key } => {
            let explanation = explain(key).map_err(|near| {
                let failure = Failure::new(Exit::Usage, format!("there is no key {key}"));
                failure.hint(match near {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("the tables are {}", keys::TABLES.join(", ")),
                })
            })?;
            write!(shell.output, "{explanation}")?;
        }
    }
    Ok(())
}

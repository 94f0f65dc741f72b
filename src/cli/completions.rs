//! `portero completions`: what a shell needs to complete commands and options.

use super::{Cli, Shell, Stop};
use clap::CommandFactory;

#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Arguments {
    /// The shell
    shell: Kind,
}

const EXAMPLE: &str = "\
Examples:
  portero completions bash > ~/.local/share/bash-completion/completions/portero
  portero completions fish > ~/.config/fish/completions/portero.fish
  portero completions zsh > ~/.zfunc/_portero      # a folder in $fpath";

#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Bash,
    Fish,
    Zsh,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    Ok(shell.output.write_all(&script(arguments.shell))?)
}

fn script(kind: Kind) -> Vec<u8> {
    use clap_complete::{generate, shells};
    let mut command = Cli::command();
    let mut script = Vec::new();
    match kind {
        Kind::Bash => generate(shells::Bash, &mut command, "portero", &mut script),
        Kind::Fish => generate(shells::Fish, &mut command, "portero", &mut script),
        Kind::Zsh => generate(shells::Zsh, &mut command, "portero", &mut script),
    }
    script
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_command_and_option_is_completed_in_every_shell() {
        let mut command = Cli::command();
        command.build();
        for kind in [Kind::Bash, Kind::Fish, Kind::Zsh] {
            let script = String::from_utf8(script(kind)).unwrap();
            let mut left = vec![&command];
            while let Some(command) = left.pop() {
                assert!(
                    script.contains(command.get_name()),
                    "{}",
                    command.get_name()
                );
                for option in command.get_opts().filter_map(|option| option.get_long()) {
                    assert!(script.contains(option), "{option}");
                }
                left.extend(command.get_subcommands());
            }
        }
    }
}

//! `portero man`: the manual pages, one per command, made from the same words as `--help`.
//!
//! It is for whoever makes a package, and so it is not in the list of commands.

use super::{Cli, Exit, Failure, Shell, Stop};
use clap::CommandFactory;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

const MANUAL: &str = "Portero Manual";

/// What the page of the program says beyond what `--help` does.
const DESCRIPTION: &[&str] = &[
    "Portero stands between WhatsApp and the bot of a business. Whoever writes for the first time \
     is asked who they are, and proves it with a code that goes to their mailbox or with their \
     password on a web page. From then on the bot is told, with each message, who is writing, and \
     can ask for tokens to act for that person.",
    "The server is `portero serve`. The other commands, but for restore, work while it runs and \
     while it does not. They are for the user that owns the store: with Debian's package \
     `sudo -u portero portero user list`. `portero demo` shows all of it without an account, a network or a configuration.",
];

const FILES: &[(&str, &str)] = &[
    (
        "./portero.toml",
        "The configuration, if --config and PORTERO_CONFIG name no other and it is there.",
    ),
    (
        "/etc/portero/portero.toml",
        "The configuration otherwise. `portero config example` prints one to fill in, \
         `portero config explain KEY` says what a key means.",
    ),
    (
        "/etc/portero/secrets.env",
        "Secrets that the configuration names as env:NAME, for the service; one NAME=value a line.",
    ),
    (
        "/var/lib/portero/",
        "Where the service keeps its store, the key that seals it, and the hourly copies.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("PORTERO_CONFIG", "The configuration to use."),
    ("NO_COLOR", "If set, the log has no colours."),
];

const EXITS: &[(Exit, &str)] = &[
    (Exit::Failed, "What was tried did not go as it should."),
    (Exit::Usage, "The command line is wrong."),
    (Exit::Data, "What was given to the command is wrong."),
    (
        Exit::NoInput,
        "A file that was named is not there or cannot be read.",
    ),
    (
        Exit::NoUser,
        "There is no user, letter, event or key of that name.",
    ),
    (
        Exit::Unavailable,
        "Something that the command needs does not answer.",
    ),
    (
        Exit::Software,
        "The program met too many faults of its own.",
    ),
    (Exit::CannotCreate, "A file cannot be made."),
    (Exit::Io, "Reading or writing failed."),
    (
        Exit::NoPermission,
        "The user who runs the command may not do this.",
    ),
    (Exit::Config, "The configuration is wrong."),
];

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder for the pages; made if it is not there
    folder: PathBuf,
}

pub(super) fn run(_: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let folder = &arguments.folder;
    let cannot = |error: io::Error| {
        let words = format!("cannot write the pages into {}: {error}", folder.display());
        Stop::from(Failure::new(Exit::CannotCreate, words))
    };
    fs::create_dir_all(folder).map_err(cannot)?;
    for page in pages().map_err(cannot)? {
        fs::write(folder.join(&page.file), page.text).map_err(cannot)?;
    }
    Ok(())
}

/// A manual page.
struct Page {
    /// `portero-user-add.1`.
    file: String,
    text: Vec<u8>,
}

/// The page of the program first, then those of its commands.
fn pages() -> io::Result<Vec<Page>> {
    // `portero help user` is `man portero-user` here.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, None, &mut pages)?;
    Ok(pages)
}

fn collect(command: &clap::Command, above: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push(Page {
        file: format!("{name}.1"),
        text: text_of(command, name, above)?,
    });
    for below in visible(command) {
        collect(below, Some(name), pages)?;
    }
    Ok(())
}

fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
}

fn text_of(command: &clap::Command, name: &str, above: Option<&str>) -> io::Result<Vec<u8>> {
    let command = &command
        .clone()
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("COMMANDS");
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    // Without a date, so that the same sources make the same page.
    let (title, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    writeln!(
        text,
        r#".TH "{title}" "1" "" "portero {version}" "{MANUAL}""#
    )?;
    man.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    if above.is_none() {
        let mut roff = Roff::new();
        roff.control("SH", ["DESCRIPTION"]);
        for paragraph in DESCRIPTION {
            roff.control("PP", []);
            roff.text([roman(*paragraph)]);
        }
        roff.to_writer(&mut text)?;
    } else if command.get_long_about().is_some() {
        man.render_description_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    if visible(command).next().is_some() {
        man.render_subcommands_section(&mut text)?;
    }
    own_sections(command, name, above).to_writer(&mut text)?;
    Ok(text)
}

/// As `--help` shows it: options that must be there have their values.
fn synopsis(command: &clap::Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    let rest = usage.strip_prefix(name).unwrap_or(usage);
    roff.text([bold(name), roman(rest)]);
    roff
}

fn own_sections(command: &clap::Command, name: &str, above: Option<&str>) -> Roff {
    let mut roff = Roff::new();
    if above.is_none() {
        table(&mut roff, "FILES", FILES);
        table(&mut roff, "ENVIRONMENT", ENVIRONMENT);
        roff.control("SH", ["EXIT STATUS"]);
        entry(&mut roff, "0", "All is well.");
        for (exit, words) in EXITS {
            entry(&mut roff, &exit.code().to_string(), words);
        }
    }
    if let Some(help) = command.get_after_help() {
        let help = help.to_string();
        roff.control("SH", ["EXAMPLES"]);
        roff.control("EX", []);
        // The first line says that they are examples.
        for line in help.lines().skip(1) {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("EE", []);
    }
    let below = visible(command).map(|below| format!("{name}-{}", below.get_name()));
    let others: Vec<String> = above.map(str::to_owned).into_iter().chain(below).collect();
    if !others.is_empty() {
        roff.control("SH", ["SEE ALSO"]);
        let last = others.len() - 1;
        for (at, other) in others.iter().enumerate() {
            let comma = if at == last { "" } else { "," };
            roff.text([bold(other), roman(format!("(1){comma}"))]);
        }
    }
    roff
}

fn table(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (name, words) in entries {
        entry(roff, name, words);
    }
}

fn entry(roff: &mut Roff, name: &str, words: &str) {
    roff.control("TP", []);
    roff.text([bold(name)]);
    roff.text([roman(words)]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_command_has_a_page_that_its_parent_names() {
        let pages = pages().unwrap();
        let text = |name: &str| {
            let page = pages.iter().find(|page| page.file == format!("{name}.1"));
            String::from_utf8(page.expect(name).text.clone()).unwrap()
        };
        let mut command = Cli::command();
        command.build();
        let mut left = vec![("portero".to_owned(), &command)];
        let mut commands = 0;
        while let Some((name, command)) = left.pop() {
            let page = text(&name);
            for option in command.get_opts().filter_map(|option| option.get_long()) {
                let option = option.replace('-', "\\-");
                assert!(page.contains(&format!("\\-\\-{option}")), "{name}: {page}");
            }
            let below = visible(command).filter(|below| below.get_name() != "help");
            for below in below {
                let name = format!("{name}-{}", below.get_name());
                let escaped = name.replace('-', "\\-");
                assert!(page.contains(&format!("\\fB{escaped}\\fR(1)")), "{page}");
                left.push((name, below));
            }
            commands += 1;
        }
        assert_eq!(pages.len(), commands);
        assert!(!pages.iter().any(|page| page.file.contains("portero-man")));
    }
}

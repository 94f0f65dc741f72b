//! `portero tls`: how HTTPS of Portero's own stands, and a new certificate now.

use super::show::{moment, rfc_3339};
use super::worker::unanswered;
use super::{Exit, Failure, Shell, Stop, unexpected};
use crate::control::{self, Answer, AskError, CertificateLine, Request};
use serde_json::json;
use std::io;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show until when it counts, and why there is no newer one
    Show {
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Ask for a new one now, or read its files again
    ///
    /// Certificates are renewed by themselves; this is for one whose key may be in wrong hands, and
    /// for trying again once something was put right. Connections go on meanwhile.
    Renew,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load_for_the_store()?;
    let request = match arguments.command {
        Command::Show { .. } => Request::ShowCertificate,
        Command::Renew => Request::RenewCertificate,
    };
    let socket = control::socket_path(&loaded.config.store.path);
    let answer = control::ask(&socket, &request).map_err(|error| match &error {
        AskError::NoServer(_) => Failure::new(Exit::Unavailable, error.to_string())
            .hint("the certificate is the running server's: start it with `portero serve`"),
        _ => unanswered(&error, &request),
    })?;
    let output = &mut *shell.output;
    match (answer, &arguments.command) {
        (Answer::Certificate(line), Command::Show { json: true }) => {
            let told = json!({
                "endsAt": line.ends_at_ms.map(rfc_3339),
                "from": if line.by_authority { "authority" } else { "files" },
                "nextTryAt": line.next_try_at_ms.map(rfc_3339),
                "failuresInARow": line.failures_in_a_row,
                "trouble": line.trouble,
            });
            serde_json::to_writer_pretty(&mut *output, &told).map_err(io::Error::from)?;
            writeln!(output)?;
        }
        (Answer::Certificate(line), _) => write!(output, "{}", shown(&line))?,
        (Answer::RenewalBegun, _) => writeln!(
            output,
            "begun; `portero tls show` and the log tell how it went"
        )?,
        (Answer::RenewalNotBefore { at_ms }, _) => {
            let message = "the authority was asked as often within an hour as it may be; nothing has been done";
            let hint = format!("it can be asked again at {}", moment(at_ms));
            return Err(Failure::new(Exit::Failed, message).hint(hint).into());
        }
        (Answer::NoCertificate, _) => {
            let message = "the running server has no HTTPS of its own";
            let hint = "`portero config explain tls` says how it gets one";
            return Err(Failure::new(Exit::Failed, message).hint(hint).into());
        }
        _ => return Err(unexpected().into()),
    }
    Ok(())
}

fn shown(line: &CertificateLine) -> String {
    let mut text = match line.ends_at_ms {
        Some(at_ms) => format!("counts until  {}\n", moment(at_ms)),
        None => "there is none yet, so that HTTPS is not answered\n".to_owned(),
    };
    text.push_str(match line.by_authority {
        true => "from          an authority\n",
        false => "from          files\n",
    });
    if let Some(at_ms) = line.next_try_at_ms {
        text.push_str(&format!("next one      {}\n", moment(at_ms)));
    }
    if let Some(trouble) = &line.trouble {
        let tries = match line.failures_in_a_row {
            1 => "once".to_owned(),
            count => format!("{count} times in a row"),
        };
        text.push_str(&format!("failed {tries}, at last because {trouble}\n"));
    }
    text
}

//! `portero check`: what the configuration file says, and what is wrong with it.

use super::check_service::{self, Wanted};
use super::{Shell, Stop};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Also print the configuration in force, without its secrets
    #[arg(long, conflicts_with = "service")]
    show: bool,
    /// Ask this service as for a person, and show what is sent, answered and read
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// With --service: ask who has this mail address
    #[arg(long, value_name = "ADDRESS", requires = "service")]
    email: Option<String>,
    /// With --service: also ask for a token for the first user found, without showing it
    #[arg(long, requires = "service")]
    token: bool,
    /// With --service: ask about the password of this user, which is asked for at the terminal
    #[arg(long, value_name = "USER", requires = "service")]
    password_of: Option<String>,
    /// With --service: as JSON
    #[arg(long, requires = "service")]
    json: bool,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (path, loaded) = shell.load()?;
    if let Some(service) = &arguments.service {
        let wanted = Wanted {
            service,
            email: arguments.email.as_deref(),
            token: arguments.token,
            password_of: arguments.password_of.as_deref(),
            json: arguments.json,
        };
        return check_service::run(shell, &loaded.config, &wanted);
    }
    let output = &mut *shell.output;
    writeln!(output, "{}: configuration is fine", path.display())?;
    let parts = [
        (false, "Worth a look:"),
        (true, "Weaker than it could be, as configured:"),
    ];
    for (weakens, heading) in parts {
        let mut warnings = loaded
            .warnings
            .iter()
            .filter(|warning| warning.weakens == weakens)
            .peekable();
        if warnings.peek().is_some() {
            writeln!(output, "\n{heading}")?;
        }
        for warning in warnings {
            writeln!(output, "  {}", warning.line(&path))?;
        }
    }
    if arguments.show {
        write!(output, "\n{}", loaded.show())?;
    }
    Ok(())
}

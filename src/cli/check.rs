//! `portero check`: what the configuration file says, and what is wrong with it.

use super::{Shell, Stop};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Also print the configuration in force, without its secrets
    #[arg(long)]
    show: bool,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (path, loaded) = shell.load()?;
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

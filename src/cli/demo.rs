//! `portero demo`: the whole of it on this machine, without an account or a network.

use super::{Exit, Failure, Shell, Stop};
use crate::simulator::World;
use crate::simulator::demo::{Demo, DemoError, LogLines};
use crate::simulator::play;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::io::IsTerminal;
use std::net::SocketAddr;

/// Where the page is tried first, so that its address is the same tomorrow.
const USUAL_PORT: u16 = 8642;

/// How often the folder of a story that is stopped is tried to be removed.
const REMOVALS_MAX: usize = 3;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Act the story by itself in the terminal, and exit with 0 if all of it went well
    #[arg(long)]
    play: bool,
    /// Port of the page on 127.0.0.1 [default: 8642, or a free one]
    #[arg(long, value_name = "PORT", conflicts_with = "play")]
    port: Option<u16>,
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let log = LogLines::default();
    let writer = log.clone();
    // A second start in one process keeps the first log.
    let _ = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(move || writer.clone())
        .log_internal_errors(false)
        .try_init();
    if arguments.play {
        play_story(shell, log)
    } else {
        open_page(shell, arguments.port, log)
    }
}

fn play_story(shell: &mut Shell<'_>, log: LogLines) -> Result<(), Stop> {
    let mut signals = signals()?;
    let demo = Demo::start(log.clone()).map_err(failure_of)?;
    let for_any_page = Demo::start_for_any_page(log).map_err(failure_of)?;
    // Whoever stops it in the middle is left with nothing of it.
    let folders = [&demo, &for_any_page].map(|demo| demo.folder().to_owned());
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            for folder in folders {
                // What runs may make a file while it goes.
                let _ = (0..REMOVALS_MAX).find(|_| std::fs::remove_dir_all(&folder).is_ok());
            }
            // As if nobody had waited for it.
            let _ = emulate_default_handler(signal);
        }
    });
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let failed = play::act(&demo, &for_any_page, &mut *shell.output, colours)?;
    // Both, whatever became of the first.
    let stopped = demo.stop() & for_any_page.stop();
    if failed.is_empty() && stopped {
        writeln!(
            shell.output,
            "\nTo go live, put this into portero.toml and fill it in:\n"
        )?;
        write!(shell.output, "{}", World::configuration_to_go_live())?;
        return Ok(());
    }
    let what = if failed.is_empty() {
        "the server did not stop in time".to_owned()
    } else {
        failed.join("; ")
    };
    Err(Failure::new(
        Exit::Failed,
        format!("the story did not go as it should: {what}"),
    )
    .into())
}

/// From here on they end the process only where they are waited for.
fn signals() -> Result<Signals, Failure> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(super::no_signals)
}

fn open_page(shell: &mut Shell<'_>, port: Option<u16>, log: LogLines) -> Result<(), Stop> {
    let mut signals = signals()?;
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let addresses = match port {
        Some(port) => vec![address(port)],
        None => vec![address(USUAL_PORT), address(0)],
    };
    let demo = Demo::start_with_page(&addresses, log).map_err(failure_of)?;
    let page = demo.page_address().unwrap_or(address(0));
    let output = &mut *shell.output;
    writeln!(
        output,
        "Portero's demo is open. Everything runs on this machine; nothing leaves it."
    )?;
    writeln!(output, "\n    http://{page}/\n")?;
    writeln!(output, "What to try:")?;
    writeln!(
        output,
        "  1. Ask “¿Qué pedidos tengo?” in the chat: first you are asked who you are."
    )?;
    writeln!(
        output,
        "  2. Write ana@example.com, open the mail beside the phone, type its code."
    )?;
    writeln!(
        output,
        "  3. Or tap “Entrar en la web”, and the link: sign in on the page, then press Send."
    )?;
    writeln!(
        output,
        "  4. The bot answers with Ana's own orders; its panel shows the headers it was given."
    )?;
    writeln!(
        output,
        "  5. Then cheat: a wrong code, an address nobody has, Ana's link on the second phone,"
    )?;
    writeln!(
        output,
        "     the bot or the mail server down, Meta answering 500. Inside you see what waits."
    )?;
    let (status_url, password) = demo.status_page();
    writeln!(
        output,
        "  6. Look at it as its administrator: {status_url}  password: {password}"
    )?;
    writeln!(
        output,
        "\nStop it with Ctrl+C. `portero demo --play` acts the whole story by itself."
    )?;
    output.flush()?;
    signals.forever().next();
    demo.stop();
    Ok(())
}

fn failure_of(error: DemoError) -> Failure {
    match error {
        DemoError::Io(error) => {
            Failure::new(Exit::Unavailable, format!("the demo cannot start: {error}"))
        }
        DemoError::Page(_) => {
            Failure::new(Exit::Unavailable, error.to_string()).hint("--port takes another port")
        }
        DemoError::Configuration(problems) => Failure::new(Exit::Failed, problems.to_string()),
        DemoError::Start(error) => super::serve::failure_of(error),
    }
}

//! Stand-ins for the outside world that are written in Python, one process each.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest wait for something that a stand-in should tell; generous, because a loaded machine
/// is not a failure.
pub const EVENT_TIME_MAX: Duration = Duration::from_secs(60);

/// A running stand-in; it ends with this value.
pub struct StandIn {
    child: Child,
    // Kept open: the stand-in ends when it is closed, even if the test is killed.
    _stdin: ChildStdin,
    events: Receiver<Value>,
    /// Where it listens.
    pub port: u16,
    /// The authority that signed its certificate.
    pub ca_pem: Vec<u8>,
}

impl StandIn {
    /// Starts `tests/it/{script}` with its wishes.
    pub fn start(script: &str, wishes: &Value) -> StandIn {
        let mut child = Command::new(interpreter())
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/it")
                    .join(script),
            )
            .arg(wishes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{script} could not be started ({error}). {HELP}"));
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap();
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        let mut stand_in = StandIn {
            child,
            _stdin: stdin,
            events,
            port: 0,
            ca_pem: Vec::new(),
        };
        let ready = stand_in
            .events
            .recv_timeout(EVENT_TIME_MAX)
            .unwrap_or_else(|_| panic!("{script} ended before it listened. {HELP}"));
        stand_in.port = ready["port"].as_u64().unwrap().try_into().unwrap();
        stand_in.ca_pem = ready["ca_pem"].as_str().unwrap().as_bytes().to_vec();
        stand_in
    }

    /// Waits for the next event of this name; others are passed over.
    pub fn next(&self, name: &str) -> Value {
        let deadline = Instant::now() + EVENT_TIME_MAX;
        loop {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(event) if event["event"] == name => return event,
                Ok(_) => {}
                Err(error) => panic!("the stand-in never told {name:?}: {error}"),
            }
        }
    }

    /// The next event of this name if it comes in this time; others are passed over.
    pub fn next_within(&self, name: &str, limit: Duration) -> Option<Value> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left).ok()?;
            if event["event"] == name {
                return Some(event);
            }
        }
    }

    /// Ends the stand-in and returns everything that it has told and nobody has read.
    pub fn finish(mut self) -> Vec<Value> {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut rest = Vec::new();
        loop {
            match self.events.recv_timeout(EVENT_TIME_MAX) {
                Ok(event) => rest.push(event),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("the stand-in did not end"),
            }
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program left at a terminal.
pub struct AtTerminal {
    /// All that it showed, with plain ends of lines.
    pub screen: String,
    /// Its exit code.
    pub code: i64,
    /// Whether the terminal shows again what is typed.
    pub echo: bool,
}

/// Runs a command at a terminal that is so many columns wide, if that matters; `talk` are pairs of
/// a prompt and what is typed then.
pub fn at_terminal(command: &Command, columns: Option<u16>, talk: &Value) -> AtTerminal {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<&str> = words.map(|word| word.to_str().unwrap()).collect();
    let mut wishes = json!({"program": words, "talk": talk});
    if let Some(columns) = columns {
        wishes["columns"] = columns.into();
    }
    // The program gets the environment of the script.
    let variables = command.get_envs();
    let output = Command::new(interpreter())
        .env_clear()
        .envs(variables.filter_map(|(name, value)| Some((name, value?))))
        .current_dir(command.get_current_dir().unwrap())
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/terminal.py"))
        .arg(wishes.to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    AtTerminal {
        screen: told["screen"].as_str().unwrap().replace("\r\n", "\n"),
        code: told["code"].as_i64().unwrap(),
        echo: told["echo"].as_bool().unwrap(),
    }
}

const HELP: &str = "The tests need Python with the packages of .ci/python-requirements.txt; \
the command under \"Tests\" in README.md installs it, and PORTERO_TEST_PYTHON names another one.";

/// The Python that has what the stand-ins need.
pub fn interpreter() -> PathBuf {
    let python = std::env::var_os("PORTERO_TEST_PYTHON").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python/bin/python"),
        PathBuf::from,
    );
    // A bare name is looked up in PATH by the system, so only a path can be checked here.
    let is_a_path = python.components().count() > 1;
    assert!(
        !is_a_path || python.exists(),
        "{} is missing. {HELP}",
        python.display()
    );
    python
}

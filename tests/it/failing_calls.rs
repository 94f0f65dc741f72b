//! Failing calls of the real program: `failing_calls.c` between it and the C library, which counts
//! the calls that the outside can notice, kills the process at one of them, or lets it fail or hang. The
//! program itself has no switch for any of this.

use crate::outside::{PATIENCE, Portero, World, eventually, post_webhook, text, webhook};
use rustix::io::Errno;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happens {
    /// The process is killed (SIGKILL) instead of the call.
    KillBefore,
    /// The process is killed after the call.
    KillAfter,
    /// The call is not made, and fails.
    FailBefore(i32),
    /// The call is made, and says that it failed.
    FailAfter(i32),
    /// The call is not made, and never returns.
    Hangs,
}

/// What is counted, and what happens when. An empty one only counts.
#[derive(Clone, Debug, Default)]
pub struct FailingCalls {
    trace: Option<PathBuf>,
    only: Option<String>,
    event: Option<(u64, Happens)>,
    failures: Option<u64>,
    while_file: Option<PathBuf>,
}

/// A call that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// From 1.
    pub number: u64,
    /// As `failing_calls.c` explains: `fdatasync portero.redb`, `send door`.
    pub label: String,
}

impl FailingCalls {
    /// Writes down each counted call.
    pub fn trace(mut self, path: &Path) -> FailingCalls {
        self.trace = Some(path.to_owned());
        self
    }

    /// Counts only calls whose label begins with one of these, or is one that ends in `$` here.
    pub fn only(mut self, labels: &[&str]) -> FailingCalls {
        self.only = Some(labels.join(","));
        self
    }

    /// Something happens at the call of this number, from 1.
    pub fn at(mut self, number: u64, happens: Happens) -> FailingCalls {
        self.event = Some((number, happens));
        self
    }

    /// A call that fails is one of so many, from that one on.
    pub fn times(mut self, count: u64) -> FailingCalls {
        assert!(count > 0);
        self.failures = Some(count);
        self
    }

    /// Once they fail, all the later ones fail as well.
    pub fn for_ever(mut self) -> FailingCalls {
        self.failures = Some(0);
        self
    }

    /// While there is such a file, every counted call fails with the error whose number is in it, or
    /// waits if that is 0. It is best moved there whole.
    pub fn while_file(mut self, path: &Path) -> FailingCalls {
        self.while_file = Some(path.to_owned());
        self
    }

    /// Has the calls of this command fail.
    pub fn preload<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("LD_PRELOAD", library());
        if let Some(path) = &self.trace {
            command.env("FAILING_CALLS_TRACE", path);
        }
        if let Some(only) = &self.only {
            command.env("FAILING_CALLS_ONLY", only);
        }
        if let Some(failures) = self.failures {
            command.env("FAILING_CALLS_TIMES", failures.to_string());
        }
        if let Some(path) = &self.while_file {
            command.env("FAILING_CALLS_WHILE", path);
        }
        if let Some((number, happens)) = self.event {
            let (does, error) = match happens {
                Happens::KillBefore => ("kill-before", None),
                Happens::KillAfter => ("kill-after", None),
                Happens::FailBefore(error) => ("fail-before", Some(error)),
                Happens::FailAfter(error) => ("fail-after", Some(error)),
                Happens::Hangs => ("hang", None),
            };
            command.env("FAILING_CALLS_AT", number.to_string());
            command.env("FAILING_CALLS_DO", does);
            if let Some(error) = error {
                command.env("FAILING_CALLS_ERRNO", error.to_string());
            }
        }
        command
    }
}

/// The calls that were written down there, in order.
pub fn steps(trace: &Path) -> Vec<Step> {
    let text = fs::read_to_string(trace).unwrap();
    let lines = text.lines().map(|line| {
        let (number, label) = line.split_once(' ').unwrap();
        Step {
            number: number.parse().unwrap(),
            label: label.to_owned(),
        }
    });
    let mut steps: Vec<Step> = lines.collect();
    // Two threads may have written in another order than they counted.
    steps.sort_by_key(|step| step.number);
    steps
}

/// The library, compiled once for each run of the tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| compiled("failing_calls"))
}

/// The library for `LD_PRELOAD` that is made of `tests/it/NAME.c`.
pub fn compiled(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join(format!("{name}.so"));
    let draft = folder.join(format!("{name}.{}", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/{name}.c"));
    let compiled = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"])
        .arg("-o")
        .args([&draft, &source])
        .output()
        .expect("cc is needed; .ci/test installs it");
    assert!(compiled.status.success(), "{compiled:?}");
    // Whoever has loaded the one of an earlier run keeps it.
    fs::rename(draft, &library).unwrap();
    library
}

/// A start, a webhook, an answer in the chat and the end, with calls that fail.
fn steps_of_a_message(world: &World) -> Vec<Step> {
    let trace = world.path("trace");
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    FailingCalls::default().trace(&trace).preload(&mut command);
    let portero = Portero::start(command);
    portero.receive(&[text("573001112233", "hola")]);
    world.graph.reply("573001112233", 1);
    assert_eq!(portero.stop().0, Some(0));
    steps(&trace)
}

/// The ground of the tests that fail or kill at every call: all that the outside can notice is counted.
#[test]
fn every_call_that_the_outside_can_notice_is_counted() {
    let world = World::without_mail();
    let steps = steps_of_a_message(&world);
    let numbers: Vec<u64> = steps.iter().map(|step| step.number).collect();
    let expected: Vec<u64> = (1..=steps.len() as u64).collect();
    assert_eq!(numbers, expected);
    let graph = format!("to 127.0.0.1:{}", world.graph.port());
    let is_there = |label: &str| steps.iter().any(|step| step.label == label);
    for label in [
        "open portero.redb.new-*",
        "ftruncate portero.redb.new-*",
        "pwrite portero.redb.new-*",
        "link portero.redb",
        "unlink portero.redb.new-*",
        "pwrite portero.redb",
        "fdatasync portero.redb",
        "listen door",
        "accept door",
        "recv door",
        "send door",
        &format!("connect {graph}"),
        &format!("send {graph}"),
        &format!("recv {graph}"),
    ] {
        assert!(is_there(label), "{label} is not among {steps:#?}");
    }
}

/// And a call fails, or kills, as it was told.
#[test]
fn a_process_is_killed_at_its_call_and_a_call_fails_as_often_as_asked() {
    let world = World::without_mail();
    let with = |calls: FailingCalls| {
        let mut command = world.command(&["serve", "--config", "portero.toml"]);
        calls.preload(&mut command);
        command
    };
    // A store is not made where nothing can be synced.
    let calls = FailingCalls::default().only(&["fdatasync portero.redb.new"]);
    let calls = calls.at(2, Happens::FailBefore(Errno::IO.raw_os_error()));
    let status = with(calls.for_ever()).stderr(Stdio::null()).status();
    assert_eq!(status.unwrap().code(), Some(74));
    world.start().kill();

    // The kill comes instead of the answer or after it.
    let body = webhook(&[text("573001112233", "quién soy")]);
    for (happens, is_answered) in [(Happens::KillBefore, false), (Happens::KillAfter, true)] {
        let calls = FailingCalls::default().only(&["send door"]).at(1, happens);
        let mut portero = Portero::start(with(calls));
        let answer = post_webhook(portero.address, &body);
        assert_eq!(answer.is_ok(), is_answered, "{answer:?}");
        let status = portero.ended_within(PATIENCE).unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    // Two connections break before their answer, and a full disk is emptied.
    let full = world.path("full");
    let calls = FailingCalls::default().only(&["recv door"]).times(2);
    let calls = calls.at(1, Happens::FailAfter(Errno::CONNRESET.raw_os_error()));
    let portero = Portero::start(with(calls));
    let answers = [(); 3].map(|()| post_webhook(portero.address, &body).is_ok());
    assert_eq!(answers, [false, false, true]);
    portero.kill();
    let calls = FailingCalls::default().only(&["pwrite", "write portero.redb", "ftruncate"]);
    let portero = Portero::start(with(calls.while_file(&full)));
    fs::write(world.path("draft"), Errno::NOSPC.raw_os_error().to_string()).unwrap();
    fs::rename(world.path("draft"), &full).unwrap();
    let body = webhook(&[text("573001112233", "quién soy")]);
    assert_eq!(portero.post_webhook(&body).status, 503);
    fs::remove_file(&full).unwrap();
    eventually("there is room again", || {
        (portero.post_webhook(&body).status == 200).then_some(())
    });
    assert_eq!(portero.stop().0, Some(0));
}

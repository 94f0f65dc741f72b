//! The whole core in a seeded world: five people of two companies, an attacker among them, their
//! phones, mailboxes and browsers, the services, WhatsApp, the bot, the clock and the store, on one
//! thread. A seed leads to a setting and to steps; after every one of them the eleven invariants of
//! the threat model (section 5.2) are looked at, and a naive model says who should be signed in as
//! whom, what should be live and what each thing should have come to.
//!
//! Most worlds keep their records in maps that fail when they are told to. One in eight keeps them in
//! the store of production, on a disk whose power fails amid messages: then what it had not been asked
//! to keep is lost, torn or there, and what was answered must be there.
//!
//! ```text
//! PORTERO_SEED=1234 cargo test --test it simulation       one seed
//! PORTERO_SEEDS=100000 cargo test --test it simulation    as many, from 1 or PORTERO_FIRST_SEED on
//! ```

mod invariants;
mod model;
mod steps;
mod world;

use crate::flags::flag;
use invariants::FOURTH;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use steps::{Check, Setting, Step, Text, Who, story};
use world::{Broken, World, broken};

/// Seeds in an ordinary run of the tests.
const SEEDS: u64 = 200;

/// For how long a shorter story is looked for that breaks the same rule.
const SHORTEN_FOR: Duration = Duration::from_secs(60);

/// One run in so many has a twin in which an address is unknown.
const TWIN_EVERY: u64 = 8;

/// What happens in an ordinary run: a world in which nobody gets in, or nobody is kept out, proves
/// nothing.
const HAPPENS: [&str; 29] = [
    "asked",
    "code_asked",
    "code_wrong",
    "limited",
    "bound",
    "released",
    "handed_on",
    "ignored",
    "stale",
    "link_sent",
    "mismatch",
    "Gone",
    "WrongNumber",
    "WrongPassword",
    "NoAnswer",
    "Burned",
    "Return",
    "CodeMailed",
    "Finished",
    "Refused",
    "undone",
    "a chat was forgotten",
    "a token for an identity",
    "the bot got a message",
    "the store failed",
    "a commit was unknown",
    "the power failed after a webhook",
    "the power failed and a webhook was stored",
    "the power failed and nothing was stored",
];

/// What came of runs.
#[derive(Default)]
struct Tally {
    steps: usize,
    happened: BTreeMap<&'static str, usize>,
}

/// How a run failed.
struct Failure {
    broken: Broken,
    log: Vec<String>,
}

/// Every step of a story, and then everybody's way in.
fn run(setting: &Setting, steps: &[Step]) -> Result<Tally, Failure> {
    let mut world = World::new(setting.clone(), None);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        steps.iter().try_for_each(|step| world.take(*step))?;
        invariants::nobody_is_stuck(&mut world)
    }));
    let ran = ran.unwrap_or_else(|_| broken("nothing panics", "see above"));
    let log = std::mem::take(&mut world.log);
    match ran {
        Ok(()) => Ok(Tally {
            steps: world.taken,
            happened: world.happened,
        }),
        Err(broken) => Err(Failure { broken, log }),
    }
}

/// 4. Unknown and known addresses give equal visible sequences of outputs: the same story once more,
///    in a world where no service knows Ben, whose code nobody types and whose password nobody has.
fn run_with_twin(setting: &Setting, steps: &[Step]) -> Result<Tally, Failure> {
    let steps: Vec<Step> = steps
        .iter()
        .map(|step| without_proofs_of_ben(*step))
        .collect();
    let visible = |unregistered| -> Result<(Vec<String>, Vec<String>), Failure> {
        let mut world = World::new(setting.clone(), unregistered);
        let ran = steps.iter().try_for_each(|step| world.take(*step));
        let log = std::mem::take(&mut world.log);
        if let Err(broken) = ran {
            return Err(Failure { broken, log });
        }
        // Nobody sees in which order different chats are answered.
        let said = world.house().said().into_iter();
        let mut said: Vec<(String, String)> = said
            .map(|said| {
                (
                    format!("{:?}", said.to),
                    format!("{:?} {}", said.at, said.message.body),
                )
            })
            .collect();
        said.sort_by(|one, other| one.0.cmp(&other.0));
        Ok((said.into_iter().map(|(_, said)| said).collect(), log))
    };
    let (known, log) = visible(None)?;
    let (unknown, _) = visible(Some(Who::Ben))?;
    let differs = known
        .iter()
        .zip(&unknown)
        .find(|(known, unknown)| known != unknown);
    match differs {
        None if known.len() == unknown.len() => Ok(Tally {
            steps: 2 * steps.len(),
            happened: BTreeMap::new(),
        }),
        differs => Err(Failure {
            broken: Broken {
                rule: FOURTH,
                how: format!("{} and {} replies; {differs:?}", known.len(), unknown.len()),
            },
            log,
        }),
    }
}

fn without_proofs_of_ben(step: Step) -> Step {
    let guess = |text| match text {
        Text::Code(Who::Ben) | Text::OldCode(Who::Ben) => Text::Guess,
        text => text,
    };
    match step {
        Step::Write(who, text, how) => Step::Write(who, guess(text), how),
        Step::Send(who, text, how) => Step::Send(who, guess(text), how),
        Step::Sign(Who::Ben, of, Check::Right) => Step::Sign(Who::Ben, of, Check::Wrong),
        Step::SignOld(Who::Ben, of, Check::Right) => Step::SignOld(Who::Ben, of, Check::Wrong),
        Step::SignTwice(Who::Ben, _) => Step::Leave,
        step => step,
    }
}

type Run = fn(&Setting, &[Step]) -> Result<Tally, Failure>;

/// The shortest story found that breaks the same rule: pieces are left out, large ones first.
fn shortest(
    run: Run,
    setting: &Setting,
    steps: Vec<Step>,
    failure: Failure,
) -> (Vec<Step>, Failure) {
    let (mut steps, mut failure) = (steps, failure);
    let mut piece = steps.len() / 2;
    let shorten_for = flag("PORTERO_SHORTEN_SECONDS").map_or(SHORTEN_FOR, Duration::from_secs);
    let begun = Instant::now();
    while piece > 0 {
        let (mut at, mut is_shorter) = (0, false);
        while at < steps.len() && begun.elapsed() < shorten_for {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + piece).min(steps.len()));
            match run(setting, &fewer) {
                Err(other) if other.broken.rule == failure.broken.rule => {
                    (steps, failure, is_shorter) = (fewer, other, true);
                }
                _ => at += piece,
            }
        }
        if !is_shorter || piece > 1 || begun.elapsed() >= shorten_for {
            piece /= 2;
        }
    }
    (steps, failure)
}

fn check(seed: u64) -> Result<Tally, String> {
    let (setting, steps) = story(seed);
    let told = |run: Run, name: &str| {
        run(&setting, &steps).map_err(|failure| {
            let (steps, failure) = shortest(run, &setting, steps.clone(), failure);
            format!(
                "seed {seed}, {name}: {}\n{}\n\nin this setting: {setting:?}\nafter these {} steps:\n{}\n\n\
                 PORTERO_SEED={seed} cargo test --test it simulation",
                failure.broken.rule,
                failure.broken.how,
                steps.len(),
                failure.log.join("\n"),
            )
        })
    };
    let mut took = told(run, "the story")?;
    if seed.is_multiple_of(TWIN_EVERY) {
        took.steps += told(run_with_twin, "the story and its twin")?.steps;
    }
    Ok(took)
}

#[test]
fn the_eleven_invariants_hold_whatever_happens_in_whatever_order() {
    let seeds = match flag("PORTERO_SEED") {
        Some(seed) => seed..=seed,
        None => {
            let first = flag("PORTERO_FIRST_SEED").unwrap_or(1);
            first..=first + flag("PORTERO_SEEDS").unwrap_or(SEEDS) - 1
        }
    };
    let (next, end) = (AtomicU64::new(*seeds.start()), *seeds.end());
    let (failed, tally) = (AtomicBool::new(false), Mutex::new(Tally::default()));
    let begun = Instant::now();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed > end || failed.load(Ordering::Relaxed) {
                            return None;
                        }
                        match check(seed) {
                            Ok(took) => {
                                let mut tally = tally.lock().unwrap();
                                tally.steps += took.steps;
                                for (what, times) in took.happened {
                                    *tally.happened.entry(what).or_default() += times;
                                }
                            }
                            Err(story) => {
                                failed.store(true, Ordering::Relaxed);
                                return Some(story);
                            }
                        }
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().unwrap())
            .collect()
    });
    let tally = tally.into_inner().unwrap();
    println!(
        "{} seeds, {} steps, {:?}; {:?}",
        end - seeds.start() + 1,
        tally.steps,
        begun.elapsed(),
        tally.happened,
    );
    assert!(failures.is_empty(), "{}", failures[0]);
    // Everything that people can get to was got to.
    if end - seeds.start() >= SEEDS - 1 {
        for what in HAPPENS {
            assert!(tally.happened.contains_key(what), "{what} never happened");
        }
    }
}

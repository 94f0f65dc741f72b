//! Whole sign-ins by a code: ask, mail, type, bound; somebody new each time.

use super::Bench;
use super::client::{Act, Client, Load, Measured, drive};
use super::machine::fdatasync_rate;
use super::people::{address_of, newcomer, webhook};
use super::report::{heading, load, loads};
use super::server::{Bot, MESSAGES_PER_SECOND_MAX, Server, Setup};
use super::stand_ins::{LetterBox, World};
use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Longer than anything waits here for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// As many people as sign in at once, one load after the other.
pub const PEOPLE_AT_ONCE: [u64; 3] = [16, 32, 64];
/// What a person is sent in a clean run: who we are, that a code is on its way, who they are.
pub const REPLIES: u64 = 3;

/// Whether a person writes on before they were answered.
#[derive(Clone, Copy, PartialEq)]
pub enum Waits {
    /// For the code alone.
    ForTheMail,
    /// For each reply as well.
    ForEachReply,
}

/// Somebody who signs in, and then somebody else.
pub struct SignsIn<'b> {
    client: Client,
    world: &'b World,
    waits: Waits,
    /// Milliseconds of each step of the last sign-in.
    pub steps: [f64; Step::NAMES.len()],
}

/// The steps of a sign-in that are measured apart.
pub enum Step {
    Hello,
    Address,
    Mail,
    Code,
}

impl Step {
    pub const NAMES: [&str; 4] = [
        "first message of somebody new",
        "address typed",
        "mail at the mail server after that",
        "code typed: bound",
    ];
}

impl<'b> SignsIn<'b> {
    pub fn new(server: &Server, world: &'b World, waits: Waits) -> io::Result<SignsIn<'b>> {
        Ok(SignsIn {
            client: Client::connect(server.address)?,
            world,
            waits,
            steps: [0.0; Step::NAMES.len()],
        })
    }

    fn say(&mut self, number: &str, text: &str, step: Step, chat: &LetterBox) -> io::Result<()> {
        let request = webhook(number, text);
        let begun = Instant::now();
        self.client.succeed(&request)?;
        self.steps[step as usize] = begun.elapsed().as_secs_f64() * 1e3;
        if self.waits == Waits::ForEachReply {
            wait(chat)?;
        }
        Ok(())
    }
}

/// The next letter in a box.
pub fn wait(letters: &LetterBox) -> io::Result<String> {
    letters
        .arrived
        .recv_timeout(PATIENCE)
        .map_err(|error| match error {
            RecvTimeoutError::Timeout => io::Error::other("nothing came in half a minute"),
            RecvTimeoutError::Disconnected => io::ErrorKind::BrokenPipe.into(),
        })
}

impl Act for SignsIn<'_> {
    fn act(&mut self) -> io::Result<()> {
        let number = newcomer();
        let address = address_of(&number);
        let (chat, mail) = (self.world.expect(&number), self.world.expect(&address));
        self.say(&number, "Hola, quiero pedir pan", Step::Hello, &chat)?;
        self.say(&number, &address, Step::Address, &chat)?;
        let begun = Instant::now();
        let code = wait(&mail)?;
        self.steps[Step::Mail as usize] = begun.elapsed().as_secs_f64() * 1e3;
        self.say(&number, &code, Step::Code, &chat)
    }
}

/// How many were bound so far.
pub fn bound(server: &Server) -> io::Result<f64> {
    server.metric("portero_sign_in_events_total", "\"contact.bound\"")
}

/// Sign-ins under this load on an empty store, and the memory after them, in MiB; each that was counted
/// is one that bound.
fn sign_in(bench: &Bench, setup: &Setup, one: Load, waits: Waits) -> io::Result<(Measured, f64)> {
    let server = Server::start(setup, &bench.world)?;
    let measured = drive(&server, one, |_| {
        Ok(Box::new(SignsIn::new(&server, &bench.world, waits)?))
    })?;
    let (bound, counted) = (bound(&server)?, measured.latencies.len() as f64);
    if bound < counted {
        let words = format!("{counted} sign-ins ended, and only {bound} people are bound");
        return Err(server.explain(&io::Error::other(words)));
    }
    Ok((measured, server.mebibytes("VmRSS")))
}

/// How many a second at most, by as many people as may sign in at once, and the most memory after them,
/// in MiB. `who` begins each line.
pub fn fastest(bench: &Bench, disk: f64, who: &str) -> io::Result<(f64, f64)> {
    let (mut best, mut memory): (f64, f64) = (0.0, 0.0);
    for clients in PEOPLE_AT_ONCE {
        let setup = setup(bench, Bot::Absent)?;
        let (measured, resident) = sign_in(bench, &setup, Load::of(clients), Waits::ForTheMail)?;
        load(&format!("{who}{clients} people at once"), &measured, disk);
        best = best.max(measured.per_second);
        memory = memory.max(resident);
    }
    Ok((best, memory))
}

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("Whole sign-ins by code: ask, mail, type, bound");
    let disk = fdatasync_rate(&bench.root)?;
    println!(
        "Each by somebody new, who writes on as soon as the code is there. Replies leave at Meta's \
         highest rate, {MESSAGES_PER_SECOND_MAX} a second, which is {} sign-ins a second: beyond it \
         they wait. The last lines are of people who wait for each reply. Disk: {disk:.0} fdatasync/s.\n",
        MESSAGES_PER_SECOND_MAX / REPLIES
    );
    loads();
    let (best, memory) = fastest(bench, disk, "")?;
    let with_bot = setup(bench, Bot::Everyone)?;
    let (measured, _) = sign_in(bench, &with_bot, Load::of(32), Waits::ForTheMail)?;
    load(
        "32 people at once, first messages go to a bot",
        &measured,
        disk,
    );
    let waiting = setup(bench, Bot::Absent)?;
    let one = Load::steady(32, MESSAGES_PER_SECOND_MAX / REPLIES * 3 / 4);
    let (measured, _) = sign_in(bench, &waiting, one, Waits::ForEachReply)?;
    let rate = one.rate.unwrap_or_default();
    load(
        &format!("steady {rate} a second, waiting for each reply"),
        &measured,
        disk,
    );
    println!("\nMemory after the first three: at most {memory:.1} MiB.");
    let report = &mut bench.report;
    report.at_least("whole sign-ins by code", best, 2_000.0, "a second");
    report.fact("— waiting for each reply, p50", measured.within(0.5), "ms");
    report.at_most("memory after sign-ins", memory, 40.0, "MiB");
    Ok(())
}

/// An empty store, and replies as fast as they may leave.
pub fn setup(bench: &Bench, bot: Bot) -> io::Result<Setup> {
    let mut setup = Setup::in_folder(&bench.root, "sign-ins")?;
    setup.bot = bot;
    setup.messages_per_second = MESSAGES_PER_SECOND_MAX;
    Ok(setup)
}

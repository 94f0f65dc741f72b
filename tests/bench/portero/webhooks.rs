//! Signed webhooks, each of an id of its own, acknowledged after a durable commit; and how fast a bot
//! has what is for it.

use super::Bench;
use super::client::{Load, Measured, asks, drive, get};
use super::machine::fdatasync_rate;
use super::people::{Are, fill, known, scattered, webhook};
use super::report::{heading, load, loads, rate_alone};
use super::server::{Bot, Server, Setup};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// They write in turn, so that most do not write twice in a second.
const PEOPLE: u64 = 1_000;
const WORDS: &str = "Does it come in another color?";

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("Webhooks, acknowledged after their own durable commit");
    let setup = Setup::in_folder(&bench.root, "webhooks")?;
    let disk = fdatasync_rate(&setup.folder)?;
    let server = Server::start(&setup, &bench.world)?;
    println!("{PEOPLE} people who are not signed in; no bot. Disk: {disk:.0} fdatasync/s.\n");
    loads();
    let noop = drive(&server, Load::of(32), |_| {
        asks(&server, || get("/healthz", ""))
    })?;
    load("a route that does nothing, 32 connections", &noop, disk);
    let mut found = Vec::new();
    for clients in [1, 32, 128] {
        let measured = write(&server, Load::of(clients))?;
        let what = match clients {
            1 => "1 connection".to_owned(),
            more => format!("{more} connections"),
        };
        load(&what, &measured, disk);
        found.push(measured);
    }
    let (resident, peak) = (server.mebibytes("VmRSS"), server.mebibytes("VmHWM"));
    let mut steady = Vec::new();
    for rate in [500, 2_000] {
        let measured = write(&server, Load::steady(32, rate))?;
        load(
            &format!("32 connections, steady {rate} a second"),
            &measured,
            disk,
        );
        steady.push(measured);
    }
    println!("\nMemory after 128 connections: {resident:.1} MiB, at most {peak:.1} MiB.");
    let report = &mut bench.report;
    let [one, many, most] = [&found[0], &found[1], &found[2]];
    report.fact("small durable writes of the disk", disk, "a second");
    report.fact(
        "a route that does nothing, 32 connections",
        noop.per_second,
        "a second",
    );
    report.at_least(
        "webhooks, 32 connections",
        many.per_second,
        10_000.0,
        "a second",
    );
    report.at_least("— the same, × disk", many.per_second / disk, 3.3, "");
    report.at_least(
        "webhooks, 1 connection, × disk",
        one.per_second / disk,
        0.3,
        "",
    );
    let ratio = most.per_second / many.per_second;
    report.at_least("webhooks, 128 connections beside 32", ratio, 1.0, "");
    for (measured, what, middle, nearly_all) in [
        (&steady[0], "500", 1.5, 10.0),
        (&steady[1], "2,000", 2.0, 15.0),
    ] {
        let what = format!("webhooks, steady {what} a second");
        report.at_most(&format!("{what}, p50"), measured.within(0.5), middle, "ms");
        report.at_most(
            &format!("{what}, p99"),
            measured.within(0.99),
            nearly_all,
            "ms",
        );
    }
    report.at_most(
        "CPU for a webhook, 32 connections",
        many.cpu_us,
        160.0,
        "µs",
    );
    report.at_most(
        "written for a webhook, 32 connections",
        many.bytes / 1e3,
        12.0,
        "kB",
    );
    report.at_most("memory after 128 connections", resident, 40.0, "MiB");
    Ok(())
}

/// Webhooks of [`PEOPLE`] under this load.
fn write(server: &Server, load: Load) -> io::Result<Measured> {
    drive(server, load, |_| asks(server, next))
}

/// The next webhook of [`PEOPLE`].
fn next() -> Vec<u8> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    webhook(&known(scattered(number, PEOPLE)), WORDS)
}

/// In front of a bot that takes everything at once.
pub fn forwarding(bench: &mut Bench) -> io::Result<()> {
    heading("Messages for a bot");
    let disk = fdatasync_rate(&bench.root)?;
    println!("The bot answers at once. Disk: {disk:.0} fdatasync/s.\n");
    loads();
    let mut taken = Vec::new();
    for (bot, whom) in [
        (Bot::OnRequest, "not signed in"),
        (Bot::Everyone, "signed in, with the identity"),
    ] {
        let mut setup = Setup::in_folder(&bench.root, "forwarding")?;
        setup.bot = bot;
        let are = if bot == Bot::Everyone {
            Are::SignedIn
        } else {
            Are::Unknown
        };
        fill(&setup, 0..PEOPLE, are)?;
        let server = Server::start(&setup, &bench.world)?;
        let steady = [500, 2_000].map(|rate| Load::steady(32, rate));
        let some = if bot == Bot::Everyone {
            &steady[..]
        } else {
            &[]
        };
        for one in [Load::of(32)].iter().chain(some) {
            let pace = one
                .rate
                .map_or(String::new(), |rate| format!(", steady {rate} a second"));
            taken.push(hand_on(
                bench,
                &server,
                *one,
                &format!("{whom}{pace}"),
                disk,
            )?);
        }
        println!(
            "\nMemory after that: {:.1} MiB.\n",
            server.mebibytes("VmRSS")
        );
        if bot == Bot::OnRequest {
            loads();
        }
    }
    let report = &mut bench.report;
    report.fact(
        "messages taken by the bot, of people who are not signed in",
        taken[0],
        "a second",
    );
    report.fact(
        "messages taken by the bot, of people who are signed in",
        taken[1],
        "a second",
    );
    Ok(())
}

/// How many messages a second the bot has taken when it has them all.
fn hand_on(bench: &Bench, server: &Server, one: Load, what: &str, disk: f64) -> io::Result<f64> {
    let count = || bench.world.taken.load(Ordering::Relaxed);
    let (before, begin) = (count(), Instant::now());
    let measured = write(server, one)?;
    load(&format!("acknowledged, {what}"), &measured, disk);
    // What is acknowledged is on its way; the bot has it when its count stands still.
    let (mut last, mut seen_at) = (count(), Instant::now());
    while seen_at.elapsed() < Duration::from_millis(500) {
        thread::sleep(Duration::from_millis(5));
        if count() != last {
            (last, seen_at) = (count(), Instant::now());
        }
    }
    let rate = (last - before) as f64 / seen_at.duration_since(begin).as_secs_f64();
    rate_alone(&format!("taken by the bot, {what}"), rate, disk);
    Ok(rate)
}

//! One store that grows from a thousand contacts to a million: what every operation takes then, what
//! a start takes, also after the process was killed while it wrote, and how much memory it needs.

use super::Bench;
use super::calls;
use super::client::{Act, Client, Load, Measured, asks, drive, repeat};
use super::machine::fdatasync_rate;
use super::page;
use super::people::{
    Are, ROWS_PER_CONTACT, fill, fill_history, identities, known, scattered, webhook,
};
use super::report::{head, heading, line};
use super::server::{BINARY, Bot, MESSAGES_PER_SECOND_MAX, Server, Setup};
use super::sign_ins::{SignsIn, Step, Waits};
use super::status::{self, Bound, Visitor};
use portero::store::Redb;
use portero::store::redb::Options;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Which operations are measured at a size.
#[derive(Clone, Copy, PartialEq)]
enum Operations {
    None,
    /// Those of the status page: a contact gets three links in an hour, and so all at three sizes.
    Pages,
    All,
}

/// What is done at each size.
struct Size {
    contacts: u64,
    operations: Operations,
    memory: bool,
    kill: bool,
}

const SIZES: [Size; 7] = [
    Size {
        contacts: 1_000,
        operations: Operations::All,
        memory: false,
        kill: false,
    },
    // What a search looks at.
    Size {
        contacts: 10_000,
        operations: Operations::Pages,
        memory: false,
        kill: false,
    },
    // A hundred thousand rows, and a million.
    Size {
        contacts: 100_000 / ROWS_PER_CONTACT,
        operations: Operations::None,
        memory: false,
        kill: true,
    },
    Size {
        contacts: 100_000,
        operations: Operations::All,
        memory: false,
        kill: false,
    },
    Size {
        contacts: 1_000_000 / ROWS_PER_CONTACT,
        operations: Operations::None,
        memory: false,
        kill: true,
    },
    Size {
        contacts: 500_000,
        operations: Operations::None,
        memory: true,
        kill: false,
    },
    Size {
        contacts: 1_000_000,
        operations: Operations::All,
        memory: true,
        kill: true,
    },
];

/// Each operation so often, one after the other, each time about somebody else.
const OPERATIONS: usize = 250;
const PAGES: usize = 5;
/// How long webhooks come before the process is killed, and before memory is looked at.
const LOADED: Duration = Duration::from_secs(2);
const CLIENTS: u64 = 32;

/// What an operation took at one size.
struct Operation {
    name: String,
    p50_ms: f64,
    cpu_us: Option<f64>,
    bound: Option<Bound>,
}

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("From a thousand contacts to a million");
    let mut setup = Setup::in_folder(&bench.root, "growth")?;
    setup.bot = Bot::Everyone;
    setup.status = Some(status::password_hash()?);
    setup.messages_per_second = MESSAGES_PER_SECOND_MAX;
    // A copy of a million contacts in between would be measured with the rest.
    setup.snapshots = 0;
    println!(
        "{ROWS_PER_CONTACT} rows a contact. The file is in the memory of the operating system when \
         the program starts; every start reads and checks all of it.\n"
    );
    head(&[
        "contacts",
        "rows",
        "filled in s",
        "on disk MiB",
        "check alone ms",
        "start to 200 ms",
        "its CPU ms",
        "after kill -9 ms",
        "its CPU ms",
        "idle MiB",
        "under load MiB",
        "at most MiB",
        "copy s",
        "fdatasync/s",
    ]);
    let (mut stored, mut tables) = (0, Vec::new());
    for size in &SIZES {
        let begun = Instant::now();
        fill(&setup, stored..size.contacts, Are::SignedIn)?;
        if stored == 0 {
            fill_history(&setup)?;
        }
        let filled = begun.elapsed();
        stored = size.contacts;
        let operations = at_size(bench, &setup, size, filled)?;
        if size.operations != Operations::None {
            tables.push((size.contacts, operations));
        }
    }
    compare(bench, &tables);
    Ok(())
}

/// One line of the table; what the operations took, if they are measured here.
fn at_size(
    bench: &mut Bench,
    setup: &Setup,
    size: &Size,
    filled: Duration,
) -> io::Result<Vec<Operation>> {
    let contacts = size.contacts;
    let names = named(setup, bench, contacts)?;
    let begun = Instant::now();
    let opened = Redb::open(&setup.store(), Options::default()).map_err(io::Error::other)?;
    let check = begun.elapsed();
    drop(opened);
    // Most of a file that was made longer is not written yet, and takes no room on the disk.
    let file = (fs::metadata(setup.store())?.blocks() * 512) as f64 / 1_048_576.0;
    let disk = fdatasync_rate(&setup.folder)?;
    let mut server = Server::start(setup, &bench.world)?;
    let (started, start_cpu) = (server.started_in, server.started_with_ms);
    thread::sleep(Duration::from_millis(500));
    let idle = server.mebibytes("VmRSS");
    let mut measured = Vec::new();
    if size.operations == Operations::All {
        measured = operations(bench, &server, &names).map_err(|error| server.explain(&error))?;
    }
    if size.operations != Operations::None {
        let pages = pages(&server, contacts).map_err(|error| server.explain(&error))?;
        measured.extend(pages);
    }
    let (mut resident, mut peak, mut copied) = (None, None, None);
    if size.memory {
        let load = Load {
            measured: LOADED,
            ..Load::of(CLIENTS)
        };
        write(&server, load, contacts)?;
        resident = Some(server.mebibytes("VmRSS"));
        copied = Some(copy(setup)?);
        peak = Some(server.mebibytes("VmHWM"));
    }
    let mut after_kill = None;
    if size.kill {
        kill_under_load(&mut server, contacts)?;
        drop(server);
        let server = Server::start(setup, &bench.world)?;
        after_kill = Some((server.started_in, server.started_with_ms));
        server.stop()?;
    } else {
        server.stop()?;
    }
    let milliseconds = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    line(
        &contacts.to_string(),
        &[
            (contacts * ROWS_PER_CONTACT).to_string(),
            format!("{:.1}", filled.as_secs_f64()),
            format!("{file:.0}"),
            milliseconds(check),
            milliseconds(started),
            format!("{start_cpu:.0}"),
            after_kill.map_or(String::new(), |(time, _)| milliseconds(time)),
            after_kill.map_or(String::new(), |(_, cpu)| format!("{cpu:.0}")),
            format!("{idle:.1}"),
            number(resident),
            number(peak),
            number(copied),
            format!("{disk:.0}"),
        ],
    );
    let report = &mut bench.report;
    if let Some((after_kill, _)) = after_kill {
        let (what, goal) = match contacts * ROWS_PER_CONTACT {
            100_000 => ("100 thousand rows", Some(250.0)),
            1_000_000 => ("1 million rows", Some(1_500.0)),
            _ => ("1 million contacts", None),
        };
        let what = format!("start after kill -9 with {what}");
        let after_kill = after_kill.as_secs_f64() * 1e3;
        match goal {
            Some(goal) => report.at_most(&what, after_kill, goal, "ms"),
            None => report.fact(&what, after_kill, "ms"),
        }
    }
    if contacts == 1_000_000 {
        report.fact(
            "start to the first 200 with 1 million contacts",
            started.as_secs_f64() * 1e3,
            "ms",
        );
        report.fact(
            "— of which the check of the file",
            check.as_secs_f64() * 1e3,
            "ms",
        );
    }
    if let (Some(resident), Some(peak)) = (resident, peak) {
        let what = format!("memory under load with {contacts} contacts");
        match contacts {
            500_000 => report.at_most(&what, resident, 64.0, "MiB"),
            _ => report.fact(&what, resident, "MiB"),
        }
        let what = format!("memory at most with {contacts} contacts, a copy of the store included");
        report.fact(&what, peak, "MiB");
    }
    Ok(measured)
}

/// The contacts that are asked about, each with an identity; spread over all of the store.
fn named(setup: &Setup, bench: &Bench, contacts: u64) -> io::Result<Vec<(u64, String)>> {
    let numbers: Vec<u64> = (0..OPERATIONS as u64)
        .map(|turn| scattered(turn, contacts))
        .collect();
    let identities = identities(setup, &bench.world, numbers.iter().copied())?;
    Ok(numbers.into_iter().zip(identities).collect())
}

/// Webhooks of everybody in turn.
fn write(server: &Server, load: Load, contacts: u64) -> io::Result<Measured> {
    drive(server, load, |client| {
        let mut turn = client;
        asks(server, move || {
            turn += CLIENTS;
            webhook(
                &known(scattered(turn, contacts)),
                "¿Tienen pan de masa madre?",
            )
        })
    })
}

/// Makes a copy while the server runs; how many seconds that took.
fn copy(setup: &Setup) -> io::Result<f64> {
    let path = setup.folder.join("copy.redb");
    let begun = Instant::now();
    let status = Command::new(BINARY)
        .args(["backup", "--config"])
        .arg(setup.file())
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let seconds = begun.elapsed().as_secs_f64();
    if !status.success() {
        return Err(io::Error::other("no copy of the store could be made"));
    }
    fs::remove_file(path)?;
    Ok(seconds)
}

/// Kills the process while webhooks are under way.
fn kill_under_load(server: &mut Server, contacts: u64) -> io::Result<()> {
    let address = server.address;
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let Ok(mut connection) = Client::connect(address) else {
                    return;
                };
                let mut turn = client;
                // Until the process is no more.
                while connection
                    .succeed(&webhook(&known(scattered(turn, contacts)), "¿Tienen pan?"))
                    .is_ok()
                {
                    turn += CLIENTS;
                }
            });
        }
        thread::sleep(LOADED);
        server.kill()
    })
}

fn operations(
    bench: &Bench,
    server: &Server,
    names: &[(u64, String)],
) -> io::Result<Vec<Operation>> {
    let mut found = Vec::new();
    let mut add = |name: &str, measured: &Measured, cpu_us: Option<f64>| {
        found.push(Operation {
            name: name.to_owned(),
            p50_ms: measured.within(0.5),
            cpu_us,
            bound: None,
        });
    };
    let about = |make: fn(u64, &str) -> Vec<u8>| {
        let mut turns = names.iter().cloned().cycle();
        asks(server, move || {
            let (number, identity) = turns.next().unwrap_or_default();
            make(number, &identity)
        })
    };
    let words = |number: u64, _: &str| webhook(&known(number), "¿Tienen pan de masa madre?");
    for (name, make) in [
        (
            "message of somebody who is signed in",
            words as fn(u64, &str) -> Vec<u8>,
        ),
        ("who is it", calls::who),
        ("a token, asked of the service", calls::token),
        ("a token that is held", calls::token),
    ] {
        let measured = repeat(server, names.len(), &mut *about(make)?)?;
        add(name, &measured, Some(measured.cpu_us));
    }
    sign_ins(bench, server, &mut add)?;
    on_page(server, names, &mut add)?;
    Ok(found)
}

fn pages(server: &Server, contacts: u64) -> io::Result<Vec<Operation>> {
    server.quiet(Duration::from_secs(30))?;
    let mut visitor = Visitor::sign_in(server)?;
    let mut found = Vec::new();
    for page in visitor.pages(contacts) {
        let (measured, _, _) = visitor.load(server, &page, PAGES)?;
        found.push(Operation {
            name: page.name.to_owned(),
            p50_ms: measured.within(0.5),
            cpu_us: Some(measured.cpu_us),
            bound: page.bound,
        });
    }
    Ok(found)
}

type Add<'a> = dyn FnMut(&str, &Measured, Option<f64>) + 'a;

fn sign_ins(bench: &Bench, server: &Server, add: &mut Add<'_>) -> io::Result<()> {
    let mut actor = SignsIn::new(server, &bench.world, Waits::ForTheMail)?;
    let mut steps: [Vec<f64>; Step::NAMES.len()] = Default::default();
    let (mut whole, cpu) = (Vec::new(), server.cpu_us());
    for _ in 0..OPERATIONS {
        let begun = Instant::now();
        actor.act()?;
        whole.push(begun.elapsed().as_secs_f64() * 1e3);
        for (all, one) in steps.iter_mut().zip(actor.steps) {
            all.push(one);
        }
    }
    let cpu = (server.cpu_us() - cpu) / OPERATIONS as f64;
    for (name, times) in Step::NAMES.into_iter().zip(steps) {
        add(name, &sorted(times), None);
    }
    add("whole sign-in by code", &sorted(whole), Some(cpu));
    Ok(())
}

/// A link, the page, the form and the return code, of contacts that were there before.
fn on_page(server: &Server, names: &[(u64, String)], add: &mut Add<'_>) -> io::Result<()> {
    let mut client = Client::connect(server.address)?;
    let mut times: [Vec<f64>; 4] = Default::default();
    for (number, _) in names {
        let mut took = [0.0; 4];
        let mut begun = Instant::now();
        let mut lap = |step: usize| {
            took[step] = begun.elapsed().as_secs_f64() * 1e3;
            begun = Instant::now();
        };
        let path = page::link(&mut client, *number)?;
        lap(0);
        let form = page::form(client.succeed(&page::open(&path))?.body, &known(*number))?;
        lap(1);
        let answer = client
            .exchange(&page::fill_in(*number, &form))?
            .expect(303)?;
        let words = page::words_of(answer.header("location").unwrap_or_default())?;
        lap(2);
        client.succeed(&webhook(&known(*number), &words))?;
        lap(3);
        for (all, one) in times.iter_mut().zip(took) {
            all.push(one);
        }
    }
    let names = [
        "a link to the page",
        "the page",
        "the form, a service checks",
        "return code: bound",
    ];
    for (name, times) in names.into_iter().zip(times) {
        add(name, &sorted(times), None);
    }
    Ok(())
}

fn sorted(mut latencies: Vec<f64>) -> Measured {
    latencies.sort_by(f64::total_cmp);
    Measured {
        latencies,
        ..Measured::default()
    }
}

/// The operations at each size beside one another. Each is judged: one whose work has a bound from
/// the size on at which it reaches it, every other one from the smallest.
fn compare(bench: &mut Bench, tables: &[(u64, Vec<Operation>)]) {
    let (Some((_, least)), Some((_, most))) = (tables.first(), tables.last()) else {
        return;
    };
    println!("\nEach operation {OPERATIONS} times, one after the other (pages {PAGES} times):\n");
    let sizes: Vec<String> = tables
        .iter()
        .map(|(contacts, _)| contacts.to_string())
        .collect();
    let p50s = sizes.iter().map(|size| format!("p50 ms at {size}"));
    let cpus = sizes.iter().map(|size| format!("CPU µs at {size}"));
    let columns: Vec<String> = (["operation".to_owned()].into_iter())
        .chain(p50s)
        .chain(["growth from".to_owned(), "growth".to_owned()])
        .chain(cpus)
        .collect();
    head(&columns.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut worst, mut worst_bounded) = ((0.0, ""), (0.0, ""));
    for operation in least {
        let of = |all: &'_ [Operation]| all.iter().position(|one| one.name == operation.name);
        let from = operation.bound.map_or(0, |bound| bound.reached_with);
        let from = (tables.iter()).find(|(contacts, _)| *contacts >= from);
        let growth = from.and_then(|(contacts, all)| {
            let (first, last) = (&all[of(all)?], &most[of(most)?]);
            Some((contacts, last.p50_ms / first.p50_ms))
        });
        // All that there is at the smallest size there is at the greatest.
        let (contacts, growth) = growth.unwrap_or((&0, f64::INFINITY));
        let at = |take: fn(&Operation) -> String| {
            (tables.iter())
                .map(move |(_, all)| of(all).map_or(String::new(), |row| take(&all[row])))
        };
        let why = (operation.bound).map_or(String::new(), |bound| format!(": {}", bound.words));
        let cells: Vec<String> = at(|one| format!("{:.2}", one.p50_ms))
            .chain([format!("{contacts}{why}"), format!("{growth:.2}")])
            .chain(at(|one| {
                one.cpu_us.map_or(String::new(), |us| format!("{us:.0}"))
            }))
            .collect();
        line(&operation.name, &cells);
        let worst = match operation.bound {
            None => &mut worst,
            Some(_) => &mut worst_bounded,
        };
        if growth > worst.0 {
            *worst = (growth, &operation.name);
        }
    }
    let (growth, name) = worst;
    let what = format!("p50 from a thousand contacts to a million, the worst ({name})");
    bench.report.at_most(&what, growth, 1.5, "×");
    let (growth, name) = worst_bounded;
    let what = format!("p50 from where its work has a bound to a million, the worst ({name})");
    bench.report.at_most(&what, growth, 1.5, "×");
}

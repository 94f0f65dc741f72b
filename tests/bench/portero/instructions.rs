//! Instructions for one webhook, counted by callgrind: the figure that does not depend on who else
//! uses the machine.

use super::Bench;
use super::client::Client;
use super::people::{Are, fill, known, newcomer, webhook};
use super::report::{head, heading, line};
use super::server::{MESSAGES_PER_SECOND_MAX, Server, Setup};
use super::sign_ins::wait;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// Runs of these many webhooks are compared, so that start and end do not count.
const FEW: u64 = 200;
const MANY: u64 = 1_000;

/// Who writes.
#[derive(Clone, Copy, PartialEq)]
enum Writes {
    /// Somebody who is signed in; there is no bot, so nothing follows.
    Known,
    /// Somebody new, who then gets a reply.
    New,
}

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("Instructions");
    let what = "instructions for a webhook of somebody who is signed in";
    let is_there = (Command::new("valgrind").arg("--version"))
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !is_there {
        println!("There is no valgrind here (Debian: `apt-get install valgrind`).");
        bench
            .report
            .absent(what, "not measured: there is no valgrind here");
        return Ok(());
    }
    println!(
        "One connection, one webhook after the other, each with its own commit; the whole program \
         in user mode, counted by callgrind.\n"
    );
    head(&["what", "million instructions"]);
    let cell = |count: f64| [format!("{:.3}", count / 1e6)];
    for writes in [Writes::Known, Writes::New] {
        let (few, many) = (count(bench, FEW, writes)?, count(bench, MANY, writes)?);
        let each = (many - few) / (MANY - FEW) as f64;
        match writes {
            Writes::Known => {
                line("start, and end", &cell(few - each * FEW as f64));
                line(
                    "a webhook of somebody who is signed in, no bot",
                    &cell(each),
                );
                bench.report.fact(what, each / 1e6, "million");
            }
            Writes::New => {
                line("first webhook of somebody new, and the reply", &cell(each));
            }
        }
    }
    Ok(())
}

/// Instructions of a whole run with so many webhooks.
fn count(bench: &Bench, webhooks: u64, writes: Writes) -> io::Result<f64> {
    let mut setup = Setup::in_folder(&bench.root, "instructions")?;
    setup.messages_per_second = MESSAGES_PER_SECOND_MAX;
    if writes == Writes::Known {
        fill(&setup, 0..MANY, Are::SignedIn)?;
    }
    let file = setup.folder.join("callgrind.out");
    let out = format!("--callgrind-out-file={}", file.display());
    let wrapper = ["valgrind", "--tool=callgrind", &out];
    let server = Server::start_under(&wrapper, &setup, &bench.world)?;
    let mut client = Client::connect(server.address)?;
    for turn in 0..webhooks {
        let number = match writes {
            Writes::Known => known(turn),
            Writes::New => newcomer(),
        };
        let chat = bench.world.expect(&number);
        client
            .succeed(&webhook(&number, "Hola, quiero pedir pan"))
            .and_then(|_| match writes {
                Writes::Known => Ok(()),
                Writes::New => wait(&chat).map(drop),
            })
            .map_err(|error| server.explain(&error))?;
    }
    drop(client);
    server.stop()?;
    let text = fs::read_to_string(file)?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let totals = totals.and_then(|totals| totals.trim().parse().ok());
    totals.ok_or_else(|| io::Error::other("callgrind counted nothing"))
}

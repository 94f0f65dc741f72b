//! Instructions for one webhook, counted by callgrind: the figure that does not depend on who else
//! uses the machine.

use super::Bench;
use super::client::Client;
use super::report::{head, heading, line};
use super::server::{Server, Setup};
use super::webhooks;
use std::fs;
use std::io;
use std::process::{Command, Stdio};

/// Runs of these many webhooks are compared, so that start and end do not count.
const FEW: u64 = 200;
const MANY: u64 = 1_200;

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("Instructions");
    let what = "instructions for a webhook";
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
    let (few, many) = (count(bench, FEW)?, count(bench, MANY)?);
    let each = (many - few) / (MANY - FEW) as f64;
    println!("One connection, one webhook after the other; all of the program, user mode.\n");
    head(&["what", "instructions"]);
    line(
        "start, and end",
        &[format!("{:.0}", few - each * FEW as f64)],
    );
    line("a webhook", &[format!("{each:.0}")]);
    bench.report.fact(what, each, "");
    Ok(())
}

/// Instructions of a whole run with so many webhooks.
fn count(bench: &Bench, webhooks: u64) -> io::Result<f64> {
    let setup = Setup::in_folder(&bench.root, "instructions")?;
    let file = setup.folder.join("callgrind.out");
    let out = format!("--callgrind-out-file={}", file.display());
    let wrapper = ["valgrind", "--tool=callgrind", &out];
    let server = Server::start_under(&wrapper, &setup, &bench.world)?;
    let mut client = Client::connect(server.address)?;
    for _ in 0..webhooks {
        client
            .succeed(&webhooks::next())
            .map_err(|error| server.explain(&error))?;
    }
    drop(client);
    server.stop()?;
    let text = fs::read_to_string(file)?;
    let totals = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let totals = totals.and_then(|totals| totals.trim().parse().ok());
    totals.ok_or_else(|| io::Error::other("callgrind counted nothing"))
}

//! What bots and agents ask: who somebody is, and a token to act for them.

use super::Bench;
use super::client::{Load, asks, drive, get, post};
use super::machine::fdatasync_rate;
use super::people::{Are, contact_id, fill, identities, scattered};
use super::report::{heading, load, loads};
use super::server::{API_KEY, SERVICE, Server, Setup};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const PEOPLE: u64 = 1_000;

pub fn run(bench: &mut Bench) -> io::Result<()> {
    heading("Identity and token calls");
    let setup = Setup::in_folder(&bench.root, "calls")?;
    fill(&setup, 0..PEOPLE, Are::SignedIn)?;
    let identities = Arc::new(identities(&setup, &bench.world, 0..PEOPLE)?);
    let disk = fdatasync_rate(&setup.folder)?;
    let server = Server::start(&setup, &bench.world)?;
    println!(
        "{PEOPLE} people who are signed in, each named by the identity that came with a message; \
         all but the first token of each are held.\n"
    );
    loads();
    let turn = Arc::new(AtomicU64::new(0));
    let mut rates = [0.0; 2];
    for (what, call, rate) in [
        ("who is it", who as fn(u64, &str) -> Vec<u8>, 0),
        ("a token", token, 1),
    ] {
        for clients in [1, 32] {
            let measured = drive(&server, Load::of(clients), |_| {
                let (turn, identities) = (Arc::clone(&turn), Arc::clone(&identities));
                asks(&server, move || {
                    let number = scattered(turn.fetch_add(1, Ordering::Relaxed), PEOPLE);
                    call(number, &identities[number as usize])
                })
            })?;
            load(&format!("{what}, {clients} at once"), &measured, disk);
            rates[rate] = measured.per_second;
        }
    }
    let report = &mut bench.report;
    report.at_least("identity calls, 32 at once", rates[0], 10_000.0, "a second");
    report.at_least("token calls, 32 at once", rates[1], 10_000.0, "a second");
    Ok(())
}

/// `GET /v1/contacts/{userUuid}`
pub fn who(number: u64, identity: &str) -> Vec<u8> {
    let headers = format!("Authorization: Bearer {API_KEY}\r\nPortero-Identity: {identity}\r\n");
    get(&format!("/v1/contacts/{}", contact_id(number)), &headers)
}

/// `POST /v1/tokens`
pub fn token(_: u64, identity: &str) -> Vec<u8> {
    ask(
        "/v1/tokens",
        &format!(r#"{{"identity":"{identity}","service":"{SERVICE}"}}"#),
    )
}

/// `POST /v1/sign-in-links`; the link comes back and is not sent.
pub fn link(number: u64) -> Vec<u8> {
    let contact = contact_id(number);
    ask(
        "/v1/sign-in-links",
        &format!(r#"{{"contact":"{contact}","send":false}}"#),
    )
}

fn ask(path: &str, body: &str) -> Vec<u8> {
    let headers = format!("Authorization: Bearer {API_KEY}\r\nContent-Type: application/json\r\n");
    post(path, &headers, body)
}

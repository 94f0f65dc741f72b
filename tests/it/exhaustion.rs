//! The real program on a machine that runs out of something, or is made to: connections,
//! descriptors, threads, room for its log (R-70 to R-72, R-74, R-75).
//!
//! What it takes (memory, threads, descriptors) is a fact and asserted as the threat model has it. How
//! long somebody waits depends on who else uses the machine: here the bounds say that nobody waits
//! *for a slow one*, and the figures are those of `cargo bench --bench listener -- --slow`.

use crate::dice::Dice;
use crate::outside::{
    APP_SECRET, NOT_SIGNED_IN, PATIENCE, PUBLIC_HOST, Portero, World, ask, ask_on, eventually,
    message, post_webhook, ready_at, signature, text, webhook,
};
use rustix::process::{Pid, Resource, Signal, kill_process};
use serde_json::json;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// `portero serve` behind a command of the shell that sets a limit, as `ulimit -n 64`.
pub fn under(world: &World, limit: &str) -> Command {
    let program = world.command(&[]);
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg(format!(
            "{limit} && exec \"$0\" serve --config portero.toml"
        ))
        .arg(env!("CARGO_BIN_EXE_portero"))
        .current_dir(world.folder.path())
        .env_clear()
        .envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    shell
}

/// The value below which so many percent of these are.
fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// Somebody who begins a head and never ends it.
fn slow_client(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    // It may have been turned away by now.
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    stream
}

/// Waits until the program has hung up.
fn wait_for_end(mut stream: &TcpStream) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 1024];
    loop {
        match stream.read(&mut answer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("a slow connection is still open: {error}"),
        }
    }
}

// --- connections ------------------------------------------------------------------------------------

/// R-70, S-72: of ten thousand slow connections no more than the cap are open at a time, they take
/// little, they are cut at the deadline although they drip, and nobody waits for them.
#[test]
fn ten_thousand_slow_connections_take_little_and_no_honest_request_waits_for_them() {
    const SLOW: usize = 10_000;
    /// The default of `server.connections_max`.
    const OPEN_MAX: u64 = 512;
    const MEMORY_MIB_MAX: f64 = 64.0;
    /// A third of the deadline at which slow ones are cut: who had to wait for their places would wait longer.
    const WAIT_MAX: Duration = Duration::from_secs(3);
    /// One part of them sends a byte in this time.
    const DRIP: Duration = Duration::from_millis(100);
    const A_SECOND: usize = 2_000;
    let world = World::without_mail();
    let portero = world.start();
    let address = portero.address;
    assert_eq!(portero.get("/readyz").status, 200);
    let before = portero.figures();

    let over = AtomicBool::new(false);
    let (mut open, mut waits, most) = thread::scope(|scope| {
        let over = &over;
        // What connects and says at once what it wants; when it could not, it asks once more.
        let honest = scope.spawn(move || {
            let (mut waits, mut again) = (Vec::new(), 0);
            while !over.load(Ordering::SeqCst) {
                let body = webhook(&[message("573001234567", json!({"type": "reaction"}))]);
                let begun = Instant::now();
                let answers = [
                    ask(address, "GET", "/readyz", &[], b""),
                    post_webhook(address, &body),
                ];
                for answer in answers {
                    match answer {
                        Ok(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
                        Err(_) => {
                            again += 1;
                            assert_eq!(post_webhook(address, &body).unwrap().status, 200);
                        }
                    }
                }
                waits.push(begun.elapsed() / 2);
                thread::park_timeout(Duration::from_millis(5));
            }
            assert!(again * 50 <= waits.len(), "{again} of {}", waits.len());
            waits
        });
        let portero = &portero;
        let looking = scope.spawn(move || {
            let mut most = portero.figures();
            while !over.load(Ordering::SeqCst) {
                let now = portero.figures();
                most.threads = most.threads.max(now.threads);
                most.descriptors = most.descriptors.max(now.descriptors);
                most.memory_kib_peak = now.memory_kib_peak;
                most.memory_kib_of_file = now.memory_kib_of_file;
                thread::park_timeout(Duration::from_millis(20));
            }
            most
        });
        let mut open = VecDeque::new();
        let (begun, mut dripped) = (Instant::now(), Instant::now());
        for number in 0..SLOW {
            let due = begun + Duration::from_secs(1) * number as u32 / A_SECOND as u32;
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
            let slow = slow_client(address);
            slow.set_nonblocking(true).unwrap();
            open.push_back(slow);
            if dripped.elapsed() >= DRIP {
                dripped = Instant::now();
                // Fails on those that have been cut.
                open.iter_mut().for_each(|slow| drop(slow.write(b"x")));
            }
            // So many came later that this one had to go.
            if open.len() > OPEN_MAX as usize {
                wait_for_end(&open.pop_front().unwrap());
            }
        }
        over.store(true, Ordering::SeqCst);
        (open, honest.join().unwrap(), looking.join().unwrap())
    });
    let p99 = percentile(&mut waits, 99);
    // The file of a program for tests is many times as large as that of one that is shipped.
    let own_peak = mebibytes(most.memory_kib_peak - most.memory_kib_of_file);
    println!(
        "{} honest requests, half within {:?}, 99 % within {p99:?}; {:.1} MiB, {} threads, {} descriptors",
        2 * waits.len(),
        percentile(&mut waits.clone(), 50),
        own_peak,
        most.threads,
        most.descriptors,
    );
    assert!(waits.len() > 50, "{} honest requests", waits.len());
    assert!(p99 < WAIT_MAX, "{p99:?}");
    assert!(own_peak < MEMORY_MIB_MAX, "{most:?}");
    assert!(most.threads > OPEN_MAX / 2, "there was no crowd: {most:?}");
    // A thread that has given back its place has yet to end.
    assert!(
        most.threads <= before.threads + OPEN_MAX + OPEN_MAX / 2,
        "{most:?}"
    );
    // One more is accepted before another is evicted for it; the rest is for calls to others.
    assert!(
        most.descriptors <= before.descriptors + OPEN_MAX + 8,
        "{most:?}"
    );

    // Nobody comes any more, and the last ones go on dripping.
    while let Some(slow) = open.pop_front() {
        let begun = Instant::now();
        while (&slow).write(b"x").is_ok() {
            assert!(begun.elapsed() < PATIENCE, "it is listened to without end");
            thread::park_timeout(Duration::from_millis(50));
        }
    }
    eventually("the threads of the crowd are gone", || {
        (portero.figures().threads <= before.threads + 1).then_some(())
    });
    assert_eq!(portero.get("/readyz").status, 200);
}

// --- descriptors --------------------------------------------------------------------------------------

/// Sends it until it is acknowledged; how often that was in vain.
fn deliver(address: SocketAddr, body: &[u8]) -> usize {
    let mut in_vain = 0;
    eventually("a webhook is acknowledged", || {
        let status = post_webhook(address, body).map(|answer| answer.status);
        in_vain += usize::from(!matches!(status, Ok(200)));
        matches!(status, Ok(200)).then_some(())
    });
    in_vain
}

/// R-71, S-73: with 64 descriptors and 120 clients, what is received is stored and answered all the
/// while: the reserve is the store's, the mails' and the calls'.
#[test]
fn with_64_descriptors_and_120_slow_clients_every_message_is_stored_and_answered() {
    let world = World::without_mail();
    let portero = Portero::start(under(&world, "ulimit -n 64"));
    let mut slow = Vec::new();
    let people: Vec<String> = (0..40).map(|n| format!("5730071000{n:02}")).collect();
    for person in &people {
        slow.extend((0..3).map(|_| slow_client(portero.address)));
        let body = webhook(&[text(person, "quién soy")]);
        deliver(portero.address, &body);
        assert!(portero.figures().descriptors <= 64);
    }
    assert_eq!(slow.len(), 120);
    for person in &people {
        world.graph.assert_received(person, &[NOT_SIGNED_IN]);
    }
    drop(slow);
    assert_eq!(portero.get("/readyz").status, 200);
    assert_eq!(portero.stop().0, Some(0));
}

/// Lowers a limit of the program, or lifts it again, without touching what it may be raised to. This is
/// for the same user alone, as which the command `prlimit` of util-linux runs.
fn set_limit(world: &World, portero: &Portero, name: &str, limit: Option<u64>) {
    let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let pid = portero.pid().as_raw_nonzero();
    let mut command = Command::new("prlimit");
    command.args([format!("--pid={pid}"), format!("--{name}={limit}:")]);
    // The folder belongs to whoever the program runs as.
    command.uid(fs::metadata(world.folder.path()).unwrap().uid());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// R-71: when there is no descriptor left at all, those that wait give theirs, so that what is
/// received is still stored; and as soon as there are some again, everybody is let in.
#[test]
fn without_a_descriptor_left_it_goes_on_and_is_as_before_once_there_are_some() {
    const ROUNDS: usize = 5;
    const SLOW: usize = 120;
    const RECOVERS_WITHIN: Duration = Duration::from_secs(1);
    let world = World::without_mail();
    let portero = world.start();
    // It has had one connection at least, so that one can give its place to the next.
    let mut recovered = Vec::new();
    let mut people = Vec::new();
    let before = portero.figures();
    let usual = rustix::process::getrlimit(Resource::Nofile).maximum;
    for round in 0..ROUNDS {
        let kept = TcpStream::connect(portero.address).unwrap();
        assert_eq!(
            ask_on(&kept, "GET", "/healthz", &[], b"").unwrap().status,
            200
        );
        let open = portero.figures().descriptors;
        set_limit(&world, &portero, "nofile", Some(open));
        let slow: Vec<TcpStream> = (0..SLOW).map(|_| slow_client(portero.address)).collect();
        for number in 0..3 {
            let person = format!("57300720{round:02}{number:02}");
            deliver(portero.address, &webhook(&[text(&person, "quién soy")]));
            people.push(person);
        }
        set_limit(&world, &portero, "nofile", usual);
        let begun = Instant::now();
        drop(slow);
        assert_eq!(portero.get("/healthz").status, 200);
        recovered.push(begun.elapsed());
    }
    let said = portero.log();
    assert!(
        said.contains("connections cannot be accepted"),
        "it was never out of them"
    );
    // On a machine with much to do any one of them may take long; a fault would be in all.
    let usually = percentile(&mut recovered, 50);
    println!("let in again after {recovered:?}");
    assert!(usually <= RECOVERS_WITHIN, "{recovered:?}");
    // What could not leave meanwhile was kept.
    for person in &people {
        world.graph.assert_received(person, &[NOT_SIGNED_IN]);
    }
    // Commands are heard again, too.
    let status = world.command(&["outbox", "list"]).status().unwrap();
    assert!(status.success());
    eventually("the descriptors are given back", || {
        (portero.figures().descriptors <= before.descriptors + 4).then_some(())
    });
    assert_eq!(portero.stop().0, Some(0));
}

// --- threads --------------------------------------------------------------------------------------

/// Somebody else than root, for whom limits of threads count, and of whom there is nothing else on the
/// machine: another one in each process of tests.
fn nobody_else(world: &World, command: &mut Command) {
    if rustix::process::geteuid().is_root() {
        let uid = 20_000 + std::process::id() % 40_000;
        for entry in fs::read_dir(world.folder.path()).unwrap() {
            std::os::unix::fs::chown(entry.unwrap().path(), Some(uid), None).unwrap();
        }
        std::os::unix::fs::chown(world.folder.path(), Some(uid), None).unwrap();
        command.uid(uid);
    }
}

/// R-72: while no thread can be started, newcomers are told so, what was begun goes on, what is sent
/// leaves, commands are attended to; and then everything is as before.
#[test]
fn while_no_thread_starts_newcomers_get_503_and_everything_else_goes_on() {
    let world = World::without_mail();
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    nobody_else(&world, &mut command);
    let portero = Portero::start(command);
    let kept = TcpStream::connect(portero.address).unwrap();
    let on_kept = |body: &[u8]| {
        let signature = signature(APP_SECRET, body);
        let headers = [("X-Hub-Signature-256", signature.as_str())];
        ask_on(&kept, "POST", "/webhook", &headers, body)
            .unwrap()
            .status
    };
    assert_eq!(
        ask_on(&kept, "GET", "/healthz", &[], b"").unwrap().status,
        200
    );

    let usual = rustix::process::getrlimit(Resource::Nproc).current;
    set_limit(&world, &portero, "nproc", Some(1));
    let mut people = Vec::new();
    for number in 0..20 {
        let newcomer = TcpStream::connect(portero.address).unwrap();
        match ask_on(&newcomer, "GET", "/healthz", &[], b"") {
            Ok(answer) => assert_eq!(
                (answer.status, answer.header("Retry-After")),
                (503, Some("1"))
            ),
            // It was gone before it had asked.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
        }
        let person = format!("5730073000{number:02}");
        assert_eq!(on_kept(&webhook(&[text(&person, "quién soy")])), 200);
        people.push(person);
    }
    let status = world.command(&["outbox", "list"]).status().unwrap();
    assert!(status.success());
    assert!(
        portero.log().contains("no thread starts"),
        "threads could be started"
    );

    set_limit(&world, &portero, "nproc", usual);
    assert_eq!(portero.get("/readyz").status, 200);
    for person in &people {
        world.graph.assert_received(person, &[NOT_SIGNED_IN]);
    }
    // The end needs no thread of its own either.
    set_limit(&world, &portero, "nproc", Some(1));
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
    let (_, end) = log.rsplit_once(" stopping").unwrap();
    assert!(end.contains("stopped"), "{end}");
    for trouble in ["before everything was finished", "internal fault"] {
        assert!(!end.contains(trouble), "{end}");
    }
}

/// R-72: whichever of its threads cannot be started, a start ends with a sentence.
#[test]
fn whichever_thread_cannot_be_started_a_start_ends_with_a_sentence() {
    // Whoever is not root has other processes, which count; then the first one is all that can be tried.
    let all = rustix::process::geteuid().is_root();
    let world = World::without_mail();
    let mut refused = 0;
    for threads in 1.. {
        // The one shell calls it so, the other so.
        let limit = format!("{{ ulimit -u {threads} || ulimit -p {threads}; }} 2>/dev/null");
        let mut command = under(&world, &limit);
        nobody_else(&world, &mut command);
        let mut starting = Ended(command.spawn().unwrap());
        let mut log = BufReader::new(starting.0.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("portero is ready") && log.read_line(&mut said).unwrap() > 0 {}
        if said.contains("portero is ready") {
            break;
        }
        let status = eventually("it ends", || starting.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(69), "{threads}: {said}");
        assert!(said.contains("cannot start a thread"), "{threads}: {said}");
        assert!(
            !said.contains("panicked") && !said.contains("internal fault"),
            "{threads}: {said}"
        );
        refused += 1;
        if !all {
            break;
        }
    }
    assert!(refused > 20 || !all, "{refused}");
}

/// A child that does not outlive its test.
struct Ended(Child);

impl Ended {
    fn stop(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        eventually("it stops", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// --- hostile requests ---------------------------------------------------------------------------------

/// Everything that section 4.1 of the threat model found a server to stumble over, for `Host: a`.
const FRAMINGS: [&str; 27] = [
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
    "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000000\r\n\r\nabc",
    "POST /sign-in HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000000000\r\n\r\nabc",
    "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\nabc",
    "POST /webhook HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "POST /webhook HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 3\r\n\r\nabc",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: evil\r\n\r\n",
    "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\nb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
    "\u{16}\u{3}\u{1}\u{2}",
    "GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// The bytes of one hostile request. Most are small; some are as large as they may be, and larger.
fn hostile(number: usize, dice: &mut Dice) -> Vec<u8> {
    let for_us = |request: &str| request.replace("Host: a", &format!("Host: {PUBLIC_HOST}"));
    let post = |path: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nX-Hub-Signature-256: sha256={}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            "0".repeat(64),
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    match number % 1_000 {
        // A body of Meta's largest size that nobody has signed.
        0 => post("/webhook", &vec![b'['; 3 * 1024 * 1024]),
        // A head without an end.
        1..10 => format!(
            "GET / HTTP/1.1\r\nHost: {PUBLIC_HOST}\r\nX: {}",
            "x".repeat(256 * 1024)
        )
        .into(),
        10..20 => {
            let fields: String = (0..500).map(|n| format!("X-{n}: y\r\n")).collect();
            for_us(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).into()
        }
        // Deep, wide, and too large a number.
        20..30 => post("/chat/history/", "[".repeat(100_000).as_bytes()),
        30..40 => post(
            "/v1/tokens",
            format!("[{}1e999999]", "0,".repeat(50_000)).as_bytes(),
        ),
        40..400 => {
            let framing = for_us(dice.one(&FRAMINGS));
            [
                framing.as_bytes(),
                b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            ]
            .concat()
        }
        // Bytes changed, left out, doubled.
        _ => {
            let mut bytes = post(
                "/webhook",
                br#"{"object":"whatsapp_business_account","entry":[]}"#,
            );
            for _ in 0..1 + dice.below(4) {
                let place = dice.below(bytes.len());
                match dice.below(3) {
                    0 => bytes[place] = dice.below(256) as u8,
                    1 => drop(bytes.remove(place)),
                    _ => bytes.insert(place, bytes[place]),
                }
            }
            bytes
        }
    }
}

/// Sends it, reads all that comes, and leaves nothing of the connection behind; the status of each
/// answer.
fn be_hostile(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A refusal may come before all has been sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "neither answered nor closed"
        );
    }
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    let said = String::from_utf8_lossy(&said);
    let answers = said.match_indices("HTTP/1.1 ");
    answers
        .map(|(place, _)| said[place + 9..place + 12].parse().unwrap())
        .collect()
}

/// R-74: a hundred thousand hostile requests, large and small, among those of people: everybody is
/// acknowledged and answered, nothing hostile has an effect, and no memory is lost over it.
#[test]
fn a_hundred_thousand_hostile_requests_cost_honest_people_nothing_and_no_memory() {
    const HOSTILE: usize = 100_000;
    /// As many once before, so that memory is what it is in such times.
    const BEFORE: usize = 3_000;
    const SENDERS: usize = 6;
    const GROWTH_MIB_MAX: f64 = 8.0;
    /// What the bodies of all requests may take together.
    const BODIES_MIB_MAX: f64 = 16.0;
    /// Each sender of the chat keeps its connection to Meta, and may have had none yet before.
    const CONNECTIONS_KEPT_MAX: u64 = 4;
    let world = World::without_mail();
    world.edit("level = \"debug\"", "level = \"info\"");
    let portero = world.start();
    let address = portero.address;
    let attack = |from: usize, to: usize| {
        let next = AtomicUsize::new(from);
        let over = AtomicBool::new(false);
        let people = thread::scope(|scope| {
            let (next, over) = (&next, &over);
            let honest = scope.spawn(move || {
                let mut people = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let person = format!("5730{from:05}{:04}", people.len());
                    let answer = post_webhook(address, &webhook(&[text(&person, "quién soy")]));
                    assert_eq!(answer.unwrap().status, 200);
                    assert_eq!(
                        ask(address, "GET", "/readyz", &[], b"").unwrap().status,
                        200
                    );
                    people.push(person);
                    thread::park_timeout(Duration::from_millis(20));
                }
                people
            });
            let senders: Vec<_> = (0..SENDERS)
                .map(|sender| {
                    scope.spawn(move || {
                        let mut dice = Dice::new((from + sender) as u64);
                        loop {
                            let number = next.fetch_add(1, Ordering::SeqCst);
                            if number >= to {
                                return;
                            }
                            let bytes = hostile(number, &mut dice);
                            for status in be_hostile(address, &bytes) {
                                assert!(
                                    (400..600).contains(&status) && status != 500,
                                    "{status} for {:?}",
                                    String::from_utf8_lossy(&bytes)
                                );
                            }
                        }
                    })
                })
                .collect();
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
            over.store(true, Ordering::SeqCst);
            honest.join().unwrap()
        });
        for person in &people {
            world.graph.reply(person, 1);
        }
        people.len()
    };
    attack(0, BEFORE);
    let before = portero.figures();
    let begun = Instant::now();
    let people = attack(BEFORE, BEFORE + HOSTILE);
    let after = portero.figures();
    println!(
        "{HOSTILE} hostile requests and {people} people in {:?}: {before:?}, then {after:?}",
        begun.elapsed()
    );
    assert!(people > 50, "{people}");
    let sent = world.graph.sent();
    assert!(sent.iter().all(|sent| sent.body.starts_with(NOT_SIGNED_IN)));
    let growth = mebibytes(after.memory_kib) - mebibytes(before.memory_kib);
    assert!(growth < GROWTH_MIB_MAX, "{growth:.1} MiB more");
    // As many bodies as happened to be under way at a time are in this, and those have their bound.
    let peak = mebibytes(after.memory_kib_peak) - mebibytes(before.memory_kib_peak);
    assert!(peak < GROWTH_MIB_MAX + BODIES_MIB_MAX, "{peak:.1} MiB more");
    eventually("threads and descriptors are given back", || {
        let now = portero.figures();
        let are_back = now.threads <= before.threads
            && now.descriptors <= before.descriptors + CONNECTIONS_KEPT_MAX;
        are_back.then_some(())
    });
    assert_eq!(portero.stop().0, Some(0));
}

// --- the log --------------------------------------------------------------------------------------------

/// Many lines in the log: a reaction is never answered.
fn flood(wa_id: &str) -> Vec<u8> {
    let reaction = || json!({"type": "reaction", "reaction": {"emoji": "👍"}});
    let many: Vec<_> = (0..900).map(|_| message(wa_id, reaction())).collect();
    webhook(&many)
}

/// R-75: a disk that is full takes no line, and that stops nothing; the lines are counted.
#[test]
fn a_log_on_a_full_disk_stops_nothing() {
    let world = World::without_mail();
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [address, metrics] = listeners.map(|listener| listener.local_addr().unwrap());
    world.edit("127.0.0.1:0", &address.to_string());
    let table = format!("[metrics]\nlisten = \"{metrics}\"\n\n[store]\n");
    world.edit("[store]\n", &table);
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.stderr(File::options().write(true).open("/dev/full").unwrap());
    let mut portero = Ended(command.spawn().unwrap());
    eventually("it answers", || {
        ask(address, "GET", "/readyz", &[], b"").ok()
    });
    let person = "573001234567";
    for _ in 0..3 {
        assert_eq!(post_webhook(address, &flood(person)).unwrap().status, 200);
    }
    assert_eq!(
        post_webhook(address, &webhook(&[text(person, "quién soy")]))
            .unwrap()
            .status,
        200
    );
    world.graph.assert_received(person, &[NOT_SIGNED_IN]);
    let host = [("Host", "127.0.0.1")];
    let page = ask(metrics, "GET", "/metrics", &host, b"").unwrap().body;
    let count =
        (page.lines()).find_map(|line| line.strip_prefix("portero_log_lines_dropped_total "));
    assert!(count.unwrap().parse::<u64>().unwrap() > 100, "{page}");
    assert_eq!(portero.stop(), Some(0));
}

/// R-75: who stopped reading and reads again is told how many lines are missing.
#[test]
fn lines_that_nobody_read_are_counted_in_the_log_of_who_reads_again() {
    let world = World::without_mail();
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.stderr(Stdio::piped());
    let mut portero = Ended(command.spawn().unwrap());
    let mut log = BufReader::new(portero.0.stderr.take().unwrap());
    let address = ready_at(&mut log);
    const FLOODS: usize = 5;
    for _ in 0..FLOODS {
        assert_eq!(
            post_webhook(address, &flood("573001234567"))
                .unwrap()
                .status,
            200
        );
    }
    let reading = thread::spawn(move || {
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        rest
    });
    assert_eq!(portero.stop(), Some(0));
    let rest = reading.join().unwrap();
    let counted: usize = rest
        .lines()
        .filter_map(|line| {
            line.strip_prefix(" WARN ")?
                .split_once(" log lines were dropped")
        })
        .map(|(count, _)| count.parse::<usize>().unwrap())
        .sum();
    assert!(counted > 0, "nothing says that lines are missing");
    assert!(rest.contains("stopped"), "{rest}");
}

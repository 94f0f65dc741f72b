//! What an operator sees of the running program: lines in the log, numbers, alerts.

use crate::clocks::library;
use crate::outside::{ANA, Answer, Portero, World, ask, eventually, text};
use crate::user::{CONFIG, folder_with, portero};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KEY: &str = "a-key-for-prometheus-0123456789abcdef";
const ANAS: &str = "573001234567";

fn world(metrics: &str) -> World {
    let world = World::with_mail(json!({}));
    let table = format!("[metrics]\nlisten = \"127.0.0.1:0\"\n{metrics}\n[store]\n");
    world.edit("[store]\n", &table);
    world
}

fn ask_for(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let host = address.to_string();
    let mut fields = vec![("Host", host.as_str())];
    fields.extend_from_slice(headers);
    ask(address, method, path, &fields, b"").unwrap()
}

fn scrape(portero: &Portero) -> Answer {
    ask_for(portero.metrics_address(), "GET", "/metrics", &[])
}

fn sign_in(world: &mut World, portero: &Portero) {
    portero.receive(&[text(ANAS, "hola")]);
    world.sign_in(portero, ANAS, ANA.email);
}

/// Samples by their name and labels, as strictly as the format is: each metric once, described
/// before its samples, no sample twice.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut described, mut current) = (BTreeSet::new(), (String::new(), String::new()));
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(words.ends_with('.') || words.ends_with("1 or 0."), "{line}");
            assert!(described.insert(name.to_owned()), "twice: {line}");
            current = (name.to_owned(), String::new());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current.0);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            current.1 = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            let is_allowed = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(is_allowed), "{line}");
            let base = match current.1.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|suffix| name.strip_suffix(suffix))
                    .unwrap(),
                "counter" | "gauge" => name,
                other => panic!("{other}: {line}"),
            };
            assert_eq!(base, current.0, "{line}");
            let value: f64 = value.parse().unwrap();
            assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

#[test]
fn the_numbers_tell_what_happened_and_nothing_about_anybody() {
    let mut world = world("");
    let portero = world.start();
    let before = samples(&scrape(&portero).body);
    assert_eq!(
        before["portero_sign_in_events_total{event=\"contact.bound\"}"],
        0.0
    );
    sign_in(&mut world, &portero);
    for path in [
        "/healthz",
        "/nowhere/573001234567",
        "/sign-in/?mappingHash=canary",
    ] {
        portero.get(path);
    }
    let mails = "portero_deliveries_total{lane=\"mail\",outcome=\"sent\"}";
    // The mail about the sign-in leaves last.
    let (page, numbers) = eventually("all is delivered", || {
        let page = scrape(&portero);
        let numbers = samples(&page.body);
        (numbers[mails] == 2.0).then_some((page, numbers))
    });
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    for (series, value) in [
        ("portero_build_info{version=\"0.1.0\"}", 1.0),
        (
            "portero_requests_total{route=\"/webhook\",status=\"200\"}",
            3.0,
        ),
        (
            "portero_requests_total{route=\"/healthz\",status=\"200\"}",
            1.0,
        ),
        ("portero_requests_total{route=\"none\",status=\"404\"}", 1.0),
        (
            "portero_request_duration_seconds_count{route=\"/webhook\"}",
            3.0,
        ),
        (
            "portero_request_duration_seconds_bucket{route=\"/webhook\",le=\"+Inf\"}",
            3.0,
        ),
        ("portero_sign_in_events_total{event=\"code.asked\"}", 1.0),
        ("portero_sign_in_events_total{event=\"contact.bound\"}", 1.0),
        ("portero_sign_in_events_total{event=\"code.wrong\"}", 0.0),
        (
            "portero_deliveries_total{lane=\"whatsapp\",outcome=\"sent\"}",
            3.0,
        ),
        (
            "portero_deliveries_total{lane=\"services\",outcome=\"answered\"}",
            1.0,
        ),
        (
            "portero_delivery_duration_seconds_count{lane=\"mail\"}",
            2.0,
        ),
        ("portero_dead_letters_total{lane=\"bot\"}", 0.0),
        ("portero_outbox_entries{lane=\"mail\"}", 0.0),
        ("portero_outbox_oldest_age_seconds{lane=\"mail\"}", 0.0),
        ("portero_lane_resting{lane=\"whatsapp\"}", 0.0),
        ("portero_lane_failing{lane=\"whatsapp\"}", 0.0),
        ("portero_service_resting{service=\"kutamma\"}", 0.0),
        ("portero_store_updates_total{result=\"failed\"}", 0.0),
        ("portero_store_ready", 1.0),
    ] {
        assert_eq!(numbers.get(series), Some(&value), "{series}\n{}", page.body);
    }
    for series in [
        "portero_store_updates_total{result=\"done\"}",
        "portero_store_update_duration_seconds_sum",
        "portero_store_size_bytes",
        "portero_store_disk_free_bytes",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(numbers[series] > 0.0, "{series}");
    }
    for private in [ANAS, "1234567", "example", "canary", "Ana", "hola"] {
        assert!(!page.body.contains(private), "{private} in {}", page.body);
    }
    // Nothing that came from outside made a series: what is new is known by its route or outcome.
    let grown = numbers
        .keys()
        .filter(|series| !before.contains_key(*series));
    let routes: BTreeSet<&str> = grown
        .filter(|series| !series.starts_with("portero_outcomes_total"))
        .map(|series| {
            series
                .split("route=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(routes, ["/healthz", "/sign-in", "/webhook", "none"].into());
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn the_numbers_are_for_who_has_the_key_and_not_on_the_door_of_the_world() {
    let without = world("");
    let portero = without.start();
    let address = portero.metrics_address();
    assert_eq!(scrape(&portero).status, 200);
    // A page in somebody's browser that was led here under a name of its own.
    let foreign = ask(address, "GET", "/metrics", &[("Host", "evil.example")], b"");
    assert_ne!(foreign.unwrap().status, 200);
    assert_eq!(portero.get("/metrics").status, 404);
    assert_eq!(ask_for(address, "GET", "/webhook", &[]).status, 404);
    assert_eq!(ask_for(address, "POST", "/metrics", &[]).status, 405);
    drop(portero);

    let with = world("key = \"file:metrics_key\"");
    with.secret_file("metrics_key", KEY);
    let portero = with.start();
    let address = portero.metrics_address();
    let almost = format!("Bearer {}", &KEY[1..]);
    let right = format!("Bearer {KEY}");
    for (given, status) in [(None, 401), (Some(&almost), 401), (Some(&right), 200)] {
        let headers: Vec<(&str, &str)> = given
            .iter()
            .map(|given| ("Authorization", given.as_str()))
            .collect();
        let answer = ask_for(address, "GET", "/metrics", &headers);
        assert_eq!(answer.status, status, "{given:?}");
        assert_eq!(answer.body.contains("portero_"), status == 200);
    }
    let (_, log) = portero.stop();
    assert!(!log.contains(KEY) && !log.contains(&KEY[1..]), "{log}");
}

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/deploy/portero.rules.yml")
}

/// An alert on a metric that is not there never comes.
#[test]
fn every_number_that_the_alerts_look_at_exists_from_the_start() {
    let rules = fs::read_to_string(rules()).unwrap();
    let world = world("");
    crate::tls::serve_files(&world, "");
    let portero = world.start();
    portero.get("/healthz");
    let numbers = samples(&scrape(&portero).body);
    let mut seen = 0;
    for rule in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
    {
        let starts = ["portero_", "process_"]
            .iter()
            .flat_map(|start| rule.match_indices(start));
        let mut of_rule = 0;
        for (at, _) in starts {
            let rest = &rule[at..];
            let end = rest
                .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            // One label, except for that of the scrape.
            let label = (rest.strip_prefix('{'))
                .and_then(|rest| rest.split_once('}'))
                .map(|(label, _)| label)
                .filter(|label| !label.starts_with("job="));
            for value in label.map_or(vec![""], |label| {
                label
                    .split(['"', '|'])
                    .skip(1)
                    .filter(|value| !value.is_empty())
                    .collect()
            }) {
                let is_there = numbers.keys().any(|series| {
                    series.split('{').next() == Some(name)
                        && series.contains(&match value {
                            "" => String::new(),
                            value => format!("=\"{value}\""),
                        })
                });
                assert!(is_there, "{name} {value} of {rule}");
                seen += 1;
            }
            of_rule += 1;
        }
        assert!(of_rule > 0, "{rule}");
    }
    assert!(seen > 15, "{seen}");
}

/// What is told of those who knock at Meta's door.
const KINDS: [&str; 2] = ["wrong signature", "wrong verify token"];

/// Whoever cannot sign fills no log: a line a minute tells how many tried, and their requests have none
/// at `info`.
#[test]
fn a_flood_of_forged_webhooks_leaves_a_line_a_minute_in_the_log_which_tells_all_of_them() {
    const FLOOD: usize = 40;
    let world = world("");
    let mut command = world.command(&["serve", "--config", "portero.toml"]);
    command.env("LD_PRELOAD", library());
    command.env("WRONG_CLOCK", world.path("ahead"));
    let portero = Portero::start(command);
    let knock = || {
        let headers = [("X-Hub-Signature-256", "sha256=00")];
        let answer = ask(portero.address, "POST", "/webhook", &headers, b"{}").unwrap();
        assert_eq!(answer.status, 401);
        let path = "/webhook?hub.mode=subscribe&hub.challenge=1&hub.verify_token=no";
        assert_eq!(ask_for(portero.address, "GET", path, &[]).status, 403);
        assert_eq!(ask_for(portero.address, "PUT", "/webhook", &[]).status, 405);
    };
    let told_of = |log: &str, words: &str| -> Vec<usize> {
        let lines = log.lines().filter(|line| line.contains(words));
        let counts = lines.map(|line| {
            let (_, count) = line.split_once("count=").unwrap();
            count.split(' ').next().unwrap().parse().unwrap()
        });
        counts.collect()
    };
    let is_all_told = |log: &str, all: usize| {
        let told = KINDS.map(|words| told_of(log, words).iter().sum::<usize>());
        told == [all; KINDS.len()]
    };
    (0..FLOOD).for_each(|_| knock());
    // It has stopped, and a minute later the rest is told.
    fs::write(world.path("ahead"), "61").unwrap();
    eventually("all are told", || {
        is_all_told(&portero.log(), FLOOD).then_some(())
    });
    let numbers = samples(&scrape(&portero).body);
    let refused = "portero_requests_total{route=\"/webhook\",status=\"401\"}";
    assert_eq!(numbers[refused], FLOOD as f64);
    portero.receive(&[text(ANAS, "hola")]);
    (0..3).for_each(|_| knock());
    let (code, log) = portero.stop();
    assert_eq!(code, Some(0));
    assert!(is_all_told(&log, FLOOD + 3), "{log}");
    for words in KINDS {
        let count = told_of(&log, words).len();
        // A slow run may last for some minutes.
        assert!((3..=6).contains(&count), "{words}: {count}\n{log}");
    }
    let told = |line: &str| line.contains(" INFO ") && line.contains("a request");
    assert!(!log.lines().any(told), "{log}");
}

/// Debian's `prometheus` has it. Run with `cargo test -- --ignored promtool`.
#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_wrong_with_the_alerts_and_the_page_and_each_wakes_in_time() {
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(rules())
        .output();
    let checked = checked.expect("promtool is there");
    assert!(checked.status.success(), "{checked:?}");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/portero.rules.test.yml");
    let checked = Command::new("promtool")
        .args(["test", "rules"])
        .arg(cases)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let world = world("");
    let portero = world.start();
    let page = world.path("page.txt");
    fs::write(&page, scrape(&portero).body).unwrap();
    let checked = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(fs::File::open(page).unwrap())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_request_and_a_delivery_have_a_line_each_and_the_answer_has_the_name_of_its_line() {
    let mut world = world("");
    world.edit("format = \"human\"", "format = \"json\"");
    let portero = world.start();
    sign_in(&mut world, &portero);
    let path = "/sign-in/?mappingHash=canary-hash";
    let answers = [
        portero.get(path),
        portero.get("/nowhere/canary"),
        portero.get("/healthz"),
    ];
    let ids: Vec<&str> = answers
        .iter()
        .map(|answer| answer.header("X-Request-Id").unwrap())
        .collect();
    assert!(ids.iter().all(|id| id.len() == 16), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    let (_, log) = portero.stop();
    assert!(!log.contains("canary"), "{log}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |what: &str| {
        lines
            .iter()
            .filter(|line| line["message"] == what)
            .collect::<Vec<_>>()
    };
    let requests = of("a request");
    let named = |id: &str| {
        let found: Vec<_> = requests
            .iter()
            .filter(|line| line["span"]["id"] == id)
            .collect();
        assert_eq!(found.len(), 1, "{id} in {log}");
        let line = found[0];
        for number in ["duration_ms", "bytes"] {
            assert!(line[number].is_u64(), "{line}");
        }
        ["level", "method", "route", "status"].map(|field| line[field].to_string().replace('"', ""))
    };
    assert_eq!(named(ids[0])[..3], ["INFO", "GET", "/sign-in"]);
    assert_eq!(named(ids[1]), ["DEBUG", "GET", "none", "404"]);
    assert_eq!(named(ids[2]), ["DEBUG", "GET", "/healthz", "200"]);
    let webhooks = requests.iter().filter(|line| line["route"] == "/webhook");
    assert!(webhooks.clone().all(|line| line["level"] == "DEBUG"));
    assert_eq!(webhooks.count(), 3);

    let deliveries = of("a delivery");
    let mails: Vec<_> = deliveries
        .iter()
        .filter(|line| line["lane"] == "mail")
        .collect();
    assert!(!mails.is_empty(), "{log}");
    let mail = mails[0];
    assert_eq!(mail["what"], "code_mail");
    assert_eq!(
        (&mail["outcome"], &mail["attempts"]),
        (&json!("sent"), &json!(1))
    );
    assert_eq!(mail["level"], "INFO");
    assert!(
        mail["duration_ms"].is_u64() && mail["id"].is_string(),
        "{mail}"
    );
    assert_eq!(mail["contact"].as_str().unwrap().len(), 36);
    let said = deliveries.iter().filter(|line| line["lane"] == "whatsapp");
    assert_eq!(said.count(), 3, "{log}");
}

/// Updates of many share a commit, and one thread runs all of them.
#[test]
fn a_line_has_the_name_of_its_own_request_also_when_many_come_at_once() {
    const PEOPLE: usize = 120;
    const AT_ONCE: usize = 12;
    let world = world("");
    world.edit("format = \"human\"", "format = \"json\"");
    let portero = world.start();
    std::thread::scope(|scope| {
        for place in 0..AT_ONCE {
            let portero = &portero;
            scope.spawn(move || {
                for person in (place..PEOPLE).step_by(AT_ONCE) {
                    portero.receive(&[text(&format!("57300765{person:04}"), "hola")]);
                }
            });
        }
    });
    let (_, log) = portero.stop();
    let ids: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["message"] == "message")
        .map(|line| line["span"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), PEOPLE);
    assert!(!ids.contains(&"null".to_owned()), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), PEOPLE, "{ids:?}");
}

/// As under systemd, which gives each line a time and wants its priority in front (sd-daemon(3)).
#[test]
fn the_journal_gets_priorities_and_no_second_time_and_a_file_is_no_journal() {
    use std::os::unix::fs::MetadataExt;
    for (format, is_journal) in [("human", true), ("json", true), ("human", false)] {
        let folder = folder_with(&format!("{CONFIG}format = \"{format}\"\n"));
        let log = folder.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let meta = file.metadata().unwrap();
        let inode = meta.ino() + u64::from(!is_journal);
        let mut child = portero(folder.path())
            .arg("serve")
            .env("JOURNAL_STREAM", format!("{}:{inode}", meta.dev()))
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .unwrap();
        let text = eventually("a line that says where it listens", || {
            let text = fs::read_to_string(&log).unwrap();
            text.contains("127.0.0.1:").then_some(text)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        for line in text.lines() {
            let found = [
                ("<6>", "INFO"),
                ("<4>", "WARN"),
                ("<7>", "DEBUG"),
                ("<7>", "TRACE"),
            ]
            .into_iter()
            .find(|(priority, level)| line.starts_with(priority) && line.contains(level));
            let rest = found.map(|(priority, _)| &line[priority.len()..]);
            assert_eq!(rest.is_some(), is_journal, "{line}");
            let Some(rest) = rest else { continue };
            match format {
                "json" => assert!(serde_json::from_str::<Value>(rest).is_ok(), "{line}"),
                _ => {
                    let level = rest.trim_start().split(' ').next().unwrap();
                    assert_eq!(Some(level), found.map(|(_, level)| level), "{line}");
                }
            }
        }
    }
}

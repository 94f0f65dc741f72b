//! The real program at work for a while, as on a day with many people: they write, sign in
//! by mail, ask the bot, and leave, and Meta, bot and Prometheus do their part. What it takes of the
//! machine is looked at all the while.
//!
//! `PORTERO_MINUTES=10 cargo test --test it soak::` for a long run, 1440 for a whole day.

use crate::exhaustion::under;
use crate::flags::flag;
use crate::house::{House, Person};
use crate::outside::{
    Figures, Graph, ON_ITS_WAY, Portero, Reply, SIGNED_IN, Server, WELCOME, World, ask, envelope,
    eventually, post_webhook, status_of, text, webhook,
};
use portero::app::Janitor;
use portero::domain::message::WebhookItem;
use portero::domain::policy::Policy;
use portero::domain::time::DAY_MS;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Who writes at the same time, and how many messages one sends before somebody new takes their place.
const CONVERSATIONS: usize = 50;
const MESSAGES_EACH: usize = 19;

/// Which of them are not the bot's: hello, which waits for the sign-in, address and code before it, and
/// the last two after it.
const WHO_AM_I: usize = 17;
const LOG_OUT: usize = 18;

/// Threads that send what people write: enough for the rate where an answer takes a quarter of a second.
const SENDERS: usize = 16;

/// Users that the service has: nobody signs in so often in a day that limits come in.
const USERS: usize = 20_000;

const API_KEY: &str = "api-key-of-the-bot-0123456789abcdef";

/// Somebody, and how many messages they have sent.
struct Conversation {
    person: usize,
    sent: usize,
    /// The first message, which waits for the sign-in.
    hello: Option<String>,
}

impl Conversation {
    fn of(person: usize) -> Conversation {
        Conversation {
            person,
            sent: 0,
            hello: None,
        }
    }

    fn wa_id(&self) -> String {
        format!("5731{:08}", self.person)
    }

    fn email(&self) -> String {
        email(self.person % USERS)
    }
}

fn email(user: usize) -> String {
    format!("user{user}@example.com")
}

/// What the bot was given.
#[derive(Default)]
struct Given {
    messages: HashSet<String>,
    /// Messages that came again.
    doubled: Vec<String>,
    /// The last identity.
    identity: Option<String>,
}

/// Everybody around the program, and what must become of what they do.
struct Load {
    address: SocketAddr,
    metrics: SocketAddr,
    conversations: Mutex<VecDeque<Conversation>>,
    people: AtomicUsize,
    /// The last code that was mailed to each address.
    codes: Mutex<HashMap<String, String>>,
    /// Replies that acknowledged messages must have.
    replies: AtomicUsize,
    /// Messages that must reach the bot.
    for_bot: Mutex<Vec<String>>,
    /// Whoever wrote all of their messages.
    gone: Mutex<Vec<String>>,
    given: Arc<Mutex<Given>>,
    tokens: AtomicUsize,
    over: AtomicBool,
}

impl Load {
    /// Whoever is at work: people, Meta, the bot, and those who look; `act` is called while they
    /// are, and says when people write.
    fn around<T>(
        world: &mut World,
        start: impl FnOnce(&World) -> Portero,
        act: impl FnOnce(&Load, &Portero, &Graph) -> T,
    ) -> T {
        let given = Arc::new(Mutex::new(Given::default()));
        let giving = Arc::clone(&given);
        let bot = Server::start(move |request| {
            let body = request.json().unwrap();
            let value = &body["entry"][0]["changes"][0]["value"];
            let mut given = giving.lock().unwrap();
            for message in value["messages"].as_array().into_iter().flatten() {
                let id = message["id"].as_str().unwrap().to_owned();
                if !given.messages.insert(id.clone()) {
                    given.doubled.push(id);
                }
            }
            if let Some(identity) = request.header("portero-identity") {
                given.identity = Some(identity.to_owned());
            }
            Reply::Json(200, json!({}))
        });
        world.secret_file("bot_secret", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");
        world.secret_file("api_key", API_KEY);
        let tables = format!(
            "[bot]\nurl = \"{}/webhook\"\nsecret = \"file:bot_secret\"\n\
             [metrics]\nlisten = \"127.0.0.1:0\"\n\
             [[api_keys]]\nname = \"agent\"\nkey = \"file:api_key\"\nscopes = [\"tokens\"]\n[store]\n",
            bot.url()
        );
        world.edit("[store]\n", &tables);
        world.edit("level = \"debug\"", "level = \"info\"");
        let mut mail = world.mail.take().unwrap();
        let portero = start(world);
        let load = Load {
            address: portero.address,
            metrics: portero.metrics_address(),
            conversations: Mutex::new((0..CONVERSATIONS).map(Conversation::of).collect()),
            people: AtomicUsize::new(CONVERSATIONS),
            codes: Mutex::default(),
            replies: AtomicUsize::new(0),
            for_bot: Mutex::default(),
            gone: Mutex::default(),
            given,
            tokens: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        };
        let graph = &world.graph;
        thread::scope(|scope| {
            let _over = Raise(&load.over);
            scope.spawn(|| {
                while !load.is_over() {
                    if let Some(letter) = mail.any().filter(|letter| !letter.is_notice()) {
                        load.codes
                            .lock()
                            .unwrap()
                            .insert(letter.to.clone(), letter.code());
                    }
                }
            });
            scope.spawn(|| load.report_statuses(graph));
            scope.spawn(|| load.use_and_look(&portero));
            let acted = act(&load, &portero, graph);
            load.over.store(true, Ordering::SeqCst);
            acted
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// People write so many messages, and that at this rate, or a little later on a machine that has
    /// much to do; then all has come to its end.
    fn write(&self, messages: usize, a_second: u32, graph: &Graph) {
        let (next, begun) = (AtomicUsize::new(0), Instant::now());
        thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::SeqCst);
                        if number >= messages || self.is_over() {
                            return;
                        }
                        let due = begun + Duration::from_secs(1) * number as u32 / a_second;
                        thread::park_timeout(due.saturating_duration_since(Instant::now()));
                        let conversation = self.ready();
                        let after = self.write_one(conversation, number);
                        self.conversations.lock().unwrap().push_back(after);
                    }
                });
            }
        });
        eventually("everybody has their replies", || {
            (graph.count() >= self.replies.load(Ordering::SeqCst)).then_some(())
        });
        let for_bot = self.for_bot.lock().unwrap();
        eventually("the bot has every message", || {
            (self.given.lock().unwrap().messages.len() >= for_bot.len()).then_some(())
        });
    }

    /// Somebody who can go on: the mail with their code has come if they wait for it.
    fn ready(&self) -> Conversation {
        eventually("somebody can write", || {
            let mut waiting = self.conversations.lock().unwrap();
            let codes = self.codes.lock().unwrap();
            let can = |one: &Conversation| one.sent != 2 || codes.contains_key(&one.email());
            let place = waiting.iter().position(can)?;
            waiting.remove(place)
        })
    }

    fn write_one(&self, mut one: Conversation, number: usize) -> Conversation {
        let (wa_id, email) = (one.wa_id(), one.email());
        let words = match one.sent {
            0 => "hola".to_owned(),
            1 => email.clone(),
            2 => self.codes.lock().unwrap().remove(&email).unwrap(),
            WHO_AM_I => "quién soy".to_owned(),
            LOG_OUT => "cerrar sesión".to_owned(),
            nth => format!("¿Qué pedidos tengo? ({nth})"),
        };
        let message = text(&wa_id, &words);
        let id = message.value["id"].as_str().unwrap().to_owned();
        let body = webhook(&[message]);
        // Meta sends some twice.
        for _ in 0..1 + usize::from(number.is_multiple_of(10)) {
            assert_eq!(post_webhook(self.address, &body).unwrap().status, 200);
        }
        if matches!(one.sent, 0..=2 | WHO_AM_I | LOG_OUT) {
            self.replies.fetch_add(1, Ordering::SeqCst);
        }
        match one.sent {
            // It reaches the bot with the sign-in.
            0 => one.hello = Some(id),
            2 => self.for_bot.lock().unwrap().extend(one.hello.take()),
            3..WHO_AM_I => self.for_bot.lock().unwrap().push(id),
            _ => {}
        }
        one.sent += 1;
        if one.sent == MESSAGES_EACH {
            self.gone.lock().unwrap().push(wa_id);
            let person = self.people.fetch_add(1, Ordering::SeqCst);
            return Conversation::of(person);
        }
        one
    }

    /// Meta tells what became of each message.
    fn report_statuses(&self, graph: &Graph) {
        const AT_ONCE_MAX: usize = 50;
        let mut reported = 0;
        while !self.is_over() {
            let sent = graph.sent_since(reported);
            for some in sent.chunks(AT_ONCE_MAX) {
                let statuses: Vec<Value> = some
                    .iter()
                    .map(|sent| status_of(sent, "delivered"))
                    .collect();
                let body = envelope(json!({ "statuses": statuses }));
                assert_eq!(post_webhook(self.address, &body).unwrap().status, 200);
            }
            reported += sent.len();
            thread::park_timeout(Duration::from_millis(200));
        }
    }

    /// The bot asks for tokens, Prometheus and a supervisor look, and somebody tries their luck.
    fn use_and_look(&self, portero: &Portero) {
        while !self.is_over() {
            let identity = self.given.lock().unwrap().identity.take();
            if let Some(identity) = identity {
                let wish = json!({"identity": identity, "service": "kutamma"});
                let answer = portero.post_json(API_KEY, "/v1/tokens", &wish);
                // Who logged out meanwhile has to sign in again.
                let given = answer.status == 200 && answer.json()["token"].is_string();
                self.tokens.fetch_add(usize::from(given), Ordering::SeqCst);
            }
            for path in ["/readyz", "/sign-in/?mappingHash=none", "/none"] {
                portero.get(path);
            }
            let host = self.metrics.to_string();
            let metrics = ask(self.metrics, "GET", "/metrics", &[("Host", &host)], b"");
            assert_eq!(metrics.unwrap().status, 200);
            let unsigned = ask(self.address, "POST", "/webhook", &[], b"{}").unwrap();
            assert_eq!(unsigned.status, 401);
            thread::park_timeout(Duration::from_millis(500));
        }
    }

    /// Everybody was answered and handed on, once and in order.
    fn check(&self, graph: &Graph) {
        assert_eq!(graph.count(), self.replies.load(Ordering::SeqCst));
        let given = self.given.lock().unwrap();
        assert_eq!(given.doubled, Vec::<String>::new());
        for id in &*self.for_bot.lock().unwrap() {
            assert!(given.messages.contains(id), "{id}");
        }
        let mut received: HashMap<String, Vec<String>> = HashMap::new();
        for sent in graph.sent() {
            received.entry(sent.to).or_default().push(sent.body);
        }
        let gone = self.gone.lock().unwrap();
        assert!(!gone.is_empty(), "nobody came to the end");
        for wa_id in &*gone {
            let bodies = &received[&format!("+{wa_id}")];
            let begin = [WELCOME, ON_ITS_WAY, SIGNED_IN, "Eres ", "Cerré "];
            let good = bodies.len() == begin.len()
                && bodies
                    .iter()
                    .zip(begin)
                    .all(|(body, begin)| body.starts_with(begin));
            assert!(good, "{wa_id}: {bodies:#?}");
        }
        assert!(self.tokens.load(Ordering::SeqCst) > 0, "no token was given");
    }
}

/// Raises this flag at its end, however that comes.
struct Raise<'f>(&'f AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// with 64 MiB for its data, under the load of R-01 (50 conversations, 100 webhooks a second, mails
/// and messages in flight), it does all of its work and needs less than 48 MiB.
#[test]
fn with_64_mebibytes_it_does_all_of_its_work_and_needs_less_than_48() {
    const MEMORY_MIB_MAX: u64 = 48;
    const A_SECOND: u32 = 100;
    const MESSAGES: usize = 1_500;
    let mut world = World::with_users((0..USERS).map(email));
    // An allocation beyond the limit would end the process. The stacks of threads count whole, touched
    // or not, so they are as small here as those of connections with TLS.
    let start = |world: &World| {
        let mut command = under(world, "ulimit -d 65536");
        command.env("RUST_MIN_STACK", "524288");
        Portero::start(command)
    };
    Load::around(&mut world, start, |load, portero, graph| {
        let begun = Instant::now();
        load.write(MESSAGES, A_SECOND, graph);
        let figures = portero.figures();
        println!("{MESSAGES} messages in {:?}: {figures:?}", begun.elapsed());
        load.check(graph);
        assert!(
            figures.memory_kib_peak < MEMORY_MIB_MAX * 1024,
            "{figures:?}"
        );
    });
}

/// The program while nobody writes: the look of several at which there is least, because those who look
/// around have connections, each with its thread.
fn at_rest(portero: &Portero) -> Figures {
    let looks = (0..10).map(|_| {
        thread::park_timeout(Duration::from_millis(100));
        portero.figures()
    });
    looks.min_by_key(|look| look.memory_kib).unwrap()
}

/// at 50 messages a second it grows neither in memory nor in descriptors nor in threads.
///
/// Memory that was needed once is kept, so growth shows only after a time with more to do than later: it
/// begins with twice the rate. What is held for a while fills before it says anything: so the cache of the
/// store is small here, and tokens are good for a minute. How many connections there are at a moment, each
/// with its thread, is another thing than what is left of them: so people pause every now and then, and
/// only what there is at rest is compared.
///
/// The slope goes from the middle of the first quarter to the middle of the last, each the median of its
/// looks. It says something from an hour on: memory grows in steps, and one of them makes a steep slope of
/// ten minutes. A shorter run is held to an amount, and finds what loses a kibibyte with ten messages (30,000
/// of them in ten minutes), or with one in the usual run.
#[test]
fn at_fifty_messages_a_second_it_grows_in_nothing() {
    const A_SECOND: u32 = 50;
    const SLOPE_KIB_PER_HOUR_MAX: f64 = 1024.0;
    /// Of a run in which much is still met for the first time.
    const GROWTH_KIB_MAX: u64 = 2048;
    /// Connections to others that are kept: one for each thread of a lane, two where two services are asked.
    const CONNECTIONS_KEPT_MAX: u64 = 32;
    let minutes: Option<f64> = flag("PORTERO_MINUTES");
    let (before_seconds, during_seconds, pauses) = match minutes {
        Some(minutes) => (60.0, 60.0 * minutes, (4.0 * minutes).max(8.0) as usize),
        None => (8.0, 16.0, 8),
    };
    let mut world = World::with_users((0..USERS).map(email));
    world.edit(
        "key = \"env:STORE_KEY\"",
        "key = \"env:STORE_KEY\"\ncache_bytes = 1048576",
    );
    world.kutamma.issue_tokens_for(60);
    let store = world.path("portero.redb");
    let store_kib = || fs::metadata(&store).unwrap().len() / 1024;
    Load::around(&mut world, World::start, |load, portero, graph| {
        let start = (at_rest(portero), store_kib());
        let messages = |seconds: f64, a_second: u32| (seconds * f64::from(a_second)) as usize;
        load.write(messages(before_seconds, 2 * A_SECOND), 2 * A_SECOND, graph);
        let warm = (at_rest(portero), store_kib());

        let (mut looks, begun) = (Vec::new(), Instant::now());
        let count = messages(during_seconds, A_SECOND) / pauses;
        for _ in 0..pauses {
            load.write(count, A_SECOND, graph);
            looks.push((begun.elapsed(), at_rest(portero)));
        }
        let end = (looks[looks.len() - 1].1, store_kib());
        load.check(graph);

        let quarter = looks.len() / 4;
        let quarters = [&looks[..quarter], &looks[looks.len() - quarter..]];
        let memory = quarters.map(|looks| {
            let mut memory: Vec<u64> = looks.iter().map(|(_, look)| look.memory_kib).collect();
            memory.sort_unstable();
            memory[memory.len() / 2]
        });
        let [from, to] = quarters.map(|looks| looks[looks.len() / 2].0.as_secs_f64());
        let slope = (memory[1] as f64 - memory[0] as f64) * 3600.0 / (to - from);
        println!(
            "{} messages in {:?}; memory in the first quarter {} KiB, in the last {} KiB: {slope:.0} KiB an hour\n             figures and KiB of the store: at the start {start:?}, warm {warm:?}, at the end {end:?}",
            count * pauses,
            begun.elapsed(),
            memory[0],
            memory[1],
        );
        for (at, look) in &looks {
            println!("{:6.0} s {look:?}", at.as_secs_f64());
        }
        match minutes {
            Some(60.0..) => assert!(slope < SLOPE_KIB_PER_HOUR_MAX, "{slope:.0} KiB an hour"),
            _ => assert!(memory[1] < memory[0] + GROWTH_KIB_MAX, "{memory:?}"),
        }
        for (_, look) in &looks {
            // Somebody may just be looking around.
            assert!(look.threads <= start.0.threads + 2, "{look:?}");
            let kept = look.descriptors - start.0.descriptors.min(look.descriptors);
            assert!(kept <= CONNECTIONS_KEPT_MAX + 2, "{look:?}");
        }
    });
}

/// a day has strangers who say hello, and on some there is somebody who signs in and stays away.
/// Once even the line of the audit about the end of that has been kept for its time, no more is kept.
#[test]
fn once_everything_has_been_kept_for_its_time_no_more_is_kept() {
    const STRANGERS_A_DAY: usize = 2;
    const IDLE_DAYS: u64 = 5;
    /// Until a contact goes, and then as long as the audit is kept.
    const KEPT_DAYS: usize = 5 + 30 + 180 + 5;
    const DAYS: usize = KEPT_DAYS + 20;
    const SIGN_IN_EVERY_DAYS: usize = 5;
    const ADDRESSES: usize = 3;
    let house = House::with_policy(Policy {
        binding_idle_ms: IDLE_DAYS * DAY_MS,
        ..Policy::default()
    });
    for user in 0..ADDRESSES {
        house.register("kutamma", &email(user), "Ana Pérez", "Acme");
    }
    let mut janitor = Janitor::default();
    let mut kept = Vec::new();
    for day in 0..=DAYS {
        say_hello(&house, day, STRANGERS_A_DAY);
        if day.is_multiple_of(SIGN_IN_EVERY_DAYS) {
            let person = Person::with_number(&format!("3462{day:07}"));
            house.ask(&person, &email(day % ADDRESSES));
            let code = house.code();
            house.ask(&person, &code);
        }
        house.world.change(|outside| outside.left.clear());
        pass_a_day(&house, &mut janitor, 1);
        if day >= KEPT_DAYS && (day - KEPT_DAYS).is_multiple_of(10) {
            let records = house.records();
            let bytes: usize = records
                .iter()
                .map(|(_, key, value)| key.len() + value.len())
                .sum();
            kept.push((day, records.len(), bytes));
        }
    }
    println!("day, records, bytes: {kept:?}");
    let (_, records, bytes) = kept[0];
    assert!(records > 100, "hardly anything is kept: {kept:?}");
    for (day, records_then, bytes_then) in &kept {
        // The days of the week and the length of numbers differ a little.
        assert!(records_then * 50 <= records * 51, "day {day}: {kept:?}");
        assert!(bytes_then * 50 <= bytes * 51, "day {day}: {kept:?}");
    }
}

/// what is forgotten makes room in the file for what comes. A file grows in steps of up to its size
/// and not by what is needed; without that it would be three times as large in the end.
#[test]
fn once_as_much_is_forgotten_as_comes_the_file_grows_by_a_step_at_most() {
    const STRANGERS_A_DAY: usize = 40;
    /// Longer than anything of a stranger is kept.
    const KEPT_DAYS: usize = 15;
    const DAYS: usize = 45;
    let house = House::on_file();
    let mut janitor = Janitor::default();
    let mut kib = Vec::new();
    for day in 0..=DAYS {
        say_hello(&house, day, STRANGERS_A_DAY);
        house.world.change(|outside| outside.left.clear());
        pass_a_day(&house, &mut janitor, 3);
        kib.push(house.file_bytes() / 1024);
    }
    println!("KiB by day: {kib:?}");
    assert!(kib[DAYS] <= 2 * kib[KEPT_DAYS], "{kib:?}");
}

/// People who have never written, in one webhook, and are answered.
fn say_hello(house: &House, day: usize, strangers: usize) {
    let hellos = (0..strangers).map(|number| {
        let number = format!("3461{:07}", day * strangers + number);
        WebhookItem::Message(house.text(&Person::with_number(&number), "hola"))
    });
    house.receive_all(hellos.collect()).unwrap();
    house.settle();
}

/// In service it is swept every few seconds; this is enough for what is here.
fn pass_a_day(house: &House, janitor: &mut Janitor, sweeps: u64) {
    for _ in 0..sweeps {
        house.clock.forward(DAY_MS / sweeps);
        janitor.sweep(&house.app).unwrap();
    }
}

//! How often a second a token that is held is handed out: `cargo bench --bench tokens`, or
//! `-- 1 8` for other numbers of threads.
//!
//! Each call reads the sealed contact from the store on disk, as the program does, and asks nobody.
//! The contacts are taken in turn, so that most are not the one that was read before.
#![allow(clippy::unwrap_used)]

use portero::app::{
    App, IdentitySettings, Issued, Places, Settings, SystemClock, SystemRandom, TokenAnswer,
    TokenAsked, TokenWanted,
};
use portero::domain::account::{Account, Company};
use portero::domain::binding::{Binding, Proof};
use portero::domain::contact::Contact;
use portero::domain::delivery::Failure;
use portero::domain::id::{
    ContactId, EmailAddress, Language, PhoneNumberId, ProofId, Secret, ServiceName, Timestamp,
};
use portero::domain::policy::Policy;
use portero::store::record::{self, Keys};
use portero::store::redb::Options;
use portero::store::{MasterKey, Redb, Sealed};
use portero::text::{Texts, Voice};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const ROUNDS: u32 = 3;
const MEASURED: Duration = Duration::from_secs(3);
const THREADS: [usize; 3] = [1, 2, 32];
const CONTACTS: u64 = 1_000;

fn main() {
    // cargo passes --bench; numbers behind it replace the thread counts.
    let mut counts: Vec<usize> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    if counts.is_empty() {
        counts = THREADS.into();
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokens-bench");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let app = app(&folder.join("portero.redb"));
    let asked = AtomicU64::new(0);
    let issue = |_: &TokenWanted<'_>, _: Timestamp, _: &str| -> Result<Issued, Failure> {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(Issued {
            token: Secret::new("x".repeat(800)),
            token_type: "Bearer".into(),
            expires_in_seconds: 3_600,
        })
    };
    for number in 0..CONTACTS {
        token(&app, number, &issue);
    }
    println!("round  threads  tokens/s");
    for round in 1..=ROUNDS {
        for &threads in &counts {
            println!(
                "{round:5}  {threads:7}  {:8.0}",
                rate(&app, threads, &issue)
            );
        }
    }
    let asked = asked.load(Ordering::Relaxed);
    println!("the service was asked {asked} times for {CONTACTS} contacts");
    drop(app);
    fs::remove_dir_all(folder).unwrap();
}

fn rate(
    app: &App,
    threads: usize,
    issue: &(impl Fn(&TokenWanted<'_>, Timestamp, &str) -> Result<Issued, Failure> + Send + Sync),
) -> f64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads as u64 {
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                let mut number = thread * 37;
                while !stop.load(Ordering::Relaxed) {
                    token(app, number % CONTACTS, issue);
                    number += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        thread::sleep(MEASURED);
        stop.store(true, Ordering::Relaxed);
    });
    done.into_inner() as f64 / start.elapsed().as_secs_f64()
}

fn token(
    app: &App,
    number: u64,
    issue: &(impl Fn(&TokenWanted<'_>, Timestamp, &str) -> Result<Issued, Failure> + Send + Sync),
) {
    let asked = TokenAsked {
        contact: contact_id(number),
        service: service(),
        account: None,
        company: None,
        users: portero::app::Users::default(),
        scope: None,
        first_hours_only: false,
    };
    let answer = app.token(&asked, issue).unwrap();
    assert!(matches!(answer, TokenAnswer::Token { .. }));
}

fn service() -> ServiceName {
    ServiceName::parse("kutamma").unwrap()
}

fn contact_id(number: u64) -> ContactId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    ContactId(id)
}

/// The operations over a store with that many people who are signed in.
fn app(path: &Path) -> App {
    let key = MasterKey::generate().unwrap();
    let engine = Redb::open(path, Options::default()).unwrap();
    let store = Sealed::open(Arc::new(engine), &key).unwrap();
    let clock = SystemClock::new(Timestamp(0));
    let now = portero::app::Clock::now(&clock);
    store
        .update(move |writer| {
            for number in 0..CONTACTS {
                let id = contact_id(number);
                let mut contact = Contact::new(id, None, None, Language::Spanish, now);
                let account = Account {
                    service: service(),
                    user_id: format!("u-{number}"),
                    name: "Ana Pérez".into(),
                    email: EmailAddress::parse("ana@example.com").unwrap(),
                    phone: None,
                    company: Company {
                        id: "c-1".into(),
                        name: "Panadería La Espiga".into(),
                    },
                };
                let proof = ProofId([1; 16]);
                contact.bindings = vec![Binding::new(account, Proof::MailCode, proof, now)];
                record::put_contact(writer, &contact)?;
            }
            Ok(())
        })
        .unwrap();
    let policy = Policy::default();
    let settings = Settings {
        phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
        language: Language::Spanish,
        texts: Texts::default(),
        voice: Voice {
            business: "Inpla".into(),
            services: vec![(service(), "Kutamma".into())],
            code_digits: 8,
            code_minutes: 10,
            methods: policy.methods,
            link_minutes: 10,
        },
        policy,
        directory: None,
        places: Places::default(),
        hands_on: false,
        tells_events: false,
        identity: IdentitySettings::default(),
    };
    App::new(
        store,
        Keys::new(key),
        settings,
        Arc::new(clock),
        Arc::new(SystemRandom),
    )
    .unwrap()
}

//! Tests of `tokens`: a service that does as it is told, two clocks set by hand, and gates instead
//! of waits.

#![allow(clippy::unwrap_used)]

use super::held::{Approach, Held, Key, Moment};
use super::*;
use crate::app::admin::tests::user;
use crate::app::{Clock, HeldTokens, IdentitySettings, NoRandomness, Places, Random};
use crate::domain::account::Account;
use crate::domain::binding::Proof;
use crate::domain::id::{EmailAddress, PhoneNumberId, ProofId};
use crate::domain::language::Language;
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::store::record::Keys;
use crate::store::{MasterKey, Memory, Sealed};
use crate::text::{Override, Texts, Voice};
use proptest::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};

const START: Timestamp = Timestamp(1_800_000_000_000);
const ANA: ContactId = ContactId([1; 16]);
const BEA: ContactId = ContactId([2; 16]);

/// Both clocks of the machine, and the randomness that it may run out of.
struct Machine {
    wall_ms: AtomicU64,
    steady_ms: AtomicU64,
    drawn: AtomicU64,
    is_dull: AtomicBool,
}

impl Machine {
    fn pass(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.steady_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp(self.wall_ms.load(Ordering::SeqCst))
    }

    fn steady_ms(&self) -> u64 {
        self.steady_ms.load(Ordering::SeqCst)
    }
}

impl Random for Machine {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoRandomness> {
        if self.is_dull.load(Ordering::SeqCst) {
            return Err(NoRandomness);
        }
        let drawn = self.drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        for (byte, drawn) in bytes.iter_mut().zip(drawn.into_iter().cycle()) {
            *byte = drawn;
        }
        Ok(())
    }
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn app_with(policy: Policy, texts: Texts) -> (App, Arc<Machine>) {
    let services = [
        ("kutamma", "Kutamma"),
        ("woku", "woku"),
        ("directory", "La Espiga"),
    ];
    let settings = Settings {
        phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
        language: Language::Spanish,
        texts,
        voice: Voice {
            business: "La Espiga".into(),
            services: services.map(|(id, title)| (name(id), title.into())).into(),
            code_digits: 8,
            code_minutes: 10,
            methods: policy.methods,
            link_minutes: 10,
        },
        policy,
        directory: Some(name("directory")),
        places: Places::default(),
        hands_on: false,
        tells_events: false,
        identity: IdentitySettings::default(),
    };
    let machine = Arc::new(Machine {
        wall_ms: AtomicU64::new(START.0),
        steady_ms: AtomicU64::new(5_000),
        drawn: AtomicU64::new(0),
        is_dull: AtomicBool::new(false),
    });
    let master = MasterKey::from_hex(&"41".repeat(32)).unwrap();
    let store = Sealed::open(Arc::new(Memory::new()), &master).unwrap();
    let app = App::new(
        store,
        Keys::new(master),
        settings,
        Arc::clone(&machine) as Arc<dyn Clock>,
        Arc::clone(&machine) as Arc<dyn Random>,
    );
    (app.unwrap(), machine)
}

fn app() -> (App, Arc<Machine>) {
    app_with(Policy::default(), Texts::default())
}

fn account(service: &str, user_id: &str) -> Account {
    Account {
        service: name(service),
        user_id: user_id.into(),
        name: "Ana".into(),
        email: EmailAddress::parse("ana@example.com").unwrap(),
        phone: None,
        company: Company {
            id: "c-1".into(),
            name: "Inpla".into(),
        },
    }
}

fn binding(service: &str, user_id: &str, proof: Proof, proof_id: u8) -> Binding {
    Binding::new(
        account(service, user_id),
        proof,
        ProofId([proof_id; 16]),
        START,
    )
}

fn put(app: &App, id: ContactId, change: impl Fn(&mut Contact) + Send + Sync + 'static) {
    let put = app.shared.store.update(move |writer| {
        let before = record::contact(writer, id)?;
        let mut contact =
            before.unwrap_or_else(|| Contact::new(id, None, None, Language::Spanish, START));
        change(&mut contact);
        record::put_contact(writer, &contact)
    });
    put.unwrap();
}

/// A contact that proved by mail to be this user of Kutamma.
fn bind(app: &App, id: ContactId, user_id: &'static str) {
    put(app, id, move |contact| {
        contact.bindings = vec![binding("kutamma", user_id, Proof::MailCode, 7)];
    });
}

fn asked(contact: ContactId) -> TokenAsked {
    TokenAsked {
        contact,
        service: name("kutamma"),
        account: None,
        company: None,
        users: Users::default(),
        scope: None,
        first_hours_only: false,
    }
}

fn issued(token: impl Into<String>, seconds: u64) -> Issued {
    Issued {
        token: Secret::new(token),
        token_type: "Bearer".into(),
        expires_in_seconds: seconds,
    }
}

/// A service whose tokens are numbered and live so long.
#[derive(Default)]
struct Service {
    calls: AtomicUsize,
    seconds: AtomicU64,
    fails: Mutex<Option<Failure>>,
    wanted: Mutex<Vec<(String, String, String, Scope)>>,
}

impl Service {
    fn with_life(seconds: u64) -> Service {
        Service {
            seconds: seconds.into(),
            ..Service::default()
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn fail(&self, failure: Option<Failure>) {
        *self.fails.lock().unwrap() = failure;
    }
}

impl IssueToken for Service {
    fn issue(&self, wanted: &TokenWanted<'_>, _: Timestamp, id: &str) -> Result<Issued, Failure> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.wanted.lock().unwrap().push((
            id.to_owned(),
            wanted.user_id.to_owned(),
            wanted.company_id.to_owned(),
            wanted.scope,
        ));
        match &*self.fails.lock().unwrap() {
            Some(failure) => Err(failure.clone()),
            None => Ok(issued(
                format!("{}-{call}", wanted.user_id),
                self.seconds.load(Ordering::SeqCst),
            )),
        }
    }
}

fn gone() -> Failure {
    Failure {
        kind: FailureKind::Permanent,
        ..Failure::temporary("no such user")
    }
}

/// An answer in one line.
fn told(answer: &TokenAnswer) -> String {
    match answer {
        TokenAnswer::Token { token, scope, .. } => {
            format!("{} {}", token.reveal(), scope.name())
        }
        TokenAnswer::Need { need, .. } => format!("need {}", need.name()),
        TokenAnswer::Ambiguous(accounts) => {
            let ids: Vec<&str> = accounts.iter().map(|account| &*account.id).collect();
            format!("which of {}", ids.join(", "))
        }
        TokenAnswer::Unavailable { retry_after_ms } => format!("unavailable {retry_after_ms:?}"),
        other => format!("{other:?}"),
    }
}

fn ask(app: &App, asked: &TokenAsked, issue: &dyn IssueToken) -> String {
    told(&app.token(asked, issue).unwrap())
}

impl App {
    fn waiters(&self) -> usize {
        self.tokens.waiters()
    }
}

#[test]
fn other_settings_keep_the_tokens_in_memory_unless_they_are_to_be_dropped() {
    let (app, _) = app();
    let ana = ContactId([1; 16]);
    bind(&app, ana, "u-1");
    let service = Service::with_life(3_600);
    assert_eq!(ask(&app, &asked(ana), &service), "u-1-1 full");
    let settings = app.settings().clone();
    let kept = app.with_settings(settings.clone(), HeldTokens::Kept);
    assert_eq!(ask(&kept, &asked(ana), &service), "u-1-1 full");
    let mut without = settings.clone();
    without
        .voice
        .services
        .retain(|(id, _)| *id != name("kutamma"));
    let without = kept.with_settings(without, HeldTokens::Dropped);
    assert_eq!(ask(&without, &asked(ana), &service), "NoSuchService");
    let dropped = without.with_settings(settings, HeldTokens::Dropped);
    assert_eq!(ask(&dropped, &asked(ana), &service), "u-1-2 full");
    // Whoever began with the first settings ends with them.
    assert_eq!(ask(&app, &asked(ana), &service), "u-1-1 full");
}

/// Goes on once that many wait for what somebody else is asking.
fn until_waiting(app: &App, waiters: usize) {
    while app.waiters() < waiters {
        std::thread::yield_now();
    }
}

// --- one call for all -------------------------------------------------------------------------

const CROWD: usize = 1_000;

/// As many as a crowd ask at the same time, and nobody is answered before all have asked; how many
/// heard what.
fn crowd(
    app: &App,
    answer: impl Fn() -> Result<Issued, Failure> + Send + Sync,
) -> Vec<(String, usize)> {
    let issue = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
        until_waiting(app, CROWD - 1);
        answer()
    };
    let heard = Mutex::new(std::collections::BTreeMap::<String, usize>::new());
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(|| {
                let said = catch_unwind(AssertUnwindSafe(|| ask(app, &asked(ANA), &issue)))
                    .unwrap_or_else(|_| "a panic".into());
                *heard.lock().unwrap().entry(said).or_default() += 1;
            });
        }
    });
    heard.into_inner().unwrap().into_iter().collect()
}

#[test]
fn a_thousand_callers_make_one_call_and_all_get_its_token() {
    let (app, _) = app();
    bind(&app, ANA, "ana");
    let calls = AtomicUsize::new(0);
    let heard = crowd(&app, || {
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(issued("t", 600))
    });
    assert_eq!(heard, [("t full".into(), CROWD)]);
    assert_eq!(calls.into_inner(), 1);
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(ANA), &service), "t full");
    assert_eq!(service.calls(), 0, "held from then on");
    let counted = app.counted();
    let of = |name: &str, mut all: Vec<(&'static str, u64)>| {
        all.retain(|(known, _)| *known == name);
        all[0].1
    };
    let sources: Vec<_> = counted.token_places.all().collect();
    assert_eq!(of("asked_for", sources.clone()), 1);
    let others = of("held", sources.clone()) + of("waited_for", sources);
    assert_eq!(others, CROWD as u64);
    let results = counted.tokens.all().collect();
    assert_eq!(of("handed_out", results), CROWD as u64 + 1);
    let calls: Vec<_> = counted.token_calls.all().collect();
    assert_eq!(calls, [("issued", 1), ("failed", 0)]);
}

#[test]
fn a_failure_reaches_everybody_who_waits_and_is_not_kept() {
    let (app, _) = app();
    bind(&app, ANA, "ana");
    let heard = crowd(&app, || {
        Err(Failure {
            kind: FailureKind::Temporary {
                retry_after_ms: Some(7_000),
            },
            ..Failure::temporary("503")
        })
    });
    assert_eq!(heard, [("unavailable Some(7000)".into(), CROWD)]);
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
}

#[test]
fn a_panic_of_who_asks_wakes_everybody_who_waits_and_leaves_nothing_under_way() {
    let (app, _) = app();
    bind(&app, ANA, "ana");
    let heard = crowd(&app, || panic!("broken"));
    assert_eq!(
        heard,
        [
            ("a panic".into(), 1),
            ("unavailable None".into(), CROWD - 1)
        ]
    );
    assert_eq!(app.tokens.under_way(), 0);
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
}

#[test]
fn who_cannot_ask_for_want_of_randomness_leaves_nothing_under_way() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(600);
    machine.is_dull.store(true, Ordering::SeqCst);
    assert!(matches!(
        app.token(&asked(ANA), &service),
        Err(Failed::Random(_))
    ));
    assert_eq!(app.tokens.under_way(), 0);
    machine.is_dull.store(false, Ordering::SeqCst);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
}

#[test]
fn different_tokens_are_asked_for_side_by_side_and_never_shared() {
    let (app, _) = app();
    let proof = Proof::MailCode;
    put(&app, ANA, move |contact| {
        contact.bindings = vec![
            binding("kutamma", "ana", proof, 7),
            binding("kutamma", "ana-2", proof, 7),
            binding("woku", "ana", proof, 7),
        ];
    });
    bind(&app, BEA, "ana");
    let account = |id: &str| TokenAsked {
        account: Some(id.into()),
        ..asked(ANA)
    };
    let all = [
        account("ana"),
        account("ana-2"),
        TokenAsked {
            scope: Some(Scope::FirstHours),
            ..account("ana")
        },
        TokenAsked {
            service: name("woku"),
            ..asked(ANA)
        },
        asked(BEA),
    ];
    // None is answered before all are asked for.
    let together = Barrier::new(all.len());
    let calls = AtomicUsize::new(0);
    let issue = |wanted: &TokenWanted<'_>, _: Timestamp, _: &str| {
        together.wait();
        calls.fetch_add(1, Ordering::SeqCst);
        Ok(issued(
            format!(
                "{}/{}/{}",
                wanted.service.as_str(),
                wanted.user_id,
                wanted.contact
            ),
            600,
        ))
    };
    let heard = || -> Vec<String> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (all.iter())
                .map(|asked| scope.spawn(|| ask(&app, asked, &issue)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    };
    let first = heard();
    assert_eq!(
        first,
        [
            format!("kutamma/ana/{ANA} full"),
            format!("kutamma/ana-2/{ANA} full"),
            format!("kutamma/ana/{ANA} first_hours"),
            format!("woku/ana/{ANA} full"),
            format!("kutamma/ana/{BEA} full"),
        ]
    );
    assert_eq!(heard(), first, "and each is held");
    assert_eq!(calls.into_inner(), all.len());
}

#[test]
fn a_service_is_told_whose_token_is_wanted_and_every_question_has_a_name_of_its_own() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(1);
    ask(&app, &asked(ANA), &service);
    machine.pass(2_000);
    ask(&app, &asked(ANA), &service);
    let wanted = service.wanted.into_inner().unwrap();
    assert_eq!(wanted.len(), 2);
    for (_, user_id, company_id, scope) in &wanted {
        assert_eq!((&**user_id, &**company_id), ("ana", "c-1"));
        assert_eq!(*scope, Scope::Full);
    }
    assert_ne!(wanted[0].0, wanted[1].0);
}

// --- room ---------------------------------------------------------------------------------------

const FAR: Moment = Moment {
    wall: START,
    steady_ms: 0,
};

fn key(number: usize) -> Key {
    let mut contact = [0; 16];
    contact[..8].copy_from_slice(&number.to_be_bytes());
    let binding = binding("kutamma", "ana", Proof::MailCode, 7);
    Key::new(ContactId(contact), &binding, Scope::Full)
}

fn hold(held: &Held, number: usize, token_bytes: usize) {
    let Approach::Lead(lead) = held.approach(&key(number), FAR) else {
        panic!("held or under way");
    };
    let token = "x".repeat(token_bytes);
    assert!(lead.land(FAR, Ok(issued(token, 600)), || FAR).is_ok());
}

fn is_held(held: &Held, number: usize) -> bool {
    matches!(held.approach(&key(number), FAR), Approach::Have(_))
}

#[test]
fn no_more_is_held_than_there_is_room_for_and_the_oldest_give_way() {
    let held = Held::default();
    for number in 0..ENTRIES_MAX + 10 {
        hold(&held, number, 16);
    }
    assert_eq!(held.size().0, ENTRIES_MAX);
    assert!(held.size().1 <= HELD_BYTES_MAX);
    assert!(!is_held(&held, 9) && is_held(&held, 10));
    let long = 8 * 1024;
    for number in 0..4_000 {
        hold(&held, ENTRIES_MAX + 10 + number, long);
        assert!(held.size().1 <= HELD_BYTES_MAX);
    }
    let (entries, bytes) = held.size();
    assert!(entries < HELD_BYTES_MAX / long);
    assert!(bytes > HELD_BYTES_MAX - 2 * long, "room is used");
    assert!(is_held(&held, ENTRIES_MAX + 10 + 3_999));
}

#[test]
fn the_dead_are_swept_out_and_nothing_is_left_of_them() {
    let held = Held::default();
    for number in 0..100 {
        hold(&held, number, 100);
    }
    let later = |ms| Moment {
        steady_ms: ms,
        ..FAR
    };
    assert_eq!(held.forget_dead(later(600_000 - MARGIN_MS)), 0);
    assert_eq!(held.forget_dead(later(600_001 - MARGIN_MS)), 100);
    assert_eq!(held.size(), (0, 0));
}

#[test]
fn too_many_different_tokens_of_one_service_are_refused_and_the_rest_goes_on() {
    let (app, _) = app();
    let contact = |number: usize| ContactId([100 + u8::try_from(number).unwrap(); 16]);
    for number in 0..FLIGHTS_PER_SERVICE_MAX {
        bind(&app, contact(number), "slow");
    }
    bind(&app, BEA, "bea");
    put(&app, ANA, |contact| {
        contact.bindings = vec![
            binding("kutamma", "ana", Proof::MailCode, 7),
            binding("woku", "ana", Proof::MailCode, 7),
        ];
    });
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(BEA), &service), "bea-1 full");
    let begun = Barrier::new(FLIGHTS_PER_SERVICE_MAX + 1);
    let end = Barrier::new(FLIGHTS_PER_SERVICE_MAX + 1);
    let slow = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
        begun.wait();
        end.wait();
        Ok(issued("late", 600))
    };
    std::thread::scope(|scope| {
        let (app, slow) = (&app, &slow);
        let threads: Vec<_> = (0..FLIGHTS_PER_SERVICE_MAX)
            .map(|number| scope.spawn(move || ask(app, &asked(contact(number)), slow)))
            .collect();
        begun.wait();
        assert_eq!(ask(app, &asked(ANA), &service), "Busy");
        assert_eq!(ask(app, &asked(BEA), &service), "bea-1 full", "held");
        let other = TokenAsked {
            service: name("woku"),
            ..asked(ANA)
        };
        assert_eq!(ask(app, &other, &service), "ana-2 full");
        end.wait();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), "late full");
        }
        assert_eq!(ask(app, &asked(ANA), &service), "ana-3 full");
    });
}

#[test]
fn no_more_wait_for_one_token_than_may() {
    let held = Held::default();
    let Approach::Lead(lead) = held.approach(&key(1), FAR) else {
        panic!("nobody asks yet");
    };
    for _ in 0..WAITERS_PER_FLIGHT_MAX {
        assert!(matches!(held.approach(&key(1), FAR), Approach::Wait(_)));
    }
    assert!(matches!(held.approach(&key(1), FAR), Approach::Busy));
    drop(lead);
    assert!(matches!(held.approach(&key(1), FAR), Approach::Lead(_)));
}

// --- the right -----------------------------------------------------------------------------------

#[test]
fn who_has_several_accounts_there_is_asked_which() {
    let (app, _) = app();
    put(&app, ANA, |contact| {
        contact.bindings = vec![
            binding("kutamma", "u-1", Proof::MailCode, 7),
            binding("woku", "w-1", Proof::MailCode, 7),
            binding("kutamma", "u-2", Proof::MailCode, 7),
        ];
    });
    let service = Service::with_life(600);
    let asked_about = |service: &str, account: Option<&str>| TokenAsked {
        service: name(service),
        account: account.map(str::to_owned),
        ..asked(ANA)
    };
    for (service_name, account, expected) in [
        ("kutamma", None, "which of u-1, u-2"),
        ("kutamma", Some("u-2"), "u-2-1 full"),
        ("kutamma", Some("u-3"), "NoSuchAccount"),
        ("kutamma", Some("w-1"), "NoSuchAccount"),
        ("kutamma", Some(""), "NoSuchAccount"),
        ("woku", None, "w-1-2 full"),
        ("directory", None, "need sign_in"),
        ("nowhere", None, "NoSuchService"),
    ] {
        let answer = ask(&app, &asked_about(service_name, account), &service);
        assert_eq!(answer, expected, "{service_name} {account:?}");
    }
    assert_eq!(ask(&app, &asked(BEA), &service), "NoSuchContact");
    assert_eq!(service.calls(), 2);
}

#[test]
fn a_token_without_a_second_left_is_not_handed_out() {
    let (app, machine) = app();
    bind(&app, ANA, "u-1");
    for (life_seconds, takes_ms, expected) in [
        (0, 0, "unavailable None"),
        (1, 1, "unavailable None"),
        (1, 0, "t full"),
        (2, 1_000, "t full"),
    ] {
        let issue = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
            machine.pass(takes_ms);
            Ok::<_, Failure>(issued("t", life_seconds))
        };
        let answer = ask(&app, &asked(ANA), &issue);
        assert_eq!(answer, expected, "{life_seconds} s, after {takes_ms} ms");
    }
}

#[test]
fn an_account_in_several_companies_is_asked_for_which() {
    let (app, _) = app();
    put(&app, ANA, |contact| {
        let mut second = binding("kutamma", "u-1", Proof::MailCode, 7);
        second.company.id = "c-2".into();
        contact.bindings = vec![binding("kutamma", "u-1", Proof::MailCode, 7), second];
    });
    let service = Service::with_life(600);
    for (company, expected) in [
        (None, "which of u-1, u-1"),
        (Some("c-2"), "u-1-1 full"),
        (Some("c-1"), "u-1-2 full"),
        (Some("c-2"), "u-1-1 full"),
        (Some("c-3"), "NoSuchAccount"),
    ] {
        let asked = TokenAsked {
            account: Some("u-1".into()),
            company: company.map(str::to_owned),
            ..asked(ANA)
        };
        assert_eq!(ask(&app, &asked, &service), expected, "{company:?}");
    }
    let wanted = service.wanted.lock().unwrap();
    let companies: Vec<&str> = wanted.iter().map(|(_, _, company, _)| &**company).collect();
    assert_eq!(companies, ["c-2", "c-1"]);
}

#[test]
fn a_token_says_whose_it_is_and_how_long_it_lives() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(600);
    ask(&app, &asked(ANA), &service);
    machine.pass(1);
    let TokenAnswer::Token {
        token_type,
        expires_in_seconds,
        account,
        ..
    } = app.token(&asked(ANA), &service).unwrap()
    else {
        panic!("no token");
    };
    assert_eq!((&*token_type, expires_in_seconds), ("Bearer", 599));
    assert_eq!((&*account.id, &*account.name), ("ana", "Ana"));
    assert_eq!(
        (&*account.company.id, &*account.company.name),
        ("c-1", "Inpla")
    );
}

#[test]
fn a_page_that_named_nobody_gives_no_account_to_act_for() {
    let (app, _) = app();
    put(&app, ANA, |contact| {
        contact.bindings = vec![Binding::unnamed(name("kutamma"), ProofId([1; 16]), START)];
    });
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(ANA), &service), "AccountGone");
    assert_eq!(service.calls(), 0);
}

#[test]
fn in_its_first_hours_a_proof_on_the_web_is_good_for_less() {
    let (app, machine) = app();
    put(&app, ANA, |contact| {
        contact.bindings = vec![binding("kutamma", "ana", Proof::Password, 7)];
    });
    let service = Service::with_life(600);
    let wish = |scope, first_hours_only| TokenAsked {
        scope,
        first_hours_only,
        ..asked(ANA)
    };
    let (full, less) = (Some(Scope::Full), Some(Scope::FirstHours));
    for (scope, only, expected) in [
        (None, false, "ana-1 first_hours"),
        (less, false, "ana-1 first_hours"),
        (full, false, "need step_up"),
        (None, true, "ana-1 first_hours"),
        (full, true, "ScopeTooWide"),
    ] {
        assert_eq!(ask(&app, &wish(scope, only), &service), expected);
    }
    machine.pass(Policy::default().first_hours_ms);
    for (scope, only, expected) in [
        (None, false, "ana-2 full"),
        (full, false, "ana-2 full"),
        (less, false, "ana-3 first_hours"),
        (None, true, "ana-3 first_hours"),
        (full, true, "ScopeTooWide"),
    ] {
        assert_eq!(ask(&app, &wish(scope, only), &service), expected);
    }
    let scopes: Vec<Scope> = (service.wanted.lock().unwrap().iter())
        .map(|wanted| wanted.3)
        .collect();
    assert_eq!(scopes, [Scope::FirstHours, Scope::Full, Scope::FirstHours]);
}

#[test]
fn what_the_bot_is_to_say_is_in_the_persons_language_and_the_operators_words() {
    let own = Override {
        language: Language::Portuguese,
        key: "need_step_up".into(),
        words: "Mais uma vez, por favor.".into(),
    };
    let (app, _) = app_with(Policy::default(), Texts::with_overrides(&[own]).unwrap());
    let say = |language, binds: bool| {
        put(&app, ANA, move |contact| {
            contact.language = language;
            contact.bindings = vec![binding("kutamma", "ana", Proof::Password, 7)];
            contact.bindings.truncate(usize::from(binds));
        });
        let full = TokenAsked {
            scope: Some(Scope::Full),
            ..asked(ANA)
        };
        match app.token(&full, &Service::default()).unwrap() {
            TokenAnswer::Need { say, .. } => say,
            other => panic!("{}", told(&other)),
        }
    };
    let sign_in = [
        (Language::Spanish, "que entres con tu cuenta de Kutamma"),
        (Language::English, "sign in with your Kutamma account"),
        (Language::Portuguese, "entre com sua conta de Kutamma"),
    ];
    for (language, words) in sign_in {
        assert!(say(language, false).contains(words));
    }
    let step_up = [
        (Language::Spanish, "confirmes otra vez que eres tú"),
        (Language::English, "confirm once more that it is you"),
        (Language::Portuguese, "Mais uma vez, por favor."),
    ];
    for (language, words) in step_up {
        assert!(say(language, true).contains(words));
    }
}

#[test]
fn a_proof_that_no_longer_stands_gives_no_token_before_any_message_has_come() {
    let policy = Policy {
        binding_age_max_ms: Some(10 * DAY_MS),
        binding_idle_ms: 5 * DAY_MS,
        ..Policy::default()
    };
    let (app, machine) = app_with(policy, Texts::default());
    bind(&app, ANA, "ana");
    let service = Service::with_life(3_600);
    machine.pass(5 * DAY_MS);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    machine.pass(1);
    assert_eq!(ask(&app, &asked(ANA), &service), "need sign_in", "idle");
    put(&app, ANA, |contact| {
        contact.last_message_at = START.plus_ms(8 * DAY_MS);
    });
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full", "wrote");
    machine.pass(5 * DAY_MS - 1);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-2 full");
    machine.pass(1);
    assert_eq!(ask(&app, &asked(ANA), &service), "need sign_in", "old");
    assert!(app.now().since_ms(START) <= 10 * DAY_MS + 1);
}

#[test]
fn a_new_proof_never_gets_the_token_of_the_old_one() {
    let (app, _) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    put(&app, ANA, |contact| {
        contact.bindings = vec![binding("kutamma", "ana", Proof::MailCode, 8)];
    });
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-2 full");
}

/// The token came, and meanwhile it was nobody's any more.
#[test]
fn what_ends_during_the_call_gives_no_token() {
    let end: [fn(&mut Contact); 2] = [
        |contact| contact.bindings.clear(),
        |contact| contact.bindings[0].proof_id = ProofId([9; 16]),
    ];
    for (end, expected) in end.into_iter().zip(["need sign_in", "unavailable Some(0)"]) {
        let (app, _) = app();
        bind(&app, ANA, "ana");
        let issue = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
            put(&app, ANA, end);
            Ok(issued("t", 600))
        };
        assert_eq!(ask(&app, &asked(ANA), &issue), expected);
    }
}

#[test]
fn an_account_that_is_gone_takes_its_held_tokens_with_it() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    bind(&app, BEA, "ana");
    let service = Service::with_life(600);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(ask(&app, &asked(BEA), &service), "ana-2 full");
    // Time for a new one, with the old one still good.
    machine.pass(470_000);
    service.fail(Some(gone()));
    assert_eq!(ask(&app, &asked(ANA), &service), "AccountGone");
    assert_eq!(app.tokens.size(), (0, 0), "of any contact");
    assert_eq!(ask(&app, &asked(BEA), &service), "AccountGone");
}

#[test]
fn the_directory_signs_its_own_tokens_for_whoever_is_still_in_it() {
    let (app, machine) = app();
    app.add_user(&user("ana@example.com", None)).unwrap();
    let ana = EmailAddress::parse("ana@example.com").unwrap();
    let account = app.find_in_directory(&ana).unwrap().remove(0);
    put(&app, ANA, move |contact| {
        let proof = ProofId([1; 16]);
        contact.bindings = vec![Binding::new(account.clone(), Proof::MailCode, proof, START)];
    });
    let directory = TokenAsked {
        service: name("directory"),
        ..asked(ANA)
    };
    let service = Service::with_life(600);
    let first = app.token(&directory, &service).unwrap();
    let TokenAnswer::Token {
        token,
        token_type,
        expires_in_seconds,
        ..
    } = &first
    else {
        panic!("{}", told(&first));
    };
    assert_eq!(token.reveal().split('.').count(), 3, "a JWT");
    assert_eq!(token_type, "Bearer");
    assert!(*expires_in_seconds > MARGIN_MS / SECOND_MS);
    machine.pass(1);
    assert_eq!(ask(&app, &directory, &service), told(&first), "held");
    assert_eq!(service.calls(), 0, "no service is asked");
    app.remove_user(&ana).unwrap();
    assert_eq!(ask(&app, &directory, &service), "AccountGone", "at once");
    app.add_user(&user("ana@example.com", None)).unwrap();
    assert_eq!(
        ask(&app, &directory, &service),
        "AccountGone",
        "another user"
    );
}

// --- life ----------------------------------------------------------------------------------------

#[test]
fn in_the_last_quarter_one_caller_gets_the_next_token_while_the_others_have_the_old_one() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(600);
    ask(&app, &asked(ANA), &service);
    machine.pass(450_000);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(service.calls(), 1);
    machine.pass(1);
    let slow = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
        for _ in 0..10 {
            assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
        }
        Ok(issued("next", 600))
    };
    assert_eq!(ask(&app, &asked(ANA), &slow), "next full");
    assert_eq!(ask(&app, &asked(ANA), &service), "next full");
    assert_eq!(service.calls(), 1);
}

#[test]
fn while_a_renewal_fails_the_old_token_serves_as_long_as_it_is_good() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(600);
    ask(&app, &asked(ANA), &service);
    machine.pass(460_000);
    service.fail(Some(Failure::temporary("500")));
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(service.calls(), 2);
    machine.pass(REFRESH_REST_MS - 1);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(service.calls(), 2, "not for every caller");
    machine.pass(1);
    service.fail(Some(Failure {
        kind: FailureKind::Temporary {
            retry_after_ms: Some(MINUTE_MS),
        },
        ..Failure::temporary("503")
    }));
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    machine.pass(600_000 - MARGIN_MS - 460_000 - REFRESH_REST_MS);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(service.calls(), 3, "the service asked for a minute");
    machine.pass(1);
    assert_eq!(ask(&app, &asked(ANA), &service), "unavailable Some(60000)");
    service.fail(None);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-5 full");
}

#[test]
fn a_renewal_that_brings_less_than_there_is_does_not_take_its_place() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(600);
    ask(&app, &asked(ANA), &service);
    machine.pass(460_000);
    service.seconds.store(20, Ordering::SeqCst);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(service.calls(), 2);
}

#[test]
fn a_token_too_short_to_be_held_is_handed_out_once_and_only_alive() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(MARGIN_MS / SECOND_MS - 1);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-1 full");
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-2 full");
    assert_eq!(app.tokens.size(), (0, 0));
    for (took_ms, expected) in [(0, "t full"), (1, "unavailable None")] {
        let slow = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
            machine.pass(took_ms);
            Ok(issued("t", 1))
        };
        assert_eq!(ask(&app, &asked(ANA), &slow), expected);
    }
}

#[test]
fn a_service_is_asked_again_after_an_hour_however_long_its_tokens_live() {
    let (app, machine) = app();
    bind(&app, ANA, "ana");
    let service = Service::with_life(u64::MAX);
    ask(&app, &asked(ANA), &service);
    machine.pass(HOUR_MS - MARGIN_MS + 1);
    assert_eq!(ask(&app, &asked(ANA), &service), "ana-2 full");
}

/// What may be wrong with the clocks of the machine.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Somebody sets the wall clock, by any amount up to a minute, again and again.
    WallIsSet,
    /// The steady clock does not count while the machine is suspended, calls included.
    SteadyStands,
    /// The steady clock stands still, and the wall clock is set back by a minute once.
    Both,
}

/// What passes between two questions.
#[derive(Clone, Debug)]
struct Pause {
    /// Thousandths of a token's life.
    part: u64,
    /// Whether the fault shows.
    is_faulty: bool,
    /// By how much the wall clock is set.
    set_ms: i64,
    /// How long the service takes, if it is asked.
    call_ms: u64,
    /// Which thousandth of the call the token's life begins at.
    begins: u64,
}

fn pauses() -> impl Strategy<Value = Vec<Pause>> {
    let pause = (
        0..400u64,
        any::<bool>(),
        prop_oneof![Just(-60_000i64), Just(60_000), -60_000i64..60_000],
        prop_oneof![Just(0u64), 0..3_000u64, 0..30_000u64],
        0..=1_000u64,
    );
    let pause = pause.prop_map(|(part, is_faulty, set_ms, call_ms, begins)| Pause {
        part,
        is_faulty,
        set_ms,
        call_ms,
        begins,
    });
    prop::collection::vec(pause, 1..30)
}

proptest! {
    /// The true time is kept beside both clocks. A token carries the true moment of its death.
    #[test]
    fn no_token_is_handed_out_past_its_life_whatever_the_clocks_do(
        life_seconds in prop_oneof![1..180u64, 1..=3_600u64],
        fault in prop_oneof![Just(Fault::WallIsSet), Just(Fault::SteadyStands), Just(Fault::Both)],
        pauses in pauses(),
    ) {
        let (app, machine) = app();
        bind(&app, ANA, "ana");
        let life_ms = life_seconds * SECOND_MS;
        let true_ms = AtomicU64::new(0);
        let mut was_set_back = false;
        for pause in pauses {
            let passes = |ms: u64, is_faulty: bool| {
                true_ms.fetch_add(ms, Ordering::SeqCst);
                machine.wall_ms.fetch_add(ms, Ordering::SeqCst);
                if !(is_faulty && matches!(fault, Fault::SteadyStands | Fault::Both)) {
                    machine.steady_ms.fetch_add(ms, Ordering::SeqCst);
                }
            };
            let set = |ms: i64| {
                let wall_ms = machine.wall_ms.load(Ordering::SeqCst);
                machine.wall_ms.store(wall_ms.saturating_add_signed(ms), Ordering::SeqCst);
            };
            passes(life_ms * pause.part / 1_000, pause.is_faulty);
            match fault {
                Fault::WallIsSet if pause.is_faulty => set(pause.set_ms),
                Fault::Both if pause.is_faulty && !was_set_back => {
                    was_set_back = true;
                    set(-60_000);
                }
                _ => {}
            }
            // With both clocks wrong during one call nothing can be known.
            let shows_in_call = pause.is_faulty && !matches!(fault, Fault::Both);
            let was_asked = AtomicBool::new(false);
            let issue = |_: &TokenWanted<'_>, _: Timestamp, _: &str| {
                was_asked.store(true, Ordering::SeqCst);
                let before = pause.call_ms * pause.begins / 1_000;
                passes(before, shows_in_call);
                let dies_at = true_ms.load(Ordering::SeqCst) + life_ms;
                if matches!(fault, Fault::WallIsSet) && pause.is_faulty {
                    set(-pause.set_ms);
                }
                passes(pause.call_ms - before, shows_in_call);
                Ok(issued(dies_at.to_string(), life_seconds))
            };
            let answer = app.token(&asked(ANA), &issue).unwrap();
            let now = true_ms.load(Ordering::SeqCst);
            if let TokenAnswer::Token { token, expires_in_seconds, .. } = &answer {
                let dies_at: u64 = token.reveal().parse().unwrap();
                prop_assert!(now < dies_at, "{} ms too late", now - dies_at);
                let left_ms = dies_at - now;
                if !matches!(fault, Fault::Both) {
                    prop_assert!(expires_in_seconds * SECOND_MS <= left_ms);
                    // And whoever checks a held one may be a minute ahead.
                    let is_fresh = was_asked.load(Ordering::SeqCst);
                    prop_assert!(is_fresh || left_ms >= MARGIN_MS);
                }
            } else {
                // Only a token that may be dead on arrival is kept back.
                prop_assert!(was_asked.load(Ordering::SeqCst));
                prop_assert!(life_ms <= pause.call_ms + 120_000, "{}", told(&answer));
            }
        }
    }
}

/// Every life up to five minutes and some up to an hour, asked for in every second of it.
#[test]
fn a_held_token_has_the_margin_left_and_serves_for_half_of_its_time_at_least() {
    for life_seconds in (1..=300).chain((310..=3_600).step_by(329)) {
        let held = Held::default();
        let life_ms = life_seconds * SECOND_MS;
        let Approach::Lead(lead) = held.approach(&key(1), FAR) else {
            panic!("nothing is held yet");
        };
        let landed = lead.land(FAR, Ok(issued("t", life_seconds)), || FAR);
        assert!(landed.is_ok());
        for age_ms in (0..=life_seconds).map(|second| second * SECOND_MS) {
            let now = Moment {
                steady_ms: FAR.steady_ms + age_ms,
                ..FAR
            };
            let left_ms = life_ms - age_ms;
            let serves_ms = life_ms.saturating_sub(MARGIN_MS);
            // Not landed: the next one may try.
            let is_held = match held.approach(&key(1), now) {
                Approach::Have(token) => {
                    assert_eq!(token.left_ms(now), left_ms);
                    true
                }
                Approach::Lead(_) => false,
                Approach::Wait(_) | Approach::Busy => panic!("nobody else is here"),
            };
            let about = format!("{life_seconds} s, after {age_ms} ms");
            assert!(!is_held || left_ms >= MARGIN_MS, "{about}");
            assert!(
                is_held || serves_ms < 2 * age_ms || life_ms < MARGIN_MS,
                "{about}"
            );
            assert!(!is_held || life_ms < 4 * left_ms + 2 * MARGIN_MS, "{about}");
        }
    }
}

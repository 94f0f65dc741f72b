//! Tokens of the services: over the whole life of a proof, and over real sockets (S-52, R-40).

use crate::house::{House, Person};
use crate::outside::has;
use portero::app::{IssueToken, Issued, Janitor, TokenAnswer, TokenAsked, TokenWanted};
use portero::domain::account::{Account, Company};
use portero::domain::failure::Failure;
use portero::domain::id::{Bsuid, EmailAddress, IdentityKey, ServiceName, WaId};
use portero::domain::message::{IdentityChanged, WebhookItem};
use portero::domain::secret::Secret;
use portero::domain::time::{DAY_MS, MINUTE_MS, SECOND_MS, Timestamp};
use portero::services::{
    FAILURES_MAX, REST_MS, Services, Settings, TokenCall, TokenFor, UsersCall,
};
use portero::simulator::services::{Services as StandIn, Trouble};
use portero::simulator::watch::Watch;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const ANA: &str = "ana@example.com";

fn asked(house: &House, person: &Person) -> TokenAsked {
    TokenAsked {
        contact: house.contact(person).id,
        service: ServiceName::parse("kutamma").unwrap(),
        account: None,
        company: None,
        users: portero::app::Users::default(),
        scope: None,
        first_hours_only: false,
    }
}

fn ask(house: &House, asked: &TokenAsked, issue: &dyn IssueToken) -> String {
    match house.app.token(asked, issue).unwrap() {
        TokenAnswer::Token { token, .. } => token.reveal().to_owned(),
        TokenAnswer::Need { need, .. } => format!("need {}", need.name()),
        other => format!("{other:?}"),
    }
}

/// A service whose tokens are numbered.
#[derive(Default)]
struct Numbered(AtomicUsize);

impl IssueToken for Numbered {
    fn issue(&self, _: &TokenWanted<'_>, _: Timestamp, _: &str) -> Result<Issued, Failure> {
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(Issued {
            token: Secret::new(format!("token-{number}")),
            token_type: "Bearer".into(),
            expires_in_seconds: 3_600,
        })
    }
}

/// Ana, signed in by mail, in a house that tells her by mail how to undo that.
fn signed_in() -> (House, Person) {
    let house = House::on_the_web(House::both_ways_in());
    house.register("kutamma", ANA, "Ana Pérez", "Acme");
    let ana = Person {
        wa_id: WaId::parse("34600111222").ok(),
        bsuid: Bsuid::parse("ES.abc").ok(),
        key: IdentityKey::parse("key-1").ok(),
    };
    house.sign_in(&ana, ANA);
    (house, ana)
}

#[test]
fn a_held_token_ends_with_the_proof_in_the_same_moment_and_stays_ended() {
    type End = fn(&House, &Person);
    let ends: [(&str, End); 6] = [
        ("the person logs out", |house, ana| {
            house.write(ana, "cerrar sesión");
        }),
        ("another phone", |house, ana| {
            let new = Person {
                key: IdentityKey::parse("key-2").ok(),
                ..ana.clone()
            };
            house.write(&new, "hola");
        }),
        ("another number", |house, ana| {
            let change = IdentityChanged {
                id: house.text(ana, "").id,
                before: ana.sender(),
                at: house.app.now(),
            };
            let change = WebhookItem::IdentityChanged(change);
            house.receive_all(vec![change]).unwrap();
        }),
        ("the owner undoes it", |house, _| {
            let token = house.undo_token(ANA).unwrap();
            assert!(house.app.undo(&token).unwrap());
        }),
        ("nobody writes", |house, _| house.clock.forward(91 * DAY_MS)),
        ("forgotten", |house, _| {
            house.clock.forward(121 * DAY_MS);
            Janitor::default().sweep(&house.app).unwrap();
            assert!(house.contacts().is_empty());
        }),
    ];
    for (what, end) in ends {
        let (house, ana) = signed_in();
        let asked = asked(&house, &ana);
        let service = Numbered::default();
        assert_eq!(ask(&house, &asked, &service), "token-1", "{what}");
        assert_eq!(ask(&house, &asked, &service), "token-1", "{what}: held");
        end(&house, &ana);
        let expected = match what {
            "forgotten" => "NoSuchContact",
            _ => "need sign_in",
        };
        assert_eq!(ask(&house, &asked, &service), expected, "{what}");
        let house = house.restarted();
        assert_eq!(ask(&house, &asked, &service), expected, "{what}: restarted");
    }
}

#[test]
fn a_new_sign_in_gets_a_new_token_and_so_does_a_new_process() {
    let (house, ana) = signed_in();
    let asked = asked(&house, &ana);
    let service = Numbered::default();
    assert_eq!(ask(&house, &asked, &service), "token-1");
    house.ask(&ana, "cerrar sesión");
    // Another code is not sent at once.
    house.clock.forward(2 * MINUTE_MS);
    house.sign_in(&ana, ANA);
    assert_eq!(ask(&house, &asked, &service), "token-2");
    let house = house.restarted();
    assert_eq!(ask(&house, &asked, &service), "token-3");
}

#[test]
fn nothing_of_a_token_is_on_disk() {
    let (house, ana) = signed_in();
    let service = Numbered::default();
    assert_eq!(ask(&house, &asked(&house, &ana), &service), "token-1");
    for (table, _, value) in house.records() {
        assert!(!has(&value, b"token-1"), "{table}");
    }
}

// --- over real sockets -----------------------------------------------------------------------------

/// The house with the services of the simulator.
struct Town {
    house: House,
    ana: Person,
    stand_in: StandIn,
    services: Services,
}

impl Town {
    fn new() -> Town {
        let stand_in = StandIn::start(Arc::new(Watch::default())).unwrap();
        let settings = ["kutamma", "woku"].map(|name| Settings {
            name: ServiceName::parse(name).unwrap(),
            title: name.into(),
            find_user: UsersCall::find_user(&stand_in.url(name, "find_user")).unwrap(),
            issue_token: TokenCall::issue_token(&stand_in.url(name, "issue_token")).unwrap(),
            check_password: None,
            secret: Some(Secret::new(stand_in.secret(name).unwrap())),
            bearer: None,
            timeout: Duration::from_secs(30),
            ca_pem: None,
            connections: 4,
        });
        let services = Services::new(settings.into()).unwrap();
        let house = House::in_memory();
        // The stand-in compares the signature's time with its own clock.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        house
            .clock
            .set(Timestamp(u64::try_from(now.as_millis()).unwrap()));
        let accounts = [("kutamma", "k-1001"), ("woku", "w-ana")];
        house.world.change(|outside| {
            for ((service, user_id), known) in accounts.iter().zip(&mut outside.services) {
                known.users.push(Account {
                    service: ServiceName::parse(service).unwrap(),
                    user_id: (*user_id).into(),
                    name: "Ana Pérez".into(),
                    email: EmailAddress::parse(ANA).unwrap(),
                    phone: None,
                    company: Company {
                        id: "c-espiga".into(),
                        name: "Panadería La Espiga".into(),
                    },
                });
            }
        });
        let ana = Person::with_number("34600111222");
        house.sign_in(&ana, ANA);
        Town {
            house,
            ana,
            stand_in,
            services,
        }
    }

    fn ask(&self, service: &str) -> TokenAnswer {
        let asked = TokenAsked {
            service: ServiceName::parse(service).unwrap(),
            ..asked(&self.house, &self.ana)
        };
        self.house.app.token(&asked, self).unwrap()
    }

    fn calls(&self, service: &str) -> usize {
        self.stand_in.calls(service).len()
    }
}

impl IssueToken for Town {
    fn issue(&self, wanted: &TokenWanted<'_>, now: Timestamp, id: &str) -> Result<Issued, Failure> {
        let token_for = TokenFor {
            user_id: wanted.user_id,
            company_id: wanted.company_id,
            contact: wanted.contact,
            scope: wanted.scope,
        };
        let token = (self.services).issue_token(wanted.service, &token_for, now, id)?;
        Ok(Issued {
            token: token.token,
            token_type: token.token_type,
            expires_in_seconds: token.expires_in_seconds,
        })
    }
}

fn retry_after_ms(answer: &TokenAnswer) -> Option<u64> {
    match answer {
        TokenAnswer::Unavailable { retry_after_ms } => *retry_after_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_crowd_of_callers_makes_one_call_over_the_wire() {
    const CALLERS: usize = 200;
    let town = Town::new();
    let together = Barrier::new(CALLERS);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                together.wait();
                assert!(matches!(town.ask("woku"), TokenAnswer::Token { .. }));
            });
        }
    });
    assert_eq!(town.calls("woku"), 1);
    let tokens = town.stand_in.tokens("woku");
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        tokens[0].user_uuid,
        town.house.contact(&town.ana).id.to_string()
    );
}

#[test]
fn a_service_that_fails_again_and_again_is_left_alone_and_then_tried_once() {
    let town = Town::new();
    let failures = usize::try_from(FAILURES_MAX).unwrap();
    town.stand_in.misbehave("woku", Some(Trouble::Down));
    for _ in 0..failures {
        assert_eq!(retry_after_ms(&town.ask("woku")), None);
    }
    assert_eq!(retry_after_ms(&town.ask("woku")), Some(REST_MS));
    town.house.clock.forward(SECOND_MS);
    assert_eq!(retry_after_ms(&town.ask("woku")), Some(REST_MS - SECOND_MS));
    assert_eq!(town.calls("woku"), failures, "left alone");
    assert!(
        matches!(town.ask("kutamma"), TokenAnswer::Token { .. }),
        "the other one is not"
    );
    town.house.clock.forward(REST_MS - SECOND_MS);
    assert_eq!(retry_after_ms(&town.ask("woku")), None, "tried");
    assert_eq!(retry_after_ms(&town.ask("woku")), Some(REST_MS));
    assert_eq!(town.calls("woku"), failures + 1, "once");
    town.stand_in.misbehave("woku", None);
    town.house.clock.forward(REST_MS);
    assert!(matches!(town.ask("woku"), TokenAnswer::Token { .. }));
    assert_eq!(town.calls("woku"), failures + 2);
}

#[test]
fn a_user_that_the_service_does_not_know_any_more_has_no_account() {
    let town = Town::new();
    let issue = |wanted: &TokenWanted<'_>, now: Timestamp, id: &str| {
        let moved = TokenWanted {
            company_id: "c-serra-azul",
            ..*wanted
        };
        town.issue(&moved, now, id)
    };
    let asked = TokenAsked {
        service: ServiceName::parse("woku").unwrap(),
        ..asked(&town.house, &town.ana)
    };
    for _ in 0..2 * FAILURES_MAX {
        let answer = town.house.app.token(&asked, &issue).unwrap();
        assert!(matches!(answer, TokenAnswer::AccountGone), "{answer:?}");
    }
    assert!(
        matches!(town.ask("woku"), TokenAnswer::Token { .. }),
        "no fault of the service"
    );
}

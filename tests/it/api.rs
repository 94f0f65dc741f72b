//! The API for bots and agents, on the real wire before a core with a clock that is set by hand
//! (S-50 to S-54, and what the published description says).

use crate::house::{House, Left, Person, code_of, other_than};
use crate::outside::{Answer, PUBLIC_HOST, ask, has};
use portero::app::keys::{Turned, When};
use portero::app::{Granted, Issued, Janitor, TokenWanted, Wish};
use portero::domain::binding::ReleaseReason;
use portero::domain::conversation::AuditEvent;
use portero::domain::failure::Failure;
use portero::domain::id::{ContactId, MessageId, PhoneNumberId, ServiceName};
use portero::domain::policy::{Finish, Methods, Policy};
use portero::domain::secret::{MappingHash, Secret};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use portero::web::listener::{Limits, Listener, Trust};
use portero::web::{ApiKey, ApiScope, Web, WebSettings, WebhookSettings};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Everything but naming people at will.
const AGENT: &str = "agent-key-0123456789abcdef0123456789abcdef";
const OTHER_AGENT: &str = "agent-key-fedcba9876543210fedcba9876543210";
/// May name people.
const OFFICE: &str = "office-key-0123456789abcdef0123456789abcde";
/// Tokens of one service, in their first hours.
const NARROW: &str = "narrow-key-0123456789abcdef0123456789abcde";

const ANA: &str = "ana@example.com";
const MAX: &str = "max@example.com";

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).unwrap()
}

fn api_keys() -> Vec<ApiKey> {
    let all = ApiScope::ALL.to_vec();
    let agent: Vec<_> = (all.iter().copied())
        .filter(|scope| *scope != ApiScope::AnyContact)
        .collect();
    let key = |called: &str, key: &str, scopes: Vec<ApiScope>| ApiKey {
        name: name(called),
        key: Secret::new(key),
        scopes,
        services: None,
        first_hours_only: false,
    };
    vec![
        key("agent", AGENT, agent.clone()),
        key("other", OTHER_AGENT, agent),
        key("office", OFFICE, all),
        ApiKey {
            services: Some(vec![name("kutamma")]),
            first_hours_only: true,
            ..key("narrow", NARROW, vec![ApiScope::Tokens])
        },
    ]
}

/// The house, and its web on a real socket.
struct Front {
    house: House,
    address: SocketAddr,
    /// How often a service was asked for a token.
    issued: Arc<AtomicUsize>,
    listener: Listener,
}

impl Front {
    fn new() -> Front {
        Front::with(House::both_ways_in())
    }

    fn with(policy: Policy) -> Front {
        let house = House::on_the_web(policy);
        house.register("kutamma", ANA, "Ana Pérez", "Acme");
        house.register("woku", MAX, "Max", "Beta");
        Front::before(house)
    }

    fn before(house: House) -> Front {
        let issued = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&issued);
        let issue = move |wanted: &TokenWanted<'_>, _: Timestamp, _: &str| {
            let number = count.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Failure>(Issued {
                token: Secret::new(format!("token-{number}-of-{}", wanted.user_id)),
                token_type: "Bearer".to_owned(),
                expires_in_seconds: 600,
            })
        };
        let settings = WebSettings {
            webhook: WebhookSettings {
                app_secrets: vec![Secret::new("0123456789abcdef0123456789abcdef")],
                verify_token: Secret::new("tomillo"),
                phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            },
            site: None,
            pages: Vec::new(),
            api_keys: api_keys(),
            issue_token: Box::new(issue),
            status: None,
        };
        let web = Web::new(Arc::clone(&house.app), settings, Box::new(Vec::new));
        let trust = Trust {
            hosts: vec![PUBLIC_HOST.to_owned()],
            proxies: Vec::new(),
        };
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = Listener::bind(at, Limits::default(), trust, Arc::new(web)).unwrap();
        Front {
            house,
            address: listener.local_addr(),
            issued,
            listener,
        }
    }

    /// The process ends and another one starts on the same records.
    fn restarted(self) -> Front {
        let Front {
            house, listener, ..
        } = self;
        drop(listener);
        Front::before(house.restarted())
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        ask(self.address, method, path, headers, body.as_bytes()).unwrap()
    }

    fn call(&self, key: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut all = vec![("Authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.ask(method, path, &all, "")
    }

    fn post(&self, key: &str, path: &str, body: &Value) -> Answer {
        self.post_once(key, path, body, None)
    }

    fn post_once(&self, key: &str, path: &str, body: &Value, once: Option<&str>) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut headers = vec![
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/json"),
        ];
        headers.extend(once.map(|once| ("Idempotency-Key", once)));
        self.ask("POST", path, &headers, &body.to_string())
    }

    /// The identity that goes with a message of this person now.
    fn identity(&self, person: &Person) -> String {
        let contact = self.house.contact(person);
        let message = MessageId::parse("wamid.1").unwrap();
        let app = &self.house.app;
        (app.identity_of(&contact, &message, app.now()))
            .reveal()
            .to_owned()
    }

    fn uuid(&self, person: &Person) -> String {
        self.house.contact(person).id.to_string()
    }

    fn token(&self, key: &str, person: &Person, service: &str) -> Answer {
        let body = json!({"identity": self.identity(person), "service": service});
        self.post(key, "/v1/tokens", &body)
    }

    /// A demand for a proof of this person.
    fn demand(&self, person: &Person, wish: Value) -> Answer {
        let mut body = json!({"identity": self.identity(person)});
        for (field, value) in wish.as_object().unwrap() {
            body[field] = value.clone();
        }
        self.post(AGENT, "/v1/challenges", &body)
    }

    fn state(&self, challenge: &Answer) -> String {
        let path = format!("/v1/challenges/{}", text(challenge, "id"));
        let answer = self.call(AGENT, "GET", &path, &[]);
        assert_eq!(answer.status, 200, "{}", answer.body);
        text(&answer, "state")
    }

    fn later(&self, ms: u64) {
        self.house.clock.forward(ms);
    }

    fn ana(&self) -> Person {
        let ana = Person::with_number("573001234567");
        self.house.sign_in(&ana, ANA);
        ana
    }

    fn max(&self) -> Person {
        let max = Person::with_number("573007654321");
        self.house.sign_in(&max, MAX);
        max
    }
}

fn text(answer: &Answer, field: &str) -> String {
    let json = answer.json();
    let value = json[field].as_str();
    value
        .unwrap_or_else(|| panic!("no {field} in {}", answer.body))
        .to_owned()
}

fn key(answer: &Answer) -> String {
    answer.json()["error"]["key"].as_str().unwrap().to_owned()
}

fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, key(answer))
}

fn is(answer: &Answer, status: u16, error: &str) {
    assert_eq!(
        refusal(answer),
        (status, error.to_owned()),
        "{}",
        answer.body
    );
}

const CALLS: [(&str, &str); 6] = [
    ("POST", "/v1/tokens"),
    ("POST", "/v1/sign-in-links"),
    ("POST", "/v1/challenges"),
    ("GET", "/v1/challenges/0"),
    ("GET", "/v1/contacts/0"),
    ("DELETE", "/v1/contacts/0/bindings"),
];

// --- S-50: who calls ------------------------------------------------------------------------------

#[test]
fn s_50_nothing_is_answered_without_a_key_that_is_known() {
    let front = Front::new();
    let almost = &AGENT[..AGENT.len() - 1];
    let longer = format!("{AGENT}0");
    for (method, path) in CALLS {
        for slash in ["", "/"] {
            let path = format!("{path}{slash}");
            let without = front.ask(method, &path, &[], "");
            let unknown =
                ["", almost, &longer, "none"].map(|key| front.call(key, method, &path, &[]));
            let basic = [("Authorization", "Basic YWdlbnQ6YWdlbnQ=")];
            let basic = front.ask(method, &path, &basic, "");
            let bearer = format!("Bearer {AGENT}");
            let twice = [
                ("Authorization", bearer.as_str()),
                ("Authorization", &bearer),
            ];
            let twice = front.ask(method, &path, &twice, "");
            for answer in unknown.iter().chain([&without, &basic, &twice]) {
                is(answer, 401, "API_KEY_INVALID");
                assert_eq!(answer.body, without.body);
                assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
            }
        }
    }
}

#[test]
fn s_50_another_person_looks_just_like_nobody() {
    let front = Front::new();
    let (ana, max) = (front.ana(), front.max());
    let identity = front.identity(&ana);
    let shown = [("Portero-Identity", identity.as_str())];
    let nobody = ContactId::from_random([9; 16]).to_string();
    let own = front.uuid(&ana);
    for (method, rest) in [("GET", ""), ("DELETE", "/bindings")] {
        let of = |uuid: &str| format!("/v1/contacts/{uuid}{rest}");
        let unknown = front.call(AGENT, method, &of(&nobody), &shown);
        is(&unknown, 404, "CONTACT_NOT_FOUND");
        for other in [&front.uuid(&max), "573007654321", &own.to_uppercase(), "0"] {
            let answer = front.call(AGENT, method, &of(other), &shown);
            assert_eq!(
                (answer.status, &answer.body),
                (404, &unknown.body),
                "{other}"
            );
        }
    }
    assert!(front.house.is_bound(&max) && front.house.is_bound(&ana));
    let view = front.call(AGENT, "GET", &format!("/v1/contacts/{own}/"), &shown);
    assert_eq!(view.status, 200, "{}", view.body);
    assert_eq!(
        view.json(),
        json!({
            "userUuid": own, "language": "es", "numberEnding": "67",
            "bindings": [{
                "service": "kutamma",
                "account": {"id": "u1-ana@example.com", "name": "Ana Pérez"},
                "company": {"id": "acme", "name": "Acme"},
                "proof": "mail_code",
                "provedAt": view.json()["bindings"][0]["provedAt"],
                "scope": "full",
            }],
            "scopes": ["full"],
        })
    );
    // Who may name anybody needs no identity; one that is shown has to fit all the same.
    let other = format!("/v1/contacts/{}", front.uuid(&max));
    assert_eq!(front.call(OFFICE, "GET", &other, &[]).status, 200);
    is(
        &front.call(OFFICE, "GET", &other, &shown),
        404,
        "CONTACT_NOT_FOUND",
    );
    is(&front.call(AGENT, "GET", &other, &[]), 403, "SCOPE_MISSING");
}

#[test]
fn s_50_a_challenge_is_nobody_elses_to_ask_about() {
    let front = Front::new();
    let ana = front.ana();
    front.later(6 * MINUTE_MS);
    let challenge = front.demand(&ana, json!({"proof": "mail_code", "maxAgeSeconds": 60}));
    assert_eq!(challenge.status, 202, "{}", challenge.body);
    let path = format!("/v1/challenges/{}", text(&challenge, "id"));
    assert_eq!(front.call(AGENT, "GET", &path, &[]).status, 200);
    for key in [OTHER_AGENT, OFFICE] {
        is(
            &front.call(key, "GET", &path, &[]),
            404,
            "CHALLENGE_NOT_FOUND",
        );
    }
    is(&front.call(NARROW, "GET", &path, &[]), 403, "SCOPE_MISSING");
    let changed = format!("/v1/challenges/{}", other_than_hex(&text(&challenge, "id")));
    is(
        &front.call(AGENT, "GET", &changed, &[]),
        404,
        "CHALLENGE_NOT_FOUND",
    );
}

fn other_than_hex(id: &str) -> String {
    let last = if id.ends_with('0') { "1" } else { "0" };
    format!("{}{last}", &id[..id.len() - 1])
}

// --- S-51: whom a call is about -------------------------------------------------------------------

#[test]
fn s_51_an_agent_cannot_name_the_person_it_acts_for() {
    let front = Front::new();
    let (ana, max) = (front.ana(), front.max());
    let (identity, of_max) = (front.identity(&ana), front.uuid(&max));
    for (path, rest) in [
        ("/v1/tokens", json!({"service": "woku"})),
        ("/v1/sign-in-links", json!({})),
        ("/v1/challenges/", json!({})),
    ] {
        let post = |key: &str, who: Value| {
            let mut body = rest.clone();
            for (field, value) in who.as_object().unwrap() {
                body[field] = value.clone();
            }
            front.post(key, path, &body)
        };
        let named = post(AGENT, json!({"contact": of_max}));
        is(&named, 403, "SCOPE_MISSING");
        assert_eq!(named.json()["error"]["details"]["scope"], "any_contact");
        // A number or another name of WhatsApp's is refused whatever the key may do.
        for number in [
            "573007654321",
            "+573007654321",
            "CO.13491208655302741918",
            ANA,
            "",
        ] {
            for key in [AGENT, OFFICE] {
                let answer = post(key, json!({"contact": number}));
                assert_eq!(answer.status, 400, "{number} {}", answer.body);
            }
        }
        for who in [
            json!({}),
            json!({"identity": identity, "contact": of_max}),
            json!({"identity": null, "contact": of_max}),
            json!({"phone": "573007654321"}),
        ] {
            assert_eq!(post(OFFICE, who.clone()).status, 400, "{who}");
        }
    }
    assert_eq!(front.issued.load(Ordering::SeqCst), 0);
    let token = front.token(AGENT, &ana, "kutamma");
    assert_eq!(token.status, 200, "{}", token.body);
    let named = json!({"contact": of_max, "service": "woku"});
    assert_eq!(front.post(OFFICE, "/v1/tokens", &named).status, 200);
}

#[test]
fn s_51_an_identity_counts_for_five_minutes_and_only_unaltered() {
    let front = Front::new();
    let (ana, max) = (front.ana(), front.max());
    let identity = front.identity(&ana);
    let post = |identity: &str| {
        let body = json!({"identity": identity, "service": "kutamma"});
        front.post(AGENT, "/v1/tokens", &body)
    };
    assert_eq!(post(&identity).status, 200);
    let (of_ana, of_max): (Vec<&str>, String) =
        (identity.split('.').collect(), front.identity(&max));
    let of_max: Vec<&str> = of_max.split('.').collect();
    let elsewhere = Front::new();
    let stranger = elsewhere.ana();
    let other_keys = elsewhere.house.app.rotate_keys(When::Now).unwrap();
    assert!(matches!(other_keys, Turned::Made { .. }));
    let mut forged = vec![
        String::new(),
        "ana".to_owned(),
        front.uuid(&ana),
        format!("{}.{}.{}", of_ana[0], of_max[1], of_ana[2]),
        format!("{}.{}.", of_ana[0], of_ana[1]),
        format!("{identity}.{}", of_ana[2]),
        format!("{identity}A"),
        "a".repeat(20_000),
    ];
    // Another Portero with keys of its own.
    forged.push(elsewhere.identity(&stranger));
    for identity in forged {
        let answer = post(&identity);
        is(&answer, 401, "IDENTITY_INVALID");
        assert_eq!(answer.header("WWW-Authenticate"), Some("Bearer"));
    }
    front.later(5 * MINUTE_MS - SECOND_MS);
    assert_eq!(post(&identity).status, 200);
    front.later(SECOND_MS);
    is(&post(&identity), 401, "IDENTITY_EXPIRED");
    let shown = [("Portero-Identity", identity.as_str())];
    let path = format!("/v1/contacts/{}", front.uuid(&ana));
    is(
        &front.call(AGENT, "GET", &path, &shown),
        401,
        "IDENTITY_EXPIRED",
    );
}

// --- S-52: what has ended -------------------------------------------------------------------------

#[test]
fn s_52_a_token_ends_with_the_binding_whoever_ends_it() {
    type End = fn(&Front, &Person);
    let ends: [(&str, End); 5] = [
        ("the bot", |front, person| {
            let identity = front.identity(person);
            let path = format!("/v1/contacts/{}/bindings", front.uuid(person));
            let shown = [("Portero-Identity", identity.as_str())];
            let answer = front.call(AGENT, "DELETE", &path, &shown);
            assert_eq!((answer.status, &*answer.body), (200, r#"{"released":1}"#));
            let again = front.call(AGENT, "DELETE", &path, &shown);
            assert_eq!((again.status, &*again.body), (200, r#"{"released":0}"#));
            let event = AuditEvent::Released(ReleaseReason::Bot).name();
            assert_eq!(event, "contact.released.bot");
            assert_eq!(front.house.audited(event), 1);
        }),
        ("the person", |front, person| {
            front.house.ask(person, "cerrar sesión");
        }),
        ("the mailbox", |front, _| {
            let token = front.house.undo_token(ANA).unwrap();
            assert!(front.house.app.undo(&token).unwrap());
        }),
        ("another phone", |front, person| {
            let key = |text: &str| portero::domain::id::IdentityKey::parse(text).ok();
            for seen in ["first", "second"] {
                let mut person = person.clone();
                person.key = key(seen);
                front.house.write(&person, "hola");
            }
        }),
        ("time", |front, _| front.later(91 * DAY_MS)),
    ];
    for (who, end) in ends {
        let front = Front::new();
        let ana = front.ana();
        let body = json!({"identity": front.identity(&ana), "service": "kutamma"});
        let first = front.post_once(AGENT, "/v1/tokens", &body, Some("once"));
        assert_eq!(text(&first, "token"), "token-0-of-u1-ana@example.com");
        end(&front, &ana);
        let after = front.token(AGENT, &ana, "kutamma");
        assert_eq!(
            (after.status, text(&after, "need")),
            (200, "sign_in".into()),
            "{who}"
        );
        assert!(!text(&after, "say").is_empty());
        if who != "time" {
            // The mark of the first call opens nothing.
            let again = front.post_once(AGENT, "/v1/tokens", &body, Some("once"));
            assert_eq!(text(&again, "need"), "sign_in", "{who}");
        }
        let front = front.restarted();
        let after = front.token(AGENT, &ana, "kutamma");
        assert_eq!(text(&after, "need"), "sign_in", "{who}, and a restart");
        assert_eq!(front.issued.load(Ordering::SeqCst), 0);
        front.house.ask(&ana, "¿cuánto debo?");
        let last = front.house.said_to(&ana).pop().unwrap();
        assert!(last.contains("correo"), "{who}: asked again, not {last}");
    }
}

#[test]
fn the_bindings_to_one_service_end_alone() {
    let front = Front::new();
    front.house.register("woku", ANA, "Ana", "Beta");
    let ana = front.ana();
    let path = format!("/v1/contacts/{}/bindings", front.uuid(&ana));
    let delete = |query: &str| front.call(OFFICE, "DELETE", &format!("{path}{query}"), &[]);
    assert_eq!(delete("?service=tienda").body, r#"{"released":0}"#);
    assert_eq!(delete("/?service=woku").body, r#"{"released":1}"#);
    assert_eq!(text(&front.token(AGENT, &ana, "woku"), "need"), "sign_in");
    assert_eq!(front.token(AGENT, &ana, "kutamma").status, 200);
    assert!(text(&front.token(AGENT, &ana, "kutamma"), "token").contains("u1"));
    for query in [
        "?service=Woku",
        "?service=",
        "?service=a&service=b",
        "?servce=woku",
    ] {
        is(&delete(query), 400, "QUERY_INVALID");
    }
    assert_eq!(delete("").body, r#"{"released":1}"#);
}

// --- S-53: how much -------------------------------------------------------------------------------

#[test]
fn s_53_nobody_gets_more_than_their_key_and_the_proof_allow() {
    let front = Front::new();
    let ana = front.ana();
    let ask = |key: &str, scope: Option<&str>, service: &str| {
        let mut body = json!({"identity": front.identity(&ana), "service": service});
        if let Some(scope) = scope {
            body["scope"] = scope.into();
        }
        front.post(key, "/v1/tokens", &body)
    };
    is(&ask(NARROW, Some("full"), "kutamma"), 403, "SCOPE_TOO_WIDE");
    is(&ask(NARROW, None, "woku"), 403, "SERVICE_NOT_ALLOWED");
    is(&ask(NARROW, None, "tienda"), 404, "SERVICE_NOT_FOUND");
    assert_eq!(text(&ask(NARROW, None, "kutamma"), "scope"), "first_hours");
    assert_eq!(text(&ask(AGENT, None, "kutamma"), "scope"), "full");
    assert_eq!(
        text(&ask(AGENT, Some("first_hours"), "kutamma"), "scope"),
        "first_hours"
    );
    for (method, path) in &CALLS[1..] {
        let refused = front.call(NARROW, method, path, &[]);
        is(&refused, 403, "SCOPE_MISSING");
    }
    let token = ask(AGENT, None, "kutamma").json();
    assert!(token["expiresIn"].as_u64().unwrap() <= 600, "{token}");
    let fields: Vec<&String> = token.as_object().unwrap().keys().collect();
    let expected = [
        "account",
        "company",
        "expiresIn",
        "scope",
        "service",
        "token",
        "tokenType",
    ];
    assert_eq!(fields, expected);

    // A sign-in on the web is worth less in its first hours.
    let hash = front.house.new_link(&Person::with_number("573005550000"));
    let vera = Person::with_number("573005550000");
    let words = front.house.sign_in_on_page(&hash, ANA);
    front.house.ask(&vera, &words);
    let ask = |scope: Value| {
        let mut body = json!({"identity": front.identity(&vera), "service": "kutamma"});
        body["scope"] = scope;
        front.post(AGENT, "/v1/tokens", &body)
    };
    assert_eq!(text(&ask("full".into()), "need"), "step_up");
    assert_eq!(text(&ask("first_hours".into()), "scope"), "first_hours");
    front.later(DAY_MS);
    assert_eq!(text(&ask("full".into()), "scope"), "full");
}

#[test]
fn several_accounts_are_named_and_one_of_them_is_chosen() {
    let front = Front::new();
    front.house.register("kutamma", ANA, "Ana de Beta", "Beta");
    let ana = front.ana();
    let ambiguous = front.token(AGENT, &ana, "kutamma");
    is(&ambiguous, 409, "ACCOUNT_AMBIGUOUS");
    let accounts = &ambiguous.json()["error"]["details"]["accounts"];
    assert_eq!(
        accounts[1],
        json!({"account": {"id": "u2-ana@example.com", "name": "Ana de Beta"},
            "company": {"id": "beta", "name": "Beta"}})
    );
    let body = json!({"identity": front.identity(&ana), "service": "kutamma",
        "account": accounts[1]["account"]["id"]});
    let token = front.post(AGENT, "/v1/tokens", &body);
    assert_eq!(token.json()["account"], accounts[1]["account"]);
    assert_eq!(token.json()["company"], accounts[1]["company"]);

    let id = &accounts[1]["account"]["id"];
    for (account, company) in [(&json!("u9"), None), (id, Some("acme"))] {
        let mut body = json!({"identity": front.identity(&ana), "service": "kutamma",
            "account": account});
        if let Some(company) = company {
            body["company"] = company.into();
        }
        let answer = front.post(AGENT, "/v1/tokens", &body);
        is(&answer, 404, "ACCOUNT_NOT_FOUND");
    }
}

#[test]
fn s_51_an_identity_brings_no_token_of_whoever_signs_in_after_its_message() {
    const EVA: &str = "eva@example.com";
    let front = Front::new();
    front.house.register("kutamma", EVA, "Eva Ruiz", "Acme");
    let phone = Person::with_number("573001234567");
    let token = |identity: &str| {
        let body = json!({"identity": identity, "service": "kutamma"});
        front.post(AGENT, "/v1/tokens", &body).json()
    };
    // Nobody yet: what was asked is done once they have signed in.
    front.house.ask(&phone, "hola");
    let nobodys = front.identity(&phone);
    assert_eq!(token(&nobodys)["need"], "sign_in");
    front.house.sign_in(&phone, ANA);
    let told = token(&nobodys);
    assert_eq!(told["account"]["name"], "Ana Pérez", "{told}");

    let anas = front.identity(&phone);
    front.later(MINUTE_MS);
    front.house.ask(&phone, "salir");
    front.house.sign_in(&phone, ANA);
    let told = token(&anas);
    assert_eq!(told["account"]["name"], "Ana Pérez", "proved again: {told}");

    // What she wrote before Eva signed in, and what of it goes to the bot only afterwards.
    let written_at = front.house.app.now();
    front.later(MINUTE_MS);
    front.house.ask(&phone, "salir");
    assert_eq!(token(&anas)["need"], "sign_in");
    front.house.sign_in(&phone, EVA);
    let issued = front.issued.load(Ordering::SeqCst);
    let message = MessageId::parse("wamid.1").unwrap();
    let contact = front.house.contact(&phone);
    let late = (front.house.app).identity_of(&contact, &message, written_at);
    for identity in [&anas[..], late.reveal()] {
        let told = token(identity);
        assert_eq!(told["need"], "sign_in", "{told}");
    }
    assert_eq!(front.issued.load(Ordering::SeqCst), issued);
    let told = token(&front.identity(&phone));
    assert_eq!(told["account"]["name"], "Eva Ruiz", "{told}");
}

#[test]
fn s_51_an_identity_tells_proves_and_ends_nothing_of_whoever_signs_in_after_its_message() {
    const EVA: &str = "eva@example.com";
    let front = Front::new();
    front.house.register("kutamma", EVA, "Eva Ruiz", "Acme");
    let phone = Person::with_number("573001234567");
    front.house.sign_in(&phone, ANA);
    let anas = front.identity(&phone);
    let path = format!("/v1/contacts/{}", front.uuid(&phone));
    let bindings = format!("{path}/bindings");
    let with = |method: &str, path: &str, identity: &str| {
        front.call(AGENT, method, path, &[("Portero-Identity", identity)])
    };
    let proof = |identity: &str| {
        let body = json!({"identity": identity, "proof": "mail_code", "maxAgeSeconds": 300});
        front.post_once(AGENT, "/v1/challenges", &body, Some("once"))
    };
    assert_eq!(text(&proof(&anas), "state"), "passed");
    assert!(with("GET", &path, &anas).body.contains("Ana Pérez"));

    // She is out, and then somebody else is in.
    front.house.ask(&phone, "salir");
    is(&proof(&anas), 409, "IDENTITY_OUTLIVED");
    front.house.sign_in(&phone, EVA);
    is(&proof(&anas), 409, "IDENTITY_OUTLIVED");
    let told = with("GET", &path, &anas);
    assert_eq!(told.json()["bindings"], json!([]), "{}", told.body);
    assert!(!told.body.contains("Eva"), "{}", told.body);
    let ended = with("DELETE", &bindings, &anas);
    assert_eq!(ended.body, r#"{"released":0}"#);

    // Her own message is believed, and whoever may name anybody still may.
    let evas = front.identity(&phone);
    assert!(with("GET", &path, &evas).body.contains("Eva Ruiz"));
    let body = json!({"identity": evas, "proof": "mail_code", "maxAgeSeconds": 300});
    let passed = front.post(AGENT, "/v1/challenges", &body);
    assert_eq!(text(&passed, "state"), "passed");
    assert!(
        front
            .call(OFFICE, "GET", &path, &[])
            .body
            .contains("Eva Ruiz")
    );
    assert_eq!(with("DELETE", &bindings, &evas).body, r#"{"released":1}"#);
}

// --- S-54: where secrets do not belong ------------------------------------------------------------

#[test]
fn s_54_a_secret_in_the_address_is_refused_and_opens_nothing() {
    let front = Front::new();
    let ana = front.ana();
    let identity = front.identity(&ana);
    for (method, path) in CALLS {
        for query in [
            format!("token={AGENT}"),
            format!("access_token={AGENT}"),
            format!("key={AGENT}"),
            format!("API_KEY={AGENT}"),
            format!("%6bey={AGENT}"),
            format!("identity={identity}"),
            format!("a=b&Portero-Identity={identity}"),
            "authorization".to_owned(),
        ] {
            let path = format!("{path}?{query}");
            is(&front.ask(method, &path, &[], ""), 400, "SECRET_IN_URL");
            is(&front.call(AGENT, method, &path, &[]), 400, "SECRET_IN_URL");
        }
        let other = front.call(OFFICE, method, &format!("{path}?page=1"), &[]);
        is(&other, 400, "QUERY_INVALID");
    }
}

// --- bodies ---------------------------------------------------------------------------------------

#[test]
fn a_body_that_is_not_as_described_is_told_where_it_is_wrong() {
    let front = Front::new();
    let ana = front.ana();
    let id = front.identity(&ana);
    let raw = |path: &str, kind: &str, body: &str| {
        let bearer = format!("Bearer {AGENT}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", kind)];
        front.ask("POST", path, &headers, body)
    };
    for (path, body, field) in [
        (
            "/v1/tokens",
            format!(r#"{{"identity":"{id}","service":"Kutamma"}}"#),
            "service",
        ),
        (
            "/v1/tokens",
            format!(r#"{{"identity":"{id}","service":"a","scope":"all"}}"#),
            "scope",
        ),
        (
            "/v1/tokens",
            format!(r#"{{"identity":"{id}","service":"a","account":""}}"#),
            "account",
        ),
        (
            "/v1/tokens",
            r#"{"contact":"1","service":"a"}"#.to_owned(),
            "contact",
        ),
        ("/v1/tokens", r#"{"service":"a"}"#.to_owned(), "identity"),
        (
            "/v1/challenges",
            format!(r#"{{"identity":"{id}","proof":"page"}}"#),
            "proof",
        ),
        (
            "/v1/challenges",
            format!(r#"{{"identity":"{id}","maxAgeSeconds":31622401}}"#),
            "maxAgeSeconds",
        ),
    ] {
        let answer = raw(path, "application/json", &body);
        assert_eq!(answer.status, 400, "{body} {}", answer.body);
        assert_eq!(answer.json()["error"]["details"]["field"], field, "{body}");
    }
    for body in [
        String::new(),
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        format!(r#"["{id}"]"#),
        format!(r#"{{"identity":"{id}"}} x"#),
        format!(r#"{{"identity":"{id}","identity":"{id}"}}"#),
        format!(r#"{{"identity":"{id}","send":null}}"#),
        format!(r#"{{"identity":"{id}","send":"yes"}}"#),
        format!(r#"{{"identity":"{id}","sent":true}}"#),
        r#"{"identity":7}"#.to_owned(),
    ] {
        let answer = raw("/v1/sign-in-links", "application/json", &body);
        is(&answer, 400, "BODY_INVALID");
        let details = &answer.json()["error"]["details"];
        assert!(
            details["line"].is_u64() && details["column"].is_u64(),
            "{body}: {details}"
        );
        assert!(!answer.body.contains(&id), "a body is not repeated");
    }
    let fine = format!(r#"{{"identity":"{id}"}}"#);
    for kind in [
        "text/plain",
        "",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
    ] {
        is(
            &raw("/v1/sign-in-links", kind, &fine),
            415,
            "CONTENT_TYPE_UNSUPPORTED",
        );
    }
    assert_eq!(
        raw(
            "/v1/sign-in-links/",
            "application/json; charset=utf-8",
            &fine
        )
        .status,
        202
    );
    let long = format!("{}{fine}", " ".repeat(70_000));
    assert_eq!(
        raw("/v1/sign-in-links", "application/json", &long).status,
        413
    );
    let wrong = front.call(AGENT, "GET", "/v1/tokens", &[]);
    is(&wrong, 405, "METHOD_NOT_ALLOWED");
    assert_eq!(wrong.header("Allow"), Some("POST"));
}

#[test]
fn what_is_refused_before_it_is_read_is_told_in_the_same_form() {
    let front = Front::new();
    let long = "x".repeat(70 * 1024);
    let json = ("Content-Type", "application/json");
    for (headers, body, status, key) in [
        (vec![json], &long[..], 413, "BODY_TOO_LONG"),
        (vec![json, ("X-Long", &long[..])], "", 431, "HEAD_TOO_LONG"),
        (
            vec![json, ("Content-Encoding", "gzip")],
            "{}",
            415,
            "CONTENT_ENCODING_UNSUPPORTED",
        ),
    ] {
        let answer = front.ask("POST", "/v1/tokens", &headers, body);
        is(&answer, status, key);
    }
}

#[test]
fn what_is_for_everybody_can_be_read_by_any_page() {
    let front = Front::new();
    let jwks = front.ask("GET", "/.well-known/jwks.json", &[], "");
    assert_eq!(
        (jwks.status, jwks.header("Access-Control-Allow-Origin")),
        (200, Some("*"))
    );
    let kept = jwks.header("Cache-Control").unwrap();
    assert!(kept.contains("max-age=300"), "{kept}");
    assert_eq!(jwks.json()["keys"][0]["crv"], "Ed25519");
    let described = front.ask("GET", "/openapi.json/", &[], "");
    assert_eq!(described.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(described.json()["openapi"], "3.1.0");
}

// --- links ----------------------------------------------------------------------------------------

#[test]
fn a_link_is_sent_by_portero_or_by_the_bot_and_its_hash_is_nowhere() {
    let front = Front::new();
    let ana = Person::with_number("573001234567");
    front.house.ask(&ana, "hola");
    let said = front.house.said().len();
    let body = json!({"identity": front.identity(&ana)});
    let sent = front.post(AGENT, "/v1/sign-in-links", &body);
    assert_eq!(sent.status, 202, "{}", sent.body);
    assert!(sent.json().get("url").is_none());
    front.house.settle();
    assert_eq!(front.house.said().len(), said + 1);
    let first = front.house.link(&ana).unwrap();
    let body = json!({"identity": front.identity(&ana), "send": false});
    let made = front.post(AGENT, "/v1/sign-in-links", &body);
    assert_eq!(made.status, 201, "{}", made.body);
    front.house.settle();
    assert_eq!(front.house.said().len(), said + 1, "nothing was sent");
    assert_ne!(text(&made, "id"), text(&sent, "id"));
    let url = text(&made, "url");
    let (_, hash) = url.split_once("?mappingHash=").unwrap();
    for (_, key, value) in front.house.records() {
        let is_there = has(&key, hash.as_bytes()) || has(&value, hash.as_bytes());
        assert!(!is_there, "the hash is stored");
    }
    assert!(
        front.house.app.page(&first).unwrap().is_none(),
        "one link at a time"
    );
    let words = front
        .house
        .sign_in_on_page(&MappingHash::parse(hash).unwrap(), ANA);
    front.house.ask(&ana, &words);
    assert!(front.house.is_bound(&ana));
}

#[test]
fn a_limit_of_links_is_told_to_the_bot_and_not_to_the_chat() {
    let front = Front::new();
    let ana = front.ana();
    for _ in 0..3 {
        let body = json!({"identity": front.identity(&ana)});
        assert_eq!(front.post(AGENT, "/v1/sign-in-links", &body).status, 202);
    }
    front.house.settle();
    let said = front.house.said().len();
    let body = json!({"identity": front.identity(&ana), "send": false});
    let limited = front.post(AGENT, "/v1/sign-in-links", &body);
    is(&limited, 429, "LIMIT_REACHED");
    assert!(
        limited.json()["error"]["details"]["say"]
            .as_str()
            .is_some_and(|say| !say.is_empty())
    );
    let wait: u64 = limited.header("Retry-After").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    let password = front.demand(&ana, json!({"proof": "password"}));
    is(&password, 429, "LIMIT_REACHED");
    front.house.settle();
    assert_eq!(front.house.said().len(), said);
    front.later(wait * SECOND_MS);
    let body = json!({"identity": front.identity(&ana), "send": false});
    assert_eq!(front.post(AGENT, "/v1/sign-in-links", &body).status, 201);
}

#[test]
fn what_cannot_be_is_told_with_what_to_do() {
    let front = Front::with(Policy::default());
    let ana = front.ana();
    let body = json!({"identity": front.identity(&ana)});
    let off = front.post(AGENT, "/v1/sign-in-links", &body);
    is(&off, 409, "WEB_SIGN_IN_OFF");
    assert!(off.body.contains("sign_in.methods"));
    is(
        &front.demand(&ana, json!({"proof": "password"})),
        409,
        "PROOF_UNAVAILABLE",
    );

    let front = Front::new();
    let ana = front.ana();
    let nobody = json!({"contact": ContactId::from_random([9; 16]).to_string()});
    let silent = json!({"contact": front.uuid(&ana), "proof": "mail_code", "maxAgeSeconds": 60});
    front.later(24 * HOUR_MS);
    for path in ["/v1/sign-in-links", "/v1/challenges"] {
        is(&front.post(OFFICE, path, &nobody), 404, "CONTACT_NOT_FOUND");
    }
    is(
        &front.post(OFFICE, "/v1/challenges", &silent),
        409,
        "CHAT_CLOSED",
    );
    let link = json!({"contact": front.uuid(&ana)});
    is(
        &front.post(OFFICE, "/v1/sign-in-links", &link),
        409,
        "CHAT_CLOSED",
    );
    let silent = json!({"contact": front.uuid(&ana), "proof": "mail_code"});
    assert_eq!(
        front.post(OFFICE, "/v1/challenges", &silent).status,
        200,
        "it still stands"
    );
}

// --- fresh proofs ---------------------------------------------------------------------------------

fn by_mail() -> Value {
    json!({"proof": "mail_code", "maxAgeSeconds": 300})
}

#[test]
fn a_proof_that_is_fresh_enough_is_not_asked_for_again() {
    let front = Front::new();
    let ana = front.ana();
    for wish in [
        json!({}),
        by_mail(),
        json!({"proof": "any", "maxAgeSeconds": 60}),
    ] {
        let passed = front.demand(&ana, wish);
        assert_eq!(passed.status, 200, "{}", passed.body);
        assert_eq!(text(&passed, "state"), "passed");
        assert_eq!(text(&passed, "proof"), "mail_code");
    }
    front.later(5 * MINUTE_MS + SECOND_MS);
    assert_eq!(front.demand(&ana, json!({})).status, 200);
    assert_eq!(front.demand(&ana, by_mail()).status, 202);
}

#[test]
fn a_bound_person_proves_the_mailbox_again_and_the_rest_of_the_chat_is_the_bots() {
    let front = Front::new();
    let ana = front.ana();
    front.later(10 * MINUTE_MS);
    let (mails, handed_on) = (front.house.mails_to(ANA), front.house.handed_on().len());
    let challenge = front.demand(&ana, by_mail());
    assert_eq!(challenge.status, 202, "{}", challenge.body);
    front.house.settle();
    assert_eq!(
        front.house.mails_to(ANA),
        mails + 1,
        "at once, without an address"
    );
    let asked = front.house.said_to(&ana).pop().unwrap();
    assert!(
        asked.contains("a•••@e•••") && !asked.contains(ANA),
        "{asked}"
    );
    assert_eq!(front.state(&challenge), "pending");
    // Asked again, it is the same challenge and the same code.
    let again = front.demand(&ana, by_mail());
    assert_eq!(text(&again, "id"), text(&challenge, "id"));
    front.house.settle();
    assert_eq!(front.house.mails_to(ANA), mails + 1);

    let code = front.house.code();
    for (words, is_the_bots) in [
        ("¿cuánto debo?", true),
        ("gracias!", true),
        (ANA, false),
        ("mi correo es max@example.com", false),
        (other_than(&code).as_str(), false),
        ("hunter2", false),
        ("Contraseña-2026", false),
    ] {
        let before = front.house.handed_on().len();
        let told = front.house.ask(&ana, words);
        let reached = front.house.handed_on().len() > before;
        assert_eq!(reached, is_the_bots, "{words}");
        assert_eq!(told.is_empty(), is_the_bots, "{words}");
    }
    let front = front.restarted();
    assert_eq!(front.state(&challenge), "pending");
    let told = front.house.ask(&ana, &code);
    assert!(told[0].contains("Ana Pérez"), "{told:?}");
    assert_eq!(front.state(&challenge), "passed");
    let leaks = (front.house.handed_on().into_iter().flatten())
        .filter(|text| text.contains('@') || text.contains(&code) || text.contains("hunter2"));
    assert_eq!(leaks.count(), 0);
    assert_eq!(front.house.handed_on().len(), handed_on + 2);
    assert_eq!(front.demand(&ana, by_mail()).status, 200);
}

#[test]
fn another_code_in_the_chat_is_still_the_same_challenge() {
    let front = Front::new();
    let ana = front.ana();
    front.later(10 * MINUTE_MS);
    let challenge = front.demand(&ana, by_mail());
    front.house.settle();
    let first = front.house.code();
    // The first one grows old; another is asked for by its word.
    front.house.later(11 * MINUTE_MS);
    assert_eq!(front.state(&challenge), "pending");
    let told = front.house.ask(&ana, &first);
    assert!(!told.is_empty() && !front.house.handed_on().contains(&Some(first.clone())));
    front.house.ask(&ana, "reenviar");
    assert_ne!(front.house.code(), first);
    assert_eq!(front.state(&challenge), "pending");
    front.house.ask(&ana, &front.house.code());
    assert_eq!(front.state(&challenge), "passed");
}

#[test]
fn a_challenge_is_refused_or_expires_and_never_passes_after_that() {
    let begin = || {
        let front = Front::new();
        let ana = front.ana();
        front.later(10 * MINUTE_MS);
        let challenge = front.demand(&ana, by_mail());
        front.house.settle();
        (front, ana, challenge)
    };
    type End = fn(&Front, &Person);
    let ends: [(&str, End, &str); 5] = [
        (
            "stopped",
            |front, ana| drop(front.house.ask(ana, "cancelar")),
            "refused",
        ),
        (
            "signed out",
            |front, ana| drop(front.house.ask(ana, "cerrar sesión")),
            "refused",
        ),
        (
            "undone by mail",
            |front, _| {
                assert!(
                    front
                        .house
                        .app
                        .undo(&front.house.undo_token(ANA).unwrap())
                        .unwrap()
                )
            },
            "refused",
        ),
        (
            "the bot ends it",
            |front, ana| {
                let id = front.house.contact(ana).id;
                front
                    .house
                    .app
                    .release_for_the_bot("agent", id, None)
                    .unwrap();
            },
            "refused",
        ),
        (
            "too late",
            |front, _| front.later(31 * MINUTE_MS),
            "expired",
        ),
    ];
    for (what, end, state) in ends {
        let (front, ana, challenge) = begin();
        let code = front.house.code();
        end(&front, &ana);
        assert_eq!(front.state(&challenge), state, "{what}");
        front.house.ask(&ana, &code);
        assert_eq!(front.state(&challenge), state, "{what}");
    }
    // A proof that passed and was undone is none.
    let (front, ana, challenge) = begin();
    front.house.ask(&ana, &front.house.code());
    assert_eq!(front.state(&challenge), "passed");
    assert!(
        front
            .house
            .app
            .undo(&front.house.undo_token(ANA).unwrap())
            .unwrap()
    );
    assert_eq!(front.state(&challenge), "refused");
}

#[test]
fn somebody_unknown_is_asked_for_the_address_and_passes_with_the_code() {
    let front = Front::new();
    let ana = Person::with_number("573001234567");
    front.house.ask(&ana, "hola");
    front.later(MINUTE_MS);
    let challenge = front.demand(&ana, by_mail());
    assert_eq!(challenge.status, 202, "{}", challenge.body);
    front.house.ask(&ana, ANA);
    assert_eq!(front.state(&challenge), "pending");
    front.house.ask(&ana, &front.house.code());
    assert_eq!(front.state(&challenge), "passed");
    assert!(front.house.is_bound(&ana));
}

#[test]
fn a_password_is_asked_for_by_a_link_and_a_code_by_mail_does_not_do() {
    for finish in [Finish::ReturnCode, Finish::MailCode] {
        let front = Front::with(Policy {
            finish,
            ..House::both_ways_in()
        });
        let ana = front.ana();
        let challenge = front.demand(&ana, json!({"proof": "password"}));
        assert_eq!(challenge.status, 202, "{}", challenge.body);
        front.house.settle();
        let hash = front.house.link(&ana).unwrap();
        let said = front.house.ask(&ana, "hunter2");
        assert!(said[0].contains("contraseña"), "{said:?}");
        assert!(
            !front
                .house
                .handed_on()
                .contains(&Some("hunter2".to_owned()))
        );
        let (_, words) = front.house.right_password(&hash, ANA);
        assert_eq!(
            front.state(&challenge),
            "pending",
            "the chat has not confirmed it"
        );
        front.house.settle();
        let last = match finish {
            Finish::MailCode => front.house.code(),
            _ => words.unwrap(),
        };
        front.house.ask(&ana, &last);
        assert_eq!(front.state(&challenge), "passed", "{finish:?}");
    }
    let front = Front::new();
    let ana = front.ana();
    let challenge = front.demand(&ana, json!({"proof": "password"}));
    front.house.settle();
    front
        .house
        .app
        .decline(&front.house.link(&ana).unwrap())
        .unwrap();
    assert_eq!(front.state(&challenge), "refused");
}

#[test]
fn somebody_elses_sign_in_is_no_proof() {
    let front = Front::new();
    let ana = front.ana();
    let challenge = front.demand(&ana, json!({"proof": "password"}));
    front.house.settle();
    let hash = front.house.link(&ana).unwrap();
    let words = front.house.sign_in_on_page(&hash, MAX);
    front.house.ask(&ana, &words);
    assert_eq!(front.state(&challenge), "refused");
}

#[test]
fn a_mail_that_cannot_leave_ends_the_challenge_in_words() {
    let front = Front::with(Policy {
        methods: Methods {
            mail: true,
            web: false,
        },
        ..Policy::default()
    });
    let ana = front.ana();
    front.later(10 * MINUTE_MS);
    front.house.world.change(|outside| {
        outside.mail = crate::house::Takes::Not(crate::house::server_error());
    });
    let challenge = front.demand(&ana, by_mail());
    front.house.later(11 * MINUTE_MS);
    assert_eq!(front.state(&challenge), "refused");
    let last = front.house.said_to(&ana).pop().unwrap();
    assert!(
        last.contains("correo") && !last.contains("enlace"),
        "{last}"
    );
    assert!(front.house.is_bound(&ana));
}

#[test]
fn codes_for_the_bot_count_like_any_other() {
    let front = Front::new();
    let ana = front.ana();
    let mut limited = None;
    for _ in 0..6 {
        front.later(2 * MINUTE_MS);
        let challenge = front.demand(&ana, json!({"proof": "mail_code", "maxAgeSeconds": 0}));
        if challenge.status != 202 {
            limited = Some(challenge);
            break;
        }
        front.house.settle();
        front.house.ask(&ana, "cancelar");
    }
    let limited = limited.expect("a limit");
    is(&limited, 429, "LIMIT_REACHED");
    assert!(limited.json()["error"]["details"]["say"].is_string());
    let codes = front
        .house
        .mails()
        .iter()
        .filter(|mail| mail.to.as_str() == ANA && code_of(mail).len() == 8)
        .count();
    assert!(codes <= 5, "{codes} codes in an hour");
}

// --- the same request once more -------------------------------------------------------------------

#[test]
fn fifty_equal_requests_at_once_make_one_link_and_one_code() {
    let front = Front::new();
    let ana = front.ana();
    front.later(10 * MINUTE_MS);
    front.house.ask(&ana, "hola");
    let identity = front.identity(&ana);
    let mails = front.house.mails_to(ANA);
    let said = front.house.said().len();
    for (path, body) in [
        (
            "/v1/sign-in-links",
            json!({"identity": identity, "send": false}),
        ),
        (
            "/v1/challenges",
            json!({"identity": identity, "proof": "mail_code", "maxAgeSeconds": 60}),
        ),
    ] {
        let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..50)
                .map(|_| {
                    scope.spawn(|| {
                        let answer = front.post_once(AGENT, path, &body, Some(path));
                        (answer.status, answer.body)
                    })
                })
                .collect();
            callers
                .into_iter()
                .map(|caller| caller.join().unwrap())
                .collect()
        });
        assert!(answers[0].0 < 300, "{answers:?}");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{path}");
    }
    front.house.settle();
    assert_eq!(front.house.contact(&ana).links.moments().len(), 1);
    assert_eq!(front.house.mails_to(ANA), mails + 1);
    assert_eq!(front.house.said().len(), said + 1);
}

#[test]
fn a_mark_is_remembered_through_a_restart_for_a_day_and_for_one_request() {
    let front = Front::new();
    let ana = front.ana();
    let body = json!({"contact": front.uuid(&ana), "send": false});
    let first = front.post_once(OFFICE, "/v1/sign-in-links", &body, Some("mark"));
    assert_eq!(first.status, 201, "{}", first.body);
    let again = front.post_once(OFFICE, "/v1/sign-in-links/", &body, Some("mark"));
    assert_eq!((again.status, &again.body), (201, &first.body));
    // Of another caller it is another mark.
    let by_agent = json!({"identity": front.identity(&ana), "send": false});
    let other = front.post_once(AGENT, "/v1/sign-in-links", &by_agent, Some("mark"));
    assert_ne!(text(&other, "url"), text(&first, "url"));

    let front = front.restarted();
    let again = front.post_once(OFFICE, "/v1/sign-in-links", &body, Some("mark"));
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(front.house.contact(&ana).links.moments().len(), 2);
    let sent = json!({"contact": front.uuid(&ana)});
    for (path, body) in [("/v1/sign-in-links", &sent), ("/v1/challenges", &sent)] {
        let reused = front.post_once(OFFICE, path, body, Some("mark"));
        is(&reused, 422, "IDEMPOTENCY_KEY_REUSED");
    }
    for (_, key, value) in front.house.records() {
        let is_there = has(&key, b"mark") || has(&value, b"mark");
        assert!(!is_there, "the mark itself is stored");
    }
    front.later(DAY_MS + SECOND_MS);
    let mut janitor = Janitor::default();
    janitor.sweep(&front.house.app).unwrap();
    let anew = front.post_once(OFFICE, "/v1/sign-in-links", &body, Some("mark"));
    assert_ne!(text(&anew, "url"), text(&first, "url"));
}

#[test]
fn a_repeat_with_the_identity_of_now_is_the_same_request() {
    let front = Front::new();
    let (ana, max) = (front.ana(), front.max());
    let link = json!({"send": false});
    for (path, wish, other) in [
        ("/v1/sign-in-links", link, json!({"send": true})),
        ("/v1/challenges", by_mail(), json!({"proof": "any"})),
        (
            "/v1/tokens",
            json!({"service": "kutamma"}),
            json!({"service": "kutamma", "account": "u1"}),
        ),
    ] {
        let post = |person: &Person, wish: &Value| {
            front.later(SECOND_MS);
            let mut body = wish.clone();
            body["identity"] = front.identity(person).into();
            front.post_once(AGENT, path, &body, Some(path))
        };
        let first = post(&ana, &wish);
        assert!(first.status < 300, "{path}: {}", first.body);
        let again = post(&ana, &wish);
        assert_eq!(again.status, first.status, "{path}: {}", again.body);
        assert_eq!(again.json()["id"], first.json()["id"], "{path}");
        for different in [post(&max, &wish), post(&ana, &other)] {
            is(&different, 422, "IDEMPOTENCY_KEY_REUSED");
        }
    }
}

#[test]
fn a_mark_of_a_token_belongs_to_one_request_and_the_token_is_made_anew() {
    let front = Front::new();
    let ana = front.ana();
    let body = json!({"identity": front.identity(&ana), "service": "kutamma"});
    let post = |body: &Value| front.post_once(AGENT, "/v1/tokens", body, Some("mark"));
    assert_eq!(post(&body).status, 200);
    assert_eq!(post(&body).status, 200);
    let other = json!({"identity": front.identity(&ana), "service": "woku"});
    is(&post(&other), 422, "IDEMPOTENCY_KEY_REUSED");
    for mark in ["", "two words", "ñ", &"x".repeat(129)] {
        let answer = front.post_once(AGENT, "/v1/tokens", &body, Some(mark));
        assert_eq!(answer.status, 400, "{mark}");
    }
}

#[test]
fn a_request_that_was_refused_leaves_no_mark() {
    let front = Front::new();
    let ana = front.ana();
    let body = json!({"contact": front.uuid(&ana), "send": false});
    for number in 0..3 {
        let mark = format!("mark-{number}");
        front.post_once(OFFICE, "/v1/sign-in-links", &body, Some(&mark));
    }
    let limited = front.post_once(OFFICE, "/v1/sign-in-links", &body, Some("late"));
    assert_eq!(limited.status, 429);
    front.later(HOUR_MS);
    let made = front.post_once(OFFICE, "/v1/sign-in-links", &body, Some("late"));
    assert_eq!(made.status, 201, "{}", made.body);
}

/// R-1: the effect and its mark are one transaction.
#[test]
fn what_could_not_be_stored_left_neither_effect_nor_mark() {
    let front = Front::new();
    let ana = front.ana();
    let id = front.house.contact(&ana).id;
    let once = || {
        Some(portero::app::Once {
            key: "mark".to_owned(),
            request: [7; 32],
        })
    };
    let links = front.house.contact(&ana).links.moments().len();
    front.house.random.fails.store(true, Ordering::SeqCst);
    let wish = Wish::Link { send: true };
    assert!(front.house.app.grant("office", id, wish, once()).is_err());
    front.house.random.fails.store(false, Ordering::SeqCst);
    assert_eq!(front.house.contact(&ana).links.moments().len(), links);
    let made = front.house.app.grant("office", id, wish, once()).unwrap();
    assert!(matches!(made, Granted::Link { .. }));
    front.house.settle();
    let links = |left: &Left| matches!(left, Left::Said(said) if said.message.link.is_some());
    assert_eq!(
        front.house.left().iter().filter(|left| links(left)).count(),
        1
    );
}

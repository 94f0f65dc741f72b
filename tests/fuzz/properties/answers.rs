//! F-10. What other people's servers answer, through the production clients: whatever comes, it is
//! read to its end or given up, what is taken from it is within its bounds, and what is said about
//! it to an operator is short, in words of ours.

use portero::backend::{self, Backend, ForeignHash, SignInOutcome};
use portero::bot::{self, Bot, EventReceiver, EventSettings};
use portero::domain::account::{Account, Answer, Company};
use portero::domain::binding::Scope;
use portero::domain::delivery::{ChatMessage, Recipient, SignedBody};
use portero::domain::failure::{Failure, FailureKind};
use portero::domain::id::{ContactId, EmailAddress, PhoneNumberId, ServiceName, WaId};
use portero::domain::secret::Secret;
use portero::domain::time::{DAY_MS, Timestamp};
use portero::http::RETRY_AFTER_MS_MAX;
use portero::mail::names::{self, Records};
use portero::services::{
    EXPIRES_IN_SECONDS_MAX, Reading, Services, Settings, TOKEN_BYTES_MAX, TokenCall, TokenFor,
    TokenShape, USERS_MAX, UsersCall, UsersShape,
};
use portero::whatsapp::inspect::{Ask, Inspector, Said, id_in};
use portero::whatsapp::{self, Client};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

const SIGNING_SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const BACK: &str = "https://api.whatsapp.com/send/?phone=";

/// Whom it answers, and the answer: all of it if it begins like one, else the body of a good one.
pub fn holds(input: &[u8]) {
    let Some((whom, answer)) = input.split_first() else {
        return;
    };
    let town = town();
    let now = Timestamp(town.now.fetch_add(DAY_MS, Ordering::SeqCst));
    *town.answer.lock().unwrap() = answer.to_vec();
    match whom % 10 {
        0 => found(&town.services.find_user(&ana(), now, "id"), Some(&ana())),
        1 => {
            let secret = Secret::new("pan de masa madre");
            found(
                &town.services.check_password("ana", &secret, now, "id"),
                None,
            );
        }
        2 => token(town, now),
        3 => message(town),
        4 => told(town),
        5 => session(town),
        6 => bots(town, now),
        7 | 8 => dry_runs(town, now),
        _ => domain_names(town),
    }
}

// --- who answers ----------------------------------------------------------------------------------

/// The clients, and one server on whose answer they depend.
struct Town {
    answer: &'static Mutex<Vec<u8>>,
    now: AtomicU64,
    services: Services,
    client: Client,
    inspector: Inspector,
    backend: Backend,
    bot: Bot,
    receiver: EventReceiver,
    resolver: SocketAddr,
}

static ANSWER: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn town() -> &'static Town {
    static TOWN: OnceLock<Town> = OnceLock::new();
    TOWN.get_or_init(|| {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        thread::spawn(move || {
            for client in server.incoming().flatten() {
                // Somebody who hangs up in the middle is a client's right.
                let _ = answer(client);
            }
        });
        let resolver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let resolver_at = resolver.local_addr().unwrap();
        thread::spawn(move || resolve(&resolver));
        let timeout = Duration::from_secs(5);
        let whatsapp = whatsapp::Settings {
            api_url: url.clone(),
            api_version: "v25.0".to_owned(),
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            access_token: Secret::new("EAAG-token"),
            ca_pem: None,
            connections: 0,
        };
        Town {
            answer: &ANSWER,
            now: AtomicU64::new(1_800_000_000_000),
            services: services(&url, timeout),
            client: Client::new(&whatsapp).unwrap(),
            inspector: Inspector::new(&whatsapp).unwrap(),
            backend: Backend::new(backend::Settings {
                url: url.clone(),
                credential: None,
                timeout,
                ca_pem: None,
            })
            .unwrap(),
            bot: Bot::new(&bot::Settings {
                url: url.clone(),
                secret: None,
                timeout,
                connections: 0,
                ca_pem: None,
            })
            .unwrap(),
            receiver: EventReceiver::new(
                &EventSettings {
                    url,
                    secret: Secret::new(SIGNING_SECRET),
                    timeout,
                    ca_pem: None,
                },
                0,
            )
            .unwrap(),
            resolver: resolver_at,
        }
    })
}

/// One service of the contract, and one in another shape.
fn services(url: &str, timeout: Duration) -> Services {
    let service = |name: &str| Settings {
        name: ServiceName::parse(name).unwrap(),
        title: name.to_owned(),
        find_user: UsersCall::find_user(url).unwrap(),
        issue_token: TokenCall::issue_token(url).unwrap(),
        check_password: Some(UsersCall::check_password(url).unwrap()),
        secret: Some(Secret::new(SIGNING_SECRET)),
        bearer: None,
        timeout,
        ca_pem: None,
        connections: 0,
    };
    let mut other = service("shop");
    other.find_user.answer = UsersShape::like_documented();
    other.issue_token.answer = TokenShape::like_documented();
    other.check_password = None;
    Services::new(vec![service("erp"), other]).unwrap()
}

/// Reads one request, answers, and hangs up.
fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    let whole = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_ascii_lowercase();
        let end = text.find("\r\n\r\n").map(|at| at + 4)?;
        let length = (text[..end].lines())
            .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        (text.len() >= end + length.unwrap_or(0)).then_some(())
    };
    while whole(&request).is_none() {
        match client.read(&mut chunk)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&chunk[..count]),
        }
    }
    let answer = ANSWER.lock().unwrap().clone();
    if answer.starts_with(b"HTTP/") {
        client.write_all(&answer)?;
    } else {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        client.write_all(&[head.as_bytes(), &answer].concat())?;
    }
    client.shutdown(Shutdown::Both)
}

/// Answers with the id of the question, and whatever the answer is.
fn resolve(socket: &UdpSocket) {
    let mut question = [0; 2048];
    while let Ok((count, from)) = socket.recv_from(&mut question) {
        let id = &question[..count.min(2)];
        let answer = ANSWER.lock().unwrap().clone();
        // Whole, so that whoever asks does not have to wait for more.
        let mut answer = [id, &answer].concat();
        answer.truncate(1232);
        if answer.len() < 12 {
            answer.resize(12, 0);
        }
        if let Some(flags) = answer.get_mut(2) {
            // An answer, and not one to be asked for again by TCP.
            *flags = (*flags | 0x80) & !0x02;
        }
        let _ = socket.send_to(&answer, from);
    }
}

fn ana() -> EmailAddress {
    EmailAddress::parse("ana@example.com").unwrap()
}

// --- what is taken from it ------------------------------------------------------------------------

fn found(answers: &[Answer], asked: Option<&EmailAddress>) {
    assert!(!answers.is_empty());
    for answer in answers {
        match &answer.users {
            Ok(users) => {
                assert!(users.len() <= USERS_MAX);
                for user in users {
                    is_bounded(user);
                    assert!(asked.is_none_or(|asked| user.email == *asked));
                    assert_eq!(user.service, answer.service);
                }
                assert!(asked.is_some() || users.len() <= 1);
            }
            Err(unavailable) => is_short(&unavailable.reason),
        }
    }
}

fn is_bounded(user: &Account) {
    let whole = |text: &str| {
        assert!(
            (1..=Account::TEXT_CHARS_MAX).contains(&text.chars().count()),
            "{text:?}"
        );
        assert!(!text.chars().any(char::is_control), "{text:?}");
    };
    whole(&user.user_id);
    whole(&user.name);
    whole(&user.company.id);
    whole(&user.company.name);
    if let Some(phone) = &user.phone {
        assert!((5..=20).contains(&phone.len()) && phone.bytes().all(|b| b.is_ascii_digit()));
    }
}

fn token(town: &Town, now: Timestamp) {
    let wanted = TokenFor {
        user_id: "u1",
        company_id: "c1",
        contact: ContactId([7; 16]),
        scope: Scope::Full,
    };
    for service in ["erp", "shop"] {
        let service = ServiceName::parse(service).unwrap();
        match town.services.issue_token(&service, &wanted, now, "id") {
            Ok(token) => {
                let text = token.token.reveal();
                assert!((1..=TOKEN_BYTES_MAX).contains(&text.len()));
                assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                assert!((1..=EXPIRES_IN_SECONDS_MAX).contains(&token.expires_in_seconds));
                assert!(token.token_type.bytes().all(|byte| byte.is_ascii_graphic()));
                assert!((1..=Account::TEXT_CHARS_MAX).contains(&token.token_type.len()));
            }
            Err(failure) => is_fair(&failure),
        }
    }
}

fn message(town: &Town) {
    let to = Recipient::Number(WaId::parse("573001234567").unwrap());
    let message = ChatMessage {
        body: "hola".to_owned(),
        buttons: Vec::new(),
        link: None,
    };
    match town.client.send(&to, &message, "tag") {
        Ok(id) => assert!((1..=512).contains(&id.as_str().len())),
        Err(failure) => is_fair(&failure),
    }
}

fn told(town: &Town) {
    for ask in [Ask::Token, Ask::Health, Ask::Numbers("1")] {
        match town.inspector.ask(ask).said {
            Said::Yes(value) => {
                assert!(value.is_object());
                for value in value.as_object().into_iter().flatten() {
                    if let Some(id) = id_in(value.1) {
                        assert!(
                            id.len() <= 40 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
                        );
                    }
                }
            }
            Said::No(no) => is_short(&no.reason),
            Said::Odd(status) => assert!((100..=999).contains(&status)),
            Said::Nothing { reason, .. } => is_short(&reason),
        }
    }
}

fn session(town: &Town) {
    let hash = ForeignHash::parse("0123456789abcdef").unwrap();
    let session = match town.backend.fetch(&hash) {
        Ok(Some(session)) => session,
        Ok(None) => return,
        Err(failure) => return is_fair(&failure),
    };
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    let token = session.access_token.reveal();
    assert!((1..=backend::ACCESS_TOKEN_BYTES_MAX).contains(&token.len()) && visible(token));
    let uuid = &session.user_uuid;
    assert!((1..=backend::USER_UUID_BYTES_MAX).contains(&uuid.len()) && visible(uuid));
    match town.backend.sign_in(&session) {
        Ok(SignInOutcome::Done(signed)) => {
            if let Some(url) = signed.redirect_url {
                let back = format!("{BACK}{}", session.number.as_str());
                assert!(url.starts_with(&back), "{url}");
                assert!(
                    matches!(url.as_bytes().get(back.len()), None | Some(b'&')),
                    "{url}"
                );
                assert!(url.len() <= backend::REDIRECT_URL_BYTES_MAX && visible(&url));
            }
        }
        Ok(SignInOutcome::Expired) => {}
        Err(failure) => is_fair(&failure),
    }
}

fn bots(town: &Town, now: Timestamp) {
    let body = SignedBody {
        bytes: b"{}".to_vec(),
        signature: "sha256=".to_owned(),
    };
    let identity = Secret::new("identity");
    if let Err(failure) = town.bot.hand_on("id", &body, Some(&identity), now) {
        is_fair(&failure);
    }
    if let Err(failure) = town.receiver.tell("id", "{}", now) {
        is_fair(&failure);
    }
}

/// What `portero check --service` shows: words of the answer are in it, shortened and told apart.
fn dry_runs(town: &Town, now: Timestamp) {
    let (erp, secret) = (
        ServiceName::parse("erp").unwrap(),
        Secret::new("canary-password"),
    );
    let account = Account {
        service: erp.clone(),
        user_id: "u1".to_owned(),
        name: "Ana".to_owned(),
        email: ana(),
        phone: None,
        company: Company {
            id: "c1".to_owned(),
            name: "Acme".to_owned(),
        },
    };
    let runs = [
        town.services.dry_run_find_user(&erp, &ana(), now, "id"),
        town.services
            .dry_run_check_password(&erp, "ana", &secret, now, "id"),
        (town.services).dry_run_issue_token(&erp, &account, ContactId([7; 16]), now, "id"),
    ];
    for run in runs {
        let run = run.expect("a service with all calls");
        match &run.reading {
            Reading::Users(users) => {
                assert!(users.len() <= USERS_MAX);
                users.iter().for_each(is_bounded);
            }
            Reading::Token(token) => assert!(token.characters <= TOKEN_BYTES_MAX),
            Reading::Refused(refusal) => {
                is_short(&refusal.reason);
                assert!(refusal.lines.len() <= 20, "{:?}", refusal.lines);
                for line in &refusal.lines {
                    let table: Result<toml::Table, _> = line.parse();
                    assert!(table.is_ok(), "{line} is nothing for a configuration");
                }
            }
        }
        assert!(!format!("{:?}", run.answer).contains("canary-password"));
    }
}

fn domain_names(town: &Town) {
    match names::texts("portero.example", &[town.resolver]) {
        Records::Texts(texts) => {
            assert!(texts.len() <= 200);
            // A byte that is none of UTF-8 is three in its place.
            assert!(texts.iter().map(String::len).sum::<usize>() <= 3 * 1232);
        }
        Records::NoSuchName => {}
        Records::Unknown(why) => is_short(why),
    }
}

// --- what is said about it ------------------------------------------------------------------------

fn is_fair(failure: &Failure) {
    is_short(&failure.reason);
    if let Some(advice) = failure.advice {
        assert!(advice.len() <= 400, "{advice}");
    }
    if let FailureKind::Temporary {
        retry_after_ms: Some(ms),
    } = failure.kind
    {
        assert!(ms <= RETRY_AFTER_MS_MAX.max(DAY_MS), "{ms}");
    }
}

fn is_short(reason: &str) {
    assert!((1..=400).contains(&reason.chars().count()), "{reason}");
    assert!(!reason.chars().any(char::is_control), "{reason:?}");
}

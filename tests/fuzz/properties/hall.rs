//! The whole web over records in memory, asked in process: every route has somebody behind it, the
//! clock is set by hand, and who is a user of what is known.

use super::house::House;
use portero::app::user::HashedPassword;
use portero::app::{App, Issued, SystemRandom, TokenWanted, Verdict};
use portero::domain::failure::Failure;
use portero::domain::id::{PhoneNumberId, ServiceName};
use portero::domain::secret::Secret;
use portero::domain::time::Timestamp;
use portero::web::listener::Handler;
use portero::web::{
    ApiKey, ApiScope, Look, Outlook, PageSettings, Site, StatusPassword, StatusSettings, Web,
    WebSettings, WebhookSettings,
};
use rouille::Request;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

pub const HOST: &str = "portero.example";
pub const APP_SECRET: &str = "0123456789abcdef0123456789abcdef";
pub const NUMBER_ID: &str = "106540352242922";
pub const VERIFY_TOKEN: &str = "tomillo";
pub const PASSWORD: &str = "seven quiet doors in a row";
pub const AGENT: &str = "agent-key-0123456789abcdef0123456789abcdef";
pub const OFFICE: &str = "office-key-0123456789abcdef0123456789abcde";
pub const CREDENTIAL: &str = "page-key-0123456789abcdef0123456789abcdef";

/// Hashed once: that takes a while on purpose.
static PASSWORD_HASH: LazyLock<String> = LazyLock::new(|| {
    let hash = HashedPassword::of(&Secret::new(PASSWORD), &SystemRandom);
    hash.expect("randomness").reveal().to_owned()
});

/// An answer, all of it but the name that its request has in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let known = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(known)
            .map(|(_, value)| value.as_str())
    }
}

pub struct Hall {
    pub house: House,
    pub web: Web,
}

impl Hall {
    pub fn open() -> Hall {
        let house = House::on_the_web(House::both_ways_in());
        house.register("kutamma", "ana@example.com", "Ana Pérez", "Acme");
        house.register("woku", "max@example.com", "Max <b>", "Beta");
        let web = Web::new(Arc::clone(&house.app), settings(&house), Box::new(Vec::new));
        Hall { house, web }
    }

    /// One request as the listener would hand it over, from this IPv4 address.
    pub fn ask(
        &self,
        from: u32,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.ask_of(HOST, from, method, target, headers, body)
    }

    /// The same of another host.
    pub fn ask_of(
        &self,
        host: &str,
        from: u32,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut all = vec![("Host".to_owned(), host.to_owned())];
        all.extend(
            headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let from = SocketAddr::from((Ipv4Addr::from(from), 1234));
        let request = Request::fake_http_from(from, method, target, all, body.to_vec());
        assert!(self.web.body_max_bytes(method, &request.url()) >= 64 * 1024);
        let response = self.web.handle(&request);
        let mut body = Vec::new();
        let (mut reader, _) = response.data.into_reader_and_size();
        reader.read_to_end(&mut body).expect("a body in memory");
        Answer {
            status: response.status_code,
            headers: (response.headers.iter())
                .filter(|(name, _)| name != "X-Request-Id")
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// Signs the administrator in; the cookie.
    pub fn status_cookie(&self) -> String {
        let form = format!("action=sign_in&password={}", PASSWORD.replace(' ', "+"));
        let headers = [
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("Sec-Fetch-Site", "same-origin"),
        ];
        let answer = self.ask(0x0a00_0001, "POST", "/status/", &headers, form.as_bytes());
        assert_eq!(answer.status, 303, "{}", answer.body);
        let cookie = answer.header("Set-Cookie").expect("a session");
        cookie.split(';').next().unwrap_or("").to_owned()
    }
}

fn name(text: &str) -> ServiceName {
    ServiceName::parse(text).expect("a name")
}

fn settings(house: &House) -> WebSettings {
    // A user's password is their name.
    let (ana, max) = (
        house.account("ana@example.com"),
        house.account("max@example.com"),
    );
    let check = move |user: &str, password: &Secret| {
        let known = [&ana, &max]
            .into_iter()
            .find(|account| account.email.as_str() == user);
        match known {
            Some(account) if password.matches(&account.name) => {
                Verdict::These(vec![account.clone()])
            }
            _ => Verdict::Nobody,
        }
    };
    let issue = |wanted: &TokenWanted<'_>, _: Timestamp, _: &str| {
        Ok::<_, Failure>(Issued {
            token: Secret::new(format!("token-of-{}", wanted.user_id)),
            token_type: "Bearer".to_owned(),
            expires_in_seconds: 600,
        })
    };
    let look = || Look {
        business: "Café Río".to_owned(),
        color: None,
        logo: false,
    };
    let key = |called: &str, key: &str, scopes: Vec<ApiScope>| ApiKey {
        name: name(called),
        key: Secret::new(key),
        scopes,
        services: None,
        first_hours_only: false,
    };
    let all = ApiScope::ALL.to_vec();
    let agents = (all.iter().copied()).filter(|scope| *scope != ApiScope::AnyContact);
    let page = |called: &str, credential: Option<&str>| PageSettings {
        name: name(called),
        url: None,
        credential: credential.map(Secret::new),
        origins: vec!["https://shop.example.com".to_owned()],
        service: name("kutamma"),
    };
    WebSettings {
        webhook: WebhookSettings {
            app_secrets: vec![Secret::new(APP_SECRET)],
            verify_token: Secret::new(VERIFY_TOKEN),
            phone_number_id: PhoneNumberId::parse(NUMBER_ID).expect("digits"),
        },
        site: Some(Site {
            origin: format!("https://{HOST}"),
            base: String::new(),
            look: look(),
            logo: None,
            chat_origins: vec!["https://api.whatsapp.com".to_owned()],
            check: Box::new(check),
            backend: None,
        }),
        pages: vec![page("shop", Some(CREDENTIAL))],
        api_keys: vec![
            key("agent", AGENT, agents.collect()),
            key("office", OFFICE, all),
        ],
        issue_token: Box::new(issue),
        status: Some(StatusSettings {
            password: StatusPassword::parse(&PASSWORD_HASH).expect("a hash"),
            look: look(),
            public: Some((format!("https://{HOST}"), String::new())),
            weakened: Vec::new(),
            version: "0.1.0",
            api_version: "v25.0".to_owned(),
            store_format: 1,
            started_at: house.app.now(),
            outlook: Box::new(outlook(Arc::clone(&house.app))),
        }),
    }
}

fn outlook(app: Arc<App>) -> impl Fn() -> Outlook + Send + Sync {
    move || Outlook {
        certificate: None,
        lanes: Vec::new(),
        services: Vec::new(),
        store_bytes: Some(5 << 20),
        disk_bytes: Some((40 << 30, 80 << 30)),
        snapshot: Some(Some(app.now())),
        is_young: false,
        takes_writes: true,
    }
}

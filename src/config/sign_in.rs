//! Sign-in on the web: `[sign_in]`, each `[[pages]]`, and what must fit together for them.

use super::keys;
use super::problem::did_you_mean;
use super::read::{Converted, Reader, Table, choice, list, number, switch, text};
use super::values::{HTTP_CALLED, HTTP_OPENED, Url, header_value};
use super::{Directory, Server, WhatsApp};
use crate::domain::id::ServiceName;
use crate::domain::policy::{Finish, Methods, PhoneOnFile, Policy};
use crate::domain::time::HOUR_MS;
use crate::http::Endpoint;
use crate::web::PageSettings;
use crate::{backend, services};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Pages: a business has one or two.
const PAGES_MAX: usize = 8;
/// Shortest credential of a page; `openssl rand -hex 16` has as many.
const CREDENTIAL_CHARS_MIN: usize = 32;
/// Typed where a credential stands, it lets every page in.
const NO_CREDENTIAL: &str = "none";

/// Which halves of the published document are somebody else's.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The page that links lead to, which has a `url`; Portero's own if not set.
    pub page: Option<ServiceName>,
    /// The back end that Portero's page serves; if not set, Portero is it.
    pub backend: Option<backend::Settings>,
}

/// The part of the policy that `[sign_in]` decides.
pub(super) struct Rules {
    methods: Methods,
    finish: Finish,
    ask_number: bool,
    phone_on_file: PhoneOnFile,
    first_hours_ms: u64,
}

impl Rules {
    /// Whether people sign in by links.
    pub fn makes_links(&self) -> bool {
        self.methods.web
    }

    /// Whether a sign-in is worth less at first.
    pub fn has_first_hours(&self) -> bool {
        self.methods.web && self.first_hours_ms > 0
    }

    /// The limits under these rules.
    pub fn over(self, limits: Policy) -> Policy {
        Policy {
            methods: self.methods,
            finish: self.finish,
            ask_number: self.ask_number,
            phone_on_file: self.phone_on_file,
            first_hours_ms: self.first_hours_ms,
            ..limits
        }
    }
}

/// What stands in the other tables; a table that has problems of its own is not there.
pub(super) struct Around<'c> {
    pub server: Option<&'c Server>,
    pub whatsapp: Option<&'c WhatsApp>,
    pub services: Option<&'c [services::Settings]>,
    pub directory: Option<&'c Directory>,
    pub pages: Option<&'c [PageSettings]>,
}

impl Around<'_> {
    /// Nobody can check a password on this side.
    fn checks_no_password(&self) -> bool {
        let (Some(services), Some(directory)) = (self.services, self.directory) else {
            return false;
        };
        let checks = |service: &services::Settings| service.check_password.is_some();
        !directory.enabled && !services.iter().any(checks)
    }

    fn has_no_public_url(&self) -> bool {
        self.server
            .is_some_and(|server| server.public_url.is_none())
    }
}

pub(super) fn sign_in<'t>(
    reader: &mut Reader<'_>,
    root: &'t DeTable<'t>,
) -> (Table<'t>, Option<(SignIn, Rules)>) {
    let table = reader.table(root, "sign_in");
    let read = read(reader, &table);
    (table, read)
}

fn read(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<(SignIn, Rules)> {
    let methods = reader.one(table, &keys::SIGN_IN_METHODS, methods);
    let finish = reader.one(
        table,
        &keys::SIGN_IN_RETURN_CODE,
        choice(&[
            ("on", Finish::ReturnCode),
            ("mail", Finish::MailCode),
            ("off", Finish::Nothing),
        ]),
    );
    let ask_number = reader.one(table, &keys::SIGN_IN_ASK_NUMBER, switch);
    let phone_on_file = reader.one(
        table,
        &keys::SIGN_IN_PHONE_ON_FILE,
        choice(&[
            ("must_match", PhoneOnFile::MustMatch),
            ("step_up", PhoneOnFile::StepUp),
            ("off", PhoneOnFile::Ignored),
        ]),
    );
    let first_hours = reader.one(
        table,
        &keys::SIGN_IN_FIRST_HOURS,
        number(0..=168, "; a week is the most"),
    );
    let page = reader.maybe(table, &keys::SIGN_IN_PAGE, text(name));
    let url = reader.maybe(table, &keys::SIGN_IN_BACKEND, text(Url::base));
    let credential = reader.maybe_secret(table, &keys::SIGN_IN_BACKEND_CREDENTIAL, header_value);
    let timeout = reader.one(
        table,
        &keys::SIGN_IN_BACKEND_TIMEOUT_SECONDS,
        number(
            1..=backend::TIMEOUT_MAX.as_secs(),
            "; a person waits for two calls",
        ),
    );
    let ca_pem = reader.certificates(table, &keys::SIGN_IN_BACKEND_CA_FILE);
    if finish == Some(Finish::Nothing) {
        reader.weakens(
            table,
            &keys::SIGN_IN_RETURN_CODE,
            "is off: whoever makes somebody open their link and sign in gets in as that person",
        );
    }
    if phone_on_file == Some(PhoneOnFile::Ignored) {
        reader.weakens(
            table,
            &keys::SIGN_IN_PHONE_ON_FILE,
            "is off: a sign-in counts even if the user's phone on file is not the number of the chat",
        );
    }
    for key in [
        &keys::SIGN_IN_BACKEND_CREDENTIAL,
        &keys::SIGN_IN_BACKEND_CA_FILE,
    ] {
        if table.has(key) && !table.has(&keys::SIGN_IN_BACKEND) {
            reader.problem(table, key, "is for sign_in.backend, which is not set");
        }
    }
    if let Some(Some(url)) = &url
        && !url.endpoint.is_encrypted()
    {
        reader.weakens(table, &keys::SIGN_IN_BACKEND, HTTP_CALLED);
    }
    let (credential, timeout, ca_pem) = (credential?, timeout?, ca_pem?);
    let sign_in = SignIn {
        page: page?,
        backend: url?.map(|url| backend::Settings {
            url: url.text,
            credential,
            timeout: Duration::from_secs(timeout),
            ca_pem,
        }),
    };
    let rules = Rules {
        methods: methods?,
        finish: finish?,
        ask_number: ask_number?,
        phone_on_file: phone_on_file?,
        first_hours_ms: first_hours? * HOUR_MS,
    };
    Some((sign_in, rules))
}

fn methods(value: &DeValue<'_>) -> Converted<Methods> {
    let named = list(|method| match method {
        "mail" => Ok(true),
        "web" => Ok(false),
        _ => Err("must be mail or web".to_owned()),
    })(value)?;
    let methods = Methods {
        mail: named.contains(&true),
        web: named.contains(&false),
    };
    match named.len() {
        0 => Err(vec!["must name mail, web or both".into()]),
        count if count > usize::from(methods.mail) + usize::from(methods.web) => {
            Err(vec!["names a method twice".into()])
        }
        _ => Ok(methods),
    }
}

/// Notes what `[sign_in]` needs from the other tables and does not find there.
pub(super) fn fits(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    sign_in: &SignIn,
    rules: &Rules,
    around: &Around<'_>,
) {
    const NEEDS_PUBLIC_URL: &str =
        "needs server.public_url, the https:// address at which people open the page";
    if sign_in.backend.is_some() {
        let mut problem = |words| reader.problem(table, &keys::SIGN_IN_BACKEND, words);
        if rules.methods.web {
            problem(
                "has the links, so that none are made here; take web out of sign_in.methods, or leave the back end out",
            );
        }
        if sign_in.page.is_some() {
            problem(
                "is for Portero's own page, and sign_in.page names another; leave one of them out",
            );
        }
        if around.has_no_public_url() {
            problem(NEEDS_PUBLIC_URL);
        }
        if around.checks_no_password() {
            problem(
                "needs users with passwords: write directory.enabled = true, or check_password in a [[services]]",
            );
        }
        return;
    }
    if let (Some(name), Some(pages)) = (&sign_in.page, around.pages) {
        let words = match pages.iter().find(|page| page.name == *name) {
            Some(page) if page.url.is_some() => None,
            Some(_) => Some("names a page without url; write one below its [[pages]]".to_owned()),
            None => {
                let names = pages.iter().map(|page| page.name.as_str());
                Some(match did_you_mean(name.as_str(), names) {
                    Some(near) => format!("no [[pages]] has this name; did you mean {near}?"),
                    None => "no [[pages]] has this name; add one, with name and url".to_owned(),
                })
            }
        };
        if let Some(words) = words {
            reader.problem(table, &keys::SIGN_IN_PAGE, words);
        }
    }
    if !rules.methods.web {
        return;
    }
    let mut problem = |words: &str| {
        reader.problem(table, &keys::SIGN_IN_METHODS, format!("\"web\" {words}"));
    };
    if around.has_no_public_url() {
        problem(NEEDS_PUBLIC_URL);
    }
    if around
        .whatsapp
        .is_some_and(|whatsapp| whatsapp.number.is_none())
    {
        problem("needs whatsapp.number, where people return to the chat");
    }
    if sign_in.page.is_none() && around.checks_no_password() {
        problem(
            "needs users with passwords: write directory.enabled = true, or check_password in a [[services]], or sign_in.page with the name of a [[pages]] that has a url",
        );
    }
}

/// Each `[[pages]]`.
pub(super) fn pages(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    whatsapp: Option<&WhatsApp>,
) -> Option<Vec<PageSettings>> {
    let tables = reader.tables(root, "pages", PAGES_MAX);
    if let (Some(table), Some(WhatsApp { number: None, .. })) = (tables.first(), whatsapp) {
        reader.problem_of_table(
            table,
            "a page needs whatsapp.number, where people return to the chat",
        );
    }
    let mut pages: Vec<Option<PageSettings>> = Vec::new();
    for table in &tables {
        let page = page(reader, table);
        if let Some(page) = &page {
            for other in pages.iter().flatten() {
                unlike(reader, table, page, other);
            }
        }
        pages.push(page);
    }
    pages.into_iter().collect()
}

/// Calls are told apart by their credential, and pages by their name.
fn unlike(reader: &mut Reader<'_>, table: &Table<'_>, page: &PageSettings, other: &PageSettings) {
    if page.name == other.name {
        reader.problem(
            table,
            &keys::PAGES_NAME,
            "another page has this name; each needs one of its own",
        );
    }
    let words = match (&page.credential, &other.credential) {
        (None, None) => "another page has \"none\" already; this one needs a credential",
        (Some(credential), Some(other)) if credential.matches(other.reveal()) => {
            "another page has this credential; each needs one of its own"
        }
        _ => return,
    };
    reader.problem(table, &keys::PAGES_CREDENTIAL, words);
}

fn page(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<PageSettings> {
    let name_of_page = reader.one(table, &keys::PAGES_NAME, text(name));
    let url = reader.maybe(table, &keys::PAGES_URL, text(Url::opened));
    let credential = reader.secret_or(table, &keys::PAGES_CREDENTIAL, NO_CREDENTIAL, credential);
    let origins = reader.one(table, &keys::PAGES_ORIGINS, list(origin));
    let service = reader.maybe(table, &keys::PAGES_SERVICE, text(name));
    if let Some(None) = credential {
        reader.weakens(
            table,
            &keys::PAGES_CREDENTIAL,
            "is \"none\": whoever holds a link can sign in their own chat without any password",
        );
    }
    if let Some(Some(url)) = &url
        && !url.endpoint.is_encrypted()
    {
        reader.weakens(table, &keys::PAGES_URL, HTTP_OPENED);
    }
    let (name, service) = (name_of_page?, service?);
    let service = match service {
        Some(service) => service,
        None => {
            let origin = "the page's own name";
            reader.derived(&keys::PAGES_SERVICE, &name.as_str().into(), origin);
            name.clone()
        }
    };
    Some(PageSettings {
        name,
        url: url?.map(|url| url.text),
        credential: credential?,
        origins: origins?,
        service,
    })
}

fn name(text: &str) -> Result<ServiceName, String> {
    ServiceName::parse(text).map_err(|_| "a name is 1 to 40 of a–z, 0–9, - and _".to_owned())
}

fn credential(secret: &str) -> Result<(), String> {
    if secret.len() >= CREDENTIAL_CHARS_MIN && secret.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!(
            "must be at least {CREDENTIAL_CHARS_MIN} ASCII letters, digits and signs, without spaces; `openssl rand -hex 32` makes one"
        ))
    }
}

/// An origin as browsers write it in `Origin`: another way of writing it would never match.
fn origin(text: &str) -> Result<String, String> {
    let endpoint = Endpoint::parse(text)?;
    let usual_port = if endpoint.is_encrypted() {
        ":443"
    } else {
        ":80"
    };
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    if authority.contains(['/', '?']) {
        return Err(
            "must be without a path and without `/` at the end, such as https://shop.example.com"
                .to_owned(),
        );
    }
    if text.contains(|c: char| c.is_ascii_uppercase()) {
        return Err("must be in small letters".to_owned());
    }
    if authority.ends_with(usual_port) {
        return Err(format!(
            "must be without {usual_port}, which browsers leave out"
        ));
    }
    Ok(text.to_owned())
}

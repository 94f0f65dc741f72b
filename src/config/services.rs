//! `[[services]]`: the documented calls by their addresses, or calls in another shape by tables.

use super::keys::{self, Key};
use super::read::{Converted, Reader, Table, choice, expected, number, switch, text};
use super::senders;
use super::values::{HTTP_CALLED, Url, header_value, signing_secret, title};
use crate::domain::account::Company;
use crate::domain::delivery::Lane;
use crate::domain::id::ServiceName;
use crate::http::Method;
use crate::services::{
    self, BodyTemplate, Call, CompanyPlace, EmailPlace, Encoding, LifetimePlace, Place,
    Placeholder, Pointer, Question, Settings, TokenCall, TokenShape, TokenTypePlace, UrlTemplate,
    UsersCall, UsersShape, has_placeholder,
};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Headers of one call.
const HEADERS_MAX: usize = 16;

/// Longest constant text in a company.
const COMPANY_CHARS_MAX: usize = 60;

pub(super) fn services<'t>(
    reader: &mut Reader<'_>,
    root: &'t DeTable<'t>,
) -> (Vec<Table<'t>>, Option<Vec<Settings>>) {
    let tables = reader.tables(root, "services", services::SERVICES_MAX);
    let mut services: Vec<Option<Settings>> = Vec::new();
    for table in &tables {
        let service = service(reader, table);
        let same = |other: &Settings| service.as_ref().is_some_and(|s| s.name == other.name);
        if services.iter().flatten().any(same) {
            reader.problem(
                table,
                &keys::SERVICES_NAME,
                "another service has this name; each needs one of its own",
            );
        }
        services.push(service);
    }
    (tables, services.into_iter().collect())
}

/// Notes services that are not told how much a token may be good for.
pub(super) fn limits_are_told(
    reader: &mut Reader<'_>,
    tables: &[Table<'_>],
    services: &[Settings],
    is_limited: impl Fn(&ServiceName) -> bool,
) {
    for (table, service) in tables.iter().zip(services) {
        if !service.issue_token.question.tells(Placeholder::Scope) && is_limited(&service.name) {
            reader.weakens(
                table,
                &keys::SERVICES_ISSUE_TOKEN,
                "does not tell the service the scope, so that a token for the first hours is good for everything; put {scope} into the address or the body",
            );
        }
    }
}

fn service(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<Settings> {
    let name = reader.one(
        table,
        &keys::SERVICES_NAME,
        text(|name| ServiceName::parse(name).map_err(|wrong| wrong.to_string())),
    );
    let title = reader.maybe(table, &keys::SERVICES_TITLE, text(title));
    let find_user = find_user(reader, table);
    let issue_token = issue_token(reader, table);
    let like = find_user.as_ref().map(|call| &call.answer);
    let check_password = check_password(reader, table, like);
    let secret = reader.maybe_secret(table, &keys::SERVICES_SECRET, signing_secret);
    let bearer = reader.maybe_secret(table, &keys::SERVICES_BEARER, header_value);
    let timeout = reader.one(table, &keys::SERVICES_TIMEOUT_SECONDS, number(1..=60, ""));
    let ca_pem = reader.certificates(table, &keys::SERVICES_CA_FILE);
    let all_in_shape = [&FIND_USER, &ISSUE_TOKEN, &CHECK_PASSWORD]
        .iter()
        .all(|call| {
            !table.has(call.key) && call.call == Call::CheckPassword || table.has_inner(call.key)
        });
    if !table.has(&keys::SERVICES_SECRET) && !all_in_shape {
        secret_is_missing(reader, table);
    }
    let (name, title) = (name?, title?);
    let title = match title {
        Some(title) => title,
        None => {
            reader.derived(&keys::SERVICES_TITLE, &name.as_str().into(), "its name");
            name.as_str().to_owned()
        }
    };
    let settings = Settings {
        title,
        name,
        find_user: find_user?,
        issue_token: issue_token?,
        check_password: check_password?,
        secret: secret?,
        bearer: bearer?,
        timeout: Duration::from_secs(timeout?),
        ca_pem: ca_pem?,
        connections: senders(Lane::Services),
    };
    if settings.secret.is_none() && all_in_shape && !settings.has_credentials() {
        secret_is_missing(reader, table);
    }
    Some(settings)
}

/// A call that shows nobody who asks would be answered to anybody: everybody's tokens.
fn secret_is_missing(reader: &mut Reader<'_>, table: &Table<'_>) {
    let words = format!(
        "is missing; write for example secret = {}, or give each call headers by which the service knows Portero",
        keys::SERVICES_SECRET.example()
    );
    reader.problem(table, &keys::SERVICES_SECRET, words);
}

/// The keys of a call.
struct CallKeys {
    call: Call,
    /// The key whose place the table takes.
    key: &'static Key,
    table: &'static str,
    url: &'static Key,
    method: &'static Key,
    headers: &'static Key,
    body: &'static Key,
    encoding: &'static Key,
}

static FIND_USER: CallKeys = CallKeys {
    call: Call::FindUser,
    key: &keys::SERVICES_FIND_USER,
    table: "services.find_user",
    url: &keys::FIND_USER_URL,
    method: &keys::FIND_USER_METHOD,
    headers: &keys::FIND_USER_HEADERS,
    body: &keys::FIND_USER_BODY,
    encoding: &keys::FIND_USER_ENCODING,
};

static ISSUE_TOKEN: CallKeys = CallKeys {
    call: Call::IssueToken,
    key: &keys::SERVICES_ISSUE_TOKEN,
    table: "services.issue_token",
    url: &keys::ISSUE_TOKEN_URL,
    method: &keys::ISSUE_TOKEN_METHOD,
    headers: &keys::ISSUE_TOKEN_HEADERS,
    body: &keys::ISSUE_TOKEN_BODY,
    encoding: &keys::ISSUE_TOKEN_ENCODING,
};

static CHECK_PASSWORD: CallKeys = CallKeys {
    call: Call::CheckPassword,
    key: &keys::SERVICES_CHECK_PASSWORD,
    table: "services.check_password",
    url: &keys::CHECK_PASSWORD_URL,
    method: &keys::CHECK_PASSWORD_METHOD,
    headers: &keys::CHECK_PASSWORD_HEADERS,
    body: &keys::CHECK_PASSWORD_BODY,
    encoding: &keys::CHECK_PASSWORD_ENCODING,
};

/// The keys about users in an answer.
struct UsersKeys {
    users: &'static Key,
    absent_is_nobody: &'static Key,
    nobody_status: &'static Key,
    id: &'static Key,
    name: &'static Key,
    email: &'static Key,
    phone: &'static Key,
    company_id: &'static Key,
    company_name: &'static Key,
    company: &'static Key,
}

static FOUND_USERS: UsersKeys = UsersKeys {
    users: &keys::FIND_USER_USERS,
    absent_is_nobody: &keys::FIND_USER_ABSENT_IS_NOBODY,
    nobody_status: &keys::FIND_USER_NOBODY_STATUS,
    id: &keys::FIND_USER_ID,
    name: &keys::FIND_USER_NAME,
    email: &keys::FIND_USER_EMAIL,
    phone: &keys::FIND_USER_PHONE,
    company_id: &keys::FIND_USER_COMPANY_ID,
    company_name: &keys::FIND_USER_COMPANY_NAME,
    company: &keys::FIND_USER_COMPANY,
};

static CHECKED_USERS: UsersKeys = UsersKeys {
    users: &keys::CHECK_PASSWORD_USERS,
    absent_is_nobody: &keys::CHECK_PASSWORD_ABSENT_IS_NOBODY,
    nobody_status: &keys::CHECK_PASSWORD_NOBODY_STATUS,
    id: &keys::CHECK_PASSWORD_ID,
    name: &keys::CHECK_PASSWORD_NAME,
    email: &keys::CHECK_PASSWORD_EMAIL,
    phone: &keys::CHECK_PASSWORD_PHONE,
    company_id: &keys::CHECK_PASSWORD_COMPANY_ID,
    company_name: &keys::CHECK_PASSWORD_COMPANY_NAME,
    company: &keys::CHECK_PASSWORD_COMPANY,
};

fn find_user(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<UsersCall> {
    let Some(inner) = reader.inner(table, FIND_USER.key, FIND_USER.table) else {
        let call = reader.one(table, FIND_USER.key, documented(UsersCall::find_user));
        warn_unencrypted(
            reader,
            table,
            FIND_USER.key,
            call.as_ref().map(|call| &call.question),
        );
        return call;
    };
    let question = question(reader, table, &inner, &FIND_USER);
    let answer = users(reader, &inner, &FOUND_USERS, UsersShape::like_documented());
    Some(UsersCall {
        question: question?,
        answer: answer?,
    })
}

/// `like` is how the answers of `find_user` are read, which those about passwords resemble.
fn check_password(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    like: Option<&UsersShape>,
) -> Option<Option<UsersCall>> {
    let Some(inner) = reader.inner(table, CHECK_PASSWORD.key, CHECK_PASSWORD.table) else {
        let call = reader.maybe(
            table,
            CHECK_PASSWORD.key,
            documented(UsersCall::check_password),
        );
        let question = call
            .as_ref()
            .and_then(Option::as_ref)
            .map(|call| &call.question);
        warn_unencrypted(reader, table, CHECK_PASSWORD.key, question);
        return call;
    };
    let question = question(reader, table, &inner, &CHECK_PASSWORD);
    let like = match like {
        Some(like) => like.clone().in_shape(),
        None => UsersShape::like_documented(),
    };
    let answer = users(reader, &inner, &CHECKED_USERS, like);
    Some(Some(UsersCall {
        question: question?,
        answer: answer?,
    }))
}

fn issue_token(reader: &mut Reader<'_>, table: &Table<'_>) -> Option<TokenCall> {
    let Some(inner) = reader.inner(table, ISSUE_TOKEN.key, ISSUE_TOKEN.table) else {
        let call = reader.one(table, ISSUE_TOKEN.key, documented(TokenCall::issue_token));
        warn_unencrypted(
            reader,
            table,
            ISSUE_TOKEN.key,
            call.as_ref().map(|call| &call.question),
        );
        return call;
    };
    let question = question(reader, table, &inner, &ISSUE_TOKEN);
    let mut shape = TokenShape::like_documented();
    let token = reader.one(
        &inner,
        &keys::ISSUE_TOKEN_TOKEN,
        place_of(&keys::ISSUE_TOKEN_TOKEN),
    );
    let token_type = reader.one(
        &inner,
        &keys::ISSUE_TOKEN_TOKEN_TYPE,
        text(|written| {
            if written.starts_with('/') {
                let pointer = Pointer::parse(written)?;
                let place = Place::new(pointer, keys::ISSUE_TOKEN_TOKEN_TYPE.path());
                return Ok(TokenTypePlace::At(place));
            }
            services::token_type(written).map(TokenTypePlace::Always)
        }),
    );
    let always = reader.maybe(
        &inner,
        &keys::ISSUE_TOKEN_EXPIRES_IN_SECONDS,
        number(1..=services::EXPIRES_IN_SECONDS_MAX, "; a year is the most"),
    );
    let lifetime = match always {
        Some(Some(seconds)) => {
            if inner.has(&keys::ISSUE_TOKEN_EXPIRES_IN) {
                reader.problem(
                    &inner,
                    &keys::ISSUE_TOKEN_EXPIRES_IN_SECONDS,
                    "is for answers that do not say it; leave this or services.issue_token.expires_in out",
                );
            }
            Some(LifetimePlace::Always(seconds))
        }
        Some(None) => reader
            .one(
                &inner,
                &keys::ISSUE_TOKEN_EXPIRES_IN,
                place_of(&keys::ISSUE_TOKEN_EXPIRES_IN),
            )
            .map(LifetimePlace::At),
        None => None,
    };
    shape.token = token?;
    shape.token_type = token_type?;
    shape.lifetime = lifetime?;
    Some(TokenCall {
        question: question?,
        answer: shape,
    })
}

/// A documented call by its address alone.
fn documented<T>(
    make: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Converted<T> {
    text(|written| {
        // In the words of all other addresses, as far as they go.
        let url = match has_placeholder(written) {
            true => written.to_owned(),
            false => Url::parse(written)?.text,
        };
        make(&url)
    })
}

fn warn_unencrypted(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    key: &Key,
    question: Option<&Question>,
) {
    if question.is_some_and(|question| !question.is_encrypted()) {
        reader.weakens(table, key, HTTP_CALLED);
    }
}

/// What is sent.
fn question(
    reader: &mut Reader<'_>,
    service: &Table<'_>,
    table: &Table<'_>,
    keys: &'static CallKeys,
) -> Option<Question> {
    let call = keys.call;
    let url = reader.one(table, keys.url, text(|url| UrlTemplate::parse(url, call)));
    let methods = [Method::Get, Method::Post, Method::Put, Method::Patch];
    let method = reader.one(
        table,
        keys.method,
        choice(&methods.map(|method| (method.name(), method))),
    );
    let with_bearer = service.has(&keys::SERVICES_BEARER);
    let headers = reader.named_secrets(
        table,
        keys.headers,
        &OPEN_HEADERS,
        |names| header_names(names, with_bearer),
        header_text,
    );
    let body = reader.document(
        table,
        keys.body,
        |name, text| services::is_secret_name(name) && !text.contains('{'),
        |document, secret| {
            let body = BodyTemplate::parse(document, call, secret)?;
            let shown = body.outline(call);
            Ok((body, shown))
        },
    );
    let encoding = reader.one(
        table,
        keys.encoding,
        choice(&[("json", Encoding::Json), ("form", Encoding::Form)]),
    );
    let question = Question::new(call, method?, url?, headers?, body?, encoding?);
    match question {
        Ok(question) => {
            warn_unencrypted(reader, table, keys.url, Some(&question));
            Some(question)
        }
        Err(misfit) => {
            let key = match misfit.part {
                "body" => keys.body,
                "encoding" => keys.encoding,
                _ => keys.url,
            };
            reader.problem(table, key, misfit.words);
            None
        }
    }
}

/// What the answer looks like, where it differs from `like`.
fn users(
    reader: &mut Reader<'_>,
    table: &Table<'_>,
    keys: &'static UsersKeys,
    like: UsersShape,
) -> Option<UsersShape> {
    let mut shape = like;
    let users = reader.maybe(table, keys.users, place_of(keys.users));
    let absent = reader.maybe(table, keys.absent_is_nobody, switch);
    let checks_password = keys.users.table == CHECK_PASSWORD.table;
    let status = reader.maybe(table, keys.nobody_status, |value| {
        nobody_status(value, checks_password)
    });
    if checks_password && status == Some(Some(401)) {
        reader.warn(
            table,
            keys.nobody_status,
            "401 is also what a service answers that does not know Portero; then every password looks wrong, and nobody is told why",
        );
    }
    let id = reader.maybe(table, keys.id, place_of(keys.id));
    let name = reader.maybe(table, keys.name, place_of(keys.name));
    let email = reader.maybe(
        table,
        keys.email,
        text(|written| match written {
            "asked" => Ok(EmailPlace::AsAsked),
            _ => Ok(EmailPlace::At(Place::new(
                Pointer::parse(written)?,
                keys.email.path(),
            ))),
        }),
    );
    if table.has(keys.email) && email == Some(Some(EmailPlace::AsAsked)) {
        reader.weakens(
            table,
            keys.email,
            "a code goes to the address that was typed, whoever the service found with it; one that also finds people by a part of an address or by another spelling lets somebody in as somebody else",
        );
    }
    let phone = reader.maybe(table, keys.phone, place_of(keys.phone));
    let constant = reader.maybe(table, keys.company, company);
    let apart = [keys.company_id, keys.company_name];
    if table.has(keys.company) {
        if apart.iter().any(|key| table.has(key)) {
            reader.problem(
                table,
                keys.company,
                "is for all users alike; leave this or company_id and company_name out",
            );
        }
    } else {
        let [id, name] = apart.map(|key| reader.maybe(table, key, place_of(key)));
        match (id?, name?, &mut shape.company) {
            (None, None, _) => {}
            (given_id, given_name, CompanyPlace::At { id, name }) => {
                given_id.into_iter().for_each(|given| *id = given);
                given_name.into_iter().for_each(|given| *name = given);
            }
            (Some(id), Some(name), company) => *company = CompanyPlace::At { id, name },
            (..) => {
                reader.problem(
                    table,
                    keys.company_id,
                    "needs company_name beside it, and the other way round",
                );
                return None;
            }
        }
    }
    constant?
        .into_iter()
        .for_each(|company| shape.company = CompanyPlace::Always(company));
    users?.into_iter().for_each(|users| shape.users = users);
    absent?
        .into_iter()
        .for_each(|absent| shape.absent_is_nobody = absent);
    status?
        .into_iter()
        .for_each(|status| shape.nobody_status = status);
    id?.into_iter().for_each(|id| shape.id = id);
    name?.into_iter().for_each(|name| shape.name = name);
    email?.into_iter().for_each(|email| shape.email = email);
    phone?.into_iter().for_each(|phone| shape.phone = phone);
    Some(shape)
}

fn place_of(key: &'static Key) -> impl FnOnce(&DeValue<'_>) -> Converted<Place> {
    text(|written| Ok(Place::new(Pointer::parse(written)?, key.path())))
}

/// A status that can say *nobody*: not one that says that Portero is not welcome, or that the
/// service has too much to do.
fn nobody_status(value: &DeValue<'_>, checks_password: bool) -> Converted<u16> {
    let never: &[u64] = match checks_password {
        true => &[405, 407, 408, 429],
        false => &[401, 403, 405, 407, 408, 429],
    };
    let status = number(204..=499, "")(value)?;
    match u16::try_from(status) {
        Ok(code) if (status == 204 || status >= 400) && !never.contains(&status) => Ok(code),
        _ => Err(vec![
            "must be 204, or a status from 400 that says nothing but that nobody was found".into(),
        ]),
    }
}

/// `{ id, name }`, the same for all users.
fn company(value: &DeValue<'_>) -> Converted<Company> {
    const FORM: &str = "a table such as { id = \"1\", name = \"La Espiga\" }";
    let DeValue::Table(entries) = value else {
        return Err(vec![expected(FORM, value).into()]);
    };
    if entries
        .keys()
        .any(|name| !["id", "name"].contains(&name.get_ref().as_ref()))
    {
        return Err(vec![format!("expected {FORM}, and no other keys").into()]);
    }
    let member = |name: &str| match entries.get(name).map(|value| value.get_ref()) {
        Some(DeValue::String(text)) => {
            let count = text.chars().count();
            let plain = text.trim() == text.as_ref() && !text.contains(char::is_control);
            match plain && (1..=COMPANY_CHARS_MAX).contains(&count) {
                true => Ok(text.to_string()),
                false => Err(format!(
                    "{name} must be 1 to {COMPANY_CHARS_MAX} characters on one line"
                )),
            }
        }
        Some(other) => Err(format!("{name}: {}", expected("text in quotes", other))),
        None => Err(format!("expected {FORM}; {name} is missing")),
    };
    match (member("id"), member("name")) {
        (Ok(id), Ok(name)) => Ok(Company { id, name }),
        (id, name) => Err([id.err(), name.err()]
            .into_iter()
            .flatten()
            .map(Into::into)
            .collect()),
    }
}

/// Headers whose values are no secrets.
const OPEN_HEADERS: [&str; 3] = ["accept", "accept-language", "content-type"];

/// Names of headers that a call may have: none of those by which a message is cut (RFC 9112) or
/// by which Portero signs.
fn header_names(names: &[&str], with_bearer: bool) -> Result<(), String> {
    const TAKEN: [&str; 11] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "user-agent",
    ];
    if names.len() > HEADERS_MAX {
        return Err(format!("there may be {HEADERS_MAX} headers at most"));
    }
    for (index, name) in names.iter().enumerate() {
        let small = name.to_ascii_lowercase();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err("the name of a header is letters, digits, - and _".to_owned());
        }
        if TAKEN.contains(&small.as_str())
            || small.starts_with("webhook-")
            || small.starts_with("proxy-")
        {
            return Err(format!("{name} is written by Portero itself"));
        }
        if small == "authorization" && with_bearer {
            return Err(
                "services.bearer writes Authorization already; leave one of them out".to_owned(),
            );
        }
        if names[..index]
            .iter()
            .any(|other| other.eq_ignore_ascii_case(name))
        {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(())
}

fn header_text(value: &str) -> Result<(), String> {
    if has_placeholder(value) {
        return Err("a header takes no placeholders; they go into url or body".to_owned());
    }
    let visible = value.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if visible && value.trim() == value {
        Ok(())
    } else {
        Err("must be ASCII letters, digits and signs".to_owned())
    }
}

//! One call made for an operator who wants to see it: sent and read by the same code as any other,
//! past the breaker, and told with every secret hidden (S-91).

use super::answer::Asked;
use super::shape::{CompanyPlace, EmailPlace, LifetimePlace, Place, TokenTypePlace, is_word};
use super::template::{Call, HIDDEN, Question, Values, encoded};
use super::{Placeholder, Request, Service, Services, TokenCall, Trouble, UsersCall, trouble};
use crate::domain::account::Account;
use crate::domain::clean::{is_hidden, one_line};
use crate::domain::failure::Failure;
use crate::domain::id::{ContactId, EmailAddress, ServiceName};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http;
use serde_json::Value;

/// Characters of a token that are shown, and the least length of a token of which they are.
const TOKEN_CHARS_SHOWN: usize = 3;
const TOKEN_CHARS_MIN: usize = 16;

/// Characters of a field of an answer's head that are shown.
const FIELD_CHARS_MAX: usize = 200;

/// Shortest secret that is looked for in an answer: shorter ones would hide half of it.
const SECRET_BYTES_MIN: usize = 4;

/// How deep a place that fits is looked for, and how many places in all.
const SEARCH_DEPTH_MAX: usize = 5;
const SEARCH_PLACES_MAX: usize = 2_000;

/// What was sent, as people may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// `GET` and so on.
    pub method: &'static str,
    /// With what the operator wrote into the query hidden.
    pub url: String,
    /// In the order of sending; values that may be secrets are hidden.
    pub headers: Vec<(String, String)>,
    /// The members of the body, with secrets and passwords hidden.
    pub body: Option<Value>,
    /// Whether the body was a form and not JSON.
    pub form: bool,
}

/// What came back, as people may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// HTTP status.
    pub status: u16,
    /// Those of [`http::TELLING`] that were there.
    pub headers: Vec<(&'static str, String)>,
    /// The body with what may be a secret hidden; nothing when it is not JSON.
    pub body: Option<Value>,
    /// Length of the body in bytes.
    pub bytes: usize,
}

/// What Portero made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// These users; none: nobody.
    Users(Vec<Account>),
    /// A token.
    Token(TokenReading),
    /// Nothing.
    Refused(Refusal),
}

/// What may be told of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenReading {
    /// For example `Bearer`.
    pub token_type: String,
    /// Its length in characters.
    pub characters: usize,
    /// From the moment of the answer.
    pub expires_in_seconds: u64,
}

/// Why nothing was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether no answer came at all.
    pub unreachable: bool,
    /// Which rule refused it.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// Lines for the configuration that would fit this answer.
    pub lines: Vec<String>,
}

/// One call, from the request to what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DryRun {
    /// Which call.
    pub call: Call,
    /// Nothing when it could not be put together.
    pub asking: Option<Asking>,
    /// Nothing when none came.
    pub answer: Option<Exchange>,
    /// What came of it.
    pub reading: Reading,
}

impl Services {
    /// Asks one service who has this address; `None` when no service has this name.
    pub fn dry_run_find_user(
        &self,
        service: &ServiceName,
        email: &EmailAddress,
        now: Timestamp,
        id: &str,
    ) -> Option<DryRun> {
        let service = self.named(service)?;
        let call = &service.settings.find_user;
        let values = [(Placeholder::Email, email.as_str())];
        Some(
            service.dry_run(&call.question, Values(&values), now, id, |answer| {
                let read = service.users(call, Asked::Address(email), answer);
                let lines = || lines_for_users(call, Some(email), fitting(answer));
                reading(read.map(Reading::Users), lines)
            }),
        )
    }

    /// Asks one service about a password; `None` when no service has this name, or it has not the
    /// call.
    pub fn dry_run_check_password(
        &self,
        service: &ServiceName,
        user: &str,
        password: &Secret,
        now: Timestamp,
        id: &str,
    ) -> Option<DryRun> {
        let service = self.named(service)?;
        let call = service.settings.check_password.as_ref()?;
        let email = EmailAddress::parse(user.trim()).ok();
        let asked = email.as_ref().map_or(Asked::UserName, Asked::Address);
        let values = [
            (Placeholder::User, user),
            (Placeholder::Password, password.reveal()),
        ];
        Some(
            service.dry_run(&call.question, Values(&values), now, id, |answer| {
                let read = service.users(call, asked, answer);
                let lines = || lines_for_users(call, email.as_ref(), fitting(answer));
                reading(read.map(Reading::Users), lines)
            }),
        )
    }

    /// Asks one service for a token; `None` when no service has this name.
    pub fn dry_run_issue_token(
        &self,
        service: &ServiceName,
        user: &Account,
        contact: ContactId,
        now: Timestamp,
        id: &str,
    ) -> Option<DryRun> {
        let service = self.named(service)?;
        let call = &service.settings.issue_token;
        let contact = contact.to_string();
        let values = [
            (Placeholder::UserId, user.user_id.as_str()),
            (Placeholder::CompanyId, &user.company.id),
            (Placeholder::UserUuid, &contact),
        ];
        Some(
            service.dry_run(&call.question, Values(&values), now, id, |answer| {
                let read = service.token(call, answer).map(|token| {
                    Reading::Token(TokenReading {
                        characters: token.token.reveal().chars().count(),
                        token_type: token.token_type.clone(),
                        expires_in_seconds: token.expires_in_seconds,
                    })
                });
                reading(read, || lines_for_token(call, fitting(answer)))
            }),
        )
    }

    fn named(&self, name: &ServiceName) -> Option<&Service> {
        self.services
            .iter()
            .find(|service| service.settings.name == *name)
    }
}

fn reading(read: Result<Reading, Trouble>, lines: impl FnOnce() -> Vec<String>) -> Reading {
    read.unwrap_or_else(|trouble| {
        let lines = match &trouble {
            Trouble::Service(_) => lines(),
            Trouble::Data(_) | Trouble::Resting(_) => Vec::new(),
        };
        Reading::Refused(refusal(trouble.failure(), false, lines))
    })
}

/// The body, if anything can be looked for in it.
fn fitting(answer: &http::Answer) -> &[u8] {
    match answer.status {
        200 | 201 if answer.is_json => &answer.body,
        _ => &[],
    }
}

fn refusal(failure: Failure, unreachable: bool, lines: Vec<String>) -> Refusal {
    Refusal {
        unreachable,
        reason: failure.reason,
        advice: failure.advice,
        lines,
    }
}

impl Service {
    fn dry_run(
        &self,
        question: &Question,
        values: Values<'_>,
        now: Timestamp,
        id: &str,
        read: impl FnOnce(&http::Answer) -> Reading,
    ) -> DryRun {
        let mut run = DryRun {
            call: question.call,
            asking: None,
            answer: None,
            reading: Reading::Users(Vec::new()),
        };
        let request = match self.request(question, values, now, id) {
            Ok(request) => request,
            Err(trouble) => {
                run.reading = Reading::Refused(refusal(trouble.failure(), false, Vec::new()));
                return run;
            }
        };
        run.asking = Some(Asking {
            method: request.method.name(),
            url: question.url.shown(values),
            headers: request.headers.iter().map(shown_header).collect(),
            body: question.body.as_ref().map(|body| body.shown(values)),
            form: question.encoding == super::Encoding::Form,
        });
        match self.transmit(&request) {
            Ok(answer) => {
                run.answer = Some(self.shown_answer(question, &request, values, &answer));
                run.reading = read(&answer);
            }
            Err(broken) => {
                let failure = trouble(broken).failure();
                run.reading = Reading::Refused(refusal(failure, true, Vec::new()));
            }
        }
        run
    }

    fn shown_answer(
        &self,
        question: &Question,
        request: &Request,
        values: Values<'_>,
        answer: &http::Answer,
    ) -> Exchange {
        let mut veil = Veil::default();
        veil.hide_all(self.settings.secret.iter().chain(&self.settings.bearer));
        let hidden = request.headers.iter().filter(|header| !is_open(&header.0));
        veil.hide_all(hidden.map(|(_, value)| value));
        let constants: Vec<_> = question.url.constants().map(Secret::new).collect();
        veil.hide_all(constants.iter());
        veil.hide_all(question.body.iter().flat_map(|body| body.secrets()));
        let password = values
            .0
            .iter()
            .filter(|(placeholder, _)| *placeholder == Placeholder::Password);
        veil.hide_all(
            password
                .map(|(_, value)| Secret::new(*value))
                .collect::<Vec<_>>()
                .iter(),
        );
        let mut body: Option<Value> = answer
            .is_json
            .then(|| serde_json::from_slice(&answer.body).ok())
            .flatten();
        if let Some(body) = &mut body {
            let place = (question.call == Call::IssueToken)
                .then_some(&self.settings.issue_token.answer.token.pointer);
            let mut token = place.and_then(|place| place.of(body)).cloned();
            if let Some(Value::String(token)) = &token {
                veil.hide(token);
            }
            veil.sort();
            veil.draw(body);
            // Whatever its name is; what is drawn already has lost its length.
            if let (Some(place), Some(token)) = (place, &mut token) {
                shorten_all(token);
                if let Some(shown) = body.pointer_mut(place.as_str()) {
                    *shown = token.clone();
                }
            }
        }
        let headers = answer.telling.iter().map(|(name, value)| {
            // What it leads to may carry a session.
            let value = match (*name, value.split_once('?')) {
                ("location", Some((before, _))) => format!("{before}?{HIDDEN}"),
                _ => value.clone(),
            };
            (*name, one_line(&veil.over(&value), FIELD_CHARS_MAX))
        });
        Exchange {
            status: answer.status,
            headers: headers.collect(),
            body,
            bytes: answer.body.len(),
        }
    }
}

/// Headers that the configuration names may all be secrets, and so is the signature.
fn shown_header((name, value): &(String, Secret)) -> (String, String) {
    let value = match name.to_ascii_lowercase().as_str() {
        open if is_open(open) => value.reveal().to_owned(),
        "webhook-signature" => format!("v1,{HIDDEN}"),
        "authorization" => match value.reveal().split_once(' ') {
            Some((scheme @ ("Bearer" | "Basic" | "Token"), _)) => format!("{scheme} {HIDDEN}"),
            _ => HIDDEN.to_owned(),
        },
        _ => HIDDEN.to_owned(),
    };
    (name.clone(), value)
}

/// Whether everybody may see the value of this header.
fn is_open(name: &str) -> bool {
    const OPEN: [&str; 5] = [
        "content-type",
        "accept",
        "accept-language",
        "webhook-id",
        "webhook-timestamp",
    ];
    OPEN.iter().any(|open| open.eq_ignore_ascii_case(name))
}

/// The secrets that an answer may repeat.
#[derive(Default)]
struct Veil(Vec<Secret>);

impl Veil {
    fn hide_all<'s>(&mut self, secrets: impl Iterator<Item = &'s Secret>) {
        for secret in secrets {
            // A service may repeat what follows `Bearer `, or `whsec_`.
            let text = secret.reveal();
            self.hide(text);
            for word in text.split([' ', '_', ',']).filter(|word| word.len() >= 8) {
                self.hide(word);
            }
        }
    }

    fn hide(&mut self, text: &str) {
        if text.len() < SECRET_BYTES_MIN {
            return;
        }
        // As it is, and as a form, an address or a document within a text has it.
        let in_form = encoded(text);
        let in_json = Value::from(text).to_string();
        let forms = [
            in_form.replace("%20", "+"),
            in_form,
            in_json.trim_matches('"').to_owned(),
            text.to_owned(),
        ];
        for form in forms {
            if !self.0.iter().any(|known| known.matches(&form)) {
                self.0.push(Secret::new(form));
            }
        }
    }

    /// Longer ones first, so that no part of one is left because another begins like it.
    fn sort(&mut self) {
        self.0
            .sort_by_key(|secret| std::cmp::Reverse(secret.reveal().len()));
    }

    fn over(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.reveal(), HIDDEN);
        }
        text
    }

    /// Hides what may be a secret: by its name, by its look, or because it is one of ours.
    fn draw(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let shown = if looks_secret(text) {
                    shortened(text)
                } else {
                    text.clone()
                };
                *text = self.over(&shown).replace(is_hidden, "\u{fffd}");
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.draw(item)),
            Value::Object(members) => {
                let drawn = std::mem::take(members)
                    .into_iter()
                    .map(|(name, mut member)| {
                        if is_secret_name(&name) {
                            shorten_all(&mut member);
                        } else {
                            self.draw(&mut member);
                        }
                        (self.over(&name).replace(is_hidden, "\u{fffd}"), member)
                    });
                *members = drawn.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Whether a member of this name usually holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 15] = [
        "token",
        "secret",
        "password",
        "passwd",
        "pwd",
        "apikey",
        "authorization",
        "credential",
        "cookie",
        "session",
        "signature",
        "jwt",
        "assertion",
        "hash",
        "otp",
    ];
    let plain = name.to_ascii_lowercase().replace(['_', '-'], "");
    let harmless = ["type", "expiresin", "expires", "expiresat"];
    (WORDS.iter().any(|word| plain.contains(word)) || plain.ends_with("key") || plain == "pin")
        && !harmless.iter().any(|end| plain.ends_with(end))
}

/// Long, without spaces, and of letters and digits mixed, as tokens are; but no UUID.
fn looks_secret(text: &str) -> bool {
    const LONG: usize = 24;
    let sign = |b: u8| b.is_ascii_alphanumeric() || b"+/=_.-".contains(&b);
    let is_uuid = text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        });
    text.len() >= LONG
        && text.bytes().all(sign)
        && text.bytes().any(|b| b.is_ascii_digit())
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && !is_uuid
}

fn shortened(text: &str) -> String {
    let characters = text.chars().count();
    // Of a short one the beginning would tell too much.
    let begin: String = match characters {
        TOKEN_CHARS_MIN.. => text.chars().take(TOKEN_CHARS_SHOWN).collect(),
        _ => String::new(),
    };
    let begin = begin.replace(is_hidden, "\u{fffd}");
    format!("{begin}{HIDDEN} ({characters} characters)")
}

fn shorten_all(value: &mut Value) {
    match value {
        Value::String(text) => *text = shortened(text),
        Value::Number(_) => *value = Value::String(HIDDEN.to_owned()),
        Value::Array(items) => items.iter_mut().for_each(shorten_all),
        Value::Object(members) => members.values_mut().for_each(shorten_all),
        Value::Null | Value::Bool(_) => {}
    }
}

// --- what would fit ---

/// Every place in a document that is reached by words, with its pointer; outer ones first.
fn places(document: &Value) -> Vec<(String, &Value)> {
    let mut found = vec![(String::new(), document)];
    let mut at = 0;
    while at < found.len() && found.len() < SEARCH_PLACES_MAX {
        let (pointer, value) = (found[at].0.clone(), found[at].1);
        at += 1;
        if let Value::Object(members) = value
            && pointer.matches('/').count() < SEARCH_DEPTH_MAX
        {
            let words = members.iter().filter(|(name, _)| is_word(name));
            found.extend(words.map(|(name, member)| (format!("{pointer}/{name}"), member)));
        }
    }
    found
}

/// The pointer of the outermost place with one of these names, the first of them if there are
/// several, whose value will do.
fn place_named(value: &Value, names: &[&str], fits: impl Fn(&Value) -> bool) -> Option<String> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let fitting = places(value).into_iter().filter_map(|(pointer, value)| {
        let end = plain(pointer.rsplit('/').next().unwrap_or(""));
        let rank = names.iter().position(|name| *name == end)?;
        fits(value).then(|| (pointer.matches('/').count(), rank, pointer))
    });
    fitting.min().map(|(_, _, pointer)| pointer)
}

fn is_id(value: &Value) -> bool {
    value.is_string() || value.is_u64() || value.is_i64()
}

/// Lines that would find what was not found in an answer about users.
fn lines_for_users(call: &UsersCall, email: Option<&EmailAddress>, body: &[u8]) -> Vec<String> {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    let shape = &call.answer;
    let is_asked = |value: &Value| {
        let found = value
            .as_str()
            .and_then(|text| EmailAddress::parse(text).ok());
        found.is_some_and(|found| email.is_some_and(|email| found == *email))
    };
    let holds_asked = |user: &Value| places(user).iter().any(|(_, value)| is_asked(value));
    let mut lines = Vec::new();
    let mut user = match shape.users.of(&answer) {
        Some(Value::Array(users)) => users.first(),
        Some(user @ Value::Object(_)) if !shape.documented => Some(user),
        _ => None,
    };
    if !matches!(shape.users.of(&answer), Some(Value::Array(_))) && user.is_none() {
        let places = places(&answer);
        let lists = || {
            places.iter().filter_map(|(pointer, value)| {
                Some((pointer, value.as_array()?.first()?)).filter(|(_, first)| first.is_object())
            })
        };
        let mut objects = places
            .iter()
            .filter(|(_, value)| {
                value
                    .as_object()
                    .is_some_and(|members| members.values().any(is_asked))
            })
            .map(|(pointer, value)| (pointer, value));
        let best = lists().find(|(_, first)| holds_asked(first));
        let best = best.or_else(|| {
            objects
                .next_back()
                .map(|(pointer, value)| (pointer, *value))
        });
        if let Some((pointer, found)) = best.or_else(|| lists().next()) {
            lines.push(line("users", pointer));
            user = Some(found);
        }
    }
    let Some(user) = user.filter(|user| user.is_object()) else {
        return lines;
    };
    let lost = |place: &Place| place.of(user).is_none();
    let mut find = |name: &str, place: &Place, names: &[&str], fits: &dyn Fn(&Value) -> bool| {
        if lost(place)
            && let Some(pointer) = place_named(user, names, fits)
        {
            lines.push(line(name, &pointer));
        }
    };
    const IDS: [&str; 6] = ["id", "uuid", "userid", "customerid", "guid", "sub"];
    const NAMES: [&str; 6] = [
        "name",
        "fullname",
        "displayname",
        "firstname",
        "givenname",
        "username",
    ];
    const EMAILS: [&str; 4] = ["email", "mail", "emailaddress", "mailaddress"];
    find("id", &shape.id, &IDS, &is_id);
    find("name", &shape.name, &NAMES, &Value::is_string);
    if let EmailPlace::At(place) = &shape.email
        && lost(place)
    {
        let by_value = places(user).into_iter().find(|(_, value)| is_asked(value));
        let pointer = by_value.map(|(pointer, _)| pointer);
        let pointer = pointer.or_else(|| place_named(user, &EMAILS, Value::is_string));
        lines.extend(pointer.map(|pointer| line("email", &pointer)));
    }
    if let CompanyPlace::At { id, name } = &shape.company
        && (lost(id) || lost(name))
    {
        let inner = |names: [&str; 2], fits: fn(&Value) -> bool| place_named(user, &names, fits);
        let ids = inner(["companyid", "organizationid"], is_id);
        let names = inner(["companyname", "organizationname"], Value::is_string);
        let nested = ["company", "organization", "organisation", "tenant"]
            .into_iter()
            .find_map(|name| {
                let company = user.get(name)?;
                let id = place_named(company, &IDS, is_id)?;
                let called = place_named(company, &NAMES, Value::is_string)?;
                Some((format!("/{name}{id}"), format!("/{name}{called}")))
            });
        match ids.zip(names).or(nested) {
            Some((id, name)) => {
                lines.push(line("company_id", &id));
                lines.push(line("company_name", &name));
            }
            None => lines.push(
                "company = { id = \"1\", name = \"…\" }  # when all users are of one company"
                    .to_owned(),
            ),
        }
    }
    lines
}

/// The same of an answer with a token.
fn lines_for_token(call: &TokenCall, body: &[u8]) -> Vec<String> {
    let Ok(answer) = serde_json::from_slice::<Value>(body) else {
        return Vec::new();
    };
    const TOKENS: [&str; 4] = ["accesstoken", "token", "jwt", "idtoken"];
    let shape = &call.answer;
    let lost = |place: &Place| place.of(&answer).is_none();
    let mut lines = Vec::new();
    if lost(&shape.token) {
        let pointer = place_named(&answer, &TOKENS, Value::is_string);
        lines.extend(pointer.map(|pointer| line("token", &pointer)));
    }
    if let TokenTypePlace::At(place) = &shape.token_type
        && lost(place)
    {
        let pointer = place_named(&answer, &["tokentype"], Value::is_string);
        lines.push(line("token_type", pointer.as_deref().unwrap_or("Bearer")));
    }
    if let LifetimePlace::At(place) = &shape.lifetime
        && lost(place)
    {
        match place_named(&answer, &["expiresin", "ttl"], is_id) {
            Some(pointer) => lines.push(line("expires_in", &pointer)),
            None => lines.push("expires_in_seconds = 3600  # as the service has it".to_owned()),
        }
    }
    lines
}

fn line(name: &str, value: &str) -> String {
    format!("{name} = {}", Value::from(value))
}

#[cfg(test)]
mod tests;

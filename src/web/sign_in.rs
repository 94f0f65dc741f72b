//! The sign-in page of Portero's own, and the page on which a binding is undone. GET changes
//! nothing, ever (S-35); a form is believed only with its token and from its own site (S-42).

use super::pages::{self, Problem, Setting, field};
use super::request::parameter;
use super::{CheckPassword, Site, Web, page_response};
use crate::app::{PASSWORD_BYTES_MAX, PageView, Tried, Verdict, Visitor};
use crate::backend::{Backend, ForeignHash, RETURN_TO, SignInOutcome};
use crate::domain::language::Language;
use crate::domain::policy::Policy;
use crate::domain::secret::{MappingHash, Secret};
use crate::domain::sign_in::PageAnswer;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::store::StoreError;
use crate::text::Texts;
use rouille::{Request, Response};
use std::borrow::Cow;
use std::io::Read;
use std::net::IpAddr;
use zeroize::{Zeroize, Zeroizing};

/// The sign-in page, below the path of the public URL.
pub const SIGN_IN_PATH: &str = "/sign-in";

/// The page on which a binding is undone.
pub const UNDO_PATH: &str = "/undo";

/// Longest user name, in bytes: an address, or as much of something else.
const USER_BYTES_MAX: usize = 320;

/// Most fields of a form; ours have six. Each is compared with those before it.
const FIELDS_MAX: usize = 16;

/// Whose links the page serves.
enum Link<'w> {
    /// Portero's own.
    Own(MappingHash),
    /// Those of somebody else's back end.
    Foreign(&'w Backend, ForeignHash),
}

impl Link<'_> {
    fn hash(&self) -> &str {
        match self {
            Link::Own(hash) => hash.reveal(),
            Link::Foreign(_, hash) => hash.reveal(),
        }
    }
}

/// A form as it was sent; wiped when dropped.
pub(super) struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    /// The fields of an `application/x-www-form-urlencoded` body; `None` for anything else, for one
    /// that says anything twice (F-4), and for one with more than [`FIELDS_MAX`].
    pub(super) fn read(request: &Request) -> Option<Form> {
        let media_type = request.header("Content-Type")?;
        let media_type = media_type.split(';').next()?.trim();
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return None;
        }
        let mut body = Zeroizing::new(Vec::new());
        request.data()?.read_to_end(&mut body).ok()?;
        let mut form = Form { fields: Vec::new() };
        for (name, value) in form_urlencoded::parse(&body) {
            let is_known = form.fields.iter().any(|(known, _)| *known == name);
            if is_known || form.fields.len() == FIELDS_MAX {
                return None;
            }
            form.fields.push((name.into_owned(), value.into_owned()));
        }
        Some(form)
    }

    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

impl Drop for Form {
    fn drop(&mut self) {
        for (_, value) in &mut self.fields {
            value.zeroize();
        }
    }
}

/// What a page needs to be drawn for one request.
struct Desk<'w> {
    web: &'w Web,
    site: &'w Site,
    texts: &'w Texts,
    accept_language: Option<String>,
    chat_url: Option<String>,
    is_phone: bool,
}

impl<'w> Desk<'w> {
    fn new(web: &'w Web, site: &'w Site, request: &Request) -> Desk<'w> {
        let settings = web.app.settings();
        Desk {
            web,
            site,
            texts: &settings.texts,
            accept_language: request.header("Accept-Language").map(str::to_owned),
            chat_url: settings.places.chat.clone(),
            is_phone: is_phone(request),
        }
    }

    fn setting(&self, usual: Option<Language>) -> Setting<'_> {
        let usual = usual.unwrap_or(self.web.app.settings().language);
        Setting {
            texts: self.texts,
            language: pages::language_of(self.accept_language.as_deref(), usual),
            look: &self.site.look,
            base: &self.site.base,
            chat_url: self.chat_url.as_deref(),
        }
    }

    fn answer(&self, status: u16, page: &pages::Page) -> Response {
        page_response(self.site, page).with_status_code(status)
    }

    fn gone(&self, usual: Option<Language>) -> Response {
        let minutes = self.web.app.settings().policy.link_lifetime_ms / MINUTE_MS;
        self.answer(404, &pages::gone(&self.setting(usual), minutes))
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Response {
        tracing::error!(%error, "a sign-in page could not be served");
        self.answer(503, &pages::failure(&self.setting(None)))
    }

    /// Where the browser goes after a right password: phones open the chat at once, elsewhere it is
    /// a tap or the phone's camera away.
    fn to_chat(&self, url: &str, page: &pages::Page) -> Response {
        if self.is_phone {
            return Response::redirect_303(Cow::Owned(url.to_owned()));
        }
        self.answer(200, page)
    }
}

/// `GET /sign-in/?mappingHash=…`
pub(super) fn get(web: &Web, site: &Site, request: &Request) -> Response {
    let desk = Desk::new(web, site, request);
    let Some(hash) = parameter(request, field::HASH) else {
        return desk.answer(200, &pages::no_link(&desk.setting(None)));
    };
    match link(site, &hash) {
        Some(link) => show(&desk, &link, request, None, ("", "")),
        None => unknown(&desk, request),
    }
}

/// A link that leads nowhere; whoever tries many is told to wait (S-36).
fn unknown(desk: &Desk<'_>, request: &Request) -> Response {
    let (network, now) = (network(request.remote_addr().ip()), desk.web.app.now());
    match desk.web.guesses.count(network, now) {
        None => desk.gone(None),
        Some(until) => desk
            .gone(None)
            .with_status_code(429)
            .with_additional_header("Retry-After", retry_after(until, now)),
    }
}

fn link<'w>(site: &'w Site, hash: &str) -> Option<Link<'w>> {
    match &site.backend {
        None => MappingHash::parse(hash).ok().map(Link::Own),
        Some(backend) => ForeignHash::parse(hash)
            .ok()
            .map(|hash| Link::Foreign(backend, hash)),
    }
}

/// The form, at first and after each problem; `typed` is number and user.
fn show(
    desk: &Desk<'_>,
    link: &Link<'_>,
    request: &Request,
    problem: Option<Problem>,
    typed: (&str, &str),
) -> Response {
    let view = match link {
        Link::Own(hash) => match desk.web.app.page(hash) {
            Ok(Some(view)) => Some(view),
            Ok(None) => return unknown(desk, request),
            Err(error) => return desk.failed(&error),
        },
        // Only the back end knows, and it is asked once somebody has signed in.
        Link::Foreign(..) => None,
    };
    let token = desk.web.app.form_token(link.hash());
    let asked_minutes = |view: &PageView| {
        let now = desk.web.app.now();
        now.since_ms(view.asked_at) / MINUTE_MS
    };
    let model = pages::SignIn {
        hash: link.hash(),
        form_token: token.reveal(),
        asked_minutes: view.as_ref().map(asked_minutes),
        number_ending: view.as_ref().and_then(|view| view.number_ending.as_deref()),
        ask_number: view.as_ref().is_some_and(|view| view.asks_number),
        typed_number: typed.0,
        typed_user: typed.1,
        problem,
    };
    let setting = desk.setting(view.as_ref().map(|view| view.language));
    let status = match problem {
        None => 200,
        Some(Problem::Unavailable | Problem::Busy) => 503,
        Some(Problem::TooManyTries { .. }) => 429,
        Some(_) => 422,
    };
    desk.answer(status, &pages::sign_in(&setting, &model))
}

/// `POST /sign-in/`
pub(super) fn post(web: &Web, site: &Site, request: &Request) -> Response {
    let desk = Desk::new(web, site, request);
    let Some(form) = Form::read(request) else {
        return desk.answer(400, &pages::no_link(&desk.setting(None)));
    };
    let Some(link) = link(site, form.get(field::HASH)) else {
        return unknown(&desk, request);
    };
    if !is_own_form(web, site, request, link.hash(), &form) {
        return desk.answer(403, &pages::no_link(&desk.setting(None)));
    }
    let (number, user) = (form.get(field::NUMBER).trim(), form.get(field::USER).trim());
    let typed = (number, user);
    if form.get(field::ACTION) == field::NOT_ME {
        return match &link {
            Link::Own(hash) => match web.app.decline(hash) {
                Ok(tried) if tried.answer == PageAnswer::Declined => {
                    desk.answer(200, &pages::declined(&desk.setting(Some(tried.language))))
                }
                Ok(_) => unknown(&desk, request),
                Err(error) => desk.failed(&error),
            },
            Link::Foreign(..) => desk.answer(200, &pages::no_link(&desk.setting(None))),
        };
    }
    let password = Secret::new(form.get(field::PASSWORD));
    let missing = match &link {
        _ if user.is_empty() => Some(Problem::MissingUser),
        _ if password.reveal().is_empty() => Some(Problem::MissingPassword),
        Link::Own(hash) if number.is_empty() => match web.app.page(hash) {
            Ok(Some(view)) if view.asks_number => Some(Problem::MissingNumber),
            _ => None,
        },
        _ => None,
    };
    if missing.is_some() {
        return show(&desk, &link, request, missing, typed);
    }
    let visitor = Visitor::new(user, network(request.remote_addr().ip()));
    let outcome = match &link {
        Link::Own(hash) => own(&desk, hash, &visitor, number, user, &password),
        Link::Foreign(backend, hash) => foreign(&desk, backend, hash, &visitor, user, &password),
    };
    match outcome {
        Ok(Next::Done(response)) => response,
        Ok(Next::Gone) => unknown(&desk, request),
        Ok(Next::Again(problem)) => {
            let response = show(&desk, &link, request, Some(problem), typed);
            match problem {
                Problem::TooManyTries { minutes } => response
                    .with_additional_header("Retry-After", (minutes.max(1) * 60).to_string()),
                _ => response,
            }
        }
        Err(error) => desk.failed(&error),
    }
}

/// What follows from a form.
enum Next {
    Done(Response),
    Gone,
    Again(Problem),
}

fn own(
    desk: &Desk<'_>,
    hash: &MappingHash,
    visitor: &Visitor,
    number: &str,
    user: &str,
    password: &Secret,
) -> Result<Next, crate::app::Failed> {
    let app = &desk.web.app;
    // Asked before the try, after which there may be no link any more.
    let language = app.page(hash)?.map(|view| view.language);
    let attempt = app.begin_try(hash, visitor, Some(number))?;
    if attempt.answer != PageAnswer::Check {
        let setting = desk.setting(language);
        return Ok(match attempt.answer {
            PageAnswer::WrongNumber { left } => Next::Again(Problem::WrongNumber { left }),
            PageAnswer::TooMany { until } => Next::Again(too_many(until, app.now())),
            PageAnswer::Burned => Next::Done(desk.answer(404, &pages::burned(&setting))),
            _ => Next::Gone,
        });
    }
    let verdict = check(&*desk.site.check, user, password);
    let is_busy = matches!(verdict, Verdict::Busy);
    let tried = app.finish_try(hash, visitor, attempt.tried_at, verdict)?;
    Ok(match (tried.answer, is_busy) {
        (PageAnswer::WrongPassword { left }, _) => Next::Again(Problem::WrongPassword { left }),
        (PageAnswer::TooMany { until }, _) => Next::Again(too_many(until, app.now())),
        (PageAnswer::NoAnswer, true) => Next::Again(Problem::Busy),
        (PageAnswer::NoAnswer, false) => Next::Again(Problem::Unavailable),
        _ => signed_in(desk, &tried),
    })
}

fn signed_in(desk: &Desk<'_>, tried: &Tried) -> Next {
    let setting = desk.setting(Some(tried.language));
    let url = tried.chat_url.as_ref().map_or("", Secret::reveal);
    Next::Done(match tried.answer {
        PageAnswer::Return => desk.to_chat(url, &pages::back(&setting, url)),
        PageAnswer::Finished => desk.to_chat(url, &pages::finished(&setting)),
        PageAnswer::CodeMailed => {
            let to = tried.mailed_to.as_deref().unwrap_or_default();
            desk.answer(200, &pages::mail_sent(&setting, to))
        }
        PageAnswer::Refused => desk.answer(403, &pages::refused(&setting)),
        PageAnswer::Burned => desk.answer(404, &pages::burned(&setting)),
        _ => return Next::Gone,
    })
}

/// The page's side of the published document: the second call strictly after the right password.
fn foreign(
    desk: &Desk<'_>,
    backend: &Backend,
    hash: &ForeignHash,
    visitor: &Visitor,
    user: &str,
    password: &Secret,
) -> Result<Next, crate::app::Failed> {
    let app = &desk.web.app;
    let unavailable = |failure: crate::domain::failure::Failure| {
        let advice = failure.advice.unwrap_or_default();
        tracing::error!(
            reason = failure.reason,
            advice,
            "the back end of the sign-in page gives no answer"
        );
        Ok(Next::Again(Problem::Unavailable))
    };
    // Asking about the hash changes nothing there. A made-up link must not be a way to try
    // passwords, nor to use up somebody's tries.
    let session = match backend.fetch(hash) {
        Ok(Some(session)) => session,
        Ok(None) => return Ok(Next::Gone),
        Err(failure) => return unavailable(failure),
    };
    let tried_at = match app.count_guess(visitor)? {
        Ok(tried_at) => tried_at,
        Err(until) => return Ok(Next::Again(too_many(until, app.now()))),
    };
    match check(&*desk.site.check, user, password) {
        // Only the network and the user name are counted: the link is not ours to burn.
        Verdict::Nobody => return Ok(Next::Again(Problem::WrongUserOrPassword)),
        Verdict::NotEverybody => return Ok(Next::Again(Problem::Unavailable)),
        Verdict::NoAnswer => {
            app.take_back_guess(visitor, tried_at)?;
            return Ok(Next::Again(Problem::Unavailable));
        }
        Verdict::Busy => {
            app.take_back_guess(visitor, tried_at)?;
            return Ok(Next::Again(Problem::Busy));
        }
        Verdict::These(_) => app.take_back_guess(visitor, tried_at)?,
    }
    match backend.sign_in(&session) {
        Ok(SignInOutcome::Done(signed)) => {
            let number = session.number.as_str();
            let url = signed
                .redirect_url
                .unwrap_or_else(|| format!("{RETURN_TO}{number}"));
            let carries_code = url.contains("&text=");
            let setting = desk.setting(None);
            let page = if carries_code {
                pages::back(&setting, &url)
            } else {
                let setting = Setting {
                    chat_url: Some(&url),
                    ..setting
                };
                pages::finished(&setting)
            };
            Ok(Next::Done(desk.to_chat(&url, &page)))
        }
        Ok(SignInOutcome::Expired) => Ok(Next::Gone),
        Err(failure) => unavailable(failure),
    }
}

fn check(check: &CheckPassword, user: &str, password: &Secret) -> Verdict {
    if user.len() > USER_BYTES_MAX || password.reveal().len() > PASSWORD_BYTES_MAX {
        return Verdict::Nobody;
    }
    check(user, password)
}

fn too_many(until: Timestamp, now: Timestamp) -> Problem {
    Problem::TooManyTries {
        minutes: until.since_ms(now).div_ceil(MINUTE_MS).max(1),
    }
}

pub(super) fn retry_after(until: Timestamp, now: Timestamp) -> String {
    until.since_ms(now).div_ceil(1_000).max(1).to_string()
}

/// A form is ours when it carries the token made for its link, and the browser does not say that
/// another site sent it (S-42). With `no-referrer`, browsers write `Origin: null`.
fn is_own_form(web: &Web, site: &Site, request: &Request, about: &str, form: &Form) -> bool {
    let fetched_from = request.header("Sec-Fetch-Site");
    let from_elsewhere = fetched_from.is_some_and(|site| site != "same-origin" && site != "none");
    let origin = request.header("Origin").filter(|origin| *origin != "null");
    let foreign_origin = origin.is_some_and(|origin| !site.is_origin(origin));
    let token = web.app.form_token(about);
    !from_elsewhere && !foreign_origin && token.matches(form.get(field::FORM_TOKEN))
}

// --- undoing --------------------------------------------------------------------------------------

/// `GET /undo/?token=…`
pub(super) fn undo_get(web: &Web, site: &Site, request: &Request) -> Response {
    let desk = Desk::new(web, site, request);
    let Some(token) = parameter(request, field::UNDO_TOKEN) else {
        return undo_gone(&desk, None);
    };
    match show_undo(&desk, &token) {
        Ok(Some(response)) => response,
        Ok(None) => undo_gone(&desk, Some(request)),
        Err(error) => desk.failed(&error),
    }
}

fn show_undo(desk: &Desk<'_>, token: &str) -> Result<Option<Response>, StoreError> {
    let app = &desk.web.app;
    let Some(view) = app.undo_view(token)? else {
        return Ok(None);
    };
    let form_token = app.form_token(token);
    let model = pages::Undo {
        token,
        form_token: form_token.reveal(),
        account: &view.accounts,
        number_ending: view.number_ending.as_deref(),
        signed_in_at: view.proved_at,
        now: app.now(),
    };
    let page = pages::undo(&desk.setting(Some(view.language)), &model);
    Ok(Some(desk.answer(200, &page)))
}

/// `POST /undo/`
pub(super) fn undo_post(web: &Web, site: &Site, request: &Request) -> Response {
    let desk = Desk::new(web, site, request);
    let Some(form) = Form::read(request) else {
        return undo_gone(&desk, None).with_status_code(400);
    };
    let token = form.get(field::UNDO_TOKEN);
    if !is_own_form(web, site, request, token, &form) {
        return undo_gone(&desk, None).with_status_code(403);
    }
    let language = match web.app.undo_view(token) {
        Ok(view) => view.map(|view| view.language),
        Err(error) => return desk.failed(&error),
    };
    match web.app.undo(token) {
        Ok(true) => desk.answer(200, &pages::undone(&desk.setting(language))),
        Ok(false) => undo_gone(&desk, Some(request)),
        Err(error) => desk.failed(&error),
    }
}

fn undo_gone(desk: &Desk<'_>, guessed: Option<&Request>) -> Response {
    let days = Policy::UNDO_MS / crate::domain::time::DAY_MS;
    let response = desk.answer(404, &pages::undo_gone(&desk.setting(None), days));
    let now = desk.web.app.now();
    match guessed.and_then(|request| {
        let network = network(request.remote_addr().ip());
        desk.web.guesses.count(network, now)
    }) {
        None => response,
        Some(until) => response
            .with_status_code(429)
            .with_additional_header("Retry-After", retry_after(until, now)),
    }
}

// --- who asks -------------------------------------------------------------------------------------

/// What one household has: an IPv4 address, or the first 64 bits of an IPv6 one.
pub(super) fn network(address: IpAddr) -> [u8; 16] {
    let mut network = match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    if matches!(address.to_canonical(), IpAddr::V6(_)) {
        network[8..].fill(0);
    }
    network
}

/// Whether WhatsApp is on the device that shows the page.
fn is_phone(request: &Request) -> bool {
    match request.header("Sec-CH-UA-Mobile") {
        Some("?1") => return true,
        Some("?0") => return false,
        _ => {}
    }
    let agent = request.header("User-Agent").unwrap_or_default();
    ["Mobi", "Android", "iPhone", "iPad"]
        .iter()
        .any(|mark| agent.contains(mark))
}

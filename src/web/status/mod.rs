//! The status page: who signed in, what failed, and what to do, for the administrator alone.
//!
//! A password opens it, whose Argon2id hash is in the configuration; without one there is no page.
//! Everything is made here and works without a script. What changes anything is a form with the
//! session's own token, from this very site, and is written down in the audit.

mod chart;
mod door;
mod page;
mod report;
mod views;
mod words;

pub use report::{CertificateView, LaneView, Outlook, ServiceView};

use super::look::Look;
use super::request::{cookie, parameter};
use super::sign_in::{Form, network, retry_after};
use super::{Route, Web};
use crate::app::user::HashedPassword;
use crate::app::{
    App, CHANGED_AT_ONCE_MAX, CheckFailed, Failed, LetterChange, LetterChanged, PASSWORD_BYTES_MAX,
    StatusAct, Wanted,
};
use crate::domain::delivery::EntryId;
use crate::domain::id::{ContactId, Malformed};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use door::Door;
use page::{Frame, Place, field};
use report::{Range, Series};
use rouille::{Request, Response};
use std::collections::BTreeMap;
use std::sync::Arc;
use views::{Closed, Lines};

/// The overview, and the way in; the others are below it.
pub const STATUS_PATH: &str = "/status";
pub(super) const CONTACTS_PATH: &str = "/status/contacts";
pub(super) const CONTACT_PATH: &str = "/status/contacts/{userUuid}";
pub(super) const LETTERS_PATH: &str = "/status/letters";
pub(super) const LOG_PATH: &str = "/status/log";

/// Contacts on one page.
const CONTACTS_SHOWN: usize = 50;

/// Letters on one page.
const LETTERS_SHOWN: usize = 25;

/// Letters that the overview looks at.
const LETTERS_SUMMED: usize = 500;

/// Reasons that the overview shows.
const REASONS_SHOWN: usize = 6;

/// Letters that one press of a button for all of them changes; who has more presses again.
const CHANGED_BY_ONE_PRESS_MAX: usize = 16 * CHANGED_AT_ONCE_MAX;

/// Lines of the log on its page, and on the overview.
const LINES_SHOWN: usize = 50;
const LATELY_SHOWN: usize = 8;

/// Longest search; no name, address or number that is kept is longer.
const SEARCH_BYTES_MAX: usize = 320;

/// The cookie of a session. The first name is one that browsers keep to this host, over TLS; the
/// second is for a browser on this machine, or at the end of a tunnel, which has no TLS.
const COOKIE: &str = "__Host-portero_status";
const COOKIE_HERE: &str = "portero_status";

/// The password that opens the page, as its hash.
#[derive(Clone, Debug)]
pub struct StatusPassword(HashedPassword);

impl StatusPassword {
    /// Reads an Argon2id hash in PHC form.
    ///
    /// # Errors
    /// It is none, or too weak, or too costly to check.
    pub fn parse(text: &str) -> Result<StatusPassword, Malformed> {
        HashedPassword::parse(text).map(StatusPassword)
    }

    /// Whether it is the same line of the configuration.
    fn is_same(&self, other: &StatusPassword) -> bool {
        Secret::new(self.0.reveal()).matches(other.0.reveal())
    }
}

/// What the page needs to know besides the app.
pub struct StatusSettings {
    /// What opens it.
    pub password: StatusPassword,
    /// What it shows of the business.
    pub look: Look,
    /// The public address as browsers write an origin, and its path without the last slash.
    pub public: Option<(String, String)>,
    /// Protections that are weaker than they could be, as configured.
    pub weakened: Vec<String>,
    /// Portero's version.
    pub version: &'static str,
    /// The version of the Cloud API.
    pub api_version: String,
    /// The format of the store.
    pub store_format: u32,
    /// When the program started.
    pub started_at: Timestamp,
    /// Asks the other parts how they are.
    pub outlook: Box<dyn Fn() -> Outlook + Send + Sync>,
}

/// The page and who is in.
pub(super) struct Status {
    settings: StatusSettings,
    door: Arc<Door>,
}

impl Status {
    pub(super) fn new(settings: StatusSettings) -> Status {
        Status {
            settings,
            door: Arc::default(),
        }
    }

    /// Whoever was in stays in under another configuration, unless that has another password; how
    /// often a wrong one came is remembered in any case.
    pub(super) fn take_over(&mut self, before: &Status) {
        self.door = Arc::clone(&before.door);
        self.settings.started_at = before.settings.started_at;
        if !self.settings.password.is_same(&before.settings.password) {
            self.door.close();
        }
    }
}

/// Answers one request.
struct Desk<'w> {
    app: &'w App,
    status: &'w Status,
    request: &'w Request,
    now: Timestamp,
    /// Read once: the same for the links, the cookie and the origin.
    host: String,
    session: Option<Secret>,
}

pub(super) fn respond(
    web: &Web,
    status: &Status,
    route: Route,
    method: &str,
    segment: &str,
    request: &Request,
) -> Response {
    let mut desk = Desk {
        app: &web.app,
        status,
        request,
        now: web.app.now(),
        host: request
            .header("Host")
            .unwrap_or_default()
            .to_ascii_lowercase(),
        session: None,
    };
    desk.session = (desk.cookie()).filter(|session| status.door.is_in(session, desk.now));
    let answered = match method {
        "POST" => desk.post(route),
        _ if desk.session.is_some() => desk.get(route, segment),
        _ => Ok(desk.closed(200, &Closed::Asked)),
    };
    answered.unwrap_or_else(|error| {
        tracing::error!(%error, "the status page could not be served");
        let words = "The store cannot be read right now; the log says why.";
        desk.shown(503, None, "Status", &page::notice(words, true))
    })
}

impl Desk<'_> {
    /// Whether the browser is on this machine, as far as the name tells that it uses.
    fn is_here(&self) -> bool {
        let name = self
            .host
            .rsplit_once(':')
            .map_or(self.host.as_str(), |(name, port)| {
                match port.bytes().all(|byte| byte.is_ascii_digit()) {
                    true => name,
                    false => self.host.as_str(),
                }
            });
        ["localhost", "127.0.0.1", "[::1]"].contains(&name)
    }

    fn cookie(&self) -> Option<Secret> {
        let named = |name: &str| cookie(self.request, name).map(Secret::new);
        // Anybody beside this host could set the other one.
        named(COOKIE).or_else(|| self.is_here().then(|| named(COOKIE_HERE)).flatten())
    }

    /// `public_url` may have a path, which a browser on this machine does not use.
    fn base(&self) -> &str {
        match &self.status.settings.public {
            Some((origin, base)) if origin.ends_with(&format!("//{}", self.host)) => base,
            Some((_, base)) if !self.is_here() => base,
            _ => "",
        }
    }

    /// Whether this browser says that the form is from here (S-42). One of the two headers has to
    /// be there: every browser that is still mended sends both.
    fn is_own_form(&self) -> bool {
        let fetched_from = self.request.header("Sec-Fetch-Site");
        if fetched_from.is_some_and(|site| site != "same-origin") {
            return false;
        }
        match self.origin() {
            Some(origin) => {
                let is_public = (self.status.settings.public.as_ref())
                    .is_some_and(|(public, _)| origin.eq_ignore_ascii_case(public));
                let is_host = origin.eq_ignore_ascii_case(&format!("https://{}", self.host));
                let is_here =
                    self.is_here() && origin.eq_ignore_ascii_case(&format!("http://{}", self.host));
                is_public || is_host || is_here
            }
            None => fetched_from.is_some(),
        }
    }

    fn origin(&self) -> Option<&str> {
        self.request
            .header("Origin")
            .filter(|origin| *origin != "null")
    }

    // --- answers ----------------------------------------------------------------------------------

    fn shown(&self, code: u16, place: Option<Place>, title: &str, body: &maud::Markup) -> Response {
        let token = self.session.as_ref().map(door::form_token);
        let frame = self.frame(token.as_ref());
        frame.page(place, title, body).with_status_code(code)
    }

    fn frame<'f>(&'f self, token: Option<&'f Secret>) -> Frame<'f> {
        Frame {
            settings: &self.status.settings,
            base: self.base(),
            form_token: token.map(Secret::reveal),
        }
    }

    fn closed(&self, code: u16, why: &Closed) -> Response {
        let frame = self.frame(None);
        let body = views::sign_in(&frame, why);
        frame.page(None, "Status", &body).with_status_code(code)
    }

    fn to(&self, place: Place, rest: &str) -> Response {
        Response::redirect_303(format!("{}{}{rest}", self.base(), place.path()))
    }

    fn parameter(&self, name: &str) -> String {
        parameter(self.request, name).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.parameter(name).parse().ok()
    }

    // --- looking ----------------------------------------------------------------------------------

    fn get(&self, route: Route, segment: &str) -> Result<Response, StoreError> {
        let token = self.session.as_ref().map(door::form_token);
        let frame = self.frame(token.as_ref());
        match route {
            Route::StatusContacts => self.contacts(&frame, "", None),
            Route::StatusContact => self.contact(&frame, segment),
            Route::StatusLetters => self.letters(&frame),
            Route::StatusLog => self.log(&frame),
            _ => self.overview(&frame),
        }
    }

    fn overview(&self, frame: &Frame<'_>) -> Result<Response, StoreError> {
        let (app, now) = (self.app, self.now);
        let range = Range::parse(&self.parameter("range"));
        let hours = app.tallies(Series::needs_from(range, now))?;
        let series = Series::new(range, now, &hours);
        let outlook = (self.status.settings.outlook)();
        let alarms = report::alarms(&outlook, &series, now);
        let lately = |lines: Lines| app.happened(None, LATELY_SHOWN, &|event| lines.has(event));
        let (signed_in, _) = lately(Lines::SignIns)?;
        let (failed, _) = lately(Lines::Troubles)?;
        let (letters, more) = app.letters(None, None, LETTERS_SUMMED)?;
        let mut reasons: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for letter in letters.iter().filter(|one| one.dead.at >= range.from(now)) {
            let lane = letter.dead.entry.errand.lane().name();
            *reasons.entry((lane, &letter.dead.reason)).or_default() += 1;
        }
        let mut given_up: Vec<(String, String, usize)> = (reasons.into_iter())
            .map(|((lane, reason), count)| (lane.to_owned(), reason.to_owned(), count))
            .collect();
        given_up.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        given_up.truncate(REASONS_SHOWN);
        let model = views::Overview {
            now,
            range,
            series: &series,
            outlook: &outlook,
            alarms: &alarms,
            signed_in: &signed_in,
            failed: &failed,
            given_up: &given_up,
            letters: (letters.len(), more.is_some()),
        };
        Ok(frame.page(
            Some(Place::Overview),
            "Status",
            &views::overview(frame, &model),
        ))
    }

    fn contacts(
        &self,
        frame: &Frame<'_>,
        search: &str,
        after: Option<ContactId>,
    ) -> Result<Response, StoreError> {
        let policy = &self.app.settings().policy;
        let wanted = Wanted::parse(search);
        let found = self.app.search(&wanted, after, CONTACTS_SHOWN)?;
        let body = views::contacts(frame, (search, &wanted), &found, self.now, policy);
        Ok(frame.page(Some(Place::Contacts), "Contacts", &body))
    }

    fn contact(&self, frame: &Frame<'_>, segment: &str) -> Result<Response, StoreError> {
        let id = ContactId::parse(segment).ok();
        let found = match id {
            Some(id) => self.app.search(&Wanted::User(id), None, 1)?.contacts,
            None => Vec::new(),
        };
        let place = Some(Place::Contacts);
        let Some(contact) = found.first() else {
            let body = views::no_contact(frame, id);
            return Ok(frame.page(place, "Nobody", &body).with_status_code(404));
        };
        let said = match self.number("released") {
            None => None,
            Some(0) => Some("There was nothing to end."),
            Some(_) => Some("Logged out. The person has to sign in again."),
        };
        let policy = &self.app.settings().policy;
        let body = views::contact(frame, contact, self.now, policy, said);
        Ok(frame.page(place, "Contact", &body))
    }

    fn letters(&self, frame: &Frame<'_>) -> Result<Response, StoreError> {
        let before = entry_id(&self.parameter("before"));
        let (letters, next) = self.app.letters(None, before, LETTERS_SHOWN)?;
        let said = match (self.number("done"), self.number("left")) {
            (None, _) => None,
            (Some(done), Some(left)) if left > 0 => {
                Some(format!("{done} changed; {left} cannot be tried again."))
            }
            (Some(1), _) => Some("Done.".to_owned()),
            (Some(done), _) => Some(format!("{done} changed.")),
        };
        let is_first = before.is_none();
        let body = views::letters(frame, &letters, next, is_first, self.now, said.as_deref());
        Ok(frame.page(Some(Place::Letters), "Dead letters", &body))
    }

    fn log(&self, frame: &Frame<'_>) -> Result<Response, StoreError> {
        let which = Lines::parse(&self.parameter("show"));
        let before = u64::from_str_radix(&self.parameter("before"), 16).ok();
        let wanted = |event: &str| which.has(event);
        let (lines, next) = self.app.happened(before, LINES_SHOWN, &wanted)?;
        let body = views::log(frame, which, &lines, next, self.now);
        Ok(frame.page(Some(Place::Log), "Log", &body))
    }

    // --- doing ------------------------------------------------------------------------------------

    fn post(&self, route: Route) -> Result<Response, StoreError> {
        if !self.is_own_form() {
            return Ok(self.closed(403, &Closed::Foreign));
        }
        let Some(form) = Form::read(self.request) else {
            return Ok(self.closed(400, &Closed::Foreign));
        };
        let action = form.get(field::ACTION);
        if route == Route::Status && action == "sign_in" {
            return Ok(self.sign_in(&form));
        }
        let Some(session) = &self.session else {
            return Ok(self.closed(403, &Closed::Ended));
        };
        let token = door::form_token(session);
        if !token.matches(form.get(field::FORM_TOKEN)) {
            return Ok(self.closed(403, &Closed::Foreign));
        }
        let done = match (route, action) {
            (Route::Status, "sign_out") => Ok(self.sign_out(session)),
            (Route::StatusContacts, "search") => {
                let search = form.get(field::SEARCH).trim();
                let search = if search.len() > SEARCH_BYTES_MAX {
                    ""
                } else {
                    search
                };
                let after = ContactId::parse(form.get(field::AFTER)).ok();
                return self.contacts(&self.frame(Some(&token)), search, after);
            }
            (Route::StatusContacts, "release") => self.release(&form),
            (Route::StatusLetters, "retry") => self.change(&form, LetterChange::Retry),
            (Route::StatusLetters, "drop") => self.change(&form, LetterChange::Drop),
            (Route::StatusLetters, "retry_all") => self.change_all(&form, LetterChange::Retry),
            (Route::StatusLetters, "drop_all") => self.change_all(&form, LetterChange::Drop),
            _ => Ok(self.to(Place::Overview, "")),
        };
        done.or_else(|error| match error {
            Failed::Store(error) => Err(error),
            error @ (Failed::Random(_) | Failed::ClockInDoubt) => {
                tracing::error!(%error, "the status page could not do what was asked");
                Ok(self.closed(503, &Closed::Busy))
            }
        })
    }

    fn sign_in(&self, form: &Form) -> Response {
        let address = self.request.remote_addr().ip();
        let (network, is_here) = (network(address), address.is_loopback());
        let door = &self.status.door;
        if let Err(until) = door.begin(network, is_here, self.now) {
            let seconds = until.since_ms(self.now).div_ceil(1_000).max(1);
            return (self.closed(429, &Closed::Wait { seconds }))
                .with_additional_header("Retry-After", retry_after(until, self.now));
        }
        let password = Secret::new(form.get(field::PASSWORD));
        let StatusPassword(hash) = &self.status.settings.password;
        let is_right = password.reveal().len() <= PASSWORD_BYTES_MAX;
        match self.app.has_hash(&password, hash) {
            Ok(true) if is_right => {}
            Ok(_) => {
                tracing::warn!("a wrong password was tried at the status page");
                self.note(StatusAct::PasswordWrong);
                return self.closed(422, &Closed::Wrong);
            }
            Err(CheckFailed::Busy | CheckFailed::Store(_)) => {
                door.take_back(network, is_here);
                return self.closed(503, &Closed::Busy);
            }
        }
        let Ok(session) = self.app.fresh_secret() else {
            door.take_back(network, is_here);
            return self.closed(503, &Closed::Busy);
        };
        // One that was there before is nobody's any more.
        if let Some(old) = &self.session {
            door.let_out(old);
        }
        door.let_in(network, is_here, &session, self.now);
        tracing::info!("somebody signed in to the status page");
        self.note(StatusAct::SignedIn);
        let is_secure = match self.origin() {
            Some(origin) => origin.starts_with("https://"),
            None => !self.is_here(),
        };
        self.to(Place::Overview, "")
            .with_additional_header("Set-Cookie", set_cookie(is_secure, session.reveal()))
    }

    /// Whoever cannot write it down can still look: a full disk is what the page is for, too.
    fn note(&self, act: StatusAct) {
        if let Err(error) = self.app.note_status_act(act) {
            tracing::error!(%error, act = act.event(), "an act on the status page could not be written down");
        }
    }

    fn sign_out(&self, session: &Secret) -> Response {
        if self.status.door.let_out(session) {
            tracing::info!("somebody signed out of the status page");
            self.note(StatusAct::SignedOut);
        }
        let over = |is_secure| format!("{}; Max-Age=0", set_cookie(is_secure, ""));
        let closed = self.closed(200, &Closed::SignedOut);
        match self.is_here() {
            true => closed.with_additional_header("Set-Cookie", over(false)),
            false => closed.with_additional_header("Set-Cookie", over(true)),
        }
    }

    fn release(&self, form: &Form) -> Result<Response, Failed> {
        let Ok(id) = ContactId::parse(form.get(field::ID)) else {
            return Ok(self.to(Place::Contacts, ""));
        };
        let (ended, _) = self.app.release(id)?;
        Ok(self.to(Place::Contacts, &format!("{id}/?released={ended}")))
    }

    fn change(&self, form: &Form, change: LetterChange) -> Result<Response, Failed> {
        let Some(id) = entry_id(form.get(field::ID)) else {
            return Ok(self.to(Place::Letters, ""));
        };
        let changed = self.app.change_letters_on_status_page(&[id], change)?;
        let done = changed
            .iter()
            .filter(|(_, changed)| is_done(*changed))
            .count();
        Ok(self.to(
            Place::Letters,
            &format!("?done={done}&left={}", changed.len() - done),
        ))
    }

    /// Only what the page showed or what is older: what came since has not been looked at.
    fn change_all(&self, form: &Form, change: LetterChange) -> Result<Response, Failed> {
        let Some(newest) = entry_id(form.get(field::NEWEST)) else {
            return Ok(self.to(Place::Letters, ""));
        };
        let mut before = Some(EntryId(newest.0.saturating_add(1)));
        let (mut done, mut left, mut looked_at) = (0, 0, 0);
        while looked_at < CHANGED_BY_ONE_PRESS_MAX {
            let (letters, next) = self.app.letters(None, before, CHANGED_AT_ONCE_MAX)?;
            let ids: Vec<EntryId> = letters.iter().map(|letter| letter.dead.entry.id).collect();
            let changed = self.app.change_letters_on_status_page(&ids, change)?;
            let here = changed
                .iter()
                .filter(|(_, changed)| is_done(*changed))
                .count();
            done += here;
            left += changed.len() - here;
            looked_at += ids.len();
            before = next;
            if before.is_none() {
                break;
            }
        }
        Ok(self.to(Place::Letters, &format!("?done={done}&left={left}")))
    }
}

fn is_done(changed: LetterChanged) -> bool {
    match changed {
        LetterChanged::Retried(_) | LetterChanged::Dropped | LetterChanged::DroppedWaiting => true,
        LetterChanged::Waits
        | LetterChanged::Kept
        | LetterChanged::NotRetried(_)
        | LetterChanged::Unknown => false,
    }
}

fn entry_id(text: &str) -> Option<EntryId> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(text, 16)
        .ok()
        .filter(|_| is_hex)
        .map(EntryId)
}

/// A session's cookie. It has no end of its own: the session has, and the browser's.
fn set_cookie(is_secure: bool, value: &str) -> String {
    match is_secure {
        true => format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict"),
        false => format!("{COOKIE_HERE}={value}; Path=/; HttpOnly; SameSite=Strict"),
    }
}

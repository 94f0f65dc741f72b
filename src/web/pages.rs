//! The pages of the web sign-in: what is known becomes HTML, and nothing else happens here.
//!
//! One document, one style sheet, one short script, all in the answer itself; besides, a page asks
//! for nothing but the business's logo. It works without the script, which only takes the secret
//! out of the address bar and keeps a second tap from sending a form twice.
//!
//! Names, users and whatever else comes from outside are text to maud, which escapes; nothing goes
//! around it (S-43). Style and script are written without the four characters it would escape.

use super::look::{Color, Look};
use super::paint::{self, EDGE_CONTRAST_MIN, TEXT_CONTRAST_MIN, WHITE};
use crate::domain::language::Language;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::text::{self, Key, Texts};
use base64::Engine as _;
use maud::{DOCTYPE, Markup, Render, html};
use qrcode::{EcLevel, QrCode};
use sha2::{Digest, Sha256};

/// Names of the fields that the forms send.
pub mod field {
    /// The hash of the link.
    pub const HASH: &str = "mappingHash";
    /// Proof that the form is one of ours.
    pub const FORM_TOKEN: &str = "formToken";
    /// Which button was pressed: [`SIGN_IN`] or [`NOT_ME`].
    pub const ACTION: &str = "action";
    /// Value of [`ACTION`].
    pub const SIGN_IN: &str = "sign_in";
    /// Value of [`ACTION`].
    pub const NOT_ME: &str = "not_me";
    /// The number that somebody says is theirs.
    pub const NUMBER: &str = "number";
    /// The user, or an address.
    pub const USER: &str = "user";
    /// The password.
    pub const PASSWORD: &str = "password";
    /// Names the sign-in that is to be undone.
    pub const UNDO_TOKEN: &str = "token";
}

/// Where the logo is, below the path of the public URL.
pub const LOGO_PATH: &str = "/sign-in/logo";

/// Where a form may lead besides this server: the answer to a right password is a redirect there,
/// and browsers hold `form-action` against redirects too (S-42b).
pub const CHAT_ORIGINS: [&str; 2] = ["https://api.whatsapp.com", "https://wa.me"];

const STYLE: &str = concat!(
    include_str!("../../assets/sign_in/palette.css"),
    include_str!("../../assets/sign_in/page.css")
);
const SCRIPT: &str = include_str!("../../assets/sign_in/page.js");

/// Without a colour of the business.
pub(super) const USUAL_COLOR: Color = Color([0x23, 0x5f, 0x4c]);
/// What the sheet of the page is in `page.css`, by day and by night.
const SHEET_LIGHT: Color = Color([0xff, 0xff, 0xff]);
const SHEET_DARK: Color = Color([0x19, 0x1f, 0x1d]);

/// By day a button may be as pale as a pastel: it has an edge. At night that would look switched off.
const FILL_CONTRAST_MIN: f64 = 1.25;
/// Of a button whose colour had to be moved.
const STRONG_CONTRAST_MIN: f64 = 7.0;

/// Modules of white around a QR code, so that it is found (ISO 18004).
const QUIET_MODULES: usize = 4;

/// What every page needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The words, with the operator's own over them.
    pub texts: &'a Texts,
    /// The language of the page.
    pub language: Language,
    /// The business.
    pub look: &'a Look,
    /// The path of the public URL without its last slash; mostly empty.
    pub base: &'a str,
    /// Opens the chat with the business.
    pub chat_url: Option<&'a str>,
}

/// A page, and what its `Content-Security-Policy` has to allow. It may hold a hash or a return
/// code, so that it does not print itself.
#[derive(Clone)]
pub struct Page {
    /// The whole document.
    pub html: String,
    style_hash: String,
    script_hash: Option<String>,
    has_form: bool,
}

impl Page {
    /// The value of `Content-Security-Policy`, which takes the place of the one that every answer
    /// has. `leads_to`: origins to which the answer to a form may redirect.
    pub fn policy(&self, leads_to: &[&str]) -> String {
        let style = &self.style_hash;
        let mut policy = format!(
            "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src 'self'; \
             style-src '{style}'"
        );
        if let Some(script) = &self.script_hash {
            policy.push_str(&format!("; script-src '{script}'"));
        }
        policy.push_str("; form-action ");
        if self.has_form {
            policy.push_str("'self'");
            for origin in leads_to {
                policy.push(' ');
                policy.push_str(origin);
            }
        } else {
            policy.push_str("'none'");
        }
        policy
    }
}

/// What the sign-in page shows. The password that was typed is not among it.
#[derive(Clone, Copy, Default)]
pub struct SignIn<'a> {
    /// The hash of the link.
    pub hash: &'a str,
    /// Proof that the form is one of ours.
    pub form_token: &'a str,
    /// How long ago the link was asked for; `None` where only somebody else's back end knows, who
    /// then cannot be told *it was not me* either.
    pub asked_minutes: Option<u64>,
    /// The end of the number that asked, if it shows itself.
    pub number_ending: Option<&'a str>,
    /// Whether the number has to be typed.
    pub ask_number: bool,
    /// What was typed before.
    pub typed_number: &'a str,
    /// What was typed before.
    pub typed_user: &'a str,
    /// Why the page is shown again.
    pub problem: Option<Problem>,
}

/// Why somebody is not signed in yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The field is empty.
    MissingNumber,
    /// The field is empty.
    MissingUser,
    /// The field is empty.
    MissingPassword,
    /// Not the number of the chat that asked for the link.
    WrongNumber {
        /// Tries left; at least 1.
        left: u32,
    },
    /// User and password do not belong together.
    WrongPassword {
        /// Tries left; at least 1.
        left: u32,
    },
    /// The same, where only somebody else's back end could close the link.
    WrongUserOrPassword,
    /// The company's system does not answer.
    Unavailable,
    /// Too many people at once.
    Busy,
    /// For this user, or from this network.
    TooManyTries {
        /// How long to wait.
        minutes: u64,
    },
}

/// A field of the sign-in form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Number,
    User,
    Password,
}

impl Problem {
    /// The field it is about.
    fn field(self) -> Option<Field> {
        match self {
            Problem::MissingNumber | Problem::WrongNumber { .. } => Some(Field::Number),
            Problem::MissingUser => Some(Field::User),
            Problem::MissingPassword
            | Problem::WrongPassword { .. }
            | Problem::WrongUserOrPassword => Some(Field::Password),
            Problem::Unavailable | Problem::Busy | Problem::TooManyTries { .. } => None,
        }
    }
}

/// What the page shows on which a sign-in is undone.
#[derive(Clone, Copy)]
pub struct Undo<'a> {
    /// Names the sign-in.
    pub token: &'a str,
    /// Proof that the form is one of ours.
    pub form_token: &'a str,
    /// The account, as its owner knows it.
    pub account: &'a str,
    /// The end of the number that was signed in, if it shows itself.
    pub number_ending: Option<&'a str>,
    /// When.
    pub signed_in_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// The sign-in page, at first and after each problem.
pub fn sign_in(setting: &Setting<'_>, model: &SignIn<'_>) -> Page {
    let say = |key| setting.say(key, &[]);
    let asked_by = model.asked_minutes.map(|minutes| {
        let ago_ms = minutes.saturating_mul(MINUTE_MS);
        let when = setting.texts.ago(setting.language, ago_ms);
        let chat = setting.chat(model.number_ending);
        setting.say(Key::PageAskedBy, &[("when", &when), ("chat", &chat)])
    });
    let title = setting.say_business(Key::PageSignIn);
    let wrong = model.problem.and_then(Problem::field);
    // The cursor waits where something has to be typed; at first nowhere, so that the warning is
    // read before a keyboard covers it.
    let cursor = model.problem.map(|_| wrong.unwrap_or(Field::Password));
    let problem = model.problem.map(|problem| {
        let words = setting.problem(problem);
        html! { p.problem #problem role="alert" { (words) } }
    });
    let described = |field: Field, hint: Option<&str>| -> Option<String> {
        let problem = (cursor == Some(field)).then_some("problem");
        let ids: Vec<&str> = problem.into_iter().chain(hint).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    };
    let invalid = |field: Field| (wrong == Some(field)).then_some("true");
    let hidden = html! {
        input type="hidden" name=(field::HASH) value=(model.hash);
        input type="hidden" name=(field::FORM_TOKEN) value=(model.form_token);
    };
    let body = html! {
        h1 { (title) }
        @if let Some(asked_by) = &asked_by {
            p.note.soft { (icon(Icon::Clock)) span { (asked_by) } }
        }
        p.note.stop { (icon(Icon::Hand)) span { (setting.say_business(Key::PageOnlyFrom)) } }
        div.forms {
            form method="post" action="?" {
                (hidden)
                @if wrong.is_none() { @if let Some(problem) = &problem { (problem) } }
                @if model.ask_number {
                    div.field {
                        label for="number" { (say(Key::PageNumber)) }
                        p.soft.small #number-hint { (setting.say_business(Key::PageNumberHint)) }
                        @if wrong == Some(Field::Number) { @if let Some(problem) = &problem { (problem) } }
                        input #number name=(field::NUMBER) type="tel" inputmode="tel" autocomplete="tel" required
                            value=(model.typed_number)
                            aria-describedby=[described(Field::Number, Some("number-hint"))]
                            aria-invalid=[invalid(Field::Number)]
                            autofocus[cursor == Some(Field::Number)];
                    }
                }
                div.field {
                    label for="user" { (say(Key::PageUser)) }
                    @if wrong == Some(Field::User) { @if let Some(problem) = &problem { (problem) } }
                    input #user name=(field::USER) type="text" inputmode="email" autocomplete="username" required
                        autocapitalize="none" autocorrect="off" spellcheck="false"
                        value=(model.typed_user)
                        aria-describedby=[described(Field::User, None)]
                        aria-invalid=[invalid(Field::User)]
                        autofocus[cursor == Some(Field::User)];
                }
                div.field {
                    label for="password" { (say(Key::PagePassword)) }
                    @if wrong == Some(Field::Password) { @if let Some(problem) = &problem { (problem) } }
                    input #password name=(field::PASSWORD) type="password" autocomplete="current-password" required
                        aria-describedby=[described(Field::Password, None)]
                        aria-invalid=[invalid(Field::Password)]
                        autofocus[cursor == Some(Field::Password)];
                }
                button.button.first name=(field::ACTION) value=(field::SIGN_IN) { (say(Key::PageButtonSignIn)) }
            }
            // A form of its own: Enter in a field never declines.
            @if model.asked_minutes.is_some() {
                form method="post" action="?" {
                    (hidden)
                    button.button name=(field::ACTION) value=(field::NOT_ME) { (say(Key::PageButtonNotMe)) }
                }
            }
        }
        p.soft.small { (say(Key::PageAfterwards)) }
    };
    setting.page(&title, Content::FormWithSecretInAddress, &body)
}

/// The link has expired, was used or replaced, or never was: the same words for all.
pub fn gone(setting: &Setting<'_>, minutes: u64) -> Page {
    let minutes = minutes.to_string();
    let how = setting.say(Key::PageGoneHow, &[("minutes", &minutes)]);
    setting.notice(Icon::Broken, Key::PageGone, &[how], true)
}

/// The page was opened without a link, or loaded again after its address was cleaned.
pub fn no_link(setting: &Setting<'_>) -> Page {
    let how = setting.say(Key::PageNoLinkHow, &[]);
    setting.notice(Icon::Chat, Key::PageNoLink, &[how], true)
}

/// After *it was not me*. No way back to the chat: it is not theirs.
pub fn declined(setting: &Setting<'_>) -> Page {
    let what = setting.say_business(Key::PageDeclinedWhat);
    setting.notice(Icon::Shield, Key::PageDeclined, &[what], false)
}

/// Too many wrong passwords or numbers: the link is dead.
pub fn burned(setting: &Setting<'_>) -> Page {
    let how = setting.say(Key::PageBurnedHow, &[]);
    setting.notice(Icon::Lock, Key::PageBurned, &[how], true)
}

/// After the right password, on a computer. `url` carries the return code: it is in the button and
/// in the picture, and never to be read.
pub fn back(setting: &Setting<'_>, url: &str) -> Page {
    let say = |key| setting.say(key, &[]);
    let title = say(Key::PageBack);
    let body = html! {
        h1 { (title) }
        p.words { (say(Key::PageBackHow)) }
        (button_to(url, &say(Key::PageButtonChat)))
        @if let Some(picture) = picture(url, &say(Key::PageBackPicture)) {
            div.scan {
                p { (say(Key::PageBackScan)) }
                (picture)
            }
        }
        p.note.stop { (icon(Icon::Hand)) span { (say(Key::PageBackNever)) } }
    };
    setting.page(&title, Content::Words, &body)
}

/// Signed in, and nothing more to do.
pub fn finished(setting: &Setting<'_>) -> Page {
    let how = setting.say(Key::PageFinishedHow, &[]);
    setting.notice(Icon::Check, Key::PageFinished, &[how], true)
}

/// The right password, and a code is on its way to the address on file, which is given masked.
pub fn mail_sent(setting: &Setting<'_>, masked_address: &str) -> Page {
    let how = setting.say(Key::PageMailSentHow, &[("address", masked_address)]);
    setting.notice(Icon::Mail, Key::PageMailSent, &[how], true)
}

/// The right password, but the phone on file is another one; which, is not told.
pub fn refused(setting: &Setting<'_>) -> Page {
    let how = setting.say_business(Key::PageRefusedHow);
    setting.notice(Icon::Lock, Key::PageRefused, &[how], true)
}

/// Shows a sign-in to the account's owner; only its button undoes it.
pub fn undo(setting: &Setting<'_>, model: &Undo<'_>) -> Page {
    let say = |key| setting.say(key, &[]);
    let title = say(Key::PageUndo);
    let ago_ms = model.now.since_ms(model.signed_in_at);
    let who = setting.say(
        Key::PageUndoWho,
        &[
            ("account", model.account),
            ("chat", &setting.chat(model.number_ending)),
            ("when", &setting.texts.ago(setting.language, ago_ms)),
            ("date", &text::date(setting.language, model.signed_in_at)),
        ],
    );
    let body = html! {
        (seal(Icon::Question))
        h1 { (title) }
        div.words { p { (who) } p { (say(Key::PageUndoHow)) } }
        form method="post" action="?" {
            input type="hidden" name=(field::UNDO_TOKEN) value=(model.token);
            input type="hidden" name=(field::FORM_TOKEN) value=(model.form_token);
            button.button.first { (say(Key::PageButtonUndo)) }
        }
    };
    setting.page(&title, Content::FormWithSecretInAddress, &body)
}

/// A sign-in was undone.
pub fn undone(setting: &Setting<'_>) -> Page {
    let what = setting.say_business(Key::PageUndoneWhat);
    setting.notice(Icon::Check, Key::PageUndone, &[what], false)
}

/// There is nothing to undo, whatever the reason; such links are good for that many days.
pub fn undo_gone(setting: &Setting<'_>, days: u64) -> Page {
    let values = [
        ("days", days.to_string()),
        ("business", setting.look.business.clone()),
    ];
    let values = values
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let what = setting.say(Key::PageUndoGone, &values);
    setting.notice(Icon::Broken, Key::PageGone, &[what], false)
}

/// Something is wrong on our side.
pub fn failure(setting: &Setting<'_>) -> Page {
    let how = setting.say(Key::PageFailureHow, &[]);
    setting.notice(Icon::Cloud, Key::PageFailure, &[how], true)
}

/// The language of a page for a browser that likes these best; `usual` when none is ours.
pub fn language_of(accept_language: Option<&str>, usual: Language) -> Language {
    let mut best: Option<(f32, Language)> = None;
    for wish in accept_language.unwrap_or_default().split(',') {
        let mut parts = wish.split(';').map(str::trim);
        let tag = parts.next().unwrap_or_default();
        let primary = tag.split('-').next().unwrap_or_default();
        let language = match primary {
            "*" => Ok(usual),
            primary => Language::parse(&primary.to_ascii_lowercase()),
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(Ok(1.0), str::parse::<f32>);
        let (Ok(language), Ok(quality)) = (language, quality) else {
            continue;
        };
        // Strictly more: among equals the first one counts. What is not a number is no more.
        if quality > best.map_or(0.0, |(best, _)| best) {
            best = Some((quality, language));
        }
    }
    best.map_or(usual, |(_, language)| language)
}

/// What a page holds, as far as its policy is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Words,
    FormWithSecretInAddress,
}

impl Setting<'_> {
    fn say(&self, key: Key, values: &[(&str, &str)]) -> String {
        self.texts.say(self.language, key, values)
    }

    fn say_business(&self, key: Key) -> String {
        self.say(key, &[("business", &self.look.business)])
    }

    fn chat(&self, number_ending: Option<&str>) -> String {
        match number_ending {
            Some(ending) => self.say(Key::ChatNumber, &[("ending", ending)]),
            None => self.say(Key::ChatHidden, &[]),
        }
    }

    fn problem(&self, problem: Problem) -> String {
        let with_left = |key, left| {
            let left = self.texts.tries_left(self.language, left);
            self.say(key, &[("left", &left)])
        };
        match problem {
            Problem::MissingNumber => self.say(Key::PageMissingNumber, &[]),
            Problem::MissingUser => self.say(Key::PageMissingUser, &[]),
            Problem::MissingPassword => self.say(Key::PageMissingPassword, &[]),
            Problem::WrongNumber { left } => with_left(Key::PageWrongNumber, left),
            Problem::WrongPassword { left } => with_left(Key::PageWrongPassword, left),
            Problem::WrongUserOrPassword => self.say(Key::PageWrongUserOrPassword, &[]),
            Problem::Unavailable => self.say_business(Key::PageUnavailable),
            Problem::Busy => self.say(Key::PageBusy, &[]),
            Problem::TooManyTries { minutes } => {
                let wait_ms = minutes.saturating_mul(MINUTE_MS);
                let wait = self.texts.wait(self.language, wait_ms);
                self.say(Key::PageTooManyTries, &[("wait", &wait)])
            }
        }
    }

    /// A heading and a few words, with or without the way back to the chat.
    fn notice(&self, about: Icon, heading: Key, paragraphs: &[String], to_chat: bool) -> Page {
        let heading = self.say(heading, &[]);
        let chat_url = self.chat_url.filter(|_| to_chat);
        let body = html! {
            (seal(about))
            h1 { (heading) }
            div.words { @for paragraph in paragraphs { p { (paragraph) } } }
            @if let Some(url) = chat_url { (button_to(url, &self.say(Key::PageButtonChat, &[]))) }
        };
        self.page(&heading, Content::Words, &body)
    }

    fn page(&self, title: &str, content: Content, body: &Markup) -> Page {
        let business = self.look.business.as_str();
        let title = if title.contains(business) {
            title.to_owned()
        } else {
            format!("{title} · {business}")
        };
        let paint = Paint::of(self.look.color.unwrap_or(USUAL_COLOR));
        let style = format!("{}{STYLE}", paint.variables());
        let has_form = content == Content::FormWithSecretInAddress;
        let logo = self.look.logo.then(|| format!("{}{LOGO_PATH}", self.base));
        let first_letter: String = business
            .chars()
            .take(1)
            .flat_map(char::to_uppercase)
            .collect();
        let html = html! {
            (DOCTYPE)
            html lang=(language_tag(self.language)) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
                    meta name="color-scheme" content="light dark";
                    meta name="theme-color" media="(prefers-color-scheme: light)" content=(paint.band_light);
                    meta name="theme-color" media="(prefers-color-scheme: dark)" content=(paint.band_dark);
                    meta name="robots" content="noindex, nofollow";
                    meta name="referrer" content="no-referrer";
                    meta name="format-detection" content="telephone=no";
                    title { (title) }
                    @if let Some(logo) = &logo { link rel="icon" href=(logo); }
                    style { (style) }
                }
                body {
                    header.band {
                        p.name {
                            @if let Some(logo) = &logo {
                                img.mark src=(logo) alt="" width="44" height="44";
                            } @else {
                                span.mark.letter aria-hidden="true" { (first_letter) }
                            }
                            span { (business) }
                        }
                    }
                    main { div.inner { (body) } }
                    @if has_form { script { (SCRIPT) } }
                }
            }
        };
        Page {
            html: html.into_string(),
            style_hash: source_hash(&style),
            script_hash: has_form.then(|| source_hash(SCRIPT)),
            has_form,
        }
    }
}

/// The words are those of Brazil.
fn language_tag(language: Language) -> &'static str {
    match language {
        Language::Portuguese => "pt-BR",
        other => other.code(),
    }
}

/// How a policy names a style or a script that stands in the page itself.
pub(super) fn source_hash(source: &str) -> String {
    let digest = Sha256::digest(source.as_bytes());
    let digest = base64::engine::general_purpose::STANDARD.encode(digest);
    format!("sha256-{digest}")
}

/// The business's colour, as it can be used by day and by night.
pub(super) struct Paint {
    brand: Color,
    pub(super) band_light: Color,
    pub(super) band_dark: Color,
}

impl Paint {
    pub(super) fn of(brand: Color) -> Paint {
        Paint {
            brand,
            band_light: brand,
            // A large bright field would blind at night.
            band_dark: paint::darkened(brand, WHITE, 2.0 * TEXT_CONTRAST_MIN),
        }
    }

    /// The custom properties that `page.css` is written with.
    pub(super) fn variables(&self) -> String {
        type Way = fn(Color, Color, f64) -> Color;
        let half = |band: Color, sheet: Color, moved: Way, fill_contrast_min: f64| {
            let edge = moved(self.brand, sheet, EDGE_CONTRAST_MIN);
            let accent = moved(self.brand, sheet, TEXT_CONTRAST_MIN);
            // The button to press has the business's colour, unless it would not be seen as one.
            let act = if paint::contrast(self.brand, sheet) >= fill_contrast_min {
                self.brand
            } else {
                moved(self.brand, sheet, STRONG_CONTRAST_MIN)
            };
            let (on_act, on_band) = (paint::ink_on(act), paint::ink_on(band));
            format!(
                ":root{{--act:{act};--on-act:{on_act};--band:{band};--on-band:{on_band};\
                 --edge:{edge};--accent:{accent}}}"
            )
        };
        let light = half(
            self.band_light,
            SHEET_LIGHT,
            paint::darkened,
            FILL_CONTRAST_MIN,
        );
        let dark = half(
            self.band_dark,
            SHEET_DARK,
            paint::lightened,
            EDGE_CONTRAST_MIN,
        );
        format!("{light}\n@media (prefers-color-scheme:dark){{{dark}}}\n")
    }
}

fn button_to(url: &str, words: &str) -> Markup {
    html! {
        a.button.first href=(url) rel="noreferrer" { (icon(Icon::Chat)) span { (words) } }
    }
}

/// A QR code of an address, black on white by day and by night; nothing if it is too long for one.
fn picture(url: &str, alt: &str) -> Option<Markup> {
    // Screens are clean: the lowest correction gives the largest modules.
    let code = QrCode::with_error_correction_level(url.as_bytes(), EcLevel::L).ok()?;
    let width = code.width();
    let side = width + 2 * QUIET_MODULES;
    let mut path = String::new();
    for (y, row) in code.to_colors().chunks(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, next| one == next) {
            if run.first() == Some(&qrcode::Color::Dark) {
                let (left, top, long) = (x + QUIET_MODULES, y + QUIET_MODULES, run.len());
                path.push_str(&format!("M{left} {top}h{long}v1h-{long}z"));
            }
            x += run.len();
        }
    }
    Some(html! {
        svg.qr role="img" aria-label=(alt) viewBox=(format!("0 0 {side} {side}"))
            width="272" height="272" shape-rendering="crispEdges" {
            rect width=(side) height=(side) fill="#fff" {}
            path d=(path) fill="#000" {}
        }
    })
}

/// What a page is about, as a sign; the words say the same.
#[derive(Clone, Copy)]
enum Icon {
    Broken,
    Chat,
    Check,
    Clock,
    Cloud,
    Hand,
    Lock,
    Mail,
    Question,
    Shield,
}

fn seal(of: Icon) -> Markup {
    html! { div.seal { (icon(of)) } }
}

/// A sign of 24 by 24, drawn in the colour of the text beside it.
fn icon(of: Icon) -> impl Render {
    let path = match of {
        Icon::Broken => {
            "M9 17H7A5 5 0 0 1 4 8M9 7h1M14 17h3a5 5 0 0 0 3-9M17 7h-3M8 12h2M4 3l17 18"
        }
        Icon::Chat => "M4 20l1.4-4.2A8 8 0 1 1 8.4 18.7zM9 10.5h6M9 13.5h4",
        Icon::Check => "M5 12.5l4.6 4.6L19.5 7",
        Icon::Clock => "M12 3.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 1 0 0-17M12 7.5V12l3 2",
        Icon::Cloud => {
            "M7 18.5a4.5 4.5 0 0 1-.6-8.96A6 6 0 0 1 17.9 11A3.8 3.8 0 0 1 17.5 18.5zM12 9.5v3.2M12 15.4v.1"
        }
        Icon::Hand => "M8 3h8l5 5v8l-5 5H8l-5-5V8zM12 7.5v5.5M12 16.3v.1",
        Icon::Lock => {
            "M6.5 10.5h11a1.5 1.5 0 0 1 1.5 1.5v7a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 5 19v-7a1.5 1.5 0 0 1 1.5-1.5M8 10.5V8a4 4 0 0 1 8 0v2.5M12 14.5v2"
        }
        Icon::Mail => {
            "M4.5 5.5h15A1.5 1.5 0 0 1 21 7v10a1.5 1.5 0 0 1-1.5 1.5h-15A1.5 1.5 0 0 1 3 17V7a1.5 1.5 0 0 1 1.5-1.5M3.5 7.5l8.5 6l8.5-6"
        }
        Icon::Question => "M8.5 8.5a3.6 3.6 0 1 1 5.4 3.1c-1.2.7-1.9 1.4-1.9 2.9M12 18.4v.1",
        Icon::Shield => {
            "M12 3l7.5 2.8v5.4c0 4.6-3 8-7.5 9.8c-4.5-1.8-7.5-5.2-7.5-9.8V5.8zM8.7 11.8l2.4 2.4l4.4-4.6"
        }
    };
    html! {
        svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" stroke-width="1.75"
            stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false" {
            path d=(path) {}
        }
    }
}

#[cfg(test)]
mod tests;

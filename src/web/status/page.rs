//! The frame of every page, and the pieces that they are made of.

use super::StatusSettings;
use super::report::Urgency;
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use crate::web::pages::{LOGO_PATH, Paint, USUAL_COLOR, source_hash};
use maud::{DOCTYPE, Markup, html};
use rouille::Response;
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

const STYLE: &str = concat!(
    include_str!("../../../assets/sign_in/palette.css"),
    include_str!("../../../assets/status/page.css")
);

/// Names of the fields that the forms send.
pub mod field {
    /// Proof that the form belongs to the session.
    pub const FORM_TOKEN: &str = "formToken";
    /// What the form is for.
    pub const ACTION: &str = "action";
    /// The password.
    pub const PASSWORD: &str = "password";
    /// What is searched for.
    pub const SEARCH: &str = "search";
    /// Where a list goes on.
    pub const AFTER: &str = "after";
    /// What a button is about: an entry or a contact.
    pub const ID: &str = "id";
    /// The newest letter that the page showed.
    pub const NEWEST: &str = "newest";
}

/// A place that the pages lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// How it is going.
    Overview,
    /// Who wrote.
    Contacts,
    /// What was given up.
    Letters,
    /// What happened.
    Log,
}

impl Place {
    const ALL: [Place; 4] = [Place::Overview, Place::Contacts, Place::Letters, Place::Log];

    /// Its path below the base.
    pub fn path(self) -> &'static str {
        match self {
            Place::Overview => "/status/",
            Place::Contacts => "/status/contacts/",
            Place::Letters => "/status/letters/",
            Place::Log => "/status/log/",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Place::Overview => "Overview",
            Place::Contacts => "Contacts",
            Place::Letters => "Dead letters",
            Place::Log => "Log",
        }
    }
}

/// What a page needs besides what it shows.
pub struct Frame<'a> {
    /// What is configured.
    pub settings: &'a StatusSettings,
    /// The path of the address that this browser uses.
    pub base: &'a str,
    /// For the forms of whoever is in; nobody is in without one.
    pub form_token: Option<&'a str>,
}

impl Frame<'_> {
    /// Where a place is.
    pub fn to(&self, place: Place) -> String {
        format!("{}{}", self.base, place.path())
    }

    /// The hidden field of every form.
    pub fn token(&self) -> Markup {
        html! { input type="hidden" name=(field::FORM_TOKEN) value=(self.form_token.unwrap_or_default()); }
    }

    /// A page with the policy that it needs.
    pub fn page(&self, here: Option<Place>, title: &str, body: &Markup) -> Response {
        let look = &self.settings.look;
        let paint = Paint::of(look.color.unwrap_or(USUAL_COLOR));
        let style = format!("{}{STYLE}", paint.variables());
        let logo = look.logo.then(|| format!("{}{LOGO_PATH}", self.base));
        let first_letter: String = (look.business.chars().take(1))
            .flat_map(char::to_uppercase)
            .collect();
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
                    meta name="color-scheme" content="light dark";
                    meta name="theme-color" media="(prefers-color-scheme: light)" content=(paint.band_light);
                    meta name="theme-color" media="(prefers-color-scheme: dark)" content=(paint.band_dark);
                    meta name="robots" content="noindex, nofollow";
                    meta name="format-detection" content="telephone=no";
                    title { (title) " · " (look.business) }
                    @if let Some(logo) = &logo { link rel="icon" href=(logo); }
                    style { (style) }
                }
                body {
                    a.skip href="#main" { "To the content" }
                    header.band { div.wide {
                        p.name {
                            @if let Some(logo) = &logo {
                                img.mark src=(logo) alt="" width="36" height="36";
                            } @else {
                                span.mark.letter aria-hidden="true" { (first_letter) }
                            }
                            span { (look.business) }
                        }
                        @if self.form_token.is_some() {
                            form.out method="post" action=(self.to(Place::Overview)) {
                                (self.token())
                                button.quiet name=(field::ACTION) value="sign_out" { "Sign out" }
                            }
                        }
                    }
                    @if self.form_token.is_some() {
                        nav.wide aria-label="Pages" {
                            @for place in Place::ALL {
                                a href=(self.to(place)) aria-current=[(here == Some(place)).then_some("page")] {
                                    (place.words())
                                }
                            }
                        }
                    } }
                    main.wide #main { (body) }
                }
            }
        };
        let hash = source_hash(&style);
        let policy = format!(
            "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; img-src 'self'; \
             style-src '{hash}'; form-action 'self'"
        );
        Response::html(html.into_string())
            .with_unique_header(crate::web::POLICY, policy)
            // The address holds nothing, and browsers then say where a form comes from.
            .with_unique_header("Referrer-Policy", "same-origin")
    }
}

// --- pieces ---------------------------------------------------------------------------------------

/// Something that was done, or that keeps it from being done.
pub fn notice(words: &str, is_bad: bool) -> Markup {
    html! { p.notice.bad[is_bad] role=(if is_bad { "alert" } else { "status" }) { (words) } }
}

/// How bad something is, in a sign and a word: a colour alone says nothing to many.
pub fn urgency(urgency: Urgency) -> Markup {
    match urgency {
        Urgency::Now => html! { span.tag.bad { "Urgent" } },
        Urgency::Soon => html! { span.tag.warn { "Soon" } },
    }
}

/// A command as it is typed.
pub fn command(text: &str) -> Markup {
    html! { code { (text) } }
}

/// Words with commands between backticks.
pub fn with_commands(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn written(at: Timestamp, form: StaticFormatDescription) -> String {
    let seconds = i64::try_from(at.seconds()).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(form).unwrap_or_default()
}

/// `25 Nov`
pub fn day(at: Timestamp) -> String {
    written(
        at,
        format_description!("[day padding:none] [month repr:short]"),
    )
}

/// `25 Nov 14:00`
pub fn hour(at: Timestamp) -> String {
    written(
        at,
        format_description!("[day padding:none] [month repr:short] [hour]:[minute]"),
    )
}

/// `November 2026`
pub fn month(at: Timestamp) -> String {
    written(at, format_description!("[month repr:long] [year]"))
}

/// How long ago, in one unit.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let ms = now.since_ms(at);
    let one = |count: u64, unit: &str| match count {
        1 => format!("1 {unit} ago"),
        count => format!("{count} {unit}s ago"),
    };
    match ms {
        ms if ms < MINUTE_MS => "just now".to_owned(),
        ms if ms < HOUR_MS => one(ms / MINUTE_MS, "minute"),
        ms if ms < 2 * DAY_MS => one(ms / HOUR_MS, "hour"),
        ms => one(ms / DAY_MS, "day"),
    }
}

/// A moment: how long ago, and on a closer look when.
pub fn moment(at: Timestamp, now: Timestamp) -> Markup {
    let exact = written(
        at,
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z"),
    );
    html! { time datetime=(exact) title=(exact) { (ago(at, now)) } }
}

/// A length of time in two units at most.
pub fn length(seconds: u64) -> String {
    match seconds {
        s if s < 60 => format!("{s} s"),
        s if s < 3_600 && s % 60 == 0 => format!("{} min", s / 60),
        s if s < 3_600 => format!("{} min {} s", s / 60, s % 60),
        s if s < 86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        s => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// A size of a file or a disk.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// `10,000`
pub fn grouped(count: usize) -> String {
    match (count / 1_000, count % 1_000) {
        (0, units) => units.to_string(),
        (thousands, units) => format!("{},{units:03}", grouped(thousands)),
    }
}

/// A part of a whole, rounded; nothing of nothing.
pub fn percent(part: u64, whole: u64) -> Option<u64> {
    (whole > 0).then(|| (part.min(whole) * 100 + whole / 2) / whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_lengths_and_sizes_are_as_people_say_them() {
        let now = Timestamp(1_795_645_800_000);
        assert_eq!(day(now), "25 Nov");
        assert_eq!(hour(now), "25 Nov 22:30");
        assert_eq!(month(now), "November 2026");
        let agos =
            [0, 59, 60, 3_599, 3_600, 90_000, 172_800].map(|s| ago(now.minus_ms(s * 1_000), now));
        assert_eq!(
            agos,
            [
                "just now",
                "just now",
                "1 minute ago",
                "59 minutes ago",
                "1 hour ago",
                "25 hours ago",
                "2 days ago"
            ]
        );
        let lengths = [5, 60, 75, 3_700, 90_000].map(length);
        assert_eq!(
            lengths,
            ["5 s", "1 min", "1 min 15 s", "1 h 1 min", "1 d 1 h"]
        );
        let sizes = [0, 1_023, 1_536, 5 << 20].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB"]);
        let counts = [0, 999, 1_000, 100_042, 1_000_000].map(grouped);
        assert_eq!(counts, ["0", "999", "1,000", "100,042", "1,000,000"]);
        assert_eq!(percent(1, 3), Some(33));
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(9, 8), Some(100));
    }

    #[test]
    fn the_style_has_nothing_that_maud_would_change() {
        for sign in ['&', '<', '>', '"'] {
            assert!(!STYLE.contains(sign), "{sign}");
        }
    }
}

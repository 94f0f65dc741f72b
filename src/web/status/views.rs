//! What each page shows.

use super::chart;
use super::page::{
    Frame, Place, command, field, grouped, hour, length, moment, month, notice, percent, size,
    urgency, with_commands,
};
use super::report::{Alarm, FREE_REPLIES, Outlook, Range, Series, ServiceView, month_of};
use super::words;
use crate::app::{Found, Happened, Letter, Obstacle, Wanted};
use crate::domain::binding::Binding;
use crate::domain::contact::Contact;
use crate::domain::delivery::EntryId;
use crate::domain::id::ContactId;
use crate::domain::policy::Policy;
use crate::domain::tally::{Method, Milestone, Tally};
use crate::domain::time::{HOUR_MS, Timestamp};
use maud::{Markup, html};

/// Why somebody is not in.
pub enum Closed {
    /// They have not tried.
    Asked,
    /// A form came after the session had ended.
    Ended,
    /// They signed out.
    SignedOut,
    /// The password is wrong.
    Wrong,
    /// There were too many wrong ones.
    Wait {
        /// Until there is another try.
        seconds: u64,
    },
    /// Too many passwords are being checked.
    Busy,
    /// The form did not come from here.
    Foreign,
}

/// The way in.
pub fn sign_in(frame: &Frame<'_>, why: &Closed) -> Markup {
    let problem = match why {
        Closed::Asked => None,
        Closed::Ended => Some("Your session has ended, and nothing was changed. Sign in and do it again.".to_owned()),
        Closed::SignedOut => Some("You are signed out.".to_owned()),
        Closed::Wrong => Some("That is not the password.".to_owned()),
        Closed::Wait { seconds } => Some(format!(
            "There were too many wrong passwords. The next try is in {}.",
            length(*seconds)
        )),
        Closed::Busy => Some("Too many passwords are being checked right now. Try again in a moment.".to_owned()),
        Closed::Foreign => Some("Your browser says that this form came from another site, so nothing was done. Open the page anew.".to_owned()),
    };
    let is_bad = !matches!(why, Closed::SignedOut | Closed::Asked);
    html! {
        section.card.entry {
            h1 { "Status" }
            @if let Some(problem) = &problem { (notice(problem, is_bad)) }
            form method="post" action=(frame.to(Place::Overview)) {
                // Password managers file a password under a user.
                input type="text" name="username" value="status page" autocomplete="username" readonly hidden;
                div.field {
                    label for="password" { "Password" }
                    input #password name=(field::PASSWORD) type="password" autocomplete="current-password" required autofocus
                        aria-invalid=[matches!(why, Closed::Wrong).then_some("true")];
                }
                button.first name=(field::ACTION) value="sign_in" { "Sign in" }
            }
            p.soft.small { "Forgotten? " code { "portero status password" } " makes a new one." }
        }
    }
}

// --- overview -------------------------------------------------------------------------------------

/// What the overview is made of.
pub struct Overview<'a> {
    /// Now.
    pub now: Timestamp,
    /// How far back.
    pub range: Range,
    /// What was counted.
    pub series: &'a Series,
    /// What the parts of the program say.
    pub outlook: &'a Outlook,
    /// What somebody should look at.
    pub alarms: &'a [Alarm],
    /// Who signed in last.
    pub signed_in: &'a [Happened],
    /// What went wrong last.
    pub failed: &'a [Happened],
    /// What was given up, by lane and reason, the most frequent first, and whether there is more.
    pub given_up: &'a [(String, String, usize)],
    /// How many letters that are, and whether there are more.
    pub letters: (usize, bool),
}

/// How it is going.
pub fn overview(frame: &Frame<'_>, model: &Overview<'_>) -> Markup {
    html! {
        h1.unseen { "Overview" }
        (alarms(model))
        (figures(model))
        (funnels(frame, model))
        (troubles(frame, model))
        div.pair {
            (lately(frame, model, "Signed in lately", model.signed_in, "Nobody has signed in yet."))
            (lately(frame, model, "What went wrong lately", model.failed, "Nothing went wrong."))
        }
        (works(model))
        (facts(frame, model))
    }
}

fn alarms(model: &Overview<'_>) -> Markup {
    html! {
        section.card aria-labelledby="now" {
            h2 #now { "What needs you" }
            @if model.alarms.is_empty() {
                p.fine { span.tag.good { "Fine" } " Everything works; nothing waits for you." }
            } @else {
                ul.alarms {
                    @for alarm in model.alarms {
                        li {
                            (urgency(alarm.urgency))
                            div { strong { (alarm.what) } p.soft { (with_commands(&alarm.help)) } }
                        }
                    }
                }
            }
        }
    }
}

fn figures(model: &Overview<'_>) -> Markup {
    let sum = &model.series.sum;
    let (begun, bound) = (
        sum.reached_by_any(Milestone::Begun),
        sum.reached_by_any(Milestone::Bound),
    );
    let signed_in = sum.of("contact.bound").max(bound);
    let median = sum.median_s(&Method::ALL);
    let used = model.series.replies_this_month;
    html! {
        ul.figures {
            li {
                span.label { "Signed in, " (model.range.words()) }
                strong { (signed_in) }
                span.soft { @match percent(bound, begun) {
                    Some(share) => { (share) " % of " (begun) " that began" }
                    None => { "nobody began" }
                } }
            }
            li {
                span.label { "Median time to sign in" }
                strong { @match median { Some(seconds) => (length(seconds)), None => "–" } }
                span.soft { "about, from asking to signed in" }
            }
            li {
                span.label { "Free replies, " (month(month_of(model.now))) }
                strong { (used) span.of { " / " (FREE_REPLIES) } }
                progress max=(FREE_REPLIES) value=(used.min(FREE_REPLIES)) aria-label="Free replies used" {}
                span.soft { "Portero's own; your bot's count at Meta, too" }
            }
            li {
                span.label { "Dead letters" }
                strong { (model.letters.0) @if model.letters.1 { "+" } }
                span.soft { @if model.letters.0 == 0 { "nothing was given up" } @else { "given up, kept for 30 days" } }
            }
        }
    }
}

fn funnels(frame: &Frame<'_>, model: &Overview<'_>) -> Markup {
    let methods = model.series.methods();
    html! {
        section.card aria-labelledby="funnel" {
            div.head {
                h2 #funnel { "From asking to signed in" }
                nav.ranges aria-label="How far back" {
                    @for range in Range::ALL {
                        a href={ (frame.to(Place::Overview)) "?range=" (range.name()) }
                            aria-current=[(range == model.range).then_some("true")] { (range.words()) }
                    }
                }
            }
            @if methods.is_empty() {
                p.soft { "Nobody has begun to sign in within " (model.range.words()) "." }
            }
            @for method in methods {
                (funnel(model, method))
            }
            p.soft.small { "Each person counts once on a way that takes no more than an hour. Days and hours are UTC." }
        }
    }
}

fn funnel(model: &Overview<'_>, method: Method) -> Markup {
    let sum = &model.series.sum;
    let (name, steps) = chart::names(method);
    let counts = Milestone::ALL.map(|milestone| sum.reached(method, milestone));
    let worst = (1..counts.len()).max_by_key(|step| counts[step - 1].saturating_sub(counts[*step]));
    let median = sum.median_s(&[method]);
    html! {
        section.funnel {
            h3 { (name) @if let Some(seconds) = median { span.soft { " · median " (length(seconds)) } } }
            div.beside {
                (chart::funnel(model.series, model.range, method))
                div.scroll { table.steps {
                    thead { tr { th scope="col" { "Step" } th.number scope="col" { "People" } th.number scope="col" { "Of all" } th.number scope="col" { "Lost" } } }
                    tbody {
                        @for (place, step) in steps.iter().enumerate() {
                            @let lost = place.checked_sub(1).map(|before| counts[before].saturating_sub(counts[place]));
                            tr {
                                th scope="row" { (step) }
                                td.number { (counts[place]) }
                                td.number { @match percent(counts[place], counts[0]) { Some(share) => { (share) " %" } None => "–" } }
                                td.number {
                                    @match lost {
                                        None | Some(0) => "–",
                                        Some(lost) => { @if worst == Some(place) { strong { (lost) } } @else { (lost) } }
                                    }
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn troubles(frame: &Frame<'_>, model: &Overview<'_>) -> Markup {
    let sum = &model.series.sum;
    let counted: Vec<_> = (words::TROUBLES.iter())
        .filter(|trouble| sum.of(trouble.event) > 0)
        .collect();
    html! {
        section.card aria-labelledby="failed" {
            h2 #failed { "What failed, and what helps" span.soft { " · " (model.range.words()) } }
            @if counted.is_empty() && model.given_up.is_empty() {
                p.soft { "Nothing failed." }
            }
            @if !counted.is_empty() {
                dl.troubles {
                    @for trouble in counted {
                        div {
                            dt { span.count { (sum.of(trouble.event)) } (trouble.what) }
                            dd { (trouble.help) }
                            @if let Some(text) = trouble.command { dd { (command(text)) } }
                        }
                    }
                }
            }
            @if !model.given_up.is_empty() {
                h3 { "Why letters were given up" }
                dl.troubles {
                    @for (lane, reason, count) in model.given_up {
                        div {
                            dt { span.count { (count) } (words::lane(lane)) ": " (reason) }
                            dd { (with_commands(words::advice(lane, reason))) }
                        }
                    }
                }
                p { a href=(frame.to(Place::Letters)) { "All dead letters" } }
            }
        }
    }
}

fn lately(
    frame: &Frame<'_>,
    model: &Overview<'_>,
    title: &str,
    lines: &[Happened],
    none: &str,
) -> Markup {
    html! {
        section.card {
            h2 { (title) }
            @if lines.is_empty() { p.soft { (none) } }
            (happenings(frame, lines, model.now))
            p.more { a href=(frame.to(Place::Log)) { "The whole log" } }
        }
    }
}

fn works(model: &Overview<'_>) -> Markup {
    let now = model.now;
    html! {
        section.card aria-labelledby="works" {
            h2 #works { "Connections" }
            div.scroll { table {
                thead { tr { th scope="col" { "To" } th scope="col" { "State" } th.number scope="col" { "Waiting" } th scope="col" { "Oldest" } } }
                tbody {
                    @for lane in &model.outlook.lanes {
                        tr {
                            th scope="row" { (words::lane(lane.name)) }
                            td { @if lane.paused.is_some() { span.tag.bad { "Paused" } } @else if lane.failing.is_some() { span.tag.bad { "Fails" } } @else { span.tag.good { "Works" } } }
                            td.number { (lane.waiting) }
                            td { @match lane.oldest { Some(at) => (moment(at, now)), None => "–" } }
                        }
                    }
                }
            } }
            @if !model.outlook.services.is_empty() {
                h3 { "Services" }
                div.scroll { table {
                    thead { tr { th scope="col" { "Service" } th scope="col" { "State" } th scope="col" { "Answered" } th scope="col" { "Last failure" } } }
                    tbody { @for one in &model.outlook.services { (service(one, now)) } }
                } }
            }
        }
    }
}

fn service(one: &ServiceView, now: Timestamp) -> Markup {
    html! {
        tr {
            th scope="row" { (one.title) @if one.title != one.name { span.soft { " " (one.name) } } }
            td {
                @if one.is_left_alone { span.tag.bad { "Silent" } }
                @else if one.answered_at.is_some() { span.tag.good { "Answers" } }
                @else { span.soft { "not asked yet" } }
            }
            td { @match one.answered_at { Some(at) => (moment(at, now)), None => "–" } }
            td { @match &one.failed { Some((at, reason)) => { (moment(*at, now)) ": " (reason) } None => "–" } }
        }
    }
}

fn facts(frame: &Frame<'_>, model: &Overview<'_>) -> Markup {
    let (settings, outlook) = (frame.settings, model.outlook);
    let uptime_s = model.now.since_ms(settings.started_at) / 1_000;
    html! {
        div.pair {
            section.card aria-labelledby="weak" {
                h2 #weak { "Protections that are off" }
                @if settings.weakened.is_empty() {
                    p.soft { "None: every protection is on." }
                } @else {
                    ul.plain { @for words in &settings.weakened { li { (words) } } }
                }
            }
            section.card aria-labelledby="facts" {
                h2 #facts { "This Portero" }
                dl.facts {
                    dt { "Version" } dd { (settings.version) }
                    dt { "Runs for" } dd { (length(uptime_s)) }
                    dt { "Cloud API" } dd { (settings.api_version) }
                    dt { "Format of the store" } dd { (settings.store_format) }
                    dt { "Size of the store" } dd { @match outlook.store_bytes { Some(bytes) => (size(bytes)), None => "unknown" } }
                    dt { "Free on its disk" } dd { @match outlook.disk_bytes { Some((free, all)) => { (size(free)) " of " (size(all)) } None => "unknown" } }
                    dt { "Last snapshot" } dd { @match outlook.snapshot {
                        None => "none are made (store.snapshots)",
                        Some(None) => "none yet",
                        Some(Some(at)) => (moment(at, model.now)),
                    } }
                    dt { "Mails sent, " (model.range.words()) } dd { (model.series.sum.of(Tally::MAILS)) }
                    @if let Some(certificate) = &outlook.certificate {
                        dt { "Certificate of HTTPS" } dd { @match certificate.ends {
                            Some(at) => { "good until " (hour(at)) " UTC" }
                            None => "none yet",
                        } }
                    }
                }
            }
        }
    }
}

// --- the log --------------------------------------------------------------------------------------

/// Which lines of the log are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// All.
    All,
    /// Who signed in.
    SignIns,
    /// What went wrong.
    Troubles,
    /// What was done here.
    Page,
}

impl Lines {
    /// Every choice.
    pub const ALL: [Lines; 4] = [Lines::All, Lines::SignIns, Lines::Troubles, Lines::Page];

    /// Its name in an address.
    pub fn name(self) -> &'static str {
        match self {
            Lines::All => "all",
            Lines::SignIns => "sign-ins",
            Lines::Troubles => "failures",
            Lines::Page => "this-page",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Lines::All => "Everything",
            Lines::SignIns => "Sign-ins",
            Lines::Troubles => "Failures",
            Lines::Page => "This page",
        }
    }

    /// The one of this name; all for any other.
    pub fn parse(name: &str) -> Lines {
        (Lines::ALL.into_iter())
            .find(|lines| lines.name() == name)
            .unwrap_or(Lines::All)
    }

    /// Whether a line is one of them.
    pub fn has(self, event: &str) -> bool {
        match self {
            Lines::All => true,
            Lines::SignIns => event == "contact.bound",
            Lines::Troubles => words::is_trouble(event),
            Lines::Page => event.starts_with("status_page."),
        }
    }
}

/// What happened.
pub fn log(
    frame: &Frame<'_>,
    which: Lines,
    lines: &[Happened],
    next: Option<u64>,
    now: Timestamp,
) -> Markup {
    let here = frame.to(Place::Log);
    html! {
        section.card {
            div.head {
                h1 { "Log" }
                nav.ranges aria-label="Which lines" {
                    @for one in Lines::ALL {
                        a href={ (here) "?show=" (one.name()) } aria-current=[(one == which).then_some("true")] { (one.words()) }
                    }
                }
            }
            @if lines.is_empty() {
                @if next.is_some() { p.soft { "None among these lines." } } @else { p.soft { "Nothing has been written down." } }
            }
            (happenings(frame, lines, now))
            @if let Some(next) = next {
                p.more { a href={ (here) "?show=" (which.name()) "&before=" (format!("{next:x}")) } { "Older" } }
            }
            p.soft.small { "Kept for 180 days. " (command("portero audit verify")) " checks that nobody changed it." }
        }
    }
}

fn happenings(frame: &Frame<'_>, lines: &[Happened], now: Timestamp) -> Markup {
    html! {
        @if !lines.is_empty() {
            ol.log {
                @for happened in lines {
                    @let line = &happened.line;
                    @let said = words::sentence(&line.event);
                    li.trouble[words::is_trouble(&line.event)] {
                        span { (who(frame, happened)) " "
                            @if said.is_empty() { (line.event) } @else { (said) }
                            @if let Some(about) = line.about.as_ref().or(line.directory_user.as_ref()) { ": " (about) } }
                        span.soft { (moment(Timestamp(line.at_ms), now)) }
                    }
                }
            }
        }
    }
}

/// What happened so shortly before somebody was signed in was on the way there.
const SAME_WAY_MS: u64 = HOUR_MS;

/// Whom a line is about: as whom the contact is signed in now, or the end of its number.
fn who(frame: &Frame<'_>, happened: &Happened) -> Markup {
    let (line, contact) = (&happened.line, happened.contact.as_ref());
    if line.contact.is_empty() {
        let somebody = match happened.is_erased {
            _ if !words::is_about_somebody(&line.event) => "",
            true => "Somebody who was forgotten",
            false => "Somebody",
        };
        return html! { (somebody) };
    }
    // Who it is now says nothing about who it was before.
    let name = (contact.and_then(|contact| contact.bindings.first()))
        .filter(|binding| line.at_ms + SAME_WAY_MS >= binding.bound_since.0)
        .map(account);
    let words = match (name, &line.number_ending) {
        (Some(name), _) => name,
        (None, Some(ending)) => format!("Number …{ending}"),
        (None, None) => "A hidden number".to_owned(),
    };
    html! {
        @if contact.is_some() {
            a href={ (frame.to(Place::Contacts)) (line.contact) "/" } { (words) }
        } @else { (words) }
    }
}

/// An account in one line.
fn account(binding: &Binding) -> String {
    match (binding.name.as_str(), binding.company.name.as_str()) {
        ("", "") => format!("a user of {}", binding.service.as_str()),
        (name, "") => name.to_owned(),
        ("", company) => format!("a user of {company}"),
        (name, company) => format!("{name}, {company}"),
    }
}

// --- contacts -------------------------------------------------------------------------------------

/// Who wrote, or who was found by what was typed, as it was understood.
pub fn contacts(
    frame: &Frame<'_>,
    (search, wanted): (&str, &Wanted),
    found: &Found,
    now: Timestamp,
    policy: &Policy,
) -> Markup {
    let here = frame.to(Place::Contacts);
    html! {
        section.card {
            h1 { "Contacts" }
            form.search method="post" action=(here) role="search" {
                (frame.token())
                label for="search" { "Name, company, mail address, number or its end, userUuid" }
                div {
                    input #search name=(field::SEARCH) type="search" value=(search) autocomplete="off" autocapitalize="none" spellcheck="false";
                    button.first name=(field::ACTION) value="search" { "Search" }
                }
            }
            @if found.contacts.is_empty() {
                p.soft { (none_found(wanted, found)) }
            } @else {
                div.scroll { table.people {
                    thead { tr { th scope="col" { "Signed in as" } th scope="col" { "Number" } th scope="col" { "Wrote" } th scope="col" { "Signed in" } } }
                    tbody { @for contact in &found.contacts { (contact_row(frame, contact, now, policy)) } }
                } }
            }
            @if found.is_cut_short {
                p.soft {
                    (grouped(found.looked_at)) " contacts were looked through, and there are more. "
                    "Search on, or type what is found at once: a whole mail address, a number, or its last digits."
                }
            }
            @if let Some(next) = found.next {
                form.more method="post" action=(here) {
                    (frame.token())
                    input type="hidden" name=(field::SEARCH) value=(search);
                    input type="hidden" name=(field::AFTER) value=(next);
                    button name=(field::ACTION) value="search" { @if found.is_cut_short { "Search on" } @else { "More" } }
                }
            }
        }
    }
}

fn none_found(wanted: &Wanted, found: &Found) -> &'static str {
    match wanted {
        _ if found.is_cut_short => "Not found so far.",
        Wanted::Everybody => "Nobody has written yet.",
        Wanted::Address(_) => {
            "Nobody is signed in with this address. To find similar ones, type a part of it."
        }
        Wanted::Number(_) | Wanted::Ending(_) => {
            "Nobody has written from a number that is this one or ends like it."
        }
        Wanted::User(_) | Wanted::Words(_) => "Nobody was found.",
    }
}

fn standing<'c>(contact: &'c Contact, now: Timestamp, policy: &Policy) -> &'c [Binding] {
    match contact.outlived(now, policy) {
        None => &contact.bindings,
        // They end with the next message; nothing can be done with them until then.
        Some(_) => &[],
    }
}

fn contact_row(frame: &Frame<'_>, contact: &Contact, now: Timestamp, policy: &Policy) -> Markup {
    let bindings = standing(contact, now, policy);
    html! {
        tr {
            th scope="row" {
                a href={ (frame.to(Place::Contacts)) (contact.id) "/" } {
                    @match bindings.first() {
                        Some(first) => { (account(first)) @if bindings.len() > 1 { " and " (bindings.len() - 1) " more" } }
                        None => "Not signed in",
                    }
                }
                @if let Some(email) = bindings.first().and_then(|first| first.email.as_ref()) { span.soft { " " (email.masked()) } }
            }
            td { (ending(contact)) }
            td { (moment(contact.last_message_at, now)) }
            td { @match bindings.iter().map(|binding| binding.proved_at).max() { Some(at) => (moment(at, now)), None => "–" } }
        }
    }
}

fn ending(contact: &Contact) -> String {
    (contact.number_ending()).map_or("hidden".to_owned(), |ending| format!("…{ending}"))
}

fn proof(binding: &Binding) -> &'static str {
    use crate::domain::binding::Proof;
    match binding.proof {
        Proof::MailCode => "code by mail",
        Proof::Password => "password on the page",
        Proof::Page => "another page",
    }
}

/// One person.
pub fn contact(
    frame: &Frame<'_>,
    contact: &Contact,
    now: Timestamp,
    policy: &Policy,
    said: Option<&str>,
) -> Markup {
    let bindings = standing(contact, now, policy);
    html! {
        @if let Some(said) = said { (notice(said, false)) }
        section.card {
            h1 { @match bindings.first() { Some(first) => (account(first)), None => "Somebody who is not signed in" } }
            dl.facts {
                dt { "Number" } dd { (ending(contact)) }
                dt { "userUuid" } dd.id { (contact.id) }
                dt { "Language" } dd { (contact.language.code()) }
                dt { "First wrote" } dd { (moment(contact.created_at, now)) }
                dt { "Last wrote" } dd { (moment(contact.last_message_at, now)) }
            }
            @if bindings.is_empty() {
                p.soft { "Not signed in." }
            } @else {
                h2 { "Signed in to" }
                div.scroll { table {
                    thead { tr { th scope="col" { "Account" } th scope="col" { "Address" } th scope="col" { "Service" } th scope="col" { "By" } th scope="col" { "Proved" } } }
                    tbody {
                        @for binding in bindings {
                            tr {
                                th scope="row" { (account(binding)) }
                                td { @match &binding.email { Some(email) => (email.as_str()), None => "–" } }
                                td { (binding.service.as_str()) }
                                td { (proof(binding)) }
                                td { (moment(binding.proved_at, now)) }
                            }
                        }
                    }
                } }
                details.confirm {
                    summary.button { "Log out…" }
                    form method="post" action=(frame.to(Place::Contacts)) {
                        p { "This chat will be nobody's: the bot gets no tokens any more, and the person has to sign in again. It cannot be taken back." }
                        (frame.token())
                        input type="hidden" name=(field::ID) value=(contact.id);
                        button.danger name=(field::ACTION) value="release" { "Log this person out" }
                    }
                }
            }
            p.soft.small { "To forget somebody altogether: " (command(&format!("portero contact forget {}", contact.id))) }
        }
    }
}

/// There is nobody of this name.
pub fn no_contact(frame: &Frame<'_>, id: Option<ContactId>) -> Markup {
    html! {
        section.card {
            h1 { "Nobody" }
            p { @if id.is_some() { "There is no contact of this name any more." } @else { "That is no userUuid." } }
            p { a href=(frame.to(Place::Contacts)) { "All contacts" } }
        }
    }
}

// --- dead letters ---------------------------------------------------------------------------------

/// How an entry is named.
pub fn entry_name(id: EntryId) -> String {
    format!("{:x}", id.0)
}

/// What was given up.
pub fn letters(
    frame: &Frame<'_>,
    letters: &[Letter],
    next: Option<EntryId>,
    is_first: bool,
    now: Timestamp,
    said: Option<&str>,
) -> Markup {
    let here = frame.to(Place::Letters);
    let newest = letters
        .first()
        .map(|letter| entry_name(letter.dead.entry.id));
    html! {
        @if let Some(said) = said { (notice(said, false)) }
        section.card {
            h1 { "Dead letters" }
            p.soft { "What was given up, newest first. It is kept for 30 days." }
            @if letters.is_empty() {
                p { "There are none." }
            }
            @if let Some(newest) = newest.filter(|_| is_first) {
                div.buttons {
                    form method="post" action=(here) {
                        (frame.token())
                        input type="hidden" name=(field::NEWEST) value=(newest);
                        button name=(field::ACTION) value="retry_all" { "Retry all that can be" }
                    }
                    details.confirm {
                        summary.button { "Drop all…" }
                        form method="post" action=(here) {
                            p { "Everything up to the newest letter on this page is forgotten. It cannot be taken back." }
                            (frame.token())
                            input type="hidden" name=(field::NEWEST) value=(newest);
                            button.danger name=(field::ACTION) value="drop_all" { "Drop all letters" }
                        }
                    }
                }
            }
            ol.letters {
                @for letter in letters { (letter_item(frame, letter, now)) }
            }
            @if let Some(next) = next {
                p.more { a href={ (here) "?before=" (entry_name(next)) } { "Older" } }
            }
        }
    }
}

fn letter_item(frame: &Frame<'_>, letter: &Letter, now: Timestamp) -> Markup {
    let (dead, here) = (&letter.dead, frame.to(Place::Letters));
    let entry = &dead.entry;
    let lane = entry.errand.lane().name();
    let name = entry_name(entry.id);
    let hindrance = letter.obstacle.map(|obstacle| match obstacle {
        Obstacle::NothingLeft => "It cannot be tried again: what it would say is forgotten.",
        Obstacle::TimeOver => "It cannot be tried again: it answered what somebody wrote then.",
        Obstacle::Replaced => "It cannot be tried again: something newer took its place.",
        Obstacle::NoReceiver => "It cannot be tried again: nobody is configured to get it.",
    });
    html! {
        li {
            div {
                p { strong { (words::lane(lane)) } " " span.soft { (entry.errand.name()) " · " (moment(dead.at, now)) " · "
                    (entry.attempts) @if entry.attempts == 1 { " try" } @else { " tries" } } }
                p.reason { (dead.reason) }
                p.soft { (with_commands(words::advice(lane, &dead.reason))) }
                @if let Some(hindrance) = hindrance { p.soft { (hindrance) } }
                p.small { a href={ (frame.to(Place::Contacts)) (entry.contact) "/" } { "Whom it is about" } }
            }
            div.buttons {
                @if hindrance.is_none() {
                    form method="post" action=(here) {
                        (frame.token())
                        input type="hidden" name=(field::ID) value=(name);
                        button name=(field::ACTION) value="retry" { "Retry" }
                    }
                }
                details.confirm {
                    summary.button { "Drop…" }
                    form method="post" action=(here) {
                        (frame.token())
                        input type="hidden" name=(field::ID) value=(name);
                        button.danger name=(field::ACTION) value="drop" { "Forget it for good" }
                    }
                }
            }
        }
    }
}

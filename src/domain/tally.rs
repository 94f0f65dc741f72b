//! How far people come on their way in, counted without names: what the status page draws.
//!
//! A way begins when a code or a link is asked for and ends when somebody is bound, or never. Each
//! milestone counts once for each way, however often a code was sent again.

use super::contact::Contact;
use super::conversation::{Action, AuditEvent, Event, Step};
use super::sign_in::{PageAct, PageAnswer};
use super::time::{HOUR_MS, SECOND_MS, Timestamp};
use std::collections::BTreeMap;

/// A way that has not ended by now is another one: longer than any code, link and return code live.
const WAY_MS_MAX: u64 = HOUR_MS;

/// How somebody is to be proved, and on whose wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A code by mail, typed in the chat.
    MailCode,
    /// A link that the person asked for in the chat.
    Link,
    /// A link or a code that the bot asked for.
    Bot,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 3] = [Method::MailCode, Method::Link, Method::Bot];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Method::MailCode => "mail_code",
            Method::Link => "link",
            Method::Bot => "bot",
        }
    }
}

/// How far somebody came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Milestone {
    /// A code or a link was asked for.
    Begun,
    /// The address is somebody's and a code goes there; or a form came back from the page.
    Reached,
    /// The code or the password was right.
    Proved,
    /// The chat is bound.
    Bound,
}

impl Milestone {
    /// Every milestone, in their order.
    pub const ALL: [Milestone; 4] = [
        Milestone::Begun,
        Milestone::Reached,
        Milestone::Proved,
        Milestone::Bound,
    ];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Milestone::Begun => "begun",
            Milestone::Reached => "reached",
            Milestone::Proved => "proved",
            Milestone::Bound => "bound",
        }
    }
}

/// How far a contact has come on the way that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which way.
    pub method: Method,
    /// When it began.
    pub begun_at: Timestamp,
    /// How far.
    pub milestone: Milestone,
}

/// Upper bounds of how long a way takes, in seconds.
pub const TIME_BOUNDS_S: [u64; 14] = [
    10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 420, 600, 1_200, 3_600,
];

/// What was counted in some time.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tally {
    /// In the order of [`Method::ALL`] and [`Milestone::ALL`].
    pub milestones: [[u64; Milestone::ALL.len()]; Method::ALL.len()],
    /// How long the ways of each method took that ended well: how many up to each of
    /// [`TIME_BOUNDS_S`] and no shorter.
    pub times: [[u64; TIME_BOUNDS_S.len()]; Method::ALL.len()],
    /// What else happened, by its name: those of the audit, and the ones below.
    pub events: BTreeMap<String, u64>,
}

impl Tally {
    /// Messages of Portero's own that Meta took.
    pub const REPLIES: &str = "reply.taken";
    /// Codes and notices that the mail server took.
    pub const MAILS: &str = "mail.taken";
    /// Addresses for which a code was asked and that no service knows.
    pub const UNKNOWN_ADDRESS: &str = "address.unknown";
    /// Numbers typed on the page that are not the chat's.
    pub const WRONG_NUMBER: &str = "number.wrong";
    /// What was given up, by the lane it waited in.
    pub fn given_up(lane: super::delivery::Lane) -> &'static str {
        use super::delivery::Lane;
        match lane {
            Lane::Chat => "given_up.whatsapp",
            Lane::Mail => "given_up.mail",
            Lane::Services => "given_up.services",
            Lane::Bot => "given_up.bot",
            Lane::Events => "given_up.events",
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Tally::default()
    }

    /// Once more what has this name.
    pub fn count(&mut self, name: &str) {
        match self.events.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.events.insert(name.to_owned(), 1);
            }
        }
    }

    /// How often what has this name happened.
    pub fn of(&self, name: &str) -> u64 {
        self.events.get(name).copied().unwrap_or(0)
    }

    /// How often a milestone was reached.
    pub fn reached(&self, method: Method, milestone: Milestone) -> u64 {
        self.milestones[method as usize][milestone as usize]
    }

    /// How often a milestone was reached by any method.
    pub fn reached_by_any(&self, milestone: Milestone) -> u64 {
        let of = |method: &Method| self.reached(*method, milestone);
        Method::ALL.iter().map(of).sum()
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Tally) {
        for (sums, counts) in self.milestones.iter_mut().zip(&other.milestones) {
            sums.iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count);
        }
        for (sums, counts) in self.times.iter_mut().zip(&other.times) {
            sums.iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count);
        }
        for (name, count) in &other.events {
            *self.events.entry(name.clone()).or_default() += count;
        }
    }

    /// How long half of the ways of these methods took at most, in seconds, as exactly as the bounds
    /// tell; `None` when none ended well.
    pub fn median_s(&self, methods: &[Method]) -> Option<u64> {
        let counts = |place: usize| -> u64 {
            let of = |method: &Method| self.times[*method as usize][place];
            methods.iter().map(of).sum()
        };
        let all: u64 = (0..TIME_BOUNDS_S.len()).map(counts).sum();
        let mut below = 0;
        for (place, bound) in TIME_BOUNDS_S.iter().enumerate() {
            let here = counts(place);
            if here > 0 && 2 * (below + here) >= all {
                let from = place
                    .checked_sub(1)
                    .map_or(0, |before| TIME_BOUNDS_S[before]);
                // Within a bucket they are taken to lie evenly.
                let part = (bound - from) * (all - 2 * below) / (2 * here);
                return Some(from + part.min(bound - from));
            }
            below += here;
        }
        None
    }

    fn reach(&mut self, progress: &mut Progress, milestone: Milestone) {
        for step in Milestone::ALL {
            if step > progress.milestone && step <= milestone {
                self.milestones[progress.method as usize][step as usize] += 1;
            }
        }
        progress.milestone = progress.milestone.max(milestone);
    }

    /// Counts what a decision means for the way of `before`, and returns where that way is now.
    pub fn follow(
        &mut self,
        before: &Contact,
        event: &Event<'_>,
        step: &Step,
        now: Timestamp,
    ) -> Option<Progress> {
        let audited = |wanted: AuditEvent| step.actions.contains(&Action::Audit(wanted));
        let mut progress =
            (before.progress).filter(|progress| now.since_ms(progress.begun_at) < WAY_MS_MAX);
        if let Some(method) = begun(event, step, progress) {
            let mut fresh = Progress {
                method,
                begun_at: now,
                milestone: Milestone::Begun,
            };
            self.milestones[method as usize][Milestone::Begun as usize] += 1;
            if step.actions.iter().any(is_code_mailed) {
                self.reach(&mut fresh, Milestone::Reached);
            }
            return Some(fresh);
        }
        if let Event::LookedUp { .. } = event
            && (step.actions.iter()).any(|action| matches!(action, Action::PretendMail { .. }))
        {
            self.count(Tally::UNKNOWN_ADDRESS);
        }
        if let Some(PageAnswer::WrongNumber { .. }) = step.page {
            self.count(Tally::WRONG_NUMBER);
        }
        let current = progress.as_mut()?;
        let came_back = match event {
            Event::Page { act, .. } => {
                matches!(act, PageAct::Try { .. } | PageAct::Claimed(_)) && counts(step.page)
            }
            _ => step.actions.iter().any(is_code_mailed),
        };
        if came_back {
            self.reach(current, Milestone::Reached);
        }
        if audited(AuditEvent::PasswordRight) {
            self.reach(current, Milestone::Proved);
        }
        if audited(AuditEvent::Bound) {
            self.reach(current, Milestone::Bound);
            let took_s = now.since_ms(current.begun_at) / SECOND_MS;
            let place = TIME_BOUNDS_S.iter().position(|bound| took_s <= *bound);
            let last = TIME_BOUNDS_S.len() - 1;
            self.times[current.method as usize][place.unwrap_or(last)] += 1;
            return None;
        }
        progress
    }
}

/// The method of the way that a decision begins.
fn begun(event: &Event<'_>, step: &Step, current: Option<Progress>) -> Option<Method> {
    let audited = |wanted: AuditEvent| step.actions.contains(&Action::Audit(wanted));
    let is_of = |methods: &[Method]| current.is_some_and(|way| methods.contains(&way.method));
    if matches!(event, Event::LinkAsked { .. } | Event::ProofAsked { .. }) {
        let is_asked = audited(AuditEvent::LinkSent) || audited(AuditEvent::ProofAsked);
        return is_asked.then_some(Method::Bot);
    }
    // A code after the password is another step on the same way.
    if matches!(event, Event::Page { .. }) {
        return None;
    }
    if audited(AuditEvent::LinkSent) && !is_of(&[Method::Link, Method::Bot]) {
        return Some(Method::Link);
    }
    // So is a code that is mailed again after one.
    let is_open = is_of(&[Method::MailCode, Method::Bot])
        || current.is_some_and(|way| way.milestone == Milestone::Proved);
    (audited(AuditEvent::CodeAsked) && !is_open).then_some(Method::MailCode)
}

fn is_code_mailed(action: &Action) -> bool {
    matches!(action, Action::MailCode { .. })
}

/// Whether a form was one of somebody who has the link, and within the limits: beyond them nothing
/// is written.
fn counts(answer: Option<PageAnswer>) -> bool {
    match answer {
        Some(
            PageAnswer::Check
            | PageAnswer::WrongNumber { .. }
            | PageAnswer::Burned
            | PageAnswer::Return
            | PageAnswer::CodeMailed
            | PageAnswer::Finished
            | PageAnswer::Refused,
        ) => true,
        Some(
            PageAnswer::Gone
            | PageAnswer::WrongPassword { .. }
            | PageAnswer::TooMany { .. }
            | PageAnswer::NoAnswer
            | PageAnswer::Unnamed
            | PageAnswer::Declined,
        )
        | None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn with_times(times: &[(u64, u64)]) -> Tally {
        let mut tally = Tally::default();
        for (seconds, count) in times {
            let place = TIME_BOUNDS_S.iter().position(|bound| seconds <= bound);
            tally.times[0][place.unwrap()] += count;
        }
        tally
    }

    #[test]
    fn the_median_lies_in_the_bucket_of_the_middle_one() {
        let median = |times: &[(u64, u64)]| with_times(times).median_s(&Method::ALL);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[(40, 1)]), Some(37));
        assert_eq!(median(&[(8, 1), (40, 1), (3_000, 1)]), Some(37));
        assert_eq!(median(&[(40, 2), (100, 2)]), Some(45));
        assert_eq!(median(&[(40, 1), (100, 99)]), Some(104));
        let tally = with_times(&[(40, 1)]);
        assert_eq!(tally.median_s(&[Method::Link]), None);
    }

    #[test]
    fn what_is_added_is_the_sum_in_every_part() {
        let mut one = with_times(&[(8, 2)]);
        one.count(Tally::REPLIES);
        one.milestones[1][2] = 3;
        let mut two = with_times(&[(8, 1), (40, 4)]);
        two.count(Tally::REPLIES);
        two.count("code.wrong");
        two.milestones[1][2] = 4;
        one.add(&two);
        assert_eq!(one.of(Tally::REPLIES), 2);
        assert_eq!(one.of("code.wrong"), 1);
        assert_eq!(one.reached(Method::Link, Milestone::Proved), 7);
        assert_eq!(one.times[0][0], 3);
        assert_eq!(one.times[0][4], 4);
        assert!(!one.is_empty() && Tally::default().is_empty());
    }
}

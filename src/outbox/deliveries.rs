//! What is told of a delivery: a line in the log, and a count.

use super::Outbox;
use super::conclude::{Carried, Tried};
use super::other_side::is_about_the_lane;
use crate::app::{Report, Settled};
use crate::domain::delivery::Lane;
use crate::metrics::{Counters, Durations};

/// What became of what left by a lane, and how long the other side took.
#[derive(Debug)]
pub struct Deliveries {
    /// Outcomes.
    pub outcomes: Counters<6>,
    /// Of tries that reached for the other side.
    pub durations: Durations,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        Deliveries {
            outcomes: Counters::new([SENT, ANSWERED, RETRY, SUPERSEDED, EXPIRED, GIVEN_UP]),
            durations: Durations::default(),
        }
    }
}

const SENT: &str = "sent";
const ANSWERED: &str = "answered";
const RETRY: &str = "retry";
const SUPERSEDED: &str = "superseded";
const EXPIRED: &str = "expired";
const GIVEN_UP: &str = "given_up";

impl Outbox {
    /// Counts a delivery and logs it. What comes in thousands and went well is for who looks for it;
    /// a lane that rests says so itself.
    pub(super) fn tell(&self, lane: Lane, carried: &Carried, settled: Settled) {
        let Some(outcome) = outcome(&carried.report, settled) else {
            return;
        };
        self.counted[lane as usize].outcomes.count(outcome);
        let Tried {
            what,
            attempt,
            took,
        } = &carried.tried;
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let is_usual = matches!(lane, Lane::Bot | Lane::Events) && outcome == SENT;
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    lane = lane.name(),
                    what,
                    id = format_args!("{:x}", carried.id.0),
                    contact = %carried.line.0,
                    attempts = attempt,
                    outcome,
                    duration_ms,
                    "a delivery"
                )
            };
        }
        if is_usual || is_about_the_lane(&carried.report) {
            line!(debug);
        } else {
            line!(info);
        }
    }
}

/// What became of a try; nothing when there was none.
fn outcome(report: &Report, settled: Settled) -> Option<&'static str> {
    let is_again = matches!(settled, Settled::Again(_));
    match report {
        Report::Untried { .. } => None,
        Report::Sent(_) => Some(SENT),
        Report::Answers(_) | Report::Failed(_) if is_again => Some(RETRY),
        Report::Answers(_) => Some(ANSWERED),
        Report::Failed(_) => Some(GIVEN_UP),
        Report::Expired => Some(EXPIRED),
        Report::Superseded => Some(SUPERSEDED),
    }
}

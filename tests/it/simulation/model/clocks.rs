//! When the clock of the machine may decide what is old.

use super::{DAY_MS, HOUR_MS};

/// What the clock of the machine and the one that nobody sets show.
pub type Shown = (u64, u64);

/// What is written down: when Portero last ran with a clock that was believed, and what was left of a
/// doubt: what the clock showed, and how long it was doubted.
pub type Noted = (u64, Option<(u64, u64)>);

pub struct Clocks {
    agreed: Shown,
    gain_ms_max: u64,
    /// What they showed when somebody last asked, while they are not believed.
    looked: Option<Shown>,
    pub doubted_ms: u64,
}

/// How much more, or less if it is negative, the clock of the machine went on than the other one.
fn gained(from: Shown, to: Shown) -> i128 {
    let passed = |from: u64, to: u64| i128::from(to) - i128::from(from);
    passed(from.0, to.0) - passed(from.1, to.1).max(0)
}

impl Clocks {
    pub fn beginning(shown: Shown, noted: Noted) -> Clocks {
        let (latest, doubt) = noted;
        let mut clocks = Clocks {
            agreed: shown,
            gain_ms_max: HOUR_MS,
            looked: None,
            doubted_ms: 0,
        };
        if latest > 0 && shown.0 > latest + DAY_MS {
            clocks.agreed.0 = latest;
            clocks.gain_ms_max = DAY_MS;
            clocks.looked = Some(shown);
            if let Some((seen_at, doubted_ms)) = doubt
                && (seen_at..=seen_at + DAY_MS).contains(&shown.0)
            {
                clocks.doubted_ms = doubted_ms;
            }
        }
        clocks
    }

    pub fn are_believed(&mut self, shown: Shown) -> bool {
        let gain = gained(self.agreed, shown);
        let agree = (-i128::from(HOUR_MS)..=i128::from(self.gain_ms_max)).contains(&gain);
        if !agree {
            let looked = self.looked.replace(shown).unwrap_or(shown);
            self.doubted_ms = match gained(looked, shown).unsigned_abs() > u128::from(HOUR_MS) {
                true => 0,
                false => self.doubted_ms + shown.1.saturating_sub(looked.1),
            };
        }
        if agree && self.looked.is_none() {
            return true;
        }
        let is_over = agree || self.doubted_ms >= DAY_MS;
        if is_over {
            *self = Clocks {
                agreed: shown,
                gain_ms_max: HOUR_MS,
                looked: None,
                doubted_ms: 0,
            };
        }
        is_over
    }
}

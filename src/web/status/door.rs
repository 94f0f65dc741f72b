//! Who is in: sessions in memory, and how often a password may be tried.
//!
//! A restart signs everybody out. Of a session only the digest of its id is held, so that what is
//! in memory opens nothing.

use crate::domain::secret::Secret;
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Without a request for so long a session ends (OWASP Session Management: 15 to 30 minutes).
pub const IDLE_MS_MAX: u64 = 30 * MINUTE_MS;

/// And after so long whatever happens: a working day.
pub const AGE_MS_MAX: u64 = 8 * HOUR_MS;

/// Sessions at one time; the one that was used longest ago makes room.
const SESSIONS_MAX: usize = 16;

/// Wrong passwords from one network that cost no wait.
pub const FREE_TRIES: u32 = 5;
/// The wait after the next one, which doubles with each.
const WAIT_MS_MIN: u64 = 30 * SECOND_MS;
/// The longest: nobody is kept out for good.
pub const WAIT_MS_MAX: u64 = 15 * MINUTE_MS;

/// The same over all networks together, for whoever has many of them.
const FREE_TRIES_IN_ALL: u32 = 50;
const WAIT_IN_ALL_MS_MIN: u64 = SECOND_MS;
const WAIT_IN_ALL_MS_MAX: u64 = MINUTE_MS;

/// Wrong passwords are forgotten when there was none for so long.
const FORGOTTEN_AFTER_MS: u64 = DAY_MS;

/// Networks remembered; the one that tried longest ago makes room.
const NETWORKS_MAX: usize = 1_024;

/// Networks from which the right password came: what others do does not make them wait.
const KNOWN_NETWORKS_MAX: usize = 16;

type Network = [u8; 16];

/// Wrong passwords in a row.
#[derive(Clone, Copy, Default)]
struct Tries {
    wrong: u32,
    last: Timestamp,
}

impl Tries {
    fn until(&self, now: Timestamp, free: u32, wait_ms: (u64, u64)) -> Option<Timestamp> {
        let beyond = self.wrong.checked_sub(free)?;
        if now.since_ms(self.last) >= FORGOTTEN_AFTER_MS {
            return None;
        }
        let (min, max) = wait_ms;
        let wait = min.saturating_mul(1 << beyond.min(20)).min(max);
        Some(self.last.plus_ms(wait)).filter(|until| now < *until)
    }

    fn count(&mut self, now: Timestamp) {
        if now.since_ms(self.last) >= FORGOTTEN_AFTER_MS {
            self.wrong = 0;
        }
        self.wrong = self.wrong.saturating_add(1);
        self.last = now;
    }
}

#[derive(Default)]
struct Guard {
    networks: HashMap<Network, Tries>,
    all: Tries,
    known: VecDeque<Network>,
}

impl Guard {
    fn knows(&self, network: Network, is_here: bool) -> bool {
        is_here || self.known.contains(&network)
    }

    /// What [`Door::begin`] counted over all networks.
    fn take_back(&mut self, network: Network, is_here: bool) {
        if !self.knows(network, is_here) {
            self.all.wrong = self.all.wrong.saturating_sub(1);
        }
    }
}

struct Session {
    begun_at: Timestamp,
    used_at: Timestamp,
}

impl Session {
    fn has_ended(&self, now: Timestamp) -> bool {
        now.since_ms(self.used_at) >= IDLE_MS_MAX || now.since_ms(self.begun_at) >= AGE_MS_MAX
    }
}

/// Lets the administrator in, and nobody else.
#[derive(Default)]
pub struct Door {
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    guard: Mutex<Guard>,
}

fn digest(session: &str) -> [u8; 32] {
    Sha256::digest(session.as_bytes()).into()
}

/// What a form carries that belongs to this session.
pub fn form_token(session: &Secret) -> Secret {
    let mut hash = Sha256::new();
    hash.update(b"portero status form\0");
    hash.update(session.reveal().as_bytes());
    let token = hash.finalize();
    Secret::new(
        token
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    )
}

impl Door {
    fn sessions(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs everybody out.
    pub fn close(&self) {
        self.sessions().clear();
    }

    fn guard(&self) -> MutexGuard<'_, Guard> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A password is about to be compared: counted before, so that tries sent at the same moment
    /// count as well. `Err` says from when there is another try; that one does not count.
    ///
    /// Whoever sits at this machine, or came from a network that had the right password, does not
    /// wait because of others: nobody can lock the administrator out from afar.
    pub fn begin(&self, network: Network, is_here: bool, now: Timestamp) -> Result<(), Timestamp> {
        let mut guard = self.guard();
        let is_known = guard.knows(network, is_here);
        let own = guard.networks.get(&network).copied().unwrap_or_default();
        let until = own.until(now, FREE_TRIES, (WAIT_MS_MIN, WAIT_MS_MAX));
        let in_all = (guard.all)
            .until(
                now,
                FREE_TRIES_IN_ALL,
                (WAIT_IN_ALL_MS_MIN, WAIT_IN_ALL_MS_MAX),
            )
            .filter(|_| !is_known);
        if let Some(until) = until.max(in_all) {
            return Err(until);
        }
        if guard.networks.len() >= NETWORKS_MAX && !guard.networks.contains_key(&network) {
            let oldest = guard.networks.iter().min_by_key(|(_, tries)| tries.last);
            if let Some(oldest) = oldest.map(|(network, _)| *network) {
                guard.networks.remove(&oldest);
            }
        }
        guard.networks.entry(network).or_default().count(now);
        if !is_known {
            guard.all.count(now);
        }
        Ok(())
    }

    /// A try that nobody could judge.
    pub fn take_back(&self, network: Network, is_here: bool) {
        let mut guard = self.guard();
        guard.take_back(network, is_here);
        if let Some(tries) = guard.networks.get_mut(&network) {
            tries.wrong = tries.wrong.saturating_sub(1);
        }
    }

    /// The password was right: wrong ones from there are forgotten, and a session begins under an
    /// id that nobody had before.
    pub fn let_in(&self, network: Network, is_here: bool, session: &Secret, now: Timestamp) {
        let mut guard = self.guard();
        guard.take_back(network, is_here);
        guard.networks.remove(&network);
        guard.known.retain(|known| *known != network);
        guard.known.push_back(network);
        if guard.known.len() > KNOWN_NETWORKS_MAX {
            guard.known.pop_front();
        }
        drop(guard);
        let mut sessions = self.sessions();
        sessions.retain(|_, session| !session.has_ended(now));
        if sessions.len() >= SESSIONS_MAX {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used_at);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                sessions.remove(&oldest);
            }
        }
        let fresh = Session {
            begun_at: now,
            used_at: now,
        };
        sessions.insert(digest(session.reveal()), fresh);
    }

    /// Whether this session is one, and still is; it lasts longer for it.
    pub fn is_in(&self, session: &Secret, now: Timestamp) -> bool {
        let (mut sessions, digest) = (self.sessions(), digest(session.reveal()));
        match sessions.get_mut(&digest) {
            Some(session) if !session.has_ended(now) => {
                session.used_at = now;
                true
            }
            Some(_) => {
                sessions.remove(&digest);
                false
            }
            None => false,
        }
    }

    /// Ends a session; says whether it was one.
    pub fn let_out(&self, session: &Secret) -> bool {
        self.sessions().remove(&digest(session.reveal())).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const ONE: Network = [1; 16];
    const OTHER: Network = [2; 16];

    fn session(name: &str) -> Secret {
        Secret::new(name)
    }

    #[test]
    fn a_session_ends_after_half_an_hour_of_silence_and_after_a_day_of_work() {
        let door = Door::default();
        door.let_in(ONE, false, &session("a"), NOW);
        assert!(!door.is_in(&session("b"), NOW));
        assert!(door.is_in(&session("a"), NOW.plus_ms(IDLE_MS_MAX - 1)));
        assert!(!door.is_in(&session("a"), NOW.plus_ms(2 * IDLE_MS_MAX)));
        assert!(!door.is_in(&session("a"), NOW), "it came back");
        door.let_in(ONE, false, &session("a"), NOW);
        let mut now = NOW;
        while now.since_ms(NOW) < AGE_MS_MAX - IDLE_MS_MAX / 2 {
            assert!(door.is_in(&session("a"), now));
            now = now.plus_ms(IDLE_MS_MAX / 2);
        }
        assert!(!door.is_in(&session("a"), NOW.plus_ms(AGE_MS_MAX)));
        door.let_in(ONE, false, &session("a"), NOW);
        assert!(door.let_out(&session("a")));
        assert!(!door.let_out(&session("a")) && !door.is_in(&session("a"), NOW));
    }

    #[test]
    fn sessions_take_bounded_memory_and_the_one_used_longest_ago_makes_room() {
        let door = Door::default();
        for number in 0..=SESSIONS_MAX as u64 {
            door.let_in(
                ONE,
                false,
                &session(&number.to_string()),
                NOW.plus_ms(number),
            );
        }
        assert_eq!(door.sessions().len(), SESSIONS_MAX);
        assert!(!door.is_in(&session("0"), NOW) && door.is_in(&session("1"), NOW.plus_ms(1)));
    }

    /// The wait after each wrong password, for one that is tried as soon as possible.
    fn waits(tries: usize) -> Vec<u64> {
        let (door, mut now, mut waits) = (Door::default(), NOW, Vec::new());
        for _ in 0..tries {
            let mut waited = 0;
            if let Err(until) = door.begin(ONE, false, now) {
                waited = until.since_ms(now);
                now = until;
                door.begin(ONE, false, now).unwrap();
            }
            waits.push(waited / SECOND_MS);
        }
        waits
    }

    #[test]
    fn wrong_passwords_from_one_network_wait_longer_and_longer_and_never_for_good() {
        assert_eq!(
            waits(13),
            [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]
        );
        let door = Door::default();
        for _ in 0..FREE_TRIES {
            door.begin(ONE, false, NOW).unwrap();
        }
        assert!(door.begin(ONE, false, NOW).is_err());
        assert_eq!(
            door.begin(OTHER, false, NOW),
            Ok(()),
            "another network waits"
        );
        // A try that is refused does not make the wait longer.
        assert_eq!(
            door.begin(ONE, false, NOW.plus_ms(WAIT_MS_MIN)),
            Ok(()),
            "a refused try counted"
        );
        let tomorrow = NOW.plus_ms(WAIT_MS_MIN + FORGOTTEN_AFTER_MS);
        for _ in 0..FREE_TRIES {
            assert_eq!(door.begin(ONE, false, tomorrow), Ok(()));
        }
    }

    #[test]
    fn many_networks_together_wait_and_the_administrators_own_does_not() {
        let door = Door::default();
        door.begin(ONE, false, NOW).unwrap();
        door.let_in(ONE, false, &session("a"), NOW);
        let network = |number: u32| {
            let mut network = [9; 16];
            network[..4].copy_from_slice(&number.to_be_bytes());
            network
        };
        let mut refused = 0;
        for number in 0..2_000 {
            refused += u32::from(door.begin(network(number), false, NOW).is_err());
        }
        assert_eq!(refused, 2_000 - FREE_TRIES_IN_ALL);
        assert!(door.guard().networks.len() <= NETWORKS_MAX);
        let until = door.begin(OTHER, false, NOW).unwrap_err();
        assert!(until.since_ms(NOW) <= WAIT_IN_ALL_MS_MAX);
        assert_eq!(door.begin(ONE, false, NOW), Ok(()), "locked out");
        assert_eq!(door.begin(OTHER, true, NOW), Ok(()), "locked out at home");
        assert_eq!(door.begin(network(5_000), false, until), Ok(()));
    }

    #[test]
    fn a_right_password_and_one_that_nobody_judged_cost_nothing() {
        let door = Door::default();
        for number in 0..100 {
            door.begin(ONE, false, NOW).unwrap();
            match number % 2 {
                0 => door.take_back(ONE, false),
                _ => door.let_in(ONE, false, &session("a"), NOW),
            }
        }
        assert_eq!(door.guard().all.wrong, 0);
    }

    #[test]
    fn the_token_of_a_form_belongs_to_its_session_and_is_not_its_id() {
        let (a, b) = (form_token(&session("a")), form_token(&session("b")));
        assert!(a.matches(form_token(&session("a")).reveal()));
        assert!(!a.matches(b.reveal()) && !a.matches("a"));
    }
}

//! Passwords of the built-in directory: whose it is, at a price that is the same for everybody and
//! that nobody can make this machine pay too often.

use super::user::HashedPassword;
use super::{App, admin};
use crate::domain::account::Account;
use crate::domain::id::EmailAddress;
use crate::domain::secret::Secret;
use crate::store::StoreError;
use crate::store::record;
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{self, PasswordVerifier};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Passwords checked at once: each takes a processor for some 20 ms and 19 MiB of memory (a hash
/// from elsewhere more), and the chats need both too.
pub const PASSWORD_CHECKS_MAX: usize = 2;

/// How long a password waits for its turn: some two hundred are checked meanwhile. Whoever is not
/// among them is better told so than kept looking at an empty page.
pub const PASSWORD_WAIT_MS_MAX: u64 = 2_000;

/// Longest password that is hashed: one that was set here is shorter
/// ([`PASSWORD_CHARS_MAX`](super::user::PASSWORD_CHARS_MAX)).
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Why a password was not checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailed {
    /// Too many others are being checked; a moment later there is room.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl App {
    /// The account of who signs in with this address and password in the built-in directory; empty
    /// for a wrong password and for an unknown user, after the same work.
    ///
    /// # Errors
    /// [`CheckFailed::Busy`] says nothing about the password, nor about the user.
    pub fn sign_in_to_directory(
        &self,
        user: &str,
        password: &Secret,
    ) -> Result<Vec<Account>, CheckFailed> {
        let found = match (&self.shared.settings.directory, EmailAddress::parse(user)) {
            (Some(service), Ok(email)) => self
                .shared
                .store
                .view(|reader| record::user(reader, &self.shared.keys, &email))?
                .map(|user| (service, user)),
            _ => None,
        };
        let hash = found
            .as_ref()
            .and_then(|(_, user)| user.password_hash.as_deref());
        let is_right = self
            .password_checks
            .take_turn(|| is_right(hash, password))
            .ok_or(CheckFailed::Busy)?;
        Ok(found
            .filter(|_| is_right)
            .map(|(service, user)| admin::account(service, user))
            .into_iter()
            .collect())
    }
}

impl App {
    /// Whether a password has this hash. It waits for its turn like any other, so that nobody makes
    /// this machine hash more by asking at two doors.
    ///
    /// # Errors
    /// [`CheckFailed::Busy`] says nothing about the password.
    pub fn has_hash(&self, password: &Secret, hash: &HashedPassword) -> Result<bool, CheckFailed> {
        (self.password_checks)
            .take_turn(|| is_right(Some(hash.reveal()), password))
            .ok_or(CheckFailed::Busy)
    }
}

/// Lets few in at a time.
pub(super) struct Turns {
    under_way: Mutex<usize>,
    one_ended: Condvar,
    at_once_max: usize,
    wait_max: Duration,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns::new(
            PASSWORD_CHECKS_MAX,
            Duration::from_millis(PASSWORD_WAIT_MS_MAX),
        )
    }
}

impl Turns {
    fn new(at_once_max: usize, wait_max: Duration) -> Turns {
        Turns {
            under_way: Mutex::new(0),
            one_ended: Condvar::new(),
            at_once_max,
            wait_max,
        }
    }

    /// Does the work when it is its turn; `None` when that does not come in time.
    fn take_turn<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (mut under_way, waited) = self
            .one_ended
            .wait_timeout_while(under_way, self.wait_max, |under_way| {
                *under_way >= self.at_once_max
            })
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        *under_way += 1;
        drop(under_way);
        // Given back by a panic too.
        let _turn = Turn(self);
        Some(work())
    }
}

struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self
            .0
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.one_ended.notify_one();
    }
}

/// Whether a password has this hash, after one run of Argon2 whatever is missing.
fn is_right(hash: Option<&str>, password: &Secret) -> bool {
    let password = password.reveal();
    let (hash, password, can_be) = match hash {
        Some(hash) if password.len() <= PASSWORD_BYTES_MAX => (hash, password, true),
        // Neither is the length worth more work than the others cost.
        _ => (NOBODYS_HASH, "", false),
    };
    compare(hash, password).is_ok() && can_be
}

/// One run of Argon2.
fn compare(hash: &str, password: &str) -> Result<(), password_hash::Error> {
    Argon2::default().verify_password(password.as_bytes(), &PasswordHash::new(hash)?)
}

/// A hash that no password has, so that checking an unknown user costs the same.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::app::admin::tests::{PASSWORD, app, user};
    use crate::app::user::HashedPassword;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier, mpsc};

    const LONG_WAIT: Duration = Duration::from_secs(60);

    fn sign_in(app: &App, user: &str, password: &str) -> Result<Vec<Account>, CheckFailed> {
        app.sign_in_to_directory(user, &Secret::new(password))
    }

    #[test]
    fn the_right_password_gives_the_account_as_it_is_found() {
        let app = app();
        app.add_user(&user("ana@example.com", Some(PASSWORD)))
            .unwrap();
        app.add_user(&user("bea@example.com", None)).unwrap();
        let ana = EmailAddress::parse("ana@example.com").unwrap();
        let account = app.find_in_directory(&ana).unwrap();
        assert_eq!(account.len(), 1);
        assert_eq!(sign_in(&app, "ANA@Example.com", PASSWORD).unwrap(), account);
        for (user, password) in [
            ("ana@example.com", "doce perros verdeS"),
            ("ana@example.com", ""),
            ("bea@example.com", PASSWORD),
            ("bea@example.com", ""),
            ("eve@example.com", PASSWORD),
            ("eve@example.com", ""),
            ("ana", PASSWORD),
            ("", ""),
        ] {
            assert!(sign_in(&app, user, password).unwrap().is_empty(), "{user}");
        }
    }

    /// A run that ends because the hash cannot be read would be shorter than one that compares.
    #[test]
    fn nobodys_hash_costs_one_whole_run_of_argon2_as_every_hash_made_here() {
        for password in [PASSWORD, ""] {
            assert_eq!(
                compare(NOBODYS_HASH, password),
                Err(password_hash::Error::PasswordInvalid)
            );
        }
        let app = app();
        app.add_user(&user("ana@example.com", Some(PASSWORD)))
            .unwrap();
        let made = app.users().unwrap()[0].password_hash.clone().unwrap();
        let made = PasswordHash::new(&made).unwrap();
        let nobody = PasswordHash::new(NOBODYS_HASH).unwrap();
        assert_eq!(
            (made.algorithm, made.version, made.params),
            (nobody.algorithm, nobody.version, nobody.params)
        );
        assert!(HashedPassword::parse(NOBODYS_HASH).is_ok());
    }

    /// Who is refused without a turn is refused without the work, and the time tells.
    #[test]
    fn everybody_takes_a_turn_whoever_it_is() {
        let mut app = app();
        app.add_user(&user("ana@example.com", Some(PASSWORD)))
            .unwrap();
        app.add_user(&user("bea@example.com", None)).unwrap();
        app.password_checks = Arc::new(Turns::new(0, Duration::ZERO));
        let long = "x".repeat(PASSWORD_BYTES_MAX + 1);
        for (user, password) in [
            ("ana@example.com", PASSWORD),
            ("ana@example.com", "wrong"),
            ("ana@example.com", ""),
            ("ana@example.com", &long),
            ("bea@example.com", PASSWORD),
            ("eve@example.com", PASSWORD),
            ("ana", PASSWORD),
            ("", ""),
        ] {
            let answer = sign_in(&app, user, password);
            assert!(matches!(answer, Err(CheckFailed::Busy)), "{user}");
        }
    }

    #[test]
    fn a_very_long_password_is_wrong_even_where_it_is_right() {
        let hash = |bytes: usize| {
            use argon2::password_hash::PasswordHasher;
            Argon2::default()
                .hash_password_with_salt(&vec![b'x'; bytes], b"sixteen bytes...")
                .unwrap()
                .to_string()
        };
        let check = |bytes: usize| is_right(Some(&hash(bytes)), &Secret::new("x".repeat(bytes)));
        assert!(check(PASSWORD_BYTES_MAX));
        assert!(!check(PASSWORD_BYTES_MAX + 1));
        assert!(!is_right(Some(&hash(0)), &Secret::new("x".repeat(2_000))));
    }

    #[test]
    fn never_are_more_at_work_than_allowed_and_all_get_their_turn() {
        const CALLERS: usize = 24;
        let turns = Turns::new(PASSWORD_CHECKS_MAX, LONG_WAIT);
        let (at_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Nobody ends before as many as are allowed have begun: fewer at once would never end.
        let full = Barrier::new(PASSWORD_CHECKS_MAX);
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    turns
                        .take_turn(|| {
                            let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            full.wait();
                            at_work.fetch_sub(1, Ordering::SeqCst);
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), PASSWORD_CHECKS_MAX);
    }

    #[test]
    fn who_waits_too_long_is_told_and_the_next_finds_room_again() {
        let turns = Turns::new(1, Duration::from_millis(1));
        std::thread::scope(|scope| {
            let (begun, has_begun) = mpsc::channel();
            let (end, may_end) = mpsc::channel::<()>();
            let first = scope.spawn(|| {
                turns.take_turn(move || {
                    begun.send(()).unwrap();
                    may_end.recv().unwrap();
                })
            });
            has_begun.recv().unwrap();
            assert_eq!(turns.take_turn(|| ()), None);
            end.send(()).unwrap();
            assert_eq!(first.join().unwrap(), Some(()));
        });
        assert_eq!(turns.take_turn(|| ()), Some(()));
    }

    #[test]
    fn a_panic_gives_its_turn_back() {
        let turns = Turns::new(1, Duration::ZERO);
        let broken = std::panic::AssertUnwindSafe(|| turns.take_turn(|| panic!("broken")));
        assert!(std::panic::catch_unwind(broken).is_err());
        assert_eq!(turns.take_turn(|| ()), Some(()));
    }
}

//! What an operator asks for: users of the directory, and a look inside.

use super::audit::{ActOn, OperatorAct};
use super::user::HashedPassword;
use super::{App, Failed};
use crate::domain::account::{Account, Company};
use crate::domain::contact::Contact;
use crate::domain::delivery::{Entry, Lane};
use crate::domain::id::{EmailAddress, ServiceName, hex};
use crate::domain::secret::Secret;
use crate::store::record::{self, AuditLine, DeadLetter, Keys, Sent, User};
use crate::store::{StoreError, Writer};
use std::sync::Arc;

/// Users listed at once.
pub const USERS_MAX: usize = 100_000;

/// Users imported in one transaction: others wait for the body of an update they share a commit
/// with, and this many take a few milliseconds.
pub const IMPORT_USERS_MAX: usize = 250;

/// A user as an operator describes one.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The address that finds the user.
    pub email: EmailAddress,
    /// What people call the user.
    pub name: String,
    /// The company; its name is its id in the directory.
    pub company: String,
    /// Digits of the user's phone.
    pub phone: Option<String>,
    /// A password for signing in on the web.
    pub password: Option<Secret>,
}

/// What adding a user came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// A new user.
    New,
    /// There was a user with this address; it was changed.
    Changed,
}

/// What importing users came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Users that were not there before.
    pub new: usize,
    /// Users that were there and are different now.
    pub changed: usize,
    /// Users that were there just so.
    pub unchanged: usize,
}

/// What is going on inside, for a page or a list.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Contacts, in no useful order.
    pub contacts: Vec<Contact>,
    /// What waits, oldest first, lane by lane.
    pub outbox: Vec<Entry>,
    /// What was taken by Meta lately.
    pub sent: Vec<Sent>,
    /// What was given up, newest first.
    pub dead: Vec<DeadLetter>,
    /// What is written down, newest first.
    pub audit: Vec<AuditLine>,
}

impl App {
    /// Adds a user, or changes the one with this address. A password that is not given stays.
    pub fn add_user(&self, user: &NewUser) -> Result<Added, Failed> {
        let password_hash = user
            .password
            .as_ref()
            .map(|password| self.hash(password))
            .transpose()?;
        let id = format!("u-{}", hex(&self.draw(1)?[0]));
        let (now, shared, user) = (self.now(), Arc::clone(&self.shared), user.clone());
        Ok(self.update(move |writer| {
            let (keys, hash) = (&shared.keys, password_hash.as_deref());
            let (user, before) = described(writer, keys, &user, &id, hash)?;
            record::put_user(writer, keys, &user)?;
            let (added, act) = match before {
                Some(_) => (Added::Changed, OperatorAct::UserChanged),
                None => (Added::New, OperatorAct::UserAdded),
            };
            let set = hash.map(|_| OperatorAct::PasswordSet);
            for act in [Some(act), set].into_iter().flatten() {
                let on = ActOn::DirectoryUser(user.id.clone());
                shared.note_act(writer, act, on, now)?;
            }
            Ok(added)
        })?)
    }

    /// Adds or changes up to [`IMPORT_USERS_MAX`] users in one transaction, all or none. The
    /// passwords of the users themselves are not looked at; a hash that is not given stays.
    /// Importing the same users again changes nothing.
    pub fn import_users(
        &self,
        users: Vec<(NewUser, Option<HashedPassword>)>,
    ) -> Result<Imported, Failed> {
        if users.len() > IMPORT_USERS_MAX {
            return Err(Failed::Store(StoreError::Aborted("too many users at once")));
        }
        let ids: Vec<String> = self
            .draw(users.len())?
            .iter()
            .map(|fresh| format!("u-{}", hex(fresh)))
            .collect();
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        Ok(self.update(move |writer| {
            let keys = &shared.keys;
            let (mut imported, mut passwords) = (Imported::default(), 0);
            for ((user, hash), id) in users.iter().zip(&ids) {
                let hash = hash.as_ref().map(HashedPassword::reveal);
                let (user, before) = described(writer, keys, user, id, hash)?;
                let hash_before = before.as_ref().and_then(|user| user.password_hash.as_ref());
                passwords += usize::from(user.password_hash.as_ref() != hash_before);
                match before {
                    None => imported.new += 1,
                    Some(before) if before == user => {
                        imported.unchanged += 1;
                        continue;
                    }
                    Some(_) => imported.changed += 1,
                }
                record::put_user(writer, keys, &user)?;
            }
            let Imported { new, changed, .. } = imported;
            if new + changed > 0 {
                let counts = format!("{new} new, {changed} changed, {passwords} with a password");
                let on = ActOn::Thing(counts);
                shared.note_act(writer, OperatorAct::UsersImported, on, now)?;
            }
            Ok(imported)
        })?)
    }

    /// Gives a user another password; says whether there is such a user.
    pub fn set_password(&self, email: &EmailAddress, password: &Secret) -> Result<bool, Failed> {
        let hash = self.hash(password)?;
        let (now, shared, email) = (self.now(), Arc::clone(&self.shared), email.clone());
        Ok(self.update(move |writer| {
            let keys = &shared.keys;
            let Some(mut user) = record::user(writer, keys, &email)? else {
                return Ok(false);
            };
            user.password_hash = Some(hash.clone());
            record::put_user(writer, keys, &user)?;
            let on = ActOn::DirectoryUser(user.id);
            shared.note_act(writer, OperatorAct::PasswordSet, on, now)?;
            Ok(true)
        })?)
    }

    /// Removes a user; says whether there was one.
    pub fn remove_user(&self, email: &EmailAddress) -> Result<bool, Failed> {
        let (now, shared, email) = (self.now(), Arc::clone(&self.shared), email.clone());
        Ok(self.update(move |writer| {
            let keys = &shared.keys;
            let Some(user) = record::user(writer, keys, &email)? else {
                return Ok(false);
            };
            record::delete_user(writer, keys, &email)?;
            let on = ActOn::DirectoryUser(user.id);
            shared.note_act(writer, OperatorAct::UserRemoved, on, now)?;
            Ok(true)
        })?)
    }

    /// Every user, by address.
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        let mut users = self
            .shared
            .store
            .view(|reader| record::users(reader, USERS_MAX))?;
        users.sort_by_key(|user| user.email.key());
        Ok(users)
    }

    /// Up to `limit` users after the one with the address `after`: every user once, when each call
    /// goes on after the last user of the one before. In no useful order.
    pub fn users_after(
        &self,
        after: Option<&EmailAddress>,
        limit: usize,
    ) -> Result<Vec<User>, StoreError> {
        self.shared
            .store
            .view(|reader| record::users_after(reader, &self.shared.keys, after, limit))
    }

    /// Who has this address in the built-in directory; nobody when it is not a service.
    pub fn find_in_directory(&self, email: &EmailAddress) -> Result<Vec<Account>, StoreError> {
        let Some(service) = &self.shared.settings.directory else {
            return Ok(Vec::new());
        };
        let user = self
            .shared
            .store
            .view(|reader| record::user(reader, &self.shared.keys, email))?;
        Ok(user
            .into_iter()
            .map(|user| account(service, user))
            .collect())
    }

    fn hash(&self, password: &Secret) -> Result<String, Failed> {
        let hash = HashedPassword::of(password, &*self.random)?;
        Ok(hash.reveal().to_owned())
    }

    /// A look inside, at no more than `limit` of everything.
    pub fn overview(&self, limit: usize) -> Result<Overview, StoreError> {
        self.shared.store.view(|reader| {
            let mut outbox = Vec::new();
            for lane in Lane::ALL {
                outbox.extend(record::entries(reader, lane, None, limit)?);
            }
            Ok(Overview {
                contacts: record::contacts(reader, None, limit)?,
                outbox,
                sent: record::all_sent(reader, limit)?,
                dead: record::dead_letters(reader, limit)?,
                audit: record::audit(reader, limit)?,
            })
        })
    }
}

/// The user as described, and the one who had the address before. That one's id stays, and so does
/// the password if no other is given.
fn described(
    writer: &dyn Writer,
    keys: &Keys,
    user: &NewUser,
    fresh_id: &str,
    password_hash: Option<&str>,
) -> Result<(User, Option<User>), StoreError> {
    let before = record::user(writer, keys, &user.email)?;
    let (id, old_hash) = match &before {
        Some(before) => (before.id.clone(), before.password_hash.clone()),
        None => (fresh_id.to_owned(), None),
    };
    let user = User {
        id,
        email: user.email.clone(),
        name: user.name.clone(),
        company: Company {
            id: user.company.clone(),
            name: user.company.clone(),
        },
        phone: user.phone.clone(),
        password_hash: password_hash.map(str::to_owned).or(old_hash),
    };
    Ok((user, before))
}

/// A user of the directory as one of a service.
pub(super) fn account(service: &ServiceName, user: User) -> Account {
    Account {
        service: service.clone(),
        user_id: user.id,
        name: user.name,
        email: user.email,
        phone: user.phone,
        company: user.company,
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::app::{Settings, SystemClock, SystemRandom};
    use crate::domain::id::{PhoneNumberId, ServiceName};
    use crate::domain::language::Language;
    use crate::domain::policy::Policy;
    use crate::domain::time::Timestamp;
    use crate::store::{MasterKey, Memory, Sealed};
    use crate::text::{Texts, Voice};
    use argon2::Argon2;
    use argon2::password_hash::PasswordHasher;

    pub(in crate::app) fn app() -> App {
        let engine = Arc::new(Memory::new());
        // As an engine may.
        engine.run_bodies_twice(true);
        let master = MasterKey::generate().unwrap();
        let directory = ServiceName::parse("directory").unwrap();
        let settings = Settings {
            policy: Policy::default(),
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            language: Language::Spanish,
            texts: Texts::default(),
            voice: Voice {
                business: "La Espiga".to_owned(),
                services: vec![(directory.clone(), "La Espiga".to_owned())],
                code_digits: 8,
                code_minutes: 10,
                methods: Policy::default().methods,
                link_minutes: 10,
            },
            directory: Some(directory),
            places: crate::app::Places::default(),
            hands_on: false,
            tells_events: false,
            identity: crate::app::IdentitySettings::default(),
        };
        App::new(
            Sealed::open(engine, &master).unwrap(),
            Keys::new(master),
            settings,
            Arc::new(SystemClock::new(Timestamp(0))),
            Arc::new(SystemRandom),
        )
        .unwrap()
    }

    pub(in crate::app) fn user(email: &str, password: Option<&str>) -> NewUser {
        NewUser {
            password: password.map(Secret::new),
            ..NewUser::parse(email, "Ana", "Espiga", "34600111222").unwrap()
        }
    }

    fn address(email: &str) -> EmailAddress {
        EmailAddress::parse(email).unwrap()
    }

    pub(in crate::app) const PASSWORD: &str = "doce perros verdes";

    fn opens(app: &App, email: &str, password: &str) -> bool {
        let accounts = app.sign_in_to_directory(email, &Secret::new(password));
        !accounts.unwrap().is_empty()
    }

    #[test]
    fn who_is_added_is_found_and_only_the_own_password_opens() {
        let app = app();
        let ana = address("ANA@example.com");
        let right = |password: &str| opens(&app, ana.as_str(), password);
        assert_eq!(
            app.add_user(&user("ana@example.com", None)).unwrap(),
            Added::New
        );
        let found = app.find_in_directory(&ana).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].phone.as_deref(), Some("34600111222"));
        assert!(!right(PASSWORD) && !right(""), "there is no password yet");
        assert!(app.set_password(&ana, &Secret::new(PASSWORD)).unwrap());
        assert!(right(PASSWORD) && !right("doce perros verdeS"));
        // Changed without a password: id and password stay.
        assert_eq!(
            app.add_user(&user("ana@example.com", None)).unwrap(),
            Added::Changed
        );
        assert!(right(PASSWORD));
        assert_eq!(
            app.find_in_directory(&ana).unwrap()[0].user_id,
            found[0].user_id
        );
        assert_eq!(
            app.add_user(&user("ana@example.com", Some("otra más larga")))
                .unwrap(),
            Added::Changed
        );
        assert!(!right(PASSWORD) && right("otra más larga"));
        assert!(app.remove_user(&ana).unwrap() && !app.remove_user(&ana).unwrap());
        assert!(!right("otra más larga") && app.find_in_directory(&ana).unwrap().is_empty());
        assert!(!app.set_password(&ana, &Secret::new(PASSWORD)).unwrap());
    }

    #[test]
    fn users_are_listed_by_address_and_in_pieces_each_once() {
        let app = app();
        let all: Vec<String> = (0..25).map(|n| format!("user{n:02}@example.com")).collect();
        for email in all.iter().rev() {
            app.add_user(&user(email, None)).unwrap();
        }
        let addresses = |users: &[User]| -> Vec<String> {
            users
                .iter()
                .map(|user| user.email.as_str().to_owned())
                .collect()
        };
        assert_eq!(addresses(&app.users().unwrap()), all);
        let pieces = |remove_last: bool| {
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let piece = app.users_after(after.as_ref(), 10).unwrap();
                let Some(last) = piece.last() else { break };
                after = Some(last.email.clone());
                listed.extend(addresses(&piece));
                if remove_last {
                    app.remove_user(&last.email).unwrap();
                }
            }
            listed.sort();
            listed
        };
        assert_eq!(pieces(false), all);
        assert_eq!(pieces(true), all, "who leaves meanwhile ended the list");
        assert_eq!(app.users().unwrap().len(), all.len() - 3);
    }

    #[test]
    fn importing_is_all_or_nothing_and_the_second_time_nothing() {
        let app = app();
        let hash = |password: &str| {
            let hash = app.hash(&Secret::new(password)).unwrap();
            HashedPassword::parse(&hash).unwrap()
        };
        let ana = || (user("ana@example.com", None), None);
        let first = vec![ana(), (user("bea@example.com", None), Some(hash(PASSWORD)))];
        let counts = |new, changed, unchanged| Imported {
            new,
            changed,
            unchanged,
        };
        assert_eq!(app.import_users(first.clone()).unwrap(), counts(2, 0, 0));
        assert_eq!(app.import_users(first).unwrap(), counts(0, 0, 2));
        assert!(opens(&app, "bea@example.com", PASSWORD));
        let without_hash = vec![(user("bea@example.com", None), None), ana()];
        assert_eq!(app.import_users(without_hash).unwrap(), counts(0, 0, 2));
        assert!(opens(&app, "bea@example.com", PASSWORD));
        let other = vec![(user("bea@example.com", None), Some(hash("otra más larga")))];
        assert_eq!(app.import_users(other).unwrap(), counts(0, 1, 0));
        assert!(!opens(&app, "bea@example.com", PASSWORD));
        let many = (0..=IMPORT_USERS_MAX)
            .map(|n| (user(&format!("u{n}@example.com"), None), None))
            .collect();
        assert!(app.import_users(many).is_err());
        assert_eq!(app.users().unwrap().len(), 2);
    }

    /// A hash from elsewhere has other parameters; it is checked with its own.
    #[test]
    fn a_hash_with_other_parameters_is_checked_with_them() {
        let app = app();
        let params = argon2::Params::new(9_216, 4, 2, None).unwrap();
        let elsewhere = Argon2::from(params)
            .hash_password_with_salt(PASSWORD.as_bytes(), b"sixteen bytes...")
            .unwrap()
            .to_string();
        let hash = HashedPassword::parse(&elsewhere).unwrap();
        app.import_users(vec![(user("ana@example.com", None), Some(hash))])
            .unwrap();
        let check = |password: &str| opens(&app, "ana@example.com", password);
        assert!(check(PASSWORD) && !check("doce perros negros"));
    }
}

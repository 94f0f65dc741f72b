//! What an operator asks for: users of the directory, and a look inside.

use super::{App, Failed};
use crate::domain::account::{Account, Company};
use crate::domain::contact::Contact;
use crate::domain::delivery::{Entry, Lane};
use crate::domain::id::{EmailAddress, Secret};
use crate::store::StoreError;
use crate::store::record::{self, AuditLine, DeadLetter, Sent, User};
use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::sync::Arc;

/// Users listed at once.
pub const USERS_MAX: usize = 100_000;

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
        let (keys, user) = (self.shared.keys.clone(), user.clone());
        Ok(self.shared.store.update(move |writer| {
            let before = record::user(writer, &keys, &user.email)?;
            let added = if before.is_some() {
                Added::Changed
            } else {
                Added::New
            };
            let (id, old_hash) = match before {
                Some(before) => (before.id, before.password_hash),
                None => (id.clone(), None),
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
                password_hash: password_hash.clone().or(old_hash),
            };
            record::put_user(writer, &keys, &user)?;
            Ok(added)
        })?)
    }

    /// Gives a user another password; says whether there is such a user.
    pub fn set_password(&self, email: &EmailAddress, password: &Secret) -> Result<bool, Failed> {
        let hash = self.hash(password)?;
        let (keys, email) = (self.shared.keys.clone(), email.clone());
        Ok(self.shared.store.update(move |writer| {
            let Some(mut user) = record::user(writer, &keys, &email)? else {
                return Ok(false);
            };
            user.password_hash = Some(hash.clone());
            record::put_user(writer, &keys, &user)?;
            Ok(true)
        })?)
    }

    /// Removes a user; says whether there was one.
    pub fn remove_user(&self, email: &EmailAddress) -> Result<bool, Failed> {
        let (keys, email) = (self.shared.keys.clone(), email.clone());
        Ok(self
            .shared
            .store
            .update(move |writer| record::delete_user(writer, &keys, &email))?)
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
            .map(|user| Account {
                service: service.clone(),
                user_id: user.id,
                name: user.name,
                email: user.email,
                phone: user.phone,
                company: user.company,
            })
            .collect())
    }

    /// Whether this is the user's password. Takes as long for an unknown user as for a known one.
    pub fn check_password(
        &self,
        email: &EmailAddress,
        password: &Secret,
    ) -> Result<bool, StoreError> {
        let user = self
            .shared
            .store
            .view(|reader| record::user(reader, &self.shared.keys, email))?;
        let hash = user.and_then(|user| user.password_hash);
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.to_owned());
        let matches = PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.reveal().as_bytes(), &hash)
                .is_ok()
        });
        Ok(known && matches)
    }

    fn hash(&self, password: &Secret) -> Result<String, Failed> {
        let salt = self.draw(1)?[0];
        Argon2::default()
            .hash_password_with_salt(password.reveal().as_bytes(), &salt)
            .map(|hash| hash.to_string())
            .map_err(|_| Failed::Store(StoreError::Aborted("the password cannot be hashed")))
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

    /// Notes the time, so that a clock that is set back while Portero is down revives nothing.
    pub fn note_time(&self) -> Result<(), Failed> {
        let now = self.now();
        Ok(Arc::clone(&self.shared)
            .store
            .update(move |writer| record::put_latest_moment(writer, now))?)
    }
}

/// A hash that no password has, so that checking an unknown user costs the same.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

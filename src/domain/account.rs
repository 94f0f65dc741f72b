//! Users in the company's services.

use super::id::{EmailAddress, ServiceName};

/// A user in a service, with its company, as the service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Which service answered.
    pub service: ServiceName,
    /// The service's own id of the user; opaque.
    pub user_id: String,
    /// What people call the user.
    pub name: String,
    /// The address on file: the only one that is ever written to (S-21).
    pub email: EmailAddress,
    /// Digits of the phone on file, when the service keeps one.
    pub phone: Option<String>,
    /// The company the user belongs to.
    pub company: Company,
}

impl Account {
    /// Longest id, name or phone taken from a service, in characters.
    pub const TEXT_CHARS_MAX: usize = 200;
}

/// A company, as a service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Company {
    /// The service's own id; opaque.
    pub id: String,
    /// What people call it.
    pub name: String,
}

/// What one service said about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which service.
    pub service: ServiceName,
    /// Its users with that address; `Err` is *no answer* and never means *no user* (R-40).
    pub users: Result<Vec<Account>, Unavailable>,
}

/// A service that did not answer, or answered what the contract does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// For the operator: a few words, nothing personal.
    pub reason: String,
}

//! Users of the built-in directory.

use super::{Keys, collect, damaged, read, write};
use crate::domain::account::Company;
use crate::domain::id::EmailAddress;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

/// A user of the built-in directory.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Names the user in bindings; never used again for another.
    pub id: String,
    /// The address that finds the user.
    pub email: EmailAddress,
    /// What people call the user.
    pub name: String,
    /// The company the user belongs to.
    pub company: Company,
    /// Digits of the user's phone, when known.
    pub phone: Option<String>,
    /// Argon2id in PHC form, when the user has a password.
    pub password_hash: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct UserRecord {
    id: String,
    email: String,
    name: String,
    company_id: String,
    company_name: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    password_hash: Option<String>,
}

/// The user with this address.
pub fn user(
    reader: &dyn Reader,
    keys: &Keys,
    email: &EmailAddress,
) -> Result<Option<User>, StoreError> {
    let Some(bytes) = reader.get(Table::Directory, &keys.address(email))? else {
        return Ok(None);
    };
    read_user(&bytes).map(Some)
}

fn read_user(bytes: &[u8]) -> Result<User, StoreError> {
    let record: UserRecord = read(Table::Directory, bytes)?;
    Ok(User {
        id: record.id,
        email: EmailAddress::parse(&record.email).map_err(damaged(Table::Directory))?,
        name: record.name,
        company: Company {
            id: record.company_id,
            name: record.company_name,
        },
        phone: record.phone,
        password_hash: record.password_hash,
    })
}

/// Stores a user.
pub fn put_user(writer: &mut dyn Writer, keys: &Keys, user: &User) -> Result<(), StoreError> {
    let record = UserRecord {
        id: user.id.clone(),
        email: user.email.as_str().to_owned(),
        name: user.name.clone(),
        company_id: user.company.id.clone(),
        company_name: user.company.name.clone(),
        phone: user.phone.clone(),
        password_hash: user.password_hash.clone(),
    };
    writer.put(
        Table::Directory,
        &keys.address(&user.email),
        &write(Table::Directory, &record)?,
    )
}

/// Removes a user; says whether there was one.
pub fn delete_user(
    writer: &mut dyn Writer,
    keys: &Keys,
    email: &EmailAddress,
) -> Result<bool, StoreError> {
    let key = keys.address(email);
    let known = writer.get(Table::Directory, &key)?.is_some();
    writer.delete(Table::Directory, &key)?;
    Ok(known)
}

/// Up to `limit` users, in no useful order.
pub fn users(reader: &dyn Reader, limit: usize) -> Result<Vec<User>, StoreError> {
    collect(
        reader,
        Table::Directory,
        KeyRange::all(),
        Order::Forward,
        limit,
        |_, bytes| read_user(bytes),
    )
}

/// Up to `limit` users after the one with the address `after`, whether that one still exists or
/// not; always in the same order, which is not a useful one.
pub fn users_after(
    reader: &dyn Reader,
    keys: &Keys,
    after: Option<&EmailAddress>,
    limit: usize,
) -> Result<Vec<User>, StoreError> {
    let start = after.map_or(Bound::Unbounded, |email| {
        Bound::Excluded(keys.address(email))
    });
    let range = KeyRange::new(start.as_ref().map(|key| &key[..]), Bound::Unbounded);
    collect(
        reader,
        Table::Directory,
        range,
        Order::Forward,
        limit,
        |_, bytes| read_user(bytes),
    )
}

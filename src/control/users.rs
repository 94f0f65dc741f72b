//! The users of the directory, as the command line writes and sees them.

use super::Answer;
use crate::app::App;
use crate::app::admin::{Added, IMPORT_USERS_MAX, NewUser};
use crate::app::user::{self, FieldProblem, HashedPassword};
use crate::domain::id::{EmailAddress, Malformed};
use crate::domain::secret::Secret;
use crate::store::record::User;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Users listed in one answer; who wants more asks again.
pub const LIST_USERS_MAX: usize = 1_000;

/// A user as somebody wrote one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserText {
    /// The address.
    pub email: String,
    /// What people call the user.
    pub name: String,
    /// The company.
    pub company: String,
    /// The phone; empty if there is none.
    pub phone: String,
}

impl UserText {
    /// Reads it.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn parse(&self) -> Result<NewUser, Vec<FieldProblem>> {
        NewUser::parse(&self.email, &self.name, &self.company, &self.phone)
    }
}

/// A password or the hash of one, on its way through the socket and nowhere else.
#[derive(Clone)]
pub struct Hidden(Secret);

impl Hidden {
    /// Takes it.
    pub fn new(secret: Secret) -> Hidden {
        Hidden(secret)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.reveal())
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hidden, D::Error> {
        Ok(Hidden(Secret::new(String::deserialize(deserializer)?)))
    }
}

/// A user in a list. No hash: whether there is a password is all that anybody has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLine {
    /// Names the user in bindings.
    pub id: String,
    /// The address.
    pub email: String,
    /// What people call the user.
    pub name: String,
    /// The company.
    pub company: String,
    /// Digits of the phone.
    pub phone: Option<String>,
    /// Whether the user has a password.
    pub password: bool,
}

impl From<User> for UserLine {
    fn from(user: User) -> UserLine {
        UserLine {
            id: user.id,
            email: user.email.as_str().to_owned(),
            name: user.name,
            company: user.company.name,
            phone: user.phone,
            password: user.password_hash.is_some(),
        }
    }
}

pub(super) fn list(app: &App, after: Option<&str>) -> Result<Answer, Answer> {
    let after = after.map(address).transpose()?;
    let users = app.users_after(after.as_ref(), LIST_USERS_MAX)?;
    Ok(Answer::Users {
        users: users.into_iter().map(UserLine::from).collect(),
    })
}

pub(super) fn add(app: &App, user: &UserText, password: Option<&Hidden>) -> Result<Answer, Answer> {
    let mut user = user.parse().map_err(refused)?;
    user.password = password.map(new_password).transpose()?;
    Ok(Answer::UserAdded {
        changed: app.add_user(&user)? == Added::Changed,
    })
}

pub(super) fn set_password(app: &App, email: &str, password: &Hidden) -> Result<Answer, Answer> {
    let (email, password) = (address(email)?, new_password(password)?);
    Ok(match app.set_password(&email, &password)? {
        true => Answer::PasswordSet,
        false => Answer::NoSuchUser,
    })
}

pub(super) fn remove(app: &App, email: &str) -> Result<Answer, Answer> {
    Ok(match app.remove_user(&address(email)?)? {
        true => Answer::UserRemoved,
        false => Answer::NoSuchUser,
    })
}

pub(super) fn import(app: &App, users: &[(UserText, Option<Hidden>)]) -> Result<Answer, Answer> {
    if users.len() > IMPORT_USERS_MAX {
        return Err(Answer::refused(format!(
            "{IMPORT_USERS_MAX} users at once are the most"
        )));
    }
    let users = users.iter().map(|(user, hash)| {
        let user = user.parse().map_err(refused)?;
        let hash = hash
            .as_ref()
            .map(|hash| HashedPassword::parse(hash.0.reveal()).map_err(of_field("password_hash")));
        Ok((user, hash.transpose()?))
    });
    let imported = app.import_users(users.collect::<Result<_, Answer>>()?)?;
    Ok(Answer::UsersImported {
        new: imported.new,
        changed: imported.changed,
        unchanged: imported.unchanged,
    })
}

impl From<FieldProblem> for Answer {
    fn from(problem: FieldProblem) -> Answer {
        Answer::refused(problem)
    }
}

fn refused(problems: Vec<FieldProblem>) -> Answer {
    let sentences: Vec<String> = problems.iter().map(FieldProblem::to_string).collect();
    Answer::refused(sentences.join("\n"))
}

fn of_field(field: &'static str) -> impl Fn(Malformed) -> FieldProblem {
    move |words| FieldProblem { field, words }
}

fn address(text: &str) -> Result<EmailAddress, FieldProblem> {
    EmailAddress::parse(text).map_err(of_field("email"))
}

fn new_password(hidden: &Hidden) -> Result<Secret, FieldProblem> {
    user::password(hidden.0.reveal()).map_err(of_field("password"))
}

//! Where in an answer the things are that Portero reads: JSON pointers, with those of the
//! documented contract as defaults.

use super::template::{Call, Question};
use crate::domain::account::{Account, Company};
use serde_json::Value;

/// Longest pointer, in bytes.
const POINTER_BYTES_MAX: usize = 200;

/// Names that are shown of an object in which something is missing, and the longest of them.
const NAMES_MAX: usize = 12;
const NAME_CHARS_MAX: usize = 40;

/// A place in a JSON document (RFC 6901); the empty one is the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(String);

impl Pointer {
    /// The refusal is words that follow the name of what was read.
    pub fn parse(text: &str) -> Result<Pointer, String> {
        let escapes_are_whole = text
            .split('~')
            .skip(1)
            .all(|after| after.starts_with(['0', '1']));
        let begins = text.is_empty() || text.starts_with('/');
        if begins && escapes_are_whole && text.len() <= POINTER_BYTES_MAX {
            Ok(Pointer(text.to_owned()))
        } else {
            Err(
                "must be a JSON pointer: a slash before each name, such as \"/data/items\", or \"\" for the whole answer"
                    .to_owned(),
            )
        }
    }

    fn fixed(text: &'static str) -> Pointer {
        Pointer(text.to_owned())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is there.
    pub fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        value.pointer(&self.0)
    }
}

/// A pointer, and the key of the configuration that is to be changed when nothing is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub pointer: Pointer,
    /// `services.find_user.users` and so on.
    pub key: String,
}

impl Place {
    /// As configured.
    pub fn new(pointer: Pointer, key: String) -> Place {
        Place { pointer, key }
    }

    /// Where the documented contract has it.
    const fn documented(pointer: &'static str, key: &'static str) -> Documented {
        Documented { pointer, key }
    }

    /// What is there, if it is not `null`.
    pub(super) fn of<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.pointer.of(value).filter(|found| !found.is_null())
    }

    /// What the operator is told when nothing is there: the pointer and the names that are in
    /// `value`, never what stands behind them.
    pub(super) fn missing_in(&self, value: &Value, what: &str) -> String {
        format!(
            "nothing at {:?} ({}) in {what}, {}",
            self.pointer.as_str(),
            self.key,
            names_in(value)
        )
    }
}

struct Documented {
    pointer: &'static str,
    key: &'static str,
}

impl Documented {
    fn place(&self) -> Place {
        Place::new(Pointer::fixed(self.pointer), self.key.to_owned())
    }
}

/// The names in an object, as far as they are words and not data: a table by address or number has
/// people's addresses or numbers for names.
pub fn names_in(value: &Value) -> String {
    let members = match value {
        Value::Object(members) if members.is_empty() => return "which is empty".to_owned(),
        Value::Object(members) => members,
        Value::Array(items) if items.is_empty() => return "which is an empty list".to_owned(),
        Value::Array(_) => return "which is a list".to_owned(),
        Value::Null => return "which is null".to_owned(),
        Value::String(_) => return "which is a text".to_owned(),
        Value::Bool(_) | Value::Number(_) => return "which is a number or a switch".to_owned(),
    };
    let mut names: Vec<&str> = members
        .keys()
        .map(String::as_str)
        .filter(|name| is_word(name))
        .collect();
    names.truncate(NAMES_MAX);
    match (names.len(), members.len() - names.len()) {
        (0, others) => format!("which has {others} names that are no words"),
        (_, 0) => format!("which has {}", names.join(", ")),
        (_, others) => format!("which has {} and {others} more", names.join(", ")),
    }
}

/// Whether a name is of the document's form and not of its content.
pub(super) fn is_word(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || "_@$".contains(c))
        && name
            .bytes()
            .skip(1)
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        && name.bytes().filter(u8::is_ascii_digit).count() <= 2
}

/// Where the address on file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmailPlace {
    /// In the answer.
    At(Place),
    /// Nowhere: whoever was asked for by an address has that address. The operator's word stands
    /// for the check that nothing but an exact address finds anybody (S-21, S-84).
    AsAsked,
}

/// Where the company is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompanyPlace {
    /// In each user.
    At {
        /// Its id.
        id: Place,
        /// What people call it.
        name: Place,
    },
    /// All users are of this one.
    Always(Company),
}

/// How an answer about users is read. The places but `users` are within one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsersShape {
    /// The list, or the one user.
    pub users: Place,
    /// Whether nothing or `null` there says that nobody was found.
    pub absent_is_nobody: bool,
    /// The service's id of the user.
    pub id: Place,
    /// What people call the user.
    pub name: Place,
    /// The address on file.
    pub email: EmailPlace,
    /// The phone on file; may be missing.
    pub phone: Place,
    /// The user's company.
    pub company: CompanyPlace,
    /// The status that says that nobody was found.
    pub nobody_status: u16,
    /// Exactly the contract: an object in place of the list is a mistake, and 201 no answer.
    pub(super) documented: bool,
}

/// The contract's places.
const USERS: Documented = Place::documented("/users", "services.find_user.users");
const ID: Documented = Place::documented("/id", "services.find_user.id");
const NAME: Documented = Place::documented("/name", "services.find_user.name");
const EMAIL: Documented = Place::documented("/email", "services.find_user.email");
const PHONE: Documented = Place::documented("/phone", "services.find_user.phone");
const COMPANY_ID: Documented = Place::documented("/company/id", "services.find_user.company_id");
const COMPANY_NAME: Documented =
    Place::documented("/company/name", "services.find_user.company_name");
const TOKEN: Documented = Place::documented("/token", "services.issue_token.token");
const TOKEN_TYPE: Documented = Place::documented("/tokenType", "services.issue_token.token_type");
const EXPIRES_IN: Documented = Place::documented("/expiresIn", "services.issue_token.expires_in");

impl UsersShape {
    /// As the contract has it, to be changed.
    pub fn like_documented() -> UsersShape {
        UsersShape {
            documented: false,
            ..UsersShape::documented()
        }
    }

    /// The same for answers that are not of the contract.
    pub fn in_shape(self) -> UsersShape {
        UsersShape {
            documented: false,
            ..self
        }
    }

    pub(super) fn documented() -> UsersShape {
        UsersShape {
            users: USERS.place(),
            absent_is_nobody: false,
            id: ID.place(),
            name: NAME.place(),
            email: EmailPlace::At(EMAIL.place()),
            phone: PHONE.place(),
            company: CompanyPlace::At {
                id: COMPANY_ID.place(),
                name: COMPANY_NAME.place(),
            },
            nobody_status: 404,
            documented: true,
        }
    }
}

/// What kind of token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenTypePlace {
    /// The answer says it.
    At(Place),
    /// Always this one, visible ASCII.
    Always(String),
}

/// How long a token lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifetimePlace {
    /// The answer says it, in seconds.
    At(Place),
    /// Always so many seconds.
    Always(u64),
}

/// How an answer with a token is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// The token.
    pub token: Place,
    /// For example `Bearer`.
    pub token_type: TokenTypePlace,
    /// From the moment of the answer.
    pub lifetime: LifetimePlace,
    /// Exactly the contract: digits in a text are no number.
    pub(super) documented: bool,
}

impl TokenShape {
    /// As the contract has it, to be changed.
    pub fn like_documented() -> TokenShape {
        TokenShape {
            documented: false,
            ..TokenShape::documented()
        }
    }

    pub(super) fn documented() -> TokenShape {
        TokenShape {
            token: TOKEN.place(),
            token_type: TokenTypePlace::At(TOKEN_TYPE.place()),
            lifetime: LifetimePlace::At(EXPIRES_IN.place()),
            documented: true,
        }
    }
}

/// A word that can name a kind of token; the refusal follows the name of the key.
pub fn token_type(word: &str) -> Result<String, String> {
    let visible = word.bytes().all(|b| b.is_ascii_graphic());
    if visible && (1..=Account::TEXT_CHARS_MAX).contains(&word.len()) {
        Ok(word.to_owned())
    } else {
        Err(
            "must be a JSON pointer such as \"/token_type\", or a word such as \"Bearer\""
                .to_owned(),
        )
    }
}

/// A call about users: how it is asked and how its answer is read.
#[derive(Clone, Debug)]
pub struct UsersCall {
    /// What is sent.
    pub question: Question,
    /// What comes back.
    pub answer: UsersShape,
}

impl UsersCall {
    /// The documented call at this address; `https`, or `http` to loopback. The refusal is words
    /// that follow the name of the key.
    pub fn find_user(url: &str) -> Result<UsersCall, String> {
        UsersCall::documented(Call::FindUser, url)
    }

    /// The same that asks about a password.
    pub fn check_password(url: &str) -> Result<UsersCall, String> {
        UsersCall::documented(Call::CheckPassword, url)
    }

    fn documented(call: Call, url: &str) -> Result<UsersCall, String> {
        Ok(UsersCall {
            question: Question::documented(call, url)?,
            answer: UsersShape::documented(),
        })
    }
}

/// The call for a token: how it is asked and how its answer is read.
#[derive(Clone, Debug)]
pub struct TokenCall {
    /// What is sent.
    pub question: Question,
    /// What comes back.
    pub answer: TokenShape,
}

impl TokenCall {
    /// The documented call at this address; `https`, or `http` to loopback. The refusal is words
    /// that follow the name of the key.
    pub fn issue_token(url: &str) -> Result<TokenCall, String> {
        Ok(TokenCall {
            question: Question::documented(Call::IssueToken, url)?,
            answer: TokenShape::documented(),
        })
    }
}

#[cfg(test)]
mod tests;

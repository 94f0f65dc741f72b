//! Who calls, and what they may ask for.

use crate::domain::id::ServiceName;
use crate::domain::secret::Secret;
use crate::web::request::bearer;
use rouille::Request;

/// What a caller may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiScope {
    /// `POST /v1/tokens`.
    Tokens,
    /// `POST /v1/sign-in-links`.
    SignInLinks,
    /// `POST /v1/challenges` and what became of them.
    Challenges,
    /// `GET /v1/contacts/{userUuid}`.
    ReadContacts,
    /// `DELETE /v1/contacts/{userUuid}/bindings`.
    ReleaseContacts,
    /// To name a person without the identity that came with their message: for what no hostile text
    /// can talk into anything (S-51).
    AnyContact,
}

impl ApiScope {
    /// Every scope.
    pub const ALL: [ApiScope; 6] = [
        ApiScope::Tokens,
        ApiScope::SignInLinks,
        ApiScope::Challenges,
        ApiScope::ReadContacts,
        ApiScope::ReleaseContacts,
        ApiScope::AnyContact,
    ];

    /// Its name in configuration and interface.
    pub fn name(self) -> &'static str {
        match self {
            ApiScope::Tokens => "tokens",
            ApiScope::SignInLinks => "sign_in_links",
            ApiScope::Challenges => "challenges",
            ApiScope::ReadContacts => "contacts:read",
            ApiScope::ReleaseContacts => "contacts:release",
            ApiScope::AnyContact => "any_contact",
        }
    }
}

/// A key of the API, as configured.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its name in configuration and log.
    pub name: ServiceName,
    /// What the caller sends as `Authorization: Bearer`, at least 32 visible ASCII characters;
    /// different from that of every other key.
    pub key: Secret,
    /// What it is good for.
    pub scopes: Vec<ApiScope>,
    /// The services whose tokens it may have; all if not set.
    pub services: Option<Vec<ServiceName>>,
    /// Whether its tokens are never good for more than what can be undone (S-53).
    pub first_hours_only: bool,
}

impl ApiKey {
    pub(super) fn may(&self, scope: ApiScope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it may have tokens of this service.
    pub fn gets_tokens_of(&self, service: &ServiceName) -> bool {
        self.may(ApiScope::Tokens) && self.may_use(service)
    }

    pub(super) fn may_use(&self, service: &ServiceName) -> bool {
        (self.services.as_ref()).is_none_or(|services| services.contains(service))
    }
}

/// Whose key came with the request. All are looked at, so that the time does not tell which came
/// near (S-50).
pub(super) fn caller<'k>(keys: &'k [ApiKey], request: &Request) -> Option<&'k ApiKey> {
    let given = bearer(request)?;
    let mut known = None;
    for key in keys {
        if key.key.matches(given) {
            known = Some(key);
        }
    }
    known
}

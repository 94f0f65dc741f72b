//! Who wrote a message, for the bot: a token that names the contact and what they proved, and the
//! way back from such a token to the contact.
//!
//! A bot that is talked into something can show only the identity that came with the message, never
//! somebody else's (S-51).

use super::{App, Shared};
use crate::domain::binding::{Binding, Scope};
use crate::domain::contact::Contact;
use crate::domain::id::{ContactId, MessageId, hex};
use crate::domain::policy::Policy;
use crate::domain::secret::Secret;
use crate::domain::time::{SECOND_MS, Timestamp};
use crate::signing::{CLAIMS_BYTES_MAX, Dated, Expected, Kind, TOKEN_LIFETIME_MS_MAX};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use crate::signing::Refused;

/// For whom identities are: their `aud`.
pub const AUDIENCE: &str = "bot";

/// Longest life of an identity.
pub const IDENTITY_LIFETIME_MS_MAX: u64 = Kind::Identity.lifetime_ms_max();

/// How tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// Who signs, as tokens say: the public address, so that verifiers find the keys.
    pub issuer: String,
    /// How long an identity holds.
    pub lifetime_ms: u64,
    /// How long a key signs.
    pub rotate_ms: u64,
}

impl Default for IdentitySettings {
    fn default() -> IdentitySettings {
        IdentitySettings {
            issuer: "portero".to_owned(),
            lifetime_ms: IDENTITY_LIFETIME_MS_MAX,
            rotate_ms: 90 * crate::domain::time::DAY_MS,
        }
    }
}

/// Most users whom an identity can stand for; whoever is left out has to sign in anew.
const USERS_MAX: usize = 64;

/// Bytes of a user's mark: nobody can look for another user with the same one, for they are made
/// with a key of ours.
const MARK_BYTES: usize = 8;

/// As whom somebody was signed in when they wrote, as marks that tell users apart and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(Vec<[u8; MARK_BYTES]>);

impl Users {
    /// Whether they were signed in at all.
    pub fn is_anybody(&self) -> bool {
        !self.0.is_empty()
    }

    fn parse(text: &str) -> Option<Users> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (marks, rest) = bytes.as_chunks();
        rest.is_empty().then(|| Users(marks.to_vec()))
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_flattened())
    }
}

/// Whom a call of a bot is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The contact.
    pub contact: ContactId,
    /// As whom they were signed in when they wrote what is acted upon: nothing that is somebody
    /// else's is told, proved or ended on account of it. Empty where the contact was named without
    /// a message.
    pub users: Users,
}

impl From<ContactId> for Subject {
    fn from(contact: ContactId) -> Subject {
        Subject {
            contact,
            users: Users::default(),
        }
    }
}

/// What a verified identity stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who wrote.
    pub contact: ContactId,
    /// The message that it came with.
    pub message: MessageId,
    /// As whom they were signed in.
    pub users: Users,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

impl From<Identity> for Subject {
    fn from(identity: Identity) -> Subject {
        Subject {
            contact: identity.contact,
            users: identity.users,
        }
    }
}

/// A token for a user of the built-in directory.
#[derive(Clone, Debug)]
pub struct DirectoryToken {
    /// The JWT.
    pub token: Secret,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

impl App {
    /// The contact and the message that an identity stands for. Whether the contact is still bound
    /// is another question.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn identity(&self, token: &str) -> Result<Identity, Refused> {
        let expected = Expected {
            kind: Kind::Identity,
            issuer: &self.shared.settings.identity.issuer,
            audience: AUDIENCE,
        };
        let claims: Told = self.shared.ring().verify(token, &expected, self.now())?;
        Ok(Identity {
            contact: ContactId::parse(&claims.sub).map_err(|_| Refused::Malformed)?,
            message: MessageId::parse(&claims.jti).map_err(|_| Refused::Malformed)?,
            users: Users::parse(&claims.users).ok_or(Refused::Malformed)?,
            expires_at: Timestamp(claims.exp.saturating_mul(SECOND_MS)),
        })
    }

    /// The identity that goes with a message to the bot now. Whom the chat is bound to
    /// only since `bound_before` is left out: whoever wrote the message had not proved it yet.
    pub fn identity_of(
        &self,
        contact: &Contact,
        message: &MessageId,
        bound_before: Timestamp,
    ) -> Secret {
        let now = self.now();
        self.shared.identity_of(contact, message, bound_before, now)
    }

    /// A token with which the bot acts for a user of the built-in directory from now on: for at most
    /// `lifetime_ms` and [`TOKEN_LIFETIME_MS_MAX`], in at most `scope`.
    pub fn directory_token(
        &self,
        contact: &Contact,
        binding: &Binding,
        scope: Scope,
        lifetime_ms: u64,
    ) -> DirectoryToken {
        let now = self.now();
        self.shared
            .directory_token(contact, binding, scope, lifetime_ms, now)
    }
}

impl Shared {
    /// [`App::identity_of`], at a moment.
    pub(super) fn identity_of(
        &self,
        contact: &Contact,
        message: &MessageId,
        bound_before: Timestamp,
        now: Timestamp,
    ) -> Secret {
        let settings = &self.settings.identity;
        let policy = &self.settings.policy;
        let lifetime_ms = settings.lifetime_ms.min(IDENTITY_LIFETIME_MS_MAX);
        let bindings: Vec<&Binding> = (contact.bindings.iter())
            .filter(|binding| binding.bound_since <= bound_before)
            // What time has ended ends with the next message; until then nothing stands on it.
            .filter(|_| contact.outlived(now, policy).is_none())
            .collect();
        // No more than the least of them allows, as everywhere.
        let scope = bindings.iter().map(|binding| binding.scope(now, policy));
        let contact_id = contact.id.to_string();
        let claims = IdentityClaims {
            iss: &settings.issuer,
            aud: AUDIENCE,
            sub: &contact_id,
            jti: message.as_str(),
            iat: now.seconds(),
            exp: now.plus_ms(lifetime_ms).seconds(),
            contact: ContactClaims {
                user_uuid: &contact_id,
                language: contact.language.code(),
                number_ending: contact.number_ending(),
            },
            users: self.users(contact, bound_before).text(),
            scopes: scope.min().map(Scope::name).into_iter().collect(),
            bindings: (bindings.iter())
                .map(|binding| BindingClaims::new(binding, binding.scope(now, policy)))
                .collect(),
        };
        let claims = fitting(claims, &bindings);
        self.ring().sign(Kind::Identity, &claims, now)
    }

    /// Whom an identity stands for. Who proved only afterwards who they are was somebody else or
    /// nobody when they wrote; nobody knows any more, so it is somebody who has no mark.
    fn users(&self, contact: &Contact, bound_before: Timestamp) -> Users {
        let mut newest: Vec<&Binding> = contact.bindings.iter().collect();
        newest.sort_by_key(|binding| std::cmp::Reverse(binding.proved_at));
        let marks = newest.into_iter().take(USERS_MAX).map(|binding| {
            if binding.bound_since <= bound_before {
                self.mark(contact.id, binding)
            } else {
                [0; MARK_BYTES]
            }
        });
        Users(marks.collect())
    }

    fn mark(&self, contact: ContactId, binding: &Binding) -> [u8; MARK_BYTES] {
        let parts: [&[u8]; 4] = [
            &contact.0,
            binding.service.as_str().as_bytes(),
            binding.user_id.as_bytes(),
            binding.company.id.as_bytes(),
        ];
        let digest = self.keys.master().keyed_digest("identity user", &parts);
        std::array::from_fn(|place| digest[place])
    }

    /// Whether whoever had this identity may have what `binding` gives a right to. Somebody who was
    /// not signed in may: they sign in, and what they wrote is answered then.
    pub(super) fn is_meant(&self, users: &Users, contact: ContactId, binding: &Binding) -> bool {
        !users.is_anybody() || users.0.contains(&self.mark(contact, binding))
    }

    /// Whether whoever had this identity was signed in, and none of those as whom is any more.
    pub(super) fn is_outlived(&self, users: &Users, contact: &Contact) -> bool {
        users.is_anybody()
            && !(contact.bindings.iter()).any(|binding| self.is_meant(users, contact.id, binding))
    }

    /// [`App::directory_token`], at a moment.
    pub(super) fn directory_token(
        &self,
        contact: &Contact,
        binding: &Binding,
        scope: Scope,
        lifetime_ms: u64,
        now: Timestamp,
    ) -> DirectoryToken {
        let policy = &self.settings.policy;
        let exp = now
            .plus_ms(lifetime_ms.min(TOKEN_LIFETIME_MS_MAX))
            .seconds();
        // Its number alone would do; the digest keeps what it tells about us inside.
        let number = self.next_number().to_be_bytes();
        let jti = (self.keys.master()).keyed_digest("token id", &[&contact.id.0, &number]);
        let claims = DirectoryClaims {
            iss: &self.settings.identity.issuer,
            aud: binding.service.as_str(),
            sub: &binding.user_id,
            jti: hex(&jti[..16]),
            iat: now.seconds(),
            exp,
            user_uuid: contact.id.to_string(),
            company: Named {
                id: &binding.company.id,
                name: Some(&binding.company.name),
            },
            scope: scope.min(binding.scope(now, policy)).name(),
        };
        DirectoryToken {
            token: self.ring().sign(Kind::Directory, &claims, now),
            expires_at: Timestamp(exp.saturating_mul(SECOND_MS)),
        }
    }
}

/// The claims, short enough to be a header field: without names if they are too long, and then
/// without the bindings that were proved first.
fn fitting<'a>(mut claims: IdentityClaims<'a>, bindings: &[&Binding]) -> IdentityClaims<'a> {
    if bytes(&claims) <= CLAIMS_BYTES_MAX {
        return claims;
    }
    for binding in &mut claims.bindings {
        binding.account.name = None;
        binding.company.name = None;
    }
    let all = std::mem::take(&mut claims.bindings);
    let mut room = CLAIMS_BYTES_MAX.saturating_sub(bytes(&claims));
    let mut newest: Vec<usize> = (0..all.len()).collect();
    newest.sort_by_key(|place| std::cmp::Reverse((bindings[*place].proved_at, *place)));
    let mut kept = vec![false; all.len()];
    for place in newest {
        // And the comma.
        let Some(left) = room.checked_sub(bytes(&all[place]) + 1) else {
            break;
        };
        (kept[place], room) = (true, left);
    }
    let kept = all.into_iter().zip(kept).filter(|(_, kept)| *kept);
    claims.bindings = kept.map(|(binding, _)| binding).collect();
    claims
}

fn bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

// --- claims -----------------------------------------------------------------------------------------------

#[derive(Serialize)]
struct IdentityClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
    contact: ContactClaims<'a>,
    bindings: Vec<BindingClaims<'a>>,
    users: String,
    scopes: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContactClaims<'a> {
    user_uuid: &'a str,
    language: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_ending: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BindingClaims<'a> {
    service: &'a str,
    account: Named<'a>,
    company: Named<'a>,
    proof: &'static str,
    proved_at: String,
    scope: &'static str,
}

/// Bindings, as identities and events tell them.
pub(super) fn bindings_json(
    bindings: &[Binding],
    now: Timestamp,
    policy: &Policy,
) -> serde_json::Value {
    let told: Vec<BindingClaims<'_>> = (bindings.iter())
        .map(|binding| BindingClaims::new(binding, binding.scope(now, policy)))
        .collect();
    serde_json::to_value(told).unwrap_or_default()
}

impl<'a> BindingClaims<'a> {
    fn new(binding: &'a Binding, scope: Scope) -> BindingClaims<'a> {
        BindingClaims {
            service: binding.service.as_str(),
            account: Named {
                id: &binding.user_id,
                name: Some(&binding.name),
            },
            company: Named {
                id: &binding.company.id,
                name: Some(&binding.company.name),
            },
            proof: binding.proof.name(),
            proved_at: rfc_3339(binding.proved_at),
            scope: scope.name(),
        }
    }
}

#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DirectoryClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    jti: String,
    iat: u64,
    exp: u64,
    user_uuid: String,
    company: Named<'a>,
    scope: &'static str,
}

/// What is read back from an identity: bindings are looked up, not believed for five minutes, but
/// only those of the users whom it stands for.
#[derive(Deserialize)]
struct Told {
    sub: String,
    jti: String,
    users: String,
    iat: u64,
    exp: u64,
}

impl Dated for Told {
    fn issued_at_seconds(&self) -> u64 {
        self.iat
    }

    fn expires_at_seconds(&self) -> u64 {
        self.exp
    }
}

/// A moment as JSON has it, in UTC.
pub fn rfc_3339(at: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.0) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}

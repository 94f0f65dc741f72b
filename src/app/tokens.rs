//! Tokens for whoever acts for a person: who may have one, for which account, and how much it may
//! do.
//!
//! Every call looks at the contact as it is now. What is held in memory is only an answer of a
//! service that need not be asked for again; it opens nothing by itself, so a proof that has ended
//! ends what was issued on its strength in the same moment (S-52), and nothing of it is on disk.

mod held;

pub use held::{
    ENTRIES_MAX, FLIGHTS_PER_SERVICE_MAX, HELD_BYTES_MAX, LIFE_MS_MAX, MARGIN_MS, REFRESH_REST_MS,
    WAIT_MS_MAX, WAITERS_PER_FLIGHT_MAX,
};

pub(super) use held::Held;

use super::counted::token_result;
use super::identity::Users;
use super::{App, Failed, NoRandomness, Settings};
use crate::domain::account::Company;
use crate::domain::binding::{Binding, Scope};
use crate::domain::contact::Contact;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::{ContactId, ServiceName, hex};
use crate::domain::policy::Policy;
use crate::domain::secret::Secret;
use crate::domain::time::{SECOND_MS, Timestamp};
use crate::signing::TOKEN_LIFETIME_MS_MAX;
use crate::store::{StoreError, record};
use crate::text::Key as Text;
use held::{Approach, HeldToken, Key, Landed, Lead, Moment};

/// What somebody asks for who acts for a contact. Whether they may ask about this contact and this
/// service is decided before (S-50, S-51).
#[derive(Clone, Debug)]
pub struct TokenAsked {
    /// For whom.
    pub contact: ContactId,
    /// As whom they were signed in when they wrote what is acted upon: for nobody else is there a
    /// token, whoever has signed in since. Empty where the contact was named without a message.
    pub users: Users,
    /// Of which service.
    pub service: ServiceName,
    /// The service's own id of the user; needed only when the contact has several there.
    pub account: Option<String>,
    /// The service's own id of the company; needed only when the user belongs to several.
    pub company: Option<String>,
    /// How much it shall be good for; `None` takes what there is.
    pub scope: Option<Scope>,
    /// Whether whoever asks never gets more than [`Scope::FirstHours`] (S-53).
    pub first_hours_only: bool,
}

/// What became of it.
#[derive(Clone, Debug)]
pub enum TokenAnswer {
    /// Here it is.
    Token {
        /// As the service issued it.
        token: Secret,
        /// For example `Bearer`.
        token_type: String,
        /// What is left of its life; less rather than more, and at most [`LIFE_MS_MAX`].
        expires_in_seconds: u64,
        /// Whose it is.
        account: NamedAccount,
        /// How much it is good for.
        scope: Scope,
    },
    /// The person has to do something first.
    Need {
        /// What.
        need: Need,
        /// A sentence in the person's language that can be said in the chat as it is.
        say: String,
    },
    /// The contact has several accounts there, and none was named: these, in the order in which
    /// they were proved.
    Ambiguous(Vec<NamedAccount>),
    /// More was asked for than whoever asks may ever have.
    ScopeTooWide,
    /// Nothing of that name is configured.
    NoSuchService,
    /// Nobody of that id is known.
    NoSuchContact,
    /// The contact is signed in there, but not as the one who was named.
    NoSuchAccount,
    /// The service says that the user does not exist, or the proof named none.
    AccountGone,
    /// The service gives no token at the moment.
    Unavailable {
        /// Asking earlier is pointless, when that is known.
        retry_after_ms: Option<u64>,
    },
    /// Too many different tokens of this service are being asked for at once.
    Busy,
}

/// What a person has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Prove an account of that service.
    SignIn,
    /// Prove it once more, by mail: a proof on the web is worth less in its first hours.
    StepUp,
}

impl Need {
    /// Its name in the interface.
    pub fn name(self) -> &'static str {
        match self {
            Need::SignIn => "sign_in",
            Need::StepUp => "step_up",
        }
    }
}

/// An account as whoever acts for the person may name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAccount {
    /// The service's own id of the user.
    pub id: String,
    /// What people call the user.
    pub name: String,
    /// The company the user belongs to.
    pub company: Company,
}

impl NamedAccount {
    fn of(binding: &Binding) -> NamedAccount {
        NamedAccount {
            id: binding.user_id.clone(),
            name: binding.name.clone(),
            company: binding.company.clone(),
        }
    }
}

/// Which token a service is asked for.
#[derive(Clone, Copy, Debug)]
pub struct TokenWanted<'a> {
    /// Which service.
    pub service: &'a ServiceName,
    /// The service's own id of the user.
    pub user_id: &'a str,
    /// The service's own id of the company.
    pub company_id: &'a str,
    /// On behalf of whom.
    pub contact: ContactId,
    /// How much it may be good for.
    pub scope: Scope,
}

/// What a service issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The token.
    pub token: Secret,
    /// For example `Bearer`.
    pub token_type: String,
    /// Counted from some moment between question and answer.
    pub expires_in_seconds: u64,
}

/// Asks a service for a token.
///
/// May be called by many threads at the same time, and by one only for the same token. Returns
/// within [`WAIT_MS_MAX`]. [`FailureKind::Permanent`] says that the service knows no such user;
/// everything else may pass.
pub trait IssueToken: Send + Sync {
    /// One question; `id` names it, and a repeat has another.
    fn issue(&self, wanted: &TokenWanted<'_>, now: Timestamp, id: &str) -> Result<Issued, Failure>;
}

impl<F> IssueToken for F
where
    F: Fn(&TokenWanted<'_>, Timestamp, &str) -> Result<Issued, Failure> + Send + Sync,
{
    fn issue(&self, wanted: &TokenWanted<'_>, now: Timestamp, id: &str) -> Result<Issued, Failure> {
        self(wanted, now, id)
    }
}

/// Whether a contact may have the token asked for.
enum Judged {
    May(Box<Right>),
    MayNot(TokenAnswer),
}

/// On the strength of which proof a contact may have which token.
struct Right {
    contact: Contact,
    binding: Binding,
    scope: Scope,
}

impl App {
    /// A token of a service for a contact, held or fresh, with life enough left to be used: at
    /// least [`MARGIN_MS`], unless the service itself gives less.
    ///
    /// However many ask for the same one at the same time, the service is asked once.
    pub fn token(&self, asked: &TokenAsked, issue: &dyn IssueToken) -> Result<TokenAnswer, Failed> {
        let answer = self.find_token(asked, issue);
        self.counted.tokens.count(token_result(&answer));
        answer
    }

    fn find_token(
        &self,
        asked: &TokenAsked,
        issue: &dyn IssueToken,
    ) -> Result<TokenAnswer, Failed> {
        if !self.is_service(&asked.service) {
            return Ok(TokenAnswer::NoSuchService);
        }
        if asked.first_hours_only && asked.scope == Some(Scope::Full) {
            return Ok(TokenAnswer::ScopeTooWide);
        }
        let now = self.moment();
        let right = match self.judge_token(asked, now.wall)? {
            Judged::May(right) => right,
            Judged::MayNot(answer) => return Ok(answer),
        };
        let key = Key::new(asked.contact, &right.binding, right.scope);
        let approach = self.tokens.approach(&key, now);
        self.counted.token_places.count(match &approach {
            Approach::Have(_) => "held",
            Approach::Wait(_) => "waited_for",
            Approach::Lead(_) => "asked_for",
            Approach::Busy => "none",
        });
        let landed = match approach {
            Approach::Have(token) => return Ok(right.hand(&token, now)),
            Approach::Busy => return Ok(TokenAnswer::Busy),
            Approach::Wait(flight) => flight.wait(),
            Approach::Lead(lead) => self.ask_for_token(&right, lead, issue)?,
        };
        let now = self.moment();
        // The call took its time, in which the proof may have ended.
        match self.judge_token(asked, now.wall)? {
            Judged::May(still) if still.covers(&right) => Ok(match landed {
                Ok(token) if token.left_ms(now) >= SECOND_MS => right.hand(&token, now),
                Ok(_) => unavailable(None),
                Err(failure) => match failure.kind {
                    FailureKind::Permanent => TokenAnswer::AccountGone,
                    FailureKind::Temporary { retry_after_ms }
                    | FailureKind::Unexplained { retry_after_ms, .. } => {
                        unavailable(retry_after_ms)
                    }
                    FailureKind::Throttled { pause_ms } => unavailable(Some(pause_ms)),
                    FailureKind::Configuration
                    | FailureKind::Unreachable
                    | FailureKind::Unknown
                    | FailureKind::Recipient
                    | FailureKind::RecipientForNow => unavailable(None),
                },
            }),
            // Proved anew meanwhile: what came is not for this proof.
            Judged::May(_) => Ok(unavailable(Some(0))),
            Judged::MayNot(answer) => Ok(answer),
        }
    }

    fn ask_for_token(
        &self,
        right: &Right,
        lead: Lead<'_>,
        issue: &dyn IssueToken,
    ) -> Result<Landed, NoRandomness> {
        let service = &right.binding.service;
        let id = format!("token {}", hex(&self.draw(1)?[0]));
        // Its life is counted from before the question.
        let begun = self.moment();
        let issued = if self.shared.settings.directory.as_ref() == Some(service) {
            Ok(self.issue_directory_token(right, begun.wall))
        } else {
            let wanted = TokenWanted {
                service,
                user_id: &right.binding.user_id,
                company_id: &right.binding.company.id,
                contact: right.contact.id,
                scope: right.scope,
            };
            issue.issue(&wanted, begun.wall, &id)
        };
        let result = if issued.is_ok() { "issued" } else { "failed" };
        self.counted.token_calls.count(result);
        if let Err(Failure { reason, advice, .. }) = &issued {
            let service = service.as_str();
            tracing::warn!(service, reason, advice, "a service issued no token");
        }
        Ok(lead.land(begun, issued, || self.moment()))
    }

    /// Drops what is held and dead; returns how many tokens went.
    pub(super) fn forget_dead_tokens(&self) -> usize {
        self.tokens.forget_dead(self.moment())
    }

    fn moment(&self) -> Moment {
        Moment {
            wall: self.clock.now(),
            steady_ms: self.clock.steady_ms(),
        }
    }

    /// Whether a service of this name is configured.
    pub fn is_service(&self, name: &ServiceName) -> bool {
        let services = &self.shared.settings.voice.services;
        services.iter().any(|(known, _)| known == name)
    }

    /// The directory's tokens are signed here; whoever has the keys of `jwks.json` can check them.
    fn issue_directory_token(&self, right: &Right, now: Timestamp) -> Issued {
        let Right {
            contact,
            binding,
            scope,
        } = right;
        let token =
            (self.shared).directory_token(contact, binding, *scope, TOKEN_LIFETIME_MS_MAX, now);
        Issued {
            token: token.token,
            token_type: "Bearer".to_owned(),
            expires_in_seconds: token.expires_at.since_ms(now) / SECOND_MS,
        }
    }

    fn judge_token(&self, asked: &TokenAsked, now: Timestamp) -> Result<Judged, StoreError> {
        let shared = &self.shared;
        let policy = &shared.settings.policy;
        shared.store.view(|reader| {
            let Some(contact) = record::contact(reader, asked.contact)? else {
                return Ok(Judged::MayNot(TokenAnswer::NoSuchContact));
            };
            let (binding, scope) = match self.judge(&contact, asked, policy, now) {
                Ok((binding, scope)) => (binding.clone(), scope),
                Err(refusal) => {
                    return Ok(Judged::MayNot(self.refused(refusal, &contact, asked)));
                }
            };
            // The built-in directory is asked every time: who was removed from it gets no more.
            if shared.settings.directory.as_ref() == Some(&asked.service) {
                let user = match &binding.email {
                    Some(email) => record::user(reader, &shared.keys, email)?,
                    None => None,
                };
                if user.is_none_or(|user| user.id != binding.user_id) {
                    return Ok(Judged::MayNot(TokenAnswer::AccountGone));
                }
            }
            Ok(Judged::May(Box::new(Right {
                contact,
                binding,
                scope,
            })))
        })
    }

    fn refused(&self, refusal: Refusal, contact: &Contact, asked: &TokenAsked) -> TokenAnswer {
        let Settings { texts, voice, .. } = &self.shared.settings;
        let say = |key, values: &[(&str, &str)]| texts.say(contact.language, key, values);
        match refusal {
            Refusal::Need(need) => TokenAnswer::Need {
                need,
                say: match need {
                    Need::SignIn => {
                        let service = voice.title_of(&asked.service);
                        say(Text::NeedSignIn, &[("service", service)])
                    }
                    Need::StepUp => say(Text::NeedStepUp, &[]),
                },
            },
            Refusal::Ambiguous(accounts) => TokenAnswer::Ambiguous(accounts),
            Refusal::NoSuchAccount => TokenAnswer::NoSuchAccount,
            Refusal::AccountGone => TokenAnswer::AccountGone,
        }
    }

    /// Which proof of a contact gives a right to what was asked for.
    fn judge<'a>(
        &self,
        contact: &'a Contact,
        asked: &TokenAsked,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(&'a Binding, Scope), Refusal> {
        if contact.outlived(now, policy).is_some() {
            return Err(Refusal::Need(Need::SignIn));
        }
        let there: Vec<&Binding> = (contact.bindings.iter())
            .filter(|binding| binding.service == asked.service)
            .filter(|binding| (self.shared).is_meant(&asked.users, contact.id, binding))
            .collect();
        if there.is_empty() {
            return Err(Refusal::Need(Need::SignIn));
        }
        let named: Vec<&Binding> = (there.into_iter())
            .filter(|binding| (asked.account.as_ref()).is_none_or(|id| binding.user_id == *id))
            .filter(|binding| (asked.company.as_ref()).is_none_or(|id| binding.company.id == *id))
            .collect();
        let binding = match named[..] {
            [] => return Err(Refusal::NoSuchAccount),
            [one] => one,
            [..] => {
                let accounts = named.into_iter().map(NamedAccount::of).collect();
                return Err(Refusal::Ambiguous(accounts));
            }
        };
        if binding.user_id.is_empty() {
            // A page said *signed in* and not who.
            return Err(Refusal::AccountGone);
        }
        let proved = binding.scope(now, policy);
        let scope = match asked.scope {
            Some(Scope::Full) if proved < Scope::Full => return Err(Refusal::Need(Need::StepUp)),
            Some(scope) => scope,
            None if asked.first_hours_only => Scope::FirstHours,
            None => proved,
        };
        Ok((binding, scope))
    }
}

/// Why a contact may not have a token.
enum Refusal {
    Need(Need),
    Ambiguous(Vec<NamedAccount>),
    NoSuchAccount,
    AccountGone,
}

impl Right {
    /// Whether what was asked for on the strength of `earlier` may still be handed out.
    fn covers(&self, earlier: &Right) -> bool {
        self.binding.proof_id == earlier.binding.proof_id
            && self.binding.is_same_user(&earlier.binding)
    }

    fn hand(&self, token: &HeldToken, now: Moment) -> TokenAnswer {
        TokenAnswer::Token {
            token: token.token.clone(),
            token_type: token.token_type.clone(),
            expires_in_seconds: token.left_ms(now) / SECOND_MS,
            account: NamedAccount::of(&self.binding),
            scope: self.scope,
        }
    }
}

fn unavailable(retry_after_ms: Option<u64>) -> TokenAnswer {
    TokenAnswer::Unavailable { retry_after_ms }
}

#[cfg(test)]
mod tests;

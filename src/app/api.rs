//! What bots and agents ask for: links, fresh proofs, what is known about a contact, the end of
//! bindings (design, section 5.4).
//!
//! The effect and the memory of it are one transaction, so that asking twice under one key has one
//! effect, also at the same moment and after a restart. What is remembered holds no secret: ids,
//! hashes and addresses of links are derived again.

use super::identity::Subject;
use super::{About, App, Failed, Settings, Shared};
use crate::domain::binding::{Binding, Proof, Scope};
use crate::domain::contact::Contact;
use crate::domain::conversation::{BotAnswer, Event, Sentence};
use crate::domain::id::{ContactId, MappingId, RequirementId, ServiceName, hex};
use crate::domain::language::Language;
use crate::domain::requirement::{ProofWanted, Standing};
use crate::domain::secret::Secret;
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, Asked, Got};
use std::sync::Arc;

/// When nobody can sign in, the bot may ask again after this long.
const PAUSED_MS: u64 = HOUR_MS;

/// How a caller marks a request that it may send again (draft-ietf-httpapi-idempotency-key-header).
#[derive(Clone, Debug)]
pub struct Once {
    /// The caller's own mark.
    pub key: String,
    /// Digest of all that was asked; see [`App::request_digest`].
    pub request: [u8; 32],
}

/// What a caller asks for on account of a contact.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// A link to the sign-in page.
    Link {
        /// Whether Portero sends it; else the caller gets its address and does.
        send: bool,
    },
    /// A proof of who is writing.
    Proof {
        /// Which.
        proof: ProofWanted,
        /// How old it may be; any age if not set.
        age_max_ms: Option<u64>,
    },
}

/// What came of a wish.
#[derive(Clone, Debug)]
pub enum Granted {
    /// A link.
    Link {
        /// Names it to this caller.
        id: String,
        /// Its address, for whoever sends it.
        url: Option<Secret>,
        /// From when on it leads nowhere.
        expires_at: Timestamp,
    },
    /// The person has been asked for a proof.
    Demand {
        /// Names it to this caller.
        id: String,
        /// For which proof.
        proof: ProofWanted,
        /// From when on it cannot pass.
        expires_at: Timestamp,
    },
    /// Such a proof stands already.
    Proved {
        /// Which.
        proof: Proof,
        /// Since when.
        proved_at: Timestamp,
    },
    /// Nothing, because of a limit.
    Limited {
        /// What the person may be told.
        say: String,
        /// From when on there is more.
        until: Timestamp,
    },
    /// Nothing: the person last wrote too long ago to be answered.
    Closed,
    /// Nothing: there is no way to such a proof here.
    NoWay,
    /// Nothing: whoever wrote is not signed in any more, or somebody else is, whose proof would be
    /// taken for theirs.
    Outlived,
    /// There is no such contact.
    NoContact,
    /// The mark belongs to another request.
    Reused,
}

/// A demand, as its caller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemandView {
    /// How it stands.
    pub standing: Standing,
    /// For which proof.
    pub proof: ProofWanted,
    /// From when on it cannot pass.
    pub expires_at: Timestamp,
}

/// A contact, as bots see it.
#[derive(Clone, Debug)]
pub struct ContactView {
    /// `userUuid`.
    pub user_uuid: ContactId,
    /// The language of the chat.
    pub language: Language,
    /// The end of the number, when it is shown.
    pub number_ending: Option<String>,
    /// What stands, and what it is good for now.
    pub bindings: Vec<(Binding, Scope)>,
    /// What may be done on the strength of all of them.
    pub scope: Option<Scope>,
}

impl App {
    /// Digest of a request, for [`Once`].
    pub fn request_digest(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.shared.keys.master().keyed_digest("request", parts)
    }

    /// Whether links can be made and opened here.
    pub fn has_web_sign_in(&self) -> bool {
        let Settings { policy, places, .. } = self.settings();
        policy.methods.web && places.sign_in.is_some()
    }

    /// Does what `caller`, by the name of its API key, wants on account of a contact. Asking again
    /// under the same mark brings the same answer and no second effect.
    pub fn grant(
        &self,
        caller: &str,
        subject: impl Into<Subject>,
        wish: Wish,
        once: Option<Once>,
    ) -> Result<Granted, Failed> {
        let Subject { contact, users } = subject.into();
        if matches!(wish, Wish::Link { .. }) && !self.has_web_sign_in() {
            return Ok(Granted::NoWay);
        }
        let (now, fresh) = (self.now(), self.draw(1)?[0]);
        let (shared, name) = (Arc::clone(&self.shared), caller.to_owned());
        let (granted, outcome) = self.update(move |writer| {
            let known = record::contact(writer, contact)?;
            // Whoever signs in by a link is told to the bot anew; a proof is taken for the writer's.
            if let Some(known) = &known
                && matches!(wish, Wish::Proof { .. })
                && shared.is_outlived(&users, known)
            {
                return Ok((Granted::Outlived, None));
            }
            if let Some(once) = &once
                && let Some(asked) = record::asked(writer, &shared.keys, &name, &once.key)?
            {
                let again = if asked.request == once.request {
                    shared.granted(&name, asked.contact, wish, &asked.got)
                } else {
                    Granted::Reused
                };
                return Ok((again, None));
            }
            let Some(contact) = known else {
                return Ok((Granted::NoContact, None));
            };
            let about = About {
                now,
                fresh,
                ..About::default()
            };
            let event = match wish {
                Wish::Link { send } => Event::LinkAsked { send },
                Wish::Proof { proof, age_max_ms } => Event::ProofAsked { proof, age_max_ms },
            };
            let step = shared.decide_about(writer, &contact, &event, &about)?;
            let outcome = Some(step.outcome.name());
            let got = match step.bot {
                Some(BotAnswer::Link(mapping)) => Got::Link {
                    mapping,
                    expires_at: (step.contact.mapping.as_ref()).map_or(now, |made| made.expires_at),
                },
                Some(BotAnswer::Asked(requirement)) => {
                    let demand = step.contact.requirement.as_ref();
                    Got::Demand {
                        requirement,
                        proof: demand.map_or(ProofWanted::Any, |demand| demand.proof),
                        expires_at: demand.map_or(now, |demand| demand.expires_at),
                    }
                }
                Some(BotAnswer::Proved { proof, at }) => Got::Proved {
                    proof,
                    proved_at: at,
                },
                Some(BotAnswer::Limited(limit)) => {
                    return Ok((shared.limited(&contact, &limit, now), outcome));
                }
                Some(BotAnswer::Closed) => return Ok((Granted::Closed, outcome)),
                Some(BotAnswer::NoWay | BotAnswer::Released(_)) | None => {
                    return Ok((Granted::NoWay, outcome));
                }
            };
            if let Some(once) = &once {
                let asked = Asked {
                    at: now,
                    request: once.request,
                    contact: contact.id,
                    got: got.clone(),
                };
                record::put_asked(writer, &shared.keys, &name, &once.key, &asked)?;
            }
            Ok((shared.granted(&name, contact.id, wish, &got), outcome))
        })?;
        if let Some(outcome) = outcome {
            self.count(&[outcome]);
            tracing::info!(contact = %contact, caller, outcome, "asked for by the bot");
        }
        Ok(granted)
    }

    /// A demand of this caller, by the name that it was given. Changes nothing.
    pub fn demand(&self, caller: &str, id: &str) -> Result<Option<DemandView>, StoreError> {
        let Some(contact) = contact_in(id) else {
            return Ok(None);
        };
        let (shared, now) = (&self.shared, self.now());
        let contact = shared
            .store
            .view(|reader| record::contact(reader, contact))?;
        Ok(contact.and_then(|contact| {
            let demand = contact.requirement.as_ref()?;
            let known = shared.demand_id(caller, contact.id, demand.id);
            known.matches(id).then(|| DemandView {
                standing: demand.standing(now),
                proof: demand.proof,
                expires_at: demand.expires_at,
            })
        }))
    }

    /// What is known about a contact, and of the bindings those that are the subject's to know.
    /// Changes nothing.
    pub fn contact_view(
        &self,
        subject: impl Into<Subject>,
    ) -> Result<Option<ContactView>, StoreError> {
        let Subject { contact: id, users } = subject.into();
        let (shared, now) = (&self.shared, self.now());
        let policy = &shared.settings.policy;
        let contact = shared.store.view(|reader| record::contact(reader, id))?;
        Ok(contact.map(|mut contact| {
            if contact.outlived(now, policy).is_some() {
                // They end with the next message; nothing can be done with them until then.
                contact.bindings.clear();
            }
            (contact.bindings).retain(|binding| shared.is_meant(&users, id, binding));
            ContactView {
                user_uuid: contact.id,
                language: contact.language,
                number_ending: contact.number_ending().map(str::to_owned),
                scope: contact.scope(now, policy),
                bindings: (contact.bindings.into_iter())
                    .map(|binding| {
                        let scope = binding.scope(now, policy);
                        (binding, scope)
                    })
                    .collect(),
            }
        }))
    }

    /// Ends the bindings that are the subject's, or those of them to one service; says how many
    /// ended, `None` when there is no such contact. Again, it does nothing.
    pub fn release_for_the_bot(
        &self,
        caller: &str,
        subject: impl Into<Subject>,
        service: Option<ServiceName>,
    ) -> Result<Option<usize>, Failed> {
        let Subject { contact: id, users } = subject.into();
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        let released = self.update(move |writer| {
            let Some(contact) = record::contact(writer, id)? else {
                return Ok(None);
            };
            let about = About {
                now,
                ..About::default()
            };
            let bindings: Vec<Binding> = (contact.bindings.iter())
                .filter(|binding| service.as_ref().is_none_or(|name| binding.service == *name))
                .filter(|binding| shared.is_meant(&users, id, binding))
                .cloned()
                .collect();
            let event = Event::ReleasedByBot {
                bindings: &bindings,
            };
            let step = shared.decide_about(writer, &contact, &event, &about)?;
            Ok(Some(match step.bot {
                Some(BotAnswer::Released(count)) => count,
                _ => 0,
            }))
        })?;
        if released.is_some_and(|count| count > 0) {
            tracing::info!(contact = %id, caller, "signed out by the bot");
        }
        Ok(released)
    }
}

impl Shared {
    fn granted(&self, caller: &str, contact: ContactId, wish: Wish, got: &Got) -> Granted {
        match got {
            Got::Link {
                mapping,
                expires_at,
            } => Granted::Link {
                id: self.link_id(caller, contact, *mapping),
                url: match (wish, &self.settings.places.sign_in) {
                    (Wish::Link { send: false }, Some(page)) => {
                        let hash = self.mapping_hash(contact, *mapping);
                        Some(Secret::new(format!("{page}{}", hash.reveal())))
                    }
                    _ => None,
                },
                expires_at: *expires_at,
            },
            Got::Demand {
                requirement,
                proof,
                expires_at,
            } => Granted::Demand {
                id: (self.demand_id(caller, contact, *requirement))
                    .reveal()
                    .to_owned(),
                proof: *proof,
                expires_at: *expires_at,
            },
            Got::Proved { proof, proved_at } => Granted::Proved {
                proof: *proof,
                proved_at: *proved_at,
            },
        }
    }

    fn limited(&self, contact: &Contact, limit: &Sentence, now: Timestamp) -> Granted {
        let Settings { texts, voice, .. } = &self.settings;
        let until = match limit {
            Sentence::TooManyCodes { until }
            | Sentence::TooManyFailures { until }
            | Sentence::TooManyLinks { until }
            | Sentence::WaitForNextCode { until } => *until,
            _ => now.plus_ms(PAUSED_MS),
        };
        Granted::Limited {
            say: texts.chat(contact.language, limit, voice, now).body,
            until,
        }
    }

    /// A link's name to one caller: nobody can make a hash of it.
    fn link_id(&self, caller: &str, contact: ContactId, mapping: MappingId) -> String {
        let parts: [&[u8]; 3] = [&contact.0, &mapping.0, caller.as_bytes()];
        hex(&self.keys.master().keyed_digest("link id", &parts)[..16])
    }

    /// A demand's name to one caller. It begins with the contact, so that it is found again, and is
    /// nobody else's to guess or to use (S-50).
    fn demand_id(&self, caller: &str, contact: ContactId, demand: RequirementId) -> Secret {
        let parts: [&[u8]; 3] = [&contact.0, &demand.0, caller.as_bytes()];
        let digest = self.keys.master().keyed_digest("demand id", &parts);
        Secret::new(hex(&contact.0) + &hex(&digest[..16]))
    }
}

/// The contact whom the name of a demand names, which proves nothing yet.
fn contact_in(id: &str) -> Option<ContactId> {
    const CONTACT_DIGITS: usize = 32;
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if id.len() != 2 * CONTACT_DIGITS || !id.bytes().all(digit) {
        return None;
    }
    ContactId::parse(&id[..CONTACT_DIGITS]).ok()
}

//! Signing in on the web: what the page and the two documented endpoints ask for.
//!
//! Every secret here is derived from the master key and from ids that are stored, and so is never
//! stored itself: the hash in the link, the access token, the return code, the token in the mail
//! (S-37). What is looked at changes nothing; what changes anything is one transaction.

use super::{About, App, Failed, Settings, Shared, Transaction};
use crate::domain::account::Account;
use crate::domain::binding::Binding;
use crate::domain::contact::Contact;
use crate::domain::conversation::{Event, Outcome, Step};
use crate::domain::id::{ContactId, EmailAddress, MappingId, ProofId, ServiceName, WaId, hex};
use crate::domain::language::Language;
use crate::domain::policy::Policy;
use crate::domain::secret::{MappingHash, ReturnCode, Secret};
use crate::domain::sign_in::{PageAct, PageAnswer, Who};
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::record::{self, Guesser, Handle};
use std::sync::Arc;

/// Characters of a user name that count for its limit; a longer one shares it with all that begin
/// alike.
const USER_NAME_CHARS_MAX: usize = 254;

/// Who tries a password.
#[derive(Clone, Debug)]
pub struct Visitor {
    user_name: String,
    network: [u8; 16],
}

impl Visitor {
    /// `network` is what one household has: an IPv4 address, or the first 64 bits of an IPv6 one.
    pub fn new(user_name: &str, network: [u8; 16]) -> Visitor {
        let user_name = user_name.trim().chars().take(USER_NAME_CHARS_MAX);
        Visitor {
            user_name: user_name.flat_map(char::to_lowercase).collect(),
            network,
        }
    }

    fn guessers(&self) -> (Guesser, Guesser) {
        (
            Guesser::UserName(self.user_name.clone()),
            Guesser::Network(self.network),
        )
    }
}

/// A link that can be used, as its page shows it.
#[derive(Clone, Debug)]
pub struct PageView {
    /// The language of the chat.
    pub language: Language,
    /// When the link was asked for.
    pub asked_at: Timestamp,
    /// The end of the number of the chat that asked; `None` when it is hidden.
    pub number_ending: Option<String>,
    /// Whether the number of the chat has to be typed.
    pub asks_number: bool,
}

/// What is to be done about a form that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// [`PageAnswer::Check`], or what the page has to say instead.
    pub answer: PageAnswer,
    /// For [`App::finish_try`].
    pub tried_at: Timestamp,
}

/// Whose user name and password they are, as all who were asked say.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Nobody's.
    Nobody,
    /// Somebody did not answer, or nobody could be asked; it is not known to be wrong.
    NoAnswer,
    /// Nobody's, as far as anybody answered; somebody did not. The try counts: it was one at those
    /// who answered (S-41).
    NotEverybody,
    /// Too many others are being checked; a moment later there is room.
    Busy,
    /// These accounts'.
    These(Vec<Account>),
}

/// What came of a sign-in.
#[derive(Clone, Debug)]
pub struct Tried {
    /// What the page has to say.
    pub answer: PageAnswer,
    /// The language of the chat.
    pub language: Language,
    /// Where the browser goes: the chat, with the return code ready to be sent if one is needed.
    pub chat_url: Option<Secret>,
    /// `a•••@d•••`, when a code was mailed there.
    pub mailed_to: Option<String>,
}

/// The answer to `GET /hash-mappings/{hash}/` (design, section 5.1).
#[derive(Clone, Debug)]
pub struct MappingAnswer {
    /// For the next call, and for nothing else.
    pub access_token: Secret,
    /// The contact who asked for the link.
    pub user_uuid: ContactId,
    /// The business's number.
    pub number: WaId,
}

/// Who holds an access token.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The contact who asked for the link.
    pub user_uuid: ContactId,
    /// The page that the token was given to.
    pub page: ServiceName,
    /// The link's hash, for the answer that says that it is dead.
    pub hash: MappingHash,
    mapping: MappingId,
}

/// A chat that was bound, as the link in the mail about it shows it.
#[derive(Clone, Debug)]
pub struct UndoView {
    /// The language of the chat.
    pub language: Language,
    /// As whom, in words.
    pub accounts: String,
    /// The end of the number of the chat, when it is shown.
    pub number_ending: Option<String>,
    /// When.
    pub proved_at: Timestamp,
}

impl App {
    /// The link with this hash, while it can be used. Changes nothing (S-35).
    pub fn page(&self, hash: &MappingHash) -> Result<Option<PageView>, StoreError> {
        let now = self.now();
        let found = self.shared.live(hash, now)?;
        Ok(found.map(|(contact, asked_at)| PageView {
            language: contact.language,
            asked_at,
            number_ending: contact.number_ending().map(str::to_owned),
            asks_number: self.settings().policy.ask_number && contact.wa_id.is_some(),
        }))
    }

    /// Ties a form to the link that it was made for (S-42).
    pub fn form_token(&self, about: &str) -> Secret {
        let digest = (self.shared.keys.master()).keyed_digest("form", &[about.as_bytes()]);
        Secret::new(hex(&digest[..16]))
    }

    /// The form was sent: counts the try, and says whether the password may be checked (S-41).
    pub fn begin_try(
        &self,
        hash: &MappingHash,
        visitor: &Visitor,
        number: Option<&str>,
    ) -> Result<Attempt, Failed> {
        let number = number.map(str::to_owned);
        let tried_at = self.now();
        let step = self.act(tried_at, hash, Some(visitor), move |shared, writer, on| {
            let act = PageAct::Try {
                number: number.as_deref(),
            };
            shared.page_step(writer, on, act)
        })?;
        let answer = step.map_or(PageAnswer::Gone, |(step, _)| page_answer(&step));
        Ok(Attempt { answer, tried_at })
    }

    /// The password of a try has been checked.
    pub fn finish_try(
        &self,
        hash: &MappingHash,
        visitor: &Visitor,
        tried_at: Timestamp,
        verdict: Verdict,
    ) -> Result<Tried, Failed> {
        let step = self.act(
            self.now(),
            hash,
            Some(visitor),
            move |shared, writer, on| {
                let who = match &verdict {
                    Verdict::Nobody => Who::Nobody,
                    Verdict::NotEverybody => Who::NotEverybody,
                    Verdict::NoAnswer | Verdict::Busy => Who::NoAnswer,
                    Verdict::These(accounts) => Who::These(accounts),
                };
                shared.page_step(writer, on, PageAct::Checked { tried_at, who })
            },
        )?;
        Ok(self.tried(step))
    }

    /// *It was not me.*
    pub fn decline(&self, hash: &MappingHash) -> Result<Tried, Failed> {
        let step = self.act(self.now(), hash, None, |shared, writer, on| {
            shared.page_step(writer, on, PageAct::Declined)
        })?;
        if let Some((step, _)) = &step
            && step.page == Some(PageAnswer::Declined)
        {
            tracing::warn!(
                contact = %step.contact.id,
                "somebody who opened a link had not asked for it; this contact may be passing links on"
            );
        }
        Ok(self.tried(step))
    }

    /// Counts a password tried without a link of ours, as the page for somebody else's back end
    /// does; `Err` says from when there are more tries.
    pub fn count_guess(&self, visitor: &Visitor) -> Result<Result<Timestamp, Timestamp>, Failed> {
        let (now, shared) = (self.now(), Arc::clone(&self.shared));
        let (user_name, network) = visitor.guessers();
        Ok(self.update(move |writer| {
            let policy = &shared.settings.policy;
            let mut by_name = record::passwords_tried(writer, &shared.keys, &user_name)?;
            let mut by_network = record::passwords_tried(writer, &shared.keys, &network)?;
            let until = by_name
                .blocked_until(now, Policy::HOUR_MS, policy.passwords_per_user_per_hour)
                .max(by_network.blocked_until(
                    now,
                    Policy::NETWORK_MS,
                    policy.passwords_per_network,
                ));
            if let Some(until) = until {
                return Ok(Err(until));
            }
            by_name.count(now, Policy::HOUR_MS);
            by_network.count(now, Policy::HOUR_MS);
            record::put_passwords_tried(writer, &shared.keys, &user_name, &by_name)?;
            record::put_passwords_tried(writer, &shared.keys, &network, &by_network)?;
            Ok(Ok(now))
        })?)
    }

    /// Gives back a try that was right, or that nobody could check.
    pub fn take_back_guess(&self, visitor: &Visitor, tried_at: Timestamp) -> Result<(), Failed> {
        let (shared, (user_name, network)) = (Arc::clone(&self.shared), visitor.guessers());
        Ok(self.update(move |writer| {
            for guesser in [&user_name, &network] {
                let mut tried = record::passwords_tried(writer, &shared.keys, guesser)?;
                tried.take_back(tried_at);
                record::put_passwords_tried(writer, &shared.keys, guesser, &tried)?;
            }
            Ok(())
        })?)
    }

    /// What a page is told about the link with this hash, while it can be used. Changes nothing.
    pub fn mapping(
        &self,
        hash: &MappingHash,
        page: &ServiceName,
    ) -> Result<Option<MappingAnswer>, StoreError> {
        let Some(number) = &self.settings().places.number else {
            return Ok(None);
        };
        let found = self.shared.live(hash, self.now())?;
        Ok(found.and_then(|(contact, _)| {
            let mapping = contact.mapping.as_ref()?.id;
            Some(MappingAnswer {
                access_token: self.shared.access_token(contact.id, mapping, page),
                user_uuid: contact.id,
                number: number.clone(),
            })
        }))
    }

    /// Whose access token this is, and which of `pages` it was given to; `None` for one that
    /// nobody was given. Changes nothing.
    pub fn holder(&self, token: &str, pages: &[ServiceName]) -> Result<Option<Claim>, StoreError> {
        let Some(id) = contact_in(token) else {
            return Ok(None);
        };
        let contact = self
            .shared
            .store
            .view(|reader| record::contact(reader, id))?;
        let Some(mapping) = contact.and_then(|contact| contact.mapping) else {
            return Ok(None);
        };
        let page = pages.iter().find(|page| {
            self.shared
                .access_token(id, mapping.id, page)
                .matches(token)
        });
        Ok(page.map(|page| Claim {
            user_uuid: id,
            page: page.clone(),
            hash: self.shared.mapping_hash(id, mapping.id),
            mapping: mapping.id,
        }))
    }

    /// A page says that somebody signed in: an account of a service, or just somebody of the
    /// service `as_user_of`. [`PageAnswer::Gone`] when the link is dead.
    pub fn claim(
        &self,
        claim: &Claim,
        account: Option<Account>,
        as_user_of: ServiceName,
    ) -> Result<Tried, Failed> {
        let (now, fresh) = (self.now(), self.draw(1)?[0]);
        let (shared, id, mapping) = (Arc::clone(&self.shared), claim.user_uuid, claim.mapping);
        let step = self.update(move |writer| {
            let Some(contact) = record::contact(writer, id)? else {
                return Ok(None);
            };
            let who = match &account {
                Some(account) => Who::These(std::slice::from_ref(account)),
                None => Who::Somebody(&as_user_of),
            };
            let on = On {
                handle: Handle {
                    contact: id,
                    mapping,
                    at: now,
                },
                contact,
                about: About {
                    now,
                    fresh,
                    ..About::default()
                },
            };
            shared
                .page_step(writer, on, PageAct::Claimed(who))
                .map(Some)
        })?;
        let step = step.map(|step| {
            self.count(&[step.outcome.name()]);
            (step, mapping)
        });
        Ok(self.tried(step))
    }

    /// What the link in a mail about a new binding shows, while it can be undone. Changes nothing.
    pub fn undo_view(&self, token: &str) -> Result<Option<UndoView>, StoreError> {
        let Some(id) = contact_in(token) else {
            return Ok(None);
        };
        let (now, shared) = (self.now(), &self.shared);
        let contact = shared.store.view(|reader| record::contact(reader, id))?;
        let Settings { texts, voice, .. } = &shared.settings;
        Ok(contact.and_then(|contact| {
            let bindings = shared.undoable(&contact, token, now);
            let proved_at = bindings.first()?.proved_at;
            Some(UndoView {
                language: contact.language,
                accounts: texts.accounts(contact.language, &bindings, voice),
                number_ending: contact.number_ending().map(str::to_owned),
                proved_at,
            })
        }))
    }

    /// Ends a binding at the wish of whoever reads the mail of its account; says whether there was
    /// anything to end.
    pub fn undo(&self, token: &str) -> Result<bool, Failed> {
        let Some(id) = contact_in(token) else {
            return Ok(false);
        };
        let (now, shared, token) = (self.now(), Arc::clone(&self.shared), token.to_owned());
        let undone = self.update(move |writer| {
            let Some(contact) = record::contact(writer, id)? else {
                return Ok(false);
            };
            let bindings = shared.undoable(&contact, &token, now);
            let Some(proof) = bindings.first().map(|binding| binding.proof_id) else {
                return Ok(false);
            };
            let event = Event::Undone { proof };
            Ok(shared.decide(writer, &contact, &event, now, [0; 16])? == Outcome::Released)
        })?;
        if undone {
            self.count(&[Outcome::Released.name()]);
            tracing::warn!(
                contact = %id,
                "the owner of an account ended a sign-in by mail; whoever has this chat may have their password"
            );
        }
        Ok(undone)
    }

    /// One transaction on the contact of a hash; `None` when the hash is nobody's.
    fn act(
        &self,
        now: Timestamp,
        hash: &MappingHash,
        visitor: Option<&Visitor>,
        act: impl Fn(&Shared, &mut Transaction<'_>, On) -> Result<Step, StoreError>
        + Send
        + Sync
        + 'static,
    ) -> Result<Option<(Step, MappingId)>, Failed> {
        let fresh = self.draw(1)?[0];
        let (shared, hash) = (Arc::clone(&self.shared), hash.clone());
        let guessers = visitor.map(Visitor::guessers);
        let step = self.update(move |writer| {
            let Some(handle) = record::handle_of_hash(writer, &shared.keys, &hash)? else {
                return Ok(None);
            };
            let Some(contact) = record::contact(writer, handle.contact)? else {
                return Ok(None);
            };
            let on = On {
                handle,
                contact,
                about: About {
                    now,
                    fresh,
                    guessers: guessers.clone(),
                    ..About::default()
                },
            };
            Ok(Some((act(&shared, writer, on)?, handle.mapping)))
        })?;
        if let Some((step, _)) = &step {
            self.count(&[step.outcome.name()]);
        }
        Ok(step)
    }

    fn tried(&self, step: Option<(Step, MappingId)>) -> Tried {
        let Settings {
            texts,
            voice,
            places,
            language,
            ..
        } = self.settings();
        let Some((step, mapping)) = step else {
            return Tried {
                answer: PageAnswer::Gone,
                language: *language,
                chat_url: places.chat.clone().map(Secret::new),
                mailed_to: None,
            };
        };
        let (answer, contact) = (page_answer(&step), &step.contact);
        let chat_url = match answer {
            PageAnswer::Return => {
                let code = self.shared.return_code(contact.id, mapping);
                places.chat_with(&texts.return_text(contact.language, &code, voice))
            }
            _ => places.chat.clone(),
        };
        let mailed_to = match (answer, &contact.stage) {
            (PageAnswer::CodeMailed, crate::domain::contact::Stage::CodeAwaited(challenge)) => {
                Some(EmailAddress::masked(&challenge.address))
            }
            _ => None,
        };
        Tried {
            answer,
            language: contact.language,
            chat_url: chat_url.map(Secret::new),
            mailed_to,
        }
    }
}

/// What somebody does something on: a link and the contact who asked for it.
struct On {
    handle: Handle,
    contact: Contact,
    about: About,
}

fn page_answer(step: &Step) -> PageAnswer {
    step.page.unwrap_or(PageAnswer::Gone)
}

impl Shared {
    fn page_step(
        &self,
        writer: &mut Transaction<'_>,
        on: On,
        act: PageAct<'_>,
    ) -> Result<Step, StoreError> {
        let event = Event::Page {
            mapping: on.handle.mapping,
            act,
        };
        let step = self.decide_about(writer, &on.contact, &event, &on.about)?;
        if step.outcome != Outcome::Ignored {
            tracing::info!(contact = %on.contact.id, outcome = step.outcome.name(), "sign-in page");
        }
        Ok(step)
    }

    /// The contact who asked for the link with this hash, and when; `None` unless it can be used.
    fn live(
        &self,
        hash: &MappingHash,
        now: Timestamp,
    ) -> Result<Option<(Contact, Timestamp)>, StoreError> {
        let contact =
            self.store.view(
                |reader| match record::handle_of_hash(reader, &self.keys, hash)? {
                    Some(handle) => {
                        let contact = record::contact(reader, handle.contact)?;
                        Ok(contact.map(|contact| (contact, handle.mapping)))
                    }
                    None => Ok(None),
                },
            )?;
        Ok(contact.and_then(|(contact, id)| {
            let mapping = contact.mapping.as_ref()?;
            let asked_at = mapping.asked_at;
            (mapping.id == id && mapping.is_live(now)).then_some((contact, asked_at))
        }))
    }

    /// Stores to whom the secrets belong that a decision hands out.
    pub(super) fn hand_out(
        &self,
        writer: &mut Transaction<'_>,
        before: &Contact,
        after: &Contact,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(mapping) = &after.mapping else {
            return Ok(());
        };
        let before = before.mapping.as_ref().filter(|old| old.id == mapping.id);
        let handle = Handle {
            contact: after.id,
            mapping: mapping.id,
            at: now,
        };
        if before.is_none() {
            let hash = self.mapping_hash(after.id, mapping.id);
            record::put_handle_of_hash(writer, &self.keys, &hash, &handle)?;
        }
        if mapping.is_signed_in() && !before.is_some_and(|before| before.is_signed_in()) {
            let code = self.return_code(after.id, mapping.id);
            record::put_handle_of_return_code(writer, &self.keys, &code, &handle)?;
        }
        Ok(())
    }

    fn undoable(&self, contact: &Contact, token: &str, now: Timestamp) -> Vec<Binding> {
        (contact.bindings.iter())
            .filter(|binding| {
                binding.can_be_undone(binding.proof_id, now)
                    && self.undo_token(contact.id, binding.proof_id).matches(token)
            })
            .cloned()
            .collect()
    }

    // --- what is derived ------------------------------------------------------------------------------

    pub(super) fn mapping_hash(&self, contact: ContactId, mapping: MappingId) -> MappingHash {
        let digest = (self.keys.master()).keyed_digest("link hash", &[&contact.0, &mapping.0]);
        let mut bytes = [0; MappingHash::BYTES];
        bytes.copy_from_slice(&digest[..MappingHash::BYTES]);
        MappingHash::from_bytes(bytes)
    }

    pub(super) fn return_code(&self, contact: ContactId, mapping: MappingId) -> ReturnCode {
        let digest = (self.keys.master()).keyed_digest("code to return", &[&contact.0, &mapping.0]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        ReturnCode::from_bytes(bytes)
    }

    /// Begins with the contact, so that it is found again; 256 bits that nobody can make follow.
    fn access_token(&self, contact: ContactId, mapping: MappingId, page: &ServiceName) -> Secret {
        let parts: [&[u8]; 3] = [&contact.0, &mapping.0, page.as_str().as_bytes()];
        let digest = self.keys.master().keyed_digest("access token", &parts);
        Secret::new(hex(&contact.0) + &hex(&digest))
    }

    pub(super) fn undo_token(&self, contact: ContactId, proof: ProofId) -> Secret {
        let digest = (self.keys.master()).keyed_digest("undo", &[&contact.0, &proof.0]);
        Secret::new(hex(&contact.0) + &hex(&digest))
    }
}

/// The contact whom an access or undo token names, which proves nothing yet.
fn contact_in(token: &str) -> Option<ContactId> {
    const CONTACT_DIGITS: usize = 32;
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if token.len() != CONTACT_DIGITS + 64 || !token.bytes().all(digit) {
        return None;
    }
    ContactId::parse(&token[..CONTACT_DIGITS]).ok()
}

//! The model beside the store.

use super::*;

impl World {
    /// Which contact a new chat of the model is.
    pub(super) fn match_chats(&mut self) -> Held {
        while self.ids.len() < self.model.chats.len() {
            let at = self.ids.len();
            let chat = self.model.chat(at);
            let is_it = |contact: &&Contact| {
                !self.ids.contains(&Some(contact.id))
                    && contact.bsuid.as_ref().map(Bsuid::as_str) == chat.bsuid.as_deref()
                    && contact.wa_id.as_ref().map(WaId::as_str) == chat.number.as_deref()
            };
            let Some(contact) = self.contacts.iter().find(is_it) else {
                return broken(MODEL, "a chat that nobody knows");
            };
            let id = contact.id;
            self.ids.push(Some(id));
        }
        Ok(())
    }

    /// What a code needs did not come in time: the chat was told, and begins again.
    pub(super) fn accept_what_gave_up(&mut self) {
        let now = self.now();
        for at in 0..self.ids.len() {
            let Some(Asked::Code(code)) = self.model.chats[at].as_ref().map(|chat| &chat.asked)
            else {
                continue;
            };
            let (is_in_trouble, asked_at) = (self.weather != Weather::Fair, code.at);
            let is_over = self.contact(at).is_some_and(|contact| {
                matches!(contact.stage, Stage::Idle | Stage::AddressAsked { .. })
            });
            if is_over && (is_in_trouble || now >= asked_at + 2 * MINUTE_MS) {
                self.model.gave_up(at, now);
            }
        }
    }

    /// As the store knows it: who is signed in as whom, and what is live.
    pub fn compare(&mut self) -> Held {
        let live = self.model.chats.iter().flatten().count();
        if live != self.contacts.len() {
            return broken(
                MODEL,
                format!("{live} chats, and {} contacts", self.contacts.len()),
            );
        }
        for at in 0..self.ids.len() {
            if self.model.chats[at].is_none() {
                continue;
            }
            let Some(contact) = self.contact(at).cloned() else {
                return broken(MODEL, format!("chat {at} is gone"));
            };
            let mut bound: Vec<User> = Vec::new();
            for binding in &contact.bindings {
                let of = |user: &&User| is_of(user, binding);
                match self.model.users.iter().find(of) {
                    Some(user) => bound.push(user.clone()),
                    None => return broken(MODEL, "somebody is signed in as nobody"),
                }
            }
            bound.sort();
            let is_partly_known = self.is_partly_known;
            let chat = self.model.chat_mut(at);
            let mut expected = chat.bound.as_ref().map_or(Vec::new(), |b| b.users.clone());
            expected.sort();
            // A service that was silent adds nothing.
            let is_part = !bound.is_empty() && bound.iter().all(|user| expected.contains(user));
            if is_partly_known
                && is_part
                && let Some(model) = &mut chat.bound
            {
                model.users.clone_from(&bound);
            } else if bound != expected {
                return broken(
                    MODEL,
                    format!("chat {at} is signed in as {bound:?}, not as {expected:?}"),
                );
            }
            compare_asked(at, &chat.asked, &contact.stage)?;
            compare_link(at, chat.link.as_ref(), &contact)?;
        }
        Ok(())
    }
}

fn is_of(user: &User, binding: &Binding) -> bool {
    user.service == binding.service.as_str()
        && user.id == binding.user_id
        && user.company == binding.company.id
}

fn compare_asked(at: usize, asked: &Asked, stage: &Stage) -> Held {
    let is_same = match (asked, stage) {
        (Asked::Nothing, Stage::Idle) | (Asked::Link, Stage::LinkSent) => true,
        (Asked::Address { at }, Stage::AddressAsked { at: since }) => *at == since.0,
        (
            Asked::Spelling { typed, meant },
            Stage::SpellingAsked {
                typed: t,
                suggested: s,
                ..
            },
        ) => typed == t.as_str() && meant == s.as_str(),
        (Asked::Code(code), Stage::CodeAwaited(challenge)) => {
            code.address == challenge.address.as_str()
                && code.at == challenge.asked_at.0
                && code.wrong == challenge.wrong
        }
        _ => false,
    };
    match is_same {
        true => Ok(()),
        false => broken(
            MODEL,
            format!("chat {at} is at {stage:?}, not at {asked:?}"),
        ),
    }
}

fn compare_link(at: usize, link: Option<&Link>, contact: &Contact) -> Held {
    let is_same = match (link, &contact.mapping) {
        (None, None) => true,
        (Some(link), Some(mapping)) => {
            link.at == mapping.asked_at.0
                && link.passwords == mapping.passwords
                && match (&link.state, &mapping.state) {
                    (LinkState::Live, MappingState::Issued)
                    | (LinkState::Used, MappingState::Used)
                    | (LinkState::Burned, MappingState::Burned) => true,
                    (
                        LinkState::SignedIn { until, .. },
                        MappingState::SignedIn { until: u, .. },
                    ) => *until == u.0,
                    _ => false,
                }
        }
        _ => false,
    };
    match is_same {
        true => Ok(()),
        false => broken(
            MODEL,
            format!(
                "the link of chat {at} is {:?}, not {link:?}",
                contact.mapping
            ),
        ),
    }
}

//! How a sign-in ends, and who is forgotten.

use super::{Asked, DAY_MS, HOUR_MS, LinkState, Model, Policy, User};

impl Model {
    /// The owner of a mailbox says that the sign-in by this proof was not theirs.
    pub fn undo(&mut self, at: usize, proved_at: u64, now: u64) -> bool {
        let Some(chat) = &mut self.chats[at] else {
            return false;
        };
        match &chat.bound {
            Some(bound) if bound.at == proved_at && now < bound.at + Policy::UNDO_MS => {
                let until = now + Policy::BARRED_MS;
                let users = bound.users.clone();
                chat.barred
                    .extend(users.into_iter().map(|user| (user, until)));
                chat.release(now);
                true
            }
            _ => false,
        }
    }

    /// The janitor came: chats in which nobody wrote for long are forgotten, and so are return codes.
    pub fn sweep(&mut self, now: u64) {
        for chat in &mut self.chats {
            let is_over = chat.as_ref().is_some_and(|chat| {
                let kept_ms = match chat.bound {
                    Some(_) => self.policy.binding_idle_ms + 30 * DAY_MS,
                    None => 7 * DAY_MS,
                };
                now > chat.last_wrote + kept_ms
            });
            if is_over {
                *chat = None;
            }
        }
        for chat in self.chats.iter_mut().flatten() {
            let Some(link) = &mut chat.link else { continue };
            let is_over = match link.state {
                LinkState::SignedIn { until, .. } => now >= until + HOUR_MS,
                _ => false,
            };
            if is_over {
                link.state = LinkState::Burned;
            }
            if is_over || now >= link.at + HOUR_MS {
                link.earlier.clear();
            }
        }
        for link in &mut self.links {
            let made_at = link.returned_from;
            link.forgotten |= made_at.is_some_and(|made| made + 2 * DAY_MS < now);
        }
    }

    /// The operator forgets a chat, and what is counted for the addresses that it is bound to.
    pub fn forget_chat(&mut self, at: usize) {
        if let Some(chat) = self.chats[at].take() {
            for user in chat.bound.into_iter().flat_map(|bound| bound.users) {
                self.forget_counts(&user.email);
            }
        }
    }

    /// The operator forgets whoever is signed in with an address, and everything else that names it.
    pub fn forget_address(&mut self, address: &str) {
        for at in 0..self.chats.len() {
            let Some(chat) = &self.chats[at] else {
                continue;
            };
            let is_theirs = |users: &[User]| users.iter().any(|user| user.email == address);
            if chat.bound.as_ref().is_some_and(|b| is_theirs(&b.users)) {
                self.forget_chat(at);
                continue;
            }
            let chat = self.chat_mut(at);
            let is_asked = match &chat.asked {
                Asked::Spelling { typed, meant } => typed == address || meant == address,
                Asked::Code(code) => code.address == address,
                Asked::Nothing | Asked::Address { .. } | Asked::Link => false,
            };
            if is_asked {
                chat.asked = Asked::Nothing;
            }
            if let Some(link) = &mut chat.link {
                let signed_in = match &link.state {
                    LinkState::SignedIn { users, .. } => is_theirs(users),
                    _ => false,
                };
                if signed_in || is_theirs(&link.earlier) {
                    link.state = LinkState::Burned;
                    link.earlier.clear();
                }
            }
        }
        self.forget_counts(address);
    }

    pub(super) fn forget_counts(&mut self, address: &str) {
        self.address_codes.retain(|(_, of)| of != address);
        self.address_failures.retain(|(_, of)| of != address);
        self.names_tried.retain(|(_, of)| of != address);
        // For which address a chat asked is known from what is counted for the address.
        for chat in self.chats.iter_mut().flatten() {
            let of_address = chat.codes.iter_mut().filter(|(_, of)| of == address);
            of_address.for_each(|(_, of)| of.clear());
        }
    }
}

//! Codes: asked for, typed, counted, and the proof that they are.

use super::{
    Asked, Bound, Code, DAY_MS, HOUR_MS, Heard, LinkState, Model, Proof, Text, User, within,
};

impl Model {
    pub(super) fn is_locked(&self, at: usize, address: &str, now: u64) -> bool {
        let policy = &self.policy;
        let of_address = self.address_failures.iter().filter(|(_, of)| of == address);
        within(self.all_failures.iter().copied(), now, DAY_MS) >= policy.failures_per_day_in_all
            || within(self.chat(at).failures.iter().copied(), now, DAY_MS)
                >= policy.failures_per_day
            || within(of_address.map(|(at, _)| *at), now, DAY_MS) >= policy.failures_per_day
    }

    pub(super) fn count_failure(&mut self, at: usize, now: u64) {
        let chat = self.chat_mut(at);
        chat.failures.push(now);
        if let Asked::Code(code) = &mut chat.asked {
            code.wrong += 1;
            let address = code.address.clone();
            self.address_failures.push((now, address));
        }
        self.all_failures.push(now);
    }

    pub(super) fn too_many_codes(&self, codes: &[u64], now: u64) -> bool {
        within(codes.iter().copied(), now, HOUR_MS) >= self.policy.mails_per_hour
            || within(codes.iter().copied(), now, DAY_MS) >= self.policy.mails_per_day
    }

    pub(super) fn codes_of_chat(&self, at: usize) -> Vec<u64> {
        self.chat(at).codes.iter().map(|(at, _)| *at).collect()
    }

    pub(super) fn codes_of_address(&self, address: &str) -> Vec<u64> {
        let of_address = self.address_codes.iter().filter(|(_, of)| of == address);
        of_address.map(|(at, _)| *at).collect()
    }

    /// A code is wanted for an address, whoever has it.
    pub(super) fn begin(&mut self, at: usize, address: String, now: u64) -> &'static str {
        if self.is_locked(at, &address, now) {
            return "limited";
        }
        let chat = self.chat(at);
        let last = match &chat.asked {
            Asked::Code(code) if code.address == address => Some(code.at),
            _ => (chat.codes.iter().rfind(|(_, of)| *of == address)).map(|(last, _)| *last),
        };
        if last.is_some_and(|last| now < last + self.policy.resend_after_ms)
            || self.too_many_codes(&self.codes_of_chat(at), now)
        {
            return "limited";
        }
        // Asked for from many chats, an address gets no more mail, and nobody hears of it.
        let is_mailed = !self.too_many_codes(&self.codes_of_address(&address), now);
        if is_mailed {
            self.address_codes.push((now, address.clone()));
        }
        self.put_code(at, address, None, now);
        if !is_mailed && let Some((_, of)) = self.chat_mut(at).codes.last_mut() {
            // Counted here, and for no address.
            of.clear();
        }
        "code_asked"
    }

    pub(super) fn put_code(
        &mut self,
        at: usize,
        address: String,
        after: Option<Vec<User>>,
        now: u64,
    ) {
        let chat = self.chat_mut(at);
        chat.codes.push((now, address.clone()));
        chat.asked = Asked::Code(Code {
            address,
            at: now,
            wrong: 0,
            mailed: None,
            after_password: after,
        });
    }

    pub(super) fn resend(&mut self, at: usize, now: u64) -> &'static str {
        let chat = self.chat(at);
        let Asked::Code(code) = chat.asked.clone() else {
            return "asked";
        };
        if self.policy.methods.mail && chat.bound.is_none() {
            return self.begin(at, code.address, now);
        }
        match code.after_password {
            Some(users) if now < code.at + self.policy.code_lifetime_ms => {
                if self.is_locked(at, &code.address, now)
                    || now < code.at + self.policy.resend_after_ms
                    || self.too_many_codes(&self.codes_of_chat(at), now)
                    || self.too_many_codes(&self.codes_of_address(&code.address), now)
                {
                    return "limited";
                }
                self.address_codes.push((now, code.address.clone()));
                self.put_code(at, code.address, Some(users), now);
                "code_asked"
            }
            _ if self.policy.methods.web => self.send_link(at, now),
            _ => "asked",
        }
    }

    pub(super) fn code(&mut self, at: usize, heard: &Heard, now: u64) -> &'static str {
        let Asked::Code(code) = self.chat(at).asked.clone() else {
            return self.words(at, now);
        };
        if heard.text == Text::ShortCode {
            return "asked";
        }
        if self.is_locked(at, &code.address, now) {
            return "limited";
        }
        if now >= code.at + self.policy.code_lifetime_ms {
            return "asked";
        }
        if code.wrong >= self.policy.tries_per_code {
            return "limited";
        }
        if heard.digits.is_none() || heard.digits != code.mailed {
            self.count_failure(at, now);
            return "code_wrong";
        }
        let users = code.after_password.unwrap_or_else(|| {
            let of_address = self.users.iter().filter(|user| user.email == code.address);
            of_address.cloned().collect()
        });
        if self.is_barred(at, &users, now) {
            self.chat_mut(at).asked = Asked::Nothing;
            return "limited";
        }
        self.address_failures.retain(|(_, of)| *of != code.address);
        self.chat_mut(at).key.clone_from(&heard.names.key);
        self.bind(at, users, Proof::Code, now);
        "bound"
    }

    pub(super) fn is_barred(&self, at: usize, users: &[User], now: u64) -> bool {
        let barred = &self.chat(at).barred;
        barred
            .iter()
            .any(|(user, until)| now < *until && users.contains(user))
    }

    pub(super) fn bind(&mut self, at: usize, users: Vec<User>, proof: Proof, now: u64) {
        let chat = self.chat_mut(at);
        let own = match (&chat.link, &proof) {
            (Some(link), Proof::Link(number)) => link.number == *number,
            _ => false,
        };
        match chat.link.as_mut().map(|link| &mut link.state) {
            Some(LinkState::SignedIn { .. }) if !own => chat.burn(now),
            Some(state) if *state != LinkState::Burned => *state = LinkState::Used,
            _ => {}
        }
        chat.bound = Some(Bound {
            users,
            proof,
            at: now,
        });
        chat.asked = Asked::Nothing;
    }

    /// What a code needs could not be had in time: it counts against nobody.
    pub fn gave_up(&mut self, at: usize, now: u64) {
        let methods = self.policy.methods;
        let chat = self.chat_mut(at);
        let Asked::Code(code) = chat.asked.clone() else {
            return;
        };
        chat.asked = match chat.bound.is_some() || !methods.mail {
            true => Asked::Nothing,
            false => Asked::Address { at: now },
        };
        take_back(&mut chat.codes, code.at, &code.address);
        take_back(&mut self.address_codes, code.at, &code.address);
    }
}

fn take_back(counted: &mut Vec<(u64, String)>, at: u64, address: &str) {
    if let Some(place) = (counted.iter()).position(|(moment, of)| *moment == at && of == address) {
        counted.remove(place);
    }
}

//! Links: sent, opened, signed in with, and the way back.

use super::super::steps::{Check, Who};
use super::{Asked, DAY_MS, HOUR_MS, Heard, Known, Link, LinkState, Model, Proof, User, within};
use portero::domain::policy::{Finish, PhoneOnFile, Policy};

impl Model {
    pub fn send_link(&mut self, at: usize, now: u64) -> &'static str {
        let policy = self.policy.clone();
        let number = self.links.len();
        let chat = self.chat_mut(at);
        let two_within_a_day = (chat.mismatches.windows(2))
            .rfind(|pair| pair[1] < pair[0] + DAY_MS)
            .is_some_and(|pair| now < pair[1] + DAY_MS);
        if within(chat.links.iter().copied(), now, HOUR_MS) >= policy.links_per_hour
            || within(chat.links.iter().copied(), now, DAY_MS) >= Policy::LINKS_PER_DAY
            || two_within_a_day
        {
            return "limited";
        }
        chat.links.push(now);
        let earlier = match chat.link.take() {
            Some(Link {
                state: LinkState::SignedIn { users, .. },
                ..
            }) => users,
            Some(link) => link.earlier,
            None => Vec::new(),
        };
        chat.link = Some(Link {
            number,
            at: now,
            passwords: 0,
            wrong_numbers: 0,
            state: LinkState::Live,
            earlier,
        });
        if chat.bound.is_none() {
            chat.asked = Asked::Link;
        }
        self.links.push(Known {
            chat: at,
            returned_from: None,
            forgotten: false,
        });
        "link_sent"
    }

    /// A form was sent with the link `number`; what the page should say.
    pub fn signs(
        &mut self,
        number: usize,
        by: Who,
        user_name: &str,
        typed_number: Option<&str>,
        check: Check,
        now: u64,
    ) -> &'static str {
        let at = self.links[number].chat;
        let Some(link) = self.live_link(number, now) else {
            return "Gone";
        };
        if self.policy.ask_number
            && self.chat(at).number.is_some()
            && self.chat(at).number.as_deref() != typed_number
        {
            let link = self.chat_mut(at).link.as_mut().unwrap();
            link.wrong_numbers += 1;
            if link.wrong_numbers < Policy::NUMBERS_PER_LINK {
                return "WrongNumber";
            }
            self.chat_mut(at).burn(now);
            return "Burned";
        }
        let of_name = self.names_tried.iter().filter(|(_, of)| of == user_name);
        let of_network = self.networks_tried.iter().filter(|(_, of)| *of == by);
        let policy = &self.policy;
        if within(of_name.map(|(at, _)| *at), now, HOUR_MS) >= policy.passwords_per_user_per_hour
            || within(of_network.map(|(at, _)| *at), now, Policy::NETWORK_MS)
                >= policy.passwords_per_network
        {
            return "TooMany";
        }
        if link.passwords >= policy.passwords_per_link {
            return "Gone";
        }
        let max = policy.passwords_per_link;
        let wrong = |model: &mut Model| {
            model.names_tried.push((now, user_name.to_owned()));
            model.networks_tried.push((now, by));
            let link = model.chat_mut(at).link.as_mut().unwrap();
            link.passwords += 1;
            link.passwords >= max
        };
        match check {
            Check::Wrong | Check::NotEverybody => {
                if wrong(self) {
                    self.chat_mut(at).burn(now);
                    return "Burned";
                }
                match check {
                    Check::NotEverybody => "NoAnswer",
                    _ => "WrongPassword",
                }
            }
            Check::NoAnswer => "NoAnswer",
            Check::Right => {
                let users = self.users.iter().filter(|user| user.email == user_name);
                let users = users.cloned().collect();
                // The form that was right is one of those that a link takes.
                self.chat_mut(at).link.as_mut().unwrap().passwords += 1;
                self.signed_in(at, users, now)
            }
        }
    }

    pub fn live_link(&self, number: usize, now: u64) -> Option<Link> {
        let chat = self.chats[self.links[number].chat].as_ref()?;
        let link = chat.link.clone().filter(|link| link.number == number)?;
        self.link_is_live(&link, now).then_some(link)
    }

    pub(super) fn signed_in(&mut self, at: usize, users: Vec<User>, now: u64) -> &'static str {
        let policy = self.policy.clone();
        let number = self.chat(at).number.clone();
        let differs = (users.iter())
            .any(|user| user.phone.is_some() && number.is_some() && user.phone != number);
        let unknown = users.iter().any(|user| user.phone.is_some()) && number.is_none();
        let same = users
            .iter()
            .all(|user| user.phone.is_some() && user.phone == number);
        let looks = policy.phone_on_file != PhoneOnFile::Ignored;
        if self.is_barred(at, &users, now)
            || (differs && policy.phone_on_file == PhoneOnFile::MustMatch)
        {
            let chat = self.chat_mut(at);
            chat.burn(now);
            chat.mismatches.push(now);
            return "Refused";
        }
        if looks && (differs || unknown) {
            return self.step_up(at, users, now);
        }
        if looks && same {
            return self.finish(at, users, now);
        }
        match policy.finish {
            Finish::Nothing => self.finish(at, users, now),
            Finish::MailCode => self.step_up(at, users, now),
            Finish::ReturnCode => {
                let link = self.chat_mut(at).link.as_mut().unwrap();
                link.state = LinkState::SignedIn {
                    users,
                    until: now + policy.return_code_lifetime_ms,
                };
                let number = link.number;
                self.links[number].returned_from = Some(now);
                "Return"
            }
        }
    }

    pub(super) fn finish(&mut self, at: usize, users: Vec<User>, now: u64) -> &'static str {
        let chat = self.chat_mut(at);
        chat.key = None;
        let number = chat.link.as_ref().unwrap().number;
        self.bind(at, users, Proof::Link(number), now);
        "Finished"
    }

    pub(super) fn step_up(&mut self, at: usize, users: Vec<User>, now: u64) -> &'static str {
        let to = users[0].email.clone();
        let too_many = self.too_many_codes(&self.codes_of_chat(at), now)
            || self.too_many_codes(&self.codes_of_address(&to), now);
        let is_paused = within(self.all_failures.iter().copied(), now, DAY_MS)
            >= self.policy.failures_per_day_in_all;
        if too_many || self.is_locked(at, &to, now) {
            self.chat_mut(at).link.as_mut().unwrap().passwords -= 1;
            return match is_paused && !too_many {
                true => "NoAnswer",
                false => "TooMany",
            };
        }
        self.address_codes.push((now, to.clone()));
        self.put_code(at, to, Some(users), now);
        self.chat_mut(at).link.as_mut().unwrap().state = LinkState::Used;
        "CodeMailed"
    }

    pub fn declines(&mut self, number: usize, now: u64) -> &'static str {
        let at = self.links[number].chat;
        if self.live_link(number, now).is_none() {
            return "Gone";
        }
        self.chat_mut(at).burn(now);
        "Declined"
    }

    /// Whether a return code is still known as one.
    pub(super) fn is_known(&self, number: usize) -> bool {
        !self.links[number].forgotten && self.chats[self.links[number].chat].is_some()
    }

    pub(super) fn returns(
        &mut self,
        at: usize,
        heard: &Heard,
        is_foreign: bool,
        now: u64,
    ) -> &'static str {
        let number = heard.returns.expect("a return code");
        let age = now.saturating_sub(heard.sent_at);
        let chat = self.chat(at).clone();
        if let Some(Link {
            number: last,
            state: LinkState::SignedIn { users, until },
            ..
        }) = chat.link.clone()
            && last == number
        {
            if heard.forwarded {
                self.mismatch(at, now);
                return "mismatch";
            }
            if now >= until || age > self.policy.message_age_max_ms {
                self.chat_mut(at).burn(now);
                return "asked";
            }
            self.chat_mut(at).key.clone_from(&heard.names.key);
            self.bind(at, users, Proof::Link(number), now);
            return "bound";
        }
        match () {
            () if is_foreign => "mismatch",
            () if chat.proved_just_now(now) => "ignored",
            () => "asked",
        }
    }

    /// A return code came from another chat than that of its link, or from a group.
    pub(super) fn returned_elsewhere(&mut self, number: usize, now: u64) -> &'static str {
        let Known {
            chat: at,
            returned_from,
            ..
        } = self.links[number].clone();
        let lifetime_ms = self.policy.return_code_lifetime_ms;
        let chat = self.chat_mut(at);
        let has_bound = (chat.bound.as_ref()).is_some_and(|b| b.proof == Proof::Link(number));
        let is_passed_on = match &chat.link {
            Some(link) if link.number == number => {
                matches!(link.state, LinkState::SignedIn { .. })
            }
            // A newer link says nothing against what was passed on.
            Some(_) => returned_from.is_some_and(|made_at| now < made_at + lifetime_ms),
            None => false,
        };
        if has_bound {
            chat.unbind();
            chat.asked = Asked::Nothing;
        }
        if has_bound || is_passed_on {
            self.mismatch(at, now);
            return "mismatch";
        }
        "ignored"
    }

    pub(super) fn mismatch(&mut self, at: usize, now: u64) {
        let chat = self.chat_mut(at);
        chat.mismatches.push(now);
        if let Some(link) = &mut chat.link {
            if link.state != LinkState::Used {
                link.state = LinkState::Burned;
            }
            link.earlier.clear();
        }
    }
}

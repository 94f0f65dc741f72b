//! What a message comes to, by who wrote it and what was asked last.

use super::super::steps::Text;
use super::{
    Asked, CLOCKS_APART_MS, Chat, Heard, MINUTE_MS, Model, WINDOW_MS, address_of, meant_by, typo_of,
};
use portero::domain::policy::Gate;

impl Model {
    /// A message to a group, where nobody is signed in.
    pub fn hears_in_group(&mut self, heard: &Heard, now: u64) -> &'static str {
        if let Some(link) = heard.returns.filter(|link| self.is_known(*link)) {
            return self.returned_elsewhere(link, now);
        }
        if self.policy.gate == Gate::Everyone || heard.returns.is_some() {
            return "ignored";
        }
        for at in [self.by_bsuid(&heard.names), self.by_number(&heard.names)] {
            let Some(chat) = at.map(|at| self.chat(at)) else {
                continue;
            };
            let is_signing_in = self.has_live_code(chat, now) || self.has_link(chat, now);
            if is_signing_in || self.is_being_asked(chat, now) || is_an_answer(chat, heard) {
                return "ignored";
            }
        }
        "handed_on"
    }

    /// A message in a chat.
    pub fn hears(&mut self, heard: &Heard, now: u64) -> &'static str {
        let at = self.writer(&heard.names, now);
        let foreign = heard
            .returns
            .filter(|link| self.is_known(*link) && self.links[*link].chat != at);
        if let Some(link) = foreign {
            self.returned_elsewhere(link, now);
        }
        self.end_what_no_longer_stands(at, heard, now);
        let live_code = self.has_live_code(self.chat(at), now);
        let chat = self.chat_mut(at);
        if now > chat.last_wrote + WINDOW_MS && !live_code {
            chat.asked = Asked::Nothing;
        }
        // Known to a minute.
        if now >= chat.last_wrote + MINUTE_MS {
            chat.last_wrote = now;
        }
        if heard.returns.is_some() {
            return self.returns(at, heard, foreign.is_some(), now);
        }
        if self.chat(at).bound.is_some() {
            return self.hears_from_somebody_known(at, heard, now);
        }
        let age = now.saturating_sub(heard.sent_at);
        let chat = self.chat(at);
        if self.policy.gate == Gate::OnRequest
            && !self.is_being_asked(chat, now)
            && !is_an_answer(chat, heard)
        {
            return "handed_on";
        }
        if age > WINDOW_MS {
            return "stale";
        }
        if heard.text == Text::Reaction {
            return "ignored";
        }
        if age > self.policy.message_age_max_ms {
            return self.late(at, now);
        }
        if heard.forwarded {
            return self.forwarded(at, heard, now);
        }
        self.hears_from_somebody_unknown(at, heard, now)
    }

    pub(super) fn end_what_no_longer_stands(&mut self, at: usize, heard: &Heard, now: u64) {
        let chat = self.chat(at);
        let Some(bound) = &chat.bound else { return };
        let is_older = heard.sent_at + CLOCKS_APART_MS < bound.at;
        let other_key = match (&chat.key, &heard.names.key) {
            (Some(proved), Some(key)) => proved != key && !is_older,
            _ => false,
        };
        let outlived = self.outlived(chat, bound, now);
        let chat = self.chat_mut(at);
        if other_key {
            chat.release(now);
        } else if outlived {
            chat.unbind();
        } else if chat.key.is_none() {
            chat.key.clone_from(&heard.names.key);
        }
    }

    pub(super) fn is_being_asked(&self, chat: &Chat, now: u64) -> bool {
        let in_chat = match &chat.asked {
            Asked::Nothing | Asked::Link => false,
            Asked::Address { at } => now < at + self.policy.code_lifetime_ms,
            Asked::Spelling { .. } => true,
            Asked::Code(code) => now < code.at + self.policy.code_lifetime_ms,
        };
        in_chat || self.has_link(chat, now)
    }

    pub(super) fn hears_from_somebody_known(
        &mut self,
        at: usize,
        heard: &Heard,
        now: u64,
    ) -> &'static str {
        let is_late = now.saturating_sub(heard.sent_at) > self.policy.message_age_max_ms;
        let chat = self.chat(at).clone();
        let live_code = self.has_live_code(&chat, now);
        let is_signing_in = live_code || self.has_link(&chat, now);
        let is_the_code = matches!(&chat.asked, Asked::Code(code)
            if heard.digits.is_some() && code.mailed == heard.digits);
        match heard.text {
            Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode
                if live_code || is_the_code =>
            {
                return match () {
                    () if heard.forwarded => self.forwarded(at, heard, now),
                    () if is_late => self.late(at, now),
                    () => self.code(at, heard, now),
                };
            }
            // The code once more, by an impatient thumb.
            Text::Code(_) | Text::Guess | Text::TwoCodes | Text::ShortCode
                if !heard.forwarded && chat.proved_just_now(now) =>
            {
                return "ignored";
            }
            Text::Address(_) | Text::Typo(_) | Text::TwoAddresses
                if is_signing_in && (live_code || chat.link.is_some()) =>
            {
                return "asked";
            }
            Text::Password if is_signing_in => return "asked",
            Text::Picture if live_code && chat.same_breath(now) => return "ignored",
            Text::Picture if live_code => return "asked",
            Text::Tap(button) | Text::OldTap(button) => {
                let (of_code, of_link) = heard.tap;
                let of_code = of_code && matches!(chat.asked, Asked::Code(_));
                return match button {
                    "newlink" if !is_late && of_link && self.policy.methods.web => {
                        self.send_link(at, now)
                    }
                    "resend" if !is_late && of_code => self.resend(at, now),
                    "cancel" if !is_late && (of_link || of_code) => self.cancel(at, now),
                    "logout" if !heard.forwarded => self.log_out(at, heard),
                    _ if heard.forwarded => "handed_on",
                    _ => "ignored",
                };
            }
            Text::LogOut if !heard.forwarded => return self.log_out(at, heard),
            Text::WhoAmI if !heard.forwarded => return "asked",
            _ => {}
        }
        "handed_on"
    }

    pub(super) fn log_out(&mut self, at: usize, heard: &Heard) -> &'static str {
        let chat = self.chat_mut(at);
        let bound_at = chat.bound.as_ref().map_or(0, |bound| bound.at);
        if heard.sent_at + CLOCKS_APART_MS < bound_at {
            return "stale";
        }
        chat.unbind();
        chat.asked = Asked::Nothing;
        "released"
    }

    pub(super) fn hears_from_somebody_unknown(
        &mut self,
        at: usize,
        heard: &Heard,
        now: u64,
    ) -> &'static str {
        let methods = self.policy.methods;
        let chat = self.chat(at).clone();
        let is_signing_in = self.has_live_code(&chat, now) || self.has_link(&chat, now);
        match heard.text {
            Text::Hello | Text::Question => self.words(at, now),
            Text::Password if is_signing_in => "asked",
            Text::Password => self.words(at, now),
            Text::Reaction => "ignored",
            Text::Picture => match chat.asked {
                Asked::Nothing => self.welcome(at, now),
                _ if chat.same_breath(now) => "ignored",
                _ => "asked",
            },
            Text::Address(_) | Text::Typo(_) | Text::TwoAddresses if !methods.mail => {
                self.words(at, now)
            }
            Text::TwoAddresses => {
                if chat.asked == Asked::Nothing {
                    self.chat_mut(at).asked = Asked::Address { at: now };
                }
                "asked"
            }
            Text::Address(who) => self.begin(at, address_of(who), now),
            Text::Typo(who) => {
                let typed = typo_of(&address_of(who));
                let meant = meant_by(&typed).unwrap();
                self.chat_mut(at).asked = Asked::Spelling { typed, meant };
                "asked"
            }
            Text::ShortCode if !matches!(chat.asked, Asked::Code(_)) => self.words(at, now),
            Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode => {
                self.code(at, heard, now)
            }
            Text::Yes
            | Text::No
            | Text::Resend
            | Text::OtherAddress
            | Text::Cancel
            | Text::LogOut
            | Text::WhoAmI
            | Text::Web => self.command(at, heard.text, now),
            Text::Tap(button) | Text::OldTap(button) => {
                let (of_question, of_link) = heard.tap;
                let is_current = match chat.asked {
                    Asked::Code(_) | Asked::Spelling { .. } => of_question,
                    Asked::Link => of_link,
                    Asked::Nothing | Asked::Address { .. } => false,
                };
                let command = match button {
                    "resend" => Text::Resend,
                    "other" => Text::OtherAddress,
                    "cancel" => Text::Cancel,
                    "yes" => Text::Yes,
                    "no" => Text::No,
                    "logout" => Text::LogOut,
                    _ => Text::Web,
                };
                if is_current || matches!(command, Text::LogOut | Text::Web) {
                    self.command(at, command, now)
                } else if chat.asked == Asked::Nothing {
                    self.welcome(at, now)
                } else {
                    "asked"
                }
            }
            Text::Return(_) | Text::OldReturn(_) => self.words(at, now),
        }
    }

    pub(super) fn command(&mut self, at: usize, command: Text, now: u64) -> &'static str {
        let methods = self.policy.methods;
        match (command, self.chat(at).asked.clone()) {
            (Text::Resend, Asked::Code(_)) => self.resend(at, now),
            (Text::OtherAddress, Asked::Code(_) | Asked::Spelling { .. } | Asked::Link)
                if methods.mail =>
            {
                self.chat_mut(at).asked = Asked::Address { at: now };
                "asked"
            }
            (Text::Cancel, asked) if asked != Asked::Nothing => self.cancel(at, now),
            (Text::Web, _) if methods.web => self.send_link(at, now),
            (Text::Yes, Asked::Spelling { meant, .. }) => self.begin(at, meant, now),
            (Text::No, Asked::Spelling { typed, .. }) => self.begin(at, typed, now),
            (Text::LogOut | Text::WhoAmI, Asked::Nothing | Asked::Address { .. })
                if methods.mail =>
            {
                self.chat_mut(at).asked = Asked::Address { at: now };
                "asked"
            }
            _ => self.words(at, now),
        }
    }

    pub(super) fn cancel(&mut self, at: usize, now: u64) -> &'static str {
        let chat = self.chat_mut(at);
        chat.asked = Asked::Nothing;
        chat.burn(now);
        "asked"
    }

    pub(super) fn words(&mut self, at: usize, now: u64) -> &'static str {
        let methods = self.policy.methods;
        let chat = self.chat(at);
        match &chat.asked {
            Asked::Nothing => self.welcome(at, now),
            _ if chat.same_breath(now) => "ignored",
            Asked::Address { .. } | Asked::Spelling { .. } if !methods.mail => {
                self.welcome(at, now)
            }
            Asked::Link if !methods.web => self.welcome(at, now),
            _ => "asked",
        }
    }

    pub(super) fn welcome(&mut self, at: usize, now: u64) -> &'static str {
        if !self.policy.methods.mail {
            return self.send_link(at, now);
        }
        self.chat_mut(at).asked = Asked::Address { at: now };
        "asked"
    }

    pub(super) fn late(&mut self, at: usize, now: u64) -> &'static str {
        match self.chat(at).asked {
            Asked::Nothing => self.welcome(at, now),
            _ if self.chat(at).same_breath(now) => "ignored",
            _ => "stale",
        }
    }

    pub(super) fn forwarded(&mut self, at: usize, heard: &Heard, now: u64) -> &'static str {
        let has_code = matches!(
            heard.text,
            Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode
        );
        match self.chat(at).asked.clone() {
            Asked::Nothing => self.welcome(at, now),
            Asked::Code(code) if has_code => {
                if self.code_is_live(&code, now) {
                    self.count_failure(at, now);
                }
                "code_wrong"
            }
            _ => "asked",
        }
    }
}

/// Whether a text answers what was asked, however late.
fn is_an_answer(chat: &Chat, heard: &Heard) -> bool {
    let is_code_awaited = matches!(chat.asked, Asked::Code(_));
    match heard.text {
        Text::Tap(_) | Text::OldTap(_) => true,
        Text::Address(_) | Text::Typo(_) | Text::TwoAddresses => {
            is_code_awaited || matches!(chat.asked, Asked::Address { .. })
        }
        Text::Code(_) | Text::OldCode(_) | Text::Guess | Text::TwoCodes | Text::ShortCode => {
            is_code_awaited
        }
        _ => false,
    }
}

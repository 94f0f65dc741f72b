//! The way in by mail: an address, a code to the address on file, and the code typed in the chat.

use super::super::account::{Account, Answer};
use super::super::binding::{Binding, Proof};
use super::super::budget::Budget;
use super::super::challenge::{Challenge, Sought};
use super::super::contact::Stage;
use super::super::id::{ChallengeId, EmailAddress, ProofId};
use super::super::message::Inbound;
use super::super::policy::Policy;
use super::super::reading::{self, Codes};
use super::super::time::Timestamp;
use super::{Action, AuditEvent, Errand, Opening, Outcome, Sentence, Turn};

impl Turn<'_> {
    pub(super) fn addresses(&mut self, addresses: &[EmailAddress], message: &Inbound) -> Outcome {
        if !self.context.policy.methods.mail {
            return self.words(message);
        }
        let [address] = addresses else {
            if self.contact.stage == Stage::Idle {
                self.contact.stage = Stage::AddressAsked { at: self.now() };
            }
            return self.ask(Sentence::OneAddressOnly);
        };
        match reading::likely_meant(address) {
            Some(suggested) => {
                let tag = ChallengeId(self.context.fresh).tag();
                let typed = address.clone();
                self.contact.stage = Stage::SpellingAsked {
                    typed: typed.clone(),
                    suggested: suggested.clone(),
                    tag: tag.clone(),
                };
                self.ask(Sentence::DidYouMean {
                    typed,
                    suggested,
                    tag,
                })
            }
            None => self.begin(address.clone()),
        }
    }

    /// A code is wanted for `address`. Every limit is the same whether or not anybody has it.
    pub(super) fn begin(&mut self, address: EmailAddress) -> Outcome {
        let (now, policy) = (self.now(), self.context.policy);
        if let Some(sentence) = self.lock(&address) {
            return self.limited(sentence);
        }
        let asked_at = match &self.contact.stage {
            Stage::CodeAwaited(challenge) if challenge.address == address => {
                Some(challenge.asked_at)
            }
            // Asked for in this chat and left since, whoever else has asked meanwhile.
            _ => {
                let of_chat = self.contact.codes.moments();
                let of_address = self.counts.of(&address).codes.moments().iter().rev();
                of_address.copied().find(|moment| of_chat.contains(moment))
            }
        };
        if let Some(last) = asked_at
            && now.since_ms(last) < policy.resend_after_ms
        {
            self.say(Sentence::WaitForNextCode {
                until: last.plus_ms(policy.resend_after_ms),
            });
            return Outcome::Limited;
        }
        let per_hour =
            |codes: &Budget| codes.blocked_until(now, Policy::HOUR_MS, policy.mails_per_hour);
        let per_day =
            |codes: &Budget| codes.blocked_until(now, Policy::DAY_MS, policy.mails_per_day);
        if let Some(until) = per_hour(&self.contact.codes).max(per_day(&self.contact.codes)) {
            return self.limited(Sentence::TooManyCodes { until });
        }
        // Asked for from many chats, an address gets no more mail; the answer stays the same (S-20).
        let counts = self.counts.of(&address);
        let spared = per_hour(&counts.codes).or(per_day(&counts.codes)).is_some();
        if !spared {
            counts.codes.count(now, Policy::DAY_MS);
        }
        self.contact.codes.count(now, Policy::DAY_MS);
        let sought = if spared {
            Sought::Nobody
        } else {
            Sought::Asking
        };
        let challenge = Challenge::new(
            ChallengeId(self.context.fresh),
            address.clone(),
            sought,
            now,
            policy,
        );
        self.actions.push(Action::Audit(AuditEvent::CodeAsked));
        self.actions.push(Action::Say(Sentence::CodeOnItsWay {
            address: address.clone(),
            tag: challenge.id.tag(),
        }));
        if !spared {
            self.actions.push(Action::LookUp {
                challenge: challenge.id,
                address,
            });
        }
        self.contact.stage = Stage::CodeAwaited(challenge);
        Outcome::CodeAsked
    }

    /// Another code for the challenge in flight.
    pub(super) fn resend(&mut self, challenge: Challenge) -> Outcome {
        let policy = self.context.policy;
        let does_alone = self.is_demanded_by_mail();
        let is_found = matches!(challenge.sought, Sought::Found(_));
        if policy.methods.mail && (!self.contact.is_bound() || (does_alone && !is_found)) {
            return self.begin(challenge.address);
        }
        // Where a mailbox alone is not what was asked for, the password stands behind the code, and only while
        // the code is good.
        match &challenge.sought {
            Sought::Found(accounts)
                if self.now() < challenge.expires_at
                    || (does_alone && self.are_bound_already(accounts)) =>
            {
                self.mail_again(&challenge, accounts.clone())
            }
            _ if policy.methods.web => self.send_link(Opening::Asked),
            _ => self.ask(Sentence::OldButton),
        }
    }

    fn mail_again(&mut self, before: &Challenge, accounts: Vec<Account>) -> Outcome {
        let (now, policy, to) = (self.now(), self.context.policy, before.address.clone());
        if let Some(sentence) = self.lock(&to) {
            return self.limited(sentence);
        }
        if now.since_ms(before.asked_at) < policy.resend_after_ms {
            self.say(Sentence::WaitForNextCode {
                until: before.asked_at.plus_ms(policy.resend_after_ms),
            });
            return Outcome::Limited;
        }
        if let Some(until) = self.codes_blocked_until(&to) {
            return self.limited(Sentence::TooManyCodes { until });
        }
        let tag = self.mail_code(to.clone(), accounts);
        if let Some(requirement) = &mut self.contact.requirement
            && requirement.after_password == Some(before.id)
        {
            requirement.after_password = Some(ChallengeId(self.context.fresh));
        }
        self.actions
            .push(Action::Say(Sentence::CodeOnItsWay { address: to, tag }));
        Outcome::CodeAsked
    }

    /// Until when no code can be mailed to `to` from this chat, when its accounts are known.
    pub(super) fn codes_blocked_until(&mut self, to: &EmailAddress) -> Option<Timestamp> {
        let (now, policy) = (self.now(), self.context.policy);
        let blocked = |codes: &Budget| {
            (codes.blocked_until(now, Policy::HOUR_MS, policy.mails_per_hour))
                .max(codes.blocked_until(now, Policy::DAY_MS, policy.mails_per_day))
        };
        blocked(&self.contact.codes).max(blocked(&self.counts.of(to).codes))
    }

    /// Mails a code for accounts whose password was right; counted like any other. Returns the tag
    /// of the challenge.
    pub(super) fn mail_code(&mut self, to: EmailAddress, accounts: Vec<Account>) -> String {
        let (now, policy) = (self.now(), self.context.policy);
        self.contact.codes.count(now, Policy::DAY_MS);
        self.counts.of(&to).codes.count(now, Policy::DAY_MS);
        let id = ChallengeId(self.context.fresh);
        let challenge = Challenge::new(id, to.clone(), Sought::Found(accounts), now, policy);
        self.audit(AuditEvent::CodeAsked);
        self.actions.push(Action::MailCode {
            challenge: id,
            to,
            expires_at: challenge.expires_at,
        });
        self.contact.stage = Stage::CodeAwaited(challenge);
        id.tag()
    }

    /// What stops new codes and tries: too many wrong ones, here, for this address, or in all.
    pub(super) fn lock(&mut self, address: &EmailAddress) -> Option<Sentence> {
        let (now, policy) = (self.now(), self.context.policy);
        let day = |failures: &Budget, max| failures.blocked_until(now, Policy::DAY_MS, max);
        if day(&self.counts.failures_in_all, policy.failures_per_day_in_all).is_some() {
            return Some(Sentence::SignInPaused);
        }
        let here = day(&self.contact.failures, policy.failures_per_day);
        let there = day(&self.counts.of(address).failures, policy.failures_per_day);
        here.max(there)
            .map(|until| Sentence::TooManyFailures { until })
    }

    pub(super) fn codes(&mut self, codes: &Codes, message: &Inbound) -> Outcome {
        let Stage::CodeAwaited(challenge) = self.contact.stage.clone() else {
            return self.words(message);
        };
        let tag = challenge.id.tag();
        let typed = match codes {
            Codes::WrongLength => return self.ask(Sentence::CodeLength { tag }),
            Codes::Several => None,
            Codes::One(code) => Some(code),
        };
        if let Some(sentence) = self.lock(&challenge.address) {
            return self.limited(sentence);
        }
        if self.now() >= challenge.expires_at {
            return self.ask(Sentence::CodeExpired { tag });
        }
        if !challenge.is_live(self.now(), self.context.policy) {
            self.say(Sentence::CodeWrong { left: 0, tag });
            return Outcome::Limited;
        }
        let right = match (typed, &self.context.expected_code) {
            (Some(typed), Some(expected)) => typed.matches(expected),
            _ => false,
        };
        match challenge.sought {
            Sought::Found(accounts) if right => {
                self.prove(&challenge.address, accounts, challenge.id, message)
            }
            Sought::Found(_) | Sought::Asking | Sought::Nobody => {
                self.actions.push(Action::Audit(AuditEvent::CodeWrong));
                let left = self.count_failure();
                self.say(Sentence::CodeWrong { left, tag });
                Outcome::CodeWrong
            }
        }
    }

    /// Counts a wrong code everywhere it counts; returns the tries left with this one.
    pub(super) fn count_failure(&mut self) -> u32 {
        let now = self.now();
        let Stage::CodeAwaited(challenge) = &mut self.contact.stage else {
            return 0;
        };
        challenge.wrong = challenge.wrong.saturating_add(1);
        let left = self
            .context
            .policy
            .tries_per_code
            .saturating_sub(challenge.wrong);
        let address = challenge.address.clone();
        self.contact.failures.count(now, Policy::DAY_MS);
        self.counts.of(&address).failures.count(now, Policy::DAY_MS);
        self.counts.failures_in_all.count(now, Policy::DAY_MS);
        left
    }

    pub(super) fn prove(
        &mut self,
        address: &EmailAddress,
        accounts: Vec<Account>,
        id: ChallengeId,
        message: &Inbound,
    ) -> Outcome {
        let now = self.now();
        let proof_id = ProofId(id.0);
        let bindings: Vec<Binding> = accounts
            .into_iter()
            .map(|account| Binding::new(account, Proof::MailCode, proof_id, now))
            .collect();
        if bindings
            .iter()
            .any(|binding| self.barred_from(binding).is_some())
        {
            self.contact.stage = Stage::Idle;
            self.refuse_requirement();
            self.audit(AuditEvent::AccountRefused);
            self.say(Sentence::AccountRefused);
            return Outcome::Limited;
        }
        self.contact.identity_key = message.sender.identity_key.clone();
        // The contact's own failures stay: signing in as oneself must not buy tries at others.
        self.counts.of(address).failures.clear();
        self.bind(bindings)
    }

    pub(super) fn remind(&mut self) -> Outcome {
        let Stage::CodeAwaited(challenge) = &self.contact.stage else {
            return Outcome::Ignored;
        };
        let tag = challenge.id.tag();
        if self.now() < challenge.expires_at {
            self.ask(Sentence::TypeTheCode { tag })
        } else {
            self.ask(Sentence::CodeExpired { tag })
        }
    }

    // --- what the world answered ----------------------------------------------------------------

    pub(super) fn looked_up(&mut self, id: ChallengeId, answers: &[Answer]) -> Outcome {
        let Stage::CodeAwaited(challenge) = &mut self.contact.stage else {
            return Outcome::Ignored;
        };
        if challenge.id != id {
            return Outcome::Ignored;
        }
        let expires_at = challenge.expires_at;
        let mut accounts: Vec<Account> = answers
            .iter()
            .filter_map(|answer| answer.users.as_ref().ok())
            .flatten()
            .filter(|account| account.email == challenge.address)
            .cloned()
            .collect();
        let all_answered = answers.iter().all(|answer| answer.users.is_ok());
        let any_answered = all_answered || answers.iter().any(|answer| answer.users.is_ok());
        match &mut challenge.sought {
            // A service that was silent at first adds what it knows.
            Sought::Found(known) => {
                accounts.retain(|account| !known.contains(account));
                known.append(&mut accounts);
            }
            Sought::Asking | Sought::Nobody if !accounts.is_empty() => {
                let to = accounts[0].email.clone();
                challenge.sought = Sought::Found(accounts);
                self.actions.push(Action::MailCode {
                    challenge: id,
                    to,
                    expires_at,
                });
            }
            // The first answer decides when the mail server is visited, whatever it says.
            Sought::Asking if any_answered => {
                challenge.sought = Sought::Nobody;
                self.actions.push(Action::PretendMail {
                    challenge: id,
                    expires_at,
                });
            }
            Sought::Asking | Sought::Nobody => {}
        }
        if all_answered {
            Outcome::Settled
        } else {
            // Somebody who could not be asked may know the address: never "user unknown".
            Outcome::Unsettled
        }
    }

    pub(super) fn gave_up(&mut self, id: ChallengeId, errand: Errand) -> Outcome {
        let Stage::CodeAwaited(challenge) = self.contact.stage.clone() else {
            return Outcome::Ignored;
        };
        if challenge.id != id {
            return Outcome::Ignored;
        }
        if errand == Errand::LookUp && challenge.sought != Sought::Asking {
            // Some services answered and some never did. A code may be on its way or not, and
            // whoever reads this must not learn which.
            let tag = challenge.id.tag();
            self.say(Sentence::LookUpIncomplete { tag });
            return Outcome::GaveUp;
        }
        // What never left does not count against anybody.
        self.contact.codes.take_back(challenge.asked_at);
        self.counts
            .of(&challenge.address)
            .codes
            .take_back(challenge.asked_at);
        if self.contact.is_bound() || !self.context.policy.methods.mail {
            // It was the code of a step-up: there is no address to be asked for.
            let tag = self.link_tag();
            self.contact.stage = Stage::Idle;
            let sentence = if self.is_demanded_by_mail() {
                Sentence::ConfirmFailed
            } else {
                Sentence::StepUpFailed { tag }
            };
            self.refuse_requirement();
            self.say(sentence);
            return Outcome::GaveUp;
        }
        self.contact.stage = Stage::AddressAsked { at: self.now() };
        let sentence = match errand {
            Errand::LookUp => Sentence::LookUpFailed,
            Errand::Mail => Sentence::MailFailed,
        };
        self.say(sentence);
        Outcome::GaveUp
    }
}

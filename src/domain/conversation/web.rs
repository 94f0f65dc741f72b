//! The way in on the web: a link in the chat, a password on the page, and a return code that has to
//! come back from the same chat (section 3 of the threat model).

use super::super::account::Account;
use super::super::binding::{Binding, Proof, ReleaseReason};
use super::super::contact::Stage;
use super::super::delivery::Notice;
use super::super::id::{ChallengeId, MappingId, ProofId};
use super::super::language::Language;
use super::super::message::{Inbound, Provenance};
use super::super::policy::{Finish, PhoneOnFile, Policy};
use super::super::secret::ReturnCode;
use super::super::sign_in::{
    Mapping, MappingState, PageAct, PageAnswer, Phones, Who, compare_phones, is_number_of,
};
use super::super::time::Timestamp;
use super::{Action, AuditEvent, Opening, Outcome, Sentence, Turn};

impl Turn<'_> {
    // --- the link -----------------------------------------------------------------------------------

    /// Sends a link, which takes the place of an earlier one.
    pub(super) fn send_link(&mut self, opening: Opening) -> Outcome {
        match self.make_link() {
            Ok(mapping) => {
                self.actions
                    .push(Action::Say(Sentence::Link { mapping, opening }));
                Outcome::LinkSent
            }
            Err(limit) => self.limited(limit),
        }
    }

    /// Makes a link, which takes the place of an earlier one, and says nothing; `Err` says which
    /// limit forbids it.
    pub(super) fn make_link(&mut self) -> Result<MappingId, Sentence> {
        let (now, policy) = (self.now(), self.context.policy);
        let links = |max, window_ms| self.contact.links.blocked_until(now, window_ms, max);
        let mismatches = self.no_links_until();
        let until = links(policy.links_per_hour, Policy::HOUR_MS)
            .max(links(Policy::LINKS_PER_DAY, Policy::DAY_MS))
            .max(mismatches);
        if let Some(until) = until {
            return Err(Sentence::TooManyLinks { until });
        }
        let earlier = match self.contact.mapping.take() {
            Some(Mapping {
                state: MappingState::SignedIn { bindings, .. },
                ..
            }) => bindings,
            Some(mapping) => mapping.earlier,
            None => Vec::new(),
        };
        let id = MappingId(self.context.fresh);
        self.contact.links.count(now, Policy::DAY_MS);
        self.contact.mapping = Some(Mapping {
            id,
            asked_at: now,
            expires_at: now.plus_ms(policy.link_lifetime_ms),
            passwords: 0,
            wrong_numbers: 0,
            state: MappingState::Issued,
            earlier,
        });
        if !self.contact.is_bound() {
            self.contact.stage = Stage::LinkSent;
        }
        self.audit(AuditEvent::LinkSent);
        Ok(id)
    }

    /// After [`Policy::MISMATCHES_PER_DAY`] within a day there are no links for a whole day, counted
    /// from the last of them (section 3.2 e of the threat model).
    fn no_links_until(&self) -> Option<Timestamp> {
        let within_a_day = |moments: &&[Timestamp]| match moments {
            [first, .., last] => last.since_ms(*first) < Policy::DAY_MS,
            _ => Policy::MISMATCHES_PER_DAY <= 1,
        };
        (self.contact.mismatches.moments())
            .windows(Policy::MISMATCHES_PER_DAY as usize)
            .rev()
            .find(within_a_day)
            .and_then(|moments| moments.last())
            .map(|last| last.plus_ms(Policy::DAY_MS))
            .filter(|until| self.now() < *until)
    }

    pub(super) fn remind_of_link(&mut self) -> Outcome {
        let Some(mapping) = &self.contact.mapping else {
            return self.welcome(None);
        };
        let tag = mapping.id.tag();
        let waits = mapping.is_live(self.now()) || mapping.awaits_return(self.now());
        if waits {
            self.ask(Sentence::UseTheLink { tag })
        } else {
            self.ask(Sentence::LinkExpired { tag })
        }
    }

    /// The link and whatever came of it so far are worth nothing from here. Who had signed in is
    /// still known: they are told if the return code comes from elsewhere after all.
    pub(super) fn burn(&mut self) {
        let now = self.now();
        if let Some(mapping) = &mut self.contact.mapping {
            match &mut mapping.state {
                MappingState::Used => {}
                MappingState::SignedIn { until, .. } => *until = now.min(*until),
                state => *state = MappingState::Burned,
            }
        }
    }

    // --- the page -----------------------------------------------------------------------------------

    pub(super) fn on_page(&mut self, id: MappingId, act: &PageAct<'_>) -> Outcome {
        let now = self.now();
        let live = (self.contact.mapping.as_ref())
            .filter(|mapping| mapping.id == id && mapping.is_live(now))
            .cloned();
        let Some(mapping) = live else {
            if let PageAct::Checked { tried_at, who } = act {
                self.settle_try(*tried_at, who);
            }
            return self.answer(PageAnswer::Gone, Outcome::Ignored);
        };
        match act {
            PageAct::Try { number } => self.try_password(mapping, *number),
            PageAct::Checked { tried_at, who } => {
                self.settle_try(*tried_at, who);
                self.checked(mapping, who)
            }
            PageAct::Claimed(who) => self.signed_in(mapping, who, Proof::Page),
            PageAct::Declined => {
                self.burn();
                self.refuse_requirement();
                self.audit(AuditEvent::LinkDeclined);
                self.say(Sentence::LinkDeclined);
                self.answer(PageAnswer::Declined, Outcome::OnPage)
            }
        }
    }

    fn answer(&mut self, answer: PageAnswer, outcome: Outcome) -> Outcome {
        self.page = Some(answer);
        outcome
    }

    /// Counts before anything is checked, so that guesses sent at the same moment count as well
    /// (S-41): a try that turns out right, or that nobody could check, is given back.
    fn try_password(&mut self, mut mapping: Mapping, number: Option<&str>) -> Outcome {
        let (now, policy) = (self.now(), self.context.policy);
        if policy.ask_number
            && let Some(chat) = &self.contact.wa_id
            && !number.is_some_and(|number| is_number_of(number, chat))
        {
            mapping.wrong_numbers += 1;
            let left = Policy::NUMBERS_PER_LINK.saturating_sub(mapping.wrong_numbers);
            self.contact.mapping = Some(mapping);
            if left == 0 {
                return self.guessed_at();
            }
            return self.answer(PageAnswer::WrongNumber { left }, Outcome::OnPage);
        }
        let user_name = self.counts.user_name.blocked_until(
            now,
            Policy::HOUR_MS,
            policy.passwords_per_user_per_hour,
        );
        let network = self.counts.network.blocked_until(
            now,
            Policy::NETWORK_MS,
            policy.passwords_per_network,
        );
        if let Some(until) = user_name.max(network) {
            // Nothing is written: whoever is over the limit must not be able to fill the disk.
            return self.answer(PageAnswer::TooMany { until }, Outcome::Limited);
        }
        if mapping.passwords >= policy.passwords_per_link {
            // As many as are allowed are being checked right now.
            return self.answer(PageAnswer::Gone, Outcome::Limited);
        }
        mapping.passwords += 1;
        self.counts.user_name.count(now, Policy::HOUR_MS);
        self.counts.network.count(now, Policy::HOUR_MS);
        self.contact.mapping = Some(mapping);
        self.answer(PageAnswer::Check, Outcome::OnPage)
    }

    fn settle_try(&mut self, tried_at: Timestamp, who: &Who<'_>) {
        if !matches!(who, Who::Nobody | Who::NotEverybody) {
            self.counts.user_name.take_back(tried_at);
            self.counts.network.take_back(tried_at);
        }
    }

    fn checked(&mut self, mut mapping: Mapping, who: &Who<'_>) -> Outcome {
        match who {
            Who::Nobody | Who::NotEverybody => {
                self.audit(AuditEvent::PasswordWrong);
                let max = self.context.policy.passwords_per_link;
                match max.saturating_sub(mapping.passwords) {
                    0 => self.guessed_at(),
                    _ if matches!(who, Who::NotEverybody) => {
                        self.answer(PageAnswer::NoAnswer, Outcome::OnPage)
                    }
                    left => self.answer(PageAnswer::WrongPassword { left }, Outcome::OnPage),
                }
            }
            Who::NoAnswer => {
                mapping.passwords = mapping.passwords.saturating_sub(1);
                self.contact.mapping = Some(mapping);
                self.answer(PageAnswer::NoAnswer, Outcome::OnPage)
            }
            Who::These(_) | Who::Somebody(_) => self.signed_in(mapping, who, Proof::Password),
        }
    }

    fn guessed_at(&mut self) -> Outcome {
        let tag = self.link_tag();
        self.burn();
        self.audit(AuditEvent::LinkBurned);
        self.say(Sentence::LinkBurned { tag });
        self.answer(PageAnswer::Burned, Outcome::Limited)
    }

    pub(super) fn link_tag(&self) -> String {
        (self.contact.mapping.as_ref()).map_or(String::new(), |mapping| mapping.id.tag())
    }

    /// Somebody signed in: who has opened the link is known, whether it is whoever asked for it is
    /// not.
    fn signed_in(&mut self, mapping: Mapping, who: &Who<'_>, proof: Proof) -> Outcome {
        let (now, policy) = (self.now(), self.context.policy);
        let bindings = who.bindings(proof, mapping.proof_id(), now);
        if bindings.is_empty() {
            return self.answer(PageAnswer::Gone, Outcome::Ignored);
        }
        let accounts: &[Account] = match who {
            Who::These(accounts) => accounts,
            Who::Nobody | Who::NoAnswer | Who::NotEverybody | Who::Somebody(_) => &[],
        };
        let barred = (bindings.iter()).any(|binding| self.barred_from(binding).is_some());
        let phones: Vec<Phones> = accounts
            .iter()
            .map(|account| compare_phones(account.phone.as_deref(), self.contact.wa_id.as_ref()))
            .collect();
        let differs = phones.contains(&Phones::Different);
        // On file, and not to be compared: hiding one's number must not be a way around it (S-63).
        let unknown = (accounts.iter().zip(&phones))
            .any(|(account, phones)| *phones == Phones::Unknown && account.phone.is_some());
        let all_same = !phones.is_empty() && phones.iter().all(|phones| *phones == Phones::Same);
        match policy.phone_on_file {
            _ if barred => self.refuse_account(&bindings),
            PhoneOnFile::MustMatch if differs => self.refuse_account(&bindings),
            PhoneOnFile::StepUp if differs => self.step_up(mapping, accounts),
            PhoneOnFile::MustMatch | PhoneOnFile::StepUp if unknown => {
                self.step_up(mapping, accounts)
            }
            // The account's own phone is the chat: nobody else could have asked for the link.
            PhoneOnFile::MustMatch | PhoneOnFile::StepUp if all_same => self.finish(bindings),
            PhoneOnFile::MustMatch | PhoneOnFile::StepUp | PhoneOnFile::Ignored => {
                match policy.finish {
                    Finish::Nothing => self.finish(bindings),
                    Finish::MailCode => self.step_up(mapping, accounts),
                    Finish::ReturnCode => {
                        self.audit(AuditEvent::PasswordRight);
                        self.contact.mapping = Some(Mapping {
                            state: MappingState::SignedIn {
                                bindings,
                                until: now.plus_ms(policy.return_code_lifetime_ms),
                            },
                            ..mapping
                        });
                        self.answer(PageAnswer::Return, Outcome::SignedIn)
                    }
                }
            }
        }
    }

    fn finish(&mut self, bindings: Vec<Binding>) -> Outcome {
        // No message of this contact is at hand; the next one brings its key.
        self.contact.identity_key = None;
        self.page = Some(PageAnswer::Finished);
        self.bind(bindings)
    }

    /// Ends the sign-in of an account that this chat must not have, and tells the account's owner:
    /// somebody may have been sent this contact's link.
    fn refuse_account(&mut self, bindings: &[Binding]) -> Outcome {
        self.burn();
        self.refuse_requirement();
        self.audit(AuditEvent::AccountRefused);
        self.contact.mismatches.count(self.now(), Policy::DAY_MS);
        self.say(Sentence::AccountRefused);
        self.notify(bindings, self.contact.language, |_| Notice::Refused);
        self.answer(PageAnswer::Refused, Outcome::Mismatch)
    }

    /// The password was right; the mailbox on file has to be proved as well, in the chat that asked
    /// for the link.
    fn step_up(&mut self, mapping: Mapping, accounts: &[Account]) -> Outcome {
        let Some(first) = accounts.first() else {
            return self.answer(PageAnswer::Unnamed, Outcome::Ignored);
        };
        let to = first.email.clone();
        // The password was right: a code that cannot be mailed now costs no try.
        let untried = Mapping {
            passwords: mapping.passwords.saturating_sub(1),
            ..mapping.clone()
        };
        if let Some(until) = self.codes_blocked_until(&to) {
            self.contact.mapping = Some(untried);
            self.audit(AuditEvent::Limited);
            return self.answer(PageAnswer::TooMany { until }, Outcome::Limited);
        }
        if let Some(locked) = self.lock(&to) {
            self.contact.mapping = Some(untried);
            let answer = match locked {
                Sentence::TooManyFailures { until } => PageAnswer::TooMany { until },
                _ => PageAnswer::NoAnswer,
            };
            self.limited(locked);
            return self.answer(answer, Outcome::Limited);
        }
        // Only what belongs to the mailbox that is about to be proved.
        let accounts = (accounts.iter().filter(|account| account.email == to))
            .cloned()
            .collect();
        self.audit(AuditEvent::PasswordRight);
        let tag = self.mail_code(to.clone(), accounts);
        if let Some(requirement) = &mut self.contact.requirement {
            requirement.after_password = Some(ChallengeId(self.context.fresh));
        }
        let address = to;
        self.actions
            .push(Action::Say(Sentence::StepUp { address, tag }));
        self.contact.mapping = Some(Mapping {
            state: MappingState::Used,
            ..mapping
        });
        self.answer(PageAnswer::CodeMailed, Outcome::SignedIn)
    }

    // --- the way back -------------------------------------------------------------------------------

    /// A message with a return code. Whatever comes of it, the bot never sees it.
    pub(super) fn returned(&mut self, code: &ReturnCode, message: &Inbound) -> Outcome {
        let signed_in = match &self.contact.mapping {
            Some(Mapping {
                state: MappingState::SignedIn { bindings, until },
                ..
            }) => Some((bindings.clone(), *until)),
            _ => None,
        };
        let is_own = (self.context.expected_return_code.as_ref())
            .is_some_and(|expected| expected.matches(code));
        match signed_in {
            Some((bindings, _)) if is_own && message.provenance == Provenance::Forwarded => {
                self.mismatch(&bindings, self.contact.language);
                Outcome::Mismatch
            }
            Some((bindings, until)) if is_own => {
                let age_ms = self.now().since_ms(message.sent_at);
                if self.now() >= until || age_ms > self.context.policy.message_age_max_ms {
                    let tag = self.link_tag();
                    self.burn();
                    return self.ask(Sentence::LinkExpired { tag });
                }
                self.contact.identity_key = message.sender.identity_key.clone();
                let bindings = bindings
                    .into_iter()
                    .map(|binding| Binding {
                        proved_at: self.now(),
                        ..binding
                    })
                    .collect();
                self.bind(bindings)
            }
            _ if self.context.foreign_return_code => {
                self.audit(AuditEvent::LinkMismatch);
                self.say(Sentence::NotYourSignIn);
                Outcome::Mismatch
            }
            // Once more, by an impatient thumb.
            _ if self.contact.is_bound() && self.is_proved_just_now() => Outcome::Ignored,
            _ if self.contact.is_bound() => {
                self.ask(Sentence::WhoYouAre(self.contact.bindings.clone()))
            }
            _ => {
                let tag = self.link_tag();
                self.ask(Sentence::LinkExpired { tag })
            }
        }
    }

    /// The return code of this contact's link came from somewhere else: whoever signed in is not
    /// whoever asked for the link.
    ///
    /// A link that took the place of this one changes nothing about that: asking for one in time
    /// must not be a way to pass links on unnoticed.
    pub(super) fn returned_elsewhere(
        &mut self,
        id: MappingId,
        code_made_at: Timestamp,
        language: Language,
    ) -> Outcome {
        let lifetime_ms = self.context.policy.return_code_lifetime_ms;
        let proof = ProofId(id.0);
        let bound: Vec<Binding> = (self.contact.bindings.iter())
            .filter(|binding| binding.proof_id == proof)
            .cloned()
            .collect();
        if !bound.is_empty() {
            // The code was told to this chat, and now whoever signed in sends it as well: what it
            // bound was never theirs.
            self.release(ReleaseReason::Undone);
            self.contact.stage = Stage::Idle;
            self.mismatch(&bound, language);
            return Outcome::Mismatch;
        }
        let signed_in = match &self.contact.mapping {
            Some(Mapping {
                id: known,
                state: MappingState::SignedIn { bindings, .. },
                ..
            }) if *known == id => bindings.clone(),
            Some(Mapping {
                id: newer, earlier, ..
            }) if *newer != id && self.now() < code_made_at.plus_ms(lifetime_ms) => earlier.clone(),
            _ => return Outcome::Ignored,
        };
        self.mismatch(&signed_in, language);
        Outcome::Mismatch
    }

    fn mismatch(&mut self, bindings: &[Binding], language: Language) {
        let tag = self.link_tag();
        if let Some(mapping) = &mut self.contact.mapping {
            if mapping.state != MappingState::Used {
                mapping.state = MappingState::Burned;
            }
            mapping.earlier.clear();
        }
        self.refuse_requirement();
        self.contact.mismatches.count(self.now(), Policy::DAY_MS);
        self.audit(AuditEvent::LinkMismatch);
        self.say(Sentence::SignInNotCompleted { tag });
        self.notify(bindings, language, |_| Notice::Refused);
    }
}

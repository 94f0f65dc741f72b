//! What the bot asks for: a link, a fresh proof (step-up), the end of bindings.

use super::super::account::Account;
use super::super::binding::{Binding, Proof, ReleaseReason};
use super::super::contact::Stage;
use super::super::id::{EmailAddress, RequirementId};
use super::super::policy::Policy;
use super::super::requirement::{ProofWanted, Requirement, RequirementState};
use super::super::time::Timestamp;
use super::{ANSWERABLE_MS, Action, AuditEvent, BotAnswer, Opening, Outcome, Sentence, Turn};

impl Turn<'_> {
    // --- what is asked for ----------------------------------------------------------------------

    pub(super) fn link_asked(&mut self, send: bool) -> Outcome {
        if send && self.is_closed() {
            return self.tell(BotAnswer::Closed, Outcome::Ignored);
        }
        match self.make_link() {
            Ok(mapping) => {
                if send {
                    let opening = Opening::Asked;
                    self.actions
                        .push(Action::Say(Sentence::Link { mapping, opening }));
                }
                self.tell(BotAnswer::Link(mapping), Outcome::LinkSent)
            }
            Err(limit) => self.limited_for_the_bot(limit),
        }
    }

    pub(super) fn proof_asked(&mut self, wanted: ProofWanted, age_max_ms: Option<u64>) -> Outcome {
        let (now, policy) = (self.now(), self.context.policy);
        if self.contact.outlived(now, policy).is_none()
            && let Some(binding) = (self.contact.bindings.iter())
                .filter(|binding| wanted.is_met_by(binding.proof))
                .filter(|binding| {
                    age_max_ms.is_none_or(|max| now.since_ms(binding.proved_at) <= max)
                })
                .max_by_key(|binding| binding.proved_at)
        {
            let (proof, at) = (binding.proof, binding.proved_at);
            return self.tell(BotAnswer::Proved { proof, at }, Outcome::Ignored);
        }
        if self.is_closed() {
            return self.tell(BotAnswer::Closed, Outcome::Ignored);
        }
        // Asked for twice, it is still one sign-in and one code.
        if let Some(requirement) = &self.contact.requirement
            && requirement.proof == wanted
            && requirement.is_pending(now)
            && self.is_under_way()
        {
            let id = requirement.id;
            return self.tell(BotAnswer::Asked(id), Outcome::Ignored);
        }
        let on_file = (self.contact.bindings.iter()).find_map(|binding| binding.email.clone());
        let begun = match (wanted, on_file) {
            (ProofWanted::Any | ProofWanted::MailCode, Some(to)) => self.demand_code(to),
            (ProofWanted::Any | ProofWanted::MailCode, None) if policy.methods.mail => {
                self.demand_address()
            }
            (ProofWanted::Any | ProofWanted::Password, _) if policy.methods.web => {
                self.make_link().map(|mapping| {
                    let opening = Opening::Confirm;
                    self.actions
                        .push(Action::Say(Sentence::Link { mapping, opening }));
                    Outcome::LinkSent
                })
            }
            _ => return self.tell(BotAnswer::NoWay, Outcome::Ignored),
        };
        match begun {
            Ok(outcome) => {
                let id = RequirementId(self.context.fresh);
                self.contact.requirement = Some(Requirement::new(id, wanted, now));
                self.audit(AuditEvent::ProofAsked);
                self.tell(BotAnswer::Asked(id), outcome)
            }
            Err(limit) => self.limited_for_the_bot(limit),
        }
    }

    /// A code to the address that the chat is bound to: nobody else learns that it was asked for.
    fn demand_code(&mut self, to: EmailAddress) -> Result<Outcome, Sentence> {
        let (now, policy) = (self.now(), self.context.policy);
        if let Some(locked) = self.lock(&to) {
            return Err(locked);
        }
        let last_of_address = self.counts.of(&to).codes.last();
        if let Some(last) = last_of_address
            && self.contact.codes.moments().contains(&last)
            && now.since_ms(last) < policy.resend_after_ms
        {
            let until = last.plus_ms(policy.resend_after_ms);
            return Err(Sentence::WaitForNextCode { until });
        }
        if let Some(until) = self.codes_blocked_until(&to) {
            return Err(Sentence::TooManyCodes { until });
        }
        let accounts = (self.contact.bindings.iter())
            .filter(|binding| binding.email.as_ref() == Some(&to))
            .map(|binding| Account {
                service: binding.service.clone(),
                user_id: binding.user_id.clone(),
                name: binding.name.clone(),
                email: to.clone(),
                phone: None,
                company: binding.company.clone(),
            })
            .collect();
        let tag = self.mail_code(to.clone(), accounts);
        let address = to;
        self.actions
            .push(Action::Say(Sentence::Confirm { address, tag }));
        Ok(Outcome::CodeAsked)
    }

    /// The sign-in by mail from its beginning, unless it is under way already.
    fn demand_address(&mut self) -> Result<Outcome, Sentence> {
        let (now, policy) = (self.now(), self.context.policy);
        let failures = |max| {
            self.contact
                .failures
                .blocked_until(now, Policy::DAY_MS, max)
        };
        if let Some(until) = failures(policy.failures_per_day) {
            return Err(Sentence::TooManyFailures { until });
        }
        let codes = |max, window_ms| self.contact.codes.blocked_until(now, window_ms, max);
        let until = codes(policy.mails_per_hour, Policy::HOUR_MS)
            .max(codes(policy.mails_per_day, Policy::DAY_MS));
        if let Some(until) = until {
            return Err(Sentence::TooManyCodes { until });
        }
        let is_asked = match &self.contact.stage {
            Stage::AddressAsked { .. } | Stage::SpellingAsked { .. } => true,
            Stage::CodeAwaited(challenge) => challenge.is_live(now, policy),
            Stage::Idle | Stage::LinkSent => false,
        };
        if is_asked && !self.contact.is_bound() {
            return Ok(Outcome::Ignored);
        }
        self.contact.stage = Stage::AddressAsked { at: now };
        Ok(self.ask(Sentence::ConfirmAddress))
    }

    pub(super) fn released_by_bot(&mut self, bindings: &[Binding]) -> Outcome {
        let is_meant = |binding: &Binding| bindings.contains(binding);
        let before = self.contact.bindings.len();
        let released = (self.contact.bindings.iter())
            .filter(|b| is_meant(b))
            .count();
        if released == 0 {
            return self.tell(BotAnswer::Released(0), Outcome::Ignored);
        }
        if released == before {
            self.release(ReleaseReason::Bot);
        } else {
            self.contact.bindings.retain(|binding| !is_meant(binding));
            self.refuse_requirement();
            self.audit(AuditEvent::Released(ReleaseReason::Bot));
        }
        // What is in flight must not bring back what has just ended.
        self.contact.stage = Stage::Idle;
        self.contact.kept = None;
        self.burn();
        self.tell(BotAnswer::Released(released), Outcome::Released)
    }

    fn tell(&mut self, answer: BotAnswer, outcome: Outcome) -> Outcome {
        self.bot = Some(answer);
        outcome
    }

    /// The bot is told, and says it in its own words or in these: nothing is said twice.
    fn limited_for_the_bot(&mut self, limit: Sentence) -> Outcome {
        self.audit(AuditEvent::Limited);
        self.tell(BotAnswer::Limited(limit), Outcome::Limited)
    }

    /// WhatsApp's window is closed: nothing that is sent now would arrive.
    fn is_closed(&self) -> bool {
        self.now().since_ms(self.contact.last_message_at) > ANSWERABLE_MS
    }

    // --- what becomes of it -----------------------------------------------------------------------

    /// Whether the bot waits for a proof.
    pub(super) fn is_demanded(&self) -> bool {
        let now = self.now();
        (self.contact.requirement.as_ref()).is_some_and(|wanted| wanted.is_pending(now))
    }

    /// Whether a code by mail alone is what the bot waits for.
    pub(super) fn is_demanded_by_mail(&self) -> bool {
        (self.contact.requirement.as_ref()).is_some_and(|requirement| {
            requirement.is_pending(self.now()) && requirement.proof.is_met_by(Proof::MailCode)
        })
    }

    /// Whether the chat is bound to all of them already.
    pub(super) fn are_bound_already(&self, accounts: &[Account]) -> bool {
        let is_bound = |account: &Account| {
            (self.contact.bindings.iter()).any(|binding| {
                binding.service == account.service && binding.user_id == account.user_id
            })
        };
        accounts.iter().all(is_bound)
    }

    /// Whether the person can go on with what they were asked.
    pub(super) fn is_under_way(&self) -> bool {
        let (now, policy) = (self.now(), self.context.policy);
        let in_chat = match &self.contact.stage {
            Stage::AddressAsked { .. } | Stage::SpellingAsked { .. } => true,
            Stage::CodeAwaited(challenge) => challenge.is_live(now, policy),
            Stage::Idle | Stage::LinkSent => false,
        };
        in_chat || self.has_link(now)
    }

    pub(super) fn has_link(&self, now: Timestamp) -> bool {
        (self.contact.mapping.as_ref())
            .is_some_and(|mapping| mapping.is_live(now) || mapping.awaits_return(now))
    }

    /// Whether what is typed may be meant for a sign-in: a code or a link is in flight, or the bot
    /// waits for a proof.
    pub(super) fn is_signing_in(&self) -> bool {
        let (now, policy) = (self.now(), self.context.policy);
        let has_code =
            matches!(&self.contact.stage, Stage::CodeAwaited(code) if code.is_live(now, policy));
        has_code || self.has_link(now) || self.is_demanded()
    }

    /// Before the new bindings take the place of the old ones: are they the proof that was asked
    /// for? Somebody else's never are, and end what the one before had proved.
    pub(super) fn judge_requirement(&mut self, new: &[Binding]) -> bool {
        let now = self.now();
        let old = &self.contact.bindings;
        // A page may have said *signed in* and not who: then nobody is contradicted.
        let is_same_person = old.iter().all(|old| old.user_id.is_empty())
            || (new.iter()).any(|new| old.iter().any(|old| new.is_same_user(old)));
        if !is_same_person {
            self.refuse_requirement();
            return false;
        }
        match &mut self.contact.requirement {
            Some(requirement) if requirement.is_pending(now) && requirement.is_met_by(new) => {
                requirement.state = RequirementState::Passed;
                true
            }
            _ => false,
        }
    }

    /// The proof that was asked for will not come, or no longer stands.
    pub(super) fn refuse_requirement(&mut self) {
        let now = self.now();
        if let Some(requirement) = &mut self.contact.requirement
            && (requirement.is_pending(now) || requirement.state == RequirementState::Passed)
        {
            requirement.state = RequirementState::Refused;
        }
    }
}

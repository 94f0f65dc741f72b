//! *Forget me*: a question, and what a tap or the words for *yes* do.

use super::super::contact::{ForgetAsked, Stage};
use super::super::id::ChallengeId;
use super::super::message::{Content, Inbound, Provenance};
use super::super::policy::Policy;
use super::super::reading::{self, Command, Reading};
use super::{Action, ButtonAction, OurButton, Outcome, ReleaseReason, Sentence, Turn};

impl Turn<'_> {
    /// The words and taps about being forgotten: the same for whoever writes, signed in or not, and
    /// whatever else was asked. A plain *yes* is none of them: it may answer the bot.
    pub(super) fn about_forgetting(&mut self, message: &Inbound) -> Option<Outcome> {
        let now = self.now();
        let age_max_ms = self.context.policy.message_age_max_ms;
        // Forwarded it is somebody else's wish, and late or before the sign-in perhaps, too.
        if message.provenance != Provenance::Direct
            || now.since_ms(message.sent_at) > age_max_ms
            || self.contact.is_bound() && self.is_older_than_the_proof(message)
        {
            return None;
        }
        let asked = (self.contact.forget_asked.clone())
            .filter(|asked| now.since_ms(asked.at) <= age_max_ms);
        match &message.content {
            Content::Text(text) => match reading::read(text, self.context.policy.code_digits) {
                Reading::Command(Command::ForgetMeIndeed) if asked.is_some() => Some(self.forget()),
                Reading::Command(Command::ForgetMe | Command::ForgetMeIndeed) => {
                    Some(self.ask_whether_to_forget())
                }
                Reading::Command(_)
                | Reading::Addresses(_)
                | Reading::Codes(_)
                | Reading::Words => None,
            },
            Content::Button { id } => {
                let button = OurButton::parse(id)?;
                let is_current = asked.is_some_and(|asked| asked.tag == button.tag);
                match button.action {
                    ButtonAction::ForgetMe if is_current => Some(self.forget()),
                    ButtonAction::KeepMe if is_current => {
                        self.contact.forget_asked = None;
                        Some(self.ask(Sentence::NotForgotten))
                    }
                    ButtonAction::ForgetMe | ButtonAction::KeepMe => {
                        Some(self.ask(Sentence::OldButton))
                    }
                    ButtonAction::Resend
                    | ButtonAction::OtherAddress
                    | ButtonAction::Cancel
                    | ButtonAction::Yes
                    | ButtonAction::No
                    | ButtonAction::LogOut
                    | ButtonAction::Web
                    | ButtonAction::NewLink => None,
                }
            }
            Content::Other(_) => None,
        }
    }

    fn ask_whether_to_forget(&mut self) -> Outcome {
        let (now, max) = (self.now(), self.context.policy.replies_per_hour);
        if self.contact.replies.used(now, Policy::HOUR_MS) >= max {
            // It could not be put, and nobody is forgotten without it.
            return Outcome::Limited;
        }
        let tag = ChallengeId(self.context.fresh).tag();
        self.contact.forget_asked = Some(ForgetAsked {
            at: now,
            tag: tag.clone(),
        });
        self.ask(Sentence::ForgetYou { tag })
    }

    fn forget(&mut self) -> Outcome {
        self.release(ReleaseReason::Forgotten);
        self.burn();
        self.contact.stage = Stage::Idle;
        self.contact.kept = None;
        self.contact.forget_asked = None;
        // The question was one of the replies of this hour, so this is bounded by it.
        self.actions.push(Action::Say(Sentence::Forgotten));
        self.actions.push(Action::Forget);
        Outcome::Forgotten
    }
}

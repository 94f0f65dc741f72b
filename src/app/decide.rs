//! Lets the domain decide about an event, with all that it must know, and stores everything that
//! follows from the decision.

use super::hand_on::Element;
use super::{Settings, Shared, Transaction, put_new_entry};
use crate::domain::contact::{Contact, Stage};
use crate::domain::conversation::{
    self, Action, AuditEvent, Context, Counts, Event, Outcome, Step,
};
use crate::domain::delivery::{Entry, EntryId, Errand};
use crate::domain::id::{ChallengeId, ContactId};
use crate::domain::secret::OtpCode;
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, AuditLine, Guesser};
use std::sync::atomic::Ordering;

/// How long a prompt is worth sending: an answer to what was said ten minutes ago confuses.
const PROMPT_LIFETIME_MS: u64 = 10 * MINUTE_MS;

/// How long the services may take to answer before the person is told.
const LOOK_UP_LIFETIME_MS: u64 = 2 * MINUTE_MS;

/// How long a notice to the owner of an account waits for the mail server.
pub(super) const NOTICE_LIFETIME_MS: u64 = DAY_MS;

/// What a decision may need to know that most events do not.
#[derive(Default)]
pub(super) struct About {
    pub(super) now: Timestamp,
    pub(super) fresh: [u8; 16],
    /// Who tries a password on the page, by name and by network.
    pub(super) guessers: Option<(Guesser, Guesser)>,
    /// Whether the message carries a return code of another contact.
    pub(super) foreign_return_code: bool,
    /// The element of a webhook that is decided about.
    pub(super) element: Option<Element>,
}

impl Shared {
    /// Lets the domain decide about one event and stores everything that follows from it.
    pub(super) fn decide(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: &Event<'_>,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<Outcome, StoreError> {
        let about = About {
            now,
            fresh,
            ..About::default()
        };
        Ok(self.decide_about(writer, contact, event, &about)?.outcome)
    }

    /// As [`Self::decide`], with what only some events know besides; returns the whole decision.
    pub(super) fn decide_about(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: &Event<'_>,
        about: &About,
    ) -> Result<Step, StoreError> {
        let policy = &self.settings.policy;
        let mut counts = Counts::default();
        for address in conversation::addresses_concerned(contact, event, policy) {
            let counted = record::address_counts(writer, &self.keys, &address)?;
            counts.addresses.push((address, counted));
        }
        // A decision that concerns no address neither asks for a code nor tries one.
        if !counts.addresses.is_empty() {
            counts.failures_in_all = record::failures_in_all(writer)?;
        }
        if let Some((user_name, network)) = &about.guessers {
            counts.user_name = record::passwords_tried(writer, &self.keys, user_name)?;
            counts.network = record::passwords_tried(writer, &self.keys, network)?;
        }
        let expected_code = match &contact.stage {
            Stage::CodeAwaited(challenge) => self.code(contact.id, challenge.id),
            _ => None,
        };
        let expected_return_code = (contact.mapping.as_ref())
            .filter(|mapping| mapping.is_signed_in())
            .map(|mapping| self.return_code(contact.id, mapping.id));
        let context = Context {
            now: about.now,
            fresh: about.fresh,
            policy,
            expected_code,
            expected_return_code,
            foreign_return_code: about.foreign_return_code,
            counts,
        };
        let mut step = conversation::step(contact, event, &context);
        writer.counted_at = about.now;
        step.contact.progress = writer.tally.follow(contact, event, &step, about.now);
        if step
            .actions
            .contains(&Action::Say(conversation::Sentence::SignInPaused))
        {
            self.alarm_about_guessing(about.now);
            writer.sign_ins.push("sign_in.paused");
        }
        self.store_step(writer, contact, &context.counts, &step, about)?;
        if let Some((user_name, network)) = &about.guessers {
            for (guesser, before, after) in [
                (user_name, &context.counts.user_name, &step.counts.user_name),
                (network, &context.counts.network, &step.counts.network),
            ] {
                if before != after {
                    record::put_passwords_tried(writer, &self.keys, guesser, after)?;
                }
            }
        }
        Ok(step)
    }

    /// Somebody may be trying codes in many chats at once (S-24): said once an hour, not once a try.
    fn alarm_about_guessing(&self, now: Timestamp) {
        let last = Timestamp(self.alarmed_at_ms.load(Ordering::Relaxed));
        if last == Timestamp(0) || now.since_ms(last) >= HOUR_MS {
            self.alarmed_at_ms.store(now.0, Ordering::Relaxed);
            tracing::error!(
                "nobody can sign in: there were too many wrong codes in all (limits.failures_per_day_in_all); \
                 somebody may be guessing"
            );
        }
    }

    fn store_step(
        &self,
        writer: &mut Transaction<'_>,
        before: &Contact,
        counts_before: &Counts,
        step: &Step,
        about: &About,
    ) -> Result<(), StoreError> {
        let now = about.now;
        if step.contact != *before {
            record::put_contact(writer, &step.contact)?;
            record::put_addresses(writer, &self.keys, Some(before), &step.contact)?;
            self.hand_out(writer, before, &step.contact, now)?;
        }
        for (address, counts) in &step.counts.addresses {
            let known = counts_before
                .addresses
                .iter()
                .find(|(other, _)| other == address);
            if known.is_none_or(|(_, known)| known != counts) {
                record::put_address_counts(writer, &self.keys, address, counts)?;
            }
        }
        if step.counts.failures_in_all != counts_before.failures_in_all {
            record::put_failures_in_all(writer, &step.counts.failures_in_all)?;
        }
        for action in &step.actions {
            match action {
                Action::Audit(event) => self.audit(writer, &step.contact, *event, now)?,
                Action::HandOn(kept) => {
                    self.hand_on(writer, &step.contact, kept, about)?;
                }
                Action::Forget => {}
                other => self.enqueue(writer, &step.contact, other, now)?,
            }
        }
        self.keep_for_later(writer, before, &step.contact, about)?;
        match step.actions.contains(&Action::Forget) {
            true => self.begin_to_forget(writer, before, &step.contact, now),
            false => Ok(()),
        }
    }

    pub(super) fn audit(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        event: AuditEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writer.sign_ins.push(event.name());
        writer.counted_at = now;
        let line = AuditLine {
            at_ms: now.0,
            event: event.name().to_owned(),
            contact: contact.id.to_string(),
            number_ending: contact.number_ending().map(str::to_owned),
            directory_user: None,
            about: None,
            link: None,
        };
        record::put_audit(writer, &self.keys, self.next_number(), line)?;
        self.tell(writer, contact, event, now)
    }

    fn enqueue(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        action: &Action,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (errand, expires_at) = match action {
            // None is an errand of the contact's own making; each has its own place.
            Action::Audit(_) | Action::HandOn(_) | Action::Forget => return Ok(()),
            Action::Say(sentence) => {
                let Some(to) = contact.recipient() else {
                    return Ok(());
                };
                let Settings { texts, voice, .. } = &self.settings;
                let message = texts.chat(contact.language, sentence, voice, now);
                let errand = Errand::Chat {
                    to,
                    message,
                    sentence: sentence.name().to_owned(),
                };
                (errand, now.plus_ms(PROMPT_LIFETIME_MS))
            }
            Action::LookUp { challenge, address } => {
                let errand = Errand::LookUp {
                    challenge: *challenge,
                    address: address.clone(),
                };
                (errand, now.plus_ms(LOOK_UP_LIFETIME_MS))
            }
            Action::MailCode {
                challenge,
                to,
                expires_at,
            } => (
                Errand::MailCode {
                    challenge: *challenge,
                    to: to.clone(),
                },
                *expires_at,
            ),
            Action::PretendMail {
                challenge,
                expires_at,
            } => (
                Errand::PretendMail {
                    challenge: *challenge,
                },
                *expires_at,
            ),
            Action::MailNotice {
                to,
                notice,
                language,
            } => {
                if self.settings.places.undo.is_none() {
                    return Ok(());
                }
                let errand = Errand::MailNotice {
                    to: to.clone(),
                    notice: *notice,
                    language: *language,
                };
                (errand, now.plus_ms(NOTICE_LIFETIME_MS))
            }
        };
        let id = EntryId(self.next_number());
        put_new_entry(writer, Entry::new(id, contact.id, errand, now, expires_at))
    }

    /// The code of a challenge: derived, so that there is nothing to steal from the store and a
    /// mail that is sent again carries the same one. Bound to the contact and the purpose (S-16).
    pub(super) fn code(&self, contact: ContactId, challenge: ChallengeId) -> Option<OtpCode> {
        let digits = self.settings.policy.code_digits;
        let digest = self
            .keys
            .master()
            .keyed_digest("code by mail", &[&contact.0, &challenge.0]);
        let (number, _) = digest.split_first_chunk::<16>()?;
        // 128 bits over at most 10^10 values: the bias is below 2^-94.
        let value = u128::from_be_bytes(*number) % 10u128.pow(u32::try_from(digits).ok()?);
        OtpCode::parse(&format!("{value:0digits$}")).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::app::{App, IdentitySettings, Places, SystemClock, SystemRandom};
    use crate::domain::id::PhoneNumberId;
    use crate::domain::language::Language;
    use crate::domain::policy::Policy;
    use crate::store::record::Keys;
    use crate::store::{MasterKey, Memory, Sealed};
    use crate::text::{Texts, Voice};
    use std::sync::Arc;

    fn app() -> App {
        let key = MasterKey::from_hex(&"41".repeat(32)).unwrap();
        let store = Sealed::open(Arc::new(Memory::new()), &key).unwrap();
        let settings = Settings {
            policy: Policy::default(),
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            language: Language::Spanish,
            texts: Texts::default(),
            voice: Voice {
                business: String::new(),
                services: Vec::new(),
                code_digits: 8,
                code_minutes: 10,
                methods: Policy::default().methods,
                link_minutes: 10,
            },
            directory: None,
            places: Places::default(),
            hands_on: false,
            tells_events: false,
            identity: IdentitySettings::default(),
        };
        let clock = Arc::new(SystemClock::new(Timestamp(0)));
        App::new(
            store,
            Keys::new(key),
            settings,
            clock,
            Arc::new(SystemRandom),
        )
        .unwrap()
    }

    /// S-17: every digit equally often at every place, leading zeros kept; another contact or
    /// another challenge is another code, the same ones are the same.
    #[test]
    fn a_million_codes_have_every_digit_equally_often_at_every_place() {
        const CODES: u32 = 1_000_000;
        let shared = app().shared;
        let contact = ContactId([7; 16]);
        let tally = |range: std::ops::Range<u32>| {
            let mut tally = [[0u32; 10]; 8];
            for number in range {
                let mut challenge = [0; 16];
                challenge[..4].copy_from_slice(&number.to_be_bytes());
                let code = shared.code(contact, ChallengeId(challenge)).unwrap();
                assert_eq!(code.reveal().len(), 8);
                for (place, digit) in code.reveal().bytes().enumerate() {
                    tally[place][usize::from(digit - b'0')] += 1;
                }
            }
            tally
        };
        let halves = std::thread::scope(|scope| {
            let first = scope.spawn(|| tally(0..CODES / 2));
            let second = tally(CODES / 2..CODES);
            [first.join().unwrap(), second]
        });
        let expected = f64::from(CODES) / 10.0;
        let [first, second] = halves;
        for (place, (first, second)) in first.iter().zip(&second).enumerate() {
            let chi_square: f64 = first
                .iter()
                .zip(second)
                .map(|(first, second)| f64::from(first + second))
                .map(|found| (found - expected).powi(2) / expected)
                .sum();
            // 9 degrees of freedom, p = 0.001; the inputs are fixed, so this never fails by chance.
            assert!(chi_square < 27.88, "place {place}: {chi_square}");
        }
        let code = |contact: u8, challenge: u8| {
            let code = shared.code(ContactId([contact; 16]), ChallengeId([challenge; 16]));
            code.unwrap().reveal().to_owned()
        };
        assert_eq!(code(1, 1), code(1, 1));
        assert_ne!(code(1, 1), code(2, 1));
        assert_ne!(code(1, 1), code(1, 2));
    }
}

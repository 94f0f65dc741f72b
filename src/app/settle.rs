//! What waits in the outbox is begun, and what became of it is stored.

use super::{App, Failed, Settings, Shared, Transaction};
use crate::domain::account::Answer;
use crate::domain::binding::Binding;
use crate::domain::contact::{Contact, Stage};
use crate::domain::conversation::{self, Event, Outcome};
use crate::domain::delivery::{
    ChatMessage, Entry, EntryId, Errand, Lane, LinkTarget, Mail, Notice, Recipient, SignedBody,
};
use crate::domain::failure::{self, Failure, FailureKind, Next};
use crate::domain::id::{ContactId, EmailAddress, MessageId};
use crate::domain::language::Language;
use crate::domain::message::Status;
use crate::domain::secret::Secret;
use crate::domain::tally::Tally;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, BodyOf, DeadLetter, Sent, ToldEvent};
use crate::text::BoundAccount;
use std::sync::Arc;

/// An entry as a sender has to know it before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub id: EntryId,
    /// On whose account: entries of one contact are sent one after the other.
    pub contact: ContactId,
    /// When to look at it: not earlier than it may be tried, not later than it is pointless.
    pub look_at: Timestamp,
}

/// A piece of work for an adapter.
#[derive(Clone, Debug)]
pub enum Work {
    /// Send this message.
    Chat {
        /// To whom.
        to: Recipient,
        /// What.
        message: ChatMessage,
        /// Comes back in its statuses.
        tag: String,
    },
    /// Send this mail.
    Mail(Mail),
    /// Reach the mail server and send nothing.
    PretendMail,
    /// Ask the services.
    LookUp(Lookup),
    /// Give this to the bot.
    HandOn(HandOver),
    /// Tell this to whoever wants to know.
    Tell(Telling),
    /// Nothing to do but to settle it: its time is over, or it was replaced.
    Nothing(Report),
}

/// A piece of work that was begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// What is to be done.
    pub work: Work,
    /// What it is, for the operator.
    pub what: String,
    /// The how manieth try it is.
    pub attempt: u32,
    /// When its time is over. The machine may have slept since it was begun.
    pub expires_at: Timestamp,
}

/// What the bot gets in one request.
#[derive(Clone, Debug)]
pub struct HandOver {
    /// Names it, on every try and when it is replayed.
    pub id: String,
    /// The body as Meta sent it, or what was cut out of it.
    pub body: SignedBody,
    /// Who wrote the message in it, signed just now; `None` when there is none.
    pub identity: Option<Secret>,
}

/// An event as it is told.
#[derive(Clone)]
pub struct Telling {
    /// Names it, on every try and when it is replayed.
    pub id: String,
    /// All of it.
    pub json: String,
}

impl std::fmt::Debug for Telling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Telling({})", self.id)
    }
}

/// A question to the services.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// About whom.
    pub address: EmailAddress,
    /// The same for every try of this question.
    pub id: String,
}

/// What became of a piece of work.
#[derive(Clone, Debug)]
pub enum Report {
    /// The other side took it; Meta names what it took.
    Sent(Option<MessageId>),
    /// It did not.
    Failed(Failure),
    /// What the services said.
    Answers(Vec<Answer>),
    /// Its time was over before it could be sent.
    Expired,
    /// Something newer made it pointless.
    Superseded,
    /// It certainly did not leave: the senders are stopping, the lane came to rest, or its beginning
    /// could not be stored, as far as anybody knows.
    Untried {
        /// As of this moment it was begun, if at all.
        begun_at: Timestamp,
    },
}

/// A try that has ended.
#[derive(Clone, Debug)]
pub struct EndedTry {
    /// Of what.
    pub id: EntryId,
    /// The how manieth it was ([`Begun::attempt`]); nobody looks at it when there was none.
    pub attempt: u32,
    /// What became of it.
    pub report: Report,
}

/// What an entry is after settling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Gone from the outbox.
    Done,
    /// To be looked at again.
    Again(Timestamp),
}

impl App {
    /// Up to `limit` entries of a lane after `after`, oldest first.
    pub fn waiting(
        &self,
        lane: Lane,
        after: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError> {
        let entries = self
            .shared
            .store
            .view(|reader| record::entries(reader, lane, after, limit))?;
        let now = self.now();
        // Made by a clock that was set right since: its moments may be years away.
        let is_odd = |entry: &Entry| entry.created_at.since_ms(now) > MINUTE_MS;
        Ok(entries
            .into_iter()
            .map(|entry| {
                let latest = match is_odd(&entry) {
                    true => now.plus_ms(failure::UNKNOWN_WAIT_MS),
                    false => entry.expires_at,
                };
                let not_before = match entry.in_flight_since {
                    // A restart does not know how a try ended that was under way: a status may tell.
                    Some(since) if lane == Lane::Chat => entry
                        .not_before
                        .max(since.plus_ms(failure::UNKNOWN_WAIT_MS)),
                    _ => entry.not_before,
                };
                Waiting {
                    id: entry.id,
                    contact: entry.contact,
                    look_at: not_before.min(latest),
                }
            })
            .collect())
    }

    /// Begins these entries of a lane as of this moment: the try is on disk before anything leaves
    /// where a repetition would be seen by people. An entry that is gone yields `None`.
    ///
    /// # Errors
    /// Nothing was begun, or nobody knows; none of it has left ([`Report::Untried`]).
    pub fn begin(
        &self,
        lane: Lane,
        ids: Vec<EntryId>,
        now: Timestamp,
    ) -> Result<Vec<Option<Begun>>, Failed> {
        let shared = Arc::clone(&self.shared);
        if lane != Lane::Chat {
            return Ok(self.shared.store.view(|reader| {
                ids.iter()
                    .map(|id| match record::entry(reader, lane, *id)? {
                        None => Ok(None),
                        Some(entry) => {
                            let contact = record::contact(reader, entry.contact)?;
                            let what = entry.errand.name().to_owned();
                            let attempt = entry.attempts + 1;
                            let expires_at = entry.expires_at;
                            let begun = |work| {
                                Ok(Some(Begun {
                                    work,
                                    what,
                                    attempt,
                                    expires_at,
                                }))
                            };
                            if let Errand::HandOn { message, origin } = &entry.errand {
                                let body = record::body(reader, BodyOf::Entry(entry.id))?;
                                let message = message.as_ref();
                                return begun(shared.hand_over(
                                    &entry,
                                    *origin,
                                    message,
                                    contact.as_ref(),
                                    body,
                                    now,
                                ));
                            }
                            if let Errand::Event { origin } = &entry.errand {
                                let event = record::event(reader, *origin)?;
                                return begun(telling(&entry, event, now));
                            }
                            begun(shared.work(entry, contact.as_ref(), now))
                        }
                    })
                    .collect()
            })?);
        }
        Ok(self.update(move |writer| {
            ids.iter()
                .map(|id| {
                    let Some(mut entry) = record::entry(writer, lane, *id)? else {
                        return Ok(None);
                    };
                    if now < entry.expires_at {
                        // A try that was under way when the process ended has an unknown end.
                        let unknown = entry.unknown + u32::from(entry.in_flight_since.is_some());
                        if unknown >= failure::UNKNOWN_MAX {
                            let work = Work::Nothing(Report::Failed(Failure {
                                kind: FailureKind::Permanent,
                                reason: "nobody knows whether it arrived".into(),
                                advice: None,
                            }));
                            return Ok(Some(Begun {
                                work,
                                what: entry.errand.name().to_owned(),
                                attempt: entry.attempts,
                                expires_at: entry.expires_at,
                            }));
                        }
                        entry.attempts += 1;
                        entry.unknown = unknown;
                        entry.in_flight_since = Some(now);
                        record::put_entry(writer, &entry)?;
                    }
                    // A link is worth sending only while it is the contact's last one.
                    let contact = match &entry.errand {
                        Errand::Chat { message, .. } if message.link.is_some() => {
                            record::contact(writer, entry.contact)?
                        }
                        _ => None,
                    };
                    let (what, attempt) = (entry.errand.name().to_owned(), entry.attempts);
                    let expires_at = entry.expires_at;
                    let work = shared.work(entry, contact.as_ref(), now);
                    Ok(Some(Begun {
                        work,
                        what,
                        attempt,
                        expires_at,
                    }))
                })
                .collect()
        })?)
    }

    /// Stores what became of these tries of a lane, all in one transaction. What is stored already
    /// is not counted again, so that a call of which nobody knows whether it was kept can be
    /// repeated.
    pub fn settle(&self, lane: Lane, tries: Vec<EndedTry>) -> Result<Vec<Settled>, Failed> {
        let now = self.now();
        let fresh = self.draw(tries.len())?;
        let shared = Arc::clone(&self.shared);
        let (settled, outcomes): (Vec<_>, Vec<_>) = self
            .update(move |writer| {
                tries
                    .iter()
                    .zip(&fresh)
                    .map(|(ended, fresh)| shared.settle_one(writer, lane, ended, now, *fresh))
                    .collect::<Result<Vec<_>, _>>()
            })?
            .into_iter()
            .unzip();
        self.count(
            &outcomes
                .into_iter()
                .flatten()
                .map(Outcome::name)
                .collect::<Vec<_>>(),
        );
        Ok(settled)
    }
}

impl Shared {
    /// The work that an entry asks for, when it carries all that it needs.
    pub(super) fn work(&self, entry: Entry, contact: Option<&Contact>, now: Timestamp) -> Work {
        if now >= entry.expires_at {
            return Work::Nothing(Report::Expired);
        }
        if let Some(challenge) = entry.errand.challenge() {
            let current = contact.is_some_and(
                |contact| matches!(&contact.stage, Stage::CodeAwaited(live) if live.id == challenge),
            );
            if !current {
                return Work::Nothing(Report::Superseded);
            }
        }
        match entry.errand {
            Errand::Chat {
                to,
                mut message,
                sentence: _,
            } => {
                if let Some(link) = &mut message.link
                    && let LinkTarget::SignIn(mapping) = link.to
                {
                    let is_last = contact
                        .and_then(|contact| contact.mapping.as_ref())
                        .is_some_and(|last| last.id == mapping && last.is_live(now));
                    match &self.settings.places.sign_in {
                        Some(page) if is_last => {
                            let hash = self.mapping_hash(entry.contact, mapping);
                            link.to = LinkTarget::Url(format!("{page}{}", hash.reveal()));
                        }
                        _ => return Work::Nothing(Report::Superseded),
                    }
                }
                Work::Chat {
                    to,
                    message,
                    tag: entry.id.tag(),
                }
            }
            Errand::MailNotice {
                to,
                notice,
                language,
            } => match contact {
                Some(contact) => self.notice_mail(contact, &to, notice, language, entry.id.tag()),
                None => Work::Nothing(Report::Superseded),
            },
            Errand::LookUp {
                challenge: _,
                address,
            } => Work::LookUp(Lookup {
                address,
                id: format!("look-up-{}", entry.id.tag()),
            }),
            Errand::PretendMail { challenge: _ } => Work::PretendMail,
            // What they carry is not at hand here.
            Errand::HandOn { .. } | Errand::Event { .. } => Work::Nothing(Report::Superseded),
            Errand::MailCode { challenge, to } => {
                let Some((contact, code)) = contact.zip(self.code(entry.contact, challenge)) else {
                    return Work::Nothing(Report::Superseded);
                };
                let (texts, voice) = (&self.settings.texts, &self.settings.voice);
                let ending = contact.number_ending();
                Work::Mail(texts.code_mail(
                    contact.language,
                    &to,
                    &code,
                    ending,
                    entry.id.tag(),
                    voice,
                ))
            }
        }
    }

    fn hand_over(
        &self,
        entry: &Entry,
        origin: EntryId,
        message: Option<&MessageId>,
        contact: Option<&Contact>,
        body: Option<SignedBody>,
        now: Timestamp,
    ) -> Work {
        let Some(body) = body else {
            return Work::Nothing(Report::Superseded);
        };
        if now >= entry.expires_at {
            return Work::Nothing(Report::Expired);
        }
        // Who wrote it is who stood behind the chat when it was decided that it is for the bot:
        // what was proved later says nothing about it.
        let identity = (message.zip(contact))
            .map(|(message, contact)| self.identity_of(contact, message, entry.created_at, now));
        Work::HandOn(HandOver {
            id: origin.tag(),
            body,
            identity,
        })
    }

    /// The mail about a binding that still stands, or about one that was refused.
    fn notice_mail(
        &self,
        contact: &Contact,
        to: &EmailAddress,
        notice: Notice,
        language: Language,
        id: String,
    ) -> Work {
        let Settings {
            texts,
            voice,
            places,
            ..
        } = &self.settings;
        let chat_ending = contact.number_ending();
        match notice {
            Notice::Refused => Work::Mail(texts.refused_mail(language, to, chat_ending, id, voice)),
            Notice::Bound(proof) => {
                let bindings: Vec<Binding> = (contact.bindings.iter())
                    .filter(|binding| binding.proof_id == proof)
                    .cloned()
                    .collect();
                let (Some(first), Some(undo)) = (bindings.first(), &places.undo) else {
                    return Work::Nothing(Report::Superseded);
                };
                let about = BoundAccount {
                    bindings: &bindings,
                    chat_ending,
                    proved_at: first.proved_at,
                };
                let token = self.undo_token(contact.id, proof);
                let url = format!("{undo}{}", token.reveal());
                Work::Mail(texts.bound_mail(language, to, &about, &url, id, voice))
            }
        }
    }

    fn settle_one(
        &self,
        writer: &mut Transaction<'_>,
        lane: Lane,
        ended: &EndedTry,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<(Settled, Option<Outcome>), StoreError> {
        let Some(mut entry) = record::entry(writer, lane, ended.id)? else {
            // A status settled it first. Meta's id must still find it.
            return Ok((Settled::Done, None));
        };
        // What ends an entry finds it gone the next time; what leaves it there must know itself again.
        let is_settled = match lane {
            Lane::Chat => entry.in_flight_since.is_none() || entry.attempts != ended.attempt,
            Lane::Mail | Lane::Services | Lane::Bot | Lane::Events => {
                entry.attempts >= ended.attempt
            }
        };
        if is_settled && matches!(ended.report, Report::Failed(_) | Report::Answers(_)) {
            return Ok((Settled::Again(entry.not_before), None));
        }
        if lane != Lane::Chat && !matches!(ended.report, Report::Untried { .. }) {
            entry.attempts += 1;
        }
        match &ended.report {
            Report::Untried { begun_at } => {
                // Another mark is of a process that has ended, and what it began may have left.
                if entry.in_flight_since == Some(*begun_at) {
                    entry.attempts = entry.attempts.saturating_sub(1);
                    entry.in_flight_since = None;
                    record::put_entry(writer, &entry)?;
                }
                Ok((Settled::Again(now), None))
            }
            Report::Sent(remote) => {
                if let (Errand::Chat { sentence, .. }, Some(remote)) = (&entry.errand, remote) {
                    let sent = Sent {
                        entry: ended.id,
                        contact: entry.contact,
                        sentence: sentence.clone(),
                        at: now,
                        status: Status::Sent,
                    };
                    record::put_sent(writer, &self.keys, remote, &sent)?;
                }
                match &entry.errand {
                    Errand::Chat { .. } => writer.count(Tally::REPLIES, now),
                    Errand::MailCode { .. } | Errand::MailNotice { .. } => {
                        writer.count(Tally::MAILS, now);
                    }
                    Errand::PretendMail { .. }
                    | Errand::LookUp { .. }
                    | Errand::HandOn { .. }
                    | Errand::Event { .. } => {}
                }
                self.end(writer, &entry)?;
                Ok((Settled::Done, None))
            }
            Report::Superseded => {
                self.end(writer, &entry)?;
                Ok((Settled::Done, None))
            }
            Report::Expired => {
                let reason = "its time was over before it could be sent";
                let outcome = self.give_up(writer, &entry, reason, now, fresh)?;
                Ok((Settled::Done, outcome))
            }
            Report::Answers(answers) => self.answered(writer, entry, answers, now, fresh),
            Report::Failed(failure) => self.failed(writer, entry, failure, now, fresh),
        }
    }

    /// Nothing of the entry is needed any more.
    pub(super) fn end(
        &self,
        writer: &mut Transaction<'_>,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        let lane = entry.errand.lane();
        if lane == Lane::Bot {
            record::delete_body(writer, BodyOf::Entry(entry.id))?;
        }
        record::delete_entry(writer, lane, entry.id)
    }

    fn answered(
        &self,
        writer: &mut Transaction<'_>,
        entry: Entry,
        answers: &[Answer],
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<(Settled, Option<Outcome>), StoreError> {
        let lane = entry.errand.lane();
        let (Some(challenge), Some(contact)) = (
            entry.errand.challenge(),
            record::contact(writer, entry.contact)?,
        ) else {
            record::delete_entry(writer, lane, entry.id)?;
            return Ok((Settled::Done, None));
        };
        let outcome = self.decide(
            writer,
            &contact,
            &Event::LookedUp { challenge, answers },
            now,
            fresh,
        )?;
        if outcome == Outcome::Unsettled {
            let silent: Vec<&str> = answers
                .iter()
                .filter(|answer| answer.users.is_err())
                .map(|answer| answer.service.as_str())
                .collect();
            let failure = Failure::temporary(format!("no answer from {}", silent.join(", ")));
            return self.failed(writer, entry, &failure, now, fresh);
        }
        record::delete_entry(writer, lane, entry.id)?;
        Ok((Settled::Done, Some(outcome)))
    }

    fn failed(
        &self,
        writer: &mut Transaction<'_>,
        mut entry: Entry,
        failure: &Failure,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<(Settled, Option<Outcome>), StoreError> {
        entry.hushed = match failure.kind {
            FailureKind::Recipient | FailureKind::RecipientForNow | FailureKind::Permanent => true,
            FailureKind::Unknown => entry.errand.lane() == Lane::Mail,
            FailureKind::Temporary { .. }
            | FailureKind::Unexplained { .. }
            | FailureKind::Throttled { .. }
            | FailureKind::Configuration
            | FailureKind::Unreachable => false,
        };
        let lane = entry.errand.lane();
        if matches!(lane, Lane::Chat | Lane::Bot | Lane::Events) {
            entry.last_failure = Some(failure.reason.clone());
        }
        // A lane that rests says so itself.
        let is_about_the_entry = !matches!(
            failure.kind,
            FailureKind::Configuration | FailureKind::Throttled { .. } | FailureKind::Unreachable
        );
        if matches!(lane, Lane::Bot | Lane::Events) && is_about_the_entry && entry.attempts == 1 {
            tracing::warn!(
                contact = %entry.contact,
                lane = lane.name(),
                what = entry.errand.name(),
                reason = failure.reason,
                advice = failure.advice.unwrap_or(""),
                "not taken; it is tried again, and `portero outbox list` shows it"
            );
        }
        match failure::after_failure(&entry, failure, now, fresh[0]) {
            Next::RetryAt(at) => {
                entry.not_before = at;
                entry.count(failure.kind);
                entry.in_flight_since = None;
                record::put_entry(writer, &entry)?;
                Ok((Settled::Again(at), None))
            }
            Next::GiveUp => {
                let outcome = self.give_up(writer, &entry, &failure.reason, now, fresh)?;
                Ok((Settled::Done, outcome))
            }
        }
    }

    /// The entry becomes a dead letter, and whoever waits for what it should have brought hears that
    /// it will not come; unless that would show that an address exists.
    fn give_up(
        &self,
        writer: &mut Transaction<'_>,
        entry: &Entry,
        reason: &str,
        now: Timestamp,
        fresh: [u8; 16],
    ) -> Result<Option<Outcome>, StoreError> {
        let (lane, what) = (entry.errand.lane().name(), entry.errand.name());
        tracing::warn!(contact = %entry.contact, lane, what, reason, "given up");
        record::delete_entry(writer, entry.errand.lane(), entry.id)?;
        let letter = DeadLetter {
            entry: entry.clone(),
            at: now,
            reason: reason.to_owned(),
        };
        record::put_dead(writer, &letter)?;
        writer.dead.push(entry.errand.lane());
        writer.counted_at = now;
        if entry.hushed {
            return Ok(None);
        }
        let errand = match &entry.errand {
            Errand::LookUp { .. } => conversation::Errand::LookUp,
            Errand::MailCode { .. } | Errand::PretendMail { .. } => conversation::Errand::Mail,
            Errand::Chat { .. }
            | Errand::MailNotice { .. }
            | Errand::HandOn { .. }
            | Errand::Event { .. } => {
                return Ok(None);
            }
        };
        let (Some(challenge), Some(contact)) = (
            entry.errand.challenge(),
            record::contact(writer, entry.contact)?,
        ) else {
            return Ok(None);
        };
        self.decide(
            writer,
            &contact,
            &Event::GaveUp { challenge, errand },
            now,
            fresh,
        )
        .map(Some)
    }
}

fn telling(entry: &Entry, event: Option<ToldEvent>, now: Timestamp) -> Work {
    match event {
        None => Work::Nothing(Report::Superseded),
        Some(_) if now >= entry.expires_at => Work::Nothing(Report::Expired),
        Some(event) => Work::Tell(Telling {
            id: super::events::event_name(event.id),
            json: event.json,
        }),
    }
}

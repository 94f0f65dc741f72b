//! The way in on the web: every sequence of a set of events, with every setting of what may follow
//! the password, and long ones at random; each step checked against what must always be true.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::account::{Account, Company};
use crate::domain::binding::Proof;
use crate::domain::id::{ContactId, IdentityKey, MessageId, ServiceName, WaId};
use crate::domain::language::Language;
use crate::domain::message::{Provenance, Sender};
use crate::domain::policy::{Finish, Gate, Methods, PhoneOnFile};
use crate::domain::requirement::{RequirementState, Standing};
use crate::domain::sign_in::Mapping;
use crate::domain::time::MINUTE_MS;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Hello,
    AskLink,
    TapNewLink,
    BotAsksLink,
    BotAsksMail,
    BotAsksPassword,
    BotReleases,
    PasswordInTheChat,
    RightPassword,
    RightPasswordOfThisPhone,
    RightPasswordOfOtherPhone,
    WrongPassword,
    NoAnswer,
    RightPasswordTooLate,
    WrongNumber,
    Declined,
    Claimed,
    ClaimedUnnamed,
    CodeBack,
    CodeBackForwarded,
    CodeBackLate,
    CodeBackInGroup,
    CodeBackElsewhere,
    OldCodeBack,
    OldCodeElsewhere,
    CodeOfAnother,
    Undone,
    OldUndone,
    Address,
    LookedUp,
    MailedCode,
    WrongMailedCode,
    MailedCodeForwarded,
    TapResend,
    TapCancel,
    Cancel,
    LogOut,
    MailGivenUp,
    NumberChanged,
    NewPhone,
    Breath,
    Minute,
    Expiry,
    Day,
}

use Doing::*;

const EVERYTHING: [Doing; 44] = [
    Hello,
    AskLink,
    TapNewLink,
    BotAsksLink,
    BotAsksMail,
    BotAsksPassword,
    BotReleases,
    PasswordInTheChat,
    RightPassword,
    RightPasswordOfThisPhone,
    RightPasswordOfOtherPhone,
    WrongPassword,
    NoAnswer,
    RightPasswordTooLate,
    WrongNumber,
    Declined,
    Claimed,
    ClaimedUnnamed,
    CodeBack,
    CodeBackForwarded,
    CodeBackLate,
    CodeBackInGroup,
    CodeBackElsewhere,
    OldCodeBack,
    OldCodeElsewhere,
    CodeOfAnother,
    Undone,
    OldUndone,
    Address,
    LookedUp,
    MailedCode,
    WrongMailedCode,
    MailedCodeForwarded,
    TapResend,
    TapCancel,
    Cancel,
    LogOut,
    MailGivenUp,
    NumberChanged,
    NewPhone,
    Breath,
    Minute,
    Expiry,
    Day,
];

const NUMBER: &str = "573001234567";

fn service() -> ServiceName {
    ServiceName::parse("kutamma").unwrap()
}

fn account(phone: Option<&str>) -> Account {
    Account {
        service: service(),
        user_id: phone.unwrap_or("1").into(),
        name: "Ana".into(),
        email: EmailAddress::parse("ana@example.com").unwrap(),
        phone: phone.map(str::to_owned),
        company: Company {
            id: "1".into(),
            name: "Acme".into(),
        },
    }
}

/// Every setting that decides what may follow the password, with limits that a few events reach.
fn policies() -> Vec<Policy> {
    let mut policies = Vec::new();
    for (mail, web) in [(true, false), (false, true), (true, true)] {
        for finish in [Finish::ReturnCode, Finish::MailCode, Finish::Nothing] {
            for phone_on_file in [
                PhoneOnFile::MustMatch,
                PhoneOnFile::StepUp,
                PhoneOnFile::Ignored,
            ] {
                policies.push(Policy {
                    methods: Methods { mail, web },
                    finish,
                    phone_on_file,
                    ask_number: true,
                    passwords_per_link: 2,
                    passwords_per_user_per_hour: 3,
                    passwords_per_network: 4,
                    links_per_hour: 2,
                    tries_per_code: 2,
                    failures_per_day: 3,
                    mails_per_hour: 2,
                    mails_per_day: 4,
                    replies_per_hour: 1_000,
                    ..Policy::default()
                });
            }
        }
    }
    policies
}

/// The return code of a link, as good as any function of it.
fn return_code_of(id: MappingId) -> ReturnCode {
    ReturnCode::from_bytes(id.0)
}

fn mailed_code_of(id: ChallengeId) -> String {
    let number = u32::from_be_bytes(id.0[..4].try_into().unwrap());
    format!("{:08}", 10_000_000 + number)
}

/// One contact, with what is counted as the store would keep it.
#[derive(Clone)]
struct State {
    now: Timestamp,
    events: u32,
    phone: u8,
    contact: Contact,
    addresses: Vec<(EmailAddress, AddressCounts)>,
    in_all: Budget,
    user_name: Budget,
    network: Budget,
    /// Links whose place another one took, and when the code of the last one was made.
    replaced: Vec<MappingId>,
    code_made_at: Timestamp,
    /// Proofs that were used.
    proofs: Vec<ProofId>,
}

/// What the message of an event says, if that is the one.
fn message_of<'e>(event: &'e Event<'_>, kept: &Kept) -> Option<&'e Content> {
    match event {
        Event::Message(message) if message.id == kept.id => Some(&message.content),
        _ => None,
    }
}

impl State {
    fn new() -> State {
        let now = Timestamp(1_800_000_000_000);
        let wa_id = WaId::parse(NUMBER).unwrap();
        let id = ContactId([7; 16]);
        State {
            now,
            events: 0,
            phone: 0,
            contact: Contact::new(id, None, Some(wa_id), Language::Spanish, now),
            addresses: Vec::new(),
            in_all: Budget::default(),
            user_name: Budget::default(),
            network: Budget::default(),
            replaced: Vec::new(),
            code_made_at: now,
            proofs: Vec::new(),
        }
    }

    fn message(&self, content: Content, provenance: Provenance, age_ms: u64) -> Inbound {
        Inbound {
            id: MessageId::parse(&format!("m{}", self.events)).unwrap(),
            sender: Sender {
                bsuid: None,
                wa_id: self.contact.wa_id.clone(),
                identity_key: IdentityKey::parse(&format!("key{}", self.phone)).ok(),
            },
            sent_at: self.now.minus_ms(age_ms),
            content,
            provenance,
        }
    }

    fn text(&self, text: &str) -> Inbound {
        self.message(Content::Text(text.into()), Provenance::Direct, 0)
    }

    fn link(&self) -> MappingId {
        (self.contact.mapping.as_ref()).map_or(MappingId([0xee; 16]), |mapping| mapping.id)
    }

    fn older_link(&self) -> MappingId {
        (self.replaced.last().copied()).unwrap_or(MappingId([0xdd; 16]))
    }

    fn challenge(&self) -> ChallengeId {
        match &self.contact.stage {
            Stage::CodeAwaited(challenge) => challenge.id,
            _ => ChallengeId([0xcc; 16]),
        }
    }

    /// What a person types or taps; `None` for what is no message.
    fn written(&self, doing: Doing, policy: &Policy) -> Option<Inbound> {
        let returned = |link: MappingId, provenance, age_ms| {
            let text = format!("Quiero entrar: {}", return_code_of(link).reveal());
            self.message(Content::Text(text), provenance, age_ms)
        };
        let tap = |action, tag: &str| {
            let id = OurButton { action, tag }.id();
            self.message(Content::Button { id }, Provenance::Direct, 0)
        };
        let mailed = mailed_code_of(self.challenge());
        Some(match doing {
            Hello | NewPhone => self.text("hola"),
            PasswordInTheChat => self.text("hunter2"),
            AskLink => self.text("entrar en la web"),
            TapNewLink => tap(ButtonAction::NewLink, &self.link().tag()),
            CodeBack => returned(self.link(), Provenance::Direct, 0),
            CodeBackForwarded => returned(self.link(), Provenance::Forwarded, 0),
            CodeBackLate => returned(
                self.link(),
                Provenance::Direct,
                policy.message_age_max_ms + 1,
            ),
            CodeBackInGroup => returned(self.link(), Provenance::Group, 0),
            OldCodeBack => returned(self.older_link(), Provenance::Direct, 0),
            CodeOfAnother => returned(MappingId([0xaa; 16]), Provenance::Direct, 0),
            Address => self.text("ana@example.com"),
            MailedCode => self.text(&mailed),
            WrongMailedCode => self.text("99999999"),
            MailedCodeForwarded => self.message(Content::Text(mailed), Provenance::Forwarded, 0),
            TapResend => tap(ButtonAction::Resend, &self.challenge().tag()),
            TapCancel => tap(ButtonAction::Cancel, &self.link().tag()),
            Cancel => self.text("cancelar"),
            LogOut => self.text("cerrar sesión"),
            _ => return None,
        })
    }

    fn decide(&self, event: &Event<'_>, doing: Doing, policy: &Policy) -> Step {
        let mut fresh = [0; 16];
        fresh[..4].copy_from_slice(&self.events.to_be_bytes());
        let counts = Counts {
            addresses: addresses_concerned(&self.contact, event, policy)
                .into_iter()
                .map(|wanted| {
                    let known = self.addresses.iter().find(|(known, _)| *known == wanted);
                    let counts = known.map(|(_, counts)| counts.clone()).unwrap_or_default();
                    (wanted, counts)
                })
                .collect(),
            failures_in_all: self.in_all.clone(),
            user_name: self.user_name.clone(),
            network: self.network.clone(),
        };
        let context = Context {
            now: self.now,
            fresh,
            policy,
            expected_code: match &self.contact.stage {
                Stage::CodeAwaited(challenge) => OtpCode::parse(&mailed_code_of(challenge.id)).ok(),
                _ => None,
            },
            expected_return_code: (self.contact.mapping.as_ref())
                .filter(|mapping| mapping.is_signed_in())
                .map(|mapping| return_code_of(mapping.id)),
            foreign_return_code: doing == CodeOfAnother,
            counts,
        };
        step(&self.contact, event, &context)
    }

    /// One decision, checked; the state takes it over.
    fn take(&mut self, event: &Event<'_>, doing: Doing, policy: &Policy) -> Step {
        self.events += 1;
        let step = self.decide(event, doing, policy);
        self.check(&step, event, doing, policy);
        if let Some(before) = &self.contact.mapping
            && step.contact.mapping.as_ref().map(|after| after.id) != Some(before.id)
        {
            self.replaced.push(before.id);
        }
        let is_signed_in =
            |contact: &Contact| (contact.mapping.as_ref()).is_some_and(Mapping::is_signed_in);
        if is_signed_in(&step.contact) && !is_signed_in(&self.contact) {
            self.code_made_at = self.now;
        }
        if step.outcome == Outcome::Bound || step.page == Some(PageAnswer::Finished) {
            self.proofs
                .extend(step.contact.bindings.iter().map(|bound| bound.proof_id));
        }
        self.contact = step.contact.clone();
        self.in_all = step.counts.failures_in_all.clone();
        self.user_name = step.counts.user_name.clone();
        self.network = step.counts.network.clone();
        for (counted, counts) in step.counts.addresses.clone() {
            self.addresses.retain(|(known, _)| *known != counted);
            self.addresses.push((counted, counts));
        }
        step
    }

    /// Does it and checks every decision; returns what came of the last one.
    fn act(&mut self, doing: Doing, policy: &Policy) -> Option<Step> {
        let pause_ms = match doing {
            Breath => 6 * SECOND_MS,
            Minute => 61 * SECOND_MS,
            Expiry => 11 * MINUTE_MS,
            Day => 24 * HOUR_MS,
            _ => 0,
        };
        if pause_ms > 0 {
            self.now = self.now.plus_ms(pause_ms);
            return None;
        }
        if doing == NewPhone {
            self.phone += 1;
        }
        if let Some(message) = self.written(doing, policy) {
            return Some(self.take(&Event::Message(&message), doing, policy));
        }
        let here = [account(None)];
        let same = [account(Some(NUMBER))];
        let other = [account(Some("5491123456789"))];
        let name = service();
        let page = |act| Event::Page {
            mapping: self.link(),
            act,
        };
        let (challenge, link, older) = (self.challenge(), self.link(), self.older_link());
        let answers = [Answer {
            service: service(),
            users: Ok(vec![account(None)]),
        }];
        let proof = (self.contact.bindings.first()).map_or(ProofId([9; 16]), |b| b.proof_id);
        let bindings = self.contact.bindings.clone();
        let event = match doing {
            RightPassword => return self.try_password(Who::These(&here), doing, policy),
            RightPasswordOfThisPhone => {
                return self.try_password(Who::These(&same), doing, policy);
            }
            RightPasswordOfOtherPhone => {
                return self.try_password(Who::These(&other), doing, policy);
            }
            WrongPassword => return self.try_password(Who::Nobody, doing, policy),
            NoAnswer => return self.try_password(Who::NoAnswer, doing, policy),
            RightPasswordTooLate => Event::Page {
                mapping: older,
                act: PageAct::Checked {
                    tried_at: self.now,
                    who: Who::These(&here),
                },
            },
            WrongNumber => page(PageAct::Try {
                number: Some("5491123456789"),
            }),
            Declined => page(PageAct::Declined),
            Claimed => page(PageAct::Claimed(Who::These(&here))),
            ClaimedUnnamed => page(PageAct::Claimed(Who::Somebody(&name))),
            BotAsksLink => Event::LinkAsked { send: true },
            BotAsksMail => Event::ProofAsked {
                proof: ProofWanted::MailCode,
                age_max_ms: Some(0),
            },
            BotAsksPassword => Event::ProofAsked {
                proof: ProofWanted::Password,
                age_max_ms: Some(0),
            },
            BotReleases => Event::ReleasedByBot {
                bindings: &bindings,
            },
            CodeBackElsewhere => Event::ReturnedElsewhere {
                mapping: link,
                code_made_at: self.code_made_at,
                language: Language::Portuguese,
            },
            OldCodeElsewhere => Event::ReturnedElsewhere {
                mapping: older,
                code_made_at: self.code_made_at,
                language: Language::Portuguese,
            },
            Undone => Event::Undone { proof },
            OldUndone => Event::Undone {
                proof: self.proofs.first().copied().unwrap_or(ProofId([8; 16])),
            },
            LookedUp => Event::LookedUp {
                challenge,
                answers: &answers,
            },
            MailGivenUp => Event::GaveUp {
                challenge,
                errand: Errand::Mail,
            },
            NumberChanged => Event::Released(ReleaseReason::NumberChanged),
            _ => unreachable!("{doing:?} is a message or a pause"),
        };
        Some(self.take(&event, doing, policy))
    }

    /// The form is sent, and a second later the password has been checked.
    fn try_password(&mut self, who: Who<'_>, doing: Doing, policy: &Policy) -> Option<Step> {
        let (mapping, tried_at) = (self.link(), self.now);
        let act = PageAct::Try {
            number: Some("+57 300 1234567"),
        };
        let step = self.take(&Event::Page { mapping, act }, doing, policy);
        if step.page != Some(PageAnswer::Check) {
            return Some(step);
        }
        let counted = |state: &State| {
            let user_name = state.user_name.used(state.now, Policy::HOUR_MS);
            (user_name, state.network.used(state.now, Policy::NETWORK_MS))
        };
        let before = counted(self);
        self.now = self.now.plus_ms(SECOND_MS);
        let is_wrong = matches!(who, Who::Nobody);
        let act = PageAct::Checked { tried_at, who };
        let step = self.take(&Event::Page { mapping, act }, doing, policy);
        let given_back = u32::from(!is_wrong);
        assert_eq!(
            counted(self),
            (before.0 - given_back, before.1 - given_back),
            "{doing:?} is counted wrongly"
        );
        Some(step)
    }

    fn check(&self, step: &Step, event: &Event<'_>, doing: Doing, policy: &Policy) {
        let (before, after, now) = (&self.contact, &step.contact, self.now);
        let says: Vec<&Sentence> = (step.actions.iter())
            .filter_map(|action| match action {
                Action::Say(sentence) => Some(sentence),
                _ => None,
            })
            .collect();
        assert!(says.len() <= 1, "{doing:?} is answered {says:?}");

        self.check_proof(step, doing, policy);
        self.check_mapping(step, doing);
        self.check_requirement(step, doing);

        // Nothing that was typed or tapped for a sign-in is the bot's.
        let handed_on = step.actions.iter().filter_map(|action| match action {
            Action::HandOn(kept) => Some(kept),
            _ => None,
        });
        let newly_kept = (after.kept.as_ref()).filter(|_| after.kept != before.kept);
        for kept in handed_on.clone() {
            let is_open = policy.gate == Gate::OnRequest;
            assert!(after.is_bound() || is_open, "{doing:?} reaches the bot");
            assert!(
                before.kept.as_ref() == Some(kept) || message_of(event, kept).is_some(),
                "{doing:?} hands on what nobody wrote"
            );
        }
        for kept in handed_on.chain(newly_kept) {
            if let Some(content) = message_of(event, kept) {
                let Content::Text(text) = content else {
                    panic!("a tap reaches the bot")
                };
                assert!(
                    !text.contains("Quiero entrar"),
                    "a return code reaches the bot"
                );
                assert!(!text.contains("cerrar"), "a word of ours reaches the bot");
                let in_flight = |m: &Mapping| m.is_live(now) || m.awaits_return(now);
                let is_demanded = (before.requirement.as_ref()).is_some_and(|r| r.is_pending(now));
                let is_signing_in = (before.mapping.as_ref()).is_some_and(in_flight)
                    || is_demanded
                    || matches!(&before.stage, Stage::CodeAwaited(c) if c.is_live(now, policy));
                // What waited is handed on when the sign-in ends; nothing of it is kept before.
                if before.is_bound() && doing != NewPhone {
                    let may_be_tried = matches!(
                        &before.stage,
                        Stage::CodeAwaited(code) if is_demanded || now < code.expires_at
                    );
                    let is_code = text == "99999999" && may_be_tried;
                    let is_secret = text == "hunter2" || is_code || text.contains('@');
                    let is_kept_here = is_signing_in && is_secret;
                    assert!(!is_kept_here, "{text} reaches the bot");
                }
                let is_awaited = matches!(
                    &before.stage,
                    Stage::CodeAwaited(challenge) if now.since_ms(challenge.asked_at) < HOUR_MS
                );
                let is_code = is_awaited && *text == mailed_code_of(self.challenge());
                assert!(!is_code, "a mailed code reaches the bot");
            }
        }

        // Whoever ends something ends what is in flight as well.
        let is_ended = matches!(doing, Undone | OldUndone | NumberChanged | BotReleases)
            && step.outcome == Outcome::Released
            || step.page == Some(PageAnswer::Declined);
        if is_ended {
            let alive = |m: &Mapping| m.is_live(now) || m.awaits_return(now);
            assert!(
                !after.mapping.as_ref().is_some_and(alive),
                "{doing:?} leaves a link"
            );
            assert!(
                doing == Declined || after.stage == Stage::Idle && after.kept.is_none(),
                "{doing:?} leaves a question"
            );
        }

        // What is counted becomes less by time, by success, or because it did not come to pass.
        let day = |budget: &Budget| budget.used(now, Policy::DAY_MS);
        assert!(day(&after.links) >= day(&before.links));
        assert!(day(&after.mismatches) >= day(&before.mismatches));
        assert!(day(&after.failures) >= day(&before.failures));
        assert!(day(&step.counts.failures_in_all) >= day(&self.in_all));
        if doing != MailGivenUp {
            assert!(day(&after.codes) >= day(&before.codes));
        }

        // Links and codes are handed out within their limits.
        let hour = |budget: &Budget| budget.used(now, Policy::HOUR_MS);
        if step.outcome == Outcome::LinkSent {
            assert!(hour(&after.links) <= policy.links_per_hour);
            assert!(day(&after.links) <= Policy::LINKS_PER_DAY);
            assert!(policy.methods.web || doing == BotAsksLink, "{doing:?}");
        }
        if step.outcome == Outcome::CodeAsked || step.page == Some(PageAnswer::CodeMailed) {
            assert!(hour(&after.codes) <= policy.mails_per_hour);
            assert!(day(&after.codes) <= policy.mails_per_day);
        }
        assert!(hour(&step.counts.user_name) <= policy.passwords_per_user_per_hour);
        assert!(step.counts.network.used(now, Policy::NETWORK_MS) <= policy.passwords_per_network);
    }

    /// Bound only by a right proof, in time, from this chat, never used before, and of an account
    /// whose owner did not bar this contact from it.
    fn check_proof(&self, step: &Step, doing: Doing, policy: &Policy) {
        let (before, after, now) = (&self.contact, &step.contact, self.now);
        let proof = after.bindings.first().map(|bound| bound.proof_id);
        let is_new = proof.is_some() && proof != before.bindings.first().map(|b| b.proof_id);
        assert_eq!(is_new, step.outcome == Outcome::Bound, "{doing:?}");
        if !is_new {
            assert!(
                after.bindings == before.bindings || after.bindings.is_empty(),
                "{doing:?} changes a binding"
            );
            return;
        }
        let proof = proof.unwrap();
        assert!(!self.proofs.contains(&proof), "a proof was used twice");
        // What the bot wanted proved is fresh, and all else stays as it was.
        let is_met = (before.requirement.as_ref()).is_some_and(|wanted| wanted.is_pending(now))
            && (after.requirement.as_ref())
                .is_some_and(|wanted| wanted.state == RequirementState::Passed);
        let (fresh, staying): (Vec<&Binding>, Vec<&Binding>) = (after.bindings.iter())
            .partition(|bound| bound.proof_id == proof && bound.proved_at == now);
        let is_fresh = |old: &Binding| fresh.iter().any(|new| new.is_same_user(old));
        let stays =
            |old: &&Binding| is_met && before.bindings.iter().any(is_fresh) && !is_fresh(old);
        let expected: Vec<&Binding> = before.bindings.iter().filter(stays).collect();
        assert_eq!(staying, expected, "{doing:?}");
        for bound in fresh {
            let is_barred = |barred: &Barred| barred.is_from(bound, now);
            assert!(!before.barred.iter().any(is_barred), "{doing:?} ends a bar");
        }
        let is_phone = policy.phone_on_file != PhoneOnFile::Ignored;
        match after.bindings[0].proof {
            Proof::MailCode => {
                assert_eq!(doing, MailedCode);
                let Stage::CodeAwaited(challenge) = &before.stage else {
                    panic!("no code was awaited");
                };
                assert!(challenge.is_live(now, policy));
                assert_eq!(proof, ProofId(challenge.id.0));
            }
            Proof::Password | Proof::Page => {
                let mapping = before.mapping.as_ref().unwrap();
                assert_eq!(proof, mapping.proof_id());
                match &mapping.state {
                    MappingState::SignedIn { until, .. } => {
                        assert_eq!(doing, CodeBack);
                        assert_eq!(policy.finish, Finish::ReturnCode);
                        assert!(now < *until);
                    }
                    MappingState::Issued => {
                        assert!(now < mapping.expires_at);
                        assert_eq!(step.page, Some(PageAnswer::Finished));
                        let by_phone = is_phone && doing == RightPasswordOfThisPhone;
                        assert!(by_phone || policy.finish == Finish::Nothing, "{doing:?}");
                        let other_phone = is_phone && doing == RightPasswordOfOtherPhone;
                        assert!(!other_phone, "another phone is on file");
                    }
                    MappingState::Used | MappingState::Burned => panic!("{doing:?} on a dead link"),
                }
            }
        }
        assert_eq!(after.stage, Stage::Idle);
        assert!(after.kept.is_none());
        assert!(
            !(after.mapping.as_ref()).is_some_and(|m| m.is_live(now) || m.awaits_return(now)),
            "another proof stays in flight"
        );
    }

    /// A proof that the bot asked for passes by a fitting proof of the same person, in time, and by
    /// nothing else; what is settled stays settled unless the proof ends.
    fn check_requirement(&self, step: &Step, doing: Doing) {
        let (before, after, now) = (&self.contact, &step.contact, self.now);
        let asked = matches!(step.bot, Some(BotAnswer::Asked(_)));
        assert!(!asked || matches!(doing, BotAsksMail | BotAsksPassword));
        let Some(requirement) = &after.requirement else {
            assert!(before.requirement.is_none(), "{doing:?} forgets a demand");
            return;
        };
        let known = (before.requirement.as_ref()).filter(|known| known.id == requirement.id);
        let Some(known) = known else {
            assert!(asked, "{doing:?} makes a demand");
            assert!(requirement.is_pending(now));
            return;
        };
        if known.standing(now) == requirement.standing(now) {
            return;
        }
        match requirement.standing(now) {
            Standing::Passed => {
                assert!(known.is_pending(now), "{doing:?} passes what was settled");
                assert_eq!(step.outcome, Outcome::Bound);
                let has_password = matches!(after.bindings[0].proof, Proof::Password | Proof::Page)
                    || matches!(&before.stage, Stage::CodeAwaited(code)
                        if known.after_password == Some(code.id));
                assert!(known.proof != ProofWanted::Password || has_password);
                let has_code = after.bindings[0].proof == Proof::MailCode;
                assert!(known.proof != ProofWanted::MailCode || has_code);
                let same = |new: &Binding| before.bindings.iter().any(|old| new.is_same_user(old));
                let is_known = before.bindings.iter().any(|old| !old.user_id.is_empty());
                assert!(!is_known || after.bindings.iter().any(same));
            }
            Standing::Refused => assert_ne!(known.standing(now), Standing::Expired),
            Standing::Pending | Standing::Expired => panic!("{doing:?} reopens a demand"),
        }
    }

    /// A dead link stays dead, and one that somebody signed in with is no link any more.
    fn check_mapping(&self, step: &Step, doing: Doing) {
        let (Some(before), Some(after)) = (&self.contact.mapping, &step.contact.mapping) else {
            assert!(
                self.contact.mapping.is_none() || step.contact.mapping.is_some(),
                "{doing:?} forgets a link"
            );
            return;
        };
        if before.id != after.id {
            assert_eq!(step.outcome, Outcome::LinkSent);
            assert!(!self.replaced.contains(&after.id));
            return;
        }
        assert!(after.expires_at == before.expires_at);
        let stays = match (&before.state, &after.state) {
            (MappingState::Issued, _) => true,
            (MappingState::SignedIn { .. }, MappingState::Issued) => false,
            (
                MappingState::SignedIn { bindings, until },
                MappingState::SignedIn {
                    bindings: same,
                    until: over,
                },
            ) => bindings == same && (until == over || over < until && *over <= self.now),
            (MappingState::SignedIn { .. }, _) => true,
            (dead, now) => dead == now,
        };
        assert!(
            stays,
            "{doing:?}: {:?} becomes {:?}",
            before.state, after.state
        );
    }

    /// Who asks again properly is in, or is told when to come back or that it cannot be.
    fn check_way_out(&self, policy: &Policy) {
        if self.contact.is_bound() {
            return;
        }
        let mut state = self.clone();
        // What the code of the day before was mailed for is over.
        let path: &[Doing] = if policy.methods.web {
            &[Breath, AskLink, RightPassword, CodeBack, MailedCode]
        } else {
            &[Breath, Address, LookedUp, MailedCode]
        };
        for doing in path {
            let Some(step) = state.act(*doing, policy) else {
                continue;
            };
            if state.contact.is_bound() || is_told(&step) {
                return;
            }
        }
        panic!(
            "no way out of {:?} with {:?}",
            self.contact.stage, self.contact.mapping
        );
    }
}

/// Whether somebody heard when to come back, or that this cannot be and whom to ask.
fn is_told(step: &Step) -> bool {
    let in_chat = step.actions.iter().any(|action| {
        matches!(
            action,
            Action::Say(
                Sentence::WaitForNextCode { .. }
                    | Sentence::TooManyCodes { .. }
                    | Sentence::TooManyFailures { .. }
                    | Sentence::TooManyLinks { .. }
                    | Sentence::SignInPaused
                    | Sentence::AccountRefused
            )
        )
    });
    in_chat
        || matches!(
            step.page,
            Some(PageAnswer::TooMany { .. } | PageAnswer::Refused)
        )
}

/// Equal, as far as later events can notice.
fn is_alike(a: &State, b: &State) -> bool {
    a.contact.stage == b.contact.stage
        && a.contact.mapping == b.contact.mapping
        && a.contact.bindings == b.contact.bindings
        && a.contact.barred == b.contact.barred
        && a.contact.kept == b.contact.kept
        && a.contact.released == b.contact.released
        && a.contact.links == b.contact.links
        && a.contact.mismatches == b.contact.mismatches
        && a.contact.codes == b.contact.codes
        && a.contact.failures == b.contact.failures
        && a.user_name == b.user_name
        && a.now == b.now
}

fn walk(state: &State, events: &[Doing], depth: usize, steps: &mut u64, policy: &Policy) {
    for doing in events {
        *steps += 1;
        let mut next = state.clone();
        next.act(*doing, policy);
        if is_alike(state, &next) {
            continue;
        }
        if depth > 1 {
            walk(&next, events, depth - 1, steps, policy);
        } else {
            next.check_way_out(policy);
        }
    }
}

fn after(events: &[Doing], policy: &Policy) -> State {
    let mut state = State::new();
    for doing in events {
        state.act(*doing, policy);
    }
    state
}

/// From nothing, from a link in flight, from a return code in flight, and from a contact who is
/// signed in already: every event there is, two deep, with every setting.
#[test]
fn no_sequence_of_events_on_the_web_breaks_what_must_hold() {
    let mut steps = 0;
    for policy in policies() {
        let starts = [
            &[][..],
            &[Hello, Breath, AskLink, Breath],
            &[AskLink, RightPassword],
            &[AskLink, RightPassword, CodeBack, Minute],
            &[
                AskLink,
                RightPassword,
                MailedCode,
                BotAsksLink,
                RightPassword,
            ],
        ];
        for start in starts {
            walk(&after(start, &policy), &EVERYTHING, 2, &mut steps, &policy);
        }
    }
    assert!(steps > 50_000, "only {steps} steps");
}

/// The events around one return code, seven deep, as the documentation sets things up.
#[test]
fn no_sequence_of_events_around_a_return_code_breaks_what_must_hold() {
    let events = [
        AskLink,
        RightPassword,
        WrongPassword,
        Declined,
        CodeBack,
        CodeBackForwarded,
        CodeBackElsewhere,
        OldCodeBack,
        OldCodeElsewhere,
        Undone,
        Cancel,
        Expiry,
    ];
    let mut steps = 0;
    for methods in [(false, true), (true, true)] {
        let policy = Policy {
            methods: Methods {
                mail: methods.0,
                web: methods.1,
            },
            replies_per_hour: 1_000,
            ..Policy::default()
        };
        walk(&State::new(), &events, 7, &mut steps, &policy);
    }
    assert!(steps > 50_000, "only {steps} steps");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    /// Long enough to reach every limit, and what lies behind it.
    #[test]
    fn no_long_conversation_with_the_web_breaks_what_must_hold(
        doings in prop::collection::vec(prop::sample::select(&EVERYTHING[..]), 1..120), setting in 0usize..27,
    ) {
        let policy = &policies()[setting];
        let mut state = State::new();
        for doing in doings {
            state.act(doing, policy);
            state.now = state.now.plus_ms(1);
        }
        state.check_way_out(policy);
    }
}

// --- single rules, each told by an example -----------------------------------------------------

fn with(methods: (bool, bool), finish: Finish) -> Policy {
    Policy {
        methods: Methods {
            mail: methods.0,
            web: methods.1,
        },
        finish,
        ..Policy::default()
    }
}

fn says(step: &Step) -> Option<&Sentence> {
    step.actions.iter().find_map(|action| match action {
        Action::Say(sentence) => Some(sentence),
        _ => None,
    })
}

#[test]
fn a_bound_contact_whom_the_bot_sends_to_the_web_can_finish_by_mail() {
    let policy = with((true, true), Finish::MailCode);
    let bound = [AskLink, RightPassword, MailedCode, Minute];
    let mut state = after(&bound, &policy);
    let first = state.contact.bindings[0].proof_id;
    for doing in [BotAsksLink, RightPassword] {
        state.act(doing, &policy);
    }
    let wrong = state.act(WrongMailedCode, &policy).unwrap();
    assert_eq!(wrong.outcome, Outcome::CodeWrong);
    let forwarded = state.clone().act(MailedCodeForwarded, &policy).unwrap();
    assert_eq!(forwarded.outcome, Outcome::CodeWrong);
    assert_eq!(says(&forwarded), Some(&Sentence::NotForwarded));
    let words = state.clone().act(Hello, &policy).unwrap();
    assert_eq!(words.outcome, Outcome::HandedOn, "the rest stays the bot's");
    let right = state.act(MailedCode, &policy).unwrap();
    assert_eq!(right.outcome, Outcome::Bound);
    assert_ne!(state.contact.bindings[0].proof_id, first);
}

#[test]
fn digits_after_the_last_try_are_the_bots_once_no_link_is_in_flight_and_the_code_never_is() {
    let policy = Policy {
        tries_per_code: 2,
        ..with((true, false), Finish::MailCode)
    };
    let signed_in = [Hello, Address, LookedUp, MailedCode, Breath];
    let mut state = after(&signed_in, &policy);
    // The code of the first link, and a second link that is in flight beside it.
    for doing in [BotAsksLink, RightPassword, BotAsksLink] {
        state.act(doing, &policy);
    }
    for _ in 0..2 {
        let wrong = state.act(WrongMailedCode, &policy).unwrap();
        assert_eq!(wrong.outcome, Outcome::CodeWrong);
    }
    let digits = state.clone().act(WrongMailedCode, &policy).unwrap();
    assert_eq!(digits.outcome, Outcome::Limited);
    state.act(Expiry, &policy);
    let digits = state.clone().act(WrongMailedCode, &policy).unwrap();
    assert_eq!(digits.outcome, Outcome::HandedOn);
    // Another link says nothing about a code that is over.
    state.act(BotAsksLink, &policy);
    let digits = state.clone().act(WrongMailedCode, &policy).unwrap();
    assert_eq!(digits.outcome, Outcome::HandedOn);
    let code = state.act(MailedCode, &policy).unwrap();
    assert_ne!(code.outcome, Outcome::HandedOn);
}

/// Signed in to two accounts: the code by mail is of all that have the address.
fn bound_to_two(finish: Finish) -> (State, Policy) {
    let policy = Policy {
        phone_on_file: PhoneOnFile::StepUp,
        ..with((true, true), finish)
    };
    let both = [AskLink, RightPasswordOfOtherPhone, LookedUp, MailedCode];
    let state = after(&both, &policy);
    assert_eq!(state.contact.bindings.len(), 2);
    (state, policy)
}

#[test]
fn a_code_that_is_not_the_proof_that_the_bot_wants_ends_the_other_binding() {
    let (mut state, policy) = bound_to_two(Finish::MailCode);
    for doing in [Day, Hello, BotAsksLink, RightPassword, BotAsksPassword] {
        state.act(doing, &policy);
    }
    let step = state.act(MailedCode, &policy).unwrap();
    assert_eq!(step.outcome, Outcome::Bound);
    let wanted = state.contact.requirement.as_ref().unwrap();
    assert!(
        matches!(wanted.state, RequirementState::Refused),
        "{wanted:?}"
    );
    assert_eq!(state.contact.bindings.len(), 1);
}

#[test]
fn a_proof_that_the_bot_wanted_leaves_the_other_account_bound_as_it_was() {
    let (mut state, policy) = bound_to_two(Finish::Nothing);
    let before = state.contact.bindings.clone();
    for doing in [BotAsksPassword, RightPassword] {
        state.act(doing, &policy);
    }
    let (proved, others): (Vec<Binding>, Vec<Binding>) =
        (state.contact.bindings.into_iter()).partition(|bound| bound.proof == Proof::Password);
    assert_eq!(proved.len(), 1);
    let is_proved = |old: &&Binding| proved[0].is_same_user(old);
    assert_eq!(
        others,
        [before.iter().find(|old| !is_proved(old)).unwrap().clone()]
    );
}

#[test]
fn an_account_is_told_from_the_one_with_its_id_in_another_company() {
    let policy = with((true, false), Finish::Nothing);
    let mut state = State::new();
    let binding = |company: &str, proof| {
        let mut account = account(None);
        account.company.id = company.to_owned();
        Binding::new(account, Proof::MailCode, ProofId([proof; 16]), state.now)
    };
    let (here, there) = (binding("1", 7), binding("2", 8));
    assert!(here.is_same_user(&binding("1", 9)) && !here.is_same_user(&there));

    state.contact.bindings = vec![here.clone(), there.clone()];
    let proof = here.proof_id;
    let step = state.decide(&Event::Undone { proof }, Undone, &policy);
    let barred = &step.contact.barred;
    assert_eq!(step.outcome, Outcome::Released);
    assert!(barred.iter().any(|barred| barred.is_from(&here, state.now)));
    assert!(!(barred.iter()).any(|barred| barred.is_from(&there, state.now)));
    // One of before that was known is of all companies.
    let of_all = Barred {
        company_id: None,
        ..barred[0].clone()
    };
    assert!(of_all.is_from(&there, state.now) && !of_all.is_from(&there, of_all.until));
}

#[test]
fn a_bound_contact_can_have_another_link_and_another_code_and_stop() {
    let policy = with((true, true), Finish::MailCode);
    let mut state = after(
        &[AskLink, RightPassword, MailedCode, Minute, BotAsksLink],
        &policy,
    );
    assert_eq!(
        state.clone().act(TapNewLink, &policy).unwrap().outcome,
        Outcome::LinkSent
    );
    for doing in [RightPassword, Minute] {
        state.act(doing, &policy);
    }
    let again = state.act(TapResend, &policy).unwrap();
    assert_eq!(again.outcome, Outcome::CodeAsked);
    let mails = |step: &Step| {
        let mail = |action: &&Action| matches!(action, Action::MailCode { .. });
        step.actions.iter().filter(mail).count()
    };
    assert_eq!(mails(&again), 1);
    let stopped = state.clone().act(TapCancel, &policy).unwrap();
    assert_eq!(says(&stopped), Some(&Sentence::Cancelled));
    assert!(stopped.contact.is_bound());
    assert_eq!(stopped.contact.stage, Stage::Idle);
    assert_eq!(
        state.act(MailedCode, &policy).unwrap().outcome,
        Outcome::Bound
    );
}

#[test]
fn where_a_mailbox_alone_lets_nobody_in_it_does_not_by_asking_for_the_code_again() {
    let policy = with((false, true), Finish::MailCode);
    let mut state = after(&[Hello, RightPassword, Minute], &policy);
    let again = state.act(TapResend, &policy).unwrap();
    assert!(
        !(again.actions.iter()).any(|action| matches!(action, Action::LookUp { .. })),
        "whoever has that address is somebody else's question"
    );
    assert_eq!(
        state.clone().act(MailedCode, &policy).unwrap().outcome,
        Outcome::Bound
    );
    state.act(Expiry, &policy);
    let too_late = state.act(TapResend, &policy).unwrap();
    assert_eq!(too_late.outcome, Outcome::LinkSent);
}

#[test]
fn a_mail_that_fails_after_the_password_leads_back_to_a_link() {
    let policy = with((false, true), Finish::MailCode);
    let mut state = after(&[Hello, RightPassword], &policy);
    let failed = state.act(MailGivenUp, &policy).unwrap();
    assert!(matches!(says(&failed), Some(Sentence::StepUpFailed { .. })));
    assert_eq!(
        state.act(TapNewLink, &policy).unwrap().outcome,
        Outcome::LinkSent
    );
}

#[test]
fn a_new_link_in_time_does_not_hide_that_the_old_one_was_passed_on() {
    let policy = with((true, true), Finish::ReturnCode);
    let mut state = after(&[AskLink, RightPassword, AskLink], &policy);
    let told = state.clone().act(OldCodeElsewhere, &policy).unwrap();
    assert_eq!(told.outcome, Outcome::Mismatch);
    assert_eq!(told.contact.mismatches.moments().len(), 1);
    assert!(!told.contact.mapping.unwrap().is_live(state.now));
    state.act(Expiry, &policy);
    assert_eq!(
        state.act(OldCodeElsewhere, &policy).unwrap().outcome,
        Outcome::Ignored,
        "a code that is worth nothing any more must not be a way to stop somebody's links"
    );
}

#[test]
fn after_two_mismatches_there_are_no_links_for_a_day_from_the_second_on() {
    let policy = with((true, true), Finish::ReturnCode);
    let mut state = State::new();
    let mismatch = [AskLink, RightPassword, CodeBackElsewhere];
    for doing in mismatch {
        state.act(doing, &policy);
    }
    state.now = state.now.plus_ms(23 * HOUR_MS);
    for doing in mismatch {
        state.act(doing, &policy);
    }
    let second = state.now;
    for (at, outcome) in [
        (second.plus_ms(2 * HOUR_MS), Outcome::Limited),
        (second.plus_ms(Policy::DAY_MS - 1), Outcome::Limited),
        (second.plus_ms(Policy::DAY_MS), Outcome::LinkSent),
    ] {
        state.now = at;
        let step = state.clone().act(AskLink, &policy).unwrap();
        assert_eq!(
            step.outcome,
            outcome,
            "{} h after",
            at.since_ms(second) / HOUR_MS
        );
    }
}

#[test]
fn what_was_begun_before_a_number_changed_hands_ends_with_it() {
    let policy = with((true, true), Finish::ReturnCode);
    let start = [AskLink, RightPassword, CodeBack, Minute];
    for doing in [CodeBack, MailedCode] {
        let policy = Policy {
            finish: if doing == CodeBack {
                Finish::ReturnCode
            } else {
                Finish::MailCode
            },
            ..policy.clone()
        };
        let bound = if doing == CodeBack {
            start
        } else {
            [AskLink, RightPassword, MailedCode, Minute]
        };
        let mut state = after(&bound, &policy);
        assert!(state.contact.is_bound());
        for doing in [BotAsksLink, RightPassword, NewPhone] {
            state.act(doing, &policy);
        }
        state.act(doing, &policy);
        assert!(!state.contact.is_bound(), "{doing:?}");
    }
}

#[test]
fn a_word_or_a_tap_of_ours_is_not_kept_for_the_bot() {
    for methods in [(true, false), (false, true)] {
        let policy = with(methods, Finish::ReturnCode);
        for doing in [LogOut, TapNewLink] {
            let mut state = State::new();
            state.act(doing, &policy);
            assert!(state.contact.kept.is_none(), "{doing:?} with {methods:?}");
        }
    }
}

#[test]
fn somebody_whose_address_is_not_on_file_is_asked_for_it_and_nothing_else_is_kept_from_the_bot() {
    let policy = with((true, true), Finish::ReturnCode);
    let mut state = after(&[AskLink, ClaimedUnnamed, CodeBack, Minute], &policy);
    assert!(state.contact.is_bound());
    let asked = state.act(BotAsksMail, &policy).unwrap();
    assert_eq!(says(&asked), Some(&Sentence::ConfirmAddress));
    let hello = state.act(Hello, &policy).unwrap();
    assert_eq!(hello.outcome, Outcome::HandedOn);
    let address = state.act(Address, &policy).unwrap();
    assert_eq!(address.outcome, Outcome::CodeAsked);
    let hello = state.act(Hello, &policy).unwrap();
    assert_eq!(hello.outcome, Outcome::HandedOn);
    state.act(LookedUp, &policy);
    state.act(MailedCode, &policy);
    let standing = |state: &State| {
        let requirement = state.contact.requirement.as_ref();
        requirement.unwrap().standing(state.now)
    };
    assert_eq!(standing(&state), Standing::Passed);
    // An address is once more the bot's when nothing is asked for any more.
    state.act(Minute, &policy);
    assert_eq!(
        state.act(Address, &policy).unwrap().outcome,
        Outcome::HandedOn
    );
}

#[test]
fn a_new_demand_takes_the_place_of_one_that_nobody_can_fulfil_any_more() {
    let policy = with((true, true), Finish::ReturnCode);
    let mut state = after(&[AskLink, RightPassword, CodeBack, Minute], &policy);
    let asked = |state: &mut State| match state.act(BotAsksPassword, &policy).unwrap().bot {
        Some(BotAnswer::Asked(id)) => id,
        other => panic!("{other:?}"),
    };
    let first = asked(&mut state);
    assert_eq!(asked(&mut state), first, "it is under way");
    state.act(Expiry, &policy);
    assert_ne!(asked(&mut state), first, "its link has expired");
}

#[test]
fn on_request_the_bot_hears_no_secret_of_a_sign_in_that_it_asked_for() {
    let policy = Policy {
        gate: Gate::OnRequest,
        ..with((false, true), Finish::ReturnCode)
    };
    let mut state = after(&[Hello, BotAsksPassword], &policy);
    let is_handed_on = |state: &State, doing| {
        let step = state.clone().act(doing, &policy).unwrap();
        step.outcome == Outcome::HandedOn
    };
    assert!(!is_handed_on(&state, PasswordInTheChat));
    // The link has expired, and what is typed may still be meant for it.
    state.act(Expiry, &policy);
    assert!(!is_handed_on(&state, PasswordInTheChat) && !is_handed_on(&state, Address));
    assert!(is_handed_on(&state, Hello));
    for _ in 0..2 {
        state.act(Expiry, &policy);
    }
    assert!(
        is_handed_on(&state, PasswordInTheChat),
        "nothing is asked for any more"
    );
}

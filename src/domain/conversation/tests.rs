//! Every sequence of a small set of events, and long ones at random, each step checked against
//! what must always be true. The address is known on one side and known to nobody on the other;
//! until the right code both sides must hear the same.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::domain::account::{Account, Company, Unavailable};
use crate::domain::challenge::{Challenge, Sought};
use crate::domain::id::{ContactId, IdentityKey, MessageId, ServiceName, WaId};
use crate::domain::language::Language;
use crate::domain::message::{Provenance, Sender};
use crate::domain::time::{MINUTE_MS, SECOND_MS};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Hello,
    Address,
    OtherAddress,
    Slip,
    RightCode,
    WrongCode,
    TwoCodes,
    ForwardedRightCode,
    LateRightCode,
    GroupRightCode,
    TapResend,
    TapOld,
    Cancel,
    Yes,
    WhoAmI,
    LogOut,
    Picture,
    NewPhone,
    LookedUp,
    LookedUpInPart,
    LookUpGivenUp,
    MailGivenUp,
    NumberChanged,
    Minute,
    Expiry,
    Day,
}

use Doing::*;

const EVERYTHING: [Doing; 26] = [
    Hello,
    Address,
    OtherAddress,
    Slip,
    RightCode,
    WrongCode,
    TwoCodes,
    ForwardedRightCode,
    LateRightCode,
    GroupRightCode,
    TapResend,
    TapOld,
    Cancel,
    Yes,
    WhoAmI,
    LogOut,
    Picture,
    NewPhone,
    LookedUp,
    LookedUpInPart,
    LookUpGivenUp,
    MailGivenUp,
    NumberChanged,
    Minute,
    Expiry,
    Day,
];

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

fn the_address() -> EmailAddress {
    address("ana@example.com")
}

/// Limits that a handful of events can reach.
fn tight() -> Policy {
    Policy {
        tries_per_code: 2,
        failures_per_day: 3,
        failures_per_day_in_all: 5,
        mails_per_hour: 2,
        mails_per_day: 4,
        replies_per_hour: 1_000,
        ..Policy::default()
    }
}

/// The code of a challenge; as good as any function of it.
fn code_of(id: ChallengeId) -> String {
    let number = u32::from_be_bytes(id.0[..4].try_into().unwrap());
    format!("{:08}", 10_000_000 + number)
}

/// A conversation on one side, with what is counted as the store would keep it.
#[derive(Clone)]
struct Side {
    somebody_has_it: bool,
    contact: Contact,
    addresses: Vec<(EmailAddress, AddressCounts)>,
    in_all: Budget,
}

#[derive(Clone)]
struct State {
    now: Timestamp,
    messages: u32,
    phone: u8,
    /// Known and unknown; after a success only the known one goes on.
    sides: Vec<Side>,
    /// Challenges whose code was used.
    used: Vec<ChallengeId>,
    /// The last code that was mailed before the one in flight.
    last_code: String,
}

impl State {
    fn new() -> State {
        let now = Timestamp(1_800_000_000_000);
        let wa_id = WaId::parse("573001234567").unwrap();
        let contact = Contact::new(
            ContactId([7; 16]),
            None,
            Some(wa_id),
            Language::Spanish,
            now,
        );
        let side = |somebody_has_it| Side {
            somebody_has_it,
            contact: contact.clone(),
            addresses: Vec::new(),
            in_all: Budget::default(),
        };
        State {
            now,
            messages: 0,
            phone: 0,
            sides: vec![side(true), side(false)],
            used: Vec::new(),
            last_code: "10000000".into(),
        }
    }

    fn message(&self, content: Content) -> Inbound {
        Inbound {
            id: MessageId::parse(&format!("m{}", self.messages)).unwrap(),
            sender: Sender {
                bsuid: None,
                wa_id: self.sides[0].contact.wa_id.clone(),
                identity_key: IdentityKey::parse(&format!("key{}", self.phone)).ok(),
            },
            sent_at: self.now,
            content,
            provenance: Provenance::Direct,
        }
    }

    fn text(&self, text: &str) -> Inbound {
        self.message(Content::Text(text.into()))
    }

    /// Does it on every side, checks every step, and returns the state after it; `None` when
    /// nothing came of it that later events could notice.
    fn after(&self, doing: Doing, policy: &Policy) -> Option<State> {
        let mut next = self.clone();
        next.messages += 1;
        let pause_ms = match doing {
            Minute => 61 * SECOND_MS,
            Expiry => 11 * MINUTE_MS,
            Day => 24 * HOUR_MS,
            _ => 0,
        };
        if pause_ms > 0 {
            next.now = self.now.plus_ms(pause_ms);
            return Some(next);
        }
        if doing == NewPhone {
            next.phone += 1;
        }
        let mut changed = false;
        let mut heard: Vec<Vec<Sentence>> = Vec::new();
        let mut bound = None;
        for (side, before) in next.sides.clone().iter().zip(0..) {
            let challenge = match &side.contact.stage {
                Stage::CodeAwaited(challenge) => Some(challenge.clone()),
                _ => None,
            };
            let code = challenge
                .as_ref()
                .map_or(self.last_code.clone(), |challenge| code_of(challenge.id));
            let step = next.step(side, doing, &code, policy);
            check(side, &step, doing, challenge.as_ref(), next.now, policy);
            if step.outcome == Outcome::Bound {
                let id = challenge.as_ref().unwrap().id;
                assert!(!next.used.contains(&id), "a code was used twice");
                bound = Some(id);
            }
            if let Stage::CodeAwaited(now_awaited) = &step.contact.stage
                && challenge
                    .as_ref()
                    .is_none_or(|before| before.id != now_awaited.id)
            {
                next.last_code.clone_from(&code);
            }
            let says = step.actions.iter().filter_map(|action| match action {
                Action::Say(sentence) => Some(sentence.clone()),
                _ => None,
            });
            heard.push(says.collect());
            let after = &mut next.sides[before];
            changed |= !is_alike(&after.contact, &step.contact);
            after.contact = step.contact;
            after.in_all = step.counts.failures_in_all;
            for (counted, counts) in step.counts.addresses {
                after.addresses.retain(|(known, _)| *known != counted);
                after.addresses.push((counted, counts));
            }
        }
        match bound {
            Some(id) => {
                next.used.push(id);
                next.sides.truncate(1);
            }
            None if next.sides.len() == 2 => {
                assert_eq!(heard[0], heard[1], "{doing:?} tells who is registered");
            }
            None => {}
        }
        changed.then_some(next)
    }

    fn step(&self, side: &Side, doing: Doing, code: &str, policy: &Policy) -> Step {
        let current = match &side.contact.stage {
            Stage::CodeAwaited(challenge) => challenge.id,
            _ => ChallengeId([0xee; 16]),
        };
        let tap = |tag: &str| {
            let action = ButtonAction::Resend;
            self.message(Content::Button {
                id: OurButton { action, tag }.id(),
            })
        };
        let message = match doing {
            Hello | NewPhone => self.text("hola"),
            Address => self.text("Ana@Example.com"),
            OtherAddress => self.text("es bea@example.com"),
            Slip => self.text("ana@gmial.com"),
            RightCode => self.text(code),
            WrongCode => self.text("99999999"),
            TwoCodes => self.text(&format!("{code}, 99999999")),
            ForwardedRightCode => Inbound {
                provenance: Provenance::Forwarded,
                ..self.text(code)
            },
            LateRightCode => Inbound {
                sent_at: self.now.minus_ms(policy.message_age_max_ms + 1),
                ..self.text(code)
            },
            GroupRightCode => Inbound {
                provenance: Provenance::Group,
                ..self.text(code)
            },
            TapResend => tap(&current.tag()),
            TapOld => tap("feedfeedfeed"),
            Cancel => self.text("cancelar"),
            Yes => self.text("sí"),
            WhoAmI => self.text("quién soy"),
            LogOut => self.text("cerrar sesión"),
            Picture => self.message(Content::Other("image")),
            LookedUp | LookedUpInPart | LookUpGivenUp | MailGivenUp | NumberChanged | Minute
            | Expiry | Day => self.text(""),
        };
        let answers = answers(side, doing == LookedUpInPart);
        let event = match doing {
            LookedUp | LookedUpInPart => Event::LookedUp {
                challenge: current,
                answers: &answers,
            },
            LookUpGivenUp => Event::GaveUp {
                challenge: current,
                errand: Errand::LookUp,
            },
            MailGivenUp => Event::GaveUp {
                challenge: current,
                errand: Errand::Mail,
            },
            NumberChanged => Event::Released(ReleaseReason::NumberChanged),
            _ => Event::Message(&message),
        };
        let mut fresh = [0; 16];
        fresh[..4].copy_from_slice(&self.messages.to_be_bytes());
        let concerned = addresses_concerned(&side.contact, &event, policy);
        let counts = Counts {
            addresses: concerned
                .into_iter()
                .map(|wanted| {
                    let known = side.addresses.iter().find(|(known, _)| *known == wanted);
                    let counts = known.map(|(_, counts)| counts.clone()).unwrap_or_default();
                    (wanted, counts)
                })
                .collect(),
            failures_in_all: side.in_all.clone(),
            ..Counts::default()
        };
        let context = Context {
            now: self.now,
            fresh,
            policy,
            expected_code: match side.contact.stage {
                Stage::CodeAwaited(_) => OtpCode::parse(code).ok(),
                _ => None,
            },
            expected_return_code: None,
            foreign_return_code: false,
            counts,
        };
        step(&side.contact, &event, &context)
    }
}

/// What the services say about the address of the challenge in flight: one has it, perhaps; the
/// other has nobody, or gives no answer.
fn answers(side: &Side, in_part: bool) -> Vec<Answer> {
    let service = |name: &str| ServiceName::parse(name).unwrap();
    let asked = match &side.contact.stage {
        Stage::CodeAwaited(challenge) => challenge.address.clone(),
        _ => the_address(),
    };
    let account = Account {
        service: service("kutamma"),
        user_id: "1".into(),
        name: "Ana".into(),
        email: the_address(),
        phone: None,
        company: Company {
            id: "1".into(),
            name: "Acme".into(),
        },
    };
    let has_it = side.somebody_has_it && asked == the_address();
    vec![
        Answer {
            service: service("kutamma"),
            users: Ok(if has_it { vec![account] } else { Vec::new() }),
        },
        Answer {
            service: service("woku"),
            users: if in_part {
                Err(Unavailable {
                    reason: "down".into(),
                })
            } else {
                Ok(Vec::new())
            },
        },
    ]
}

/// Equal, as far as later events can notice.
fn is_alike(a: &Contact, b: &Contact) -> bool {
    a.stage == b.stage
        && a.bindings == b.bindings
        && a.failures == b.failures
        && a.codes == b.codes
        && a.kept == b.kept
        && a.released == b.released
        && a.identity_key == b.identity_key
}

fn check(
    before: &Side,
    step: &Step,
    doing: Doing,
    challenge: Option<&Challenge>,
    now: Timestamp,
    policy: &Policy,
) {
    let after = &step.contact;
    let says = step
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Say(_)))
        .count();
    assert!(says <= 1, "{doing:?} is answered {says} times");
    if doing == GroupRightCode {
        assert_eq!((after, &step.actions[..]), (&before.contact, &[][..]));
    }

    // Bound only by the right code of a live challenge that somebody has, typed here and in time.
    let became_bound = !before.contact.is_bound() && after.is_bound();
    assert_eq!(became_bound, step.outcome == Outcome::Bound);
    if became_bound {
        let challenge = challenge.unwrap();
        assert_eq!(doing, RightCode);
        assert!(before.somebody_has_it && challenge.address == the_address());
        assert!(matches!(challenge.sought, Sought::Found(_)));
        assert!(now < challenge.expires_at && challenge.wrong < policy.tries_per_code);
        let day = |budget: &Budget| budget.used(now, Policy::DAY_MS);
        assert!(day(&before.contact.failures) < policy.failures_per_day);
        assert!(day(&before.in_all) < policy.failures_per_day_in_all);
        assert_eq!(after.stage, Stage::Idle);
        assert!(
            after
                .bindings
                .iter()
                .all(|b| b.email == Some(the_address()) && b.proved_at == now)
        );
    } else if after.bindings != before.contact.bindings {
        assert!(
            after.bindings.is_empty() && step.outcome != Outcome::HandedOn,
            "a binding may only end"
        );
    }

    // Failures become fewer by success alone; the clock stands still during a step.
    let used = |budget: &Budget| budget.used(now, Policy::DAY_MS);
    assert!(used(&step.counts.failures_in_all) >= used(&before.in_all));
    if !became_bound {
        assert!(used(&after.failures) >= used(&before.contact.failures));
        for (address, counts) in &before.addresses {
            if let Some((_, now_counted)) = step.counts.addresses.iter().find(|(a, _)| a == address)
            {
                assert!(
                    used(&now_counted.failures) >= used(&counts.failures),
                    "{doing:?} forgets failures of an address"
                );
            }
        }
    }

    // A guess is evaluated only within the limits, and a refused one costs nothing further.
    let wrong = step.actions.contains(&Action::Audit(AuditEvent::CodeWrong));
    if wrong {
        assert!(used(&before.contact.failures) < policy.failures_per_day);
        assert!(challenge.unwrap().is_live(now, policy));
        assert_eq!(used(&after.failures), used(&before.contact.failures) + 1);
    }

    // Codes are asked for only within the limits.
    if step.outcome == Outcome::CodeAsked {
        let in_an_hour = |budget: &Budget| budget.used(now, Policy::HOUR_MS);
        assert!(in_an_hour(&after.codes) <= policy.mails_per_hour);
        assert!(used(&after.codes) <= policy.mails_per_day);
        for (_, counts) in &step.counts.addresses {
            assert!(in_an_hour(&counts.codes) <= policy.mails_per_hour);
        }
    }

    // Only a known contact's messages are the bot's, and nothing typed for the sign-in.
    if after.kept.is_some() && after.kept != before.contact.kept {
        let is_for_the_sign_in = matches!(
            doing,
            Address | OtherAddress | Slip | RightCode | WrongCode | TwoCodes | LateRightCode
        );
        assert!(!is_for_the_sign_in, "{doing:?} is kept for the bot");
    }
    for action in &step.actions {
        if let Action::HandOn(kept) = action {
            assert!(after.is_bound());
            let is_first = before.contact.kept.as_ref() == Some(kept);
            assert!(before.contact.is_bound() || is_first);
        }
        if let Action::MailCode { to, .. } = action {
            assert!(before.somebody_has_it && *to == the_address());
        }
    }
}

/// Who asks again properly is in, or is told when to come back, within six events.
fn check_way_out(state: &State, policy: &Policy) {
    let mut state = State {
        sides: vec![state.sides[0].clone()],
        ..state.clone()
    };
    if state.sides[0].contact.is_bound() {
        return;
    }
    let replies = &state.sides[0].contact.replies;
    if let Some(until) = replies.blocked_until(state.now, Policy::HOUR_MS, policy.replies_per_hour)
    {
        // Whoever had their share of replies hears nothing until there are more.
        state.now = until.plus_ms(Policy::HOUR_MS);
    }
    for doing in [Address, LookedUp, RightCode] {
        let side = state.sides[0].clone();
        let code = match &side.contact.stage {
            Stage::CodeAwaited(challenge) => code_of(challenge.id),
            _ => String::new(),
        };
        let step = state.step(&side, doing, &code, policy);
        let told_to_wait = step.actions.iter().any(|action| {
            matches!(
                action,
                Action::Say(
                    Sentence::WaitForNextCode { .. }
                        | Sentence::TooManyCodes { .. }
                        | Sentence::TooManyFailures { .. }
                        | Sentence::SignInPaused
                )
            )
        });
        if told_to_wait {
            return;
        }
        state = state.after(doing, policy).expect("every step leads on");
        if state.sides[0].contact.is_bound() {
            return;
        }
        // An address that was asked for too often elsewhere gets no mail; here nobody else asks,
        // so only the hour's own limit can spare it, and that one is told.
    }
    panic!("no way out of {:?}", state.sides[0].contact.stage);
}

fn walk(state: &State, events: &[Doing], depth: usize, steps: &mut u64, policy: &Policy) {
    for doing in events {
        *steps += 1;
        if let Some(next) = state.after(*doing, policy) {
            let is_pause = matches!(doing, Minute | Expiry | Day);
            if depth > 1 {
                walk(&next, events, depth - 1, steps, policy);
            } else if !is_pause {
                check_way_out(&next, policy);
            }
        }
    }
}

/// The events around one code: everything that can happen to it, six deep.
#[test]
fn no_sequence_of_events_breaks_what_must_hold() {
    let events = [
        Hello,
        Address,
        RightCode,
        WrongCode,
        ForwardedRightCode,
        TapResend,
        Cancel,
        LogOut,
        LookedUp,
        LookUpGivenUp,
        Minute,
        Expiry,
    ];
    let mut steps = 0;
    walk(&State::new(), &events, 6, &mut steps, &tight());
    assert!(steps > 100_000, "only {steps} steps");
}

/// Every event there is, three deep from the beginning and four deep from a code in flight.
#[test]
fn no_sequence_of_any_events_breaks_what_must_hold() {
    let policy = tight();
    let mut steps = 0;
    walk(&State::new(), &EVERYTHING, 3, &mut steps, &policy);
    let mut in_flight = State::new();
    for doing in [Hello, Address, LookedUp] {
        in_flight = in_flight.after(doing, &policy).unwrap();
    }
    walk(&in_flight, &EVERYTHING, 4, &mut steps, &policy);
    assert!(steps > 50_000, "only {steps} steps");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    /// Long enough to reach every limit, and what lies behind it.
    #[test]
    fn no_long_conversation_breaks_what_must_hold(
        doings in prop::collection::vec(prop::sample::select(&EVERYTHING[..]), 1..120), tight_limits in any::<bool>(),
    ) {
        let policy = if tight_limits { tight() } else { Policy::default() };
        let mut state = State::new();
        for doing in doings {
            if let Some(next) = state.after(doing, &policy) {
                state = next;
            } else {
                state.now = state.now.plus_ms(1);
                state.messages += 1;
            }
        }
        check_way_out(&state, &policy);
    }
}

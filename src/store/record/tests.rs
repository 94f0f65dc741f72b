//! Tests of `record`.

#![allow(clippy::unwrap_used)]
use super::super::{Engine, Memory};
use super::contact::ContactRecord;
use super::meta::{FIRST_KEY, LATEST_KEY};
use super::outbox::{STATUSES, entry_key};
use super::*;
use crate::domain::account::{Account, Company};
use crate::domain::binding::{Binding, Proof, ReleaseReason};
use crate::domain::budget::Budget;
use crate::domain::challenge::{Challenge, Sought};
use crate::domain::contact::{Barred, Contact, ForgetAsked, Kept, Stage};
use crate::domain::conversation::AddressCounts;
use crate::domain::delivery::{
    Button, ChatMessage, Entry, EntryId, Errand, Lane, Link, LinkTarget, Notice, Recipient,
    SignedBody,
};
use crate::domain::id::RequirementId;
use crate::domain::id::{
    Bsuid, ChallengeId, ContactId, EmailAddress, IdentityKey, MappingId, MessageId, PhoneNumberId,
    ProofId, ServiceName, WaId,
};
use crate::domain::language::Language;
use crate::domain::requirement::{ProofWanted, Requirement, RequirementState};
use crate::domain::sign_in::{Mapping, MappingState};
use crate::domain::tally::{Method, Milestone, Progress};
use crate::domain::time::{HOUR_MS, Timestamp};
use proptest::prelude::*;

fn keys() -> Keys {
    Keys::new(MasterKey::from_hex(&"41".repeat(32)).unwrap())
}

/// Runs one update on an empty store and returns its value.
fn in_store<T: Send + 'static>(
    body: impl Fn(&mut dyn Writer) -> Result<T, StoreError> + Send + Sync + 'static,
) -> T {
    let memory = Memory::new();
    let engine: &dyn Engine = &memory;
    engine.update(body).unwrap()
}

prop_compose! {
    fn any_moment()(ms in prop_oneof![0u64..10, 1_800_000_000_000u64..1_800_000_100_000, Just(u64::MAX)])
        -> Timestamp { Timestamp(ms) }
}

prop_compose! {
    fn any_address()(local in "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}", domain in "[a-z0-9]{1,10}\\.[a-z]{2,5}")
        -> EmailAddress { EmailAddress::parse(&format!("{local}@{domain}")).unwrap() }
}

prop_compose! {
    fn any_service()(name in "[a-z][a-z0-9]{0,10}") -> ServiceName { ServiceName::parse(&name).unwrap() }
}

prop_compose! {
    fn any_company()(id in "\\PC{0,20}", name in "\\PC{0,20}") -> Company { Company { id, name } }
}

prop_compose! {
    fn any_account()(
        service in any_service(), user_id in "\\PC{0,20}", name in "\\PC{0,20}", email in any_address(),
        phone in prop::option::of("[0-9]{8,15}"), company in any_company(),
    ) -> Account { Account { service, user_id, name, email, phone, company } }
}

prop_compose! {
    fn any_binding()(account in any_account(), proof in prop::sample::select(&Proof::ALL[..]), proof_id in any::<[u8; 16]>(), proved_at in any_moment()) -> Binding {
        Binding::new(account, proof, ProofId(proof_id), proved_at)
    }
}

prop_compose! {
    fn any_kept()(id in "[!-~]{1,60}", sent_at in any_moment()) -> Kept {
        Kept { id: MessageId::parse(&id).unwrap(), sent_at }
    }
}

prop_compose! {
    fn any_budget()(moments in prop::collection::vec(any_moment(), 0..6)) -> Budget { Budget::from_moments(moments) }
}

fn any_number() -> impl Strategy<Value = WaId> {
    "[1-9][0-9]{9,14}".prop_map(|digits| WaId::parse(&digits).unwrap())
}

fn any_bsuid() -> impl Strategy<Value = Bsuid> {
    "[A-Z]{2}\\.[0-9]{10,20}".prop_map(|text| Bsuid::parse(&text).unwrap())
}

fn any_sought() -> impl Strategy<Value = Sought> {
    prop_oneof![
        Just(Sought::Asking),
        Just(Sought::Nobody),
        prop::collection::vec(any_account(), 1..4).prop_map(Sought::Found),
    ]
}

prop_compose! {
    fn any_challenge()(
        id in any::<[u8; 16]>(), address in any_address(), asked_at in any_moment(), expires_at in any_moment(),
        wrong in any::<u32>(), sought in any_sought(),
    ) -> Challenge { Challenge { id: ChallengeId(id), address, asked_at, expires_at, wrong, sought } }
}

fn any_stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        Just(Stage::Idle),
        any_moment().prop_map(|at| Stage::AddressAsked { at }),
        (any_address(), any_address(), "[0-9a-f]{12}").prop_map(|(typed, suggested, tag)| {
            Stage::SpellingAsked {
                typed,
                suggested,
                tag,
            }
        }),
        any_challenge().prop_map(Stage::CodeAwaited),
        Just(Stage::LinkSent),
    ]
}

fn any_mapping_state() -> impl Strategy<Value = MappingState> {
    prop_oneof![
        Just(MappingState::Issued),
        (prop::collection::vec(any_binding(), 1..3), any_moment())
            .prop_map(|(bindings, until)| MappingState::SignedIn { bindings, until }),
        Just(MappingState::Used),
        Just(MappingState::Burned),
    ]
}

prop_compose! {
    fn any_mapping()(
        id in any::<[u8; 16]>(), asked_at in any_moment(), expires_at in any_moment(),
        passwords in any::<u32>(), wrong_numbers in any::<u32>(), state in any_mapping_state(),
        earlier in prop::collection::vec(any_binding(), 0..2),
    ) -> Mapping { Mapping { id: MappingId(id), asked_at, expires_at, passwords, wrong_numbers, state, earlier } }
}

prop_compose! {
    fn any_barred()(account in any_account(), one in any::<bool>(), until in any_moment()) -> Barred {
        let company_id = one.then_some(account.company.id);
        Barred { service: account.service, user_id: account.user_id, company_id, until }
    }
}

prop_compose! {
    fn any_requirement()(
        id in any::<[u8; 16]>(), proof in prop::sample::select(&ProofWanted::ALL[..]),
        (asked_at, expires_at) in (any_moment(), any_moment()),
        state in prop::sample::select(&[RequirementState::Pending, RequirementState::Passed, RequirementState::Refused][..]),
        after_password in prop::option::of(any::<[u8; 16]>()),
    ) -> Requirement {
        let after_password = after_password.map(ChallengeId);
        Requirement { id: RequirementId(id), proof, asked_at, expires_at, state, after_password }
    }
}

prop_compose! {
    fn any_contact()(
        (id, bsuid, wa_id) in (any::<[u8; 16]>(), prop::option::of(any_bsuid()), prop::option::of(any_number())),
        language in prop::sample::select(&Language::ALL[..]),
        (created_at, last_message_at) in (any_moment(), any_moment()),
        stage in any_stage(),
        bindings in prop::collection::vec(any_binding(), 0..4),
        identity_key in prop::option::of("[!-~]{1,44}"),
        released in prop::option::of(prop::sample::select(&ReleaseReason::ALL[..])),
        kept in prop::option::of(any_kept()),
        (failures, codes, replies) in (any_budget(), any_budget(), any_budget()),
        (links, mismatches, mapping) in (any_budget(), any_budget(), prop::option::of(any_mapping())),
        barred in prop::collection::vec(any_barred(), 0..3), requirement in prop::option::of(any_requirement()),
        (forget_asked, progress) in (prop::option::of((any_moment(), "[0-9a-f]{12}")), prop::option::of(any_progress())),
    ) -> Contact {
        Contact {
            id: ContactId(id), bsuid, wa_id, language, created_at, last_message_at, stage, bindings,
            identity_key: identity_key.and_then(|key| IdentityKey::parse(&key).ok()),
            forget_asked: forget_asked.map(|(at, tag)| ForgetAsked { at, tag }),
            released, kept, failures, codes, replies, links, mismatches, mapping, barred, requirement, progress,
        }
    }
}

fn any_progress() -> impl Strategy<Value = Progress> {
    let method = prop::sample::select(&Method::ALL[..]);
    let milestone = prop::sample::select(&Milestone::ALL[..]);
    (method, milestone, any_moment()).prop_map(|(method, milestone, begun_at)| Progress {
        method,
        begun_at,
        milestone,
    })
}

fn any_errand() -> impl Strategy<Value = Errand> {
    let recipient = prop_oneof![
        any_number().prop_map(Recipient::Number),
        any_bsuid().prop_map(Recipient::Bsuid),
    ];
    let buttons = prop::collection::vec(("\\PC{0,20}", "\\PC{0,20}"), 0..=3);
    let target = prop_oneof![
        any::<[u8; 16]>().prop_map(|id| LinkTarget::SignIn(MappingId(id))),
        "https://[a-z/]{1,20}".prop_map(LinkTarget::Url),
    ];
    let link = prop::option::of(("\\PC{0,20}", target).prop_map(|(title, to)| Link { title, to }));
    let chat = (recipient, "(?s).{0,80}", buttons, link, "[a-z_]{1,20}").prop_map(
        |(to, body, buttons, link, sentence)| {
            let buttons = buttons.into_iter();
            let buttons = buttons.map(|(id, title)| Button { id, title }).collect();
            let message = ChatMessage {
                body,
                buttons,
                link,
            };
            Errand::Chat {
                to,
                message,
                sentence,
            }
        },
    );
    let id = || any::<[u8; 16]>().prop_map(ChallengeId);
    prop_oneof![
        chat,
        (id(), any_address())
            .prop_map(|(challenge, address)| Errand::LookUp { challenge, address }),
        (id(), any_address()).prop_map(|(challenge, to)| Errand::MailCode { challenge, to }),
        id().prop_map(|challenge| Errand::PretendMail { challenge }),
        (
            any_address(),
            prop::option::of(any::<[u8; 16]>()),
            prop::sample::select(&Language::ALL[..])
        )
            .prop_map(|(to, bound, language)| {
                let notice = bound.map_or(Notice::Refused, |id| Notice::Bound(ProofId(id)));
                Errand::MailNotice {
                    to,
                    notice,
                    language,
                }
            }),
        (prop::option::of(any_kept()), any::<u64>()).prop_map(|(kept, origin)| Errand::HandOn {
            message: kept.map(|kept| kept.id),
            origin: EntryId(origin),
        }),
        any::<u64>().prop_map(|origin| Errand::Event {
            origin: EntryId(origin)
        }),
    ]
}

prop_compose! {
    fn any_entry()(
        id in 1u64..u64::MAX, contact in any::<[u8; 16]>(), errand in any_errand(),
        (created_at, expires_at, not_before) in (any_moment(), any_moment(), any_moment()),
        (attempts, unknown, unexplained, hushed, last_failure) in (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>(), prop::option::of("\\PC{0,20}")), in_flight_since in prop::option::of(any_moment()),
    ) -> Entry {
        Entry {
            id: EntryId(id), contact: ContactId(contact), errand, created_at, expires_at, not_before, attempts,
            unknown, unexplained, hushed, last_failure, in_flight_since,
        }
    }
}

/// Addresses are equal without regard to case; what is written to must come back letter by letter.
fn spelled(contact: &Contact) -> Vec<String> {
    let mut addresses: Vec<&EmailAddress> = contact
        .bindings
        .iter()
        .filter_map(|b| b.email.as_ref())
        .collect();
    match &contact.stage {
        Stage::SpellingAsked {
            typed, suggested, ..
        } => addresses.extend([typed, suggested]),
        Stage::CodeAwaited(challenge) => {
            addresses.push(&challenge.address);
            if let Sought::Found(accounts) = &challenge.sought {
                addresses.extend(accounts.iter().map(|account| &account.email));
            }
        }
        Stage::Idle | Stage::AddressAsked { .. } | Stage::LinkSent => {}
    }
    if let Some(Mapping {
        state: MappingState::SignedIn { bindings, .. },
        ..
    }) = &contact.mapping
    {
        addresses.extend(bindings.iter().filter_map(|b| b.email.as_ref()));
    }
    let earlier = contact.mapping.iter().flat_map(|mapping| &mapping.earlier);
    addresses.extend(earlier.filter_map(|b| b.email.as_ref()));
    addresses.iter().map(|a| a.as_str().to_owned()).collect()
}

proptest! {
    #[test]
    fn a_contact_comes_back_as_it_was_stored(stored in any_contact()) {
        let put = stored.clone();
        let found = in_store(move |writer| {
            put_contact(writer, &put)?;
            Ok((contact(writer, put.id)?, contacts(writer, None, 10)?))
        });
        prop_assert_eq!(spelled(found.0.as_ref().unwrap()), spelled(&stored));
        prop_assert_eq!(found, (Some(stored.clone()), vec![stored]));
    }

    #[test]
    fn an_entry_comes_back_as_it_was_stored_from_its_lane_alone(stored in any_entry()) {
        let put = stored.clone();
        let found = in_store(move |writer| {
            put_entry(writer, &put)?;
            let lanes = Lane::ALL.map(|lane| entries(writer, lane, None, 10));
            Ok((entry(writer, put.errand.lane(), put.id)?, lanes, last_entry_id(writer)?))
        });
        for (lane, found) in Lane::ALL.into_iter().zip(found.1) {
            let expected = if lane == stored.errand.lane() { vec![stored.clone()] } else { Vec::new() };
            prop_assert_eq!(found.unwrap(), expected);
        }
        prop_assert_eq!((found.0, found.2), (Some(stored.clone()), stored.id));
    }

    #[test]
    fn a_dead_letter_comes_back_as_it_was_stored(entry in any_entry(), at in any_moment(), reason in "\\PC{0,60}") {
        let stored = DeadLetter { entry, at, reason };
        let put = stored.clone();
        let found = in_store(move |writer| {
            put_dead(writer, &put)?;
            Ok((dead_letters(writer, 10)?, last_entry_id(writer)?))
        });
        prop_assert_eq!(found, (vec![stored.clone()], stored.entry.id));
    }

    #[test]
    fn what_meta_took_comes_back_as_it_was_stored(
        entry in any::<u64>(), contact in any::<[u8; 16]>(), sentence in "[a-z_]{1,20}", at in any_moment(),
        status in prop::sample::select(&STATUSES[..]), id in "[!-~]{1,60}",
    ) {
        let stored = Sent { entry: EntryId(entry), contact: ContactId(contact), sentence, at, status };
        let (put, id) = (stored.clone(), MessageId::parse(&id).unwrap());
        let found = in_store(move |writer| {
            put_sent(writer, &keys(), &id, &put)?;
            Ok((sent(writer, &keys(), &id)?, all_sent(writer, 10)?))
        });
        prop_assert_eq!(found, (Some(stored.clone()), vec![stored]));
    }

    #[test]
    fn counts_come_back_under_any_spelling_of_the_address(
        address in any_address(), codes in any_budget(), failures in any_budget(),
    ) {
        let stored = AddressCounts { codes, failures };
        let put = stored.clone();
        let found = in_store(move |writer| {
            put_address_counts(writer, &keys(), &address, &put)?;
            put_failures_in_all(writer, &put.failures)?;
            let shouted = EmailAddress::parse(&address.as_str().to_ascii_uppercase()).unwrap();
            Ok((address_counts(writer, &keys(), &shouted)?, failures_in_all(writer)?))
        });
        prop_assert_eq!(found, (stored.clone(), stored.failures));
    }

    #[test]
    fn bytes_that_are_no_record_are_damage_and_never_a_value(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let result = in_store(move |writer| {
            writer.put(Table::Contact, &[7; 16], &bytes)?;
            writer.put(Table::Outbox, &entry_key(Lane::Chat, EntryId(7)), &bytes)?;
            Ok((contact(writer, ContactId([7; 16])).is_err(), entry(writer, Lane::Chat, EntryId(7)).is_err()))
        });
        prop_assert_eq!(result, (true, true));
    }
}

fn a_contact() -> Contact {
    let number = WaId::parse("573001234567").unwrap();
    Contact::new(
        ContactId([7; 16]),
        None,
        Some(number),
        Language::Spanish,
        Timestamp(1),
    )
}

#[test]
fn another_version_is_refused() {
    for version in [0, VERSION + 1, u8::MAX] {
        let found = in_store(move |writer| {
            let (mut contact_bytes, letter) = (
                write(Table::Contact, &ContactRecord::from(&a_contact()))?,
                write(Table::Meta, &1u64)?,
            );
            assert_eq!(contact_bytes[0], VERSION);
            contact_bytes[0] = version;
            writer.put(Table::Contact, &[7; 16], &contact_bytes)?;
            writer.put(
                Table::Meta,
                LATEST_KEY,
                &[&[version], &letter[1..]].concat(),
            )?;
            Ok((
                contact(writer, ContactId([7; 16])),
                contacts(writer, None, 10),
                latest_moment(writer),
            ))
        });
        let damaged = |table| StoreError::Damaged { table };
        assert_eq!(found.0, Err(damaged(Table::Contact)), "version {version}");
        assert_eq!(found.1, Err(damaged(Table::Contact)), "version {version}");
        assert_eq!(found.2, Err(damaged(Table::Meta)), "version {version}");
    }
}

/// All moments are counted from the one that was noted.
#[test]
fn no_clock_starts_before_what_waits_was_decided() {
    const NOTED_AT: Timestamp = Timestamp(1_800_000_000_000);
    let at = |ms: i64| Timestamp(NOTED_AT.0.checked_add_signed(ms).unwrap());
    for (decided_ms, wall_ms, starts_ms) in [
        (-1, 0, 0),
        // In that very moment.
        (0, 0, 1),
        // Since then, and the clock of the machine went back by an hour.
        (19_999, -3_600_000, 20_000),
        (60_000, -3_600_000, 60_001),
        // Long since then, and it went back by nineteen seconds, and by a minute.
        (300_000, 281_000, 300_001),
        (300_000, 240_000, 300_001),
        // A clock that was not believed was ahead.
        (300_000, 239_999, 0),
        (60_001, -3_600_000, 0),
    ] {
        let errands = [
            Errand::PretendMail {
                challenge: ChallengeId([1; 16]),
            },
            Errand::HandOn {
                message: None,
                origin: EntryId(5),
            },
            Errand::Event { origin: EntryId(5) },
        ];
        for errand in errands {
            let (id, contact) = (EntryId(5), ContactId([7; 16]));
            let entry = Entry::new(id, contact, errand, at(decided_ms), at(decided_ms));
            let what = format!("{:?}, {decided_ms}, {wall_ms}", entry.errand);
            let starts_at = in_store(move |writer| {
                put_latest_moment(writer, NOTED_AT)?;
                put_entry(writer, &entry)?;
                earliest_start(writer, at(wall_ms))
            });
            assert_eq!(starts_at, at(starts_ms), "{what}");
        }
    }
}

/// Written by this program's first version. It must be read for ever.
#[test]
fn records_of_the_first_version_are_read() {
    const CONTACT: &[u8] = b"\x01{\"wa_id\":\"573001234567\",\"language\":\"es\",\"created_at\":1,\
        \"last_message_at\":1,\"stage\":\"idle\"}";
    let found = in_store(|writer| {
        writer.put(Table::Contact, &[7; 16], CONTACT)?;
        contact(writer, ContactId([7; 16]))
    });
    assert_eq!(found, Some(a_contact()));
    const ENTRY: &[u8] = b"\x01{\"contact\":[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7],\
        \"errand\":{\"pretend_mail\":{\"challenge\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}},\
        \"created_at\":1,\"expires_at\":2,\"not_before\":1,\"attempts\":0}";
    let found = in_store(|writer| {
        writer.put(Table::Outbox, &entry_key(Lane::Mail, EntryId(5)), ENTRY)?;
        entry(writer, Lane::Mail, EntryId(5))
    });
    let challenge = ChallengeId([1; 16]);
    assert_eq!(found.unwrap().errand, Errand::PretendMail { challenge });
}

#[test]
fn signing_keys_are_kept_until_they_are_removed_and_read_as_they_were_first_written() {
    const WRITTEN: &[u8] =
        b"\x01{\"seed\":[9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9,9],\
        \"made_at\":1,\"signs_from\":2}";
    let key = |id: &str| SigningKey {
        id: id.to_owned(),
        seed: zeroize::Zeroizing::new([9; 32]),
        made_at: Timestamp(1),
        signs_from: Timestamp(2),
    };
    let found = in_store(move |writer| {
        writer.put(Table::Key, b"old", WRITTEN)?;
        put_signing_key(writer, &key("new"))?;
        let both = signing_keys(writer)?;
        delete_signing_key(writer, "old")?;
        delete_signing_key(writer, "never there")?;
        Ok((both, signing_keys(writer)?))
    });
    assert_eq!(found, (vec![key("new"), key("old")], vec![key("new")]));
    assert_eq!(format!("{:?}", key("new")), "SigningKey(new, ..)");
}

#[test]
fn a_message_is_seen_once_and_forgotten_by_its_hour() {
    let number = PhoneNumberId::parse("106540352242922").unwrap();
    let found = in_store(move |writer| {
        let id = |text: &str| MessageId::parse(text).unwrap();
        let mut see = |text: &str, at: u64| {
            let until_old = Remembered::UntilOld;
            super::see(
                writer,
                &keys(),
                &number,
                &id(text),
                Timestamp(at),
                until_old,
            )
        };
        let seen = [
            see("a", 5 * HOUR_MS)?,
            see("a", 5 * HOUR_MS)?,
            see("b", 5 * HOUR_MS)?,
            see("c", 9 * HOUR_MS)?,
        ];
        let forgotten = [
            forget_seen(writer, Timestamp(5 * HOUR_MS), 10)?,
            forget_seen(writer, Timestamp(6 * HOUR_MS), 1)?,
            forget_seen(writer, Timestamp(6 * HOUR_MS), 10)?,
            forget_seen(writer, Timestamp(6 * HOUR_MS), 10)?,
        ];
        Ok((seen, forgotten, seen_forgotten_until(writer)?))
    });
    let until = Some(Timestamp(5 * HOUR_MS + 1_000));
    assert_eq!(found, ([false, true, false, false], [0, 1, 1, 0], until));
}

/// what was sent later in the hour of the last one that was forgotten was never received.
#[test]
fn up_to_when_messages_were_forgotten_is_known_to_the_second() {
    let sent_at = Timestamp(5 * HOUR_MS + 1_234_000);
    let found = in_store(move |writer| {
        let (keys, number) = (keys(), PhoneNumberId::parse("106540352242922").unwrap());
        let id = MessageId::parse("a").unwrap();
        see(writer, &keys, &number, &id, sent_at, Remembered::UntilOld)?;
        forget_seen(writer, Timestamp(6 * HOUR_MS), 10)?;
        let to_the_second = seen_forgotten_until(writer)?;
        // An earlier version stored nothing but the hour.
        writer.put(Table::Seen, &keys.seen(&number, &id, sent_at), &[])?;
        forget_seen(writer, Timestamp(6 * HOUR_MS), 10)?;
        Ok((to_the_second, seen_forgotten_until(writer)?))
    });
    let to_the_hour = Some(Timestamp(6 * HOUR_MS));
    assert_eq!(found, (Some(sent_at.plus_ms(1_000)), to_the_hour));
}

/// of a store of an earlier version it is known what it may have forgotten.
#[test]
fn a_store_of_an_earlier_version_has_forgotten_what_was_old_when_it_last_ran() {
    for (first, latest, until) in [
        // A new one; one that ran for less than ids are kept, or by a wrong clock; and older ones.
        (None, None, 0),
        (Some(100), Some(105), 0),
        (Some(100), Some(110), 0),
        (Some(100), Some(111), 101),
        (None, Some(111), 101),
        (Some(0), Some(111), 101),
    ] {
        let found = in_store(move |writer| {
            for (key, at) in [(FIRST_KEY, first), (LATEST_KEY, latest)] {
                if let Some(at) = at {
                    writer.put(Table::Meta, key, &write(Table::Meta, &(at * HOUR_MS))?)?;
                }
            }
            begin_to_forget_seen(writer, 10 * HOUR_MS)?;
            let begun = seen_forgotten_until(writer)?;
            put_latest_moment(writer, Timestamp(1_000 * HOUR_MS))?;
            begin_to_forget_seen(writer, 10 * HOUR_MS)?;
            Ok([begun, seen_forgotten_until(writer)?])
        });
        assert_eq!(
            found,
            [Some(Timestamp(until * HOUR_MS)); 2],
            "{first:?}, {latest:?}"
        );
    }
}

#[test]
fn what_a_bot_asked_for_is_found_by_caller_and_mark_until_it_is_old() {
    let every = [
        Got::Link {
            mapping: MappingId([1; 16]),
            expires_at: Timestamp(9),
        },
        Got::Demand {
            requirement: RequirementId([2; 16]),
            proof: ProofWanted::MailCode,
            expires_at: Timestamp(8),
        },
        Got::Proved {
            proof: Proof::Password,
            proved_at: Timestamp(3),
        },
    ];
    for got in every {
        let known = Asked {
            at: Timestamp(5),
            request: [6; 32],
            contact: ContactId([7; 16]),
            got,
        };
        let stored = known.clone();
        let found = in_store(move |writer| {
            put_asked(writer, &keys(), "agent", "mark", &stored)?;
            let forgotten = forget_asked(writer, Timestamp(5), None, 10)?.removed;
            let found = asked(writer, &keys(), "agent", "mark")?;
            let others = [
                asked(writer, &keys(), "other", "mark")?,
                asked(writer, &keys(), "agen", "tmark")?,
            ];
            let swept = forget_asked(writer, Timestamp(6), None, 10)?.removed;
            Ok((forgotten, found, others, swept))
        });
        assert_eq!(found, (0, Some(known), [None, None], 1));
    }
    const WRITTEN: &[u8] = b"\x01{\"at\":5,\"request\":[6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6],\
        \"contact\":[7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7],\"got\":{\"proved\":{\"proof\":\"page\",\"proved_at\":3}}}";
    let found = in_store(|writer| {
        writer.put(Table::Asked, &keys().asked("agent", "mark"), WRITTEN)?;
        asked(writer, &keys(), "agent", "mark")
    });
    let (proof, proved_at) = (Proof::Page, Timestamp(3));
    assert_eq!(found.unwrap().got, Got::Proved { proof, proved_at });
}

#[test]
fn the_body_of_a_kept_message_is_found_by_its_own_id_alone() {
    let body = SignedBody {
        bytes: b"as it came".to_vec(),
        signature: "sha256=00".into(),
    };
    let stored = body.clone();
    let found = in_store(move |writer| {
        let contact = ContactId([7; 16]);
        let id = |text: &str| MessageId::parse(text).unwrap();
        put_kept_body(writer, contact, &id("wamid.1"), &stored)?;
        let mut found = Vec::new();
        for text in ["wamid.1", "wamid.2", "wamid.11", "wamid"] {
            found.push(kept_body(writer, contact, &id(text))?);
        }
        delete_body(writer, BodyOf::Contact(contact))?;
        found.push(kept_body(writer, contact, &id("wamid.1"))?);
        Ok(found)
    });
    assert_eq!(found, [Some(body), None, None, None, None]);
}

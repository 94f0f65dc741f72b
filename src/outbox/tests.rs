//! Tests of `outbox`: what waits, and what lets it leave.

use super::other_side::{Noted, REFUSED_LINES_MAX};
use super::queue::{After, LINES_MAX, LineKey, Queue};
use super::*;
use crate::app::Waiting;
use crate::domain::failure::PAUSE_MS;
use crate::domain::id::ContactId;

const ANA: ContactId = ContactId([1; 16]);

/// A queue of one contact whose first entry waits for a minute, and its second one for that.
fn waiting() -> Queue {
    let mut queue = Queue::new(Lane::Chat, None);
    for (number, look_at) in [(1, Timestamp(60_000)), (2, Timestamp(0))] {
        queue.add(Waiting {
            id: EntryId(number),
            contact: ANA,
            look_at,
        });
    }
    queue
}

#[test]
fn what_a_status_has_settled_is_waited_for_no_longer() {
    let (mut queue, now) = (waiting(), Timestamp(1_000));
    assert_eq!(queue.take(now, 1, 1), []);
    queue.free(ANA, EntryId(1), now);
    assert_eq!(queue.take(now, 1, 1), [((ANA, None), EntryId(1))]);
    queue.finish((ANA, None), EntryId(1), After::Gone, now);
    assert_eq!(queue.take(now, 1, 1), [((ANA, None), EntryId(2))]);
}

#[test]
fn as_long_as_nothing_may_leave_nobody_need_hear_of_something_new() {
    let mut queue = Queue::new(Lane::Services, Some(1));
    queue.add(Waiting {
        id: EntryId(1),
        contact: ANA,
        look_at: Timestamp(0),
    });
    let now = Timestamp(10_000);
    assert_eq!(queue.full_for_ms(now), None);
    assert_eq!(queue.take(now, 1, 1), [((ANA, None), EntryId(1))]);
    assert_eq!(queue.full_for_ms(now), Some(LOOK_MS_MAX), "it is under way");
    queue.finish((ANA, None), EntryId(1), After::Gone, now);
    assert_eq!(queue.full_for_ms(now.plus_ms(SECOND_MS - 1)), Some(1));
    assert_eq!(queue.full_for_ms(now.plus_ms(SECOND_MS)), None);
    // A rest that is over and has nothing to try holds nobody up.
    let throttled = throttled(2 * SECOND_MS);
    let _ = queue.note((ANA, None), EntryId(1), &throttled, now);
    assert_eq!(queue.full_for_ms(now.plus_ms(SECOND_MS)), Some(SECOND_MS));
    assert_eq!(queue.full_for_ms(now.plus_ms(2 * SECOND_MS)), None);
}

#[test]
fn no_more_leave_at_once_than_may_and_what_came_back_makes_room_before_it_is_stored() {
    let mut queue = queue_of(&[
        (ANA, 1),
        (BEN, 2),
        (ContactId([3; 16]), 3),
        (ContactId([4; 16]), 4),
    ]);
    queue.at_once_max = 2;
    let taken = queue.take(NOW, 9, 1);
    assert_eq!(taken.len(), 2);
    assert_eq!(queue.take(NOW, 9, 1), []);
    assert!(queue.came_back(taken[0].1, NOW), "another one can leave");
    assert_eq!(queue.take(NOW, 9, 1).len(), 1);
    assert_eq!(queue.take(NOW, 9, 1), []);
    queue.finish(taken[1].0, taken[1].1, After::Gone, NOW);
    assert_eq!(queue.take(NOW, 9, 1).len(), 1);
}

#[test]
fn a_status_that_comes_while_its_message_is_under_way_is_not_forgotten() {
    let (mut queue, later) = (waiting(), Timestamp(60_000));
    assert_eq!(queue.take(later, 1, 1), [((ANA, None), EntryId(1))]);
    queue.free(ANA, EntryId(1), later);
    queue.finish(
        (ANA, None),
        EntryId(1),
        After::Again(Timestamp(120_000)),
        later,
    );
    assert_eq!(queue.take(later, 1, 1), [((ANA, None), EntryId(1))]);
}

#[test]
fn a_status_for_somebody_who_waits_for_nothing_changes_nothing() {
    let mut queue = waiting();
    queue.free(ContactId([2; 16]), EntryId(1), Timestamp(1_000));
    queue.free(ANA, EntryId(2), Timestamp(1_000));
    assert_eq!(queue.take(Timestamp(1_000), 1, 1), []);
}

#[test]
fn what_is_settled_from_outside_in_the_middle_of_a_line_is_found_gone_when_its_turn_comes() {
    let mut queue = queue_of(&[(ANA, 1), (ANA, 2), (ANA, 3)]);
    queue.free(ANA, EntryId(2), NOW);
    assert_eq!(queue.take(NOW, 9, 1), [((ANA, None), EntryId(1))]);
    queue.finish((ANA, None), EntryId(1), After::Gone, NOW);
    assert_eq!(queue.take(NOW, 9, 1), [((ANA, None), EntryId(2))]);
}

const BEN: ContactId = ContactId([2; 16]);
const CAI: ContactId = ContactId([3; 16]);
const NOW: Timestamp = Timestamp(1_000_000_000);
const MINUTE_MS: u64 = 60 * SECOND_MS;

/// A queue of the bot's lane.
fn queue_of(entries: &[(ContactId, u64)]) -> Queue {
    let mut queue = Queue::new(Lane::Bot, None);
    for (contact, number) in entries {
        queue.add(Waiting {
            id: EntryId(*number),
            contact: *contact,
            look_at: NOW,
        });
    }
    queue
}

fn failed(kind: FailureKind, reason: &str) -> Report {
    Report::Failed(Failure {
        kind,
        ..Failure::temporary(reason)
    })
}

fn away() -> Report {
    failed(FailureKind::Unreachable, "nobody there")
}

fn throttled(pause_ms: u64) -> Report {
    failed(FailureKind::Throttled { pause_ms }, "too much at once")
}

fn refused() -> Report {
    Report::Failed(Failure::temporary("500"))
}

/// A try of the first of a line; says whether there was one.
fn try_one(queue: &mut Queue, report: &Report, now: Timestamp) -> bool {
    let Some((line, id)) = queue.take(now, 1, 1).pop() else {
        return false;
    };
    let _ = queue.note(line, id, report, now);
    queue.finish(line, id, After::Again(now), now);
    true
}

fn pause_s(queue: &Queue, now: Timestamp) -> Option<u64> {
    let rest = queue.other_side.rest()?;
    Some(rest.until.since_ms(now) / SECOND_MS)
}

#[test]
fn those_that_were_under_way_together_when_the_other_side_went_make_one_pause() {
    let entries: Vec<_> = (0..16)
        .map(|n| (ContactId([n; 16]), u64::from(n)))
        .collect();
    let mut queue = queue_of(&entries);
    let taken = queue.take(NOW, 16, 1);
    assert_eq!(taken.len(), 16);
    let mut noted = Vec::new();
    for (line, id) in taken {
        noted.push(queue.note(line, id, &away(), NOW));
        queue.finish(line, id, After::Again(NOW), NOW);
    }
    assert_eq!(pause_s(&queue, NOW), Some(1));
    assert_eq!(noted[0], Noted::Paused);
    assert!(noted[1..].iter().all(|noted| *noted == Noted::Nothing));
    // Each try to see whether it is over doubles the pause.
    let (mut now, mut pauses) = (NOW, Vec::new());
    for _ in 0..7 {
        assert!(!try_one(&mut queue, &away(), now));
        now = queue.other_side.rest().map_or(now, |rest| rest.until);
        assert!(try_one(&mut queue, &away(), now));
        pauses.extend(pause_s(&queue, now));
    }
    assert_eq!(pauses, [2, 4, 8, 16, 30, 30, 30]);
    let now = now.plus_ms(30 * SECOND_MS);
    assert!(try_one(&mut queue, &Report::Sent(None), now));
    assert_eq!(pause_s(&queue, now), None);
}

#[test]
fn what_is_put_right_ends_every_pause_but_that_of_what_may_have_arrived() {
    let failed = |kind| failed(kind, "the token is not valid");
    let wrong = failed(FailureKind::Configuration);
    let asked_for_a_pause = FailureKind::Temporary {
        retry_after_ms: Some(MINUTE_MS),
    };
    let others = [FailureKind::Unknown, asked_for_a_pause];
    let mut queue = queue_of(&[(ANA, 1), (BEN, 2), (CAI, 3), (BEN, 4)]);
    let later = NOW.plus_ms(MINUTE_MS);
    let reports = others.map(failed).into_iter().zip([1, 3]);
    let reports = reports.chain([(wrong.clone(), 2)]);
    assert_eq!(queue.take(NOW, 9, 1).len(), 3);
    for (report, id) in reports {
        let line = ([ANA, BEN, CAI][id - 1], None);
        let id = EntryId(id as u64);
        let _ = queue.note(line, id, &report, NOW);
        queue.finish(line, id, After::Again(later), NOW);
    }
    let now = NOW.plus_ms(SECOND_MS);
    assert!(queue.take(now, 9, 1).is_empty());
    queue.try_now(now);
    assert_eq!(queue.take(now, 9, 1), [((BEN, None), EntryId(2))]);
    // If it was not put right, that is said at once, and the pause is the usual one.
    let noted = queue.note((BEN, None), EntryId(2), &wrong, now);
    assert_eq!(noted, Noted::Paused);
    queue.finish((BEN, None), EntryId(2), After::Again(later), now);
    assert_eq!(pause_s(&queue, now), Some(PAUSE_MS / SECOND_MS));
    // When one has left, the next ones do; the others at their own time.
    queue.try_now(now);
    assert_eq!(queue.take(now, 9, 1), [((BEN, None), EntryId(2))]);
    let sent = Report::Sent(None);
    let noted = queue.note((BEN, None), EntryId(2), &sent, now);
    assert_eq!(noted, Noted::GoesOn);
    queue.finish((BEN, None), EntryId(2), After::Gone, now);
    assert_eq!(queue.take(now, 9, 1), [((BEN, None), EntryId(4))]);
    queue.finish((BEN, None), EntryId(4), After::Gone, now);
    queue.try_now(now);
    assert!(queue.take(now, 9, 1).is_empty());
    assert_eq!(queue.take(later, 9, 1).len(), 2);
}

///
#[test]
fn the_chat_rests_when_nobody_knows_of_anybody_whether_it_arrived() {
    let person = |n: usize| (ContactId([u8::try_from(n).unwrap_or(0); 16]), None);
    let id = |n: usize| EntryId(n as u64);
    let silent = failed(FailureKind::Unknown, "no answer");
    let mut queue = Queue::new(Lane::Chat, None);
    for n in 0..=REFUSED_LINES_MAX {
        queue.add(Waiting {
            id: id(n),
            contact: person(n).0,
            look_at: NOW,
        });
    }
    // One of whom that is so again and again is one; and so are those who are refused for what
    // they are.
    for _ in 0..100 {
        assert_eq!(queue.note(person(0), id(0), &silent, NOW), Noted::Nothing);
    }
    for n in 1..=REFUSED_LINES_MAX {
        assert_eq!(
            queue.note(person(n), id(n), &refused(), NOW),
            Noted::Nothing
        );
    }
    assert_eq!(pause_s(&queue, NOW), None);
    for n in 1..REFUSED_LINES_MAX - 1 {
        assert_eq!(queue.note(person(n), id(n), &silent, NOW), Noted::Nothing);
    }
    let last = REFUSED_LINES_MAX - 1;
    assert_eq!(
        queue.note(person(last), id(last), &silent, NOW),
        Noted::Paused
    );
    assert_eq!(pause_s(&queue, NOW), Some(1));
    // A status shows that they are taken all the same.
    assert_eq!(queue.other_side.took_after_all(NOW), Noted::GoesOn);
    assert_eq!(pause_s(&queue, NOW), None);
    assert_eq!(queue.note(person(0), id(0), &silent, NOW), Noted::Nothing);
}

/// How tries end, one after the other, at these seconds and in lines of their own.
struct Tries(Queue);

impl Tries {
    fn end(&mut self, second: u64, line: u8, report: &Report) -> Noted {
        let (key, id) = ((ContactId([line; 16]), None), EntryId(line.into()));
        let now = NOW.plus_ms(second * SECOND_MS);
        self.0.note(key, id, report, now)
    }

    fn failing_since(&self, second: u64) -> Option<u64> {
        let failing = self.0.other_side.failing(NOW.plus_ms(second * SECOND_MS))?;
        assert_eq!(failing.reason, "the server answered 451");
        Some(failing.since.since_ms(NOW) / SECOND_MS)
    }
}

fn put_off(kind: FailureKind) -> Report {
    failed(kind, "the server answered 451")
}

const SOON: FailureKind = FailureKind::Temporary {
    retry_after_ms: None,
};

///
#[test]
fn tries_that_fail_for_minutes_are_told_once_an_hour_until_something_is_taken() {
    let mut tries = Tries(Queue::new(Lane::Mail, None));
    let (soon, sent) = (put_off(SOON), Report::Sent(None));
    for second in [0, 119] {
        assert_eq!(tries.end(second, 1, &soon), Noted::Nothing);
    }
    assert_eq!(tries.failing_since(119), None);
    assert_eq!(tries.end(120, 1, &soon), Noted::Failing);
    assert_eq!(tries.failing_since(120), Some(0));
    // What ended unsent says nothing of the other side.
    assert_eq!(tries.end(200, 1, &Report::Expired), Noted::Nothing);
    assert_eq!(tries.end(3_719, 1, &soon), Noted::Nothing);
    assert_eq!(tries.end(3_720, 1, &soon), Noted::Failing);
    assert_eq!(tries.end(3_730, 1, &sent), Noted::GoesOn);
    assert_eq!(tries.end(3_731, 1, &sent), Noted::Nothing);
    // What goes up and down shows, and is not told each time.
    for second in [4_000, 4_130] {
        assert_eq!(tries.end(second, 1, &soon), Noted::Nothing);
    }
    assert_eq!(tries.failing_since(4_130), Some(4_000));
    assert_eq!(tries.end(4_131, 1, &sent), Noted::Nothing);
    assert_eq!(tries.failing_since(4_131), None);
    for second in [7_000, 7_200] {
        assert_eq!(tries.end(second, 1, &soon), Noted::Nothing);
    }
    assert_eq!(tries.end(7_320, 1, &soon), Noted::Failing);
    // A rest tells of itself, and its end is the end of both.
    let unreachable = put_off(FailureKind::Unreachable);
    assert_eq!(tries.end(7_330, 1, &unreachable), Noted::Paused);
    assert_eq!(tries.failing_since(7_330), Some(7_000));
    assert_eq!(tries.end(7_340, 1, &sent), Noted::GoesOn);
    assert_eq!(tries.end(7_341, 1, &sent), Noted::Nothing);
}

///
#[test]
fn that_nothing_is_taken_shows_by_more_than_one_try_and_where_it_may_be_about_somebody_by_many() {
    let about_one = [
        FailureKind::RecipientForNow,
        FailureKind::Recipient,
        FailureKind::Permanent,
        FailureKind::Temporary {
            retry_after_ms: Some(1),
        },
    ];
    for kind in about_one {
        let mut tries = Tries(Queue::new(Lane::Mail, None));
        for second in 0..10 {
            tries.end(30 * second, 1, &put_off(kind));
        }
        assert_eq!(tries.failing_since(300), None, "{kind:?}");
        for line in 2..=8 {
            tries.end(300, line, &put_off(kind));
        }
        assert_eq!(tries.failing_since(300), Some(0), "{kind:?}");
    }
    let throttled = FailureKind::Throttled { pause_ms: 1 };
    for kind in [SOON, FailureKind::Unknown, throttled] {
        let mut tries = Tries(Queue::new(Lane::Chat, None));
        tries.end(0, 1, &put_off(kind));
        assert_eq!(tries.failing_since(300), None, "{kind:?}");
        tries.end(300, 1, &put_off(kind));
        assert_eq!(tries.failing_since(300), Some(0), "{kind:?}");
    }
    // Services are told of one by one.
    let mut tries = Tries(Queue::new(Lane::Services, None));
    for second in [0, 300] {
        tries.end(second, 1, &put_off(SOON));
    }
    assert_eq!(tries.failing_since(300), None);
}

///
#[test]
fn a_pause_that_is_asked_of_the_lane_is_kept_whole_and_told_when_it_is_long() {
    for (pause_ms, told) in [
        (SECOND_MS, [Noted::Nothing, Noted::Nothing]),
        (MINUTE_MS, [Noted::Paused, Noted::GoesOn]),
    ] {
        let entries: Vec<_> = (1..=4)
            .map(|n| (ContactId([n; 16]), u64::from(n)))
            .collect();
        let mut queue = queue_of(&entries);
        let taken = queue.take(NOW, 3, 1);
        assert_eq!(taken.len(), 3);
        let reports = [Report::Sent(None), throttled(pause_ms), Report::Sent(None)];
        let mut noted = Vec::new();
        for ((line, id), report) in taken.into_iter().zip(&reports) {
            noted.push(queue.note(line, id, report, NOW));
            let after = match report {
                Report::Sent(_) => After::Gone,
                _ => After::Again(NOW),
            };
            queue.finish(line, id, after, NOW);
        }
        assert_eq!(noted, [Noted::Nothing, told[0], Noted::Nothing]);
        // One that came back later does not end it, and then one tries, whose turn it was.
        let until = NOW.plus_ms(pause_ms);
        assert!(queue.take(until.minus_ms(1), 9, 1).is_empty());
        assert_eq!(
            queue.take(until, 9, 1),
            [((ContactId([2; 16]), None), EntryId(2))]
        );
        assert!(queue.take(until, 9, 1).is_empty());
        let line = (ContactId([2; 16]), None);
        assert_eq!(
            queue.note(line, EntryId(2), &Report::Sent(None), until),
            told[1]
        );
        queue.finish(line, EntryId(2), After::Gone, until);
        assert_eq!(queue.take(until, 9, 1).len(), 1);
        assert!(queue.other_side.rest().is_none());
    }
}

///
#[test]
fn in_no_second_more_leave_than_may() {
    const PER_SECOND: usize = 5;
    let mut queue = Queue::new(Lane::Chat, Some(PER_SECOND));
    for n in 0..200_u64 {
        queue.add(Waiting {
            id: EntryId(n),
            contact: ContactId(u128::from(n).to_be_bytes()),
            look_at: NOW,
        });
    }
    // Each is under way for 0 to 700 ms and counts at any moment of that.
    let (mut left_at, mut under_way): (Vec<(u64, u64)>, Vec<_>) = Default::default();
    let mut ms = 0;
    while !queue.due.is_empty() || !under_way.is_empty() {
        let now = NOW.plus_ms(ms);
        under_way.retain(|(key, id, back): &(LineKey, EntryId, u64)| {
            let is_back = *back <= ms;
            if is_back {
                queue.finish(*key, *id, After::Gone, now);
            }
            !is_back
        });
        for (key, id) in queue.take(now, 16, 4) {
            let back = ms + id.0 * 37 % 700;
            left_at.push((ms, back));
            under_way.push((key, id, back));
        }
        let next = under_way.iter().map(|(_, _, back)| *back).min();
        let look = ms.saturating_add(queue.next_look_ms(now));
        ms = next.map_or(look, |next| next.min(look)).max(ms + 1);
    }
    assert_eq!(left_at.len(), 200);
    // Those that were under way in a second could all count in it.
    for (_, from) in &left_at {
        let within = |(left, back): &&(u64, u64)| *left < from + 1_000 && back >= from;
        let most = left_at.iter().filter(within).count();
        assert!(most <= PER_SECOND, "{most} in the second from {from} ms");
    }
    let last = left_at.iter().map(|(_, back)| *back).max();
    assert!(last < Some(200 * 1_700 / PER_SECOND as u64), "{last:?} ms");
}

#[test]
fn a_lane_rests_when_everybody_is_refused_and_not_for_one() {
    let person = |n: usize| ContactId([u8::try_from(n).unwrap_or(0); 16]);
    let entries: Vec<_> = (0..REFUSED_LINES_MAX + 2)
        .map(|n| (person(n), n as u64))
        .collect();
    let refuse = |queue: &mut Queue, n: usize| {
        queue.note((person(n), None), EntryId(n as u64), &refused(), NOW)
    };
    // One who is refused for ever is one, however often.
    let mut queue = queue_of(&entries);
    for _ in 0..100 {
        assert_eq!(refuse(&mut queue, 0), Noted::Nothing);
    }
    // So are many, as long as somebody is taken between them.
    for n in 0..REFUSED_LINES_MAX - 1 {
        assert_eq!(refuse(&mut queue, n), Noted::Nothing);
    }
    let taken = Report::Sent(None);
    let last = REFUSED_LINES_MAX + 1;
    queue.note((person(last), None), EntryId(last as u64), &taken, NOW);
    assert_eq!(refuse(&mut queue, 7), Noted::Nothing);
    assert_eq!(pause_s(&queue, NOW), None);
    // When nobody is taken, it is not about them.
    for n in 0..REFUSED_LINES_MAX - 1 {
        let _ = refuse(&mut queue, n);
    }
    assert_eq!(pause_s(&queue, NOW), Some(1));
    queue.note((person(last), None), EntryId(last as u64), &taken, NOW);
    assert_eq!(pause_s(&queue, NOW), None);
}

#[test]
fn those_who_wait_long_make_room_and_are_found_again_in_their_order() {
    let waiting = |n: usize, id: u64, look_at| Waiting {
        id: EntryId(id),
        contact: ContactId((n as u128).to_be_bytes()),
        look_at,
    };
    let later = NOW.plus_ms(MINUTE_MS);
    let mut queue = Queue::new(Lane::Bot, None);
    for n in 0..LINES_MAX {
        assert!(queue.has_room(NOW));
        queue.add(waiting(n, 1 + n as u64, later.plus_ms(n as u64)));
    }
    // Somebody new, whom nothing keeps, is behind 20,000 who all wait for another try.
    assert!(queue.has_room(NOW));
    assert_eq!(queue.lines.len(), LINES_MAX - LINES_MAX / 4);
    let id = 1 + LINES_MAX as u64;
    queue.add(waiting(LINES_MAX, id, NOW));
    assert_eq!(queue.take(NOW, 1, 1)[0].1, EntryId(id));
    // The next message of one that made room waits behind the first, in the store.
    let parked = LINES_MAX - 1;
    queue.add(waiting(parked, id + 1, NOW));
    assert!(queue.take(NOW, 1, 1).is_empty());
    assert!(!queue.looks_again(NOW));
    let now = later.plus_ms(LINES_MAX as u64);
    assert!(queue.looks_again(now) && queue.loaded_to.is_none());
    // All is met again from the beginning; what is known is not taken twice.
    let entries = queue.entries;
    queue.add(waiting(0, 1, later));
    assert_eq!(queue.entries, entries);
    queue.add(waiting(parked, id - 1, NOW));
    queue.add(waiting(parked, id + 1, NOW));
    let key = (ContactId((parked as u128).to_be_bytes()), None);
    assert_eq!(queue.take(NOW, 1, 1), [(key, EntryId(id - 1))]);
}

#[test]
fn when_nobody_waits_long_nobody_makes_room() {
    let mut queue = Queue::new(Lane::Bot, None);
    for n in 0..LINES_MAX {
        queue.add(Waiting {
            id: EntryId(1 + n as u64),
            contact: ContactId((n as u128).to_be_bytes()),
            look_at: NOW,
        });
    }
    assert!(!queue.has_room(NOW));
    assert_eq!(queue.lines.len(), LINES_MAX);
}

#[test]
fn while_one_tries_for_all_nobody_looks_every_moment_whether_it_has_ended() {
    let mut queue = queue_of(&[(ANA, 1), (BEN, 2)]);
    assert!(try_one(&mut queue, &away(), NOW));
    let later = NOW.plus_ms(SECOND_MS);
    assert_eq!(queue.next_look_ms(NOW), SECOND_MS);
    assert_eq!(queue.take(later, 9, 1).len(), 1);
    assert!(queue.take(later, 9, 1).is_empty());
    assert_eq!(queue.next_look_ms(later), LOOK_MS_MAX);
}

/// Ana's first message is refused from [`NOW`] on, once a minute; what becomes of it at last.
fn refuse(queue: &mut Queue, minutes: u64, taken_at: Option<Timestamp>) {
    for minute in 0..=minutes {
        let now = NOW.plus_ms(minute * MINUTE_MS);
        queue.other_side.taken_at = taken_at.filter(|at| *at <= now);
        let taken = queue.take(now, 9, 1);
        assert_eq!(taken, [((ANA, None), EntryId(1))], "in minute {minute}");
        let _ = queue.note((ANA, None), EntryId(1), &refused(), now);
        let next = now.plus_ms(MINUTE_MS);
        queue.finish((ANA, None), EntryId(1), After::Refused(next), now);
    }
}

#[test]
fn what_is_refused_steps_aside_when_others_were_taken_and_only_then() {
    let until = NOW.plus_ms(15 * MINUTE_MS);
    let next = |queue: &mut Queue| queue.take(until, 9, 1);
    let minute = |minutes: u64| Some(NOW.plus_ms(minutes * MINUTE_MS));
    let line = || queue_of(&[(ANA, 1), (ANA, 2)]);

    let mut queue = line();
    refuse(&mut queue, 14, minute(5));
    assert_eq!(next(&mut queue), [((ANA, None), EntryId(1))], "not yet");

    let mut queue = line();
    refuse(&mut queue, 15, minute(5));
    assert_eq!(next(&mut queue), [((ANA, None), EntryId(2))]);
    queue.finish((ANA, None), EntryId(2), After::Gone, until);
    // It is tried on by itself, and can be dropped there.
    let own = (ANA, Some(EntryId(1)));
    assert!(next(&mut queue).is_empty());
    queue.free(ANA, EntryId(1), until);
    assert_eq!(next(&mut queue), [(own, EntryId(1))]);
    queue.finish(own, EntryId(1), After::Gone, until);
    assert_eq!((queue.entries, queue.lines.len()), (0, 0));

    // Nobody was taken, or only who was under way when the refusals began.
    for taken_at in [None, minute(0), minute(3)] {
        let mut queue = line();
        refuse(&mut queue, 60, taken_at);
    }
    // There is nothing behind it.
    let mut queue = queue_of(&[(ANA, 1)]);
    refuse(&mut queue, 60, minute(5));
}

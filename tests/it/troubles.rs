//! The outside world in bad moods, as people see it through the real program: nothing is lost,
//! nothing is doubled, and nobody suffers from another's trouble.

use crate::outside::{
    ANA, BEA, CANCELLED, Letter, Mood, ON_ITS_WAY, SIGNED_IN, ServiceMood, WELCOME, World,
    eventually, status, text,
};
use serde_json::json;
use std::time::Duration;

const FIRST: &str = "573001234567";
const SECOND: &str = "573007654321";

/// a mailbox that refuses mail exists, and whoever asked must not learn that.
#[test]
fn a_full_mailbox_is_told_to_nobody_and_hinders_nobody() {
    let mut world = World::with_mail(json!({"RCPT": ["552 5.2.2 mailbox full"]}));
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email)]);
    world.mail().named_recipient();
    portero.receive(&[text(SECOND, BEA.email)]);
    let letter = world.mail().letter_to(BEA.email);
    portero.receive(&[text(SECOND, &letter.code())]);
    world
        .graph
        .assert_received(SECOND, &[ON_ITS_WAY, SIGNED_IN]);
    portero.receive(&[text(FIRST, "cancelar")]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, CANCELLED]);
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
    assert_eq!(portero.stop().0, Some(0));
    assert!(
        (world.mail.take().unwrap().finish().iter()).all(Letter::is_notice),
        "no second code"
    );
}

/// a server that greylists gets the mail a little later, once.
#[test]
fn a_mail_that_was_put_off_arrives_once() {
    let mut world = World::with_mail(json!({"RCPT": ["451 4.7.1 greylisted, try again later"]}));
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email)]);
    let letter = world.mail().letter_to(ANA.email);
    portero.receive(&[text(FIRST, &letter.code())]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
    assert_eq!(portero.stop().0, Some(0));
    assert!(
        (world.mail.take().unwrap().finish().iter()).all(Letter::is_notice),
        "no second code"
    );
}

/// the others are asked at the same time, and other people do not wait behind it.
#[test]
fn a_service_that_hangs_is_cut_and_the_other_is_believed() {
    let mut world = World::with_mail(json!({}));
    let woku = "secret = \"file:woku_secret\"\ntimeout_seconds = ";
    world.edit(&format!("{woku}10"), &format!("{woku}1"));
    world.woku.set(ServiceMood::Hang);
    let portero = world.start();
    portero.receive(&[text(FIRST, ANA.email), text(SECOND, BEA.email)]);
    let for_ana = world.mail().letter_to(ANA.email);
    let for_bea = world.mail().letter_to(BEA.email);
    portero.receive(&[text(FIRST, &for_ana.code()), text(SECOND, &for_bea.code())]);
    world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
    // Only what was answered is known: not her account at the service that hung.
    world.graph.assert_received(
        SECOND,
        &[ON_ITS_WAY, "Entraste como Bea Gómez de Inpla en Kutamma."],
    );
    assert!(!world.woku.asked().is_empty());
}

/// who could not be asked may know the address, so that there is no answer until it speaks.
#[test]
fn an_answer_that_is_none_is_asked_for_again_and_the_code_comes_once() {
    for mood in [ServiceMood::Garbled, ServiceMood::Refuse(500)] {
        let mut world = World::with_mail(json!({}));
        world.kutamma.set(mood);
        let portero = world.start();
        portero.receive(&[text(FIRST, ANA.email)]);
        eventually("it was asked", || {
            (!world.kutamma.asked().is_empty()).then_some(())
        });
        world.kutamma.set(ServiceMood::Good);
        let letter = world.mail().letter_to(ANA.email);
        portero.receive(&[text(FIRST, &letter.code())]);
        world.graph.assert_received(FIRST, &[ON_ITS_WAY, SIGNED_IN]);
        assert_eq!(portero.stop().0, Some(0));
        assert!(
            (world.mail.take().unwrap().finish().iter()).all(Letter::is_notice),
            "no second code"
        );
    }
}

/// Meta has a bad moment.
#[test]
fn a_message_that_meta_refused_for_a_moment_is_sent_once_and_in_order() {
    let world = World::without_mail();
    world
        .graph
        .next(&[Mood::Refuse(500, 131_000), Mood::Refuse(503, 2)]);
    let portero = world.start();
    portero.receive(&[text(FIRST, "hola"), text(SECOND, "hola")]);
    portero.receive(&[text(FIRST, "cancelar"), text(SECOND, "cancelar")]);
    for wa_id in [FIRST, SECOND] {
        world.graph.assert_received(wa_id, &[WELCOME, CANCELLED]);
    }
    assert_eq!(world.graph.refused(), 2);
    assert_eq!(portero.get("/readyz").json()["troubles"], json!([]));
}

/// a person who cannot be reached is nobody else's trouble.
#[test]
fn a_person_who_cannot_be_reached_stands_in_nobody_s_way() {
    let world = World::without_mail();
    world.graph.next(&[Mood::Refuse(400, 131_026)]);
    let portero = world.start();
    portero.receive(&[text(FIRST, "hola")]);
    eventually("the refusal", || (world.graph.refused() == 1).then_some(()));
    portero.receive(&[text(SECOND, "hola")]);
    world.graph.assert_received(SECOND, &[WELCOME]);
    portero.receive(&[text(FIRST, "cancelar")]);
    world.graph.assert_received(FIRST, &[CANCELLED]);
}

/// the connection was lost after Meta had taken the message; its status says so.
#[test]
fn a_message_of_unknown_fate_is_not_sent_again_when_its_status_comes() {
    let world = World::without_mail();
    world.graph.next(&[Mood::TakeAndHangUp]);
    let portero = world.start();
    portero.receive(&[text(FIRST, "hola")]);
    let sent = world.graph.reply(FIRST, 1);
    for name in ["delivered", "sent"] {
        assert_eq!(portero.post_webhook(&status(&sent, name)).status, 200);
    }
    portero.receive(&[text(FIRST, "cancelar")]);
    // Well before the minute that it waits when no status comes.
    world.graph.reply_within(FIRST, 2, Duration::from_secs(45));
    world.graph.assert_received(FIRST, &[WELCOME, CANCELLED]);
}

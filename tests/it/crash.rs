//! The real program, killed at any moment under load.

use crate::outside::{
    CANCELLED, Letter, MORE, NOT_SIGNED_IN, SIGNED_IN, World, eventually, post_webhook, status,
    text, webhook,
};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Where the process listens now, between one and the next.
struct Whereabouts(Mutex<Option<SocketAddr>>);

impl Whereabouts {
    fn set(&self, address: Option<SocketAddr>) {
        *self.0.lock().unwrap() = address;
    }

    /// Sends this until it is acknowledged, as Meta does for seven days.
    fn deliver(&self, body: &[u8]) {
        eventually("the webhook is acknowledged", || {
            let address = (*self.0.lock().unwrap())?;
            let answer = post_webhook(address, body).ok()?;
            // Only the store may refuse, and only to have it sent again.
            assert!(matches!(answer.status, 200 | 503), "{answer:?}");
            (answer.status == 200).then_some(())
        });
    }
}

/// Raises these flags at its end, however that comes.
struct Raise<'f>([&'f AtomicBool; 2]);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        for flag in self.0 {
            flag.store(true, Ordering::SeqCst);
        }
    }
}

/// killed at any moment, the program loses nothing that it acknowledged and does nothing
/// twice; people who were signing in finish.
#[test]
fn kills_at_any_moment_lose_nothing_and_double_nothing() {
    const CYCLES: usize = 10;
    const WRITERS: usize = 4;
    const CONTACTS_PER_WRITER_MAX: usize = 150;
    let mut world = World::with_mail(json!({}));
    let mut mail = world.mail.take().unwrap();
    let (graph, letters) = (&world.graph, Mutex::new(Vec::new()));
    let here = Whereabouts(Mutex::new(None));
    let over = AtomicBool::new(false);
    let quiet = AtomicBool::new(false);
    let mut moments = [0; CYCLES];
    getrandom::fill(&mut moments).unwrap();
    let people: Vec<String> = std::thread::scope(|scope| {
        // Also when a thread of the test fails, or the others would be waited for without end.
        let _end = Raise([&over, &quiet]);
        // What Meta took it reports, with our tag, whether or not we heard of it.
        let reporting = scope.spawn(|| {
            let mut reported = 0;
            while !quiet.load(Ordering::SeqCst) {
                for sent in graph.sent().iter().skip(reported) {
                    here.deliver(&status(sent, "sent"));
                    reported += 1;
                }
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        let collecting = scope.spawn(|| {
            while !quiet.load(Ordering::SeqCst) {
                letters.lock().unwrap().extend(mail.any());
            }
        });
        let signing_in: Vec<_> = MORE
            .iter()
            .enumerate()
            .map(|(number, user)| {
                let (here, letters) = (&here, &letters);
                scope.spawn(move || {
                    let wa_id = format!("57300700000{number}");
                    here.deliver(&webhook(&[text(&wa_id, "hola")]));
                    here.deliver(&webhook(&[text(&wa_id, user.email)]));
                    let code = eventually("a mail", || {
                        let letters: MutexGuard<'_, Vec<Letter>> = letters.lock().unwrap();
                        let mine = letters.iter().filter(|letter| letter.to == user.email);
                        let mut codes = mine.filter(|letter| !letter.is_notice());
                        codes.next().map(Letter::code)
                    });
                    here.deliver(&webhook(&[text(&wa_id, &code)]));
                    graph.reply(&wa_id, 3);
                    let sent = graph.sent_to(&wa_id);
                    assert!(
                        sent.len() == 3 && sent[2].body.starts_with(SIGNED_IN),
                        "{sent:#?}"
                    );
                })
            })
            .collect();
        let writing: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (here, over) = (&here, &over);
                scope.spawn(move || {
                    let mut people = Vec::new();
                    while !over.load(Ordering::SeqCst) && people.len() < CONTACTS_PER_WRITER_MAX {
                        let wa_id = format!("573006{writer}{:05}", people.len());
                        here.deliver(&webhook(&[text(&wa_id, "quién soy")]));
                        here.deliver(&webhook(&[text(&wa_id, "cancelar")]));
                        people.push(wa_id);
                    }
                    people
                })
            })
            .collect();
        for moment in moments {
            let portero = world.start();
            here.set(Some(portero.address));
            let alive = Duration::from_millis(30 + u64::from(moment) * 470 / 255);
            // The moment of the kill is the point; nothing is waited for.
            std::thread::park_timeout(alive);
            portero.kill();
            here.set(None);
        }
        over.store(true, Ordering::SeqCst);
        let portero = world.start();
        here.set(Some(portero.address));
        let people: Vec<String> = writing
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        for wa_id in &people {
            world
                .graph
                .assert_received(wa_id, &[NOT_SIGNED_IN, CANCELLED]);
        }
        signing_in
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        quiet.store(true, Ordering::SeqCst);
        reporting.join().unwrap();
        collecting.join().unwrap();
        people
    });
    assert!(people.len() > WRITERS, "{moments:?}");
    // A mail may be sent again when nobody knows whether it arrived, with the same code.
    let letters = letters.into_inner().unwrap();
    for user in MORE {
        let codes: Vec<String> = letters
            .iter()
            .filter(|letter| letter.to == user.email && !letter.is_notice())
            .map(Letter::code)
            .collect();
        assert!(
            codes.iter().all(|code| *code == codes[0]),
            "{codes:?} {moments:?}"
        );
    }
}

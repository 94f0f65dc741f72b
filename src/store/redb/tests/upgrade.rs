//! The program ends, or the power fails, while the store is brought to a newer format.

use super::super::super::migrate::tests::{SEEDED, all, budgets, fill, key};
use super::super::super::migrate::{format_after, open_for};
use super::super::super::seal::format_of;
use super::*;

/// How a process ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It is killed: what it has written is there.
    Kill,
    /// The power fails: what was not synced is there in any part.
    PowerLoss,
}

impl End {
    fn leaves(self, platter: &Platter, dice: &mut Dice) -> Platter {
        match self {
            End::Kill => Platter::of(platter.state().bytes.clone()),
            End::PowerLoss => platter.after_power_loss(&mut |limit| dice.below(limit)),
        }
    }
}

/// Opens the store and brings it forward; says whether it came to the end.
fn bring_forward(platter: &Platter) -> bool {
    let Ok(engine) = platter.open() else {
        return false;
    };
    open_for(Arc::new(engine), &key(), SEEDED).is_ok()
}

/// at whichever operation of the disk the program ends or the power fails, and again on the way
/// back, the next start goes on and changes nothing twice.
#[test]
fn r_80_whichever_operation_of_the_disk_is_the_last_the_next_start_goes_on() {
    let platter = Platter::default();
    fill(Arc::new(platter.open().unwrap()));
    let older = platter.state().durable.clone();
    let platter = Platter::of(older.clone());
    assert!(bring_forward(&platter));
    let operations = platter.state().operations;
    assert!(operations > 100, "{operations}");
    for_each(1..=operations, |nth| {
        for end in [End::Kill, End::PowerLoss] {
            let mut dice = Dice(nth);
            let mut platter = Platter::of(older.clone());
            for last in [nth, 1 + dice.below(operations)] {
                platter.fail(last, u64::MAX, io::ErrorKind::Other);
                bring_forward(&platter);
                platter = end.leaves(&platter, &mut dice);
            }
            let engine: Arc<dyn Engine> = Arc::new(platter.open().unwrap());
            let store = open_for(Arc::clone(&engine), &key(), SEEDED).unwrap();
            assert_eq!(budgets(&store), all("one+*"), "{end:?}");
            let format = format_of(&*engine).unwrap();
            assert_eq!(format, Some(format_after(SEEDED)));
        }
    });
}

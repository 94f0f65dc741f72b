//! The power fails at any write (R-03).
//!
//! ```sh
//! PORTERO_SEEDS=50000 cargo test --lib power    as many histories, from 1 on
//! PORTERO_SEED=17 cargo test --lib power        the one that is named when it fails
//! ```

use super::*;

/// Histories, unless the environment says otherwise.
const SEEDS: u64 = 2_000;

/// How often the power fails in one of them.
const LOSSES: usize = 3;

/// Commits between one loss and the next, and updates that share one, at most.
const COMMITS_MAX: u64 = 8;
const UPDATES_MAX: u64 = 4;

/// Operations of the disk until the power fails, at most: some more than that many commits take.
const OPERATIONS_MAX: u64 = 200;

/// An update: what it stores under some keys, or that it removes them.
type Update = Vec<((Table, Vec<u8>), Option<Vec<u8>>)>;

/// Two records that belong together, another two that go, and a count of all updates.
fn any_update(dice: &mut Dice, count: &mut u64) -> Update {
    *count += 1;
    let mut some_key = || vec![dice.below(12) as u8];
    let (put, removed) = (some_key(), some_key());
    // Now and then long enough to need new pages and a longer file.
    let value = vec![*count as u8; dice.below(3_000) as usize];
    vec![
        ((Table::Contact, removed.clone()), None),
        ((Table::Outbox, removed), None),
        ((Table::Contact, put.clone()), Some(value.clone())),
        ((Table::Outbox, put), Some(value)),
        (
            (Table::Budget, b"counter".to_vec()),
            Some(count.to_be_bytes().to_vec()),
        ),
    ]
}

fn body_of(update: Update) -> UpdateBody {
    Box::new(move |writer| {
        for ((table, key), value) in &update {
            match value {
                Some(value) => writer.put(*table, key, value)?,
                None => writer.delete(*table, key)?,
            }
        }
        Ok(())
    })
}

/// What may be in the store after some commits.
struct Lived {
    /// By the store's word: what was acknowledged, or that and what was under way.
    possible: Vec<Model>,
    /// After each commit, the first of all before it.
    all: Vec<Model>,
}

/// Runs some commits until the power fails. `there` is what is in the store.
fn live(engine: &Arc<Redb>, mut there: Model, count: &mut u64, dice: &mut Dice) -> Lived {
    let mut all = vec![there.clone()];
    for _ in 0..dice.below(COMMITS_MAX + 1) {
        let updates: Vec<Update> = (0..1 + dice.below(UPDATES_MAX))
            .map(|_| any_update(dice, count))
            .collect();
        let mut next = there.clone();
        for (key, value) in updates.iter().flatten().cloned() {
            match value {
                Some(value) => next.insert(key, value),
                None => next.remove(&key),
            };
        }
        all.push(next.clone());
        let results = in_one_group(engine, updates.into_iter().map(body_of).collect());
        if results.iter().all(Result::is_ok) {
            there = next;
            continue;
        }
        assert!(!results.iter().any(Result::is_ok), "{results:?}");
        // Only this error leaves it open.
        let possible = match results.contains(&Err(StoreError::Unknown)) {
            true => vec![there, next],
            false => vec![there],
        };
        return Lived { possible, all };
    }
    let possible = vec![there];
    Lived { possible, all }
}

/// A history: the power fails again and again, also while the store comes back from the last time.
fn check(seed: u64) {
    let mut dice = Dice(seed);
    let mut count = 0;
    let mut platter = Platter::default();
    // The program gives a new store its name only when all of it is there.
    drop(platter.open().unwrap());
    let mut possible = vec![Model::new()];
    for _ in 0..LOSSES {
        let first = 1 + dice.below(OPERATIONS_MAX);
        platter.fail(first, u64::MAX, io::ErrorKind::Other);
        let engine = platter.open().map(Arc::new);
        if let Ok(engine) = &engine {
            let there = dump(&**engine);
            assert!(possible.contains(&there), "another content");
            // What was seen once is not taken back.
            possible = live(engine, there, &mut count, &mut dice).possible;
        }
        // Before the engine closes the file.
        platter = platter.after_power_loss(&mut |limit| dice.below(limit));
        drop(engine);
    }
    let engine = platter.open().unwrap();
    let there = dump(&engine);
    assert!(possible.contains(&there), "another content");
    put_number(&engine, 1 << 40).unwrap();
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

/// Calls `check` with each seed.
fn with_each_seed(check: impl Fn(u64) + Sync) {
    let seeds = match number("PORTERO_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("PORTERO_SEEDS").unwrap_or(SEEDS),
    };
    for_each(seeds, check);
}

/// R-03: whatever a disk makes of writes that it has not been asked to keep, all that was
/// acknowledged is there, and of one commit all or nothing.
#[test]
fn a_loss_of_power_takes_nothing_that_was_acknowledged_and_leaves_nothing_half() {
    with_each_seed(check);
}

/// R-03 on a disk that says that it has kept what it has not: nobody can promise then that all is
/// there, but it is refused or is what once was there, and never a mixture.
#[test]
fn a_disk_that_lies_about_what_it_keeps_gives_a_refusal_or_an_earlier_moment() {
    let (refused, earlier) = (AtomicU64::new(0), AtomicU64::new(0));
    with_each_seed(|seed| {
        let mut dice = Dice(seed);
        let platter = Platter::default();
        let engine = Arc::new(platter.open().unwrap());
        // A store made anew in place of a damaged one would be none of these moments. They begin
        // with two commits that are kept, since redb knows the way back to the last one but one.
        put_number(&*engine, 1 << 40).unwrap();
        let mut moments = vec![dump(&*engine)];
        put_number(&*engine, 1 << 41).unwrap();
        let mut lies = Dice(seed);
        platter.state().lies = Some(Box::new(move || lies.below(2) == 0));
        let first = 1 + dice.below(OPERATIONS_MAX);
        platter.fail(first, u64::MAX, io::ErrorKind::Other);
        let lived = live(&engine, dump(&*engine), &mut 0, &mut dice);
        moments.extend(lived.all);
        let after = platter.after_power_loss(&mut |limit| dice.below(limit));
        let Ok(engine) = after.open() else {
            refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let there = dump(&engine);
        assert!(moments.contains(&there), "another content");
        if !lived.possible.contains(&there) {
            earlier.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (refused, earlier) = (refused.into_inner(), earlier.into_inner());
    println!("{refused} refused, {earlier} at an earlier moment");
}

//! What was counted in each hour. Nothing here is about anybody.

use super::{Sweep, collect, hour, read, write};
use crate::domain::tally::{Method, Milestone, TIME_BOUNDS_S, Tally};
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound;

/// By names, so that a list that grows does not change what older records mean.
#[derive(Serialize, Deserialize, Default)]
struct TallyRecord {
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    milestones: BTreeMap<String, BTreeMap<String, u64>>,
    /// By method and by the upper bound in seconds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    times: BTreeMap<String, BTreeMap<u64, u64>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    events: BTreeMap<String, u64>,
}

impl From<&Tally> for TallyRecord {
    fn from(tally: &Tally) -> TallyRecord {
        let mut record = TallyRecord {
            events: tally.events.clone(),
            ..TallyRecord::default()
        };
        for method in Method::ALL {
            let reached =
                Milestone::ALL.map(|of| (of.name().to_owned(), tally.reached(method, of)));
            let reached: BTreeMap<_, _> = reached
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .collect();
            if !reached.is_empty() {
                record.milestones.insert(method.name().to_owned(), reached);
            }
            let times = TIME_BOUNDS_S.into_iter().zip(tally.times[method as usize]);
            let times: BTreeMap<_, _> = times.filter(|(_, count)| *count > 0).collect();
            if !times.is_empty() {
                record.times.insert(method.name().to_owned(), times);
            }
        }
        record
    }
}

impl TallyRecord {
    fn into_tally(self) -> Tally {
        let mut tally = Tally {
            events: self.events,
            ..Tally::default()
        };
        for method in Method::ALL {
            if let Some(reached) = self.milestones.get(method.name()) {
                for milestone in Milestone::ALL {
                    let count = reached.get(milestone.name());
                    tally.milestones[method as usize][milestone as usize] =
                        count.copied().unwrap_or(0);
                }
            }
            for (bound, count) in self.times.get(method.name()).into_iter().flatten() {
                // A bound of another version counts at the next one that there is.
                let place = TIME_BOUNDS_S.iter().position(|known| bound <= known);
                let place = place.unwrap_or(TIME_BOUNDS_S.len() - 1);
                tally.times[method as usize][place] += count;
            }
        }
        tally
    }
}

/// Adds to what was counted in the hour of `now`.
pub fn add_to_tally(
    writer: &mut dyn Writer,
    tally: &Tally,
    now: Timestamp,
) -> Result<(), StoreError> {
    let key = hour(now);
    let mut sum = match writer.get(Table::Tally, &key)? {
        Some(bytes) => read::<TallyRecord>(Table::Tally, &bytes)?.into_tally(),
        None => Tally::default(),
    };
    sum.add(tally);
    let value = write(Table::Tally, &TallyRecord::from(&sum))?;
    writer.put(Table::Tally, &key, &value)
}

/// What was counted in each hour from that of `from` on, oldest first, each with its beginning.
/// Hours in which nothing was counted are left out.
pub fn tallies(
    reader: &dyn Reader,
    from: Timestamp,
) -> Result<Vec<(Timestamp, Tally)>, StoreError> {
    let start = hour(from);
    let range = KeyRange::new(Bound::Included(&start[..]), Bound::Unbounded);
    // Bounded by how long they are kept.
    let all = usize::MAX;
    collect(
        reader,
        Table::Tally,
        range,
        Order::Forward,
        all,
        |key, bytes| {
            let record: TallyRecord = read(Table::Tally, bytes)?;
            Ok((beginning(key)?, record.into_tally()))
        },
    )
}

fn beginning(key: &[u8]) -> Result<Timestamp, StoreError> {
    let number = <[u8; 4]>::try_from(key).map_err(super::damaged(Table::Tally))?;
    Ok(Timestamp(u64::from(u32::from_be_bytes(number)) * HOUR_MS))
}

/// Removes up to `looks` hours from before `before`.
pub fn forget_tallies(
    writer: &mut dyn Writer,
    before: Timestamp,
    looks: usize,
) -> Result<Sweep, StoreError> {
    let end = hour(before);
    let range = KeyRange::new(Bound::Unbounded, Bound::Excluded(&end[..]));
    let old = collect(
        writer,
        Table::Tally,
        range,
        Order::Forward,
        looks,
        |key, _| Ok(key.to_vec()),
    )?;
    for key in &old {
        writer.delete(Table::Tally, key)?;
    }
    Ok(Sweep {
        cursor: None,
        removed: old.len(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::{MasterKey, Memory, Sealed};
    use std::sync::Arc;

    #[test]
    fn what_was_counted_in_an_hour_adds_up_and_is_swept_when_it_is_old() {
        let key = MasterKey::from_hex(&"41".repeat(32)).unwrap();
        let store = Sealed::open(Arc::new(Memory::new()), &key).unwrap();
        let mut tally = Tally::default();
        tally.milestones[0] = [4, 3, 2, 1];
        tally.times[2][13] = 5;
        tally.count(Tally::REPLIES);
        let ten = Timestamp(10 * HOUR_MS);
        let counted = tally.clone();
        let put = move |writer: &mut dyn Writer| {
            add_to_tally(writer, &counted, ten)?;
            add_to_tally(writer, &counted, ten.plus_ms(HOUR_MS - 1))?;
            add_to_tally(writer, &counted, ten.plus_ms(HOUR_MS))
        };
        store.update(put).unwrap();
        let read = |from| store.view(|reader| tallies(reader, from)).unwrap();
        let mut twice = tally.clone();
        twice.add(&tally);
        let eleven = ten.plus_ms(HOUR_MS);
        assert_eq!(read(Timestamp(0)), [(ten, twice), (eleven, tally.clone())]);
        assert_eq!(read(eleven), [(eleven, tally.clone())]);
        let swept = store.update(move |writer| forget_tallies(writer, eleven, 100));
        assert_eq!(swept.unwrap().removed, 1);
        assert_eq!(read(Timestamp(0)), [(eleven, tally)]);
    }
}

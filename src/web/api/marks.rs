//! Marks of requests that have no effect to be repeated: in memory, because a repeated request for
//! a token is answered anew, and a restart that forgets a mark costs nothing.

use crate::domain::time::{DAY_MS, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Marks remembered; beyond it the oldest is forgotten.
const MARKS_MAX: usize = 8_192;

/// How long a mark belongs to its request, as in the store.
const MARK_MS: u64 = DAY_MS;

type Digest = [u8; 32];

#[derive(Default)]
pub(crate) struct Marks(Mutex<Known>);

#[derive(Default)]
struct Known {
    requests: HashMap<Digest, Digest>,
    order: VecDeque<(Timestamp, Digest)>,
}

impl Marks {
    /// Whether this mark is of this request, or of none so far.
    pub fn is_of(&self, mark: Digest, request: Digest, now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { requests, order } = &mut *known;
        while let Some((at, oldest)) = order.front()
            && (order.len() >= MARKS_MAX || now.since_ms(*at) >= MARK_MS)
        {
            requests.remove(oldest);
            order.pop_front();
        }
        match requests.get(&mark) {
            Some(earlier) => *earlier == request,
            None => {
                requests.insert(mark, request);
                order.push_back((now, mark));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mark_belongs_to_one_request_for_a_day() {
        let (marks, now) = (Marks::default(), Timestamp(1_000_000));
        assert!(marks.is_of([1; 32], [7; 32], now));
        assert!(marks.is_of([1; 32], [7; 32], now));
        assert!(!marks.is_of([1; 32], [8; 32], now));
        assert!(marks.is_of([2; 32], [8; 32], now));
        assert!(!marks.is_of([1; 32], [8; 32], now.plus_ms(MARK_MS - 1)));
        assert!(marks.is_of([1; 32], [8; 32], now.plus_ms(MARK_MS)));
    }

    #[test]
    fn many_marks_take_bounded_memory() {
        let (marks, now) = (Marks::default(), Timestamp(1_000_000));
        for number in 0..2 * MARKS_MAX as u64 {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_be_bytes());
            assert!(marks.is_of(mark, mark, now));
        }
        let known = marks.0.lock().unwrap();
        assert_eq!(known.requests.len(), known.order.len());
        assert!(known.order.len() <= MARKS_MAX);
    }
}

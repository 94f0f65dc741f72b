//! What is written down for later questions: lines in a chain, so that one cannot be changed, taken
//! out or moved without a trace (S-92).
//!
//! Each line carries a digest of itself and that of the line before it. Who it is about goes into the
//! digest only as a digest of its own: its fields can be erased later, and the chain still holds. The
//! ids of contacts and users are random, so nobody finds them by trying once they are erased
//! everywhere. The place of
//! the last line is noted apart, so that lines cannot be cut off at the end; and so is that of the
//! last line that retention took, so that the chain has an anchor to begin at.
//!
//! Digests are keyed: whoever can write to the file and has no key cannot make a chain that holds.

use super::outbox::entry_id;
use super::{Keys, Sweep, collect, read, write};
use crate::domain::id::hex;
use crate::domain::time::Timestamp;
use crate::store::{KeyRange, Order, Reader, StoreError, Table, Writer};
use serde::{Deserialize, Serialize};
use std::ops::{Bound, ControlFlow};

const HEAD_KEY: &[u8] = b"audit head";
const ANCHOR_KEY: &[u8] = b"audit anchor";

/// Faults that one check tells: who has more has one mistake many times.
pub const AUDIT_FAULTS_MAX: usize = 100;

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When, in milliseconds since the epoch.
    pub at_ms: u64,
    /// What, as a dotted name.
    pub event: String,
    /// The contact's UUID; empty once it was erased.
    pub contact: String,
    /// The end of the contact's number, when it is shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub number_ending: Option<String>,
    /// The id in the built-in directory of the user whom it is about; nothing once it was erased.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub directory_user: Option<String>,
    /// What it is about, when it is about nobody: names and counts, never values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub about: Option<String>,
    /// Its place in the chain; lines from before there was one have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub link: Option<AuditLink>,
}

/// What holds a line in its place. Digests are HMAC-SHA256 in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLink {
    /// The digest of the line before; nothing at the beginning of the chain.
    pub previous: Option<String>,
    /// Of whom the line is about, which may be erased.
    pub person: String,
    /// Of the number, the moment, the event, and both of the above.
    pub digest: String,
}

/// A place in the chain: a line and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPlace {
    /// The line's number.
    pub number: u64,
    /// Its digest, or that of the last line before it that is in the chain; nothing as long as
    /// there is no chain.
    pub digest: Option<String>,
}

impl AuditLine {
    fn person(&self, keys: &Keys) -> String {
        let ending = self.number_ending.as_deref().unwrap_or("");
        let mut parts = vec![self.contact.as_bytes(), ending.as_bytes()];
        parts.extend(self.directory_user.as_deref().map(str::as_bytes));
        hex(&keys.master().keyed_digest("audit person", &parts))
    }

    fn digest(&self, keys: &Keys, number: u64, previous: Option<&str>, person: &str) -> String {
        let (number, at_ms) = (number.to_be_bytes(), self.at_ms.to_be_bytes());
        let mut parts = vec![
            &number[..],
            &at_ms,
            self.event.as_bytes(),
            person.as_bytes(),
            previous.unwrap_or("").as_bytes(),
        ];
        parts.extend(self.about.as_deref().map(str::as_bytes));
        hex(&keys.master().keyed_digest("audit line", &parts))
    }

    /// The same line, and no longer about whom; the chain holds as before.
    pub fn erased(self) -> AuditLine {
        AuditLine {
            contact: String::new(),
            number_ending: None,
            directory_user: None,
            ..self
        }
    }

    /// Whether it was about somebody once. Of lines from before the chain nobody knows; they are
    /// taken for it.
    pub fn is_erased(&self, keys: &Keys) -> bool {
        let names_nobody = self.contact.is_empty()
            && self.number_ending.is_none()
            && self.directory_user.is_none();
        let link = self.link.as_ref();
        names_nobody && link.is_none_or(|link| link.person != self.person(keys))
    }
}

fn place(reader: &dyn Reader, key: &[u8]) -> Result<Option<AuditPlace>, StoreError> {
    let bytes = reader.get(Table::Meta, key)?;
    bytes.map(|bytes| read(Table::Meta, &bytes)).transpose()
}

fn put_place(writer: &mut dyn Writer, key: &[u8], place: &AuditPlace) -> Result<(), StoreError> {
    writer.put(Table::Meta, key, &write(Table::Meta, place)?)
}

/// Appends a line to the chain, under a number that grows.
pub fn put_audit(
    writer: &mut dyn Writer,
    keys: &Keys,
    number: u64,
    mut line: AuditLine,
) -> Result<(), StoreError> {
    let previous = place(writer, HEAD_KEY)?.and_then(|head| head.digest);
    let person = line.person(keys);
    let digest = line.digest(keys, number, previous.as_deref(), &person);
    let head = AuditPlace {
        number,
        digest: Some(digest.clone()),
    };
    line.link = Some(AuditLink {
        previous,
        person,
        digest,
    });
    put_place(writer, HEAD_KEY, &head)?;
    put_line(writer, number, &line)
}

fn put_line(writer: &mut dyn Writer, number: u64, line: &AuditLine) -> Result<(), StoreError> {
    let value = write(Table::Audit, line)?;
    writer.put(Table::Audit, &number.to_be_bytes(), &value)
}

fn number_of(key: &[u8]) -> Result<u64, StoreError> {
    Ok(entry_id(key, Table::Audit)?.0)
}

/// The newest `limit` lines, newest first.
pub fn audit(reader: &dyn Reader, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
    let lines = audit_before(reader, None, limit)?;
    Ok(lines.into_iter().map(|(_, line)| line).collect())
}

/// Up to `limit` lines before the one of this number, newest first, each with its own.
pub fn audit_before(
    reader: &dyn Reader,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<(u64, AuditLine)>, StoreError> {
    let end = before.map(u64::to_be_bytes);
    let end = end
        .as_ref()
        .map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
    let range = KeyRange::new(Bound::Unbounded, end);
    collect(reader, Table::Audit, range, Order::Backward, limit, line)
}

fn line(key: &[u8], bytes: &[u8]) -> Result<(u64, AuditLine), StoreError> {
    Ok((number_of(key)?, read(Table::Audit, bytes)?))
}

/// The newest number in use in the audit.
pub fn last_audit_number(reader: &dyn Reader) -> Result<u64, StoreError> {
    let mut last = 0;
    reader.scan(
        Table::Audit,
        KeyRange::all(),
        Order::Backward,
        &mut |key, _| {
            last = entry_id(key, Table::Audit).map_or(last, |id| id.0);
            ControlFlow::Break(())
        },
    )?;
    Ok(last)
}

/// Takes up to `looks` lines from before `before` off the beginning, and notes where the chain
/// begins now. The first one that is younger ends it: a chain has no holes.
pub fn forget_audit(
    writer: &mut dyn Writer,
    before: Timestamp,
    looks: usize,
) -> Result<Sweep, StoreError> {
    let range = KeyRange::all();
    let oldest = collect(writer, Table::Audit, range, Order::Forward, looks, line)?;
    let old = oldest.iter().take_while(|(_, line)| line.at_ms < before.0);
    let (mut removed, mut anchor) = (0, None);
    for (number, line) in old {
        writer.delete(Table::Audit, &number.to_be_bytes())?;
        removed += 1;
        let digest = line.link.as_ref().map(|link| link.digest.clone());
        anchor = digest.map(|digest| AuditPlace {
            number: *number,
            digest: Some(digest),
        });
    }
    if let Some(anchor) = anchor {
        put_place(writer, ANCHOR_KEY, &anchor)?;
    }
    Ok(Sweep {
        cursor: None,
        removed,
    })
}

/// What is wrong at a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFault {
    /// It is not what was written.
    Changed,
    /// One or more lines before it are missing, or it stands in the wrong place.
    MissingBefore,
    /// It is in no chain, and lines before it are.
    Unchained,
    /// It was the last one, and it is missing.
    CutOff,
    /// It is the last one, and it is not noted as that.
    NotNoted,
}

/// What a part of the audit is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditCheck {
    /// Lines looked at.
    pub lines: usize,
    /// Of them, those from before there was a chain.
    pub unchained: usize,
    /// Of them, those in which it was erased who they are about.
    pub erased: usize,
    /// Where the chain begins because retention took what was before.
    pub anchor: Option<AuditPlace>,
    /// Where it ends.
    pub head: Option<AuditPlace>,
    /// The last line looked at.
    pub place: Option<AuditPlace>,
    /// The first [`AUDIT_FAULTS_MAX`] of what is wrong, each with the number of its line.
    pub faults: Vec<(u64, AuditFault)>,
    /// Whether that was the end.
    pub is_end: bool,
}

/// What the line after this one must carry.
enum Expected {
    /// This; nothing at the beginning of a chain.
    Digest(Option<String>),
    /// Nobody knows: the line before was changed.
    Anything,
}

/// Looks at up to `limit` lines after `after`, where the last check ended.
pub fn verify_audit(
    reader: &dyn Reader,
    keys: &Keys,
    after: Option<&AuditPlace>,
    limit: usize,
) -> Result<AuditCheck, StoreError> {
    let mut check = AuditCheck {
        anchor: place(reader, ANCHOR_KEY)?,
        head: place(reader, HEAD_KEY)?,
        ..AuditCheck::default()
    };
    // Retention may have gone past the place since the last check.
    let start = [after, check.anchor.as_ref()].into_iter().flatten();
    let start = start.max_by_key(|place| place.number).cloned();
    let mut expected = Expected::Digest(start.as_ref().and_then(|start| start.digest.clone()));
    check.place = start;
    let from = after.map(|after| after.number.to_be_bytes());
    let from = from
        .as_ref()
        .map_or(Bound::Unbounded, |from| Bound::Excluded(&from[..]));
    let range = KeyRange::new(from, Bound::Unbounded);
    let lines = collect(reader, Table::Audit, range, Order::Forward, limit, line)?;
    check.is_end = lines.len() < limit;
    for (number, line) in lines {
        check.lines += 1;
        check.erased += usize::from(line.is_erased(keys));
        let digest = match &line.link {
            None if matches!(expected, Expected::Digest(None)) => {
                check.unchained += 1;
                None
            }
            None => {
                check.fault(number, AuditFault::Unchained);
                // The chain goes on behind it as if it were not there.
                match &expected {
                    Expected::Digest(digest) => digest.clone(),
                    Expected::Anything => None,
                }
            }
            Some(link) => {
                let is_in_place = match &expected {
                    Expected::Digest(digest) => link.previous == *digest,
                    Expected::Anything => true,
                };
                let person = &link.person;
                let is_same = line.digest(keys, number, link.previous.as_deref(), person)
                    == link.digest
                    && (line.is_erased(keys) || line.person(keys) == *person);
                if !is_in_place && is_same {
                    check.fault(number, AuditFault::MissingBefore);
                }
                if is_same {
                    expected = Expected::Digest(Some(link.digest.clone()));
                } else {
                    check.fault(number, AuditFault::Changed);
                    expected = Expected::Anything;
                }
                Some(link.digest.clone())
            }
        };
        check.place = Some(AuditPlace { number, digest });
    }
    if check.is_end {
        check.end();
    }
    Ok(check)
}

impl AuditCheck {
    fn fault(&mut self, number: u64, fault: AuditFault) {
        if self.faults.len() < AUDIT_FAULTS_MAX {
            self.faults.push((number, fault));
        }
    }

    fn end(&mut self) {
        let last = self.place.as_ref().map_or(0, |place| place.number);
        let is_chained = self
            .place
            .as_ref()
            .is_some_and(|place| place.digest.is_some());
        let fault = match &self.head {
            None if is_chained => Some((last, AuditFault::NotNoted)),
            Some(head) if head.number > last => Some((head.number, AuditFault::CutOff)),
            Some(head) if head.number < last => Some((last, AuditFault::NotNoted)),
            _ => None,
        };
        if let Some((number, fault)) = fault {
            self.fault(number, fault);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::id::ContactId;
    use crate::store::{MasterKey, Memory, Sealed};
    use std::sync::Arc;

    const ANA: ContactId = ContactId([1; 16]);
    const BEN: ContactId = ContactId([2; 16]);

    fn keys() -> Keys {
        Keys::new(MasterKey::from_hex(&"41".repeat(32)).unwrap())
    }

    fn plain(number: u64) -> AuditLine {
        AuditLine {
            at_ms: number * 1_000,
            event: "signed_in".to_owned(),
            contact: [BEN, ANA][usize::from(!number.is_multiple_of(2))].to_string(),
            number_ending: Some("67".to_owned()),
            directory_user: None,
            about: None,
            link: None,
        }
    }

    /// Nine lines, the first two from before there was a chain.
    fn store() -> Sealed {
        let store = Sealed::open(Arc::new(Memory::new()), keys().master()).unwrap();
        update(&store, |writer| {
            put_line(writer, 1, &plain(1)).unwrap();
            put_line(writer, 2, &plain(2)).unwrap();
            for number in 3..=9 {
                put_audit(writer, &keys(), number, plain(number)).unwrap();
            }
        });
        store
    }

    fn update(store: &Sealed, change: impl Fn(&mut dyn Writer) + Send + Sync + 'static) {
        let changed = store.update(move |writer| {
            change(writer);
            Ok(())
        });
        changed.unwrap();
    }

    /// As a whole, and in pieces of two lines: both find the same.
    fn verify(store: &Sealed) -> AuditCheck {
        let whole = store
            .view(|reader| verify_audit(reader, &keys(), None, 100))
            .unwrap();
        assert!(whole.is_end);
        let (mut faults, mut lines, mut place) = (Vec::new(), 0, None);
        loop {
            let part = store
                .view(|reader| verify_audit(reader, &keys(), place.as_ref(), 2))
                .unwrap();
            faults.extend(part.faults);
            lines += part.lines;
            place = part.place;
            if part.is_end {
                break;
            }
        }
        assert_eq!(lines, whole.lines);
        // What follows a changed line is judged only by who knows that it was changed.
        assert_eq!(faults.first(), whole.faults.first());
        whole
    }

    fn line_of(store: &Sealed, number: u64) -> AuditLine {
        let bytes = store.view(|reader| reader.get(Table::Audit, &number.to_be_bytes()));
        read(Table::Audit, &bytes.unwrap().unwrap()).unwrap()
    }

    fn faults_after(change: impl Fn(&Sealed)) -> Vec<(u64, AuditFault)> {
        let store = store();
        change(&store);
        verify(&store).faults
    }

    fn put(store: &Sealed, number: u64, line: AuditLine) {
        update(store, move |writer| {
            put_line(writer, number, &line).unwrap()
        });
    }

    fn delete(store: &Sealed, number: u64) {
        update(store, move |writer| {
            writer.delete(Table::Audit, &number.to_be_bytes()).unwrap();
        });
    }

    #[test]
    fn a_chain_that_nobody_touched_holds_and_old_lines_are_told_as_such() {
        let check = verify(&store());
        assert_eq!((check.lines, check.unchained), (9, 2));
        assert_eq!(check.faults, []);
        assert_eq!(check.anchor, None);
        assert_eq!(check.head.unwrap().number, 9);
    }

    /// S-92: whatever is changed in a line, the line is named.
    #[test]
    fn a_line_that_was_changed_is_named() {
        let changes: [fn(&mut AuditLine); 7] = [
            |line| line.at_ms += 1,
            |line| line.event.push('x'),
            |line| line.contact = BEN.to_string() + "x",
            |line| line.number_ending = None,
            |line| line.number_ending = Some("68".to_owned()),
            |line| line.link.as_mut().unwrap().person.replace_range(..1, "x"),
            |line| line.link.as_mut().unwrap().digest.replace_range(..1, "x"),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let faults = faults_after(|store| {
                let mut line = line_of(store, 5);
                change(&mut line);
                put(store, 5, line);
            });
            assert_eq!(faults, [(5, AuditFault::Changed)], "change {at}");
        }
    }

    #[test]
    fn a_line_that_was_taken_out_moved_or_put_in_is_named() {
        let taken_out = |number| faults_after(|store| delete(store, number));
        assert_eq!(taken_out(3), [(4, AuditFault::MissingBefore)]);
        assert_eq!(taken_out(6), [(7, AuditFault::MissingBefore)]);
        assert_eq!(taken_out(9), [(9, AuditFault::CutOff)]);
        let moved = faults_after(|store| {
            let (five, six) = (line_of(store, 5), line_of(store, 6));
            put(store, 5, six);
            put(store, 6, five);
        });
        assert_eq!(moved, [(5, AuditFault::Changed), (6, AuditFault::Changed)]);
        let put_in = faults_after(|store| {
            delete(store, 6);
            put(store, 6, plain(6));
        });
        assert_eq!(
            put_in,
            [(6, AuditFault::Unchained), (7, AuditFault::MissingBefore)]
        );
        let beyond = faults_after(|store| {
            put(store, 10, line_of(store, 9));
        });
        assert_eq!(
            beyond,
            [(10, AuditFault::Changed), (10, AuditFault::NotNoted)]
        );
        let unnoted = faults_after(|store| {
            update(store, |writer| {
                writer.delete(Table::Meta, HEAD_KEY).unwrap()
            });
        });
        assert_eq!(unnoted, [(9, AuditFault::NotNoted)]);
    }

    #[test]
    fn whoever_has_not_the_key_makes_no_chain_that_holds() {
        let other = Keys::new(MasterKey::from_hex(&"42".repeat(32)).unwrap());
        let faults = faults_after(|store| {
            let other = other.clone();
            update(store, move |writer| {
                put_audit(writer, &other, 10, plain(10)).unwrap();
            });
        });
        assert_eq!(faults, [(10, AuditFault::Changed)]);
    }

    #[test]
    fn retention_leaves_a_chain_that_holds_from_its_anchor_on() {
        let store = store();
        let forget = |before: u64, looks: usize| {
            let swept = store.update(move |writer| forget_audit(writer, Timestamp(before), looks));
            let check = verify(&store);
            assert_eq!(check.faults, [], "before {before}");
            (
                swept.unwrap().removed,
                check.lines,
                check.anchor.map(|anchor| anchor.number),
            )
        };
        assert_eq!(forget(1_500, 100), (1, 8, None));
        assert_eq!(forget(4_500, 100), (3, 5, Some(4)));
        assert_eq!(forget(99_000, 3), (3, 2, Some(7)));
        assert_eq!(forget(99_000, 3), (2, 0, Some(9)));
        update(&store, |writer| {
            put_audit(writer, &keys(), 10, plain(10)).unwrap();
        });
        assert_eq!(forget(0, 100), (0, 1, Some(9)));
        // The anchor does not excuse what is missing behind it.
        delete(&store, 10);
        assert_eq!(verify(&store).faults, [(10, AuditFault::CutOff)]);
    }

    #[test]
    fn a_line_that_is_younger_than_those_after_it_keeps_them() {
        let store = store();
        update(&store, |writer| {
            let young = AuditLine {
                at_ms: 50_000,
                ..plain(10)
            };
            put_audit(writer, &keys(), 10, young).unwrap();
            put_audit(writer, &keys(), 11, plain(11)).unwrap();
        });
        let swept = store.update(|writer| forget_audit(writer, Timestamp(20_000), 100));
        assert_eq!(swept.unwrap().removed, 9);
        let check = verify(&store);
        assert_eq!((check.lines, check.faults), (2, Vec::new()));
    }

    #[test]
    fn a_person_can_be_erased_and_the_chain_still_holds() {
        let store = store();
        update(&store, |writer| {
            for (number, line) in audit_before(writer, None, 100).unwrap() {
                if line.contact == ANA.to_string() {
                    put_line(writer, number, &line.erased()).unwrap();
                }
            }
        });
        let check = verify(&store);
        assert_eq!((check.erased, check.faults), (5, Vec::new()));
        let lines = store.view(|reader| audit(reader, 100)).unwrap();
        assert!(lines.iter().all(|line| line.contact != ANA.to_string()));
        let of_ben = lines.iter().filter(|line| line.contact == BEN.to_string());
        assert!(of_ben.clone().all(|line| line.number_ending.is_some()));
        assert_eq!(of_ben.count(), 4);
    }
}

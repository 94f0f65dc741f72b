//! What the status page is told, and what is done from there.

use super::{App, Failed, LetterChange, LetterChanged, NoRandomness, Shared, Transaction, Whom};
use crate::domain::contact::Contact;
use crate::domain::delivery::EntryId;
use crate::domain::id::{ContactId, EmailAddress, WaId, hex};
use crate::domain::secret::Secret;
use crate::domain::tally::Tally;
use crate::domain::time::Timestamp;
use crate::store::StoreError;
use crate::store::record::{self, AuditLine, FoundBy};

/// Contacts that one search for a name looks at: it takes no longer with a million of them, and all are
/// looked at where there are not more. Then it tells how far it came, and what is found at once.
pub const SEARCH_LOOKS_MAX: usize = 10_000;

/// Contacts looked at when it is asked to go on: whoever asks has time, and would rather press once.
pub const SEARCH_ON_LOOKS_MAX: usize = 10 * SEARCH_LOOKS_MAX;

/// Contacts looked at in one piece: a view that lasts holds up nobody, but keeps old pages of the
/// file from being used again.
const LOOKS: usize = 1_000;

/// Lines of the audit looked at for one answer.
const LINES_LOOKED_AT_MAX: usize = 2_000;

/// Lines read in one piece.
const LINES_PIECE: usize = 250;

/// What somebody did on the status page, as the audit names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusAct {
    /// Signed in.
    SignedIn,
    /// Tried a wrong password.
    PasswordWrong,
    /// Signed out.
    SignedOut,
    /// Ended the sign-in of a contact.
    Released,
    /// Had something tried again.
    Retried,
    /// Dropped something.
    Dropped,
}

impl StatusAct {
    /// Every act.
    pub const ALL: [StatusAct; 6] = [
        StatusAct::SignedIn,
        StatusAct::PasswordWrong,
        StatusAct::SignedOut,
        StatusAct::Released,
        StatusAct::Retried,
        StatusAct::Dropped,
    ];

    /// Its name in the audit.
    pub fn event(self) -> &'static str {
        match self {
            StatusAct::SignedIn => "status_page.signed_in",
            StatusAct::PasswordWrong => "status_page.password_wrong",
            StatusAct::SignedOut => "status_page.signed_out",
            StatusAct::Released => "status_page.contact_released",
            StatusAct::Retried => "status_page.letter_retried",
            StatusAct::Dropped => "status_page.letter_dropped",
        }
    }
}

/// Whom a search wants: all that are given must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Everybody.
    Everybody,
    /// The contact with this `userUuid`.
    User(ContactId),
    /// Whoever writes from this number; if nobody does, whoever's number ends like this.
    Number(WaId),
    /// Whoever's number ends like this.
    Ending(String),
    /// Whoever is signed in with this address.
    Address(EmailAddress),
    /// Whoever is signed in to an account whose name, company or address has this in it; in lower
    /// case.
    Words(String),
}

impl Wanted {
    /// Reads what somebody typed. Digits are a number, or its end as lists show it.
    pub fn parse(text: &str) -> Wanted {
        let text = text.trim();
        if text.is_empty() {
            return Wanted::Everybody;
        }
        if let Ok(id) = ContactId::parse(text) {
            return Wanted::User(id);
        }
        let number: String = (text.chars())
            .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '+' | '…'))
            .collect();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            const WHOLE_DIGITS_MIN: usize = 7;
            return match WaId::parse(number.strip_prefix("00").unwrap_or(&number)) {
                Ok(whole) if number.len() >= WHOLE_DIGITS_MIN => Wanted::Number(whole),
                _ => Wanted::Ending(number),
            };
        }
        match EmailAddress::parse(text) {
            Ok(address) => Wanted::Address(address),
            Err(_) => Wanted::Words(text.to_lowercase()),
        }
    }

    /// What leads to those who fit; nothing where everybody has to be looked at.
    fn found_by(&self) -> Option<FoundBy<'_>> {
        const DIGITS_MIN: usize = 2;
        match self {
            Wanted::Address(address) => Some(FoundBy::Address(address)),
            Wanted::Number(number) => Some(FoundBy::Ending(number.as_str())),
            // One in ten has it.
            Wanted::Ending(ending) if ending.len() < DIGITS_MIN => None,
            Wanted::Ending(ending) => Some(FoundBy::Ending(ending)),
            Wanted::Everybody | Wanted::User(_) | Wanted::Words(_) => None,
        }
    }

    /// Whether the record of a contact that fits could have these bytes: a quick no for nearly all.
    fn may_fit(&self) -> impl Fn(&[u8]) -> bool + use<> {
        let needle = match self {
            Wanted::Everybody | Wanted::User(_) => String::new(),
            Wanted::Number(number) => format!("{}\"", number.as_str()),
            Wanted::Ending(ending) => format!("{ending}\""),
            Wanted::Address(address) => address.key(),
            // What is not ASCII may be written in another case there, and signs escaped.
            Wanted::Words(words) => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || " @._-".contains(c);
                let runs = words.split(|c| !is_plain(c));
                runs.max_by_key(|run| run.len()).unwrap_or("").to_owned()
            }
        };
        move |record: &[u8]| has(record, needle.as_bytes())
    }

    fn fits(&self, contact: &Contact) -> bool {
        match self {
            Wanted::Everybody => true,
            Wanted::User(id) => contact.id == *id,
            Wanted::Number(number) => FoundBy::Ending(number.as_str()).means(contact),
            Wanted::Ending(ending) => FoundBy::Ending(ending).means(contact),
            Wanted::Address(address) => FoundBy::Address(address).means(contact),
            Wanted::Words(words) => contact.bindings.iter().any(|binding| {
                let email = binding.email.as_ref().map_or("", |email| email.as_str());
                [binding.name.as_str(), &binding.company.name, email]
                    .iter()
                    .any(|text| text.to_lowercase().contains(words))
            }),
        }
    }
}

/// Whether `needle`, in lower case, is somewhere in `text`, in whatever case.
fn has(text: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else {
        return true;
    };
    let mut starts =
        (text.windows(needle.len())).filter(|part| part[0].to_ascii_lowercase() == *first);
    starts.any(|part| part.eq_ignore_ascii_case(needle))
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The contacts.
    pub contacts: Vec<Contact>,
    /// Where to go on, when there may be more.
    pub next: Option<ContactId>,
    /// How many contacts were looked at.
    pub looked_at: usize,
    /// Whether as many were looked at as one search may before enough were found.
    pub is_cut_short: bool,
}

/// A line of the audit, with whom it is about as far as that is still known.
#[derive(Clone, Debug)]
pub struct Happened {
    /// Its number.
    pub number: u64,
    /// The line.
    pub line: AuditLine,
    /// The contact as it is now.
    pub contact: Option<Contact>,
    /// Whether it was about somebody, and whom was erased.
    pub is_erased: bool,
}

impl App {
    /// What was counted in each hour from that of `from` on, oldest first.
    pub fn tallies(&self, from: Timestamp) -> Result<Vec<(Timestamp, Tally)>, StoreError> {
        (self.shared.store).view(|reader| record::tallies(reader, from))
    }

    /// Up to `limit` contacts after `after` that are wanted, in no useful order; looks at
    /// [`SEARCH_LOOKS_MAX`] at most, or at [`SEARCH_ON_LOOKS_MAX`] when it goes on.
    pub fn search(
        &self,
        wanted: &Wanted,
        after: Option<ContactId>,
        limit: usize,
    ) -> Result<Found, StoreError> {
        let (store, keys) = (&self.shared.store, &self.shared.keys);
        let alone = match wanted {
            Wanted::User(id) => Some(store.view(|reader| record::contact(reader, *id))?),
            Wanted::Number(number) => {
                let contact =
                    store.view(
                        |reader| match record::contact_of_wa_id(reader, keys, number)? {
                            Some(id) => record::contact(reader, id),
                            None => Ok(None),
                        },
                    )?;
                contact.map(Some)
            }
            Wanted::Everybody | Wanted::Ending(_) | Wanted::Address(_) | Wanted::Words(_) => None,
        };
        if let Some(contact) = alone {
            let contacts: Vec<Contact> = contact.into_iter().collect();
            return Ok(Found {
                looked_at: contacts.len(),
                contacts,
                ..Found::default()
            });
        }
        let looks_max = match after {
            None => SEARCH_LOOKS_MAX,
            Some(_) => SEARCH_ON_LOOKS_MAX,
        };
        let (found_by, may_fit) = (wanted.found_by(), wanted.may_fit());
        let mut found = Found {
            next: after,
            ..Found::default()
        };
        loop {
            let looks = match (wanted, found_by) {
                (_, Some(_)) => looks_max,
                // The page for everybody needs no more than it shows.
                (Wanted::Everybody, None) => limit + 1,
                (_, None) => LOOKS,
            };
            let piece = store.view(|reader| match found_by {
                Some(by) => {
                    record::contacts_found_by(reader, keys, by, found.next, limit + 1, looks)
                }
                None => record::contacts_that(reader, found.next, looks, &may_fit),
            })?;
            found.looked_at += piece.looked_at;
            for contact in piece.contacts {
                if found.contacts.len() == limit {
                    found.next = found.contacts.last().map(|last| last.id);
                    return Ok(found);
                }
                if wanted.fits(&contact) {
                    found.contacts.push(contact);
                }
            }
            if piece.looked_at < looks {
                found.next = None;
                return Ok(found);
            }
            found.next = piece.last;
            if found.looked_at >= looks_max {
                let rest = store
                    .view(|reader| record::contacts_that(reader, found.next, 1, &|_| false))?;
                found.is_cut_short = found_by.is_some() || rest.looked_at > 0;
                found.next = found.next.filter(|_| found.is_cut_short);
                return Ok(found);
            }
        }
    }

    /// Up to `limit` lines of the audit before `before` whose event is wanted, newest first. Besides,
    /// where to go on when there may be more: there may be even when few were found.
    pub fn happened(
        &self,
        before: Option<u64>,
        limit: usize,
        is_wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(Vec<Happened>, Option<u64>), StoreError> {
        self.shared.store.view(|reader| {
            let (mut found, mut before, mut looked_at) = (Vec::new(), before, 0);
            loop {
                let piece = record::audit_before(reader, before, LINES_PIECE)?;
                let is_last = piece.len() < LINES_PIECE;
                for (number, line) in piece {
                    if found.len() == limit {
                        return Ok((found, before));
                    }
                    before = Some(number);
                    looked_at += 1;
                    if !is_wanted(&line.event) {
                        continue;
                    }
                    let contact = match ContactId::parse(&line.contact) {
                        Ok(id) => record::contact(reader, id)?,
                        Err(_) => None,
                    };
                    found.push(Happened {
                        number,
                        is_erased: line.is_erased(&self.shared.keys),
                        line,
                        contact,
                    });
                }
                if is_last {
                    return Ok((found, None));
                }
                if looked_at >= LINES_LOOKED_AT_MAX {
                    return Ok((found, before));
                }
            }
        })
    }

    /// When the newest hourly snapshot of the store was made; `None` when none are made or there
    /// is none.
    pub fn last_snapshot(&self) -> Option<Timestamp> {
        let snapshots = self.snapshots.as_ref().filter(|made| made.are_made())?;
        snapshots.list_hourly().ok()?.first().map(|(at, _)| *at)
    }

    /// 256 random bits in hexadecimal digits.
    pub fn fresh_secret(&self) -> Result<Secret, NoRandomness> {
        let halves = self.draw(2)?;
        Ok(Secret::new(
            halves.iter().map(|half| hex(half)).collect::<String>(),
        ))
    }

    // --- acts -------------------------------------------------------------------------------------

    /// Writes down an act that changes nothing else.
    pub fn note_status_act(&self, act: StatusAct) -> Result<(), Failed> {
        let (now, shared) = (self.now(), std::sync::Arc::clone(&self.shared));
        Ok(self.update(move |writer| shared.audit_act(writer, act, None, now))?)
    }

    /// Ends the sign-in of a contact; returns how many bindings ended, of how many contacts.
    pub fn release(&self, id: ContactId) -> Result<(usize, usize), Failed> {
        self.log_out_for(&Whom::User(id), Some(StatusAct::Released))
    }

    /// As [`App::change_letters`], from the status page.
    pub fn change_letters_on_status_page(
        &self,
        ids: &[EntryId],
        change: LetterChange,
    ) -> Result<Vec<(EntryId, LetterChanged)>, Failed> {
        let act = match change {
            LetterChange::Retry => StatusAct::Retried,
            LetterChange::Drop => StatusAct::Dropped,
        };
        self.change_letters_for(ids, change, Some(act))
    }
}

impl Shared {
    pub(super) fn audit_act(
        &self,
        writer: &mut Transaction<'_>,
        act: StatusAct,
        contact: Option<ContactId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        writer.count(act.event(), now);
        let line = AuditLine {
            at_ms: now.0,
            event: act.event().to_owned(),
            contact: contact.map_or(String::new(), |id| id.to_string()),
            number_ending: None,
            directory_user: None,
            about: None,
            link: None,
        };
        record::put_audit(writer, &self.keys, self.next_number(), line)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_record_that_fits_is_never_left_unread() {
        let record =
            r#"{"wa_id":"573001112233","name":"Ana \"la\" PÉREZ","email":"Ana@Example.com"}"#;
        for (typed, may_fit) in [
            ("", true),
            ("pérez", true),
            ("ana \"la\" pérez", true),
            ("ana@example.com", true),
            ("2233", true),
            ("1122", false),
            ("bea", false),
            ("é", true),
        ] {
            let wanted = Wanted::parse(typed);
            assert_eq!((wanted.may_fit())(record.as_bytes()), may_fit, "{typed}");
        }
        assert!(has(b"abAB", b"ab") && has(b"xAB", b"ab") && !has(b"a", b"ab"));
    }

    #[test]
    fn what_is_typed_is_read_as_what_it_looks_like() {
        let id = "0b0e3a52-63a5-4c60-9d39-7b3d6f0f7f1b";
        assert_eq!(Wanted::parse(" "), Wanted::Everybody);
        assert_eq!(
            Wanted::parse(id),
            Wanted::User(ContactId::parse(id).unwrap())
        );
        let number = Wanted::Number(WaId::parse("573001112233").unwrap());
        for text in ["573001112233", "+57 300 111-2233", "00573001112233"] {
            assert_eq!(Wanted::parse(text), number, "{text}");
        }
        for text in ["33", "…33", "2233"] {
            assert!(matches!(Wanted::parse(text), Wanted::Ending(_)), "{text}");
        }
        let address = EmailAddress::parse("ana@example.com").unwrap();
        assert_eq!(Wanted::parse(" Ana@Example.com"), Wanted::Address(address));
        for part in ["ana@", "@Example.com", "ana@example", "example.com"] {
            assert_eq!(Wanted::parse(part), Wanted::Words(part.to_lowercase()));
        }
        assert_eq!(Wanted::parse("Ana 2"), Wanted::Words("ana 2".to_owned()));
    }
}

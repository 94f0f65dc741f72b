//! What the bot gets of a webhook.
//!
//! A hand-over carries at most one message, because the identity that goes with it is about one.
//! Where all of a webhook is for the bot and fits into one hand-over, the bot gets Meta's own bytes
//! under Meta's own signature; otherwise parts of it, cut out and signed again.

use super::{About, Shared, Transaction, put_new_entry};
use crate::domain::contact::{Contact, Kept};
use crate::domain::delivery::{Entry, EntryId, Errand, SignedBody};
use crate::domain::id::{ContactId, MessageId};
use crate::domain::time::{DAY_MS, Timestamp};
use crate::store::StoreError;
use crate::store::record::{self, BodyOf};
use std::sync::Arc;

/// How long the bot is tried: as long as Meta repeats a webhook (Meta's contract, section 1.4).
pub(super) const LIFETIME_MS: u64 = 7 * DAY_MS;

/// The body of a webhook, of which the bot may get all or parts.
pub trait Body: Send + Sync {
    /// Meta's own bytes; `None` when there is something in them that no item stands for.
    fn whole(&self) -> Option<SignedBody>;

    /// Only what these items stand for, in their order; `None` when it cannot be cut out.
    fn part(&self, items: &[usize]) -> Option<SignedBody>;
}

/// An element of a webhook that is decided about.
#[derive(Clone)]
pub(super) struct Element {
    /// Which item of the webhook it is.
    pub(super) item: usize,
    /// How many items there are.
    pub(super) items: usize,
    /// Meta's id, when it is a message.
    pub(super) message: Option<MessageId>,
    /// The webhook.
    pub(super) body: Arc<dyn Body>,
}

impl Element {
    fn alone(&self) -> Option<SignedBody> {
        let whole = if self.items == 1 {
            self.body.whole()
        } else {
            None
        };
        whole.or_else(|| self.body.part(&[self.item]))
    }
}

/// An element that is the bot's.
pub(super) struct HandOn {
    /// Which item.
    pub(super) item: usize,
    /// In whose line it waits.
    pub(super) line: ContactId,
    /// The message that it is, when the bot may learn who wrote it.
    pub(super) message: Option<MessageId>,
}

impl Shared {
    /// A message is the bot's: the one that is decided about, or the one that was kept.
    pub(super) fn hand_on(
        &self,
        writer: &mut Transaction<'_>,
        contact: &Contact,
        kept: &Kept,
        about: &About,
    ) -> Result<(), StoreError> {
        if !self.settings.hands_on {
            return Ok(());
        }
        match &about.element {
            Some(element) if element.message.as_ref() == Some(&kept.id) => {
                writer.hand_on.push(HandOn {
                    item: element.item,
                    line: contact.id,
                    message: Some(kept.id.clone()),
                });
                Ok(())
            }
            _ => match record::kept_body(writer, contact.id, &kept.id)? {
                Some(body) => {
                    let message = Some(kept.id.clone());
                    self.put_hand_over(writer, contact.id, message, &body, about.now)
                }
                None => Ok(()),
            },
        }
    }

    /// Stores the body of a message that waits until its writer is known, and removes it when it
    /// waits no longer.
    pub(super) fn keep_for_later(
        &self,
        writer: &mut Transaction<'_>,
        before: &Contact,
        after: &Contact,
        about: &About,
    ) -> Result<(), StoreError> {
        if before.kept == after.kept {
            return Ok(());
        }
        // Without a bot nothing is stored; what an earlier configuration left goes all the same.
        let element = (about.element.as_ref()).filter(|_| self.settings.hands_on);
        let is_this = (element.zip(after.kept.as_ref()))
            .filter(|(element, kept)| element.message.as_ref() == Some(&kept.id));
        match is_this.and_then(|(element, kept)| Some((element.alone()?, kept))) {
            Some((body, kept)) => record::put_kept_body(writer, after.id, &kept.id, &body),
            None => record::delete_body(writer, BodyOf::Contact(after.id)),
        }
    }

    /// Makes entries of all that was found to be the bot's. `is_all_of_it` says whether nothing of
    /// the webhook was decided about elsewhere; it has `items` items.
    pub(super) fn put_hand_overs(
        &self,
        writer: &mut Transaction<'_>,
        body: &dyn Body,
        is_all_of_it: bool,
        items: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let found = std::mem::take(&mut writer.hand_on);
        let Some(first) = found.first() else {
            return Ok(());
        };
        let messages: Vec<&MessageId> = (found.iter())
            .filter_map(|one| one.message.as_ref())
            .collect();
        let fits = is_all_of_it
            && found.len() == items
            && messages.len() <= 1
            && found.iter().all(|one| one.line == first.line);
        if fits && let Some(whole) = body.whole() {
            let message = messages.first().map(|id| (*id).clone());
            return self.put_hand_over(writer, first.line, message, &whole, now);
        }
        for group in groups(&found) {
            let items: Vec<usize> = group.iter().map(|one| one.item).collect();
            let message = group.iter().find_map(|one| one.message.clone());
            match body.part(&items) {
                Some(part) => {
                    self.put_hand_over(writer, group[0].line, message, &part, now)?;
                }
                None => tracing::error!("part of a webhook could not be cut out for the bot"),
            }
        }
        Ok(())
    }

    fn put_hand_over(
        &self,
        writer: &mut Transaction<'_>,
        line: ContactId,
        message: Option<MessageId>,
        body: &SignedBody,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = EntryId(self.next_number());
        let errand = Errand::HandOn {
            message,
            origin: id,
        };
        record::put_body(writer, BodyOf::Entry(id), body)?;
        let entry = Entry::new(id, line, errand, now, now.plus_ms(LIFETIME_MS));
        put_new_entry(writer, entry)
    }

    /// The line of somebody who is no contact, or of nobody: what concerns the same names waits in
    /// the same line.
    pub(super) fn line_of(&self, names: &[&str]) -> ContactId {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let digest = self.keys.master().keyed_digest("line", &names);
        let mut line = [0; 16];
        line.copy_from_slice(&digest[..16]);
        ContactId(line)
    }
}

/// What goes together: each message by itself, everything else of one line at once. In the order
/// of the first element of each.
fn groups(found: &[HandOn]) -> Vec<Vec<&HandOn>> {
    let mut groups: Vec<Vec<&HandOn>> = Vec::new();
    // The news group of each line that is still open: a message of the same line closes it, so that
    // what came after the message stays after it.
    let mut open = std::collections::HashMap::new();
    for one in found {
        if one.message.is_some() {
            open.remove(&one.line);
            groups.push(vec![one]);
        } else if let Some(at) = open.get(&one.line) {
            let at: usize = *at;
            groups[at].push(one);
        } else {
            open.insert(one.line, groups.len());
            groups.push(vec![one]);
        }
    }
    groups
}

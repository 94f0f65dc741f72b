//! What the command line may ask for, and what it is answered.

use super::audit::{self, AuditCheckLine, AuditRow};
use super::certificate::CertificateLine;
use super::contacts::{self, ContactLine, ForgottenLine, WhomText};
use super::keys::{self, KeyLine};
use super::outbox::{self, ChangeLine, EventLine, LetterLine, WaitingLine};
use super::users::{self, Hidden, UserLine, UserText};
use crate::app::{App, Failed, LetterChange};
use crate::store::StoreError;
use crate::store::record::AuditPlace;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What the command line may ask for. Values are as they were written; [`perform`] reads them.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Up to [`super::LIST_USERS_MAX`] users after the one with this address, or the first ones.
    ListUsers {
        /// Where the last answer ended.
        after: Option<String>,
    },
    /// Add a user or change the one with this address; a password that is not given stays.
    AddUser {
        /// Who.
        user: UserText,
        /// The new password.
        password: Option<Hidden>,
    },
    /// Give a user another password.
    SetPassword {
        /// The user's address.
        email: String,
        /// The new password.
        password: Hidden,
    },
    /// Remove a user.
    RemoveUser {
        /// The user's address.
        email: String,
    },
    /// Add or change up to [`crate::app::admin::IMPORT_USERS_MAX`] users, all or none.
    ImportUsers {
        /// Each with the Argon2id hash of a password, if there is one.
        users: Vec<(UserText, Option<Hidden>)>,
    },
    /// How the certificate of HTTPS stands.
    ShowCertificate,
    /// Ask for a new one now, or read its files again.
    RenewCertificate,
    /// Take over what the configuration says now.
    Reload,
    /// The keys that tokens are signed with.
    ListKeys,
    /// Make a new key.
    RotateKeys {
        /// Whether it signs at once, or when every verifier can know it.
        now: bool,
    },
    /// Drop a key at once.
    RevokeKey {
        /// Its name.
        id: String,
    },
    /// Up to [`super::LIST_ENTRIES_MAX`] entries that wait in a lane, oldest first.
    ListWaiting {
        /// The lane.
        lane: String,
        /// Where the last answer ended.
        after: Option<String>,
    },
    /// Up to [`super::LIST_ENTRIES_MAX`] dead letters, those of the newest entries first.
    ListDead {
        /// Only of this lane.
        lane: Option<String>,
        /// Where the last answer ended.
        before: Option<String>,
    },
    /// Take up dead letters again; [`crate::app::CHANGED_AT_ONCE_MAX`] at most.
    Retry {
        /// Which.
        ids: Vec<String>,
    },
    /// Forget dead letters, or what waits for a program; as many.
    Drop {
        /// Which.
        ids: Vec<String>,
    },
    /// Up to [`super::LIST_EVENTS_MAX`] events, newest first.
    ListEvents {
        /// Not those before this moment, in milliseconds since 1970.
        since_ms: u64,
        /// Where the last answer ended.
        before: Option<String>,
    },
    /// Tell events once more; as many as one transaction should hold.
    ReplayEvents {
        /// Not those before this moment, in milliseconds since 1970.
        since_ms: u64,
        /// Where the last answer ended.
        after: Option<String>,
    },
    /// Tell one event once more.
    ReplayEvent {
        /// Which.
        id: String,
    },
    /// Up to [`super::LIST_CONTACTS_MAX`] contacts, in no useful order.
    ListContacts {
        /// Where the last answer ended.
        after: Option<String>,
    },
    /// What is known about a contact.
    ShowContacts {
        /// Whose.
        whom: WhomText,
    },
    /// End the bindings of a contact.
    LogOut {
        /// Whose.
        whom: WhomText,
    },
    /// Forget a contact.
    Forget {
        /// Whom.
        whom: WhomText,
        /// Whether to say only what would happen.
        dry_run: bool,
    },
    /// Everything that is kept about a contact.
    Export {
        /// Whom.
        whom: WhomText,
    },
    /// Write a copy of the store.
    BackUp {
        /// Where: from the root on.
        path: PathBuf,
    },
    /// Remove what is kept no longer.
    RemoveWhatIsOld,
    /// Up to [`crate::app::AUDIT_LINES_LISTED_MAX`] lines of the audit, newest first.
    ListAudit {
        /// Not those before this moment, in milliseconds since 1970.
        since_ms: u64,
        /// Where the last answer ended.
        before: Option<u64>,
    },
    /// Check up to [`crate::app::AUDIT_LINES_CHECKED_MAX`] lines of the audit, oldest first.
    VerifyAudit {
        /// Where the last answer ended.
        after: Option<AuditPlace>,
    },
}

impl Request {
    /// Whether only the running server can know.
    pub(super) fn is_about_certificate(&self) -> bool {
        matches!(self, Request::ShowCertificate | Request::RenewCertificate)
    }

    /// Whether it changes nothing.
    pub(super) fn only_looks(&self) -> bool {
        matches!(
            self,
            Request::ListUsers { .. }
                | Request::ShowCertificate
                | Request::ListKeys
                | Request::ListWaiting { .. }
                | Request::ListDead { .. }
                | Request::ListEvents { .. }
                | Request::ListContacts { .. }
                | Request::Forget { dry_run: true, .. }
                | Request::ListAudit { .. }
                | Request::VerifyAudit { .. }
        )
    }

    /// Whether the whole store may be written.
    pub(super) fn takes_long(&self) -> bool {
        matches!(
            self,
            Request::Forget { .. } | Request::BackUp { .. } | Request::RemoveWhatIsOld
        )
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Request::ListUsers { .. } => "list_users",
            Request::AddUser { .. } => "add_user",
            Request::SetPassword { .. } => "set_password",
            Request::RemoveUser { .. } => "remove_user",
            Request::ImportUsers { .. } => "import_users",
            Request::ShowCertificate => "show_certificate",
            Request::RenewCertificate => "renew_certificate",
            Request::Reload => "reload",
            Request::ListKeys => "list_keys",
            Request::RotateKeys { .. } => "rotate_keys",
            Request::RevokeKey { .. } => "revoke_key",
            Request::ListWaiting { .. } => "list_waiting",
            Request::ListDead { .. } => "list_dead",
            Request::Retry { .. } => "retry",
            Request::Drop { .. } => "drop",
            Request::ListEvents { .. } => "list_events",
            Request::ReplayEvents { .. } => "replay_events",
            Request::ReplayEvent { .. } => "replay_event",
            Request::ListContacts { .. } => "list_contacts",
            Request::ShowContacts { .. } => "show_contacts",
            Request::LogOut { .. } => "log_out",
            Request::Forget { dry_run: true, .. } => "would_forget",
            Request::Forget { dry_run: false, .. } => "forget",
            Request::Export { .. } => "export",
            Request::BackUp { .. } => "back_up",
            Request::RemoveWhatIsOld => "remove_what_is_old",
            Request::ListAudit { .. } => "list_audit",
            Request::VerifyAudit { .. } => "verify_audit",
        }
    }
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Users in no useful order.
    Users {
        /// None when there are no more.
        users: Vec<UserLine>,
    },
    /// The user is there.
    UserAdded {
        /// Whether there was one with this address before.
        changed: bool,
    },
    /// The user has the password.
    PasswordSet,
    /// The user is gone.
    UserRemoved,
    /// The users are there.
    UsersImported {
        /// Users that were not there before.
        new: usize,
        /// Users that are different now.
        changed: usize,
        /// Users that were there just so.
        unchanged: usize,
    },
    /// How the certificate of HTTPS stands.
    Certificate(CertificateLine),
    /// A new certificate is on its way.
    RenewalBegun,
    /// The authority may not be asked before this moment. Nothing has happened.
    RenewalNotBefore {
        /// In milliseconds since 1970.
        at_ms: u64,
    },
    /// There is no HTTPS of its own, or no server that would have it.
    NoCertificate,
    /// The configuration was taken over.
    Reloaded {
        /// The keys that have another value now.
        at_once: Vec<String>,
        /// The keys that have another value after a restart.
        at_restart: Vec<String>,
    },
    /// The configuration is wrong. Nothing has changed.
    NotReloaded {
        /// All that is wrong, as `portero check` tells it.
        problems: String,
    },
    /// The keys, by the moment at which they begin to sign.
    Keys {
        /// At least one.
        keys: Vec<KeyLine>,
    },
    /// There is a new key.
    KeyMade {
        /// Its name.
        id: String,
        /// From when on it signs, in milliseconds since 1970.
        signs_from_ms: u64,
    },
    /// A new key is on its way already. Nothing has changed.
    KeyComing {
        /// From when on that one signs, in milliseconds since 1970.
        signs_from_ms: u64,
    },
    /// There are as many keys as there may be. Nothing has changed.
    KeysFull {
        /// When the oldest of them goes, in milliseconds since 1970.
        room_from_ms: u64,
    },
    /// The key is gone.
    KeyRevoked {
        /// The key that signs in its place from now on, if it was the one that signed.
        made: Option<String>,
    },
    /// There is no key of this name. Nothing has changed.
    NoSuchKey,
    /// What waits in a lane.
    Waiting {
        /// Oldest first.
        entries: Vec<WaitingLine>,
        /// Where to go on when there may be more.
        next: Option<String>,
    },
    /// What was given up.
    Dead {
        /// Those of the newest entries first.
        letters: Vec<LetterLine>,
        /// Where to go on when there may be more, also if there are none here.
        next: Option<String>,
    },
    /// What came of each.
    Changed {
        /// In the order of their names.
        changes: Vec<ChangeLine>,
    },
    /// What happened.
    Events {
        /// Newest first.
        events: Vec<EventLine>,
        /// Where to go on when there may be more.
        next: Option<String>,
    },
    /// Events are told once more.
    Replayed {
        /// How many.
        count: usize,
        /// Where to go on when there may be more.
        next: Option<String>,
    },
    /// Contacts.
    Contacts {
        /// None when there are no more, or no such contact.
        contacts: Vec<ContactLine>,
    },
    /// What is known about the contacts that were meant.
    Shown {
        /// In no useful order.
        contacts: Vec<ContactLine>,
        /// Why the audit has no line of it, if it has none.
        not_written_down: Option<String>,
    },
    /// The bindings have ended.
    LoggedOut {
        /// How many.
        ended: usize,
        /// Of how many contacts.
        contacts: usize,
    },
    /// What forgetting came to, or would come to.
    Forgotten(Box<ForgottenLine>),
    /// Everything that is kept.
    Exported {
        /// All of it.
        everything: Value,
    },
    /// There is a copy.
    BackedUp {
        /// Records in it.
        records: u64,
        /// Its length.
        bytes: u64,
    },
    /// There is no copy.
    NotBackedUp {
        /// A sentence on why.
        reason: String,
    },
    /// What was old is gone.
    Removed {
        /// How many records, by the name of their table.
        counts: BTreeMap<String, u64>,
    },
    /// There is no such contact. Nothing has changed.
    NoSuchContact,
    /// What was written down.
    Audit {
        /// Newest first.
        lines: Vec<AuditRow>,
        /// Where to go on when there may be more.
        next: Option<u64>,
    },
    /// What the chain of the audit is like.
    AuditChecked(Box<AuditCheckLine>),
    /// There is no event of this name.
    NoSuchEvent,
    /// Nobody is told events, as configured. Nothing has changed.
    NobodyToTell,
    /// There is no user with this address. Nothing has changed.
    NoSuchUser,
    /// Something in the request is wrong. Nothing has changed.
    Refused {
        /// A sentence on what, without what was written.
        reason: String,
    },
    /// It could not be done, or nobody knows; asking again is safe.
    Failed {
        /// A sentence on why.
        reason: String,
    },
}

impl Answer {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Answer::Users { .. } => "listed",
            Answer::UserAdded { changed: false } => "added",
            Answer::UserAdded { changed: true } => "changed",
            Answer::PasswordSet => "set",
            Answer::UserRemoved => "removed",
            Answer::UsersImported { .. } => "imported",
            Answer::Certificate(_) => "shown",
            Answer::RenewalBegun => "begun",
            Answer::RenewalNotBefore { .. } => "too_often",
            Answer::NoCertificate => "none",
            Answer::Reloaded { .. } => "reloaded",
            Answer::NotReloaded { .. } => "not_reloaded",
            Answer::Keys { .. } => "listed",
            Answer::KeyMade { .. } => "made",
            Answer::KeyComing { .. } => "coming",
            Answer::KeysFull { .. } => "full",
            Answer::KeyRevoked { .. } => "revoked",
            Answer::NoSuchKey => "no_such_key",
            Answer::Waiting { .. } | Answer::Dead { .. } | Answer::Events { .. } => "listed",
            Answer::Changed { .. } => "changed",
            Answer::Replayed { .. } => "replayed",
            Answer::Contacts { .. } => "listed",
            Answer::Shown {
                not_written_down: None,
                ..
            } => "shown",
            Answer::Shown {
                not_written_down: Some(_),
                ..
            } => "shown_without_a_line",
            Answer::LoggedOut { .. } => "logged_out",
            Answer::Forgotten(..) => "told",
            Answer::Exported { .. } => "exported",
            Answer::BackedUp { .. } => "backed_up",
            Answer::NotBackedUp { .. } => "not_backed_up",
            Answer::Removed { .. } => "removed",
            Answer::NoSuchContact => "no_such_contact",
            Answer::Audit { .. } => "listed",
            Answer::AuditChecked(check) if check.faults.is_empty() => "checked",
            Answer::AuditChecked(_) => "broken",
            Answer::NoSuchEvent => "no_such_event",
            Answer::NobodyToTell => "nobody_to_tell",
            Answer::NoSuchUser => "no_such_user",
            Answer::Refused { .. } => "refused",
            Answer::Failed { .. } => "failed",
        }
    }

    pub(super) fn refused(reason: impl fmt::Display) -> Answer {
        Answer::Refused {
            reason: reason.to_string(),
        }
    }
}

/// Does what is asked, in this process.
pub fn perform(app: &App, request: &Request) -> Answer {
    attempt(app, request).unwrap_or_else(|answer| answer)
}

impl From<Failed> for Answer {
    fn from(error: Failed) -> Answer {
        Answer::Failed {
            reason: error.to_string(),
        }
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Answer {
        Failed::from(error).into()
    }
}

fn attempt(app: &App, request: &Request) -> Result<Answer, Answer> {
    let answer = match request {
        Request::ListUsers { after } => users::list(app, after.as_deref())?,
        Request::AddUser { user, password } => users::add(app, user, password.as_ref())?,
        Request::SetPassword { email, password } => users::set_password(app, email, password)?,
        Request::RemoveUser { email } => users::remove(app, email)?,
        Request::ImportUsers { users } => users::import(app, users)?,
        Request::ShowCertificate | Request::RenewCertificate => Answer::NoCertificate,
        Request::Reload => return Err(Answer::refused("no server runs")),
        Request::ListKeys => keys::list(app),
        Request::RotateKeys { now } => keys::rotate(app, *now)?,
        Request::RevokeKey { id } => keys::revoke(app, id)?,
        Request::ListWaiting { lane, after } => outbox::waiting(app, lane, after.as_deref())?,
        Request::ListDead { lane, before } => {
            outbox::dead(app, lane.as_deref(), before.as_deref())?
        }
        Request::Retry { ids } => outbox::change(app, ids, LetterChange::Retry)?,
        Request::Drop { ids } => outbox::change(app, ids, LetterChange::Drop)?,
        Request::ListEvents { since_ms, before } => {
            outbox::events(app, *since_ms, before.as_deref())?
        }
        Request::ReplayEvents { since_ms, after } => {
            outbox::replay(app, *since_ms, after.as_deref())?
        }
        Request::ReplayEvent { id } => outbox::replay_one(app, id)?,
        Request::ListContacts { after } => contacts::list(app, after.as_deref())?,
        Request::ShowContacts { whom } => contacts::show(app, whom)?,
        Request::LogOut { whom } => contacts::log_out(app, whom)?,
        Request::Forget { whom, dry_run } => contacts::forget(app, whom, *dry_run)?,
        Request::Export { whom } => contacts::export(app, whom)?,
        Request::BackUp { path } => contacts::back_up(app, path)?,
        Request::RemoveWhatIsOld => Answer::Removed {
            counts: (app.remove_what_is_old()?.into_iter())
                .map(|(kind, count)| (kind.to_owned(), count as u64))
                .collect(),
        },
        Request::ListAudit { since_ms, before } => audit::list(app, *since_ms, *before)?,
        Request::VerifyAudit { after } => audit::verify(app, after.as_ref())?,
    };
    Ok(answer)
}

//! The tie between a contact and its accounts, and why it ends.

use super::account::{Account, Company};
use super::id::{EmailAddress, ProofId, ServiceName};
use super::policy::Policy;
use super::time::Timestamp;

/// Contact ↔ account, made by a proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Where the account lives.
    pub service: ServiceName,
    /// The service's own id of the user.
    pub user_id: String,
    /// What people call the user.
    pub name: String,
    /// The address on file; a page that only says *signed in* names none.
    pub email: Option<EmailAddress>,
    /// The company the user belongs to.
    pub company: Company,
    /// How it was proved.
    pub proof: Proof,
    /// By which attempt.
    pub proof_id: ProofId,
    /// When it was proved.
    pub proved_at: Timestamp,
    /// Since when the chat has been bound to this user without a gap, however often that was proved
    /// again.
    pub bound_since: Timestamp,
}

impl Binding {
    /// A binding to `account`, proved now.
    pub fn new(account: Account, proof: Proof, proof_id: ProofId, now: Timestamp) -> Binding {
        let Account {
            service,
            user_id,
            name,
            email,
            phone: _,
            company,
        } = account;
        Binding {
            service,
            user_id,
            name,
            email: Some(email),
            company,
            proof,
            proof_id,
            proved_at: now,
            bound_since: now,
        }
    }

    /// A binding to somebody whom a page lets in without saying who it is.
    pub fn unnamed(service: ServiceName, proof_id: ProofId, now: Timestamp) -> Binding {
        Binding {
            service,
            user_id: String::new(),
            name: String::new(),
            email: None,
            company: Company {
                id: String::new(),
                name: String::new(),
            },
            proof: Proof::Page,
            proof_id,
            proved_at: now,
            bound_since: now,
        }
    }

    /// What may be done on the strength of this binding now: one that was made on the web is worth
    /// less for its first hours, in which its owner may still read the mail about it (section 3.2 f
    /// of the threat model).
    pub fn scope(&self, now: Timestamp, policy: &Policy) -> Scope {
        match self.proof {
            Proof::Password | Proof::Page
                if now.since_ms(self.proved_at) < policy.first_hours_ms =>
            {
                Scope::FirstHours
            }
            Proof::Password | Proof::Page | Proof::MailCode => Scope::Full,
        }
    }

    /// Whether the owner of the account may still end it by the link in the mail about `proof`.
    pub fn can_be_undone(&self, proof: ProofId, now: Timestamp) -> bool {
        self.proof_id == proof && now.since_ms(self.proved_at) < Policy::UNDO_MS
    }

    /// Whether both are bindings to the same user. A service may give a user one id in all of the
    /// companies they belong to; each of these is a user of its own.
    pub fn is_same_user(&self, other: &Binding) -> bool {
        self.service == other.service
            && self.user_id == other.user_id
            && self.company.id == other.company.id
    }
}

/// What may be done on the strength of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// What can be undone.
    FirstHours,
    /// Everything.
    Full,
}

impl Scope {
    /// Its name in log and interface.
    pub fn name(self) -> &'static str {
        match self {
            Scope::FirstHours => "first_hours",
            Scope::Full => "full",
        }
    }
}

/// How somebody showed that an account is theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A code mailed to the address on file came back through the chat.
    MailCode,
    /// User and password on Portero's own page.
    Password,
    /// A page that is not ours said so.
    Page,
}

impl Proof {
    /// Every proof.
    pub const ALL: [Proof; 3] = [Proof::MailCode, Proof::Password, Proof::Page];

    /// Its name in store, log and interface.
    pub fn name(self) -> &'static str {
        match self {
            Proof::MailCode => "mail_code",
            Proof::Password => "password",
            Proof::Page => "page",
        }
    }
}

/// Why bindings end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseReason {
    /// The person asked.
    LoggedOut,
    /// No message for longer than a binding may rest (S-62).
    Idle,
    /// Older than the operator allows.
    Aged,
    /// The account may be in other hands: the identity key changed (S-60).
    IdentityKeyChanged,
    /// The number or the BSUID changed (S-61).
    NumberChanged,
    /// Two names of one message belong to two contacts (S-64).
    Conflict,
    /// The operator removed it.
    Operator,
    /// The account's owner said by mail that it was somebody else.
    Undone,
    /// Another sign-in of the same chat took its place.
    Replaced,
    /// The bot ended it.
    Bot,
    /// The person wished to be forgotten.
    Forgotten,
}

impl ReleaseReason {
    /// Every reason.
    pub const ALL: [ReleaseReason; 11] = [
        ReleaseReason::LoggedOut,
        ReleaseReason::Idle,
        ReleaseReason::Aged,
        ReleaseReason::IdentityKeyChanged,
        ReleaseReason::NumberChanged,
        ReleaseReason::Conflict,
        ReleaseReason::Operator,
        ReleaseReason::Undone,
        ReleaseReason::Replaced,
        ReleaseReason::Bot,
        ReleaseReason::Forgotten,
    ];

    /// The audit event of a release for this reason.
    pub fn event(self) -> &'static str {
        match self {
            ReleaseReason::LoggedOut => "contact.released.logged_out",
            ReleaseReason::Idle => "contact.released.idle",
            ReleaseReason::Aged => "contact.released.aged",
            ReleaseReason::IdentityKeyChanged => "contact.released.identity_key_changed",
            ReleaseReason::NumberChanged => "contact.released.number_changed",
            ReleaseReason::Conflict => "contact.released.conflict",
            ReleaseReason::Operator => "contact.released.operator",
            ReleaseReason::Undone => "contact.released.undone",
            ReleaseReason::Replaced => "contact.released.replaced",
            ReleaseReason::Bot => "contact.released.bot",
            ReleaseReason::Forgotten => "contact.released.forgotten",
        }
    }
}

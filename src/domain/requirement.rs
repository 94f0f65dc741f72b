//! What the bot demands before it goes on: a fresh proof of who is writing (step-up).

use super::binding::{Binding, Proof};
use super::id::{ChallengeId, RequirementId};
use super::policy::Policy;
use super::time::Timestamp;

/// A proof that the bot asked for. A contact has one at most: a later one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// Names it; the same however many codes and links it takes.
    pub id: RequirementId,
    /// What would do.
    pub proof: ProofWanted,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// From here on no proof makes it pass.
    pub expires_at: Timestamp,
    /// How far it came.
    pub state: RequirementState,
    /// The code that follows a right password, where the password alone does not do: together they
    /// are the proof of a password.
    pub after_password: Option<ChallengeId>,
}

/// How far a requirement came; see [`Requirement::standing`] for what time does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequirementState {
    /// Nothing was proved yet.
    Pending,
    /// A fitting proof was made.
    Passed,
    /// The person stopped it, somebody else proved something, or the proof has ended since.
    Refused,
}

/// How a requirement stands at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can still pass.
    Pending,
    /// It passed.
    Passed,
    /// It was refused.
    Refused,
    /// Its time is over.
    Expired,
}

impl Standing {
    /// Its name in the interface.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Pending => "pending",
            Standing::Passed => "passed",
            Standing::Refused => "refused",
            Standing::Expired => "expired",
        }
    }
}

/// Which proof is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofWanted {
    /// Whatever signs people in.
    Any,
    /// A code by mail.
    MailCode,
    /// User and password, on Portero's page or on the one that takes its place.
    Password,
}

impl ProofWanted {
    /// Every one.
    pub const ALL: [ProofWanted; 3] = [
        ProofWanted::Any,
        ProofWanted::MailCode,
        ProofWanted::Password,
    ];

    /// Its name in store and interface.
    pub fn name(self) -> &'static str {
        match self {
            ProofWanted::Any => "any",
            ProofWanted::MailCode => "mail_code",
            ProofWanted::Password => "password",
        }
    }

    /// Whether this proof does.
    pub fn is_met_by(self, proof: Proof) -> bool {
        match (self, proof) {
            (ProofWanted::Any, _)
            | (ProofWanted::MailCode, Proof::MailCode)
            | (ProofWanted::Password, Proof::Password | Proof::Page) => true,
            (ProofWanted::MailCode, Proof::Password | Proof::Page)
            | (ProofWanted::Password, Proof::MailCode) => false,
        }
    }
}

impl Requirement {
    /// A new one; its clock starts now.
    pub fn new(id: RequirementId, proof: ProofWanted, now: Timestamp) -> Requirement {
        Requirement {
            id,
            proof,
            asked_at: now,
            expires_at: now.plus_ms(Policy::REQUIREMENT_MS),
            state: RequirementState::Pending,
            after_password: None,
        }
    }

    /// How it stands now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        match self.state {
            RequirementState::Passed => Standing::Passed,
            RequirementState::Refused => Standing::Refused,
            RequirementState::Pending if now < self.expires_at => Standing::Pending,
            RequirementState::Pending => Standing::Expired,
        }
    }

    /// Whether it can still pass.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.standing(now) == Standing::Pending
    }

    /// Whether these new bindings, made by one attempt, are what was asked for.
    pub(super) fn is_met_by(&self, bindings: &[Binding]) -> bool {
        bindings.iter().any(|binding| {
            self.proof.is_met_by(binding.proof)
                || (self.proof == ProofWanted::Password
                    && self.after_password == Some(ChallengeId(binding.proof_id.0)))
        })
    }
}

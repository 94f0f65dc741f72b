//! The audit as the command line sees it: who did what when, and whether the chain holds.
//!
//! Who it is about is the contact's `userUuid` and the end of the number, or the id of a user in the
//! directory; nothing else is there.

use super::Answer;
use crate::app::{AUDIT_LINES_LISTED_MAX, App};
use crate::store::record::{AuditCheck, AuditFault, AuditPlace};
use serde::{Deserialize, Serialize};

/// A line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Names it.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What, as a dotted name.
    pub event: String,
    /// Whom it is about: the contact's `userUuid`; nothing once it was erased.
    pub contact: Option<String>,
    /// The end of the contact's number, where it may be shown.
    pub number_ending: Option<String>,
    /// The id of the user of the directory whom it is about; nothing once it was erased.
    #[serde(default)]
    pub directory_user: Option<String>,
    /// Whether it was about somebody, and whom was erased.
    #[serde(default)]
    pub erased: bool,
    /// What it is about, when it is about nobody.
    pub about: Option<String>,
    /// Whether it is in the chain.
    pub chained: bool,
}

/// What a part of the chain is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCheckLine {
    /// Lines looked at.
    pub lines: usize,
    /// Of them, those from before there was a chain.
    pub unchained: usize,
    /// Of them, those in which it was erased who they are about.
    pub erased: usize,
    /// The last line that retention took.
    pub anchor: Option<AuditPlace>,
    /// The last line of all.
    pub head: Option<AuditPlace>,
    /// What is wrong, each with the number of its line.
    pub faults: Vec<(u64, AuditFaultLine)>,
    /// Where to go on; nothing at the end.
    pub next: Option<AuditPlace>,
}

/// What is wrong at a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditFaultLine {
    /// It is not what was written.
    Changed,
    /// Lines before it are missing, or it stands in the wrong place.
    MissingBefore,
    /// It is in no chain, and lines before it are.
    Unchained,
    /// It was the last one, and it is missing.
    CutOff,
    /// It is the last one, and it is not noted as that.
    NotNoted,
}

impl From<AuditFault> for AuditFaultLine {
    fn from(fault: AuditFault) -> AuditFaultLine {
        match fault {
            AuditFault::Changed => AuditFaultLine::Changed,
            AuditFault::MissingBefore => AuditFaultLine::MissingBefore,
            AuditFault::Unchained => AuditFaultLine::Unchained,
            AuditFault::CutOff => AuditFaultLine::CutOff,
            AuditFault::NotNoted => AuditFaultLine::NotNoted,
        }
    }
}

pub(super) fn list(app: &App, since_ms: u64, before: Option<u64>) -> Result<Answer, Answer> {
    let mut lines = app.audit_before(before)?;
    let next = (lines.last())
        .filter(|(_, oldest)| lines.len() == AUDIT_LINES_LISTED_MAX && oldest.at_ms >= since_ms)
        .map(|(number, _)| *number);
    lines.retain(|(_, line)| line.at_ms >= since_ms);
    let lines = lines.into_iter().map(|(number, line)| AuditRow {
        number,
        at_ms: line.at_ms,
        erased: app.is_erased(&line),
        event: line.event,
        contact: Some(line.contact).filter(|contact| !contact.is_empty()),
        number_ending: line.number_ending,
        directory_user: line.directory_user,
        about: line.about,
        chained: line.link.is_some(),
    });
    Ok(Answer::Audit {
        lines: lines.collect(),
        next,
    })
}

pub(super) fn verify(app: &App, after: Option<&AuditPlace>) -> Result<Answer, Answer> {
    let AuditCheck {
        lines,
        unchained,
        erased,
        anchor,
        head,
        place,
        faults,
        is_end,
    } = app.verify_audit(after)?;
    let faults = faults.into_iter();
    Ok(Answer::AuditChecked(Box::new(AuditCheckLine {
        lines,
        unchained,
        erased,
        anchor,
        head,
        faults: faults
            .map(|(number, fault)| (number, fault.into()))
            .collect(),
        next: place.filter(|_| !is_end),
    })))
}

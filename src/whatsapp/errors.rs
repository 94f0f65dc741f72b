//! What Meta's errors mean, and what follows from them: one table, `MEANINGS`.

use crate::domain::failure::FailureKind::{Configuration, Permanent, Recipient as Person};
use crate::domain::failure::{Failure, FailureKind};
use crate::http::Answer;
use serde_json::Value;

/// Longest `fbtrace_id` that is repeated to the operator, in bytes.
const TRACE_BYTES_MAX: usize = 64;

/// Meta's number in a field, also when it is written as a text.
pub(super) fn number_in(value: &Value) -> Option<u32> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u32::try_from(number).ok()
}

/// `{"code", "error_subcode"?, "fbtrace_id"?, …}`: the code decides, not the status (section 5).
/// `message` and `details` may quote what was sent and are not repeated.
pub(super) fn failure_of_error(error: &Value, answer: &Answer) -> Failure {
    let mut failure = match (
        number_in(&error["code"]),
        number_in(&error["error_subcode"]),
    ) {
        // "Object with ID … does not exist, cannot be loaded due to missing permissions."
        (Some(100), Some(33)) => failure_of_code(33),
        (Some(code), _) => match meaning_of(code) {
            Some(meaning) => meaning.failure(code),
            None => Failure {
                kind: kind_of_status(answer.status),
                reason: format!("{code} unknown error, HTTP {}", answer.status),
                advice: None,
            },
        },
        (None, _) => Failure {
            kind: kind_of_status(answer.status),
            reason: format!("an error without a code, HTTP {}", answer.status),
            advice: None,
        },
    };
    match &mut failure.kind {
        FailureKind::Temporary { retry_after_ms }
        | FailureKind::Unexplained { retry_after_ms, .. } => {
            *retry_after_ms = (*retry_after_ms).max(answer.retry_after_ms);
        }
        FailureKind::Throttled { pause_ms } => {
            *pause_ms = (*pause_ms).max(answer.retry_after_ms.unwrap_or(0));
        }
        _ => {}
    }
    let traceable = |trace: &&str| {
        (1..=TRACE_BYTES_MAX).contains(&trace.len())
            && trace
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-+/=".contains(&b))
    };
    if let Some(trace) = error["fbtrace_id"].as_str().filter(traceable) {
        failure.reason.push_str(&format!(" (trace {trace})"));
    }
    failure
}

/// The best guess for a code that the table does not know.
fn kind_of_status(status: u16) -> FailureKind {
    match status {
        401 | 403 => FailureKind::Configuration,
        429 => TOO_FAST,
        400..=499 if status != 408 => FailureKind::Permanent,
        _ => FailureKind::Temporary {
            retry_after_ms: None,
        },
    }
}

/// Too much at once, and the pause that was asked for, if any.
pub(super) fn too_fast(retry_after_ms: Option<u64>) -> FailureKind {
    FailureKind::Throttled {
        pause_ms: retry_after_ms.unwrap_or(0).max(TOO_FAST_MS),
    }
}

/// What a `failed` status or an entry of `value.errors[]` with this code means. An unknown code of
/// a message that failed is final: Meta has given it up.
pub fn failure_of_code(code: u32) -> Failure {
    match meaning_of(code) {
        Some(meaning) => meaning.failure(code),
        None => Failure {
            kind: FailureKind::Permanent,
            reason: format!("{code} unknown error"),
            advice: None,
        },
    }
}

fn meaning_of(code: u32) -> Option<&'static Meaning> {
    MEANINGS
        .iter()
        .find(|meaning| meaning.codes.contains(&code))
}

/// A row of [`MEANINGS`].
struct Meaning {
    codes: &'static [u32],
    kind: FailureKind,
    words: &'static str,
    advice: Option<&'static str>,
}

impl Meaning {
    fn failure(&self, code: u32) -> Failure {
        Failure {
            kind: self.kind,
            reason: format!("{code} {}", self.words),
            advice: self.advice,
        }
    }
}

const fn meaning(
    codes: &'static [u32],
    kind: FailureKind,
    words: &'static str,
    advice: &'static str,
) -> Meaning {
    Meaning {
        codes,
        kind,
        words,
        advice: if advice.is_empty() {
            None
        } else {
            Some(advice)
        },
    }
}

pub(super) const SOON: FailureKind = FailureKind::Temporary {
    retry_after_ms: None,
};
/// An error of Meta's own, or something about the message that Meta has no words for.
const ONCE_MORE: FailureKind = unexplained(1);
const TWICE_MORE: FailureKind = unexplained(2);
const fn unexplained(repeats_max: u32) -> FailureKind {
    FailureKind::Unexplained {
        repeats_max,
        retry_after_ms: None,
    }
}
/// The rate of the number is counted by the second.
const TOO_FAST: FailureKind = FailureKind::Throttled {
    pause_ms: TOO_FAST_MS,
};
const TOO_FAST_MS: u64 = 1_000;
/// Call limits are counted by the hour.
const TOO_MANY: FailureKind = FailureKind::Throttled { pause_ms: 60_000 };
/// Maintenance lasts about a minute.
const SLOWLY: FailureKind = FailureKind::Temporary {
    retry_after_ms: Some(60_000),
};
/// A number that was deleted may come back after five minutes.
const AFTER_5_MINUTES: FailureKind = FailureKind::Temporary {
    retry_after_ms: Some(5 * 60_000),
};
/// The permission codes 200 to 299.
const PERMISSION: [u32; 100] = {
    let mut codes = [0; 100];
    let mut index = 0;
    while index < codes.len() {
        codes[index] = 200 + index as u32;
        index += 1;
    }
    codes
};

/// Meta's error codes (Meta's contract, section 5). Words and advice are ours: Meta's own texts may
/// quote numbers and content.
const MEANINGS: &[Meaning] = &[
    meaning(
        &[0],
        Configuration,
        "could not authenticate",
        "whatsapp.access_token is invalid: make a permanent token for a system user",
    ),
    meaning(
        &[190],
        Configuration,
        "access token expired or revoked",
        "write a permanent token of a system user in whatsapp.access_token: tokens of the dashboard last hours",
    ),
    meaning(
        &[3],
        Configuration,
        "capability or permission missing",
        "check the permissions of whatsapp.access_token in Meta's token debugger",
    ),
    meaning(
        &[10],
        Configuration,
        "permission not granted",
        "give whatsapp.access_token whatsapp_business_messaging and assign the WhatsApp account to its system user",
    ),
    meaning(
        &PERMISSION,
        Configuration,
        "permission missing",
        "give whatsapp.access_token whatsapp_business_messaging and assign the WhatsApp account to its system user",
    ),
    meaning(
        &[131005],
        Configuration,
        "access denied",
        "give whatsapp.access_token whatsapp_business_messaging and assign the WhatsApp account to its system user",
    ),
    meaning(
        &[33],
        Configuration,
        "number id wrong, deleted or out of reach of the token",
        "check whatsapp.phone_number_id: it is neither the phone number nor the id of the WhatsApp account",
    ),
    meaning(
        &[100],
        Permanent,
        "a parameter is wrong",
        "check whatsapp.phone_number_id and the access that whatsapp.access_token has to it; else this is a bug of Portero",
    ),
    meaning(
        &[131008],
        Permanent,
        "a parameter is missing",
        "this is a bug of Portero",
    ),
    meaning(
        &[131009],
        Permanent,
        "the value of a parameter is invalid",
        "this is a bug of Portero",
    ),
    meaning(
        &[1],
        ONCE_MORE,
        "unknown error at Meta",
        "see metastatus.com/whatsapp-business-api",
    ),
    meaning(
        &[2],
        SOON,
        "temporary error at Meta",
        "see metastatus.com/whatsapp-business-api",
    ),
    meaning(
        &[131000],
        TWICE_MORE,
        "unknown error at Meta",
        "if it persists, give the trace id to Meta's support",
    ),
    meaning(
        &[131016],
        SOON,
        "service unavailable",
        "see metastatus.com/whatsapp-business-api",
    ),
    meaning(
        &[131057],
        SLOWLY,
        "the number is in maintenance",
        "wait a minute: its throughput is being raised",
    ),
    meaning(&[133004], SOON, "server temporarily unavailable", ""),
    meaning(
        &[4],
        TOO_MANY,
        "call limit of the app",
        "see the app's rate limit in Meta's dashboard",
    ),
    meaning(
        &[80007],
        TOO_MANY,
        "call limit of the WhatsApp account",
        "too many management calls; wait",
    ),
    meaning(
        &[130429],
        TOO_FAST,
        "throughput of the number reached",
        "write a lower whatsapp.messages_per_second",
    ),
    // The outbox waits 4^n seconds for this person; nobody else is affected.
    meaning(&[131056], SOON, "too many messages to this person", ""),
    meaning(
        &[131048],
        Permanent,
        "spam limit of the number",
        "the number's quality rating is low: stop sending and look at WhatsApp Manager",
    ),
    meaning(
        &[131064],
        Permanent,
        "messaging limited because of template violations",
        "review the templates in WhatsApp Manager",
    ),
    meaning(&[131021], Person, "the business number wrote to itself", ""),
    meaning(
        &[131026],
        Person,
        "cannot be delivered: not on WhatsApp, has blocked us, or an old client",
        "",
    ),
    meaning(
        &[131030],
        Person,
        "not on the test number's list",
        "add the phone under API Setup > To (at most five); numbers of Argentina and Mexico may be listed in another form",
    ),
    meaning(
        &[131031],
        Configuration,
        "account locked",
        "look at the account in WhatsApp Manager",
    ),
    meaning(
        &[368],
        Configuration,
        "temporarily blocked for violating a policy",
        "see Meta's page on policy enforcement in WhatsApp Manager",
    ),
    meaning(
        &[130497],
        Person,
        "may not message this country",
        "the business's category is restricted there",
    ),
    meaning(
        &[131037],
        Configuration,
        "display name not approved",
        "correct the display name in WhatsApp Manager",
    ),
    meaning(
        &[131042],
        Configuration,
        "payment problem",
        "check payment method, credit line, currency and time zone in Meta's billing settings",
    ),
    meaning(
        &[131045],
        Configuration,
        "the number is not registered or its certificate is wrong",
        "register the number for the Cloud API",
    ),
    meaning(
        &[133010],
        Configuration,
        "the number is not registered for the Cloud API",
        "register the number for the Cloud API",
    ),
    meaning(
        &[131047],
        Person,
        "more than 24 hours since the person's last message",
        "the answer came too late; the person has to write again",
    ),
    meaning(
        &[131049, 130472, 131050, 131063],
        Person,
        "held back by a limit for marketing messages",
        "",
    ),
    meaning(
        &[131051],
        Permanent,
        "unsupported type of message",
        "this is a bug of Portero",
    ),
    meaning(
        &[131052, 131053],
        Permanent,
        "media could not be loaded",
        "",
    ),
    meaning(&[131062], Person, "this message needs a phone number", ""),
    meaning(
        &[132000],
        Permanent,
        "number of template parameters",
        "the template differs from its configuration",
    ),
    meaning(
        &[132001],
        Permanent,
        "template missing or not approved in this language",
        "create it or wait for its approval",
    ),
    meaning(&[132005], Permanent, "template text too long", "shorten it"),
    meaning(
        &[132007],
        Permanent,
        "template violates a policy",
        "edit the template",
    ),
    meaning(
        &[132008, 132012, 132018],
        Permanent,
        "format of a template parameter",
        "this is a bug of Portero",
    ),
    meaning(&[132015], Permanent, "template paused for its quality", ""),
    meaning(
        &[132016],
        Permanent,
        "template disabled",
        "make a new template",
    ),
    meaning(
        &[132068, 132069],
        Permanent,
        "flow blocked or throttled",
        "",
    ),
    meaning(
        &[133000],
        Configuration,
        "incomplete deregistration",
        "deregister the number again, then register it",
    ),
    meaning(
        &[133005],
        Configuration,
        "wrong two-step PIN",
        "reset the PIN in WhatsApp Manager",
    ),
    meaning(
        &[133006],
        Configuration,
        "the number must be verified first",
        "ask for a verification code and enter it",
    ),
    meaning(
        &[133008, 133009],
        Configuration,
        "two-step PIN tried too often or too fast",
        "wait as long as WhatsApp Manager says",
    ),
    meaning(
        &[133015],
        AFTER_5_MINUTES,
        "the number was deleted recently",
        "wait five minutes",
    ),
    meaning(
        &[133016],
        Configuration,
        "registered and deregistered too often",
        "wait 72 hours",
    ),
    meaning(
        &[135000],
        Permanent,
        "generic error",
        "usually a malformed template",
    ),
    meaning(
        &[137000],
        Person,
        "the person's identity key has changed",
        "they verify once more",
    ),
    meaning(
        &[147001, 147002, 147003, 147004, 147005],
        Permanent,
        "call about a business username",
        "",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_contract_has_its_meaning() {
        let later: Vec<u32> = [
            0, 190, 3, 10, 131005, 33, 131031, 368, 131037, 131042, 131045,
        ]
        .into_iter()
        .chain([133010, 133000, 133005, 133006, 133008, 133009, 133016])
        .chain(200..=299)
        .collect();
        let soon = [2, 131016, 133004, 131056];
        let person = [
            131021, 131026, 131030, 130497, 131047, 131049, 130472, 131050, 131063, 131062, 137000,
        ];
        let never = [
            100, 131008, 131009, 131048, 131064, 131051, 131052, 131053, 132000, 132001, 132005,
            132007, 132008, 132012, 132018, 132015, 132016, 132068, 132069, 135000, 147001, 147002,
            147003, 147004, 147005,
        ];
        let wait = |ms| FailureKind::Temporary { retry_after_ms: ms };
        let table = [
            (&later[..], FailureKind::Configuration),
            (&soon, wait(None)),
            (&[1], ONCE_MORE),
            (&[131000], TWICE_MORE),
            (&[131057], wait(Some(60_000))),
            (&[4, 80007], FailureKind::Throttled { pause_ms: 60_000 }),
            (&[130429], FailureKind::Throttled { pause_ms: 1_000 }),
            (&[133015], wait(Some(300_000))),
            (&person, FailureKind::Recipient),
            (&never, FailureKind::Permanent),
        ];
        let mut codes = 0;
        for (family, kind) in table {
            for code in family {
                let failure = failure_of_code(*code);
                assert_eq!(failure.kind, kind, "{code}");
                assert!(failure.reason.starts_with(&format!("{code} ")), "{code}");
                assert!(
                    !failure.reason.contains("unknown error")
                        || !failure.reason.ends_with("unknown error"),
                    "{code}"
                );
                let advised = kind != FailureKind::Configuration || failure.advice.is_some();
                assert!(advised, "{code}: an operator must be told what to do");
                codes += 1;
            }
        }
        let listed: Vec<_> = MEANINGS.iter().flat_map(|meaning| meaning.codes).collect();
        let distinct: std::collections::HashSet<_> = listed.iter().collect();
        assert_eq!(
            (listed.len(), distinct.len()),
            (codes, codes),
            "each code once"
        );
        assert_eq!(failure_of_code(999_999).kind, FailureKind::Permanent);
    }
}

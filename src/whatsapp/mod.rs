//! The WhatsApp Cloud API: what comes in through the webhook and how messages go out.
//!
//! [`Client::send`] makes one attempt and says what became of it; when to try again is the
//! outbox's affair. What Meta's error codes mean is one table, `MEANINGS`.

pub mod inspect;
pub mod parts;
pub mod webhook;

use crate::domain::delivery::FailureKind::{Configuration, Permanent, Recipient as Person};
use crate::domain::delivery::{
    Button, ChatMessage, Failure, FailureKind, Link, LinkTarget, Recipient,
};
use crate::domain::id::{MessageId, PhoneNumberId, Secret};
use crate::http::{Agent, AgentSettings, Answer, Broken, Endpoint};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Longest time for one call (R-25): a thread of the outbox is free again after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest `fbtrace_id` that is repeated to the operator, in bytes.
const TRACE_BYTES_MAX: usize = 64;

/// How to reach the Cloud API and on whose behalf.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://graph.facebook.com`, without a trailing slash; plain `http` only to loopback.
    pub api_url: String,
    /// Pinned version of the path, such as `v25.0`.
    pub api_version: String,
    /// The business's number.
    pub phone_number_id: PhoneNumberId,
    /// Token of a system user.
    pub access_token: Secret,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Connections kept open: one per sender thread.
    pub connections: usize,
}

/// The business's number at the Cloud API. Shared between threads.
pub struct Client {
    agent: Agent,
    messages: Endpoint,
    authorization: Secret,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({:?})", self.messages)
    }
}

impl Client {
    /// Fails with a sentence for the operator when the settings cannot work; calls nobody.
    pub fn new(settings: &Settings) -> Result<Client, String> {
        Client::with_timeout(settings, CALL_TIMEOUT)
    }

    fn with_timeout(settings: &Settings, timeout: Duration) -> Result<Client, String> {
        let token = settings.access_token.reveal();
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(
                "whatsapp.access_token is empty or holds spaces or line ends; paste it once more"
                    .to_owned(),
            );
        }
        if !is_version(&settings.api_version) {
            return Err("whatsapp.api_version must look like v25.0".to_owned());
        }
        let messages = Endpoint::parse(&format!(
            "{}/{}/{}/messages",
            settings.api_url.trim_end_matches('/'),
            settings.api_version,
            settings.phone_number_id.as_str()
        ))
        .map_err(|words| format!("whatsapp.api_url {words}"))?;
        let agent = Agent::new(AgentSettings {
            timeout,
            connections: settings.connections,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("whatsapp.ca_file {words}"))?;
        Ok(Client {
            agent,
            messages,
            authorization: Secret::new(format!("Bearer {token}")),
        })
    }

    /// Sends a message once. `tag` (at most 512 characters) comes back in its statuses, so that a
    /// message of unknown fate can be recognised (Meta's contract, sections 3 and 3.7).
    ///
    /// `Ok` means accepted, not delivered; only statuses tell of delivery. Calling twice may send
    /// twice: there is no idempotency key. A message with a link that cannot be sent is a permanent
    /// failure, and nothing leaves.
    pub fn send(
        &self,
        to: &Recipient,
        message: &ChatMessage,
        tag: &str,
    ) -> Result<MessageId, Failure> {
        let answer = self.post(&send_body(to, message, tag)?);
        answer
            .map_err(failure_of_broken)
            .and_then(|answer| accepted_id(&answer))
    }

    fn post(&self, body: &Value) -> Result<Answer, Broken> {
        let headers = [("authorization", self.authorization.reveal())];
        let body = body.to_string();
        self.agent
            .post_json(&self.messages, &headers, body.as_bytes())
    }
}

/// `v`, digits, a dot, digits.
fn is_version(text: &str) -> bool {
    let digits =
        |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.strip_prefix('v')
        .and_then(|version| version.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// The body of a send call (sections 3 and 3.1 to 3.3).
fn send_body(to: &Recipient, message: &ChatMessage, tag: &str) -> Result<Value, Failure> {
    let mut body = json!({
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "biz_opaque_callback_data": tag,
    });
    match to {
        // Without the `+` Meta prepends the country of the business (section 2.7).
        Recipient::Number(wa_id) => body["to"] = format!("+{}", wa_id.as_str()).into(),
        // In `to` its digits would be dialled and reach a stranger (section 2.6).
        Recipient::Bsuid(bsuid) => body["recipient"] = bsuid.as_str().into(),
    }
    if let Some(link) = &message.link {
        body["type"] = "interactive".into();
        body["interactive"] = link_button(message, link)?;
    } else if message.buttons.is_empty() {
        body["type"] = "text".into();
        // A preview would make Meta's crawler open sign-in links (section 3.7).
        body["text"] = json!({"preview_url": false, "body": message.body});
    } else {
        let button = |button: &Button| json!({"type": "reply", "reply": {"id": button.id, "title": button.title}});
        body["type"] = "interactive".into();
        body["interactive"] = json!({
            "type": "button",
            "body": {"text": message.body},
            "action": {"buttons": message.buttons.iter().map(button).collect::<Vec<_>>()},
        });
    }
    Ok(body)
}

/// A link below a message (section 3.2). What Meta would refuse is refused here, and with words
/// that name the reason.
fn link_button(message: &ChatMessage, link: &Link) -> Result<Value, Failure> {
    let bug = |reason: &str| Failure {
        kind: Permanent,
        reason: reason.to_owned(),
        advice: Some("this is a bug of Portero"),
    };
    let LinkTarget::Url(url) = &link.to else {
        return Err(bug("a link that leads nowhere yet"));
    };
    if !message.buttons.is_empty() {
        return Err(bug("a link and reply buttons in one message"));
    }
    let fits = |text: &str, chars_max| (1..=chars_max).contains(&text.chars().count());
    if !fits(&message.body, ChatMessage::BODY_WITH_BUTTONS_CHARS_MAX) {
        return Err(bug("a message with a link is empty or too long"));
    }
    if !fits(&link.title, Button::TITLE_CHARS_MAX) {
        return Err(bug("the title of a link is empty or too long"));
    }
    Ok(json!({
        "type": "cta_url",
        "body": {"text": message.body},
        "action": {"name": "cta_url", "parameters": {"display_text": link.title, "url": url}},
    }))
}

/// Reads the answer to a send call.
fn accepted_id(answer: &Answer) -> Result<MessageId, Failure> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if let Some(error) = body.as_ref().map(|body| &body["error"])
        && error.is_object()
    {
        return Err(failure_of_error(error, answer));
    }
    let id = body.as_ref().and_then(|body| {
        let id = body["messages"][0]["id"].as_str()?;
        MessageId::parse(id).ok()
    });
    match (answer.status, id) {
        (200..=299, Some(id)) => Ok(id),
        (200..=299, None) => Err(Failure {
            kind: FailureKind::Unknown,
            reason: format!("HTTP {} without a message id", answer.status),
            advice: None,
        }),
        // Meta explains itself in JSON; whoever answers otherwise stands in between.
        (status, _) => Err(Failure {
            kind: FailureKind::Temporary {
                retry_after_ms: answer.retry_after_ms,
            },
            reason: format!("HTTP {status} without an explanation by Meta"),
            advice: (status < 500 && status != 429).then_some(
                "something between here and Meta answered: check whatsapp.api_url, proxies and firewalls",
            ),
        }),
    }
}

fn failure_of_broken(broken: Broken) -> Failure {
    Failure {
        kind: if broken.may_have_arrived {
            FailureKind::Unknown
        } else {
            FailureKind::Temporary {
                retry_after_ms: None,
            }
        },
        reason: broken.reason,
        advice: None,
    }
}

/// Meta's number in a field, also when it is written as a text.
fn number_in(value: &Value) -> Option<u32> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u32::try_from(number).ok()
}

/// `{"code", "error_subcode"?, "fbtrace_id"?, …}`: the code decides, not the status (section 5).
/// `message` and `details` may quote what was sent and are not repeated.
fn failure_of_error(error: &Value, answer: &Answer) -> Failure {
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
    if let FailureKind::Temporary { retry_after_ms } = &mut failure.kind {
        *retry_after_ms = (*retry_after_ms).max(answer.retry_after_ms);
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
        400..=499 if status != 408 && status != 429 => FailureKind::Permanent,
        _ => FailureKind::Temporary {
            retry_after_ms: None,
        },
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

const SOON: FailureKind = FailureKind::Temporary {
    retry_after_ms: None,
};
/// Call limits are counted by the hour and maintenance lasts about a minute.
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
        SOON,
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
        SOON,
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
        SLOWLY,
        "call limit of the app",
        "see the app's rate limit in Meta's dashboard",
    ),
    meaning(
        &[80007],
        SLOWLY,
        "call limit of the WhatsApp account",
        "too many management calls; wait",
    ),
    meaning(
        &[130429],
        SOON,
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
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::id::{Bsuid, MappingId, WaId};
    use crate::http::stand_in::{answer, serve, serve_bytes};
    use std::io::Write;

    const TOKEN: &str = "EAAGgeheim";
    const LONG: Duration = Duration::from_secs(10);
    const SHORT: Duration = Duration::from_millis(200);

    fn settings(api_url: &str) -> Settings {
        Settings {
            api_url: api_url.to_owned(),
            api_version: "v25.0".to_owned(),
            phone_number_id: PhoneNumberId::parse("106540352242922").unwrap(),
            access_token: Secret::new(TOKEN),
            ca_pem: None,
            connections: 1,
        }
    }

    fn number() -> Recipient {
        Recipient::Number(WaId::parse("16505551234").unwrap())
    }

    fn message(buttons: &[(&str, &str)]) -> ChatMessage {
        let button = |(id, title): &(&str, &str)| Button {
            id: (*id).to_owned(),
            title: (*title).to_owned(),
        };
        ChatMessage {
            body: "¿Quién es? 👋 \"x\"\nhttps://x.y".to_owned(),
            buttons: buttons.iter().map(button).collect(),
            link: None,
        }
    }

    const SIGN_IN: &str = "https://id.example.com/portero/Wb7Geheim";

    fn linked(body: &str, title: &str) -> ChatMessage {
        ChatMessage {
            body: body.to_owned(),
            buttons: Vec::new(),
            link: Some(Link {
                title: title.to_owned(),
                to: LinkTarget::Url(SIGN_IN.to_owned()),
            }),
        }
    }

    fn body_to(to: &Recipient, message: &ChatMessage, tag: &str) -> Value {
        send_body(to, message, tag).unwrap()
    }

    fn send_to(url: &str, timeout: Duration) -> Result<MessageId, Failure> {
        let client = Client::with_timeout(&settings(url), timeout).unwrap();
        client.send(&number(), &message(&[]), "tag-1")
    }

    fn send_answered(status: &str, content_type: &str, body: &str) -> Result<MessageId, Failure> {
        let (url, _requests) = serve_bytes(answer(status, content_type, body));
        send_to(&url, LONG)
    }

    fn error_answered(status: &str, error: Value) -> Failure {
        let body = json!({"error": error}).to_string();
        send_answered(status, "application/json", &body).unwrap_err()
    }

    const ACCEPTED: &str = r#"{"messaging_product":"whatsapp","contacts":[{"input":"+16505551234","wa_id":"16505551234"}],"messages":[{"id":"wamid.1"}]}"#;

    #[test]
    fn bodies_are_exactly_as_in_the_contract() {
        let text = message(&[]);
        assert_eq!(
            body_to(&number(), &text, "tag-1"),
            json!({
                "messaging_product": "whatsapp", "recipient_type": "individual",
                "to": "+16505551234", "biz_opaque_callback_data": "tag-1",
                "type": "text", "text": {"preview_url": false, "body": text.body},
            })
        );
        let hidden = Recipient::Bsuid(Bsuid::parse("CO.123").unwrap());
        let buttons = message(&[("resend:1", "Otra vez"), ("cancel:1", "Cancelar")]);
        assert_eq!(
            body_to(&hidden, &buttons, "t"),
            json!({
                "messaging_product": "whatsapp", "recipient_type": "individual",
                "recipient": "CO.123", "biz_opaque_callback_data": "t",
                "type": "interactive", "interactive": {
                    "type": "button", "body": {"text": buttons.body},
                    "action": {"buttons": [
                        {"type": "reply", "reply": {"id": "resend:1", "title": "Otra vez"}},
                        {"type": "reply", "reply": {"id": "cancel:1", "title": "Cancelar"}},
                    ]},
                },
            })
        );
    }

    #[test]
    fn a_link_is_sent_as_in_the_contract_to_numbers_and_to_bsuids() {
        let interactive = json!({
            "type": "cta_url", "body": {"text": "Entra aquí"},
            "action": {"name": "cta_url", "parameters": {"display_text": "Entrar", "url": SIGN_IN}},
        });
        let hidden = Recipient::Bsuid(Bsuid::parse("CO.123").unwrap());
        for (to, key, value) in [
            (number(), "to", "+16505551234"),
            (hidden, "recipient", "CO.123"),
        ] {
            assert_eq!(
                body_to(&to, &linked("Entra aquí", "Entrar"), "portero-7"),
                json!({
                    "messaging_product": "whatsapp", "recipient_type": "individual",
                    key: value, "biz_opaque_callback_data": "portero-7",
                    "type": "interactive", "interactive": interactive,
                })
            );
        }
    }

    #[test]
    fn a_link_message_fits_the_schema_with_the_branch_that_it_lacks() {
        let schema = include_str!("../../tests/fixtures/meta/send-message.schema.json");
        let mut schema: Value = serde_json::from_str(schema).unwrap();
        let body = body_to(&number(), &linked("Entra aquí", "Entrar"), "t");
        // The published file does not know links: section 3.2 is written into it.
        assert!(!fits(&body, &schema["$defs"]["Message"], &schema));
        let kinds = &mut schema["$defs"]["InteractiveObject"]["properties"]["type"]["enum"];
        kinds.as_array_mut().unwrap().push("cta_url".into());
        let actions = &mut schema["$defs"]["ActionObject"]["oneOf"];
        actions.as_array_mut().unwrap().push(json!({
            "required": ["name", "parameters"],
            "properties": {
                "name": {"enum": ["cta_url"]},
                "parameters": {
                    "type": "object", "required": ["display_text", "url"],
                    "properties": {
                        "display_text": {"type": "string", "minLength": 1, "maxLength": 20},
                        "url": {"type": "string", "minLength": 1},
                    },
                },
            },
        }));
        let message = &schema["$defs"]["Message"];
        let longest = linked(&"ñ".repeat(1_024), &"ñ".repeat(20));
        for link in [linked("Entra aquí", "Entrar"), longest] {
            let body = body_to(&number(), &link, "t");
            assert!(fits(&body, message, &schema), "{body}");
        }
        let mut long = body.clone();
        long["interactive"]["body"]["text"] = "ñ".repeat(1_025).into();
        assert!(!fits(&long, message, &schema), "the body is looked at");
        let mut long = body;
        long["interactive"]["action"]["parameters"]["display_text"] = "ñ".repeat(21).into();
        assert!(!fits(&long, message, &schema), "the title is looked at");
    }

    #[test]
    fn a_link_message_that_cannot_be_sent_reaches_nobody() {
        let mut unready = linked("x", "Entrar");
        unready.link.as_mut().unwrap().to = LinkTarget::SignIn(MappingId([7; 16]));
        let mut mixed = linked("x", "Entrar");
        mixed.buttons = message(&[("a", "A")]).buttons;
        let (url, requests) = serve_bytes(answer("200 OK", "application/json", ACCEPTED));
        let client = Client::with_timeout(&settings(&url), LONG).unwrap();
        for (unsendable, reason) in [
            (unready, "a link that leads nowhere yet"),
            (mixed, "a link and reply buttons in one message"),
            (
                linked(&"ñ".repeat(1_025), "Entrar"),
                "a message with a link is empty or too long",
            ),
            (
                linked("", "Entrar"),
                "a message with a link is empty or too long",
            ),
            (
                linked("x", &"ñ".repeat(21)),
                "the title of a link is empty or too long",
            ),
            (linked("x", ""), "the title of a link is empty or too long"),
        ] {
            let failure = client.send(&number(), &unsendable, "t").unwrap_err();
            assert_eq!((failure.kind, failure.reason.as_str()), (Permanent, reason));
            let told = format!("{failure:?} {unsendable:?} {:?}", unsendable.link);
            assert!(!told.contains("Geheim"), "{told}");
        }
        assert!(requests.try_recv().is_err(), "nothing has left");
        client.send(&number(), &linked("x", "y"), "t").unwrap();
    }

    #[test]
    fn whatever_becomes_of_a_link_message_nobody_is_told_where_it_leads() {
        let quoting = json!({"error": {
            "code": 131009, "message": SIGN_IN, "fbtrace_id": "A1",
            "error_data": {"details": format!("url {SIGN_IN} is invalid")},
        }});
        for (status, body) in [
            ("400 Bad Request", quoting.to_string()),
            ("500 Internal Server Error", SIGN_IN.to_owned()),
            ("200 OK", SIGN_IN.to_owned()),
        ] {
            let (url, _requests) = serve_bytes(answer(status, "application/json", &body));
            let client = Client::with_timeout(&settings(&url), LONG).unwrap();
            let failure = client
                .send(&number(), &linked("x", "Entrar"), "t")
                .unwrap_err();
            let told = format!("{failure:?} {client:?}");
            assert!(!told.contains("Geheim"), "{told}");
        }
    }

    #[test]
    fn bodies_fit_the_published_schema() {
        let schema = include_str!("../../tests/fixtures/meta/send-message.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let three = [("a", "A"), ("b", "B"), ("c", "C")];
        for buttons in [&[][..], &three[..1], &three] {
            let body = body_to(&number(), &message(buttons), "t");
            assert!(fits(&body, &schema["$defs"]["Message"], &schema), "{body}");
            // The schema is older than BSUIDs and asks for `to`.
            let mut hidden = body;
            hidden.as_object_mut().unwrap().remove("to");
            assert!(!fits(&hidden, &schema["$defs"]["Message"], &schema));
        }
        let four = [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D")];
        let body = body_to(&number(), &message(&four), "t");
        assert!(!fits(&body, &schema["$defs"]["Message"], &schema));
        let body = body_to(
            &number(),
            &message(&[("a", "longer than twenty characters")]),
            "t",
        );
        assert!(!fits(&body, &schema["$defs"]["Message"], &schema));
    }

    /// The part of JSON Schema that the published file uses, without `additionalProperties`: the
    /// file puts it beside `allOf`, where it would refuse every message.
    fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
        let list = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.strip_prefix("#/$defs/").unwrap();
            return fits(value, &root["$defs"][name], root);
        }
        let all_of = list("allOf").iter().all(|part| fits(value, part, root));
        let one_of = list("oneOf");
        let fitting = one_of.iter().filter(|part| fits(value, part, root)).count();
        let one_of = one_of.is_empty() || fitting == 1;
        let known = list("enum");
        let known = known.is_empty() || known.contains(value);
        let of_type = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("boolean") => value.is_boolean(),
            Some(other) => panic!("{other}"),
            None => true,
        };
        let within = |length: usize, least: &str, most: &str| {
            let bound = |key: &str, default| schema[key].as_u64().unwrap_or(default);
            (bound(least, 0)..=bound(most, u64::MAX)).contains(&(length as u64))
        };
        let inside = match value {
            Value::String(text) => within(text.chars().count(), "minLength", "maxLength"),
            Value::Array(elements) => {
                within(elements.len(), "minItems", "maxItems")
                    && (schema["items"].is_null()
                        || elements.iter().all(|e| fits(e, &schema["items"], root)))
            }
            Value::Object(fields) => {
                let required = list("required");
                required
                    .iter()
                    .all(|key| fields.contains_key(key.as_str().unwrap()))
                    && fields.iter().all(|(key, value)| {
                        let property = &schema["properties"][key];
                        property.is_null() || fits(value, property, root)
                    })
            }
            _ => true,
        };
        all_of && one_of && known && of_type && inside
    }

    #[test]
    fn an_accepted_message_has_metas_id_and_the_call_has_the_token() {
        let (url, requests) = serve_bytes(answer("200 OK", "application/json", ACCEPTED));
        // An old habit of configuration files: the trailing slash.
        assert_eq!(
            send_to(&format!("{url}/"), LONG).unwrap().as_str(),
            "wamid.1"
        );
        let request = requests.recv().unwrap();
        assert!(request.starts_with("POST /v25.0/106540352242922/messages HTTP/1.1\r\n"));
        assert!(
            request.contains("authorization: Bearer EAAGgeheim\r\n"),
            "{request}"
        );
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body, body_to(&number(), &message(&[]), "tag-1"));
    }

    #[test]
    fn every_code_of_the_contract_has_its_meaning() {
        let later: Vec<u32> = [
            0, 190, 3, 10, 131005, 33, 131031, 368, 131037, 131042, 131045,
        ]
        .into_iter()
        .chain([133010, 133000, 133005, 133006, 133008, 133009, 133016])
        .chain(200..=299)
        .collect();
        let soon = [1, 2, 131000, 131016, 133004, 130429, 131056];
        let slowly = [131057, 4, 80007];
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
            (&slowly, wait(Some(60_000))),
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

    #[test]
    fn the_code_decides_and_not_the_status() {
        let failure = error_answered("500 Internal Server Error", json!({"code": 131026}));
        assert_eq!(failure.kind, FailureKind::Recipient);
        let failure = error_answered("200 OK", json!({"code": 190}));
        assert_eq!(failure.kind, FailureKind::Configuration);
        let failure = error_answered("400 Bad Request", json!({"code": "130429"}));
        assert_eq!(failure.kind, SOON);
        let failure = error_answered("400 Bad Request", json!({"code": 100, "error_subcode": 33}));
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert!(failure.reason.starts_with("33 "), "{}", failure.reason);
    }

    #[test]
    fn an_unknown_code_is_judged_by_its_status() {
        let kind = |status| error_answered(status, json!({"code": 999_999})).kind;
        assert_eq!(kind("400 Bad Request"), FailureKind::Permanent);
        assert_eq!(kind("401 Unauthorized"), FailureKind::Configuration);
        assert_eq!(kind("403 Forbidden"), FailureKind::Configuration);
        assert_eq!(kind("429 Too Many Requests"), SOON);
        assert_eq!(kind("500 Internal Server Error"), SOON);
        let without = error_answered("503 Service Unavailable", json!({"message": "x"}));
        assert_eq!(without.kind, SOON);
    }

    #[test]
    fn a_failure_names_the_trace_and_nothing_that_meta_quotes() {
        let failure = error_answered(
            "401 Unauthorized",
            json!({"message": format!("Error validating {TOKEN} for +16505551234"), "type": "OAuthException",
                   "code": 190, "error_data": {"details": "+16505551234"}, "fbtrace_id": "AbC_1-2"}),
        );
        assert_eq!(
            failure.reason,
            "190 access token expired or revoked (trace AbC_1-2)"
        );
        let odd = error_answered("400 Bad Request", json!({"code": 2, "fbtrace_id": "a\nb"}));
        assert_eq!(odd.reason, "2 temporary error at Meta");
    }

    #[test]
    fn a_pause_that_meta_asks_for_is_kept() {
        let pause = |code: u32, header: &str| {
            let body = json!({"error": {"code": code}}).to_string();
            let (url, _requests) = serve_bytes(format!(
                "HTTP/1.1 400 Bad Request\r\nretry-after: {header}\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
            send_to(&url, LONG).unwrap_err().kind
        };
        let wait = |ms| FailureKind::Temporary {
            retry_after_ms: Some(ms),
        };
        assert_eq!(pause(130429, "7"), wait(7_000));
        assert_eq!(pause(4, "7"), wait(60_000), "the longer of both");
        assert_eq!(pause(2, "999999999"), wait(crate::http::RETRY_AFTER_MS_MAX));
        assert_eq!(pause(131026, "7"), FailureKind::Recipient);
    }

    #[test]
    fn whoever_answers_in_metas_place_is_waited_for() {
        let html = "<html>Bad Gateway</html>";
        for status in [
            "502 Bad Gateway",
            "503 Unavailable",
            "404 Not Found",
            "407 Proxy",
            "302 Found",
        ] {
            let failure = send_answered(status, "text/html", html).unwrap_err();
            assert_eq!(failure.kind, SOON, "{status}");
            assert_eq!(
                failure.advice.is_some(),
                !status.starts_with('5'),
                "{status}"
            );
        }
    }

    #[test]
    fn success_without_a_message_id_is_of_unknown_fate() {
        for body in [
            "",
            "<html>ok</html>",
            "{}",
            "[]",
            "7",
            r#"{"messages":[]}"#,
            r#"{"messages":[{"id":""}]}"#,
            r#"{"messages":{"id":"wamid.1"}}"#,
            r#"{"error":"x"}"#,
        ] {
            let failure = send_answered("200 OK", "application/json", body).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unknown, "{body}");
        }
    }

    #[test]
    fn what_breaks_after_the_request_left_is_of_unknown_fate() {
        let (hanging, _requests) = serve(|_, _| std::thread::park());
        let (resetting, _requests) = serve(|_, stream| {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
        let (dripping, _requests) = serve(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
            while stream.write_all(b"{").is_ok() {
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        let (endless, _requests) = serve(|_, stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n");
            while stream.write_all(&[b' '; 65_536]).is_ok() {}
        });
        for (url, timeout) in [
            (hanging, SHORT),
            (resetting, LONG),
            (dripping, SHORT),
            (endless, LONG),
        ] {
            let failure = send_to(&url, timeout).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unknown, "{failure:?}");
            assert!(!format!("{failure:?}").contains(TOKEN));
        }
    }

    #[test]
    fn without_a_connection_it_may_work_later() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(send_to(&url, LONG).unwrap_err().kind, SOON);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_without_being_quoted() {
        let refused = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings("https://graph.facebook.com");
            change(&mut settings);
            let sentence = Client::new(&settings).unwrap_err();
            assert!(!sentence.contains("geheim"), "{sentence}");
        };
        refused(&|s| s.api_url = "http://graph.facebook.com".to_owned());
        refused(&|s| s.api_url = "graph.facebook.com".to_owned());
        refused(&|s| s.access_token = Secret::new(""));
        refused(&|s| s.access_token = Secret::new("geheim\n"));
        refused(&|s| s.access_token = Secret::new("Bearer geheim"));
        for version in ["", "25.0", "v25", "v25.", "v25.0/x", "v.0", "latest"] {
            refused(&|s| s.api_version = version.to_owned());
        }
        refused(&|s| s.ca_pem = Some(b"geheim".to_vec()));
        let client = Client::new(&settings("https://graph.facebook.com")).unwrap();
        assert_eq!(
            format!("{client:?}"),
            "Client(Endpoint(graph.facebook.com))"
        );
    }
}

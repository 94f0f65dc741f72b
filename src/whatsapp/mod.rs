//! The WhatsApp Cloud API: what comes in through the webhook and how messages go out.
//!
//! [`Client::send`] makes one attempt and says what became of it; when to try again is the
//! outbox's affair. What Meta's error codes mean is one table, in `errors`.

mod errors;
pub mod inspect;
mod json;
pub mod parts;
pub mod signature;
pub mod webhook;

use crate::domain::delivery::{Button, ChatMessage, Link, LinkTarget, Recipient};
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::id::{MessageId, PhoneNumberId};
use crate::domain::secret::Secret;
use crate::http::{Agent, AgentSettings, Answer, Broken, Endpoint};
pub use errors::failure_of_code;
use errors::failure_of_error;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Longest time for one call: a thread of the outbox is free again after this.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

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
        kind: FailureKind::Permanent,
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
            kind: match status {
                429 => errors::too_fast(answer.retry_after_ms),
                // Whoever stands in between may have passed it on before the answer was lost.
                500..=599 if status != 503 => FailureKind::Unknown,
                _ => FailureKind::Temporary {
                    retry_after_ms: answer.retry_after_ms,
                },
            },
            reason: format!("HTTP {status} without an explanation by Meta"),
            advice: (status < 500 && status != 429).then_some(
                "something between here and Meta answered: check whatsapp.api_url, proxies and firewalls",
            ),
        }),
    }
}

fn failure_of_broken(broken: Broken) -> Failure {
    const WAY_OUT: &str = "check this machine's way out: its name server, proxies and firewalls, and whatsapp.api_url";
    const CERTIFICATE: &str = "whoever answers there has a certificate that is not trusted; whatsapp.ca_file names another authority";
    let (kind, advice) = match (broken.may_have_arrived, broken.certificate_refused) {
        (true, _) => (FailureKind::Unknown, None),
        (false, true) => (FailureKind::Unreachable, Some(CERTIFICATE)),
        (false, false) => (FailureKind::Unreachable, Some(WAY_OUT)),
    };
    Failure {
        kind,
        reason: format!("Meta gave no answer: {}", broken.reason),
        advice,
    }
}

#[cfg(test)]
mod tests;

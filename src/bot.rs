//! The bot behind Portero and whoever is told events, as HTTP servers: what they get, and what
//! their answers mean.
//!
//! The bot sees what it would see from Meta: the same bytes, under `X-Hub-Signature-256`. Beside
//! them stand `Portero-Identity` with a message, and the headers of Standard Webhooks, under which
//! events come too.

use crate::domain::delivery::SignedBody;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::http::standard_webhooks::SigningSecret;
use crate::http::{Agent, AgentSettings, Answer, Broken, Endpoint};
use std::time::Duration;

/// Longest time that a bot may be given for one request: many ask a language model before they
/// answer.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// How the bot is reached.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https`, or `http` to loopback.
    pub url: String,
    /// Signs requests per Standard Webhooks as well, when set: `whsec_` and base64.
    pub secret: Option<Secret>,
    /// Longest time for one request, connection included.
    pub timeout: Duration,
    /// Connections kept open: one per thread that hands on.
    pub connections: usize,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
}

/// The bot. Shared by the threads that hand on.
#[derive(Debug)]
pub struct Bot {
    agent: Agent,
    url: Endpoint,
    secret: Option<SigningSecret>,
}

impl Bot {
    /// Checks the settings; connects to nothing. `Err` is a sentence for the operator.
    pub fn new(settings: &Settings) -> Result<Bot, String> {
        let url = Endpoint::parse(&settings.url).map_err(|words| format!("bot.url {words}"))?;
        let secret = (settings.secret.as_ref())
            .map(|secret| SigningSecret::parse(secret.reveal()))
            .transpose()
            .map_err(|words| format!("bot.secret {words}"))?;
        if settings.timeout.is_zero() || settings.timeout > TIMEOUT_MAX {
            return Err(format!(
                "bot.timeout_seconds must be more than 0 and at most {}",
                TIMEOUT_MAX.as_secs()
            ));
        }
        let agent = Agent::new(AgentSettings {
            timeout: settings.timeout,
            connections: settings.connections,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("bot.ca_file {words}"))?;
        Ok(Bot { agent, url, secret })
    }

    /// Gives the bot a webhook body. `id` names it, on every try.
    pub fn hand_on(
        &self,
        id: &str,
        body: &SignedBody,
        identity: Option<&Secret>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let timestamp = now.seconds().to_string();
        let mut headers = vec![
            ("x-hub-signature-256", body.signature.as_str()),
            ("webhook-id", id),
            ("webhook-timestamp", &timestamp),
        ];
        let signature =
            (self.secret.as_ref()).map(|secret| secret.signature(id, &timestamp, &body.bytes));
        headers.extend(
            signature
                .as_deref()
                .map(|value| ("webhook-signature", value)),
        );
        headers.extend(identity.map(|identity| ("portero-identity", identity.reveal())));
        match self.agent.post_for_status(&self.url, &headers, &body.bytes) {
            Ok(answer) => judge("the bot", &answer),
            Err(broken) => Err(no_answer("the bot", &broken)),
        }
    }
}

/// How whoever is told events is reached.
#[derive(Clone, Debug)]
pub struct EventSettings {
    /// `https`, or `http` to loopback.
    pub url: String,
    /// Signs events per Standard Webhooks: `whsec_` and base64.
    pub secret: Secret,
    /// Longest time for one event, connection included.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
}

/// Whoever is told events. Shared by the threads that tell.
#[derive(Debug)]
pub struct EventReceiver {
    agent: Agent,
    url: Endpoint,
    secret: SigningSecret,
}

impl EventReceiver {
    /// Checks the settings; connects to nothing. `connections` are kept open, one per thread that
    /// tells. `Err` is a sentence for the operator.
    pub fn new(settings: &EventSettings, connections: usize) -> Result<EventReceiver, String> {
        let url = Endpoint::parse(&settings.url).map_err(|words| format!("events.url {words}"))?;
        let secret = SigningSecret::parse(settings.secret.reveal())
            .map_err(|words| format!("events.secret {words}"))?;
        let agent = Agent::new(AgentSettings {
            timeout: settings.timeout,
            connections,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("events.ca_file {words}"))?;
        Ok(EventReceiver { agent, url, secret })
    }

    /// Tells an event. `id` names it, on every try.
    pub fn tell(&self, id: &str, json: &str, now: Timestamp) -> Result<(), Failure> {
        let timestamp = now.seconds().to_string();
        let signature = self.secret.signature(id, &timestamp, json.as_bytes());
        let headers = [
            ("webhook-id", id),
            ("webhook-timestamp", &timestamp),
            ("webhook-signature", &signature),
        ];
        match self
            .agent
            .post_for_status(&self.url, &headers, json.as_bytes())
        {
            Ok(answer) => judge("the receiver of events", &answer),
            Err(broken) => Err(no_answer("the receiver of events", &broken)),
        }
    }
}

/// Meta takes 200 alone for a yes; other servers that mean well say 201, 202 or 204. Whatever else
/// is said concerns this request alone: a bot may want less of one person.
fn judge(who: &str, answer: &Answer) -> Result<(), Failure> {
    let Answer {
        status,
        retry_after_ms,
        ..
    } = *answer;
    let (kind, advice) = match status {
        200..=299 => return Ok(()),
        300..=399 => (
            FailureKind::Temporary { retry_after_ms },
            Some("the address leads to a redirect; write where it leads to"),
        ),
        401 | 403 => (
            FailureKind::Temporary { retry_after_ms },
            Some(
                "the signature was refused: a bot has to know the app secret in whatsapp.app_secrets, a receiver of events the one in events.secret",
            ),
        ),
        404 | 405 => (
            FailureKind::Temporary { retry_after_ms },
            Some(
                "nothing answers at that address; bot.url is the one that was the callback URL at Meta",
            ),
        ),
        _ => (FailureKind::Temporary { retry_after_ms }, None),
    };
    Err(Failure {
        kind,
        reason: format!("{who} answered {status}"),
        advice,
    })
}

fn no_answer(who: &str, broken: &Broken) -> Failure {
    let kind = if broken.may_have_arrived {
        // This message may be what it stumbles over.
        FailureKind::Unknown
    } else {
        FailureKind::Unreachable
    };
    let advice = broken
        .certificate_refused
        .then_some("its certificate is not trusted; ca_file names another authority");
    Failure {
        kind,
        reason: format!("{who} gave no answer: {}", broken.reason),
        advice,
    }
}

//! What Meta says about the token, the number, the account and the app, for an operator who looks
//! for a mistake (Meta's contract, sections 5 and 8): fetched here, judged elsewhere.

use super::errors::{failure_of_error, number_in};
use super::{CALL_TIMEOUT, Settings};
use crate::domain::secret::Secret;
use crate::http::{Agent, AgentSettings, Answer, Broken, Endpoint, Method};
use serde_json::{Value, json};
use std::fmt;

/// Fields of a number that tell how it stands (section 5, Diagnostics).
const NUMBER_FIELDS: &str = "status,display_phone_number,name_status,code_verification_status,\
quality_rating,throughput,platform_type,account_mode,webhook_configuration";

/// Longest id that goes into an address: ids of Meta have about sixteen digits.
const ID_BYTES_MAX: usize = 40;

/// What can be asked; ids are Meta's and made of digits.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// The token about itself: its kind, end and scopes.
    Token,
    /// How the number stands.
    Number,
    /// Whether number, account, portfolio and app may send.
    Health,
    /// The numbers of this account.
    Numbers(&'a str),
    /// The apps that get the webhooks of this account.
    SubscribedApps(&'a str),
    /// Where this app wants its webhooks; asked as the app, with this app secret.
    Subscriptions(&'a str, &'a Secret),
    /// The settings of the number.
    NumberSettings,
}

/// What can be put right.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The app of the token gets the webhooks of this account (section 8.6).
    Subscribe(&'a str),
    /// Webhooks tell when a person's account may be in other hands (section 4).
    IdentityCheck,
}

/// An answer, and what Meta's clock said with it.
#[derive(Clone)]
pub struct Told {
    /// `Date`, in seconds since the Unix epoch.
    pub date: Option<u64>,
    /// What was said.
    pub said: Said,
}

/// What came back.
#[derive(Clone)]
pub enum Said {
    /// A JSON object without an error.
    Yes(Value),
    /// An error of Meta's.
    No(No),
    /// Something that is not from Meta, with this HTTP status.
    Odd(u16),
    /// No answer.
    Nothing {
        /// Whether the other side's certificate was refused.
        certificate_refused: bool,
        /// What happened.
        reason: String,
    },
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(..)")
    }
}

/// An error of Meta's. `Debug` shows nothing of Meta's own words.
#[derive(Clone)]
pub struct No {
    /// Meta's code, 0 where there is none.
    pub code: u32,
    /// In our words.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<&'static str>,
    /// Meta's own words, to be read and never shown: they may quote anything.
    message: String,
}

impl No {
    /// Whether Meta says that the object is one of this kind, for example
    /// `WhatsAppBusinessAccount`: the answer to a question for a field that the kind has not.
    pub fn is_about_node(&self, kind: &str) -> bool {
        self.message.contains(&format!("node type ({kind})"))
    }

    /// Whether Meta's words mention one of these, in lower case.
    pub fn mentions(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }
}

/// Asks Meta with the configured token.
pub struct Inspector {
    agent: Agent,
    base: String,
    number: String,
    token: Secret,
}

impl Inspector {
    /// Fails with a sentence for the operator when the settings cannot work; calls nobody.
    pub fn new(settings: &Settings) -> Result<Inspector, String> {
        let base = format!(
            "{}/{}",
            settings.api_url.trim_end_matches('/'),
            settings.api_version
        );
        Endpoint::parse(&base).map_err(|words| format!("whatsapp.api_url {words}"))?;
        let agent = Agent::new(AgentSettings {
            timeout: CALL_TIMEOUT,
            connections: 1,
            ca_pem: settings.ca_pem.as_deref(),
        })
        .map_err(|words| format!("whatsapp.ca_file {words}"))?;
        Ok(Inspector {
            agent,
            base,
            number: settings.phone_number_id.as_str().to_owned(),
            token: settings.access_token.clone(),
        })
    }

    /// Asks once.
    pub fn ask(&self, ask: Ask<'_>) -> Told {
        let number = &self.number;
        match ask {
            Ask::Token => {
                let asked = form_urlencoded::byte_serialize(self.token.reveal().as_bytes());
                let path = format!("debug_token?input_token={}", asked.collect::<String>());
                self.get(&path, &self.token)
            }
            Ask::Number => self.get(&format!("{number}?fields={NUMBER_FIELDS}"), &self.token),
            Ask::Health => self.get(&format!("{number}?fields=health_status"), &self.token),
            Ask::NumberSettings => self.get(&format!("{number}/settings"), &self.token),
            Ask::Numbers(account) => {
                self.get(&format!("{account}/phone_numbers?fields=id"), &self.token)
            }
            Ask::SubscribedApps(account) => {
                self.get(&format!("{account}/subscribed_apps"), &self.token)
            }
            Ask::Subscriptions(app, secret) => {
                // The token of the app itself (section 8.5).
                let token = Secret::new(format!("{app}|{}", secret.reveal()));
                self.get(&format!("{app}/subscriptions"), &token)
            }
        }
    }

    /// Asks for a change once; `Said::Yes` says that it was made.
    pub fn change(&self, change: Change<'_>) -> Told {
        let (path, body) = match change {
            // Without a body: an address of the account's own is taken away (section 1.5).
            Change::Subscribe(account) => (format!("{account}/subscribed_apps"), String::new()),
            Change::IdentityCheck => (
                format!("{}/settings", self.number),
                json!({"user_identity_change": {"enable_identity_key_check": true}}).to_string(),
            ),
        };
        self.call(&path, &self.token, |agent, to, headers| {
            agent.send(Method::Post, to, headers, body.as_bytes())
        })
    }

    fn get(&self, path: &str, token: &Secret) -> Told {
        self.call(path, token, Agent::get)
    }

    fn call(
        &self,
        path: &str,
        token: &Secret,
        send: impl Fn(&Agent, &Endpoint, &[(&str, &str)]) -> Result<Answer, Broken>,
    ) -> Told {
        let Ok(endpoint) = Endpoint::parse(&format!("{}/{path}", self.base)) else {
            // Only what Meta named an id could do that.
            return Told {
                date: None,
                said: Said::Odd(200),
            };
        };
        let authorization = Secret::new(format!("Bearer {}", token.reveal()));
        let headers = [("authorization", authorization.reveal())];
        match send(&self.agent, &endpoint, &headers) {
            Ok(answer) => read(&answer),
            Err(broken) => Told {
                date: None,
                said: Said::Nothing {
                    certificate_refused: broken.certificate_refused,
                    reason: broken.reason,
                },
            },
        }
    }
}

/// Reads an answer as Meta gives it.
pub fn read(answer: &Answer) -> Told {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let said = match body {
        Some(body) if body["error"].is_object() => Said::No(read_error(&body["error"], answer)),
        Some(body) if body.is_object() && (200..=299).contains(&answer.status) => Said::Yes(body),
        _ => Said::Odd(answer.status),
    };
    Told {
        date: answer.date,
        said,
    }
}

fn read_error(error: &Value, answer: &Answer) -> No {
    let failure = failure_of_error(error, answer);
    No {
        code: number_in(&error["code"]).unwrap_or(0),
        reason: failure.reason,
        advice: failure.advice,
        message: error["message"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Meta's id in a field, as a text or a number; nothing that could not stand in an address.
pub fn id_in(value: &Value) -> Option<String> {
    let id = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let good = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit());
    good.then_some(id)
}

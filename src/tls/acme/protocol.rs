//! The conversation with an authority (RFC 8555): every request signed, every answer judged, every
//! wait bounded. What an authority says is shown to the operator, cut short and without controls.

use super::{Failure, POLL_EVERY, POLL_PAUSE_MAX, POLLS_MAX, Pause, Proofs, Way};
use crate::domain::secret::Secret;
use crate::http::{Agent, Answer, Endpoint};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::rand::SystemRandom;
use ring::signature::{EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Times that a request is signed again because the authority wants another nonce (section 6.5).
const NONCES_MAX: usize = 10;

/// Longest explanation of an authority's that is repeated, in characters.
const DETAIL_CHARS_MAX: usize = 300;

/// Names of a kind of trouble (section 6.7).
const TROUBLE: &str = "urn:ietf:params:acme:error:";

/// What is sent of a request (RFC 7515, section 7.2.2).
const JOSE: [(&str, &str); 1] = [("content-type", "application/jose+json")];

/// Who we are to the authority.
pub(super) struct Account<'a> {
    pub email: Option<&'a str>,
    pub binding: Option<&'a (String, Secret)>,
}

/// A certificate in the making.
pub(super) struct Order {
    url: String,
    finalize: String,
    pub authorizations: Vec<String>,
}

/// One conversation.
pub(super) struct Client<'a> {
    agent: &'a Agent,
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// The public half, its members in the order of RFC 7638.
    jwk: Value,
    new_nonce: String,
    new_account: String,
    new_order: String,
    terms: Option<String>,
    nonce: Option<String>,
    /// The address of the account, once there is one.
    account: Option<String>,
}

/// What is said about itself by who signs.
enum Signer {
    Key,
    Account,
}

impl<'a> Client<'a> {
    /// Asks what the authority offers.
    pub(super) fn new(
        agent: &'a Agent,
        directory: &Endpoint,
        key: EcdsaKeyPair,
    ) -> Result<Client<'a>, Failure> {
        let answer = agent
            .get(directory, &[])
            .map_err(|broken| unreached(&broken))?;
        let offers = json_of(&answer).filter(|_| answer.status == 200);
        let offer = |name: &str| {
            let url = offers.as_ref().and_then(|offers| offers[name].as_str());
            url.map(str::to_owned).ok_or_else(|| Failure {
                counts: false,
                ..Failure::new(format!("tls.acme_directory does not lead to an authority's directory (status {}, no {name}); look at the address", answer.status))
            })
        };
        // 4, x and y (SEC 1, section 2.3.3).
        let point = key.public_key().as_ref();
        let half = point.len() / 2;
        Ok(Client {
            agent,
            jwk: json!({
                "crv": "P-256",
                "kty": "EC",
                "x": base64url(&point[1..=half]),
                "y": base64url(&point[half + 1..]),
            }),
            key,
            random: SystemRandom::new(),
            new_nonce: offer("newNonce")?,
            new_account: offer("newAccount")?,
            new_order: offer("newOrder")?,
            terms: (offers.as_ref())
                .and_then(|offers| offers["meta"]["termsOfService"].as_str())
                .map(str::to_owned),
            nonce: None,
            account: None,
        })
    }

    /// Makes the account of our key, or finds it.
    pub(super) fn sign_up(&mut self, account: &Account<'_>) -> Result<(), Failure> {
        let url = self.new_account.clone();
        let mut wish = json!({ "termsOfServiceAgreed": true });
        if let Some(email) = account.email {
            wish["contact"] = json!([format!("mailto:{email}")]);
        }
        if let Some((name, key)) = account.binding {
            wish["externalAccountBinding"] = self.binding(name, key, &url)?;
        }
        let (answer, _) = self.call(&url, Some(&wish), &Signer::Key)?;
        let address = location(&answer).ok_or_else(|| nonsense("an account without an address"))?;
        self.account = Some(address);
        tracing::debug!(terms = self.terms, "the authority knows the account");
        Ok(())
    }

    /// Says that an account known elsewhere is the one of our key (section 7.3.4).
    fn binding(&self, name: &str, key: &Secret, url: &str) -> Result<Value, Failure> {
        let unusable = || Failure::new("tls.acme_account_key is not base64url");
        let bytes = URL_SAFE_NO_PAD
            .decode(key.reveal().trim_end_matches('='))
            .map_err(|_| unusable())?;
        let protected = json!({ "alg": "HS256", "kid": name, "url": url });
        let protected = base64url(protected.to_string().as_bytes());
        let payload = base64url(self.jwk.to_string().as_bytes());
        let mut mac = Hmac::<Sha256>::new_from_slice(&bytes).map_err(|_| unusable())?;
        mac.update(format!("{protected}.{payload}").as_bytes());
        let signature = base64url(&mac.finalize().into_bytes());
        Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }

    /// Begins a certificate for these names.
    pub(super) fn order(&mut self, names: &[String]) -> Result<Order, Failure> {
        let identifiers: Vec<Value> = names
            .iter()
            .map(|name| json!({ "type": "dns", "value": name }))
            .collect();
        let url = self.new_order.clone();
        let wish = json!({ "identifiers": identifiers });
        let (answer, order) = self.call(&url, Some(&wish), &Signer::Account)?;
        let authorizations = order["authorizations"].as_array();
        let authorizations = authorizations.map(|all| {
            let urls = all.iter().filter_map(|url| url.as_str().map(str::to_owned));
            urls.take(names.len() + 1).collect()
        });
        match (
            location(&answer),
            order["finalize"].as_str(),
            authorizations,
        ) {
            (Some(url), Some(finalize), Some(authorizations)) => Ok(Order {
                url,
                finalize: finalize.to_owned(),
                authorizations,
            }),
            _ => Err(nonsense("an order that is none")),
        }
    }

    /// Shows the authority that a name is ours, unless it knows.
    pub(super) fn prove(
        &mut self,
        authorization: &str,
        way: Way,
        proofs: &Proofs<'_>,
        pause: &Pause<'_>,
    ) -> Result<(), Failure> {
        let (_, state) = self.call(authorization, None, &Signer::Account)?;
        if state["status"] == "valid" {
            return Ok(());
        }
        let name = state["identifier"]["value"]
            .as_str()
            .unwrap_or("")
            .to_owned();
        let offered = state["challenges"].as_array().cloned().unwrap_or_default();
        let of = |way: Way| {
            offered
                .iter()
                .find(|challenge| challenge["type"] == way.name())
        };
        let found = of(way).map(|challenge| (challenge, way));
        let found = found.or_else(|| Some((of(Way::Handshake)?, Way::Handshake)));
        let Some((challenge, way)) = found else {
            return Err(Failure::new(format!(
                "the authority does not offer {} for {name}; use another authority (tls.acme_directory) or a certificate in files",
                way.name()
            )));
        };
        let (url, token) = match (challenge["url"].as_str(), challenge["token"].as_str()) {
            (Some(url), Some(token)) if is_token(token) => (url, token),
            _ => return Err(nonsense("a challenge that is none")),
        };
        let thumbprint = base64url(&Sha256::digest(self.jwk.to_string().as_bytes()));
        let answer = format!("{token}.{thumbprint}");
        match way {
            Way::Http => proofs.show_by_http(token, &answer),
            Way::Handshake => proofs
                .show_in_handshake(&name, &answer)
                .ok_or_else(|| nonsense("a name that cannot stand in a certificate"))?,
        }
        self.call(url, Some(&json!({})), &Signer::Account)?;
        let state = self.poll(authorization, &["pending", "processing"], pause)?;
        if state["status"] == "valid" {
            return Ok(());
        }
        let challenges = state["challenges"].as_array();
        let trouble = challenges.into_iter().flatten().find_map(|challenge| {
            let error = &challenge["error"];
            error.is_object().then(|| told(error))
        });
        let (kind, detail) = trouble.unwrap_or_default();
        Err(Failure::new(refused_name(&name, way, &kind, &detail)))
    }

    /// Has the certificate made, and fetches its chain in PEM.
    pub(super) fn finish(
        &mut self,
        order: &Order,
        request: &[u8],
        pause: &Pause<'_>,
    ) -> Result<String, Failure> {
        // The last of the names may have been settled a moment before the order is.
        self.poll(&order.url, &["pending"], pause)?;
        let wish = json!({ "csr": base64url(request) });
        self.call(&order.finalize, Some(&wish), &Signer::Account)?;
        let state = self.poll(&order.url, &["pending", "ready", "processing"], pause)?;
        let Some(certificate) = state["certificate"].as_str() else {
            let (kind, detail) = told(&state["error"]);
            return Err(Failure::new(format!(
                "the authority made no certificate ({kind}: {detail})"
            )));
        };
        let (answer, _) = self.call(certificate, None, &Signer::Account)?;
        String::from_utf8(answer.body).map_err(|_| nonsense("a certificate that is no text"))
    }

    /// Asks until the state is another one than these.
    fn poll(&mut self, url: &str, unsettled: &[&str], pause: &Pause<'_>) -> Result<Value, Failure> {
        for _ in 0..POLLS_MAX {
            let (answer, state) = self.call(url, None, &Signer::Account)?;
            if !unsettled
                .iter()
                .any(|unsettled| state["status"] == *unsettled)
            {
                return Ok(state);
            }
            let wished = answer.retry_after_ms.map(Duration::from_millis);
            let time = wished.unwrap_or_default().clamp(POLL_EVERY, POLL_PAUSE_MAX);
            if !pause(time) {
                return Err(Failure::new("the server was stopped meanwhile"));
            }
        }
        Err(Failure::new(
            "the authority did not come to an end; it is tried again",
        ))
    }

    /// One signed request: with a `wish`, or to be told something (section 6.3).
    fn call(
        &mut self,
        url: &str,
        wish: Option<&Value>,
        signer: &Signer,
    ) -> Result<(Answer, Value), Failure> {
        let endpoint = Endpoint::parse(url).map_err(|_| nonsense("an address that is none"))?;
        let payload = wish.map(|wish| base64url(wish.to_string().as_bytes()));
        for _ in 0..NONCES_MAX {
            let nonce = match self.nonce.take() {
                Some(nonce) => nonce,
                None => self.fetch_nonce()?,
            };
            let body = self.signed(url, &nonce, payload.as_deref().unwrap_or(""), signer)?;
            let sent = self.agent.post_json(&endpoint, &JOSE, body.as_bytes());
            let mut answer = sent.map_err(|broken| unreached(&broken))?;
            self.nonce = answer.nonce.take();
            let value = json_of(&answer).unwrap_or_default();
            if (200..300).contains(&answer.status) {
                return Ok((answer, value));
            }
            let (kind, detail) = told(&value);
            if kind != "badNonce" {
                let mut failure = Failure::new(refused(
                    &kind,
                    &detail,
                    answer.status,
                    self.terms.as_deref(),
                ));
                failure.retry_after = answer.retry_after_ms.map(Duration::from_millis);
                return Err(failure);
            }
        }
        Err(nonsense("no nonce that it takes itself"))
    }

    fn fetch_nonce(&self) -> Result<String, Failure> {
        let endpoint = Endpoint::parse(&self.new_nonce);
        let endpoint = endpoint.map_err(|_| nonsense("an address that is none"))?;
        let answer = self
            .agent
            .get(&endpoint, &[])
            .map_err(|broken| unreached(&broken))?;
        answer.nonce.ok_or_else(|| nonsense("no nonce"))
    }

    /// A request as it goes out (section 6.2).
    fn signed(
        &self,
        url: &str,
        nonce: &str,
        payload: &str,
        signer: &Signer,
    ) -> Result<String, Failure> {
        let mut protected = json!({ "alg": "ES256", "nonce": nonce, "url": url });
        match (signer, &self.account) {
            (Signer::Account, Some(account)) => protected["kid"] = json!(account),
            (Signer::Key, _) | (Signer::Account, None) => protected["jwk"] = self.jwk.clone(),
        }
        let protected = base64url(protected.to_string().as_bytes());
        let signed = self
            .key
            .sign(&self.random, format!("{protected}.{payload}").as_bytes());
        let signature = signed.map_err(|_| Failure::new("nothing could be signed"))?;
        let signature = base64url(signature.as_ref());
        Ok(
            json!({ "protected": protected, "payload": payload, "signature": signature })
                .to_string(),
        )
    }
}

fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Section 8: what could be something else than a token must not become part of a path.
fn is_token(token: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=256).contains(&token.len()) && token.bytes().all(byte)
}

fn json_of(answer: &Answer) -> Option<Value> {
    serde_json::from_slice(&answer.body).ok()
}

fn location(answer: &Answer) -> Option<String> {
    let telling = answer.telling.iter().find(|(name, _)| *name == "location");
    telling.map(|(_, value)| value.clone())
}

/// Kind and explanation of a trouble (RFC 7807), fit to be shown.
fn told(problem: &Value) -> (String, String) {
    let fit = |text: &str| {
        let text = text.chars().take(DETAIL_CHARS_MAX);
        text.map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect::<String>()
    };
    let kind = problem["type"].as_str().unwrap_or("");
    let kind = kind.strip_prefix(TROUBLE).unwrap_or(kind);
    // With several names each has an explanation of its own; the first one says what to look at.
    let first = &problem["subproblems"][0]["detail"];
    let detail = first
        .as_str()
        .or_else(|| problem["detail"].as_str())
        .unwrap_or("no explanation");
    (fit(kind), fit(detail))
}

fn unreached(broken: &crate::http::Broken) -> Failure {
    let advice = if broken.certificate_refused {
        "if it is an authority of your own, name the file with its certificate in tls.acme_ca_file"
    } else {
        "look at the network of this machine, and whether it may connect to the outside"
    };
    Failure {
        counts: false,
        ..Failure::new(format!(
            "the authority gives no answer ({}); {advice}",
            broken.reason
        ))
    }
}

fn nonsense(what: &str) -> Failure {
    Failure::new(format!("the authority gave {what}; it is tried again"))
}

/// A refusal, and the one thing to do.
fn refused(kind: &str, detail: &str, status: u16, terms: Option<&str>) -> String {
    let advice = match kind {
        "rateLimited" => "it was asked too often: wait; it is tried again by itself".to_owned(),
        "externalAccountRequired" => "it wants an account that it knows: set tls.acme_account_id and tls.acme_account_key to what it gave you".to_owned(),
        "userActionRequired" => format!(
            "its terms have changed: read them{}",
            terms.map_or(String::new(), |terms| format!(" at {terms}"))
        ),
        "invalidContact" | "unsupportedContact" => "look at tls.acme_email".to_owned(),
        "rejectedIdentifier" | "unsupportedIdentifier" => "it signs only for names that the whole internet can look up: look at server.public_url and tls.acme_names".to_owned(),
        "unauthorized" | "accountDoesNotExist" => "if the account was closed, remove account.pem in tls.acme_folder, so that another one is made".to_owned(),
        _ => "it is tried again by itself".to_owned(),
    };
    let kind = if kind.is_empty() {
        format!("status {status}")
    } else {
        kind.to_owned()
    };
    format!("the authority refused ({kind}: {detail}); {advice}")
}

/// The same about a name that was looked at from outside.
fn refused_name(name: &str, way: Way, kind: &str, detail: &str) -> String {
    let port = match way {
        Way::Handshake => "443",
        Way::Http => "80",
    };
    let advice = match kind {
        "dns" => format!("let {name} have an A or AAAA record that leads to this machine"),
        "caa" => format!(
            "the CAA record of {name} allows other authorities only: add this one, or remove it"
        ),
        _ => format!(
            "let port {port} of this machine be reached from the whole internet (look at the firewall, at your provider's too), and let {name} lead to it in every A and AAAA record"
        ),
    };
    format!("the authority could not see that {name} is this server's ({kind}: {detail}); {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_authority_says_is_cut_short_and_cannot_move_a_cursor() {
        let long = "x".repeat(1_000);
        let (kind, detail) = told(&json!({
            "type": "urn:ietf:params:acme:error:dns\u{1b}[2J",
            "detail": format!("a\nb{long}"),
        }));
        assert_eq!(kind, "dns\u{fffd}[2J");
        assert!(detail.starts_with("a\u{fffd}bx"));
        assert_eq!(detail.chars().count(), DETAIL_CHARS_MAX);
        assert_eq!(
            told(&json!(null)),
            (String::new(), "no explanation".to_owned())
        );
        let first = json!({ "detail": "all", "subproblems": [{ "detail": "first" }] });
        assert_eq!(told(&first).1, "first");
    }

    #[test]
    fn only_what_is_a_token_is_one() {
        assert!(is_token("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"));
        for other in ["", "a/b", "..", "a b", "é", &"a".repeat(257)] {
            assert!(!is_token(other), "{other}");
        }
    }
}

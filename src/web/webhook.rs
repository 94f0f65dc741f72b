//! Meta's door: the handshake, and signed webhooks.

use super::reminder::Reminder;
use super::request::{parameter, values};
use super::{Web, error};
use crate::app::Body;
use crate::domain::delivery::SignedBody;
use crate::domain::secret::Secret;
use crate::whatsapp::parts::Parts;
use crate::whatsapp::signature;
use crate::whatsapp::webhook::{self, Handshake, Place};
use rouille::{Request, Response};
use std::io::Read;
use std::sync::{Arc, OnceLock};

/// The verification request (Meta's contract, section 1.1).
pub(super) fn handshake(web: &Web, request: &Request) -> Response {
    let (mode, token) = (
        parameter(request, "hub.mode"),
        parameter(request, "hub.verify_token"),
    );
    let challenge = parameter(request, "hub.challenge");
    match webhook::handshake(
        mode.as_deref(),
        token.as_deref(),
        challenge.as_deref(),
        &web.webhook.verify_token,
    ) {
        Handshake::Accepted { challenge } => {
            tracing::info!("Meta verified the callback URL");
            Response::text(challenge)
        }
        Handshake::WrongToken => {
            if let Some(count) = web.wrong_handshakes.due(web.app.now()) {
                tell_wrong_handshakes(count);
            }
            error(
                403,
                "WRONG_VERIFY_TOKEN",
                "The verify token is not the configured one",
            )
        }
        Handshake::Malformed => error(
            400,
            "MALFORMED_HANDSHAKE",
            "This is not a verification request",
        ),
    }
}

/// 200 only when all of it is on disk; 503 only when it could not be stored, or the clock is in doubt
/// and it may be old, so that Meta sends it again; never an error for what is signed and not understood
/// (section 1.4).
pub(super) fn post(web: &Web, request: &Request) -> Response {
    let (app, settings) = (&web.app, &web.webhook);
    // The listener has read it whole, and not more than the cap of this route.
    let length = request
        .header("Content-Length")
        .and_then(|length| length.parse().ok());
    let mut body = Vec::with_capacity(length.unwrap_or(0).min(super::WEBHOOK_BODY_BYTES_MAX));
    let Some(mut data) = request.data() else {
        return error(400, "BODY_MISSING", "The body could not be read");
    };
    if data.read_to_end(&mut body).is_err() {
        return error(400, "BODY_MISSING", "The body could not be read");
    }
    let signatures: Vec<&str> = values(request, "X-Hub-Signature-256").collect();
    let Some(signer) = signature::signer(&settings.app_secrets, &signatures, &body) else {
        // Anybody can send as many as they like, and the log is for others, too.
        if let Some(count) = web.forged_webhooks.due(app.now()) {
            tell_forged(count);
        }
        // The body stays empty: whoever cannot sign learns nothing (S-01).
        return Response::empty_400().with_status_code(401);
    };
    let parsed = match webhook::parse(&body, &settings.phone_number_id) {
        Ok(parsed) => parsed,
        Err(not_understood) => {
            tracing::warn!(reason = %not_understood, "a signed webhook was not understood");
            return Response::text("");
        }
    };
    let signed = Signed {
        signature: signatures.concat(),
        secret: settings.app_secrets[signer].clone(),
        places: parsed.places,
        is_whole: parsed.is_whole,
        parts: OnceLock::new(),
        bytes: body,
    };
    match app.receive(parsed.items, Arc::new(signed)) {
        Ok(received) => {
            tracing::debug!(
                took_effect = received.outcomes.len(),
                repeated = received.repeated,
                ignored = received.ignored,
                "webhook"
            );
            Response::text("")
        }
        Err(failed) => {
            // Each is sent again and again, and the log may lie on the same disk.
            if let Some(count) = web.unstored_webhooks.due(app.now()) {
                tracing::error!(
                    count,
                    error = %failed,
                    "webhooks could not be stored; Meta sends them again"
                );
            }
            error(503, "NOT_STORED", "It could not be stored; send it again")
        }
    }
}

/// Tells of those who were refused here what is not told yet, as far as `rest` says so.
pub(super) fn tell_rest(web: &Web, rest: impl Fn(&Reminder) -> Option<u64>) {
    if let Some(count) = rest(&web.forged_webhooks) {
        tell_forged(count);
    }
    if let Some(count) = rest(&web.unstored_webhooks) {
        tracing::error!(
            count,
            "more webhooks could not be stored; Meta sends them again"
        );
    }
    if let Some(count) = rest(&web.wrong_handshakes) {
        tell_wrong_handshakes(count);
    }
}

fn tell_forged(count: u64) {
    tracing::warn!(
        count,
        "webhooks with a wrong signature were refused; compare whatsapp.app_secrets with the dashboard"
    );
}

fn tell_wrong_handshakes(count: u64) {
    tracing::warn!(
        count,
        "a handshake came with a wrong verify token; compare whatsapp.verify_token with the dashboard"
    );
}

/// A body as it came, and what is needed to make others of it.
struct Signed {
    bytes: Vec<u8>,
    signature: String,
    /// The app secret that it was signed with: the one that the bot knows, too.
    secret: Secret,
    /// Where each item stands.
    places: Vec<Option<Place>>,
    is_whole: bool,
    /// Made when the first part is wanted: most bodies go on as they are.
    parts: OnceLock<Option<Parts>>,
}

impl Body for Signed {
    fn whole(&self) -> Option<SignedBody> {
        self.is_whole.then(|| SignedBody {
            bytes: self.bytes.clone(),
            signature: self.signature.clone(),
        })
    }

    fn part(&self, items: &[usize]) -> Option<SignedBody> {
        let places: Vec<Place> = (items.iter())
            .map(|item| self.places.get(*item).copied().flatten())
            .collect::<Option<_>>()?;
        let parts = self.parts.get_or_init(|| Parts::new(&self.bytes));
        let bytes = parts.as_ref()?.cut(&self.bytes, &places)?;
        Some(SignedBody {
            signature: signature::sign(&self.secret, &bytes),
            bytes,
        })
    }
}

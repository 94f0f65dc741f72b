//! Meta's door: the handshake, and signed webhooks.

use super::{WebhookSettings, error};
use crate::app::App;
use crate::whatsapp::webhook::{self, Handshake};
use rouille::{Request, Response};
use std::io::Read;

/// The verification request (Meta's contract, section 1.1).
pub(super) fn handshake(settings: &WebhookSettings, request: &Request) -> Response {
    let (mode, token) = (
        request.get_param("hub.mode"),
        request.get_param("hub.verify_token"),
    );
    let challenge = request.get_param("hub.challenge");
    match webhook::handshake(
        mode.as_deref(),
        token.as_deref(),
        challenge.as_deref(),
        &settings.verify_token,
    ) {
        Handshake::Accepted { challenge } => {
            tracing::info!("Meta verified the callback URL");
            Response::text(challenge)
        }
        Handshake::WrongToken => {
            tracing::warn!(
                "a handshake came with a wrong verify token; compare whatsapp.verify_token with the dashboard"
            );
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

/// 200 only when all of it is on disk; 503 only when it could not be stored, so that Meta sends it
/// again; never an error for what is signed and not understood (section 1.4).
pub(super) fn post(app: &App, settings: &WebhookSettings, request: &Request) -> Response {
    let mut body = Vec::new();
    let Some(mut data) = request.data() else {
        return error(400, "BODY_MISSING", "The body could not be read");
    };
    if data.read_to_end(&mut body).is_err() {
        return error(400, "BODY_MISSING", "The body could not be read");
    }
    let signatures: Vec<&str> = request
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("X-Hub-Signature-256"))
        .map(|(_, value)| value)
        .collect();
    if !webhook::verify(&settings.app_secrets, &signatures, &body) {
        tracing::warn!(
            "a webhook with a wrong signature was refused; compare whatsapp.app_secrets with the dashboard"
        );
        // The body stays empty: whoever cannot sign learns nothing (S-01).
        return Response::empty_400().with_status_code(401);
    }
    let parsed = match webhook::parse(&body, &settings.phone_number_id) {
        Ok(parsed) => parsed,
        Err(not_understood) => {
            tracing::warn!(reason = %not_understood, "a signed webhook was not understood");
            return Response::text("");
        }
    };
    match app.receive(parsed.items) {
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
            tracing::error!(error = %failed, "a webhook could not be stored; Meta sends it again");
            error(503, "NOT_STORED", "It could not be stored; send it again")
        }
    }
}

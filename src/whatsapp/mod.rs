//! The WhatsApp Cloud API: what comes in through the webhook and how messages go out.
pub mod webhook;

use crate::domain::delivery::Failure;
pub(crate) fn failure_of_code(_: u32) -> Failure {
    Failure::temporary("x")
}
use crate::domain::id::{PhoneNumberId, Secret};

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

//! The company's services: who has this address, and a token for a user.

use crate::domain::id::{Secret, ServiceName};
use std::time::Duration;

/// One service, as configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name in configuration, bindings and log.
    pub name: ServiceName,
    /// What people call it.
    pub title: String,
    /// `POST {"email"}`; `https`, or `http` to loopback.
    pub find_user_url: String,
    /// `POST {"userId","companyId","userUuid"}`; `https`, or `http` to loopback.
    pub issue_token_url: String,
    /// Signing secret per Standard Webhooks, `whsec_` and base64.
    pub secret: Secret,
    /// An additional `Authorization: Bearer`, when the service wants one.
    pub bearer: Option<Secret>,
    /// Longest time for one call, connection included.
    pub timeout: Duration,
    /// PEM certificates to trust instead of the public ones.
    pub ca_pem: Option<Vec<u8>>,
}

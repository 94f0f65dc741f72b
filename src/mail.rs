//! Mail through lettre to a real SMTP server.

use crate::domain::id::{EmailAddress, Secret};

/// How to reach the SMTP server and in whose name to write.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Host name or address.
    pub server: String,
    /// 587 for STARTTLS, 465 for implicit TLS, 25 or another for plain.
    pub port: u16,
    /// How the connection is protected.
    pub security: Security,
    /// User name and password for AUTH, when the server wants them.
    pub credentials: Option<(String, Secret)>,
    /// Display name of the sender.
    pub from_name: String,
    /// Address of the sender.
    pub from: EmailAddress,
    /// Where answers go, when not to `from`.
    pub reply_to: Option<EmailAddress>,
    /// PEM certificates to trust besides the public ones.
    pub ca_pem: Option<Vec<u8>>,
    /// Connections kept open: one per sender thread.
    pub connections: usize,
}

/// How a connection to the SMTP server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Upgrade before anything is said; refused when the server does not offer it.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// None: accepted to loopback addresses only.
    Plain,
}

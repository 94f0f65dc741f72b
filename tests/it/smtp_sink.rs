//! The SMTP server of the tests: `smtp_sink.py`, which is aiosmtpd with a will of its own.

use crate::python::StandIn;
use portero::domain::id::EmailAddress;
use portero::domain::secret::Secret;
use portero::mail::{Security, Settings};
use serde_json::{Value, json};

/// What AUTH accepts.
pub const USER: &str = "portero";
/// What AUTH accepts with [`USER`].
pub const PASSWORD: &str = "correct horse";

/// Starts a sink that wants TLS as named and AUTH, and then says `replies` first.
pub fn start(security: Security, replies: Value) -> StandIn {
    start_with(security, json!({ "replies": replies }))
}

/// The same with any wish of the script.
pub fn start_with(security: Security, mut wishes: Value) -> StandIn {
    wishes["security"] = json!(match security {
        Security::StartTls => "starttls",
        Security::Tls => "tls",
        Security::Plain => "plain",
    });
    wishes["user"] = json!(USER);
    wishes["password"] = json!(PASSWORD);
    StandIn::start("smtp_sink.py", &wishes)
}

/// Settings that such a sink accepts.
pub fn settings(sink: &StandIn, security: Security) -> Settings {
    Settings {
        server: "127.0.0.1".to_owned(),
        port: sink.port,
        security,
        credentials: Some((USER.to_owned(), Secret::new(PASSWORD))),
        from_name: "Inpla".to_owned(),
        from: EmailAddress::parse("no-reply@inpla.example").unwrap(),
        reply_to: Some(EmailAddress::parse("help@inpla.example").unwrap()),
        ca_pem: Some(sink.ca_pem.clone()),
        connections: 2,
    }
}

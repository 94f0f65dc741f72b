//! Sign-in pages that are not Portero's.

use crate::domain::id::{Secret, ServiceName};

/// One page, as configured.
#[derive(Clone, Debug)]
pub struct PageSettings {
    /// Its name in configuration and log.
    pub name: ServiceName,
    /// Where links lead, as written: without `?`, with or without a slash at the end.
    pub url: Option<String>,
    /// What it sends as `Authorization: Bearer`, at least 32 visible ASCII characters; without one
    /// whoever holds a link can sign in their own chat. Different from that of every other page,
    /// and at most one page has none.
    pub credential: Option<Secret>,
    /// Origins from which browsers may make its calls, as browsers write them.
    pub origins: Vec<String>,
    /// The service whose users sign in there.
    pub service: ServiceName,
}

//! What may be asked about the certificate of HTTPS: of the running server alone, because nobody
//! else has it.

use super::{Answer, Request};
use crate::tls::{Renewal, Watch};
use serde::{Deserialize, Serialize};

/// How the certificate stands. Moments are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateLine {
    /// Until when the one that is served counts; nothing while there is none.
    pub ends_at_ms: Option<u64>,
    /// Whether an authority is asked for it; else it is in files.
    pub by_authority: bool,
    /// When the next one is asked for, if an authority is.
    pub next_try_at_ms: Option<u64>,
    /// Tries in a row that gave no new one.
    pub failures_in_a_row: u32,
    /// Why the last one did not.
    pub trouble: Option<String>,
}

/// The answer, if `request` is about the certificate.
pub(super) fn attend(request: &Request, certificate: Option<&Watch>) -> Option<Answer> {
    let ms = |seconds: u64| seconds.saturating_mul(1_000);
    let about = |certificate: &Watch| match request {
        Request::RenewCertificate => match certificate.renew() {
            Renewal::Begun => Answer::RenewalBegun,
            Renewal::NotBefore(at_s) => Answer::RenewalNotBefore { at_ms: ms(at_s) },
        },
        _ => {
            let health = certificate.health();
            Answer::Certificate(CertificateLine {
                ends_at_ms: health.not_after_s.map(ms),
                by_authority: certificate.is_by_authority(),
                next_try_at_ms: health.next_try_s.map(ms),
                failures_in_a_row: health.failures_in_a_row,
                trouble: health.trouble,
            })
        }
    };
    request
        .is_about_certificate()
        .then(|| certificate.map_or(Answer::NoCertificate, about))
}

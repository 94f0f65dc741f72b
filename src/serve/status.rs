//! What the status page is told of the parts that the web does not know.

use super::generation::origin_and_path;
use crate::app::App;
use crate::config::Config;
use crate::domain::time::{MINUTE_MS, SECOND_MS, Timestamp};
use crate::outbox::Outbox;
use crate::services::Services;
use crate::store::migrate::FORMAT_VERSION;
use crate::tls;
use crate::web::{CertificateView, LaneView, Look, Outlook, ServiceView, StatusSettings};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// A snapshot is looked for within a minute of the start, and written within a few more.
const YOUNG_MS: u64 = 10 * MINUTE_MS;

/// Nothing without a password: then there is no such page.
pub(super) fn settings(
    config: &Config,
    app: &Arc<App>,
    outbox: &Arc<Outbox>,
    services: &Arc<Services>,
    certificate: Option<tls::Watch>,
) -> Option<StatusSettings> {
    let password = config.status.clone()?;
    let around = Around {
        app: Arc::clone(app),
        outbox: Arc::clone(outbox),
        services: Arc::clone(services),
        certificate,
        store: config.store.path.clone(),
        are_snapshots_made: config.store.snapshots > 0,
        started_at: app.now(),
    };
    Some(StatusSettings {
        password,
        look: Look {
            business: config.business.name.clone(),
            color: config.business.color,
            // Its address is one of the sign-in page's.
            logo: config.business.logo.is_some() && config.server.public_url.is_some(),
        },
        public: config.server.public_url.as_deref().map(origin_and_path),
        weakened: config.weakened.clone(),
        version: env!("CARGO_PKG_VERSION"),
        api_version: config.whatsapp.sender.api_version.clone(),
        store_format: FORMAT_VERSION,
        started_at: app.now(),
        outlook: Box::new(move || around.look()),
    })
}

struct Around {
    app: Arc<App>,
    outbox: Arc<Outbox>,
    services: Arc<Services>,
    certificate: Option<tls::Watch>,
    store: PathBuf,
    are_snapshots_made: bool,
    started_at: Timestamp,
}

impl Around {
    fn look(&self) -> Outlook {
        let lanes = self.outbox.health().into_iter().map(|health| LaneView {
            name: health.lane.name(),
            waiting: health.waiting,
            // A store that cannot be read is told apart.
            oldest: self.app.oldest_waiting(health.lane).unwrap_or_default(),
            paused: health.resting.map(|rest| (rest.reason, rest.advice)),
            failing: (health.failing)
                .map(|failing| (failing.since, failing.reason, failing.advice)),
        });
        let services = self.services.health().into_iter();
        let services = services.map(|(name, title, health)| ServiceView {
            name: name.as_str().to_owned(),
            title,
            is_left_alone: health.next_try.is_some(),
            answered_at: health.last_answer,
            failed: health.last_failure,
        });
        let disk = rustix::fs::statvfs(&self.store).ok();
        let certificate = self.certificate.as_ref().map(|certificate| {
            let health = certificate.health();
            CertificateView {
                ends: (health.not_after_s).map(|at| Timestamp(at.saturating_mul(SECOND_MS))),
                trouble: health.trouble,
            }
        });
        Outlook {
            certificate,
            lanes: lanes.collect(),
            services: services.collect(),
            store_bytes: fs::metadata(&self.store).ok().map(|file| file.len()),
            disk_bytes: disk.map(|disk| {
                let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
                (bytes(disk.f_bavail), bytes(disk.f_blocks))
            }),
            snapshot: (self.are_snapshots_made).then(|| self.app.last_snapshot()),
            is_young: self.app.now().since_ms(self.started_at) < YOUNG_MS,
            takes_writes: self.app.takes_writes(),
        }
    }
}

//! What one configuration makes of the program: the operations with its settings, whoever answers
//! requests, whoever carries what is sent. It is put together once and never changed, so that nobody
//! meets half of one configuration and half of another; a reload makes the next one.

use super::{DIRECTORY, status};
use crate::app::{self, App, CheckFailed, HandOver, Issued, Report, TokenWanted, Verdict, Work};
use crate::backend::Backend;
use crate::bot::{Bot, EventReceiver};
use crate::config::Config;
use crate::domain::account::{Answer, Unavailable};
use crate::domain::delivery::Lane;
use crate::domain::failure::Failure;
use crate::domain::id::ServiceName;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::mail::Mailer;
use crate::outbox::{Carry, LaneHealth, Outbox, Pace};
use crate::services::{self, Services, TokenFor};
use crate::store::Snapshots;
use crate::text::Voice;
use crate::tls;
use crate::web::pages::CHAT_ORIGINS;
use crate::web::{Look, SIGN_IN_PATH, Site, UNDO_PATH, Web, WebSettings, WebhookSettings};
use crate::whatsapp::Client;
use std::sync::{Arc, PoisonError, RwLock};

/// Everybody whom the program speaks to, as configured. Nobody has been called yet; settings that
/// cannot work show here.
pub(super) struct Adapters {
    client: Client,
    mailer: Mailer,
    services: Arc<Services>,
    bot: Option<Bot>,
    receiver: Option<EventReceiver>,
    backend: Option<Backend>,
}

impl Adapters {
    /// `Err` is a sentence for the operator.
    pub(super) fn new(config: &Config) -> Result<Adapters, String> {
        let tellers = Pace::default().threads[Lane::Events as usize];
        let receiver = (config.events.as_ref()).map(|events| EventReceiver::new(events, tellers));
        Ok(Adapters {
            client: Client::new(&config.whatsapp.sender)?,
            mailer: Mailer::new(&config.mail)?,
            services: Arc::new(Services::new(config.services.clone())?),
            bot: config.bot.as_ref().map(Bot::new).transpose()?,
            receiver: receiver.transpose()?,
            backend: (config.sign_in.backend.clone())
                .map(Backend::new)
                .transpose()?,
        })
    }

    /// Who carries what is sent, for this app.
    pub(super) fn carry(self, app: &Arc<App>) -> (Arc<dyn Carry>, Parts) {
        let carrier = Carrier {
            app: Arc::clone(app),
            services: Arc::clone(&self.services),
            client: self.client,
            mailer: self.mailer,
            bot: self.bot,
            receiver: self.receiver,
        };
        let parts = Parts {
            services: self.services,
            backend: self.backend,
        };
        (Arc::new(move |work: &Work| carrier.carry(work)), parts)
    }
}

/// The adapters that answer requests.
pub(super) struct Parts {
    services: Arc<Services>,
    backend: Option<Backend>,
}

/// One configuration at work.
pub(super) struct Generation {
    pub(super) app: Arc<App>,
    pub(super) web: Arc<Web>,
    pub(super) services: Arc<Services>,
    /// `https://host[:port]` of the public address; empty without one.
    pub(super) origin: String,
    /// What Prometheus must show, if anything.
    pub(super) metrics_key: Option<Secret>,
}

impl Generation {
    /// The first one has no `before`; every other one goes on counting and remembers what that one
    /// knows.
    pub(super) fn new(
        config: &Config,
        app: Arc<App>,
        parts: Parts,
        outbox: &Arc<Outbox>,
        certificate: Option<tls::Watch>,
        before: Option<&Web>,
    ) -> Generation {
        let Parts { services, backend } = parts;
        let settings = WebSettings {
            webhook: WebhookSettings {
                app_secrets: config.whatsapp.app_secrets.clone(),
                verify_token: config.whatsapp.verify_token.clone(),
                phone_number_id: config.whatsapp.sender.phone_number_id.clone(),
            },
            site: site(config, &app, &services, backend),
            pages: config.pages.clone(),
            api_keys: config.api_keys.clone(),
            status: status::settings(config, &app, outbox, &services, certificate.clone()),
            issue_token: Box::new({
                let services = Arc::clone(&services);
                move |wanted: &TokenWanted<'_>, now: Timestamp, id: &str| {
                    issue_token(&services, wanted, now, id)
                }
            }),
        };
        let troubles = Box::new({
            let (outbox, services) = (Arc::clone(outbox), Arc::clone(&services));
            move || troubles(&outbox, &services, certificate.as_ref())
        });
        let web = match before {
            None => Web::new(Arc::clone(&app), settings, troubles),
            Some(before) => before.with_settings(Arc::clone(&app), settings, troubles),
        };
        let origin = (config.server.public_url.as_deref()).map(|url| origin_and_path(url).0);
        Generation {
            app,
            web: Arc::new(web),
            services,
            origin: origin.unwrap_or_default(),
            metrics_key: (config.metrics.as_ref()).and_then(|metrics| metrics.key.clone()),
        }
    }
}

/// The configuration at work now. Whoever begins something takes it once and keeps it to the end.
///
/// A read lock and a count are some tens of nanoseconds for each request.
pub(super) struct Current(RwLock<Arc<Generation>>);

impl Current {
    pub(super) fn new(generation: Generation) -> Current {
        Current(RwLock::new(Arc::new(generation)))
    }

    pub(super) fn get(&self) -> Arc<Generation> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, generation: Generation) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(generation);
    }
}

/// The folder of snapshots, as configured.
pub(super) fn snapshots(config: &Config) -> Snapshots {
    Snapshots::new(config.store.snapshot_folder.clone(), config.store.snapshots)
}

pub(super) fn settings(config: &Config) -> app::Settings {
    // The name is a constant of the allowed form.
    let directory = ServiceName::parse(DIRECTORY).expect("the directory's name is well formed");
    let mut services: Vec<(ServiceName, String)> = config
        .services
        .iter()
        .map(|service| (service.name.clone(), service.title.clone()))
        .collect();
    if config.directory.enabled {
        services.push((directory.clone(), config.directory.title.clone()));
    }
    app::Settings {
        policy: config.policy.clone(),
        phone_number_id: config.whatsapp.sender.phone_number_id.clone(),
        language: config.business.language,
        texts: config.texts.clone(),
        voice: Voice {
            business: config.business.name.clone(),
            services,
            code_digits: config.policy.code_digits,
            code_minutes: config
                .policy
                .code_lifetime_ms
                .div_ceil(crate::domain::time::MINUTE_MS),
            methods: config.policy.methods,
            link_minutes: config
                .policy
                .link_lifetime_ms
                .div_ceil(crate::domain::time::MINUTE_MS),
        },
        directory: config.directory.enabled.then_some(directory),
        places: places(config),
        hands_on: config.bot.is_some(),
        tells_events: config.events.is_some(),
        identity: app::IdentitySettings {
            // Verifiers who are told only the issuer find the keys below it.
            issuer: (config.server.public_url.clone())
                .unwrap_or_else(|| app::IdentitySettings::default().issuer),
            lifetime_ms: config.identity.lifetime_ms,
            rotate_ms: config.identity.rotate_ms,
        },
    }
}

/// Where browsers are sent. All of it comes from the configuration.
fn places(config: &Config) -> app::Places {
    let public_url = config.server.public_url.as_ref();
    let page = config.sign_in.page.as_ref().and_then(|name| {
        let page = config.pages.iter().find(|page| page.name == *name)?;
        page.url.clone()
    });
    let own = public_url.map(|url| format!("{url}{SIGN_IN_PATH}/"));
    let number = config.whatsapp.number.clone();
    app::Places {
        sign_in: page.or(own).map(|url| format!("{url}?mappingHash=")),
        undo: public_url.map(|url| format!("{url}{UNDO_PATH}/?token=")),
        chat: number
            .as_ref()
            .map(|number| format!("{}?phone={}", config.whatsapp.chat_url, number.as_str())),
        number,
    }
}

/// What the pages need; `None` without a public address.
fn site(
    config: &Config,
    app: &Arc<App>,
    services: &Arc<Services>,
    backend: Option<Backend>,
) -> Option<Site> {
    let public_url = config.server.public_url.as_ref()?;
    let mut chat_origins: Vec<String> = CHAT_ORIGINS.map(str::to_owned).into();
    let (origin, _) = origin_and_path(&config.whatsapp.chat_url);
    if !chat_origins.contains(&origin) {
        chat_origins.push(origin);
    }
    let (origin, base) = origin_and_path(public_url);
    Some(Site {
        origin,
        base,
        look: Look {
            business: config.business.name.clone(),
            color: config.business.color,
            logo: config.business.logo.is_some(),
        },
        logo: config.business.logo.clone(),
        chat_origins,
        check: Box::new({
            let (app, services) = (Arc::clone(app), Arc::clone(services));
            move |user: &str, password: &Secret| whose(&app, &services, user, password)
        }),
        backend,
    })
}

/// `https://host[:port]` and the rest, without a slash at the end, of an address that was parsed
/// before.
pub(super) fn origin_and_path(url: &str) -> (String, String) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url[host..].find('/').map_or(url.len(), |at| host + at);
    let (origin, path) = url.split_at(path);
    (
        origin.to_ascii_lowercase(),
        path.trim_end_matches('/').to_owned(),
    )
}

/// Whose user name and password these are: the directory and every service that can say are asked.
/// Who answers *nobody's* does not outweigh who gives no answer.
fn whose(app: &App, services: &Services, user: &str, password: &Secret) -> Verdict {
    let mut accounts = Vec::new();
    let (mut silent, mut answered) = (false, false);
    if app.settings().directory.is_some() {
        match app.sign_in_to_directory(user, password) {
            Ok(found) => {
                answered = true;
                accounts.extend(found);
            }
            Err(CheckFailed::Busy) => return Verdict::Busy,
            Err(CheckFailed::Store(error)) => {
                tracing::error!(%error, "a password could not be compared");
                silent = true;
            }
        }
    }
    for answer in services.check_password(user, password, app.now(), "sign-in") {
        match answer.users {
            Ok(users) => {
                answered = true;
                accounts.extend(users);
            }
            Err(unavailable) => {
                let service = answer.service.as_str();
                let reason = unavailable.reason;
                tracing::warn!(service, reason, "a service gave no answer about a password");
                silent = true;
            }
        }
    }
    match (accounts.is_empty(), silent, answered) {
        (false, ..) => Verdict::These(accounts),
        // Whoever did answer was a chance to guess.
        (true, true, true) => Verdict::NotEverybody,
        (true, true, false) => Verdict::NoAnswer,
        (true, false, _) => Verdict::Nobody,
    }
}

fn troubles(outbox: &Outbox, services: &Services, certificate: Option<&tls::Watch>) -> Vec<String> {
    let mut troubles = stuck(outbox);
    // Everybody can ask: where the files are is for the log.
    match certificate.map(tls::Watch::health) {
        Some(health) if health.not_after_s.is_none() => {
            troubles.push("there is no certificate for HTTPS; the log says why".to_owned());
        }
        Some(health) if health.failures_in_a_row > 0 => {
            troubles.push("there is no new certificate for HTTPS; the log says why".to_owned());
        }
        Some(_) | None => {}
    }
    troubles.extend(
        services
            .health()
            .into_iter()
            .filter_map(|(name, _, health)| {
                health.next_try?;
                let (_, reason) = health.last_failure?;
                Some(format!(
                    "the service {} gives no answer: {reason}",
                    name.as_str()
                ))
            }),
    );
    troubles
}

/// What of the outbox does not go on.
fn stuck(outbox: &Outbox) -> Vec<String> {
    let told = |health: LaneHealth| {
        let lane = health.lane.name();
        let (what, reason, advice) = match (health.resting, health.failing) {
            (Some(rest), _) => ("is paused", rest.reason, rest.advice),
            (None, Some(failing)) => ("fails", failing.reason, failing.advice),
            (None, None) => return None,
        };
        let advice = advice.map_or(String::new(), |advice| format!("; {advice}"));
        Some(format!("sending by {lane} {what}: {reason}{advice}"))
    };
    outbox.health().into_iter().filter_map(told).collect()
}

/// Carries work to the adapters.
struct Carrier {
    app: Arc<App>,
    services: Arc<Services>,
    client: Client,
    mailer: Mailer,
    bot: Option<Bot>,
    receiver: Option<EventReceiver>,
}

impl Carrier {
    fn carry(&self, work: &Work) -> Report {
        match work {
            Work::Chat { to, message, tag } => match self.client.send(to, message, tag) {
                Ok(id) => Report::Sent(Some(id)),
                Err(failure) => Report::Failed(failure),
            },
            Work::Mail(mail) => match self.mailer.send(mail) {
                Ok(()) => Report::Sent(None),
                Err(failure) => Report::Failed(failure),
            },
            Work::PretendMail => match self.mailer.probe() {
                Ok(()) => Report::Sent(None),
                Err(failure) => Report::Failed(failure),
            },
            Work::LookUp(lookup) => {
                let mut answers =
                    self.services
                        .find_user(&lookup.address, self.app.now(), &lookup.id);
                if let Some(service) = &self.app.settings().directory {
                    let users = self.app.find_in_directory(&lookup.address);
                    let users = users.map_err(|error| Unavailable {
                        reason: error.to_string(),
                    });
                    answers.push(Answer {
                        service: service.clone(),
                        users,
                    });
                }
                for answer in &answers {
                    if let Err(unavailable) = &answer.users {
                        let service = answer.service.as_str();
                        tracing::warn!(
                            service,
                            reason = unavailable.reason,
                            "a service gave no answer"
                        );
                    }
                }
                Report::Answers(answers)
            }
            Work::HandOn(hand_over) => {
                let HandOver { id, body, identity } = hand_over;
                taken(self.bot.as_ref().map_or(Ok(()), |bot| {
                    bot.hand_on(id, body, identity.as_ref(), self.app.now())
                }))
            }
            Work::Tell(telling) => taken(self.receiver.as_ref().map_or(Ok(()), |receiver| {
                receiver.tell(&telling.id, &telling.json, self.app.now())
            })),
            Work::Nothing(report) => report.clone(),
        }
    }
}

/// What is left over for a part that is not configured any more is taken by nobody.
fn taken(result: Result<(), Failure>) -> Report {
    match result {
        Ok(()) => Report::Sent(None),
        Err(failure) => Report::Failed(failure),
    }
}

const _: () = assert!(
    services::TIMEOUT_MAX.as_millis() < app::tokens::WAIT_MS_MAX as u128,
    "whoever waits for a token waits as long as a service may take"
);

/// Asks a service for a token. The directory is not asked: its tokens are made where they are asked
/// for.
fn issue_token(
    services: &Services,
    wanted: &TokenWanted<'_>,
    now: Timestamp,
    id: &str,
) -> Result<Issued, Failure> {
    let token_for = TokenFor {
        user_id: wanted.user_id,
        company_id: wanted.company_id,
        contact: wanted.contact,
        scope: wanted.scope,
    };
    let token = services.issue_token(wanted.service, &token_for, now, id)?;
    Ok(Issued {
        token: token.token,
        token_type: token.token_type,
        expires_in_seconds: token.expires_in_seconds,
    })
}

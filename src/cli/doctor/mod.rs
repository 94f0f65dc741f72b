//! `portero doctor`: whether the world is as the configuration says, in the order in which one
//! thing rests on another (Meta's contract, section 8), and the one thing to do about each fault.
//!
//! The order is [`Check`]; a check fetches, and [`meta`] and [`around`] judge what was fetched.

mod around;
mod encrypted;
mod finding;
mod meta;

use super::show::width;
use super::{Exit, Failure, Shell, Stop};
use crate::bot::{Bot, EventReceiver};
use crate::config::{Config, StoreKey};
use crate::control::{self, Answer as Reply, AskError, Request};
use crate::domain::delivery::{Mail, SignedBody};
use crate::domain::id::{ContactId, EmailAddress, ServiceName};
use crate::domain::time::Timestamp;
use crate::http::{Agent, AgentSettings, Broken, Endpoint};
use crate::mail::Mailer;
use crate::mail::names::{self, Records};
use crate::serve::{self, StartError};
use crate::services::{Reading, Services};
use crate::store::OpenError;
use crate::tls::Source;
use crate::web::WEBHOOK_PATH;
use crate::whatsapp::inspect::{Ask, Change, Inspector, Said, Told};
use crate::whatsapp::signature;
use around::{Mode, StoreSeen};
use finding::{Finding, Fix, Verdict, wrapped};
use meta::Known;
use serde_json::json;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Longest wait for one answer of the public address.
const ADDRESS_TIME_MAX: Duration = Duration::from_secs(10);

/// How far up a DMARC record is looked for (RFC 9989, section 4.10: eight at most).
const DMARC_STEPS_MAX: usize = 8;

/// Accounts of a token among which the one of the number is looked for.
const TARGETS_MAX: usize = 5;

/// A webhook of Meta's form with nothing in it: nobody is written to because of it.
const EMPTY_WEBHOOK: &[u8] = br#"{"object":"whatsapp_business_account","entry":[]}"#;

/// Whom a service is asked for when no address is given: nobody has it (RFC 2606).
const NOBODY: &str = "nobody@portero-doctor.example";

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Ask the services for the person with this mail address, and for a token
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Send a test mail to this address
    #[arg(long, value_name = "ADDRESS")]
    mail_to: Option<String>,
    /// Offer to put right what Meta's API can
    #[arg(long)]
    fix: bool,
    /// With --fix: do not ask first
    #[arg(long, requires = "fix")]
    yes: bool,
    /// Ask this name server instead of the system's
    #[arg(long, value_name = "IP[:PORT]", value_parser = name_server)]
    name_server: Option<SocketAddr>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn name_server(text: &str) -> Result<SocketAddr, &'static str> {
    let port_53 = |address: IpAddr| SocketAddr::new(address, 53);
    (text.parse().or_else(|_| text.parse().map(port_53)))
        .map_err(|_| "expected an IP address, with or without a port")
}

/// What is looked at, in this order.
#[derive(Clone, Copy)]
enum Check {
    Store,
    Disk,
    Clock,
    Encrypted,
    Address,
    Token,
    Number,
    Sending,
    Account,
    Subscription,
    App,
    Identity,
    MailServer,
    TestMail,
    MailNames,
    /// The service of this place in the configuration.
    Service(usize),
    Bot,
    Events,
}

impl Check {
    /// Those that this configuration has something for.
    fn all(config: &Config, arguments: &Arguments) -> Vec<Check> {
        use Check::*;
        let mut checks = vec![Store, Disk, Clock];
        checks.extend(config.tls.as_ref().map(|_| Encrypted));
        checks.extend([
            Address,
            Token,
            Number,
            Sending,
            Account,
            Subscription,
            App,
            Identity,
            MailServer,
        ]);
        checks.extend(arguments.mail_to.as_ref().map(|_| TestMail));
        checks.push(MailNames);
        checks.extend((0..config.services.len()).map(Service));
        checks.extend(config.bot.as_ref().map(|_| Bot));
        checks.extend(config.events.as_ref().map(|_| Events));
        checks
    }

    /// What is said while it is looked at.
    fn title(self, config: &Config) -> String {
        match self {
            Check::Store => "store",
            Check::Disk => "disk",
            Check::Clock => "clock",
            Check::Encrypted => "HTTPS of its own",
            Check::Address => "public address",
            Check::Token => "Meta token",
            Check::Number => "number",
            Check::Sending => "sending",
            Check::Account => "account",
            Check::Subscription => "subscription",
            Check::App => "app",
            Check::Identity => "identity check",
            Check::MailServer => "mail server",
            Check::TestMail => "test mail",
            Check::MailNames => "SPF and DMARC",
            Check::Service(place) => {
                let name = config.services.get(place).map(|service| &service.name);
                return format!("service {}", name.map_or("", ServiceName::as_str));
            }
            Check::Bot => "bot",
            Check::Events => "events",
        }
        .to_owned()
    }

    /// Whether somebody beyond this machine's disk is asked.
    fn asks_somebody(self) -> bool {
        !matches!(
            self,
            Check::Store | Check::Disk | Check::Clock | Check::Encrypted
        )
    }
}

pub(super) fn run(shell: &mut Shell<'_>, arguments: &Arguments) -> Result<(), Stop> {
    let (_, loaded) = shell.load()?;
    if arguments.fix && !arguments.yes && (arguments.json || !io::stdin().is_terminal()) {
        let failure = Failure::new(Exit::Usage, "--fix asks first, and there is nobody to ask");
        return Err(failure.hint("--yes does it without asking").into());
    }
    let mut doctor = Doctor::new(&loaded.config, arguments)?;
    let screen = (!arguments.json && io::stdout().is_terminal()).then(width);
    let mut findings = Vec::new();
    let (mut asked, mut silent) = (0, 0);
    for check in Check::all(&loaded.config, arguments) {
        let output = &mut *shell.output;
        if let Some(width) = screen {
            // Not longer than the line that is wiped away afterwards.
            let title = format!("...    {}", check.title(&loaded.config));
            let title: String = title.chars().take(width.saturating_sub(1)).collect();
            write!(output, "{title}")?;
            output.flush()?;
        }
        let (found, is_shown) = doctor.look_and_fix(check, output, screen)?;
        if screen.is_some() {
            write!(output, "{WIPE}")?;
        }
        if check.asks_somebody() {
            asked += found.len();
            silent += found.iter().filter(|finding| finding.is_silence).count();
        }
        if !arguments.json && !is_shown {
            for finding in &found {
                write!(output, "{}", finding.lines(screen))?;
            }
            output.flush()?;
        }
        findings.extend(found);
    }
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    let (wrong, look) = (count(Verdict::Wrong), count(Verdict::Look));
    if arguments.json {
        let worst = findings.iter().map(Finding::as_json).collect::<Vec<_>>();
        let told = json!({"wrong": wrong, "worthALook": look, "findings": worst});
        serde_json::to_writer_pretty(&mut *shell.output, &told).map_err(io::Error::from)?;
        writeln!(shell.output)?;
    } else {
        let summary = format!(
            "{wrong} wrong, {look} worth a look, {} fine",
            count(Verdict::Fine)
        );
        writeln!(shell.output, "\n{summary}")?;
    }
    shell.output.flush()?;
    if asked > 0 && asked == silent {
        let failure = Failure::new(Exit::Unavailable, "nobody could be reached");
        return Err(failure
            .hint("see whether this machine has a network and can look up names")
            .into());
    }
    if wrong > 0 {
        let noun = if wrong == 1 { "thing is" } else { "things are" };
        let failure = Failure::new(Exit::Failed, format!("{wrong} {noun} wrong"));
        return Err(failure
            .hint("begin with the first: the others may follow from it")
            .into());
    }
    Ok(())
}

/// Back to the beginning of the line, and all of it away (ECMA-48, EL).
const WIPE: &str = "\r\x1b[2K";

struct Doctor<'a> {
    config: &'a Config,
    arguments: &'a Arguments,
    inspector: Inspector,
    agent: Agent,
    services: Services,
    email: Option<EmailAddress>,
    mail_to: Option<EmailAddress>,
    known: Known,
    /// The token about itself: asked once, for the clock and the token.
    token: Option<Told>,
    /// Whether Meta tells more than that the token is bad.
    meta_answers: bool,
}

impl<'a> Doctor<'a> {
    fn new(config: &'a Config, arguments: &'a Arguments) -> Result<Doctor<'a>, Failure> {
        let address = |option: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(EmailAddress::parse).transpose();
            parsed.map_err(|wrong| Failure::new(Exit::Usage, format!("{option}: {wrong}")))
        };
        let wrong = |sentence: String| Failure::new(Exit::Config, sentence);
        let whatsapp = &config.whatsapp;
        let public_url = config.server.public_url.as_ref();
        Ok(Doctor {
            config,
            arguments,
            inspector: Inspector::new(&whatsapp.sender).map_err(wrong)?,
            agent: Agent::new(AgentSettings {
                timeout: ADDRESS_TIME_MAX,
                connections: 1,
                ca_pem: None,
            })
            .map_err(wrong)?,
            services: Services::new(config.services.clone()).map_err(wrong)?,
            email: address("--email", &arguments.email)?,
            mail_to: address("--mail-to", &arguments.mail_to)?,
            known: Known {
                number_id: whatsapp.sender.phone_number_id.as_str().to_owned(),
                number: (whatsapp.number.as_ref()).map(|number| number.as_str().to_owned()),
                callback: public_url.map(|url| format!("{url}{WEBHOOK_PATH}")),
                ..Known::default()
            },
            token: None,
            meta_answers: true,
        })
    }

    /// Looks, offers what can be done about it, and looks again if it was done. Tells too whether
    /// what was found stands on the screen already.
    fn look_and_fix(
        &mut self,
        check: Check,
        output: &mut dyn Write,
        screen: Option<usize>,
    ) -> Result<(Vec<Finding>, bool), Stop> {
        let mut found = self.look(check);
        if !self.arguments.fix {
            return Ok((found, false));
        }
        let Some(fix) = found.iter().find_map(|finding| finding.fix) else {
            return Ok((found, false));
        };
        let change = match (fix, &self.known.account) {
            (Fix::Subscribe, Some(account)) => Change::Subscribe(account),
            (Fix::IdentityCheck, _) => Change::IdentityCheck,
            (Fix::Subscribe, None) => return Ok((found, false)),
        };
        if !self.arguments.yes {
            let question = match fix {
                Fix::Subscribe => "Subscribe the account to the app, without another address?",
                Fix::IdentityCheck => "Switch the identity check on?",
            };
            if screen.is_some() {
                write!(output, "{WIPE}")?;
            }
            for finding in &found {
                write!(output, "{}", finding.lines(screen))?;
            }
            for line in wrapped(&format!("{question} [y/N] "), screen.unwrap_or(usize::MAX)) {
                write!(output, "{line} ")?;
            }
            output.flush()?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            if !matches!(answer.trim(), "y" | "Y" | "yes") {
                return Ok((found, true));
            }
        }
        let told = self.inspector.change(change);
        let failed = match &told.said {
            Said::Yes(value) if value["success"] != false => None,
            Said::No(no) => Some(no.reason.clone()),
            _ => Some("Meta did not do it".to_owned()),
        };
        match failed {
            None => {
                found = self.look(check);
                for finding in found.iter_mut().filter(|finding| finding.fix.is_some()) {
                    finding.what = format!(
                        "{}; Meta has just taken the change and does not show it yet",
                        finding.what
                    );
                    finding.advice = Some("look again in a minute".to_owned());
                }
            }
            Some(reason) => {
                for finding in found.iter_mut().filter(|finding| finding.fix.is_some()) {
                    finding.what = format!("{}; it could not be put right: {reason}", finding.what);
                    finding.verdict = Verdict::Wrong;
                }
            }
        }
        Ok((found, false))
    }

    fn look(&mut self, check: Check) -> Vec<Finding> {
        match check {
            Check::Store => self.store(),
            Check::Disk => vec![around::disk(free_bytes(&self.config.store.path))],
            Check::Clock => {
                let told = self.inspector.ask(Ask::Token);
                let finding = around::clock(told.date, now().seconds());
                self.token = Some(told);
                vec![finding]
            }
            Check::Encrypted => self.encrypted(),
            Check::Address => self.address(),
            Check::Token => self.token(),
            Check::Number => self.about_meta(|doctor| {
                let told = doctor.inspector.ask(Ask::Number);
                let mut findings = meta::number(&told, &doctor.known);
                findings.extend(meta::number_override(&told, &doctor.known));
                // What is asked of the number after this would fail for the same reason.
                doctor.meta_answers = matches!(told.said, Said::Yes(_));
                findings
            }),
            Check::Sending => self.about_meta(|doctor| {
                let told = doctor.inspector.ask(Ask::Health);
                doctor.known.account = doctor.find_account(&told);
                meta::health(&told)
            }),
            Check::Account if self.meta_answers && self.known.account.is_none() => {
                vec![meta::no_account()]
            }
            Check::Account => self.about_account(|doctor, account| {
                let told = doctor.inspector.ask(Ask::Numbers(account));
                meta::account(&told, &doctor.known)
            }),
            Check::Subscription => self.about_account(|doctor, account| {
                let told = doctor.inspector.ask(Ask::SubscribedApps(account));
                meta::subscription(&told, &doctor.known)
            }),
            Check::App => self.app(),
            Check::Identity => self.about_meta(|doctor| {
                meta::identity_check(&doctor.inspector.ask(Ask::NumberSettings))
            }),
            Check::MailServer => match Mailer::new(&self.config.mail) {
                Ok(mailer) => vec![around::mail_server(&mailer.probe())],
                Err(sentence) => vec![unusable("mail server", sentence)],
            },
            Check::TestMail => self.test_mail(),
            Check::MailNames => self.mail_names(),
            Check::Service(place) => self.service(place),
            Check::Bot => self.bot(),
            Check::Events => self.events(),
        }
    }

    fn about_meta(&mut self, look: impl FnOnce(&mut Self) -> Vec<Finding>) -> Vec<Finding> {
        if self.meta_answers {
            look(self)
        } else {
            Vec::new()
        }
    }

    fn about_account(
        &mut self,
        look: impl FnOnce(&mut Self, &str) -> Vec<Finding>,
    ) -> Vec<Finding> {
        match self.known.account.clone() {
            Some(account) => self.about_meta(|doctor| look(doctor, &account)),
            None => Vec::new(),
        }
    }

    /// The account of the number: as its health tells it, else the one of the token's that has it.
    fn find_account(&self, health: &Told) -> Option<String> {
        let mut targets = self.known.targets.iter().take(TARGETS_MAX);
        let has_number = |account: &&String| {
            let told = self.inspector.ask(Ask::Numbers(account));
            meta::has_number(&told, &self.known)
        };
        meta::account_in_health(health)
            .or_else(|| targets.find(has_number).cloned())
            .or_else(|| self.known.targets.first().cloned())
    }

    fn store(&self) -> Vec<Finding> {
        let path = &self.config.store.path;
        let socket = control::socket_path(path);
        let seen = match control::ask(&socket, &Request::ListKeys) {
            Ok(_) => StoreSeen::InUse,
            Err(AskError::OtherVersion(_)) => StoreSeen::OtherVersion,
            Err(AskError::NoAnswer) => StoreSeen::InUseBySomebody,
            Err(AskError::Denied(_)) => StoreSeen::Denied,
            Err(AskError::NoServer(_) | AskError::Unreachable(_)) => {
                if path.symlink_metadata().is_err() {
                    StoreSeen::Absent
                } else {
                    match serve::open(self.config) {
                        Ok(_) => StoreSeen::Whole,
                        Err(StartError::Store(OpenError::AlreadyOpen(_))) => {
                            StoreSeen::InUseBySomebody
                        }
                        Err(StartError::Store(error)) => StoreSeen::Refused(error),
                        Err(error) => StoreSeen::Unready(error.to_string()),
                    }
                }
            }
        };
        let mut findings = vec![around::store(&seen)];
        let key = match &self.config.store.key {
            StoreKey::File(path) => Some(path),
            StoreKey::Given(_) => None,
        };
        let files: Vec<Mode> = std::iter::once(path)
            .chain(key)
            .filter_map(|path| {
                let meta = path.metadata().ok()?;
                Some(Mode {
                    path: path.display().to_string(),
                    mode: meta.permissions().mode() & 0o7777,
                })
            })
            .collect();
        if !files.is_empty() {
            findings.push(around::modes(&files));
        }
        findings
    }

    fn encrypted(&self) -> Vec<Finding> {
        let Some(tls) = &self.config.tls else {
            return Vec::new();
        };
        let socket = control::socket_path(&self.config.store.path);
        let seen = match control::ask(&socket, &Request::ShowCertificate) {
            Ok(Reply::Certificate(line)) => encrypted::Seen::Line(line),
            Ok(_) => encrypted::Seen::NotThere,
            Err(AskError::NoServer(_)) => return self.before_a_start(tls),
            Err(_) => encrypted::Seen::NobodyToAsk,
        };
        let now_ms = crate::tls::now_s().saturating_mul(1_000);
        encrypted::certificate(&seen, now_ms).into_iter().collect()
    }

    /// Whether a start would find what HTTPS needs.
    fn before_a_start(&self, tls: &crate::config::Tls) -> Vec<Finding> {
        let addresses = tls.listen.iter().chain(&tls.redirect_listen);
        let mut findings: Vec<Finding> = addresses
            .map(|address| encrypted::port(*address, &TcpListener::bind(address).map(drop)))
            .collect();
        if let Source::Acme(settings) = &tls.source {
            let host = settings.directory.host();
            let agent = Agent::new(AgentSettings {
                timeout: ADDRESS_TIME_MAX,
                connections: 1,
                ca_pem: settings.ca_pem.as_deref(),
            });
            findings.push(match agent {
                Ok(agent) => encrypted::authority(&host, &agent.get(&settings.directory, &[])),
                Err(sentence) => unusable("authority", sentence),
            });
        }
        findings
    }

    fn address(&self) -> Vec<Finding> {
        let Some(url) = &self.config.server.public_url else {
            return vec![around::no_address()];
        };
        let get = |path: &str| {
            let endpoint = Endpoint::parse(&format!("{url}{path}"));
            endpoint
                .map_err(unfit)
                .and_then(|endpoint| self.agent.get(&endpoint, &[]))
        };
        let encrypted = Endpoint::parse(url).is_ok_and(|endpoint| endpoint.is_encrypted());
        let alive = around::alive(&get("/healthz"), encrypted);
        if alive.verdict == Verdict::Wrong {
            return vec![alive];
        }
        let challenge = uuid::Uuid::new_v4().simple().to_string();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("hub.mode", "subscribe")
            .append_pair("hub.challenge", &challenge)
            .append_pair(
                "hub.verify_token",
                self.config.whatsapp.verify_token.reveal(),
            )
            .finish();
        let handshake = get(&format!("{WEBHOOK_PATH}?{query}"));
        let mut findings = vec![alive, around::handshake(&handshake, &challenge)];
        if let Some(secret) = self.config.whatsapp.app_secrets.first() {
            let signature = signature::sign(secret, EMPTY_WEBHOOK);
            let headers = [("x-hub-signature-256", signature.as_str())];
            let taken = Endpoint::parse(&format!("{url}{WEBHOOK_PATH}"))
                .map_err(unfit)
                .and_then(|endpoint| self.agent.post_json(&endpoint, &headers, EMPTY_WEBHOOK));
            findings.push(around::signed(&taken));
        }
        findings.extend(around::ready(&get("/readyz")));
        findings
    }

    fn token(&mut self) -> Vec<Finding> {
        let told = match self.token.take() {
            Some(told) => told,
            None => self.inspector.ask(Ask::Token),
        };
        self.meta_answers = meta::is_usable(&told);
        (self.known.app, self.known.targets) = meta::of_token(&told);
        meta::token(&told, now().seconds())
    }

    fn app(&mut self) -> Vec<Finding> {
        // Even when the number is wrong, for this needs the app alone.
        let Some(app) = &self.known.app else {
            return Vec::new();
        };
        let secrets = &self.config.whatsapp.app_secrets;
        let told: Vec<Told> = secrets
            .iter()
            .map(|secret| self.inspector.ask(Ask::Subscriptions(app, secret)))
            .collect();
        meta::app(&told, &self.known)
    }

    fn test_mail(&self) -> Vec<Finding> {
        let Some(to) = &self.mail_to else {
            return Vec::new();
        };
        let business = &self.config.business.name;
        let text = format!(
            "This is a test mail of Portero for {business}. Codes come from the same sender."
        );
        let mail = Mail {
            to: to.clone(),
            subject: format!("Test of Portero for {business}"),
            html: format!("<p>{}</p>", escaped(&text)),
            text,
            id: format!("doctor-{}", uuid::Uuid::new_v4()),
            language: "en",
        };
        match Mailer::new(&self.config.mail) {
            Ok(mailer) => vec![around::test_mail(&mailer.send(&mail))],
            Err(sentence) => vec![unusable("test mail", sentence)],
        }
    }

    fn mail_names(&self) -> Vec<Finding> {
        let servers = match self.arguments.name_server {
            Some(server) => vec![server],
            None => names::system_servers(Path::new("/etc/resolv.conf")),
        };
        let domain = self.config.mail.from.domain();
        let spf = names::texts(domain, &servers);
        let finding = around::spf(&spf);
        if matches!(spf, Records::NoSuchName | Records::Unknown(_)) {
            // Nothing below it either.
            return vec![finding];
        }
        let mut above = Some(domain);
        let mut dmarc = Records::NoSuchName;
        for _ in 0..DMARC_STEPS_MAX {
            let Some(name) = above.filter(|name| name.contains('.')) else {
                break;
            };
            dmarc = names::texts(&format!("_dmarc.{name}"), &servers);
            if around::is_dmarc(&dmarc) || matches!(dmarc, Records::Unknown(_)) {
                break;
            }
            above = name.split_once('.').map(|(_, rest)| rest);
        }
        vec![finding, around::dmarc(&dmarc)]
    }

    fn service(&self, place: usize) -> Vec<Finding> {
        let Some(service) = self.config.services.get(place).map(|service| &service.name) else {
            return Vec::new();
        };
        let nobody = EmailAddress::parse(NOBODY).ok();
        let Some(email) = self.email.as_ref().or(nobody.as_ref()) else {
            return Vec::new();
        };
        let mut runs = Vec::new();
        runs.extend(
            self.services
                .dry_run_find_user(service, email, now(), &fresh_id()),
        );
        let found = runs.iter().find_map(|run| match &run.reading {
            Reading::Users(users) => users.first().cloned(),
            Reading::Token(_) | Reading::Refused(_) => None,
        });
        if let Some(user) = found.filter(|_| self.email.is_some())
            && let Ok(contact) = ContactId::parse(&uuid::Uuid::new_v4().to_string())
        {
            runs.extend(self.services.dry_run_issue_token(
                service,
                &user,
                contact,
                now(),
                &fresh_id(),
            ));
        }
        around::service(service.as_str(), &runs, self.email.is_some())
    }

    fn bot(&self) -> Vec<Finding> {
        let (Some(settings), Some(secret)) =
            (&self.config.bot, self.config.whatsapp.app_secrets.first())
        else {
            return Vec::new();
        };
        let body = SignedBody {
            bytes: EMPTY_WEBHOOK.to_vec(),
            signature: signature::sign(secret, EMPTY_WEBHOOK),
        };
        match Bot::new(settings) {
            Ok(bot) => vec![around::bot(&bot.hand_on(&fresh_id(), &body, None, now()))],
            Err(sentence) => vec![unusable("bot", sentence)],
        }
    }

    fn events(&self) -> Vec<Finding> {
        let Some(settings) = &self.config.events else {
            return Vec::new();
        };
        let timestamp = time::OffsetDateTime::now_utc();
        let timestamp = timestamp.format(&time::format_description::well_known::Rfc3339);
        // A moment of now can be written.
        let timestamp = timestamp.unwrap_or_default();
        let event = json!({"type": "portero.test", "timestamp": timestamp, "data": {}});
        match EventReceiver::new(settings, 1) {
            Ok(receiver) => {
                let told = receiver.tell(&fresh_id(), &event.to_string(), now());
                vec![around::events(&told)]
            }
            Err(sentence) => vec![unusable("events", sentence)],
        }
    }
}

fn unusable(name: &str, sentence: String) -> Finding {
    Finding::wrong(name, sentence, "correct it in the configuration")
}

fn unfit(words: String) -> Broken {
    Broken {
        may_have_arrived: false,
        certificate_refused: false,
        reason: format!("server.public_url {words}"),
    }
}

/// What a user without privileges may still write where the store is.
fn free_bytes(store: &Path) -> Option<u64> {
    let folder = match store.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

fn fresh_id() -> String {
    format!("doctor-{}", uuid::Uuid::new_v4())
}

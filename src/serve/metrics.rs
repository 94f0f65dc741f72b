//! All numbers on one page, for Prometheus.
//!
//! Names and units follow its conventions ("Metric and label naming"). What every program has keeps
//! the names that its own libraries give it (`process_…`).

use super::generation::Current;
use super::reload::Told;
use crate::app::App;
use crate::domain::delivery::Lane;
use crate::metrics::{self, Kind, Text};
use crate::outbox::Outbox;
use crate::services::Services;
use crate::tls;
use crate::web::Web;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use Kind::{Counter, Gauge, Histogram};

/// Everybody who counts something.
pub(super) struct Counting {
    pub(super) current: Arc<Current>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) reloads: Arc<Told>,
    /// When there is HTTPS of its own.
    pub(super) tls: Option<tls::Watch>,
    pub(super) log_lines_dropped: Arc<metrics::Counter>,
    /// The file of the store.
    pub(super) store: PathBuf,
    pub(super) started_at: SystemTime,
}

impl Counting {
    pub(super) fn page(&self) -> String {
        let mut text = Text::default();
        let mut build = text.family(
            "portero_build_info",
            Gauge,
            "The version that runs; always 1.",
        );
        build.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        let generation = self.current.get();
        let app = &*generation.app;
        self.configuration(&mut text);
        let help = "Lines of the log that were dropped: not taken in time, or not to be written.";
        let dropped = self.log_lines_dropped.get();
        text.one("portero_log_lines_dropped_total", Counter, help, dropped);
        requests(&generation.web, &mut text);
        sign_ins(app, &mut text);
        self.deliveries(app, &mut text);
        self.waiting(app, &mut text);
        tokens(app, &mut text);
        services(&generation.services, &mut text);
        self.tls(&mut text);
        self.store(app, &mut text);
        self.process(&mut text);
        text.finish()
    }

    fn configuration(&self, text: &mut Text) {
        let help = "Whether the last reading of the configuration could be used: 1 or 0.";
        let successful = u8::from(self.reloads.last_is_good());
        text.one(
            "portero_config_last_reload_successful",
            Gauge,
            help,
            successful,
        );
        let help = "When a configuration was last taken over, in seconds since 1970.";
        let name = "portero_config_last_reload_success_timestamp_seconds";
        text.one(name, Gauge, help, self.reloads.last_good_seconds());
    }

    fn deliveries(&self, app: &App, text: &mut Text) {
        let help = "Tries to deliver what waited in the outbox, and what became of them.";
        let mut outcomes = text.family("portero_deliveries_total", Counter, help);
        for (lane, counted) in self.outbox.deliveries() {
            for (outcome, count) in counted.outcomes.all() {
                outcomes.sample(&[("lane", lane.name()), ("outcome", outcome)], count);
            }
        }
        let help = "How long the other side of a lane took.";
        let mut durations = text.family("portero_delivery_duration_seconds", Histogram, help);
        for (lane, counted) in self.outbox.deliveries() {
            durations.durations(&[("lane", lane.name())], &counted.durations);
        }
        let help = "What was given up and lies with the dead letters.";
        let mut dead = text.family("portero_dead_letters_total", Counter, help);
        for (lane, counter) in Lane::ALL.iter().zip(&app.counted().dead) {
            dead.sample(&[("lane", lane.name())], counter.get());
        }
    }

    fn waiting(&self, app: &App, text: &mut Text) {
        let health = self.outbox.health();
        let help = "What waits to be sent, 20000 at most: more is in the store alone.";
        let mut waiting = text.family("portero_outbox_entries", Gauge, help);
        for lane in &health {
            waiting.sample(&[("lane", lane.lane.name())], lane.waiting);
        }
        let help = "Age of the oldest entry that waits; 0 when none does.";
        let mut oldest = text.family("portero_outbox_oldest_age_seconds", Gauge, help);
        let now = app.now();
        for lane in Lane::ALL {
            // A store that cannot be read has a metric of its own.
            if let Ok(at) = app.oldest_waiting(lane) {
                let age_ms = at.map_or(0, |at| now.since_ms(at));
                oldest.sample(&[("lane", lane.name())], age_ms as f64 / 1_000.0);
            }
        }
        let help = "Whether sending is paused, until something is put right or as long as the other side asks: 1 or 0.";
        let mut resting = text.family("portero_lane_resting", Gauge, help);
        for lane in &health {
            let is_resting = u8::from(lane.resting.is_some());
            resting.sample(&[("lane", lane.lane.name())], is_resting);
        }
        let help = "Whether something waits and nothing has been taken for minutes, sending being paused or not: 1 or 0.";
        let mut failing = text.family("portero_lane_failing", Gauge, help);
        for lane in &health {
            let is_failing = u8::from(lane.failing.is_some());
            failing.sample(&[("lane", lane.lane.name())], is_failing);
        }
    }

    fn tls(&self, text: &mut Text) {
        let Some(tls) = &self.tls else {
            return;
        };
        let health = tls.health();
        // Without a certificate its end lies at the beginning of time: the alert is the same.
        let help =
            "Last second at which the certificate of HTTPS counts, since 1970; 0 without one.";
        let end = health.not_after_s.unwrap_or(0);
        let name = "portero_tls_certificate_expiry_timestamp_seconds";
        text.one(name, Gauge, help, end);
        let help = "Tries in a row that gave no new certificate for HTTPS.";
        let name = "portero_tls_certificate_failures_in_a_row";
        text.one(name, Gauge, help, health.failures_in_a_row);
    }

    fn store(&self, app: &App, text: &mut Text) {
        let counted = app.counted();
        let help = "Transactions on the store.";
        let mut updates = text.family("portero_store_updates_total", Counter, help);
        for (result, count) in counted.updates.all() {
            updates.sample(&[("result", result)], count);
        }
        let help = "How long a transaction takes, its commit included; several may share one.";
        let mut durations = text.family("portero_store_update_duration_seconds", Histogram, help);
        durations.durations(&[], &counted.update_durations);
        let ready = u8::from(app.is_ready().is_ok());
        let help = "Whether the store can be read: 1 or 0.";
        text.one("portero_store_ready", Gauge, help, ready);
        if let Ok(metadata) = fs::metadata(&self.store) {
            let help = "Size of the file of the store.";
            text.one("portero_store_size_bytes", Gauge, help, metadata.len());
        }
        if let Ok(disk) = rustix::fs::statvfs(&self.store) {
            let help = "Room left on the disk of the store, for the user that Portero runs as.";
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            text.one("portero_store_disk_free_bytes", Gauge, help, free);
            let help = "Size of the disk of the store.";
            let size = disk.f_blocks.saturating_mul(disk.f_frsize);
            text.one("portero_store_disk_size_bytes", Gauge, help, size);
        }
    }

    /// As far as the system tells.
    fn process(&self, text: &mut Text) {
        let since = self
            .started_at
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let help = "When the process started, in seconds since 1970.";
        text.one(
            "process_start_time_seconds",
            Gauge,
            help,
            since.as_secs_f64(),
        );
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        let help = "Time of processors used.";
        text.one("process_cpu_seconds_total", Counter, help, seconds);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        if let Some(kib) = of("VmRSS:") {
            let help = "Memory in use.";
            text.one("process_resident_memory_bytes", Gauge, help, kib * 1_024);
        }
        if let Some(threads) = of("Threads:") {
            text.one("process_threads", Gauge, "Threads.", threads);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            text.one(
                "process_open_fds",
                Gauge,
                "Open files and sockets.",
                files.count(),
            );
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            let help = "Files and sockets that may be open.";
            text.one("process_max_fds", Gauge, help, most);
        }
    }
}

fn requests(web: &Web, text: &mut Text) {
    let help = "Requests answered, by the pattern of their route.";
    let mut requests = text.family("portero_requests_total", Counter, help);
    for (route, counted) in web.requests() {
        for (status, count) in counted.statuses.all() {
            // What never happened would be most of the page; but an answer that is well or
            // is not is there from the start, so that its growth is seen.
            if count > 0 || ["200", "500", "503"].contains(&status) {
                requests.sample(&[("route", route), ("status", status)], count);
            }
        }
    }
    let help = "From a request that came in whole to its answer.";
    let mut durations = text.family("portero_request_duration_seconds", Histogram, help);
    for (route, counted) in web.requests() {
        if counted.durations.count() > 0 {
            durations.durations(&[("route", route)], &counted.durations);
        }
    }
}

fn sign_ins(app: &App, text: &mut Text) {
    let help = "What the elements of webhooks, answers of services and acts on pages came to.";
    let mut outcomes = text.family("portero_outcomes_total", Counter, help);
    for (outcome, count) in app.outcomes() {
        outcomes.sample(&[("outcome", outcome)], count);
    }
    let help = "What happened with sign-ins, by the names of the audit.";
    let mut events = text.family("portero_sign_in_events_total", Counter, help);
    for (event, count) in app.counted().sign_ins.all() {
        events.sample(&[("event", event)], count);
    }
}

fn tokens(app: &App, text: &mut Text) {
    let counted = app.counted();
    let help = "Questions for a token, and what they came to.";
    let mut results = text.family("portero_token_requests_total", Counter, help);
    for (result, count) in counted.tokens.all() {
        results.sample(&[("result", result)], count);
    }
    let help = "Where tokens came from that contacts had a right to: held is the cache.";
    let mut places = text.family("portero_token_sources_total", Counter, help);
    for (source, count) in counted.token_places.all() {
        places.sample(&[("source", source)], count);
    }
    let help = "Calls for a token at the services and the directory.";
    let mut calls = text.family("portero_token_calls_total", Counter, help);
    for (result, count) in counted.token_calls.all() {
        calls.sample(&[("result", result)], count);
    }
}

fn services(services: &Services, text: &mut Text) {
    let health = services.health();
    let help = "Whether a service is left alone after failures in a row: 1 or 0.";
    let mut resting = text.family("portero_service_resting", Gauge, help);
    for (name, _, health) in &health {
        let is_resting = u8::from(health.next_try.is_some());
        resting.sample(&[("service", name.as_str())], is_resting);
    }
    let help = "Calls in a row that a service did not answer.";
    let mut failures = text.family("portero_service_failures_in_a_row", Gauge, help);
    for (name, _, health) in &health {
        failures.sample(&[("service", name.as_str())], health.failures_in_a_row);
    }
}

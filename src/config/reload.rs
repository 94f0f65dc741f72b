//! What another reading of the file changes in a server that runs: which keys differ, which of them
//! hold at once, and which wait for a restart.

use super::keys::Effect;
use super::read::Setting;
use super::{Config, Loaded, Log, Server, Store, keys};
use crate::tls::Source;
use std::collections::{BTreeMap, BTreeSet};

/// The keys that differ, as `table.key` in the order of the file; `[name]` behind the name of a
/// table tells which one of several. Never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// What holds from now on.
    pub at_once: Vec<String>,
    /// What waits for a restart: the value that runs holds on.
    pub at_restart: Vec<String>,
}

impl Changed {
    /// Whether anything of these tables holds from now on.
    pub fn concerns(&self, tables: &[&str]) -> bool {
        let table_of = |path: &str| path.split(['.', '[']).next().map(str::to_owned);
        (self.at_once.iter())
            .filter_map(|path| table_of(path))
            .any(|table| tables.contains(&table.as_str()))
    }
}

impl Loaded {
    /// What holds when `self` runs and `new` was read: everything that is new, but for the keys
    /// that wait for a restart.
    #[must_use]
    pub fn reloaded(&self, new: Loaded) -> (Loaded, Changed) {
        let (before, after) = (named(&self.settings), named(&new.settings));
        let mut changed = Changed::default();
        let mut kept = BTreeSet::new();
        for (path, setting) in &after {
            let was = before.iter().find(|(known, _)| known == path);
            if was.is_some_and(|(_, was)| was.content == setting.content) {
                continue;
            }
            match setting.effect {
                Effect::AtRestart => {
                    kept.insert((setting.table.clone(), setting.name.clone()));
                    changed.at_restart.push(path.clone());
                }
                Effect::AtOnce => changed.at_once.push(path.clone()),
            }
        }
        // Without its place a key would be for a listener that it was not written for.
        let listener = ("metrics".to_owned(), keys::METRICS_LISTEN.name.to_owned());
        let key = keys::METRICS_KEY.path();
        if kept.contains(&listener) && changed.at_once.contains(&key) {
            changed.at_once.retain(|path| *path != key);
            changed.at_restart.push(key);
            kept.insert(("metrics".to_owned(), keys::METRICS_KEY.name.to_owned()));
        }
        // Another public address has another certificate, which is asked for from the next start on.
        let acme = keys::TLS_ACME.path();
        let names = |loaded: &Loaded| match &loaded.config.tls.as_ref()?.source {
            Source::Acme(settings) => Some(settings.names.clone()),
            Source::Files(_) => None,
        };
        let (names_before, names_after) = (names(self), names(&new));
        let is_told = changed
            .at_restart
            .iter()
            .any(|path| path.starts_with("tls."));
        if names_after.is_some()
            && names_before.is_some()
            && names_before != names_after
            && !is_told
        {
            changed.at_restart.push(acme);
        }
        let is_there = |path: &str| after.iter().any(|(known, _)| known == path);
        let gone = before.iter().filter(|(path, _)| !is_there(path));
        changed.at_once.extend(gone.map(|(path, _)| path.clone()));
        changed.at_once = whole_tables(changed.at_once, &before, &after);
        changed.at_once.extend(reordered(&before, &after));
        let settings = (new.settings.into_iter())
            .map(|setting| {
                let is_same = |was: &&Setting| {
                    (&was.table, &was.name) == (&setting.table, &setting.name)
                        && kept.contains(&(was.table.clone(), was.name.clone()))
                };
                let was = self.settings.iter().find(is_same);
                was.cloned().unwrap_or(setting)
            })
            .collect();
        let loaded = Loaded {
            config: self.config.reloaded(new.config),
            warnings: new.warnings,
            settings,
        };
        (loaded, changed)
    }
}

impl Config {
    /// `new`, with what this one runs with until the next restart. Every field is named, so that
    /// none is forgotten.
    fn reloaded(&self, new: Config) -> Config {
        let listens_elsewhere = self.metrics.as_ref().map(|metrics| metrics.listen)
            != new.metrics.as_ref().map(|metrics| metrics.listen);
        Config {
            server: Server {
                listen: self.server.listen.clone(),
                public_url: new.server.public_url,
                hosts: new.server.hosts,
                trusted_proxies: new.server.trusted_proxies,
                connections_max: self.server.connections_max,
                connections_per_address_max: self.server.connections_per_address_max,
            },
            store: Store {
                path: self.store.path.clone(),
                key: self.store.key.clone(),
                cache_bytes: self.store.cache_bytes,
                snapshots: new.store.snapshots,
                snapshot_folder: new.store.snapshot_folder,
            },
            // The files of a certificate are read again wherever they are named.
            tls: self.tls.clone(),
            log: Log {
                format: self.log.format,
                level: new.log.level,
            },
            metrics: match listens_elsewhere {
                true => self.metrics.clone(),
                false => new.metrics,
            },
            // What is made of `bot.connections` alone is the number of threads, once.
            bot: new.bot,
            business: new.business,
            whatsapp: new.whatsapp,
            mail: new.mail,
            sign_in: new.sign_in,
            events: new.events,
            services: new.services,
            pages: new.pages,
            api_keys: new.api_keys,
            directory: new.directory,
            identity: new.identity,
            policy: new.policy,
            texts: new.texts,
            status: new.status,
            weakened: new.weakened,
        }
    }
}

/// Settings by a path that names one of several tables by its name: its number says little once
/// another one has come or gone.
fn named(settings: &[Setting]) -> Vec<(String, &Setting)> {
    let names: BTreeMap<&str, &str> = (settings.iter())
        .filter(|setting| setting.table.ends_with(']') && setting.name == "name")
        .filter_map(|setting| Some((setting.table.as_str(), setting.value.as_deref()?)))
        .map(|(table, name)| (table, name.trim_matches('"')))
        .collect();
    let path = |setting: &Setting| {
        let (table, inner) = match setting.table.find(']') {
            Some(at) => setting.table.split_at(at + 1),
            None => (setting.table.as_str(), ""),
        };
        let table = match (names.get(table), table.split_once('[')) {
            (Some(name), Some((kind, _))) => format!("{kind}[{name}]"),
            _ => table.to_owned(),
        };
        format!("{table}{inner}.{}", setting.name)
    };
    settings
        .iter()
        .map(|setting| (path(setting), setting))
        .collect()
}

/// A table that has come or gone as a whole is named once, not key by key.
fn whole_tables(
    paths: Vec<String>,
    before: &[(String, &Setting)],
    after: &[(String, &Setting)],
) -> Vec<String> {
    let table = |path: &str| path.rsplit_once('.').map(|(table, _)| table.to_owned());
    let tables = |settings: &[(String, &Setting)]| -> BTreeSet<String> {
        settings
            .iter()
            .filter_map(|(path, _)| table(path))
            .collect()
    };
    let (before, after) = (tables(before), tables(after));
    let mut named: Vec<String> = Vec::new();
    for path in paths {
        let whole = table(&path).filter(|table| before.contains(table) != after.contains(table));
        // Those inside of one of several go with it.
        let whole = whole.map(|whole| match whole.find(']') {
            Some(end) if before.contains(&whole[..=end]) != after.contains(&whole[..=end]) => {
                whole[..=end].to_owned()
            }
            _ => whole,
        });
        let name = whole.unwrap_or(path);
        if !named.contains(&name) {
            named.push(name);
        }
    }
    named
}

/// The kinds of tables whose order is another one: people read the services in it.
fn reordered(before: &[(String, &Setting)], after: &[(String, &Setting)]) -> Vec<String> {
    let order = |settings: &[(String, &Setting)], kind: &str| -> Vec<String> {
        let prefix = format!("{kind}[");
        let mut order = Vec::new();
        for (path, _) in settings
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix))
        {
            let table = path.split(']').next().unwrap_or(path).to_owned();
            if !order.contains(&table) {
                order.push(table);
            }
        }
        order
    };
    let is_reordered = |kind: &&str| {
        let (mut before, mut after) = (order(before, kind), order(after, kind));
        let known = before.clone();
        before.retain(|table| after.contains(table));
        after.retain(|table| known.contains(table));
        before != after
    };
    let kinds = keys::ARRAYS.into_iter().filter(is_reordered);
    kinds.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    fn text(more: &str) -> String {
        format!(
            "business.name = \"La Espiga\"\n\
             server.public_url = \"https://portero.example.com\"\n\
             whatsapp.phone_number_id = \"106540352242922\"\n\
             whatsapp.access_token = \"env:TOKEN\"\n\
             whatsapp.app_secrets = [\"env:APP\"]\n\
             whatsapp.verify_token = \"env:VERIFY\"\n\
             mail.server = \"smtp.example.com\"\n\
             mail.from = \"portero@example.com\"\n{more}"
        )
    }

    fn service(name: &str) -> String {
        format!(
            "[[services]]\nname = \"{name}\"\nfind_user = \"https://{name}.example/find\"\n\
             issue_token = \"https://{name}.example/token\"\nsecret = \"{SECRET}\"\n"
        )
    }

    fn loaded(text: &str, token: &str) -> Loaded {
        let value = |name: &str| match name {
            "TOKEN" => Some(token.to_owned()),
            name => Some(format!("{name}-0123456789abcdef0123456789abcdef")),
        };
        Config::parse(text, Path::new("/nowhere"), &value).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// What changes between two texts.
    fn changed(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
        let (_, changed) = loaded(&text(before), "one").reloaded(loaded(&text(after), "one"));
        (changed.at_once, changed.at_restart)
    }

    #[test]
    fn the_same_file_changes_nothing_wherever_its_lines_stand() {
        let more = format!(
            "limits.code_digits = 6\nlog.level = \"warn\"\n{}",
            service("erp")
        );
        let moved = format!(
            "log.level = \"warn\"\n\n\nlimits.code_digits = 6\n{}",
            service("erp")
        );
        assert_eq!(changed(&more, &moved), (vec![], vec![]));
    }

    #[test]
    fn a_secret_that_is_another_one_is_a_change_although_the_file_is_the_same() {
        let (one, two) = (loaded(&text(""), "one"), loaded(&text(""), "two"));
        let (reloaded, changed) = one.reloaded(two);
        assert_eq!(changed.at_once, ["whatsapp.access_token"]);
        assert!(changed.concerns(&["whatsapp"]) && !changed.concerns(&["mail"]));
        assert_eq!(reloaded.config.whatsapp.sender.access_token.reveal(), "two");
        assert!(!format!("{reloaded:?}").contains("\"two\""));
    }

    #[test]
    fn what_comes_and_goes_is_named_as_a_whole_and_by_its_name() {
        let (erp, crm) = (service("erp"), service("crm"));
        let both = format!("{erp}{crm}");
        let at_once = |before: &str, after: &str| changed(before, after).0;
        assert_eq!(at_once(&erp, &both), ["services[crm]"]);
        assert_eq!(at_once(&both, &crm), ["services[erp]"]);
        assert_eq!(at_once(&both, &format!("{crm}{erp}")), ["services"]);
        let slow = crm.replace("[[services]]", "[[services]]\ntimeout_seconds = 3");
        assert_eq!(
            at_once(&both, &format!("{erp}{slow}")),
            ["services[crm].timeout_seconds"]
        );
        assert_eq!(
            at_once("", "texts.es.cancelled = \"Listo.\"\n"),
            ["texts.es"]
        );
        assert_eq!(
            at_once(
                "texts.es.cancelled = \"Listo.\"\n",
                "texts.es.cancelled = \"Ya.\"\n"
            ),
            ["texts.es.cancelled"]
        );
    }

    /// A line for each key that waits for a restart, other than what holds without it.
    const AT_RESTART: [&str; 9] = [
        "server.listen = \"127.0.0.1:1\"",
        "server.connections_max = 99",
        "server.connections_per_address_max = 9",
        "store.path = \"other.redb\"",
        "store.key = \"file:other.key\"",
        "store.cache_bytes = 33554432",
        "bot.connections = 3",
        "log.format = \"json\"",
        "metrics.listen = \"127.0.0.1:9\"",
    ];

    #[test]
    fn another_public_address_is_told_to_have_its_certificate_after_a_restart() {
        let acme = "tls.acme = true\ntls.acme_terms_agreed = true\n";
        let elsewhere = |more: &str| text(more).replace("portero.example.com", "other.example.com");
        let running = loaded(&text(acme), "one");
        let (reloaded, changed) = running.reloaded(loaded(&elsewhere(acme), "one"));
        assert_eq!(changed.at_once, ["server.public_url"]);
        assert_eq!(changed.at_restart, ["tls.acme"]);
        // And again, until it has been started anew.
        let (_, changed) = reloaded.reloaded(loaded(&elsewhere(acme), "one"));
        assert_eq!(
            (changed.at_once, changed.at_restart),
            (vec![], vec!["tls.acme".to_owned()])
        );
        let (_, changed) = loaded(&text(""), "one").reloaded(loaded(&elsewhere(""), "one"));
        assert!(changed.at_restart.is_empty());
    }

    #[test]
    fn what_waits_for_a_restart_is_kept_and_named_again_until_then() {
        let waits: Vec<String> = (keys::ALL.iter())
            .filter(|key| key.effect == Effect::AtRestart && key.table != "tls")
            .map(|key| key.path())
            .collect();
        let lines = AT_RESTART.map(|line| line.split(' ').next().unwrap());
        assert_eq!(waits, lines, "each has a line here");
        let running = loaded(&text(""), "one");
        for line in AT_RESTART {
            let new = || loaded(&text(line), "one");
            let (reloaded, changed) = running.reloaded(new());
            let path = line.split(' ').next().unwrap();
            assert_eq!(changed.at_once, [] as [&str; 0], "{path}");
            assert_eq!(changed.at_restart, [path]);
            let held = format!("{:?}", reloaded.config);
            assert_eq!(held, format!("{:?}", running.config), "{path}");
            assert_eq!(reloaded.reloaded(new()).1, changed, "{path}");
        }
        let tls = keys::ALL.iter().filter(|key| key.table == "tls");
        assert!(tls.clone().count() > 9);
        for key in tls {
            assert_eq!(key.effect, Effect::AtRestart, "{}", key.path());
        }
        let elsewhere = loaded(&text("tls.listen = \"127.0.0.1:9\""), "one");
        let (_, changed) = running.reloaded(elsewhere);
        assert_eq!(
            (changed.at_once.len(), changed.at_restart),
            (0, vec!["tls.listen".to_owned()])
        );
        // What waits for another listener waits with it.
        let open = "metrics.listen = \"0.0.0.0:9\"\nmetrics.key = \"env:METRICS\"";
        let running = loaded(&text(open), "one");
        let (reloaded, changed) = running.reloaded(loaded(&text(AT_RESTART[8]), "one"));
        assert_eq!(changed.at_restart, ["metrics.listen", "metrics.key"]);
        assert!(reloaded.config.metrics.unwrap().key.is_some());
    }
}

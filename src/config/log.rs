//! `[log]`: what is written about the program's work.

use super::keys;
use super::read::{Reader, choice};
use toml::de::DeTable;

/// What is written about the program's work.
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: tracing::Level,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words each.
    Human,
    /// One JSON object each.
    Json,
}

pub(super) fn log(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Log> {
    use tracing::Level;
    let table = reader.table(root, "log");
    let format = reader.one(
        &table,
        &keys::LOG_FORMAT,
        choice(&[("human", LogFormat::Human), ("json", LogFormat::Json)]),
    );
    let level = reader.one(
        &table,
        &keys::LOG_LEVEL,
        choice(&[
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ]),
    );
    Some(Log {
        format: format?,
        level: level?,
    })
}

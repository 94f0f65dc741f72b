//! `[directory]`: users kept by Portero itself.

use super::keys;
use super::read::{Reader, switch, text};
use super::values::title;
use toml::de::DeTable;

/// Users kept by Portero itself.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Whether it is asked for users.
    pub enabled: bool,
    /// What people call it.
    pub title: String,
}

impl Directory {
    /// Its name as a service.
    pub const SERVICE: &str = "directory";
}

pub(super) fn directory(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
    business: Option<&str>,
) -> Option<Directory> {
    let table = reader.table(root, "directory");
    let enabled = reader.maybe(&table, &keys::DIRECTORY_ENABLED, switch);
    let title = reader.maybe(&table, &keys::DIRECTORY_TITLE, text(title));
    let with_services = root.contains_key("services");
    let enabled = match enabled? {
        Some(enabled) => enabled,
        None => {
            let origin = if with_services {
                "default with [[services]]"
            } else {
                "default without [[services]]"
            };
            reader.derived(&keys::DIRECTORY_ENABLED, &(!with_services).into(), origin);
            !with_services
        }
    };
    if !enabled && !with_services {
        reader.problem(
            &table,
            &keys::DIRECTORY_ENABLED,
            "there would be no users at all; write true, or add a [[services]]",
        );
    }
    let title = match title? {
        Some(title) => title,
        None => {
            let name = business?;
            reader.derived(
                &keys::DIRECTORY_TITLE,
                &name.into(),
                "the name of the business",
            );
            name.to_owned()
        }
    };
    Some(Directory { enabled, title })
}

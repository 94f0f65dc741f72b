//! `[status]`: who may look at the status page.

use super::keys;
use super::read::Reader;
use crate::web::StatusPassword;
use toml::de::DeTable;

/// The password of the status page; without one there is no such page.
pub(super) fn status(
    reader: &mut Reader<'_>,
    root: &DeTable<'_>,
) -> Option<Option<StatusPassword>> {
    let table = reader.table(root, "status");
    reader.maybe_hidden(&table, &keys::STATUS_PASSWORD_HASH, |text| {
        StatusPassword::parse(text)
            .map_err(|wrong| format!("{wrong}; `portero status password` makes one"))
    })
}

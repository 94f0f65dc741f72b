//! `[business]`: who is speaking.

use super::keys;
use super::read::{Reader, choice, text};
use super::values::title;
use crate::domain::language::Language;
use crate::web::{Color, Logo};
use toml::de::DeTable;

/// Who is speaking.
#[derive(Clone, Debug)]
pub struct Business {
    /// What people call it.
    pub name: String,
    /// Spoken with people whose country does not tell.
    pub language: Language,
    /// Of the sign-in page.
    pub color: Option<Color>,
    /// On the sign-in page.
    pub logo: Option<Logo>,
}

pub(super) fn business(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Business> {
    let table = reader.table(root, "business");
    let name = reader.one(&table, &keys::BUSINESS_NAME, text(title));
    let languages = Language::ALL.map(|language| (language.code(), language));
    let language = reader.one(&table, &keys::BUSINESS_LANGUAGE, choice(&languages));
    let color = reader.maybe(
        &table,
        &keys::BUSINESS_COLOR,
        text(|color| Color::parse(color).map_err(|wrong| wrong.to_string())),
    );
    let logo = reader.file(&table, &keys::BUSINESS_LOGO, Logo::BYTES_MAX, |bytes| {
        Logo::parse(bytes).map_err(|wrong| wrong.to_string())
    });
    Some(Business {
        name: name?,
        language: language?,
        color: color?,
        logo: logo?,
    })
}

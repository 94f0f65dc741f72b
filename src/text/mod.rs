//! draft

use crate::domain::id::Language;

/// One sentence that an operator wants to say differently.
#[derive(Clone, Debug)]
pub struct Override {
    /// In which language.
    pub language: Language,
    /// Which sentence, by its key.
    pub key: String,
    /// The new words, with the placeholders of the original.
    pub words: String,
}

/// Every sentence in every language.
#[derive(Clone, Debug, Default)]
pub struct Texts {}

impl Texts {
    /// The built-in sentences with `overrides` laid over them; every problem at once, each with the
    /// index of the override it belongs to.
    pub fn with_overrides(_overrides: &[Override]) -> Result<Texts, Vec<(usize, String)>> {
        Ok(Texts::default())
    }

    /// Key, placeholders and words of every sentence in a language, in the order of the documentation.
    pub fn catalogue(
        &self,
        _language: Language,
    ) -> Vec<(&'static str, &'static [&'static str], String)> {
        Vec::new()
    }
}

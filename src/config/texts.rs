//! `[texts.…]`: sentences in other words, laid over the built-in ones.

use super::read::{Reader, expected, printable};
use crate::domain::language::Language;
use crate::text::{Override, Texts};
use toml::de::{DeTable, DeValue};

pub(super) fn texts(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Texts> {
    let table = reader.table(root, "texts");
    let mut overrides = Vec::new();
    let mut places = Vec::new();
    for (code, at, sentences) in table.entries() {
        let path = format!("texts.{}", printable(code));
        let Ok(language) = Language::parse(code) else {
            let words = "unknown language; write [texts.es], [texts.en] or [texts.pt]";
            reader.problem_at(Some(at), path, words);
            continue;
        };
        let Some(sentences) = sentences.as_table() else {
            let words = format!("must be a table; write [{path}] and sentences below it");
            reader.problem_at(Some(at), path, words);
            continue;
        };
        for (key, value) in sentences {
            let at = key.span().start;
            match value.get_ref() {
                DeValue::String(words) => {
                    overrides.push(Override {
                        language,
                        key: key.get_ref().to_string(),
                        words: words.to_string(),
                    });
                    places.push(at);
                }
                other => {
                    let key = format!("{path}.{}", printable(key.get_ref()));
                    reader.problem_at(Some(at), key, expected("text in quotes", other));
                }
            }
        }
    }
    match Texts::with_overrides(&overrides) {
        Ok(texts) => {
            for (sentence, at) in overrides.iter().zip(places) {
                reader.sentence(sentence, at);
            }
            Some(texts)
        }
        Err(problems) => {
            for (index, words) in problems {
                let at = places.get(index).copied();
                let key = match overrides.get(index) {
                    Some(sentence) => format!(
                        "texts.{}.{}",
                        sentence.language.code(),
                        printable(&sentence.key)
                    ),
                    None => "texts".to_owned(),
                };
                reader.problem_at(at, key, words);
            }
            None
        }
    }
}

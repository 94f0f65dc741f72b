//! From a value of TOML to one that is asked for, or all that is wrong with it; and back, for people.

use crate::config::problem::did_you_mean;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// Longest list in the file.
const LIST_MAX: usize = 64;

/// What a conversion found wrong, at a place of its own when it is one element of a list.
pub(in crate::config) struct Fault {
    pub(super) at: Option<usize>,
    pub(super) words: String,
}

impl<T: Into<String>> From<T> for Fault {
    fn from(words: T) -> Fault {
        Fault {
            at: None,
            words: words.into(),
        }
    }
}

/// A value or everything that is wrong with it.
pub(in crate::config) type Converted<T> = Result<T, Vec<Fault>>;

/// Text, made into something by `parse`.
pub(in crate::config) fn text<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Converted<T> {
    move |value| match value {
        DeValue::String(text) => parse(text).map_err(one_fault),
        other => Err(one_fault(expected("text in quotes", other))),
    }
}

/// One of a few words.
pub(in crate::config) fn choice<T: Copy>(
    choices: &[(&'static str, T)],
) -> impl FnOnce(&DeValue<'_>) -> Converted<T> {
    text(move |written| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        choices
            .iter()
            .find(|(name, _)| *name == written)
            .map(|(_, value)| *value)
            .ok_or_else(|| match did_you_mean(written, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"? (one of {})", names.join(", ")),
                None => format!("must be one of {}", names.join(", ")),
            })
    })
}

/// A whole number in a range; `why` says where the range is from, when that is not plain.
pub(in crate::config) fn number(
    range: RangeInclusive<u64>,
    why: &'static str,
) -> impl FnOnce(&DeValue<'_>) -> Converted<u64> {
    move |value| {
        let DeValue::Integer(integer) = value else {
            return Err(one_fault(expected("a whole number without quotes", value)));
        };
        let (least, most) = (range.start(), range.end());
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(one_fault(format!(
                "must be {least} to {most}, not {integer}{why}"
            ))),
        }
    }
}

/// `true` or `false`.
pub(in crate::config) fn switch(value: &DeValue<'_>) -> Converted<bool> {
    value
        .as_bool()
        .ok_or_else(|| vec![expected("true or false without quotes", value).into()])
}

/// A list of texts, each made into something by `parse`; a single text is a list of one.
pub(in crate::config) fn list<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Converted<Vec<T>> {
    move |value| {
        let elements = match value {
            DeValue::String(text) => return parse(text).map(|one| vec![one]).map_err(one_fault),
            DeValue::Array(elements) => elements,
            other => {
                return Err(one_fault(expected(
                    "a list of texts, such as [\"one\", \"two\"]",
                    other,
                )));
            }
        };
        if elements.len() > LIST_MAX {
            return Err(one_fault(format!("a list has {LIST_MAX} elements at most")));
        }
        let (mut parsed, mut faults) = (Vec::new(), Vec::new());
        for element in elements {
            let one = match element.get_ref() {
                DeValue::String(text) => parse(text),
                other => Err(expected("text in quotes", other)),
            };
            match one {
                Ok(one) => parsed.push(one),
                Err(words) => faults.push(Fault {
                    at: Some(element.span().start),
                    words,
                }),
            }
        }
        if faults.is_empty() {
            Ok(parsed)
        } else {
            Err(faults)
        }
    }
}

fn one_fault(words: String) -> Vec<Fault> {
    vec![words.into()]
}

/// "expected …, found …", without the value.
pub(in crate::config) fn expected(form: &str, found: &DeValue<'_>) -> String {
    let found = match found {
        DeValue::String(_) => "text in quotes",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("expected {form}, found {found}")
}

/// A name from the file as problems may show it.
pub(in crate::config) fn printable(name: &str) -> String {
    const CHARACTERS_MAX: usize = 40; // longer than any key, shorter than any token
    if name.is_empty() || name.chars().count() > CHARACTERS_MAX || name.contains(char::is_control) {
        return "(a strange name)".to_owned();
    }
    name.to_owned()
}

/// The same value as JSON, for what JSON has.
pub(super) fn as_json(value: &DeValue<'_>) -> Result<serde_json::Value, String> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(switch) => (*switch).into(),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| "has a number that is too large".to_owned())?
            .into(),
        DeValue::Float(float) => float
            .as_str()
            .parse::<f64>()
            .map_err(|_| "has a number that cannot be read".to_owned())?
            .into(),
        DeValue::Datetime(_) => return Err("has a date; write it in quotes".to_owned()),
        DeValue::Array(items) => items
            .iter()
            .map(|item| as_json(item.get_ref()))
            .collect::<Result<_, _>>()?,
        DeValue::Table(entries) => entries
            .iter()
            .map(|(name, value)| Ok((name.get_ref().to_string(), as_json(value.get_ref())?)))
            .collect::<Result<_, String>>()?,
    })
}

pub(super) fn as_toml(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => as_text(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(|e| as_toml(e.get_ref())).collect();
            format!("[{}]", elements.join(", "))
        }
        DeValue::Table(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(name, value)| {
                    format!("{} = {}", as_text(name.get_ref()), as_toml(value.get_ref()))
                })
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        // No key takes one of these.
        DeValue::Float(_) | DeValue::Datetime(_) => String::new(),
    }
}

pub(super) fn value_as_toml(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => as_text(text),
        other => other.to_string(),
    }
}

/// A basic string of TOML: the escapes of JSON are TOML's too, but for DEL.
pub(in crate::config) fn as_text(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

//! The languages that Portero speaks, and where in the world each is usual.

use super::id::{Bsuid, Malformed, WaId};

/// A language that Portero speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Spanish.
    Spanish,
    /// English.
    English,
    /// Portuguese, as written in Brazil.
    Portuguese,
}

impl Language {
    /// Every language, in the order of the documentation.
    pub const ALL: [Language; 3] = [Language::Spanish, Language::English, Language::Portuguese];

    /// ISO 639-1 code.
    pub fn code(self) -> &'static str {
        match self {
            Language::Spanish => "es",
            Language::English => "en",
            Language::Portuguese => "pt",
        }
    }

    /// Reads an ISO 639-1 code.
    pub fn parse(code: &str) -> Result<Language, Malformed> {
        Language::ALL
            .into_iter()
            .find(|language| language.code() == code)
            .ok_or(Malformed("the languages are \"es\", \"en\" and \"pt\""))
    }

    /// The language usual where this account is from, when Portero speaks it: by the BSUID's
    /// country, else by the calling code of the number.
    pub fn usual_for(wa_id: Option<&WaId>, bsuid: Option<&Bsuid>) -> Option<Language> {
        bsuid
            .and_then(|id| language_of_country(id.country()))
            .or_else(|| wa_id.and_then(|id| language_of_number(id.as_str())))
    }
}

fn language_of_country(country: &str) -> Option<Language> {
    const SPANISH: &str = "AR BO CL CO CR CU DO EC ES GQ GT HN MX NI PA PE PR PY SV UY VE";
    const PORTUGUESE: &str = "AO BR CV GW MZ PT ST TL";
    const ENGLISH: &str =
        "AG AU BB BS BZ CA DM GB GD GH GY IE JM KE KN LC MT NG NZ SG TT UG US VC ZA ZM ZW";
    let among = |list: &str| list.split(' ').any(|code| code == country);
    if among(SPANISH) {
        Some(Language::Spanish)
    } else if among(PORTUGUESE) {
        Some(Language::Portuguese)
    } else if among(ENGLISH) {
        Some(Language::English)
    } else {
        None
    }
}

fn language_of_number(digits: &str) -> Option<Language> {
    // Longest prefix first: the North American plan shares +1 with Spanish-speaking islands.
    const PREFIXES: [(&str, Language); 66] = {
        use Language::{English as En, Portuguese as Pt, Spanish as Es};
        [
            ("1787", Es),
            ("1809", Es),
            ("1829", Es),
            ("1849", Es),
            ("1939", Es),
            ("220", En),
            ("233", En),
            ("234", En),
            ("254", En),
            ("256", En),
            ("260", En),
            ("263", En),
            ("238", Pt),
            ("239", Pt),
            ("240", Es),
            ("244", Pt),
            ("245", Pt),
            ("258", Pt),
            ("351", Pt),
            ("353", En),
            ("356", En),
            ("501", En),
            ("502", Es),
            ("503", Es),
            ("504", Es),
            ("505", Es),
            ("506", Es),
            ("507", Es),
            ("591", Es),
            ("592", En),
            ("593", Es),
            ("595", Es),
            ("598", Es),
            ("670", Pt),
            ("27", En),
            ("34", Es),
            ("44", En),
            ("51", Es),
            ("52", Es),
            ("53", Es),
            ("54", Es),
            ("55", Pt),
            ("56", Es),
            ("57", Es),
            ("58", Es),
            ("61", En),
            ("64", En),
            ("65", En),
            ("1242", En),
            ("1246", En),
            ("1264", En),
            ("1268", En),
            ("1284", En),
            ("1345", En),
            ("1441", En),
            ("1473", En),
            ("1649", En),
            ("1664", En),
            ("1758", En),
            ("1767", En),
            ("1784", En),
            ("1868", En),
            ("1869", En),
            ("1876", En),
            ("1658", En),
            ("1", En),
        ]
    };
    PREFIXES
        .iter()
        .find(|(prefix, _)| digits.starts_with(prefix))
        .map(|(_, language)| *language)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_language_follows_the_country() {
        let of = |digits: &str| Language::usual_for(Some(&WaId::parse(digits).unwrap()), None);
        assert_eq!(of("573001234567"), Some(Language::Spanish));
        assert_eq!(of("5511987654321"), Some(Language::Portuguese));
        assert_eq!(of("16505551234"), Some(Language::English));
        assert_eq!(
            of("18095551234"),
            Some(Language::Spanish),
            "the Dominican Republic shares +1"
        );
        assert_eq!(of("4915112345678"), None);
        let bsuid = Bsuid::parse("BR.1").unwrap();
        assert_eq!(
            Language::usual_for(Some(&WaId::parse("573001234567").unwrap()), Some(&bsuid)),
            Some(Language::Portuguese),
            "the BSUID's country is the account's own"
        );
    }
}

//! What callers send and are answered: JSON as the published description has it, and nothing else.

use crate::app::rfc_3339;
use crate::app::{ContactView, DemandView, NamedAccount};
use crate::domain::account::{Account, Company};
use crate::domain::id::ServiceName;
use crate::domain::requirement::ProofWanted;
use crate::domain::time::SECOND_MS;
use crate::web::error_about;
use crate::web::request::json_body;
use rouille::{Request, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

/// Longest age of a proof that can be asked for.
const AGE_SECONDS_MAX: u64 = 366 * 24 * 60 * 60;

// --- what is asked ----------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenBody {
    #[serde(default, deserialize_with = "there")]
    pub identity: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub contact: Option<String>,
    pub service: String,
    #[serde(default, deserialize_with = "there")]
    pub account: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub company: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub scope: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkBody {
    #[serde(default, deserialize_with = "there")]
    pub identity: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub contact: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub send: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChallengeBody {
    #[serde(default, deserialize_with = "there")]
    pub identity: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub contact: Option<String>,
    #[serde(default, deserialize_with = "there")]
    pub proof: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    pub max_age_seconds: Option<u64>,
}

/// A field that may be left out, but not be `null`.
fn there<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A whole number however it is written: to JSON Schema 300 and 300.0 are the same (draft 2020-12,
/// section 4.2.3).
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    /// Up to here every whole number is exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Point(f64),
    }
    match Number::deserialize(from)? {
        Number::Whole(number) => Ok(Some(number)),
        Number::Point(number) if number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number) => {
            // Whole, not negative and exact.
            Ok(Some(number as u64))
        }
        Number::Point(_) => Err(serde::de::Error::custom("not a whole number")),
    }
}

/// The body as it came.
pub(super) fn raw(request: &Request) -> Result<Zeroizing<Vec<u8>>, Response> {
    json_body(request, || invalid(&json!({})))
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    // A list would be read as the fields in their order.
    let first = body.iter().find(|b| !b.is_ascii_whitespace());
    if first != Some(&b'{') {
        return Err(invalid(&json!({ "line": 1, "column": 1 })));
    }
    // The parser's own words may quote the body; a place in it does not.
    serde_json::from_slice(body)
        .map_err(|error| invalid(&json!({ "line": error.line(), "column": error.column() })))
}

pub(super) fn wrong_field(field: &str) -> Response {
    invalid(&json!({ "field": field }))
}

fn invalid(details: &serde_json::Value) -> Response {
    error_about(
        400,
        "BODY_INVALID",
        "The body is not what /openapi.json describes",
        details,
    )
}

/// A service by the name that it has in the configuration.
pub(super) fn service(text: &str) -> Result<ServiceName, Response> {
    ServiceName::parse(text).map_err(|_| wrong_field("service"))
}

/// A service's own id of a user or a company, as an earlier answer named it.
pub(super) fn own_id(id: String, field: &str) -> Result<String, Response> {
    let count = id.chars().count();
    if (1..=Account::TEXT_CHARS_MAX).contains(&count) {
        Ok(id)
    } else {
        Err(wrong_field(field))
    }
}

pub(super) fn proof(text: Option<&str>) -> Result<ProofWanted, Response> {
    let Some(text) = text else {
        return Ok(ProofWanted::Any);
    };
    (ProofWanted::ALL.into_iter())
        .find(|proof| proof.name() == text)
        .ok_or_else(|| wrong_field("proof"))
}

pub(super) fn age_max_ms(seconds: Option<u64>) -> Result<Option<u64>, Response> {
    match seconds {
        Some(seconds) if seconds > AGE_SECONDS_MAX => Err(wrong_field("maxAgeSeconds")),
        seconds => Ok(seconds.map(|seconds| seconds * SECOND_MS)),
    }
}

// --- what is answered, field by field in the order of the description -------------------------------

#[derive(Serialize)]
pub(super) struct Named<'a> {
    pub id: &'a str,
    pub name: &'a str,
}

impl<'a> From<&'a Company> for Named<'a> {
    fn from(company: &'a Company) -> Named<'a> {
        Named {
            id: &company.id,
            name: &company.name,
        }
    }
}

#[derive(Serialize)]
pub(super) struct AccountAnswer<'a> {
    pub account: Named<'a>,
    pub company: Named<'a>,
}

impl<'a> From<&'a NamedAccount> for AccountAnswer<'a> {
    fn from(named: &'a NamedAccount) -> AccountAnswer<'a> {
        AccountAnswer {
            account: Named {
                id: &named.id,
                name: &named.name,
            },
            company: (&named.company).into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Token<'a> {
    pub token: &'a str,
    pub token_type: &'a str,
    pub expires_in: u64,
    pub service: &'a str,
    #[serde(flatten)]
    pub account: AccountAnswer<'a>,
    pub scope: &'a str,
}

#[derive(Serialize)]
pub(super) struct Need<'a> {
    pub need: &'a str,
    pub say: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Link<'a> {
    pub id: &'a str,
    pub state: &'a str,
    pub expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Challenge<'a> {
    pub id: &'a str,
    pub state: &'a str,
    pub proof: &'a str,
    pub expires_at: String,
}

impl<'a> Challenge<'a> {
    pub fn of(id: &'a str, view: &DemandView) -> Challenge<'a> {
        Challenge {
            id,
            state: view.standing.name(),
            proof: view.proof.name(),
            expires_at: rfc_3339(view.expires_at),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Proved<'a> {
    pub state: &'a str,
    pub proof: &'a str,
    pub proved_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Contact<'a> {
    user_uuid: String,
    language: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number_ending: Option<&'a str>,
    bindings: Vec<BindingAnswer<'a>>,
    scopes: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BindingAnswer<'a> {
    service: &'a str,
    account: Named<'a>,
    company: Named<'a>,
    proof: &'a str,
    proved_at: String,
    scope: &'a str,
}

pub(super) fn contact(view: &ContactView) -> Response {
    Response::json(&Contact {
        user_uuid: view.user_uuid.to_string(),
        language: view.language.code(),
        number_ending: view.number_ending.as_deref(),
        bindings: (view.bindings.iter())
            .map(|(binding, scope)| BindingAnswer {
                service: binding.service.as_str(),
                account: Named {
                    id: &binding.user_id,
                    name: &binding.name,
                },
                company: (&binding.company).into(),
                proof: binding.proof.name(),
                proved_at: rfc_3339(binding.proved_at),
                scope: scope.name(),
            })
            .collect(),
        scopes: view.scope.map(|scope| scope.name()).into_iter().collect(),
    })
}

//! `[whatsapp]`: the business's number, and the app behind it.

use super::keys;
use super::read::{Reader, number, text};
use super::senders;
use super::values::{HTTP_OPENED, Url, header_value, u32_of};
use crate::domain::delivery::Lane;
use crate::domain::id::{PhoneNumberId, WaId};
use crate::domain::secret::Secret;
use crate::whatsapp;
use toml::de::DeTable;

/// App secrets: the current one, the previous one, and room for a second mistake.
const APP_SECRETS_MAX: usize = 4;

/// The number and the app behind it.
#[derive(Clone, Debug)]
pub struct WhatsApp {
    /// For sending.
    pub sender: whatsapp::Settings,
    /// The number that people write to. There if anybody can sign in on the web.
    pub number: Option<WaId>,
    /// Where a browser is sent to open the chat, as written: without `?`.
    pub chat_url: String,
    /// One or more; a webhook signed with any of them is accepted.
    pub app_secrets: Vec<Secret>,
    /// For Meta's verification request; not empty.
    pub verify_token: Secret,
    /// Messages sent in any second.
    pub messages_per_second: u32,
}

pub(super) fn whatsapp(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<WhatsApp> {
    let table = reader.table(root, "whatsapp");
    let phone_number_id = reader.one(
        &table,
        &keys::WHATSAPP_PHONE_NUMBER_ID,
        text(|text| PhoneNumberId::parse(text).map_err(|wrong| wrong.to_string())),
    );
    let number_dialed = reader.maybe(&table, &keys::WHATSAPP_NUMBER, text(dialable));
    let access_token = reader.secret(&table, &keys::WHATSAPP_ACCESS_TOKEN, header_value);
    let app_secrets = reader.secrets(
        &table,
        &keys::WHATSAPP_APP_SECRETS,
        APP_SECRETS_MAX,
        header_value,
    );
    let verify_token = reader.secret(&table, &keys::WHATSAPP_VERIFY_TOKEN, header_value);
    let api_url = reader.one(&table, &keys::WHATSAPP_API_URL, text(Url::parse));
    let api_version = reader.one(
        &table,
        &keys::WHATSAPP_API_VERSION,
        text(|version| {
            let major = version
                .strip_prefix('v')
                .and_then(|rest| rest.strip_suffix(".0"));
            match major {
                Some(digits)
                    if (1..=3).contains(&digits.len())
                        && digits.bytes().all(|b| b.is_ascii_digit()) =>
                {
                    Ok(version.to_owned())
                }
                _ => Err("must look like \"v25.0\"".to_owned()),
            }
        }),
    );
    let chat_url = reader.one(&table, &keys::WHATSAPP_CHAT_URL, text(Url::opened));
    if chat_url
        .as_ref()
        .is_some_and(|url| !url.endpoint.is_encrypted())
    {
        reader.weakens(&table, &keys::WHATSAPP_CHAT_URL, HTTP_OPENED);
    }
    let messages_per_second = reader.one(
        &table,
        &keys::WHATSAPP_MESSAGES_PER_SECOND,
        number(1..=1_000, "; Meta's highest rate is 1,000"),
    );
    let ca_pem = reader.certificates(&table, &keys::WHATSAPP_CA_FILE);
    let (access_token, app_secrets, verify_token) = (access_token?, app_secrets?, verify_token?);
    let other_secrets = app_secrets.iter().chain([&access_token]);
    if other_secrets
        .into_iter()
        .any(|secret| secret.matches(verify_token.reveal()))
    {
        // It travels in the address of a request, which logs keep.
        reader.problem(
            &table,
            &keys::WHATSAPP_VERIFY_TOKEN,
            "must be a word of its own, not the access token or an app secret",
        );
    }
    Some(WhatsApp {
        sender: whatsapp::Settings {
            api_url: api_url?.text,
            api_version: api_version?,
            phone_number_id: phone_number_id?,
            access_token,
            ca_pem: ca_pem?,
            connections: senders(Lane::Chat),
        },
        number: number_dialed?,
        chat_url: chat_url?.text,
        app_secrets,
        verify_token,
        messages_per_second: u32_of(messages_per_second?),
    })
}

/// A number as people dial it from abroad; only its digits are kept (S-40).
fn dialable(text: &str) -> Result<WaId, String> {
    /// The longest number in the world (ITU-T E.164, section 6).
    const DIGITS_MAX: usize = 15;
    let wrong = "must be the number as dialed from abroad, country code first, such as \"+57 300 111 2233\"";
    let digits: String = text
        .strip_prefix('+')
        .unwrap_or(text)
        .chars()
        .filter(|c| ![' ', '-'].contains(c))
        .collect();
    match WaId::parse(&digits) {
        // No country code begins with 0: that is a prefix for dialing.
        Ok(number) if !digits.starts_with('0') && digits.len() <= DIGITS_MAX => Ok(number),
        _ => Err(wrong.to_owned()),
    }
}

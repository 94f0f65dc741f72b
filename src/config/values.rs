//! What values of several tables have in common: how they are written, and what is refused.

use crate::domain::id::EmailAddress;
use crate::http::Endpoint;

/// Longest name or title, in characters: they stand in sentences on a phone.
const TITLE_CHARS_MAX: usize = 60;

/// An address that is called or that others call.
pub(super) struct Url {
    /// As written, without a slash at the end.
    pub(super) text: String,
    pub(super) endpoint: Endpoint,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Url, String> {
        Ok(Url {
            text: text.trim_end_matches('/').to_owned(),
            endpoint: Endpoint::parse(text)?,
        })
    }

    /// One that is somebody else's: a slash at its end is part of it.
    pub(super) fn kept(text: &str) -> Result<Url, String> {
        Ok(Url {
            text: text.to_owned(),
            ..Url::parse(text)?
        })
    }

    /// One to which more is appended.
    pub(super) fn base(text: &str) -> Result<Url, String> {
        if text.contains('?') {
            return Err("must be without `?` and what follows".to_owned());
        }
        Url::parse(text)
    }

    /// One that is opened in a browser with a query of ours: kept as written, because a slash at
    /// its end is part of somebody else's address. Its characters have no meaning in a header.
    pub(super) fn opened(text: &str) -> Result<Url, String> {
        let url = Url::base(text)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/[]@!$&()*+=%".contains(&b);
        if !text.bytes().all(plain) {
            return Err(
                "must be written with letters, digits and signs such as - . / %".to_owned(),
            );
        }
        Ok(Url {
            text: text.to_owned(),
            ..url
        })
    }
}

/// What is said of plain http to this machine.
pub(super) const HTTP_CALLED: &str =
    "is called over http://, unencrypted; that is allowed to this machine only";
pub(super) const HTTP_OPENED: &str =
    "is http://, so that only browsers on this machine can open it";

/// A name for people.
pub(super) fn title(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TITLE_CHARS_MAX || text.contains(char::is_control)
    {
        return Err(format!(
            "must be 1 to {TITLE_CHARS_MAX} characters on one line"
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn address(text: &str) -> Result<EmailAddress, String> {
    EmailAddress::parse(text).map_err(|wrong| wrong.to_string())
}

/// A secret that can travel in a header.
pub(super) fn header_value(secret: &str) -> Result<(), String> {
    if secret.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be ASCII letters, digits and signs, without spaces".to_owned())
    }
}

/// `whsec_` and base64 of 24 to 64 bytes, as Standard Webhooks has it.
pub(super) fn signing_secret(secret: &str) -> Result<(), String> {
    use base64::Engine;
    let decoded = secret
        .strip_prefix("whsec_")
        .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
    match decoded {
        Some(bytes) if (24..=64).contains(&bytes.len()) => Ok(()),
        _ => Err("must be whsec_ and base64 of 24 to 64 random bytes; `echo whsec_$(head -c 32 /dev/urandom | base64)` makes one".to_owned()),
    }
}

/// For numbers whose range was checked: no target has a `usize` below 32 bits here.
pub(super) fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// For numbers whose range was checked.
pub(super) fn u32_of(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

//! The rules of calls that can be checked from the call alone, and how Meta refuses.

use super::super::cast::PEOPLE;
use super::super::door;
use super::super::watch::random_hex;
use super::{Button, Link};
use rouille::Response;
use serde_json::{Value, json};
use std::net::IpAddr;

/// An error as Meta words it (section 5).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: u32,
    pub(super) details: String,
}

pub(super) fn refusal(code: u32, details: impl Into<String>) -> Refusal {
    let status = if code == 190 { 401 } else { 400 };
    Refusal {
        status,
        code,
        details: details.into(),
    }
}

pub(super) fn meaning(code: u32) -> &'static str {
    match code {
        2 => "Service temporarily unavailable",
        33 => "Parameter value is not valid",
        100 => "Invalid parameter",
        190 => "Invalid OAuth access token - Cannot parse access token",
        130429 => "Rate limit hit",
        131000 => "Something went wrong",
        131008 => "Required parameter is missing",
        131009 => "Parameter value is not valid",
        131016 => "Service unavailable",
        131026 => "Message undeliverable",
        131030 => "Recipient phone number not in allowed list",
        131047 => "Re-engagement message",
        131051 => "Unsupported message type",
        131056 => "(Business Account, Consumer Account) pair rate limit hit",
        137000 => "Recipient identity key hash mismatch",
        _ => "An error of the demo",
    }
}

impl Refusal {
    pub(super) fn response(&self) -> Response {
        let (code, meaning) = (self.code, meaning(self.code));
        let error = json!({"error": {
            "message": format!("(#{code}) {meaning}"),
            "type": "OAuthException",
            "code": code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": format!("A{}", random_hex(10)),
        }});
        door::json(self.status, &error)
    }
}

/// A message that passed every check.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) phone: usize,
    /// `contacts[]` of the answer.
    pub(super) contact: Value,
    pub(super) content: Content,
    pub(super) quotes: Option<String>,
    pub(super) tag: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) body: String,
    pub(super) footer: Option<String>,
    pub(super) buttons: Vec<Button>,
    pub(super) link: Option<Link>,
}

pub(super) fn expect_fields(object: &Value, known: &[&str]) -> Result<(), Refusal> {
    let fields = object.as_object().into_iter().flatten();
    for (field, _) in fields {
        if !known.contains(&field.as_str()) {
            return Err(refusal(100, format!("Unexpected key \"{field}\"")));
        }
    }
    Ok(())
}

/// A text of 1 to `chars_max` characters.
fn text(value: &Value, name: &str, chars_max: usize) -> Result<String, Refusal> {
    let Some(text) = value.as_str() else {
        return Err(refusal(131008, format!("{name} is required and is a text")));
    };
    match text.chars().count() {
        0 => Err(refusal(131009, format!("{name} is empty"))),
        length if length > chars_max => Err(refusal(
            131009,
            format!("{name} is longer than {chars_max} characters"),
        )),
        _ => Ok(text.to_owned()),
    }
}

/// Every rule of sections 3.1 to 3.3 that can be checked from the body alone.
pub(super) fn checked(body: &Value) -> Result<Outgoing, Refusal> {
    expect_fields(
        body,
        &[
            "messaging_product",
            "recipient_type",
            "to",
            "recipient",
            "type",
            "text",
            "interactive",
            "context",
            "biz_opaque_callback_data",
            "recipient_identity_key_hash",
        ],
    )?;
    if body["messaging_product"] != "whatsapp" {
        return Err(refusal(100, "messaging_product must be whatsapp"));
    }
    if body
        .get("recipient_type")
        .is_some_and(|kind| kind != "individual")
    {
        return Err(refusal(100, "recipient_type must be individual"));
    }
    // If both are given, `to` wins (section 2.6).
    let (phone, contact) = match (body.get("to"), body.get("recipient")) {
        (Some(to), _) => by_number(to)?,
        (None, Some(recipient)) => by_bsuid(recipient)?,
        (None, None) => return Err(refusal(100, "The parameter to is required")),
    };
    let tag = match body.get("biz_opaque_callback_data") {
        None => None,
        Some(tag) => Some(text(tag, "biz_opaque_callback_data", 512)?),
    };
    let quotes = match body.get("context") {
        None => None,
        Some(context) => Some(text(&context["message_id"], "context.message_id", 512)?),
    };
    let content = match body.get("type").map_or(Some("text"), Value::as_str) {
        Some("text") => {
            let object = &body["text"];
            expect_fields(object, &["body", "preview_url"])?;
            Content {
                body: text(&object["body"], "text.body", 4_096)?,
                ..Content::default()
            }
        }
        Some("interactive") => interactive(&body["interactive"])?,
        _ => {
            return Err(refusal(
                131051,
                "this demo takes text and interactive messages",
            ));
        }
    };
    Ok(Outgoing {
        phone,
        contact,
        content,
        quotes,
        tag,
    })
}

fn by_number(to: &Value) -> Result<(usize, Value), Refusal> {
    let input = to.as_str().unwrap_or_default();
    // Meta would prepend the business's country to a number without `+`, and would strip the
    // letters of a BSUID and write to a stranger (sections 2.6 and 2.7).
    let digits = input.strip_prefix('+').unwrap_or_default();
    if !(5..=20).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refusal(100, "to must be + and the digits of a number"));
    }
    let known = PEOPLE.iter().position(|person| person.wa_id == digits);
    let phone =
        known.ok_or_else(|| refusal(131030, "Recipient phone number not in allowed list"))?;
    Ok((phone, json!({"input": input, "wa_id": digits})))
}

fn by_bsuid(recipient: &Value) -> Result<(usize, Value), Refusal> {
    let input = recipient.as_str().unwrap_or_default();
    let known = PEOPLE.iter().position(|person| person.bsuid == input);
    let phone = known.ok_or_else(|| refusal(100, "recipient is not a user of this business"))?;
    Ok((phone, json!({"input": input, "user_id": input})))
}

fn interactive(object: &Value) -> Result<Content, Refusal> {
    expect_fields(object, &["type", "header", "body", "action", "footer"])?;
    expect_fields(&object["body"], &["text"])?;
    let mut content = Content {
        body: text(&object["body"]["text"], "interactive.body.text", 1_024)?,
        footer: match object.get("footer") {
            None => None,
            Some(footer) => Some(text(&footer["text"], "interactive.footer.text", 60)?),
        },
        ..Content::default()
    };
    if let Some(header) = object.get("header") {
        let header = text(&header["text"], "interactive.header.text", 60)?;
        content.body = format!("{header}\n{}", content.body);
    }
    let action = &object["action"];
    match object["type"].as_str() {
        Some("button") => content.buttons = buttons(action)?,
        Some("cta_url") => content.link = Some(link(action)?),
        _ => {
            return Err(refusal(
                131009,
                "interactive.type must be button or cta_url",
            ));
        }
    }
    Ok(content)
}

/// The one link button of a message (section 3.2).
fn link(action: &Value) -> Result<Link, Refusal> {
    expect_fields(action, &["name", "parameters"])?;
    if action["name"] != "cta_url" {
        return Err(refusal(131009, "action.name must be cta_url"));
    }
    let parameters = &action["parameters"];
    expect_fields(parameters, &["display_text", "url"])?;
    let url = text(&parameters["url"], "action.parameters.url", 2_000)?;
    if !is_web_address(&url) {
        return Err(refusal(131009, "action.parameters.url is no web address"));
    }
    Ok(Link {
        title: text(&parameters["display_text"], "display_text", 20)?,
        url,
    })
}

/// `https`, or `http` to this machine: nobody should send the other kind, though Meta takes it.
fn is_web_address(url: &str) -> bool {
    let Ok(url) = url.parse::<ureq::http::Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match url.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_here,
        _ => false,
    }
}

fn buttons(action: &Value) -> Result<Vec<Button>, Refusal> {
    expect_fields(action, &["buttons"])?;
    let list = action["buttons"].as_array().map_or(&[][..], Vec::as_slice);
    if !(1..=3).contains(&list.len()) {
        return Err(refusal(131009, "1 to 3 buttons"));
    }
    let mut buttons: Vec<Button> = Vec::new();
    for button in list {
        if button["type"] != "reply" {
            return Err(refusal(131009, "a button's type must be reply"));
        }
        let id = text(&button["reply"]["id"], "button id", 256)?;
        let title = text(&button["reply"]["title"], "button title", 20)?;
        if id.trim() != id {
            return Err(refusal(
                131009,
                "a button id must not begin or end with a space",
            ));
        }
        if buttons
            .iter()
            .any(|other| other.id == id || other.title == title)
        {
            return Err(refusal(131009, "button ids and titles must differ"));
        }
        buttons.push(Button { id, title });
    }
    Ok(buttons)
}

//! Judgements over what Meta says (Meta's contract, sections 4, 5 and 8). Nothing here asks
//! anybody, and nothing of Meta's own words is repeated: they may quote numbers.

use super::finding::{Finding, Fix};
use crate::whatsapp::inspect::{No, Said, Told, id_in};
use serde_json::Value;

const DAY: u64 = 86_400;

/// A token that ends within this time stops the business before anybody notices: those of the
/// dashboard last hours.
const TOKEN_SHORT: u64 = 3 * DAY;

/// A token with an end is worth a note from so long before it on.
const TOKEN_NOTE: u64 = 30 * DAY;

const PERMANENT: &str = "make a permanent token: Business settings > Users > System users > generate, expiry \"never\"; write it in whatsapp.access_token";

/// A phone number has at most 15 digits (E.164), mostly 10 to 13; ids of numbers have 15 and more.
const PHONE_DIGITS_MAX: usize = 13;

/// What is known besides the answer that is judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// `whatsapp.phone_number_id`.
    pub number_id: String,
    /// `whatsapp.number`, digits.
    pub number: Option<String>,
    /// Whose token it is.
    pub app: Option<String>,
    /// The account of the number, as far as Meta told it.
    pub account: Option<String>,
    /// Accounts that the token is for, if it is for some only.
    pub targets: Vec<String>,
    /// `server.public_url` with the path of the webhook.
    pub callback: Option<String>,
}

/// The answer, or the finding that there is none to judge.
fn said<'t>(name: &str, told: &'t Told) -> Result<Result<&'t Value, &'t No>, Finding> {
    match &told.said {
        Said::Yes(value) => Ok(Ok(value)),
        Said::No(no) => Ok(Err(no)),
        Said::Odd(status) => Err(Finding::wrong(
            name,
            format!("something that is not Meta answered HTTP {status}"),
            "something stands between here and Meta: check whatsapp.api_url, proxies and firewalls; metastatus.com/whatsapp-business-api tells whether it is Meta itself",
        )),
        Said::Nothing {
            certificate_refused: true,
            reason,
        } => Err(Finding::wrong(
            name,
            format!("the certificate of whatsapp.api_url is refused: {reason}"),
            "a proxy that opens TLS stands in between, or the clock is wrong; whatsapp.ca_file names a private authority",
        )),
        Said::Nothing { reason, .. } => Err(Finding::silence(
            name,
            format!("Meta does not answer: {reason}"),
            "let this machine reach the host of whatsapp.api_url, and look whether it can look up names",
        )),
    }
}

fn refused(name: &str, no: &No) -> Finding {
    Finding::wrong(
        name,
        format!("Meta refuses: {}", no.reason),
        no.advice
            .unwrap_or("see the code in Meta's list of errors for the Cloud API"),
    )
}

/// The answer, or the findings to return at once.
macro_rules! or_return {
    ($name:expr, $told:expr) => {
        match said($name, $told) {
            Ok(Ok(value)) => value,
            Ok(Err(no)) => return vec![refused($name, no)],
            Err(finding) => return vec![finding],
        }
    };
}

/// How long that is, in the unit that people would use.
pub(super) fn span(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / DAY, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// What the token says of itself, for the checks after it.
pub(super) fn of_token(told: &Told) -> (Option<String>, Vec<String>) {
    let Said::Yes(value) = &told.said else {
        return (None, Vec::new());
    };
    let data = &value["data"];
    let scopes = data["granular_scopes"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let mut targets: Vec<String> = scopes
        .iter()
        .filter(|scope| {
            let name = scope["scope"].as_str().unwrap_or_default();
            name.starts_with("whatsapp_business_")
        })
        .flat_map(|scope| scope["target_ids"].as_array().cloned().unwrap_or_default())
        .filter_map(|id| id_in(&id))
        .collect();
    targets.sort();
    targets.dedup();
    (id_in(&data["app_id"]), targets)
}

/// Whether the checks after this one can find anything out with this token.
pub(super) fn is_usable(told: &Told) -> bool {
    match &told.said {
        Said::Yes(value) => value["data"]["is_valid"] != false,
        Said::No(no) => !matches!(no.code, 0 | 102 | 190),
        Said::Odd(_) | Said::Nothing { .. } => false,
    }
}

/// The token: its kind, its end, its scopes.
pub(super) fn token(told: &Told, now: u64) -> Vec<Finding> {
    const NAME: &str = "Meta token";
    if let Said::No(no) = &told.said
        && is_usable(told)
    {
        return vec![Finding::look(
            NAME,
            format!("Meta does not tell about it: {}", no.reason),
            "paste it at developers.facebook.com/tools/debug/accesstoken to see its end and its permissions",
        )];
    }
    let data = &or_return!(NAME, told)["data"];
    let end = data["expires_at"].as_u64().unwrap_or(0);
    if end != 0 && end <= now {
        let what = format!("it expired {} ago", span(now - end));
        return vec![Finding::wrong(NAME, what, PERMANENT)];
    }
    if data["is_valid"] == false {
        let what = "Meta does not take it any more: it was revoked, or its user changed";
        return vec![Finding::wrong(NAME, what, PERMANENT)];
    }
    let mut findings = Vec::new();
    let kind = data["type"].as_str().unwrap_or_default();
    let whose = match kind {
        "SYSTEM_USER" => "a system user's",
        "USER" => "a person's",
        _ => "",
    };
    findings.push(match (kind, end) {
        ("APP" | "PAGE", _) => {
            let what = "it is the token of an app or a page, which cannot send messages";
            Finding::wrong(NAME, what, PERMANENT)
        }
        (_, 0) if kind == "USER" => Finding::look(
            NAME,
            "it is a person's, and ends when they change their password or leave",
            PERMANENT,
        ),
        (_, 0) => Finding::fine(
            NAME,
            format!("{whose}, without an end").trim_start_matches(", "),
        ),
        (_, end) if end - now < TOKEN_SHORT => {
            let what = format!(
                "it ends in {}: those of the dashboard are for a first try",
                span(end - now)
            );
            Finding::wrong(NAME, what, PERMANENT)
        }
        (_, end) if end - now < TOKEN_NOTE => {
            Finding::look(NAME, format!("it ends in {}", span(end - now)), PERMANENT)
        }
        (_, end) => Finding::fine(NAME, format!("good for {}", span(end - now))),
    });
    let access_end = data["data_access_expires_at"].as_u64().unwrap_or(0);
    if access_end != 0 && access_end < now.saturating_add(TOKEN_NOTE) {
        let what = match access_end.checked_sub(now) {
            Some(left) => format!("its access to data ends in {}", span(left)),
            None => "its access to data has ended".to_owned(),
        };
        findings.push(Finding::look(NAME, what, PERMANENT));
    }
    findings.push(scopes(data));
    findings
}

fn scopes(data: &Value) -> Finding {
    const NAME: &str = "permissions";
    let has = |wanted: &str| {
        let list = |key: &str| data[key].as_array().cloned().unwrap_or_default();
        list("scopes").iter().any(|scope| scope == wanted)
            || (list("granular_scopes").iter()).any(|scope| scope["scope"] == wanted)
    };
    if !has("whatsapp_business_messaging") {
        return Finding::wrong(
            NAME,
            "whatsapp_business_messaging is missing: no message can be sent",
            "generate the token again and tick whatsapp_business_messaging and whatsapp_business_management",
        );
    }
    if !has("whatsapp_business_management") {
        return Finding::look(
            NAME,
            "whatsapp_business_management is missing: the account cannot be looked at from here",
            "generate the token again and tick both whatsapp_business_messaging and whatsapp_business_management",
        );
    }
    Finding::fine(NAME, "messaging and management")
}

/// The number: whether it is one, and whether it works.
pub(super) fn number(told: &Told, known: &Known) -> Vec<Finding> {
    const NAME: &str = "number";
    let value = match said(NAME, told) {
        Ok(Ok(value)) => value,
        Ok(Err(no)) => return vec![not_a_number(no, known)],
        Err(finding) => return vec![finding],
    };
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    let mut findings = Vec::new();
    let mut add = |finding| findings.push(finding);
    const REGISTER: &str = "register it: POST /{phone number id}/register with messaging_product and a PIN of six digits (WhatsApp Manager shows how)";
    match text("status") {
        "" | "CONNECTED" => {}
        status @ ("PENDING" | "UNVERIFIED" | "DISCONNECTED" | "MIGRATED") => add(Finding::wrong(
            NAME,
            format!("it is not registered for the Cloud API ({status})"),
            REGISTER,
        )),
        status @ ("BANNED" | "RESTRICTED" | "FLAGGED" | "RATE_LIMITED" | "DELETED" | "OFFLINE") => {
            add(Finding::wrong(
                NAME,
                format!("Meta holds it back ({status})"),
                "see WhatsApp Manager > Phone numbers for the reason and how to appeal",
            ));
        }
        _ => add(Finding::look(
            NAME,
            "Meta names a status that is not known here",
            "see WhatsApp Manager > Phone numbers",
        )),
    }
    if matches!(text("platform_type"), "ON_PREMISE" | "NOT_APPLICABLE") && findings.is_empty() {
        findings.push(Finding::wrong(NAME, "it is not on the Cloud API", REGISTER));
    }
    let digits = |text: &str| -> String { text.chars().filter(char::is_ascii_digit).collect() };
    let displayed = digits(text("display_phone_number"));
    if let Some(number) = &known.number
        && !displayed.is_empty()
        && *number != displayed
    {
        findings.push(Finding::wrong(
            NAME,
            "whatsapp.number is another number than the one with whatsapp.phone_number_id: links lead to the wrong chat",
            "write the number that WhatsApp Manager shows for this id in whatsapp.number",
        ));
    }
    if text("code_verification_status") == "NOT_VERIFIED" {
        findings.push(Finding::look(
            NAME,
            "Meta has not verified that it is yours",
            "verify it by SMS or call in WhatsApp Manager",
        ));
    }
    if matches!(text("name_status"), "DECLINED" | "EXPIRED") {
        findings.push(Finding::look(
            NAME,
            "its display name was declined: people see the number alone",
            "propose another display name in WhatsApp Manager",
        ));
    }
    match text("quality_rating") {
        "RED" => findings.push(Finding::wrong(
            NAME,
            "its quality is low: Meta may stop it",
            "find out in WhatsApp Manager why people block it, and write less",
        )),
        "YELLOW" => findings.push(Finding::look(
            NAME,
            "its quality is medium",
            "see in WhatsApp Manager why people block or report it",
        )),
        _ => {}
    }
    if text("account_mode") == "SANDBOX" {
        findings.push(Finding::look(
            NAME,
            "it is a test number: it writes to five listed phones only",
            "list your phone under API Setup > To; for everybody, add a number of your own",
        ));
    }
    if findings.is_empty() {
        let throughput = value["throughput"]["level"].as_str().unwrap_or_default();
        let words = match throughput {
            "HIGH" => "connected, with high throughput",
            _ => "connected",
        };
        findings.push(Finding::fine(NAME, words));
    }
    findings
}

/// Which of the other ids was written in its place.
fn not_a_number(no: &No, known: &Known) -> Finding {
    const NAME: &str = "number";
    const WHERE: &str =
        "write the \"Phone number ID\" of WhatsApp > API Setup in whatsapp.phone_number_id";
    let id = &known.number_id;
    let is_account = no.is_about_node("WhatsAppBusinessAccount")
        || known.targets.contains(id)
        || known.account.as_ref() == Some(id);
    let words = if is_account {
        "whatsapp.phone_number_id is the id of the WhatsApp account"
    } else if known.app.as_ref() == Some(id) || no.is_about_node("Application") {
        "whatsapp.phone_number_id is the id of the app"
    } else if known.number.as_ref() == Some(id)
        || matches!(no.code, 33 | 100) && id.len() <= PHONE_DIGITS_MAX
    {
        "whatsapp.phone_number_id is the phone number itself"
    } else if matches!(no.code, 33 | 100) {
        return Finding::wrong(
            NAME,
            "there is no number with this id, or the token does not reach it",
            "assign the WhatsApp account to the token's system user with full control, and compare whatsapp.phone_number_id with WhatsApp > API Setup",
        );
    } else {
        return refused(NAME, no);
    };
    Finding::wrong(NAME, words, WHERE)
}

/// The account of the number, as its health tells it.
pub(super) fn account_in_health(told: &Told) -> Option<String> {
    let Said::Yes(value) = &told.said else {
        return None;
    };
    let entities = value["health_status"]["entities"].as_array()?;
    let account = entities
        .iter()
        .find(|entity| entity["entity_type"] == "WABA")?;
    id_in(&account["id"])
}

/// Whether number, account, portfolio and app may send. Each part tells of itself; what Meta says
/// of all of them together is also *blocked* where only calls are, which Portero does not take.
pub(super) fn health(told: &Told) -> Vec<Finding> {
    const NAME: &str = "sending";
    let health = &or_return!(NAME, told)["health_status"];
    let entities = health["entities"].as_array().map_or(&[][..], Vec::as_slice);
    let mut findings: Vec<Finding> = entities.iter().flat_map(of_entity).collect();
    if findings.is_empty() {
        findings.push(match health["can_send_message"].as_str() {
            Some("LIMITED" | "BLOCKED") if entities.is_empty() => Finding::wrong(
                NAME,
                "Meta holds back messages and does not say which part is the reason",
                "see WhatsApp Manager > Overview",
            ),
            _ => Finding::fine(NAME, "number, account, portfolio and app may send"),
        });
    }
    findings
}

fn of_entity(entity: &Value) -> Vec<Finding> {
    let state = entity["can_send_message"].as_str().unwrap_or("AVAILABLE");
    if state == "AVAILABLE" {
        // Errors beside it are about calls.
        return Vec::new();
    }
    let list = |key: &str| entity[key].as_array().map_or(&[][..], Vec::as_slice);
    let (errors, limits) = (list("errors"), list("additional_info"));
    let blocked = state == "BLOCKED";
    let kind = entity["entity_type"].as_str().unwrap_or_default();
    let mentions = |words: &[&str]| {
        let of_errors = errors.iter().map(|error| &error["error_description"]);
        (of_errors.chain(limits).filter_map(Value::as_str)).any(|text| {
            let text = text.to_lowercase();
            words.iter().any(|word| text.contains(word))
        })
    };
    let has = |codes: &[u64]| {
        let code = |error: &Value| error["error_code"].as_u64();
        (errors.iter().filter_map(code)).any(|code| codes.contains(&code))
    };
    if has(&[141_006, 131_042]) || mentions(&["payment"]) {
        return vec![Finding::wrong(
            "payment",
            "the account has no payment method that works: messages stop when the free ones of the month are used up",
            "add a payment method in Business settings > Billing & payments, for this WhatsApp account",
        )];
    }
    if has(&[141_010]) || mentions(&["verification", "verified"]) && kind == "BUSINESS" {
        return vec![Finding::look(
            "portfolio",
            "the business is not verified: it may first write to few people a day; answers are not limited",
            "verify it in Business settings > Security Center when you need more",
        )];
    }
    let (name, what, advice) = match kind {
        "APP" if mentions(&["development", "unpublished", "published", "live mode"]) => (
            "app",
            "it is not published: Meta keeps back messages of real people",
            "publish it: App Dashboard > Publish; a privacy policy address is needed",
        ),
        "APP" => (
            "app",
            "Meta holds back the app itself",
            "publish it if it is not (App Dashboard > Publish), and see its alerts there",
        ),
        "PHONE_NUMBER" if mentions(&["display name"]) => (
            "number",
            "its display name is not approved yet",
            "wait for the approval in WhatsApp Manager, or propose another name",
        ),
        "PHONE_NUMBER" => (
            "sending",
            "Meta holds back messages of this number",
            "see WhatsApp Manager > Phone numbers for the reason",
        ),
        "BUSINESS" => (
            "portfolio",
            "Meta holds back messages of this business",
            "see Business settings > Business support home for the reason",
        ),
        _ => (
            "account",
            "Meta holds back messages of this WhatsApp account",
            "see WhatsApp Manager > Overview for the reason",
        ),
    };
    vec![if blocked || name == "app" {
        Finding::wrong(name, what, advice)
    } else {
        Finding::look(name, what, advice)
    }]
}

/// Neither the number nor the token tells of an account.
pub(super) fn no_account() -> Finding {
    Finding::look(
        "account",
        "Meta does not tell to which account the number belongs, so that its subscription is not known",
        "assign the WhatsApp account to the token's system user, with full control",
    )
}

/// Whether these are numbers of an account and ours is one of them.
pub(super) fn has_number(told: &Told, known: &Known) -> bool {
    let Said::Yes(value) = &told.said else {
        return false;
    };
    let numbers = value["data"].as_array().map_or(&[][..], Vec::as_slice);
    numbers
        .iter()
        .any(|number| id_in(&number["id"]).as_ref() == Some(&known.number_id))
}

/// Whether the number is one of the account's.
pub(super) fn account(told: &Told, known: &Known) -> Vec<Finding> {
    const NAME: &str = "account";
    let value = or_return!(NAME, told);
    vec![if has_number(told, known) {
        Finding::fine(NAME, "the number belongs to it")
    } else if value["paging"]["next"].is_string() {
        Finding::fine(NAME, "has more numbers than were looked at")
    } else {
        Finding::wrong(
            NAME,
            "the number is not one of the account that the token is for",
            "assign the account of this number to the token's system user, or write the number id of this account in whatsapp.phone_number_id",
        )
    }]
}

/// Whether the account sends its webhooks to the app, and to us.
pub(super) fn subscription(told: &Told, known: &Known) -> Vec<Finding> {
    const NAME: &str = "subscription";
    let value = or_return!(NAME, told);
    let apps = value["data"].as_array().map_or(&[][..], Vec::as_slice);
    let of = |app: &&Value| id_in(&app["whatsapp_business_api_data"]["id"]);
    let ours = match &known.app {
        Some(id) => apps.iter().find(|app| of(app).as_ref() == Some(id)),
        None => apps.first(),
    };
    vec![match ours {
        None => Finding::wrong(
            NAME,
            "the account is not subscribed to the app: messages of real people do not arrive",
            "run `portero doctor --fix`, or POST /{account id}/subscribed_apps with the token",
        )
        .with(Fix::Subscribe),
        Some(app) if is_elsewhere(app["override_callback_uri"].as_str(), known) => Finding::wrong(
            NAME,
            "the account sends its messages to another address than this Portero's",
            "run `portero doctor --fix`, which subscribes it without an address of its own",
        )
        .with(Fix::Subscribe),
        Some(_) => Finding::fine(NAME, "the account sends its messages to the app"),
    }]
}

/// Whether an address that takes precedence is there and is not ours.
fn is_elsewhere(address: Option<&str>, known: &Known) -> bool {
    match (
        address.filter(|address| !address.is_empty()),
        &known.callback,
    ) {
        (Some(address), Some(callback)) => !same_address(address, callback),
        _ => false,
    }
}

fn same_address(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.trim_end_matches('/').to_owned();
    plain(one).eq_ignore_ascii_case(&plain(other))
}

/// The number's own callback address goes before all others (section 1.5).
pub(super) fn number_override(told: &Told, known: &Known) -> Option<Finding> {
    let Said::Yes(value) = &told.said else {
        return None;
    };
    let own = value["webhook_configuration"]["phone_number"].as_str();
    is_elsewhere(own, known).then(|| {
        Finding::wrong(
            "callback",
            "the number has a callback address of its own, and it is not this Portero's",
            "take it away: POST /{phone number id} with webhook_configuration and an empty override_callback_uri",
        )
    })
}

/// Where the app wants its webhooks, asked with each of the app secrets in turn.
pub(super) fn app(told: &[Told], known: &Known) -> Vec<Finding> {
    const SECRET: &str = "app secret";
    const COPY: &str =
        "copy the app secret from App settings > Basic of the app that the token is for";
    let mut findings = Vec::new();
    let mut wrong = Vec::new();
    let mut good = None;
    for (place, told) in (1_usize..).zip(told) {
        match said(SECRET, told) {
            Ok(Ok(value)) => good = good.or(Some(value)),
            Ok(Err(no)) if matches!(no.code, 1 | 101 | 102 | 190) => wrong.push(place),
            Ok(Err(no)) => return vec![refused(SECRET, no)],
            Err(finding) => return vec![finding],
        }
    }
    let Some(value) = good else {
        let what = match told.len() {
            1 => {
                "whatsapp.app_secrets holds something else than the secret of the token's app: every message is refused as forged"
            }
            _ => {
                "none of whatsapp.app_secrets is the secret of the token's app: every message is refused as forged"
            }
        };
        return vec![Finding::wrong(SECRET, what, COPY)];
    };
    findings.push(match wrong.as_slice() {
        [] => Finding::fine(SECRET, "it is the app's"),
        [place, ..] => Finding::look(
            SECRET,
            format!(
                "one is the app's; number {place} of whatsapp.app_secrets is not, or not any more"
            ),
            "take it out a week after it was replaced",
        ),
    });
    findings.extend(callback(value, known));
    findings
}

fn callback(value: &Value, known: &Known) -> Option<Finding> {
    const NAME: &str = "callback";
    const SET: &str = "App Dashboard > WhatsApp > Configuration: write server.public_url followed by /webhook, and the verify token";
    let entries = value["data"].as_array().map_or(&[][..], Vec::as_slice);
    let entry = entries
        .iter()
        .find(|entry| entry["object"] == "whatsapp_business_account");
    let Some(entry) = entry else {
        return Some(Finding::wrong(NAME, "the app has no callback address", SET));
    };
    let address = entry["callback_url"].as_str().unwrap_or_default();
    if let Some(callback) = &known.callback
        && !same_address(address, callback)
    {
        let what = "the app's callback address is not this Portero's";
        return Some(Finding::wrong(NAME, what, SET));
    }
    if entry["active"] == false {
        let what = "Meta has switched the app's callback address off";
        let advice = "save it again: App Dashboard > WhatsApp > Configuration > Verify and save";
        return Some(Finding::wrong(NAME, what, advice));
    }
    let fields = entry["fields"].as_array().map_or(&[][..], Vec::as_slice);
    let messages = |field: &Value| *field == "messages" || field["name"] == "messages";
    if !fields.iter().any(messages) {
        return Some(Finding::wrong(
            NAME,
            "the app does not want the field messages: no message arrives",
            "App Dashboard > WhatsApp > Configuration > Webhook fields: subscribe to messages",
        ));
    }
    Some(match known.callback {
        Some(_) => Finding::fine(NAME, "the app sends messages to this Portero"),
        None => Finding::look(
            NAME,
            "the app has a callback address, and nobody here knows whether it is this Portero's",
            "write server.public_url",
        ),
    })
}

/// Whether webhooks tell when a person's account may be in other hands. The name of the field is
/// told in two ways (section 4).
pub(super) fn identity_check(told: &Told) -> Vec<Finding> {
    const NAME: &str = "identity check";
    const ON: &str = "run `portero doctor --fix`, which switches it on";
    let value = or_return!(NAME, told);
    let setting = &value["user_identity_change"];
    let on = (setting["enable_identity_key_check"].as_bool()).or(setting["enabled"].as_bool());
    vec![match on {
        Some(true) => Finding::fine(NAME, "on"),
        Some(false) => Finding::look(
            NAME,
            "off: whoever gets a person's number, for example with a new SIM card, gets their sign-in",
            ON,
        )
        .with(Fix::IdentityCheck),
        None => Finding::look(NAME, "Meta does not say whether it is on", ON)
            .with(Fix::IdentityCheck),
    }]
}

#[cfg(test)]
mod tests;

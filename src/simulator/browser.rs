//! The browser of somebody in the story, in as much as they need one: it opens the sign-in page,
//! fills in the form and says where the answer leads. Real HTTP, and no memory between two pages.
//! Beside it the sign-in page of somebody who has read the published document and nothing else.

use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for an answer: a password is compared slowly on purpose.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// A phone's; on a computer the page shows a button instead of leading on.
const USER_AGENT: &str = "Mozilla/5.0 (Linux; Android 14) Mobile";

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status; 0 when there was no answer.
    pub status: u16,
    /// Where it leads.
    pub location: Option<String>,
    /// What it says.
    pub body: String,
}

impl Answer {
    /// The value of a hidden field.
    fn field(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("name=\"{name}\" value=\""))?;
        Some(rest.split_once('"')?.0)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A browser without history.
pub struct Browser {
    agent: ureq::Agent,
}

impl Default for Browser {
    fn default() -> Browser {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIME_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(USER_AGENT)
            .proxy(None)
            .build();
        Browser {
            agent: agent.into(),
        }
    }
}

impl Browser {
    /// Opens an address.
    pub fn open(&self, url: &str) -> Answer {
        read(self.agent.get(url).call())
    }

    /// Types user name and password into the sign-in form of a page that is open, and sends it.
    pub fn sign_in(&self, url: &str, page: &Answer, user: &str, password: &str) -> Answer {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("mappingHash", page.field("mappingHash").unwrap_or_default())
            .append_pair("formToken", page.field("formToken").unwrap_or_default())
            .append_pair("user", user)
            .append_pair("password", password)
            .append_pair("action", "sign_in")
            .finish();
        // The form leads to its own page, without the query.
        let to = url.split('?').next().unwrap_or_default();
        let request = self.agent.post(to);
        let request = request.content_type("application/x-www-form-urlencoded");
        read(request.send(form))
    }

    /// First call of the published document.
    pub fn ask_for_mapping(&self, server: &str, hash: &str) -> Answer {
        self.open(&format!("{server}/hash-mappings/{hash}/"))
    }

    /// Its second call, with what the first one answered.
    pub fn report_sign_in(&self, server: &str, mapping: &Answer) -> Answer {
        let mapping = mapping.json();
        let said = |key: &str| mapping[key].as_str().unwrap_or_default().to_owned();
        let body = json!({
            "userUuid": said("userUuid"),
            "messageFrom": said("userType"),
            "messagePayload": {"type": "SIGN_IN", "signInPayload": {"auth": true}},
        });
        let request = self.agent.post(format!("{server}/chat/history/"));
        let request = request
            .content_type("application/json;charset=UTF-8")
            .header("Authorization", format!("Bearer {}", said("accessToken")));
        read(request.send(body.to_string()))
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let Ok(mut answer) = answer else {
        return Answer {
            status: 0,
            location: None,
            body: String::new(),
        };
    };
    let location = answer.headers().get("Location");
    Answer {
        status: answer.status().as_u16(),
        location: location.and_then(|to| to.to_str().ok().map(str::to_owned)),
        body: (answer.body_mut().with_config())
            .limit(ANSWER_BYTES_MAX)
            .read_to_string()
            .unwrap_or_default(),
    }
}

/// The value of a parameter of an address.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_hidden_fields_are_read() {
        let url = "https://api.whatsapp.com/send/?phone=155&text=Quiero%20entrar%3A%20Q7";
        assert_eq!(parameter(url, "text").as_deref(), Some("Quiero entrar: Q7"));
        assert_eq!(parameter(url, "other"), None);
        let page = Answer {
            status: 200,
            location: None,
            body: r#"<input type="hidden" name="formToken" value="abc">"#.to_owned(),
        };
        assert_eq!(page.field("formToken"), Some("abc"));
        assert_eq!(page.field("mappingHash"), None);
    }
}

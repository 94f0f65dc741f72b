//! The outside world on loopback: Meta's Graph API with the phones behind it, a mail server with
//! its mailboxes, the company's services, and its bot. `portero demo` and the integration tests run the
//! unchanged production server against it, over real HTTP and SMTP; no production code knows of it.
//!
//! - [`cast`]: who appears.
//! - [`graph`], [`inbox`], [`services`], [`bot`]: the stand-ins, each with switches for what can go wrong.
//! - [`browser`]: what people in the story open links with.
//! - [`World`]: all of them together, with the configuration that points a server at them.
//! - [`demo`]: a world and a production server, joined. [`page`]: the demo's page. [`play`]: the same story told in the terminal.

pub mod bot;
pub mod browser;
pub mod cast;
pub mod demo;
pub mod door;
pub mod graph;
pub mod inbox;
pub mod page;
pub mod play;
pub mod services;
pub mod watch;

use crate::web::WEBHOOK_PATH;
use bot::{Around, Bot};
use cast::{BUSINESS, SERVICES};
use graph::{Graph, Link, Message, Said};
use inbox::Inbox;
use services::Services;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use watch::{Watch, random_hex};

/// A sign-in page that was written from the published document alone. Nobody is there: whoever
/// plays the page takes the link from the chat.
pub const BARE_PAGE: &str = "https://sign-in.example.com/";

/// Where a server in a world is, and what it keeps.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Where it listens, which is its public address too: the port has to be known.
    pub listen: SocketAddr,
    /// The file of its store.
    pub store: &'a Path,
    /// Where a browser opens the chat; WhatsApp's own address if not set.
    pub chat_url: Option<&'a str>,
    /// Whether links lead to [`BARE_PAGE`], which knows the published document and nothing else:
    /// both of the switches are off that keep a forwarded or stolen link harmless.
    pub takes_any_page: bool,
}

/// Everything that Portero talks to. Stops when dropped.
pub struct World {
    watch: Arc<Watch>,
    /// Meta and the phones.
    pub graph: Graph,
    /// The mail server and the mailboxes.
    pub inbox: Inbox,
    /// Kutamma and woku.
    pub services: Services,
    /// The bot behind the server.
    pub bot: Bot,
    verify_token: String,
}

impl World {
    /// Starts all stand-ins on free ports of 127.0.0.1, with fresh secrets.
    ///
    /// # Errors
    ///
    /// No port or no thread can be had.
    pub fn start() -> io::Result<World> {
        let watch = Arc::new(Watch::default());
        let graph = Graph::start(watch.clone())?;
        let services = Services::start(watch.clone())?;
        let verify_token = random_hex(8);
        let around = Around {
            graph: graph.address(),
            access_token: graph.access_token().to_owned(),
            app_secret: graph.app_secret().to_owned(),
            verify_token: verify_token.clone(),
            services: services.address(),
        };
        Ok(World {
            bot: Bot::start(watch.clone(), around)?,
            inbox: Inbox::start(watch.clone())?,
            graph,
            services,
            verify_token,
            watch,
        })
    }

    /// The configuration with which a production server talks to this world and to nothing else.
    /// The pauses between codes are shorter than the defaults: nobody waits a minute in a demo.
    pub fn configuration(&self, place: &Place<'_>) -> String {
        let mut toml = format!(
            "[business]\nname = {name}\nlanguage = \"es\"\n\n\
             [server]\nlisten = \"{listen}\"\npublic_url = \"http://{listen}\"\n\n\
             [sign_in]\nmethods = [\"mail\", \"web\"]\n{sign_in}\n\
             [whatsapp]\nnumber = \"{dialed}\"\n{chat_url}\
             phone_number_id = \"{number}\"\naccess_token = \"{token}\"\n\
             app_secrets = [\"{secret}\"]\nverify_token = \"{verify}\"\napi_url = \"http://{graph}\"\n\n\
             [mail]\nserver = \"{host}\"\nport = {port}\nsecurity = \"plain\"\n\
             from = \"{business} <portero@example.com>\"\n\n\
             [bot]\nurl = \"{bot}\"\ngate = \"everyone\"\n\n\
             [[api_keys]]\nname = \"bot\"\nkey = \"{api_key}\"\nscopes = [\"tokens\"]\n\n\
             [store]\npath = {store}\n\n\
             [limits]\nresend_after_seconds = 1\nmails_per_hour = 60\nmails_per_day = 100\n\
             replies_per_hour = 600\n",
            name = quoted(BUSINESS.name),
            listen = place.listen,
            sign_in = if place.takes_any_page {
                "page = \"bare\"\nreturn_code = \"off\"\n"
            } else {
                ""
            },
            dialed = BUSINESS.number,
            chat_url = place.chat_url.map_or_else(String::new, |url| {
                format!("chat_url = {}\n", quoted(url))
            }),
            number = BUSINESS.phone_number_id,
            token = self.graph.access_token(),
            secret = self.graph.app_secret(),
            verify = self.verify_token,
            graph = self.graph.address(),
            host = self.inbox.address().ip(),
            port = self.inbox.address().port(),
            business = BUSINESS.name,
            bot = self.bot.url(),
            api_key = self.bot.api_key(),
            store = quoted(&place.store.to_string_lossy()),
        );
        if place.takes_any_page {
            // Writing to a String does not fail.
            let _ = write!(
                toml,
                "\n[[pages]]\nname = \"bare\"\nurl = \"{BARE_PAGE}\"\ncredential = \"none\"\nservice = \"{}\"\n",
                SERVICES[0].name,
            );
        }
        for service in SERVICES {
            let _ = write!(
                toml,
                "\n[[services]]\nname = \"{}\"\ntitle = {}\nfind_user = \"{}\"\nissue_token = \"{}\"\ncheck_password = \"{}\"\nsecret = \"{}\"\n",
                service.name,
                quoted(service.title),
                self.services.url(service.name, "find_user"),
                self.services.url(service.name, "issue_token"),
                self.services.url(service.name, "check_password"),
                self.services.secret(service.name).unwrap_or_default(),
            );
        }
        toml
    }

    /// The configuration with which to go live: the same tables, with what the operator fills in.
    pub fn configuration_to_go_live() -> String {
        LIVE_CONFIGURATION.to_owned()
    }

    /// The word that Meta presents when it verifies the webhook.
    pub fn verify_token(&self) -> &str {
        &self.verify_token
    }

    /// From now on the server is at this public address: Meta's webhooks go there, and so do the
    /// bot's calls.
    pub fn connect(&self, server: &str) {
        self.bot.connect(server);
        self.graph.connect(&format!("{server}{WEBHOOK_PATH}"));
    }

    /// One of the phones; see [`cast::ANA`] and its neighbours.
    pub fn phone(&self, index: usize) -> Handset<'_> {
        Handset { world: self, index }
    }

    /// Everything works again.
    pub fn behave(&self) {
        self.graph.behave();
        self.inbox.behave();
        self.bot.misbehave(None);
        for service in SERVICES {
            self.services.misbehave(service.name, None);
        }
    }

    /// What changed and what to wait on.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

/// A phone in somebody's hand.
#[derive(Clone, Copy)]
pub struct Handset<'world> {
    world: &'world World,
    index: usize,
}

impl Handset<'_> {
    /// Types and sends; the message's id.
    pub fn say(&self, text: &str) -> String {
        self.world
            .graph
            .deliver(self.index, Said::Text(text.to_owned()))
    }

    /// Forwards somebody else's words; the message's id.
    pub fn forward(&self, text: &str) -> String {
        self.world
            .graph
            .deliver(self.index, Said::Forwarded(text.to_owned()))
    }

    /// Taps the button with that title on the newest message that has it; the message's id, `None`
    /// when there is no such button.
    pub fn tap(&self, title: &str) -> Option<String> {
        let messages = self.messages();
        let (message_id, button) = messages.iter().rev().find_map(|message| {
            let button = message
                .buttons
                .iter()
                .find(|button| button.title == title)?;
            Some((message.id.clone(), button.clone()))
        })?;
        let said = Said::Tap {
            message_id,
            id: button.id,
            title: button.title,
        };
        Some(self.world.graph.deliver(self.index, said))
    }

    /// The newest link button of the chat.
    pub fn link(&self) -> Option<Link> {
        let messages = self.messages().into_iter().rev();
        messages.filter_map(|message| message.link).next()
    }

    /// Waits for the first link that the business sent after the message with this id.
    pub fn wait_for_link(&self, id: &str, within: Duration) -> Option<Link> {
        self.wait_for_reply_that(id, |one| one.link.is_some(), within)?
            .link
    }

    /// Looks at the chat, which reports the business's messages as read.
    pub fn look(&self) {
        self.world.graph.look(self.index);
    }

    /// The chat, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        self.world.graph.messages(self.index)
    }

    /// What the business wrote after the message with this id, oldest first.
    pub fn replies_to(&self, id: &str) -> Vec<Message> {
        let messages = self.messages().into_iter();
        let after = messages.skip_while(|message| message.id != id).skip(1);
        after.filter(|message| !message.from_person).collect()
    }

    /// Waits until the chat has what `question` looks for.
    pub fn wait_for<T>(
        &self,
        question: impl Fn(&[Message]) -> Option<T>,
        within: Duration,
    ) -> Option<T> {
        self.world
            .watch
            .wait_for(within, || question(&self.messages()))
    }

    /// Waits until the business has answered the message with this id.
    pub fn wait_for_reply(&self, id: &str, within: Duration) -> Option<Message> {
        self.wait_for_reply_that(id, |_| true, within)
    }

    /// Waits until the business has answered the message with this id by one that is `wanted`.
    pub fn wait_for_reply_that(
        &self,
        id: &str,
        wanted: impl Fn(&Message) -> bool,
        within: Duration,
    ) -> Option<Message> {
        self.world
            .watch
            .wait_for(within, || self.replies_to(id).into_iter().find(&wanted))
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

const LIVE_CONFIGURATION: &str = r#"[business]
name = "Your business"
language = "es"                         # es, en or pt

[server]
listen = "127.0.0.1:8080"               # behind a reverse proxy with TLS
public_url = "https://portero.example.com"

[whatsapp]                              # developers.facebook.com > your app > WhatsApp > API Setup
phone_number_id = "000000000000000"
access_token = "env:PORTERO_ACCESS_TOKEN"
app_secrets = ["env:PORTERO_APP_SECRET"]
verify_token = "env:PORTERO_VERIFY_TOKEN"

[mail]
server = "smtp.example.com"
security = "starttls"
username = "portero@example.com"
password = "env:PORTERO_MAIL_PASSWORD"
from = "Your business <portero@example.com>"

[bot]                                   # your bot, where Meta's webhook led before
url = "http://127.0.0.1:9000/webhook"

[store]
path = "portero.redb"
key = "file:portero.key"

[[services]]                            # leave out to keep users in Portero itself
name = "erp"
title = "Your system"
find_user = "https://erp.example.com/portero/find-user"
issue_token = "https://erp.example.com/portero/issue-token"
secret = "env:PORTERO_ERP_SECRET"
"#;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_configuration_is_toml_and_names_every_stand_in() {
        let world = World::start().unwrap();
        let place = Place {
            listen: ([127, 0, 0, 1], 1).into(),
            store: Path::new("/tmp/a \"b\".redb"),
            chat_url: Some("http://127.0.0.1:2/send/"),
            takes_any_page: true,
        };
        let read: toml::Table = world.configuration(&place).parse().unwrap();
        assert_eq!(read["store"]["path"].as_str(), Some("/tmp/a \"b\".redb"));
        assert_eq!(read["services"].as_array().unwrap().len(), 2);
        assert_eq!(read["bot"]["url"].as_str(), Some(world.bot.url().as_str()));
        assert_eq!(read["api_keys"][0]["scopes"][0].as_str(), Some("tokens"));
        let port = i64::from(world.inbox.address().port());
        assert_eq!(read["mail"]["port"].as_integer(), Some(port));
        assert_eq!(read["whatsapp"]["chat_url"].as_str(), place.chat_url);
        assert_eq!(read["pages"][0]["url"].as_str(), Some(BARE_PAGE));
        let usual = Place {
            chat_url: None,
            takes_any_page: false,
            ..place
        };
        let usual = world.configuration(&usual);
        for weak in ["none", "off", "chat_url"] {
            assert!(!usual.contains(weak), "{weak}");
        }
        LIVE_CONFIGURATION.parse::<toml::Table>().unwrap();
    }
}

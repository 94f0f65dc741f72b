//! The one list of keys: reading, "did you mean", `config explain`, `check --show` and the test of
//! `config.example.toml` all go by it, and so does a reload. A key that is not here can be neither read nor written.

/// A key that the configuration file may have.
#[derive(Debug)]
pub struct Key {
    /// The table it is in; a name of [`ARRAYS`] stands for every table of that array, and a name of
    /// [`INNER`] for a table in each of those.
    pub table: &'static str,
    /// Its name in the table.
    pub name: &'static str,
    /// What is to be written, in words that follow "expected".
    pub form: &'static str,
    /// What holds when it is not written.
    pub absent: Absent,
    /// When another value of it holds in a server that runs.
    pub effect: Effect,
    /// What it is for, in one sentence.
    pub about: &'static str,
}

/// What holds when a key is not written.
#[derive(Debug)]
pub enum Absent {
    /// A problem; with the value of an example.
    Required(&'static str),
    /// This value, as TOML.
    Default(&'static str),
    /// Something that a value cannot say, in words; with the value of an example.
    Unset(&'static str, &'static str),
}

/// When another value of a key holds in a server that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// From a reload on, for what begins after it. What it makes anew is in `serve/reload.rs`.
    AtOnce,
    /// From the next start on: what depends on it is made once. `config/reload.rs` keeps
    /// the value that runs.
    AtRestart,
}

impl Key {
    /// `table.name`, as problems and explanations name it.
    pub fn path(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }

    /// A value to begin with: the default, else an example.
    pub fn example(&self) -> &'static str {
        match self.absent {
            Absent::Required(value) | Absent::Default(value) | Absent::Unset(_, value) => value,
        }
    }

    /// Whether its value must never be shown.
    pub fn is_secret(&self) -> bool {
        [SECRET, SECRETS, HEADERS, BODY, HASH].contains(&self.form)
    }

    /// Whether its value is an address that is called.
    pub fn is_url(&self) -> bool {
        self.form == URL
    }
}

/// Every table, in the order of the documentation.
pub const TABLES: [&str; 19] = [
    "business",
    "server",
    "tls",
    "whatsapp",
    "mail",
    "sign_in",
    "store",
    "bot",
    "events",
    "services",
    "pages",
    "api_keys",
    "directory",
    "identity",
    "limits",
    "texts",
    "log",
    "metrics",
    "status",
];

/// The tables of which there may be several, each under `[[name]]`.
pub const ARRAYS: [&str; 3] = ["services", "pages", "api_keys"];

/// The tables that may stand in place of the key of that name.
pub const INNER: [&str; 3] = [
    "services.find_user",
    "services.issue_token",
    "services.check_password",
];

const TEXT: &str = "text in quotes";
const TEXTS: &str = "a list of texts in quotes, such as [\"one\", \"two\"]";
const NUMBER: &str = "a whole number";
const SWITCH: &str = "true or false";
const PATH: &str = "a path in quotes, taken from the folder of this file when relative";
const KEY_FILE: &str = "\"file:/path\", in quotes";
const URL: &str = "an https:// address in quotes";
const POINTER: &str = "a JSON pointer (RFC 6901) in quotes";
const COMPANY: &str = "a table with id and name";
const HEADERS: &str = "a table of names and values in quotes, each value \"env:NAME\", \"file:/path\" or the value itself";
const BODY: &str = "a table, or JSON in quotes, in which texts may have placeholders or be \"env:NAME\" or \"file:/path\"";
const SECRET: &str = "\"env:NAME\", \"file:/path\" or the secret itself, in quotes";
const HASH: &str = "an argon2id hash in quotes, as `portero status password` prints it";
const SECRETS: &str =
    "a list of secrets, each \"env:NAME\", \"file:/path\" or the secret itself, in quotes";

macro_rules! keys {
    ($($constant:ident $table:literal $name:literal $form:ident $absent:expr, $effect:ident, $about:literal;)+) => {
        $(pub(super) static $constant: Key = Key {
            table: $table,
            name: $name,
            form: $form,
            absent: $absent,
            effect: Effect::$effect,
            about: $about,
        };)+

        /// Every key, in the order of the documentation. `[texts.…]` is apart: its keys are those
        /// of the sentences.
        pub static ALL: &[&Key] = &[$(&$constant),+];
    };
}

use Absent::{Default, Required, Unset};

keys! {
    BUSINESS_NAME "business" "name" TEXT Required("\"Panadería La Espiga\""), AtOnce,
        "What the business is called, in chat and mail.";
    BUSINESS_LANGUAGE "business" "language" TEXT Default("\"es\""), AtOnce,
        "Language for people whose number does not tell it: es, en or pt.";
    BUSINESS_COLOR "business" "color" TEXT Unset("the built-in green", "\"#1f7a4d\""), AtOnce,
        "Colour of the sign-in page, as #rrggbb.";
    BUSINESS_LOGO "business" "logo" PATH Unset("no logo", "\"logo.png\""), AtOnce,
        "Logo on the sign-in page: PNG, JPEG, WebP or SVG of at most 128 KiB.";

    SERVER_LISTEN "server" "listen" TEXT Default("\"127.0.0.1:8080\""), AtRestart,
        "Address and port to listen on, or a list of them.";
    SERVER_PUBLIC_URL "server" "public_url" URL
        Unset("requests are accepted only for the names in server.hosts and for this machine", "\"https://portero.example.com\""), AtOnce,
        "Address of this server as the world sees it; requests for other hosts are refused.";
    SERVER_HOSTS "server" "hosts" TEXTS Default("[]"), AtOnce,
        "Further host names under which this server may be called.";
    SERVER_TRUSTED_PROXIES "server" "trusted_proxies" TEXTS Default("[\"127.0.0.1\", \"::1\"]"), AtOnce,
        "Addresses of the reverse proxies whose word about the caller's address is believed.";
    SERVER_CONNECTIONS_MAX "server" "connections_max" NUMBER Default("512"), AtRestart,
        "Connections open at one time.";
    SERVER_CONNECTIONS_PER_ADDRESS_MAX "server" "connections_per_address_max" NUMBER Default("64"), AtRestart,
        "Connections open at one time from one address.";

    TLS_CERTIFICATE "tls" "certificate" PATH Unset("no HTTPS of its own", "\"fullchain.pem\""), AtRestart,
        "File with the certificate (PEM) and those between it and its authority, for HTTPS without a proxy; read again when it changes.";
    TLS_KEY "tls" "key" KEY_FILE Unset("needed with tls.certificate", "\"file:privkey.pem\""), AtRestart,
        "File with the key of the certificate (PEM), which only its owner can read.";
    TLS_LISTEN "tls" "listen" TEXT Default("\"[::]:443\""), AtRestart,
        "Address and port for HTTPS, or a list of them; \"[::]:443\" takes IPv4 too, \"0.0.0.0:443\" takes nothing else.";
    TLS_REDIRECT_LISTEN "tls" "redirect_listen" TEXT Unset("nothing listens there", "\"[::]:80\""), AtRestart,
        "Address and port, or a list of them, where whoever comes by http:// is sent to server.public_url.";
    TLS_ACME "tls" "acme" SWITCH Default("false"), AtRestart,
        "Whether a certificate is asked for at Let's Encrypt, and renewed, without anybody's doing.";
    TLS_ACME_TERMS_AGREED "tls" "acme_terms_agreed" SWITCH Default("false"), AtRestart,
        "Whether you agree to the terms of that authority (https://letsencrypt.org/repository/); needed with tls.acme.";
    TLS_ACME_EMAIL "tls" "acme_email" TEXT Unset("none is given", "\"admin@example.com\""), AtRestart,
        "Address that the authority may write to.";
    TLS_ACME_NAMES "tls" "acme_names" TEXTS Default("[]"), AtRestart,
        "Further names for the certificate beside the host of server.public_url, under which this server is then called too; all must lead here from the whole internet.";
    TLS_ACME_DIRECTORY "tls" "acme_directory" URL Default("\"https://acme-v02.api.letsencrypt.org/directory\""), AtRestart,
        "Where another authority that speaks ACME says what it offers.";
    TLS_ACME_CA_FILE "tls" "acme_ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtRestart,
        "Certificates (PEM) to trust for this connection instead of the public ones.";
    TLS_ACME_FOLDER "tls" "acme_folder" PATH Unset("acme, beside the store", "\"acme\""), AtRestart,
        "Folder for the account, the key and the certificate.";
    TLS_ACME_ACCOUNT_ID "tls" "acme_account_id" TEXT Unset("the authority makes an account for everybody", "\"kid-1\""), AtRestart,
        "Name of the account that an authority gave you, if it wants one (external account binding).";
    TLS_ACME_ACCOUNT_KEY "tls" "acme_account_key" SECRET Unset("needed with tls.acme_account_id", "\"env:PORTERO_ACME_KEY\""), AtRestart,
        "Key of that account, in base64url.";

    WHATSAPP_PHONE_NUMBER_ID "whatsapp" "phone_number_id" TEXT Required("\"106540352242922\""), AtOnce,
        "The id of the business's number, from WhatsApp > API Setup in Meta's dashboard (not the number itself).";
    WHATSAPP_NUMBER "whatsapp" "number" TEXT Unset("needed for sign-in on the web", "\"+57 300 111 2233\""), AtOnce,
        "The business's number as people dial it from abroad, country code first.";
    WHATSAPP_ACCESS_TOKEN "whatsapp" "access_token" SECRET Required("\"env:PORTERO_ACCESS_TOKEN\""), AtOnce,
        "Permanent token of a system user, with whatsapp_business_messaging.";
    WHATSAPP_APP_SECRETS "whatsapp" "app_secrets" SECRETS Required("[\"env:PORTERO_APP_SECRET\"]"), AtOnce,
        "App secret from App settings > Basic; while it is being changed, the new and the old one.";
    WHATSAPP_VERIFY_TOKEN "whatsapp" "verify_token" SECRET Required("\"env:PORTERO_VERIFY_TOKEN\""), AtOnce,
        "A word of your own choice that you also type beside the callback URL in Meta's dashboard.";
    WHATSAPP_API_URL "whatsapp" "api_url" URL Default("\"https://graph.facebook.com\""), AtOnce,
        "Where the Cloud API is.";
    WHATSAPP_API_VERSION "whatsapp" "api_version" TEXT Default("\"v25.0\""), AtOnce,
        "Version of the Cloud API.";
    WHATSAPP_CHAT_URL "whatsapp" "chat_url" URL Default("\"https://api.whatsapp.com/send/\""), AtOnce,
        "Where a browser is sent to open the chat with the business.";
    WHATSAPP_MESSAGES_PER_SECOND "whatsapp" "messages_per_second" NUMBER Default("80"), AtOnce,
        "Messages sent in one second at most; Meta allows 80 unless it has raised your number.";
    WHATSAPP_CA_FILE "whatsapp" "ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtOnce,
        "Certificates (PEM) to trust for this connection instead of the public ones.";

    MAIL_SERVER "mail" "server" TEXT Required("\"smtp.example.com\""), AtOnce,
        "Name of the mail server that sends the codes.";
    MAIL_PORT "mail" "port" NUMBER Unset("587 for starttls, 465 for tls, 25 for plain", "587"), AtOnce,
        "Port of the mail server.";
    MAIL_SECURITY "mail" "security" TEXT Default("\"starttls\""), AtOnce,
        "Protection of the connection: starttls, tls, or plain for a mail server on this machine.";
    MAIL_USERNAME "mail" "username" TEXT Unset("no log-in", "\"portero@example.com\""), AtOnce,
        "User name at the mail server.";
    MAIL_PASSWORD "mail" "password" SECRET Unset("no log-in", "\"env:PORTERO_MAIL_PASSWORD\""), AtOnce,
        "Password at the mail server.";
    MAIL_FROM "mail" "from" TEXT Required("\"La Espiga <portero@example.com>\""), AtOnce,
        "Sender of the codes.";
    MAIL_REPLY_TO "mail" "reply_to" TEXT Unset("answers go to mail.from", "\"help@example.com\""), AtOnce,
        "Address for people who answer the mail.";
    MAIL_CA_FILE "mail" "ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtOnce,
        "Certificates (PEM) to trust for this connection besides the public ones.";

    SIGN_IN_METHODS "sign_in" "methods" TEXTS Default("[\"mail\"]"), AtOnce,
        "How people may sign in: mail (a code by mail, typed in the chat), web (a page with user and password), or both.";
    SIGN_IN_RETURN_CODE "sign_in" "return_code" TEXT Default("\"on\""), AtOnce,
        "What follows the password: on (a code travels back through the chat), mail (a code is mailed and typed in the chat), off (nothing, so that whoever gets somebody to open their link and sign in gets in as that person).";
    SIGN_IN_ASK_NUMBER "sign_in" "ask_number" SWITCH Default("false"), AtOnce,
        "Whether the page asks for the WhatsApp number before the password.";
    SIGN_IN_PHONE_ON_FILE "sign_in" "phone_on_file" TEXT Default("\"must_match\""), AtOnce,
        "What happens when a service has a phone for the user and the chat has another number: must_match (no sign-in), step_up (a code by mail as well), off (nothing).";
    SIGN_IN_FIRST_HOURS "sign_in" "first_hours" NUMBER Default("24"), AtOnce,
        "Hours for which a new sign-in made on the web is worth less; 0 for none.";
    SIGN_IN_PAGE "sign_in" "page" TEXT Unset("Portero's own page", "\"tienda\""), AtOnce,
        "Name of the [[pages]] entry that links in the chat lead to.";
    SIGN_IN_BACKEND "sign_in" "backend" URL Unset("Portero keeps the links itself", "\"https://backend.example.com\""), AtOnce,
        "Portero's page in front of somebody else's back end: where that has /hash-mappings/ and /chat/history/.";
    SIGN_IN_BACKEND_CREDENTIAL "sign_in" "backend_credential" SECRET Unset("no Authorization header", "\"env:PORTERO_BACKEND_KEY\""), AtOnce,
        "A bearer token for that back end's /hash-mappings/, when it wants one.";
    SIGN_IN_BACKEND_TIMEOUT_SECONDS "sign_in" "backend_timeout_seconds" NUMBER Default("10"), AtOnce,
        "Longest time for one call to that back end.";
    SIGN_IN_BACKEND_CA_FILE "sign_in" "backend_ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtOnce,
        "Certificates (PEM) to trust for that back end instead of the public ones.";

    STORE_PATH "store" "path" PATH Default("\"portero.redb\""), AtRestart,
        "The file that holds everything.";
    STORE_KEY "store" "key" SECRET Default("\"file:portero.key\""), AtRestart,
        "Key that seals the store: a file, made at the first start, or env:NAME; keep a copy apart from the store's.";
    STORE_CACHE_BYTES "store" "cache_bytes" NUMBER Default("10485760"), AtRestart,
        "Memory for the store's cache.";
    STORE_SNAPSHOTS "store" "snapshots" NUMBER Default("24"), AtOnce,
        "How many hourly copies of the store are kept beside it; 0 makes none.";
    STORE_SNAPSHOT_FOLDER "store" "snapshot_folder" PATH Default("\"snapshots\""), AtOnce,
        "The folder of these copies, made when it is first needed; better on another disk.";

    BOT_URL "bot" "url" URL Unset("there is no bot, and messages of known people go nowhere", "\"http://127.0.0.1:9000/webhook\""), AtOnce,
        "Address of the bot's webhook: the one that was the callback URL at Meta before Portero.";
    BOT_GATE "bot" "gate" TEXT Default("\"everyone\""), AtOnce,
        "Whose messages reach the bot: everyone (everyone signs in first) or on_request (all do, and the bot asks for a sign-in when it needs one).";
    BOT_SECRET "bot" "secret" SECRET Unset("no webhook-signature header", "\"env:PORTERO_BOT_SECRET\""), AtOnce,
        "Secret with which what the bot gets is signed besides Meta's signature (Standard Webhooks): whsec_ and base64 of at least 24 random bytes.";
    BOT_TIMEOUT_SECONDS "bot" "timeout_seconds" NUMBER Default("30"), AtOnce,
        "Longest time that the bot may take to answer; then it gets the same again.";
    BOT_CONNECTIONS "bot" "connections" NUMBER Default("16"), AtRestart,
        "Messages that the bot works on at one time, each of another person.";
    BOT_CA_FILE "bot" "ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtOnce,
        "Certificates (PEM) to trust for this connection instead of the public ones.";

    EVENTS_URL "events" "url" URL Unset("no events are sent", "\"https://crm.example.com/portero\""), AtOnce,
        "Address that is told who has signed in, who has left and what was refused.";
    EVENTS_SECRET "events" "secret" SECRET Unset("needed with events.url", "\"env:PORTERO_EVENTS_SECRET\""), AtOnce,
        "Secret with which events are signed (Standard Webhooks): whsec_ and base64 of at least 24 random bytes.";
    EVENTS_TIMEOUT_SECONDS "events" "timeout_seconds" NUMBER Default("10"), AtOnce,
        "Longest time for one event.";
    EVENTS_CA_FILE "events" "ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtOnce,
        "Certificates (PEM) to trust for this connection instead of the public ones.";

    SERVICES_NAME "services" "name" TEXT Required("\"erp\""), AtOnce,
        "Its name in this file, in tokens and in the log: a–z, 0–9, - and _.";
    SERVICES_TITLE "services" "title" TEXT Unset("its name", "\"Mi ERP\""), AtOnce,
        "What people call it.";
    SERVICES_FIND_USER "services" "find_user" URL Required("\"https://erp.example.com/portero/find-user\""), AtOnce,
        "Endpoint that says who has a mail address; an address, or a table that says how to ask and what the answer looks like.";
    SERVICES_ISSUE_TOKEN "services" "issue_token" URL Required("\"https://erp.example.com/portero/issue-token\""), AtOnce,
        "Endpoint that gives a token for a user; an address, or a table.";
    SERVICES_CHECK_PASSWORD "services" "check_password" URL
        Unset("its users sign in by mail only", "\"https://erp.example.com/portero/check-password\""), AtOnce,
        "Endpoint that says whose a user name and a password are; an address, or a table.";
    SERVICES_SECRET "services" "secret" SECRET
        Unset("needed unless each of its calls is a table with headers of its own", "\"env:PORTERO_ERP_SECRET\""), AtOnce,
        "Secret with which calls are signed (Standard Webhooks): whsec_ and base64 of at least 24 random bytes.";
    SERVICES_BEARER "services" "bearer" SECRET Unset("no Authorization header", "\"env:PORTERO_ERP_BEARER\""), AtOnce,
        "A bearer token to send as well, when the service wants one.";
    SERVICES_TIMEOUT_SECONDS "services" "timeout_seconds" NUMBER Default("10"), AtOnce,
        "Longest time for one call.";
    SERVICES_CA_FILE "services" "ca_file" PATH Unset("the public authorities are trusted", "\"ca.pem\""), AtOnce,
        "Certificates (PEM) to trust for this connection instead of the public ones.";

    FIND_USER_URL "services.find_user" "url" URL Required("\"https://crm.example.com/api/v2/customers?mail={email}\""), AtOnce,
        "Where this call goes, with {email} filled in, percent-encoded.";
    FIND_USER_METHOD "services.find_user" "method" TEXT Default("\"POST\""), AtOnce,
        "Method of this call: GET, POST, PUT or PATCH.";
    FIND_USER_HEADERS "services.find_user" "headers" HEADERS Unset("none of its own", "{ X-Api-Key = \"env:PORTERO_CRM_KEY\" }"), AtOnce,
        "Headers to send with this call.";
    FIND_USER_BODY "services.find_user" "body" BODY Unset("the documented one, or none with GET or when url has placeholders", "{ filter = { mail = \"{email}\" } }"), AtOnce,
        "Body of this call, in which {email} may stand in texts.";
    FIND_USER_ENCODING "services.find_user" "encoding" TEXT Default("\"json\""), AtOnce,
        "How the body of this call is written: json or form.";
    FIND_USER_USERS "services.find_user" "users" POINTER Default("\"/users\""), AtOnce,
        "Where in the answer the list of users is, or the one user; all below is from there.";
    FIND_USER_ABSENT_IS_NOBODY "services.find_user" "absent_is_nobody" SWITCH Default("false"), AtOnce,
        "Whether nothing, or null, in that place says that there is nobody.";
    FIND_USER_NOBODY_STATUS "services.find_user" "nobody_status" NUMBER Default("404"), AtOnce,
        "Status that says that there is nobody.";
    FIND_USER_ID "services.find_user" "id" POINTER Default("\"/id\""), AtOnce,
        "Where in a user the id is.";
    FIND_USER_NAME "services.find_user" "name" POINTER Default("\"/name\""), AtOnce,
        "Where in a user the name is.";
    FIND_USER_EMAIL "services.find_user" "email" POINTER Default("\"/email\""), AtOnce,
        "Where in a user the address on file is; \"asked\" when there is none and the address asked for counts, which is safe only if the service finds nobody but by the exact address.";
    FIND_USER_PHONE "services.find_user" "phone" POINTER Default("\"/phone\""), AtOnce,
        "Where in a user the phone on file is, if there is one.";
    FIND_USER_COMPANY_ID "services.find_user" "company_id" POINTER Default("\"/company/id\""), AtOnce,
        "Where in a user the id of the company is.";
    FIND_USER_COMPANY_NAME "services.find_user" "company_name" POINTER Default("\"/company/name\""), AtOnce,
        "Where in a user the name of the company is.";
    FIND_USER_COMPANY "services.find_user" "company" COMPANY Unset("each user has one in the answer", "{ id = \"1\", name = \"La Espiga\" }"), AtOnce,
        "The company of all users, in place of the two keys before.";

    ISSUE_TOKEN_URL "services.issue_token" "url" URL Required("\"https://crm.example.com/oauth/token\""), AtOnce,
        "Where this call goes, with {userId}, {companyId}, {userUuid} and {scope} filled in, percent-encoded.";
    ISSUE_TOKEN_METHOD "services.issue_token" "method" TEXT Default("\"POST\""), AtOnce,
        "Method of this call: GET, POST, PUT or PATCH.";
    ISSUE_TOKEN_HEADERS "services.issue_token" "headers" HEADERS Unset("none of its own", "{ X-Api-Key = \"env:PORTERO_CRM_KEY\" }"), AtOnce,
        "Headers to send with this call.";
    ISSUE_TOKEN_BODY "services.issue_token" "body" BODY Unset("the documented one, or none with GET or when url has placeholders", "{ grant_type = \"urn:example:customer\", customer = \"{userId}\" }"), AtOnce,
        "Body of this call, in which {userId}, {companyId}, {userUuid} and {scope} may stand in texts.";
    ISSUE_TOKEN_ENCODING "services.issue_token" "encoding" TEXT Default("\"json\""), AtOnce,
        "How the body of this call is written: json or form.";
    ISSUE_TOKEN_TOKEN "services.issue_token" "token" POINTER Default("\"/token\""), AtOnce,
        "Where in the answer the token is.";
    ISSUE_TOKEN_TOKEN_TYPE "services.issue_token" "token_type" POINTER Default("\"/tokenType\""), AtOnce,
        "Where in the answer the kind of the token is, or the kind itself, such as \"Bearer\".";
    ISSUE_TOKEN_EXPIRES_IN "services.issue_token" "expires_in" POINTER Default("\"/expiresIn\""), AtOnce,
        "Where in the answer the seconds are for which the token is good.";
    ISSUE_TOKEN_EXPIRES_IN_SECONDS "services.issue_token" "expires_in_seconds" NUMBER Unset("the answer says it", "3600"), AtOnce,
        "Seconds for which a token is good, when the answer does not say it.";

    CHECK_PASSWORD_URL "services.check_password" "url" URL Required("\"https://crm.example.com/api/v2/login\""), AtOnce,
        "Where this call goes, with {user} filled in, percent-encoded.";
    CHECK_PASSWORD_METHOD "services.check_password" "method" TEXT Default("\"POST\""), AtOnce,
        "Method of this call: GET, POST, PUT or PATCH.";
    CHECK_PASSWORD_HEADERS "services.check_password" "headers" HEADERS Unset("none of its own", "{ X-Api-Key = \"env:PORTERO_CRM_KEY\" }"), AtOnce,
        "Headers to send with this call.";
    CHECK_PASSWORD_BODY "services.check_password" "body" BODY Unset("the documented one, or none with GET or when url has placeholders", "{ login = \"{user}\", password = \"{password}\" }"), AtOnce,
        "Body of this call, in which {user} and {password} may stand in texts.";
    CHECK_PASSWORD_ENCODING "services.check_password" "encoding" TEXT Default("\"json\""), AtOnce,
        "How the body of this call is written: json or form.";
    CHECK_PASSWORD_USERS "services.check_password" "users" POINTER Unset("as in find_user", "\"/users\""), AtOnce,
        "Where in the answer the list of users is, or the one user; all below is from there.";
    CHECK_PASSWORD_ABSENT_IS_NOBODY "services.check_password" "absent_is_nobody" SWITCH Unset("as in find_user", "false"), AtOnce,
        "Whether nothing, or null, in that place says that there is nobody.";
    CHECK_PASSWORD_NOBODY_STATUS "services.check_password" "nobody_status" NUMBER Unset("as in find_user", "404"), AtOnce,
        "Status that says that there is nobody: that of a wrong password.";
    CHECK_PASSWORD_ID "services.check_password" "id" POINTER Unset("as in find_user", "\"/id\""), AtOnce,
        "Where in a user the id is.";
    CHECK_PASSWORD_NAME "services.check_password" "name" POINTER Unset("as in find_user", "\"/name\""), AtOnce,
        "Where in a user the name is.";
    CHECK_PASSWORD_EMAIL "services.check_password" "email" POINTER Unset("as in find_user", "\"/email\""), AtOnce,
        "Where in a user the address on file is; \"asked\" when there is none and the address asked for counts, which is safe only if the service finds nobody but by the exact address.";
    CHECK_PASSWORD_PHONE "services.check_password" "phone" POINTER Unset("as in find_user", "\"/phone\""), AtOnce,
        "Where in a user the phone on file is, if there is one.";
    CHECK_PASSWORD_COMPANY_ID "services.check_password" "company_id" POINTER Unset("as in find_user", "\"/company/id\""), AtOnce,
        "Where in a user the id of the company is.";
    CHECK_PASSWORD_COMPANY_NAME "services.check_password" "company_name" POINTER Unset("as in find_user", "\"/company/name\""), AtOnce,
        "Where in a user the name of the company is.";
    CHECK_PASSWORD_COMPANY "services.check_password" "company" COMPANY Unset("as in find_user", "{ id = \"1\", name = \"La Espiga\" }"), AtOnce,
        "The company of all users, in place of the two keys before.";

    PAGES_NAME "pages" "name" TEXT Required("\"tienda\""), AtOnce,
        "Its name in this file and in the log: a–z, 0–9, - and _.";
    PAGES_URL "pages" "url" URL Unset("no link leads there", "\"https://shop.example.com/sign-in/\""), AtOnce,
        "Where links in the chat lead when sign_in.page names this page.";
    PAGES_CREDENTIAL "pages" "credential" SECRET Required("\"env:PORTERO_PAGE_KEY\""), AtOnce,
        "Bearer token, at least 32 characters, that the page sends with GET /hash-mappings/; \"none\" asks for no token, so that whoever holds a link can sign in their own chat without a password.";
    PAGES_ORIGINS "pages" "origins" TEXTS Default("[]"), AtOnce,
        "Origins such as https://shop.example.com from which browsers may make the page's calls.";
    PAGES_SERVICE "pages" "service" TEXT Unset("the page's own name", "\"erp\""), AtOnce,
        "Name of the service whose users sign in there.";

    API_KEYS_NAME "api_keys" "name" TEXT Required("\"agent\""), AtOnce,
        "Its name in this file and in the log: a–z, 0–9, - and _.";
    API_KEYS_KEY "api_keys" "key" SECRET Required("\"env:PORTERO_AGENT_KEY\""), AtOnce,
        "Bearer token, at least 32 characters, that a bot or agent sends with every call of the API.";
    API_KEYS_SCOPES "api_keys" "scopes" TEXTS Required("[\"tokens\", \"challenges\"]"), AtOnce,
        "What it is good for: tokens, sign_in_links, challenges, contacts:read, contacts:release, and any_contact (to name a person without the identity that came with their message).";
    API_KEYS_SERVICES "api_keys" "services" TEXTS Unset("every service", "[\"erp\"]"), AtOnce,
        "The services whose tokens it may have.";
    API_KEYS_FIRST_HOURS_ONLY "api_keys" "first_hours_only" SWITCH Default("false"), AtOnce,
        "Whether its tokens are never good for more than those of a new sign-in on the web.";

    DIRECTORY_ENABLED "directory" "enabled" SWITCH Unset("true when there are no [[services]], else false", "true"), AtOnce,
        "Keep users in Portero itself, for a business without a system of its own.";
    DIRECTORY_TITLE "directory" "title" TEXT Unset("the name of the business", "\"La Espiga\""), AtOnce,
        "What people call it.";

    IDENTITY_LIFETIME_SECONDS "identity" "lifetime_seconds" NUMBER Default("300"), AtOnce,
        "How long the bot can use the identity that comes with a message, 300 at most.";
    IDENTITY_ROTATE_DAYS "identity" "rotate_days" NUMBER Default("90"), AtOnce,
        "Days after which a new key signs identities; `portero keys rotate` changes it at any time.";

    LIMITS_CODE_DIGITS "limits" "code_digits" NUMBER Default("8"), AtOnce,
        "Digits of a code.";
    LIMITS_CODE_MINUTES "limits" "code_minutes" NUMBER Default("10"), AtOnce,
        "How long a code can be used; NIST SP 800-63B allows 10 at most.";
    LIMITS_TRIES_PER_CODE "limits" "tries_per_code" NUMBER Default("5"), AtOnce,
        "Wrong tries after which a code is dead.";
    LIMITS_FAILURES_PER_DAY "limits" "failures_per_day" NUMBER Default("10"), AtOnce,
        "Wrong codes in 24 hours, per person and per mail address.";
    LIMITS_FAILURES_PER_DAY_IN_ALL "limits" "failures_per_day_in_all" NUMBER Default("500"), AtOnce,
        "Wrong codes in 24 hours from everybody together; beyond it no new codes are sent.";
    LIMITS_RESEND_AFTER_SECONDS "limits" "resend_after_seconds" NUMBER Default("60"), AtOnce,
        "Shortest time between two codes for one address in one chat.";
    LIMITS_MAILS_PER_HOUR "limits" "mails_per_hour" NUMBER Default("5"), AtOnce,
        "Codes mailed in an hour, per person and per mail address.";
    LIMITS_MAILS_PER_DAY "limits" "mails_per_day" NUMBER Default("20"), AtOnce,
        "Codes mailed in 24 hours, per person and per mail address.";
    LIMITS_MESSAGE_AGE_MAX_MINUTES "limits" "message_age_max_minutes" NUMBER Default("10"), AtOnce,
        "Messages older than this take no part in a sign-in.";
    LIMITS_BINDING_IDLE_DAYS "limits" "binding_idle_days" NUMBER Default("90"), AtOnce,
        "Days without a message after which somebody has to sign in again.";
    LIMITS_BINDING_AGE_MAX_DAYS "limits" "binding_age_max_days" NUMBER Unset("no limit but the idle one", "365"), AtOnce,
        "Days after which somebody has to sign in again in any case.";
    LIMITS_REPLIES_PER_HOUR "limits" "replies_per_hour" NUMBER Default("30"), AtOnce,
        "Replies of Portero's own in an hour, per person.";
    LIMITS_LINK_MINUTES "limits" "link_minutes" NUMBER Default("10"), AtOnce,
        "How long a link to the sign-in page can be used.";
    LIMITS_LINKS_PER_HOUR "limits" "links_per_hour" NUMBER Default("3"), AtOnce,
        "Links to the sign-in page in an hour, per person.";
    LIMITS_PASSWORDS_PER_LINK "limits" "passwords_per_link" NUMBER Default("5"), AtOnce,
        "Wrong passwords after which a link is dead.";
    LIMITS_PASSWORDS_PER_USER_PER_HOUR "limits" "passwords_per_user_per_hour" NUMBER Default("10"), AtOnce,
        "Wrong passwords in an hour, per user name over all links.";
    LIMITS_PASSWORDS_PER_NETWORK "limits" "passwords_per_network" NUMBER Default("30"), AtOnce,
        "Wrong passwords in 10 minutes from one network: an IPv4 address or an IPv6 /64.";
    LIMITS_RETURN_CODE_MINUTES "limits" "return_code_minutes" NUMBER Default("5"), AtOnce,
        "How long the code that travels back through the chat can be used.";

    LOG_FORMAT "log" "format" TEXT Default("\"human\""), AtRestart,
        "How log lines look: human or json.";
    LOG_LEVEL "log" "level" TEXT Default("\"info\""), AtOnce,
        "How much is logged: error, warn, info, debug or trace.";

    METRICS_LISTEN "metrics" "listen" TEXT Unset("no metrics", "\"127.0.0.1:9464\""), AtRestart,
        "Address and port where Prometheus reads /metrics; a listener of its own.";
    METRICS_KEY "metrics" "key" SECRET Unset("needed unless metrics.listen is on this machine alone", "\"env:PORTERO_METRICS_KEY\""), AtOnce,
        "Bearer token, at least 32 characters, that Prometheus sends (authorization.credentials).";

    STATUS_PASSWORD_HASH "status" "password_hash" HASH Unset("no status page", "\"$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\""), AtOnce,
        "Hash of the password for the status page at /status/; `portero status password` asks for one and prints this line.";
}

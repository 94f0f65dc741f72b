//! Portero finds out who is writing to a business on WhatsApp, so that its bot may act for that
//! person. This is the map of the house.
//!
//! # Layers
//!
//! Imports go one way, downwards; `tests/it/tidy.rs` reads the sources and guards it.
//!
//! ```text
//!   cli  serve  config  simulator     what people start, and how it is put together
//!   web  outbox  control              edges: requests in, everything out, the operator's socket
//!   app                               the operations, each one transaction
//!   store  text  signing              bytes in tables; words in languages; keys and tokens
//!   domain                            decisions, and nothing else
//!
//!   whatsapp  mail  services  backend  bot
//!                                     adapters beside them: know domain and http, not one another
//!   tls                               the certificate of HTTPS of Portero's own, kept fresh
//!   http                              calls to other people's servers, with every limit set
//! ```
//!
//! # What holds everywhere
//!
//! - *Decisions are values.* [`domain`] turns what is known, what happened, the moment and fresh
//!   random values into what is known next and what to do. It reads no clock and cannot fail.
//! - *One message is one transaction.* What it changes, what is to be sent because of it, and the
//!   mark that it was seen are committed together, before the sender is told 200.
//! - *The outbox is the only sender.* Nothing is sent inside a transaction, and nothing is sent
//!   that is not on disk.
//! - *`Err` is for the world.* Whatever a person may do is an outcome.
//! - *What Portero vouches for is signed*, by [`signing`] and nowhere else, with keys that take turns.
//! - *Everything is bounded*: bodies, queues, waits, retries, each by a constant with a name.
//! - *Secrets and names do not print themselves*, so no log line can show one by chance.
//!
//! # How it is watched
//!
//! A request has a line in the log with its route, never its path, and a delivery has one with its
//! lane; both are counted where they happen, in [`metrics`], and [`serve`] puts together what
//! `/metrics` tells. What matters later is written down in a chain ([`store::record::put_audit`]).
//! How far people come on their way in is counted hour by hour, in the transactions of the sign-ins
//! themselves ([`domain::tally`]); `web/status` draws it for the administrator, who may also end
//! sign-ins there and take up what was given up ([`app::App::search`] and its neighbours).
//!
//! # Another configuration
//!
//! What one configuration makes of the program is a whole, in `serve/generation.rs`. A reload makes
//! another one beside it and puts it in its place, in `serve/reload.rs`, where all is told in order;
//! each key says in [`config::keys`] whether that is enough. Requests and the turns of [`outbox`]
//! take the whole once, at their beginning.
//!
//! # The walk of one message
//!
//! 1. [`web::listener`]: a connection's thread shakes hands if TLS is spoken, with the certificate of
//!    [`tls`], reads the head under its limits, then the body.
//! 2. [`web`]: the route table; the webhook checks the signature over the raw bytes.
//! 3. [`whatsapp::webhook`]: JSON becomes [`domain::message::WebhookItem`]s; what is unknown is
//!    ignored, and one odd element spoils nothing.
//! 4. [`app::App::receive`]: reads the clock, draws randomness, and in one transaction finds the
//!    contact, asks [`domain::conversation::step`] what to do, and stores all that follows.
//! 5. [`store`]: the commit, shared with whoever waits at the same time. Then 200.
//! 6. [`outbox`]: its bell has rung; a thread begins a few entries (for messages to people that is
//!    noted on disk first, because people would see a repetition), carries each to [`whatsapp`],
//!    [`mail`] or [`services`], and settles them in a second transaction: done, next try, or dead
//!    letter with its reason.
//! 7. Statuses come back through the same door and find the message by Meta's id or our tag.
//!
//! # The walk of a sign-in on the web
//!
//! 1. A tap in the chat, or the bot: [`domain::conversation::step`] makes a
//!    [`domain::sign_in::Mapping`]; its link leaves through the outbox, where the hash is derived.
//! 2. The browser asks [`web`] for the page: [`app::App::page`] looks and changes nothing.
//! 3. The form comes back: [`app::App::begin_try`] counts the try in one transaction, whoever knows
//!    is asked about the password outside of any, [`app::App::finish_try`] decides in another.
//! 4. The browser is sent to the chat with the return code. Nobody is bound yet.
//! 5. The person presses *Send*: the code arrives like any message. From the contact that asked for
//!    the link it binds; from anywhere else it burns the sign-in, and both chats are told.
//!
//! # The walk of a token
//!
//! Whoever acts for a person asks [`app::App::token`]. It looks at the contact as it is now, so a
//! proof that has ended gives nothing; what is held in memory for this very proof is handed out, and
//! what is not is asked of the service, once for all who wait for it.
//!
//! # Pages and back ends of others
//!
//! A page that is not Portero's takes steps 2 to 4 upon itself, by two calls that [`web`] answers;
//! and Portero's page can serve a [`backend`] that is not Portero's.
//!
//! # The walk of a question of the bot's
//!
//! 1. The bot sends an API key and the identity that came with a message: [`web`] finds the caller,
//!    and [`app::App::identity`] the contact. Nobody is found by a number.
//! 2. A token: [`app::App::token`] looks at the contact as it is now, and asks the service once for
//!    all who ask at the same time.
//! 3. A link or a fresh proof: [`app::App::grant`], one transaction with the mark under which the
//!    bot may ask again; [`domain::conversation::step`] begins the sign-in and remembers the
//!    [`domain::requirement::Requirement`].
//! 4. Whatever binds judges the requirement, and [`app::App::demand`] tells the bot how it stands.

pub mod domain;

pub mod metrics;

pub mod text;

pub mod store;

pub mod signing;

pub mod app;

pub mod http;

pub mod tls;

pub mod whatsapp;

pub mod mail;

pub mod services;

pub mod backend;

pub mod bot;

pub mod outbox;

pub mod web;

pub mod control;

pub mod config;

pub mod serve;

pub mod simulator;

pub mod cli;

//! draft
pub mod app;
pub mod domain;
pub mod mail;
pub mod outbox;
pub mod services;
pub mod store;
pub mod text;
pub mod whatsapp;

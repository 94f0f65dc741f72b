//! draft
pub mod domain;
pub mod http;
pub mod mail;
pub mod services;
pub mod text;
pub mod whatsapp;

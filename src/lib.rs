//! draft
pub mod cli;
pub mod config;
pub mod domain;
pub mod mail;
pub mod services;
pub mod text;
pub mod whatsapp;

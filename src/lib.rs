//! draft
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod http;
pub mod mail;
pub mod outbox;
pub mod serve;
pub mod services;
pub mod store;
pub mod text;
pub mod web;
pub mod whatsapp;

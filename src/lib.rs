//! draft
pub mod domain;
pub mod text;
pub mod store;
pub mod app;
pub mod http;
pub mod whatsapp;
pub mod mail;
pub mod services;
pub mod outbox;
pub mod web;
pub mod config;
pub mod serve;
pub mod simulator;
pub mod cli;

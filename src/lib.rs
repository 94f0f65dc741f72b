//! draft
pub mod domain;
pub mod mail;
pub mod services;
pub mod simulator;
pub mod text;
pub mod web;
pub mod whatsapp;

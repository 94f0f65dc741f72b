//! The tests from outside: one binary, so that everything is linked once.
#![allow(clippy::unwrap_used, missing_docs)]

mod acme;
mod api;
mod audit;
mod browser;
mod cli;
mod config;
mod crash;
mod description;
mod doctor;
mod door;
mod gateway;
mod mail;
mod outside;
mod package;
mod page;
mod page_browser;
mod process;
mod python;
mod recipes;
mod services;
mod shapes;
mod smtp_sink;
mod tidy;
mod tls;
mod watch;
mod webdriver;

// The core: conversations, limits, faults.
mod faults;
mod handing_on;
mod house;
mod keeping;
mod keys;
mod lanes;
mod letters;
mod limits;
mod mappings;
mod sign_in;
mod simulation;
mod tokens;
mod transcripts;
mod troubles;
mod user;

//! Decisions, and nothing else: no clock, no randomness, no files, no network, no other module.
//!
//! What is known (`contact`), what happened (`message`, `conversation::Event`), the limits
//! (`policy`) and the moment come in as arguments; what is known next and what to do go out as
//! values. Nothing here can fail: whatever a person does is an outcome.

pub mod clean;
pub mod id;
pub mod language;
pub mod secret;
pub mod time;

pub mod account;
pub mod binding;
pub mod budget;
pub mod challenge;
pub mod contact;
pub mod conversation;
pub mod delivery;
pub mod failure;
pub mod message;
pub mod policy;
pub mod reading;
pub mod requirement;
pub mod sign_in;
pub mod tally;

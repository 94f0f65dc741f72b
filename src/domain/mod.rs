//! draft
pub mod account;
pub mod delivery;
pub mod id;
pub mod message;
pub mod policy;

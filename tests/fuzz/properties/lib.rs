//! What must hold of everything that others write, one module for each target, built once for all of
//! them.

#[allow(dead_code)]
mod hall;
#[path = "../../it/house.rs"]
#[allow(dead_code)]
mod house;

pub mod answers;
pub mod code_in_text;
pub mod config_toml;
pub mod email_address;
pub mod forms_and_cookies;
pub mod head_and_body;
pub mod mail_rendering;
pub mod phone_and_bsuid;
pub mod record_envelope;
pub mod signature_header;
pub mod webhook_json;
pub mod whole_handler;

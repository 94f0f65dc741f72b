//! map

pub mod store;

//! map

pub mod web;

//! The fake API server against the real client.

#[path = "../common/mod.rs"]
mod common;

mod faults;
mod requests;
mod rights;
mod support;
mod watches;

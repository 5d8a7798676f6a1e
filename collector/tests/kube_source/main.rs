//! The API source against an API server over HTTP, with faults.

mod enforcement;
mod kernel;
mod rights;
mod schedule;
mod source;
mod support;

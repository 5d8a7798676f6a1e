//! The API source against an API server over HTTP, with faults.

mod enforcement;
mod kernel;
mod outage;
mod rights;
mod schedule;
mod source;
mod support;

//! The API source against an API server over HTTP, with faults.

mod rights;
mod source;
mod support;

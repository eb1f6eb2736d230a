//! What must hold for any bytes whatever. libFuzzer brings them (`fuzz/targets`), and an ordinary test brings the seeds and the
//! inputs that once failed (`tests/fuzz_inputs.rs`).
//!
//! A check says that something is wrong by panicking. The product catches panics where it can, which would hide them here:
//! so a check also looks at what came out.

// Each target uses one of them.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
mod http;
mod manifest;
mod picture;
mod token;
mod unit;

pub use config::config;
pub use http::{multipart, query, request};
pub use manifest::manifest;
pub use picture::picture;
pub use token::token;

//! The vehicle-classifying roadside camera unit: camera frames and uploads in, trusted classifications and counts out.
//!
//! `docs/ARCHITECTURE.md` is the map. Imports only point downward, as `tests/tidy.rs` holds them to.

pub mod api;
pub mod auth;
pub mod capture;
pub mod classifier;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coverage;
pub mod daemon;
pub mod error;
pub mod files;
pub mod frame;
pub mod imaging;
pub mod inference;
pub mod ledger;
pub mod logging;
pub mod metrics;
pub mod pipeline;
pub mod place;
pub mod record;
pub mod report;
pub mod store;
pub mod sync;
pub mod traffic;

//! The endpoints: one file a resource, with the outward types they share (`wire.rs`).

pub mod audit;
pub mod camera;
pub mod classifications;
pub mod classify;
pub mod diagnostics;
pub mod events;
pub mod health;
pub mod models;
pub mod numbers;
pub mod oip;
pub mod overlay;
pub mod report;
pub mod report_cache;
pub mod reports;
pub mod statistics;
pub mod tokens;
pub mod traffic;
pub mod users;
pub mod wire;

//! The mechanism around every request: envelope, gates, bodies, query parameters, limits and the error shape.

pub mod access;
pub mod body;
pub mod client;
pub mod connections;
pub mod cross_site;
pub mod csv;
pub mod device;
pub mod docs;
pub mod envelope;
pub mod error;
pub mod head;
pub mod query;
pub mod rates;
pub mod request;
pub mod shares;
pub mod stay;
pub mod streams;
pub mod tickets;

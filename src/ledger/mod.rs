//! What is made of the ledger: intervals of counts that say how much of them was watched, class schemes, and the tables in
//! which both leave the unit. Pure: the store reads, the API and the command line send.

pub mod interval;
pub mod names;
pub mod scheme;
pub mod table;
pub mod wide;
pub mod wire;
pub mod workbook;

pub use interval::{Interval, IntervalCount, intervals};
pub use scheme::Scheme;

//! The store's figures as they go out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use salvo::oapi::ToSchema;
use serde::Serialize;

use crate::store::RecordCount;

/// How much the store holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatisticsWire {
    /// Accounts.
    pub users: u64,
    pub reports: RecordStatistics,
    pub classifications: RecordStatistics,
    pub passages: RecordStatistics,
    /// Manual counts.
    pub validations: u64,
    /// Rows of the audit trail since the first start.
    pub audit_rows: u64,
    /// Over the kept classifications; null without any.
    pub average_confidence: Option<f64>,
    /// Over the kept classifications; null without any.
    pub average_processing_time_ms: Option<f64>,
    /// Of the database with its log.
    pub store_bytes: u64,
}

/// What is kept of one kind of record.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecordStatistics {
    pub rows: u64,
    /// RFC 3339, UTC; null without rows.
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    pub oldest: Option<Timestamp>,
    /// RFC 3339, UTC; null without rows.
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    pub newest: Option<Timestamp>,
    /// Rows of each class there is.
    pub by_class: BTreeMap<String, u64>,
}

impl From<RecordCount> for RecordStatistics {
    fn from(count: RecordCount) -> Self {
        Self { rows: count.rows, oldest: count.oldest, newest: count.newest, by_class: count.by_class }
    }
}

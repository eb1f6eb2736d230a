//! Stored classifications as they go out.

use jiff::Timestamp;
use salvo::oapi::ToSchema;
use serde::Serialize;

use crate::api::resources::classify::wired;
use crate::api::resources::wire::ClassificationWire;
use crate::ledger::table;
use crate::record::Classification;

/// Columns of [`StoredClassification::row`].
pub const CLASSIFICATION_COLUMNS: [&str; 13] = [
    "classification_id",
    "created_at",
    "origin",
    "class",
    "confidence",
    "processing_time_ms",
    "model",
    "model_version",
    "file_name",
    "sha256",
    "user",
    "clock_synced",
    "boot_id",
];

/// A stored classification: what was answered, with where it came from and when.
#[derive(Debug, Serialize, ToSchema)]
pub struct StoredClassification {
    #[serde(flatten)]
    pub classification: ClassificationWire,
    /// `upload` or `camera`.
    #[salvo(schema(pattern = "^(upload|camera)$"))]
    pub origin: &'static str,
    /// The client's name for the picture, for people only.
    pub file_name: Option<String>,
    /// Null for the camera.
    pub user: Option<String>,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// False while the time may still be put right.
    pub clock_synced: bool,
    pub boot_id: String,
}

/// A page of classifications.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClassificationPage {
    /// Newest first.
    pub classifications: Vec<StoredClassification>,
    /// Give it as `cursor` for the next, older page; null on the last.
    pub next_cursor: Option<String>,
}

impl From<&Classification> for StoredClassification {
    fn from(record: &Classification) -> Self {
        Self {
            classification: wired(record),
            origin: record.origin.name(),
            file_name: record.file_name.clone(),
            user: record.user.clone(),
            created_at: record.created.at,
            clock_synced: record.created.synced,
            boot_id: record.created.boot_id.to_string(),
        }
    }
}

impl StoredClassification {
    /// The row of a table.
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        let answered = &self.classification;
        let class = answered.predictions.get("type").map(|kind| table::text(&kind.value)).unwrap_or_default();
        let optional = |cell: &Option<String>| cell.as_deref().map(table::text).unwrap_or_default();
        vec![
            answered.classification_id.clone(),
            self.created_at.to_string(),
            self.origin.to_owned(),
            class,
            answered.overall_confidence.to_string(),
            answered.processing_time_ms.to_string(),
            table::text(&answered.model),
            table::text(&answered.model_version),
            optional(&self.file_name),
            answered.image.sha256.clone(),
            optional(&self.user),
            self.clock_synced.to_string(),
            self.boot_id.clone(),
        ]
    }
}

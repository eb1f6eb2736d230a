//! The report as it is stored and served.

use jiff::Timestamp;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A report as stored and served.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReportBody {
    pub report_id: String,
    pub vehicle_id: String,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub report_date: Timestamp,
    pub summary: Summary,
    /// By attribute, as the classification answered.
    #[salvo(schema(value_type = Object))]
    pub predictions: Value,
    pub overall_confidence: f32,
    pub processing_time_ms: f64,
    pub model: String,
    pub model_version: String,
    pub classification_id: String,
    pub image: Image,
    /// What to do about it, in words; may be empty.
    pub recommendations: Vec<String>,
    pub metadata: Metadata,
}

/// The report in one line.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    pub vehicle_type: String,
    pub confidence: f32,
    /// `HIGH`, `MEDIUM` or `LOW`.
    pub level: String,
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Image {
    pub width: u32,
    pub height: u32,
    pub format: String,
    /// Hex, of the uploaded bytes.
    pub sha256: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Metadata {
    pub unit: String,
    pub site: String,
    pub location: String,
    /// Whether the clock was synchronised when the report was made.
    pub clock_synced: bool,
}

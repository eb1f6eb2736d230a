//! The types that go out over HTTP. Only these are serialised; the records behind them may change without a client noticing.

use std::collections::BTreeMap;

use jiff::Timestamp;
use salvo::oapi::{Components, ComposeSchema, EndpointOutRegister, Operation, ToSchema};
use salvo::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::record::{AuditRow, ConfidenceLevel, LabelProbability, Prediction, User};
use crate::report::ReportBody;

/// `{"status":"success","timestamp":…,"data":…}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Success<T: ToSchema + 'static> {
    /// Always `success`.
    pub status: &'static str,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub timestamp: Timestamp,
    pub data: T,
}

/// A successful answer: 200.
#[derive(Debug)]
pub struct Reply<T>(pub T);

/// The answer for what is durably stored by now: 201.
#[derive(Debug)]
pub struct Created<T>(pub T);

/// The answer that the endpoint wrote itself; its `responses` describe it.
#[derive(Debug)]
pub struct Written;

impl<T: Serialize + ToSchema + Send + 'static> Scribe for Reply<T> {
    fn render(self, res: &mut Response) {
        succeed(StatusCode::OK, self.0, res);
    }
}

impl<T: Serialize + ToSchema + Send + 'static> Scribe for Created<T> {
    fn render(self, res: &mut Response) {
        succeed(StatusCode::CREATED, self.0, res);
    }
}

impl Scribe for Written {
    fn render(self, _res: &mut Response) {}
}

fn succeed<T: Serialize + ToSchema + Send + 'static>(status: StatusCode, data: T, res: &mut Response) {
    res.status_code(status);
    res.render(Json(Success { status: "success", timestamp: Timestamp::now(), data }));
}

impl<T: ToSchema + ComposeSchema + 'static> EndpointOutRegister for Reply<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        describe::<T>("200", "Done", components, operation);
    }
}

impl<T: ToSchema + ComposeSchema + 'static> EndpointOutRegister for Created<T> {
    fn register(components: &mut Components, operation: &mut Operation) {
        describe::<T>("201", "Durably stored", components, operation);
    }
}

impl EndpointOutRegister for Written {
    fn register(_components: &mut Components, _operation: &mut Operation) {}
}

fn describe<T: ToSchema + ComposeSchema + 'static>(
    status: &str,
    description: &str,
    components: &mut Components,
    operation: &mut Operation,
) {
    let content = salvo::oapi::Content::new(Success::<T>::to_schema(components));
    let response = salvo::oapi::Response::new(description).add_content("application/json", content);
    operation.responses.insert(status.to_owned(), response);
}

/// OAuth 2.0 token response (RFC 6749, 5.1).
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenAnswer {
    pub access_token: String,
    /// Always `bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
    /// The account opens nothing but `POST /auth/password` until its password is changed.
    pub must_change_password: bool,
    /// `user` or `admin`.
    pub role: &'static str,
    /// Id of the unit that issued the token.
    pub unit: String,
}

/// What opens one stream in the place of a token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TicketAnswer {
    pub ticket: String,
    /// Seconds.
    pub expires_in: u64,
}

/// Public state of the unit.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `healthy`, or `degraded` with its reasons.
    pub status: &'static str,
    /// Null when Redis is not configured.
    pub redis_connected: Option<bool>,
    pub database_healthy: bool,
    pub models_loaded: bool,
    /// Null when no camera is configured.
    pub camera_connected: Option<bool>,
    pub clock_synchronized: bool,
    /// What is degraded, in words; empty when healthy.
    pub reasons: Vec<String>,
    pub version: &'static str,
    pub uptime_seconds: u64,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub timestamp: Timestamp,
}

/// Answer of the live and ready probes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Probe {
    /// `live` or `ready`.
    pub status: &'static str,
}

/// The active model.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelMetadata {
    pub name: String,
    pub version: String,
    pub description: String,
    pub licence: String,
    /// Hex, of the model file.
    pub sha256: String,
    pub input: ModelInput,
    /// Labels of the attribute `type`.
    pub labels: Vec<String>,
    /// Every attribute with its labels.
    pub attributes: BTreeMap<String, Vec<String>>,
    /// Figures of the model card.
    #[salvo(schema(value_type = Object))]
    pub accuracy: Value,
    pub runtime: &'static str,
    /// Threads of one interpreter.
    pub threads: usize,
    /// Interpreters, one a worker.
    pub workers: usize,
}

/// What the model takes.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelInput {
    pub width: u32,
    pub height: u32,
    /// `NHWC`.
    pub layout: String,
    /// `RGB`.
    pub colour: String,
    /// `int8`: pixel − 128.
    pub dtype: String,
    pub scale: f32,
    pub zero_point: i32,
    /// `stretch`, `centre_crop` or `pad`.
    pub fit: String,
}

/// One attribute's prediction.
#[derive(Debug, Serialize, ToSchema)]
pub struct PredictionWire {
    pub attribute: String,
    pub value: String,
    /// 0…1.
    pub confidence: f32,
    /// At most five, most probable first.
    pub top: Vec<Candidate>,
    pub confidence_metrics: ConfidenceMetrics,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Candidate {
    pub label: String,
    /// 0…1.
    pub probability: f32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ConfidenceMetrics {
    pub rank_1: f32,
    pub rank_2: f32,
    /// Shannon entropy normalised to 0…1.
    pub uncertainty: f32,
    pub is_confident: bool,
    /// `HIGH` from 0.8, `MEDIUM` from 0.6, else `LOW`.
    pub level: &'static str,
}

impl From<&Prediction> for PredictionWire {
    fn from(prediction: &Prediction) -> Self {
        let rank = |place: usize| prediction.top.get(place).map_or(0.0, |entry| entry.probability);
        let candidate =
            |entry: &LabelProbability| Candidate { label: entry.label.clone(), probability: entry.probability };
        Self {
            attribute: prediction.attribute.clone(),
            value: prediction.value.clone(),
            confidence: prediction.confidence,
            top: prediction.top.iter().map(candidate).collect(),
            confidence_metrics: ConfidenceMetrics {
                rank_1: rank(0),
                rank_2: rank(1),
                uncertainty: prediction.uncertainty,
                is_confident: prediction.is_confident,
                level: match prediction.level {
                    ConfidenceLevel::High => "HIGH",
                    ConfidenceLevel::Medium => "MEDIUM",
                    ConfidenceLevel::Low => "LOW",
                },
            },
        }
    }
}

/// By attribute, as answers carry them.
pub type Predictions = BTreeMap<String, PredictionWire>;

/// Predictions by attribute.
#[must_use]
pub fn by_attribute(predictions: &[Prediction]) -> Predictions {
    predictions.iter().map(|prediction| (prediction.attribute.clone(), prediction.into())).collect()
}

/// A classified picture.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClassificationWire {
    pub classification_id: String,
    pub predictions: Predictions,
    /// Confidence of the attribute `type`.
    pub overall_confidence: f32,
    pub processing_time_ms: f64,
    pub model: String,
    pub model_version: String,
    pub image: ImageFacts,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ImageFacts {
    pub width: u32,
    pub height: u32,
    /// `jpeg`, `png`, `bmp`, `gif` or `webp`.
    pub format: String,
    /// Hex, of the uploaded bytes.
    pub sha256: String,
}

/// Answer of the batch endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    pub summary: BatchSummary,
    /// In the order of the upload.
    pub results: Vec<BatchResult>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BatchSummary {
    pub total_files: usize,
    pub successful: usize,
    pub failed: usize,
    /// Over the successful ones; 0 when there are none.
    pub average_processing_time_ms: f64,
}

/// One file of a batch: its classification, or what was wrong with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchResult {
    /// Place in the upload, from 0.
    pub index: usize,
    pub file_name: Option<String>,
    /// `success` or `error`.
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<ClassificationWire>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<BatchError>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BatchError {
    pub error_code: &'static str,
    pub message: String,
}

/// An account. Its password hash has no way out.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserWire {
    pub name: String,
    /// `user` or `admin`.
    pub role: &'static str,
    pub enabled: bool,
    /// The account opens nothing but `POST /auth/password` until its password is changed.
    pub must_change_password: bool,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
}

impl From<&User> for UserWire {
    fn from(user: &User) -> Self {
        Self {
            name: user.name.clone(),
            role: user.role.name(),
            enabled: user.enabled,
            must_change_password: user.must_change_password,
            created_at: user.created_at,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UserList {
    /// By name.
    pub users: Vec<UserWire>,
}

/// A page of reports.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReportPage {
    /// Newest first.
    pub reports: Vec<ReportBody>,
    /// Give it as `cursor` for the next, older page; null on the last.
    pub next_cursor: Option<String>,
}

/// The hash chain of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChainWire {
    /// Rows in the trail.
    pub rows: u64,
    /// Hex SHA-256 of the newest row. Noted down elsewhere, it proves later that nobody rewrote the trail.
    pub head_hash: String,
    /// Whether every row is what it was; null when it was not asked for (`verify=true`).
    pub intact: Option<bool>,
    /// Id of the first row that is missing or changed.
    pub first_broken: Option<i64>,
}

/// A page of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// Newest first.
    pub events: Vec<AuditWire>,
    /// Give it as `cursor` for the next, older page; null on the last.
    pub next_cursor: Option<String>,
    pub chain: ChainWire,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditWire {
    pub id: i64,
    pub user: Option<String>,
    pub action: String,
    pub resource: String,
    /// `success`, `denied` or `failure`.
    pub outcome: &'static str,
    /// Null where there was nothing more to say: as it went into the hash.
    #[salvo(schema(value_type = Option<Object>))]
    pub details: Value,
    pub ip_address: Option<String>,
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    pub clock_synced: bool,
    /// Hex SHA-256 over the previous row's hash and this row.
    pub hash: String,
}

impl From<AuditRow> for AuditWire {
    fn from(row: AuditRow) -> Self {
        let event = row.event;
        Self {
            id: row.id,
            user: event.user,
            action: event.action,
            resource: event.resource,
            outcome: event.outcome.name(),
            details: event.details,
            ip_address: event.ip_address,
            created_at: event.at.at,
            clock_synced: event.at.synced,
            hash: row.hash,
        }
    }
}

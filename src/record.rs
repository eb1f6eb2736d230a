//! The nouns of the domain as they are kept: who asked, what a model said of a picture, what is reported, what was done.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Stamp;
use crate::error::Error;

mod authority;
mod event;
mod ledger;

pub use authority::{Authority, Principal, Standing};
pub use event::Event;
pub use ledger::{Count, Coverage, CoverageSpan, Gap, Passage, PassageRow, SlotWidth, UNCLASSIFIED};

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    User,
    Admin,
}

impl Role {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            other => Err(Error::validation(format!("Unknown role {other:?}: use user or admin."))),
        }
    }
}

/// What a service token may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// GET /metrics.
    Metrics,
    /// Every GET a user may do.
    Read,
    /// Uploads: classify, classify-batch, report.
    Classify,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Read, Self::Classify];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Read => "read",
            Self::Classify => "classify",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| Error::validation(format!("Unknown scope {text:?}: use metrics, read or classify.")))
    }
}

/// An account. The password hash stays in the store and in `auth`; it has no way out through this type's `Debug`.
#[derive(Clone)]
pub struct User {
    pub id: i64,
    pub name: String,
    pub role: Role,
    pub enabled: bool,
    /// The password was given by somebody else (first start, an admin) and opens nothing but its own change.
    pub must_change_password: bool,
    /// PHC string, argon2id.
    pub password_hash: String,
    pub created_at: Timestamp,
    /// Goes up by one whenever the account's tokens become void (password change, disabling). A token carries the number it
    /// was issued under; a time would let tokens live or die by a wrong clock.
    pub token_generation: i64,
    /// `jti` of the one token that outlives the last change: the one the password was changed with.
    pub kept_token: Option<String>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// A long-lived token for a machine. The token itself is shown once and never stored; only its `jti` is.
#[derive(Clone, Debug)]
pub struct ServiceToken {
    pub id: String,
    pub name: String,
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// One candidate answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelProbability {
    pub label: String,
    /// 0…1.
    pub probability: f32,
}

/// How sure a prediction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConfidenceLevel {
    High,
    Medium,
    Low,
}

/// What a model says of one attribute (`type`, …) of one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    pub attribute: String,
    pub value: String,
    /// Probability of `value`, 0…1.
    pub confidence: f32,
    /// At most five, most probable first.
    pub top: Vec<LabelProbability>,
    /// Shannon entropy over all labels, normalised to 0…1 by the entropy of a uniform distribution.
    pub uncertainty: f32,
    pub is_confident: bool,
    pub level: ConfidenceLevel,
}

/// What is known of a classified picture; the picture itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureFacts {
    pub width: u32,
    pub height: u32,
    pub format: String,
    /// Hex SHA-256 of the encoded bytes.
    pub sha256: String,
}

/// Where a classified picture came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    Upload,
    Camera,
}

impl Origin {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Camera => "camera",
        }
    }
}

/// One classified picture, ready to be stored.
#[derive(Clone, Debug)]
pub struct Classification {
    /// UUID.
    pub id: String,
    pub origin: Origin,
    /// Who uploaded it; none for the camera.
    pub user: Option<String>,
    /// The client's file name or the replayed file's, for people only; never used as a path.
    pub file_name: Option<String>,
    pub picture: PictureFacts,
    pub predictions: Vec<Prediction>,
    /// The `type` prediction's confidence.
    pub confidence: f32,
    pub processing_time_ms: f64,
    pub model: String,
    pub model_version: String,
    pub created: Stamp,
}

/// One vehicle report, as stored and served.
#[derive(Clone, Debug)]
pub struct Report {
    /// UUID.
    pub id: String,
    pub vehicle_id: String,
    pub user: String,
    /// The `type` prediction, for filters.
    pub class: String,
    pub confidence: f32,
    /// The whole report as served (`report_id`, `vehicle_id`, `predictions`, …).
    pub body: Value,
    pub created: Stamp,
}

/// How an audited action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Success,
    Denied,
    Failure,
}

impl Outcome {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denied => "denied",
            Self::Failure => "failure",
        }
    }
}

impl FromStr for Outcome {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Success, Self::Denied, Self::Failure]
            .into_iter()
            .find(|outcome| outcome.name() == text)
            .ok_or_else(|| Error::validation(format!("Unknown outcome {text:?}: use success, denied or failure.")))
    }
}

/// Something somebody did, to be kept in the audit trail.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Account or service token name; none before anybody is known.
    pub user: Option<String>,
    /// For example `auth.token`, `vehicle.classify`, `user.add`.
    pub action: String,
    /// What it was done to: a route, a user, a classification id.
    pub resource: String,
    pub outcome: Outcome,
    pub details: Value,
    /// Peer address; none on the command line.
    pub ip_address: Option<String>,
    pub at: Stamp,
    /// Checked again in the transaction that the event belongs to; none for the command line and the unit itself.
    pub authority: Option<Arc<dyn Authority>>,
}

/// A stored audit row with its place in the hash chain.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub id: i64,
    pub event: AuditEvent,
    /// Hex SHA-256 over the previous row's hash and this row's content.
    pub hash: String,
}

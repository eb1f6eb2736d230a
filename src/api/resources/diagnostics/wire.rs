//! The technician's page of facts, as it goes out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use salvo::oapi::ToSchema;
use serde::Serialize;

use crate::api::resources::wire::Health;

/// One page of facts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Diagnostics {
    pub unit: UnitFacts,
    /// As `GET /health` answers.
    pub health: Health,
    pub camera: CameraFacts,
    pub pipeline: PipelineFacts,
    pub model: ModelFacts,
    pub store: StoreFacts,
    pub sync: SyncFacts,
    pub disk: DiskFacts,
    /// Hottest thermal zone; null where the device has none.
    pub temperature_celsius: Option<f64>,
    pub clock: ClockFacts,
    pub network: NetworkFacts,
    pub versions: Versions,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UnitFacts {
    pub id: String,
    pub site: String,
    pub location: String,
    pub timezone: String,
    pub uptime_seconds: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CameraFacts {
    /// `capture.source`, without what is secret in it.
    pub source: String,
    /// `off`, `connected`, `frozen`, `obscured`, `disconnected` or `ended`.
    pub state: &'static str,
    /// Why it is disconnected, where that is known.
    pub last_error: Option<String>,
    /// Null before the first frame.
    pub last_frame_seconds: Option<f64>,
    /// Frames since the start by what became of them.
    pub frames: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PipelineFacts {
    pub workers: usize,
    /// Entries waiting in each bounded queue.
    pub queues: BTreeMap<String, i64>,
    /// How long the longest classification under way has been running; null when none is.
    pub busy_seconds: Option<f64>,
    pub requests_active: i64,
    /// Requests and frames refused or shed since the start, by limit.
    pub limit_hits: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelFacts {
    pub name: String,
    pub version: String,
    /// Hex, of the model file.
    pub sha256: String,
    pub runtime: &'static str,
    pub threads: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StoreFacts {
    pub healthy: bool,
    /// Database and log on disk.
    pub bytes: u64,
    pub audit_rows: u64,
    /// Hex hash of the newest audit row.
    pub audit_head: String,
    /// Transactions made durable since the start.
    pub commits: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SyncFacts {
    /// Null when Redis is not configured.
    pub redis_connected: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DiskFacts {
    /// Null when the file system gives no answer.
    pub free_bytes: Option<u64>,
    /// What the unit wrote on each of the last seven days on which it ran, newest first: flash wears out. It is noted every ten
    /// minutes.
    pub written: Vec<WrittenDay>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WrittenDay {
    /// UTC.
    #[salvo(schema(value_type = String, format = "date"))]
    pub day: Date,
    pub bytes: u64,
    /// Transactions made durable.
    pub commits: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClockFacts {
    /// RFC 3339, UTC.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub now: Timestamp,
    pub synchronized: bool,
    /// Kernel boot id.
    pub boot_id: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct NetworkFacts {
    /// `api.listen`.
    pub listen: String,
    /// Whether the unit itself serves TLS.
    pub tls: bool,
    pub connections_open: i64,
    /// Whether a proxy with TLS is declared to stand in front.
    pub behind_tls_proxy: bool,
    pub trusted_hosts: Vec<String>,
    pub cors_origins: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    pub daemon: &'static str,
    pub commit: &'static str,
    /// Kernel release.
    pub kernel: String,
    pub sqlite: &'static str,
}

//! The sections of the configuration with their defaults, under which `serve` starts on a bare machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::network::Network;
use super::redis_url::RedisUrl;
use super::traffic::TrafficConfig;

/// A value that must not be shown. It serialises as `***`, and as nothing when empty.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself: for the place that uses it, never for a message.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "***" }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub api: ApiConfig,
    pub auth: AuthConfig,
    pub capture: CaptureConfig,
    pub classifier: ClassifierConfig,
    pub traffic: TrafficConfig,
    pub store: StoreConfig,
    pub sync: SyncConfig,
    pub log: LogConfig,
    pub unit: UnitConfig,
}

/// The HTTP side and its limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address and port; port 0 lets the system choose (the log names the choice). `localhost` is 127.0.0.1.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// Origins that browsers may call from, for example `https://dashboard.example.org`; no wildcard.
    pub cors_origins: Vec<String>,
    /// Host names the unit answers to; empty: any.
    pub trusted_hosts: Vec<String>,
    /// Serve `/docs` and `/api/openapi.json`.
    pub docs: bool,
    pub tls: TlsConfig,
    /// Networks of the proxies in front, for example `127.0.0.1/32`: their `X-Forwarded-For` or `Forwarded` names the client.
    pub trusted_proxies: Vec<String>,
    /// A path before every path, for example `/unit-7`, when the proxy in front does not remove it; empty: none.
    pub base_path: String,
    /// A TLS-terminating proxy stands in front: send HSTS.
    pub behind_tls_proxy: bool,
    /// Request head (target and headers) in bytes.
    pub header_bytes_max: usize,
    pub upload_bytes_max: u64,
    pub batch_files_max: usize,
    pub batch_bytes_max: u64,
    /// Uploads held in memory at once, in bytes, over all requests: more are refused with 503.
    pub upload_memory_bytes_max: u64,
    pub request_timeout_ms: u64,
    /// How long a client may take between two parts of a request or response.
    pub idle_timeout_ms: u64,
    pub connections_max: usize,
    /// Connections of one address, so that none can take them all.
    pub connections_per_address_max: usize,
    /// Requests a minute that one address may send to one endpoint; 0 switches the limit off.
    pub requests_per_minute_max: u32,
    /// Intervals in one answer of `/api/traffic/counts`.
    pub count_intervals_max: u32,
    /// Clients of `/api/events` at once; the next one is answered 503.
    pub event_clients_max: usize,
    /// Clients of `/api/camera/stream` at once; the next one is answered 503.
    pub stream_clients_max: usize,
    /// Frames a second that one client of `/api/camera/stream` gets at most.
    pub stream_fps_max: f64,
    /// Frames a second of pictures with tracks drawn in, for all clients together: each one is decoded and encoded again.
    pub overlay_fps_max: f64,
    /// A frame older than this is not shown as the newest.
    pub snapshot_age_max_ms: u64,
}

impl ApiConfig {
    /// The trusted proxies; what is no network was refused before.
    #[must_use]
    pub fn proxies(&self) -> Vec<Network> {
        self.trusted_proxies.iter().filter_map(|network| network.parse().ok()).collect()
    }
}

/// An address is written, not looked up: a name may stand for several, and its server may be out of reach at the start.
fn listen_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let written = text.strip_prefix("localhost:").map_or_else(|| text.clone(), |port| format!("127.0.0.1:{port}"));
    written.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is no address with a port; write 127.0.0.1:8000 for this device only, 0.0.0.0:8000 for every network, \
             or [::]:8000 with IPv6"
        ))
    })
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            cors_origins: Vec::new(),
            trusted_hosts: Vec::new(),
            docs: true,
            tls: TlsConfig::default(),
            trusted_proxies: Vec::new(),
            base_path: String::new(),
            behind_tls_proxy: false,
            header_bytes_max: 32 << 10,
            upload_bytes_max: 16 << 20,
            batch_files_max: 64,
            batch_bytes_max: 64 << 20,
            upload_memory_bytes_max: 128 << 20,
            request_timeout_ms: 60_000,
            idle_timeout_ms: 15_000,
            connections_max: 768,
            connections_per_address_max: 640,
            requests_per_minute_max: 30_000,
            count_intervals_max: 10_000,
            event_clients_max: 16,
            stream_clients_max: 4,
            stream_fps_max: 15.0,
            overlay_fps_max: 5.0,
            snapshot_age_max_ms: 10_000,
        }
    }
}

/// TLS in the daemon; without it the API is plain HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file: the unit's certificate, then those that lead to its authority. SIGHUP reads it anew.
    pub certificate: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
    /// Make a certificate on the first start and keep it in the state directory; `doctor` shows its fingerprint.
    pub self_signed: bool,
}

impl TlsConfig {
    /// Whether the API is served over TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.self_signed || !self.certificate.as_os_str().is_empty()
    }
}

/// Accounts and tokens.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Key that signs tokens, at least 32 bytes; empty: a generated one kept in the state directory.
    pub secret_key: Secret,
    pub token_minutes: u32,
    /// Shortest password accepted, 12…128.
    pub password_length_min: usize,
    /// Failed logins of one account or from one address before each further try must wait.
    pub login_failures_max: u32,
    /// argon2 computations at once; each takes 19 MiB.
    pub password_checks_max: usize,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            secret_key: Secret::default(),
            token_minutes: 30,
            password_length_min: 15,
            login_failures_max: 5,
            password_checks_max: 1,
        }
    }
}

/// Where frames come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// `none`, `v4l2:/dev/video0` (or a stable link such as `/dev/v4l/by-id/…`), or `replay:PATH` with a directory of pictures
    /// or a `.mjpeg` file, and `?fps=N&loop=true`.
    pub source: String,
    /// Size asked of the camera, in pixels; both or neither. 0: the size it offers nearest to 640 × 480.
    pub width: u32,
    pub height: u32,
    /// Frames a second: of a camera the slowest rate it offers that reaches this, else its fastest; of a replay that names none,
    /// exactly this.
    pub fps: f64,
    /// `auto` takes the format that costs least at that rate.
    pub format: RequestedFormat,
    /// A camera that gives no fresh frame for so long is reported and opened anew.
    pub frame_deadline_ms: u64,
    /// A picture that stands still for so long is reported as frozen, and the camera is opened anew.
    pub frozen_after_ms: u64,
    /// A frame older than this when its turn comes is dropped as stale.
    pub frame_age_max_ms: u64,
}

/// A camera's pixel format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestedFormat {
    #[default]
    Auto,
    Mjpeg,
    Yuyv,
    Nv12,
}

impl RequestedFormat {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Mjpeg => "mjpeg",
            Self::Yuyv => "yuyv",
            Self::Nv12 => "nv12",
        }
    }
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            source: "none".into(),
            width: 0,
            height: 0,
            fps: 15.0,
            format: RequestedFormat::Auto,
            frame_deadline_ms: 5_000,
            frozen_after_ms: 5_000,
            frame_age_max_ms: 2_000,
        }
    }
}

/// Models and the threads that run them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierConfig {
    /// `<models_directory>/<name>/<version>/manifest.json`; empty: `models` beside the program, in the working directory,
    /// or in `/usr/share/vehicle-classifier`, the first that exists.
    pub models_directory: PathBuf,
    /// `NAME` (newest version) or `NAME@VERSION`; empty: the one activated with `model activate`, else the built-in choice.
    pub model: String,
    /// Worker threads, each with an interpreter of its own; 0: one a core, at most four.
    pub workers: usize,
    /// Threads of one interpreter. One is the fastest use of small cores when every core has a worker.
    pub threads: usize,
    /// Uploads that may wait for a worker; the next one is answered 503.
    pub queue_depth_max: usize,
    /// Pictures with more pixels are refused before decoding.
    pub picture_pixels_max: u64,
    /// Memory for the uploads that are decoded at the same time, in bytes. 0: three eighths of the memory that the unit may use.
    pub decode_memory_bytes_max: u64,
}

impl Default for ClassifierConfig {
    fn default() -> Self {
        Self {
            models_directory: PathBuf::new(),
            model: String::new(),
            workers: 0,
            threads: 1,
            queue_depth_max: 64,
            picture_pixels_max: 50_000_000,
            decode_memory_bytes_max: 0,
        }
    }
}

/// What is kept, and for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Empty: `$STATE_DIRECTORY` (systemd), else `/var/lib/vehicle-classifier`, else `.vehicle-classifier` in the home directory.
    pub state_directory: PathBuf,
    /// Writes that may wait for the writer; the next one is answered 503.
    pub queue_depth_max: usize,
    /// Read connections.
    pub readers: usize,
    /// Classifications kept; the oldest go first.
    pub classifications_max: u64,
    /// Bytes of passages' crops kept, where `traffic` keeps any; the oldest go first.
    pub crop_bytes_max: u64,
    /// Memory for passages that the disk refuses, until it takes them.
    pub held_bytes_max: usize,
    /// Hours between two automatic backups in `<state>/backups`; 0: none are made.
    pub backup_hours: u32,
    /// Bytes of all automatic backups together; the oldest go first. None is made of a database larger than this.
    pub backup_bytes_max: u64,
    /// Days after which rows go, and bytes of each kind (indices included, an estimate) beyond which the oldest go first;
    /// 0 days: whatever their age. Counts and coverage are kept for ever: they are small.
    pub classifications_days_max: u32,
    pub classifications_bytes_max: u64,
    pub passages_days_max: u32,
    pub passages_bytes_max: u64,
    pub reports_days_max: u32,
    pub reports_bytes_max: u64,
    pub audit_days_max: u32,
    pub audit_bytes_max: u64,
    pub crop_days_max: u32,
    /// Bytes of events for the central site; delivered ones go first.
    pub outbox_bytes_max: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            state_directory: PathBuf::new(),
            queue_depth_max: 1_024,
            readers: 2,
            classifications_max: 1_000_000,
            crop_bytes_max: 64 << 20,
            held_bytes_max: 8 << 20,
            backup_hours: 24,
            backup_bytes_max: 1 << 30,
            classifications_days_max: 400,
            classifications_bytes_max: 512 << 20,
            passages_days_max: 1_100,
            passages_bytes_max: 1 << 30,
            reports_days_max: 1_100,
            reports_bytes_max: 256 << 20,
            audit_days_max: 1_100,
            audit_bytes_max: 256 << 20,
            crop_days_max: 30,
            outbox_bytes_max: 512 << 20,
        }
    }
}

/// The central site: a Redis server that gets every event.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// `redis://[user@]host:port[/database]`, `rediss://…` with TLS, or `redis+unix:///path`; several hosts, separated by
    /// commas, for a Cluster or for sentinels; empty: no central site.
    pub redis_url: RedisUrl,
    /// Better here, from a credential, than in the URL.
    pub redis_password: Secret,
    /// Name of the master; the hosts of the URL are sentinels then.
    pub sentinel_master: String,
    pub sentinel_password: Secret,
    /// PEM file with the authorities that the server's certificate may come from; empty: the system's.
    pub ca_file: PathBuf,
    pub connect_timeout_ms: u64,
    /// How long Redis may take to answer before the connection counts as dead.
    pub response_timeout_ms: u64,
    /// Between two signs of life, each also a check of the connection.
    pub health_interval_ms: u64,
    /// Longest wait between two tries; the waits double from a second up to here, each shortened by chance.
    pub backoff_ms_max: u64,
    /// Events sent at once.
    pub batch_events_max: usize,
    /// About how many events of this unit Redis keeps, the oldest go first; 0: all.
    pub stream_events_max: u64,
    /// Hours for which Redis keeps them; 0: for ever.
    pub stream_hours_max: u64,
    /// Delivered events that are kept here, in case Redis loses them.
    pub resend_events_max: u64,
    pub resend_days_max: u32,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            redis_url: RedisUrl::default(),
            redis_password: Secret::default(),
            sentinel_master: String::new(),
            sentinel_password: Secret::default(),
            ca_file: PathBuf::new(),
            connect_timeout_ms: 5_000,
            response_timeout_ms: 5_000,
            health_interval_ms: 30_000,
            backoff_ms_max: 60_000,
            batch_events_max: 500,
            stream_events_max: 100_000,
            stream_hours_max: 0,
            resend_events_max: 100_000,
            resend_days_max: 30,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal under systemd, text elsewhere.
    #[default]
    Auto,
    Journal,
    Text,
    Json,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,vehicle_classifierd::api=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// Who this unit is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnitConfig {
    /// Letters, digits, `-` and `_`; empty: derived from `/etc/machine-id`.
    pub id: String,
    pub site: String,
    pub location: String,
    /// IANA name, for reports and pages; records are in UTC.
    pub timezone: String,
}

impl Default for UnitConfig {
    fn default() -> Self {
        Self { id: String::new(), site: String::new(), location: String::new(), timezone: "UTC".into() }
    }
}
